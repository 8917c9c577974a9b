/* SPDX-License-Identifier: MIT */
/*
 * Rules: text to struct and back. No state. A rule is read word by word, left to right: what is
 * wrong with one word is told at once, what is wrong with their combination when all are known.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <string.h>

#include "core/util.h"
#include "xdp/rule_priv.h"

enum {
	DEFAULT_PREFIX6 = 64,
	BURST_BYTES_MIN = 1600, /* a full Ethernet frame with tags has to fit */
	BURST_BYTES_DEFAULT_MIN = 65535,
};

enum clause { FROM, TO_PORT, LENGTH, FRAGMENTS, RATE, BURST, PER, TOTAL, CLAUSES };

static const char *const clause_names[CLAUSES] = {
	"from", "to-port", "length", "fragments", "rate", "burst", "per", "total",
};

/* The actions of enum rule_action, and default. */
enum { ACTION_DEFAULT = RULE_LIMIT + 1, ACTIONS };

static const char *const action_names[ACTIONS] = {"pass", "drop", "limit", "default"};

static const struct {
	unsigned allowed;
	const char *text;
} action_clauses[] = {
	[RULE_PASS] = {1 << FROM | 1 << TO_PORT | 1 << FRAGMENTS, "from, to-port or fragments"},
	[RULE_DROP] = {1 << FROM | 1 << TO_PORT | 1 << LENGTH | 1 << FRAGMENTS,
		       "from, to-port, length or fragments"},
	[RULE_LIMIT] = {1 << FROM | 1 << TO_PORT | 1 << RATE | 1 << BURST | 1 << PER | 1 << TOTAL,
			"from, to-port, rate, burst, per or total"},
};

/* A rule being read. */
struct parser {
	struct rule_cursor cursor;
	struct rule_word clause[CLAUSES]; /* where each stands; `total` in the place of `per` */
	struct rule_word value[CLAUSES];
	uint64_t per4, per6;
	bool has_per6;
	uint8_t burst_bytes;
	struct rule rule;
	struct rule_error *error;
};

static int expected(struct parser *p, const char *what)
{
	return rule_expected(p->error, &p->cursor.word, "%s", what);
}

static int unknown(struct parser *p, const char *const *names, int n, const char *what)
{
	return rule_unknown(p->error, &p->cursor.word, names, n, what);
}

static void clear_host_bits(uint8_t addr[16], unsigned len)
{
	for (unsigned i = 0; i < 16; i++)
		addr[i] &= (uint8_t)(len <= 8 * i ? 0 : 0xff00 >> MIN(len - 8 * i, 8));
}

/* Writes a prefix; a whole address without its length. */
static void append_prefix(char *out, size_t size, int family, const uint8_t *addr, unsigned len)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(family, addr, text, sizeof(text));
	rule_append(out, size, "%s", text);
	if (len < (family == AF_INET ? 32u : 128u))
		rule_append(out, size, "/%u", len);
}

/* Refuses host bits, and IPv4 in the clothes of IPv6: no packet has such addresses. */
static int check_prefix(struct parser *p, int family, uint8_t addr[16], unsigned len)
{
	char text[INET6_ADDRSTRLEN + 4] = "";
	struct in6_addr v6;
	uint8_t net[16];

	memcpy(&v6, addr, sizeof(v6));
	if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6)) {
		memcpy(net, addr + 12, 4);
		memset(net + 4, 0, 12);
		len = len >= 96 ? len - 96 : MIN(len, 32);
		clear_host_bits(net, len);
		append_prefix(text, sizeof(text), AF_INET, net, len);
		return rule_expected(p->error, &p->cursor.word, "the IPv4 prefix %s", text);
	}
	memcpy(net, addr, 16);
	clear_host_bits(net, len);
	if (!memcmp(net, addr, 16))
		return 0;
	append_prefix(text, sizeof(text), family, net, len);
	return rule_expected(p->error, &p->cursor.word,
			     "%s (the bits behind the first %u are zero)", text, len);
}

static int parse_from(struct parser *p)
{
	static const char form[] = "a prefix after from, as in 192.0.2.0/24 or 2001:db8::/32";
	const struct rule_word *word = &p->cursor.word;
	const char *end = word->text + word->len;
	const char *slash = word->len ? memchr(word->text, '/', word->len) : NULL;
	size_t len = (size_t)((slash ? slash : end) - word->text);
	char text[INET6_ADDRSTRLEN] = "";
	uint8_t addr[16] = {0};
	int family = AF_INET, r;
	uint64_t bits;

	if (len >= sizeof(text) || (len && memchr(word->text, '\0', len)))
		return expected(p, form);
	if (len)
		memcpy(text, word->text, len);
	if (inet_pton(AF_INET, text, addr) != 1) {
		family = AF_INET6;
		if (inet_pton(AF_INET6, text, addr) != 1)
			return expected(p, form);
	}
	bits = family == AF_INET ? 32 : 128;
	if (slash) {
		const char *at = slash + 1;
		uint64_t max = bits;

		if (!rule_take_number(&at, end, &bits) || at < end || bits > max)
			return rule_expected(p->error, word,
					     "a prefix length from 0 to %u behind the /",
					     (unsigned)max);
	}
	r = check_prefix(p, family, addr, (unsigned)bits);
	if (r < 0)
		return r;
	p->rule.family = (uint8_t)family;
	p->rule.prefix_len = (uint8_t)bits;
	memcpy(p->rule.addr, addr, sizeof(addr));
	return 0;
}

static int parse_to_port(struct parser *p)
{
	uint64_t port;
	bool two;

	if (!rule_parse_numbers(&p->cursor.word, '\0', &port, NULL, &two) || port < 1 ||
	    port > UINT16_MAX)
		return expected(p, "a port from 1 to 65535 after to-port");
	p->rule.port = (uint16_t)port;
	return 0;
}

static int parse_length(struct parser *p)
{
	uint64_t min, max;
	bool two;

	if (!rule_parse_numbers(&p->cursor.word, '-', &min, &max, &two))
		return expected(p, "payload bytes after length, as in 0-7");
	max = two ? max : min;
	if (max > UINT16_MAX || min > max)
		return expected(p, "from 0 to 65535 payload bytes after length, "
				   "the smaller number first");
	p->rule.length_min = (uint16_t)min;
	p->rule.length_max = (uint16_t)max;
	return 0;
}

static int parse_rate(struct parser *p)
{
	struct rule *rule = &p->rule;

	if (!rule_parse_amount(&p->cursor.word, true, &rule->rate, &rule->bytes))
		return expected(p, "datagrams/s after rate, as in 1000, or bytes/s with a "
				   "unit (B, KB, MB, GB, KiB, MiB, GiB), as in 10MB/s");
	if (!rule->bytes && (rule->rate < 1 || rule->rate > RULE_RATE_MAX))
		return rule_expected(p->error, &p->cursor.word,
				     "a rate from 1 to %" PRIu64 " datagrams/s", RULE_RATE_MAX);
	if (rule->bytes && (rule->rate < RULE_RATE_BYTES_MIN || rule->rate > RULE_RATE_BYTES_MAX))
		return rule_expected(p->error, &p->cursor.word,
				     "a rate from %dB/s to %" PRIu64 "GB/s", RULE_RATE_BYTES_MIN,
				     RULE_RATE_BYTES_MAX / 1000000000);
	return 0;
}

/* Only its form: the rate may not be known yet. */
static int parse_burst(struct parser *p)
{
	if (!rule_parse_amount(&p->cursor.word, false, &p->rule.burst, &p->burst_bytes))
		return expected(p, "datagrams after burst, as in 200, or bytes with a unit "
				   "(B, KB, MB, GB, KiB, MiB, GiB), as in 64KiB");
	return 0;
}

/* Only the form of the numbers: whether there is a `from` may not be known yet. */
static int parse_per(struct parser *p)
{
	static const char *const names[] = {"source", "prefix"};
	int name = rule_keyword(&p->cursor.word, names, ARRAY_SIZE(names));

	if (name < 0)
		return unknown(p, names, ARRAY_SIZE(names), "source or prefix after per");
	p->rule.by = name == 0 ? RULE_BY_SOURCE : RULE_BY_PREFIX;
	if (p->rule.by == RULE_BY_SOURCE)
		return 0;
	rule_next(&p->cursor);
	p->value[PER] = p->cursor.word;
	p->per6 = DEFAULT_PREFIX6;
	if (!rule_parse_numbers(&p->cursor.word, ',', &p->per4, &p->per6, &p->has_per6))
		return expected(p, "a prefix length after per prefix, as in 24, or 24,56 "
				   "for IPv4 and IPv6");
	return 0;
}

/* Another rule begins here; that only words of a command line may do. */
static bool at_next_rule(const struct parser *p)
{
	return p->cursor.word.opens && rule_keyword(&p->cursor.word, action_names, ACTIONS) >= 0;
}

/* Why the word can't begin a clause of this rule. */
static int refuse_clause(struct parser *p, enum rule_action action, int clause)
{
	static const char *const goes_with[CLAUSES] = {
		[LENGTH] = "drop", [FRAGMENTS] = "pass and drop",
		[RATE] = "limit",  [BURST] = "limit",
		[PER] = "limit",   [TOTAL] = "limit",
	};
	const char *allowed = action_clauses[action].text;

	if (rule_keyword(&p->cursor.word, action_names, ACTIONS) >= 0) {
		expected(p, allowed);
		rule_append(p->error->text, RULE_ERROR_MAX,
			    "; a rule has a line or a word of its own");
		return -EINVAL;
	}
	if (clause < 0)
		return unknown(p, clause_names, CLAUSES, allowed);
	rule_expected(p->error, &p->cursor.word, "%s after %s", allowed, action_names[action]);
	rule_append(p->error->text, RULE_ERROR_MAX, ", which goes with %s", goes_with[clause]);
	return -EINVAL;
}

static int parse_clause(struct parser *p, enum rule_action action)
{
	static int (*const parse_value[CLAUSES])(struct parser *) = {
		[FROM] = parse_from, [TO_PORT] = parse_to_port, [LENGTH] = parse_length,
		[RATE] = parse_rate, [BURST] = parse_burst,     [PER] = parse_per,
	};
	int clause = rule_keyword(&p->cursor.word, clause_names, CLAUSES);
	int place = clause == TOTAL ? PER : clause;
	int r;

	if (clause < 0 || !(action_clauses[action].allowed & 1u << clause))
		return refuse_clause(p, action, clause);
	if (p->clause[place].len) {
		expected(p, place == PER ? "one of per source, per prefix and total in a limit"
					 : "each clause at most once");
		rule_append(p->error->text, RULE_ERROR_MAX, " again");
		return -EINVAL;
	}
	p->clause[place] = p->cursor.word;
	rule_next(&p->cursor);
	if (clause == TOTAL)
		p->rule.by = RULE_BY_TOTAL;
	if (!parse_value[clause])
		return 0;
	p->value[place] = p->cursor.word;
	r = parse_value[clause](p);
	if (r == 0)
		rule_next(&p->cursor);
	return r;
}

/* The first clause of those in the mask that the rule has; NULL: none. */
static const struct rule_word *has_clause(const struct parser *p, unsigned mask)
{
	for (int i = 0; i < CLAUSES; i++)
		if (mask & 1u << i && p->clause[i].len)
			return &p->clause[i];
	return NULL;
}

/* What is missing is told at the end of the rule. */
static int check_verdict(struct parser *p, enum rule_action action)
{
	const unsigned match = 1 << FROM | 1 << TO_PORT;
	const struct rule_word *other;

	p->rule.kind = RULE_MATCH;
	if (p->clause[FRAGMENTS].len) {
		p->rule.kind = RULE_FRAGMENTS;
		other = has_clause(p, ~(1u << FRAGMENTS));
		return other ? rule_expected(p->error, other, "nothing else with fragments") : 0;
	}
	if (p->clause[LENGTH].len) {
		p->rule.kind = RULE_LENGTH;
		other = has_clause(p, ~(1u << LENGTH | 1u << TO_PORT));
		return other ? rule_expected(p->error, other, "only to-port with length") : 0;
	}
	if (has_clause(p, match))
		return 0;
	rule_expected(p->error, &p->cursor.word, "%s after %s", action_clauses[action].text,
		      action_names[action]);
	rule_append(p->error->text, RULE_ERROR_MAX, "; for what no rule matches write: default %s",
		    action_names[action]);
	return -EINVAL;
}

static int check_burst(struct parser *p)
{
	struct rule *rule = &p->rule;
	const struct rule_word *value = &p->value[BURST];
	uint64_t max = rule->rate * (RULE_BURST_NS_MAX / NS_PER_S);
	uint64_t min = rule->bytes ? BURST_BYTES_MIN : 1;

	if (!value->len) {
		min = rule->bytes ? BURST_BYTES_DEFAULT_MIN : 1;
		rule->burst = MAX(rule->rate / 10, min);
		return 0;
	}
	if (p->burst_bytes != rule->bytes)
		return rule_expected(p->error, value, "a burst %s, like the rate",
				     rule->bytes ? "in bytes with a unit"
						 : "in datagrams, without a unit");
	if (rule->burst < min || rule->burst > max)
		return rule_expected(p->error, value,
				     "a burst from %" PRIu64 " to %" PRIu64
				     " %s (an hour of the rate)",
				     min, max, rule->bytes ? "bytes" : "datagrams");
	return 0;
}

static int check_per_prefix(struct parser *p)
{
	struct rule *rule = &p->rule;
	const struct rule_word *value = &p->value[PER];
	unsigned min = MAX(rule->prefix_len, 1), max = rule->family == AF_INET ? 32 : 128;

	if (!rule->family) {
		if (p->per4 < 1 || p->per4 > 32 || p->per6 < 1 || p->per6 > 128)
			return rule_expected(p->error, value,
					     "a prefix length from 1 to 32 for IPv4 and, "
					     "after a comma, from 1 to 128 for IPv6");
		rule->by_prefix4 = (uint8_t)p->per4;
		rule->by_prefix6 = (uint8_t)p->per6;
		return 0;
	}
	if (p->has_per6)
		return rule_expected(p->error, value,
				     "one prefix length, as from names the family");
	if (p->per4 < min || p->per4 > max)
		return rule_expected(p->error, value,
				     "a prefix length from %u to %u, within that of from", min,
				     max);
	*(rule->family == AF_INET ? &rule->by_prefix4 : &rule->by_prefix6) = (uint8_t)p->per4;
	return 0;
}

static int check_limit(struct parser *p)
{
	int r;

	p->rule.kind = RULE_MATCH;
	if (!p->clause[RATE].len)
		return expected(p, "rate in a limit, as in rate 1000");
	if (!p->clause[PER].len)
		return expected(p, "per source, per prefix (as in per prefix 24) or total "
				   "in a limit");
	r = check_burst(p);
	return r == 0 && p->rule.by == RULE_BY_PREFIX ? check_per_prefix(p) : r;
}

static int parse_default(struct parser *p)
{
	int action = rule_keyword(&p->cursor.word, action_names, RULE_DROP + 1);

	if (action < 0)
		return unknown(p, action_names, RULE_DROP + 1, "pass or drop after default");
	rule_next(&p->cursor);
	if (p->cursor.word.len && !at_next_rule(p))
		return rule_expected(p->error, &p->cursor.word, "nothing behind default %s",
				     action_names[action]);
	p->rule.action = (uint8_t)action;
	p->rule.kind = RULE_DEFAULT;
	return 0;
}

/* From its action, where the cursor has to be, to the end or to the next rule. */
static int parse_rule(struct parser *p)
{
	int action = rule_keyword(&p->cursor.word, action_names, ACTIONS), r;

	memset(&p->rule, 0, sizeof(p->rule));
	memset(p->clause, 0, sizeof(p->clause));
	memset(p->value, 0, sizeof(p->value));
	if (action < 0)
		return unknown(p, action_names, ACTIONS, "pass, drop, limit or default");
	rule_next(&p->cursor);
	if (action == ACTION_DEFAULT)
		return parse_default(p);
	p->rule.action = (uint8_t)action;
	while (p->cursor.word.len && !at_next_rule(p)) {
		r = parse_clause(p, (enum rule_action)action);
		if (r < 0)
			return r;
	}
	return action == RULE_LIMIT ? check_limit(p) : check_verdict(p, (enum rule_action)action);
}

int rule_parse_line(const char *text, size_t len, unsigned line, struct rule *ret_rule,
		    struct rule_error *error)
{
	struct parser p = {.cursor = rule_cursor_line(text, len, line), .error = error};
	int r;

	rule_next(&p.cursor);
	if (!p.cursor.word.len)
		return 0;
	error->line = line;
	error->column = p.cursor.word.column;
	r = parse_rule(&p);
	if (r < 0)
		return r;
	memcpy(ret_rule, &p.rule, sizeof(p.rule));
	return 1;
}

int rule_parse_words(char *const words[], int n, struct rule *ret_rules, int max,
		     struct rule_error *error)
{
	struct parser p = {.cursor = rule_cursor_words(words, n), .error = error};
	int n_rules = 0;

	rule_next(&p.cursor);
	while (p.cursor.word.len) {
		int r;

		if (n_rules == max)
			return rule_expected(error, &p.cursor.word, "at most %d rules", max);
		r = parse_rule(&p);
		if (r < 0)
			return r;
		memcpy(&ret_rules[n_rules++], &p.rule, sizeof(p.rule));
	}
	return n_rules;
}

static void append_limit(char *out, const struct rule *rule)
{
	rule_append(out, RULE_TEXT_MAX, " rate ");
	rule_append_amount(out, RULE_TEXT_MAX, rule->rate, rule->bytes);
	rule_append(out, RULE_TEXT_MAX, "%s burst ", rule->bytes ? "/s" : "");
	rule_append_amount(out, RULE_TEXT_MAX, rule->burst, rule->bytes);
	if (rule->by == RULE_BY_TOTAL)
		rule_append(out, RULE_TEXT_MAX, " total");
	else if (rule->by == RULE_BY_SOURCE)
		rule_append(out, RULE_TEXT_MAX, " per source");
	else if (rule->family)
		rule_append(out, RULE_TEXT_MAX, " per prefix %u",
			    rule->family == AF_INET ? rule->by_prefix4 : rule->by_prefix6);
	else
		rule_append(out, RULE_TEXT_MAX, " per prefix %u,%u", rule->by_prefix4,
			    rule->by_prefix6);
}

const char *rule_format(const struct rule *rule, char *out)
{
	*out = '\0';
	if (rule->kind == RULE_DEFAULT)
		rule_append(out, RULE_TEXT_MAX, "default ");
	rule_append(out, RULE_TEXT_MAX, "%s", action_names[rule->action]);
	if (rule->kind == RULE_FRAGMENTS)
		rule_append(out, RULE_TEXT_MAX, " fragments");
	if (rule->kind == RULE_LENGTH)
		rule_append(out, RULE_TEXT_MAX, " length %u-%u", rule->length_min,
			    rule->length_max);
	if (rule->family) {
		rule_append(out, RULE_TEXT_MAX, " from ");
		append_prefix(out, RULE_TEXT_MAX, rule->family, rule->addr, rule->prefix_len);
	}
	if (rule->port)
		rule_append(out, RULE_TEXT_MAX, " to-port %u", rule->port);
	if (rule->action == RULE_LIMIT)
		append_limit(out, rule);
	return out;
}
