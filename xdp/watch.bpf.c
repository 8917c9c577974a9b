/* SPDX-License-Identifier: MIT */
/*
 * Frames that the fast path sends out of an interface can vanish without an error to it: the other
 * end of a veth takes them only with GRO or an XDP program of its own, and many drivers only while
 * they have a program themselves. The kernel tells tracepoints alone. So what is refused here takes
 * its interface out of use, before the program has seen the next frames; they go up.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "xdp/fast.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* The kernel's own, as far as it is looked at. */
struct ns_common {
	unsigned int inum;
} __attribute__((preserve_access_index));

struct net {
	struct ns_common ns;
} __attribute__((preserve_access_index));

typedef struct {
	struct net *net;
} __attribute__((preserve_access_index)) possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
} __attribute__((preserve_access_index));

/* Those of the filter that is watched. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct fast_host);
} host SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FAST_EGRESS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} egress SEC(".maps");

/* What passes by itself, or is one frame's own fault, is no refusal. */
static bool passes(int err)
{
	return err == 0 || err == -ENETDOWN || err == -EMSGSIZE || err == -ENOSPC ||
	       err == -ENOBUFS || err == -EBUSY || err == -EAGAIN;
}

/* dev is one of the same network namespace: each has indexes of its own. */
static void refuse(const struct net_device *dev, __u32 ifindex, int err)
{
	struct fast_host *own;
	__u32 zero = 0;

	own = bpf_map_lookup_elem(&host, &zero);
	if (passes(err) || !own || own->ifindex != ifindex ||
	    own->netns != dev->nd_net.net->ns.inum)
		return;
	own->refused = -err;
	own->on = 0;
	bpf_map_delete_elem(&egress, &ifindex);
}

/* A batch of frames: err where none was taken because they cannot be; drops without it are those
 * that found the queue full. */
SEC("tp_btf/xdp_devmap_xmit")
int BPF_PROG(on_devmap_xmit, const struct net_device *from, const struct net_device *to, int sent,
	     int drops, int err)
{
	refuse(to, (__u32)to->ifindex, err);
	return 0;
}

SEC("tp_btf/xdp_bulk_tx")
int BPF_PROG(on_bulk_tx, const struct net_device *dev, int sent, int drops, int err)
{
	refuse(dev, (__u32)dev->ifindex, err);
	return 0;
}

/* A frame for an interface that takes none: it has lost what it took them with. Of bpf_redirect(),
 * index is the interface's; of maps it is a key. */
SEC("tp_btf/xdp_redirect_err")
int BPF_PROG(on_redirect_err, const struct net_device *from, const void *program, const void *to,
	     int err, int map_type, __u32 map_id, __u32 index)
{
	if (map_type == BPF_MAP_TYPE_UNSPEC)
		refuse(from, index, err);
	return 0;
}
