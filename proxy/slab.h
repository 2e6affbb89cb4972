/*
 * Objects of one size, one worker, last in first out, so that the next one is
 * still in the cache. Memory goes back to the system when the slab ends, or a
 * whole chunk at a time is kept: connections come in waves.
 */
#ifndef WEIR_PROXY_SLAB_H
#define WEIR_PROXY_SLAB_H

#include <stddef.h>
#include <stdint.h>

struct slab {
	size_t size;
	uint32_t per_chunk;
	void *free;   /* owned chain through the objects' first word */
	void *chunks; /* owned chain through the chunks' first word */
	uint64_t live;
};

void slab_init(struct slab *slab, size_t size, uint32_t per_chunk);
void slab_release(struct slab *slab); /* all objects must have been given back */
void *slab_take(struct slab *slab);   /* not zeroed; NULL: out of memory */
void slab_give(struct slab *slab, void *object);

#endif
