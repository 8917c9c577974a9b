/* SPDX-License-Identifier: MIT */
/*
 * A worker: the thread's loop, its schedule, and the state of connections as the main thread sees
 * it. The loop never sleeps past what is due and, spinning, never sleeps at all.
 */
#include "bench/client/gen.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
	EVENTS_MAX = 256,
	DUE_MAX = 1024, /* messages that become due in one turn; the rest in the next */
};

#define CHECK_MAX_NS (250 * BENCH_NS_PER_MS)
#define RETRY_NS BENCH_NS_PER_MS
#define DRAIN_CHECK_NS BENCH_NS_PER_MS

int64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * BENCH_NS_PER_S + ts.tv_nsec;
}

static int64_t thread_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * BENCH_NS_PER_S + ts.tv_nsec;
}

/* ---- schedule ---- */

int64_t bench_worker_due_ns(const struct bench_worker *w, const struct bench_conn *c,
			    uint64_t number)
{
	uint64_t round = number - c->base_msgs;

	return atomic_load_explicit(&w->run->start_ns, memory_order_relaxed) +
	       bench_due_ns(w->opts->rate_per_s, round * w->opts->conns + c->index);
}

static void schedule_next(struct bench_worker *w)
{
	uint64_t round = w->next_due / w->n_conns;
	struct bench_conn *c = &w->conns[w->next_due % w->n_conns];

	w->next_due_ns = atomic_load_explicit(&w->run->start_ns, memory_order_relaxed) +
			 bench_due_ns(w->opts->rate_per_s, round * w->opts->conns + c->index);
}

/* The schedule ends with the window: what was due in it is still sent while draining. */
static void schedule_run(struct bench_worker *w, int64_t now_ns)
{
	int64_t end_ns = atomic_load_explicit(&w->run->to_ns, memory_order_relaxed);

	for (int i = 0; i < DUE_MAX && w->next_due_ns <= now_ns; i++) {
		struct bench_conn *c = &w->conns[w->next_due % w->n_conns];

		if (w->next_due_ns >= end_ns) {
			w->next_due_ns = BENCH_NEVER;
			return;
		}
		if (bench_in_window(w->run, w->next_due_ns))
			bench_hist_add(&w->lag, now_ns - w->next_due_ns);
		c->due_msgs++;
		if (c->state != BENCH_CONN_CLOSED)
			w->proto->due(w, c);
		w->next_due++;
		schedule_next(w);
		now_ns = bench_now_ns();
	}
}

/* ---- phases ---- */

static int64_t acked_bytes(const struct bench_worker *w)
{
	int64_t bytes = w->acked_gone;

	for (uint32_t i = 0; i < w->n_conns; i++) {
		const struct bench_conn *c = &w->conns[i];

		if (c->fd >= 0)
			bytes += (int64_t)c->tx_bytes - bench_socket_unacked(c->fd);
	}
	return bytes;
}

static void start_load(struct bench_worker *w)
{
	for (uint32_t i = 0; i < w->n_conns; i++) {
		struct bench_conn *c = &w->conns[i];

		c->base_msgs = c->due_msgs = c->goal_msgs;
		if (c->state == BENCH_CONN_OPEN && !(w->opts->rate_per_s > 0))
			w->proto->start(w, c);
	}
	if (w->opts->rate_per_s > 0)
		schedule_next(w);
}

/* Datagrams that came, but found the queue of their socket full. */
static uint64_t dropped(const struct bench_worker *w)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	uint64_t sum = 0;

	for (uint32_t i = 0; w->opts->transport == BENCH_UDP && i < w->n_conns; i++) {
		socklen_t len = sizeof(info);

		if (w->conns[i].fd >= 0 &&
		    !getsockopt(w->conns[i].fd, SOL_SOCKET, SO_MEMINFO, info, &len))
			sum += info[SK_MEMINFO_DROPS];
	}
	return sum;
}

static void begin_window(struct bench_worker *w)
{
	w->idle_ns = 0;
	w->rx_drops = dropped(w);
	if (w->opts->pattern == BENCH_STREAM)
		w->acked_from = acked_bytes(w);
	w->cpu_from_ns = thread_cpu_ns();
}

static void end_window(struct bench_worker *w)
{
	w->cpu_ns = thread_cpu_ns() - w->cpu_from_ns;
	w->idle_window_ns = w->idle_ns;
	w->rx_drops = dropped(w) - w->rx_drops;
	if (w->opts->pattern == BENCH_STREAM)
		w->acked_bytes = acked_bytes(w) - w->acked_from;
}

/* Follows the run into its phase. The main thread may be faster than this one and skip some. */
static void follow(struct bench_worker *w)
{
	enum bench_phase from = w->phase, to = bench_run_phase(w->run);

	if (from == to)
		return;
	atomic_thread_fence(memory_order_acquire);
	w->phase = to;
	if (from < BENCH_WARMUP && (to == BENCH_WARMUP || to == BENCH_MEASURE))
		start_load(w);
	if (from < BENCH_MEASURE && to >= BENCH_MEASURE)
		begin_window(w);
	if (from >= BENCH_WARMUP && from < BENCH_DRAIN && to >= BENCH_DRAIN) {
		end_window(w);
		bench_worker_window_ended(w);
	}
}

static bool awaits_any(struct bench_worker *w)
{
	for (uint32_t i = 0; i < w->n_conns; i++) {
		struct bench_conn *c = &w->conns[i];

		if (c->state != BENCH_CONN_CLOSED && w->proto->awaits(w, c))
			return true;
	}
	return false;
}

/* ---- the loop ---- */

static void open_some(struct bench_worker *w)
{
	uint32_t most = BENCH_OPENING_MAX / w->opts->threads;

	/* one refusal is enough: the others would be refused as well */
	while (w->next < w->n_conns && w->opening < (most ? most : 1) &&
	       !bench_count_get(&w->gone)) {
		w->opening++;
		w->proto->open(w, &w->conns[w->next++]);
	}
}

static void retry_some(struct bench_worker *w, int64_t now_ns)
{
	for (uint32_t i = 0; i < w->n_conns && w->retrying; i++) {
		struct bench_conn *c = &w->conns[i];

		if (c->state != BENCH_CONN_RETRY || now_ns < c->retry_ns)
			continue;
		bench_conn_set_state(w, c, BENCH_CONN_CONNECTING);
		w->proto->open(w, c);
	}
}

static void check_all(struct bench_worker *w, int64_t now_ns)
{
	int64_t every_ns = w->opts->timeout_ns / 8;

	if (now_ns < w->check_ns)
		return;
	w->check_ns = now_ns + (every_ns < CHECK_MAX_NS ? every_ns : CHECK_MAX_NS);
	for (uint32_t i = 0; i < w->n_conns; i++)
		if (w->conns[i].state > BENCH_CONN_RETRY)
			w->proto->check(w, &w->conns[i], now_ns);
}

/* Those on the list when the turn begins; what they put on it has to wait for the next. */
static void run_queued(struct bench_worker *w)
{
	struct bench_conn *c = w->run_first, *next;

	w->run_first = NULL;
	w->run_last = &w->run_first;
	for (; c; c = next) {
		next = c->run_next;
		c->queued = false;
		if (c->fd >= 0)
			w->proto->resume(w, c);
	}
}

static int wait_for_events(struct bench_worker *w, struct epoll_event *events, int64_t now_ns)
{
	int64_t until_ns = w->check_ns < w->next_due_ns ? w->check_ns : w->next_due_ns;
	struct timespec timeout;

	if (w->run_first || (w->opts->spin && !w->opts->idle))
		return epoll_wait(w->epfd, events, EVENTS_MAX, 0);
	if (w->retrying && until_ns > now_ns + RETRY_NS)
		until_ns = now_ns + RETRY_NS;
	if (w->phase == BENCH_DRAIN && until_ns > now_ns + DRAIN_CHECK_NS)
		until_ns = now_ns + DRAIN_CHECK_NS;
	if (until_ns < now_ns)
		until_ns = now_ns;
	timeout.tv_sec = (until_ns - now_ns) / BENCH_NS_PER_S;
	timeout.tv_nsec = (until_ns - now_ns) % BENCH_NS_PER_S;
	return epoll_pwait2(w->epfd, events, EVENTS_MAX, &timeout, NULL);
}

static void handle(struct bench_worker *w, const struct epoll_event *event)
{
	struct bench_conn *c = event->data.ptr;
	uint64_t notes;

	if (!c) {
		if (read(w->wake_fd, &notes, sizeof(notes)) < 0)
			return;
	} else if (c->fd >= 0) {
		w->proto->event(w, c, event->events);
	}
}

/* One turn: what is due, what waits, what has happened. 0 or -errno. */
static int turn(struct bench_worker *w, int64_t now_ns, bool *ret_idle)
{
	struct epoll_event events[EVENTS_MAX];
	int n;

	if (w->phase == BENCH_OPENING)
		open_some(w);
	if (w->retrying)
		retry_some(w, now_ns);
	if (w->next_due_ns <= now_ns)
		schedule_run(w, now_ns);
	check_all(w, now_ns);
	run_queued(w);
	n = wait_for_events(w, events, now_ns);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		follow(w);
		handle(w, &events[i]);
	}
	*ret_idle = !n && !w->run_first;
	return 0;
}

static bool is_over(struct bench_worker *w, int64_t now_ns, int64_t *checked_ns)
{
	if (w->phase < BENCH_DRAIN)
		return false;
	if (w->phase == BENCH_STOP)
		return true;
	if (now_ns < *checked_ns + DRAIN_CHECK_NS || w->next_due_ns <= now_ns)
		return false;
	*checked_ns = now_ns;
	return !awaits_any(w);
}

static void pin(const struct bench_worker *w)
{
	uint32_t nth = w->index;
	cpu_set_t one;

	if (!w->opts->cpus_text)
		return;
	nth %= (uint32_t)CPU_COUNT(&w->opts->cpus);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &w->opts->cpus) || nth--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
		return;
	}
}

void *bench_worker_main(void *arg)
{
	struct bench_worker *w = arg;
	int64_t now_ns = bench_now_ns(), before_ns, checked_ns = 0;
	bool idle = false;

	pin(w);
	prctl(PR_SET_TIMERSLACK, 1);
	while (!w->failed) {
		before_ns = now_ns;
		now_ns = bench_now_ns();
		if (idle)
			w->idle_ns += now_ns - before_ns;
		idle = false;
		follow(w);
		if (is_over(w, now_ns, &checked_ns))
			break;
		w->failed = turn(w, now_ns, &idle);
	}
	if (w->failed)
		fprintf(stderr, "sluice-bench: epoll_wait: %s\n", strerror(-w->failed));
	follow(w);
	bench_worker_ended(w);
	bench_count_add(&w->ended, 1);
	bench_worker_notify(w);
	return NULL;
}

/* ---- memory ---- */

/* How many messages back a connection remembers: a power of two. */
static uint64_t window_size(const struct bench_opts *opts)
{
	uint64_t want = opts->depth, size = 1;

	/* datagrams overtake each other, and those of a flood stand in queues by the thousand */
	if (opts->transport == BENCH_UDP && opts->pattern == BENCH_DUPLEX)
		want = opts->conns < 64 ? 65536 : 4096;
	else if (opts->transport == BENCH_UDP)
		want = 4 * opts->depth > 256 ? 4 * opts->depth : 256;
	while (size < want)
		size *= 2;
	return size;
}

static int alloc_conns(struct bench_worker *w)
{
	w->stamp_mask = window_size(w->opts) - 1;
	w->conns = calloc(w->n_conns, sizeof(*w->conns));
	w->stamps = calloc(w->n_conns * (w->stamp_mask + 1), sizeof(*w->stamps));
	w->rx = malloc(BENCH_CHUNK_BYTES);
	if (!w->conns || !w->stamps || !w->rx)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->n_conns; i++) {
		uint32_t index = i * w->opts->threads + w->index;

		w->conns[i] = (struct bench_conn){
			.fd = -1,
			.index = index,
			.pattern_at = (uint32_t)(index * UINT64_C(7919) % BENCH_PATTERN_BYTES),
			.stamp_ns = w->stamps + i * (w->stamp_mask + 1),
		};
	}
	return w->proto->init ? w->proto->init(w) : 0;
}

static const struct bench_proto *proto_of(const struct bench_opts *opts)
{
	if (opts->transport == BENCH_UDP)
		return &bench_dgram_proto;
	return opts->pattern == BENCH_CHURN ? &bench_churn_proto : &bench_stream_proto;
}

int bench_worker_init(struct bench_worker *w, struct bench_run *run, uint32_t index)
{
	struct epoll_event event = {.events = EPOLLIN};
	const struct bench_opts *opts = run->opts;

	w->run = run;
	w->opts = opts;
	w->index = index;
	w->proto = proto_of(opts);
	w->n_conns = (opts->conns - index + opts->threads - 1) / opts->threads;
	w->run_last = &w->run_first;
	w->next_due_ns = w->slow_ns = BENCH_NEVER;
	bench_hist_init(&w->latency);
	bench_hist_init(&w->lag);
	w->epfd = w->wake_fd = -1;
	w->epfd = epoll_create1(EPOLL_CLOEXEC);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->epfd < 0 || w->wake_fd < 0 || epoll_ctl(w->epfd, EPOLL_CTL_ADD, w->wake_fd, &event))
		return -errno;
	return alloc_conns(w);
}

void bench_worker_free(struct bench_worker *w)
{
	for (uint32_t i = 0; w->conns && i < w->n_conns; i++)
		bench_socket_close(&w->conns[i]);
	if (w->proto && w->proto->free)
		w->proto->free(w);
	free(w->conns);
	free(w->stamps);
	free(w->rx);
	if (w->epfd >= 0)
		close(w->epfd);
	if (w->wake_fd >= 0)
		close(w->wake_fd);
}
