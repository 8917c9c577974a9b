/* SPDX-License-Identifier: MIT */
/*
 * The connections of the load generator. Each keeps `depth` messages under way and sends the next
 * one when an echo is complete. A connection that fails is counted, closed and not reopened.
 *
 * Every byte sent is taken from one pattern of prime period, at a place that depends only on the
 * connection and the position in its stream: so verifying needs no copy of what was sent.
 */
#include "load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 512

int64_t load_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * LOAD_NS_PER_S + ts.tv_nsec;
}

/* Reports the first failure only: a thousand connections tend to fail alike. */
static void conn_fail(struct load *l, struct load_conn *c, uint64_t *counter, const char *what,
		      int err)
{
	const struct load_errors *e = &l->errors;

	if (!(e->connect + e->io + e->eof + e->mismatch + e->surplus))
		fprintf(stderr, "load: connection %td to %s: %s%s%s\n", c - l->conns,
			l->opts.target, what, err ? ": " : "", err ? strerror(err) : "");
	++*counter;
	if (c->state == LOAD_OPEN)
		l->open--;
	else
		l->opening--;
	c->state = LOAD_CLOSED;
	close(c->fd);
	c->fd = -1;
}

static const uint8_t *conn_pattern(const struct load *l, const struct load_conn *c, uint64_t at)
{
	return l->pattern + (c->pattern_at + at) % LOAD_PERIOD_BYTES;
}

/* Stamps the messages whose first byte is among the next n to be sent. */
static void conn_stamp(const struct load *l, struct load_conn *c, uint64_t n, int64_t now_ns)
{
	uint64_t size = l->opts.msg_bytes;
	uint64_t first = (c->tx_bytes + size - 1) / size;

	for (uint64_t i = first; i * size < c->tx_bytes + n; i++)
		c->stamp_ns[i % l->opts.depth] = now_ns;
}

/* Sends until the goal is reached or the socket is full. False when the connection failed. */
static bool conn_send(struct load *l, struct load_conn *c, int64_t now_ns)
{
	uint64_t left;
	ssize_t n;

	while ((left = c->tx_goal_bytes - c->tx_bytes)) {
		if (left > LOAD_CHUNK_BYTES)
			left = LOAD_CHUNK_BYTES;
		n = send(c->fd, conn_pattern(l, c, c->tx_bytes), left, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0) {
			conn_fail(l, c, &l->errors.io, "send", errno);
			return false;
		}
		conn_stamp(l, c, n, now_ns);
		c->tx_bytes += n;
	}
	return true;
}

static void conn_message_done(struct load *l, struct load_conn *c, int64_t now_ns)
{
	if (l->measuring) {
		l->msgs++;
		load_hist_add(&l->hist, now_ns - c->stamp_ns[c->rx_msgs % l->opts.depth]);
	}
	c->rx_msgs = c->rx_msgs + 1 == l->opts.depth ? 0 : c->rx_msgs + 1;
	c->rx_left = l->opts.msg_bytes;
	if (c->state == LOAD_OPENING) {
		c->state = LOAD_OPEN;
		l->opening--;
		l->open++;
	} else {
		c->tx_goal_bytes += l->opts.msg_bytes;
	}
}

/* Takes n bytes of echo into account. False when the connection failed. */
static bool conn_received(struct load *l, struct load_conn *c, uint64_t n, int64_t now_ns)
{
	if (l->opts.verify && memcmp(l->rx, conn_pattern(l, c, c->rx_bytes), n)) {
		conn_fail(l, c, &l->errors.mismatch, "the echo differs from what was sent", 0);
		return false;
	}
	c->rx_bytes += n;
	while (n >= c->rx_left) {
		n -= c->rx_left;
		conn_message_done(l, c, now_ns);
	}
	c->rx_left -= n;
	return true;
}

/* Receives what is there and answers each complete echo with the next message. */
static void conn_receive(struct load *l, struct load_conn *c, bool hangup)
{
	uint64_t missing;
	int64_t now_ns;
	ssize_t n;

	do {
		missing = c->tx_bytes - c->rx_bytes;
		if (missing > LOAD_CHUNK_BYTES)
			missing = LOAD_CHUNK_BYTES;
		/* TCP drops the bytes without a copy when asked to truncate */
		n = recv(c->fd, l->rx, missing ? missing : 1, l->opts.verify ? 0 : MSG_TRUNC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			return conn_fail(l, c, &l->errors.io, "recv", errno);
		if (n == 0)
			return conn_fail(l, c, &l->errors.eof, "closed by the server", 0);
		if (!missing)
			return conn_fail(l, c, &l->errors.surplus, "more echoed than sent", 0);
		now_ns = load_now_ns();
		if (!conn_received(l, c, n, now_ns) || !conn_send(l, c, now_ns))
			return;
		/* a short read has emptied the socket: the next byte raises a new edge */
	} while (n < 0 || n == LOAD_CHUNK_BYTES || hangup);
}

static void conn_connected(struct load *l, struct load_conn *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len))
		err = errno;
	if (err)
		return conn_fail(l, c, &l->errors.connect, "connect", err);
	c->state = LOAD_OPENING;
	c->tx_goal_bytes = l->opts.msg_bytes;
	conn_send(l, c, load_now_ns());
}

static void conn_event(struct load *l, struct load_conn *c, uint32_t events)
{
	if (c->state == LOAD_CONNECTING) {
		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return;
		conn_connected(l, c);
	} else if ((events & EPOLLOUT) && c->tx_bytes < c->tx_goal_bytes) {
		conn_send(l, c, load_now_ns());
	}
	if (c->fd >= 0 && (events & ~EPOLLOUT))
		conn_receive(l, c, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

static void conn_open(struct load *l, struct load_conn *c)
{
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = c,
	};
	int on = 1;

	l->opening++;
	c->state = LOAD_CONNECTING;
	c->fd = socket(l->peer.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return conn_fail(l, c, &l->errors.connect, "socket", errno);
	if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    epoll_ctl(l->epfd, EPOLL_CTL_ADD, c->fd, &ev))
		return conn_fail(l, c, &l->errors.connect, "set up the socket", errno);
	/* interrupted, it goes on in the background like one in progress */
	if (connect(c->fd, (struct sockaddr *)&l->peer, l->peer_len) && errno != EINPROGRESS &&
	    errno != EINTR)
		conn_fail(l, c, &l->errors.connect, "connect", errno);
}

void load_conns_open_some(struct load *l)
{
	/* one refusal is enough: the others would be refused as well */
	while (l->next < l->opts.conns && l->opening < LOAD_OPENING_MAX && !l->errors.connect)
		conn_open(l, &l->conns[l->next++]);
}

void load_conns_start(struct load *l)
{
	for (uint32_t i = 0; i < l->opts.conns; i++) {
		struct load_conn *c = &l->conns[i];

		if (c->state != LOAD_OPEN)
			continue;
		c->tx_goal_bytes += (uint64_t)l->opts.msg_bytes * l->opts.depth;
		conn_send(l, c, load_now_ns());
	}
}

int load_conns_turn(struct load *l, int64_t deadline_ns)
{
	struct epoll_event evs[EVENTS_MAX];
	int64_t left_ns = deadline_ns - load_now_ns();
	int n;

	if (left_ns <= 0)
		return 0;
	n = epoll_wait(l->epfd, evs, EVENTS_MAX,
		       l->opts.spin ? 0 : (left_ns + LOAD_NS_PER_MS - 1) / LOAD_NS_PER_MS);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++)
		conn_event(l, evs[i].data.ptr, evs[i].events);
	return 0;
}

/* A fixed sequence (xorshift), continued past its period so that any chunk is contiguous. */
static void pattern_fill(uint8_t *pattern)
{
	uint32_t x = 2463534242u;

	for (uint32_t i = 0; i < LOAD_PERIOD_BYTES; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		pattern[i] = x >> 24;
	}
	for (uint32_t i = 0; i < LOAD_CHUNK_BYTES; i++)
		pattern[LOAD_PERIOD_BYTES + i] = pattern[i];
}

int load_conns_init(struct load *l)
{
	uint32_t depth = l->opts.depth;
	int64_t *stamps;

	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0)
		return -errno;
	l->conns = calloc(l->opts.conns, sizeof(*l->conns));
	stamps = calloc((size_t)l->opts.conns * depth, sizeof(*stamps));
	l->pattern = malloc(LOAD_PERIOD_BYTES + LOAD_CHUNK_BYTES);
	l->rx = malloc(LOAD_CHUNK_BYTES);
	if (!l->conns || !stamps || !l->pattern || !l->rx) {
		free(stamps);
		load_conns_free(l);
		return -ENOMEM;
	}
	pattern_fill(l->pattern);
	for (uint32_t i = 0; i < l->opts.conns; i++) {
		l->conns[i] = (struct load_conn){
			.fd = -1,
			.rx_left = l->opts.msg_bytes,
			.pattern_at = i * 7919 % LOAD_PERIOD_BYTES,
			.stamp_ns = stamps + (size_t)i * depth,
		};
	}
	return 0;
}

void load_conns_free(struct load *l)
{
	for (uint32_t i = 0; l->conns && i < l->opts.conns; i++)
		if (l->conns[i].fd >= 0)
			close(l->conns[i].fd);
	if (l->conns)
		free(l->conns[0].stamp_ns);
	free(l->conns);
	free(l->pattern);
	free(l->rx);
	close(l->epfd);
}
