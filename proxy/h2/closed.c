/* Streams that are over, see closed.h. */
#include "proxy/h2/closed.h"

#include <nghttp2/nghttp2.h>

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
