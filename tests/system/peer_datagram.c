/* SPDX-License-Identifier: MIT */
/*
 * Datagram scripts, and servers that answer datagrams. Datagram number k carries the bytes from
 * position k * 65536 on.
 */
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW = 16, WINDOW_BYTES = 65536 }; /* under way: far less than a socket buffer holds */

struct talk {
	const struct peer_opt *opt;
	struct peer_addr to, from; /* from: of the last one received */
	int fd;
	uint64_t sent; /* how many */
};

static uint64_t position(uint64_t k)
{
	return k * 65536;
}

static void send_one(struct talk *talk, const void *data, size_t len)
{
	if (sendto(talk->fd, data, len, 0, &talk->to.sa, talk->to.len) != (ssize_t)len)
		peer_fail_errno("sendto");
}

static ssize_t recv_one(struct talk *talk, void *data, size_t size)
{
	ssize_t n;

	talk->from = (struct peer_addr){.kind = PEER_UDP, .len = sizeof(talk->from.un)};
	n = recvfrom(talk->fd, data, size, 0, &talk->from.sa, &talk->from.len);
	if (n < 0)
		peer_fail_errno("recvfrom");
	return n;
}

static void send_number(struct talk *talk, size_t len)
{
	static uint8_t data[PEER_CHUNK];

	if (len > sizeof(data))
		peer_fail("at most %zu bytes", sizeof(data));
	peer_bytes(talk->opt->send_seed, position(talk->sent++), data, len);
	send_one(talk, data, len);
}

static void recv_number(struct talk *talk, uint64_t k, size_t len)
{
	static uint8_t data[PEER_CHUNK];
	ssize_t n = recv_one(talk, data, sizeof(data));

	if ((size_t)n != len)
		peer_fail("datagram %llu came with %zd bytes instead of %zu", (unsigned long long)k,
			  n, len);
	if (!peer_bytes_match(talk->opt->recv_seed, position(k), data, len))
		peer_fail("datagram %llu came with other bytes", (unsigned long long)k);
}

static void act_send(struct talk *talk, char **args)
{
	send_number(talk, peer_number(args[0]));
}

static void act_recv(struct talk *talk, char **args)
{
	recv_number(talk, talk->sent - 1, peer_number(args[0]));
}

static void act_many(struct talk *talk, char **args)
{
	uint64_t count = peer_number(args[0]), first = talk->sent;
	size_t len = peer_number(args[1]), window = len ? WINDOW_BYTES / len : WINDOW;

	if (window > WINDOW)
		window = WINDOW;
	for (uint64_t received = 0; received < count; received++) {
		while (talk->sent - first < count && talk->sent - first < received + window)
			send_number(talk, len);
		recv_number(talk, first + received, len);
	}
}

static void act_text(struct talk *talk, char **args)
{
	send_one(talk, args[0], strlen(args[0]));
}

static void act_print(struct talk *talk, char **args)
{
	char data[PEER_CHUNK];
	ssize_t n = recv_one(talk, data, sizeof(data));

	(void)args;
	printf("%.*s\n", (int)n, data);
}

static void act_from(struct talk *talk, char **args)
{
	char text[PEER_TEXT_MAX];

	if (strcmp(peer_addr_format(&talk->from, text), args[0]))
		peer_fail("the answer came from %s", text);
}

static void act_is_silent(struct talk *talk, char **args)
{
	struct pollfd poll_fd = {.fd = talk->fd, .events = POLLIN};

	if (poll(&poll_fd, 1, (int)peer_number(args[0])))
		peer_fail("something came");
}

static const struct action {
	const char *name;
	int args;
	void (*act)(struct talk *talk, char **args);
} actions[] = {
	{"send", 1, act_send},           {"recv", 1, act_recv},   {"many", 2, act_many},
	{"text", 1, act_text},           {"print", 0, act_print}, {"from", 1, act_from},
	{"is-silent", 1, act_is_silent},
};

static int act(struct talk *talk, int argc, char **args)
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
		actions[i].act(talk, args + 1);
		return 1 + actions[i].args;
	}
	peer_fail("no such action");
}

int peer_datagram(int argc, char **argv, const struct peer_opt *opt)
{
	struct talk talk = {.opt = opt, .to = peer_addr_parse(argv[1])};
	struct peer_addr from = opt->from ? peer_addr_parse(opt->from) : talk.to;

	talk.fd = peer_socket(&from, opt, opt->from != NULL);
	for (int at = 2; at < argc;)
		at += act(&talk, argc - at, argv + at);
	return EXIT_SUCCESS;
}

/* echo and names. */
int peer_answer(int argc, char **argv, const struct peer_opt *opt)
{
	bool names = !strcmp(argv[0], "names");
	struct peer_addr at = peer_addr_parse(argv[1]), own;
	struct talk talk = {.opt = opt, .fd = peer_socket(&at, opt, true)};
	static char data[PEER_CHUNK];

	(void)argc;
	own = peer_addr_local(talk.fd, PEER_UDP);
	peer_announce(talk.fd, PEER_UDP);
	for (;;) {
		ssize_t len = recv_one(&talk, data, sizeof(data));
		char a[PEER_TEXT_MAX], b[PEER_TEXT_MAX];

		if (names)
			len = snprintf(data, sizeof(data), "%s %s", peer_addr_format(&own, a),
				       peer_addr_format(&talk.from, b));
		talk.to = talk.from;
		send_one(&talk, data, (size_t)len);
	}
}
