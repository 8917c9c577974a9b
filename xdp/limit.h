/* SPDX-License-Identifier: MIT */
/*
 * Limits in the filter: GCRA, the virtual scheduling of ITU-T I.371. One time a source says all:
 * until when what it has sent is paid for. It is advanced with compare-and-swap, so that a limit
 * is one limit however many CPUs a source's datagrams arrive on. A slot that changes hands while
 * its old owner sends on another CPU may charge that one datagram to the wrong source.
 *
 * The exact clock costs more than all the rest. A limit of many datagrams in a tick and many ticks
 * of burst asks the coarse one first: earlier than now for the comparison, and later than now for a
 * source that was idle, it can only be too strict, by as much of the burst; the rate is exact. What
 * is over the limit by the coarse clock is judged by the exact one.
 */
#ifndef SLUICE_XDP_LIMIT_H
#define SLUICE_XDP_LIMIT_H

#include "xdp/filter.h"
#include "xdp/parse.h"

/* Who is asking. */
struct source {
	__u64 tag;
	__u32 bucket;
};

/* True, and the time advanced, when cost keeps *tat within tau of now. An idle source begins at
 * floor, which is now or, where now is coarse, no less than what the time really is. */
static always_inline bool limit_charge(__u64 *tat, __u64 now, __u64 floor, __u64 cost, __u64 tau)
{
	for (int i = 0; i < FILTER_CAS_MAX; i++) {
		__u64 old = *(volatile __u64 *)tat;
		__u64 next = (old > floor ? old : floor) + cost;

		if (next - now > tau)
			return false;
		if (__sync_val_compare_and_swap(tat, old, next) == old)
			return true;
	}
	return false;
}

static always_inline __u32 bucket_of(const struct filter_limit *limit, __u64 hash)
{
	/* Sources that follow each other would crowd into few buckets for some factors. */
	hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15ULL;
	return (__u32)limit->region << FILTER_BUCKET_BITS | hash >> (64 - FILTER_BUCKET_BITS);
}

/* Multiply-shift hashing of 32-bit words with secret 64-bit factors: its upper 32 bits are strongly
 * universal (Dietzfelbinger 1996). bucket_of() mixes all of it once more, which keeps apart what is
 * apart here; senders who do not know the factors cannot choose their bucket. */
static always_inline struct source source_of4(__u32 addr, const struct filter_limit *limit,
					      const volatile __u64 *keys)
{
	__u32 word = addr & limit->mask4;
	__u64 hash = keys[0] * word + keys[1] * limit->id + keys[2];

	return (struct source){
		.tag = (__u64)limit->id << 32 | word,
		.bucket = bucket_of(limit, hash),
	};
}

/* The tag of an IPv6 source is a hash of 63 bits, not the address: two sources of one bucket are
 * taken for one with a probability of 2^-48. */
static always_inline struct source source_of6(const __u32 *addr, const struct filter_limit *limit,
					      const volatile __u64 *keys)
{
	const __u32 *mask = (const __u32 *)limit->mask6;
	__u64 hash = keys[2] + keys[1] * limit->id, other = keys[3] + keys[0] * limit->id;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u32 word = addr[i] & mask[i];

		hash += keys[4 + i] * word;
		other += (keys[4 + i] ^ keys[8]) * word + keys[9];
	}
	return (struct source){
		.tag = 1ULL << 63 | hash >> 32 << 31 | other >> 33,
		.bucket = bucket_of(limit, hash),
	};
}

/* The time of a source: its slot's, a free slot's that it takes, or the shared one. What it may
 * have taken from the shared one counts on in a slot of its own. */
static always_inline __u64 *source_tat(struct filter_bucket *bucket, __u64 tag, __u64 now,
				       __u64 tau)
{
	__u64 *shared = &bucket->tat[FILTER_BUCKET_SLOTS - 1];

#pragma unroll
	for (int i = 0; i < FILTER_BUCKET_SLOTS - 1; i++)
		if (bucket->tag[i] == tag)
			return &bucket->tat[i];
#pragma unroll
	for (int i = 0; i < FILTER_BUCKET_SLOTS - 1; i++) {
		__u64 tat = *(volatile __u64 *)&bucket->tat[i], begin, seen;
		__u64 old = *(volatile __u64 *)&bucket->tag[i];

		if (tat > now)
			continue;
		seen = __sync_val_compare_and_swap(&bucket->tag[i], old, tag);
		if (seen != old && seen != tag)
			continue;
		begin = *(volatile __u64 *)shared;
		if (begin > now + tau)
			begin = now + tau;
		if (begin > now)
			__sync_val_compare_and_swap(&bucket->tat[i], tat, begin);
		return &bucket->tat[i];
	}
	return shared;
}

#endif
