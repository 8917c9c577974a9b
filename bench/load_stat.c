/* SPDX-License-Identifier: MIT */
/*
 * Latency histogram and CPU time of a process. Keeps no state of its own.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint32_t hist_index(uint64_t ns)
{
	uint32_t shift;

	if (ns < LOAD_HIST_SUB)
		return ns;
	shift = 63 - __builtin_clzll(ns) - 6;
	return (shift + 1) * LOAD_HIST_SUB + ((ns >> shift) - LOAD_HIST_SUB);
}

static int64_t hist_value(uint32_t index)
{
	uint32_t shift;

	if (index < LOAD_HIST_SUB)
		return index;
	shift = index / LOAD_HIST_SUB - 1;
	return ((int64_t)(index % LOAD_HIST_SUB + LOAD_HIST_SUB) << shift) +
	       ((INT64_C(1) << shift) >> 1);
}

void load_hist_add(struct load_hist *h, int64_t ns)
{
	h->count[hist_index(ns > 0 ? ns : 0)]++;
	h->total++;
}

int64_t load_hist_percentile(const struct load_hist *h, double percent)
{
	uint64_t want = (uint64_t)(percent / 100 * h->total), seen = 0;

	if (!h->total)
		return 0;
	for (uint32_t i = 0; i < sizeof(h->count) / sizeof(h->count[0]); i++) {
		seen += h->count[i];
		if (seen > want || seen == h->total)
			return hist_value(i);
	}
	return 0;
}

/* utime and stime are fields 14 and 15; the name in field 2 may hold spaces and brackets. */
static int stat_read(pid_t pid, struct load_cpu *cpu)
{
	unsigned long long user, sys;
	long tick_ns = LOAD_NS_PER_S / sysconf(_SC_CLK_TCK);
	char path[64], text[1024], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	text[n] = '\0';
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
			 &sys) != 2)
		return -EINVAL;
	cpu->user_ns = user * tick_ns;
	cpu->sys_ns = sys * tick_ns;
	return 0;
}

int load_cpu_read(pid_t pid, struct load_cpu *ret_cpu)
{
	struct load_cpu cpu;
	struct timespec ts;
	clockid_t clock;
	int ret;

	/*
	 * The same counter as the first field of /proc/PID/task/TID/schedstat, but brought up to
	 * date for a running thread (the file lags by up to a tick) and with the threads that have
	 * ended, such as io_uring's workers.
	 */
	ret = clock_getcpuclockid(pid, &clock);
	if (ret)
		return -ret;
	if (clock_gettime(clock, &ts))
		return -errno;
	ret = stat_read(pid, &cpu);
	if (ret)
		return ret;
	cpu.exec_ns = ts.tv_sec * LOAD_NS_PER_S + ts.tv_nsec;
	*ret_cpu = cpu;
	return 0;
}
