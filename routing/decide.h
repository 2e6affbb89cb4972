/*
 * routing, as the data plane sees it: where does this request go, and why.
 *
 * Nothing here knows the time, a descriptor, a log or a lock: time, worker
 * and randomness are arguments, a reason is a returned value. All functions
 * of this header are called by worker threads, each with its own `worker`
 * number, and touch only that worker's cells plus immutable or atomic words.
 */
#ifndef WEIR_ROUTING_DECIDE_H
#define WEIR_ROUTING_DECIDE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "config/config.h"
#include "config/span.h"
#include "routing/stats.h"

/* xoshiro256**; one per worker, seeded from getrandom by its owner. */
struct rng {
	uint64_t s[4];
};
void rng_seed(struct rng *rng, const uint8_t seed[32]);
uint64_t rng_next(struct rng *rng);
uint32_t rng_below(struct rng *rng, uint32_t bound); /* 0 .. bound-1, unbiased */

/* SipHash-2-4 (Aumasson and Bernstein, 2012): for keys that a client chooses. */
uint64_t hash_keyed(const uint8_t key[16], const void *bytes, size_t len);

/* ---- endpoints: registry objects that survive reloads ---- */

enum endpoint_admin { ENDPOINT_ACTIVE, ENDPOINT_DRAIN, ENDPOINT_MAINT };

/* One worker's share of an endpoint. */
struct endpoint_local {
	alignas(CACHE_LINE) counter_t requests; /* attempts sent */
	counter_t errors[UPSTREAM_ERROR_COUNT];
	counter_t connects; /* connections opened */
	counter_t retries;
	_Atomic uint32_t in_flight;
	uint32_t failures_in_row; /* this worker's connect failures since its last success */
	void *idle;   /* proxy/idle.c's list of kept connections; NULL when empty */
	uint32_t n_idle;
	nsec_t latency; /* how soon it has answered this worker of late, for BALANCE_EWMA; 0: unknown */
	void *sessions; /* proxy/h2/client.c's list of HTTP/2 sessions */
};

enum { WARMTH_ALL = 100, WARMTH_COLD = 10 };

/* What active checks have found. Control thread only. */
struct endpoint_check {
	bool is_on;         /* the pool has checks */
	bool is_known;      /* one has ended since they are on */
	bool was_good;      /* the last one */
	bool saw_down;      /* the endpoint, at the last one */
	uint32_t in_row;    /* alike */
	nsec_t at;          /* of the last one, monotonic; 0: none */
	char text[96];      /* "status 200 in 3ms", "timeout after 1s" */
};

struct endpoint {
	struct pool *pool;      /* borrowed: a pool outlives its endpoints */
	struct address address; /* owned; sa is always filled */
	uint32_t weight;
	uint8_t tier;              /* control thread, of the current snapshot: above 0 it stands by */
	_Atomic bool is_down;      /* taken out after refused connections, until a probe succeeds */
	_Atomic uint8_t admin;     /* enum endpoint_admin */
	_Atomic bool is_retired;   /* in no current snapshot: keep no connection to it */
	_Atomic bool is_cut;       /* its time to finish is over: leaving.c */
	_Atomic int64_t down_since; /* nsec_t, monotonic; 0 when up */
	char down_reason[96];      /* written by control only, under is_down == false -> true */
	_Atomic(const char *) failure; /* static: what the worker that took it out met; NULL: none has */
	struct endpoint_check check;
	/* outlier.c: */
	_Atomic bool is_ejected;
	_Atomic uint32_t bad_in_row;    /* answers of all workers */
	_Atomic uint32_t ejections;     /* in a row: how long the next one lasts */
	_Atomic uint8_t trial;          /* enum endpoint_trial: after an ejection */
	nsec_t trial_seen;              /* control thread: when it was first found out; 0: not */
	_Atomic int64_t ejected_until, ejected_since; /* nsec_t; meaningful while is_ejected */
	/* slow start, endpoint.c: */
	_Atomic uint32_t warmth;        /* percent of its weight; WARMTH_ALL: all of it */
	nsec_t slow_start;              /* control thread, of the current snapshot's pool; 0: none */
	nsec_t warm_since;              /* control thread; 0: with the next beat */
	/* leaving.c, control thread: */
	nsec_t drain;                   /* how long it may finish, of the newest pool that had it */
	nsec_t leaves_at;               /* 0: it stays; CONFIG_NEVER: it leaves, without an end */
	nsec_t left_since;              /* when it began to leave */
	bool is_gone_told;              /* nothing is in flight there any more */
	nsec_t readmitted_at;           /* control thread; or when an ejection was last forgotten */
	bool ejection_is_told;          /* control thread: is in the log */
	void *prober;              /* control thread: proxy's; NULL when nothing is checked */
	uint32_t refs;             /* control thread: snapshots that have it */
	uint64_t generation, built; /* control thread: newest snapshot that has it, published and built */
	struct endpoint_local *local; /* owned: [workers] */
};

/*
 * After an ejection one request finds out whether the endpoint is well; the
 * others go elsewhere until it was answered.
 */
enum endpoint_trial { TRIAL_NONE, TRIAL_DUE, TRIAL_OUT /* that request is on its way */ };

/* May a connection to it be kept? Not when no new request will come. */
static inline bool
endpoint_is_leaving(const struct endpoint *endpoint)
{
	return atomic_load_explicit(&((struct endpoint *)endpoint)->is_retired, memory_order_acquire) ||
	    atomic_load_explicit(&((struct endpoint *)endpoint)->admin, memory_order_relaxed) != ENDPOINT_ACTIVE;
}

/* May new requests go there? */
static inline bool
endpoint_is_usable(const struct endpoint *endpoint)
{
	return !atomic_load_explicit(&((struct endpoint *)endpoint)->is_down, memory_order_relaxed) &&
	    !atomic_load_explicit(&((struct endpoint *)endpoint)->is_ejected, memory_order_relaxed) &&
	    !atomic_load_explicit(&((struct endpoint *)endpoint)->is_retired, memory_order_relaxed) &&
	    atomic_load_explicit(&((struct endpoint *)endpoint)->admin, memory_order_relaxed) == ENDPOINT_ACTIVE;
}

/*
 * A connection was refused, unreachable or timed out. Takes the endpoint out
 * when it happened ENDPOINT_FAILURES_MAX times in a row on this worker.
 * Returns true when this call took it out (the caller tells the prober).
 */
enum { ENDPOINT_FAILURES_MAX = 2 };
bool endpoint_failed(struct endpoint *endpoint, unsigned worker, nsec_t now);
void endpoint_succeeded(struct endpoint *endpoint, unsigned worker); /* a connection was made */

/* ---- pools ---- */

struct pool_view;
/* What came of an attempt at the endpoint (is_bad: blamed on it). True: this one ejected it. */
bool endpoint_answered(const struct pool_view *view, struct endpoint *endpoint, bool is_bad, nsec_t now);

/*
 * How long its answer took to begin, for BALANCE_EWMA. One that fails at once
 * is not a fast one: is_bad makes it twice as slow as it was, or as `took`.
 */
void endpoint_took(struct endpoint *endpoint, unsigned worker, nsec_t took, bool is_bad);

struct pool {
	const char *name;            /* owned */
	uint32_t refs;               /* control thread */
	_Atomic uint64_t changes;    /* grows when an endpoint's state flips: the balancers look again */
	_Atomic bool is_ejecting;    /* a worker counts who is out: one at a time */
	bool panic_is_told;          /* control thread: is in the log */
	struct places *places;       /* owned: place.c */
	struct pool_cell *cells;     /* owned: [workers] */
	unsigned workers;
};

/* From its tick: how long nearly all of the pool's requests take, of late, into the worker's cell (retry.hedge). */
void pool_look_at_tail(const struct pool_view *view, unsigned worker);

/*
 * Places of a pool with limits.in_flight, counted over all workers. One is
 * taken for a request before its first attempt and given back when it is done,
 * whatever becomes of the limit meanwhile. False: all are taken.
 */
bool pool_take_place(const struct pool_view *view);
bool pool_give_place(struct pool *pool); /* true: somebody waits */
/* Waiting for a place. False: the queue is full. */
bool pool_wait(const struct pool_view *view, unsigned worker);
/* `is_last`: nobody else of this worker waits. */
void pool_wait_no_more(struct pool *pool, unsigned worker, bool is_last);
/*
 * A place has become free, and `own` requests of this worker wait. True: one
 * of them is next. Else *other_out is the worker whose turn it is, -1: nobody
 * waits. Chosen by lot in proportion to who waits, so that a busy worker does
 * not keep all places to itself.
 */
bool pool_is_next(struct pool *pool, unsigned worker, uint32_t own, struct rng *rng, int *other_out);
struct places_stats {
	uint32_t taken, waiting;
};
void pool_places_read(const struct pool *pool, struct places_stats *out);
/* Does an adaptive limit hold the pool below its limits.in_flight just now? */
bool pool_is_held(const struct pool_view *view);
/* How long an answer took to begin, for a pool with limits.adaptive. One that failed at once tells nothing. */
void pool_took(struct pool *pool, unsigned worker, nsec_t took, bool is_bad);

/* A pool as one snapshot sees it: immutable but for what it points at. */
struct pool_view {
	struct pool *pool;
	const struct pool_cfg *cfg;  /* borrowed from the snapshot's config */
	struct endpoint **endpoints; /* owned array; endpoints are counted references */
	size_t n_endpoints;
	uint8_t *tiers;              /* owned, by endpoint: those above the lowest that has a usable one stand by; NULL: all are alike */
	void *tls;                   /* proxy's upstream TLS context, NULL when clear; see snapshot_options */
	void *balancer;              /* balance.c's tables */
};

/*
 * Chooses an endpoint by the pool's balance. `avoid` (may be NULL) is one that
 * has just failed: chosen only when there is no other. When none is usable
 * (all down), any active one is returned and *panic_out is set: serving badly
 * beats refusing everything. NULL only when the pool has no endpoint that is
 * not in drain or maint. `key` is used by BALANCE_HASH.
 */
struct endpoint *pool_pick(const struct pool_view *view, unsigned worker, struct rng *rng,
    uint64_t key, const struct endpoint *avoid, bool *panic_out);

/* ---- splits ---- */

struct evidence; /* evidence.h */

/* Published whole: a change of weights is one pointer store. */
struct weights {
	uint64_t version;  /* grows by one with each change; the ETag */
	uint64_t salt;     /* of the affinity hash */
	uint32_t n;
	bp_t bp[CONFIG_SPLIT_POOLS_MAX]; /* by the split's pool slots */
	/* made from the above by split.c, so that a worker need not */
	uint64_t serial;   /* never twice in a process, as a restored version may be */
	uint8_t key[16];   /* of the affinity hash, from the salt */
	uint32_t stable;   /* slot of the baseline: the top of the affinity range */
	uint16_t block;    /* requests in a block; the sum of share */
	uint16_t share[CONFIG_SPLIT_POOLS_MAX]; /* of a block, by slots */
	struct evidence *evidence; /* owned; NULL: not judged */
	/* sessions that a shrinking candidate keeps: buckets [keep_from, keep_to) are keep_slot's; equal: none */
	uint32_t keep_slot;
	bp_t keep_from, keep_to;
};

struct split; /* registry object, see control.h */

/* ---- routes ---- */

struct series; /* registry object: statistics of (listener, route, pool) */

struct geo_tally; /* requests by country */
struct geo_lookup;
struct policy; /* what a route refuses: routing/policy/policy.h */

struct route_view {
	const struct route_cfg *cfg;
	struct geo_tally *tally;      /* counted; NULL: no route asks where clients are */
	struct policy *policy;        /* owned; NULL: nothing is refused */
	struct split *split;          /* NULL unless ROUTE_SPLIT */
	const struct split_cfg *split_cfg;
	struct pool_view *pools[CONFIG_SPLIT_POOLS_MAX]; /* ROUTE_POOL: [0] */
	uint32_t n_pools;
	struct series **series;       /* owned array: [listener id * (n_pools + 1) + slot]; the last slot is "no pool" */
};

enum decision_why { WHY_NONE, WHY_WEIGHT, WHY_AFFINITY, WHY_PIN, WHY_GEO };
const char *decision_why_name(enum decision_why why); /* "weight", ...; "" for none */

/* What a rate limit says of a key after a request. */
struct limit_answer {
	uint32_t limit;     /* requests that may come at once */
	uint32_t left;      /* ... and still may now */
	nsec_t restored_in; /* until all of them may */
	nsec_t free_in;     /* until one more may; 0: now */
};

/* Why a request goes nowhere although a route matches. */
enum refusal { REFUSED_NOT, REFUSED_ACCESS, REFUSED_RATE, REFUSED_UNKNOWN };

struct route_query {
	uint32_t listener; /* listener id */
	nsec_t now;        /* for rate limits */
	enum http_method method;
	struct span host;  /* lower case, without port; what was asked, one authority */
	struct span path;  /* without query; the same bytes that are forwarded */
	const struct sockaddr *client; /* the client's real address; NULL when unknown (unix socket) */
	struct geo_lookup *geo; /* routing_decide's own; NULL before */
	/*
	 * The only value of a header field, or false when the field is absent or
	 * stands more than once (ambiguous: treated as absent). `name` is lower case.
	 */
	bool (*header)(const void *ctx, struct span name, struct span *value_out);
	/* The value of a cookie of that exact name; false when absent. */
	bool (*cookie)(const void *ctx, struct span name, struct span *value_out);
	const void *ctx;
};

struct decision {
	const struct route_view *route; /* NULL: no route matches (404) */
	const struct pool_view *pool;   /* NULL for respond, redirect, no route */
	uint32_t slot;                  /* the pool's slot in the split */
	enum decision_why why;
	uint64_t key;                   /* for BALANCE_HASH */
	uint64_t serial;                /* of the weights that drew it; 0: no unit of evidence */
	uint32_t unit;                  /* with affinity: the key, hashed, below EVIDENCE_KEY_BITS */
	bool is_candidate;              /* drawn for the candidate of a trial: */
	uint32_t baseline;              /* slot that a failure may be shielded by */
	bool sets_cookie;               /* affinity by cookie and the client has none: */
	char cookie_value[33];          /* 32 hex digits, NUL */
	enum refusal refusal;           /* then there is no pool */
	bool is_over_limit;             /* refused by the rate limit, or would be if it were no dry run */
	struct limit_answer limit;      /* REFUSED_RATE */
	uint64_t limit_key;             /* ... for routing_refuses_still; 0: ask routing_decide each time */
	uint16_t country;               /* COUNTRY_NONE: unknown, or nobody asked */
};

/*
 * The order of judgement: route, limit, pin, affinity or weight. Touches the worker's
 * block of the split; call once per request (a retry keeps its pool).
 */
struct snapshot;
void routing_decide(struct snapshot *snapshot, unsigned worker, struct rng *rng,
    const struct route_query *query, struct decision *out);
/*
 * The same client comes with the same request, which a rate limit refused on
 * this snapshot: is it so still? Then it is counted, and `decision->limit`
 * says how it stands. False: nothing was done, decide anew.
 */
bool routing_refuses_still(unsigned worker, nsec_t now, struct decision *decision);

/* ---- copies ---- */

/*
 * Of a request whose split has a mirror: the pool that gets a copy of it, by
 * lot; NULL: none does.
 */
const struct pool_view *routing_mirror(const struct snapshot *snapshot,
    const struct decision *decision, enum http_method method, struct rng *rng);
struct mirror_cell *routing_mirror_cell(const struct decision *decision, unsigned worker);

/* ---- farewell ---- */

/* What is counted of a finished request. */
struct outcome {
	enum http_method method;
	unsigned status;   /* sent to the client; 499 when it left first */
	bool pool_failed;  /* the first attempt's failure is blamed on the pool */
	bool has_first_byte;
	uint64_t bytes_in, bytes_out;
	nsec_t total, first_byte; /* first_byte: from dispatch of the first attempt */
	/* of the first attempt, for evidence; means something only when decision->serial is set */
	struct {
		bool is_known;    /* it was answered, or it failed and the pool is to blame */
		bool has_latency; /* first_byte is its own, and says something */
		bool was_slow;    /* routing_record_age has counted it */
		uint8_t type;     /* enum shape_type */
		unsigned status;  /* 0: no answer */
		uint64_t bytes;   /* of the answer's body */
	} first;
	bool was_shielded; /* the client got the baseline's answer instead of a failure */
};
/*
 * decision->pool and ->route may be NULL (series "no route"). True: the
 * candidate of a trial has failed so often that control should look now.
 */
bool routing_record(struct snapshot *snapshot, unsigned worker, uint32_t listener,
    const struct decision *decision, const struct outcome *outcome);

/* ---- in flight, by age ---- */

/* The youngest age that any judged split of the snapshot calls slow; 0: none does. */
nsec_t routing_age_cut(const struct snapshot *snapshot);
/*
 * The age of a judged request since its first attempt left, no answer yet:
 * counts it as slow when it is above its split's cut, which happens once.
 */
enum age { AGE_YOUNG, AGE_SLOW, AGE_NO_UNIT /* not, or no longer, of interest */ };
enum age routing_record_age(unsigned worker, const struct decision *decision, nsec_t age);

/* ---- snapshots: what a worker holds on to ---- */

/*
 * A worker holds one reference for "my current snapshot" and one per request
 * in flight. Counts are per worker and not atomic; when a worker that has
 * moved on drops its last one, the control thread may free the snapshot.
 */
void snapshot_hold(struct snapshot *snapshot, unsigned worker);
void snapshot_drop(struct snapshot *snapshot, unsigned worker);

const struct config *snapshot_config(const struct snapshot *snapshot);
uint64_t snapshot_generation(const struct snapshot *snapshot);
/* By listener id; NULL when the snapshot has no such listener (any more). */
const struct listener_cfg *snapshot_listener(const struct snapshot *snapshot, uint32_t listener);
void *snapshot_listener_tls(const struct snapshot *snapshot, uint32_t listener);
struct listener_cell *snapshot_listener_cell(const struct snapshot *snapshot, uint32_t listener, unsigned worker);
size_t snapshot_n_pools(const struct snapshot *snapshot);
const struct pool_view *snapshot_pool(const struct snapshot *snapshot, size_t i);

struct publication; /* where control puts the newest snapshot */
/*
 * If a newer snapshot is published than `current` (NULL at the start), holds
 * it for the worker and returns it, else returns `current`. The caller then
 * drops `current` after it has let go of what hangs on it (idle connections to
 * retired endpoints).
 */
struct snapshot *publication_adopt(struct publication *publication, unsigned worker, struct snapshot *current);
/*
 * The worker's thread ends: nothing that is replaced later waits for it any
 * more. It has dropped all its snapshots. A worker that is asleep holds back
 * the freeing of replaced weights (some 100 bytes each) until it turns again.
 */
void publication_leave(struct publication *publication, unsigned worker);

#endif
