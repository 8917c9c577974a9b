/* SPDX-License-Identifier: MIT */
/* Addresses and sockets: where the target is, and connections to it. */
#include "bench/client/gen.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DGRAM_QUEUE_BYTES (4 << 20) /* of a socket, when there are few of them */
#define DGRAM_QUEUES_BYTES (64 << 20)

static bool wrong_address(const char *address)
{
	fprintf(stderr, "sluice-bench: '%s' is not HOST:PORT (an IPv6 address in brackets)\n",
		address);
	return false;
}

/* Whether a service is there, as far as one connection tells. */
static bool answers(const struct addrinfo *at)
{
	struct timeval patience = {.tv_sec = 2};
	int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, 0);
	bool ok = false;

	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		ok = !connect(fd, at->ai_addr, at->ai_addrlen);
		close(fd);
	}
	return ok;
}

/* A name may stand for addresses of both families, of which the service has one. */
static const struct addrinfo *choose(const struct addrinfo *found)
{
	if (!found->ai_next || found->ai_socktype != SOCK_STREAM)
		return found;
	for (const struct addrinfo *at = found; at; at = at->ai_next)
		if (answers(at))
			return at;
	return found;
}

/* Numeric and named hosts alike. `port` may be NULL. False when that has been printed. */
static bool lookup(const struct bench_opts *opts, const char *host, const char *port,
		   union bench_sockaddr *ret, socklen_t *ret_len)
{
	struct addrinfo hints = {
		.ai_socktype = opts->transport == BENCH_UDP ? SOCK_DGRAM : SOCK_STREAM,
	};
	const struct addrinfo *at;
	struct addrinfo *found;
	int ret_gai = getaddrinfo(host, port, &hints, &found);

	if (ret_gai) {
		fprintf(stderr, "sluice-bench: %s: %s\n", host,
			ret_gai == EAI_SYSTEM ? strerror(errno) : gai_strerror(ret_gai));
		return false;
	}
	at = port ? choose(found) : found;
	memcpy(ret, at->ai_addr, at->ai_addrlen);
	*ret_len = at->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

static bool resolve_inet(struct bench_run *run)
{
	const char *address = run->opts->address, *colon = strrchr(address, ':'), *port;
	char host[256];
	uint32_t number;
	size_t len;

	if (!colon || colon == address)
		return wrong_address(address);
	port = colon + 1;
	len = (size_t)(colon - address);
	if (*address == '[' && colon[-1] == ']')
		address++, len -= 2;
	else if (memchr(address, ':', len))
		return wrong_address(run->opts->address);
	if (!len || len >= sizeof(host) || !*port)
		return wrong_address(run->opts->address);
	if (!bench_parse_count(port, 65535, &number)) {
		fprintf(stderr, "sluice-bench: '%s': a port is 1 to 65535, not '%s'\n",
			run->opts->address, port);
		return false;
	}
	memcpy(host, address, len);
	host[len] = '\0';
	return lookup(run->opts, host, port, &run->target, &run->target_len);
}

/*
 * Ports that rest in TIME_WAIT make connect() look further and further for a free one. All of
 * 127.0.0.0/8 is this host, so there are as many more as anybody wants.
 */
static void spread_sources(struct bench_run *run)
{
	for (uint32_t i = 0; i < BENCH_SOURCES_MAX; i++) {
		run->sources[i].in.sin_family = AF_INET;
		run->sources[i].in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i);
	}
	run->n_sources = BENCH_SOURCES_MAX;
}

static bool resolve_sources(struct bench_run *run)
{
	const struct sockaddr_in *to = &run->target.in;
	socklen_t len;

	if (!run->opts->n_sources && run->opts->pattern == BENCH_CHURN && !run->opts->reset &&
	    to->sin_family == AF_INET && ntohl(to->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET)
		spread_sources(run);
	else
		run->n_sources = run->opts->n_sources;
	for (uint32_t i = 0; i < run->opts->n_sources; i++) {
		if (!lookup(run->opts, run->opts->sources[i], NULL, &run->sources[i], &len))
			return false;
		if (run->sources[i].sa.sa_family != run->target.sa.sa_family) {
			fprintf(stderr, "sluice-bench: --source %s is of another family than %s\n",
				run->opts->sources[i], run->opts->address);
			return false;
		}
	}
	return true;
}

bool bench_target_resolve(struct bench_run *run)
{
	const char *path = run->opts->address;
	struct sockaddr_un *un = &run->target.un;

	if (run->opts->transport != BENCH_UNIX)
		return resolve_inet(run) && resolve_sources(run);
	if (strlen(path) >= sizeof(un->sun_path)) {
		fprintf(stderr, "sluice-bench: a socket's path has at most %zu bytes: '%s'\n",
			sizeof(un->sun_path) - 1, path);
		return false;
	}
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, path);
	run->target_len = sizeof(*un);
	return true;
}

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) ? -errno : 0;
}

/* As large as the connections together may have; what the kernel refuses stays its default. */
static void set_queues(const struct bench_opts *opts, int fd)
{
	int bytes = DGRAM_QUEUES_BYTES / (int)opts->conns;

	if (bytes > DGRAM_QUEUE_BYTES)
		bytes = DGRAM_QUEUE_BYTES;
	if (bytes <= 1 << 18)
		return;
	if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes))
		set_int(fd, SOL_SOCKET, SO_RCVBUF, bytes);
}

static int bind_source(struct bench_run *run, const struct bench_conn *c)
{
	const union bench_sockaddr *from;
	int ret;

	if (!run->n_sources)
		return 0;
	from = &run->sources[(c->index + c->rx_msgs) % run->n_sources];
	/* the port is then chosen by connect(), which may share it between targets */
	ret = set_int(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	if (ret)
		return ret;
	return bind(c->fd, &from->sa, run->target_len) ? -errno : 0;
}

static int set_up(struct bench_worker *w, struct bench_conn *c)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = c,
	};
	int ret = 0;

	if (w->opts->transport == BENCH_TCP)
		ret = set_int(c->fd, IPPROTO_TCP, TCP_NODELAY, 1);
	else if (w->opts->transport == BENCH_UDP)
		set_queues(w->opts, c->fd);
	if (!ret && w->opts->reset)
		ret = setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
				 sizeof(struct linger))
			      ? -errno
			      : 0;
	if (!ret)
		ret = bind_source(w->run, c);
	if (!ret && epoll_ctl(w->epfd, EPOLL_CTL_ADD, c->fd, &event))
		ret = -errno;
	return ret;
}

int bench_socket_open(struct bench_worker *w, struct bench_conn *c)
{
	const struct bench_run *run = w->run;
	int type = w->opts->transport == BENCH_UDP ? SOCK_DGRAM : SOCK_STREAM;
	int ret;

	c->fd = socket(run->target.sa.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	ret = set_up(w, c);
	if (!ret && connect(c->fd, &run->target.sa, run->target_len))
		ret = -errno;
	/* interrupted, it goes on in the background like one in progress */
	if (ret == -EINTR)
		ret = -EINPROGRESS;
	if (ret && ret != -EINPROGRESS)
		bench_socket_close(c);
	return ret;
}

int bench_socket_connected(int fd)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
		err = errno;
	return -err;
}

void bench_socket_close(struct bench_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

int64_t bench_socket_unacked(int fd)
{
	int bytes = 0;

	return ioctl(fd, SIOCOUTQ, &bytes) ? 0 : bytes;
}
