/* SPDX-License-Identifier: MIT */
/*
 * The timing wheel. Invariant: a running timer is on exactly one list, either of a slot or of those
 * that are about to fire; a slot's bit in occupied is set while its list is not empty; no timer
 * expires before now_tick.
 *
 * Level 0 has a slot a tick and fires from there; a slot of level L spans 64^L ticks and is dealt
 * out to the levels below (cascades) when its first tick comes.
 */
#include "timer.h"

#include <assert.h>
#include <string.h>

#include "util.h"

enum { SLOT_BITS = 6, SLOT_MASK = TIMER_SLOTS - 1 };

#define SPAN_TICKS (INT64_C(1) << (SLOT_BITS * TIMER_LEVELS))
#define TICK_NONE INT64_MAX

_Static_assert(TIMER_SLOTS == 1 << SLOT_BITS, "a slot number is SLOT_BITS bits of a tick");

void timer_wheel_init(struct timer_wheel *wheel, int64_t now_ns)
{
	memset(wheel, 0, sizeof(*wheel));
	wheel->now_tick = now_ns / NS_PER_MS;
}

static void list_push(struct timer **head, struct timer *timer)
{
	timer->next = *head;
	timer->pprev = head;
	if (timer->next)
		timer->next->pprev = &timer->next;
	*head = timer;
}

static void wheel_place(struct timer_wheel *wheel, struct timer *timer)
{
	int64_t tick = timer->expires_tick;
	int64_t delta = tick - wheel->now_tick;
	int level = 0;
	int slot;

	if (delta >= SPAN_TICKS) {
		delta = SPAN_TICKS - 1;
		tick = wheel->now_tick + delta;
	}
	while (delta >> (SLOT_BITS * (level + 1)))
		level++;
	slot = (tick >> (SLOT_BITS * level)) & SLOT_MASK;
	list_push(&wheel->slots[level][slot], timer);
	wheel->occupied[level] |= UINT64_C(1) << slot;
}

void timer_start(struct timer_wheel *wheel, struct timer *timer, int64_t deadline_ns)
{
	int64_t tick = deadline_ns / NS_PER_MS + (deadline_ns % NS_PER_MS > 0);

	assert(timer->fire);
	timer_stop(wheel, timer);
	timer->expires_tick = MAX(tick, wheel->now_tick);
	wheel_place(wheel, timer);
}

void timer_stop(struct timer_wheel *wheel, struct timer *timer)
{
	uintptr_t offset = (uintptr_t)timer->pprev - (uintptr_t)wheel->slots;

	if (!timer->pprev)
		return;
	*timer->pprev = timer->next;
	if (timer->next) {
		timer->next->pprev = timer->pprev;
	} else if (offset < sizeof(wheel->slots)) {
		size_t slot = offset / sizeof(wheel->slots[0][0]);

		wheel->occupied[slot / TIMER_SLOTS] &= ~(UINT64_C(1) << (slot % TIMER_SLOTS));
	}
	timer->next = NULL;
	timer->pprev = NULL;
}

static uint64_t rotate_right(uint64_t bits, unsigned n)
{
	return bits >> n | bits << (-n & 63);
}

/* The next tick from now_tick on at which a slot has to be read, or TICK_NONE. */
static int64_t wheel_next_tick(const struct timer_wheel *wheel)
{
	int64_t next = TICK_NONE;

	if (wheel->occupied[0])
		next = wheel->now_tick + __builtin_ctzll(rotate_right(wheel->occupied[0],
								      wheel->now_tick & SLOT_MASK));
	for (int level = 1; level < TIMER_LEVELS; level++) {
		/* The present slot of a level was dealt out when its time came: what is in it now
		 * is for its next round. So the search starts behind it. */
		int64_t from = (wheel->now_tick >> (SLOT_BITS * level)) + 1;
		uint64_t bits = wheel->occupied[level];

		if (bits) {
			from += __builtin_ctzll(rotate_right(bits, from & SLOT_MASK));
			next = MIN(next, from << (SLOT_BITS * level));
		}
	}
	return next;
}

/* Takes all timers of a slot; ret_first becomes the head of their list. */
static void slot_take(struct timer_wheel *wheel, int level, struct timer **ret_first)
{
	int slot = (wheel->now_tick >> (SLOT_BITS * level)) & SLOT_MASK;
	struct timer *first = wheel->slots[level][slot];

	wheel->slots[level][slot] = NULL;
	wheel->occupied[level] &= ~(UINT64_C(1) << slot);
	*ret_first = first;
	if (first)
		first->pprev = ret_first;
}

static void wheel_cascade(struct timer_wheel *wheel)
{
	for (int level = 1; level < TIMER_LEVELS; level++) {
		struct timer *timer, *next;

		if (wheel->now_tick & ((INT64_C(1) << (SLOT_BITS * level)) - 1))
			break;
		slot_take(wheel, level, &timer);
		for (; timer; timer = next) {
			next = timer->next;
			wheel_place(wheel, timer);
		}
	}
}

void timer_advance(struct timer_wheel *wheel, int64_t now_ns)
{
	int64_t until_tick = now_ns / NS_PER_MS;
	struct timer *due = NULL, **tail = &due;

	if (until_tick < wheel->now_tick)
		return;
	/* Everything due is collected before the first fires: what a fire function starts then
	 * counts from until_tick and cannot be caught in this round. */
	for (;;) {
		int64_t next_tick;

		slot_take(wheel, 0, tail);
		while (*tail)
			tail = &(*tail)->next;
		next_tick = wheel_next_tick(wheel);
		if (next_tick > until_tick)
			break;
		wheel->now_tick = next_tick;
		wheel_cascade(wheel);
	}
	wheel->now_tick = until_tick;

	while (due) {
		struct timer *timer = due;

		timer_stop(wheel, timer);
		timer->fire(timer);
	}
}

int64_t timer_next_ns(const struct timer_wheel *wheel, int64_t now_ns)
{
	int64_t next_tick = wheel_next_tick(wheel);

	if (next_tick == TICK_NONE)
		return -1;
	return MAX(next_tick * NS_PER_MS - now_ns, 0);
}
