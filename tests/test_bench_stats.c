/* SPDX-License-Identifier: MIT */
/* The benchmark's statistics, against published tables and against counting everything out. */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "bench/report/stats.h"

#define N(array) (sizeof(array) / sizeof(*(array)))

static void expect_near(double value, double wanted, double margin)
{
	cr_expect(fabs(value - wanted) <= margin, "%.10g, wanted %.10g", value, wanted);
}

Test(bench_stats, quantiles_interpolate)
{
	const double four[] = {1, 2, 3, 4};

	expect_near(stat_quantile(four, 4, 0), 1, 0);
	expect_near(stat_quantile(four, 4, 0.25), 1.75, 1e-12);
	expect_near(stat_quantile(four, 4, 0.5), 2.5, 1e-12);
	expect_near(stat_quantile(four, 4, 0.9), 3.7, 1e-12);
	expect_near(stat_quantile(four, 4, 1), 4, 0);
	expect_near(stat_quantile(four, 1, 0.5), 1, 0);
	cr_expect(isnan(stat_quantile(four, 0, 0.5)));
}

Test(bench_stats, summary_leaves_out_what_is_not_finite)
{
	double some[] = {3, NAN, 1, INFINITY, 2, -INFINITY};
	double none[] = {NAN};
	struct stat_summary summary = stat_summarize(some, N(some));

	cr_expect_eq(summary.n, 3);
	expect_near(summary.median, 2, 0);
	expect_near(summary.min, 1, 0);
	expect_near(summary.max, 3, 0);
	summary = stat_summarize(none, 1);
	cr_expect(summary.n == 0 && isnan(summary.median));
	summary = stat_summarize(NULL, 0);
	cr_expect(summary.n == 0 && isnan(summary.min));
}

/* What drifts alike in both cancels; the ratio of the medians would be 1. */
Test(bench_stats, ratios_are_taken_in_pairs)
{
	const double a[] = {10, 40, 20, 0, NAN}, b[] = {5, 20, 10, 1, 1};
	double work[5];
	struct stat_summary ratio = stat_paired_ratio(a, b, 5, work);

	cr_expect_eq(ratio.n, 3);
	expect_near(ratio.min, 2, 1e-12);
	expect_near(ratio.max, 2, 1e-12);
}

Test(bench_stats, geometric_mean)
{
	const double values[] = {0.5, 2, 8, NAN, 0, -3};

	expect_near(stat_geometric_mean(values, N(values)), 2, 1e-12);
	cr_expect(isnan(stat_geometric_mean(values, 0)));
}

/* The four figures that every table of the normal distribution begins with. */
Test(bench_stats, normal_distribution)
{
	expect_near(stat_normal_above(0), 0.5, 1e-15);
	expect_near(stat_normal_above(1.96), 0.0249979, 1e-7);
	expect_near(stat_normal_z(0.025), 1.959964, 1e-6);
	expect_near(stat_normal_z(0.005), 2.575829, 1e-6);
	expect_near(stat_normal_z(0.5), 0, 1e-12);
}

static unsigned bits(unsigned set)
{
	return (unsigned)__builtin_popcount(set);
}

/* U of those of n + m ranks that stand in set: how many of the others lie below each. */
static unsigned u_of(unsigned set, unsigned all)
{
	unsigned u = 0;

	for (unsigned i = 0; i < all; i++)
		if (set & 1u << i)
			u += bits(~set & ((1u << i) - 1));
	return u;
}

/* Every arrangement of the ranks, counted. */
Test(bench_stats, u_is_distributed_as_counting_says)
{
	for (unsigned n = 1; n <= 6; n++) {
		for (unsigned m = 1; m <= 6; m++) {
			double count[37] = {0}, total = 0, below = 0, *cdf;

			for (unsigned set = 0; set < 1u << (n + m); set++) {
				if (bits(set) != n)
					continue;
				count[u_of(set, n + m)]++;
				total++;
			}
			cr_assert_eq(stat_u_cdf(n, m, &cdf), 0);
			for (unsigned u = 0; u <= n * m; u++) {
				below += count[u];
				expect_near(cdf[u], below / total, 1e-12);
			}
			free(cdf);
		}
	}
}

/* The usual table: the largest U that is significant at 0.05 on two sides. */
Test(bench_stats, u_has_the_published_critical_values)
{
	static const struct {
		size_t n, m, critical;
	} table[] = {
		{4, 4, 0},   {3, 5, 0},   {5, 5, 2},    {6, 7, 6},    {8, 8, 13},
		{9, 12, 26}, {7, 20, 34}, {10, 10, 23}, {15, 15, 64}, {20, 20, 127},
	};

	for (size_t i = 0; i < N(table); i++) {
		double *cdf;

		cr_assert_eq(stat_u_cdf(table[i].n, table[i].m, &cdf), 0);
		cr_expect(cdf[table[i].critical] <= 0.025, "%zu %zu", table[i].n, table[i].m);
		cr_expect(cdf[table[i].critical + 1] > 0.025, "%zu %zu", table[i].n, table[i].m);
		free(cdf);
	}
}

Test(bench_stats, u_refuses_sizes_it_cannot_count)
{
	double *cdf;

	cr_expect_eq(stat_u_cdf(0, 3, &cdf), -EINVAL);
	cr_expect_eq(stat_u_cdf(3, STAT_EXACT_MAX + 1, &cdf), -EINVAL);
	cr_assert_eq(stat_u_cdf(STAT_EXACT_MAX, STAT_EXACT_MAX, &cdf), 0);
	expect_near(cdf[STAT_EXACT_MAX * STAT_EXACT_MAX], 1, 1e-12);
	expect_near(cdf[STAT_EXACT_MAX * STAT_EXACT_MAX / 2 - 1], 0.5, 0.01);
	free(cdf);
}

/* Permeability of membranes, Hollander and Wolfe, chapter 4: W 35, one-sided p 0.1272. */
static const double later[] = {0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46};
static const double early[] = {1.15, 0.88, 0.90, 0.74, 1.21};

Test(bench_stats, textbook_test_and_shift)
{
	struct stat_test test;
	struct stat_interval shift;

	cr_assert_eq(stat_mann_whitney(early, 5, later, 10, &test), 0);
	cr_expect(test.exact);
	expect_near(test.u, 35, 0);
	expect_near(test.p, 2 * 0.1272, 1e-4);
	cr_assert_eq(stat_shift(early, 5, later, 10, 0.05, &shift), 0);
	expect_near(shift.estimate, 0.305, 1e-9);
	expect_near(shift.low, -0.15, 1e-9);
	expect_near(shift.high, 0.76, 1e-9);
}

/* The interval is what the test does not reject: moved just inside and just outside of its ends. */
Test(bench_stats, interval_and_test_agree)
{
	struct stat_interval shift;
	struct stat_test test;
	double moved[5];

	for (double alpha = 0.01; alpha < 0.3; alpha += 0.03) {
		cr_assert_eq(stat_shift(early, 5, later, 10, alpha, &shift), 0);
		for (int end = 0; end < 4; end++) {
			double at = end < 2 ? shift.low : shift.high;

			at += end == 0 || end == 3 ? (end ? 1e-9 : -1e-9) : end == 1 ? 1e-9 : -1e-9;
			for (size_t i = 0; i < 5; i++)
				moved[i] = early[i] + at;
			cr_assert_eq(stat_mann_whitney(moved, 5, later, 10, &test), 0);
			cr_expect_eq(test.p <= alpha, end == 0 || end == 3, "%g end %d: p %g",
				     alpha, end, test.p);
		}
	}
}

/* By hand: ranks 1, 3 3 3, 5.5 5.5, 7, 8; U 13.5; z = 5 / sqrt(16 / 12 * (9 - 30 / 56)). */
Test(bench_stats, ties_correct_the_approximation)
{
	const double a[] = {1, 2, 2, 3}, b[] = {2, 3, 4, 5};
	struct stat_test test;

	cr_assert_eq(stat_mann_whitney(a, 4, b, 4, &test), 0);
	cr_expect(!test.exact);
	expect_near(test.u, 13.5, 0);
	expect_near(test.p, 2 * stat_normal_above(5 / sqrt(16.0 / 12 * (9 - 30.0 / 56))), 1e-12);
	expect_near(test.p, 0.1367, 1e-4);
}

Test(bench_stats, nothing_is_significant_that_cannot_be)
{
	const double a[] = {1, 1}, b[] = {2, 2}, same[] = {5, 5, 5, 5, 5, 5};
	struct stat_test test;

	cr_assert_eq(stat_mann_whitney(a, 2, b, 2, &test), 0);
	cr_expect_geq(test.p, stat_smallest_p(2, 2));
	cr_assert_eq(stat_mann_whitney(same, 6, same, 6, &test), 0);
	expect_near(test.p, 1, 0);
	cr_expect_eq(stat_mann_whitney(a, 0, b, 2, &test), -EINVAL);
	expect_near(stat_smallest_p(2, 2), 2.0 / 6, 1e-12);
	expect_near(stat_smallest_p(5, 5), 2.0 / 252, 1e-12);
	expect_near(stat_smallest_p(1, 1), 1, 0);
	cr_expect_eq(stat_rounds_wanted(0.05), 4);
	cr_expect_eq(stat_rounds_wanted(0.01), 5);
	cr_expect_eq(stat_rounds_wanted(1), 1);
}

/* Counted out and approximated, the same samples say nearly the same. */
Test(bench_stats, large_samples_go_over_into_the_normal)
{
	double a[STAT_EXACT_MAX + 1], b[STAT_EXACT_MAX + 1];
	struct stat_interval some, more;
	struct stat_test exact, normal;

	for (int i = 0; i <= STAT_EXACT_MAX; i++) {
		a[i] = i * 37 % 101;
		b[i] = i * 53 % 103 + 12.5;
	}
	cr_assert_eq(stat_mann_whitney(a, STAT_EXACT_MAX, b, STAT_EXACT_MAX, &exact), 0);
	cr_assert_eq(stat_mann_whitney(a, STAT_EXACT_MAX + 1, b, STAT_EXACT_MAX, &normal), 0);
	cr_expect(exact.exact && !normal.exact);
	expect_near(normal.p / exact.p, 1, 0.2);
	cr_assert_eq(stat_shift(a, STAT_EXACT_MAX, b, STAT_EXACT_MAX, 0.05, &some), 0);
	cr_assert_eq(stat_shift(a, STAT_EXACT_MAX + 1, b, STAT_EXACT_MAX, 0.05, &more), 0);
	expect_near(some.low, more.low, 2);
	expect_near(some.high, more.high, 2);
}

Test(bench_stats, two_against_two_have_no_interval)
{
	const double a[] = {1, 2}, b[] = {11, 12};
	struct stat_interval shift;

	cr_assert_eq(stat_shift(a, 2, b, 2, 0.05, &shift), 0);
	expect_near(shift.estimate, 10, 1e-12);
	cr_expect(isinf(shift.low) && shift.low < 0 && isinf(shift.high) && shift.high > 0);
}

/* The example of Benjamini and Hochberg: at 0.05 the first four of fifteen are findings. */
Test(bench_stats, adjusting_keeps_the_published_four)
{
	double p[] = {0.6528, 0.0001, 0.0344, 0.0019, 0.0201, 0.0278, 0.0298, 0.0095,
		      0.0459, 0.3240, 0.4262, 0.5719, 0.0004, 0.7590, 1.0000};
	unsigned found = 0;

	cr_assert_eq(stat_adjust(p, N(p)), 0);
	for (size_t i = 0; i < N(p); i++)
		found += p[i] <= 0.05;
	cr_expect_eq(found, 4);
	expect_near(p[1], 0.0001 * 15, 1e-12);
	expect_near(p[7], 0.0095 * 15 / 4, 1e-12);
	expect_near(p[14], 1, 0);
	cr_expect_eq(stat_adjust(NULL, 0), 0);
}

Test(bench_stats, autocorrelation)
{
	const double turns[] = {1, -1, 1, -1, 1, -1}, rises[] = {1, 2, 3, 4, 5, 6, 7, 8};
	const double flat[] = {2, 2, 2, 2};

	expect_near(stat_autocorrelation(turns, 6), -5.0 / 6, 1e-12);
	expect_near(stat_autocorrelation(rises, 8), 0.625, 1e-12);
	expect_near(stat_autocorrelation(flat, 4), 0, 0);
	expect_near(stat_autocorrelation(turns, 2), 0, 0);
}
