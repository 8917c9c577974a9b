/* SPDX-License-Identifier: MIT */
/* What `flood count` and its program in the kernel share. */
#ifndef XDP_COUNT_H
#define XDP_COUNT_H

#include <linux/types.h>

/* A logarithmic histogram of nanoseconds: each power of two in 32 steps, up to 4.3 s. */
#define COUNT_STEPS 32
#define COUNT_NS_MAX 0xffffffffULL
#define COUNT_BUCKETS (28 * COUNT_STEPS)

#define COUNT_SESSIONS_MAX 1024

/* What a core has counted; only it writes. */
struct counts {
	__u64 frames;
	__u64 bucket[COUNT_BUCKETS];
};

/* The jitter of a session, as in RFC 3550, A.8: transit times may have any offset. */
struct count_session {
	__u64 frames;
	__s64 transit_ns; /* of the last frame */
	__s64 jitter16;   /* sixteen times the estimate, in ns */
};

static inline __attribute__((always_inline)) __u32 count_bucket(__u64 ns)
{
	__u32 shift = 0;

	if (ns > COUNT_NS_MAX)
		ns = COUNT_NS_MAX;
	for (__u32 step = 16; step; step /= 2)
		if (ns >> (shift + step) >= COUNT_STEPS)
			shift += step;
	return shift * COUNT_STEPS + (__u32)(ns >> shift);
}

/* The middle of a bucket. */
static inline double count_bucket_ns(__u32 i)
{
	__u32 shift = i < 2 * COUNT_STEPS ? 0 : i / COUNT_STEPS - 1;

	return ((double)(i - shift * COUNT_STEPS) + (shift ? 0.5 : 0)) * (double)(1ULL << shift);
}

#endif
