/* SPDX-License-Identifier: MIT */
/* The programs that watch what becomes of frames that the fast path sends (watch.bpf.c). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "xdp/load.h"
#include "xdp/watch.skel.h"

int load_watch(struct xdp *xdp)
{
	struct watch_bpf *skel = watch_bpf__open();
	int err;

	if (!skel)
		return -errno;
	err = bpf_map__reuse_fd(skel->maps.host, xdp->map_fd[MAP_HOST]);
	if (!err)
		err = xdp->stored.fast == FAST_RELAY
			      ? bpf_map__reuse_fd(skel->maps.egress, xdp->map_fd[MAP_EGRESS])
			      : 0;
	if (!err)
		err = watch_bpf__load(skel);
	if (!err)
		err = watch_bpf__attach(skel);
	if (err) {
		watch_bpf__destroy(skel);
		return err < 0 ? err : -err;
	}
	xdp->watch = skel;
	return 0;
}

void load_unwatch(struct xdp *xdp)
{
	watch_bpf__destroy(xdp->watch);
	xdp->watch = NULL;
}

int xdp_fast_refused(const struct xdp *xdp)
{
	struct fast_host *host = load_map_values(xdp, MAP_HOST, sizeof(*host));
	int err;

	if (!host)
		return 0;
	err = -(int)__atomic_load_n(&host->refused, __ATOMIC_SEQ_CST);
	load_unmap(host, sizeof(*host));
	return err;
}
