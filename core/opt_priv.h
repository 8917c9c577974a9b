/* SPDX-License-Identifier: MIT */
/* What the parts of the command line share: opt.c (words), opt_set.c (options), opt_value.c
 * (values) and opt_check.c (sense). */
#ifndef SLUICE_OPT_PRIV_H
#define SLUICE_OPT_PRIV_H

#include "opt.h"

#define OPT_TIME_MAX_NS (INT64_C(1000) * 3600 * 1000000000) /* 1000 h */
#define OPT_BUFFER_MEMORY_MIN (UINT64_C(4) << 20)
#define OPT_BUFFER_MEMORY_MAX (UINT64_C(1) << 40)

enum {
	OPT_CONNS_MAX = 10000000,
	OPT_BACKLOG_MAX = 65535,
	OPT_FAST_SESSIONS_MAX = 65536,
	OPT_BACKLOG_DEFAULT = 4096,
	OPT_QUOTE_MAX = 121, /* leaves a message of 199 bytes in OPT_ERROR_MAX */
};

/* Options without a letter. */
enum {
	O_CPUS = 256,
	O_MAX_CONNS,
	O_MAX_SESSIONS,
	O_BACKLOG,
	O_CONNECT_TIMEOUT,
	O_IDLE_TIMEOUT,
	O_DRAIN_TIMEOUT,
	O_BUFFER_MEMORY,
	O_LOG_LEVEL,
	O_LOG_FORMAT,
	O_XDP,
	O_XDP_MODE,
	O_XDP_RULES,
	O_FAST_PATH,
	O_FAST_SESSIONS,
	O_JSON,
};

/* One run of the parser. */
struct opt_parser {
	struct opt *opt;
	char *const *argv;
	char *error;
	const char *listen_text[OPT_LISTEN_MAX];
	const char *target_text[OPT_TARGET_MAX];
	const char *needs_xdp; /* an option that means nothing without --xdp; or NULL */
};

/* Does what the option says that getopt has just read: letter, with optarg. 0, or -EINVAL with one
 * line in p->error. */
int opt_set(struct opt_parser *p, int letter);

/* A whole number from min to max. Returns 0, -EINVAL or -ERANGE. */
int opt_parse_number(const char *text, int min, int max, int *ret_value);

/* The one of words that word was probably meant to be, or NULL. */
const char *opt_nearest(const char *word, const char *const *words, size_t n);

/*
 * Whether the options make sense together. listen_text and target_text have the addresses as they
 * were written. Returns 0, or -EINVAL with one line in error.
 */
int opt_check(const struct opt *opt, const char *const *listen_text, const char *const *target_text,
	      char *error);

/* Copies text into out (OPT_QUOTE_MAX bytes) for a message of one line: cut when long, control
 * characters replaced. Returns out. */
const char *opt_quote(const char *text, char *out);

/* Writes the message into error (OPT_ERROR_MAX bytes). Returns -EINVAL. */
int opt_fail(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
