/*
 * A second attempt beside the first one. A GET or HEAD that has shown no byte
 * of an answer for longer than nearly all of its pool take (retry.hedge) goes
 * to another endpoint as well; the first good head is the client's, the other
 * attempt is cancelled.
 *
 * The hedge is a request of its own (is_hedge), for a request has one upstream.
 * It has the original's head, client and snapshot, but answers nobody: when its
 * answer is the one, the original takes its upstream over (adopt) and goes on
 * as if it had made a second attempt there. So it never outlives the original,
 * and nothing else knows of it:
 *
 *   hedge_slow       the original's deadline: a hedge, if it can be paid for
 *   hedge_answered   a final head of either: who goes on with it?
 *   hedge_failed     either has failed: the other one is all there is
 *   hedge_end        the original is done
 *
 * It is paid for by the budget of further attempts, never repeated itself, and
 * takes a place in its pool where those are limited. Endpoints are charged for
 * what they answer. For the judge there is only the first attempt: one that is
 * judged is left alone until its age has been counted (trial.c), else a slow
 * candidate would hide behind hedges; a first attempt that was cancelled after
 * that is counted by its age and in no other way.
 *
 * Most requests never come here: what they pass is cold and stays out of line,
 * so that it costs them a test each.
 *
 * It goes out never early and a few milliseconds late at most
 * (worker_be_exact). How long "nearly all" take is looked at once a second
 * (routing/tail.c).
 */
#include <assert.h>

#include "proxy/queue.h"
#include "proxy/request.h"
#include "routing/control.h"

enum { LOOK_TICKS = NSEC_PER_SEC / (WORKER_TICK_MS * NSEC_PER_MSEC) };

static struct pool_cell *
cell_of(const struct request *request)
{
	return &request->decision.pool->pool->cells[request->worker->id];
}

static void
count(struct request *request, enum hedge_result result)
{
	counter_add(&cell_of(request)->hedges[result], 1);
}

/* ---- when ---- */

static bool
may_hedge(const struct request *request)
{
	return (request->method == METHOD_GET ||
	           request->method == METHOD_HEAD) &&
	       request->request_body.in == H1_NO_BODY &&
	       request->attempts == 1 && !request->was_hedged &&
	       !request->is_copy && !request->asks_upgrade;
}

__attribute__((cold, noinline)) nsec_t
hedge_patience(const struct request *request)
{
	const struct retry_cfg *cfg = &request->decision.pool->cfg->retry;

	if (!may_hedge(request))
		return 0;
	return cfg->hedge_after > 0 ? cfg->hedge_after
	                            : cell_of(request)->hedge_after;
}

void
hedge_tick(struct worker *worker)
{
	const struct snapshot *snapshot = worker->snapshot;

	if (++worker->hedge_ticks % LOOK_TICKS != 0 || !snapshot)
		return;
	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++) {
		const struct pool_view *view = snapshot_pool(snapshot, i);

		if (view->cfg->retry.hedge_quantile > 0)
			pool_look_at_tail(view, worker->id);
	}
}

/* ---- the hedge ---- */

static struct request *
hedge_new(struct request *request)
{
	struct worker *worker = request->worker;
	struct request *hedge = slab_take(&worker->requests);

	if (!hedge)
		return NULL;
	memset(hedge, 0, offsetof(struct request, arena));
	hedge->worker = worker;
	hedge->is_hedge = true;
	hedge->snapshot = request->snapshot;
	snapshot_hold(hedge->snapshot, worker->id);
	hedge->client = request->client;
	hedge->decision = request->decision;
	hedge->decision.serial = 0; /* no unit of evidence */
	hedge->decision.is_candidate = false;
	hedge->listener = request->listener;
	hedge->state = REQUEST_CONNECT;
	hedge->method = request->method;
	hedge->minor = request->minor;
	hedge->is_idempotent = true;
	hedge->request_body.is_done = true;
	hedge->start = worker->now;
	hedge->deadline = request->deadline;
	hedge->head = request->head;
	hedge->head_len = request->head_len;
	hedge->attempts = request->attempts;
	hedge->endpoint = request->endpoint; /* to be avoided */
	hedge->rival = request;
	request->rival = hedge;
	return hedge;
}

static void
hedge_free(struct request *hedge)
{
	struct worker *worker = hedge->worker;

	assert(hedge->is_hedge && hedge->rival->rival == hedge);
	hedge->rival->rival = NULL;
	upstream_put(hedge, false);
	queue_leave(hedge);
	snapshot_drop(hedge->snapshot, worker->id);
	slab_give(&worker->requests, hedge);
}

__attribute__((cold, noinline)) void
hedge_end(struct request *request)
{
	count(request, HEDGE_LOST);
	hedge_free(request->rival);
}

/* Its pool may be full: then it is no time for this. */
static bool
take_place(struct request *hedge)
{
	const struct pool_view *view = hedge->decision.pool;

	if (view->cfg->limits.in_flight == 0)
		return true;
	if (!pool_take_place(view))
		return false;
	hedge->place = view->pool;
	return true;
}

static void
begin(struct request *request)
{
	struct pool_cell *cell = cell_of(request);
	struct request *hedge;

	if (pool_n_usable(request->decision.pool) < 2)
		return;
	hedge = hedge_new(request);
	if (!hedge)
		return;
	if (!take_place(hedge) || !retry_spend(cell, request->worker->now)) {
		hedge_free(hedge);
		return;
	}
	counter_add(&cell->retries, 1);
	upstream_get(hedge, request->endpoint, false); /* may have ended it */
}

__attribute__((cold, noinline)) bool
hedge_slow(struct request *request)
{
	nsec_t due = hedge_patience(request), all, left;

	if (due == 0)
		return false;
	all = retry_patience_beside(request);
	left = all - (request->worker->now - request->whole_at);
	if (left <= 0 || due >= all)
		return false;
	if (trial_is_on(request) && request->is_watched) {
		conn_deadline(request->upstream,
		    request_within(request, due < left ? due : left));
		return true;
	}
	request->was_hedged = true;
	conn_deadline(request->upstream, request_within(request, left));
	if (!request->upstream->got_bytes)
		begin(request);
	return true;
}

/* ---- who wins ---- */

/* The original goes on with what the hedge has. */
static void
adopt(struct request *request)
{
	struct request *hedge = request->rival;
	struct conn *upstream = hedge->upstream;

	assert(!request->is_hedge && upstream && request->attempts == 1);
	upstream_put(request, false);
	request->tried[0] = request->endpoint;
	request->attempts = hedge->attempts;
	request->endpoint = hedge->endpoint;
	request->state = hedge->state;
	request->was_refused |= hedge->was_refused;
	request->connecting = hedge->connecting;
	request->sent_at = hedge->sent_at;
	request->whole_at = hedge->whole_at;
	request->upstream = upstream;
	request->has_slot = hedge->has_slot;
	upstream->request = request;
	hedge->upstream = NULL;
	hedge->has_slot = false;
	if (hedge->has_first_byte && !request->has_first_byte) {
		request->has_first_byte = true;
		request->first_byte = hedge->first_byte;
	}
	hedge_free(hedge);
}

/* Where endpoints are picked by how long they take: it took the first one at
 * least so long. Of a hedge that lost that would say nothing. */
static void
charge_first(const struct request *request)
{
	if (request->decision.pool->cfg->balance == BALANCE_EWMA)
		endpoint_took(request->endpoint, request->worker->id,
		    request->worker->now - request->sent_at, false);
}

__attribute__((cold, noinline)) struct request *
hedge_answered(struct request *request, bool is_good)
{
	struct request *original = request->rival;

	if (!is_good) {
		hedge_failed(request);
		return NULL;
	}
	if (!request->is_hedge) {
		hedge_end(request);
		return request;
	}
	charge_first(original);
	count(original, HEDGE_USED);
	adopt(original);
	return original;
}

__attribute__((cold, noinline)) void
hedge_failed(struct request *request)
{
	if (request->is_hedge) {
		count(request, HEDGE_FAILED);
		hedge_free(request);
		return;
	}
	count(request, HEDGE_USED);
	adopt(request);
}
