/* SPDX-License-Identifier: MIT */
/*
 * A datagram of a relay's session, sent on with the addresses and ports that the relay's own socket
 * would give it. The relay has opened the session and holds its socket, so whatever is not sent on
 * here arrives there and is sent on all the same.
 */
#ifndef SLUICE_XDP_FORWARD_H
#define SLUICE_XDP_FORWARD_H

#include "xdp/fast_frame.h"

/* Where a way's datagrams go from this host; each CPU remembers some until the clock's next
 * tick. */
struct hop {
	__u64 tick;
	__u32 way, generation;
	__u32 ifindex, mtu;
	__u8 to_mac[6], from_mac[6];
	__u32 why; /* FAST_FITS, or why there is none */
};

static always_inline __u32 why_no_hop(long found)
{
	switch (found) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		return FAST_FITS;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return FAST_UP_FORWARDING;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return FAST_UP_NEIGHBOUR;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return FAST_UP_MTU;
	}
	return FAST_UP_ROUTE;
}

/* Looks the next hop up: route, neighbour and MTU. */
static __attribute__((noinline)) int find_hop(struct xdp_md *ctx, const struct fast_way *way,
					      struct hop *hop, void *egress)
{
	struct bpf_fib_lookup fib;

	if (!way || !hop)
		return 0;
	fib_from_here(&fib, way->v6);
	fib.sport = way->src_port;
	fib.dport = way->dst_port;
	if (way->v6) {
		__builtin_memcpy(fib.ipv6_src, way->src, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, way->dst, sizeof(fib.ipv6_dst));
	} else {
		fib.ipv4_src = way->src[0];
		fib.ipv4_dst = way->dst[0];
	}
	hop->why = why_no_hop(bpf_fib_lookup(ctx, &fib, sizeof(fib), 0));
	if (hop->why == FAST_FITS && !bpf_map_lookup_elem(egress, &fib.ifindex))
		hop->why = FAST_UP_EGRESS;
	hop->ifindex = fib.ifindex;
	hop->mtu = fib.mtu_result;
	__builtin_memcpy(hop->to_mac, fib.dmac, sizeof(hop->to_mac));
	__builtin_memcpy(hop->from_mac, fib.smac, sizeof(hop->from_mac));
	return 0;
}

/* Whether one goes up for the neighbour's sake. */
static always_inline bool wants_refresh(struct fast_way *way, __u64 now)
{
	__u64 since = now - way->up_ns;

	if (since < FAST_REFRESH_NS ||
	    (since < 2 * FAST_REFRESH_NS && now - way->last_ns < FAST_GAP_NS))
		return false;
	way->up_ns = now;
	return true;
}

static always_inline void rewrite(struct plain *f, bool v6, const struct fast_way *way,
				  const struct hop *hop)
{
	__builtin_memcpy(f->eth->h_dest, hop->to_mac, sizeof(hop->to_mac));
	__builtin_memcpy(f->eth->h_source, hop->from_mac, sizeof(hop->from_mac));
	if (v6) {
		f->ip6->hop_limit--;
		__builtin_memcpy(&f->ip6->saddr, way->src, sizeof(way->src));
		__builtin_memcpy(&f->ip6->daddr, way->dst, sizeof(way->dst));
	} else {
		f->ip->ttl--;
		f->ip->check = ~fold((__u64)(__u16)~f->ip->check + way->ip_delta);
		f->ip->saddr = way->src[0];
		f->ip->daddr = way->dst[0];
	}
	if (f->udp->check)
		f->udp->check = (__u16)~fold((__u64)(__u16)~f->udp->check + way->udp_delta)
					?: 0xffff;
	f->udp->source = way->src_port;
	f->udp->dest = way->dst_port;
}

/* The maps that it needs. */
struct forward_maps {
	void *keys4, *keys6, *ways, *hops, *egress;
};

/* Sends on, or says why not: FAST_FORWARDED with *ret_action, or a FAST_UP_ with the frame as it
 * was. FAST_UP_SESSION: it is of none. */
static always_inline __u32 forward(struct xdp_md *ctx, const struct packet *p, __u32 l3, bool v6,
				   const struct fast_host *host, const struct forward_maps *maps,
				   int *ret_action)
{
	struct fast_way *way;
	struct plain f;
	struct hop *hop;
	__u32 why = find_headers(ctx, p, l3, v6, &f), *number, slot;
	__u64 now;

	if (why != FAST_FITS)
		return why;
	number = v6 ? bpf_map_lookup_elem(maps->keys6, &f.ip6->saddr)
		    : bpf_map_lookup_elem(maps->keys4, &f.ip->saddr);
	if (!number)
		return FAST_UP_SESSION;
	way = bpf_map_lookup_elem(maps->ways, number);
	slot = *number & (FAST_HOPS - 1);
	hop = bpf_map_lookup_elem(maps->hops, &slot);
	if (!way || !hop || way->v6 != v6)
		return FAST_UP_SESSION;
	why = check_frame(&f, host, v6);
	if (why != FAST_FITS)
		return why;
	if (p->n_tags)
		return FAST_UP_VLAN;
	if ((v6 ? f.ip6->hop_limit : f.ip->ttl) <= 1)
		return FAST_UP_HOP_LIMIT;
	now = bpf_ktime_get_coarse_ns();
	if (hop->tick != now || hop->way != *number || hop->generation != way->generation) {
		if (wants_refresh(way, now))
			return FAST_UP_REFRESH;
		find_hop(ctx, way, hop, maps->egress);
		hop->tick = now;
		hop->way = *number;
		hop->generation = way->generation;
	}
	if (hop->why != FAST_FITS)
		return hop->why;
	/* Padding counts: a device looks at the frame. */
	if (p->bytes - sizeof(*f.eth) > hop->mtu)
		return FAST_UP_MTU;
	rewrite(&f, v6, way, hop);
	__sync_fetch_and_add(&way->packets, 1);
	__sync_fetch_and_add(&way->bytes, p->payload);
	way->last_ns = now;
	*ret_action = hop->ifindex == ctx->ingress_ifindex && !host->redirect
			      ? XDP_TX
			      : (int)bpf_redirect(hop->ifindex, 0);
	return FAST_FORWARDED;
}

#endif
