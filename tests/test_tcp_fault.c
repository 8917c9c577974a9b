/* SPDX-License-Identifier: MIT */
/* Upstreams that cannot be reached, resets and failures, over the fake backend. */
#include <errno.h>

#include "sim.h"

enum { SOME = 100 * 1000 };

static void plan(struct sim *sim, uint32_t target, enum fake_answer answer, int err)
{
	fake_dial_plan(sim->io, &sim->targets[target], answer, err, NS_PER_MS);
}

/* Relays a little and ends both ways. */
static void serve(struct sim *sim, struct end *client, struct end *upstream)
{
	struct end *const ends[] = {client, upstream};

	client->goal = upstream->goal = SOME;
	client->shuts = upstream->shuts = true;
	sim_until_over(sim, ends, 2);
	sim_check_eq(sim, client->state, END_EOF);
	sim_check_eq(sim, upstream->state, END_EOF);
	sim_check_eq(sim, client->got, SOME);
	sim_check_eq(sim, upstream->got, SOME);
	sim_until_closed(sim);
}

static void until_reset(struct sim *sim, struct end *end)
{
	struct end *const ends[] = {end};

	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, end->state, END_RESET);
	sim_until_closed(sim);
}

/* ---- reaching an upstream ---- */

SIM_TEST(tcp_dial, refused_tries_the_next, .mode = CONN_RELAY, .n_targets = 3)
{
	struct end client, upstream;

	plan(sim, 0, FAKE_REFUSE, -ECONNREFUSED);
	plan(sim, 1, FAKE_REFUSE, -EHOSTUNREACH);
	sim_check_eq(sim, sim_relay(sim, &client, &upstream)->target, 2);
	serve(sim, &client, &upstream);
	sim_check_eq(sim, sim->stats.err_connect_refused, 1);
	sim_check_eq(sim, sim->stats.err_connect_other, 1);
	sim_check_eq(sim, stats_errors(&sim->stats), 2);
}

/* The search wraps around. */
SIM_TEST(tcp_dial, last_target_leads_to_the_first, .mode = CONN_RELAY, .n_targets = 2)
{
	struct end client, upstream;

	sim->conns.next_target = 1;
	plan(sim, 1, FAKE_REFUSE, -ECONNREFUSED);
	sim_check_eq(sim, sim_relay(sim, &client, &upstream)->target, 0);
	serve(sim, &client, &upstream);
	sim_check_eq(sim, sim->stats.err_connect_refused, 1);
}

SIM_TEST(tcp_dial, all_refused_resets_the_client, .mode = CONN_RELAY, .n_targets = 3)
{
	struct end client;

	for (uint32_t i = 0; i < 3; i++)
		plan(sim, i, FAKE_REFUSE, -ECONNREFUSED);
	sim_check(sim, sim_accept(sim, &client));
	until_reset(sim, &client);
	sim_check_eq(sim, sim->stats.err_connect_refused, 3);
	sim_check_eq(sim, sim->stats.err_no_upstream, 1);
	sim_check_eq(sim, stats_errors(&sim->stats), 4);
}

SIM_TEST(tcp_dial, silence_times_out, .mode = CONN_RELAY, .n_targets = 2, .connect_ns = NS_PER_S)
{
	int64_t start_ns = sim->io->now_ns;
	struct end client, upstream;

	plan(sim, 0, FAKE_SILENT, 0);
	sim_check_eq(sim, sim_relay(sim, &client, &upstream)->target, 1);
	sim_check(sim, sim->io->now_ns >= start_ns + NS_PER_S);
	sim_check(sim, sim->io->now_ns < start_ns + NS_PER_S + 100 * NS_PER_MS);
	serve(sim, &client, &upstream);
	sim_check_eq(sim, sim->stats.err_connect_timeout, 1);
	sim_check_eq(sim, stats_errors(&sim->stats), 1);
}

/* Each attempt has the whole time. */
SIM_TEST(tcp_dial, all_silent_resets_the_client, .mode = CONN_RELAY, .n_targets = 3,
	 .connect_ns = NS_PER_S)
{
	int64_t start_ns = sim->io->now_ns;
	struct end client;

	for (uint32_t i = 0; i < 3; i++)
		plan(sim, i, FAKE_SILENT, 0);
	sim_accept(sim, &client);
	until_reset(sim, &client);
	sim_check(sim, sim->io->now_ns >= start_ns + 3 * NS_PER_S);
	sim_check_eq(sim, sim->stats.err_connect_timeout, 3);
	sim_check_eq(sim, sim->stats.err_no_upstream, 1);
	sim_check_eq(sim, stats_errors(&sim->stats), 4);
}

/* An upstream that answers in time is not given up later. */
SIM_TEST(tcp_dial, timeout_ends_with_the_connect, .mode = CONN_RELAY, .connect_ns = NS_PER_S)
{
	struct end client, upstream;

	fake_dial_plan(sim->io, &sim->targets[0], FAKE_ACCEPT, 0, 900 * NS_PER_MS);
	sim_relay(sim, &client, &upstream);
	sim_run(sim, 5 * NS_PER_S);
	serve(sim, &client, &upstream);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

SIM_TEST(tcp_dial, no_descriptor_tries_no_other, .mode = CONN_RELAY, .n_targets = 3)
{
	static const int errs[] = {-EMFILE, -ENFILE};

	for (size_t i = 0; i < ARRAY_SIZE(errs); i++) {
		struct end client;

		sim->conns.out_of_descriptors = false;
		fake_fds_gone(sim->io, errs[i]);
		sim_accept(sim, &client);
		until_reset(sim, &client);
		sim_check(sim, sim->conns.out_of_descriptors);
	}
	fake_fds_gone(sim->io, 0);
	sim_check_eq(sim, sim->stats.err_connect_other, 2);
	sim_check_eq(sim, sim->stats.err_no_upstream, 2);
	sim_check_eq(sim, stats_errors(&sim->stats), 4);
}

SIM_TEST(tcp_dial, no_socket_left_resets_the_client, .mode = CONN_RELAY, .n_targets = 3,
	 .socks_max = 1)
{
	struct end client;

	sim_accept(sim, &client);
	until_reset(sim, &client);
	sim_check_eq(sim, sim->stats.err_no_upstream, 1);
	sim_check_eq(sim, stats_errors(&sim->stats), 1);
}

SIM_TEST(tcp_dial, client_resets_while_connecting, .mode = CONN_RELAY, .n_targets = 2)
{
	struct end client;

	plan(sim, 0, FAKE_SILENT, 0);
	sim_accept(sim, &client);
	sim_settle(sim);
	fake_peer_reset(client.peer);
	sim_run(sim, IO_RESET_NOTICE_NS + 50 * NS_PER_MS);
	sim_check_eq(sim, sim->conns.live_n, 0);
	sim_check_eq(sim, sim->stats.err_conn_reset, 1);
	sim_check_eq(sim, stats_errors(&sim->stats), 1);
}

/* Refused and reset at about the same time: whichever is told first. */
SIM_TEST(tcp_dial, client_resets_while_refused, .mode = CONN_RELAY, .n_targets = 3)
{
	for (int i = 0; i < 40; i++) {
		struct end client;

		for (uint32_t j = 0; j < 3; j++)
			fake_dial_plan(sim->io, &sim->targets[j], FAKE_REFUSE, -ECONNREFUSED,
				       (int64_t)sim_below(sim, 100) * NS_PER_MS);
		sim_accept(sim, &client);
		sim_run(sim, (int64_t)sim_below(sim, 50) * NS_PER_MS);
		fake_peer_reset(client.peer);
		sim_until_closed(sim);
	}
	sim_check_eq(sim, sim->stats.err_conn_reset + sim->stats.err_no_upstream, 40);
}

/* An answer at the last moment is one failure, not two, and never an idle connection. */
SIM_TEST(tcp_dial, refused_as_time_runs_out, .mode = CONN_RELAY, .connect_ns = 50 * NS_PER_MS)
{
	for (int i = 0; i < 400; i++) {
		int64_t early_ns = (int64_t)sim_below(sim, NS_PER_MS / 8);
		struct end client;

		fake_dial_plan(sim->io, &sim->targets[0], FAKE_REFUSE, -ECONNREFUSED,
			       sim->conf.connect_timeout_ns - early_ns);
		sim_accept(sim, &client);
		until_reset(sim, &client);
	}
	sim_check_eq(sim, sim->stats.err_connect_refused + sim->stats.err_connect_timeout, 400);
	sim_check_eq(sim, sim->stats.err_no_upstream, 400);
	sim_check_eq(sim, stats_errors(&sim->stats), 800);
}

/* The time for connecting runs out while a connection is already being reset. */
SIM_TEST(tcp_dial, reset_as_time_runs_out, .mode = CONN_RELAY, .connect_ns = 50 * NS_PER_MS)
{
	const uint32_t n = 200;

	fake_dial_plan(sim->io, &sim->targets[0], FAKE_SILENT, 0, 0);
	for (uint32_t i = 0; i < n; i++) {
		struct end client;

		sim_accept(sim, &client);
		while (timer_next_ns(&sim->wheel, sim->io->now_ns) > NS_PER_MS / 8)
			sim_turn(sim, NS_PER_MS / 8);
		if (!sim->conns.live_n)
			continue;
		conn_mgr_cut(&sim->conns);
		sim_until_closed(sim);
	}
	sim_check_eq(sim, sim->stats.err_idle_timeout, 0);
	sim_check_eq(sim, sim->stats.err_drain_cut, n);
}

/* ---- resets ---- */

enum phase { QUIET, FLOWS, STALLED, FROM_ENDED, TO_ENDED, PHASES };

static void enter(struct sim *sim, enum phase phase, struct end *from, struct end *to)
{
	struct end *const ends[] = {from, to};

	if (phase == QUIET)
		return;
	from->goal = to->goal = SOME;
	if (phase == STALLED) {
		from->goal = 2 * 1000 * 1000;
		sim_push(sim, from, NULL);
		return;
	}
	from->shuts = phase == FROM_ENDED;
	to->shuts = phase == TO_ENDED;
	sim_until_got(sim, ends, 2, to, SOME);
	sim_until_got(sim, ends, 2, from, SOME);
	sim_settle(sim);
	end_read(sim, to, 1);
	if (phase == FLOWS) {
		from->goal += SOME;
		end_write(sim, from, UINT64_MAX);
		sim_turn(sim, 0);
	}
}

/* from resets in each phase: to is reset as well, even when nothing can be sent to it. */
static void resets(struct sim *sim, bool client_resets)
{
	fake_conf(sim->io)->window_bytes = 40 * 1000;
	for (enum phase phase = QUIET; phase < PHASES; phase++) {
		struct end client, upstream;
		struct end *from = client_resets ? &client : &upstream;
		struct end *to = client_resets ? &upstream : &client;
		uint64_t before = sim->stats.err_conn_reset;

		sim_relay(sim, &client, &upstream);
		enter(sim, phase, from, to);
		fake_peer_reset(from->peer);
		if (phase == FROM_ENDED) {
			/* Behind an end nobody listens: only a send meets the reset. */
			sim_check_eq(sim, to->state, END_EOF);
			to->state = END_OPEN;
			to->goal++;
			end_write(sim, to, 1);
		}
		sim_run(sim, IO_RESET_NOTICE_NS + 100 * NS_PER_MS);
		sim_check_eq(sim, sim->conns.live_n, 0);
		while (to->state == END_OPEN)
			sim_check(sim, end_read(sim, to, UINT64_MAX) || to->state);
		sim_check_eq(sim, to->state, END_RESET);
		sim_check_eq(sim, sim->stats.err_conn_reset, before + 1);
	}
	sim_check_eq(sim, stats_errors(&sim->stats), PHASES);
}

SIM_TEST(tcp_reset, client_resets_the_upstream, .mode = CONN_RELAY)
{
	resets(sim, true);
}

SIM_TEST(tcp_reset, upstream_resets_the_client, .mode = CONN_RELAY)
{
	resets(sim, false);
}

SIM_TEST(tcp_reset, echo_and_its_queue_are_dropped, .mode = CONN_ECHO)
{
	for (int i = 0; i < 2; i++) {
		struct end client;

		fake_conf(sim->io)->window_bytes = 40 * 1000;
		sim_accept(sim, &client);
		client.goal = i ? 2 * 1000 * 1000 : 0;
		sim_push(sim, &client, NULL);
		fake_peer_reset(client.peer);
		sim_run(sim, IO_RESET_NOTICE_NS + 100 * NS_PER_MS);
		sim_check_eq(sim, sim->conns.live_n, 0);
		sim_check_eq(sim, sim->stats.err_conn_reset, i + 1);
	}
}

/* The reset comes while an end waits behind queued bytes. */
SIM_TEST(tcp_reset, while_flushing, .mode = CONN_ECHO)
{
	struct end client;

	fake_conf(sim->io)->window_bytes = 40 * 1000;
	sim_accept(sim, &client);
	client.goal = SOME;
	client.shuts = true;
	sim_push(sim, &client, NULL);
	sim_check_eq(sim, LIST_FIRST(&sim->conns.live)->state, CONN_CLOSING);
	fake_peer_reset(client.peer);
	sim_until_closed(sim);
	sim_check_eq(sim, sim->stats.err_conn_reset, 1);
	sim_check_eq(sim, stats_errors(&sim->stats), 1);
}

/* An end that closed answers with a reset once bytes reach it: a send fails. */
static void send_fails(struct sim *sim, bool client_closes)
{
	struct end client, upstream;
	struct end *from = client_closes ? &client : &upstream;
	struct end *to = client_closes ? &upstream : &client;

	sim_relay(sim, &client, &upstream);
	fake_peer_close(from->peer);
	sim_settle(sim);
	sim_check_eq(sim, sim->conns.live_n, 1);
	end_read(sim, to, 1);
	sim_check_eq(sim, to->state, END_EOF);
	to->state = END_OPEN;
	to->goal = SOME;
	end_write(sim, to, UINT64_MAX);
	sim_until_closed(sim);
	end_read(sim, to, 1);
	sim_check_eq(sim, to->state, END_RESET);
	sim_check_eq(sim, sim->stats.err_conn_reset, 1);
	sim_check_eq(sim, stats_errors(&sim->stats), 1);
}

SIM_TEST(tcp_reset, send_to_the_client_fails, .mode = CONN_RELAY)
{
	send_fails(sim, true);
}

SIM_TEST(tcp_reset, send_to_the_upstream_fails, .mode = CONN_RELAY)
{
	send_fails(sim, false);
}

SIM_TEST(tcp_reset, at_any_byte, .mode = CONN_RELAY)
{
	for (int i = 0; i < 20; i++) {
		struct end client, upstream, *const ends[] = {&client, &upstream};

		sim_relay(sim, &client, &upstream);
		client.goal = upstream.goal = SOME;
		client.shuts = upstream.shuts = true;
		fake_peer_reset_at(sim_below(sim, 2) ? client.peer : upstream.peer,
				   sim_below(sim, SOME - 1) + 1);
		sim_until_over(sim, ends, 2);
		sim_until_closed(sim);
		sim_check_eq(sim, sim->stats.err_conn_reset, i + 1);
	}
}

/* A close that cannot send what was queued. */
SIM_TEST(tcp_reset, both_while_flushing, .mode = CONN_RELAY)
{
	struct end client, upstream;

	fake_conf(sim->io)->window_bytes = 40 * 1000;
	sim_relay(sim, &client, &upstream);
	client.goal = upstream.goal = SOME;
	client.shuts = upstream.shuts = true;
	for (int i = 0; i < 400; i++) {
		end_write(sim, &client, UINT64_MAX);
		end_write(sim, &upstream, UINT64_MAX);
		sim_turn(sim, NS_PER_MS);
	}
	sim_check_eq(sim, LIST_FIRST(&sim->conns.live)->state, CONN_CLOSING);
	fake_peer_reset(client.peer);
	fake_peer_reset(upstream.peer);
	sim_until_closed(sim);
	sim_check_eq(sim, sim->stats.err_conn_reset, 1);
}
