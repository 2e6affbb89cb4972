/*
 * Waiting for a place. Each worker has its own line for each pool that is
 * full, first come first served, for a time that is the same for all of a
 * line: so the first is always the next to be late. Who comes while others
 * wait goes to the end.
 *
 * A place that becomes free is offered by the worker that gives it: to its own
 * line or, by lot in proportion, to another worker, which is woken. Nothing is
 * reserved: a woken worker finds the place or does not, and asks again with
 * its tick. Requests go on at the end of the turn (queue_run), never within
 * another one's farewell.
 */
#include "proxy/queue.h"

#include <assert.h>
#include <stdlib.h>

struct line {
	LIST_ENTRY(line) link;
	struct pool *pool; /* borrowed: kept by the snapshots of who waits */
	struct request_queue waiting;
	uint32_t n, visited; /* visited: in which look at all lines */
};

static struct line *
line_of(struct worker *worker, const struct pool *pool)
{
	struct line *line;

	LIST_FOREACH(line, &worker->lines, link)
	if (line->pool == pool)
		return line;
	return NULL;
}

static struct line *
line_new(struct worker *worker, struct pool *pool)
{
	struct line *line = calloc(1, sizeof(*line));

	if (line == NULL)
		return NULL;
	line->pool = pool;
	TAILQ_INIT(&line->waiting);
	LIST_INSERT_HEAD(&worker->lines, line, link);
	return line;
}

/* Out of the line, which goes with its last. */
static void
step_out(struct request *request)
{
	struct worker *worker = request->worker;
	struct line *line = line_of(worker, request->decision.pool->pool);

	assert(request->is_waiting && line && line->n > 0);
	request->is_waiting = false;
	TAILQ_REMOVE(&line->waiting, request, queue);
	line->n--;
	pool_wait_no_more(line->pool, worker->id, line->n == 0);
	if (line->n > 0)
		return;
	LIST_REMOVE(line, link);
	free(line);
}

static bool
refuse(struct request *request)
{
	const struct pool_view *view = request->decision.pool;
	struct pool_cell *cell = &view->pool->cells[request->worker->id];
	bool is_held = pool_is_held(view);

	counter_add(is_held ? &cell->held : &cell->full, 1);
	request_fail(request, is_held ? FAIL_POOL_HELD : FAIL_POOL_FULL);
	return false;
}

static bool
stand_in_line(struct request *request)
{
	struct worker *worker = request->worker;
	struct pool *pool = request->decision.pool->pool;
	struct line *line = line_of(worker, pool);

	if (line == NULL)
		line = line_new(worker, pool);
	if (line == NULL)
		return refuse(request);
	if (!pool_wait(request->decision.pool, worker->id)) {
		if (line->n == 0) {
			LIST_REMOVE(line, link);
			free(line);
		}
		return refuse(request);
	}
	request->is_waiting = true;
	request->waits_since = worker->now;
	TAILQ_INSERT_TAIL(&line->waiting, request, queue);
	line->n++;
	/* One that became free before we were counted was offered to nobody. */
	if (line->n > 1 || !pool_take_place(request->decision.pool))
		return false;
	request->place = pool;
	step_out(request);
	return true;
}

bool
queue_enter(struct request *request)
{
	const struct pool_view *view = request->decision.pool;

	if (view->cfg->limits.in_flight == 0 || request->place)
		return true;
	if (line_of(request->worker, view->pool) == NULL &&
	    pool_take_place(view)) {
		request->place = view->pool;
		return true;
	}
	if (request->is_copy) { /* it does not wait, and nobody misses it */
		request_fail(request, FAIL_POOL_FULL);
		return false;
	}
	return stand_in_line(request);
}

/* Now, while the pool is surely there; its own line is served later. */
static void
offer(struct worker *worker, struct pool *pool)
{
	const struct line *line = line_of(worker, pool);
	int other;

	if (pool_is_next(
	        pool, worker->id, line ? line->n : 0, &worker->rng, &other))
		worker->has_free_places = true;
	else if (other >= 0)
		worker_wake(&worker->shared->workers[other]);
}

void
queue_leave(struct request *request)
{
	struct worker *worker = request->worker;
	struct pool *pool = request->place;

	if (request->is_waiting)
		step_out(request);
	if (pool == NULL)
		return;
	request->place = NULL;
	if (pool_give_place(pool))
		offer(worker, pool);
}

/* ---- who is next ---- */

static bool
is_late(const struct request *request)
{
	nsec_t now = request->worker->now;

	return now - request->waits_since >=
	           request->decision.pool->cfg->limits.queue_timeout ||
	       (request->deadline != 0 && now >= request->deadline);
}

/* Those that wait too long are told so; who has a deadline of its own, once it
 * is the first: before that it could not have gone on either. */
static void
dismiss(struct worker *worker, struct pool *pool)
{
	struct line *line;

	while ((line = line_of(worker, pool))) {
		struct request *request = TAILQ_FIRST(&line->waiting);

		if (!is_late(request))
			return;
		step_out(request);
		counter_add(&pool->cells[worker->id].late, 1);
		request_fail(request, FAIL_QUEUE_TIMEOUT);
	}
}

/* As many of the line as there are places. A limit may have gone by reload. */
static void
serve(struct worker *worker, struct pool *pool)
{
	struct line *line;

	for (;;) {
		struct request *request;
		const struct pool_view *view;

		dismiss(worker, pool);
		line = line_of(worker, pool);
		if (line == NULL)
			return;
		request = TAILQ_FIRST(&line->waiting);
		view = request->decision.pool;
		if (view->cfg->limits.in_flight > 0 && !pool_take_place(view))
			return;
		step_out(request);
		if (view->cfg->limits.in_flight > 0)
			request->place = pool;
		upstream_get(request, NULL, false);
	}
}

/* A request that goes on may end, and the next of its client come and wait:
   the list is looked at anew after each. */
static void
look_at_lines(struct worker *worker)
{
	struct line *line;
	struct pool *pool;

	worker->looks++;
	do {
		LIST_FOREACH(line, &worker->lines, link)
		if (line->visited != worker->looks)
			break;
		if (line == NULL)
			return;
		line->visited = worker->looks;
		pool = line->pool;
		serve(worker, pool);
	} while (!LIST_EMPTY(&worker->lines));
}

void
queue_run(struct worker *worker)
{
	worker->has_free_places = false;
	look_at_lines(worker);
}

void
queue_tick(struct worker *worker)
{
	if (!LIST_EMPTY(&worker->lines))
		look_at_lines(worker);
}
