/* SPDX-License-Identifier: MIT */
/* Datagrams for the trials of the fast path: their headers, and their checksums as RFC 1071 has it,
 * byte by byte. */
#include <arpa/inet.h>
#include <string.h>

#include "tests/fast_trial.h"

union addr_inet fast_addr(const char *host, uint16_t port)
{
	bool v6 = strchr(host, ':');
	union addr_inet inet;

	memset(&inet, 0, sizeof(inet));
	if (v6) {
		inet.v6.sin6_family = AF_INET6;
		inet.v6.sin6_port = htons(port);
		cr_assert_eq(inet_pton(AF_INET6, host, &inet.v6.sin6_addr), 1);
	} else {
		inet.v4.sin_family = AF_INET;
		inet.v4.sin_port = htons(port);
		cr_assert_eq(inet_pton(AF_INET, host, &inet.v4.sin_addr), 1);
	}
	return inet;
}

void fast_put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

uint32_t fast_get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

uint32_t fast_l3(const struct frame *frame)
{
	uint32_t at = 12, type;

	while ((type = fast_get16(frame->data + at)) == FRAME_VLAN || type == FRAME_QINQ)
		at += 4;
	return at + 2;
}

bool fast_is_v6(const struct frame *frame)
{
	return frame->data[fast_l3(frame)] >> 4 == 6;
}

uint8_t *fast_ip(struct frame *frame)
{
	return frame->data + fast_l3(frame);
}

uint8_t *fast_udp(struct frame *frame)
{
	return fast_ip(frame) + (fast_is_v6(frame) ? 40 : 20);
}

/* ---- checksums ---- */

/* sum and the bytes at `at`, as words in network order, the last one filled up with a zero. */
static uint32_t add(uint32_t sum, const uint8_t *at, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

uint32_t fast_sum_ip(const struct frame *frame)
{
	return add(0, frame->data + fast_l3(frame), 20);
}

uint32_t fast_sum_pseudo(const struct frame *frame)
{
	const uint8_t *ip = frame->data + fast_l3(frame);
	bool v6 = ip[0] >> 4 == 6;
	const uint8_t *udp = ip + (v6 ? 40 : 20);
	uint8_t length_and_protocol[4] = {udp[4], udp[5], 0, 17};
	uint32_t sum = v6 ? add(0, ip + 8, 32) : add(0, ip + 12, 8);

	return add(sum, length_and_protocol, 4);
}

uint32_t fast_sum_udp(const struct frame *frame)
{
	const uint8_t *ip = frame->data + fast_l3(frame);
	const uint8_t *udp = ip + (ip[0] >> 4 == 6 ? 40 : 20);

	return add(fast_sum_pseudo(frame), udp, fast_get16(udp + 4));
}

void fast_seal_ip(struct frame *frame)
{
	uint8_t *ip = fast_ip(frame);

	if (fast_is_v6(frame))
		return;
	fast_put16(ip + 10, 0);
	fast_put16(ip + 10, fast_sum_ip(frame) ^ 0xffff);
}

void fast_seal_udp(struct frame *frame)
{
	uint8_t *udp = fast_udp(frame);
	uint32_t check;

	fast_put16(udp + 6, 0);
	check = fast_sum_udp(frame) ^ 0xffff;
	fast_put16(udp + 6, check ? check : 0xffff);
}

void fast_seal(struct frame *frame)
{
	fast_seal_ip(frame);
	fast_seal_udp(frame);
}

/* ---- whole frames ---- */

static void put_addr(uint8_t *at, const union addr_inet *addr)
{
	if (addr->sa.sa_family == AF_INET)
		memcpy(at, &addr->v4.sin_addr, 4);
	else
		memcpy(at, &addr->v6.sin6_addr, 16);
}

void fast_datagram(const union addr_inet *from, const union addr_inet *to, uint32_t payload,
		   struct frame *ret_frame)
{
	struct frame_spec spec = from->sa.sa_family == AF_INET ? frame_spec4() : frame_spec6();

	put_addr(spec.src, from);
	put_addr(spec.dst, to);
	spec.src_port = addr_inet_port(from);
	spec.dst_port = addr_inet_port(to);
	spec.payload = payload;
	frame_build(&spec, ret_frame);
	fast_seal(ret_frame);
}

void fast_forwarded(const struct frame *in, const union addr_inet *src, const union addr_inet *dst,
		    const uint8_t *from_mac, const uint8_t *to_mac, struct frame *ret_out)
{
	uint8_t *ip, *udp;

	ret_out->len = in->len;
	memcpy(ret_out->data, in->data, in->len);
	ip = fast_ip(ret_out);
	udp = fast_udp(ret_out);
	memcpy(ret_out->data, to_mac, 6);
	memcpy(ret_out->data + 6, from_mac, 6);
	ip[fast_is_v6(ret_out) ? 7 : 8]--;
	put_addr(ip + (fast_is_v6(ret_out) ? 8 : 12), src);
	put_addr(ip + (fast_is_v6(ret_out) ? 24 : 16), dst);
	fast_put16(udp, addr_inet_port(src));
	fast_put16(udp + 2, addr_inet_port(dst));
	fast_seal_ip(ret_out);
	if (fast_get16(udp + 6))
		fast_seal_udp(ret_out);
}
