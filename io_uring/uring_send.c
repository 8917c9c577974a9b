/* SPDX-License-Identifier: MIT */
/*
 * Sending to streams, and the ways a socket ends. Invariant: flight is what the kernel was given,
 * out what waits behind it; at most one send of a socket is in the kernel.
 */
#include <errno.h>
#include <sys/socket.h>

#include "io_uring/uring_compat.h"
#include "io_uring/uring_priv.h"

/* ---- submitting ---- */

/* At most URING_IOV_MAX buffers, so that one message header takes them. */
static void flight_fill(struct io_sock *sock)
{
	for (int n = 0; sock->out.head && n < URING_IOV_MAX; n++) {
		struct buf *buf = sock->out.head;

		sock->out.head = buf->next;
		sock->out.bytes -= buf->len;
		buf_queue_push(&sock->flight, buf);
	}
	if (!sock->out.head)
		sock->out.tail = NULL;
}

static struct msghdr *gather(struct uring_io *u, struct buf *buf)
{
	struct msghdr *msg = uring_scratch(u, sizeof(*msg) + URING_IOV_MAX * sizeof(struct iovec));
	struct iovec *iov = (struct iovec *)(msg + 1);

	*msg = (struct msghdr){.msg_iov = iov};
	for (; buf; buf = buf->next)
		iov[msg->msg_iovlen++] = (struct iovec){.iov_base = buf->data, .iov_len = buf->len};
	return msg;
}

enum send_how {
	SEND_TRY,  /* all at once, silently, or fail */
	SEND_WAIT, /* what fits as soon as something does */
	SEND_FULL, /* likewise; the socket is known to be full now */
};

/* MSG_WAITALL makes a short send an error: only so may a success be silent. One that waits tells of
 * each part, so that its owner sees a slow reader make progress. */
static void submit_flight(struct uring_io *u, struct io_sock *sock, enum send_how how)
{
	struct msghdr *msg = sock->flight.head->next ? gather(u, sock->flight.head) : NULL;
	struct io_uring_sqe *sqe = uring_sqe(u);
	int flags = MSG_NOSIGNAL | (how == SEND_TRY ? MSG_WAITALL | MSG_DONTWAIT : 0);

	if (msg)
		io_uring_prep_sendmsg(sqe, sock->fd, msg, (unsigned)flags);
	else
		io_uring_prep_send(sqe, sock->fd, sock->flight.head->data, sock->flight.head->len,
				   flags);
	uring_file_use(u, sock, sqe);
	if (how != SEND_TRY) {
		if (how == SEND_FULL)
			sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
		sqe->user_data = uring_tag(sock, TAG_SEND, 0);
		sock->flags |= S_SENDING;
		sock->inflight++;
		return;
	}
	sqe->user_data = uring_tag(sock, TAG_TRY, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	sock->flags |= S_TRYING;
	sock->next_try = NULL;
	*u->tries_tail = sock;
	u->tries_tail = &sock->next_try;
	if (sock->out.head || sock->mover || (sock->flags & (S_SHUT | S_CLOSING)))
		u->eager = true;
}

void uring_flush(struct uring_io *u, struct io_sock *sock)
{
	if (sock->kind == IO_DGRAM) {
		uring_dgram_flush(u, sock);
		return;
	}
	if (!sock->out.head || sock->pipe ||
	    (sock->flags & (S_TRYING | S_SENDING | S_SEND_FAILED | S_CLOSE_NOW)))
		return;
	flight_fill(sock);
	submit_flight(u, sock, u->features & URING_SKIP_SENT ? SEND_TRY : SEND_WAIT);
}

/* ---- outcomes ---- */

void uring_send_failed(struct uring_io *u, struct io_sock *sock, int err)
{
	buf_queue_clear(&u->io.pool, &sock->flight);
	buf_queue_clear(&u->io.pool, &sock->out);
	pipe_put(&u->io.pipes, sock->pipe);
	sock->pipe = NULL;
	uring_unlink_moves(u, sock);
	sock->flags |= S_SEND_FAILED;
	sock->err = err;
	uring_done(u, sock);
	uring_settle(u, sock);
}

static void send_progress(struct uring_io *u, struct io_sock *sock, uint64_t bytes)
{
	buf_queue_consume(&u->io.pool, &sock->flight, bytes);
	stats_add(&u->io.stats->bytes_out, bytes);
	sock->sent += (uint32_t)bytes;
	if (bytes)
		uring_done(u, sock);
}

/* What is left of a flight goes on in the kernel until all of it is sent. */
static void send_rest(struct uring_io *u, struct io_sock *sock)
{
	if (sock->flags & S_CLOSE_NOW) {
		uring_settle(u, sock);
		return;
	}
	if (sock->flight.head) {
		buf_queue_pack_head(&u->io.pool, &sock->flight);
		submit_flight(u, sock, SEND_FULL);
		return;
	}
	uring_sent_all(u, sock);
}

void uring_on_send(struct uring_io *u, struct io_sock *sock, const struct io_uring_cqe *cqe)
{
	sock->inflight--;
	sock->flags &= ~(uint32_t)S_SENDING;
	if (cqe->res >= 0)
		send_progress(u, sock, (uint64_t)cqe->res);
	if (cqe->res >= 0 || cqe->res == -EINTR || cqe->res == -EAGAIN ||
	    (sock->flags & S_CLOSE_NOW))
		send_rest(u, sock);
	else
		uring_send_failed(u, sock, cqe->res);
	uring_report_done(u);
}

void uring_on_try(struct uring_io *u, struct io_sock *sock, int32_t res)
{
	(void)u;
	sock->flags |= S_TRY_FAILED;
	sock->try_res = res;
}

static void resolve_try(struct uring_io *u, struct io_sock *sock)
{
	bool failed = sock->flags & S_TRY_FAILED;
	int32_t res = sock->try_res;

	sock->flags &= ~(uint32_t)(S_TRYING | S_TRY_FAILED);
	if (!failed) {
		send_progress(u, sock, sock->flight.bytes);
	} else if (res >= 0) {
		send_progress(u, sock, (uint64_t)res);
	} else if (res != -EAGAIN && res != -EINTR && !(sock->flags & S_CLOSE_NOW)) {
		uring_send_failed(u, sock, res);
		return;
	}
	send_rest(u, sock);
}

void uring_resolve_tries(struct uring_io *u)
{
	struct io_sock *list = u->tries;

	u->tries = NULL;
	u->tries_tail = &u->tries;
	while (list) {
		struct io_sock *sock = list;

		list = sock->next_try;
		resolve_try(u, sock);
	}
}

/* ---- starters ---- */

void uring_send(struct io *io, struct io_sock *sock, struct buf *chain)
{
	struct uring_io *u = uring_of(io);

	if (sock->flags & S_SEND_FAILED) {
		buf_put_chain(&io->pool, chain);
		return;
	}
	while (chain) {
		struct buf *next = chain->next;

		if (sock->kind == IO_STREAM && (sock->flight.head || sock->pipe))
			buf_queue_push_packed(&io->pool, &sock->out, chain);
		else
			buf_queue_push(&sock->out, chain);
		chain = next;
	}
	uring_dirty(u, sock);
}

void uring_shutdown(struct io *io, struct io_sock *sock)
{
	sock->flags |= S_SHUT;
	uring_settle(uring_of(io), sock);
}

void uring_settle(struct uring_io *u, struct io_sock *sock)
{
	bool busy = sock->out.head || sock->flight.head || sock->pipe ||
		    (sock->flags & (S_TRYING | S_SENDING));

	if ((sock->flags & S_SHUT) && !busy) {
		sock->flags &= ~(uint32_t)S_SHUT;
		/* IORING_OP_SHUTDOWN would go to a worker thread. */
		shutdown(sock->fd, SHUT_WR);
	}
	if (!(sock->flags & S_CLOSING) || (busy && !(sock->flags & S_CLOSE_NOW)))
		return;
	if (!sock->inflight) {
		uring_done(u, sock);
		return;
	}
	/* A request holds its file: closing the descriptor alone would leave the socket open. */
	if (!(sock->flags & S_CANCELLED_ALL)) {
		struct io_uring_sqe *sqe = uring_sqe(u);

		sock->flags |= S_CANCELLED_ALL;
		io_uring_prep_cancel_fd(sqe, sock->fd, IORING_ASYNC_CANCEL_ALL);
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
		sqe->user_data = TAG_CANCEL;
	}
}

void uring_close(struct io *io, struct io_sock *sock, enum io_close how)
{
	struct uring_io *u = uring_of(io);

	if (how == IO_CLOSE_RESET && sock->fd >= 0)
		net_linger_reset(sock->fd);
	uring_unlink_moves(u, sock);
	uring_group_unwait(u, sock);
	uring_hold(u, sock, false);
	uring_stop_watch_end(u, sock);
	if (sock->kind == IO_DGRAM && sock->out.head) {
		uring_dgram_flush(u, sock);
		uring_submit(u);
	}
	sock->flags |= how == IO_CLOSE_FLUSH ? S_CLOSE_FLUSH : S_CLOSE_NOW;
	sock->flags &= ~(uint32_t)(S_RECV | S_ACCEPT | S_ACCEPT_ONE | S_CONNECT);
	if (how != IO_CLOSE_FLUSH)
		buf_queue_clear(&io->pool, &sock->out);
	u->eager = true;
	uring_settle(u, sock);
}
