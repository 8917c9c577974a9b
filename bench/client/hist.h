/* SPDX-License-Identifier: MIT */
/*
 * A log-linear histogram of times: 64 buckets for each power of two, so that a value read from it
 * is at most 1/128 away from what was added. Minimum, mean and maximum are exact.
 */
#ifndef SLUICE_BENCH_HIST_H
#define SLUICE_BENCH_HIST_H

#include <stdint.h>
#include <stdio.h>

#define BENCH_HIST_SUB_BITS 6
#define BENCH_HIST_SUB (1 << BENCH_HIST_SUB_BITS)
#define BENCH_HIST_BUCKETS ((64 - BENCH_HIST_SUB_BITS) * BENCH_HIST_SUB)
#define BENCH_HIST_ERROR (1.0 / (2 * BENCH_HIST_SUB)) /* relative, at most */

struct bench_hist {
	uint64_t n;
	uint64_t min, max;     /* ns; min is UINT64_MAX while nothing was added */
	unsigned __int128 sum; /* exact, and so is the mean */
	double sum_squares;
	uint64_t count[BENCH_HIST_BUCKETS];
};

void bench_hist_init(struct bench_hist *h);

/* Negative times count as 0. */
void bench_hist_add(struct bench_hist *h, int64_t ns);

void bench_hist_merge(struct bench_hist *into, const struct bench_hist *from);

/*
 * The smallest value that at least `percent` of what was added does not exceed, read at the middle
 * of its bucket and kept within the exact minimum and maximum. 0 when nothing was added.
 */
uint64_t bench_hist_percentile(const struct bench_hist *h, double percent);

double bench_hist_mean(const struct bench_hist *h);
double bench_hist_deviation(const struct bench_hist *h);

/* The percentile text format of HdrHistogram, values in milliseconds. Errors are in out's state. */
void bench_hist_write(const struct bench_hist *h, FILE *out);

#endif
