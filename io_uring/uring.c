/* SPDX-License-Identifier: MIT */
/*
 * The io_uring backend: the ring, its sockets and its turns.
 *
 * A turn submits everything that was started since the last one and waits, in one system call.
 * Sends are first tried: executed while submitting, they either take all bytes, and then make no
 * completion, or say at once that they did not, and then wait in the kernel. So the wake-up of an
 * echo is the next request, not its own answer's completion.
 *
 * Invariant: a slot is free only when the kernel holds no request that names it (inflight is 0, no
 * try is open).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io_uring/uring_compat.h"
#include "io_uring/uring_priv.h"

/* ---- requests ---- */

void uring_submit(struct uring_io *u)
{
	int n = io_uring_submit(&u->ring);

	if (n < 0 && n != -EINTR && n != -EAGAIN && n != -EBUSY)
		u->broken = n;
	if (!io_uring_sq_ready(&u->ring))
		u->scratch_used = 0;
}

/* Empties the submission queue. */
static void submit_all(struct uring_io *u)
{
	for (int tries = 0; io_uring_sq_ready(&u->ring) && !u->broken && tries < 16; tries++) {
		uring_submit(u);
		/* The kernel refuses more while completions overflow; let it write them out. */
		if (io_uring_sq_ready(&u->ring))
			io_uring_get_events(&u->ring);
	}
	if (io_uring_sq_ready(&u->ring) && !u->broken)
		u->broken = -EBUSY;
}

struct io_uring_sqe *uring_sqe(struct uring_io *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (!sqe) {
		submit_all(u);
		sqe = io_uring_get_sqe(&u->ring);
	}
	return sqe ? sqe : &u->spare_sqe;
}

/* The request that it is for comes next, and must not submit what is not yet in it. */
void *uring_scratch(struct uring_io *u, size_t bytes)
{
	void *at;

	bytes = (bytes + 15) & ~(size_t)15;
	if (u->scratch_used + bytes > URING_SCRATCH_BYTES || !io_uring_sq_space_left(&u->ring)) {
		submit_all(u);
		/* Headers are read while submitting: IORING_FEAT_SUBMIT_STABLE, Linux 5.5. */
		u->scratch_used = 0;
	}
	at = u->scratch + u->scratch_used;
	u->scratch_used += bytes;
	return at;
}

void uring_cancel(struct uring_io *u, struct io_sock *sock, uint32_t tag)
{
	struct io_uring_sqe *sqe = uring_sqe(u);

	io_uring_prep_cancel64(sqe, uring_tag(sock, tag, 0), 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = TAG_CANCEL;
}

static void uring_recycle(struct io *io, struct buf *chain)
{
	buf_put_chain(&io->pool, chain);
}

/* ---- turns ---- */

/* Sends first: the answer to what is sent here may be there when the receive looks. */
static void flush_dirty(struct uring_io *u)
{
	struct io_sock *list = u->dirty, *sock;

	u->dirty = NULL;
	u->dirty_tail = &u->dirty;
	for (sock = list; sock; sock = sock->next_dirty)
		uring_flush(u, sock);
	while ((sock = list)) {
		list = sock->next_dirty;
		sock->flags &= ~(uint32_t)S_DIRTY;
		uring_arm(u, sock);
		uring_settle(u, sock);
	}
}

static int64_t sooner(int64_t a_ns, int64_t b_ns)
{
	return a_ns < 0 || (b_ns >= 0 && b_ns < a_ns) ? b_ns : a_ns;
}

static int64_t wait_limit(const struct uring_io *u, int64_t timeout_ns)
{
	const struct io_sock *first = TAILQ_FIRST(&u->stopped);

	if (first)
		timeout_ns = sooner(timeout_ns,
				    MAX(first->stopped_ns + URING_STOP_WATCH_NS - u->io.now_ns, 0));
	return sooner(timeout_ns, lowat_wait_ns(&u->lowats, u->io.now_ns));
}

static int enter(struct uring_io *u, int64_t timeout_ns)
{
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;

	if (u->eager || u->done || u->dirty || !TAILQ_EMPTY(&u->movers) ||
	    io_uring_cq_ready(&u->ring) || (u->tries && (u->io.starved || u->held)))
		timeout_ns = 0;
	u->eager = false;
	if (timeout_ns == 0)
		return io_uring_submit_and_get_events(&u->ring);
	if (timeout_ns < 0)
		return io_uring_submit_and_wait(&u->ring, 1);
	ts = (struct __kernel_timespec){.tv_sec = timeout_ns / NS_PER_S,
					.tv_nsec = timeout_ns % NS_PER_S};
	return io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
}

static void wake_read(struct uring_io *u, const struct io_uring_cqe *cqe)
{
	uint64_t ignored;
	ssize_t n = read(u->wake_fd, &ignored, sizeof(ignored));
	struct io_uring_sqe *sqe;

	(void)n;
	if (cqe && (cqe->flags & IORING_CQE_F_MORE))
		return;
	sqe = uring_sqe(u);
	io_uring_prep_poll_multishot(sqe, u->wake_fd, POLLIN);
	sqe->user_data = TAG_WAKE;
}

static struct io_sock *tag_sock(struct uring_io *u, uint64_t user_data)
{
	uint32_t index = (uint32_t)(user_data >> 24) & (URING_SOCKS_MAX - 1);

	if (index >= u->socks_n || u->socks[index].gen != (uint16_t)(user_data >> 48) ||
	    !u->socks[index].owner)
		return NULL;
	return &u->socks[index];
}

/* Failed tries stand among the completions; they are found before anything else is believed. */
static void scan_tries(struct uring_io *u)
{
	struct io_uring_cqe *cqe;
	unsigned head;

	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		uint32_t tag = cqe->user_data & 0xff;
		struct io_sock *sock;

		if (tag != TAG_TRY && (tag & ~1u) != TAG_DGRAM)
			continue;
		sock = tag_sock(u, cqe->user_data);
		if (!sock)
			continue;
		if (tag == TAG_TRY)
			uring_on_try(u, sock, cqe->res);
		else
			uring_on_dgram(u, sock, cqe->user_data, cqe->res);
		cqe->user_data = TAG_CANCEL; /* done with */
	}
}

static void dispatch(struct uring_io *u, const struct io_uring_cqe *cqe)
{
	uint32_t tag = cqe->user_data & 0xff;
	struct io_sock *sock;

	if (tag == TAG_CANCEL)
		return;
	if (tag == TAG_WAKE) {
		wake_read(u, cqe);
		return;
	}
	sock = tag_sock(u, cqe->user_data);
	if (!sock) {
		stats_add(&u->io.stats->uring_stale, 1);
		return;
	}
	switch ((enum uring_tag)tag) {
	case TAG_ACCEPT:
		uring_on_accept(u, sock, cqe);
		break;
	case TAG_CONNECT:
		uring_on_connect(u, sock, cqe);
		break;
	case TAG_RECV:
		if (sock->kind == IO_DGRAM)
			uring_on_dgram_recv(u, sock, cqe);
		else
			uring_on_recv(u, sock, cqe);
		break;
	case TAG_SEND:
		uring_on_send(u, sock, cqe);
		break;
	case TAG_POLL:
		uring_on_poll(u, sock, cqe);
		break;
	case TAG_MOVE:
		uring_on_move(u, sock, cqe);
		break;
	case TAG_ROOM:
		uring_on_room(u, sock);
		break;
	default:
		break;
	}
}

/* Completions that come while these are handled are left for the next turn. */
static void dispatch_all(struct uring_io *u, unsigned n)
{
	while (n > 0) {
		struct io_uring_cqe *first, cqe;

		if (io_uring_peek_cqe(&u->ring, &first))
			return;
		cqe = *first;
		io_uring_cqe_seen(&u->ring, first);
		dispatch(u, &cqe);
		n--;
	}
}

static int uring_turn(struct io *io, int64_t timeout_ns)
{
	struct uring_io *u = uring_of(io);
	unsigned n;
	int err;

	if (u->broken)
		return u->broken;
	flush_dirty(u);
	uring_group_refill(u);
	err = enter(u, wait_limit(u, timeout_ns));
	io->now_ns = util_now_ns();
	if (err < 0 && err != -ETIME && err != -EINTR && err != -EAGAIN && err != -EBUSY)
		return err;
	stats_add(&io->stats->turns, 1);
	n = io_uring_cq_ready(&u->ring);
	scan_tries(u);
	if (!io_uring_sq_ready(&u->ring)) {
		u->scratch_used = 0;
		if (!io_uring_cq_has_overflow(&u->ring)) {
			uring_resolve_tries(u);
			uring_resolve_dgrams(u);
		} else {
			stats_add(&io->stats->uring_cq_overflows, 1);
			u->eager = true;
		}
	}
	uring_report_done(u);
	dispatch_all(u, n);
	uring_move_all(u);
	uring_watch_stopped(u);
	return u->broken;
}

static void uring_wake(struct io *io)
{
	uint64_t one = 1;
	ssize_t n = write(uring_of(io)->wake_fd, &one, sizeof(one));

	/* EAGAIN: the counter is full, so a wake-up is under way. */
	(void)n;
}

/* ---- opening ---- */

static int ring_try(struct uring_io *u, uint32_t flags)
{
	struct io_uring_params params;
	unsigned entries = URING_SQ_ENTRIES;
	int err;

	do {
		memset(&params, 0, sizeof(params));
		params.flags = flags | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP |
			       IORING_SETUP_CQSIZE;
		params.cq_entries = entries * (URING_CQ_ENTRIES / URING_SQ_ENTRIES);
		err = io_uring_queue_init_params(entries, &u->ring, &params);
		entries /= 2;
	} while (err == -ENOMEM && entries >= 32);
	return err;
}

/* The best set of ring flags this kernel takes. */
static int ring_open(struct uring_io *u, uint32_t off)
{
	static const struct {
		uint32_t feature, flags;
	} ladder[] = {
		{URING_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
					      IORING_SETUP_TASKRUN_FLAG},
		{URING_COOP_TASKRUN, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG},
		{0, 0},
	};
	int err = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(ladder) && err == -EINVAL; i++) {
		if (ladder[i].feature & off)
			continue;
		err = ring_try(u, ladder[i].flags);
		if (!err)
			u->features |= ladder[i].feature;
	}
	if (err)
		return err;
	u->ring_open = true;
	if (!(off & URING_REGISTERED_RING) && io_uring_register_ring_fd(&u->ring) == 1)
		u->features |= URING_REGISTERED_RING;
	/* Whether it is there shows when it is used first. */
	u->features |= URING_RECV_LIMIT & ~off;
	if (!(off & URING_SKIP_SENT) && (u->ring.features & IORING_FEAT_CQE_SKIP))
		u->features |= URING_SKIP_SENT;
	if (!(off & URING_FIXED_FILES))
		uring_files_open(u);
	return 0;
}

static void uring_free(struct io *io)
{
	struct uring_io *u = uring_of(io);

	if (!io)
		return;
	/* The ring goes first: it holds the sockets and writes into the buffers. */
	for (unsigned g = 0; u->ring_open && g < GROUPS; g++)
		uring_group_free(u, g);
	if (u->ring_open)
		io_uring_queue_exit(&u->ring);
	for (uint32_t i = 0; u->socks && i < u->socks_n; i++)
		if (u->socks[i].owner && u->socks[i].fd >= 0) {
			close(u->socks[i].fd);
			pipe_put(&u->io.pipes, u->socks[i].pipe);
		}
	pipe_pool_free(&u->io.pipes);
	if (u->socks)
		munmap(u->socks, u->socks_bytes);
	if (u->wake_fd >= 0)
		close(u->wake_fd);
	buf_pool_free(&io->pool);
	free(u->scratch);
	free(u);
}

static void layouts_init(struct uring_io *u)
{
	u->recv_any = (struct msghdr){.msg_namelen = URING_NAME_BYTES};
	u->recv_pktinfo =
		(struct msghdr){.msg_namelen = URING_NAME_BYTES, .msg_controllen = NET_CMSG_MAX};
}

static int uring_open(struct io **ret_io, const struct io_conf *conf)
{
	struct uring_io *u = calloc(1, sizeof(*u));
	int err = -ENOMEM;

	if (!u)
		return -ENOMEM;
	u->io = (struct io){.ops = &io_uring_ops, .stats = conf->stats, .now_ns = util_now_ns()};
	u->done_tail = &u->done;
	u->dirty_tail = &u->dirty;
	u->tries_tail = &u->tries;
	TAILQ_INIT(&u->stopped);
	TAILQ_INIT(&u->movers);
	TAILQ_INIT(&u->lowats);
	pipe_pool_init(&u->io.pipes, conf->pipes_max);
	layouts_init(u);
	u->socks_max = MIN(conf->socks_max, (uint32_t)URING_SOCKS_MAX);
	u->socks_bytes = MAX(u->socks_max, 1u) * sizeof(*u->socks);
	u->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	u->scratch = malloc(URING_SCRATCH_BYTES);
	if (u->wake_fd < 0 || !u->scratch)
		goto free_io;
	u->socks = mmap(NULL, u->socks_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (u->socks == MAP_FAILED) {
		u->socks = NULL;
		goto free_io;
	}
	err = buf_pool_init(&u->io.pool, conf->buffer_bytes);
	if (err)
		goto free_io;
	err = ring_open(u, conf->features_off);
	if (err)
		goto free_io;
	err = uring_group_open(u, GROUP_SMALL);
	if (err)
		goto free_io;
	wake_read(u, NULL);
	*ret_io = &u->io;
	return 0;
free_io:
	uring_free(&u->io);
	return err;
}

const struct io_ops io_uring_ops = {
	.name = "io_uring",
	.open = uring_open,
	.free = uring_free,
	.attach = uring_attach,
	.dial = uring_dial,
	.local = uring_local,
	.accept_start = uring_accept_start,
	.accept_stop = uring_accept_stop,
	.recv_start = uring_recv_start,
	.recv_stop = uring_recv_stop,
	.move_start = uring_move_start,
	.move_stop = uring_move_stop,
	.send = uring_send,
	.shutdown = uring_shutdown,
	.close = uring_close,
	.recycle = uring_recycle,
	.turn = uring_turn,
	.wake = uring_wake,
};
