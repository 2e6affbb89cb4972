/*
 * A stream as one side of a request, see stream.h.
 *
 * Sending: heads are submitted to nghttp2 at once, payload waits in `out`
 * until a frame takes it. Receiving: payload goes to the request as long as
 * that takes it, else it waits in `in`; its window is given back only when it
 * was taken and the other side has room, so that a slow reader stops its own
 * stream and no other.
 */
#include "proxy/h2/stream.h"

#include <assert.h>

#include "proxy/h2/h2.h"
#include "proxy/h2/text.h"
#include "proxy/request.h"

enum {
	STALL_S = 30,    /* payload that nobody takes is waited for no longer */
	BEHIND_MAX = 16, /* bytes that framing may write behind payload */
};

/* ---- sending ---- */

static bool
takes(const struct stream *stream)
{
	return stream->h2 && !stream->is_reset && !stream->is_ended &&
	       !stream->h2->is_ending;
}

bool
stream_send_head(struct conn *side, char *head, size_t len, bool is_end)
{
	struct stream *stream = stream_of(side);

	if (stream->is_sink)
		return true;
	if (!takes(stream))
		return false;
	if (!h2_submit_head(stream, head, len, is_end)) {
		stream_reset(stream, NGHTTP2_INTERNAL_ERROR);
		return false;
	}
	if (is_end)
		stream->is_ended = true;
	h2_wants_flush(stream->h2);
	return true;
}

static void
wake(struct stream *stream)
{
	if (stream->is_deferred) {
		stream->is_deferred = false;
		nghttp2_session_resume_data(stream->h2->session, stream->id);
	}
	h2_wants_flush(stream->h2);
}

bool
stream_send_bytes(struct conn *side, const char *bytes, size_t len)
{
	struct stream *stream = stream_of(side);
	uint32_t before = side->out_len;
	bool is_kept;

	if (stream->is_sink)
		return true;
	if (!takes(stream))
		return false;
	if (len == 0)
		return true;
	is_kept = conn_keep(side, bytes, len);
	stream->h2->held += side->out_len - before;
	if (!is_kept) {
		stream_reset(stream, NGHTTP2_INTERNAL_ERROR);
		return false;
	}
	wake(stream);
	return true;
}

size_t
stream_room(struct conn *side)
{
	struct stream *stream = stream_of(side);
	struct h2 *h2 = stream->h2;
	size_t own, all;

	if (stream->is_sink)
		return HOLD_STREAM; /* it holds nothing */
	if (!h2 || h2->is_ending)
		return HOLD_LEAST; /* it is about to be told */
	own = side->out_len < HOLD_STREAM ? HOLD_STREAM - side->out_len : 0;
	all = h2->held < HOLD_MAX ? HOLD_MAX - h2->held : 0;
	if (all < own) {
		h2->is_tight = true;
		own = all;
	}
	if (own >= HOLD_LEAST)
		return own;
	return side->out ? 0 : HOLD_LEAST;
}

void
stream_untighten(struct h2 *h2)
{
	struct stream *stream, *next;

	if (!h2->is_tight || h2->held > HOLD_MAX / 2 || h2->is_ending)
		return;
	h2->is_tight = false;
	for (stream = LIST_FIRST(&h2->streams); stream; stream = next) {
		next = LIST_NEXT(stream, link);
		if (stream->side.request &&
		    stream->side.out_len < HOLD_STREAM / 2)
			request_client_drained(stream->side.request);
	}
}

bool
stream_send_buf(struct conn *side, struct buf *buf)
{
	struct stream *stream = stream_of(side);

	if (stream->is_sink || !takes(stream)) {
		bool is_sink = stream->is_sink;

		buf_give(&side->worker->bufs, &buf);
		return is_sink;
	}
	if (side->out)
		side->out_last->next = buf;
	else
		side->out = buf;
	side->out_last = buf;
	side->out_len += (uint32_t)buf_len(buf);
	stream->h2->held += (uint32_t)buf_len(buf);
	wake(stream);
	return true;
}

void
stream_send_eof(struct conn *side)
{
	struct stream *stream = stream_of(side);

	if (!takes(stream))
		return;
	stream->is_ended = true;
	side->wrote_eof = true;
	wake(stream);
}

bool
stream_send_message(struct conn *side, char *head, size_t head_len,
    size_t behind, bool is_whole)
{
	if (!stream_send_head(side, head, head_len, is_whole && behind == 0))
		return false;
	if (behind > 0 && !stream_send_bytes(side, head + head_len, behind))
		return false;
	if (is_whole && behind > 0)
		stream_send_eof(side);
	return true;
}

bool
stream_send_body(struct conn *side, char *head, size_t head_len,
    const char *bytes, size_t len, struct body *body)
{
	struct stream *stream = stream_of(side);
	bool has_trailers =
	    body->is_done && body->trailers && buf_len(body->trailers) > 0;

	if (stream->is_sink)
		return true;
	if (head_len > 0 && !stream_send_head(side, head, head_len,
	                        body->is_done && len == 0 && !has_trailers))
		return false;
	if (stream->is_ended)
		return stream->h2 != NULL;
	if (len > 0 && !stream_send_bytes(side, bytes, len))
		return false;
	if (!body->is_done)
		return true;
	if (!takes(stream))
		return false;
	if (has_trailers) {
		stream->trailers = body->trailers;
		body->trailers = NULL;
	}
	stream_send_eof(side);
	return true;
}

void
stream_sent(struct stream *stream, size_t len)
{
	struct conn *side = &stream->side;
	bool had_to_wait = side->out_len + len >= OUT_HIGH / 2;

	if (side->out) {
		if (side->is_client)
			client_flushed(side);
		if (side->out_len >= OUT_HIGH / 2 || !had_to_wait)
			return;
	} else if (side->is_client) {
		/* Only for a reader that does not read: all has been read. */
		if (!side->request || side->request->request_body.is_done)
			conn_no_deadline(side);
	}
	if (!side->request)
		return;
	if (side->is_client)
		request_client_drained(side->request);
	else
		request_upstream_drained(side->request);
}

/* ---- receiving ---- */

static void
give_window(struct stream *stream)
{
	if (stream->unconsumed == 0 || !stream->h2 || stream->h2->is_ending)
		return;
	nghttp2_session_consume_stream(
	    stream->h2->session, stream->id, stream->unconsumed);
	nghttp2_session_consume_connection(stream->h2->session, stream->owed);
	stream->h2->held_in -= stream->unconsumed;
	stream->unconsumed = stream->owed = 0;
	h2_wants_flush(stream->h2);
}

static size_t
tell(struct conn *side, char *bytes, size_t len)
{
	if (side->is_client)
		return request_body(side->request, bytes, len);
	request_response(side->request, bytes, len);
	return len;
}

/* To the request; what it does not take waits. */
static void
feed(struct stream *stream, char *bytes, size_t len)
{
	struct conn *side = &stream->side;
	size_t used = tell(side, bytes, len);

	if (!side->request)
		return;
	if (used < len) {
		if (conn_stash(side, bytes + used, len - used))
			conn_pause(side);
		else if (side->is_client)
			request_fail(side->request, FAIL_OVERLOAD);
	}
	if (!side->is_paused)
		give_window(stream);
}

void
stream_received(struct stream *stream, char *bytes, size_t len)
{
	struct conn *side = &stream->side;
	char behind[BEHIND_MAX];

	stream->unconsumed += (uint32_t)len;
	stream->h2->held_in += (uint32_t)len;
	/* The connection's window shall stop nobody: it is given back at once,
	 * unless a client has made us hold much. An upstream's is always: what
	 * stands there are many clients' bytes. */
	if (!stream->h2->is_upstream && stream->h2->held_in > HOLD_MAX)
		stream->owed += (uint32_t)len;
	else
		nghttp2_session_consume_connection(stream->h2->session, len);
	if (!side->request) { /* answered already: nobody wants it */
		give_window(stream);
		return;
	}
	if (side->in || side->is_paused) {
		if (!conn_stash(side, bytes, len))
			stream_reset(stream, NGHTTP2_INTERNAL_ERROR);
		return;
	}
	/* The next frame stands behind these bytes, and framing anew may write
	 * there. */
	memcpy(behind, bytes + len, sizeof(behind));
	feed(stream, bytes, len);
	memcpy(bytes + len, behind, sizeof(behind));
}

static void
tell_end(struct stream *stream)
{
	struct conn *side = &stream->side;

	if (!side->request) {
		stream->owes_end = false;
		return;
	}
	if (side->is_client)
		stream->owes_end = !request_body_end(side->request);
	else {
		stream->owes_end = false;
		request_response_end(side->request);
	}
}

void
stream_received_end(struct stream *stream)
{
	if (stream->is_measured && stream->promised > 0) {
		stream_reset(stream, NGHTTP2_PROTOCOL_ERROR);
		return;
	}
	stream->side.is_eof = true;
	stream->side.has_more = true; /* so that resuming comes back to us */
	stream->owes_end = true;
	if (!stream->side.in && !stream->side.is_paused)
		tell_end(stream);
}

void
stream_run(struct conn *side)
{
	struct stream *stream = stream_of(side);
	struct worker *worker = side->worker;
	struct buf *stash = side->in;

	if (stream->is_lost) {
		stream_closed(stream, NGHTTP2_REFUSED_STREAM);
		return;
	}
	if (side->is_paused)
		return;
	if (!side->request) {
		buf_give(&worker->bufs, &side->in);
	} else if (stash) {
		char *bytes = worker->rx + RX_HEADROOM;
		size_t len = buf_len(stash);

		side->in = NULL;
		memcpy(bytes, stash->data + stash->start, len);
		buf_give(&worker->bufs, &stash);
		feed(stream, bytes, len);
	}
	if (side->is_paused || side->in)
		return;
	give_window(stream);
	if (stream->owes_end)
		tell_end(stream);
}

/* ---- the end ---- */

void
stream_reset(struct stream *stream, uint32_t code)
{
	if (stream->is_reset || !stream->h2 || stream->h2->is_ending)
		return;
	stream->is_reset = true;
	if (stream->id != 0) {
		h2_submit_reset(stream, code);
		return;
	}
	stream->is_lost =
	    true; /* nghttp2 does not know it: told by ourselves */
	conn_make_ready(&stream->side);
}

void
stream_released(struct conn *side)
{
	struct stream *stream = stream_of(side);

	side->request = NULL;
	conn_no_deadline(side);
	if (stream->h2 && !side->is_client)
		h2_client_request_gone(stream->h2);
	if (!stream->h2 || stream->id == 0) {
		stream_closed(stream, 0);
		return;
	}
	buf_give(&side->worker->bufs, &side->in);
	side->is_paused = false;
	give_window(stream);
	if (!side->is_client && !(stream->is_ended && side->is_eof))
		stream_reset(stream, NGHTTP2_CANCEL);
	else if (!stream->is_ended)
		stream_reset(stream, NGHTTP2_INTERNAL_ERROR);
	else if (side->out)
		conn_deadline(side, STALL_S * NSEC_PER_SEC);
}

void
stream_timeout(struct conn *side)
{
	struct stream *stream = stream_of(side);

	h2_glitch(stream->h2, GLITCH_STALLED);
	stream_reset(stream, NGHTTP2_CANCEL);
}

/* Nothing refers to it any more. */
static void
bury(struct stream *stream)
{
	struct conn *side = &stream->side;
	struct worker *worker = side->worker;

	assert(!side->request && side->phase != CONN_ENDED);
	side->phase = CONN_ENDED;
	wheel_forget(&side->timer);
	buf_give(&worker->bufs, &side->in);
	buf_give(&worker->bufs, &stream->trailers);
	while (side->out) {
		struct buf *buf = side->out;

		side->out = buf->next;
		buf_give(&worker->bufs, &buf);
	}
	if (side->is_ready)
		TAILQ_REMOVE(&worker->ready, side, ready_link);
	side->is_ready = false;
	TAILQ_INSERT_TAIL(&worker->ended, side, ready_link);
}

void
stream_closed(struct stream *stream, uint32_t code)
{
	struct conn *side = &stream->side;
	struct h2 *h2 = stream->h2;
	enum fail why = h2 && h2->is_ending ? (enum fail)h2->why : FAIL_NONE;

	if (h2 && side->request && !side->is_client) {
		h2_client_end_stream(stream, code);
		h2_client_request_gone(h2);
	}
	if (h2)
		h2_forget(stream);
	/* The answer is whole, its client still takes it. */
	if (side->request && !side->is_client && side->is_eof &&
	    code == NGHTTP2_NO_ERROR)
		return;
	side->is_broken = true;
	side->saw_close = h2 && h2->is_leaving && !side->is_client;
	if (side->request && side->is_client)
		request_abandon(side->request, FAIL_CLIENT_GONE);
	else if (side->request)
		request_stream_lost(side->request, code, why);
	if (side->phase != CONN_ENDED)
		bury(stream);
}
