/* SPDX-License-Identifier: MIT */
/*
 * A UDP echo, answered where the request came from. Never what the socket echo would not answer: a
 * request for another host, group or broadcast, from this host, or from a port whose service might
 * answer back (udp_would_reflect in core/udp.c). Such ones go up, where that is decided, and
 * counted.
 * The answer is what a socket would send: a fresh hop limit, no traffic class; the checksum of UDP
 * covers the same words as before, so it stays, and so does one that is wrong.
 */
#ifndef SLUICE_XDP_ECHO_H
#define SLUICE_XDP_ECHO_H

#include "xdp/fast_frame.h"

static always_inline __u32 local_kind(const struct fast_locals *bucket, const __u32 addr[4])
{
#pragma unroll
	for (int i = 0; i < FAST_LOCAL_SLOTS; i++) {
		const __u32 *at = bucket->addr[i];

		if (!bucket->kind[i])
			break;
		if (at[3] == addr[3] && at[2] == addr[2] && at[1] == addr[1] && at[0] == addr[0])
			return bucket->kind[i];
	}
	return FAST_LOCAL_NONE;
}

/* Sources that are nobody's, whatever the host's addresses (RFC 6890). */
static always_inline bool is_odd_source4(__u32 addr)
{
	__u8 first = bpf_ntohl(addr) >> 24;

	return first == 0 || first == 127 || first >= 224;
}

/* Unspecified, loopback, and IPv4 in IPv6. */
static always_inline bool is_odd6(const __u32 addr[4])
{
	return addr[0] == 0 && addr[1] == 0;
}

static always_inline bool is_odd_source6(const __u32 addr[4])
{
	if (is_odd6(addr))
		return true;
	return (bpf_ntohl(addr[0]) & 0xff000000) == 0xff000000;
}

static always_inline bool is_odd_port(__u16 port)
{
	switch (bpf_ntohs(port)) {
	case 0:
	case 7:
	case 9:
	case 13:
	case 17:
	case 19:
		return true;
	}
	return false;
}

static always_inline bool has_vlans(const struct packet *p, const struct fast_host *host)
{
#pragma unroll
	for (int i = 0; i < FILTER_VLAN_MAX; i++) {
		__u32 number = p->vlan[i] & (FAST_VLANS - 1);

		if (i < p->n_tags && number && !(host->vlans[number / 64] >> number % 64 & 1))
			return false;
	}
	return true;
}

/* Strict reverse path filtering (RFC 3704, section 2.2), as the stack does for IPv4. */
static __attribute__((noinline)) __u32 check_reverse(struct xdp_md *ctx, const struct packet *p)
{
	struct bpf_fib_lookup fib;
	long found;

	fib_from_here(&fib, false);
	fib.ipv4_src = p->dst[0];
	fib.ipv4_dst = p->src[0];
	found = bpf_fib_lookup(ctx, &fib, sizeof(fib), BPF_FIB_LOOKUP_SKIP_NEIGH);
	if (found == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return FAST_UP_FORWARDING;
	return found == BPF_FIB_LKUP_RET_SUCCESS && fib.ifindex == ctx->ingress_ifindex
		       ? FAST_FITS
		       : FAST_UP_SOURCE;
}

static always_inline const struct fast_locals *locals_of(void *locals, const __u32 addr[4])
{
	__u32 bucket = fast_local_bucket(addr);

	return bpf_map_lookup_elem(locals, &bucket);
}

static always_inline __u32 check_addresses(void *locals, const struct packet *p, bool v6)
{
	__u32 src[4] = {0, 0, bpf_htonl(0xffff), p->src[0]};
	__u32 dst[4] = {0, 0, bpf_htonl(0xffff), p->dst[0]};
	const __u32 *from = v6 ? p->src : src, *to = v6 ? p->dst : dst;
	const struct fast_locals *bucket = locals_of(locals, to);

	if (!bucket || local_kind(bucket, to) != FAST_LOCAL_UNICAST || (v6 && is_odd6(p->dst)))
		return FAST_UP_ADDRESS;
	if (v6 ? is_odd_source6(p->src) : is_odd_source4(p->src[0]))
		return FAST_UP_SOURCE;
	bucket = locals_of(locals, from);
	if (!bucket || local_kind(bucket, from))
		return FAST_UP_SOURCE;
	return FAST_FITS;
}

static always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 mac[6];

	__builtin_memcpy(mac, eth->h_dest, sizeof(mac));
	__builtin_memcpy(eth->h_dest, eth->h_source, sizeof(mac));
	__builtin_memcpy(eth->h_source, mac, sizeof(mac));
}

/* Two words of the header change: the one with the type of service, and the one with the hops. */
static always_inline void answer4(struct iphdr *ip, __u8 hops)
{
	__u16 *words = (__u16 *)ip, class = words[0], life = words[4];
	__u64 sum = (__u16)~ip->check;
	__u32 src = ip->saddr;

	ip->tos = 0;
	ip->ttl = hops;
	sum += (__u32)(__u16) ~class + words[0] + (__u16)~life + words[4];
	ip->check = ~fold(sum);
	ip->saddr = ip->daddr;
	ip->daddr = src;
}

static always_inline void answer6(struct ipv6hdr *ip, const struct packet *p, __u8 hops)
{
	*(__u32 *)ip = bpf_htonl(6U << 28);
	ip->hop_limit = hops;
	__builtin_memcpy(&ip->saddr, p->dst, sizeof(p->dst));
	__builtin_memcpy(&ip->daddr, p->src, sizeof(p->src));
}

/* Answers, or says why not: FAST_ECHOED, or a FAST_UP_ with the frame as it was. */
static always_inline __u32 echo(struct xdp_md *ctx, const struct packet *p, __u32 l3, bool v6,
				const struct fast_host *host, void *locals)
{
	struct plain f;
	__u32 why = find_headers(ctx, p, l3, v6, &f);
	__u16 port;

	if (why == FAST_FITS)
		why = check_frame(&f, host, v6);
	if (why == FAST_FITS)
		why = check_addresses(locals, p, v6);
	if (why != FAST_FITS)
		return why;
	port = f.udp->source;
	if (is_odd_port(port) || f.eth->h_source[0] & 1)
		return FAST_UP_SOURCE;
	if (p->n_tags && !has_vlans(p, host))
		return FAST_UP_VLAN;
	if (host->reverse && !v6) {
		why = check_reverse(ctx, p);
		if (why != FAST_FITS)
			return why;
	}
	swap_macs(f.eth);
	if (v6)
		answer6(f.ip6, p, host->hop_limit6);
	else
		answer4(f.ip, host->hop_limit4);
	f.udp->source = f.udp->dest;
	f.udp->dest = port;
	return FAST_ECHOED;
}

#endif
