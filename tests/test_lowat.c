/* SPDX-License-Identifier: MIT */
/* Which sources are waited for, and how long. Time is a number. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/lowat.h"
#include "core/util.h"

enum { SOURCES = 4, PIECE = 64 << 10 };

static struct lowat_list list;
static struct lowat lowats[SOURCES];
static int fds[2 * SOURCES];
static int64_t now_ns;

static void setup(void)
{
	TAILQ_INIT(&list);
	now_ns = 5 * NS_PER_S;
	for (int i = 0; i < SOURCES; i++) {
		lowats[i] = (struct lowat){0};
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds + 2 * i), 0);
	}
}

static void teardown(void)
{
	for (int i = 0; i < 2 * SOURCES; i++)
		close(fds[i]);
}

TestSuite(lowat, .init = setup, .fini = teardown, .timeout = 60);

static int mark(int i)
{
	socklen_t len = sizeof(int);
	int bytes = 0;

	cr_assert_eq(getsockopt(fds[2 * i], SOL_SOCKET, SO_RCVLOWAT, &bytes, &len), 0);
	return bytes;
}

static void check_unset(int i)
{
	cr_assert(!lowats[i].set);
	cr_assert_eq(mark(i), 1);
}

static void check_set(int i)
{
	cr_assert(lowats[i].set);
	cr_assert_eq(mark(i), LOWAT_BYTES);
}

/* Source i moves bytes within ns. */
static void move(int i, uint64_t bytes, int64_t ns)
{
	int64_t step_ns = ns / (int64_t)MAX(bytes / PIECE, 1u);

	for (uint64_t at = 0; at < bytes; at += PIECE) {
		lowat_moved(&list, &lowats[i], fds[2 * i], PIECE, now_ns);
		now_ns += step_ns;
	}
}

Test(lowat, slow_sources_are_not_waited_for)
{
	move(0, 3 * LOWAT_AFTER_BYTES, 4 * (int64_t)LOWAT_AFTER_NS);
	check_unset(0);
	cr_assert(TAILQ_EMPTY(&list));
	cr_assert_eq(lowat_wait_ns(&list, now_ns), -1);
	cr_assert_null(lowat_paused(&list, now_ns + NS_PER_S));
}

Test(lowat, fast_sources_are)
{
	move(0, LOWAT_AFTER_BYTES - PIECE, LOWAT_AFTER_NS / 2);
	check_unset(0);
	move(0, PIECE, 0);
	check_set(0);
	cr_assert_eq(lowat_wait_ns(&list, now_ns), LOWAT_PAUSE_NS);
}

/* What came before a slow stretch does not count. */
Test(lowat, slow_and_then_fast)
{
	move(0, LOWAT_AFTER_BYTES - PIECE, LOWAT_AFTER_NS / 2);
	now_ns += LOWAT_AFTER_NS;
	move(0, LOWAT_AFTER_BYTES - PIECE, LOWAT_AFTER_NS / 2);
	check_unset(0);
	move(0, PIECE, 0);
	check_set(0);
}

Test(lowat, a_pause_ends_it)
{
	move(0, LOWAT_AFTER_BYTES, 0);
	cr_assert_null(lowat_paused(&list, now_ns + LOWAT_PAUSE_NS - 1));
	check_set(0);
	cr_assert_eq(lowat_wait_ns(&list, now_ns + LOWAT_PAUSE_NS - 1), 1);
	cr_assert_eq(lowat_wait_ns(&list, now_ns + 2 * LOWAT_PAUSE_NS), 0);
	cr_assert_eq(lowat_paused(&list, now_ns + LOWAT_PAUSE_NS), &lowats[0]);
	check_unset(0);
	cr_assert_null(lowat_paused(&list, now_ns + LOWAT_PAUSE_NS));
	cr_assert_eq(lowat_wait_ns(&list, now_ns), -1);
	/* It has to be fast again before it is waited for again. */
	move(0, LOWAT_AFTER_BYTES - PIECE, 0);
	check_unset(0);
	move(0, PIECE, 0);
	check_set(0);
}

Test(lowat, moving_on_puts_the_pause_off)
{
	move(0, LOWAT_AFTER_BYTES, 0);
	for (int i = 0; i < 10; i++) {
		now_ns += LOWAT_PAUSE_NS - 1;
		cr_assert_null(lowat_paused(&list, now_ns));
		move(0, 1, 0);
	}
	check_set(0);
	cr_assert_eq(lowat_paused(&list, now_ns + LOWAT_PAUSE_NS), &lowats[0]);
}

Test(lowat, those_that_paused_longest_come_first)
{
	static const int order[] = {2, 3, 0, 1};

	for (int i = 0; i < SOURCES; i++) {
		move(i, LOWAT_AFTER_BYTES, 0);
		now_ns += 100;
	}
	move(0, PIECE, 0);
	now_ns += 100;
	move(1, PIECE, 0);
	for (int i = 0; i < SOURCES; i++) {
		cr_assert_eq(lowat_paused(&list, now_ns + LOWAT_PAUSE_NS), &lowats[order[i]]);
		check_unset(order[i]);
	}
	cr_assert(TAILQ_EMPTY(&list));
}

Test(lowat, reset_is_idempotent)
{
	lowat_reset(&list, &lowats[0]);
	check_unset(0);
	move(0, LOWAT_AFTER_BYTES, 0);
	move(1, LOWAT_AFTER_BYTES, 0);
	for (int i = 0; i < 3; i++) {
		lowat_reset(&list, &lowats[0]);
		check_unset(0);
		check_set(1);
	}
	lowat_reset(&list, &lowats[1]);
	cr_assert(TAILQ_EMPTY(&list));
}

/* One that answers all the time never comes to be waited for. */
Test(lowat, reset_begins_anew)
{
	for (int i = 0; i < 10; i++) {
		move(0, LOWAT_AFTER_BYTES - PIECE, 0);
		lowat_reset(&list, &lowats[0]);
	}
	check_unset(0);
}

Test(lowat, a_descriptor_without_marks_is_left_alone)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	for (uint64_t at = 0; at < 4 * LOWAT_AFTER_BYTES; at += PIECE)
		lowat_moved(&list, &lowats[1], fd, PIECE, now_ns);
	cr_assert(!lowats[1].set && TAILQ_EMPTY(&list));
	close(fd);
}
