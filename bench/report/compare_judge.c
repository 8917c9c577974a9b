/* SPDX-License-Identifier: MIT */
/* Tests every metric that two measurements share, and says which differ. Owns the results. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "stats.h"
#include "sweep.h"

const char *compare_verdict_name(enum compare_verdict verdict)
{
	static const char *const names[COMPARE_VERDICTS] = {
		[COMPARE_REGRESSION] = "regression", [COMPARE_IMPROVEMENT] = "improvement",
		[COMPARE_CANNOT_SAY] = "cannot say", [COMPARE_UNCHANGED] = "unchanged",
		[COMPARE_NOT_JUDGED] = "not judged",
	};

	return names[verdict];
}

/* --- one metric ------------------------------------------------------------------------------ */

/* Logarithms into room, false when a sample has none. */
static bool take_logs(const struct compare_metric *metric, double *room)
{
	for (size_t i = 0; i < metric->n; i++) {
		if (!(metric->samples[i] > 0) || !isfinite(metric->samples[i]))
			return false;
		room[i] = log(metric->samples[i]);
	}
	return true;
}

/* The shift of the logarithms is the ratio of the values; rooms hold a sample each. */
static int measure_ratio(struct compare_result *result, double alpha, double *rooms[2])
{
	const struct compare_metric *a = result->a, *b = result->b;
	struct stat_interval shift;
	int r;

	if (!take_logs(a, rooms[0]) || !take_logs(b, rooms[1])) {
		result->ratio = result->median_a > 0 ? result->median_b / result->median_a : NAN;
		return 0;
	}
	r = stat_shift(rooms[0], a->n, rooms[1], b->n, alpha, &shift);
	if (r < 0)
		return r;
	result->ratio = exp(shift.estimate);
	if (isfinite(shift.low)) {
		result->low = exp(shift.low);
		result->high = exp(shift.high);
	}
	return 0;
}

static double median_of(const struct compare_metric *metric, double *room)
{
	memcpy(room, metric->samples, metric->n * sizeof(*room));
	return stat_summarize(room, metric->n).median;
}

static bool is_sum(const struct compare_metric *it)
{
	return !strcmp(it->use, COMPARE_SUM);
}

static bool is_ours(const struct compare_metric *it)
{
	return !*it->server || !strncmp(it->server, "sluice", 6);
}

static bool is_judged(const struct compare_metric *it)
{
	bool open_loop = !strncmp(it->use, "latency", 7);

	if (!metric_kind(it->metric)->judged)
		return false;
	if (it->metric >= METRIC_P50)
		return open_loop;
	return !open_loop || it->metric == METRIC_CPU_MESSAGE || it->metric == METRIC_CPU_GIB;
}

/* Everything but what needs the other metrics. p stays NAN where nothing is to be tested. */
static int measure(struct compare_result *result, double alpha, bool every, double *rooms[2])
{
	struct stat_test test;
	int r;

	result->low = result->high = result->p = result->p_adjusted = NAN;
	result->median_a = median_of(result->a, rooms[0]);
	result->median_b = median_of(result->b, rooms[1]);
	r = measure_ratio(result, alpha, rooms);
	if (r < 0)
		return r;
	result->verdict = COMPARE_NOT_JUDGED;
	if (!is_judged(result->a) || (!every && !is_ours(result->a)))
		return 0;
	result->verdict = COMPARE_CANNOT_SAY;
	/* The margin is for rounding: 3 against 3 can be significant at 0.1 exactly. */
	if (stat_smallest_p(result->a->n, result->b->n) > alpha * (1 + 1e-9))
		return 0;
	r = stat_mann_whitney(result->a->samples, result->a->n, result->b->samples, result->b->n,
			      &test);
	if (r < 0)
		return r;
	result->p = test.p;
	result->verdict = COMPARE_UNCHANGED;
	return 0;
}

static void conclude(struct compare_result *result, double alpha, double min_change)
{
	bool higher = metric_kind(result->a->metric)->higher, up = result->ratio > 1;
	double change = result->ratio >= 1 ? result->ratio - 1 : 1 - result->ratio;

	result->alike = result->low >= 1 - min_change && result->high <= 1 + min_change;
	if (!(result->p_adjusted <= alpha * (1 + 1e-9)) || !(change >= min_change) || change == 0)
		return;
	result->verdict = up == higher ? COMPARE_IMPROVEMENT : COMPARE_REGRESSION;
}

/* --- all of them ----------------------------------------------------------------------------- */

/* The sums, or all the others. *ret_n: how many they were. */
static int adjust(struct compare_judgement *judgement, bool sums, size_t *ret_n)
{
	double *p = calloc(judgement->n + 1, sizeof(*p));
	size_t n = 0;
	int r;

	if (!p)
		return -ENOMEM;
	for (size_t i = 0; i < judgement->n; i++)
		if (isfinite(judgement->results[i].p) && is_sum(judgement->results[i].a) == sums)
			p[n++] = judgement->results[i].p;
	r = stat_adjust(p, n);
	*ret_n = n;
	n = 0;
	for (size_t i = 0; i < judgement->n && !r; i++)
		if (isfinite(judgement->results[i].p) && is_sum(judgement->results[i].a) == sums)
			judgement->results[i].p_adjusted = p[n++];
	free(p);
	return r;
}

/*
 * What both measurements have of servers that are not ours should not have changed. If it has, the
 * machine has.
 */
static double change_of_others(const struct compare_judgement *judgement)
{
	double logs = 0;
	size_t n = 0;

	for (size_t i = 0; i < judgement->n; i++) {
		const struct compare_result *result = &judgement->results[i];
		const struct compare_metric *it = result->a;

		if (it->metric > METRIC_CPU_GIB || is_ours(it) || is_sum(it) ||
		    !(result->ratio > 0))
			continue;
		logs += log(result->ratio);
		n++;
	}
	return n ? exp(logs / n) : NAN;
}

static int compare_importance(const void *a, const void *b)
{
	const struct compare_result *x = a, *y = b;
	double change_x = fabs(log(x->ratio)), change_y = fabs(log(y->ratio));

	if (x->verdict != y->verdict)
		return x->verdict < y->verdict ? -1 : 1;
	if (is_sum(x->a) != is_sum(y->a))
		return is_sum(x->a) ? -1 : 1;
	/* One without a ratio goes last: no comparison with NAN holds. */
	if (isfinite(change_x) != isfinite(change_y))
		return isfinite(change_x) ? -1 : 1;
	if (isfinite(change_x) && change_x != change_y)
		return change_x > change_y ? -1 : 1;
	return compare_key(x->a, y->a);
}

static void match(const struct compare_side *a, const struct compare_side *b,
		  struct compare_judgement *judgement)
{
	size_t i = 0, k = 0;

	while (i < a->n || k < b->n) {
		int order = i == a->n   ? 1
			    : k == b->n ? -1
					: compare_key(&a->metrics[i], &b->metrics[k]);

		if (!order && a->metrics[i].n && b->metrics[k].n) {
			struct compare_result *result = &judgement->results[judgement->n++];

			*result = (struct compare_result){.a = &a->metrics[i], .b = &b->metrics[k]};
		} else if (order < 0) {
			judgement->only_a += a->metrics[i].n > 0;
		} else if (order > 0) {
			judgement->only_b += b->metrics[k].n > 0;
		}
		i += order <= 0;
		k += order >= 0;
	}
}

static bool any_ours(const struct compare_judgement *judgement)
{
	for (size_t i = 0; i < judgement->n; i++)
		if (is_ours(judgement->results[i].a))
			return true;
	return false;
}

static int judge_all(struct compare_judgement *judgement, double alpha, double min_change,
		     bool every)
{
	size_t sums;
	double *rooms[2] = {
		calloc(COMPARE_SAMPLES_MAX, sizeof(double)),
		calloc(COMPARE_SAMPLES_MAX, sizeof(double)),
	};
	int r = rooms[0] && rooms[1] ? 0 : -ENOMEM;

	for (size_t i = 0; i < judgement->n && !r; i++) {
		const struct compare_result *result = &judgement->results[i];
		size_t least = result->a->n < result->b->n ? result->a->n : result->b->n;

		r = measure(&judgement->results[i], alpha, every, rooms);
		if (result->verdict != COMPARE_NOT_JUDGED && least > judgement->samples)
			judgement->samples = least;
	}
	free(rooms[0]);
	free(rooms[1]);
	if (!r)
		r = adjust(judgement, false, &judgement->tested);
	if (!r)
		r = adjust(judgement, true, &sums);
	for (size_t i = 0; i < judgement->n && !r; i++) {
		conclude(&judgement->results[i], alpha, min_change);
		judgement->count[judgement->results[i].verdict]++;
		judgement->alike += judgement->results[i].verdict == COMPARE_UNCHANGED &&
				    judgement->results[i].alike;
	}
	return r;
}

int compare_judge(const struct compare_side *a, const struct compare_side *b, double alpha,
		  double min_change, bool every, struct compare_judgement *ret_judgement)
{
	struct compare_judgement judgement = {.n = 0};
	int r;

	judgement.results = calloc(a->n + 1, sizeof(*judgement.results));
	if (!judgement.results)
		return -ENOMEM;
	match(a, b, &judgement);
	r = judge_all(&judgement, alpha, min_change, every || !any_ours(&judgement));
	if (r < 0) {
		free(judgement.results);
		return r;
	}
	judgement.others = change_of_others(&judgement);
	judgement.rounds_alone = stat_rounds_wanted(alpha * (1 + 1e-9));
	judgement.rounds_among =
		stat_rounds_wanted(alpha * (1 + 1e-9) / (judgement.tested ? judgement.tested : 1));
	if (judgement.n)
		qsort(judgement.results, judgement.n, sizeof(*judgement.results),
		      compare_importance);
	*ret_judgement = judgement;
	return 0;
}

void compare_judgement_free(struct compare_judgement *judgement)
{
	free(judgement->results);
	*judgement = (struct compare_judgement){.n = 0};
}
