/*
 * Memory that must be had. Reading a file needs a few megabytes at most (see
 * CONFIG_SIZE_MAX and NODES_MAX), so running out here means that the machine
 * cannot work at all: an assert, never a half-built model.
 */
#ifndef WEIR_CONFIG_MEM_H
#define WEIR_CONFIG_MEM_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/span.h"

/* `n` zeroed things of `size` bytes; never NULL, the caller frees. */
static inline void *
mem_new(size_t n, size_t size)
{
	void *bytes = calloc(n ? n : 1, size);

	assert(bytes != NULL);
	return bytes;
}

static inline void *
mem_grow(void *old, size_t n, size_t size)
{
	void *bytes = reallocarray(old, n ? n : 1, size);

	assert(bytes != NULL);
	return bytes;
}

/* A copy with a NUL; the caller frees. */
static inline char *
mem_text(struct span text)
{
	char *copy = mem_new(text.len + 1, 1);

	if (text.len > 0)
		memcpy(copy, text.ptr, text.len);
	return copy;
}

#endif
