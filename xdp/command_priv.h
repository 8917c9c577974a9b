/* SPDX-License-Identifier: MIT */
/* What the parts of `sluice xdp` share: command.c (what is done), command_args.c (words),
 * command_print.c (text and JSON), command_rate.c (rates) and command_watch.c (stats --watch). */
#ifndef SLUICE_XDP_COMMAND_PRIV_H
#define SLUICE_XDP_COMMAND_PRIV_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xdp/xdp.h"

enum { COMMAND_OK, COMMAND_FAILED, COMMAND_MISUSED }; /* exit statuses */

enum {
	COMMAND_ERROR_MAX = 640,
	COMMAND_NUMBER_MAX = 32,  /* buffer of the functions that format */
	COMMAND_TOP_RULES = 10,   /* shown when watching */
	COMMAND_RULES_BRIEF = 50, /* sets up to this size are shown whole */
};

/* The words behind a subcommand. */
struct command_args {
	const char *ifname; /* NULL: not given */
	char **rest; /* operands behind IFACE, or all where there is none; freed by the caller */
	int n_rest;
	enum xdp_mode mode;
	const char *rules;
	bool json, all;
	int64_t watch_ns; /* 0: print once */
};

struct command {
	const char *name;
	const char *usage; /* the options that it names are those that are taken */
	int min, max;      /* operands, IFACE included */
	int (*run)(const struct command_args *args);
};

/* command_args.c: pure. 0, or -EINVAL (or -ENOMEM) with one line in error (COMMAND_ERROR_MAX). */
int command_parse(const struct command *command, int argc, char *const argv[],
		  struct command_args *ret_args, char *error);

/* Seconds with up to nine decimals, 0.1 to 3600. 0, -EINVAL or -ERANGE. */
int command_parse_seconds(const char *text, int64_t *ret_ns);

/* The one of n names, stride bytes apart, that word was probably meant to be, or NULL. */
const char *command_nearest(const char *word, const char *const *names, size_t n, size_t stride);

/* command.c: prints one line on standard error. Returns status. */
int command_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends what was printed on standard output: COMMAND_OK, or COMMAND_FAILED with a line that says
 * why. A reader that has gone away is none of ours: COMMAND_OK. */
int command_flush(void);

/* command_print.c: three digits and a unit ("1.23 kbit/s", "4.19 MiB"); out has
 * COMMAND_NUMBER_MAX bytes and is returned. */
const char *command_format_bits(double bits_per_s, char *out);
const char *command_format_bytes(uint64_t bytes, char *out);

/* Events per second: a whole number, or below ten one decimal. */
const char *command_format_rate(double per_s, char *out);

const char *command_verdict_name(enum filter_verdict verdict);

void command_print_info(const struct xdp_info *info);
json_t *command_info_json(const struct xdp_info *info);
void command_print_stats(const struct xdp_stats *stats, bool all);
void command_print_stats_json(const struct xdp_info *info, const struct xdp_stats *stats);

/* command_sessions.c */
void command_print_sessions(const struct xdp_session_row *rows, int n);
void command_print_sessions_json(const struct xdp_session_row *rows, int n);

/* command_rate.c: pure. What happened between two readings, per second. */
struct command_rate {
	double packets, bytes;
};

struct command_rates {
	struct command_rate by_verdict[FILTER_VERDICTS];
	struct command_rate by_reason[FILTER_REASONS][FILTER_VERDICTS];
	struct {
		uint32_t rule; /* index in the later reading */
		struct command_rate rate;
	} top[COMMAND_TOP_RULES]; /* the busiest, none that matched nothing */
	uint32_t n_top;
};

/*
 * Rules are found by what they say: a set may have been replaced meanwhile. A counter that went
 * back has begun anew. seconds > 0. Returns 0 or -ENOMEM.
 */
int command_rates(const struct xdp_stats *before, const struct xdp_stats *now, double seconds,
		  struct command_rates *ret_rates);

/* command_watch.c: until SIGINT, SIGTERM, SIGHUP or the reader's end. Returns the exit status. */
int command_watch(const struct command_args *args);

#endif
