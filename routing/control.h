/*
 * routing, as the control plane sees it: the registry of what survives
 * reloads, the building of snapshots, the publishing of weights, the reading
 * of statistics. All functions of this header are called by the control
 * thread only (or before the workers start), unless they say otherwise.
 */
#ifndef WEIR_ROUTING_CONTROL_H
#define WEIR_ROUTING_CONTROL_H

#include <time.h>

#include "config/config.h"
#include "routing/decide.h"

/*
 * The registry owns pools, endpoints, splits, series and listener cells by
 * name. Unchanged names keep their objects, counters, health and connections
 * over any number of reloads; what no snapshot uses any more is freed.
 */
struct registry;
struct registry *registry_new(unsigned workers, const uint8_t secret[16]); /* secret keys the affinity hash before a salt is set */
void registry_free(struct registry **registry);
unsigned registry_workers(const struct registry *registry);

/* ---- splits: runtime state that the file does not own ---- */

/*
 * The three-way merge of one split at a reload: what the weights shall be.
 * Unchanged file weights (or a changed file that says what runs): runtime
 * stays. Changed file weights: the file wins. Pools that left: their share
 * goes to `stable`, and MERGE_POOLS_CHANGED is told.
 */
enum merge { MERGE_KEEP_RUNTIME, MERGE_FILE_WINS, MERGE_POOLS_CHANGED };

struct split {
	char *name;                       /* owned */
	uint32_t n_pools;
	char *pools[CONFIG_SPLIT_POOLS_MAX]; /* owned names, in slots */
	_Atomic(struct weights *) published; /* what the workers read */
	/* control thread only, from here on */
	bp_t file[CONFIG_SPLIT_POOLS_MAX];     /* what the last file said */
	char *stable;                     /* owned: name of the baseline's pool */
	bp_t previous[CONFIG_SPLIT_POOLS_MAX]; /* before the last change, for undo */
	bool has_previous;
	time_t changed_at;                /* wall clock, 0: never by hand */
	char *changed_by, *reason;        /* owned, may be NULL */
	uint32_t refs;
	struct registry *registry;        /* borrowed: the registry outlives its splits */
	enum merge fate;                  /* what the last publish or restore made of it */
	bool has_affinity;                /* by the last file */
	void *locals;                     /* split.c: per-worker blocks */
	struct mirror_cell *mirrors;      /* owned: [workers] */
	struct weights *retired;          /* split.c: old objects, freed once the workers have moved on */
};

/* The splits of the current snapshot; before the first publish, of the one that was built. A split whose pools change at a reload is a new object: look it up by name, keep no pointer over a reload. */
struct split *registry_split(struct registry *registry, const char *name); /* NULL: none */
size_t registry_n_splits(const struct registry *registry);
struct split *registry_split_at(struct registry *registry, size_t i);
int split_slot(const struct split *split, const char *pool); /* -1: not in it */
const struct weights *split_weights(const struct split *split);

/*
 * Publishes new weights (by slots; sum BP_ALL, asserted). Effective for each
 * worker's next decision. Remembers the ones before for undo.
 */
void split_publish(struct split *split, const bp_t bp[], time_t wall, const char *by, const char *reason);
/*
 * The same for a rollout: evidence between the two slots begins at zero with
 * these weights. What split_publish publishes is not judged.
 */
struct split_trial {
	uint32_t candidate, baseline; /* slots */
	uint64_t salt;                /* of the affinity hash: the rollout's own; 0: as it is */
	/*
	 * Cookie sessions that the candidate has stay with it although its weight
	 * went down; only new ones follow the weights. Other keys cannot tell.
	 */
	bool keeps_sessions;
	/*
	 * A further step of the same phase (a ramp): keys that were counted under
	 * the weights before stay counted. Only affinity makes a difference.
	 */
	bool continues;
};
void split_publish_trial(struct split *split, const bp_t bp[], const struct split_trial *trial,
    time_t wall, const char *by, const char *reason);
/* Another pool is the stable one from now on (and without a trial the top of the affinity range); in force with the next publish. */
void split_set_stable(struct split *split, uint32_t slot);
struct split_state {
	uint64_t version, salt;
	uint32_t n;
	char *pools[CONFIG_SPLIT_POOLS_MAX];  /* owned */
	bp_t bp[CONFIG_SPLIT_POOLS_MAX], file[CONFIG_SPLIT_POOLS_MAX], previous[CONFIG_SPLIT_POOLS_MAX];
	bool has_previous;
	time_t changed_at;
	char *stable, *changed_by, *reason;   /* owned, may be NULL */
};
void split_save(const struct split *split, struct split_state *out); /* copies; release after */
void split_state_release(struct split_state *state);
/*
 * Restores journalled state at start: weights with their version, previous,
 * salt. Pools are matched by name; false when the pools differ (the file's
 * weights stay). When the file's weights are others than when the state was
 * saved, the file wins as at a reload, with a version above the saved one.
 */
bool split_restore(struct split *split, const struct split_state *state);
/*
 * The same by name, before or after the first publish: kept (a copy) until
 * the split first appears, and then merged as if the process had never ended,
 * changed pools included. False: the split is there and its pools differ.
 */
bool registry_restore_split(struct registry *registry, const char *name, const struct split_state *state);

/* ---- snapshots ---- */

/* Where a service is, by the SRV records of its name and the addresses of their targets. */
enum { SERVICE_PLACES_MAX = 256, SERVICE_TIERS_MAX = 255 };
struct service_place {
	struct sockaddr_storage sa; /* with its port */
	uint32_t weight;            /* against the others of its tier */
	uint8_t tier;               /* 0: the records' first priority, 1: the next, ... */
};

/* What the composition root hangs on a snapshot; freed with it. */
struct snapshot_options {
	void *ctx;
	/* A service's places now; writes at most cap; 0: it has none. NULL: services are an error. */
	size_t (*find_service)(void *ctx, const char *service, struct service_place *out, size_t cap);
	/* A DNS name's addresses now; writes at most cap; 0: none known (the pool starts without that endpoint). NULL: names are an error. */
	size_t (*resolve)(void *ctx, const struct address *address, struct sockaddr_storage *out, size_t cap);
	/* TLS contexts; may return NULL with err set, which fails the build. NULL function: not used. */
	void *(*listener_tls)(void *ctx, const struct listener_cfg *cfg, struct err *err);
	void *(*pool_tls)(void *ctx, const struct pool_cfg *cfg, struct err *err);
	void (*listener_tls_free)(void *ctx, void *tls);
	void (*pool_tls_free)(void *ctx, void *tls);
};

/* One split's fate at this reload, for log and audit. */
struct merge_note {
	const char *split; /* borrowed from the new snapshot's config */
	enum merge merge;
	bp_t before[CONFIG_SPLIT_POOLS_MAX], after[CONFIG_SPLIT_POOLS_MAX];
	uint32_t n;
};

/*
 * Builds a snapshot beside the running one. Takes the config over (freed with
 * the snapshot, and on failure). Registry objects are made or found by name;
 * weights are NOT changed before snapshot_publish. NULL with err on failure:
 * nothing has changed then.
 */
struct snapshot *snapshot_build(struct registry *registry, struct config *config,
    const struct snapshot_options *options, struct err *err);
/*
 * The same config once more, with the addresses that its names have now and
 * with the endpoints that were replaced: of the current one, before the first
 * publish of the one that was built. All else is shared with it. Published like any other.
 */
struct snapshot *snapshot_rebuild(struct registry *registry, struct err *err);
/*
 * Makes it the current one: merges the splits (notes_out, caller frees the
 * array; may be NULL), publishes, retires the one before. Returns the number of notes.
 */
size_t snapshot_publish(struct publication *publication, struct snapshot *snapshot, struct merge_note **notes_out);
struct publication *registry_publication(struct registry *registry);
struct snapshot *publication_current(struct publication *publication);
/* Frees retired snapshots and weights that no worker holds; call after publishing and on a timer. Returns how many snapshots are still held. */
size_t publication_reap(struct publication *publication);

/* Listener ids are small, stable by name over reloads. -1: unknown. */
int registry_listener_id(struct registry *registry, const char *name);

/* ---- a pool's endpoints, replaced while it runs ---- */

/*
 * In force as long as the file says of the pool's endpoints what it said when
 * they were replaced; when that changes the file wins. In effect with the next
 * snapshot that is built.
 */
struct endpoint_set {
	struct endpoint_set *next;
	char *pool;              /* owned, as all below */
	struct endpoint_cfg *at;
	size_t n;
	char *file;              /* endpoints_text() of the file's */
	time_t changed_at;
	char *changed_by, *reason; /* may be NULL */
};
/* Takes it over, in the place of the pool's last one. */
void registry_put_set(struct registry *registry, struct endpoint_set *set);
/* Takes it out; the caller releases it. NULL: there was none. */
struct endpoint_set *registry_take_set(struct registry *registry, const char *pool);
void endpoint_set_free(struct endpoint_set **set);
/* NULL: none. Also one that the file has overtaken. */
const struct endpoint_set *registry_set(const struct registry *registry, const char *pool);
const struct endpoint_set *registry_set_at(const struct registry *registry, size_t i); /* NULL behind the last */
bool endpoint_set_holds(const struct endpoint_set *set, const struct pool_cfg *cfg);
/* What is in force: the set's, or the file's. */
const struct endpoint_cfg *registry_endpoints(const struct registry *registry, const struct pool_cfg *cfg, size_t *n_out);

/* As printed, or, of a DNS name or a service, as the file has it: then all its addresses. */
bool endpoint_is_named(const struct endpoint *endpoint, const char *address);
/* Endpoints that are in no snapshot any more but still have something to finish. */
typedef void endpoint_seen_fn(void *ctx, const struct endpoint *endpoint);
void registry_each_retired(struct registry *registry, const char *pool, endpoint_seen_fn *fn, void *ctx);

/* Replaces a pool's endpoints or one endpoint's state is by config or by: */
bool endpoint_set_admin(struct registry *registry, const char *pool, const char *address, enum endpoint_admin state, struct err *err);
/* The prober's verdict (any thread may store; control does). */
void endpoint_mark_up(struct endpoint *endpoint);
void endpoint_mark_down(struct endpoint *endpoint, nsec_t now, const char *reason);
/*
 * A check has ended. `rise` good ones in a row bring the endpoint back, `fall`
 * failed ones take it out; the first of all decides alone. After a worker has
 * taken it out, good ones are counted from there. True: it went down or up.
 */
bool endpoint_checked(struct endpoint *endpoint, const struct health_cfg *cfg, bool is_good, const char *text, nsec_t now);
/* Is the next check to come soon, because the last one spoke against the endpoint's state? */
bool endpoint_is_turning(const struct endpoint *endpoint);
/* "up", "ejected", "down": a word and, into `text`, why. */
const char *endpoint_health(const struct endpoint *endpoint, nsec_t now, char *text, size_t cap);
/* Slow start: it has come (back) and begins with a small share. */
void endpoint_cool(struct endpoint *endpoint);
/* Time passes for its share. */
void endpoint_warm(struct endpoint *endpoint, nsec_t now);
/*
 * Time passes for an endpoint of a pool with outliers: True: its ejection is
 * over and it was taken in again. Also forgets old ejections, one by one.
 */
bool endpoint_readmit(const struct pool_view *view, struct endpoint *endpoint, nsec_t now);
/*
 * Endpoints that leave (drain, maint, or no longer in the pool) may finish what
 * they have for as long as their pool's `drain`. What has become of each since
 * the last call is told; LEAVING_CUT: its is_cut is set, the workers close the
 * rest. True: workers should look.
 */
enum leaving { LEAVING_BEGUN, LEAVING_DRAINED, LEAVING_CUT };
typedef void leaving_fn(void *ctx, const struct endpoint *endpoint, enum leaving what, uint32_t in_flight);
bool registry_each_leaving(struct registry *registry, nsec_t now, leaving_fn *fn, void *ctx);
/* Seconds until what is left is closed, -1: it stays, -2: without an end. */
double endpoint_time_left(const struct endpoint *endpoint, nsec_t now);
/* Usable endpoints of a pool in the current snapshot. */
size_t pool_n_usable(const struct pool_view *view);
/* Moves the adaptive limits; to be called about ten times a second. */
void registry_adapt(struct registry *registry, nsec_t now);
struct adaptive_stats {
	uint32_t limit;        /* in force */
	const char *state;     /* "start", "steady", "probe" */
	nsec_t latest, usual;  /* how long answers take to begin; 0: not known */
	uint64_t samples, probes;
};
/* False: the pool has no adaptive limit. */
bool pool_adaptive_read(const struct pool_view *view, struct adaptive_stats *out);
/* None is usable, but there are active ones: they get requests all the same. */
bool pool_panics(const struct pool_view *view);

/* ---- places ---- */

/* NULL with err naming the file. Reads whole files: not for workers. */
struct geo;
struct geo *geo_open(const struct strings *paths, unsigned workers, struct err *err);
void geo_free(struct geo **geo);
/* Takes it over (NULL: none); in effect for each worker's next decision. */
void registry_geo_publish(struct registry *registry, struct geo *geo);
/* Requests whose place was looked up; `country` is two letters, "other" or "unknown". */
typedef void geo_fn(void *ctx, const char *route, const char *country, uint64_t n);
void registry_each_country(struct registry *registry, geo_fn *fn, void *ctx);

/* ---- rate limits ---- */

/* Of the current snapshot, by route: what a key may still do. */
struct limit_report {
	const struct limit_cfg *cfg;  /* borrowed from the snapshot */
	struct limit_answer answer;   /* with a key */
	uint64_t decisions[LIMIT_DECISION_COUNT], evictions;
	bool was_known;               /* the key owed something */
};
/* `key` as a client would bring it: an address, a header's value, a token; "" without. False with err: the route has no limit (is_route_out: but there is such a route), or no address where one is meant. */
bool limit_report(struct registry *registry, const char *route, const char *key, nsec_t now, struct limit_report *out, bool *is_route_out, struct err *err);
/* Forgets what a key owes. The same answers. */
bool limit_forget(struct registry *registry, const char *route, const char *key, nsec_t now, struct limit_report *out, bool *is_route_out, struct err *err);
typedef void limit_fn(void *ctx, const char *route, const uint64_t decisions[LIMIT_DECISION_COUNT], uint64_t evictions);
void registry_each_limit(struct registry *registry, limit_fn *fn, void *ctx);
typedef void denial_fn(void *ctx, const char *route, enum access_denial denial, uint64_t n);
void registry_each_denial(struct registry *registry, denial_fn *fn, void *ctx);
/* ---- limits that instances share: routing/limit/shared.h says how ---- */

struct limit_spent {
	uint64_t hash;
	uint32_t limit, n; /* requests; 0: one was refused, what do the others say? */
};
enum { LIMIT_FORGIVEN = INT32_MAX }; /* as n: to be forgotten everywhere */
/* What was let pass since the last call; several entries may be of one key. */
size_t registry_take_spent(struct registry *registry, struct limit_spent *out, size_t cap);
/* What a key owes here, and what a request of a limit costs. */
nsec_t registry_limit_debt(const struct registry *registry, uint64_t hash, nsec_t now);
double registry_limit_interval_usec(const struct registry *registry, uint32_t limit);
/* All instances together owe `debt`; this one owed `seen` when it was asked, aged since. */
void registry_settle(struct registry *registry, uint64_t hash, nsec_t now, nsec_t seen, nsec_t debt);
/* What one request is of its limit's burst, at most 1. */
double registry_limit_part(const struct registry *registry, uint32_t limit);
/* All instances together owe at least `debt`; by how much more than was known here. */
nsec_t registry_hear(struct registry *registry, uint64_t hash, nsec_t now, nsec_t debt);
/* Another instance has forgiven the key. */
void registry_forgive(struct registry *registry, uint64_t hash, nsec_t now);
/* How many share; 0: nobody knows, Redis is away. */
void registry_share_limits(struct registry *registry, uint32_t instances);
uint32_t registry_limit_instances(const struct registry *registry);
bool registry_has_shared_limits(const struct registry *registry);
uint64_t registry_spent_lost(const struct registry *registry);

/* Keys that owe something, of all routes; bytes reserved for them. */
size_t registry_limit_keys(const struct registry *registry);
/* The control thread's beat: frees a part of what is paid off. */
void registry_beat(struct registry *registry, nsec_t now);

/* ---- reading statistics (any thread that keeps the object alive; the registry's lists: control only) ---- */

struct pool_stats {
	uint64_t requests, failures, retries, by_class[6];
	uint64_t full, late, held; /* refused by limits */
	uint64_t replays, unkept[REPLAY_LOSS_COUNT], hedges[HEDGE_RESULT_COUNT];
	int64_t in_flight;
	struct histogram_sum total, first_byte, connect;
};
void pool_stats_read(const struct pool *pool, unsigned workers, struct pool_stats *out);

struct endpoint_stats {
	uint64_t requests, errors[UPSTREAM_ERROR_COUNT], connects, retries;
	uint32_t in_flight, idle;
};
void endpoint_stats_read(const struct endpoint *endpoint, unsigned workers, struct endpoint_stats *out);

struct listener_stats {
	uint64_t refused[CONN_REFUSAL_COUNT], too_slow[CLIENT_SLOWNESS_COUNT];
	uint64_t accepted, bytes_in, bytes_out, handshakes[2][2], glitches[GLITCH_COUNT];
	uint64_t handshake_errors[HANDSHAKE_FAILURE_COUNT];
	int64_t active, idle, tunnels, in_flight;
};
void listener_stats_read(struct registry *registry, uint32_t listener, struct listener_stats *out);

/* Every series ever used and still in the registry. */
struct mirror_stats {
	uint64_t results[MIRROR_RESULT_COUNT], skips[MIRROR_SKIP_COUNT];
	int64_t in_flight;
};
void mirror_stats_read(const struct split *split, unsigned workers, struct mirror_stats *out);

struct series_view {
	const char *listener, *route, *pool; /* route or pool "" when none */
};
struct series_stats {
	uint32_t n_codes;
	struct { enum http_method method; unsigned status; uint64_t count; } codes[SERIES_CODES_MAX * 2];
	uint64_t bytes_in, bytes_out;
	struct histogram_sum total;
};
typedef void series_fn(void *ctx, const struct series_view *view, const struct series_stats *stats);
void registry_each_series(struct registry *registry, series_fn *fn, void *ctx);

#endif
