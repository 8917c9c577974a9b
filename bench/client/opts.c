/* SPDX-License-Identifier: MIT */
/* The command line of one run, as a whole: options, defaults and what contradicts what. */
#include "bench/client/opts.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PID_LIMIT = 1 << 22 }; /* the kernel's */

enum {
	OPT_THREADS = 256,
	OPT_CPUS,
	OPT_RATE,
	OPT_PATTERN,
	OPT_VERIFY,
	OPT_PID,
	OPT_JSON,
	OPT_CSV,
	OPT_HIST,
	OPT_SPIN,
	OPT_OPEN_TIMEOUT,
	OPT_TIMEOUT,
	OPT_IDLE,
	OPT_QUIET,
	OPT_CLOSE,
	OPT_SOURCE,
	OPT_BATCH,
	OPT_GSO,
};

static const struct option long_options[] = {
	{"connections", required_argument, NULL, 'c'},
	{"size", required_argument, NULL, 's'},
	{"depth", required_argument, NULL, 'd'},
	{"duration", required_argument, NULL, 't'},
	{"warmup", required_argument, NULL, 'w'},
	{"threads", required_argument, NULL, OPT_THREADS},
	{"cpus", required_argument, NULL, OPT_CPUS},
	{"rate", required_argument, NULL, OPT_RATE},
	{"pattern", required_argument, NULL, OPT_PATTERN},
	{"verify", no_argument, NULL, OPT_VERIFY},
	{"pid", required_argument, NULL, OPT_PID},
	{"json", required_argument, NULL, OPT_JSON},
	{"csv", required_argument, NULL, OPT_CSV},
	{"hist", required_argument, NULL, OPT_HIST},
	{"spin", no_argument, NULL, OPT_SPIN},
	{"open-timeout", required_argument, NULL, OPT_OPEN_TIMEOUT},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"idle", no_argument, NULL, OPT_IDLE},
	{"quiet", no_argument, NULL, OPT_QUIET},
	{"close", required_argument, NULL, OPT_CLOSE},
	{"source", required_argument, NULL, OPT_SOURCE},
	{"batch", required_argument, NULL, OPT_BATCH},
	{"gso", no_argument, NULL, OPT_GSO},
	{"help", no_argument, NULL, 'h'},
	{0},
};

const char bench_opts_help[] =
	"sluice-bench tcp HOST:PORT | udp HOST:PORT | unix:PATH [options]\n"
	"\n"
	"Loads an echo, relay or discard service and measures it.\n"
	"\n"
	"  sluice-bench tcp 127.0.0.1:7007 -c 64 -s 64 -t 10s --pid 4711\n"
	"  sluice-bench tcp [::1]:7007 -c 64 --rate 50K --spin --cpus 1 --json run.json\n"
	"  sluice-bench udp localhost:7007 -c 16 -s 64-1400 --depth 4 --verify\n"
	"\n"
	"The load:\n"
	"  -c, --connections N  sockets, 1 to 1000000 (1)\n"
	"  -s, --size B         bytes of a message, or MIN-MAX: uniform (64); up to 64M,\n"
	"                       datagrams from 16, their header, to 65507\n"
	"  -d, --depth N        messages under way on each connection, 1 to 4096 (1)\n"
	"      --pattern P      what goes where:\n"
	"                       rr      request, response: the service echoes (default)\n"
	"                       stream  one way at full speed: the service discards\n"
	"                       duplex  both ways at full speed: the service echoes\n"
	"                       churn   a connection per message: connect, send, receive\n"
	"                               the answer, close\n"
	"      --rate R         messages per second of all connections together, evenly\n"
	"                       spaced: latency counts from when one should have gone;\n"
	"                       without, a connection waits for answers, and so a stall\n"
	"                       is one slow message on each, not all that it held up\n"
	"      --close HOW      churn: close with an end (fin, default) or with a reset\n"
	"                       (reset), which leaves no port in TIME_WAIT\n"
	"      --source A[,A]   addresses to connect from, in turn (the kernel chooses;\n"
	"                       churn to 127.0.0.0/8: 64 of those)\n"
	"      --verify         compare every byte that comes back\n"
	"\n"
	"The time:\n"
	"  -t, --duration T     measured (2s)\n"
	"  -w, --warmup T       before it (0.5s)\n"
	"      --open-timeout T for all connections to open (30s)\n"
	"      --timeout T      for an answer; after it a datagram counts as lost (1s),\n"
	"                       a connection as failed (10s)\n"
	"\n"
	"The generator:\n"
	"      --threads N      each with its share of the connections, 1 to 256 (1)\n"
	"      --cpus LIST      pin the threads to these, in turn, as in 1,4-7\n"
	"      --spin           never sleep, so that the server need not wake it\n"
	"      --batch N        datagrams that one system call moves, 1 to 64 (64)\n"
	"      --gso            stream, duplex: datagrams leave as segments (UDP GSO)\n"
	"\n"
	"The report:\n"
	"      --pid P[,P]      CPU, memory and context switches of these processes\n"
	"      --json FILE      everything, as one object; - is the standard output\n"
	"      --csv FILE       the main figures, one row below their names\n"
	"      --hist FILE      all percentiles, as HdrHistogram plotters read them\n"
	"      --quiet          no progress line on a terminal\n"
	"      --idle           open the connections, exchange a message on each, print\n"
	"                       `idle N` and hold them until the standard input closes\n"
	"  -h, --help           print this text\n"
	"\n"
	"Times take us, ms, s, m or h; sizes K and M (1024), rates K and M (1000).\n"
	"SIGINT and SIGTERM end a run early; it reports what it measured.\n"
	"Exit status: 0 clean, 1 errors happened, 2 wrong command line.\n";

const char *bench_transport_name(enum bench_transport transport)
{
	static const char *const names[] = {"tcp", "udp", "unix"};

	return names[transport];
}

static const char *const pattern_names[] = {"rr", "stream", "duplex", "churn"};

const char *bench_pattern_name(enum bench_pattern pattern)
{
	return pattern_names[pattern];
}

double bench_opts_mean_size(const struct bench_opts *opts)
{
	return ((double)opts->size_min + opts->size_max) / 2;
}

/* What a parse works on. */
struct parse {
	struct bench_opts *opts;
	char *error;
};

/* Always false, so that it can be returned. */
static bool __attribute__((format(printf, 2, 3))) wrong(struct parse *p, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(p->error, BENCH_ERROR_TEXT, format, args);
	va_end(args);
	return false;
}

static bool take_count(struct parse *p, const char *name, const char *text, uint32_t max,
		       uint32_t *ret)
{
	return bench_parse_count(text, max, ret) ||
	       wrong(p, "%s wants a whole number from 1 to %u, not '%s'", name, max, text);
}

static bool take_duration(struct parse *p, const char *name, const char *text, int64_t *ret)
{
	return bench_parse_duration(text, ret) ||
	       wrong(p, "%s wants a time such as 10s, 500ms or 2m, up to a day, not '%s'", name,
		     text);
}

static bool take_pattern(struct parse *p, const char *text)
{
	for (size_t i = 0; i < sizeof(pattern_names) / sizeof(pattern_names[0]); i++) {
		if (!strcmp(text, pattern_names[i])) {
			p->opts->pattern = i;
			return true;
		}
	}
	return wrong(p, "--pattern wants rr, stream, duplex or churn, not '%s'", text);
}

static bool take_pids(struct parse *p, const char *text)
{
	struct bench_opts *o = p->opts;
	char item[16];

	for (;;) {
		size_t len = strcspn(text, ",");
		uint32_t pid;

		snprintf(item, sizeof(item), "%.*s", (int)len, text);
		if (len >= sizeof(item) || !bench_parse_count(item, PID_LIMIT, &pid))
			return wrong(p, "--pid wants process ids, as in 12 or 12,13, not '%s'",
				     text);
		if (o->n_pids == BENCH_PIDS_MAX)
			return wrong(p, "--pid takes at most %d processes", BENCH_PIDS_MAX);
		for (uint32_t i = 0; i < o->n_pids; i++)
			if (o->pids[i] == (pid_t)pid)
				return wrong(p, "--pid %u is given twice", pid);
		o->pids[o->n_pids++] = (pid_t)pid;
		if (!text[len])
			return true;
		text += len + 1;
	}
}

static bool take_sources(struct parse *p, const char *text)
{
	struct bench_opts *o = p->opts;
	char *rest, *item;

	free(o->owned);
	o->n_sources = 0;
	o->owned = strdup(text);
	if (!o->owned)
		return wrong(p, "out of memory");
	for (item = strtok_r(o->owned, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
		if (o->n_sources == BENCH_SOURCES_MAX)
			return wrong(p, "--source takes at most %d addresses", BENCH_SOURCES_MAX);
		o->sources[o->n_sources++] = item;
	}
	return o->n_sources || wrong(p, "--source wants addresses, as in 10.0.0.1,10.0.0.2");
}

static bool take_load(struct parse *p, int opt, const char *arg)
{
	struct bench_opts *o = p->opts;

	switch (opt) {
	case 'c':
		return take_count(p, "--connections", arg, BENCH_CONNS_MAX, &o->conns);
	case 's':
		return bench_parse_sizes(arg, &o->size_min, &o->size_max) ||
		       wrong(p, "--size wants bytes up to 64M, as in 64, 4K or 64-1400, not '%s'",
			     arg);
	case 'd':
		return take_count(p, "--depth", arg, BENCH_DEPTH_MAX, &o->depth);
	case OPT_PATTERN:
		return take_pattern(p, arg);
	case OPT_RATE:
		return bench_parse_rate(arg, &o->rate_per_s) ||
		       wrong(p, "--rate wants messages per second, as in 1000 or 2.5K, not '%s'",
			     arg);
	case OPT_SOURCE:
		return take_sources(p, arg);
	case OPT_CLOSE:
		o->reset = !strcmp(arg, "reset");
		return o->reset || !strcmp(arg, "fin") ||
		       wrong(p, "--close wants fin or reset, not '%s'", arg);
	case OPT_VERIFY:
		o->verify = true;
		return true;
	default:
		return wrong(p, "unknown option; see sluice-bench help");
	}
}

static bool take_machine(struct parse *p, int opt, const char *arg)
{
	struct bench_opts *o = p->opts;

	switch (opt) {
	case OPT_THREADS:
		return take_count(p, "--threads", arg, BENCH_THREADS_MAX, &o->threads);
	case OPT_CPUS:
		o->cpus_text = arg;
		return bench_parse_cpus(arg, &o->cpus) ||
		       wrong(p, "--cpus wants CPU numbers, as in 1 or 0,2-5, not '%s'", arg);
	case OPT_BATCH:
		return take_count(p, "--batch", arg, 64, &o->batch);
	case OPT_GSO:
		o->segment = true;
		return true;
	case OPT_SPIN:
		o->spin = true;
		return true;
	case OPT_IDLE:
		o->idle = true;
		return true;
	case OPT_QUIET:
		o->quiet = true;
		return true;
	default:
		return take_load(p, opt, arg);
	}
}

static bool take_option(struct parse *p, int opt, const char *arg)
{
	struct bench_opts *o = p->opts;

	switch (opt) {
	case 't':
		if (!take_duration(p, "--duration", arg, &o->duration_ns))
			return false;
		return o->duration_ns > 0 || wrong(p, "--duration wants more than nothing");
	case 'w':
		return take_duration(p, "--warmup", arg, &o->warmup_ns);
	case OPT_OPEN_TIMEOUT:
		return take_duration(p, "--open-timeout", arg, &o->open_timeout_ns);
	case OPT_TIMEOUT:
		if (!take_duration(p, "--timeout", arg, &o->timeout_ns))
			return false;
		return o->timeout_ns >= BENCH_NS_PER_MS ||
		       wrong(p, "--timeout wants at least 1ms, not '%s'", arg);
	case OPT_PID:
		return take_pids(p, arg);
	case OPT_JSON:
		o->json = arg;
		return true;
	case OPT_CSV:
		o->csv = arg;
		return true;
	case OPT_HIST:
		o->hist = arg;
		return true;
	default:
		return take_machine(p, opt, arg);
	}
}

/* `tcp HOST:PORT` and `udp HOST:PORT` are two words, unix:PATH is one. */
static bool take_target(struct parse *p, int n, char **words)
{
	struct bench_opts *o = p->opts;
	int used = 2;

	if (!n)
		return wrong(p, "a target is missing, as in tcp 127.0.0.1:7007");
	if (!strncmp(words[0], "unix:", 5)) {
		o->transport = BENCH_UNIX;
		o->address = words[0] + 5;
		used = 1;
	} else if (!strcmp(words[0], "tcp") || !strcmp(words[0], "udp")) {
		o->transport = words[0][0] == 't' ? BENCH_TCP : BENCH_UDP;
		if (n < 2)
			return wrong(p, "%s wants HOST:PORT behind it", words[0]);
		o->address = words[1];
	} else {
		return wrong(p, "'%s' is no target: tcp HOST:PORT, udp HOST:PORT or unix:PATH",
			     words[0]);
	}
	if (!*o->address)
		return wrong(p, "the target's address is empty");
	return n == used || wrong(p, "'%s': unexpected argument", words[used]);
}

static bool check_dgram(struct parse *p)
{
	struct bench_opts *o = p->opts;

	if (o->pattern == BENCH_CHURN)
		return wrong(p, "--pattern churn needs connections: udp has none");
	if (o->size_min < BENCH_DGRAM_SIZE_MIN || o->size_max > BENCH_DGRAM_SIZE_MAX)
		return wrong(p,
			     "--size of a datagram is %d to %d bytes: it carries connection, "
			     "number and time (%d bytes)",
			     BENCH_DGRAM_SIZE_MIN, BENCH_DGRAM_SIZE_MAX, BENCH_DGRAM_SIZE_MIN);
	if (o->segment && (o->size_min != o->size_max || o->pattern == BENCH_RR))
		return wrong(p, "--gso wants --pattern stream or duplex and one --size");
	return true;
}

/* What single options cannot know. */
static bool check(struct parse *p)
{
	struct bench_opts *o = p->opts;

	if (o->transport == BENCH_UDP && !check_dgram(p))
		return false;
	if (o->transport != BENCH_UDP && o->segment)
		return wrong(p, "--gso is for udp");
	if (!o->size_min)
		return wrong(p, "--size wants at least 1 byte");
	if (o->pattern == BENCH_CHURN && o->depth > 1)
		return wrong(p, "--pattern churn has one message per connection: no --depth");
	if (o->reset && o->pattern != BENCH_CHURN)
		return wrong(p, "--close is for --pattern churn");
	if (o->verify && o->pattern == BENCH_STREAM)
		return wrong(p, "--verify: nothing comes back with --pattern stream");
	if (o->idle && (o->pattern != BENCH_RR || o->rate_per_s > 0))
		return wrong(p, "--idle goes with --pattern rr, and without --rate");
	if (o->n_sources && o->transport == BENCH_UNIX)
		return wrong(p, "--source is for tcp and udp");
	if (o->threads > o->conns)
		return wrong(p, "--threads %u with %u connections: some would have none",
			     o->threads, o->conns);
	if (!o->timeout_ns)
		o->timeout_ns = (o->transport == BENCH_UDP ? 1 : 10) * BENCH_NS_PER_S;
	return true;
}

enum bench_opts_result bench_opts_parse(int argc, char **argv, struct bench_opts *ret_opts,
					char ret_error[static BENCH_ERROR_TEXT])
{
	struct parse p = {.opts = ret_opts, .error = ret_error};
	int opt;

	*ret_opts = (struct bench_opts){
		.conns = 1,
		.depth = 1,
		.threads = 1,
		.size_min = 64,
		.size_max = 64,
		.duration_ns = 2 * BENCH_NS_PER_S,
		.warmup_ns = BENCH_NS_PER_S / 2,
		.open_timeout_ns = 30 * BENCH_NS_PER_S,
		.batch = 64,
	};
	optind = 0; /* glibc: start afresh */
	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":c:s:d:t:w:h", long_options, NULL)) != -1) {
		if (opt == 'h') {
			bench_opts_free(ret_opts);
			return BENCH_OPTS_HELP;
		}
		if (opt == ':')
			wrong(&p, "%s wants a value", argv[optind - 1]);
		else if (opt == '?')
			wrong(&p, "%s: unknown option, or one that takes no value",
			      argv[optind - 1]);
		else if (take_option(&p, opt, optarg))
			continue;
		goto wrong;
	}
	if (take_target(&p, argc - optind, argv + optind) && check(&p))
		return BENCH_OPTS_RUN;
wrong:
	bench_opts_free(ret_opts);
	return BENCH_OPTS_WRONG;
}

void bench_opts_free(struct bench_opts *opts)
{
	free(opts->owned);
	opts->owned = NULL;
}
