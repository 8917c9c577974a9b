/* SPDX-License-Identifier: MIT */
/* The timing wheel: single cases, then a comparison with a plain list over random operations. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/timer.h"
#include "core/util.h"

#define MS NS_PER_MS
#define SPAN_MS (INT64_C(1) << 24)

struct probe {
	struct timer timer;
	int fired;
};

static void probe_fire(struct timer *timer)
{
	struct probe *probe = container_of(timer, struct probe, timer);

	cr_assert(!timer_is_running(timer));
	probe->fired++;
}

static struct timer_wheel *wheel_new(int64_t now_ns)
{
	struct timer_wheel *wheel = malloc(sizeof(*wheel));

	timer_wheel_init(wheel, now_ns);
	return wheel;
}

/* Delays around every border of the wheel, from starts around every border. */
static const int64_t borders_ms[] = {
	0,      1,      2,      62,          63,      64,          65,          127,
	128,    4094,   4095,   4096,        4097,    8191,        8192,        262143,
	262144, 262145, 524288, SPAN_MS - 1, SPAN_MS, SPAN_MS + 1, SPAN_MS * 2, SPAN_MS * 3 + 77,
};

Test(timer, fires_at_its_tick_and_not_before)
{
	for (size_t i = 0; i < ARRAY_SIZE(borders_ms); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(borders_ms); j++) {
			int64_t now = borders_ms[i] * MS, deadline = now + borders_ms[j] * MS;
			struct timer_wheel *wheel = wheel_new(now);
			struct probe probe = {.timer.fire = probe_fire};

			timer_start(wheel, &probe.timer, deadline);
			if (deadline > now)
				timer_advance(wheel, deadline - 1);
			cr_assert_eq(probe.fired, 0, "early: now %ld ms, delay %ld ms",
				     borders_ms[i], borders_ms[j]);
			timer_advance(wheel, deadline);
			cr_assert_eq(probe.fired, 1, "late: now %ld ms, delay %ld ms",
				     borders_ms[i], borders_ms[j]);
			cr_assert_eq(timer_next_ns(wheel, deadline), -1);
			free(wheel);
		}
	}
}

/* A loop that sleeps for timer_next_ns meets every deadline and seldom wakes for nothing. */
Test(timer, next_leads_to_the_deadline)
{
	for (size_t i = 0; i < ARRAY_SIZE(borders_ms); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(borders_ms); j++) {
			int64_t now = borders_ms[i] * MS, deadline = now + borders_ms[j] * MS;
			struct timer_wheel *wheel = wheel_new(now);
			struct probe probe = {.timer.fire = probe_fire};
			int turns = 0;

			timer_start(wheel, &probe.timer, deadline);
			while (!probe.fired) {
				int64_t wait = timer_next_ns(wheel, now);

				cr_assert_geq(wait, 0);
				cr_assert_leq(now + wait, deadline);
				now += wait;
				timer_advance(wheel, now);
				cr_assert_leq(++turns, 10);
			}
			cr_assert_eq(now, deadline);
			free(wheel);
		}
	}
}

Test(timer, deadline_within_a_tick_is_rounded_up)
{
	struct timer_wheel *wheel = wheel_new(0);
	struct probe probe = {.timer.fire = probe_fire};

	timer_start(wheel, &probe.timer, 3 * MS + 1);
	timer_advance(wheel, 3 * MS + 999999);
	cr_assert_eq(probe.fired, 0);
	cr_assert_eq(timer_next_ns(wheel, 3 * MS + 999999), 1);
	timer_advance(wheel, 4 * MS);
	cr_assert_eq(probe.fired, 1);
	free(wheel);
}

Test(timer, overdue_fires_in_the_next_advance)
{
	struct timer_wheel *wheel = wheel_new(1000 * MS);
	struct probe probe = {.timer.fire = probe_fire};

	timer_start(wheel, &probe.timer, 5 * MS);
	cr_assert_eq(timer_next_ns(wheel, 1000 * MS), 0);
	timer_advance(wheel, 1000 * MS);
	cr_assert_eq(probe.fired, 1);
	timer_start(wheel, &probe.timer, -1);
	timer_advance(wheel, 1000 * MS + 1);
	cr_assert_eq(probe.fired, 2);
	free(wheel);
}

Test(timer, clock_that_stands_or_steps_back_is_harmless)
{
	struct timer_wheel *wheel = wheel_new(1000 * MS);
	struct probe probe = {.timer.fire = probe_fire};

	timer_start(wheel, &probe.timer, 1010 * MS);
	timer_advance(wheel, 1000 * MS);
	timer_advance(wheel, 1 * MS);
	cr_assert_eq(probe.fired, 0);
	timer_advance(wheel, 1010 * MS);
	cr_assert_eq(probe.fired, 1);
	free(wheel);
}

Test(timer, moved_and_stopped)
{
	struct timer_wheel *wheel = wheel_new(0);
	struct probe probe = {.timer.fire = probe_fire};

	cr_assert_eq(timer_next_ns(wheel, 0), -1);
	timer_stop(wheel, &probe.timer);
	timer_start(wheel, &probe.timer, 10 * MS);
	timer_start(wheel, &probe.timer, 300000 * MS);
	cr_assert(timer_is_running(&probe.timer));
	timer_advance(wheel, 100000 * MS);
	cr_assert_eq(probe.fired, 0);
	timer_start(wheel, &probe.timer, 100005 * MS);
	timer_advance(wheel, 100005 * MS);
	cr_assert_eq(probe.fired, 1);
	timer_start(wheel, &probe.timer, 200000 * MS);
	timer_stop(wheel, &probe.timer);
	timer_stop(wheel, &probe.timer);
	cr_assert(!timer_is_running(&probe.timer));
	cr_assert_eq(timer_next_ns(wheel, 100005 * MS), -1);
	timer_advance(wheel, 900000 * MS);
	cr_assert_eq(probe.fired, 1);
	free(wheel);
}

Test(timer, deadline_at_the_end_of_time)
{
	struct timer_wheel *wheel = wheel_new(0);
	struct probe probe = {.timer.fire = probe_fire};
	int64_t now = 0;

	timer_start(wheel, &probe.timer, INT64_MAX);
	for (int i = 0; i < 100; i++) {
		int64_t wait = timer_next_ns(wheel, now);

		cr_assert_gt(wait, 0);
		timer_advance(wheel, now += wait);
	}
	cr_assert_eq(probe.fired, 0);
	cr_assert(timer_is_running(&probe.timer));
	free(wheel);
}

/* A timer that starts itself anew, overdue at once, must not keep timer_advance from returning. */
struct again {
	struct timer timer;
	struct timer_wheel *wheel;
	int fired;
};

static void again_fire(struct timer *timer)
{
	struct again *again = container_of(timer, struct again, timer);

	again->fired++;
	timer_start(again->wheel, timer, 0);
}

Test(timer, restart_inside_fire_waits_for_the_next_advance)
{
	struct timer_wheel *wheel = wheel_new(0);
	struct again again = {.timer.fire = again_fire, .wheel = wheel};

	timer_start(wheel, &again.timer, 1);
	timer_advance(wheel, 5000 * MS);
	cr_assert_eq(again.fired, 1);
	cr_assert_eq(timer_next_ns(wheel, 5000 * MS), 0);
	timer_advance(wheel, 5000 * MS);
	cr_assert_eq(again.fired, 2);
	free(wheel);
}

/* ---- the comparison ---- */

enum { MODEL_TIMERS = 300, MODEL_STEPS = 150000 };

/* What a timer must do, told by a plain array that is searched from end to end. */
static struct model {
	struct timer_wheel wheel;
	struct model_timer {
		struct timer timer;
		int64_t tick;
		bool running, due; /* due: must fire in the advance that is under way */
	} timers[MODEL_TIMERS];
	int64_t now_ns, last_tick;
	uint64_t random, fired;
} model;

#define CHECK(condition)                                                              \
	do {                                                                          \
		if (!(condition))                                                     \
			cr_assert_fail("%s, at %ld ns after %lu firings", #condition, \
				       model.now_ns, model.fired);                    \
	} while (0)

/* xorshift64 (Marsaglia 2003): the same numbers everywhere. */
static uint64_t model_random(uint64_t below)
{
	model.random ^= model.random << 13;
	model.random ^= model.random >> 7;
	model.random ^= model.random << 17;
	return (model.random >> 11) % below;
}

/* As many bits as not: short, middling and long delays are equally likely. */
static int64_t model_delay_ns(unsigned bits_max)
{
	return (int64_t)model_random(UINT64_C(1) << (1 + model_random(bits_max)));
}

static void model_start(struct model_timer *t)
{
	int64_t deadline = model.now_ns + model_delay_ns(46); /* up to 19 hours */

	if (model_random(50) == 0)
		deadline = model.now_ns - model_delay_ns(30);
	timer_start(&model.wheel, &t->timer, deadline);
	t->tick = (deadline + MS - 1) / MS;
	t->running = true;
	t->due = false;
}

static void model_stop(struct model_timer *t)
{
	timer_stop(&model.wheel, &t->timer);
	t->running = t->due = false;
}

static struct model_timer *model_any(void)
{
	return &model.timers[model_random(MODEL_TIMERS)];
}

static void model_fire(struct timer *timer)
{
	struct model_timer *t = container_of(timer, struct model_timer, timer);

	CHECK(t->running && t->due);
	CHECK(!timer_is_running(timer));
	CHECK(t->tick >= model.last_tick);
	model.last_tick = t->tick;
	t->running = t->due = false;
	model.fired++;
	switch (model_random(8)) {
	case 0:
		model_start(t);
		break;
	case 1:
		model_start(model_any());
		break;
	case 2:
		model_stop(model_any());
		break;
	default:
		break;
	}
}

static void model_advance(int64_t ns)
{
	int64_t floor_tick = model.wheel.now_tick;

	model.now_ns += ns;
	model.last_tick = INT64_MIN;
	for (int i = 0; i < MODEL_TIMERS; i++) {
		struct model_timer *t = &model.timers[i];

		/* What was overdue when it was started counts as due at the tick of then. */
		t->tick = MAX(t->tick, floor_tick);
		t->due = t->running && t->tick <= model.now_ns / MS;
	}
	timer_advance(&model.wheel, model.now_ns);
	for (int i = 0; i < MODEL_TIMERS; i++) {
		CHECK(!model.timers[i].due);
		CHECK(model.timers[i].running == timer_is_running(&model.timers[i].timer));
	}
}

static void model_check_next(void)
{
	int64_t next = timer_next_ns(&model.wheel, model.now_ns), earliest = INT64_MAX;

	for (int i = 0; i < MODEL_TIMERS; i++)
		if (model.timers[i].running)
			earliest = MIN(earliest, model.timers[i].tick * MS);
	if (earliest == INT64_MAX) {
		CHECK(next == -1);
		return;
	}
	CHECK(next >= 0);
	CHECK(model.now_ns + next <= MAX(earliest, model.now_ns));
}

Test(timer, equals_a_plain_list, .timeout = 120)
{
	model.random = 88172645463325252;
	model.now_ns = 123456789;
	timer_wheel_init(&model.wheel, model.now_ns);
	for (int i = 0; i < MODEL_TIMERS; i++)
		model.timers[i].timer.fire = model_fire;
	for (int step = 0; step < MODEL_STEPS; step++) {
		switch (model_random(8)) {
		case 0:
		case 1:
		case 2:
		case 3:
			model_start(model_any());
			break;
		case 4:
			model_stop(model_any());
			break;
		case 5:
			model_advance(MAX(timer_next_ns(&model.wheel, model.now_ns), 0));
			break;
		default:
			model_advance(model_delay_ns(model_random(100) ? 34 : 46));
			break;
		}
		model_check_next();
	}
	CHECK(model.fired > 10000);
}
