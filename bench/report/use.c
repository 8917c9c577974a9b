/* SPDX-License-Identifier: MIT */
/* The table of uses. Keeps no state. */
#include "use.h"

#include <stdio.h>
#include <string.h>

static const struct use_kind kinds[] = {
	{"relay", "TCP relay", "A request is relayed to an upstream and its answer back.", NULL,
	 false},
	{"echo", "TCP echo", "Servers that cannot echo are not in it.", NULL, false},
	{"bulk", "Bulk relay", "One way, as much as goes through. CPU per GiB of payload.", NULL,
	 false},
	{"churn", "Churn", "A connection for each message, relayed.", NULL, false},
	{"kept_or_not", "A kept connection or one for each request",
	 "The same requests, each with a connection of its own (as HTTP/1.0 has it), beside those "
	 "that share a kept one.",
	 "the kept connection", false},
	{"udp_echo", "UDP echo", NULL, NULL, false},
	{"udp_relay", "UDP relay", NULL, NULL, false},
	{"discard", "Discard", "What arrives is read and dropped.", NULL, false},
	{"workers", "Workers",
	 "Cost per message as workers are added. The load shares the cores with them, so that the "
	 "throughput says little here.",
	 "one worker", false},
	{"scale", "Connections", "Cost per message as connections are added.",
	 "the fewest connections", false},
	{"latency", "Latency at a given rate",
	 "Open loop: requests are due at a constant rate, and latency counts from when each was "
	 "due, so that a server that stalls is charged for what it kept waiting.",
	 NULL, true},
	{"xdp", "XDP filter", "The same service without the filter and with it.",
	 "without the filter", false},
};

enum { KINDS = sizeof(kinds) / sizeof(*kinds) };

const struct use_kind *use_kind_at(size_t i)
{
	return i < KINDS ? &kinds[i] : NULL;
}

struct use_kind use_kind(const char *name)
{
	for (size_t i = 0; i < KINDS; i++)
		if (!strcmp(kinds[i].name, name))
			return kinds[i];
	return (struct use_kind){.name = name, .title = name};
}

static bool listed(const char *const *uses, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(uses[i], name))
			return true;
	return false;
}

size_t use_list(const struct sweep *sweep, const char **ret_uses, size_t max)
{
	size_t n = 0;

	for (size_t k = 0; k < KINDS && n < max; k++) {
		for (size_t i = 0; i < sweep->n; i++) {
			if (strcmp(sweep->rows[i].use, kinds[k].name))
				continue;
			ret_uses[n++] = kinds[k].name;
			break;
		}
	}
	for (size_t i = 0; i < sweep->n && n < max; i++)
		if (!listed(ret_uses, n, sweep->rows[i].use))
			ret_uses[n++] = sweep->rows[i].use;
	return n;
}

/* The line like this one whose cell names one of the words, or GRID_NONE. */
static size_t line_named(const struct grid *grid, size_t line, const char *const *words)
{
	const struct grid_line *mine = &grid->lines[line];

	for (; *words; words++) {
		for (size_t i = 0; i < grid->n_lines; i++) {
			const struct grid_line *it = &grid->lines[i];

			if (it->connections == mine->connections && it->size == mine->size &&
			    it->workers == mine->workers && strstr(it->cell, *words))
				return i;
		}
	}
	return GRID_NONE;
}

static size_t fewest_connections(const struct grid *grid, size_t line)
{
	const struct grid_line *mine = &grid->lines[line];
	size_t best = line;

	for (size_t i = 0; i < grid->n_lines; i++)
		if (grid->lines[i].size == mine->size && grid->lines[i].workers == mine->workers &&
		    grid->lines[i].connections < grid->lines[best].connections)
			best = i;
	return best;
}

static size_t one_worker(const struct grid *grid, size_t line)
{
	for (size_t i = 0; i < grid->n_lines; i++)
		if (grid->lines[i].workers == 1 && grid->lines[i].size == grid->lines[line].size &&
		    grid->lines[i].connections == grid->lines[line].connections)
			return i;
	return GRID_NONE;
}

size_t use_base_line(const struct grid *grid, size_t line)
{
	static const char *const kept[] = {"kept", "keep", NULL};
	static const char *const off[] = {"off", "without", "none", NULL};
	size_t base = GRID_NONE;

	if (!strcmp(grid->use, "workers"))
		base = one_worker(grid, line);
	else if (!strcmp(grid->use, "scale"))
		base = fewest_connections(grid, line);
	else if (!strcmp(grid->use, "kept_or_not"))
		base = line_named(grid, line, kept);
	else if (!strcmp(grid->use, "xdp"))
		base = line_named(grid, line, off);
	return base == line ? GRID_NONE : base;
}

void use_label(const struct grid *grid, size_t line, char ret_label[USE_LABEL_MAX])
{
	const struct grid_line *it = &grid->lines[line];

	if (!strcmp(grid->use, "workers"))
		snprintf(ret_label, USE_LABEL_MAX, "%s, %u worker%s", it->cell, it->workers,
			 it->workers == 1 ? "" : "s");
	else
		snprintf(ret_label, USE_LABEL_MAX, "%s", it->cell);
}
