/*
 * A snapshot: one config, bound to the registry's objects, immutable once it
 * is published (but for the workers' own cells that it points at). It is
 * built beside the running one, and either whole or not at all.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "routing/memory.h"
#include "routing/policy/policy.h"
#include "routing/registry.h"

enum { ADDRESSES_MAX = 64 }; /* of one DNS name */

/* ---- the ground ---- */

static struct ground *
ground_new(struct config *config, const struct snapshot_options *options)
{
	struct ground *ground = memory_take(1, sizeof(*ground));

	ground->refs = 1;
	ground->config = config;
	if (options != NULL)
		ground->options = *options;
	ground->listener_tls =
	    memory_take(config->n_listeners, sizeof(*ground->listener_tls));
	ground->pool_tls =
	    memory_take(config->n_pools, sizeof(*ground->pool_tls));
	return ground;
}

static void
ground_unref(struct ground *ground)
{
	const struct snapshot_options *options = &ground->options;

	if (--ground->refs > 0)
		return;
	for (size_t i = 0; i < ground->config->n_listeners; i++)
		if (ground->listener_tls[i] && options->listener_tls_free)
			options->listener_tls_free(
			    options->ctx, ground->listener_tls[i]);
	for (size_t i = 0; i < ground->config->n_pools; i++)
		if (ground->pool_tls[i] && options->pool_tls_free)
			options->pool_tls_free(
			    options->ctx, ground->pool_tls[i]);
	free(ground->listener_tls);
	free(ground->pool_tls);
	config_free(&ground->config);
	free(ground);
}

/* ---- pools ---- */

/* What is bound so far of one pool. */
struct pool_build {
	struct pool_view *view;
	uint32_t *weights; /* owned, by endpoint */
	size_t cap, cap_weights, cap_tiers;
	bool has_tiers;
};

static void
pool_add(struct snapshot *snapshot, struct pool_build *build,
    const struct address *address, uint32_t weight, uint8_t tier)
{
	struct pool_view *view = build->view;
	struct endpoint *endpoint =
	    registry_endpoint(snapshot->registry, view->pool, address);

	/* Two names may stand for one address: it is one endpoint. In a
	   snapshot under construction the mark is the snapshot's number. */
	if (endpoint->built == snapshot->generation) {
		for (size_t i = 0; i < view->n_endpoints; i++)
			if (view->endpoints[i] == endpoint &&
			    view->tiers[i] > tier)
				view->tiers[i] = tier;
		endpoint->refs--;
		return;
	}
	endpoint->built = snapshot->generation;
	view->endpoints = memory_grow(view->endpoints, view->n_endpoints,
	    &build->cap, sizeof(*view->endpoints));
	build->weights = memory_grow(build->weights, view->n_endpoints,
	    &build->cap_weights, sizeof(*build->weights));
	view->tiers = memory_grow(view->tiers, view->n_endpoints,
	    &build->cap_tiers, sizeof(*view->tiers));
	build->weights[view->n_endpoints] = weight;
	view->tiers[view->n_endpoints] = tier;
	build->has_tiers |= tier > 0;
	view->endpoints[view->n_endpoints++] = endpoint;
}

/* One address of a name: printed as numbers, which is what tells it apart;
   the host stays the name, for TLS. */
static bool
address_of_name(const struct address *name, uint16_t port,
    const struct sockaddr_storage *sa, char text[static INET6_ADDRSTRLEN + 8],
    struct address *out)
{
	char host[INET6_ADDRSTRLEN];

	*out = *name;
	out->sa = *sa;
	out->port = port;
	if (sa->ss_family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)&out->sa;

		in->sin_port = htons(port);
		out->sa_len = sizeof(*in);
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		sprintf(text, "%s:%u", host, port);
	} else if (sa->ss_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->sa;

		in6->sin6_port = htons(port);
		out->sa_len = sizeof(*in6);
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		sprintf(text, "[%s]:%u", host, port);
	} else {
		return false;
	}
	out->text = text;
	return true;
}

static bool
pool_add_name(struct snapshot *snapshot, struct pool_build *build,
    const struct endpoint_cfg *cfg, struct err *err)
{
	const struct snapshot_options *options = &snapshot->ground->options;
	struct sockaddr_storage found[ADDRESSES_MAX];
	size_t n;

	if (options->resolve == NULL)
		return err_set(err,
		    "endpoint '%s': names are not resolved here",
		    cfg->address.text);
	n = options->resolve(options->ctx, &cfg->address, found, ADDRESSES_MAX);
	assert(n <= ADDRESSES_MAX);
	for (size_t i = 0; i < n; i++) {
		char text[INET6_ADDRSTRLEN + 8];
		struct address address;

		if (address_of_name(&cfg->address, cfg->address.port, &found[i],
		        text, &address))
			pool_add(snapshot, build, &address, cfg->weight, 0);
	}
	return true;
}

static uint16_t
port_of(const struct sockaddr_storage *sa)
{
	return ntohs(sa->ss_family == AF_INET6
	                 ? ((const struct sockaddr_in6 *)sa)->sin6_port
	                 : ((const struct sockaddr_in *)sa)->sin_port);
}

static bool
pool_add_service(struct snapshot *snapshot, struct pool_build *build,
    const struct endpoint_cfg *cfg, struct err *err)
{
	const struct snapshot_options *options = &snapshot->ground->options;
	const char *service = cfg->address.service;
	struct service_place *found;
	size_t n;

	if (options->find_service == NULL)
		return err_set(
		    err, "endpoint '%s': names are not resolved here", service);
	found = memory_take(SERVICE_PLACES_MAX, sizeof(*found));
	n = options->find_service(
	    options->ctx, service, found, SERVICE_PLACES_MAX);
	assert(n <= SERVICE_PLACES_MAX);
	for (size_t i = 0; i < n; i++) {
		char text[INET6_ADDRSTRLEN + 8];
		struct address address;

		if (address_of_name(&cfg->address, port_of(&found[i].sa),
		        &found[i].sa, text, &address))
			pool_add(snapshot, build, &address, found[i].weight,
			    found[i].tier);
	}
	free(found);
	return true;
}

static bool
pool_bind_tls(struct snapshot *snapshot, size_t i, struct err *err)
{
	struct ground *ground = snapshot->ground;
	const struct snapshot_options *options = &ground->options;
	const struct pool_cfg *cfg = &snapshot->config->pools[i];
	void **tls = &ground->pool_tls[i];

	if (!cfg->tls.on || options->pool_tls == NULL)
		return true;
	if (*tls == NULL)
		*tls = options->pool_tls(options->ctx, cfg, err);
	snapshot->pools[i].tls = *tls;
	return *tls != NULL;
}

static bool
pool_bind(struct snapshot *snapshot, size_t at, struct err *err)
{
	const struct pool_cfg *cfg = &snapshot->config->pools[at];
	struct pool_view *view = &snapshot->pools[at];
	struct pool_build build = {.view = view};
	size_t n;
	const struct endpoint_cfg *endpoints =
	    registry_endpoints(snapshot->registry, cfg, &n);
	bool ok = true;

	view->cfg = cfg;
	view->pool = registry_pool(snapshot->registry, cfg->name);
	for (size_t i = 0; ok && i < n; i++) {
		const struct endpoint_cfg *endpoint = &endpoints[i];

		if (endpoint->address.service != NULL)
			ok = pool_add_service(snapshot, &build, endpoint, err);
		else if (endpoint->address.kind == ADDRESS_NAME)
			ok = pool_add_name(snapshot, &build, endpoint, err);
		else
			pool_add(snapshot, &build, &endpoint->address,
			    endpoint->weight, 0);
	}
	if (!build.has_tiers) {
		free(view->tiers);
		view->tiers = NULL;
	}
	ok = ok && pool_bind_tls(snapshot, at, err);
	if (ok)
		view->balancer = balancer_new(
		    view, build.weights, snapshot->registry->workers);
	free(build.weights);
	return ok || err_wrap(err, "pool '%s'", cfg->name);
}

static void
pool_unbind(struct pool_view *view)
{
	if (view->pool == NULL)
		return;
	balancer_free(view->balancer);
	for (size_t i = 0; i < view->n_endpoints; i++)
		view->endpoints[i]->refs--;
	free(view->endpoints);
	free(view->tiers);
	view->pool->refs--;
}

/* ---- splits and routes ---- */

/* The running one when its slots mean the same, else a new one. */
static struct split *
split_bind(struct snapshot *snapshot, const struct split_cfg *cfg)
{
	struct registry *registry = snapshot->registry;
	struct split *running =
	    publication_current(&registry->publication) != NULL
	        ? registry_split(registry, cfg->name)
	        : NULL;

	if (running == NULL ||
	    !split_has_pools_of(running, snapshot->config, cfg))
		return split_new(registry, snapshot->config, cfg);
	running->refs++;
	return running;
}

/* A pin may lead to a pool that has no weight: it gets a slot behind. */
static void
route_add_pin(struct route_view *view, struct pool_view *pool)
{
	for (uint32_t i = 0; i < view->n_pools; i++)
		if (view->pools[i] == pool)
			return;
	if (view->n_pools < CONFIG_SPLIT_POOLS_MAX)
		view->pools[view->n_pools++] = pool;
}

static void
route_bind_split(struct snapshot *snapshot, struct route_view *view)
{
	const struct split_cfg *cfg =
	    &snapshot->config->splits[view->cfg->target];

	view->split = snapshot->splits[view->cfg->target];
	view->split_cfg = cfg;
	for (size_t i = 0; i < cfg->n_weights; i++)
		view->pools[view->n_pools++] =
		    &snapshot->pools[cfg->weights[i].pool];
	for (size_t i = 0; i < cfg->n_pins; i++)
		route_add_pin(view, &snapshot->pools[cfg->pins[i].pool]);
}

static void
route_bind_series(struct snapshot *snapshot, struct route_view *view)
{
	size_t row = view->n_pools + 1;

	view->series =
	    memory_take(snapshot->n_listeners * row, sizeof(*view->series));
	for (size_t i = 0; i < snapshot->n_listeners; i++) {
		const struct listener_view *listener = &snapshot->listeners[i];

		/* A connection of a listener that has left counts as unrouted.
		 */
		for (size_t j = 0; listener->cfg != NULL && j < row; j++)
			view->series[i * row + j] =
			    registry_series(snapshot->registry,
			        listener->listener->name, view->cfg->name,
			        j < view->n_pools ? view->pools[j]->pool->name
			                          : "");
	}
}

static bool
route_bind(struct snapshot *snapshot, struct route_view *view,
    const struct route_cfg *cfg, struct err *err)
{
	view->cfg = cfg;
	if (snapshot->uses_geo)
		view->tally = registry_geo_tally(snapshot->registry, cfg->name);
	if (!policy_new(snapshot->registry, cfg, &view->policy, err))
		return err_wrap(err, "route '%s'", cfg->name);
	if (cfg->action == ROUTE_SPLIT)
		route_bind_split(snapshot, view);
	else if (cfg->action == ROUTE_POOL)
		view->pools[view->n_pools++] = &snapshot->pools[cfg->target];
	route_bind_series(snapshot, view);
	return true;
}

static void
route_unbind(struct snapshot *snapshot, struct route_view *view)
{
	size_t n = snapshot->n_listeners * (view->n_pools + 1);

	for (size_t i = 0; view->series != NULL && i < n; i++)
		if (view->series[i] != NULL)
			view->series[i]->refs--;
	free(view->series);
	policy_free(&view->policy);
	geo_tally_unref(view->tally);
}

/* ---- listeners ---- */

static bool
listeners_bind(struct snapshot *snapshot, struct err *err)
{
	struct ground *ground = snapshot->ground;
	const struct snapshot_options *options = &ground->options;
	struct registry *registry = snapshot->registry;
	const struct config *config = snapshot->config;

	for (size_t i = 0; i < config->n_listeners; i++)
		registry_listener(registry, config->listeners[i].name);
	snapshot->n_listeners = registry->listeners.n;
	snapshot->listeners =
	    memory_take(snapshot->n_listeners, sizeof(*snapshot->listeners));
	for (size_t i = 0; i < snapshot->n_listeners; i++)
		snapshot->listeners[i].listener =
		    registry->listeners.at[i].object;
	for (size_t i = 0; i < config->n_listeners; i++) {
		const struct listener_cfg *cfg = &config->listeners[i];
		struct listener_view *view =
		    &snapshot
		         ->listeners[registry_listener_id(registry, cfg->name)];

		view->cfg = cfg;
		if (!cfg->has_tls || options->listener_tls == NULL)
			continue;
		if (ground->listener_tls[i] == NULL)
			ground->listener_tls[i] =
			    options->listener_tls(options->ctx, cfg, err);
		view->tls = ground->listener_tls[i];
		if (view->tls == NULL)
			return err_wrap(err, "listener '%s'", cfg->name);
	}
	return true;
}

/* ---- the whole ---- */

static void
snapshot_make_room(struct snapshot *snapshot)
{
	const struct config *config = snapshot->config;

	snapshot->pools =
	    memory_take(config->n_pools, sizeof(*snapshot->pools));
	snapshot->splits =
	    memory_take(config->n_splits, sizeof(*snapshot->splits));
	snapshot->routes =
	    memory_take(config->n_routes, sizeof(*snapshot->routes));
	snapshot->holds = memory_take_lines(
	    snapshot->registry->workers, sizeof(*snapshot->holds));
}

static bool
snapshot_bind(struct snapshot *snapshot, struct err *err)
{
	const struct config *config = snapshot->config;

	for (size_t i = 0; i < config->n_pools; i++)
		if (!pool_bind(snapshot, i, err))
			return false;
	if (!listeners_bind(snapshot, err))
		return false;
	for (size_t i = 0; i < config->n_splits; i++)
		snapshot->splits[i] = split_bind(snapshot, &config->splits[i]);
	for (size_t i = 0; i < config->n_routes; i++)
		snapshot->uses_geo |= policy_asks_place(&config->routes[i]);
	for (size_t i = 0; i < config->n_routes; i++)
		if (!route_bind(snapshot, &snapshot->routes[i],
		        &config->routes[i], err))
			return false;
	snapshot->index = route_index_new(snapshot->routes, config->n_routes);
	return true;
}

/* Takes the reference to the ground over. */
static struct snapshot *
build_on(struct registry *registry, struct ground *ground, struct err *err)
{
	struct snapshot *snapshot = memory_take(1, sizeof(*snapshot));

	if (registry->built != NULL)
		snapshot_free(&registry->built); /* built, never published */
	snapshot->registry = registry;
	snapshot->ground = ground;
	snapshot->config = ground->config;
	snapshot->generation = ++registry->generation;
	if (ground->config->redis.is_on)
		registry_share_secret(registry, ground->config->redis.prefix);
	snapshot_make_room(snapshot);
	if (!snapshot_bind(snapshot, err)) {
		snapshot_free(&snapshot);
		return NULL;
	}
	registry->built = snapshot;
	return snapshot;
}

struct snapshot *
snapshot_build(struct registry *registry, struct config *config,
    const struct snapshot_options *options, struct err *err)
{
	return build_on(registry, ground_new(config, options), err);
}

struct snapshot *
snapshot_rebuild(struct registry *registry, struct err *err)
{
	/* One that was built and then refused is no base. */
	struct snapshot *base = publication_current(&registry->publication);

	if (base == NULL)
		base = registry->built;
	assert(base != NULL);
	base->ground->refs++;
	return build_on(registry, base->ground, err);
}

void
snapshot_free(struct snapshot **snapshot)
{
	struct snapshot *dead = *snapshot;
	struct registry *registry = dead->registry;

	*snapshot = NULL;
	route_index_free(&dead->index);
	for (size_t i = 0; i < dead->config->n_routes; i++)
		route_unbind(dead, &dead->routes[i]);
	for (size_t i = 0; i < dead->config->n_splits; i++)
		if (dead->splits[i] != NULL)
			split_unref(dead->splits[i]);
	free(dead->listeners);
	for (size_t i = 0; i < dead->config->n_pools; i++)
		pool_unbind(&dead->pools[i]);
	free(dead->routes);
	free(dead->splits);
	free(dead->pools);
	free(dead->holds);
	ground_unref(dead->ground);
	free(dead);
	registry_sweep(registry);
}

/* ---- what a worker asks of it ---- */

void
snapshot_hold(struct snapshot *snapshot, unsigned worker)
{
	_Atomic uint32_t *n = &snapshot->holds[worker].n;

	atomic_store_explicit(n,
	    atomic_load_explicit(n, memory_order_relaxed) + 1,
	    memory_order_relaxed);
}

void
snapshot_drop(struct snapshot *snapshot, unsigned worker)
{
	_Atomic uint32_t *n = &snapshot->holds[worker].n;
	uint32_t held = atomic_load_explicit(n, memory_order_relaxed);

	assert(held > 0);
	/* Release: what this worker did with it is done before it is freed. */
	atomic_store_explicit(n, held - 1, memory_order_release);
}

const struct config *
snapshot_config(const struct snapshot *snapshot)
{
	return snapshot->config;
}

uint64_t
snapshot_generation(const struct snapshot *snapshot)
{
	return snapshot->generation;
}

const struct listener_cfg *
snapshot_listener(const struct snapshot *snapshot, uint32_t listener)
{
	return listener < snapshot->n_listeners
	           ? snapshot->listeners[listener].cfg
	           : NULL;
}

void *
snapshot_listener_tls(const struct snapshot *snapshot, uint32_t listener)
{
	return listener < snapshot->n_listeners
	           ? snapshot->listeners[listener].tls
	           : NULL;
}

struct listener_cell *
snapshot_listener_cell(
    const struct snapshot *snapshot, uint32_t listener, unsigned worker)
{
	return listener < snapshot->n_listeners
	           ? &snapshot->listeners[listener].listener->cells[worker]
	           : NULL;
}

size_t
snapshot_n_pools(const struct snapshot *snapshot)
{
	return snapshot->config->n_pools;
}

const struct pool_view *
snapshot_pool(const struct snapshot *snapshot, size_t i)
{
	assert(i < snapshot->config->n_pools);
	return &snapshot->pools[i];
}
