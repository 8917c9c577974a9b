/* SPDX-License-Identifier: MIT */
/*
 * Moving streams inside the kernel, on epoll. Invariant: to->pipe holds bytes when there is one;
 * they go before anything in to->out.
 */
#include <errno.h>

#include "io_epoll_priv.h"
#include "util.h"

/* What was left in a pipe may be taken in the same turn. */
enum { MOVE_BYTES_PER_TURN = IO_BYTES_PER_TURN - PIPE_BYTES };

static void unlink_mover(struct epoll_io *e, struct io_sock *from)
{
	if (!from->move_to)
		return;
	lowat_reset(&e->lowats, &from->lowat);
	from->move_to->mover = NULL;
	from->move_to = NULL;
}

void epoll_unlink_moves(struct epoll_io *e, struct io_sock *sock)
{
	unlink_mover(e, sock);
	if (sock->mover)
		unlink_mover(e, sock->mover);
}

void epoll_move_start(struct io *io, struct io_sock *from, struct io_sock *to)
{
	epoll_recv_stop(io, from);
	from->move_to = to;
	to->mover = from;
	epoll_run(epoll_io_of(io), from);
}

void epoll_move_stop(struct io *io, struct io_sock *from)
{
	unlink_mover(epoll_io_of(io), from);
}

void epoll_answered(struct epoll_io *e, struct io_sock *sock)
{
	if (sock->mover)
		lowat_reset(&e->lowats, &sock->mover->lowat);
}

void epoll_run_paused(struct epoll_io *e)
{
	struct lowat *lowat;

	while ((lowat = lowat_paused(&e->lowats, e->io.now_ns))) {
		struct io_sock *sock = container_of(lowat, struct io_sock, lowat);

		sock->flags |= S_IN;
		epoll_run(e, sock);
	}
}

int epoll_drain_pipe(struct epoll_io *e, struct io_sock *to)
{
	int32_t n = pipe_drain(to->pipe, to->fd);

	if (n < 0)
		return n;
	stats_add(&e->io.stats->bytes_out, (uint64_t)n);
	to->moved += (uint32_t)n;
	if (n)
		epoll_done(e, to);
	if (to->pipe->bytes) {
		to->flags &= ~(uint32_t)S_OUT;
		return 0;
	}
	pipe_put(&e->io.pipes, to->pipe);
	to->pipe = NULL;
	return 0;
}

static void move_refused(struct epoll_io *e, struct io_sock *from)
{
	struct io_sock *to = from->move_to;

	stats_add(&e->io.stats->moves_refused, 1);
	epoll_move_stop(&e->io, from);
	epoll_deliver(e, to, IO_MOVE, -ENOBUFS, NULL);
}

/* Returns what from had, as pipe_fill does; -ENOBUFS when it cannot be moved. */
static int32_t take(struct epoll_io *e, struct io_sock *from, struct io_sock *to, uint32_t max)
{
	struct pipe *pipe = pipe_get(&e->io.pipes);
	int32_t n;

	if (!pipe)
		return -ENOBUFS;
	n = pipe_fill(pipe, from->fd, max);
	if (n <= 0) {
		pipe_put(&e->io.pipes, pipe);
		return n == -EINVAL ? -ENOBUFS : n;
	}
	to->pipe = pipe;
	if (to != from)
		lowat_moved(&e->lowats, &from->lowat, from->fd, (uint32_t)n, e->io.now_ns);
	epoll_answered(e, from);
	stats_add(&e->io.stats->bytes_in, (uint64_t)n);
	return n;
}

void epoll_move(struct epoll_io *e, struct io_sock *from)
{
	struct io_sock *to = from->move_to;
	uint32_t budget = MOVE_BYTES_PER_TURN, gen = from->gen;
	int32_t n = 1;

	/* Splicing stops at urgent data for good; receiving goes past it. */
	if (from->flags & S_URGENT) {
		from->flags &= ~(uint32_t)S_URGENT;
		move_refused(e, from);
		return;
	}
	if (to->out.head || to->pipe)
		epoll_flush(e, to);
	while (budget && from->move_to && (from->flags & S_IN) && (to->flags & S_OUT) &&
	       !to->out.head && !to->pipe && !(to->flags & (S_SEND_FAILED | S_CLOSING))) {
		n = take(e, from, to, budget);
		if (n <= 0)
			break;
		budget -= (uint32_t)n;
		epoll_flush(e, to);
	}
	if (n == -EAGAIN)
		from->flags &= ~(uint32_t)S_IN;
	else if (n == -ENOBUFS)
		move_refused(e, from);
	else if (n <= 0)
		epoll_recv_ended(e, from, n);
	epoll_report_done(e);
	if (!budget && from->gen == gen && from->move_to)
		epoll_run(e, from);
}
