/* SPDX-License-Identifier: MIT */
/* The page of a report: what was measured on, the sum, the plots, then a part for each use. */
#include "markdown.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "use.h"

void markdown_text(FILE *out, const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c < ' ' || *c == 127)
			fputc(' ', out);
		else if (strchr("\\`*_[]<>|~&#", *c))
			fprintf(out, "\\%c", *c);
		else
			fputc(*c, out);
	}
}

/* A scalar, or what it holds one level down as `name value`; what is deeper is left out. */
static void print_json(FILE *out, const json_t *value)
{
	const char *name, *before = "";
	json_t *member;
	size_t i;

	if (json_is_string(value))
		markdown_text(out, json_string_value(value));
	else if (json_is_integer(value))
		fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		fprintf(out, "%g", json_real_value(value));
	else if (json_is_boolean(value))
		fputs(json_is_true(value) ? "yes" : "no", out);
	if (json_is_array(value)) {
		json_array_foreach(value, i, member)
		{
			fputs(before, out);
			if (!json_is_array(member) && !json_is_object(member))
				print_json(out, member);
			before = ", ";
		}
	}
	if (json_is_object(value)) {
		json_object_foreach((json_t *)value, name, member)
		{
			fputs(before, out);
			markdown_text(out, name);
			fputc(' ', out);
			if (!json_is_array(member) && !json_is_object(member))
				print_json(out, member);
			before = ", ";
		}
	}
}

static void print_env(FILE *out, const json_t *env)
{
	static const struct {
		const char *name, *title;
	} members[] = {
		{"date", "date"},       {"kernel", "kernel"},
		{"cpu", "processor"},   {"cpus", "processors"},
		{"commit", "commit"},   {"versions", "versions"},
		{"options", "options"}, {"descriptors", "descriptor limit"},
		{"memory_bytes", NULL},
	};

	fputs("| measured on | |\n|---|---|\n", out);
	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
		const json_t *value = json_object_get(env, members[i].name);

		if (!value || json_is_null(value))
			continue;
		if (!members[i].title && json_is_number(value)) {
			fprintf(out, "| memory | %.1f GiB |\n",
				json_number_value(value) / (1 << 30));
			continue;
		}
		fprintf(out, "| %s | ", members[i].title ? members[i].title : members[i].name);
		print_json(out, value);
		fputs(" |\n", out);
	}
	fputc('\n', out);
}

static void print_missing(FILE *out, const json_t *env)
{
	const json_t *missing = json_object_get(env, "missing");
	json_t *one;
	size_t i;

	if (!json_array_size(missing))
		return;
	fputs("**Missing** (`make bench-deps` installs the peers):\n\n", out);
	json_array_foreach(missing, i, one)
	{
		fputs("- ", out);
		print_json(out, one);
		fputc('\n', out);
	}
	fputc('\n', out);
}

static void print_count(FILE *out, size_t n, const char *text)
{
	if (n)
		fprintf(out, "- %zu %s\n", n, text);
}

static void print_state(FILE *out, const struct sweep *sweep)
{
	fprintf(out, "%zu runs in %" PRIu32 " round%s.\n\n", sweep->runs, sweep->rounds,
		sweep->rounds == 1 ? "" : "s");
	print_count(out, sweep->limited,
		    "† of them were disturbed, or the generator was their limit (it says so of "
		    "itself): their throughput says little about the server.");
	print_count(out, sweep->with_errors,
		    "‡ of them had errors: connections or answers were lost.");
	print_count(out, sweep->failed, "failed, see the end.");
	print_count(out, sweep->interrupted, "were interrupted, and are left out.");
	print_count(out, sweep->repeated, "were run again, and the later run of each counts.");
	if (sweep->cut_line)
		fprintf(out,
			"- Line %zu, the last, is cut off and left out: the sweep was "
			"interrupted.\n",
			sweep->cut_line);
	fputs("\nThe figures are medians of the rounds, with the smallest and largest in brackets. "
	      "All servers run once in every round, in an order that rotates. Ratios are taken "
	      "between the two runs of one round; then comes their median, for absolute figures "
	      "drift on a shared machine. The best peer is the one with the best median in its "
	      "cell, on its default buffers. Client and server share this machine over loopback: "
	      "there is no driver, no loss and no round trip in any of this.\n\n",
	      out);
}

static void print_failures(FILE *out, const struct sweep *sweep)
{
	if (!sweep->failed)
		return;
	fputs("## Failed\n\n| use | cell | server | workers | times | why, the last time |\n"
	      "|---|---|---|---:|---:|---|\n",
	      out);
	for (size_t i = 0; i < sweep->n; i++) {
		const struct sweep_row *row = &sweep->rows[i];

		if (!row->failed)
			continue;
		fprintf(out, "| %s | %s | %s | %" PRIu32 " | %" PRIu32 " | ", row->use, row->cell,
			row->server, row->workers, row->failed);
		markdown_text(out, row->why);
		fputs(" |\n", out);
	}
	fputc('\n', out);
}

static void print_plots(FILE *out, const struct plots *plots)
{
	if (plots->no_gnuplot)
		fputs("No plots: gnuplot is not installed (`make bench-deps`). The data and the "
		      "scripts are beside this file: `gnuplot cost.gp`.\n\n",
		      out);
	for (enum plot plot = 0; plot < PLOT_COUNT; plot++) {
		const char *name = plot_name(plot);

		if (plots->drawn[plot])
			fprintf(out, "![%s](%s.png)\n\n", plot_caption(plot), name);
		else if (plots->written[plot] && !plots->no_gnuplot)
			fprintf(out,
				"gnuplot could not draw `%s.gp`; the report's messages on "
				"standard error say why.\n\n",
				name);
	}
}

int markdown_write(FILE *out, const struct sweep *sweep, const struct plots *plots)
{
	const char *uses[USES_MAX];
	size_t n = use_list(sweep, uses, USES_MAX);
	struct grid grid;

	fputs("# Benchmark of sluice\n\n", out);
	print_env(out, sweep->env);
	print_missing(out, sweep->env);
	print_state(out, sweep);
	fputs("## In sum\n\nGeometric means over the cells of the ratios of server CPU per message "
	      "(per GiB for bulk; of latency where it says so). Below 1 the first is better.\n\n",
	      out);
	markdown_sum_head(out);
	for (size_t i = 0; i < n; i++) {
		if (grid_init(&grid, sweep, uses[i]) < 0)
			return -ENOMEM;
		markdown_sum_line(out, &grid);
		grid_free(&grid);
	}
	fputc('\n', out);
	print_plots(out, plots);
	for (size_t i = 0; i < n; i++) {
		if (grid_init(&grid, sweep, uses[i]) < 0)
			return -ENOMEM;
		markdown_use(out, &grid);
		grid_free(&grid);
	}
	print_failures(out, sweep);
	return 0;
}
