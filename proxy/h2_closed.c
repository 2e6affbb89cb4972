/* Streams that are over, see h2_closed.h. */
#include "proxy/h2_closed.h"

#include <nghttp2/nghttp2.h>
#include <string.h>

bool
h2_closed_begin(struct h2_closed *closed, int32_t id)
{
	/* A client's numbers are odd: the next one skips nothing. */
	int32_t expected = closed->last == 0 ? 1 : closed->last + 2;

	if (id <= closed->last)
		return false;
	if (id > expected) {
		closed->skipped_from = expected;
		closed->skipped_to = id - 2;
	}
	closed->last = id;
	return true;
}

static bool
is_known(const struct h2_closed *closed, int32_t id)
{
	for (unsigned i = 0; i < H2_RESETS_KNOWN; i++)
		if (closed->reset[i] == id)
			return true;
	return false;
}

void
h2_closed_reset(struct h2_closed *closed, int32_t id)
{
	int32_t dropped;

	if (is_known(closed, id))
		return;
	dropped = closed->reset[closed->next];
	if (dropped > closed->forgiven)
		closed->forgiven = dropped;
	closed->reset[closed->next] = id;
	closed->next = (uint8_t)((closed->next + 1) % H2_RESETS_KNOWN);
}

uint32_t
h2_closed_error(const struct h2_closed *closed, int32_t id)
{
	if (id <= closed->forgiven || is_known(closed, id))
		return NGHTTP2_NO_ERROR;
	if (id >= closed->skipped_from && id <= closed->skipped_to)
		return NGHTTP2_PROTOCOL_ERROR;
	return NGHTTP2_STREAM_CLOSED;
}

enum { FRAME_HEAD = 9, AT_TYPE = 3, AT_STREAM = 5 };

static int32_t
number(const uint8_t *four)
{
	return (int32_t)((uint32_t)(four[0] & 0x7f) << 24 |
	                 (uint32_t)four[1] << 16 | (uint32_t)four[2] << 8 |
	                 four[3]);
}

int32_t
h2_scan_data(struct h2_scan *scan, const struct h2_closed *closed,
    const uint8_t *bytes, size_t len, size_t *at_io)
{
	size_t at = *at_io;

	while (at < len) {
		const uint8_t *head = bytes + at;
		int32_t id;

		if (scan->left > 0) {
			size_t n =
			    scan->left < len - at ? scan->left : len - at;

			scan->left -= (uint32_t)n;
			at += n;
			continue;
		}
		if (scan->have > 0 || len - at < FRAME_HEAD) {
			scan->head[scan->have++] = bytes[at++];
			if (scan->have < FRAME_HEAD)
				continue;
			scan->have = 0;
			head = scan->head;
		} else {
			at += FRAME_HEAD;
		}
		scan->left =
		    (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
		id = number(head + AT_STREAM);
		if (head[AT_TYPE] == NGHTTP2_RST_STREAM)
			scan->saw_reset = true;
		if (head[AT_TYPE] == NGHTTP2_DATA && id % 2 == 1 &&
		    id <= closed->last) {
			*at_io = at;
			return id;
		}
	}
	*at_io = at;
	return 0;
}
