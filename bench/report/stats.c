/* SPDX-License-Identifier: MIT */
/* Statistics of small samples. Owns nothing; each function's source stands in stats.h. */
#include "stats.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void stat_sort(double *values, size_t n)
{
	if (n)
		qsort(values, n, sizeof(*values), compare_doubles);
}

size_t stat_compact(double *values, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (isfinite(values[i]))
			values[kept++] = values[i];
	return kept;
}

double stat_quantile(const double *sorted, size_t n, double q)
{
	double at = q * (n - 1);
	size_t below;

	if (!n)
		return NAN;
	below = at <= 0 ? 0 : (size_t)at;
	if (below >= n - 1)
		return sorted[n - 1];
	return sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]);
}

struct stat_summary stat_summarize(double *values, size_t n)
{
	struct stat_summary summary = {.median = NAN, .min = NAN, .max = NAN};

	n = stat_compact(values, n);
	if (!n)
		return summary;
	stat_sort(values, n);
	summary.n = n;
	summary.median = stat_quantile(values, n, 0.5);
	summary.min = values[0];
	summary.max = values[n - 1];
	return summary;
}

struct stat_summary stat_paired_ratio(const double *numerator, const double *denominator, size_t n,
				      double *work)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (numerator[i] > 0 && denominator[i] > 0)
			work[kept++] = numerator[i] / denominator[i];
	return stat_summarize(work, kept);
}

double stat_geometric_mean(const double *values, size_t n)
{
	double logs = 0;
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		if (!isfinite(values[i]) || values[i] <= 0)
			continue;
		logs += log(values[i]);
		used++;
	}
	return used ? exp(logs / used) : NAN;
}

double stat_normal_above(double z)
{
	return 0.5 * erfc(z * M_SQRT1_2);
}

double stat_normal_z(double p)
{
	double low = -40, high = 40;

	/* The interval halves each time: sixty take it below what a double can tell apart. */
	for (int i = 0; i < 60; i++) {
		double middle = (low + high) / 2;

		if (stat_normal_above(middle) > p)
			low = middle;
		else
			high = middle;
	}
	return (low + high) / 2;
}

/*
 * ways[j][u] counts the arrangements of i and j values with a U of u. The largest value of all is
 * either one of the i, and above all j, or one of the j: ways(i, j, u) is ways(i - 1, j, u - j) +
 * ways(i, j - 1, u). Only sums, so the doubles stay good to the last digits.
 */
static void count_u(size_t n, size_t m, double *ways)
{
	size_t width = n * m + 1;

	for (size_t j = 0; j <= m; j++)
		ways[j * width] = 1;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			double *mine = ways + j * width, *left = mine - width;

			for (size_t u = i * j + 1; u-- > 0;)
				mine[u] = left[u] + (u >= j ? mine[u - j] : 0);
		}
	}
}

int stat_u_cdf(size_t n, size_t m, double **ret_cdf)
{
	size_t width = n * m + 1;
	double *ways, *last, *cdf, total = 0;

	if (!n || !m || n > STAT_EXACT_MAX || m > STAT_EXACT_MAX)
		return -EINVAL;
	ways = calloc((m + 1) * width, sizeof(*ways));
	cdf = malloc(width * sizeof(*cdf));
	if (!ways || !cdf) {
		free(ways);
		free(cdf);
		return -ENOMEM;
	}
	count_u(n, m, ways);
	last = ways + m * width;
	for (size_t u = 0; u < width; u++) {
		total += last[u];
		cdf[u] = total;
	}
	for (size_t u = 0; u < width; u++)
		cdf[u] /= total;
	free(ways);
	*ret_cdf = cdf;
	return 0;
}

struct ranked {
	double value;
	bool of_b;
};

static int compare_ranked(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	return (x->value > y->value) - (x->value < y->value);
}

/* U of b; *ret_ties gets the sum of t^3 - t over the groups of t equal values. */
static double rank_sum(struct ranked *all, size_t n, size_t m, double *ret_ties)
{
	double of_b = 0, ties = 0;

	qsort(all, n + m, sizeof(*all), compare_ranked);
	for (size_t from = 0, to; from < n + m; from = to) {
		double t;

		for (to = from; to < n + m && all[to].value == all[from].value; to++)
			;
		t = to - from;
		ties += t * t * t - t;
		for (size_t i = from; i < to; i++)
			of_b += all[i].of_b ? (from + to + 1) / 2.0 : 0;
	}
	*ret_ties = ties;
	return of_b - m * (m + 1) / 2.0;
}

static double approximate_p(double u, double n, double m, double ties)
{
	double all = n + m, away = fabs(u - n * m / 2) - 0.5;
	double variance = n * m / 12 * (all + 1 - ties / (all * (all - 1)));

	if (variance <= 0 || away <= 0)
		return 1;
	return fmax(2 * stat_normal_above(away / sqrt(variance)), stat_smallest_p(n, m));
}

static int exact_p(double u, size_t n, size_t m, double *ret_p)
{
	/* U is symmetric about n * m / 2, and whole when nothing is tied. */
	size_t lower = (size_t)fmin(u, n * m - u);
	double *cdf;
	int r = stat_u_cdf(n, m, &cdf);

	if (r < 0)
		return r;
	*ret_p = fmin(2 * cdf[lower], 1);
	free(cdf);
	return 0;
}

int stat_mann_whitney(const double *a, size_t n, const double *b, size_t m,
		      struct stat_test *ret_test)
{
	struct stat_test test = {.u = 0};
	struct ranked *all;
	double ties;
	int r = 0;

	if (!n || !m)
		return -EINVAL;
	all = malloc((n + m) * sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < n + m; i++) {
		all[i].of_b = i >= n;
		all[i].value = i >= n ? b[i - n] : a[i];
	}
	test.u = rank_sum(all, n, m, &ties);
	free(all);
	test.exact = ties == 0 && n <= STAT_EXACT_MAX && m <= STAT_EXACT_MAX;
	if (test.exact)
		r = exact_p(test.u, n, m, &test.p);
	else
		test.p = approximate_p(test.u, n, m, ties);
	if (!r)
		*ret_test = test;
	return r;
}

/*
 * How many of the smallest differences lie below the interval: the largest c with
 * P(U <= c - 1) <= alpha / 2. 0 means that no interval of that confidence exists.
 */
static int outside_interval(size_t n, size_t m, double alpha, size_t *ret_count)
{
	double *cdf, middle = n * m / 2.0;
	size_t count = 0;
	int r;

	if (n > STAT_EXACT_MAX || m > STAT_EXACT_MAX) {
		double spread = sqrt(n * m * (n + m + 1.0) / 12);

		*ret_count = fmax(floor(middle - stat_normal_z(alpha / 2) * spread), 0);
		return 0;
	}
	r = stat_u_cdf(n, m, &cdf);
	if (r < 0)
		return r;
	while (count < middle && cdf[count] <= alpha / 2)
		count++;
	free(cdf);
	*ret_count = count;
	return 0;
}

int stat_shift(const double *a, size_t n, const double *b, size_t m, double alpha,
	       struct stat_interval *ret_interval)
{
	double *differences;
	size_t outside = 0;
	int r;

	if (!n || !m)
		return -EINVAL;
	r = outside_interval(n, m, alpha, &outside);
	if (r < 0)
		return r;
	differences = malloc(n * m * sizeof(*differences));
	if (!differences)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < m; j++)
			differences[i * m + j] = b[j] - a[i];
	stat_sort(differences, n * m);
	ret_interval->estimate = stat_quantile(differences, n * m, 0.5);
	ret_interval->low = outside ? differences[outside - 1] : -INFINITY;
	ret_interval->high = outside ? differences[n * m - outside] : INFINITY;
	free(differences);
	return 0;
}

double stat_smallest_p(size_t n, size_t m)
{
	double ways = lgamma(n + m + 1.0) - lgamma(n + 1.0) - lgamma(m + 1.0);

	return fmin(2 * exp(-ways), 1);
}

size_t stat_rounds_wanted(double alpha)
{
	size_t n = 1;

	/* Each more divides the smallest p by nearly four: no double is below that of 600. */
	while (n < 600 && stat_smallest_p(n, n) > alpha)
		n++;
	return n;
}

struct indexed {
	double p;
	size_t at;
};

static int compare_indexed(const void *a, const void *b)
{
	const struct indexed *x = a, *y = b;

	return (x->p > y->p) - (x->p < y->p);
}

int stat_adjust(double *p, size_t n)
{
	struct indexed *order;
	double least = 1;

	if (!n)
		return 0;
	order = malloc(n * sizeof(*order));
	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		order[i] = (struct indexed){.p = p[i], .at = i};
	qsort(order, n, sizeof(*order), compare_indexed);
	for (size_t rank = n; rank > 0; rank--) {
		least = fmin(least, order[rank - 1].p * n / rank);
		p[order[rank - 1].at] = least;
	}
	free(order);
	return 0;
}

double stat_autocorrelation(const double *values, size_t n)
{
	double mean = 0, variance = 0, product = 0;

	if (n < 3)
		return 0;
	for (size_t i = 0; i < n; i++)
		mean += values[i] / n;
	for (size_t i = 0; i < n; i++) {
		variance += (values[i] - mean) * (values[i] - mean);
		product += i ? (values[i] - mean) * (values[i - 1] - mean) : 0;
	}
	return variance > 0 ? product / variance : 0;
}
