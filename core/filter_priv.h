/* SPDX-License-Identifier: MIT */
/* What filter.c (the filters of a server) and filter_fast.c (what they serve) share. */
#ifndef SLUICE_FILTER_PRIV_H
#define SLUICE_FILTER_PRIV_H

#include <stdatomic.h>

#include "filter.h"
#include "xdp/xdp.h"

enum { FILTER_WHY_MAX = 256, FILTER_LISTEN_MAX = 64 };

struct filter_at {
	struct xdp *xdp;
	struct xdp_info info;
	bool fast; /* serves: has the fast path, is attached, and was not switched off */
};

struct filter {
	const struct opt *opt;
	const struct log *log;
	struct serve_filter hooks;
	struct rule_set rules;
	struct filter_at at[OPT_XDP_MAX];
	int n;

	enum fast_mode fast; /* FAST_OFF: none of the interfaces serves, for why */
	char why[FILTER_WHY_MAX];
	char text[OPT_XDP_MAX * IF_NAMESIZE + 8]; /* of filter_fast_path */
	struct xdp_sessions *sessions;
	struct udp_fast sessions_ops;
	bool routes4, routes6; /* the kernel looks routes up for programs; and there is a target */
	bool draining;
	uint32_t ticks;
};

/* filter_fast.c: before anything is attached: which fast path, if any, the server's listeners can
 * have. EXIT_SUCCESS with f->fast and what it needs; or the exit status, with the reason logged. */
int filter_fast_plan(struct filter *f, const struct serve_udp *udp);

/* Whether an interface in that mode serves; if not, f->why says why. */
bool filter_fast_takes(struct filter *f, const struct xdp_info *info);

/* All are attached: switches on. Status as above. */
int filter_fast_start(struct filter *f, const struct serve_udp *udp);

/* What serve_filter has of these names. */
const struct udp_fast *filter_fast_sessions(void *ctx);
const char *filter_fast_path(void *ctx, const union addr_inet *listen);
bool filter_fast_tick(void *ctx);
void filter_fast_drain(void *ctx);

/* Lines about what an interface has served. */
void filter_fast_print(const struct xdp_info *info, const struct xdp_stats *stats, bool summary);

#endif
