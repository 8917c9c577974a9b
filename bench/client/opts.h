/* SPDX-License-Identifier: MIT */
/*
 * The command line of one run: what may be asked, its limits, and reading it. Nothing here touches
 * the network or the file system.
 */
#ifndef SLUICE_BENCH_OPTS_H
#define SLUICE_BENCH_OPTS_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_NS_PER_US INT64_C(1000)
#define BENCH_NS_PER_MS INT64_C(1000000)
#define BENCH_NS_PER_S INT64_C(1000000000)

enum {
	BENCH_CONNS_MAX = 1000000,
	BENCH_DEPTH_MAX = 4096,
	BENCH_THREADS_MAX = 256,
	BENCH_PIDS_MAX = 64,
	BENCH_SOURCES_MAX = 64,
	BENCH_STREAM_SIZE_MAX = 64 << 20,
	BENCH_DGRAM_SIZE_MIN = 16, /* its header: connection, sequence number, time */
	BENCH_DGRAM_SIZE_MAX = 65507,
	BENCH_ERROR_TEXT = 256,
};

enum bench_transport { BENCH_TCP, BENCH_UDP, BENCH_UNIX };

enum bench_pattern {
	BENCH_RR,     /* request and response, `depth` of them under way */
	BENCH_STREAM, /* one way: nothing comes back */
	BENCH_DUPLEX, /* both ways at once, as fast as they go */
	BENCH_CHURN,  /* a connection per message */
};

/* All text is borrowed from the arguments. */
struct bench_opts {
	enum bench_transport transport;
	const char *address; /* HOST:PORT, [V6]:PORT or a path */
	enum bench_pattern pattern;
	uint32_t conns, depth, threads;
	uint32_t size_min, size_max; /* bytes */
	int64_t duration_ns, warmup_ns, open_timeout_ns;
	int64_t timeout_ns; /* of an answer */
	double rate_per_s;  /* of all connections together; 0: closed loop */
	const char *cpus_text;
	cpu_set_t cpus; /* valid when cpus_text is not NULL */
	pid_t pids[BENCH_PIDS_MAX];
	uint32_t n_pids;
	const char *sources[BENCH_SOURCES_MAX];
	uint32_t n_sources;
	uint32_t batch; /* datagrams that one system call moves, at most */
	bool segment;   /* datagrams of a flood leave as segments of large ones (UDP GSO) */
	bool reset;     /* churn: close with a reset instead of an end */
	bool verify, spin, idle, quiet;
	const char *json, *csv, *hist; /* files to write, or NULL */
	char *owned;                   /* what the lists above point into */
};

enum bench_opts_result {
	BENCH_OPTS_RUN,
	BENCH_OPTS_HELP,
	BENCH_OPTS_WRONG, /* the text says what and how to mend it */
};

/*
 * Reads argv[1..]: `tcp HOST:PORT`, `udp HOST:PORT` or `unix:PATH`, and options in any order. On
 * BENCH_OPTS_RUN the caller owns *ret_opts and gives it back with bench_opts_free().
 */
enum bench_opts_result bench_opts_parse(int argc, char **argv, struct bench_opts *ret_opts,
					char ret_error[static BENCH_ERROR_TEXT]);

void bench_opts_free(struct bench_opts *opts);

extern const char bench_opts_help[];

const char *bench_transport_name(enum bench_transport transport);
const char *bench_pattern_name(enum bench_pattern pattern);

/* The mean of uniform sizes, in bytes. */
double bench_opts_mean_size(const struct bench_opts *opts);

/* opts_value.c: single values. False when text is none of them. */

/* "2", "0.5", "500ms", "10s", "2m", "1h": not negative, at most a day. */
bool bench_parse_duration(const char *text, int64_t *ret_ns);

/* "64", "4K", "1M", up to BENCH_STREAM_SIZE_MAX. */
bool bench_parse_size(const char *text, uint32_t *ret_bytes);

/* "64" or "64-4K". */
bool bench_parse_sizes(const char *text, uint32_t *ret_min, uint32_t *ret_max);

/* A whole number from 1 to max. */
bool bench_parse_count(const char *text, uint32_t max, uint32_t *ret_count);

/* "1000", "2.5K", "1M": above 0, at most 1e9. */
bool bench_parse_rate(const char *text, double *ret_per_s);

/* "0,2-5". */
bool bench_parse_cpus(const char *text, cpu_set_t *ret_set);

#endif
