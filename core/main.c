/* SPDX-License-Identifier: MIT */
/* Wires everything: the only file that knows both backends, and with filter.c the XDP filter. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "filter.h"
#include "io_epoll.h"
#include "io_uring/uring.h"
#include "log.h"
#include "opt.h"
#include "probe.h"
#include "serve.h"
#include "util.h"
#include "xdp/command.h"
#include "xdp/xdp.h"

enum { EXIT_USAGE = 2, REASON_MAX = URING_WHY_MAX + 80 };

/* The backend that opt asks for, with the reason in one line; NULL when it cannot be had. */
static const struct io_ops *choose_backend(enum opt_backend wanted, char reason[REASON_MAX])
{
	struct utsname uts;
	char why[URING_WHY_MAX];

	if (wanted == OPT_BACKEND_EPOLL) {
		snprintf(reason, REASON_MAX, "asked for with -b epoll");
		return &io_epoll_ops;
	}
	if (uring_check(why)) {
		snprintf(reason, REASON_MAX, "%s", why);
		return wanted == OPT_BACKEND_AUTO ? &io_epoll_ops : NULL;
	}
	uname(&uts);
	snprintf(reason, REASON_MAX, "Linux %s permits it and has what it needs", uts.release);
	return &io_uring_ops;
}

static int run_server(const struct opt *opt)
{
	const struct log log = {
		.fd = STDERR_FILENO, .level = opt->log_level, .format = opt->log_format};
	char reason[REASON_MAX];
	const struct io_ops *ops = choose_backend(opt->backend, reason);
	struct filter *filter;
	int status;

	if (!ops) {
		log_write(&log, LOG_ERROR, "-b io_uring: %s", reason);
		return EXIT_FAILURE;
	}
	log_write(&log, LOG_INFO, "backend %s: %s", ops->name, reason);
	status = filter_new(opt, &log, &filter);
	if (!status)
		status = serve(opt, ops, &log, filter_hooks(filter));
	filter_free(filter);
	return status;
}

static int run_probe(bool json)
{
	struct uring_probe_row uring[URING_PROBE_ROWS_MAX];
	struct xdp_probe_row xdp[XDP_PROBE_ROWS_MAX];
	struct probe_row rows[URING_PROBE_ROWS_MAX + XDP_PROBE_ROWS_MAX];
	char reason[REASON_MAX];
	const struct io_ops *ops = choose_backend(OPT_BACKEND_AUTO, reason);
	size_t n = uring_probe(uring), n_xdp = xdp_probe(xdp);

	for (size_t i = 0; i < n; i++)
		rows[i] = (struct probe_row){.group = "io_uring",
					     .name = uring[i].name,
					     .since = uring[i].since,
					     .required = uring[i].required,
					     .found = uring[i].found,
					     .why = uring[i].why};
	for (size_t i = 0; i < n_xdp; i++)
		rows[n++] = (struct probe_row){.group = "xdp",
					       .name = xdp[i].name,
					       .since = xdp[i].since,
					       .required = xdp[i].required,
					       .found = xdp[i].found,
					       .why = xdp[i].why};
	return probe_print(rows, n, ops->name, reason, json);
}

int main(int argc, char **argv)
{
	static struct opt opt;
	char error[OPT_ERROR_MAX];

	if (opt_parse(argc, argv, &opt, error)) {
		fprintf(stderr, "sluice: %s\n", error);
		return EXIT_USAGE;
	}
	switch (opt.command) {
	case OPT_HELP:
		fputs(opt_help(opt.help_about), stdout);
		break;
	case OPT_VERSION:
		printf("sluice %s\n", SLUICE_VERSION);
		break;
	case OPT_PROBE:
		return run_probe(opt.json);
	case OPT_XDP:
		return xdp_command(opt.xdp_argc, opt.xdp_argv);
	case OPT_ECHO:
	case OPT_DISCARD:
	case OPT_RELAY:
		return run_server(&opt);
	}
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
