/* SPDX-License-Identifier: MIT */
/* Connections whose bytes are moved inside the kernel: when that begins and ends, and that all else
 * is as with copying. */
#include "sim.h"

enum { SOME = 100 * 1000, MUCH = 2 * 1000 * 1000, THIN = 2000 };

/* Bytes come in large pieces. */
static void come_large(struct sim *sim)
{
	struct fake_conf *fake = fake_conf(sim->io);

	fake->chunk_max = BUF_LARGE_BYTES;
	fake->whole_percent = 100;
	fake->small_percent = fake->refuse_percent = 0;
}

static void come_small(struct sim *sim)
{
	fake_conf(sim->io)->chunk_max = THIN;
	fake_conf(sim->io)->whole_percent = 0;
}

static void relay_moving(struct sim *sim, struct end *client, struct end *upstream)
{
	struct end *const ends[] = {client, upstream};

	come_large(sim);
	sim_relay(sim, client, upstream);
	client->goal = MUCH;
	sim_until_got(sim, ends, 2, upstream, MUCH);
	sim_check_eq(sim, sim->stats.moves_started, 1);
	sim_check(sim, fake_moves(sim->io)->bytes > MUCH / 2);
	sim_check(sim, LIST_FIRST(&sim->conns.live)->client.flags & SIDE_MOVING);
}

static void finish(struct sim *sim, struct end *client, struct end *upstream)
{
	struct end *const ends[] = {client, upstream};

	client->shuts = upstream->shuts = true;
	sim_until_over(sim, ends, 2);
	sim_check_eq(sim, client->state, END_EOF);
	sim_check_eq(sim, upstream->state, END_EOF);
	sim_check_eq(sim, upstream->got, client->wrote);
	sim_check_eq(sim, client->got, upstream->wrote);
	sim_until_closed(sim);
	sim_check_eq(sim, sim->stats.bytes_in, client->wrote + upstream->wrote);
	sim_check_eq(sim, sim->stats.bytes_out, sim->stats.bytes_in);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

SIM_TEST(tcp_move, large_receives_are_moved, .mode = CONN_RELAY)
{
	struct end client, upstream;

	relay_moving(sim, &client, &upstream);
	finish(sim, &client, &upstream);
}

SIM_TEST(tcp_move, small_receives_are_copied, .mode = CONN_RELAY)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};

	fake_conf(sim->io)->chunk_max = 20 * 1000;
	sim_relay(sim, &client, &upstream);
	client.goal = MUCH;
	sim_until_got(sim, ends, 2, &upstream, MUCH);
	sim_check_eq(sim, sim->stats.moves_started, 0);
	finish(sim, &client, &upstream);
}

SIM_TEST(tcp_move, both_ways, .mode = CONN_RELAY)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};

	come_large(sim);
	sim_relay(sim, &client, &upstream);
	client.goal = upstream.goal = MUCH;
	sim_until_got(sim, ends, 2, &upstream, MUCH);
	sim_until_got(sim, ends, 2, &client, MUCH);
	sim_check(sim, fake_moves(sim->io)->bytes > MUCH);
	finish(sim, &client, &upstream);
}

SIM_TEST(tcp_move, echo, .mode = CONN_ECHO)
{
	struct end client, *const ends[] = {&client};

	come_large(sim);
	sim_accept(sim, &client);
	client.goal = MUCH;
	client.shuts = true;
	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, client.state, END_EOF);
	sim_check_eq(sim, client.got, MUCH);
	sim_check(sim, fake_moves(sim->io)->bytes > MUCH / 4);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

/* Discarding moves nothing anywhere. */
SIM_TEST(tcp_move, discard_never, .mode = CONN_DISCARD)
{
	struct end client, *const ends[] = {&client};

	come_large(sim);
	sim_accept(sim, &client);
	client.goal = MUCH;
	client.shuts = true;
	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, sim->stats.moves_started, 0);
	sim_until_closed(sim);
}

SIM_TEST(tcp_move, thin_streams_are_copied_again, .mode = CONN_RELAY)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};

	relay_moving(sim, &client, &upstream);
	come_small(sim);
	while (!fake_moves(sim->io)->stopped) {
		client.goal += THIN;
		sim_until_got(sim, ends, 2, &upstream, client.goal);
		sim_check(sim, client.goal < 2 * MUCH);
	}
	sim_check(sim, !(LIST_FIRST(&sim->conns.live)->client.flags & SIDE_MOVING));
	come_large(sim);
	client.goal += MUCH;
	sim_until_got(sim, ends, 2, &upstream, client.goal);
	sim_check_eq(sim, sim->stats.moves_started, 2);
	finish(sim, &client, &upstream);
}

SIM_TEST(tcp_move, refused_streams_are_copied, .mode = CONN_RELAY)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};

	come_large(sim);
	fake_conf(sim->io)->refuse_percent = 100;
	sim_relay(sim, &client, &upstream);
	client.goal = MUCH;
	sim_until_got(sim, ends, 2, &upstream, MUCH);
	sim_check(sim, sim->stats.moves_refused >= 1);
	sim_check_eq(sim, fake_moves(sim->io)->bytes, 0);
	finish(sim, &client, &upstream);
}

/* The end of one way leaves the other as it is. */
SIM_TEST(tcp_move, half_closed, .mode = CONN_RELAY)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};

	relay_moving(sim, &client, &upstream);
	upstream.goal = SOME;
	upstream.shuts = true;
	sim_until_got(sim, ends, 2, &client, SOME);
	sim_run(sim, NS_PER_S);
	client.goal += MUCH;
	sim_until_got(sim, ends, 2, &upstream, client.goal);
	sim_check_eq(sim, client.state == END_EOF || client.state == END_OPEN, true);
	finish(sim, &client, &upstream);
}

SIM_TEST(tcp_move, stalled_reader_bounds_what_is_taken, .mode = CONN_RELAY)
{
	struct end client, upstream;
	const struct stats *stats = &sim->stats;

	relay_moving(sim, &client, &upstream);
	client.goal += 20 * MUCH;
	sim_push(sim, &client, NULL);
	sim_check(sim, stats->bytes_in - stats->bytes_out <=
			       CONN_QUEUE_HIGH + IO_OVERSHOOT_MAX + (256 << 10));
	sim_check(sim, client.wrote < 2 * MUCH);
	client.goal = client.wrote;
	finish(sim, &client, &upstream);
}

SIM_TEST(tcp_move, reset_while_stalled, .mode = CONN_RELAY)
{
	struct end client, upstream, *const ends[] = {&upstream};

	relay_moving(sim, &client, &upstream);
	client.goal += 20 * MUCH;
	sim_push(sim, &client, NULL);
	fake_peer_reset(client.peer);
	sim_run(sim, IO_RESET_NOTICE_NS + NS_PER_S);
	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, upstream.state, END_RESET);
	sim_until_closed(sim);
	sim_check_eq(sim, sim->stats.err_conn_reset, 1);
}

/* Moving is activity. */
SIM_TEST(tcp_move, slow_readers_are_not_idle, .mode = CONN_RELAY, .idle_ns = NS_PER_S)
{
	struct end client, upstream;

	relay_moving(sim, &client, &upstream);
	client.goal += MUCH;
	for (int i = 0; i < 20; i++) {
		end_write(sim, &client, UINT64_MAX);
		sim_run(sim, NS_PER_S / 4);
		end_read(sim, &upstream, SOME);
	}
	sim_check_eq(sim, sim->conns.live_n, 1);
	finish(sim, &client, &upstream);
}

/* What waits inside the kernel for a slow reader is not quiet: a drain leaves it its time. */
SIM_TEST(tcp_move, drain_waits_for_slow_readers, .mode = CONN_ECHO)
{
	struct end client, *const ends[] = {&client};

	come_large(sim);
	sim_accept(sim, &client);
	client.goal = MUCH;
	sim_until_got(sim, ends, 1, &client, MUCH);
	sim_check(sim, LIST_FIRST(&sim->conns.live)->client.flags & SIDE_MOVING);
	client.goal += 20 * MUCH;
	sim_push(sim, &client, NULL);
	client.goal = client.wrote;
	conn_mgr_drain(&sim->conns);
	sim_run(sim, 3 * CONN_QUIET_NS);
	sim_until_got(sim, ends, 1, &client, client.wrote);
	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, client.state, END_EOF);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}
