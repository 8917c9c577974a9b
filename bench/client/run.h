/* SPDX-License-Identifier: MIT */
/* A run of the load generator, as the command line asks for it. */
#ifndef SLUICE_BENCH_RUN_H
#define SLUICE_BENCH_RUN_H

#include "bench/client/opts.h"

/*
 * One run, from sockets to files: opens, warms up, measures, reports. What goes wrong has been
 * printed when it returns. The exit status: 0, 1 when errors happened, 2 when opts cannot be.
 */
int bench_run(const struct bench_opts *opts);

#endif
