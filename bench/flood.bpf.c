/* SPDX-License-Identifier: MIT */
/*
 * What `flood send` runs for every frame: its headers are written, with another source each time,
 * and it goes out of an interface. What `flood count` runs where frames come back. And yardsticks
 * for `flood cost`.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bench/xdp_count.h"

#define SLACK (100000ULL << 4) /* what may be caught up on after a pause: a tenth of a ms */

const volatile __u32 ifindex;
const volatile __u32 from, from_random;           /* host order; which bits are random */
const volatile __u16 from_port, from_port_random; /* the same */
const volatile __u16 ports;                       /* so many from from_port on, in turn; 0: no */
const volatile bool stamped;                      /* the payload begins with the time, in ns */
const volatile __u32 ip_sum, udp_sum;             /* of all words but the source's and the time */
const volatile __u64 header[6];                   /* Ethernet, IP and UDP: 42 bytes */
const volatile __u64 gap;                         /* between frames, 1/16 ns; 0: none */
const volatile __u32 wait_max;                    /* looks at the clock, for one frame */

__u64 due;         /* 1/16 ns: when the next frame may go */
__u64 first, last; /* the same: when frames went, if there is a gap */
__u64 sent;

char LICENSE[] SEC("license") = "Dual MIT/GPL";

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static long try_due(__u32 i, __u64 *now)
{
	*now = bpf_ktime_get_ns() << 4;
	return *now >= due;
}

/* Waits in here: a frame that were dropped instead would go back to its pool, and the core that
 * receives would wait for the lock of that. */
static __always_inline bool is_due(void)
{
	__u64 now = 0;

	bpf_loop(wait_max, try_due, &now, 0);
	if (now < due)
		return false;
	if (now - due > SLACK)
		due = now - SLACK;
	due += gap;
	if (!first)
		first = now;
	last = now;
	return true;
}

/* A frame's memory comes back as its receiver has left it, who may have made an answer of it. The
 * packet has 42 bytes. */
static __always_inline void write_header(void *data)
{
	__u64 *words = data;

#pragma unroll
	for (int i = 0; i < 5; i++)
		words[i] = header[i];
	*(__u16 *)(words + 5) = header[5];
}

static __always_inline __u16 source_port(__u32 random)
{
	return ports ? from_port + sent % ports : from_port | (random >> 16 & from_port_random);
}

/* Writes the time and returns the sum of its words. */
static __always_inline __u32 write_stamp(__u64 *stamp)
{
	__u64 now = bpf_ktime_get_ns();

	*stamp = now;
	return (now & 0xffff) + (now >> 16 & 0xffff) + (now >> 32 & 0xffff) + (now >> 48);
}

SEC("xdp")
int flood(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct udphdr *udp = (void *)(ip + 1);
	__u64 *stamp = (void *)(udp + 1);
	__u32 random, addr, sum;
	__u16 port;

	if ((void *)(stamp + 1) > end)
		return XDP_ABORTED;
	if (gap && !is_due())
		return XDP_DROP;
	write_header(data);
	random = from_random || from_port_random ? bpf_get_prandom_u32() : 0;
	addr = bpf_htonl(from | (random & from_random));
	port = bpf_htons(source_port(random));
	sum = (addr & 0xffff) + (addr >> 16);
	ip->saddr = addr;
	ip->check = fold(ip_sum + sum);
	udp->source = port;
	if (stamped)
		sum += write_stamp(stamp);
	udp->check = fold(udp_sum + sum + port) ?: 0xffff;
	sent++;
	return bpf_redirect(ifindex, 0);
}

/* --- counting -------------------------------------------------------------------------------- */

const volatile __u16 count_port; /* host order */
const volatile bool count_from;  /* of the source, not of the destination */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNT_SESSIONS_MAX);
	__type(key, __u32);
	__type(value, struct count_session);
} sessions SEC(".maps");

static __always_inline void count_time(struct counts *c, __u64 sent_ns, __u32 number)
{
	__s64 transit = bpf_ktime_get_ns() - sent_ns, d;
	__u32 i = count_bucket(transit);
	struct count_session *session;

	if (i < COUNT_BUCKETS)
		c->bucket[i]++;
	session = number < ports ? bpf_map_lookup_elem(&sessions, &number) : NULL;
	if (!session)
		return;
	d = transit - session->transit_ns;
	if (session->frames++)
		session->jitter16 += (d < 0 ? -d : d) - ((session->jitter16 + 8) >> 4);
	session->transit_ns = transit;
}

/* The frames of one port end here, and all others pass. */
SEC("xdp")
int count(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u64 *stamp = (void *)(udp + 1);
	struct counts *c;
	__u32 zero = 0;

	if ((void *)(stamp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_UDP ||
	    (count_from ? udp->source : udp->dest) != bpf_htons(count_port))
		return XDP_PASS;
	c = bpf_map_lookup_elem(&counted, &zero);
	if (!c)
		return XDP_ABORTED;
	c->frames++;
	if (stamped)
		count_time(c, *stamp, (__u16)(bpf_ntohs(udp->dest) - from_port));
	return XDP_DROP;
}

/* --- yardsticks ------------------------------------------------------------------------------ */

/* What BPF_PROG_TEST_RUN itself costs. */
SEC("xdp.frags")
int empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* And with the kernel's precise clock read once. */
SEC("xdp")
int clock(struct xdp_md *ctx)
{
	return bpf_ktime_get_ns() ? XDP_PASS : XDP_ABORTED;
}

__u64 restored[6]; /* the headers that `restore` writes */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} measured SEC(".maps");

/* BPF_PROG_TEST_RUN gives the same packet to every run, so what a program changes in it has to be
 * undone before the next. */
SEC("xdp.frags")
int restore(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 *words = data;

	if (data + 42 > end)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < 5; i++)
		words[i] = restored[i];
	*(__u16 *)(words + 5) = restored[5];
	bpf_tail_call_static(ctx, &measured, 0);
	return XDP_ABORTED;
}
