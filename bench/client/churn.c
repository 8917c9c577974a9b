/* SPDX-License-Identifier: MIT */
/*
 * A connection per message: connect, send, receive the answer, close. A slot does one after the
 * other; its latency begins with connect(), or when the message was due.
 *
 * The client closes first, so the port rests in TIME_WAIT on its side. On IPv4 loopback there are
 * many addresses to connect from, and the kernel takes a port again after a second
 * (net.ipv4.tcp_tw_reuse = 2, its default). Elsewhere one gives more addresses (--source), or
 * closes with a reset (--close reset), which leaves no port behind but is not what a server
 * usually sees.
 */
#include "bench/client/gen.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

enum { FAILS_MAX = 10 }; /* in a row: the slot is given up */

#define AFTER_FAILURE_NS (10 * BENCH_NS_PER_MS)
#define BACKLOG_FULL_NS BENCH_NS_PER_MS

static const uint8_t *pattern_at(const struct bench_worker *w, const struct bench_conn *c,
				 uint64_t position)
{
	return bench_pattern_at(w->run, c, c->rx_msgs * 4099 + position);
}

/* Whether there is one more message to begin now. */
static bool wants_more(const struct bench_worker *w, const struct bench_conn *c)
{
	if (w->opts->rate_per_s > 0)
		return c->rx_msgs < c->due_msgs;
	return bench_worker_loads(w);
}

static void churn_open(struct bench_worker *w, struct bench_conn *c);

/* The message under way is over, well or not. */
static void message_over(struct bench_conn *c)
{
	bench_socket_close(c);
	c->goal_msgs = ++c->rx_msgs;
	c->stamp_ns[0] = 0;
	c->state = BENCH_CONN_OPEN;
}

static void message_failed(struct bench_worker *w, struct bench_conn *c, enum bench_error error,
			   const char *what, int err)
{
	if (w->phase == BENCH_OPENING || ++c->fails == FAILS_MAX) {
		bench_worker_fail(w, c, error, what, err);
		return;
	}
	bench_worker_error(w, c, error, what, err);
	message_over(c);
	bench_worker_retry(w, c, AFTER_FAILURE_NS);
}

static void message_done(struct bench_worker *w, struct bench_conn *c, int64_t now_ns)
{
	int64_t stamp_ns = c->stamp_ns[0];

	if (w->opts->rate_per_s > 0 && w->phase != BENCH_OPENING)
		stamp_ns = bench_worker_due_ns(w, c, c->rx_msgs);
	c->fails = 0;
	message_over(c);
	if (w->phase == BENCH_OPENING) {
		bench_worker_opened(w, c);
		return;
	}
	bench_worker_answered(w, stamp_ns, now_ns);
	if (wants_more(w, c))
		churn_open(w, c);
}

/* False when the message failed. */
static bool send_some(struct bench_worker *w, struct bench_conn *c)
{
	uint64_t left;
	ssize_t n;

	while ((left = c->tx_goal_bytes - c->tx_bytes)) {
		if (left > BENCH_CHUNK_BYTES)
			left = BENCH_CHUNK_BYTES;
		n = send(c->fd, pattern_at(w, c, c->tx_bytes), left, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		/* also while the connection is being made */
		if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
			return true;
		if (n < 0) {
			bool opening = c->state == BENCH_CONN_CONNECTING;

			message_failed(w, c, opening ? BENCH_ERR_CONNECT : bench_error_of(errno),
				       opening ? "connect" : "send", errno);
			return false;
		}
		c->state = BENCH_CONN_PROVING;
		c->tx_bytes += (uint64_t)n;
		if (bench_run_phase(w->run) == BENCH_MEASURE)
			bench_count_add(&w->counts.tx_bytes, (uint64_t)n);
	}
	return true;
}

static void receive(struct bench_worker *w, struct bench_conn *c)
{
	uint64_t want;
	ssize_t n;

	for (;;) {
		/* one more than can be there shows surplus */
		want = c->rx_left < BENCH_CHUNK_BYTES ? c->rx_left + 1 : BENCH_CHUNK_BYTES;
		n = recv(c->fd, w->rx, want, w->opts->verify ? 0 : MSG_TRUNC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			return message_failed(w, c, bench_error_of(errno), "recv", errno);
		if (n == 0)
			return message_failed(w, c, BENCH_ERR_CLOSED, "closed by the peer", 0);
		if (c->rx_bytes + (uint64_t)n > c->tx_bytes)
			return message_failed(w, c, BENCH_ERR_SURPLUS,
					      "more came back than was sent", 0);
		if (w->opts->verify && memcmp(w->rx, pattern_at(w, c, c->rx_bytes), (size_t)n))
			return message_failed(w, c, BENCH_ERR_CORRUPT,
					      "what came back differs from what was sent", 0);
		if (bench_run_phase(w->run) == BENCH_MEASURE)
			bench_count_add(&w->counts.rx_bytes, (uint64_t)n);
		c->rx_bytes += (uint64_t)n;
		c->rx_left -= (uint64_t)n;
		c->active_ns = bench_now_ns();
		if (!c->rx_left)
			return message_done(w, c, c->active_ns);
	}
}

/* Begins the next message, or goes on with one that found a full backlog. */
static void churn_open(struct bench_worker *w, struct bench_conn *c)
{
	int ret;

	c->state = BENCH_CONN_OPEN;
	if (!c->stamp_ns[0]) {
		if (w->phase != BENCH_OPENING && !wants_more(w, c))
			return;
		c->stamp_ns[0] = c->active_ns = bench_now_ns();
		c->tx_bytes = c->rx_bytes = 0;
		c->tx_goal_bytes = c->rx_left = bench_size_of(w->opts, c->index, c->rx_msgs);
	}
	c->state = BENCH_CONN_CONNECTING;
	ret = bench_socket_open(w, c);
	if (ret == -EAGAIN)
		bench_worker_retry(w, c, BACKLOG_FULL_NS);
	else if (ret && ret != -EINPROGRESS)
		message_failed(w, c, BENCH_ERR_CONNECT, "connect", -ret);
	else
		send_some(w, c); /* on loopback it is connected already */
}

static bool is_idle(const struct bench_conn *c)
{
	return c->state == BENCH_CONN_OPEN;
}

static void churn_start(struct bench_worker *w, struct bench_conn *c)
{
	if (is_idle(c) && wants_more(w, c))
		churn_open(w, c);
}

static void churn_event(struct bench_worker *w, struct bench_conn *c, uint32_t events)
{
	if (c->state == BENCH_CONN_CONNECTING) {
		int ret;

		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return;
		ret = bench_socket_connected(c->fd);
		if (ret)
			return message_failed(w, c, BENCH_ERR_CONNECT, "connect", -ret);
	}
	if ((events & EPOLLOUT) && !send_some(w, c))
		return;
	if (events & ~(uint32_t)EPOLLOUT)
		receive(w, c);
}

static void churn_resume(struct bench_worker *w, struct bench_conn *c)
{
	(void)w, (void)c; /* a slot never queues */
}

static void churn_check(struct bench_worker *w, struct bench_conn *c, int64_t now_ns)
{
	if (w->phase != BENCH_OPENING && !is_idle(c) && now_ns - c->active_ns > w->opts->timeout_ns)
		message_failed(w, c, BENCH_ERR_TIMEOUT, "no byte of an answer in time", 0);
}

static bool churn_awaits(struct bench_worker *w, struct bench_conn *c)
{
	return w->opts->rate_per_s > 0 && c->rx_msgs < c->due_msgs;
}

const struct bench_proto bench_churn_proto = {
	.open = churn_open,
	.start = churn_start,
	.due = churn_start,
	.event = churn_event,
	.resume = churn_resume,
	.check = churn_check,
	.awaits = churn_awaits,
};
