/* Objects of one size, see slab.h. */
#include "proxy/slab.h"

#include <assert.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size)   ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

enum { SLAB_ALIGN = 64 };

void
slab_init(struct slab *slab, size_t size, uint32_t per_chunk)
{
	size_t rounded = (size + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN;

	*slab = (struct slab){.size = rounded, .per_chunk = per_chunk};
}

void
slab_release(struct slab *slab)
{
	assert(slab->live == 0);
	while (slab->chunks) {
		char *chunk = slab->chunks;

		slab->chunks = *(void **)chunk;
		ASAN_UNPOISON_MEMORY_REGION(
		    chunk, SLAB_ALIGN + slab->size * slab->per_chunk);
		free(chunk);
	}
	slab->free = NULL;
}

static void
push(struct slab *slab, void *object)
{
	*(void **)object = slab->free;
	slab->free = object;
	/* The first word is the chain; the rest is nobody's until taken. */
	ASAN_POISON_MEMORY_REGION(
	    (char *)object + sizeof(void *), slab->size - sizeof(void *));
}

void *
slab_take(struct slab *slab)
{
	void *object;

	if (!slab->free) {
		size_t bytes = SLAB_ALIGN + slab->size * slab->per_chunk;
		char *chunk = aligned_alloc(SLAB_ALIGN, bytes);

		if (!chunk)
			return NULL;
		*(void **)chunk = slab->chunks;
		slab->chunks = chunk;
		for (uint32_t i = slab->per_chunk; i-- > 0;)
			push(slab, chunk + SLAB_ALIGN + i * slab->size);
	}
	object = slab->free;
	ASAN_UNPOISON_MEMORY_REGION(object, slab->size);
	slab->free = *(void **)object;
	slab->live++;
	return object;
}

void
slab_give(struct slab *slab, void *object)
{
	assert(slab->live > 0);
	slab->live--;
	push(slab, object);
}
