/* SPDX-License-Identifier: MIT */
#include "serve_cpu.h"

#include "util.h"

int serve_cpu_nth(const cpu_set_t *set, uint32_t n)
{
	int total = CPU_COUNT(set);

	n %= (uint32_t)MAX(total, 1);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, set) && n-- == 0)
			return cpu;
	return -1;
}

uint32_t serve_workers_wanted(const struct opt *opt)
{
	cpu_set_t set;

	if (opt->workers)
		return (uint32_t)opt->workers;
	if (opt->n_cpus)
		return (uint32_t)opt->n_cpus;
	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return (uint32_t)MIN(MAX(CPU_COUNT(&set), 1), OPT_WORKERS_MAX);
}
