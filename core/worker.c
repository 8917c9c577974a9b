/* SPDX-License-Identifier: MIT */
/* Owns one thread and all that runs in it. Invariant: a listener that does not accept is either
 * closed, or looked at again after each turn and at each tick. */
#include "worker.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net.h"
#include "util.h"

enum {
	TICK_NS = 100 * 1000 * 1000,
	SETTLED_NS = 1000 * 1000 * 1000, /* without a pause, before the next one is told again */
	RETRY_NS = 100 * 1000 * 1000,    /* out of descriptors: when accepting is tried again */
	TRIM_BUFFERS = 64,               /* given back to the kernel a tick, at most */
};

/* ---- accepting ---- */

/*
 * Far from --max-conns a listener accepts freely, and may deliver a backlog's worth after it is
 * stopped. Near the limit it accepts one at a time; one that comes when none is left is held, not
 * served, as if it were still in the backlog, and the listener accepts no more until it is.
 */
static bool is_near_limit(const struct worker *worker)
{
	const struct server *server = worker->server;
	int64_t margin = (int64_t)server->backlog * server->workers * server->n_listen;

	return atomic_load_explicit(&worker->limit->left, memory_order_relaxed) <= margin;
}

/* Told once, and not again before accepting has gone well for a while. */
static void pause_say(struct worker *worker, struct worker_pause *pause, uint64_t *counter,
		      const char *why)
{
	pause->last_ns = worker->io->now_ns;
	if (pause->said)
		return;
	pause->said = true;
	stats_add(counter, 1);
	log_write(worker->server->log, LOG_WARN, "worker %u: accepting paused: %s", worker->index,
		  why);
}

static void pause_settle(struct worker *worker, struct worker_pause *pause)
{
	if (!pause->said || worker->io->now_ns - pause->last_ns < SETTLED_NS)
		return;
	pause->said = false;
	log_write(worker->server->log, LOG_INFO, "worker %u: accepting again", worker->index);
}

static void limit_reached(struct worker *worker)
{
	char why[96];

	worker->at_limit = true;
	snprintf(why, sizeof(why), "--max-conns %u reached; goes on when a connection closes",
		 worker->server->conn_conf.conns_max);
	pause_say(worker, &worker->pause_max, &worker->stats.pause_max_conns, why);
}

static void serve_connection(struct worker *worker, int fd)
{
	if (!conn_open(&worker->conns, fd))
		return;
	close(fd);
	conn_release(worker->limit);
	stats_add(&worker->stats.err_accept, 1);
}

/* False while the connection that listener holds still has to wait. */
static bool serve_held(struct listener *listener)
{
	struct worker *worker = listener->worker;
	int fd = listener->held_fd;

	if (fd < 0)
		return true;
	if (!conn_reserve(worker->limit)) {
		limit_reached(worker);
		return false;
	}
	listener->held_fd = -1;
	serve_connection(worker, fd);
	return true;
}

static void listener_arm(struct listener *listener)
{
	struct worker *worker = listener->worker;
	struct io *io = worker->io;

	if (!listener->sock || worker->draining || !serve_held(listener) || worker->retry_ns)
		return;
	if (!is_near_limit(worker)) {
		if (!listener->many)
			io->ops->accept_start(io, listener->sock, true);
		listener->many = true;
		return;
	}
	if (listener->many)
		io->ops->accept_stop(io, listener->sock);
	listener->many = false;
	if (!listener->one)
		io->ops->accept_start(io, listener->sock, false);
	listener->one = true;
}

static void arm_all(struct worker *worker)
{
	for (uint32_t i = 0; i < worker->server->n_listen; i++)
		listener_arm(&worker->listeners[i]);
}

static void out_of_descriptors(struct worker *worker, int err)
{
	char why[160];

	worker->retry_ns = worker->io->now_ns + RETRY_NS;
	snprintf(why, sizeof(why),
		 "%s; tried again ten times a second (raise ulimit -n, or lower --max-conns)",
		 strerror(-err));
	pause_say(worker, &worker->pause_descriptors, &worker->stats.pause_descriptors, why);
}

static void listener_pause(struct listener *listener)
{
	if (listener->many || listener->one)
		listener->worker->io->ops->accept_stop(listener->worker->io, listener->sock);
	listener->many = listener->one = false;
}

static void accept_failed(struct listener *listener, int err)
{
	struct worker *worker = listener->worker;

	listener->many = listener->one = false;
	if (err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM) {
		out_of_descriptors(worker, err);
		return;
	}
	if (err != -ECANCELED)
		stats_add(&worker->stats.err_accept, 1);
}

static void accepted(struct listener *listener, int fd)
{
	struct worker *worker = listener->worker;

	listener->one = false;
	if (conn_reserve(worker->limit)) {
		serve_connection(worker, fd);
	} else if (listener->held_fd < 0) {
		listener->held_fd = fd;
		limit_reached(worker);
	} else {
		close(fd);
		stats_add(&worker->stats.err_accept, 1);
	}
	if (!listener->many || is_near_limit(worker))
		listener_arm(listener);
}

static void listener_event(struct io_handler *handler, const struct io_event *event)
{
	struct listener *listener = container_of(handler, struct listener, handler);

	if (event->op == IO_CLOSE)
		listener->sock = NULL;
	else if (event->op != IO_ACCEPT)
		return;
	else if (event->res < 0)
		accept_failed(listener, event->res);
	else if (listener->worker->draining)
		close(event->res);
	else
		accepted(listener, event->res);
}

/* Accepting that failed, or was paused, is tried again. */
static void resume_accepting(struct worker *worker)
{
	if (worker->conns.out_of_descriptors) {
		worker->conns.out_of_descriptors = false;
		out_of_descriptors(worker, -EMFILE);
		for (uint32_t i = 0; i < worker->server->n_listen; i++)
			if (worker->listeners[i].sock)
				listener_pause(&worker->listeners[i]);
	}
	if (worker->retry_ns) {
		if (worker->io->now_ns < worker->retry_ns)
			return;
		worker->retry_ns = 0;
	}
	worker->at_limit = false;
	arm_all(worker);
}

/* ---- ticks ---- */

static void count_udp_drops(struct worker *worker)
{
	for (uint32_t i = 0; i < worker->server->n_listen; i++) {
		uint32_t drops;

		if (!worker->udp_listeners[i].sock)
			continue;
		drops = net_dgram_drops(worker->fds[i]);
		stats_add(&worker->stats.drop_receive_full, drops - worker->udp_drops[i]);
		worker->udp_drops[i] = drops;
	}
}

static void close_udp_listeners(struct worker *worker)
{
	count_udp_drops(worker);
	for (uint32_t i = 0; i < worker->server->n_listen; i++)
		if (worker->udp_listeners[i].sock)
			worker->io->ops->close(worker->io, worker->udp_listeners[i].sock,
					       IO_CLOSE_NOW);
}

static void tick_start(struct worker *worker)
{
	if (!timer_is_running(&worker->tick))
		timer_start(&worker->wheel, &worker->tick, worker->io->now_ns + TICK_NS);
}

static bool is_paused(const struct worker *worker)
{
	return worker->at_limit || worker->retry_ns;
}

static bool has_said(const struct worker *worker)
{
	return worker->pause_max.said || worker->pause_descriptors.said;
}

static void tick(struct worker *worker)
{
	worker->ticked_ns = worker->io->now_ns;
	conn_mgr_tick(&worker->conns);
	udp_mgr_tick(&worker->udp);
	count_udp_drops(worker);
	buf_pool_trim(&worker->io->pool, TRIM_BUFFERS);
	pipe_pool_trim(&worker->io->pipes);
	pause_settle(worker, &worker->pause_max);
	pause_settle(worker, &worker->pause_descriptors);
	/* What the datagram sockets held when the signal came has been served by now. */
	if (worker->draining && !worker->udp.live_n)
		close_udp_listeners(worker);
}

/* Something has to be looked at although nothing happens. */
static bool needs_watch(const struct worker *worker)
{
	return worker->draining || worker->io->starved || worker->io->warm || is_paused(worker) ||
	       has_said(worker) || buf_pool_wants_trim(&worker->io->pool) ||
	       worker->io->pipes.free_n;
}

static void tick_fired(struct timer *timer)
{
	struct worker *worker = container_of(timer, struct worker, tick);

	tick(worker);
	if (needs_watch(worker))
		tick_start(worker);
}

/* While there is traffic turns are ticks enough: a timer would cost every wait a kernel timer. */
static void tick_if_due(struct worker *worker)
{
	if (needs_watch(worker))
		tick_start(worker);
	else if (worker->io->now_ns - worker->ticked_ns >= TICK_NS)
		tick(worker);
}

/* ---- the thread ---- */

static void drain_timeout(struct timer *timer)
{
	struct worker *worker = container_of(timer, struct worker, drain_timer);
	uint32_t conns = conn_mgr_cut(&worker->conns), sessions = udp_mgr_cut(&worker->udp);

	worker->cut = true;
	if (conns || sessions)
		log_write(worker->server->log, LOG_WARN,
			  "worker %u: drain timeout, %u connections and %u UDP sessions cut",
			  worker->index, conns, sessions);
}

static void drain_start(struct worker *worker)
{
	worker->draining = true;
	for (uint32_t i = 0; i < worker->server->n_listen; i++) {
		struct listener *listener = &worker->listeners[i];

		if (!listener->sock)
			continue;
		worker->io->ops->close(worker->io, listener->sock, IO_CLOSE_NOW);
		if (listener->held_fd >= 0)
			close(listener->held_fd);
		listener->held_fd = -1;
	}
	conn_mgr_drain(&worker->conns);
	udp_mgr_drain(&worker->udp);
	timer_start(&worker->wheel, &worker->drain_timer,
		    worker->io->now_ns + worker->server->drain_timeout_ns);
	timer_stop(&worker->wheel, &worker->tick);
	tick_start(worker);
}

static bool is_drained(const struct worker *worker)
{
	if (!worker->draining || worker->conns.live_n || worker->udp.live_n)
		return false;
	for (uint32_t i = 0; i < worker->server->n_listen; i++)
		if (worker->listeners[i].sock || worker->udp_listeners[i].sock)
			return false;
	return true;
}

static int worker_loop(struct worker *worker)
{
	struct io *io = worker->io;

	while (!is_drained(worker)) {
		int err = io->ops->turn(io, timer_next_ns(&worker->wheel, io->now_ns));

		if (err)
			return err;
		if (!worker->draining && atomic_load_explicit(&worker->stop, memory_order_acquire))
			drain_start(worker);
		timer_advance(&worker->wheel, io->now_ns);
		if (is_paused(worker) || worker->conns.out_of_descriptors)
			resume_accepting(worker);
		tick_if_due(worker);
		if (atomic_load_explicit(&worker->settle, memory_order_relaxed)) {
			count_udp_drops(worker);
			atomic_store_explicit(&worker->settle, false, memory_order_release);
		}
	}
	return 0;
}

static int attach_listeners(struct worker *worker)
{
	const struct server *server = worker->server;

	for (uint32_t i = 0; i < server->n_listen; i++) {
		struct listener *listener = &worker->listeners[i];

		if (server->listen[i].kind == ADDR_UDP) {
			if (udp_listen(&worker->udp, &worker->udp_listeners[i], i, worker->fds[i]))
				return -ENOBUFS;
			continue;
		}
		listener->handler.event = listener_event;
		listener->worker = worker;
		listener->held_fd = -1;
		listener->sock = worker->io->ops->attach(worker->io, worker->fds[i], IO_LISTENER,
							 &listener->handler);
		if (!listener->sock)
			return -ENOBUFS;
		listener_arm(listener);
	}
	return 0;
}

static int worker_setup(struct worker *worker)
{
	const struct server *server = worker->server;
	struct io_conf conf = server->io_conf;
	struct io *io;
	int err;

	conf.stats = &worker->stats;
	err = server->ops->open(&io, &conf);
	if (err)
		return err;
	worker->io = io;
	timer_wheel_init(&worker->wheel, worker->io->now_ns);
	worker->tick.fire = tick_fired;
	worker->drain_timer.fire = drain_timeout;
	err = conn_mgr_init(&worker->conns, worker->io, &worker->wheel, &worker->stats,
			    &server->conn_conf, worker->limit);
	if (err)
		return err;
	err = udp_mgr_init(&worker->udp, worker->io, &worker->wheel, &worker->stats,
			   &server->udp_conf, worker->session_limit,
			   server->hash_seed + worker->index);
	if (err)
		return err;
	return attach_listeners(worker);
}

/* Other threads may be about to wake it. */
static void io_free(struct worker *worker)
{
	struct io *io = worker->io;

	pthread_mutex_lock(&worker->wake_lock);
	worker->io = NULL;
	pthread_mutex_unlock(&worker->wake_lock);
	worker->server->ops->free(io);
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	cpu_set_t set;

	if (worker->cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET(worker->cpu, &set);
		if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
			log_write(worker->server->log, LOG_WARN,
				  "worker %u: cannot be pinned to CPU %d", worker->index,
				  worker->cpu);
	}
	worker->err = worker_setup(worker);
	sem_post(worker->started);
	if (!worker->err)
		worker->err = worker_loop(worker);
	conn_mgr_free(&worker->conns);
	udp_mgr_free(&worker->udp);
	io_free(worker);
	atomic_store_explicit(&worker->ended, true, memory_order_release);
	pthread_kill(worker->server->main_thread, SIGUSR2);
	return NULL;
}

int worker_start(struct worker *worker)
{
	pthread_mutex_init(&worker->wake_lock, NULL);
	return -pthread_create(&worker->thread, NULL, worker_main, worker);
}

static bool worker_wake(struct worker *worker)
{
	bool alive;

	pthread_mutex_lock(&worker->wake_lock);
	alive = worker->io != NULL;
	if (alive)
		worker->io->ops->wake(worker->io);
	pthread_mutex_unlock(&worker->wake_lock);
	return alive;
}

void worker_stop(struct worker *worker)
{
	atomic_store_explicit(&worker->stop, WORKER_DRAIN, memory_order_release);
	worker_wake(worker);
}

void worker_settle(struct worker *worker)
{
	const struct timespec ms = {.tv_nsec = NS_PER_MS};

	atomic_store_explicit(&worker->settle, true, memory_order_release);
	if (!worker_wake(worker))
		return;
	for (int i = 0; i < 100; i++) {
		if (!atomic_load_explicit(&worker->settle, memory_order_acquire))
			return;
		nanosleep(&ms, NULL);
	}
}

void worker_join(struct worker *worker)
{
	pthread_join(worker->thread, NULL);
}
