/* SPDX-License-Identifier: MIT */
/* Owns the other ends: peers of streams and hosts of datagrams, and the bytes that they expect. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contract.h"

enum { PUMP_BYTES = 65536, PUMPS = 16 };

/* ---- patterns ---- */

void pattern_fill(uint32_t seed, uint64_t at, void *out, size_t n)
{
	uint8_t *bytes = out;

	for (size_t i = 0; i < n; i++)
		bytes[i] = pattern_byte(seed, at + i);
}

size_t pattern_match(uint32_t seed, uint64_t at, const void *data, size_t n)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < n; i++)
		if (bytes[i] != pattern_byte(seed, at + i))
			return i;
	return n;
}

/* ---- peers ---- */

struct peer *peer_new(struct rig *rig)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	cr_assert_not_null(peer);
	peer->rig = rig;
	peer->fd = -1;
	peer->gone = true;
	peer->read_to = UINT64_MAX;
	peer->next = rig->peers;
	rig->peers = peer;
	return peer;
}

bool peer_connect(struct peer *peer, const struct addr *addr)
{
	peer->gone = !peer->rig->world->connect(peer->rig, addr, peer);
	return !peer->gone;
}

bool peer_accept(struct peer *peer, const struct addr *addr)
{
	peer->gone = !peer->rig->world->remote_accept(peer->rig, addr, peer);
	return !peer->gone;
}

static ssize_t pump_write(struct peer *peer)
{
	static uint8_t bytes[PUMP_BYTES];
	size_t n = (size_t)MIN(PUMP_BYTES, peer->write_to - peer->written);
	ssize_t done;

	if (peer->write_max) {
		size_t some = 1 + rig_random(peer->rig, peer->write_max);

		n = MIN(n, some);
	}
	pattern_fill(peer->seed, peer->written, bytes, n);
	done = peer->rig->world->write(peer, bytes, n);
	if (done > 0)
		peer->written += (uint64_t)done;
	else if (done != -EAGAIN)
		peer->write_err = (int)done;
	return done;
}

static ssize_t pump_read(struct peer *peer)
{
	static uint8_t bytes[PUMP_BYTES];
	struct rig *rig = peer->rig;
	ssize_t n =
		rig->world->read(peer, bytes, (size_t)MIN(PUMP_BYTES, peer->read_to - peer->read));

	if (n > 0) {
		check(peer->unchecked ||
			      pattern_match(peer->seed, peer->read, bytes, (size_t)n) == (size_t)n,
		      "the peer read a wrong byte after %llu", (unsigned long long)peer->read);
		peer->read += (uint64_t)n;
	} else if (n == 0) {
		peer->eof = true;
	} else if (n != -EAGAIN) {
		peer->err = (int)n;
	}
	return n;
}

static bool can_write(const struct peer *peer)
{
	return !peer->gone && !peer->err && !peer->write_err && peer->written < peer->write_to;
}

bool peer_pump(struct peer *peer)
{
	bool moved = false;

	for (int i = 0; i < PUMPS && can_write(peer); i++) {
		if (pump_write(peer) <= 0)
			break;
		moved = true;
	}
	if (peer->shut_after && !peer->gone && !peer->shut && peer->written >= peer->write_to)
		peer_shutdown(peer);
	for (int i = 0; i < PUMPS && !peer_ended(peer) && peer->read < peer->read_to; i++) {
		if (pump_read(peer) <= 0)
			break;
		moved = true;
	}
	return moved;
}

void peer_shutdown(struct peer *peer)
{
	peer->shut = true;
	peer->rig->world->shutdown(peer);
}

void peer_reset(struct peer *peer)
{
	peer->gone = true;
	peer->rig->world->reset(peer);
}

void peer_close(struct peer *peer)
{
	peer->gone = true;
	peer->rig->world->close(peer);
}

/* ---- hosts ---- */

union addr_inet addr_v4(uint32_t host, uint16_t port)
{
	union addr_inet addr;

	memset(&addr, 0, sizeof(addr));
	addr.v4.sin_family = AF_INET;
	addr.v4.sin_addr.s_addr = htonl(host);
	addr.v4.sin_port = htons(port);
	return addr;
}

union addr_inet addr_v6(const struct in6_addr *host, uint16_t port)
{
	union addr_inet addr;

	memset(&addr, 0, sizeof(addr));
	addr.v6.sin6_family = AF_INET6;
	addr.v6.sin6_addr = *host;
	addr.v6.sin6_port = htons(port);
	return addr;
}

struct host *host_new(struct rig *rig, const union addr_inet *addr)
{
	struct host *host = calloc(1, sizeof(*host));

	cr_assert_not_null(host);
	host->rig = rig;
	host->fd = -1;
	host->addr = *addr;
	host->next = rig->hosts;
	rig->hosts = host;
	check(!rig->world->host_open(host));
	return host;
}

void host_send(struct host *host, const union addr_inet *to, const void *data, size_t n)
{
	struct rig *rig = host->rig;
	int err = rig->world->host_send(host, to, data, n);

	check(!err, "a host cannot send: %s", strerror(-err));
}

size_t host_take(struct host *host, void *out, size_t size, union addr_inet *ret_from)
{
	struct rig *rig = host->rig;
	ssize_t n;

	until((n = rig->world->host_recv(host, out, size, ret_from)) != -EAGAIN);
	check(n >= 0, "a host cannot receive: %s", strerror((int)-n));
	return (size_t)n;
}

/* ---- datagrams ---- */

struct end *end_dgram(struct rig *rig, union addr_inet *addr)
{
	struct end *end = end_new(rig);

	check(end_attach(end, rig->world->dgram(rig, addr), IO_DGRAM));
	return end;
}

/* A buffer with len bytes of pattern, to peer. */
struct buf *dgram_buf(struct rig *rig, uint32_t seed, uint32_t len, const union addr_inet *peer)
{
	struct buf *buf = buf_get(&rig->io->pool, len <= BUF_SMALL_BYTES ? BUF_SMALL : BUF_LARGE);

	check(buf);
	buf->len = len;
	pattern_fill(seed, 0, buf->data, len);
	memset(&buf->dgram, 0, sizeof(buf->dgram));
	if (peer)
		buf->dgram.peer = *peer;
	return buf;
}

void host_check_taken(struct host *host, uint32_t seed, size_t len, union addr_inet *ret_from)
{
	static uint8_t bytes[1 << 16];
	struct rig *rig = host->rig;
	size_t n = host_take(host, bytes, sizeof(bytes), ret_from);

	check(n == len, "%zu bytes came, %zu were sent", n, len);
	check(pattern_match(seed, 0, bytes, n) == n);
}

void host_send_pattern(struct host *host, const union addr_inet *to, uint32_t seed, size_t len)
{
	static uint8_t bytes[1 << 16];

	pattern_fill(seed, 0, bytes, len);
	host_send(host, to, bytes, len);
}
