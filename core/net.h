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
	/* Room for one in_pktinfo or in6_pktinfo, and one segment size, aligned. */
	NET_CMSG_MAX = 64,
	NET_RUN_MAX = 64, /* datagrams in one send; UDP_MAX_SEGMENTS of older kernels */
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

/* The same for an IPv4 or IPv6 socket. 0 or -errno. */
int net_local_inet(int fd, union addr_inet *ret_local);

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

/*
 * How many datagrams of the chain head, at most max, can leave in one send that the kernel cuts up
 * again (UDP_SEGMENT): all to one peer from one address, and of one size but for the last, which
 * may be shorter. At least 1. Sizes from limit on were refused; 0 when none was.
 */
uint32_t net_dgram_run(const struct buf *head, bool connected, uint32_t limit, uint32_t max);

/* Fills in where msg goes, from which address, and how it is cut up, from buf, its first datagram.
 * control is as above, and msg's iovecs are those of a run. */
void net_dgram_address(struct msghdr *msg, void *control, const struct buf *buf, bool connected);

/* The new limit when err (positive) of a send cut into segments of bytes means that the path does
 * not take such segments, and single datagrams may pass; else 0. */
uint32_t net_segment_refused(int err, uint32_t bytes);

/* What to do about a listener that failed with err, a negative errno: "; ..." to put behind the
 * error, or "". Constant. */
const char *net_bind_remedy(int err, enum addr_kind kind);

#endif
