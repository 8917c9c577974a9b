/* SPDX-License-Identifier: MIT */
/* What the processes under load have used so far, all together, as /proc and the scheduler say. */
#ifndef SLUICE_BENCH_SERVER_H
#define SLUICE_BENCH_SERVER_H

#include <stdint.h>
#include <sys/types.h>

struct bench_usage {
	int64_t user_ns, system_ns; /* in clock ticks: use their proportion */
	uint64_t rss_bytes, rss_peak_bytes;
	uint64_t voluntary_switches, involuntary_switches; /* of threads that still run */
};

/*
 * Time on a CPU, user and system, of all threads, also those that have ended, to the nanosecond.
 * 0, or -errno: then *ret_failed is the process that could not be read.
 */
int bench_server_cpu(const pid_t *pids, uint32_t n, int64_t *ret_ns, pid_t *ret_failed);

/* The rest, which takes longer to read. Likewise. */
int bench_server_usage(const pid_t *pids, uint32_t n, struct bench_usage *ret_usage,
		       pid_t *ret_failed);

#endif
