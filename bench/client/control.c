/* SPDX-License-Identifier: MIT */
/* The main thread's eyes. */
#include "bench/client/control.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

uint64_t bench_run_open(const struct bench_run *run)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < run->opts->threads; i++)
		sum += bench_count_get(&run->workers[i].open);
	return sum;
}

uint64_t bench_run_gone(const struct bench_run *run)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < run->opts->threads; i++)
		sum += bench_count_get(&run->workers[i].gone);
	return sum;
}

uint64_t bench_run_errors(const struct bench_run *run)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < run->opts->threads; i++)
		for (int kind = 0; kind < BENCH_ERRORS; kind++)
			sum += bench_count_get(&run->workers[i].counts.errors[kind]);
	return sum;
}

bool bench_run_ended(const struct bench_run *run)
{
	for (uint32_t i = 0; i < run->opts->threads; i++)
		if (run->workers[i].running && !bench_count_get(&run->workers[i].ended))
			return false;
	return true;
}

void bench_control_phase(struct bench_control *ctl, enum bench_phase phase)
{
	uint64_t one = 1;

	atomic_store_explicit(&ctl->run.phase, phase, memory_order_release);
	for (uint32_t i = 0; i < ctl->run.opts->threads; i++)
		if (write(ctl->run.workers[i].wake_fd, &one, sizeof(one)) < 0)
			return; /* full: it is awake already */
}

enum bench_woken bench_control_wait(struct bench_control *ctl, int64_t until_ns, int input_fd)
{
	struct pollfd fds[] = {
		{.fd = ctl->signal_fd, .events = POLLIN},
		{.fd = ctl->run.notify_fd, .events = POLLIN},
		{.fd = input_fd, .events = POLLIN},
	};
	int64_t left_ns = until_ns - bench_now_ns();
	struct signalfd_siginfo info;
	struct timespec timeout;
	uint64_t notes;
	char drop[256];

	if (left_ns < 0)
		left_ns = 0;
	timeout.tv_sec = left_ns / BENCH_NS_PER_S;
	timeout.tv_nsec = left_ns % BENCH_NS_PER_S;
	if (ppoll(fds, 3, &timeout, NULL) <= 0)
		return BENCH_WOKEN_TIME;
	if (fds[0].revents && read(ctl->signal_fd, &info, sizeof(info)) > 0) {
		ctl->result->interrupted = true;
		return BENCH_WOKEN_SIGNAL;
	}
	if (fds[2].revents && read(input_fd, drop, sizeof(drop)) <= 0)
		return BENCH_WOKEN_INPUT;
	if (fds[1].revents && read(ctl->run.notify_fd, &notes, sizeof(notes)) > 0)
		return BENCH_WOKEN_NOTE;
	return BENCH_WOKEN_TIME;
}

/* ---- the server's clocks ---- */

static void lose_server(struct bench_control *ctl, pid_t pid, int err)
{
	ctl->result->server_known = false;
	if (!ctl->lost_pid)
		fprintf(stderr, "sluice-bench: --pid %d: %s\n", (int)pid,
			err == ESRCH ? "no such process" : strerror(err));
	ctl->lost_pid = pid;
}

int64_t bench_control_cpu(struct bench_control *ctl)
{
	const struct bench_opts *o = ctl->run.opts;
	int64_t cpu_ns;
	pid_t failed;
	int ret;

	if (!ctl->result->server_known)
		return 0;
	ret = bench_server_cpu(o->pids, o->n_pids, &cpu_ns, &failed);
	if (!ret)
		return cpu_ns;
	lose_server(ctl, failed, -ret);
	return 0;
}

void bench_control_usage(struct bench_control *ctl, struct bench_usage *ret)
{
	const struct bench_opts *o = ctl->run.opts;
	pid_t failed;
	int err;

	if (!ctl->result->server_known)
		return;
	err = -bench_server_usage(o->pids, o->n_pids, ret, &failed);
	if (err)
		lose_server(ctl, failed, err);
}

/* The clock is exact, but does not tell user from system; the ticks do. */
void bench_control_server(struct bench_control *ctl, int64_t cpu_ns)
{
	struct bench_result *r = ctl->result;
	const struct bench_usage *from = &ctl->usage_from;
	double user, system;

	r->server_cpu_ns = cpu_ns - ctl->cpu_from_ns;
	user = (double)(r->server.user_ns - from->user_ns);
	system = (double)(r->server.system_ns - from->system_ns);
	if (user + system > 0)
		r->server_user_ns = (int64_t)((double)r->server_cpu_ns * user / (user + system));
	r->server_system_ns = r->server_cpu_ns - r->server_user_ns;
	r->server.voluntary_switches -= from->voluntary_switches;
	r->server.involuntary_switches -= from->involuntary_switches;
}

/* ---- progress ---- */

void bench_control_show(struct bench_control *ctl, const char *format, ...)
{
	int64_t now_ns = bench_now_ns();
	va_list args;

	if (!ctl->progress || now_ns < ctl->progress_ns)
		return;
	ctl->progress_ns = now_ns + BENCH_PROGRESS_NS;
	va_start(args, format);
	fputs("\r\033[K", stderr);
	vfprintf(stderr, format, args);
	va_end(args);
}

void bench_control_show_end(struct bench_control *ctl)
{
	if (ctl->progress && ctl->progress_ns)
		fputs("\r\033[K", stderr);
}

static void sum_window(const struct bench_run *run, uint64_t *ret_msgs, uint64_t *ret_bytes)
{
	const struct bench_opts *o = run->opts;
	bool sent = o->pattern == BENCH_STREAM;

	*ret_msgs = *ret_bytes = 0;
	for (uint32_t i = 0; i < run->opts->threads; i++) {
		const struct bench_counts *c = &run->workers[i].counts;

		*ret_msgs += bench_count_get(&c->msgs);
		*ret_bytes += bench_count_get(sent ? &c->tx_bytes : &c->rx_bytes);
	}
	if ((sent || o->pattern == BENCH_DUPLEX) && o->transport != BENCH_UDP)
		*ret_msgs = (uint64_t)((double)*ret_bytes / bench_opts_mean_size(o));
}

void bench_control_progress(struct bench_control *ctl)
{
	struct bench_sampler *s = &ctl->shown;
	int64_t now_ns = bench_now_ns();
	uint64_t msgs, bytes;
	double seconds;

	if (!ctl->progress || now_ns < ctl->progress_ns)
		return;
	if (!s->at_ns)
		ctl->progress_ns = now_ns + BENCH_PROGRESS_NS;
	sum_window(&ctl->run, &msgs, &bytes);
	seconds = (double)(now_ns - s->at_ns) / 1e9;
	if (s->at_ns)
		bench_control_show(ctl, "%5.1f s  %.0f messages/s  %.1f MiB/s  %" PRIu64 " errors",
				   (double)(now_ns - s->from_ns) / 1e9,
				   (double)(msgs - s->msgs) / seconds,
				   (double)(bytes - s->bytes) / seconds / (1 << 20),
				   bench_run_errors(&ctl->run));
	*s = (struct bench_sampler){
		.from_ns = s->at_ns ? s->from_ns : now_ns,
		.at_ns = now_ns,
		.msgs = msgs,
		.bytes = bytes,
	};
}

void bench_control_sample(struct bench_control *ctl, struct bench_sampler *s)
{
	struct bench_result *r = ctl->result;
	struct bench_interval *v = &r->intervals[r->n_intervals];
	int64_t now_ns = bench_now_ns(), cpu_ns;
	uint64_t msgs, bytes;

	if (r->n_intervals == BENCH_INTERVALS_MAX || now_ns <= s->at_ns)
		return;
	sum_window(&ctl->run, &msgs, &bytes);
	cpu_ns = bench_control_cpu(ctl);
	v->end_ns = now_ns - s->from_ns;
	v->bytes = bytes - s->bytes;
	v->msgs = msgs - s->msgs;
	v->server_cpu_ns = r->server_known ? cpu_ns - s->cpu_ns : -1;
	r->n_intervals++;
	s->at_ns = now_ns;
	s->cpu_ns = cpu_ns;
	s->msgs = msgs;
	s->bytes = bytes;
}
