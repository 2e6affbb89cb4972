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
#include <stddef.h>
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

/* Where one frame ends and the next begins, across reads. */
struct h2_scan {
	uint32_t left; /* of the payload, or of the preface */
	uint8_t head[9], have;
	bool saw_reset; /* RST_STREAM, in what nghttp2 has not read yet */
};

/* A stream of the client's begins: true. False: its number is not new. */
bool h2_closed_begin(struct h2_closed *closed, int32_t id);
/* We have reset it and its end had not come. */
void h2_closed_reset(struct h2_closed *closed, int32_t id);
/* HEADERS or DATA on a stream that has begun and is no more: the connection's
 * error, 0 when it is to be passed over. */
uint32_t h2_closed_error(const struct h2_closed *closed, int32_t id);
/*
 * The next DATA frame of a stream that had begun when nghttp2 was given bytes
 * last: its stream, and in at_io where its payload begins. 0: no more in these
 * bytes.
 */
int32_t h2_scan_data(struct h2_scan *scan, const struct h2_closed *closed,
    const uint8_t *bytes, size_t len, size_t *at_io);

#endif
