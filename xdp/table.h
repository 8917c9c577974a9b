/* SPDX-License-Identifier: MIT */
/*
 * Compiles a rule set into the tables that the filter looks up (filter.h). What can be decided
 * when rules are loaded is decided here: an entry of a trie says what holds for its prefix,
 * answers of shorter prefixes of the same list included, and a port what holds for it without a
 * prefix, answers for all ports included. Pure: no system calls.
 */
#ifndef SLUICE_XDP_TABLE_H
#define SLUICE_XDP_TABLE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "xdp/filter.h"
#include "xdp/rule.h"

struct table4 {
	struct filter_lpm4 *keys;
	struct filter_answer *answers;
	uint32_t n;
};

struct table6 {
	struct filter_lpm6 *keys;
	struct filter_answer *answers;
	uint32_t n;
};

struct table {
	uint16_t port_index[FILTER_PORTS]; /* into ports; 0: nothing is said of the port */
	struct filter_port *ports;         /* ports[0] is what holds for all others */
	uint32_t n_ports;
	struct table4 lpm4;
	struct table6 lpm6;
	struct filter_limit *limits; /* slot is left 0 */
	uint32_t n_limits;
	struct filter_served served[FILTER_SERVED_MAX];
	uint32_t n_served;
	uint32_t n_rules;
	uint32_t fragment_rule; /* index + 1; 0: none */
	bool fragment_drop;
	bool any4, any6;   /* the list for any port has prefixes */
	bool list4, list6; /* some port has prefixes of its own */
	bool lengths;      /* there are length rules */
	bool keyed;        /* there are limits by source or prefix */
	bool serving;      /* only datagrams to served addresses are judged */
};

/*
 * Compiles set for a host (n_served 0), or for a server that listens on the addresses served, of
 * which there are at most FILTER_SERVED_MAX. Returns 0 and a table that table_free frees, or
 * -ENOMEM.
 */
int table_compile(const struct rule_set *set, const union addr_inet *served, uint32_t n_served,
		  struct table **ret_table);
void table_free(struct table *table); /* NULL is fine */

#endif
