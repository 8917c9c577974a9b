/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the io_uring backend share.
 *
 *   uring.c        the ring and its turns
 *   uring_sock.c   sockets, and events to their owners
 *   uring_recv.c   accepting, connecting, receiving from streams
 *   uring_move.c   moving streams inside the kernel
 *   uring_send.c   sending to streams, shutting down, closing
 *   uring_dgram.c  datagrams
 *   uring_file.c   the ring's table of files
 *   uring_group.c  provided buffers
 *   uring_probe.c  what this kernel can do
 */
#ifndef SLUICE_URING_PRIV_H
#define SLUICE_URING_PRIV_H

#include <assert.h>
#include <liburing.h>
#include <poll.h>
#include <sys/queue.h>

#include "core/io.h"
#include "core/lowat.h"
#include "core/net.h"
#include "core/pipe.h"
#include "core/util.h"
#include "io_uring/uring.h"

enum {
	URING_SQ_ENTRIES = 512,
	URING_CQ_ENTRIES = 4096,
	URING_IOV_MAX = 64, /* buffers gathered into one send */
	URING_SCRATCH_BYTES = 128 << 10,
	URING_FILES = 256,         /* places in the ring's table of files */
	URING_SOCKS_MAX = 1 << 24, /* what a tag can name */
	/* Of a sender's address before a datagram; rounded up so that control data is aligned. */
	URING_NAME_BYTES = (sizeof(union addr_inet) + 7) & ~7,
	URING_STOP_WATCH_NS = 50 * 1000 * 1000,
};

/* What a completion belongs to; the low byte of its user data. */
enum uring_tag {
	TAG_ACCEPT = 1,
	TAG_CONNECT,
	TAG_RECV,
	TAG_SEND,       /* waits until all is sent */
	TAG_TRY,        /* sent at once or not at all: completes here only when not */
	TAG_POLL,       /* watches a stopped socket for a reset */
	TAG_MOVE,       /* watches a moving socket for data */
	TAG_ROOM,       /* ... and one that does not take all of it for room */
	TAG_DGRAM = 16, /* likewise tried; + buffer class */
	TAG_CANCEL = 32,
	TAG_WAKE,
};

enum {
	S_RECV = 1 << 0,       /* the owner wants to receive */
	S_ARMED = 1 << 1,      /* a receive (or accept) is in the kernel */
	S_MULTISHOT = 1 << 2,  /* ... and repeats */
	S_CANCELLING = 1 << 3, /* ... and was told to end */
	S_RECV_ENDED = 1 << 4, /* end of stream or failure was reported */
	S_BULK = 1 << 5,       /* fills its buffers: receives one large one at a time */
	S_NONEMPTY = 1 << 6,   /* the last receive left data behind */
	S_ACCEPT = 1 << 7,
	S_ACCEPT_ONE = 1 << 8,
	S_CONNECT = 1 << 9, /* its result is known and not yet reported */
	S_TRYING = 1 << 10, /* flight was submitted as TAG_TRY, and the outcome is not yet known */
	S_TRY_FAILED = 1 << 11, /* ... but it was not, or not all, sent: see try_res */
	S_SENDING = 1 << 12,    /* flight was submitted as TAG_SEND */
	S_SEND_FAILED = 1 << 13,
	S_SHUT = 1 << 14,
	S_CLOSE_FLUSH = 1 << 15,
	S_CLOSE_NOW = 1 << 16,
	S_CANCELLED_ALL = 1 << 17,
	S_POLLING = 1 << 18,
	S_WAIT = 1 << 19,       /* on its group's list of those that wait for a buffer */
	S_DONE = 1 << 20,       /* on the list of those with a result to report */
	S_DIRTY = 1 << 21,      /* on the list of those with something to submit */
	S_STOPPED = 1 << 22,    /* on the list of stopped sockets that are not yet watched */
	S_PEER = 1 << 23,       /* datagram socket connected to one peer */
	S_PKTINFO = 1 << 24,    /* datagram socket that tells the local address */
	S_UNIX = 1 << 25,       /* local stream */
	S_HELD = 1 << 26,       /* stopped by its owner, who waits for a send to make room */
	S_ARMED_POLL = 1 << 27, /* what is ARMED is a poll request: TAG_MOVE */
	S_ROOM = 1 << 28,       /* a poll request, TAG_ROOM, is in the kernel */
	S_MOVE_DUE = 1 << 29,   /* on the list of movers with something to do */
	S_MOVE_HUP = 1 << 30,   /* the kernel told of an error, or of the end of both ways */
	S_CLOSING = S_CLOSE_FLUSH | S_CLOSE_NOW,
};

TAILQ_HEAD(sock_list, io_sock);

struct io_sock {
	struct io_handler *owner;
	uint32_t flags;
	uint32_t index;
	int fd;
	uint16_t gen;      /* tells a slot's new owner from its last */
	uint16_t inflight; /* requests in the kernel that will still complete; TAG_TRY and TAG_DGRAM
			      are not counted */
	uint16_t file;     /* place in the ring's table of files, plus one */
	uint8_t kind;      /* enum io_kind */
	uint8_t sends;     /* up to what earns that place */
	uint8_t full,
		thin;  /* receives in a row that filled a small, or hardly used a large buffer */
	uint8_t group; /* of the receive in the kernel, or waited for */
	int err;
	int32_t try_res;
	uint32_t sent;  /* bytes not yet reported */
	uint32_t moved; /* likewise, of what was moved here */
	uint32_t move_turn;
	uint32_t segment_limit; /* datagrams: see net_dgram_run */
	struct buf_queue flight, out;
	struct io_sock *move_to,
		*mover;     /* where its bytes are moved to, and whose are moved here */
	struct pipe *pipe;  /* what was moved here and not yet taken */
	struct lowat lowat; /* as a source of moves */
	int64_t stopped_ns;
	TAILQ_ENTRY(io_sock) wait; /* a group's waiters, or the movers */
	TAILQ_ENTRY(io_sock) stopped;
	struct io_sock *next_done, *next_dirty, *next_try; /* next_done links free slots too */
};

enum { GROUP_SMALL, GROUP_LARGE, GROUP_DGRAM, GROUPS };

/*
 * Buffers lent to the kernel. It takes them in the order they were published, so it walks through
 * all of them: only as many as needed are published, and the one used last goes back first. Needed
 * is what lets nobody wait.
 */
struct uring_group {
	struct io_uring_buf_ring *ring; /* NULL: not used yet */
	size_t ring_bytes;
	uint32_t entries;
	uint32_t published, window;
	uint32_t window_min, window_max;
	uint32_t lowest; /* published, since the window was last looked at */
	uint32_t turns;  /* since then */
	bool ran_out;    /* this turn */
	bool warm;       /* taken from since its memory was last given back */
	int64_t taken_ns;
	enum buf_class class;
	struct sock_list waiters;
};

struct uring_io {
	struct io io;
	struct io_uring ring;
	bool ring_open;
	uint32_t features; /* in use */
	int wake_fd;
	int broken;    /* -errno: what the next turn returns */
	uint32_t held; /* sockets that are S_HELD */
	bool eager;    /* somebody needs to know at once what became of a send */
	struct io_sock *socks;
	size_t socks_bytes;
	uint32_t socks_n, socks_max;
	struct io_sock *free;
	struct uring_group groups[GROUPS];
	struct io_sock *done, **done_tail;
	struct io_sock *dirty, **dirty_tail;
	struct io_sock *tries, **tries_tail;
	struct buf *dgrams; /* submitted as TAG_DGRAM, outcome not yet known */
	struct sock_list stopped;
	struct sock_list movers; /* with something to do */
	uint32_t move_turn;
	uint16_t files[URING_FILES]; /* free places in the table of files */
	uint32_t files_n;
	struct lowat_list lowats;
	uint8_t *scratch; /* message headers, until submitted */
	size_t scratch_used;
	struct msghdr recv_any, recv_pktinfo; /* layouts for multishot recvmsg */
	struct io_uring_sqe spare_sqe;        /* stands in when the ring is broken */
};

static inline struct uring_io *uring_of(struct io *io)
{
	return (struct uring_io *)io;
}

/* User data: generation 16 bits, socket 24 bits, detail 16 bits, tag 8 bits. */
static inline uint64_t uring_tag(const struct io_sock *sock, uint32_t tag, uint16_t detail)
{
	return (uint64_t)sock->gen << 48 | (uint64_t)sock->index << 24 | (uint64_t)detail << 8 |
	       tag;
}

/* uring.c
 *
 * A request to fill in. Submits what is queued when the ring is full, never fails. */
struct io_uring_sqe *uring_sqe(struct uring_io *u);
/* Memory for the next request, aligned for any header; it lives until that is submitted. */
void *uring_scratch(struct uring_io *u, size_t bytes);
/* Makes room: submits without waiting. */
void uring_submit(struct uring_io *u);
/* Cancels sock's request of that tag. */
void uring_cancel(struct uring_io *u, struct io_sock *sock, uint32_t tag);

/* uring_sock.c */
struct io_sock *uring_attach(struct io *io, int fd, enum io_kind kind, struct io_handler *owner);
struct io_sock *uring_dial(struct io *io, const struct addr *addr, struct io_handler *owner);
int uring_local(const struct io_sock *sock, union addr_inet *ret_local);
void uring_report(struct io_sock *sock, enum io_op op, int32_t res, struct buf *buf);
void uring_deliver(struct uring_io *u, struct io_sock *sock, enum io_op op, int32_t res,
		   struct buf *buf);
void uring_done(struct uring_io *u, struct io_sock *sock);
void uring_report_done(struct uring_io *u);
void uring_dirty(struct uring_io *u, struct io_sock *sock);
/* uring_group.c: buffers for the receives of one group. 0 or -errno. */
int uring_group_open(struct uring_io *u, unsigned group);
void uring_group_free(struct uring_io *u, unsigned group);
/* The buffer a completion names, now lent to us. */
struct buf *uring_group_take(struct uring_io *u, unsigned group, uint32_t cqe_flags);
/* sock waits for a buffer of its group; it is armed again when there is one. */
void uring_group_wait(struct uring_io *u, struct io_sock *sock);
void uring_group_unwait(struct uring_io *u, struct io_sock *sock);
/* Publishes what was used up, and arms those that wait, as many as there are buffers. */
void uring_group_refill(struct uring_io *u);

/* uring_recv.c */
void uring_arm(struct uring_io *u, struct io_sock *sock);
/* The owner waits, or no longer waits, for room before sock may receive again. */
void uring_hold(struct uring_io *u, struct io_sock *sock, bool hold);
void uring_watch_stopped(struct uring_io *u);
void uring_stop_watch_start(struct uring_io *u, struct io_sock *sock);
void uring_stop_watch_end(struct uring_io *u, struct io_sock *sock);
void uring_on_accept(struct uring_io *u, struct io_sock *sock, const struct io_uring_cqe *cqe);
void uring_on_connect(struct uring_io *u, struct io_sock *sock, const struct io_uring_cqe *cqe);
void uring_on_recv(struct uring_io *u, struct io_sock *sock, const struct io_uring_cqe *cqe);
void uring_on_poll(struct uring_io *u, struct io_sock *sock, const struct io_uring_cqe *cqe);
void uring_accept_start(struct io *io, struct io_sock *sock, bool many);
void uring_accept_stop(struct io *io, struct io_sock *sock);
void uring_recv_start(struct io *io, struct io_sock *sock);
void uring_recv_stop(struct io *io, struct io_sock *sock);
/* Ends the receive, or poll request, in the kernel. */
void uring_cancel_recv(struct uring_io *u, struct io_sock *sock);
/* Tells of the end of stream (0) or a failure. */
void uring_recv_ended(struct uring_io *u, struct io_sock *sock, int32_t res);
/* The same, when a reset is pending. */
void uring_check_reset(struct uring_io *u, struct io_sock *sock);

/* uring_move.c */
void uring_move_start(struct io *io, struct io_sock *from, struct io_sock *to);
void uring_move_stop(struct io *io, struct io_sock *from);
void uring_move_arm(struct uring_io *u, struct io_sock *from);
void uring_on_move(struct uring_io *u, struct io_sock *from, const struct io_uring_cqe *cqe);
void uring_on_room(struct uring_io *u, struct io_sock *to);
/* Moves what is due. */
void uring_move_all(struct uring_io *u);
/* to has sent what it was given: goes on with what waits for that. */
void uring_sent_all(struct uring_io *u, struct io_sock *to);
/* sock has received: that answers whoever is moved to it. */
static inline void uring_answered(struct uring_io *u, struct io_sock *sock)
{
	if (sock->mover)
		lowat_reset(&u->lowats, &sock->mover->lowat);
}
/* Ends the moves from and to sock. */
void uring_unlink_moves(struct uring_io *u, struct io_sock *sock);

/* uring_file.c: makes the table, where the kernel can; names the file in sqe by its place once sock
 * has one; gives the place back before the descriptor is closed. */
void uring_files_open(struct uring_io *u);
void uring_file_use(struct uring_io *u, struct io_sock *sock, struct io_uring_sqe *sqe);
void uring_file_release(struct uring_io *u, struct io_sock *sock);

/* uring_send.c */
void uring_send(struct io *io, struct io_sock *sock, struct buf *chain);
void uring_shutdown(struct io *io, struct io_sock *sock);
void uring_close(struct io *io, struct io_sock *sock, enum io_close how);
/* Turns what sock has queued into requests. */
void uring_flush(struct uring_io *u, struct io_sock *sock);
void uring_send_failed(struct uring_io *u, struct io_sock *sock, int err);
/* Goes on with a shutdown or close when nothing is left to wait for. */
void uring_settle(struct uring_io *u, struct io_sock *sock);
void uring_on_send(struct uring_io *u, struct io_sock *sock, const struct io_uring_cqe *cqe);
void uring_on_try(struct uring_io *u, struct io_sock *sock, int32_t res);
/* Learns what became of the sends that were tried; call only when no completion can be missing. */
void uring_resolve_tries(struct uring_io *u);

/* uring_dgram.c */
void uring_dgram_arm(struct uring_io *u, struct io_sock *sock);
void uring_dgram_flush(struct uring_io *u, struct io_sock *sock);
void uring_on_dgram(struct uring_io *u, struct io_sock *sock, uint64_t user_data, int32_t res);
void uring_on_dgram_recv(struct uring_io *u, struct io_sock *sock, const struct io_uring_cqe *cqe);
void uring_resolve_dgrams(struct uring_io *u);

#endif
