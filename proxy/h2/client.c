/*
 * Sessions with upstreams: few connections per worker and endpoint, each with
 * many requests at once.
 *
 *   h2_client_get   a session with room, else one whose peer takes no streams
 *                   for now, else a new connection; the request gets a stream
 *                   on it, which waits until that may be submitted
 *   connected       the streams that waited are submitted
 *   SETTINGS        so are those that may only go by the peer's leave
 *   GOAWAY, limit   no new streams; those that the peer has not looked at come
 *                   back as REFUSED_STREAM and are tried again elsewhere
 *
 * A session is listed at its endpoint as long as it may get streams. It looks
 * at the endpoint only while it is listed, for afterwards no snapshot may keep
 * that alive.
 */
#include <assert.h>
#include <errno.h>

#include "proxy/h2/h2.h"
#include "proxy/proxied.h"
#include "proxy/request.h"
#include "proxy/upgrade.h"
#include "proxy/websocket.h"

enum {
	WINDOW =
	    1 << 20, /* of the connection; a stream's is the default, 64 KiB */
	STREAMS_MAX = 250, /* on one connection, whatever the peer allows */
	STALL_S = 30,      /* for the peer to take our bytes */
};

LIST_HEAD(session_list, h2);

static struct session_list *
list_of(struct endpoint *endpoint, unsigned worker)
{
	return (struct session_list *)(void *)&endpoint->local[worker].sessions;
}

/* ---- a stream for a request ---- */

static uint32_t
limit_of(const struct h2 *h2)
{
	return nghttp2_session_get_remote_settings(
	    h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

/* `shut`: its peer takes none for now (RFC 9113 section 6.5.2), and some may
 * wait for that to end. */
static bool
has_room(const struct h2 *h2, bool fresh, bool shut)
{
	uint32_t limit = limit_of(h2);

	if (h2->is_leaving || h2->is_ending || h2->is_failed ||
	    h2->conn->is_broken || (fresh && h2->n_served > 0) ||
	    shut != (limit == 0))
		return false;
	return h2->n_streams <
	           (shut || limit > STREAMS_MAX ? STREAMS_MAX : limit) &&
	       nghttp2_session_check_request_allowed(h2->session);
}

/* Where a session speaks for one client: only among that one's. */
static struct h2 *
find_own_session(struct request *request, bool fresh, bool shut)
{
	struct conn *conn = NULL;

	while ((conn = proxied_next(request, conn)))
		if (conn->h2 && conn->h2->is_listed &&
		    has_room(conn->h2, fresh, shut))
			return conn->h2;
	return NULL;
}

static struct h2 *
find_session(struct request *request, bool fresh, bool shut)
{
	struct h2 *h2;

	if (request->decision.pool->cfg->send_proxy)
		return find_own_session(request, fresh, shut);
	LIST_FOREACH(
	    h2, list_of(request->endpoint, request->worker->id), of_endpoint)
	if (!h2->conn->upstream.send_proxy && has_room(h2, fresh, shut))
		return h2;
	return NULL;
}

static bool
say_hello(struct h2 *h2)
{
	static const nghttp2_settings_entry settings[] = {
	    {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
	    {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 65536},
	};

	return nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
	           sizeof(settings) / sizeof(settings[0])) == 0 &&
	       nghttp2_session_set_local_window_size(
	           h2->session, NGHTTP2_FLAG_NONE, 0, WINDOW) == 0;
}

static struct h2 *
open_session(struct request *request, enum fail *fail_out)
{
	struct endpoint *endpoint = request->endpoint;
	struct worker *worker = request->worker;
	int fd = upstream_dial(worker, endpoint, fail_out);
	struct conn *conn;

	if (fd < 0)
		return NULL;
	*fail_out = FAIL_OVERLOAD;
	conn = conn_new(worker, fd, false);
	if (!conn)
		return NULL;
	conn->upstream.endpoint = endpoint;
	conn->phase = CONN_CONNECTING;
	conn->h2 = h2_new(conn, true);
	if (!conn->h2 || !conn_watch(conn) || !say_hello(conn->h2) ||
	    (request->decision.pool->cfg->send_proxy &&
	        !proxied_own(conn, request))) {
		conn_end(conn);
		return NULL;
	}
	conn->h2->keep = request->decision.pool->cfg->idle_timeout;
	conn->h2->is_listed = true;
	LIST_INSERT_HEAD(list_of(endpoint, worker->id), conn->h2, of_endpoint);
	if (!upstream_keeps(request->decision.pool, worker->snapshot, 0))
		h2_client_unlist(conn->h2); /* nobody else's */
	counter_add(&endpoint->local[worker->id].connects, 1);
	conn_deadline(conn, request->decision.pool->cfg->connect_timeout);
	return conn->h2;
}

static void
wait_for_leave(struct request *request)
{
	if (!request->upstream->timer.is_armed)
		conn_deadline(request->upstream,
		    request->decision.pool->cfg->connect_timeout);
}

/* An extended CONNECT waits for SETTINGS that allow it (RFC 8441 section 3);
 * where they do not, nobody is asked. */
static void
submit(struct h2 *h2, struct request *request)
{
	if (limit_of(h2) == 0 || (request->asks_upgrade && !h2->has_settings))
		wait_for_leave(request);
	else if (request->asks_upgrade &&
	         !nghttp2_session_get_remote_settings(
	             h2->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL))
		request_attempt_failed(request, FAIL_NO_WEBSOCKET);
	else
		request_connected(request);
}

/* That ends none but the one it is told of, except by the ready list. */
static void
submit_waiting(struct h2 *h2)
{
	struct stream *stream, *next;

	for (stream = LIST_FIRST(&h2->streams); stream; stream = next) {
		next = LIST_NEXT(stream, link);
		if (stream->side.request &&
		    stream->side.phase == CONN_CONNECTING)
			submit(h2, stream->side.request);
	}
}

static void
take_stream(struct request *request, struct h2 *h2)
{
	struct stream *stream = h2_stream_new(h2, 0);

	if (!stream) {
		request_attempt_failed(request, FAIL_OVERLOAD);
		return;
	}
	stream->side.request = request;
	stream->side.is_reused = h2->n_served > 0;
	stream->side.upstream.endpoint = request->endpoint;
	stream->side.phase = CONN_CONNECTING;
	h2->n_requests++;
	request->upstream = &stream->side;
	request->sent_at = request->worker->now;
	if (h2->is_ready)
		submit(h2, request);
	else if (request->deadline != 0) /* the connection has its own */
		conn_deadline(
		    &stream->side, request_within(request, request->deadline));
}

void
h2_client_get(struct request *request, bool fresh)
{
	struct h2 *h2 = find_session(request, fresh, false);
	enum fail fail = FAIL_NONE;

	if (!h2)
		h2 = find_session(request, fresh, true);
	if (!h2)
		h2 = open_session(request, &fail);
	if (h2) {
		take_stream(request, h2);
		return;
	}
	if (fail != FAIL_OVERLOAD)
		endpoint_failed(request->endpoint, request->worker->id,
		    request->worker->now);
	request_attempt_failed(request, fail);
}

/* ---- the connection is made ---- */

/* Any request that waits for it: they all have the same pool. */
static struct request *
waiting(const struct h2 *h2)
{
	struct stream *stream;

	LIST_FOREACH(stream, &h2->streams, link)
	if (stream->side.request)
		return stream->side.request;
	return NULL;
}

/* Each has waited since it came; who came first has seen it all. */
static struct request *
note_connect_times(struct h2 *h2)
{
	struct request *first = NULL, *request;
	struct stream *stream;

	LIST_FOREACH(stream, &h2->streams, link)
	if ((request = stream->side.request)) {
		request->connecting = h2->conn->worker->now - request->sent_at;
		if (!first || request->connecting > first->connecting)
			first = request;
	}
	return first;
}

static void
begin(struct h2 *h2)
{
	struct conn *conn = h2->conn;
	struct request *first = note_connect_times(h2);

	h2->is_ready = true;
	conn->phase = CONN_BUSY;
	conn_no_deadline(conn);
	if (first) {
		histogram_record(
		    &first->endpoint->pool->cells[conn->worker->id].connect,
		    first->connecting);
		endpoint_succeeded(first->endpoint, conn->worker->id);
	}
	h2_wants_flush(h2);
	submit_waiting(h2);
	h2_client_progress(h2);
}

void
h2_client_settings(struct h2 *h2)
{
	h2->has_settings = true;
	submit_waiting(h2);
}

void
h2_client_connected(struct conn *conn, int error)
{
	struct worker *worker = conn->worker;
	struct request *request = waiting(conn->h2);

	if (error != 0) {
		h2_client_lost(conn, upstream_fail_of(error));
		return;
	}
	if (!request) { /* nobody waits any more */
		conn_end(conn);
		return;
	}
	if (conn->upstream.send_proxy && !proxied_announce(conn)) {
		h2_client_lost(conn, FAIL_CONNECT_FAILED);
		return;
	}
	if (!request->decision.pool->tls) {
		begin(conn->h2);
		return;
	}
	/* The request's endpoint: the session's is gone once it is unlisted. */
	conn->tls = tls_stream_connect(request->decision.pool->tls, worker->id,
	    request->endpoint->address.host, &worker->window);
	if (!conn->tls) {
		h2_client_lost(conn, FAIL_OVERLOAD);
		return;
	}
	conn->phase = CONN_HANDSHAKE;
	conn->has_more = true;
	conn_begin_handshake(conn);
}

void
h2_client_secured(struct conn *conn)
{
	struct tls_facts facts;

	tls_stream_facts(conn->tls, &facts);
	if (!span_eq(facts.alpn, SPAN("h2")))
		/* It would take our preface for a broken HTTP/1 request. */
		h2_client_lost(conn, FAIL_UPSTREAM_TLS);
	else if (!conn->h2->is_listed && !waiting(conn->h2))
		conn_end(conn); /* nobody will ever come */
	else
		begin(conn->h2);
}

/* ---- blocks ---- */

void
h2_client_begin_block(struct h2 *h2, const nghttp2_frame *frame)
{
	struct stream *stream = nghttp2_session_get_stream_user_data(
	    h2->session, frame->hd.stream_id);
	bool is_head;

	h2_text_release(&h2->text);
	h2->reading = NULL;
	if (!stream || !stream->side.request)
		return;
	is_head = !stream->is_answered;
	h2->reading = stream;
	h2_text_begin(&h2->text, &h2->conn->worker->bufs,
	    is_head ? H2_RESPONSE : H2_TRAILERS,
	    is_head ? RESPONSE_HEAD_MAX
	            : H1_TRAILERS_MAX - H1_TRAILER_FIELDS_MAX - 8);
	h2->text.is_switch = is_head && stream->side.request->asks_upgrade;
}

/*
 * The stream's framing is told by frames; a body that never comes has a length
 * that HTTP/1 needs to be told. False: it was promised one.
 */
static bool
set_framing(struct stream *stream, struct h1_head *head, bool is_end)
{
	stream->is_measured =
	    head->framing == H1_NO_BODY || head->framing == H1_LENGTH;
	stream->promised = head->framing == H1_LENGTH ? head->length : 0;
	if (head->framing == H1_NO_BODY)
		return true;
	if (is_end && stream->promised > 0)
		return false;
	head->framing = is_end ? H1_NO_BODY : H1_FRAMES;
	if (is_end) {
		head->has_length = true;
		head->length = 0;
	}
	return true;
}

static void
receive_head(struct h2 *h2, struct stream *stream, bool is_end)
{
	struct request *request = stream->side.request;
	struct worker *worker = h2->conn->worker;
	struct h1_head *head = &worker->parsed;
	char accept[WEBSOCKET_ACCEPT];
	struct span text;
	uint32_t scanned = 0;

	if (request->asks_upgrade) {
		websocket_accept(upgrade_field((struct span){request->head,
		                                   request->head_len},
		                     SPAN("sec-websocket-key")),
		    accept);
		h2->text.accept = accept;
	}
	text = h2_text_end(&h2->text);
	if (!text.ptr || h1_parse_response(text.ptr, text.len, text.len,
	                     &scanned, (enum http_method)request->method,
	                     h2->text.is_switch, head) != H1_DONE) {
		request_attempt_failed(request, FAIL_UPSTREAM_PROTOCOL);
		return;
	}
	head->keep_alive = true;
	head->reason = span_of(status_text(head->status));
	if (head->status >= 200 || head->framing == H1_TUNNEL) {
		stream->is_answered = true;
		h2->has_answered = true;
		stream->side.is_eof = is_end;
	}
	if (head->framing != H1_TUNNEL &&
	    (head->status < 200 ? is_end
	                        : !set_framing(stream, head, is_end))) {
		request_attempt_failed(request, FAIL_UPSTREAM_PROTOCOL);
		return;
	}
	request_response_head(request, head);
}

void
h2_client_end_block(
    struct h2 *h2, struct stream *stream, const nghttp2_frame *frame)
{
	bool is_end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (h2->text.block == H2_RESPONSE) {
		receive_head(h2, stream, is_end);
		return;
	}
	if (!is_end || h2->text.verdict != H2_FINE ||
	    (stream->side.request && stream->side.request->te_trailers &&
	        !h2_take_trailers(h2, &stream->side.request->response_body))) {
		stream_reset(stream, NGHTTP2_PROTOCOL_ERROR);
		return;
	}
	stream_received_end(stream);
}

/* ---- its end ---- */

void
h2_client_unlist(struct h2 *h2)
{
	if (!h2->is_listed)
		return;
	h2->is_listed = false;
	LIST_REMOVE(h2, of_endpoint);
	h2->conn->upstream.endpoint = NULL;
}

void
h2_client_lost(struct conn *conn, enum fail why)
{
	struct h2 *h2 = conn->h2;
	struct request *request = h2->is_ready ? NULL : waiting(h2);

	if (conn->phase == CONN_HANDSHAKE && why != FAIL_OVERLOAD)
		why = FAIL_UPSTREAM_TLS;
	h2->why = (uint8_t)why;
	if (request && why != FAIL_OVERLOAD)
		endpoint_failed(
		    request->endpoint, conn->worker->id, conn->worker->now);
	conn_end(conn);
}

void
h2_client_timeout(struct conn *conn)
{
	struct h2 *h2 = conn->h2;

	if (conn->phase == CONN_CONNECTING || conn->phase == CONN_HANDSHAKE)
		h2_client_lost(conn, FAIL_CONNECT_TIMEOUT);
	else if (conn->out)
		h2_client_lost(conn, FAIL_UPSTREAM_TIMEOUT);
	else if (h2->n_streams == 0) {
		h2_terminate(h2, NGHTTP2_NO_ERROR);
		h2_client_unlist(h2);
	}
}

void
h2_client_leave(struct endpoint *endpoint, unsigned worker)
{
	struct session_list *list = list_of(endpoint, worker);
	struct h2 *h2;

	while ((h2 = LIST_FIRST(list))) {
		h2_client_unlist(h2);
		if (h2->n_requests == 0)
			conn_end(h2->conn);
	}
}

/* Unlisted, and nobody needs it any more: it goes at the next flush, for this
 * may be one of its own callbacks. */
static void
end_unneeded(struct h2 *h2)
{
	if (!h2->is_listed && h2->is_ready) {
		h2_terminate(h2, NGHTTP2_NO_ERROR);
		h2_wants_flush(h2);
	}
}

void
h2_client_request_gone(struct h2 *h2)
{
	assert(h2->n_requests > 0);
	h2->n_requests--;
	if (h2->n_requests > 0 || h2->is_ending)
		return;
	if (h2->is_listed && endpoint_is_leaving(h2->conn->upstream.endpoint))
		h2_client_unlist(h2);
	end_unneeded(h2);
}

/*
 * A session is a kept connection once it has answered anything: it may end
 * while it is quiet, or send back what it has not looked at (REFUSED_STREAM,
 * RFC 9113 section 8.7). One that says goodbye (GOAWAY, 6.8) may do that at any
 * time. Any other reset is an answer, and one that never answered has failed.
 */
void
h2_client_end_stream(struct stream *stream, uint32_t code)
{
	const struct h2 *h2 = stream->h2;
	struct conn *side = &stream->side;

	if (h2->is_ending)
		side->is_reused &=
		    h2->has_answered && (h2->why == FAIL_UPSTREAM_CLOSED ||
		                            h2->why == FAIL_UPSTREAM_RESET);
	else
		side->is_reused = code == NGHTTP2_REFUSED_STREAM &&
		                  (h2->has_answered || h2->is_leaving);
}

void
h2_client_disown(struct h2 *h2)
{
	if (h2->is_ending)
		return;
	h2_client_unlist(h2);
	if (h2->n_requests == 0)
		end_unneeded(h2);
}

void
h2_client_progress(struct h2 *h2)
{
	struct conn *conn = h2->conn;

	if (h2->is_ending || !h2->is_ready)
		return;
	if (conn->out) {
		if (!conn->timer.is_armed)
			conn_deadline(conn, STALL_S * NSEC_PER_SEC);
	} else if (h2->n_streams > 0) {
		conn_no_deadline(conn);
	} else if (!conn->timer.is_armed) {
		conn_deadline(conn, h2->keep);
	}
}
