/* SPDX-License-Identifier: MIT */
/* Makes the network, and the datagrams in it. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fast_net.h"

const uint8_t net_mac[NET_SIDES][6] = {{2, 0, 0, 0, 1, 0xfe}, {2, 0, 0, 0, 2, 0xfe}};
const uint8_t net_neighbour[NET_SIDES][6] = {{2, 0, 0, 0, 1, 1}, {2, 0, 0, 0, 2, 1}};

static const char *const names[NET_SIDES] = {"clients", "targets"};

void net_ip(const char *format, ...)
{
	char lines[8192];
	FILE *batch;
	va_list args;

	va_start(args, format);
	vsnprintf(lines, sizeof(lines), format, args);
	va_end(args);
	batch = popen("ip -batch -", "w");
	cr_assert(batch);
	fputs(lines, batch);
	cr_assert_eq(pclose(batch), 0, "ip: %s", lines);
}

void net_set(const char *setting, int value)
{
	char path[128], text[16];
	int fd, len = snprintf(text, sizeof(text), "%d", value);

	snprintf(path, sizeof(path), "/proc/sys/net/%s", setting);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(write(fd, text, (size_t)len), len, "%s: %s", path, strerror(errno));
	close(fd);
}

static bool is_local(const char *hex)
{
	FILE *file = fopen("/proc/thread-self/net/ipv6_route", "re");
	char line[256], dest[33], bits[3], flags[9];
	bool found = false;

	cr_assert(file);
	while (!found && fgets(line, sizeof(line), file))
		found = sscanf(line, "%32s %2s %*s %*s %*s %*s %*s %*s %8s", dest, bits, flags) ==
				3 &&
			!strcmp(dest, hex) && !strcmp(bits, "80") && flags[0] >= '8';
	fclose(file);
	return found;
}

void net_wait_local(const char *host)
{
	const union addr_inet inet = fast_addr(host, 0);
	char hex[33];

	for (int i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", inet.v6.sin6_addr.s6_addr[i]);
	while (!is_local(hex))
		sched_yield();
}

static void make_links(void)
{
	static char lines[8192];
	size_t len = 0;

	net_ip("link set lo up\n");
	net_set("ipv4/conf/lo/forwarding", 1);
	net_set("ipv6/conf/lo/forwarding", 1);
	for (int i = 0; i < NET_SIDES; i++) {
		net_ip("link add %s address 02:00:00:00:0%d:fe type veth peer name %s1\n"
		       "link set %s1 up\n"
		       "link set %s up\n"
		       "addr add 10.%d.0.254/24 dev %s\n"
		       "addr add 2001:db8:%d::fe/64 dev %s nodad\n",
		       names[i], i + 1, names[i], names[i], names[i], i + 1, names[i], i + 1,
		       names[i]);
		for (int host = 1; host < 10; host++)
			len += (size_t)snprintf(
				lines + len, sizeof(lines) - len,
				"neigh add 10.%d.0.%d lladdr 02:00:00:00:0%d:01 dev %s\n"
				"neigh add 2001:db8:%d::%d lladdr 02:00:00:00:0%d:01 dev %s\n",
				i + 1, host, i + 1, names[i], i + 1, host, i + 1, names[i]);
	}
	net_ip("%s", lines);
	net_wait_local("2001:db8:1::fe");
	net_wait_local("2001:db8:2::fe");
}

void net_open(struct net *net, uint32_t capacity)
{
	const union addr_inet served[] = {fast_addr("10.1.0.254", 53), fast_addr("::", 53)};

	memset(net, 0, sizeof(*net));
	net->sessions = fast_sessions(capacity);
	for (int i = 0; i < NET_SIDES; i++)
		fast_open(&net->side[i], FAST_RELAY, "default pass", served, 2, net->sessions);
	fast_skip_or_fail(unshare(CLONE_NEWNET) ? -errno : 0, "a network namespace needs root");
	make_links();
	for (int i = 0; i < NET_SIDES; i++) {
		struct fast *fast = &net->side[i];

		snprintf(fast->note, sizeof(fast->note), "from %s", names[i]);
		fast->ingress = if_nametoindex(names[i]);
		memcpy(fast->host.mac, net_mac[i], 6);
		fast_set(fast, NULL, 0);
		cr_assert_eq(xdp_sessions_egress(net->sessions, fast->ingress, true), 0);
	}
}

void net_close(struct net *net)
{
	for (int i = 0; i < NET_SIDES; i++)
		fast_close(&net->side[i]);
	xdp_sessions_free(net->sessions);
}

/* ---- flows ---- */

struct flow net_flow(bool v6, uint32_t host)
{
	struct flow flow;
	char text[64];

	snprintf(text, sizeof(text), v6 ? "2001:db8:1::%u" : "10.1.0.%u", host);
	flow.client = fast_addr(text, 4000);
	flow.asked = fast_addr(v6 ? "2001:db8:1::fe" : "10.1.0.254", 53);
	flow.source = fast_addr(v6 ? "2001:db8:2::fe" : "10.2.0.254", (uint16_t)(50000 + host));
	snprintf(text, sizeof(text), v6 ? "2001:db8:2::%u" : "10.2.0.%u", host);
	flow.target = fast_addr(text, 9000);
	return flow;
}

int net_add(struct net *net, const struct flow *flow, uint32_t *ret_number)
{
	const struct xdp_session session = {
		.client = &flow->client,
		.asked = &flow->asked,
		.source = &flow->source,
		.target = &flow->target,
	};

	return xdp_session_add(net->sessions, &session, ret_number);
}

void net_arrives(const struct flow *flow, enum fast_way_name way, uint32_t payload,
		 struct frame *ret_frame)
{
	int side = way == FAST_TO_TARGET ? NET_CLIENTS : NET_TARGETS;

	if (way == FAST_TO_TARGET)
		fast_datagram(&flow->client, &flow->asked, payload, ret_frame);
	else
		fast_datagram(&flow->target, &flow->source, payload, ret_frame);
	memcpy(ret_frame->data, net_mac[side], 6);
	memcpy(ret_frame->data + 6, net_neighbour[side], 6);
}

void net_leaves(const struct flow *flow, enum fast_way_name way, const struct frame *in,
		struct frame *ret_out)
{
	int side = way == FAST_TO_TARGET ? NET_TARGETS : NET_CLIENTS;

	fast_forwarded(in, way == FAST_TO_TARGET ? &flow->source : &flow->asked,
		       way == FAST_TO_TARGET ? &flow->target : &flow->client, net_mac[side],
		       net_neighbour[side], ret_out);
}

static struct fast *side_of(struct net *net, enum fast_way_name way)
{
	return &net->side[way == FAST_TO_TARGET ? NET_CLIENTS : NET_TARGETS];
}

void net_expect(struct net *net, const struct flow *flow, enum fast_way_name way, uint32_t payload)
{
	static struct frame in, out;

	net_arrives(flow, way, payload, &in);
	net_leaves(flow, way, &in, &out);
	fast_expect(side_of(net, way), &in, XDP_REDIRECT, &out, FAST_FORWARDED);
}

void net_expect_up(struct net *net, const struct flow *flow, enum fast_way_name way,
		   uint32_t payload, enum fast_reason reason)
{
	static struct frame in;

	net_arrives(flow, way, payload, &in);
	fast_expect_up(side_of(net, way), &in, reason);
}
