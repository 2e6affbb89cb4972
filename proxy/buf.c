/* Pooled buffers, see buf.h. */
#include "proxy/buf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Kept for reuse per class; beyond that they go back to the allocator. */
static const uint32_t keep[BUF_CLASSES] = {256, 128, 64, 16};

static unsigned
class_of(size_t need)
{
	unsigned class = 0;

	while (((size_t)BUF_SMALLEST << (2 * class)) < need)
		class ++;
	return class;
}

void
buf_pool_init(struct buf_pool *pool, size_t limit)
{
	*pool = (struct buf_pool){.limit = limit};
}

void
buf_pool_release(struct buf_pool *pool)
{
	for (unsigned class = 0; class < BUF_CLASSES; class ++) {
		while (pool->free[class]) {
			struct buf *buf = pool->free[class];

			pool->free[class] = buf->next;
			free(buf);
		}
	}
}

struct buf *
buf_take(struct buf_pool *pool, size_t need)
{
	unsigned class;
	size_t cap;
	struct buf *buf;

	assert(need <= BUF_LARGEST);
	class = class_of(need);
	cap = (size_t)BUF_SMALLEST << (2 * class);
	if (pool->used + cap > pool->limit)
		return NULL;
	buf = pool->free[class];
	if (buf) {
		pool->free[class] = buf->next;
		pool->n_free[class]--;
	} else {
		buf = malloc(sizeof(*buf) + cap);
		if (!buf)
			return NULL;
		buf->cap = (uint32_t)cap;
	}
	buf->next = NULL;
	buf->start = buf->end = 0;
	pool->used += cap;
	return buf;
}

void
buf_give(struct buf_pool *pool, struct buf **buf_in)
{
	struct buf *buf = *buf_in;
	unsigned class;

	*buf_in = NULL;
	if (!buf)
		return;
	assert(pool->used >= buf->cap);
	pool->used -= buf->cap;
	class = class_of(buf->cap);
	if (pool->n_free[class] >= keep[class]) {
		free(buf);
		return;
	}
	buf->next = pool->free[class];
	pool->free[class] = buf;
	pool->n_free[class]++;
}

bool
buf_append(struct buf_pool *pool, struct buf **buf, const void *bytes,
    size_t len, size_t max)
{
	struct buf *old = *buf;
	size_t have = old ? buf_len(old) : 0;

	if (have + len > max || have + len > BUF_LARGEST)
		return false;
	if (old && old->cap - old->end < len && old->cap >= have + len) {
		memmove(old->data, old->data + old->start, have);
		old->start = 0;
		old->end = (uint32_t)have;
	}
	if (!old || old->cap - old->end < len) {
		struct buf *larger = buf_take(pool, have + len);

		if (!larger)
			return false;
		if (old)
			memcpy(larger->data, old->data + old->start, have);
		larger->end = (uint32_t)have;
		buf_give(pool, buf);
		*buf = larger;
	}
	memcpy((*buf)->data + (*buf)->end, bytes, len);
	(*buf)->end += (uint32_t)len;
	return true;
}
