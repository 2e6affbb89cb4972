/*
 * Streams of a client's connection that are over. nghttp2 forgets them and
 * passes over what still comes on them; RFC 9113 section 5.1 lets that be so
 * only where the client may not know yet: where we reset the stream before its
 * end had come. Frames on any other closed stream, and numbers that go
 * backwards, are the client's error and end the connection.
 *
 * Bounded: the streams we reset last are known by their numbers, what is older
 * than these is forgiven. Pure: no session, no I/O.
 */
#ifndef WEIR_PROXY_H2_CLOSED_H
#define WEIR_PROXY_H2_CLOSED_H

#include <stdbool.h>
#include <stdint.h>

enum { H2_RESETS_KNOWN = 16 };

struct h2_closed {
	int32_t last; /* the highest number that began a stream */
	int32_t skipped_from, skipped_to; /* the numbers passed over last */
	int32_t forgiven; /* up to here nothing is known any more */
	int32_t reset[H2_RESETS_KNOWN]; /* by us, with more perhaps under way;
	                                   a ring */
	uint8_t next;
};

/* A stream of the client's begins: true. False: its number is not new. */
bool h2_closed_begin(struct h2_closed *closed, int32_t id);
/* We have reset it and its end had not come. */
void h2_closed_reset(struct h2_closed *closed, int32_t id);
/* HEADERS or DATA on a stream that has begun and is no more: the connection's
 * error, 0 when it is to be passed over. */
uint32_t h2_closed_error(const struct h2_closed *closed, int32_t id);

#endif
