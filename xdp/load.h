/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the loader share. A filter is a program and its maps; the program holds the
 * maps, and the link on the interface holds the program, so that all of it goes away with the link
 * and anyone who finds the program finds the rest by name.
 */
#ifndef SLUICE_XDP_LOAD_H
#define SLUICE_XDP_LOAD_H

#include <pthread.h>
#include <stdarg.h>

#include "core/addr.h"
#include "xdp/filter.h"
#include "xdp/rule.h"
#include "xdp/table.h"
#include "xdp/xdp.h"

#define LOAD_PROGRAM_NAME "sluice_filter"

enum load_map {
	MAP_INFO,
	MAP_RULES,
	MAP_HITS,
	MAP_REASONS,
	MAP_BUCKETS,
	MAP_TOTALS,
	MAP_LIMITS,
	MAP_PORTS,
	MAP_LPM4,
	MAP_LPM6,
	MAP_SERVED,
	MAP_CLOCK,
	MAP_PORT_INDEX,
	MAP_HOST,
	MAP_LOCALS,
	MAP_WAYS,
	MAP_KEYS4,
	MAP_KEYS6,
	MAP_EGRESS,
	MAPS
};

/* The one value of the map "info". */
struct load_info {
	uint64_t magic; /* FILTER_MAGIC; first in every version */
	uint64_t size;  /* of this struct */
	uint64_t generation;
	int64_t attached_at;
	uint64_t keys[FILTER_KEYS];
	uint32_t mode; /* enum xdp_mode */
	int32_t native_err;
	uint32_t pid; /* 0: pinned */
	uint32_t cpus;
	uint32_t n_rules, n_limits;
	uint32_t next_slot, next_id;
	uint32_t regions; /* of "buckets" */
	uint32_t keyed;   /* there are limits by source or prefix */
	uint32_t clock_is_set;
	uint32_t settled; /* `before` in the map "rules" is final */
	struct filter_count retired[FILTER_REASONS][FILTER_VERDICTS]; /* by rules of former sets */
	uint32_t fast;                                                /* enum fast_mode */
	uint32_t sessions; /* capacity; 0 when it is no relay's */
	uint32_t n_served;
	union addr_inet served[FILTER_SERVED_MAX];
};

/* The values of the map "rules", in the order of the set. */
struct load_rule {
	struct rule rule;
	struct filter_count before; /* counted by the programs before this one */
	uint32_t id;                /* of a limit, and the next two */
	uint16_t slot, region;
};

struct xdp {
	struct load_info stored;
	char ifname[IF_NAMESIZE];
	uint32_t ifindex, program_id, link_id;
	int program_fd, link_fd; /* -1: none */
	int map_fd[MAPS];
	bool pinned;
	bool owner; /* made the link, which is not pinned */
	struct watch_bpf *watch; /* of a server's fast path; NULL: none */
};

/* Writes the message into error. Returns err. */
int load_fail(char *error, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A handle without a program. NULL: out of memory. */
struct xdp *load_new(void);

/* The maps that all filters of a relay share (session.c). */
struct xdp_sessions {
	int ways_fd, keys4_fd, keys6_fd, egress_fd; /* -1: none */
	uint32_t capacity;
	struct fast_way *ways; /* FAST_WAYS for each number */
	size_t ways_bytes;
	pthread_mutex_t lock;
	/* A ring of numbers: from first on so many that are free, and then those that were removed
	 * since packets were last waited for. */
	uint32_t *ring;
	uint32_t first, n_free, n_removed;
};

/*
 * Loads a program with its maps for stored (keys, served, generation, ... set by the caller; what
 * follows from the set is filled in) into a new handle. old is the handle whose place it will take,
 * or NULL: what outlives a set is taken over from it. sessions are those of a relay, unless old has
 * them. Returns 0 or a negative errno.
 */
int load_program(const struct load_info *stored, const struct rule_set *rules, struct xdp *old,
		 const struct xdp_sessions *sessions, struct xdp **ret_xdp, char *error);

/* Gives the limits in table their slots, ids and regions, from the next ones of stored on. Limits
 * that old has, too, keep theirs. */
int load_give_slots(struct table *table, const struct rule_set *set, struct xdp *old,
		    struct load_info *stored);

/* Fills the maps of a loaded program. */
int load_fill(const struct xdp *xdp, const struct table *table, const struct rule_set *set);

/* Makes from's program and maps those of xdp, which keeps its link; frees the rest. */
void load_take(struct xdp *xdp, struct xdp *from);

/* Opens what program_fd holds; takes the descriptor over, also on failure. -ENOENT: not a filter of
 * sluice. -EPROTO: one of another version. */
int load_open(int program_fd, struct xdp **ret_xdp, char *error);

/* ---- interfaces and links (open.c) ---- */

/* The XDP program of an interface. */
struct load_attached {
	uint32_t program_id; /* 0: none */
	enum xdp_mode mode;
	char name[16]; /* empty when it may not be asked for */
};

int load_interface(const char *ifname, uint32_t *ret_ifindex, char *error);
int load_query(uint32_t ifindex, struct load_attached *ret);

/* The file of an interface's pinned link, in out (XDP_PATH_MAX bytes). */
const char *load_link_path(const char *ifname, char *out);

struct bpf_link_info;
int load_link_info(int fd, struct bpf_link_info *ret);

/* The link that holds program_id on the interface: the pinned one, or another process's. -1 when
 * there is none, or it may not be opened. */
int load_find_link(const char *ifname, uint32_t program_id, bool *ret_pinned);

/* Whether the interface's pin holds a link that is attached, wherever. */
bool load_pin_lives(const char *ifname);

/* Until no CPU runs a program, or uses a map's value, that was there before. */
void load_wait_for_packets(void);

/* Watches what becomes of the frames that xdp's fast path sends out of its interface. 0 or -errno:
 * a kernel without BTF, say. */
int load_watch(struct xdp *xdp);
void load_unwatch(struct xdp *xdp); /* none is fine */

/* ---- values ---- */

/* Writes stored into the map "info". */
int load_store(const struct xdp *xdp);

/* Maps the values of a map for reading and writing. NULL: errno says why. */
void *load_map_values(const struct xdp *xdp, enum load_map map, size_t bytes);
void load_unmap(void *values, size_t bytes); /* NULL is fine */

/* Adds what a rule has decided to the sums by reason and verdict. */
void load_add_reason(const struct rule *rule, const struct filter_count *count,
		     struct filter_count sums[FILTER_REASONS][FILTER_VERDICTS]);

/* Reads `stored` anew, when another process that replaces the set has done so. */
int load_settle(struct xdp *xdp, char *error);

/* Adds what all CPUs have counted for each rule to counts (n_rules). */
int load_sum_hits(const struct xdp *xdp, struct filter_count *counts);

#endif
