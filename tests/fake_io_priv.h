/* SPDX-License-Identifier: MIT */
/* What the parts of the fake backend share: fake_io.c (sockets), fake_io_turn.c, fake_io_stream.c,
 * fake_io_move.c, fake_io_dgram.c. */
#ifndef SLUICE_TESTS_FAKE_IO_PRIV_H
#define SLUICE_TESTS_FAKE_IO_PRIV_H

#include <pthread.h>
#include <sys/queue.h>

#include "fake_io.h"

/* What a socket was told, and what became of it. */
enum {
	F_RECV = 1 << 0,
	F_RECV_ENDED = 1 << 1,
	F_ACCEPT = 1 << 2,
	F_ACCEPT_ONE = 1 << 3,
	F_CONNECT = 1 << 4,
	F_SHUT = 1 << 5,
	F_SEND_FAILED = 1 << 6, /* and to be reported while err is set */
	F_CLOSE_FLUSH = 1 << 7,
	F_CLOSE_NOW = 1 << 8,
	F_CLOSE_RESET = 1 << 9,
	F_STARVED = 1 << 10,
	F_SILENT = 1 << 11, /* its dial is never answered */
	F_OVERSHOOT_END = 1 << 12,
	F_DEAD = 1 << 13,
	F_STOPPED = 1 << 14, /* receiving was started and stopped */
	F_REPORT = 1 << 15,  /* sent bytes may not be kept back */
	F_HARD = F_CLOSE_NOW | F_CLOSE_RESET,
	F_CLOSING = F_CLOSE_FLUSH | F_HARD,
};

/* What can be done for a socket now; which comes first is left to chance. */
enum {
	DUE_CONNECT = 1 << 0,
	DUE_FLUSH = 1 << 1,
	DUE_REPORT = 1 << 2,
	DUE_RECV = 1 << 3,
	DUE_RESET = 1 << 4,
	DUE_ACCEPT = 1 << 5,
	DUE_CLOSE = 1 << 6,
	DUE_MOVE = 1 << 7,
};

enum { FAKE_FD_FIRST = 1000, FAKE_LATE_TURNS_MAX = 3, FAKE_PACKETS_MAX = 4096 };

struct fake_pipe {
	uint8_t *bytes;
	size_t at, len, size; /* len bytes from at; size of the memory */
	size_t window;
	bool fin;
};

struct fake_peer {
	struct fake_io *f;
	struct io_sock *sock;        /* NULL before attach and after its close */
	struct fake_pipe in, out;    /* as the socket sees it */
	int sock_err;                /* what the socket meets: -ECONNRESET */
	int64_t reset_ns;            /* since when */
	uint64_t received, reset_at; /* by the socket */
	bool peer_gone;              /* closed: what comes is answered by a reset */
	bool sock_gone;
	bool peer_reset;              /* this end meets -ECONNRESET */
	TAILQ_ENTRY(fake_peer) queue; /* in a backlog, or dialled and not yet asked for */
	SLIST_ENTRY(fake_peer) all;
};

TAILQ_HEAD(fake_peers, fake_peer);

struct fake_listener {
	struct addr addr;
	struct fake_peers backlog;
	uint32_t backlog_n, backlog_max;
	bool closed;
	SLIST_ENTRY(fake_listener) all;
};

struct fake_plan {
	struct addr addr;
	enum fake_answer answer;
	int err;
	int64_t delay_ns;
	struct fake_peers dialled;
	SLIST_ENTRY(fake_plan) all;
};

struct fake_packet {
	STAILQ_ENTRY(fake_packet) queue;
	union addr_inet from, to;
	size_t len;
	uint8_t data[];
};

STAILQ_HEAD(fake_packets, fake_packet);

struct fake_dgram {
	union addr_inet local, peer; /* peer: family 0 when not connected */
	bool wildcard, closed;
	int err; /* an ICMP error to report */
	struct fake_packets rx;
	uint32_t rx_n;
	SLIST_ENTRY(fake_dgram) all;
};

struct fake_host {
	struct fake_io *f;
	union addr_inet addr;
	bool closed;
	struct fake_packets rx;
	SLIST_ENTRY(fake_host) all;
};

/* What a descriptor stands for. */
struct fake_fd {
	bool open, attached;
	struct fake_peer *stream;
	struct fake_listener *listener;
	struct fake_dgram *dgram;
};

struct io_sock {
	struct fake_io *f;
	struct io_handler *owner;
	enum io_kind kind;
	uint32_t flags;
	int fd;
	struct fake_peer *stream;
	struct fake_listener *listener;
	struct fake_dgram *dgram;
	struct buf_queue out;
	uint32_t sent;                   /* not yet reported */
	struct io_sock *move_to, *mover; /* where its bytes are moved to, and whose come here */
	struct fake_pipe pipe;           /* what was moved here and goes before out */
	uint32_t moved;                  /* sent of that and not yet reported */
	int err;                         /* of the dial, the failed send or the flush */
	struct fake_plan *plan;
	int64_t due_ns;     /* when a dial is answered */
	int64_t notice_ns;  /* how long a reset stays unnoticed while stopped */
	uint64_t overshoot; /* bytes, or connections, that may still come after a stop */
	uint32_t turn_bytes, turn_dgrams, late_turns;
	TAILQ_ENTRY(io_sock) all;
};

TAILQ_HEAD(fake_socks, io_sock);

struct fake_io {
	struct io io;
	struct fake_conf conf;
	uint64_t random;
	pthread_t thread;
	pthread_mutex_t wake_lock;
	pthread_cond_t wake_cond;
	bool woken; /* under wake_lock */
	bool in_turn, in_handler;
	uint32_t socks_max, socks_n, stopped_n;
	int fds_err;
	uint16_t port_next;
	struct fake_socks socks;
	struct fake_socks dead; /* kept, so that a stale handle is noticed */
	struct fake_fd *fds;
	uint32_t fds_n, fds_size;
	uint8_t *lent[BUF_CLASSES]; /* by buffer id */
	uint32_t lent_n;
	struct fake_moves moves;
	SLIST_HEAD(, fake_peer) peers;
	SLIST_HEAD(, fake_listener) listeners;
	SLIST_HEAD(, fake_plan) plans;
	SLIST_HEAD(, fake_dgram) dgrams;
	SLIST_HEAD(, fake_host) hosts;
};

static inline struct fake_io *fake_io_of(struct io *io)
{
	return (struct fake_io *)io;
}

/* 0 to n - 1; and true with the chance of percent. */
uint64_t fake_below(struct fake_io *f, uint64_t n);
bool fake_chance(struct fake_io *f, uint32_t percent);
void *fake_alloc(size_t bytes);

int fake_fd_new(struct fake_io *f, const struct fake_fd *what);
void fake_fd_drop(struct fake_io *f, int fd, bool reset);
/* Takes sock off what waits for buffers, or off what was stopped. */
void fake_unstarve(struct io_sock *sock);
void fake_unstop(struct io_sock *sock);
/* What every starter asserts: a handle of this thread, alive, and not told to close. */
void fake_check_use(struct io *io, struct io_sock *sock);
int fake_turn(struct io *io, int64_t timeout_ns);
void fake_wake(struct io *io);
/* Tells the owner, after what it has to know first. Nothing is told that a close has cut off. */
void fake_deliver(struct io_sock *sock, enum io_op op, int32_t res, struct buf *buf);
/* A buffer for a receive of len bytes, or NULL: sock starves then. */
struct buf *fake_take_buf(struct io_sock *sock, size_t len, bool whole);
/* True when fake_take_buf would find one. */
bool fake_has_buf(const struct io_sock *sock);
/* Notes that buf is the backend's again; asserts that it was the user's. */
void fake_buf_returned(struct fake_io *f, struct buf *buf);
bool fake_wants_recv(const struct io_sock *sock);
bool fake_addr_equal(const struct addr *a, const struct addr *b);

size_t fake_pipe_room(const struct fake_pipe *pipe);
void fake_pipe_put(struct fake_pipe *pipe, const void *data, size_t len);
/* out may be NULL: they are lost. */
void fake_pipe_get(struct fake_pipe *pipe, void *out, size_t len);
/* Frees the kernel's memory of what nobody will read. */
void fake_pipe_drop(struct fake_pipe *pipe);

struct fake_peer *fake_peer_new(struct fake_io *f);
void fake_peer_free(struct fake_peer *peer);
uint32_t fake_stream_due(const struct io_sock *sock);
void fake_stream_do(struct io_sock *sock, uint32_t due);
void fake_stream_send(struct io_sock *sock, struct buf *chain);
/* Tells of the end of stream (0) or a failure. */
void fake_stream_ended(struct io_sock *sock, int32_t res);
void fake_stream_flush(struct io_sock *sock);
/* len bytes of the stream are the socket's now. */
void fake_stream_took(struct io_sock *sock, size_t len);
/* The socket is gone: what the other end sees. */
void fake_stream_closed(struct fake_peer *peer, bool reset);
uint32_t fake_listener_due(const struct io_sock *sock);
void fake_listener_accept(struct io_sock *sock);
void fake_listener_closed(struct fake_listener *listener);
void fake_stream_dial(struct io_sock *sock, const struct addr *addr);

void fake_move_start(struct io *io, struct io_sock *from, struct io_sock *to);
void fake_move_stop(struct io *io, struct io_sock *from);
/* Ends the move from sock. */
void fake_move_unlink_from(struct io_sock *from);
/* Ends the moves from and to sock. */
void fake_move_unlink(struct io_sock *sock);
/* DUE_MOVE, or 0. */
uint32_t fake_move_due(const struct io_sock *from);
void fake_move(struct io_sock *from);
/* Sends at most left bytes of what was moved to sock. */
void fake_move_flush(struct io_sock *sock, uint64_t left);
/* Loses what was moved to sock. */
void fake_move_drop(struct io_sock *sock);

uint32_t fake_dgram_due(const struct io_sock *sock);
void fake_dgram_recv(struct io_sock *sock);
void fake_dgram_send(struct io_sock *sock, struct buf *chain);
int fake_dgram_dial(struct io_sock *sock, const struct addr *addr);
void fake_dgram_free_all(struct fake_io *f);

#endif
