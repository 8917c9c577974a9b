/* SPDX-License-Identifier: MIT */
/*
 * Fuzzer of what the benchmark reads: the input is a sweep's runs, a run or a report. Whatever it
 * is, there is either one line that says what is wrong, or figures that keep their limits, which
 * can be laid out, written, and compared with themselves without a difference.
 */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report/compare.h"
#include "bench/report/markdown.h"
#include "bench/report/output.h"
#include "bench/report/sweep.h"
#include "bench/report/use.h"

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rows(const struct sweep *sweep)
{
	CHECK(sweep->n >= 1 && sweep->n <= SWEEP_ROWS_MAX);
	CHECK(sweep->n_servers >= 1 && sweep->n_servers <= SWEEP_SERVERS_MAX);
	for (size_t i = 0; i < sweep->n; i++) {
		const struct sweep_row *row = &sweep->rows[i];

		CHECK(sweep_name_ok(row->use) && sweep_name_ok(row->cell));
		CHECK(sweep_name_ok(row->server) && row->n <= sweep->rounds);
		for (size_t k = 0; k < row->n; k++) {
			CHECK(!k || row->samples[k - 1].round < row->samples[k].round);
			for (int metric = 0; metric < METRIC_COUNT; metric++)
				CHECK(!(row->samples[k].value[metric] < 0));
		}
	}
}

/* The report of a sweep is one that can be compared, and nothing in it differs from itself. */
static void check_report(const struct sweep *sweep)
{
	json_t *json = output_json(sweep);
	char *text = json_dumps(json, 0), error[COMPARE_ERROR_MAX];
	struct compare_side side;

	CHECK(json && text);
	CHECK(compare_parse(text, strlen(text), &side, error) == 0);
	CHECK(side.unknown == 0);
	compare_side_free(&side);
	free(text);
	json_decref(json);
}

static void check_sweep(const uint8_t *data, size_t size)
{
	FILE *file = fmemopen((void *)data, size, "r"), *out = fopen("/dev/null", "w");
	struct plots plots = {.no_gnuplot = true};
	struct sweep sweep;
	struct sweep_error error;
	int r = sweep_read(file, &sweep, &error);

	fclose(file);
	CHECK(r == 0 || r == -EINVAL);
	if (r < 0) {
		CHECK(*error.text && memchr(error.text, '\0', sizeof(error.text)));
	} else {
		check_rows(&sweep);
		check_report(&sweep);
		CHECK(markdown_write(out, &sweep, &plots) == 0);
		CHECK(plot_bars(out, out, &sweep, PLOT_COST) >= 0);
		CHECK(plot_scale(out, out, &sweep) >= 0 && plot_latency(out, out, &sweep) >= 0);
		output_csv(out, &sweep);
		sweep_free(&sweep);
	}
	fclose(out);
}

static void check_compare(const char *text, size_t size)
{
	const struct compare_options options = {.path = {"a", "b"}, .alpha = 0.05, .all = true};
	struct compare_judgement judgement;
	struct compare_side side[2];
	char error[COMPARE_ERROR_MAX] = "";
	FILE *out;
	int r = compare_parse(text, size, &side[0], error);

	CHECK(r == 0 || r == -EINVAL);
	if (r < 0) {
		CHECK(*error);
		return;
	}
	CHECK(compare_parse(text, size, &side[1], error) == 0);
	CHECK(compare_add_sums(side) == 0);
	CHECK(compare_judge(&side[0], &side[1], 0.05, 0.02, true, &judgement) == 0);
	CHECK(judgement.count[COMPARE_REGRESSION] + judgement.count[COMPARE_IMPROVEMENT] == 0);
	CHECK(judgement.only_a + judgement.only_b == 0);
	out = fopen("/dev/null", "w");
	compare_print(out, side, &judgement, &options);
	fclose(out);
	json_decref(compare_json(&judgement, &options));
	compare_judgement_free(&judgement);
	r = compare_against(&side[0], "nginx");
	CHECK(r == 0 || r == -ENOENT);
	compare_side_free(&side[0]);
	compare_side_free(&side[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Without a terminator, and of exactly its size: reading past the end is seen. */
	char *text = malloc(size ? size : 1);

	memcpy(text, data, size);
	if (size)
		check_sweep(data, size);
	check_compare(text, size);
	free(text);
	return 0;
}
