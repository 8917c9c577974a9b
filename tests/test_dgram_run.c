/* SPDX-License-Identifier: MIT */
/* Which datagrams may leave in one send: a table. */
#include <criterion/criterion.h>
#include <errno.h>

#include "core/net.h"
#include "core/util.h"

enum { MAX_BUFS = 70 };

static uint32_t run_of(const uint32_t *lens, uint32_t n, bool connected, uint32_t limit,
		       uint32_t max)
{
	struct buf bufs[MAX_BUFS] = {{0}};

	for (uint32_t i = 0; i < n; i++)
		bufs[i] = (struct buf){.len = lens[i], .next = i + 1 < n ? &bufs[i + 1] : NULL};
	return net_dgram_run(bufs, connected, limit, max);
}

Test(dgram_run, sizes)
{
	static const struct {
		uint32_t lens[6], n, limit, max, run;
	} rows[] = {
		{{100}, 1, 0, 64, 1},
		{{100, 100, 100}, 3, 0, 64, 3},
		{{100, 100, 100}, 3, 0, 2, 2},
		{{100, 100, 99, 99}, 4, 0, 64, 3},
		{{100, 101}, 2, 0, 64, 1},
		{{100, 100, 101}, 3, 0, 64, 2},
		{{100, 1, 100}, 3, 0, 64, 2},
		{{100, 0, 100}, 3, 0, 64, 1},
		{{0, 0}, 2, 0, 64, 1},
		{{1, 1}, 2, 0, 64, 2},
		{{65507, 65507}, 2, 0, 64, 1},
		{{32753, 32753}, 2, 0, 64, 2},
		{{32753, 32753, 2}, 3, 0, 64, 2},
		{{32753, 32753, 1}, 3, 0, 64, 3},
		{{32754, 32754}, 2, 0, 64, 1},
		{{100, 100}, 2, 100, 64, 1},
		{{100, 100}, 2, 101, 64, 2},
		{{100, 100}, 2, 1, 64, 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t run = run_of(rows[i].lens, rows[i].n, true, rows[i].limit, rows[i].max);

		cr_expect_eq(run, rows[i].run, "row %zu: %u", i, run);
	}
}

Test(dgram_run, has_a_longest)
{
	uint32_t lens[MAX_BUFS];

	for (uint32_t i = 0; i < MAX_BUFS; i++)
		lens[i] = 8;
	cr_expect_eq(run_of(lens, MAX_BUFS, true, 0, MAX_BUFS), NET_RUN_MAX);
}

static union addr_inet v4(uint32_t host, uint16_t port)
{
	return (union addr_inet){.v4 = {.sin_family = AF_INET,
					.sin_port = htons(port),
					.sin_addr.s_addr = htonl(host)}};
}

static union addr_inet v6(uint8_t last)
{
	union addr_inet addr = {.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(7)}};

	addr.v6.sin6_addr.s6_addr[15] = last;
	return addr;
}

Test(dgram_run, one_way_only)
{
	const union addr_inet none = {0};
	const struct dgram_meta first4 = {.peer = v4(1, 7), .local = v4(5, 0)};
	const struct dgram_meta first6 = {.peer = v6(1), .local = v6(5), .ifindex = 2};
	const struct {
		struct dgram_meta a, b;
		uint32_t run;
	} rows[] = {
		{first4, first4, 2},
		{first4, {.peer = v4(1, 8), .local = v4(5, 0)}, 1},
		{first4, {.peer = v4(2, 7), .local = v4(5, 0)}, 1},
		{first4, {.peer = v4(1, 7), .local = v4(6, 0)}, 1},
		{first4, {.peer = v4(1, 7), .local = none}, 1},
		{first6, first6, 2},
		{first6, {.peer = v6(2), .local = v6(5), .ifindex = 2}, 1},
		{first6, {.peer = v6(1), .local = v6(6), .ifindex = 2}, 1},
		{first6, {.peer = v6(1), .local = v6(5), .ifindex = 3}, 1},
		{{.peer = v4(1, 7)}, {.peer = v4(1, 7)}, 2},
		{{.peer = v4(1, 7)}, {.peer = v6(1)}, 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct buf second = {.len = 10, .dgram = rows[i].b};
		struct buf first = {.len = 10, .dgram = rows[i].a, .next = &second};

		cr_expect_eq(net_dgram_run(&first, false, 0, 64), rows[i].run, "row %zu", i);
		cr_expect_eq(net_dgram_run(&first, true, 0, 64), 2, "row %zu, connected", i);
	}
}

Test(dgram_run, what_a_refusal_means)
{
	cr_expect_eq(net_segment_refused(EINVAL, 1400), 1400);
	cr_expect_eq(net_segment_refused(EMSGSIZE, 1400), 1400);
	cr_expect_eq(net_segment_refused(EIO, 1400), 1);
	cr_expect_eq(net_segment_refused(EOPNOTSUPP, 1400), 1);
	cr_expect_eq(net_segment_refused(EAGAIN, 1400), 0);
	cr_expect_eq(net_segment_refused(ECONNREFUSED, 1400), 0);
}
