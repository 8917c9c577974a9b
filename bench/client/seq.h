/* SPDX-License-Identifier: MIT */
/*
 * Accounting for the datagrams of one flow: which of the last ones are awaited, answered or lost.
 * Numbers count up from 0; 32 bits of them travel in the datagram.
 */
#ifndef SLUICE_BENCH_SEQ_H
#define SLUICE_BENCH_SEQ_H

#include <stdbool.h>
#include <stdint.h>

enum bench_seq_state { BENCH_SEQ_NONE, BENCH_SEQ_AWAITED, BENCH_SEQ_ANSWERED, BENCH_SEQ_LOST };

struct bench_seq {
	uint64_t next;    /* the number sent next */
	uint64_t highest; /* above every number that was answered */
	uint64_t oldest;  /* none below it is awaited */
	uint64_t awaited; /* how many are */
	uint64_t mask;    /* size of the window - 1 */
	uint8_t *state;   /* enum bench_seq_state of the last `mask + 1` numbers; borrowed */
};

enum bench_seq_verdict {
	BENCH_SEQ_NEW,
	BENCH_SEQ_REORDERED, /* new, behind a later one */
	BENCH_SEQ_DUPLICATE,
	BENCH_SEQ_LATE,    /* it was given up before, or is too old to tell */
	BENCH_SEQ_UNKNOWN, /* never sent */
};

/* window_size is a power of two; state has as many zeros. */
void bench_seq_init(struct bench_seq *s, uint8_t *state, uint64_t window_size);

/* Takes the next number. One that left the window unanswered, overtaken by all of it, is lost. */
uint64_t bench_seq_send(struct bench_seq *s);

/* A datagram with these 32 bits has come; *ret_number is valid unless it is BENCH_SEQ_UNKNOWN. */
enum bench_seq_verdict bench_seq_receive(struct bench_seq *s, uint32_t wire, uint64_t *ret_number);

/* Whether these 32 bits are of a number within the window, and which; changes nothing. */
bool bench_seq_find(const struct bench_seq *s, uint32_t wire, uint64_t *ret_number);

/* The oldest number that is awaited; false when none is. */
bool bench_seq_oldest(struct bench_seq *s, uint64_t *ret_number);

/* Gives up the oldest. */
void bench_seq_lose_oldest(struct bench_seq *s);

#endif
