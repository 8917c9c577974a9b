/* SPDX-License-Identifier: MIT */
/*
 * The generator: connections, the threads that serve them, and what both count.
 *
 * A run has workers, each a thread with an epoll instance and its share of the connections. The
 * main thread (run.c) moves all of them through the phases below and reads their counters; a
 * worker only ever writes its own. The three protocols, messages over kept streams (stream.c), a
 * connection per message (churn.c) and datagrams (dgram.c), are tables of functions that the
 * worker's loop (worker.c) calls.
 */
#ifndef SLUICE_BENCH_GEN_H
#define SLUICE_BENCH_GEN_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "bench/client/hist.h"
#include "bench/client/opts.h"

#define BENCH_OPENING_MAX 64        /* connections of a run being opened at once */
#define BENCH_CHUNK_BYTES (1 << 18) /* most that one send or receive moves */
#define BENCH_TURN_BYTES (1 << 19)  /* most that a connection moves before others have a turn */
#define BENCH_NEVER INT64_MAX

enum bench_phase {
	BENCH_OPENING, /* each connection is opened and, where answers come, gets one */
	BENCH_WARMUP,  /* the load, not counted */
	BENCH_MEASURE, /* the load, counted */
	BENCH_DRAIN,   /* nothing new; what is under way is awaited */
	BENCH_STOP,
};

enum bench_error {
	BENCH_ERR_CONNECT, /* not connected: refused, unreachable, out of ports or descriptors */
	BENCH_ERR_RESET,
	BENCH_ERR_CLOSED,  /* an end of stream where an answer was due */
	BENCH_ERR_TIMEOUT, /* no answer in time */
	BENCH_ERR_CORRUPT, /* other bytes than were sent */
	BENCH_ERR_SURPLUS, /* more bytes than were sent */
	BENCH_ERR_IO,      /* any other error of a socket */
	BENCH_ERRORS,
};

extern const char *const bench_error_names[BENCH_ERRORS];

/* Written by one thread, read by any. */
typedef _Atomic uint64_t bench_count;

static inline void bench_count_add(bench_count *count, uint64_t n)
{
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline uint64_t bench_count_get(const bench_count *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

enum bench_conn_state {
	BENCH_CONN_CLOSED,     /* not opened yet, or gone for good */
	BENCH_CONN_RETRY,      /* waits for retry_ns to connect again */
	BENCH_CONN_CONNECTING, /* connect() has not answered */
	BENCH_CONN_PROVING,    /* its first message is under way: proof that it was accepted */
	BENCH_CONN_OPEN,
};

struct bench_seq;

/* Positions and numbers count from the connection's first byte and message. */
struct bench_conn {
	int fd; /* -1: none */
	enum bench_conn_state state;
	bool queued;         /* on the worker's run list */
	bool blocked;        /* the socket takes no datagram until EPOLLOUT */
	uint32_t index;      /* among all connections of the run */
	uint32_t pattern_at; /* where in the pattern its stream starts */
	uint32_t fails;      /* churn: failures in a row */
	uint64_t tx_bytes, tx_goal_bytes;
	uint64_t tx_msgs;       /* messages begun */
	uint64_t tx_next_bytes; /* where message tx_msgs begins */
	uint64_t goal_msgs;     /* messages that make up tx_goal_bytes */
	uint64_t base_msgs;     /* messages before the load began */
	uint64_t due_msgs;      /* open loop: base_msgs and those whose time has come */
	uint64_t rx_bytes, rx_msgs;
	uint64_t rx_left;  /* bytes missing of message rx_msgs */
	int64_t active_ns; /* when bytes last came, or were first awaited */
	int64_t retry_ns;
	int64_t *stamp_ns;     /* ring of stamp_mask + 1: when message i was sent, or due */
	struct bench_seq *seq; /* datagrams only */
	struct bench_conn *run_next;
};

struct bench_worker;

/* What a protocol does with a connection. Failures are counted, never returned. */
struct bench_proto {
	int (*init)(struct bench_worker *w);  /* memory of its own: 0 or -errno */
	void (*free)(struct bench_worker *w); /* NULL: nothing */
	void (*open)(struct bench_worker *w, struct bench_conn *c);
	void (*start)(struct bench_worker *w, struct bench_conn *c); /* the load begins */
	void (*due)(struct bench_worker *w, struct bench_conn *c);   /* due_msgs has grown */
	void (*event)(struct bench_worker *w, struct bench_conn *c, uint32_t events);
	void (*resume)(struct bench_worker *w, struct bench_conn *c); /* from the run list */
	void (*check)(struct bench_worker *w, struct bench_conn *c, int64_t now_ns); /* timeouts */
	bool (*awaits)(struct bench_worker *w, struct bench_conn *c); /* in BENCH_DRAIN */
};

extern const struct bench_proto bench_stream_proto, bench_churn_proto, bench_dgram_proto;

/* Only counted while measuring, except for failures. Bytes are of messages. */
struct bench_counts {
	bench_count msgs, tx_bytes, rx_bytes;
	bench_count errors[BENCH_ERRORS];
	bench_count dgram_sent, dgram_received, dgram_duplicates, dgram_reordered, dgram_late;
	bench_count dgram_corrupt;
};

struct bench_run;

struct bench_worker {
	struct bench_run *run;
	const struct bench_opts *opts;
	const struct bench_proto *proto;
	uint32_t index;
	pthread_t thread;
	bool running; /* the thread was created */
	int epfd, wake_fd;
	int failed;             /* 0 or the -errno that ended the thread's loop */
	bench_count ended;      /* 1 when the loop has ended */
	enum bench_phase phase; /* the one it works in */

	struct bench_conn *conns;
	uint32_t n_conns;
	uint32_t next;     /* to be opened */
	uint32_t opening;  /* being opened */
	bench_count open;  /* able to carry load */
	bench_count gone;  /* failed for good */
	uint32_t retrying; /* in BENCH_CONN_RETRY */
	struct bench_conn *run_first, **run_last;
	int64_t *stamps; /* of all connections */
	uint64_t stamp_mask;
	uint8_t *rx; /* where bytes are received, and compared */
	struct bench_dgram *dgram;

	uint64_t next_due; /* of the schedule: this worker's count of messages */
	int64_t next_due_ns;
	int64_t check_ns; /* when timeouts are looked at next */

	struct bench_counts counts;
	struct bench_hist latency, lag;
	bench_count unanswered_msgs;     /* in latency, with what they had waited in the end */
	uint64_t unsent_msgs;            /* open loop: due in the window, but never sent */
	uint64_t stalled_conns;          /* moved nothing for half of the window or longer */
	int64_t slow_ns;                 /* closed loop: slower than nearly all in the window */
	int64_t cpu_from_ns, cpu_ns;     /* the thread's own, at and over the window */
	int64_t idle_ns, idle_window_ns; /* spinning without an event; in the window */
	int64_t acked_from, acked_gone;  /* bytes: when the window began, of failed connections */
	int64_t acked_bytes;             /* one way: acknowledged in the window */
	uint64_t rx_drops;               /* datagrams that its own full queues dropped */
};

/* What the threads share; constant while they run, but for the atomics. */
struct bench_run {
	const struct bench_opts *opts;
	union bench_sockaddr {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} target;
	socklen_t target_len;
	union bench_sockaddr sources[BENCH_SOURCES_MAX];
	uint32_t n_sources; /* 0: the kernel chooses */
	uint8_t *pattern;
	struct bench_worker *workers;
	int notify_fd;            /* eventfd: some worker has opened or lost its connections */
	_Atomic int phase;        /* enum bench_phase */
	_Atomic int64_t start_ns; /* of the load: the schedule counts from here */
	_Atomic int64_t from_ns, to_ns; /* the window; BENCH_NEVER until known */
	atomic_flag told;               /* the first failure has been printed */
};

static inline enum bench_phase bench_run_phase(const struct bench_run *run)
{
	return (enum bench_phase)atomic_load_explicit(&run->phase, memory_order_relaxed);
}

/* Whether what was sent, or due, at that time is of the window. */
static inline bool bench_in_window(const struct bench_run *run, int64_t at_ns)
{
	return at_ns >= atomic_load_explicit(&run->from_ns, memory_order_relaxed) &&
	       at_ns < atomic_load_explicit(&run->to_ns, memory_order_relaxed);
}

int64_t bench_now_ns(void);

/* worker.c, conn.c and ending.c: by the worker's own thread, but for init and free. */

/* Allocates what n_conns connections need. 0 or -errno; bench_worker_free() in either case. */
int bench_worker_init(struct bench_worker *w, struct bench_run *run, uint32_t index);
void bench_worker_free(struct bench_worker *w);

/* The thread: struct bench_worker in, NULL out. */
void *bench_worker_main(void *arg);

/* Wakes the main thread. */
void bench_worker_notify(struct bench_worker *w);

void bench_conn_set_state(struct bench_worker *w, struct bench_conn *c,
			  enum bench_conn_state state);

/* A message that was sent, or due, at stamp_ns has been answered. */
void bench_worker_answered(struct bench_worker *w, int64_t stamp_ns, int64_t now_ns);

/*
 * ending.c: what is unfinished when the window ends, when an answer to what was sent in it comes
 * later (closed loop), and when the thread ends.
 */
void bench_worker_window_ended(struct bench_worker *w);
void bench_worker_answered_late(struct bench_worker *w, int64_t stamp_ns, int64_t now_ns);
void bench_worker_ended(struct bench_worker *w);

/* Calls proto->resume() in the next turn. */
void bench_worker_queue(struct bench_worker *w, struct bench_conn *c);

/* Closed loop: may send more. */
static inline bool bench_worker_loads(const struct bench_worker *w)
{
	return w->phase == BENCH_WARMUP || w->phase == BENCH_MEASURE;
}

/* Open loop: when message `number` of c was due. */
int64_t bench_worker_due_ns(const struct bench_worker *w, const struct bench_conn *c,
			    uint64_t number);

/* The state changes that others wait for. */
void bench_worker_opened(struct bench_worker *w, struct bench_conn *c);
void bench_worker_retry(struct bench_worker *w, struct bench_conn *c, int64_t after_ns);

/* Counts; the first failure of a run is printed, because a thousand tend to be alike. */
void bench_worker_error(struct bench_worker *w, const struct bench_conn *c, enum bench_error error,
			const char *what, int err);

/* Counts, and closes the connection for good. */
void bench_worker_fail(struct bench_worker *w, struct bench_conn *c, enum bench_error error,
		       const char *what, int err);

enum bench_error bench_error_of(int err);

/* socket.c */

/*
 * A non-blocking socket to the target, connected or connecting, registered edge-triggered for c.
 * 0, -EINPROGRESS, -EAGAIN (a local backlog is full), or -errno; c->fd is valid in the first two.
 */
int bench_socket_open(struct bench_worker *w, struct bench_conn *c);

/* The outcome of a connect() in progress: 0 or -errno. */
int bench_socket_connected(int fd);

void bench_socket_close(struct bench_conn *c);

/* Bytes handed to the socket that the peer has not acknowledged. */
int64_t bench_socket_unacked(int fd);

/* Fills run->target and run->sources. False when that failed, which then has been printed. */
bool bench_target_resolve(struct bench_run *run);

/* data.c */

/* BENCH_PATTERN_BYTES and BENCH_CHUNK_BYTES beyond, so that any chunk is contiguous; or NULL. */
#define BENCH_PATTERN_BYTES 65521 /* prime: a shifted or repeated block never matches */
uint8_t *bench_pattern_new(void);

static inline const uint8_t *bench_pattern_at(const struct bench_run *run,
					      const struct bench_conn *c, uint64_t position)
{
	return run->pattern + (c->pattern_at + position) % BENCH_PATTERN_BYTES;
}

/* Bytes of message `number` of connection `index`: uniform, and the same whenever asked. */
uint32_t bench_size_of(const struct bench_opts *opts, uint32_t index, uint64_t number);

/*
 * The schedule of the open loop: message number m of the run is due at start + m / rate, never
 * later for what happened before it. Connections take turns: m modulo their number.
 */
int64_t bench_due_ns(double rate_per_s, uint64_t m);

#endif
