/*
 * Endpoints on their way out:
 *
 *          drain, maint, or gone from the pool        its drain is over
 *   stays -------------------------------------> leaves -----------------> cut
 *     ^                                            |                        |
 *     +------- active again, or in the pool again -+------------------------+
 *
 * An endpoint that leaves gets no new request; what it has may go on until its
 * pool's `drain` is over. Then it is marked as cut and the workers end what is
 * left. Once nothing is in flight there that is told, whichever way it came.
 * All of it is the control thread's; workers read admin, is_retired and is_cut.
 */
#include <string.h>

#include "routing/registry.h"

static uint32_t
in_flight_of(const struct endpoint *endpoint, unsigned workers)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < workers; i++)
		n += atomic_load_explicit(
		    &endpoint->local[i].in_flight, memory_order_relaxed);
	return n;
}

static void
endpoint_stay(struct endpoint *endpoint)
{
	if (endpoint->leaves_at == 0)
		return;
	endpoint->leaves_at = 0;
	endpoint->is_gone_told = false;
	atomic_store_explicit(&endpoint->is_cut, false, memory_order_release);
}

/* True: workers should look. */
static bool
endpoint_leave(struct endpoint *endpoint, nsec_t now, unsigned workers,
    leaving_fn *fn, void *ctx)
{
	uint32_t in_flight = in_flight_of(endpoint, workers);
	bool is_cut =
	    atomic_load_explicit(&endpoint->is_cut, memory_order_relaxed);
	bool is_news = endpoint->leaves_at == 0;

	if (is_news) {
		endpoint->left_since = now;
		endpoint->leaves_at = endpoint->drain > CONFIG_NEVER - now
		                          ? CONFIG_NEVER
		                          : now + endpoint->drain;
		fn(ctx, endpoint, LEAVING_BEGUN, in_flight);
	}
	if (in_flight == 0 && !endpoint->is_gone_told) {
		endpoint->is_gone_told = true;
		fn(ctx, endpoint, LEAVING_DRAINED, 0);
	}
	if (in_flight > 0 && !is_cut && endpoint->leaves_at != CONFIG_NEVER &&
	    now >= endpoint->leaves_at) {
		atomic_store_explicit(
		    &endpoint->is_cut, true, memory_order_release);
		fn(ctx, endpoint, LEAVING_CUT, in_flight);
		is_news = true;
	}
	return is_news;
}

bool
registry_each_leaving(
    struct registry *registry, nsec_t now, leaving_fn *fn, void *ctx)
{
	bool is_news = false;

	for (size_t i = 0; i < registry->endpoints.n; i++) {
		struct endpoint *endpoint = registry->endpoints.at[i].object;

		/* One that was built and never published is nobody's yet. */
		if (endpoint->generation == 0)
			continue;
		if (endpoint_is_leaving(endpoint))
			is_news |= endpoint_leave(
			    endpoint, now, registry->workers, fn, ctx);
		else
			endpoint_stay(endpoint);
	}
	return is_news;
}

double
endpoint_time_left(const struct endpoint *endpoint, nsec_t now)
{
	if (endpoint->leaves_at == 0)
		return -1;
	if (endpoint->leaves_at == CONFIG_NEVER)
		return -2;
	return endpoint->leaves_at > now
	           ? (double)(endpoint->leaves_at - now) / NSEC_PER_SEC
	           : 0;
}

void
registry_each_retired(struct registry *registry, const char *pool,
    endpoint_seen_fn *fn, void *ctx)
{
	for (size_t i = 0; i < registry->endpoints.n; i++) {
		const struct endpoint *endpoint =
		    registry->endpoints.at[i].object;

		if (endpoint->generation > 0 &&
		    atomic_load_explicit(
		        &((struct endpoint *)(uintptr_t)endpoint)->is_retired,
		        memory_order_relaxed) &&
		    in_flight_of(endpoint, registry->workers) > 0 &&
		    strcmp(endpoint->pool->name, pool) == 0)
			fn(ctx, endpoint);
	}
}
