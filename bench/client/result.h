/* SPDX-License-Identifier: MIT */
/* What one run has measured, and the forms in which it is written. */
#ifndef SLUICE_BENCH_RESULT_H
#define SLUICE_BENCH_RESULT_H

#include "bench/client/gen.h"
#include "bench/client/server.h"

#define BENCH_INTERVALS_MAX 100

enum { BENCH_REASONS_MAX = 8, BENCH_REASON_TEXT = 160 };

struct bench_interval {
	int64_t end_ns; /* since the window began */
	uint64_t msgs, bytes;
	int64_t server_cpu_ns; /* negative: not known */
};

/* The window's figures; times in ns. */
struct bench_result {
	const struct bench_opts *opts;
	char started[sizeof("2000-01-01T00:00:00Z")];
	bool interrupted;
	int64_t window_ns; /* 0 when it never began */
	uint64_t msgs, tx_bytes, rx_bytes;
	uint64_t errors[BENCH_ERRORS], errors_total;
	uint64_t unanswered; /* in the latency with what they had waited in the end */
	uint64_t unsent;     /* open loop: due in the window, but never sent */
	uint64_t stalled;    /* connections that moved nothing for half of the window */
	uint64_t dgram_sent, dgram_received, dgram_duplicates, dgram_reordered, dgram_late;
	uint64_t dgram_corrupt;
	struct bench_hist latency; /* empty when the pattern has none */
	struct bench_hist lag;     /* open loop: how late the generator took up what was due */

	bool server_known;
	int64_t server_cpu_ns, server_user_ns, server_system_ns;
	struct bench_usage server; /* switches of the window, memory at its end */

	int64_t generator_cpu_ns; /* of all threads */
	double generator_busy;    /* of the busiest thread: CPUs */
	double generator_idle;    /* of the busiest thread: share of the window; --spin only */
	uint64_t generator_drops; /* datagrams, by the queues of its own sockets */
	uint32_t n_reasons;
	char reasons[BENCH_REASONS_MAX][BENCH_REASON_TEXT];

	uint32_t n_intervals;
	struct bench_interval intervals[BENCH_INTERVALS_MAX];
};

/* Adds up the counters of workers whose threads have ended. */
void bench_result_collect(struct bench_result *r, const struct bench_run *run);

/* Decides whether the generator was the limit, and why. Everything else is filled in. */
void bench_result_judge(struct bench_result *r);

double bench_result_msgs_per_s(const struct bench_result *r);

/* Payload one way: what was sent for --pattern stream, else what came back. */
uint64_t bench_result_bytes(const struct bench_result *r);
double bench_result_bytes_per_s(const struct bench_result *r);

bool bench_result_has_latency(const struct bench_result *r);

/* The summary for people, on standard output. */
void bench_result_print(const struct bench_result *r);

/* result_json.c: to a file, or to the standard output for "-". 0 or -errno. */
int bench_result_json(const struct bench_result *r, const char *path);

/* --csv and --hist: likewise. */
int bench_result_csv(const struct bench_result *r, const char *path);
int bench_result_hist(const struct bench_result *r, const char *path);

#endif
