/* SPDX-License-Identifier: MIT */
/* The latency histogram, compared with a sorted array of what was added to it. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/client/hist.h"

static struct bench_hist *new_hist(void)
{
	struct bench_hist *h = malloc(sizeof(*h));

	cr_assert_not_null(h);
	bench_hist_init(h);
	return h;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* The value that at least `percent` of n sorted ones do not exceed. */
static int64_t exact(const int64_t *sorted, size_t n, double percent)
{
	size_t rank = (size_t)ceil(percent / 100 * (double)n - 1e-9);

	return sorted[rank ? rank - 1 : 0];
}

static void expect_near(uint64_t value, int64_t want, const char *what)
{
	double error = fabs((double)value - (double)want);

	cr_expect(error <= (double)want * BENCH_HIST_ERROR, "%s: %llu for %lld", what,
		  (unsigned long long)value, (long long)want);
}

Test(bench_hist, empty)
{
	struct bench_hist *h = new_hist();

	cr_expect_eq(bench_hist_percentile(h, 50), 0);
	cr_expect_eq(bench_hist_mean(h), 0);
	cr_expect_eq(bench_hist_deviation(h), 0);
	free(h);
}

Test(bench_hist, single_values_of_every_size)
{
	for (unsigned shift = 0; shift < 63; shift++) {
		for (int64_t add = -1; add <= 1; add++) {
			int64_t value = (INT64_C(1) << shift) + add;
			struct bench_hist *h = new_hist();

			bench_hist_add(h, value);
			cr_expect_eq(bench_hist_percentile(h, 50), (uint64_t)value);
			cr_expect_eq(h->min, (uint64_t)value);
			cr_expect_eq(h->max, (uint64_t)value);
			free(h);
		}
	}
}

Test(bench_hist, extremes)
{
	struct bench_hist *h = new_hist();

	bench_hist_add(h, -5);
	bench_hist_add(h, INT64_MAX);
	cr_expect_eq(h->min, 0);
	cr_expect_eq(h->max, INT64_MAX);
	cr_expect_eq(bench_hist_percentile(h, 50), 0);
	cr_expect_eq(bench_hist_percentile(h, 100), INT64_MAX);
	cr_expect_eq(bench_hist_percentile(h, 50.01), INT64_MAX);
	free(h);
}

/* A value between two others is read within the stated error, whatever its bucket. */
Test(bench_hist, error_is_as_stated)
{
	srandom(1);
	for (int i = 0; i < 20000; i++) {
		int64_t value = (int64_t)(random() >> (random() % 31)) << (random() % 30);
		struct bench_hist *h = new_hist();

		bench_hist_add(h, 0);
		bench_hist_add(h, value);
		bench_hist_add(h, INT64_MAX);
		expect_near(bench_hist_percentile(h, 50), value, "p50");
		free(h);
	}
}

static void fill(struct bench_hist *h, int64_t *values, size_t n, unsigned seed)
{
	srandom(seed);
	for (size_t i = 0; i < n; i++) {
		values[i] = (int64_t)exp(12 + 3 * sin((double)random())) + random() % 1000;
		bench_hist_add(h, values[i]);
	}
}

Test(bench_hist, percentiles_against_a_sorted_array)
{
	static const double percents[] = {0, 1, 10, 50, 75, 90, 99, 99.9, 99.99, 100};
	static const size_t sizes[] = {1, 2, 3, 10, 99, 100, 1000, 30000};

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		size_t n = sizes[s];
		struct bench_hist *h = new_hist();
		int64_t *values = calloc(n, sizeof(*values));
		double sum = 0, squares = 0;

		cr_assert_not_null(values);
		fill(h, values, n, (unsigned)n);
		qsort(values, n, sizeof(*values), compare);
		for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
			expect_near(bench_hist_percentile(h, percents[i]),
				    exact(values, n, percents[i]), "percentile");
		for (size_t i = 0; i < n; i++)
			sum += (double)values[i];
		for (size_t i = 0; i < n; i++)
			squares += pow((double)values[i] - sum / (double)n, 2);
		cr_expect_eq(h->min, (uint64_t)values[0]);
		cr_expect_eq(h->max, (uint64_t)values[n - 1]);
		cr_expect_float_eq(bench_hist_mean(h), sum / (double)n, 1e-3);
		cr_expect_float_eq(bench_hist_deviation(h), sqrt(squares / (double)n), 1);
		free(values);
		free(h);
	}
}

Test(bench_hist, merging_is_adding_both)
{
	static int64_t values[5000];
	struct bench_hist *a = new_hist(), *b = new_hist(), *all = new_hist();

	fill(a, values, 2000, 1);
	fill(all, values, 2000, 1);
	fill(b, values, 5000, 2);
	fill(all, values, 5000, 2);
	bench_hist_merge(a, b);
	cr_expect_eq(a->n, all->n);
	cr_expect_eq(a->min, all->min);
	cr_expect_eq(a->max, all->max);
	cr_expect_eq(bench_hist_mean(a), bench_hist_mean(all));
	cr_expect_eq(memcmp(a->count, all->count, sizeof(a->count)), 0);
	bench_hist_init(b);
	bench_hist_merge(a, b);
	cr_expect_eq(a->min, all->min);
	free(a);
	free(b);
	free(all);
}

/* As plotters read it: four columns that grow, the last line at 1, three lines of comment. */
Test(bench_hist, text_format)
{
	static int64_t values[30000];
	struct bench_hist *h = new_hist();
	double value, share, inverse, last_value = 0, last_share = -1;
	unsigned long long count, last_count = 0;
	char line[256], *text = NULL;
	int lines = 0, comments = 0, fields;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	fill(h, values, 30000, 3);
	bench_hist_write(h, f);
	fclose(f);
	f = fmemopen(text, size, "r");
	cr_assert(fgets(line, sizeof(line), f) && strstr(line, "Percentile TotalCount 1/(1-"));
	cr_assert(fgets(line, sizeof(line), f) && !strcmp(line, "\n"));
	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#') {
			comments++;
			continue;
		}
		cr_expect_eq(comments, 0);
		fields = sscanf(line, "%lf %lf %llu %lf", &value, &share, &count, &inverse);
		cr_assert_geq(fields, 3, "%s", line);
		cr_expect(value >= last_value && share > last_share && count >= last_count);
		cr_expect_eq(fields, share < 1 ? 4 : 3);
		if (share < 1)
			cr_expect_float_eq(inverse, 1 / (1 - share), 0.01 * inverse);
		cr_expect((double)count >= share * 30000 - 1e-6);
		last_value = value, last_share = share, last_count = count, lines++;
	}
	cr_expect_eq(comments, 3);
	cr_expect(lines > 20, "%d lines", lines);
	cr_expect_eq(last_share, 1);
	cr_expect_eq(last_count, 30000);
	cr_expect_float_eq(last_value, (double)h->max / 1e6, 1e-6);
	fclose(f);
	free(text);
	free(h);
}
