/*
 * The way of one request, in reading order: begin and decide, wait for the
 * body's start, connect, send, and every misfortune on the way; the answer's
 * way back is response.c. Each step runs to completion inside the callback
 * that brought the bytes; there is no queue between steps.
 *
 *   request_begin      head -> routing_decide -> reply | upstream_get
 *   request_connected  the head (and what is there of the body) leaves
 *   request_body       more of the body, client -> upstream
 *   request_response   head and body, upstream -> client (response.c)
 *   request_attempt_failed -> retry (the one way back) or request_fail
 */
#include "proxy/request.h"

#include <assert.h>

#include "proxy/grpc.h"
#include "proxy/identity.h"
#include "proxy/message.h"
#include "proxy/mirror.h"
#include "proxy/upgrade.h"

enum {
	CONTINUE_AFTER_MS = 250, /* an upstream that knows no 100 (Continue) is
	                            spoken for after so long */
	REPLAY_MAX = 16384,      /* a body that came with its head is kept for a
	                            retry up to this */
	BODY_WAIT_MS = 1000, /* no upstream is occupied before the body's first
	                        bytes, for so long */
};

/* ---- begin and decide ---- */

static bool
is_idempotent(enum http_method method)
{
	/* RFC 9110 section 9.2.2 */
	switch (method) {
	case METHOD_GET:
	case METHOD_HEAD:
	case METHOD_OPTIONS:
	case METHOD_TRACE:
	case METHOD_PUT:
	case METHOD_DELETE:
		return true;
	default:
		return false;
	}
}

static struct request *
request_new(struct conn *client, const struct h1_head *head)
{
	struct worker *worker = client->worker;
	struct request *request = slab_take(&worker->requests);

	if (!request)
		return NULL;
	memset(request, 0, offsetof(struct request, arena));
	request->worker = worker;
	request->snapshot = worker->snapshot;
	snapshot_hold(request->snapshot, worker->id);
	request->client = client;
	request->listener = client->client.listener;
	request->method = (uint8_t)head->method;
	request->minor = (uint8_t)head->minor;
	request->is_idempotent = is_idempotent(head->method);
	request->keep_alive = head->keep_alive && client_may_keep_alive(client);
	request->te_trailers = head->te_trailers;
	request->expects_continue = head->expects_continue;
	request->start = worker->now;
	request->request_body.in = head->framing;
	request->request_body.out =
	    head->framing == H1_FRAMES ? H1_CHUNKED : head->framing;
	request->request_body.left = head->length;
	request->request_body.is_done = head->framing == H1_NO_BODY;
	client->request = request;
	return request;
}

static struct listener_cell *
cell_of(const struct request *request)
{
	return snapshot_listener_cell(
	    request->snapshot, request->listener, request->worker->id);
}

static void
count_in_flight(const struct request *request, int by)
{
	struct listener_cell *cell = cell_of(request);

	if (cell)
		gauge_add(&cell->in_flight, by);
}

/* A path that would be rewritten is rewritten before anything looks at it: one
 * path for routing and forwarding. False also where there is no room for that,
 * or for path_to_match. */
static bool
normalise(struct worker *worker, struct h1_head *head)
{
	size_t len;

	if (head->path_is_plain)
		return head->path.len <= HEAD_SIZE ||
		       !memchr(head->path.ptr, ';', head->path.len);
	if (head->path.len > HEAD_SIZE / 2 ||
	    !h1_normalise(head->path, worker->head, &len))
		return false;
	/* Never grows: the copy may go back where the original stood. */
	memcpy((char *)(uintptr_t)head->path.ptr, worker->head, len);
	head->path.len = len;
	return true;
}

static void
lower(char *to, struct span from)
{
	for (size_t i = 0; i < from.len; i++) {
		char c = from.ptr[i];

		to[i] = c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
	}
}

/* What routes are matched by: an upstream that folds slashes or does not see
 * parameters must not be reached past the rule for what it will serve. */
static struct span
path_to_match(struct worker *worker, const struct h1_head *head)
{
	struct span path = head->path;

	if (path.ptr[0] != '/' ||
	    (head->path_is_plain && !memchr(path.ptr, ';', path.len)))
		return path;
	return (struct span){worker->head, h1_path_fold(path, worker->head)};
}

static void
decide(struct request *request, const struct h1_head *head)
{
	struct worker *worker = request->worker;
	const struct listener_cfg *listener =
	    snapshot_listener(request->snapshot, request->listener);
	struct sockaddr_storage client;
	char host[256];
	bool is_trusted;
	struct route_query query = {
	    .listener = request->listener,
	    .now = worker->now,
	    .method = head->method,
	    .path = path_to_match(worker, head),
	    .header = headers_query_field,
	    .cookie = headers_query_cookie,
	    .ctx = head,
	};

	identity_client_address(
	    request->client, listener, head, &request->peer, &is_trusted);
	if (request->peer.family != AF_UNIX) {
		peer_sockaddr(&request->peer, &client);
		query.client = (struct sockaddr *)&client;
	}
	if (head->hostname.len <= sizeof(host)) {
		lower(host, head->hostname);
		query.host = (struct span){host, head->hostname.len};
	}
	routing_decide(request->snapshot, worker->id, &worker->rng, &query,
	    &request->decision);
}

static bool
body_is_too_large(const struct request *request)
{
	const struct listener_cfg *listener =
	    snapshot_listener(request->snapshot, request->listener);

	return listener && listener->limits.max_body > 0 &&
	       request->request_body.in == H1_LENGTH &&
	       request->request_body.left > listener->limits.max_body;
}

static void
begin_body_watch(struct request *request)
{
	if (request->request_body.is_done)
		return;
	if (!request->expects_continue) /* else: once it was told to go on */
		client_await_body(request->client);
}

/* Keeps a whole small body behind the head, so that it can be sent again. */
static bool
keep_for_replay(struct request *request, const char *bytes, size_t len)
{
	size_t room =
	    request->head_buf ? request->head_buf->cap : sizeof(request->arena);

	if (request->request_body.in != H1_LENGTH ||
	    request->request_body.left != len || len > REPLAY_MAX ||
	    request->head_len + len > room)
		return false;
	memcpy(request->head + request->head_len, bytes, len);
	request->replay_len = (uint32_t)len;
	request->request_body.left = 0;
	request->request_body.is_done = true;
	request->request_body.bytes = len;
	return true;
}

/*
 * An extended CONNECT, in HTTP/1's words an Upgrade. In HTTP/1 a server may
 * ignore that and answer; to a CONNECT 2xx says that there is a tunnel.
 */
static bool
is_connect(const struct request *request, const struct h1_head *head)
{
	return request->client->is_stream && head->wants_upgrade;
}

/* The pool is known: write the head, take what is there of the body, go.
 * Returns the bytes taken. */
static size_t
go_upstream(
    struct request *request, const struct h1_head *head, char *rest, size_t len)
{
	struct body *body = &request->request_body;
	unsigned upgrades = request->decision.route->cfg->upgrade;
	size_t used = 0;

	/* HTTP/2 is asked for WebSockets alone. */
	if (request->decision.pool->cfg->protocol == PROTOCOL_H2)
		upgrades &= UPGRADE_WEBSOCKET;
	request->asks_upgrade =
	    head->wants_upgrade && upgrade_is_asked(head, upgrades);
	if (is_connect(request, head) && !request->asks_upgrade) {
		headers_note_request(request, head);
		request_fail(request, FAIL_NO_TUNNEL);
		return 0;
	}
	if (!headers_write_request(request, head)) {
		request_fail(request, FAIL_OVERLOAD);
		return 0;
	}
	if (body->in == H1_CHUNKED && request->te_trailers) {
		body->trailers =
		    buf_take(&request->worker->bufs, H1_TRAILERS_MAX);
		if (body->trailers)
			body->trailers->start = 0;
	}
	if (body->in == H1_LENGTH && body->left <= len &&
	    keep_for_replay(request, rest, body->left)) {
		used = request->replay_len;
	}
	if (mirror_is_on(request))
		mirror_begin(request);
	begin_body_watch(request);
	if (!body->is_done && len == 0 && !request->expects_continue) {
		request->state = REQUEST_WAIT_BODY;
		conn_deadline(request->client, BODY_WAIT_MS * NSEC_PER_MSEC);
		return 0;
	}
	request->state = REQUEST_CONNECT;
	upstream_get(request, NULL, false);
	return used;
}

/* A listener with `redirect_to` has no routes: it sends everyone to the other
 * one. */
static bool
redirect_listener(struct request *request, const struct h1_head *head)
{
	const struct config *config = request->worker->config;
	const struct listener_cfg *listener =
	    snapshot_listener(request->snapshot, request->listener);

	if (!listener || !listener->redirect_to)
		return false;
	for (size_t i = 0; i < config->n_listeners; i++) {
		if (strcmp(config->listeners[i].name, listener->redirect_to) ==
		    0) {
			headers_note_request(request, head);
			reply_other_listener(
			    request, head, &config->listeners[i]);
			return true;
		}
	}
	return false;
}

size_t
request_begin(struct conn *client, char *rest, size_t len)
{
	struct worker *worker = client->worker;
	struct h1_head *head = &worker->parsed;
	struct request *request = request_new(client, head);
	size_t used;

	if (!request) {
		conn_finish(client);
		return 0;
	}
	count_in_flight(request, 1);
	if (client->is_stream)
		grpc_begin(request, head);
	if (!normalise(worker, head)) {
		headers_note_request(request, head);
		request_fail(request, FAIL_BAD_PATH);
		return 0;
	}
	if (redirect_listener(request, head))
		return 0;
	decide(request, head);
	if (!request->decision.pool || body_is_too_large(request))
		headers_note_request(request, head);
	if (body_is_too_large(request)) {
		request_fail(request, FAIL_BODY_TOO_LARGE);
		return 0;
	}
	if (!request->decision.route) {
		request_fail(request, FAIL_NO_ROUTE);
		return 0;
	}
	if (request->decision.refusal != REFUSED_NOT) {
		request_fail(
		    request, fail_of_refusal(request->decision.refusal));
		return 0;
	}
	if (!request->decision.pool && is_connect(request, head)) {
		request_fail(request, FAIL_NO_TUNNEL);
		return 0;
	}
	if (!request->decision.pool) {
		reply_route(request, head);
		return 0;
	}
	used = go_upstream(request, head, rest, len);
	/* Connected at once over a kept connection: the rest may follow in the
	 * same breath. */
	return used;
}

/* ---- the request's body ---- */

bool
request_body_done(const struct request *request)
{
	return request->request_body.is_done;
}

/* The body is late: an upstream that would answer without it gets its chance.
 */
void
request_body_late(struct request *request)
{
	assert(request->state == REQUEST_WAIT_BODY);
	begin_body_watch(request);
	request->state = REQUEST_CONNECT;
	upstream_get(request, NULL, false);
}

static void
maybe_sent(struct request *request)
{
	if (!request->request_body.is_done)
		return;
	request->is_sent = true;
	request->whole_at = request->worker->now;
}

/* As long as the body moves, and then for its answer. */
static void
await_answer(struct request *request)
{
	if (!request->has_response)
		conn_deadline(request->upstream,
		    request_within(request, retry_patience(request)));
}

size_t
request_body(struct request *request, char *bytes, size_t len)
{
	const struct listener_cfg *listener =
	    snapshot_listener(request->snapshot, request->listener);
	uint64_t limit = listener ? listener->limits.max_body : 0;
	struct conn *client = request->client;
	uint64_t before = request->request_body.bytes;
	struct forwarded done;

	switch (request->state) {
	case REQUEST_TUNNEL:
		tunnel_input(request, request->client, bytes, len);
		return len;
	case REQUEST_WAIT_BODY:
		begin_body_watch(request);
		request->state = REQUEST_CONNECT;
		upstream_get(request, NULL, false);
		if (client->request != request ||
		    request->state != REQUEST_RELAY)
			return 0;
		break; /* over a kept connection: at once */
	case REQUEST_REPLY:
		/* The answer was given without it; the connection will not be
		 * kept unless it ends here. */
		return len;
	case REQUEST_RELAY:
		break;
	default:
		return 0;
	}
	if (request->request_body.is_done)
		return 0;
	if (!request->upstream || request->upstream->is_broken) {
		/* It stopped listening; its answer, if any, still comes. What
		 * nobody has got may yet go to another one: it is kept. */
		return request->body_lost ? len : 0;
	}
	if (request->expects_continue) {
		request->expects_continue = false;
		client_await_body(client);
	}
	client->client.progress += (uint32_t)len;
	if (!request->body_left)
		replay_begin(request);
	done = forward_body(&request->request_body, request->upstream, bytes,
	    len, NULL, 0, limit);
	if (done.is_bad) {
		request_fail(
		    request, limit > 0 && request->request_body.bytes > limit
		                 ? FAIL_BODY_TOO_LARGE
		                 : FAIL_BAD_REQUEST);
		return len;
	}
	replay_keep(
	    request, bytes, (size_t)(request->request_body.bytes - before));
	if (request->mirror)
		mirror_body(request, bytes,
		    (size_t)(request->request_body.bytes - before));
	if (done.is_unsent) {
		request->upstream->has_more = true;
		conn_make_ready(request->upstream);
		return done.used;
	}
	if (request->request_body.is_done) {
		conn_no_deadline(request->client);
		maybe_sent(request);
	} else if (request->upstream->out_len >= OUT_HIGH) {
		conn_pause(request->client);
	}
	await_answer(request);
	return done.used;
}

/*
 * HTTP/2 tells the end of a body apart from its bytes. False: it is not its
 * turn yet; told again once the upstream's connection is there.
 */
bool
request_body_end(struct request *request)
{
	struct body *body = &request->request_body;

	if (request->state == REQUEST_TUNNEL) {
		tunnel_eof(request, request->client);
		return true;
	}
	if (request->asks_upgrade) /* the tunnel's end: once there is one */
		return false;
	if (body->is_done || request->state == REQUEST_REPLY)
		return true;
	if (request->state == REQUEST_WAIT_BODY) { /* an empty one */
		request_body_late(request);
		return false;
	}
	if (request->state != REQUEST_RELAY)
		return false;
	if (!request->body_left)
		replay_begin(request);
	if (!request->upstream || request->upstream->is_broken) {
		body->is_done = true;
		return true;
	}
	request->expects_continue = false;
	conn_no_deadline(request->client);
	if (!forward_end(body, request->upstream)) {
		request->upstream->has_more = true;
		conn_make_ready(request->upstream);
		return true;
	}
	if (request->mirror)
		mirror_body(request, NULL, 0);
	maybe_sent(request);
	await_answer(request);
	return true;
}

/* ---- connected: the head leaves ---- */

static bool
send_first(struct request *request)
{
	return message_send(request->upstream, request->head, request->head_len,
	    request->replay_len,
	    request->request_body.is_done && !request->asks_upgrade);
}

void
request_connected(struct request *request)
{
	struct conn *upstream = request->upstream;

	request->state = REQUEST_RELAY;
	request->sent_at = request->worker->now;
	if (!request->dispatched) {
		request->dispatched = request->sent_at;
		request->queued =
		    request->dispatched - request->start - request->connecting;
		if (trial_is_on(request))
			trial_watch(request);
	}
	upstream->got_bytes = false;
	upstream->upstream.sent_turn = request->worker->turn;
	upstream->phase = CONN_BUSY;
	counter_add(&request->endpoint->local[request->worker->id].requests, 1);
	conn_deadline(
	    upstream, request_within(request, retry_patience(request)));
	maybe_sent(request);
	if (!(request->body_left ? replay_send(request)
	                         : send_first(request))) {
		/* Perhaps an answer or a reset is there to be read: it says
		 * more than EPIPE. */
		upstream->has_more = true;
		conn_make_ready(upstream);
		return;
	}
	if (request->expects_continue)
		conn_deadline(
		    request->client, CONTINUE_AFTER_MS * NSEC_PER_MSEC);
	if (request->client->in)
		conn_resume(request->client);
	else if ((request->client->is_paused || request->client->is_eof) &&
	         !request->request_body.is_done)
		conn_resume(request->client); /* a stream's end may wait too */
}

/* ---- misfortune ---- */

void
request_attempt_failed(struct request *request, enum fail fail)
{
	const struct fail_row *row = fail_row(fail);
	bool was_reused = retry_is_stale(request, fail);

	/* Whoever half-closed is told of a failure. But a client that left did
	 * not wait for this one: no evidence against the pool. */
	if (fail == FAIL_UPSTREAM_TIMEOUT && request->client->saw_close &&
	    !request->has_response) {
		if (request->is_hedge)
			hedge_failed(request);
		else
			request_abandon(request, FAIL_CLIENT_GONE);
		return;
	}
	request_note_failure(request, fail, was_reused);
	if (request->has_response) {
		request_abandon(request, fail);
		return;
	}
	if (was_reused &&
	    (request->is_idempotent || row->retry == RETRY_SAFE) &&
	    !request->body_lost && row->retry != RETRY_NEVER) {
		retry_renew(request, fail);
		return;
	}
	if (request->attempts <= 1 && row->blame == BLAME_POOL)
		trial_blame(request, fail);
	if (request->rival) {
		hedge_failed(request);
		return;
	}
	if (!request->body_lost &&
	    (row->retry == RETRY_SAFE || request->is_idempotent) &&
	    row->blame == BLAME_POOL && trial_shield(request))
		return;
	if (request->decision.pool->cfg->retry.on_connect &&
	    !request->body_lost &&
	    (row->retry == RETRY_SAFE ||
	        (row->retry == RETRY_IDEMPOTENT && request->is_idempotent)) &&
	    retry_may(request)) {
		retry_go(request);
		return;
	}
	request_fail(request, fail);
}

void
request_fail(struct request *request, enum fail fail)
{
	if (request->is_hedge) {
		hedge_failed(request);
		return;
	}
	request->fail = (uint8_t)fail;
	if (request->state == REQUEST_TUNNEL || request->has_response) {
		request_abandon(request, fail);
		return;
	}
	upstream_put(request, false);
	reply_fail(request, fail);
}

/*
 * The client is gone, or its answer was cut: the upstream's connection cannot
 * be used again, and the client must see that something is missing.
 */
void
request_abandon(struct request *request, enum fail fail)
{
	struct conn *client = request->client;

	if (request->state == REQUEST_TUNNEL) {
		tunnel_end(request, fail);
		return;
	}
	request->fail = (uint8_t)fail;
	if (fail == FAIL_CLIENT_GONE || fail == FAIL_CLIENT_STALLED)
		request->status = 499;
	upstream_put(request, false);
	request->keep_alive = false;
	/*
	 * What was sent stays sent; nothing that looks like an end may follow.
	 * A body that ends with the connection needs a reset to look cut, and
	 * neither a FIN nor a close_notify before it.
	 */
	if (request->has_response &&
	    request->response_body.out == H1_TO_CLOSE) {
		setsockopt(client->fd, SOL_SOCKET, SO_LINGER,
		    &(struct linger){1, 0}, sizeof(struct linger));
		client->wrote_eof = true;
	}
	if (!client->is_broken && request->has_response && client->out)
		client->close_when_sent = true;
	else
		client->is_broken = true;
	request_done(request);
}

/* ---- back-pressure ---- */

void
request_hold(struct request *request)
{
	conn_pause(request->upstream);
	if (request->state != REQUEST_TUNNEL) /* whose deadline is for both */
		conn_no_deadline(request->upstream);
}

void
request_client_drained(struct request *request)
{
	if (request->state == REQUEST_TUNNEL) {
		tunnel_drained(request, request->client);
		return;
	}
	if (request->upstream && request->upstream->is_paused) {
		conn_deadline(request->upstream,
		    request_within(
		        request, request->decision.pool->cfg->idle_timeout));
		conn_resume(request->upstream);
	}
}

void
request_upstream_drained(struct request *request)
{
	if (request->state == REQUEST_TUNNEL) {
		tunnel_drained(request, request->upstream);
		return;
	}
	if (request->client->is_paused && !request->request_body.is_done)
		conn_resume(request->client);
}
