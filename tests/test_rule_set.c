/* SPDX-License-Identifier: MIT */
/* Sets of rules: what they hold, their limits, and the files they are read from. */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/util.h"
#include "xdp/rule.h"

static struct rule rule_of(const char *text)
{
	char *words[] = {(char *)text};
	struct rule_error error = {.text = ""};
	struct rule rule;

	cr_assert_eq(rule_parse_words(words, 1, &rule, 1, &error), 1, "%s: %s", text, error.text);
	return rule;
}

static int add(struct rule_set *set, const char *text, uint32_t *ret_other)
{
	struct rule rule = rule_of(text);

	return rule_set_add(set, &rule, ret_other);
}

static int del(struct rule_set *set, const char *text)
{
	struct rule rule = rule_of(text);

	return rule_set_del(set, &rule);
}

static void expect_rules(const struct rule_set *set, const char *const texts[], uint32_t n)
{
	char text[RULE_TEXT_MAX];

	cr_assert_eq(set->n, n);
	for (uint32_t i = 0; i < n; i++)
		cr_expect_str_eq(rule_format(&set->rules[i], text), texts[i]);
}

Test(rule_set, default_is_replaced_and_taken_back)
{
	struct rule_set set;

	cr_assert_eq(rule_set_init(&set), 0);
	cr_expect_eq(add(&set, "default pass", NULL), 1);
	cr_expect_eq(add(&set, "default drop", NULL), 0);
	cr_expect_eq(add(&set, "default drop", NULL), 1);
	cr_expect_eq(set.rules[0].action, RULE_DROP);
	cr_expect_eq(del(&set, "default pass"), -ENOENT);
	cr_expect_eq(del(&set, "default drop"), 0);
	cr_expect_eq(set.rules[0].action, RULE_PASS);
	cr_expect_eq(del(&set, "default drop"), -ENOENT);
	cr_expect_eq(del(&set, "default pass"), 0);
	cr_expect_eq(set.n, 1);
	rule_set_free(&set);
}

Test(rule_set, zeroed_is_empty)
{
	struct rule_set set;

	memset(&set, 0, sizeof(set));
	rule_set_free(&set);
	cr_expect_eq(del(&set, "drop to-port 7"), -ENOENT);
	cr_expect_eq(del(&set, "default pass"), -ENOENT);
	cr_expect_eq(add(&set, "drop to-port 7", NULL), 0);
	cr_expect_eq(set.n, 2);
	cr_expect_eq(set.rules[0].kind, RULE_DEFAULT);
	rule_set_free(&set);
	rule_set_free(&set);
}

/* What is added after "first": 0 beside it, 1 the same, -EEXIST it contradicts. */
Test(rule_set, same_match)
{
	static const struct {
		const char *first, *second;
		int r;
	} rows[] = {
		{"drop to-port 7", "drop to-port 7", 1},
		{"drop to-port 7", "pass to-port 7", -EEXIST},
		{"drop to-port 7", "pass to-port 8", 0},
		{"drop to-port 7", "pass from 0.0.0.0/0 to-port 7", 0},
		{"drop from 0.0.0.0/0", "pass from ::/0", 0},
		{"drop from 10.0.0.0/8", "pass from 10.0.0.0/9", 0},
		{"drop from 10.0.0.0/8", "pass from 10.0.0.0/8", -EEXIST},
		{"drop from 10.0.0.0/8", "pass from 10.0.0.0/8 to-port 1", 0},
		{"drop fragments", "pass fragments", -EEXIST},
		{"drop fragments", "drop fragments", 1},
		{"drop length 0-7", "drop length 7-0007", 0},
		{"drop length 0-7", "drop length 0-7", 1},
		{"drop length 0-7", "drop length 0-7 to-port 7", 0},
		{"drop length 0 to-port 7", "drop to-port 7", 0},
		{"drop to-port 7", "limit to-port 7 rate 5 total", 0},
		{"limit rate 5 total", "limit rate 5 per source", 0},
		{"limit rate 5 total", "limit rate 5 per prefix 24", 0},
		{"limit rate 5 total", "limit rate 6 total", -EEXIST},
		{"limit rate 5 total", "limit rate 5 burst 2 total", -EEXIST},
		{"limit rate 5000 burst 5000 total", "limit rate 5000B burst 5000B total", -EEXIST},
		{"limit rate 5 per prefix 24", "limit rate 5 per prefix 24,48", -EEXIST},
		{"limit rate 5 total", "limit to-port 7 rate 6 total", 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rule_set set;
		uint32_t other = 42;

		cr_assert_eq(rule_set_init(&set), 0);
		cr_expect_eq(add(&set, rows[i].first, NULL), 0);
		cr_expect_eq(add(&set, rows[i].second, &other), rows[i].r, "%s", rows[i].second);
		cr_expect_eq(other, rows[i].r == -EEXIST ? 1 : 42, "%s", rows[i].second);
		cr_expect_eq(add(&set, rows[i].second, NULL), rows[i].r < 0 ? rows[i].r : 1);
		cr_expect_eq(set.n, rows[i].r ? 2 : 3);
		rule_set_free(&set);
	}
}

Test(rule_set, del_keeps_the_order)
{
	static const char *const texts[] = {
		"default pass",    "drop to-port 1", "limit rate 5 burst 1 total",
		"drop length 0-7", "drop fragments",
	};
	static const char *const left[] = {"default pass", "drop to-port 1", "drop fragments"};
	struct rule_set set;

	cr_assert_eq(rule_set_init(&set), 0);
	for (size_t i = 1; i < ARRAY_SIZE(texts); i++)
		cr_expect_eq(add(&set, texts[i], NULL), 0);
	expect_rules(&set, texts, ARRAY_SIZE(texts));
	cr_expect_eq(set.n_limits, 1);
	cr_expect_eq(del(&set, "pass to-port 1"), -ENOENT);
	cr_expect_eq(del(&set, "limit rate 6 total"), -ENOENT);
	cr_expect_eq(del(&set, "drop length 0-6"), -ENOENT);
	cr_expect_eq(del(&set, texts[2]), 0);
	cr_expect_eq(rule_set_del(&set, &set.rules[2]), 0, "a rule of the set itself");
	cr_expect_eq(set.n_limits, 0);
	expect_rules(&set, left, ARRAY_SIZE(left));
	cr_expect_eq(del(&set, texts[2]), -ENOENT);
	cr_expect_eq(add(&set, texts[4], NULL), 1);
	rule_set_free(&set);
}

/* A rule that was made field by field may have anything between the fields. */
Test(rule_set, rules_are_kept_without_padding)
{
	struct rule clean = rule_of("limit to-port 7 rate 5 total"), dirty;
	struct rule_set set;

	memset(&dirty, 0x5a, sizeof(dirty));
	memcpy(&dirty, &clean, offsetof(struct rule, bytes) + sizeof(clean.bytes));
	dirty.rate = clean.rate;
	dirty.burst = clean.burst;
	cr_assert_eq(rule_set_init(&set), 0);
	cr_expect_eq(rule_set_add(&set, &dirty, NULL), 0);
	cr_expect_eq(memcmp(&set.rules[1], &clean, sizeof(clean)), 0);
	cr_expect_eq(rule_set_add(&set, &clean, NULL), 1);
	cr_expect_eq(rule_set_del(&set, &dirty), 0);
	rule_set_free(&set);
}

Test(rule_set, limits_of_counts)
{
	struct rule limit = rule_of("limit to-port 1 rate 5 total");
	struct rule length = rule_of("drop length 0");
	struct rule_set set;

	cr_assert_eq(rule_set_init(&set), 0);
	for (unsigned i = 1; i <= RULE_LIMITS_MAX; i++) {
		limit.port = (uint16_t)i;
		cr_assert_eq(rule_set_add(&set, &limit, NULL), 0);
	}
	cr_expect_eq(rule_set_add(&set, &limit, NULL), 1);
	limit.port++;
	cr_expect_eq(rule_set_add(&set, &limit, NULL), -E2BIG);
	for (unsigned port = 0; port < 2; port++) {
		length.port = (uint16_t)port;
		for (unsigned i = 0; i < RULE_LENGTHS_MAX; i++) {
			length.length_max = (uint16_t)i;
			cr_assert_eq(rule_set_add(&set, &length, NULL), 0);
		}
		cr_expect_eq(rule_set_add(&set, &length, NULL), 1);
		length.length_max++;
		cr_expect_eq(rule_set_add(&set, &length, NULL), -E2BIG);
	}
	cr_expect_eq(set.n, 1 + RULE_LIMITS_MAX + 2 * RULE_LENGTHS_MAX);
	/* There is room again for what was taken away. */
	length.length_max = 0;
	cr_expect_eq(rule_set_del(&set, &length), 0);
	length.length_max = 100;
	cr_expect_eq(rule_set_add(&set, &length, NULL), 0);
	cr_expect_eq(del(&set, "limit to-port 9 rate 5 total"), 0);
	cr_expect_eq(rule_set_add(&set, &limit, NULL), 0);
	rule_set_free(&set);
}

Test(rule_set, a_full_set_says_so)
{
	struct rule rule = rule_of("drop from 10.0.0.1");
	struct rule_error error;
	struct rule_set set;

	cr_assert_eq(rule_set_init(&set), 0);
	for (uint32_t i = 1; i < RULE_SET_MAX; i++) {
		memcpy(rule.addr, &i, sizeof(i));
		cr_assert_eq(rule_set_add(&set, &rule, NULL), 0);
	}
	cr_expect_eq(rule_set_add(&set, &rule, NULL), 1);
	cr_expect_eq(add(&set, "drop to-port 7", NULL), -E2BIG);
	cr_expect_eq(rule_set_parse(&set, "\n drop to-port 7", 16, &error), -E2BIG);
	cr_expect_eq(error.line, 2);
	cr_expect_eq(error.column, 2);
	cr_expect(strstr(error.text, "at most 1048576 rules"), "%s", error.text);
	cr_expect_eq(add(&set, "default drop", NULL), 0);
	rule_set_free(&set);
}

Test(rule_set, parses_100000_prefixes)
{
	enum { N = 100000 };
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	struct rule_error error = {.text = ""};
	struct rule_set set;

	for (unsigned i = 0; i < N; i++)
		fprintf(f, "%s from 10.%u.%u.%u%s\n", i % 3 ? "drop" : "pass", i >> 16,
			i >> 8 & 255, i & 255, i % 2 ? "" : " to-port 7007");
	fclose(f);
	cr_assert_eq(rule_set_init(&set), 0);
	cr_assert_eq(rule_set_parse(&set, text, size, &error), 0, "%u: %s", error.line, error.text);
	cr_expect_eq(set.n, N + 1);
	cr_assert_eq(rule_set_parse(&set, text, size, &error), 0, "all the same again");
	cr_expect_eq(set.n, N + 1);
	for (uint32_t i = 1; i < set.n; i += 97) {
		struct rule rule = set.rules[i];
		uint32_t other = 0;

		rule.action = rule.action == RULE_PASS ? RULE_DROP : RULE_PASS;
		cr_assert_eq(rule_set_add(&set, &rule, &other), -EEXIST);
		cr_assert_eq(other, i);
	}
	rule_set_free(&set);
	free(text);
}

/* A rule such as a text could have said. */
static struct rule random_rule(unsigned *seed)
{
	struct rule rule;
	unsigned bits;

	memset(&rule, 0, sizeof(rule));
	rule.kind = RULE_MATCH;
	rule.action = (uint8_t)(rand_r(seed) % 3);
	rule.port = (uint16_t)rand_r(seed);
	if (!rule.port || rand_r(seed) % 3) {
		rule.family = rand_r(seed) % 2 ? AF_INET : AF_INET6;
		bits = rule.family == AF_INET ? 32 : 128;
		rule.prefix_len = (uint8_t)(1 + (unsigned)rand_r(seed) % bits);
		/* One bit at least, the first, keeps IPv4 in IPv6 away. */
		for (unsigned i = 0; i < rule.prefix_len; i++)
			rule.addr[i / 8] |= (uint8_t)((!i || rand_r(seed) % 2) << (7 - i % 8));
	}
	if (rule.action != RULE_LIMIT)
		return rule;
	rule.by = (uint8_t)(rand_r(seed) % 3);
	rule.bytes = (uint8_t)(rand_r(seed) % 2);
	rule.rate = 1500 + (uint64_t)rand_r(seed) % 1000 * (rand_r(seed) % 2 ? 1024 : 1000);
	rule.burst = 1600 + (uint64_t)rand_r(seed) % 1000 * (rand_r(seed) % 2 ? 1 << 10 : 1000);
	if (rule.by == RULE_BY_PREFIX && rule.family != AF_INET6)
		rule.by_prefix4 = rule.family ? 32 : 24;
	if (rule.by == RULE_BY_PREFIX && rule.family != AF_INET)
		rule.by_prefix6 = rule.family ? 128 : 48;
	return rule;
}

Test(rule_set, random_rules_are_read_as_they_were_written)
{
	unsigned seed = 7;

	for (int i = 0; i < 20000; i++) {
		struct rule rule = random_rule(&seed), again;
		char text[RULE_TEXT_MAX];

		again = rule_of(rule_format(&rule, text));
		cr_assert_eq(memcmp(&rule, &again, sizeof(rule)), 0, "%s", text);
	}
}

/* A file below a folder of its own, which the test removes. */
static char folder[] = "/tmp/sluice-rule-XXXXXX", path[64];

static void make_folder(void)
{
	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/rules", folder);
}

static void remove_folder(void)
{
	unlink(path);
	rmdir(folder);
}

static void write_file(const char *text, off_t size)
{
	FILE *f = fopen(path, "w");

	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
	if (size)
		cr_assert_eq(truncate(path, size), 0);
}

/* Nothing but an error that begins with the path and says why. */
static void expect_unread(const char *name, int r, const char *why)
{
	char error[RULE_ERROR_MAX + PATH_MAX] = "";
	struct rule_set set, before;

	memset(&before, 0x5a, sizeof(before));
	memcpy(&set, &before, sizeof(set));
	cr_expect_eq(rule_set_read(name, &set, error, sizeof(error)), r, "%s", error);
	cr_expect_eq(strncmp(error, name, strlen(name)), 0, "%s", error);
	cr_expect(strstr(error, why), "%s: %s", why, error);
	cr_expect_eq(memcmp(&set, &before, sizeof(set)), 0);
}

Test(rule_set, files, .init = make_folder, .fini = remove_folder)
{
	static const char *const texts[] = {"default drop", "pass to-port 7"};
	char error[RULE_ERROR_MAX + PATH_MAX] = "";
	struct rule_set set;

	write_file("default drop\r\npass to-port 7", 0);
	cr_assert_eq(rule_set_read(path, &set, error, sizeof(error)), 0, "%s", error);
	expect_rules(&set, texts, ARRAY_SIZE(texts));
	rule_set_free(&set);
	write_file("", 0);
	cr_assert_eq(rule_set_read(path, &set, error, sizeof(error)), 0, "%s", error);
	cr_expect_eq(set.n, 1);
	rule_set_free(&set);
	write_file("\n#\ndrop to-prt 7\n", 0);
	expect_unread(path, -EINVAL, "/rules:3:6: expected ");
	write_file("", RULE_FILE_MAX + 1);
	expect_unread(path, -EFBIG, ": File too large; rules may have 64 MiB at most");
	expect_unread(folder, -EISDIR, "; name a file with rules");
	unlink(path);
	expect_unread(path, -ENOENT, "; check the path");
	write_file("", 0);
	chmod(path, 0);
	if (geteuid() != 0)
		expect_unread(path, -EACCES, "; give this user the right");
}

Test(rule_set, file_names_are_one_line)
{
	char error[RULE_ERROR_MAX + PATH_MAX] = "";
	struct rule_set set;

	cr_expect_eq(rule_set_read("/nowhere/a\nb\x7f", &set, error, sizeof(error)), -ENOENT);
	cr_expect_eq(strncmp(error, "/nowhere/a?b?: ", 15), 0, "%s", error);
	error[9] = 'x';
	cr_expect_eq(rule_set_read("/nowhere", &set, error, 10), -ENOENT);
	cr_expect_str_eq(error, "/nowhere:", "cut to its size");
}

Test(rule_set, standard_input)
{
	char error[RULE_ERROR_MAX + PATH_MAX] = "";
	struct rule_set set;
	int fds[2];

	for (int i = 0; i < 2; i++) {
		const char *text = i ? "drop\n" : "drop to-port 7\n";

		cr_assert_eq(pipe(fds), 0);
		cr_assert_eq(write(fds[1], text, strlen(text)), (ssize_t)strlen(text));
		close(fds[1]);
		cr_assert_eq(dup2(fds[0], STDIN_FILENO), STDIN_FILENO);
		close(fds[0]);
		cr_expect_eq(rule_set_read("-", &set, error, sizeof(error)), i ? -EINVAL : 0, "%s",
			     error);
	}
	cr_expect_eq(set.n, 2);
	cr_expect_eq(strncmp(error, "standard input:1:5: expected ", 29), 0, "%s", error);
	rule_set_free(&set);
}
