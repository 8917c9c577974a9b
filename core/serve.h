/* SPDX-License-Identifier: MIT */
/* From options to a running server and its summary: addresses, limits, sockets, workers. */
#ifndef SLUICE_SERVE_H
#define SLUICE_SERVE_H

#include "io.h"
#include "log.h"
#include "opt.h"

/* Something in front of the UDP listeners, which serve() knows nothing else of. */
struct serve_filter {
	void *ctx;
	/* The listeners are bound and nothing is accepted yet. Returns EXIT_SUCCESS; or the exit
	 * status, with the reason logged. served is not kept. */
	int (*start)(void *ctx, const union addr_inet *served, uint32_t n);
	void (*announce)(void *ctx);            /* behind the listeners, before `ready` */
	void (*print)(void *ctx, bool summary); /* behind the counters */
};

/* Serves until SIGINT or SIGTERM, on the calling thread and one thread a worker. filter may be
 * NULL. Returns the exit status; what failed has been logged with its remedy. */
int serve(const struct opt *opt, const struct io_ops *ops, const struct log *log,
	  const struct serve_filter *filter);

#endif
