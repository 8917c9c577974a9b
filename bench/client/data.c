/* SPDX-License-Identifier: MIT */
/* What is sent and when: the byte pattern, sizes and the schedule. Pure arithmetic. */
#include "bench/client/gen.h"

#include <stdlib.h>
#include <string.h>

uint8_t *bench_pattern_new(void)
{
	uint8_t *pattern = malloc(BENCH_PATTERN_BYTES + BENCH_CHUNK_BYTES);
	uint64_t x = 0x9e3779b97f4a7c15;

	if (!pattern)
		return NULL;
	for (uint32_t i = 0; i < BENCH_PATTERN_BYTES; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		pattern[i] = (uint8_t)(x >> 32);
	}
	for (uint32_t i = 0; i < BENCH_CHUNK_BYTES; i++)
		pattern[BENCH_PATTERN_BYTES + i] = pattern[i];
	return pattern;
}

/* Spreads any two inputs over all of 64 bits (the finalizer of MurmurHash3). */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccd;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53;
	return x ^ (x >> 33);
}

uint32_t bench_size_of(const struct bench_opts *opts, uint32_t index, uint64_t number)
{
	uint64_t span = opts->size_max - opts->size_min, draw;

	if (!span)
		return opts->size_min;
	draw = mix(mix((uint64_t)index + 1) + number) >> 32;
	return opts->size_min + (uint32_t)(draw * (span + 1) >> 32);
}

/* From the message's number alone, so that nothing adds up. A double is exact to 1 ns for a day. */
int64_t bench_due_ns(double rate_per_s, uint64_t m)
{
	return (int64_t)((double)m * 1e9 / rate_per_s);
}
