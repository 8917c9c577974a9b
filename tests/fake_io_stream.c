/* SPDX-License-Identifier: MIT */
/* Owns the fake backend's streams: the pipes between a socket and its other end, listeners and
 * dials. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "fake_io_priv.h"

/* ---- pipes ---- */

size_t fake_pipe_room(const struct fake_pipe *pipe)
{
	return pipe->window > pipe->len ? pipe->window - pipe->len : 0;
}

void fake_pipe_put(struct fake_pipe *pipe, const void *data, size_t len)
{
	if (pipe->at + pipe->len + len > pipe->size) {
		if (pipe->len)
			memmove(pipe->bytes, pipe->bytes + pipe->at, pipe->len);
		pipe->at = 0;
		pipe->size = MAX(pipe->size, 2 * (pipe->len + len));
		pipe->bytes = realloc(pipe->bytes, pipe->size);
		assert(pipe->bytes);
	}
	memcpy(pipe->bytes + pipe->at + pipe->len, data, len);
	pipe->len += len;
}

void fake_pipe_get(struct fake_pipe *pipe, void *out, size_t len)
{
	assert(len <= pipe->len);
	if (!len)
		return;
	if (out)
		memcpy(out, pipe->bytes + pipe->at, len);
	pipe->at += len;
	pipe->len -= len;
	if (!pipe->len)
		pipe->at = 0;
}

/* ---- the other end ---- */

struct fake_peer *fake_peer_new(struct fake_io *f)
{
	struct fake_peer *peer = fake_alloc(sizeof(*peer));

	peer->f = f;
	peer->in.window = peer->out.window = f->conf.window_bytes;
	peer->reset_at = UINT64_MAX;
	SLIST_INSERT_HEAD(&f->peers, peer, all);
	return peer;
}

void fake_peer_free(struct fake_peer *peer)
{
	free(peer->in.bytes);
	free(peer->out.bytes);
	free(peer);
}

struct fake_peer *fake_pair(struct io *io, int *ret_fd)
{
	struct fake_peer *peer = fake_peer_new(fake_io_of(io));

	*ret_fd = fake_fd_new(fake_io_of(io), &(struct fake_fd){.stream = peer});
	return peer;
}

void fake_pipe_drop(struct fake_pipe *pipe)
{
	free(pipe->bytes);
	*pipe = (struct fake_pipe){.window = pipe->window, .fin = pipe->fin};
}

ssize_t fake_peer_write(struct fake_peer *peer, const void *data, size_t len)
{
	size_t n = MIN(len, fake_pipe_room(&peer->in));

	assert(!peer->peer_gone);
	if (peer->sock_gone || peer->sock_err || peer->in.fin)
		return -EPIPE;
	if (!n)
		return -EAGAIN;
	fake_pipe_put(&peer->in, data, n);
	return (ssize_t)n;
}

ssize_t fake_peer_read(struct fake_peer *peer, void *out, size_t size)
{
	size_t n = MIN(size, peer->out.len);

	assert(!peer->peer_gone);
	if (n) {
		fake_pipe_get(&peer->out, out, n);
		return (ssize_t)n;
	}
	if (peer->peer_reset)
		return -ECONNRESET;
	return peer->out.fin ? 0 : -EAGAIN;
}

void fake_peer_shutdown(struct fake_peer *peer)
{
	peer->in.fin = true;
}

void fake_peer_close(struct fake_peer *peer)
{
	peer->in.fin = peer->peer_gone = true;
	/* What it has not read makes a kernel reset at once; RFC 1122 section 4.2.2.13. */
	if (peer->out.len)
		fake_peer_reset(peer);
}

void fake_peer_reset(struct fake_peer *peer)
{
	if (peer->sock_err || peer->sock_gone)
		return;
	peer->sock_err = -ECONNRESET;
	peer->reset_ns = peer->f->io.now_ns;
	/* A kernel keeps what the socket has not read yet, or does not. */
	peer->in.len = fake_below(peer->f, peer->in.len + 1);
	fake_pipe_drop(&peer->out);
}

void fake_peer_reset_at(struct fake_peer *peer, uint64_t bytes)
{
	peer->reset_at = bytes;
	if (peer->received >= bytes)
		fake_peer_reset(peer);
}

void fake_peer_window(struct fake_peer *peer, uint32_t bytes)
{
	peer->out.window = bytes;
}

void fake_stream_closed(struct fake_peer *peer, bool reset)
{
	peer->sock = NULL;
	peer->sock_gone = true;
	if (reset || peer->in.len || peer->sock_err)
		peer->peer_reset = true;
	peer->out.fin = true;
	fake_pipe_drop(&peer->in);
}

/* ---- the socket ---- */

static bool must_report(const struct io_sock *sock)
{
	const uint32_t waits = F_SHUT | F_CLOSE_FLUSH | F_REPORT;

	return !sock->f->conf.sends_reported_late || sock->f->stopped_n || sock->out.head ||
	       (sock->flags & waits);
}

static uint32_t recv_due(const struct io_sock *sock)
{
	const struct fake_peer *peer = sock->stream;

	if (sock->flags & F_RECV_ENDED)
		return 0;
	if (fake_wants_recv(sock)) {
		bool any = sock->flags & F_RECV;

		if (peer->in.len && (any || sock->overshoot))
			return DUE_RECV;
		if (peer->in.fin && !peer->in.len && (any || (sock->flags & F_OVERSHOOT_END)))
			return DUE_RECV;
		if (peer->sock_err && any)
			return DUE_RECV;
	}
	if (fake_move_due(sock))
		return DUE_MOVE;
	if (peer->sock_err && !(sock->flags & F_RECV) &&
	    sock->f->io.now_ns >= peer->reset_ns + sock->notice_ns)
		return DUE_RESET;
	return 0;
}

uint32_t fake_stream_due(const struct io_sock *sock)
{
	bool closing = sock->flags & F_CLOSE_FLUSH, waits;
	uint32_t due = 0;

	if (sock->flags & F_CONNECT)
		return !(sock->flags & F_SILENT) && sock->f->io.now_ns >= sock->due_ns ? DUE_CONNECT
										       : 0;
	if (!sock->stream)
		return closing ? DUE_CLOSE : 0;
	waits = sock->out.head || sock->pipe.len;
	if (waits && (fake_pipe_room(&sock->stream->out) || sock->stream->peer_gone ||
		      sock->stream->sock_err))
		due |= DUE_FLUSH;
	if ((sock->flags & F_SHUT) && !waits && !sock->stream->out.fin)
		due |= DUE_FLUSH;
	if (((sock->flags & F_SEND_FAILED) && sock->err && !closing) ||
	    (sock->sent && must_report(sock)) || (sock->moved && !closing))
		due |= DUE_REPORT;
	if (closing)
		return due || waits ? due : DUE_CLOSE;
	return due | recv_due(sock);
}

static void send_failed(struct io_sock *sock)
{
	buf_queue_clear(&sock->f->io.pool, &sock->out);
	fake_move_drop(sock);
	fake_move_unlink(sock);
	sock->flags |= F_SEND_FAILED;
	sock->err = sock->stream->sock_err ? sock->stream->sock_err : -EPIPE;
}

void fake_stream_flush(struct io_sock *sock)
{
	struct fake_io *f = sock->f;
	struct fake_peer *peer = sock->stream;
	uint64_t left = 1 + fake_below(f, f->conf.chunk_max);

	if (peer->peer_gone && (sock->out.head || sock->pipe.len))
		fake_peer_reset(peer);
	if (peer->sock_err && (sock->out.head || sock->pipe.len)) {
		send_failed(sock);
		return;
	}
	if (sock->pipe.len) {
		fake_move_flush(sock, left);
		return;
	}
	left = MIN(left, MIN(sock->out.bytes, fake_pipe_room(&peer->out)));
	if (must_report(sock))
		sock->flags |= F_REPORT;
	sock->sent += (uint32_t)left;
	stats_add(&f->io.stats->bytes_out, left);
	while (sock->out.head) {
		struct buf *head = sock->out.head;
		uint32_t n = (uint32_t)MIN(left, head->len);

		fake_pipe_put(&peer->out, head->data, n);
		buf_queue_consume(&f->io.pool, &sock->out, n);
		left -= n;
		if (sock->out.head == head || !left)
			break;
	}
	if ((sock->flags & F_SHUT) && !sock->out.head)
		peer->out.fin = true;
}

void fake_stream_ended(struct io_sock *sock, int32_t res)
{
	sock->flags |= F_RECV_ENDED;
	fake_unstop(sock);
	fake_move_unlink_from(sock);
	fake_deliver(sock, IO_RECV, res, NULL);
}

void fake_stream_took(struct io_sock *sock, size_t len)
{
	struct fake_peer *peer = sock->stream;

	sock->turn_bytes += (uint32_t)len;
	peer->received += len;
	stats_add(&sock->f->io.stats->bytes_in, len);
	if (peer->received >= peer->reset_at)
		fake_peer_reset(peer);
}

static void stream_recv(struct io_sock *sock)
{
	struct fake_io *f = sock->f;
	struct fake_peer *peer = sock->stream;
	size_t len = 1 + fake_below(f, f->conf.chunk_max);
	struct buf *buf;

	if (fake_chance(f, f->conf.whole_percent))
		len = f->conf.chunk_max;
	if (!peer->in.len) {
		fake_stream_ended(sock, peer->sock_err);
		return;
	}
	len = MIN(len, peer->in.len);
	len = MIN(len, (size_t)IO_BYTES_PER_TURN - sock->turn_bytes);
	len = MIN(len, MAX(peer->reset_at - peer->received, 1));
	if (!(sock->flags & F_RECV))
		len = MIN(len, sock->overshoot);
	buf = fake_take_buf(sock, len, false);
	if (!buf)
		return;
	len = MIN(len, buf_capacity(buf));
	if (!(sock->flags & F_RECV))
		sock->overshoot -= len;
	fake_pipe_get(&peer->in, buf->data, len);
	buf->len = (uint32_t)len;
	fake_stream_took(sock, len);
	fake_deliver(sock, IO_RECV, (int32_t)len, buf);
}

static void stream_report(struct io_sock *sock)
{
	int err = sock->err;

	if (sock->moved && !sock->sent && !(sock->flags & F_CLOSING)) {
		int32_t moved = (int32_t)sock->moved;

		sock->moved = 0;
		fake_deliver(sock, IO_MOVE, moved, NULL);
		return;
	}
	if (!(sock->flags & F_SEND_FAILED) || !err || (sock->flags & F_CLOSING)) {
		int32_t sent = (int32_t)sock->sent;

		sock->sent = 0;
		sock->flags &= ~(uint32_t)F_REPORT;
		fake_deliver(sock, IO_SEND, sent, NULL);
		return;
	}
	sock->err = 0;
	fake_deliver(sock, IO_SEND, err, NULL);
}

void fake_stream_do(struct io_sock *sock, uint32_t due)
{
	if (due == DUE_FLUSH)
		fake_stream_flush(sock);
	else if (due == DUE_REPORT)
		stream_report(sock);
	else if (due == DUE_MOVE)
		fake_move(sock);
	else if (due == DUE_RESET)
		fake_stream_ended(sock, sock->stream->sock_err);
	else
		stream_recv(sock);
}

void fake_stream_send(struct io_sock *sock, struct buf *chain)
{
	struct buf_pool *pool = &sock->f->io.pool;

	while (chain) {
		struct buf *next = chain->next;

		if (sock->flags & F_SEND_FAILED)
			buf_put(pool, chain);
		else
			buf_queue_push_packed(pool, &sock->out, chain);
		chain = next;
	}
}

/* ---- listeners and dials ---- */

bool fake_addr_equal(const struct addr *a, const struct addr *b)
{
	if (a->kind != b->kind || a->len != b->len)
		return false;
	return !memcmp(&a->sa, &b->sa, a->len);
}

int fake_listen(struct io *io, const struct addr *addr, uint32_t backlog)
{
	struct fake_io *f = fake_io_of(io);
	struct fake_listener *listener = fake_alloc(sizeof(*listener));

	listener->addr = *addr;
	listener->backlog_max = backlog;
	TAILQ_INIT(&listener->backlog);
	SLIST_INSERT_HEAD(&f->listeners, listener, all);
	return fake_fd_new(f, &(struct fake_fd){.listener = listener});
}

struct fake_peer *fake_connect(struct io *io, const struct addr *addr)
{
	struct fake_io *f = fake_io_of(io);
	struct fake_listener *listener;

	SLIST_FOREACH(listener, &f->listeners, all) {
		struct fake_peer *peer;

		if (listener->closed || !fake_addr_equal(&listener->addr, addr))
			continue;
		if (listener->backlog_n == listener->backlog_max)
			return NULL;
		peer = fake_peer_new(f);
		TAILQ_INSERT_TAIL(&listener->backlog, peer, queue);
		listener->backlog_n++;
		return peer;
	}
	return NULL;
}

void fake_fds_gone(struct io *io, int err)
{
	fake_io_of(io)->fds_err = err;
}

void fake_listener_closed(struct fake_listener *listener)
{
	struct fake_peer *peer;

	listener->closed = true;
	TAILQ_FOREACH(peer, &listener->backlog, queue)
		fake_stream_closed(peer, true);
	TAILQ_INIT(&listener->backlog);
}

uint32_t fake_listener_due(const struct io_sock *sock)
{
	if (!TAILQ_FIRST(&sock->listener->backlog))
		return 0;
	return (sock->flags & (F_ACCEPT | F_ACCEPT_ONE)) || sock->overshoot ? DUE_ACCEPT : 0;
}

void fake_listener_accept(struct io_sock *sock)
{
	struct fake_io *f = sock->f;
	struct fake_peer *peer = TAILQ_FIRST(&sock->listener->backlog);

	if (f->fds_err) {
		sock->flags &= ~(uint32_t)(F_ACCEPT | F_ACCEPT_ONE);
		sock->overshoot = 0;
		fake_deliver(sock, IO_ACCEPT, f->fds_err, NULL);
		return;
	}
	if (!(sock->flags & (F_ACCEPT | F_ACCEPT_ONE)))
		sock->overshoot--;
	sock->flags &= ~(uint32_t)F_ACCEPT_ONE;
	TAILQ_REMOVE(&sock->listener->backlog, peer, queue);
	sock->listener->backlog_n--;
	fake_deliver(sock, IO_ACCEPT, fake_fd_new(f, &(struct fake_fd){.stream = peer}), NULL);
}

static struct fake_plan *plan_get(struct fake_io *f, const struct addr *addr)
{
	struct fake_plan *plan;

	SLIST_FOREACH(plan, &f->plans, all)
		if (fake_addr_equal(&plan->addr, addr))
			return plan;
	return NULL;
}

void fake_dial_plan(struct io *io, const struct addr *addr, enum fake_answer answer, int err,
		    int64_t delay_ns)
{
	struct fake_io *f = fake_io_of(io);
	struct fake_plan *plan = plan_get(f, addr);

	if (!plan) {
		plan = fake_alloc(sizeof(*plan));
		plan->addr = *addr;
		TAILQ_INIT(&plan->dialled);
		SLIST_INSERT_HEAD(&f->plans, plan, all);
	}
	plan->answer = answer;
	plan->err = err;
	plan->delay_ns = delay_ns;
}

struct fake_peer *fake_dialled(struct io *io, const struct addr *addr)
{
	struct fake_plan *plan = plan_get(fake_io_of(io), addr);
	struct fake_peer *peer = plan ? TAILQ_FIRST(&plan->dialled) : NULL;

	if (peer)
		TAILQ_REMOVE(&plan->dialled, peer, queue);
	return peer;
}

void fake_stream_dial(struct io_sock *sock, const struct addr *addr)
{
	struct fake_io *f = sock->f;
	struct fake_plan *plan = plan_get(f, addr);

	sock->due_ns = f->io.now_ns + (plan ? plan->delay_ns : 0);
	if (f->fds_err) {
		sock->err = f->fds_err;
		return;
	}
	if (plan && plan->answer == FAKE_SILENT)
		sock->flags |= F_SILENT;
	if (!plan || plan->answer != FAKE_ACCEPT) {
		sock->err = plan && plan->answer == FAKE_REFUSE ? plan->err : -ECONNREFUSED;
		return;
	}
	/* The other end is there before the owner is told. */
	sock->stream = fake_peer_new(f);
	sock->stream->sock = sock;
	sock->fd = fake_fd_new(f, &(struct fake_fd){.stream = sock->stream, .attached = true});
	TAILQ_INSERT_TAIL(&plan->dialled, sock->stream, queue);
}
