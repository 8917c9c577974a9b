/* SPDX-License-Identifier: MIT */
/* Owns nothing: every function works on the descriptor it is given or returns. */
#include "net.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util.h"

static int net_open(const struct addr *addr)
{
	int type = (addr->kind == ADDR_UDP ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK |
		   SOCK_CLOEXEC;
	int fd = socket(addr->sa.sa_family, type, 0);

	return fd < 0 ? -errno : fd;
}

static void set_int(int fd, int level, int name, int value)
{
	setsockopt(fd, level, name, &value, sizeof(value));
}

/* There is nothing to control inside a host; what paces, such as BBR, costs a timer for every 64
 * KiB. Always there, and permitted to all; tcp(7). */
static const char loopback_congestion[] = "reno";

/* Accepted sockets inherit these from their listener on Linux. */
static void net_options(int fd, const struct addr *addr)
{
	if (addr->sa.sa_family == AF_INET6)
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (addr->kind == ADDR_TCP) {
		set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
		if (addr_inet_is_loopback(&addr->inet))
			setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, loopback_congestion,
				   sizeof(loopback_congestion) - 1);
	} else if (addr->kind == ADDR_UDP) {
		/* FORCE passes net.core.rmem_max, but needs CAP_NET_ADMIN. */
		int bytes = NET_DGRAM_BUFFER_BYTES;

		if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
			set_int(fd, SOL_SOCKET, SO_RCVBUF, bytes);
	}
}

/* Binds a socket that shares with nobody, and lets go again. */
static int net_check_free(const struct addr *addr)
{
	int fd = net_open(addr), err = 0;

	if (fd < 0)
		return fd;
	if (addr->sa.sa_family == AF_INET6)
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (addr->kind == ADDR_TCP)
		set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, &addr->sa, addr->len))
		err = -errno;
	/* With SO_REUSEADDR a bind succeeds beside a bound socket that does not listen; listening
	 * tells. */
	else if (addr->kind == ADDR_TCP && listen(fd, 1))
		err = -errno;
	close(fd);
	return err;
}

/* True when path is a socket that nobody listens on. */
static bool unix_is_stale(const struct addr *addr)
{
	struct stat st;
	int fd;
	bool stale;

	if (stat(addr->un.sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = net_open(addr);
	if (fd < 0)
		return false;
	stale = connect(fd, &addr->sa, addr->len) && errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static int net_bind(int fd, const struct addr *addr)
{
	if (!bind(fd, &addr->sa, addr->len))
		return 0;
	if (errno != EADDRINUSE || addr->kind != ADDR_UNIX || !unix_is_stale(addr))
		return -errno;
	if (unlink(addr->un.sun_path) || bind(fd, &addr->sa, addr->len))
		return -errno;
	return 0;
}

int net_listen(const struct addr *addr, bool shared, bool first, int backlog)
{
	int fd, err;

	if (first && shared && addr->kind != ADDR_UNIX && addr_port(addr)) {
		err = net_check_free(addr);
		if (err)
			return err;
	}
	fd = net_open(addr);
	if (fd < 0)
		return fd;
	net_options(fd, addr);
	if (addr->kind == ADDR_TCP)
		set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (shared && addr->kind != ADDR_UNIX)
		set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (addr->kind == ADDR_UDP && addr_is_wildcard(addr)) {
		if (addr->sa.sa_family == AF_INET)
			set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
		else
			set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	}
	err = net_bind(fd, addr);
	if (!err && addr->kind != ADDR_UDP && listen(fd, backlog))
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int net_socket(const struct addr *addr)
{
	int fd = net_open(addr);

	if (fd >= 0)
		net_options(fd, addr);
	return fd;
}

int net_local_addr(int fd, enum addr_kind kind, struct addr *ret_addr)
{
	struct addr addr = {.kind = kind, .len = sizeof(addr.un)};

	if (getsockname(fd, &addr.sa, &addr.len))
		return -errno;
	*ret_addr = addr;
	return 0;
}

int net_local_inet(int fd, union addr_inet *ret_local)
{
	union addr_inet local = {.sa.sa_family = AF_UNSPEC};
	socklen_t len = sizeof(local);

	if (getsockname(fd, &local.sa, &len))
		return -errno;
	if (local.sa.sa_family != AF_INET && local.sa.sa_family != AF_INET6)
		return -EAFNOSUPPORT;
	*ret_local = local;
	return 0;
}

int net_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
		return -errno;
	return -err;
}

void net_linger_reset(int fd)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

uint32_t net_dgram_drops(int fd)
{
	uint32_t mem[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(mem);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &len))
		return 0;
	return mem[SK_MEMINFO_DROPS];
}

void net_cmsg_read(struct msghdr *msg, struct dgram_meta *meta)
{
	meta->local.sa.sa_family = AF_UNSPEC;
	meta->ifindex = 0;
	meta->group = false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			meta->local.v4.sin_family = AF_INET;
			meta->local.v4.sin_addr = info.ipi_spec_dst;
			meta->group = info.ipi_addr.s_addr != info.ipi_spec_dst.s_addr;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			meta->local.v6.sin6_family = AF_INET6;
			meta->local.v6.sin6_addr = info.ipi6_addr;
			meta->group = IN6_IS_ADDR_MULTICAST(&info.ipi6_addr);
			if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
				meta->ifindex = info.ipi6_ifindex;
		}
	}
}

uint32_t net_cmsg_write(void *control, const struct dgram_meta *meta)
{
	struct cmsghdr *c = control;

	if (meta->local.sa.sa_family == AF_INET) {
		struct in_pktinfo info = {.ipi_spec_dst = meta->local.v4.sin_addr};

		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		return CMSG_SPACE(sizeof(info));
	}
	if (meta->local.sa.sa_family == AF_INET6) {
		struct in6_pktinfo info = {.ipi6_addr = meta->local.v6.sin6_addr,
					   .ipi6_ifindex = meta->ifindex};

		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		return CMSG_SPACE(sizeof(info));
	}
	return 0;
}

/* ---- datagrams in one send ---- */

static bool same_way(const struct dgram_meta *a, const struct dgram_meta *b)
{
	if (!addr_inet_equal(&a->peer, &b->peer) ||
	    a->local.sa.sa_family != b->local.sa.sa_family || a->ifindex != b->ifindex)
		return false;
	if (a->local.sa.sa_family == AF_INET)
		return a->local.v4.sin_addr.s_addr == b->local.v4.sin_addr.s_addr;
	return a->local.sa.sa_family != AF_INET6 ||
	       IN6_ARE_ADDR_EQUAL(&a->local.v6.sin6_addr, &b->local.v6.sin6_addr);
}

uint32_t net_dgram_run(const struct buf *head, bool connected, uint32_t limit, uint32_t max)
{
	const uint32_t size = head->len, bytes_max = 65507;
	uint32_t n = 1, bytes = size;

	if (!size || (limit && size >= limit))
		return 1;
	max = MIN(max, (uint32_t)NET_RUN_MAX);
	for (const struct buf *b = head->next; b && n < max; b = b->next, n++) {
		bytes += b->len;
		if (!b->len || b->len > size || bytes > bytes_max)
			break;
		if (!connected && !same_way(&head->dgram, &b->dgram))
			break;
		if (b->len < size)
			return n + 1;
	}
	return n;
}

void net_dgram_address(struct msghdr *msg, void *control, const struct buf *buf, bool connected)
{
	uint32_t used = 0;

	if (!connected) {
		msg->msg_name = (void *)&buf->dgram.peer;
		msg->msg_namelen = addr_inet_len(&buf->dgram.peer);
		used = net_cmsg_write(control, &buf->dgram);
	}
	if (msg->msg_iovlen > 1) {
		struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)control + used);
		uint16_t size = (uint16_t)buf->len;

		c->cmsg_level = IPPROTO_UDP;
		c->cmsg_type = UDP_SEGMENT;
		c->cmsg_len = CMSG_LEN(sizeof(size));
		memcpy(CMSG_DATA(c), &size, sizeof(size));
		used += CMSG_SPACE(sizeof(size));
	}
	msg->msg_control = used ? control : NULL;
	msg->msg_controllen = used;
}

uint32_t net_segment_refused(int err, uint32_t bytes)
{
	switch (err) {
	case EINVAL: /* longer than the path's MTU takes, or no such option */
	case EMSGSIZE:
		return bytes;
	case EIO: /* the device does not compute checksums */
	case EOPNOTSUPP:
		return 1;
	default:
		return 0;
	}
}

const char *net_bind_remedy(int err, enum addr_kind kind)
{
	switch (err) {
	case -EADDRINUSE:
		return kind == ADDR_UNIX
			       ? "; another program listens there, or the file is not a "
				 "socket: remove it or pick another path"
			       : "; stop the program that has it (ss -lntup tells which), or "
				 "pick another port (0 picks one)";
	case -EACCES:
	case -EPERM:
		return kind == ADDR_UNIX ? "; the directory must be writable"
					 : "; ports below 1024 need root or CAP_NET_BIND_SERVICE";
	case -EADDRNOTAVAIL:
		return "; no interface of this host has that address (ip addr lists them)";
	case -EAFNOSUPPORT:
		return "; this host has no such address family (IPv6 may be disabled)";
	case -ENOENT:
	case -ENOTDIR:
		return "; the directory must exist";
	case -EMFILE:
		return "; raise the descriptor limit (ulimit -n)";
	default:
		return "";
	}
}
