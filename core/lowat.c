/* SPDX-License-Identifier: MIT */
/* Owns nothing but the list's order. Invariant: on the list are those whose mark is set. */
#include "lowat.h"

#include <sys/socket.h>

#include "util.h"

static bool mark(int fd, int bytes)
{
	return !setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

void lowat_moved(struct lowat_list *list, struct lowat *lowat, int fd, uint32_t bytes,
		 int64_t now_ns)
{
	lowat->moved_ns = now_ns;
	if (lowat->set) {
		TAILQ_REMOVE(list, lowat, list);
		TAILQ_INSERT_TAIL(list, lowat, list);
		return;
	}
	if (!lowat->bytes || now_ns - lowat->since_ns > LOWAT_AFTER_NS) {
		lowat->bytes = 0;
		lowat->since_ns = now_ns;
	}
	lowat->bytes += bytes;
	if (lowat->bytes < LOWAT_AFTER_BYTES)
		return;
	lowat->bytes = 0;
	lowat->fd = fd;
	lowat->set = mark(fd, LOWAT_BYTES);
	if (lowat->set)
		TAILQ_INSERT_TAIL(list, lowat, list);
}

void lowat_reset(struct lowat_list *list, struct lowat *lowat)
{
	lowat->bytes = 0;
	if (!lowat->set)
		return;
	mark(lowat->fd, 1);
	lowat->set = false;
	TAILQ_REMOVE(list, lowat, list);
}

struct lowat *lowat_paused(struct lowat_list *list, int64_t now_ns)
{
	struct lowat *lowat = TAILQ_FIRST(list);

	if (!lowat || now_ns - lowat->moved_ns < LOWAT_PAUSE_NS)
		return NULL;
	lowat_reset(list, lowat);
	return lowat;
}

int64_t lowat_wait_ns(const struct lowat_list *list, int64_t now_ns)
{
	const struct lowat *lowat = TAILQ_FIRST(list);

	return lowat ? MAX(lowat->moved_ns + LOWAT_PAUSE_NS - now_ns, 0) : -1;
}
