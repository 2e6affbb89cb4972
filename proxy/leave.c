/*
 * Letting go of endpoints that leave (routing/leaving.c says when). Control
 * counts `leaves` up when one begins to leave or is cut; at its next tick a
 * worker closes the kept connections of those that leave, and ends what is
 * still in flight at those that are cut: what has no answer yet is tried
 * elsewhere where that is allowed, everything else is closed.
 */
#include "proxy/h2/h2.h"
#include "proxy/h2/stream.h"
#include "proxy/request.h"

static void
leave_kept(struct worker *worker)
{
	for (size_t i = 0; i < snapshot_n_pools(worker->snapshot); i++) {
		const struct pool_view *pool =
		    snapshot_pool(worker->snapshot, i);

		for (size_t j = 0; j < pool->n_endpoints; j++)
			if (endpoint_is_leaving(pool->endpoints[j])) {
				idle_close_all(pool->endpoints[j], worker->id);
				h2_client_leave(pool->endpoints[j], worker->id);
			}
	}
}

static void
cut(struct request *request)
{
	/* Without an upstream it has what it needs, or waits for another. */
	if (!request || !request->upstream ||
	    !atomic_load_explicit(
	        &request->endpoint->is_cut, memory_order_acquire))
		return;
	if (request->state == REQUEST_TUNNEL)
		request_abandon(request, FAIL_ENDPOINT_LEFT);
	else
		request_attempt_failed(request, FAIL_ENDPOINT_LEFT);
}

/* And its hedge, whose end is not the request's. */
static void
cut_client(struct conn *client)
{
	if (client->request && client->request->rival)
		cut(client->request->rival);
	cut(client->request);
}

/* A stream's memory stays to the end of the turn, whatever becomes of it. */
static void
cut_streams(struct h2 *h2)
{
	struct stream *stream, *next;

	for (stream = LIST_FIRST(&h2->streams); stream; stream = next) {
		next = LIST_NEXT(stream, link);
		cut_client(&stream->side);
	}
}

void
worker_leave_endpoints(struct worker *worker)
{
	uint32_t leaves =
	    atomic_load_explicit(&worker->shared->leaves, memory_order_acquire);
	struct conn *conn, *next;

	if (leaves == worker->leaves || !worker->snapshot)
		return;
	worker->leaves = leaves;
	leave_kept(worker);
	for (conn = TAILQ_FIRST(&worker->clients); conn; conn = next) {
		next = TAILQ_NEXT(conn, link);
		if (conn->h2)
			cut_streams(conn->h2);
		else
			cut_client(conn);
	}
}
