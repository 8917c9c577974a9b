/* SPDX-License-Identifier: MIT */
/* Adding up, judging and the summary. */
#include "bench/client/result.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BUSY_LIMIT 0.95   /* of a core: a thread that sleeps has no time left */
#define IDLE_LIMIT 0.05   /* of the window: a thread that spins has found work nearly always */
#define SHARED_LIMIT 0.90 /* of a core: a thread that spins was not alone on it */
#define LAG_LIMIT_NS BENCH_NS_PER_MS

const char *const bench_error_names[BENCH_ERRORS] = {
	[BENCH_ERR_CONNECT] = "connect", [BENCH_ERR_RESET] = "reset",
	[BENCH_ERR_CLOSED] = "closed",   [BENCH_ERR_TIMEOUT] = "timeout",
	[BENCH_ERR_CORRUPT] = "corrupt", [BENCH_ERR_SURPLUS] = "surplus",
	[BENCH_ERR_IO] = "io",
};

static void collect_thread(struct bench_result *r, const struct bench_worker *w)
{
	double cpu = r->window_ns ? (double)w->cpu_ns / (double)r->window_ns : 0;
	double idle = r->window_ns ? (double)w->idle_window_ns / (double)r->window_ns : 0;

	r->generator_cpu_ns += w->cpu_ns;
	if (cpu > r->generator_busy)
		r->generator_busy = cpu;
	if (!w->index || idle < r->generator_idle)
		r->generator_idle = idle;
	r->generator_drops += w->rx_drops;
	bench_hist_merge(&r->latency, &w->latency);
	bench_hist_merge(&r->lag, &w->lag);
}

void bench_result_collect(struct bench_result *r, const struct bench_run *run)
{
	bench_hist_init(&r->latency);
	bench_hist_init(&r->lag);
	for (uint32_t i = 0; i < run->opts->threads; i++) {
		const struct bench_worker *w = &run->workers[i];
		const struct bench_counts *c = &w->counts;

		collect_thread(r, w);
		r->msgs += bench_count_get(&c->msgs);
		r->tx_bytes += run->opts->pattern == BENCH_STREAM &&
					       run->opts->transport != BENCH_UDP
				       ? (uint64_t)w->acked_bytes
				       : bench_count_get(&c->tx_bytes);
		r->rx_bytes += bench_count_get(&c->rx_bytes);
		r->unanswered += bench_count_get(&w->unanswered_msgs);
		r->unsent += w->unsent_msgs;
		r->stalled += w->stalled_conns;
		for (int kind = 0; kind < BENCH_ERRORS; kind++) {
			r->errors[kind] += bench_count_get(&c->errors[kind]);
			r->errors_total += bench_count_get(&c->errors[kind]);
		}
		r->dgram_sent += bench_count_get(&c->dgram_sent);
		r->dgram_received += bench_count_get(&c->dgram_received);
		r->dgram_duplicates += bench_count_get(&c->dgram_duplicates);
		r->dgram_reordered += bench_count_get(&c->dgram_reordered);
		r->dgram_late += bench_count_get(&c->dgram_late);
		r->dgram_corrupt += bench_count_get(&c->dgram_corrupt);
	}
	/* streams have no messages that anybody could count on the way */
	if (run->opts->pattern == BENCH_STREAM && run->opts->transport != BENCH_UDP)
		r->msgs = (uint64_t)((double)r->tx_bytes / bench_opts_mean_size(run->opts));
	else if (run->opts->pattern == BENCH_DUPLEX && run->opts->transport != BENCH_UDP)
		r->msgs = (uint64_t)((double)r->rx_bytes / bench_opts_mean_size(run->opts));
}

static void __attribute__((format(printf, 2, 3)))
reason(struct bench_result *r, const char *format, ...)
{
	va_list args;

	if (r->n_reasons == BENCH_REASONS_MAX)
		return;
	va_start(args, format);
	vsnprintf(r->reasons[r->n_reasons++], BENCH_REASON_TEXT, format, args);
	va_end(args);
}

void bench_result_judge(struct bench_result *r)
{
	double late_ns = (double)bench_hist_percentile(&r->lag, 99);
	double p99_ns = (double)bench_hist_percentile(&r->latency, 99);

	if (!r->window_ns)
		return;
	if (!r->opts->spin && r->generator_busy >= BUSY_LIMIT)
		reason(r, "a thread was busy for %.0f %% of the time: use more --threads",
		       100 * r->generator_busy);
	if (r->opts->spin && r->generator_idle < IDLE_LIMIT)
		reason(r, "a thread found nothing to do for only %.1f %% of the time",
		       100 * r->generator_idle);
	if (r->opts->spin &&
	    (double)r->generator_cpu_ns < SHARED_LIMIT * (double)r->window_ns * r->opts->threads)
		reason(r,
		       "the threads spin, but got only %.0f %% of their cores: something else "
		       "ran there",
		       100.0 * (double)r->generator_cpu_ns /
			       ((double)r->window_ns * r->opts->threads));
	if (r->unsent)
		reason(r, "the rate could not be met: it was behind by %llu messages in the end",
		       (unsigned long long)r->unsent);
	if (late_ns > LAG_LIMIT_NS || (r->latency.n && late_ns > p99_ns / 2))
		reason(r, "behind its schedule by %.0f us (p99)%s", late_ns / 1e3,
		       r->opts->spin ? "" : ": --spin is exact");
	if (r->generator_drops)
		reason(r, "its own socket queues dropped %llu datagrams",
		       (unsigned long long)r->generator_drops);
}

double bench_result_msgs_per_s(const struct bench_result *r)
{
	return r->window_ns ? (double)r->msgs * 1e9 / (double)r->window_ns : 0;
}

uint64_t bench_result_bytes(const struct bench_result *r)
{
	return r->opts->pattern == BENCH_STREAM ? r->tx_bytes : r->rx_bytes;
}

double bench_result_bytes_per_s(const struct bench_result *r)
{
	double bytes = (double)bench_result_bytes(r);

	return r->window_ns ? bytes * 1e9 / (double)r->window_ns : 0;
}

bool bench_result_has_latency(const struct bench_result *r)
{
	return r->opts->pattern == BENCH_RR || r->opts->pattern == BENCH_CHURN;
}

static void print_latency(const struct bench_result *r)
{
	const struct bench_hist *h = &r->latency;

	if (!h->n) {
		printf("latency     no message %swas answered\n",
		       r->opts->rate_per_s > 0 ? "that was due in the window " : "");
		return;
	}
	printf("latency     min %.1f  mean %.1f  p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  "
	       "p99.99 %.1f  max %.1f us\n",
	       (double)h->min / 1e3, bench_hist_mean(h) / 1e3,
	       (double)bench_hist_percentile(h, 50) / 1e3,
	       (double)bench_hist_percentile(h, 90) / 1e3,
	       (double)bench_hist_percentile(h, 99) / 1e3,
	       (double)bench_hist_percentile(h, 99.9) / 1e3,
	       (double)bench_hist_percentile(h, 99.99) / 1e3, (double)h->max / 1e3);
	printf("            from %s; percentiles within %.2f %%\n",
	       r->opts->rate_per_s > 0 ? "the intended time" : "sending", 100 * BENCH_HIST_ERROR);
	if (r->unanswered)
		printf("            %llu unanswered in the end count with the time they waited\n",
		       (unsigned long long)r->unanswered);
}

static void print_dgrams(const struct bench_result *r)
{
	if (r->opts->pattern == BENCH_STREAM) {
		printf("datagrams   %llu sent; nothing comes back, so loss is not known\n",
		       (unsigned long long)r->dgram_sent);
		return;
	}
	printf("datagrams   %llu sent, %llu received, %llu lost (%llu of them late), "
	       "%llu duplicates, %llu reordered, %llu corrupt\n",
	       (unsigned long long)r->dgram_sent, (unsigned long long)r->dgram_received,
	       (unsigned long long)(r->dgram_sent - r->dgram_received),
	       (unsigned long long)r->dgram_late, (unsigned long long)r->dgram_duplicates,
	       (unsigned long long)r->dgram_reordered, (unsigned long long)r->dgram_corrupt);
}

static void print_server(const struct bench_result *r)
{
	double cpu_ns = (double)r->server_cpu_ns;

	printf("server      %.1f %% of a CPU (%.0f %% user)", 100 * cpu_ns / (double)r->window_ns,
	       cpu_ns > 0 ? 100 * (double)r->server_user_ns / cpu_ns : 0);
	if (r->msgs)
		printf(", %.3f us per message", cpu_ns / 1e3 / (double)r->msgs);
	if (bench_result_bytes(r))
		printf(", %.3f s per GiB",
		       cpu_ns / 1e9 / ((double)bench_result_bytes(r) / (double)(1 << 30)));
	printf("\n            %.1f MiB resident (peak %.1f), context switches: %llu voluntary, "
	       "%llu forced\n",
	       (double)r->server.rss_bytes / (1 << 20),
	       (double)r->server.rss_peak_bytes / (1 << 20),
	       (unsigned long long)r->server.voluntary_switches,
	       (unsigned long long)r->server.involuntary_switches);
}

static void print_errors(const struct bench_result *r)
{
	const char *sep = "";

	printf("errors      ");
	if (!r->errors_total)
		printf("none");
	for (int kind = 0; kind < BENCH_ERRORS; kind++) {
		if (!r->errors[kind])
			continue;
		printf("%s%llu %s", sep, (unsigned long long)r->errors[kind],
		       bench_error_names[kind]);
		sep = ", ";
	}
	printf("\n");
}

void bench_result_print(const struct bench_result *r)
{
	const struct bench_opts *o = r->opts;
	double window_s = (double)r->window_ns / 1e9;

	printf("%s %s, %s, %u connections x %u", bench_transport_name(o->transport), o->address,
	       bench_pattern_name(o->pattern), o->conns, o->size_min);
	if (o->size_max > o->size_min)
		printf("-%u", o->size_max);
	printf(" bytes");
	if (o->depth > 1)
		printf(", depth %u", o->depth);
	if (o->rate_per_s > 0)
		printf(", %.6g/s wanted", o->rate_per_s);
	printf(", %.3f s%s\n", window_s, r->interrupted ? " (interrupted)" : "");
	printf("messages    %llu (%.0f/s), %.2f MiB/s %s\n", (unsigned long long)r->msgs,
	       bench_result_msgs_per_s(r), bench_result_bytes_per_s(r) / (1 << 20),
	       o->pattern == BENCH_STREAM ? "sent" : "received");
	if (bench_result_has_latency(r))
		print_latency(r);
	if (o->transport == BENCH_UDP)
		print_dgrams(r);
	if (r->stalled)
		printf("stalled     %llu connections were still for at least half of the time\n",
		       (unsigned long long)r->stalled);
	if (r->server_known && r->window_ns)
		print_server(r);
	printf("generator   %.1f %% of a CPU in its busiest thread%s\n", 100 * r->generator_busy,
	       r->n_reasons ? "; it was the limit:" : "");
	for (uint32_t i = 0; i < r->n_reasons; i++)
		printf("            %s\n", r->reasons[i]);
	print_errors(r);
}
