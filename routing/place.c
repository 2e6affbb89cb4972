/*
 * Places of a pool: how many requests it has at once, and who waits for one.
 * One counter for all workers, so that the limit is exact; only pools with a
 * limit pay for it; an adaptive limit (adaptive.c) holds it below the one of
 * the file. Requests wait at their worker (proxy/queue.c); here is how
 * many, and at which workers.
 */
#include <assert.h>

#include "routing/chance.h"
#include "routing/memory.h"
#include "routing/registry.h"

struct places *
places_new(unsigned workers)
{
	struct places *places = memory_take_lines(1, sizeof(*places));

	places->workers = workers;
	places->waits = memory_take(workers, sizeof(*places->waits));
	places->took = memory_take_lines(workers, sizeof(*places->took));
	atomic_init(&places->limit, UINT32_MAX);
	return places;
}

void
places_free(struct places *places)
{
	free(places->waits);
	free(places->took);
	free(places);
}

/* One more, if it stays below the limit. */
static bool
count_up(_Atomic uint32_t *counter, uint32_t limit)
{
	uint32_t now = atomic_load(counter);

	do {
		if (now >= limit)
			return false;
	} while (!atomic_compare_exchange_weak(counter, &now, now + 1));
	return true;
}

bool
pool_is_held(const struct pool_view *view)
{
	return atomic_load_explicit(&view->pool->places->limit,
	           memory_order_relaxed) < view->cfg->limits.in_flight;
}

bool
pool_take_place(const struct pool_view *view)
{
	struct places *places = view->pool->places;
	uint32_t limit =
	    atomic_load_explicit(&places->limit, memory_order_relaxed);

	if (limit > view->cfg->limits.in_flight)
		limit = view->cfg->limits.in_flight;
	return count_up(&places->taken, limit);
}

/* In one order with who counts itself among the waiting and then looks for a
   place: one of both sees the other. */
bool
pool_give_place(struct pool *pool)
{
	uint32_t before = atomic_fetch_sub(&pool->places->taken, 1);

	assert(before > 0);
	return atomic_load(&pool->places->waiting) > 0;
}

bool
pool_wait(const struct pool_view *view, unsigned worker)
{
	struct places *places = view->pool->places;

	if (!count_up(&places->waiting, view->cfg->limits.queue))
		return false;
	atomic_store_explicit(
	    &places->waits[worker], true, memory_order_release);
	return true;
}

void
pool_wait_no_more(struct pool *pool, unsigned worker, bool is_last)
{
	uint32_t before;

	if (is_last)
		atomic_store_explicit(
		    &pool->places->waits[worker], false, memory_order_release);
	before = atomic_fetch_sub_explicit(
	    &pool->places->waiting, 1, memory_order_acq_rel);
	assert(before > 0);
}

bool
pool_is_next(struct pool *pool, unsigned worker, uint32_t own, struct rng *rng,
    int *other_out)
{
	struct places *places = pool->places;
	uint32_t all =
	    atomic_load_explicit(&places->waiting, memory_order_acquire);
	unsigned from;

	*other_out = -1;
	if (all <= own || chance_next(rng) % all < own)
		return own > 0;
	from = (unsigned)(chance_next(rng) % places->workers);
	for (unsigned i = 0; i < places->workers; i++) {
		unsigned other = (from + i) % places->workers;

		if (other == worker ||
		    !atomic_load_explicit(
		        &places->waits[other], memory_order_acquire))
			continue;
		*other_out = (int)other;
		return false;
	}
	return own > 0;
}

void
pool_places_read(const struct pool *pool, struct places_stats *out)
{
	out->taken =
	    atomic_load_explicit(&pool->places->taken, memory_order_relaxed);
	out->waiting =
	    atomic_load_explicit(&pool->places->waiting, memory_order_relaxed);
}
