/* SPDX-License-Identifier: MIT */
/* Limits of the XDP filter, exact to the datagram by a clock that stands unless it is told. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>

#include "tests/xdp_model.h"

TestSuite(xdp_limit, .timeout = 120);

#define S ((uint64_t)NS_PER_S)
#define MS ((uint64_t)NS_PER_MS)

static struct frame frame_from(const char *src)
{
	bool v6 = strchr(src, ':');
	struct frame_spec spec = v6 ? frame_spec6() : frame_spec4();
	struct frame frame;

	cr_assert_eq(inet_pton(v6 ? AF_INET6 : AF_INET, src, spec.src), 1);
	frame_build(&spec, &frame);
	return frame;
}

static bool passes(struct trial *trial, const struct frame *frame)
{
	return trial_judge(trial, frame).verdict == FILTER_PASS;
}

/* Sends n from src; passed of them pass, and the others are over the limit. */
static void send_n(struct trial *trial, const char *src, uint32_t n, uint32_t passed)
{
	struct frame frame = frame_from(src);

	for (uint32_t i = 0; i < n; i++)
		if (passes(trial, &frame) != (i < passed))
			trial_fail(trial, &frame, "datagram %u from %s", i, src);
}

/* ---- exactness ---- */

Test(xdp_limit, burst_and_rate_are_exact)
{
	static const char *const by[] = {"per source", "per prefix 24,48", "total"};
	static const char *const sources[] = {"10.0.0.1", "2001:db8::1"};
	char text[128];

	for (uint32_t i = 0; i < 6; i++) {
		const char *src = sources[i % 2];
		struct trial trial;

		snprintf(text, sizeof(text), "limit rate 10 burst 5 %s", by[i / 2]);
		trial_open_text(&trial, text);
		send_n(&trial, src, 8, 5);
		trial_advance(&trial, 100 * MS - 1);
		send_n(&trial, src, 2, 0);
		trial_advance(&trial, 1);
		send_n(&trial, src, 3, 1);
		trial_advance(&trial, 250 * MS);
		send_n(&trial, src, 4, 2);
		trial_advance(&trial, 50 * MS);
		send_n(&trial, src, 2, 1);
		/* Idle for long: the burst again, and no more. */
		trial_advance(&trial, 3600 * S);
		send_n(&trial, src, 8, 5);
		trial_advance(&trial, 499 * MS);
		send_n(&trial, src, 8, 4);
		trial_close(&trial);
	}
}

/* Rates and bursts, each pair of them a rule for a port of its own. */
enum { PAIRS_MAX = 64 };

struct pair {
	uint32_t rate, burst;
	struct frame frame;
};

static struct pair pairs[PAIRS_MAX];

static uint32_t open_pairs(struct trial *trial, const uint32_t *rates, size_t n_rates,
			   const uint32_t *bursts, size_t n_bursts)
{
	struct rule_set set = trial_rules("default drop");
	struct frame_spec spec = frame_spec4();
	uint32_t n = (uint32_t)(n_rates * n_bursts);
	char text[160];

	cr_assert_leq(n, PAIRS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		struct pair *pair = &pairs[i];
		struct rule_error error;

		pair->rate = rates[i / n_bursts];
		pair->burst = bursts[i % n_bursts];
		snprintf(text, sizeof(text),
			 "pass to-port %u\nlimit to-port %u rate %u burst %u per source", i + 1,
			 i + 1, pair->rate, pair->burst);
		cr_assert_eq(rule_set_parse(&set, text, strlen(text), &error), 0);
		spec.dst_port = (uint16_t)(i + 1);
		frame_build(&spec, &pair->frame);
	}
	trial_open(trial, &set, NULL, 0);
	rule_set_free(&set);
	return n;
}

/* Rates that nothing has to be rounded for: what passes does so not a nanosecond too soon. */
Test(xdp_limit, next_datagram_to_the_nanosecond)
{
	static const uint32_t rates[] = {1, 2, 8, 100, 1000, 50000, 1000000, 1000000000};
	static const uint32_t bursts[] = {1, 2, 3, 50};
	struct trial trial;
	uint32_t n = open_pairs(&trial, rates, ARRAY_SIZE(rates), bursts, ARRAY_SIZE(bursts));

	for (uint32_t i = 0; i < n; i++) {
		struct pair *pair = &pairs[i];

		for (uint32_t k = 0; k < pair->burst + 2; k++)
			cr_assert_eq(passes(&trial, &pair->frame), k < pair->burst);
		for (uint32_t k = 0; k < 20; k++) {
			trial_advance(&trial, S / pair->rate - 1);
			cr_assert(!passes(&trial, &pair->frame));
			trial_advance(&trial, 1);
			cr_assert(passes(&trial, &pair->frame));
			cr_assert(!passes(&trial, &pair->frame));
		}
	}
	trial_close(&trial);
}

/* Rates that something has to be rounded for: bursts are exact all the same, and what passes over
 * a long time is right to a thousandth. */
Test(xdp_limit, rates_that_divide_nothing)
{
	static const uint32_t rates[] = {3, 7, 11, 999, 1001, 30011, 999983, 9999991};
	static const uint32_t bursts[] = {1, 3, 7, 1000};
	struct trial trial;
	uint32_t n = open_pairs(&trial, rates, ARRAY_SIZE(rates), bursts, ARRAY_SIZE(bursts));

	for (uint32_t i = 0; i < n; i++) {
		struct pair *pair = &pairs[i];
		uint64_t step = S / pair->rate / 2, elapsed = 0, passed = 0;

		for (uint32_t k = 0; k < pair->burst + 5; k++)
			cr_assert_eq(trial_run(&trial, &pair->frame) == XDP_PASS, k < pair->burst,
				     "rate %u burst %u: datagram %u", pair->rate, pair->burst, k);
		for (; passed < 2000; elapsed += step) {
			trial_advance(&trial, step);
			passed += trial_run(&trial, &pair->frame) == XDP_PASS;
		}
		cr_assert_leq(passed, elapsed * pair->rate / S * 1001 / 1000 + 1);
		/* With a burst of 1 what is sent between two times comes too early. */
		if (pair->burst > 1)
			cr_assert_geq(passed, elapsed * pair->rate / S * 999 / 1000 - 1);
	}
	xdp_close(trial.xdp);
	model_free(&trial.model);
}

Test(xdp_limit, bytes_of_frames)
{
	struct frame_spec spec = frame_spec4();
	struct trial trial;
	struct frame frame;

	trial_open_text(&trial, "limit rate 1000B/s burst 2000B per source");
	spec.payload = 1000 - 42;
	frame_build(&spec, &frame);
	cr_assert(passes(&trial, &frame) && passes(&trial, &frame) && !passes(&trial, &frame));
	/* 60 bytes are paid for at 60 ms; tags and padding count, too. */
	spec.payload = 60 - 42 - 8 - 4;
	spec.n_tags = 2;
	spec.tags[0] = spec.tags[1] = FRAME_VLAN;
	spec.padding = 4;
	frame_build(&spec, &frame);
	trial_advance(&trial, 60 * MS - 1);
	cr_assert(!passes(&trial, &frame));
	trial_advance(&trial, 1);
	cr_assert(passes(&trial, &frame) && !passes(&trial, &frame));
	/* What is longer than the burst never passes. */
	trial_advance(&trial, 3600 * S);
	spec = frame_spec4();
	spec.payload = 2000 - 42 + 1;
	frame_build(&spec, &frame);
	cr_assert(!passes(&trial, &frame));
	spec.payload--;
	frame_build(&spec, &frame);
	cr_assert(passes(&trial, &frame) && !passes(&trial, &frame));
	trial_close(&trial);
}

Test(xdp_limit, bytes_of_jumbo_frames)
{
	struct frame_spec spec = frame_spec6();
	struct trial trial;
	struct frame frame;

	trial_open_text(&trial, "limit rate 1000000B/s burst 30000B total");
	spec.payload = 9000 - 62;
	frame_build(&spec, &frame);
	cr_assert_eq(frame.len, 9000);
	for (uint32_t i = 0; i < 3; i++)
		cr_assert(passes(&trial, &frame));
	trial_advance(&trial, 6 * MS - 1);
	cr_assert(!passes(&trial, &frame));
	trial_advance(&trial, 1);
	cr_assert(passes(&trial, &frame));
	trial_close(&trial);
}

/* ---- who is limited ---- */

Test(xdp_limit, sources_have_a_limit_each)
{
	struct trial trial;
	char src[64];

	trial_open_text(&trial, "limit rate 1 burst 3 per source");
	for (uint32_t i = 0; i < 3000; i++) {
		if (i % 2)
			snprintf(src, sizeof(src), "2001:db8::%x", i + 1);
		else
			snprintf(src, sizeof(src), "10.0.%u.%u", i / 256, i % 256);
		send_n(&trial, src, i % 5, MIN(i % 5, 3u));
	}
	trial_close(&trial);
}

Test(xdp_limit, prefixes_share_a_limit)
{
	struct trial trial;

	trial_open_text(&trial, "limit rate 1 burst 3 per prefix 20,50");
	send_n(&trial, "10.0.0.1", 2, 2);
	send_n(&trial, "10.0.15.255", 2, 1);
	send_n(&trial, "10.0.16.0", 4, 3);
	send_n(&trial, "2001:db8:0:0::1", 2, 2);
	send_n(&trial, "2001:db8:0:3fff:ffff::1", 2, 1);
	send_n(&trial, "2001:db8:0:4000::1", 4, 3);
	trial_advance(&trial, S);
	send_n(&trial, "10.0.7.0", 2, 1);
	send_n(&trial, "2001:db8:0:7fff::", 2, 1);
	trial_close(&trial);
}

/* The two sources that are written alike are two all the same. */
Test(xdp_limit, families_are_apart)
{
	struct trial trial;

	trial_open_text(&trial, "limit rate 1 burst 2 per source");
	send_n(&trial, "10.0.0.1", 3, 2);
	send_n(&trial, "::ffff:10.0.0.1", 3, 2);
	send_n(&trial, "::10.0.0.1", 3, 2);
	send_n(&trial, "a00:1::", 3, 2);
	trial_close(&trial);
}

Test(xdp_limit, the_most_specific_limit_is_the_only_one)
{
	struct trial trial;

	trial_open_text(&trial, "limit rate 1 burst 1 per source\n"
				"limit to-port 53 rate 1 burst 2 per source\n"
				"limit from 10.0.0.0/8 rate 1 burst 3 per source\n"
				"limit from 10.1.0.0/16 rate 1 burst 4 per source\n"
				"limit from 10.0.0.0/9 to-port 53 rate 1 burst 5 per source\n"
				"limit from 2001:db8::/32 rate 1 burst 6 per source\n");
	send_n(&trial, "9.0.0.1", 9, 2);
	send_n(&trial, "10.128.0.1", 9, 3);
	send_n(&trial, "10.1.0.1", 9, 5);
	send_n(&trial, "10.0.0.1", 9, 5);
	send_n(&trial, "2001:db8::1", 9, 6);
	send_n(&trial, "2001:db9::1", 9, 2);
	trial_close(&trial);
}

/* Limits that are asked before the one that is exceeded have been charged. */
Test(xdp_limit, source_prefix_and_total_in_this_order)
{
	static const char source[] = "limit rate 1 burst 2 per source";
	static const char prefix[] = "limit rate 1 burst 3 per prefix 24,64";
	static const char total[] = "limit rate 1 burst 4 total";
	static const struct {
		const char *src, *rule;
		enum filter_reason reason;
	} rows[] = {
		{"10.0.0.1", "default pass", FILTER_DEFAULT},
		{"10.0.0.1", "default pass", FILTER_DEFAULT},
		{"10.0.0.1", source, FILTER_RATE_SOURCE},
		{"10.0.0.2", "default pass", FILTER_DEFAULT},
		{"10.0.0.2", prefix, FILTER_RATE_PREFIX},
		{"10.0.0.2", source, FILTER_RATE_SOURCE},
		{"10.0.1.1", "default pass", FILTER_DEFAULT},
		{"10.0.1.1", total, FILTER_RATE_TOTAL},
		{"10.0.1.2", total, FILTER_RATE_TOTAL},
		{"10.0.1.2", prefix, FILTER_RATE_PREFIX},
		{"2001:db8::1", total, FILTER_RATE_TOTAL},
	};
	struct trial trial;
	char text[256];

	snprintf(text, sizeof(text), "%s\n%s\n%s\n", total, prefix, source);
	trial_open_text(&trial, text);
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct frame frame = frame_from(rows[i].src);
		bool pass = rows[i].reason == FILTER_DEFAULT;

		trial_expect(&trial, &frame, pass ? FILTER_PASS : FILTER_DROP, rows[i].reason,
			     rows[i].rule);
		trial_check(&trial);
	}
	trial_close(&trial);
}

Test(xdp_limit, what_is_dropped_anyway_costs_nothing)
{
	struct trial trial;
	struct frame frame = frame_from("10.0.0.1"), cut = frame;

	trial_open_text(&trial, "default pass\ndrop to-port 53\nlimit rate 1 burst 1 total");
	send_n(&trial, "10.0.0.1", 5, 0);
	cut.len--;
	cr_assert(!passes(&trial, &cut));
	frame.data[14 + 20 + 3]++;
	cr_assert(passes(&trial, &frame) && !passes(&trial, &frame));
	trial_close(&trial);
}

/* ---- floods ---- */

static void spoof(struct frame *frame, uint32_t source)
{
	uint32_t word = htonl(source);

	memcpy(frame_src(frame, false), &word, sizeof(word));
}

/* The limit in total is one limit, whoever sends: here a million datagrams, one from each. */
Test(xdp_limit, a_total_holds_under_spoofed_sources)
{
	enum { SOURCES = 1000000, RATE = 2000, BURST = 100, STEP_NS = 1000 };
	struct frame frame = frame_from("10.0.0.1");
	uint32_t passed = 0;
	struct trial trial;

	trial_open_text(&trial, "limit rate 2000 burst 100 total");
	for (uint32_t i = 0; i < SOURCES; i++) {
		spoof(&frame, 0x20000000 + i * 2654435761u % 0x40000000);
		passed += trial_run(&trial, &frame) == XDP_PASS;
		trial_advance(&trial, STEP_NS);
	}
	/* A second's worth, and the burst. */
	cr_assert_eq(passed, RATE + BURST - 1);
	xdp_close(trial.xdp);
	model_free(&trial.model);
}

enum { OLD = 500, CROWD = 400000, BURST = 10 };

static uint32_t passes_of(struct trial *trial, struct frame *frame, uint32_t source, uint32_t n)
{
	uint32_t passed = 0;

	spoof(frame, source);
	while (n--)
		passed += trial_run(trial, frame) == XDP_PASS;
	return passed;
}

/* More sources than the table has room for, all of them owing: those that were there before have
 * what is theirs to the datagram. */
Test(xdp_limit, a_full_table_keeps_those_in_it)
{
	struct frame frame = frame_from("10.0.0.1");
	struct trial trial;

	trial_open_text(&trial, "limit rate 1 burst 10 per source");
	for (uint32_t i = 0; i < OLD; i++)
		cr_assert_eq(passes_of(&trial, &frame, 0x0a000000 + i, 6), 6);
	for (uint32_t i = 0; i < CROWD; i++)
		passes_of(&trial, &frame, 0x20000000 + i * 7919, 1);
	for (uint32_t i = 0; i < OLD; i++)
		cr_assert_eq(passes_of(&trial, &frame, 0x0a000000 + i, 7), BURST - 6);
	for (uint32_t second = 1; second < 4; second++) {
		trial_advance(&trial, S);
		for (uint32_t i = 0; i < CROWD / 8; i++)
			passes_of(&trial, &frame, 0x60000000 + i * 7919, 1);
		for (uint32_t i = 0; i < OLD; i++)
			cr_assert_eq(passes_of(&trial, &frame, 0x0a000000 + i, 3), 1);
	}
	xdp_close(trial.xdp);
	model_free(&trial.model);
}

/* Those that come when it is full may get less than is theirs, but never more: neither at once nor
 * when places have become free. */
Test(xdp_limit, a_full_table_gives_nobody_more)
{
	enum { LATE = 2000, LATE_BASE = 0x70000000 };
	static uint32_t passed[LATE];
	struct frame frame = frame_from("10.0.0.1");
	uint32_t late_total = 0;
	struct trial trial;

	trial_open_text(&trial, "limit rate 1 burst 10 per source");
	for (uint32_t i = 0; i < CROWD; i++)
		passes_of(&trial, &frame, 0x20000000 + i * 7919, 1);
	trial_advance(&trial, S - 1);
	for (uint32_t i = 0; i < LATE; i++)
		passed[i] = passes_of(&trial, &frame, LATE_BASE + i, BURST + 2);
	for (uint32_t i = 0; i < LATE; i++)
		cr_assert_leq(passed[i], BURST);
	trial_advance(&trial, 1);
	for (uint32_t i = 0; i < LATE; i++) {
		passed[i] += passes_of(&trial, &frame, LATE_BASE + i, BURST + 2);
		cr_assert_leq(passed[i], BURST, "source %u: %u passed", i, passed[i]);
		late_total += passed[i];
	}
	cr_assert_gt(late_total, 0);
	xdp_close(trial.xdp);
	model_free(&trial.model);
}
