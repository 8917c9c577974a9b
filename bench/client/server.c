/* SPDX-License-Identifier: MIT */
/* Reads /proc and CPU clocks. Keeps no state. */
#include "bench/client/server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/client/opts.h"

/*
 * The same counter as the first field of /proc/PID/task/TID/schedstat, but brought up to date for
 * a running thread (the file lags by up to a tick) and with the threads that have ended, such as
 * io_uring's workers.
 */
static int read_cpu(pid_t pid, int64_t *ret_ns)
{
	struct timespec ts;
	clockid_t clock;
	int ret = clock_getcpuclockid(pid, &clock);

	if (ret)
		return -ret;
	if (clock_gettime(clock, &ts))
		return errno == EINVAL ? -ESRCH : -errno;
	*ret_ns = ts.tv_sec * BENCH_NS_PER_S + ts.tv_nsec;
	return 0;
}

int bench_server_cpu(const pid_t *pids, uint32_t n, int64_t *ret_ns, pid_t *ret_failed)
{
	int64_t sum_ns = 0, one_ns = 0;
	int ret;

	for (uint32_t i = 0; i < n; i++) {
		ret = read_cpu(pids[i], &one_ns);
		if (ret) {
			*ret_failed = pids[i];
			return ret;
		}
		sum_ns += one_ns;
	}
	*ret_ns = sum_ns;
	return 0;
}

/* The whole of a small file, ended with a zero. 0 or -errno. */
static int read_text(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	n = read(fd, out, size - 1);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n <= 0)
		return n ? (int)n : -ESRCH;
	out[n] = '\0';
	return 0;
}

/* utime and stime are fields 14 and 15; the name in field 2 may hold spaces and brackets. */
static int add_times(pid_t pid, struct bench_usage *usage)
{
	long tick_ns = BENCH_NS_PER_S / sysconf(_SC_CLK_TCK);
	unsigned long long user, system;
	char path[64], text[1024], *p;
	int ret;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	ret = read_text(path, text, sizeof(text));
	if (ret)
		return ret;
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
			 &system) != 2)
		return -EINVAL;
	usage->user_ns += (int64_t)user * tick_ns;
	usage->system_ns += (int64_t)system * tick_ns;
	return 0;
}

/* A field "Name:  123 kB" of a status file; 0 when it is not there, as for kernel threads. */
static uint64_t status_field(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static int add_memory(pid_t pid, struct bench_usage *usage)
{
	char path[64], text[4096];
	int ret;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	ret = read_text(path, text, sizeof(text));
	if (ret)
		return ret;
	usage->rss_bytes += status_field(text, "\nVmRSS:") << 10;
	usage->rss_peak_bytes += status_field(text, "\nVmHWM:") << 10;
	return 0;
}

/* The file of the process has the switches of its first thread only. */
static int add_switches(pid_t pid, struct bench_usage *usage)
{
	char path[sizeof("/proc//task//status") + 300], text[4096];
	const struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? -ESRCH : -errno;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, entry->d_name);
		if (read_text(path, text, sizeof(text)))
			continue; /* ended meanwhile */
		usage->voluntary_switches += status_field(text, "\nvoluntary_ctxt_switches:");
		usage->involuntary_switches += status_field(text, "\nnonvoluntary_ctxt_switches:");
	}
	closedir(dir);
	return 0;
}

int bench_server_usage(const pid_t *pids, uint32_t n, struct bench_usage *ret_usage,
		       pid_t *ret_failed)
{
	struct bench_usage usage = {0};
	int ret;

	for (uint32_t i = 0; i < n; i++) {
		ret = add_times(pids[i], &usage);
		if (!ret)
			ret = add_memory(pids[i], &usage);
		if (!ret)
			ret = add_switches(pids[i], &usage);
		if (ret) {
			*ret_failed = pids[i];
			return ret;
		}
	}
	*ret_usage = usage;
	return 0;
}
