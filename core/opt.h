/* SPDX-License-Identifier: MIT */
/*
 * The command line. Parsing fills a plain struct and touches nothing else: no socket, no file, no
 * log.
 */
#ifndef SLUICE_OPT_H
#define SLUICE_OPT_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "log.h"

enum opt_command { OPT_ECHO, OPT_DISCARD, OPT_RELAY, OPT_PROBE, OPT_XDP, OPT_HELP, OPT_VERSION };
enum opt_backend { OPT_BACKEND_AUTO, OPT_BACKEND_URING, OPT_BACKEND_EPOLL };
enum opt_fast_path { OPT_FAST_AUTO, OPT_FAST_ON, OPT_FAST_OFF };
enum opt_xdp_mode { OPT_XDP_AUTO, OPT_XDP_NATIVE, OPT_XDP_GENERIC };

enum {
	OPT_LISTEN_MAX = 64,
	OPT_TARGET_MAX = 64,
	OPT_WORKERS_MAX = 256,
	OPT_XDP_MAX = 16,
	OPT_ERROR_MAX = 320,
};

struct opt {
	enum opt_command command;
	enum opt_command help_about; /* OPT_HELP: the command asked about; OPT_HELP: the overview */
	bool json;                   /* probe --json */
	int xdp_argc;                /* xdp: the words behind it, at least one */
	char *const *xdp_argv;

	struct addr_spec listen[OPT_LISTEN_MAX];
	int n_listen;
	struct addr_spec target[OPT_TARGET_MAX];
	int n_target;

	enum opt_backend backend;
	int workers;                /* 0: as many as the allowed CPUs (or as --cpus lists) */
	cpu_set_t cpus;             /* worker i is pinned to the i-th, modulo n_cpus */
	int n_cpus;                 /* 0: not pinned */
	int max_conns;              /* TCP and unix connections; 0: from the descriptor limit */
	int max_sessions;           /* UDP relay sessions; 0: from the descriptor limit */
	int backlog;                /* default 4096; the kernel caps it to net.core.somaxconn */
	int64_t connect_timeout_ns; /* default 5 s */
	int64_t idle_timeout_ns;    /* -1: not given (TCP off, UDP session 60 s); 0: "off" */
	int64_t drain_timeout_ns;   /* default 10 s */
	uint64_t buffer_memory;     /* bytes over all workers; 0: default */
	enum log_level log_level;   /* default info */
	enum log_format log_format; /* default text */

	const char *xdp[OPT_XDP_MAX]; /* interfaces to filter on */
	int n_xdp;
	enum opt_xdp_mode xdp_mode;
	const char *xdp_rules; /* path; NULL: no rules but the default */
	enum opt_fast_path fast_path;
	int fast_sessions; /* 0: as many as there may be sessions */
};

/*
 * Parses argv. Returns 0, or -EINVAL with one line in error (OPT_ERROR_MAX bytes) that names the
 * argument and the remedy; *ret_opt is then unspecified. Texts in *ret_opt are those of argv. The
 * words behind "xdp" are only handed over.
 */
int opt_parse(int argc, char *const argv[], struct opt *ret_opt, char *error);

/* The help text of a command, or the overview for OPT_HELP. Constant. */
const char *opt_help(enum opt_command about);

/* "echo", "discard", ... */
const char *opt_command_name(enum opt_command command);

/*
 * Values as the command line takes them. Each returns 0 or -EINVAL/-ERANGE and leaves the output
 * untouched then. Times: a whole number with ms, s, m or h (no unit: s), or "off" for 0. Sizes:
 * bytes, or with K, M, G (powers of 1024). CPU lists: as taskset(1) writes them, "0,2-5".
 */
int opt_parse_time(const char *text, int64_t *ret_ns);
int opt_parse_size(const char *text, uint64_t *ret_bytes);
int opt_parse_cpus(const char *text, cpu_set_t *ret_set, int *ret_n);

#endif
