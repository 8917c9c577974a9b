/* SPDX-License-Identifier: MIT */
/* Owns the sockets of the contract suite that the kernel gives: all on loopback, with ports that
 * the kernel picks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "contract.h"
#include "core/net.h"

enum { EXTRA_MAX = 64, SILENT_CONNECTS = 4, HOST_BUFFER_BYTES = 8 << 20 };

struct real {
	int fds[EXTRA_MAX]; /* remotes and what holds addresses */
	struct addr addrs[EXTRA_MAX];
	int n;
	struct rlimit limit;
};

static void real_init(struct rig *rig)
{
	struct real *real = calloc(1, sizeof(*real));

	cr_assert_not_null(real);
	rig->world_data = real;
}

static void real_free(struct rig *rig)
{
	struct real *real = rig->world_data;

	while (real->n)
		close(real->fds[--real->n]);
	free(real);
}

static void keep(struct rig *rig, int fd, const struct addr *addr)
{
	struct real *real = rig->world_data;

	cr_assert_lt(real->n, EXTRA_MAX);
	real->fds[real->n] = fd;
	real->addrs[real->n++] = *addr;
}

static uint32_t real_fds(struct rig *rig)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t n = 0;

	(void)rig;
	cr_assert_not_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void real_fd_close(struct rig *rig, int fd)
{
	(void)rig;
	close(fd);
}

static void real_fds_limit(struct rig *rig, bool limit)
{
	struct real *real = rig->world_data;
	struct rlimit now;
	int fd;

	if (!limit) {
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &real->limit), 0);
		return;
	}
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &real->limit), 0);
	/* The lowest free descriptor is the first that cannot be had. */
	fd = dup(0);
	cr_assert_geq(fd, 0);
	close(fd);
	now = real->limit;
	now.rlim_cur = (rlim_t)fd;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
}

/* ---- streams ---- */

static void any_addr(enum net net, struct addr *ret_addr)
{
	*ret_addr = (struct addr){.kind = net == NET_UNIX ? ADDR_UNIX : ADDR_TCP};
	if (net == NET_TCP4) {
		ret_addr->inet = addr_v4(INADDR_LOOPBACK, 0);
		ret_addr->len = sizeof(ret_addr->inet.v4);
	} else if (net == NET_TCP6) {
		ret_addr->inet = addr_v6(&in6addr_loopback, 0);
		ret_addr->len = sizeof(ret_addr->inet.v6);
	} else {
		/* The kernel picks a name that needs no file; unix(7), autobind. */
		ret_addr->un.sun_family = AF_UNIX;
		ret_addr->len = sizeof(sa_family_t);
	}
}

static void set_size(int fd, int name, int bytes)
{
	if (bytes)
		cr_assert_eq(setsockopt(fd, SOL_SOCKET, name, &bytes, sizeof(bytes)), 0);
}

static void set_nodelay(int fd, const struct addr *addr)
{
	int one = 1;

	if (addr->kind == ADDR_TCP)
		cr_assert_eq(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
}

/* A bound stream socket; *ret_addr is where. */
static int bound(enum net net, struct addr *ret_addr)
{
	int fd;

	any_addr(net, ret_addr);
	fd = socket(ret_addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, &ret_addr->sa, ret_addr->len), 0);
	ret_addr->len = sizeof(ret_addr->un);
	cr_assert_eq(getsockname(fd, &ret_addr->sa, &ret_addr->len), 0);
	return fd;
}

static void set_nonblocking(int fd)
{
	cr_assert_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

static int unix_pair(const struct link_conf *conf, struct peer *peer)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds))
		return -errno;
	set_size(fds[0], SO_SNDBUF, conf->end_send);
	set_size(fds[1], SO_SNDBUF, conf->peer_send);
	peer->fd = fds[1];
	return fds[0];
}

static int real_pair(struct rig *rig, const struct link_conf *conf, struct peer *peer)
{
	struct addr addr;
	int listener, fd;

	(void)rig;
	if (conf->net == NET_UNIX)
		return unix_pair(conf, peer);
	listener = bound(conf->net, &addr);
	set_size(listener, SO_SNDBUF, conf->end_send);
	set_size(listener, SO_RCVBUF, conf->end_recv);
	cr_assert_eq(listen(listener, 1), 0);
	peer->fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(peer->fd, 0);
	set_size(peer->fd, SO_SNDBUF, conf->peer_send);
	set_size(peer->fd, SO_RCVBUF, conf->peer_recv);
	cr_assert_eq(connect(peer->fd, &addr.sa, addr.len), 0);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	close(listener);
	if (fd < 0)
		return -errno;
	set_nodelay(fd, &addr);
	set_nodelay(peer->fd, &addr);
	set_nonblocking(peer->fd);
	return fd;
}

static int real_listen(struct rig *rig, enum net net, int backlog, struct addr *ret_addr)
{
	int fd = bound(net, ret_addr);

	(void)rig;
	cr_assert_eq(listen(fd, backlog), 0);
	set_nonblocking(fd);
	return fd;
}

static bool real_connect(struct rig *rig, const struct addr *addr, struct peer *peer)
{
	(void)rig;
	peer->fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(peer->fd, 0);
	set_nodelay(peer->fd, addr);
	if (connect(peer->fd, &addr->sa, addr->len))
		return false;
	set_nonblocking(peer->fd);
	return true;
}

static void real_remote(struct rig *rig, enum net net, struct addr *ret_addr)
{
	int fd = real_listen(rig, net, 128, ret_addr);

	keep(rig, fd, ret_addr);
}

static bool real_remote_accept(struct rig *rig, const struct addr *addr, struct peer *peer)
{
	struct real *real = rig->world_data;

	for (int i = 0; i < real->n; i++) {
		if (real->addrs[i].len != addr->len ||
		    memcmp(&real->addrs[i].sa, &addr->sa, addr->len) != 0)
			continue;
		peer->fd = accept4(real->fds[i], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		return peer->fd >= 0;
	}
	return false;
}

/* Bound, so that nobody else gets the address, and not listening. */
static void real_refusing(struct rig *rig, enum net net, struct addr *ret_addr)
{
	int fd = bound(net, ret_addr);

	keep(rig, fd, ret_addr);
}

/* A listener whose queue is full does not answer; tcp(7), tcp_abort_on_overflow. */
static void real_silent(struct rig *rig, struct addr *ret_addr)
{
	int fd = bound(NET_TCP4, ret_addr);

	cr_assert_eq(listen(fd, 0), 0);
	keep(rig, fd, ret_addr);
	for (int i = 0; i < SILENT_CONNECTS; i++) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		cr_assert_geq(fd, 0);
		cr_assert(!connect(fd, &ret_addr->sa, ret_addr->len) || errno == EINPROGRESS);
		keep(rig, fd, ret_addr);
	}
}

static ssize_t real_write(struct peer *peer, const void *data, size_t len)
{
	ssize_t n = send(peer->fd, data, len, MSG_NOSIGNAL);

	return n < 0 ? -errno : n;
}

static ssize_t real_read(struct peer *peer, void *out, size_t size)
{
	ssize_t n = recv(peer->fd, out, size, 0);

	return n < 0 ? -errno : n;
}

static void real_shutdown(struct peer *peer)
{
	shutdown(peer->fd, SHUT_WR);
}

static void real_close(struct peer *peer)
{
	if (peer->fd >= 0)
		close(peer->fd);
	peer->fd = -1;
}

static void real_reset(struct peer *peer)
{
	net_linger_reset(peer->fd);
	real_close(peer);
}

/* ---- datagrams ---- */

static struct addr udp_addr(const union addr_inet *inet)
{
	struct addr addr = {.kind = ADDR_UDP, .len = addr_inet_len(inet)};

	addr.inet = *inet;
	return addr;
}

/* An Ethernet device that nobody answers on: what is sent waits for an address, and is charged
 * to its sender. */
static int tap_open(void)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd >= 0 && !ioctl(fd, TUNSETIFF, &ifr))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool tap_up(int tap)
{
	struct ifreq ifr = {.ifr_flags = 0};
	union addr_inet addr = addr_v4(UINT32_C(0xC0000201), 0); /* 192.0.2.1, RFC 5737 */
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = false;

	if (!ioctl(tap, TUNGETIFF, &ifr)) {
		memcpy(&ifr.ifr_addr, &addr.sa, sizeof(ifr.ifr_addr));
		up = !ioctl(fd, SIOCSIFADDR, &ifr);
		ifr.ifr_flags = IFF_UP | IFF_RUNNING;
		up = up && !ioctl(fd, SIOCSIFFLAGS, &ifr);
	}
	close(fd);
	return up;
}

static bool real_clog(struct rig *rig, union addr_inet *ret_addr)
{
	struct addr none = {.kind = ADDR_UDP};
	int tap;

	if (unshare(CLONE_NEWNET))
		return false;
	tap = tap_open();
	if (tap < 0)
		return false;
	keep(rig, tap, &none);
	*ret_addr = addr_v4(UINT32_C(0xC0000202), 9);
	return tap_up(tap);
}

static int real_dgram(struct rig *rig, union addr_inet *addr)
{
	struct addr at = udp_addr(addr);
	int fd = net_listen(&at, false, true, 0);
	socklen_t len = sizeof(*addr);

	(void)rig;
	cr_assert_geq(fd, 0);
	cr_assert_eq(getsockname(fd, &addr->sa, &len), 0);
	return fd;
}

static int real_host_open(struct host *host)
{
	socklen_t len = addr_inet_len(&host->addr);
	int bytes = HOST_BUFFER_BYTES;

	host->fd = socket(host->addr.sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_geq(host->fd, 0);
	if (setsockopt(host->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		set_size(host->fd, SO_RCVBUF, bytes);
	set_size(host->fd, SO_SNDBUF, bytes);
	cr_assert_eq(bind(host->fd, &host->addr.sa, len), 0);
	cr_assert_eq(getsockname(host->fd, &host->addr.sa, &len), 0);
	return 0;
}

static void real_host_close(struct host *host)
{
	if (host->fd >= 0)
		close(host->fd);
	host->fd = -1;
}

static int real_host_send(struct host *host, const union addr_inet *to, const void *data, size_t n)
{
	return sendto(host->fd, data, n, 0, &to->sa, addr_inet_len(to)) < 0 ? -errno : 0;
}

static ssize_t real_host_recv(struct host *host, void *out, size_t size, union addr_inet *from)
{
	socklen_t len = sizeof(*from);
	ssize_t n = recvfrom(host->fd, out, size, 0, &from->sa, &len);

	return n < 0 ? -errno : n;
}

const struct world world_real = {
	.init = real_init,
	.free = real_free,
	.fds = real_fds,
	.fd_close = real_fd_close,
	.fds_limit = real_fds_limit,
	.pair = real_pair,
	.listen = real_listen,
	.connect = real_connect,
	.remote = real_remote,
	.remote_accept = real_remote_accept,
	.refusing = real_refusing,
	.silent = real_silent,
	.write = real_write,
	.read = real_read,
	.shutdown = real_shutdown,
	.reset = real_reset,
	.close = real_close,
	.clog = real_clog,
	.dgram = real_dgram,
	.host_open = real_host_open,
	.host_close = real_host_close,
	.host_send = real_host_send,
	.host_recv = real_host_recv,
};
