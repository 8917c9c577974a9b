/* SPDX-License-Identifier: MIT */
/* The benchmark's command line: values, whole lines, and what each refusal says. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "bench/client/opts.h"

static enum bench_opts_result parse(const char *line, struct bench_opts *opts, char *error)
{
	static char copy[1024];
	char *argv[64] = {"sluice-bench"}, *rest;
	int argc = 1;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	error[0] = '\0';
	return bench_opts_parse(argc, argv, opts, error);
}

static struct bench_opts accepted(const char *line)
{
	char error[BENCH_ERROR_TEXT];
	struct bench_opts opts;

	cr_assert_eq(parse(line, &opts, error), BENCH_OPTS_RUN, "%s: %s", line, error);
	return opts;
}

static void refused(const char *line, const char *text)
{
	char error[BENCH_ERROR_TEXT];
	struct bench_opts opts;

	cr_assert_eq(parse(line, &opts, error), BENCH_OPTS_WRONG, "%s was taken", line);
	cr_expect(strstr(error, text), "%s: no '%s' in: %s", line, text, error);
}

Test(bench_opts, durations)
{
	static const struct {
		const char *text;
		int64_t ns;
	} cases[] = {
		{"2", 2000000000},    {"0.5", 500000000},
		{"500ms", 500000000}, {"10s", 10000000000},
		{"2m", 120000000000}, {"1h", 3600000000000},
		{"20us", 20000},      {"0", 0},
		{".25s", 250000000},  {"24h", 86400000000000},
	};
	static const char *const wrong[] = {"",    "s",   "-1",   "1e3",   "1x",  "25h", "1 s",
					    "inf", "nan", "0x10", "1.2.3", "1sm", "+1",  "."};
	int64_t ns;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_expect(bench_parse_duration(cases[i].text, &ns), "%s", cases[i].text);
		cr_expect_eq(ns, cases[i].ns, "%s: %lld", cases[i].text, (long long)ns);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_not(bench_parse_duration(wrong[i], &ns), "'%s' was taken", wrong[i]);
}

Test(bench_opts, sizes)
{
	static const char *const wrong[] = {"",       "-",      "64-",      "-64",
					    "100-64", "65M",    "64k4",     "1G",
					    "0x40",   "64--65", "64-65-66", "99999999999999999999"};
	uint32_t min, max;

	cr_assert(bench_parse_sizes("64", &min, &max));
	cr_expect(min == 64 && max == 64);
	cr_assert(bench_parse_sizes("16-4K", &min, &max));
	cr_expect(min == 16 && max == 4096);
	cr_assert(bench_parse_sizes("1K-64M", &min, &max));
	cr_expect(min == 1024 && max == 64 << 20);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_not(bench_parse_sizes(wrong[i], &min, &max), "'%s' was taken", wrong[i]);
}

Test(bench_opts, counts_and_rates)
{
	uint32_t count;
	double rate;

	cr_expect(bench_parse_count("1", 10, &count) && count == 1);
	cr_expect(bench_parse_count("10", 10, &count) && count == 10);
	cr_expect_not(bench_parse_count("0", 10, &count));
	cr_expect_not(bench_parse_count("11", 10, &count));
	cr_expect_not(bench_parse_count("-1", 10, &count));
	cr_expect_not(bench_parse_count(" 1", 10, &count));
	cr_expect_not(bench_parse_count("4294967297", UINT32_MAX, &count));
	cr_expect(bench_parse_rate("1000", &rate) && rate == 1000);
	cr_expect(bench_parse_rate("2.5K", &rate) && rate == 2500);
	cr_expect(bench_parse_rate("1M", &rate) && rate == 1e6);
	cr_expect(bench_parse_rate("0.1", &rate) && rate == 0.1);
	cr_expect_not(bench_parse_rate("0", &rate));
	cr_expect_not(bench_parse_rate("2000M", &rate));
	cr_expect_not(bench_parse_rate("-5", &rate));
	cr_expect_not(bench_parse_rate("5/s", &rate));
}

Test(bench_opts, cpu_lists)
{
	static const char *const wrong[] = {"", ",", "1,", "2-1", "a", "1-", "99999", "1 2", "-1"};
	cpu_set_t set;

	cr_assert(bench_parse_cpus("0,2-4", &set));
	cr_expect_eq(CPU_COUNT(&set), 4);
	cr_expect(CPU_ISSET(0, &set) && CPU_ISSET(2, &set) && CPU_ISSET(4, &set));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_not(bench_parse_cpus(wrong[i], &set), "'%s' was taken", wrong[i]);
}

Test(bench_opts, defaults)
{
	struct bench_opts o = accepted("tcp 127.0.0.1:7007");

	cr_expect_eq(o.transport, BENCH_TCP);
	cr_expect_str_eq(o.address, "127.0.0.1:7007");
	cr_expect_eq(o.pattern, BENCH_RR);
	cr_expect(o.conns == 1 && o.depth == 1 && o.threads == 1);
	cr_expect(o.size_min == 64 && o.size_max == 64);
	cr_expect(o.rate_per_s == 0 && !o.verify && !o.spin && !o.idle && !o.n_pids);
	cr_expect_eq(o.timeout_ns, 10 * BENCH_NS_PER_S);
	cr_expect_eq(accepted("udp [::1]:7").timeout_ns, BENCH_NS_PER_S);
}

Test(bench_opts, everything)
{
	struct bench_opts o = accepted("-c 100 -s 1K-2K -d 4 udp host:9 -t 3 -w 100ms --threads 2 "
				       "--cpus 1,3 --rate 10K --verify --pid 12,13 --pid 14 "
				       "--json a --csv b --hist c --spin --timeout 5s --quiet "
				       "--source 10.0.0.1,10.0.0.2 --batch 8");

	cr_expect_eq(o.transport, BENCH_UDP);
	cr_expect_str_eq(o.address, "host:9");
	cr_expect(o.conns == 100 && o.depth == 4 && o.threads == 2 && o.batch == 8);
	cr_expect(o.size_min == 1024 && o.size_max == 2048);
	cr_expect(o.duration_ns == 3 * BENCH_NS_PER_S && o.warmup_ns == BENCH_NS_PER_S / 10);
	cr_expect(o.rate_per_s == 10000 && o.verify && o.spin && o.quiet);
	cr_expect(o.n_pids == 3 && o.pids[0] == 12 && o.pids[2] == 14);
	cr_expect_str_eq(o.json, "a");
	cr_expect_str_eq(o.csv, "b");
	cr_expect_str_eq(o.hist, "c");
	cr_expect_eq(o.n_sources, 2);
	cr_expect_str_eq(o.sources[1], "10.0.0.2");
	cr_expect_eq(bench_opts_mean_size(&o), 1536);
	bench_opts_free(&o);
	o = accepted("unix:/run/x --pattern churn --connections 7");
	cr_expect_eq(o.transport, BENCH_UNIX);
	cr_expect_eq(o.pattern, BENCH_CHURN);
	cr_expect_str_eq(o.address, "/run/x");
}

Test(bench_opts, what_is_refused_and_how)
{
	refused("", "a target is missing");
	refused("tcp", "HOST:PORT");
	refused("sctp a:1", "no target");
	refused("unix:", "empty");
	refused("tcp a:1 b", "'b'");
	refused("tcp a:1 -c 0", "--connections");
	refused("tcp a:1 -c 1000001", "1000000");
	refused("tcp a:1 -s 65M", "--size");
	refused("tcp a:1 -s 0", "at least 1");
	refused("udp a:1 -s 15", "16 to 65507");
	refused("udp a:1 -s 65508", "16 to 65507");
	refused("udp a:1 -s 0", "16 to 65507");
	refused("udp a:1 --pattern churn", "churn");
	refused("tcp a:1 --pattern churn -d 2", "--depth");
	refused("tcp a:1 --pattern what", "rr, stream, duplex or churn");
	refused("tcp a:1 --pattern stream --verify", "--verify");
	refused("tcp a:1 --threads 2", "--threads");
	refused("tcp a:1 --rate 0", "--rate");
	refused("tcp a:1 -t 0", "--duration");
	refused("tcp a:1 -t soon", "10s");
	refused("tcp a:1 --timeout 10us", "1ms");
	refused("tcp a:1 --pid 0", "--pid");
	refused("tcp a:1 --pid 12,,13", "--pid");
	refused("tcp a:1 --pid 12,12", "twice");
	refused("tcp a:1 --cpus x", "--cpus");
	refused("tcp a:1 --close softly", "fin or reset");
	refused("tcp a:1 --close reset", "churn");
	refused("tcp a:1 --gso", "udp");
	refused("udp a:1 --gso", "stream or duplex");
	refused("udp a:1 --gso --pattern stream -s 64-65", "one --size");
	refused("tcp a:1 --idle --rate 5", "--idle");
	refused("unix:/a --source 127.0.0.1", "--source");
	refused("tcp a:1 --json", "--json wants a value");
	refused("tcp a:1 --frobnicate", "--frobnicate");
}

Test(bench_opts, help)
{
	char error[BENCH_ERROR_TEXT];
	struct bench_opts opts;

	cr_expect_eq(parse("tcp a:1 --help", &opts, error), BENCH_OPTS_HELP);
	cr_expect_eq(parse("-h", &opts, error), BENCH_OPTS_HELP);
}
