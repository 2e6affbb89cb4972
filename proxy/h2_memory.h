/*
 * What nghttp2 allocates: for each stream a handful of small things that live
 * as long as it does, and for each field a buffer. One pool a worker, free
 * lists by size, so that a request asks the allocator for nothing.
 */
#ifndef WEIR_PROXY_H2_MEMORY_H
#define WEIR_PROXY_H2_MEMORY_H

#include <nghttp2/nghttp2.h>

enum {
	H2_MEMORY_CLASSES = 6
}; /* 64 bytes to 2 KiB, each twice the one below */

struct h2_memory {
	nghttp2_mem mem; /* its user data is this */
	struct h2_piece *free[H2_MEMORY_CLASSES];
	size_t kept; /* bytes on the free lists */
};

/* Stays where it is: nghttp2 keeps the address. */
void h2_memory_init(struct h2_memory *memory);
/* Once no session lives any more. */
void h2_memory_release(struct h2_memory *memory);

#endif
