/* SPDX-License-Identifier: MIT */
/* How moving ends (line 9): by the end of a stream, by failures, by closing; and what comes slowly
 * after much that came fast. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "contract_move.h"
#include "fake_io.h"

/* ---- ends of streams ---- */

CONTRACT(move_goes_on_after_the_other_way_has_ended)
{
	for (int i = 0; i < 2; i++) {
		struct relay r;

		relay_open(rig, i ? &(struct link_conf){.net = NET_UNIX} : NULL, &r);
		end_move_start(r.a, r.b);
		end_move_start(r.b, r.a);
		r.pa->write_to = 100 * 1000;
		r.pa->shut_after = true;
		until(r.pb->eof);
		check(r.pb->read == 100 * 1000);
		rig_settle(rig);
		r.pb->write_to = 1 << 20;
		until(r.pa->read == 1 << 20);
		check(!r.pa->eof);
		peer_shutdown(r.pb);
		until(r.pa->eof);
		check(!r.a->sent && !r.b->sent, "something was copied");
	}
}

CONTRACT(move_end_waits_for_what_is_in_between)
{
	struct relay r;

	relay_open(rig, &move_narrow, &r);
	relay_block(&r);
	r.pa->shut_after = true;
	rig_settle(rig);
	check(!r.pb->eof);
	r.pb->read_to = UINT64_MAX;
	until(r.pb->eof);
	check(r.pb->read == r.pa->written);
	rig_check_quiet(rig);
}

CONTRACT(shutdown_waits_for_what_was_moved)
{
	struct relay r;
	uint64_t taken = rig->stats.bytes_in;

	relay_open(rig, &move_narrow, &r);
	relay_block(&r);
	end_move_stop(r.a);
	taken = rig->stats.bytes_in - taken;
	check(taken > r.b->moved);
	end_shutdown(r.b);
	rig_settle(rig);
	check(!r.pb->eof);
	r.pb->read_to = UINT64_MAX;
	until(r.pb->eof);
	check(r.pb->read == taken);
}

/* ---- closing ---- */

CONTRACT(flushing_close_waits_for_what_was_moved)
{
	struct relay r;
	uint64_t taken = rig->stats.bytes_in;

	relay_open(rig, &move_narrow, &r);
	relay_block(&r);
	taken = rig->stats.bytes_in - taken;
	check(taken > r.b->moved);
	end_close(r.b, IO_CLOSE_FLUSH);
	end_close(r.a, IO_CLOSE_FLUSH);
	rig_settle(rig);
	check(r.a->closed && !r.b->closed && !r.pb->eof);
	r.pb->read_to = UINT64_MAX;
	until(r.b->closed && r.pb->eof);
	check(r.b->close_res == 0 && r.pb->read == taken);
}

static void close_while_moving(struct rig *rig, bool blocked, bool source, enum io_close how)
{
	struct relay r;
	struct end *left;

	relay_open(rig, &move_narrow, &r);
	if (blocked) {
		relay_block(&r);
	} else {
		end_move_start(r.a, r.b);
		r.pa->write_to = 100 * 1000;
		until(r.pb->read == 100 * 1000);
	}
	end_close(source ? r.a : r.b, how);
	left = source ? r.b : r.a;
	r.pa->write_to = UINT64_MAX;
	until((source ? r.a : r.b)->closed);
	rig_settle(rig);
	check(left->sock && !left->eof && !left->recv_err);
	/* What is left is as after a stop. */
	r.pb->unchecked = true;
	r.pb->read_to = UINT64_MAX;
	left->mode = END_DISCARD;
	left->on_event = NULL;
	end_recv_start(left);
	if (source)
		r.pb->write_to = 1000;
	until(left->received >= 1000);
	end_close(left, IO_CLOSE_NOW);
	until(left->closed);
}

CONTRACT(close_while_moving)
{
	for (int i = 0; i < 8; i++)
		close_while_moving(rig, i & 1, i & 2, i & 4 ? IO_CLOSE_NOW : IO_CLOSE_RESET);
}

/* free() closes everything, with what is in between. */
CONTRACT(free_while_moving)
{
	struct relay r[3];

	for (int i = 0; i < 3; i++)
		relay_open(rig, &move_narrow, &r[i]);
	relay_block(&r[0]);
	end_move_start(r[1].a, r[1].b);
	r[1].pa->write_to = 100 * 1000;
	until(r[1].pb->read == 100 * 1000);
	end_move_start(r[2].a, r[2].b);
	rig->leave_open = true;
}

/* The slots of closed sockets are soon others'. */
CONTRACT(close_and_move_again, .socks_max = 6)
{
	for (int i = 0; i < 100; i++) {
		struct relay r;

		relay_open(rig, &move_narrow, &r);
		end_move_start(r.a, r.b);
		end_move_start(r.b, r.a);
		r.pa->write_to = r.pb->write_to = 60 * 1000;
		if (i % 2)
			r.pb->read_to = 1000;
		until(r.pb->read >= 1000);
		rig_steps(rig, (uint32_t)rig_random(rig, 4));
		end_close(i % 3 ? r.a : r.b, IO_CLOSE_NOW);
		rig_steps(rig, (uint32_t)rig_random(rig, 2));
		end_close(i % 3 ? r.b : r.a, i % 5 ? IO_CLOSE_RESET : IO_CLOSE_FLUSH);
		r.pb->read_to = UINT64_MAX;
		until(r.a->closed && r.b->closed);
		peer_close(r.pa);
		peer_close(r.pb);
	}
}

/* ---- failures ---- */

CONTRACT(reset_of_a_source_is_noticed)
{
	for (int blocked = 0; blocked < 2; blocked++) {
		struct relay r;
		int64_t since_ns;

		relay_open(rig, &move_narrow, &r);
		if (blocked)
			relay_block(&r);
		else
			end_move_start(r.a, r.b);
		rig_settle(rig);
		since_ns = rig->io->now_ns;
		peer_reset(r.pa);
		until(r.a->recv_err);
		check(r.a->recv_err == -ECONNRESET, "IO_RECV %d", r.a->recv_err);
		check(rig->io->now_ns - since_ns <= IO_RESET_NOTICE_NS + NS_PER_S);
		rig_check_quiet(rig);
	}
}

CONTRACT(reset_of_a_receiver_fails_its_sends)
{
	for (int blocked = 0; blocked < 2; blocked++) {
		struct relay r;

		relay_open(rig, &move_narrow, &r);
		if (blocked)
			relay_block(&r);
		else
			end_move_start(r.a, r.b);
		peer_reset(r.pb);
		r.pa->write_to = 64 << 20;
		until(r.b->send_err);
		check(r.b->send_err == -ECONNRESET || r.b->send_err == -EPIPE, "IO_SEND %d",
		      r.b->send_err);
		check(!r.a->recv_err);
		rig_check_quiet(rig);
	}
}

/* Urgent data is no end, though splice(2) returns 0 before it. */
CONTRACT(move_past_urgent_data)
{
	struct relay r;

	if (rig_is_fake(rig))
		return;
	relay_open(rig, NULL, &r);
	end_move_start(r.a, r.b);
	r.pa->write_to = 1000;
	until(r.pb->read == 1000);
	check(send(r.pa->fd, "!", 1, MSG_OOB | MSG_NOSIGNAL) == 1);
	r.pa->write_to = 200 * 1000;
	until(r.pb->read == 200 * 1000);
	check(!r.a->eof);
}

/* Has the move from a to b refused; what pa writes next is copied. */
static void refuse_move(struct relay *r)
{
	struct rig *rig = r->a->rig;

	if (rig_is_fake(rig))
		fake_conf(rig->io)->refuse_percent = 100;
	else
		check(send(r->pa->fd, "!", 1, MSG_OOB | MSG_NOSIGNAL) == 1);
	/* Not every backend is woken by urgent data alone. */
	r->pa->write_to += 1000;
	until(r->b->n_refused);
	if (rig_is_fake(rig))
		fake_conf(rig->io)->refuse_percent = 0;
}

static void refuse_one_way(struct rig *rig, bool blocked)
{
	enum { MOVED = 1000, MORE = 2 << 20 };
	uint64_t taken = rig->stats.bytes_in;
	struct relay r, back;

	relay_open(rig, blocked ? &move_narrow : NULL, &r);
	back = (struct relay){.a = r.b, .b = r.a, .pa = r.pb, .pb = r.pa};
	end_move_start(r.a, r.b);
	r.pa->write_to = MOVED;
	if (blocked) {
		relay_block(&back);
	} else {
		end_move_start(r.b, r.a);
		r.pb->write_to = MOVED;
		until(r.pa->read == MOVED);
	}
	until(r.b->moved == MOVED);
	taken = rig->stats.bytes_in - taken;
	check(!blocked || taken > MOVED + r.a->moved, "nothing is in between");
	refuse_move(&r);
	check(!r.a->n_refused, "both ways were refused");
	r.pa->read_to = UINT64_MAX;
	r.pa->write_to += MORE;
	r.pb->write_to += MORE;
	r.pa->shut_after = r.pb->shut_after = true;
	until(r.pa->eof && r.pb->eof);
	check(r.pa->read == r.pb->write_to && r.pb->read == r.pa->write_to);
	until(r.a->moved == r.pb->write_to);
	until(r.b->sent == r.pa->write_to - MOVED);
	check(!r.a->sent && !r.b->received, "the other way was copied");
	check(r.b->moved == MOVED && r.b->n_refused == 1, "the refused way was moved again");
}

/* What is refused is one way: the other one is moved on, with what was in between or without. */
CONTRACT(refused_move_leaves_the_other_way)
{
	refuse_one_way(rig, false);
	refuse_one_way(rig, true);
}

/* ---- much, and then little ---- */

enum { FAST_BYTES = 1 << 20, FAST_ROUNDS = 400, TURNS_MAX = 16 };

struct fast {
	struct relay r;
	int fd; /* of a */
	uint64_t wrote, read;
};

static void fast_read(struct fast *fast, int fd)
{
	static uint8_t bytes[1 << 16];
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		fast->read += (uint64_t)n;
}

static void fast_write(struct fast *fast, size_t max)
{
	static const uint8_t bytes[FAST_BYTES];
	ssize_t n = send(fast->r.pa->fd, bytes, max, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n > 0)
		fast->wrote += (uint64_t)n;
}

/* Waits for events only: nothing but what the backend itself waits for may end a turn. */
static void fast_wait(struct fast *fast, int fd, uint64_t bytes)
{
	struct rig *rig = fast->r.a->rig;

	for (int turns = 0; fast->read < bytes; turns++) {
		check(turns < TURNS_MAX, "%llu of %llu bytes came", (unsigned long long)fast->read,
		      (unsigned long long)bytes);
		rig_turn(rig, NS_PER_S);
		fast_read(fast, fd);
	}
}

static int lowat(const struct fast *fast)
{
	socklen_t len = sizeof(int);
	int bytes = 0;

	return getsockopt(fast->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, &len) ? -errno : bytes;
}

/* The descriptor of an end is the backend's: the one whose peer is at pa's. */
static int fd_of_source(const struct relay *r)
{
	struct sockaddr_storage want, have;

	for (int fd = 0; fd < 256; fd++) {
		socklen_t want_len = sizeof(want), have_len = sizeof(have);

		memset(&want, 0, sizeof(want));
		memset(&have, 0, sizeof(have));
		if (!getsockname(r->pa->fd, (struct sockaddr *)&want, &want_len) &&
		    !getpeername(fd, (struct sockaddr *)&have, &have_len) && want_len == have_len &&
		    !memcmp(&want, &have, want_len))
			return fd;
	}
	return -1;
}

/* As fast as this machine can, until the backend waits for more than has come; a machine that is
 * too slow for that still has to deliver everything. */
static void go_fast(struct rig *rig, struct fast *fast)
{
	memset(fast, 0, sizeof(*fast));
	relay_open(rig, NULL, &fast->r);
	fast->fd = fd_of_source(&fast->r);
	check(fast->fd >= 0);
	fast->r.pa->unread = fast->r.pb->unread = true;
	end_move_start(fast->r.a, fast->r.b);
	end_move_start(fast->r.b, fast->r.a);
	for (int i = 0; i < FAST_ROUNDS && lowat(fast) == 1; i++) {
		fast_write(fast, FAST_BYTES);
		rig_turn(rig, 0);
		fast_read(fast, fast->r.pb->fd);
	}
	while (fast->read + (64 << 10) < fast->wrote) {
		check(!rig_is_late(rig));
		rig_turn(rig, 0);
		fast_read(fast, fast->r.pb->fd);
	}
}

CONTRACT(little_comes_after_much)
{
	struct fast fast;

	if (rig_is_fake(rig))
		return;
	go_fast(rig, &fast);
	fast_wait(&fast, fast.r.pb->fd, fast.wrote);
	for (int i = 0; i < 20; i++) {
		fast_write(&fast, 10);
		fast_wait(&fast, fast.r.pb->fd, fast.wrote);
	}
	check(lowat(&fast) == 1, "SO_RCVLOWAT is still %d", lowat(&fast));
	rig_check_quiet(rig);
}

CONTRACT(end_comes_after_much)
{
	struct fast fast;

	if (rig_is_fake(rig))
		return;
	go_fast(rig, &fast);
	fast_write(&fast, 10);
	peer_shutdown(fast.r.pa);
	fast_wait(&fast, fast.r.pb->fd, fast.wrote);
	for (int turns = 0; !fast.r.a->eof; turns++) {
		check(turns < TURNS_MAX, "the end does not come");
		rig_turn(rig, NS_PER_S);
	}
}

CONTRACT(answer_comes_after_much)
{
	struct fast fast;

	if (rig_is_fake(rig))
		return;
	go_fast(rig, &fast);
	fast_write(&fast, 10);
	check(send(fast.r.pb->fd, "hello", 5, MSG_NOSIGNAL) == 5);
	fast_wait(&fast, fast.r.pb->fd, fast.wrote);
	fast.read = 0;
	fast_wait(&fast, fast.r.pa->fd, 5);
	check(lowat(&fast) == 1, "SO_RCVLOWAT is still %d", lowat(&fast));
}

CONTRACT(stop_and_receive_after_much)
{
	struct fast fast;

	if (rig_is_fake(rig))
		return;
	go_fast(rig, &fast);
	fast_wait(&fast, fast.r.pb->fd, fast.wrote);
	end_move_stop(fast.r.a);
	check(lowat(&fast) == 1, "SO_RCVLOWAT is still %d", lowat(&fast));
	fast.r.a->mode = END_DISCARD;
	fast.r.a->on_event = NULL;
	end_recv_start(fast.r.a);
	fast_write(&fast, 10);
	until(fast.r.a->received == 10);
}
