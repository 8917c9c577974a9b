/* SPDX-License-Identifier: MIT */
/*
 * `sluice xdp stats --watch`: rates, redrawn in place on a terminal, a line each where there is
 * none. The filter is looked up anew for each reading, as its rules, or all of it, may have been
 * replaced. Signals are blocked and waited for, so that none is lost and none cuts a line.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/util.h"
#include "xdp/command_priv.h"

/* Terminal control (ECMA-48; the second screen and the cursor as in xterm). */
#define SCREEN_BEGIN "\033[?1049h\033[?25l"
#define SCREEN_END "\033[?25h\033[?1049l"
#define SCREEN_HOME "\033[H"
#define LINE_END "\033[K"
#define REST_CLEAR "\033[J"

enum { OUTPUT_BUFFER = 1 << 16 }; /* more than one reading prints: written at once */

/* What two readings show. */
struct reading {
	struct xdp_info info;
	struct xdp_stats stats;
	int64_t at_ns;
};

struct watch {
	const struct command_args *args;
	bool terminal;
	sigset_t signals;
	int64_t begin_ns;
	struct reading last, now;
	struct command_rates rates;
	double seconds; /* between them */
};

/* Lines that the terminal has room for; what is more is left out. */
struct screen {
	int rows, columns, used;
};

static struct screen screen_begin(void)
{
	struct winsize size = {0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
		size = (struct winsize){.ws_row = 24, .ws_col = 80};
	fputs(SCREEN_HOME, stdout);
	return (struct screen){.rows = size.ws_row, .columns = size.ws_col};
}

/* The last column stays free: a line that fills it may wrap. */
__attribute__((format(printf, 2, 3))) static void screen_line(struct screen *screen,
							      const char *format, ...)
{
	char line[RULE_TEXT_MAX + 160];
	va_list args;

	if (screen->used == screen->rows)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	printf("%s%.*s" LINE_END, screen->used++ ? "\r\n" : "", screen->columns - 1, line);
}

static void screen_rate(struct screen *screen, const struct command_rate *rate, uint64_t total,
			const char *before, const char *what)
{
	char packets[COMMAND_NUMBER_MAX], bits[COMMAND_NUMBER_MAX];

	screen_line(screen, "%12s %12s %16" PRIu64 "  %s%s",
		    command_format_rate(rate->packets, packets),
		    command_format_bits(rate->bytes * 8, bits), total, before, what);
}

static void draw(const struct watch *w)
{
	const struct xdp_info *info = &w->now.info;
	const struct xdp_stats *stats = &w->now.stats;
	static const char header[] = "   packets/s       bits/s          packets  ";
	struct screen screen = screen_begin();
	char text[RULE_TEXT_MAX];

	screen_line(&screen, "%s, %s mode, %" PRIu32 " rules, generation %" PRIu64 ", %.1f s",
		    info->ifname, xdp_mode_name(info->mode), info->n_rules, info->generation,
		    (double)(w->now.at_ns - w->begin_ns) / (double)NS_PER_S);
	screen_line(&screen, "%s", "");
	screen_line(&screen, "%sverdict", header);
	for (int v = 0; v < FILTER_VERDICTS; v++)
		screen_rate(&screen, &w->rates.by_verdict[v], stats->by_verdict[v].packets, "",
			    command_verdict_name((enum filter_verdict)v));
	screen_line(&screen, "%s", "");
	screen_line(&screen, "%sreason", header);
	for (int i = 0; i < FILTER_REASONS * FILTER_VERDICTS; i++) {
		int r = i / FILTER_VERDICTS, v = i % FILTER_VERDICTS;

		if (stats->by_reason[r][v].packets)
			screen_rate(&screen, &w->rates.by_reason[r][v],
				    stats->by_reason[r][v].packets,
				    v == FILTER_DROP ? "drop " : "pass ",
				    xdp_reason_name((enum filter_reason)r));
	}
	screen_line(&screen, "%s", "");
	screen_line(&screen, "%srule, by rate", header);
	for (uint32_t i = 0; i < w->rates.n_top; i++)
		screen_rate(&screen, &w->rates.top[i].rate,
			    stats->by_rule[w->rates.top[i].rule].packets, "",
			    rule_format(&stats->rules[w->rates.top[i].rule], text));
	fputs(REST_CLEAR, stdout);
}

static void print_line(const struct watch *w)
{
	const struct command_rates *rates = &w->rates;
	char number[COMMAND_NUMBER_MAX], text[RULE_TEXT_MAX];

	printf("%.1fs", (double)(w->now.at_ns - w->begin_ns) / (double)NS_PER_S);
	for (int v = 0; v < FILTER_VERDICTS; v++)
		printf(" %s %s/s", command_verdict_name((enum filter_verdict)v),
		       command_format_rate(rates->by_verdict[v].packets, number));
	for (int v = FILTER_VERDICTS - 1; v >= 0; v--)
		for (int r = 0; r < FILTER_REASONS; r++)
			if (rates->by_reason[r][v].packets > 0)
				printf(" %s-%s %s/s", command_verdict_name((enum filter_verdict)v),
				       xdp_reason_name((enum filter_reason)r),
				       command_format_rate(rates->by_reason[r][v].packets, number));
	printf(" passed %s", command_format_bits(rates->by_verdict[FILTER_PASS].bytes * 8, number));
	printf(" dropped %s",
	       command_format_bits(rates->by_verdict[FILTER_DROP].bytes * 8, number));
	for (uint32_t i = 0; i < rates->n_top; i++)
		printf("; %s %s/s", rule_format(&w->now.stats.rules[rates->top[i].rule], text),
		       command_format_rate(rates->top[i].rate.packets, number));
	putchar('\n');
}

static json_t *rate_json(const struct filter_count *count, const struct command_rate *rate)
{
	return json_pack("{s:I, s:I, s:f, s:f}", "packets", (json_int_t)count->packets, "bytes",
			 (json_int_t)count->bytes, "packets_per_s", rate->packets, "bytes_per_s",
			 rate->bytes);
}

/* Of rules only the busiest: a line stays a line. */
static void print_json(const struct watch *w)
{
	const struct xdp_stats *stats = &w->now.stats;
	json_t *verdicts = json_object(), *reasons = json_object(), *rules = json_array(), *root;
	char text[RULE_TEXT_MAX];

	for (int v = 0; v < FILTER_VERDICTS; v++)
		json_object_set_new(verdicts, command_verdict_name((enum filter_verdict)v),
				    rate_json(&stats->by_verdict[v], &w->rates.by_verdict[v]));
	for (int r = 0; r < FILTER_REASONS; r++) {
		json_t *reason = json_object();

		for (int v = 0; v < FILTER_VERDICTS; v++)
			json_object_set_new(reason, command_verdict_name((enum filter_verdict)v),
					    rate_json(&stats->by_reason[r][v],
						      &w->rates.by_reason[r][v]));
		json_object_set_new(reasons, xdp_reason_name((enum filter_reason)r), reason);
	}
	for (uint32_t i = 0; i < w->rates.n_top; i++) {
		uint32_t index = w->rates.top[i].rule;
		json_t *rule = rate_json(&stats->by_rule[index], &w->rates.top[i].rate);

		json_object_set_new(rule, "rule",
				    json_string(rule_format(&stats->rules[index], text)));
		json_array_append_new(rules, rule);
	}
	root = json_pack("{s:f, s:f, s:o, s:o, s:o, s:o}", "elapsed",
			 (double)(w->now.at_ns - w->begin_ns) / (double)NS_PER_S, "interval",
			 w->seconds, "filter", command_info_json(&w->now.info), "verdicts",
			 verdicts, "reasons", reasons, "rules", rules);
	json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
	json_decref(root);
	putchar('\n');
}

/* Returns 0 or a negative errno with error filled. */
static int take_reading(const char *ifname, struct reading *ret, char *error)
{
	struct xdp *xdp;
	int r = xdp_open(ifname, &xdp, error);

	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	ret->at_ns = util_now_ns();
	r = xdp_read(xdp, &ret->stats, error);
	xdp_info(xdp, &ret->info);
	xdp_close(xdp);
	return r;
}

/* A signal, or 0 at the deadline. */
static int wait_until(int64_t deadline_ns, const sigset_t *signals)
{
	for (;;) {
		int64_t left = MAX(deadline_ns - util_now_ns(), 0);
		struct timespec ts = {.tv_sec = left / NS_PER_S, .tv_nsec = left % NS_PER_S};
		int signo = sigtimedwait(signals, NULL, &ts);

		if (signo > 0)
			return signo;
		if (errno == EAGAIN && left == 0)
			return 0;
	}
}

/* The shell gets its screen back while this process is stopped. */
static void suspend(void)
{
	fputs(SCREEN_END, stdout);
	fflush(stdout);
	raise(SIGSTOP);
	fputs(SCREEN_BEGIN, stdout);
}

static int show(const struct watch *w)
{
	if (w->args->json)
		print_json(w);
	else if (w->terminal)
		draw(w);
	else
		print_line(w);
	return fflush(stdout) ? -errno : 0;
}

/* Waits for the time of the next reading. 1: the end is asked for. */
static int wait_for_next(const struct watch *w, int64_t deadline_ns)
{
	int signo;

	while ((signo = wait_until(deadline_ns, &w->signals))) {
		int r = 0;

		if (signo == SIGTSTP && w->terminal)
			suspend();
		else if (signo == SIGTSTP)
			raise(SIGSTOP);
		else if (signo != SIGWINCH)
			return 1;
		if (w->terminal && (r = show(w)) < 0)
			return r;
	}
	return 0;
}

/* A filter that was attached anew counts from nothing. */
static int update(struct watch *w)
{
	static const struct xdp_stats nothing;
	bool same = w->now.info.link == w->last.info.link &&
		    w->now.info.attached_at == w->last.info.attached_at;

	w->seconds = MAX((double)(w->now.at_ns - w->last.at_ns) / (double)NS_PER_S, 1e-6);
	return command_rates(same ? &w->last.stats : &nothing, &w->now.stats, w->seconds,
			     &w->rates);
}

/* Returns 0 when the end is asked for, or a negative errno: with error filled, or left empty when
 * standard output failed. */
static int watch_filter(struct watch *w, char *error)
{
	int64_t next_ns = w->begin_ns;
	int r;

	for (;;) {
		next_ns += w->args->watch_ns;
		if (next_ns < util_now_ns()) /* readings that took too long are left out */
			next_ns +=
				(util_now_ns() - next_ns) / w->args->watch_ns * w->args->watch_ns;
		r = wait_for_next(w, next_ns);
		if (r)
			return MIN(r, 0);
		xdp_stats_free(&w->last.stats);
		w->last = w->now;
		memset(&w->now, 0, sizeof(w->now));
		r = take_reading(w->args->ifname, &w->now, error);
		if (r == -ENOENT)
			snprintf(error, XDP_ERROR_MAX,
				 "%s: the filter has gone: it was detached, or its server has "
				 "ended",
				 w->args->ifname);
		if (r == 0 && (r = update(w)) < 0)
			snprintf(error, XDP_ERROR_MAX, "out of memory");
		if (r < 0)
			return r;
		*error = '\0';
		r = show(w);
		if (r < 0)
			return r;
	}
}

static void watch_begin(struct watch *w)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP};
	const char *term = getenv("TERM");

	sigemptyset(&w->signals);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&w->signals, signals[i]);
	sigprocmask(SIG_BLOCK, &w->signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOFBF, OUTPUT_BUFFER);
	w->terminal = !w->args->json && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
}

int command_watch(const struct command_args *args)
{
	struct watch w = {.args = args};
	char error[XDP_ERROR_MAX] = "";
	int r;

	watch_begin(&w);
	r = take_reading(args->ifname, &w.now, error);
	if (r < 0)
		return command_fail(COMMAND_FAILED, "%s", error);
	*error = '\0';
	w.begin_ns = w.now.at_ns;
	if (w.terminal) {
		fputs(SCREEN_BEGIN, stdout);
		r = show(&w);
	}
	if (r == 0)
		r = watch_filter(&w, error);
	if (w.terminal)
		fputs(SCREEN_END, stdout);
	fflush(stdout);
	xdp_stats_free(&w.last.stats);
	xdp_stats_free(&w.now.stats);
	if (r == 0 || (!*error && r == -EPIPE))
		return COMMAND_OK;
	if (*error)
		return command_fail(COMMAND_FAILED, "%s", error);
	return command_fail(COMMAND_FAILED, "standard output: %s", strerror(-r));
}
