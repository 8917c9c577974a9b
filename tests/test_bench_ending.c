/* SPDX-License-Identifier: MIT */
/* What a window leaves unfinished: which of it counts, and as what. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdlib.h>

#include "bench/client/gen.h"

#define MS BENCH_NS_PER_MS

enum { CONNS = 2, WINDOW_MS = 1000, START_MS = 5000 };

struct fixture {
	struct bench_opts opts;
	struct bench_run run;
	struct bench_worker w;
	struct bench_conn conns[CONNS];
	int64_t stamps[CONNS][4];
};

static struct fixture *new_fixture(enum bench_transport transport, enum bench_pattern pattern)
{
	struct fixture *f = calloc(1, sizeof(*f));

	cr_assert_not_null(f);
	f->opts = (struct bench_opts){
		.transport = transport, .pattern = pattern, .conns = CONNS, .address = "here"};
	f->run.opts = &f->opts;
	f->run.start_ns = f->run.from_ns = START_MS * MS;
	f->run.to_ns = (START_MS + WINDOW_MS) * MS;
	f->w = (struct bench_worker){
		.run = &f->run,
		.opts = &f->opts,
		.conns = f->conns,
		.n_conns = CONNS,
		.stamp_mask = 3,
		.phase = BENCH_DRAIN,
		.next_due_ns = BENCH_NEVER,
		.slow_ns = BENCH_NEVER,
	};
	bench_hist_init(&f->w.latency);
	for (int i = 0; i < CONNS; i++)
		f->conns[i] = (struct bench_conn){
			.state = BENCH_CONN_OPEN,
			.stamp_ns = f->stamps[i],
			.active_ns = (START_MS + WINDOW_MS - 1) * MS,
		};
	return f;
}

static void answers(struct fixture *f, unsigned n, int64_t ns)
{
	while (n--)
		bench_hist_add(&f->w.latency, ns);
}

/* Message `number` of c is under way since so long before the end. */
static void waits(struct fixture *f, struct bench_conn *c, uint64_t number, int64_t ns)
{
	c->stamp_ns[number & 3] = f->run.to_ns - ns;
	c->tx_msgs = number + 1;
}

Test(bench_ending, what_waited_longer_than_answers_took_counts)
{
	struct fixture *f = new_fixture(BENCH_TCP, BENCH_RR);

	answers(f, 100, MS);
	f->conns[0].rx_msgs = 7;
	waits(f, &f->conns[0], 7, 650 * MS);
	waits(f, &f->conns[0], 8, 650 * MS);
	f->conns[1].rx_msgs = 3;
	waits(f, &f->conns[1], 3, MS / 2);
	bench_worker_window_ended(&f->w);
	cr_expect_eq(f->w.unanswered_msgs, 2);
	cr_expect_eq(f->w.latency.n, 102);
	cr_expect_eq(f->w.latency.max, 650 * MS);
	cr_expect_eq(f->w.latency.min, MS);
	cr_expect_eq(f->w.counts.errors[BENCH_ERR_TIMEOUT], 0);
	free(f);
}

/* Nor does an earlier stall that was longer. */
Test(bench_ending, one_slow_answer_hides_nothing)
{
	struct fixture *f = new_fixture(BENCH_TCP, BENCH_RR);

	answers(f, 10000, MS);
	answers(f, 1, 300 * MS);
	waits(f, &f->conns[0], 0, 200 * MS);
	bench_worker_window_ended(&f->w);
	cr_expect_eq(f->w.unanswered_msgs, 1);
	free(f);
}

Test(bench_ending, a_slot_that_waits_and_one_that_does_not)
{
	struct fixture *f = new_fixture(BENCH_TCP, BENCH_CHURN);

	answers(f, 10, MS);
	f->conns[0].rx_msgs = 5;
	f->stamps[0][0] = f->run.to_ns - 400 * MS;
	f->conns[0].state = BENCH_CONN_RETRY;
	f->conns[1].rx_msgs = 5; /* between two messages */
	bench_worker_window_ended(&f->w);
	cr_expect_eq(f->w.unanswered_msgs, 1);
	cr_expect_eq(f->w.latency.max, 400 * MS);
	free(f);
}

Test(bench_ending, a_connection_that_failed_waits_for_nothing)
{
	struct fixture *f = new_fixture(BENCH_TCP, BENCH_RR);

	waits(f, &f->conns[0], 0, 400 * MS);
	f->conns[0].state = BENCH_CONN_CLOSED;
	bench_worker_window_ended(&f->w);
	cr_expect_eq(f->w.unanswered_msgs, 0);
	free(f);
}

Test(bench_ending, a_window_that_never_began)
{
	struct fixture *f = new_fixture(BENCH_TCP, BENCH_RR);

	waits(f, &f->conns[0], 0, 400 * MS);
	f->run.from_ns = f->run.to_ns = BENCH_NEVER;
	bench_worker_window_ended(&f->w);
	bench_worker_ended(&f->w);
	cr_expect_eq(f->w.unanswered_msgs, 0);
	cr_expect_eq(f->w.counts.errors[BENCH_ERR_TIMEOUT], 0);
	free(f);
}

Test(bench_ending, datagrams_count_when_they_come)
{
	struct fixture *f = new_fixture(BENCH_UDP, BENCH_RR);
	struct bench_seq *none = calloc(1, 64);
	int64_t to_ns = f->run.to_ns;

	cr_assert_not_null(none);
	f->conns[0].seq = f->conns[1].seq = none;
	answers(f, 10, MS);
	waits(f, &f->conns[0], 0, 500 * MS);
	bench_worker_window_ended(&f->w);
	cr_expect_eq(f->w.unanswered_msgs, 0);
	bench_worker_answered_late(&f->w, to_ns - MS / 4, to_ns + MS / 4);
	bench_worker_answered_late(&f->w, to_ns + 1, to_ns + 500 * MS);
	cr_expect_eq(f->w.unanswered_msgs, 0);
	bench_worker_answered_late(&f->w, to_ns - 500 * MS, to_ns + 100 * MS);
	cr_expect_eq(f->w.unanswered_msgs, 1);
	cr_expect_eq(f->w.latency.max, 600 * MS);
	free(none);
	free(f);
}

Test(bench_ending, streams_that_moved_nothing)
{
	struct fixture *f = new_fixture(BENCH_TCP, BENCH_DUPLEX);

	for (int i = 0; i < CONNS; i++)
		f->conns[i].tx_goal_bytes = UINT64_MAX;
	f->conns[0].active_ns = f->run.to_ns - 500 * MS;
	f->conns[1].active_ns = f->run.to_ns - 499 * MS;
	bench_worker_window_ended(&f->w);
	cr_expect_eq(f->w.stalled_conns, 1);
	cr_expect_eq(f->w.latency.n, 0);
	free(f);
}

/* With a schedule there may be nothing to send for long. */
Test(bench_ending, streams_with_nothing_to_move)
{
	struct fixture *f = new_fixture(BENCH_TCP, BENCH_STREAM);

	f->opts.rate_per_s = 1;
	f->conns[0].active_ns = f->conns[1].active_ns = f->run.from_ns;
	bench_worker_window_ended(&f->w);
	cr_expect_eq(f->w.stalled_conns, 0);
	f->conns[1].tx_goal_bytes = 1;
	bench_worker_window_ended(&f->w);
	cr_expect_eq(f->w.stalled_conns, 1);
	free(f);
}

/* Half of the window, or all of it, that the schedule never got to. */
Test(bench_ending, what_was_never_sent, .init = cr_redirect_stderr)
{
	static const struct {
		int64_t next_ms;
		uint64_t unsent;
	} cases[] = {
		{START_MS + WINDOW_MS / 2, 50000000},
		{START_MS - 100, 100000000},
		{START_MS + WINDOW_MS, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture *f = new_fixture(BENCH_TCP, BENCH_RR);

		f->opts.rate_per_s = 100e6;
		f->w.next_due_ns = cases[i].next_ms * MS;
		bench_worker_ended(&f->w);
		cr_expect_eq(f->w.unsent_msgs, cases[i].unsent, "%zu", i);
		cr_expect_eq(f->w.counts.errors[BENCH_ERR_TIMEOUT], cases[i].unsent);
		cr_expect_eq(f->w.unanswered_msgs, 0);
		free(f);
	}
}

/* Due every 100 ms, in turn: each that has no answer counts from its time. */
Test(bench_ending, what_was_due_waits_from_its_time, .init = cr_redirect_stderr)
{
	struct fixture *f = new_fixture(BENCH_TCP, BENCH_RR);
	int64_t before_ns = bench_now_ns();

	f->opts.rate_per_s = 10;
	for (int i = 0; i < CONNS; i++) {
		f->conns[i].index = (uint32_t)i;
		f->conns[i].due_msgs = 5;
		f->conns[i].rx_msgs = 3;
	}
	f->run.start_ns = f->run.from_ns = before_ns - 2000 * MS;
	f->run.to_ns = before_ns - 1000 * MS;
	bench_worker_ended(&f->w);
	cr_expect_eq(f->w.unanswered_msgs, 4);
	cr_expect_geq(f->w.latency.max, 1400 * (uint64_t)MS);
	cr_expect_geq(f->w.latency.min, 1100 * (uint64_t)MS);
	cr_expect_eq(f->w.counts.errors[BENCH_ERR_TIMEOUT], 4);
	free(f);
}
