/*
 * What nghttp2 allocates: for each stream a handful of small things that live
 * as long as it does, for each field a buffer, and for each session a frame of
 * 16 KiB of which it hardly ever writes more than the beginning. One pool a
 * worker: free lists by size, so that a request asks the allocator for nothing,
 * and pages for frames, the first shared with a session, so that what is not
 * written costs nothing.
 */
#ifndef WEIR_PROXY_H2_MEMORY_H
#define WEIR_PROXY_H2_MEMORY_H

#include <nghttp2/nghttp2.h>

enum { H2_MEMORY_CLASSES = 18 }; /* by 32 bytes to 512, then 1 and 2 KiB */

struct h2_memory {
	nghttp2_mem mem; /* its user data is this */
	struct h2_piece *free[H2_MEMORY_CLASSES];
	size_t kept;                        /* bytes on these lists */
	struct h2_piece *frames, *sessions; /* free ones, on pages */
	struct h2_region *regions;          /* owned: where frames lie */
};

/* Stays where it is: nghttp2 keeps the address. */
void h2_memory_init(struct h2_memory *memory);
/* Once no session lives any more. */
void h2_memory_release(struct h2_memory *memory);

#endif
