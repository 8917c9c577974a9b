/* SPDX-License-Identifier: MIT */
/* Owns the rig: one backend, opened for one test, its turns, and what must be true when the test
 * has ended. */
#include "contract.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/io_epoll.h"
#include "core/pipe.h"
#include "fake_io.h"
#include "io_uring/uring.h"

enum {
	QUIET_TURNS = 4,
	QUIET_NS = 25 * 1000 * 1000,
	QUIET_TURNS_MAX = 12, /* a few may return early, for what was under way */
	SETTLE_TURNS = 10,
	FAKE_SEEDS = 5 / RIG_SLOWER,
};

/* ---- variants ---- */

static bool is_uring(uint32_t variant)
{
	return variant >= VARIANT_URING;
}

struct criterion_test_params rig_features_off(void)
{
	static uint32_t variants[RIG_VARIANTS_MAX];
	size_t n = uring_features_n + 1; /* each, and all of them */

	cr_assert_leq(n, RIG_VARIANTS_MAX);
	for (size_t i = 0; i < n; i++)
		variants[i] = VARIANT_FEATURES_OFF + (uint32_t)i;
	return cr_make_param_array(uint32_t, variants, n);
}

static void set_features_off(struct rig *rig, uint32_t variant)
{
	uint32_t i = variant - VARIANT_FEATURES_OFF;

	if (variant < VARIANT_FEATURES_OFF)
		return;
	if (i < uring_features_n) {
		rig->features_off = uring_features[i].bit;
		snprintf(rig->name, sizeof(rig->name), "io_uring without %s",
			 uring_features[i].name);
		return;
	}
	for (i = 0; i < uring_features_n; i++)
		rig->features_off |= uring_features[i].bit;
	snprintf(rig->name, sizeof(rig->name), "io_uring without any optional feature");
}

static void set_variant(struct rig *rig, uint32_t variant)
{
	static const struct io_ops *const ops[] = {&fake_io_ops, &io_epoll_ops, &io_uring_ops};

	rig->ops = ops[MIN(variant, VARIANT_URING)];
	rig->world = variant == VARIANT_FAKE ? &world_fake : &world_real;
	snprintf(rig->name, sizeof(rig->name), "%s", rig->ops->name);
	set_features_off(rig, variant);
}

bool rig_is_fake(const struct rig *rig)
{
	return rig->world == &world_fake;
}

/* ---- what happened last ---- */

static const struct rig *rig_running;

static void rig_dump(const struct rig *rig)
{
	static const char *const names[] = {"ACCEPT", "CONNECT", "RECV", "SEND", "MOVE", "CLOSE"};
	uint32_t n = MIN(rig->log_n, RIG_LOG_MAX);

	fprintf(stderr, "[%s] seed %llu, turn %llu; last events:\n", rig->name,
		(unsigned long long)rig->seed, (unsigned long long)rig->turns);
	for (uint32_t i = rig->log_n - n; i != rig->log_n; i++) {
		const struct rig_note *note = &rig->log[i % RIG_LOG_MAX];

		fprintf(stderr, "  turn %llu: end of seed %u: IO_%s %d\n",
			(unsigned long long)note->turn, note->end->seed, names[note->op],
			note->res);
	}
	n = RIG_LOG_MAX;
	for (const struct end *e = rig->ends; e && n; e = e->next) {
		if (e->closed)
			continue;
		n--;
		fprintf(stderr, "  end of seed %u: received %llu%s%s, queued %llu, sent %llu%s\n",
			e->seed, (unsigned long long)e->received, e->eof ? " and the end" : "",
			e->receiving ? "" : " (stopped)", (unsigned long long)e->queued,
			(unsigned long long)e->sent, e->shut ? " (shut down)" : "");
	}
	n = RIG_LOG_MAX;
	for (const struct peer *p = rig->peers; p && n; p = p->next) {
		if (peer_ended(p))
			continue;
		n--;
		fprintf(stderr, "  peer of seed %u: wrote %llu%s, read %llu, err %d\n", p->seed,
			(unsigned long long)p->written, p->shut ? " (shut down)" : "",
			(unsigned long long)p->read, p->err);
	}
}

void rig_skip(const struct rig *rig, const char *why)
{
	const char *strict = getenv("STRICT");

	if (strict && !strcmp(strict, "1"))
		cr_assert_fail("[%s] cannot be skipped (STRICT=1): %s", rig->name, why);
	cr_skip_test("[%s] %s", rig->name, why);
}

const char *rig_failed(const struct rig *rig, const char *cond, const char *format, ...)
{
	static char text[512];
	va_list args;
	int n;

	rig_dump(rig);
	n = snprintf(text, sizeof(text), "[%s] %s:", rig->name, cond);
	va_start(args, format);
	vsnprintf(text + n, sizeof(text) - (size_t)n, format, args);
	va_end(args);
	return text;
}

/* An assertion of the backend: Criterion tells only which test. */
static void aborted(int signal)
{
	(void)signal;
	if (rig_running)
		rig_dump(rig_running);
	abort();
}

/* ---- turns ---- */

bool rig_is_late(const struct rig *rig)
{
	return util_now_ns() > rig->deadline_ns;
}

uint64_t rig_random(struct rig *rig, uint64_t n)
{
	/* The multiplier is Knuth's; the upper half is good enough here. */
	rig->random = rig->random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (rig->random >> 32) % n;
}

void rig_turn(struct rig *rig, int64_t timeout_ns)
{
	int err;

	rig->turns++;
	rig->in_turn = true;
	err = rig->ops->turn(rig->io, timeout_ns);
	rig->in_turn = false;
	check(!err, "turn failed: %s", strerror(-err));
	check(rig->io->pool.used_bytes <= rig->io->pool.budget_bytes);
}

void rig_step(struct rig *rig)
{
	bool moved = false;

	for (struct peer *peer = rig->peers; peer; peer = peer->next)
		moved |= !peer->unread && peer_pump(peer);
	rig_turn(rig, moved ? 0 : RIG_WAIT_NS);
}

void rig_steps(struct rig *rig, uint32_t n)
{
	while (n--)
		rig_step(rig);
}

void rig_settle(struct rig *rig)
{
	for (uint32_t quiet = 0; quiet < SETTLE_TURNS; quiet++) {
		uint64_t events = rig->events;

		check(!rig_is_late(rig), "never settles");
		rig_step(rig);
		if (events != rig->events)
			quiet = 0;
	}
}

void rig_check_quiet(struct rig *rig)
{
	int64_t end_ns;
	uint32_t n = 0;

	rig_settle(rig);
	end_ns = rig->io->now_ns + (int64_t)QUIET_TURNS * QUIET_NS;
	while (rig->io->now_ns < end_ns) {
		rig_turn(rig, QUIET_NS);
		check(++n <= QUIET_TURNS_MAX, "spins: turns return and nothing happens");
	}
}

/* ---- beginning and end of a test ---- */

static void rig_open(struct rig *rig)
{
	const struct io_conf conf = {
		.stats = &rig->stats,
		.socks_max = rig->conf.socks_max,
		.buffer_bytes = rig->conf.buffer_bytes,
		.pipes_max = PIPES_MAX,
		.features_off = rig->features_off,
	};
	int err = rig->ops->open(&rig->io, &conf);

	check(!err, "open failed: %s", strerror(-err));
	check(rig->io->ops == rig->ops);
	check(rig->io->stats == &rig->stats);
	check(rig->io->starved == 0);
}

void rig_close_all(struct rig *rig)
{
	bool open = true;

	for (struct end *e = rig->ends; e; e = e->next) {
		if (e->sock && (!e->closing || e->how == IO_CLOSE_FLUSH))
			end_close(e, IO_CLOSE_NOW);
		end_release(e);
	}
	while (open) {
		check(!rig_is_late(rig), "some socket never closes");
		rig_turn(rig, RIG_WAIT_NS);
		open = false;
		for (struct end *e = rig->ends; e; e = e->next)
			open |= e->sock != NULL;
	}
}

/* A backend may keep buffers that it will receive into, but nothing grows. */
static uint64_t kept_bytes_max(const struct rig *rig)
{
	if (rig_is_fake(rig))
		return 0;
	if (rig->ops == &io_epoll_ops)
		return rig->dgrams ? 32 * (uint64_t)BUF_LARGE_BYTES : 0;
	return rig->conf.buffer_bytes / 2;
}

static void check_given_back(struct rig *rig)
{
	check(rig->io->starved == 0, "%u sockets starve, and all are closed", rig->io->starved);
	check(rig->io->pool.used_bytes <= kept_bytes_max(rig), "%llu bytes of buffers are lent",
	      (unsigned long long)rig->io->pool.used_bytes);
	if (rig_is_fake(rig))
		check(fake_buffers_lent(rig->io) == 0);
}

/* The test is over, and with it what its handlers worked on. */
static void forget_handlers(struct rig *rig)
{
	for (struct end *e = rig->ends; e; e = e->next) {
		e->on_event = NULL;
		if (e->mode == END_MANUAL)
			e->mode = END_DISCARD;
	}
}

static void rig_free(struct rig *rig)
{
	forget_handlers(rig);
	if (!rig->leave_open) {
		rig_close_all(rig);
		check_given_back(rig);
	}
	for (struct end *e = rig->ends; e; e = e->next)
		while (e->n_fds)
			rig->world->fd_close(rig, e->fds[--e->n_fds]);
	for (struct peer *p = rig->peers; p; p = p->next)
		if (!p->gone)
			peer_close(p);
	for (struct host *h = rig->hosts; h; h = h->next)
		rig->world->host_close(h);
	if (rig_is_fake(rig))
		check(rig->leave_open || rig->world->fds(rig) == rig->fds_before,
		      "descriptors leaked");
	rig->world->free(rig);
	rig->ops->free(rig->io);
	if (!rig_is_fake(rig))
		check(rig->world->fds(rig) == rig->fds_before, "descriptors leaked: %u, %u before",
		      rig->world->fds(rig), rig->fds_before);
}

static void rig_free_memory(struct rig *rig)
{
	struct end *e, *e_next;
	struct peer *p, *p_next;
	struct host *h, *h_next;

	for (e = rig->ends; e; e = e_next) {
		e_next = e->next;
		free(e);
	}
	for (p = rig->peers; p; p = p_next) {
		p_next = p->next;
		free(p);
	}
	for (h = rig->hosts; h; h = h_next) {
		h_next = h->next;
		free(h);
	}
	free(rig);
}

static void need_uring(const struct rig *rig)
{
	char why[URING_WHY_MAX];

	if (uring_check(why))
		rig_skip(rig, why);
}

static void run_once(uint32_t variant, void (*test)(struct rig *), const struct rig_conf *conf,
		     uint64_t seed)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	cr_assert_not_null(rig);
	set_variant(rig, variant);
	if (is_uring(variant))
		need_uring(rig);
	rig_running = rig;
	signal(SIGABRT, aborted);
	signal(SIGPIPE, SIG_IGN);
	rig->conf = *conf;
	if (!rig->conf.socks_max)
		rig->conf.socks_max = RIG_SOCKS;
	if (!rig->conf.buffer_bytes)
		rig->conf.buffer_bytes = RIG_BUFFER_BYTES;
	rig->deadline_ns = util_now_ns() + RIG_SLOWER * RIG_LIMIT_S * NS_PER_S;
	rig->seed_next = 1;
	rig->random = rig->seed = seed;
	if (!rig_is_fake(rig))
		rig->fds_before = rig->world->fds(rig);
	rig_open(rig);
	rig->world->init(rig);
	test(rig);
	rig_free(rig);
	rig_running = NULL;
	rig_free_memory(rig);
}

void rig_run(uint32_t variant, void (*test)(struct rig *), const struct rig_conf *conf)
{
	uint64_t seeds = variant == VARIANT_FAKE ? FAKE_SEEDS : 1;

	for (uint64_t seed = 1; seed <= seeds; seed++)
		run_once(variant, test, conf, seed);
}
