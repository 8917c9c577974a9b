/* SPDX-License-Identifier: MIT */
/*
 * The smallest honest TCP echo server on epoll: one thread, one buffer, nothing else. It is the
 * yardstick for `sluice echo -b epoll`, so it does all that correctness asks for (short writes,
 * half-close, resets) and nothing that an operator would.
 *
 *	floor_epoll PORT	listens on 127.0.0.1; 0 picks a port and prints it
 *
 * What it takes from the alternatives that were tried:
 * - Edge-triggered, each socket registered once: level-triggered epoll polls every ready socket a
 *   second time on the next wait.
 * - One 64 KiB buffer for all connections, written back at once, so that it stays in the cache.
 *   What a full socket refuses is copied aside, and the connection reads nothing until that is out.
 * - A short read is not followed by a second one: the next byte raises a new edge.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS_MAX 65536
#define BUF_BYTES 65536

struct conn {
	char *rest; /* what the socket has not taken yet, NULL when it took everything */
	size_t len, off;
};

static struct conn conns[FDS_MAX];
static char hot[BUF_BYTES];

static void die(const char *what)
{
	fprintf(stderr, "floor_epoll: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int listen_on(const char *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	socklen_t len = sizeof(sin);
	int on = 1, fd;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	/* accepted sockets inherit TCP_NODELAY */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) || listen(fd, 4096))
		die("cannot listen");
	getsockname(fd, (struct sockaddr *)&sin, &len);
	printf("listening tcp:127.0.0.1:%u\nready\n", ntohs(sin.sin_port));
	fflush(stdout);
	return fd;
}

static void conn_close(int fd)
{
	free(conns[fd].rest);
	conns[fd] = (struct conn){0};
	close(fd);
}

static void accept_all(int epfd, int lfd)
{
	int fd;

	while ((fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct epoll_event ev = {
			.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
			.data.fd = fd,
		};

		if (fd >= FDS_MAX || epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev))
			close(fd);
	}
}

/* Returns the bytes that the socket took, which is less than len when it is full, or -1. */
static ssize_t write_some(int fd, const char *p, size_t len)
{
	size_t off = 0;
	ssize_t n;

	while (off < len) {
		n = send(fd, p + off, len - off, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN ? (ssize_t)off : -1;
		off += n;
	}
	return off;
}

static void echo(int fd, uint32_t events)
{
	struct conn *c = &conns[fd];
	ssize_t n, sent;

	if (c->rest) {
		sent = write_some(fd, c->rest + c->off, c->len - c->off);
		if (sent < 0)
			return conn_close(fd);
		c->off += sent;
		if (c->off < c->len)
			return;
		free(c->rest);
		c->rest = NULL;
		/* edges of this socket went unseen meanwhile: read until it is empty */
		events |= EPOLLIN | EPOLLRDHUP;
	}
	if (!(events & ~EPOLLOUT))
		return;
	do {
		n = recv(fd, hot, sizeof(hot), 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			return conn_close(fd);
		sent = write_some(fd, hot, n);
		if (sent < 0)
			return conn_close(fd);
		if (sent < n) {
			*c = (struct conn){.rest = malloc(n - sent), .len = n - sent};
			if (!c->rest)
				die("malloc");
			memcpy(c->rest, hot + sent, n - sent);
			return;
		}
		/* after a FIN there is no further edge */
	} while (n == sizeof(hot) || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)));
}

int main(int argc, char **argv)
{
	struct epoll_event evs[1024], ev = {.events = EPOLLIN};
	int epfd, lfd, n;

	if (argc != 2) {
		fprintf(stderr, "usage: floor_epoll PORT\n");
		return 2;
	}
	lfd = listen_on(argv[1]);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	ev.data.fd = lfd;
	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, lfd, &ev))
		die("epoll");
	for (;;) {
		n = epoll_wait(epfd, evs, 1024, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			if (evs[i].data.fd == lfd)
				accept_all(epfd, lfd);
			else
				echo(evs[i].data.fd, evs[i].events);
		}
	}
}
