/* SPDX-License-Identifier: MIT */
/* The table of metrics, and the reading of one run. Keeps no state. */
#include "metric.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A second is 1e9 ns; what counts bytes is shown in binary multiples. */
static const struct metric_kind kinds[METRIC_COUNT] = {
	[METRIC_CPU_MESSAGE] = {"cpu_ns_per_message", "ns", "Server CPU per message", "µs", 1e3,
				false, true},
	[METRIC_CPU_GIB] = {"cpu_ns_per_gib", "ns", "Server CPU per GiB", "ms", 1e6, false, true},
	[METRIC_MESSAGES] = {"messages_per_s", "1/s", "Messages per second", "thousand/s", 1e3,
			     true, true},
	[METRIC_BYTES] = {"bytes_per_s", "B/s", "Throughput", "MiB/s", 1 << 20, true, true},
	[METRIC_P50] = {"latency_p50_ns", "ns", "Latency, median", "µs", 1e3, false, true},
	[METRIC_P90] = {"latency_p90_ns", "ns", "Latency, 90 %", "µs", 1e3, false, false},
	[METRIC_P99] = {"latency_p99_ns", "ns", "Latency, 99 %", "µs", 1e3, false, true},
	[METRIC_P99_9] = {"latency_p99_9_ns", "ns", "Latency, 99.9 %", "µs", 1e3, false, false},
	[METRIC_P99_99] = {"latency_p99_99_ns", "ns", "Latency, 99.99 %", "µs", 1e3, false, false},
	[METRIC_MAX] = {"latency_max_ns", "ns", "Latency, largest", "µs", 1e3, false, false},
};

const struct metric_kind *metric_kind(enum metric metric)
{
	return &kinds[metric];
}

enum metric metric_by_name(const char *name)
{
	enum metric metric = 0;

	while (metric < METRIC_COUNT && strcmp(kinds[metric].name, name))
		metric++;
	return metric;
}

static int refuse(char *error, const char *where, const char *name, const char *wanted)
{
	snprintf(error, METRIC_ERROR_MAX, "%s%s%s wants %s", where, *where ? "." : "", name,
		 wanted);
	return -EINVAL;
}

int metric_number(const json_t *object, const char *where, const char *name, double *ret_value,
		  char ret_error[METRIC_ERROR_MAX])
{
	const json_t *member = json_object_get(object, name);

	*ret_value = NAN;
	if (!member || json_is_null(member))
		return 0;
	if (!json_is_number(member) || json_number_value(member) < 0)
		return refuse(ret_error, where, name, "a number of at least 0");
	*ret_value = json_number_value(member);
	return 1;
}

static int read_required(const json_t *object, const char *where, const char *name,
			 double *ret_value, char *error)
{
	int r = metric_number(object, where, name, ret_value, error);

	return r ? r : refuse(error, where, name, "a number, and is missing");
}

/* Missing is false. */
static int read_flag(const json_t *object, const char *where, const char *name, bool *ret_flag,
		     char *error)
{
	const json_t *member = json_object_get(object, name);

	if (member && !json_is_boolean(member))
		return refuse(error, where, name, "true or false");
	*ret_flag = json_is_true(member);
	return 0;
}

/* *ret_object is NULL when the member is missing or null. */
static int read_object(const json_t *json, const char *name, const json_t **ret_object, char *error)
{
	const json_t *member = json_object_get(json, name);

	if (member && !json_is_object(member) && !json_is_null(member))
		return refuse(error, "", name, "an object or null");
	*ret_object = json_is_object(member) ? member : NULL;
	return 0;
}

static int read_latency(const json_t *json, struct metric_run *run, char *error)
{
	static const struct {
		const char *name;
		enum metric metric;
	} members[] = {
		{"p50", METRIC_P50},     {"p90", METRIC_P90},       {"p99", METRIC_P99},
		{"p99_9", METRIC_P99_9}, {"p99_99", METRIC_P99_99}, {"max", METRIC_MAX},
	};
	const json_t *latency;
	double count;
	int r = read_object(json, "latency_ns", &latency, error);

	if (r < 0 || !latency)
		return r;
	r = metric_number(latency, "latency_ns", "count", &count, error);
	if (r < 0 || (r && count == 0))
		return r < 0 ? r : 0;
	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
		r = metric_number(latency, "latency_ns", members[i].name,
				  &run->value[members[i].metric], error);
		if (r < 0)
			return r;
	}
	return 0;
}

/* No process works for nothing: a cost of 0 says that the window was too short to see it. */
static int read_cost(const json_t *json, struct metric_run *run, char *error)
{
	static const enum metric costs[] = {METRIC_CPU_MESSAGE, METRIC_CPU_GIB};
	const json_t *server;
	int r = read_object(json, "server", &server, error);

	for (size_t i = 0; r >= 0 && server && i < sizeof(costs) / sizeof(*costs); i++) {
		double *value = &run->value[costs[i]];

		r = metric_number(server, "server", kinds[costs[i]].name, value, error);
		if (*value == 0)
			*value = NAN;
	}
	return r < 0 ? r : 0;
}

static int read_options(const json_t *json, struct metric_run *run, char *error)
{
	const json_t *options, *pattern;
	int r = read_object(json, "options", &options, error);

	if (r < 0)
		return r;
	pattern = json_object_get(options, "pattern");
	if (!json_is_string(pattern))
		return refuse(error, "options", "pattern", "a word: rr, stream, duplex or churn");
	run->by_bytes = !strcmp(json_string_value(pattern), "stream") ||
			!strcmp(json_string_value(pattern), "duplex");
	return metric_number(options, "options", "rate_per_s", &run->rate_per_s, error);
}

int metric_run_read(const json_t *json, struct metric_run *ret_run,
		    char ret_error[METRIC_ERROR_MAX])
{
	const char *schema = json_string_value(json_object_get(json, "schema"));
	const json_t *generator;
	struct metric_run run = {.by_bytes = false};
	int r;

	for (size_t i = 0; i < METRIC_COUNT; i++)
		run.value[i] = NAN;
	if (!schema || strcmp(schema, "sluice-bench/1"))
		return refuse(ret_error, "", "schema", "\"sluice-bench/1\"");
	r = read_options(json, &run, ret_error);
	if (r >= 0)
		r = read_required(json, "", "messages_per_s", &run.value[METRIC_MESSAGES],
				  ret_error);
	if (r >= 0)
		r = read_required(json, "", "bytes_per_s", &run.value[METRIC_BYTES], ret_error);
	if (r >= 0)
		r = read_required(json, "", "errors_total", &run.errors, ret_error);
	if (r >= 0)
		r = read_flag(json, "", "interrupted", &run.interrupted, ret_error);
	if (r >= 0)
		r = read_object(json, "generator", &generator, ret_error);
	if (r >= 0)
		r = read_flag(generator, "generator", "limited", &run.limited, ret_error);
	if (r >= 0)
		r = read_latency(json, &run, ret_error);
	if (r >= 0)
		r = read_cost(json, &run, ret_error);
	if (r < 0)
		return r;
	*ret_run = run;
	return 0;
}
