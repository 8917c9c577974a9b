/* SPDX-License-Identifier: MIT */
/*
 * What the XDP filter must do, from the comment of xdp/rule.h alone: every rule is looked at for
 * every datagram, time is exact, and sources are a list. And trials, in which a loaded filter and
 * the model judge the same frames; they must agree about each of them and about every counter.
 */
#ifndef SLUICE_TESTS_XDP_MODEL_H
#define SLUICE_TESTS_XDP_MODEL_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/util.h"
#include "tests/xdp_frame.h"
#include "xdp/rule.h"
#include "xdp/xdp.h"

#define MODEL_NO_RULE UINT32_MAX

/* Time is counted in parts of a nanosecond, as many as a limit's rate: nothing is rounded. */
typedef unsigned __int128 model_time;

struct model_source {
	uint8_t key[17]; /* family, and what of the address tells sources apart */
	model_time tat;
};

struct model_rule {
	struct rule rule;
	struct filter_count count;
	struct model_source *sources;
	uint32_t n_sources;
};

struct model {
	struct model_rule *rules;
	uint32_t n_rules;
	struct filter_count by_reason[FILTER_REASONS][FILTER_VERDICTS];
	const union addr_inet *served; /* not the model's own */
	uint32_t n_served;
};

struct model_verdict {
	enum filter_verdict verdict;
	enum filter_reason reason;
	uint32_t rule; /* index of the one that is counted, or MODEL_NO_RULE */
};

/* Rules of both sets keep counters and sources. Begins with a zeroed model. */
void model_replace(struct model *model, const struct rule_set *set);
void model_free(struct model *model);
struct model_verdict model_judge(struct model *model, const struct frame *frame, uint64_t now_ns);

struct trial {
	struct xdp *xdp;
	struct model model;
	uint64_t now_ns;
	uint32_t linear; /* bytes of frames that lie together; 0: as many as fit */
	char note[128];  /* printed with a failure: a seed */
};

/* Loads a filter with the set, in a server that listens on served. Where the kernel or the user
 * cannot have one, the test is skipped; with STRICT=1 it fails. */
void trial_open(struct trial *trial, const struct rule_set *set, const union addr_inet *served,
		uint32_t n_served);
/* The same with the rules of a text, for all datagrams. */
void trial_open_text(struct trial *trial, const char *rules);
void trial_close(struct trial *trial);
void trial_replace(struct trial *trial, const struct rule_set *set);
void trial_replace_text(struct trial *trial, const char *rules);
void trial_advance(struct trial *trial, uint64_t ns);

/* Both judge; returns what they agree on. */
struct model_verdict trial_judge(struct trial *trial, const struct frame *frame);
/* The same with a verdict that the test knows. rule is its text, or NULL where none is counted. */
void trial_expect(struct trial *trial, const struct frame *frame, enum filter_verdict verdict,
		  enum filter_reason reason, const char *rule);
/* What the filter alone says: XDP_PASS, XDP_DROP or a negative errno. */
int trial_run(struct trial *trial, const struct frame *frame);
/* Whether the kernel (Linux 6.18) tears frames as trial->linear says. Tries it with a datagram,
 * which counts as any. */
bool trial_can_tear(struct trial *trial);
/* Compares all counters and fails, or says where they differ. */
void trial_check(struct trial *trial);
bool trial_counts_agree(struct trial *trial, char *ret_why, size_t size);
/* Fails with the rules, the frame (may be NULL) and the trial's note. */
void trial_fail(const struct trial *trial, const struct frame *frame, const char *format, ...)
	__attribute__((format(printf, 3, 4), noreturn));

/* A set of the rules of a text, one a line. */
struct rule_set trial_rules(const char *text);

#endif
