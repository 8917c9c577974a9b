/* SPDX-License-Identifier: MIT */
/*
 * From a frame to the datagram in it, for the filter. The headers of a frame in several buffers
 * may lie anywhere (some drivers leave the first buffer empty): where one is not in the linear
 * part, all are parsed again by copies.
 */
#ifndef SLUICE_XDP_PARSE_H
#define SLUICE_XDP_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "xdp/filter.h"

#define always_inline inline __attribute__((always_inline))

/* What stands in a frame. */
enum parsed {
	PARSED_OTHER,          /* not UDP, as far as can be told */
	PARSED_UDP,            /* a datagram, or the first fragment of one */
	PARSED_LATER_FRAGMENT, /* of a UDP datagram, not the first */
	PARSED_MALFORMED,
	PARSED_HEADER_CHAIN,
	PARSED_TORN, /* a header is not in the linear part */
};

struct frame {
	struct xdp_md *ctx;
	void *data, *end; /* the linear part */
};

struct packet {
	__u64 bytes;          /* of the whole frame */
	__u32 src[4], dst[4]; /* network order; IPv4 in the first */
	__u16 port;           /* destination, host order; meaningful when has_port */
	__u16 payload;        /* bytes, as the UDP header has it */
	__u8 v6, has_port, fragment;
	__u8 n_tags;
	__u16 l3, l4;                 /* where the IP and the UDP header are, of PARSED_UDP */
	__u16 vlan[FILTER_VLAN_MAX]; /* numbers of the tags */
};

struct vlan_header {
	__be16 tci, proto;
};

/* The first two bytes of every IPv6 extension header that is walked over (RFC 8200, RFC 4302), and
 * the rest of a fragment header; none is shorter. */
struct ext_header {
	__u8 next, length;
	__be16 offset;
	__be32 id;
};

enum {
	VLAN_NUMBER = 0x0fff,
	IPV4_OFFSET = 0x1fff,
	IPV4_MORE = 0x2000,
	IPV6_OFFSET = 0xfff8,
	IPV6_MORE = 0x0001,
};

enum {
	NEXT_HOP_BY_HOP = 0,
	NEXT_ROUTING = 43,
	NEXT_FRAGMENT = 44,
	NEXT_AH = 51,
	NEXT_DESTINATION = 60,
	NEXT_MOBILITY = 135,
	NEXT_HIP = 139,
	NEXT_SHIM6 = 140,
};

/* A header at an offset: in place, or copied. NULL: beyond the linear part, or the frame. torn is a
 * constant where this is inlined. */
static always_inline void *header(const struct frame *f, __u32 offset, void *copy, __u32 size,
				  bool torn)
{
	if (torn)
		return bpf_xdp_load_bytes(f->ctx, offset, copy, size) ? NULL : copy;
	return f->data + offset + size > f->end ? NULL : f->data + offset;
}

/* What to say where what ends at an offset is not there: `cut` when the frame ends before. */
static always_inline enum parsed beyond(const struct packet *p, __u64 end, enum parsed cut)
{
	return end > p->bytes ? cut : PARSED_TORN;
}

/* The UDP header at `offset`, behind which the IP packet has ip_payload bytes. */
static always_inline enum parsed parse_udp(const struct frame *f, struct packet *p, __u32 offset,
					   __s32 ip_payload, bool torn)
{
	struct udphdr copy, *udp;
	__u16 length;

	if (ip_payload < (__s32)sizeof(*udp))
		return PARSED_MALFORMED;
	udp = header(f, offset, &copy, sizeof(*udp), torn);
	if (!udp)
		return beyond(p, offset + sizeof(*udp), PARSED_MALFORMED);
	length = bpf_ntohs(udp->len);
	if (length < sizeof(*udp) || (!p->fragment && length > ip_payload))
		return PARSED_MALFORMED;
	p->payload = length - sizeof(*udp);
	p->l4 = (__u16)offset;
	return PARSED_UDP;
}

/* Notes the port if it is there. False: it may be, but not in the linear part. */
static always_inline bool read_port(const struct frame *f, struct packet *p, __u32 offset,
				    bool torn)
{
	__be16 copy[2], *ports = header(f, offset, copy, sizeof(copy), torn);

	if (!ports)
		return offset + sizeof(copy) > p->bytes;
	p->port = bpf_ntohs(ports[1]);
	p->has_port = 1;
	return true;
}

static always_inline enum parsed parse_ipv4(const struct frame *f, struct packet *p, __u32 offset,
					    bool torn)
{
	struct iphdr copy, *ip = header(f, offset, &copy, sizeof(copy), torn);
	__u64 left = p->bytes - offset;
	__u32 length, total;
	__u16 fragment;

	if (!ip)
		return beyond(p, offset + sizeof(*ip), PARSED_OTHER);
	if (ip->version != 4 || ip->protocol != IPPROTO_UDP)
		return PARSED_OTHER;
	length = ip->ihl * 4u;
	total = bpf_ntohs(ip->tot_len);
	fragment = bpf_ntohs(ip->frag_off) & (IPV4_OFFSET | IPV4_MORE);
	p->dst[0] = ip->daddr;
	p->src[0] = ip->saddr;
	if (length < sizeof(*ip) || length > left)
		return PARSED_MALFORMED;
	offset += length;
	if (!(fragment & IPV4_OFFSET) && !read_port(f, p, offset, torn))
		return PARSED_TORN;
	if (total < length || total > left)
		return PARSED_MALFORMED;
	if (fragment & IPV4_OFFSET)
		return PARSED_LATER_FRAGMENT;
	p->fragment = fragment != 0;
	return parse_udp(f, p, offset, (__s32)(total - length), torn);
}

/* How long an extension header is: 8 bytes and `unit - 1` for each count of its length field; unit
 * 0: the number is none of an extension header. A table, since each branch on a number would be a
 * path of its own for the verifier, over again for each header. */
const volatile __u8 ext_units[256] = {
	[NEXT_HOP_BY_HOP] = 9, [NEXT_ROUTING] = 9, [NEXT_DESTINATION] = 9, [NEXT_MOBILITY] = 9,
	[NEXT_HIP] = 9,        [NEXT_SHIM6] = 9,   [NEXT_AH] = 5,          [NEXT_FRAGMENT] = 1,
};

enum { EXT_LENGTH_MASK = 0xffc }; /* 255 * 8 + 8 fits; tells the verifier, alignment included */

/*
 * Walks over extension headers from *offset on. Returns PARSED_UDP with *offset at the UDP header,
 * or what else the packet turned out to be. A first fragment has to hold all of its headers (RFC
 * 7112), in front of ends, where the packet ends: else what the next fragment brings would decide
 * whom the datagram is for.
 */
static always_inline enum parsed walk_ipv6(const struct frame *f, struct packet *p, __u8 next,
					   __u32 *offset, __u64 ends, bool torn)
{
	__u8 more = 0;

	for (int i = 0; i <= FILTER_EXT_MAX; i++) {
		struct ext_header copy, *ext;
		__u32 unit = ext_units[next];

		if (next == IPPROTO_UDP) {
			p->fragment = more;
			return PARSED_UDP;
		}
		if (!unit)
			return PARSED_OTHER;
		if (i == FILTER_EXT_MAX)
			return PARSED_HEADER_CHAIN;
		if (more && *offset + sizeof(copy) > ends)
			return PARSED_HEADER_CHAIN;
		ext = header(f, *offset, &copy, sizeof(copy), torn);
		if (!ext)
			return beyond(p, *offset + sizeof(copy), PARSED_OTHER);
		if (next == NEXT_FRAGMENT) {
			__u16 field = bpf_ntohs(ext->offset);

			if (field & IPV6_OFFSET)
				return ext->next == IPPROTO_UDP ? PARSED_LATER_FRAGMENT
								: PARSED_OTHER;
			more |= field & IPV6_MORE;
		}
		next = ext->next;
		*offset += (ext->length * (unit - 1) + 8) & EXT_LENGTH_MASK;
		if (*offset > p->bytes)
			return more ? PARSED_HEADER_CHAIN : PARSED_OTHER;
	}
	return PARSED_HEADER_CHAIN;
}

static always_inline enum parsed parse_ipv6(const struct frame *f, struct packet *p, __u32 offset,
					    bool torn)
{
	struct ipv6hdr copy, *ip = header(f, offset, &copy, sizeof(copy), torn);
	__u64 left = p->bytes - offset, ends;
	__u32 payload, first = offset + sizeof(*ip), at = first;
	enum parsed parsed;

	if (!ip)
		return beyond(p, first, PARSED_OTHER);
	if (ip->version != 6)
		return PARSED_OTHER;
	p->v6 = 1;
	__builtin_memcpy(p->src, &ip->saddr, sizeof(p->src));
	__builtin_memcpy(p->dst, &ip->daddr, sizeof(p->dst));
	payload = bpf_ntohs(ip->payload_len);
	ends = payload + sizeof(*ip) > left ? p->bytes : first + payload;
	parsed = walk_ipv6(f, p, ip->nexthdr, &at, ends, torn);
	if (parsed != PARSED_UDP)
		return parsed;
	if (p->fragment && at + sizeof(struct udphdr) > ends)
		return PARSED_HEADER_CHAIN;
	if (!read_port(f, p, at, torn))
		return PARSED_TORN;
	if (payload + sizeof(*ip) > left || at - first > payload)
		return PARSED_MALFORMED;
	return parse_udp(f, p, at, (__s32)(payload - (at - first)), torn);
}

/* Behind FILTER_VLAN_MAX tags nothing is looked for. But the kernel takes off all tags without a
 * number, however many, so that with one of those it would find what was not looked at. */
static always_inline enum parsed parse_headers(const struct frame *f, struct packet *p, bool torn)
{
	struct ethhdr copy, *eth = header(f, 0, &copy, sizeof(copy), torn);
	__u32 offset = sizeof(*eth);
	bool unnumbered = false;
	__be16 proto;

	if (!eth)
		return beyond(p, sizeof(*eth), PARSED_OTHER);
	proto = eth->h_proto;
#pragma unroll
	for (int i = 0; i <= FILTER_VLAN_MAX; i++) {
		struct vlan_header vlan_copy, *tag;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		tag = header(f, offset, &vlan_copy, sizeof(*tag), torn);
		if (!tag)
			return beyond(p, offset + sizeof(*tag), PARSED_OTHER);
		unnumbered |= !(tag->tci & bpf_htons(VLAN_NUMBER));
		if (i == FILTER_VLAN_MAX)
			return unnumbered ? PARSED_HEADER_CHAIN : PARSED_OTHER;
		p->vlan[i] = bpf_ntohs(tag->tci) & VLAN_NUMBER;
		p->n_tags = i + 1;
		proto = tag->proto;
		offset += sizeof(*tag);
	}
	p->l3 = (__u16)offset;
	if (proto == bpf_htons(ETH_P_IP))
		return parse_ipv4(f, p, offset, torn);
	if (proto == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(f, p, offset, torn);
	return PARSED_OTHER;
}

/* Any frame, of p->bytes. A global function: verified once, on its own. */
__attribute__((noinline)) int parse_any(struct xdp_md *ctx, struct packet *p)
{
	const struct frame f = {
		.ctx = ctx, .data = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end};
	enum parsed parsed;
	__u64 bytes;

	if (!p)
		return PARSED_OTHER;
	parsed = parse_headers(&f, p, false);
	if (parsed != PARSED_TORN)
		return parsed;
	bytes = p->bytes;
	*p = (struct packet){.bytes = bytes};
	return parse_headers(&f, p, true);
}

/* The frame that nearly all are: no tags, options, extension headers or fragments, nothing wrong,
 * and in one piece. False, and nothing done, when it is any other. */
static always_inline bool parse_plain(struct xdp_md *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct ipv6hdr *ip6 = data + sizeof(*eth);
	struct udphdr *udp;
	__u32 left, length;

	if ((void *)(ip + 1) + sizeof(*udp) > end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		if (*(__u8 *)ip != 0x45 || ip->protocol != IPPROTO_UDP ||
		    ip->frag_off & bpf_htons(IPV4_OFFSET | IPV4_MORE))
			return false;
		udp = (void *)(ip + 1);
		left = bpf_ntohs(ip->tot_len);
		length = bpf_ntohs(udp->len);
		if ((void *)ip + left > end || length < sizeof(*udp) || length + sizeof(*ip) > left)
			return false;
		p->src[0] = ip->saddr;
		p->dst[0] = ip->daddr;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		udp = (void *)(ip6 + 1);
		if ((void *)(udp + 1) > end || ip6->version != 6 || ip6->nexthdr != IPPROTO_UDP)
			return false;
		left = bpf_ntohs(ip6->payload_len);
		length = bpf_ntohs(udp->len);
		if ((void *)udp + left > end || length < sizeof(*udp) || length > left)
			return false;
		p->v6 = 1;
		__builtin_memcpy(p->src, &ip6->saddr, sizeof(p->src));
		__builtin_memcpy(p->dst, &ip6->daddr, sizeof(p->dst));
	} else {
		return false;
	}
	p->port = bpf_ntohs(udp->dest);
	p->payload = length - sizeof(*udp);
	p->has_port = 1;
	p->l3 = sizeof(*eth);
	p->l4 = (__u16)((void *)udp - data);
	return true;
}

#endif
