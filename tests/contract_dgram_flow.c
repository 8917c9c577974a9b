/* SPDX-License-Identifier: MIT */
/* Datagrams: connected sockets, errors, sends that never wait, and receives that do (line 10). */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "contract.h"

static struct addr udp_addr(const union addr_inet *inet)
{
	struct addr addr = {.kind = ADDR_UDP, .len = addr_inet_len(inet)};

	addr.inet = *inet;
	return addr;
}

/* ---- connected sockets ---- */

static void dial_dgram(struct rig *rig, union addr_inet addr)
{
	struct host *host = host_new(rig, &addr), *other = host_new(rig, &addr);
	struct addr to = udp_addr(&host->addr);
	struct end *end = end_new(rig);
	union addr_inet from;

	check(end_dial(end, &to));
	end_recv_start(end);
	/* The address in the buffer is another one, and makes no difference. */
	end_send(end, dgram_buf(rig, 1, 500, &other->addr));
	host_check_taken(host, 1, 500, &from);
	host_send_pattern(host, &from, 2, DGRAM_MAX);
	host_send_pattern(host, &from, 3, 0);
	until(end->n_recv == 2 && end->n_connect);
	check(end->connect_res == 0 && end->n_connect == 1 && end->n_icmp == 0);
	rig_check_quiet(rig);
}

CONTRACT(dgram_dial_ipv4)
{
	dial_dgram(rig, addr_v4(INADDR_LOOPBACK, 0));
}

CONTRACT(dgram_dial_ipv6)
{
	dial_dgram(rig, addr_v6(&in6addr_loopback, 0));
}

CONTRACT(dgram_refused_and_received_from_later)
{
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0), from;
	struct host *host = host_new(rig, &addr);
	struct addr to = udp_addr(&host->addr);
	struct end *end = end_new(rig);

	check(end_dial(end, &to));
	end_recv_start(end);
	end_send(end, dgram_buf(rig, 1, 10, NULL));
	host_check_taken(host, 1, 10, &from);
	rig->world->host_close(host);
	for (uint32_t i = 1; i <= 3; i++) {
		end_send(end, dgram_buf(rig, 1, 10, NULL));
		until(end->n_icmp + rig->stats.drop_icmp >= i);
		rig_settle(rig);
	}
	check(end->n_icmp > 0 && end->receiving);
	host = host_new(rig, &host->addr);
	host_send_pattern(host, &from, 2, 20);
	until(end->n_recv == end->n_icmp + 1);
	end_send(end, dgram_buf(rig, 3, 30, NULL));
	host_check_taken(host, 3, 30, &from);
}

CONTRACT(dgram_refused_with_many_queued)
{
	enum { N = 100 };
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0);
	struct host *host = host_new(rig, &addr);
	struct addr to = udp_addr(&host->addr);
	struct end *end = end_new(rig);
	struct stats *stats = &rig->stats;
	struct buf *chain = NULL;

	rig->world->host_close(host);
	check(end_dial(end, &to));
	for (int i = 0; i < N; i++) {
		struct buf *buf = dgram_buf(rig, 1, 10, NULL);

		buf->next = chain;
		chain = buf;
	}
	end_send(end, chain);
	until(stats->dgrams_out + stats->drop_send_error + stats->drop_send_full >= N);
	rig_settle(rig);
	check(stats->dgrams_out + stats->drop_send_error + stats->drop_send_full == N,
	      "%llu sent, %llu failed", (unsigned long long)stats->dgrams_out,
	      (unsigned long long)stats->drop_send_error);
}

/* ---- sends ---- */

CONTRACT(dgram_too_long_is_counted_and_the_next_goes_on)
{
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0), from;
	struct host *host = host_new(rig, &addr);
	struct end *end = end_dgram(rig, &addr);
	struct buf *chain = dgram_buf(rig, 1, 10, &host->addr);

	chain->next = dgram_buf(rig, 2, DGRAM_MAX + 1, &host->addr);
	chain->next->next = dgram_buf(rig, 3, 30, &host->addr);
	end_send(end, chain);
	host_check_taken(host, 1, 10, &from);
	host_check_taken(host, 3, 30, &from);
	until(rig->stats.drop_send_error == 1);
	check(rig->stats.dgrams_out == 2);
}

CONTRACT(dgram_send_buffer_full)
{
	enum { N = 600 };
	union addr_inet to, any = addr_v4(INADDR_ANY, 0);
	struct stats *stats = &rig->stats;
	struct end *end = end_new(rig);
	int fd, bytes = 4096;

	if (!rig->world->clog(rig, &to))
		rig_skip(rig, "a network namespace with a tap device needs root");
	fd = rig->world->dgram(rig, &any);
	if (!rig_is_fake(rig))
		check(!setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)));
	check(end_attach(end, fd, IO_DGRAM));
	end_recv_start(end);
	for (int i = 0; i < N; i++) {
		end_send(end, dgram_buf(rig, 1, 1000, &to));
		if (i % 40 == 39)
			rig_turn(rig, 0);
	}
	until(stats->dgrams_out + stats->drop_send_full == N);
	check(stats->drop_send_full > 0 && stats->dgrams_out > 0 && !stats->drop_send_error);
	rig_check_quiet(rig);
	check(end->n_send == 0);
}

/* ---- receiving ---- */

CONTRACT(dgram_recv_stop)
{
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0);
	struct host *host = host_new(rig, &addr);
	struct end *end = end_dgram(rig, &addr);

	end_recv_start(end);
	for (uint32_t round = 1; round <= 3; round++) {
		host_send_pattern(host, &addr, 1, 100);
		until(end->n_recv >= (round - 1) * 21 + 1);
		end_recv_stop(end);
		rig_settle(rig);
		for (int i = 0; i < 20; i++)
			host_send_pattern(host, &addr, 1, 100);
		rig_check_quiet(rig);
		end_recv_start(end);
		until(end->n_recv == round * 21);
	}
}

CONTRACT(dgram_flood_keeps_to_its_budget)
{
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0);
	struct host *host = host_new(rig, &addr);
	struct end *end = end_dgram(rig, &addr);

	for (int i = 0; i < 2000; i++)
		host_send(host, &addr, "flood", 5);
	end_recv_start(end);
	rig_settle(rig);
	check(end->n_recv > IO_DGRAMS_PER_TURN || geteuid(), "%u came", end->n_recv);
}

CONTRACT(dgram_flood_does_not_starve_streams)
{
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0);
	struct host *host = host_new(rig, &addr);
	struct end *end, *flooded = end_dgram(rig, &addr);
	struct peer *peer;
	uint64_t turns;

	end_recv_start(flooded);
	end = end_pair(rig, NULL, &peer);
	end_recv_start(end);
	for (uint64_t round = 1; round <= 20; round++) {
		for (int i = 0; i < 300; i++)
			host_send(host, &addr, "flood", 5);
		peer->write_to = round;
		for (turns = rig->turns; end->received < round; rig_step(rig))
			check(rig->turns - turns <= 16, "the stream waits");
	}
}

CONTRACT(dgram_buffers_run_out, .buffer_bytes = 256 << 10)
{
	enum { N = 64 };
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0);
	struct host *host = host_new(rig, &addr);
	struct end *end = end_dgram(rig, &addr);

	end->mode = END_HOLD;
	end_recv_start(end);
	for (int i = 0; i < N; i++)
		host_send_pattern(host, &addr, 1, 100);
	rig_settle(rig);
	check(end->n_recv < N && rig->io->starved == 1, "%u received, %u starve", end->n_recv,
	      rig->io->starved);
	rig_check_quiet(rig);
	while (end->n_recv < N) {
		check(!rig_is_late(rig), "%u came", end->n_recv);
		end_release(end);
		rig_step(rig);
	}
	end_release(end);
	rig_settle(rig);
	check(rig->io->starved == 0);
}

static void on_dgram_close(struct end *end, const struct io_event *event)
{
	if (event->op == IO_RECV)
		end_close(end, IO_CLOSE_NOW);
}

CONTRACT(dgram_close_inside_the_handler)
{
	union addr_inet any = addr_v4(INADDR_LOOPBACK, 0);
	struct host *host = host_new(rig, &any);

	for (int i = 0; i < 20; i++) {
		union addr_inet addr = any;
		struct end *end = end_dgram(rig, &addr);

		end->on_event = on_dgram_close;
		for (int k = 0; k < 50; k++)
			host_send_pattern(host, &addr, 1, 100);
		end_recv_start(end);
		until(end->closed);
		check(end->n_recv == 1);
	}
}

/* What was sent before a close leaves, as send(2) would have done it. */
CONTRACT(dgram_close_behind_sends)
{
	union addr_inet addr = addr_v4(INADDR_LOOPBACK, 0), from;
	struct host *host = host_new(rig, &addr);

	for (enum io_close how = IO_CLOSE_FLUSH; how <= IO_CLOSE_RESET; how++) {
		struct end *end = end_dgram(rig, &addr);

		end_send(end, dgram_buf(rig, 1, 10, &host->addr));
		end_close(end, how);
		until(end->closed);
		if (how == IO_CLOSE_FLUSH)
			host_check_taken(host, 1, 10, &from);
		addr = addr_v4(INADDR_LOOPBACK, 0);
	}
}
