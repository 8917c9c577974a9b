/* SPDX-License-Identifier: MIT */
/* Filter and model judge the same frames, and have to agree on verdicts and counters. */
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "tests/xdp_model.h"

struct rule_set trial_rules(const char *text)
{
	struct rule_set set;
	struct rule_error error;

	cr_assert_eq(rule_set_init(&set), 0);
	if (rule_set_parse(&set, text, strlen(text), &error))
		cr_assert_fail("line %u, column %u: %s", error.line, error.column, error.text);
	return set;
}

static void must_load(const struct rule_set *set, int r, const char *error)
{
	char rule[RULE_TEXT_MAX];

	for (uint32_t i = 0; r && i < MIN(set->n, 500u); i++)
		fprintf(stderr, "%s\n", rule_format(&set->rules[i], rule));
	cr_assert_eq(r, 0, "%d: %s", r, error);
}

void trial_open(struct trial *trial, const struct rule_set *set, const union addr_inet *served,
		uint32_t n_served)
{
	const struct xdp_conf conf = {.rules = set, .served = served, .n_served = n_served};
	const char *strict = getenv("STRICT");
	char error[XDP_ERROR_MAX] = "";
	int r;

	memset(trial, 0, sizeof(*trial));
	r = xdp_load(&conf, &trial->xdp, error);
	if ((r == -EPERM || r == -EOPNOTSUPP || r == -ENOSYS) && !(strict && !strcmp(strict, "1")))
		cr_skip_test("%s", error);
	must_load(set, r, error);
	model_replace(&trial->model, set);
	trial->model.served = served;
	trial->model.n_served = n_served;
	trial_advance(trial, 1000 * (uint64_t)NS_PER_S);
}

void trial_open_text(struct trial *trial, const char *rules)
{
	struct rule_set set = trial_rules(rules);

	trial_open(trial, &set, NULL, 0);
	rule_set_free(&set);
}

void trial_close(struct trial *trial)
{
	trial_check(trial);
	xdp_close(trial->xdp);
	model_free(&trial->model);
}

void trial_replace(struct trial *trial, const struct rule_set *set)
{
	char error[XDP_ERROR_MAX] = "";

	must_load(set, xdp_replace(trial->xdp, set, error), error);
	model_replace(&trial->model, set);
}

void trial_replace_text(struct trial *trial, const char *rules)
{
	struct rule_set set = trial_rules(rules);

	trial_replace(trial, &set);
	rule_set_free(&set);
}

void trial_advance(struct trial *trial, uint64_t ns)
{
	trial->now_ns += ns;
	xdp_set_clock(trial->xdp, trial->now_ns);
}

void trial_fail(const struct trial *trial, const struct frame *frame, const char *format, ...)
{
	char text[512], rule[RULE_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "rules%s%s:\n", *trial->note ? ", " : "", trial->note);
	for (uint32_t i = 0; i < MIN(trial->model.n_rules, 500u); i++)
		fprintf(stderr, "\t%s\n", rule_format(&trial->model.rules[i].rule, rule));
	if (frame) {
		fprintf(stderr, "frame of %u bytes, %u of them linear:", frame->len,
			trial->linear ? trial->linear : frame->len);
		for (uint32_t i = 0; i < MIN(frame->len, 200u); i++)
			fprintf(stderr, "%s%02x", i % 4 ? "" : " ", frame->data[i]);
		fputc('\n', stderr);
	}
	cr_assert_fail("at %lu ns: %s", trial->now_ns, text);
	abort();
}

int trial_run(struct trial *trial, const struct frame *frame)
{
	struct xdp_md md = {.data_end = trial->linear};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)xdp_program_fd(trial->xdp);
	attr.test.data_in = (uintptr_t)frame->data;
	attr.test.data_size_in = frame->len;
	attr.test.repeat = 1;
	if (trial->linear && trial->linear < frame->len) {
		attr.test.ctx_in = (uintptr_t)&md;
		attr.test.ctx_size_in = sizeof(md);
	}
	while (syscall(__NR_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
		if (errno != EINTR)
			return -errno;
	return (int)attr.test.retval;
}

bool trial_can_tear(struct trial *trial)
{
	struct frame_spec spec = frame_spec4();
	struct frame frame;
	int r;

	frame_build(&spec, &frame);
	trial->linear = 20;
	r = trial_run(trial, &frame);
	trial->linear = 0;
	if (r >= 0)
		model_judge(&trial->model, &frame, trial->now_ns);
	return r >= 0;
}

struct model_verdict trial_judge(struct trial *trial, const struct frame *frame)
{
	struct model_verdict model = model_judge(&trial->model, frame, trial->now_ns);
	int want = model.verdict == FILTER_PASS ? XDP_PASS : XDP_DROP;
	int filter = trial_run(trial, frame);

	if (filter != want)
		trial_fail(trial, frame, "the filter returns %d, expected is %d (%s, rule %d)",
			   filter, want, xdp_reason_name(model.reason), (int)model.rule);
	return model;
}

void trial_expect(struct trial *trial, const struct frame *frame, enum filter_verdict verdict,
		  enum filter_reason reason, const char *rule)
{
	struct model_verdict model = trial_judge(trial, frame);
	char text[RULE_TEXT_MAX] = "";

	if (model.rule != MODEL_NO_RULE)
		rule_format(&trial->model.rules[model.rule].rule, text);
	if (model.verdict != verdict || model.reason != reason || strcmp(text, rule ? rule : ""))
		trial_fail(trial, frame, "the model says %s by %s, rule '%s'",
			   model.verdict == FILTER_PASS ? "pass" : "drop",
			   xdp_reason_name(model.reason), text);
}

static bool agree(const char *what, const struct filter_count *filter,
		  const struct filter_count *model, char *ret_why, size_t size)
{
	if (filter->packets == model->packets && filter->bytes == model->bytes)
		return true;
	snprintf(ret_why, size, "%s: counted %llu packets of %llu bytes, expected %llu of %llu",
		 what, filter->packets, filter->bytes, model->packets, model->bytes);
	return false;
}

static bool reasons_agree(const struct trial *trial, const struct xdp_stats *stats, char *ret_why,
			  size_t size)
{
	struct filter_count sums[FILTER_VERDICTS] = {{0}};
	char what[64];

	for (uint32_t i = 0; i < FILTER_REASONS * FILTER_VERDICTS; i++) {
		uint32_t reason = i / FILTER_VERDICTS, verdict = i % FILTER_VERDICTS;
		const struct filter_count *model = &trial->model.by_reason[reason][verdict];

		snprintf(what, sizeof(what), "%s, %s", xdp_reason_name(reason),
			 verdict == FILTER_PASS ? "passed" : "dropped");
		if (!agree(what, &stats->by_reason[reason][verdict], model, ret_why, size))
			return false;
		sums[verdict].packets += model->packets;
		sums[verdict].bytes += model->bytes;
	}
	return agree("passed", &stats->by_verdict[FILTER_PASS], &sums[FILTER_PASS], ret_why,
		     size) &&
	       agree("dropped", &stats->by_verdict[FILTER_DROP], &sums[FILTER_DROP], ret_why, size);
}

bool trial_counts_agree(struct trial *trial, char *ret_why, size_t size)
{
	struct xdp_stats stats;
	char error[XDP_ERROR_MAX] = "", rule[RULE_TEXT_MAX];
	bool ok;
	int r = xdp_read(trial->xdp, &stats, error);

	cr_assert_eq(r, 0, "%d: %s", r, error);
	cr_assert_eq(stats.n_rules, trial->model.n_rules);
	ok = reasons_agree(trial, &stats, ret_why, size);
	for (uint32_t i = 0; ok && i < stats.n_rules; i++) {
		const struct model_rule *model = &trial->model.rules[i];

		cr_assert(!memcmp(&stats.rules[i], &model->rule, sizeof(struct rule)),
			  "rule %u: %s", i, rule_format(&stats.rules[i], rule));
		ok = agree(rule_format(&model->rule, rule), &stats.by_rule[i], &model->count,
			   ret_why, size);
	}
	xdp_stats_free(&stats);
	return ok;
}

void trial_check(struct trial *trial)
{
	char why[512];

	if (!trial_counts_agree(trial, why, sizeof(why)))
		trial_fail(trial, NULL, "%s", why);
}
