/* SPDX-License-Identifier: MIT */
/*
 * Ethernet frames for the tests of the XDP filter: crafted from a description, sound or with a lie
 * in one field, and read again by a parser that shares nothing with the filter's.
 */
#ifndef SLUICE_TESTS_XDP_FRAME_H
#define SLUICE_TESTS_XDP_FRAME_H

#include <stdbool.h>
#include <stdint.h>

enum {
	FRAME_BYTES_MAX = 9600,
	FRAME_TAGS_MAX = 3,
	FRAME_EXTS_MAX = 12,
	FRAME_IPV4 = 0x0800,
	FRAME_ARP = 0x0806,
	FRAME_VLAN = 0x8100, /* 802.1Q */
	FRAME_QINQ = 0x88a8, /* 802.1ad */
	FRAME_IPV6 = 0x86dd,
	FRAME_MF = 0x2000, /* in frag of an IPv4 header, whose offset is in the lowest 13 bits */
	FRAME_MORE = 1,    /* in frag of a fragment header, whose offset is shifted by 3 */
};

/* The field that says something else than the frame is. */
enum frame_lie { LIE_NONE, LIE_VERSION, LIE_IHL, LIE_IP_LEN, LIE_UDP_LEN };

struct frame_ext {
	uint8_t type;  /* its next header is filled in */
	uint8_t units; /* the length field; of no use to a fragment header */
	uint16_t frag; /* of a fragment header */
};

struct frame_spec {
	uint16_t tags[FRAME_TAGS_MAX]; /* TPIDs, outermost first */
	uint32_t n_tags;
	uint8_t unnumbered;           /* a bit for each tag: VLAN 0, a priority only */
	uint16_t ethertype; /* 0: what v6 says */
	bool v6;
	uint8_t src[16], dst[16]; /* IPv4 in the first four */
	uint8_t protocol;
	uint16_t frag;    /* IPv4: flags and offset */
	uint32_t options; /* IPv4: words of them */
	struct frame_ext exts[FRAME_EXTS_MAX];
	uint32_t n_exts;
	uint16_t src_port, dst_port, checksum;
	uint32_t payload, padding; /* bytes; padding is behind the IP packet */
	enum frame_lie lie;
	uint32_t lie_value;
};

struct frame {
	uint32_t len;
	uint8_t data[FRAME_BYTES_MAX];
};

/* A datagram of 18 bytes, without anything special, from 10.0.0.1 or 2001:db8::1 to port 53 of
 * 192.0.2.1 or 2001:db8:ffff::1. */
struct frame_spec frame_spec4(void);
struct frame_spec frame_spec6(void);
void frame_build(const struct frame_spec *spec, struct frame *ret_frame);
/* Where the addresses of the source are, in a frame without tags. */
static inline uint8_t *frame_src(struct frame *frame, bool v6)
{
	return frame->data + 14 + (v6 ? 8 : 12);
}

/* What a frame is to a filter for UDP. */
enum frame_kind {
	FRAME_IS_OTHER,
	FRAME_IS_UDP,
	FRAME_IS_CHAIN, /* more extension headers than FILTER_EXT_MAX */
};

enum frame_part { PART_WHOLE, PART_FIRST, PART_LATER };

struct frame_view {
	enum frame_kind kind;
	enum frame_part part; /* of a datagram */
	bool v6;
	bool malformed; /* lengths contradict each other */
	bool has_port;  /* dst_port could be read */
	uint8_t src[16], dst[16];
	uint16_t dst_port;
	uint32_t payload; /* bytes of the datagram, as the UDP header says */
};

void frame_read(const struct frame *frame, struct frame_view *ret_view);

#endif
