/*
 * The farewell of a request, whatever its fate: count it, log it, let go of
 * what it held, and give the client's connection its next turn.
 */
#include <assert.h>

#include "proxy/mirror.h"
#include "proxy/queue.h"

static void
count(struct request *request)
{
	struct worker *worker = request->worker;
	struct listener_cell *cell = snapshot_listener_cell(
	    request->snapshot, request->listener, worker->id);
	struct outcome outcome = {
	    .method = (enum http_method)request->method,
	    .status = request->status,
	    .pool_failed = request->is_first_failed,
	    .has_first_byte = request->has_first_byte,
	    .bytes_in = request->request_body.bytes,
	    .bytes_out = request->response_body.bytes,
	    .total = worker->now - request->start,
	    .first_byte = request->first_byte - request->dispatched,
	};
	bool is_alarm;

	if (trial_is_on(request) || request->shielded)
		trial_outcome(request, &outcome);

	if (cell) {
		counter_add(&cell->bytes_in, outcome.bytes_in);
		counter_add(&cell->bytes_out, outcome.bytes_out);
		gauge_add(&cell->in_flight, -1);
		if (request->state == REQUEST_TUNNEL)
			gauge_add(&cell->tunnels, -1);
	}
	is_alarm = routing_record(request->snapshot, worker->id,
	    request->listener, &request->decision, &outcome);
	if (is_alarm)
		worker_nudge(worker);
}

void
request_done(struct request *request)
{
	struct worker *worker = request->worker;
	struct conn *client = request->client;
	bool keep_alive = request->keep_alive;

	assert(!request->upstream && client->request == request);
	/* The pool's fault after the head was sent: a cut answer counts like a
	 * 5xx. */
	if (fail_row((enum fail)request->fail)->blame == BLAME_POOL &&
	    request->attempts <= 1)
		trial_blame(request, (enum fail)request->fail);
	if (!request->is_copy)
		count(request);
	queue_leave(request);
	if (request->is_resting)
		retry_rest_no_more(request);
	if (request->is_watched)
		TAILQ_REMOVE(&worker->judged, request, flight);
	if (request->mirror)
		mirror_done(request);
	if (worker->log && !request->is_copy)
		access_log_request(request);
	if (request->replay)
		replay_drop(request);
	if (request->rival)
		hedge_end(request);
	buf_give(&worker->bufs, &request->head_buf);
	buf_give(&worker->bufs, &request->request_body.trailers);
	buf_give(&worker->bufs, &request->response_body.trailers);
	client->request = NULL;
	client->has_unread = !request->request_body.is_done;
	snapshot_drop(request->snapshot, worker->id);
	slab_give(&worker->requests, request);
	client_next(client, keep_alive);
}
