/* SPDX-License-Identifier: MIT */
/* Sums and texts of counters. Owns nothing: the workers own the counters. */
#include "stats.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

static const struct stats_row rows[] = {
#define X(name, help) {#name, help, offsetof(struct stats, name)},
	STATS_LIST(X)
#undef X
};

_Static_assert(sizeof(struct stats) >= ARRAY_SIZE(rows) * sizeof(uint64_t),
	       "struct stats is counters only");

const struct stats_row *stats_rows(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(rows);
	return rows;
}

static uint64_t row_value(const struct stats *stats, const struct stats_row *row)
{
	const uint64_t *counter = (const void *)((const char *)stats + row->offset);

	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void stats_sum(struct stats *sum, const struct stats *from)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t *counter = (void *)((char *)sum + rows[i].offset);

		*counter += row_value(from, &rows[i]);
	}
}

static uint64_t sum_prefix(const struct stats *stats, const char *prefix)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (!strncmp(rows[i].name, prefix, strlen(prefix)))
			sum += row_value(stats, &rows[i]);
	return sum;
}

uint64_t stats_errors(const struct stats *stats)
{
	return sum_prefix(stats, "err_");
}

uint64_t stats_drops(const struct stats *stats)
{
	return sum_prefix(stats, "drop_");
}

/* A string that grows in a buffer of fixed size, up to the first piece that does not fit whole. */
struct text {
	char *out;
	size_t size, len;
};

static void text_add(struct text *text, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void text_add(struct text *text, const char *format, ...)
{
	va_list args;
	int n;

	if (text->len >= text->size)
		return;
	va_start(args, format);
	n = vsnprintf(text->out + text->len, text->size - text->len, format, args);
	va_end(args);
	if (n >= 0 && (size_t)n < text->size - text->len) {
		text->len += (size_t)n;
	} else {
		text->out[text->len] = '\0';
		text->size = text->len;
	}
}

size_t stats_format(const struct stats *stats, char *out, size_t size)
{
	struct text text = {.out = out, .size = size};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		text_add(&text, "%s %" PRIu64 "\n", rows[i].name, row_value(stats, &rows[i]));
	return text.len;
}

/* "errors: 3 (err_conn_reset 2, err_accept 1)" */
static void text_add_reasons(struct text *text, const struct stats *stats, const char *title,
			     const char *prefix)
{
	const char *separator = " (";

	text_add(text, "%s: %" PRIu64, title, sum_prefix(stats, prefix));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t value = row_value(stats, &rows[i]);

		if (!value || strncmp(rows[i].name, prefix, strlen(prefix)))
			continue;
		text_add(text, "%s%s %" PRIu64, separator, rows[i].name, value);
		separator = ", ";
	}
	text_add(text, "%s", *separator == ',' ? ")" : "");
}

size_t stats_format_summary(const struct stats *stats, double seconds, char *out, size_t size)
{
	struct text text = {.out = out, .size = size};
	struct stats all;

	memset(&all, 0, sizeof(all));
	stats_sum(&all, stats);
	text_add(&text, "connections: %" PRIu64 " in %.1f s, %" PRIu64 " closed\n",
		 all.conns_accepted, seconds, all.conns_closed);
	text_add(&text, "bytes: %" PRIu64 " in, %" PRIu64 " out\n", all.bytes_in, all.bytes_out);
	text_add(&text, "datagrams: %" PRIu64 " in, %" PRIu64 " out", all.dgrams_in,
		 all.dgrams_out);
	if (all.sessions_opened)
		text_add(&text, ", %" PRIu64 " sessions", all.sessions_opened);
	text_add(&text, "\n");
	text_add_reasons(&text, &all, "errors", "err_");
	text_add_reasons(&text, &all, "; dropped datagrams", "drop_");
	text_add(&text, "\n");
	return text.len;
}
