/* SPDX-License-Identifier: MIT */
/*
 * The tool of bench/xdp: makes floods, counts where they arrive, times XDP programs, and is a
 * client that counts its answers.
 *
 * flood.c reads the options and builds frames; xdp_send.c, xdp_count.c, xdp_cost.c and xdp_ask.c
 * are the commands; flood.bpf.c is what runs in the kernel.
 */
#ifndef XDP_FLOOD_H
#define XDP_FLOOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLOOD_NS_PER_S INT64_C(1000000000)
#define FLOOD_BYTES_MAX 1400
#define FLOOD_HEADER_BYTES 42

struct flood_opts {
	const char *dev;
	uint8_t from_mac[6], to_mac[6];
	uint32_t from, from_random; /* host order; bits that differ from frame to frame */
	uint32_t to;                /* host order */
	uint16_t from_port, to_port;
	uint16_t ports; /* so many source ports from from_port on, in turn; 0: only that one */
	bool stamps;    /* the payload begins with the time of sending */
	bool answers;   /* count what comes from to_port, not what goes there */
	uint32_t bytes; /* of UDP payload */
	uint32_t rate;  /* per second, 0: as many as go */
	uint32_t rounds, repeat;
	int64_t seconds_ns;
	int cpu;     /* -1: any */
	char **args; /* what follows the options, to a NULL */
};

/* A UDP datagram over IPv4 without VLAN tags, and what its checksums still lack. */
struct flood_frame {
	uint8_t data[FLOOD_HEADER_BYTES + FLOOD_BYTES_MAX];
	uint32_t len;
	uint32_t ip_sum, udp_sum; /* of all words but the source's and the stamp's */
};

/* Commands. Each returns the exit status. */
int flood_send(const struct flood_opts *o);
int flood_count(const struct flood_opts *o);
int flood_cost(const struct flood_opts *o);
int flood_ask(const struct flood_opts *o);

/* The frame of a datagram from o->from and o->from_port to port, its checksums right. */
void flood_frame(const struct flood_opts *o, uint16_t port, struct flood_frame *ret_frame);

int64_t flood_now_ns(void); /* CLOCK_MONOTONIC */

/* Prints what failed, with the reason when err is not 0, and returns 1. */
int flood_fail(const char *what, int err);

#endif
