/* SPDX-License-Identifier: MIT */
/*
 * A network namespace of the test's own with two Ethernet segments, and a relay between them: its
 * clients are on the first, its targets on the second. A filter is on each of its two interfaces,
 * and both share one table of sessions, all without being attached.
 */
#ifndef SLUICE_TESTS_FAST_NET_H
#define SLUICE_TESTS_FAST_NET_H

#include "tests/fast_trial.h"

enum { NET_CLIENTS, NET_TARGETS, NET_SIDES };

/* What a frame from a neighbour looks like. */
extern const uint8_t net_mac[NET_SIDES][6];       /* of the relay's interfaces */
extern const uint8_t net_neighbour[NET_SIDES][6]; /* of all that is permanently known there */

struct net {
	struct xdp_sessions *sessions;
	struct fast side[NET_SIDES];
};

struct flow {
	union addr_inet client, asked, source, target;
};

/* Needs privileges: skips or fails as fast_open. The interfaces are "clients" and "targets", their
 * other ends "clients1" and "targets1". */
void net_open(struct net *net, uint32_t capacity);
void net_close(struct net *net);
/* Runs `ip` with these arguments, of which there may be several lines. */
void net_ip(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Waits until an IPv6 address is this host's: the kernel adds its route in its own time. */
void net_wait_local(const char *host);
/* Writes a setting below /proc/sys/net. */
void net_set(const char *setting, int value);

/* 10.1.0.HOST:4000 asks 10.1.0.254:53, and 10.2.0.254:50000 asks 10.2.0.HOST:9000; or the same in
 * 2001:db8:1::/64 and 2001:db8:2::/64. Neighbours 1 to 9 of each are known. */
struct flow net_flow(bool v6, uint32_t host);
int net_add(struct net *net, const struct flow *flow, uint32_t *ret_number);
/* The datagram of a flow as it arrives, and as it leaves. */
void net_arrives(const struct flow *flow, enum fast_way_name way, uint32_t payload,
		 struct frame *ret_frame);
void net_leaves(const struct flow *flow, enum fast_way_name way, const struct frame *in,
		struct frame *ret_out);
/* Runs one and expects it to be forwarded, to the other side. */
void net_expect(struct net *net, const struct flow *flow, enum fast_way_name way, uint32_t payload);
void net_expect_up(struct net *net, const struct flow *flow, enum fast_way_name way,
		   uint32_t payload, enum fast_reason reason);

#endif
