/* SPDX-License-Identifier: MIT */
/* What the UDP manager tells the fast path of its sessions, and asks it, over the fake backend. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { ASKED = 0xc0000201, CLIENT = 0x0a000001, SESSIONS = 100, NUMBERS = 4096 };

/* A fast path that only notes; numbers are never given out twice. */
struct fake_fast {
	struct udp_fast ops;
	struct sim *sim;
	int err; /* what add answers */
	uint32_t n_add, n_remove, n_asked;
	struct {
		bool live;
		struct udp_flow flow;
		int64_t last_ns;
		uint64_t packets[2], bytes[2]; /* by to_client */
	} session[NUMBERS];
};

struct rig {
	struct udp_listener listener;
	struct fake_fast *fast;
	struct fake_host *target;
	union addr_inet asked;
};

static int fast_add(void *ctx, const struct udp_flow *flow, uint32_t *ret_number)
{
	struct fake_fast *fast = ctx;
	uint32_t number = fast->n_add++;

	sim_check(fast->sim, number < NUMBERS);
	fast->session[number].flow = *flow;
	if (fast->err)
		return fast->err;
	fast->session[number].live = true;
	*ret_number = number;
	return 0;
}

static void fast_remove(void *ctx, uint32_t number)
{
	struct fake_fast *fast = ctx;

	sim_check(fast->sim, number < fast->n_add && fast->session[number].live);
	fast->session[number].live = false;
	fast->n_remove++;
}

static int64_t fast_last_ns(void *ctx, uint32_t number)
{
	struct fake_fast *fast = ctx;

	sim_check(fast->sim, number < fast->n_add && fast->session[number].live);
	fast->n_asked++;
	return fast->session[number].last_ns;
}

static void fast_note(void *ctx, uint32_t number, bool to_client, uint32_t packets, uint64_t bytes)
{
	struct fake_fast *fast = ctx;

	sim_check(fast->sim, number < fast->n_add && fast->session[number].live && packets);
	fast->session[number].packets[to_client] += packets;
	fast->session[number].bytes[to_client] += bytes;
}

/* The listener is bound to what it is asked at, or to every address. */
static void rig_open(struct sim *sim, struct rig *rig, bool wildcard)
{
	union addr_inet at = sim_v4(wildcard ? INADDR_ANY : ASKED, SIM_UDP_PORT);

	rig->fast = calloc(1, sizeof(*rig->fast));
	cr_assert(rig->fast);
	rig->fast->sim = sim;
	rig->fast->ops = (struct udp_fast){.ctx = rig->fast,
					   .add = fast_add,
					   .remove = fast_remove,
					   .last_ns = fast_last_ns,
					   .note = fast_note};
	sim->udp_conf.fast = &rig->fast->ops;
	rig->asked = sim_v4(ASKED, SIM_UDP_PORT);
	rig->target = fake_host_open(sim->io, &sim->targets[0].inet);
	sim_check_eq(sim, udp_listen(&sim->udp, &rig->listener, 0, fake_dgram_bind(sim->io, &at)),
		     0);
}

/* Ends what there is. All that was added has to be removed by then. */
static void rig_close(struct sim *sim, struct rig *rig)
{
	udp_mgr_cut(&sim->udp);
	sim_settle(sim);
	sim->io->ops->close(sim->io, rig->listener.sock, IO_CLOSE_NOW);
	sim_settle(sim);
	sim_check_eq(sim, rig->fast->n_remove, rig->fast->err ? 0 : rig->fast->n_add);
	sim_check_eq(sim, sim->stats.fast_sessions, rig->fast->err ? 0 : rig->fast->n_add);
	for (uint32_t i = 0; i < rig->fast->n_add; i++)
		sim_check(sim, !rig->fast->session[i].live);
	free(rig->fast);
}

static struct fake_host *client_open(struct sim *sim, uint32_t host, uint16_t port)
{
	const union addr_inet addr = sim_v4(host, port);

	return fake_host_open(sim->io, &addr);
}

static void say(struct fake_host *host, const union addr_inet *to, size_t len)
{
	static const uint8_t zeros[2000];

	fake_host_send(host, to, zeros, len);
}

static void expect(struct sim *sim, struct fake_host *host, size_t len, union addr_inet *ret_from)
{
	uint8_t got[2000];

	sim_check_eq(sim, fake_host_recv(host, got, sizeof(got), ret_from), len);
}

/* A session that is there for good. */
static struct fake_host *session_open(struct sim *sim, struct rig *rig, union addr_inet *ret_from)
{
	struct fake_host *client = client_open(sim, CLIENT, 1000);

	say(client, &rig->asked, 10);
	sim_settle(sim);
	expect(sim, rig->target, 10, ret_from);
	sim_check_eq(sim, rig->fast->n_add, 1);
	return client;
}

/* ---- what it is told ---- */

static void check_flows(struct sim *sim, bool wildcard)
{
	union addr_inet from;
	struct rig rig;

	rig_open(sim, &rig, wildcard);
	for (uint32_t i = 0; i < 20; i++) {
		union addr_inet client = sim_v4(CLIENT + i, (uint16_t)(1000 + i)),
				asked = rig.asked;
		struct fake_host *host = fake_host_open(sim->io, &client);
		const struct udp_flow *flow = &rig.fast->session[i].flow;

		if (wildcard)
			asked = sim_v4(ASKED + i % 3, SIM_UDP_PORT);
		for (uint32_t n = 0; n < 3; n++) {
			say(host, &asked, i);
			sim_settle(sim);
			expect(sim, rig.target, i, &from);
			sim_check_eq(sim, rig.fast->n_add, i + 1);
		}
		sim_check(sim, addr_inet_equal(&flow->client, &client));
		sim_check(sim, addr_inet_equal(&flow->asked, &asked));
		sim_check(sim, addr_inet_equal(&flow->source, &from));
		sim_check(sim, addr_inet_equal(&flow->target, &sim->targets[0].inet));
	}
	sim_check_eq(sim, rig.fast->n_remove, 0);
	rig_close(sim, &rig);
}

SIM_TEST(udp_fast, flows_of_a_listener, .mode = CONN_RELAY, .sessions_max = SESSIONS)
{
	check_flows(sim, false);
}

SIM_TEST(udp_fast, flows_of_a_listener_on_every_address, .mode = CONN_RELAY,
	 .sessions_max = SESSIONS)
{
	check_flows(sim, true);
}

SIM_TEST(udp_fast, flows_of_ipv6, .mode = CONN_RELAY, .sessions_max = SESSIONS)
{
	const union addr_inet any = sim_v6("::", SIM_UDP_PORT + 1);
	const union addr_inet asked = sim_v6("2001:db8::7", SIM_UDP_PORT + 1);
	const union addr_inet client = sim_v6("2001:db8:1::1", 1000);
	struct udp_listener second;
	struct fake_host *target;
	const struct udp_flow *flow;
	union addr_inet from;
	struct rig rig;

	rig_open(sim, &rig, true);
	sim->targets[0].inet = sim_v6("2001:db8:2::1", 9000);
	sim->targets[0].len = sizeof(struct sockaddr_in6);
	target = fake_host_open(sim->io, &sim->targets[0].inet);
	sim_check_eq(sim, udp_listen(&sim->udp, &second, 1, fake_dgram_bind(sim->io, &any)), 0);
	say(fake_host_open(sim->io, &client), &asked, 1);
	sim_settle(sim);
	expect(sim, target, 1, &from);
	sim_check_eq(sim, rig.fast->n_add, 1);
	flow = &rig.fast->session[0].flow;
	sim_check(sim, addr_inet_equal(&flow->client, &client));
	sim_check(sim, addr_inet_equal(&flow->asked, &asked));
	sim_check(sim, addr_inet_equal(&flow->source, &from));
	sim_check(sim, addr_inet_equal(&flow->target, &sim->targets[0].inet));
	udp_mgr_cut(&sim->udp);
	sim_settle(sim);
	sim->io->ops->close(sim->io, second.sock, IO_CLOSE_NOW);
	rig_close(sim, &rig);
}

/* Each datagram, also those before the session was added. */
SIM_TEST(udp_fast, datagrams_are_noted, .mode = CONN_RELAY, .sessions_max = 4)
{
	struct fake_host *client = client_open(sim, CLIENT, 1000);
	uint64_t bytes[2] = {0}, packets[2] = {0};
	union addr_inet from, at;
	struct rig rig;

	rig_open(sim, &rig, true);
	for (uint32_t i = 0; i < 5; i++) {
		say(client, &rig.asked, 100 + i);
		bytes[0] += 100 + i;
		packets[0]++;
	}
	sim_settle(sim);
	for (uint32_t i = 0; i < 5; i++)
		expect(sim, rig.target, 100 + i, &from);
	for (uint32_t i = 0; i < 50; i++) {
		bool to_client = sim_below(sim, 2);
		uint32_t len = (uint32_t)sim_below(sim, 1500);

		if (to_client)
			say(rig.target, &from, len);
		else
			say(client, &rig.asked, len);
		sim_settle(sim);
		expect(sim, to_client ? client : rig.target, len, &at);
		bytes[to_client] += len;
		packets[to_client]++;
		for (int j = 0; j < 2; j++) {
			sim_check_eq(sim, rig.fast->session[0].packets[j], packets[j]);
			sim_check_eq(sim, rig.fast->session[0].bytes[j], bytes[j]);
		}
	}
	sim_check_eq(sim, rig.fast->n_add, 1);
	rig_close(sim, &rig);
}

/* ---- what it answers ---- */

static void check_refused(struct sim *sim, int err)
{
	union addr_inet from, at;
	struct fake_host *client;
	struct rig rig;

	rig_open(sim, &rig, true);
	rig.fast->err = err;
	client = session_open(sim, &rig, &from);
	for (uint32_t i = 0; i < 5; i++) {
		say(client, &rig.asked, i);
		sim_settle(sim);
		expect(sim, rig.target, i, &at);
		sim_check(sim, addr_inet_equal(&at, &from));
		say(rig.target, &from, i);
		sim_settle(sim);
		expect(sim, client, i, &at);
		sim_check(sim, addr_inet_equal(&at, &rig.asked));
	}
	sim_check_eq(sim, sim->stats.fast_full, err == -ENOSPC);
	sim_check_eq(sim, sim->stats.fast_declined, err != -ENOSPC);
	/* It is not asked again, not told of anything, and not missed. */
	sim_check_eq(sim, rig.fast->n_add, 1);
	while (sim->udp.live_n)
		sim_turn(sim, 100 * NS_PER_MS);
	sim_check_eq(sim, rig.fast->n_asked, 0);
	sim_check_eq(sim, stats_drops(&sim->stats), 0);
	rig_close(sim, &rig);
}

SIM_TEST(udp_fast, no_room, .mode = CONN_RELAY, .sessions_max = 4, .idle_ns = NS_PER_S)
{
	check_refused(sim, -ENOSPC);
}

SIM_TEST(udp_fast, not_possible, .mode = CONN_RELAY, .sessions_max = 4, .idle_ns = NS_PER_S)
{
	check_refused(sim, -EAFNOSUPPORT);
}

SIM_TEST(udp_fast, other_errors, .mode = CONN_RELAY, .sessions_max = 4, .idle_ns = NS_PER_S)
{
	check_refused(sim, -EEXIST);
}

/* ---- when sessions end ---- */

SIM_TEST(udp_fast, idle_sessions_are_removed, .mode = CONN_RELAY, .sessions_max = 4,
	 .idle_ns = NS_PER_S)
{
	struct fake_host *client;
	union addr_inet from;
	struct rig rig;

	rig_open(sim, &rig, true);
	client = session_open(sim, &rig, &from);
	sim_run(sim, 800 * NS_PER_MS);
	sim_check_eq(sim, rig.fast->n_remove, 0);
	sim_run(sim, 400 * NS_PER_MS);
	sim_check_eq(sim, rig.fast->n_remove, 1);
	sim_settle(sim);
	sim_check_eq(sim, sim->udp.live_n, 0);
	/* The next one is another. */
	say(client, &rig.asked, 5);
	sim_settle(sim);
	sim_check_eq(sim, rig.fast->n_add, 2);
	sim_check_eq(sim, rig.fast->n_remove, 1);
	rig_close(sim, &rig);
}

/* What is forwarded without coming up keeps a session alive, for as long as it is. */
SIM_TEST(udp_fast, forwarded_sessions_live_on, .mode = CONN_RELAY, .sessions_max = 4,
	 .idle_ns = NS_PER_S)
{
	union addr_inet from;
	int64_t last_ns = 0;
	struct rig rig;

	rig_open(sim, &rig, true);
	session_open(sim, &rig, &from);
	for (uint32_t i = 0; i < 10; i++) {
		sim_run(sim, 800 * NS_PER_MS);
		last_ns = sim->io->now_ns - (int64_t)sim_below(sim, 100) * NS_PER_MS;
		rig.fast->session[0].last_ns = last_ns;
		sim_check_eq(sim, rig.fast->n_remove, 0);
		sim_check_eq(sim, sim->udp.live_n, 1);
	}
	while (sim->udp.live_n)
		sim_turn(sim, NS_PER_MS);
	sim_check_eq(sim, rig.fast->n_remove, 1);
	sim_check(sim, sim->io->now_ns >= last_ns + 900 * NS_PER_MS);
	sim_check(sim, sim->io->now_ns <= last_ns + 1200 * NS_PER_MS);
	rig_close(sim, &rig);
}

SIM_TEST(udp_fast, cut, .mode = CONN_RELAY, .sessions_max = SESSIONS)
{
	struct rig rig;

	rig_open(sim, &rig, true);
	for (uint32_t i = 0; i < 30; i++)
		say(client_open(sim, CLIENT, (uint16_t)(1000 + i)), &rig.asked, i);
	sim_settle(sim);
	sim_check_eq(sim, rig.fast->n_add, 30);
	sim_check_eq(sim, udp_mgr_cut(&sim->udp), 30);
	sim_check_eq(sim, rig.fast->n_remove, 30);
	sim_check_eq(sim, udp_mgr_cut(&sim->udp), 0);
	sim_settle(sim);
	rig_close(sim, &rig);
}

/* Sessions that are cut before they are connected are none that could be added. */
SIM_TEST(udp_fast, cut_at_once, .mode = CONN_RELAY, .sessions_max = SESSIONS)
{
	struct rig rig;

	rig_open(sim, &rig, true);
	for (uint32_t i = 0; i < 30; i++) {
		say(client_open(sim, CLIENT, (uint16_t)(1000 + i)), &rig.asked, i);
		if (i % 3 == 0)
			sim_turn(sim, 0);
		if (i % 10 == 0)
			udp_mgr_cut(&sim->udp);
	}
	udp_mgr_cut(&sim->udp);
	sim_check_eq(sim, rig.fast->n_remove, rig.fast->n_add);
	sim_settle(sim);
	rig_close(sim, &rig);
}

SIM_TEST(udp_fast, failed_connects, .mode = CONN_RELAY, .sessions_max = 4)
{
	struct fake_host *client = client_open(sim, CLIENT, 1000);
	union addr_inet from;
	struct rig rig;

	rig_open(sim, &rig, true);
	fake_fds_gone(sim->io, -EMFILE);
	for (uint32_t i = 0; i < 5; i++) {
		say(client, &rig.asked, i);
		sim_settle(sim);
	}
	sim_check_eq(sim, sim->stats.drop_session_failed, 5);
	sim_check_eq(sim, rig.fast->n_add, 0);
	sim_check_eq(sim, sim->stats.fast_declined + sim->stats.fast_full, 0);
	fake_fds_gone(sim->io, 0);
	while (fake_host_recv(rig.target, &from, sizeof(from), &from) >= 0)
		;
	say(client, &rig.asked, 9);
	sim_settle(sim);
	sim_check_eq(sim, rig.fast->n_add, 1);
	rig_close(sim, &rig);
}

/* ICMP is no end of a session. */
SIM_TEST(udp_fast, icmp, .mode = CONN_RELAY, .sessions_max = 4)
{
	struct fake_host *client;
	union addr_inet from;
	struct rig rig;

	rig_open(sim, &rig, true);
	client = session_open(sim, &rig, &from);
	fake_host_close(rig.target);
	for (uint32_t i = 0; i < 3; i++) {
		say(client, &rig.asked, i);
		sim_settle(sim);
	}
	sim_check_eq(sim, sim->stats.drop_icmp, 3);
	sim_check_eq(sim, rig.fast->n_remove, 0);
	rig_close(sim, &rig);
}

SIM_TEST(udp_fast, drains, .mode = CONN_RELAY, .sessions_max = 4)
{
	struct fake_host *late = client_open(sim, CLIENT, 1001);
	union addr_inet from;
	struct rig rig;

	rig_open(sim, &rig, true);
	session_open(sim, &rig, &from);
	sim_run(sim, 3 * CONN_QUIET_NS);
	rig.fast->session[0].last_ns = sim->io->now_ns;
	udp_mgr_drain(&sim->udp);
	for (uint32_t i = 0; i < 20; i++) {
		sim_run(sim, CONN_QUIET_NS / 2);
		rig.fast->session[0].last_ns = sim->io->now_ns;
		say(late, &rig.asked, i);
		sim_check_eq(sim, sim->udp.live_n, 1);
		sim_check_eq(sim, rig.fast->n_remove, 0);
	}
	sim_run(sim, CONN_QUIET_NS + 300 * NS_PER_MS);
	sim_check_eq(sim, sim->udp.live_n, 0);
	sim_check_eq(sim, rig.fast->n_remove, 1);
	sim_check_eq(sim, rig.fast->n_add, 1);
	rig_close(sim, &rig);
}

/* ---- any order ---- */

SIM_TEST(udp_fast, random_clients, .mode = CONN_RELAY, .sessions_max = 30,
	 .idle_ns = 40 * NS_PER_MS)
{
	struct fake_host *clients[60];
	struct rig rig;

	rig_open(sim, &rig, true);
	for (uint32_t i = 0; i < ARRAY_SIZE(clients); i++)
		clients[i] = client_open(sim, CLIENT + i, 1000);
	for (uint32_t step = 0; step < 1500; step++) {
		union addr_inet from;
		uint8_t byte;

		say(clients[sim_below(sim, ARRAY_SIZE(clients))], &rig.asked, 7);
		fake_fds_gone(sim->io, sim_below(sim, 10) ? 0 : -EMFILE);
		sim_turn(sim, (int64_t)sim_below(sim, 5) * NS_PER_MS);
		while (fake_host_recv(rig.target, &byte, 1, &from) >= 0)
			if (from.sa.sa_family && sim_below(sim, 2))
				say(rig.target, &from, 3);
		for (uint32_t i = 0; i < 3 && rig.fast->n_add; i++)
			rig.fast->session[sim_below(sim, rig.fast->n_add)].last_ns =
				sim->io->now_ns;
		if (sim_below(sim, 300) == 0)
			udp_mgr_cut(&sim->udp);
		sim_check(sim, rig.fast->n_add - rig.fast->n_remove <= sim->udp.live_n);
	}
	fake_fds_gone(sim->io, 0);
	sim_run(sim, NS_PER_S);
	sim_check_eq(sim, sim->udp.live_n, 0);
	sim_check_eq(sim, rig.fast->n_add, rig.fast->n_remove);
	sim_check(sim, rig.fast->n_add > 10);
	rig_close(sim, &rig);
}
