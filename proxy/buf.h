/*
 * Pooled buffers for what could not be parsed or sent at once. A normal
 * request touches none: it is read into the worker's scratch, forwarded and
 * forgotten. Size classes of 4, 16, 64 and 256 KiB, last in first out, per
 * worker, under one byte budget: when that is spent buf_take returns NULL and
 * the caller sheds the work.
 */
#ifndef WEIR_PROXY_BUF_H
#define WEIR_PROXY_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BUF_CLASSES = 4, BUF_SMALLEST = 4096, BUF_LARGEST = 262144 };

struct buf {
	struct buf *next;    /* in a chain or a free list */
	uint32_t start, end; /* the bytes are data[start..end) */
	uint32_t cap;
	char data[];
};

struct buf_pool {
	struct buf *free[BUF_CLASSES]; /* owned */
	uint32_t n_free[BUF_CLASSES];
	size_t used;  /* bytes out in the world */
	size_t limit; /* of used */
};

void buf_pool_init(struct buf_pool *pool, size_t limit);
void buf_pool_release(struct buf_pool *pool);

/* At least `need` bytes of room (need <= BUF_LARGEST); NULL when the budget is spent. */
struct buf *buf_take(struct buf_pool *pool, size_t need);
void buf_give(struct buf_pool *pool, struct buf **buf); /* NULL is fine */

static inline size_t
buf_len(const struct buf *buf)
{
	return buf->end - buf->start;
}

/*
 * Appends to *buf, exchanging it for a larger one where needed (NULL: takes a
 * first one). False when it would exceed `max` or the budget is spent; *buf is
 * untouched then.
 */
bool buf_append(struct buf_pool *pool, struct buf **buf, const void *bytes,
    size_t len, size_t max);

#endif
