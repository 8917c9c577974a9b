/* SPDX-License-Identifier: MIT */
/*
 * One set takes the place of another: a new program with maps of its own is loaded beside the one
 * in force, and the link turns from one to the other, so that every packet is judged by one set.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "core/util.h"
#include "xdp/load.h"

/* Rules of both sets: where they stand. */
struct pair {
	uint32_t old, new;
};

static int compare_order(const void *a, const void *b, void *rules)
{
	const struct load_rule *r = rules;

	return memcmp(&r[*(const uint32_t *)a].rule, &r[*(const uint32_t *)b].rule,
		      sizeof(struct rule));
}

static uint32_t *sort_rules(struct load_rule *rules, uint32_t n)
{
	uint32_t *order = malloc(n * sizeof(*order));

	for (uint32_t i = 0; order && i < n; i++)
		order[i] = i;
	if (order)
		qsort_r(order, n, sizeof(*order), compare_order, rules);
	return order;
}

/* Finds the rules that stay. Returns how many, or -ENOMEM. */
static int64_t pair_rules(struct load_rule *old, uint32_t n_old, struct load_rule *new,
			  uint32_t n_new, struct pair *pairs)
{
	uint32_t *old_order = sort_rules(old, n_old), *new_order = sort_rules(new, n_new);
	uint32_t i = 0, j = 0;
	int64_t n = 0;

	while (old_order && new_order && i < n_old && j < n_new) {
		int order = memcmp(&old[old_order[i]].rule, &new[new_order[j]].rule,
				   sizeof(struct rule));

		if (order == 0)
			pairs[n++] = (struct pair){old_order[i++], new_order[j++]};
		else if (order < 0)
			i++;
		else
			j++;
	}
	if (!old_order || !new_order)
		n = -ENOMEM;
	free(old_order);
	free(new_order);
	return n;
}

/* membarrier(2) waits for a grace period of RCU, except with nohz_full, where a packet gets time
 * enough. */
void load_wait_for_packets(void)
{
	const struct timespec enough = {.tv_nsec = 50 * NS_PER_MS};

	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		nanosleep(&enough, NULL);
}

static int turn_link(struct xdp *xdp, int program_fd, char *error)
{
	DECLARE_LIBBPF_OPTS(bpf_link_update_opts, opts, .flags = BPF_F_REPLACE,
			    .old_prog_fd = (uint32_t)xdp->program_fd);
	struct bpf_link_info info;

	if (xdp->link_fd < 0)
		return xdp->ifindex
			       ? load_fail(error, -EPERM,
					   "%s: the filter's link cannot be opened; run as root",
					   xdp->ifname)
			       : 0; /* loaded only */
	if (!bpf_link_update(xdp->link_fd, program_fd, &opts))
		return 0;
	if (errno == EPERM && !load_link_info(xdp->link_fd, &info) &&
	    info.prog_id != xdp->program_id)
		return load_fail(error, -EAGAIN,
				 "%s: somebody else has replaced the rules meanwhile; try again",
				 xdp->ifname);
	if (errno == ENOLINK)
		return load_fail(error, -ENOLINK, "%s: the interface or the filter on it is gone",
				 xdp->ifname);
	return load_fail(error, -errno, "%s: replacing the rules: %s", xdp->ifname,
			 strerror(errno));
}

/* Both sets' counters, while one follows the other. */
struct handover {
	struct xdp *old, *new;
	struct load_rule *old_rules, *new_rules;
	struct filter_count *counts;
	struct pair *pairs;
	bool *stays; /* by old rule */
	int64_t n;
};

static void handover_end(struct handover *h)
{
	load_unmap(h->old_rules, h->old->stored.n_rules * sizeof(*h->old_rules));
	load_unmap(h->new_rules, h->new->stored.n_rules * sizeof(*h->new_rules));
	free(h->counts);
	free(h->pairs);
	free(h->stays);
}

static int handover_begin(struct handover *h)
{
	uint32_t n_old = h->old->stored.n_rules, n_new = h->new->stored.n_rules;

	h->old_rules = load_map_values(h->old, MAP_RULES, n_old * sizeof(*h->old_rules));
	h->new_rules = load_map_values(h->new, MAP_RULES, n_new * sizeof(*h->new_rules));
	h->counts = calloc(n_old, sizeof(*h->counts));
	h->pairs = calloc(MIN(n_old, n_new), sizeof(*h->pairs));
	h->stays = calloc(n_old, sizeof(*h->stays));
	if (!h->old_rules || !h->new_rules || !h->counts || !h->pairs || !h->stays)
		return -ENOMEM;
	h->n = pair_rules(h->old_rules, n_old, h->new_rules, n_new, h->pairs);
	for (int64_t i = 0; i < h->n; i++)
		h->stays[h->pairs[i].old] = true;
	return h->n < 0 ? (int)h->n : 0;
}

/* What the old set has counted until now becomes what the new one begins with; what its rules that
 * go have counted stays in the sums. */
static int handover_count(struct handover *h)
{
	struct load_info *info = &h->new->stored;
	uint32_t n_old = h->old->stored.n_rules;
	int err;

	memset(h->counts, 0, n_old * sizeof(*h->counts));
	memcpy(info->retired, h->old->stored.retired, sizeof(info->retired));
	err = load_sum_hits(h->old, h->counts);
	if (err)
		return err;
	for (uint32_t i = 0; i < n_old; i++) {
		h->counts[i].packets += h->old_rules[i].before.packets;
		h->counts[i].bytes += h->old_rules[i].before.bytes;
		if (!h->stays[i])
			load_add_reason(&h->old_rules[i].rule, &h->counts[i], info->retired);
	}
	for (int64_t i = 0; i < h->n; i++)
		h->new_rules[h->pairs[i].new].before = h->counts[h->pairs[i].old];
	return load_store(h->new);
}

/* Takes the times of the limits along where their table has another size now; where it has not, it
 * is the same table. */
static int copy_buckets(struct xdp *old, struct xdp *new)
{
	uint32_t regions = MIN(old->stored.regions, new->stored.regions);
	size_t bytes = ((size_t)regions << FILTER_BUCKET_BITS) * sizeof(struct filter_bucket);
	void *from, *to;
	int err = 0;

	if (!old->stored.keyed || !new->stored.keyed || old->stored.regions == new->stored.regions)
		return 0;
	from = load_map_values(old, MAP_BUCKETS, bytes);
	to = load_map_values(new, MAP_BUCKETS, bytes);
	if (from && to)
		memcpy(to, from, bytes);
	else
		err = -errno;
	load_unmap(from, bytes);
	load_unmap(to, bytes);
	return err;
}

int xdp_replace(struct xdp *xdp, const struct rule_set *rules, char *error)
{
	struct handover h = {.old = xdp};
	struct load_info info;
	uint64_t clock = 0;
	uint32_t zero = 0;
	int err = load_settle(xdp, error);

	if (err)
		return err;
	info = xdp->stored;
	info.generation++;
	info.settled = 0;
	err = load_program(&info, rules, xdp, NULL, &h.new, error);
	if (err)
		return err;
	if (!bpf_map_lookup_elem(xdp->map_fd[MAP_CLOCK], &zero, &clock))
		xdp_set_clock(h.new, clock);
	err = handover_begin(&h);
	if (!err)
		err = copy_buckets(xdp, h.new);
	if (!err)
		err = handover_count(&h);
	if (err)
		load_fail(error, err, "carrying over the counters: %s", strerror(-err));
	else if (!(err = turn_link(xdp, h.new->program_fd, error))) {
		load_wait_for_packets();
		h.new->stored.settled = 1;
		if (handover_count(&h)) /* what was counted between stays out */
			load_store(h.new);
	}
	handover_end(&h);
	if (err) {
		xdp_close(h.new);
		return err;
	}
	load_take(xdp, h.new);
	return 0;
}
