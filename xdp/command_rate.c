/* SPDX-License-Identifier: MIT */
/* Rates: what two readings of the counters differ by. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "xdp/command_priv.h"

static struct command_rate rate_of(const struct filter_count *before,
				   const struct filter_count *now, double seconds)
{
	static const struct filter_count zero;

	if (!before || now->packets < before->packets || now->bytes < before->bytes)
		before = &zero;
	return (struct command_rate){.packets = (double)(now->packets - before->packets) / seconds,
				     .bytes = (double)(now->bytes - before->bytes) / seconds};
}

static int compare_rules(const void *a, const void *b)
{
	return memcmp(*(const struct rule *const *)a, *(const struct rule *const *)b,
		      sizeof(struct rule));
}

/* The rules of a reading, sorted. NULL when out of memory. */
static const struct rule **sort_rules(const struct xdp_stats *stats)
{
	const struct rule **sorted =
		calloc((size_t)stats->n_rules + 1, sizeof(const struct rule *));

	if (!sorted)
		return NULL;
	for (uint32_t i = 0; i < stats->n_rules; i++)
		sorted[i] = &stats->rules[i];
	qsort(sorted, stats->n_rules, sizeof(*sorted), compare_rules);
	return sorted;
}

/* Keeps top in order, busiest first. */
static void offer(struct command_rates *rates, uint32_t rule, struct command_rate rate)
{
	uint32_t at = rates->n_top;

	if (rate.packets <= 0)
		return;
	if (at < COMMAND_TOP_RULES)
		rates->n_top++;
	else if (rates->top[--at].rate.packets >= rate.packets)
		return;
	for (; at && rates->top[at - 1].rate.packets < rate.packets; at--)
		rates->top[at] = rates->top[at - 1];
	rates->top[at].rule = rule;
	rates->top[at].rate = rate;
}

static int rate_rules(const struct xdp_stats *before, const struct xdp_stats *now, double seconds,
		      struct command_rates *rates)
{
	const struct rule **sorted = NULL;

	for (uint32_t i = 0; i < now->n_rules; i++) {
		const struct rule *rule = &now->rules[i];
		const struct filter_count *count = NULL;

		if (i < before->n_rules && !memcmp(&before->rules[i], rule, sizeof(*rule))) {
			count = &before->by_rule[i];
		} else {
			const struct rule **found;

			if (!sorted && !(sorted = sort_rules(before)))
				return -ENOMEM;
			found = bsearch(&rule, sorted, before->n_rules, sizeof(*sorted),
					compare_rules);
			if (found)
				count = &before->by_rule[*found - before->rules];
		}
		offer(rates, i, rate_of(count, &now->by_rule[i], seconds));
	}
	free(sorted);
	return 0;
}

int command_rates(const struct xdp_stats *before, const struct xdp_stats *now, double seconds,
		  struct command_rates *ret_rates)
{
	struct command_rates rates = {0};

	for (int v = 0; v < FILTER_VERDICTS; v++) {
		rates.by_verdict[v] = rate_of(&before->by_verdict[v], &now->by_verdict[v], seconds);
		for (int r = 0; r < FILTER_REASONS; r++)
			rates.by_reason[r][v] =
				rate_of(&before->by_reason[r][v], &now->by_reason[r][v], seconds);
	}
	if (rate_rules(before, now, seconds, &rates) < 0)
		return -ENOMEM;
	*ret_rates = rates;
	return 0;
}
