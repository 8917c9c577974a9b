/* SPDX-License-Identifier: MIT */
/*
 * The load generator: a closed loop of echo messages over many TCP connections, one thread.
 *
 * load.c reads the options, runs the phases and reports; load_conn.c owns the connections;
 * load_stat.c owns the latency histogram and reads the CPU time of the server.
 */
#ifndef LOAD_H
#define LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define LOAD_NS_PER_MS INT64_C(1000000)
#define LOAD_NS_PER_S INT64_C(1000000000)
#define LOAD_OPENING_MAX 64        /* connections that wait for their first echo at once */
#define LOAD_PERIOD_BYTES 65521    /* prime: a shifted or repeated block never matches */
#define LOAD_CHUNK_BYTES (1 << 18) /* most that one send or recv moves */
#define LOAD_HIST_SUB 64           /* buckets per power of two: 1.6 % wide */

struct load_opts {
	const char *target; /* HOST:PORT or [V6]:PORT */
	uint32_t conns, depth;
	uint32_t msg_bytes;
	int64_t seconds_ns, warmup_ns, open_timeout_ns;
	pid_t pid; /* of the server, 0 when its CPU is not wanted */
	bool idle, verify, spin;
};

enum load_conn_state {
	LOAD_CLOSED,     /* no socket: not yet opened, or failed */
	LOAD_CONNECTING, /* connect() has not answered */
	LOAD_OPENING,    /* the first message is under way: proof that the server has accepted */
	LOAD_OPEN,       /* sends as soon as it may */
};

struct load_conn {
	int fd;
	enum load_conn_state state;
	uint64_t tx_bytes, rx_bytes, tx_goal_bytes;
	uint32_t rx_left;    /* bytes missing of the message awaited, 1 to msg_bytes */
	uint32_t rx_msgs;    /* wraps; index of the next stamp to take */
	uint32_t pattern_at; /* where in the pattern this connection's stream starts */
	int64_t *stamp_ns;   /* depth entries: when the message was sent */
};

/* Counts per power of two and 64 steps in between; covers all of int64_t. */
struct load_hist {
	uint64_t total;
	uint64_t count[64 * LOAD_HIST_SUB];
};

struct load_cpu {
	int64_t exec_ns;         /* time on a CPU as the scheduler counts it */
	int64_t user_ns, sys_ns; /* the same in clock ticks, as a cross-check */
};

struct load_errors {
	uint64_t connect, io, eof, mismatch, surplus;
};

struct load {
	struct load_opts opts;
	struct sockaddr_storage peer;
	socklen_t peer_len;
	int epfd;
	struct load_conn *conns;
	uint8_t *pattern, *rx;
	uint32_t next, opening, open; /* next to open, being opened, open */
	bool measuring;
	uint64_t msgs; /* completed inside the window */
	struct load_hist hist;
	struct load_errors errors;
};

int64_t load_now_ns(void);

/* Allocates what the connections need and the epoll instance. 0 or -errno. */
int load_conns_init(struct load *l);

/* Closes every connection and frees what init allocated. */
void load_conns_free(struct load *l);

/* Opens connections until LOAD_OPENING_MAX are under way or none is left. */
void load_conns_open_some(struct load *l);

/* Gives each open connection its `depth` messages and sends what the sockets take. */
void load_conns_start(struct load *l);

/* Waits for events until deadline_ns at the latest and handles them. 0 or -errno. */
int load_conns_turn(struct load *l, int64_t deadline_ns);

void load_hist_add(struct load_hist *h, int64_t ns);

/* The value below which `percent` of what was added lies, at the middle of its bucket. */
int64_t load_hist_percentile(const struct load_hist *h, double percent);

/* CPU time that a process has used so far, all its threads, also those that ended. 0 or -errno. */
int load_cpu_read(pid_t pid, struct load_cpu *ret_cpu);

#endif
