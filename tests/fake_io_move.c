/* SPDX-License-Identifier: MIT */
/* Owns what is under way between two sockets of the fake backend. Invariant: it goes before
 * anything in to->out, and moves.pipes counts the sockets that hold some. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/pipe.h"
#include "core/util.h"
#include "fake_io_priv.h"

enum { AT_ONCE_PERCENT = 70 /* what was taken is sent before anything else happens */ };

const struct fake_moves *fake_moves(const struct io *io)
{
	return &((const struct fake_io *)io)->moves;
}

/* ---- links ---- */

void fake_move_unlink_from(struct io_sock *from)
{
	if (!from->move_to)
		return;
	from->move_to->mover = NULL;
	from->move_to = NULL;
}

void fake_move_unlink(struct io_sock *sock)
{
	fake_move_unlink_from(sock);
	if (sock->mover)
		fake_move_unlink_from(sock->mover);
}

void fake_move_start(struct io *io, struct io_sock *from, struct io_sock *to)
{
	struct fake_io *f = fake_io_of(io);

	fake_check_use(io, from);
	fake_check_use(io, to);
	assert(from->kind == IO_STREAM && to->kind == IO_STREAM);
	assert(!((from->flags | to->flags) & F_CONNECT) && !(to->flags & F_SHUT));
	assert(!from->move_to && !to->mover && "one source for each");
	/* What was under way is what it would be after a stop; nobody waits for room, though. */
	f->io.ops->recv_stop(io, from);
	if (from->flags & F_STOPPED)
		f->stopped_n--;
	from->flags &= ~(uint32_t)F_STOPPED;
	from->move_to = to;
	to->mover = from;
	f->moves.started++;
}

static void stop(struct io_sock *from)
{
	fake_move_unlink_from(from);
	if (from->flags & (F_STOPPED | F_RECV | F_RECV_ENDED))
		return;
	from->flags |= F_STOPPED;
	from->f->stopped_n++;
}

void fake_move_stop(struct io *io, struct io_sock *from)
{
	fake_check_use(io, from);
	from->f->moves.stopped += from->move_to != NULL;
	stop(from);
}

/* ---- bytes ---- */

uint32_t fake_move_due(const struct io_sock *from)
{
	const struct fake_peer *peer = from->stream;
	const struct io_sock *to = from->move_to;

	if (!to || (from->flags & F_RECV_ENDED) || from->turn_bytes >= IO_BYTES_PER_TURN)
		return 0;
	if ((from->overshoot && peer->in.len) || (from->flags & F_OVERSHOOT_END))
		return 0;
	if (to->out.head || to->pipe.len || (to->flags & (F_SEND_FAILED | F_CLOSING)))
		return 0;
	return peer->in.len || peer->in.fin || peer->sock_err ? DUE_MOVE : 0;
}

static void move_refused(struct io_sock *from)
{
	struct io_sock *to = from->move_to;

	from->f->moves.refused++;
	stats_add(&from->f->io.stats->moves_refused, 1);
	stop(from);
	fake_deliver(to, IO_MOVE, -ENOBUFS, NULL);
}

void fake_move(struct io_sock *from)
{
	struct fake_io *f = from->f;
	struct fake_peer *peer = from->stream;
	struct io_sock *to = from->move_to;
	size_t len = 1 + fake_below(f, f->conf.chunk_max);

	if (f->fds_err || f->moves.pipes >= f->conf.pipes_max ||
	    fake_chance(f, f->conf.refuse_percent)) {
		move_refused(from);
		return;
	}
	if (!peer->in.len) {
		fake_stream_ended(from, peer->sock_err);
		return;
	}
	if (fake_chance(f, f->conf.whole_percent))
		len = PIPE_BYTES;
	len = MIN(len, peer->in.len);
	len = MIN(len, (size_t)IO_BYTES_PER_TURN - from->turn_bytes);
	len = MIN(len, MAX(peer->reset_at - peer->received, 1));
	fake_pipe_put(&to->pipe, peer->in.bytes + peer->in.at, len);
	fake_pipe_get(&peer->in, NULL, len);
	f->moves.pipes++;
	f->moves.bytes += len;
	fake_stream_took(from, len);
	if (fake_chance(f, AT_ONCE_PERCENT))
		fake_stream_flush(to);
}

void fake_move_flush(struct io_sock *sock, uint64_t left)
{
	struct fake_pipe *out = &sock->stream->out;

	if (fake_chance(sock->f, sock->f->conf.whole_percent))
		left = PIPE_BYTES;
	left = MIN(left, MIN(sock->pipe.len, fake_pipe_room(out)));
	fake_pipe_put(out, sock->pipe.bytes + sock->pipe.at, left);
	fake_pipe_get(&sock->pipe, NULL, left);
	sock->moved += (uint32_t)left;
	stats_add(&sock->f->io.stats->bytes_out, left);
	if (!sock->pipe.len)
		fake_move_drop(sock);
}

void fake_move_drop(struct io_sock *sock)
{
	if (sock->pipe.bytes)
		sock->f->moves.pipes--;
	fake_pipe_drop(&sock->pipe);
}
