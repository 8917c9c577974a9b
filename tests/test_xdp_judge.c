/* SPDX-License-Identifier: MIT */
/* What the XDP filter answers: verdicts and reasons, fragments, servers, and sets that change. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "tests/xdp_model.h"

TestSuite(xdp_judge, .timeout = 120);

static struct frame_spec spec_from(const char *src, uint16_t dst_port, uint32_t payload)
{
	bool v6 = strchr(src, ':');
	struct frame_spec spec = v6 ? frame_spec6() : frame_spec4();

	cr_assert_eq(inet_pton(v6 ? AF_INET6 : AF_INET, src, spec.src), 1);
	spec.dst_port = dst_port;
	spec.payload = payload;
	return spec;
}

/* ---- rules ---- */

struct judge_row {
	const char *src;
	uint16_t port;
	uint32_t payload;
	enum filter_reason reason;
	const char *rule;
};

static void expect_rows(struct trial *trial, const struct judge_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct judge_row *row = &rows[i];
		struct frame_spec spec = spec_from(row->src, row->port, row->payload);
		bool drop = !strncmp(row->rule, "drop", 4) || !strcmp(row->rule, "default drop");
		struct frame frame;

		frame_build(&spec, &frame);
		trial_expect(trial, &frame, drop ? FILTER_DROP : FILTER_PASS, row->reason,
			     row->rule);
		trial_check(trial);
	}
}

Test(xdp_judge, the_most_specific_rule_answers)
{
	static const struct judge_row rows[] = {
		{"9.0.0.1", 1, 100, FILTER_DEFAULT, "default drop"},
		{"9.0.0.1", 53, 100, FILTER_PORT, "pass to-port 53"},
		{"9.0.0.1", 19, 100, FILTER_PORT, "drop to-port 19"},
		{"10.0.0.1", 1, 100, FILTER_PREFIX, "pass from 10.0.0.0/8"},
		{"10.1.0.1", 1, 100, FILTER_PREFIX, "drop from 10.1.0.0/16"},
		{"10.1.1.1", 1, 100, FILTER_PREFIX, "pass from 10.1.1.1"},
		/* A prefix comes before a port, */
		{"10.0.0.1", 19, 100, FILTER_PREFIX, "pass from 10.0.0.0/8"},
		{"10.1.0.1", 53, 100, FILTER_PREFIX, "drop from 10.1.0.0/16"},
		/* and any prefix of the port's own list before all of the other. */
		{"10.1.1.5", 7, 100, FILTER_PREFIX, "drop from 0.0.0.0/0 to-port 7"},
		{"11.1.1.1", 7, 100, FILTER_PREFIX, "drop from 0.0.0.0/0 to-port 7"},
		{"10.1.1.2", 7, 100, FILTER_PREFIX, "pass from 10.1.1.0/30 to-port 7"},
		/* Lengths come before all that. */
		{"10.1.1.2", 7, 0, FILTER_LENGTH, "drop length 0-3"},
		{"10.1.1.2", 7, 3, FILTER_LENGTH, "drop length 0-3"},
		{"10.1.1.2", 7, 4, FILTER_PREFIX, "pass from 10.1.1.0/30 to-port 7"},
		{"10.1.1.2", 7, 511, FILTER_PREFIX, "pass from 10.1.1.0/30 to-port 7"},
		{"10.1.1.2", 53, 511, FILTER_PREFIX, "drop from 10.1.0.0/16"},
		{"10.1.1.2", 53, 512, FILTER_LENGTH, "drop length 512-65535 to-port 53"},
		{"10.1.1.2", 53, 2, FILTER_LENGTH, "drop length 0-3"},
		/* The same of the other family, which no prefix above is about. */
		{"2001:db9::1", 1, 100, FILTER_DEFAULT, "default drop"},
		{"2001:db9::1", 53, 100, FILTER_PORT, "pass to-port 53"},
		{"2001:db9::1", 7, 100, FILTER_PREFIX, "pass from ::/0 to-port 7"},
		{"2001:db8::1", 1, 100, FILTER_PREFIX, "pass from 2001:db8::/32"},
		{"2001:db8::1", 53, 100, FILTER_PREFIX, "pass from 2001:db8::/32"},
		{"2001:db8:0:1::1", 53, 100, FILTER_PREFIX, "drop from 2001:db8:0:1::/64"},
		{"2001:db8:0:1::2", 53, 100, FILTER_PREFIX, "pass from 2001:db8:0:1::2"},
		{"2001:db8:0:1::2", 7, 100, FILTER_PREFIX, "pass from ::/0 to-port 7"},
		{"2001:db8:0:1::3", 7, 1, FILTER_LENGTH, "drop length 0-3"},
	};
	struct trial trial;

	trial_open_text(&trial, "default drop\n"
				"pass to-port 53\n"
				"drop to-port 19\n"
				"pass from 10.0.0.0/8\n"
				"drop from 10.1.0.0/16\n"
				"pass from 10.1.1.1\n"
				"drop from 0.0.0.0/0 to-port 7\n"
				"pass from 10.1.1.0/30 to-port 7\n"
				"drop length 0-3\n"
				"drop length 512-65535 to-port 53\n"
				"pass from ::/0 to-port 7\n"
				"pass from 2001:db8::/32\n"
				"drop from 2001:db8:0:1::/64\n"
				"pass from 2001:db8:0:1::2\n");
	expect_rows(&trial, rows, ARRAY_SIZE(rows));
	trial_close(&trial);
}

/* A prefix of the port that only limits leaves the verdict to the other list. */
Test(xdp_judge, questions_are_answered_apart)
{
	static const struct judge_row rows[] = {
		{"10.1.1.1", 53, 9, FILTER_PREFIX, "pass from 10.1.0.0/16"},
		{"10.2.1.1", 53, 9, FILTER_PREFIX, "drop from 10.0.0.0/8"},
		{"11.2.1.1", 53, 9, FILTER_PORT, "pass to-port 53"},
		{"11.2.1.1", 54, 9, FILTER_DEFAULT, "default drop"},
	};
	struct trial trial;

	trial_open_text(&trial, "default drop\n"
				"limit from 10.1.1.0/24 to-port 53 rate 1 burst 1 per source\n"
				"limit from 11.0.0.0/8 rate 1 burst 1 per source\n"
				"pass to-port 53\n"
				"drop from 10.0.0.0/8\n"
				"pass from 10.1.0.0/16\n");
	expect_rows(&trial, rows, ARRAY_SIZE(rows));
	trial_close(&trial);
}

/* Every length in the list of a port of its own, and all of them in the list for any port, where
 * one passes what the next one drops. */
Test(xdp_judge, every_prefix_length)
{
	enum { LENGTHS = 33 + 129 };
	static char text[LENGTHS * 100];
	struct trial trial;
	size_t len = 0;

	for (uint32_t i = 0; i < LENGTHS; i++) {
		bool v6 = i > 32;
		const char *zero = v6 ? "::" : "0.0.0.0";
		uint32_t bits = v6 ? i - 33 : i;

		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"drop from %s/%u to-port %u\n%s from %s/%u\n", zero, bits,
					i + 1, bits % 2 ? "pass" : "drop", zero, bits);
	}
	trial_open_text(&trial, text);
	for (uint32_t i = 0; i < 2 * LENGTHS; i++) {
		bool v6 = i / 2 > 32, own_list = i % 2;
		uint32_t bits = v6 ? i / 2 - 33 : i / 2;
		uint16_t port = own_list ? (uint16_t)(i / 2 + 1) : 999;
		struct frame_spec spec = spec_from(v6 ? "::" : "0.0.0.0", port, 9);
		struct frame frame;

		for (uint32_t bit = 0; bit < (v6 ? 128u : 32u); bit++) {
			bool drop = own_list && bit >= bits ? true : bit % 2 == 0;

			frame_build(&spec, &frame);
			frame_src(&frame, v6)[bit / 8] ^= 0x80 >> bit % 8;
			if (trial_judge(&trial, &frame).verdict !=
			    (drop ? FILTER_DROP : FILTER_PASS))
				trial_fail(&trial, &frame, "bit %u of length %u", bit, bits);
		}
		trial_check(&trial);
	}
	trial_close(&trial);
}

Test(xdp_judge, every_port)
{
	struct frame_spec spec = frame_spec4();
	struct trial trial;
	struct frame frame;

	trial_open_text(&trial, "default pass\ndrop to-port 1\ndrop to-port 53\ndrop to-port 256\n"
				"drop to-port 13568\ndrop to-port 65535");
	frame_build(&spec, &frame);
	for (uint32_t port = 0; port < 65536; port++) {
		frame.data[14 + 20 + 2] = (uint8_t)(port >> 8);
		frame.data[14 + 20 + 3] = (uint8_t)port;
		trial_judge(&trial, &frame);
	}
	trial_close(&trial);
}

/* ---- fragments ---- */

enum part { FIRST, MIDDLE, LAST, ATOMIC, DONT_FRAGMENT, PARTS };

static void part_frame(enum part part, bool v6, struct frame *ret_frame)
{
	static const uint16_t frag4[] = {FRAME_MF, FRAME_MF | 100, 200, 0x8000, 0x4000};
	static const uint16_t frag6[] = {FRAME_MORE, 100 << 3 | FRAME_MORE, 200 << 3, 0, 6};
	struct frame_spec spec = v6 ? frame_spec6() : frame_spec4();

	if (v6) {
		spec.n_exts = 2;
		spec.exts[0] = (struct frame_ext){.type = 60};
		spec.exts[1] = (struct frame_ext){.type = 44, .frag = frag6[part]};
	} else {
		spec.frag = frag4[part];
	}
	spec.payload = 64;
	/* A first fragment's UDP header tells how long the whole is. */
	if (part == FIRST) {
		spec.lie = LIE_UDP_LEN;
		spec.lie_value = 3000;
	}
	frame_build(&spec, ret_frame);
}

static void expect_parts(const char *rules, const char *fragment_rule, bool drop)
{
	enum filter_verdict verdict = drop ? FILTER_DROP : FILTER_PASS;
	struct trial trial;

	trial_open_text(&trial, rules);
	for (uint32_t i = 0; i < 2 * PARTS; i++) {
		enum part part = i / 2;
		struct frame frame;

		part_frame(part, i % 2, &frame);
		if (part == MIDDLE || part == LAST || (part == FIRST && drop))
			trial_expect(&trial, &frame, verdict, FILTER_FRAGMENT, fragment_rule);
		else if (part == FIRST)
			trial_expect(&trial, &frame, FILTER_DROP, FILTER_LENGTH,
				     "drop length 2992-2992");
		else
			trial_expect(&trial, &frame, FILTER_PASS, FILTER_PORT, "pass to-port 53");
		trial_check(&trial);
	}
	trial_close(&trial);
}

#define PART_RULES "default drop\npass to-port 53\ndrop length 2992-2992\n"

Test(xdp_judge, fragments_pass_unless_told)
{
	expect_parts(PART_RULES, NULL, false);
}

Test(xdp_judge, fragments_pass)
{
	expect_parts(PART_RULES "pass fragments", "pass fragments", false);
}

Test(xdp_judge, fragments_drop)
{
	expect_parts(PART_RULES "drop fragments", "drop fragments", true);
}

Test(xdp_judge, fragments_of_other_protocols_pass)
{
	struct trial trial;

	trial_open_text(&trial, "default drop\ndrop fragments");
	for (uint32_t i = 0; i < 2 * PARTS; i++) {
		struct frame frame;

		part_frame(i / 2, i % 2, &frame);
		if (i % 2)
			frame.data[14 + 40 + 8] = 6;
		else
			frame.data[14 + 9] = 6;
		trial_expect(&trial, &frame, FILTER_PASS, FILTER_OTHER, NULL);
	}
	trial_close(&trial);
}

/* What a first fragment has of the UDP header must be there and be sound. */
Test(xdp_judge, first_fragments_are_checked)
{
	struct trial trial;

	trial_open_text(&trial, "default pass");
	for (uint32_t i = 0; i < 2 * 8; i++) {
		struct frame frame;
		uint32_t udp = 14 + (i % 2 ? 40 + 16 : 20);

		part_frame(FIRST, i % 2, &frame);
		frame.data[udp + 4] = 0;
		frame.data[udp + 5] = (uint8_t)(i / 2);
		trial_expect(&trial, &frame, FILTER_DROP, FILTER_MALFORMED, NULL);
		part_frame(FIRST, i % 2, &frame);
		frame.len = udp + i / 2;
		if (i % 2)
			frame.data[14 + 5] = (uint8_t)(16 + i / 2);
		else
			frame.data[14 + 3] = (uint8_t)(20 + i / 2);
		trial_expect(&trial, &frame, FILTER_DROP,
			     i % 2 ? FILTER_HEADER_CHAIN : FILTER_MALFORMED, NULL);
	}
	trial_close(&trial);
}

/* The kernel takes all of those off. */
Test(xdp_judge, tags_without_a_number_hide_nothing)
{
	struct trial trial;

	trial_open_text(&trial, "default pass\ndrop to-port 53");
	for (uint32_t i = 0; i < 16; i++) {
		struct frame_spec spec = i % 2 ? frame_spec6() : frame_spec4();
		struct frame frame;

		spec.n_tags = 3;
		spec.tags[0] = spec.tags[1] = spec.tags[2] = FRAME_VLAN;
		spec.unnumbered = (uint8_t)(i / 2);
		frame_build(&spec, &frame);
		trial_expect(&trial, &frame, i / 2 ? FILTER_DROP : FILTER_PASS,
			     i / 2 ? FILTER_HEADER_CHAIN : FILTER_OTHER, NULL);
	}
	trial_close(&trial);
}

/* ---- servers ---- */

static union addr_inet served_at(const char *host, uint16_t port)
{
	union addr_inet inet;

	memset(&inet, 0, sizeof(inet));
	if (strchr(host, ':')) {
		inet.v6.sin6_family = AF_INET6;
		inet.v6.sin6_port = htons(port);
		cr_assert_eq(inet_pton(AF_INET6, host, &inet.v6.sin6_addr), 1);
	} else {
		inet.v4.sin_family = AF_INET;
		inet.v4.sin_port = htons(port);
		cr_assert_eq(inet_pton(AF_INET, host, &inet.v4.sin_addr), 1);
	}
	return inet;
}

/* What the next fragment brings would else decide whom the datagram is for (RFC 7112). The frame
 * goes on behind the packet with what looks harmless. */
Test(xdp_judge, first_fragments_hold_all_of_their_headers)
{
	static const uint8_t harmless[] = {IPPROTO_UDP, IPPROTO_TCP, IPPROTO_DSTOPTS};
	const union addr_inet served = served_at("2001:db8:ffff::1", 7007);
	struct rule_set set = trial_rules("default pass");
	struct trial trials[2];

	trial_open_text(&trials[0], "default pass\npass fragments");
	trial_open(&trials[1], &set, &served, 1);
	for (uint32_t i = 0; i < 2 * ARRAY_SIZE(harmless); i++) {
		struct frame_spec spec = frame_spec6();
		struct frame frame;

		spec.exts[0] = (struct frame_ext){.type = IPPROTO_FRAGMENT, .frag = FRAME_MORE};
		spec.exts[1] = (struct frame_ext){.type = IPPROTO_DSTOPTS};
		spec.exts[2] = (struct frame_ext){.type = IPPROTO_DSTOPTS};
		spec.n_exts = 3;
		frame_build(&spec, &frame);
		frame.data[14 + 5] = 16; /* the packet ends behind the first destination options */
		frame.data[14 + 40 + 16] = harmless[i / 2];
		trial_expect(&trials[i % 2], &frame, FILTER_DROP, FILTER_HEADER_CHAIN, NULL);
	}
	trial_close(&trials[0]);
	trial_close(&trials[1]);
	rule_set_free(&set);
}

Test(xdp_judge, a_server_judges_what_is_for_it)
{
	const union addr_inet served[] = {
		served_at("192.0.2.1", 53),   served_at("192.0.2.3", 53), served_at("0.0.0.0", 80),
		served_at("192.0.2.1", 80),   served_at("::", 90),        served_at("::1", 53),
		served_at("2001:db8::2", 70),
	};
	static const struct {
		const char *dst;
		uint16_t port;
		bool judged;
	} rows[] = {
		{"192.0.2.1", 53, true},    {"192.0.2.2", 53, false},   {"192.0.2.3", 53, true},
		{"192.0.2.1", 54, false},   {"192.0.2.77", 80, true},   {"192.0.2.1", 80, true},
		{"127.0.0.1", 80, true},    {"192.0.2.1", 90, false},   {"0.0.0.0", 53, false},
		{"192.0.2.1", 0, false},    {"::", 53, false},          {"::1", 53, true},
		{"::2", 53, false},         {"::1", 80, false},         {"2001:db8::1", 90, true},
		{"::", 90, true},           {"2001:db8::2", 70, true},  {"2001:db8::3", 70, false},
		{"2001:db8::2", 53, false}, {"2001:db8::2", 71, false}, {"::192.0.2.1", 53, false},
	};
	struct rule_set set = trial_rules("default drop");
	struct trial trial;

	trial_open(&trial, &set, served, ARRAY_SIZE(served));
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool v6 = strchr(rows[i].dst, ':');
		struct frame_spec spec = v6 ? frame_spec6() : frame_spec4();
		struct frame frame;

		inet_pton(v6 ? AF_INET6 : AF_INET, rows[i].dst, spec.dst);
		spec.dst_port = rows[i].port;
		frame_build(&spec, &frame);
		if (rows[i].judged)
			trial_expect(&trial, &frame, FILTER_DROP, FILTER_DEFAULT, "default drop");
		else
			trial_expect(&trial, &frame, FILTER_PASS, FILTER_OTHER, NULL);
		trial_check(&trial);
		/* Broken ones of others are not for us to drop. */
		frame.len--;
		if (rows[i].judged)
			trial_expect(&trial, &frame, FILTER_DROP, FILTER_MALFORMED, NULL);
		else
			trial_expect(&trial, &frame, FILTER_PASS, FILTER_OTHER, NULL);
		trial_check(&trial);
	}
	trial_close(&trial);
	rule_set_free(&set);
}

Test(xdp_judge, a_server_and_fragments)
{
	const union addr_inet served[] = {served_at("0.0.0.0", 53), served_at("::", 53)};
	struct rule_set set = trial_rules("default pass\ndrop fragments");
	struct trial trial;

	trial_open(&trial, &set, served, 2);
	for (uint32_t i = 0; i < 2 * PARTS; i++) {
		enum part part = i / 2;
		struct frame frame;

		part_frame(part, i % 2, &frame);
		if (part == FIRST)
			trial_expect(&trial, &frame, FILTER_DROP, FILTER_FRAGMENT,
				     "drop fragments");
		else if (part == MIDDLE || part == LAST)
			trial_expect(&trial, &frame, FILTER_PASS, FILTER_OTHER, NULL);
		else
			trial_expect(&trial, &frame, FILTER_PASS, FILTER_DEFAULT, "default pass");
		trial_check(&trial);
	}
	trial_close(&trial);
	rule_set_free(&set);
}

Test(xdp_judge, a_chain_of_headers_is_dropped_for_a_server_too)
{
	const union addr_inet served[] = {served_at("::", 53)};
	struct frame_spec spec = frame_spec6();
	struct rule_set set = trial_rules("default pass");
	struct trial trial;
	struct frame frame;

	trial_open(&trial, &set, served, 1);
	spec.n_exts = FILTER_EXT_MAX + 1;
	for (uint32_t i = 0; i < spec.n_exts; i++)
		spec.exts[i].type = 60;
	frame_build(&spec, &frame);
	trial_expect(&trial, &frame, FILTER_DROP, FILTER_HEADER_CHAIN, NULL);
	trial_close(&trial);
	rule_set_free(&set);
}
