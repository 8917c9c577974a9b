/* SPDX-License-Identifier: MIT */
/*
 * Two measurements set against each other: each a single run, whose samples are its intervals, or
 * a sweep's report, whose samples are its rounds.
 */
#ifndef SLUICE_BENCH_REPORT_COMPARE_H
#define SLUICE_BENCH_REPORT_COMPARE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "metric.h"

enum {
	COMPARE_SAMPLES_MAX = 1000, /* of one metric: all pairs of them are looked at */
	COMPARE_METRICS_MAX = 65536,
	COMPARE_FILE_MAX = 32 << 20,
	COMPARE_ERROR_MAX = METRIC_ERROR_MAX + 64,
	COMPARE_BLOCKS_MIN = 10,
};

struct compare_metric {
	const char *use, *cell, *server; /* "" for a single run; live in the side's document */
	uint32_t workers;
	enum metric metric;
	double *samples;
	uint32_t *rounds; /* of the samples, ascending; NULL when not known */
	size_t n;
};

struct compare_side {
	json_t *root;
	bool sweep;
	bool interrupted;
	bool correlated;          /* the blocks of a run still hang together */
	size_t intervals, blocks; /* of a single run: what was measured, the fewest it makes */
	struct compare_metric *metrics; /* ascending by compare_key(), and distinct */
	size_t n, capacity;
	size_t unknown; /* rows whose metric this version does not know */
};

/* The use of what compare_add_sums() adds. No sweep has it: no name begins with a space. */
#define COMPARE_SUM " in sum"

/* Order by what is measured, not by how much; the same for qsort and bsearch. */
int compare_key(const struct compare_metric *a, const struct compare_metric *b);
int compare_keys(const void *a, const void *b);

/* Adds a metric with room for n samples; its names stay where they are. NULL: no memory. */
struct compare_metric *compare_add(struct compare_side *side, const struct compare_metric *key,
				   size_t n);

/*
 * Reads what a file holds. 0 (the caller frees with compare_side_free), -EINVAL with one line in
 * ret_error, or -ENOMEM.
 */
int compare_parse(const char *text, size_t len, struct compare_side *ret_side,
		  char ret_error[COMPARE_ERROR_MAX]);
void compare_side_free(struct compare_side *side);

/*
 * Divides each sample by that of `server` in the same cell and round, and drops what has none. 0,
 * or -ENOENT when nothing is left.
 */
int compare_against(struct compare_side *side, const char *server);

/*
 * Adds, for each server, the geometric mean over all its cells in each round: of cost and of
 * throughput. Five rounds are too few to find one cell among a hundred; of their sum they tell a
 * few per cent. 0 or -ENOMEM.
 */
int compare_add_sums(struct compare_side side[2]);

/*
 * Means over blocks of a run's intervals, into room for one value each; how many of them. Intervals
 * that follow each other are alike, and the test wants samples that are not: the blocks double
 * until their means do not correlate or fewer than COMPARE_BLOCKS_MIN would be left, as in G. S.
 * Fishman, Grouping Observations in Digital Simulation, Management Science 24 (1978).
 * *ret_correlated tells whether they still do.
 *
 * A block's value is the sum of its `over` divided by that of its `under`.
 */
size_t compare_blocks(const double *over, const double *under, size_t n, double *ret_values,
		      bool *ret_correlated);

/* --- verdicts -------------------------------------------------------------------------------- */

enum compare_verdict {
	COMPARE_REGRESSION,
	COMPARE_IMPROVEMENT,
	COMPARE_CANNOT_SAY, /* too few samples to call any difference significant */
	COMPARE_UNCHANGED,  /* no difference that is significant and large enough */
	COMPARE_NOT_JUDGED, /* see compare_judge() */
	COMPARE_VERDICTS,
};

struct compare_result {
	const struct compare_metric *a, *b;
	enum compare_verdict verdict;
	double median_a, median_b;
	double ratio, low, high; /* of B to A, with its interval; NAN where there is none */
	double p, p_adjusted;    /* NAN where there was no test */
	bool alike;              /* the interval lies within the smallest change that counts */
};

struct compare_judgement {
	struct compare_result *results; /* the most important first */
	size_t n, count[COMPARE_VERDICTS], alike;
	size_t only_a, only_b; /* metrics that the other side does not have */
	size_t tested;         /* together, sums apart: p was adjusted for that many */
	size_t rounds_alone;   /* on each side for one metric to be significant by itself */
	size_t rounds_among;   /* the same when it is the only one of those tested that changes */
	size_t samples;        /* the most that both sides have of one metric */
	double others;         /* geometric mean of B to A, cost of servers not sluice's; or NAN */
};

/*
 * alpha: what share of the findings may be false. min_change: 0.02 is two per cent. every: judge
 * every server, not only those of sluice where there are any. 0 (the caller frees with
 * compare_judgement_free; it points into a and b) or -ENOMEM.
 *
 * The fewer tests there are, the more each can find, so what says nothing new is not judged: the
 * latencies of a sweep's closed loops, which are throughput once more, and the throughput of open
 * loops, which was given; nor tails beyond 99 %, nor what has one sample a side. The sums are
 * adjusted among themselves.
 */
int compare_judge(const struct compare_side *a, const struct compare_side *b, double alpha,
		  double min_change, bool every, struct compare_judgement *ret_judgement);
void compare_judgement_free(struct compare_judgement *judgement);

/* --- what people and programs read ----------------------------------------------------------- */

struct compare_options {
	const char *path[2];
	const char *json, *against;
	double alpha, min_change;
	bool all, every;
};

void compare_print(FILE *out, const struct compare_side side[2],
		   const struct compare_judgement *judgement,
		   const struct compare_options *options);

/* The document of the schema sluice-bench-compare/1, for the caller to free; NULL: no memory. */
json_t *compare_json(const struct compare_judgement *judgement,
		     const struct compare_options *options);

const char *compare_verdict_name(enum compare_verdict verdict);

#endif
