/* SPDX-License-Identifier: MIT */
/* What each use of a sweep is about, and which lines of it are compared with which. */
#ifndef SLUICE_BENCH_REPORT_USE_H
#define SLUICE_BENCH_REPORT_USE_H

#include "grid.h"

struct use_kind {
	const char *name, *title;
	const char *note;     /* a sentence or two below the title, or NULL */
	const char *relative; /* what lines are set against, for a table of that; or NULL */
	bool by_latency;      /* at a given rate: what counts is the latency */
};

/* Known uses in the order of a report. NULL behind the last. */
const struct use_kind *use_kind_at(size_t i);

/* One for names that are not known, too: its title is the name itself, which has to live on. */
struct use_kind use_kind(const char *name);

/*
 * The distinct uses of a sweep in the order of a report: up to max of them into ret_uses, which
 * point into the sweep or at constants. Returns how many.
 */
size_t use_list(const struct sweep *sweep, const char **ret_uses, size_t max);

/* The line that this one is set against, or GRID_NONE: itself, or nothing to set it against. */
size_t use_base_line(const struct grid *grid, size_t line);

enum { USE_LABEL_MAX = SWEEP_NAME_MAX + 32, USES_MAX = 64 };

/* How a line is called: its cell, and with it what else tells it from others. */
void use_label(const struct grid *grid, size_t line, char ret_label[USE_LABEL_MAX]);

#endif
