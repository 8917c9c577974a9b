/* SPDX-License-Identifier: MIT */
/* One rule set of the XDP filter after another: what stays, what goes, and what fails. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/xdp_model.h"

TestSuite(xdp_replace, .timeout = 120);

#define S ((uint64_t)NS_PER_S)

static uint32_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t n = 0;

	cr_assert(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void send_n(struct trial *trial, uint32_t source, uint16_t port, uint32_t n, uint32_t passed)
{
	struct frame_spec spec = frame_spec4();
	uint32_t word = htonl(source);
	struct frame frame;

	memcpy(spec.src, &word, sizeof(word));
	spec.dst_port = port;
	frame_build(&spec, &frame);
	for (uint32_t i = 0; i < n; i++)
		if ((trial_judge(trial, &frame).verdict == FILTER_PASS) != (i < passed))
			trial_fail(trial, &frame, "datagram %u", i);
}

/* The set in force is what the model has, in the same order. */
static void check_rules(struct trial *trial)
{
	char error[XDP_ERROR_MAX] = "", rule[RULE_TEXT_MAX], want[RULE_TEXT_MAX];
	struct rule_set set;

	cr_assert_eq(xdp_rules(trial->xdp, &set, error), 0, "%s", error);
	cr_assert_eq(set.n, trial->model.n_rules);
	for (uint32_t i = 0; i < set.n; i++) {
		rule_format(&set.rules[i], rule);
		rule_format(&trial->model.rules[i].rule, want);
		cr_assert_str_eq(rule, want);
	}
	/* It is a set like any other: rules are found in it. */
	for (uint32_t i = 0; i < MIN(set.n, 100u); i++)
		cr_assert_eq(rule_set_add(&set, &set.rules[i], NULL), 1);
	rule_set_free(&set);
}

/* ---- what stays ---- */

Test(xdp_replace, rules_that_stay_keep_counters_and_limits)
{
	struct trial trial;

	trial_open_text(&trial, "limit to-port 1 rate 1 burst 5 per source\n"
				"limit to-port 2 rate 1 burst 5 per prefix 24\n"
				"limit to-port 3 rate 1 burst 5 total\n"
				"drop to-port 9\n");
	for (uint16_t port = 1; port <= 3; port++)
		send_n(&trial, 0x0a000001, port, 3, 3);
	send_n(&trial, 0x0a000001, 9, 3, 0);
	/* The same limits, at other places and with another one among them. */
	trial_replace_text(&trial, "drop from 10.0.0.9\n"
				   "limit to-port 3 rate 1 burst 5 total\n"
				   "drop to-port 9\n"
				   "limit to-port 4 rate 1 burst 5 total\n"
				   "limit to-port 2 rate 1 burst 5 per prefix 24\n"
				   "limit to-port 1 rate 1 burst 5 per source\n");
	trial_check(&trial);
	for (uint16_t port = 1; port <= 3; port++)
		send_n(&trial, 0x0a000001, port, 4, 2);
	send_n(&trial, 0x0a000001, 4, 7, 5);
	send_n(&trial, 0x0a000001, 9, 3, 0);
	check_rules(&trial);
	trial_close(&trial);
}

Test(xdp_replace, rules_that_come_back_begin_anew)
{
	struct trial trial;

	trial_open_text(&trial, "limit rate 1 burst 5 per source\ndrop to-port 9");
	send_n(&trial, 0x0a000001, 1, 7, 5);
	send_n(&trial, 0x0a000001, 9, 2, 0);
	trial_replace_text(&trial, "default pass");
	trial_check(&trial);
	send_n(&trial, 0x0a000001, 1, 9, 9);
	trial_replace_text(&trial, "limit rate 1 burst 5 per source\ndrop to-port 9");
	trial_check(&trial);
	send_n(&trial, 0x0a000001, 1, 7, 5);
	send_n(&trial, 0x0a000001, 9, 2, 0);
	trial_close(&trial);
}

/* What others owe under a limit that has gone is nothing to the limit that follows it. */
Test(xdp_replace, limits_do_not_inherit)
{
	static const char *const by[] = {"per source", "per prefix 16", "total"};
	struct trial trial;
	char text[256];

	trial_open_text(&trial, "limit to-port 7 rate 1 burst 9 per source");
	send_n(&trial, 0x0a000001, 7, 2, 2);
	for (uint32_t i = 0; i < 30; i++) {
		snprintf(text, sizeof(text),
			 "limit to-port 8 rate 1 burst %u %s\n"
			 "limit to-port 7 rate 1 burst 9 per source\n"
			 "limit to-port 9 rate 1 burst %u %s\n",
			 100 - i, by[i % 3], 100 - i, by[(i + 1) % 3]);
		trial_replace_text(&trial, text);
		send_n(&trial, 0x0a000001, 8, 101 - i, 100 - i);
		send_n(&trial, 0x0a000001, 9, 101 - i, 100 - i);
	}
	send_n(&trial, 0x0a000001, 7, 8, 7);
	trial_close(&trial);
}

/* As many limits as there may be, all of them replaced, and half of them. */
Test(xdp_replace, as_many_limits_as_there_may_be)
{
	static char text[RULE_LIMITS_MAX * 80];
	struct trial trial;

	trial_open_text(&trial, "default pass");
	for (uint32_t round = 0; round < 5; round++) {
		size_t len = 0;

		for (uint32_t i = 0; i < RULE_LIMITS_MAX; i++)
			len += (size_t)snprintf(text + len, sizeof(text) - len,
						"limit to-port %u rate 1 burst %u %s\n", i + 1,
						3 + (i % 2 ? round : 0),
						i % 3 ? "per source" : "total");
		trial_replace_text(&trial, text);
		for (uint32_t i = 0; i < RULE_LIMITS_MAX; i += 7) {
			bool stayed = round && i % 2 == 0;
			uint32_t burst = 3 + (i % 2 ? round : 0);

			send_n(&trial, 0x0a000001, (uint16_t)(i + 1), burst + 1,
			       stayed ? 0 : burst);
		}
		trial_check(&trial);
	}
	check_rules(&trial);
	trial_close(&trial);
}

Test(xdp_replace, generations_and_descriptors)
{
	uint32_t fds[2] = {0}; /* with either set */
	struct xdp_info info;
	struct trial trial;

	trial_open_text(&trial, "limit rate 1 burst 1 total");
	xdp_info(trial.xdp, &info);
	cr_assert_eq(info.generation, 1);
	for (uint32_t i = 2; i < 12; i++) {
		trial_replace_text(&trial, i % 2 ? "limit rate 1 burst 1 total\ndrop to-port 9"
						 : "drop from 10.0.0.1\ndrop length 0-3");
		xdp_info(trial.xdp, &info);
		cr_assert_eq(info.generation, i);
		cr_assert_eq(info.n_rules, 3);
		cr_assert_eq(info.n_limits, i % 2);
		if (i < 4)
			fds[i % 2] = count_fds();
		cr_assert_eq(count_fds(), fds[i % 2], "replacement %u: %u descriptors, not %u", i,
			     count_fds(), fds[i % 2]);
		check_rules(&trial);
	}
	trial_close(&trial);
}

/* ---- sizes ---- */

Test(xdp_replace, sets_of_many_prefixes)
{
	enum { PREFIXES = 20000 };
	struct rule_set set = trial_rules("default pass\nlimit rate 1 burst 2 per source");
	struct frame_spec spec = frame_spec4();
	struct trial trial;
	struct frame frame;

	for (uint32_t i = 0; i < PREFIXES; i++) {
		uint32_t bits = 16 + i % 17, word = htonl(i * 2654435761u & -1u << (32 - bits));
		struct rule rule;

		memset(&rule, 0, sizeof(rule));
		rule.action = i % 3 ? RULE_DROP : RULE_PASS;
		rule.kind = RULE_MATCH;
		rule.family = AF_INET;
		rule.prefix_len = (uint8_t)bits;
		memcpy(rule.addr, &word, sizeof(word));
		cr_assert_leq(rule_set_add(&set, &rule, NULL), 1);
	}
	trial_open(&trial, &set, NULL, 0);
	frame_build(&spec, &frame);
	for (uint32_t round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < 3000; i++) {
			uint32_t word = htonl(i * 7 * 2654435761u + i % 5);

			memcpy(frame_src(&frame, false), &word, sizeof(word));
			trial_judge(&trial, &frame);
		}
		trial_check(&trial);
		check_rules(&trial);
		/* What is last takes the place of one in the middle. */
		cr_assert_eq(rule_set_del(&set, &set.rules[PREFIXES / 2]), 0);
		trial_replace(&trial, &set);
	}
	trial_close(&trial);
	rule_set_free(&set);
}

/* ---- failures ---- */

/* Runs out of descriptors at the first, the second, ... that the new set needs. */
Test(xdp_replace, what_fails_leaves_the_old_set_in_force)
{
	static const char before[] = "limit to-port 1 rate 1 burst 50 per source\n"
				     "limit to-port 2 rate 1 burst 50 total\n"
				     "drop to-port 9\n";
	struct rule_set set = trial_rules("default drop\n"
					  "limit to-port 2 rate 1 burst 50 total\n"
					  "limit to-port 3 rate 2 burst 1 per source\n"
					  "pass from 10.0.0.0/8\n"
					  "pass from 2001:db8::/32\n"
					  "drop length 0-3\n");
	char error[XDP_ERROR_MAX];
	uint32_t failed = 0, fds;
	struct rlimit limit, less;
	struct trial trial;

	trial_open_text(&trial, before);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	fds = count_fds();
	for (uint32_t more = 0;; more += more < 18 ? 1 : 8) {
		int next = dup(STDERR_FILENO), r;

		cr_assert_geq(next, 0);
		close(next);
		less = (struct rlimit){(rlim_t)next + more, limit.rlim_max};
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &less), 0);
		error[0] = '\0';
		r = xdp_replace(trial.xdp, &set, error);
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		if (r == 0)
			break;
		cr_assert_eq(count_fds(), fds, "after %d with %u more", r, more);
		cr_assert_lt(r, 0);
		cr_assert_gt(strlen(error), 0, "%d without a word", r);
		cr_assert_not(strchr(error, '\n'), "%s", error);
		failed++;
		send_n(&trial, 0x0a000001, 1, 1, 1);
		send_n(&trial, 0x0a000001, 2, 1, 1);
		send_n(&trial, 0x0a000001, 9, 1, 0);
		trial_check(&trial);
		check_rules(&trial);
	}
	cr_assert_gt(failed, 3);
	model_replace(&trial.model, &set);
	send_n(&trial, 0x0a000001, 2, 50, 50 - failed);
	send_n(&trial, 0x0b000001, 2, 1, 0);
	trial_check(&trial);
	check_rules(&trial);
	trial_close(&trial);
	rule_set_free(&set);
}
