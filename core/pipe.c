/* SPDX-License-Identifier: MIT */
/* Owns the pipes. Invariant: each is lent, or on exactly one of the lists. */
#include "pipe.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

static void push(struct pipe **list, struct pipe *pipe)
{
	pipe->next = *list;
	*list = pipe;
}

static struct pipe *pop(struct pipe **list)
{
	struct pipe *pipe = *list;

	if (pipe)
		*list = pipe->next;
	return pipe;
}

static void pipe_shut(struct pipe_pool *pool, struct pipe *pipe)
{
	close(pipe->read_fd);
	close(pipe->write_fd);
	push(&pool->shut, pipe);
}

void pipe_pool_init(struct pipe_pool *pool, uint32_t max)
{
	*pool = (struct pipe_pool){0};
	for (uint32_t i = MIN(max, (uint32_t)PIPES_MAX); i > 0; i--)
		push(&pool->shut, &pool->pipes[i - 1]);
}

void pipe_pool_free(struct pipe_pool *pool)
{
	struct pipe *pipe;

	while ((pipe = pop(&pool->free)))
		pipe_shut(pool, pipe);
	pool->free_n = pool->free_low = 0;
}

static struct pipe *pipe_open(struct pipe_pool *pool)
{
	struct pipe *pipe = pool->shut;
	int fds[2];

	if (!pipe || pipe2(fds, O_NONBLOCK | O_CLOEXEC))
		return NULL;
	/* Refused beyond the soft limit of an unprivileged user: its default size does, too. */
	(void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES);
	pop(&pool->shut);
	*pipe = (struct pipe){.read_fd = fds[0], .write_fd = fds[1]};
	return pipe;
}

void pipe_pool_trim(struct pipe_pool *pool)
{
	while (pool->free_low) {
		pool->free_low--;
		pool->free_n--;
		pipe_shut(pool, pop(&pool->free));
	}
	pool->free_low = pool->free_n;
}

struct pipe *pipe_get(struct pipe_pool *pool)
{
	struct pipe *pipe = pop(&pool->free);

	if (!pipe)
		return pipe_open(pool);
	pool->free_n--;
	pool->free_low = MIN(pool->free_low, pool->free_n);
	return pipe;
}

void pipe_put(struct pipe_pool *pool, struct pipe *pipe)
{
	if (!pipe)
		return;
	if (pipe->bytes) {
		pipe_shut(pool, pipe);
		return;
	}
	push(&pool->free, pipe);
	pool->free_n++;
}

static ssize_t splice_some(int from, int to, uint32_t max)
{
	ssize_t n;

	do
		n = splice(from, NULL, to, NULL, max, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Splicing says 0 at the end of the stream, but also in front of urgent data. */
static ssize_t fill_nothing(int fd)
{
	uint8_t byte;
	ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n < 0 ? -errno : n > 0 ? -EINVAL : 0;
}

int32_t pipe_fill(struct pipe *pipe, int fd, uint32_t max)
{
	ssize_t n;

	assert(!pipe->bytes);
	n = splice_some(fd, pipe->write_fd, max);
	if (n > 0)
		pipe->bytes = (uint32_t)n;
	else if (n == 0)
		n = fill_nothing(fd);
	return (int32_t)n;
}

int32_t pipe_drain(struct pipe *pipe, int fd)
{
	uint32_t before = pipe->bytes;

	while (pipe->bytes) {
		ssize_t n = splice_some(pipe->read_fd, fd, pipe->bytes);

		if (n == -EAGAIN || n == 0)
			break;
		if (n < 0)
			return (int32_t)n;
		pipe->bytes -= (uint32_t)n;
	}
	return (int32_t)(before - pipe->bytes);
}
