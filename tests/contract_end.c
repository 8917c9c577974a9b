/* SPDX-License-Identifier: MIT */
/* Owns the ends of a test. What the contract says about every event is checked here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contract.h"

enum { ECHO_HIGH = 256 << 10 };

/* ---- events ---- */

static void note_event(struct end *end, const struct io_event *event)
{
	struct rig *rig = end->rig;

	rig->log[rig->log_n++ % RIG_LOG_MAX] = (struct rig_note){
		.end = end,
		.op = (int)event->op,
		.res = event->res,
		.turn = rig->turns,
	};
	rig->events++;
}

static void check_allowed(struct end *end, const struct io_event *event)
{
	struct rig *rig = end->rig;

	check(rig->in_turn, "an event outside of turn()");
	check(!rig->starting, "an event from inside a starter");
	check(!rig->in_handler, "an event from inside another one");
	check(!end->closed, "an event after IO_CLOSE");
	check(!end->closing || event->op == IO_CLOSE ||
		      (end->how == IO_CLOSE_FLUSH && event->op == IO_SEND),
	      "IO event %d after close(%d)", event->op, end->how);
	check(event->op == IO_RECV || !event->buf, "a buffer with IO event %d", event->op);
}

static void check_budget(struct end *end, uint32_t bytes)
{
	struct rig *rig = end->rig;

	if (end->turn != rig->turns)
		end->turn_bytes = end->turn_bufs = 0;
	end->turn = rig->turns;
	end->turn_bytes += bytes;
	end->turn_bufs++;
	if (end->kind == IO_STREAM)
		check(end->turn_bytes <= IO_BYTES_PER_TURN, "%u bytes in one turn",
		      end->turn_bytes);
	else
		check(end->turn_bufs <= IO_DGRAMS_PER_TURN, "%u datagrams in one turn",
		      end->turn_bufs);
	if (end->receiving)
		return;
	check(end->started, "bytes before recv_start");
	end->overshoot += bytes;
	check(end->overshoot <= IO_OVERSHOOT_MAX, "%llu bytes since recv_stop",
	      (unsigned long long)end->overshoot);
}

static void hold(struct end *end, struct buf *buf)
{
	buf->next = NULL;
	*end->held_tail = buf;
	end->held_tail = &buf->next;
	end->n_held++;
}

static void echo(struct end *end, struct buf *buf)
{
	end_send(end, buf);
	if (end->kind == IO_STREAM && end->queued - end->sent >= ECHO_HIGH && end->receiving)
		end_recv_stop(end);
}

static void got_buf(struct end *end, struct buf *buf)
{
	switch (end->mode) {
	case END_DISCARD:
		end_recycle(end, buf);
		break;
	case END_HOLD:
		hold(end, buf);
		break;
	case END_ECHO:
		echo(end, buf);
		break;
	case END_MANUAL:
		break;
	}
}

/* Neither goes to the other any more. */
static void move_ended(struct end *from)
{
	if (!from->move_to)
		return;
	from->move_to->mover = NULL;
	from->move_to = NULL;
}

static void got_stream(struct end *end, const struct io_event *event)
{
	struct rig *rig = end->rig;
	struct buf *buf = event->buf;

	check(!end->eof && !end->recv_err, "IO_RECV %d after the end", event->res);
	if (event->res <= 0) {
		check(!buf, "a buffer with the end of a stream");
		move_ended(end);
		end->eof = event->res == 0;
		end->recv_err = event->res;
		if (end->eof && end->mode == END_ECHO)
			end_shutdown(end);
		return;
	}
	check(buf && buf->len == (uint32_t)event->res && !buf->next);
	check(end->unchecked ||
		      pattern_match(end->seed, end->received, buf->data, buf->len) == buf->len,
	      "wrong byte after %llu", (unsigned long long)end->received);
	end->received += buf->len;
	check_budget(end, buf->len);
	got_buf(end, buf);
}

static void got_dgram(struct end *end, const struct io_event *event)
{
	struct rig *rig = end->rig;

	if (event->res < 0) {
		check(!event->buf);
		end->n_icmp++;
		return;
	}
	check(event->buf && event->buf->len == (uint32_t)event->res && !event->buf->next);
	check_budget(end, event->buf->len);
	got_buf(end, event->buf);
}

static void sent(struct end *end, int32_t res)
{
	struct rig *rig = end->rig;

	check(end->kind == IO_STREAM && res);
	check(!end->send_err, "IO_SEND %d after a failed one", res);
	end->n_send++;
	if (res < 0) {
		end->send_err = res;
		if (end->mover)
			move_ended(end->mover);
		return;
	}
	end->sent += (uint32_t)res;
	check(end->sent <= end->queued, "%llu bytes sent of %llu", (unsigned long long)end->sent,
	      (unsigned long long)end->queued);
	if (end->mode == END_ECHO && !end->receiving && end->started && !end->closing &&
	    end->queued - end->sent <= ECHO_HIGH / 2)
		end_recv_start(end);
}

static void moved(struct end *end, int32_t res)
{
	struct rig *rig = end->rig;

	check(end->kind == IO_STREAM && res);
	if (res > 0) {
		if (end->moved_turn != rig->turns)
			end->moved_bytes = 0;
		end->moved_turn = rig->turns;
		end->moved_bytes += (uint32_t)res;
		check(end->moved_bytes <= IO_BYTES_PER_TURN, "%u bytes moved in one turn",
		      end->moved_bytes);
		end->moved += (uint32_t)res;
		return;
	}
	check(res == -ENOBUFS && end->mover, "IO_MOVE %d", res);
	end->n_refused++;
	move_ended(end->mover);
}

static void closed(struct end *end, int32_t res)
{
	struct rig *rig = end->rig;

	check(end->closing, "IO_CLOSE without close()");
	check(res <= 0 && (res == 0 || end->how == IO_CLOSE_FLUSH));
	check(res || end->how != IO_CLOSE_FLUSH || end->send_err || end->sent == end->queued,
	      "IO_CLOSE before the last IO_SEND");
	end->closed = true;
	end->close_res = res;
}

static void accepted(struct end *end, int32_t res)
{
	struct rig *rig = end->rig;

	check(end->kind == IO_LISTENER);
	end->accept_one = false;
	if (res < 0) {
		end->accepting = false;
		end->accept_err = res;
		return;
	}
	end->n_accept++;
	check(end->n_fds < ARRAY_SIZE(end->fds));
	end->fds[end->n_fds++] = res;
}

static void count_event(struct end *end, const struct io_event *event)
{
	struct rig *rig = end->rig;

	switch (event->op) {
	case IO_ACCEPT:
		accepted(end, event->res);
		break;
	case IO_CONNECT:
		check(end->connecting && event->res <= 0, "IO_CONNECT %d", event->res);
		end->connecting = false;
		end->n_connect++;
		end->connect_res = event->res;
		break;
	case IO_RECV:
		end->n_recv++;
		if (end->kind == IO_STREAM)
			got_stream(end, event);
		else
			got_dgram(end, event);
		break;
	case IO_SEND:
		sent(end, event->res);
		break;
	case IO_MOVE:
		moved(end, event->res);
		break;
	case IO_CLOSE:
		closed(end, event->res);
		break;
	}
}

static void end_event(struct io_handler *handler, const struct io_event *event)
{
	struct end *end = container_of(handler, struct end, handler);

	note_event(end, event);
	check_allowed(end, event);
	end->rig->in_handler = true;
	count_event(end, event);
	if (end->on_event)
		end->on_event(end, event);
	if (event->op == IO_CLOSE)
		end->sock = NULL;
	end->rig->in_handler = false;
}

/* ---- starters ---- */

#define START(end, call)                              \
	do {                                          \
		bool starting = (end)->rig->starting; \
                                                      \
		(end)->rig->starting = true;          \
		call;                                 \
		(end)->rig->starting = starting;      \
	} while (0)

struct end *end_new(struct rig *rig)
{
	struct end *end = calloc(1, sizeof(*end));

	cr_assert_not_null(end);
	end->handler.event = end_event;
	end->rig = rig;
	end->held_tail = &end->held;
	end->seed = rig->seed_next++;
	end->next = rig->ends;
	rig->ends = end;
	return end;
}

bool end_attach(struct end *end, int fd, enum io_kind kind)
{
	struct io *io = end->rig->io;

	end->kind = kind;
	end->rig->dgrams |= kind == IO_DGRAM;
	START(end, end->sock = io->ops->attach(io, fd, kind, &end->handler));
	return end->sock != NULL;
}

bool end_dial(struct end *end, const struct addr *addr)
{
	struct io *io = end->rig->io;

	end->kind = addr->kind == ADDR_UDP ? IO_DGRAM : IO_STREAM;
	end->rig->dgrams |= end->kind == IO_DGRAM;
	end->connecting = true;
	START(end, end->sock = io->ops->dial(io, addr, &end->handler));
	return end->sock != NULL;
}

struct end *end_pair(struct rig *rig, const struct link_conf *conf, struct peer **ret_peer)
{
	static const struct link_conf plain;
	struct peer *peer = peer_new(rig);
	struct end *end = end_new(rig);
	int fd = rig->world->pair(rig, conf ? conf : &plain, peer);

	check(fd >= 0, "no pair: %s", strerror(-fd));
	check(end_attach(end, fd, IO_STREAM));
	peer->seed = end->seed;
	peer->gone = false;
	*ret_peer = peer;
	return end;
}

void end_accept_start(struct end *end, bool many)
{
	struct io *io = end->rig->io;

	end->accepting = many;
	end->accept_one = !many;
	START(end, io->ops->accept_start(io, end->sock, many));
}

void end_accept_stop(struct end *end)
{
	struct io *io = end->rig->io;

	end->accepting = end->accept_one = false;
	START(end, io->ops->accept_stop(io, end->sock));
}

void end_recv_start(struct end *end)
{
	struct io *io = end->rig->io;

	end->receiving = end->started = true;
	end->overshoot = 0;
	START(end, io->ops->recv_start(io, end->sock));
}

void end_recv_stop(struct end *end)
{
	struct io *io = end->rig->io;

	end->receiving = false;
	START(end, io->ops->recv_stop(io, end->sock));
}

void end_move_start(struct end *from, struct end *to)
{
	struct io *io = from->rig->io;

	/* What was under way may still come, as after a stop. */
	if (from->receiving)
		from->overshoot = 0;
	from->receiving = false;
	from->started = true;
	from->move_to = to;
	to->mover = from;
	START(from, io->ops->move_start(io, from->sock, to->sock));
}

void end_move_stop(struct end *from)
{
	struct io *io = from->rig->io;

	move_ended(from);
	START(from, io->ops->move_stop(io, from->sock));
}

void end_send(struct end *end, struct buf *chain)
{
	struct io *io = end->rig->io;

	for (struct buf *buf = chain; buf && end->kind == IO_STREAM; buf = buf->next)
		end->queued += buf->len;
	START(end, io->ops->send(io, end->sock, chain));
}

void end_send_bytes(struct end *end, uint64_t bytes, uint32_t piece)
{
	struct rig *rig = end->rig;
	enum buf_class class = piece <= BUF_SMALL_BYTES ? BUF_SMALL : BUF_LARGE;
	struct buf *chain = NULL, **tail = &chain;
	uint64_t at = end->queued;

	while (bytes) {
		struct buf *buf = buf_get(&rig->io->pool, class);

		check(buf, "no buffer left for the test itself");
		buf->len = (uint32_t)MIN(piece, bytes);
		pattern_fill(end->seed, at, buf->data, buf->len);
		at += buf->len;
		bytes -= buf->len;
		*tail = buf;
		tail = &buf->next;
	}
	end_send(end, chain);
}

void end_shutdown(struct end *end)
{
	struct io *io = end->rig->io;

	end->shut = true;
	START(end, io->ops->shutdown(io, end->sock));
}

void end_close(struct end *end, enum io_close how)
{
	struct io *io = end->rig->io;

	end->closing = true;
	end->how = how;
	move_ended(end);
	if (end->mover)
		move_ended(end->mover);
	end->receiving = end->accepting = end->accept_one = false;
	START(end, io->ops->close(io, end->sock, how));
}

void end_recycle(struct end *end, struct buf *chain)
{
	struct io *io = end->rig->io;

	START(end, io->ops->recycle(io, chain));
}

void end_release(struct end *end)
{
	struct buf *held = end->held;

	end->held = NULL;
	end->held_tail = &end->held;
	end->n_held = 0;
	if (held)
		end_recycle(end, held);
}
