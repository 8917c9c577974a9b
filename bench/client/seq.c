/* SPDX-License-Identifier: MIT */
/* Accounting for datagrams. Pure arithmetic on what the caller owns. */
#include "bench/client/seq.h"

#include <stddef.h>

void bench_seq_init(struct bench_seq *s, uint8_t *state, uint64_t window_size)
{
	*s = (struct bench_seq){.mask = window_size - 1, .state = state};
}

uint64_t bench_seq_send(struct bench_seq *s)
{
	uint64_t number = s->next++;

	if (s->state[number & s->mask] == BENCH_SEQ_AWAITED)
		s->awaited--;
	s->state[number & s->mask] = BENCH_SEQ_AWAITED;
	s->awaited++;
	if (s->next - s->oldest > s->mask + 1)
		s->oldest = s->next - s->mask - 1;
	return number;
}

/* How far behind the number sent last; none was sent that is as far as `next`. */
static uint64_t distance(const struct bench_seq *s, uint32_t wire)
{
	return (uint32_t)((uint32_t)s->next - 1 - wire);
}

bool bench_seq_find(const struct bench_seq *s, uint32_t wire, uint64_t *ret_number)
{
	uint64_t behind = distance(s, wire);

	if (behind >= s->next || behind > s->mask)
		return false;
	*ret_number = s->next - 1 - behind;
	return true;
}

enum bench_seq_verdict bench_seq_receive(struct bench_seq *s, uint32_t wire, uint64_t *ret_number)
{
	uint64_t behind = distance(s, wire), number;
	enum bench_seq_state was;

	if (behind >= s->next)
		return BENCH_SEQ_UNKNOWN;
	*ret_number = number = s->next - 1 - behind;
	if (behind > s->mask)
		return BENCH_SEQ_LATE;
	was = s->state[number & s->mask];
	s->state[number & s->mask] = BENCH_SEQ_ANSWERED;
	if (was == BENCH_SEQ_ANSWERED)
		return BENCH_SEQ_DUPLICATE;
	if (was != BENCH_SEQ_AWAITED)
		return BENCH_SEQ_LATE;
	s->awaited--;
	if (number < s->highest)
		return BENCH_SEQ_REORDERED;
	s->highest = number + 1;
	return BENCH_SEQ_NEW;
}

bool bench_seq_oldest(struct bench_seq *s, uint64_t *ret_number)
{
	if (!s->awaited)
		return false;
	while (s->state[s->oldest & s->mask] != BENCH_SEQ_AWAITED)
		s->oldest++;
	*ret_number = s->oldest;
	return true;
}

void bench_seq_lose_oldest(struct bench_seq *s)
{
	uint64_t number;

	if (!bench_seq_oldest(s, &number))
		return;
	s->state[number & s->mask] = BENCH_SEQ_LOST;
	s->awaited--;
}
