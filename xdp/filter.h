/* SPDX-License-Identifier: MIT */
/*
 * What the filter in the kernel (filter.bpf.c) and the program that loads it (load.c) share: the
 * layout of every map, and the limits. A rule set is compiled into these tables by table.c; the
 * filter only looks things up.
 */
#ifndef SLUICE_XDP_FILTER_H
#define SLUICE_XDP_FILTER_H

#include <linux/types.h>

/* Written into the map "info"; another value there is the filter of another version. */
#define FILTER_MAGIC 0x736c756963650002ULL

enum {
	FILTER_RULES_MAX = 1 << 20,
	FILTER_LIMITS_MAX = 1024,                 /* in one set */
	FILTER_SLOTS_MAX = 2 * FILTER_LIMITS_MAX, /* of the set in force and the one that follows */
	FILTER_LENGTHS_MAX = 4,                   /* length rules of one port, and of all ports */
	FILTER_SERVED_MAX = 64,                   /* listeners that a server's filter judges for */
	FILTER_PORTS = 65536,

	FILTER_VLAN_MAX = 2, /* tags that are looked behind */
	FILTER_EXT_MAX = 8,  /* IPv6 extension headers (RFC 8504, section 5.3) */

	FILTER_BUCKET_SLOTS = 8,
	FILTER_BUCKET_BITS = 13, /* a region: 1 MiB */
	FILTER_REGIONS_MAX = 64,
	FILTER_KEYS = 10,
	FILTER_CAS_MAX = 64, /* tries to charge a limit, after which the datagram is over it */
};

/* Times of limits are in sixteenths of a nanosecond: 36 years of uptime fit. */
#define FILTER_TIME_SHIFT 4

/* Why a packet got its verdict. What a rule decided is counted by the rule alone; the loader adds
 * up the reasons. */
enum filter_reason {
	FILTER_OTHER,        /* not UDP, or not for a listener of the server: untouched */
	FILTER_MALFORMED,    /* a UDP datagram whose lengths contradict each other */
	FILTER_HEADER_CHAIN, /* more IPv6 extension headers than FILTER_EXT_MAX */
	FILTER_FRAGMENT,
	FILTER_LENGTH,
	FILTER_PREFIX,
	FILTER_PORT,
	FILTER_DEFAULT,
	FILTER_RATE_SOURCE,
	FILTER_RATE_PREFIX,
	FILTER_RATE_TOTAL,
	FILTER_REASONS
};

enum filter_verdict { FILTER_PASS, FILTER_DROP, FILTER_VERDICTS };

/* Kinds of limits, in the order in which they are asked. */
enum filter_limit_by { FILTER_BY_SOURCE, FILTER_BY_PREFIX, FILTER_BY_TOTAL, FILTER_BYS };

/* Packets and the bytes of their frames. */
struct filter_count {
	__u64 packets, bytes;
};

/* What the most specific rules say. verdict: 0 none, else the rule's index + 1, shifted by one,
 * with FILTER_DROP in the lowest bit. limit: 0 none, else the index in the map "limits" + 1. */
struct filter_answer {
	__u32 verdict;
	__u16 limit[FILTER_BYS];
	__u16 unused;
};

/* Payloads from min to max bytes are dropped by a rule. */
struct filter_length {
	__u16 min, max;
	__u32 rule;
};

enum {
	FILTER_PORT_LIST4 = 1 << 0, /* the port has prefixes of its own */
	FILTER_PORT_LIST6 = 1 << 1,
	FILTER_PORT_SERVED4 = 1 << 2, /* a listener on every address has the port */
	FILTER_PORT_SERVED6 = 1 << 3,
	FILTER_PORT_SERVED = 1 << 4, /* listeners on single addresses: see "served" */
};

/* One destination port; what it does not say itself is filled in from what holds for all ports. */
struct filter_port {
	struct filter_answer answer;
	__u8 by_port; /* answer.verdict is of a rule for this port */
	__u8 flags;
	__u8 n_lengths;
	__u8 unused;
	struct filter_length length[2 * FILTER_LENGTHS_MAX];
};

/* Keys of the tries, longest prefix first by bits: the list is a port in host order, or 0 for all
 * ports, and always matched whole. */
struct filter_lpm4 {
	__u32 bits; /* FILTER_LIST_BITS + prefix length */
	__u32 list; /* network order */
	__u32 addr; /* network order */
};

struct filter_lpm6 {
	__u32 bits;
	__u32 list;
	__u8 addr[16];
};

#define FILTER_LIST_BITS 32

/* A limit, by GCRA (ITU-T I.371): each datagram costs time, and may be at most tau ahead. */
struct filter_limit {
	__u64 cost;     /* sixteenths of a nanosecond for one unit, shifted by FILTER_COST_SHIFT */
	__u64 tau;      /* sixteenths of a nanosecond */
	__u64 mask6[2]; /* network order; what of an address tells sources apart */
	__u32 mask4;    /* network order */
	__u32 rule;
	__u32 id;     /* of 31 bits; never of two limits */
	__u16 slot;   /* into "totals"; stays with a rule for as long as it is in force */
	__u16 region; /* of "buckets" */
	__u8 by;      /* enum filter_limit_by */
	__u8 bytes;   /* units are bytes of the frame, not datagrams */
	__u8 coarse;  /* the coarse clock will do, as long as enough of tau is left */
	__u8 unused[5];
};

#define FILTER_COST_SHIFT 16

/* The coarse clock may be two ticks late (8 ms at 250 Hz) but costs a tenth of the exact one. A
 * limit that lets FILTER_COARSE_UNITS datagrams through in that time, and has a burst of
 * FILTER_COARSE_BURST times as many, may be asked with it: what the clock leaves open is small
 * beside what it limits. */
#define FILTER_COARSE_UNITS 16
#define FILTER_COARSE_BURST 12

/*
 * The state of limits by source or prefix: who has sent (tag), and until when it is paid for (tat,
 * the theoretical arrival time). A slot whose time has passed says nothing and may be taken by
 * anyone: nothing is lost with it, and a source that has a live slot cannot be pushed out. When no
 * slot of its bucket is free, a source shares the bucket's last one, whose tag is not used, with
 * all others that find none: together they get what one of them may send. Each limit has a region
 * of its own, so that a flood against one does nothing to another; from FILTER_REGIONS_MAX on they
 * share.
 */
struct filter_bucket {
	__u64 tag[FILTER_BUCKET_SLOTS];
	__u64 tat[FILTER_BUCKET_SLOTS];
};

struct filter_total {
	__u64 tat;
	__u64 unused[7]; /* a cache line each */
};

/* A listener of the server, on one address; IPv4 in the last four bytes behind ten zeros and two
 * 0xff, as in RFC 4291, section 2.5.5.2. */
struct filter_served {
	__u8 addr[16];
	__u16 port; /* host order */
	__u16 unused;
};

#endif
