/* SPDX-License-Identifier: MIT */
/* The echo of the fast path: what is answered, byte by byte, and all that is not. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "tests/fast_trial.h"

TestSuite(fast_echo, .timeout = 120);

enum { PORT = 53 };

#define HOST4 "192.0.2.1"
#define HOST6 "2001:db8:ffff::1"

static struct frame request, answer; /* too big for a stack */

/* A filter for listeners on every address, with the two addresses that frame_spec4() and
 * frame_spec6() are for. */
static void open_rules(struct fast *fast, const char *rules)
{
	const union addr_inet served[] = {fast_addr("0.0.0.0", PORT), fast_addr("::", PORT)};
	const union addr_inet own[] = {fast_addr(HOST4, 0), fast_addr(HOST6, 0)};

	fast_open(fast, FAST_ECHO, rules, served, 2, NULL);
	fast_set(fast, own, 2);
}

static void open_echo(struct fast *fast)
{
	open_rules(fast, "default pass");
}

static struct frame_spec spec_of(bool v6)
{
	return v6 ? frame_spec6() : frame_spec4();
}

/* What a socket would answer, on the way back. */
static void make_answer(const struct fast *fast)
{
	bool v6 = fast_is_v6(&request);
	uint8_t *ip, *udp;
	const uint8_t *from;

	answer.len = request.len;
	memcpy(answer.data, request.data, request.len);
	memcpy(answer.data, request.data + 6, 6);
	memcpy(answer.data + 6, request.data, 6);
	ip = fast_ip(&answer);
	udp = fast_udp(&answer);
	from = fast_ip(&request);
	if (v6) {
		memcpy(ip, "\x60\0\0", 4);
		ip[7] = fast->host.hop_limit6;
		memcpy(ip + 8, from + 24, 16);
		memcpy(ip + 24, from + 8, 16);
	} else {
		ip[1] = 0;
		ip[8] = fast->host.hop_limit4;
		memcpy(ip + 12, from + 16, 4);
		memcpy(ip + 16, from + 12, 4);
	}
	memcpy(udp, fast_udp(&request) + 2, 2);
	memcpy(udp + 2, fast_udp(&request), 2);
	fast_seal_ip(&answer);
}

static void expect_answer(struct fast *fast)
{
	make_answer(fast);
	fast_expect(fast, &request, XDP_TX, &answer, FAST_ECHOED);
}

/* ---- what is answered ---- */

static void every_size(struct fast *fast, bool v6, uint32_t n_tags, uint8_t unnumbered)
{
	for (uint32_t payload = 0; payload <= 1472; payload++) {
		struct frame_spec spec = spec_of(v6);
		uint32_t cut = n_tags && payload > 64 ? fast_below(fast, 16) : 0;

		spec.payload = payload;
		spec.n_tags = n_tags;
		spec.tags[0] = n_tags > 1 ? FRAME_QINQ : FRAME_VLAN;
		spec.tags[1] = FRAME_VLAN;
		spec.unnumbered = unnumbered;
		spec.padding = payload < 18 ? 18 - payload : 0;
		frame_build(&spec, &request);
		fast_seal(&request);
		expect_answer(fast);
		cr_assert_eq(fast_sum_udp(&answer), 0xffff);
		cr_assert(v6 || fast_sum_ip(&answer) == 0xffff);
		payload += cut;
	}
	fast_check(fast);
}

Test(fast_echo, every_size_ipv4)
{
	struct fast fast;

	open_echo(&fast);
	every_size(&fast, false, 0, 0);
	fast_close(&fast);
}

Test(fast_echo, every_size_ipv6)
{
	struct fast fast;

	open_echo(&fast);
	every_size(&fast, true, 0, 0);
	fast_close(&fast);
}

/* Priority tags, which every host takes off, and numbers that it has an interface for. */
Test(fast_echo, tags_stay)
{
	struct fast fast;

	open_echo(&fast);
	fast.host.vlans[100 / 64] = 1ULL << 100 % 64 | 1ULL << 101 % 64;
	fast.host.on = 0;
	fast_set(&fast, NULL, 0);
	fast.host.on = 1;
	fast_set(&fast, (union addr_inet[]){fast_addr(HOST4, 0), fast_addr(HOST6, 0)}, 2);
	for (uint32_t i = 0; i < 2 * 4; i++)
		every_size(&fast, i % 2, 2, (uint8_t)(i / 2));
	for (uint32_t i = 0; i < 2 * 2; i++)
		every_size(&fast, i % 2, 1, (uint8_t)(i / 2));
	fast_close(&fast);
}

/* All that can stand in the two words of the IPv4 header that change, and something in the rest. */
Test(fast_echo, every_ipv4_header)
{
	struct frame_spec spec = frame_spec4();
	struct fast fast;

	open_echo(&fast);
	frame_build(&spec, &request);
	fast_seal(&request);
	for (uint32_t i = 0; i < 65536; i++) {
		uint8_t *ip = fast_ip(&request);

		ip[1] = (uint8_t)i;
		ip[8] = (uint8_t)(i >> 8);
		fast_put16(ip + 4, fast_below(&fast, 65536));
		ip[6] = fast_below(&fast, 2) ? 0x40 : 0;
		fast_put16(ip + 14, 1 + fast_below(&fast, 65535));
		fast_seal(&request);
		expect_answer(&fast);
		cr_assert_eq(fast_sum_ip(&answer), 0xffff);
		cr_assert_eq(fast_sum_udp(&answer), 0xffff);
	}
	fast_close(&fast);
}

/* A checksum of a header that cannot be is kept as far off as it was. */
Test(fast_echo, every_ipv4_checksum)
{
	struct frame_spec spec = frame_spec4();
	static struct frame out;
	struct fast fast;

	open_echo(&fast);
	frame_build(&spec, &request);
	fast_seal(&request);
	for (uint32_t i = 0; i < 65536; i++) {
		fast_put16(fast_ip(&request) + 10, i);
		cr_assert_eq(fast_run(&fast, &request, &out), XDP_TX);
		cr_assert_eq(fast_sum_ip(&out) % 0xffff, fast_sum_ip(&request) % 0xffff);
		fast.want[FAST_ECHOED].packets++;
		fast.want[FAST_ECHOED].bytes += request.len;
	}
	fast_close(&fast);
}

Test(fast_echo, every_ipv6_header)
{
	struct frame_spec spec = frame_spec6();
	struct fast fast;

	open_echo(&fast);
	frame_build(&spec, &request);
	for (uint32_t i = 0; i < 4096; i++) {
		uint8_t *ip = fast_ip(&request);

		ip[0] = (uint8_t)(0x60 | fast_below(&fast, 16));
		ip[1] = (uint8_t)(i >> 4);
		fast_put16(ip + 2, fast_below(&fast, 65536));
		ip[7] = (uint8_t)i;
		fast_put16(ip + 22, 1 + fast_below(&fast, 65535));
		fast_seal(&request);
		expect_answer(&fast);
		cr_assert_eq(fast_sum_udp(&answer), 0xffff);
	}
	fast_close(&fast);
}

/* The checksum of UDP stays, whatever it is. */
Test(fast_echo, every_udp_checksum)
{
	struct fast fast;

	open_echo(&fast);
	for (uint32_t v6 = 0; v6 < 2; v6++) {
		struct frame_spec spec = spec_of(v6);

		frame_build(&spec, &request);
		fast_seal(&request);
		for (uint32_t check = v6; check < 65536; check++) {
			fast_put16(fast_udp(&request) + 6, check);
			expect_answer(&fast);
			cr_assert_eq(fast_get16(fast_udp(&answer) + 6), check);
		}
	}
	fast_close(&fast);
}

Test(fast_echo, answers_to_any_port_but_some)
{
	static const uint16_t odd[] = {0, 7, 9, 13, 17, 19};
	struct fast fast;

	open_echo(&fast);
	for (uint32_t i = 0; i < 2 * 65536; i++) {
		struct frame_spec spec = spec_of(i % 2);
		bool is_odd = false;

		spec.payload = 1;
		spec.src_port = (uint16_t)(i / 2);
		frame_build(&spec, &request);
		fast_seal_ip(&request);
		for (uint32_t j = 0; j < ARRAY_SIZE(odd); j++)
			is_odd |= spec.src_port == odd[j];
		if (is_odd)
			fast_expect_up(&fast, &request, FAST_UP_SOURCE);
		else
			expect_answer(&fast);
	}
	fast_close(&fast);
}

Test(fast_echo, answers_are_redirected_where_told)
{
	struct frame_spec spec = frame_spec4();
	struct fast fast;

	open_echo(&fast);
	fast_set(&fast, NULL, 0);
	fast.host.redirect = 1;
	fast.host.mac[5] = 1;
	fast.host.vlans[0] = 2; /* so that it is another host */
	fast_set(&fast, (union addr_inet[]){fast_addr(HOST4, 0)}, 1);
	frame_build(&spec, &request);
	fast_seal(&request);
	make_answer(&fast);
	fast_expect(&fast, &request, XDP_REDIRECT, &answer, FAST_ECHOED);
	fast_close(&fast);
}

/* ---- what goes up ---- */

static void expect_sealed_up(struct fast *fast, const struct frame_spec *spec,
			     enum fast_reason reason)
{
	frame_build(spec, &request);
	fast_seal_ip(&request);
	fast_expect_up(fast, &request, reason);
}

Test(fast_echo, nothing_is_answered_while_off)
{
	struct fast fast;

	open_echo(&fast);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t v6 = 0; v6 < 2; v6++) {
			struct frame_spec spec = spec_of(v6);

			frame_build(&spec, &request);
			fast_seal(&request);
			if (round == 1)
				fast_expect_up(&fast, &request, FAST_UP_OFF);
			else
				expect_answer(&fast);
		}
		if (round == 0)
			xdp_fast_off(fast.xdp);
		else
			fast_set(&fast,
				 (union addr_inet[]){fast_addr(HOST4, 0), fast_addr(HOST6, 0)}, 2);
	}
	fast_close(&fast);
}

/* Until it was told of a host, a filter with a fast path is one without. */
Test(fast_echo, nothing_is_answered_before_the_host_is_known)
{
	const union addr_inet served[] = {fast_addr("0.0.0.0", PORT), fast_addr("::", PORT)};
	struct fast fast;

	fast_open(&fast, FAST_ECHO, "default pass", served, 2, NULL);
	for (uint32_t v6 = 0; v6 < 2; v6++) {
		struct frame_spec spec = spec_of(v6);

		expect_sealed_up(&fast, &spec, FAST_UP_OFF);
	}
	fast_close(&fast);
}

Test(fast_echo, macs_of_others)
{
	struct fast fast;

	open_echo(&fast);
	for (uint32_t i = 0; i < 2 * 50; i++) {
		struct frame_spec spec = spec_of(i % 2);

		frame_build(&spec, &request);
		fast_seal(&request);
		if (i / 2 < 48)
			request.data[i / 16] ^= (uint8_t)(1 << i / 2 % 8);
		else
			memset(request.data, i / 2 == 48 ? 0xff : 0, 6);
		fast_expect_up(&fast, &request, FAST_UP_ADDRESS);
	}
	fast_close(&fast);
}

struct address_row {
	const char *src, *dst;
	enum fast_reason reason;
};

static const struct address_row address_rows[] = {
	{"10.0.0.1", HOST4, FAST_ECHOED},
	{"1.0.0.0", HOST4, FAST_ECHOED},
	{"126.255.255.255", HOST4, FAST_ECHOED},
	{"128.0.0.0", HOST4, FAST_ECHOED},
	{"223.255.255.255", HOST4, FAST_ECHOED},
	{"192.0.2.2", HOST4, FAST_ECHOED},
	{"10.0.0.1", "192.0.2.2", FAST_UP_ADDRESS},
	{"10.0.0.1", "192.0.2.0", FAST_UP_ADDRESS},
	{"10.0.0.1", "192.0.2.255", FAST_UP_ADDRESS},
	{"10.0.0.1", "255.255.255.255", FAST_UP_ADDRESS},
	{"10.0.0.1", "224.0.0.1", FAST_UP_ADDRESS},
	{"10.0.0.1", "127.0.0.1", FAST_UP_ADDRESS},
	{"10.0.0.1", "0.0.0.0", FAST_UP_ADDRESS},
	{"10.0.0.1", "193.0.2.1", FAST_UP_ADDRESS},
	{"0.0.0.0", HOST4, FAST_UP_SOURCE},
	{"0.255.255.255", HOST4, FAST_UP_SOURCE},
	{"127.0.0.1", HOST4, FAST_UP_SOURCE},
	{"127.255.255.255", HOST4, FAST_UP_SOURCE},
	{"224.0.0.1", HOST4, FAST_UP_SOURCE},
	{"239.255.255.255", HOST4, FAST_UP_SOURCE},
	{"240.0.0.1", HOST4, FAST_UP_SOURCE},
	{"255.255.255.255", HOST4, FAST_UP_SOURCE},
	{HOST4, HOST4, FAST_UP_SOURCE},
	{"192.0.2.77", HOST4, FAST_UP_SOURCE}, /* another one of its own */
	{"10.0.0.1", "192.0.2.77", FAST_ECHOED},
	{"2001:db8::1", HOST6, FAST_ECHOED},
	{"::1:0:0:0:0", HOST6, FAST_ECHOED},
	{"fe80::1", HOST6, FAST_ECHOED},
	{"fdff::1", HOST6, FAST_ECHOED},
	{"2001:db8::1", "2001:db8:ffff::2", FAST_UP_ADDRESS},
	{"2001:db8::1", "2001:db8:fffe::1", FAST_UP_ADDRESS},
	{"2001:db8::1", "3001:db8:ffff::1", FAST_UP_ADDRESS},
	{"2001:db8::1", "2001:db8:ffff::1:0:1", FAST_UP_ADDRESS},
	{"2001:db8::1", "ff02::1", FAST_UP_ADDRESS},
	{"2001:db8::1", "::1", FAST_UP_ADDRESS},
	{"2001:db8::1", "::", FAST_UP_ADDRESS},
	{"::", HOST6, FAST_UP_SOURCE},
	{"::1", HOST6, FAST_UP_SOURCE},
	{"::2", HOST6, FAST_UP_SOURCE},
	{"::10.0.0.1", HOST6, FAST_UP_SOURCE},
	{"::ffff:10.0.0.1", HOST6, FAST_UP_SOURCE},
	{"ff02::1", HOST6, FAST_UP_SOURCE},
	{"ff00::", HOST6, FAST_UP_SOURCE},
	{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", HOST6, FAST_UP_SOURCE},
	{HOST6, HOST6, FAST_UP_SOURCE},
	{"2001:db8:ffff::77", HOST6, FAST_UP_SOURCE},
	{"2001:db8::1", "2001:db8:ffff::77", FAST_ECHOED},
};

Test(fast_echo, addresses)
{
	const union addr_inet own[] = {fast_addr(HOST4, 0), fast_addr(HOST6, 0),
				       fast_addr("192.0.2.77", 0),
				       fast_addr("2001:db8:ffff::77", 0)};
	struct fast fast;

	open_echo(&fast);
	fast_set(&fast, own, 4);
	for (uint32_t i = 0; i < ARRAY_SIZE(address_rows); i++) {
		const struct address_row *row = &address_rows[i];
		struct frame_spec spec = spec_of(strchr(row->src, ':'));

		inet_pton(spec.v6 ? AF_INET6 : AF_INET, row->src, spec.src);
		inet_pton(spec.v6 ? AF_INET6 : AF_INET, row->dst, spec.dst);
		snprintf(fast.note, sizeof(fast.note), "from %s to %s", row->src, row->dst);
		frame_build(&spec, &request);
		fast_seal(&request);
		if (row->reason == FAST_ECHOED)
			expect_answer(&fast);
		else
			fast_expect_up(&fast, &request, row->reason);
		fast_check(&fast);
	}
	fast_close(&fast);
}

/* An IPv4 address in an IPv6 header is nobody's, though the table has this host's like that. */
Test(fast_echo, ipv4_addresses_in_ipv6)
{
	struct frame_spec spec = frame_spec6();
	struct fast fast;

	open_echo(&fast);
	inet_pton(AF_INET6, "::ffff:" HOST4, spec.dst);
	expect_sealed_up(&fast, &spec, FAST_UP_ADDRESS);
	fast_close(&fast);
}

/* More addresses than there is room for: some are left out, and none is taken for another. */
Test(fast_echo, many_addresses)
{
	enum { ADDRESSES = 3000 };
	static union addr_inet own[ADDRESSES];
	uint32_t answered = 0;
	struct fast fast;

	open_echo(&fast);
	for (uint32_t i = 0; i < ADDRESSES; i++) {
		char text[64];

		snprintf(text, sizeof(text), i % 2 ? "198.18.%u.%u" : "2001:db8:%x::%x", i / 200,
			 i % 200);
		own[i] = fast_addr(text, 0);
	}
	for (uint32_t n = 0; n <= ADDRESSES; n += n < 200 ? 40 : 700) {
		answered = 0;
		fast_set(&fast, own, n);
		for (uint32_t i = 0; i < ADDRESSES; i++) {
			const union addr_inet from =
				fast_addr(i % 2 ? "10.0.0.1" : "2001:db8:ff::", 4000);
			union addr_inet to = own[i];
			static struct frame out;

			if (i % 2)
				to.v4.sin_port = htons(PORT);
			else
				to.v6.sin6_port = htons(PORT);
			fast_datagram(&from, &to, 3, &request);
			if (fast_run(&fast, &request, &out) == XDP_TX) {
				cr_assert_lt(i, n);
				fast.want[FAST_ECHOED].packets++;
				fast.want[FAST_ECHOED].bytes += request.len;
				answered++;
			} else {
				fast.want[FAST_UP_ADDRESS].packets++;
				fast.want[FAST_UP_ADDRESS].bytes += request.len;
			}
		}
		cr_assert_leq(answered, FAST_LOCAL_BUCKETS * FAST_LOCAL_SLOTS);
		cr_assert_geq(answered, MIN(n, 100u) * 9 / 10);
		fast_check(&fast);
	}
	/* And those that have gone are not answered to any more. */
	fast_set(&fast, own, 0);
	for (uint32_t v6 = 0; v6 < 2; v6++) {
		struct frame_spec spec = spec_of(v6);

		expect_sealed_up(&fast, &spec, FAST_UP_ADDRESS);
	}
	fast_close(&fast);
}
