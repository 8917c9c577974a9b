/* SPDX-License-Identifier: MIT */
/* Streams that are moved inside the kernel (line 9): bytes, their order, backpressure, and what
 * happens without pipes. The ends of moves are in contract_move_end.c. */
#include <errno.h>

#include "contract_move.h"
#include "core/pipe.h"

enum { NARROW_BYTES = 16384, PIECE = 8192 };

const struct link_conf move_narrow = {
	.end_send = NARROW_BYTES,
	.end_recv = 4 * NARROW_BYTES,
	.peer_send = 4 * NARROW_BYTES,
	.peer_recv = NARROW_BYTES,
};

/* What a relay does: what is not moved is copied. */
static void on_pass(struct end *end, const struct io_event *event)
{
	struct end *other = end->ctx;

	if (event->op == IO_RECV && event->res > 0) {
		if (other->closing)
			end_recycle(end, event->buf);
		else
			end_send(other, event->buf);
	} else if (event->op == IO_RECV && event->res == 0 && !other->closing && !other->shut) {
		end_shutdown(other);
	} else if (event->op == IO_MOVE && event->res < 0) {
		end_recv_start(other);
	}
}

void relay_open(struct rig *rig, const struct link_conf *conf, struct relay *relay)
{
	relay->a = end_pair(rig, conf, &relay->pa);
	relay->b = end_pair(rig, conf, &relay->pb);
	relay->b->seed = relay->pb->seed = relay->a->seed;
	relay->a->ctx = relay->b;
	relay->b->ctx = relay->a;
	for (int i = 0; i < 2; i++) {
		struct end *end = i ? relay->b : relay->a;

		end->mode = END_MANUAL;
		end->on_event = on_pass;
		/* Its owner does not see all bytes; the peers do. */
		end->unchecked = true;
	}
}

void send_at(struct end *end, uint64_t at, uint64_t bytes)
{
	struct rig *rig = end->rig;

	while (bytes) {
		struct buf *buf = buf_get(&rig->io->pool, BUF_SMALL);

		check(buf, "no buffer left for the test itself");
		buf->len = (uint32_t)MIN(PIECE, bytes);
		pattern_fill(end->seed, at, buf->data, buf->len);
		at += buf->len;
		bytes -= buf->len;
		end_send(end, buf);
	}
}

void relay_block(struct relay *relay)
{
	struct rig *rig = relay->a->rig;

	relay->pb->read_to = 0;
	relay->pa->write_to = 64 << 20;
	end_move_start(relay->a, relay->b);
	rig_settle(rig);
	check(relay->pa->written < 2 << 20, "%llu bytes, and nobody reads",
	      (unsigned long long)relay->pa->written);
	check(!relay->a->n_recv && !relay->b->n_refused);
	relay->pa->write_to = relay->pa->written;
}

/* ---- bytes ---- */

static void move_one_way(struct rig *rig, enum net net, uint64_t bytes)
{
	struct relay r;

	relay_open(rig, &(struct link_conf){.net = net}, &r);
	end_move_start(r.a, r.b);
	r.pa->write_to = bytes;
	r.pa->shut_after = true;
	until(r.pb->eof);
	check(r.pb->read == bytes && r.a->eof, "%llu bytes came", (unsigned long long)r.pb->read);
	until(r.b->moved == bytes);
	check(!r.a->n_send && !r.b->n_send && !r.a->received, "something was copied");
}

CONTRACT(move_one_way)
{
	static const uint32_t sizes[] = {0, 1, 8192, 100 * 1000, 4 << 20};

	for (enum net net = NET_TCP4; net <= NET_UNIX; net++)
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
			move_one_way(rig, net, sizes[i]);
}

CONTRACT(move_is_counted)
{
	uint64_t in = rig->stats.bytes_in, out = rig->stats.bytes_out;

	move_one_way(rig, NET_TCP4, 1 << 20);
	check(rig->stats.bytes_in - in == 1 << 20);
	check(rig->stats.bytes_out - out == 1 << 20);
}

static void move_both_ways(struct rig *rig, enum net net)
{
	struct relay r;

	relay_open(rig, &(struct link_conf){.net = net}, &r);
	end_move_start(r.a, r.b);
	end_move_start(r.b, r.a);
	r.pa->write_to = 2 << 20;
	r.pb->write_to = 1 << 20;
	r.pa->write_max = 50 * 1000;
	r.pa->shut_after = r.pb->shut_after = true;
	until(r.pa->eof && r.pb->eof);
	check(r.pa->read == 1 << 20 && r.pb->read == 2 << 20);
}

CONTRACT(move_both_ways)
{
	move_both_ways(rig, NET_TCP4);
	move_both_ways(rig, NET_UNIX);
}

static void move_back(struct rig *rig, const struct link_conf *conf, uint64_t bytes)
{
	struct peer *peer;
	struct end *end = end_pair(rig, conf, &peer);

	end->mode = END_MANUAL;
	end->unchecked = true;
	end->on_event = on_pass;
	end->ctx = end;
	end_move_start(end, end);
	peer->write_to = bytes;
	peer->shut_after = true;
	until(peer->eof);
	check(peer->read == bytes && !end->received);
}

CONTRACT(move_back_to_itself)
{
	move_back(rig, NULL, 4 << 20);
	move_back(rig, &(struct link_conf){.net = NET_UNIX}, 4 << 20);
	move_back(rig, &move_narrow, 1 << 20);
}

/* Moving begins in the handler of a receive, as often as it can, and ends at random. */
static void on_pass_or_move(struct end *end, const struct io_event *event)
{
	struct end *other = end->ctx;

	on_pass(end, event);
	if (event->op == IO_RECV && event->res > 0 && !end->move_to &&
	    rig_random(end->rig, 3) == 0) {
		end_move_start(end, other);
	} else if (event->op == IO_MOVE && event->res > 0 && end->mover &&
		   rig_random(end->rig, 3) == 0) {
		end_move_stop(other);
		end_recv_start(other);
	}
}

static void move_now_and_then(struct rig *rig, enum net net)
{
	struct relay r;

	relay_open(rig, &(struct link_conf){.net = net}, &r);
	r.a->on_event = r.b->on_event = on_pass_or_move;
	r.pa->write_to = r.pb->write_to = 3 << 20;
	r.pa->write_max = 100 * 1000;
	r.pb->write_max = 3000;
	r.pa->shut_after = r.pb->shut_after = true;
	end_recv_start(r.a);
	end_recv_start(r.b);
	until(r.pa->eof && r.pb->eof);
	check(r.pa->read == 3 << 20 && r.pb->read == 3 << 20);
	check(r.b->moved && r.b->sent, "%llu bytes moved, %llu copied",
	      (unsigned long long)r.b->moved, (unsigned long long)r.b->sent);
}

CONTRACT(move_now_and_then)
{
	for (enum net net = NET_TCP4; net <= NET_UNIX; net++)
		move_now_and_then(rig, net);
}

CONTRACT(move_goes_behind_what_is_queued)
{
	enum { QUEUED = 1 << 20, MOVED = 300 * 1000 };
	struct relay r;

	relay_open(rig, &move_narrow, &r);
	r.pb->read_to = 0;
	send_at(r.b, 0, QUEUED);
	r.pa->written = QUEUED;
	r.pa->write_to = QUEUED + MOVED;
	end_move_start(r.a, r.b);
	rig_steps(rig, 10);
	check(!r.b->moved, "moved past what was queued");
	r.pb->read_to = UINT64_MAX;
	until(r.pb->read == QUEUED + MOVED);
}

/* And so does what is sent while moving goes on. */
CONTRACT(send_goes_behind_what_was_moved)
{
	for (int stop = 0; stop < 2; stop++) {
		struct relay r;
		uint64_t taken = rig->stats.bytes_in;

		relay_open(rig, &move_narrow, &r);
		relay_block(&r);
		if (stop)
			end_move_stop(r.a);
		taken = rig->stats.bytes_in - taken;
		check(taken > r.b->moved, "nothing is in between");
		if (!stop) /* or more would be taken meanwhile */
			end_close(r.a, IO_CLOSE_NOW);
		send_at(r.b, taken, 200 * 1000);
		rig_steps(rig, 5);
		check(!r.b->sent);
		r.pb->read_to = UINT64_MAX;
		until(r.pb->read == taken + 200 * 1000);
		check(r.b->moved == taken);
	}
}

static void on_send_on(struct end *end, const struct io_event *event)
{
	struct end *to = end->ctx;

	if (event->op != IO_RECV || event->res <= 0)
		return;
	end_recycle(end, event->buf);
	end_send_bytes(to, 1, 1);
}

/* A third one's bytes go between what is moved, and nothing stalls; where, nobody knows. */
CONTRACT(send_while_moving)
{
	struct relay r;
	struct peer *peer;
	struct end *third = end_pair(rig, NULL, &peer);

	relay_open(rig, NULL, &r);
	third->mode = END_MANUAL;
	third->ctx = r.b;
	third->on_event = on_send_on;
	end_recv_start(third);
	r.pb->unchecked = true;
	end_move_start(r.a, r.b);
	for (uint64_t i = 1; i <= 200; i++) {
		r.pa->write_to = i * 1000;
		peer->write_to = i;
		until(third->received == i && r.pb->read == i * 1000 + r.b->queued);
	}
}

/* ---- backpressure ---- */

static void move_slowly(struct rig *rig, const struct link_conf *conf)
{
	struct relay r;
	uint64_t before;

	relay_open(rig, conf, &r);
	relay_block(&r);
	rig_check_quiet(rig);
	before = r.pa->written;
	r.pa->write_to = before + (2 << 20);
	for (uint64_t at = 0; at < before; at += 100 * 1000) {
		r.pb->read_to = at;
		until(r.pb->read == at);
	}
	r.pa->shut_after = true;
	r.pb->read_to = UINT64_MAX;
	until(r.pb->eof);
	check(r.pb->read == r.pa->write_to);
}

CONTRACT(move_to_a_slow_reader)
{
	struct link_conf local = {
		.net = NET_UNIX,
		.end_send = NARROW_BYTES,
		.peer_send = NARROW_BYTES,
	};

	move_slowly(rig, &move_narrow);
	move_slowly(rig, &local);
}

/* A socket takes no more and has none to give: one peer reads nothing and writes all it can. */
CONTRACT(move_back_to_one_who_does_not_read)
{
	struct peer *peer;
	struct end *end = end_pair(rig, &move_narrow, &peer);

	end->mode = END_MANUAL;
	end->unchecked = true;
	end->on_event = on_pass;
	end->ctx = end;
	peer->read_to = 0;
	peer->write_to = 64 << 20;
	end_move_start(end, end);
	rig_check_quiet(rig);
	check(peer->written < 2 << 20);
	peer->write_to = peer->written;
	peer->shut_after = true;
	peer->read_to = UINT64_MAX;
	until(peer->eof);
	check(peer->read == peer->written);
}

CONTRACT(move_keeps_to_its_budget)
{
	enum { BYTES = 16 << 20 };
	struct relay r[2];

	for (int i = 0; i < 2; i++) {
		relay_open(rig, NULL, &r[i]);
		r[i].pa->write_to = BYTES;
		end_move_start(r[i].a, r[i].b);
	}
	until(r[0].b->moved == BYTES && r[1].b->moved == BYTES);
}

/* ---- no pipe ---- */

CONTRACT(move_more_than_there_are_pipes)
{
	enum { FLOWS = PIPES_MAX + 8, BYTES = 300 * 1000 };
	struct relay r[FLOWS];
	uint32_t refused = 0;

	for (int i = 0; i < FLOWS; i++) {
		relay_open(rig, &move_narrow, &r[i]);
		r[i].pb->read_to = 0;
		r[i].pa->write_to = BYTES;
		r[i].pa->shut_after = true;
		end_move_start(r[i].a, r[i].b);
	}
	rig_settle(rig);
	for (int i = 0; i < FLOWS; i++)
		refused += r[i].b->n_refused;
	check(refused >= FLOWS - PIPES_MAX, "%u refused", refused);
	check(rig->stats.moves_refused == refused);
	for (int i = 0; i < FLOWS; i++)
		r[i].pb->read_to = UINT64_MAX;
	for (int i = 0; i < FLOWS; i++) {
		until(r[i].pb->eof);
		check(r[i].pb->read == BYTES);
	}
	/* And now there are pipes again. */
	move_one_way(rig, NET_TCP4, 1 << 20);
}

CONTRACT(move_without_descriptors)
{
	struct relay r;

	relay_open(rig, NULL, &r);
	rig->world->fds_limit(rig, true);
	r.pa->write_to = 1 << 20;
	end_move_start(r.a, r.b);
	until(r.b->n_refused);
	until(r.pb->read == 1 << 20);
	check(r.a->received == 1 << 20 && !r.b->moved);
	rig->world->fds_limit(rig, false);
	end_recv_stop(r.a);
	rig_settle(rig);
	end_move_start(r.a, r.b);
	r.pa->write_to = 2 << 20;
	until(r.pb->read == 2 << 20);
	check(r.b->moved);
}
