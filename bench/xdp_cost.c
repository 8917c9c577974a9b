/* SPDX-License-Identifier: MIT */
/*
 * `flood cost`: what XDP programs take per packet. Programs take turns, each once in every round,
 * in an order that rotates. Two figures: the CPU time of this thread, which has fractions of a
 * nanosecond and does not count what else ran on the core, and the kernel's own mean.
 */
#include "bench/xdp_flood.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bench/flood.skel.h"

#define CELLS_MAX 64
#define WARM_UP 10000

/* A program with a packet. */
struct cell {
	char name[64];
	int fd;
	uint32_t verdict;
	struct flood_frame frame;
};

static struct cell cells[CELLS_MAX];

static int64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * FLOOD_NS_PER_S + ts.tv_nsec;
}

/* NAME,ID,PORT,VERDICT into a cell with the program open. */
static int open_cell(const struct flood_opts *o, const char *text, struct cell *cell)
{
	unsigned int id, port;
	char verdict[8];

	cell->fd = -1;
	if (sscanf(text, "%63[^,],%u,%u,%7s", cell->name, &id, &port, verdict) != 4 ||
	    port > 65535 || (strcmp(verdict, "pass") != 0 && strcmp(verdict, "drop") != 0)) {
		fprintf(stderr, "flood: `%s` is not NAME,PROGRAM-ID,PORT,pass|drop\n", text);
		return 2;
	}
	cell->verdict = strcmp(verdict, "pass") == 0 ? XDP_PASS : XDP_DROP;
	flood_frame(o, port, &cell->frame);
	cell->fd = bpf_prog_get_fd_by_id(id);
	return cell->fd < 0 ? flood_fail(text, errno) : 0;
}

/* Runs a cell repeat times; 0 and ns per run, or an exit status. */
static int run_cell(struct cell *cell, uint32_t repeat, double *ret_ns, uint32_t *ret_kernel_ns)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = cell->frame.data,
		    .data_size_in = cell->frame.len, .repeat = repeat);
	int64_t start_ns = cpu_ns();
	int ret;

	ret = bpf_prog_test_run_opts(cell->fd, &opts);
	*ret_ns = (double)(cpu_ns() - start_ns) / repeat;
	*ret_kernel_ns = opts.duration;
	if (ret)
		return flood_fail(cell->name, -ret);
	if (opts.retval == cell->verdict)
		return 0;
	fprintf(stderr, "flood: %s: returned %u, not %u: another rule decided\n", cell->name,
		opts.retval, cell->verdict);
	return 1;
}

static int run_rounds(const struct flood_opts *o, uint32_t n)
{
	uint32_t round, i, kernel_ns;
	struct cell *cell;
	double ns;
	int ret;

	for (i = 0; i < n; i++) {
		ret = run_cell(&cells[i], WARM_UP, &ns, &kernel_ns);
		if (ret)
			return ret;
	}
	for (round = 1; round <= o->rounds; round++) {
		for (i = 0; i < n; i++) {
			cell = &cells[(i + round) % n];
			ret = run_cell(cell, o->repeat, &ns, &kernel_ns);
			if (ret)
				return ret;
			printf("%u,%s,%.3f,%u\n", round, cell->name, ns, kernel_ns);
		}
	}
	return 0;
}

static void own_cell(const struct flood_opts *o, const char *name, const struct bpf_program *prog,
		     struct cell *cell)
{
	snprintf(cell->name, sizeof(cell->name), "%s", name);
	cell->fd = dup(bpf_program__fd(prog));
	cell->verdict = XDP_PASS;
	flood_frame(o, o->to_port, &cell->frame);
}

int flood_cost(const struct flood_opts *o)
{
	struct flood_bpf *skel;
	uint32_t n = 0;
	int ret = 0;

	skel = flood_bpf__open_and_load();
	if (!skel)
		return flood_fail("loading the empty program", errno);
	own_cell(o, "empty", skel->progs.empty, &cells[n++]);
	own_cell(o, "clock", skel->progs.clock, &cells[n++]);
	for (char **arg = o->args; *arg && !ret && n < CELLS_MAX; arg++)
		ret = open_cell(o, *arg, &cells[n++]);
	if (!ret)
		ret = run_rounds(o, n);
	while (n)
		close(cells[--n].fd);
	flood_bpf__destroy(skel);
	return ret;
}
