/* SPDX-License-Identifier: MIT */
/* Crafts and reads frames. Header checksums are left 0: the filter does not look at them. */
#include <netinet/in.h>
#include <string.h>

#include "tests/xdp_frame.h"
#include "core/util.h"
#include "xdp/filter.h"

enum { HEADER_FRAGMENT = 44, HEADER_AH = 51, HEADER_HIP = 139, HEADER_SHIM6 = 140 };

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

struct frame_spec frame_spec4(void)
{
	return (struct frame_spec){
		.src = {10, 0, 0, 1},
		.dst = {192, 0, 2, 1},
		.protocol = IPPROTO_UDP,
		.src_port = 40000,
		.dst_port = 53,
		.checksum = 0x1234,
		.payload = 18,
	};
}

struct frame_spec frame_spec6(void)
{
	struct frame_spec spec = frame_spec4();

	spec.v6 = true;
	memcpy(spec.src, (uint8_t[16]){0x20, 0x01, 0x0d, 0xb8, [15] = 1}, 16);
	memcpy(spec.dst, (uint8_t[16]){0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff, [15] = 1}, 16);
	return spec;
}

/* ---- crafting ---- */

static uint32_t lie_or(const struct frame_spec *spec, enum frame_lie field, uint32_t truth)
{
	return spec->lie == field ? spec->lie_value : truth;
}

static uint32_t transport_len(const struct frame_spec *spec)
{
	return (spec->protocol == IPPROTO_TCP ? 20 : 8) + spec->payload;
}

static uint32_t ext_len(uint8_t type, uint8_t units)
{
	if (type == HEADER_FRAGMENT)
		return 8;
	return type == HEADER_AH ? (units + 2u) * 4 : (units + 1u) * 8;
}

static uint8_t *build_ether(const struct frame_spec *spec, uint8_t *at)
{
	uint16_t inner = spec->v6 ? FRAME_IPV6 : FRAME_IPV4;

	memcpy(at, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02", 12);
	at += 12;
	for (uint32_t i = 0; i < spec->n_tags; i++) {
		put16(at, spec->tags[i]);
		put16(at + 2, spec->unnumbered >> i & 1 ? 0xe000 : 100 + i);
		at += 4;
	}
	put16(at, spec->ethertype ? spec->ethertype : inner);
	return at + 2;
}

static uint8_t *build_ipv4(const struct frame_spec *spec, uint8_t *at)
{
	uint32_t words = 5 + spec->options;

	memset(at, 0, words * 4);
	at[0] = (uint8_t)(lie_or(spec, LIE_VERSION, 4) << 4 | lie_or(spec, LIE_IHL, words));
	put16(at + 2, lie_or(spec, LIE_IP_LEN, words * 4 + transport_len(spec)));
	put16(at + 6, spec->frag);
	at[8] = 64;
	at[9] = spec->protocol;
	memcpy(at + 12, spec->src, 4);
	memcpy(at + 16, spec->dst, 4);
	memset(at + 20, 1, spec->options * 4); /* no operation */
	return at + words * 4;
}

static uint8_t *build_ipv6(const struct frame_spec *spec, uint8_t *at)
{
	uint8_t *ip = at, *next = at + 6;

	memset(at, 0, 40);
	at[0] = (uint8_t)(lie_or(spec, LIE_VERSION, 6) << 4);
	at[7] = 64;
	memcpy(at + 8, spec->src, 16);
	memcpy(at + 24, spec->dst, 16);
	at += 40;
	for (uint32_t i = 0; i < spec->n_exts; i++) {
		const struct frame_ext *ext = &spec->exts[i];
		uint32_t len = ext_len(ext->type, ext->units);

		*next = ext->type;
		memset(at, 0, len);
		at[1] = ext->units;
		if (ext->type == HEADER_FRAGMENT)
			put16(at + 2, ext->frag);
		next = at;
		at += len;
	}
	*next = spec->protocol;
	put16(ip + 4, lie_or(spec, LIE_IP_LEN, (uint32_t)(at - ip) - 40 + transport_len(spec)));
	return at;
}

void frame_build(const struct frame_spec *spec, struct frame *ret_frame)
{
	uint8_t *at = build_ether(spec, ret_frame->data);
	uint32_t len = transport_len(spec);

	at = spec->v6 ? build_ipv6(spec, at) : build_ipv4(spec, at);
	for (uint32_t i = 0; i < len + spec->padding; i++)
		at[i] = (uint8_t)(i * 7);
	put16(at, spec->src_port);
	put16(at + 2, spec->dst_port);
	if (spec->protocol != IPPROTO_TCP) {
		put16(at + 4, lie_or(spec, LIE_UDP_LEN, len));
		put16(at + 6, spec->checksum);
	}
	ret_frame->len = (uint32_t)(at - ret_frame->data) + len + spec->padding;
}

/* ---- reading ---- */

/* at: of the UDP header; room: what the frame has from there on; size: what the IP header says. */
static void read_port(const uint8_t *at, uint32_t room, struct frame_view *view)
{
	view->has_port = room >= 4;
	if (view->has_port)
		view->dst_port = (uint16_t)get16(at + 2);
}

static void read_udp(const uint8_t *at, uint32_t size, struct frame_view *view)
{
	uint32_t len;

	view->malformed = true;
	if (size < 8)
		return;
	len = get16(at + 4);
	if (len < 8 || (len > size && view->part == PART_WHOLE))
		return;
	view->malformed = false;
	view->payload = len - 8;
}

static void read_ipv4(const uint8_t *at, uint32_t room, struct frame_view *view)
{
	uint32_t header, total, frag;

	if (room < 20 || at[0] >> 4 != 4 || at[9] != IPPROTO_UDP)
		return;
	view->kind = FRAME_IS_UDP;
	memcpy(view->src, at + 12, 4);
	memcpy(view->dst, at + 16, 4);
	frag = get16(at + 6);
	if (frag & 0x1fff)
		view->part = PART_LATER;
	else if (frag & FRAME_MF)
		view->part = PART_FIRST;
	header = (at[0] & 15) * 4u;
	total = get16(at + 2);
	view->malformed = header < 20 || header > room || total < header || total > room;
	if (header < 20 || header > room || view->part == PART_LATER)
		return;
	read_port(at + header, room - header, view);
	if (!view->malformed)
		read_udp(at + header, total - header, view);
}

static bool is_ext(uint8_t type)
{
	switch (type) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
	case HEADER_FRAGMENT:
	case HEADER_AH:
	case HEADER_HIP:
	case HEADER_SHIM6:
		return true;
	default:
		return false;
	}
}

/* Returns where the UDP header would be; kind says whether it is. */
static uint32_t walk_exts(const uint8_t *at, uint32_t room, struct frame_view *view)
{
	uint8_t type = at[6];
	bool cut;
	uint32_t where = 40, packet = MIN(40u + get16(at + 4), room);

	for (uint32_t n = 0; is_ext(type) && view->part != PART_LATER; n++) {
		const uint8_t *ext = at + where;

		if (n == FILTER_EXT_MAX) {
			view->kind = FRAME_IS_CHAIN;
			return where;
		}
		/* RFC 7112: a first fragment has all of its headers. */
		cut = where + 8 > room || where + ext_len(type, ext[1]) > room;
		if (view->part == PART_FIRST && (cut || where + 8 > packet))
			view->kind = FRAME_IS_CHAIN;
		if (cut || view->kind == FRAME_IS_CHAIN)
			return where;
		if (type == HEADER_FRAGMENT && get16(ext + 2) >> 3)
			view->part = PART_LATER;
		else if (type == HEADER_FRAGMENT && get16(ext + 2) & FRAME_MORE)
			view->part = PART_FIRST;
		where += ext_len(type, ext[1]);
		type = ext[0];
	}
	if (type == IPPROTO_UDP)
		view->kind = view->part == PART_FIRST && where + 8 > packet ? FRAME_IS_CHAIN
									    : FRAME_IS_UDP;
	return where;
}

static void read_ipv6(const uint8_t *at, uint32_t room, struct frame_view *view)
{
	uint32_t where, payload;

	view->v6 = true;
	if (room < 40 || at[0] >> 4 != 6)
		return;
	memcpy(view->src, at + 8, 16);
	memcpy(view->dst, at + 24, 16);
	where = walk_exts(at, room, view);
	if (view->kind != FRAME_IS_UDP || view->part == PART_LATER)
		return;
	read_port(at + where, room - where, view);
	payload = get16(at + 4);
	view->malformed = payload + 40 > room || where - 40 > payload;
	if (!view->malformed)
		read_udp(at + where, payload - (where - 40), view);
}

void frame_read(const struct frame *frame, struct frame_view *ret_view)
{
	const uint8_t *at = frame->data + 12, *end = frame->data + frame->len;
	uint32_t type = 0, tags = 0;
	bool unnumbered = false;

	memset(ret_view, 0, sizeof(*ret_view));
	for (; end - at >= 2; at += 4) {
		type = get16(at);
		if (type != FRAME_VLAN && type != FRAME_QINQ)
			break;
		if (end - at < 6)
			return;
		unnumbered |= !(get16(at + 2) & 0xfff);
		if (++tags <= FILTER_VLAN_MAX)
			continue;
		ret_view->kind = unnumbered ? FRAME_IS_CHAIN : ret_view->kind;
		return;
	}
	if (end - at < 2)
		return;
	at += 2;
	if (type == FRAME_IPV4)
		read_ipv4(at, (uint32_t)(end - at), ret_view);
	else if (type == FRAME_IPV6)
		read_ipv6(at, (uint32_t)(end - at), ret_view);
}
