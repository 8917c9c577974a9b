/* SPDX-License-Identifier: MIT */
/* What a filter that is in force tells: its rules, its counters, its state. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "core/util.h"
#include "xdp/load.h"

enum { SETTLE_TRIES = 200 }; /* a millisecond each */

int xdp_program_fd(const struct xdp *xdp)
{
	return xdp->program_fd;
}

void xdp_set_clock(struct xdp *xdp, uint64_t now_ns)
{
	uint32_t zero = 0;

	bpf_map_update_elem(xdp->map_fd[MAP_CLOCK], &zero, &now_ns, BPF_ANY);
}

/* ---- the program in force ---- */

/* Another process may have replaced the set meanwhile. */
static int refresh(struct xdp *xdp, char *error)
{
	struct bpf_link_info info;
	struct xdp *now;
	int fd, err;

	if (xdp->link_fd < 0 || load_link_info(xdp->link_fd, &info) ||
	    info.prog_id == xdp->program_id)
		return 0;
	fd = bpf_prog_get_fd_by_id(info.prog_id);
	if (fd < 0)
		return load_fail(error, -errno,
				 "the rules were replaced from outside, and opening "
				 "the new program needs CAP_SYS_ADMIN: %s",
				 strerror(errno));
	err = load_open(fd, &now, error);
	if (err)
		return err;
	load_take(xdp, now);
	return 0;
}

/* A set that is taking the place of another has counters only when that one's are added. */
int load_settle(struct xdp *xdp, char *error)
{
	const struct timespec pause = {.tv_nsec = NS_PER_MS};
	uint32_t zero = 0;

	for (int i = 0; i < SETTLE_TRIES; i++) {
		if (bpf_map_lookup_elem(xdp->map_fd[MAP_INFO], &zero, &xdp->stored))
			return load_fail(error, -errno, "reading the filter's state: %s",
					 strerror(errno));
		if (xdp->stored.settled)
			break;
		nanosleep(&pause, NULL);
	}
	return 0; /* its replacer was killed: what it had counted by then stands */
}

int xdp_rules(struct xdp *xdp, struct rule_set *ret_set, char *error)
{
	size_t bytes = 0;
	struct load_rule *stored = NULL;
	int err = refresh(xdp, error);

	if (err)
		return err;
	bytes = xdp->stored.n_rules * sizeof(*stored);
	stored = load_map_values(xdp, MAP_RULES, bytes);
	if (!stored)
		return load_fail(error, -errno, "reading the rules: %s", strerror(errno));
	err = rule_set_init(ret_set);
	for (uint32_t i = 0; i < xdp->stored.n_rules && err >= 0; i++)
		err = rule_set_add(ret_set, &stored[i].rule, NULL);
	load_unmap(stored, bytes);
	if (err >= 0)
		return 0;
	rule_set_free(ret_set);
	return load_fail(error, err, "reading the rules: %s", strerror(-err));
}

/* ---- counters ---- */

/* Where what a rule decides is counted. */
void load_add_reason(const struct rule *rule, const struct filter_count *count,
		     struct filter_count sums[FILTER_REASONS][FILTER_VERDICTS])
{
	enum filter_verdict verdict = rule->action == RULE_PASS ? FILTER_PASS : FILTER_DROP;
	enum filter_reason reason = rule->family ? FILTER_PREFIX : FILTER_PORT;

	if (rule->action == RULE_LIMIT)
		reason = FILTER_RATE_SOURCE + rule->by;
	else if (rule->kind == RULE_DEFAULT)
		reason = FILTER_DEFAULT;
	else if (rule->kind == RULE_LENGTH)
		reason = FILTER_LENGTH;
	else if (rule->kind == RULE_FRAGMENTS)
		reason = FILTER_FRAGMENT;
	sums[reason][verdict].packets += count->packets;
	sums[reason][verdict].bytes += count->bytes;
}

/* The sum of a row of the map "reasons" over all CPUs, added to *sum. */
static int add_row(const struct xdp *xdp, uint32_t key, struct filter_count *counts, int cpus,
		   struct filter_count *sum)
{
	if (bpf_map_lookup_elem(xdp->map_fd[MAP_REASONS], &key, counts))
		return -errno;
	for (int cpu = 0; cpu < cpus; cpu++) {
		sum->packets += counts[cpu].packets;
		sum->bytes += counts[cpu].bytes;
	}
	return 0;
}

/* What no rule decided, and what rules of former sets did; and what became of what passed. */
static int read_reasons(const struct xdp *xdp, struct xdp_stats *stats)
{
	int cpus = MAX(libbpf_num_possible_cpus(), 1);
	struct filter_count *counts = calloc((size_t)cpus, sizeof(*counts));
	int err = counts ? 0 : -ENOMEM;

	for (uint32_t key = 0; key < FILTER_REASONS * FILTER_VERDICTS && !err; key++) {
		struct filter_count *sum =
			&stats->by_reason[key / FILTER_VERDICTS][key % FILTER_VERDICTS];

		*sum = xdp->stored.retired[key / FILTER_VERDICTS][key % FILTER_VERDICTS];
		err = add_row(xdp, key, counts, cpus, sum);
	}
	for (uint32_t i = 0; i < FAST_REASONS && !err; i++)
		err = add_row(xdp, FILTER_REASONS * FILTER_VERDICTS + i, counts, cpus,
			      &stats->fast[i]);
	free(counts);
	return err;
}

static int read_rules(const struct xdp *xdp, struct xdp_stats *stats)
{
	uint32_t n = xdp->stored.n_rules;
	size_t bytes = n * sizeof(struct load_rule);
	struct load_rule *stored = load_map_values(xdp, MAP_RULES, bytes);
	int err = 0;

	if (!stored)
		return -errno;
	stats->rules = calloc(n, sizeof(*stats->rules));
	stats->by_rule = calloc(n, sizeof(*stats->by_rule));
	stats->n_rules = n;
	if (!stats->rules || !stats->by_rule)
		err = -ENOMEM;
	for (uint32_t i = 0; i < n && !err; i++) {
		stats->rules[i] = stored[i].rule;
		stats->by_rule[i] = stored[i].before;
	}
	load_unmap(stored, bytes);
	return err ? err : load_sum_hits(xdp, stats->by_rule);
}

static void add_up(struct xdp_stats *stats)
{
	for (uint32_t i = 0; i < stats->n_rules; i++)
		load_add_reason(&stats->rules[i], &stats->by_rule[i], stats->by_reason);
	for (int i = 0; i < FILTER_REASONS * FILTER_VERDICTS; i++) {
		const struct filter_count *count =
			&stats->by_reason[i / FILTER_VERDICTS][i % FILTER_VERDICTS];

		stats->by_verdict[i % FILTER_VERDICTS].packets += count->packets;
		stats->by_verdict[i % FILTER_VERDICTS].bytes += count->bytes;
	}
}

int xdp_read(struct xdp *xdp, struct xdp_stats *ret_stats, char *error)
{
	int err = refresh(xdp, error);

	if (!err)
		err = load_settle(xdp, error);
	if (err)
		return err;
	memset(ret_stats, 0, sizeof(*ret_stats));
	err = read_reasons(xdp, ret_stats);
	if (!err)
		err = read_rules(xdp, ret_stats);
	if (!err) {
		add_up(ret_stats);
		return 0;
	}
	xdp_stats_free(ret_stats);
	return load_fail(error, err, "reading the counters: %s", strerror(-err));
}

void xdp_stats_free(struct xdp_stats *stats)
{
	free(stats->rules);
	free(stats->by_rule);
	memset(stats, 0, sizeof(*stats));
}

/* What a map takes of the kernel's memory, which its fdinfo tells. */
static uint64_t map_memory(int fd)
{
	char path[64], line[128];
	unsigned long long bytes = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "memlock: %llu", &bytes) == 1)
			break;
	if (file)
		fclose(file);
	return bytes;
}

void xdp_info(const struct xdp *xdp, struct xdp_info *ret_info)
{
	memset(ret_info, 0, sizeof(*ret_info));
	memcpy(ret_info->ifname, xdp->ifname, sizeof(ret_info->ifname));
	ret_info->ifindex = xdp->ifindex;
	ret_info->program = xdp->program_id;
	ret_info->link = xdp->link_id;
	ret_info->mode = (enum xdp_mode)xdp->stored.mode;
	ret_info->native_err = xdp->stored.native_err;
	ret_info->pinned = xdp->pinned;
	ret_info->pid = xdp->stored.pid;
	ret_info->n_rules = xdp->stored.n_rules;
	ret_info->n_limits = xdp->stored.n_limits;
	ret_info->n_served = xdp->stored.n_served;
	ret_info->generation = xdp->stored.generation;
	ret_info->attached_at = xdp->stored.attached_at;
	ret_info->fast = (enum fast_mode)xdp->stored.fast;
	ret_info->watched = xdp->watch != NULL;
	for (int i = 0; i < MAPS; i++)
		if (xdp->map_fd[i] >= 0)
			ret_info->memory += map_memory(xdp->map_fd[i]);
}
