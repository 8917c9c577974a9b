/* SPDX-License-Identifier: MIT */
/* What the fast path of a relay sends on, byte by byte, and where it sends it. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/fast_net.h"

TestSuite(fast_forward, .timeout = 120);

static struct frame in, out; /* too big for a stack */

static struct fast *side_of(struct net *net, uint32_t way)
{
	return &net->side[way == FAST_TO_TARGET ? NET_CLIENTS : NET_TARGETS];
}

/* Opens a net with a session of each family, in flows. */
static void open_two(struct net *net, struct flow flows[2])
{
	uint32_t number;

	net_open(net, 8);
	for (uint32_t i = 0; i < 2; i++) {
		flows[i] = net_flow(i, 1);
		cr_assert_eq(net_add(net, &flows[i], &number), 0);
	}
}

static void expect_sent(struct net *net, const struct flow *flow, uint32_t way)
{
	net_leaves(flow, way, &in, &out);
	fast_expect(side_of(net, way), &in, XDP_REDIRECT, &out, FAST_FORWARDED);
}

/* ---- frames ---- */

Test(fast_forward, every_size)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows);
	for (uint32_t i = 0; i < 2 * 2 * 1473; i++) {
		uint32_t payload = i / 4, way = i / 2 % 2;
		bool v6 = i % 2;

		if (v6 && payload > 1452)
			continue;
		net_arrives(&flows[v6], way, payload, &in);
		expect_sent(&net, &flows[v6], way);
		cr_assert_eq(fast_sum_udp(&out), 0xffff);
		cr_assert(v6 || fast_sum_ip(&out) == 0xffff);
	}
	net_close(&net);
}

/* All that a checksum can be, before and after; one that is 0 is written as 0xffff. */
Test(fast_forward, every_udp_checksum)
{
	struct flow flows[2];
	uint32_t seen = 0;
	struct net net;

	open_two(&net, flows);
	for (uint32_t i = 0; i < 4; i++) {
		const struct flow *flow = &flows[i % 2];

		net_arrives(flow, i / 2, 20, &in);
		for (uint32_t word = 0; word < 65536; word++) {
			fast_put16(fast_udp(&in) + 8, word);
			fast_seal_udp(&in);
			expect_sent(&net, flow, i / 2);
			seen += fast_get16(fast_udp(&out) + 6) == 0xffff;
			seen += fast_get16(fast_udp(&in) + 6) == 0xffff;
		}
	}
	cr_assert_geq(seen, 8);
	net_close(&net);
}

/* A wrong one stays as wrong as it is, so that whoever gets it can tell. */
Test(fast_forward, wrong_udp_checksums)
{
	static struct frame got;
	struct flow flows[2];
	struct net net;

	open_two(&net, flows);
	for (uint32_t i = 0; i < 4; i++) {
		struct fast *fast = side_of(&net, i / 2);

		net_arrives(&flows[i % 2], i / 2, 21, &in);
		for (uint32_t check = 1; check < 65536; check += 3) {
			fast_put16(fast_udp(&in) + 6, check);
			cr_assert_eq(fast_run(fast, &in, &got), XDP_REDIRECT);
			cr_assert_eq(fast_sum_udp(&got) % 0xffff, fast_sum_udp(&in) % 0xffff);
			cr_assert_neq(fast_get16(fast_udp(&got) + 6), 0);
			fast->want[FAST_FORWARDED].packets++;
			fast->want[FAST_FORWARDED].bytes += in.len;
		}
	}
	net_close(&net);
}

Test(fast_forward, no_udp_checksum)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows);
	for (uint32_t i = 0; i < 4; i++) {
		net_arrives(&flows[i % 2], i / 2, 20, &in);
		fast_put16(fast_udp(&in) + 6, 0);
		if (i % 2) {
			fast_expect_up(side_of(&net, i / 2), &in, FAST_UP_CHECKSUM);
			continue;
		}
		expect_sent(&net, &flows[i % 2], i / 2);
		cr_assert_eq(fast_get16(fast_udp(&out) + 6), 0);
	}
	net_close(&net);
}

/* Everything else of the header stays; hops become one fewer. */
Test(fast_forward, every_header)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows);
	for (uint32_t i = 0; i < 4 * 16384; i++) {
		uint32_t way = i / 2 % 2, hops = i / 4 % 256;
		struct fast *fast = side_of(&net, way);
		bool v6 = i % 2;
		uint8_t *ip;

		net_arrives(&flows[v6], way, 5, &in);
		ip = fast_ip(&in);
		ip[1] = (uint8_t)fast_below(fast, 256);
		if (v6) {
			ip[0] = (uint8_t)(0x60 | fast_below(fast, 16));
			fast_put16(ip + 2, fast_below(fast, 65536));
			ip[7] = (uint8_t)hops;
		} else {
			fast_put16(ip + 4, fast_below(fast, 65536));
			ip[6] = fast_below(fast, 2) ? 0x40 : 0;
			ip[8] = (uint8_t)hops;
		}
		fast_seal(&in);
		if (hops <= 1)
			fast_expect_up(fast, &in, FAST_UP_HOP_LIMIT);
		else
			expect_sent(&net, &flows[v6], way);
	}
	net_close(&net);
}

Test(fast_forward, random_addresses)
{
	struct net net;
	uint32_t numbers[300];
	struct fast *fast;

	net_open(&net, ARRAY_SIZE(numbers));
	fast = &net.side[0];
	for (uint32_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		struct flow flow = net_flow(i % 2, 1 + i % 9);
		uint8_t *asked = i % 2 ? flow.asked.v6.sin6_addr.s6_addr
				       : (uint8_t *)&flow.asked.v4.sin_addr;
		uint8_t *source = i % 2 ? flow.source.v6.sin6_addr.s6_addr
					: (uint8_t *)&flow.source.v4.sin_addr;

		/* The relay's own addresses and ports are any. */
		for (uint32_t at = i % 2 ? 4 : 1; at < (i % 2 ? 16u : 4u); at++) {
			asked[at] = (uint8_t)fast_below(fast, 256);
			source[at] = (uint8_t)fast_below(fast, 256);
		}
		flow.asked.v4.sin_port = htons((uint16_t)(1 + fast_below(fast, 65535)));
		flow.source.v4.sin_port = htons((uint16_t)(1 + fast_below(fast, 65535)));
		flow.client.v4.sin_port = htons((uint16_t)(1 + fast_below(fast, 65535)));
		flow.target.v4.sin_port = htons((uint16_t)(1 + fast_below(fast, 65535)));
		cr_assert_eq(net_add(&net, &flow, &numbers[i]), 0);
		for (uint32_t way = 0; way < FAST_WAYS; way++)
			net_expect(&net, &flow, way, fast_below(fast, 300));
	}
	net_close(&net);
}

/* ---- where they go ---- */

/* Makes a veth take frames that are sent to it by redirection. */
static void turn_gro_on(const char *name)
{
	struct ethtool_value on = {.cmd = ETHTOOL_SGRO, .data = 1};
	struct ifreq request = {.ifr_data = (char *)&on};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	cr_assert_eq(ioctl(fd, SIOCETHTOOL, &request), 0, "%s: %s", name, strerror(errno));
	close(fd);
}

static int listen_on(const char *name)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(0x0003)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x0003));

	at.sll_ifindex = (int)if_nametoindex(name);
	cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0, "%s", strerror(errno));
	return fd;
}

/* Takes frames until it is this one. */
static void expect_frame(int fd, const struct frame *want)
{
	static uint8_t got[FRAME_BYTES_MAX];
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	ssize_t n;

	do {
		cr_assert_eq(poll(&wait, 1, 20 * 1000), 1, "the frame has not come");
		n = recv(fd, got, sizeof(got), 0);
	} while (n != want->len || memcmp(got, want->data, want->len));
}

/* Runs a frame as if it had arrived: what the program says is done. */
static void run_live(const struct fast *fast)
{
	struct xdp_md md = {.data_end = in.len, .ingress_ifindex = fast->ingress};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)xdp_program_fd(fast->xdp);
	attr.test.data_in = (uintptr_t)in.data;
	attr.test.data_size_in = in.len;
	attr.test.repeat = 1;
	attr.test.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
	attr.test.ctx_in = (uintptr_t)&md;
	attr.test.ctx_size_in = sizeof(md);
	cr_assert_eq(syscall(__NR_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)), 0, "%s",
		     strerror(errno));
}

Test(fast_forward, frames_arrive)
{
	static const char *const far[NET_SIDES] = {"clients1", "targets1"};
	int fds[NET_SIDES];
	struct flow flows[2];
	struct net net;

	open_two(&net, flows);
	for (int i = 0; i < NET_SIDES; i++) {
		turn_gro_on(far[i]);
		fds[i] = listen_on(far[i]);
	}
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t way = i / 2;
		struct fast *fast = side_of(&net, way);

		net_arrives(&flows[i % 2], way, 77, &in);
		net_leaves(&flows[i % 2], way, &in, &out);
		run_live(fast);
		expect_frame(fds[way == FAST_TO_TARGET ? NET_TARGETS : NET_CLIENTS], &out);
		fast->want[FAST_FORWARDED].packets++;
		fast->want[FAST_FORWARDED].bytes += in.len;
	}
	for (int i = 0; i < NET_SIDES; i++)
		close(fds[i]);
	net_close(&net);
}

/* The target is where the client is: XDP_TX, unless the interface had better be redirected to. */
Test(fast_forward, back_out_of_the_same_interface)
{
	struct net net;

	net_open(&net, 8);
	for (uint32_t i = 0; i < 4; i++) {
		struct fast *fast = &net.side[NET_CLIENTS];
		struct flow flow = net_flow(i % 2, 1 + i);
		uint32_t number;

		flow.target = net_flow(i % 2, 9).client;
		cr_assert_eq(net_add(&net, &flow, &number), 0);
		if (i == 2) {
			fast->host.redirect = 1;
			xdp_fast_off(fast->xdp);
			fast_set(fast, NULL, 0);
		}
		for (uint32_t way = 0; way < FAST_WAYS; way++) {
			net_arrives(&flow, way, 9, &in);
			memcpy(in.data, net_mac[NET_CLIENTS], 6);
			fast_forwarded(&in, way ? &flow.asked : &flow.source,
				       way ? &flow.client : &flow.target, net_mac[NET_CLIENTS],
				       net_neighbour[NET_CLIENTS], &out);
			fast_expect(fast, &in, i < 2 ? XDP_TX : XDP_REDIRECT, &out, FAST_FORWARDED);
		}
	}
	net_close(&net);
}

Test(fast_forward, next_hops_change)
{
	struct flow flows[2];
	struct net net;

	open_two(&net, flows);
	for (uint32_t round = 0; round < 4; round++) {
		uint8_t mac[6] = {2, 0, 0, 0, 2, (uint8_t)(0x10 + round)};

		if (round == 3) /* far away, behind a router */
			net_ip("route add 10.9.0.0/16 via 10.2.0.2\n"
			       "route add 2001:db8:9::/48 via 2001:db8:2::2\n"
			       "neigh replace 10.2.0.2 lladdr 02:00:00:00:02:13 dev targets\n"
			       "neigh replace 2001:db8:2::2 lladdr 02:00:00:00:02:13 dev targets\n"
			       "route add 10.2.0.1/32 via 10.2.0.2\n"
			       "route add 2001:db8:2::1/128 via 2001:db8:2::2\n");
		else
			for (uint32_t i = 0; i < 2; i++)
				net_ip("neigh replace %s lladdr 02:00:00:00:02:1%u dev targets\n",
				       i ? "2001:db8:2::1" : "10.2.0.1", round);
		fast_step_clock();
		for (uint32_t i = 0; i < 2; i++) {
			net_arrives(&flows[i], FAST_TO_TARGET, 9, &in);
			net_leaves(&flows[i], FAST_TO_TARGET, &in, &out);
			memcpy(out.data, mac, 6);
			fast_expect(&net.side[NET_CLIENTS], &in, XDP_REDIRECT, &out,
				    FAST_FORWARDED);
		}
	}
	/* The target moves to the clients' side. */
	net_ip("route replace 10.2.0.1/32 via 10.1.0.2\n"
	       "route replace 2001:db8:2::1/128 via 2001:db8:1::2\n");
	fast_step_clock();
	for (uint32_t i = 0; i < 2; i++) {
		net_arrives(&flows[i], FAST_TO_TARGET, 9, &in);
		fast_forwarded(&in, &flows[i].source, &flows[i].target, net_mac[NET_CLIENTS],
			       net_neighbour[NET_CLIENTS], &out);
		fast_expect(&net.side[NET_CLIENTS], &in, XDP_TX, &out, FAST_FORWARDED);
	}
	net_close(&net);
}

/* Rules by the source of a session's datagram hold for it as well. */
Test(fast_forward, rules_come_first)
{
	struct flow flows[2];
	struct fast *fast;
	struct net net;

	open_two(&net, flows);
	fast = &net.side[NET_CLIENTS];
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 2; i++) {
			if (round == 1) {
				net_arrives(&flows[i], FAST_TO_TARGET, 9, &in);
				fast_expect(fast, &in, XDP_DROP, NULL, FAST_UNCOUNTED);
			} else {
				net_expect(&net, &flows[i], FAST_TO_TARGET, 9);
			}
			/* What comes back is not for a listener. */
			net_expect(&net, &flows[i], FAST_TO_CLIENT, 9);
		}
		fast_check(fast);
		fast_replace(fast, round ? "default pass"
					 : "default pass\ndrop from 10.1.0.1 to-port 53\n"
					   "drop from 2001:db8:1::1 to-port 53");
	}
	net_close(&net);
}
