/* SPDX-License-Identifier: MIT */
/* Owns the slots. Invariant: a slot is on exactly one list, and is on the live one until its last
 * close event. */
#include "conn.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "tcp.h"
#include "util.h"

enum {
	STARVED_NS = 500000000, /* receives starve for so long before a stalled one is reset */
};

int conn_mgr_init(struct conn_mgr *mgr, struct io *io, struct timer_wheel *wheel,
		  struct stats *stats, const struct conn_conf *conf, struct conn_limit *limit)
{
	struct conn_mgr m = {
		.io = io,
		.wheel = wheel,
		.stats = stats,
		.conf = conf,
		.limit = limit,
		.slots_bytes = MAX(conf->conns_max, 1u) * sizeof(struct conn),
	};

	m.slots = mmap(NULL, m.slots_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m.slots == MAP_FAILED)
		return -ENOMEM;
	LIST_INIT(&m.free);
	LIST_INIT(&m.live);
	*mgr = m;
	return 0;
}

void conn_mgr_free(struct conn_mgr *mgr)
{
	if (mgr->slots)
		munmap(mgr->slots, mgr->slots_bytes);
	mgr->slots = NULL;
}

bool conn_reserve(struct conn_limit *limit)
{
	if (atomic_fetch_sub_explicit(&limit->left, 1, memory_order_relaxed) > 0)
		return true;
	atomic_fetch_add_explicit(&limit->left, 1, memory_order_relaxed);
	return false;
}

void conn_release(struct conn_limit *limit)
{
	atomic_fetch_add_explicit(&limit->left, 1, memory_order_relaxed);
}

static void conn_timer_fired(struct timer *timer)
{
	struct conn *conn = container_of(timer, struct conn, timer);
	struct conn_mgr *mgr = conn->mgr;

	if (conn->state == CONN_CONNECTING) {
		tcp_connect_timeout(conn);
		return;
	}
	if (mgr->io->now_ns - conn->active_ns < mgr->conf->idle_timeout_ns) {
		conn_timer_start(conn);
		return;
	}
	stats_add(&mgr->stats->err_idle_timeout, 1);
	tcp_abort(conn);
}

void conn_timer_start(struct conn *conn)
{
	const struct conn_conf *conf = conn->mgr->conf;

	if (conn->state == CONN_CONNECTING)
		timer_start(conn->mgr->wheel, &conn->timer,
			    conn->mgr->io->now_ns + conf->connect_timeout_ns);
	else if (conf->idle_timeout_ns > 0)
		/* Not moved when bytes flow: it looks at active_ns when it fires. */
		timer_start(conn->mgr->wheel, &conn->timer,
			    conn->active_ns + conf->idle_timeout_ns);
	else
		timer_stop(conn->mgr->wheel, &conn->timer);
}

static struct conn *slot_take(struct conn_mgr *mgr)
{
	struct conn *conn = LIST_FIRST(&mgr->free);

	if (conn)
		LIST_REMOVE(conn, list);
	else if (mgr->slots_used < mgr->conf->conns_max)
		conn = &mgr->slots[mgr->slots_used++];
	else
		return NULL;
	memset(conn, 0, sizeof(*conn));
	LIST_INSERT_HEAD(&mgr->live, conn, list);
	mgr->live_n++;
	return conn;
}

static void slot_put(struct conn *conn)
{
	struct conn_mgr *mgr = conn->mgr;

	LIST_REMOVE(conn, list);
	LIST_INSERT_HEAD(&mgr->free, conn, list);
	mgr->live_n--;
}

int conn_open(struct conn_mgr *mgr, int fd)
{
	struct conn *conn = slot_take(mgr);

	if (!conn)
		return -ENOBUFS;
	conn->mgr = mgr;
	conn->active_ns = mgr->io->now_ns;
	conn->client.handler.event = tcp_event;
	conn->upstream.handler.event = tcp_event;
	conn->upstream.flags = SIDE_UPSTREAM;
	conn->timer.fire = conn_timer_fired;
	conn->client.sock = mgr->io->ops->attach(mgr->io, fd, IO_STREAM, &conn->client.handler);
	if (!conn->client.sock) {
		slot_put(conn);
		return -ENOBUFS;
	}
	stats_add(&mgr->stats->conns_accepted, 1);
	tcp_start(conn);
	return 0;
}

void conn_free(struct conn *conn)
{
	struct conn_mgr *mgr = conn->mgr;

	timer_stop(mgr->wheel, &conn->timer);
	stats_add(&mgr->stats->conns_closed, 1);
	slot_put(conn);
	conn_release(mgr->limit);
}

static void close_quiet(struct conn_mgr *mgr)
{
	struct conn *conn, *next;

	/* Whether a relayed connection still waits for an answer cannot be seen: those get the
	 * whole drain time. */
	if (mgr->conf->mode == CONN_RELAY)
		return;
	for (conn = LIST_FIRST(&mgr->live); conn; conn = next) {
		next = LIST_NEXT(conn, list);
		if (conn->state != CONN_FLOWING || conn->client.queued ||
		    mgr->io->now_ns - conn->active_ns < CONN_QUIET_NS)
			continue;
		/* What is on its way inside the kernel has to come up to be seen. */
		if (conn->client.flags & SIDE_MOVING)
			tcp_copy_again(conn);
		else
			tcp_finish(conn);
	}
}

static bool is_stalled(const struct conn *conn)
{
	return !conn->aborted && (conn->client.queued || conn->upstream.queued);
}

/* Resets the connections that have waited longest for a peer to read, so that the others get
 * buffers again. */
static void evict_stalled(struct conn_mgr *mgr)
{
	int64_t worst_ns = 0;
	struct conn *conn;

	LIST_FOREACH(conn, &mgr->live, list)
		if (is_stalled(conn))
			worst_ns = MAX(worst_ns, mgr->io->now_ns - conn->active_ns);
	if (worst_ns < STARVED_NS)
		return;
	LIST_FOREACH(conn, &mgr->live, list) {
		if (!is_stalled(conn) ||
		    mgr->io->now_ns - conn->active_ns < MAX(STARVED_NS, worst_ns / 2))
			continue;
		stats_add(&mgr->stats->err_buffer_evicted, 1);
		tcp_abort(conn);
	}
}

void conn_mgr_tick(struct conn_mgr *mgr)
{
	if (mgr->draining)
		close_quiet(mgr);
	if (!mgr->io->starved || !buf_pool_is_short(&mgr->io->pool)) {
		mgr->starved_since_ns = 0;
		return;
	}
	if (!mgr->starved_since_ns)
		mgr->starved_since_ns = mgr->io->now_ns;
	else if (mgr->io->now_ns - mgr->starved_since_ns >= STARVED_NS)
		evict_stalled(mgr);
}

void conn_mgr_drain(struct conn_mgr *mgr)
{
	mgr->draining = true;
}

uint32_t conn_mgr_cut(struct conn_mgr *mgr)
{
	uint32_t n = 0;
	struct conn *conn;

	LIST_FOREACH(conn, &mgr->live, list) {
		if (conn->aborted)
			continue;
		tcp_abort(conn);
		n++;
	}
	stats_add(&mgr->stats->err_drain_cut, n);
	return n;
}
