/* SPDX-License-Identifier: MIT */
/* Rules compiled to tables: single cases, compared as text, then random sets, compared with a scan
 * of all rules. Rules are named by their place in the set; the default is 0. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "xdp/table.h"

TestSuite(table, .timeout = 120);

static struct table *compile(const char *text, const union addr_inet *served, uint32_t n_served)
{
	struct rule_set set;
	struct rule_error error = {0};
	struct table *table;

	cr_assert_eq(rule_set_init(&set), 0);
	rule_set_parse(&set, text, strlen(text), &error);
	cr_assert_eq(error.text[0], '\0', "%u:%u: %s", error.line, error.column, error.text);
	cr_assert_eq(table_compile(&set, served, n_served, &table), 0);
	cr_assert_eq(table->n_rules, set.n);
	rule_set_free(&set);
	return table;
}

static const struct filter_port *port_of(const struct table *table, uint16_t port)
{
	cr_assert_lt(table->port_index[port], table->n_ports);
	return &table->ports[table->port_index[port]];
}

/* An entry of a trie, of either family. */
struct entry {
	const uint8_t *addr;
	unsigned list, len;
	const struct filter_answer *answer;
};

static bool entry_at(const struct table *table, int family, uint32_t i, struct entry *ret)
{
	const struct filter_lpm4 *key4 = &table->lpm4.keys[i];
	const struct filter_lpm6 *key6 = &table->lpm6.keys[i];

	if (i >= (family == AF_INET ? table->lpm4.n : table->lpm6.n))
		return false;
	if (family == AF_INET)
		*ret = (struct entry){(const uint8_t *)&key4->addr, ntohl(key4->list),
				      key4->bits - FILTER_LIST_BITS, &table->lpm4.answers[i]};
	else
		*ret = (struct entry){key6->addr, ntohl(key6->list), key6->bits - FILTER_LIST_BITS,
				      &table->lpm6.answers[i]};
	return true;
}

/* "drop 3 total 4": what an answer says, by which rules. */
static void print_answer(FILE *out, const struct table *table, const struct filter_answer *answer)
{
	static const char *const by[] = {"source", "prefix", "total"};

	if (answer->verdict)
		fprintf(out, " %s %u", answer->verdict & FILTER_DROP ? "drop" : "pass",
			(answer->verdict >> 1) - 1);
	for (int i = 0; i < FILTER_BYS; i++)
		if (answer->limit[i])
			fprintf(out, " %s %u", by[i], table->limits[answer->limit[i] - 1].rule);
}

static void print_port(FILE *out, const struct table *table, const struct filter_port *port)
{
	static const char *const flags[] = {"list4", "list6", "served4", "served6", "served"};

	print_answer(out, table, &port->answer);
	fputs(port->by_port ? " own" : "", out);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (port->flags & 1 << i)
			fprintf(out, " %s", flags[i]);
	for (const struct filter_length *l = port->length; l < port->length + port->n_lengths; l++)
		fprintf(out, " %u-%u %u", l->min, l->max, l->rule);
	fputs("\n", out);
}

static void print_entries(FILE *out, const struct table *table, int family)
{
	char host[INET6_ADDRSTRLEN];
	struct entry entry;

	for (uint32_t i = 0; entry_at(table, family, i, &entry); i++) {
		inet_ntop(family, entry.addr, host, sizeof(host));
		fprintf(out, "%u %s/%u:", entry.list, host, entry.len);
		print_answer(out, table, entry.answer);
		fputs("\n", out);
	}
}

/* What is true of the whole table; ports; entries; served addresses: a line each. */
static void print_table(FILE *out, const struct table *table)
{
	char host[INET6_ADDRSTRLEN];

	fprintf(out, "all:%s%s%s%s", table->any4 ? " any4" : "", table->any6 ? " any6" : "",
		table->list4 ? " list4" : "", table->list6 ? " list6" : "");
	fprintf(out, "%s%s%s", table->lengths ? " lengths" : "", table->keyed ? " keyed" : "",
		table->serving ? " serving" : "");
	if (table->fragment_rule || table->fragment_drop)
		fprintf(out, " fragments%s %u", table->fragment_drop ? " drop" : " pass",
			table->fragment_rule - 1);
	fprintf(out, "\n%u ports:", table->n_ports);
	print_port(out, table, port_of(table, 0));
	for (uint32_t port = 1; port < FILTER_PORTS; port++) {
		if (table->port_index[port]) {
			fprintf(out, "%u:", port);
			print_port(out, table, port_of(table, (uint16_t)port));
		}
	}
	print_entries(out, table, AF_INET);
	print_entries(out, table, AF_INET6);
	for (uint32_t i = 0; i < table->n_served; i++) {
		inet_ntop(AF_INET6, table->served[i].addr, host, sizeof(host));
		fprintf(out, "%s port %u\n", host, table->served[i].port);
	}
}

static void check(struct table *table, const char *want)
{
	char *text;
	FILE *out = open_memstream(&text, &(size_t){0});

	print_table(out, table);
	fclose(out);
	cr_assert_str_eq(text, want, "got:\n%swant:\n%s", text, want);
	free(text);
	table_free(table);
}

#define CHECK(name, rules, want)                      \
	Test(table, name)                             \
	{                                             \
		check(compile(rules, NULL, 0), want); \
	}

CHECK(default_alone, "", "all:\n1 ports: pass 0\n")

/* The order of rules in a set means nothing. */
CHECK(longer_prefixes_inherit_what_they_leave_open,
      "limit from 10.1.2.0/24 rate 20 total\ndrop from 10.1.0.0/16\n"
      "limit from 10.0.0.0/8 rate 10 per source\nlimit from 10.1.2.0/24 rate 30 per source\n"
      "limit from 10.1.2.3 rate 9 per prefix 32\npass from 10.1.2.3\ndrop from 10.1.2.4\n"
      "drop from 10.2.0.0/16\npass from 11.0.0.0/8\n",
      "all: any4 keyed\n"
      "1 ports: pass 0\n"
      "0 10.0.0.0/8: source 3\n0 10.1.0.0/16: drop 2 source 3\n"
      "0 10.1.2.0/24: drop 2 source 4 total 1\n"
      "0 10.1.2.3/32: pass 6 source 4 prefix 5 total 1\n"
      "0 10.1.2.4/32: drop 7 source 4 total 1\n"
      "0 10.2.0.0/16: drop 8 source 3\n0 11.0.0.0/8: pass 9\n")

CHECK(lists_and_families_are_apart,
      "drop from 10.0.0.0/8\nlimit from 10.1.0.0/16 to-port 53 rate 5 total\n"
      "pass from 10.1.0.0/24 to-port 53\npass from 10.1.0.0/24 to-port 309\n"
      "limit from ::/0 to-port 309 rate 4 per source\npass from 0.0.0.0/0\n"
      "drop from 255.255.255.255\nlimit from 0.0.0.0 rate 7 total\ndrop from :: to-port 309\n"
      "pass from ::\npass fragments\n",
      "all: any4 any6 list4 list6 keyed fragments pass 11\n"
      "3 ports: pass 0\n53: pass 0 list4\n309: pass 0 list4 list6\n"
      "0 0.0.0.0/0: pass 6\n0 0.0.0.0/32: pass 6 total 8\n"
      "0 10.0.0.0/8: drop 1\n0 255.255.255.255/32: drop 7\n"
      "53 10.1.0.0/16: total 2\n53 10.1.0.0/24: pass 3 total 2\n309 10.1.0.0/24: pass 4\n"
      "0 ::/128: pass 10\n309 ::/0: source 5\n309 ::/128: drop 9 source 5\n")

CHECK(ports_are_filled_up,
      "default drop\nlimit rate 100 per source\nlimit rate 200 total\npass to-port 53\n"
      "limit to-port 53 rate 300 total\ndrop to-port 65535\ndrop fragments\n"
      "limit to-port 1 rate 7 per prefix 24\ndrop length 1400-65507\n"
      "drop length 0-7 to-port 53\ndrop length 20-30\ndrop length 9-9 to-port 53\n"
      "drop length 5-6 to-port 2\n",
      "all: lengths keyed fragments drop 6\n"
      "5 ports: drop 0 source 1 total 2 1400-65507 8 20-30 10\n"
      "1: drop 0 source 1 prefix 7 total 2 1400-65507 8 20-30 10\n"
      "2: drop 0 source 1 total 2 5-6 12 1400-65507 8 20-30 10\n"
      "53: pass 3 source 1 total 4 own 0-7 9 9-9 11 1400-65507 8 20-30 10\n"
      "65535: drop 5 source 1 total 2 own 1400-65507 8 20-30 10\n")

Test(table, served_addresses)
{
	static const char *const texts[] = {
		"udp:0.0.0.0:53",     "udp:[::]:53",           "udp:192.0.2.1:853",
		"udp:192.0.2.1:853",  "udp:[2001:db8::1]:853", "udp:192.0.2.2:853",
		"udp:0.0.0.0:80",     "udp:[::]:81",           "udp:192.0.2.1:53",
		"udp:[fe80::1%1]:82", "udp:[fe80::1%2]:82",
	};
	union addr_inet served[ARRAY_SIZE(texts)];
	struct addr_spec spec;
	struct addr addr;
	const char *why;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		cr_assert_eq(addr_parse(texts[i], &spec, &why), 0, "%s", why);
		cr_assert_eq(addr_resolve(&spec, &addr, 1, &why), 1, "%s", why);
		served[i] = addr.inet;
	}
	check(compile("drop to-port 53\nlimit rate 5 total\ndrop from ::/0 to-port 82\n", served,
		      ARRAY_SIZE(served)),
	      "all: list6 serving\n"
	      "6 ports: pass 0 total 2\n"
	      "53: drop 1 total 2 own served4 served6 served\n"
	      "80: pass 0 total 2 served4\n81: pass 0 total 2 served6\n"
	      "82: pass 0 total 2 list6 served\n853: pass 0 total 2 served\n82 ::/0: drop 3\n"
	      "::ffff:192.0.2.1 port 853\n2001:db8::1 port 853\n::ffff:192.0.2.2 port 853\n"
	      "::ffff:192.0.2.1 port 53\nfe80::1 port 82\n");
}

/* Every prefix of :: at once; rule 1 has the longest. */
Test(table, deepest_nesting)
{
	char text[129 * 80];
	struct table *table;
	struct entry entry;
	size_t n = 0;

	for (int len = 128; len >= 0; len--)
		n += (size_t)sprintf(text + n, "%s from ::/%d%s\n", len % 2 ? "drop" : "limit", len,
				     len % 2 ? "" : " rate 5 total");
	table = compile(text, NULL, 0);
	cr_assert_eq(table->lpm6.n, 129);
	for (uint32_t i = 0; entry_at(table, AF_INET6, i, &entry); i++) {
		uint32_t odd = i % 2 ? i : i - 1, even = i - i % 2;

		cr_assert_eq(entry.len, i);
		cr_assert_eq(entry.answer->verdict, i ? (130 - odd) << 1 | FILTER_DROP : 0);
		cr_assert_eq(entry.answer->limit[FILTER_BY_TOTAL], (128 - even) / 2 + 1);
	}
	table_free(table);
}

Test(table, all_ports_named)
{
	static char text[FILTER_PORTS * sizeof("drop to-port 65535\n")];
	struct table *table;
	size_t n = 0;

	for (uint32_t port = 1; port < FILTER_PORTS; port++)
		n += (size_t)sprintf(text + n, "drop to-port %u\n", port);
	table = compile(text, NULL, 0);
	cr_assert_eq(table->n_ports, FILTER_PORTS);
	for (uint32_t port = 1; port < FILTER_PORTS; port++)
		cr_assert_eq(port_of(table, (uint16_t)port)->answer.verdict, (port + 1) << 1 | 1);
	table_free(table);
}

#define ONES "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

/* A datagram a second costs 10^9 * 2^4 * 2^16, and a second is 10^9 * 2^4. */
static const struct {
	const char *text;
	uint64_t cost, tau;
	const char *mask4, *mask6;
} limits[] = {
	{"rate 1 burst 1 total", 1048576000000000, 16000000000, "0.0.0.0", "::"},
	{"rate 3 burst 2 total", 349525333333333, 10666666667, "0.0.0.0", "::"},
	{"rate 6 burst 1 total", 174762666666667, 2666666667, "0.0.0.0", "::"},
	{"rate 1000 burst 10 per source", 1048576000000, 160000000, "255.255.255.255", ONES},
	{"rate 1000000000 burst 1 total", 1048576, 16, "0.0.0.0", "::"},
	{"rate 1000000000 burst 3600000000000 total", 1048576, 57600000000000, "0.0.0.0", "::"},
	{"rate 7 burst 1 per prefix 20,58", 149796571428571, 2285714286, "255.255.240.0",
	 "ffff:ffff:ffff:ffc0::"},
	{"from 10.0.0.0/8 rate 1KB burst 1600B per prefix 9", 1048576000000, 25600000000,
	 "255.128.0.0", "::"},
	{"from 2000::/3 rate 1000GB burst 3600000GB per prefix 128", 1049, 57600000000000,
	 "0.0.0.0", ONES},
};

Test(table, limits_in_numbers)
{
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct filter_limit want = {.cost = limits[i].cost, .tau = limits[i].tau};
		struct table *table;
		char text[RULE_TEXT_MAX];

		snprintf(text, sizeof(text), "pass to-port 1\nlimit %s", limits[i].text);
		table = compile(text, NULL, 0);
		cr_assert_eq(table->n_limits, 1);
		want.rule = 2;
		want.by = strstr(text, "total") ? FILTER_BY_TOTAL : !strstr(text, "source");
		want.bytes = strchr(text, 'B') != NULL;
		inet_pton(AF_INET, limits[i].mask4, &want.mask4);
		inet_pton(AF_INET6, limits[i].mask6, want.mask6);
		cr_assert_arr_eq(table->limits, &want, sizeof(want), "%s: cost %llu, tau %llu",
				 text, table->limits->cost, table->limits->tau);
		cr_assert_eq(table->keyed, want.by != FILTER_BY_TOTAL);
		table_free(table);
	}
}

/* ---- the comparison ---- */

enum { SETS = 8000, RULES_MAX = 40 };

/* Addresses that differ in four bits only, somewhere in the middle of others. */
static struct model {
	uint32_t seed;
	uint64_t random;
	struct rule_set set;
	struct table *table;
	unsigned varied4, varied6; /* where the four bits begin */
} model;

struct packet {
	uint8_t family, addr[16];
	uint16_t port;
};

static const uint16_t ports[] = {1, 2, 258, 65535, 9}; /* no rule names the last */

/* xorshift64 (Marsaglia 2003): the same numbers everywhere. */
static uint32_t model_random(uint32_t below)
{
	model.random ^= model.random << 13;
	model.random ^= model.random >> 7;
	model.random ^= model.random << 17;
	return (uint32_t)((model.random >> 11) % below);
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned n)
{
	for (unsigned bit = 0; bit < n; bit++)
		if ((a[bit / 8] ^ b[bit / 8]) >> (7 - bit % 8) & 1)
			return false;
	return true;
}

/* The first len bits of an address: 0 to 15, or 16 for one that differs from the first bit on. */
static void model_addr(uint8_t family, uint32_t number, unsigned len, uint8_t addr[16])
{
	unsigned varied = family == AF_INET ? model.varied4 : model.varied6;

	memset(addr, 0, 16);
	for (unsigned bit = 0; bit < len; bit++) {
		bool one = number == 16 ? bit % 2 == 0 : bit % 3 == 1;

		if (number < 16 && bit >= varied && bit < varied + 4)
			one = number >> (bit - varied) & 1;
		addr[bit / 8] |= (uint8_t)(one << (7 - bit % 8));
	}
}

static void model_prefix(struct rule *rule)
{
	bool v4 = model_random(2);
	unsigned max = v4 ? 32 : 128, varied = v4 ? model.varied4 : model.varied6;

	rule->family = v4 ? AF_INET : AF_INET6;
	rule->prefix_len = (uint8_t)(varied + model_random(5));
	if (model_random(6) == 0)
		rule->prefix_len = (uint8_t)(model_random(2) ? max : model_random(varied + 1));
	model_addr(rule->family, model_random(16), rule->prefix_len, rule->addr);
}

static struct rule model_rule(void)
{
	struct rule rule = {.action = (uint8_t)model_random(2), .kind = RULE_DEFAULT};

	if (model_random(30) == 0)
		return rule;
	rule.kind = RULE_MATCH;
	if (model_random(2))
		rule.action = RULE_LIMIT;
	if (model_random(2))
		rule.port = ports[model_random(4)];
	if (model_random(4) || (!rule.port && rule.action != RULE_LIMIT))
		model_prefix(&rule);
	if (rule.action == RULE_LIMIT) {
		rule.by = (uint8_t)model_random(FILTER_BYS);
		rule.rate = rule.burst = 1 + model_random(1000);
		rule.by_prefix4 = rule.by == RULE_BY_PREFIX && rule.family != AF_INET6 ? 32 : 0;
		rule.by_prefix6 = rule.by == RULE_BY_PREFIX && rule.family != AF_INET ? 128 : 0;
	}
	return rule;
}

static void model_init(uint32_t seed)
{
	model.seed = seed;
	model.random = seed * UINT64_C(0x9e3779b97f4a7c15);
	model.varied4 = model_random(29);
	model.varied6 = model_random(125);
	cr_assert_eq(rule_set_init(&model.set), 0);
	for (uint32_t n = model_random(RULES_MAX); n > 0; n--) {
		struct rule rule = model_rule();
		int r = rule_set_add(&model.set, &rule, NULL);

		cr_assert(r >= 0 || r == -EEXIST, "%d", r);
	}
	cr_assert_eq(table_compile(&model.set, NULL, 0, &model.table), 0);
}

enum { RANK_NONE, RANK_ANY, RANK_PORT, RANK_PREFIX, RANK_PORT_PREFIX = RANK_PREFIX + 129 };

/* How specific an answer the rule has to a question: the verdict, or a limit of one kind. */
static int model_rank(const struct rule *rule, const struct packet *packet, int question)
{
	if (question != (rule->action == RULE_LIMIT ? 1 + rule->by : 0) ||
	    (rule->port && rule->port != packet->port))
		return RANK_NONE;
	if (!rule->family)
		return rule->port ? RANK_PORT : RANK_ANY;
	if (rule->family == packet->family &&
	    bits_equal(rule->addr, packet->addr, rule->prefix_len))
		return (rule->port ? RANK_PORT_PREFIX : RANK_PREFIX) + rule->prefix_len;
	return RANK_NONE;
}

static int model_answer(const struct packet *packet, int question)
{
	int best = -1, best_rank = RANK_NONE;

	for (uint32_t i = 0; i < model.set.n; i++) {
		int rank = model_rank(&model.set.rules[i], packet, question);

		if (rank > best_rank)
			best = (int)i;
		best_rank = MAX(rank, best_rank);
	}
	return best;
}

static void fill(struct filter_answer *answer, const struct filter_answer *more)
{
	if (!answer->verdict)
		answer->verdict = more->verdict;
	for (int by = 0; by < FILTER_BYS; by++)
		if (!answer->limit[by])
			answer->limit[by] = more->limit[by];
}

/* What the longest prefix in a list says. */
static void ask(const struct packet *packet, uint16_t list, struct filter_answer *answer)
{
	struct entry entry, best = {0};

	for (uint32_t i = 0; entry_at(model.table, packet->family, i, &entry); i++)
		if (entry.list == list && (!best.answer || entry.len > best.len) &&
		    bits_equal(entry.addr, packet->addr, entry.len))
			best = entry;
	if (best.answer)
		fill(answer, best.answer);
}

/* As the filter does. */
static struct filter_answer look_up(const struct packet *packet)
{
	const struct table *table = model.table;
	const struct filter_port *port = port_of(table, packet->port);
	bool v4 = packet->family == AF_INET;
	struct filter_answer answer = {0};

	if ((v4 ? table->list4 : table->list6) &&
	    port->flags & (v4 ? FILTER_PORT_LIST4 : FILTER_PORT_LIST6))
		ask(packet, packet->port, &answer);
	if (v4 ? table->any4 : table->any6)
		ask(packet, 0, &answer);
	fill(&answer, &port->answer);
	return answer;
}

static void model_compare(const struct packet *packet)
{
	struct filter_answer answer = look_up(packet);

	for (int question = 0; question <= FILTER_BYS; question++) {
		uint16_t limit = question ? answer.limit[question - 1] : 0;
		int want = model_answer(packet, question), got = (int)(answer.verdict >> 1) - 1;

		if (question)
			got = limit ? (int)model.table->limits[limit - 1].rule : -1;
		cr_assert_eq(got, want, "set %u, question %d, port %u: rule %d, not %d", model.seed,
			     question, packet->port, got, want);
		cr_assert(question || (answer.verdict & 1) == model.set.rules[want].action);
	}
}

Test(table, equals_a_scan_of_all_rules)
{
	for (uint32_t seed = 1; seed <= SETS; seed++) {
		model_init(seed);
		for (uint32_t i = 0; i < 2 * 17 * ARRAY_SIZE(ports); i++) {
			struct packet packet = {i % 2 ? AF_INET6 : AF_INET, .port = ports[i / 34]};

			model_addr(packet.family, i / 2 % 17, i % 2 ? 128 : 32, packet.addr);
			model_compare(&packet);
		}
		table_free(model.table);
		rule_set_free(&model.set);
	}
}
