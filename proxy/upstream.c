/*
 * The upstream's side: which endpoint, a kept connection or a new one, TLS to
 * it, its deadlines, and what its bytes and its silence mean. A connection is
 * borrowed by exactly one request at a time.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/h2/h2.h"
#include "proxy/proxied.h"
#include "proxy/queue.h"

enum { PICKS_MAX = 8 };

static const nsec_t CUT_OFF = 2 * NSEC_PER_MSEC; /* of a wait, by the wheel */

static struct endpoint_local *
local_of(const struct request *request)
{
	return &request->endpoint->local[request->worker->id];
}

static void
count_in_flight(struct request *request, int by)
{
	struct endpoint_local *local = local_of(request);
	struct pool_cell *cell =
	    &request->endpoint->pool->cells[request->worker->id];

	atomic_store_explicit(&local->in_flight,
	    atomic_load_explicit(&local->in_flight, memory_order_relaxed) +
	        (uint32_t)by,
	    memory_order_relaxed);
	gauge_add(&cell->in_flight, by);
}

/* ---- the shield ---- */

/* The pool that does the work has to be able to bear it; the attempt is told
 * of the one that needed it. */
bool
upstream_may_shield(struct request *request, const struct pool_view *by)
{
	unsigned worker = request->worker->id;

	if (!retry_spend(&by->pool->cells[worker], request->worker->now))
		return false;
	counter_add(&request->decision.pool->pool->cells[worker].retries, 1);
	return true;
}

/* ---- what an attempt tells ---- */

static void
tell_time(struct request *request, bool is_bad)
{
	const struct pool_view *pool = request->decision.pool;
	const struct worker *worker = request->worker;
	nsec_t took = worker->now - request->sent_at;

	if (pool->cfg->balance == BALANCE_EWMA)
		endpoint_took(request->endpoint, worker->id, took, is_bad);
	if (pool->cfg->limits.adaptive.is_on)
		pool_took(pool->pool, worker->id, took, is_bad);
}

void
upstream_judge(struct request *request, bool is_bad)
{
	const struct pool_view *pool = request->decision.pool;
	const struct worker *worker = request->worker;

	if (pool->cfg->is_timed)
		tell_time(request, is_bad);
	if (!request->is_copy) /* those eject nobody */
		endpoint_answered(pool, request->endpoint, is_bad, worker->now);
}

/* ---- getting one ---- */

/* For requests that may not be repeated: is a kept connection really still
 * open? */
static bool
is_open(struct conn *upstream)
{
	char byte;

	return recv(upstream->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
	       (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* Where a connection speaks for one client: only what was that one's. */
static struct conn *
take_own(struct request *request)
{
	struct conn *upstream = NULL;

	while ((upstream = proxied_next(request, upstream)))
		if (upstream->phase == CONN_IDLE) {
			idle_remove(upstream);
			return upstream;
		}
	return NULL;
}

static struct conn *
take_kept(struct request *request)
{
	bool is_own = request->decision.pool->cfg->send_proxy != 0;
	struct conn *upstream;

	while ((upstream = is_own ? take_own(request)
	                          : idle_get(request->endpoint,
	                                request->worker->id))) {
		if (request->is_idempotent || is_open(upstream))
			return upstream;
		conn_end(upstream);
	}
	return NULL;
}

enum fail
upstream_fail_of(int error)
{
	switch (error) {
	case ECONNREFUSED:
	case ENOENT: /* a unix socket that is not there */
		return FAIL_CONNECT_REFUSED;
	case ETIMEDOUT:
		return FAIL_CONNECT_TIMEOUT;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
	case EADDRNOTAVAIL:
		return FAIL_OVERLOAD;
	default:
		return FAIL_CONNECT_FAILED;
	}
}

static void
connect_failed(struct request *request, enum fail fail)
{
	if (fail != FAIL_OVERLOAD) {
		atomic_store_explicit(&request->endpoint->failure,
		    fail_row(fail)->text, memory_order_relaxed);
		endpoint_failed(request->endpoint, request->worker->id,
		    request->worker->now);
	}
	request_attempt_failed(request, fail);
}

static int
open_socket(const struct endpoint *endpoint)
{
	const struct sockaddr *sa =
	    (const struct sockaddr *)&endpoint->address.sa;
	int fd = socket(
	    sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd >= 0 && sa->sa_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

int
upstream_dial(const struct worker *worker, const struct endpoint *endpoint,
    enum fail *fail_out)
{
	int fd = open_socket(endpoint), error;

	if (fd >= atomic_load_explicit(
	              &worker->shared->descriptors, memory_order_relaxed)) {
		close(fd); /* the rest is control's */
		fd = -1;
		errno = EMFILE;
	}
	if (fd < 0) {
		*fail_out = upstream_fail_of(errno);
		return -1;
	}
	if (connect(fd, (const struct sockaddr *)&endpoint->address.sa,
	        endpoint->address.sa_len) == 0 ||
	    errno == EINPROGRESS)
		return fd;
	error = errno;
	close(fd);
	/* EAGAIN: a unix socket whose backlog is full */
	*fail_out =
	    error == EAGAIN ? FAIL_CONNECT_TIMEOUT : upstream_fail_of(error);
	return -1;
}

static void
open_connection(struct request *request)
{
	struct endpoint *endpoint = request->endpoint;
	enum fail fail;
	int fd = upstream_dial(request->worker, endpoint, &fail);
	struct conn *upstream;

	if (fd < 0) {
		connect_failed(request, fail);
		return;
	}
	upstream = conn_new(request->worker, fd, false);
	if (!upstream) {
		connect_failed(request, FAIL_OVERLOAD);
		return;
	}
	upstream->upstream.endpoint = endpoint;
	upstream->request = request;
	upstream->phase = CONN_CONNECTING;
	request->upstream = upstream;
	counter_add(&local_of(request)->connects, 1);
	if (!conn_watch(upstream) || (request->decision.pool->cfg->send_proxy &&
	                                 !proxied_own(upstream, request))) {
		connect_failed(request, FAIL_OVERLOAD);
		return;
	}
	request->sent_at = request->worker->now;
	conn_deadline(
	    upstream, request_within(request,
	                  request->decision.pool->cfg->connect_timeout));
}

static bool
was_tried(const struct request *request, const struct endpoint *endpoint)
{
	for (unsigned i = 0; i + 1 < request->attempts; i++)
		if (request->tried[i] == endpoint)
			return true;
	return false;
}

/* Another one than all before, as far as there is one: balancing knows of the
 * last one only, and the lot is cast anew for the others. */
static struct endpoint *
pick(struct request *request, const struct endpoint *avoid)
{
	struct worker *worker = request->worker;
	struct endpoint *endpoint = NULL;
	bool is_panic;

	if (avoid) {
		assert(request->attempts >= 1 &&
		       request->attempts <=
		           sizeof(request->tried) / sizeof(*request->tried));
		request->tried[request->attempts - 1] = request->endpoint;
	}
	for (int i = 0; i < PICKS_MAX; i++) {
		endpoint = pool_pick(request->decision.pool, worker->id,
		    &worker->rng, request->decision.key, avoid, &is_panic);
		if (!avoid || request->attempts < 2 ||
		    !was_tried(request, endpoint))
			break;
	}
	return endpoint;
}

void
upstream_get(struct request *request, const struct endpoint *avoid, bool fresh)
{
	const struct pool_view *pool = request->decision.pool;
	struct conn *upstream;

	assert(!request->upstream);
	if (request->attempts == 0 && !queue_enter(request))
		return;
	if (fresh) {
		counter_add(&local_of(request)->retries, 1);
	} else {
		request->endpoint = pick(request, avoid);
		if (!request->endpoint) {
			request_fail(request, FAIL_NO_ENDPOINT);
			return;
		}
		if (request->attempts++ == 0 && !request->is_copy)
			retry_earn(request);
		else if (request->attempts > 1)
			counter_add(&local_of(request)->retries, 1);
	}
	count_in_flight(request, 1);
	request->has_slot = true;
	if (pool->cfg->protocol == PROTOCOL_H2) {
		h2_client_get(request, fresh);
		return;
	}
	upstream = fresh ? NULL : take_kept(request);
	if (!upstream) {
		open_connection(request);
		return;
	}
	upstream->request = request;
	upstream->is_reused = true;
	request->upstream = upstream;
	request_connected(request);
}

/* `at`: it may stand there. */
static const struct pool_view *
view_in(const struct snapshot *snapshot, const struct pool *pool, size_t at)
{
	size_t n = snapshot ? snapshot_n_pools(snapshot) : 0;

	if (at < n && snapshot_pool(snapshot, at)->pool == pool)
		return snapshot_pool(snapshot, at);
	for (size_t i = 0; i < n; i++)
		if (snapshot_pool(snapshot, i)->pool == pool)
			return snapshot_pool(snapshot, i);
	return NULL;
}

bool
upstream_keeps(
    const struct pool_view *made_by, const struct snapshot *now, size_t at)
{
	const struct pool_view *view = view_in(now, made_by->pool, at);
	const struct pool_tls_cfg *a = &made_by->cfg->tls, *b;

	if (!view)
		return false;
	b = &view->cfg->tls;
	if (a == b)
		return true;
	return a->on == b->on && a->verify == b->verify &&
	       a->protocols == b->protocols &&
	       text_eq(a->ca_file, b->ca_file) &&
	       text_eq(a->server_name, b->server_name);
}

/* Made, or asked for, by the pool as it is now: others may have it. */
static bool
is_of_today(const struct request *request)
{
	const struct snapshot *now = request->worker->snapshot;

	return request->snapshot == now ||
	       upstream_keeps(request->decision.pool, now, 0);
}

void
upstream_put(struct request *request, bool is_reusable)
{
	struct conn *upstream = request->upstream;

	if (request->has_slot)
		count_in_flight(request, -1);
	request->has_slot = false;
	if (!upstream)
		return;
	request->upstream = NULL;
	upstream->request = NULL;
	if (upstream->is_stream) {
		stream_released(upstream);
		return;
	}
	/* has_more: the last read was full, and what follows is no answer. */
	if (!is_reusable || upstream->is_last || upstream->is_broken ||
	    upstream->is_eof || upstream->saw_close || upstream->has_more ||
	    upstream->out || upstream->in ||
	    endpoint_is_leaving(upstream->upstream.endpoint) ||
	    !is_of_today(request)) {
		conn_end(upstream);
		return;
	}
	upstream->is_paused = false;
	idle_put(upstream, request->decision.pool->cfg->idle_timeout);
}

/* ---- what a connection tells ---- */

static void
start_tls(struct conn *upstream)
{
	struct request *request = upstream->request;
	struct worker *worker = upstream->worker;
	void *context = request->decision.pool->tls;

	upstream->tls = tls_stream_connect(context, worker->id,
	    upstream->upstream.endpoint->address.host, &worker->window);
	if (!upstream->tls) {
		connect_failed(request, FAIL_OVERLOAD);
		return;
	}
	upstream->phase = CONN_HANDSHAKE;
	upstream->has_more =
	    true; /* read_tls sends the hello with nothing received */
	conn_begin_handshake(upstream);
}

static void
note_connect_time(struct conn *upstream)
{
	struct request *request = upstream->request;
	struct worker *worker = upstream->worker;

	request->connecting = worker->now - request->sent_at;
	histogram_record(&request->endpoint->pool->cells[worker->id].connect,
	    worker->now - request->sent_at);
	endpoint_succeeded(request->endpoint, worker->id);
}

void
upstream_connected(struct conn *upstream)
{
	struct request *request = upstream->request;
	int error = 0;
	socklen_t len = sizeof(error);

	assert(request || upstream->h2);

	/* R6: asked only here. */
	if (getsockopt(upstream->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (upstream->h2) {
		h2_client_connected(upstream, error);
		return;
	}
	if (error != 0) {
		connect_failed(request, upstream_fail_of(error));
		return;
	}
	if (upstream->upstream.send_proxy && !proxied_announce(upstream)) {
		connect_failed(request, FAIL_CONNECT_FAILED);
		return;
	}
	if (request->decision.pool->tls) {
		start_tls(upstream);
		return;
	}
	note_connect_time(upstream);
	request_connected(request);
}

void
upstream_secured(struct conn *upstream)
{
	if (upstream->h2) {
		h2_client_secured(upstream);
		return;
	}
	note_connect_time(upstream);
	request_connected(upstream->request);
}

static void
drop_kept(struct conn *upstream)
{
	if (upstream->phase == CONN_IDLE)
		idle_remove(upstream);
	conn_end(upstream);
}

/*
 * An event of the turn in which the request left is older than the request:
 * what is to be read came before it, on a connection that was thought to be
 * quiet, and is not its answer.
 */
bool
upstream_spoke_first(struct conn *upstream)
{
	struct request *request = upstream->request;
	char byte;

	if (!request || !upstream->is_reused || upstream->got_bytes ||
	    upstream->upstream.sent_turn != upstream->worker->turn ||
	    recv(upstream->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
		return false;
	request_attempt_failed(request, FAIL_UPSTREAM_CLOSED);
	return true;
}

void
upstream_input(struct conn *upstream, char *bytes, size_t len)
{
	if (upstream->h2)
		h2_input(upstream, bytes, len);
	else if (upstream->request)
		request_response(upstream->request, bytes, len);
	else
		drop_kept(upstream); /* nobody asked: never to be taken for an
		                        answer */
}

void
upstream_eof(struct conn *upstream)
{
	if (upstream->h2)
		h2_client_lost(upstream, FAIL_UPSTREAM_CLOSED);
	else if (!upstream->request)
		drop_kept(upstream);
	else if (upstream->phase == CONN_HANDSHAKE)
		connect_failed(upstream->request, FAIL_UPSTREAM_TLS);
	else
		request_upstream_eof(upstream->request);
}

void
upstream_broken(struct conn *upstream)
{
	struct request *request = upstream->request;

	if (upstream->h2)
		h2_client_lost(upstream, FAIL_UPSTREAM_RESET);
	else if (!request)
		drop_kept(upstream);
	else if (upstream->phase == CONN_HANDSHAKE)
		connect_failed(request, FAIL_UPSTREAM_TLS);
	else if (upstream->has_more && !upstream->is_eof)
		conn_read_rest(
		    upstream); /* sending failed; perhaps an answer is there */
	else
		request_upstream_eof(request);
}

void
upstream_drained(struct conn *upstream)
{
	if (upstream->h2)
		h2_drained(upstream);
	else if (upstream->request)
		request_upstream_drained(upstream->request);
}

/* Its answer, or more of it, is late. */
static void
relay_timeout(struct request *request)
{
	const struct pool_cfg *pool = request->decision.pool->cfg;
	struct conn *upstream = request->upstream;

	if (!request->request_body.is_done && !upstream->out &&
	    !request->expects_continue) {
		/* The client is the slow one: its own deadline watches that. */
		conn_deadline(upstream,
		    request_within(request, request->has_response
		                                ? pool->idle_timeout
		                                : pool->first_byte_timeout));
	} else if (request->has_response) {
		request_attempt_failed(request, FAIL_UPSTREAM_IDLE);
	} else if (!hedge_slow(request) && !retry_slow(request)) {
		request_attempt_failed(request, FAIL_UPSTREAM_TIMEOUT);
	}
}

void
upstream_timeout(struct conn *upstream)
{
	struct request *request = upstream->request;

	if (upstream->h2) {
		h2_client_timeout(upstream);
	} else if (upstream->is_stream && !request) {
		stream_timeout(upstream);
	} else if (!request) {
		drop_kept(upstream);
	} else if (request->state == REQUEST_TUNNEL) {
		tunnel_timeout(request);
	} else if (request->deadline != 0 &&
	           request->worker->now + CUT_OFF >= request->deadline) {
		request_attempt_failed(request, FAIL_DEADLINE);
	} else if (upstream->phase == CONN_CONNECTING) {
		connect_failed(request, FAIL_CONNECT_TIMEOUT);
	} else if (upstream->phase == CONN_HANDSHAKE) {
		connect_failed(request, FAIL_UPSTREAM_TLS);
	} else {
		relay_timeout(request);
	}
}
