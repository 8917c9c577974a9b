/* SPDX-License-Identifier: MIT */
/*
 * A hierarchical timing wheel (Varghese and Lauck, SOSP 1987): 4 levels of 64 slots, one tick a
 * millisecond, so starting and stopping are O(1) and a worker needs no kernel timer per connection.
 * Delays beyond the wheel's span (about 4.6 hours) are parked in its last slot and placed anew when
 * that comes round. Times are the caller's, in nanoseconds: the wheel never reads a clock.
 */
#ifndef SLUICE_TIMER_H
#define SLUICE_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TIMER_LEVELS = 4, TIMER_SLOTS = 64 };

/* Embedded in its owner; zeroed memory is a stopped timer. */
struct timer {
	struct timer *next, **pprev; /* pprev NULL: stopped */
	int64_t expires_tick;
	/* The timer is already stopped when called; may start or stop any timer, itself too. */
	void (*fire)(struct timer *timer);
};

struct timer_wheel {
	int64_t now_tick;
	uint64_t occupied[TIMER_LEVELS]; /* bit per slot that holds timers */
	struct timer *slots[TIMER_LEVELS][TIMER_SLOTS];
};

void timer_wheel_init(struct timer_wheel *wheel, int64_t now_ns);

/* Starts (or moves) timer so that fire runs in the first timer_advance at or after deadline_ns
 * (rounded up to a whole tick), never before. Started by a fire function: in a later call. */
void timer_start(struct timer_wheel *wheel, struct timer *timer, int64_t deadline_ns);

/* Stops timer; a stopped one is fine. */
void timer_stop(struct timer_wheel *wheel, struct timer *timer);

static inline bool timer_is_running(const struct timer *timer)
{
	return timer->pprev != NULL;
}

/* Fires all that is due at now_ns, in the order of ticks. Fire functions may not call it. */
void timer_advance(struct timer_wheel *wheel, int64_t now_ns);

/* Nanoseconds from now_ns until timer_advance has something to do (fire or cascade), 0 when
 * overdue, -1 when the wheel is empty. Never later than the earliest deadline's tick. */
int64_t timer_next_ns(const struct timer_wheel *wheel, int64_t now_ns);

#endif
