/* SPDX-License-Identifier: MIT */
/*
 * What the filters of a server serve themselves: which listeners can have that and why others not,
 * and what keeps it true while the server runs. It is never a condition: what it cannot do, the
 * sockets do.
 */
#include "filter_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

enum { TICKS_PER_REFRESH = 10 };

static void explain(struct filter *f, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void explain(struct filter *f, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(f->why, sizeof(f->why), format, args);
	va_end(args);
}

/* ---- sessions, for udp.c ---- */

static int add_session(void *ctx, const struct udp_flow *flow, uint32_t *ret_number)
{
	const struct filter *f = ctx;
	const struct xdp_session session = {
		.client = &flow->client,
		.asked = &flow->asked,
		.source = &flow->source,
		.target = &flow->target,
	};

	if (!(flow->target.sa.sa_family == AF_INET ? f->routes4 : f->routes6))
		return -EAFNOSUPPORT;
	return xdp_session_add(f->sessions, &session, ret_number);
}

static void remove_session(void *ctx, uint32_t number)
{
	xdp_session_remove(((struct filter *)ctx)->sessions, number);
}

static int64_t session_last_ns(void *ctx, uint32_t number)
{
	return xdp_session_last_ns(((struct filter *)ctx)->sessions, number);
}

static void note_session(void *ctx, uint32_t number, bool to_client, uint32_t packets,
			 uint64_t bytes)
{
	xdp_session_note(((struct filter *)ctx)->sessions, number,
			 to_client ? FAST_TO_CLIENT : FAST_TO_TARGET, packets, bytes);
}

const struct udp_fast *filter_fast_sessions(void *ctx)
{
	struct filter *f = ctx;

	return f->sessions ? &f->sessions_ops : NULL;
}

/* ---- whether there is one ---- */

static bool has_family(const union addr_inet *addrs, uint32_t n, int family)
{
	for (uint32_t i = 0; i < n; i++)
		if (addrs[i].sa.sa_family == family)
			return true;
	return false;
}

/* A relay's sessions have one family on both sides, and a route that the program can look up. */
static bool can_relay(struct filter *f, const struct serve_udp *udp, int family)
{
	const char *name = family == AF_INET ? "ipv4" : "ipv6";

	if (!has_family(udp->listen, udp->n_listen, family) ||
	    !has_family(udp->targets, udp->n_targets, family))
		return false;
	if (xdp_fast_can_route(family))
		return true;
	explain(f,
		"the kernel looks routes up for it only with net.%s.conf.lo.forwarding=1 (sysctl "
		"-w; of the loopback interface alone, so that this host forwards nothing else)",
		name);
	return false;
}

static int plan_relay(struct filter *f, const struct serve_udp *udp)
{
	uint32_t capacity = MIN(udp->sessions_max, (uint32_t)FAST_SESSIONS_MAX);
	char error[XDP_ERROR_MAX];

	explain(f, "no UDP listener has a target of its own address family");
	f->routes4 = can_relay(f, udp, AF_INET);
	f->routes6 = can_relay(f, udp, AF_INET6);
	if (!f->routes4 && !f->routes6) {
		f->fast = FAST_OFF;
		return EXIT_SUCCESS;
	}
	if (f->opt->fast_sessions)
		capacity = MIN(capacity, (uint32_t)f->opt->fast_sessions);
	if (xdp_sessions_new(capacity, &f->sessions, error)) {
		log_write(f->log, LOG_ERROR, "--fast-path: %s", error);
		return EXIT_FAILURE;
	}
	f->sessions_ops = (struct udp_fast){.ctx = f,
					    .add = add_session,
					    .remove = remove_session,
					    .last_ns = session_last_ns,
					    .note = note_session};
	return EXIT_SUCCESS;
}

int filter_fast_plan(struct filter *f, const struct serve_udp *udp)
{
	static const enum fast_mode modes[] = {
		[OPT_ECHO] = FAST_ECHO, [OPT_DISCARD] = FAST_OFF, [OPT_RELAY] = FAST_RELAY};
	int status = EXIT_SUCCESS;

	f->fast = f->opt->fast_path == OPT_FAST_OFF ? FAST_OFF : modes[f->opt->command];
	if (!f->fast)
		explain(f, "%s",
			f->opt->fast_path == OPT_FAST_OFF
				? "--fast-path off"
				: "discard has none; rules can drop in the driver");
	if (f->fast == FAST_RELAY)
		status = plan_relay(f, udp);
	if (!status && !f->fast && f->opt->fast_path == OPT_FAST_ON) {
		log_write(f->log, LOG_ERROR, "--fast-path on: %s", f->why);
		return EXIT_FAILURE;
	}
	return status;
}

bool filter_fast_takes(struct filter *f, const struct xdp_info *info)
{
	if (!f->fast)
		return false;
	if (info->mode == XDP_NATIVE || f->opt->fast_path == OPT_FAST_ON)
		return true;
	explain(f,
		"%s has the filter in generic mode, behind the driver (--fast-path on takes it "
		"there, too)",
		info->ifname);
	return false;
}

/* ---- while it serves ---- */

/* Frames are sent out of interfaces whose own program is as near to the driver as that which sends:
 * not every driver takes them otherwise. */
static int allow_egress(struct filter *f)
{
	bool native = false;
	int err = 0;

	for (int i = 0; i < f->n; i++)
		native |= f->at[i].fast && f->at[i].info.mode == XDP_NATIVE;
	for (int i = 0; i < f->n && !err; i++)
		if (f->at[i].fast && (!native || f->at[i].info.mode == XDP_NATIVE))
			err = xdp_sessions_egress(f->sessions, f->at[i].info.ifindex, true);
	return err;
}

/* No more of this interface: its filter or itself is gone. */
static void give_up(struct filter *f, struct filter_at *at, const char *why)
{
	at->fast = false;
	if (f->sessions)
		xdp_sessions_egress(f->sessions, at->info.ifindex, false);
	xdp_fast_off(at->xdp);
	log_write(f->log, LOG_WARN,
		  "--xdp %s: no fast path any more, datagrams take the sockets: %s",
		  at->info.ifname, why);
}

static void refresh(struct filter *f)
{
	char error[XDP_ERROR_MAX];

	for (int i = 0; i < f->n; i++) {
		struct filter_at *at = &f->at[i];
		int err = at->fast ? xdp_fast_refresh(at->xdp, error) : 0;

		if (err)
			give_up(f, at,
				err == -ENODEV ? "the interface or its filter is gone" : error);
	}
}

/* Says of each listener that has none why. */
static void tell(const struct filter *f, const struct serve_udp *udp)
{
	for (uint32_t i = 0; i < udp->n_listen; i++) {
		struct addr addr = {.kind = ADDR_UDP, .inet = udp->listen[i]};
		char text[ADDR_TEXT_MAX];

		if (!strcmp(filter_fast_path((void *)f, &udp->listen[i]), "off"))
			log_write(f->log, LOG_INFO, "%s: no fast path: %s",
				  addr_format(&addr, text),
				  addr_inet_is_loopback(&addr.inet)
					  ? "datagrams for its address do not come in there"
					  : f->why);
	}
}

int filter_fast_start(struct filter *f, const struct serve_udp *udp)
{
	int err = f->sessions ? allow_egress(f) : 0;
	char error[XDP_ERROR_MAX];

	if (err) {
		log_write(f->log, LOG_ERROR, "--fast-path: its interfaces: %s", strerror(-err));
		return EXIT_FAILURE;
	}
	for (int i = 0; i < f->n; i++) {
		err = f->at[i].fast ? xdp_fast_refresh(f->at[i].xdp, error) : 0;
		if (!err)
			continue;
		log_write(f->log, LOG_ERROR, "--fast-path: %s",
			  err == -ENODEV ? "an interface has just gone" : error);
		return EXIT_FAILURE;
	}
	tell(f, udp);
	return EXIT_SUCCESS;
}

static bool is_served(const struct filter *f, const union addr_inet *listen)
{
	if (addr_inet_is_loopback(listen))
		return false;
	if (f->fast == FAST_RELAY)
		return listen->sa.sa_family == AF_INET ? f->routes4 : f->routes6;
	return f->fast == FAST_ECHO;
}

const char *filter_fast_path(void *ctx, const union addr_inet *listen)
{
	struct filter *f = ctx;
	size_t len = 0;

	snprintf(f->text, sizeof(f->text), "off");
	if (!is_served(f, listen))
		return f->text;
	for (int i = 0; i < f->n; i++)
		if (f->at[i].fast)
			len += (size_t)snprintf(f->text + len, sizeof(f->text) - len, "%s%s",
						len ? "," : "xdp:", f->at[i].info.ifname);
	return f->text;
}

/* Whether the filter is still where it was is looked at each time: frames sent out of an interface
 * without one may vanish. */
bool filter_fast_tick(void *ctx)
{
	struct filter *f = ctx;
	bool serving = false;

	for (int i = 0; i < f->n; i++) {
		struct filter_at *at = &f->at[i];

		if (at->fast && !xdp_is_attached(at->xdp))
			give_up(f, at, "the interface or its filter is gone");
		else if (at->fast && xdp_fast_refused(at->xdp))
			give_up(f, at,
				"frames sent out of it are not taken; the other end of a veth "
				"needs GRO for that (ethtool -K PEER gro on), and this server a "
				"restart then");
		serving |= at->fast;
	}
	if (++f->ticks % TICKS_PER_REFRESH == 0) {
		if (!f->draining)
			refresh(f);
		if (f->sessions)
			xdp_sessions_reclaim(f->sessions);
	}
	return serving || f->sessions; /* numbers have to be given out again all the same */
}

/* A relay's sessions go on, and are removed one by one. */
void filter_fast_drain(void *ctx)
{
	struct filter *f = ctx;

	f->draining = true;
	for (int i = 0; i < f->n; i++)
		if (f->at[i].fast && f->fast == FAST_ECHO)
			xdp_fast_off(f->at[i].xdp);
}

/* ---- what it has done ---- */

static void print_counters(const char *ifname, const struct xdp_stats *stats)
{
	uint64_t up = 0;

	for (int i = FAST_UP_OFF; i < FAST_REASONS; i++)
		up += stats->fast[i].packets;
	printf("xdp_%s_echoed %llu\nxdp_%s_forwarded %llu\nxdp_%s_up %llu\n", ifname,
	       (unsigned long long)stats->fast[FAST_ECHOED].packets, ifname,
	       (unsigned long long)stats->fast[FAST_FORWARDED].packets, ifname,
	       (unsigned long long)up);
	for (int i = FAST_UP_OFF; i < FAST_REASONS; i++)
		if (stats->fast[i].packets)
			printf("xdp_%s_%s %llu\n", ifname, xdp_fast_name((enum fast_reason)i),
			       (unsigned long long)stats->fast[i].packets);
}

void filter_fast_print(const struct xdp_info *info, const struct xdp_stats *stats, bool summary)
{
	enum fast_reason done = info->fast == FAST_ECHO ? FAST_ECHOED : FAST_FORWARDED;
	const char *before = " (";

	if (!info->fast)
		return;
	if (!summary) {
		print_counters(info->ifname, stats);
		return;
	}
	printf("fast path %s: %llu datagrams %s", info->ifname,
	       (unsigned long long)stats->fast[done].packets, xdp_fast_name(done));
	for (int i = FAST_UP_OFF; i < FAST_REASONS; i++) {
		if (!stats->fast[i].packets)
			continue;
		printf("%s%s %llu", before, xdp_fast_name((enum fast_reason)i),
		       (unsigned long long)stats->fast[i].packets);
		before = ", ";
	}
	printf("%s\n", *before == ',' ? ")" : "");
}
