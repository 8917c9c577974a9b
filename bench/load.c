/* SPDX-License-Identifier: MIT */
/*
 * Options, phases and report of the load generator: open every connection and let each echo one
 * message, warm up, measure for a fixed time, print one line of key=value.
 */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CONNS_MAX 1000000
#define DEPTH_MAX 4096
#define MSG_BYTES_MAX (64u << 20)

static const char usage_text[] =
	"usage: load -p HOST:PORT [options]\n"
	"  -p HOST:PORT  the server; an IPv6 address in brackets\n"
	"  -c N          connections (1)\n"
	"  -s BYTES      message size (64)\n"
	"  -d N          messages under way per connection (1)\n"
	"  -t SECONDS    time measured (2)\n"
	"  -w SECONDS    warm-up before it (0.5)\n"
	"  --pid PID     report the CPU time of this process per message\n"
	"  --verify      compare every byte of the echo with what was sent\n"
	"  --spin        never sleep: waking the load then costs the server nothing\n"
	"  --idle        open the connections, echo one message on each, print `idle N`,\n"
	"                and hold them until standard input closes\n"
	"  --open-timeout SECONDS  for all connections to open (30)\n";

static void usage_fail(const char *what, const char *arg)
{
	fprintf(stderr, "load: %s%s%s\n%s", what, arg ? ": " : "", arg ? arg : "", usage_text);
	exit(2);
}

static uint32_t parse_count(const char *name, const char *text, uint32_t max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || end == text || *text == '-' || !value || value > max) {
		fprintf(stderr, "load: %s wants a number from 1 to %u, not `%s`\n", name, max,
			text);
		exit(2);
	}
	return value;
}

static int64_t parse_seconds_ns(const char *name, const char *text)
{
	double value;
	char *end;

	value = strtod(text, &end);
	if (*end || end == text || !isfinite(value) || value < 0 || value > 86400) {
		fprintf(stderr, "load: %s wants seconds, such as 2 or 0.5, not `%s`\n", name, text);
		exit(2);
	}
	return value * LOAD_NS_PER_S;
}

enum { OPT_PID = 256, OPT_IDLE, OPT_VERIFY, OPT_SPIN, OPT_OPEN_TIMEOUT };

static void set_option(struct load_opts *o, int opt, const char *arg)
{
	switch (opt) {
	case 'p':
		o->target = arg;
		break;
	case 'c':
		o->conns = parse_count("-c", arg, CONNS_MAX);
		break;
	case 's':
		o->msg_bytes = parse_count("-s", arg, MSG_BYTES_MAX);
		break;
	case 'd':
		o->depth = parse_count("-d", arg, DEPTH_MAX);
		break;
	case 't':
		o->seconds_ns = parse_seconds_ns("-t", arg);
		break;
	case 'w':
		o->warmup_ns = parse_seconds_ns("-w", arg);
		break;
	case OPT_PID:
		o->pid = parse_count("--pid", arg, INT32_MAX);
		break;
	case OPT_IDLE:
		o->idle = true;
		break;
	case OPT_VERIFY:
		o->verify = true;
		break;
	case OPT_SPIN:
		o->spin = true;
		break;
	case OPT_OPEN_TIMEOUT:
		o->open_timeout_ns = parse_seconds_ns("--open-timeout", arg);
		break;
	case 'h':
		fputs(usage_text, stdout);
		exit(0);
	default:
		fputs(usage_text, stderr);
		exit(2);
	}
}

static struct load_opts parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{"pid", required_argument, NULL, OPT_PID},
		{"idle", no_argument, NULL, OPT_IDLE},
		{"verify", no_argument, NULL, OPT_VERIFY},
		{"spin", no_argument, NULL, OPT_SPIN},
		{"open-timeout", required_argument, NULL, OPT_OPEN_TIMEOUT},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct load_opts o = {
		.conns = 1,
		.depth = 1,
		.msg_bytes = 64,
		.seconds_ns = 2 * LOAD_NS_PER_S,
		.warmup_ns = LOAD_NS_PER_S / 2,
		.open_timeout_ns = 30 * LOAD_NS_PER_S,
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "p:c:s:d:t:w:h", longs, NULL)) != -1)
		set_option(&o, opt, optarg);
	if (optind < argc)
		usage_fail("unexpected argument", argv[optind]);
	if (!o.target)
		usage_fail("which server? -p is missing", NULL);
	return o;
}

static int resolve(const char *target, struct sockaddr_storage *ret_peer, socklen_t *ret_len)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	char host[256];
	const char *colon = strrchr(target, ':'), *from = target;
	size_t len;
	int ret;

	if (!colon || colon == target || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
	    atol(colon + 1) < 1 || atol(colon + 1) > 65535) {
		fprintf(stderr, "load: -p wants HOST:PORT, not `%s`\n", target);
		return -EINVAL;
	}
	len = colon - target;
	if (*from == '[' && colon[-1] == ']') {
		from++;
		len -= 2;
	}
	snprintf(host, sizeof(host), "%.*s", (int)len, from);
	ret = getaddrinfo(host, colon + 1, &hints, &found);
	if (ret) {
		fprintf(stderr, "load: -p %s: %s\n", target, gai_strerror(ret));
		return -EINVAL;
	}
	memcpy(ret_peer, found->ai_addr, found->ai_addrlen);
	*ret_len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static int raise_descriptor_limit(uint32_t conns)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return -errno;
	lim.rlim_cur = lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim))
		return -errno;
	if (lim.rlim_cur >= (rlim_t)conns + 16)
		return 0;
	fprintf(stderr,
		"load: %u connections need as many descriptors, the hard limit is %llu: "
		"raise it (ulimit -Hn)\n",
		conns, (unsigned long long)lim.rlim_cur);
	return -EMFILE;
}

static uint64_t error_count(const struct load *l)
{
	const struct load_errors *e = &l->errors;

	return e->connect + e->io + e->eof + e->mismatch + e->surplus;
}

/* What follows reports its own failures, so that main need not know which were. */

static int turn(struct load *l, int64_t deadline_ns)
{
	int ret = load_conns_turn(l, deadline_ns);

	if (ret)
		fprintf(stderr, "load: epoll_wait: %s\n", strerror(-ret));
	return ret;
}

/* Every connection has echoed one message when this succeeds. */
static int open_all(struct load *l)
{
	int64_t deadline_ns = load_now_ns() + l->opts.open_timeout_ns;
	int ret;

	while (l->open < l->opts.conns) {
		load_conns_open_some(l);
		if (error_count(l))
			return -ECONNABORTED;
		if (load_now_ns() >= deadline_ns) {
			fprintf(stderr,
				"load: only %u of %u connections echoed their first message "
				"in time\n",
				l->open, l->opts.conns);
			return -ETIMEDOUT;
		}
		ret = turn(l, deadline_ns);
		if (ret)
			return ret;
	}
	return 0;
}

static int run_until(struct load *l, int64_t deadline_ns)
{
	int ret = 0;

	while (!ret && load_now_ns() < deadline_ns) {
		if (!l->open)
			return -ECONNABORTED;
		ret = turn(l, deadline_ns);
	}
	return ret;
}

static int64_t own_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * LOAD_NS_PER_S + ts.tv_nsec;
}

/* The pieces of CPU time are of the server; load_busy_pct tells whether the load was the limit. */
static void report(const struct load *l, int64_t window_ns, const struct load_cpu *from,
		   const struct load_cpu *to, int64_t own_ns)
{
	const struct load_errors *e = &l->errors;
	double msgs = l->msgs, window = window_ns;

	printf("conns=%u bytes=%u depth=%u seconds=%.3f messages=%llu msg_per_s=%.0f",
	       l->opts.conns, l->opts.msg_bytes, l->opts.depth, window / LOAD_NS_PER_S,
	       (unsigned long long)l->msgs, msgs * LOAD_NS_PER_S / window);
	if (l->opts.pid && l->msgs) {
		int64_t user_ns = to->user_ns - from->user_ns, sys_ns = to->sys_ns - from->sys_ns;

		printf(" cpu_ns_per_msg=%.1f cpu_tick_ns_per_msg=%.1f user_ns_per_msg=%.1f "
		       "sys_ns_per_msg=%.1f server_busy_pct=%.1f",
		       (to->exec_ns - from->exec_ns) / msgs, (user_ns + sys_ns) / msgs,
		       user_ns / msgs, sys_ns / msgs,
		       100.0 * (to->exec_ns - from->exec_ns) / window);
	}
	printf(" load_busy_pct=%.1f p50_us=%.1f p99_us=%.1f errors=%llu", 100.0 * own_ns / window,
	       load_hist_percentile(&l->hist, 50) / 1e3, load_hist_percentile(&l->hist, 99) / 1e3,
	       (unsigned long long)error_count(l));
	if (error_count(l))
		printf(" errors_connect=%llu errors_io=%llu errors_eof=%llu errors_mismatch=%llu "
		       "errors_surplus=%llu",
		       (unsigned long long)e->connect, (unsigned long long)e->io,
		       (unsigned long long)e->eof, (unsigned long long)e->mismatch,
		       (unsigned long long)e->surplus);
	printf("\n");
}

static int measure(struct load *l)
{
	struct load_cpu from = {0}, to = {0};
	int64_t start_ns, end_ns, own_ns;
	int ret;

	load_conns_start(l);
	ret = run_until(l, load_now_ns() + l->opts.warmup_ns);
	if (ret)
		return ret;
	ret = l->opts.pid ? load_cpu_read(l->opts.pid, &from) : 0;
	if (ret)
		goto no_pid;
	start_ns = load_now_ns();
	own_ns = own_cpu_ns();
	l->measuring = true;
	ret = run_until(l, start_ns + l->opts.seconds_ns);
	if (ret)
		return ret;
	end_ns = load_now_ns();
	own_ns = own_cpu_ns() - own_ns;
	ret = l->opts.pid ? load_cpu_read(l->opts.pid, &to) : 0;
	if (ret)
		goto no_pid;
	report(l, end_ns - start_ns, &from, &to, own_ns);
	return 0;

no_pid:
	fprintf(stderr, "load: --pid %d: %s\n", (int)l->opts.pid, strerror(-ret));
	return ret;
}

/* Holds the connections until standard input closes. */
static int hold(struct load *l)
{
	struct pollfd fds[] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = l->epfd, .events = POLLIN},
	};
	char drop[256];
	int ret;

	printf("idle %u\n", l->open);
	fflush(stdout);
	for (;;) {
		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			ret = -errno;
			fprintf(stderr, "load: poll: %s\n", strerror(-ret));
			return ret;
		}
		if (fds[0].revents && read(STDIN_FILENO, drop, sizeof(drop)) <= 0)
			return 0;
		ret = fds[1].revents ? turn(l, load_now_ns() + LOAD_NS_PER_MS) : 0;
		if (ret)
			return ret;
	}
}

int main(int argc, char **argv)
{
	static struct load l;
	int ret;

	l.opts = parse_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	ret = raise_descriptor_limit(l.opts.conns);
	if (ret)
		return 1;
	ret = resolve(l.opts.target, &l.peer, &l.peer_len);
	if (ret)
		return 2;
	ret = load_conns_init(&l);
	if (ret) {
		fprintf(stderr, "load: %s\n", strerror(-ret));
		return 1;
	}
	ret = open_all(&l);
	if (!ret)
		ret = l.opts.idle ? hold(&l) : measure(&l);
	ret = ret || error_count(&l);
	load_conns_free(&l);
	return ret;
}
