/* SPDX-License-Identifier: MIT */
/*
 * The filter as the rest of the program sees it: attached to an interface, its rules replaced, its
 * counters read. Needs Linux 5.18 and CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; finding the filter
 * that another process has attached needs CAP_SYS_ADMIN too. Functions return 0 or a negative errno
 * with one line in error (XDP_ERROR_MAX bytes) that names cause and remedy.
 */
#ifndef SLUICE_XDP_XDP_H
#define SLUICE_XDP_XDP_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "xdp/fast.h"
#include "xdp/filter.h"
#include "xdp/rule.h"

enum xdp_mode { XDP_AUTO, XDP_NATIVE, XDP_GENERIC };

enum {
	XDP_ERROR_MAX = 512,
	XDP_PATH_MAX = 80,
	XDP_PROBE_ROWS_MAX = 8,
};

#define XDP_BPFFS "/sys/fs/bpf"

struct xdp;          /* a filter: this process's own, or one found on an interface */
struct xdp_sessions; /* a relay's, for the filters of all its interfaces */

struct xdp_conf {
	const char *ifname;
	enum xdp_mode mode;
	const struct rule_set *rules;  /* read, not kept */
	const union addr_inet *served; /* a server's UDP listeners; read, not kept */
	uint32_t n_served;             /* 0: every datagram is judged */
	bool pin;                      /* stays when this process ends, until xdp_detach */
	enum fast_mode fast;           /* what passes is served there, once xdp_fast_refresh was */
	struct xdp_sessions *sessions; /* FAST_RELAY: whose; outlives the filter */
};

/* What is known of an attached filter. */
struct xdp_info {
	char ifname[IF_NAMESIZE];
	uint32_t ifindex, program, link; /* ids */
	enum xdp_mode mode;              /* never XDP_AUTO */
	int native_err; /* XDP_GENERIC in the place of native: why, a negative errno */
	bool pinned;
	uint32_t pid; /* of the server that has it; 0: pinned, here or elsewhere */
	uint32_t n_rules, n_limits, n_served;
	uint64_t memory;     /* bytes of all maps, over all CPUs */
	uint64_t generation; /* 1, and one more with each replaced set */
	int64_t attached_at; /* CLOCK_REALTIME, seconds */
	enum fast_mode fast;
	bool watched; /* it is known what becomes of frames that are sent */
};

struct xdp_stats {
	struct filter_count by_verdict[FILTER_VERDICTS];
	struct filter_count by_reason[FILTER_REASONS][FILTER_VERDICTS];
	struct filter_count fast[FAST_REASONS]; /* of those that passed */
	struct rule *rules;                     /* of the set in force, in its order */
	struct filter_count *by_rule;           /* what matched; a limit: what it dropped */
	uint32_t n_rules;
};

/* Loads the filter, attaches it and gives the set effect. *ret_xdp is freed with xdp_close. */
int xdp_attach(const struct xdp_conf *conf, struct xdp **ret_xdp, char *error);

/* Finds the filter on an interface, whoever attached it. -ENOENT: there is none. */
int xdp_open(const char *ifname, struct xdp **ret_xdp, char *error);

/* Loads the filter without attaching it; for tests and `sluice probe`. */
int xdp_load(const struct xdp_conf *conf, struct xdp **ret_xdp, char *error);

/* Frees. A filter that this process attached and did not pin is detached. NULL is fine. */
void xdp_close(struct xdp *xdp);

/* Detaches the pinned filter of an interface. */
int xdp_detach(const char *ifname, char *error);

/* Replaces the whole set at once; the old one stays in force when this fails. Rules in both sets
 * keep their counters and the state of their limits. */
int xdp_replace(struct xdp *xdp, const struct rule_set *rules, char *error);

/* The set in force. Freed with rule_set_free. */
int xdp_rules(struct xdp *xdp, struct rule_set *ret_set, char *error);

void xdp_info(const struct xdp *xdp, struct xdp_info *ret_info);

/* Reads the counters. Freed with xdp_stats_free. */
int xdp_read(struct xdp *xdp, struct xdp_stats *ret_stats, char *error);
void xdp_stats_free(struct xdp_stats *stats); /* zeroed is fine */

/* Names of interfaces of this network namespace that have a sluice filter, in a list of max.
 * Returns how many, or a negative errno with error filled. */
int xdp_list(char (*ret_names)[IF_NAMESIZE], int max, char *error);

/* ---- the fast path ---- */

/* Looks up what the program has to know of its interface and this host (addresses, MAC, VLANs,
 * reverse path filter), and switches the fast path on. To be called again when any of it may have
 * changed: now and then. -ENODEV, without a message: the interface or the link to it is gone. */
int xdp_fast_refresh(struct xdp *xdp, char *error);

/* The same as the caller says; for tests. addrs are this host's unicast addresses. */
int xdp_fast_set(struct xdp *xdp, const struct fast_host *host, const union addr_inet *addrs,
		 uint32_t n_addrs);

/* Whether the filter is still on its interface: it is not when that was deleted, or by force. */
bool xdp_is_attached(const struct xdp *xdp);

/* Why frames that were sent out of the interface found no taker, a negative errno, since when
 * everything goes up; 0: none was refused, or it cannot be known (the kernel has no BTF). */
int xdp_fast_refused(const struct xdp *xdp);

/* From now on everything goes up, until the next refresh. */
void xdp_fast_off(struct xdp *xdp);

/* 1 when the kernel looks routes up for a family (AF_INET, AF_INET6) on behalf of programs, which a
 * relay needs: forwarding is on for the loopback interface. 0 when not. */
int xdp_fast_can_route(int family);

/* Room for capacity sessions (at most FAST_SESSIONS_MAX). */
int xdp_sessions_new(uint32_t capacity, struct xdp_sessions **ret_sessions, char *error);
void xdp_sessions_free(struct xdp_sessions *sessions); /* NULL is fine */

/* Lets programs send out of an interface of this index, or not any more. */
int xdp_sessions_egress(struct xdp_sessions *sessions, uint32_t ifindex, bool allowed);

/* What a session looks like: the client, the address that it asked, the socket that asks for it,
 * and whom. */
struct xdp_session {
	const union addr_inet *client, *asked, *source, *target;
};

/* From now on both directions are forwarded. Any thread. -ENOSPC: no room. -EAFNOSUPPORT: of two
 * families, or with addresses that only mean something on one link. */
int xdp_session_add(struct xdp_sessions *sessions, const struct xdp_session *session,
		    uint32_t *ret_number);
void xdp_session_remove(struct xdp_sessions *sessions, uint32_t number);

/* CLOCK_MONOTONIC of the last datagram that was forwarded; 0: none was. */
int64_t xdp_session_last_ns(const struct xdp_sessions *sessions, uint32_t number);

/* Datagrams of the session went through the sockets. One thread for each session. */
void xdp_session_note(struct xdp_sessions *sessions, uint32_t number, enum fast_way_name way,
		      uint32_t packets, uint64_t bytes);

/* Gives numbers of removed sessions out again, once no CPU can still be using them. Call about once
 * a second, from one thread; may wait for some milliseconds. */
void xdp_sessions_reclaim(struct xdp_sessions *sessions);

/* One session of a filter, as read. */
struct xdp_session_row {
	union addr_inet client, asked, source, target;
	struct {
		uint64_t packets, bytes;               /* forwarded */
		uint64_t socket_packets, socket_bytes; /* went through the sockets */
	} way[FAST_WAYS];
	int64_t last_ns; /* as above */
};

/* The sessions of a filter, in no order; *ret_rows is freed with free. Returns how many, or
 * -errno. */
int xdp_sessions_read(struct xdp *xdp, struct xdp_session_row **ret_rows, char *error);

/* "echoed", "up-neighbour", ... */
const char *xdp_fast_name(enum fast_reason reason);

/* The file descriptor of the loaded program, for BPF_PROG_TEST_RUN; and of the clock that a filter
 * loaded with xdp_load asks instead of the kernel's: nanoseconds, set by the test. */
int xdp_program_fd(const struct xdp *xdp);
void xdp_set_clock(struct xdp *xdp, uint64_t now_ns);

/* The folder of an interface's pinned filter, in out (XDP_PATH_MAX bytes). Returns out. A bpf file
 * system takes no dots: they become commas. */
const char *xdp_pin_path(const char *ifname, char *out);

/* "native", "prefix", ... as printed and as written in options. */
const char *xdp_mode_name(enum xdp_mode mode);
const char *xdp_reason_name(enum filter_reason reason);

/* One line of `sluice probe`. */
struct xdp_probe_row {
	const char *name, *since;
	bool required, found;
	char why[XDP_ERROR_MAX];
};
uint32_t xdp_probe(struct xdp_probe_row rows[XDP_PROBE_ROWS_MAX]);

#endif
