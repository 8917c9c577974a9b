/* SPDX-License-Identifier: MIT */
#ifndef SLUICE_IO_EPOLL_H
#define SLUICE_IO_EPOLL_H

#include "io.h"

/* The readiness backend: edge-triggered epoll(7), each socket registered once. Needs Linux 4.5. */
extern const struct io_ops io_epoll_ops;

#endif
