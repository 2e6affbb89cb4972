/*
 * A client's session: its beginning, requests out of header blocks, deadlines
 * of the connection, leaving.
 *
 * What the connection waits for decides its deadline: the first request's end
 * and any header block's are absolute, an idle connection is told to go, and a
 * peer that does not read what is sent is left. While streams are open each
 * has its own deadlines and the connection has none.
 */
#include <arpa/inet.h>
#include <assert.h>

#include "proxy/h2/h2.h"
#include "proxy/request.h"
#include "proxy/websocket.h"

enum {
	WINDOW =
	    1 << 19, /* of the connection; a stream's is the default, 64 KiB */
	NOTICE_MS = 500, /* between the notice and the end of new streams */
	REQUESTS_MAX = 100000, /* on one connection */
	HPACK_TABLE = 4096,    /* bytes that one may refer to: the default */
};

enum awaits {
	AWAITS_FIRST, /* the first request, since the accept */
	AWAITS_NOTHING,
	AWAITS_BLOCK, /* a header block's end */
	AWAITS_ROOM,  /* the peer reads */
	AWAITS_IDLE,
};

static const struct listener_cfg *
listener_of(const struct conn *conn)
{
	return snapshot_listener(conn->worker->snapshot, conn->client.listener);
}

/* ---- the beginning ---- */

bool
h2_is_preface(const char *bytes, size_t len)
{
	return len >= 4 && memcmp(bytes, "PRI ", 4) == 0;
}

bool
h2_accept(struct conn *conn)
{
	const struct listener_cfg *cfg = listener_of(conn);
	nghttp2_settings_entry settings[] = {
	    {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0},
	    {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 0},
	    {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
	    {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
	};
	struct h2 *h2;

	if (!cfg || !(cfg->protocols & PROTOCOL_H2))
		return false;
	h2 = h2_new(conn, false);
	if (!h2)
		return false;
	conn->h2 = h2;
	h2->max_streams = cfg->limits.max_streams;
	settings[0].value = UINT32_MAX; /* to nghttp2, see h2_announce */
	settings[1].value = (uint32_t)cfg->limits.max_header;
	nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
	    sizeof(settings) / sizeof(settings[0]));
	nghttp2_session_set_local_window_size(
	    h2->session, NGHTTP2_FLAG_NONE, 0, WINDOW);
	h2_wants_flush(h2);
	return true;
}

/*
 * nghttp2 ends the connection for one stream more than it has announced, and
 * all the others with it; RFC 9113 section 5.1.2 leaves it at the stream. So
 * it is told of no limit, the client of ours, and we keep to it.
 */
void
h2_announce(struct h2 *h2, char *frame, size_t len)
{
	enum { TYPE_AT = 3, ID_AT = 9, VALUE_AT = 11, ENTRY_END = 15 };
	uint32_t value = htonl(h2->max_streams);

	assert(len >= ENTRY_END && frame[TYPE_AT] == NGHTTP2_SETTINGS &&
	       frame[ID_AT] == 0 &&
	       frame[ID_AT + 1] == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	memcpy(frame + VALUE_AT, &value, sizeof(value));
	h2->is_announced = true;
}

/* ---- deadlines ---- */

static enum awaits
awaited(const struct h2 *h2)
{
	const struct conn *conn = h2->conn;

	if (conn->out)
		return AWAITS_ROOM;
	if (h2->text.pool)
		return conn->client.requests > 0 ? AWAITS_BLOCK : AWAITS_FIRST;
	if (h2->n_streams > 0)
		return AWAITS_NOTHING;
	return conn->client.requests > 0 ? AWAITS_IDLE : AWAITS_FIRST;
}

void
h2_server_progress(struct h2 *h2)
{
	struct conn *conn = h2->conn;
	const struct listener_cfg *cfg = listener_of(conn);
	enum awaits now = awaited(h2);

	if (now == h2->awaits || h2->is_ending)
		return;
	h2->awaits = (uint8_t)now;
	if (now == AWAITS_NOTHING)
		conn_no_deadline(conn);
	else if (now == AWAITS_BLOCK)
		conn_deadline(
		    conn, cfg ? cfg->limits.header_timeout : 10 * NSEC_PER_SEC);
	else
		conn_deadline(
		    conn, cfg ? cfg->limits.idle_timeout : 60 * NSEC_PER_SEC);
}

void
h2_timeout(struct conn *conn)
{
	struct h2 *h2 = conn->h2;

	if (h2->is_ending || h2->awaits == AWAITS_ROOM) {
		conn_end(conn);
		return;
	}
	if (h2->awaits == AWAITS_BLOCK || h2->awaits == AWAITS_FIRST)
		h2_glitch(h2, GLITCH_IDLE_STREAM);
	h2_terminate(h2, NGHTTP2_NO_ERROR);
}

/* ---- leaving ---- */

void
h2_leave(struct conn *conn)
{
	struct h2 *h2 = conn->h2;

	if (h2->is_ending || h2->is_leaving)
		return;
	h2->is_leaving = true;
	nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
	    nghttp2_session_get_last_proc_stream_id(h2->session),
	    NGHTTP2_NO_ERROR, NULL, 0);
	h2_wants_flush(h2);
}

void
h2_drain(struct conn *conn)
{
	struct h2 *h2 = conn->h2;
	nsec_t now = conn->worker->now;

	if (h2->is_ending)
		return;
	if (h2->notice_at == 0) {
		h2->notice_at = now;
		nghttp2_submit_shutdown_notice(h2->session);
	} else if (!h2->is_leaving &&
	           now - h2->notice_at >= NOTICE_MS * NSEC_PER_MSEC) {
		h2_leave(conn);
	} else if (h2->is_leaving && h2->n_streams == 0 && !conn->out) {
		h2_fail(h2);
		return;
	} else {
		return;
	}
	h2_wants_flush(h2);
}

/* ---- blocks ---- */

static int
begin_stream(struct h2 *h2, int32_t id)
{
	struct conn *conn = h2->conn;
	const struct listener_cfg *cfg = listener_of(conn);
	struct stream *stream = cfg ? h2_stream_new(h2, id) : NULL;

	if (!stream)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	stream->side.client.listener = conn->client.listener;
	stream->side.client.peer = conn->client.peer;
	stream->side.client.proxied = conn->client.proxied;
	nghttp2_session_set_stream_user_data(h2->session, id, stream);
	h2->reading = stream;
	h2_text_begin(
	    &h2->text, &conn->worker->bufs, H2_REQUEST, cfg->limits.max_header);
	if (conn->phase == CONN_HEAD)
		client_set_busy(conn);
	else
		conn->client.requests++;
	if (conn->client.requests >= REQUESTS_MAX && h2->notice_at == 0)
		h2_drain(conn);
	return 0;
}

/* Its header block is read all the same: it is part of the compression. */
static int
refuse_stream(struct h2 *h2, int32_t id)
{
	nghttp2_submit_rst_stream(
	    h2->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
	h2_glitch(h2, GLITCH_EXCESS_STREAM);
	return h2->is_failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

int
h2_server_begin_block(struct h2 *h2, const nghttp2_frame *frame)
{
	int32_t id = frame->hd.stream_id;
	struct stream *stream;

	h2_text_release(&h2->text); /* of one that never ended */
	h2->reading = NULL;
	h2->has_priority = false;
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		return h2->n_streams < h2->max_streams ? begin_stream(h2, id)
		                                       : refuse_stream(h2, id);
	stream = nghttp2_session_get_stream_user_data(h2->session, id);
	if (!stream || !stream->side.request)
		return 0;
	h2->reading = stream;
	h2_text_begin(&h2->text, &h2->conn->worker->bufs, H2_TRAILERS,
	    H1_TRAILERS_MAX - H1_TRAILER_FIELDS_MAX - 8);
	return 0;
}

/*
 * "u=0..7" and "i" of a Priority field (RFC 9218); anything else, and what
 * cannot be read, changes nothing.
 */
void
h2_server_note_priority(struct h2 *h2, struct span value)
{
	const char *at = value.ptr, *end = value.ptr + value.len;

	h2->has_priority = true;
	h2->priority = (nghttp2_extpri){NGHTTP2_EXTPRI_DEFAULT_URGENCY, 0};
	while (at < end) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		size_t len = (size_t)((comma ? comma : end) - at);

		for (; len > 0 && *at == ' '; len--)
			at++;
		if (len == 3 && at[0] == 'u' && at[1] == '=' && at[2] >= '0' &&
		    at[2] <= '7')
			h2->priority.urgency = (uint32_t)(at[2] - '0');
		else if (len == 1 && *at == 'i')
			h2->priority.inc = 1;
		at = comma ? comma + 1 : end;
	}
}

static void
set_priority(struct h2 *h2, struct stream *stream)
{
	if (h2->has_priority)
		nghttp2_session_change_extpri_stream_priority(
		    h2->session, stream->id, &h2->priority, 0);
}

/* The stream's framing is told by frames, not by fields. */
static bool
set_framing(struct h1_head *head, bool is_end)
{
	head->minor = 20;
	head->te_trailers = true;
	if (is_end)
		return head->framing == H1_NO_BODY;
	if (head->wants_upgrade) /* what follows are the tunnel's bytes */
		return head->framing == H1_NO_BODY;
	if (!head->has_length)
		head->framing = H1_FRAMES;
	head->expects_continue =
	    head->count[FIELD_EXPECT] > 0 && head->framing != H1_NO_BODY;
	return true;
}

static void
refuse(struct stream *stream, unsigned status, const char *word)
{
	client_set_busy(&stream->side);
	reply_refuse(&stream->side, status, word, "the request is malformed");
}

/* Heads stay until their requests are done. What fits into a request's own
 * arena is not counted: so many streams are meant. */
static bool
may_hold_head(struct h2 *h2, struct stream *stream, size_t len)
{
	if (len <= sizeof(((struct request *)NULL)->arena) / 2)
		return true;
	if (h2->heads + len > HOLD_HEADS)
		return false;
	stream->head_len = (uint32_t)len;
	h2->heads += (uint32_t)len;
	return true;
}

/*
 * For our bound alone: who has sent what it says, or has said once what stands
 * in the table (Huffman's best is 1.6), may come again and again. A head that
 * is longer says the same many times over.
 */
static void
refuse_large(struct h2 *h2, struct stream *stream, size_t len, size_t sent)
{
	if (len > HPACK_TABLE + 2 * sent)
		h2_glitch(h2, GLITCH_PROVOKED_RESET);
	stream_reset(stream, NGHTTP2_REFUSED_STREAM);
}

/* RFC 8441: whoever asks for another protocol hears that there is none such. */
static bool
is_unknown_protocol(const struct h2_text *text)
{
	return text->pseudo[H2_PROTOCOL].is_set &&
	       !span_ieq(h2_text_pseudo(text, H2_PROTOCOL), SPAN("websocket"));
}

static void
refuse_protocol(struct stream *stream)
{
	const struct fail_row *row = fail_row(FAIL_NO_TUNNEL);

	client_set_busy(&stream->side);
	reply_refuse(&stream->side, row->status, row->word, row->text);
}

static void
begin_request(struct h2 *h2, struct stream *stream, const nghttp2_frame *frame)
{
	bool is_end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	struct worker *worker = h2->conn->worker;
	struct h1_head *head = &worker->parsed;
	char key[WEBSOCKET_KEY];
	struct span text;
	uint32_t scanned = 0;

	if (h2->text.pseudo[H2_PROTOCOL].is_set) {
		websocket_key(&worker->rng, key);
		h2->text.key = key;
	}
	text = h2_text_end(&h2->text);
	stream->side.is_eof = is_end;
	if (h2->text.verdict == H2_TOO_LARGE) {
		refuse(stream, 431, h1_fault_word(H1_FAULT_HEAD_LONG));
		return;
	}
	if (!text.ptr) {
		stream_reset(stream, h2->text.verdict == H2_MALFORMED
		                         ? NGHTTP2_PROTOCOL_ERROR
		                         : NGHTTP2_INTERNAL_ERROR);
		return;
	}
	if (!may_hold_head(h2, stream, text.len)) {
		refuse_large(h2, stream, text.len, frame->hd.length);
		return;
	}
	if (is_unknown_protocol(&h2->text)) {
		refuse_protocol(stream);
		return;
	}
	if (h1_parse_request(text.ptr, text.len, text.len, &scanned, head) !=
	    H1_DONE) {
		refuse(stream, h1_fault_status(head->fault),
		    h1_fault_word(head->fault));
		return;
	}
	if (!set_framing(head, is_end)) {
		stream_reset(stream, NGHTTP2_PROTOCOL_ERROR);
		return;
	}
	stream->is_measured = head->has_length && !head->wants_upgrade;
	stream->promised = head->length;
	set_priority(h2, stream);
	client_set_busy(&stream->side);
	request_begin(&stream->side, worker->rx + RX_HEADROOM, 0);
}

/* Filtered as the trailers of a chunked body are: by the same code. */
bool
h2_take_trailers(struct h2 *h2, struct body *body)
{
	struct span text = h2_text_end(&h2->text);
	struct h1_chunks chunks = {0};
	size_t used, payload, len = 0;

	if (!text.ptr)
		return false;
	if (body->in != H1_FRAMES || body->is_done)
		return true;
	if (!body->trailers)
		body->trailers = buf_take(h2->text.pool, H1_TRAILERS_MAX);
	if (!body->trailers)
		return true;
	if (h1_dechunk(&chunks, (char *)(uintptr_t)text.ptr, text.len, &used,
	        &payload, body->trailers->data, &len) != H1_DONE)
		return false;
	body->trailers->end = (uint32_t)len;
	return true;
}

void
h2_server_end_block(
    struct h2 *h2, struct stream *stream, const nghttp2_frame *frame)
{
	bool is_end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		begin_request(h2, stream, frame);
		return;
	}
	if (!is_end ||
	    (stream->side.request &&
	        !h2_take_trailers(h2, &stream->side.request->request_body))) {
		stream_reset(stream, NGHTTP2_PROTOCOL_ERROR);
		return;
	}
	stream_received_end(stream);
}

void
h2_server_stream_gone(struct h2 *h2)
{
	if (h2->n_streams == 0 && h2->conn->phase == CONN_BUSY)
		client_set_idle(h2->conn);
	if (!h2->is_running)
		h2_server_progress(h2);
}
