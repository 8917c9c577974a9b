/* SPDX-License-Identifier: MIT */
/* Backpressure, resets, buffers that run out, and fairness (lines 5, 6 and 8). */
#include <errno.h>

#include "contract.h"

enum { SMALL_POOL = 256 << 10 };

/* ---- recv_stop ---- */

static void on_recv_stop(struct end *end, const struct io_event *event)
{
	if (event->op == IO_RECV && end->receiving && rig_random(end->rig, 4) == 0)
		end_recv_stop(end);
}

static void stop_and_go(struct rig *rig, const struct link_conf *conf)
{
	struct peer *peer;
	struct end *end = end_pair(rig, conf, &peer);

	end->on_event = on_recv_stop;
	peer->write_to = UINT64_MAX;
	for (int i = 0; i < 15; i++) {
		uint64_t received;

		end_recv_start(end);
		until(!end->receiving);
		rig_steps(rig, 10);
		received = end->received;
		rig_steps(rig, 5);
		check(end->received == received, "bytes still come long after recv_stop");
	}
	peer->write_to = peer->written;
	peer->shut_after = true;
	end->on_event = NULL;
	end_recv_start(end);
	until(end->eof);
	check(end->received == peer->written, "%llu bytes written, %llu received",
	      (unsigned long long)peer->written, (unsigned long long)end->received);
}

CONTRACT(recv_stop_bounds_what_arrives)
{
	stop_and_go(rig, NULL);
	stop_and_go(rig, &(struct link_conf){.net = NET_UNIX});
}

CONTRACT(recv_stop_does_not_spin)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	peer->write_to = 1 << 20;
	end_recv_start(end);
	until(end->received);
	end_recv_stop(end);
	rig_check_quiet(rig);
	end_recv_start(end);
	until(end->received == 1 << 20);
}

static void on_recv_stop_start(struct end *end, const struct io_event *event)
{
	if (event->op != IO_RECV || event->res <= 0)
		return;
	end_recv_stop(end);
	if (rig_random(end->rig, 2)) {
		end_recv_start(end);
		end_recv_stop(end);
	}
	end_recv_start(end);
}

CONTRACT(recv_stop_and_start_inside_the_handler)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end->on_event = on_recv_stop_start;
	peer->write_to = 4 << 20;
	peer->write_max = 10000;
	peer->shut_after = true;
	end_recv_start(end);
	until(end->eof);
	check(end->received == 4 << 20);
}

CONTRACT(recv_stop_and_start_without_a_turn)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	for (uint64_t i = 1; i <= 50; i++) {
		end_recv_start(end);
		end_recv_stop(end);
		end_recv_start(end);
		peer->write_to = i * 3000;
		until(end->received == i * 3000);
		end_recv_stop(end);
	}
}

/* The first bytes may make a backend receive in another way; the rest is there before it begins. */
static void stop_before_the_end(struct rig *rig, enum net net, uint64_t first)
{
	struct peer *peer;
	struct end *end = end_pair(rig, &(struct link_conf){.net = net}, &peer);

	peer->write_to = first;
	end_recv_start(end);
	until(end->received == first);
	end_recv_stop(end);
	rig_settle(rig);
	peer->write_to = first + 50 * 1000;
	peer->shut_after = true;
	rig_settle(rig);
	if (end->eof) /* it was under way */
		return;
	end_recv_start(end);
	until(end->eof);
	check(end->received == peer->write_to);
}

CONTRACT(recv_stop_before_the_end)
{
	for (enum net net = NET_TCP4; net <= NET_UNIX; net++) {
		stop_before_the_end(rig, net, 0);
		stop_before_the_end(rig, net, 100);
		stop_before_the_end(rig, net, 200 * 1000);
	}
}

/* ---- resets ---- */

CONTRACT(reset_while_receiving)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_recv_start(end);
	peer->write_to = 100 * 1000;
	until(end->received);
	peer_reset(peer);
	until(end->recv_err);
	check(end->recv_err == -ECONNRESET, "IO_RECV %d", end->recv_err);
	rig_check_quiet(rig);
}

static void reset_unread(struct rig *rig, bool start, uint64_t bytes)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);
	int64_t since_ns;

	if (start) {
		end_recv_start(end);
		rig_settle(rig);
		end_recv_stop(end);
	}
	rig_settle(rig);
	peer->write_to = bytes;
	until(peer->written == bytes);
	rig_settle(rig);
	since_ns = rig->io->now_ns;
	peer_reset(peer);
	until(end->recv_err);
	check(end->recv_err == -ECONNRESET, "IO_RECV %d", end->recv_err);
	check(rig->io->now_ns - since_ns <= IO_RESET_NOTICE_NS + NS_PER_S,
	      "noticed only after %lld ms", (long long)((rig->io->now_ns - since_ns) / NS_PER_MS));
	rig_check_quiet(rig);
}

CONTRACT(reset_while_stopped)
{
	reset_unread(rig, true, 0);
}

CONTRACT(reset_while_stopped_behind_data)
{
	reset_unread(rig, true, 30000);
}

CONTRACT(reset_before_recv_start)
{
	reset_unread(rig, false, 0);
}

CONTRACT(reset_before_recv_start_behind_data)
{
	reset_unread(rig, false, 30000);
}

/* A reset must not pass for an end: a relay would send a FIN on. */
static void on_end_of_reset(struct end *end, const struct io_event *event)
{
	struct rig *rig = end->rig;

	if (event->op == IO_RECV && event->res == 0)
		check(end->send_err, "a reset told as an end of stream");
}

enum receiving { NOT_RECEIVING, RECEIVING_BEFORE, RECEIVING_AFTER };

/* Whether a receive or the send is told of the reset first may depend on which began first. */
static void reset_while_sending(struct rig *rig, enum receiving receiving)
{
	struct peer *peer;
	struct end *end =
		end_pair(rig, &(struct link_conf){.end_send = 16384, .peer_recv = 16384}, &peer);

	end->on_event = on_end_of_reset;
	if (receiving == RECEIVING_BEFORE)
		end_recv_start(end);
	peer->read_to = 0;
	end_send_bytes(end, 4 << 20, BUF_LARGE_BYTES);
	rig_steps(rig, 10);
	if (receiving == RECEIVING_AFTER)
		end_recv_start(end);
	rig_steps(rig, 2);
	peer_reset(peer);
	until(end->send_err);
	if (receiving)
		until(end->recv_err || end->eof);
	check(end->send_err == -ECONNRESET || end->send_err == -EPIPE, "IO_SEND %d", end->send_err);
	rig_check_quiet(rig);
}

CONTRACT(reset_while_sending)
{
	reset_while_sending(rig, NOT_RECEIVING);
}

CONTRACT(reset_while_sending_and_receiving)
{
	for (int i = 0; i < 3; i++) {
		reset_while_sending(rig, RECEIVING_BEFORE);
		reset_while_sending(rig, RECEIVING_AFTER);
	}
}

/* ---- buffers ---- */

enum { STARVERS = 64, STARVER_BYTES = 64 << 10 };

struct starvers {
	struct end *ends[STARVERS];
	struct peer *peers[STARVERS];
};

/* Peers send more than there are buffers, to owners that keep what they get. */
static void starve(struct rig *rig, struct starvers *s)
{
	for (int i = 0; i < STARVERS; i++) {
		s->ends[i] = end_pair(rig, NULL, &s->peers[i]);
		s->ends[i]->mode = END_HOLD;
		s->peers[i]->write_to = STARVER_BYTES;
		end_recv_start(s->ends[i]);
	}
	rig_settle(rig);
	check(rig->io->starved > 0, "nobody says that it starves");
	check(rig->io->starved <= STARVERS);
}

/* Gives buffers back here and there until all have got everything. */
static void feed(struct rig *rig, struct starvers *s)
{
	for (int i = 0; i < STARVERS; i++) {
		while (s->ends[i]->sock && s->ends[i]->received < STARVER_BYTES) {
			check(!rig_is_late(rig), "%llu bytes never came",
			      (unsigned long long)(STARVER_BYTES - s->ends[i]->received));
			end_release(s->ends[rig_random(rig, STARVERS)]);
			rig_step(rig);
		}
		end_release(s->ends[i]);
	}
	for (int i = 0; i < STARVERS; i++)
		end_release(s->ends[i]);
	rig_settle(rig);
	check(rig->io->starved == 0, "%u sockets still starve", rig->io->starved);
}

CONTRACT(buffers_run_out, .buffer_bytes = SMALL_POOL)
{
	struct starvers s;

	starve(rig, &s);
	rig_check_quiet(rig);
	feed(rig, &s);
}

CONTRACT(buffers_run_out_and_starving_sockets_close, .buffer_bytes = SMALL_POOL)
{
	struct starvers s;
	struct end *end;
	struct peer *peer;

	starve(rig, &s);
	for (int i = 0; i < STARVERS; i++)
		end_close(s.ends[i], i % 2 ? IO_CLOSE_NOW : IO_CLOSE_RESET);
	for (int i = 0; i < STARVERS; i++)
		until(s.ends[i]->closed);
	check(rig->io->starved == 0, "%u closed sockets starve", rig->io->starved);
	end = end_pair(rig, NULL, &peer);
	peer->write_to = 10;
	end_recv_start(end);
	rig_settle(rig);
	for (int i = 0; i < STARVERS; i++)
		end_release(s.ends[i]);
	until(end->received == 10);
}

CONTRACT(buffers_run_out_and_starving_sockets_stop, .buffer_bytes = SMALL_POOL)
{
	struct starvers s;

	starve(rig, &s);
	for (int i = 0; i < STARVERS; i++)
		end_recv_stop(s.ends[i]);
	rig_settle(rig);
	check(rig->io->starved == 0, "%u stopped sockets starve", rig->io->starved);
	rig_check_quiet(rig);
	for (int i = 0; i < STARVERS; i++)
		end_recv_start(s.ends[i]);
	feed(rig, &s);
}

CONTRACT(buffers_run_out_and_come_back_by_sending, .buffer_bytes = SMALL_POOL)
{
	struct starvers s;

	for (int i = 0; i < STARVERS; i++) {
		s.ends[i] = end_pair(rig, NULL, &s.peers[i]);
		s.ends[i]->mode = END_ECHO;
		s.peers[i]->write_to = 4 * STARVER_BYTES;
		s.peers[i]->shut_after = true;
		s.peers[i]->read_to = 0;
		end_recv_start(s.ends[i]);
	}
	rig_steps(rig, 20);
	for (int i = 0; i < STARVERS; i++)
		s.peers[i]->read_to = UINT64_MAX;
	for (int i = 0; i < STARVERS; i++) {
		until(peer_ended(s.peers[i]));
		check(s.peers[i]->read == 4 * STARVER_BYTES);
	}
}

/* An end of stream needs no buffer, and a reset neither: they are told as soon as there is one
 * again at least. */
CONTRACT(buffers_run_out_before_the_end, .buffer_bytes = SMALL_POOL)
{
	struct starvers s;
	struct end *end;
	struct peer *peer;

	starve(rig, &s);
	end = end_pair(rig, NULL, &peer);
	end_recv_start(end);
	peer_shutdown(peer);
	rig_settle(rig);
	feed(rig, &s);
	until(end->eof);
}

/* ---- fairness and budgets ---- */

CONTRACT(flood_does_not_starve_others)
{
	enum { SMALLS = 50, ROUNDS = 20, TURNS_MAX = 16 };
	struct end *ends[SMALLS], *flooded;
	struct peer *peers[SMALLS], *flood;

	flooded = end_pair(rig, NULL, &flood);
	flood->write_to = UINT64_MAX;
	end_recv_start(flooded);
	for (int i = 0; i < SMALLS; i++) {
		ends[i] = end_pair(rig, NULL, &peers[i]);
		ends[i]->mode = END_ECHO;
		end_recv_start(ends[i]);
	}
	rig_steps(rig, 10);
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		uint64_t turns = rig->turns;

		for (int i = 0; i < SMALLS; i++)
			peers[i]->write_to = round;
		for (int i = 0; i < SMALLS; i++)
			while (ends[i]->received < round) {
				rig_step(rig);
				check(rig->turns - turns <= TURNS_MAX, "socket %d waits", i);
			}
	}
	check(flooded->received > 1 << 20);
}

CONTRACT(flood_keeps_to_its_budget)
{
	struct peer *peers[2];
	struct end *ends[2];

	for (int i = 0; i < 2; i++) {
		ends[i] = end_pair(rig, NULL, &peers[i]);
		peers[i]->write_to = 16 << 20;
		end_recv_start(ends[i]);
	}
	until(ends[0]->received == 16 << 20 && ends[1]->received == 16 << 20);
}
