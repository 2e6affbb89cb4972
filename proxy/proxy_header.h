/*
 * The header of the PROXY protocol (versions 1 and 2, as HAProxy defines
 * them): what a balancer says about a connection before the connection's own
 * bytes. Pure: bytes to addresses and back, no I/O.
 *
 * Strict, because what is believed here decides who a client is: a header that
 * is not exactly one of the protocol is no header, and a connection that was
 * to begin with one and does not is over.
 */
#ifndef WEIR_PROXY_PROXY_HEADER_H
#define WEIR_PROXY_PROXY_HEADER_H

#include <stdbool.h>

#include "proxy/peer.h"

enum {
	PROXY_HEADER_MAX = 4096, /* a longer one is refused: no balancer's is */
	PROXY_HEADER_OWN = 108,  /* at most what proxy_header_write writes */
};

enum proxy_header_result {
	PROXY_HEADER_MORE, /* a beginning: nothing wrong so far */
	PROXY_HEADER_DONE,
	PROXY_HEADER_BAD, /* see fault */
};

struct proxy_header {
	size_t len;      /* of the header; the connection's own bytes follow */
	uint8_t version; /* 1 or 2 */
	bool has_addresses; /* false: the balancer speaks for itself (LOCAL), or
	                       cannot tell */
	struct peer source, destination;
	const char *fault; /* what is wrong, for the log */
};

/* `versions`: PROXY_V1 and PROXY_V2 of config.h, those that are spoken here. */
enum proxy_header_result proxy_header_parse(
    const char *bytes, size_t len, unsigned versions, struct proxy_header *out);

/*
 * Of a connection from `source` to `destination`; either may be NULL (or not
 * of the Internet), then the header says that nothing is known. With
 * `is_local` it says that weir speaks for itself (a health check).
 * Returns the length.
 */
size_t proxy_header_write(unsigned version, const struct peer *source,
    const struct peer *destination, bool is_local, char out[PROXY_HEADER_OWN]);

#endif
