/* SPDX-License-Identifier: MIT */
/*
 * Lets Criterion run under the thread sanitizer (see Criterion's issue 274). Criterion's sandbox,
 * BoxFort, keeps its memory at a random address between 0x2000_0000_0000 and 0x6000_0000_0000, in
 * steps of 16 MiB, and gives up when that cannot be mapped; the sanitizer allows only a few ranges
 * there. The address comes from rand_r(3). The library takes the one below instead of libc's, and
 * gets places inside such a range: from 0x5500_0000_0000 on, below where executables are loaded.
 */
#if defined(__x86_64__) && defined(__SANITIZE_THREAD__)
#include <stdlib.h>

int rand_r(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return 0x350000 + (int)(*seed >> 16 & 0x3fff);
}
#else
extern int tsan_not_in_use; /* a file must declare something */
#endif
