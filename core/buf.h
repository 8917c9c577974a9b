/* SPDX-License-Identifier: MIT */
/*
 * Receive buffers: two classes in one budget, handed out last in, first out, so that memory just
 * used, which is still in cache, is used again. Single-threaded: each worker has a pool of its own.
 *
 * Memory is reserved once and touched only when used; buf_pool_trim gives back what a peak left
 * behind.
 */
#ifndef SLUICE_BUF_H
#define SLUICE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

enum buf_class { BUF_SMALL, BUF_LARGE, BUF_CLASSES };

enum {
	BUF_SMALL_BYTES = 8192,
	BUF_LARGE_BYTES = 65536,
	BUF_HEADROOM =
		512, /* before a large buffer's data; holds what io_uring puts before a datagram */
};

/* Where a datagram came from and where it was sent to. */
struct dgram_meta {
	union addr_inet peer;
	union addr_inet local; /* family 0: not known; the port is not set */
	uint32_t ifindex;      /* only for link-local IPv6, else 0 */
	bool group; /* sent to a broadcast or multicast address (known only with packet info) */
};

struct buf {
	struct buf *next;
	uint8_t *data;
	uint32_t len; /* bytes from data */
	uint16_t id;  /* index in its class */
	uint8_t class;
	uint8_t state;           /* the backend's own */
	struct dgram_meta dgram; /* datagrams only */
};

struct buf_stack {
	uint16_t *ids; /* free ones; the top is the hottest */
	uint32_t n, low, clean;
	struct buf *bufs;
	uint8_t *memory;
	size_t stride;
	uint32_t count;
};

struct buf_pool {
	struct buf_stack classes[BUF_CLASSES];
	uint64_t budget_bytes, used_bytes; /* of buffers lent */
	void *region;
	size_t region_bytes;
};

/* Reserves a pool that lends at most budget_bytes at a time (four large buffers at least). 0 or
 * -ENOMEM. */
int buf_pool_init(struct buf_pool *pool, uint64_t budget_bytes);
void buf_pool_free(struct buf_pool *pool);

/* A buffer with data at its start and len 0, or NULL when the budget is used up. */
struct buf *buf_get(struct buf_pool *pool, enum buf_class class);
/* Takes back one buffer, or a chain. */
void buf_put(struct buf_pool *pool, struct buf *buf);
void buf_put_chain(struct buf_pool *pool, struct buf *chain);

static inline struct buf *buf_by_id(struct buf_pool *pool, enum buf_class class, uint16_t id)
{
	return &pool->classes[class].bufs[id];
}

/* First byte of a buffer's memory: data's start less the headroom. */
static inline uint8_t *buf_memory(const struct buf_pool *pool, const struct buf *buf)
{
	const struct buf_stack *stack = &pool->classes[buf->class];

	/* Shifted by some lines, so that the starts of the buffers spread over the cache's sets. */
	return stack->memory + (size_t)buf->id * stack->stride + buf->id % 64u * 64u;
}

static inline uint32_t buf_capacity(const struct buf *buf)
{
	return buf->class == BUF_SMALL ? BUF_SMALL_BYTES : BUF_LARGE_BYTES;
}

static inline uint64_t buf_pool_left(const struct buf_pool *pool)
{
	return pool->budget_bytes - pool->used_bytes;
}

/* Little is left: what is received now may have to wait, and should not take a large buffer to. */
static inline bool buf_pool_is_short(const struct buf_pool *pool)
{
	return buf_pool_left(pool) < pool->budget_bytes / 4;
}

/* Returns to the kernel the pages of buffers that stayed free since the last call, at most max of
 * them. */
void buf_pool_trim(struct buf_pool *pool, uint32_t max);

/* Returns the pages of one buffer to the kernel; its bytes are lost. */
void buf_forget(struct buf_pool *pool, const struct buf *buf);

/* More free buffers are backed by memory than a quiet server uses again. */
static inline bool buf_pool_wants_trim(const struct buf_pool *pool)
{
	enum { KEPT = 64 };
	const struct buf_stack *small = &pool->classes[BUF_SMALL];
	const struct buf_stack *large = &pool->classes[BUF_LARGE];

	return small->n > small->clean + KEPT || large->n > large->clean + KEPT;
}

/* A queue of bytes to send. */
struct buf_queue {
	struct buf *head, *tail;
	uint64_t bytes;
};

/* Appends buf as it is. */
static inline void buf_queue_push(struct buf_queue *queue, struct buf *buf)
{
	buf->next = NULL;
	if (queue->tail)
		queue->tail->next = buf;
	else
		queue->head = buf;
	queue->tail = buf;
	queue->bytes += buf->len;
}

/* Appends stream bytes that will wait: copied together where that frees a buffer, so that many
 * small pieces never pin many buffers. */
void buf_queue_push_packed(struct buf_pool *pool, struct buf_queue *queue, struct buf *buf);

/* Drops bytes from the front and puts back what is empty; bytes <= queue->bytes. */
void buf_queue_consume(struct buf_pool *pool, struct buf_queue *queue, uint64_t bytes);

/* Copies a nearly empty large first buffer to a small one, for a queue that has to wait. */
void buf_queue_pack_head(struct buf_pool *pool, struct buf_queue *queue);

void buf_queue_clear(struct buf_pool *pool, struct buf_queue *queue);

#endif
