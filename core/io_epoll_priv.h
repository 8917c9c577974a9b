/* SPDX-License-Identifier: MIT */
/* What the parts of the epoll backend share: io_epoll.c (sockets, turns, streams) and
 * io_epoll_dgram.c. */
#ifndef SLUICE_IO_EPOLL_PRIV_H
#define SLUICE_IO_EPOLL_PRIV_H

#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "io.h"
#include "lowat.h"
#include "net.h"
#include "pipe.h"

enum {
	EPOLL_DGRAM_BATCH = 32,
	EPOLL_DGRAM_BATCH_MIN = 2,
	EPOLL_EVENTS_MAX = 256,
	EPOLL_ACCEPTS_PER_TURN = 64,
	EPOLL_BYTES_PER_TURN = 256 << 10,
};

/*
 * Readiness is remembered per socket, because an edge is told once:
 *   IN, OUT    the kernel may have something; cleared by EAGAIN (or, on a stream, a short read or
 * write) HUP        end of stream or error is known: a short read does not clear IN and what the
 * owner wants: ACCEPT, ACCEPT_ONE, CONNECT, RECV, SHUT, and the close flags. Work is due when the
 * two meet.
 */
enum {
	S_IN = 1 << 0,
	S_OUT = 1 << 1,
	S_HUP = 1 << 2,
	S_ACCEPT = 1 << 3,
	S_ACCEPT_ONE = 1 << 4,
	S_CONNECT = 1 << 5,
	S_RECV = 1 << 6,
	S_RECV_ENDED = 1 << 7, /* end of stream or failure was reported */
	S_SHUT = 1 << 8,
	S_SEND_FAILED = 1 << 9,
	S_CLOSE_FLUSH = 1 << 10,
	S_CLOSE_NOW = 1 << 11,
	S_RUN = 1 << 12,    /* on the run list */
	S_WAIT = 1 << 13,   /* on the list of those that wait for a buffer */
	S_DONE = 1 << 14,   /* on the list of those with a result to report */
	S_DIRTY = 1 << 15,  /* on the list of datagram sockets with unsent datagrams */
	S_PEER = 1 << 16,   /* datagram socket connected to one peer */
	S_URGENT = 1 << 17, /* TCP urgent data has come while its bytes are moved */
	S_CLOSING = S_CLOSE_FLUSH | S_CLOSE_NOW,
};

TAILQ_HEAD(sock_list, io_sock);

struct io_sock {
	struct io_handler *owner;
	uint32_t flags;
	uint32_t gen; /* tells a slot's new owner from its last */
	uint32_t run_turn;
	uint32_t dgrams;        /* in out */
	uint32_t room;          /* datagrams asked for in its next receive */
	uint32_t segment_limit; /* see net_dgram_run */
	int fd;
	enum io_kind kind;
	int err;       /* of a dial, or of the failed send or flush, until reported */
	uint32_t sent; /* bytes not yet reported */
	struct buf_queue out;
	struct io_sock *move_to,
		*mover;           /* where its bytes are moved to, and whose are moved here */
	struct pipe *pipe;        /* what was moved here and not yet taken */
	uint32_t moved;           /* bytes taken and not yet reported */
	struct lowat lowat;       /* as a source of moves */
	TAILQ_ENTRY(io_sock) run; /* run list, or wait list */
	struct io_sock *next_done, *next_dirty; /* next_done links free slots too */
	LIST_ENTRY(io_sock) all;
};

struct dgram_rx {
	struct mmsghdr msgs[EPOLL_DGRAM_BATCH];
	struct iovec iovs[EPOLL_DGRAM_BATCH];
	struct buf *bufs[EPOLL_DGRAM_BATCH];
	_Alignas(struct cmsghdr) uint8_t controls[EPOLL_DGRAM_BATCH][NET_CMSG_MAX];
};

struct epoll_io {
	struct io io;
	int epoll_fd, wake_fd;
	struct io_sock *socks;
	size_t socks_bytes;
	uint32_t socks_n, socks_max; /* slots ever used; limit */
	struct io_sock *free;
	LIST_HEAD(, io_sock) all;
	struct sock_list run, wait;
	uint32_t turn;
	struct io_sock *done, **done_tail;
	struct io_sock *dirty;
	struct lowat_list lowats;
	struct dgram_rx *rx; /* made with the first datagram socket */
};

static inline struct epoll_io *epoll_io_of(struct io *io)
{
	return (struct epoll_io *)io;
}

/* Hands the event to the owner, and then what its starters completed at once. */
void epoll_deliver(struct epoll_io *e, struct io_sock *sock, enum io_op op, int32_t res,
		   struct buf *buf);
/* A receive buffer, or NULL: sock then waits for one to come back. */
struct buf *epoll_take_buf(struct epoll_io *e, struct io_sock *sock);
/* Puts sock on the run list. */
void epoll_run(struct epoll_io *e, struct io_sock *sock);
/* Has a result to report, or is closed, once the running handler returns. */
void epoll_done(struct epoll_io *e, struct io_sock *sock);
void epoll_report_done(struct epoll_io *e);

/* Does what is due on sock. */
void epoll_run_sock(struct epoll_io *e, struct io_sock *sock);
/* Sends what the kernel takes, and does what waited for the queue to be empty. */
void epoll_flush(struct epoll_io *e, struct io_sock *sock);
bool epoll_wants_recv(const struct io_sock *sock);
/* Tells of the end of stream (0) or a failure. */
void epoll_recv_ended(struct epoll_io *e, struct io_sock *sock, int32_t res);
void epoll_recv_stop(struct io *io, struct io_sock *sock);

/* io_epoll_move.c */
void epoll_move_start(struct io *io, struct io_sock *from, struct io_sock *to);
void epoll_move_stop(struct io *io, struct io_sock *from);
/* Moves what from has and its receiver takes. */
void epoll_move(struct epoll_io *e, struct io_sock *from);
/* Sends what is in to's pipe; what to does not take clears S_OUT. 0 or -errno. */
int epoll_drain_pipe(struct epoll_io *e, struct io_sock *to);
/* Ends the moves from and to sock. */
void epoll_unlink_moves(struct epoll_io *e, struct io_sock *sock);
/* sock has received: that answers whoever is moved to it. */
void epoll_answered(struct epoll_io *e, struct io_sock *sock);
/* Looks after sources that wait for more than has come. */
void epoll_run_paused(struct epoll_io *e);

int epoll_dgram_open(struct epoll_io *e);
void epoll_dgram_free(struct epoll_io *e);
/* Receives one batch; clears S_IN when the socket is empty. */
void epoll_dgram_recv(struct epoll_io *e, struct io_sock *sock);
void epoll_dgram_send(struct epoll_io *e, struct io_sock *sock, struct buf *chain);
/* Sends everything queued on every dirty socket, or on one. */
void epoll_dgram_flush_all(struct epoll_io *e);
void epoll_dgram_flush(struct epoll_io *e, struct io_sock *sock);

#endif
