/* SPDX-License-Identifier: MIT */
/*
 * Making sockets: the options every socket of the server gets, in one place. All descriptors made
 * here are non-blocking and close-on-exec.
 */
#ifndef SLUICE_NET_H
#define SLUICE_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "buf.h"

enum {
	NET_CMSG_MAX = 64,                /* room for one in_pktinfo or in6_pktinfo, aligned */
	NET_DGRAM_BUFFER_BYTES = 4 << 20, /* receive buffer asked for on UDP sockets */
};

/*
 * A bound (UDP) or listening (TCP, unix) socket. With shared, SO_REUSEPORT is set; the port is
 * first checked to be free, because another process of the same user could otherwise share it
 * unnoticed: pass first for the first socket of a group. A unix path left behind by a process that
 * is gone is replaced. Returns the descriptor or -errno.
 */
int net_listen(const struct addr *addr, bool shared, bool first, int backlog);

/* An unconnected socket for net_connect. Returns the descriptor or -errno. */
int net_socket(const struct addr *addr);

/* Reads the address fd is bound to, of the given kind. 0 or -errno. */
int net_local_addr(int fd, enum addr_kind kind, struct addr *ret_addr);

/* Pending error of a socket, 0 or -errno. */
int net_error(int fd);

/* Makes close(2) send RST and drop what is queued. */
void net_linger_reset(int fd);

/* Datagrams that the kernel has dropped because the receive buffer of fd was full. */
uint32_t net_dgram_drops(int fd);

struct msghdr;

/* Fills meta->local (and ifindex) from the IP_PKTINFO or IPV6_PKTINFO of a received message; family
 * 0 without. */
void net_cmsg_read(struct msghdr *msg, struct dgram_meta *meta);

/* Writes meta->local as the source address into control (NET_CMSG_MAX bytes, aligned as cmsghdr).
 * Returns the bytes used, 0 when local is not known. */
uint32_t net_cmsg_write(void *control, const struct dgram_meta *meta);

/* What to do about a listener that failed with err, a negative errno: "; ..." to put behind the
 * error, or "". Constant. */
const char *net_bind_remedy(int err, enum addr_kind kind);

#endif
