/* SPDX-License-Identifier: MIT */
/* Owns the fake backend's datagrams: bound and connected sockets, and the hosts on the other
 * side. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "fake_io_priv.h"

enum { DGRAM_BYTES_MAX = 65507 };

/* Fills addr with the loopback address of family and a port of its own. */
static void local_pick(struct fake_io *f, union addr_inet *addr, sa_family_t family)
{
	uint16_t port = htons(f->port_next++);

	memset(addr, 0, sizeof(*addr));
	addr->sa.sa_family = family;
	if (family == AF_INET) {
		addr->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		addr->v4.sin_port = port;
	} else {
		addr->v6.sin6_addr = in6addr_loopback;
		addr->v6.sin6_port = port;
	}
}

static bool is_wildcard(const union addr_inet *addr)
{
	if (addr->sa.sa_family == AF_INET)
		return addr->v4.sin_addr.s_addr == htonl(INADDR_ANY);
	return IN6_IS_ADDR_UNSPECIFIED(&addr->v6.sin6_addr);
}

static struct fake_dgram *dgram_new(struct fake_io *f)
{
	struct fake_dgram *dgram = fake_alloc(sizeof(*dgram));

	STAILQ_INIT(&dgram->rx);
	SLIST_INSERT_HEAD(&f->dgrams, dgram, all);
	return dgram;
}

int fake_dgram_bind(struct io *io, const union addr_inet *addr)
{
	struct fake_dgram *dgram = dgram_new(fake_io_of(io));

	dgram->local = *addr;
	dgram->wildcard = is_wildcard(addr);
	return fake_fd_new(fake_io_of(io), &(struct fake_fd){.dgram = dgram});
}

int fake_dgram_dial(struct io_sock *sock, const struct addr *addr)
{
	struct fake_io *f = sock->f;

	sock->dgram = dgram_new(f);
	sock->dgram->peer = addr->inet;
	if (f->fds_err)
		return f->fds_err;
	local_pick(f, &sock->dgram->local, addr->sa.sa_family);
	sock->fd = fake_fd_new(f, &(struct fake_fd){.dgram = sock->dgram, .attached = true});
	return 0;
}

static void packets_free(struct fake_packets *packets)
{
	struct fake_packet *packet;

	while ((packet = STAILQ_FIRST(packets))) {
		STAILQ_REMOVE_HEAD(packets, queue);
		free(packet);
	}
}

void fake_dgram_free_all(struct fake_io *f)
{
	struct fake_dgram *dgram;
	struct fake_host *host;

	while ((dgram = SLIST_FIRST(&f->dgrams))) {
		SLIST_REMOVE_HEAD(&f->dgrams, all);
		packets_free(&dgram->rx);
		free(dgram);
	}
	while ((host = SLIST_FIRST(&f->hosts))) {
		SLIST_REMOVE_HEAD(&f->hosts, all);
		packets_free(&host->rx);
		free(host);
	}
}

static void packet_push(struct fake_packets *packets, const union addr_inet *from,
			const union addr_inet *to, const void *data, size_t len)
{
	struct fake_packet *packet = fake_alloc(sizeof(*packet) + len);

	packet->from = *from;
	packet->to = *to;
	packet->len = len;
	if (len)
		memcpy(packet->data, data, len);
	STAILQ_INSERT_TAIL(packets, packet, queue);
}

/* ---- hosts ---- */

struct fake_host *fake_host_open(struct io *io, const union addr_inet *addr)
{
	struct fake_host *host = fake_alloc(sizeof(*host));

	host->f = fake_io_of(io);
	host->addr = *addr;
	STAILQ_INIT(&host->rx);
	SLIST_INSERT_HEAD(&host->f->hosts, host, all);
	return host;
}

void fake_host_close(struct fake_host *host)
{
	host->closed = true;
}

static bool dgram_takes(const struct fake_dgram *dgram, const union addr_inet *from,
			const union addr_inet *to)
{
	if (dgram->closed || addr_inet_port(&dgram->local) != addr_inet_port(to))
		return false;
	if (dgram->peer.sa.sa_family)
		return addr_inet_equal(&dgram->peer, from) && addr_inet_equal(&dgram->local, to);
	if (dgram->wildcard)
		return dgram->local.sa.sa_family == to->sa.sa_family;
	return addr_inet_equal(&dgram->local, to);
}

void fake_host_send(struct fake_host *host, const union addr_inet *to, const void *data, size_t len)
{
	struct fake_io *f = host->f;
	struct fake_dgram *dgram;

	assert(!host->closed && len <= DGRAM_BYTES_MAX);
	if (fake_chance(f, f->conf.loss_percent))
		return;
	SLIST_FOREACH(dgram, &f->dgrams, all) {
		if (!dgram_takes(dgram, &host->addr, to) || dgram->rx_n == FAKE_PACKETS_MAX)
			continue;
		packet_push(&dgram->rx, &host->addr, to, data, len);
		dgram->rx_n++;
		return;
	}
}

ssize_t fake_host_recv(struct fake_host *host, void *out, size_t size, union addr_inet *ret_from)
{
	struct fake_packet *packet = STAILQ_FIRST(&host->rx);
	size_t len;

	if (!packet)
		return -EAGAIN;
	STAILQ_REMOVE_HEAD(&host->rx, queue);
	len = MIN(packet->len, size);
	memcpy(out, packet->data, len);
	*ret_from = packet->from;
	free(packet);
	return (ssize_t)len;
}

/* ---- the socket ---- */

uint32_t fake_dgram_due(const struct io_sock *sock)
{
	uint32_t due = sock->flags & F_CONNECT ? DUE_CONNECT : 0;

	if (fake_wants_recv(sock) && (sock->dgram->err || STAILQ_FIRST(&sock->dgram->rx)))
		due |= DUE_RECV;
	return due;
}

/* As an address of a socket: without the port. */
static void set_local(struct dgram_meta *meta, const struct fake_dgram *dgram,
		      const struct fake_packet *packet)
{
	memset(&meta->local, 0, sizeof(meta->local));
	if (!dgram->wildcard)
		return;
	meta->local = packet->to;
	if (packet->to.sa.sa_family == AF_INET)
		meta->local.v4.sin_port = 0;
	else
		meta->local.v6.sin6_port = 0;
}

void fake_dgram_recv(struct io_sock *sock)
{
	struct fake_io *f = sock->f;
	struct fake_dgram *dgram = sock->dgram;
	struct fake_packet *packet = STAILQ_FIRST(&dgram->rx);
	int err = dgram->err;
	struct buf *buf;

	if (err) {
		dgram->err = 0;
		fake_deliver(sock, IO_RECV, err, NULL);
		return;
	}
	buf = fake_take_buf(sock, packet->len, true);
	if (!buf)
		return;
	STAILQ_REMOVE_HEAD(&dgram->rx, queue);
	dgram->rx_n--;
	if (!(sock->flags & F_RECV))
		sock->overshoot -= MIN(sock->overshoot, MAX(packet->len, 1));
	sock->turn_dgrams++;
	memcpy(buf->data, packet->data, packet->len);
	buf->len = (uint32_t)packet->len;
	buf->dgram = (struct dgram_meta){.peer = packet->from};
	set_local(&buf->dgram, dgram, packet);
	free(packet);
	stats_add(&f->io.stats->dgrams_in, 1);
	stats_add(&f->io.stats->dgram_bytes_in, buf->len);
	fake_deliver(sock, IO_RECV, (int32_t)buf->len, buf);
}

static struct fake_host *host_find(struct fake_io *f, const union addr_inet *addr)
{
	struct fake_host *host;

	SLIST_FOREACH(host, &f->hosts, all)
		if (!host->closed && addr_inet_equal(&host->addr, addr))
			return host;
	return NULL;
}

static void send_one(struct io_sock *sock, const struct buf *buf)
{
	struct fake_io *f = sock->f;
	struct fake_dgram *dgram = sock->dgram;
	bool connected = dgram->peer.sa.sa_family;
	const union addr_inet *to = connected ? &dgram->peer : &buf->dgram.peer;
	union addr_inet from = dgram->local;
	struct fake_host *host;

	if (fake_chance(f, f->conf.send_full_percent)) {
		stats_add(&f->io.stats->drop_send_full, 1);
		return;
	}
	if (buf->len > DGRAM_BYTES_MAX) {
		stats_add(&f->io.stats->drop_send_error, 1);
		return;
	}
	stats_add(&f->io.stats->dgrams_out, 1);
	stats_add(&f->io.stats->dgram_bytes_out, buf->len);
	if (fake_chance(f, f->conf.loss_percent))
		return;
	if (dgram->wildcard && buf->dgram.local.sa.sa_family == AF_INET)
		from.v4.sin_addr = buf->dgram.local.v4.sin_addr;
	else if (dgram->wildcard && buf->dgram.local.sa.sa_family == AF_INET6)
		from.v6.sin6_addr = buf->dgram.local.v6.sin6_addr;
	host = host_find(f, to);
	if (host)
		packet_push(&host->rx, &from, to, buf->data, buf->len);
	else if (connected)
		dgram->err = -ECONNREFUSED;
}

void fake_dgram_send(struct io_sock *sock, struct buf *chain)
{
	for (struct buf *buf = chain; buf; buf = buf->next)
		send_one(sock, buf);
	buf_put_chain(&sock->f->io.pool, chain);
}
