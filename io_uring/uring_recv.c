/* SPDX-License-Identifier: MIT */
/*
 * Accepting, connecting, and receiving from streams.
 *
 * A stream starts with a multishot receive into small buffers: no request per message. One that
 * fills them is bulk: it receives large buffers, BULK_BYTES at a time (before Linux 6.17 one at a
 * time), so that what it holds is bounded and stays in cache, and goes back when they are hardly
 * used.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "io_uring/uring_compat.h"
#include "io_uring/uring_priv.h"

enum {
	BULK_AFTER = 2, /* full small buffers in a row */
	BULK_BYTES = 256 << 10,
	THIN_AFTER = 16, /* receives in a row of at most THIN_BYTES */
	THIN_BYTES = BUF_SMALL_BYTES / 2,
};

/* ---- accepting and connecting ---- */

static void arm_accept(struct uring_io *u, struct io_sock *sock)
{
	struct io_uring_sqe *sqe = uring_sqe(u);
	const int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;

	if (sock->flags & S_ACCEPT) {
		io_uring_prep_multishot_accept(sqe, sock->fd, NULL, NULL, flags);
		sock->flags |= S_MULTISHOT;
	} else {
		io_uring_prep_accept(sqe, sock->fd, NULL, NULL, flags);
	}
	sqe->user_data = uring_tag(sock, TAG_ACCEPT, 0);
	sock->flags |= S_ARMED;
	sock->inflight++;
}

static bool is_transient(int err)
{
	/* The connection died in the backlog, or the network hiccupped; accept(2). */
	return err == -EINTR || err == -EAGAIN || err == -ECONNABORTED || err == -EPROTO ||
	       err == -ENETDOWN || err == -EHOSTUNREACH || err == -ENETUNREACH;
}

static void end_request(struct io_sock *sock, const struct io_uring_cqe *cqe)
{
	if (cqe->flags & IORING_CQE_F_MORE)
		return;
	sock->inflight--;
	sock->flags &= ~(uint32_t)(S_ARMED | S_MULTISHOT | S_CANCELLING);
}

void uring_on_accept(struct uring_io *u, struct io_sock *sock, const struct io_uring_cqe *cqe)
{
	uint16_t gen = sock->gen;

	end_request(sock, cqe);
	if (sock->flags & S_CLOSING) {
		if (cqe->res >= 0)
			close(cqe->res);
		uring_settle(u, sock);
		uring_report_done(u);
		return;
	}
	if (cqe->res >= 0) {
		sock->flags &= ~(uint32_t)S_ACCEPT_ONE;
		uring_deliver(u, sock, IO_ACCEPT, cqe->res, NULL);
	} else if (cqe->res != -ECANCELED && !is_transient(cqe->res)) {
		sock->flags &= ~(uint32_t)(S_ACCEPT | S_ACCEPT_ONE);
		uring_deliver(u, sock, IO_ACCEPT, cqe->res, NULL);
	}
	if (sock->gen == gen && !(sock->flags & (S_ARMED | S_CLOSING)))
		uring_dirty(u, sock);
}

void uring_accept_start(struct io *io, struct io_sock *sock, bool many)
{
	sock->flags |= many ? S_ACCEPT : S_ACCEPT_ONE;
	uring_dirty(uring_of(io), sock);
}

void uring_accept_stop(struct io *io, struct io_sock *sock)
{
	struct uring_io *u = uring_of(io);

	sock->flags &= ~(uint32_t)(S_ACCEPT | S_ACCEPT_ONE);
	if ((sock->flags & S_ARMED) && !(sock->flags & S_CANCELLING)) {
		sock->flags |= S_CANCELLING;
		uring_cancel(u, sock, TAG_ACCEPT);
	}
}

void uring_on_connect(struct uring_io *u, struct io_sock *sock, const struct io_uring_cqe *cqe)
{
	sock->inflight--;
	if (sock->flags & S_CLOSING) {
		uring_settle(u, sock);
		uring_report_done(u);
		return;
	}
	uring_stop_watch_start(u, sock);
	uring_deliver(u, sock, IO_CONNECT, cqe->res, NULL);
}

/* ---- receiving ---- */

/*
 * A local stream does not repeat. On Linux 6.18 a repeating receive with POLL_FIRST that found data
 * and end together on such a socket was seen to wait for ever; whether leaving POLL_FIRST out is
 * enough in every case is not known.
 */
static void arm_stream(struct uring_io *u, struct io_sock *sock)
{
	bool bulk = (sock->flags & S_BULK) && !buf_pool_is_short(&u->io.pool) &&
		    !uring_group_open(u, GROUP_LARGE);
	bool limited = bulk && (u->features & URING_RECV_LIMIT);
	struct io_uring_sqe *sqe = uring_sqe(u);

	sock->group = bulk ? GROUP_LARGE : GROUP_SMALL;
	if ((sock->flags & S_UNIX) || (bulk && !limited)) {
		io_uring_prep_recv(sqe, sock->fd, NULL, 0, 0);
		if (!(sock->flags & S_NONEMPTY))
			sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	} else {
		io_uring_prep_recv_multishot(sqe, sock->fd, NULL, 0, 0);
		sock->flags |= S_MULTISHOT;
		if (limited)
			uring_set_recv_limit(sqe, BULK_BYTES);
	}
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = sock->group;
	sqe->user_data = uring_tag(sock, TAG_RECV, 0);
	sock->flags |= S_ARMED;
	sock->inflight++;
}

void uring_arm(struct uring_io *u, struct io_sock *sock)
{
	if (sock->flags & (S_ARMED | S_WAIT | S_CLOSING))
		return;
	if (sock->kind == IO_LISTENER) {
		if (sock->flags & (S_ACCEPT | S_ACCEPT_ONE))
			arm_accept(u, sock);
	} else if (sock->move_to) {
		uring_move_arm(u, sock);
	} else if ((sock->flags & (S_RECV | S_RECV_ENDED)) == S_RECV) {
		if (sock->kind == IO_DGRAM)
			uring_dgram_arm(u, sock);
		else
			arm_stream(u, sock);
	}
}

void uring_cancel_recv(struct uring_io *u, struct io_sock *sock)
{
	if ((sock->flags & (S_ARMED | S_CANCELLING)) != S_ARMED)
		return;
	sock->flags |= S_CANCELLING;
	uring_cancel(u, sock, sock->flags & S_ARMED_POLL ? TAG_MOVE : TAG_RECV);
}

void uring_hold(struct uring_io *u, struct io_sock *sock, bool hold)
{
	if (hold == !!(sock->flags & S_HELD))
		return;
	sock->flags ^= S_HELD;
	u->held += hold ? 1 : -1u;
}

void uring_recv_start(struct io *io, struct io_sock *sock)
{
	struct uring_io *u = uring_of(io);

	uring_hold(u, sock, false);

	sock->flags |= S_RECV;
	uring_stop_watch_end(u, sock);
	uring_dirty(u, sock);
}

/* A bulk receive that is under way ends by itself: what it still brings is bounded. */
void uring_recv_stop(struct io *io, struct io_sock *sock)
{
	struct uring_io *u = uring_of(io);

	sock->flags &= ~(uint32_t)S_RECV;
	uring_group_unwait(u, sock);
	if ((sock->kind == IO_DGRAM || sock->group != GROUP_LARGE) && (sock->flags & S_ARMED))
		uring_cancel_recv(u, sock);
	if (sock->kind != IO_STREAM)
		return;
	uring_hold(u, sock, true);
	uring_stop_watch_start(u, sock);
}

/* Chooses the class of the next receive by what the last ones brought. */
static void adapt_class(struct uring_io *u, struct io_sock *sock, uint32_t bytes)
{
	if (sock->flags & S_BULK) {
		sock->thin = bytes <= THIN_BYTES ? sock->thin + 1 : 0;
		if (sock->thin < THIN_AFTER)
			return;
		sock->flags &= ~(uint32_t)S_BULK;
		sock->full = 0;
		uring_cancel_recv(u, sock);
		return;
	}
	sock->full = bytes == BUF_SMALL_BYTES ? sock->full + 1 : 0;
	if (sock->full < BULK_AFTER)
		return;
	sock->flags |= S_BULK;
	sock->thin = 0;
	uring_cancel_recv(u, sock);
}

/* A socket tells its error once. If a send that waited has taken it, a receive sees an end of
 * stream where there was a reset. */
static bool was_reset(const struct io_sock *sock)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	return sock->flight.head && !getsockopt(sock->fd, IPPROTO_TCP, TCP_INFO, &info, &len) &&
	       info.tcpi_state == TCP_CLOSE;
}

void uring_recv_ended(struct uring_io *u, struct io_sock *sock, int32_t res)
{
	if (res == 0 && was_reset(sock))
		res = -ECONNRESET;
	sock->flags |= S_RECV_ENDED;
	if (sock->move_to)
		uring_move_stop(&u->io, sock);
	uring_hold(u, sock, false);
	uring_stop_watch_end(u, sock);
	uring_deliver(u, sock, IO_RECV, res, NULL);
}

void uring_on_recv(struct uring_io *u, struct io_sock *sock, const struct io_uring_cqe *cqe)
{
	struct buf *buf = NULL;
	uint16_t gen = sock->gen;

	if (cqe->flags & IORING_CQE_F_BUFFER)
		buf = uring_group_take(u, sock->group, cqe->flags);
	end_request(sock, cqe);
	if ((sock->flags & (S_CLOSING | S_RECV_ENDED)) || (buf && cqe->res <= 0)) {
		if (buf)
			buf_put(&u->io.pool, buf);
		buf = NULL;
	}
	if (sock->flags & S_CLOSING) {
		uring_settle(u, sock);
		uring_report_done(u);
		return;
	}
	sock->flags &= ~(uint32_t)S_NONEMPTY;
	if (cqe->flags & IORING_CQE_F_SOCK_NONEMPTY)
		sock->flags |= S_NONEMPTY;
	if (buf) {
		buf->data =
			buf_memory(&u->io.pool, buf) + (buf->class == BUF_LARGE ? BUF_HEADROOM : 0);
		buf->len = (uint32_t)cqe->res;
		adapt_class(u, sock, buf->len);
		stats_add(&u->io.stats->bytes_in, buf->len);
		uring_answered(u, sock);
		uring_deliver(u, sock, IO_RECV, cqe->res, buf);
	} else if (cqe->res == -EINVAL && sock->group == GROUP_LARGE &&
		   (u->features & URING_RECV_LIMIT)) {
		u->features &= ~(uint32_t)URING_RECV_LIMIT;
	} else if (cqe->res == -ENOBUFS) {
		if (sock->flags & S_RECV)
			uring_group_wait(u, sock);
	} else if (cqe->res != -ECANCELED && cqe->res != -EINTR && cqe->res != -EAGAIN &&
		   !(sock->flags & S_RECV_ENDED)) {
		uring_recv_ended(u, sock, cqe->res);
	}
	if (sock->gen == gen && !(sock->flags & (S_ARMED | S_WAIT | S_CLOSING)))
		uring_dirty(u, sock);
}

/* ---- stopped sockets ---- */

/*
 * A socket that does not receive would not learn that its peer is gone. Most are stopped for
 * microseconds, so only one that stays stopped is worth a poll request.
 */
void uring_stop_watch_start(struct uring_io *u, struct io_sock *sock)
{
	if (sock->flags & (S_STOPPED | S_POLLING | S_RECV_ENDED))
		return;
	sock->flags |= S_STOPPED;
	sock->stopped_ns = u->io.now_ns;
	TAILQ_INSERT_TAIL(&u->stopped, sock, stopped);
}

void uring_stop_watch_end(struct uring_io *u, struct io_sock *sock)
{
	if (!(sock->flags & S_STOPPED))
		return;
	sock->flags &= ~(uint32_t)S_STOPPED;
	TAILQ_REMOVE(&u->stopped, sock, stopped);
}

void uring_watch_stopped(struct uring_io *u)
{
	struct io_sock *sock;

	while ((sock = TAILQ_FIRST(&u->stopped)) &&
	       u->io.now_ns - sock->stopped_ns >= URING_STOP_WATCH_NS) {
		struct io_uring_sqe *sqe;

		uring_stop_watch_end(u, sock);
		if (sock->flags & (S_CLOSING | S_RECV_ENDED))
			continue;
		sqe = uring_sqe(u);
		io_uring_prep_poll_add(sqe, sock->fd, POLLERR | POLLHUP);
		sqe->user_data = uring_tag(sock, TAG_POLL, 0);
		sock->flags |= S_POLLING;
		sock->inflight++;
	}
}

void uring_check_reset(struct uring_io *u, struct io_sock *sock)
{
	int err = net_error(sock->fd);

	sock->flags &= ~(uint32_t)S_MOVE_HUP;
	if (err)
		uring_recv_ended(u, sock, err);
}

void uring_on_poll(struct uring_io *u, struct io_sock *sock, const struct io_uring_cqe *cqe)
{
	(void)cqe;
	sock->inflight--;
	sock->flags &= ~(uint32_t)S_POLLING;
	if (sock->flags & S_CLOSING) {
		uring_settle(u, sock);
		uring_report_done(u);
		return;
	}
	/* One that receives again finds out by itself, and reading the error would take it away
	 * from there. */
	if (sock->flags & (S_RECV | S_RECV_ENDED | S_ARMED))
		return;
	uring_check_reset(u, sock);
}
