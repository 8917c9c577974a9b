/* SPDX-License-Identifier: MIT */
/*
 * Rules to tables. Invariant: an entry of a trie holds the answers of every shorter prefix of its
 * list that covers it, so the longest match alone says what the list says.
 */
#include "xdp/table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util.h"

enum {
	ANCESTORS_MAX = 129,   /* prefix lengths 0 to 128 */
	FRAME_BYTES_BITS = 18, /* no frame is longer than 2^18 bytes, headers and tags included */
	QUESTION_VERDICT = 0,
	QUESTION_LIMIT = 1, /* and one for each enum filter_limit_by */
};

/* What one unit costs at one unit a second, and how much time a second is. */
#define SECOND ((uint64_t)NS_PER_S << FILTER_TIME_SHIFT)
#define SECOND_COST (SECOND << FILTER_COST_SHIFT)

_Static_assert(SECOND_COST >> FILTER_COST_SHIFT == SECOND, "a second's cost fits");
_Static_assert(SECOND_COST <= UINT64_MAX >> 1, "a cost can be rounded, at any rate of datagrams");
_Static_assert(SECOND_COST / RULE_RATE_BYTES_MIN + 1 <= UINT64_MAX >> FRAME_BYTES_BITS,
	       "the cost of a frame fits");
_Static_assert(SECOND_COST / RULE_RATE_MAX >= 1, "a datagram costs something");
_Static_assert(SECOND_COST / RULE_RATE_BYTES_MAX >= 1, "a byte costs something");
_Static_assert(RULE_BURST_NS_MAX + 1 <= UINT64_MAX >> FILTER_TIME_SHIFT, "a burst's time fits");

_Static_assert(FILTER_RULES_MAX == (int)RULE_SET_MAX, "same limit");
_Static_assert(FILTER_LIMITS_MAX == (int)RULE_LIMITS_MAX, "same limit");
_Static_assert(FILTER_LENGTHS_MAX == (int)RULE_LENGTHS_MAX, "same limit");
_Static_assert(FILTER_PASS == (int)RULE_PASS && FILTER_DROP == (int)RULE_DROP, "same values");
_Static_assert(FILTER_BY_SOURCE == (int)RULE_BY_SOURCE, "same values");
_Static_assert(FILTER_BY_PREFIX == (int)RULE_BY_PREFIX, "same values");
_Static_assert(FILTER_BY_TOTAL == (int)RULE_BY_TOTAL, "same values");
_Static_assert(FILTER_RULES_MAX < UINT32_MAX >> 1, "a verdict has place for every rule");
_Static_assert(FILTER_LIMITS_MAX < UINT16_MAX, "an answer has place for every limit");
_Static_assert(FILTER_PORTS - 1 == UINT16_MAX, "a port is an index");

/* The kernel compares and copies whole structs: what the compiler puts between is never set. */
_Static_assert(sizeof(struct filter_answer) == 12, "no padding");
_Static_assert(sizeof(struct filter_length) == 8, "no padding");
_Static_assert(sizeof(struct filter_port) == 16 + 2 * FILTER_LENGTHS_MAX * 8, "no padding");
_Static_assert(sizeof(struct filter_lpm4) == 12, "no padding");
_Static_assert(sizeof(struct filter_lpm6) == 24, "no padding");
_Static_assert(sizeof(struct filter_limit) == 56, "no padding");
_Static_assert(sizeof(struct filter_served) == 20, "no padding");

/* A prefix, and what one rule says of it. Sorts by its first bytes: all of a family, of them all
 * of a list, and a shorter prefix before what it covers. */
struct match {
	uint8_t family;
	uint8_t list[2]; /* network order */
	uint8_t addr[16];
	uint8_t len;
	uint8_t question;
	uint32_t value;
};

#define MATCH_KEY_BYTES offsetof(struct match, question)

_Static_assert(AF_INET < AF_INET6 && AF_INET6 <= UINT8_MAX, "the order of families");
_Static_assert(MATCH_KEY_BYTES == 20, "no padding in what is compared");

struct matches {
	struct match *all;
	uint32_t n, n4; /* n4: of IPv4, which sort before the others */
};

static int match_compare(const void *a, const void *b)
{
	return memcmp(a, b, MATCH_KEY_BYTES);
}

static bool match_covers(const struct match *outer, const struct match *inner)
{
	unsigned bytes = outer->len / 8, bits = outer->len % 8;

	if (outer->len > inner->len || memcmp(outer->list, inner->list, sizeof(outer->list)))
		return false;
	return !memcmp(outer->addr, inner->addr, bytes) &&
	       (!bits || !((outer->addr[bytes] ^ inner->addr[bytes]) >> (8 - bits)));
}

static void answer_set(struct filter_answer *answer, unsigned question, uint32_t value)
{
	if (question == QUESTION_VERDICT)
		answer->verdict = value;
	else
		answer->limit[question - QUESTION_LIMIT] = (uint16_t)value;
}

/* Sorted matches of one family to answers, one for each prefix; matches[i] is then the one that
 * answers[i] belongs to. Returns how many there are. */
static uint32_t matches_resolve(struct match *matches, uint32_t n, struct filter_answer *answers)
{
	uint32_t ancestors[ANCESTORS_MAX], depth = 0, count = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct match *match = &matches[i];

		if (!count || match_compare(&matches[count - 1], match)) {
			while (depth && !match_covers(&matches[ancestors[depth - 1]], match))
				depth--;
			if (depth)
				answers[count] = answers[ancestors[depth - 1]];
			matches[count] = *match;
			ancestors[depth++] = count++;
		}
		answer_set(&answers[count - 1], match->question, match->value);
	}
	return count;
}

static uint32_t match_list(const struct match *match)
{
	return htonl((uint32_t)match->list[0] << 8 | match->list[1]);
}

static void *array_new(size_t n, size_t size)
{
	return calloc(MAX(n, 1), size);
}

static int table4_fill(struct table4 *lpm, struct match *matches, uint32_t n)
{
	lpm->keys = array_new(n, sizeof(*lpm->keys));
	lpm->answers = array_new(n, sizeof(*lpm->answers));
	if (!lpm->keys || !lpm->answers)
		return -ENOMEM;
	lpm->n = matches_resolve(matches, n, lpm->answers);
	for (uint32_t i = 0; i < lpm->n; i++) {
		lpm->keys[i].bits = FILTER_LIST_BITS + matches[i].len;
		lpm->keys[i].list = match_list(&matches[i]);
		memcpy(&lpm->keys[i].addr, matches[i].addr, sizeof(lpm->keys[i].addr));
	}
	return 0;
}

static int table6_fill(struct table6 *lpm, struct match *matches, uint32_t n)
{
	lpm->keys = array_new(n, sizeof(*lpm->keys));
	lpm->answers = array_new(n, sizeof(*lpm->answers));
	if (!lpm->keys || !lpm->answers)
		return -ENOMEM;
	lpm->n = matches_resolve(matches, n, lpm->answers);
	for (uint32_t i = 0; i < lpm->n; i++) {
		lpm->keys[i].bits = FILTER_LIST_BITS + matches[i].len;
		lpm->keys[i].list = match_list(&matches[i]);
		memcpy(lpm->keys[i].addr, matches[i].addr, sizeof(lpm->keys[i].addr));
	}
	return 0;
}

/* A mask of len ones, in network order. */
static void mask_set(void *mask, size_t size, unsigned len)
{
	uint8_t *bytes = mask;

	for (size_t i = 0; i < size; i++, len -= MIN(len, 8))
		bytes[i] = len >= 8 ? 0xff : (uint8_t)(0xff00 >> len);
}

static uint64_t divide_rounded(unsigned __int128 dividend, uint64_t divisor)
{
	return (uint64_t)((dividend + divisor / 2) / divisor);
}

static void limit_fill(struct filter_limit *limit, const struct rule *rule, uint32_t index)
{
	assert(rule->rate > 0 && rule->by < FILTER_BYS);
	limit->cost = divide_rounded(SECOND_COST, rule->rate);
	limit->tau = divide_rounded((unsigned __int128)rule->burst * SECOND, rule->rate);
	limit->rule = index;
	limit->by = rule->by;
	limit->bytes = rule->bytes;
	if (rule->by == RULE_BY_SOURCE) {
		mask_set(&limit->mask4, sizeof(limit->mask4), 32);
		mask_set(limit->mask6, sizeof(limit->mask6), 128);
	} else if (rule->by == RULE_BY_PREFIX) {
		mask_set(&limit->mask4, sizeof(limit->mask4), rule->by_prefix4);
		mask_set(limit->mask6, sizeof(limit->mask6), rule->by_prefix6);
	}
}

static void length_add(struct filter_port *port, const struct filter_length *length)
{
	assert(port->n_lengths < ARRAY_SIZE(port->length));
	port->length[port->n_lengths++] = *length;
}

/* A rule that answers one of the four questions, for a prefix or for a port alone. */
static void answer_add(struct table *table, struct matches *matches, const struct rule *rule,
		       unsigned question, uint32_t value)
{
	struct filter_port *port = &table->ports[table->port_index[rule->port]];
	struct match *match;

	if (!rule->family) {
		answer_set(&port->answer, question, value);
		if (question == QUESTION_VERDICT)
			port->by_port = rule->port > 0;
		return;
	}
	if (rule->port)
		port->flags |= rule->family == AF_INET ? FILTER_PORT_LIST4 : FILTER_PORT_LIST6;
	match = &matches->all[matches->n++];
	match->family = rule->family;
	match->list[0] = (uint8_t)(rule->port >> 8);
	match->list[1] = (uint8_t)rule->port;
	memcpy(match->addr, rule->addr, sizeof(match->addr));
	match->len = rule->prefix_len;
	match->question = (uint8_t)question;
	match->value = value;
}

static void rule_add(struct table *table, struct matches *matches, const struct rule *rule,
		     uint32_t index)
{
	bool drop = rule->action == RULE_DROP;

	if (rule->action == RULE_LIMIT) {
		limit_fill(&table->limits[table->n_limits++], rule, index);
		table->keyed |= rule->by != RULE_BY_TOTAL;
		answer_add(table, matches, rule, QUESTION_LIMIT + rule->by, table->n_limits);
		return;
	}
	switch ((enum rule_kind)rule->kind) {
	case RULE_DEFAULT:
	case RULE_MATCH:
		answer_add(table, matches, rule, QUESTION_VERDICT, (index + 1) << 1 | drop);
		break;
	case RULE_LENGTH:
		length_add(&table->ports[table->port_index[rule->port]],
			   &(struct filter_length){rule->length_min, rule->length_max, index});
		table->lengths = true;
		break;
	case RULE_FRAGMENTS:
		table->fragment_rule = index + 1;
		table->fragment_drop = drop;
		break;
	}
}

/* What the rules for a port leave open, the rules for all ports say. */
static void port_fill(struct filter_port *port, const struct filter_port *any)
{
	if (!port->answer.verdict)
		port->answer.verdict = any->answer.verdict;
	for (int by = 0; by < FILTER_BYS; by++)
		if (!port->answer.limit[by])
			port->answer.limit[by] = any->answer.limit[by];
	for (uint8_t i = 0; i < any->n_lengths; i++)
		length_add(port, &any->length[i]);
}

static void served_add(struct table *table, const union addr_inet *addr)
{
	bool v4 = addr->sa.sa_family == AF_INET;
	struct filter_served served = {.port = addr_inet_port(addr)};
	struct filter_port *port = &table->ports[table->port_index[served.port]];

	if (v4 && addr->v4.sin_addr.s_addr == htonl(INADDR_ANY)) {
		port->flags |= FILTER_PORT_SERVED4;
		return;
	}
	if (!v4 && IN6_IS_ADDR_UNSPECIFIED(&addr->v6.sin6_addr)) {
		port->flags |= FILTER_PORT_SERVED6;
		return;
	}
	port->flags |= FILTER_PORT_SERVED;
	if (v4) {
		served.addr[10] = served.addr[11] = 0xff;
		memcpy(&served.addr[12], &addr->v4.sin_addr, sizeof(addr->v4.sin_addr));
	} else {
		memcpy(served.addr, &addr->v6.sin6_addr, sizeof(served.addr));
	}
	for (uint32_t i = 0; i < table->n_served; i++)
		if (!memcmp(&table->served[i], &served, sizeof(served)))
			return;
	table->served[table->n_served++] = served;
}

/* Gives each port of which something is said its place in table->ports. */
static void ports_number(struct table *table, const struct rule_set *set,
			 const union addr_inet *served, uint32_t n_served)
{
	for (uint32_t i = 0; i < set->n; i++)
		table->port_index[set->rules[i].port] = 1;
	for (uint32_t i = 0; i < n_served; i++) {
		assert(addr_inet_port(&served[i]) > 0);
		table->port_index[addr_inet_port(&served[i])] = 1;
	}
	table->port_index[0] = 0;
	table->n_ports = 1;
	for (uint32_t port = 1; port < FILTER_PORTS; port++)
		if (table->port_index[port])
			table->port_index[port] = (uint16_t)table->n_ports++;
}

static int arrays_new(struct table *table, struct matches *matches, const struct rule_set *set)
{
	uint32_t n_limits = 0, n_matches = 0;

	for (uint32_t i = 0; i < set->n; i++) {
		n_limits += set->rules[i].action == RULE_LIMIT;
		n_matches += set->rules[i].family != 0;
		matches->n4 += set->rules[i].family == AF_INET;
	}
	assert(n_limits <= FILTER_LIMITS_MAX);
	table->ports = array_new(table->n_ports, sizeof(*table->ports));
	table->limits = array_new(n_limits, sizeof(*table->limits));
	matches->all = array_new(n_matches, sizeof(*matches->all));
	return table->ports && table->limits && matches->all ? 0 : -ENOMEM;
}

static int tries_fill(struct table *table, struct matches *matches)
{
	int r;

	qsort(matches->all, matches->n, sizeof(*matches->all), match_compare);
	r = table4_fill(&table->lpm4, matches->all, matches->n4);
	if (r < 0)
		return r;
	r = table6_fill(&table->lpm6, matches->all + matches->n4, matches->n - matches->n4);
	if (r < 0)
		return r;
	/* List 0 sorts first. */
	table->any4 = table->lpm4.n && !table->lpm4.keys[0].list;
	table->any6 = table->lpm6.n && !table->lpm6.keys[0].list;
	table->list4 = table->lpm4.n && table->lpm4.keys[table->lpm4.n - 1].list;
	table->list6 = table->lpm6.n && table->lpm6.keys[table->lpm6.n - 1].list;
	return 0;
}

int table_compile(const struct rule_set *set, const union addr_inet *served, uint32_t n_served,
		  struct table **ret_table)
{
	struct matches matches = {0};
	struct table *table;
	int r;

	assert(set->n >= 1 && set->n <= FILTER_RULES_MAX && set->rules[0].kind == RULE_DEFAULT);
	assert(n_served <= FILTER_SERVED_MAX);
	table = calloc(1, sizeof(*table));
	if (!table)
		return -ENOMEM;
	table->n_rules = set->n;
	table->serving = n_served > 0;
	ports_number(table, set, served, n_served);
	r = arrays_new(table, &matches, set);
	if (r < 0)
		goto free_all;
	for (uint32_t i = 0; i < set->n; i++)
		rule_add(table, &matches, &set->rules[i], i);
	for (uint32_t i = 1; i < table->n_ports; i++)
		port_fill(&table->ports[i], &table->ports[0]);
	for (uint32_t i = 0; i < n_served; i++)
		served_add(table, &served[i]);
	r = tries_fill(table, &matches);
	if (r < 0)
		goto free_all;
	free(matches.all);
	*ret_table = table;
	return 0;

free_all:
	free(matches.all);
	table_free(table);
	return r;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	free(table->ports);
	free(table->lpm4.keys);
	free(table->lpm4.answers);
	free(table->lpm6.keys);
	free(table->lpm6.answers);
	free(table->limits);
	free(table);
}
