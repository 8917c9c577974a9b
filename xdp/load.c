/* SPDX-License-Identifier: MIT */
/* From a rule set to a program in the kernel: compiled tables, constants, maps. */
#include "xdp/load.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "core/util.h"
#include "xdp/filter.skel.h"

enum { LOG_BYTES = 4 << 20 };

/* As the kernel knows them. */
static const char *const map_names[MAPS] = {
	[MAP_INFO] = "info",
	[MAP_RULES] = "rules",
	[MAP_HITS] = "hits",
	[MAP_REASONS] = "reasons",
	[MAP_BUCKETS] = "buckets",
	[MAP_TOTALS] = "totals",
	[MAP_LIMITS] = "limits",
	[MAP_PORTS] = "ports",
	[MAP_LPM4] = "lpm4",
	[MAP_LPM6] = "lpm6",
	[MAP_SERVED] = "served",
	[MAP_CLOCK] = ".data.clock",
	[MAP_PORT_INDEX] = "filter_b.bss",
	[MAP_HOST] = "host",
	[MAP_LOCALS] = "locals",
	[MAP_WAYS] = "ways",
	[MAP_KEYS4] = "keys4",
	[MAP_KEYS6] = "keys6",
	[MAP_EGRESS] = "egress",
};

int load_fail(char *error, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, XDP_ERROR_MAX, format, args);
	va_end(args);
	return err;
}

struct xdp *load_new(void)
{
	struct xdp *xdp = calloc(1, sizeof(*xdp));

	if (!xdp)
		return NULL;
	xdp->program_fd = xdp->link_fd = -1;
	for (int i = 0; i < MAPS; i++)
		xdp->map_fd[i] = -1;
	return xdp;
}

void load_take(struct xdp *xdp, struct xdp *from)
{
	struct xdp old = *xdp;

	xdp->stored = from->stored;
	xdp->program_id = from->program_id;
	xdp->program_fd = from->program_fd;
	memcpy(xdp->map_fd, from->map_fd, sizeof(xdp->map_fd));
	from->program_fd = old.program_fd;
	memcpy(from->map_fd, old.map_fd, sizeof(from->map_fd));
	xdp_close(from);
}

void *load_map_values(const struct xdp *xdp, enum load_map map, size_t bytes)
{
	void *values = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, xdp->map_fd[map], 0);

	return values == MAP_FAILED ? NULL : values;
}

void load_unmap(void *values, size_t bytes)
{
	if (values)
		munmap(values, bytes);
}

int load_store(const struct xdp *xdp)
{
	uint32_t zero = 0;

	return bpf_map_update_elem(xdp->map_fd[MAP_INFO], &zero, &xdp->stored, BPF_ANY) ? -errno
											: 0;
}

int load_sum_hits(const struct xdp *xdp, struct filter_count *counts)
{
	uint32_t n = xdp->stored.n_rules, cpus = xdp->stored.cpus;
	size_t bytes = (size_t)n * cpus * sizeof(struct filter_count);
	struct filter_count *hits = load_map_values(xdp, MAP_HITS, bytes);

	if (!hits)
		return -errno;
	for (uint32_t cpu = 0; cpu < cpus; cpu++) {
		for (uint32_t i = 0; i < n; i++) {
			counts[i].packets += hits[(size_t)cpu * n + i].packets;
			counts[i].bytes += hits[(size_t)cpu * n + i].bytes;
		}
	}
	load_unmap(hits, bytes);
	return 0;
}

/* ---- the program ---- */

/* The questions that an answer of the list for any port answers, as bits: FILTER_BYS stands for
 * the verdict. */
static uint8_t questions(uint32_t list, const struct filter_answer *answer)
{
	uint8_t bits = answer->verdict ? 1 << FILTER_BYS : 0;

	for (int by = 0; by < FILTER_BYS; by++)
		bits |= answer->limit[by] ? 1 << by : 0;
	return list ? 0 : bits;
}

/* By how much the coarse clock may be late: a tick, and as long until somebody turns it on. */
static uint64_t coarse_tick(void)
{
	struct timespec tick = {.tv_nsec = 10 * NS_PER_MS};

	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	return 2 * (uint64_t)(tick.tv_sec * NS_PER_S + tick.tv_nsec);
}

static bool may_be_coarse(const struct filter_limit *limit)
{
	const uint64_t datagram = 1500; /* bytes, where they are limited */
	uint64_t tick = coarse_tick() << FILTER_TIME_SHIFT;
	uint64_t cost = (limit->bytes ? limit->cost * datagram : limit->cost) >> FILTER_COST_SHIFT;

	return cost * FILTER_COARSE_UNITS <= tick && limit->tau >= tick * FILTER_COARSE_BURST;
}

static void set_constants(struct filter_bpf *skel, const struct table *table,
			  const struct load_info *stored)
{
	uint8_t any4 = 0, any6 = 0;

	for (uint32_t i = 0; i < table->lpm4.n; i++)
		any4 |= questions(table->lpm4.keys[i].list, &table->lpm4.answers[i]);
	for (uint32_t i = 0; i < table->lpm6.n; i++)
		any6 |= questions(table->lpm6.keys[i].list, &table->lpm6.answers[i]);
	skel->rodata->any4_answers = any4;
	skel->rodata->any6_answers = any6;
	skel->rodata->has_list4 = table->list4;
	skel->rodata->has_list6 = table->list6;
	skel->rodata->has_lengths = table->lengths;
	skel->rodata->has_limits = table->n_limits > 0;
	skel->rodata->is_serving = table->serving;
	skel->rodata->fragment_drop = table->fragment_drop;
	skel->rodata->fragment_rule = table->fragment_rule;
	skel->rodata->n_rules = table->n_rules;
	skel->rodata->fast_mode = (uint8_t)stored->fast;
	skel->rodata->clock_is_set = stored->clock_is_set;
	skel->rodata->coarse_tick = stored->clock_is_set ? 0 : coarse_tick();
	memcpy((void *)skel->rodata->hash_keys, stored->keys, sizeof(stored->keys));
	memcpy(skel->bss->port_index, table->port_index, sizeof(table->port_index));
}

static uint32_t map_entries(int fd)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.max_entries;
}

static int size_maps(struct filter_bpf *skel, const struct table *table, uint32_t cpus,
		     uint32_t regions, struct xdp *old)
{
	uint32_t buckets = table->keyed ? regions << FILTER_BUCKET_BITS : 1;
	int err = 0;

	err |= bpf_map__set_max_entries(skel->maps.ports, table->n_ports);
	err |= bpf_map__set_max_entries(skel->maps.limits, MAX(table->n_limits, 1u));
	err |= bpf_map__set_max_entries(skel->maps.lpm4, MAX(table->lpm4.n, 1u));
	err |= bpf_map__set_max_entries(skel->maps.lpm6, MAX(table->lpm6.n, 1u));
	err |= bpf_map__set_max_entries(skel->maps.hits, table->n_rules * cpus);
	err |= bpf_map__set_max_entries(skel->maps.rules, table->n_rules);
	err |= bpf_map__set_value_size(skel->maps.rules, sizeof(struct load_rule));
	err |= bpf_map__set_value_size(skel->maps.info, sizeof(struct load_info));
	err |= bpf_map__set_max_entries(skel->maps.buckets, buckets);
	if (!old)
		return err;
	err |= bpf_map__reuse_fd(skel->maps.reasons, old->map_fd[MAP_REASONS]);
	err |= bpf_map__reuse_fd(skel->maps.totals, old->map_fd[MAP_TOTALS]);
	if (map_entries(old->map_fd[MAP_BUCKETS]) == buckets)
		err |= bpf_map__reuse_fd(skel->maps.buckets, old->map_fd[MAP_BUCKETS]);
	return err;
}

static int load_refused(int err, char *log, char *error)
{
	char *last = log;
	struct utsname uts;
	unsigned major = 0, minor = 0;

	uname(&uts);
	if (err == -EPERM || err == -EACCES)
		return load_fail(error, -EPERM,
				 "loading the XDP filter needs CAP_BPF and CAP_NET_ADMIN, and "
				 "CAP_PERFMON for pointers into packets: run as root, or give the "
				 "capabilities (setcap cap_bpf,cap_net_admin,cap_perfmon+ep)");
	if (sscanf(uts.release, "%u.%u", &major, &minor) == 2 &&
	    (major < 5 || (major == 5 && minor < 18)))
		return load_fail(error, -EOPNOTSUPP,
				 "the XDP filter needs Linux 5.18 or newer (programs for frames in "
				 "several buffers, xdp.frags); this is %s",
				 uts.release);
	if (err == -ENOMEM || err == -E2BIG)
		return load_fail(error, err,
				 "not enough memory for the filter's maps; use fewer rules");
	/* The verifier's reason is the line before its own count. */
	for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n"))
		if (strncmp(line, "processed ", 10) && strncmp(line, "verification ", 13) &&
		    strncmp(line, "stack depth", 11))
			last = line;
	return load_fail(error, err, "Linux %s refused the XDP filter: %s%s%.200s", uts.release,
			 strerror(-err), *last ? ": " : "", last);
}

static int take_descriptors(struct filter_bpf *skel, struct xdp *xdp)
{
	xdp->program_fd = dup(bpf_program__fd(skel->progs.sluice_filter));
	if (xdp->program_fd < 0)
		return -errno;
	for (int i = 0; i < MAPS; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(skel->obj, map_names[i]);

		assert(map); /* the names of filter.bpf.c */
		xdp->map_fd[i] = dup(bpf_map__fd(map));
		if (xdp->map_fd[i] < 0)
			return -errno;
	}
	/* So that the program holds the maps that it does not use itself. */
	if (bpf_prog_bind_map(xdp->program_fd, xdp->map_fd[MAP_INFO], NULL) ||
	    bpf_prog_bind_map(xdp->program_fd, xdp->map_fd[MAP_RULES], NULL))
		return -errno;
	return 0;
}

/* Libbpf's own lines say less than the errors made here. */
static int keep_quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

/* Maps of the fast path: a server's own, which stay when its rules are replaced. */
static int share_maps(struct filter_bpf *skel, const struct load_info *stored, struct xdp *old,
		      const struct xdp_sessions *sessions)
{
	int err = 0;

	if (stored->fast != FAST_ECHO)
		err |= bpf_map__set_max_entries(skel->maps.locals, 1);
	if (stored->fast == FAST_RELAY)
		err |= bpf_map__set_max_entries(skel->maps.hops, FAST_HOPS);
	if (stored->fast != FAST_OFF && old) {
		err |= bpf_map__reuse_fd(skel->maps.host, old->map_fd[MAP_HOST]);
		err |= bpf_map__reuse_fd(skel->maps.locals, old->map_fd[MAP_LOCALS]);
	}
	if (stored->fast != FAST_RELAY)
		return err;
	err |= bpf_map__reuse_fd(skel->maps.ways, old ? old->map_fd[MAP_WAYS] : sessions->ways_fd);
	err |= bpf_map__reuse_fd(skel->maps.keys4,
				 old ? old->map_fd[MAP_KEYS4] : sessions->keys4_fd);
	err |= bpf_map__reuse_fd(skel->maps.keys6,
				 old ? old->map_fd[MAP_KEYS6] : sessions->keys6_fd);
	err |= bpf_map__reuse_fd(skel->maps.egress,
				 old ? old->map_fd[MAP_EGRESS] : sessions->egress_fd);
	return err;
}

static int load_skeleton(struct xdp *xdp, const struct table *table, struct xdp *old,
			 const struct xdp_sessions *sessions, char *error)
{
	char *log = calloc(1, LOG_BYTES);
	struct filter_bpf *skel;
	int err;

	skel = log ? filter_bpf__open() : NULL;
	if (!skel) {
		free(log);
		return load_fail(error, -ENOMEM, "out of memory");
	}
	err = size_maps(skel, table, xdp->stored.cpus, xdp->stored.regions, old);
	if (!err)
		err = share_maps(skel, &xdp->stored, old, sessions);
	if (!err) {
		set_constants(skel, table, &xdp->stored);
		bpf_program__set_log_buf(skel->progs.sluice_filter, log, LOG_BYTES);
		err = filter_bpf__load(skel);
	}
	if (err)
		err = load_refused(err, log, error);
	else if ((err = take_descriptors(skel, xdp)))
		load_fail(error, err, "taking over the filter's maps: %s", strerror(-err));
	filter_bpf__destroy(skel);
	free(log);
	return err;
}

/* The highest number that a CPU may have, and one: numbers may have gaps. 0: not known. */
static int possible_cpus(void)
{
	FILE *file = fopen("/sys/devices/system/cpu/possible", "re");
	int last = -1, number;

	while (file && fscanf(file, "%*[-,]") >= 0 && fscanf(file, "%d", &number) == 1)
		last = number;
	if (file)
		fclose(file);
	return last + 1;
}

static int program_id(int fd, uint32_t *ret_id)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*ret_id = info.id;
	return 0;
}

int load_program(const struct load_info *stored, const struct rule_set *rules, struct xdp *old,
		 const struct xdp_sessions *sessions, struct xdp **ret_xdp, char *error)
{
	struct xdp *xdp = load_new();
	struct table *table = NULL;
	int err = -ENOMEM, cpus;

	libbpf_set_print(keep_quiet);
	cpus = possible_cpus();
	if (!xdp || table_compile(rules, stored->served, stored->n_served, &table)) {
		load_fail(error, err, "out of memory");
		goto out;
	}
	xdp->stored = *stored;
	xdp->stored.magic = FILTER_MAGIC;
	xdp->stored.size = sizeof(xdp->stored);
	if (cpus <= 0) {
		err = load_fail(error, -ENOENT,
				"/sys/devices/system/cpu/possible cannot be read; "
				"mount /sys");
		goto out;
	}
	xdp->stored.cpus = (uint32_t)cpus;
	xdp->stored.n_rules = rules->n;
	xdp->stored.n_limits = table->n_limits;
	xdp->stored.keyed = table->keyed;
	for (uint32_t i = 0; i < table->n_limits; i++)
		table->limits[i].coarse = may_be_coarse(&table->limits[i]);
	err = load_give_slots(table, rules, old, &xdp->stored);
	if (err)
		load_fail(error, err, "reading the set in force: %s", strerror(-err));
	else if (!(err = load_skeleton(xdp, table, old, sessions, error))) {
		err = load_fill(xdp, table, rules);
		if (!err)
			err = program_id(xdp->program_fd, &xdp->program_id);
		if (err)
			load_fail(error, err, "filling the filter's maps: %s", strerror(-err));
	}
out:
	table_free(table);
	if (err)
		xdp_close(xdp);
	else
		*ret_xdp = xdp;
	return err;
}

/* ---- programs that are there ---- */

static int open_maps(struct xdp *xdp, const uint32_t *ids, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct bpf_map_info info = {0};
		uint32_t len = sizeof(info);
		int fd = bpf_map_get_fd_by_id(ids[i]), map = 0, err;

		if (fd < 0)
			return -errno;
		if (bpf_obj_get_info_by_fd(fd, &info, &len)) {
			err = -errno;
			close(fd);
			return err;
		}
		while (map < MAPS && (strcmp(info.name, map_names[map]) || xdp->map_fd[map] >= 0))
			map++;
		if (map < MAPS)
			xdp->map_fd[map] = fd;
		else
			close(fd);
	}
	for (int i = 0; i < MAPS; i++)
		if (xdp->map_fd[i] < 0 && i != MAP_CLOCK && i != MAP_SERVED)
			return -EPROTO;
	return 0;
}

static int read_info(struct xdp *xdp)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info), zero = 0;

	if (bpf_obj_get_info_by_fd(xdp->map_fd[MAP_INFO], &info, &len))
		return -errno;
	if (info.value_size != sizeof(xdp->stored))
		return -EPROTO;
	if (bpf_map_lookup_elem(xdp->map_fd[MAP_INFO], &zero, &xdp->stored))
		return -errno;
	return xdp->stored.magic == FILTER_MAGIC ? 0 : -EPROTO;
}

int load_open(int program_fd, struct xdp **ret_xdp, char *error)
{
	struct xdp *xdp = load_new();
	uint32_t ids[64], len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {.nr_map_ids = ARRAY_SIZE(ids), .map_ids = (uintptr_t)ids};
	int err = 0;

	if (!xdp) {
		close(program_fd);
		return load_fail(error, -ENOMEM, "out of memory");
	}
	xdp->program_fd = program_fd;
	if (bpf_obj_get_info_by_fd(program_fd, &info, &len))
		err = load_fail(error, -errno, "reading the program: %s", strerror(errno));
	else if (strcmp(info.name, LOAD_PROGRAM_NAME))
		err = load_fail(error, -ENOENT, "the program there is not a filter of sluice");
	if (!err) {
		err = open_maps(xdp, ids, MIN(info.nr_map_ids, (uint32_t)ARRAY_SIZE(ids)));
		if (!err)
			err = read_info(xdp);
		if (err == -EPERM)
			load_fail(error, err,
				  "opening the filter's maps needs CAP_SYS_ADMIN; run "
				  "as root");
		else if (err == -EPROTO)
			load_fail(error, err,
				  "the filter was attached by another version of "
				  "sluice; detach it with that one");
		else if (err)
			load_fail(error, err, "opening the filter's maps: %s", strerror(-err));
	}
	if (err) {
		xdp_close(xdp);
		return err;
	}
	xdp->program_id = info.id;
	*ret_xdp = xdp;
	return 0;
}
