/* SPDX-License-Identifier: MIT */
/*
 * What `flood send` runs for every frame: a new source is written into the frame, checksums are
 * set right, and it goes out of an interface. And two yardsticks for `flood cost`.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define WAIT_MAX 10000         /* looks at the clock, for one frame */
#define SLACK (100000ULL << 4) /* what may be caught up on after a pause: a tenth of a ms */

const volatile __u32 ifindex;
const volatile __u32 from, from_random;           /* host order; which bits are random */
const volatile __u16 from_port, from_port_random; /* the same */
const volatile __u32 ip_sum, udp_sum;             /* of all words but the source's */
const volatile __u64 gap;                         /* between frames, 1/16 ns; 0: none */

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

	bpf_loop(WAIT_MAX, try_due, &now, 0);
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

SEC("xdp")
int flood(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct udphdr *udp = (void *)(ip + 1);
	__u32 random, addr, sum;
	__u16 port;

	if ((void *)(udp + 1) > end)
		return XDP_ABORTED;
	if (gap && !is_due())
		return XDP_DROP;
	random = from_random || from_port_random ? bpf_get_prandom_u32() : 0;
	addr = bpf_htonl(from | (random & from_random));
	port = bpf_htons(from_port | (random >> 16 & from_port_random));
	sum = (addr & 0xffff) + (addr >> 16);
	ip->saddr = addr;
	ip->check = fold(ip_sum + sum);
	udp->source = port;
	udp->check = fold(udp_sum + sum + port) ?: 0xffff;
	sent++;
	return bpf_redirect(ifindex, 0);
}

/* What BPF_PROG_TEST_RUN itself costs. */
SEC("xdp")
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
