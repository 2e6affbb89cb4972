/*
 * Where RFC 9113 asks for an error and nghttp2 passes over what a client sent,
 * or leaves at a stream what is the connection's: frames on streams that are
 * over (see closed.h), PRIORITY of stream 0, windows that SETTINGS made too
 * large. What a client may not know yet is never held against it.
 */
#include "proxy/h2/h2.h"

/* Of HEADERS or DATA on a stream that has begun: 0, or the error's code. */
static uint32_t
error_of_stream(const struct h2 *h2, int32_t id)
{
	if (nghttp2_session_find_stream(h2->session, id))
		return NGHTTP2_NO_ERROR; /* nghttp2 knows what it may get */
	return h2_closed_error(&h2->closed, id);
}

static uint32_t
error_of_frame(struct h2 *h2, const nghttp2_frame_hd *hd)
{
	int32_t id = hd->stream_id;

	if (hd->type == NGHTTP2_PRIORITY)
		return id == 0 ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_NO_ERROR;
	if (hd->type != NGHTTP2_HEADERS || id % 2 == 0)
		return NGHTTP2_NO_ERROR;
	/* Streams behind our GOAWAY are nobody's. */
	if (id > h2->closed.last && h2->is_leaving)
		return NGHTTP2_NO_ERROR;
	return h2_closed_begin(&h2->closed, id) ? NGHTTP2_NO_ERROR
	                                        : error_of_stream(h2, id);
}

static void
refuse(struct h2 *h2, uint32_t error)
{
	if (error == NGHTTP2_NO_ERROR)
		return;
	h2_glitch(h2, GLITCH_PROTOCOL);
	h2_terminate(h2, error);
	h2->is_failed = true;
}

void
h2_strict_frame(struct h2 *h2, const nghttp2_frame_hd *hd)
{
	if (!h2->is_upstream && !h2->is_failed)
		refuse(h2, error_of_frame(h2, hd));
}

/* DATA of a stream that had begun when nghttp2 was given bytes last. */
static bool
is_late_data(const struct h2 *h2, const struct h2_frame *frame)
{
	return frame->type == NGHTTP2_DATA && frame->stream % 2 == 1 &&
	       frame->stream <= h2->closed.last;
}

/*
 * All frames are looked at before nghttp2 gets them: for what they cost
 * (glitch.c), and because DATA on a stream that is over is passed over
 * before any callback. Whether a stream is over is known only once all that
 * comes before was read: where that is in doubt, and that is rare, they are
 * read up to there.
 */
ssize_t
h2_strict_recv(struct h2 *h2, const uint8_t *bytes, size_t len)
{
	struct h2_frame frame;
	size_t fed = 0, at = 0;
	ssize_t used;

	while (!h2->is_upstream &&
	       h2_scan_next(&h2->scan, bytes, len, &at, &frame)) {
		h2_glitch_frame(h2, &frame);
		if (h2->is_failed)
			return (ssize_t)len;
		h2->saw_reset |= frame.type == NGHTTP2_RST_STREAM;
		if (!is_late_data(h2, &frame) ||
		    (!h2->saw_reset &&
		        nghttp2_session_find_stream(h2->session, frame.stream)))
			continue;
		used = nghttp2_session_mem_recv(
		    h2->session, bytes + fed, at - fed);
		if (used < 0)
			return used;
		fed = at;
		h2->saw_reset = false;
		refuse(h2, error_of_stream(h2, frame.stream));
		if (h2->is_failed)
			return (ssize_t)len;
	}
	/* A reset that is not whole yet has closed nothing. */
	h2->saw_reset = h2->saw_reset && h2->scan.left > 0;
	return nghttp2_session_mem_recv(h2->session, bytes + fed, len - fed);
}

/* Errors that the client's own frames have caused. */
static bool
is_provoked(uint32_t code)
{
	switch (code) {
	case NGHTTP2_PROTOCOL_ERROR:
	case NGHTTP2_FLOW_CONTROL_ERROR:
	case NGHTTP2_STREAM_CLOSED:
	case NGHTTP2_FRAME_SIZE_ERROR: /* a refused one was counted then */
		return true;
	default:
		return false;
	}
}

void
h2_strict_invalid(struct h2 *h2, const nghttp2_frame *frame, int error)
{
	int32_t id = frame->hd.stream_id;

	/* A stream's error makes nghttp2 reset it at once. */
	h2_glitch(h2, id ? GLITCH_PROVOKED_RESET : GLITCH_PROTOCOL);
	if (h2->is_upstream || id == 0)
		return;
	if (nghttp2_session_get_stream_remote_close(h2->session, id) != 1)
		h2_closed_reset(&h2->closed, id);
	if (error == NGHTTP2_ERR_FLOW_CONTROL)
		h2->overflows++;
}

/*
 * A window that SETTINGS made too large, or DATA beyond its stream's window,
 * makes nghttp2 reset the stream: the first has to be the connection's error
 * (RFC 9113 section 6.9.2), the second may. Only WINDOW_UPDATE leaves it at
 * the stream, and is told before.
 */
void
h2_strict_sent_reset(struct h2 *h2, const nghttp2_frame *frame)
{
	int32_t id = frame->hd.stream_id;

	if (h2->is_upstream)
		return;
	if (is_provoked(frame->rst_stream.error_code))
		h2_glitch(h2, GLITCH_PROVOKED_RESET);
	if (nghttp2_session_get_stream_remote_close(h2->session, id) == 0)
		h2_closed_reset(&h2->closed, id);
	if (frame->rst_stream.error_code != NGHTTP2_FLOW_CONTROL_ERROR)
		return;
	if (h2->overflows > 0)
		h2->overflows--;
	else
		h2_terminate(h2, NGHTTP2_FLOW_CONTROL_ERROR);
}
