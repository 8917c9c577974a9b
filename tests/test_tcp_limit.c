/* SPDX-License-Identifier: MIT */
/* Limits, timeouts, eviction and draining of stream connections, over the fake backend. */
#include "sim.h"

enum { SOME = 100 * 1000 };

/* Ends a connection that has one end, or two. */
static void finish(struct sim *sim, struct end *const *ends, int n)
{
	for (int i = 0; i < n; i++)
		ends[i]->shuts = true;
	sim_until_over(sim, ends, n);
	for (int i = 0; i < n; i++)
		sim_check_eq(sim, ends[i]->state, END_EOF);
}

/* ---- slots ---- */

SIM_TEST(tcp_limit, slots_are_used_again, .mode = CONN_ECHO, .conns_max = 5)
{
	struct end clients[5], more;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 5; i++)
			sim_check(sim, sim_accept(sim, &clients[i]));
		sim_check(sim, !sim_accept(sim, &more));
		sim_check_eq(sim, sim->limit.left, 0);
		finish(sim, (struct end *const[]){&clients[round]}, 1);
		while (sim->conns.live_n == 5)
			sim_turn(sim, NS_PER_MS);
		sim_check_eq(sim, sim->limit.left, 1);
		sim_check(sim, sim_accept(sim, &clients[round]));
		sim_check(sim, !sim_accept(sim, &more));
		for (int i = 0; i < 5; i++)
			finish(sim, (struct end *const[]){&clients[i]}, 1);
		sim_until_closed(sim);
	}
	sim_check_eq(sim, sim->conns.slots_used, 5);
	sim_check_eq(sim, sim->stats.conns_accepted, 18);
}

/* Another worker may hold the slots that the limit counts. */
SIM_TEST(tcp_limit, limit_is_shared, .mode = CONN_ECHO, .conns_max = 2)
{
	struct end client, more;

	sim_check(sim, conn_reserve(&sim->limit));
	sim_check(sim, sim_accept(sim, &client));
	sim_check(sim, !conn_reserve(&sim->limit));
	sim_check(sim, !sim_accept(sim, &more));
	conn_release(&sim->limit);
	finish(sim, (struct end *const[]){&client}, 1);
	sim_until_closed(sim);
}

/* The backend has no room: nothing of the connection stays. */
SIM_TEST(tcp_limit, no_socket_left, .mode = CONN_ECHO, .socks_max = 1)
{
	struct end client, more;

	sim_check(sim, sim_accept(sim, &client));
	sim_check(sim, !sim_accept(sim, &more));
	sim_check_eq(sim, sim->conns.live_n, 1);
	sim_check_eq(sim, sim->stats.conns_accepted, 1);
	finish(sim, (struct end *const[]){&client}, 1);
	sim_until_closed(sim);
}

/* ---- the idle timeout ---- */

SIM_TEST(tcp_limit, idle_connections_expire, .mode = CONN_ECHO, .idle_ns = NS_PER_S)
{
	struct end client, *const ends[] = {&client};
	int64_t moved_ns;

	sim_accept(sim, &client);
	for (int i = 0; i < 10; i++) {
		client.goal += 100;
		sim_until_got(sim, ends, 1, &client, client.goal);
		moved_ns = sim->io->now_ns;
		sim_run(sim, 800 * NS_PER_MS);
	}
	sim_check_eq(sim, client.state, END_OPEN);
	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, client.state, END_RESET);
	sim_check(sim, sim->io->now_ns >= moved_ns + 900 * NS_PER_MS);
	sim_check(sim, sim->io->now_ns <= moved_ns + 1100 * NS_PER_MS);
	sim_until_closed(sim);
	sim_check_eq(sim, sim->stats.err_idle_timeout, 1);
	sim_check_eq(sim, stats_errors(&sim->stats), 1);
}

/* One way that flows keeps a relayed connection alive. */
SIM_TEST(tcp_limit, either_way_counts_as_activity, .mode = CONN_RELAY, .idle_ns = NS_PER_S)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};

	sim_relay(sim, &client, &upstream);
	for (int i = 0; i < 12; i++) {
		struct end *from = i < 6 ? &client : &upstream;
		struct end *to = i < 6 ? &upstream : &client;

		from->goal += 100;
		sim_until_got(sim, ends, 2, to, from->goal);
		sim_run(sim, 800 * NS_PER_MS);
	}
	sim_check_eq(sim, sim->stats.err_idle_timeout, 0);
	sim_run(sim, NS_PER_S);
	sim_until_over(sim, ends, 2);
	sim_check_eq(sim, client.state, END_RESET);
	sim_check_eq(sim, upstream.state, END_RESET);
	sim_until_closed(sim);
	sim_check_eq(sim, sim->stats.err_idle_timeout, 1);
	sim_check_eq(sim, stats_errors(&sim->stats), 1);
}

/* A half-closed connection, and one that cannot flush, are idle like others. */
SIM_TEST(tcp_limit, ends_do_not_stop_the_clock, .mode = CONN_RELAY, .idle_ns = NS_PER_S)
{
	struct end client, upstream;

	fake_conf(sim->io)->window_bytes = 30 * 1000;
	for (int i = 0; i < 2; i++) {
		sim_relay(sim, &client, &upstream);
		client.goal = SOME;
		client.shuts = true;
		upstream.shuts = i;
		end_write(sim, &upstream, 0);
		sim_push(sim, &client, NULL);
		sim_check_eq(sim, sim->conns.live_n, 1);
		sim_check_eq(sim, LIST_FIRST(&sim->conns.live)->state,
			     i ? CONN_CLOSING : CONN_FLOWING);
		sim_run(sim, 1200 * NS_PER_MS);
		sim_check_eq(sim, sim->conns.live_n, 0);
		sim_check_eq(sim, sim->stats.err_idle_timeout, i + 1);
	}
	sim_check_eq(sim, stats_errors(&sim->stats), 2);
}

SIM_TEST(tcp_limit, without_a_timeout_all_stay, .mode = CONN_ECHO)
{
	struct end client;

	sim_accept(sim, &client);
	sim_run(sim, 20 * NS_PER_S);
	sim_check_eq(sim, sim->conns.live_n, 1);
	sim_check_eq(sim, timer_next_ns(&sim->wheel, sim->io->now_ns), -1);
	finish(sim, (struct end *const[]){&client}, 1);
	sim_until_closed(sim);
}

/* ---- eviction ---- */

/* Takes buffers, as others would, until fewer bytes than a large buffer are left. */
static struct buf *take_all(struct sim *sim)
{
	struct buf *chain = NULL;

	for (int class = BUF_LARGE; class >= BUF_SMALL; class --) {
		struct buf *buf;

		while ((buf = buf_get(&sim->io->pool, (enum buf_class) class))) {
			buf->next = chain;
			chain = buf;
		}
	}
	return chain;
}

SIM_TEST(tcp_limit, longest_stalled_is_evicted, .mode = CONN_ECHO, .buffer_bytes = 2 << 20)
{
	struct end stalled, later, quiet, starved, *const ends[] = {&starved};
	struct buf *taken;
	int64_t start_ns;

	fake_conf(sim->io)->window_bytes = 30 * 1000;
	sim_accept(sim, &stalled);
	stalled.goal = later.goal = 0;
	stalled.goal = 20 * 1000 * 1000;
	sim_push(sim, &stalled, NULL);
	sim_accept(sim, &quiet);
	sim_run(sim, 10 * NS_PER_S);
	sim_accept(sim, &later);
	later.goal = 20 * 1000 * 1000;
	sim_push(sim, &later, NULL);
	taken = take_all(sim);
	sim_accept(sim, &starved);
	starved.goal = SOME;
	end_write(sim, &starved, UINT64_MAX);
	start_ns = sim->io->now_ns;
	sim_run(sim, 300 * NS_PER_MS);
	sim_check_eq(sim, starved.got, 0);
	sim_check(sim, sim->io->starved > 0);
	sim_check_eq(sim, sim->stats.err_buffer_evicted, 0);
	sim_until_got(sim, ends, 1, &starved, SOME);
	sim_check(sim, sim->io->now_ns - start_ns < 1500 * NS_PER_MS);
	sim_check_eq(sim, sim->stats.err_buffer_evicted, 1);
	sim_check_eq(sim, sim->conns.live_n, 3);
	buf_put_chain(&sim->io->pool, taken);
	while (stalled.state == END_OPEN)
		sim_check(sim, end_read(sim, &stalled, UINT64_MAX) || stalled.state);
	sim_check_eq(sim, stalled.state, END_RESET);
	later.goal = later.wrote;
	finish(sim, (struct end *const[]){&later, &quiet, &starved}, 3);
	sim_check_eq(sim, later.got, later.wrote);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 1);
}

/* Starving in short spells costs nobody a connection. */
SIM_TEST(tcp_limit, short_shortages_evict_nobody, .mode = CONN_ECHO, .buffer_bytes = 2 << 20)
{
	struct end stalled, starved;

	fake_conf(sim->io)->window_bytes = 30 * 1000;
	sim_accept(sim, &stalled);
	stalled.goal = 20 * 1000 * 1000;
	sim_push(sim, &stalled, NULL);
	sim_accept(sim, &starved);
	for (int i = 0; i < 5; i++) {
		struct buf *taken = take_all(sim);

		starved.goal += 1000;
		end_write(sim, &starved, UINT64_MAX);
		sim_run(sim, 300 * NS_PER_MS);
		buf_put_chain(&sim->io->pool, taken);
		sim_run(sim, 200 * NS_PER_MS);
	}
	sim_check_eq(sim, sim->stats.err_buffer_evicted, 0);
	stalled.goal = stalled.wrote;
	finish(sim, (struct end *const[]){&stalled, &starved}, 2);
	sim_until_closed(sim);
}

/* ---- draining ---- */

SIM_TEST(tcp_drain, quiet_connections_close, .mode = CONN_ECHO)
{
	struct end quiet, busy;
	struct end *const both[] = {&quiet, &busy};
	int64_t start_ns;

	sim_accept(sim, &quiet);
	sim_accept(sim, &busy);
	quiet.goal = busy.goal = SOME;
	sim_until_got(sim, both, 2, &quiet, SOME);
	sim_until_got(sim, both, 2, &busy, SOME);
	conn_mgr_drain(&sim->conns);
	start_ns = sim->io->now_ns;
	while (sim->io->now_ns < start_ns + 2 * NS_PER_S) {
		busy.goal += 10;
		sim_until_got(sim, both, 2, &busy, busy.goal);
		sim_run(sim, 200 * NS_PER_MS);
	}
	sim_check_eq(sim, quiet.state, END_EOF);
	sim_check_eq(sim, busy.state, END_OPEN);
	sim_run(sim, CONN_QUIET_NS + 300 * NS_PER_MS);
	end_read(sim, &busy, UINT64_MAX);
	sim_check_eq(sim, busy.state, END_EOF);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

SIM_TEST(tcp_drain, quiet_discards_close, .mode = CONN_DISCARD)
{
	struct end client;

	sim_accept(sim, &client);
	client.goal = SOME;
	sim_push(sim, &client, NULL);
	conn_mgr_drain(&sim->conns);
	sim_run(sim, CONN_QUIET_NS + 300 * NS_PER_MS);
	sim_check_eq(sim, sim->conns.live_n, 0);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

/* What still waits for its reader is in flight. */
SIM_TEST(tcp_drain, queued_bytes_are_waited_for, .mode = CONN_ECHO)
{
	struct end client, *const ends[] = {&client};

	fake_conf(sim->io)->window_bytes = 30 * 1000;
	sim_accept(sim, &client);
	client.goal = SOME;
	sim_push(sim, &client, NULL);
	conn_mgr_drain(&sim->conns);
	sim_run(sim, 3 * NS_PER_S);
	sim_check_eq(sim, sim->conns.live_n, 1);
	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, client.got, SOME);
	sim_check_eq(sim, client.state, END_EOF);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

SIM_TEST(tcp_drain, relayed_connections_stay_until_cut, .mode = CONN_RELAY)
{
	struct end clients[3], upstreams[3];

	for (int i = 0; i < 3; i++)
		sim_relay(sim, &clients[i], &upstreams[i]);
	conn_mgr_drain(&sim->conns);
	sim_run(sim, 3 * NS_PER_S);
	finish(sim, (struct end *const[]){&clients[0], &upstreams[0]}, 2);
	sim_settle(sim);
	sim_check_eq(sim, sim->conns.live_n, 2);
	sim_check_eq(sim, conn_mgr_cut(&sim->conns), 2);
	sim_until_closed(sim);
	for (int i = 1; i < 3; i++) {
		end_read(sim, &clients[i], UINT64_MAX);
		end_read(sim, &upstreams[i], UINT64_MAX);
		sim_check_eq(sim, clients[i].state, END_RESET);
		sim_check_eq(sim, upstreams[i].state, END_RESET);
	}
	sim_check_eq(sim, sim->stats.err_drain_cut, 2);
	sim_check_eq(sim, stats_errors(&sim->stats), 2);
}

/* Cut in every state: connecting, stalled, ended, flushing. */
SIM_TEST(tcp_drain, cut_ends_everything, .mode = CONN_RELAY, .n_targets = 2)
{
	struct end clients[4], upstreams[4];

	fake_conf(sim->io)->window_bytes = 30 * 1000;
	fake_dial_plan(sim->io, &sim->targets[1], FAKE_SILENT, 0, 0);
	for (int i = 0; i < 4; i++) {
		sim->conns.next_target = 0;
		sim_relay(sim, &clients[i], &upstreams[i]);
		clients[i].goal = SOME;
		clients[i].shuts = i >= 1;
		upstreams[i].shuts = i >= 2;
		end_write(sim, &upstreams[i], 0);
		sim_push(sim, &clients[i], NULL);
	}
	sim->conns.next_target = 1;
	sim_accept(sim, &clients[0]);
	sim_check_eq(sim, conn_mgr_cut(&sim->conns), 5);
	sim_until_closed(sim);
	sim_check_eq(sim, sim->stats.err_drain_cut, 5);
	sim_check_eq(sim, stats_errors(&sim->stats), 5);
}
