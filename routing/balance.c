/*
 * Which endpoint of a pool. Each worker has its own table of the endpoints
 * that may be chosen now, made anew when the pool's count of changes has
 * moved (an endpoint went down, came up, was drained): so a pick costs the
 * same with one endpoint as with thousands, and with most of them down. The
 * table holds the usable ones; when there are none, the active ones, and the
 * pick says that it panics.
 *
 * p2c          two by weight, then the one with less in flight for its weight
 * ewma         two by weight, then the one with less (latency * in flight) for
 *              its weight; see latency_of
 * random       one by weight (alias method: Walker 1977, Vose 1991)
 * round_robin  in file order, or earliest due first when weights differ
 * hash         Maglev's table (Eisenbud and others, 2016) over all configured
 *              endpoints; a key whose endpoint is out goes on to a few others
 *
 * With tiers (the priorities of a service's SRV records) the table is of the
 * lowest that has a usable endpoint; the others stand by.
 *
 * Everything is allocated when the snapshot is built.
 */
#include <assert.h>

#include "routing/chance.h"
#include "routing/memory.h"
#include "routing/registry.h"

enum {
	DRAW_TRIES = 4, /* for another endpoint, by weight */
	PROBES_MAX = 8, /* of a key before it goes by weight */
};

static const nsec_t LATENCY_MAX = 60 * NSEC_PER_SEC;

/* A row of the alias table. */
struct draw {
	uint32_t endpoint, alias; /* numbers in the view */
	uint64_t share;           /* of 2^32: how often not the alias */
};

/* An endpoint's place in the weighted round. */
struct turn {
	uint64_t due; /* wraps; compared by difference */
	uint32_t endpoint, stride;
};

struct local {
	alignas(
	    CACHE_LINE) uint64_t changes; /* of the pool when this was made */
	uint32_t n;
	bool is_made, is_panic, is_even; /* even: all weights are the same */
	bool has_trials; /* an endpoint waits for its one request */
	uint8_t tier;    /* of those in the table */
	uint32_t cursor, again; /* rounds of first and of further attempts */
	struct draw *draws; /* owned: room for every endpoint */
	struct turn *turns; /* owned: a heap by due; NULL unless needed */
	uint32_t *work;     /* owned: as long as draws */
	uint32_t
	    *shares; /* owned: weights by endpoint, less while warming up */
};

struct balancer {
	size_t n;
	unsigned workers;
	uint32_t *weights;    /* owned */
	uint32_t *maglev;     /* owned; NULL unless BALANCE_HASH */
	uint32_t n_maglev;    /* a prime */
	struct local *locals; /* owned: [workers] */
};

/* ---- the alias table ---- */

/* What stands in 64 bits before and after has up to 96 between. */
static uint64_t
part_of(uint64_t share, uint64_t sum)
{
	return (uint64_t)(__extension__((unsigned __int128)share << 32) / sum);
}

/* Weights of those in the table, as shares of their mean; whole numbers. */
static void
table_set_shares(struct local *local, const uint32_t *weights)
{
	uint64_t sum = 0;
	uint32_t small = 0, large = local->n;

	for (uint32_t i = 0; i < local->n; i++)
		sum += weights[local->draws[i].endpoint];
	for (uint32_t i = 0; i < local->n; i++) {
		struct draw *draw = &local->draws[i];

		draw->share = (uint64_t)weights[draw->endpoint] * local->n;
		draw->alias = draw->endpoint;
		if (draw->share < sum)
			local->work[small++] = i;
		else
			local->work[--large] = i;
	}
	/* Each small one is filled up from a large one, which may become small.
	 */
	while (small > 0 && large < local->n) {
		struct draw *poor = &local->draws[local->work[--small]];
		struct draw *rich = &local->draws[local->work[large]];

		rich->share -= sum - poor->share;
		poor->alias = rich->endpoint;
		poor->share = part_of(poor->share, sum);
		if (rich->share < sum)
			local->work[small++] = local->work[large++];
	}
	/* The large ones that are left are exactly full. */
	while (large < local->n)
		local->draws[local->work[large++]].share = UINT64_C(1) << 32;
	assert(small == 0);
}

/* ---- the heap of turns ---- */

static bool
turn_is_before(const struct turn *a, const struct turn *b)
{
	int64_t distance = (int64_t)(a->due - b->due);

	return distance != 0 ? distance < 0 : a->endpoint < b->endpoint;
}

static void
turns_sink(struct turn *turns, uint32_t n, uint32_t at)
{
	struct turn sinking = turns[at];

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n &&
		    turn_is_before(&turns[child + 1], &turns[child]))
			child++;
		if (!turn_is_before(&turns[child], &sinking))
			break;
		turns[at] = turns[child];
		at = child;
	}
	turns[at] = sinking;
}

/* Workers begin at different phases: not all send their first request to the
   same endpoint. */
static void
turns_make(struct local *local, const uint32_t *weights, unsigned worker)
{
	for (uint32_t i = 0; i < local->n; i++) {
		struct turn *turn = &local->turns[i];
		uint32_t phase = (i + worker + 1) * UINT32_C(2654435769);

		turn->endpoint = local->draws[i].endpoint;
		turn->stride = (UINT32_C(1) << 31) / weights[turn->endpoint];
		turn->due = (uint64_t)turn->stride * phase >> 32;
	}
	for (uint32_t i = local->n / 2; i > 0; i--)
		turns_sink(local->turns, local->n, i - 1);
}

static uint32_t
turns_next(struct local *local)
{
	uint32_t endpoint = local->turns[0].endpoint;

	local->turns[0].due += local->turns[0].stride;
	turns_sink(local->turns, local->n, 0);
	return endpoint;
}

/* ---- the worker's table ---- */

static bool
endpoint_is_active(struct endpoint *endpoint)
{
	return atomic_load_explicit(&endpoint->admin, memory_order_relaxed) ==
	       ENDPOINT_ACTIVE;
}

static bool
endpoint_is_tried(struct endpoint *endpoint)
{
	return atomic_load_explicit(&endpoint->trial, memory_order_relaxed) !=
	       TRIAL_NONE;
}

enum fill { FILL_WELL, FILL_USABLE, FILL_ACTIVE };

static bool
may_fill(struct endpoint *endpoint, enum fill fill)
{
	if (fill == FILL_ACTIVE)
		return endpoint_is_active(endpoint);
	return endpoint_is_usable(endpoint) &&
	       (fill != FILL_WELL || !endpoint_is_tried(endpoint));
}

static uint8_t
tier_of(const struct pool_view *view, size_t i)
{
	return view->tiers != NULL ? view->tiers[i] : 0;
}

/* The lowest tier that has somebody; UINT8_MAX also when none has. */
static uint8_t
tier_to_fill(const struct pool_view *view, enum fill fill)
{
	uint8_t tier = UINT8_MAX;

	if (view->tiers == NULL)
		return 0;
	for (size_t i = 0; i < view->n_endpoints; i++)
		if (view->tiers[i] < tier &&
		    may_fill(view->endpoints[i], fill))
			tier = view->tiers[i];
	return tier;
}

/* False: there is none. */
static bool
local_fill(struct local *local, const struct pool_view *view, enum fill fill)
{
	local->n = 0;
	local->is_panic = fill == FILL_ACTIVE;
	local->has_trials = false;
	local->tier = tier_to_fill(view, fill);
	for (size_t i = 0; i < view->n_endpoints; i++) {
		struct endpoint *endpoint = view->endpoints[i];

		if (tier_of(view, i) > local->tier)
			continue;
		if (tier_of(view, i) == local->tier && may_fill(endpoint, fill))
			local->draws[local->n++].endpoint = (uint32_t)i;
		else if (fill == FILL_WELL && endpoint_is_usable(endpoint))
			local->has_trials = true;
	}
	return local->n > 0;
}

/* The endpoint whose one request this is; NULL: it is an ordinary one. */
static __attribute__((noinline)) struct endpoint *
take_trial(const struct pool_view *view, const struct local *local,
    const struct endpoint *avoid)
{
	for (size_t i = 0; i < view->n_endpoints; i++) {
		struct endpoint *endpoint = view->endpoints[i];
		uint8_t due = TRIAL_DUE;

		if (endpoint != avoid && tier_of(view, i) <= local->tier &&
		    endpoint_is_usable(endpoint) &&
		    atomic_compare_exchange_strong_explicit(&endpoint->trial,
		        &due, TRIAL_OUT, memory_order_relaxed,
		        memory_order_relaxed))
			return endpoint;
	}
	return NULL;
}

/* Who warms up has a part of its weight; with nobody, weights as they are. */
static void
local_weigh(
    struct local *local, const struct pool_view *view, const uint32_t *weights)
{
	bool is_warm = true;

	for (uint32_t i = 0; i < local->n; i++)
		is_warm &=
		    atomic_load_explicit(
		        &view->endpoints[local->draws[i].endpoint]->warmth,
		        memory_order_relaxed) == WARMTH_ALL;
	for (uint32_t i = 0; i < local->n; i++) {
		uint32_t at = local->draws[i].endpoint;

		local->shares[at] = weights[at];
		if (!is_warm)
			local->shares[at] *= atomic_load_explicit(
			    &view->endpoints[at]->warmth, memory_order_relaxed);
	}
}

static __attribute__((noinline)) void
local_make(struct local *local, const struct pool_view *view, unsigned worker,
    uint64_t changes)
{
	const struct balancer *balancer = view->balancer;

	local->changes = changes;
	local->is_made = true;
	if (!local_fill(local, view, FILL_WELL) &&
	    !local_fill(local, view, FILL_USABLE))
		local_fill(local, view, FILL_ACTIVE);
	local_weigh(local, view, balancer->weights);
	local->is_even = true;
	for (uint32_t i = 1; i < local->n && local->is_even; i++)
		local->is_even = local->shares[local->draws[i].endpoint] ==
		                 local->shares[local->draws[0].endpoint];
	if (!local->is_even)
		table_set_shares(local, local->shares);
	if (!local->is_even && local->turns != NULL)
		turns_make(local, local->shares, worker);
}

static inline struct local *
local_now(const struct pool_view *view, unsigned worker)
{
	struct balancer *balancer = view->balancer;
	struct local *local = &balancer->locals[worker];
	uint64_t changes =
	    atomic_load_explicit(&view->pool->changes, memory_order_acquire);

	if (!local->is_made || local->changes != changes)
		local_make(local, view, worker, changes);
	return local;
}

static inline uint32_t
local_draw(const struct local *local, uint64_t random)
{
	const struct draw *draw =
	    &local->draws[(uint64_t)(uint32_t)random * local->n >> 32];

	if (local->is_even || random >> 32 < draw->share)
		return draw->endpoint;
	return draw->alias;
}

/* Any but `avoid`, from a random place on; `avoid` when it stands alone. */
static struct endpoint *
pick_other(const struct pool_view *view, const struct local *local,
    uint64_t random, const struct endpoint *avoid)
{
	uint32_t at = (uint64_t)(uint32_t)random * local->n >> 32;

	if (view->endpoints[local->draws[at].endpoint] == avoid)
		at = (at + 1) % local->n;
	return view->endpoints[local->draws[at].endpoint];
}

/* ---- the ways to choose ---- */

static uint64_t
mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint32_t
load_of(const struct endpoint *endpoint, unsigned worker)
{
	return atomic_load_explicit(
	    &endpoint->local[worker].in_flight, memory_order_relaxed);
}

static void
draw_two(const struct local *local, struct rng *rng, uint32_t out[2])
{
	uint64_t random = chance_next(rng);
	uint32_t a, b;

	if (local->is_even) {
		a = (uint64_t)(uint32_t)random * local->n >> 32;
		b = (uint32_t)((random >> 32) * (local->n - 1) >> 32);
		out[0] = local->draws[a].endpoint;
		out[1] = local->draws[b + (b >= a)].endpoint;
		return;
	}
	out[0] = out[1] = local_draw(local, random);
	for (int i = 0; i < DRAW_TRIES && out[1] == out[0]; i++)
		out[1] = local_draw(local, chance_next(rng));
}

/* Two to be compared, and their shares; the same twice where only one may be
 * had. */
struct pair {
	struct endpoint *a, *b;
	uint32_t share_a, share_b;
};

static struct pair
draw_pair(const struct pool_view *view, const struct local *local,
    struct rng *rng, const struct endpoint *avoid)
{
	struct endpoint *a, *b;
	uint32_t two[2];

	draw_two(local, rng, two);
	a = view->endpoints[two[0]];
	b = view->endpoints[two[1]];
	if (a == avoid)
		a = b;
	if (a == avoid)
		a = pick_other(view, local, chance_next(rng), avoid);
	if (b == avoid)
		b = a;
	return (struct pair){
	    a, b, local->shares[two[0]], local->shares[two[1]]};
}

/*
 * in_flight / weight, and the first drawn when equal: without load the draw
 * by weight alone decides, so that shares are right from the first request.
 * (in_flight + 1) / weight would give an idle pool's requests to the heaviest.
 */
static struct endpoint *
pick_p2c(const struct pool_view *view, const struct local *local,
    unsigned worker, struct rng *rng, const struct endpoint *avoid)
{
	struct pair pair = draw_pair(view, local, rng, avoid);

	if (pair.a != pair.b &&
	    (uint64_t)load_of(pair.b, worker) * pair.share_a <
	        (uint64_t)load_of(pair.a, worker) * pair.share_b)
		return pair.b;
	return pair.a;
}

/* ---- by latency ---- */

enum {
	FALL = 8,    /* a faster answer moves the average by this part */
	RISE = 2,    /* ... a slower one by this part: trouble is believed sooner */
	FORGET = 64, /* what a lost comparison takes off */
};

void
endpoint_took(
    struct endpoint *endpoint, unsigned worker, nsec_t took, bool is_bad)
{
	struct endpoint_local *local = &endpoint->local[worker];

	if (took < 1)
		took = 1;
	if (is_bad && took < 2 * local->latency)
		took = 2 * local->latency;
	if (took > LATENCY_MAX)
		took = LATENCY_MAX;
	if (local->latency == 0)
		local->latency = took;
	else if (took > local->latency)
		local->latency += (took - local->latency) / RISE;
	else
		local->latency -= (local->latency - took) / FALL;
}

/* What a request would wait there. The draw was by weight already, so weights
 * only say how much of a load is much. */
static double
cost_of(const struct endpoint *endpoint, unsigned worker, double share)
{
	const struct endpoint_local *local = &endpoint->local[worker];
	double load = load_of(endpoint, worker);

	/* Nobody knows it yet: one request finds out, not all of them. */
	if (local->latency == 0)
		return load > 0 ? (double)LATENCY_MAX * load : 0;
	return (double)local->latency * (1 + load / share);
}

/*
 * Who loses is not asked and could never show that it has recovered: each
 * comparison that it loses takes something off what is held against it, so it
 * is tried again, sooner the less slow it was. No clock is needed for that.
 */
static struct endpoint *
pick_ewma(const struct pool_view *view, const struct local *local,
    unsigned worker, struct rng *rng, const struct endpoint *avoid)
{
	struct pair pair = draw_pair(view, local, rng, avoid);
	struct endpoint *loser;
	double share;

	if (pair.a == pair.b)
		return pair.a;
	share =
	    2.0 * pair.share_a / ((double)pair.share_a + pair.share_b);
	loser = cost_of(pair.b, worker, 2 - share) <
	                cost_of(pair.a, worker, share)
	            ? pair.a
	            : pair.b;
	loser->local[worker].latency -= loser->local[worker].latency / FORGET;
	return loser == pair.a ? pair.b : pair.a;
}

static struct endpoint *
pick_random(const struct pool_view *view, const struct local *local,
    struct rng *rng, const struct endpoint *avoid)
{
	for (int i = 0; i < DRAW_TRIES; i++) {
		struct endpoint *endpoint =
		    view->endpoints[local_draw(local, chance_next(rng))];

		if (endpoint != avoid)
			return endpoint;
	}
	return pick_other(view, local, chance_next(rng), avoid);
}

static uint32_t
round_next(struct local *local)
{
	if (!local->is_even)
		return turns_next(local);
	if (local->cursor >= local->n)
		local->cursor = 0;
	return local->draws[local->cursor++].endpoint;
}

/* Took a further attempt the turn of a first one, the endpoint that fails would
 * have the next again: of two, the broken one would get all. */
static struct endpoint *
round_other(const struct pool_view *view, struct local *local, struct rng *rng,
    const struct endpoint *avoid)
{
	uint32_t at;

	if (!local->is_even)
		return pick_random(view, local, rng, avoid);
	at = local->again++ % local->n;
	if (view->endpoints[local->draws[at].endpoint] == avoid)
		at = local->again++ % local->n;
	return view->endpoints[local->draws[at].endpoint];
}

static struct endpoint *
pick_round_robin(const struct pool_view *view, struct local *local,
    struct rng *rng, const struct endpoint *avoid)
{
	return avoid ? round_other(view, local, rng, avoid)
	             : view->endpoints[round_next(local)];
}

/* The same key finds the same endpoint on every worker and instance that has
   the same endpoints up. */
static struct endpoint *
pick_hash(const struct pool_view *view, const struct local *local, uint64_t key,
    const struct endpoint *avoid)
{
	const struct balancer *balancer = view->balancer;
	struct endpoint *endpoint;

	for (int i = 0; i < PROBES_MAX; i++, key = mix(key)) {
		endpoint =
		    view->endpoints[balancer->maglev[mix(key) %
		                                     balancer->n_maglev]];
		if (endpoint != avoid &&
		    (local->is_panic ? endpoint_is_active(endpoint)
		                     : endpoint_is_usable(endpoint)) &&
		    !(local->has_trials && endpoint_is_tried(endpoint)))
			return endpoint;
	}
	endpoint = view->endpoints[local_draw(local, mix(key))];
	if (endpoint == avoid)
		return pick_other(view, local, mix(key), avoid);
	return endpoint;
}

/* Instead of the only one, which has just failed, rather one that stands by. */
static __attribute__((noinline)) struct endpoint *
pick_standby(const struct pool_view *view, struct endpoint *failed)
{
	struct endpoint *found = failed;
	uint8_t lowest = UINT8_MAX;

	for (size_t i = 0; i < view->n_endpoints; i++) {
		if (view->endpoints[i] == failed || view->tiers[i] >= lowest ||
		    !may_fill(view->endpoints[i], FILL_WELL))
			continue;
		lowest = view->tiers[i];
		found = view->endpoints[i];
	}
	return found;
}

static inline struct endpoint *
pick_only(const struct pool_view *view, const struct local *local,
    const struct endpoint *avoid)
{
	struct endpoint *only = view->endpoints[local->draws[0].endpoint];

	return only == avoid && view->tiers != NULL ? pick_standby(view, only)
	                                            : only;
}

struct endpoint *
pool_pick(const struct pool_view *view, unsigned worker, struct rng *rng,
    uint64_t key, const struct endpoint *avoid, bool *panic_out)
{
	struct local *local = local_now(view, worker);

	*panic_out = local->is_panic;
	if (local->n == 0)
		return NULL;
	if (local->has_trials) {
		struct endpoint *tried = take_trial(view, local, avoid);

		if (tried != NULL)
			return tried;
	}
	if (local->n == 1)
		return pick_only(view, local, avoid);
	switch (view->cfg->balance) {
	case BALANCE_ROUND_ROBIN:
		return pick_round_robin(view, local, rng, avoid);
	case BALANCE_RANDOM:
		return pick_random(view, local, rng, avoid);
	case BALANCE_HASH:
		return pick_hash(view, local, key, avoid);
	case BALANCE_EWMA:
		return pick_ewma(view, local, worker, rng, avoid);
	case BALANCE_P2C:
		break;
	}
	return pick_p2c(view, local, worker, rng, avoid);
}

/* ---- life ---- */

/* Keys belong to those that do not stand by; while these are all out they go
   by weight. */
static uint32_t *
hash_table(const struct pool_view *view, const uint32_t *weights,
    uint32_t *size_out)
{
	uint32_t *shares = memory_take(view->n_endpoints, sizeof(*shares));
	uint32_t *table;

	for (size_t i = 0; i < view->n_endpoints; i++)
		shares[i] = tier_of(view, i) == 0 ? weights[i] : 0;
	table = maglev_new(view, shares, size_out);
	free(shares);
	return table;
}

static void
local_init(struct local *local, const struct pool_view *view, size_t worker,
    size_t workers)
{
	size_t n = view->n_endpoints;

	local->draws = memory_take(n, sizeof(*local->draws));
	local->work = memory_take(n, sizeof(*local->work));
	local->shares = memory_take(n, sizeof(*local->shares));
	if (view->cfg->balance == BALANCE_ROUND_ROBIN)
		local->turns = memory_take(n, sizeof(*local->turns));
	local->cursor = (uint32_t)(worker * n / workers);
}

void *
balancer_new(
    const struct pool_view *view, const uint32_t *weights, unsigned workers)
{
	struct balancer *balancer = memory_take(1, sizeof(*balancer));

	balancer->n = view->n_endpoints;
	balancer->workers = workers;
	balancer->weights =
	    memory_take(balancer->n, sizeof(*balancer->weights));
	for (size_t i = 0; i < balancer->n; i++)
		balancer->weights[i] = weights[i] > 0 ? weights[i] : 1;
	if (view->cfg->balance == BALANCE_HASH)
		balancer->maglev =
		    hash_table(view, balancer->weights, &balancer->n_maglev);
	balancer->locals =
	    memory_take_lines(workers, sizeof(*balancer->locals));
	for (unsigned i = 0; i < workers; i++)
		local_init(&balancer->locals[i], view, i, workers);
	return balancer;
}

uint32_t
balancer_weight(const struct pool_view *view, size_t endpoint)
{
	return ((const struct balancer *)view->balancer)->weights[endpoint];
}

void
balancer_free(void *dead)
{
	struct balancer *balancer = dead;

	if (balancer == NULL)
		return;
	for (unsigned i = 0; i < balancer->workers; i++) {
		free(balancer->locals[i].draws);
		free(balancer->locals[i].work);
		free(balancer->locals[i].shares);
		free(balancer->locals[i].turns);
	}
	free(balancer->locals);
	free(balancer->weights);
	free(balancer->maglev);
	free(balancer);
}
