/* SPDX-License-Identifier: MIT */
/* Owns the provided buffer rings. Invariant: published is how many buffers the kernel may still
 * pick. */
#include <errno.h>
#include <sys/mman.h>

#include "io_uring/uring_priv.h"

enum {
	SETTLE_TURNS = 256, /* the window is looked at so often */
	REST_NS = 200 * 1000 * 1000,
	BUDGET_SHARE = 4, /* at most this part of the buffer memory is published in one group */
};

static const struct {
	enum buf_class class;
	uint32_t window_min, window_max;
} layout[GROUPS] = {
	[GROUP_SMALL] = {BUF_SMALL, 32, 1024},
	[GROUP_LARGE] = {BUF_LARGE, 4, 16},
	[GROUP_DGRAM] = {BUF_LARGE, 64, 512},
};

int uring_group_open(struct uring_io *u, unsigned group)
{
	struct uring_group *g = &u->groups[group];
	uint64_t capacity = layout[group].class == BUF_SMALL ? BUF_SMALL_BYTES : BUF_LARGE_BYTES;
	uint64_t share = u->io.pool.budget_bytes / BUDGET_SHARE / capacity;
	struct io_uring_buf_reg reg = {.bgid = (uint16_t)group};
	struct uring_group n = {.class = layout[group].class};
	int err;

	if (g->ring)
		return 0;
	n.window_max = (uint32_t)MAX(MIN(share, layout[group].window_max), 1);
	n.window_min = MIN(layout[group].window_min, n.window_max);
	n.window = n.lowest = n.window_min;
	for (n.entries = 1; n.entries < n.window_max;)
		n.entries *= 2;
	n.ring_bytes = n.entries * sizeof(struct io_uring_buf);
	n.ring = mmap(NULL, n.ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (n.ring == MAP_FAILED)
		return -ENOMEM;
	reg.ring_addr = (uintptr_t)n.ring;
	reg.ring_entries = n.entries;
	err = io_uring_register_buf_ring(&u->ring, &reg, 0);
	if (err) {
		munmap(n.ring, n.ring_bytes);
		return err;
	}
	io_uring_buf_ring_init(n.ring);
	*g = n;
	TAILQ_INIT(&g->waiters);
	return 0;
}

void uring_group_free(struct uring_io *u, unsigned group)
{
	struct uring_group *g = &u->groups[group];

	if (!g->ring)
		return;
	io_uring_unregister_buf_ring(&u->ring, (int)group);
	munmap(g->ring, g->ring_bytes);
	g->ring = NULL;
}

struct buf *uring_group_take(struct uring_io *u, unsigned group, uint32_t cqe_flags)
{
	struct uring_group *g = &u->groups[group];
	struct buf *buf =
		buf_by_id(&u->io.pool, g->class, (uint16_t)(cqe_flags >> IORING_CQE_BUFFER_SHIFT));

	assert(g->published > 0);
	g->published--;
	g->taken_ns = u->io.now_ns;
	/* As many as there are from the start may stay: looking after them would cost a quiet
	 * server a timer for each wait. */
	if (!g->warm && g->window > g->window_min && (u->features & URING_DEFER_TASKRUN)) {
		g->warm = true;
		u->io.warm++;
	}
	buf->next = NULL;
	return buf;
}

void uring_group_wait(struct uring_io *u, struct io_sock *sock)
{
	struct uring_group *g = &u->groups[sock->group];

	g->ran_out = true;
	if (sock->flags & S_WAIT)
		return;
	sock->flags |= S_WAIT;
	TAILQ_INSERT_TAIL(&g->waiters, sock, wait);
	u->io.starved++;
	stats_add(&u->io.stats->buffer_waits, 1);
}

void uring_group_unwait(struct uring_io *u, struct io_sock *sock)
{
	if (!(sock->flags & S_WAIT))
		return;
	sock->flags &= ~(uint32_t)S_WAIT;
	TAILQ_REMOVE(&u->groups[sock->group].waiters, sock, wait);
	u->io.starved--;
}

/* More when somebody had to wait, fewer when half of them were not touched for a while. */
static void window_adapt(struct uring_group *g)
{
	g->lowest = MIN(g->lowest, g->published);
	if (g->ran_out) {
		g->window = MIN(g->window * 2, g->window_max);
		g->ran_out = false;
		g->turns = 0;
		g->lowest = g->window;
	}
	if (++g->turns < SETTLE_TURNS)
		return;
	if (g->lowest > g->window / 2)
		g->window = MAX(g->window * 3 / 4, g->window_min);
	g->turns = 0;
	g->lowest = g->window;
}

/* What is published stays backed by memory, up to as much as a burst once needed; when nothing has
 * been taken for a while it goes back. Completions that run only when we wait are what makes this
 * safe: until then the kernel neither takes nor writes. */
static void window_rest(struct uring_io *u, struct uring_group *g)
{
	if (!g->warm || u->io.now_ns - g->taken_ns < REST_NS || io_uring_cq_ready(&u->ring) ||
	    io_uring_cq_has_overflow(&u->ring))
		return;
	for (uint32_t i = 1; i <= g->published; i++) {
		uint32_t at = (uint32_t)(g->ring->tail - i) & (g->entries - 1);

		buf_forget(&u->io.pool, buf_by_id(&u->io.pool, g->class, g->ring->bufs[at].bid));
	}
	g->window = g->window_min;
	g->warm = false;
	u->io.warm--;
}

static void group_refill(struct uring_io *u, unsigned group)
{
	struct uring_group *g = &u->groups[group];
	struct buf *buf;
	struct io_sock *sock;
	int n = 0;

	window_rest(u, g);
	window_adapt(g);
	while (g->published < g->window && (buf = buf_get(&u->io.pool, g->class))) {
		uint8_t *at = group == GROUP_DGRAM ? buf_memory(&u->io.pool, buf) : buf->data;
		uint32_t len = group == GROUP_DGRAM ? BUF_HEADROOM + BUF_LARGE_BYTES
						    : buf_capacity(buf);

		io_uring_buf_ring_add(g->ring, at, len, buf->id, (int)g->entries - 1, n++);
		g->published++;
	}
	if (n)
		io_uring_buf_ring_advance(g->ring, n);
	for (uint32_t left = g->published; left && (sock = TAILQ_FIRST(&g->waiters)); left--) {
		uring_group_unwait(u, sock);
		uring_arm(u, sock);
	}
}

void uring_group_refill(struct uring_io *u)
{
	for (unsigned group = 0; group < GROUPS; group++)
		if (u->groups[group].ring)
			group_refill(u, group);
}
