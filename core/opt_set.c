/* SPDX-License-Identifier: MIT */
/* What each option of the command line does to struct opt, and what to say when its value is
 * wrong. */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "opt_priv.h"
#include "util.h"

/* The option that getopt has just read, as it was written: "-l X", "-lX", "--listen X". */
static const char *option_written(const struct opt_parser *p, char *out)
{
	const char *last = p->argv[optind - 1];
	char text[2 * OPT_QUOTE_MAX];

	if (optarg != last)
		return opt_quote(last, out);
	snprintf(text, sizeof(text), "%s %s", p->argv[optind - 2], last);
	return opt_quote(text, out);
}

static int fail_option(const struct opt_parser *p, const char *why)
{
	char written[OPT_QUOTE_MAX];

	return opt_fail(p->error, "'%s': %s", option_written(p, written), why);
}

static int add_address(struct opt_parser *p, struct addr_spec *specs, const char **texts, int *n,
		       int max)
{
	const char *why;

	if (*n == max)
		return fail_option(p, "too many addresses; 64 can be given");
	if (addr_parse(optarg, &specs[*n], &why) < 0)
		return fail_option(p, why);
	texts[(*n)++] = optarg;
	return 0;
}

static int add_interface(const struct opt_parser *p)
{
	struct opt *opt = p->opt;
	size_t len = strlen(optarg);

	if (!len || len >= IF_NAMESIZE)
		return fail_option(p, "interface names have 1 to 15 characters, as in --xdp eth0");
	for (int i = 0; i < opt->n_xdp; i++)
		if (!strcmp(opt->xdp[i], optarg))
			return fail_option(p, "given twice; leave one out");
	if (opt->n_xdp == OPT_XDP_MAX)
		return fail_option(p, "too many interfaces; 16 can be given");
	opt->xdp[opt->n_xdp++] = optarg;
	return 0;
}

static int set_number(const struct opt_parser *p, int min, int max, const char *example,
		      int *ret_value)
{
	char why[80];

	if (opt_parse_number(optarg, min, max, ret_value) == 0)
		return 0;
	snprintf(why, sizeof(why), "not a number from %d to %d, as in %s", min, max, example);
	return fail_option(p, why);
}

static int set_time(const struct opt_parser *p, const char *example, bool may_be_off,
		    int64_t min_ns, int64_t *ret_ns)
{
	char why[120];
	int64_t ns;
	int r = !may_be_off && !strcmp(optarg, "off") ? -EINVAL : opt_parse_time(optarg, &ns);

	if (r == 0 && ns >= min_ns) {
		*ret_ns = ns;
		return 0;
	}
	if (r == 0 || r == -ERANGE)
		snprintf(why, sizeof(why), "must be from %s to 1000h, as in %s",
			 min_ns ? "1ms" : "0s", example);
	else
		snprintf(why, sizeof(why),
			 "not a time: a whole number with ms, s, m or h%s, as in %s",
			 may_be_off ? ", or off" : "", example);
	return fail_option(p, why);
}

static int set_buffer_memory(const struct opt_parser *p)
{
	uint64_t bytes;
	int r = opt_parse_size(optarg, &bytes);

	if (r == -EINVAL)
		return fail_option(p, "not a size: a whole number with K, M or G, as in "
				      "--buffer-memory 256M");
	if (r < 0 || bytes < OPT_BUFFER_MEMORY_MIN || bytes > OPT_BUFFER_MEMORY_MAX)
		return fail_option(p, "must be from 4M to 1024G, as in --buffer-memory 256M");
	p->opt->buffer_memory = bytes;
	return 0;
}

static int set_cpus(const struct opt_parser *p)
{
	int r = opt_parse_cpus(optarg, &p->opt->cpus, &p->opt->n_cpus);

	if (r == -ERANGE)
		return fail_option(p, "CPU numbers end at 1023, as in --cpus 0,2-5");
	return r < 0 ? fail_option(p, "not a list of CPU numbers, as in --cpus 0,2-5") : 0;
}

/* One of n words; its position is the value. */
static int set_word(const struct opt_parser *p, const char *const *words, size_t n, int *ret_value)
{
	const char *nearest;
	char why[120] = "must be ";
	size_t len = strlen(why);

	for (size_t i = 0; i < n; i++) {
		if (!strcmp(optarg, words[i])) {
			*ret_value = (int)i;
			return 0;
		}
	}
	for (size_t i = 0; i < n; i++) {
		const char *before = i == 0 ? "" : i + 1 < n ? ", " : " or ";

		len += (size_t)snprintf(why + len, sizeof(why) - len, "%s%s", before, words[i]);
		assert(len < sizeof(why)); /* the words are this file's */
	}
	nearest = opt_nearest(optarg, words, n);
	if (nearest)
		snprintf(why + len, sizeof(why) - len, "; did you mean %s?", nearest);
	return fail_option(p, why);
}

static int set_named(struct opt_parser *p, int letter)
{
	static const char *const backends[] = {
		[OPT_BACKEND_AUTO] = "auto",
		[OPT_BACKEND_URING] = "io_uring",
		[OPT_BACKEND_EPOLL] = "epoll",
	};
	static const char *const levels[] = {
		[LOG_ERROR] = "error",
		[LOG_WARN] = "warn",
		[LOG_INFO] = "info",
		[LOG_DEBUG] = "debug",
	};
	static const char *const formats[] = {[LOG_TEXT] = "text", [LOG_JSON] = "json"};
	static const char *const xdp_modes[] = {
		[OPT_XDP_AUTO] = "auto",
		[OPT_XDP_NATIVE] = "native",
		[OPT_XDP_GENERIC] = "generic",
	};
	static const char *const fast_paths[] = {
		[OPT_FAST_AUTO] = "auto", [OPT_FAST_ON] = "on", [OPT_FAST_OFF] = "off"};
	int value = 0, r;

	switch (letter) {
	case 'b':
		r = set_word(p, backends, ARRAY_SIZE(backends), &value);
		p->opt->backend = (enum opt_backend)value;
		return r;
	case O_LOG_LEVEL:
		r = set_word(p, levels, ARRAY_SIZE(levels), &value);
		p->opt->log_level = (enum log_level)value;
		return r;
	case O_XDP_MODE:
		r = set_word(p, xdp_modes, ARRAY_SIZE(xdp_modes), &value);
		p->opt->xdp_mode = (enum opt_xdp_mode)value;
		p->needs_xdp = "--xdp-mode";
		return r;
	case O_FAST_PATH:
		r = set_word(p, fast_paths, ARRAY_SIZE(fast_paths), &value);
		p->opt->fast_path = (enum opt_fast_path)value;
		p->needs_xdp = value == OPT_FAST_ON ? "--fast-path on" : p->needs_xdp;
		return r;
	default:
		r = set_word(p, formats, ARRAY_SIZE(formats), &value);
		p->opt->log_format = (enum log_format)value;
		return r;
	}
}

int opt_set(struct opt_parser *p, int letter)
{
	struct opt *opt = p->opt;

	switch (letter) {
	case 'l':
		return add_address(p, opt->listen, p->listen_text, &opt->n_listen, OPT_LISTEN_MAX);
	case 't':
		return add_address(p, opt->target, p->target_text, &opt->n_target, OPT_TARGET_MAX);
	case 'w':
		return set_number(p, 1, OPT_WORKERS_MAX, "--workers 2", &opt->workers);
	case O_MAX_CONNS:
		return set_number(p, 1, OPT_CONNS_MAX, "--max-conns 10000", &opt->max_conns);
	case O_MAX_SESSIONS:
		return set_number(p, 1, OPT_CONNS_MAX, "--max-sessions 10000", &opt->max_sessions);
	case O_BACKLOG:
		return set_number(p, 1, OPT_BACKLOG_MAX, "--backlog 4096", &opt->backlog);
	case O_CONNECT_TIMEOUT:
		return set_time(p, "--connect-timeout 5s", false, NS_PER_MS,
				&opt->connect_timeout_ns);
	case O_IDLE_TIMEOUT:
		return set_time(p, "--idle-timeout 10m", true, 0, &opt->idle_timeout_ns);
	case O_DRAIN_TIMEOUT:
		return set_time(p, "--drain-timeout 10s", false, 0, &opt->drain_timeout_ns);
	case O_BUFFER_MEMORY:
		return set_buffer_memory(p);
	case O_CPUS:
		return set_cpus(p);
	case O_XDP:
		return add_interface(p);
	case O_XDP_RULES:
		opt->xdp_rules = optarg;
		p->needs_xdp = "--xdp-rules";
		return 0;
	case O_FAST_SESSIONS:
		p->needs_xdp = "--fast-sessions";
		return set_number(p, 1, OPT_FAST_SESSIONS_MAX, "--fast-sessions 10000",
				  &opt->fast_sessions);
	case O_JSON:
		opt->json = true;
		return 0;
	default:
		return set_named(p, letter);
	}
}
