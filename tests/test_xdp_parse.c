/* SPDX-License-Identifier: MIT */
/* What the XDP filter makes of frames: which are datagrams, which are broken, which are neither. */
#include <netinet/in.h>
#include <string.h>

#include "tests/xdp_model.h"

TestSuite(xdp_parse, .timeout = 120);

#define PORT_RULE "drop to-port 53"

/* All that is a sound datagram to port 53 is dropped by one rule, and nothing else is. */
static const char rules[] = "default pass\n" PORT_RULE "\n";

enum { AH = 51, ESP = 50, HIP = 139, SHIM6 = 140, FRAGMENT = 44, NO_NEXT = 59 };

static void expect_datagram(struct trial *trial, const struct frame_spec *spec)
{
	struct frame frame;

	frame_build(spec, &frame);
	trial_expect(trial, &frame, FILTER_DROP, FILTER_PORT, PORT_RULE);
	trial_check(trial);
}

static void expect_other(struct trial *trial, const struct frame_spec *spec)
{
	struct frame frame;

	frame_build(spec, &frame);
	trial_expect(trial, &frame, FILTER_PASS, FILTER_OTHER, NULL);
	trial_check(trial);
}

static void expect_malformed(struct trial *trial, const struct frame_spec *spec)
{
	struct frame frame;

	frame_build(spec, &frame);
	trial_expect(trial, &frame, FILTER_DROP, FILTER_MALFORMED, NULL);
	trial_check(trial);
}

static struct frame_spec spec_of(bool v6)
{
	return v6 ? frame_spec6() : frame_spec4();
}

/* ---- what is left alone ---- */

Test(xdp_parse, other_protocols_pass)
{
	static const uint8_t protocols[] = {IPPROTO_TCP,  IPPROTO_ICMP,    IPPROTO_ICMPV6,
					    IPPROTO_SCTP, IPPROTO_UDPLITE, ESP,
					    NO_NEXT,      IPPROTO_IPIP,    255};
	struct trial trial;

	trial_open_text(&trial, "default drop\ndrop length 0-65507\ndrop fragments");
	for (uint32_t i = 0; i < ARRAY_SIZE(protocols) * 2; i++) {
		struct frame_spec spec = spec_of(i % 2);

		spec.protocol = protocols[i / 2];
		expect_other(&trial, &spec);
		spec.frag = FRAME_MF;
		expect_other(&trial, &spec);
		spec.lie = LIE_IP_LEN;
		expect_other(&trial, &spec);
	}
	trial_close(&trial);
}

Test(xdp_parse, other_ethertypes_pass)
{
	static const uint16_t types[] = {FRAME_ARP, 0x0807, 0x86dc, 0x86de, 0x0801, 0x88cc,
					 0x8847,    0x9100, 0x0045, 0x05dc, 0xffff};
	struct trial trial;

	trial_open_text(&trial, "default drop");
	for (uint32_t i = 0; i < ARRAY_SIZE(types) * 2; i++) {
		struct frame_spec spec = spec_of(i % 2);

		spec.ethertype = types[i / 2];
		expect_other(&trial, &spec);
		spec.n_tags = 1;
		spec.tags[0] = FRAME_VLAN;
		expect_other(&trial, &spec);
		/* Each family behind the type of the other. */
		spec = spec_of(i % 2);
		spec.ethertype = i % 2 ? FRAME_IPV4 : FRAME_IPV6;
		expect_other(&trial, &spec);
	}
	trial_close(&trial);
}

Test(xdp_parse, other_versions_pass)
{
	struct trial trial;

	trial_open_text(&trial, "default drop");
	for (uint32_t version = 0; version < 32; version++) {
		struct frame_spec spec = spec_of(version % 2);

		spec.lie = LIE_VERSION;
		spec.lie_value = version / 2;
		if (spec.lie_value != (spec.v6 ? 6 : 4))
			expect_other(&trial, &spec);
	}
	trial_close(&trial);
}

/* ---- tags ---- */

Test(xdp_parse, two_tags_of_any_sort_are_looked_behind)
{
	struct trial trial;

	trial_open_text(&trial, rules);
	for (uint32_t i = 0; i < 64; i++) {
		struct frame_spec spec = spec_of(i % 2);

		spec.n_tags = i / 2 % 4;
		for (uint32_t tag = 0; tag < spec.n_tags; tag++)
			spec.tags[tag] = i >> (3 + tag) & 1 ? FRAME_QINQ : FRAME_VLAN;
		if (spec.n_tags <= FILTER_VLAN_MAX)
			expect_datagram(&trial, &spec);
		else
			expect_other(&trial, &spec);
	}
	trial_close(&trial);
}

/* ---- IPv4 ---- */

Test(xdp_parse, options_of_every_length)
{
	struct trial trial;

	trial_open_text(&trial, rules);
	for (uint32_t options = 0; options <= 10; options++) {
		struct frame_spec spec = frame_spec4();

		spec.options = options;
		expect_datagram(&trial, &spec);
		spec.padding = 60;
		expect_datagram(&trial, &spec);
	}
	trial_close(&trial);
}

/* The options begin with what would be another port if they were not looked behind. */
Test(xdp_parse, port_is_not_read_from_options)
{
	struct frame_spec spec = frame_spec4();
	struct frame frame;
	struct trial trial;

	trial_open_text(&trial, rules);
	spec.options = 2;
	spec.dst_port = 54;
	frame_build(&spec, &frame);
	memcpy(frame.data + 14 + 20, "\x9c\x40\0\x35\0\x1a\0\0", 8);
	trial_expect(&trial, &frame, FILTER_PASS, FILTER_DEFAULT, "default pass");
	trial_close(&trial);
}

Test(xdp_parse, header_length_that_lies)
{
	struct trial trial;

	trial_open_text(&trial, rules);
	for (uint32_t ihl = 0; ihl < 16; ihl++) {
		struct frame_spec spec = frame_spec4();
		struct frame frame;

		spec.lie = LIE_IHL;
		spec.lie_value = ihl;
		frame_build(&spec, &frame);
		trial_judge(&trial, &frame);
		trial_check(&trial);
		if (ihl < 5)
			expect_malformed(&trial, &spec);
		spec.payload = 0; /* ends before the longer headers do */
		if (ihl > 7)
			expect_malformed(&trial, &spec);
	}
	trial_close(&trial);
}

Test(xdp_parse, packet_length_that_lies)
{
	struct trial trial;

	trial_open_text(&trial, rules);
	for (uint32_t i = 0; i < 4 * 70; i++) {
		struct frame_spec spec = spec_of(i % 2);
		uint32_t truth = spec.payload + 8 + (spec.v6 ? 0 : 20);
		struct frame frame;

		spec.padding = i / 2 % 2 ? 16 : 0;
		spec.lie = LIE_IP_LEN;
		spec.lie_value = i / 4;
		if (spec.lie_value < truth || spec.lie_value > truth + spec.padding)
			expect_malformed(&trial, &spec);
		else
			expect_datagram(&trial, &spec);
		spec.lie_value = 65535 - i / 4;
		expect_malformed(&trial, &spec);
		/* What the UDP length says must fit into what the IP length says. */
		frame_build(&spec, &frame);
		frame.data[14 + (spec.v6 ? 40 : 20) + 5] = (uint8_t)(i / 4);
		trial_judge(&trial, &frame);
	}
	trial_close(&trial);
}

/* ---- UDP ---- */

Test(xdp_parse, udp_length_that_lies)
{
	struct trial trial;

	trial_open_text(&trial, rules);
	for (uint32_t i = 0; i < 2 * 40; i++) {
		struct frame_spec spec = spec_of(i % 2);

		spec.padding = 4;
		spec.lie = LIE_UDP_LEN;
		spec.lie_value = i / 2;
		if (spec.lie_value < 8 || spec.lie_value > 8 + spec.payload)
			expect_malformed(&trial, &spec);
		else
			expect_datagram(&trial, &spec);
		spec.lie_value = 65535 - i / 2;
		expect_malformed(&trial, &spec);
	}
	trial_close(&trial);
}

Test(xdp_parse, checksums_are_not_looked_at)
{
	static const uint16_t checksums[] = {0, 1, 0x8000, 0xffff};
	struct trial trial;

	trial_open_text(&trial, rules);
	for (uint32_t i = 0; i < ARRAY_SIZE(checksums) * 2; i++) {
		struct frame_spec spec = spec_of(i % 2);

		spec.checksum = checksums[i / 2];
		expect_datagram(&trial, &spec);
	}
	trial_close(&trial);
}

/* ---- IPv6 ---- */

static const uint8_t exts[] = {
	IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS, IPPROTO_MH, AH, HIP, SHIM6, FRAGMENT};

static void add_exts(struct frame_spec *spec, uint32_t n, uint8_t type, uint8_t units)
{
	for (uint32_t i = 0; i < n; i++)
		spec->exts[spec->n_exts++] = (struct frame_ext){.type = type, .units = units};
}

Test(xdp_parse, extension_headers_of_each_sort_and_number)
{
	struct trial trial;
	struct frame frame;

	trial_open_text(&trial, rules);
	for (uint32_t i = 0; i < ARRAY_SIZE(exts) * 11 * 4; i++) {
		struct frame_spec spec = frame_spec6();
		uint32_t n = i / 4 % 11;

		add_exts(&spec, n, exts[i / 44], (uint8_t)(i % 4));
		frame_build(&spec, &frame);
		if (n <= FILTER_EXT_MAX)
			trial_expect(&trial, &frame, FILTER_DROP, FILTER_PORT, PORT_RULE);
		else
			trial_expect(&trial, &frame, FILTER_DROP, FILTER_HEADER_CHAIN, NULL);
		trial_check(&trial);
	}
	trial_close(&trial);
}

Test(xdp_parse, extension_headers_mixed)
{
	struct frame_spec spec = frame_spec6();
	struct trial trial;

	trial_open_text(&trial, rules);
	for (uint32_t i = 0; i < ARRAY_SIZE(exts); i++)
		add_exts(&spec, 1, exts[i], (uint8_t)(i % 3));
	expect_datagram(&trial, &spec);
	spec.protocol = IPPROTO_TCP;
	expect_other(&trial, &spec);
	spec.protocol = IPPROTO_UDP;
	/* Behind ESP and no-next-header there is nothing to be read. */
	for (uint32_t i = 0; i < ARRAY_SIZE(exts); i++) {
		struct frame_spec opaque = spec;

		opaque.exts[i] = (struct frame_ext){.type = i % 2 ? ESP : NO_NEXT};
		expect_other(&trial, &opaque);
	}
	trial_close(&trial);
}

Test(xdp_parse, extension_header_beyond_the_frame)
{
	struct trial trial;

	trial_open_text(&trial, rules);
	for (uint32_t i = 0; i < ARRAY_SIZE(exts) - 1; i++) {
		for (uint32_t units = 8; units < 256; units += 13) {
			struct frame_spec spec = frame_spec6();
			struct frame frame;

			add_exts(&spec, 1, exts[i], 0);
			frame_build(&spec, &frame);
			frame.data[14 + 40 + 1] = (uint8_t)units;
			trial_expect(&trial, &frame, FILTER_PASS, FILTER_OTHER, NULL);
			trial_check(&trial);
		}
	}
	trial_close(&trial);
}

/* ---- frames that are cut off ---- */

static const struct {
	bool v6;
	uint32_t n_tags, options, padding, n_exts;
	uint16_t frag;
} shapes[] = {
	{.v6 = false},
	{.v6 = false, .n_tags = 1},
	{.v6 = false, .n_tags = 2, .padding = 9},
	{.v6 = false, .n_tags = 3},
	{.v6 = false, .options = 1},
	{.v6 = false, .options = 10, .n_tags = 2},
	{.v6 = false, .frag = FRAME_MF},
	{.v6 = false, .frag = 7},
	{.v6 = true},
	{.v6 = true, .n_tags = 1},
	{.v6 = true, .n_tags = 2, .padding = 9},
	{.v6 = true, .n_exts = 3},
	{.v6 = true, .n_exts = 8, .n_tags = 2},
	{.v6 = true, .n_exts = 9},
	{.v6 = true, .n_exts = 8, .frag = FRAME_MORE},
	{.v6 = true, .n_exts = 8, .frag = 7 << 3},
};

static struct frame_spec shape_spec(uint32_t i)
{
	struct frame_spec spec = spec_of(shapes[i].v6);

	spec.n_tags = shapes[i].n_tags;
	spec.tags[0] = FRAME_QINQ;
	spec.tags[1] = spec.tags[2] = FRAME_VLAN;
	spec.options = shapes[i].options;
	spec.padding = shapes[i].padding;
	spec.frag = shapes[i].frag;
	for (uint32_t n = 0; n < shapes[i].n_exts; n++)
		add_exts(&spec, 1, exts[n % ARRAY_SIZE(exts)], (uint8_t)(n % 3));
	spec.exts[ARRAY_SIZE(exts) - 1].frag = shapes[i].frag;
	return spec;
}

static void cut_everywhere(struct trial *trial)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct frame_spec spec = shape_spec(i);
		struct frame frame;

		frame_build(&spec, &frame);
		for (; frame.len >= 14; frame.len--) {
			trial_judge(trial, &frame);
			trial_check(trial);
		}
	}
}

/* In a server that listens on port 53 of every address. */
static void open_in_server(struct trial *trial, const char *text)
{
	static union addr_inet served[2];
	struct rule_set set = trial_rules(text);

	served[0].v4.sin_family = AF_INET;
	served[0].v4.sin_port = htons(53);
	served[1].v6.sin6_family = AF_INET6;
	served[1].v6.sin6_port = htons(53);
	trial_open(trial, &set, served, ARRAY_SIZE(served));
	rule_set_free(&set);
}

Test(xdp_parse, cut_at_every_byte)
{
	static const char *const sets[] = {
		rules, "default drop", "default pass\ndrop fragments",
		"default drop\ndrop length 18-18\npass fragments\npass to-port 53"};

	for (uint32_t i = 0; i < ARRAY_SIZE(sets); i++) {
		struct trial trial;

		trial_open_text(&trial, sets[i]);
		cut_everywhere(&trial);
		trial_close(&trial);
	}
}

Test(xdp_parse, cut_at_every_byte_in_a_server)
{
	static const char *const sets[] = {rules, "default pass\ndrop fragments"};

	for (uint32_t i = 0; i < ARRAY_SIZE(sets); i++) {
		struct trial trial;

		open_in_server(&trial, sets[i]);
		cut_everywhere(&trial);
		trial_close(&trial);
	}
}

/* ---- frames in several pieces of memory ---- */

Test(xdp_parse, frames_of_all_sizes)
{
	struct trial trial;

	trial_open_text(&trial, rules);
	for (uint32_t i = 0; i < 2 * 160; i++) {
		struct frame_spec spec = spec_of(i % 2);

		spec.payload = i / 2 * 56;
		expect_datagram(&trial, &spec);
		spec.lie = LIE_UDP_LEN;
		spec.lie_value = 8 + spec.payload + 1;
		expect_malformed(&trial, &spec);
	}
	trial_close(&trial);
}

/* Up to 8 KiB of extension headers: the UDP header may be beyond the first page. */
Test(xdp_parse, headers_of_several_pages)
{
	struct trial trial;

	trial_open_text(&trial, rules);
	for (uint32_t n = 0; n <= 4; n++) {
		for (uint32_t units = 128; units < 256; units++) {
			struct frame_spec spec = frame_spec6();

			add_exts(&spec, n, IPPROTO_DSTOPTS, (uint8_t)units);
			expect_datagram(&trial, &spec);
		}
	}
	trial_close(&trial);
}

/* Some drivers leave hardly anything in the first piece. */
static void tear_everywhere(struct trial *trial)
{
	static const enum frame_lie lies[] = {LIE_NONE, LIE_IP_LEN, LIE_UDP_LEN};

	if (!trial_can_tear(trial))
		cr_skip_test("the kernel does not tear frames (Linux 6.18)");
	for (uint32_t i = 0; i < ARRAY_SIZE(shapes) * ARRAY_SIZE(lies); i++) {
		struct frame_spec spec = shape_spec(i / ARRAY_SIZE(lies));
		struct frame frame;

		spec.lie = lies[i % ARRAY_SIZE(lies)];
		spec.lie_value = 7;
		frame_build(&spec, &frame);
		for (trial->linear = 14; trial->linear < frame.len; trial->linear++) {
			trial_judge(trial, &frame);
			trial_check(trial);
		}
		trial->linear = 0;
	}
}

Test(xdp_parse, torn_at_every_byte)
{
	struct trial trial;

	trial_open_text(&trial, rules);
	tear_everywhere(&trial);
	trial_close(&trial);
}

Test(xdp_parse, torn_at_every_byte_in_a_server)
{
	struct trial trial;

	open_in_server(&trial, rules);
	tear_everywhere(&trial);
	trial_close(&trial);
}
