/* SPDX-License-Identifier: MIT */
/* The pool of pipes: its limit, what is used again and what is not, and what splice(2) does at the
 * ends of streams. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/pipe.h"
#include "core/util.h"

static struct pipe_pool pool;
static int in[2], out[2]; /* what is written to in[1] goes from in[0] to out[0] */

static void pair(int fds[2])
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static void setup(void)
{
	pipe_pool_init(&pool, PIPES_MAX);
	pair(in);
	pair(out);
}

static void teardown(void)
{
	pipe_pool_free(&pool);
	for (int i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
}

TestSuite(pipe, .init = setup, .fini = teardown, .timeout = 60);

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static struct pipe *get(void)
{
	struct pipe *pipe = pipe_get(&pool);

	cr_assert_not_null(pipe);
	cr_assert_eq(pipe->bytes, 0);
	cr_assert(is_open(pipe->read_fd) && is_open(pipe->write_fd));
	return pipe;
}

static void feed(const char *text)
{
	cr_assert_eq(write(in[1], text, strlen(text)), (ssize_t)strlen(text));
}

/* ---- the pool ---- */

Test(pipe, no_more_than_the_limit)
{
	struct pipe *pipes[PIPES_MAX];

	for (int i = 0; i < PIPES_MAX; i++) {
		pipes[i] = get();
		for (int j = 0; j < i; j++)
			cr_assert_neq(pipes[i], pipes[j]);
	}
	cr_assert_null(pipe_get(&pool));
	cr_assert_null(pipe_get(&pool));
	pipe_put(&pool, pipes[7]);
	cr_assert_eq(get(), pipes[7]);
	cr_assert_null(pipe_get(&pool));
	for (int i = 0; i < PIPES_MAX; i++)
		pipe_put(&pool, pipes[i]);
}

Test(pipe, the_last_used_is_used_again)
{
	struct pipe *a = get(), *b = get();

	pipe_put(&pool, a);
	pipe_put(&pool, b);
	cr_assert_eq(get(), b);
	cr_assert_eq(get(), a);
	pipe_put(&pool, b);
	pipe_put(&pool, a);
	pipe_put(&pool, NULL);
}

Test(pipe, does_not_block_and_is_not_inherited)
{
	struct pipe *pipe = get();

	cr_assert(fcntl(pipe->read_fd, F_GETFL) & O_NONBLOCK);
	cr_assert(fcntl(pipe->write_fd, F_GETFL) & O_NONBLOCK);
	cr_assert(fcntl(pipe->read_fd, F_GETFD) & FD_CLOEXEC);
	cr_assert(fcntl(pipe->write_fd, F_GETFD) & FD_CLOEXEC);
	pipe_put(&pool, pipe);
}

/* What is left in a pipe must never come out at another flow. */
Test(pipe, one_with_bytes_in_it_is_not_used_again)
{
	for (int i = 0; i < 2 * PIPES_MAX; i++) {
		struct pipe *pipe = get();
		char bytes[64];
		int fd;

		feed("secret");
		cr_assert_eq(pipe_fill(pipe, in[0], 100), 6);
		fd = pipe->read_fd;
		pipe_put(&pool, pipe);
		cr_assert(!is_open(fd));
		pipe = get();
		feed("mine");
		cr_assert_eq(pipe_fill(pipe, in[0], 100), 4);
		cr_assert_eq(pipe_drain(pipe, out[1]), 4);
		cr_assert_eq(read(out[0], bytes, sizeof(bytes)), 4);
		cr_assert_eq(memcmp(bytes, "mine", 4), 0);
		pipe_put(&pool, pipe);
	}
}

Test(pipe, free_closes_what_is_not_lent)
{
	struct pipe *lent = get(), *back = get();
	int fd = back->read_fd;

	pipe_put(&pool, back);
	pipe_pool_free(&pool);
	cr_assert(!is_open(fd));
	cr_assert(is_open(lent->read_fd));
	pipe_put(&pool, lent);
	fd = lent->read_fd;
	pipe_pool_free(&pool);
	pipe_pool_free(&pool);
	cr_assert(!is_open(fd));
}

Test(pipe, trim_closes_what_stayed_unused)
{
	struct pipe *a = get(), *b = get();
	int fds[] = {a->read_fd, b->read_fd};

	pipe_put(&pool, a);
	pipe_put(&pool, b);
	pipe_pool_trim(&pool);
	cr_expect(is_open(fds[0]) && is_open(fds[1]));
	pipe_put(&pool, get());
	/* One was used since, the other one was not. */
	pipe_pool_trim(&pool);
	cr_expect_eq(pool.free_n, 1);
	cr_expect_neq(is_open(fds[0]), is_open(fds[1]));
	pipe_pool_trim(&pool);
	cr_expect(!is_open(fds[0]) && !is_open(fds[1]));
	pipe_put(&pool, get());
	cr_expect_eq(pool.free_n, 1);
}

Test(pipe, without_descriptors_there_is_none)
{
	struct rlimit limit, none;
	int fd = dup(in[0]);

	close(fd);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = (rlim_t)fd, .rlim_max = limit.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (int i = 0; i < 2 * PIPES_MAX; i++)
		cr_assert_null(pipe_get(&pool));
	/* One of the two could be had. */
	none.rlim_cur++;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	cr_assert_null(pipe_get(&pool));
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert(!is_open(fd));
	pipe_put(&pool, get());
}

/* ---- bytes ---- */

Test(pipe, takes_no_more_than_it_may)
{
	struct pipe *pipe = get();
	char bytes[16] = "";

	feed("0123456789");
	cr_assert_eq(pipe_fill(pipe, in[0], 4), 4);
	cr_assert_eq(pipe->bytes, 4);
	cr_assert_eq(pipe_drain(pipe, out[1]), 4);
	cr_assert_eq(pipe->bytes, 0);
	cr_assert_eq(pipe_fill(pipe, in[0], 100), 6);
	cr_assert_eq(pipe_drain(pipe, out[1]), 6);
	cr_assert_eq(read(out[0], bytes, sizeof(bytes)), 10);
	cr_assert_str_eq(bytes, "0123456789");
	pipe_put(&pool, pipe);
}

Test(pipe, nothing_and_the_end)
{
	struct pipe *pipe = get();

	cr_assert_eq(pipe_fill(pipe, in[0], 100), -EAGAIN);
	feed("x");
	shutdown(in[1], SHUT_WR);
	cr_assert_eq(pipe_fill(pipe, in[0], 100), 1);
	cr_assert_eq(pipe_drain(pipe, out[1]), 1);
	cr_assert_eq(pipe_fill(pipe, in[0], 100), 0);
	cr_assert_eq(pipe->bytes, 0);
	pipe_put(&pool, pipe);
}

Test(pipe, a_receiver_that_is_full_gets_the_rest_later)
{
	static char zeros[1 << 16], bytes[1 << 16];
	struct pipe *pipe = get();
	uint64_t filled, sent, got = 0;
	ssize_t n;

	while (write(out[1], zeros, sizeof(zeros)) > 0)
		;
	feed("behind");
	cr_assert_eq(pipe_fill(pipe, in[0], 100), 6);
	cr_assert_eq(pipe_drain(pipe, out[1]), 0);
	cr_assert_eq(pipe->bytes, 6);
	filled = pipe->bytes;
	while ((n = read(out[0], bytes, sizeof(bytes))) > 0)
		got += (uint64_t)n;
	cr_assert_gt(got, 0);
	sent = (uint64_t)pipe_drain(pipe, out[1]);
	cr_assert_eq(sent, filled);
	cr_assert_eq(read(out[0], bytes, sizeof(bytes)), 6);
	cr_assert_eq(memcmp(bytes, "behind", 6), 0);
	pipe_put(&pool, pipe);
}

Test(pipe, a_receiver_that_is_gone)
{
	struct pipe *pipe = get();
	int fd = pipe->read_fd;

	signal(SIGPIPE, SIG_IGN);
	feed("x");
	cr_assert_eq(pipe_fill(pipe, in[0], 100), 1);
	close(out[0]);
	out[0] = dup(in[0]);
	cr_assert_eq(pipe_drain(pipe, out[1]), -EPIPE);
	cr_assert_eq(pipe->bytes, 1);
	pipe_put(&pool, pipe);
	cr_assert(!is_open(fd));
}

Test(pipe, what_cannot_be_spliced)
{
	struct pipe *pipe = get();
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	cr_assert_eq(pipe_fill(pipe, fd, 100), -EBADF);
	close(fd);
	/* One end of the same pipe. */
	cr_assert_eq(pipe_fill(pipe, pipe->read_fd, 100), -EINVAL);
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		cr_assert_lt(pipe_fill(pipe, fd, 100), 0);
	close(fd);
	cr_assert_eq(pipe->bytes, 0);
	pipe_put(&pool, pipe);
	cr_assert_eq(get(), pipe);
	pipe_put(&pool, pipe);
}
