/* SPDX-License-Identifier: MIT */
/* What the fast path of a relay does not send on, and how it is counted: it goes up as it came. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "tests/fast_net.h"
#include "xdp/load.h"

TestSuite(fast_forward_up, .timeout = 120);

static struct frame in; /* too big for a stack */

/* Opens a net with a session of each family, in flows. */
static void open_two(struct net *net, struct flow flows[2], uint32_t numbers[2])
{
	uint32_t number;

	net_open(net, 8);
	for (uint32_t i = 0; i < 2; i++) {
		flows[i] = net_flow(i, 1);
		cr_assert_eq(net_add(net, &flows[i], numbers ? &numbers[i] : &number), 0);
	}
}

/* Both directions of both families. */
static void expect_all(struct net *net, const struct flow flows[2])
{
	for (uint32_t i = 0; i < 4; i++)
		net_expect(net, &flows[i % 2], i / 2, 9);
}

static void expect_all_up(struct net *net, const struct flow flows[2], enum fast_reason reason)
{
	for (uint32_t i = 0; i < 4; i++)
		net_expect_up(net, &flows[i % 2], i / 2, 9, reason);
	fast_check(&net->side[NET_CLIENTS]);
	fast_check(&net->side[NET_TARGETS]);
}

/* From the clients' side only. */
static void expect_there(struct net *net, const struct flow flows[2])
{
	fast_step_clock();
	for (uint32_t i = 0; i < 2; i++)
		net_expect(net, &flows[i], FAST_TO_TARGET, 9);
}

static void expect_there_up(struct net *net, const struct flow flows[2], enum fast_reason reason)
{
	fast_step_clock();
	for (uint32_t i = 0; i < 2; i++)
		net_expect_up(net, &flows[i], FAST_TO_TARGET, 9, reason);
	fast_check(&net->side[NET_CLIENTS]);
}

/* ---- of the datagram ---- */

Test(fast_forward_up, of_no_session)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows, NULL);
	for (uint32_t i = 0; i < 2; i++) {
		struct flow other = net_flow(i, 2);

		/* To a listener, and to nobody that is known. */
		net_expect_up(&net, &other, FAST_TO_TARGET, 9, FAST_UP_SESSION);
		net_expect_up(&net, &other, FAST_TO_CLIENT, 9, FAST_UNCOUNTED);
		other = flows[i];
		other.client.v4.sin_port ^= htons(1);
		other.target.v4.sin_port ^= htons(1);
		net_expect_up(&net, &other, FAST_TO_TARGET, 9, FAST_UP_SESSION);
		net_expect_up(&net, &other, FAST_TO_CLIENT, 9, FAST_UNCOUNTED);
		other = flows[i];
		other.source.v4.sin_port ^= htons(1);
		net_expect_up(&net, &other, FAST_TO_CLIENT, 9, FAST_UNCOUNTED);
		/* Turned round, nothing is a session's. */
		fast_datagram(&flows[i].asked, &flows[i].client, 9, &in);
		memcpy(in.data, net_mac[NET_CLIENTS], 6);
		fast_expect_up(&net.side[NET_CLIENTS], &in, FAST_UNCOUNTED);
	}
	expect_all(&net, flows);
	net_close(&net);
}

Test(fast_forward_up, off)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows, NULL);
	expect_all(&net, flows);
	for (int i = 0; i < NET_SIDES; i++)
		xdp_fast_off(net.side[i].xdp);
	expect_all_up(&net, flows, FAST_UP_OFF);
	for (int i = 0; i < NET_SIDES; i++)
		fast_set(&net.side[i], NULL, 0);
	expect_all(&net, flows);
	net_close(&net);
}

Test(fast_forward_up, macs_of_others)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows, NULL);
	for (uint32_t i = 0; i < 4 * 50; i++) {
		struct fast *fast = &net.side[i / 2 % 2];

		net_arrives(&flows[i % 2], i / 2 % 2, 9, &in);
		if (i / 4 < 48)
			in.data[i / 4 / 8] ^= (uint8_t)(1 << i / 4 % 8);
		else
			memset(in.data, i / 4 == 48 ? 0xff : 0, 6);
		fast_expect_up(fast, &in, FAST_UP_ADDRESS);
	}
	net_close(&net);
}

/* Puts n bytes into the frame. */
static void insert(uint32_t at, const void *bytes, uint32_t n)
{
	memmove(in.data + at + n, in.data + at, in.len - at);
	memcpy(in.data + at, bytes, n);
	in.len += n;
}

Test(fast_forward_up, tags_options_and_fragments)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows, NULL);
	for (uint32_t i = 0; i < 4; i++) {
		struct fast *fast = &net.side[i / 2];
		const struct flow *flow = &flows[i % 2];
		/* To a client, it is not known whether one like that is a session's. */
		bool listener = i / 2 == FAST_TO_TARGET;
		enum fast_reason no_headers = listener ? FAST_UP_HEADERS : FAST_UNCOUNTED;
		enum fast_reason no_fragment = listener ? FAST_UP_FRAGMENT : FAST_UNCOUNTED;
		uint8_t *ip;

		net_arrives(flow, i / 2, 9, &in);
		insert(12, "\x81\0\0\0", 4);
		fast_expect_up(fast, &in, FAST_UP_VLAN);
		insert(12, "\x88\xa8\0\x64", 4);
		fast_expect_up(fast, &in, FAST_UP_VLAN);
		net_arrives(flow, i / 2, 9, &in);
		ip = fast_ip(&in);
		if (i % 2) {
			insert(14 + 40, "\x11\0\x01\x04\0\0\0\0", 8);
			ip[6] = 60;
			fast_put16(ip + 4, fast_get16(ip + 4) + 8);
		} else {
			insert(14 + 20, "\x01\x01\x01\x01", 4);
			ip[0] = 0x46;
			fast_put16(ip + 2, fast_get16(ip + 2) + 4);
		}
		fast_expect_up(fast, &in, no_headers);
		net_arrives(flow, i / 2, 9, &in);
		ip = fast_ip(&in);
		if (i % 2) {
			insert(14 + 40, "\x11\0\0\x01\0\0\0\x07", 8);
			ip[6] = 44;
			fast_put16(ip + 4, fast_get16(ip + 4) + 8);
		} else {
			ip[6] = 0x20;
		}
		fast_expect_up(fast, &in, no_fragment);
	}
	net_close(&net);
}

Test(fast_forward_up, unfinished_checksums)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows, NULL);
	for (uint32_t i = 0; i < 8; i++) {
		struct fast *fast = &net.side[i / 2 % 2];

		if (i == 4 || i == 6) {
			fast->host.partial = 1;
			xdp_fast_off(fast->xdp);
			fast_set(fast, NULL, 0);
		}
		net_arrives(&flows[i % 2], i / 2 % 2, 9, &in);
		fast_put16(fast_udp(&in) + 6, fast_sum_pseudo(&in));
		if (i >= 4) {
			fast_expect_up(fast, &in, FAST_UP_CHECKSUM);
		} else {
			static struct frame out;

			cr_assert_eq(fast_run(fast, &in, &out), XDP_REDIRECT);
			fast->want[FAST_FORWARDED].packets++;
			fast->want[FAST_FORWARDED].bytes += in.len;
		}
	}
	expect_all(&net, flows);
	net_close(&net);
}

Test(fast_forward_up, frames_in_several_buffers)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows, NULL);
	net_ip("link set targets mtu 9000\n");
	for (uint32_t i = 0; i < 2; i++) {
		net_expect_up(&net, &flows[i], FAST_TO_TARGET, 8000, FAST_UP_BUFFERS);
		net_expect_up(&net, &flows[i], FAST_TO_CLIENT, 8000, FAST_UNCOUNTED);
	}
	net_close(&net);
}

/* ---- of the way ---- */

Test(fast_forward_up, larger_than_the_way_takes)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows, NULL);
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t most = i % 2 ? 1452 : 1472;

		net_expect(&net, &flows[i % 2], i / 2, most);
		net_expect_up(&net, &flows[i % 2], i / 2, most + 1, FAST_UP_MTU);
		net_expect_up(&net, &flows[i % 2], i / 2, 3000, FAST_UP_MTU);
	}
	net_ip("link set targets mtu 1300\n");
	fast_step_clock();
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t most = i % 2 ? 1252 : 1272;

		net_expect(&net, &flows[i], FAST_TO_TARGET, most);
		net_expect_up(&net, &flows[i], FAST_TO_TARGET, most + 1, FAST_UP_MTU);
		net_expect(&net, &flows[i], FAST_TO_CLIENT, most + 1);
	}
	net_ip("link set targets mtu 2000\n");
	fast_step_clock();
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t most = i % 2 ? 1952 : 1972;

		net_expect(&net, &flows[i], FAST_TO_TARGET, most);
		net_expect_up(&net, &flows[i], FAST_TO_TARGET, most + 1, FAST_UP_MTU);
	}
	/* A route may take less than its interface, where that is locked. */
	net_ip("route add 10.2.0.1/32 dev targets mtu lock 1400\n"
	       "route add 2001:db8:2::1/128 dev targets mtu lock 1400\n");
	fast_step_clock();
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t most = i % 2 ? 1352 : 1372;

		net_expect(&net, &flows[i], FAST_TO_TARGET, most);
		net_expect_up(&net, &flows[i], FAST_TO_TARGET, most + 1, FAST_UP_MTU);
	}
	net_close(&net);
}

/* What counts is the packet, not what it says of the datagram in it. */
Test(fast_forward_up, packets_longer_than_their_datagram)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows, NULL);
	for (uint32_t i = 0; i < 4; i++) {
		net_arrives(&flows[i % 2], i / 2, 2000, &in);
		fast_put16(fast_udp(&in) + 4, 8 + 100);
		fast_seal(&in);
		fast_expect_up(&net.side[i / 2], &in, FAST_UP_MTU);
	}
	net_close(&net);
}

Test(fast_forward_up, no_neighbour)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows, NULL);
	for (uint32_t round = 0; round < 3; round++) {
		expect_there(&net, flows);
		net_ip("neigh del 10.2.0.1 dev targets\nneigh del 2001:db8:2::1 dev targets\n");
		expect_there_up(&net, flows, FAST_UP_NEIGHBOUR);
		net_ip("neigh add 10.2.0.1 lladdr 02:00:00:00:02:01 dev targets\n"
		       "neigh add 2001:db8:2::1 lladdr 02:00:00:00:02:01 dev targets\n");
	}
	expect_there(&net, flows);
	net_close(&net);
}

Test(fast_forward_up, no_route)
{
	static const char *const types[] = {"blackhole", "unreachable", "prohibit"};
	struct flow flows[2];
	struct net net;

	open_two(&net, flows, NULL);
	for (uint32_t i = 0; i < ARRAY_SIZE(types); i++) {
		expect_there(&net, flows);
		net_ip("route add %s 10.2.0.1/32\nroute add %s 2001:db8:2::1/128\n", types[i],
		       types[i]);
		expect_there_up(&net, flows, FAST_UP_ROUTE);
		net_ip("route del %s 10.2.0.1/32\nroute del %s 2001:db8:2::1/128\n", types[i],
		       types[i]);
	}
	expect_there(&net, flows);
	net_ip("route del 10.2.0.0/24 dev targets\nroute del 2001:db8:2::/64 dev targets\n");
	expect_there_up(&net, flows, FAST_UP_ROUTE);
	net_close(&net);
}

Test(fast_forward_up, interface_that_goes_down)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows, NULL);
	expect_there(&net, flows);
	net_ip("link set targets down\n");
	expect_there_up(&net, flows, FAST_UP_ROUTE);
	net_close(&net);
}

/* The target is this host: on the loopback interface, or at one of its other addresses. */
Test(fast_forward_up, local_targets)
{
	static const char *const hosts[] = {"127.0.0.1",      "::1",      "10.2.0.254",
					    "2001:db8:2::fe", "10.7.7.7", "2001:db8:7::7"};
	struct net net;

	net_open(&net, 8);
	net_ip("addr add 10.7.7.7/32 dev lo\naddr add 2001:db8:7::7/128 dev lo nodad\n");
	net_wait_local("2001:db8:7::7");
	for (uint32_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct flow flow = net_flow(i % 2, 1 + i);
		uint32_t number;

		flow.target = fast_addr(hosts[i], 9000);
		cr_assert_eq(net_add(&net, &flow, &number), 0, "%s", hosts[i]);
		net_expect_up(&net, &flow, FAST_TO_TARGET, 9, FAST_UP_ROUTE);
		/* Back, it may come from anywhere. */
		net_expect(&net, &flow, FAST_TO_CLIENT, 9);
	}
	net_close(&net);
}

Test(fast_forward_up, interfaces_that_are_not_told)
{
	struct flow flows[2];
	struct net net;
	uint32_t targets;

	open_two(&net, flows, NULL);
	targets = net.side[NET_TARGETS].ingress;
	for (uint32_t round = 0; round < 3; round++) {
		expect_there(&net, flows);
		cr_assert_eq(xdp_sessions_egress(net.sessions, targets, false), 0);
		cr_assert_eq(xdp_sessions_egress(net.sessions, targets, false), 0);
		expect_there_up(&net, flows, FAST_UP_EGRESS);
		net_expect(&net, &flows[0], FAST_TO_CLIENT, 9);
		cr_assert_eq(xdp_sessions_egress(net.sessions, targets, true), 0);
		cr_assert_eq(xdp_sessions_egress(net.sessions, targets, true), 0);
	}
	expect_there(&net, flows);
	net_close(&net);
}

/* It has to be on for the loopback interface, and matters nowhere else. */
Test(fast_forward_up, forwarding)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows, NULL);
	for (uint32_t i = 0; i < 2; i++) {
		const char *lo = i ? "ipv6/conf/lo/forwarding" : "ipv4/conf/lo/forwarding";
		int family = i ? AF_INET6 : AF_INET;

		cr_assert_eq(xdp_fast_can_route(family), 1);
		net_set(lo, 0);
		fast_step_clock();
		cr_assert_eq(xdp_fast_can_route(family), 0);
		cr_assert_eq(xdp_fast_can_route(i ? AF_INET : AF_INET6), 1);
		for (uint32_t way = 0; way < FAST_WAYS; way++) {
			net_expect_up(&net, &flows[i], way, 9, FAST_UP_FORWARDING);
			net_expect(&net, &flows[!i], way, 9);
		}
		net_set(lo, 1);
		fast_step_clock();
		expect_all(&net, flows);
		net_set(i ? "ipv6/conf/clients/forwarding" : "ipv4/conf/clients/forwarding", 0);
		net_set(i ? "ipv6/conf/targets/forwarding" : "ipv4/conf/targets/forwarding", 0);
		fast_step_clock();
		expect_all(&net, flows);
	}
	net_close(&net);
}

/* ---- now and then one goes up, so that the stack looks after the neighbour ---- */

Test(fast_forward_up, refresh)
{
	struct flow flows[2];
	uint32_t numbers[2];
	struct net net;

	open_two(&net, flows, numbers);
	for (uint32_t i = 0; i < 4; i++) {
		const struct flow *flow = &flows[i % 2];
		uint32_t name = i / 2;
		struct fast_way *way = &net.sessions->ways[FAST_WAY(numbers[i % 2], name)];

		net_expect(&net, flow, name, 9);
		/* It is time, and there was nothing for a while. */
		way->up_ns -= FAST_REFRESH_NS;
		way->last_ns -= FAST_GAP_NS + (uint64_t)NS_PER_S;
		fast_step_clock();
		net_expect_up(&net, flow, name, 9, FAST_UP_REFRESH);
		/* Only one. */
		net_expect(&net, flow, name, 9);
		fast_step_clock();
		net_expect(&net, flow, name, 9);
		/* Not yet time. */
		way->up_ns -= FAST_REFRESH_NS / 2;
		way->last_ns -= FAST_REFRESH_NS / 2;
		fast_step_clock();
		net_expect(&net, flow, name, 9);
		/* It is high time, though there is no gap. */
		way->up_ns -= 2 * FAST_REFRESH_NS;
		way->last_ns = way->up_ns + 4 * FAST_REFRESH_NS;
		fast_step_clock();
		net_expect_up(&net, flow, name, 9, FAST_UP_REFRESH);
		net_expect(&net, flow, name, 9);
	}
	net_close(&net);
}
