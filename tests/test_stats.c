/* SPDX-License-Identifier: MIT */
/* Counters: the list, sums and texts. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/stats.h"
#include "core/util.h"

static uint64_t *counter_at(struct stats *stats, const struct stats_row *row)
{
	return (uint64_t *)((char *)stats + row->offset);
}

/* Every counter gets a value of its own. */
static void fill(struct stats *stats, uint64_t step)
{
	size_t n;
	const struct stats_row *rows = stats_rows(&n);

	memset(stats, 0, sizeof(*stats));
	for (size_t i = 0; i < n; i++)
		*counter_at(stats, &rows[i]) = step * (i + 1);
}

Test(stats, rows_name_each_counter_once)
{
	size_t n;
	const struct stats_row *rows = stats_rows(&n);

	cr_assert_gt(n, 10);
	cr_assert_str_eq(rows[0].name, "conns_accepted");
	for (size_t i = 0; i < n; i++) {
		cr_expect_eq(rows[i].offset, i * sizeof(uint64_t), "%s", rows[i].name);
		cr_expect_gt(strlen(rows[i].help), 4, "%s", rows[i].name);
		cr_expect_eq(strspn(rows[i].name, "abcdefghijklmnopqrstuvwxyz_"),
			     strlen(rows[i].name));
		for (size_t j = 0; j < i; j++)
			cr_expect_str_neq(rows[i].name, rows[j].name);
	}
}

Test(stats, add_and_sum)
{
	struct stats a, b;
	size_t n;
	const struct stats_row *rows = stats_rows(&n);

	fill(&a, 1000);
	fill(&b, 7);
	stats_add(&b.bytes_in, 5);
	stats_sum(&a, &b);
	for (size_t i = 0; i < n; i++)
		cr_expect_eq(*counter_at(&a, &rows[i]),
			     1007 * (i + 1) + (counter_at(&a, &rows[i]) == &a.bytes_in ? 5 : 0));
}

Test(stats, errors_and_drops_by_name)
{
	struct stats stats;
	uint64_t errors = 0, drops = 0;
	size_t n;
	const struct stats_row *rows = stats_rows(&n);

	fill(&stats, 3);
	for (size_t i = 0; i < n; i++) {
		if (!strncmp(rows[i].name, "err_", 4))
			errors += *counter_at(&stats, &rows[i]);
		if (!strncmp(rows[i].name, "drop_", 5))
			drops += *counter_at(&stats, &rows[i]);
	}
	cr_assert_gt(errors, 0);
	cr_assert_gt(drops, 0);
	cr_assert_eq(stats_errors(&stats), errors);
	cr_assert_eq(stats_drops(&stats), drops);
}

Test(stats, format_has_a_line_for_each)
{
	struct stats stats;
	char text[8192], line[128];
	const char *at = text;
	size_t n, len;
	const struct stats_row *rows = stats_rows(&n);

	fill(&stats, UINT64_C(1) << 57);
	len = stats_format(&stats, text, sizeof(text));
	cr_assert_eq(len, strlen(text));
	for (size_t i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "%s %llu\n", rows[i].name,
			 (unsigned long long)*counter_at(&stats, &rows[i]));
		cr_assert_eq(strncmp(at, line, strlen(line)), 0, "%s", rows[i].name);
		at += strlen(line);
	}
	cr_assert_str_empty(at);
}

/* Whatever the size: a string inside the buffer, its length returned, and only whole lines. */
Test(stats, texts_stay_inside_their_buffer)
{
	struct stats stats;
	char text[8192], whole[2][8192];

	fill(&stats, 12345678901);
	stats_format(&stats, whole[0], sizeof(whole[0]));
	stats_format_summary(&stats, 3.5, whole[1], sizeof(whole[1]));
	for (size_t size = 1; size < 3000; size++) {
		for (int summary = 0; summary < 2; summary++) {
			size_t len;

			memset(text, '#', sizeof(text));
			len = summary ? stats_format_summary(&stats, 3.5, text, size)
				      : stats_format(&stats, text, size);
			cr_assert_lt(len, size);
			cr_assert_eq(len, strnlen(text, size));
			cr_assert_eq(text[size], '#');
			if (!summary) {
				cr_assert_eq(strncmp(text, whole[0], len), 0);
				cr_assert(len == 0 || text[len - 1] == '\n');
			}
		}
	}
}

Test(stats, summary_names_reasons_that_occurred)
{
	struct stats stats;
	char text[2048];

	memset(&stats, 0, sizeof(stats));
	stats_format_summary(&stats, 0, text, sizeof(text));
	cr_assert_str_eq(text, "connections: 0 in 0.0 s, 0 closed\n"
			       "bytes: 0 in, 0 out\n"
			       "datagrams: 0 in, 0 out\n"
			       "errors: 0; dropped datagrams: 0\n");
	stats.conns_accepted = 5;
	stats.conns_closed = 4;
	stats.bytes_in = 1 << 20;
	stats.bytes_out = 12;
	stats.dgrams_in = 3;
	stats.dgrams_out = 2;
	stats.sessions_opened = 1;
	stats.err_conn_reset = 2;
	stats.err_accept = 1;
	stats.drop_icmp = 9;
	stats_format_summary(&stats, 12.34, text, sizeof(text));
	cr_assert_str_eq(text, "connections: 5 in 12.3 s, 4 closed\n"
			       "bytes: 1048576 in, 12 out\n"
			       "datagrams: 3 in, 2 out, 1 sessions\n"
			       "errors: 3 (err_conn_reset 2, err_accept 1); dropped datagrams: 9 "
			       "(drop_icmp 9)\n");
}
