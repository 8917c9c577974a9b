/* SPDX-License-Identifier: MIT */
/* What is measured: the table of metrics, and reading one run's worth of them. */
#ifndef SLUICE_BENCH_REPORT_METRIC_H
#define SLUICE_BENCH_REPORT_METRIC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum metric {
	METRIC_CPU_MESSAGE,
	METRIC_CPU_GIB,
	METRIC_MESSAGES,
	METRIC_BYTES,
	METRIC_P50,
	METRIC_P90,
	METRIC_P99,
	METRIC_P99_9,
	METRIC_P99_99,
	METRIC_MAX,
	METRIC_COUNT,
};

struct metric_kind {
	const char *name, *unit; /* as report.json has them */
	const char *title;       /* for people, who see `shown` = value / divisor */
	const char *shown;
	double divisor;
	bool higher; /* is better */
	bool judged; /* has enough of each run behind it to be compared */
};

const struct metric_kind *metric_kind(enum metric metric);

/* METRIC_COUNT when no metric has that name. */
enum metric metric_by_name(const char *name);

enum { METRIC_ERROR_MAX = 256 };

/* What a table and a comparison need of a run; what it did not measure is NAN. */
struct metric_run {
	double value[METRIC_COUNT];
	double rate_per_s; /* NAN for a closed loop */
	double errors;
	bool limited; /* the generator was, or was disturbed */
	bool interrupted;
	bool by_bytes; /* one way or both at once: bytes are what counts */
};

/*
 * Reads one object of the schema sluice-bench/1, whoever wrote it. 0, or -EINVAL with one line in
 * ret_error that names the member and what it should be.
 */
int metric_run_read(const json_t *json, struct metric_run *ret_run,
		    char ret_error[METRIC_ERROR_MAX]);

/*
 * A member of an object that is a number, at least 0: 1 when it is there, 0 when it is missing or
 * null (*ret_value is NAN then), -EINVAL as above with `where` before the member's name.
 */
int metric_number(const json_t *object, const char *where, const char *name, double *ret_value,
		  char ret_error[METRIC_ERROR_MAX]);

#endif
