/* SPDX-License-Identifier: MIT */
/* The bytes that streams and datagrams carry, and what both kinds of scripts can do. */
#include "peer.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The finalizer of SplitMix64: neighbouring positions look unrelated. */
static uint64_t word_at(uint64_t seed, uint64_t index)
{
	uint64_t z = seed * 0xd1342543de82ef95 + (index + 1) * 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

void peer_bytes(uint64_t seed, uint64_t position, uint8_t *out, size_t len)
{
	while (len) {
		uint64_t word = word_at(seed, position / 8);
		size_t skip = position % 8, n = 8 - skip;

		if (n > len)
			n = len;
		memcpy(out, (uint8_t *)&word + skip, n);
		out += n;
		position += n;
		len -= n;
	}
}

bool peer_bytes_match(uint64_t seed, uint64_t position, const uint8_t *data, size_t len)
{
	static uint8_t expected[PEER_CHUNK];

	peer_bytes(seed, position, expected, len);
	return !memcmp(expected, data, len);
}

int peer_gen(int argc, char **argv, const struct peer_opt *opt)
{
	uint64_t total = peer_number(argv[1]), done = 0;
	static uint8_t data[PEER_CHUNK];

	(void)argc;
	while (done < total) {
		size_t len = total - done < sizeof(data) ? total - done : sizeof(data), written = 0;

		peer_bytes(opt->send_seed, done, data, len);
		while (written < len) {
			ssize_t n = write(STDOUT_FILENO, data + written, len - written);

			if (n < 0)
				peer_fail_errno("write");
			written += (size_t)n;
		}
		done += len;
	}
	return EXIT_SUCCESS;
}

static void wait_for_line(void)
{
	char c;

	do
		if (read(STDIN_FILENO, &c, 1) != 1)
			peer_fail("standard input has ended");
	while (c != '\n');
}

bool peer_act_common(const char *action, char **args, int *used)
{
	*used = 1;
	if (!strcmp(action, "say")) {
		printf("%s\n", args[0]);
	} else if (!strcmp(action, "pause")) {
		poll(NULL, 0, (int)peer_number(args[0]));
	} else if (!strcmp(action, "wait")) {
		*used = 0;
		wait_for_line();
	} else {
		return false;
	}
	return true;
}
