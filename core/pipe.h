/* SPDX-License-Identifier: MIT */
/*
 * Moving bytes from one stream socket to another inside the kernel: splice(2) through a pipe.
 *
 * A pipe is borrowed for one move and goes back when it is empty, so all flows whose receivers keep
 * up share the one that is hot. One that holds bytes stays with the flow until they are taken; it
 * is never used for another one. Single-threaded: each worker has a pool of its own.
 */
#ifndef SLUICE_PIPE_H
#define SLUICE_PIPE_H

#include <stdint.h>

enum {
	PIPE_BYTES = 256 << 10,
	PIPES_MAX = 32, /* of a pool, two descriptors each */
};

struct pipe {
	int read_fd, write_fd;
	uint32_t bytes; /* in it */
	struct pipe *next;
};

struct pipe_pool {
	struct pipe pipes[PIPES_MAX];
	struct pipe *free;         /* open and empty, the last used first */
	struct pipe *shut;         /* not open */
	uint32_t free_n, free_low; /* on the first list, and the fewest since the last trim */
};

/* A pool of at most max pipes; with none left bytes are copied. */
void pipe_pool_init(struct pipe_pool *pool, uint32_t max);
/* Closes the pipes that are not lent. */
void pipe_pool_free(struct pipe_pool *pool);

/* Closes those that nobody needed since the last call. */
void pipe_pool_trim(struct pipe_pool *pool);

/* An empty pipe, or NULL: all are lent, or the kernel refuses another one (descriptors, or
 * fs.pipe-user-pages-soft; pipe(7)). */
struct pipe *pipe_get(struct pipe_pool *pool);
/* One that holds bytes is closed, and its bytes are lost. NULL is fine. */
void pipe_put(struct pipe_pool *pool, struct pipe *pipe);

/* Takes up to max bytes that fd has now. Bytes, 0 at the end of the stream, -EAGAIN, or -errno:
 * -EINVAL where what
 * fd has now cannot be spliced. The pipe must be empty: only so -EAGAIN speaks of fd. */
int32_t pipe_fill(struct pipe *pipe, int fd, uint32_t max);
/* Gives fd what it takes of what is in it. Bytes, 0 when it takes none now, or -errno. */
int32_t pipe_drain(struct pipe *pipe, int fd);

#endif
