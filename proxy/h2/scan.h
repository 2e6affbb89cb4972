/*
 * Where one frame ends and the next begins in what a client sends (RFC 9113
 * section 4.1), before nghttp2 is given it: of frames that it ignores, and of
 * those on streams that it has forgotten, nghttp2 tells nothing. Pure.
 */
#ifndef WEIR_PROXY_H2_SCAN_H
#define WEIR_PROXY_H2_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { H2_FRAME_HEAD = 9 };

struct h2_scan {
	uint32_t left; /* of the payload; to begin with, of the preface */
	uint8_t head[H2_FRAME_HEAD], have; /* a head that comes in pieces */
};

struct h2_frame {
	uint32_t len;
	int32_t stream;
	uint8_t type, flags;
	uint8_t padding; /* of padded DATA */
};

bool h2_frame_is_padded_data(const struct h2_frame *frame);
/* The next frame whose head is whole; *at_io: where its payload begins. One
 * byte more is wanted where that says how much of DATA is padding. False: no
 * more in these bytes. */
bool h2_scan_next(struct h2_scan *scan, const uint8_t *bytes, size_t len,
    size_t *at_io, struct h2_frame *out);

#endif
