/*
 * Pools and endpoints over the API: who is up, why not, and taking one out of
 * service by hand.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/api/api.h"
#include "admin/events.h"
#include "admin/log.h"
#include "admin/sampler.h"
#include "admin/state/state.h"

/* ---- showing ---- */

static json_t *
down_json(const struct endpoint *endpoint)
{
	nsec_t since = atomic_load_explicit(
	    &((struct endpoint *)(uintptr_t)endpoint)->down_since,
	    memory_order_relaxed);
	char text[160];

	endpoint_health(endpoint, now_mono(), text, sizeof(text));
	text[strcspn(text, ",")] = '\0';
	return json_pack("{s:s, s:f}", "reason", text, "seconds",
	    since ? (double)(now_mono() - since) / NSEC_PER_SEC : 0.0);
}

/* A word and why; what the last check said, where there are checks. */
static json_t *
health_json(const struct endpoint *endpoint)
{
	char text[160];
	const char *word =
	    endpoint_health(endpoint, now_mono(), text, sizeof(text));
	json_t *health = json_pack("{s:s, s:s}", "state", word, "text", text);

	if (endpoint->check.is_on && endpoint->check.is_known) {
		json_object_set_new(
		    health, "check", json_string(endpoint->check.text));
		json_object_set_new(
		    health, "in_row", json_integer(endpoint->check.in_row));
	}
	json_object_set_new(health, "warmth",
	    json_integer(atomic_load_explicit(
	        &((struct endpoint *)(uintptr_t)endpoint)->warmth,
	        memory_order_relaxed)));
	return health;
}

static json_t *
errors_json(const struct endpoint_stats *stats)
{
	json_t *errors = json_object();

	for (int i = 0; i < UPSTREAM_ERROR_COUNT; i++)
		if (stats->errors[i] > 0)
			json_object_set_new(errors,
			    upstream_error_name((enum upstream_error)i),
			    json_integer((json_int_t)stats->errors[i]));
	return errors;
}

/* Null for one that stays. */
static json_t *
leaving_json(const struct endpoint *endpoint)
{
	nsec_t now = now_mono();
	double left = endpoint_time_left(endpoint, now);

	if (!endpoint_is_leaving(endpoint) || left == -1)
		return json_null();
	return json_pack("{s:f, s:o, s:b}", "seconds",
	    (double)(now - endpoint->left_since) / NSEC_PER_SEC, "seconds_left",
	    left < 0 ? json_null() : json_real(left), "drained",
	    endpoint->is_gone_told);
}

/* The name that it was found by, as it is drained by; null: by none. */
static json_t *
source_json(const struct address *address)
{
	if (address->kind != ADDRESS_NAME)
		return json_null();
	return address->service ? json_string(address->service)
	                        : json_sprintf("%s:%u", address->host,
	                              (unsigned)address->port);
}

static json_t *
endpoint_json(const struct admin *admin, const struct endpoint *endpoint)
{
	struct endpoint *e = (struct endpoint *)(uintptr_t)endpoint;
	bool is_down = atomic_load_explicit(&e->is_down, memory_order_relaxed);
	struct endpoint_stats stats;

	endpoint_stats_read(
	    endpoint, registry_workers(admin->registry), &stats);
	return json_pack("{s:s, s:o, s:b, s:s, s:b, s:b, s:o, s:o, s:o, s:i, "
	                 "s:I, s:I, s:I, s:I, s:I, "
	                 "s:o}",
	    "address", endpoint->address.text, "from",
	    source_json(&endpoint->address), "standby", endpoint->tier > 0,
	    "state",
	    endpoint_admin_name((enum endpoint_admin)atomic_load_explicit(
	        &e->admin, memory_order_relaxed)),
	    "up", !is_down, "usable", endpoint_is_usable(endpoint), "down",
	    is_down ? down_json(endpoint) : json_null(), "leaving",
	    leaving_json(endpoint), "health", health_json(endpoint), "weight",
	    (int)endpoint->weight, "requests", (json_int_t)stats.requests,
	    "in_flight", (json_int_t)stats.in_flight, "idle",
	    (json_int_t)stats.idle, "connects", (json_int_t)stats.connects,
	    "retries", (json_int_t)stats.retries, "errors",
	    errors_json(&stats));
}

static json_t *
meta_json(const struct pool_cfg *cfg)
{
	json_t *meta = json_object();

	for (size_t i = 0; i < cfg->n_meta; i++)
		json_object_set_new(
		    meta, cfg->meta[i].name, json_string(cfg->meta[i].value));
	return meta;
}

/* Null without an adaptive limit, and before it has begun. */
static json_t *
adaptive_json(const struct pool_view *view)
{
	struct adaptive_stats stats;

	if (!pool_adaptive_read(view, &stats))
		return json_null();
	return json_pack("{s:I, s:I, s:s, s:f, s:f, s:I, s:I}", "limit",
	    (json_int_t)stats.limit, "min",
	    (json_int_t)view->cfg->limits.adaptive.min, "state", stats.state,
	    "latest_ms", (double)stats.latest / NSEC_PER_MSEC, "usual_ms",
	    (double)stats.usual / NSEC_PER_MSEC, "samples",
	    (json_int_t)stats.samples, "probes", (json_int_t)stats.probes);
}

static json_t *
limits_json(const struct pool_view *view)
{
	const struct pool_limits_cfg *cfg = &view->cfg->limits;
	struct places_stats places;

	pool_places_read(view->pool, &places);
	return json_pack("{s:I, s:I, s:I, s:I, s:o}", "in_flight",
	    (json_int_t)cfg->in_flight, "queue", (json_int_t)cfg->queue,
	    "taken", (json_int_t)places.taken, "waiting",
	    (json_int_t)places.waiting, "adaptive", adaptive_json(view));
}

struct retired {
	const struct admin *admin;
	json_t *list;
};

static void
add_retired(void *ctx, const struct endpoint *endpoint)
{
	struct retired *retired = ctx;

	json_array_append_new(
	    retired->list, endpoint_json(retired->admin, endpoint));
}

/* No longer in the pool, but not yet through. */
static json_t *
retired_json(const struct admin *admin, const struct pool_view *view)
{
	struct retired retired = {admin, json_array()};

	registry_each_retired(
	    admin->registry, view->pool->name, add_retired, &retired);
	return retired.list;
}

static json_t *
replaced_json(const struct admin *admin, const struct pool_view *view)
{
	const struct endpoint_set *set =
	    registry_set(admin->registry, view->pool->name);

	if (!set || !endpoint_set_holds(set, view->cfg))
		return json_null();
	return json_pack("{s:o, s:s?, s:s?}", "changed_at",
	    json_time(set->changed_at), "changed_by", set->changed_by, "reason",
	    set->reason);
}

json_t *
pool_to_json(const struct admin *admin, const struct pool_view *view)
{
	json_t *endpoints = json_array(), *object = json_object();
	struct pool_stats stats;

	pool_stats_read(view->pool, registry_workers(admin->registry), &stats);
	for (size_t i = 0; i < view->n_endpoints; i++)
		json_array_append_new(
		    endpoints, endpoint_json(admin, view->endpoints[i]));
	json_object_set_new(object, "schema", json_string("weir.pool/v1"));
	json_object_set_new(object, "name", json_string(view->pool->name));
	json_object_set_new(object, "meta", meta_json(view->cfg));
	json_object_set_new(
	    object, "usable", json_integer((json_int_t)pool_n_usable(view)));
	json_object_set_new(object, "panic", json_boolean(pool_panics(view)));
	json_object_set_new(object, "trouble", pool_trouble(admin, view));
	json_object_set_new(
	    object, "in_flight", json_integer((json_int_t)stats.in_flight));
	if (view->cfg->limits.in_flight > 0)
		json_object_set_new(object, "limits", limits_json(view));
	json_object_set_new(
	    object, "retries", json_integer((json_int_t)stats.retries));
	meter_to_json(object, sampler_pool(admin->sampler, view->pool->name));
	json_object_set_new(object, "endpoints", endpoints);
	json_object_set_new(object, "leaving", retired_json(admin, view));
	json_object_set_new(object, "replaced", replaced_json(admin, view));
	return object;
}

/* Of what an operator decides about a pool: which endpoints, and their states.
 */
uint64_t
pool_version(const struct admin *admin, const struct pool_view *view)
{
	size_t n;
	const struct endpoint_cfg *at =
	    registry_endpoints(admin->registry, view->cfg, &n);
	char *text = endpoints_text(at, n);
	uint64_t version = span_hash(span_of(text));

	for (size_t i = 0; i < view->n_endpoints; i++) {
		uint64_t state = atomic_load_explicit(
		    &view->endpoints[i]->admin, memory_order_relaxed);

		/* Addresses that a name brings in must not make it stale. */
		if (state != ENDPOINT_ACTIVE)
			for (const char *p = view->endpoints[i]->address.text;
			     *p; p++)
				version = (version ^ (uint8_t)*p ^ state << 8) *
				          UINT64_C(0x100000001b3);
	}
	free(text);
	return version >> 12; /* exact in any JSON reader */
}

void
pool_answer(struct call *call, const struct pool_view *view)
{
	char etag[32];

	snprintf(etag, sizeof(etag), "\"%llu\"",
	    (unsigned long long)pool_version(call->admin, view));
	call_json(call, 200, pool_to_json(call->admin, view), etag);
}

static struct snapshot *
current(const struct admin *admin)
{
	return publication_current(registry_publication(admin->registry));
}

void
api_pools(struct call *call)
{
	struct snapshot *snapshot = current(call->admin);
	json_t *list = json_array();

	sampler_read(call->admin->sampler, now_mono());
	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++)
		json_array_append_new(list,
		    pool_to_json(call->admin, snapshot_pool(snapshot, i)));
	call_json(call, 200,
	    json_pack("{s:s, s:o}", "schema", "weir.pools/v1", "pools", list),
	    NULL);
}

/* NULL: answered 404. */
const struct pool_view *
pool_of(struct call *call)
{
	const struct pool_view *view = admin_pool(call->admin, call->args[0]);
	struct snapshot *snapshot = current(call->admin);
	const char *names[256];
	size_t n = 0;

	if (view)
		return view;
	for (; n < snapshot_n_pools(snapshot) && n < 256; n++)
		names[n] = snapshot_pool(snapshot, n)->pool->name;
	call_unknown(call, "pool", call->args[0], names, n);
	return NULL;
}

void
api_pool(struct call *call)
{
	const struct pool_view *view = pool_of(call);

	if (!view)
		return;
	sampler_read(call->admin->sampler, now_mono());
	pool_answer(call, view);
}

/* ---- an endpoint's state ---- */

static const struct endpoint *
endpoint_of(struct call *call, const struct pool_view *view)
{
	const char *names[64], *near;
	char hint[200];
	size_t n = 0;

	for (size_t i = 0; i < view->n_endpoints; i++) {
		const char *text = view->endpoints[i]->address.text;

		if (endpoint_is_named(view->endpoints[i], call->args[1]))
			return view->endpoints[i];
		if (n < 64)
			names[n++] = text;
	}
	near = suggest(span_of(call->args[1]), names, n);
	if (near)
		snprintf(hint, sizeof(hint), "did you mean \"%s\"?", near);
	else
		snprintf(hint, sizeof(hint), "GET /v1/pools/%s lists them",
		    view->pool->name);
	call_problem(call,
	    &(struct problem){404, "unknown-endpoint", hint, NULL, NULL},
	    "pool '%s' has no endpoint \"%.100s\"", view->pool->name,
	    call->args[1]);
	return NULL;
}

static bool
read_state(struct call *call, enum endpoint_admin *out)
{
	static const char *const known[] = {"state", "reason", NULL};
	const char *word =
	    json_string_value(json_object_get(call->body, "state"));

	if (!call_body_knows(call, known))
		return false;
	if (word && endpoint_admin_of(word, out))
		return true;
	call_problem(call,
	    &(struct problem){422, "bad-state",
	        "active, drain (finishes what it has) or maint", "state", NULL},
	    "\"state\" must be active, drain or maint");
	return false;
}

static bool
put_state(struct call *call, const struct pool_view *view,
    const struct endpoint *endpoint, enum endpoint_admin state)
{
	struct admin *admin = call->admin;
	const char *pool = view->pool->name, *address = call->args[1];
	struct err err;

	(void)endpoint;
	struct endpoint_change change = {
	    state, time(NULL), call->actor.name, call->reason};

	if (!state_put_endpoint(admin->state, pool, address, &change, &err)) {
		log_event(LOG_ERROR,
		    "a change of an endpoint was refused: it cannot be "
		    "recorded",
		    "endpoint", address, "error", err.text, NULL);
		call_problem(call,
		    &(struct problem){507, "state-unwritable",
		        "free space in state_dir", NULL, NULL},
		    "%s", err.text);
		return false;
	}
	if (endpoint_set_admin(admin->registry, pool, address, state, &err))
		return true;
	call_problem(call,
	    &(struct problem){409, "endpoint-state", NULL, NULL, NULL}, "%s",
	    err.text);
	return false;
}

static void
tell_state(struct call *call, const struct pool_view *view,
    const struct endpoint *endpoint, const char *before, const char *after)
{
	json_t *was = json_pack(
	    "{s:s, s:s}", "endpoint", endpoint->address.text, "state", before);
	json_t *is = json_pack(
	    "{s:s, s:s}", "endpoint", endpoint->address.text, "state", after);
	json_t *event = json_pack("{s:s, s:s, s:s, s:s, s:s}", "pool",
	    view->pool->name, "endpoint", endpoint->address.text, "before",
	    before, "after", after, "by", call->actor.name);
	char *text = json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(12));

	call_audit(call, view->pool->name, was, is, "ok");
	if (text)
		events_publish(call->admin->events, "endpoint", text);
	log_event(LOG_INFO, "endpoint state changed", "pool", view->pool->name,
	    "endpoint", endpoint->address.text, "state", after, "by",
	    call->actor.name, NULL);
	free(text);
	json_decref(event);
	json_decref(was);
	json_decref(is);
}

void
api_endpoint_state(struct call *call)
{
	const struct pool_view *view = pool_of(call);
	const struct endpoint *endpoint = view ? endpoint_of(call, view) : NULL;
	enum endpoint_admin state = ENDPOINT_ACTIVE, before;

	if (!endpoint ||
	    !call_matches(call, pool_version(call->admin, view), NULL) ||
	    !read_state(call, &state))
		return;
	before = (enum endpoint_admin)atomic_load_explicit(
	    &((struct endpoint *)(uintptr_t)endpoint)->admin,
	    memory_order_relaxed);
	if (!call->is_dry_run) {
		if (!put_state(call, view, endpoint, state))
			return;
		tell_state(call, view, endpoint, endpoint_admin_name(before),
		    endpoint_admin_name(state));
	}
	pool_answer(call, view);
}
