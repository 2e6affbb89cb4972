/*
 * Further attempts of a request: whether, when, and what they may cost.
 *
 * The budget. Each request of a pool earns its percentage (retry.budget) of an
 * attempt on this worker, and time earns RESERVE_RATE a second, so that a quiet
 * pool can help itself too. Both are kept only up to a bound: what a good hour
 * has earned must not become a storm.
 *
 * The rest. The first further attempt goes to another endpoint at once. Those
 * after it find a pool in trouble: each waits for a random time below
 * REST_MS, twice that, four times, by the tick. A client that leaves meanwhile
 * takes its request with it.
 *
 * A connection that was kept for too long costs nothing (retry_renew): one
 * repetition, on a fresh one. Whoever refuses on that too has failed.
 *
 * per_try. An attempt that is slow is given up only when another one can be
 * made and paid for; else it is waited for as long as without. Which outcomes
 * are repeated at all is request_attempt_failed's affair (fail.def).
 */
#include <assert.h>

#include "proxy/request.h"

enum {
	COST = 10000, /* of an attempt, in basis points of a request */
	EARNED_MAX = 100 * COST,
	RESERVE_RATE = 10, /* a second */
	RESERVE_MAX = RESERVE_RATE * COST,
	REST_MS = 25,
};

/* ---- the budget ---- */

static struct pool_cell *
cell_of(const struct request *request)
{
	return &request->decision.pool->pool->cells[request->worker->id];
}

void
retry_earn(struct request *request)
{
	struct pool_cell *cell = cell_of(request);

	if (cell->retry_balance < EARNED_MAX)
		cell->retry_balance +=
		    request->decision.pool->cfg->retry.budget;
}

/* Asked for only when something has failed: nothing is kept up to date. */
static void
refill(struct pool_cell *cell, nsec_t now)
{
	nsec_t since = now - cell->retry_refilled;

	if (cell->retry_refilled == 0 || since >= NSEC_PER_SEC)
		cell->retry_reserve = RESERVE_MAX;
	else
		cell->retry_reserve += since * RESERVE_MAX / NSEC_PER_SEC;
	if (cell->retry_reserve > RESERVE_MAX)
		cell->retry_reserve = RESERVE_MAX;
	cell->retry_refilled = now;
}

bool
retry_spend(struct pool_cell *cell, nsec_t now)
{
	if (cell->retry_balance >= COST) {
		cell->retry_balance -= COST;
		return true;
	}
	refill(cell, now);
	if (cell->retry_reserve < COST)
		return false;
	cell->retry_reserve -= COST;
	return true;
}

/* ---- what has failed ---- */

void
request_note_failure(struct request *request, enum fail fail, bool was_reused)
{
	const struct fail_row *row = fail_row(fail);

	request->fail = (uint8_t)fail;
	if (!request->endpoint || was_reused)
		return;
	if (row->error < UPSTREAM_ERROR_COUNT)
		counter_add(&request->endpoint->local[request->worker->id]
		                 .errors[row->error],
		    1);
	if (row->blame == BLAME_POOL)
		upstream_judge(request, true);
}

/* ---- connections kept for too long ---- */

/*
 * One that closes before the first byte was closed while it was idle. A
 * session of HTTP/2 tells its streams apart: only what ended with the
 * connection, or was sent back unread (h2_client_end_stream), is meant, the
 * latter once in a request's life. Silence, a reset of the stream and an
 * answer that is none are the endpoint's failures on any connection.
 */
bool
retry_is_stale(const struct request *request, enum fail fail)
{
	const struct conn *upstream = request->upstream;

	if (!upstream || !upstream->is_reused || upstream->got_bytes)
		return false;
	switch (fail) {
	case FAIL_UPSTREAM_CLOSED:
	case FAIL_UPSTREAM_RESET:
		return true;
	case FAIL_UPSTREAM_REFUSED:
		return !request->was_refused;
	default:
		return false;
	}
}

/* Free: nobody has looked at it, and on a fresh connection it cannot come
 * again. It is counted all the same. */
void
retry_renew(struct request *request, enum fail fail)
{
	request->was_refused |= fail == FAIL_UPSTREAM_REFUSED;
	replay_leave(request);
	request->fail = FAIL_NONE;
	request->state = REQUEST_CONNECT;
	upstream_get(request, NULL, true);
}

/* ---- whether ---- */

static bool
has_more(const struct request *request)
{
	return request->attempts <= request->decision.pool->cfg->retry.max &&
	       !request->shielded && !request->is_copy && !request->is_hedge &&
	       !request->rival;
}

bool
retry_is_open(const struct request *request)
{
	const struct retry_cfg *cfg = &request->decision.pool->cfg->retry;

	return has_more(request) &&
	       (cfg->on_connect || cfg->n_statuses > 0 || cfg->per_try > 0);
}

bool
retry_may(struct request *request)
{
	struct pool_cell *cell = cell_of(request);

	if (!has_more(request) || !retry_spend(cell, request->worker->now))
		return false;
	counter_add(&cell->retries, 1);
	return true;
}

/* ---- when ---- */

static void
go_now(struct request *request)
{
	request->state = REQUEST_CONNECT;
	upstream_get(request, request->endpoint, false);
}

/* Full jitter: those that failed together do not come back together. */
static nsec_t
rest_of(struct request *request)
{
	unsigned doublings = request->attempts - 2u;
	uint64_t bound = (uint64_t)(REST_MS * NSEC_PER_MSEC) << doublings;

	return (nsec_t)(rng_next(&request->worker->rng) % bound);
}

void
retry_go(struct request *request)
{
	struct worker *worker = request->worker;

	assert(request->attempts >= 1 && !request->is_resting);
	replay_leave(request);
	if (request->attempts == 1) {
		go_now(request);
		return;
	}
	request->state = REQUEST_CONNECT;
	request->is_resting = true;
	request->waits_since = worker->now + rest_of(request);
	TAILQ_INSERT_TAIL(&worker->resting, request, queue);
}

void
retry_rest_no_more(struct request *request)
{
	assert(request->is_resting);
	request->is_resting = false;
	TAILQ_REMOVE(&request->worker->resting, request, queue);
}

/* Few: a budget's worth. Who goes on may fail at once and rest again, at the
 * end. */
void
retry_tick(struct worker *worker)
{
	struct request *last = TAILQ_LAST(&worker->resting, request_queue);
	struct request *request, *next;
	bool is_last;

	for (request = TAILQ_FIRST(&worker->resting); request; request = next) {
		next = TAILQ_NEXT(request, queue);
		is_last = request == last;
		if (worker->now >= request->waits_since) {
			retry_rest_no_more(request);
			go_now(request);
		}
		if (is_last)
			break;
	}
}

/* ---- slow ---- */

static bool
gives_up_early(const struct request *request)
{
	return request->decision.pool->cfg->retry.per_try > 0 &&
	       request->is_idempotent && !request->body_lost &&
	       request->request_body.is_done && has_more(request);
}

nsec_t
retry_patience(const struct request *request)
{
	const struct retry_cfg *cfg = &request->decision.pool->cfg->retry;
	nsec_t all = retry_patience_beside(request), hedge;

	if (cfg->hedge_quantile == 0 && cfg->hedge_after == 0)
		return all;
	hedge = hedge_patience(request);
	return hedge > 0 && hedge < all ? hedge : all;
}

nsec_t
retry_patience_beside(const struct request *request)
{
	const struct pool_cfg *cfg = request->decision.pool->cfg;

	if (gives_up_early(request) &&
	    cfg->retry.per_try < cfg->first_byte_timeout)
		return cfg->retry.per_try;
	return cfg->first_byte_timeout;
}

bool
retry_slow(struct request *request)
{
	const struct pool_cfg *cfg = request->decision.pool->cfg;
	nsec_t waited = request->worker->now - request->whole_at;

	if (!gives_up_early(request) || waited >= cfg->first_byte_timeout)
		return false;
	if (!retry_may(request)) {
		conn_deadline(request->upstream,
		    request_within(request, cfg->first_byte_timeout - waited));
		return true;
	}
	request_note_failure(request, FAIL_UPSTREAM_TIMEOUT, false);
	if (request->attempts <= 1)
		trial_blame(request, FAIL_UPSTREAM_TIMEOUT);
	retry_go(request);
	return true;
}
