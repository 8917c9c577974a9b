/* SPDX-License-Identifier: MIT */
/* Turns, wake-ups, slots used again, and the end of a backend (lines 1, 4 and 7). */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/time.h>

#include "contract.h"

/* ---- turns ---- */

CONTRACT(turn_waits_no_longer_than_told)
{
	static const int64_t timeouts_ms[] = {0, 1, 20, 100};

	for (size_t i = 0; i < ARRAY_SIZE(timeouts_ms); i++) {
		int64_t since_ns = rig->io->now_ns, took_ns;

		rig_turn(rig, timeouts_ms[i] * NS_PER_MS);
		took_ns = rig->io->now_ns - since_ns;
		check(took_ns >= 0 && took_ns <= timeouts_ms[i] * NS_PER_MS + NS_PER_S,
		      "took %lld ms", (long long)(took_ns / NS_PER_MS));
	}
	rig_check_quiet(rig);
}

CONTRACT(turn_tells_the_time)
{
	int64_t before_ns = util_now_ns();

	rig_turn(rig, 0);
	if (!rig_is_fake(rig))
		check(rig->io->now_ns >= before_ns && rig->io->now_ns <= util_now_ns());
	check(rig->stats.turns > 0);
}

CONTRACT(turn_is_quiet_with_everything_idle)
{
	struct addr addr;
	struct end *end = end_new(rig);
	struct peer *peer;
	union addr_inet any = addr_v4(INADDR_LOOPBACK, 0);

	check(end_attach(end, rig->world->listen(rig, NET_TCP4, 16, &addr), IO_LISTENER));
	end_accept_start(end, true);
	end = end_new(rig);
	check(end_attach(end, rig->world->dgram(rig, &any), IO_DGRAM));
	end_recv_start(end);
	for (int i = 0; i < 100; i++) {
		end = end_pair(rig, NULL, &peer);
		if (i % 10)
			end_recv_start(end);
		if (i % 10 == 1)
			end_recv_stop(end);
		if (i % 10 == 2)
			end_shutdown(end);
	}
	rig_check_quiet(rig);
}

CONTRACT(turn_is_quiet_while_a_send_is_blocked)
{
	struct peer *peer;
	struct end *end =
		end_pair(rig, &(struct link_conf){.end_send = 16384, .peer_recv = 16384}, &peer);

	peer->read_to = 0;
	end_recv_start(end);
	end_send_bytes(end, 4 << 20, BUF_LARGE_BYTES);
	rig_check_quiet(rig);
	end_close(end, IO_CLOSE_FLUSH);
	rig_check_quiet(rig);
	check(!end->closed);
}

/* ---- wake ---- */

struct waker {
	struct rig *rig;
	sem_t go;
	int n;
};

static void *wake_often(void *arg)
{
	struct waker *waker = arg;

	for (int i = 0; i < waker->n; i++) {
		sem_wait(&waker->go);
		waker->rig->ops->wake(waker->rig->io);
	}
	return NULL;
}

CONTRACT(wake_from_another_thread)
{
	struct waker waker = {.rig = rig, .n = 500};
	pthread_t thread;
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end_recv_start(end);
	rig_settle(rig);
	sem_init(&waker.go, 0, 0);
	cr_assert_eq(pthread_create(&thread, NULL, wake_often, &waker), 0);
	for (int i = 0; i < waker.n; i++) {
		sem_post(&waker.go);
		/* The limit of the test ends this when a wake-up is lost. */
		rig_turn(rig, -1);
	}
	pthread_join(thread, NULL);
	sem_destroy(&waker.go);
	rig_check_quiet(rig);
}

CONTRACT(wake_before_the_turn)
{
	for (int i = 0; i < 100; i++) {
		rig->ops->wake(rig->io);
		rig_turn(rig, -1);
	}
}

CONTRACT(wake_many_times_is_one)
{
	for (int i = 0; i < 10000; i++)
		rig->ops->wake(rig->io);
	rig_turn(rig, -1);
	rig_check_quiet(rig);
}

static void on_signal(int signal)
{
	(void)signal;
}

CONTRACT(turn_is_interrupted_by_signals)
{
	struct itimerval every_ms = {.it_value = {.tv_usec = 1000},
				     .it_interval = {.tv_usec = 1000}};
	struct itimerval never = {.it_value = {.tv_usec = 0}};
	struct sigaction action = {.sa_handler = on_signal};
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every_ms, NULL);
	for (int i = 0; i < 20; i++)
		rig_turn(rig, 5 * NS_PER_MS);
	end->mode = END_ECHO;
	peer->write_to = 4 << 20;
	end_recv_start(end);
	until(peer->read == 4 << 20);
	setitimer(ITIMER_REAL, &never, NULL);
}

/* ---- starters ---- */

static void use_every_starter(struct end *end)
{
	struct rig *rig = end->rig;
	struct peer *peer;
	struct end *more = end_pair(rig, NULL, &peer), *dialled = end_new(rig);
	struct addr addr;

	rig->world->remote(rig, NET_TCP4, &addr);
	check(end_dial(dialled, &addr));
	end_recv_start(more);
	end_send_bytes(more, 100, 10);
	end_recv_stop(more);
	end_recv_start(more);
	end_shutdown(more);
	end_close(more, IO_CLOSE_FLUSH);
	more = end_pair(rig, NULL, &peer);
	end_recv_start(more);
	end_close(more, IO_CLOSE_RESET);
}

CONTRACT(starters_tell_nothing_before_the_turn)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	use_every_starter(end);
	check(rig->events == 0);
	end_close(end, IO_CLOSE_NOW);
	check(rig->events == 0);
	until(end->closed);
}

static void on_any(struct end *end, const struct io_event *event)
{
	int *n = end->ctx;

	if (event->op != IO_RECV || event->res <= 0 || !*n)
		return;
	(*n)--;
	use_every_starter(end);
}

CONTRACT(starters_inside_handlers)
{
	int n = 20;
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end->on_event = on_any;
	end->ctx = &n;
	end->mode = END_ECHO;
	end_recv_start(end);
	for (uint64_t i = 1; i <= 20; i++) {
		peer->write_to = i * 100;
		until(peer->read == i * 100);
	}
	check(n == 0);
}

/* Buffers may be kept across turns, recycled as chains, and sent to another socket than the one
 * they came from. */
static void on_recv_pass_on(struct end *end, const struct io_event *event)
{
	struct end *to = end->ctx;

	if (event->op == IO_RECV && event->res > 0)
		end_send(to, event->buf);
	if (event->op == IO_RECV && event->res == 0)
		end_shutdown(to);
}

CONTRACT(buffers_pass_from_one_socket_to_another)
{
	struct peer *peers[2];
	struct end *from = end_pair(rig, NULL, &peers[0]), *to = end_pair(rig, NULL, &peers[1]);

	from->mode = END_MANUAL;
	from->on_event = on_recv_pass_on;
	from->ctx = to;
	peers[1]->seed = from->seed;
	peers[0]->write_to = 4 << 20;
	peers[0]->shut_after = true;
	end_recv_start(from);
	until(peers[1]->eof);
	check(peers[1]->read == 4 << 20);
}

CONTRACT(buffers_held_and_sent_as_a_chain)
{
	struct peer *peer;
	struct end *end = end_pair(rig, NULL, &peer);

	end->mode = END_HOLD;
	end_recv_start(end);
	for (uint64_t i = 1; i <= 50; i++) {
		struct buf *chain;

		peer->write_max = 2000;
		peer->write_to = i * 20000;
		until(end->received == i * 20000);
		chain = end->held;
		end->held = NULL;
		end->held_tail = &end->held;
		if (chain)
			end_send(end, chain);
		until(peer->read == i * 20000);
	}
}

/* ---- slots ---- */

enum { SLOTS = 16, REUSES = 10000 / RIG_SLOWER };

struct slot {
	struct end *end;
	struct peer *peer;
};

static void slot_open(struct rig *rig, struct slot *slot, int i)
{
	/* TCP for every eighth: ports are few. */
	slot->end =
		end_pair(rig, &(struct link_conf){.net = i % 8 ? NET_UNIX : NET_TCP4}, &slot->peer);
	slot->peer->unread = true;
	slot->peer->write_to = 1 + rig_random(rig, 20000);
	if (rig_random(rig, 2))
		slot->end->mode = END_ECHO;
	peer_pump(slot->peer);
	end_recv_start(slot->end);
}

static void slot_use(struct rig *rig, struct slot *slot)
{
	struct end *end = slot->end;

	if (!end->sock || end->closing)
		return;
	switch (rig_random(rig, 4)) {
	case 0:
		if (end->receiving && end->mode == END_DISCARD)
			end_recv_stop(end);
		break;
	case 1:
		if (end->mode == END_DISCARD)
			end_send_bytes(end, 1 + rig_random(rig, 5000), 3000);
		break;
	default:
		break;
	}
	peer_pump(slot->peer);
}

static void slot_close(struct rig *rig, struct slot *slot)
{
	if (slot->end->sock && !slot->end->closing)
		end_close(slot->end, rig_random(rig, 2) ? IO_CLOSE_NOW : IO_CLOSE_RESET);
	if (rig_random(rig, 2))
		peer_pump(slot->peer);
	while (!slot->end->closed) {
		check(!rig_is_late(rig), "a slot never came back");
		rig_turn(rig, RIG_WAIT_NS);
	}
	if (!slot->peer->gone)
		peer_reset(slot->peer);
}

CONTRACT(slots_are_used_again, .socks_max = SLOTS)
{
	struct slot slots[SLOTS] = {{NULL, NULL}};

	for (int i = 0; i < REUSES; i++) {
		struct slot *slot = &slots[rig_random(rig, SLOTS)];

		if (slot->end)
			slot_close(rig, slot);
		slot_open(rig, slot, i);
		for (int k = 0; k < 2; k++) {
			slot = &slots[rig_random(rig, SLOTS)];
			if (slot->end)
				slot_use(rig, slot);
		}
		if (rig_random(rig, 3) == 0)
			rig_turn(rig, 0);
	}
}

/* ---- the end ---- */

CONTRACT(free_closes_what_is_open)
{
	struct addr addr, remote, silent;
	struct end *end = end_new(rig);
	struct peer *peer;
	union addr_inet any = addr_v4(INADDR_LOOPBACK, 0);

	rig->leave_open = true;
	rig->world->remote(rig, NET_TCP4, &remote);
	rig->world->silent(rig, &silent);
	check(end_attach(end, rig->world->listen(rig, NET_TCP4, 16, &addr), IO_LISTENER));
	end_accept_start(end, true);
	end = end_new(rig);
	check(end_attach(end, rig->world->dgram(rig, &any), IO_DGRAM));
	end_recv_start(end);
	check(end_dial(end_new(rig), &remote));
	check(end_dial(end_new(rig), &silent));
	for (int i = 0; i < 30; i++) {
		end = end_pair(rig, &(struct link_conf){.end_send = 16384, .peer_recv = 16384},
			       &peer);
		end->mode = END_HOLD;
		peer->write_to = 10000;
		peer->read_to = 0;
		end_recv_start(end);
		if (i % 3 == 0)
			end_send_bytes(end, 200000, BUF_LARGE_BYTES);
		if (i % 5 == 0)
			end_recv_stop(end);
		if (i == 7)
			rig_steps(rig, 5);
	}
	rig_steps(rig, 3);
	end_close(end, IO_CLOSE_FLUSH);
	check(end_dial(end_new(rig), &remote));
}

CONTRACT(free_just_after_open)
{
	for (int i = 0; i < 20; i++) {
		const struct io_conf conf = {
			.stats = &rig->stats,
			.socks_max = 1 + (uint32_t)i * 100,
			.buffer_bytes = 1 << 20,
			.features_off = rig->features_off,
		};
		struct io *io = NULL;

		check(!rig->ops->open(&io, &conf));
		check(io && io != rig->io);
		rig->ops->free(io);
	}
	rig->ops->free(NULL);
}
