/*
 * Copies of requests. A copy is a request like any other, but its client is
 * nobody: a stream without a session, whose bytes go nowhere (h2/stream.h). So
 * it uses the pool's connections, sessions, TLS and deadlines as they are, in
 * HTTP/1 and HTTP/2.
 *
 *   begin   the request goes upstream and was drawn: head copied, body gathered
 *   run     at the end of the turn in which the body was whole, when the
 *           request itself has long been sent
 *   done    of both, in either order: what came of them is compared
 *
 * What the original sees of it is the copying of bytes. There are never more
 * than IN_FLIGHT_MAX on their way (per worker and split), none when half of
 * the worker's memory for buffers is taken, and none lasts longer than
 * LASTS_MAX: a pool that is slow or dead gets fewer copies, nothing queues.
 * A copy has one attempt, earns no retries, is in no log and in no statistics
 * but its own; it neither ejects an endpoint nor acquits one.
 */
#include "proxy/mirror.h"

#include <assert.h>
#include <stdlib.h>

#include "proxy/h2/stream.h"
#include "proxy/head_writer.h"

enum {
	IN_FLIGHT_MAX = 64,
	LASTS_MAX_S = 30,
	HEAD_ROOM = 64, /* for the framing line */
};

/* What is compared. */
struct seen {
	bool is_done;
	bool is_known; /* a status, */
	bool is_whole; /* and all of a body */
	uint16_t status;
	uint64_t bytes;
};

struct mirror {
	TAILQ_ENTRY(mirror) link, ready_link;
	struct worker *worker;          /* borrowed */
	struct snapshot *snapshot;      /* held: keeps the cell and the pool */
	struct mirror_cell *cell;       /* borrowed */
	struct request *request, *copy; /* NULL: not begun, or done */
	struct decision decision;       /* the copy's */
	uint64_t max_body;
	struct buf *head, *body; /* owned, until the copy is sent */
	uint32_t listener;
	uint8_t method;
	bool is_idempotent;
	bool is_ready; /* its body is whole */
	struct seen first, second;
};

static void
count_in_flight(struct mirror *mirror, int by)
{
	gauge_add(&mirror->cell->in_flight, by);
}

static void
mirror_free(struct mirror *mirror)
{
	struct worker *worker = mirror->worker;

	assert(!mirror->copy);
	if (mirror->request)
		mirror->request->mirror = NULL;
	TAILQ_REMOVE(&worker->mirrors, mirror, link);
	buf_give(&worker->bufs, &mirror->head);
	buf_give(&worker->bufs, &mirror->body);
	snapshot_drop(mirror->snapshot, worker->id);
	free(mirror);
}

/* It is not going to be sent. */
static void
skip(struct mirror *mirror, enum mirror_skip why)
{
	counter_add(&mirror->cell->skips[why], 1);
	count_in_flight(mirror, -1);
	mirror_free(mirror);
}

/* ---- begin ---- */

static bool
has_room(const struct worker *worker, const struct mirror_cell *cell)
{
	return atomic_load_explicit(
	           &((struct mirror_cell *)(uintptr_t)cell)->in_flight,
	           memory_order_relaxed) < IN_FLIGHT_MAX &&
	       worker->bufs.used <= worker->bufs.limit / 2;
}

static void
make_ready(struct mirror *mirror)
{
	mirror->is_ready = true;
	TAILQ_INSERT_TAIL(&mirror->worker->mirrors_ready, mirror, ready_link);
}

static struct mirror *
mirror_new(struct request *request, const struct pool_view *to,
    struct mirror_cell *cell)
{
	struct worker *worker = request->worker;
	struct mirror *mirror = calloc(1, sizeof(*mirror));

	if (!mirror)
		return NULL;
	mirror->worker = worker;
	mirror->snapshot = request->snapshot;
	snapshot_hold(mirror->snapshot, worker->id);
	mirror->cell = cell;
	mirror->request = request;
	mirror->decision = request->decision;
	mirror->decision.pool = to;
	mirror->decision.serial = 0; /* no unit of evidence */
	mirror->decision.is_candidate = false;
	mirror->decision.sets_cookie = false;
	mirror->max_body = request->decision.route->split_cfg->mirror.max_body;
	mirror->listener = request->listener;
	mirror->method = request->method;
	mirror->is_idempotent = request->is_idempotent;
	TAILQ_INSERT_TAIL(&worker->mirrors, mirror, link);
	count_in_flight(mirror, 1);
	request->mirror = mirror;
	return mirror;
}

void
mirror_begin(struct request *request)
{
	struct worker *worker = request->worker;
	const struct body *body = &request->request_body;
	const struct pool_view *to =
	    routing_mirror(request->snapshot, &request->decision,
	        (enum http_method)request->method, &worker->rng);
	struct mirror_cell *cell;
	struct mirror *mirror;

	if (!to || request->asks_upgrade)
		return;
	cell = routing_mirror_cell(&request->decision, worker->id);
	if (!has_room(worker, cell)) {
		counter_add(&cell->skips[MIRROR_SKIP_BUSY], 1);
		return;
	}
	mirror = mirror_new(request, to, cell);
	if (!mirror) {
		counter_add(&cell->skips[MIRROR_SKIP_MEMORY], 1);
		return;
	}
	if (!buf_append(&worker->bufs, &mirror->head, request->head,
	        request->head_len, BUF_LARGEST)) {
		skip(mirror, MIRROR_SKIP_MEMORY);
		return;
	}
	if (body->in == H1_LENGTH && body->left > mirror->max_body) {
		skip(mirror, MIRROR_SKIP_BODY);
		return;
	}
	mirror_body(
	    request, request->head + request->head_len, request->replay_len);
}

void
mirror_body(struct request *request, const char *bytes, size_t len)
{
	struct mirror *mirror = request->mirror;

	if (mirror->is_ready)
		return;
	if (len + (mirror->body ? buf_len(mirror->body) : 0) >
	    mirror->max_body) {
		skip(mirror, MIRROR_SKIP_BODY);
		return;
	}
	if (len > 0 && !buf_append(&mirror->worker->bufs, &mirror->body, bytes,
	                   len, BUF_LARGEST)) {
		skip(mirror, MIRROR_SKIP_MEMORY);
		return;
	}
	if (request->request_body.is_done)
		make_ready(mirror);
}

/* ---- run ---- */

/*
 * The head as it went upstream, but with the body's length in place of its
 * chunks, and expecting nothing: all of it is there. The lines are weir's own,
 * and no field's value can hold a line's end.
 */
static bool
put_line_without(struct writer *out, struct span *rest, struct span line)
{
	const char *at = memmem(rest->ptr, rest->len, line.ptr, line.len);

	if (!at)
		return false;
	put(out, rest->ptr, (size_t)(at - rest->ptr));
	line.len -= 2; /* its end may be the next one's beginning */
	rest->len -= (size_t)(at - rest->ptr) + line.len;
	rest->ptr = at + line.len;
	return true;
}

static bool
write_head(struct request *request, const struct mirror *mirror)
{
	struct worker *worker = request->worker;
	size_t len = mirror->body ? buf_len(mirror->body) : 0;
	size_t need = buf_len(mirror->head) + len + HEAD_ROOM;
	struct span rest = {
	    mirror->head->data + mirror->head->start, buf_len(mirror->head)};
	struct writer out;

	if (need > BUF_LARGEST ||
	    !(request->head_buf = buf_take(&worker->bufs, need)))
		return false;
	out = (struct writer){request->head_buf->data, request->head_buf->data,
	    request->head_buf->data + request->head_buf->cap, false};
	if (put_line_without(
	        &out, &rest, SPAN("\r\ntransfer-encoding: chunked\r\n"))) {
		PUT(&out, "\r\ncontent-length: ");
		put_number(&out, len);
	}
	put_line_without(&out, &rest, SPAN("\r\nexpect: 100-continue\r\n"));
	put_span(&out, rest);
	request->head = out.start;
	request->head_len = (uint32_t)(out.at - out.start);
	if (len > 0)
		put(&out, mirror->body->data + mirror->body->start, len);
	request->replay_len = (uint32_t)len;
	return !out.is_full;
}

/* The client that is nobody. */
static struct conn *
sink_new(struct worker *worker, uint32_t listener)
{
	struct stream *stream = slab_take(&worker->streams);

	if (!stream)
		return NULL;
	memset(stream, 0, sizeof(*stream));
	stream->is_sink = true;
	stream->side.worker = worker;
	stream->side.fd = -1;
	stream->side.is_stream = true;
	stream->side.is_watched = true;
	stream->side.is_client = true;
	stream->side.phase = CONN_BUSY;
	stream->side.client.listener = listener;
	return &stream->side;
}

static struct request *
copy_new(struct mirror *mirror)
{
	struct worker *worker = mirror->worker;
	struct request *copy = slab_take(&worker->requests);

	if (!copy)
		return NULL;
	memset(copy, 0, offsetof(struct request, arena));
	copy->worker = worker;
	copy->is_copy = true;
	copy->snapshot = mirror->snapshot;
	copy->decision = mirror->decision;
	copy->listener = mirror->listener;
	copy->method = mirror->method;
	copy->minor = 1;
	copy->is_idempotent = mirror->is_idempotent;
	copy->request_body.is_done = true;
	copy->start = worker->now;
	copy->deadline = worker->now + LASTS_MAX_S * NSEC_PER_SEC;
	if (write_head(copy, mirror))
		copy->client = sink_new(worker, mirror->listener);
	if (!copy->client) {
		buf_give(&worker->bufs, &copy->head_buf);
		slab_give(&worker->requests, copy);
		return NULL;
	}
	return copy;
}

static void
send_copy(struct mirror *mirror)
{
	struct worker *worker = mirror->worker;
	struct request *copy = copy_new(mirror);

	if (!copy) {
		skip(mirror, MIRROR_SKIP_MEMORY);
		return;
	}
	buf_give(&worker->bufs, &mirror->head);
	buf_give(&worker->bufs, &mirror->body);
	snapshot_hold(copy->snapshot, worker->id);
	copy->client->request = copy;
	copy->mirror = mirror;
	mirror->copy = copy;
	copy->state = REQUEST_CONNECT;
	upstream_get(copy, NULL, false);
}

void
mirror_run(struct worker *worker)
{
	struct mirror *mirror;

	while ((mirror = TAILQ_FIRST(&worker->mirrors_ready))) {
		TAILQ_REMOVE(&worker->mirrors_ready, mirror, ready_link);
		send_copy(mirror);
	}
}

/* ---- done ---- */

/* An answer of the upstream's to its end, or a failure that weir has told. */
static struct seen
see(const struct request *request)
{
	const struct fail_row *row = fail_row((enum fail)request->fail);
	bool is_whole = request->has_response && request->response_body.is_done;
	bool is_told =
	    row->blame == BLAME_POOL && row->status == request->status;

	return (struct seen){
	    .is_done = true,
	    .is_known = (is_whole || is_told) && request->status != 499,
	    .is_whole = is_whole && request->status != 499,
	    .status = request->status,
	    .bytes = request->response_body.bytes,
	};
}

static enum mirror_result
compare(const struct seen *first, const struct seen *second)
{
	if (!second->is_whole)
		return MIRROR_FAILED;
	if (!first->is_known)
		return MIRROR_UNCOMPARED;
	if (first->status != second->status)
		return MIRROR_OTHER_STATUS;
	if (first->is_whole && first->bytes != second->bytes)
		return MIRROR_OTHER_SIZE;
	return MIRROR_SAME;
}

/* It had no chance: nothing was sent, and that is not the pool's fault. */
static bool
was_shed(const struct request *copy, enum mirror_skip *why_out)
{
	if (copy->fail != FAIL_POOL_FULL && copy->fail != FAIL_OVERLOAD)
		return false;
	*why_out = copy->fail == FAIL_POOL_FULL ? MIRROR_SKIP_BUSY
	                                        : MIRROR_SKIP_MEMORY;
	return true;
}

void
mirror_done(struct request *request)
{
	struct mirror *mirror = request->mirror;
	enum mirror_skip why;

	request->mirror = NULL;
	if (request->is_copy) {
		assert(mirror->copy == request);
		mirror->copy = NULL;
		mirror->second = see(request);
		if (was_shed(request, &why)) {
			skip(mirror, why);
			return;
		}
		count_in_flight(mirror, -1);
	} else {
		assert(mirror->request == request);
		mirror->request = NULL;
		mirror->first = see(request);
		if (!mirror->is_ready) {
			skip(mirror, MIRROR_SKIP_CUT);
			return;
		}
	}
	if (!mirror->first.is_done || !mirror->second.is_done)
		return;
	counter_add(
	    &mirror->cell->results[compare(&mirror->first, &mirror->second)],
	    1);
	mirror_free(mirror);
}

void
mirror_release(struct worker *worker)
{
	struct mirror *mirror;

	while ((mirror = TAILQ_FIRST(&worker->mirrors_ready))) {
		TAILQ_REMOVE(&worker->mirrors_ready, mirror, ready_link);
		skip(mirror, MIRROR_SKIP_CUT);
	}
	while ((mirror = TAILQ_FIRST(&worker->mirrors))) {
		/* Their requests are gone: a copy in flight is all there is. */
		assert(mirror->copy);
		request_abandon(mirror->copy, FAIL_DRAINED);
	}
}
