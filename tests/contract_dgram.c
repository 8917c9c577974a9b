/* SPDX-License-Identifier: MIT */
/* Datagrams: boundaries, addresses, bursts, errors, and sends that never wait (line 10). */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "contract.h"

/* ---- sizes and order ---- */

static void echo_sizes(struct rig *rig, union addr_inet addr)
{
	static const uint32_t sizes[] = {0,    1,    2,     1472,  1473,     8191,
					 8192, 8193, 65000, 65506, DGRAM_MAX};
	struct host *host = host_new(rig, &addr);
	struct end *end = end_dgram(rig, &addr);
	union addr_inet from;

	end->mode = END_ECHO;
	end_recv_start(end);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			host_send_pattern(host, &addr, i, sizes[i]);
			host_check_taken(host, i, sizes[i], &from);
			check(addr_inet_equal(&from, &addr));
		}
	}
	/* All under way at once; big ones apart, for they fill a socket's receive buffer. */
	for (uint32_t i = 0; i < 8; i++)
		host_send_pattern(host, &addr, i, sizes[i]);
	for (uint32_t i = 0; i < 8; i++)
		host_check_taken(host, i, sizes[i], &from);
	check(end->n_icmp == 0 && end->n_send == 0);
}

CONTRACT(dgram_sizes_ipv4)
{
	echo_sizes(rig, addr_v4(INADDR_LOOPBACK, 0));
}

CONTRACT(dgram_sizes_ipv6)
{
	echo_sizes(rig, addr_v6(&in6addr_loopback, 0));
}

static void on_numbered(struct end *end, const struct io_event *event)
{
	struct rig *rig = end->rig;
	uint32_t *next = end->ctx, n;

	if (event->op != IO_RECV || event->res < 0)
		return;
	check(event->res == 32);
	memcpy(&n, event->buf->data, sizeof(n));
	check(n == *next, "datagram %u after %u", n, *next - 1);
	(*next)++;
	end_send(end, event->buf);
}

CONTRACT(dgram_burst)
{
	/* Without the privilege to pass rmem_max, fewer fit a socket's receive buffer. */
	uint32_t burst = !rig_is_fake(rig) && geteuid() ? 200 : 1000;
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0), from;
	struct host *host = host_new(rig, &addr);
	struct end *end = end_dgram(rig, &addr);
	uint32_t bytes[8] = {0}, next = 0;

	end->mode = END_MANUAL;
	end->on_event = on_numbered;
	end->ctx = &next;
	end_recv_start(end);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < burst; i++) {
			bytes[0] = round * burst + i;
			host_send(host, &addr, bytes, sizeof(bytes));
		}
		for (uint32_t i = 0; i < burst; i++) {
			check(host_take(host, bytes, sizeof(bytes), &from) == sizeof(bytes));
			check(bytes[0] == round * burst + i, "answer %u is number %u", i, bytes[0]);
		}
	}
	check(rig->stats.dgrams_in == 3 * burst && rig->stats.dgrams_out == 3 * burst);
	check(rig->stats.dgram_bytes_in == 96 * burst && rig->stats.dgram_bytes_out == 96 * burst);
}

CONTRACT(dgram_chain_to_two_hosts)
{
	enum { N = 200 };
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0), from;
	struct host *hosts[] = {host_new(rig, &addr), host_new(rig, &addr)};
	struct end *end = end_dgram(rig, &addr);
	struct buf *chain = NULL, **tail = &chain;

	for (uint32_t i = 0; i < N; i++) {
		*tail = dgram_buf(rig, i, i * 13 % 3000, &hosts[i % 2]->addr);
		tail = &(*tail)->next;
	}
	end_send(end, chain);
	for (uint32_t i = 0; i < N; i++)
		host_check_taken(hosts[i % 2], i, i * 13 % 3000, &from);
	check(rig->stats.dgrams_out == N && end->n_send == 0);
}

CONTRACT(dgram_many_sockets)
{
	enum { SOCKS = 60 };
	union addr_inet addrs[SOCKS], any = addr_v4(INADDR_LOOPBACK, 0), from;
	struct host *host = host_new(rig, &any);

	for (uint32_t i = 0; i < SOCKS; i++) {
		struct end *end;

		addrs[i] = any;
		end = end_dgram(rig, &addrs[i]);
		end->mode = END_ECHO;
		end_recv_start(end);
	}
	for (uint32_t round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < SOCKS; i++)
			host_send_pattern(host, &addrs[i], 7, 100);
		for (uint32_t i = 0; i < SOCKS; i++)
			host_check_taken(host, 7, 100, &from);
	}
}

static void on_numbered_only(struct end *end, const struct io_event *event)
{
	struct rig *rig = end->rig;
	uint32_t *next = end->ctx, n;

	if (event->op != IO_RECV)
		return;
	memcpy(&n, event->buf->data, sizeof(n));
	check(n == *next, "datagram %u instead of %u", n, *next);
	(*next)++;
	end_recycle(end, event->buf);
}

/* More than a completion queue holds. */
CONTRACT(dgram_thousands_at_once)
{
	enum { SOCKS = 60, EACH = 100 };
	union addr_inet any = addr_v4(INADDR_LOOPBACK, 0);
	struct host *host = host_new(rig, &any);
	uint32_t next[SOCKS] = {0};

	for (uint32_t i = 0; i < SOCKS; i++) {
		union addr_inet addr = any;
		struct end *end = end_dgram(rig, &addr);

		end->mode = END_MANUAL;
		end->on_event = on_numbered_only;
		end->ctx = &next[i];
		end_recv_start(end);
		for (uint32_t n = 0; n < EACH; n++)
			host_send(host, &addr, &n, sizeof(n));
	}
	for (uint32_t i = 0; i < SOCKS; i++)
		until(next[i] == EACH);
}

/* ---- addresses ---- */

CONTRACT(dgram_answers_from_the_address_asked_ipv4)
{
	union addr_inet any = addr_v4(INADDR_ANY, 0), at = addr_v4(INADDR_LOOPBACK, 0), from;
	struct host *host = host_new(rig, &at);
	struct end *end = end_dgram(rig, &any);

	end->mode = END_ECHO;
	end_recv_start(end);
	for (uint32_t i = 1; i < 5; i++) {
		at = addr_v4((127u << 24) + i, addr_inet_port(&any));
		host_send_pattern(host, &at, i, 100);
		host_check_taken(host, i, 100, &from);
		check(addr_inet_equal(&from, &at), "the answer came from another address");
	}
}

CONTRACT(dgram_answers_from_the_address_asked_ipv6)
{
	union addr_inet any = addr_v6(&in6addr_any, 0), at = addr_v6(&in6addr_loopback, 0), from;
	struct host *host = host_new(rig, &at);
	struct end *end = end_dgram(rig, &any);

	end->mode = END_ECHO;
	end_recv_start(end);
	at = addr_v6(&in6addr_loopback, addr_inet_port(&any));
	host_send_pattern(host, &at, 1, 100);
	host_check_taken(host, 1, 100, &from);
	check(addr_inet_equal(&from, &at), "the answer came from another address");
}

static void on_meta(struct end *end, const struct io_event *event)
{
	struct dgram_meta *meta = end->ctx;

	if (event->op != IO_RECV)
		return;
	*meta = event->buf->dgram;
	end_recycle(end, event->buf);
}

CONTRACT(dgram_local_address_is_told_where_asked_for)
{
	union addr_inet any = addr_v4(INADDR_ANY, 0), one = addr_v4(INADDR_LOOPBACK, 0), at;
	struct host *host = host_new(rig, &one);
	struct end *wildcard = end_dgram(rig, &any), *bound = end_dgram(rig, &one);
	struct dgram_meta meta = {.group = true};

	wildcard->mode = bound->mode = END_MANUAL;
	wildcard->on_event = bound->on_event = on_meta;
	wildcard->ctx = bound->ctx = &meta;
	end_recv_start(wildcard);
	end_recv_start(bound);
	at = addr_v4((127u << 24) + 3, addr_inet_port(&any));
	host_send(host, &at, "x", 1);
	until(wildcard->n_recv == 1);
	check(addr_inet_equal(&meta.peer, &host->addr) && !meta.group);
	check(meta.local.sa.sa_family == AF_INET && !meta.local.v4.sin_port);
	check(meta.local.v4.sin_addr.s_addr == at.v4.sin_addr.s_addr);
	host_send(host, &one, "x", 1);
	until(bound->n_recv == 1);
	check(addr_inet_equal(&meta.peer, &host->addr) && !meta.group);
	check(meta.local.sa.sa_family == AF_UNSPEC);
}
