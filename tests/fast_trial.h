/* SPDX-License-Identifier: MIT */
/*
 * Trials of the fast path: a filter with it is loaded, and frames are run through. What comes out
 * is compared byte by byte with what the test has made of the frame, and what is counted with what
 * the test expects. Checksums are added up from scratch, over all of a frame's bytes.
 */
#ifndef SLUICE_TESTS_FAST_TRIAL_H
#define SLUICE_TESTS_FAST_TRIAL_H

#include <criterion/criterion.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/util.h"
#include "tests/xdp_frame.h"
#include "xdp/xdp.h"

#define FAST_UNCOUNTED FAST_REASONS /* nothing of the fast path's */

struct fast {
	struct xdp *xdp;
	struct fast_host host; /* as it was set last */
	uint32_t ingress;      /* the interface that frames come from; 0: lo */
	struct filter_count want[FAST_REASONS];
	uint64_t random;
	char note[128]; /* printed with a failure */
};

/* Loads a filter. Where the kernel or the user cannot have one, the test is skipped; with STRICT=1
 * it fails. sessions may be NULL where mode is FAST_ECHO. */
void fast_open(struct fast *fast, enum fast_mode mode, const char *rules,
	       const union addr_inet *served, uint32_t n_served, struct xdp_sessions *sessions);
void fast_close(struct fast *fast); /* checks what was counted */
/* The same for a table of sessions. */
struct xdp_sessions *fast_sessions(uint32_t capacity);
/* True when a test that was refused something is to be skipped; says why. */
void fast_skip_or_fail(int err, const char *what);

/* Gives the program its host, with fast->host: switched on, with the MAC address that crafted
 * frames go to, unless the test has changed that. */
void fast_set(struct fast *fast, const union addr_inet *addrs, uint32_t n_addrs);
void fast_replace(struct fast *fast, const char *rules);

/* Runs a frame. Returns the program's verdict. */
int fast_run(const struct fast *fast, const struct frame *in, struct frame *ret_out);
/* What has to come of it: the verdict, the frame (NULL: as it was), and how it is counted. */
void fast_expect(struct fast *fast, const struct frame *in, int action, const struct frame *want,
		 enum fast_reason reason);
/* XDP_PASS, as it was. */
void fast_expect_up(struct fast *fast, const struct frame *in, enum fast_reason reason);
/* Compares what was counted. */
void fast_check(struct fast *fast);
/* Packets that a rule, given by its text, has counted. */
uint64_t fast_rule_packets(struct fast *fast, const char *rule);
struct filter_count fast_filter_count(struct fast *fast, enum filter_reason reason,
				      enum filter_verdict verdict);

/* 0 to n - 1; the same in every run. */
uint32_t fast_below(struct fast *fast, uint32_t n);
/* Waits until the coarse clock has gone two ticks further: what was looked up before is old. */
void fast_step_clock(void);

/* ---- frames of datagrams, with up to two tags and no options ---- */

union addr_inet fast_addr(const char *host, uint16_t port);

uint32_t fast_l3(const struct frame *frame); /* where the IP header is */
bool fast_is_v6(const struct frame *frame);
uint8_t *fast_ip(struct frame *frame);
uint8_t *fast_udp(struct frame *frame);
void fast_put16(uint8_t *at, uint32_t value);
uint32_t fast_get16(const uint8_t *at);

/* Fills in the checksum of the IPv4 header; and the one of UDP. */
void fast_seal_ip(struct frame *frame);
void fast_seal_udp(struct frame *frame);
void fast_seal(struct frame *frame);
/* The sum of everything that the checksum covers, and of itself: 0xffff when that is sound. */
uint32_t fast_sum_ip(const struct frame *frame);
uint32_t fast_sum_udp(const struct frame *frame);
/* The sum of the pseudo header alone. */
uint32_t fast_sum_pseudo(const struct frame *frame);

/* A frame from one address to another, with 64 hops to go, sealed. */
void fast_datagram(const union addr_inet *from, const union addr_inet *to, uint32_t payload,
		   struct frame *ret_frame);
/* What is to become of one that is sent on: other addresses, a hop less, checksums that fit. */
void fast_forwarded(const struct frame *in, const union addr_inet *src, const union addr_inet *dst,
		    const uint8_t *from_mac, const uint8_t *to_mac, struct frame *ret_out);

#endif
