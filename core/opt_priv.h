/* SPDX-License-Identifier: MIT */
/* What the parts of the command line share: opt.c (words), opt_value.c (values) and opt_check.c
 * (sense). */
#ifndef SLUICE_OPT_PRIV_H
#define SLUICE_OPT_PRIV_H

#include "opt.h"

#define OPT_TIME_MAX_NS (INT64_C(1000) * 3600 * 1000000000) /* 1000 h */
#define OPT_BUFFER_MEMORY_MIN (UINT64_C(4) << 20)
#define OPT_BUFFER_MEMORY_MAX (UINT64_C(1) << 40)

enum {
	OPT_CONNS_MAX = 10000000,
	OPT_BACKLOG_MAX = 65535,
	OPT_BACKLOG_DEFAULT = 4096,
	OPT_QUOTE_MAX = 121, /* leaves a message of 199 bytes in OPT_ERROR_MAX */
};

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
