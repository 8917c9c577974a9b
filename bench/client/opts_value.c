/* SPDX-License-Identifier: MIT */
/* Single values of the command line. */
#include "bench/client/opts.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DURATION_MAX_S 86400.0
#define RATE_MAX 1e9

/* strtod() alone would take spaces, signs, "inf" and hexadecimal. */
static bool parse_number(const char *text, double *ret_value, const char **ret_end)
{
	size_t len = strspn(text, "0123456789.");
	char *end;

	if (!len || text[len] == 'e' || text[len] == 'E' || text[len] == 'x' || text[len] == 'X')
		return false;
	*ret_value = strtod(text, &end);
	*ret_end = end;
	return end == text + len && isfinite(*ret_value);
}

bool bench_parse_duration(const char *text, int64_t *ret_ns)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"", 1e9}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 6e10}, {"h", 3.6e12}};
	const char *unit;
	double value;

	if (!parse_number(text, &value, &unit))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(unit, units[i].name))
			continue;
		if (value * units[i].ns > DURATION_MAX_S * 1e9)
			return false;
		*ret_ns = (int64_t)(value * units[i].ns);
		return true;
	}
	return false;
}

/* Digits and K or M, ending at *ret_end. */
static bool parse_size_prefix(const char *text, uint32_t *ret_bytes, const char **ret_end)
{
	unsigned long long value;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || value > BENCH_STREAM_SIZE_MAX)
		return false;
	if (*end == 'K' || *end == 'k')
		value <<= 10, end++;
	else if (*end == 'M' || *end == 'm')
		value <<= 20, end++;
	if (value > BENCH_STREAM_SIZE_MAX)
		return false;
	*ret_bytes = (uint32_t)value;
	*ret_end = end;
	return true;
}

bool bench_parse_size(const char *text, uint32_t *ret_bytes)
{
	const char *end;

	return parse_size_prefix(text, ret_bytes, &end) && !*end;
}

bool bench_parse_sizes(const char *text, uint32_t *ret_min, uint32_t *ret_max)
{
	uint32_t min, max;
	const char *end;

	if (!parse_size_prefix(text, &min, &end))
		return false;
	max = min;
	if (*end == '-' && !bench_parse_size(end + 1, &max))
		return false;
	if ((*end && *end != '-') || min > max)
		return false;
	*ret_min = min;
	*ret_max = max;
	return true;
}

bool bench_parse_count(const char *text, uint32_t max, uint32_t *ret_count)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || !value || value > max)
		return false;
	*ret_count = (uint32_t)value;
	return true;
}

bool bench_parse_rate(const char *text, double *ret_per_s)
{
	const char *unit;
	double value;

	if (!parse_number(text, &value, &unit))
		return false;
	if (!strcmp(unit, "K") || !strcmp(unit, "k"))
		value *= 1e3;
	else if (!strcmp(unit, "M"))
		value *= 1e6;
	else if (*unit)
		return false;
	if (!(value > 0) || value > RATE_MAX)
		return false;
	*ret_per_s = value;
	return true;
}

static bool parse_cpu(const char **text, unsigned *ret_cpu)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)**text))
		return false;
	value = strtoul(*text, &end, 10);
	*text = end;
	*ret_cpu = (unsigned)value;
	return value < CPU_SETSIZE;
}

bool bench_parse_cpus(const char *text, cpu_set_t *ret_set)
{
	unsigned from, to;
	cpu_set_t set;

	CPU_ZERO(&set);
	for (;; text++) {
		if (!parse_cpu(&text, &from))
			return false;
		to = from;
		if (*text == '-' && (text++, !parse_cpu(&text, &to)))
			return false;
		if (from > to)
			return false;
		for (unsigned cpu = from; cpu <= to; cpu++)
			CPU_SET(cpu, &set);
		if (*text != ',')
			break;
	}
	*ret_set = set;
	return !*text;
}
