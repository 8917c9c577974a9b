/* SPDX-License-Identifier: MIT */
/*
 * The epoll backend. Each socket is registered once, edge-triggered for both directions; from then
 * on the kernel is asked only by trying. A socket with work due stands on the run list; a turn runs
 * each at most once.
 *
 * Streams are received into the buffer used last, which is still in cache: as long as sends
 * complete at once, the whole backend works in one buffer.
 */
#include "io_epoll.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io_epoll_priv.h"
#include "util.h"

/* ---- lists ---- */

static void sock_unlist(struct epoll_io *e, struct io_sock *sock)
{
	if (sock->flags & S_RUN)
		TAILQ_REMOVE(&e->run, sock, run);
	if (sock->flags & S_WAIT) {
		TAILQ_REMOVE(&e->wait, sock, run);
		e->io.starved--;
	}
	sock->flags &= ~(uint32_t)(S_RUN | S_WAIT);
}

void epoll_run(struct epoll_io *e, struct io_sock *sock)
{
	if (sock->flags & S_RUN)
		return;
	sock_unlist(e, sock);
	sock->flags |= S_RUN;
	sock->run_turn = e->turn;
	TAILQ_INSERT_TAIL(&e->run, sock, run);
}

void epoll_done(struct epoll_io *e, struct io_sock *sock)
{
	if (sock->flags & S_DONE)
		return;
	sock->flags |= S_DONE;
	sock->next_done = NULL;
	*e->done_tail = sock;
	e->done_tail = &sock->next_done;
}

struct buf *epoll_take_buf(struct epoll_io *e, struct io_sock *sock)
{
	bool small = sock->kind == IO_STREAM && buf_pool_is_short(&e->io.pool);
	struct buf *buf = buf_get(&e->io.pool, small ? BUF_SMALL : BUF_LARGE);

	if (buf || (sock->flags & S_WAIT))
		return buf;
	sock_unlist(e, sock);
	sock->flags |= S_WAIT;
	TAILQ_INSERT_TAIL(&e->wait, sock, run);
	e->io.starved++;
	stats_add(&e->io.stats->buffer_waits, 1);
	return NULL;
}

/* Buffers came back: whoever waited may try again. */
static void wake_starved(struct epoll_io *e)
{
	uint64_t left = buf_pool_left(&e->io.pool);
	struct io_sock *sock, *next;

	/* Each takes one at least, so that a few buffers do not wake everybody. */
	for (sock = TAILQ_FIRST(&e->wait); sock && left >= BUF_SMALL_BYTES; sock = next) {
		next = TAILQ_NEXT(sock, run);
		if (sock->kind == IO_DGRAM && left < BUF_LARGE_BYTES)
			continue;
		left -= BUF_SMALL_BYTES;
		epoll_run(e, sock);
	}
}

/* ---- sockets ---- */

static struct io_sock *sock_new(struct epoll_io *e, int fd, enum io_kind kind,
				struct io_handler *owner)
{
	struct io_sock *sock = e->free;

	if (sock)
		e->free = sock->next_done;
	else if (e->socks_n < e->socks_max)
		sock = &e->socks[e->socks_n++];
	else
		return NULL;
	*sock = (struct io_sock){.owner = owner, .fd = fd, .kind = kind, .gen = sock->gen};
	LIST_INSERT_HEAD(&e->all, sock, all);
	return sock;
}

static void sock_free(struct epoll_io *e, struct io_sock *sock)
{
	sock_unlist(e, sock);
	LIST_REMOVE(sock, all);
	sock->gen++;
	sock->next_done = e->free;
	e->free = sock;
}

static int sock_register(struct epoll_io *e, struct io_sock *sock)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = sock};

	if (sock->kind == IO_STREAM)
		event.events |= EPOLLOUT | EPOLLRDHUP | EPOLLPRI;
	return epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, sock->fd, &event) ? -errno : 0;
}

static struct io_sock *epoll_attach(struct io *io, int fd, enum io_kind kind,
				    struct io_handler *owner)
{
	struct epoll_io *e = epoll_io_of(io);
	struct io_sock *sock;

	if (kind == IO_DGRAM && epoll_dgram_open(e))
		return NULL;
	sock = sock_new(e, fd, kind, owner);
	if (!sock)
		return NULL;
	if (sock_register(e, sock)) {
		sock_free(e, sock);
		return NULL;
	}
	/* Try first: an accepted connection often has data, and its send buffer is empty. */
	sock->flags = S_IN | S_OUT;
	return sock;
}

static struct io_sock *epoll_dial(struct io *io, const struct addr *addr, struct io_handler *owner)
{
	struct epoll_io *e = epoll_io_of(io);
	enum io_kind kind = addr->kind == ADDR_UDP ? IO_DGRAM : IO_STREAM;
	struct io_sock *sock;
	int err = 0;

	if (kind == IO_DGRAM && epoll_dgram_open(e))
		return NULL;
	sock = sock_new(e, -1, kind, owner);
	if (!sock)
		return NULL;
	sock->flags = S_CONNECT | (kind == IO_DGRAM ? S_PEER : 0);
	sock->fd = net_socket(addr);
	if (sock->fd < 0)
		err = sock->fd;
	else if (connect(sock->fd, &addr->sa, addr->len) && errno != EINPROGRESS)
		err = -errno;
	if (!err)
		err = sock_register(e, sock);
	sock->err = err;
	if (err)
		sock->flags |= S_HUP | S_OUT;
	else if (kind == IO_DGRAM)
		sock->flags |= S_IN | S_OUT;
	if (sock->flags & S_OUT)
		epoll_run(e, sock);
	return sock;
}

static int epoll_local(const struct io_sock *sock, union addr_inet *ret_local)
{
	return net_local_inet(sock->fd, ret_local);
}

/* ---- events to the owner ---- */

static void report(struct io_sock *sock, enum io_op op, int32_t res, struct buf *buf)
{
	const struct io_event event = {.op = op, .res = res, .buf = buf};

	sock->owner->event(sock->owner, &event);
}

static void close_now(struct epoll_io *e, struct io_sock *sock)
{
	buf_queue_clear(&e->io.pool, &sock->out);
	pipe_put(&e->io.pipes, sock->pipe);
	if (sock->fd >= 0) {
		/* A listener may be shared with another worker, and then outlives this close. */
		if (sock->kind == IO_LISTENER)
			epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, sock->fd, NULL);
		if (sock->flags & S_PEER)
			stats_add(&e->io.stats->drop_receive_full, net_dgram_drops(sock->fd));
		close(sock->fd);
		sock->fd = -1;
	}
	report(sock, IO_CLOSE, sock->err, NULL);
	sock_free(e, sock);
}

static void report_one(struct epoll_io *e, struct io_sock *sock)
{
	if (sock->sent && !(sock->flags & S_CLOSE_NOW)) {
		int32_t sent = (int32_t)sock->sent;

		sock->sent = 0;
		report(sock, IO_SEND, sent, NULL);
	}
	if (sock->moved && !(sock->flags & S_CLOSING)) {
		int32_t moved = (int32_t)sock->moved;

		sock->moved = 0;
		report(sock, IO_MOVE, moved, NULL);
	}
	if ((sock->flags & S_SEND_FAILED) && sock->err && !(sock->flags & S_CLOSING)) {
		int err = sock->err;

		sock->err = 0;
		report(sock, IO_SEND, err, NULL);
	}
	/* A handler has put it on the list again, where its close comes with whatever else there
	 * is. */
	if (sock->flags & S_DONE)
		return;
	if (sock->flags & S_CLOSE_NOW) {
		sock->err = 0;
		close_now(e, sock);
	} else if ((sock->flags & S_CLOSE_FLUSH) && !sock->out.head && !sock->pipe) {
		close_now(e, sock);
	}
}

/* Reports what completed while a handler ran; handlers may complete more. */
void epoll_report_done(struct epoll_io *e)
{
	struct io_sock *sock;

	while ((sock = e->done)) {
		e->done = sock->next_done;
		if (!e->done)
			e->done_tail = &e->done;
		sock->flags &= ~(uint32_t)S_DONE;
		report_one(e, sock);
	}
}

void epoll_deliver(struct epoll_io *e, struct io_sock *sock, enum io_op op, int32_t res,
		   struct buf *buf)
{
	report(sock, op, res, buf);
	epoll_report_done(e);
}

/* ---- starters ---- */

static void epoll_send(struct io *io, struct io_sock *sock, struct buf *chain)
{
	struct epoll_io *e = epoll_io_of(io);

	if (sock->kind == IO_DGRAM) {
		epoll_dgram_send(e, sock, chain);
		return;
	}
	if (sock->flags & S_SEND_FAILED) {
		buf_put_chain(&io->pool, chain);
		return;
	}
	while (chain) {
		struct buf *next = chain->next;

		if (sock->flags & S_OUT)
			buf_queue_push(&sock->out, chain);
		else
			buf_queue_push_packed(&io->pool, &sock->out, chain);
		chain = next;
	}
	epoll_flush(e, sock);
}

static void epoll_shutdown(struct io *io, struct io_sock *sock)
{
	sock->flags |= S_SHUT;
	epoll_flush(epoll_io_of(io), sock);
}

static void epoll_close(struct io *io, struct io_sock *sock, enum io_close how)
{
	struct epoll_io *e = epoll_io_of(io);

	if (how == IO_CLOSE_RESET && sock->fd >= 0)
		net_linger_reset(sock->fd);
	if (sock->flags & S_DIRTY)
		epoll_dgram_flush_all(e);
	epoll_unlink_moves(e, sock);
	sock->flags &= ~(uint32_t)(S_RECV | S_ACCEPT | S_ACCEPT_ONE | S_CONNECT);
	if (how != IO_CLOSE_FLUSH)
		sock->flags |= S_CLOSE_NOW;
	else
		sock->flags |= S_CLOSE_FLUSH;
	if (how != IO_CLOSE_FLUSH || (!sock->out.head && !sock->pipe))
		epoll_done(e, sock);
}

static void epoll_accept_start(struct io *io, struct io_sock *sock, bool many)
{
	sock->flags |= many ? S_ACCEPT : S_ACCEPT_ONE;
	if (sock->flags & S_IN)
		epoll_run(epoll_io_of(io), sock);
}

static void epoll_accept_stop(struct io *io, struct io_sock *sock)
{
	(void)io;
	sock->flags &= ~(uint32_t)(S_ACCEPT | S_ACCEPT_ONE);
}

static void epoll_recv_start(struct io *io, struct io_sock *sock)
{
	sock->flags |= S_RECV;
	if (sock->flags & (S_IN | S_HUP))
		epoll_run(epoll_io_of(io), sock);
}

void epoll_recv_stop(struct io *io, struct io_sock *sock)
{
	sock->flags &= ~(uint32_t)S_RECV;
	if (sock->flags & S_WAIT)
		sock_unlist(epoll_io_of(io), sock);
}

static void epoll_recycle(struct io *io, struct buf *chain)
{
	buf_put_chain(&io->pool, chain);
}

/* ---- turns ---- */

static void sock_ready(struct epoll_io *e, struct io_sock *sock, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		sock->flags |= S_IN;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
		if (sock->mover && !(sock->flags & S_OUT))
			epoll_run(e, sock->mover);
		sock->flags |= S_OUT;
	}
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		sock->flags |= S_HUP;
	if ((events & EPOLLPRI) && sock->move_to)
		sock->flags |= S_IN | S_URGENT;
	epoll_run(e, sock);
}

static int poll_events(struct epoll_io *e, int64_t timeout_ns)
{
	struct epoll_event events[EPOLL_EVENTS_MAX];
	int64_t paused_ns = lowat_wait_ns(&e->lowats, e->io.now_ns);
	int timeout_ms = -1, n;

	if (paused_ns >= 0 && (timeout_ns < 0 || paused_ns < timeout_ns))
		timeout_ns = paused_ns;
	if (!TAILQ_EMPTY(&e->run) || e->done)
		timeout_ms = 0;
	else if (timeout_ns >= 0)
		timeout_ms = (int)MIN((timeout_ns + NS_PER_MS - 1) / NS_PER_MS, INT_MAX);
	n = epoll_wait(e->epoll_fd, events, EPOLL_EVENTS_MAX, timeout_ms);
	e->io.now_ns = util_now_ns();
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		uint64_t ignored;

		if (events[i].data.ptr)
			sock_ready(e, events[i].data.ptr, events[i].events);
		else if (read(e->wake_fd, &ignored, sizeof(ignored)) < 0 && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

static int epoll_turn(struct io *io, int64_t timeout_ns)
{
	struct epoll_io *e = epoll_io_of(io);
	struct io_sock *sock;
	int err = poll_events(e, timeout_ns);

	if (err)
		return err;
	stats_add(&io->stats->turns, 1);
	epoll_report_done(e);
	epoll_run_paused(e);
	/* Those that queue themselves again from here on wait for the next turn. */
	e->turn++;
	while ((sock = TAILQ_FIRST(&e->run)) && sock->run_turn != e->turn) {
		sock_unlist(e, sock);
		epoll_run_sock(e, sock);
	}
	epoll_dgram_flush_all(e);
	if (io->starved)
		wake_starved(e);
	return 0;
}

static void epoll_wake(struct io *io)
{
	uint64_t one = 1;
	ssize_t n = write(epoll_io_of(io)->wake_fd, &one, sizeof(one));

	/* EAGAIN: the counter is full, so a wake-up is under way. */
	(void)n;
}

static void epoll_free(struct io *io)
{
	struct epoll_io *e = epoll_io_of(io);
	struct io_sock *sock;

	if (!io)
		return;
	if (e->socks) {
		LIST_FOREACH(sock, &e->all, all) {
			if (sock->fd >= 0)
				close(sock->fd);
			pipe_put(&e->io.pipes, sock->pipe);
		}
		munmap(e->socks, e->socks_bytes);
	}
	epoll_dgram_free(e);
	pipe_pool_free(&e->io.pipes);
	if (e->epoll_fd >= 0)
		close(e->epoll_fd);
	if (e->wake_fd >= 0)
		close(e->wake_fd);
	buf_pool_free(&io->pool);
	free(e);
}

static int epoll_open(struct io **ret_io, const struct io_conf *conf)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	struct epoll_io *e = calloc(1, sizeof(*e));
	int err = -ENOMEM;

	if (!e)
		return -ENOMEM;
	e->io = (struct io){.ops = &io_epoll_ops, .stats = conf->stats, .now_ns = util_now_ns()};
	pipe_pool_init(&e->io.pipes, conf->pipes_max);
	TAILQ_INIT(&e->lowats);
	LIST_INIT(&e->all);
	TAILQ_INIT(&e->run);
	TAILQ_INIT(&e->wait);
	e->done_tail = &e->done;
	e->socks_max = conf->socks_max;
	e->socks_bytes = MAX(conf->socks_max, 1u) * sizeof(*e->socks);
	e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	e->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (e->epoll_fd < 0 || e->wake_fd < 0 ||
	    epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->wake_fd, &event)) {
		err = -errno;
		goto free_io;
	}
	e->socks = mmap(NULL, e->socks_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (e->socks == MAP_FAILED) {
		e->socks = NULL;
		goto free_io;
	}
	err = buf_pool_init(&e->io.pool, conf->buffer_bytes);
	if (err)
		goto free_io;
	*ret_io = &e->io;
	return 0;
free_io:
	epoll_free(&e->io);
	return err;
}

const struct io_ops io_epoll_ops = {
	.name = "epoll",
	.open = epoll_open,
	.free = epoll_free,
	.attach = epoll_attach,
	.dial = epoll_dial,
	.local = epoll_local,
	.accept_start = epoll_accept_start,
	.accept_stop = epoll_accept_stop,
	.recv_start = epoll_recv_start,
	.recv_stop = epoll_recv_stop,
	.move_start = epoll_move_start,
	.move_stop = epoll_move_stop,
	.send = epoll_send,
	.shutdown = epoll_shutdown,
	.close = epoll_close,
	.recycle = epoll_recycle,
	.turn = epoll_turn,
	.wake = epoll_wake,
};
