/*
 * The order of judgement: route, then what it refuses (policy/policy.c), then
 * pin, then affinity or weight. Pure: the request is asked through the query's
 * callbacks, chance comes from the worker's own generator, and what was decided
 * is returned with its reason.
 */
#include <assert.h>
#include <netinet/in.h>

#include "routing/chance.h"
#include "routing/policy/geo.h"
#include "routing/policy/policy.h"
#include "routing/registry.h"

enum { COOKIE_THROWS = 4096 };

const char *
decision_why_name(enum decision_why why)
{
	static const char *const names[] = {
	    [WHY_NONE] = "",
	    [WHY_WEIGHT] = "weight",
	    [WHY_AFFINITY] = "affinity",
	    [WHY_PIN] = "pin",
	    [WHY_GEO] = "geo",
	};

	assert(why < sizeof(names) / sizeof(*names));
	return names[why];
}

/* ---- what a client is known by ---- */

/*
 * An IPv4 address whole, an IPv6 address by its /64, which is what one
 * subscriber gets. Length 0: not known by an address.
 */
static size_t
client_key(const struct sockaddr *client, uint8_t out[8])
{
	static const uint8_t mapped[12] = {
	    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	if (client != NULL && client->sa_family == AF_INET) {
		memcpy(out, &((const struct sockaddr_in *)client)->sin_addr, 4);
		return 4;
	}
	if (client != NULL && client->sa_family == AF_INET6) {
		const uint8_t *bytes =
		    ((const struct sockaddr_in6 *)client)->sin6_addr.s6_addr;

		if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
			memcpy(out, bytes + 12, 4);
			return 4;
		}
		memcpy(out, bytes, 8);
		return 8;
	}
	return 0;
}

/* Finds the bytes that `cfg` names. `room` holds those of an address. */
static bool
key_find(const struct key_cfg *cfg, const struct route_query *query,
    uint8_t room[8], struct span *out)
{
	switch (cfg->by) {
	case KEY_COOKIE:
		return query->cookie != NULL &&
		       query->cookie(query->ctx, span_of(cfg->name), out) &&
		       out->len > 0;
	case KEY_HEADER:
		return query->header != NULL &&
		       query->header(query->ctx, span_of(cfg->name), out) &&
		       out->len > 0;
	case KEY_CLIENT_IP:
		*out = (struct span){
		    (const char *)room, client_key(query->client, room)};
		return out->len > 0;
	case KEY_REQUEST:
	case KEY_COUNTRY:
	case KEY_TOKEN:
		break;
	}
	return false;
}

/* ---- split ---- */

static void
cookie_make(struct rng *rng, char out[33])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < 32; i += 16) {
		uint64_t random = rng_next(rng);

		for (int j = 0; j < 16; j++, random >>= 4)
			out[i + j] = digits[random & 15];
	}
	out[32] = '\0';
}

static bool
pin_holds(const struct pin_cfg *pin, const struct route_query *query)
{
	struct span value;

	if (pin->header != NULL &&
	    (query->header == NULL ||
	        !query->header(query->ctx, span_of(pin->header), &value) ||
	        !span_eq(value, span_of(pin->header_value))))
		return false;
	if (pin->cookie != NULL &&
	    (query->cookie == NULL ||
	        !query->cookie(query->ctx, span_of(pin->cookie), &value) ||
	        !span_eq(value, span_of(pin->cookie_value))))
		return false;
	return pin->from.n == 0 ||
	       (query->client != NULL && cidrs_hold(&pin->from, query->client));
}

static bool
decide_pin(const struct snapshot *snapshot, const struct route_query *query,
    struct decision *out)
{
	const struct route_view *route = out->route;
	const struct split_cfg *cfg = route->split_cfg;

	for (size_t i = 0; i < cfg->n_pins; i++) {
		if (!pin_holds(&cfg->pins[i], query))
			continue;
		out->pool = &snapshot->pools[cfg->pins[i].pool];
		out->why = WHY_PIN;
		/* Not among the route's pools: counted in the last slot. */
		while (out->slot < route->n_pools &&
		       route->pools[out->slot] != out->pool)
			out->slot++;
		return true;
	}
	return false;
}

/*
 * While a shrinking candidate keeps its sessions, new ones must be told from
 * those by their bucket: the pool is drawn first and then a cookie that leads
 * there, which takes some hundred throws where a percent of the buckets is
 * left, and ends in any case.
 */
static void
cookie_make_for(const struct weights *weights, struct rng *rng, char out[33])
{
	uint32_t card = chance_below(rng, BP_ALL), wanted = 0;

	while (card >= weights->bp[wanted])
		card -= weights->bp[wanted++];
	for (int i = 0; i < COOKIE_THROWS; i++) {
		cookie_make(rng, out);
		if (weights_slot(weights, weights_hash(weights, out, 32)) ==
		    wanted)
			return;
	}
}

static bool
decide_affinity(const struct weights *weights, struct rng *rng,
    const struct route_query *query, struct decision *out)
{
	const struct key_cfg *cfg = &out->route->split_cfg->affinity;
	uint8_t room[8];
	struct span key;
	uint64_t hash;

	if (cfg->by == KEY_REQUEST)
		return false;
	if (!key_find(cfg, query, room, &key)) {
		if (cfg->by != KEY_COOKIE)
			return false;
		if (weights_keep(weights))
			cookie_make_for(weights, rng, out->cookie_value);
		else
			cookie_make(rng, out->cookie_value);
		out->sets_cookie = true;
		key = (struct span){out->cookie_value, 32};
	}
	hash = weights_hash(weights, key.ptr, key.len);
	out->slot = weights_slot(weights, hash);
	out->unit = (uint32_t)(hash >> 32) % EVIDENCE_KEY_BITS;
	out->why = WHY_AFFINITY;
	return true;
}

/*
 * Is it a unit of the trial? A key needs its bit, and that weights alone put
 * it where it is: not so while sessions are kept.
 */
static void
decide_trial(const struct weights *weights, struct decision *out)
{
	const struct evidence *evidence = weights->evidence;

	if (out->slot == evidence->candidate) {
		out->is_candidate = true;
		out->baseline = evidence->baseline;
	} else if (out->slot != evidence->baseline) {
		return;
	}
	if (out->why == WHY_AFFINITY &&
	    (evidence->keys == NULL || weights_keep(weights)))
		return;
	out->serial = weights->serial;
}

static void
decide_split(const struct snapshot *snapshot, unsigned worker, struct rng *rng,
    const struct route_query *query, struct decision *out)
{
	const struct weights *weights = split_weights(out->route->split);

	if (out->route->split_cfg->n_pins > 0 &&
	    decide_pin(snapshot, query, out))
		return;
	if (!decide_affinity(weights, rng, query, out)) {
		out->slot = split_draw(out->route->split, weights, worker, rng);
		out->why = WHY_WEIGHT;
	}
	if (weights->evidence != NULL)
		decide_trial(weights, out);
	out->pool = out->route->pools[out->slot];
}

/* ---- the whole ---- */

/*
 * The key of the pool's own hash. A request without one goes anywhere. A
 * cookie that we are about to set counts as had, so that the second request
 * comes to where the first one went. The hash's key is no secret: every
 * instance must find the same endpoint.
 */
static uint64_t
balance_key(struct rng *rng, const struct route_query *query,
    const struct decision *decision)
{
	static const uint8_t balance[16] = "weir balance";
	const struct key_cfg *cfg = &decision->pool->cfg->hash_on;
	uint8_t room[8];
	struct span key;

	if (key_find(cfg, query, room, &key))
		return hash_keyed(balance, key.ptr, key.len);
	if (decision->sets_cookie && cfg->by == KEY_COOKIE &&
	    strcmp(cfg->name, decision->route->split_cfg->affinity.name) == 0)
		return hash_keyed(balance, decision->cookie_value, 32);
	return rng_next(rng);
}

static void
decide(struct snapshot *snapshot, unsigned worker, struct rng *rng,
    const struct route_query *query, struct decision *out)
{
	const struct route_view *route = route_find(snapshot->index, query);

	/* All but the bytes of the cookie, which count only when it is set. */
	out->route = route;
	out->pool = NULL;
	out->slot = 0;
	out->why = WHY_NONE;
	out->key = 0;
	out->serial = 0;
	out->is_candidate = false;
	out->sets_cookie = false;
	out->cookie_value[0] = '\0';
	out->refusal = REFUSED_NOT;
	out->is_over_limit = false;
	out->limit_key = 0;
	out->country = COUNTRY_NONE;
	if (route == NULL)
		return;
	if (route->policy != NULL &&
	    policy_refuses(route->policy, worker, query, out))
		return;
	if (route->cfg->action == ROUTE_SPLIT)
		decide_split(snapshot, worker, rng, query, out);
	else if (route->cfg->action == ROUTE_POOL)
		out->pool = route->pools[0];
	if (out->pool != NULL && out->pool->cfg->balance == BALANCE_HASH)
		out->key = balance_key(rng, query, out);
}

/*
 * Where some route asks where clients are: the first that does has it looked
 * up, and the others find the answer. Apart, for those who do not ask.
 */
static __attribute__((noinline)) void
decide_somewhere(struct snapshot *snapshot, unsigned worker, struct rng *rng,
    const struct route_query *query, struct decision *out)
{
	struct geo_lookup lookup = {
	    .geo = atomic_load_explicit(
	        &snapshot->registry->geo, memory_order_acquire),
	    .worker = worker,
	};
	struct route_query asked = *query;

	asked.geo = &lookup;
	decide(snapshot, worker, rng, &asked, out);
	if (!lookup.is_done)
		return;
	out->country = lookup.place.country;
	if (out->route == NULL)
		return;
	geo_tally_count(out->route->tally, worker, out->country);
	/* A split's own reason says more: what is random is evidence. */
	if (out->route->cfg->match.geo.is_on && out->why == WHY_NONE)
		out->why = WHY_GEO;
}

void
routing_decide(struct snapshot *snapshot, unsigned worker, struct rng *rng,
    const struct route_query *query, struct decision *out)
{
	if (snapshot->uses_geo)
		decide_somewhere(snapshot, worker, rng, query, out);
	else
		decide(snapshot, worker, rng, query, out);
}

/* ---- farewell ---- */

static struct series *
series_of(const struct snapshot *snapshot, uint32_t listener,
    const struct decision *decision)
{
	const struct route_view *route = decision->route;
	struct series *series = NULL;

	/* A worker that accepts for a listener it has not adopted yet. */
	if (listener >= snapshot->n_listeners)
		return NULL;
	if (route != NULL) {
		uint32_t slot =
		    decision->pool != NULL ? decision->slot : route->n_pools;

		series = route->series[listener * (route->n_pools + 1) + slot];
	}
	return series != NULL
	           ? series
	           : snapshot->listeners[listener].listener->unrouted;
}

bool
routing_record(struct snapshot *snapshot, unsigned worker, uint32_t listener,
    const struct decision *decision, const struct outcome *outcome)
{
	unsigned class = outcome->status / 100;
	struct series *series = series_of(snapshot, listener, decision);
	unsigned bucket = histogram_bucket(outcome->total);
	struct pool_cell *cell;

	if (series != NULL)
		series_record(series, worker, outcome, bucket);
	if (decision->pool == NULL)
		return false;
	cell = &decision->pool->pool->cells[worker];
	counter_add(&cell->requests, 1);
	if (outcome->pool_failed)
		counter_add(&cell->failures, 1);
	counter_add(&cell->by_class[class < 6 ? class : 0], 1);
	histogram_count(&cell->total, bucket, outcome->total);
	if (outcome->has_first_byte) {
		bucket = histogram_bucket(outcome->first_byte);
		histogram_count(&cell->first_byte, bucket, outcome->first_byte);
	}
	return decision->serial != 0 &&
	       evidence_record(worker, decision, outcome, bucket);
}
