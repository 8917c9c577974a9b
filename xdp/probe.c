/* SPDX-License-Identifier: MIT */
/* What of the filter works here, found out by trying. */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "xdp/load.h"

static void row(struct xdp_probe_row *r, const char *name, const char *since, bool required)
{
	memset(r, 0, sizeof(*r));
	r->name = name;
	r->since = since;
	r->required = required;
}

static void probe_filter(struct xdp_probe_row *r)
{
	struct rule_set rules = {0};
	struct xdp *xdp = NULL;

	row(r, "filter", "5.18", true);
	if (rule_set_init(&rules)) {
		snprintf(r->why, sizeof(r->why), "out of memory");
		return;
	}
	r->found = !xdp_load(&(struct xdp_conf){.rules = &rules}, &xdp, r->why);
	xdp_close(xdp);
	rule_set_free(&rules);
}

static void probe_jit(struct xdp_probe_row *r)
{
	FILE *file = fopen("/proc/sys/net/core/bpf_jit_enable", "re");
	int enabled = 1;

	row(r, "jit", "3.19", false);
	if (file) {
		if (fscanf(file, "%d", &enabled) != 1)
			enabled = 0;
		fclose(file);
	}
	r->found = enabled != 0;
	snprintf(r->why, sizeof(r->why),
		 "programs are interpreted, many times slower: sysctl -w "
		 "net.core.bpf_jit_enable=1");
}

static void probe_bpffs(struct xdp_probe_row *r)
{
	struct statfs fs;

	row(r, "bpffs", "4.4", false);
	r->found = !statfs(XDP_BPFFS, &fs) && (unsigned)fs.f_type == BPF_FS_MAGIC;
	snprintf(r->why, sizeof(r->why),
		 "'sluice xdp attach' pins below " XDP_BPFFS ": mount -t bpf bpf " XDP_BPFFS);
}

/* Others' programs and links by number: what `sluice xdp` on a filter in force does. */
static void probe_ids(struct xdp_probe_row *r)
{
	uint32_t id = 0;

	row(r, "control", "5.9", false);
	r->found = !bpf_prog_get_next_id(0, &id) || errno == ENOENT;
	snprintf(r->why, sizeof(r->why),
		 "looking at a filter that is in force needs CAP_SYS_ADMIN: run as root");
}

static void probe_fast(struct xdp_probe_row *r)
{
	struct rule_set rules = {0};
	struct xdp *xdp = NULL;

	row(r, "fast-path", "5.18", false);
	if (rule_set_init(&rules)) {
		snprintf(r->why, sizeof(r->why), "out of memory");
		return;
	}
	r->found = !xdp_load(&(struct xdp_conf){.rules = &rules, .fast = FAST_ECHO}, &xdp, r->why);
	xdp_close(xdp);
	rule_set_free(&rules);
}

/* What a relay's fast path needs of the network namespace that this runs in. */
static void probe_routes(struct xdp_probe_row *r, const char *name, int family, const char *since)
{
	row(r, name, since, false);
	r->found = xdp_fast_can_route(family);
	snprintf(r->why, sizeof(r->why),
		 "the kernel looks no routes up for a relay's fast path: sysctl -w "
		 "net.%s.conf.lo.forwarding=1 (of the loopback interface alone)",
		 family == AF_INET ? "ipv4" : "ipv6");
}

static void probe_watch(struct xdp_probe_row *r)
{
	row(r, "watch", "5.5", false);
	r->found = !access("/sys/kernel/btf/vmlinux", R_OK);
	snprintf(r->why, sizeof(r->why),
		 "the kernel has no type information (CONFIG_DEBUG_INFO_BTF): the fast path cannot "
		 "know of an interface that takes no frames");
}

uint32_t xdp_probe(struct xdp_probe_row rows[XDP_PROBE_ROWS_MAX])
{
	probe_filter(&rows[0]);
	probe_jit(&rows[1]);
	probe_bpffs(&rows[2]);
	probe_ids(&rows[3]);
	probe_fast(&rows[4]);
	probe_routes(&rows[5], "routes-ipv4", AF_INET, "5.18");
	probe_routes(&rows[6], "routes-ipv6", AF_INET6, "5.18");
	probe_watch(&rows[7]);
	return 8;
}
