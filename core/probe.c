/* SPDX-License-Identifier: MIT */
/* Owns nothing; the rows come from main, which knows the backends. */
#include "probe.h"

#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "util.h"

/* Settings of the kernel that bound what the server can do. */
static const struct {
	const char *name, *path;
} sysctls[] = {
	{"net.core.somaxconn", "/proc/sys/net/core/somaxconn"},
	{"net.core.rmem_max", "/proc/sys/net/core/rmem_max"},
	{"net.core.wmem_max", "/proc/sys/net/core/wmem_max"},
	{"net.ipv4.tcp_rmem", "/proc/sys/net/ipv4/tcp_rmem"},
	{"net.ipv4.tcp_wmem", "/proc/sys/net/ipv4/tcp_wmem"},
	{"kernel.io_uring_disabled", "/proc/sys/kernel/io_uring_disabled"},
	{"fs.nr_open", "/proc/sys/fs/nr_open"},
};

/* False, and an empty string, where the kernel has no such setting. */
static bool read_line(const char *path, char *out, size_t size)
{
	FILE *file = fopen(path, "re");

	out[0] = '\0';
	if (!file)
		return false;
	if (!fgets(out, (int)size, file))
		out[0] = '\0';
	fclose(file);
	out[strcspn(out, "\n")] = '\0';
	for (char *c = out; *c; c++)
		if (*c == '\t')
			*c = ' ';
	return out[0] != '\0';
}

static int cpus_allowed(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
}

static void descriptors(unsigned long long *soft, unsigned long long *hard)
{
	struct rlimit limit = {0};

	getrlimit(RLIMIT_NOFILE, &limit);
	*soft = limit.rlim_cur;
	*hard = limit.rlim_max;
}

static json_t *limits_json(void)
{
	unsigned long long soft, hard;
	json_t *limits = json_object();
	char line[128];

	descriptors(&soft, &hard);
	json_object_set_new(limits, "cpus_allowed", json_integer(cpus_allowed()));
	json_object_set_new(limits, "descriptors_soft", json_integer((json_int_t)soft));
	json_object_set_new(limits, "descriptors_hard", json_integer((json_int_t)hard));
	for (size_t i = 0; i < ARRAY_SIZE(sysctls); i++)
		json_object_set_new(limits, sysctls[i].name,
				    read_line(sysctls[i].path, line, sizeof(line))
					    ? json_string(line)
					    : json_null());
	return limits;
}

static json_t *row_json(const struct probe_row *row)
{
	json_t *json = json_object();

	json_object_set_new(json, "group", json_string(row->group));
	json_object_set_new(json, "name", json_string(row->name));
	json_object_set_new(json, "since", json_string(row->since));
	json_object_set_new(json, "required", json_boolean(row->required));
	json_object_set_new(json, "found", json_boolean(row->found));
	if (!row->found)
		json_object_set_new(json, "why", json_string(row->why));
	return json;
}

static int print_json(const struct utsname *uts, const struct probe_row *rows, size_t n,
		      const char *backend, const char *reason)
{
	json_t *root = json_object(), *features = json_array(), *chosen = json_object();
	int err;

	json_object_set_new(root, "version", json_string(SLUICE_VERSION));
	json_object_set_new(root, "kernel", json_string(uts->release));
	json_object_set_new(root, "machine", json_string(uts->machine));
	json_object_set_new(root, "limits", limits_json());
	for (size_t i = 0; i < n; i++)
		json_array_append_new(features, row_json(&rows[i]));
	json_object_set_new(root, "features", features);
	json_object_set_new(chosen, "backend", json_string(backend));
	json_object_set_new(chosen, "reason", json_string(reason));
	json_object_set_new(root, "auto", chosen);
	err = json_dumpf(root, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(root);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void print_rows(const struct probe_row *rows, size_t n)
{
	const char *group = "";

	for (size_t i = 0; i < n; i++) {
		if (strcmp(group, rows[i].group)) {
			group = rows[i].group;
			printf("\n%s\n", group);
		}
		printf("  %-18s %-5s %-8s %s%s%s\n", rows[i].name, rows[i].found ? "yes" : "no",
		       rows[i].required ? "required" : "optional", "since Linux ", rows[i].since,
		       "");
		if (!rows[i].found)
			printf("  %-18s       %s\n", "", rows[i].why);
	}
}

int probe_print(const struct probe_row *rows, size_t n, const char *backend, const char *reason,
		bool json)
{
	unsigned long long soft, hard;
	struct utsname uts;
	char line[128];

	uname(&uts);
	if (json)
		return print_json(&uts, rows, n, backend, reason);
	descriptors(&soft, &hard);
	printf("sluice %s on Linux %s (%s)\n\nlimits\n", SLUICE_VERSION, uts.release, uts.machine);
	printf("  %-26s %d\n", "CPUs allowed", cpus_allowed());
	printf("  %-26s %llu (can be raised to %llu)\n", "descriptors", soft, hard);
	for (size_t i = 0; i < ARRAY_SIZE(sysctls); i++)
		printf("  %-26s %s\n", sysctls[i].name,
		       read_line(sysctls[i].path, line, sizeof(line)) ? line
								      : "not on this kernel");
	print_rows(rows, n);
	printf("\n-b auto chooses %s: %s\n", backend, reason);
	return ferror(stdout) || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
