/* SPDX-License-Identifier: MIT */
/* What stream connections do with bytes and with ends, over the fake backend. */
#include "sim.h"

enum {
	SOME = 100 * 1000,
	MUCH = 1000 * 1000,
	COPIED = 20 * 1000, /* bytes of a receive: too few to be moved inside the kernel */
};

/* ---- data ---- */

SIM_TEST(tcp, echo_returns_every_byte, .mode = CONN_ECHO)
{
	struct end client, *const ends[] = {&client};

	sim_accept(sim, &client);
	client.goal = MUCH;
	client.shuts = true;
	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, client.state, END_EOF);
	sim_check_eq(sim, client.got, MUCH);
	sim_until_closed(sim);
	sim_check_eq(sim, sim->stats.bytes_in, MUCH);
	sim_check_eq(sim, sim->stats.bytes_out, MUCH);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

SIM_TEST(tcp, echo_answers_before_the_end, .mode = CONN_ECHO)
{
	struct end client, *const ends[] = {&client};

	sim_accept(sim, &client);
	for (uint64_t size = 1; size < SOME; size *= 7) {
		client.goal += size;
		sim_until_got(sim, ends, 1, &client, client.goal);
	}
	sim_check_eq(sim, client.state, END_OPEN);
	client.shuts = true;
	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, client.state, END_EOF);
	sim_until_closed(sim);
}

SIM_TEST(tcp, discard_answers_nothing, .mode = CONN_DISCARD)
{
	struct end client, *const ends[] = {&client};

	sim_accept(sim, &client);
	client.goal = MUCH;
	client.shuts = true;
	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, client.state, END_EOF);
	sim_check_eq(sim, client.got, 0);
	sim_until_closed(sim);
	sim_check_eq(sim, sim->stats.bytes_in, MUCH);
	sim_check_eq(sim, sim->stats.bytes_out, 0);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

SIM_TEST(tcp, relay_passes_both_ways, .mode = CONN_RELAY)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};

	sim_relay(sim, &client, &upstream);
	client.goal = MUCH;
	upstream.goal = SOME;
	client.shuts = upstream.shuts = true;
	sim_until_over(sim, ends, 2);
	sim_check_eq(sim, client.state, END_EOF);
	sim_check_eq(sim, upstream.state, END_EOF);
	sim_check_eq(sim, client.got, SOME);
	sim_check_eq(sim, upstream.got, MUCH);
	sim_until_closed(sim);
	sim_check_eq(sim, sim->stats.bytes_in, MUCH + SOME);
	sim_check_eq(sim, sim->stats.bytes_out, MUCH + SOME);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

/* What the client says before there is an upstream waits for it. */
SIM_TEST(tcp, relay_keeps_what_came_while_connecting, .mode = CONN_RELAY)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};

	fake_dial_plan(sim->io, &sim->targets[0], FAKE_ACCEPT, 0, 300 * NS_PER_MS);
	sim_accept(sim, &client);
	client.goal = SOME;
	client.shuts = true;
	end_write(sim, &client, UINT64_MAX);
	sim_run(sim, 200 * NS_PER_MS);
	sim_check_eq(sim, sim->stats.bytes_in, 0);
	sim_check(sim, sim_dialled(sim, 0, &upstream));
	upstream.key_in = client.key_out;
	upstream.shuts = true;
	sim_until_over(sim, ends, 2);
	sim_check_eq(sim, upstream.got, SOME);
	sim_check_eq(sim, upstream.state, END_EOF);
	sim_check_eq(sim, client.state, END_EOF);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

SIM_TEST(tcp, connections_take_targets_in_turn, .mode = CONN_RELAY, .n_targets = 3)
{
	for (uint32_t i = 0; i < 9; i++) {
		struct end client, upstream, *const ends[] = {&client, &upstream};
		struct conn *conn = sim_relay(sim, &client, &upstream);

		sim_check_eq(sim, conn->target, i % 3);
		client.shuts = upstream.shuts = true;
		sim_until_over(sim, ends, 2);
		sim_until_closed(sim);
	}
}

/* ---- ends ---- */

/* One side ends first, with goal_first bytes; the other goes on, then ends as well. */
static void half_close(struct sim *sim, struct end *first, struct end *second, uint64_t goal_second)
{
	struct end *const ends[] = {first, second};

	first->goal = SOME;
	first->shuts = true;
	sim_until_got(sim, ends, 2, second, SOME);
	while (second->state == END_OPEN) {
		sim_turn(sim, NS_PER_MS);
		end_read(sim, second, UINT64_MAX);
	}
	sim_check_eq(sim, second->state, END_EOF);
	sim_run(sim, NS_PER_S);
	sim_check_eq(sim, sim->conns.live_n, 1);
	second->goal = goal_second;
	sim_until_got(sim, ends, 2, first, goal_second);
	sim_run(sim, NS_PER_S);
	sim_check_eq(sim, first->state, END_OPEN);
	sim_check_eq(sim, sim->conns.live_n, 1);
	second->shuts = true;
	sim_until_over(sim, ends, 2);
	sim_check_eq(sim, first->state, END_EOF);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

SIM_TEST(tcp, client_ends_first, .mode = CONN_RELAY)
{
	struct end client, upstream;

	sim_relay(sim, &client, &upstream);
	half_close(sim, &client, &upstream, 0);
}

SIM_TEST(tcp, client_ends_first_and_is_answered, .mode = CONN_RELAY)
{
	struct end client, upstream;

	sim_relay(sim, &client, &upstream);
	half_close(sim, &client, &upstream, MUCH);
}

SIM_TEST(tcp, upstream_ends_first, .mode = CONN_RELAY)
{
	struct end client, upstream;

	sim_relay(sim, &client, &upstream);
	half_close(sim, &upstream, &client, 0);
}

SIM_TEST(tcp, upstream_ends_first_and_is_sent_more, .mode = CONN_RELAY)
{
	struct end client, upstream;

	sim_relay(sim, &client, &upstream);
	half_close(sim, &upstream, &client, MUCH);
}

SIM_TEST(tcp, both_end_at_once, .mode = CONN_RELAY)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};

	sim_relay(sim, &client, &upstream);
	client.goal = upstream.goal = sim_below(sim, SOME);
	client.shuts = upstream.shuts = true;
	end_write(sim, &client, UINT64_MAX);
	end_write(sim, &upstream, UINT64_MAX);
	sim_until_over(sim, ends, 2);
	sim_check_eq(sim, client.got, upstream.goal);
	sim_check_eq(sim, upstream.got, client.goal);
	sim_check_eq(sim, client.state, END_EOF);
	sim_check_eq(sim, upstream.state, END_EOF);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

/* The end of a stream waits behind bytes that nobody reads yet. */
SIM_TEST(tcp, end_stays_behind_queued_bytes, .mode = CONN_RELAY)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};

	fake_conf(sim->io)->window_bytes = 50 * 1000;
	sim_relay(sim, &client, &upstream);
	client.goal = SOME;
	client.shuts = true;
	sim_push(sim, &client, NULL);
	sim_check(sim, client.shut);
	sim_check_eq(sim, upstream.state, END_OPEN);
	upstream.shuts = true;
	sim_until_over(sim, ends, 2);
	sim_check_eq(sim, upstream.got, SOME);
	sim_check_eq(sim, upstream.state, END_EOF);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

SIM_TEST(tcp, echo_flushes_before_it_closes, .mode = CONN_ECHO)
{
	struct end client, *const ends[] = {&client};

	fake_conf(sim->io)->window_bytes = 50 * 1000;
	sim_accept(sim, &client);
	client.goal = SOME;
	client.shuts = true;
	sim_push(sim, &client, NULL);
	sim_check(sim, client.shut);
	sim_check_eq(sim, sim->conns.live_n, 1);
	sim_check_eq(sim, LIST_FIRST(&sim->conns.live)->state, CONN_CLOSING);
	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, client.got, SOME);
	sim_check_eq(sim, client.state, END_EOF);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

static void empty(struct sim *sim)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};
	int n = sim->conf.mode == CONN_RELAY ? 2 : 1;

	if (n == 2)
		sim_relay(sim, &client, &upstream);
	else
		sim_accept(sim, &client);
	client.shuts = upstream.shuts = true;
	sim_until_over(sim, ends, n);
	for (int i = 0; i < n; i++)
		sim_check_eq(sim, ends[i]->state, END_EOF);
	sim_until_closed(sim);
	sim_check_eq(sim, sim->stats.bytes_in, 0);
	sim_check_eq(sim, sim->stats.bytes_out, 0);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

SIM_TEST(tcp, empty_connections, .mode = CONN_ECHO)
{
	empty(sim);
}

SIM_TEST(tcp, empty_discard, .mode = CONN_DISCARD)
{
	empty(sim);
}

SIM_TEST(tcp, empty_relay, .mode = CONN_RELAY)
{
	empty(sim);
}

/* ---- backpressure ---- */

/* Writes as long as that is possible. Returns the most that was queued towards to. */
static uint32_t flood(struct sim *sim, struct end *from, const struct conn_side *to)
{
	uint32_t most;

	from->goal = 20 * 1000 * 1000;
	most = sim_push(sim, from, to);
	from->goal = from->wrote;
	return most;
}

SIM_TEST(tcp, stalled_upstream_stops_the_client, .mode = CONN_RELAY)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};
	struct conn *conn;
	uint32_t most;

	fake_conf(sim->io)->window_bytes = 30 * 1000;
	fake_conf(sim->io)->chunk_max = COPIED;
	conn = sim_relay(sim, &client, &upstream);
	most = flood(sim, &client, &conn->upstream);
	sim_check(sim, most >= CONN_QUEUE_HIGH);
	sim_check(sim, conn->client.flags & SIDE_STOPPED);
	sim_check(sim, !(conn->upstream.flags & SIDE_STOPPED));
	/* The other way is not concerned. */
	upstream.goal = SOME;
	while (client.got < SOME) {
		end_write(sim, &upstream, UINT64_MAX);
		sim_turn(sim, NS_PER_MS);
		end_read(sim, &client, UINT64_MAX);
	}
	sim_until_got(sim, ends, 2, &upstream, client.goal);
	sim_check(sim, !(conn->client.flags & SIDE_STOPPED));
	client.goal += SOME;
	client.shuts = upstream.shuts = true;
	sim_until_over(sim, ends, 2);
	sim_check_eq(sim, upstream.got, client.wrote);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

SIM_TEST(tcp, stalled_client_stops_itself, .mode = CONN_ECHO)
{
	struct end client, *const ends[] = {&client};
	struct conn *conn;

	fake_conf(sim->io)->window_bytes = 30 * 1000;
	fake_conf(sim->io)->chunk_max = COPIED;
	conn = sim_accept(sim, &client);
	sim_check(sim, flood(sim, &client, &conn->client) >= CONN_QUEUE_HIGH);
	sim_check(sim, conn->client.flags & SIDE_STOPPED);
	client.shuts = true;
	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, client.got, client.wrote);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}

/* Discarding queues nothing, so nothing stops. */
SIM_TEST(tcp, discard_never_stops, .mode = CONN_DISCARD)
{
	struct end client, *const ends[] = {&client};
	struct conn *conn = sim_accept(sim, &client);

	client.goal = MUCH;
	client.shuts = true;
	sim_check_eq(sim, sim_push(sim, &client, &conn->client), 0);
	sim_check_eq(sim, client.wrote, MUCH);
	sim_until_over(sim, ends, 1);
	sim_until_closed(sim);
	sim_check_eq(sim, sim->stats.bytes_in, MUCH);
}

/* The mark without what the backend may add. */
SIM_TEST(tcp, mark_is_kept_but_for_one_receive, .mode = CONN_ECHO, .plain = true)
{
	struct end client, *const ends[] = {&client};
	struct conn *conn;
	uint32_t most;

	fake_conf(sim->io)->window_bytes = 30 * 1000;
	fake_conf(sim->io)->chunk_max = 5000;
	conn = sim_accept(sim, &client);
	most = flood(sim, &client, &conn->client);
	sim_check(sim, most >= CONN_QUEUE_HIGH && most < CONN_QUEUE_HIGH + 5000);
	client.shuts = true;
	sim_until_over(sim, ends, 1);
	sim_until_closed(sim);
}

/* Takes large buffers, as others would, until no more than left bytes are to be had. */
static struct buf *hog(struct sim *sim, uint64_t left)
{
	struct buf *chain = NULL;

	while (buf_pool_left(&sim->io->pool) >= left + BUF_LARGE_BYTES) {
		struct buf *buf = buf_get(&sim->io->pool, BUF_LARGE);

		sim_check(sim, buf);
		buf->next = chain;
		chain = buf;
	}
	return chain;
}

SIM_TEST(tcp, mark_sinks_with_the_pool, .mode = CONN_ECHO, .plain = true, .buffer_bytes = 4 << 20)
{
	struct end client, *const ends[] = {&client};
	struct buf *hogged = hog(sim, 512 << 10);
	struct conn *conn;
	uint32_t most;

	sim_check_eq(sim, conn_queue_high(&sim->conns), 64 << 10);
	fake_conf(sim->io)->window_bytes = 30 * 1000;
	fake_conf(sim->io)->chunk_max = 5000;
	conn = sim_accept(sim, &client);
	most = flood(sim, &client, &conn->client);
	sim_check(sim, most > 40 << 10 && most < (64 << 10) + 5000);
	sim_check(sim, conn->client.flags & SIDE_STOPPED);
	buf_put_chain(&sim->io->pool, hogged);
	client.goal += SOME;
	client.shuts = true;
	sim_until_over(sim, ends, 1);
	sim_check_eq(sim, client.got, client.wrote);
	sim_until_closed(sim);
}

/* With no buffer left nothing is lost; it goes on when there is one again. */
SIM_TEST(tcp, no_buffers_only_delay, .mode = CONN_RELAY)
{
	struct end client, upstream, *const ends[] = {&client, &upstream};

	sim_relay(sim, &client, &upstream);
	client.goal = upstream.goal = SOME;
	fake_conf(sim->io)->buffers_gone = true;
	for (int i = 0; i < 100; i++) {
		end_write(sim, &client, UINT64_MAX);
		end_write(sim, &upstream, UINT64_MAX);
		sim_turn(sim, NS_PER_MS);
	}
	sim_check_eq(sim, sim->stats.bytes_in, 0);
	sim_check_eq(sim, sim->io->starved, 2);
	fake_conf(sim->io)->buffers_gone = false;
	client.shuts = upstream.shuts = true;
	sim_until_over(sim, ends, 2);
	sim_check_eq(sim, client.got, SOME);
	sim_check_eq(sim, upstream.got, SOME);
	sim_until_closed(sim);
	sim_check_eq(sim, stats_errors(&sim->stats), 0);
}
