/* SPDX-License-Identifier: MIT */
/* The echo of the fast path where the host's reverse path filter is strict (RFC 3704): sources have
 * to be where they would be answered. */
#include <stdio.h>
#include <string.h>

#include "tests/fast_net.h"

TestSuite(fast_reverse, .timeout = 120);

struct reverse_row {
	const char *from;
	enum fast_reason strict;
};

static const struct reverse_row rows[] = {
	{"10.1.0.1", FAST_ECHOED},        {"10.1.0.77", FAST_ECHOED}, /* no neighbour is needed */
	{"10.2.0.1", FAST_UP_SOURCE},     {"10.9.0.1", FAST_ECHOED},
	{"10.10.0.1", FAST_UP_SOURCE},    {"10.11.0.1", FAST_UP_SOURCE},
	{"198.51.100.1", FAST_UP_SOURCE}, /* no route */
	{"2001:db8:2::1", FAST_ECHOED},   /* as the stack, which has no such filter for IPv6 */
};

static void ask(struct fast *fast, const char *from, enum fast_reason reason)
{
	const union addr_inet client = fast_addr(from, 4000);
	const union addr_inet asked =
		fast_addr(strchr(from, ':') ? "2001:db8:1::fe" : "10.1.0.254", 53);
	static struct frame in, out;

	snprintf(fast->note, sizeof(fast->note), "from %s", from);
	fast_datagram(&client, &asked, 9, &in);
	memcpy(in.data, net_mac[NET_CLIENTS], 6);
	if (reason != FAST_ECHOED) {
		fast_expect_up(fast, &in, reason);
		return;
	}
	cr_assert_eq(fast_run(fast, &in, &out), XDP_TX, "%s", fast->note);
	fast->want[FAST_ECHOED].packets++;
	fast->want[FAST_ECHOED].bytes += in.len;
}

Test(fast_reverse, sources)
{
	const union addr_inet served[] = {fast_addr("0.0.0.0", 53), fast_addr("::", 53)};
	const union addr_inet own[] = {fast_addr("10.1.0.254", 0), fast_addr("2001:db8:1::fe", 0)};
	struct fast fast;
	struct net net;

	net_open(&net, 1);
	net_ip("route add 10.9.0.0/16 via 10.1.0.77\n"
	       "route add 10.10.0.0/16 via 10.2.0.1\n"
	       "route add blackhole 10.11.0.0/16\n");
	fast_open(&fast, FAST_ECHO, "default pass", served, 2, NULL);
	fast.ingress = net.side[NET_CLIENTS].ingress;
	memcpy(fast.host.mac, net_mac[NET_CLIENTS], 6);
	for (uint32_t strict = 0; strict < 2; strict++) {
		fast.host.reverse = (uint8_t)strict;
		fast_set(&fast, own, 2);
		for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++)
			ask(&fast, rows[i].from, strict ? rows[i].strict : FAST_ECHOED);
		fast_check(&fast);
	}
	net_set("ipv4/conf/lo/forwarding", 0);
	ask(&fast, "10.1.0.1", FAST_UP_FORWARDING);
	ask(&fast, "2001:db8:2::1", FAST_ECHOED);
	fast_close(&fast);
	net_close(&net);
}
