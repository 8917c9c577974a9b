/* SPDX-License-Identifier: MIT */
/* Loads filters with the fast path, runs frames through them, and compares. */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/fast_trial.h"
#include "tests/xdp_model.h"

/* ---- opening ---- */

void fast_skip_or_fail(int err, const char *what)
{
	const char *strict = getenv("STRICT");

	if ((err == -EPERM || err == -EOPNOTSUPP || err == -ENOSYS) &&
	    !(strict && !strcmp(strict, "1")))
		cr_skip_test("%s", what);
	cr_assert_eq(err, 0, "%d: %s", err, what);
}

struct xdp_sessions *fast_sessions(uint32_t capacity)
{
	struct xdp_sessions *sessions = NULL;
	char error[XDP_ERROR_MAX] = "";

	fast_skip_or_fail(xdp_sessions_new(capacity, &sessions, error), error);
	return sessions;
}

void fast_open(struct fast *fast, enum fast_mode mode, const char *rules,
	       const union addr_inet *served, uint32_t n_served, struct xdp_sessions *sessions)
{
	struct rule_set set = trial_rules(rules);
	const struct xdp_conf conf = {
		.rules = &set,
		.served = served,
		.n_served = n_served,
		.fast = mode,
		.sessions = sessions,
	};
	char error[XDP_ERROR_MAX] = "";

	memset(fast, 0, sizeof(*fast));
	fast_skip_or_fail(xdp_load(&conf, &fast->xdp, error), error);
	rule_set_free(&set);
	xdp_set_clock(fast->xdp, 1000 * (uint64_t)NS_PER_S);
	fast->random = 1;
	fast->host.on = 1;
	fast->host.hop_limit4 = 61;
	fast->host.hop_limit6 = 62;
	memcpy(fast->host.mac, "\x02\0\0\0\0\x01", 6);
}

void fast_close(struct fast *fast)
{
	fast_check(fast);
	xdp_close(fast->xdp);
}

void fast_set(struct fast *fast, const union addr_inet *addrs, uint32_t n_addrs)
{
	fast->host.ifindex = fast->ingress;
	cr_assert_eq(xdp_fast_set(fast->xdp, &fast->host, addrs, n_addrs), 0);
}

void fast_replace(struct fast *fast, const char *rules)
{
	struct rule_set set = trial_rules(rules);
	char error[XDP_ERROR_MAX] = "";
	int err = xdp_replace(fast->xdp, &set, error);

	cr_assert_eq(err, 0, "%d: %s", err, error);
	rule_set_free(&set);
}

/* ---- running ---- */

int fast_run(const struct fast *fast, const struct frame *in, struct frame *ret_out)
{
	struct xdp_md md = {.data_end = in->len, .ingress_ifindex = fast->ingress};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	memset(ret_out->data, 0xee, MIN(in->len + 64, (uint32_t)FRAME_BYTES_MAX));
	attr.test.prog_fd = (uint32_t)xdp_program_fd(fast->xdp);
	attr.test.data_in = (uintptr_t)in->data;
	attr.test.data_size_in = in->len;
	attr.test.data_out = (uintptr_t)ret_out->data;
	attr.test.data_size_out = sizeof(ret_out->data);
	attr.test.repeat = 1;
	if (fast->ingress) {
		attr.test.ctx_in = (uintptr_t)&md;
		attr.test.ctx_size_in = sizeof(md);
	}
	while (syscall(__NR_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
		if (errno != EINTR)
			cr_assert_fail("BPF_PROG_TEST_RUN: %s", strerror(errno));
	ret_out->len = attr.test.data_size_out;
	return (int)attr.test.retval;
}

static void print_frame(const char *what, const struct frame *frame)
{
	fprintf(stderr, "%s, %u bytes:", what, frame->len);
	for (uint32_t i = 0; i < MIN(frame->len, 120u); i++)
		fprintf(stderr, "%s%02x", i % 4 == 2 ? " " : "", frame->data[i]);
	fputc('\n', stderr);
}

static void fail(const struct fast *fast, const struct frame *in, const struct frame *out,
		 const struct frame *want, const char *format, ...)
	__attribute__((format(printf, 5, 6), noreturn));

static void fail(const struct fast *fast, const struct frame *in, const struct frame *out,
		 const struct frame *want, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	print_frame("frame", in);
	print_frame("came out", out);
	print_frame("expected", want);
	cr_assert_fail("%s%s%s", fast->note, *fast->note ? ": " : "", text);
	abort();
}

void fast_expect(struct fast *fast, const struct frame *in, int action, const struct frame *want,
		 enum fast_reason reason)
{
	static struct frame out;
	int got = fast_run(fast, in, &out);

	want = want ? want : in;
	if (got != action)
		fail(fast, in, &out, want, "the program returns %d, expected is %d (%s)", got,
		     action, reason < FAST_REASONS ? xdp_fast_name(reason) : "not counted");
	if (out.len != want->len)
		fail(fast, in, &out, want, "a frame of %u bytes, not %u", out.len, want->len);
	for (uint32_t i = 0; i < out.len; i++)
		if (out.data[i] != want->data[i])
			fail(fast, in, &out, want, "byte %u is %02x, not %02x", i, out.data[i],
			     want->data[i]);
	if (reason == FAST_UNCOUNTED)
		return;
	fast->want[reason].packets++;
	fast->want[reason].bytes += in->len;
}

void fast_expect_up(struct fast *fast, const struct frame *in, enum fast_reason reason)
{
	fast_expect(fast, in, XDP_PASS, NULL, reason);
}

/* ---- counters ---- */

static struct xdp_stats read_stats(struct fast *fast)
{
	char error[XDP_ERROR_MAX] = "";
	struct xdp_stats stats;
	int err = xdp_read(fast->xdp, &stats, error);

	cr_assert_eq(err, 0, "%d: %s", err, error);
	return stats;
}

void fast_check(struct fast *fast)
{
	struct xdp_stats stats = read_stats(fast);

	for (int i = 0; i < FAST_REASONS; i++) {
		const struct filter_count *got = &stats.fast[i], *want = &fast->want[i];

		cr_assert(got->packets == want->packets && got->bytes == want->bytes,
			  "%s%s%s: counted %llu packets of %llu bytes, expected %llu of %llu",
			  fast->note, *fast->note ? ": " : "", xdp_fast_name(i), got->packets,
			  got->bytes, want->packets, want->bytes);
	}
	xdp_stats_free(&stats);
}

uint64_t fast_rule_packets(struct fast *fast, const char *rule)
{
	struct xdp_stats stats = read_stats(fast);
	uint64_t packets = UINT64_MAX;
	char text[RULE_TEXT_MAX];

	for (uint32_t i = 0; i < stats.n_rules; i++)
		if (!strcmp(rule_format(&stats.rules[i], text), rule))
			packets = stats.by_rule[i].packets;
	xdp_stats_free(&stats);
	cr_assert_neq(packets, UINT64_MAX, "no rule '%s'", rule);
	return packets;
}

struct filter_count fast_filter_count(struct fast *fast, enum filter_reason reason,
				      enum filter_verdict verdict)
{
	struct xdp_stats stats = read_stats(fast);
	struct filter_count count = stats.by_reason[reason][verdict];

	xdp_stats_free(&stats);
	return count;
}

uint32_t fast_below(struct fast *fast, uint32_t n)
{
	fast->random = fast->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((fast->random >> 33) % n);
}

void fast_step_clock(void)
{
	struct timespec before, now;

	for (int i = 0; i < 2; i++) {
		clock_gettime(CLOCK_MONOTONIC_COARSE, &before);
		do {
			sched_yield();
			clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
		} while (now.tv_sec == before.tv_sec && now.tv_nsec == before.tv_nsec);
	}
}
