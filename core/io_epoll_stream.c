/* SPDX-License-Identifier: MIT */
/*
 * The epoll backend's work on one socket: accept, connect, and streams. Everything is tried at
 * once, and waited for only after the kernel said that it would block.
 */
#include <errno.h>
#include <sys/socket.h>

#include "io_epoll_priv.h"
#include "util.h"

enum { IOV_BATCH = 64 };

/* ---- sending ---- */

static ssize_t sock_write(struct io_sock *sock)
{
	struct iovec iovs[IOV_BATCH];
	struct msghdr msg = {.msg_iov = iovs};

	if (!sock->out.head->next)
		return send(sock->fd, sock->out.head->data, sock->out.head->len, MSG_NOSIGNAL);
	for (struct buf *b = sock->out.head; b && msg.msg_iovlen < IOV_BATCH; b = b->next)
		iovs[msg.msg_iovlen++] = (struct iovec){.iov_base = b->data, .iov_len = b->len};
	return sendmsg(sock->fd, &msg, MSG_NOSIGNAL);
}

static void send_failed(struct epoll_io *e, struct io_sock *sock, int err)
{
	buf_queue_clear(&e->io.pool, &sock->out);
	pipe_put(&e->io.pipes, sock->pipe);
	sock->pipe = NULL;
	epoll_unlink_moves(e, sock);
	sock->flags |= S_SEND_FAILED;
	sock->err = err;
	epoll_done(e, sock);
}

/* Sends what the kernel takes, and does what waited for the queue to be empty. */
void epoll_flush(struct epoll_io *e, struct io_sock *sock)
{
	if (sock->pipe && (sock->flags & S_OUT)) {
		int err = epoll_drain_pipe(e, sock);

		if (err) {
			send_failed(e, sock, err);
			return;
		}
	}
	if (sock->pipe)
		return;
	while (sock->out.head && (sock->flags & S_OUT)) {
		ssize_t n = sock_write(sock);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN) {
				send_failed(e, sock, -errno);
				return;
			}
			n = 0;
		}
		if ((uint64_t)n < sock->out.bytes && (n == 0 || !sock->out.head->next))
			sock->flags &= ~(uint32_t)S_OUT;
		buf_queue_consume(&e->io.pool, &sock->out, (uint64_t)n);
		stats_add(&e->io.stats->bytes_out, (uint64_t)n);
		sock->sent += (uint32_t)n;
	}
	if (sock->sent)
		epoll_done(e, sock);
	if (sock->out.head) {
		buf_queue_pack_head(&e->io.pool, &sock->out);
		return;
	}
	if (sock->flags & S_SHUT) {
		sock->flags &= ~(uint32_t)S_SHUT;
		shutdown(sock->fd, SHUT_WR);
	}
	if (sock->flags & S_CLOSE_FLUSH)
		epoll_done(e, sock);
}

/* ---- receiving, accepting, connecting ---- */

bool epoll_wants_recv(const struct io_sock *sock)
{
	const uint32_t all = S_RECV | S_IN, none = S_RECV_ENDED | S_CLOSE_FLUSH | S_CLOSE_NOW;

	return (sock->flags & all) == all && !(sock->flags & none);
}

void epoll_recv_ended(struct epoll_io *e, struct io_sock *sock, int32_t res)
{
	sock->flags |= S_RECV_ENDED;
	epoll_move_stop(&e->io, sock);
	epoll_deliver(e, sock, IO_RECV, res, NULL);
}

/* Returns false when sock has nothing more to do this turn. */
static bool stream_recv_once(struct epoll_io *e, struct io_sock *sock, uint32_t *budget)
{
	struct buf *buf = epoll_take_buf(e, sock);
	ssize_t n;

	if (!buf)
		return false;
	n = recv(sock->fd, buf->data, MIN(buf_capacity(buf), *budget), 0);
	if (n <= 0) {
		int err = errno;

		buf_put(&e->io.pool, buf);
		if (n < 0 && err == EINTR)
			return true;
		if (n < 0 && err == EAGAIN)
			sock->flags &= ~(uint32_t)S_IN;
		else
			epoll_recv_ended(e, sock, n < 0 ? -err : 0);
		return false;
	}
	/* A short read has emptied the socket, unless its end or an error stands behind the data;
	 * epoll(7). */
	if ((size_t)n < MIN(buf_capacity(buf), *budget) && !(sock->flags & S_HUP))
		sock->flags &= ~(uint32_t)S_IN;
	buf->len = (uint32_t)n;
	*budget -= (uint32_t)n;
	epoll_answered(e, sock);
	stats_add(&e->io.stats->bytes_in, (uint64_t)n);
	epoll_deliver(e, sock, IO_RECV, (int32_t)n, buf);
	return true;
}

static void stream_recv(struct epoll_io *e, struct io_sock *sock)
{
	uint32_t budget = EPOLL_BYTES_PER_TURN, gen = sock->gen;

	while (sock->gen == gen && epoll_wants_recv(sock) && budget)
		if (!stream_recv_once(e, sock, &budget))
			break;
	if (sock->gen == gen && epoll_wants_recv(sock) && !(sock->flags & S_WAIT))
		epoll_run(e, sock);
}

static void listener_accept(struct epoll_io *e, struct io_sock *sock)
{
	uint32_t gen = sock->gen;

	for (int i = 0; i < EPOLL_ACCEPTS_PER_TURN && sock->gen == gen; i++) {
		int fd;

		if (!(sock->flags & (S_ACCEPT | S_ACCEPT_ONE)) || !(sock->flags & S_IN))
			return;
		fd = accept4(sock->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			int err = errno;

			if (err == EAGAIN) {
				sock->flags &= ~(uint32_t)S_IN;
				return;
			}
			/* It died in the backlog, or the network hiccupped; accept(2). */
			if (err == EINTR || err == ECONNABORTED || err == EPROTO ||
			    err == ENETDOWN || err == EHOSTUNREACH || err == ENETUNREACH)
				continue;
			sock->flags &= ~(uint32_t)(S_ACCEPT | S_ACCEPT_ONE);
			epoll_deliver(e, sock, IO_ACCEPT, -err, NULL);
			return;
		}
		sock->flags &= ~(uint32_t)S_ACCEPT_ONE;
		epoll_deliver(e, sock, IO_ACCEPT, fd, NULL);
	}
	if (sock->gen == gen && (sock->flags & S_IN) && (sock->flags & (S_ACCEPT | S_ACCEPT_ONE)))
		epoll_run(e, sock);
}

static void sock_connected(struct epoll_io *e, struct io_sock *sock)
{
	int err = sock->err;

	/* A datagram socket was connected at once: an error on it is about a datagram. */
	if (!err && sock->kind == IO_STREAM)
		err = net_error(sock->fd);
	sock->flags &= ~(uint32_t)S_CONNECT;
	sock->err = 0;
	epoll_deliver(e, sock, IO_CONNECT, err, NULL);
}

/* A stopped socket still tells that its peer has reset it. */
static void stream_check_reset(struct epoll_io *e, struct io_sock *sock)
{
	int err = net_error(sock->fd);

	if (err)
		epoll_recv_ended(e, sock, err);
}

static void stream_run(struct epoll_io *e, struct io_sock *sock)
{
	uint32_t gen = sock->gen;

	if (sock->out.head || sock->pipe)
		epoll_flush(e, sock);
	epoll_report_done(e);
	if (sock->gen != gen)
		return;
	if (sock->move_to)
		epoll_move(e, sock);
	else if (epoll_wants_recv(sock))
		stream_recv(e, sock);
	if (sock->gen == gen && (sock->flags & S_HUP) &&
	    !(sock->flags & (S_RECV | S_RECV_ENDED | S_CLOSING)))
		stream_check_reset(e, sock);
}

void epoll_run_sock(struct epoll_io *e, struct io_sock *sock)
{
	uint32_t gen = sock->gen;

	if (sock->flags & S_CONNECT) {
		if (!(sock->flags & S_OUT))
			return;
		sock_connected(e, sock);
		if (sock->gen != gen)
			return;
	}
	if (sock->kind == IO_LISTENER)
		listener_accept(e, sock);
	else if (sock->kind == IO_STREAM)
		stream_run(e, sock);
	else if (epoll_wants_recv(sock))
		epoll_dgram_recv(e, sock);
}
