/* SPDX-License-Identifier: MIT */
/* Owns the receive buffers of one worker. Invariant: used_bytes is the capacity of all buffers
 * lent. */
#include "buf.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "util.h"

enum {
	CLASS_COUNT_MAX = 32768, /* io_uring buffer rings hold no more, and ids are 16 bits */
	/* Whole pages, so that each can be given back alone, with room for the shift. */
	SMALL_STRIDE = BUF_SMALL_BYTES + 4096,
	LARGE_STRIDE = BUF_LARGE_BYTES + 8192, /* headroom and shift are less than that */
};

static size_t align_up(size_t n)
{
	return (n + 4095) & ~(size_t)4095;
}

static uint8_t *stack_init(struct buf_stack *stack, uint8_t *at)
{
	stack->memory = at;
	at += align_up(stack->count * stack->stride);
	stack->bufs = (struct buf *)at;
	at += align_up(stack->count * sizeof(*stack->bufs));
	stack->ids = (uint16_t *)at;
	at += align_up(stack->count * sizeof(*stack->ids));
	for (uint32_t i = 0; i < stack->count; i++)
		stack->ids[i] = (uint16_t)(stack->count - 1 - i);
	stack->n = stack->low = stack->clean = stack->count;
	return at;
}

int buf_pool_init(struct buf_pool *pool, uint64_t budget_bytes)
{
	static const size_t strides[BUF_CLASSES] = {SMALL_STRIDE, LARGE_STRIDE};
	static const uint32_t capacities[BUF_CLASSES] = {BUF_SMALL_BYTES, BUF_LARGE_BYTES};
	struct buf_pool p = {.budget_bytes = MAX(budget_bytes, UINT64_C(4) * BUF_LARGE_BYTES)};
	uint8_t *at;

	for (int c = 0; c < BUF_CLASSES; c++) {
		struct buf_stack *stack = &p.classes[c];

		stack->stride = strides[c];
		stack->count = (uint32_t)MIN(p.budget_bytes / capacities[c], CLASS_COUNT_MAX);
		p.region_bytes += align_up(stack->count * stack->stride) +
				  align_up(stack->count * sizeof(*stack->bufs)) +
				  align_up(stack->count * sizeof(*stack->ids));
	}
	p.region = mmap(NULL, p.region_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p.region == MAP_FAILED)
		return -ENOMEM;
	/* A huge page would make one byte of a buffer cost two megabytes. */
	madvise(p.region, p.region_bytes, MADV_NOHUGEPAGE);
	at = p.region;
	for (int c = 0; c < BUF_CLASSES; c++)
		at = stack_init(&p.classes[c], at);
	*pool = p;
	return 0;
}

void buf_pool_free(struct buf_pool *pool)
{
	if (pool->region)
		munmap(pool->region, pool->region_bytes);
	memset(pool, 0, sizeof(*pool));
}

struct buf *buf_get(struct buf_pool *pool, enum buf_class class)
{
	struct buf_stack *stack = &pool->classes[class];
	uint32_t capacity = class == BUF_SMALL ? BUF_SMALL_BYTES : BUF_LARGE_BYTES;
	struct buf *buf;
	uint16_t id;

	if (!stack->n || pool->used_bytes + capacity > pool->budget_bytes)
		return NULL;
	id = stack->ids[--stack->n];
	stack->low = MIN(stack->low, stack->n);
	stack->clean = MIN(stack->clean, stack->n);
	pool->used_bytes += capacity;
	buf = &stack->bufs[id];
	buf->next = NULL;
	buf->id = id;
	buf->class = (uint8_t) class;
	buf->len = 0;
	buf->data = buf_memory(pool, buf) + (class == BUF_LARGE ? BUF_HEADROOM : 0);
	return buf;
}

void buf_put(struct buf_pool *pool, struct buf *buf)
{
	struct buf_stack *stack = &pool->classes[buf->class];

	assert(stack->n < stack->count);
	stack->ids[stack->n++] = buf->id;
	pool->used_bytes -= buf_capacity(buf);
}

void buf_put_chain(struct buf_pool *pool, struct buf *chain)
{
	while (chain) {
		struct buf *next = chain->next;

		buf_put(pool, chain);
		chain = next;
	}
}

void buf_forget(struct buf_pool *pool, const struct buf *buf)
{
	const struct buf_stack *stack = &pool->classes[buf->class];

	madvise(stack->memory + (size_t)buf->id * stack->stride, stack->stride, MADV_DONTNEED);
}

void buf_pool_trim(struct buf_pool *pool, uint32_t max)
{
	for (int c = 0; c < BUF_CLASSES; c++) {
		struct buf_stack *stack = &pool->classes[c];

		/* Below low nothing was taken since the last call; below clean nothing is backed by
		 * memory. */
		while (stack->clean < stack->low && max > 0) {
			buf_forget(pool, &stack->bufs[stack->ids[stack->clean]]);
			stack->clean++;
			max--;
		}
		stack->low = stack->n;
	}
}

static uint8_t *buf_start(const struct buf_pool *pool, const struct buf *buf)
{
	return buf_memory(pool, buf) + (buf->class == BUF_LARGE ? BUF_HEADROOM : 0);
}

static uint32_t tail_room(const struct buf_pool *pool, const struct buf *buf)
{
	return (uint32_t)(buf_start(pool, buf) + buf_capacity(buf) - (buf->data + buf->len));
}

static void buf_append(struct buf *to, const struct buf *from)
{
	memcpy(to->data + to->len, from->data, from->len);
	to->len += from->len;
}

void buf_queue_push_packed(struct buf_pool *pool, struct buf_queue *queue, struct buf *buf)
{
	struct buf *tail = queue->tail, *small;

	if (tail && buf->len <= BUF_SMALL_BYTES && tail_room(pool, tail) >= buf->len) {
		buf_append(tail, buf);
		queue->bytes += buf->len;
		buf_put(pool, buf);
		return;
	}
	if (buf->class == BUF_LARGE && buf->len <= BUF_SMALL_BYTES) {
		small = buf_get(pool, BUF_SMALL);
		if (small) {
			buf_append(small, buf);
			buf_put(pool, buf);
			buf = small;
		}
	}
	buf_queue_push(queue, buf);
}

void buf_queue_consume(struct buf_pool *pool, struct buf_queue *queue, uint64_t bytes)
{
	assert(bytes <= queue->bytes);
	queue->bytes -= bytes;
	while (queue->head && bytes >= queue->head->len) {
		struct buf *head = queue->head;

		bytes -= head->len;
		queue->head = head->next;
		buf_put(pool, head);
	}
	if (!queue->head) {
		queue->tail = NULL;
		return;
	}
	queue->head->data += bytes;
	queue->head->len -= (uint32_t)bytes;
}

void buf_queue_pack_head(struct buf_pool *pool, struct buf_queue *queue)
{
	struct buf *head = queue->head, *small;

	if (!head || head->class != BUF_LARGE || head->len > BUF_SMALL_BYTES)
		return;
	small = buf_get(pool, BUF_SMALL);
	if (!small)
		return;
	buf_append(small, head);
	small->next = head->next;
	queue->head = small;
	if (queue->tail == head)
		queue->tail = small;
	buf_put(pool, head);
}

void buf_queue_clear(struct buf_pool *pool, struct buf_queue *queue)
{
	buf_put_chain(pool, queue->head);
	*queue = (struct buf_queue){0};
}
