/*
 * Endpoints that fail while others do not. Failures in a row are counted over
 * all workers; the one that completes the row ejects, unless too many of the
 * pool are out already:
 *
 *      in ---- `consecutive` bad answers in a row ----> ejected
 *         <---- eject * 2^(times - 1) later (control) --
 *
 * Back in, it gets one request (pool_pick gives the ticket out), and that
 * answer decides: a bad one ejects again, for longer; a good one lets the
 * others in. A request that ends without an answer loses the ticket, and
 * control makes it out anew. Each time span of that length without an ejection
 * forgets one of them.
 *
 * A good answer costs one load. Who ejects looks at all endpoints of the pool,
 * one worker at a time; another that would eject in the same moment lets it be
 * and asks again with the next row, so that the bound always holds.
 */
#include "routing/memory.h"
#include "routing/registry.h"

enum { DOUBLINGS_MAX = 4 };

static nsec_t
ejection_length(const struct outliers_cfg *cfg, uint32_t times)
{
	uint32_t doublings = times > 0 ? times - 1 : 0;

	if (doublings > DOUBLINGS_MAX)
		doublings = DOUBLINGS_MAX;
	return cfg->eject << doublings;
}

/* With one more out, does the bound hold? */
static bool
may_eject(const struct pool_view *view)
{
	uint64_t out = 1;

	for (size_t i = 0; i < view->n_endpoints; i++)
		out += !endpoint_is_usable(view->endpoints[i]);
	return out * BP_ALL <=
	       (uint64_t)view->cfg->outliers.max_ejected * view->n_endpoints;
}

static void
eject(const struct pool_view *view, struct endpoint *endpoint, nsec_t now)
{
	uint32_t times = atomic_fetch_add_explicit(
	                     &endpoint->ejections, 1, memory_order_relaxed) +
	                 1;
	nsec_t length = ejection_length(&view->cfg->outliers, times);

	atomic_store_explicit(
	    &endpoint->ejected_since, now, memory_order_relaxed);
	atomic_store_explicit(
	    &endpoint->ejected_until, now + length, memory_order_relaxed);
	atomic_store_explicit(
	    &endpoint->trial, TRIAL_NONE, memory_order_relaxed);
	atomic_store_explicit(
	    &endpoint->is_ejected, true, memory_order_release);
	atomic_fetch_add_explicit(
	    &view->pool->changes, 1, memory_order_release);
}

static __attribute__((noinline)) bool
endpoint_failed_again(
    const struct pool_view *view, struct endpoint *endpoint, nsec_t now)
{
	uint32_t row = atomic_fetch_add_explicit(
	                   &endpoint->bad_in_row, 1, memory_order_relaxed) +
	               1;
	bool is_done = false;

	if (row < view->cfg->outliers.consecutive ||
	    !endpoint_is_usable(endpoint))
		return false;
	atomic_store_explicit(&endpoint->bad_in_row, 0, memory_order_relaxed);
	if (atomic_exchange_explicit(
	        &view->pool->is_ejecting, true, memory_order_acquire))
		return false;
	if (endpoint_is_usable(endpoint) && may_eject(view)) {
		eject(view, endpoint, now);
		is_done = true;
	}
	atomic_store_explicit(
	    &view->pool->is_ejecting, false, memory_order_release);
	return is_done;
}

/* It is well: everybody may come. */
static __attribute__((noinline)) void
end_trial(const struct pool_view *view, struct endpoint *endpoint)
{
	atomic_store_explicit(
	    &endpoint->trial, TRIAL_NONE, memory_order_relaxed);
	atomic_fetch_add_explicit(
	    &view->pool->changes, 1, memory_order_release);
}

bool
endpoint_answered(const struct pool_view *view, struct endpoint *endpoint,
    bool is_bad, nsec_t now)
{
	if (!view->cfg->outliers.is_on)
		return false;
	if (is_bad)
		return endpoint_failed_again(view, endpoint, now);
	if (atomic_load_explicit(&endpoint->trial, memory_order_relaxed) !=
	    TRIAL_NONE)
		end_trial(view, endpoint);
	if (atomic_load_explicit(&endpoint->bad_in_row, memory_order_relaxed) >
	    0)
		atomic_store_explicit(
		    &endpoint->bad_in_row, 0, memory_order_relaxed);
	return false;
}

/* ---- time passes ---- */

static void
forget_one(
    const struct outliers_cfg *cfg, struct endpoint *endpoint, nsec_t now)
{
	uint32_t times =
	    atomic_load_explicit(&endpoint->ejections, memory_order_relaxed);

	if (times == 0 ||
	    now - endpoint->readmitted_at < ejection_length(cfg, times))
		return;
	atomic_compare_exchange_strong_explicit(&endpoint->ejections, &times,
	    times - 1, memory_order_relaxed, memory_order_relaxed);
	endpoint->readmitted_at = now;
}

/* Nothing was heard of the one request for as long as an ejection lasts, or
 * nobody wants to know any more. */
static void
renew_trial(const struct pool_view *view, struct endpoint *endpoint, nsec_t now)
{
	const struct outliers_cfg *cfg = &view->cfg->outliers;
	uint8_t trial =
	    atomic_load_explicit(&endpoint->trial, memory_order_relaxed);

	if (trial != TRIAL_NONE && !cfg->is_on) {
		end_trial(view, endpoint);
		return;
	}
	if (trial != TRIAL_OUT) {
		endpoint->trial_seen = 0;
	} else if (endpoint->trial_seen == 0) {
		endpoint->trial_seen = now;
	} else if (now - endpoint->trial_seen >= cfg->eject) {
		endpoint->trial_seen = 0;
		atomic_compare_exchange_strong_explicit(&endpoint->trial,
		    &trial, TRIAL_DUE, memory_order_relaxed,
		    memory_order_relaxed);
	}
}

bool
endpoint_readmit(
    const struct pool_view *view, struct endpoint *endpoint, nsec_t now)
{
	const struct outliers_cfg *cfg = &view->cfg->outliers;

	if (!atomic_load_explicit(
	        &endpoint->is_ejected, memory_order_acquire)) {
		renew_trial(view, endpoint, now);
		forget_one(cfg, endpoint, now);
		return false;
	}
	if (cfg->is_on && now < atomic_load_explicit(&endpoint->ejected_until,
	                            memory_order_relaxed))
		return false;
	atomic_store_explicit(&endpoint->bad_in_row,
	    cfg->is_on ? cfg->consecutive - 1 : 0, memory_order_relaxed);
	endpoint->readmitted_at = now;
	endpoint->trial_seen = 0;
	endpoint_cool(endpoint);
	atomic_store_explicit(&endpoint->trial,
	    cfg->is_on ? TRIAL_DUE : TRIAL_NONE, memory_order_relaxed);
	atomic_store_explicit(
	    &endpoint->is_ejected, false, memory_order_release);
	atomic_fetch_add_explicit(
	    &view->pool->changes, 1, memory_order_release);
	return true;
}
