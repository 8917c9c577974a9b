/* SPDX-License-Identifier: MIT */
/*
 * Random rules and random frames: the XDP filter and its model agree about each frame and, at the
 * end of each set, about each counter. Addresses and ports are few, so that prefixes nest and rules
 * meet; rates are such that nothing has to be rounded. A seed tells a run; it is printed with what
 * went wrong.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/xdp_model.h"

TestSuite(xdp_random, .timeout = 200);

#define S ((uint64_t)NS_PER_S)

struct campaign {
	uint64_t seed;
	uint32_t sets, frames; /* frames with each set */
	bool limits;           /* some rules are limits */
	const union addr_inet *served;
	uint32_t n_served;
};

struct run {
	const struct campaign *campaign;
	struct trial trial;
	struct rule_set set;
	uint64_t random;
	bool tears; /* some frames come in pieces */
};

/* xorshift64 (Marsaglia 2003): the same numbers everywhere. */
static uint32_t draw(struct run *run, uint32_t below)
{
	run->random ^= run->random << 13;
	run->random ^= run->random >> 7;
	run->random ^= run->random << 17;
	return (uint32_t)((run->random >> 11) % below);
}

static bool one_in(struct run *run, uint32_t n)
{
	return !draw(run, n);
}

#define PICK(run, array) ((array)[draw(run, ARRAY_SIZE(array))])

/* ---- rules ---- */

static const uint16_t ports[] = {53, 53, 80, 1, 65535};

static void draw_addr(struct run *run, bool v6, uint8_t *ret_addr)
{
	uint32_t bits = draw(run, 256);

	memset(ret_addr, 0, 16);
	if (one_in(run, 20)) {
		for (uint32_t i = 0; i < (v6 ? 16u : 4u); i++)
			ret_addr[i] = (uint8_t)(1 + draw(run, 200));
	} else if (v6) {
		memcpy(ret_addr, "\x20\x01\x0d\xb8", 4);
		ret_addr[5] = bits & 1;
		ret_addr[7] = bits >> 1 & 1;
		ret_addr[8] = (uint8_t)(bits << 5 & 0x80);
		ret_addr[15] = bits >> 3 & 3;
	} else {
		ret_addr[0] = 10;
		ret_addr[1] = bits & 1;
		ret_addr[2] = (uint8_t)(bits << 6 & 0x80);
		ret_addr[3] = bits >> 2 & 7;
	}
}

static void draw_from(struct run *run, struct rule *rule)
{
	static const uint8_t bits4[] = {0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 29, 30, 31, 32};
	static const uint8_t bits6[] = {0, 1, 31, 32, 33, 47, 48, 64, 65, 125, 126, 127, 128};
	bool v6 = one_in(run, 2);

	rule->family = v6 ? AF_INET6 : AF_INET;
	rule->prefix_len = v6 ? PICK(run, bits6) : PICK(run, bits4);
	draw_addr(run, v6, rule->addr);
	for (uint32_t bit = rule->prefix_len; bit < 128; bit++)
		rule->addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static void draw_limit(struct run *run, struct rule *rule)
{
	static const uint32_t rates[] = {1, 1, 2, 5, 10, 1000};
	static const uint32_t bursts[] = {1, 1, 2, 3, 20};
	static const uint32_t byte_rates[] = {1000, 1000, 16000, 1000000};
	static const uint32_t byte_bursts[] = {1500, 1500, 3000, 65535};
	static const uint8_t by[] = {RULE_BY_SOURCE, RULE_BY_SOURCE, RULE_BY_PREFIX, RULE_BY_TOTAL};
	static const uint8_t by4[] = {8, 16, 17, 24, 31, 32}, by6[] = {16, 48, 64, 65, 127, 128};
	uint8_t bits4, bits6;

	rule->action = RULE_LIMIT;
	rule->kind = RULE_MATCH;
	rule->by = PICK(run, by);
	rule->bytes = one_in(run, 3);
	rule->rate = rule->bytes ? PICK(run, byte_rates) : PICK(run, rates);
	rule->burst = rule->bytes ? PICK(run, byte_bursts) : PICK(run, bursts);
	if (!one_in(run, 3))
		draw_from(run, rule);
	if (rule->by != RULE_BY_PREFIX)
		return;
	bits4 = PICK(run, by4);
	bits6 = PICK(run, by6);
	if (rule->family != AF_INET6)
		rule->by_prefix4 = MAX(bits4, rule->prefix_len);
	if (rule->family != AF_INET)
		rule->by_prefix6 = MAX(bits6, rule->prefix_len);
}

static void draw_rule(struct run *run, struct rule *rule)
{
	uint32_t kind = draw(run, run->campaign->limits ? 24 : 16);

	/* Not by assignment: rules are compared byte by byte. */
	memset(rule, 0, sizeof(*rule));
	rule->action = (uint8_t)draw(run, 2);
	rule->kind = RULE_MATCH;
	if (kind == 0) {
		rule->kind = RULE_DEFAULT;
		return;
	}
	if (kind == 1) {
		rule->kind = RULE_FRAGMENTS;
		return;
	}
	if (one_in(run, 2))
		rule->port = PICK(run, ports);
	if (kind < 4) {
		rule->action = RULE_DROP;
		rule->kind = RULE_LENGTH;
		rule->length_min = (uint16_t)draw(run, 60);
		rule->length_max = (uint16_t)(rule->length_min + draw(run, 12));
	} else if (kind < 7) {
		rule->port = PICK(run, ports);
	} else if (kind < 16) {
		draw_from(run, rule);
	} else {
		draw_limit(run, rule);
	}
}

/* Some rules of the set before stay, at other places. */
static void draw_set(struct run *run)
{
	uint32_t n = one_in(run, 10) ? 400 : 1 + draw(run, 40);
	struct rule_set set;

	cr_assert_eq(rule_set_init(&set), 0);
	for (uint32_t i = 0; i < n; i++) {
		struct rule rule;
		int r;

		draw_rule(run, &rule);
		if (run->set.n && one_in(run, 3))
			memcpy(&rule, &run->set.rules[draw(run, run->set.n)], sizeof(rule));
		r = rule_set_add(&set, &rule, NULL);
		cr_assert(r == 0 || r == 1 || r == -EEXIST || r == -E2BIG, "%d", r);
	}
	rule_set_free(&run->set);
	run->set = set;
}

/* ---- frames ---- */

static void draw_exts(struct run *run, struct frame_spec *spec)
{
	static const uint8_t types[] = {0, 43, 44, 44, 44, 51, 60, 60, 135, 139, 140, 50, 59};
	static const uint16_t frags[] = {0, 0, 0, FRAME_MORE, FRAME_MORE, 8 << 3, 9 << 3 | 1, 6};

	spec->n_exts = one_in(run, 4) ? draw(run, FRAME_EXTS_MAX + 1) : 1 + draw(run, 3);
	for (uint32_t i = 0; i < spec->n_exts; i++) {
		spec->exts[i].type = types[draw(run, one_in(run, 8) ? 13 : 11)];
		spec->exts[i].units = (uint8_t)draw(run, 4);
		spec->exts[i].frag = PICK(run, frags);
	}
}

static void draw_lie(struct run *run, struct frame_spec *spec)
{
	static const uint32_t lengths[] = {0, 7, 8, 19, 20, 27, 28, 65535};

	spec->lie = (enum frame_lie)(1 + draw(run, 4));
	if (spec->lie == LIE_VERSION || spec->lie == LIE_IHL)
		spec->lie_value = draw(run, 16);
	else if (one_in(run, 2))
		spec->lie_value = PICK(run, lengths);
	else
		spec->lie_value = draw(run, 120);
}

static void draw_frame(struct run *run, struct frame *ret_frame)
{
	static const uint8_t protocols[] = {6, 1, 58, 47, 132};
	static const uint16_t frags[] = {FRAME_MF, FRAME_MF, 9, FRAME_MF | 9, 0x4000, 0x8000};
	static const uint16_t tags[] = {FRAME_VLAN, FRAME_VLAN, FRAME_QINQ};
	bool v6 = one_in(run, 2);
	struct frame_spec spec = v6 ? frame_spec6() : frame_spec4();

	draw_addr(run, v6, spec.src);
	spec.dst[v6 ? 15 : 3] = (uint8_t)(1 + draw(run, 2));
	spec.dst_port = one_in(run, 20) ? (uint16_t)draw(run, 65536) : PICK(run, ports);
	spec.payload = draw(run, one_in(run, 50) ? 9000 : 80);
	spec.checksum = (uint16_t)draw(run, 3);
	if (one_in(run, 6))
		spec.n_tags = 1 + draw(run, FRAME_TAGS_MAX);
	for (uint32_t i = 0; i < spec.n_tags; i++)
		spec.tags[i] = PICK(run, tags);
	if (spec.n_tags && one_in(run, 3))
		spec.unnumbered = (uint8_t)draw(run, 1 << FRAME_TAGS_MAX);
	if (one_in(run, 10))
		spec.padding = draw(run, 30);
	if (!v6 && one_in(run, 8))
		spec.options = draw(run, 11);
	if (!v6 && one_in(run, 10))
		spec.frag = PICK(run, frags);
	if (v6 && one_in(run, 5))
		draw_exts(run, &spec);
	if (one_in(run, 30))
		spec.protocol = PICK(run, protocols);
	if (one_in(run, 14))
		draw_lie(run, &spec);
	frame_build(&spec, ret_frame);
	if (one_in(run, 16))
		ret_frame->len = 14 + draw(run, ret_frame->len - 13);
	if (one_in(run, 16))
		ret_frame->data[draw(run, MIN(ret_frame->len, 100u))] = (uint8_t)draw(run, 256);
}

static void draw_time(struct run *run)
{
	static const uint32_t fractions[] = {1, 2, 5, 10, 100, 1000, 1000000};

	switch (draw(run, 40)) {
	case 0:
		trial_advance(&run->trial, draw(run, 1000000));
		break;
	case 1:
		trial_advance(&run->trial, S / PICK(run, fractions));
		break;
	case 2:
		trial_advance(&run->trial, S / PICK(run, fractions) - 1);
		trial_advance(&run->trial, draw(run, 3));
		break;
	default:
		break;
	}
}

/* ---- runs ---- */

/* Frames with the set in force. False: the counters disagree at its end. */
static bool run_set(struct run *run, uint32_t at, bool check_every)
{
	const struct campaign *campaign = run->campaign;
	static struct frame frame;
	char why[512];

	for (uint32_t i = 0; i < campaign->frames; i++) {
		snprintf(run->trial.note, sizeof(run->trial.note), "seed %lu, set %u, frame %u",
			 campaign->seed, at, i);
		draw_time(run);
		draw_frame(run, &frame);
		run->trial.linear = run->tears && one_in(run, 6) ? 14 + draw(run, 80) : 0;
		trial_judge(&run->trial, &frame);
		if (check_every && !trial_counts_agree(&run->trial, why, sizeof(why)))
			trial_fail(&run->trial, &frame, "%s", why);
	}
	return trial_counts_agree(&run->trial, why, sizeof(why));
}

static bool run_campaign(const struct campaign *campaign, bool check_every)
{
	struct run run = {.campaign = campaign, .random = campaign->seed};
	bool ok = true;

	draw_set(&run);
	trial_open(&run.trial, &run.set, campaign->served, campaign->n_served);
	run.tears = trial_can_tear(&run.trial);
	for (uint32_t i = 0; ok && i < campaign->sets; i++) {
		ok = run_set(&run, i, check_every);
		/* Sometimes everything has been paid for, sometimes hardly anything. */
		if (one_in(&run, 4))
			trial_advance(&run.trial, 3600 * S);
		draw_set(&run);
		trial_replace(&run.trial, &run.set);
	}
	rule_set_free(&run.set);
	xdp_close(run.trial.xdp);
	model_free(&run.trial.model);
	return ok;
}

/* Counters are read once with each set; only when they are wrong, after every frame. */
static void campaign_must_hold(const struct campaign *campaign)
{
	if (run_campaign(campaign, false))
		return;
	run_campaign(campaign, true);
	cr_assert_fail("seed %lu: counters disagree, but not when read after every frame",
		       campaign->seed);
}

enum { PLAIN_SETS = 130, PLAIN_FRAMES = 1000, LIMIT_SETS = 40, LIMIT_FRAMES = 4000 };

/* Of the addresses and ports that frames are for, about half. */
static const union addr_inet *served_some(uint32_t *ret_n)
{
	static union addr_inet served[5];

	served[0].v4 = (struct sockaddr_in){AF_INET, htons(53), {htonl(0xc0000201)}, {0}};
	served[1].v4 = (struct sockaddr_in){AF_INET, htons(80), {INADDR_ANY}, {0}};
	served[2].v4 = (struct sockaddr_in){AF_INET, htons(80), {htonl(0xc0000202)}, {0}};
	served[3].v6.sin6_family = AF_INET6;
	served[3].v6.sin6_port = htons(53);
	served[4].v6.sin6_family = AF_INET6;
	served[4].v6.sin6_port = htons(1);
	cr_assert_eq(inet_pton(AF_INET6, "2001:db8:ffff::2", &served[4].v6.sin6_addr), 1);
	*ret_n = ARRAY_SIZE(served);
	return served;
}

static void verdicts(uint64_t seed, bool in_server)
{
	struct campaign campaign = {.seed = seed, .sets = PLAIN_SETS, .frames = PLAIN_FRAMES};

	if (in_server)
		campaign.served = served_some(&campaign.n_served);
	campaign_must_hold(&campaign);
}

static void limits(uint64_t seed, bool in_server)
{
	struct campaign campaign = {.seed = seed, .sets = LIMIT_SETS, .frames = LIMIT_FRAMES};

	campaign.limits = true;
	if (in_server)
		campaign.served = served_some(&campaign.n_served);
	campaign_must_hold(&campaign);
}

Test(xdp_random, verdicts_1)
{
	verdicts(0x9e3779b97f4a7c15, false);
}

Test(xdp_random, verdicts_2)
{
	verdicts(0xbf58476d1ce4e5b9, false);
}

Test(xdp_random, verdicts_in_a_server)
{
	verdicts(0xa0761d6478bd642f, true);
}

Test(xdp_random, limits_1)
{
	limits(0x94d049bb133111eb, false);
}

Test(xdp_random, limits_2)
{
	limits(0xd6e8feb86659fd93, false);
}

Test(xdp_random, limits_in_a_server)
{
	limits(0xe7037ed1a0b428db, true);
}
