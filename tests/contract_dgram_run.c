/* SPDX-License-Identifier: MIT */
/* Datagrams that a backend may hand to the kernel in one send: still one each, whole and in order
 * (line 10). */
#include <string.h>
#include <unistd.h>

#include "contract.h"

/* Appends n datagrams of len bytes to the chain that ends at tail. Returns its new end. */
static struct buf **append(struct rig *rig, struct buf **tail, uint32_t n, uint32_t len,
			   const union addr_inet *to)
{
	while (n-- > 0) {
		*tail = dgram_buf(rig, len, len, to);
		tail = &(*tail)->next;
	}
	return tail;
}

struct piece {
	uint32_t n, len;
};

static const struct piece pieces[] = {
	{70, 100}, /* more than one send takes */
	{1, 99},   /* shorter: the last of its run */
	{1, 100},  {2, 0},   {3, 1},    {1, 0},    {5, 1400}, {1, 1399}, {1, 1401},
	{2, 1400}, {9, 700}, {1, 2000}, {4, 2000}, {1, 1},    {2, 500},
};

static void check_pieces(struct rig *rig, struct host *host, struct end *end)
{
	struct buf *chain = NULL, **tail = &chain;
	union addr_inet from;
	uint64_t sent = 0;

	for (uint32_t i = 0; i < ARRAY_SIZE(pieces); i++)
		tail = append(rig, tail, pieces[i].n, pieces[i].len, &host->addr);
	end_send(end, chain);
	for (uint32_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		for (uint32_t n = 0; n < pieces[i].n; n++)
			host_check_taken(host, pieces[i].len, pieces[i].len, &from);
		sent += pieces[i].n;
	}
	check(rig->stats.dgrams_out == sent && !rig->stats.drop_send_error);
	rig_check_quiet(rig);
}

static void runs_from(struct rig *rig, union addr_inet at, union addr_inet bound)
{
	struct host *host = host_new(rig, &at);

	check_pieces(rig, host, end_dgram(rig, &bound));
}

CONTRACT(dgram_runs_ipv4)
{
	runs_from(rig, addr_v4(INADDR_LOOPBACK, 0), addr_v4(INADDR_LOOPBACK, 0));
}

CONTRACT(dgram_runs_ipv6)
{
	runs_from(rig, addr_v6(&in6addr_loopback, 0), addr_v6(&in6addr_loopback, 0));
}

CONTRACT(dgram_runs_to_a_connected_peer)
{
	union addr_inet at = addr_v4(INADDR_LOOPBACK, 0);
	struct host *host = host_new(rig, &at);
	struct addr to = {.kind = ADDR_UDP, .len = addr_inet_len(&host->addr)};
	struct end *end = end_new(rig);

	to.inet = host->addr;
	check(end_dial(end, &to));
	check_pieces(rig, host, end);
}

CONTRACT(dgram_runs_as_long_as_a_datagram_may_be)
{
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0), from;
	struct host *host = host_new(rig, &addr);
	struct end *end = end_dgram(rig, &addr);
	const uint32_t sizes[] = {DGRAM_MAX, DGRAM_MAX / 2, DGRAM_MAX / 2 + 1, 9000};

	for (uint32_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct buf *chain = NULL;

		append(rig, &chain, 3, sizes[i], &host->addr);
		end_send(end, chain);
		for (uint32_t n = 0; n < 3; n++)
			host_check_taken(host, sizes[i], sizes[i], &from);
	}
	check(!rig->stats.drop_send_error);
}

/* Runs, single datagrams, and as many requests as no queue holds at once. */
CONTRACT(dgram_runs_between_two_hosts)
{
	uint32_t rounds = !rig_is_fake(rig) && geteuid() ? 30 : 170;
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0), from;
	struct host *hosts[] = {host_new(rig, &addr), host_new(rig, &addr)};
	struct end *end = end_dgram(rig, &addr);
	struct buf *chain = NULL, **tail = &chain;

	for (uint32_t i = 0; i < rounds; i++) {
		tail = append(rig, tail, 1, 10 + i, &hosts[0]->addr);
		tail = append(rig, tail, 3, 20 + i, &hosts[1]->addr);
		tail = append(rig, tail, 1, 30 + i, &hosts[0]->addr);
	}
	end_send(end, chain);
	for (uint32_t i = 0; i < rounds; i++) {
		host_check_taken(hosts[0], 10 + i, 10 + i, &from);
		for (uint32_t n = 0; n < 3; n++)
			host_check_taken(hosts[1], 20 + i, 20 + i, &from);
		host_check_taken(hosts[0], 30 + i, 30 + i, &from);
	}
	check(rig->stats.dgrams_out == 5 * rounds);
}

/* The kernel cuts nothing up on a socket that sends without checksums, and says EINVAL. */
CONTRACT(dgram_runs_refused_leave_one_by_one)
{
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0), from;
	struct host *host = host_new(rig, &addr);
	struct end *end = end_new(rig);
	int fd = rig->world->dgram(rig, &addr), on = 1;

	if (!rig_is_fake(rig))
		check(!setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)));
	check(end_attach(end, fd, IO_DGRAM));
	for (uint32_t round = 1; round <= 3; round++) {
		struct buf *chain = NULL, **tail = &chain;

		tail = append(rig, tail, 40, 100 * round, &host->addr);
		append(rig, tail, 1, 50, &host->addr);
		end_send(end, chain);
		for (uint32_t n = 0; n < 40; n++)
			host_check_taken(host, 100 * round, 100 * round, &from);
		host_check_taken(host, 50, 50, &from);
		check(rig->stats.dgrams_out == 41 * round && !rig->stats.drop_send_error);
	}
}

static void on_length(struct end *end, const struct io_event *event)
{
	struct rig *rig = end->rig;
	uint32_t *n = end->ctx;

	if (event->op != IO_RECV)
		return;
	check(event->res == (int32_t)(*n % 3 * 7), "datagram %u has %d bytes", *n, event->res);
	(*n)++;
	end_recycle(end, event->buf);
}

CONTRACT(dgram_empty_ones_among_others_on_a_connected_socket)
{
	enum { N = 90 };
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0), from;
	struct host *host = host_new(rig, &addr);
	struct addr to = {.kind = ADDR_UDP, .len = addr_inet_len(&host->addr)};
	struct end *end = end_new(rig);
	uint32_t n = 0;

	to.inet = host->addr;
	check(end_dial(end, &to));
	end->mode = END_MANUAL;
	end->on_event = on_length;
	end->ctx = &n;
	end_recv_start(end);
	end_send(end, dgram_buf(rig, 1, 10, NULL));
	host_check_taken(host, 1, 10, &from);
	for (uint32_t i = 0; i < N; i++)
		host_send_pattern(host, &from, 1, i % 3 * 7);
	until(n == N);
	check(rig->stats.dgrams_in == N);
}
