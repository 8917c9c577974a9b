/* SPDX-License-Identifier: MIT */
/* What the load generator sends and when, and its accounting of datagrams. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "bench/client/gen.h"
#include "bench/client/seq.h"

Test(bench_data, schedule_does_not_drift)
{
	static const double rates[] = {1, 3, 7, 1000, 33333, 1e6, 3.3e6};

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		double rate = rates[i];
		uint64_t day = (uint64_t)(rate * 86400);

		cr_expect_eq(bench_due_ns(rate, 0), 0);
		for (uint64_t m = 1; m <= day; m = m * 3 + 1) {
			long double want = (long double)m * 1e9L / rate;

			cr_expect_leq(llabs(bench_due_ns(rate, m) - (int64_t)want), 1);
			cr_expect_gt(bench_due_ns(rate, m), bench_due_ns(rate, m - 1));
		}
	}
}

Test(bench_data, sizes_are_uniform_and_repeat)
{
	struct bench_opts opts = {.size_min = 10, .size_max = 19};
	unsigned seen[10] = {0};

	for (uint32_t index = 0; index < 10; index++) {
		for (uint64_t number = 0; number < 10000; number++) {
			uint32_t size = bench_size_of(&opts, index, number);

			cr_assert(size >= 10 && size <= 19);
			cr_assert_eq(size, bench_size_of(&opts, index, number));
			seen[size - 10]++;
		}
	}
	for (int i = 0; i < 10; i++)
		cr_expect(seen[i] > 9500 && seen[i] < 10500, "%d: %u", i, seen[i]);
	opts.size_max = 10;
	cr_expect_eq(bench_size_of(&opts, 3, 4), 10);
	opts = (struct bench_opts){.size_min = 1, .size_max = BENCH_STREAM_SIZE_MAX};
	for (uint64_t number = 0; number < 10000; number++)
		cr_assert_leq(bench_size_of(&opts, 0, number), BENCH_STREAM_SIZE_MAX);
}

Test(bench_data, pattern_repeats_after_its_period_only)
{
	uint8_t *pattern = bench_pattern_new();

	cr_assert_not_null(pattern);
	cr_expect_eq(memcmp(pattern, pattern + BENCH_PATTERN_BYTES, BENCH_CHUNK_BYTES), 0);
	for (size_t shift = 1; shift < BENCH_PATTERN_BYTES; shift += 61)
		cr_expect_neq(memcmp(pattern, pattern + shift, 64), 0, "%zu", shift);
	free(pattern);
}

static uint8_t states[1024];

static struct bench_seq window(uint64_t size)
{
	struct bench_seq s;

	memset(states, 0, sizeof(states));
	bench_seq_init(&s, states, size);
	return s;
}

static void receives(struct bench_seq *s, uint64_t number, enum bench_seq_verdict want)
{
	uint64_t found = UINT64_MAX;

	cr_expect_eq(bench_seq_receive(s, (uint32_t)number, &found), want, "%llu",
		     (unsigned long long)number);
	if (want != BENCH_SEQ_UNKNOWN)
		cr_expect_eq(found, number);
}

Test(bench_seq, in_order)
{
	struct bench_seq s = window(8);

	receives(&s, 0, BENCH_SEQ_UNKNOWN);
	for (uint64_t i = 0; i < 100; i++) {
		cr_assert_eq(bench_seq_send(&s), i);
		cr_expect_eq(s.awaited, 1);
		receives(&s, i + 1, BENCH_SEQ_UNKNOWN);
		receives(&s, i, BENCH_SEQ_NEW);
		cr_expect_eq(s.awaited, 0);
	}
}

Test(bench_seq, reordered_and_duplicates)
{
	struct bench_seq s = window(8);

	for (int i = 0; i < 4; i++)
		bench_seq_send(&s);
	receives(&s, 1, BENCH_SEQ_NEW);
	receives(&s, 0, BENCH_SEQ_REORDERED);
	receives(&s, 3, BENCH_SEQ_NEW);
	receives(&s, 2, BENCH_SEQ_REORDERED);
	for (uint64_t i = 0; i < 4; i++)
		receives(&s, i, BENCH_SEQ_DUPLICATE);
	cr_expect_eq(s.awaited, 0);
}

Test(bench_seq, losing_the_oldest)
{
	struct bench_seq s = window(8);
	uint64_t oldest;

	cr_expect_not(bench_seq_oldest(&s, &oldest));
	for (int i = 0; i < 4; i++)
		bench_seq_send(&s);
	receives(&s, 0, BENCH_SEQ_NEW);
	receives(&s, 2, BENCH_SEQ_NEW);
	cr_assert(bench_seq_oldest(&s, &oldest));
	cr_expect_eq(oldest, 1);
	bench_seq_lose_oldest(&s);
	cr_expect_eq(s.awaited, 1);
	cr_assert(bench_seq_oldest(&s, &oldest));
	cr_expect_eq(oldest, 3);
	receives(&s, 1, BENCH_SEQ_LATE);
	receives(&s, 1, BENCH_SEQ_DUPLICATE);
	bench_seq_lose_oldest(&s);
	cr_expect_not(bench_seq_oldest(&s, &oldest));
	bench_seq_lose_oldest(&s);
	cr_expect_eq(s.awaited, 0);
}

/* One lost datagram neither blocks the others nor is awaited for ever. */
Test(bench_seq, overtaken_by_the_whole_window)
{
	struct bench_seq s = window(8);
	uint64_t oldest;

	bench_seq_send(&s);
	for (uint64_t i = 1; i <= 8; i++) {
		cr_expect(bench_seq_oldest(&s, &oldest) && oldest == 0);
		cr_assert_eq(bench_seq_send(&s), i);
		receives(&s, i, BENCH_SEQ_NEW);
	}
	cr_expect_eq(s.awaited, 0);
	cr_expect_not(bench_seq_oldest(&s, &oldest));
	receives(&s, 0, BENCH_SEQ_LATE);
	receives(&s, 8, BENCH_SEQ_DUPLICATE);
}

Test(bench_seq, numbers_beyond_32_bits)
{
	struct bench_seq s = window(64);
	uint64_t found;

	s.next = s.oldest = s.highest = UINT64_C(0x2fffffff0);
	for (int i = 0; i < 40; i++)
		bench_seq_send(&s);
	receives(&s, UINT64_C(0x2fffffff0), BENCH_SEQ_NEW);
	receives(&s, UINT64_C(0x300000010), BENCH_SEQ_NEW);
	receives(&s, UINT64_C(0x2fffffff5), BENCH_SEQ_REORDERED);
	cr_expect(bench_seq_find(&s, 0xfffffff5, &found) && found == UINT64_C(0x2fffffff5));
	cr_expect_not(bench_seq_find(&s, 0x18, &found));
}

/* Whatever comes in whatever order: each number is new at most once and nothing is miscounted. */
Test(bench_seq, random)
{
	struct bench_seq s = window(256);
	uint64_t news = 0, lost = 0, found;

	srandom(7);
	for (int i = 0; i < 200000; i++) {
		uint64_t before = s.awaited;

		switch (random() % 8) {
		case 0:
			bench_seq_lose_oldest(&s);
			lost += before - s.awaited;
			break;
		case 1 ... 3:
			bench_seq_send(&s);
			lost += before + 1 - s.awaited;
			break;
		default:
			if (bench_seq_receive(&s, (uint32_t)(s.next - (uint64_t)(random() % 300)),
					      &found) <= BENCH_SEQ_REORDERED)
				news++;
		}
		cr_assert_leq(s.awaited, 256);
		cr_assert_eq(s.next, news + lost + s.awaited);
	}
	cr_expect_gt(news, 10000);
}
