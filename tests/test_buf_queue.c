/* SPDX-License-Identifier: MIT */
/* Queues of buffers: single cases, then at random against a plain array of bytes. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/util.h"

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

TestSuite(buf_queue, .fini = teardown, .timeout = 60);

static struct buf_queue queue;

static uint64_t queue_capacity(void)
{
	uint64_t bytes = 0;

	for (struct buf *buf = queue.head; buf; buf = buf->next)
		bytes += buf_capacity(buf);
	return bytes;
}

Test(buf_queue, queue_keeps_order_and_count)
{
	init(1 << 20);
	for (uint32_t i = 1; i <= 10; i++)
		buf_queue_push(&queue, filled(BUF_SMALL, i, (uint8_t)i));
	cr_assert_eq(queue.bytes, 55);
	for (uint32_t i = 1; i <= 10; i++) {
		cr_assert_eq(queue.head->len, i);
		cr_assert_eq(queue.head->data[0], i);
		buf_queue_consume(&pool, &queue, i);
	}
	cr_assert(!queue.head && !queue.tail && !queue.bytes);
	cr_assert_eq(pool.used_bytes, 0);
}

Test(buf_queue, many_small_pieces_pin_few_buffers)
{
	init(1 << 20);
	for (uint32_t i = 0; i < 10000; i++)
		buf_queue_push_packed(&pool, &queue, filled(BUF_LARGE, 1, (uint8_t)i));
	cr_assert_eq(queue.bytes, 10000);
	cr_assert_leq(pool.used_bytes, 2 * BUF_SMALL_BYTES);
	for (uint32_t i = 0; i < 10000; i++) {
		cr_assert_eq(queue.head->data[0], (uint8_t)i);
		buf_queue_consume(&pool, &queue, 1);
	}
	cr_assert_eq(pool.used_bytes, 0);
}

Test(buf_queue, small_pieces_fill_the_tail_of_a_large_one)
{
	init(1 << 20);
	buf_queue_push(&queue, filled(BUF_LARGE, 60000, 1));
	for (int i = 0; i < 5; i++)
		buf_queue_push_packed(&pool, &queue, filled(BUF_SMALL, 1000, 2));
	cr_assert_eq(queue.head, queue.tail);
	cr_assert_eq(queue.bytes, 65000);
	cr_assert_eq(pool.used_bytes, BUF_LARGE_BYTES);
	buf_queue_push_packed(&pool, &queue, filled(BUF_SMALL, 1000, 3));
	cr_assert_neq(queue.head, queue.tail);
	cr_assert_eq(queue.tail->len, 1000);
}

Test(buf_queue, packing_never_writes_past_the_tail)
{
	init(1 << 20);
	buf_queue_push(&queue, filled(BUF_SMALL, BUF_SMALL_BYTES - 10, 1));
	buf_queue_push_packed(&pool, &queue, filled(BUF_SMALL, 11, 2));
	cr_assert_eq(queue.head->len, BUF_SMALL_BYTES - 10);
	cr_assert_eq(queue.tail->len, 11);
	buf_queue_push_packed(&pool, &queue, filled(BUF_SMALL, BUF_SMALL_BYTES - 11, 3));
	cr_assert_eq(queue.tail->len, BUF_SMALL_BYTES);
}

Test(buf_queue, large_pieces_are_not_copied)
{
	struct buf *buf;

	init(1 << 20);
	buf = filled(BUF_LARGE, BUF_SMALL_BYTES + 1, 1);
	buf_queue_push_packed(&pool, &queue, filled(BUF_LARGE, 10, 1));
	buf_queue_push_packed(&pool, &queue, buf);
	cr_assert_eq(queue.tail, buf);
}

Test(buf_queue, packing_without_a_small_buffer_keeps_the_large_one)
{
	struct buf *first, *last;

	init(4 * BUF_LARGE_BYTES);
	get(BUF_LARGE);
	get(BUF_LARGE);
	first = filled(BUF_LARGE, 10, 1);
	last = filled(BUF_LARGE, BUF_LARGE_BYTES, 2);
	buf_queue_push_packed(&pool, &queue, first);
	cr_assert_eq(queue.head, first);
	buf_queue_pack_head(&pool, &queue);
	cr_assert_eq(queue.head, first);
	buf_put(&pool, last);
	buf_queue_pack_head(&pool, &queue);
	cr_assert_eq(queue.head->class, BUF_SMALL);
	cr_assert_eq(queue.head->data[9], 1);
	cr_assert_eq(pool.used_bytes, 2 * BUF_LARGE_BYTES + BUF_SMALL_BYTES);
}

Test(buf_queue, consume_across_buffers)
{
	init(1 << 20);
	for (uint32_t i = 0; i < 4; i++)
		buf_queue_push(&queue, filled(BUF_SMALL, 100, (uint8_t)i));
	buf_queue_consume(&pool, &queue, 0);
	cr_assert_eq(queue.bytes, 400);
	buf_queue_consume(&pool, &queue, 250);
	cr_assert_eq(queue.head->len, 50);
	cr_assert_eq(queue.head->data[0], 2);
	cr_assert_eq(pool.used_bytes, 2 * BUF_SMALL_BYTES);
	buf_queue_consume(&pool, &queue, 50);
	cr_assert_eq(queue.head, queue.tail);
	cr_assert_eq(queue.head->data[0], 3);
	buf_queue_consume(&pool, &queue, 100);
	cr_assert(!queue.head && !queue.tail);
	cr_assert_eq(pool.used_bytes, 0);
}

Test(buf_queue, pack_head_keeps_the_rest)
{
	init(1 << 20);
	buf_queue_pack_head(&pool, &queue);
	buf_queue_push(&queue, filled(BUF_LARGE, BUF_LARGE_BYTES, 1));
	buf_queue_push(&queue, filled(BUF_LARGE, 100, 2));
	buf_queue_pack_head(&pool, &queue);
	cr_assert_eq(queue.head->class, BUF_LARGE, "too full to copy");
	buf_queue_consume(&pool, &queue, BUF_LARGE_BYTES - 10);
	buf_queue_pack_head(&pool, &queue);
	cr_assert_eq(queue.head->class, BUF_SMALL);
	cr_assert_eq(queue.head->len, 10);
	cr_assert_eq(queue.head->data[9], 1);
	cr_assert_eq(queue.head->next, queue.tail);
	cr_assert_eq(queue.bytes, 110);
	buf_queue_consume(&pool, &queue, 10);
	buf_queue_pack_head(&pool, &queue);
	cr_assert_eq(queue.head, queue.tail);
	cr_assert_eq(queue.tail->class, BUF_SMALL);
	buf_queue_push(&queue, filled(BUF_SMALL, 1, 3));
	cr_assert_eq(queue.bytes, 101);
	buf_queue_clear(&pool, &queue);
	cr_assert(!queue.head && !queue.tail && !queue.bytes);
	cr_assert_eq(pool.used_bytes, 0);
}

/* ---- at random, against a plain array ---- */

enum { MODEL_BYTES = 4 << 20, MODEL_STEPS = 60000, HELD_MAX = 16 };

struct model {
	uint8_t *bytes;
	size_t at, len;
	uint64_t random;
	struct buf *held[HELD_MAX];
	int n_held;
};

static uint64_t below(struct model *model, uint64_t n)
{
	model->random = model->random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (model->random >> 33) % n;
}

static void model_push(struct model *model, bool packed)
{
	static const uint32_t maxima[] = {1, 40, BUF_SMALL_BYTES, BUF_LARGE_BYTES};
	enum buf_class class = below(model, 2) ? BUF_LARGE : BUF_SMALL;
	struct buf *buf = buf_get(&pool, class);
	uint32_t skip = (uint32_t)below(model, 50), max = maxima[below(model, 4)];

	if (!buf)
		return;
	buf->len = 1 + (uint32_t)below(model, MIN(buf_capacity(buf) - skip, max));
	if (model->at + model->len + buf->len > MODEL_BYTES) {
		buf_put(&pool, buf);
		return;
	}
	buf->data += skip;
	for (uint32_t i = 0; i < buf->len; i++)
		buf->data[i] = (uint8_t)below(model, 256);
	memcpy(model->bytes + model->at + model->len, buf->data, buf->len);
	model->len += buf->len;
	if (packed)
		buf_queue_push_packed(&pool, &queue, buf);
	else
		buf_queue_push(&queue, buf);
}

static void model_consume(struct model *model)
{
	uint64_t n = below(model, below(model, 4) ? model->len / 4 + 1 : model->len + 1);

	buf_queue_consume(&pool, &queue, n);
	model->at += n;
	model->len -= n;
	if (model->at > MODEL_BYTES / 2) {
		memmove(model->bytes, model->bytes + model->at, model->len);
		model->at = 0;
	}
}

/* Buffers lent to somebody else meanwhile. */
static void model_hold(struct model *model)
{
	if (model->n_held < HELD_MAX && below(model, 2)) {
		struct buf *buf = buf_get(&pool, below(model, 2) ? BUF_LARGE : BUF_SMALL);

		if (buf)
			model->held[model->n_held++] = buf;
	} else if (model->n_held) {
		buf_put(&pool, model->held[--model->n_held]);
	}
}

static void model_check(const struct model *model)
{
	const uint8_t *expected = model->bytes + model->at;
	uint64_t bytes = 0, held = 0;
	struct buf *last = NULL;

	for (struct buf *buf = queue.head; buf; buf = buf->next) {
		cr_assert_gt(buf->len, 0);
		cr_assert_eq(memcmp(buf->data, expected + bytes, buf->len), 0);
		bytes += buf->len;
		last = buf;
	}
	for (int i = 0; i < model->n_held; i++)
		held += buf_capacity(model->held[i]);
	cr_assert_eq(bytes, model->len);
	cr_assert_eq(bytes, queue.bytes);
	cr_assert_eq(last, queue.tail);
	cr_assert_eq(pool.used_bytes, held + queue_capacity());
	cr_assert_leq(pool.used_bytes, pool.budget_bytes);
}

Test(buf_queue, queue_is_like_a_plain_array)
{
	struct model model = {.random = 20240607};

	init(2 << 20);
	model.bytes = malloc(MODEL_BYTES);
	cr_assert_not_null(model.bytes);
	for (int step = 0; step < MODEL_STEPS; step++) {
		uint64_t what = below(&model, 100);

		if (what < 25)
			model_push(&model, false);
		else if (what < 50)
			model_push(&model, true);
		else if (what < 80)
			model_consume(&model);
		else if (what < 90)
			model_hold(&model);
		else if (what < 97)
			buf_queue_pack_head(&pool, &queue);
		else
			buf_pool_trim(&pool, (uint32_t)below(&model, 50));
		if (step % 16 == 0)
			model_check(&model);
	}
	buf_queue_clear(&pool, &queue);
	buf_put_chain(&pool, NULL);
	while (model.n_held)
		buf_put(&pool, model.held[--model.n_held]);
	cr_assert_eq(pool.used_bytes, 0);
	free(model.bytes);
}
