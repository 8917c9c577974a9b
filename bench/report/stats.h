/* SPDX-License-Identifier: MIT */
/*
 * Statistics of small samples: order statistics, ratios, and tests that assume no distribution,
 * for what is measured on a machine that others use too is skewed and has outliers.
 *
 * Nothing here keeps state. Unless a comment says otherwise every value handed in is finite.
 */
#ifndef SLUICE_BENCH_REPORT_STATS_H
#define SLUICE_BENCH_REPORT_STATS_H

#include <stdbool.h>
#include <stddef.h>

/* Up to this many values on each side U is counted out; above, it is normal to four digits. */
enum { STAT_EXACT_MAX = 50 };

/* What is shown of a sample. All NAN when n is 0. */
struct stat_summary {
	size_t n;
	double median, min, max;
};

struct stat_test {
	double u; /* pairs in which b is larger than a; a tie counts one half */
	double p; /* two-sided */
	bool exact;
};

struct stat_interval {
	double estimate;
	double low, high; /* -INFINITY and INFINITY when the sample is too small for alpha */
};

void stat_sort(double *values, size_t n);

/* Moves the finite values to the front, in their order, and returns how many there are. */
size_t stat_compact(double *values, size_t n);

/*
 * The q-th quantile (q from 0 to 1) of values in ascending order, between two of them by linear
 * interpolation: definition 7 of R. J. Hyndman and Y. Fan, Sample Quantiles in Statistical
 * Packages, The American Statistician 50 (1996). NAN when n is 0.
 */
double stat_quantile(const double *sorted, size_t n, double q);

/* Leaves out what is not finite, and sorts the rest in place. */
struct stat_summary stat_summarize(double *values, size_t n);

/*
 * The ratios numerator[i] / denominator[i], as a sample: pairs measured close to each other share
 * what drifts slowly, and their ratio is free of it. Pairs that have no finite, positive ratio are
 * left out. work has room for n values.
 */
struct stat_summary stat_paired_ratio(const double *numerator, const double *denominator, size_t n,
				      double *work);

/*
 * The geometric mean of positive values; NAN when there is none. It is the one mean of ratios that
 * does not depend on what they are relative to: P. J. Fleming and J. J. Wallace, How not to lie
 * with statistics, Communications of the ACM 29 (1986).
 */
double stat_geometric_mean(const double *values, size_t n);

/* The probability that a standard normal variable is above z, and the z for which it is p. */
double stat_normal_above(double z);
double stat_normal_z(double p);

/*
 * P(U <= k) for k from 0 to n * m when both samples are of one distribution without ties: the
 * recurrence of H. B. Mann and D. R. Whitney, On a test of whether one of two random variables is
 * stochastically larger than the other, Annals of Mathematical Statistics 18 (1947). Both sizes
 * are from 1 to STAT_EXACT_MAX. The caller frees *ret_cdf. 0, -EINVAL or -ENOMEM.
 */
int stat_u_cdf(size_t n, size_t m, double **ret_cdf);

/*
 * The Mann-Whitney test of whether a and b are of one distribution. Exact for up to STAT_EXACT_MAX
 * values a side without ties; else by the normal approximation with the correction for ties and
 * for continuity of E. L. Lehmann, Nonparametrics (1975), chapter 1, where p is never smaller than
 * any arrangement of that many values could make it. 0, -EINVAL (a side is empty) or -ENOMEM.
 */
int stat_mann_whitney(const double *a, size_t n, const double *b, size_t m,
		      struct stat_test *ret_test);

/*
 * By how much b lies above a: the median of all differences (J. L. Hodges and E. L. Lehmann,
 * Estimates of location based on rank tests, Annals of Mathematical Statistics 34 (1963)), and the
 * interval of the differences that the test above does not reject at alpha (M. Hollander and
 * D. A. Wolfe, Nonparametric Statistical Methods, section 4.3). 0, -EINVAL or -ENOMEM.
 */
int stat_shift(const double *a, size_t n, const double *b, size_t m, double alpha,
	       struct stat_interval *ret_interval);

/* The smallest two-sided p that n against m values can have, however far apart they are. */
double stat_smallest_p(size_t n, size_t m);

/* The smallest n for which n against n values can have a p of at most alpha (above 0). */
size_t stat_rounds_wanted(double alpha);

/*
 * Makes of p-values, in place, those adjusted for the number of them, so that calling everything
 * up to alpha a finding leaves at most that share of the findings false: Y. Benjamini and
 * Y. Hochberg, Controlling the False Discovery Rate, Journal of the Royal Statistical Society B 57
 * (1995). 0 or -ENOMEM.
 */
int stat_adjust(double *p, size_t n);

/* Correlation of each value with the one before it; 0 when that has no meaning. */
double stat_autocorrelation(const double *values, size_t n);

#endif
