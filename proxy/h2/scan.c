/* Frames in what a client sends, see scan.h. */
#include "proxy/h2/scan.h"

#include <nghttp2/nghttp2.h>

static struct h2_frame
frame_of(const uint8_t *head)
{
	return (struct h2_frame){
	    .len = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2],
	    .type = head[3],
	    .flags = head[4],
	    .stream = (int32_t)((uint32_t)(head[5] & 0x7f) << 24 |
	                        (uint32_t)head[6] << 16 |
	                        (uint32_t)head[7] << 8 | head[8]),
	};
}

bool
h2_frame_is_padded_data(const struct h2_frame *frame)
{
	return frame->type == NGHTTP2_DATA && frame->len > 0 &&
	       (frame->flags & NGHTTP2_FLAG_PADDED);
}

bool
h2_scan_next(struct h2_scan *scan, const uint8_t *bytes, size_t len,
    size_t *at_io, struct h2_frame *out)
{
	size_t at = *at_io;
	size_t skipped = scan->left < len - at ? scan->left : len - at;

	scan->left -= (uint32_t)skipped;
	at += skipped;
	while (at < len && scan->have < H2_FRAME_HEAD)
		scan->head[scan->have++] = bytes[at++];
	*at_io = at;
	if (scan->have < H2_FRAME_HEAD)
		return false;
	*out = frame_of(scan->head);
	if (h2_frame_is_padded_data(out)) {
		if (at == len)
			return false;
		out->padding = bytes[at];
	}
	scan->have = 0;
	scan->left = out->len;
	return true;
}
