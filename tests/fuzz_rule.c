/* SPDX-License-Identifier: MIT */
/*
 * Fuzzer of rules: the input is a rule file, and its lines are the words of a command line.
 * Whatever they are, there is either one line that says what is wrong, and where, or a set whose
 * rules keep their limits, read back as they were, and can be taken away one by one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util.h"
#include "xdp/rule.h"

enum { WORDS_MAX = 64, DEL_MAX = 64 };

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const struct rule_error *error, size_t lines, size_t size)
{
	CHECK(error->line >= 1 && error->line <= lines);
	CHECK(error->column >= 1 && error->column <= size + 1);
	CHECK(*error->text && memchr(error->text, '\0', sizeof(error->text)));
	for (const char *c = error->text; *c; c++)
		CHECK(*c >= ' ' && *c <= '~');
}

static void check_from(const struct rule *rule)
{
	unsigned bits = rule->family == AF_INET ? 32 : rule->family == AF_INET6 ? 128 : 0;

	CHECK(rule->family == 0 || bits);
	CHECK(rule->prefix_len <= bits);
	for (unsigned i = rule->prefix_len; i < 128; i++)
		CHECK(!(rule->addr[i / 8] & 0x80 >> i % 8));
}

static void check_limit(const struct rule *rule)
{
	unsigned bits4 = rule->by_prefix4, bits6 = rule->by_prefix6;

	CHECK(rule->kind == RULE_MATCH && rule->by <= RULE_BY_TOTAL && rule->bytes <= 1);
	CHECK(rule->rate >= (rule->bytes ? RULE_RATE_BYTES_MIN : 1));
	CHECK(rule->rate <= (rule->bytes ? RULE_RATE_BYTES_MAX : RULE_RATE_MAX));
	CHECK(rule->burst >= (rule->bytes ? 1600 : 1));
	CHECK(rule->burst <= rule->rate * (RULE_BURST_NS_MAX / (uint64_t)NS_PER_S));
	CHECK(bits4 <= 32 && bits6 <= 128);
	CHECK((bits4 != 0) == (rule->by == RULE_BY_PREFIX && rule->family != AF_INET6));
	CHECK((bits6 != 0) == (rule->by == RULE_BY_PREFIX && rule->family != AF_INET));
	if (rule->by == RULE_BY_PREFIX && rule->family)
		CHECK(bits4 + bits6 >= rule->prefix_len);
}

static void check_rule(const struct rule *rule)
{
	static const struct rule zero;
	bool match = rule->family || rule->port;

	check_from(rule);
	CHECK(rule->length_min <= rule->length_max);
	CHECK(rule->length_max == 0 || rule->kind == RULE_LENGTH);
	if (rule->action == RULE_LIMIT) {
		check_limit(rule);
		return;
	}
	CHECK(rule->action <= RULE_DROP);
	CHECK(!memcmp(&rule->by, &zero.by, sizeof(zero) - offsetof(struct rule, by)));
	switch (rule->kind) {
	case RULE_DEFAULT:
	case RULE_FRAGMENTS:
		CHECK(!match);
		break;
	case RULE_MATCH:
		CHECK(match);
		break;
	case RULE_LENGTH:
		CHECK(rule->action == RULE_DROP && !rule->family);
		break;
	default:
		abort();
	}
}

/* Text that is written is read as what it was written from, as a line and as a word. */
static void check_text(const struct rule *rule)
{
	char text[RULE_TEXT_MAX], again[RULE_TEXT_MAX];
	char *words[] = {text};
	struct rule other;
	struct rule_error error;

	check_rule(rule);
	CHECK(rule_format(rule, text) == text && strlen(text) < RULE_TEXT_MAX);
	CHECK(rule_parse_words(words, 1, &other, 1, &error) == 1);
	CHECK(!memcmp(rule, &other, sizeof(other)));
	CHECK(!strcmp(rule_format(&other, again), text));
}

static void check_set(struct rule_set *set)
{
	uint32_t n_limits = 0, other = UINT32_MAX;

	CHECK(set->n >= 1 && set->n <= set->capacity && set->n <= RULE_SET_MAX);
	CHECK(set->rules[0].kind == RULE_DEFAULT);
	for (uint32_t i = 0; i < set->n; i++) {
		struct rule rule = set->rules[i];

		check_text(&rule);
		CHECK(i == 0 || rule.kind != RULE_DEFAULT);
		CHECK(rule_set_add(set, &rule, NULL) == 1);
		n_limits += rule.action == RULE_LIMIT;
		if (rule.action == RULE_LIMIT)
			rule.burst++;
		else if (i > 0 && rule.kind != RULE_LENGTH)
			rule.action = rule.action == RULE_PASS ? RULE_DROP : RULE_PASS;
		else
			continue;
		CHECK(rule_set_add(set, &rule, &other) == -EEXIST && other == i);
		CHECK(rule_set_del(set, &rule) == -ENOENT);
	}
	CHECK(set->n_limits == n_limits && n_limits <= RULE_LIMITS_MAX);
}

/* Takes rules away from the front, the middle and the end; the others stay and keep their order. */
static void check_del(struct rule_set *set)
{
	for (unsigned i = 0; i < DEL_MAX && set->n > 1; i++) {
		uint32_t n = set->n, at = 1 + i * 7 % (n - 1);
		struct rule rule = set->rules[at], next = set->rules[MIN(at + 1, n - 1)];

		CHECK(rule_set_del(set, &rule) == 0 && set->n == n - 1);
		CHECK(at == n - 1 || !memcmp(&set->rules[at], &next, sizeof(next)));
		CHECK(rule_set_del(set, &rule) == -ENOENT);
		for (uint32_t k = 1; n <= DEL_MAX && k < set->n; k++)
			CHECK(rule_set_add(set, &set->rules[k], NULL) == 1);
		if (i % 3 == 0)
			CHECK(rule_set_add(set, &rule, NULL) == 0 && set->n == n);
	}
}

static void check_file(const char *text, size_t size)
{
	struct rule_error error;
	struct rule_set set;
	size_t lines = 1;
	int r;

	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n';
	CHECK(rule_set_init(&set) == 0);
	r = rule_set_parse(&set, text, size, &error);
	CHECK(r == 0 || r == -EINVAL || r == -E2BIG);
	if (r < 0)
		check_error(&error, lines, size);
	check_set(&set);
	check_del(&set);
	check_set(&set);
	rule_set_free(&set);
	CHECK(!set.rules && !set.index);
}

static void check_words(char *rest, size_t size)
{
	char *words[WORDS_MAX], *word;
	struct rule rules[WORDS_MAX];
	struct rule_error error;
	int n = 0, r;

	while (n < WORDS_MAX && (word = strsep(&rest, "\n")))
		words[n++] = word;
	r = rule_parse_words(words, n, rules, WORDS_MAX, &error);
	CHECK(r == -EINVAL || (r >= 0 && r <= n));
	if (r < 0) {
		check_error(&error, (size_t)n, size);
		CHECK(error.column <= strlen(words[error.line - 1]) + 1);
	}
	for (int i = 0; i < r; i++)
		check_text(&rules[i]);
	if (r > 0)
		CHECK(rule_parse_words(words, n, rules, r - 1, &error) == -EINVAL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	/* Without the terminator, and of exactly its size: reading past the end is seen. */
	char *file = malloc(size);

	memcpy(text, data, size);
	text[size] = '\0';
	if (size)
		memcpy(file, data, size);
	check_file(file, size);
	check_words(text, size);
	free(file);
	free(text);
	return 0;
}
