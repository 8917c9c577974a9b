/* SPDX-License-Identifier: MIT */
/*
 * A relay's sessions, as the fast path forwards them: two keys and two ways each (fast.h), in maps
 * that the filters of all its interfaces share. Invariant: a number is in the ring, or its ways are
 * filled and both of its keys in the table of their family.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "core/util.h"
#include "xdp/load.h"

_Static_assert(sizeof(struct fast_way) == 128, "two cache lines");

/* ---- the table ---- */

static int create_map(enum bpf_map_type type, const char *name, uint32_t key, uint32_t value,
		      uint32_t entries, uint32_t flags)
{
	DECLARE_LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = flags);
	int fd = bpf_map_create(type, name, key, value, entries, &opts);

	return fd < 0 ? -errno : fd;
}

static int create_maps(struct xdp_sessions *s)
{
	uint32_t n = s->capacity * FAST_WAYS;

	s->ways_fd = create_map(BPF_MAP_TYPE_ARRAY, "ways", sizeof(uint32_t),
				sizeof(struct fast_way), n, BPF_F_MMAPABLE);
	if (s->ways_fd < 0)
		return s->ways_fd;
	s->keys4_fd = create_map(BPF_MAP_TYPE_HASH, "keys4", sizeof(struct fast_key4),
				 sizeof(uint32_t), n, 0);
	if (s->keys4_fd < 0)
		return s->keys4_fd;
	s->keys6_fd = create_map(BPF_MAP_TYPE_HASH, "keys6", sizeof(struct fast_key6),
				 sizeof(uint32_t), n, 0);
	if (s->keys6_fd < 0)
		return s->keys6_fd;
	s->egress_fd = create_map(BPF_MAP_TYPE_HASH, "egress", sizeof(uint32_t), sizeof(uint32_t),
				  FAST_EGRESS_MAX, 0);
	return s->egress_fd < 0 ? s->egress_fd : 0;
}

static int map_ways(struct xdp_sessions *s)
{
	s->ring = calloc(s->capacity, sizeof(*s->ring));
	if (!s->ring)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->capacity; i++)
		s->ring[i] = i;
	s->n_free = s->capacity;
	s->ways_bytes = (size_t)s->capacity * FAST_WAYS * sizeof(*s->ways);
	s->ways = mmap(NULL, s->ways_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, s->ways_fd, 0);
	if (s->ways != MAP_FAILED)
		return 0;
	s->ways = NULL;
	return -errno;
}

int xdp_sessions_new(uint32_t capacity, struct xdp_sessions **ret_sessions, char *error)
{
	struct xdp_sessions *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return load_fail(error, -ENOMEM, "out of memory");
	s->capacity = MIN(MAX(capacity, 1u), (uint32_t)FAST_SESSIONS_MAX);
	s->ways_fd = s->keys4_fd = s->keys6_fd = s->egress_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	err = create_maps(s);
	if (!err)
		err = map_ways(s);
	if (!err) {
		*ret_sessions = s;
		return 0;
	}
	xdp_sessions_free(s);
	if (err == -EPERM)
		return load_fail(error, err,
				 "the fast path's tables need CAP_BPF and CAP_NET_ADMIN: run as "
				 "root, or leave --fast-path out");
	return load_fail(error, err, "making the fast path's tables for %u sessions: %s", capacity,
			 strerror(-err));
}

void xdp_sessions_free(struct xdp_sessions *s)
{
	if (!s)
		return;
	load_unmap(s->ways, s->ways_bytes);
	if (s->ways_fd >= 0)
		close(s->ways_fd);
	if (s->keys4_fd >= 0)
		close(s->keys4_fd);
	if (s->keys6_fd >= 0)
		close(s->keys6_fd);
	if (s->egress_fd >= 0)
		close(s->egress_fd);
	pthread_mutex_destroy(&s->lock);
	free(s->ring);
	free(s);
}

int xdp_sessions_egress(struct xdp_sessions *s, uint32_t ifindex, bool allowed)
{
	uint32_t yes = 1;
	int err = allowed ? bpf_map_update_elem(s->egress_fd, &ifindex, &yes, BPF_ANY)
			  : bpf_map_delete_elem(s->egress_fd, &ifindex);

	return err && errno != ENOENT ? -errno : 0;
}

/* ---- numbers ---- */

static bool take_number(struct xdp_sessions *s, uint32_t *ret_number)
{
	bool found;

	pthread_mutex_lock(&s->lock);
	found = s->n_free > 0;
	if (found) {
		*ret_number = s->ring[s->first];
		s->first = (s->first + 1) % s->capacity;
		s->n_free--;
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}

static void give_back(struct xdp_sessions *s, uint32_t number)
{
	pthread_mutex_lock(&s->lock);
	s->ring[(s->first + s->n_free + s->n_removed) % s->capacity] = number;
	s->n_removed++;
	pthread_mutex_unlock(&s->lock);
}

void xdp_sessions_reclaim(struct xdp_sessions *s)
{
	uint32_t n;

	pthread_mutex_lock(&s->lock);
	n = s->n_removed;
	pthread_mutex_unlock(&s->lock);
	if (!n)
		return;
	load_wait_for_packets();
	pthread_mutex_lock(&s->lock);
	s->n_removed -= n;
	s->n_free += n;
	pthread_mutex_unlock(&s->lock);
}

/* ---- ways ---- */

/* Writes the address's bytes, and zeros behind those of IPv4. */
static void copy_addr(uint32_t out[4], const union addr_inet *addr)
{
	memset(out, 0, 4 * sizeof(*out));
	if (addr->sa.sa_family == AF_INET)
		memcpy(out, &addr->v4.sin_addr, sizeof(addr->v4.sin_addr));
	else
		memcpy(out, &addr->v6.sin6_addr, sizeof(addr->v6.sin6_addr));
}

static uint16_t port_of(const union addr_inet *addr)
{
	return htons(addr_inet_port(addr));
}

static uint64_t add_addr(uint64_t sum, const union addr_inet *addr, uint16_t flip)
{
	uint32_t words[4];
	const uint16_t *half = (const uint16_t *)words;

	copy_addr(words, addr);
	for (int i = 0; i < (addr->sa.sa_family == AF_INET ? 2 : 8); i++)
		sum += half[i] ^ flip;
	return sum;
}

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* From what arrives (from, to) to what leaves (src, dst): RFC 1624, equation 3. */
static void fill_way(struct fast_way *way, const union addr_inet *from, const union addr_inet *to,
		     const union addr_inet *src, const union addr_inet *dst)
{
	const uint16_t hop = htons(0x0100), flip = UINT16_MAX;
	uint64_t sum = add_addr(add_addr(0, from, flip), to, flip);
	struct fast_way w = {
		.src_port = port_of(src),
		.dst_port = port_of(dst),
		.generation = way->generation + 1,
		.v6 = src->sa.sa_family == AF_INET6,
	};
	struct timespec now;

	sum = add_addr(add_addr(sum, src, 0), dst, 0);
	w.ip_delta = fold(sum + (uint16_t)~hop);
	sum += (uint64_t)(uint16_t)~port_of(from) + (uint16_t)~port_of(to);
	w.udp_delta = fold(sum + w.src_port + w.dst_port);
	copy_addr(w.src, src);
	copy_addr(w.dst, dst);
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	w.up_ns = (uint64_t)(now.tv_sec * NS_PER_S + now.tv_nsec);
	*way = w;
}

/* The key of what comes from one address to another, in key. Returns the table. */
static int make_key(const struct xdp_sessions *s, const union addr_inet *from,
		    const union addr_inet *to, struct fast_key6 *key)
{
	struct fast_key4 *key4 = (struct fast_key4 *)key;

	memset(key, 0, sizeof(*key));
	if (from->sa.sa_family == AF_INET) {
		memcpy(&key4->src, &from->v4.sin_addr, sizeof(key4->src));
		memcpy(&key4->dst, &to->v4.sin_addr, sizeof(key4->dst));
		key4->src_port = port_of(from);
		key4->dst_port = port_of(to);
		return s->keys4_fd;
	}
	copy_addr(key->src, from);
	copy_addr(key->dst, to);
	key->src_port = port_of(from);
	key->dst_port = port_of(to);
	return s->keys6_fd;
}

static int add_key(const struct xdp_sessions *s, const union addr_inet *from,
		   const union addr_inet *to, uint32_t way)
{
	struct fast_key6 key;
	int fd = make_key(s, from, to, &key);

	return bpf_map_update_elem(fd, &key, &way, BPF_NOEXIST) ? -errno : 0;
}

static void delete_key(const struct xdp_sessions *s, const union addr_inet *from,
		       const union addr_inet *to)
{
	struct fast_key6 key;
	int fd = make_key(s, from, to, &key);

	bpf_map_delete_elem(fd, &key);
}

/* An address that means the same on every link. */
static bool is_plain(const union addr_inet *addr, sa_family_t family)
{
	return addr->sa.sa_family == family &&
	       (family != AF_INET6 || (!IN6_IS_ADDR_LINKLOCAL(&addr->v6.sin6_addr) &&
				       !IN6_IS_ADDR_V4MAPPED(&addr->v6.sin6_addr)));
}

int xdp_session_add(struct xdp_sessions *s, const struct xdp_session *session, uint32_t *ret_number)
{
	sa_family_t family = session->client->sa.sa_family;
	struct fast_way *ways;
	uint32_t number;
	int err;

	if ((family != AF_INET && family != AF_INET6) || !is_plain(session->client, family) ||
	    !is_plain(session->asked, family) || !is_plain(session->source, family) ||
	    !is_plain(session->target, family))
		return -EAFNOSUPPORT;
	if (!take_number(s, &number))
		return -ENOSPC;
	ways = &s->ways[FAST_WAY(number, 0)];
	fill_way(&ways[FAST_TO_TARGET], session->client, session->asked, session->source,
		 session->target);
	fill_way(&ways[FAST_TO_CLIENT], session->target, session->source, session->asked,
		 session->client);
	err = add_key(s, session->client, session->asked, FAST_WAY(number, FAST_TO_TARGET));
	if (!err) {
		err = add_key(s, session->target, session->source,
			      FAST_WAY(number, FAST_TO_CLIENT));
		if (err)
			delete_key(s, session->client, session->asked);
	}
	if (err) {
		give_back(s, number);
		return err == -E2BIG ? -ENOSPC : err;
	}
	ways[FAST_TO_TARGET].used = 1;
	*ret_number = number;
	return 0;
}

static void read_addr(union addr_inet *out, const uint32_t addr[4], uint16_t port, bool v6)
{
	memset(out, 0, sizeof(*out));
	if (v6) {
		out->v6.sin6_family = AF_INET6;
		out->v6.sin6_port = port;
		memcpy(&out->v6.sin6_addr, addr, sizeof(out->v6.sin6_addr));
	} else {
		out->v4.sin_family = AF_INET;
		out->v4.sin_port = port;
		memcpy(&out->v4.sin_addr, addr, sizeof(out->v4.sin_addr));
	}
}

/* Each way has what the other one's datagrams look like, turned round. */
static void read_row(const struct fast_way *ways, struct xdp_session_row *row)
{
	const struct fast_way *up = &ways[FAST_TO_TARGET], *down = &ways[FAST_TO_CLIENT];

	memset(row, 0, sizeof(*row));
	read_addr(&row->client, down->dst, down->dst_port, down->v6);
	read_addr(&row->asked, down->src, down->src_port, down->v6);
	read_addr(&row->source, up->src, up->src_port, up->v6);
	read_addr(&row->target, up->dst, up->dst_port, up->v6);
	for (int i = 0; i < FAST_WAYS; i++) {
		row->way[i].packets = ways[i].packets;
		row->way[i].bytes = ways[i].bytes;
		row->way[i].socket_packets = ways[i].socket_packets;
		row->way[i].socket_bytes = ways[i].socket_bytes;
		row->last_ns = MAX(row->last_ns, (int64_t)ways[i].last_ns);
	}
}

void xdp_session_remove(struct xdp_sessions *s, uint32_t number)
{
	struct fast_way *ways = &s->ways[FAST_WAY(number, 0)];
	struct xdp_session_row row;

	read_row(ways, &row);
	delete_key(s, &row.client, &row.asked);
	delete_key(s, &row.target, &row.source);
	ways[FAST_TO_TARGET].used = 0;
	give_back(s, number);
}

int64_t xdp_session_last_ns(const struct xdp_sessions *s, uint32_t number)
{
	const struct fast_way *ways = &s->ways[FAST_WAY(number, 0)];
	uint64_t a = __atomic_load_n(&ways[FAST_TO_TARGET].last_ns, __ATOMIC_RELAXED);
	uint64_t b = __atomic_load_n(&ways[FAST_TO_CLIENT].last_ns, __ATOMIC_RELAXED);

	return (int64_t)MAX(a, b);
}

void xdp_session_note(struct xdp_sessions *s, uint32_t number, enum fast_way_name name,
		      uint32_t packets, uint64_t bytes)
{
	struct fast_way *way = &s->ways[FAST_WAY(number, name)];

	__atomic_store_n(&way->socket_packets, way->socket_packets + packets, __ATOMIC_RELAXED);
	__atomic_store_n(&way->socket_bytes, way->socket_bytes + bytes, __ATOMIC_RELAXED);
}

int xdp_sessions_read(struct xdp *xdp, struct xdp_session_row **ret_rows, char *error)
{
	uint32_t capacity = xdp->stored.sessions;
	size_t bytes = (size_t)capacity * FAST_WAYS * sizeof(struct fast_way);
	struct xdp_session_row *rows = NULL;
	struct fast_way *ways = NULL;
	int n = 0;

	if (xdp->stored.fast == FAST_RELAY) {
		ways = load_map_values(xdp, MAP_WAYS, bytes);
		if (!ways)
			return load_fail(error, -errno, "reading the sessions: %s",
					 strerror(errno));
	}
	for (uint32_t i = 0; ways && i < capacity; i++)
		n += ways[FAST_WAY(i, FAST_TO_TARGET)].used;
	rows = calloc((size_t)n + 1, sizeof(*rows));
	if (!rows) {
		load_unmap(ways, bytes);
		return load_fail(error, -ENOMEM, "out of memory");
	}
	/* More may be opened meanwhile; as many as there is room for are told. */
	for (uint32_t i = 0, left = (uint32_t)n, at = 0; ways && i < capacity; i++) {
		if (!ways[FAST_WAY(i, FAST_TO_TARGET)].used || !left)
			continue;
		read_row(&ways[FAST_WAY(i, 0)], &rows[at++]);
		left--;
		n = (int)at;
	}
	load_unmap(ways, bytes);
	*ret_rows = rows;
	return n;
}
