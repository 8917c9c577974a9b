/* SPDX-License-Identifier: MIT */
/*
 * One run: sets up the workers, moves them from phase to phase, reads the clocks at the borders of
 * the window and writes the report.
 */
#include "bench/client/run.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "bench/client/control.h"

#define INTERVAL_MIN_NS (10 * BENCH_NS_PER_MS)
#define DRAIN_MIN_NS BENCH_NS_PER_S

/* ---- phases ---- */

/* Until every connection has been accepted. False when that failed, which has been printed. */
static bool open_all(struct bench_control *ctl)
{
	const struct bench_opts *o = ctl->run.opts;
	int64_t deadline_ns = bench_now_ns() + o->open_timeout_ns;

	while (bench_run_open(&ctl->run) < o->conns) {
		if (bench_run_errors(&ctl->run) || bench_run_ended(&ctl->run))
			return false;
		if (bench_now_ns() >= deadline_ns) {
			bench_control_show_end(ctl);
			fprintf(stderr,
				"sluice-bench: only %" PRIu64 " of %u connections were answered "
				"in time (--open-timeout)\n",
				bench_run_open(&ctl->run), o->conns);
			ctl->run.workers[0].counts.errors[BENCH_ERR_TIMEOUT]++;
			return false;
		}
		bench_control_show(ctl, "opening: %" PRIu64 " of %u", bench_run_open(&ctl->run),
				   o->conns);
		if (bench_control_wait(ctl, bench_now_ns() + BENCH_PROGRESS_NS / 2, -1) ==
		    BENCH_WOKEN_SIGNAL)
			return false;
	}
	return true;
}

/* Until until_ns; false when it ends before: interrupted, or nothing is left to measure. */
static bool pass(struct bench_control *ctl, int64_t until_ns)
{
	int64_t now_ns, step_ns;

	while ((now_ns = bench_now_ns()) < until_ns) {
		step_ns = until_ns;
		if (ctl->progress && step_ns > now_ns + BENCH_PROGRESS_NS)
			step_ns = now_ns + BENCH_PROGRESS_NS;
		if (bench_run_gone(&ctl->run) == ctl->run.opts->conns || bench_run_ended(&ctl->run))
			return false;
		if (bench_control_wait(ctl, step_ns, -1) == BENCH_WOKEN_SIGNAL)
			return false;
		if (bench_run_phase(&ctl->run) == BENCH_MEASURE)
			bench_control_progress(ctl);
	}
	return true;
}

static void measure(struct bench_control *ctl)
{
	const struct bench_opts *o = ctl->run.opts;
	struct bench_result *r = ctl->result;
	int64_t every_ns = (o->duration_ns + BENCH_INTERVALS_MAX - 1) / BENCH_INTERVALS_MAX;
	struct bench_sampler s = {0};
	int64_t end_ns, cpu_ns;

	if (every_ns < INTERVAL_MIN_NS)
		every_ns = INTERVAL_MIN_NS;
	bench_control_usage(ctl, &ctl->usage_from);
	s.cpu_ns = ctl->cpu_from_ns = bench_control_cpu(ctl);
	s.from_ns = s.at_ns = bench_now_ns();
	end_ns = s.from_ns + o->duration_ns;
	atomic_store(&ctl->run.to_ns, end_ns);
	atomic_store(&ctl->run.from_ns, s.from_ns);
	bench_control_phase(ctl, BENCH_MEASURE);
	for (int64_t at_ns = s.from_ns + every_ns; at_ns < end_ns; at_ns += every_ns) {
		if (!pass(ctl, at_ns))
			break;
		bench_control_sample(ctl, &s);
	}
	if (!r->interrupted)
		pass(ctl, end_ns);
	if (bench_now_ns() < end_ns)
		atomic_store(&ctl->run.to_ns, bench_now_ns());
	cpu_ns = bench_control_cpu(ctl);
	r->window_ns = bench_now_ns() - s.from_ns;
	bench_control_phase(ctl, BENCH_DRAIN);
	bench_control_sample(ctl, &s);
	bench_control_usage(ctl, &r->server);
	if (r->server_known)
		bench_control_server(ctl, cpu_ns);
}

/* Until the workers have what is under way, or the time for that is over. */
static void drain(struct bench_control *ctl)
{
	const struct bench_opts *o = ctl->run.opts;
	int64_t most_ns = o->duration_ns > DRAIN_MIN_NS ? o->duration_ns : DRAIN_MIN_NS;
	int64_t until_ns;

	if (most_ns > o->timeout_ns)
		most_ns = o->timeout_ns;
	until_ns = bench_now_ns() + most_ns;
	while (!bench_run_ended(&ctl->run) && bench_now_ns() < until_ns)
		if (bench_control_wait(ctl, until_ns, -1) == BENCH_WOKEN_SIGNAL)
			return;
}

static void hold(struct bench_control *ctl)
{
	printf("idle %u\n", ctl->run.opts->conns);
	fflush(stdout);
	for (;;) {
		enum bench_woken why =
			bench_control_wait(ctl, bench_now_ns() + BENCH_NS_PER_S, STDIN_FILENO);

		if (why == BENCH_WOKEN_INPUT || why == BENCH_WOKEN_SIGNAL)
			return;
	}
}

static void run_phases(struct bench_control *ctl)
{
	if (!open_all(ctl))
		return;
	if (ctl->run.opts->idle) {
		hold(ctl);
		return;
	}
	atomic_store(&ctl->run.start_ns, bench_now_ns());
	bench_control_phase(ctl, BENCH_WARMUP);
	ctl->progress_ns = 0;
	bench_control_show(ctl, "warming up");
	if (!pass(ctl, bench_now_ns() + ctl->run.opts->warmup_ns))
		return;
	measure(ctl);
	drain(ctl);
}

/* ---- setting up and ending ---- */

static bool raise_descriptor_limit(const struct bench_opts *o)
{
	rlim_t want = (rlim_t)o->conns + 2 * o->threads + 16;
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) || lim.rlim_cur >= want)
		return true;
	lim.rlim_cur = lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim) || lim.rlim_cur >= want)
		return true;
	fprintf(stderr,
		"sluice-bench: %u connections need as many descriptors, the hard limit is %llu: "
		"raise it (ulimit -Hn)\n",
		o->conns, (unsigned long long)lim.rlim_max);
	return false;
}

/* Signals are read, not handled, so that they end a run between two system calls of no thread. */
static int block_signals(struct bench_control *ctl)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	ctl->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return ctl->signal_fd < 0 ? -errno : 0;
}

static int set_up(struct bench_control *ctl)
{
	struct bench_run *run = &ctl->run;
	int ret;

	atomic_store(&run->from_ns, BENCH_NEVER);
	atomic_store(&run->to_ns, BENCH_NEVER);
	ctl->signal_fd = run->notify_fd = -1;
	ctl->progress = isatty(STDERR_FILENO) && !run->opts->quiet;
	ctl->result = calloc(1, sizeof(*ctl->result));
	run->pattern = bench_pattern_new();
	run->workers = calloc(run->opts->threads, sizeof(*run->workers));
	if (!ctl->result || !run->pattern || !run->workers)
		return -ENOMEM;
	ctl->result->opts = run->opts;
	ctl->result->server_known = run->opts->n_pids > 0;
	for (uint32_t i = 0; i < run->opts->threads; i++)
		run->workers[i].epfd = run->workers[i].wake_fd = -1;
	ret = block_signals(ctl);
	if (ret)
		return ret;
	run->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (run->notify_fd < 0)
		return -errno;
	for (uint32_t i = 0; i < run->opts->threads; i++) {
		ret = bench_worker_init(&run->workers[i], run, i);
		if (ret)
			return ret;
	}
	return 0;
}

/* Threads on CPUs that are not to be had would run anywhere. */
static bool have_cpus(const struct bench_opts *o)
{
	cpu_set_t allowed, both;

	if (!o->cpus_text || sched_getaffinity(0, sizeof(allowed), &allowed))
		return true;
	CPU_AND(&both, &allowed, &o->cpus);
	if (CPU_EQUAL(&both, &o->cpus))
		return true;
	fprintf(stderr,
		"sluice-bench: --cpus %s: this process may not run on all of them (see "
		"taskset -p)\n",
		o->cpus_text);
	return false;
}

static int start_threads(struct bench_run *run)
{
	int ret;

	/* the main thread, too, keeps away from the server's cores */
	if (run->opts->cpus_text && sched_setaffinity(0, sizeof(cpu_set_t), &run->opts->cpus))
		return -errno;
	for (uint32_t i = 0; i < run->opts->threads; i++) {
		struct bench_worker *w = &run->workers[i];

		ret = pthread_create(&w->thread, NULL, bench_worker_main, w);
		if (ret)
			return -ret;
		w->running = true;
	}
	return 0;
}

static void end_threads(struct bench_control *ctl)
{
	bench_control_phase(ctl, BENCH_STOP);
	for (uint32_t i = 0; i < ctl->run.opts->threads; i++)
		if (ctl->run.workers[i].running)
			pthread_join(ctl->run.workers[i].thread, NULL);
}

static void tear_down(struct bench_control *ctl)
{
	struct bench_run *run = &ctl->run;

	for (uint32_t i = 0; run->workers && i < run->opts->threads; i++)
		bench_worker_free(&run->workers[i]);
	free(run->workers);
	free(run->pattern);
	free(ctl->result);
	if (run->notify_fd >= 0)
		close(run->notify_fd);
	if (ctl->signal_fd >= 0)
		close(ctl->signal_fd);
}

static bool write_file(const struct bench_result *r, const char *path,
		       int (*write_one)(const struct bench_result *r, const char *path))
{
	int ret = path ? write_one(r, path) : 0;

	if (ret)
		fprintf(stderr, "sluice-bench: cannot write %s: %s\n", path, strerror(-ret));
	return !ret;
}

/* The exit status. */
static int report(struct bench_control *ctl)
{
	const struct bench_opts *o = ctl->run.opts;
	struct bench_result *r = ctl->result;
	bool written = true;

	bench_control_show_end(ctl);
	bench_result_collect(r, &ctl->run);
	bench_result_judge(r);
	if (!o->idle && (r->window_ns || r->interrupted)) {
		if (!o->json || strcmp(o->json, "-"))
			bench_result_print(r);
		written = write_file(r, o->json, bench_result_json) && written;
		written = write_file(r, o->csv, bench_result_csv) && written;
		written = write_file(r, o->hist, bench_result_hist) && written;
	}
	for (uint32_t i = 0; i < o->threads; i++)
		if (ctl->run.workers[i].failed)
			return 1;
	return r->errors_total || ctl->lost_pid || !written ? 1 : 0;
}

/* Better told now than after a long run. */
static bool can_write(const char *path)
{
	FILE *file;

	if (!path || !strcmp(path, "-"))
		return true;
	file = fopen(path, "ae");
	if (file)
		fclose(file);
	else
		fprintf(stderr, "sluice-bench: cannot write %s: %s\n", path, strerror(errno));
	return file;
}

int bench_run(const struct bench_opts *opts)
{
	struct bench_control ctl = {.run = {.opts = opts, .told = ATOMIC_FLAG_INIT}};
	time_t now = time(NULL);
	struct tm tm;
	int ret, status = 1;

	if (!bench_target_resolve(&ctl.run))
		return 2;
	if (!can_write(opts->json) || !can_write(opts->csv) || !can_write(opts->hist))
		return 1;
	if (!have_cpus(opts) || !raise_descriptor_limit(opts))
		return 1;
	ret = set_up(&ctl);
	if (!ret) {
		strftime(ctl.result->started, sizeof(ctl.result->started), "%Y-%m-%dT%H:%M:%SZ",
			 gmtime_r(&now, &tm));
		bench_control_cpu(&ctl);
		ret = ctl.lost_pid ? -ESRCH : start_threads(&ctl.run);
		if (!ret)
			run_phases(&ctl);
		end_threads(&ctl);
		if (!ret)
			status = report(&ctl);
	}
	if (ret && !ctl.lost_pid)
		fprintf(stderr, "sluice-bench: %s\n", strerror(-ret));
	tear_down(&ctl);
	return status;
}
