/* SPDX-License-Identifier: MIT */
/* Owns the sessions. Invariant: a session is in its bucket and on the live list until it is told to
 * close, and on the live list alone until its close event. */
#include "udp.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "util.h"

/* Compared and hashed as bytes: zeroed before it is filled. */
struct session_key {
	uint8_t peer[16], local[16];
	uint32_t scope, listener;
	uint16_t port, family;
};

struct udp_session {
	struct io_handler handler;
	struct udp_mgr *mgr;
	struct udp_listener *listener;
	struct io_sock *sock;
	const struct addr *target;
	struct dgram_meta reply; /* where answers go, and from which address */
	struct session_key key;
	struct timer timer;
	int64_t active_ns;
	uint32_t fast; /* its number in the fast path, and 1; 0: it is not there (yet) */
	struct {
		uint32_t packets;
		uint64_t bytes;
	} early[2]; /* relayed before it was there: to the target, to the client */
	bool closing;
	LIST_ENTRY(udp_session) list, bucket;
};

int udp_mgr_init(struct udp_mgr *mgr, struct io *io, struct timer_wheel *wheel, struct stats *stats,
		 const struct udp_conf *conf, struct conn_limit *limit, uint64_t hash_seed)
{
	struct udp_mgr m = {.io = io,
			    .wheel = wheel,
			    .stats = stats,
			    .conf = conf,
			    .limit = limit,
			    .hash_seed = hash_seed};
	size_t slots_bytes = MAX(conf->sessions_max, 1u) * sizeof(*m.slots);

	m.buckets_n = 64;
	while (m.buckets_n < conf->sessions_max)
		m.buckets_n *= 2;
	m.slots_bytes = slots_bytes + m.buckets_n * sizeof(*m.buckets);
	m.slots = mmap(NULL, m.slots_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m.slots == MAP_FAILED)
		return -ENOMEM;
	m.buckets = (struct udp_session_list *)((uint8_t *)m.slots + slots_bytes);
	LIST_INIT(&m.free);
	LIST_INIT(&m.live);
	*mgr = m;
	return 0;
}

void udp_mgr_free(struct udp_mgr *mgr)
{
	if (mgr->slots)
		munmap(mgr->slots, mgr->slots_bytes);
	mgr->slots = NULL;
}

/* ---- loops and reflection ---- */

static bool same_host(const union addr_inet *a, const union addr_inet *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
	return IN6_ARE_ADDR_EQUAL(&a->v6.sin6_addr, &b->v6.sin6_addr);
}

static bool is_this_host(const struct udp_conf *conf, const struct dgram_meta *meta)
{
	if (addr_inet_is_loopback(&meta->peer) || same_host(&meta->peer, &meta->local))
		return true;
	for (uint32_t i = 0; i < conf->n_local; i++)
		if (same_host(&meta->peer, &conf->local[i]))
			return true;
	return false;
}

static bool is_own(const struct udp_conf *conf, const struct dgram_meta *meta)
{
	uint16_t port = addr_inet_port(&meta->peer);

	for (uint32_t i = 0; i < conf->n_own; i++) {
		const struct addr *own = &conf->own[i];

		if (addr_port(own) != port || own->sa.sa_family != meta->peer.sa.sa_family)
			continue;
		if (addr_is_wildcard(own) ? is_this_host(conf, meta)
					  : same_host(&meta->peer, &own->inet))
			return true;
	}
	return false;
}

bool udp_would_reflect(const struct udp_conf *conf, const struct dgram_meta *meta)
{
	if (meta->group)
		return true;
	switch (addr_inet_port(&meta->peer)) {
	case 0:  /* cannot be answered */
	case 7:  /* echo, RFC 862 */
	case 9:  /* discard, RFC 863 */
	case 13: /* daytime, RFC 867 */
	case 17: /* quote of the day, RFC 865 */
	case 19: /* character generator, RFC 864 */
		return true;
	}
	return is_own(conf, meta);
}

/* ---- sessions ---- */

static void key_host(uint8_t out[16], const union addr_inet *addr)
{
	if (addr->sa.sa_family == AF_INET)
		memcpy(out, &addr->v4.sin_addr, sizeof(addr->v4.sin_addr));
	else if (addr->sa.sa_family == AF_INET6)
		memcpy(out, &addr->v6.sin6_addr, sizeof(addr->v6.sin6_addr));
}

static struct session_key key_make(const struct udp_listener *listener,
				   const struct dgram_meta *meta)
{
	struct session_key key;

	memset(&key, 0, sizeof(key));
	key_host(key.peer, &meta->peer);
	key_host(key.local, &meta->local);
	key.family = meta->peer.sa.sa_family;
	key.port = addr_inet_port(&meta->peer);
	key.listener = listener->index;
	if (key.family == AF_INET6)
		key.scope = meta->peer.v6.sin6_scope_id;
	return key;
}

static struct udp_session_list *bucket_of(struct udp_mgr *mgr, const struct session_key *key)
{
	uint64_t hash = XXH3_64bits_withSeed(key, sizeof(*key), mgr->hash_seed);

	return &mgr->buckets[hash & (mgr->buckets_n - 1)];
}

/* ---- the fast path ---- */

/* From now on what can be is forwarded without coming up. */
static void fast_add(struct udp_session *session)
{
	struct udp_mgr *mgr = session->mgr;
	const struct udp_fast *fast = mgr->conf->fast;
	struct udp_flow flow = {.client = session->reply.peer, .target = session->target->inet};
	uint32_t number;
	int err;

	if (!fast)
		return;
	err = mgr->io->ops->local(session->sock, &flow.source);
	if (!err)
		err = mgr->io->ops->local(session->listener->sock, &flow.asked);
	if (!err && session->reply.local.sa.sa_family == AF_INET)
		flow.asked.v4.sin_addr = session->reply.local.v4.sin_addr;
	else if (!err && session->reply.local.sa.sa_family == AF_INET6)
		flow.asked.v6.sin6_addr = session->reply.local.v6.sin6_addr;
	if (!err)
		err = fast->add(fast->ctx, &flow, &number);
	if (!err) {
		session->fast = number + 1;
		for (int i = 0; i < 2; i++)
			if (session->early[i].packets)
				fast->note(fast->ctx, number, i, session->early[i].packets,
					   session->early[i].bytes);
		stats_add(&mgr->stats->fast_sessions, 1);
	} else {
		stats_add(err == -ENOSPC ? &mgr->stats->fast_full : &mgr->stats->fast_declined, 1);
	}
}

static void fast_remove(struct udp_session *session)
{
	const struct udp_fast *fast = session->mgr->conf->fast;

	if (session->fast)
		fast->remove(fast->ctx, session->fast - 1);
	session->fast = 0;
}

static void fast_note(struct udp_session *session, bool to_client, uint32_t bytes)
{
	const struct udp_fast *fast = session->mgr->conf->fast;

	if (session->fast) {
		fast->note(fast->ctx, session->fast - 1, to_client, 1, bytes);
		return;
	}
	session->early[to_client].packets++;
	session->early[to_client].bytes += bytes;
}

/* How long nothing has been relayed, by either path. */
static int64_t session_quiet_ns(struct udp_session *session)
{
	const struct udp_fast *fast = session->mgr->conf->fast;

	if (session->fast)
		session->active_ns =
			MAX(session->active_ns, fast->last_ns(fast->ctx, session->fast - 1));
	return session->mgr->io->now_ns - session->active_ns;
}

/* ---- sessions, further ---- */

static void session_close(struct udp_session *session)
{
	struct udp_mgr *mgr = session->mgr;

	if (session->closing)
		return;
	session->closing = true;
	LIST_REMOVE(session, bucket);
	fast_remove(session);
	timer_stop(mgr->wheel, &session->timer);
	mgr->io->ops->close(mgr->io, session->sock, IO_CLOSE_NOW);
}

static void session_timer_start(struct udp_session *session)
{
	timer_start(session->mgr->wheel, &session->timer,
		    session->active_ns + session->mgr->conf->idle_timeout_ns);
}

static void session_timer_fired(struct timer *timer)
{
	struct udp_session *session = container_of(timer, struct udp_session, timer);

	if (session_quiet_ns(session) < session->mgr->conf->idle_timeout_ns)
		session_timer_start(session);
	else
		session_close(session);
}

static void session_put(struct udp_session *session)
{
	struct udp_mgr *mgr = session->mgr;

	LIST_REMOVE(session, list);
	LIST_INSERT_HEAD(&mgr->free, session, list);
	mgr->live_n--;
	conn_release(mgr->limit);
}

/* An answer from upstream goes back to the client. */
static void session_received(struct udp_session *session, const struct io_event *event)
{
	struct udp_mgr *mgr = session->mgr;

	if (event->res < 0) {
		stats_add(&mgr->stats->drop_icmp, 1);
		return;
	}
	session->active_ns = mgr->io->now_ns;
	fast_note(session, true, event->buf->len);
	event->buf->dgram = session->reply;
	mgr->io->ops->send(mgr->io, session->listener->sock, event->buf);
}

static void session_event(struct io_handler *handler, const struct io_event *event)
{
	struct udp_session *session = container_of(handler, struct udp_session, handler);

	switch (event->op) {
	case IO_CONNECT:
		if (event->res < 0 && !session->closing) {
			stats_add(&session->mgr->stats->drop_session_failed, 1);
			session_close(session);
		} else if (!session->closing && session->listener->sock) {
			fast_add(session);
		}
		break;
	case IO_RECV:
		if (session->closing || !session->listener->sock) {
			session->mgr->io->ops->recycle(session->mgr->io, event->buf);
			break;
		}
		session_received(session, event);
		break;
	case IO_CLOSE:
		stats_add(&session->mgr->stats->sessions_closed, 1);
		session_put(session);
		break;
	default:
		assert(!"not for a session");
	}
}

static struct udp_session *slot_take(struct udp_mgr *mgr)
{
	struct udp_session *session = LIST_FIRST(&mgr->free);

	if (!conn_reserve(mgr->limit))
		return NULL;
	/* The limit counts what all workers hold, so there is a slot. */
	if (session)
		LIST_REMOVE(session, list);
	else
		session = &mgr->slots[mgr->slots_used++];
	assert(mgr->slots_used <= mgr->conf->sessions_max);
	memset(session, 0, sizeof(*session));
	session->mgr = mgr;
	LIST_INSERT_HEAD(&mgr->live, session, list);
	mgr->live_n++;
	return session;
}

static struct udp_session *session_open(struct udp_listener *listener,
					const struct session_key *key,
					const struct dgram_meta *meta)
{
	struct udp_mgr *mgr = listener->mgr;
	const struct addr *target = &mgr->conf->targets[mgr->next_target % mgr->conf->n_targets];
	struct udp_session *session = mgr->draining ? NULL : slot_take(mgr);

	if (!session) {
		stats_add(mgr->draining ? &mgr->stats->drop_draining
					: &mgr->stats->drop_session_limit,
			  1);
		return NULL;
	}
	session->handler.event = session_event;
	session->timer.fire = session_timer_fired;
	session->listener = listener;
	session->key = *key;
	session->reply = *meta;
	session->active_ns = mgr->io->now_ns;
	session->target = target;
	session->sock = mgr->io->ops->dial(mgr->io, target, &session->handler);
	if (!session->sock) {
		stats_add(&mgr->stats->drop_session_failed, 1);
		session_put(session);
		return NULL;
	}
	mgr->next_target++;
	LIST_INSERT_HEAD(bucket_of(mgr, key), session, bucket);
	stats_add(&mgr->stats->sessions_opened, 1);
	session_timer_start(session);
	mgr->io->ops->recv_start(mgr->io, session->sock);
	return session;
}

static void udp_relay(struct udp_listener *listener, struct buf *buf)
{
	struct udp_mgr *mgr = listener->mgr;
	const struct session_key key = key_make(listener, &buf->dgram);
	struct udp_session *session;

	LIST_FOREACH(session, bucket_of(mgr, &key), bucket)
		if (!memcmp(&session->key, &key, sizeof(key)))
			break;
	if (!session)
		session = session_open(listener, &key, &buf->dgram);
	if (!session) {
		mgr->io->ops->recycle(mgr->io, buf);
		return;
	}
	session->active_ns = mgr->io->now_ns;
	fast_note(session, false, buf->len);
	mgr->io->ops->send(mgr->io, session->sock, buf);
}

/* ---- listeners ---- */

static void listener_received(struct udp_listener *listener, const struct io_event *event)
{
	struct udp_mgr *mgr = listener->mgr;

	if (event->res < 0) {
		stats_add(&mgr->stats->drop_icmp, 1);
		return;
	}
	switch (mgr->conf->mode) {
	case CONN_RELAY:
		udp_relay(listener, event->buf);
		return;
	case CONN_ECHO:
		if (!udp_would_reflect(mgr->conf, &event->buf->dgram)) {
			mgr->io->ops->send(mgr->io, listener->sock, event->buf);
			return;
		}
		stats_add(&mgr->stats->drop_reflection, 1);
		break;
	case CONN_DISCARD:
		break;
	}
	mgr->io->ops->recycle(mgr->io, event->buf);
}

static void listener_event(struct io_handler *handler, const struct io_event *event)
{
	struct udp_listener *listener = container_of(handler, struct udp_listener, handler);

	if (event->op == IO_RECV)
		listener_received(listener, event);
	else if (event->op == IO_CLOSE)
		listener->sock = NULL;
}

int udp_listen(struct udp_mgr *mgr, struct udp_listener *listener, uint32_t index, int fd)
{
	*listener =
		(struct udp_listener){.handler.event = listener_event, .mgr = mgr, .index = index};
	listener->sock = mgr->io->ops->attach(mgr->io, fd, IO_DGRAM, &listener->handler);
	if (!listener->sock)
		return -ENOBUFS;
	mgr->io->ops->recv_start(mgr->io, listener->sock);
	return 0;
}

/* ---- shutting down ---- */

void udp_mgr_drain(struct udp_mgr *mgr)
{
	mgr->draining = true;
}

void udp_mgr_tick(struct udp_mgr *mgr)
{
	struct udp_session *session;

	if (!mgr->draining)
		return;
	LIST_FOREACH(session, &mgr->live, list)
		if (session_quiet_ns(session) >= CONN_QUIET_NS)
			session_close(session);
}

uint32_t udp_mgr_cut(struct udp_mgr *mgr)
{
	uint32_t n = 0;
	struct udp_session *session;

	LIST_FOREACH(session, &mgr->live, list) {
		n += !session->closing;
		session_close(session);
	}
	return n;
}
