/* SPDX-License-Identifier: MIT */
/* The rows of one use laid out as a table: a line for each cell, a column for each server. */
#ifndef SLUICE_BENCH_REPORT_GRID_H
#define SLUICE_BENCH_REPORT_GRID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "metric.h"
#include "stats.h"
#include "sweep.h"

struct grid_line {
	const char *cell;
	uint64_t connections, size;
	uint32_t workers;
};

struct grid {
	const char *use;
	const struct sweep *sweep;
	const char *servers[SWEEP_SERVERS_MAX]; /* those that have this use, in the sweep's order */
	size_t n_servers;
	struct grid_line *lines; /* in the order they were run in */
	size_t n_lines;
	const struct sweep_row **rows; /* by line, then by server; NULL where there is none */
	double *work[3];               /* room for a sample each */
	bool by_bytes;                 /* every run of it counts bytes, not messages */
};

/* No index: what grid_best_peer() and grid_server() return when there is none. */
#define GRID_NONE SIZE_MAX

/*
 * Lays out a use of a sweep, which has to outlive the grid. A use that the sweep does not have
 * makes a grid without lines. 0 (the caller frees with grid_free) or -ENOMEM.
 */
int grid_init(struct grid *grid, const struct sweep *sweep, const char *use);
void grid_free(struct grid *grid);

/* NULL when that server was not run in that line. */
const struct sweep_row *grid_row(const struct grid *grid, size_t line, size_t server);

struct stat_summary grid_value(const struct grid *grid, size_t line, size_t server,
			       enum metric metric);

/* The ratio of two places of the grid, taken within each round that both have. */
struct stat_summary grid_ratio(const struct grid *grid, size_t line, size_t server,
			       size_t base_line, size_t base_server, enum metric metric);

/* Whether any place of the grid has a value of this metric. */
bool grid_has(const struct grid *grid, enum metric metric);

size_t grid_server(const struct grid *grid, const char *name);

/* The peer with the best median of a line, among those with default buffers or the others. */
size_t grid_best_peer(const struct grid *grid, size_t line, enum metric metric, bool tuned);

/* The metric that this use is judged by: CPU per message, or per GiB where bytes count. */
enum metric grid_cost(const struct grid *grid);
enum metric grid_speed(const struct grid *grid);

#endif
