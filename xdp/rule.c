/* SPDX-License-Identifier: MIT */
/*
 * Sets of rules, and the files they come from. A set keeps its rules in the order in which they
 * were added; an index over them, a hash table with open addressing, finds a rule by what it
 * matches and which question it answers. Each rule but the default is in the index once.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/util.h"
#include "xdp/rule_priv.h"

enum {
	CAPACITY_MIN = 64,
	PORTS = 65536,
	READ_MIN = 64 << 10,
};

struct rule_index {
	uint64_t seed;            /* nobody can write rules that all meet in one slot */
	uint32_t *slots;          /* which rule; 0: free. Twice as many as the set has room for */
	uint8_t n_lengths[PORTS]; /* length rules of a port; 0: of all ports */
};

/* What no two rules of a set have in common. No padding: it is hashed. */
struct match {
	uint8_t question, family, prefix_len, unused;
	uint8_t addr[16];
	uint16_t port, length_min, length_max;
};

static struct match match_of(const struct rule *rule)
{
	struct match match = {
		.question = rule->kind,
		.family = rule->family,
		.prefix_len = rule->prefix_len,
		.port = rule->port,
		.length_min = rule->length_min,
		.length_max = rule->length_max,
	};

	if (rule->action == RULE_LIMIT)
		match.question = (uint8_t)(RULE_FRAGMENTS + 1 + rule->by);
	memcpy(match.addr, rule->addr, sizeof(match.addr));
	return match;
}

/* Makes a rule with whatever between its fields one that memcmp can compare. */
static struct rule *rule_copy(struct rule *to, const struct rule *from)
{
	memset(to, 0, sizeof(*to));
	memcpy(to, from, offsetof(struct rule, bytes) + sizeof(from->bytes));
	to->rate = from->rate;
	to->burst = from->burst;
	return to;
}

static bool rule_equal(const struct rule *a, const struct rule *b)
{
	return !memcmp(a, b, offsetof(struct rule, bytes) + sizeof(a->bytes)) &&
	       a->rate == b->rate && a->burst == b->burst;
}

/* The slot of the rule that matches what rule does, or the free one where it belongs. */
static uint32_t *index_find(const struct rule_set *set, const struct rule *rule)
{
	struct match match = match_of(rule);
	uint32_t mask = 2 * set->capacity - 1, *slots = set->index->slots;
	uint32_t i = (uint32_t)XXH3_64bits_withSeed(&match, sizeof(match), set->index->seed);

	for (i &= mask; slots[i]; i = (i + 1) & mask) {
		struct match other = match_of(&set->rules[slots[i]]);

		if (!memcmp(&match, &other, sizeof(match)))
			break;
	}
	return &slots[i];
}

static void index_fill(struct rule_set *set)
{
	memset(set->index->slots, 0, 2 * set->capacity * sizeof(*set->index->slots));
	for (uint32_t i = 1; i < set->n; i++)
		*index_find(set, &set->rules[i]) = i;
}

int rule_set_init(struct rule_set *set)
{
	memset(set, 0, sizeof(*set));
	set->rules = calloc(CAPACITY_MIN, sizeof(*set->rules));
	set->index = calloc(1, sizeof(*set->index));
	if (set->index)
		set->index->slots = calloc(2 * CAPACITY_MIN, sizeof(*set->index->slots));
	if (!set->rules || !set->index || !set->index->slots) {
		rule_set_free(set);
		return -ENOMEM;
	}
	set->capacity = CAPACITY_MIN;
	set->rules[0].action = RULE_PASS;
	set->rules[0].kind = RULE_DEFAULT;
	set->n = 1;
	/* Without randomness, early at boot, zero does. */
	if (getrandom(&set->index->seed, sizeof(set->index->seed), GRND_NONBLOCK) < 0)
		set->index->seed = 0;
	return 0;
}

void rule_set_free(struct rule_set *set)
{
	if (set->index)
		free(set->index->slots);
	free(set->index);
	free(set->rules);
	memset(set, 0, sizeof(*set));
}

static int set_grow(struct rule_set *set)
{
	uint32_t capacity = 2 * set->capacity;
	uint32_t *slots = calloc(2 * (size_t)capacity, sizeof(*slots));
	struct rule *rules = slots ? reallocarray(set->rules, capacity, sizeof(*rules)) : NULL;

	if (!rules) {
		free(slots);
		return -ENOMEM;
	}
	free(set->index->slots);
	set->index->slots = slots;
	set->rules = rules;
	set->capacity = capacity;
	index_fill(set);
	return 0;
}

/* Which limit of rule.h one more rule would pass; NULL: none. */
static const char *set_full(const struct rule_set *set, const struct rule *rule)
{
	if (set->n >= RULE_SET_MAX)
		return "1048576 rules, the default included";
	if (rule->action == RULE_LIMIT && set->n_limits >= RULE_LIMITS_MAX)
		return "1024 limits";
	if (rule->kind == RULE_LENGTH && set->index->n_lengths[rule->port] >= RULE_LENGTHS_MAX)
		return rule->port ? "4 length rules for one port" : "4 length rules for all ports";
	return NULL;
}

static int set_default(struct rule_set *set, const struct rule *rule)
{
	if (set->rules[0].action == rule->action)
		return 1;
	set->rules[0].action = rule->action;
	return 0;
}

int rule_set_add(struct rule_set *set, const struct rule *rule, uint32_t *ret_other)
{
	uint32_t *slot;
	int r;

	if (!set->index) {
		r = rule_set_init(set);
		if (r < 0)
			return r;
	}
	if (rule->kind == RULE_DEFAULT)
		return set_default(set, rule);
	slot = index_find(set, rule);
	if (*slot) {
		if (rule_equal(&set->rules[*slot], rule))
			return 1;
		if (ret_other)
			*ret_other = *slot;
		return -EEXIST;
	}
	if (set_full(set, rule))
		return -E2BIG;
	if (set->n == set->capacity) {
		r = set_grow(set);
		if (r < 0)
			return r;
		slot = index_find(set, rule);
	}
	*slot = set->n;
	rule_copy(&set->rules[set->n++], rule);
	set->n_limits += rule->action == RULE_LIMIT;
	set->index->n_lengths[rule->port] += rule->kind == RULE_LENGTH;
	return 0;
}

int rule_set_del(struct rule_set *set, const struct rule *rule)
{
	uint32_t i;

	if (!set->index)
		return -ENOENT;
	i = rule->kind == RULE_DEFAULT ? 0 : *index_find(set, rule);
	if (!rule_equal(&set->rules[i], rule))
		return -ENOENT;
	if (i == 0) {
		set->rules[0].action = RULE_PASS;
		return 0;
	}
	set->n_limits -= rule->action == RULE_LIMIT;
	set->index->n_lengths[rule->port] -= rule->kind == RULE_LENGTH;
	set->n--;
	memmove(&set->rules[i], &set->rules[i + 1], (set->n - i) * sizeof(*set->rules));
	index_fill(set);
	return 0;
}

/* The lines of a text, without their ends. */
struct lines {
	const char *at, *end, *line;
	size_t len; /* of line */
	unsigned n; /* of line, from 1 */
};

static struct lines lines_of(const char *text, size_t len)
{
	struct lines lines = {.at = text, .end = text + len};

	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
		lines.at += 3; /* the byte order mark that some editors write */
	return lines;
}

static bool lines_next(struct lines *lines)
{
	size_t left = (size_t)(lines->end - lines->at);
	const char *newline;

	if (!left)
		return false;
	newline = memchr(lines->at, '\n', left);
	lines->line = lines->at;
	lines->len = newline ? (size_t)(newline - lines->at) : left;
	lines->at += lines->len + (newline != NULL);
	if (lines->len && lines->line[lines->len - 1] == '\r')
		lines->len--;
	lines->n++;
	return true;
}

/* The number of the line that says the rule; 0: none does. Asked once, when parsing ends. */
static unsigned find_line(struct lines lines, const struct rule *rule)
{
	struct rule_error unused;
	struct rule other;

	while (lines_next(&lines))
		if (rule_parse_line(lines.line, lines.len, lines.n, &other, &unused) == 1 &&
		    rule_equal(&other, rule))
			return lines.n;
	return 0;
}

/* error says where the rule begins; it gets the text. before: the lines before the rule's. */
static int contradicts(struct rule_error *error, struct lines before, const struct rule *other)
{
	char text[RULE_TEXT_MAX], where[32] = "";
	unsigned line = find_line(before, other);

	if (line)
		snprintf(where, sizeof(where), " of line %u", line);
	return rule_fail(error, error->line, error->column,
			 "contradicts '%s'%s: expected one rule for one match",
			 rule_format(other, text), where);
}

/* Adds what a line says. defaults: whether a line before says the default. */
static int parse_line(struct rule_set *set, const struct lines *lines, struct lines before,
		      bool *defaults, struct rule_error *error)
{
	struct rule rule;
	uint32_t other = 0;
	int r;

	if (lines->len > RULE_LINE_MAX) {
		rule_fail(error, lines->n, RULE_LINE_MAX + 1, "expected at most %d bytes in a line",
			  RULE_LINE_MAX);
		return -E2BIG;
	}
	r = rule_parse_line(lines->line, lines->len, lines->n, &rule, error);
	if (r <= 0)
		return r;
	if (rule.kind == RULE_DEFAULT && *defaults && rule.action != set->rules[0].action)
		return contradicts(error, before, &set->rules[0]);
	*defaults |= rule.kind == RULE_DEFAULT;
	r = rule_set_add(set, &rule, &other);
	if (r == -EEXIST)
		return contradicts(error, before, &set->rules[other]);
	if (r == -E2BIG)
		rule_fail(error, error->line, error->column, "expected at most %s",
			  set_full(set, &rule));
	if (r == -ENOMEM)
		rule_fail(error, error->line, error->column,
			  "not enough memory for more than %" PRIu32 " rules", set->n);
	return r < 0 ? r : 0;
}

int rule_set_parse(struct rule_set *set, const char *text, size_t len, struct rule_error *error)
{
	struct lines lines, before;
	bool defaults = false;
	int r = 0;

	if (len > RULE_FILE_MAX) {
		rule_fail(error, 1, 1, "expected at most %d bytes of rules", RULE_FILE_MAX);
		return -E2BIG;
	}
	lines = lines_of(text, len);
	before = lines;
	while (r == 0 && lines_next(&lines)) {
		before.end = lines.line;
		r = parse_line(set, &lines, before, &defaults, error);
	}
	return r;
}

/* Reads all of a file, which may be a pipe. free(3) frees the text. */
static int read_all(int fd, char **ret_text, size_t *ret_len)
{
	size_t len = 0, size = 0;
	char *text = NULL;
	int r;

	for (;;) {
		ssize_t n;

		if (len == size) {
			char *more;

			size = MIN(MAX(2 * size, (size_t)READ_MIN), (size_t)RULE_FILE_MAX + 1);
			more = realloc(text, size);
			if (!more) {
				r = -ENOMEM;
				goto free_text;
			}
			text = more;
		}
		n = read(fd, text + len, size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			r = -errno;
			goto free_text;
		}
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > RULE_FILE_MAX) {
			r = -EFBIG;
			goto free_text;
		}
	}
	*ret_text = text;
	*ret_len = len;
	return 0;
free_text:
	free(text);
	return r;
}

static const char *read_remedy(int r)
{
	switch (r) {
	case -ENOENT:
	case -ENOTDIR:
	case -ENAMETOOLONG:
		return "check the path";
	case -EACCES:
		return "give this user the right to read it";
	case -EISDIR:
		return "name a file with rules";
	case -EFBIG:
		return "rules may have 64 MiB at most";
	case -ENOMEM:
		return "free some memory, or write fewer rules";
	default:
		return "name a file that can be read";
	}
}

/* "-" is no name that a reader of errors knows. Paths may have any byte: one line is left. */
static void name_file(const char *path, char *error, size_t size)
{
	snprintf(error, size, "%s", strcmp(path, "-") ? path : "standard input");
	for (char *c = error; size && *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

int rule_set_read(const char *path, struct rule_set *ret_set, char *error, size_t size)
{
	bool standard = !strcmp(path, "-");
	int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int r = fd < 0 ? -errno : 0;
	struct rule_error why;
	struct rule_set set;
	char *text = NULL;
	size_t len = 0;

	name_file(path, error, size);
	if (r == 0)
		r = read_all(fd, &text, &len);
	if (fd >= 0 && !standard)
		close(fd);
	if (r == 0)
		r = rule_set_init(&set);
	if (r < 0) {
		rule_append(error, size, ": %s; %s", strerror(-r), read_remedy(r));
		free(text);
		return r;
	}
	r = rule_set_parse(&set, text, len, &why);
	free(text);
	if (r < 0) {
		rule_append(error, size, ":%u:%u: %s", why.line, why.column, why.text);
		rule_set_free(&set);
		return r;
	}
	*ret_set = set;
	return 0;
}
