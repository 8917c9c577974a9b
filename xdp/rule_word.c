/* SPDX-License-Identifier: MIT */
/*
 * What rules are written with: words, numbers, amounts, and errors about them. No state. Words are
 * never copied; an error shows no byte of theirs that is not printable.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "xdp/rule_priv.h"

enum {
	SHOWN_MAX = 40, /* bytes of a word in an error */
	NEAR_MAX = 12,  /* no keyword is longer */
	NEAR_SLIPS = 2,
};

static const struct {
	const char *name;
	uint64_t factor;
} units[] = {
	{"B", 1},         {"KB", 1000},     {"MB", 1000000},  {"GB", 1000000000},
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
};

struct rule_cursor rule_cursor_line(const char *text, size_t len, unsigned line)
{
	return (struct rule_cursor){
		.word = {.text = text, .line = line, .column = 1},
		.begin = text,
		.at = text,
		.end = text + len,
	};
}

struct rule_cursor rule_cursor_words(char *const words[], int n)
{
	struct rule_cursor cursor = rule_cursor_line("", 0, 0);

	cursor.words = words;
	cursor.n_words = n;
	return cursor;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

void rule_next(struct rule_cursor *cursor)
{
	struct rule_word *word = &cursor->word;
	const char *at = cursor->at;
	unsigned line = word->line;

	word->column += (unsigned)word->len;
	word->text += word->len;
	word->len = 0;
	word->opens = at == cursor->begin;
	for (;;) {
		while (at < cursor->end && is_blank(*at))
			at++;
		if (at < cursor->end && *at != '#')
			break;
		cursor->at = at = cursor->end;
		if (cursor->n_words <= 0)
			return;
		cursor->n_words--;
		cursor->begin = at = *cursor->words++;
		cursor->end = at + strlen(at);
		line++;
		word->opens = true;
	}
	word->text = at;
	while (at < cursor->end && !is_blank(*at) && *at != '#')
		at++;
	word->len = (size_t)(at - word->text);
	word->line = line;
	word->column = (unsigned)(word->text - cursor->begin) + 1;
	cursor->at = at;
}

int rule_keyword(const struct rule_word *word, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strlen(names[i]) == word->len && !memcmp(names[i], word->text, word->len))
			return i;
	return -1;
}

bool rule_take_number(const char **at, const char *end, uint64_t *ret_value)
{
	const char *begin = *at;
	uint64_t value = 0;

	for (; *at < end && **at >= '0' && **at <= '9'; (*at)++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(**at - '0'), &value))
			value = UINT64_MAX;
	*ret_value = value;
	return *at > begin;
}

bool rule_parse_numbers(const struct rule_word *word, char separator, uint64_t *ret_first,
			uint64_t *ret_second, bool *ret_two)
{
	const char *at = word->text, *end = at + word->len;

	if (!rule_take_number(&at, end, ret_first))
		return false;
	*ret_two = separator && at < end && *at == separator;
	if (*ret_two) {
		at++;
		if (!rule_take_number(&at, end, ret_second))
			return false;
	}
	return at == end;
}

bool rule_parse_amount(const struct rule_word *word, bool per_second, uint64_t *ret_value,
		       uint8_t *ret_bytes)
{
	const char *at = word->text, *end = at + word->len;
	struct rule_word unit;

	if (!rule_take_number(&at, end, ret_value))
		return false;
	if (per_second && end - at >= 2 && !memcmp(end - 2, "/s", 2))
		end -= 2;
	unit = (struct rule_word){.text = at, .len = (size_t)(end - at)};
	*ret_bytes = unit.len > 0;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (rule_keyword(&unit, &units[i].name, 1) < 0)
			continue;
		if (__builtin_mul_overflow(*ret_value, units[i].factor, ret_value))
			*ret_value = UINT64_MAX;
		return true;
	}
	return !unit.len;
}

void rule_append(char *out, size_t size, const char *format, ...)
{
	size_t len = strlen(out);
	va_list args;

	va_start(args, format);
	vsnprintf(out + len, size - len, format, args);
	va_end(args);
}

void rule_append_amount(char *out, size_t size, uint64_t value, bool bytes)
{
	char best[32], text[32];

	snprintf(best, sizeof(best), "%" PRIu64 "%s", value, bytes ? units[0].name : "");
	for (size_t i = 1; bytes && i < ARRAY_SIZE(units); i++) {
		if (value % units[i].factor)
			continue;
		snprintf(text, sizeof(text), "%" PRIu64 "%s", value / units[i].factor,
			 units[i].name);
		if (strlen(text) < strlen(best))
			memcpy(best, text, sizeof(best));
	}
	rule_append(out, size, "%s", best);
}

int rule_fail(struct rule_error *error, unsigned line, unsigned column, const char *format, ...)
{
	va_list args;

	error->line = line;
	error->column = column;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return -EINVAL;
}

int rule_expected(struct rule_error *error, const struct rule_word *word, const char *format, ...)
{
	char what[RULE_ERROR_MAX - 100], shown[SHOWN_MAX + 1];
	size_t len = MIN(word->len, (size_t)SHOWN_MAX);
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (!word->len)
		return rule_fail(error, word->line, word->column, "expected %s, but the rule ends",
				 what);
	for (size_t i = 0; i < len; i++)
		shown[i] = word->text[i] >= ' ' && word->text[i] <= '~' ? word->text[i] : '?';
	shown[len] = '\0';
	return rule_fail(error, word->line, word->column, "expected %s, not '%s%s'", what, shown,
			 len < word->len ? "..." : "");
}

/* Slips of typing between a word and a name: letters too many, missing, wrong or swapped. */
static unsigned slips(const char *word, const char *name)
{
	unsigned d[NEAR_MAX + 1][NEAR_MAX + 1];
	size_t rows = strlen(word), columns = strlen(name);

	for (unsigned i = 0; i <= rows; i++) {
		for (unsigned j = 0; j <= columns; j++) {
			unsigned best = i + j;

			if (i && j) {
				best = d[i - 1][j - 1] + (word[i - 1] != name[j - 1]);
				best = MIN(best, d[i - 1][j] + 1);
				best = MIN(best, d[i][j - 1] + 1);
			}
			if (i > 1 && j > 1 && word[i - 1] == name[j - 2] &&
			    word[i - 2] == name[j - 1])
				best = MIN(best, d[i - 2][j - 2] + 1);
			d[i][j] = best;
		}
	}
	return d[rows][columns];
}

/* The name that a word resembles most; NULL when it resembles none. */
static const char *nearest(const struct rule_word *word, const char *const *names, int n)
{
	char lower[NEAR_MAX + 1] = "";
	const char *near = NULL;
	unsigned best = NEAR_SLIPS + 1;

	if (word->len > NEAR_MAX)
		return NULL;
	for (size_t i = 0; i < word->len; i++) {
		char c = word->text[i];

		lower[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
	}
	for (int i = 0; i < n; i++) {
		unsigned d = slips(lower, names[i]);

		if (strlen(lower) >= 3 && strstr(names[i], lower))
			d = MIN(d, 1);
		if (d < best && d < strlen(lower) && d < strlen(names[i]) - 1) {
			best = d;
			near = names[i];
		}
	}
	return near;
}

int rule_unknown(struct rule_error *error, const struct rule_word *word, const char *const *names,
		 int n, const char *what)
{
	const char *near = nearest(word, names, n);

	rule_expected(error, word, "%s", what);
	if (near)
		rule_append(error->text, sizeof(error->text), "; did you mean %s?", near);
	return -EINVAL;
}
