/*
 * Memory for the control plane. Running out of it while a snapshot is built
 * ends the process: on a system that overcommits, NULL for some kilobytes
 * means that nothing honest can be done any more, and a half-built registry
 * would be worse than a restart. The request path never comes here.
 */
#ifndef WEIR_ROUTING_MEMORY_H
#define WEIR_ROUTING_MEMORY_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/span.h"
#include "routing/stats.h"

/* Zeroed. */
static inline void *
memory_take(size_t n, size_t size)
{
	void *memory = calloc(n > 0 ? n : 1, size);

	assert(memory != NULL);
	return memory;
}

/* Zeroed, on cache lines of its own: for what one worker writes. NULL when
   there is no memory. */
static inline void *
memory_try_lines(size_t n, size_t size)
{
	size_t bytes = (n * size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	void *lines = aligned_alloc(CACHE_LINE, bytes);

	assert(bytes > 0);
	return lines != NULL ? memset(lines, 0, bytes) : NULL;
}

static inline void *
memory_take_lines(size_t n, size_t size)
{
	void *lines = memory_try_lines(n, size);

	assert(lines != NULL);
	return lines;
}

/* Room for one more element of an owned array. */
static inline void *
memory_grow(void *array, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return array;
	*cap = *cap > 0 ? *cap * 2 : 8;
	array = realloc(array, *cap * size);
	assert(array != NULL);
	return array;
}

static inline char *
memory_text(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	assert(!text || copy != NULL);
	return copy;
}

#endif
