/* SPDX-License-Identifier: MIT */
/*
 * Moving streams inside the kernel. Readiness comes from poll requests; the bytes go by splice(2)
 * itself, because IORING_OP_SPLICE always goes to a worker thread.
 *
 * Invariant: to->pipe holds bytes when there is one, and then room in to is waited for; they go
 * before anything in to->out. A source with something to do stands on the list of movers.
 */
#include <errno.h>

#include "io_uring/uring_priv.h"

/* What was left in a pipe may be taken in the same turn. */
enum { MOVE_BYTES_PER_TURN = IO_BYTES_PER_TURN - PIPE_BYTES };

/* ---- links ---- */

static void mover_due(struct uring_io *u, struct io_sock *from)
{
	if (from->flags & S_MOVE_DUE)
		return;
	from->flags |= S_MOVE_DUE;
	from->move_turn = u->move_turn;
	TAILQ_INSERT_TAIL(&u->movers, from, wait);
}

static void unlink_mover(struct uring_io *u, struct io_sock *from)
{
	if (!from->move_to)
		return;
	lowat_reset(&u->lowats, &from->lowat);
	from->move_to->mover = NULL;
	from->move_to = NULL;
	if (from->flags & S_MOVE_DUE)
		TAILQ_REMOVE(&u->movers, from, wait);
	from->flags &= ~(uint32_t)S_MOVE_DUE;
}

void uring_unlink_moves(struct uring_io *u, struct io_sock *sock)
{
	if (sock->move_to)
		uring_move_stop(&u->io, sock);
	if (sock->mover)
		uring_move_stop(&u->io, sock->mover);
}

void uring_move_start(struct io *io, struct io_sock *from, struct io_sock *to)
{
	struct uring_io *u = uring_of(io);

	uring_recv_stop(io, from);
	uring_hold(u, from, false);
	uring_stop_watch_end(u, from);
	from->move_to = to;
	to->mover = from;
	uring_cancel_recv(u, from);
	uring_dirty(u, from);
}

void uring_move_stop(struct io *io, struct io_sock *from)
{
	struct uring_io *u = uring_of(io);

	unlink_mover(u, from);
	uring_cancel_recv(u, from);
	if (from->flags & (S_CLOSING | S_RECV_ENDED))
		return;
	uring_hold(u, from, true);
	uring_stop_watch_start(u, from);
}

/* ---- waiting ---- */

void uring_move_arm(struct uring_io *u, struct io_sock *from)
{
	struct io_uring_sqe *sqe = uring_sqe(u);

	io_uring_prep_poll_multishot(sqe, from->fd, POLLIN | POLLRDHUP);
	sqe->user_data = uring_tag(from, TAG_MOVE, 0);
	from->flags |= S_ARMED | S_MULTISHOT | S_ARMED_POLL;
	from->inflight++;
}

/* Something came, or the end. */
void uring_on_move(struct uring_io *u, struct io_sock *from, const struct io_uring_cqe *cqe)
{
	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		from->inflight--;
		from->flags &= ~(uint32_t)(S_ARMED | S_MULTISHOT | S_CANCELLING | S_ARMED_POLL);
	}
	if (from->flags & S_CLOSING) {
		uring_settle(u, from);
		uring_report_done(u);
		return;
	}
	if (from->move_to) {
		if (cqe->res > 0 && (cqe->res & (POLLERR | POLLHUP)))
			from->flags |= S_MOVE_HUP;
		mover_due(u, from);
	}
	if (!(from->flags & S_ARMED))
		uring_dirty(u, from);
}

static void wait_for_room(struct uring_io *u, struct io_sock *to)
{
	struct io_uring_sqe *sqe;

	if (to->flags & S_ROOM)
		return;
	sqe = uring_sqe(u);
	io_uring_prep_poll_add(sqe, to->fd, POLLOUT);
	sqe->user_data = uring_tag(to, TAG_ROOM, 0);
	to->flags |= S_ROOM;
	to->inflight++;
}

/* ---- moving ---- */

/* Sends what is in to's pipe. False when it failed. */
static bool drain(struct uring_io *u, struct io_sock *to)
{
	int32_t n = pipe_drain(to->pipe, to->fd);

	if (n < 0) {
		uring_send_failed(u, to, n);
		return false;
	}
	stats_add(&u->io.stats->bytes_out, (uint64_t)n);
	to->moved += (uint32_t)n;
	if (n)
		uring_done(u, to);
	if (to->pipe->bytes) {
		wait_for_room(u, to);
		return true;
	}
	pipe_put(&u->io.pipes, to->pipe);
	to->pipe = NULL;
	return true;
}

void uring_on_room(struct uring_io *u, struct io_sock *to)
{
	to->inflight--;
	to->flags &= ~(uint32_t)S_ROOM;
	if (to->flags & S_CLOSE_NOW)
		uring_settle(u, to);
	else if (!to->pipe || drain(u, to))
		uring_sent_all(u, to);
	uring_report_done(u);
}

void uring_sent_all(struct uring_io *u, struct io_sock *to)
{
	if (to->pipe)
		return;
	if (to->out.head)
		uring_dirty(u, to);
	else if (to->mover)
		mover_due(u, to->mover);
	uring_settle(u, to);
}

static void move_refused(struct uring_io *u, struct io_sock *from)
{
	struct io_sock *to = from->move_to;

	stats_add(&u->io.stats->moves_refused, 1);
	uring_move_stop(&u->io, from);
	uring_deliver(u, to, IO_MOVE, -ENOBUFS, NULL);
}

/* Returns what from had, as pipe_fill does; -ENOBUFS when it cannot be moved. */
static int32_t take(struct uring_io *u, struct io_sock *from, struct io_sock *to, uint32_t max)
{
	struct pipe *pipe = pipe_get(&u->io.pipes);
	int32_t n;

	if (!pipe)
		return -ENOBUFS;
	n = pipe_fill(pipe, from->fd, max);
	if (n <= 0) {
		pipe_put(&u->io.pipes, pipe);
		return n == -EINVAL ? -ENOBUFS : n;
	}
	to->pipe = pipe;
	if (to != from)
		lowat_moved(&u->lowats, &from->lowat, from->fd, (uint32_t)n, u->io.now_ns);
	uring_answered(u, from);
	stats_add(&u->io.stats->bytes_in, (uint64_t)n);
	return n;
}

static bool takes(const struct io_sock *to)
{
	return !to->pipe && !to->out.head && !to->flight.head &&
	       !(to->flags & (S_TRYING | S_SENDING | S_SEND_FAILED | S_CLOSING));
}

/* Whether to take once more: bytes, or -EAGAIN, or -ENOBUFS in front of urgent data, where splicing
 * stops for good and says that there is nothing. (A poll request cannot tell: its completion names
 * whatever the wake-up might have been for.) */
static int32_t take_again(const struct io_sock *from)
{
	struct pollfd poll_fd = {.fd = from->fd, .events = POLLIN | POLLRDHUP | POLLPRI};

	if (poll(&poll_fd, 1, 0) <= 0)
		return -EAGAIN;
	return poll_fd.revents & POLLPRI ? -ENOBUFS : 1;
}

/* Returns as take does, of the last one. */
static int32_t take_all(struct uring_io *u, struct io_sock *from, uint32_t *budget)
{
	struct io_sock *to = from->move_to;
	bool looked = false;
	int32_t n = 1;

	while (*budget && from->move_to && takes(to)) {
		uint32_t asked = *budget;

		n = take(u, from, to, asked);
		if (n > 0) {
			*budget -= (uint32_t)n;
			if (!drain(u, to))
				return 1;
		} else if (n != -EAGAIN || looked) {
			return n;
		}
		if (n < (int32_t)asked) {
			n = take_again(from);
			if (n <= 0)
				return n;
			looked = true;
		}
	}
	return n;
}

static void move(struct uring_io *u, struct io_sock *from)
{
	uint32_t budget = MOVE_BYTES_PER_TURN;
	uint16_t gen = from->gen;
	int32_t n = take_all(u, from, &budget);

	if (n == -ENOBUFS)
		move_refused(u, from);
	else if (n <= 0 && n != -EAGAIN)
		uring_recv_ended(u, from, n);
	else if (from->move_to && !takes(from->move_to) && (from->flags & S_MOVE_HUP))
		uring_check_reset(u, from);
	uring_report_done(u);
	if (!budget && from->gen == gen && from->move_to)
		mover_due(u, from);
}

void uring_move_all(struct uring_io *u)
{
	struct lowat *lowat;
	struct io_sock *from;

	while ((lowat = lowat_paused(&u->lowats, u->io.now_ns)))
		mover_due(u, container_of(lowat, struct io_sock, lowat));
	/* Those that are due again from here on wait for the next turn. */
	u->move_turn++;
	while ((from = TAILQ_FIRST(&u->movers)) && from->move_turn != u->move_turn) {
		TAILQ_REMOVE(&u->movers, from, wait);
		from->flags &= ~(uint32_t)S_MOVE_DUE;
		/* What was under way when moving began comes first. */
		if ((from->flags & (S_ARMED | S_ARMED_POLL)) != S_ARMED)
			move(u, from);
	}
}
