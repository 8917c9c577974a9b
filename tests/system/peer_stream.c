/* SPDX-License-Identifier: MIT */
/*
 * Stream scripts. Each action is done on all connections of a run before the next one begins. Bytes
 * move in flow(), which serves all connections at once and never blocks on one of them.
 */
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct conn {
	int fd; /* -1: lost, in an action that allows it */
	uint64_t sent, received, send_goal, recv_goal;
};

struct run {
	const struct peer_opt *opt;
	struct conn *conns;
	struct pollfd *polls;
	size_t n;
	bool may_lose;
};

/* ---- moving bytes ---- */

static size_t chunk(uint64_t done, uint64_t goal)
{
	return goal - done < PEER_CHUNK ? goal - done : PEER_CHUNK;
}

static void lose(struct run *run, struct conn *conn, const char *what)
{
	if (!run->may_lose)
		peer_fail("connection %zd: %s: %s after %llu bytes sent, %llu received",
			  conn - run->conns, what, strerror(errno), (unsigned long long)conn->sent,
			  (unsigned long long)conn->received);
	close(conn->fd);
	conn->fd = -1;
}

static bool flow_send(struct run *run, struct conn *conn)
{
	static uint8_t data[PEER_CHUNK];
	size_t len = chunk(conn->sent, conn->send_goal);
	ssize_t n;

	if (conn->fd < 0 || !len)
		return false;
	peer_bytes(run->opt->send_seed, conn->sent, data, len);
	n = send(conn->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0)
		conn->sent += (uint64_t)n;
	else if (errno != EAGAIN && errno != EINTR)
		lose(run, conn, "send");
	return n > 0;
}

static bool flow_recv(struct run *run, struct conn *conn)
{
	static uint8_t data[PEER_CHUNK];
	size_t len = chunk(conn->received, conn->recv_goal);
	ssize_t n;

	if (conn->fd < 0 || !len)
		return false;
	n = recv(conn->fd, data, len, MSG_DONTWAIT);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			lose(run, conn, "recv");
		return false;
	}
	if (n == 0)
		peer_fail("connection %zd ended after %llu bytes received, %llu to come",
			  conn - run->conns, (unsigned long long)conn->received,
			  (unsigned long long)(conn->recv_goal - conn->received));
	if (!peer_bytes_match(run->opt->recv_seed, conn->received, data, (size_t)n))
		peer_fail("connection %zd: wrong bytes between positions %llu and %llu",
			  conn - run->conns, (unsigned long long)conn->received,
			  (unsigned long long)conn->received + (unsigned long long)n);
	conn->received += (uint64_t)n;
	return true;
}

/* Sets what each connection has left to do, as poll events. Returns how many have something. */
static size_t flow_left(struct run *run)
{
	size_t left = 0;

	for (size_t i = 0; i < run->n; i++) {
		const struct conn *conn = &run->conns[i];
		short events = 0;

		if (conn->send_goal > conn->sent)
			events |= POLLOUT;
		if (conn->recv_goal > conn->received)
			events |= POLLIN;
		run->polls[i] = (struct pollfd){.fd = events ? conn->fd : -1, .events = events};
		left += run->polls[i].fd >= 0;
	}
	return left;
}

/* Until every goal is reached; false when nothing moved for quiet_ms (-1: wait on). */
static bool flow(struct run *run, int quiet_ms)
{
	for (;;) {
		bool moved = false;

		for (size_t i = 0; i < run->n; i++) {
			moved |= flow_send(run, &run->conns[i]);
			moved |= flow_recv(run, &run->conns[i]);
		}
		if (moved)
			continue;
		if (!flow_left(run))
			return true;
		if (poll(run->polls, run->n, quiet_ms) == 0)
			return false;
	}
}

static void goals(struct run *run, uint64_t send, uint64_t recv)
{
	for (size_t i = 0; i < run->n; i++) {
		run->conns[i].send_goal = run->conns[i].sent + send;
		run->conns[i].recv_goal = run->conns[i].received + recv;
	}
}

/* ---- actions ---- */

static void act_send(struct run *run, char **args)
{
	goals(run, peer_number(args[0]), 0);
	flow(run, -1);
}

static void act_recv(struct run *run, char **args)
{
	goals(run, 0, peer_number(args[0]));
	flow(run, -1);
}

static void act_swap(struct run *run, char **args)
{
	goals(run, peer_number(args[0]), peer_number(args[0]));
	flow(run, -1);
}

/* All that was sent comes back. */
static void act_recv_sent(struct run *run, char **args)
{
	(void)args;
	goals(run, 0, 0);
	for (size_t i = 0; i < run->n; i++)
		run->conns[i].recv_goal = run->conns[i].sent;
	flow(run, -1);
}

static void act_send_to(struct run *run, char **args)
{
	goals(run, 0, 0);
	for (size_t i = 0; i < run->n; i++)
		run->conns[i].send_goal = peer_number(args[0]);
	flow(run, -1);
}

/* To position N in both directions, whatever has moved already. */
static void act_swap_to(struct run *run, char **args)
{
	for (size_t i = 0; i < run->n; i++) {
		run->conns[i].send_goal = peer_number(args[0]);
		run->conns[i].recv_goal = peer_number(args[0]);
	}
	flow(run, -1);
}

static void act_fill(struct run *run, char **args)
{
	uint64_t sent = 0;
	size_t lost = 0;

	goals(run, peer_number(args[0]), 0);
	run->may_lose = true;
	if (flow(run, (int)peer_number(args[1])) && run->n == 1)
		peer_fail("was never stopped");
	run->may_lose = false;
	for (size_t i = 0; i < run->n; i++) {
		sent += run->conns[i].sent;
		lost += run->conns[i].fd < 0;
	}
	printf("filled %llu lost %zu\n", (unsigned long long)sent, lost);
}

static void act_text(struct run *run, char **args)
{
	size_t len = strlen(args[0]);

	for (size_t i = 0; i < run->n; i++)
		if (send(run->conns[i].fd, args[0], len, MSG_NOSIGNAL) != (ssize_t)len)
			peer_fail_errno("send");
}

static void act_urgent(struct run *run, char **args)
{
	(void)args;
	for (size_t i = 0; i < run->n; i++)
		if (send(run->conns[i].fd, "!", 1, MSG_NOSIGNAL | MSG_OOB) != 1)
			peer_fail_errno("send");
}

static void act_expect(struct run *run, char **args)
{
	size_t len = strlen(args[0]);
	char data[PEER_TEXT_MAX];

	for (size_t i = 0; i < run->n; i++) {
		ssize_t n = recv(run->conns[i].fd, data, len, MSG_WAITALL);

		if (n != (ssize_t)len || memcmp(data, args[0], len))
			peer_fail("connection %zu: got %zd bytes, '%.*s'", i, n,
				  (int)(n > 0 ? n : 0), data);
	}
}

static void act_print(struct run *run, char **args)
{
	char data[4096];
	ssize_t n;

	(void)args;
	for (size_t i = 0; i < run->n; i++) {
		while ((n = recv(run->conns[i].fd, data, sizeof(data), 0)) > 0)
			fwrite(data, 1, (size_t)n, stdout);
		if (n < 0)
			peer_fail_errno("recv");
	}
	fflush(stdout);
}

static void act_shut(struct run *run, char **args)
{
	(void)args;
	for (size_t i = 0; i < run->n; i++)
		if (shutdown(run->conns[i].fd, SHUT_WR))
			peer_fail_errno("shutdown");
}

static void act_close(struct run *run, char **args)
{
	(void)args;
	for (size_t i = 0; i < run->n; i++)
		if (run->conns[i].fd >= 0)
			close(run->conns[i].fd);
	run->n = 0;
}

static void act_reset(struct run *run, char **args)
{
	static const struct linger linger = {.l_onoff = 1};

	for (size_t i = 0; i < run->n; i++)
		setsockopt(run->conns[i].fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	act_close(run, args);
}

/* Reads and forgets until the connection is over: 0 or errno. */
static int end_of(const struct conn *conn)
{
	char data[4096];
	ssize_t n;

	while ((n = recv(conn->fd, data, sizeof(data), 0)) > 0)
		;
	return n < 0 ? errno : 0;
}

static void act_eof(struct run *run, char **args)
{
	char c;

	(void)args;
	for (size_t i = 0; i < run->n; i++) {
		ssize_t n = recv(run->conns[i].fd, &c, 1, 0);

		if (n)
			peer_fail("connection %zu: %s instead of the end", i,
				  n < 0 ? strerror(errno) : "more bytes");
	}
}

static void act_is_reset(struct run *run, char **args)
{
	(void)args;
	for (size_t i = 0; i < run->n; i++) {
		int err = end_of(&run->conns[i]);

		if (err != ECONNRESET && err != EPIPE)
			peer_fail("connection %zu: %s instead of a reset", i,
				  err ? strerror(err) : "the end");
	}
}

static void act_is_gone(struct run *run, char **args)
{
	(void)args;
	for (size_t i = 0; i < run->n; i++)
		end_of(&run->conns[i]);
}

static void act_is_silent(struct run *run, char **args)
{
	int ms = (int)peer_number(args[0]);

	for (size_t i = 0; i < run->n; i++)
		run->polls[i] = (struct pollfd){.fd = run->conns[i].fd, .events = POLLIN};
	if (poll(run->polls, run->n, ms))
		peer_fail("something came");
}

static const struct action {
	const char *name;
	int args;
	void (*act)(struct run *run, char **args);
} actions[] = {
	{"send", 1, act_send},
	{"recv", 1, act_recv},
	{"swap", 1, act_swap},
	{"swap-to", 1, act_swap_to},
	{"fill", 2, act_fill},
	{"send-to", 1, act_send_to},
	{"recv-sent", 0, act_recv_sent},
	{"urgent", 0, act_urgent},
	{"text", 1, act_text},
	{"print", 0, act_print},
	{"expect", 1, act_expect},
	{"shut", 0, act_shut},
	{"eof", 0, act_eof},
	{"close", 0, act_close},
	{"reset", 0, act_reset},
	{"is-gone", 0, act_is_gone},
	{"is-reset", 0, act_is_reset},
	{"is-silent", 1, act_is_silent},
};

/* Does the first action of args; returns how many words it took. */
static int act(struct run *run, int argc, char **args)
{
	int used;

	peer_doing(args[0], argc > 1 ? args[1] : "");
	if ((argc > 1 || !strcmp(args[0], "wait")) && peer_act_common(args[0], args + 1, &used))
		return 1 + used;
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(args[0], actions[i].name))
			continue;
		if (argc - 1 < actions[i].args)
			peer_fail("its argument is missing");
		actions[i].act(run, args + 1);
		return 1 + actions[i].args;
	}
	peer_fail("no such action");
}

static void run_script(struct run *run, int argc, char **args)
{
	while (argc) {
		int used = act(run, argc, args);

		argc -= used;
		args += used;
	}
	act_close(run, NULL);
}

/* ---- the two commands ---- */

static struct run run_make(const struct peer_opt *opt)
{
	struct run run = {.opt = opt};

	run.conns = calloc(opt->conns, sizeof(*run.conns));
	run.polls = calloc(opt->conns, sizeof(*run.polls));
	if (!run.conns || !run.polls)
		peer_fail("out of memory");
	return run;
}

static void run_add(struct run *run, int fd)
{
	run->conns[run->n++] = (struct conn){.fd = fd};
}

int peer_connect(int argc, char **argv, const struct peer_opt *opt)
{
	struct peer_addr to = peer_addr_parse(argv[1]), from = to;
	struct run run = run_make(opt);

	if (opt->from)
		from = peer_addr_parse(opt->from);
	for (size_t round = 0; round < opt->rounds || !opt->rounds; round++) {
		peer_doing("connect", argv[1]);
		while (run.n < opt->conns) {
			int fd = peer_socket(&from, opt, opt->from != NULL);

			if (connect(fd, &to.sa, to.len))
				peer_fail_errno("connect");
			run_add(&run, fd);
		}
		run_script(&run, argc - 2, argv + 2);
	}
	return EXIT_SUCCESS;
}

int peer_listen(int argc, char **argv, const struct peer_opt *opt)
{
	struct peer_addr at = peer_addr_parse(argv[1]);
	struct run run = run_make(opt);
	int listener = peer_socket(&at, opt, true);

	if (listen(listener, 4096))
		peer_fail_errno("listen");
	peer_announce(listener, at.kind);
	for (size_t round = 0; round < opt->rounds || !opt->rounds; round++) {
		peer_doing("accept", argv[1]);
		while (run.n < opt->conns) {
			int fd = accept(listener, NULL, NULL);

			if (fd < 0)
				peer_fail_errno("accept");
			run_add(&run, fd);
		}
		run_script(&run, argc - 2, argv + 2);
	}
	return EXIT_SUCCESS;
}
