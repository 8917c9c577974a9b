/* SPDX-License-Identifier: MIT */
/*
 * The ring's own table of files. A request that names a file by its place there does not look a
 * descriptor up, which in a process with threads is two atomic operations on a line that may be far
 * away. A place costs two system calls, so only sockets that send a lot get one.
 *
 * Only from Linux 6.13 on (6.14 can be told): before, a place that was given back was emptied only
 * after all requests that had begun earlier, whatever file they used, so that one stalled reader
 * kept every later socket open.
 *
 * Invariant: sock->file is a place in the table plus one, and it holds sock's file; 0: none.
 */
#include "io_uring/uring_compat.h"
#include "io_uring/uring_priv.h"

enum { SENDS_BEFORE = 64 };

void uring_files_open(struct uring_io *u)
{
	if (!(u->ring.features & IORING_FEAT_RW_ATTR) ||
	    io_uring_register_files_sparse(&u->ring, URING_FILES))
		return;
	u->features |= URING_FIXED_FILES;
	for (uint16_t i = 0; i < URING_FILES; i++)
		u->files[u->files_n++] = (uint16_t)(URING_FILES - 1 - i);
}

static void place(struct uring_io *u, struct io_sock *sock)
{
	uint16_t at = u->files[u->files_n - 1];

	if (io_uring_register_files_update(&u->ring, at, &sock->fd, 1) != 1)
		return;
	u->files_n--;
	sock->file = (uint16_t)(at + 1);
}

void uring_file_use(struct uring_io *u, struct io_sock *sock, struct io_uring_sqe *sqe)
{
	if (!sock->file) {
		if (sock->sends < SENDS_BEFORE) {
			sock->sends++;
			return;
		}
		if (!u->files_n)
			return;
		place(u, sock);
		/* Refused once, it will be again: not before as many sends. */
		if (!sock->file) {
			sock->sends = 0;
			return;
		}
	}
	sqe->fd = sock->file - 1;
	sqe->flags |= IOSQE_FIXED_FILE;
}

void uring_file_release(struct uring_io *u, struct io_sock *sock)
{
	int none = -1;

	if (!sock->file)
		return;
	io_uring_register_files_update(&u->ring, (unsigned)(sock->file - 1), &none, 1);
	u->files[u->files_n++] = (uint16_t)(sock->file - 1);
	sock->file = 0;
}
