/* SPDX-License-Identifier: MIT */
/* A use of a sweep as a table. Owns the lines and the lookup; the samples stay the sweep's. */
#include "grid.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool same_line(const struct grid_line *line, const struct sweep_row *row)
{
	return line->workers == row->workers && !strcmp(line->cell, row->cell);
}

static size_t find_line(const struct grid *grid, const struct sweep_row *row)
{
	for (size_t i = 0; i < grid->n_lines; i++)
		if (same_line(&grid->lines[i], row))
			return i;
	return GRID_NONE;
}

static void collect(struct grid *grid)
{
	const struct sweep *sweep = grid->sweep;

	grid->by_bytes = true;
	for (size_t i = 0; i < sweep->n; i++) {
		const struct sweep_row *row = &sweep->rows[i];

		if (strcmp(row->use, grid->use))
			continue;
		grid->by_bytes = grid->by_bytes && (row->by_bytes || !row->n);
		if (find_line(grid, row) != GRID_NONE)
			continue;
		grid->lines[grid->n_lines++] = (struct grid_line){
			.cell = row->cell,
			.connections = row->connections,
			.size = row->size,
			.workers = row->workers,
		};
	}
	/* A discarded stream has messages of its own size; bulk has none that anybody counts. */
	if (!strcmp(grid->use, "bulk") || !strcmp(grid->use, "discard"))
		grid->by_bytes = *grid->use == 'b';
	for (size_t s = 0; s < sweep->n_servers; s++) {
		for (size_t i = 0; i < sweep->n; i++) {
			if (strcmp(sweep->rows[i].use, grid->use) ||
			    strcmp(sweep->rows[i].server, sweep->servers[s]))
				continue;
			grid->servers[grid->n_servers++] = sweep->servers[s];
			break;
		}
	}
}

int grid_init(struct grid *grid, const struct sweep *sweep, const char *use)
{
	bool missing;

	*grid = (struct grid){.use = use, .sweep = sweep};
	grid->lines = calloc(sweep->n + 1, sizeof(*grid->lines));
	for (size_t i = 0; i < 3; i++)
		grid->work[i] = calloc(sweep->rounds + 1, sizeof(double));
	missing = !grid->lines || !grid->work[0] || !grid->work[1] || !grid->work[2];
	if (!missing) {
		collect(grid);
		grid->rows = calloc(grid->n_lines * grid->n_servers + 1, sizeof(*grid->rows));
		missing = !grid->rows;
	}
	if (missing) {
		grid_free(grid);
		return -ENOMEM;
	}
	for (size_t i = 0; i < sweep->n; i++) {
		const struct sweep_row *row = &sweep->rows[i];

		if (!strcmp(row->use, use))
			grid->rows[find_line(grid, row) * grid->n_servers +
				   grid_server(grid, row->server)] = row;
	}
	return 0;
}

void grid_free(struct grid *grid)
{
	for (size_t i = 0; i < 3; i++)
		free(grid->work[i]);
	free(grid->lines);
	free(grid->rows);
	*grid = (struct grid){.n_lines = 0};
}

const struct sweep_row *grid_row(const struct grid *grid, size_t line, size_t server)
{
	return grid->rows[line * grid->n_servers + server];
}

struct stat_summary grid_value(const struct grid *grid, size_t line, size_t server,
			       enum metric metric)
{
	const struct sweep_row *row = grid_row(grid, line, server);
	size_t n = row ? row->n : 0;

	for (size_t i = 0; i < n; i++)
		grid->work[0][i] = row->samples[i].value[metric];
	return stat_summarize(grid->work[0], n);
}

struct stat_summary grid_ratio(const struct grid *grid, size_t line, size_t server,
			       size_t base_line, size_t base_server, enum metric metric)
{
	const struct sweep_row *a = grid_row(grid, line, server);
	const struct sweep_row *b = grid_row(grid, base_line, base_server);
	size_t n = 0;

	for (size_t i = 0, k = 0; a && b && i < a->n && k < b->n;) {
		uint32_t round = a->samples[i].round, other = b->samples[k].round;

		if (round == other) {
			grid->work[0][n] = a->samples[i].value[metric];
			grid->work[1][n++] = b->samples[k].value[metric];
		}
		i += round <= other;
		k += other <= round;
	}
	return stat_paired_ratio(grid->work[0], grid->work[1], n, grid->work[2]);
}

bool grid_has(const struct grid *grid, enum metric metric)
{
	for (size_t i = 0; i < grid->n_lines * grid->n_servers; i++) {
		const struct sweep_row *row = grid->rows[i];

		for (size_t k = 0; row && k < row->n; k++)
			if (isfinite(row->samples[k].value[metric]))
				return true;
	}
	return false;
}

size_t grid_server(const struct grid *grid, const char *name)
{
	for (size_t i = 0; i < grid->n_servers; i++)
		if (!strcmp(grid->servers[i], name))
			return i;
	return GRID_NONE;
}

size_t grid_best_peer(const struct grid *grid, size_t line, enum metric metric, bool tuned)
{
	bool higher = metric_kind(metric)->higher;
	size_t best = GRID_NONE;
	double least = NAN;

	for (size_t i = 0; i < grid->n_servers; i++) {
		double median = grid_value(grid, line, i, metric).median;

		if (!sweep_is_peer(grid->servers[i]) || !isfinite(median) ||
		    sweep_is_tuned(grid->servers[i]) != tuned)
			continue;
		if (best == GRID_NONE || (higher ? median > least : median < least)) {
			best = i;
			least = median;
		}
	}
	return best;
}

enum metric grid_cost(const struct grid *grid)
{
	return grid->by_bytes ? METRIC_CPU_GIB : METRIC_CPU_MESSAGE;
}

enum metric grid_speed(const struct grid *grid)
{
	return grid->by_bytes ? METRIC_BYTES : METRIC_MESSAGES;
}
