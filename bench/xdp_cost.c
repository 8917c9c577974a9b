/* SPDX-License-Identifier: MIT */
/*
 * `flood cost`: what XDP programs take per packet. Programs take turns, each once in every round,
 * in an order that rotates. Two figures: the CPU time of this thread, which has fractions of a
 * nanosecond and does not count what else ran on the core, and the kernel's own mean.
 *
 * A program that changes its packet is called from a small one that writes the headers again. The
 * same with an empty program behind it says what of the figure that is.
 */
#include "bench/xdp_flood.h"

#include <errno.h>
#include <net/if.h>
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
	uint32_t verdicts; /* by bit, those that are expected */
	bool restored;
	struct flood_frame frame;
};

static struct cell cells[CELLS_MAX];

/* 0: there is no such verdict. */
static uint32_t parse_verdict(const char *text)
{
	if (strcmp(text, "pass") == 0)
		return 1 << XDP_PASS;
	if (strcmp(text, "drop") == 0)
		return 1 << XDP_DROP;
	if (strcmp(text, "sent") == 0)
		return 1 << XDP_TX | 1 << XDP_REDIRECT;
	return 0;
}

static int64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * FLOOD_NS_PER_S + ts.tv_nsec;
}

/* NAME,ID,PORT,VERDICT[,restored] into a cell with the program open. */
static int open_cell(const struct flood_opts *o, const char *text, struct cell *cell)
{
	char verdict[9] = "", restored[9] = "";
	unsigned int id, port;
	int n;

	cell->fd = -1;
	n = sscanf(text, "%63[^,],%u,%u,%8[^,],%8s", cell->name, &id, &port, verdict, restored);
	cell->restored = strcmp(restored, "restored") == 0;
	cell->verdicts = parse_verdict(verdict);
	if (n != (cell->restored ? 5 : 4) || port > 65535 || !cell->verdicts) {
		fprintf(stderr, "flood: `%s` is not NAME,PROGRAM-ID,PORT,VERDICT[,restored]\n",
			text);
		return 2;
	}
	flood_frame(o, port, &cell->frame);
	cell->fd = bpf_prog_get_fd_by_id(id);
	return cell->fd < 0 ? flood_fail(text, errno) : 0;
}

/* The program to run for a cell, made ready, or -1. */
static int ready_cell(struct flood_bpf *skel, const struct cell *cell)
{
	uint32_t zero = 0;

	if (!cell->restored)
		return cell->fd;
	memcpy(skel->bss->restored, cell->frame.data, FLOOD_HEADER_BYTES);
	if (bpf_map_update_elem(bpf_map__fd(skel->maps.measured), &zero, &cell->fd, BPF_ANY))
		return -1;
	return bpf_program__fd(skel->progs.restore);
}

/* Runs a cell repeat times; 0 and ns per run, or an exit status. */
static int run_cell(struct flood_bpf *skel, const struct flood_opts *o, struct cell *cell,
		    uint32_t repeat, double *ret_ns, uint32_t *ret_kernel_ns)
{
	struct xdp_md ctx = {.data_end = cell->frame.len};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = cell->frame.data,
		    .data_size_in = cell->frame.len, .repeat = repeat);
	int fd = ready_cell(skel, cell), ret;
	int64_t start_ns;

	if (fd < 0)
		return flood_fail(cell->name, errno);
	if (cell->restored && o->dev) {
		ctx.ingress_ifindex = if_nametoindex(o->dev);
		opts.ctx_in = &ctx;
		opts.ctx_size_in = sizeof(ctx);
	}
	start_ns = cpu_ns();
	ret = bpf_prog_test_run_opts(fd, &opts);
	*ret_ns = (double)(cpu_ns() - start_ns) / repeat;
	*ret_kernel_ns = opts.duration;
	if (ret)
		return flood_fail(cell->name, -ret);
	if (opts.retval < 32 && 1U << opts.retval & cell->verdicts)
		return 0;
	fprintf(stderr, "flood: %s: returned %u: another rule decided\n", cell->name, opts.retval);
	return 1;
}

static int run_rounds(struct flood_bpf *skel, const struct flood_opts *o, uint32_t n)
{
	uint32_t round, i, kernel_ns;
	struct cell *cell;
	double ns;
	int ret;

	for (i = 0; i < n; i++) {
		ret = run_cell(skel, o, &cells[i], WARM_UP, &ns, &kernel_ns);
		if (ret)
			return ret;
	}
	for (round = 1; round <= o->rounds; round++) {
		for (i = 0; i < n; i++) {
			cell = &cells[(i + round) % n];
			ret = run_cell(skel, o, cell, o->repeat, &ns, &kernel_ns);
			if (ret)
				return ret;
			printf("%u,%s,%.3f,%u\n", round, cell->name, ns, kernel_ns);
		}
	}
	return 0;
}

static void own_cell(const struct flood_opts *o, const char *name, const struct bpf_program *prog,
		     bool restored, struct cell *cell)
{
	snprintf(cell->name, sizeof(cell->name), "%s", name);
	cell->fd = dup(bpf_program__fd(prog));
	cell->verdicts = 1 << XDP_PASS;
	cell->restored = restored;
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
	own_cell(o, "empty", skel->progs.empty, false, &cells[n++]);
	own_cell(o, "clock", skel->progs.clock, false, &cells[n++]);
	own_cell(o, "restore", skel->progs.empty, true, &cells[n++]);
	for (char **arg = o->args; *arg && !ret && n < CELLS_MAX; arg++)
		ret = open_cell(o, *arg, &cells[n++]);
	if (!ret)
		ret = run_rounds(skel, o, n);
	while (n)
		close(cells[--n].fd);
	flood_bpf__destroy(skel);
	return ret;
}
