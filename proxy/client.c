/*
 * The client's side of HTTP/1: heads out of bytes, requests one after another,
 * deadlines against the slow, counts against the many.
 *
 * Pipelining: the next request is parsed when the one before is done; bytes
 * that come early are stashed and reading pauses.
 */
#include <assert.h>
#include <stdio.h>

#include "admin/log.h"
#include "proxy/client_table.h"
#include "proxy/h2/h2.h"
#include "proxy/h2/stream.h"
#include "proxy/proxied.h"
#include "proxy/refused.h"
#include "proxy/request.h"

enum {
	BODY_WINDOW_S =
	    10, /* a body moves at least BODY_RATE bytes a second over this */
	BODY_RATE = 240,
	GONE_GRACE_MS = 1500,  /* after the client's FIN an answer may still
	                          come, or stand still, for so long */
	REQUESTS_MAX = 100000, /* on one connection */
};

static const struct listener_cfg *
listener_of(const struct conn *conn)
{
	return snapshot_listener(conn->worker->snapshot, conn->client.listener);
}

static struct listener_cell *
cell_of(const struct conn *conn)
{
	return snapshot_listener_cell(
	    conn->worker->snapshot, conn->client.listener, conn->worker->id);
}

static void
count_handshake_error(struct conn *conn, enum handshake_failure failure)
{
	if (conn->phase == CONN_HANDSHAKE && cell_of(conn))
		counter_add(&cell_of(conn)->handshake_errors[failure], 1);
}

/* One line a second for each worker: whoever knocks must not fill the log. */
static void
tell_refused_certificate(struct conn *conn, const char *word)
{
	const struct listener_cfg *cfg = listener_of(conn);
	const char *subject = tls_stream_refused_subject(conn->tls);
	struct worker *worker = conn->worker;
	char address[INET6_ADDRSTRLEN];

	if (strncmp(word, "client_certificate_", 19) != 0 ||
	    worker->now - worker->certificate_told_at < NSEC_PER_SEC)
		return;
	worker->certificate_told_at = worker->now;
	peer_print(&conn->client.peer, address);
	log_event(LOG_INFO, "a client's certificate was refused", "listener",
	    cfg ? cfg->name : "-", "client.address", address, "subject",
	    subject ? subject : "-", "reason", word + 19, NULL);
}

/* It broke: what TLS says of it, or the client went away. */
static enum handshake_failure
handshake_failure(struct conn *conn)
{
	const char *word = conn->tls ? tls_stream_failure(conn->tls) : "none";

	if (conn->tls && conn->phase == CONN_HANDSHAKE)
		tell_refused_certificate(conn, word);
	return strcmp(word, "none") == 0 ? HANDSHAKE_GONE
	                                 : handshake_failure_of(word);
}

static void
count_state(struct conn *conn, int active, int idle)
{
	struct listener_cell *cell = cell_of(conn);

	if (!cell)
		return;
	gauge_add(&cell->active, active);
	gauge_add(&cell->idle, idle);
}

static bool
is_one_too_many(struct conn *conn, uint32_t max)
{
	if (max == 0)
		return false;
	conn->is_counted = client_table_take(conn->worker->shared->clients,
	    conn->client.listener, &conn->client.peer, max);
	if (!conn->is_counted)
		counter_add(&cell_of(conn)->refused[REFUSED_PER_CLIENT], 1);
	return !conn->is_counted;
}

bool
client_admit(struct conn *conn)
{
	struct worker *worker = conn->worker;
	void *tls =
	    snapshot_listener_tls(worker->snapshot, conn->client.listener);

	conn->phase = CONN_HEAD;
	if (is_one_too_many(conn, listener_of(conn)->limits.per_client)) {
		conn_end(conn);
		return false;
	}
	if (!tls)
		return true;
	conn->is_secure = true;
	conn->tls = tls_stream_accept(tls, worker->id, &worker->window);
	conn->phase = CONN_HANDSHAKE;
	if (!conn->tls)
		conn_end(conn);
	return conn->tls != NULL;
}

void
client_accept(
    struct worker *worker, int fd, uint32_t listener, const struct peer *peer)
{
	const struct listener_cfg *cfg =
	    snapshot_listener(worker->snapshot, listener);
	struct conn *conn = conn_new(worker, fd, true);

	if (!conn)
		return;
	conn->client.listener = listener;
	conn->client.peer = *peer;
	conn->phase = CONN_HEAD;
	TAILQ_INSERT_TAIL(&worker->clients, conn, link);
	worker->n_clients++;
	count_state(conn, 0, 1);
	counter_add(&cell_of(conn)->accepted, 1);
	if (cfg->proxy_protocol ? !proxied_accept(conn) : !client_admit(conn))
		return;
	/* Absolute, from the accept to the end of the first head. */
	conn_deadline(conn, cfg->limits.header_timeout);
	conn_start(conn);
}

bool
client_is_complete(const struct conn *conn)
{
	return conn->request && conn->request->state != REQUEST_TUNNEL &&
	       request_body_done(conn->request);
}

void
client_ended(struct conn *conn)
{
	struct worker *worker = conn->worker;

	if (conn->is_counted)
		client_table_give(worker->shared->clients,
		    conn->client.listener, &conn->client.peer);
	TAILQ_REMOVE(&worker->clients, conn, link);
	worker->n_clients--;
	if (conn->phase == CONN_BUSY)
		count_state(conn, -1, 0);
	else
		count_state(conn, 0, -1);
}

void
client_secured(struct conn *conn)
{
	struct tls_facts facts;

	tls_stream_facts(conn->tls, &facts);
	if (cell_of(conn))
		counter_add(&cell_of(conn)->handshakes[facts.version == 13]
		                                      [facts.resumed],
		    1);
	conn->phase = CONN_HEAD;
	if (span_eq(facts.alpn, SPAN("h2")) && !h2_accept(conn))
		conn->is_broken = true;
}

void
client_spoke_plainly(struct conn *conn)
{
	static const char body[] =
	    "{\"status\":400,\"error\":\"plaintext\",\"detail\":\"this port "
	    "speaks TLS: use https\"}\n";
	char answer[256];
	int len = snprintf(answer, sizeof(answer),
	    "HTTP/1.1 400 Bad Request\r\nserver: weir\r\ncontent-type: "
	    "application/json\r\n"
	    "content-length: %zu\r\nconnection: close\r\n\r\n%s",
	    sizeof(body) - 1, body);

	count_handshake_error(conn, HANDSHAKE_PLAINTEXT);
	tls_stream_free(&conn->tls);
	conn->is_secure = false;
	conn->phase = CONN_HEAD;
	conn->has_unread = true;
	if (!conn_send(conn, answer, (size_t)len))
		conn->is_broken = true;
	conn_finish(conn);
}

/* ---- the way between requests ---- */

void
client_set_busy(struct conn *conn)
{
	conn->phase = CONN_BUSY;
	conn->client.requests++;
	if (conn->is_stream)
		return; /* its connection is counted */
	count_state(conn, 1, -1);
	conn_no_deadline(conn);
}

void
client_set_idle(struct conn *conn)
{
	assert(conn->phase == CONN_BUSY);
	conn->phase = CONN_HEAD;
	count_state(conn, -1, 1);
}

/* request_done has let go: what now? */
void
client_next(struct conn *conn, bool keep_alive)
{
	const struct listener_cfg *cfg = listener_of(conn);

	if (conn->is_stream) {
		stream_released(conn);
		return;
	}
	assert(conn->phase == CONN_BUSY);
	conn->request = NULL;
	conn->phase = CONN_HEAD;
	conn->client.scanned = 0;
	count_state(conn, -1, 1);
	if (!keep_alive || !cfg || conn->is_broken) {
		conn_finish(conn);
		return;
	}
	if (!conn_watch(conn)) {
		conn_end(conn);
		return;
	}
	conn_deadline(conn, cfg->limits.idle_timeout);
	if (conn->out) {
		conn_pause(conn); /* client_drained resumes: a slow reader gets
		                     no further request */
		return;
	}
	if (conn->in || conn->is_paused)
		conn_resume(conn);
	else if (conn->is_eof)
		conn_end(conn);
}

bool
client_may_keep_alive(const struct conn *conn)
{
	return !atomic_load_explicit(
	           &conn->worker->shared->is_draining, memory_order_relaxed) &&
	       conn->client.requests < REQUESTS_MAX;
}

static void
refuse(struct conn *conn, const struct h1_head *head)
{
	unsigned status = h1_fault_status(head->fault);
	const char *word = h1_fault_word(head->fault);

	client_set_busy(conn);
	conn->has_unread = true;
	reply_refuse(conn, status, word, "the request is malformed");
}

/* What came cannot be kept, for want of memory: the longest head that a file
 * can allow and what one read may bring behind it fit into a buffer. */
static void
give_up(struct conn *conn)
{
	if (conn->request)
		request_abandon(conn->request, FAIL_OVERLOAD);
	else
		conn_end(conn);
}

/*
 * One head from bytes[0..len). H1_DONE: a request has begun and *used_out
 * bytes are consumed.
 */
static enum h1_result
begin_request(struct conn *conn, char *bytes, size_t len, size_t *used_out)
{
	struct worker *worker = conn->worker;
	const struct listener_cfg *cfg = listener_of(conn);
	struct h1_head *head = &worker->parsed;
	enum h1_result result;

	if (!cfg) { /* the listener left with a reload */
		conn_finish(conn);
		return H1_BAD;
	}
	if (!(cfg->protocols & PROTOCOL_H1)) {
		client_set_busy(conn);
		conn->has_unread = true;
		reply_refuse(conn, 505, "http_version",
		    "this listener speaks HTTP/2 only");
		return H1_BAD;
	}
	result = h1_parse_request(
	    bytes, len, cfg->limits.max_header, &conn->client.scanned, head);
	if (result == H1_BAD) {
		refuse(conn, head);
		return H1_BAD;
	}
	if (result == H1_MORE)
		return H1_MORE;
	client_set_busy(conn);
	*used_out = head->len;
	return H1_DONE;
}

static void
await_head(struct conn *conn, bool is_first_piece)
{
	const struct listener_cfg *cfg = listener_of(conn);

	/* Absolute, from the head's first byte; the first head's runs since the
	 * accept. */
	if (is_first_piece && conn->client.requests > 0 && cfg)
		conn_deadline(conn, cfg->limits.header_timeout);
}

/* Consumes requests from bytes[0..len) until one waits for its upstream. */
static void
consume(struct conn *conn, char *bytes, size_t len)
{
	while (len > 0 && conn->phase != CONN_ENDED) {
		size_t used = 0;

		if (conn->phase == CONN_LINGER || conn->close_when_sent)
			return;
		if (conn->request) {
			used = request_body(conn->request, bytes, len);
		} else if (conn->phase == CONN_HEAD && !conn->is_paused) {
			enum h1_result result;

			used = refused_again(conn, bytes, len);
			if (used > 0) {
				bytes += used;
				len -= used;
				continue;
			}
			result = begin_request(conn, bytes, len, &used);
			if (result == H1_BAD)
				return;
			if (result == H1_DONE) {
				used += request_begin(
				    conn, bytes + used, len - used);
			} else {
				if (!conn_stash(conn, bytes, len))
					give_up(conn);
				else
					await_head(conn, true);
				return;
			}
		}
		bytes += used;
		len -= used;
		if (len > 0 && conn->phase != CONN_ENDED &&
		    (conn->request || conn->is_paused) && used == 0) {
			/* Not its turn yet. */
			if (conn_stash(conn, bytes, len))
				conn_pause(conn);
			else
				give_up(conn);
			return;
		}
	}
}

void
client_input(struct conn *conn, char *bytes, size_t len)
{
	struct worker *worker = conn->worker;
	struct buf *stash;
	size_t used = 0;

	if (conn->close_when_sent)
		return;
	if (conn->h2) {
		h2_input(conn, bytes, len);
		return;
	}
	if (!conn->in && conn->client.requests == 0 &&
	    h2_is_preface(bytes, len) && h2_accept(conn)) {
		h2_input(conn, bytes, len);
		return;
	}
	if (!conn->in) {
		consume(conn, bytes, len);
		return;
	}
	if (len > 0 && !conn_stash(conn, bytes, len)) {
		give_up(conn);
		return;
	}
	stash = conn->in;
	if (conn->client.requests == 0 &&
	    h2_is_preface(stash->data + stash->start, buf_len(stash)) &&
	    h2_accept(conn)) {
		/* To the scratch: framing writes around what it forwards. */
		conn->in = NULL;
		len = buf_len(stash);
		bytes = worker->rx + RX_HEADROOM;
		memcpy(bytes, stash->data + stash->start, len);
		buf_give(&worker->bufs, &stash);
		h2_input(conn, bytes, len);
		return;
	}
	if (!conn->request) {
		/* The parsed head points into the stash: it stays until the
		 * request has its own. */
		enum h1_result result = begin_request(
		    conn, stash->data + stash->start, buf_len(stash), &used);

		if (result == H1_MORE && len == 0)
			await_head(conn, true);
		if (result != H1_DONE)
			return;
	}
	conn->in = NULL;
	len = buf_len(stash) - used;
	bytes = worker->rx + RX_HEADROOM;
	memcpy(bytes, stash->data + stash->start + used, len);
	used = conn->request ? 0 : request_begin(conn, bytes, len);
	buf_give(&worker->bufs, &stash);
	consume(conn, bytes + used, len - used);
}

/*
 * A FIN after a complete request: either the client has gone or it only
 * half-closed. An answer that comes soon is still delivered, and one that has
 * begun as long as it moves.
 */
static void
give_grace(struct conn *conn)
{
	conn->client.progress = (uint32_t)conn->request->response_body.bytes;
	conn_deadline(conn, GONE_GRACE_MS * NSEC_PER_MSEC);
}

void
client_eof(struct conn *conn)
{
	struct request *request = conn->request;

	if (conn->phase == CONN_PREAMBLE) {
		proxied_cut(conn);
		return;
	}
	if (conn->h2) {
		if (conn->is_eof)
			conn_end(conn);
		return;
	}
	if (!request) {
		if (!conn->out && conn->phase != CONN_BUSY &&
		    !(conn->is_paused && conn->in)) {
			count_handshake_error(conn, HANDSHAKE_GONE);
			conn_end(conn);
		} else if (conn->is_eof) {
			conn->close_when_sent = true;
		}
		return;
	}
	if (request->state == REQUEST_TUNNEL) {
		if (conn->is_eof)
			tunnel_eof(request, conn);
		return;
	}
	if (!request_body_done(request)) {
		if (conn->is_eof)
			request_abandon(request, FAIL_CLIENT_GONE);
		return; /* else: what was sent before the FIN is still to be
		           read */
	}
	if (!conn->out ||
	    !conn->timer.is_armed) /* else: that is for its reading */
		give_grace(conn);
}

void
client_broken(struct conn *conn)
{
	count_handshake_error(conn, handshake_failure(conn));
	if (conn->request)
		request_abandon(conn->request, FAIL_CLIENT_GONE);
	else
		conn_end(conn);
}

void
client_drained(struct conn *conn)
{
	const struct listener_cfg *cfg = listener_of(conn);

	if (conn->h2) {
		h2_drained(conn);
		return;
	}
	if (conn->request) {
		if (conn->saw_close && client_is_complete(conn))
			give_grace(conn);
		else if (request_body_done(conn->request))
			conn_no_deadline(conn);
		else if (!conn->request->expects_continue)
			client_await_body(conn); /* which goes on */
		request_client_drained(conn->request);
		return;
	}
	if (conn->is_eof && !conn->in) { /* it waited only for these bytes */
		conn_end(conn);
		return;
	}
	if (conn->phase == CONN_HEAD && cfg)
		conn_deadline(conn, cfg->limits.idle_timeout);
	conn_resume(conn);
}

void
client_flushed(struct conn *conn)
{
	const struct listener_cfg *cfg = listener_of(conn);

	/* Progress: a reader that is slow but alive may take its time. */
	if (conn->timer.is_armed && cfg)
		conn_deadline(conn, cfg->limits.idle_timeout);
}

/* ---- deadlines ---- */

static nsec_t
body_window(const struct conn *conn)
{
	const struct listener_cfg *cfg = listener_of(conn);
	nsec_t window = BODY_WINDOW_S * NSEC_PER_SEC;

	return cfg && cfg->limits.idle_timeout < window
	           ? cfg->limits.idle_timeout
	           : window;
}

/* The body's first bytes are awaited. */
void
client_await_body(struct conn *conn)
{
	conn->client.progress = 0;
	conn->client.is_first_window = true;
	conn_deadline(conn, body_window(conn));
}

/* A body whose end nobody has named, and an answer has begun: the two sides
 * talk, and may be silent as long as their pool lets them. */
static bool
is_talk(const struct request *request)
{
	return request->has_response && request->request_body.in != H1_LENGTH;
}

/*
 * A window of a body is over: too little of it came, or it was us who did not
 * read. The first window asks only for a sign of life.
 */
static void
body_timeout(struct conn *conn, struct request *request)
{
	nsec_t window = body_window(conn);
	uint64_t least = conn->client.is_first_window
	                     ? 1
	                     : (uint64_t)(BODY_RATE * window / NSEC_PER_SEC);

	if (!conn->is_paused && !is_talk(request) &&
	    conn->client.progress < least) {
		counter_add(&cell_of(conn)->too_slow[SLOW_BODY], 1);
		request_fail(request, FAIL_BODY_TIMEOUT);
		return;
	}
	conn->client.progress = 0;
	conn->client.is_first_window = false;
	conn_deadline(conn, window);
}

void
client_timeout(struct conn *conn)
{
	struct request *request = conn->request;

	if (conn->phase == CONN_PREAMBLE) {
		counter_add(&cell_of(conn)->too_slow[SLOW_PREAMBLE], 1);
		conn_end(conn);
	} else if (conn->h2) {
		h2_timeout(conn);
	} else if (conn->is_stream && !request) {
		stream_timeout(conn);
	} else if (!request) {
		if (conn->phase == CONN_HEAD && conn->in && !conn->out &&
		    !conn->is_paused) {
			client_set_busy(conn);
			conn->has_unread = true;
			counter_add(&cell_of(conn)->too_slow[SLOW_HEAD], 1);
			reply_refuse(conn, 408, "header_timeout",
			    "the request's head did not arrive in time");
		} else {
			if (conn->phase == CONN_HANDSHAKE)
				counter_add(
				    &cell_of(conn)->too_slow[SLOW_HANDSHAKE],
				    1);
			count_handshake_error(conn, HANDSHAKE_TIMEOUT);
			conn_end(conn);
		}
	} else if (request->state == REQUEST_TUNNEL) {
		tunnel_timeout(request);
	} else if (request->state == REQUEST_WAIT_BODY) {
		request_body_late(request);
	} else if (conn->out) {
		counter_add(&cell_of(conn)->too_slow[SLOW_READ], 1);
		request_abandon(request, FAIL_CLIENT_STALLED);
	} else if (conn->saw_close) {
		if (conn->client.progress !=
		    (uint32_t)request->response_body.bytes)
			give_grace(conn);
		else
			request_abandon(request, FAIL_CLIENT_GONE);
	} else if (request->expects_continue &&
	           request->state == REQUEST_RELAY) {
		request_say_continue(request);
	} else if (!request_body_done(request)) {
		body_timeout(conn, request);
	}
}
