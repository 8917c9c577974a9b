/* SPDX-License-Identifier: MIT */
/* Streams: bytes in order and once, however little the kernel takes at a time; ends and half-
 * closes (lines 2 and 3). */
#include "contract.h"

enum { TINY_BYTES = 4096, NARROW_BYTES = 16384, PIECE = 8192 };

static const struct link_conf tiny = {
	.end_send = TINY_BYTES,
	.end_recv = TINY_BYTES,
	.peer_send = TINY_BYTES,
	.peer_recv = TINY_BYTES,
};

/* Little fits, and yet bytes flow: where only one side is small, delayed ACKs make each window
 * take 40 ms. */
static const struct link_conf narrow = {.end_send = NARROW_BYTES, .peer_recv = NARROW_BYTES};

/* ---- echo ---- */

/* The peer sends bytes and its end, and must get them back, and then the end. */
static void start_echo(struct end *end, struct peer *peer, uint64_t bytes)
{
	end->mode = END_ECHO;
	peer->write_to = bytes;
	peer->shut_after = true;
	end_recv_start(end);
}

static void finish_echo(struct end *end, struct peer *peer, uint64_t bytes)
{
	struct rig *rig = end->rig;

	until(peer_ended(peer));
	check(peer->eof && peer->read == bytes, "%llu bytes came back, error %d",
	      (unsigned long long)peer->read, peer->err);
	check(end->eof && end->received == bytes);
	end_close(end, IO_CLOSE_FLUSH);
	until(end->closed);
	check(end->close_res == 0 && end->sent == bytes);
}

static void run_echo(struct rig *rig, const struct link_conf *conf, uint64_t bytes)
{
	struct peer *peer;
	struct end *end = end_pair(rig, conf, &peer);

	start_echo(end, peer, bytes);
	finish_echo(end, peer, bytes);
}

CONTRACT(echo_sizes)
{
	static const uint32_t sizes[] = {1, 2, 100, 8191, 8192, 8193, 65535, 65536, 65537, 1 << 20};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		run_echo(rig, NULL, sizes[i]);
}

CONTRACT(echo_nothing)
{
	run_echo(rig, NULL, 0);
}

CONTRACT(echo_16_mib)
{
	run_echo(rig, NULL, 16 << 20);
}

CONTRACT(echo_ipv6)
{
	run_echo(rig, &(struct link_conf){.net = NET_TCP6}, 1 << 20);
}

CONTRACT(echo_unix)
{
	run_echo(rig, &(struct link_conf){.net = NET_UNIX}, 4 << 20);
}

CONTRACT(echo_tiny_socket_buffers)
{
	struct link_conf local = {
		.net = NET_UNIX,
		.end_send = TINY_BYTES,
		.peer_send = TINY_BYTES,
	};

	run_echo(rig, &tiny, 64 << 10);
	run_echo(rig, &local, 1 << 20);
}

CONTRACT(echo_tiny_send_buffer)
{
	run_echo(rig, &(struct link_conf){.end_send = TINY_BYTES}, 1 << 20);
}

CONTRACT(echo_many_at_once)
{
	enum { CONNS = 48, BYTES = 200 * 1000 };
	struct end *ends[CONNS];
	struct peer *peers[CONNS];

	for (int i = 0; i < CONNS; i++) {
		ends[i] = end_pair(rig, &(struct link_conf){.net = i % 3}, &peers[i]);
		peers[i]->write_max = i % 2 ? 3000 : 20000;
		start_echo(ends[i], peers[i], BYTES);
	}
	for (int i = 0; i < CONNS; i++)
		finish_echo(ends[i], peers[i], BYTES);
}

/* More than a completion queue holds. */
CONTRACT(echo_hundreds_at_once)
{
	enum { CONNS = 450, BYTES = 6000 };
	struct end *ends[CONNS];
	struct peer *peers[CONNS];

	for (int i = 0; i < CONNS; i++) {
		ends[i] = end_pair(rig, &(struct link_conf){.net = i % 2 ? NET_UNIX : NET_TCP4},
				   &peers[i]);
		peers[i]->write_max = 500;
		start_echo(ends[i], peers[i], BYTES);
	}
	for (int i = 0; i < CONNS; i++)
		finish_echo(ends[i], peers[i], BYTES);
}

/* ---- sending ---- */

CONTRACT(send_chain_of_many_buffers)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_send_bytes(end, 1 << 20, 1000);
	until(peer->read == 1 << 20);
	check(end->n_send == 0 || end->sent <= end->queued);
}

CONTRACT(send_single_bytes)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	for (int i = 0; i < 1500; i++)
		end_send_bytes(end, 1, 1);
	until(peer->read == 1500);
}

/* Many sends while the peer does not read: all wait, and leave in order. */
CONTRACT(send_behind_a_blocked_send)
{
	struct peer *peer;
	struct end *end = end_pair(rig, &narrow, &peer);

	peer->read_to = 0;
	end_send_bytes(end, 6 << 20, BUF_LARGE_BYTES);
	rig_steps(rig, 10);
	for (int i = 0; i < 200; i++) {
		end_send_bytes(end, 1 + rig_random(rig, 3000), PIECE);
		if (i % 20 == 0)
			rig_step(rig);
	}
	check(end->sent < end->queued, "nothing was blocked");
	peer->read_to = UINT64_MAX;
	until(peer->read == end->queued);
}

CONTRACT(send_from_both_classes)
{
	struct peer *peer;
	struct end *end = end_pair(rig, &narrow, &peer);

	for (int i = 0; i < 40; i++) {
		end_send_bytes(end, 1 + rig_random(rig, 60000), BUF_LARGE_BYTES);
		end_send_bytes(end, 1 + rig_random(rig, 8000), BUF_SMALL_BYTES);
	}
	until(peer->read == end->queued);
}

/* What one handler sent is reported before the same owner hears anything else. */
static void on_ping(struct end *end, const struct io_event *event)
{
	struct rig *rig = end->rig;

	if (event->op != IO_RECV)
		return;
	check(end->sent == end->queued, "IO_RECV before the IO_SEND of what the peer has read");
	end_send(end, event->buf);
}

CONTRACT(send_is_reported_before_the_next_event)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end->mode = END_MANUAL;
	end->on_event = on_ping;
	end_recv_start(end);
	for (uint64_t i = 1; i <= 200; i++) {
		peer->write_to = i;
		until(peer->read == i);
	}
}

/* Reported at once: in a few turns, while nothing else happens. */
static void until_reported(struct end *end)
{
	struct rig *rig = end->rig;
	uint64_t turns = rig->turns;

	while (end->sent < end->queued) {
		rig_step(rig);
		check(rig->turns - turns <= 16, "IO_SEND does not come");
	}
}

CONTRACT(send_is_reported_while_a_receive_is_stopped)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_recv_start(end);
	rig_steps(rig, 3);
	for (uint64_t i = 1; i <= 100; i++) {
		end_send_bytes(end, 1000, PIECE);
		if (i % 3 == 0)
			rig_step(rig);
		end_recv_stop(end);
		until_reported(end);
		end_recv_start(end);
	}
	until(peer->read == end->queued);
}

/* Which receive is stopped makes no difference: a relay stops the other side's. */
CONTRACT(send_is_reported_while_another_receive_is_stopped)
{
	struct peer *peers[2];
	struct end *from = end_pair(rig, NULL, &peers[0]), *to = end_pair(rig, NULL, &peers[1]);

	end_recv_start(from);
	end_recv_start(to);
	for (uint64_t i = 1; i <= 100; i++) {
		end_send_bytes(to, 1000, PIECE);
		if (i % 3 == 0)
			rig_step(rig);
		end_recv_stop(from);
		until_reported(to);
		end_recv_start(from);
	}
}

CONTRACT(send_is_reported_while_more_is_queued)
{
	struct peer *peer;
	struct end *end = end_pair(rig, &narrow, &peer);

	end_recv_start(end);
	peer->read_to = 1 << 20;
	end_send_bytes(end, 8 << 20, BUF_LARGE_BYTES);
	until(peer->read == peer->read_to && end->sent >= peer->read);
	check(end->sent < end->queued);
	peer->read_to = UINT64_MAX;
	until(peer->read == end->queued);
}

static void on_sent_send(struct end *end, const struct io_event *event)
{
	if (event->op == IO_SEND && end->queued < 1 << 20)
		end_send_bytes(end, 5000, PIECE);
}

CONTRACT(send_from_inside_io_send)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end->on_event = on_sent_send;
	end_recv_start(end);
	end_recv_stop(end);
	end_send_bytes(end, 5000, PIECE);
	until(peer->read >= 1 << 20 && end->sent == end->queued);
	check(peer->read == end->queued);
}

CONTRACT(send_to_a_peer_that_is_gone_fails_once)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	peer_reset(peer);
	for (int i = 0; i < 20; i++) {
		end_send_bytes(end, 10000, PIECE);
		rig_step(rig);
	}
	until(end->send_err);
	check(end->sent == 0);
	end_send_bytes(end, 1 << 20, PIECE);
	rig_settle(rig);
	end_close(end, IO_CLOSE_NOW);
	until(end->closed);
}

/* ---- ends ---- */

CONTRACT(end_alone)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_recv_start(end);
	peer_shutdown(peer);
	until(end->eof);
	check(end->received == 0);
	rig_check_quiet(rig);
}

CONTRACT(end_behind_data)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	peer->write_to = 150 * 1000;
	peer->shut_after = true;
	rig_steps(rig, 3);
	end_recv_start(end);
	until(end->eof);
	check(end->received == peer->write_to);
}

CONTRACT(end_behind_data_when_the_peer_closes)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	peer->write_to = 100 * 1000;
	until(peer->written == peer->write_to);
	peer_close(peer);
	end_recv_start(end);
	until(end->eof);
	check(end->received == 100 * 1000);
}

CONTRACT(half_close_by_the_peer)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_recv_start(end);
	peer->write_to = 100;
	peer->shut_after = true;
	until(end->eof);
	end_send_bytes(end, 3 << 20, BUF_LARGE_BYTES);
	until(peer->read == 3 << 20);
	check(!peer_ended(peer));
	end_shutdown(end);
	until(peer->eof);
}

CONTRACT(half_close_by_the_owner)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_recv_start(end);
	end_send_bytes(end, 100, PIECE);
	end_shutdown(end);
	until(peer->eof);
	check(peer->read == 100);
	peer->write_to = 3 << 20;
	peer->shut_after = true;
	until(end->eof);
	check(end->received == 3 << 20);
}

CONTRACT(shutdown_at_once)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_shutdown(end);
	until(peer->eof);
	check(peer->read == 0 && end->n_send == 0);
}

CONTRACT(shutdown_behind_a_long_queue)
{
	enum { BYTES = 5 << 20 };
	struct peer *peer;
	struct end *end = end_pair(rig, &narrow, &peer);

	end_recv_start(end);
	peer->read_to = 0;
	end_send_bytes(end, BYTES, BUF_LARGE_BYTES);
	end_shutdown(end);
	rig_steps(rig, 5);
	check(end->sent < BYTES);
	for (uint64_t at = 0; at < BYTES; at += 200 * 1000) {
		peer->read_to = at;
		until(peer->read == at);
		check(!peer->eof);
	}
	peer->read_to = UINT64_MAX;
	until(peer->eof);
	check(peer->read == BYTES);
	until(end->sent == BYTES);
}
