/* SPDX-License-Identifier: MIT */
/* The result as JSON, CSV and percentiles. */
#include "bench/client/result.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *number(double value)
{
	return json_real(isfinite(value) ? value : 0);
}

static json_t *integer(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *options_of(const struct bench_opts *o)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:o, s:o, s:b, s:b, s:f, s:s}",
			 "pattern", bench_pattern_name(o->pattern), "connections",
			 (json_int_t)o->conns, "size_min", (json_int_t)o->size_min, "size_max",
			 (json_int_t)o->size_max, "depth", (json_int_t)o->depth, "duration_s",
			 (double)o->duration_ns / 1e9, "warmup_s", (double)o->warmup_ns / 1e9,
			 "threads", (json_int_t)o->threads, "cpus", text_or_null(o->cpus_text),
			 "rate_per_s", o->rate_per_s > 0 ? json_real(o->rate_per_s) : json_null(),
			 "verify", o->verify, "spin", o->spin, "timeout_s",
			 (double)o->timeout_ns / 1e9, "close", o->reset ? "reset" : "fin");
}

static json_t *hist_of(const struct bench_hist *h)
{
	static const struct {
		const char *name;
		double percent;
	} points[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99_9", 99.9}, {"p99_99", 99.99}};
	json_t *object = json_object();

	json_object_set_new(object, "count", integer(h->n));
	json_object_set_new(object, "min", integer(h->n ? h->min : 0));
	json_object_set_new(object, "mean", number(bench_hist_mean(h)));
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		json_object_set_new(object, points[i].name,
				    integer(bench_hist_percentile(h, points[i].percent)));
	json_object_set_new(object, "max", integer(h->max));
	json_object_set_new(object, "relative_error", number(BENCH_HIST_ERROR));
	return object;
}

static json_t *dgrams_of(const struct bench_result *r)
{
	bool answers = r->opts->pattern != BENCH_STREAM;

	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "sent", integer(r->dgram_sent),
			 "received", integer(r->dgram_received), "lost",
			 integer(answers ? r->dgram_sent - r->dgram_received : 0), "late",
			 integer(r->dgram_late), "duplicates", integer(r->dgram_duplicates),
			 "reordered", integer(r->dgram_reordered), "corrupt",
			 integer(r->dgram_corrupt));
}

static json_t *errors_of(const struct bench_result *r)
{
	json_t *object = json_object();

	for (int kind = 0; kind < BENCH_ERRORS; kind++)
		json_object_set_new(object, bench_error_names[kind], integer(r->errors[kind]));
	return object;
}

static json_t *server_of(const struct bench_result *r)
{
	double cpu_ns = (double)r->server_cpu_ns, bytes = (double)bench_result_bytes(r);
	json_t *pids = json_array();

	for (uint32_t i = 0; i < r->opts->n_pids; i++)
		json_array_append_new(pids, json_integer(r->opts->pids[i]));
	return json_pack("{s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "pids", pids,
			 "cpu_ns", (json_int_t)r->server_cpu_ns, "user_ns",
			 (json_int_t)r->server_user_ns, "system_ns",
			 (json_int_t)r->server_system_ns, "cpu_ns_per_message",
			 r->msgs ? number(cpu_ns / (double)r->msgs) : json_null(), "cpu_ns_per_gib",
			 bytes > 0 ? number(cpu_ns / bytes * (double)(1 << 30)) : json_null(),
			 "busy", number(cpu_ns / (double)r->window_ns), "rss_bytes",
			 integer(r->server.rss_bytes), "rss_peak_bytes",
			 integer(r->server.rss_peak_bytes), "voluntary_switches",
			 integer(r->server.voluntary_switches), "involuntary_switches",
			 integer(r->server.involuntary_switches));
}

static json_t *generator_of(const struct bench_result *r)
{
	json_t *reasons = json_array(), *object;

	for (uint32_t i = 0; i < r->n_reasons; i++)
		json_array_append_new(reasons, json_string(r->reasons[i]));
	object = json_pack("{s:I, s:o, s:b, s:o}", "cpu_ns", (json_int_t)r->generator_cpu_ns,
			   "busy", number(r->generator_busy), "limited", r->n_reasons > 0,
			   "reasons", reasons);
	json_object_set_new(object, "idle",
			    r->opts->spin ? number(r->generator_idle) : json_null());
	json_object_set_new(object, "dropped", integer(r->generator_drops));
	json_object_set_new(object, "behind_ns",
			    r->opts->rate_per_s > 0 ? hist_of(&r->lag) : json_null());
	return object;
}

static json_t *intervals_of(const struct bench_result *r)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < r->n_intervals; i++) {
		const struct bench_interval *v = &r->intervals[i];

		json_array_append_new(array, json_pack("{s:o, s:o, s:o, s:o}", "t_s",
						       number((double)v->end_ns / 1e9), "messages",
						       integer(v->msgs), "bytes", integer(v->bytes),
						       "server_cpu_ns",
						       v->server_cpu_ns < 0
							       ? json_null()
							       : json_integer(v->server_cpu_ns)));
	}
	return array;
}

static json_t *result_of(const struct bench_result *r)
{
	const struct bench_opts *o = r->opts;
	json_t *root = json_pack(
		"{s:s, s:s, s:s, s:{s:s, s:s}, s:o, s:b, s:f, s:o, s:o, s:o, s:f, s:f}", "schema",
		"sluice-bench/1", "version", SLUICE_VERSION, "started", r->started, "target",
		"transport", bench_transport_name(o->transport), "address", o->address, "options",
		options_of(o), "interrupted", r->interrupted, "window_s",
		(double)r->window_ns / 1e9, "messages", integer(r->msgs), "bytes_sent",
		integer(r->tx_bytes), "bytes_received", integer(r->rx_bytes), "messages_per_s",
		bench_result_msgs_per_s(r), "bytes_per_s", bench_result_bytes_per_s(r));

	if (!root)
		return NULL;
	json_object_set_new(root, "latency_ns",
			    bench_result_has_latency(r) ? hist_of(&r->latency) : json_null());
	json_object_set_new(root, "unanswered", integer(r->unanswered));
	json_object_set_new(root, "unsent", integer(r->unsent));
	json_object_set_new(root, "stalled_connections", integer(r->stalled));
	json_object_set_new(root, "udp", o->transport == BENCH_UDP ? dgrams_of(r) : json_null());
	json_object_set_new(root, "errors", errors_of(r));
	json_object_set_new(root, "errors_total", integer(r->errors_total));
	json_object_set_new(root, "server",
			    r->server_known && r->window_ns ? server_of(r) : json_null());
	json_object_set_new(root, "generator", generator_of(r));
	json_object_set_new(root, "intervals", intervals_of(r));
	return root;
}

/*
 * A file as a whole, in memory before it is written: a stream that failed half-way does not tell
 * why any more.
 */
struct text {
	FILE *out;
	char *data;
	size_t len;
};

static int text_open(struct text *t)
{
	*t = (struct text){0};
	t->out = open_memstream(&t->data, &t->len);
	return t->out ? 0 : -errno;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Ends t. 0 or -errno. */
static int text_write(struct text *t, const char *path)
{
	bool to_stdout = !strcmp(path, "-");
	int ret = ferror(t->out) ? -ENOMEM : 0, fd = -1;

	if ((fclose(t->out) || (to_stdout && fflush(stdout))) && !ret)
		ret = -errno;
	if (!ret) {
		fd = to_stdout ? STDOUT_FILENO
			       : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		ret = fd < 0 ? -errno : write_all(fd, t->data, t->len);
	}
	if (!to_stdout && fd >= 0 && close(fd) && !ret)
		ret = -errno;
	free(t->data);
	return ret;
}

int bench_result_json(const struct bench_result *r, const char *path)
{
	json_t *root = result_of(r);
	struct text text;
	int ret;

	/* a target's name may be any bytes, JSON has Unicode only */
	if (!root)
		return -EILSEQ;
	ret = text_open(&text);
	if (!ret) {
		json_dumpf(root, text.out, JSON_COMPACT | JSON_REAL_PRECISION(12));
		fputc('\n', text.out);
		ret = text_write(&text, path);
	}
	json_decref(root);
	return ret;
}

static void write_csv(const struct bench_result *r, FILE *out)
{
	const struct bench_opts *o = r->opts;
	const struct bench_hist *h = &r->latency;

	fprintf(out, "started,transport,pattern,connections,size_min,size_max,depth,rate_per_s,"
		     "window_s,messages,messages_per_s,bytes_per_s,p50_ns,p90_ns,p99_ns,p99_9_ns,"
		     "p99_99_ns,max_ns,sent,lost,errors,server_cpu_ns,server_cpu_ns_per_message,"
		     "generator_busy,generator_limited,interrupted\n");
	fprintf(out, "%s,%s,%s,%u,%u,%u,%u,%.6g,%.6f,%llu,%.1f,%.1f", r->started,
		bench_transport_name(o->transport), bench_pattern_name(o->pattern), o->conns,
		o->size_min, o->size_max, o->depth, o->rate_per_s, (double)r->window_ns / 1e9,
		(unsigned long long)r->msgs, bench_result_msgs_per_s(r),
		bench_result_bytes_per_s(r));
	for (int i = 0; i < 5; i++)
		fprintf(out, ",%llu",
			(unsigned long long)bench_hist_percentile(
				h, (const double[]){50, 90, 99, 99.9, 99.99}[i]));
	fprintf(out, ",%llu,%llu,%llu,%llu,%lld,%.1f,%.4f,%d,%d\n", (unsigned long long)h->max,
		(unsigned long long)r->dgram_sent,
		(unsigned long long)(o->pattern == BENCH_STREAM
					     ? 0
					     : r->dgram_sent - r->dgram_received),
		(unsigned long long)r->errors_total, (long long)r->server_cpu_ns,
		r->msgs ? (double)r->server_cpu_ns / (double)r->msgs : 0, r->generator_busy,
		r->n_reasons > 0, r->interrupted);
}

int bench_result_csv(const struct bench_result *r, const char *path)
{
	struct text text;
	int ret = text_open(&text);

	if (ret)
		return ret;
	write_csv(r, text.out);
	return text_write(&text, path);
}

int bench_result_hist(const struct bench_result *r, const char *path)
{
	struct text text;
	int ret = text_open(&text);

	if (ret)
		return ret;
	bench_hist_write(&r->latency, text.out);
	return text_write(&text, path);
}
