/* SPDX-License-Identifier: MIT */
/* A sweep as JSON and as CSV. Keeps no state. */
#include "output.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats.h"

bool output_has(const struct sweep_row *row, enum metric metric)
{
	bool by_bytes = !strcmp(row->use, "bulk") || (row->by_bytes && strcmp(row->use, "discard"));

	if (metric == METRIC_CPU_GIB || metric == METRIC_BYTES)
		return by_bytes;
	if (metric == METRIC_CPU_MESSAGE || metric == METRIC_MESSAGES)
		return !by_bytes;
	return true;
}

static bool measured(const struct sweep_row *row, enum metric metric)
{
	for (size_t i = 0; i < row->n; i++)
		if (isfinite(row->samples[i].value[metric]))
			return true;
	return false;
}

/* work has room for all samples of the row. */
static json_t *make_row(const struct sweep_row *row, enum metric metric, double *work)
{
	const struct metric_kind *kind = metric_kind(metric);
	json_t *samples = json_array(), *rounds = json_array(), *json;
	struct stat_summary summary;
	size_t n = 0;

	for (size_t i = 0; i < row->n; i++) {
		const struct sweep_sample *sample = &row->samples[i];

		if (!isfinite(sample->value[metric]))
			continue;
		json_array_append_new(samples, json_real(sample->value[metric]));
		json_array_append_new(rounds, json_integer(sample->round));
		work[n++] = sample->value[metric];
	}
	summary = stat_summarize(work, n);
	json = json_pack("{s:s, s:s, s:I, s:I, s:s, s:I, s:s, s:s, s:s, s:o, s:o}", "use", row->use,
			 "cell", row->cell, "connections", (json_int_t)row->connections, "size",
			 (json_int_t)row->size, "server", row->server, "workers",
			 (json_int_t)row->workers, "metric", kind->name, "unit", kind->unit,
			 "better", kind->higher ? "higher" : "lower", "samples", samples, "rounds",
			 rounds);
	if (json) {
		json_object_set_new(json, "median", json_real(summary.median));
		json_object_set_new(json, "min", json_real(summary.min));
		json_object_set_new(json, "max", json_real(summary.max));
	}
	return json;
}

/* 0, or -1 when memory ran out. */
static int append_rows(json_t *rows, const struct sweep_row *row, double *work)
{
	for (enum metric metric = 0; metric < METRIC_COUNT; metric++) {
		if (output_has(row, metric) && measured(row, metric) &&
		    json_array_append_new(rows, make_row(row, metric, work)))
			return -1;
	}
	return 0;
}

json_t *output_json(const struct sweep *sweep)
{
	double *work = calloc(sweep->rounds + 1, sizeof(*work));
	json_t *rows = json_array();
	int r = work && rows ? 0 : -1;

	for (size_t i = 0; i < sweep->n && !r; i++)
		r = append_rows(rows, &sweep->rows[i], work);
	free(work);
	if (r < 0) {
		json_decref(rows);
		return NULL;
	}
	return json_pack("{s:s, s:O, s:o}", "schema", "sluice-bench-report/1", "env", sweep->env,
			 "rows", rows);
}

void output_csv(FILE *out, const struct sweep *sweep)
{
	/* Names hold no comma and no quotation mark: sweep_name_ok(). */
	fputs("use,cell,connections,size,server,workers,round,metric,unit,value,limited,errors\n",
	      out);
	for (size_t i = 0; i < sweep->n; i++) {
		const struct sweep_row *row = &sweep->rows[i];

		for (size_t k = 0; k < row->n * METRIC_COUNT; k++) {
			const struct sweep_sample *sample = &row->samples[k / METRIC_COUNT];
			enum metric metric = k % METRIC_COUNT;

			if (!output_has(row, metric) || !isfinite(sample->value[metric]))
				continue;
			fprintf(out,
				"%s,%s,%" PRIu64 ",%" PRIu64 ",%s,%" PRIu32 ",%" PRIu32
				",%s,%s,%.10g,%d,%d\n",
				row->use, row->cell, row->connections, row->size, row->server,
				row->workers, sample->round, metric_kind(metric)->name,
				metric_kind(metric)->unit, sample->value[metric], sample->limited,
				sample->errors);
		}
	}
}
