/* SPDX-License-Identifier: MIT */
/* A sweep: the runs of many servers in many cells, round by round, as RUNS.jsonl holds them. */
#ifndef SLUICE_BENCH_REPORT_SWEEP_H
#define SLUICE_BENCH_REPORT_SWEEP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "metric.h"

enum {
	SWEEP_NAME_MAX = 48,
	SWEEP_LINE_MAX = 1 << 20, /* bytes; a run with a hundred intervals takes ten thousand */
	SWEEP_ROWS_MAX = 4096,
	SWEEP_SERVERS_MAX = 32,
	SWEEP_ROUND_MAX = 1000000,
};

struct sweep_sample {
	size_t line;
	uint32_t round;
	bool limited, errors;
	double value[METRIC_COUNT]; /* NAN where it was not measured */
};

/* One server in one cell, with a sample for each round that succeeded. */
struct sweep_row {
	char use[SWEEP_NAME_MAX], cell[SWEEP_NAME_MAX], server[SWEEP_NAME_MAX];
	uint64_t connections, size;
	uint32_t workers, hash;
	double rate_per_s; /* NAN for a closed loop */
	bool by_bytes;
	struct sweep_sample *samples; /* ascending and distinct rounds */
	size_t n, capacity;
	uint32_t failed;
	char why[128]; /* the last failure */
};

struct sweep {
	json_t *env; /* an object */
	struct sweep_row *rows;
	size_t n, capacity;
	char servers[SWEEP_SERVERS_MAX][SWEEP_NAME_MAX]; /* sluice, floors, peers */
	size_t n_servers;
	uint32_t rounds; /* distinct ones of the row that has most */
	size_t runs, failed, limited, with_errors, interrupted, repeated;
	size_t cut_line; /* the number of a last line that was cut off, or 0 */
};

struct sweep_error {
	size_t line; /* 0 when it is about the file */
	char text[METRIC_ERROR_MAX + 64];
};

/*
 * Reads the whole of a file. A last line that was cut off is skipped and remembered; anything else
 * that is not as it should be ends the reading. 0 (the caller frees with sweep_free), -EINVAL
 * with ret_error filled, or -errno of the reading with ret_error->line 0 and its text.
 */
int sweep_read(FILE *file, struct sweep *ret_sweep, struct sweep_error *ret_error);

void sweep_free(struct sweep *sweep);

/* Letters, digits, spaces and _ . + - / : @ = %, so that a name needs no quoting anywhere. */
bool sweep_name_ok(const char *name);

/* Whether a server is neither sluice nor a floor. */
bool sweep_is_peer(const char *server);
/* Whether it runs with buffers of a size that is not its default: its name ends in _64k. */
bool sweep_is_tuned(const char *server);

#endif
