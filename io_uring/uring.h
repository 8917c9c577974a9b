/* SPDX-License-Identifier: MIT */
/* What the rest of the server may know of the io_uring backend. */
#ifndef SLUICE_URING_H
#define SLUICE_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/io.h"

/* The completion backend. Needs Linux 6.1, and permission; uring_check tells. */
extern const struct io_ops io_uring_ops;

/* Optional kernel features: bits of io_conf.features_off. Each is probed when the backend opens. */
enum {
	URING_DEFER_TASKRUN = 1 << 0,   /* 6.1: completions run only when we wait */
	URING_COOP_TASKRUN = 1 << 1,    /* 5.19: used when the former is off */
	URING_REGISTERED_RING = 1 << 2, /* 5.18: the ring's descriptor is looked up once */
	URING_SKIP_SENT = 1 << 3,       /* 5.17: no completion for a send that succeeds at once */
	URING_RECV_LIMIT =
		1 << 4, /* 6.17: a multishot receive ends by itself after so many bytes */
	URING_FIXED_FILES = 1 << 5, /* 6.14: files of busy senders are looked up in the ring */
};

struct uring_feature {
	const char *name;
	uint32_t bit;
	const char *since; /* kernel version */
	const char *use;
};

extern const struct uring_feature uring_features[];
extern const unsigned uring_features_n;

/* One line of a probe: an io_uring feature of this kernel. */
struct uring_probe_row {
	const char *name, *since;
	bool required, found;
	char why[96]; /* when not found */
};

enum { URING_PROBE_ROWS_MAX = 24, URING_WHY_MAX = 400 };

/* Tries every feature on this kernel. Returns how many rows were filled in. */
size_t uring_probe(struct uring_probe_row rows[URING_PROBE_ROWS_MAX]);

/* 0 when the backend can run here, or -errno with the reason and the remedy in why (URING_WHY_MAX
 * bytes). */
int uring_check(char *why);

#endif
