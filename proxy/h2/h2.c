/*
 * The session's receiving half and its life: bytes into nghttp2, its callbacks
 * to streams. See h2.h for the two rules. What a header block begins is
 * server.c; what goes out, send.c.
 *
 *   h2_input   -> mem_recv -> callbacks -> streams -> requests
 */
#include "proxy/h2/h2.h"

#include <assert.h>
#include <stdlib.h>

#include "proxy/request.h"

static struct h2 *
of(void *user)
{
	return user;
}

static struct stream *
stream_by_id(const struct h2 *h2, int32_t id)
{
	return nghttp2_session_get_stream_user_data(h2->session, id);
}

/* ---- receiving ---- */

static int
on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
	struct h2 *h2 = of(user);

	(void)session;
	h2_strict_frame(h2, hd);
	return h2->is_failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int
on_begin_headers(
    nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2 *h2 = of(user);

	(void)session;
	if (!h2->is_upstream)
		return h2_server_begin_block(h2, frame);
	h2_client_begin_block(h2, frame);
	return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *user)
{
	struct h2 *h2 = of(user);

	(void)session, (void)frame, (void)flags;
	if (!h2->reading)
		return 0;
	if (name_len == 8 && !h2->is_upstream &&
	    memcmp(name, "priority", 8) == 0)
		h2_server_note_priority(
		    h2, (struct span){(const char *)value, value_len});
	if (!h2_text_field(&h2->text,
	        (struct span){(const char *)name, name_len},
	        (struct span){(const char *)value, value_len}) &&
	    h2->text.verdict == H2_FLOOD) {
		h2_glitch(h2, GLITCH_HEADER_LIST);
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return 0;
}

/* What nghttp2 would leave out in silence is malformed to us. */
static int
on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *user)
{
	(void)session, (void)frame, (void)name, (void)name_len;
	(void)value, (void)value_len, (void)flags, (void)user;
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* False: more than the head has promised, or no head at all. The stream is
 * reset. */
static bool
keeps_promise(struct stream *stream, size_t len)
{
	bool is_early = stream->h2->is_upstream && !stream->is_answered;

	if (stream->is_reset)
		return false;
	if (!stream->is_measured && !is_early)
		return true;
	if (is_early || len > stream->promised) {
		stream_reset(stream, NGHTTP2_PROTOCOL_ERROR);
		return false;
	}
	stream->promised -= len;
	return true;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t id,
    const uint8_t *bytes, size_t len, void *user)
{
	struct h2 *h2 = of(user);
	struct stream *stream = stream_by_id(h2, id);

	(void)flags;
	if (stream && !keeps_promise(stream, len)) {
		nghttp2_session_consume(session, id, len);
		return 0;
	}
	h2_wants_flush(h2);
	if (stream)
		stream_received(stream, (char *)(uintptr_t)bytes, len);
	else
		nghttp2_session_consume(session, id, len);
	return 0;
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2 *h2 = of(user);
	struct stream *stream = stream_by_id(h2, frame->hd.stream_id);

	(void)session;
	h2_wants_flush(h2);
	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		if (stream && stream == h2->reading && h2->is_upstream)
			h2_client_end_block(h2, stream, frame);
		else if (stream && stream == h2->reading)
			h2_server_end_block(h2, stream, frame);
		else if (stream && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
			stream_received_end(stream); /* nobody's trailers */
		h2->reading = NULL;
		h2_text_release(&h2->text);
		break;
	case NGHTTP2_DATA:
		if (stream && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
			stream_received_end(stream);
		break;
	case NGHTTP2_SETTINGS:
		if (h2->is_upstream && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
			h2_client_settings(h2);
		break;
	case NGHTTP2_GOAWAY:
		h2->is_leaving = true;
		if (h2->is_upstream)
			h2_client_unlist(h2);
		break;
	default:
		break;
	}
	return 0;
}

static int
on_invalid_frame(
    nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
	(void)session;
	h2_strict_invalid(of(user), frame, error);
	return 0;
}

static int
on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct h2 *h2 = of(user);
	struct stream *stream = stream_by_id(h2, id);

	(void)session;
	if (h2->reading == stream)
		h2->reading = NULL;
	if (!stream)
		return 0;
	if (stream->side.request && !stream->is_reset)
		h2_glitch(h2, GLITCH_RAPID_RESET);
	stream_closed(stream, code);
	return 0;
}

static int
on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2 *h2 = of(user);
	struct stream *stream;

	(void)session;
	switch (frame->hd.type) {
	case NGHTTP2_RST_STREAM:
		h2_strict_sent_reset(h2, frame);
		break;
	case NGHTTP2_DATA:
		h2_glitch_allow(h2, frame->hd.length);
		/* fall through */
	case NGHTTP2_HEADERS:
		/* Answered before the request was whole: the rest is not
		 * wanted (RFC 9113 section 8.1). */
		stream = stream_by_id(h2, frame->hd.stream_id);
		if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && stream &&
		    !h2->is_upstream && !stream->side.is_eof)
			stream_reset(stream, NGHTTP2_NO_ERROR);
		break;
	default:
		break;
	}
	return 0;
}

void
h2_progress(struct h2 *h2)
{
	if (h2->is_upstream)
		h2_client_progress(h2);
	else
		h2_server_progress(h2);
}

void
h2_input(struct conn *conn, char *bytes, size_t len)
{
	struct h2 *h2 = conn->h2;
	ssize_t used;

	assert(!h2->is_running);
	h2->is_running = true;
	used = h2->is_failed ? (ssize_t)len
	                     : h2_strict_recv(h2, (const uint8_t *)bytes, len);
	h2->is_running = false;
	if (used < 0) { /* nothing sensible can be said any more */
		h2_glitch(h2, used == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS
		                  ? GLITCH_CONTINUATION
		              : used == NGHTTP2_ERR_FLOODED ? GLITCH_PING
		                                            : GLITCH_PROTOCOL);
		h2->is_failed = true;
	}
	h2_wants_flush(h2);
	h2_progress(h2);
	if (conn->out_len >= OUT_HIGH) /* who does not read is not read */
		conn_pause(conn);
}

/* ---- life ---- */

struct stream *
h2_stream_new(struct h2 *h2, int32_t id)
{
	struct conn *conn = h2->conn;
	struct stream *stream = slab_take(&conn->worker->streams);

	if (!stream)
		return NULL;
	memset(stream, 0, sizeof(*stream));
	stream->side.worker = conn->worker;
	stream->side.fd = -1;
	stream->side.is_stream = true;
	stream->side.is_watched = true; /* by its connection */
	stream->side.is_client = !h2->is_upstream;
	stream->side.is_secure = conn->is_secure;
	stream->side.phase = CONN_HEAD;
	stream->h2 = h2;
	stream->id = id;
	LIST_INSERT_HEAD(&h2->streams, stream, link);
	h2->n_streams++;
	return stream;
}

void
h2_forget(struct stream *stream)
{
	struct h2 *h2 = stream->h2;

	if (stream->id != 0 && !h2->is_ending)
		nghttp2_session_set_stream_user_data(
		    h2->session, stream->id, NULL);
	if (!h2->is_ending)
		nghttp2_session_consume_connection(h2->session, stream->owed);
	h2->held_in -= stream->unconsumed;
	h2->held -= stream->side.out_len;
	h2->heads -= stream->head_len;
	LIST_REMOVE(stream, link);
	stream->h2 = NULL;
	assert(h2->n_streams > 0);
	h2->n_streams--;
	if (!h2->is_upstream)
		h2_server_stream_gone(h2);
	else if (!h2->is_running)
		h2_client_progress(h2);
}

struct h2 *
h2_new(struct conn *conn, bool is_upstream)
{
	struct h2_kit *kit = conn->worker->h2;
	struct h2 *h2 = calloc(1, sizeof(*h2));
	int made;

	if (!h2)
		return NULL;
	LIST_INIT(&h2->streams);
	h2->conn = conn;
	h2->is_upstream = is_upstream;
	h2->scan.left = NGHTTP2_CLIENT_MAGIC_LEN;
	h2->refilled = conn->worker->now;
	made = is_upstream
	           ? nghttp2_session_client_new3(&h2->session, kit->callbacks,
	                 h2, kit->client, &kit->memory.mem)
	           : nghttp2_session_server_new3(&h2->session, kit->callbacks,
	                 h2, kit->server, &kit->memory.mem);
	if (made != 0) {
		free(h2);
		return NULL;
	}
	return h2;
}

static void
end_streams(struct h2 *h2)
{
	h2->is_ending = true;
	if (h2->is_upstream)
		h2_client_unlist(h2); /* what is tried again goes elsewhere */
	while (!LIST_EMPTY(&h2->streams))
		stream_closed(LIST_FIRST(&h2->streams), NGHTTP2_INTERNAL_ERROR);
}

void
h2_fail(struct h2 *h2)
{
	h2->is_failed = true;
	if (h2->is_running || h2->is_ending)
		return; /* whoever runs it looks afterwards */
	if (h2->is_upstream) {
		conn_end(h2->conn);
		return;
	}
	/* A last GOAWAY is on its way: no reset may overtake it. */
	end_streams(h2);
	h2->conn->has_unread = true;
	conn_finish(h2->conn);
}

void
h2_free(struct conn *conn)
{
	struct h2 *h2 = conn->h2;
	struct worker *worker = conn->worker;

	assert(!h2->is_running);
	end_streams(h2);
	if (h2->is_unflushed)
		TAILQ_REMOVE(&worker->unflushed, h2, link);
	h2_text_release(&h2->text);
	nghttp2_session_del(h2->session);
	free(h2);
	conn->h2 = NULL;
}

nghttp2_session_callbacks *
h2_callbacks_new(void)
{
	nghttp2_session_callbacks *to;

	if (nghttp2_session_callbacks_new(&to) != 0)
		return NULL;
	nghttp2_session_callbacks_set_on_begin_frame_callback(
	    to, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(
	    to, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(to, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(
	    to, on_invalid_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(to, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(to, on_frame);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
	    to, on_invalid_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(
	    to, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(to, on_sent);
	h2_send_callbacks(to);
	return to;
}
