/* SPDX-License-Identifier: MIT */
/* From options to a running server and its summary: addresses, limits, sockets, workers. */
#ifndef SLUICE_SERVE_H
#define SLUICE_SERVE_H

#include "io.h"
#include "log.h"
#include "opt.h"
#include "udp.h"

/* What the UDP listeners are, for what stands in front of them. */
struct serve_udp {
	const union addr_inet *listen, *targets;
	uint32_t n_listen, n_targets;
	uint32_t sessions_max; /* of a relay */
};

/* Something in front of the UDP listeners, which serve() knows nothing else of. All is called from
 * the thread that serves, but for what `fast` has. */
struct serve_filter {
	void *ctx;
	/* The listeners are bound and nothing is accepted yet. Returns EXIT_SUCCESS; or the exit
	 * status, with the reason logged. udp is not kept. */
	int (*start)(void *ctx, const struct serve_udp *udp);
	/* What forwards sessions, once started; NULL: nothing does. Lives as long as the filter. */
	const struct udp_fast *(*fast)(void *ctx);
	/* Of a UDP listener: "xdp:eth0,eth1", what answers or forwards in front of it; or "off".
	 * Valid until the next call. */
	const char *(*fast_path)(void *ctx, const union addr_inet *listen);
	void (*announce)(void *ctx);            /* behind the listeners, before `ready` */
	void (*print)(void *ctx, bool summary); /* behind the counters */
	bool (*tick)(void *ctx);                /* every SERVE_TICK_NS; false: that is not needed */
	void (*drain)(void *ctx); /* from now on there are only the sessions that there are */
};

enum { SERVE_TICK_NS = 100 * 1000 * 1000 };

/* Serves until SIGINT or SIGTERM, on the calling thread and one thread a worker. filter may be
 * NULL. Returns the exit status; what failed has been logged with its remedy. */
int serve(const struct opt *opt, const struct io_ops *ops, const struct log *log,
	  const struct serve_filter *filter);

#endif
