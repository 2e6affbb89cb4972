/*
 * The session's sending half: what streams have submitted becomes frames at
 * the turn's end, all of them in one send, or a few when there is much.
 *
 *   a turn's end: h2_flush_all -> mem_send -> worker->frames -> conn_send
 */
#include <assert.h>

#include "proxy/h2/h2.h"

enum {
	FLUSH_MAX = 1 << 20, /* frames of one session in one turn */
	FRAME_HEAD = 9,
	IN_PLACE_MIN = 4096, /* payload that is worth a record of its own */
};

/* ---- payload ---- */

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
	struct h2 *h2 = user;
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
		if (!h2->is_announced && !h2->is_upstream) /* the very first */
			h2_announce(h2, h2->conn->worker->frames, (size_t)n);
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
settle(struct conn *conn)
{
	struct h2 *h2 = conn->h2;

	if (h2->is_failed || (!nghttp2_session_want_read(h2->session) &&
	                         !nghttp2_session_want_write(h2->session)))
		h2_fail(h2);
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
	h2_progress(h2);
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
	h2_progress(conn->h2);
	if (conn->is_paused)
		conn_resume(conn);
}

void
h2_send_callbacks(nghttp2_session_callbacks *to)
{
	nghttp2_session_callbacks_set_send_data_callback(to, send_payload);
	nghttp2_session_callbacks_set_data_source_read_length_callback(
	    to, frame_payload_max);
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
