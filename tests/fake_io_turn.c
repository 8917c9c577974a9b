/* SPDX-License-Identifier: MIT */
/* Owns the fake backend's time and the order of its events: which socket is served, and for
 * what, is left to chance. */
#include <assert.h>
#include <errno.h>
#include <time.h>

#include "core/util.h"
#include "fake_io_priv.h"

enum {
	WAKE_LIMIT_S = 30, /* a turn that nothing can end */
	DOING_MAX = 256,   /* for one socket, in one turn */
	SOCKS_PER_TURN = 4096,
};

/* ---- events ---- */

static void tell(struct io_sock *sock, enum io_op op, int32_t res, struct buf *buf)
{
	struct fake_io *f = sock->f;
	const struct io_event event = {.op = op, .res = res, .buf = buf};

	assert(!f->in_handler);
	if (buf) {
		f->lent[buf->class][buf->id] = 1;
		f->lent_n++;
	}
	if (op == IO_CLOSE)
		sock->flags |= F_DEAD;
	f->in_handler = true;
	sock->owner->event(sock->owner, &event);
	f->in_handler = false;
}

static bool is_cut(const struct io_sock *sock, enum io_op op)
{
	if (sock->flags & F_HARD)
		return op != IO_CLOSE;
	return (sock->flags & F_CLOSE_FLUSH) && op != IO_CLOSE && op != IO_SEND;
}

void fake_deliver(struct io_sock *sock, enum io_op op, int32_t res, struct buf *buf)
{
	if (sock->sent && !(sock->flags & F_HARD)) {
		int32_t sent = (int32_t)sock->sent;

		sock->sent = 0;
		sock->flags &= ~(uint32_t)F_REPORT;
		tell(sock, IO_SEND, sent, NULL);
	}
	/* The handler may have closed the socket. */
	if (!is_cut(sock, op))
		tell(sock, op, res, buf);
	else if (buf)
		buf_put(&sock->f->io.pool, buf);
}

/* ---- turns ---- */

bool fake_wants_recv(const struct io_sock *sock)
{
	if (sock->flags & (F_RECV_ENDED | F_CLOSING | F_DEAD))
		return false;
	if ((sock->flags & F_STARVED) && !fake_has_buf(sock))
		return false;
	if (sock->turn_bytes >= IO_BYTES_PER_TURN || sock->turn_dgrams >= IO_DGRAMS_PER_TURN)
		return false;
	return (sock->flags & (F_RECV | F_OVERSHOOT_END)) || sock->overshoot;
}

static uint32_t sock_due(const struct io_sock *sock)
{
	bool flushing = sock->kind == IO_STREAM && !(sock->flags & F_HARD);

	if (sock->flags & F_DEAD)
		return 0;
	if ((sock->flags & F_CLOSING) && !flushing)
		return DUE_CLOSE;
	if (sock->kind == IO_LISTENER)
		return fake_listener_due(sock);
	return sock->kind == IO_STREAM ? fake_stream_due(sock) : fake_dgram_due(sock);
}

static void sock_closed(struct io_sock *sock)
{
	struct fake_io *f = sock->f;

	buf_queue_clear(&f->io.pool, &sock->out);
	fake_move_drop(sock);
	fake_unstarve(sock);
	fake_unstop(sock);
	sock->sent = 0;
	if (sock->fd >= 0)
		fake_fd_drop(f, sock->fd, sock->flags & F_CLOSE_RESET);
	sock->fd = -1;
	fake_deliver(sock, IO_CLOSE, sock->flags & F_HARD ? 0 : sock->err, NULL);
	/* Not before: a slot may be free again only when its last event was handled. */
	f->socks_n--;
	TAILQ_REMOVE(&f->socks, sock, all);
	TAILQ_INSERT_TAIL(&f->dead, sock, all);
}

static void sock_connected(struct io_sock *sock)
{
	int err = sock->err;

	sock->flags &= ~(uint32_t)F_CONNECT;
	sock->err = 0;
	fake_deliver(sock, IO_CONNECT, err, NULL);
}

static void sock_do(struct io_sock *sock, uint32_t due)
{
	if (due == DUE_CLOSE)
		sock_closed(sock);
	else if (due == DUE_CONNECT)
		sock_connected(sock);
	else if (due == DUE_ACCEPT)
		fake_listener_accept(sock);
	else if (sock->kind == IO_STREAM)
		fake_stream_do(sock, due);
	else
		fake_dgram_recv(sock);
}

static void sock_run(struct io_sock *sock)
{
	struct fake_io *f = sock->f;
	uint32_t due;

	if (sock->late_turns < FAKE_LATE_TURNS_MAX && fake_chance(f, f->conf.late_percent)) {
		sock->late_turns++;
		return;
	}
	sock->late_turns = 0;
	for (int i = 0; i < DOING_MAX && (due = sock_due(sock)); i++) {
		uint32_t one;

		do
			one = due & (UINT32_C(1) << fake_below(f, 8));
		while (!one);
		sock_do(sock, one);
		if (fake_chance(f, f->conf.late_percent))
			break;
	}
}

/* When the next thing comes due by itself; INT64_MAX: never. */
static int64_t next_due_ns(const struct fake_io *f)
{
	int64_t next_ns = INT64_MAX;
	const struct io_sock *sock;

	TAILQ_FOREACH(sock, &f->socks, all) {
		if (sock->flags & (F_DEAD | F_CLOSING | F_RECV_ENDED))
			continue;
		if ((sock->flags & F_CONNECT) && !(sock->flags & F_SILENT))
			next_ns = MIN(next_ns, sock->due_ns);
		if (sock->stream && sock->stream->sock_err && !(sock->flags & F_RECV))
			next_ns = MIN(next_ns, sock->stream->reset_ns + sock->notice_ns);
	}
	return next_ns;
}

static bool take_wake(struct fake_io *f)
{
	bool woken;

	pthread_mutex_lock(&f->wake_lock);
	woken = f->woken;
	f->woken = false;
	pthread_mutex_unlock(&f->wake_lock);
	return woken;
}

/* Waits in real time: only for tests in which another thread wakes. */
static int wait_for_wake(struct fake_io *f)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAKE_LIMIT_S;
	pthread_mutex_lock(&f->wake_lock);
	while (!f->woken && !err)
		err = pthread_cond_timedwait(&f->wake_cond, &f->wake_lock, &until);
	f->woken = false;
	pthread_mutex_unlock(&f->wake_lock);
	return -err;
}

static int turn_wait(struct fake_io *f, int64_t timeout_ns, bool any_due)
{
	int64_t until_ns = timeout_ns < 0 ? INT64_MAX : f->io.now_ns + timeout_ns;
	int64_t next_ns = next_due_ns(f);
	bool woken = take_wake(f);

	if (woken || any_due) {
		f->io.now_ns += (int64_t)fake_below(f, 100 * 1000);
		return 0;
	}
	if (timeout_ns < 0 && next_ns == INT64_MAX)
		return f->conf.blocks ? wait_for_wake(f) : -EDEADLK;
	f->io.now_ns = MAX(f->io.now_ns, MIN(until_ns, next_ns));
	return 0;
}

/* Lists what is due in an order of chance. */
static uint32_t list_due(struct fake_io *f, struct io_sock **socks)
{
	struct io_sock *sock;
	uint32_t n = 0;

	TAILQ_FOREACH(sock, &f->socks, all) {
		uint64_t at;

		sock->turn_bytes = sock->turn_dgrams = 0;
		if (n == SOCKS_PER_TURN || !sock_due(sock))
			continue;
		at = fake_below(f, n + 1);
		socks[n++] = socks[at];
		socks[at] = sock;
	}
	return n;
}

int fake_turn(struct io *io, int64_t timeout_ns)
{
	struct fake_io *f = fake_io_of(io);
	struct io_sock *socks[SOCKS_PER_TURN];
	uint32_t n;
	int err;

	assert(pthread_equal(f->thread, pthread_self()));
	assert(!f->in_turn && "turn() inside a handler");
	err = turn_wait(f, timeout_ns, list_due(f, socks) > 0);
	if (err)
		return err;
	stats_add(&io->stats->turns, 1);
	f->in_turn = true;
	n = list_due(f, socks);
	for (uint32_t i = 0; i < n; i++)
		sock_run(socks[i]);
	f->in_turn = false;
	return 0;
}

void fake_wake(struct io *io)
{
	struct fake_io *f = fake_io_of(io);

	pthread_mutex_lock(&f->wake_lock);
	f->woken = true;
	pthread_cond_signal(&f->wake_cond);
	pthread_mutex_unlock(&f->wake_lock);
}
