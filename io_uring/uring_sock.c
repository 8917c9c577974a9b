/* SPDX-License-Identifier: MIT */
/* Owns the slots of sockets and the list of those that have something to tell. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "io_uring/uring_priv.h"

/* ---- sockets ---- */

static struct io_sock *sock_new(struct uring_io *u, int fd, enum io_kind kind,
				struct io_handler *owner)
{
	struct io_sock *sock = u->free;
	uint32_t index;
	uint16_t gen;

	if (sock)
		u->free = sock->next_done;
	else if (u->socks_n < u->socks_max)
		sock = &u->socks[u->socks_n++];
	else
		return NULL;
	gen = sock->gen;
	index = (uint32_t)(sock - u->socks);
	*sock = (struct io_sock){
		.owner = owner, .fd = fd, .kind = (uint8_t)kind, .gen = gen, .index = index};
	return sock;
}

static void sock_free(struct uring_io *u, struct io_sock *sock)
{
	assert(!sock->inflight && !(sock->flags & (S_TRYING | S_SENDING | S_DIRTY)));
	sock->gen++;
	sock->owner = NULL;
	sock->fd = -1;
	sock->next_done = u->free;
	u->free = sock;
}

static bool has_pktinfo(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	if (!getsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, &len) && on)
		return true;
	len = sizeof(on);
	return !getsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, &len) && on;
}

static bool is_local(int fd)
{
	int domain = AF_INET;
	socklen_t len = sizeof(domain);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX;
}

struct io_sock *uring_attach(struct io *io, int fd, enum io_kind kind, struct io_handler *owner)
{
	struct uring_io *u = uring_of(io);
	struct io_sock *sock;

	if (kind == IO_DGRAM && uring_group_open(u, GROUP_DGRAM))
		return NULL;
	sock = sock_new(u, fd, kind, owner);
	if (!sock)
		return NULL;
	if (kind == IO_DGRAM && has_pktinfo(fd))
		sock->flags |= S_PKTINFO;
	if (kind == IO_STREAM) {
		if (is_local(fd))
			sock->flags |= S_UNIX;
		uring_stop_watch_start(u, sock);
	}
	return sock;
}

static void connect_start(struct uring_io *u, struct io_sock *sock, const struct addr *addr)
{
	struct sockaddr *copy = uring_scratch(u, addr->len);
	struct io_uring_sqe *sqe = uring_sqe(u);

	memcpy(copy, &addr->sa, addr->len);
	io_uring_prep_connect(sqe, sock->fd, copy, addr->len);
	sqe->user_data = uring_tag(sock, TAG_CONNECT, 0);
	sock->inflight++;
}

struct io_sock *uring_dial(struct io *io, const struct addr *addr, struct io_handler *owner)
{
	struct uring_io *u = uring_of(io);
	enum io_kind kind = addr->kind == ADDR_UDP ? IO_DGRAM : IO_STREAM;
	struct io_sock *sock;
	int err = 0;

	if (kind == IO_DGRAM && uring_group_open(u, GROUP_DGRAM))
		return NULL;
	sock = sock_new(u, -1, kind, owner);
	if (!sock)
		return NULL;
	sock->fd = net_socket(addr);
	if (sock->fd < 0)
		err = sock->fd;
	else if (kind == IO_DGRAM && connect(sock->fd, &addr->sa, addr->len))
		err = -errno;
	if (kind == IO_DGRAM)
		sock->flags |= S_PEER;
	if (addr->kind == ADDR_UNIX)
		sock->flags |= S_UNIX;
	if (!err && kind == IO_STREAM) {
		connect_start(u, sock, addr);
		return sock;
	}
	sock->err = err;
	sock->flags |= S_CONNECT;
	uring_done(u, sock);
	return sock;
}

int uring_local(const struct io_sock *sock, union addr_inet *ret_local)
{
	return net_local_inet(sock->fd, ret_local);
}

/* ---- events to the owner ---- */

void uring_report(struct io_sock *sock, enum io_op op, int32_t res, struct buf *buf)
{
	const struct io_event event = {.op = op, .res = res, .buf = buf};

	sock->owner->event(sock->owner, &event);
}

void uring_done(struct uring_io *u, struct io_sock *sock)
{
	if (sock->flags & S_DONE)
		return;
	sock->flags |= S_DONE;
	sock->next_done = NULL;
	*u->done_tail = sock;
	u->done_tail = &sock->next_done;
}

void uring_dirty(struct uring_io *u, struct io_sock *sock)
{
	if (sock->flags & S_DIRTY)
		return;
	sock->flags |= S_DIRTY;
	sock->next_dirty = NULL;
	*u->dirty_tail = sock;
	u->dirty_tail = &sock->next_dirty;
}

static bool is_closable(const struct io_sock *sock)
{
	if (!(sock->flags & S_CLOSING) || sock->inflight || (sock->flags & (S_TRYING | S_DIRTY)))
		return false;
	return (sock->flags & S_CLOSE_NOW) ||
	       (!sock->out.head && !sock->flight.head && !sock->pipe);
}

static void close_now(struct uring_io *u, struct io_sock *sock)
{
	int err = sock->flags & S_CLOSE_NOW ? 0 : sock->err;

	buf_queue_clear(&u->io.pool, &sock->out);
	buf_queue_clear(&u->io.pool, &sock->flight);
	pipe_put(&u->io.pipes, sock->pipe);
	uring_group_unwait(u, sock);
	uring_stop_watch_end(u, sock);
	if (sock->fd >= 0) {
		uring_file_release(u, sock);
		if (sock->flags & S_PEER)
			stats_add(&u->io.stats->drop_receive_full, net_dgram_drops(sock->fd));
		close(sock->fd);
	}
	uring_report(sock, IO_CLOSE, err, NULL);
	sock_free(u, sock);
}

static void report_one(struct uring_io *u, struct io_sock *sock)
{
	int err = sock->err;

	if ((sock->flags & S_CONNECT) && !(sock->flags & S_CLOSING)) {
		sock->flags &= ~(uint32_t)S_CONNECT;
		sock->err = 0;
		uring_report(sock, IO_CONNECT, err, NULL);
	}
	if (sock->sent && !(sock->flags & S_CLOSE_NOW)) {
		int32_t sent = (int32_t)sock->sent;

		sock->sent = 0;
		uring_report(sock, IO_SEND, sent, NULL);
	}
	if (sock->moved && !(sock->flags & S_CLOSING)) {
		int32_t moved = (int32_t)sock->moved;

		sock->moved = 0;
		uring_report(sock, IO_MOVE, moved, NULL);
	}
	if ((sock->flags & S_SEND_FAILED) && sock->err && !(sock->flags & S_CLOSING)) {
		err = sock->err;
		sock->err = 0;
		uring_report(sock, IO_SEND, err, NULL);
	}
	/* A handler has put it on the list again, where its close comes with whatever else there
	 * is. */
	if (!(sock->flags & S_DONE) && is_closable(sock))
		close_now(u, sock);
}

void uring_report_done(struct uring_io *u)
{
	struct io_sock *sock;

	while ((sock = u->done)) {
		u->done = sock->next_done;
		if (!u->done)
			u->done_tail = &u->done;
		sock->flags &= ~(uint32_t)S_DONE;
		report_one(u, sock);
	}
}

void uring_deliver(struct uring_io *u, struct io_sock *sock, enum io_op op, int32_t res,
		   struct buf *buf)
{
	uring_report(sock, op, res, buf);
	uring_report_done(u);
}
