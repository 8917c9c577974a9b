/* SPDX-License-Identifier: MIT */
/* The model of the filter. */
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/xdp_model.h"

/* ---- the set ---- */

void model_replace(struct model *model, const struct rule_set *set)
{
	struct model_rule *rules = calloc(set->n, sizeof(*rules));

	cr_assert(rules);
	for (uint32_t i = 0; i < set->n; i++) {
		rules[i].rule = set->rules[i];
		for (uint32_t j = 0; j < model->n_rules; j++) {
			if (memcmp(&rules[i].rule, &model->rules[j].rule, sizeof(struct rule)))
				continue;
			rules[i] = model->rules[j];
			model->rules[j].sources = NULL;
			break;
		}
	}
	for (uint32_t j = 0; j < model->n_rules; j++)
		free(model->rules[j].sources);
	free(model->rules);
	model->rules = rules;
	model->n_rules = set->n;
}

void model_free(struct model *model)
{
	for (uint32_t i = 0; i < model->n_rules; i++)
		free(model->rules[i].sources);
	free(model->rules);
	memset(model, 0, sizeof(*model));
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, uint32_t bits)
{
	uint32_t rest = bits % 8;

	if (memcmp(a, b, bits / 8))
		return false;
	return !rest || !((a[bits / 8] ^ b[bits / 8]) >> (8 - rest));
}

/* How exactly a rule means a datagram; 0: not at all. Where two differ, the higher one answers. */
static uint32_t rule_rank(const struct rule *rule, const struct frame_view *view)
{
	enum { RANK_ANY = 1, RANK_PORT = 2, RANK_PREFIX = 1000, RANK_PORT_PREFIX = 2000 };

	if (rule->port && rule->port != view->dst_port)
		return 0;
	if (!rule->family)
		return rule->port ? RANK_PORT : RANK_ANY;
	if ((rule->family == AF_INET6) != view->v6)
		return 0;
	if (!same_prefix(rule->addr, view->src, rule->prefix_len))
		return 0;
	return (rule->port ? RANK_PORT_PREFIX : RANK_PREFIX) + rule->prefix_len;
}

static bool is_verdict(const struct rule *rule)
{
	return rule->action != RULE_LIMIT &&
	       (rule->kind == RULE_DEFAULT || rule->kind == RULE_MATCH);
}

static bool is_limit_by(const struct rule *rule, enum rule_limit_by by)
{
	return rule->action == RULE_LIMIT && rule->by == by;
}

/* The rule that answers one of the four questions; by: RULE_BY_..., or -1 for pass or drop. */
static uint32_t most_specific(const struct model *model, const struct frame_view *view, int by)
{
	uint32_t best = MODEL_NO_RULE, best_rank = 0;

	for (uint32_t i = 0; i < model->n_rules; i++) {
		const struct rule *rule = &model->rules[i].rule;
		uint32_t rank;

		if (by < 0 ? !is_verdict(rule) : !is_limit_by(rule, (enum rule_limit_by)by))
			continue;
		rank = rule_rank(rule, view);
		if (rank > best_rank) {
			best = i;
			best_rank = rank;
		}
	}
	return best;
}

/* A port's own length rules come before those for all ports. */
static uint32_t length_rule(const struct model *model, const struct frame_view *view)
{
	uint32_t found = MODEL_NO_RULE;

	for (uint32_t i = model->n_rules; i-- > 0;) {
		const struct rule *rule = &model->rules[i].rule;

		if (rule->kind != RULE_LENGTH || !rule_rank(rule, view) ||
		    view->payload < rule->length_min || view->payload > rule->length_max)
			continue;
		if (found == MODEL_NO_RULE || rule->port || !model->rules[found].rule.port)
			found = i;
	}
	return found;
}

static uint32_t fragment_rule(const struct model *model)
{
	for (uint32_t i = 0; i < model->n_rules; i++)
		if (model->rules[i].rule.kind == RULE_FRAGMENTS)
			return i;
	return MODEL_NO_RULE;
}

/* ---- limits ---- */

static void make_key(const struct rule *rule, const struct frame_view *view, uint8_t *ret_key)
{
	uint32_t bits = 0;

	memset(ret_key, 0, 17);
	if (rule->by == RULE_BY_TOTAL)
		return;
	ret_key[0] = view->v6 ? 6 : 4;
	if (rule->by == RULE_BY_SOURCE)
		bits = view->v6 ? 128 : 32;
	else
		bits = view->v6 ? rule->by_prefix6 : rule->by_prefix4;
	for (uint32_t i = 0; i < bits; i++)
		ret_key[1 + i / 8] |= view->src[i / 8] & (0x80 >> i % 8);
}

static struct model_source *find_source(struct model_rule *rule, const uint8_t *key)
{
	uint32_t n = rule->n_sources;

	for (uint32_t i = 0; i < n; i++)
		if (!memcmp(rule->sources[i].key, key, sizeof(rule->sources[i].key)))
			return &rule->sources[i];
	if (!(n & (n - 1))) {
		rule->sources = realloc(rule->sources, (n ? n * 2 : 1) * sizeof(*rule->sources));
		cr_assert(rule->sources);
	}
	memset(&rule->sources[n], 0, sizeof(*rule->sources));
	memcpy(rule->sources[n].key, key, sizeof(rule->sources[n].key));
	rule->n_sources++;
	return &rule->sources[n];
}

/* The generic cell rate algorithm, ITU-T I.371. False: too early. */
static bool charge(struct model_rule *limit, const struct frame_view *view, uint32_t frame_bytes,
		   uint64_t now_ns)
{
	model_time now = (model_time)now_ns * limit->rule.rate, tat;
	model_time units = limit->rule.bytes ? frame_bytes : 1;
	struct model_source *source;
	uint8_t key[17];

	make_key(&limit->rule, view, key);
	source = find_source(limit, key);
	tat = MAX(source->tat, now) + units * (uint64_t)NS_PER_S;
	if (tat - now > (model_time)limit->rule.burst * (uint64_t)NS_PER_S)
		return false;
	source->tat = tat;
	return true;
}

/* ---- judging ---- */

static const uint8_t nowhere[16];

static bool is_served(const struct model *model, const struct frame_view *view)
{
	for (uint32_t i = 0; i < model->n_served; i++) {
		const union addr_inet *served = &model->served[i];
		bool v6 = served->sa.sa_family == AF_INET6;
		const void *addr = v6 ? (void *)&served->v6.sin6_addr
				      : (void *)&served->v4.sin_addr;
		size_t size = v6 ? 16 : 4;

		if (v6 == view->v6 && addr_inet_port(served) == view->dst_port &&
		    (!memcmp(addr, nowhere, size) || !memcmp(addr, view->dst, size)))
			return true;
	}
	return false;
}

static struct model_verdict verdict_of(enum filter_verdict verdict, enum filter_reason reason,
				       uint32_t rule)
{
	return (struct model_verdict){verdict, reason, rule};
}

static struct model_verdict judge_datagram(struct model *model, const struct frame_view *view,
					   uint32_t frame_bytes, uint64_t now_ns)
{
	uint32_t rule = length_rule(model, view);
	enum filter_reason reason = FILTER_DEFAULT;

	if (rule != MODEL_NO_RULE)
		return verdict_of(FILTER_DROP, FILTER_LENGTH, rule);
	rule = most_specific(model, view, -1);
	cr_assert_neq(rule, MODEL_NO_RULE);
	if (model->rules[rule].rule.family)
		reason = FILTER_PREFIX;
	else if (model->rules[rule].rule.port)
		reason = FILTER_PORT;
	if (model->rules[rule].rule.action == RULE_DROP)
		return verdict_of(FILTER_DROP, reason, rule);
	for (int by = RULE_BY_SOURCE; by <= RULE_BY_TOTAL; by++) {
		uint32_t limit = most_specific(model, view, by);

		if (limit != MODEL_NO_RULE &&
		    !charge(&model->rules[limit], view, frame_bytes, now_ns))
			return verdict_of(FILTER_DROP, FILTER_RATE_SOURCE + (uint32_t)by, limit);
	}
	return verdict_of(FILTER_PASS, reason, rule);
}

/* A fragment without a port, which no rule for fragments drops. */
static struct model_verdict judge_later(const struct model *model, const struct frame_view *view,
					uint32_t fragments)
{
	uint32_t best = most_specific(model, view, -1);
	const struct rule *rule = &model->rules[best].rule;

	return fragments == MODEL_NO_RULE && rule->family && rule->action == RULE_DROP
		       ? verdict_of(FILTER_DROP, FILTER_PREFIX, best)
		       : verdict_of(FILTER_PASS, FILTER_FRAGMENT, fragments);
}

static struct model_verdict judge(struct model *model, const struct frame *frame, uint64_t now_ns)
{
	struct frame_view view;

	frame_read(frame, &view);
	if (view.kind == FRAME_IS_CHAIN)
		return verdict_of(FILTER_DROP, FILTER_HEADER_CHAIN, MODEL_NO_RULE);
	if (view.kind == FRAME_IS_OTHER ||
	    (model->n_served && !(view.has_port && is_served(model, &view))))
		return verdict_of(FILTER_PASS, FILTER_OTHER, MODEL_NO_RULE);
	if (view.malformed)
		return verdict_of(FILTER_DROP, FILTER_MALFORMED, MODEL_NO_RULE);
	if (view.part != PART_WHOLE) {
		uint32_t rule = fragment_rule(model);

		if (rule != MODEL_NO_RULE && model->rules[rule].rule.action == RULE_DROP)
			return verdict_of(FILTER_DROP, FILTER_FRAGMENT, rule);
		if (view.part == PART_LATER)
			return judge_later(model, &view, rule);
	}
	return judge_datagram(model, &view, frame->len, now_ns);
}

static void count(struct filter_count *counter, const struct frame *frame)
{
	counter->packets++;
	counter->bytes += frame->len;
}

struct model_verdict model_judge(struct model *model, const struct frame *frame, uint64_t now_ns)
{
	struct model_verdict verdict = judge(model, frame, now_ns);

	count(&model->by_reason[verdict.reason][verdict.verdict], frame);
	if (verdict.rule != MODEL_NO_RULE)
		count(&model->rules[verdict.rule].count, frame);
	return verdict;
}
