/* SPDX-License-Identifier: MIT */
/*
 * One thread with everything it needs: its listeners, backend, timers, connections and counters.
 * Workers share nothing on the data path; struct server is fixed while they run, but for the two
 * limits.
 */
#ifndef SLUICE_WORKER_H
#define SLUICE_WORKER_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>

#include "conn.h"
#include "io.h"
#include "log.h"
#include "udp.h"

enum { WORKER_LISTENERS_MAX = 64 };

struct server {
	const struct io_ops *ops;
	struct io_conf io_conf; /* of one worker; stats is filled in by each */
	const struct log *log;
	struct conn_conf conn_conf;
	struct udp_conf udp_conf;
	struct conn_limit limit, session_limit;
	struct addr listen[WORKER_LISTENERS_MAX]; /* as bound: with the port the kernel picked */
	uint32_t n_listen;
	uint32_t workers;
	uint32_t backlog;
	int64_t drain_timeout_ns;
	uint64_t hash_seed;
	pthread_t main_thread; /* gets SIGUSR2 when a worker ends */
};

enum worker_stop { WORKER_RUN, WORKER_DRAIN };

struct worker;

struct listener {
	struct io_handler handler;
	struct worker *worker;
	struct io_sock *sock; /* NULL once closed */
	bool many, one;       /* how it accepts now; both false: not at all */
	int held_fd;          /* accepted when --max-conns left none, not served yet; or -1 */
};

/* A reason to pause accepting, as far as it was told. */
struct worker_pause {
	bool said;
	int64_t last_ns;
};

struct worker {
	const struct server *server;
	struct conn_limit *limit, *session_limit;
	uint32_t index;
	int cpu;  /* to pin to, or -1 */
	int *fds; /* bound sockets, one per server->listen; owned until attached */
	pthread_t thread;
	sem_t *started;      /* posted once, with err set */
	int err;             /* 0, or -errno: why it could not start, or why it ended */
	_Atomic int stop;    /* enum worker_stop */
	_Atomic bool settle; /* set by worker_settle, cleared when the counters are up to date */
	_Atomic bool ended;  /* set last, before SIGUSR2 goes to the main thread */
	struct stats stats;

	pthread_mutex_t wake_lock; /* keeps io alive while another thread wakes it */
	struct io *io;
	struct timer_wheel wheel;
	struct conn_mgr conns;
	struct udp_mgr udp;
	struct listener listeners[WORKER_LISTENERS_MAX];
	struct udp_listener udp_listeners[WORKER_LISTENERS_MAX];
	uint32_t udp_drops[WORKER_LISTENERS_MAX]; /* the kernel's count, already in stats */
	struct timer tick, drain_timer;
	int64_t ticked_ns;
	int64_t retry_ns; /* out of descriptors: accepting is tried again then; 0: not out */
	bool at_limit;    /* --max-conns leaves none: looked at again after each turn */
	struct worker_pause pause_max, pause_descriptors;
	bool draining, cut;
};

/* Starts the thread, which posts started when it serves or could not (worker->err). 0 or -errno. */
int worker_start(struct worker *worker);

/* Asks the worker to drain. Any thread may call it. */
void worker_stop(struct worker *worker);

/* Has the worker count what it has not yet looked at, as far as 100 ms allow: a backend may learn
 * only with its next turn that what it sent has gone. */
void worker_settle(struct worker *worker);

/* Waits for the thread to end, and frees what it held. */
void worker_join(struct worker *worker);

#endif
