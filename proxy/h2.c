/*
 * The session: bytes into nghttp2, its callbacks to streams, frames out of it.
 * See h2.h for the two rules. What a header block begins is h2_server.c.
 *
 *   h2_input   -> mem_recv -> callbacks -> streams -> requests
 *   a turn's end: h2_flush_all -> mem_send -> worker->frames -> conn_send
 */
#include "proxy/h2.h"

#include <assert.h>
#include <stdlib.h>

#include "proxy/request.h"

enum {
	FLUSH_MAX = 1 << 20, /* frames of one session in one turn */
	FRAME_HEAD = 9,
	IN_PLACE_MIN = 4096, /* payload that is worth a record of its own */
};

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
		h2->reading = NULL;
		h2_text_release(&h2->text);
		break;
	case NGHTTP2_DATA:
		if (stream && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
			stream_received_end(stream);
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
		h2->sent_data += 2; /* its stream and the connection */
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

static void
progress(struct h2 *h2)
{
	if (h2->is_upstream)
		h2_client_progress(h2);
	else
		h2_server_progress(h2);
}

static void
settle(struct conn *conn)
{
	struct h2 *h2 = conn->h2;

	if (h2->is_failed || (!nghttp2_session_want_read(h2->session) &&
	                         !nghttp2_session_want_write(h2->session)))
		h2_fail(h2);
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
	progress(h2);
	if (conn->out_len >= OUT_HIGH) /* who does not read is not read */
		conn_pause(conn);
}

/* ---- sending ---- */

static bool
send_gathered(struct h2 *h2)
{
	struct worker *worker = h2->conn->worker;
	uint32_t len = h2->gathered;

	h2->gathered = 0;
	return len == 0 || conn_send(h2->conn, worker->frames, len);
}

static bool
gather(struct h2 *h2, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		size_t room = FRAMES_SIZE - h2->gathered;
		size_t n = len < room ? len : room;

		memcpy(h2->conn->worker->frames + h2->gathered, at, n);
		h2->gathered += (uint32_t)n;
		at += n;
		len -= n;
		if (h2->gathered == FRAMES_SIZE && !send_gathered(h2))
			return false;
	}
	return true;
}

static void
drop_first(struct conn *side)
{
	struct buf *buf = side->out;

	side->out = buf->next;
	if (!side->out)
		side->out_last = NULL;
	buf_give(&side->worker->bufs, &buf);
}

/* `n` bytes of the first buffer have left. */
static void
took(struct stream *stream, size_t n)
{
	struct conn *side = &stream->side;

	side->out->start += (uint32_t)n;
	side->out_len -= (uint32_t)n;
	stream->h2->held -= (uint32_t)n;
	if (buf_len(side->out) == 0)
		drop_first(side);
}

static bool
submit_trailers(struct stream *stream)
{
	nghttp2_nv fields[H2_NV_MAX];
	struct buf *trailers = stream->trailers;
	size_t n = h2_nv_of(trailers->data + trailers->start, buf_len(trailers),
	    H2_TRAILERS, false, fields, H2_NV_MAX);

	return n > 0 && nghttp2_submit_trailer(
	                    stream->h2->session, stream->id, fields, n) == 0;
}

static ssize_t
read_payload(nghttp2_session *session, int32_t id, uint8_t *to, size_t len,
    uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct stream *stream = source->ptr;
	size_t have = stream->side.out_len;

	(void)session, (void)id, (void)to, (void)user;
	if (have == 0 && !stream->is_ended) {
		stream->is_deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (have > len)
		return (ssize_t)len;
	if (stream->is_ended) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (stream->trailers && submit_trailers(stream))
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	}
	return (ssize_t)have;
}

/* The head of a frame goes right before its payload, over what has left
 * already: both are one record, and nothing is copied. */
static bool
send_in_place(struct h2 *h2, struct buf *buf, const uint8_t *head, size_t len)
{
	char *at = buf->data + buf->start - FRAME_HEAD;

	if (!send_gathered(h2))
		return false;
	memcpy(at, head, FRAME_HEAD);
	return conn_send(h2->conn, at, FRAME_HEAD + len);
}

static int
send_payload(nghttp2_session *session, nghttp2_frame *frame,
    const uint8_t *frame_head, size_t len, nghttp2_data_source *source,
    void *user)
{
	struct h2 *h2 = of(user);
	struct stream *stream = source->ptr;
	struct conn *side = &stream->side;
	size_t left = len;

	(void)session, (void)frame;
	/* nghttp2 comes back with the same frame. */
	if (h2->conn->out || h2->flushed > FLUSH_MAX)
		return NGHTTP2_ERR_WOULDBLOCK;
	h2->flushed += (uint32_t)len;
	if (h2->conn->tls && len >= IN_PLACE_MIN &&
	    side->out->start >= FRAME_HEAD && buf_len(side->out) >= len) {
		if (!send_in_place(h2, side->out, frame_head, len))
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		took(stream, len);
		left = 0;
	} else if (!gather(h2, frame_head, FRAME_HEAD)) {
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	while (left > 0) {
		const struct buf *buf = side->out;
		size_t n = buf_len(buf) < left ? buf_len(buf) : left;

		if (!gather(h2, buf->data + buf->start, n))
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		took(stream, n);
		left -= n;
	}
	stream_sent(stream, len);
	return 0;
}

static ssize_t
frame_payload_max(nghttp2_session *session, uint8_t type, int32_t id,
    int32_t connection_window, int32_t stream_window, uint32_t max, void *user)
{
	uint32_t most = max < FRAME_PAYLOAD ? max : FRAME_PAYLOAD;

	(void)session, (void)type, (void)id, (void)user;
	(void)connection_window, (void)stream_window;
	return (ssize_t)most; /* nghttp2 cuts it to the windows */
}

static bool
write_frames(struct h2 *h2)
{
	const uint8_t *bytes;
	ssize_t n;

	while (!h2->conn->out) {
		n = nghttp2_session_mem_send(h2->session, &bytes);
		if (n < 0 || (n > 0 && !gather(h2, bytes, (size_t)n)))
			return false;
		if (n == 0)
			break;
	}
	return send_gathered(h2);
}

static bool
flush(struct h2 *h2)
{
	bool is_written;

	h2->flushed = 0;
	conn_cork(h2->conn);
	is_written = write_frames(h2);
	if (!conn_uncork(h2->conn) || !is_written)
		return false;
	if (!h2->conn->out && h2->flushed > FLUSH_MAX)
		h2_wants_flush(h2); /* others first */
	return true;
}

void
h2_wants_flush(struct h2 *h2)
{
	if (h2->is_unflushed || h2->is_ending)
		return;
	h2->is_unflushed = true;
	TAILQ_INSERT_TAIL(&h2->conn->worker->unflushed, h2, link);
}

static void
flush_one(struct h2 *h2)
{
	struct conn *conn = h2->conn;
	bool is_sent = true;

	if (conn->phase == CONN_HANDSHAKE || conn->phase == CONN_CONNECTING)
		return;
	if (!conn->out) {
		h2->is_running = true;
		is_sent = flush(h2);
		h2->is_running = false;
	}
	if (!is_sent) {
		conn->is_broken = true;
		conn_end(conn);
		return;
	}
	stream_untighten(h2);
	progress(h2);
	settle(conn);
}

void
h2_flush_long(struct h2 *h2)
{
	/* It stays on the list of those that wait: what comes after this is
	 * sent at the turn's end. */
	if (!h2->is_running && !h2->is_ending && !h2->is_failed &&
	    !h2->conn->out)
		flush_one(h2);
}

void
h2_flush_all(struct worker *worker)
{
	struct h2 *h2;
	size_t turns = 0;

	/* Who comes back, having sent its share, waits for the next turn. */
	TAILQ_FOREACH (h2, &worker->unflushed, link)
		turns++;
	while (turns-- > 0 && (h2 = TAILQ_FIRST(&worker->unflushed))) {
		TAILQ_REMOVE(&worker->unflushed, h2, link);
		h2->is_unflushed = false;
		flush_one(h2);
	}
}

void
h2_drained(struct conn *conn)
{
	h2_wants_flush(conn->h2);
	progress(conn->h2);
	if (conn->is_paused)
		conn_resume(conn);
}

/* ---- submitting ---- */

bool
h2_submit_head(struct stream *stream, char *head, size_t len, bool is_end)
{
	struct h2 *h2 = stream->h2;
	nghttp2_nv fields[H2_NV_MAX];
	nghttp2_data_provider payload = {
	    .source.ptr = stream, .read_callback = read_payload};
	bool is_switch =
	    stream->side.request && stream->side.request->asks_upgrade;
	enum h2_block block =
	    h2->is_upstream ? (is_switch ? H2_CONNECT : H2_REQUEST)
	    : is_switch && memcmp(head + 9, "101", 3) == 0 ? H2_SWITCHED
	                                                   : H2_RESPONSE;
	size_t n = h2_nv_of(
	    head, len, block, h2->conn->tls != NULL, fields, H2_NV_MAX);

	if (n == 0)
		return false;
	if (h2->is_upstream) {
		int32_t id = nghttp2_submit_request(h2->session, NULL, fields,
		    n, is_end ? NULL : &payload, stream);

		h2->n_served++;
		stream->id = id > 0 ? id : 0;
		return id > 0;
	}
	if (block == H2_RESPONSE && head[9] == '1') /* interim */
		return nghttp2_submit_headers(h2->session, NGHTTP2_FLAG_NONE,
		           stream->id, NULL, fields, n, NULL) == 0;
	assert(!stream->is_answered);
	stream->is_answered = true;
	return nghttp2_submit_response(h2->session, stream->id, fields, n,
	           is_end ? NULL : &payload) == 0;
}

void
h2_submit_reset(struct stream *stream, uint32_t code)
{
	nghttp2_submit_rst_stream(
	    stream->h2->session, NGHTTP2_FLAG_NONE, stream->id, code);
	h2_wants_flush(stream->h2);
}

void
h2_terminate(struct h2 *h2, uint32_t code)
{
	if (h2->is_ending)
		return;
	h2->is_leaving = true;
	nghttp2_session_terminate_session(h2->session, code);
	h2_wants_flush(h2);
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
	nghttp2_session_callbacks_set_send_data_callback(to, send_payload);
	nghttp2_session_callbacks_set_data_source_read_length_callback(
	    to, frame_payload_max);
	return to;
}
