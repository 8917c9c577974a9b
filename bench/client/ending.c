/* SPDX-License-Identifier: MIT */
/*
 * What the end of the window finds unfinished. To leave it out would be to omit just what is
 * slowest: a service that stops for good would look like one that was fast until then.
 */
#include "bench/client/gen.h"

#include <math.h>
#include <stdio.h>

#include "bench/client/seq.h"

static int64_t from_ns(const struct bench_worker *w)
{
	return atomic_load_explicit(&w->run->from_ns, memory_order_relaxed);
}

static int64_t to_ns(const struct bench_worker *w)
{
	return atomic_load_explicit(&w->run->to_ns, memory_order_relaxed);
}

static bool has_latency(const struct bench_worker *w)
{
	return w->opts->pattern == BENCH_RR || w->opts->pattern == BENCH_CHURN;
}

static void count_waited(struct bench_worker *w, int64_t ns)
{
	bench_hist_add(&w->latency, ns);
	bench_count_add(&w->unanswered_msgs, 1);
}

/* ---- closed loop, and patterns without messages: when the window ends ---- */

/* Connections that have waited all the time have failed, though nothing says why. */
static void count_silent(struct bench_worker *w)
{
	if (w->opts->pattern != BENCH_RR || w->conns[0].seq)
		return;
	for (uint32_t i = 0; i < w->n_conns; i++) {
		const struct bench_conn *c = &w->conns[i];

		if (c->state == BENCH_CONN_OPEN && c->active_ns < from_ns(w))
			bench_worker_error(w, c, BENCH_ERR_TIMEOUT,
					   "not a byte moved while measuring", 0);
	}
}

/*
 * There is always something under way, and most of it has just been sent: its time so far says
 * nothing. What has waited longer than nearly all answers took does. Datagrams may be lost, which
 * is not known yet: they count when they are answered after all.
 */
static void count_waiting(struct bench_worker *w)
{
	int64_t slow_ns = (int64_t)bench_hist_percentile(&w->latency, 99.9), waited_ns;

	w->slow_ns = slow_ns;
	for (uint32_t i = 0; i < w->n_conns && w->opts->transport != BENCH_UDP; i++) {
		const struct bench_conn *c = &w->conns[i];
		bool churns = w->opts->pattern == BENCH_CHURN;
		uint64_t end = churns ? c->rx_msgs + !!c->stamp_ns[0] : c->tx_msgs;

		if (c->state == BENCH_CONN_CLOSED)
			continue;
		for (uint64_t number = c->rx_msgs; number < end; number++) {
			waited_ns = to_ns(w) - c->stamp_ns[churns ? 0 : number & w->stamp_mask];
			if (waited_ns > slow_ns)
				count_waited(w, waited_ns);
		}
	}
}

/* Whether c wants to send or to receive: with a schedule it may have nothing to do. */
static bool is_under_way(const struct bench_worker *w, const struct bench_conn *c)
{
	if (c->seq)
		return w->opts->pattern == BENCH_DUPLEX && c->seq->awaited;
	return c->tx_bytes < c->tx_goal_bytes ||
	       (w->opts->pattern == BENCH_DUPLEX && c->rx_bytes < c->tx_bytes);
}

static void count_stalled(struct bench_worker *w)
{
	int64_t half_ns = (to_ns(w) - from_ns(w)) / 2;

	for (uint32_t i = 0; i < w->n_conns; i++) {
		const struct bench_conn *c = &w->conns[i];

		if (c->state == BENCH_CONN_OPEN && is_under_way(w, c) &&
		    to_ns(w) - c->active_ns >= half_ns)
			w->stalled_conns++;
	}
}

void bench_worker_window_ended(struct bench_worker *w)
{
	if (from_ns(w) == BENCH_NEVER) /* interrupted before it began */
		return;
	if (!has_latency(w)) {
		count_stalled(w);
	} else if (!(w->opts->rate_per_s > 0)) {
		count_silent(w);
		count_waiting(w);
	}
}

void bench_worker_answered_late(struct bench_worker *w, int64_t stamp_ns, int64_t now_ns)
{
	if (w->opts->transport == BENCH_UDP && w->phase >= BENCH_DRAIN && stamp_ns < to_ns(w) &&
	    now_ns - stamp_ns > w->slow_ns)
		count_waited(w, now_ns - stamp_ns);
}

/* ---- open loop: when the time to drain is over ---- */

/* What was due in the window has waited since; datagrams that were sent count as lost. */
static void count_unanswered(struct bench_worker *w)
{
	int64_t now_ns = bench_now_ns(), due_ns;

	for (uint32_t i = 0; i < w->n_conns; i++) {
		struct bench_conn *c = &w->conns[i];
		uint64_t number = c->seq ? c->tx_msgs : c->rx_msgs;

		for (; c->state != BENCH_CONN_CLOSED && number < c->due_msgs; number++) {
			due_ns = bench_worker_due_ns(w, c, number);
			if (!bench_in_window(w->run, due_ns))
				continue;
			count_waited(w, now_ns - due_ns);
			bench_worker_error(w, c, BENCH_ERR_TIMEOUT, "unanswered in the end", 0);
		}
	}
}

/* What the schedule has not reached: there may be more of that than anybody could go through. */
static void count_unsent(struct bench_worker *w)
{
	int64_t begin_ns = w->next_due_ns > from_ns(w) ? w->next_due_ns : from_ns(w);
	double share = (double)w->n_conns / w->opts->conns;
	uint64_t unsent;

	if (begin_ns >= to_ns(w))
		return;
	unsent = (uint64_t)ceil((double)(to_ns(w) - begin_ns) / 1e9 * w->opts->rate_per_s * share);
	w->unsent_msgs = unsent;
	bench_count_add(&w->counts.errors[BENCH_ERR_TIMEOUT], unsent);
	if (!atomic_flag_test_and_set(&w->run->told))
		fprintf(stderr,
			"sluice-bench: the rate could not be met: messages that were due were "
			"never sent (a lower --rate, more --threads)\n");
}

void bench_worker_ended(struct bench_worker *w)
{
	if (!(w->opts->rate_per_s > 0) || w->phase < BENCH_DRAIN || from_ns(w) == BENCH_NEVER)
		return;
	count_unsent(w);
	if (has_latency(w))
		count_unanswered(w);
}
