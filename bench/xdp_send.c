/* SPDX-License-Identifier: MIT */
/*
 * `flood send`: frames from BPF_PROG_TEST_RUN, sent in earnest (BPF_F_TEST_XDP_LIVE_FRAMES). One
 * core makes some millions a second, which no socket does.
 */
#include "bench/xdp_flood.h"

#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bench/flood.skel.h"

#define BATCH_MAX 256      /* the kernel's */
#define BATCH_PACED_MAX 64 /* the queue of a veth has room for 256 */
#define BATCHES_PER_S 10000 /* of a paced flood: interrupts wait for the end of one */
#define RUN_MAX (1u << 30)  /* frames of one call, which a signal ends */

/* Looks at the clock for one frame of a paced flood, in which nothing else runs on the core. Where
 * times are taken they are few, for what receives the answers is on that core, too. */
#define WAIT_MAX 10000
#define WAIT_MAX_STAMPED 20

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
	(void)sig;
	stopped = 1;
}

/* Ends after ns: the timer repeats, because the first signal may come just before a call. */
static void stop_after(int64_t ns)
{
	struct sigaction act = {.sa_handler = stop};
	struct itimerval timer = {.it_interval = {.tv_usec = 10000}};

	sigaction(SIGALRM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	timer.it_value.tv_sec = ns / FLOOD_NS_PER_S;
	timer.it_value.tv_usec = ns % FLOOD_NS_PER_S / 1000;
	if (!timer.it_value.tv_sec && !timer.it_value.tv_usec)
		timer.it_value.tv_usec = 1;
	setitimer(ITIMER_REAL, &timer, NULL);
}

static int own_mac(const char *dev, uint8_t mac[6])
{
	struct ifreq req = {0};
	int fd, ret = 0;

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", dev);
	if (ioctl(fd, SIOCGIFHWADDR, &req))
		ret = -errno;
	memcpy(mac, req.ifr_hwaddr.sa_data, 6);
	close(fd);
	return ret;
}

static void configure(struct flood_bpf *skel, const struct flood_opts *o,
		      const struct flood_frame *frame)
{
	skel->rodata->ifindex = if_nametoindex(o->dev);
	skel->rodata->from = o->from;
	skel->rodata->from_random = o->from_random;
	skel->rodata->from_port = o->from_port ? o->from_port : 0x8000;
	skel->rodata->from_port_random = o->from_port ? 0 : 0x3fff;
	skel->rodata->ports = o->ports;
	skel->rodata->stamped = o->stamps;
	memcpy((void *)skel->rodata->header, frame->data, FLOOD_HEADER_BYTES);
	skel->rodata->ip_sum = frame->ip_sum;
	skel->rodata->udp_sum = frame->udp_sum;
	skel->rodata->gap = o->rate ? 16 * FLOOD_NS_PER_S / o->rate : 0;
	skel->rodata->wait_max = o->stamps ? WAIT_MAX_STAMPED : WAIT_MAX;
}

/* Frames go out at the end of a batch; a stamp says when. */
static uint32_t batch_size(const struct flood_opts *o)
{
	uint32_t n = o->rate / BATCHES_PER_S;

	if (!o->rate)
		return BATCH_MAX;
	if (o->stamps)
		return 1;
	return n > BATCH_PACED_MAX ? BATCH_PACED_MAX : n ? n : 1;
}

static int run(struct flood_bpf *skel, const struct flood_opts *o, struct flood_frame *frame)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame->data, .data_size_in = frame->len,
		    .repeat = RUN_MAX, .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		    .batch_size = batch_size(o));
	int64_t start_ns, end_ns;
	int ret = 0;

	start_ns = flood_now_ns();
	skel->bss->due = start_ns << 4;
	stop_after(o->seconds_ns);
	while (!stopped) {
		ret = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.flood), &opts);
		if (ret && ret != -EINTR && ret != -EAGAIN)
			return flood_fail("BPF_PROG_TEST_RUN with live frames", -ret);
	}
	end_ns = flood_now_ns();
	if (skel->bss->last) { /* paced: setting up and tearing down do not count */
		start_ns = skel->bss->first >> 4;
		end_ns = skel->bss->last >> 4;
	}
	printf("sent=%llu per_s=%.0f start=%.6f end=%.6f\n", (unsigned long long)skel->bss->sent,
	       skel->bss->sent * 1e9 / (end_ns - start_ns), start_ns / 1e9, end_ns / 1e9);
	return 0;
}

int flood_send(const struct flood_opts *o)
{
	struct flood_opts mine = *o;
	struct flood_frame frame;
	struct flood_bpf *skel;
	int ret;

	if (!o->dev || o->args[0])
		return flood_fail("send wants --dev, and nothing but options", 0);
	ret = own_mac(o->dev, mine.from_mac);
	if (ret)
		return flood_fail(o->dev, -ret);
	flood_frame(&mine, o->to_port, &frame);
	skel = flood_bpf__open();
	if (!skel)
		return flood_fail("opening the program", errno);
	configure(skel, o, &frame);
	ret = flood_bpf__load(skel);
	ret = ret ? flood_fail("loading the program", -ret) : run(skel, o, &frame);
	flood_bpf__destroy(skel);
	return ret;
}
