/* SPDX-License-Identifier: MIT */
/*
 * The backend interface: how the connection manager moves bytes, whatever the kernel calls this.
 *
 * It is shaped like completions: the owner starts an operation, its result comes as an event from
 * turn(). A readiness backend can serve that without loss (it tries, then waits); the reverse could
 * not express multishot receives and buffers that the kernel picks.
 *
 * Contract; tests/contract.c runs every line of it over every backend:
 *  1. Starters never fail and never block; each result is an event. No handler is called from
 *     inside a starter.
 *  2. Sends to one stream socket leave in order, each byte once. Short writes stay inside the
 *     backend. What waits is gathered into one vectored send; one is in flight at a time.
 *  3. send() takes its chain over; the owner never sees it again. IO_SEND tells how many bytes
 *     the kernel took since the last such event. A turn that sleeps may hold it back until it
 *     returns, but not while a receive is stopped, a shutdown or close waits, or more is queued.
 *  4. IO_CLOSE is the last event that names its owner. After close() with IO_CLOSE_FLUSH only
 *     IO_SEND and IO_CLOSE come; after IO_CLOSE_NOW or IO_CLOSE_RESET only IO_CLOSE. The handle
 *     is dead when IO_CLOSE has been handled.
 *  5. Running out of buffers never reaches the owner: the socket waits until one comes back,
 *     without spinning.
 *  6. recv_stop() is the only backpressure. What the backend had under way may still arrive after
 *     it: at most IO_OVERSHOOT_MAX bytes. A reset by the peer is reported even while stopped,
 *     within IO_RESET_NOTICE_NS.
 *  7. Events come one at a time; a received buffer may be sent from inside its handler while it
 *     is still in cache.
 *  8. A turn brings at most IO_BYTES_PER_TURN bytes of a stream, or IO_DGRAMS_PER_TURN datagrams
 *     of a socket, so that one busy peer never starves another.
 *  9. move_start() lets what a stream receives go to another one, or back to itself, inside the
 *     kernel: behind what was under way, which still comes as IO_RECV, and what is queued to be
 *     sent. What is in between counts as queued towards the other one: its shutdown and flushing
 *     close wait for it, and so does what send() is given later.
 * 10. Datagrams: one buffer each way is one datagram, of 0 to 65,507 bytes. Sends never wait and
 *     report no event: a datagram that the kernel does not take at once is dropped and counted.
 */
#ifndef SLUICE_IO_H
#define SLUICE_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "buf.h"
#include "pipe.h"
#include "stats.h"

enum io_op { IO_ACCEPT, IO_CONNECT, IO_RECV, IO_SEND, IO_MOVE, IO_CLOSE };

enum io_kind { IO_LISTENER, IO_STREAM, IO_DGRAM };

enum io_close { IO_CLOSE_FLUSH, IO_CLOSE_NOW, IO_CLOSE_RESET };

enum {
	IO_BYTES_PER_TURN = 512 << 10,
	IO_DGRAMS_PER_TURN = 512,
	IO_OVERSHOOT_MAX = 512 << 10,
	IO_RESET_NOTICE_NS = 200 * 1000 * 1000,
};

struct io;
struct io_sock; /* a backend's handle */

/*
 * op          res
 * IO_ACCEPT   the new descriptor (non-blocking, the handler's from now on), or -errno: accepting
 *             has ended
 * IO_CONNECT  0, or -errno; close() is still the owner's to call
 * IO_RECV     bytes, with buf lent to the handler, who must pass it to send() or recycle(); a
 *             stream's 0 is its end (buf NULL), -errno its failure (buf NULL; streams: no more
 *             receives). A datagram socket's -errno is an ICMP error or the like, and receiving
 *             goes on; its 0 with buf is an empty datagram.
 * IO_SEND     bytes (streams only), or -errno: the rest of the queue was dropped and nothing more
 *             can be sent
 * IO_MOVE     bytes that were moved to it and which the kernel took, or -ENOBUFS: they cannot be
 *             moved (any more), and its source has stopped, as by move_stop()
 * IO_CLOSE    0, or -errno when IO_CLOSE_FLUSH could not send all
 */
struct io_event {
	struct buf *buf;
	int32_t res;
	enum io_op op;
};

/* What an owner embeds; event is called for everything that happens to its socket. */
struct io_handler {
	void (*event)(struct io_handler *self, const struct io_event *event);
};

struct io_conf {
	struct stats *stats; /* the backend counts bytes, datagrams and its own troubles here */
	uint32_t socks_max;  /* attached and dialled at the same time */
	uint64_t buffer_bytes;
	uint32_t pipes_max;    /* for moves, two descriptors each */
	uint32_t features_off; /* backend-defined bits: optional kernel features not to use; 0 for
				  all */
};

struct io_ops {
	const char *name;

	/* Opens a backend for the calling thread, which alone may use it. 0 or -errno; *ret_io
	 * untouched then. */
	int (*open)(struct io **ret_io, const struct io_conf *conf);
	/* Closes every socket still attached, without events. NULL is fine. */
	void (*free)(struct io *io);

	/* Hands fd (non-blocking) over to the backend. NULL when socks_max is reached: fd stays the
	 * caller's. A bound datagram socket with IP_PKTINFO or IPV6_RECVPKTINFO on gets dgram.local
	 * filled in. */
	struct io_sock *(*attach)(struct io *io, int fd, enum io_kind kind,
				  struct io_handler *owner);
	/* Makes a socket of addr's kind and connects it. Ends in IO_CONNECT, for UDP as well,
	 * though sends and recv_start may follow at once there. NULL as above. */
	struct io_sock *(*dial)(struct io *io, const struct addr *addr, struct io_handler *owner);

	/* The address of a datagram socket: what it is bound to, or, of a dialled one whose
	 * IO_CONNECT has come with 0, what it sends from. 0 or -errno. */
	int (*local)(const struct io_sock *sock, union addr_inet *ret_local);

	/* Accepts until accept_stop (many), or exactly one connection. A backlog's worth of
	 * IO_ACCEPT may still come after accept_stop. */
	void (*accept_start)(struct io *io, struct io_sock *sock, bool many);
	void (*accept_stop)(struct io *io, struct io_sock *sock);
	void (*recv_start)(struct io *io, struct io_sock *sock);
	void (*recv_stop)(struct io *io, struct io_sock *sock);
	/* Streams: instead of recv_start and sends, until move_stop, which leaves from as recv_stop
	 * does. The end and the failure of from come as IO_RECV, all else to the owner of to, and
	 * the end of from, the failure of to and the close of either end it. One source for each
	 * to. */
	void (*move_start)(struct io *io, struct io_sock *from, struct io_sock *to);
	void (*move_stop)(struct io *io, struct io_sock *from);
	/* Stream: queues the chain. Datagram: each buffer is one datagram to dgram.peer, from
	 * dgram.local when that is known; a connected socket ignores both. */
	void (*send)(struct io *io, struct io_sock *sock, struct buf *chain);
	/* Sends FIN after all that is queued. */
	void (*shutdown)(struct io *io, struct io_sock *sock);
	/* May be called again to close harder. */
	void (*close)(struct io *io, struct io_sock *sock, enum io_close how);
	/* Gives a lent buffer or chain back. */
	void (*recycle)(struct io *io, struct buf *chain);

	/* Waits at most timeout_ns (-1: no limit) for something to happen and delivers events. 0 or
	 * -errno when the backend itself is broken. */
	int (*turn)(struct io *io, int64_t timeout_ns);
	/* Makes a turn return. The only function that another thread may call. */
	void (*wake)(struct io *io);
};

/* The part of a backend that its user may read. */
struct io {
	const struct io_ops *ops;
	struct stats *stats;
	struct buf_pool pool;
	struct pipe_pool pipes;
	uint32_t starved; /* sockets that wait for a buffer */
	uint32_t warm;    /* kinds of memory to give back once they rest: turns have to go on */
	int64_t now_ns;   /* util_now_ns() of when the running turn's wait ended (or of open);
			     handlers read it */
};

#endif
