/* SPDX-License-Identifier: MIT */
/* From options to a running server and its summary: addresses, limits, sockets, workers. */
#ifndef SLUICE_SERVE_H
#define SLUICE_SERVE_H

#include "io.h"
#include "log.h"
#include "opt.h"

/* Serves until SIGINT or SIGTERM, on the calling thread and one thread a worker. Returns the exit
 * status; what failed has been logged with its remedy. */
int serve(const struct opt *opt, const struct io_ops *ops, const struct log *log);

#endif
