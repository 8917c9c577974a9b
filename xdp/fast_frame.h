/* SPDX-License-Identifier: MIT */
/*
 * What echo.h and forward.h share: the frame as they change it, and what has to hold for a frame to
 * be served without the stack. Whatever is doubtful goes up.
 */
#ifndef SLUICE_XDP_FAST_FRAME_H
#define SLUICE_XDP_FAST_FRAME_H

#include "xdp/fast.h"
#include "xdp/parse.h"

/* A datagram in place, without options or extension headers. */
struct plain {
	struct ethhdr *eth;
	union {
		struct iphdr *ip;
		struct ipv6hdr *ip6;
	};
	struct udphdr *udp;
};

#define FAST_FITS FAST_REASONS /* no reason against it */

enum { L3_MASK = 0x1f }; /* Ethernet with two tags is 22 bytes; tells the verifier */

/* Finds the headers again, which the filter has parsed. v6 is a constant where this is inlined,
 * here and below: the verifier does not remember what a packet on the stack says of itself. */
static always_inline __u32 find_headers(struct xdp_md *ctx, const struct packet *p, __u32 l3,
					bool v6, struct plain *ret)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 size = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	if (p->fragment)
		return FAST_UP_FRAGMENT;
	if (p->l4 - l3 != size)
		return FAST_UP_HEADERS;
	ret->eth = data;
	ret->ip = data + l3;
	ret->udp = data + l3 + size;
	if (data + sizeof(*ret->eth) > end || (void *)(ret->udp + 1) > end ||
	    p->bytes != (__u64)(end - data))
		return FAST_UP_BUFFERS;
	return FAST_FITS;
}

static always_inline bool is_for(const struct ethhdr *eth, const __u8 mac[6])
{
	const __u16 *a = (const __u16 *)eth->h_dest, *b = (const __u16 *)mac;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

/* Adds 16-bit words until none is carried (RFC 1071). */
static always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* What a sender that leaves the checksum to its device has written: the sum of the pseudo header. A
 * sound checksum is that, too, once in 65,536. */
static always_inline bool is_partial(const struct plain *f, bool v6)
{
	__u64 sum = (__u64)bpf_htons(IPPROTO_UDP) + f->udp->len;
	const __u32 *words = v6 ? (const __u32 *)&f->ip6->saddr : (const __u32 *)&f->ip->saddr;

	sum += (__u64)words[0] + words[1];
	if (v6) {
#pragma unroll
		for (int i = 2; i < 8; i++)
			sum += words[i];
	}
	return fold(sum) == f->udp->check;
}

/* What holds for echo and relay: a frame to this interface, and a checksum to keep. */
static always_inline __u32 check_frame(const struct plain *f, const struct fast_host *host, bool v6)
{
	if (!host->on)
		return FAST_UP_OFF;
	if (!is_for(f->eth, host->mac))
		return FAST_UP_ADDRESS;
	if (!f->udp->check)
		return v6 ? FAST_UP_CHECKSUM : FAST_FITS;
	if (host->partial && is_partial(f, v6))
		return FAST_UP_CHECKSUM;
	return FAST_FITS;
}

/* The fields of a lookup that does not depend on the datagram. The route is one of this host's own
 * datagrams, from the loopback interface, as the kernel itself looks them up; so forwarding has to
 * be on there, and nowhere else. */
static always_inline void fib_from_here(struct bpf_fib_lookup *fib, bool v6)
{
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->family = v6 ? 10 : 2; /* AF_INET6, AF_INET */
	fib->l4_protocol = IPPROTO_UDP;
	fib->ifindex = 1;
	fib->tot_len = 1; /* so that the answer has the MTU */
}

#endif
