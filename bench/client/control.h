/* SPDX-License-Identifier: MIT */
/* What the main thread of a run has, and how it watches: waiting, clocks, progress, intervals. */
#ifndef SLUICE_BENCH_CONTROL_H
#define SLUICE_BENCH_CONTROL_H

#include "bench/client/gen.h"
#include "bench/client/result.h"

#define BENCH_PROGRESS_NS (200 * BENCH_NS_PER_MS)

/* What happened since the interval before this one. */
struct bench_sampler {
	int64_t from_ns, at_ns, cpu_ns;
	uint64_t msgs, bytes;
};

struct bench_control {
	struct bench_run run;
	struct bench_result *result;
	int signal_fd;
	bool progress;       /* there is a terminal to show it on */
	int64_t progress_ns; /* when the next line is due */
	struct bench_sampler shown;
	struct bench_usage usage_from;
	int64_t cpu_from_ns;
	pid_t lost_pid; /* a process that could no longer be read */
};

enum bench_woken { BENCH_WOKEN_TIME, BENCH_WOKEN_NOTE, BENCH_WOKEN_SIGNAL, BENCH_WOKEN_INPUT };

/* Sums over the workers. */
uint64_t bench_run_open(const struct bench_run *run);
uint64_t bench_run_gone(const struct bench_run *run);
uint64_t bench_run_errors(const struct bench_run *run);

/* Whether all threads have left their loops. */
bool bench_run_ended(const struct bench_run *run);

/* Moves the workers on, and wakes them. */
void bench_control_phase(struct bench_control *ctl, enum bench_phase phase);

/* Sleeps until something happens or until_ns. input_fd may be -1. */
enum bench_woken bench_control_wait(struct bench_control *ctl, int64_t until_ns, int input_fd);

/*
 * The clocks of the processes under load. When one cannot be read that is printed, and result
 * knows no server from then on.
 */
int64_t bench_control_cpu(struct bench_control *ctl);
void bench_control_usage(struct bench_control *ctl, struct bench_usage *ret);

/* The result's figures of the server, with the clock at the end of the window. */
void bench_control_server(struct bench_control *ctl, int64_t cpu_ns);

/* The progress line: shown when there is a terminal and the last one is old enough. */
void bench_control_show(struct bench_control *ctl, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The progress line while measuring. */
void bench_control_progress(struct bench_control *ctl);

/* Removes it. */
void bench_control_show_end(struct bench_control *ctl);

/* Ends an interval, and begins the next. */
void bench_control_sample(struct bench_control *ctl, struct bench_sampler *s);

#endif
