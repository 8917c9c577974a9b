/* SPDX-License-Identifier: MIT */
/* The histogram. Keeps no state of its own. */
#include "bench/client/hist.h"

#include <math.h>

#define NS_PER_MS 1e6
#define TICKS_PER_HALF 5 /* lines of the text format for each halving of what is left */

static uint32_t bucket_of(uint64_t ns)
{
	uint32_t shift;

	if (ns < BENCH_HIST_SUB)
		return (uint32_t)ns;
	shift = 63 - (uint32_t)__builtin_clzll(ns) - BENCH_HIST_SUB_BITS;
	return (shift + 1) * BENCH_HIST_SUB + (uint32_t)((ns >> shift) - BENCH_HIST_SUB);
}

static uint64_t bucket_middle(uint32_t bucket)
{
	uint32_t shift;

	if (bucket < BENCH_HIST_SUB)
		return bucket;
	shift = bucket / BENCH_HIST_SUB - 1;
	return ((uint64_t)(bucket % BENCH_HIST_SUB + BENCH_HIST_SUB) << shift) +
	       ((UINT64_C(1) << shift) >> 1);
}

static uint64_t bucket_value(const struct bench_hist *h, uint32_t bucket)
{
	uint64_t value = bucket_middle(bucket);

	if (value < h->min)
		return h->min;
	return value > h->max ? h->max : value;
}

void bench_hist_init(struct bench_hist *h)
{
	*h = (struct bench_hist){.min = UINT64_MAX};
}

void bench_hist_add(struct bench_hist *h, int64_t ns)
{
	uint64_t value = ns > 0 ? (uint64_t)ns : 0;

	h->count[bucket_of(value)]++;
	h->n++;
	h->sum += value;
	h->sum_squares += (double)value * (double)value;
	if (value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
}

void bench_hist_merge(struct bench_hist *into, const struct bench_hist *from)
{
	for (uint32_t i = 0; i < BENCH_HIST_BUCKETS; i++)
		into->count[i] += from->count[i];
	into->n += from->n;
	into->sum += from->sum;
	into->sum_squares += from->sum_squares;
	if (from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
}

/* How many of n values a share of them is, rounded up; what rounding adds is taken off. */
static uint64_t rank_of(const struct bench_hist *h, double percent)
{
	double rank = ceil(percent / 100 * (double)h->n * (1 - 1e-12));

	if (rank < 1)
		return 1;
	return rank > (double)h->n ? h->n : (uint64_t)rank;
}

uint64_t bench_hist_percentile(const struct bench_hist *h, double percent)
{
	uint64_t seen = 0, rank;

	if (!h->n)
		return 0;
	rank = rank_of(h, percent);
	if (rank == h->n)
		return h->max;
	for (uint32_t i = 0; i < BENCH_HIST_BUCKETS; i++) {
		seen += h->count[i];
		if (seen >= rank)
			return bucket_value(h, i);
	}
	return h->max;
}

double bench_hist_mean(const struct bench_hist *h)
{
	return h->n ? (double)h->sum / (double)h->n : 0;
}

double bench_hist_deviation(const struct bench_hist *h)
{
	double mean = bench_hist_mean(h), variance;

	if (!h->n)
		return 0;
	variance = h->sum_squares / (double)h->n - mean * mean;
	return variance > 0 ? sqrt(variance) : 0;
}

static void write_line(FILE *out, double ns, double share, uint64_t count)
{
	fprintf(out, "%12.6f %14.12f %10llu", ns / NS_PER_MS, share, (unsigned long long)count);
	if (share < 1)
		fprintf(out, " %14.2f", 1 / (1 - share));
	fputc('\n', out);
}

/*
 * A line whenever a bucket reaches the next tick; ticks come closer together by half each time
 * that half of what was left is passed, so that the tail has as many lines as the body.
 */
void bench_hist_write(const struct bench_hist *h, FILE *out)
{
	uint64_t seen = 0;
	double tick = 0;

	fprintf(out, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
		"1/(1-Percentile)");
	for (uint32_t i = 0; i < BENCH_HIST_BUCKETS && seen < h->n; i++) {
		double share;

		if (!h->count[i])
			continue;
		seen += h->count[i];
		share = (double)seen / (double)h->n;
		while (tick <= share && seen < h->n) {
			double halvings;

			write_line(out, (double)bucket_value(h, i), tick, seen);
			halvings = floor(log2(1 / (1 - tick))) + 1;
			tick += 1 / (TICKS_PER_HALF * exp2(halvings));
		}
	}
	if (h->n)
		write_line(out, (double)h->max, 1, h->n);
	fprintf(out, "#[Mean    = %12.6f, StdDeviation   = %12.6f]\n",
		bench_hist_mean(h) / NS_PER_MS, bench_hist_deviation(h) / NS_PER_MS);
	fprintf(out, "#[Max     = %12.6f, Total count    = %12llu]\n", (double)h->max / NS_PER_MS,
		(unsigned long long)h->n);
	fprintf(out, "#[Buckets = %12d, SubBuckets     = %12d]\n", 64 - BENCH_HIST_SUB_BITS,
		BENCH_HIST_SUB);
}
