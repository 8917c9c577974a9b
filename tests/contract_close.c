/* SPDX-License-Identifier: MIT */
/* Closing: what still comes and what does not, for the owner and for the peer (line 4). */
#include <errno.h>

#include "contract.h"

/* Little fits on the way to the peer. */
static const struct link_conf narrow = {.end_send = 16384, .peer_recv = 16384};

/* A stream that cannot send what it has, and whose peer keeps sending as well. */
static struct end *busy_pair(struct rig *rig, struct peer **ret_peer)
{
	struct end *end = end_pair(rig, &narrow, ret_peer);

	(*ret_peer)->read_to = 0;
	(*ret_peer)->write_to = UINT64_MAX;
	end_recv_start(end);
	end_send_bytes(end, 6 << 20, BUF_LARGE_BYTES);
	until(end->received > 1 << 20);
	check(end->sent < end->queued);
	return end;
}

/* Lets the peer find out how the connection ended. */
static void drain_peer(struct peer *peer)
{
	struct rig *rig = peer->rig;

	peer->write_to = peer->written;
	peer->read_to = UINT64_MAX;
	until(peer_ended(peer));
}

static void check_closed(struct rig *rig, struct end *end)
{
	uint64_t events;

	until(end->closed);
	check(end->close_res == 0);
	events = rig->events;
	rig_settle(rig);
	check(events == rig->events, "events after IO_CLOSE");
}

CONTRACT(close_flush_with_nothing_queued)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_recv_start(end);
	rig_step(rig);
	end_close(end, IO_CLOSE_FLUSH);
	check_closed(rig, end);
	until(peer->eof);
}

CONTRACT(close_flush_behind_a_long_queue)
{
	enum { BYTES = 5 << 20 };
	struct peer *peer;
	struct end *end = end_pair(rig, &narrow, &peer);

	end_recv_start(end);
	peer->read_to = 0;
	end_send_bytes(end, BYTES, BUF_LARGE_BYTES);
	rig_steps(rig, 5);
	end_close(end, IO_CLOSE_FLUSH);
	rig_steps(rig, 5);
	check(!end->closed);
	peer->read_to = UINT64_MAX;
	until(peer->eof);
	check(peer->read == BYTES);
	check_closed(rig, end);
	check(end->sent == BYTES);
}

CONTRACT(close_flush_in_the_same_turn_as_the_send)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_send_bytes(end, 1000, 100);
	end_close(end, IO_CLOSE_FLUSH);
	until(peer->eof);
	check(peer->read == 1000);
	check_closed(rig, end);
	check(end->sent == 1000);
}

CONTRACT(close_flush_after_shutdown)
{
	struct peer *peer;
	struct end *end = end_pair(rig, &narrow, &peer);

	end_send_bytes(end, 2 << 20, BUF_LARGE_BYTES);
	end_shutdown(end);
	end_close(end, IO_CLOSE_FLUSH);
	until(peer->eof);
	check(peer->read == 2 << 20);
	check_closed(rig, end);
}

CONTRACT(close_flush_fails_when_the_peer_resets)
{
	struct peer *peer;
	struct end *end = end_pair(rig, &narrow, &peer);

	peer->read_to = 0;
	end_send_bytes(end, 6 << 20, BUF_LARGE_BYTES);
	rig_steps(rig, 5);
	end_close(end, IO_CLOSE_FLUSH);
	rig_steps(rig, 5);
	check(!end->closed);
	peer_reset(peer);
	until(end->closed);
	check(end->close_res < 0, "IO_CLOSE says that all was sent");
}

CONTRACT(close_now_in_flight)
{
	struct peer *peer;
	struct end *end = busy_pair(rig, &peer);

	end_close(end, IO_CLOSE_NOW);
	check_closed(rig, end);
	drain_peer(peer);
}

CONTRACT(close_reset_in_flight)
{
	struct peer *peer;
	struct end *end = busy_pair(rig, &peer);

	peer->write_to = peer->written;
	end_close(end, IO_CLOSE_RESET);
	check_closed(rig, end);
	drain_peer(peer);
	check(peer->err == -ECONNRESET, "the peer saw no reset");
}

CONTRACT(close_reset_idle)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_recv_start(end);
	rig_steps(rig, 3);
	end_close(end, IO_CLOSE_RESET);
	check_closed(rig, end);
	until(peer_ended(peer));
	check(peer->err == -ECONNRESET, "the peer saw no reset");
}

CONTRACT(close_reset_behind_a_queue_nobody_reads)
{
	struct peer *peer;
	struct end *end = end_pair(rig, &narrow, &peer);

	peer->read_to = 0;
	end_send_bytes(end, 6 << 20, BUF_LARGE_BYTES);
	rig_steps(rig, 5);
	end_close(end, IO_CLOSE_RESET);
	check_closed(rig, end);
	drain_peer(peer);
	check(peer->err == -ECONNRESET, "the peer saw no reset");
}

static void harden(struct rig *rig, enum io_close how)
{
	struct peer *peer;
	struct end *end = end_pair(rig, &narrow, &peer);

	end_recv_start(end);
	peer->read_to = 0;
	end_send_bytes(end, 6 << 20, BUF_LARGE_BYTES);
	rig_steps(rig, 5);
	end_close(end, IO_CLOSE_FLUSH);
	rig_steps(rig, 5);
	check(!end->closed);
	end_close(end, how);
	check_closed(rig, end);
	drain_peer(peer);
	check(how != IO_CLOSE_RESET || peer->err == -ECONNRESET, "the peer saw no reset");
}

CONTRACT(close_now_hardens_a_flush)
{
	harden(rig, IO_CLOSE_NOW);
}

CONTRACT(close_reset_hardens_a_flush)
{
	harden(rig, IO_CLOSE_RESET);
}

CONTRACT(close_harder_at_once)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_recv_start(end);
	end_close(end, IO_CLOSE_FLUSH);
	end_close(end, IO_CLOSE_NOW);
	end_close(end, IO_CLOSE_RESET);
	check_closed(rig, end);
	until(peer_ended(peer));
	check(peer->err == -ECONNRESET, "the peer saw no reset");
}

CONTRACT(close_again_as_hard)
{
	static const enum io_close hows[] = {IO_CLOSE_FLUSH, IO_CLOSE_NOW, IO_CLOSE_RESET};

	for (size_t i = 0; i < ARRAY_SIZE(hows); i++) {
		struct peer *peer;
		struct end *end = end_pair(rig, NULL, &peer);

		end_recv_start(end);
		rig_step(rig);
		end_close(end, hows[i]);
		end_close(end, hows[i]);
		check_closed(rig, end);
	}
}

/* ---- from inside handlers ---- */

static void on_recv_close(struct end *end, const struct io_event *event)
{
	const enum io_close *how = end->ctx;

	if (event->op == IO_RECV && !end->closing)
		end_close(end, *how);
}

static void close_in_recv(struct rig *rig, enum io_close how, uint64_t bytes)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end->mode = END_ECHO;
	end->on_event = on_recv_close;
	end->ctx = &how;
	peer->write_to = bytes;
	peer->shut_after = !bytes;
	end_recv_start(end);
	until(end->closed);
	until(peer_ended(peer) || peer->write_err);
	end->ctx = NULL;
}

CONTRACT(close_inside_io_recv)
{
	for (enum io_close how = IO_CLOSE_FLUSH; how <= IO_CLOSE_RESET; how++) {
		close_in_recv(rig, how, 1);
		close_in_recv(rig, how, 1 << 20);
	}
}

static void on_end_close(struct end *end, const struct io_event *event)
{
	const enum io_close *how = end->ctx;

	if (event->op == IO_RECV && event->res == 0)
		end_close(end, *how);
}

CONTRACT(close_inside_the_end_of_a_stream)
{
	for (enum io_close how = IO_CLOSE_FLUSH; how <= IO_CLOSE_RESET; how++) {
		struct peer *peer;
		struct end *end = end_pair(rig, NULL, &peer);

		end->on_event = on_end_close;
		end->ctx = &how;
		peer->write_to = 10;
		peer->shut_after = true;
		end_recv_start(end);
		until(end->closed && peer_ended(peer));
	}
}

static void on_send_close(struct end *end, const struct io_event *event)
{
	const enum io_close *how = end->ctx;

	if (event->op == IO_SEND && !end->closing)
		end_close(end, *how);
}

CONTRACT(close_inside_io_send)
{
	for (enum io_close how = IO_CLOSE_FLUSH; how <= IO_CLOSE_RESET; how++) {
		struct peer *peer;
		struct end *end = end_pair(rig, &narrow, &peer);

		end->on_event = on_send_close;
		end->ctx = &how;
		end_recv_start(end);
		end_send_bytes(end, 4 << 20, BUF_LARGE_BYTES);
		until(end->closed && peer_ended(peer));
		check(how != IO_CLOSE_FLUSH || (peer->eof && peer->read == 4 << 20));
	}
}

/* One socket's event closes all the others, some of which have events ready as well. */
static void on_recv_close_all(struct end *end, const struct io_event *event)
{
	if (event->op != IO_RECV)
		return;
	for (struct end *e = end->rig->ends; e; e = e->next)
		if (e->sock && !e->closing)
			end_close(e, IO_CLOSE_NOW);
}

CONTRACT(close_of_others_that_are_ready)
{
	enum { CONNS = 40 };
	struct end *ends[CONNS];
	struct peer *peers[CONNS];

	for (int i = 0; i < CONNS; i++) {
		ends[i] = end_pair(rig, NULL, &peers[i]);
		ends[i]->on_event = on_recv_close_all;
		end_recv_start(ends[i]);
	}
	rig_steps(rig, 3);
	for (int i = 0; i < CONNS; i++)
		peers[i]->write_to = 100 * 1000;
	for (int i = 0; i < CONNS; i++)
		until(ends[i]->closed);
	rig_settle(rig);
}

static void on_close_open(struct end *end, const struct io_event *event)
{
	struct end **next = end->ctx;
	struct peer *peer;

	if (event->op != IO_CLOSE)
		return;
	*next = end_pair(end->rig, NULL, &peer);
	peer->write_to = 10;
	end_recv_start(*next);
}

CONTRACT(attach_inside_io_close)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer), *next = NULL;

	end->on_event = on_close_open;
	end->ctx = &next;
	end_recv_start(end);
	end_close(end, IO_CLOSE_NOW);
	until(next && next->received == 10);
}

CONTRACT(close_of_a_socket_just_attached)
{
	for (enum io_close how = IO_CLOSE_FLUSH; how <= IO_CLOSE_RESET; how++) {
		struct peer *peer;
		struct end *end = end_pair(rig, NULL, &peer);

		end_close(end, how);
		check_closed(rig, end);
		until(peer_ended(peer));
	}
}

CONTRACT(close_of_a_stopped_socket)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	peer->write_to = 1 << 20;
	end_recv_start(end);
	until(end->received);
	end_recv_stop(end);
	end_close(end, IO_CLOSE_NOW);
	check_closed(rig, end);
}

CONTRACT(close_of_a_socket_that_was_reset)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_recv_start(end);
	rig_step(rig);
	peer_reset(peer);
	until(end->recv_err);
	rig_check_quiet(rig);
	end_close(end, IO_CLOSE_FLUSH);
	until(end->closed);
}
