/* SPDX-License-Identifier: MIT */
/* `sluice xdp`, as far as it is pure: words, numbers as they are printed, rates. */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "xdp/command_priv.h"

static const struct command attach = {"attach", "IFACE [--mode auto|native|generic] [--rules FILE]",
				      1, 1, NULL};
static const struct command status = {"status", "[IFACE] [--json]", 0, 1, NULL};
static const struct command rules = {"rules", "IFACE [FILE]", 1, 2, NULL};
static const struct command add = {"add", "IFACE RULE ...", 2, 1000, NULL};
static const struct command stats = {"stats", "IFACE [--json] [--all] [--watch [SECONDS]]", 1, 1,
				     NULL};
static const struct command check = {"check", "FILE", 1, 1, NULL};

/* Parses the words of line. The texts live until the next call; the caller frees args->rest. */
static int parse(const struct command *command, const char *line, struct command_args *args,
		 char *error)
{
	static char words[1000];
	char *argv[100], *rest, *word;
	int n = 0;

	snprintf(words, sizeof(words), "%s", line);
	for (word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		cr_assert_lt(n, (int)ARRAY_SIZE(argv) - 1);
		argv[n++] = word;
	}
	argv[n] = NULL;
	memset(args, 0, sizeof(*args));
	strcpy(error, "untouched");
	return command_parse(command, n, argv, args, error);
}

Test(xdp_command, options_stand_anywhere)
{
	static const char *const lines[] = {
		"eth0 --mode native --rules file",
		"--mode native --rules file eth0",
		"--mode=native eth0 --rules=file",
		"--rules file --mode auto --mode=native -- eth0",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct command_args args;
		char error[COMMAND_ERROR_MAX];

		cr_assert_eq(parse(&attach, lines[i], &args, error), 0, "%s", error);
		cr_expect_str_eq(args.ifname, "eth0");
		cr_expect_eq(args.mode, XDP_NATIVE);
		cr_expect_str_eq(args.rules, "file");
		cr_expect_eq(args.n_rest, 0);
		free(args.rest);
	}
}

Test(xdp_command, watch)
{
	static const struct {
		const char *line;
		int64_t ns;
	} rows[] = {
		{"eth0", 0},
		{"eth0 --watch", NS_PER_S},
		{"--watch eth0", NS_PER_S},
		{"--watch 2 eth0", 2 * NS_PER_S},
		{"--watch --json eth0", NS_PER_S},
		{"eth0 --watch 0.5", NS_PER_S / 2},
		{"eth0 --watch=0.25", NS_PER_S / 4},
		{"--watch=3600 eth0", 3600 * NS_PER_S},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct command_args args;
		char error[COMMAND_ERROR_MAX];

		cr_assert_eq(parse(&stats, rows[i].line, &args, error), 0, "%s", error);
		cr_expect_str_eq(args.ifname, "eth0");
		cr_expect_eq(args.watch_ns, rows[i].ns, "%s", rows[i].line);
		free(args.rest);
	}
}

Test(xdp_command, operands)
{
	struct command_args args;
	char error[COMMAND_ERROR_MAX];

	cr_assert_eq(parse(&status, "--json", &args, error), 0, "%s", error);
	cr_expect_null(args.ifname);
	cr_expect(args.json);
	free(args.rest);
	cr_assert_eq(parse(&rules, "eth0 -", &args, error), 0, "%s", error);
	cr_expect_str_eq(args.ifname, "eth0");
	cr_assert_eq(args.n_rest, 1);
	cr_expect_str_eq(args.rest[0], "-");
	free(args.rest);
	cr_assert_eq(parse(&add, "eth0 drop to-port 19", &args, error), 0, "%s", error);
	cr_expect_str_eq(args.ifname, "eth0");
	cr_assert_eq(args.n_rest, 3);
	cr_expect_str_eq(args.rest[2], "19");
	free(args.rest);
	cr_assert_eq(parse(&check, "/a/long/path/of/a/file", &args, error), 0, "%s", error);
	cr_expect_null(args.ifname);
	cr_expect_str_eq(args.rest[0], "/a/long/path/of/a/file");
	free(args.rest);
}

Test(xdp_command, refused)
{
	static const struct {
		const struct command *command;
		const char *line, *names, *remedy;
	} rows[] = {
		{&attach, "", "interface is missing", "sluice xdp attach IFACE"},
		{&attach, "eth0 eth1", "'eth1': unexpected", "sluice xdp attach IFACE"},
		{&attach, "abcdefghijklmnop", "'abcdefghijklmnop'", "1 to 15 characters"},
		{&attach, "..", "'..'", "interface names"},
		{&attach, "a/b", "'a/b'", "no slash"},
		{&attach, "eth0 --mode", "'--mode': its value", "auto|native|generic"},
		{&attach, "eth0 --rules=", "'--rules=': its value", "--rules FILE"},
		{&attach, "eth0 --mode xdpdrv", "'xdpdrv'", "auto, native or generic"},
		{&attach, "eth0 --mod native", "'--mod'", "did you mean --mode?"},
		{&attach, "eth0 --json", "'--json'", "sluice help xdp"},
		{&attach, "eth0 -x", "'-x'", "sluice help xdp"},
		{&status, "--jsn", "'--jsn'", "did you mean --json?"},
		{&status, "--json=1", "'--json=1'", "takes no value"},
		{&rules, "eth0 a b", "'b': unexpected", "sluice xdp rules IFACE [FILE]"},
		{&add, "eth0", "a rule is missing", "sluice xdp add IFACE RULE"},
		{&stats, "", "interface is missing", "sluice xdp stats IFACE"},
		{&stats, "eth0 --watch 0", "'0'", "0.1 to 3600"},
		{&stats, "eth0 --watch 3600.1", "'3600.1'", "--watch 0.5"},
		{&stats, "eth0 --watch=", "'--watch='", "0.1 to 3600"},
		{&stats, "eth0 --watch=1s", "'--watch=1s'", "0.1 to 3600"},
		{&stats, "eth0 --watch 1s", "'1s': unexpected", "--watch [SECONDS]"},
		{&stats, "eth0 --watch --all", "--all", "leave it or --watch out"},
		{&check, "", "a file is missing", "sluice xdp check FILE"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct command_args args;
		char error[COMMAND_ERROR_MAX];

		cr_assert_eq(parse(rows[i].command, rows[i].line, &args, error), -EINVAL, "%s",
			     rows[i].line);
		cr_expect(strstr(error, rows[i].names), "%s: %s", rows[i].line, error);
		cr_expect(strstr(error, rows[i].remedy), "%s: %s", rows[i].line, error);
	}
}

Test(xdp_command, errors_are_short)
{
	static char line[900];
	struct command_args args;
	char error[COMMAND_ERROR_MAX];

	memset(line, 'x', sizeof(line) - 1);
	memcpy(line, "eth0 --", 7);
	cr_assert_eq(parse(&attach, line, &args, error), -EINVAL);
	cr_expect_lt(strlen(error), 250);
	memcpy(line, "eth0 xx", 7);
	cr_assert_eq(parse(&attach, line, &args, error), -EINVAL);
	cr_expect_lt(strlen(error), 250);
}

Test(xdp_command, seconds)
{
	static const struct {
		const char *text;
		int r;
		int64_t ns;
	} rows[] = {
		{"1", 0, NS_PER_S},
		{"0.1", 0, NS_PER_S / 10},
		{"0.100000001", 0, NS_PER_S / 10 + 1},
		{"3600", 0, 3600 * NS_PER_S},
		{"3600.000000000", 0, 3600 * NS_PER_S},
		{"007.50", 0, 7500 * NS_PER_MS},
		{"3600.000000001", -ERANGE, 0},
		{"0.099999999", -ERANGE, 0},
		{"0", -ERANGE, 0},
		{"99999999999999999999999999", -ERANGE, 0},
		{"", -EINVAL, 0},
		{".", -EINVAL, 0},
		{".5", -EINVAL, 0},
		{"5.", -EINVAL, 0},
		{"1.2.3", -EINVAL, 0},
		{"0.1000000001", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{"1e1", -EINVAL, 0},
		{"1s", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 ", -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int64_t ns = 42;

		cr_expect_eq(command_parse_seconds(rows[i].text, &ns), rows[i].r, "%s",
			     rows[i].text);
		cr_expect_eq(ns, rows[i].r ? 42 : rows[i].ns, "%s", rows[i].text);
	}
}

Test(xdp_command, nearest_name)
{
	static const char *const names[] = {"attach", "detach", "status", "stats", "check", "del"};
	static const struct {
		const char *word, *nearest;
	} rows[] = {
		{"atach", "attach"},  {"deatch", "detach"}, {"stat", "status"},
		{"statistics", NULL}, {"chekc", "check"},   {"delete", NULL},
		{"dle", "del"},       {"", NULL},           {"x", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *nearest =
			command_nearest(rows[i].word, names, ARRAY_SIZE(names), sizeof(*names));

		if (rows[i].nearest)
			cr_expect_str_eq(nearest ? nearest : "", rows[i].nearest);
		else
			cr_expect_null(nearest, "%s: %s", rows[i].word, nearest);
	}
}

Test(xdp_command, numbers)
{
	static const struct {
		double value;
		const char *rate, *bits;
	} rows[] = {
		{0, "0", "0bit/s"},
		{0.04, "0", "0bit/s"},
		{0.05, "0.1", "0bit/s"},
		{0.5, "0.5", "0bit/s"},
		{9.94, "9.9", "10bit/s"},
		{9.95, "10", "10bit/s"},
		{999.4, "999", "999bit/s"},
		{999.5, "1000", "1.00kbit/s"},
		{1234, "1234", "1.23kbit/s"},
		{9994, "9994", "9.99kbit/s"},
		{9995, "9995", "10.0kbit/s"},
		{99950, "99950", "100kbit/s"},
		{999499, "999499", "999kbit/s"},
		{999500, "999500", "1.00Mbit/s"},
		{5.12e7, "51200000", "51.2Mbit/s"},
		{1e10, "10000000000", "10.0Gbit/s"},
		{4e14, "400000000000000", "400Tbit/s"},
		{4e18, "4000000000000000000", "4000000Tbit/s"},
	};
	char text[COMMAND_NUMBER_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_expect_str_eq(command_format_rate(rows[i].value, text), rows[i].rate);
		cr_expect_str_eq(command_format_bits(rows[i].value, text), rows[i].bits);
	}
	cr_expect_str_eq(command_format_bytes(0, text), "0B");
	cr_expect_str_eq(command_format_bytes(1000, text), "0.98KiB");
	cr_expect_str_eq(command_format_bytes(4 << 20, text), "4.00MiB");
	cr_expect_str_eq(command_format_bytes(UINT64_MAX, text), "16777216TiB");
}

/* A reading of n rules for the ports from first on; rule i matched first_count + i. */
static struct xdp_stats reading(uint32_t n, uint16_t first, uint64_t first_count)
{
	struct xdp_stats s = {.n_rules = n};

	s.rules = calloc(n, sizeof(*s.rules));
	s.by_rule = calloc(n, sizeof(*s.by_rule));
	for (uint32_t i = 0; i < n; i++) {
		s.rules[i].action = RULE_DROP;
		s.rules[i].kind = RULE_MATCH;
		s.rules[i].port = (uint16_t)(first + i);
		s.by_rule[i].packets = first_count + i;
		s.by_rule[i].bytes = 100 * (first_count + i);
	}
	return s;
}

static void forget(struct xdp_stats *s)
{
	free(s->rules);
	free(s->by_rule);
}

Test(xdp_command, rates)
{
	struct xdp_stats before = {0}, now = {0};
	struct command_rates rates;

	before.by_verdict[FILTER_DROP] = (struct filter_count){1000, 60000};
	now.by_verdict[FILTER_DROP] = (struct filter_count){2000, 120000};
	before.by_verdict[FILTER_PASS] = (struct filter_count){70, 700};
	now.by_verdict[FILTER_PASS] = (struct filter_count){50, 500};
	now.by_reason[FILTER_PREFIX][FILTER_DROP] = (struct filter_count){1, 60};
	cr_assert_eq(command_rates(&before, &now, 0.5, &rates), 0);
	cr_expect_eq(rates.by_verdict[FILTER_DROP].packets, 2000);
	cr_expect_eq(rates.by_verdict[FILTER_DROP].bytes, 120000);
	cr_expect_eq(rates.by_verdict[FILTER_PASS].packets, 100, "begun anew");
	cr_expect_eq(rates.by_reason[FILTER_PREFIX][FILTER_DROP].bytes, 120);
	cr_expect_eq(rates.by_reason[FILTER_PREFIX][FILTER_PASS].packets, 0);
	cr_expect_eq(rates.n_top, 0);
}

Test(xdp_command, busiest_rules_are_in_order)
{
	struct xdp_stats before = reading(100, 1, 0), now = reading(100, 1, 0);
	struct command_rates rates;

	for (uint32_t i = 0; i < 100; i++)
		now.by_rule[i].packets += i * 37 % 100;
	cr_assert_eq(command_rates(&before, &now, 1, &rates), 0);
	cr_assert_eq(rates.n_top, COMMAND_TOP_RULES);
	for (uint32_t i = 0; i < rates.n_top; i++) {
		cr_expect_eq(rates.top[i].rate.packets, 99 - i);
		cr_expect_eq(rates.top[i].rule * 37 % 100, 99 - i);
	}
	forget(&before);
	forget(&now);
}

/* The set was replaced: rules 5 to 8 of before are at other places now, and 9 is new. */
Test(xdp_command, rules_keep_their_counts_at_other_places)
{
	struct xdp_stats before = reading(8, 1, 1000), now = reading(5, 5, 1004);
	struct command_rates rates;

	now.by_rule[2].packets += 7;
	now.by_rule[4].packets = 3;
	cr_assert_eq(command_rates(&before, &now, 1, &rates), 0);
	cr_assert_eq(rates.n_top, 2);
	cr_expect_eq(rates.top[0].rule, 2);
	cr_expect_eq(rates.top[0].rate.packets, 7);
	cr_expect_eq(rates.top[1].rule, 4);
	cr_expect_eq(rates.top[1].rate.packets, 3);
	forget(&before);
	forget(&now);
}
