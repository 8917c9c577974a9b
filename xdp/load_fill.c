/* SPDX-License-Identifier: MIT */
/* What a program's maps hold before it judges its first datagram. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "core/util.h"
#include "xdp/load.h"

enum { BATCH = 4096 };

/* ---- filling maps ---- */

/* n entries; in batches where the kernel has them for this sort of map (tries: 5.16). */
static int fill_map(int fd, const void *keys, size_t key_size, const void *values,
		    size_t value_size, uint32_t n)
{
	DECLARE_LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t done = 0;

	while (done < n) {
		uint32_t count = MIN(n - done, (uint32_t)BATCH);

		if (bpf_map_update_batch(fd, (const char *)keys + done * key_size,
					 (const char *)values + done * value_size, &count, &opts))
			break;
		done += count;
	}
	for (; done < n; done++)
		if (bpf_map_update_elem(fd, (const char *)keys + done * key_size,
					(const char *)values + done * value_size, BPF_ANY))
			return -errno;
	return 0;
}

static int fill_array(int fd, const void *values, size_t value_size, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (bpf_map_update_elem(fd, &i, (const char *)values + i * value_size, BPF_ANY))
			return -errno;
	return 0;
}

static int fill_served(const struct xdp *xdp, const struct table *table)
{
	uint8_t yes = 1;

	for (uint32_t i = 0; i < table->n_served; i++)
		if (bpf_map_update_elem(xdp->map_fd[MAP_SERVED], &table->served[i], &yes, BPF_ANY))
			return -errno;
	return 0;
}

static int fill_rules(const struct xdp *xdp, const struct rule_set *set,
		      const struct filter_limit *limits, uint32_t n_limits)
{
	size_t bytes = set->n * sizeof(struct load_rule);
	struct load_rule *stored = load_map_values(xdp, MAP_RULES, bytes);

	if (!stored)
		return -errno;
	for (uint32_t i = 0; i < set->n; i++)
		stored[i].rule = set->rules[i];
	for (uint32_t i = 0; i < n_limits; i++) {
		stored[limits[i].rule].slot = limits[i].slot;
		stored[limits[i].rule].id = limits[i].id;
		stored[limits[i].rule].region = limits[i].region;
	}
	load_unmap(stored, bytes);
	return 0;
}

int load_fill(const struct xdp *xdp, const struct table *table, const struct rule_set *set)
{
	int err = fill_array(xdp->map_fd[MAP_PORTS], table->ports, sizeof(*table->ports),
			     table->n_ports);

	if (!err)
		err = fill_array(xdp->map_fd[MAP_LIMITS], table->limits, sizeof(*table->limits),
				 table->n_limits);
	if (!err)
		err = fill_map(xdp->map_fd[MAP_LPM4], table->lpm4.keys, sizeof(*table->lpm4.keys),
			       table->lpm4.answers, sizeof(*table->lpm4.answers), table->lpm4.n);
	if (!err)
		err = fill_map(xdp->map_fd[MAP_LPM6], table->lpm6.keys, sizeof(*table->lpm6.keys),
			       table->lpm6.answers, sizeof(*table->lpm6.answers), table->lpm6.n);
	if (!err)
		err = fill_served(xdp, table);
	if (!err)
		err = fill_rules(xdp, set, table->limits, table->n_limits);
	return err ? err : load_store(xdp);
}

/* ---- slots of limits ---- */

static int compare_rules(const void *a, const void *b)
{
	return memcmp(&(*(struct load_rule *const *)a)->rule,
		      &(*(struct load_rule *const *)b)->rule, sizeof(struct rule));
}

/* Regions for limits by source or prefix: of their own as long as there are enough. */
static void give_regions(struct table *table, const bool *kept, struct load_info *stored)
{
	uint32_t users[FILTER_REGIONS_MAX] = {0}, wanted = 0, regions = 1;

	for (uint32_t i = 0; i < table->n_limits; i++) {
		const struct filter_limit *limit = &table->limits[i];

		if (limit->by == FILTER_BY_TOTAL)
			continue;
		wanted++;
		if (kept[i]) {
			users[limit->region]++;
			wanted = MAX(wanted, limit->region + 1u);
		}
	}
	while (regions < wanted && regions < FILTER_REGIONS_MAX)
		regions *= 2;
	for (uint32_t i = 0; i < table->n_limits; i++) {
		uint32_t least = 0;

		if (kept[i] || table->limits[i].by == FILTER_BY_TOTAL)
			continue;
		for (uint32_t r = 1; r < regions; r++)
			if (users[r] < users[least])
				least = r;
		users[least]++;
		table->limits[i].region = (uint16_t)least;
	}
	stored->regions = regions;
}

/* Limits of rules that stay keep their slot; others get one that neither set uses. */
int load_give_slots(struct table *table, const struct rule_set *set, struct xdp *old,
		    struct load_info *stored)
{
	size_t bytes = old ? old->stored.n_rules * sizeof(struct load_rule) : 0;
	struct load_rule *before = old ? load_map_values(old, MAP_RULES, bytes) : NULL;
	const struct load_rule *limits[FILTER_LIMITS_MAX];
	bool used[FILTER_SLOTS_MAX] = {false}, kept[FILTER_LIMITS_MAX] = {false};
	struct filter_total zero = {0};
	uint32_t n = 0;
	int err = 0;

	if (old && !before)
		return -errno;
	for (uint32_t i = 0; old && i < old->stored.n_rules && n < FILTER_LIMITS_MAX; i++) {
		if (before[i].rule.action != RULE_LIMIT)
			continue;
		limits[n++] = &before[i];
		used[before[i].slot % FILTER_SLOTS_MAX] = true;
	}
	qsort(limits, n, sizeof(*limits), compare_rules);
	for (uint32_t i = 0; i < table->n_limits; i++) {
		struct load_rule key = {.rule = set->rules[table->limits[i].rule]};
		const struct load_rule *at = &key, **found;

		found = n ? bsearch(&at, limits, n, sizeof(*limits), compare_rules) : NULL;
		kept[i] = found != NULL;
		if (!found)
			continue;
		table->limits[i].slot = (*found)->slot;
		table->limits[i].region = (*found)->region;
		table->limits[i].id = (*found)->id;
	}
	for (uint32_t i = 0; i < table->n_limits && !err; i++) {
		uint32_t slot = stored->next_slot;

		if (kept[i])
			continue;
		while (used[slot % FILTER_SLOTS_MAX])
			slot++;
		slot %= FILTER_SLOTS_MAX;
		used[slot] = true;
		table->limits[i].slot = (uint16_t)slot;
		table->limits[i].id = ++stored->next_id & INT32_MAX;
		stored->next_slot = (slot + 1) % FILTER_SLOTS_MAX;
		if (old && bpf_map_update_elem(old->map_fd[MAP_TOTALS], &slot, &zero, BPF_ANY))
			err = -errno;
	}
	give_regions(table, kept, stored);
	load_unmap(before, bytes);
	return err;
}
