/* SPDX-License-Identifier: MIT */
/*
 * What the fast path in the kernel (echo.h, forward.h) and the program that feeds it (session.c,
 * host.c) share. It serves what the filter has passed: a datagram to an echo is answered, one of a
 * relay's session forwarded. What it does not serve, for whatever reason, goes up to the sockets,
 * which serve everything; so nothing depends on it.
 */
#ifndef SLUICE_XDP_FAST_H
#define SLUICE_XDP_FAST_H

#include <linux/types.h>

enum fast_mode { FAST_OFF, FAST_ECHO, FAST_RELAY, FAST_MODES };

/* What became of a datagram for a listener or a session. FAST_UP_: it went up, and why. */
enum fast_reason {
	FAST_ECHOED,
	FAST_FORWARDED,
	FAST_UP_OFF,        /* switched off: the server drains, or the interface cannot send */
	FAST_UP_SESSION,    /* to a relay's listener, of no session in the table */
	FAST_UP_FRAGMENT,   /* the first of a fragmented datagram */
	FAST_UP_HEADERS,    /* IP options, extension headers */
	FAST_UP_BUFFERS,    /* a frame in several buffers */
	FAST_UP_VLAN,       /* a tag that is not forwarded, or of no VLAN of this host */
	FAST_UP_ADDRESS,    /* not for this interface's MAC, or no unicast address of this host */
	FAST_UP_SOURCE,     /* a source that is not answered, or that the stack has to judge */
	FAST_UP_CHECKSUM,   /* unfinished by its sender (on a veth), or missing over IPv6 */
	FAST_UP_HOP_LIMIT,  /* may go no further */
	FAST_UP_MTU,        /* larger than the way takes */
	FAST_UP_NEIGHBOUR,  /* the next hop's address is not known (yet) */
	FAST_UP_ROUTE,      /* no route, blackhole, or to this host itself */
	FAST_UP_EGRESS,     /* out of an interface without the fast path */
	FAST_UP_FORWARDING, /* no routes are looked up: net.ipv[46].conf.lo.forwarding is 0 */
	FAST_UP_REFRESH,    /* now and then: keeps the kernel's neighbour table confirmed */
	FAST_REASONS
};

enum {
	FAST_SESSIONS_MAX = 65536,
	FAST_LOCAL_BITS = 10,
	FAST_LOCAL_BUCKETS = 1 << FAST_LOCAL_BITS,
	FAST_LOCAL_SLOTS = 4,
	FAST_HOPS = 1024, /* next hops remembered by each CPU; a power of two */
	FAST_EGRESS_MAX = 16,
	FAST_VLANS = 4096,
};

/* A next hop is looked up once a tick of the coarse clock and session; and one datagram goes up
 * when FAST_REFRESH_NS have passed since the last one did and there is a gap in the stream, or when
 * twice that has passed, so that the stack notices a neighbour that has gone or moved. */
#define FAST_REFRESH_NS 15000000000ULL
#define FAST_GAP_NS 10000000ULL

/* The interface that a program is attached to; written by the server, one for each program.
 *
 * A veth wakes its other end up for frames of XDP_TX only when an XDP program is there, and leaves
 * them in the queue otherwise; for redirected ones, GRO there is enough (Linux 6.18, veth_xdp_flush
 * and veth_xdp_xmit). */
struct fast_host {
	__u8 on;      /* 0: everything goes up */
	__u8 reverse; /* rp_filter is strict: the source's route has to lead back */
	__u8 partial; /* checksums of frames from this host's own stack arrive unfinished (veth) */
	__u8 hop_limit4; /* of answers */
	__u8 hop_limit6;
	__u8 redirect; /* answers are redirected to where they came from, instead of XDP_TX */
	__u8 mac[6];
	__u32 ifindex;
	__u32 refused; /* errno, of frames that were sent out of it; see watch.bpf.c */
	__u32 netns;   /* inode of the network namespace that ifindex is of */
	__u64 vlans[FAST_VLANS / 64]; /* numbers that have an interface here; 0 always has */
};

/* The addresses of this host, in buckets by fast_local_bucket(). IPv4 as in RFC 4291, 2.5.5.2. An
 * address that finds its bucket full is left out: its datagrams go up. */
enum fast_local_kind { FAST_LOCAL_NONE, FAST_LOCAL_UNICAST, FAST_LOCAL_BROADCAST };

struct fast_locals {
	__u32 addr[FAST_LOCAL_SLOTS][4]; /* network order */
	__u8 kind[FAST_LOCAL_SLOTS];     /* enum fast_local_kind; the first FAST_LOCAL_NONE ends */
	__u8 unused[4];                  /* the values of a map are multiples of 8 bytes */
};

static inline __attribute__((always_inline)) __u32 fast_local_bucket(const __u32 addr[4])
{
	__u32 word = addr[0] ^ addr[1] ^ addr[2] ^ addr[3];

	return (word * 0x9e3779b1U) >> (32 - FAST_LOCAL_BITS);
}

/* ---- sessions ---- */

/* A datagram of a session by its addresses and ports, as they follow each other in an IP packet
 * without options. All in network order. */
struct fast_key4 {
	__u32 src, dst;
	__u16 src_port, dst_port;
};

struct fast_key6 {
	__u32 src[4], dst[4];
	__u16 src_port, dst_port;
};

/* Values of both tables of keys: the session's number, and one of these. */
enum fast_way_name { FAST_TO_TARGET, FAST_TO_CLIENT, FAST_WAYS };

#define FAST_WAY(session, way) ((session) << 1 | (way))

/* One direction of a session, by FAST_WAY(). The first cache line is written while the session is
 * in neither table of keys and no program can still have found it there; the second by programs on
 * any CPU, and what went through the sockets by the worker that has the session. */
struct fast_way {
	__u32 src[4], dst[4]; /* what to write; network order, IPv4 in the first */
	__u16 src_port, dst_port;
	__u16 ip_delta;   /* to add to the complement of the IPv4 header's checksum (RFC 1624), */
	__u16 udp_delta;  /* a hop less included, and to that of UDP */
	__u32 generation; /* never twice the same for a number */
	__u8 v6;
	__u8 used; /* the session is in the tables of keys */
	__u8 unused[18];

	__u64 packets, bytes; /* forwarded; bytes of payload */
	__u64 last_ns;        /* CLOCK_MONOTONIC_COARSE; 0: never */
	__u64 up_ns;          /* the same of the last one that was sent up to refresh */
	__u64 socket_packets, socket_bytes;
	__u64 padding[2];
};

#endif
