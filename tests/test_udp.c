/* SPDX-License-Identifier: MIT */
/* What datagrams do, over the fake backend: echo, discard, and relay with its sessions. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { ASKED = 0xc0000201, CLIENT = 0x0a000001, SESSIONS = 100, CROWD = 3000 };

struct udp_rig {
	struct udp_listener listener;
	union addr_inet asked; /* where the listener is asked, unless a test says otherwise */
	struct fake_host *target;
};

static void rig_open(struct sim *sim, struct udp_rig *rig)
{
	const union addr_inet any = sim_v4(INADDR_ANY, SIM_UDP_PORT);

	rig->asked = sim_v4(ASKED, SIM_UDP_PORT);
	rig->target = fake_host_open(sim->io, &sim->targets[0].inet);
	sim_check_eq(sim, udp_listen(&sim->udp, &rig->listener, 0, fake_dgram_bind(sim->io, &any)),
		     0);
}

static void listener_close(struct sim *sim, struct udp_listener *listener)
{
	sim->io->ops->close(sim->io, listener->sock, IO_CLOSE_NOW);
	sim_settle(sim);
	sim_check(sim, !listener->sock);
}

/* Ends what sessions there are and the listener. */
static void rig_close(struct sim *sim, struct udp_rig *rig)
{
	sim_check_eq(sim, udp_mgr_cut(&sim->udp), sim->udp.live_n);
	sim_settle(sim);
	sim_check_eq(sim, sim->udp.live_n, 0);
	listener_close(sim, &rig->listener);
}

static struct fake_host *client_open(struct sim *sim, uint32_t host, uint16_t port)
{
	const union addr_inet addr = sim_v4(host, port);

	return fake_host_open(sim->io, &addr);
}

static void say(struct fake_host *host, const union addr_inet *to, uint32_t word)
{
	fake_host_send(host, to, &word, sizeof(word));
}

/* The next datagram has to be word. */
static void expect(struct sim *sim, struct fake_host *host, uint32_t word,
		   union addr_inet *ret_from)
{
	uint32_t got = 0;

	sim_check_eq(sim, fake_host_recv(host, &got, sizeof(got), ret_from), sizeof(got));
	sim_check_eq(sim, got, word);
}

static void expect_none(struct sim *sim, struct fake_host *host)
{
	union addr_inet from;
	uint32_t word;

	sim_check_eq(sim, fake_host_recv(host, &word, sizeof(word), &from), -EAGAIN);
}

/* ---- echo and discard ---- */

SIM_TEST(udp, echo_answers_from_where_it_was_asked, .mode = CONN_ECHO, .sessions_max = 1)
{
	static uint8_t data[65507], back[65507];
	static const size_t sizes[] = {0, 1, 1472, 8192, 8193, 65507};
	struct fake_host *client = client_open(sim, CLIENT, 1000);
	struct udp_rig rig;
	union addr_inet from;

	rig_open(sim, &rig);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		fake_host_send(client, &rig.asked, data, sizes[i]);
		sim_settle(sim);
		sim_check_eq(sim, fake_host_recv(client, back, sizeof(back), &from), sizes[i]);
		sim_check(sim, !memcmp(data, back, sizes[i]));
		sim_check(sim, addr_inet_equal(&from, &rig.asked));
	}
	sim_check_eq(sim, sim->stats.dgrams_in, ARRAY_SIZE(sizes));
	sim_check_eq(sim, sim->stats.dgrams_out, ARRAY_SIZE(sizes));
	sim_check_eq(sim, sim->stats.dgram_bytes_in, sim->stats.dgram_bytes_out);
	sim_check_eq(sim, stats_drops(&sim->stats), 0);
	rig_close(sim, &rig);
}

SIM_TEST(udp, discard_answers_nothing, .mode = CONN_DISCARD, .sessions_max = 1)
{
	struct fake_host *client = client_open(sim, CLIENT, 1000);
	struct udp_rig rig;

	rig_open(sim, &rig);
	for (uint32_t i = 0; i < 50; i++)
		say(client, &rig.asked, i);
	sim_settle(sim);
	expect_none(sim, client);
	sim_check_eq(sim, sim->stats.dgrams_in, 50);
	sim_check_eq(sim, sim->stats.dgrams_out, 0);
	sim_check_eq(sim, stats_drops(&sim->stats), 0);
	rig_close(sim, &rig);
}

SIM_TEST(udp, echo_does_not_reflect, .mode = CONN_ECHO, .sessions_max = 1)
{
	static const uint16_t ports[] = {7, 9, 13, 17, 19};
	struct udp_rig rig;

	rig_open(sim, &rig);
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
		struct fake_host *client = client_open(sim, CLIENT, ports[i]);

		say(client, &rig.asked, 1);
		sim_settle(sim);
		expect_none(sim, client);
	}
	sim_check_eq(sim, sim->stats.drop_reflection, ARRAY_SIZE(ports));
	sim_check_eq(sim, sim->stats.dgrams_out, 0);
	rig_close(sim, &rig);
}

SIM_TEST(udp, no_socket_for_a_listener, .mode = CONN_ECHO, .sessions_max = 1, .socks_max = 1)
{
	const union addr_inet more = sim_v4(INADDR_ANY, SIM_UDP_PORT + 1);
	int fd = fake_dgram_bind(sim->io, &more);
	struct udp_listener listener;
	struct udp_rig rig;

	rig_open(sim, &rig);
	sim_check_eq(sim, udp_listen(&sim->udp, &listener, 1, fd), -ENOBUFS);
	fake_fd_close(sim->io, fd);
	rig_close(sim, &rig);
}

/* ---- relay ---- */

/* Clients that differ in address, port or in the address that they ask. */
SIM_TEST(udp_relay, answers_go_to_who_asked, .mode = CONN_RELAY, .sessions_max = SESSIONS)
{
	struct fake_host *clients[4];
	union addr_inet asked[2], from[8], at;
	struct udp_rig rig;

	rig_open(sim, &rig);
	for (uint32_t i = 0; i < 4; i++)
		clients[i] = client_open(sim, CLIENT + i / 2, (uint16_t)(1000 + i % 2));
	for (uint32_t i = 0; i < 2; i++)
		asked[i] = sim_v4(ASKED + i, SIM_UDP_PORT);
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 8; i++) {
			say(clients[i % 4], &asked[i / 4], i);
			sim_settle(sim);
			expect(sim, rig.target, i, &at);
			sim_check(sim, round == 0 || addr_inet_equal(&at, &from[i]));
			for (uint32_t j = 0; round == 0 && j < i; j++)
				sim_check(sim, !addr_inet_equal(&at, &from[j]));
			from[i] = at;
		}
		for (uint32_t i = 8; i-- > 0;)
			say(rig.target, &from[i], 100 + i);
		sim_settle(sim);
		/* In which order they come is not known. */
		for (uint32_t i = 0; i < 8; i++) {
			uint32_t word = 0;

			sim_check_eq(sim, fake_host_recv(clients[i % 4], &word, sizeof(word), &at),
				     4);
			sim_check(sim, word >= 100 && word < 108 && word % 4 == i % 4);
			sim_check(sim, addr_inet_equal(&at, &asked[(word - 100) / 4]));
		}
	}
	sim_check_eq(sim, sim->stats.sessions_opened, 8);
	sim_check_eq(sim, stats_drops(&sim->stats), 0);
	rig_close(sim, &rig);
}

/* The same client at two listeners has two sessions. */
SIM_TEST(udp_relay, listeners_are_apart, .mode = CONN_RELAY, .sessions_max = SESSIONS)
{
	const union addr_inet any = sim_v4(INADDR_ANY, SIM_UDP_PORT + 1);
	const union addr_inet asked = sim_v4(ASKED, SIM_UDP_PORT + 1);
	struct fake_host *client = client_open(sim, CLIENT, 1000);
	struct udp_listener second;
	union addr_inet first_from, second_from, at;
	struct udp_rig rig;

	rig_open(sim, &rig);
	sim_check_eq(sim, udp_listen(&sim->udp, &second, 1, fake_dgram_bind(sim->io, &any)), 0);
	say(client, &rig.asked, 1);
	sim_settle(sim);
	expect(sim, rig.target, 1, &first_from);
	say(client, &asked, 2);
	sim_settle(sim);
	expect(sim, rig.target, 2, &second_from);
	sim_check_eq(sim, sim->stats.sessions_opened, 2);
	say(rig.target, &second_from, 3);
	sim_settle(sim);
	expect(sim, client, 3, &at);
	sim_check(sim, addr_inet_equal(&at, &asked));
	say(rig.target, &first_from, 4);
	sim_settle(sim);
	expect(sim, client, 4, &at);
	sim_check(sim, addr_inet_equal(&at, &rig.asked));
	udp_mgr_cut(&sim->udp);
	sim_settle(sim);
	listener_close(sim, &second);
	rig_close(sim, &rig);
}

SIM_TEST(udp_relay, sessions_take_targets_in_turn, .mode = CONN_RELAY, .n_targets = 3,
	 .sessions_max = SESSIONS)
{
	struct fake_host *targets[3];
	struct udp_rig rig;
	union addr_inet at;

	rig_open(sim, &rig);
	targets[0] = rig.target;
	for (int i = 1; i < 3; i++)
		targets[i] = fake_host_open(sim->io, &sim->targets[i].inet);
	for (uint32_t i = 0; i < 9; i++) {
		say(client_open(sim, CLIENT, (uint16_t)(1000 + i)), &rig.asked, i);
		sim_settle(sim);
		expect(sim, targets[i % 3], i, &at);
	}
	rig_close(sim, &rig);
}

SIM_TEST(udp_relay, limit_is_counted_and_shared, .mode = CONN_RELAY, .sessions_max = 4)
{
	struct fake_host *clients[4];
	struct udp_rig rig;

	rig_open(sim, &rig);
	sim_check(sim, conn_reserve(&sim->udp_limit));
	for (uint32_t i = 0; i < 4; i++) {
		clients[i] = client_open(sim, CLIENT, (uint16_t)(1000 + i));
		say(clients[i], &rig.asked, i);
		sim_settle(sim);
	}
	sim_check_eq(sim, sim->udp.live_n, 3);
	sim_check_eq(sim, sim->stats.sessions_opened, 3);
	sim_check_eq(sim, sim->stats.drop_session_limit, 1);
	sim_check_eq(sim, sim->udp_limit.left, 0);
	conn_release(&sim->udp_limit);
	say(clients[3], &rig.asked, 3);
	sim_settle(sim);
	sim_check_eq(sim, sim->udp.live_n, 4);
	sim_check_eq(sim, stats_drops(&sim->stats), 1);
	rig_close(sim, &rig);
}

SIM_TEST(udp_relay, idle_sessions_expire, .mode = CONN_RELAY, .sessions_max = 4,
	 .idle_ns = NS_PER_S)
{
	struct fake_host *client = client_open(sim, CLIENT, 1000);
	struct udp_rig rig;
	union addr_inet from, at;
	int64_t moved_ns;

	rig_open(sim, &rig);
	say(client, &rig.asked, 0);
	sim_settle(sim);
	expect(sim, rig.target, 0, &from);
	/* Either way counts. */
	for (uint32_t i = 0; i < 12; i++) {
		sim_run(sim, 800 * NS_PER_MS);
		if (i < 6)
			say(client, &rig.asked, i);
		else
			say(rig.target, &from, i);
		sim_settle(sim);
		expect(sim, i < 6 ? rig.target : client, i, &at);
		moved_ns = sim->io->now_ns;
	}
	sim_check_eq(sim, sim->udp.live_n, 1);
	while (sim->udp.live_n)
		sim_turn(sim, NS_PER_MS);
	sim_check(sim, sim->io->now_ns >= moved_ns + 900 * NS_PER_MS);
	sim_check(sim, sim->io->now_ns <= moved_ns + 1100 * NS_PER_MS);
	sim_check_eq(sim, sim->stats.sessions_opened, 1);
	say(rig.target, &from, 99);
	sim_settle(sim);
	expect_none(sim, client);
	say(client, &rig.asked, 100);
	sim_settle(sim);
	expect(sim, rig.target, 100, &at);
	sim_check_eq(sim, sim->stats.sessions_opened, 2);
	sim_check_eq(sim, stats_drops(&sim->stats), 0);
	rig_close(sim, &rig);
}

SIM_TEST(udp_relay, failed_dials_are_counted, .mode = CONN_RELAY, .sessions_max = 4)
{
	struct fake_host *client = client_open(sim, CLIENT, 1000);
	struct udp_rig rig;
	union addr_inet at;

	rig_open(sim, &rig);
	for (uint32_t i = 0; i < 10; i++) {
		fake_fds_gone(sim->io, -EMFILE);
		say(client, &rig.asked, i);
		sim_settle(sim);
		sim_check_eq(sim, sim->udp.live_n, 0);
		sim_check_eq(sim, sim->udp_limit.left, 4);
		sim_check_eq(sim, sim->stats.drop_session_failed, i + 1);
		while (fake_host_recv(rig.target, &at, sizeof(at), &at) >= 0)
			;
	}
	fake_fds_gone(sim->io, 0);
	say(client, &rig.asked, 11);
	sim_settle(sim);
	expect(sim, rig.target, 11, &at);
	sim_check_eq(sim, stats_drops(&sim->stats), 10);
	rig_close(sim, &rig);
}

SIM_TEST(udp_relay, no_socket_left_is_counted, .mode = CONN_RELAY, .sessions_max = 4,
	 .socks_max = 2)
{
	struct udp_rig rig;

	rig_open(sim, &rig);
	for (uint32_t i = 0; i < 3; i++) {
		say(client_open(sim, CLIENT, (uint16_t)(1000 + i)), &rig.asked, i);
		sim_settle(sim);
	}
	sim_check_eq(sim, sim->udp.live_n, 1);
	sim_check_eq(sim, sim->udp_limit.left, 3);
	sim_check_eq(sim, sim->stats.drop_session_failed, 2);
	sim_check_eq(sim, sim->stats.sessions_opened, 1);
	rig_close(sim, &rig);
}

SIM_TEST(udp_relay, icmp_is_counted_and_survived, .mode = CONN_RELAY, .sessions_max = 4)
{
	struct fake_host *client = client_open(sim, CLIENT, 1000), *target;
	struct udp_rig rig;
	union addr_inet from, at;

	rig_open(sim, &rig);
	fake_host_close(rig.target);
	for (uint32_t i = 0; i < 3; i++) {
		say(client, &rig.asked, i);
		sim_settle(sim);
		sim_check_eq(sim, sim->stats.drop_icmp, i + 1);
		sim_check_eq(sim, sim->udp.live_n, 1);
	}
	target = fake_host_open(sim->io, &sim->targets[0].inet);
	say(client, &rig.asked, 7);
	sim_settle(sim);
	expect(sim, target, 7, &from);
	say(target, &from, 8);
	sim_settle(sim);
	expect(sim, client, 8, &at);
	sim_check_eq(sim, sim->stats.sessions_opened, 1);
	rig_close(sim, &rig);
}

/* ---- shutting down ---- */

SIM_TEST(udp_relay, drains, .mode = CONN_RELAY, .sessions_max = 4)
{
	struct fake_host *quiet = client_open(sim, CLIENT, 1000);
	struct fake_host *busy = client_open(sim, CLIENT, 1001);
	struct fake_host *late = client_open(sim, CLIENT, 1002);
	struct udp_rig rig;
	union addr_inet from, at;

	rig_open(sim, &rig);
	say(quiet, &rig.asked, 0);
	say(busy, &rig.asked, 0);
	sim_settle(sim);
	sim_run(sim, 2 * NS_PER_S);
	sim_check_eq(sim, sim->udp.live_n, 2);
	expect(sim, rig.target, 0, &at);
	expect(sim, rig.target, 0, &at);
	say(busy, &rig.asked, 1);
	sim_settle(sim);
	expect(sim, rig.target, 1, &from);
	udp_mgr_drain(&sim->udp);
	for (uint32_t i = 0; i < 8; i++) {
		sim_run(sim, 300 * NS_PER_MS);
		say(late, &rig.asked, i);
		say(rig.target, &from, i);
		sim_settle(sim);
		expect(sim, busy, i, &at);
	}
	sim_check_eq(sim, sim->udp.live_n, 1);
	sim_check_eq(sim, sim->stats.drop_draining, 8);
	sim_run(sim, CONN_QUIET_NS + 300 * NS_PER_MS);
	sim_check_eq(sim, sim->udp.live_n, 0);
	sim_check_eq(sim, stats_drops(&sim->stats), 8);
	rig_close(sim, &rig);
}

/* What arrives, or is under way, when sessions are cut goes nowhere, and harms nothing. */
SIM_TEST(udp_relay, cut_ends_everything, .mode = CONN_RELAY, .sessions_max = SESSIONS)
{
	struct udp_rig rig;
	union addr_inet from;
	uint32_t word;

	rig_open(sim, &rig);
	for (uint32_t i = 0; i < 50; i++)
		say(client_open(sim, CLIENT, (uint16_t)(1000 + i)), &rig.asked, i);
	sim_settle(sim);
	for (uint32_t i = 0; i < 50; i++) {
		fake_host_recv(rig.target, &word, sizeof(word), &from);
		for (int j = 0; j < 5; j++)
			say(rig.target, &from, word);
	}
	sim_turn(sim, 0);
	sim_check_eq(sim, udp_mgr_cut(&sim->udp), 50);
	sim_settle(sim);
	sim_check_eq(sim, sim->udp.live_n, 0);
	rig_close(sim, &rig);
}

/* The listener goes first: answers have no way back, and are dropped. */
SIM_TEST(udp_relay, answers_after_the_listener, .mode = CONN_RELAY, .sessions_max = 4)
{
	struct fake_host *client = client_open(sim, CLIENT, 1000);
	struct udp_rig rig;
	union addr_inet from;

	rig_open(sim, &rig);
	say(client, &rig.asked, 1);
	sim_settle(sim);
	expect(sim, rig.target, 1, &from);
	listener_close(sim, &rig.listener);
	say(rig.target, &from, 2);
	sim_settle(sim);
	expect_none(sim, client);
	udp_mgr_cut(&sim->udp);
	sim_settle(sim);
}
