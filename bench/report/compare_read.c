/* SPDX-License-Identifier: MIT */
/* Reads one side of a comparison, whatever the file holds. Owns the samples. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "stats.h"
#include "sweep.h"

static int refuse(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(char *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, COMPARE_ERROR_MAX, format, args);
	va_end(args);
	return -EINVAL;
}

int compare_key(const struct compare_metric *a, const struct compare_metric *b)
{
	int order = strcmp(a->use, b->use);

	if (!order)
		order = strcmp(a->cell, b->cell);
	if (!order)
		order = strcmp(a->server, b->server);
	if (!order)
		order = (a->workers > b->workers) - (a->workers < b->workers);
	return order ? order : (int)a->metric - (int)b->metric;
}

int compare_keys(const void *a, const void *b)
{
	return compare_key(a, b);
}

void compare_side_free(struct compare_side *side)
{
	for (size_t i = 0; i < side->n; i++) {
		free(side->metrics[i].samples);
		free(side->metrics[i].rounds);
	}
	free(side->metrics);
	json_decref(side->root);
	*side = (struct compare_side){.n = 0};
}

struct compare_metric *compare_add(struct compare_side *side, const struct compare_metric *key,
				   size_t n)
{
	struct compare_metric *metric;

	if (side->n == side->capacity) {
		size_t wanted = side->capacity ? side->capacity * 2 : 16;

		metric = reallocarray(side->metrics, wanted, sizeof(*metric));
		if (!metric)
			return NULL;
		side->metrics = metric;
		side->capacity = wanted;
	}
	metric = &side->metrics[side->n];
	*metric = *key;
	metric->n = n;
	metric->samples = calloc(n + 1, sizeof(*metric->samples));
	metric->rounds = calloc(n + 1, sizeof(*metric->rounds));
	if (!metric->samples || !metric->rounds) {
		free(metric->samples);
		free(metric->rounds);
		return NULL;
	}
	side->n++;
	return metric;
}

/* --- a sweep's report ------------------------------------------------------------------------ */

static int read_name(const json_t *row, const char *member, const char **ret_name, char *error)
{
	*ret_name = json_string_value(json_object_get(row, member));
	return *ret_name && sweep_name_ok(*ret_name) ? 0 : refuse(error, "%s wants a name", member);
}

static int fill_samples(const json_t *samples, const json_t *rounds, struct compare_metric *metric,
			char *error)
{
	for (size_t i = 0; i < metric->n; i++) {
		const json_t *value = json_array_get(samples, i);
		const json_t *round = json_array_get(rounds, i);

		if (!json_is_number(value) || json_number_value(value) < 0)
			return refuse(error, "samples want numbers of at least 0");
		metric->samples[i] = json_number_value(value);
		if (!rounds)
			continue;
		if (!json_is_integer(round) || json_integer_value(round) < 0 ||
		    json_integer_value(round) > SWEEP_ROUND_MAX)
			return refuse(error, "rounds want a whole number for each sample");
		metric->rounds[i] = json_integer_value(round);
		if (i && metric->rounds[i] <= metric->rounds[i - 1])
			return refuse(error, "rounds want to ascend");
	}
	if (!rounds) {
		free(metric->rounds);
		metric->rounds = NULL;
	}
	return 0;
}

static int read_row(const json_t *row, struct compare_side *side, char *error)
{
	const char *name = json_string_value(json_object_get(row, "metric"));
	const json_t *samples = json_object_get(row, "samples");
	const json_t *workers = json_object_get(row, "workers");
	struct compare_metric key = {.n = 0}, *metric;
	int r = read_name(row, "use", &key.use, error);

	if (!r)
		r = read_name(row, "cell", &key.cell, error);
	if (!r)
		r = read_name(row, "server", &key.server, error);
	if (r < 0)
		return r;
	if (!name)
		return refuse(error, "metric wants a name");
	if (!json_is_integer(workers) || json_integer_value(workers) < 0 ||
	    json_integer_value(workers) > 100000)
		return refuse(error, "workers wants a whole number");
	if (!json_is_array(samples) || json_array_size(samples) > COMPARE_SAMPLES_MAX)
		return refuse(error, "samples want an array of at most %d", COMPARE_SAMPLES_MAX);
	key.workers = json_integer_value(workers);
	key.metric = metric_by_name(name);
	if (key.metric == METRIC_COUNT) {
		side->unknown++;
		return 0;
	}
	metric = compare_add(side, &key, json_array_size(samples));
	if (!metric)
		return -ENOMEM;
	return fill_samples(samples, json_object_get(row, "rounds"), metric, error);
}

static int read_sweep(struct compare_side *side, char *error)
{
	const json_t *rows = json_object_get(side->root, "rows");
	char why[COMPARE_ERROR_MAX - 32];

	if (!json_is_object(json_object_get(side->root, "env")))
		return refuse(error, "env wants an object");
	if (!json_is_array(rows) || json_array_size(rows) > COMPARE_METRICS_MAX)
		return refuse(error, "rows want an array of at most %d", COMPARE_METRICS_MAX);
	side->sweep = true;
	for (size_t i = 0; i < json_array_size(rows); i++) {
		int r = read_row(json_array_get(rows, i), side, error);

		if (r == -EINVAL) {
			snprintf(why, sizeof(why), "%s", error);
			refuse(error, "rows[%zu]: %s", i, why);
		}
		if (r < 0)
			return r;
	}
	if (side->n)
		qsort(side->metrics, side->n, sizeof(*side->metrics), compare_keys);
	for (size_t i = 1; i < side->n; i++) {
		const struct compare_metric *it = &side->metrics[i];

		if (!compare_key(it - 1, it))
			return refuse(error, "two rows of %s, %s, %s, %s", it->use, it->cell,
				      it->server, metric_kind(it->metric)->name);
	}
	return 0;
}

/* --- a single run ---------------------------------------------------------------------------- */

static size_t fill_blocks(const double *over, const double *under, size_t n, size_t size,
			  double *values)
{
	size_t blocks = n / size, kept = 0;

	for (size_t b = 0; b < blocks; b++) {
		/* The last one takes what does not make another. */
		size_t end = b + 1 == blocks ? n : (b + 1) * size;
		double sum_over = 0, sum_under = 0;

		for (size_t i = b * size; i < end; i++) {
			sum_over += over[i];
			sum_under += under[i];
		}
		if (sum_under > 0 && isfinite(sum_over / sum_under))
			values[kept++] = sum_over / sum_under;
	}
	return kept;
}

size_t compare_blocks(const double *over, const double *under, size_t n, double *ret_values,
		      bool *ret_correlated)
{
	size_t kept = 0;

	*ret_correlated = false;
	for (size_t size = 1; n / size >= 1; size *= 2) {
		kept = fill_blocks(over, under, n, size, ret_values);
		/* 1.645 / sqrt(n): what one of twenty series without correlation would exceed. */
		*ret_correlated = kept >= 3 && stat_autocorrelation(ret_values, kept) >
						       1.645 / sqrt((double)kept);
		if (!*ret_correlated || n / size / 2 < COMPARE_BLOCKS_MIN)
			break;
	}
	return kept;
}

/* Columns of the intervals. All four have room for n. */
struct series {
	size_t n;
	bool cost_known;
	double *seconds, *messages, *gib, *cpu_ns;
};

static int read_interval(const json_t *interval, struct series *series, double *end_s, char *error)
{
	size_t at = series->n;
	double t, bytes;
	int r = metric_number(interval, "intervals", "t_s", &t, error);

	if (r > 0)
		r = metric_number(interval, "intervals", "messages", &series->messages[at], error);
	if (r > 0)
		r = metric_number(interval, "intervals", "bytes", &bytes, error);
	if (r > 0)
		r = metric_number(interval, "intervals", "server_cpu_ns", &series->cpu_ns[at],
				  error) < 0
			    ? -EINVAL
			    : 1;
	if (r < 0)
		return r;
	if (!r || t <= *end_s)
		return refuse(error, "intervals want t_s (ascending, above 0), messages and bytes");
	series->seconds[at] = t - *end_s;
	series->gib[at] = bytes / (1 << 30);
	series->cost_known = series->cost_known && isfinite(series->cpu_ns[at]);
	*end_s = t;
	series->n++;
	return 0;
}

/* A last interval that the run's end cut short says little by itself: it joins the one before. */
static void join_short_end(struct series *series)
{
	size_t last = series->n - 1;

	if (series->n < 2 || series->seconds[last] >= series->seconds[last - 1] / 2)
		return;
	series->seconds[last - 1] += series->seconds[last];
	series->messages[last - 1] += series->messages[last];
	series->gib[last - 1] += series->gib[last];
	series->cpu_ns[last - 1] += series->cpu_ns[last];
	series->n--;
}

static int add_series(struct compare_side *side, enum metric which, const double *over,
		      const double *under, size_t n, double scale)
{
	struct compare_metric key = {.use = "", .cell = "", .server = "", .metric = which};
	struct compare_metric *metric = compare_add(side, &key, n);
	bool correlated;

	if (!metric)
		return -ENOMEM;
	metric->n = compare_blocks(over, under, n, metric->samples, &correlated);
	for (size_t i = 0; i < metric->n; i++)
		metric->samples[i] *= scale;
	side->correlated |= correlated;
	if (!side->blocks || metric->n < side->blocks)
		side->blocks = metric->n;
	return 0;
}

static int add_intervals(struct compare_side *side, const struct metric_run *run,
			 struct series *series)
{
	int r = 0;

	if (!series->n)
		return 0;
	join_short_end(series);
	if (series->cost_known)
		r = add_series(side, run->by_bytes ? METRIC_CPU_GIB : METRIC_CPU_MESSAGE,
			       series->cpu_ns, run->by_bytes ? series->gib : series->messages,
			       series->n, 1);
	if (!r && run->by_bytes)
		r = add_series(side, METRIC_BYTES, series->gib, series->seconds, series->n,
			       1 << 30);
	else if (!r)
		r = add_series(side, METRIC_MESSAGES, series->messages, series->seconds, series->n,
			       1);
	return r;
}

static int read_intervals(struct compare_side *side, const struct metric_run *run, char *error)
{
	const json_t *intervals = json_object_get(side->root, "intervals");
	size_t n = json_array_size(intervals);
	struct series series = {.cost_known = true};
	double *columns, end_s = 0;
	int r = 0;

	if (!json_is_array(intervals) || n > COMPARE_SAMPLES_MAX)
		return refuse(error, "intervals want an array of at most %d", COMPARE_SAMPLES_MAX);
	columns = calloc(4 * n + 1, sizeof(*columns));
	if (!columns)
		return -ENOMEM;
	series.seconds = columns;
	series.messages = columns + n;
	series.gib = columns + 2 * n;
	series.cpu_ns = columns + 3 * n;
	for (size_t i = 0; i < n && !r; i++)
		r = read_interval(json_array_get(intervals, i), &series, &end_s, error);
	side->intervals = n;
	if (!r)
		r = add_intervals(side, run, &series);
	free(columns);
	return r;
}

static int read_single(struct compare_side *side, char *error)
{
	struct metric_run run;
	char why[METRIC_ERROR_MAX];
	int r = metric_run_read(side->root, &run, why);

	if (r < 0)
		return refuse(error, "%s", why);
	side->interrupted = run.interrupted;
	r = read_intervals(side, &run, error);
	for (enum metric which = METRIC_P50; which <= METRIC_MAX && !r; which++) {
		struct compare_metric key = {.use = "", .cell = "", .server = "", .metric = which};
		struct compare_metric *metric;

		if (!isfinite(run.value[which]))
			continue;
		metric = compare_add(side, &key, 1);
		if (!metric)
			return -ENOMEM;
		metric->samples[0] = run.value[which];
	}
	if (!r && side->n)
		qsort(side->metrics, side->n, sizeof(*side->metrics), compare_keys);
	return r;
}

/* Several lines, the first with the env of a sweep: a likely mistake. */
static bool looks_like_runs(const char *text, size_t len)
{
	const char *end = len ? memchr(text, '\n', len) : NULL;

	return end && end + 1 < text + len &&
	       memmem(text, (size_t)(end - text), "\"env\"", strlen("\"env\""));
}

int compare_parse(const char *text, size_t len, struct compare_side *ret_side,
		  char ret_error[COMPARE_ERROR_MAX])
{
	struct compare_side side = {.n = 0};
	const char *schema;
	json_error_t why;
	int r;

	side.root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!side.root && looks_like_runs(text, len))
		return refuse(ret_error, "these look like the runs of a sweep: make a report of "
					 "them first (sluice-bench report), and compare its "
					 "report.json");
	if (!side.root)
		return refuse(ret_error, "not JSON: line %d, column %d: %s", why.line, why.column,
			      why.text);
	schema = json_string_value(json_object_get(side.root, "schema"));
	if (schema && !strcmp(schema, "sluice-bench/1"))
		r = read_single(&side, ret_error);
	else if (schema && !strcmp(schema, "sluice-bench-report/1"))
		r = read_sweep(&side, ret_error);
	else
		r = refuse(ret_error, "schema wants \"sluice-bench/1\" (a run's --json) or "
				      "\"sluice-bench-report/1\" (a sweep's report.json)");
	if (r < 0) {
		compare_side_free(&side);
		return r;
	}
	*ret_side = side;
	return 0;
}
