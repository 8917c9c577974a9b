/* SPDX-License-Identifier: MIT */
/* Rules of the filter: what is taken, what is refused, where and why. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "core/util.h"
#include "xdp/rule.h"

#define A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static struct rule rule_of(const char *text)
{
	char *words[] = {(char *)text};
	struct rule_error error = {.text = ""};
	struct rule rule;

	cr_assert_eq(rule_parse_words(words, 1, &rule, 1, &error), 1, "%s: %s", text, error.text);
	return rule;
}

static struct rule_set set_of(const char *text)
{
	struct rule_set set;
	struct rule_error error = {.text = ""};

	cr_assert_eq(rule_set_init(&set), 0);
	cr_assert_eq(rule_set_parse(&set, text, strlen(text), &error), 0, "%s: %s", text,
		     error.text);
	return set;
}

/* Each with its canonical text; NULL: it is that already. */
Test(rule, parse_takes)
{
	static const struct {
		const char *text, *canonical;
	} rows[] = {
		{"default pass", NULL},
		{"default drop", NULL},
		{" \t default\tdrop \t", "default drop"},
		{"default drop# why", "default drop"},
		{"drop from 198.51.100.0/24", NULL},
		{"pass from 198.51.100.7", NULL},
		{"pass from 198.51.100.7/32", "pass from 198.51.100.7"},
		{"drop from 0.0.0.0/0", NULL},
		{"drop from ::/0", NULL},
		{"drop from 128.0.0.0/1", NULL},
		{"drop from 2001:DB8:0::/32", "drop from 2001:db8::/32"},
		{"drop from ::1/128", "drop from ::1"},
		{"drop from ::/80", NULL},
		{"drop from 1:2:3:4:5:6:255.255.255.254/127",
		 "drop from 1:2:3:4:5:6:ffff:fffe/127"},
		{"drop to-port 19", NULL},
		{"drop to-port 0065535", "drop to-port 65535"},
		{"drop to-port 1 from 10.0.0.0/8", "drop from 10.0.0.0/8 to-port 1"},
		{"pass from 2001:db8::/32 to-port 7007", NULL},
		{"drop length 0-7 to-port 7007", NULL},
		{"drop to-port 7007 length 5", "drop length 5-5 to-port 7007"},
		{"drop length 0-65535", NULL},
		{"drop fragments", NULL},
		{"pass fragments", NULL},
		{"limit to-port 7007 rate 1000 burst 200 per source", NULL},
		{"limit to-port 7007 rate 1000 per source",
		 "limit to-port 7007 rate 1000 burst 100 per source"},
		{"limit total rate 9", "limit rate 9 burst 1 total"},
		{"limit per source rate 1", "limit rate 1 burst 1 per source"},
		{"limit rate 1000/s total", "limit rate 1000 burst 100 total"},
		{"limit rate 1000000000 burst 3600000000000 total", NULL},
		{"limit rate 1 burst 3600 total", NULL},
		{"limit rate 1KB/s total", "limit rate 1KB/s burst 65535B total"},
		{"limit rate 1024B total burst 1600B", "limit rate 1KiB/s burst 1600B total"},
		{"limit rate 10MB/s burst 64KiB total", NULL},
		{"limit rate 10MB total", "limit rate 10MB/s burst 1MB total"},
		{"limit rate 1000GB/s burst 3600000GB total", NULL},
		{"limit rate 512KB/s burst 3MiB total", NULL},
		{"limit rate 1000MiB/s burst 2GiB total", NULL},
		{"limit rate 1024KiB/s burst 3GB total", "limit rate 1MiB/s burst 3GB total"},
		{"limit rate 5 per prefix 24", "limit rate 5 burst 1 per prefix 24,64"},
		{"limit rate 5 per prefix 1,128", "limit rate 5 burst 1 per prefix 1,128"},
		{"limit per prefix 24 from 10.0.0.0/24 rate 5",
		 "limit from 10.0.0.0/24 rate 5 burst 1 per prefix 24"},
		{"limit from 0.0.0.0/0 rate 5 burst 1 per prefix 1", NULL},
		{"limit from 2001:db8::/32 to-port 7 rate 5 burst 1 per prefix 128", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *canonical = rows[i].canonical ? rows[i].canonical : rows[i].text;
		struct rule rule = rule_of(rows[i].text), again;
		char text[RULE_TEXT_MAX];

		cr_expect_eq(rule_format(&rule, text), text);
		cr_expect_str_eq(text, canonical);
		again = rule_of(text);
		cr_expect_eq(memcmp(&rule, &again, sizeof(rule)), 0, "%s", text);
	}
}

Test(rule, parse_fills_in_what_the_text_says)
{
	struct rule rule, expect;

	memset(&expect, 0, sizeof(expect));
	expect.action = RULE_LIMIT;
	expect.kind = RULE_MATCH;
	expect.family = AF_INET;
	expect.prefix_len = 20;
	inet_pton(AF_INET, "198.51.96.0", expect.addr);
	expect.port = 7007;
	expect.by = RULE_BY_PREFIX;
	expect.by_prefix4 = 24;
	expect.bytes = 1;
	expect.rate = 2000000;
	expect.burst = 200000;
	rule = rule_of("limit from 198.51.96.0/20 to-port 7007 rate 2MB/s per prefix 24");
	cr_expect_eq(memcmp(&rule, &expect, sizeof(rule)), 0);

	memset(&expect, 0, sizeof(expect));
	expect.action = RULE_DROP;
	expect.kind = RULE_LENGTH;
	expect.length_min = 3;
	expect.length_max = 9;
	rule = rule_of("drop length 3-9");
	cr_expect_eq(memcmp(&rule, &expect, sizeof(rule)), 0);
}

/* Each refused, at a place, with an error that has this in it. */
static const struct {
	const char *text;
	unsigned line, column;
	const char *why;
} refused[] = {
	{"alow from 1.2.3.4", 1, 1, "expected pass, drop, limit or default, not 'alow'"},
	{"dorp from 1.2.3.4", 1, 1, "did you mean drop?"},
	{"\n\n  DROP from 1.2.3.4", 3, 3, "not 'DROP'; did you mean drop?"},
	{"drop", 1, 5,
	 "from, to-port, length or fragments after drop, but the rule ends; for "
	 "what no rule matches write: default drop"},
	{"pass # all", 1, 5, "default pass"},
	{"default", 1, 8, "pass or drop after default, but the rule ends"},
	{"default limit", 1, 9, "pass or drop"},
	{"default passs", 1, 9, "did you mean pass?"},
	{"default pass from 1.2.3.4", 1, 14, "nothing behind default pass, not 'from'"},
	{"default pass default pass", 1, 14, "nothing behind"},
	{"drop to-port", 1, 13, "a port from 1 to 65535 after to-port, but the rule ends"},
	{"drop to-port  \t # 7", 1, 13, "but the rule ends"},
	{"drop to-port 70000", 1, 14, "a port from 1 to 65535 after to-port, not '70000'"},
	{"drop to-port 0", 1, 14, "not '0'"},
	{"drop to-port -1", 1, 14, "not '-1'"},
	{"drop to-port 18446744073709551635", 1, 14, "1 to 65535"},
	{"drop to-port 7,8", 1, 14, "not '7,8'"},
	{"drop to-port http", 1, 14, "not 'http'"},
	{"drop toport 7", 1, 6, "did you mean to-port?"},
	{"drop port 7", 1, 6, "did you mean to-port?"},
	{"drop form 1.2.3.4", 1, 6, "did you mean from?"},
	{"drop quickly", 1, 6, "from, to-port, length or fragments, not 'quickly'"},
	{"drop to-port 7 drop to-port 8", 1, 16,
	 "not 'drop'; a rule has a line or a word of its "
	 "own"},
	{"drop to-port 7 to-port 8", 1, 16, "each clause at most once, not 'to-port' again"},
	{"drop from", 1, 10, "a prefix after from, as in 192.0.2.0/24"},
	{"drop from to-port 7", 1, 11, "a prefix after from"},
	{"drop from 1.2.3", 1, 11, "a prefix after from"},
	{"drop from 1.2.3.04", 1, 11, "a prefix after from"},
	{"drop from 1.2.3.4/", 1, 11, "a prefix length from 0 to 32"},
	{"drop from 1.2.3.4/33", 1, 11, "a prefix length from 0 to 32"},
	{"drop from 1.2.3.4/24/2", 1, 11, "a prefix length from 0 to 32"},
	{"drop from ::/129", 1, 11, "a prefix length from 0 to 128"},
	{"drop from fe80::1%lo", 1, 11, "a prefix after from"},
	{"drop from [::1]", 1, 11, "a prefix after from"},
	{"drop from localhost", 1, 11, "a prefix after from"},
	{"drop from 1111:2222:3333:4444:5555:6666:255.255.255.2555", 1, 11, "after from"},
	{"drop from 198.51.100.7/24", 1, 11, "expected 198.51.100.0/24 (the bits behind"},
	{"drop from 10.0.0.1/0", 1, 11, "expected 0.0.0.0/0"},
	{"drop from 2001:db8:1::/33", 1, 11, "expected 2001:db8::/33"},
	{"drop from ::ffff:192.0.2.1", 1, 11, "the IPv4 prefix 192.0.2.1,"},
	{"drop from ::ffff:192.0.2.1/120", 1, 11, "the IPv4 prefix 192.0.2.0/24,"},
	{"drop from ::ffff:0:0/96", 1, 11, "the IPv4 prefix 0.0.0.0/0,"},
	{"drop from ::ffff:10.0.0.0/8", 1, 11, "the IPv4 prefix 10.0.0.0/8,"},
	{"pass length 0-7", 1, 6,
	 "from, to-port or fragments after pass, not 'length', which "
	 "goes with drop"},
	{"limit length 0-7", 1, 7, "which goes with drop"},
	{"drop to-port 7 rate 5", 1, 16, "not 'rate', which goes with limit"},
	{"drop total", 1, 6, "which goes with limit"},
	{"limit fragments", 1, 7, "which goes with pass and drop"},
	{"drop length 7-0", 1, 13, "smaller number first"},
	{"drop length 0-65536", 1, 13, "0 to 65535"},
	{"drop length 0-", 1, 13, "as in 0-7, not '0-'"},
	{"drop length", 1, 12, "as in 0-7, but the rule ends"},
	{"drop length 0-7-8", 1, 13, "as in 0-7"},
	{"drop length 0-7 from 1.2.3.4", 1, 17, "only to-port with length, not 'from'"},
	{"drop fragments to-port 7", 1, 16, "nothing else with fragments, not 'to-port'"},
	{"drop to-port 7 fragments", 1, 6, "nothing else with fragments, not 'to-port'"},
	{"drop fragments yes", 1, 16, "not 'yes'"},
	{"limit", 1, 6, "rate in a limit"},
	{"limit total", 1, 12, "rate in a limit"},
	{"limit rate", 1, 11, "datagrams/s after rate"},
	{"limit rate 5", 1, 13, "per source, per prefix (as in per prefix 24) or total"},
	{"limit rate 0 total", 1, 12, "1 to 1000000000 datagrams/s"},
	{"limit rate 1000000001 total", 1, 12, "1 to 1000000000 datagrams/s"},
	{"limit rate 99999999999999999999999 total", 1, 12, "1 to 1000000000 datagrams/s"},
	{"limit rate 999B total", 1, 12, "from 1000B/s to 1000GB/s"},
	{"limit rate 1001GB total", 1, 12, "from 1000B/s to 1000GB/s"},
	{"limit rate 18446744073709551615GiB total", 1, 12, "from 1000B/s to 1000GB/s"},
	{"limit rate 10kb total", 1, 12, "(B, KB, MB, GB, KiB, MiB, GiB)"},
	{"limit rate 10MB/m total", 1, 12, "with a unit"},
	{"limit rate 1.5MB total", 1, 12, "with a unit"},
	{"limit rate MB total", 1, 12, "with a unit"},
	{"limit rate 10 MB total", 1, 15, "not 'MB'"},
	{"limit rate 5 burst 0 total", 1, 20, "a burst from 1 to 18000 datagrams"},
	{"limit burst 18001 rate 5 total", 1, 13, "a burst from 1 to 18000 datagrams"},
	{"limit rate 5 burst 5KB total", 1, 20, "in datagrams, without a unit"},
	{"limit rate 5KB burst 5000 total", 1, 22, "in bytes with a unit"},
	{"limit rate 5KB burst 1599B total", 1, 22, "a burst from 1600 to 18000000 bytes"},
	{"limit rate 5KB burst 5KB/s total", 1, 22, "bytes with a unit"},
	{"limit rate 5 per", 1, 17, "source or prefix after per, but the rule ends"},
	{"limit rate 5 per total", 1, 18, "source or prefix after per"},
	{"limit rate 5 per sorce", 1, 18, "did you mean source?"},
	{"limit rate 5 per source total", 1, 25,
	 "one of per source, per prefix and total in a "
	 "limit, not 'total' again"},
	{"limit rate 5 total per prefix 24", 1, 20, "one of per source"},
	{"limit rate 5 per prefix", 1, 24, "a prefix length after per prefix"},
	{"limit rate 5 per prefix 24,", 1, 25, "a prefix length after per prefix"},
	{"limit rate 5 per prefix 33", 1, 25, "1 to 32 for IPv4"},
	{"limit rate 5 per prefix 0,64", 1, 25, "1 to 32 for IPv4"},
	{"limit rate 5 per prefix 24,129", 1, 25, "1 to 128 for IPv6"},
	{"limit rate 5 per prefix 24,56 from 10.0.0.0/8", 1, 25, "one prefix length"},
	{"limit rate 5 per prefix 7 from 10.0.0.0/8", 1, 25, "from 8 to 32"},
	{"limit rate 5 per prefix 33 from 10.0.0.0/8", 1, 25, "from 8 to 32"},
	{"limit rate 5 per prefix 31 from 2001:db8::/32", 1, 25, "from 32 to 128"},
	{"drop " A50, 1, 6, "not 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...'"},
	{"drop h\xc3\xb6\x01\x7f", 1, 6, "not 'h???\?'"},
	{"drop to-port 7\rx", 1, 14, "not '7?x'"},
	{"default pass\ndefault pass\ndefault drop", 3, 1, "contradicts 'default pass' of line 1"},
	{"#\npass to-port 7\n\n\tdrop to-port 7", 4, 2, "contradicts 'pass to-port 7' of line 2"},
	{"\xef\xbb\xbfpass to-port 7\r\ndrop to-port 7", 2, 1, "of line 1"},
	{"\xef\xbb\xbf drip", 1, 2, "did you mean drop?"},
	{"drop to-port 7\n\xef\xbb\xbf"
	 "drop to-port 8",
	 2, 1, "not '???drop'"},
	{"drop fragments\npass fragments", 2, 1, "contradicts 'drop fragments' of line 1"},
	{"limit rate 5 total\nlimit rate 6 total", 2, 1, "'limit rate 5 burst 1 total' of line 1"},
	{"limit rate 50 per prefix 24\nlimit rate 50 per prefix 25", 2, 1, "contradicts"},
};

Test(rule, parse_refuses)
{
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		const char *text = refused[i].text;
		struct rule_set set;
		struct rule_error error = {.text = ""};

		cr_assert_eq(rule_set_init(&set), 0);
		cr_assert_eq(rule_set_parse(&set, text, strlen(text), &error), -EINVAL, "%s", text);
		cr_expect_eq(error.line, refused[i].line, "%s: line %u", text, error.line);
		cr_expect_eq(error.column, refused[i].column, "%s: column %u", text, error.column);
		cr_expect(strstr(error.text, refused[i].why), "%s: %s", text, error.text);
		for (const char *c = error.text; *c; c++)
			cr_expect(*c >= ' ' && *c <= '~', "%s", error.text);
		rule_set_free(&set);
	}
}

Test(rule, parse_takes_any_bytes_and_line_ends)
{
	static const char zero[] = "drop to-port 7\0";
	static const struct {
		const char *text;
		uint32_t n;
	} rows[] = {
		{"", 1},
		{"\n", 1},
		{"\xef\xbb\xbf", 1},
		{"\r\n\r\n", 1},
		{"# only \x01\xff a comment", 1},
		{"drop to-port 7", 2},
		{"drop to-port 7\r", 2},
		{"\xef\xbb\xbf"
		 "drop to-port 7\r\ndrop to-port 8\r\n",
		 3},
		{"drop to-port 7\ndrop to-port 7\n", 2},
		{"\tdrop\tto-port\t7\t#\n\n   \ndrop to-port 8#8", 3},
	};
	struct rule_error error;
	struct rule_set set;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		set = set_of(rows[i].text);
		cr_expect_eq(set.n, rows[i].n, "%s", rows[i].text);
		rule_set_free(&set);
	}
	set = set_of("");
	cr_expect_eq(rule_set_parse(&set, zero, sizeof(zero), &error), -EINVAL);
	cr_expect(strstr(error.text, "not '7?\?'"), "%s", error.text);
	cr_expect_eq(rule_set_parse(&set,
				    "pass from 1.2.3.4\0"
				    "5",
				    19, &error),
		     -EINVAL);
	cr_expect(strstr(error.text, "not '1.2.3.4?5'"), "%s", error.text);
	cr_expect_eq(set.n, 1);
	rule_set_free(&set);
}

Test(rule, parse_keeps_the_rules_before_an_error)
{
	static const char text[] = "drop to-port 1\ndefault drop\nwhat\ndrop to-port 2\n";
	struct rule_error error;
	struct rule_set set = set_of("");

	cr_expect_eq(rule_set_parse(&set, text, strlen(text), &error), -EINVAL);
	cr_expect_eq(error.line, 3);
	cr_expect_eq(set.n, 2);
	cr_expect_eq(set.rules[0].action, RULE_DROP);
	/* What a text before said is replaced, or contradicts without a line of this text. */
	cr_expect_eq(rule_set_parse(&set, "default pass", 12, &error), 0);
	cr_expect_eq(set.rules[0].action, RULE_PASS);
	cr_expect_eq(rule_set_parse(&set, "pass to-port 1", 14, &error), -EINVAL);
	cr_expect(strstr(error.text, "contradicts 'drop to-port 1':"), "%s", error.text);
	rule_set_free(&set);
}

Test(rule, parse_limits_the_bytes_of_a_line)
{
	char text[RULE_LINE_MAX + 3];
	struct rule_error error;
	struct rule_set set = set_of("");

	memset(text, '#', sizeof(text));
	memcpy(text + RULE_LINE_MAX, "\r\n", 2);
	cr_expect_eq(rule_set_parse(&set, text, RULE_LINE_MAX + 2, &error), 0);
	memset(text, ' ', sizeof(text));
	cr_expect_eq(rule_set_parse(&set, text, RULE_LINE_MAX + 1, &error), -E2BIG);
	cr_expect_eq(error.line, 1);
	cr_expect_eq(error.column, RULE_LINE_MAX + 1);
	cr_expect(strstr(error.text, "at most 1024 bytes in a line"), "%s", error.text);
	rule_set_free(&set);
}

Test(rule, words_of_a_command_line)
{
	char *words[] = {"drop to-port 19", "pass",         "from",       "192.0.2.1",
			 "default",         "drop",         "",           "limit rate 5",
			 "total # all",     "drop to-port", "20 length 5"};
	static const char *const texts[] = {
		"drop to-port 19",
		"pass from 192.0.2.1",
		"default drop",
		"limit rate 5 burst 1 total",
		"drop length 5-5 to-port 20",
	};
	struct rule rules[8];
	struct rule_error error;
	char text[RULE_TEXT_MAX];

	cr_assert_eq(rule_parse_words(words, ARRAY_SIZE(words), rules, 8, &error), 5);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		cr_expect_str_eq(rule_format(&rules[i], text), texts[i]);
	cr_expect_eq(rule_parse_words(words, 0, rules, 8, &error), 0);
	cr_expect_eq(rule_parse_words(words + 6, 1, rules, 0, &error), 0);
	cr_expect_eq(rule_parse_words(words, ARRAY_SIZE(words), rules, 2, &error), -EINVAL);
	cr_expect_eq(error.line, 5);
	cr_expect_eq(error.column, 1);
	cr_expect(strstr(error.text, "at most 2 rules"), "%s", error.text);
}

Test(rule, words_refused)
{
	static const struct {
		char *words[3];
		unsigned line, column;
		const char *why;
	} rows[] = {
		{{"drop", "to-port", "x"}, 3, 1, "not 'x'"},
		{{"drop to-port", "pass from ::1", ""}, 2, 1, "a port from 1 to 65535"},
		{{"drop to-port 7", "drop", "pass from ::1"},
		 3,
		 1,
		 "fragments after drop, not 'pass'"},
		{{"drop to-port 7", "", "  drop"}, 3, 7, "fragments after drop, but the rule ends"},
		{{"drop to-port 7", "8", ""}, 2, 1, "not '8'"},
		{{"drop to-port 7 pass from ::1", "", ""}, 1, 16, "a word of its own"},
		{{"drop to-port 7", "drop from 1.2.3.4\n", ""}, 2, 11, "not '1.2.3.4?'"},
		{{"19", "", ""}, 1, 1, "pass, drop, limit or default"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rule rules[3];
		struct rule_error error = {.text = ""};

		cr_assert_eq(rule_parse_words(rows[i].words, 3, rules, 3, &error), -EINVAL, "%zu",
			     i);
		cr_expect_eq(error.line, rows[i].line, "%zu: line %u", i, error.line);
		cr_expect_eq(error.column, rows[i].column, "%zu: column %u", i, error.column);
		cr_expect(strstr(error.text, rows[i].why), "%zu: %s", i, error.text);
	}
}
