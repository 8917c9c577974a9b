/* SPDX-License-Identifier: MIT */
/* Owns the filters of a server, one an interface. The kernel removes them with the process, however
 * it ends. */
#include "filter_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

enum { PATH_ERROR_MAX = 4096 + RULE_ERROR_MAX };

/* Attaches to an interface, with the fast path where that is taken there. */
static int attach(struct filter *f, struct xdp_conf *conf, struct filter_at *at)
{
	char error[XDP_ERROR_MAX];
	int err;

	conf->fast = f->fast;
	conf->sessions = f->sessions;
	err = xdp_attach(conf, &at->xdp, error);
	if (!err) {
		xdp_info(at->xdp, &at->info);
		at->fast = filter_fast_takes(f, &at->info);
	}
	if (!err && conf->fast && !at->fast) {
		xdp_close(at->xdp);
		conf->fast = FAST_OFF;
		err = xdp_attach(conf, &at->xdp, error);
	}
	if (err) {
		log_write(f->log, LOG_ERROR, "--xdp %s", error);
		return EXIT_FAILURE;
	}
	f->n++;
	xdp_info(at->xdp, &at->info);
	if (at->info.native_err)
		log_write(f->log, LOG_WARN,
			  "--xdp %s: generic mode, behind the driver, which refused the "
			  "filter: %s",
			  at->info.ifname, strerror(-at->info.native_err));
	return EXIT_SUCCESS;
}

static int start(void *ctx, const struct serve_udp *udp)
{
	static const enum xdp_mode modes[] = {[OPT_XDP_AUTO] = XDP_AUTO,
					      [OPT_XDP_NATIVE] = XDP_NATIVE,
					      [OPT_XDP_GENERIC] = XDP_GENERIC};
	struct filter *f = ctx;
	int status = filter_fast_plan(f, udp);

	for (int i = 0; i < f->opt->n_xdp && !status; i++) {
		struct xdp_conf conf = {
			.ifname = f->opt->xdp[i],
			.mode = modes[f->opt->xdp_mode],
			.rules = &f->rules,
			.served = udp->listen,
			.n_served = udp->n_listen,
		};

		status = attach(f, &conf, &f->at[i]);
	}
	return status ? status : filter_fast_start(f, udp);
}

static void announce(void *ctx)
{
	struct filter *f = ctx;

	for (int i = 0; i < f->n; i++) {
		const struct xdp_info *info = &f->at[i].info;

		printf("filtering %s mode=%s rules=%u\n", info->ifname, xdp_mode_name(info->mode),
		       info->n_rules);
	}
}

static void print_reasons(const struct xdp_stats *stats, const char *format, const char *between)
{
	const char *before = "";

	for (int i = 0; i < FILTER_REASONS; i++) {
		const struct filter_count *count = &stats->by_reason[i][FILTER_DROP];

		if (!count->packets)
			continue;
		fputs(before, stdout);
		printf(format, xdp_reason_name((enum filter_reason)i),
		       (unsigned long long)count->packets);
		before = between;
	}
}

static void print(void *ctx, bool summary)
{
	struct filter *f = ctx;
	char error[XDP_ERROR_MAX];

	for (int i = 0; i < f->n; i++) {
		const char *ifname = f->opt->xdp[i];
		struct xdp_stats stats;
		unsigned long long passed, dropped;

		if (xdp_read(f->at[i].xdp, &stats, error)) {
			log_write(f->log, LOG_WARN, "--xdp %s: %s", ifname, error);
			continue;
		}
		passed = stats.by_verdict[FILTER_PASS].packets;
		dropped = stats.by_verdict[FILTER_DROP].packets;
		if (summary) {
			printf("filter %s: %llu packets passed, %llu dropped%s", ifname, passed,
			       dropped, dropped ? " (" : "\n");
			print_reasons(&stats, "%s %llu", ", ");
			fputs(dropped ? ")\n" : "", stdout);
		} else {
			printf("xdp_%s_passed %llu\nxdp_%s_dropped %llu\n", ifname, passed, ifname,
			       dropped);
		}
		filter_fast_print(&f->at[i].info, &stats, summary);
		xdp_stats_free(&stats);
	}
}

static int read_rules(struct filter *f)
{
	char error[PATH_ERROR_MAX];
	const char *path = f->opt->xdp_rules;
	int err = path ? rule_set_read(path, &f->rules, error, sizeof(error))
		       : rule_set_init(&f->rules);

	if (!err)
		return EXIT_SUCCESS;
	log_write(f->log, LOG_ERROR, "--xdp-rules %s", path ? error : "out of memory");
	return EXIT_FAILURE;
}

int filter_new(const struct opt *opt, const struct log *log, struct filter **ret_filter)
{
	struct filter *f;
	int status;

	*ret_filter = NULL;
	if (!opt->n_xdp)
		return EXIT_SUCCESS;
	f = calloc(1, sizeof(*f));
	if (!f) {
		log_write(log, LOG_ERROR, "out of memory");
		return EXIT_FAILURE;
	}
	f->opt = opt;
	f->log = log;
	f->hooks = (struct serve_filter){
		.ctx = f,
		.start = start,
		.fast = filter_fast_sessions,
		.fast_path = filter_fast_path,
		.announce = announce,
		.print = print,
		.tick = filter_fast_tick,
		.drain = filter_fast_drain,
	};
	status = read_rules(f);
	if (status)
		filter_free(f);
	else
		*ret_filter = f;
	return status;
}

void filter_free(struct filter *filter)
{
	if (!filter)
		return;
	for (int i = 0; i < filter->n; i++)
		xdp_close(filter->at[i].xdp);
	xdp_sessions_free(filter->sessions);
	rule_set_free(&filter->rules);
	free(filter);
}

const struct serve_filter *filter_hooks(struct filter *filter)
{
	return filter ? &filter->hooks : NULL;
}
