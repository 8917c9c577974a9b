/* SPDX-License-Identifier: MIT */
/* In the place of the filter where it could not be built: says why, in each of its functions. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "xdp/xdp.h"

static int absent(char *error)
{
	snprintf(error, XDP_ERROR_MAX,
		 "this sluice was built without the XDP filter, for lack of " SLUICE_XDP_LACKS
		 ": install clang, bpftool and libbpf 1.1 (libbpf-dev), and build again");
	return -ENOSYS;
}

int xdp_attach(const struct xdp_conf *conf, struct xdp **ret_xdp, char *error)
{
	(void)conf;
	(void)ret_xdp;
	return absent(error);
}

int xdp_load(const struct xdp_conf *conf, struct xdp **ret_xdp, char *error)
{
	(void)conf;
	(void)ret_xdp;
	return absent(error);
}

int xdp_open(const char *ifname, struct xdp **ret_xdp, char *error)
{
	(void)ifname;
	(void)ret_xdp;
	return absent(error);
}

int xdp_detach(const char *ifname, char *error)
{
	(void)ifname;
	return absent(error);
}

int xdp_replace(struct xdp *xdp, const struct rule_set *rules, char *error)
{
	(void)xdp;
	(void)rules;
	return absent(error);
}

int xdp_rules(struct xdp *xdp, struct rule_set *ret_set, char *error)
{
	(void)xdp;
	(void)ret_set;
	return absent(error);
}

int xdp_read(struct xdp *xdp, struct xdp_stats *ret_stats, char *error)
{
	(void)xdp;
	(void)ret_stats;
	return absent(error);
}

int xdp_list(char (*ret_names)[IF_NAMESIZE], int max, char *error)
{
	(void)ret_names;
	(void)max;
	return absent(error);
}

void xdp_close(struct xdp *xdp)
{
	(void)xdp;
}

void xdp_info(const struct xdp *xdp, struct xdp_info *ret_info)
{
	(void)xdp;
	memset(ret_info, 0, sizeof(*ret_info));
}

void xdp_stats_free(struct xdp_stats *stats)
{
	(void)stats;
}

int xdp_program_fd(const struct xdp *xdp)
{
	(void)xdp;
	return -1;
}

void xdp_set_clock(struct xdp *xdp, uint64_t now_ns)
{
	(void)xdp;
	(void)now_ns;
}

int xdp_fast_refresh(struct xdp *xdp, char *error)
{
	(void)xdp;
	return absent(error);
}

int xdp_fast_set(struct xdp *xdp, const struct fast_host *host, const union addr_inet *addrs,
		 uint32_t n_addrs)
{
	(void)xdp;
	(void)host;
	(void)addrs;
	(void)n_addrs;
	return -ENOSYS;
}

int xdp_fast_refused(const struct xdp *xdp)
{
	(void)xdp;
	return 0;
}

bool xdp_is_attached(const struct xdp *xdp)
{
	(void)xdp;
	return false;
}

void xdp_fast_off(struct xdp *xdp)
{
	(void)xdp;
}

int xdp_fast_can_route(int family)
{
	(void)family;
	return 0;
}

int xdp_sessions_new(uint32_t capacity, struct xdp_sessions **ret_sessions, char *error)
{
	(void)capacity;
	(void)ret_sessions;
	return absent(error);
}

void xdp_sessions_free(struct xdp_sessions *sessions)
{
	(void)sessions;
}

int xdp_sessions_egress(struct xdp_sessions *sessions, uint32_t ifindex, bool allowed)
{
	(void)sessions;
	(void)ifindex;
	(void)allowed;
	return -ENOSYS;
}

int xdp_session_add(struct xdp_sessions *sessions, const struct xdp_session *session,
		    uint32_t *ret_number)
{
	(void)sessions;
	(void)session;
	(void)ret_number;
	return -ENOSYS;
}

void xdp_session_remove(struct xdp_sessions *sessions, uint32_t number)
{
	(void)sessions;
	(void)number;
}

int64_t xdp_session_last_ns(const struct xdp_sessions *sessions, uint32_t number)
{
	(void)sessions;
	(void)number;
	return 0;
}

void xdp_session_note(struct xdp_sessions *sessions, uint32_t number, enum fast_way_name way,
		      uint32_t packets, uint64_t bytes)
{
	(void)sessions;
	(void)number;
	(void)way;
	(void)packets;
	(void)bytes;
}

void xdp_sessions_reclaim(struct xdp_sessions *sessions)
{
	(void)sessions;
}

int xdp_sessions_read(struct xdp *xdp, struct xdp_session_row **ret_rows, char *error)
{
	(void)xdp;
	(void)ret_rows;
	return absent(error);
}

uint32_t xdp_probe(struct xdp_probe_row rows[XDP_PROBE_ROWS_MAX])
{
	memset(rows, 0, sizeof(*rows));
	rows->name = "filter";
	rows->since = "5.18";
	absent(rows->why);
	return 1;
}
