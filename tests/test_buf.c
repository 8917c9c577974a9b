/* SPDX-License-Identifier: MIT */
/* The buffer pool: its order, its budget, and what trimming gives back. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/buf.h"

static struct buf_pool pool;

static void teardown(void)
{
	buf_pool_free(&pool);
}

static void init(uint64_t budget_bytes)
{
	cr_assert_eq(buf_pool_init(&pool, budget_bytes), 0);
	cr_assert_eq(pool.used_bytes, 0);
}

static struct buf *get(enum buf_class class)
{
	struct buf *buf = buf_get(&pool, class);

	cr_assert_not_null(buf);
	return buf;
}

/* A buffer that holds len bytes, each of value. */
static struct buf *filled(enum buf_class class, uint32_t len, uint8_t value)
{
	struct buf *buf = get(class);

	memset(buf->data, value, len);
	buf->len = len;
	return buf;
}

TestSuite(buf, .fini = teardown, .timeout = 60);

/* ---- the pool ---- */

Test(buf, last_in_is_first_out)
{
	init(1 << 20);
	for (int class = 0; class < BUF_CLASSES; class ++) {
		struct buf *a = get(class), *b = get(class), *c = get(class);

		buf_put(&pool, b);
		buf_put(&pool, a);
		cr_assert_eq(get(class), a);
		cr_assert_eq(get(class), b);
		cr_assert_neq(get(class), c);
	}
}

Test(buf, budget_is_shared_by_both_classes)
{
	struct buf *first = NULL;

	init(4 * BUF_LARGE_BYTES);
	for (int i = 0; i < 3; i++)
		first = get(BUF_LARGE);
	for (int i = 0; i < BUF_LARGE_BYTES / BUF_SMALL_BYTES; i++)
		get(BUF_SMALL);
	cr_assert_eq(pool.used_bytes, pool.budget_bytes);
	cr_assert_eq(buf_pool_left(&pool), 0);
	cr_assert_null(buf_get(&pool, BUF_SMALL));
	cr_assert_null(buf_get(&pool, BUF_LARGE));
	buf_put(&pool, first);
	cr_assert_eq(buf_pool_left(&pool), BUF_LARGE_BYTES);
	get(BUF_SMALL);
	cr_assert_null(buf_get(&pool, BUF_LARGE));
	cr_assert_not_null(buf_get(&pool, BUF_SMALL));
}

Test(buf, budget_is_four_large_ones_at_least)
{
	init(0);
	for (int i = 0; i < 4; i++)
		get(BUF_LARGE);
	cr_assert_null(buf_get(&pool, BUF_LARGE));
	cr_assert_null(buf_get(&pool, BUF_SMALL));
}

Test(buf, budget_that_is_no_multiple_is_not_passed)
{
	init(5 * BUF_LARGE_BYTES + BUF_SMALL_BYTES + 5000);
	for (int i = 0; i < 5; i++)
		get(BUF_LARGE);
	get(BUF_SMALL);
	cr_assert_null(buf_get(&pool, BUF_SMALL));
	cr_assert_leq(pool.used_bytes, pool.budget_bytes);
}

Test(buf, new_buffer_is_empty_and_knows_its_place)
{
	init(1 << 20);
	for (int class = 0; class < BUF_CLASSES; class ++) {
		struct buf *buf = get(class);

		buf->len = 77;
		buf->data += 5;
		buf->next = buf;
		buf_put(&pool, buf);
		buf = get(class);
		cr_assert_null(buf->next);
		cr_assert_eq(buf->len, 0);
		cr_assert_eq(buf->class, class);
		cr_assert_eq(buf_by_id(&pool, class, buf->id), buf);
		cr_assert_eq(buf->data - buf_memory(&pool, buf),
			     class == BUF_LARGE ? BUF_HEADROOM : 0);
		cr_assert_eq(buf_capacity(buf),
			     class == BUF_LARGE ? BUF_LARGE_BYTES : BUF_SMALL_BYTES);
	}
}

Test(buf, memory_of_buffers_does_not_overlap)
{
	struct buf *bufs[40];

	init(40 * BUF_LARGE_BYTES);
	for (int i = 0; i < 40; i++) {
		bufs[i] = get(i % 3 ? BUF_LARGE : BUF_SMALL);
		memset(buf_memory(&pool, bufs[i]), i, bufs[i]->data - buf_memory(&pool, bufs[i]));
		memset(bufs[i]->data, i, buf_capacity(bufs[i]));
	}
	for (int i = 0; i < 40; i++)
		for (const uint8_t *p = buf_memory(&pool, bufs[i]);
		     p < bufs[i]->data + buf_capacity(bufs[i]); p++)
			cr_assert(*p == i);
}

Test(buf, chain_is_put_back_whole)
{
	struct buf *chain = NULL;

	init(1 << 20);
	for (int i = 0; i < 20; i++) {
		struct buf *buf = get(i % 2 ? BUF_SMALL : BUF_LARGE);

		buf->next = chain;
		chain = buf;
		if (buf_pool_left(&pool) < BUF_LARGE_BYTES)
			break;
	}
	cr_assert_gt(pool.used_bytes, 0);
	buf_put_chain(&pool, chain);
	cr_assert_eq(pool.used_bytes, 0);
	buf_put_chain(&pool, NULL);
}

Test(buf, freed_pool_may_be_freed_again)
{
	init(1 << 20);
	buf_pool_free(&pool);
	buf_pool_free(&pool);
}

/* ---- trimming ---- */

/* Pages of the pool's region that are in memory. */
static size_t resident_pages(const void *start, size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = bytes / page, n = 0;
	unsigned char *in = calloc(1, pages + 1);

	cr_assert_eq(mincore((void *)(uintptr_t)start, pages * page, in), 0);
	for (size_t i = 0; i < pages; i++)
		n += in[i] & 1;
	free(in);
	return n;
}

static size_t class_pages(enum buf_class class)
{
	const struct buf_stack *stack = &pool.classes[class];

	return resident_pages(stack->memory, stack->count * stack->stride);
}

Test(buf, large_pool_costs_nothing_until_used)
{
	init(UINT64_C(1) << 30);
	/* The index of free ones, twice 64 KiB, and some slack. */
	cr_assert_lt(resident_pages(pool.region, pool.region_bytes),
		     (1 << 20) / (size_t)sysconf(_SC_PAGESIZE));
}

static void use_all(enum buf_class class, int n)
{
	struct buf *bufs[64];

	for (int i = 0; i < n; i++)
		bufs[i] = filled(class, class == BUF_LARGE ? BUF_LARGE_BYTES : BUF_SMALL_BYTES, 1);
	while (n)
		buf_put(&pool, bufs[--n]);
}

Test(buf, trim_gives_back_what_stayed_free)
{
	init(32 * BUF_LARGE_BYTES);
	for (int class = 0; class < BUF_CLASSES; class ++) {
		size_t before, after;

		use_all(class, 32);
		before = class_pages(class);
		buf_pool_trim(&pool, 1000);
		cr_assert_eq(class_pages(class), before, "used since the last call");
		buf_pool_trim(&pool, 1000);
		after = class_pages(class);
		/* At most the page that two buffers share stays. */
		cr_assert_leq(after, 33, "%zu of %zu pages stay", after, before);
		cr_assert_gt(before, class == BUF_LARGE ? 500 : 60);
	}
}

Test(buf, trim_does_at_most_so_many)
{
	size_t before, after;

	init(32 * BUF_LARGE_BYTES);
	use_all(BUF_LARGE, 32);
	buf_pool_trim(&pool, 0);
	before = class_pages(BUF_LARGE);
	buf_pool_trim(&pool, 4);
	after = class_pages(BUF_LARGE);
	cr_assert_geq(before - after, 4 * 15);
	cr_assert_leq(before - after, 4 * 17);
	for (int i = 0; i < 7; i++)
		buf_pool_trim(&pool, 4);
	cr_assert_leq(class_pages(BUF_LARGE), 33);
}

Test(buf, trim_leaves_what_is_used_each_time)
{
	size_t pages;

	init(32 * BUF_LARGE_BYTES);
	use_all(BUF_LARGE, 32);
	for (int i = 0; i < 3; i++) {
		use_all(BUF_LARGE, 2);
		buf_pool_trim(&pool, 1000);
	}
	pages = class_pages(BUF_LARGE);
	cr_assert_geq(pages, 2 * 16);
	cr_assert_leq(pages, 2 * 17 + 33);
}

Test(buf, trim_keeps_the_neighbours_bytes)
{
	struct buf *bufs[32];

	init(32 * BUF_LARGE_BYTES);
	for (int i = 0; i < 32; i++)
		bufs[i] = filled(BUF_LARGE, BUF_LARGE_BYTES, (uint8_t)(i + 1));
	for (int i = 0; i < 32; i += 2)
		buf_put(&pool, bufs[i]);
	for (int k = 0; k < 3; k++)
		buf_pool_trim(&pool, 1000);
	for (int i = 1; i < 32; i += 2)
		for (uint32_t at = 0; at < bufs[i]->len; at++)
			cr_assert(bufs[i]->data[at] == i + 1, "buffer %d, byte %u", i, at);
}

Test(buf, trimmed_buffers_are_used_again)
{
	init(32 * BUF_LARGE_BYTES);
	for (int round = 0; round < 5; round++) {
		use_all(BUF_LARGE, 32);
		use_all(BUF_SMALL, 64);
		for (int k = 0; k < 3; k++)
			buf_pool_trim(&pool, 1000);
		cr_assert_leq(class_pages(BUF_LARGE), 33);
		cr_assert_eq(pool.used_bytes, 0);
	}
}
