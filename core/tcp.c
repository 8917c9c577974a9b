/* SPDX-License-Identifier: MIT */
/*
 * Owns the state of a connection between tcp_start and its last close event. Invariant:
 * side->queued is what the backend still has to send towards side, and the source of side is
 * stopped while that is above the mark.
 */
#include "tcp.h"

#include <assert.h>
#include <errno.h>

#include "util.h"

enum {
	/* Of the average receive: from here on moving a stream inside the kernel is cheaper than
	 * copying it, and no longer. */
	MOVE_ABOVE_BYTES = 24 << 10,
	MOVE_BELOW_BYTES = 8 << 10,
};

static struct conn *side_conn(struct conn_side *side)
{
	return side->flags & SIDE_UPSTREAM ? container_of(side, struct conn, upstream)
					   : container_of(side, struct conn, client);
}

/* Where the bytes of side go, and so too where those that side sends come from. */
static struct conn_side *side_other(struct conn *conn, struct conn_side *side)
{
	if (conn->mgr->conf->mode != CONN_RELAY)
		return side;
	return side == &conn->client ? &conn->upstream : &conn->client;
}

static void side_close(struct conn_mgr *mgr, struct conn_side *side, enum io_close how)
{
	if (side->sock)
		mgr->io->ops->close(mgr->io, side->sock, how);
}

static void conn_close(struct conn *conn, enum io_close how)
{
	conn->state = CONN_CLOSING;
	side_close(conn->mgr, &conn->client, how);
	side_close(conn->mgr, &conn->upstream, how);
}

void tcp_finish(struct conn *conn)
{
	conn_close(conn, IO_CLOSE_FLUSH);
}

void tcp_abort(struct conn *conn)
{
	conn->aborted = true;
	timer_stop(conn->mgr->wheel, &conn->timer);
	conn_close(conn, IO_CLOSE_RESET);
}

static void tcp_failed(struct conn *conn)
{
	stats_add(&conn->mgr->stats->err_conn_reset, 1);
	tcp_abort(conn);
}

/* ---- reaching an upstream ---- */

static void tcp_dial(struct conn *conn)
{
	struct conn_mgr *mgr = conn->mgr;
	struct io *io = mgr->io;

	if (conn->tries < mgr->conf->n_targets) {
		conn->upstream.sock = io->ops->dial(io, &mgr->conf->targets[conn->target],
						    &conn->upstream.handler);
		conn->tries++;
		if (conn->upstream.sock) {
			conn_timer_start(conn);
			return;
		}
	}
	stats_add(&mgr->stats->err_no_upstream, 1);
	tcp_abort(conn);
}

static void tcp_next_target(struct conn *conn)
{
	conn->target = (uint8_t)((conn->target + 1) % conn->mgr->conf->n_targets);
	tcp_dial(conn);
}

static void tcp_flow(struct conn *conn)
{
	struct io *io = conn->mgr->io;

	conn->state = CONN_FLOWING;
	conn_timer_start(conn);
	io->ops->recv_start(io, conn->client.sock);
	if (conn->upstream.sock)
		io->ops->recv_start(io, conn->upstream.sock);
}

void tcp_start(struct conn *conn)
{
	struct conn_mgr *mgr = conn->mgr;

	if (mgr->conf->mode != CONN_RELAY) {
		tcp_flow(conn);
		return;
	}
	conn->state = CONN_CONNECTING;
	conn->target = (uint8_t)(mgr->next_target++ % mgr->conf->n_targets);
	tcp_dial(conn);
}

static void tcp_connected(struct conn *conn, int32_t res)
{
	struct stats *stats = conn->mgr->stats;

	if (conn->state != CONN_CONNECTING)
		return;
	if (res == 0) {
		tcp_flow(conn);
		return;
	}
	if (res == -ECONNREFUSED)
		stats_add(&stats->err_connect_refused, 1);
	else if (res == -ETIMEDOUT)
		stats_add(&stats->err_connect_timeout, 1);
	else
		stats_add(&stats->err_connect_other, 1);
	if (res == -EMFILE || res == -ENFILE) {
		/* Another target would fail the same way. */
		conn->mgr->out_of_descriptors = true;
		conn->tries = (uint8_t)conn->mgr->conf->n_targets;
	}
	/* It could still fire before the attempt is gone, and count it twice. */
	timer_stop(conn->mgr->wheel, &conn->timer);
	side_close(conn->mgr, &conn->upstream, IO_CLOSE_NOW);
}

void tcp_connect_timeout(struct conn *conn)
{
	assert(conn->state == CONN_CONNECTING);
	tcp_connected(conn, -ETIMEDOUT);
}

/* ---- moving bytes ---- */

static uint32_t averaged(uint32_t usual_bytes, int32_t bytes)
{
	return usual_bytes - usual_bytes / 8 + (uint32_t)bytes / 8;
}

/* From here on side's bytes do not come up any more: that is cheaper where they come in large
 * pieces. */
static void move_start(struct conn *conn, struct conn_side *side)
{
	struct io *io = conn->mgr->io;

	side->flags |= SIDE_MOVING;
	side->flags &= ~(uint32_t)SIDE_STOPPED;
	stats_add(&conn->mgr->stats->moves_started, 1);
	io->ops->move_start(io, side->sock, side_other(conn, side)->sock);
}

static void move_stop(struct conn *conn, struct conn_side *side)
{
	uint32_t queued = side_other(conn, side)->queued;
	struct io *io = conn->mgr->io;

	side->flags &= ~(uint32_t)SIDE_MOVING;
	side->usual_bytes = 0;
	io->ops->move_stop(io, side->sock);
	if (queued && queued >= conn_queue_high(conn->mgr))
		side->flags |= SIDE_STOPPED;
	else
		io->ops->recv_start(io, side->sock);
}

void tcp_copy_again(struct conn *conn)
{
	if (conn->client.flags & SIDE_MOVING)
		move_stop(conn, &conn->client);
	if (conn->upstream.flags & SIDE_MOVING)
		move_stop(conn, &conn->upstream);
}

/* to is where the bytes went. */
static void tcp_moved(struct conn *conn, struct conn_side *to, int32_t res)
{
	struct conn_side *from = side_other(conn, to);

	if (conn->state == CONN_CLOSING || !(from->flags & SIDE_MOVING))
		return;
	if (res >= 0) {
		conn->active_ns = conn->mgr->io->now_ns;
		from->usual_bytes = averaged(from->usual_bytes, res);
	}
	if (res < 0 || from->usual_bytes < MOVE_BELOW_BYTES)
		move_stop(conn, from);
}

/* All that side had to say is here: pass the end on, or end the connection if the other way has
 * ended as well. */
static void tcp_ended(struct conn *conn, struct conn_side *side)
{
	struct conn_side *to = side_other(conn, side);

	side->flags |= SIDE_EOF;
	side->flags &= ~(uint32_t)SIDE_MOVING;
	if (to->flags & SIDE_EOF)
		tcp_finish(conn);
	else
		conn->mgr->io->ops->shutdown(conn->mgr->io, to->sock);
}

static void tcp_received(struct conn *conn, struct conn_side *side, const struct io_event *event)
{
	struct conn_mgr *mgr = conn->mgr;
	struct io *io = mgr->io;
	struct conn_side *to;

	if (conn->state == CONN_CLOSING) {
		io->ops->recycle(io, event->buf);
		return;
	}
	if (event->res < 0) {
		tcp_failed(conn);
		return;
	}
	conn->active_ns = mgr->io->now_ns;
	if (event->res == 0) {
		tcp_ended(conn, side);
		return;
	}
	if (mgr->conf->mode == CONN_DISCARD) {
		io->ops->recycle(io, event->buf);
		return;
	}
	to = side_other(conn, side);
	to->queued += (uint32_t)event->res;
	io->ops->send(io, to->sock, event->buf);
	if (side->flags & SIDE_MOVING)
		return;
	side->usual_bytes = averaged(side->usual_bytes, event->res);
	if (side->usual_bytes >= MOVE_ABOVE_BYTES && !mgr->draining)
		move_start(conn, side);
	else if (to->queued >= conn_queue_high(mgr) && !(side->flags & SIDE_STOPPED)) {
		side->flags |= SIDE_STOPPED;
		io->ops->recv_stop(io, side->sock);
	}
}

static void tcp_sent(struct conn *conn, struct conn_side *side, int32_t res)
{
	struct conn_mgr *mgr = conn->mgr;
	struct conn_side *from;

	if (res < 0) {
		if (conn->state != CONN_CLOSING)
			tcp_failed(conn);
		return;
	}
	assert(side->queued >= (uint32_t)res);
	side->queued -= (uint32_t)res;
	conn->active_ns = mgr->io->now_ns;
	from = side_other(conn, side);
	if (!(from->flags & SIDE_STOPPED) || conn->state == CONN_CLOSING)
		return;
	if (side->queued <= conn_queue_high(mgr) / 2) {
		from->flags &= ~(uint32_t)SIDE_STOPPED;
		mgr->io->ops->recv_start(mgr->io, from->sock);
	}
}

static void tcp_closed(struct conn *conn, struct conn_side *side, int32_t res)
{
	side->sock = NULL;
	if (side == &conn->upstream && conn->state == CONN_CONNECTING) {
		tcp_next_target(conn);
		return;
	}
	if (res < 0)
		tcp_failed(conn);
	if (!conn->client.sock && !conn->upstream.sock)
		conn_free(conn);
}

void tcp_event(struct io_handler *handler, const struct io_event *event)
{
	struct conn_side *side = container_of(handler, struct conn_side, handler);
	struct conn *conn = side_conn(side);

	switch (event->op) {
	case IO_RECV:
		tcp_received(conn, side, event);
		break;
	case IO_SEND:
		tcp_sent(conn, side, event->res);
		break;
	case IO_MOVE:
		tcp_moved(conn, side, event->res);
		break;
	case IO_CONNECT:
		tcp_connected(conn, event->res);
		break;
	case IO_CLOSE:
		tcp_closed(conn, side, event->res);
		break;
	case IO_ACCEPT:
		assert(!"a stream does not accept");
	}
}
