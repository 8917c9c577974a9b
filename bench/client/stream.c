/* SPDX-License-Identifier: MIT */
/*
 * Messages over kept streams. Request and response: a message goes out when an answer is complete
 * (closed loop) or when it is due and fewer than `depth` are under way (open loop). One way and
 * duplex: the socket is kept full, or as full as the schedule wants.
 *
 * A connection that fails is counted, closed and not opened again. Every byte is taken from one
 * pattern, at a place that depends on the connection and the position only, so messages need no
 * memory, whatever their size.
 */
#include "bench/client/gen.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void add_goal(struct bench_worker *w, struct bench_conn *c)
{
	c->tx_goal_bytes += bench_size_of(w->opts, c->index, c->goal_msgs++);
}

/* Stamps the messages whose first byte is among those just sent. */
static void stamp(struct bench_worker *w, struct bench_conn *c, int64_t now_ns)
{
	while (c->tx_next_bytes < c->tx_bytes) {
		c->stamp_ns[c->tx_msgs & w->stamp_mask] = now_ns;
		c->tx_next_bytes += bench_size_of(w->opts, c->index, c->tx_msgs++);
	}
}

/* Sends up to the goal, or until the socket is full. False when the connection failed. */
static bool send_some(struct bench_worker *w, struct bench_conn *c, int64_t now_ns)
{
	uint64_t left, turn_bytes = BENCH_TURN_BYTES;
	ssize_t n;

	while ((left = c->tx_goal_bytes - c->tx_bytes)) {
		if (!turn_bytes) {
			bench_worker_queue(w, c);
			return true;
		}
		left = min_u64(left, min_u64(turn_bytes, BENCH_CHUNK_BYTES));
		n = send(c->fd, bench_pattern_at(w->run, c, c->tx_bytes), left, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0) {
			bench_worker_fail(w, c, bench_error_of(errno), "send", errno);
			return false;
		}
		if (bench_run_phase(w->run) == BENCH_MEASURE)
			bench_count_add(&w->counts.tx_bytes, (uint64_t)n);
		c->tx_bytes += (uint64_t)n;
		c->active_ns = now_ns;
		turn_bytes -= (uint64_t)n;
		if (w->opts->pattern == BENCH_RR)
			stamp(w, c, now_ns);
		/* a short write has filled the socket: room in it raises a new edge */
		if ((uint64_t)n < left)
			return true;
	}
	return true;
}

/* Messages that may be under way by now: the goal grows up to that. */
static void extend_goal(struct bench_worker *w, struct bench_conn *c)
{
	uint64_t most = w->opts->pattern == BENCH_RR ? c->rx_msgs + w->opts->depth : UINT64_MAX;

	if (w->opts->rate_per_s > 0)
		most = min_u64(most, c->due_msgs);
	else if (!bench_worker_loads(w))
		return;
	if (most == UINT64_MAX) {
		c->tx_goal_bytes = UINT64_MAX;
		return;
	}
	while (c->goal_msgs < most)
		add_goal(w, c);
}

static void message_done(struct bench_worker *w, struct bench_conn *c, int64_t now_ns)
{
	int64_t stamp_ns = c->stamp_ns[c->rx_msgs & w->stamp_mask];

	if (w->opts->rate_per_s > 0)
		stamp_ns = bench_worker_due_ns(w, c, c->rx_msgs);
	c->rx_msgs++;
	c->rx_left = bench_size_of(w->opts, c->index, c->rx_msgs);
	if (c->state == BENCH_CONN_PROVING) {
		bench_worker_opened(w, c);
		return;
	}
	bench_worker_answered(w, stamp_ns, now_ns);
	extend_goal(w, c);
}

/* Takes n bytes that came back into account. False when the connection failed. */
static bool received(struct bench_worker *w, struct bench_conn *c, uint64_t n, int64_t now_ns)
{
	if (w->opts->verify && memcmp(w->rx, bench_pattern_at(w->run, c, c->rx_bytes), n)) {
		bench_worker_fail(w, c, BENCH_ERR_CORRUPT,
				  "what came back differs from what was sent", 0);
		return false;
	}
	if (bench_run_phase(w->run) == BENCH_MEASURE)
		bench_count_add(&w->counts.rx_bytes, n);
	c->rx_bytes += n;
	c->active_ns = now_ns;
	if (w->opts->pattern != BENCH_RR && c->state == BENCH_CONN_OPEN)
		return true;
	while (n >= c->rx_left) {
		n -= c->rx_left;
		message_done(w, c, now_ns);
	}
	c->rx_left -= n;
	return true;
}

/* Receives what is there; each complete answer makes room for the next message. */
static void receive(struct bench_worker *w, struct bench_conn *c, bool hangup)
{
	uint64_t missing, want, turn_bytes = BENCH_TURN_BYTES;
	/* TCP drops the bytes without a copy when asked to truncate */
	int flags = w->opts->verify ? 0 : MSG_TRUNC;
	int64_t now_ns;
	ssize_t n;

	do {
		if (turn_bytes < BENCH_CHUNK_BYTES) {
			bench_worker_queue(w, c);
			return;
		}
		missing = w->opts->pattern == BENCH_STREAM ? UINT64_MAX : c->tx_bytes - c->rx_bytes;
		/* one more than can be there: a whole answer is a short read, surplus shows */
		want = missing < BENCH_CHUNK_BYTES ? missing + 1 : BENCH_CHUNK_BYTES;
		n = recv(c->fd, w->rx, want, flags);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			return bench_worker_fail(w, c, bench_error_of(errno), "recv", errno);
		if (n == 0)
			return bench_worker_fail(w, c, BENCH_ERR_CLOSED, "closed by the peer", 0);
		if ((uint64_t)n > missing)
			return bench_worker_fail(w, c, BENCH_ERR_SURPLUS,
						 "more came back than was sent", 0);
		turn_bytes -= (uint64_t)n;
		now_ns = bench_now_ns();
		if (!received(w, c, (uint64_t)n, now_ns) || !send_some(w, c, now_ns))
			return;
		/* a short read has emptied the socket: the next byte raises a new edge */
	} while (n < 0 || (uint64_t)n == want || hangup);
}

static void connected(struct bench_worker *w, struct bench_conn *c)
{
	c->active_ns = bench_now_ns();
	if (w->opts->pattern == BENCH_STREAM) {
		bench_worker_opened(w, c);
		return;
	}
	c->state = BENCH_CONN_PROVING;
	c->rx_left = bench_size_of(w->opts, c->index, 0);
	add_goal(w, c);
	send_some(w, c, c->active_ns);
}

static void stream_open(struct bench_worker *w, struct bench_conn *c)
{
	int ret;

	c->state = BENCH_CONN_CONNECTING;
	ret = bench_socket_open(w, c);
	if (ret == -EAGAIN)
		bench_worker_retry(w, c, BENCH_NS_PER_MS);
	else if (ret && ret != -EINPROGRESS)
		bench_worker_fail(w, c, BENCH_ERR_CONNECT, "connect", -ret);
}

static void stream_start(struct bench_worker *w, struct bench_conn *c)
{
	c->active_ns = bench_now_ns();
	extend_goal(w, c);
	send_some(w, c, c->active_ns);
}

static void stream_due(struct bench_worker *w, struct bench_conn *c)
{
	uint64_t goal = c->tx_goal_bytes;

	extend_goal(w, c);
	if (c->tx_goal_bytes == goal || goal > c->tx_bytes)
		return;
	c->active_ns = bench_now_ns();
	send_some(w, c, c->active_ns);
}

static void stream_event(struct bench_worker *w, struct bench_conn *c, uint32_t events)
{
	if (c->state == BENCH_CONN_CONNECTING) {
		int ret;

		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return;
		ret = bench_socket_connected(c->fd);
		if (ret)
			return bench_worker_fail(w, c, BENCH_ERR_CONNECT, "connect", -ret);
		connected(w, c);
	} else if ((events & EPOLLOUT) && c->tx_bytes < c->tx_goal_bytes) {
		send_some(w, c, bench_now_ns());
	}
	if (c->fd >= 0 && (events & ~(uint32_t)EPOLLOUT))
		receive(w, c, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

static void stream_resume(struct bench_worker *w, struct bench_conn *c)
{
	if (send_some(w, c, bench_now_ns()))
		receive(w, c, true);
}

static bool stream_awaits(struct bench_worker *w, struct bench_conn *c)
{
	return w->opts->rate_per_s > 0 && w->opts->pattern == BENCH_RR && c->rx_msgs < c->due_msgs;
}

static void stream_check(struct bench_worker *w, struct bench_conn *c, int64_t now_ns)
{
	bool awaits = c->tx_bytes > c->rx_bytes && w->opts->pattern != BENCH_STREAM;

	if (w->phase != BENCH_OPENING && awaits && now_ns - c->active_ns > w->opts->timeout_ns)
		bench_worker_fail(w, c, BENCH_ERR_TIMEOUT, "no byte of an answer in time", 0);
}

const struct bench_proto bench_stream_proto = {
	.open = stream_open,
	.start = stream_start,
	.due = stream_due,
	.event = stream_event,
	.resume = stream_resume,
	.check = stream_check,
	.awaits = stream_awaits,
};
