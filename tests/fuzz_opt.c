/* SPDX-License-Identifier: MIT */
/*
 * Fuzzer of the command line: the input's lines are its words. Whatever they are, there is either
 * one line that says what is wrong, or options that keep their limits.
 */
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/opt.h"
#include "core/util.h"

enum { WORDS_MAX = 200 };

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_xdp_options(const struct opt *opt)
{
	bool udp = false;

	for (int i = 0; i < opt->n_listen; i++)
		udp = udp || opt->listen[i].kind == ADDR_UDP;
	CHECK(opt->n_xdp >= 0 && opt->n_xdp <= OPT_XDP_MAX);
	CHECK(!opt->n_xdp || udp);
	CHECK(opt->n_xdp || (!opt->xdp_rules && opt->xdp_mode == OPT_XDP_AUTO));
	CHECK(opt->xdp_mode <= OPT_XDP_GENERIC);
	for (int i = 0; i < opt->n_xdp; i++) {
		CHECK(*opt->xdp[i] && strlen(opt->xdp[i]) < IF_NAMESIZE);
		for (int j = 0; j < i; j++)
			CHECK(strcmp(opt->xdp[i], opt->xdp[j]));
	}
}

static void check_options(const struct opt *opt)
{
	const int64_t time_max = INT64_C(1000) * 3600 * NS_PER_S;

	CHECK(opt->n_listen >= 1 && opt->n_listen <= OPT_LISTEN_MAX);
	CHECK(opt->n_target <= OPT_TARGET_MAX);
	CHECK((opt->n_target > 0) == (opt->command == OPT_RELAY));
	for (int i = 0; i < opt->n_target; i++)
		CHECK(opt->target[i].port || opt->target[i].kind == ADDR_UNIX);
	CHECK(opt->workers >= 0 && opt->workers <= OPT_WORKERS_MAX);
	CHECK(opt->n_cpus == CPU_COUNT(&opt->cpus));
	CHECK(opt->max_conns >= 0 && opt->max_sessions >= 0);
	CHECK(opt->backlog >= 1 && opt->backlog <= 65535);
	CHECK(opt->connect_timeout_ns > 0 && opt->connect_timeout_ns <= time_max);
	CHECK(opt->idle_timeout_ns >= -1 && opt->idle_timeout_ns <= time_max);
	CHECK(opt->drain_timeout_ns >= 0 && opt->drain_timeout_ns <= time_max);
	CHECK(opt->buffer_memory == 0 || opt->buffer_memory >= 4 << 20);
	CHECK(opt->backend <= OPT_BACKEND_EPOLL);
	CHECK(opt->log_level <= LOG_DEBUG && opt->log_format <= LOG_JSON);
	check_xdp_options(opt);
}

static void check_command_line(int argc, char *const argv[])
{
	struct opt opt;
	char error[OPT_ERROR_MAX] = "";
	int r = opt_parse(argc, argv, &opt, error);

	CHECK(r == 0 || r == -EINVAL);
	if (r < 0) {
		CHECK(*error && memchr(error, '\0', sizeof(error)));
		for (const char *c = error; *c; c++)
			CHECK((unsigned char)*c >= ' ');
		return;
	}
	CHECK(*opt_help(opt.command == OPT_HELP ? opt.help_about : opt.command));
	if (opt.command <= OPT_RELAY)
		check_options(&opt);
	if (opt.command == OPT_XDP)
		CHECK(opt.xdp_argc >= 1 && opt.xdp_argc == argc - 2 && opt.xdp_argv == argv + 2);
}

/* What was read can be written in the smallest unit and read back. */
static void check_values(const char *text)
{
	char number[40];
	int64_t ns, ns_again;
	uint64_t bytes, bytes_again;
	cpu_set_t set;
	int n;

	if (opt_parse_time(text, &ns) == 0) {
		CHECK(ns >= 0 && ns % NS_PER_MS == 0);
		snprintf(number, sizeof(number), "%" PRId64 "ms", ns / NS_PER_MS);
		CHECK(opt_parse_time(number, &ns_again) == 0 && ns_again == ns);
	}
	if (opt_parse_size(text, &bytes) == 0) {
		snprintf(number, sizeof(number), "%" PRIu64, bytes);
		CHECK(opt_parse_size(number, &bytes_again) == 0 && bytes_again == bytes);
	}
	if (opt_parse_cpus(text, &set, &n) == 0)
		CHECK(n > 0 && n == CPU_COUNT(&set));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *rest = text, *word;
	char *argv[WORDS_MAX + 2] = {(char *)"sluice"};
	int argc = 1;

	memcpy(text, data, size);
	text[size] = '\0';
	while (argc <= WORDS_MAX && (word = strsep(&rest, "\n"))) {
		argv[argc++] = word;
		check_values(word);
	}
	check_command_line(argc, argv);
	free(text);
	return 0;
}
