/* SPDX-License-Identifier: MIT */
/* The benchmark's report and comparison: what files may hold, and what is said of them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report/markdown.h"
#include "bench/report/sweep.h"

enum { TEXT_MAX = 4096 };

#define ENV "{\"env\":{\"kernel\":\"6.18\",\"versions\":{\"nginx\":\"1.22\"}}}\n"

/* --- sweeps ---------------------------------------------------------------------------------- */

static int read_text(const char *text, size_t len, struct sweep *sweep, struct sweep_error *error)
{
	FILE *file = len ? fmemopen((char *)text, len, "r") : fopen("/dev/null", "r");
	int r = sweep_read(file, sweep, error);

	fclose(file);
	return r;
}

/* A record as bench/sweep writes it; run is the text of the run, or NULL for a whole one. */
static int record(char *to, unsigned round, const char *server, double cost, const char *run)
{
	char whole[1024];

	snprintf(whole, sizeof(whole),
		 "{\"schema\":\"sluice-bench/1\",\"options\":{\"pattern\":\"rr\"},"
		 "\"messages_per_s\":%.0f,\"bytes_per_s\":1e6,\"errors_total\":0,"
		 "\"latency_ns\":{\"count\":9,\"p50\":11,\"p99\":44},"
		 "\"server\":{\"cpu_ns_per_message\":%.1f,\"cpu_ns_per_gib\":null},"
		 "\"generator\":{\"limited\":false},\"interrupted\":false}",
		 1e9 / cost, cost);
	return snprintf(to, TEXT_MAX,
			"{\"round\":%u,\"use\":\"relay\",\"cell\":\"64x64\",\"connections\":64,"
			"\"size\":64,\"server\":\"%s\",\"workers\":1,\"run\":%s}\n",
			round, server, run ? run : whole);
}

Test(bench_report, reads_a_sweep)
{
	char text[4 * TEXT_MAX] = ENV;
	struct sweep sweep;
	struct sweep_error error;
	size_t len = strlen(text);

	len += record(text + len, 2, "nginx", 2000, NULL);
	len += record(text + len, 1, "nginx", 1000, NULL);
	len += record(text + len, 1, "sluice_io_uring", 500, NULL);
	len += record(text + len, 3, "nginx", 0, "null");
	len += record(text + len, 2, "nginx", 3000, NULL);
	cr_assert_eq(read_text(text, len, &sweep, &error), 0, "%zu: %s", error.line, error.text);
	cr_expect_eq(sweep.n, 2);
	cr_expect_str_eq(sweep.servers[0], "sluice_io_uring");
	cr_expect_eq(sweep.rows[0].n, 2);
	cr_expect_eq(sweep.rows[0].samples[0].round, 1);
	cr_expect_eq(sweep.rows[0].samples[1].value[METRIC_CPU_MESSAGE], 3000);
	cr_expect(isnan(sweep.rows[0].samples[0].value[METRIC_CPU_GIB]));
	cr_expect(sweep.repeated == 1 && sweep.failed == 1 && sweep.runs == 5);
	cr_expect_str_eq(sweep.rows[0].why, "no reason given");
	sweep_free(&sweep);
}

Test(bench_report, a_cut_off_last_line_is_left_out)
{
	char text[4 * TEXT_MAX] = ENV;
	struct sweep sweep;
	struct sweep_error error;
	size_t len = strlen(text), whole;

	whole = len += record(text + len, 1, "nginx", 1000, NULL);
	len += record(text + len, 2, "nginx", 1000, NULL);
	for (size_t end = whole + 1; end < len; end++) {
		cr_assert_eq(read_text(text, end, &sweep, &error), 0, "%s", error.text);
		/* Only the newline is missing of the longest: that one is whole. */
		cr_expect_eq(sweep.cut_line, end < len - 1 ? 3 : 0);
		cr_expect_eq(sweep.runs, end < len - 1 ? 1 : 2);
		sweep_free(&sweep);
	}
}

Test(bench_report, what_is_wrong_is_named_with_its_line)
{
#define RECORD(member) \
	"{\"round\":1,\"use\":\"u\",\"cell\":\"c\",\"connections\":1,\"size\":1," member "}\n"
#define RUN(members)                                                                    \
	RECORD("\"server\":\"s\",\"workers\":1,\"run\":{\"schema\":\"sluice-bench/1\"," \
	       "\"options\":{\"pattern\":\"rr\"}," members "}")
	static const struct {
		const char *text;
		size_t line;
		const char *says;
	} files[] = {
		{"", 0, "empty"},
		{"\n\n", 0, "empty"},
		{"{", 1, "not JSON"},
		{"[]\n", 1, "env"},
		{"7\n", 1, "not JSON"},
		{"{\"env\":7}\n", 1, "env"},
		{ENV, 0, "no run"},
		{ENV ENV, 2, "second env"},
		{ENV "{\"round\":1\n{}\n", 2, "not JSON"},
		{ENV "{}\n", 2, "round"},
		{ENV "[1]\n", 2, "round"},
		{ENV "{\"round\":NaN}\n", 2, "not JSON"},
		{ENV "{\"round\":1,\"round\":2}\n", 2, "not JSON"},
		{ENV "{\"round\":1e999}\n", 2, "not JSON"},
		{ENV "{\"round\":-1}\n", 2, "round"},
		{ENV "{\"round\":1,\"use\":\"a`b\"}\n", 2, "use"},
		{ENV "{\"round\":1,\"use\":\"a,b\"}\n", 2, "use"},
		{ENV RECORD("\"server\":\"\",\"workers\":1,\"run\":null"), 2, "server"},
		{ENV RECORD("\"server\":\"'\\\"\",\"workers\":1,\"run\":null"), 2, "server"},
		{ENV RECORD("\"server\":\"s\",\"workers\":1.5,\"run\":null"), 2, "workers"},
		{ENV RECORD("\"server\":\"s\",\"workers\":1"), 2, "run wants"},
		{ENV RECORD("\"server\":\"s\",\"workers\":1,\"run\":[]"), 2, "run wants"},
		{ENV RECORD("\"server\":\"s\",\"workers\":1,\"run\":{}"), 2, "schema"},
		{ENV RUN("\"messages_per_s\":\"9\""), 2, "messages_per_s"},
		{ENV RUN("\"messages_per_s\":-9"), 2, "messages_per_s"},
		{ENV RUN("\"messages_per_s\":1"), 2, "bytes_per_s"},
		{ENV RUN("\"messages_per_s\":1,\"bytes_per_s\":1,\"errors_total\":0,"
			 "\"server\":7"),
		 2, "server"},
		{ENV RUN("\"messages_per_s\":1,\"bytes_per_s\":1,\"errors_total\":0,"
			 "\"generator\":{\"limited\":1}"),
		 2, "generator.limited"},
		{ENV RUN("\"messages_per_s\":1,\"bytes_per_s\":1,\"errors_total\":0,"
			 "\"latency_ns\":{\"p50\":[]}"),
		 2, "latency_ns.p50"},
	};
	struct sweep sweep;
	struct sweep_error error;

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		const char *text = files[i].text;

		cr_assert_eq(read_text(text, strlen(text), &sweep, &error), -EINVAL, "%s", text);
		cr_expect_eq(error.line, files[i].line, "%s: line %zu", text, error.line);
		cr_expect(strstr(error.text, files[i].says), "%s: %s", text, error.text);
	}
}

Test(bench_report, bytes_that_are_no_text)
{
	static const char zero[] = ENV "\0\n", deep_open[] = ENV;
	char *deep = malloc(100000 + sizeof(deep_open)), *large = malloc(2 * SWEEP_LINE_MAX);
	struct sweep sweep;
	struct sweep_error error;

	cr_expect_eq(read_text(zero, sizeof(zero) - 1, &sweep, &error), -EINVAL);
	memcpy(deep, deep_open, sizeof(deep_open) - 1);
	memset(deep + sizeof(deep_open) - 1, '[', 100000);
	deep[sizeof(deep_open) - 1 + 99999] = '\n';
	cr_expect_eq(read_text(deep, sizeof(deep_open) - 1 + 100000, &sweep, &error), -EINVAL);
	memset(large, ' ', 2 * SWEEP_LINE_MAX);
	cr_expect_eq(read_text(large, 2 * SWEEP_LINE_MAX, &sweep, &error), -EINVAL);
	cr_expect(strstr(error.text, "longer than"));
	free(deep);
	free(large);
}

Test(bench_report, a_hundred_thousand_lines, .timeout = 60)
{
	FILE *file = tmpfile();
	char text[TEXT_MAX];
	struct sweep sweep;
	struct sweep_error error;

	fputs(ENV, file);
	for (unsigned i = 0; i < 100000; i++) {
		record(text, i, "nginx", 1000 + i % 7, NULL);
		fputs(text, file);
	}
	rewind(file);
	cr_assert_eq(sweep_read(file, &sweep, &error), 0, "%s", error.text);
	cr_expect_eq(sweep.rows[0].n, 100000);
	cr_expect_eq(sweep.rounds, 100000);
	sweep_free(&sweep);
	fclose(file);
}

Test(bench_report, too_many_servers_are_refused)
{
	char text[(SWEEP_SERVERS_MAX + 1) * TEXT_MAX] = ENV, name[16];
	struct sweep sweep;
	struct sweep_error error;
	size_t len = strlen(text);

	for (unsigned i = 0; i <= SWEEP_SERVERS_MAX; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		len += record(text + len, 1, name, 1000, "null");
	}
	cr_assert_eq(read_text(text, len, &sweep, &error), -EINVAL);
	cr_expect_eq(error.line, SWEEP_SERVERS_MAX + 2);
}

/* Ratios are taken in each round: here everything but the ratio drifts. */
Test(bench_report, grid_of_ratios_and_the_best_peer)
{
	static const double drift[] = {1, 3, 2};
	char text[13 * TEXT_MAX] = ENV;
	struct sweep sweep;
	struct sweep_error error;
	struct grid grid;
	struct stat_summary ratio;
	size_t len = strlen(text);

	for (unsigned round = 0; round < 3; round++) {
		len += record(text + len, round, "sluice_epoll", 800 * drift[round], NULL);
		len += record(text + len, round, "nginx", 1000 * drift[round], NULL);
		len += record(text + len, round, "haproxy", 1200 * drift[round], NULL);
		len += record(text + len, round, "haproxy_64k", 900 * drift[round], NULL);
	}
	cr_assert_eq(read_text(text, len, &sweep, &error), 0, "%s", error.text);
	cr_assert_eq(grid_init(&grid, &sweep, "relay"), 0);
	cr_expect(grid.n_lines == 1 && grid.n_servers == 4);
	cr_expect_eq(grid_best_peer(&grid, 0, METRIC_CPU_MESSAGE, true),
		     grid_server(&grid, "haproxy_64k"));
	cr_expect_eq(grid_best_peer(&grid, 0, METRIC_CPU_MESSAGE, false),
		     grid_server(&grid, "nginx"));
	cr_expect_eq(grid_server(&grid, "socat"), GRID_NONE);
	ratio = grid_ratio(&grid, 0, 0, 0, grid_server(&grid, "nginx"), METRIC_CPU_MESSAGE);
	cr_expect(ratio.n == 3 && fabs(ratio.min - 0.8) < 1e-9 && fabs(ratio.max - 0.8) < 1e-9);
	cr_expect(grid_has(&grid, METRIC_P99) && !grid_has(&grid, METRIC_CPU_GIB));
	grid_free(&grid);
	sweep_free(&sweep);
}

Test(bench_report, markdown_keeps_text_from_outside_harmless)
{
	char text[128] = {0}, number[MARKDOWN_NUMBER_MAX];
	FILE *file = fmemopen(text, sizeof(text), "w");

	markdown_text(file, "a|b\n<i>`x`[y](z)\x1b[1m");
	fclose(file);
	cr_expect_str_eq(text, "a\\|b \\<i\\>\\`x\\`\\[y\\](z) \\[1m");
	cr_expect_str_eq(markdown_number(1234567.4, number), "1,234,567");
	cr_expect_str_eq(markdown_number(999, number), "999");
	cr_expect_str_eq(markdown_number(-1000, number), "-1,000");
	cr_expect_str_eq(markdown_number(3.14159, number), "3.14");
	cr_expect_str_eq(markdown_number(31.4159, number), "31.4");
	cr_expect_str_eq(markdown_number(NAN, number), "-");
	cr_expect_str_eq(markdown_number(1e300, number), "very large");
}
