/* SPDX-License-Identifier: MIT */
/*
 * Streams that come fast and one way are worth waiting for: woken for every segment, a server
 * spends more on waking up than on the bytes. Such a source gets a receive low-water mark
 * (SO_RCVLOWAT; socket(7)), and loses it when it pauses or when its receiver answers, so that the
 * end of a message waits for LOWAT_PAUSE_NS at most.
 */
#ifndef SLUICE_LOWAT_H
#define SLUICE_LOWAT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
	LOWAT_BYTES = 512 << 10,
	LOWAT_AFTER_BYTES = 4 << 20,      /* that came one way */
	LOWAT_AFTER_NS = 8 * 1000 * 1000, /* ... within this time */
	LOWAT_PAUSE_NS = 1000 * 1000,
};

/* What a backend embeds in each socket; zeroed before use. */
struct lowat {
	uint64_t bytes; /* since since_ns */
	int64_t since_ns, moved_ns;
	int fd;
	bool set;
	TAILQ_ENTRY(lowat) list; /* set; the one that paused longest first */
};

TAILQ_HEAD(lowat_list, lowat);

/* bytes have come from fd. */
void lowat_moved(struct lowat_list *list, struct lowat *lowat, int fd, uint32_t bytes,
		 int64_t now_ns);
/* Its receiver has answered, it is moved no longer, or it closes: each byte may wake again. */
void lowat_reset(struct lowat_list *list, struct lowat *lowat);

/* One that has paused, its mark reset: what it holds has to be fetched now. NULL: none has. */
struct lowat *lowat_paused(struct lowat_list *list, int64_t now_ns);
/* When that may next be, from now; -1: there is none. */
int64_t lowat_wait_ns(const struct lowat_list *list, int64_t now_ns);

#endif
