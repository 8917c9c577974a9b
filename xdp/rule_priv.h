/* SPDX-License-Identifier: MIT */
/* What rule.c (sets), rule_parse.c (rules) and rule_word.c (words) share. */
#ifndef SLUICE_XDP_RULE_PRIV_H
#define SLUICE_XDP_RULE_PRIV_H

#include "xdp/rule.h"

/* A word, and where it stands. Of length 0: just behind the last word, for what is missing. */
struct rule_word {
	const char *text;
	size_t len;
	unsigned line, column;
	bool opens; /* the first of a line, or of a word of the command line */
};

/* Where the reading is. All words of a line or of a command line, one after the other. */
struct rule_cursor {
	struct rule_word word;
	const char *begin, *at, *end; /* of the line, or the word of the command line */
	char *const *words;           /* of the command line: those that follow */
	int n_words;
};

/* A cursor in front of the first word, for rule_next. */
struct rule_cursor rule_cursor_line(const char *text, size_t len, unsigned line);
struct rule_cursor rule_cursor_words(char *const words[], int n);

/* Goes to the next word. A comment ends a line, and a word of the command line. */
void rule_next(struct rule_cursor *cursor);

/* Which of the n names the word is; -1: none. */
int rule_keyword(const struct rule_word *word, const char *const *names, int n);

/* Reads digits up to end. What is too large becomes UINT64_MAX. False when there are none. */
bool rule_take_number(const char **at, const char *end, uint64_t *ret_value);

/* Reads a whole word: "N", or two numbers and the separator between them unless that is 0. */
bool rule_parse_numbers(const struct rule_word *word, char separator, uint64_t *ret_first,
			uint64_t *ret_second, bool *ret_two);

/* Reads a whole word: a number, alone or with a unit of bytes; "/s" may follow when per_second.
 * What is too large becomes UINT64_MAX. */
bool rule_parse_amount(const struct rule_word *word, bool per_second, uint64_t *ret_value,
		       uint8_t *ret_bytes);

/* Appends formatted text to what is in out, cut at its size. */
void rule_append(char *out, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Appends an amount as rule_parse_amount takes it, in the unit that makes the shortest text. */
void rule_append_amount(char *out, size_t size, uint64_t value, bool bytes);

/* Fills *error. Returns -EINVAL, like the two that follow. */
int rule_fail(struct rule_error *error, unsigned line, unsigned column, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* "expected <format>, not '<word>'". */
int rule_expected(struct rule_error *error, const struct rule_word *word, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same, and which of the n names was probably meant. */
int rule_unknown(struct rule_error *error, const struct rule_word *word, const char *const *names,
		 int n, const char *what);

/*
 * Parses one line, without its end. Returns 1 and a rule, with error's line and column set to where
 * it begins; 0 when there is none; -EINVAL with *error filled (*ret_rule is then untouched).
 */
int rule_parse_line(const char *text, size_t len, unsigned line, struct rule *ret_rule,
		    struct rule_error *error);

#endif
