/*
 * An endpoint and its three states that workers look at:
 *
 *              refused twice in a row (a worker), prober says down
 *        up ------------------------------------------------------> down
 *           <------------------------------------------------------
 *                              prober says up
 *
 *   With checks the prober needs `fall` failed ones in a row to say down and
 *   `rise` good ones to say up; the first check of all decides alone.
 *
 *   active | drain | maint: the operator's word; only active gets requests.
 *   retired: in no current snapshot, keep no connection.
 *
 * Whoever flips one of the first two counts it in the pool's `changes`, which
 * makes every worker's balancer look again before its next pick.
 */
#include <assert.h>
#include <stdio.h>

#include "routing/memory.h"
#include "routing/registry.h"

struct endpoint *
endpoint_new(struct pool *pool, const struct address *address, unsigned workers)
{
	struct endpoint *endpoint = memory_take(1, sizeof(*endpoint));

	endpoint->pool = pool;
	pool->refs++;
	endpoint->address = *address;
	endpoint->address.text = memory_text(address->text);
	endpoint->address.host = memory_text(address->host);
	endpoint->address.service =
	    address->service ? memory_text(address->service) : NULL;
	endpoint->weight = 1;
	atomic_init(&endpoint->warmth, WARMTH_ALL);
	endpoint->local = memory_take_lines(workers, sizeof(*endpoint->local));
	return endpoint;
}

void
endpoint_free(void *dead)
{
	struct endpoint *endpoint = dead;

	endpoint->pool->refs--;
	address_release(&endpoint->address);
	free(endpoint->local);
	free(endpoint);
}

static void
pool_changed(struct pool *pool)
{
	atomic_fetch_add_explicit(&pool->changes, 1, memory_order_release);
}

/* True when this call took it out. Of several workers at once one does. */
static bool
endpoint_take_out(struct endpoint *endpoint, nsec_t now)
{
	if (atomic_exchange_explicit(
	        &endpoint->is_down, true, memory_order_acq_rel))
		return false;
	atomic_store_explicit(&endpoint->down_since, now, memory_order_relaxed);
	pool_changed(endpoint->pool);
	return true;
}

bool
endpoint_failed(struct endpoint *endpoint, unsigned worker, nsec_t now)
{
	struct endpoint_local *local = &endpoint->local[worker];

	if (++local->failures_in_row < ENDPOINT_FAILURES_MAX)
		return false;
	/* When it is back it may fail once again before it is taken out. */
	local->failures_in_row = 0;
	return endpoint_take_out(endpoint, now);
}

void
endpoint_succeeded(struct endpoint *endpoint, unsigned worker)
{
	endpoint->local[worker].failures_in_row = 0;
}

void
endpoint_mark_up(struct endpoint *endpoint)
{
	if (!atomic_load_explicit(&endpoint->is_down, memory_order_relaxed))
		return;
	/* In this order a worker that takes it out again leaves its own time.
	 */
	atomic_store_explicit(&endpoint->down_since, 0, memory_order_relaxed);
	endpoint->down_reason[0] = '\0';
	endpoint_cool(endpoint);
	atomic_store_explicit(&endpoint->is_down, false, memory_order_release);
	pool_changed(endpoint->pool);
}

/* The reason is kept also when a worker was first to take it out. */
void
endpoint_mark_down(struct endpoint *endpoint, nsec_t now, const char *reason)
{
	endpoint_take_out(endpoint, now);
	snprintf(endpoint->down_reason, sizeof(endpoint->down_reason), "%s",
	    reason ? reason : "");
}

/* ---- slow start ---- */

void
endpoint_cool(struct endpoint *endpoint)
{
	if (endpoint->slow_start == 0)
		return;
	endpoint->warm_since = 0;
	atomic_store_explicit(
	    &endpoint->warmth, WARMTH_COLD, memory_order_relaxed);
}

/* In steps: each makes the balancers' tables anew. */
void
endpoint_warm(struct endpoint *endpoint, nsec_t now)
{
	enum { STEP = 5 };
	uint32_t was =
	    atomic_load_explicit(&endpoint->warmth, memory_order_relaxed);
	uint32_t is = WARMTH_ALL;

	if (was == WARMTH_ALL)
		return;
	if (endpoint->warm_since == 0)
		endpoint->warm_since = now;
	if (now - endpoint->warm_since < endpoint->slow_start)
		is = WARMTH_COLD +
		     (uint32_t)((WARMTH_ALL - WARMTH_COLD) *
		                (now - endpoint->warm_since) /
		                endpoint->slow_start / STEP * STEP);
	if (is == was)
		return;
	atomic_store_explicit(&endpoint->warmth, is, memory_order_relaxed);
	pool_changed(endpoint->pool);
}

/* ---- active checks ---- */

static bool
endpoint_is_down(const struct endpoint *endpoint)
{
	return atomic_load_explicit(
	    &((struct endpoint *)(uintptr_t)endpoint)->is_down,
	    memory_order_relaxed);
}

bool
endpoint_checked(struct endpoint *endpoint, const struct health_cfg *cfg,
    bool is_good, const char *text, nsec_t now)
{
	struct endpoint_check *check = &endpoint->check;
	bool is_down = endpoint_is_down(endpoint);
	bool is_first = !check->is_known;

	if (is_first || check->was_good != is_good ||
	    check->saw_down != is_down)
		check->in_row = 0;
	if (check->in_row < UINT32_MAX)
		check->in_row++;
	check->is_known = true;
	check->was_good = is_good;
	check->at = now;
	snprintf(check->text, sizeof(check->text), "%s", text);
	if (is_down && is_good && (is_first || check->in_row >= cfg->rise))
		endpoint_mark_up(endpoint);
	else if (!is_good && (is_first || check->in_row >= cfg->fall))
		endpoint_mark_down(endpoint, now, text);
	check->saw_down = endpoint_is_down(endpoint);
	return check->saw_down != is_down;
}

bool
endpoint_is_turning(const struct endpoint *endpoint)
{
	return endpoint->check.is_known &&
	       endpoint->check.was_good == endpoint_is_down(endpoint);
}

static const char *
down_text(const struct endpoint *endpoint)
{
	const char *failure = atomic_load_explicit(
	    &((struct endpoint *)(uintptr_t)endpoint)->failure,
	    memory_order_relaxed);

	if (endpoint->down_reason[0])
		return endpoint->down_reason;
	return failure ? failure : "connections failed";
}

const char *
endpoint_health(
    const struct endpoint *endpoint, nsec_t now, char *text, size_t cap)
{
	const struct endpoint_check *check = &endpoint->check;
	struct endpoint *e = (struct endpoint *)(uintptr_t)endpoint;
	bool is_down = endpoint_is_down(endpoint);
	bool is_ejected =
	    atomic_load_explicit(&e->is_ejected, memory_order_relaxed);
	nsec_t left =
	    atomic_load_explicit(&e->ejected_until, memory_order_relaxed) - now;
	uint32_t warmth =
	    atomic_load_explicit(&e->warmth, memory_order_relaxed);
	char ago[64] = "", share[64] = "";

	if (warmth < WARMTH_ALL)
		snprintf(share, sizeof(share),
		    ", warming up: at %u%% of its share", warmth);
	if (check->is_on && check->is_known)
		snprintf(ago, sizeof(ago), ", checked %.1fs ago",
		    (double)(now - check->at) / NSEC_PER_SEC);
	if (is_down)
		snprintf(text, cap, "%s%s", down_text(endpoint), ago);
	else if (is_ejected)
		snprintf(text, cap, "failures in a row, out for %.1fs more",
		    left > 0 ? (double)left / NSEC_PER_SEC : 0.0);
	else if (check->is_on && check->is_known)
		snprintf(text, cap, "%s%s%s", check->text, ago, share);
	else
		snprintf(text, cap, "%s%s",
		    check->is_on ? "not checked yet" : "no checks", share);
	return is_down ? "down" : is_ejected ? "ejected" : "up";
}

size_t
pool_n_usable(const struct pool_view *view)
{
	size_t n = 0;

	for (size_t i = 0; i < view->n_endpoints; i++)
		n += endpoint_is_usable(view->endpoints[i]);
	return n;
}

bool
pool_panics(const struct pool_view *view)
{
	size_t active = 0;

	for (size_t i = 0; i < view->n_endpoints; i++)
		active += atomic_load_explicit(&view->endpoints[i]->admin,
		              memory_order_relaxed) == ENDPOINT_ACTIVE;
	return active > 0 && pool_n_usable(view) == 0;
}

/* ---- the operator's word ---- */

bool
endpoint_is_named(const struct endpoint *endpoint, const char *address)
{
	char name[512];

	if (strcmp(endpoint->address.text, address) == 0)
		return true;
	if (endpoint->address.kind != ADDRESS_NAME)
		return false;
	if (endpoint->address.service != NULL)
		return strcmp(endpoint->address.service, address) == 0;
	snprintf(name, sizeof(name), "%s:%u", endpoint->address.host,
	    endpoint->address.port);
	return strcmp(name, address) == 0;
}

static bool
refuse_address(
    const struct pool_view *view, const char *address, struct err *err)
{
	const char *some =
	    view->n_endpoints > 0 ? view->endpoints[0]->address.text : NULL;

	if (some == NULL)
		return err_set(
		    err, "pool '%s' has no endpoints now", view->pool->name);
	return err_set(err,
	    "pool '%s' has no endpoint '%s' among its %zu (the first is '%s')",
	    view->pool->name, address, view->n_endpoints, some);
}

static bool
view_set_admin(const struct pool_view *view, const char *address,
    enum endpoint_admin state, struct err *err)
{
	size_t found = 0;

	for (size_t i = 0; i < view->n_endpoints; i++) {
		if (!endpoint_is_named(view->endpoints[i], address))
			continue;
		found++;
		if (state == ENDPOINT_ACTIVE &&
		    atomic_load_explicit(&view->endpoints[i]->admin,
		        memory_order_relaxed) != ENDPOINT_ACTIVE)
			endpoint_cool(view->endpoints[i]);
		atomic_store_explicit(&view->endpoints[i]->admin,
		    (uint8_t)state, memory_order_release);
	}
	if (found == 0)
		return refuse_address(view, address, err);
	pool_changed(view->pool);
	return true;
}

bool
endpoint_set_admin(struct registry *registry, const char *pool,
    const char *address, enum endpoint_admin state, struct err *err)
{
	struct snapshot *snapshot = publication_current(&registry->publication);

	for (size_t i = 0; snapshot && i < snapshot_n_pools(snapshot); i++) {
		const struct pool_view *view = snapshot_pool(snapshot, i);

		if (strcmp(view->pool->name, pool) == 0)
			return view_set_admin(view, address, state, err);
	}
	return err_set(err, "there is no pool '%s'", pool);
}

/* ---- statistics ---- */

void
endpoint_stats_read(const struct endpoint *endpoint, unsigned workers,
    struct endpoint_stats *out)
{
	*out = (struct endpoint_stats){0};
	for (unsigned i = 0; i < workers; i++) {
		struct endpoint_local *local = &endpoint->local[i];

		out->requests += counter_read(&local->requests);
		out->connects += counter_read(&local->connects);
		out->retries += counter_read(&local->retries);
		for (int j = 0; j < UPSTREAM_ERROR_COUNT; j++)
			out->errors[j] += counter_read(&local->errors[j]);
		out->in_flight += atomic_load_explicit(
		    &local->in_flight, memory_order_relaxed);
		out->idle += __atomic_load_n(&local->n_idle, __ATOMIC_RELAXED);
	}
}
