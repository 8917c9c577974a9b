/* SPDX-License-Identifier: MIT */
/* Two streams whose bytes go from one to the other, moved or copied. */
#ifndef SLUICE_TESTS_CONTRACT_MOVE_H
#define SLUICE_TESTS_CONTRACT_MOVE_H

#include "contract.h"

/* What pa writes goes through a and b to pb, and back. All of them expect the same pattern. */
struct relay {
	struct end *a, *b;
	struct peer *pa, *pb;
};

/* Little fits into its sockets. */
extern const struct link_conf move_narrow;

/* Nothing is received or moved yet. What comes as IO_RECV is passed on, and so is an end; refused
 * moves turn to copying. */
void relay_open(struct rig *rig, const struct link_conf *conf, struct relay *relay);
/* Moves from a to b until nothing moves, because pb does not read. */
void relay_block(struct relay *relay);
/* Sends bytes of end's pattern from at on. */
void send_at(struct end *end, uint64_t at, uint64_t bytes);

#endif
