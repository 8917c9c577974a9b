/* SPDX-License-Identifier: MIT */
/* The outcome of a comparison, for people and for programs. Keeps no state. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "markdown.h"
#include "sweep.h"

/* --- what was not alike ---------------------------------------------------------------------- */

/* As JSON in ASCII: nothing from a file reaches a terminal as it is. */
static void print_value(FILE *out, const json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII |
						       JSON_SORT_KEYS)
			   : NULL;

	fprintf(out, "%.160s%s", text ? text : "nothing", text && strlen(text) > 160 ? "..." : "");
	free(text);
}

static bool print_difference(FILE *out, const json_t *a, const json_t *b, const char *name,
			     bool headed)
{
	const json_t *in_a = json_object_get(a, name), *in_b = json_object_get(b, name);

	if ((!in_a && !in_b) || json_equal(in_a, in_b))
		return headed;
	if (!headed)
		fputs("\nWARNING: A and B were not measured alike. What differs below may come of "
		      "this:\n",
		      out);
	fprintf(out, "  %s: A ", name);
	print_value(out, in_a);
	fputs(", B ", out);
	print_value(out, in_b);
	fputc('\n', out);
	return true;
}

/* A newer sluice is what is being compared, so its own version does not count. */
static bool print_versions(FILE *out, const json_t *a, const json_t *b, bool headed)
{
	json_t *of_a = json_object_get(a, "versions"), *version;
	const char *name;

	json_object_foreach(of_a, name, version)
	{
		json_t *other = json_object_get(json_object_get(b, "versions"), name);

		if (strncmp(name, "sluice", 6) &&
		    strspn(name, "abcdefghijklmnopqrstuvwxyz"
				 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789_.+-") == strlen(name) &&
		    other && !json_equal(version, other))
			headed = print_difference(out, of_a, json_object_get(b, "versions"), name,
						  headed);
	}
	return headed;
}

static void print_unlike(FILE *out, const struct compare_side side[2])
{
	static const char *const machine[] = {"kernel",       "cpu",         "cpus",
					      "memory_bytes", "descriptors", "options"};
	const json_t *a = side[0].root, *b = side[1].root;
	bool headed = false;

	if (!side[0].sweep) {
		headed = print_difference(out, json_object_get(a, "target"),
					  json_object_get(b, "target"), "transport", headed);
		print_difference(out, a, b, "options", headed);
		return;
	}
	a = json_object_get(a, "env");
	b = json_object_get(b, "env");
	for (size_t i = 0; i < sizeof(machine) / sizeof(*machine); i++)
		headed = print_difference(out, a, b, machine[i], headed);
	print_versions(out, a, b, headed);
}

/* --- the table ------------------------------------------------------------------------------- */

static void print_what(FILE *out, const struct compare_metric *it)
{
	char what[4 * SWEEP_NAME_MAX];

	if (!strcmp(it->use, COMPARE_SUM))
		snprintf(what, sizeof(what), "%s, all cells", it->server);
	else if (it->workers > 1)
		snprintf(what, sizeof(what), "%s, %s %s, %u workers", it->server, it->use, it->cell,
			 it->workers);
	else
		snprintf(what, sizeof(what), "%s, %s %s", it->server, it->use, it->cell);
	if (*it->use)
		fprintf(out, "%-42s ", what);
	fprintf(out, "%-22s", metric_kind(it->metric)->title);
}

static void print_result(FILE *out, const struct compare_result *result, bool divided)
{
	const struct metric_kind *kind = metric_kind(result->a->metric);
	double divisor = divided ? 1 : kind->divisor;
	char a[MARKDOWN_NUMBER_MAX], b[MARKDOWN_NUMBER_MAX];
	const char *verdict = compare_verdict_name(result->verdict);

	if (result->verdict == COMPARE_REGRESSION)
		verdict = "REGRESSION";
	fprintf(out, "%-11s  ", verdict);
	print_what(out, result->a);
	fprintf(out, " %9s -> %9s", markdown_number(result->median_a / divisor, a),
		markdown_number(result->median_b / divisor, b));
	/* µ is two bytes wide, and one column. */
	if (!divided)
		fprintf(out, " %-*s", strcmp(kind->shown, "µs") ? 10 : 11, kind->shown);
	if (isfinite(result->ratio))
		fprintf(out, "  B/A %.3f", result->ratio);
	if (isfinite(result->low))
		fprintf(out, " (%.3f to %.3f)", result->low, result->high);
	if (isfinite(result->p))
		fprintf(out, "  p %.2g, adjusted %.2g", result->p, result->p_adjusted);
	fprintf(out, "  n %zu, %zu\n", result->a->n, result->b->n);
}

static void print_table(FILE *out, const struct compare_judgement *judgement,
			const struct compare_options *options)
{
	fputc('\n', out);
	for (size_t i = 0; i < judgement->n; i++) {
		const struct compare_result *result = &judgement->results[i];

		/* A single run's latencies are few, and everybody wants to see them. */
		if (result->verdict <= COMPARE_IMPROVEMENT || options->all ||
		    (!*result->a->use && result->verdict == COMPARE_NOT_JUDGED))
			print_result(out, result, options->against);
	}
}

static void print_power(FILE *out, const struct compare_judgement *judgement,
			const struct compare_options *options, bool sweep)
{
	const char *what = sweep ? "rounds" : "blocks of intervals (a longer --duration)";

	if (judgement->count[COMPARE_CANNOT_SAY])
		fprintf(out,
			"Cannot say: of %zu metric(s) there are so few samples (%zu at most) that "
			"no difference, however large, could be significant at %g. %zu %s on each "
			"side are the least.\n",
			judgement->count[COMPARE_CANNOT_SAY], judgement->samples, options->alpha,
			judgement->rounds_alone, what);
	else if (judgement->tested > 1 && judgement->samples < judgement->rounds_among)
		fprintf(out,
			"%zu metrics were tested together. With %zu %s a side, a single one that "
			"changes among so many cannot stand out at %g; it would take %zu on each "
			"side. Changes of many metrics at once can.\n",
			judgement->tested, judgement->samples, sweep ? "rounds" : "blocks",
			options->alpha, judgement->rounds_among);
}

static void print_sum(FILE *out, const struct compare_side side[2],
		      const struct compare_judgement *judgement,
		      const struct compare_options *options)
{
	const size_t *count = judgement->count;

	fprintf(out,
		"\n%zu regression(s), %zu improvement(s), %zu unchanged (%zu of them shown to be "
		"within %g %%; of the rest no change was shown), %zu cannot say, %zu not judged\n",
		count[COMPARE_REGRESSION], count[COMPARE_IMPROVEMENT], count[COMPARE_UNCHANGED],
		judgement->alike, options->min_change * 100, count[COMPARE_CANNOT_SAY],
		count[COMPARE_NOT_JUDGED]);
	if (judgement->only_a || judgement->only_b)
		fprintf(out, "Left out: %zu metric(s) only in A, %zu only in B\n",
			judgement->only_a, judgement->only_b);
	for (int i = 0; i < 2; i++)
		if (side[i].unknown)
			fprintf(out, "Left out: %zu row(s) of %c whose metric is not known here\n",
				side[i].unknown, 'A' + i);
	print_power(out, judgement, options, side[0].sweep);
	if (isfinite(judgement->others) && !options->against &&
	    fabs(judgement->others - 1) > options->min_change)
		fprintf(out,
			"WARNING: the servers that are not sluice cost %.3f of what they did, and "
			"should not have changed: the machine has. --against SERVER (one of them) "
			"divides that out.\n",
			judgement->others);
}

void compare_print(FILE *out, const struct compare_side side[2],
		   const struct compare_judgement *judgement, const struct compare_options *options)
{
	for (int i = 0; i < 2; i++) {
		const json_t *env = json_object_get(side[i].root, "env");

		fprintf(out, "%c: %s", 'A' + i, options->path[i]);
		if (side[i].sweep) {
			fputs(", a sweep of commit ", out);
			print_value(out, json_object_get(env, "commit"));
		} else {
			fprintf(out, ", one run: %zu intervals, as %zu blocks%s%s",
				side[i].intervals, side[i].blocks,
				side[i].correlated ? " that still correlate" : "",
				side[i].interrupted ? ", interrupted" : "");
		}
		fputc('\n', out);
	}
	if (options->against)
		fprintf(out, "Every figure is a ratio to %s in the same cell and round.\n",
			options->against);
	print_unlike(out, side);
	print_table(out, judgement, options);
	print_sum(out, side, judgement, options);
	if (side[0].correlated || side[1].correlated)
		fputs("The blocks of a run still correlate: p is smaller than it should be. "
		      "Measure longer.\n",
		      out);
	if (!side[0].sweep)
		fputs("One run each: what differs from run to run of the same server (memory, "
		      "placement, other load) is not in p. Reports of sweeps tell more.\n",
		      out);
}

/* --- JSON ------------------------------------------------------------------------------------ */

static json_t *number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static json_t *result_json(const struct compare_result *result)
{
	const struct compare_metric *it = result->a;

	return json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, "
			 "s:I}",
			 "use", strcmp(it->use, COMPARE_SUM) ? it->use : "in sum", "cell", it->cell,
			 "server", it->server, "workers", (json_int_t)it->workers, "metric",
			 metric_kind(it->metric)->name, "verdict",
			 compare_verdict_name(result->verdict), "median_a",
			 number(result->median_a), "median_b", number(result->median_b), "ratio",
			 number(result->ratio), "ratio_low", number(result->low), "ratio_high",
			 number(result->high), "p", number(result->p), "p_adjusted",
			 number(result->p_adjusted), "samples_a", (json_int_t)it->n, "samples_b",
			 (json_int_t)result->b->n);
}

json_t *compare_json(const struct compare_judgement *judgement,
		     const struct compare_options *options)
{
	json_t *results = json_array();

	for (size_t i = 0; i < judgement->n; i++) {
		if (json_array_append_new(results, result_json(&judgement->results[i]))) {
			json_decref(results);
			return NULL;
		}
	}
	return json_pack("{s:s, s:f, s:f, s:s?, s:I, s:I, s:o}", "schema", "sluice-bench-compare/1",
			 "alpha", options->alpha, "min_change", options->min_change, "against",
			 options->against, "regressions",
			 (json_int_t)judgement->count[COMPARE_REGRESSION], "improvements",
			 (json_int_t)judgement->count[COMPARE_IMPROVEMENT], "results", results);
}
