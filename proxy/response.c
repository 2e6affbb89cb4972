/*
 * The answer's way: interim heads pass by, a final head chooses the framing
 * that the client gets, its body follows with back-pressure, and when both
 * sides are through the upstream goes back to its pool.
 *
 *   request_response     bytes of the upstream -> receive_head |
 * forward_response_body respond              retried by status, or head and
 * first bytes in one send finish_response      upstream_put, then request_done
 *   request_upstream_eof the end of a body, or a misfortune
 */
#include <assert.h>
#include <nghttp2/nghttp2.h>

#include "proxy/grpc.h"
#include "proxy/h2/h2.h"
#include "proxy/message.h"
#include "proxy/upgrade.h"

enum {
	INTERIM_MAX = 20, /* 1xx answers before a final one */
};

/* Both sides are through: the upstream goes back to its pool, the farewell
 * begins. */
static void
finish_response(struct request *request, bool is_reusable)
{
	upstream_put(request, is_reusable && request->is_sent);
	if (!request->request_body.is_done || request->asked_close)
		request->keep_alive = false;
	request_done(request);
}

/* The framing that the client gets (RFC 9112 section 6.3; HTTP/1.0 knows no
 * chunks). */
static void
choose_framing(struct request *request, const struct h1_head *head)
{
	struct body *body = &request->response_body;

	body->in = head->framing;
	body->left = head->length;
	body->is_done = head->framing == H1_NO_BODY;
	body->out = head->framing;
	if (request->client->is_stream) {
		body->out = H1_FRAMES;
	} else if (head->framing == H1_CHUNKED ||
	           head->framing == H1_TO_CLOSE || head->framing == H1_FRAMES) {
		body->out = request->minor == 0 ? H1_TO_CLOSE : H1_CHUNKED;
		/* The session sees to it that the length is kept. */
		if (head->framing == H1_FRAMES && head->has_length)
			body->out = H1_LENGTH;
		if (body->out == H1_TO_CLOSE)
			request->keep_alive = false;
	}
	if ((body->out == H1_CHUNKED || body->out == H1_FRAMES) &&
	    body->in == H1_CHUNKED && request->te_trailers)
		body->trailers =
		    buf_take(&request->worker->bufs, H1_TRAILERS_MAX);
}

/* A 5xx that the pool's retry rule names, while another attempt may be made. */
static bool
status_is_retried(const struct request *request, unsigned status)
{
	const struct retry_cfg *retry = &request->decision.pool->cfg->retry;

	for (size_t i = 0; i < retry->n_statuses; i++)
		if (retry->statuses[i] == status)
			return true;
	return false;
}

void
request_note_bad_status(struct request *request)
{
	counter_add(&request->endpoint->local[request->worker->id]
	                 .errors[UPSTREAM_STATUS],
	    1);
	if (request->attempts <= 1)
		request->is_first_failed = true;
}

/* The client may send its body: the upstream said so, or said nothing for long
 * enough. */
static void
go_on(struct request *request)
{
	request->expects_continue = false;
	client_await_body(request->client);
}

void
request_say_continue(struct request *request)
{
	char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

	request->said_continue = true;
	go_on(request);
	if (!message_send_head(request->client, text, sizeof(text) - 1))
		request_abandon(request, FAIL_CLIENT_GONE);
}

static bool
forward_interim(struct request *request, const struct h1_head *head)
{
	size_t len;

	if (request->is_hedge) /* answers nobody */
		return ++request->interim <= INTERIM_MAX;
	if (head->status == 100 && request->said_continue)
		return true;

	if (++request->interim > INTERIM_MAX)
		return false;
	if (request->minor == 0) /* HTTP/1.0 never heard of them */
		return true;
	if (head->status == 100) {
		request->said_continue = true; /* once: not after a retry */
		if (request->expects_continue)
			go_on(request);
	}
	len = headers_write_interim(request, head);
	return len == 0 ||
	       message_send_head(request->client, request->worker->head, len) ||
	       true;
}

/* After bytes went to the client: done, paused, or on with it. */
static void
after_response_bytes(struct request *request, size_t left_over, bool is_unsent)
{
	struct conn *upstream = request->upstream;
	struct conn *client = request->client;

	if (is_unsent) {
		request_abandon(request, FAIL_CLIENT_GONE);
		return;
	}
	if (client->out && !client->timer.is_armed) {
		const struct listener_cfg *cfg =
		    snapshot_listener(request->snapshot, request->listener);

		conn_deadline(
		    client, cfg ? cfg->limits.idle_timeout : 60 * NSEC_PER_SEC);
	}
	if (request->response_body.is_done) {
		finish_response(request, left_over == 0);
		return;
	}
	if (!message_has_room(client)) {
		request_hold(request);
	} else {
		conn_deadline(
		    upstream, request_within(request,
		                  request->decision.pool->cfg->idle_timeout));
	}
}

static void
forward_response_body(
    struct request *request, char *bytes, size_t len, size_t head_len)
{
	struct body *body = &request->response_body;
	struct forwarded done;

	done = forward_body(body, request->client, bytes, len,
	    request->worker->head, head_len, 0);
	if (done.is_bad) {
		if (head_len > 0)
			request->has_response =
			    false; /* the head was not sent either */
		request_attempt_failed(request, FAIL_UPSTREAM_PROTOCOL);
		return;
	}
	if (head_len > 0 && request->body_left)
		replay_drop(request);
	after_response_bytes(request, len - done.used, done.is_unsent);
}

bool
request_awaits_long(const struct request *request, size_t more)
{
	return request->client->is_stream && request->has_response &&
	       request->state == REQUEST_RELAY &&
	       request->response_body.in == H1_LENGTH &&
	       request->response_body.left > more;
}

void
request_response_long(struct request *request, struct buf *buf)
{
	struct body *body = &request->response_body;
	struct conn *client = request->client;
	size_t len = buf_len(buf);
	bool is_sent;

	assert(body->left > len);
	body->left -= len;
	body->bytes += len;
	is_sent = stream_send_buf(client, buf);
	if (is_sent && stream_of(client)->h2)
		h2_flush_long(stream_of(client)->h2);
	if (client->request == request) /* it may have ended with that */
		after_response_bytes(request, 0, !is_sent);
}

/* A final head: choose framings, write it, send it with what is there of the
 * body. */
static void
respond(struct request *request, struct h1_head *head, char *rest, size_t len)
{
	size_t head_len;

	upstream_judge(request, head->status >= 500);
	if (head->status >= 500)
		request_note_bad_status(request);
	/* An HTTP/1 upstream may ignore an Upgrade; but 2xx to a CONNECT would
	 * be a tunnel with nobody at its end. Who asked for it is to blame. */
	if (request->asks_upgrade && request->client->is_stream &&
	    head->status < 300) {
		request_attempt_failed(request, FAIL_NO_SWITCH);
		return;
	}
	if (trial_is_on(request) && request->attempts <= 1)
		trial_note_answer(request, head);
	if (request->rival) {
		request = hedge_answered(
		    request, head->status < 500 &&
		                 !status_is_retried(request, head->status));
		if (!request)
			return;
	}
	if (head->status >= 500 && request->is_idempotent &&
	    !request->body_lost && trial_shield(request))
		return;
	if (request->is_idempotent && !request->body_lost &&
	    status_is_retried(request, head->status) && retry_may(request)) {
		retry_go(request);
		return;
	}
	request->status = (uint16_t)head->status;
	choose_framing(request, head);
	if (!request->request_body.is_done)
		request->asked_close = true; /* an early answer: what follows
		                                cannot be told from a request */
	if (!head->keep_alive)
		request->upstream->is_last = true;
	head_len = headers_write_response(request, head);
	if (head_len == 0) {
		request_attempt_failed(request, FAIL_UPSTREAM_PROTOCOL);
		return;
	}
	request->has_response = true;
	request->response_body.is_last = !request->keep_alive;
	forward_response_body(request, rest, len, head_len);
}

static void
note_first_byte(struct request *request)
{
	if (request->upstream->got_bytes)
		return;
	request->upstream->got_bytes = true;
	if (!request->has_first_byte) {
		request->has_first_byte = true;
		request->is_first_byte_own = request->attempts <= 1;
		request->first_byte = request->worker->now;
	}
}

/* A 101, to a request that asked for one. */
static void
switch_protocols(struct request *request, const struct h1_head *head)
{
	struct span asked = {request->head, request->head_len};
	size_t head_len;

	if (!upgrade_is_answer(asked, head)) {
		request_attempt_failed(request, FAIL_BAD_SWITCH);
		return;
	}
	head_len = headers_write_response(request, head);
	if (head_len == 0) {
		request_attempt_failed(request, FAIL_UPSTREAM_PROTOCOL);
		return;
	}
	if (trial_is_on(request) && request->attempts <= 1)
		trial_note_answer(request, head);
	request->status = 101;
	request->has_response = true;
	if (request->body_left)
		replay_drop(request);
	if (!message_send_head(
	        request->client, request->worker->head, head_len)) {
		request_abandon(request, FAIL_CLIENT_GONE);
		return;
	}
	tunnel_begin(request);
}

static void
receive_head(struct request *request, char *bytes, size_t len)
{
	struct conn *upstream = request->upstream;
	struct h1_head *head = &request->worker->parsed;

	while (len > 0) {
		enum h1_result result = h1_parse_response(bytes, len,
		    RESPONSE_HEAD_MAX, &upstream->upstream.scanned,
		    (enum http_method)request->method, request->asks_upgrade,
		    head);

		if (result == H1_MORE) {
			if (!conn_stash(upstream, bytes, len))
				request_attempt_failed(request, FAIL_OVERLOAD);
			return;
		}
		if (result == H1_BAD) {
			request_attempt_failed(request, FAIL_UPSTREAM_PROTOCOL);
			return;
		}
		upstream->upstream.scanned = 0;
		bytes += head->len;
		len -= head->len;
		if (head->framing == H1_TUNNEL) {
			switch_protocols(request, head);
			/* It may have ended already: then nobody holds it. */
			if (len > 0 && upstream->request == request)
				tunnel_input(request, upstream, bytes, len);
			return;
		}
		if (head->status >= 200) {
			respond(request, head, bytes, len);
			return;
		}
		if (!forward_interim(request, head)) {
			request_attempt_failed(request, FAIL_UPSTREAM_PROTOCOL);
			return;
		}
	}
}

void
request_response_head(struct request *request, struct h1_head *head)
{
	note_first_byte(request);
	if (request->is_grpc && grpc_note_head(request, head))
		request_note_bad_status(request);
	if (head->framing == H1_TUNNEL)
		switch_protocols(request, head);
	else if (head->status >= 200)
		respond(request, head, request->worker->rx + RX_HEADROOM, 0);
	else if (!forward_interim(request, head))
		request_attempt_failed(request, FAIL_UPSTREAM_PROTOCOL);
}

void
request_response(struct request *request, char *bytes, size_t len)
{
	struct conn *upstream = request->upstream;
	struct worker *worker = request->worker;
	struct buf *stash;

	if (request->state == REQUEST_TUNNEL) {
		tunnel_input(request, upstream, bytes, len);
		return;
	}
	note_first_byte(request);
	if (request->has_response) {
		forward_response_body(request, bytes, len, 0);
		return;
	}
	if (!upstream->in) {
		receive_head(request, bytes, len);
		return;
	}
	/* The rest of a head that came in pieces. */
	if (!conn_stash(upstream, bytes, len)) {
		request_attempt_failed(request, FAIL_OVERLOAD);
		return;
	}
	stash = upstream->in;
	upstream->in = NULL;
	len = buf_len(stash);
	bytes = worker->rx + RX_HEADROOM;
	memcpy(bytes, stash->data + stash->start, len);
	buf_give(&worker->bufs, &stash);
	receive_head(request, bytes, len);
}

void
request_upstream_eof(struct request *request)
{
	struct body *body = &request->response_body;

	if (request->state == REQUEST_TUNNEL) {
		tunnel_eof(request, request->upstream);
		return;
	}
	if (!request->has_response) {
		request_attempt_failed(request, request->upstream->is_broken
		                                    ? FAIL_UPSTREAM_RESET
		                                    : FAIL_UPSTREAM_CLOSED);
		return;
	}
	if (body->in == H1_TO_CLOSE && !request->upstream->is_broken) {
		bool sent = forward_end(body, request->client);

		after_response_bytes(request, 1, !sent);
		return;
	}
	request_attempt_failed(request, FAIL_UPSTREAM_TRUNCATED);
}

void
request_response_end(struct request *request)
{
	struct body *body = &request->response_body;

	if (request->state == REQUEST_TUNNEL) {
		tunnel_eof(request, request->upstream);
	} else if (!request->has_response) {
		request_attempt_failed(request, FAIL_UPSTREAM_PROTOCOL);
	} else if (body->in == H1_FRAMES) {
		bool sent;

		if (request->is_grpc && request->status == 200 &&
		    grpc_note_trailers(request))
			request_note_bad_status(request);
		if (trial_is_on(request))
			trial_note_trailers(request);
		sent = forward_end(body, request->client);
		after_response_bytes(request, 0, !sent);
	} else {
		request_attempt_failed(request, FAIL_UPSTREAM_TRUNCATED);
	}
}

void
request_stream_lost(struct request *request, uint32_t code, enum fail why)
{
	if (why == FAIL_NONE)
		why = code == NGHTTP2_REFUSED_STREAM ? FAIL_UPSTREAM_REFUSED
		                                     : FAIL_UPSTREAM_RESET;
	if (request->state == REQUEST_TUNNEL)
		tunnel_end(request, FAIL_UPSTREAM_RESET);
	else if (request->has_response)
		request_attempt_failed(request, FAIL_UPSTREAM_TRUNCATED);
	else
		request_attempt_failed(request, why);
}
