/* SPDX-License-Identifier: MIT */
/*
 * `flood ask`: a client of an echo server that sends at an even pace, whatever comes back, and
 * counts each answer once. Half a second after the last question nothing is awaited any more.
 */
#include "bench/xdp_flood.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_NS (FLOOD_NS_PER_S / 2)

struct ask {
	int fd;
	uint64_t key; /* of this run: an answer to another one does not count */
	uint32_t n, asked, answered, failed;
	uint8_t *seen; /* n bytes */
};

struct question {
	uint64_t key;
	uint32_t index;
};

static int open_socket(const struct flood_opts *o)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(o->from_port)};
	int fd, err;

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (o->from_port && bind(fd, (struct sockaddr *)&sin, sizeof(sin)))
		goto fail;
	sin.sin_addr.s_addr = htonl(o->to);
	sin.sin_port = htons(o->to_port);
	if (connect(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0)
		return fd;
fail:
	err = errno;
	close(fd);
	return -err;
}

static void send_one(struct ask *a, uint32_t bytes)
{
	struct question q = {.key = a->key, .index = a->asked};
	char buf[FLOOD_BYTES_MAX] = {0};

	memcpy(buf, &q, sizeof(q));
	a->asked++;
	if (send(a->fd, buf, bytes < sizeof(q) ? sizeof(q) : bytes, 0) < 0)
		a->failed++;
}

static void receive(struct ask *a)
{
	char buf[FLOOD_BYTES_MAX];
	struct question q;
	ssize_t len;

	/* what is there at most: the answers under way, and one error per question */
	for (uint32_t i = 0; i < 2 * a->n; i++) {
		len = recv(a->fd, buf, sizeof(buf), 0);
		if (len < 0 && errno == EAGAIN)
			return;
		if (len < (ssize_t)sizeof(q))
			continue;
		memcpy(&q, buf, sizeof(q));
		if (q.key != a->key || q.index >= a->n || a->seen[q.index])
			continue;
		a->seen[q.index] = 1;
		a->answered++;
	}
}

static void run(struct ask *a, const struct flood_opts *o, uint32_t rate)
{
	struct pollfd pfd = {.fd = a->fd, .events = POLLIN};
	int64_t start_ns = flood_now_ns(), now_ns = start_ns, next_ns = start_ns, wait_ns;
	struct timespec timeout;

	while (a->answered < a->n) {
		if (a->asked < a->n && now_ns >= next_ns) {
			send_one(a, o->bytes);
			next_ns = start_ns + a->asked * FLOOD_NS_PER_S / rate;
		}
		receive(a);
		now_ns = flood_now_ns();
		wait_ns = next_ns + (a->asked == a->n ? PATIENCE_NS : 0) - now_ns;
		if (wait_ns <= 0 && a->asked == a->n)
			return;
		if (wait_ns <= 0)
			continue;
		timeout.tv_sec = wait_ns / FLOOD_NS_PER_S;
		timeout.tv_nsec = wait_ns % FLOOD_NS_PER_S;
		ppoll(&pfd, 1, &timeout, NULL);
		now_ns = flood_now_ns();
	}
}

int flood_ask(const struct flood_opts *o)
{
	uint32_t rate = o->rate ? o->rate : 1000;
	struct ask a = {.n = (double)o->seconds_ns * rate / FLOOD_NS_PER_S};

	if (o->args[0] || !a.n)
		return flood_fail("ask wants only options, and time for one datagram", 0);
	a.seen = calloc(a.n, 1);
	if (!a.seen)
		return flood_fail("memory", ENOMEM);
	a.fd = open_socket(o);
	if (a.fd < 0) {
		free(a.seen);
		return flood_fail("socket", -a.fd);
	}
	a.key = (uint64_t)flood_now_ns() ^ (uint64_t)getpid() << 48;
	run(&a, o, rate);
	printf("asked=%u answered=%u failed=%u pct=%.2f\n", a.asked, a.answered, a.failed,
	       100.0 * a.answered / a.n);
	close(a.fd);
	free(a.seen);
	return 0;
}
