/* SPDX-License-Identifier: MIT */
/* The echo of the fast path beside the rest of the filter: what it leaves to the stack, rules that
 * come first, and sets that follow each other. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "tests/fast_trial.h"

TestSuite(fast_up, .timeout = 120);

enum { PORT = 53 };

static struct frame request, answer; /* too big for a stack */

static void open_rules(struct fast *fast, const char *rules)
{
	const union addr_inet served[] = {fast_addr("192.0.2.1", PORT),
					  fast_addr("2001:db8:ffff::1", PORT)};
	union addr_inet own[2];

	memcpy(own, served, sizeof(own));
	fast_open(fast, FAST_ECHO, rules, served, 2, NULL);
	fast->host.vlans[100 / 64] = 1ULL << 100 % 64;
	fast_set(fast, own, 2);
}

static struct frame_spec spec_of(bool v6)
{
	return v6 ? frame_spec6() : frame_spec4();
}

static void expect_up(struct fast *fast, const struct frame_spec *spec, enum fast_reason reason)
{
	frame_build(spec, &request);
	fast_expect_up(fast, &request, reason);
	fast_check(fast);
}

/* Whether it is answered, whatever the answer looks like. */
static void expect_echoed(struct fast *fast, const struct frame_spec *spec)
{
	frame_build(spec, &request);
	cr_assert_eq(fast_run(fast, &request, &answer), XDP_TX, "%s", fast->note);
	cr_assert_eq(answer.len, request.len);
	cr_assert(!memcmp(answer.data, request.data + 6, 6));
	fast->want[FAST_ECHOED].packets++;
	fast->want[FAST_ECHOED].bytes += request.len;
}

static void expect_dropped(struct fast *fast, const struct frame_spec *spec)
{
	frame_build(spec, &request);
	fast_expect(fast, &request, XDP_DROP, NULL, FAST_UNCOUNTED);
}

/* ---- headers ---- */

Test(fast_up, options_and_extension_headers)
{
	static const uint8_t exts[] = {0, 43, 60, 51, 135, 139, 140};
	struct fast fast;

	open_rules(&fast, "default pass");
	for (uint32_t words = 1; words <= 10; words++) {
		struct frame_spec spec = frame_spec4();

		spec.options = words;
		expect_up(&fast, &spec, FAST_UP_HEADERS);
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(exts); i++) {
		struct frame_spec spec = frame_spec6();

		spec.exts[0] = (struct frame_ext){.type = exts[i], .units = exts[i] == 51};
		spec.n_exts = 1;
		expect_up(&fast, &spec, FAST_UP_HEADERS);
	}
	fast_close(&fast);
}

Test(fast_up, fragments)
{
	struct frame_spec spec = frame_spec4();
	struct fast fast;

	open_rules(&fast, "default pass");
	spec.frag = FRAME_MF;
	expect_up(&fast, &spec, FAST_UP_FRAGMENT);
	spec.frag = FRAME_MF | 0x4000;
	expect_up(&fast, &spec, FAST_UP_FRAGMENT);
	spec.frag = FRAME_MF | 10;
	expect_up(&fast, &spec, FAST_UNCOUNTED);
	spec.frag = 10;
	expect_up(&fast, &spec, FAST_UNCOUNTED);
	spec.frag = 0x4000; /* not to be fragmented */
	expect_echoed(&fast, &spec);
	spec = frame_spec6();
	spec.n_exts = 1;
	spec.exts[0] = (struct frame_ext){.type = 44, .frag = FRAME_MORE};
	expect_up(&fast, &spec, FAST_UP_FRAGMENT);
	spec.exts[0].frag = 10 << 3 | FRAME_MORE;
	expect_up(&fast, &spec, FAST_UNCOUNTED);
	spec.exts[0].frag = 10 << 3;
	expect_up(&fast, &spec, FAST_UNCOUNTED);
	spec.exts[0].frag = 0; /* of one piece */
	expect_up(&fast, &spec, FAST_UP_HEADERS);
	fast_close(&fast);
}

Test(fast_up, tags_of_no_vlan_here)
{
	static const struct {
		uint16_t outer, inner; /* numbers; 0: none */
		bool answered;
	} rows[] = {
		{100, 0, true},    {101, 0, false},   {99, 0, false},     {36, 0, false},
		{164, 0, false},   {4095, 0, false},  {1, 0, false},      {100, 100, true},
		{100, 101, false}, {101, 100, false}, {100, 4095, false}, {4095, 100, false},
	};
	struct fast fast;

	open_rules(&fast, "default pass");
	for (uint32_t i = 0; i < 2 * 4 * ARRAY_SIZE(rows); i++) {
		struct frame_spec spec = spec_of(i % 2);
		uint32_t row = i / 8, priority = i / 2 % 4 * 0x5000 & 0xf000;

		spec.n_tags = rows[row].inner ? 2 : 1;
		spec.tags[0] = i / 2 % 2 ? FRAME_QINQ : FRAME_VLAN;
		spec.tags[1] = FRAME_VLAN;
		frame_build(&spec, &request);
		fast_put16(request.data + 14, priority | rows[row].outer);
		if (rows[row].inner)
			fast_put16(request.data + 18, priority | rows[row].inner);
		fast_seal(&request);
		if (rows[row].answered)
			cr_assert_eq(fast_run(&fast, &request, &answer), XDP_TX, "row %u", row);
		else
			fast_expect_up(&fast, &request, FAST_UP_VLAN);
		fast.want[FAST_ECHOED].packets += rows[row].answered;
		fast.want[FAST_ECHOED].bytes += rows[row].answered ? request.len : 0;
	}
	fast_close(&fast);
}

Test(fast_up, frames_in_several_buffers)
{
	struct fast fast;

	open_rules(&fast, "default pass");
	for (uint32_t i = 0; i < 2; i++) {
		struct frame_spec spec = spec_of(i);

		spec.payload = 8000;
		expect_up(&fast, &spec, FAST_UP_BUFFERS);
		spec.payload = 3000;
		expect_echoed(&fast, &spec);
	}
	fast_close(&fast);
}

/* ---- checksums ---- */

Test(fast_up, checksums_that_miss)
{
	struct frame_spec spec = frame_spec6();
	struct fast fast;

	open_rules(&fast, "default pass");
	spec.checksum = 0;
	expect_up(&fast, &spec, FAST_UP_CHECKSUM);
	spec = frame_spec4();
	spec.checksum = 0;
	expect_echoed(&fast, &spec);
	cr_assert_eq(fast_get16(fast_udp(&answer) + 6), 0);
	fast_close(&fast);
}

/* As a socket on a veth leaves them; where no frame comes like that, the same is a checksum. */
Test(fast_up, checksums_that_are_unfinished)
{
	struct fast fast;

	open_rules(&fast, "default pass");
	for (uint32_t i = 0; i < 4000; i++) {
		struct frame_spec spec = spec_of(i % 2);
		uint32_t pseudo;
		bool partial = i / 2 % 2;

		if (i == 2000) {
			fast.host.partial = 1;
			xdp_fast_off(fast.xdp);
			fast_set(&fast,
				 (union addr_inet[]){fast_addr("192.0.2.1", 0),
						     fast_addr("2001:db8:ffff::1", 0)},
				 2);
		}
		spec.payload = fast_below(&fast, 1400);
		spec.src_port = (uint16_t)(2000 + fast_below(&fast, 50000));
		spec.src[3] = (uint8_t)(1 + fast_below(&fast, 200));
		frame_build(&spec, &request);
		fast_put16(fast_ip(&request) + (spec.v6 ? 18 : 13), fast_below(&fast, 65536));
		fast_seal(&request);
		pseudo = fast_sum_pseudo(&request);
		if (partial || fast_get16(fast_udp(&request) + 6) == pseudo)
			fast_put16(fast_udp(&request) + 6, pseudo);
		if (partial && i >= 2000) {
			fast_expect_up(&fast, &request, FAST_UP_CHECKSUM);
			continue;
		}
		cr_assert_eq(fast_run(&fast, &request, &answer), XDP_TX, "%u", i);
		cr_assert(!memcmp(fast_udp(&answer) + 4, fast_udp(&request) + 4, spec.payload + 4));
		fast.want[FAST_ECHOED].packets++;
		fast.want[FAST_ECHOED].bytes += request.len;
	}
	fast_close(&fast);
}

/* ---- the rest of the filter ---- */

Test(fast_up, what_is_broken_is_dropped)
{
	static const enum frame_lie lies[] = {LIE_UDP_LEN, LIE_IP_LEN, LIE_IHL};
	static const uint32_t values[] = {7, 27, 4, 27 + 1000, 46 + 1000, 15};
	struct fast fast;
	uint64_t dropped = 0;

	open_rules(&fast, "default pass");
	for (uint32_t i = 0; i < 2 * 6; i++) {
		struct frame_spec spec = spec_of(i % 2);

		spec.lie = lies[i / 2 % 3];
		spec.lie_value = values[i / 2];
		if (spec.v6 && spec.lie == LIE_IHL)
			continue;
		if (spec.v6 && spec.lie == LIE_IP_LEN && spec.lie_value == 27)
			spec.lie_value = 7;
		/* The port has to be there, or it is for nobody. */
		if (spec.lie == LIE_IHL)
			continue;
		expect_dropped(&fast, &spec);
		dropped++;
	}
	for (uint32_t i = 0; i < 2 * 18; i++) {
		struct frame_spec spec = spec_of(i % 2);

		frame_build(&spec, &request);
		request.len -= i / 2 + 1;
		fast_expect(&fast, &request, XDP_DROP, NULL, FAST_UNCOUNTED);
		dropped++;
	}
	cr_assert_eq(fast_filter_count(&fast, FILTER_MALFORMED, FILTER_DROP).packets, dropped);
	fast_close(&fast);
}

Test(fast_up, what_is_not_for_a_listener)
{
	struct fast fast;

	open_rules(&fast, "default pass");
	for (uint32_t i = 0; i < 2; i++) {
		struct frame_spec spec = spec_of(i);

		spec.dst_port = PORT + 1;
		expect_up(&fast, &spec, FAST_UNCOUNTED);
		spec = spec_of(i);
		spec.dst[i ? 15 : 3]++;
		expect_up(&fast, &spec, FAST_UNCOUNTED);
		spec = spec_of(i);
		spec.protocol = IPPROTO_TCP;
		expect_up(&fast, &spec, FAST_UNCOUNTED);
		spec = spec_of(i);
		spec.ethertype = FRAME_ARP;
		expect_up(&fast, &spec, FAST_UNCOUNTED);
	}
	fast_close(&fast);
}

#define RULES                                          \
	"default pass\n"                               \
	"drop from 10.0.0.9\n"                         \
	"drop from 2001:db8::9\n"                      \
	"pass from 10.0.0.8\n"                         \
	"limit to-port 53 rate 1 burst 3 per source\n" \
	"drop length 100-200\n"

#define LIMIT "limit to-port 53 rate 1 burst 3 per source"

Test(fast_up, rules_come_first)
{
	struct fast fast;

	open_rules(&fast, RULES);
	for (uint32_t i = 0; i < 2; i++) {
		struct frame_spec spec = spec_of(i);
		uint8_t *last = &spec.src[i ? 15 : 3];

		*last = 9;
		expect_dropped(&fast, &spec);
		*last = 1;
		spec.payload = 100;
		expect_dropped(&fast, &spec);
		spec.payload = 200;
		expect_dropped(&fast, &spec);
		spec.payload = 201;
		expect_echoed(&fast, &spec);
		spec.payload = 99;
		expect_echoed(&fast, &spec);
		expect_echoed(&fast, &spec);
		expect_dropped(&fast, &spec);
		*last = 2;
		expect_echoed(&fast, &spec);
		xdp_set_clock(fast.xdp, (1001 + i) * (uint64_t)NS_PER_S);
		*last = 1;
		expect_echoed(&fast, &spec);
		expect_dropped(&fast, &spec);
	}
	cr_assert_eq(fast_rule_packets(&fast, "drop from 10.0.0.9"), 1);
	cr_assert_eq(fast_rule_packets(&fast, "drop from 2001:db8::9"), 1);
	cr_assert_eq(fast_rule_packets(&fast, "drop length 100-200"), 4);
	cr_assert_eq(fast_rule_packets(&fast, LIMIT), 4);
	cr_assert_eq(fast_rule_packets(&fast, "default pass"), 10);
	cr_assert_eq(fast_filter_count(&fast, FILTER_DEFAULT, FILTER_PASS).packets, 10);
	fast_close(&fast);
}

/* Rules count what passes them, answered or not. */
Test(fast_up, rules_count_what_is_answered)
{
	struct frame_spec spec = frame_spec4();
	struct fast fast;

	open_rules(&fast, "default drop\npass from 10.0.0.8\npass to-port 53");
	for (uint32_t i = 0; i < 10; i++) {
		spec.src[3] = i % 2 ? 8 : 1;
		if (i == 8)
			xdp_fast_off(fast.xdp);
		if (i < 8)
			expect_echoed(&fast, &spec);
		else
			expect_up(&fast, &spec, FAST_UP_OFF);
	}
	cr_assert_eq(fast_rule_packets(&fast, "pass from 10.0.0.8"), 5);
	cr_assert_eq(fast_rule_packets(&fast, "pass to-port 53"), 5);
	cr_assert_eq(fast_rule_packets(&fast, "default drop"), 0);
	cr_assert_eq(fast_filter_count(&fast, FILTER_PORT, FILTER_PASS).packets, 5);
	fast_close(&fast);
}

Test(fast_up, rules_that_follow_keep_the_fast_path)
{
	struct frame_spec spec;
	struct xdp_info info;
	struct fast fast;

	open_rules(&fast, "default pass");
	for (uint32_t round = 0; round < 4; round++) {
		for (uint32_t i = 0; i < 2; i++) {
			spec = spec_of(i);
			spec.src[i ? 15 : 3] = 9;
			if (round % 2)
				expect_dropped(&fast, &spec);
			else
				expect_echoed(&fast, &spec);
			spec.src[i ? 15 : 3] = 7;
			expect_echoed(&fast, &spec);
			cr_assert_eq(fast_ip(&answer)[i ? 7 : 8], i ? 62 : 61);
			spec.dst[i ? 15 : 3] = 7;
			expect_up(&fast, &spec, FAST_UNCOUNTED);
		}
		fast_check(&fast);
		fast_replace(&fast, round % 2 ? "default pass"
					      : "default pass\ndrop from 10.0.0.9\n"
						"drop from 2001:db8::9");
		fast_check(&fast);
		xdp_info(fast.xdp, &info);
		cr_assert_eq(info.fast, FAST_ECHO);
		cr_assert_eq(info.generation, round + 2);
	}
	/* What is said of the host afterwards is said to the set in force. */
	xdp_fast_off(fast.xdp);
	spec = frame_spec4();
	expect_up(&fast, &spec, FAST_UP_OFF);
	fast_close(&fast);
}

/* What a host is like may change in any respect. */
Test(fast_up, the_host_is_what_was_said_last)
{
	const union addr_inet own[] = {fast_addr("192.0.2.1", 0)};
	struct frame_spec spec = frame_spec4();
	struct fast fast;

	open_rules(&fast, "default pass");
	expect_echoed(&fast, &spec);
	cr_assert_eq(fast_ip(&answer)[8], 61);
	fast.host.hop_limit4 = 99;
	fast_set(&fast, own, 1);
	expect_echoed(&fast, &spec);
	cr_assert_eq(fast_ip(&answer)[8], 99, "the hop limit that was before");
	fast.host.redirect = 1;
	fast_set(&fast, own, 1);
	frame_build(&spec, &request);
	cr_assert_eq(fast_run(&fast, &request, &answer), XDP_REDIRECT);
	xdp_close(fast.xdp);
}
