/* SPDX-License-Identifier: MIT */
/*
 * A backend whose kernel is a script: sockets are pipes in memory, time is a number, and what goes
 * wrong is decided by the test or by one seed. It does what core/io.h allows in the worst order
 * that it allows, and asserts that its user keeps to it as well: no use of a handle after IO_CLOSE,
 * no softer second close, each buffer given back once.
 *
 * Everything here belongs to the thread that opened the backend. Objects live until the backend is
 * freed.
 */
#ifndef SLUICE_TESTS_FAKE_IO_H
#define SLUICE_TESTS_FAKE_IO_H

#include "core/io.h"

extern const struct io_ops fake_io_ops;

/* Behaviour; may be changed at any time. The percentages are chances. */
struct fake_conf {
	uint32_t chunk_max;    /* a receive, or a send, moves 1 to so many bytes, at random */
	uint32_t window_bytes; /* of a new stream, each way: what is under way and not yet read */
	uint32_t accept_overshoot; /* connections still accepted after accept_stop */
	uint8_t late_percent;      /* what is due waits for another turn */
	uint8_t small_percent;     /* a receive is given a small buffer */
	uint8_t loss_percent;      /* a datagram is lost, either way */
	uint8_t send_full_percent; /* a datagram finds the send buffer full */
	uint8_t whole_percent;     /* a receive, or a move, takes as much as it may */
	uint8_t refuse_percent;    /* a move meets no pipe */
	uint32_t pipes_max;        /* that hold bytes at the same time */
	bool sends_reported_late;  /* IO_SEND as late as the contract allows */
	bool overshoots;           /* receives still arrive after recv_stop */
	bool buffers_gone;         /* as if every buffer were lent */
	bool blocks; /* a turn without limit waits for wake(); else that is -EDEADLK */
};

struct fake_conf *fake_conf(struct io *io);
/* Every random decision from here on follows from seed. */
void fake_seed(struct io *io, uint64_t seed);
uint64_t fake_random(struct io *io);
/* Descriptors neither closed nor handed over to a socket that is closed by now. */
uint32_t fake_fds_open(const struct io *io);
/* Closes a descriptor that belongs to the caller. */
void fake_fd_close(struct io *io, int fd);
/* Buffers that the user has received and neither sent nor recycled. */
uint32_t fake_buffers_lent(const struct io *io);

/* What became of moves, so that a test knows that there were any. */
struct fake_moves {
	uint64_t started, stopped, refused, bytes;
	uint32_t pipes; /* that hold bytes now */
};

const struct fake_moves *fake_moves(const struct io *io);

/* ---- streams ---- */

/* The other end of a stream. Its functions never block. */
struct fake_peer;

/* A connected stream: *ret_fd is for attach(). */
struct fake_peer *fake_pair(struct io *io, int *ret_fd);

/* A listening descriptor for attach(). */
int fake_listen(struct io *io, const struct addr *addr, uint32_t backlog);
/* Connects to a listener; NULL when there is none or its backlog is full. */
struct fake_peer *fake_connect(struct io *io, const struct addr *addr);
/* No descriptor is to be had: accepts and dials fail with err (-EMFILE, ...) until 0 is set. */
void fake_fds_gone(struct io *io, int err);

enum fake_answer { FAKE_REFUSE, FAKE_ACCEPT, FAKE_SILENT };

/* What dial(addr) meets from now on; until told, -ECONNREFUSED. err is for FAKE_REFUSE. */
void fake_dial_plan(struct io *io, const struct addr *addr, enum fake_answer answer, int err,
		    int64_t delay_ns);
/* The other end of the next connection dialled to addr, or NULL. */
struct fake_peer *fake_dialled(struct io *io, const struct addr *addr);

/* Bytes taken, -EAGAIN when the window is full, -EPIPE when nobody can read them any more. */
ssize_t fake_peer_write(struct fake_peer *peer, const void *data, size_t len);
/* Bytes read, 0 at the end, -EAGAIN, or -ECONNRESET. */
ssize_t fake_peer_read(struct fake_peer *peer, void *out, size_t size);
void fake_peer_shutdown(struct fake_peer *peer);
/* What arrives from now on is answered by a reset. */
void fake_peer_close(struct fake_peer *peer);
void fake_peer_reset(struct fake_peer *peer);
/* Resets when the socket has received so many bytes of this stream. */
void fake_peer_reset_at(struct fake_peer *peer, uint64_t bytes);
/* How much may be under way to this end from now on. */
void fake_peer_window(struct fake_peer *peer, uint32_t bytes);

/* ---- datagrams ---- */

/* A descriptor for attach(); with a wildcard address dgram.local is filled in. */
int fake_dgram_bind(struct io *io, const union addr_inet *addr);

/* A host on the other side of the network, with one address and port. */
struct fake_host;

struct fake_host *fake_host_open(struct io *io, const union addr_inet *addr);
/* From now on its address is not reachable: ICMP for connected sockets. */
void fake_host_close(struct fake_host *host);
void fake_host_send(struct fake_host *host, const union addr_inet *to, const void *data,
		    size_t len);
/* Bytes of the datagram (cut to size), or -EAGAIN. */
ssize_t fake_host_recv(struct fake_host *host, void *out, size_t size, union addr_inet *ret_from);

#endif
