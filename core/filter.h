/* SPDX-License-Identifier: MIT */
/* The XDP filter of a server: attached to its interfaces for its UDP listeners, for as long as it
 * runs. */
#ifndef SLUICE_FILTER_H
#define SLUICE_FILTER_H

#include "log.h"
#include "opt.h"
#include "serve.h"

struct filter;

/* Reads the rules that opt names. Returns 0 with *ret_filter, NULL when opt asks for none, to be
 * freed with filter_free; or the exit status, and the reason has been logged. */
int filter_new(const struct opt *opt, const struct log *log, struct filter **ret_filter);
void filter_free(struct filter *filter); /* detaches; NULL is fine */

/* What the server calls. NULL for no filter. */
const struct serve_filter *filter_hooks(struct filter *filter);

#endif
