/* SPDX-License-Identifier: MIT */
/*
 * `flood count`: what arrives at an interface, counted where the driver receives it, and how long
 * each frame was under way when the flood has stamped it. The one machine has one clock.
 */
#include "bench/xdp_flood.h"

#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bench/flood.skel.h"
#include "bench/xdp_count.h"

/* Adds what each core has counted. */
static int read_counts(struct flood_bpf *skel, struct counts *ret)
{
	int n = libbpf_num_possible_cpus(), err = 0;
	struct counts *each;
	uint32_t zero = 0;

	memset(ret, 0, sizeof(*ret));
	each = n > 0 ? calloc(n, sizeof(*each)) : NULL;
	if (!each)
		return -ENOMEM;
	if (bpf_map_lookup_elem(bpf_map__fd(skel->maps.counted), &zero, each))
		err = -errno;
	for (int i = 0; i < n && !err; i++) {
		ret->frames += each[i].frames;
		for (uint32_t b = 0; b < COUNT_BUCKETS; b++)
			ret->bucket[b] += each[i].bucket[b];
	}
	free(each);
	return err;
}

/* The time below which that share of the frames was under way, in µs. */
static double quantile_us(const struct counts *c, double share)
{
	uint64_t total = 0, below = 0;

	for (uint32_t i = 0; i < COUNT_BUCKETS; i++)
		total += c->bucket[i];
	for (uint32_t i = 0; i < COUNT_BUCKETS; i++) {
		below += c->bucket[i];
		if (below && below >= share * total)
			return count_bucket_ns(i) / 1e3;
	}
	return 0;
}

static void print_sessions(struct flood_bpf *skel, uint32_t n)
{
	double jitter_us, sum = 0, worst = 0;
	struct count_session s;
	uint32_t seen = 0;

	for (uint32_t i = 0; i < n && i < COUNT_SESSIONS_MAX; i++) {
		if (bpf_map_lookup_elem(bpf_map__fd(skel->maps.sessions), &i, &s) || !s.frames)
			continue;
		seen++;
		jitter_us = s.jitter16 / 16e3;
		sum += jitter_us;
		if (jitter_us > worst)
			worst = jitter_us;
	}
	printf(" sessions=%u jitter=%.2f jitter_max=%.2f", seen, seen ? sum / seen : 0, worst);
}

static void print_counts(struct flood_bpf *skel, const struct flood_opts *o, struct counts *now,
			 const struct counts *before, int64_t ns)
{
	now->frames -= before->frames;
	for (uint32_t i = 0; i < COUNT_BUCKETS; i++)
		now->bucket[i] -= before->bucket[i];
	printf("frames=%llu per_s=%.0f seconds=%.3f", (unsigned long long)now->frames,
	       now->frames * 1e9 / ns, ns / 1e9);
	if (o->stamps)
		printf(" p50=%.2f p99=%.2f max=%.2f", quantile_us(now, 0.5), quantile_us(now, 0.99),
		       quantile_us(now, 1));
	if (o->stamps && o->ports)
		print_sessions(skel, o->ports);
	printf("\n");
}

/* Until a signal that ends, or the end of the time. */
static int watch(struct flood_bpf *skel, const struct flood_opts *o, const sigset_t *signals)
{
	int64_t start_ns = flood_now_ns(), end_ns = start_ns + o->seconds_ns, now_ns = start_ns;
	static struct counts before, now;
	struct timespec timeout;
	int sig = 0, err = 0;

	while (now_ns < end_ns && !err) {
		timeout.tv_sec = (end_ns - now_ns) / FLOOD_NS_PER_S;
		timeout.tv_nsec = (end_ns - now_ns) % FLOOD_NS_PER_S;
		sig = sigtimedwait(signals, NULL, &timeout);
		now_ns = flood_now_ns();
		if (sig == SIGUSR1) {
			start_ns = now_ns;
			err = read_counts(skel, &before);
		} else if (sig > 0) {
			break;
		}
	}
	if (!err)
		err = read_counts(skel, &now);
	if (err)
		return flood_fail("reading the counters", -err);
	print_counts(skel, o, &now, &before, now_ns - start_ns);
	return 0;
}

static int attach(struct flood_bpf *skel, const struct flood_opts *o)
{
	struct bpf_link *link;
	sigset_t signals;
	int ret;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	link = bpf_program__attach_xdp(skel->progs.count, if_nametoindex(o->dev));
	if (!link)
		return flood_fail(o->dev, errno);
	puts("ready");
	ret = watch(skel, o, &signals);
	bpf_link__destroy(link);
	return ret;
}

int flood_count(const struct flood_opts *o)
{
	struct flood_bpf *skel;
	int ret;

	if (!o->dev || o->args[0] || o->ports > COUNT_SESSIONS_MAX)
		return flood_fail("count wants --dev, at most 1024 --ports, and only options", 0);
	skel = flood_bpf__open();
	if (!skel)
		return flood_fail("opening the program", errno);
	skel->rodata->count_from = o->answers;
	skel->rodata->count_port = o->to_port;
	skel->rodata->from_port = o->from_port;
	skel->rodata->ports = o->ports;
	skel->rodata->stamped = o->stamps;
	ret = flood_bpf__load(skel);
	ret = ret ? flood_fail("loading the program", -ret) : attach(skel, o);
	flood_bpf__destroy(skel);
	return ret;
}
