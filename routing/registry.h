/*
 * What the files of routing know of each other. Three kinds of things:
 *
 *   registry objects  pools, endpoints, series, listeners: by name, counted
 *                     by the snapshots that have them, swept when none does.
 *   splits            belong to snapshots; a split whose pools are the same
 *                     after a reload is handed on, else a new one takes over
 *                     its state, so that slots never change their meaning
 *                     under a worker that is still on the old snapshot.
 *   the epoch         grows whenever something that workers read is replaced.
 *                     A worker that says (at each turn) that it has seen an
 *                     epoch holds nothing that was replaced before it but the
 *                     snapshots it has counted itself on.
 */
#ifndef WEIR_ROUTING_REGISTRY_H
#define WEIR_ROUTING_REGISTRY_H

#include "routing/control.h"
#include "routing/evidence.h"
#include "routing/gradient.h"
#include "routing/names.h"

/* ---- registry objects ---- */

/* Statistics of (listener, route, pool). */
struct series {
	char *listener, *route, *pool; /* owned; "" for none */
	uint32_t refs;                 /* views that count into it */
	unsigned workers;
	_Atomic(struct series_cell *) *cells; /* owned: [workers], made at a worker's first use */
};

/*
 * Listeners are never forgotten: a connection may outlive the listener's
 * place in the file, and still counts itself out of the cell.
 */
struct listener {
	char *name; /* owned */
	struct listener_cell *cells; /* owned: [workers] */
	struct series *unrouted;     /* counted: (listener, "", "") */
};

/* What a worker has seen; 0: it does not read at all (not started, or left). */
struct seat {
	alignas(CACHE_LINE) _Atomic uint64_t seen;
};

/* Databases of places, published as a whole: see policy/geo.h. */
struct geo {
	struct database *databases; /* owned */
	size_t n;
	struct geo *next; /* among the retired */
	uint64_t epoch;   /* when it was retired */
};
void geo_reap(struct registry *registry);

/* Requests by country of a route, by the route's name. */
struct geo_tally *registry_geo_tally(struct registry *registry, const char *route);
void geo_tally_unref(struct geo_tally *tally);
bool geo_tally_is_used(const void *tally);
void geo_tally_free(void *tally);
void geo_tally_count(struct geo_tally *tally, unsigned worker, unsigned country);

/* The counters of a route that refuses something, by the route's name. */
struct tally {
	char *route;               /* owned */
	uint32_t refs;
	struct policy_cell *cells; /* owned: [workers] */
};

struct publication {
	struct registry *registry; /* borrowed: we are a member of it */
	_Atomic(struct snapshot *) current;
	_Atomic uint64_t epoch; /* from 1 */
	struct seat *seats;     /* owned: [workers] */
	struct snapshot *retired;
};

/* Restored state that waits for its split to appear. */
struct pending {
	struct pending *next;
	char *name; /* owned */
	struct split_state state;
};

struct registry {
	unsigned workers;
	uint8_t secret[16], shared_secret[16];
	struct names pools, endpoints, series, listeners, tallies;
	struct names geo_tallies;
	_Atomic(struct geo *) geo; /* owned: what the workers ask; NULL without */
	struct geo *retired_geo;
	struct names shared_limits;      /* numbers in sharing, by identity */
	struct sharing *sharing;         /* owned: see limit/shared.h */
	struct limit_table *limit_table; /* owned; NULL until a route has a limit */
	struct publication publication;
	struct pending *pending; /* owned */
	struct endpoint_set *sets; /* owned: see replaced.c */
	struct snapshot *built;  /* borrowed: built last, not yet published */
	uint64_t generation;     /* of the last snapshot that was built */
	uint64_t serial;         /* of the last weights object */
};

/* Made or found by name, counted once more. */
struct pool *registry_pool(struct registry *registry, const char *name);
struct endpoint *registry_endpoint(
    struct registry *registry, struct pool *pool, const struct address *address);
struct series *registry_series(struct registry *registry, const char *listener,
    const char *route, const char *pool);
struct listener *registry_listener(struct registry *registry, const char *name);
struct tally *registry_tally(struct registry *registry, const char *route);
/* Frees what no snapshot counts any more. */
void registry_sweep(struct registry *registry);

struct pool *pool_new(const char *name, unsigned workers);
void pool_free(void *pool);
/*
 * Places of a pool. Workers take, give and wait (place.c); an adaptive limit is
 * the control thread's affair (adaptive.c), and they obey what it has stored.
 */
struct took {
	alignas(CACHE_LINE) counter_t n, sum; /* one writing worker; ns */
};
struct places {
	alignas(CACHE_LINE) _Atomic uint32_t taken;
	alignas(CACHE_LINE) _Atomic uint32_t waiting;
	alignas(CACHE_LINE) _Atomic uint32_t limit; /* adaptive; UINT32_MAX: none */
	_Atomic int64_t usual; /* nsec_t: how long answers take; 0: not known */
	unsigned workers;
	_Atomic bool *waits;   /* owned: [workers] */
	struct took *took;     /* owned: [workers] */
	/* control thread: */
	bool is_adaptive;
	struct gradient gradient;
	uint64_t seen_n, seen_sum, seen_refused; /* of the workers' counts */
};
struct places *places_new(unsigned workers);
void places_free(struct places *places);
struct endpoint *endpoint_new(
    struct pool *pool, const struct address *address, unsigned workers);
void endpoint_free(void *endpoint);
struct series *series_new(const char *listener, const char *route,
    const char *pool, unsigned workers);
void series_free(void *series);
/* `bucket` is the one of outcome->total. */
void series_record(struct series *series, unsigned worker,
    const struct outcome *outcome, unsigned bucket);

/* What all instances must agree on, from redis.prefix. */
void registry_share_secret(struct registry *registry, const char *prefix);

/* ---- the epoch ---- */

/* After a replacement: the epoch that says "the workers have seen it". */
uint64_t publication_advance(struct publication *publication);
bool publication_has_passed(struct publication *publication, uint64_t epoch);

/* ---- splits ---- */

/* With the file's weights published, not yet known by name. */
struct split *split_new(struct registry *registry, const struct config *config,
    const struct split_cfg *cfg);
void split_unref(struct split *split);
bool split_has_pools_of(const struct split *split, const struct config *config,
    const struct split_cfg *cfg);
/* What a reload makes of it: `before` is the running one (may be the same), `was` the name of the stable pool in the file before. */
void split_merge(struct split *split, const struct split *before,
    const char *was, const struct config *config, const struct split_cfg *cfg);
/* Takes over what was saved before the process began. */
void split_resume(struct split *split, const struct split_state *state);
/* Weights as they are, without a word about who and why. */
void split_replace(
    struct split *split, uint64_t version, uint64_t salt, const bp_t bp[]);
void split_note_change(
    struct split *split, time_t wall, const char *by, const char *reason);
void text_replace(char **text, const char *by); /* a copy; may be a part of itself */
/* Frees replaced weights that every worker has moved on from. */
void split_reap(struct split *split);
/* The worker's next slot by these weights, which are the published ones. */
uint32_t split_draw(struct split *split, const struct weights *weights,
    unsigned worker, struct rng *rng);

/* ---- weights.c ---- */

/* As it is allocated: with what it needs once it has been replaced. */
struct retired_weights {
	struct weights weights; /* first: the list is of struct weights */
	struct weights *next;
	uint64_t epoch;
};
/* `trial` NULL: not judged. `before` (may be NULL) is what runs. */
struct weights *weights_new(struct split *split, const struct weights *before,
    uint64_t version, uint64_t salt, const bp_t bp[],
    const struct split_trial *trial);
void weights_free(struct weights *weights);
/* Where a client stands, and whose that place is. */
static inline uint64_t
weights_hash(const struct weights *weights, const void *key, size_t len)
{
	return hash_keyed(weights->key, key, len);
}
uint32_t weights_slot(const struct weights *weights, uint64_t hash);
/* Are there sessions that only the candidate's past explains? */
static inline bool
weights_keep(const struct weights *weights)
{
	return weights->keep_from < weights->keep_to;
}

/* ---- evidence.c ---- */

struct evidence *evidence_new(unsigned workers, const struct split_trial *trial,
    struct evidence_keys *keys);
void evidence_free(struct evidence *evidence);
struct evidence_keys *evidence_keys_new(void);
/* `bucket` is the one of outcome->first_byte. True: control should look now. */
bool evidence_record(unsigned worker, const struct decision *decision,
    const struct outcome *outcome, unsigned bucket);

/* merge.c: one side of the three-way merge, by the new slots. */
struct merge_input {
	uint32_t n;      /* pools now */
	bp_t was[CONFIG_SPLIT_POOLS_MAX], runs[CONFIG_SPLIT_POOLS_MAX];
	bp_t now[CONFIG_SPLIT_POOLS_MAX]; /* what the last file said, what runs, what the new file says */
	bool same_pools;
};
/* Weights by pools that were, laid on the pools that are; leavers' share goes to `stable`. */
void merge_fold(uint32_t n_from, char *const from[], const bp_t bp[],
    uint32_t n_to, char *const to[], uint32_t stable, bp_t out[]);
enum merge merge_decide(const struct merge_input *input, bp_t out[]);

/* ---- routes ---- */

struct route_index;
struct route_index *route_index_new(const struct route_view *routes, size_t n);
void route_index_free(struct route_index **index);
/* The first in file order, or NULL. */
const struct route_view *route_find(
    const struct route_index *index, const struct route_query *query);

/* ---- balance ---- */

/*
 * Maglev's table: an endpoint's number for each entry; `size_out` of them, a
 * prime. NULL without endpoints. The caller frees.
 */
uint32_t *maglev_new(const struct pool_view *view, const uint32_t *weights,
    uint32_t *size_out);

/* The tables of a view, from its cfg and endpoints; `weights` by endpoint is copied. */
void *balancer_new(const struct pool_view *view, const uint32_t *weights,
    unsigned workers);
uint32_t balancer_weight(const struct pool_view *view, size_t endpoint);
void balancer_free(void *balancer);

/* ---- snapshots ---- */

struct listener_view {
	struct listener *listener; /* borrowed: never forgotten */
	const struct listener_cfg *cfg; /* NULL: not in this snapshot */
	void *tls;
};

struct hold {
	alignas(CACHE_LINE) _Atomic uint32_t n; /* one writer; control reads */
};

/*
 * What snapshots of the same config have in common: only their endpoints are
 * others. Freed with the last of them.
 */
struct ground {
	uint32_t refs;
	struct config *config; /* owned */
	struct snapshot_options options;
	void **listener_tls;   /* owned, as what it holds: by config->listeners */
	void **pool_tls;       /* owned, as what it holds: by config->pools */
};

struct snapshot {
	struct registry *registry; /* borrowed */
	struct ground *ground;     /* counted */
	struct config *config;     /* borrowed: the ground's */
	uint64_t generation;
	struct pool_view *pools;   /* owned: [config->n_pools] */
	struct split **splits;     /* owned array of counted references */
	struct route_view *routes; /* owned: [config->n_routes] */
	struct route_index *index; /* owned */
	bool uses_geo;             /* a route asks where clients are */
	struct listener_view *listeners; /* owned, by listener id */
	size_t n_listeners;
	struct hold *holds; /* owned: [workers] */
	struct snapshot *next; /* among the retired */
	uint64_t epoch;        /* when it was retired */
};

void snapshot_free(struct snapshot **snapshot);

#endif
