/* SPDX-License-Identifier: MIT */
/* `sluice probe`: what this machine can do, and why not, as text or JSON. */
#ifndef SLUICE_PROBE_H
#define SLUICE_PROBE_H

#include <stdbool.h>
#include <stddef.h>

/* A feature that was looked for. */
struct probe_row {
	const char *group; /* "io_uring", "xdp" */
	const char *name, *since;
	bool required, found;
	const char *why; /* when not found */
};

/* Prints the report on standard output: kernel, limits, rows, and the backend that auto chooses
 * with the reason. Returns the exit status. */
int probe_print(const struct probe_row *rows, size_t n, const char *backend, const char *reason,
		bool json);

#endif
