/* SPDX-License-Identifier: MIT */
/* The tables of one use of a sweep. Keeps no state. */
#include "markdown.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "use.h"

struct ratio_kind {
	const char *title;
	const char *server, *base; /* base NULL: the best peer of the line */
	bool tuned;                /* ... among those with other buffers than their default */
};

static const struct ratio_kind ratios[] = {
	{"io_uring / best peer", "sluice_io_uring", NULL, false},
	{"epoll / best peer", "sluice_epoll", NULL, false},
	{"io_uring / best peer with 64 KiB", "sluice_io_uring", NULL, true},
	{"io_uring / epoll", "sluice_io_uring", "sluice_epoll", false},
	{"io_uring / its floor", "sluice_io_uring", "floor_uring", false},
	{"epoll / its floor", "sluice_epoll", "floor_epoll", false},
};

enum { RATIOS = sizeof(ratios) / sizeof(*ratios) };

const char *markdown_number(double value, char ret[MARKDOWN_NUMBER_MAX])
{
	char digits[MARKDOWN_NUMBER_MAX];
	double size = fabs(value);
	size_t len, out = 0;

	if (!isfinite(value) || size > 1e18)
		return strcpy(ret, isfinite(value) ? "very large" : "-");
	if (size < 1000) {
		snprintf(ret, MARKDOWN_NUMBER_MAX,
			 size < 10    ? "%.2f"
			 : size < 100 ? "%.1f"
				      : "%.0f",
			 value);
		return ret;
	}
	snprintf(digits, sizeof(digits), "%.0f", value);
	len = strlen(digits);
	for (size_t i = 0; i < len; i++) {
		ret[out++] = digits[i];
		if (i + 1 < len && (len - 1 - i) % 3 == 0 && digits[i] != '-')
			ret[out++] = ',';
	}
	ret[out] = '\0';
	return ret;
}

static void print_spread(FILE *out, struct stat_summary summary, double divisor)
{
	char median[MARKDOWN_NUMBER_MAX], min[MARKDOWN_NUMBER_MAX], max[MARKDOWN_NUMBER_MAX];

	if (!summary.n) {
		fputs(" - ", out);
		return;
	}
	fprintf(out, " %s (%s-%s)", markdown_number(summary.median / divisor, median),
		markdown_number(summary.min / divisor, min),
		markdown_number(summary.max / divisor, max));
}

static void print_marks(FILE *out, const struct sweep_row *row)
{
	bool limited = false, errors = false;

	for (size_t i = 0; row && i < row->n; i++) {
		limited |= row->samples[i].limited;
		errors |= row->samples[i].errors;
	}
	fprintf(out, "%s%s", limited ? "†" : "", errors ? "‡" : "");
	if (row && row->failed)
		fprintf(out, " failed %" PRIu32, row->failed);
}

static void print_columns(FILE *out, const struct grid *grid, const char *first, bool rate)
{
	fprintf(out, "| %s |%s", first, rate ? " messages/s |" : "");
	for (size_t s = 0; s < grid->n_servers; s++)
		fprintf(out, " %s |", grid->servers[s]);
	fprintf(out, "\n|---|%s", rate ? "---:|" : "");
	for (size_t s = 0; s < grid->n_servers; s++)
		fputs("---:|", out);
	fputc('\n', out);
}

static void print_rate(FILE *out, const struct grid *grid, size_t line)
{
	double low = NAN, high = NAN;
	char text[2][MARKDOWN_NUMBER_MAX];

	for (size_t s = 0; s < grid->n_servers; s++) {
		const struct sweep_row *row = grid_row(grid, line, s);

		low = row ? fmin(low, row->rate_per_s) : low;
		high = row ? fmax(high, row->rate_per_s) : high;
	}
	fprintf(out, " %s", markdown_number(low, text[0]));
	if (high > low)
		fprintf(out, " to %s", markdown_number(high, text[1]));
	fputs(" |", out);
}

static void print_table(FILE *out, const struct grid *grid, enum metric metric)
{
	const struct metric_kind *kind = metric_kind(metric);
	bool rate = use_kind(grid->use).by_latency;
	char label[USE_LABEL_MAX];

	if (!grid_has(grid, metric))
		return;
	fprintf(out, "**%s, %s** (%s is better)\n\n", kind->title, kind->shown,
		kind->higher ? "higher" : "lower");
	print_columns(out, grid, "cell", rate);
	for (size_t i = 0; i < grid->n_lines; i++) {
		use_label(grid, i, label);
		fprintf(out, "| %s |", label);
		if (rate)
			print_rate(out, grid, i);
		for (size_t s = 0; s < grid->n_servers; s++) {
			print_spread(out, grid_value(grid, i, s, metric), kind->divisor);
			print_marks(out, grid_row(grid, i, s));
			fputs(" |", out);
		}
		fputc('\n', out);
	}
	fputc('\n', out);
}

static struct stat_summary ratio_at(const struct grid *grid, size_t line, size_t k,
				    enum metric metric)
{
	size_t server = grid_server(grid, ratios[k].server);
	size_t base = ratios[k].base ? grid_server(grid, ratios[k].base)
				     : grid_best_peer(grid, line, metric, ratios[k].tuned);

	if (server == GRID_NONE || base == GRID_NONE)
		return stat_summarize(NULL, 0);
	return grid_ratio(grid, line, server, line, base, metric);
}

/* The geometric mean over the lines, and in *ret_n how many lines there are in it. */
static double ratio_mean(const struct grid *grid, size_t k, enum metric metric, size_t *ret_n)
{
	double logs = 0;
	size_t n = 0;

	for (size_t i = 0; i < grid->n_lines; i++) {
		struct stat_summary ratio = ratio_at(grid, i, k, metric);

		logs += ratio.n ? log(ratio.median) : 0;
		n += ratio.n > 0;
	}
	*ret_n = n;
	return n ? exp(logs / n) : NAN;
}

/* Latency tables hold percentiles of runs at one rate; the others are about cost. */
static enum metric ratio_metric(const struct grid *grid)
{
	return use_kind(grid->use).by_latency ? METRIC_P99 : grid_cost(grid);
}

static void print_ratio_line(FILE *out, const struct grid *grid, size_t line, const bool *shown)
{
	enum metric metric = ratio_metric(grid);
	size_t peer = grid_best_peer(grid, line, metric, false);
	char label[USE_LABEL_MAX];

	use_label(grid, line, label);
	fprintf(out, "| %s | %s |", label, peer == GRID_NONE ? "-" : grid->servers[peer]);
	for (size_t k = 0; k < RATIOS; k++) {
		if (!shown[k])
			continue;
		print_spread(out, ratio_at(grid, line, k, metric), 1);
		fputs(" |", out);
	}
	fputc('\n', out);
}

static void print_ratios(FILE *out, const struct grid *grid)
{
	enum metric metric = ratio_metric(grid);
	double mean[RATIOS];
	bool shown[RATIOS], any = false;
	size_t n;

	for (size_t k = 0; k < RATIOS; k++) {
		mean[k] = ratio_mean(grid, k, metric, &n);
		shown[k] = n > 0;
		any |= shown[k];
	}
	if (!any)
		return;
	fprintf(out, "**Ratios of that** (%s; below 1 the first is better)\n\n| cell | best peer |",
		metric_kind(metric)->title);
	for (size_t k = 0; k < RATIOS; k++)
		if (shown[k])
			fprintf(out, " %s |", ratios[k].title);
	fputs("\n|---|---|", out);
	for (size_t k = 0; k < RATIOS; k++)
		fputs(shown[k] ? "---:|" : "", out);
	fputc('\n', out);
	for (size_t i = 0; i < grid->n_lines; i++)
		print_ratio_line(out, grid, i, shown);
	fputs("| **geometric mean** | |", out);
	for (size_t k = 0; k < RATIOS; k++)
		if (shown[k])
			fprintf(out, " **%.3f** |", mean[k]);
	fputs("\n\n", out);
}

/* Each line against the one it is set against: one worker, a kept connection, no filter. */
static void print_relative(FILE *out, const struct grid *grid, const char *against)
{
	char label[USE_LABEL_MAX];
	bool headed = false;

	for (size_t i = 0; i < grid->n_lines; i++) {
		size_t base = use_base_line(grid, i);

		if (base == GRID_NONE)
			continue;
		if (!headed) {
			fprintf(out, "**%s against %s** (ratio within a round)\n\n",
				metric_kind(grid_cost(grid))->title, against);
			print_columns(out, grid, "cell", false);
			headed = true;
		}
		use_label(grid, i, label);
		fprintf(out, "| %s |", label);
		for (size_t s = 0; s < grid->n_servers; s++) {
			print_spread(out, grid_ratio(grid, i, s, base, s, grid_cost(grid)), 1);
			fputs(" |", out);
		}
		fputc('\n', out);
	}
	if (headed)
		fputc('\n', out);
}

void markdown_use(FILE *out, const struct grid *grid)
{
	static const enum metric latencies[] = {METRIC_P50, METRIC_P99, METRIC_P99_9};
	struct use_kind kind = use_kind(grid->use);

	fprintf(out, "## %s\n\n", kind.title);
	if (kind.note)
		fprintf(out, "%s\n\n", kind.note);
	if (kind.by_latency) {
		for (size_t i = 0; i < 3; i++)
			print_table(out, grid, latencies[i]);
		print_ratios(out, grid);
		print_table(out, grid, grid_cost(grid));
		return;
	}
	print_table(out, grid, grid_cost(grid));
	if (kind.relative)
		print_relative(out, grid, kind.relative);
	print_ratios(out, grid);
	print_table(out, grid, grid_speed(grid));
	for (size_t i = 0; i < 2; i++)
		print_table(out, grid, latencies[i]);
}

void markdown_sum_head(FILE *out)
{
	fputs("| use | cells |", out);
	for (size_t k = 0; k < RATIOS; k++)
		fprintf(out, " %s |", ratios[k].title);
	fputs("\n|---|---:|", out);
	for (size_t k = 0; k < RATIOS; k++)
		fputs("---:|", out);
	fputc('\n', out);
}

void markdown_sum_line(FILE *out, const struct grid *grid)
{
	enum metric metric = ratio_metric(grid);
	double mean;
	size_t n;

	fprintf(out, "| %s%s | %zu |", use_kind(grid->use).title,
		metric == METRIC_P99 ? " (99 %)" : "", grid->n_lines);
	for (size_t k = 0; k < RATIOS; k++) {
		mean = ratio_mean(grid, k, metric, &n);
		if (!n)
			fputs(" - |", out);
		else if (n == grid->n_lines)
			fprintf(out, " %.3f |", mean);
		else
			fprintf(out, " %.3f (of %zu) |", mean, n);
	}
	fputc('\n', out);
}
