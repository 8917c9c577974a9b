/* SPDX-License-Identifier: MIT */
/* Which CPUs the workers get. */
#ifndef SLUICE_SERVE_CPU_H
#define SLUICE_SERVE_CPU_H

#include <sched.h>
#include <stdint.h>

#include "opt.h"

/* The n-th CPU of set, counted round; -1 of an empty one. */
int serve_cpu_nth(const cpu_set_t *set, uint32_t n);

/* As many workers as opt asks for, or as this process has CPUs. */
uint32_t serve_workers_wanted(const struct opt *opt);

#endif
