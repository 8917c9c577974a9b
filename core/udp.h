/* SPDX-License-Identifier: MIT */
/*
 * What datagrams do: echo, discard, and relay with a session per client. No system calls here.
 *
 * A session is one client address and port (and the local address it asked) with an upstream socket
 * of its own, so that replies find their way back. Sessions end when idle. Nothing here queues: UDP
 * loses, and what is lost is counted.
 */
#ifndef SLUICE_UDP_H
#define SLUICE_UDP_H

#include "conn.h"

enum {
	UDP_IDLE_DEFAULT_S =
		60, /* RFC 4787 REQ-5 asks NATs for 120 s at least; proxies commonly use 60 */
	UDP_OWN_MAX = 64,
};

/* What a session's datagrams look like on both of its sides. */
struct udp_flow {
	union addr_inet client, asked;  /* who asks, and which of this host's addresses */
	union addr_inet source, target; /* the session's own socket, and whom it is connected to */
};

/*
 * Something in front of the sockets that can forward the datagrams of sessions, so that they do not
 * come up. What it does not forward still does. Any worker calls it, each for its own sessions.
 */
struct udp_fast {
	void *ctx;
	/* 0 with the session's number; -ENOSPC: no room; else -errno: not one that it forwards. */
	int (*add)(void *ctx, const struct udp_flow *flow, uint32_t *ret_number);
	void (*remove)(void *ctx, uint32_t number);
	/* util_now_ns() of its last datagram, give or take a tick of the clock; 0: none yet. */
	int64_t (*last_ns)(void *ctx, uint32_t number);
	/* Datagrams of the session came up and were relayed here. */
	void (*note)(void *ctx, uint32_t number, bool to_client, uint32_t packets,
		     uint64_t bytes);
};

/* Fixed while the server runs, and shared by all workers. */
struct udp_conf {
	enum conn_mode mode;
	const struct addr *targets;
	uint32_t n_targets;
	int64_t idle_timeout_ns; /* > 0 */
	uint32_t sessions_max;
	const struct addr *own; /* every address that this server's UDP listeners are bound to */
	uint32_t n_own;
	const union addr_inet *local; /* addresses of this host; ports are ignored */
	uint32_t n_local;
	const struct udp_fast *fast; /* of relays; NULL: none */
};

LIST_HEAD(udp_session_list, udp_session);

struct udp_mgr {
	struct io *io;
	struct timer_wheel *wheel;
	struct stats *stats;
	const struct udp_conf *conf;
	struct conn_limit *limit; /* sessions of all workers together */
	uint64_t hash_seed;
	struct udp_session *slots;
	size_t slots_bytes;
	uint32_t slots_used, live_n;
	struct udp_session_list free, live;
	struct udp_session_list *buckets;
	uint32_t buckets_n; /* a power of two */
	uint32_t next_target;
	bool draining;
};

struct udp_listener {
	struct io_handler handler;
	struct udp_mgr *mgr;
	struct io_sock *sock; /* NULL once closed */
	uint32_t index;       /* tells the listeners of one worker apart */
};

/* hash_seed must be unpredictable: clients choose the keys. 0 or -ENOMEM. */
int udp_mgr_init(struct udp_mgr *mgr, struct io *io, struct timer_wheel *wheel, struct stats *stats,
		 const struct udp_conf *conf, struct conn_limit *limit, uint64_t hash_seed);
void udp_mgr_free(struct udp_mgr *mgr);

/* Serves a bound socket. 0, or -ENOBUFS: fd stays the caller's then. */
int udp_listen(struct udp_mgr *mgr, struct udp_listener *listener, uint32_t index, int fd);

/* True when answering a datagram from peer, asked at meta's address, could start a loop or hit a
 * third party. */
bool udp_would_reflect(const struct udp_conf *conf, const struct dgram_meta *meta);

/* From now on only the sessions there are go on. */
void udp_mgr_drain(struct udp_mgr *mgr);

/* While draining: closes sessions that are quiet. Call about ten times a second. */
void udp_mgr_tick(struct udp_mgr *mgr);

/* Closes all sessions. Returns how many. */
uint32_t udp_mgr_cut(struct udp_mgr *mgr);

#endif
