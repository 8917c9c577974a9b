/* SPDX-License-Identifier: MIT */
/*
 * The connection manager of one worker: slots, limits, timers, drain. What a connection does with
 * its bytes is in tcp.c; what datagrams do is in udp.c.
 *
 * A connection is one or two sides. Echo and discard have the client's side; relay has the
 * upstream's as well. Each side names where its bytes go, so that echo is a relay to oneself.
 */
#ifndef SLUICE_CONN_H
#define SLUICE_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "addr.h"
#include "io.h"
#include "stats.h"
#include "timer.h"

enum conn_mode { CONN_ECHO, CONN_DISCARD, CONN_RELAY };

enum {
	CONN_TARGETS_MAX = 64,
	CONN_QUEUE_HIGH =
		256 << 10, /* bytes queued towards one side before its source is stopped */
	CONN_QUIET_NS =
		500 * 1000 *
		1000, /* while draining: nothing moved for so long, so nothing is in flight */
};

/* Fixed while the server runs, and shared by all workers. */
struct conn_conf {
	enum conn_mode mode;
	const struct addr *targets; /* for streams */
	uint32_t n_targets;
	int64_t connect_timeout_ns;
	int64_t idle_timeout_ns; /* 0: none */
	uint32_t conns_max;
};

/* The one thing that workers write together; touched when a connection opens or closes, never per
 * message. */
struct conn_limit {
	_Atomic int64_t left;
};

enum conn_state {
	CONN_CONNECTING, /* client attached, not yet received from; an upstream is being tried */
	CONN_FLOWING,
	CONN_CLOSING, /* every side was told to close; waits for their last events */
};

enum {
	SIDE_UPSTREAM = 1 << 0,
	SIDE_STOPPED = 1 << 1, /* its receive is stopped: what it fills is full */
	SIDE_EOF = 1 << 2,     /* all it had to say was received */
	SIDE_MOVING = 1 << 3,  /* its bytes go where they go inside the kernel */
};

struct conn_side {
	struct io_handler handler;
	struct io_sock *sock; /* NULL: never opened, or its last event has come */
	uint32_t queued;      /* bytes given to send() that it has not reported sent */
	uint32_t flags;
	uint32_t usual_bytes; /* of a receive, averaged over the last ones */
};

struct conn {
	struct conn_mgr *mgr;
	struct conn_side client, upstream;
	struct timer timer; /* connect timeout, then idle timeout */
	int64_t active_ns;  /* when bytes last moved */
	uint8_t state;
	bool aborted;   /* told to reset; counted already */
	uint8_t target; /* of the attempt under way */
	uint8_t tries;
	LIST_ENTRY(conn) list; /* live, or free */
};

LIST_HEAD(conn_list, conn);

struct conn_mgr {
	struct io *io;
	struct timer_wheel *wheel;
	struct stats *stats;
	const struct conn_conf *conf;
	struct conn_limit *limit;
	struct conn *slots;
	size_t slots_bytes;
	uint32_t slots_used, live_n;
	struct conn_list free, live;
	uint32_t next_target;
	int64_t starved_since_ns; /* 0: buffers are to be had */
	bool draining;
	bool out_of_descriptors; /* a dial failed for want of one; the worker pauses accepting and
				    clears it */
};

/* Reserves conf->conns_max slots (touched only when used). 0 or -ENOMEM. */
int conn_mgr_init(struct conn_mgr *mgr, struct io *io, struct timer_wheel *wheel,
		  struct stats *stats, const struct conn_conf *conf, struct conn_limit *limit);
void conn_mgr_free(struct conn_mgr *mgr);

/* Takes one of the connections that the limit leaves; false when there is none. conn_release gives
 * it back. */
bool conn_reserve(struct conn_limit *limit);
void conn_release(struct conn_limit *limit);

/* Serves an accepted descriptor, for which conn_reserve was called; both pass to the connection. 0,
 * or -ENOBUFS: then neither does. */
int conn_open(struct conn_mgr *mgr, int fd);

/* Both sides have sent their last event: the slot is free again. For tcp.c. */
void conn_free(struct conn *conn);

/* Starts, or moves, the timer of conn for its state. For tcp.c. */
void conn_timer_start(struct conn *conn);

/* Bytes that may queue towards a side before its source stops: the less buffer memory is left, the
 * fewer, so that stalled readers cannot take it all. */
static inline uint32_t conn_queue_high(const struct conn_mgr *mgr)
{
	uint64_t share = buf_pool_left(&mgr->io->pool) / 8;

	return share < CONN_QUEUE_HIGH ? (uint32_t)share : CONN_QUEUE_HIGH;
}

/* Called now and then (about ten times a second): while draining closes connections that are quiet;
 * when receives starve for buffers resets the connections that have held some without progress for
 * longest. */
void conn_mgr_tick(struct conn_mgr *mgr);

/* Stops opening connections and lets those that live finish. */
void conn_mgr_drain(struct conn_mgr *mgr);

/* Resets what is left; the slots are free after the following turns. Returns how many were cut. */
uint32_t conn_mgr_cut(struct conn_mgr *mgr);

#endif
