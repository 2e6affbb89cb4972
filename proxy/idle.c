/*
 * Kept upstream connections: per worker and endpoint, last in first out, so
 * that the warm ones are used and the surplus ages away by its deadline. Two
 * pointer writes per request.
 */
#include <assert.h>
#include <stdlib.h>

#include "proxy/request.h"

/* Beyond this many kept per endpoint and worker the oldest goes. */
enum { IDLE_MAX = 1024 };

/* Read by whoever asks for statistics. */
static void
count(struct endpoint_local *local, uint32_t by)
{
	__atomic_store_n(&local->n_idle, local->n_idle + by, __ATOMIC_RELAXED);
}

static struct conn_queue *
queue_of(struct endpoint *endpoint, unsigned worker)
{
	return endpoint->local[worker].idle;
}

void
idle_put(struct conn *upstream, nsec_t keep)
{
	struct endpoint *endpoint = upstream->upstream.endpoint;
	struct endpoint_local *local = &endpoint->local[upstream->worker->id];
	struct conn_queue *queue = local->idle;

	if (!queue) {
		queue = malloc(sizeof(*queue));
		if (!queue) {
			conn_end(upstream);
			return;
		}
		TAILQ_INIT(queue);
		local->idle = queue;
	}
	if (local->n_idle == IDLE_MAX) {
		struct conn *oldest = TAILQ_LAST(queue, conn_queue);

		idle_remove(oldest);
		conn_end(oldest);
		queue = local->idle;
	}
	upstream->phase = CONN_IDLE;
	upstream->request = NULL;
	TAILQ_INSERT_HEAD(queue, upstream, link);
	count(local, 1);
	conn_deadline(upstream, keep);
}

void
idle_remove(struct conn *upstream)
{
	struct endpoint_local *local =
	    &upstream->upstream.endpoint->local[upstream->worker->id];

	assert(upstream->phase == CONN_IDLE);
	TAILQ_REMOVE((struct conn_queue *)local->idle, upstream, link);
	count(local, UINT32_MAX); /* one less */
	upstream->phase = CONN_BUSY;
}

struct conn *
idle_get(struct endpoint *endpoint, unsigned worker)
{
	struct conn_queue *queue = queue_of(endpoint, worker);
	struct conn *conn;

	while (queue && (conn = TAILQ_FIRST(queue))) {
		idle_remove(conn);
		if (!conn->upstream.send_proxy)
			return conn;
		/* From before a reload: the pool's connections no longer speak
		 * for one client. */
		conn_end(conn);
	}
	return NULL;
}

void
idle_close_all(struct endpoint *endpoint, unsigned worker)
{
	struct conn *conn;

	while ((conn = idle_get(endpoint, worker)))
		conn_end(conn);
	free(endpoint->local[worker].idle);
	endpoint->local[worker].idle = NULL;
}
