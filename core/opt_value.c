/* SPDX-License-Identifier: MIT */
/*
 * Values of options: times, sizes, CPU lists, numbers. Only digits and the named units are taken:
 * no sign, no space, no rest, and nothing that overflows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "opt_priv.h"
#include "util.h"

/* Reads the digits that text begins with. Returns 0, -EINVAL when there are none, or -ERANGE. */
static int parse_digits(const char *text, uint64_t *ret_value, const char **ret_rest)
{
	uint64_t value = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return -ERANGE;
	*ret_value = value;
	*ret_rest = text;
	return 0;
}

/* A unit and what it multiplies by. */
struct unit {
	const char *name;
	uint64_t factor;
};

static int parse_scaled(const char *text, const struct unit *units, size_t n, uint64_t max,
			uint64_t *ret_value)
{
	const char *rest;
	uint64_t value;
	int r = parse_digits(text, &value, &rest);

	/* Too many digits is a matter of range only when what follows them is a unit. */
	if (r == -ERANGE)
		rest = text + strspn(text, "0123456789");
	else if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(rest, units[i].name) != 0)
			continue;
		if (r < 0 || __builtin_mul_overflow(value, units[i].factor, &value) || value > max)
			return -ERANGE;
		*ret_value = value;
		return 0;
	}
	return -EINVAL;
}

int opt_parse_time(const char *text, int64_t *ret_ns)
{
	static const struct unit units[] = {
		{"", NS_PER_S},       {"ms", NS_PER_MS},      {"s", NS_PER_S},
		{"m", 60 * NS_PER_S}, {"h", 3600 * NS_PER_S},
	};
	uint64_t ns = 0;
	int r = 0;

	if (strcmp(text, "off") != 0)
		r = parse_scaled(text, units, ARRAY_SIZE(units), OPT_TIME_MAX_NS, &ns);
	if (r == 0)
		*ret_ns = (int64_t)ns;
	return r;
}

int opt_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const struct unit units[] = {
		{"", 1},
		{"K", UINT64_C(1) << 10},
		{"M", UINT64_C(1) << 20},
		{"G", UINT64_C(1) << 30},
	};

	return parse_scaled(text, units, ARRAY_SIZE(units), UINT64_MAX, ret_bytes);
}

/* One item of a CPU list: N, N-M or N-M:STEP. */
static int parse_cpu_range(const char *text, cpu_set_t *set, const char **ret_rest)
{
	uint64_t first, last, step = 1;
	int r = parse_digits(text, &first, &text);

	last = first;
	if (r == 0 && *text == '-') {
		r = parse_digits(text + 1, &last, &text);
		if (r == 0 && *text == ':')
			r = parse_digits(text + 1, &step, &text);
	}
	if (r < 0)
		return r;
	if (first > last || !step)
		return -EINVAL;
	if (last >= CPU_SETSIZE)
		return -ERANGE;
	for (; first <= last; first += step) {
		CPU_SET(first, set);
		if (step > last - first)
			break;
	}
	*ret_rest = text;
	return 0;
}

int opt_parse_cpus(const char *text, cpu_set_t *ret_set, int *ret_n)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (;; text++) {
		int r = parse_cpu_range(text, &set, &text);

		if (r < 0)
			return r;
		if (*text != ',')
			break;
	}
	if (*text)
		return -EINVAL;
	*ret_set = set;
	*ret_n = CPU_COUNT(&set);
	return 0;
}

int opt_parse_number(const char *text, int min, int max, int *ret_value)
{
	const char *rest;
	uint64_t value;
	int r = parse_digits(text, &value, &rest);

	if (r < 0)
		return r;
	if (*rest)
		return -EINVAL;
	if (value < (uint64_t)min || value > (uint64_t)max)
		return -ERANGE;
	*ret_value = (int)value;
	return 0;
}

/* The Levenshtein distance, with every row of its table in place. Long words are simply far. */
static unsigned word_distance(const char *a, const char *b)
{
	unsigned row[32];
	size_t n = strlen(b);

	if (n >= ARRAY_SIZE(row) || strlen(a) >= ARRAY_SIZE(row))
		return ARRAY_SIZE(row);
	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned)j;
	for (size_t i = 0; a[i]; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i + 1;
		for (size_t j = 0; j < n; j++) {
			unsigned change = diagonal + (a[i] != b[j]);

			diagonal = row[j + 1];
			row[j + 1] = MIN(change, 1 + MIN(diagonal, row[j]));
		}
	}
	return row[n];
}

const char *opt_nearest(const char *word, const char *const *words, size_t n)
{
	const char *nearest = NULL;
	unsigned best = 3; /* two slips are a typing error, three another word */

	for (size_t i = 0; i < n; i++) {
		unsigned distance = word_distance(word, words[i]);

		if (strlen(word) >= 3 && strstr(words[i], word))
			distance = 1;
		if (distance < best && distance < strlen(words[i])) {
			best = distance;
			nearest = words[i];
		}
	}
	return nearest;
}
