/* SPDX-License-Identifier: MIT */
/* Owns the fake backend's sockets, descriptors and buffers. Invariant: a buffer is marked as lent
 * from the event that hands it over until it is sent or recycled. */
#include "fake_io.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/pipe.h"
#include "core/util.h"
#include "fake_io_priv.h"

enum { START_NS = 1000 * 1000 * 1000 /* what the clock shows at first */ };

/* ---- chance ---- */

void *fake_alloc(size_t bytes)
{
	void *p = calloc(1, bytes);

	assert(p);
	return p;
}

/* xorshift64*, Vigna 2016. */
uint64_t fake_random(struct io *io)
{
	struct fake_io *f = fake_io_of(io);

	f->random ^= f->random >> 12;
	f->random ^= f->random << 25;
	f->random ^= f->random >> 27;
	return f->random * UINT64_C(0x2545F4914F6CDD1D);
}

uint64_t fake_below(struct fake_io *f, uint64_t n)
{
	return n ? (fake_random(&f->io) >> 11) % n : 0;
}

bool fake_chance(struct fake_io *f, uint32_t percent)
{
	return fake_below(f, 100) < percent;
}

void fake_seed(struct io *io, uint64_t seed)
{
	fake_io_of(io)->random = seed * 2 + 1;
	for (int i = 0; i < 8; i++)
		fake_random(io);
}

struct fake_conf *fake_conf(struct io *io)
{
	return &fake_io_of(io)->conf;
}

/* ---- descriptors ---- */

int fake_fd_new(struct fake_io *f, const struct fake_fd *what)
{
	if (f->fds_n == f->fds_size) {
		f->fds_size = MAX(64, 2 * f->fds_size);
		f->fds = realloc(f->fds, f->fds_size * sizeof(*f->fds));
		assert(f->fds);
	}
	f->fds[f->fds_n] = *what;
	f->fds[f->fds_n].open = true;
	return FAKE_FD_FIRST + (int)f->fds_n++;
}

static struct fake_fd *fd_get(struct fake_io *f, int fd)
{
	assert(fd >= FAKE_FD_FIRST && (uint32_t)(fd - FAKE_FD_FIRST) < f->fds_n);
	assert(f->fds[fd - FAKE_FD_FIRST].open && "this descriptor is closed");
	return &f->fds[fd - FAKE_FD_FIRST];
}

uint32_t fake_fds_open(const struct io *io)
{
	const struct fake_io *f = (const struct fake_io *)io;
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->fds_n; i++)
		n += f->fds[i].open;
	return n;
}

void fake_fd_drop(struct fake_io *f, int fd, bool reset)
{
	struct fake_fd *entry = fd_get(f, fd);

	entry->open = false;
	if (entry->stream)
		fake_stream_closed(entry->stream, reset);
	if (entry->listener)
		fake_listener_closed(entry->listener);
	if (entry->dgram)
		entry->dgram->closed = true;
}

void fake_fd_close(struct io *io, int fd)
{
	assert(!fd_get(fake_io_of(io), fd)->attached && "this descriptor is the backend's");
	fake_fd_drop(fake_io_of(io), fd, false);
}

/* ---- buffers ---- */

uint32_t fake_buffers_lent(const struct io *io)
{
	return ((const struct fake_io *)io)->lent_n;
}

static bool is_free(const struct fake_io *f, const struct buf *buf)
{
	const struct buf_stack *stack = &f->io.pool.classes[buf->class];

	for (uint32_t i = 0; i < stack->n; i++)
		if (stack->ids[i] == buf->id)
			return true;
	return false;
}

void fake_buf_returned(struct fake_io *f, struct buf *buf)
{
	assert(buf->class < BUF_CLASSES && buf->id < f->io.pool.classes[buf->class].count);
	if (f->lent[buf->class][buf->id]) {
		f->lent[buf->class][buf->id] = 0;
		f->lent_n--;
		return;
	}
	/* The user may have taken it from the pool itself. */
	assert(!is_free(f, buf) && "this buffer was given back before");
}

bool fake_has_buf(const struct io_sock *sock)
{
	const struct buf_pool *pool = &sock->f->io.pool;

	if (sock->f->conf.buffers_gone)
		return false;
	return buf_pool_left(pool) >= BUF_LARGE_BYTES && pool->classes[BUF_LARGE].n;
}

struct buf *fake_take_buf(struct io_sock *sock, size_t len, bool whole)
{
	struct fake_io *f = sock->f;
	bool small = (!whole || len <= BUF_SMALL_BYTES) && fake_chance(f, f->conf.small_percent);
	struct buf *buf = NULL;

	if (fake_has_buf(sock))
		buf = buf_get(&f->io.pool, small ? BUF_SMALL : BUF_LARGE);
	if (buf) {
		if (sock->flags & F_STARVED)
			f->io.starved--;
		sock->flags &= ~(uint32_t)F_STARVED;
		return buf;
	}
	/* What was under way when a receive was stopped needs no buffer any more. */
	if (!(sock->flags & F_RECV)) {
		sock->overshoot = 0;
		sock->flags &= ~(uint32_t)F_OVERSHOOT_END;
		return NULL;
	}
	if (!(sock->flags & F_STARVED)) {
		sock->flags |= F_STARVED;
		f->io.starved++;
		stats_add(&f->io.stats->buffer_waits, 1);
	}
	return NULL;
}

/* ---- sockets ---- */

void fake_unstarve(struct io_sock *sock)
{
	if (sock->flags & F_STARVED)
		sock->f->io.starved--;
	sock->flags &= ~(uint32_t)F_STARVED;
}

void fake_unstop(struct io_sock *sock)
{
	if (sock->flags & F_STOPPED)
		sock->f->stopped_n--;
	sock->flags &= ~(uint32_t)(F_STOPPED | F_OVERSHOOT_END);
	sock->overshoot = 0;
}

static struct io_sock *sock_new(struct fake_io *f, int fd, enum io_kind kind,
				struct io_handler *owner)
{
	struct io_sock *sock;

	assert(pthread_equal(f->thread, pthread_self()));
	if (f->socks_n == f->socks_max)
		return NULL;
	sock = fake_alloc(sizeof(*sock));
	f->socks_n++;
	*sock = (struct io_sock){.f = f, .owner = owner, .kind = kind, .fd = fd};
	sock->notice_ns = (int64_t)fake_below(f, IO_RESET_NOTICE_NS);
	TAILQ_INSERT_TAIL(&f->socks, sock, all);
	return sock;
}

static struct io_sock *fake_attach(struct io *io, int fd, enum io_kind kind,
				   struct io_handler *owner)
{
	struct fake_fd *entry = fd_get(fake_io_of(io), fd);
	struct io_sock *sock = sock_new(fake_io_of(io), fd, kind, owner);

	if (!sock)
		return NULL;
	assert(!entry->attached);
	entry->attached = true;
	sock->stream = entry->stream;
	sock->listener = entry->listener;
	sock->dgram = entry->dgram;
	if (sock->stream)
		sock->stream->sock = sock;
	assert((sock->stream && kind == IO_STREAM) || (sock->listener && kind == IO_LISTENER) ||
	       (sock->dgram && kind == IO_DGRAM));
	return sock;
}

static struct io_sock *fake_dial(struct io *io, const struct addr *addr, struct io_handler *owner)
{
	enum io_kind kind = addr->kind == ADDR_UDP ? IO_DGRAM : IO_STREAM;
	struct io_sock *sock = sock_new(fake_io_of(io), -1, kind, owner);

	if (!sock)
		return NULL;
	sock->flags = F_CONNECT;
	if (kind == IO_DGRAM)
		sock->err = fake_dgram_dial(sock, addr);
	else
		fake_stream_dial(sock, addr);
	return sock;
}

static int fake_local(const struct io_sock *sock, union addr_inet *ret_local)
{
	if (!sock->dgram || sock->err)
		return -ENOTCONN;
	*ret_local = sock->dgram->local;
	return 0;
}

void fake_check_use(struct io *io, struct io_sock *sock)
{
	assert(pthread_equal(fake_io_of(io)->thread, pthread_self()));
	assert(sock && sock->f == fake_io_of(io));
	assert(!(sock->flags & F_DEAD) && "this handle has had its IO_CLOSE");
	assert(!(sock->flags & F_CLOSING) && "this handle was told to close");
}

static void fake_accept_start(struct io *io, struct io_sock *sock, bool many)
{
	fake_check_use(io, sock);
	assert(sock->kind == IO_LISTENER && !(sock->flags & (F_ACCEPT | F_ACCEPT_ONE)));
	sock->flags |= many ? F_ACCEPT : F_ACCEPT_ONE;
	sock->overshoot = 0;
}

static void fake_accept_stop(struct io *io, struct io_sock *sock)
{
	struct fake_io *f = fake_io_of(io);

	fake_check_use(io, sock);
	if (sock->flags & F_ACCEPT)
		sock->overshoot =
			fake_below(f, MIN(f->conf.accept_overshoot, sock->listener->backlog_n) + 1);
	sock->flags &= ~(uint32_t)(F_ACCEPT | F_ACCEPT_ONE);
}

static void fake_recv_start(struct io *io, struct io_sock *sock)
{
	fake_check_use(io, sock);
	assert(sock->kind == IO_DGRAM || !(sock->flags & F_CONNECT));
	assert(!sock->move_to && "it is moved");
	fake_unstop(sock);
	sock->flags |= F_RECV;
}

static void fake_recv_stop(struct io *io, struct io_sock *sock)
{
	struct fake_io *f = fake_io_of(io);

	fake_check_use(io, sock);
	fake_unstarve(sock);
	if (!(sock->flags & F_RECV))
		return;
	sock->flags = (sock->flags & ~(uint32_t)F_RECV) | F_STOPPED;
	f->stopped_n++;
	if (!f->conf.overshoots || (sock->flags & F_RECV_ENDED))
		return;
	if (sock->kind == IO_DGRAM) {
		sock->overshoot = fake_below(f, BUF_LARGE_BYTES);
		return;
	}
	sock->overshoot = fake_below(f, MIN(sock->stream->in.len, IO_OVERSHOOT_MAX) + 1);
	if (sock->stream->in.fin && sock->overshoot == sock->stream->in.len && fake_chance(f, 50))
		sock->flags |= F_OVERSHOOT_END;
}

static void fake_send(struct io *io, struct io_sock *sock, struct buf *chain)
{
	fake_check_use(io, sock);
	assert(sock->kind == IO_DGRAM || (!(sock->flags & (F_SHUT | F_CONNECT))));
	for (struct buf *buf = chain; buf; buf = buf->next) {
		assert(buf->data >= buf_memory(&io->pool, buf));
		assert(buf->data + buf->len <=
		       buf_memory(&io->pool, buf) + io->pool.classes[buf->class].stride);
		fake_buf_returned(fake_io_of(io), buf);
	}
	if (sock->kind == IO_DGRAM)
		fake_dgram_send(sock, chain);
	else
		fake_stream_send(sock, chain);
}

static void fake_shutdown(struct io *io, struct io_sock *sock)
{
	fake_check_use(io, sock);
	assert(sock->kind == IO_STREAM && !(sock->flags & (F_SHUT | F_CONNECT)));
	sock->flags |= F_SHUT;
}

static void fake_close(struct io *io, struct io_sock *sock, enum io_close how)
{
	static const uint32_t flags[] = {
		[IO_CLOSE_FLUSH] = F_CLOSE_FLUSH,
		[IO_CLOSE_NOW] = F_CLOSE_NOW,
		[IO_CLOSE_RESET] = F_CLOSE_RESET,
	};

	assert(pthread_equal(fake_io_of(io)->thread, pthread_self()));
	assert(sock && sock->f == fake_io_of(io));
	assert(!(sock->flags & F_DEAD) && "this handle has had its IO_CLOSE");
	assert((sock->flags & F_CLOSING) <= flags[how] && "this close is softer than the last");
	fake_unstarve(sock);
	fake_unstop(sock);
	fake_move_unlink(sock);
	sock->flags &= ~(uint32_t)(F_RECV | F_ACCEPT | F_ACCEPT_ONE | F_CONNECT | F_CLOSING);
	sock->flags |= flags[how];
}

static void fake_recycle(struct io *io, struct buf *chain)
{
	while (chain) {
		struct buf *next = chain->next;

		fake_buf_returned(fake_io_of(io), chain);
		buf_put(&io->pool, chain);
		chain = next;
	}
}

/* ---- open and free ---- */

static void free_lists(struct fake_io *f)
{
	struct io_sock *sock;
	struct fake_peer *peer;
	struct fake_listener *listener;
	struct fake_plan *plan;

	TAILQ_CONCAT(&f->socks, &f->dead, all);
	while ((sock = TAILQ_FIRST(&f->socks))) {
		TAILQ_REMOVE(&f->socks, sock, all);
		fake_pipe_drop(&sock->pipe);
		free(sock);
	}
	while ((peer = SLIST_FIRST(&f->peers))) {
		SLIST_REMOVE_HEAD(&f->peers, all);
		fake_peer_free(peer);
	}
	while ((listener = SLIST_FIRST(&f->listeners))) {
		SLIST_REMOVE_HEAD(&f->listeners, all);
		free(listener);
	}
	while ((plan = SLIST_FIRST(&f->plans))) {
		SLIST_REMOVE_HEAD(&f->plans, all);
		free(plan);
	}
	fake_dgram_free_all(f);
}

static void fake_free(struct io *io)
{
	struct fake_io *f = fake_io_of(io);

	if (!io)
		return;
	assert(!f->in_turn && "free() inside a handler");
	free_lists(f);
	for (int c = 0; c < BUF_CLASSES; c++)
		free(f->lent[c]);
	buf_pool_free(&io->pool);
	pthread_mutex_destroy(&f->wake_lock);
	pthread_cond_destroy(&f->wake_cond);
	free(f->fds);
	free(f);
}

static int fake_open(struct io **ret_io, const struct io_conf *conf)
{
	struct fake_io *f = fake_alloc(sizeof(*f));
	int err;

	f->io = (struct io){.ops = &fake_io_ops, .stats = conf->stats, .now_ns = START_NS};
	err = buf_pool_init(&f->io.pool, conf->buffer_bytes);
	if (err) {
		free(f);
		return err;
	}
	for (int c = 0; c < BUF_CLASSES; c++)
		f->lent[c] = fake_alloc(f->io.pool.classes[c].count);
	f->conf = (struct fake_conf){
		.chunk_max = BUF_LARGE_BYTES,
		.window_bytes = 256 << 10,
		.accept_overshoot = 64,
		.late_percent = 20,
		.small_percent = 50,
		.sends_reported_late = true,
		.overshoots = true,
		.pipes_max = PIPES_MAX,
	};
	f->thread = pthread_self();
	pthread_mutex_init(&f->wake_lock, NULL);
	pthread_cond_init(&f->wake_cond, NULL);
	f->socks_max = conf->socks_max;
	f->port_next = 40000;
	TAILQ_INIT(&f->socks);
	TAILQ_INIT(&f->dead);
	fake_seed(&f->io, 1);
	*ret_io = &f->io;
	return 0;
}

const struct io_ops fake_io_ops = {
	.name = "fake",
	.open = fake_open,
	.free = fake_free,
	.attach = fake_attach,
	.dial = fake_dial,
	.local = fake_local,
	.accept_start = fake_accept_start,
	.accept_stop = fake_accept_stop,
	.recv_start = fake_recv_start,
	.recv_stop = fake_recv_stop,
	.move_start = fake_move_start,
	.move_stop = fake_move_stop,
	.send = fake_send,
	.shutdown = fake_shutdown,
	.close = fake_close,
	.recycle = fake_recycle,
	.turn = fake_turn,
	.wake = fake_wake,
};
