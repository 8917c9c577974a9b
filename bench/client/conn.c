/* SPDX-License-Identifier: MIT */
/* What protocols report of their connections: answers, changes of state, failures. */
#include "bench/client/gen.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void bench_worker_notify(struct bench_worker *w)
{
	uint64_t one = 1;

	/* it fails only when 2^64 - 2 notes are unread, which is note enough */
	if (write(w->run->notify_fd, &one, sizeof(one)) < 0)
		return;
}

void bench_worker_answered(struct bench_worker *w, int64_t stamp_ns, int64_t now_ns)
{
	bool measuring = bench_run_phase(w->run) == BENCH_MEASURE;

	if (measuring)
		bench_count_add(&w->counts.msgs, 1);
	if (w->opts->rate_per_s > 0 ? bench_in_window(w->run, stamp_ns) : measuring)
		bench_hist_add(&w->latency, now_ns - stamp_ns);
	else if (!(w->opts->rate_per_s > 0))
		bench_worker_answered_late(w, stamp_ns, now_ns);
}

void bench_worker_queue(struct bench_worker *w, struct bench_conn *c)
{
	if (c->queued)
		return;
	c->queued = true;
	c->run_next = NULL;
	*w->run_last = c;
	w->run_last = &c->run_next;
}

void bench_conn_set_state(struct bench_worker *w, struct bench_conn *c, enum bench_conn_state state)
{
	if (c->state == BENCH_CONN_RETRY)
		w->retrying--;
	c->state = state;
	if (state == BENCH_CONN_RETRY)
		w->retrying++;
}

void bench_worker_opened(struct bench_worker *w, struct bench_conn *c)
{
	bench_conn_set_state(w, c, BENCH_CONN_OPEN);
	w->opening--;
	bench_count_add(&w->open, 1);
	if (bench_count_get(&w->open) == w->n_conns)
		bench_worker_notify(w);
}

void bench_worker_retry(struct bench_worker *w, struct bench_conn *c, int64_t after_ns)
{
	bench_socket_close(c);
	c->retry_ns = bench_now_ns() + after_ns;
	bench_conn_set_state(w, c, BENCH_CONN_RETRY);
}

static const char *remedy_of(int err)
{
	switch (err) {
	case ECONNREFUSED:
	case ENOENT:
		return " (is the service running there?)";
	case EMFILE:
		return " (raise the limit on descriptors: ulimit -Hn)";
	case ENFILE:
		return " (raise fs.file-max)";
	case EADDRNOTAVAIL:
		return " (out of local ports: give more addresses with --source, widen "
		       "net.ipv4.ip_local_port_range or, for churn, --close reset)";
	case EMSGSIZE:
		return " (a smaller --size)";
	default:
		return "";
	}
}

void bench_worker_error(struct bench_worker *w, const struct bench_conn *c, enum bench_error error,
			const char *what, int err)
{
	bench_count_add(&w->counts.errors[error], 1);
	if (!atomic_flag_test_and_set(&w->run->told))
		fprintf(stderr, "sluice-bench: connection %u to %s: %s%s%s%s\n", c->index,
			w->opts->address, what, err ? ": " : "", err ? strerror(err) : "",
			remedy_of(err));
	if (w->phase == BENCH_OPENING)
		bench_worker_notify(w);
}

void bench_worker_fail(struct bench_worker *w, struct bench_conn *c, enum bench_error error,
		       const char *what, int err)
{
	bool was_opening = w->phase == BENCH_OPENING && c->state != BENCH_CONN_OPEN;

	if (w->opts->pattern == BENCH_STREAM && c->fd >= 0)
		w->acked_gone += (int64_t)c->tx_bytes - bench_socket_unacked(c->fd);
	bench_worker_error(w, c, error, what, err);
	bench_socket_close(c);
	bench_conn_set_state(w, c, BENCH_CONN_CLOSED);
	if (was_opening)
		w->opening--;
	bench_count_add(&w->gone, 1);
	if (bench_count_get(&w->gone) == w->n_conns)
		bench_worker_notify(w);
}

enum bench_error bench_error_of(int err)
{
	switch (err) {
	case ECONNRESET:
	case EPIPE:
		return BENCH_ERR_RESET;
	case ETIMEDOUT:
		return BENCH_ERR_TIMEOUT;
	case ECONNREFUSED:
		return BENCH_ERR_CONNECT;
	default:
		return BENCH_ERR_IO;
	}
}
