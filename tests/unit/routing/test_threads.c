/*
 * Two workers decide, pick, record and adopt while control publishes weights
 * and snapshots and reaps: for the thread sanitizer, and for what must hold
 * without it: only pools that some published state allows, and nothing left
 * behind at the end.
 */
#include "tests/unit/routing/edge.h"

#include <pthread.h>

enum { WORKERS = 2, ROUNDS = 1000, ENOUGH = 2000 };

#define HEAD "version: 1\nlisteners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"

#define BOTH                                                                   \
	HEAD "pools:\n"                                                        \
	     "  blue: {endpoints: [\"10.0.0.1:80\", \"10.0.0.2:80\"]}\n"       \
	     "  green: {endpoints: [\"10.0.1.1:80\"]}\n"                       \
	     "splits: {shop: {stable: blue, affinity: {by: header, "           \
	     "name: x-user}, weights: {blue: 90, green: 10}}}\n"               \
	     "routes: [{name: all, split: shop}]\n"

#define SWAPPED                                                                \
	HEAD                                                                   \
	    "pools:\n"                                                         \
	    "  green: {endpoints: [\"10.0.1.1:80\"]}\n"                        \
	    "  blue: {balance: round_robin, endpoints: [\"10.0.0.2:80\"]}\n"   \
	    "  red: {endpoints: [\"10.0.2.1:80\"]}\n"                          \
	    "splits: {shop: {stable: blue, weights: {green: 10, blue: 90}}}\n" \
	    "routes:\n"                                                        \
	    "  - {name: red, match: {path: /red}, pool: red}\n"                \
	    "  - {name: all, split: shop}\n"

struct worker {
	pthread_t thread;
	struct registry *registry;
	unsigned id;
	_Atomic bool *stop;
	_Atomic uint64_t n_decided;
	uint64_t n_wrong;
	struct snapshot *lingering; /* of a request in flight */
};

static void
serve(struct worker *worker, struct snapshot *snapshot, struct rng *rng)
{
	char user[24] = "";
	struct edge_request request = {.headers = {{"x-user", user}}};
	struct route_query query = edge_query("a.test", "/", &request);
	struct outcome outcome = {.status = 200,
	    .total = NSEC_PER_MSEC,
	    .pool_failed = rng_below(rng, 5) == 0,
	    .first = {.is_known = true, .has_latency = true}};
	struct decision decision;
	struct endpoint *endpoint;
	bool is_panic;

	snprintf(user, sizeof(user), "%u", rng_below(rng, 5000));
	routing_decide(snapshot, worker->id, rng, &query, &decision);
	endpoint = pool_pick(
	    decision.pool, worker->id, rng, decision.key, NULL, &is_panic);
	worker->n_wrong +=
	    endpoint == NULL || endpoint->pool != decision.pool->pool ||
	    decision.pool != decision.route->pools[decision.slot];
	if (rng_below(rng, 50) == 0 && endpoint != NULL)
		endpoint_failed(endpoint, worker->id, 1);
	counter_add(&endpoint->local[worker->id].requests, 1);
	if (decision.serial != 0 && rng_below(rng, 10) == 0)
		outcome.first.was_slow =
		    routing_record_age(worker->id, &decision, NSEC_PER_SEC) ==
		    AGE_SLOW;
	routing_record(snapshot, worker->id, 0, &decision, &outcome);
	counter_add(&worker->n_decided, 1);
}

/* A request that outlives turns: its snapshot is the one it began with. */
static void
linger(struct worker *worker, struct snapshot *snapshot, struct rng *rng)
{
	if (worker->lingering != NULL) {
		serve(worker, worker->lingering, rng);
		if (rng_below(rng, 500) != 0)
			return;
		snapshot_drop(worker->lingering, worker->id);
	}
	worker->lingering = snapshot;
	snapshot_hold(snapshot, worker->id);
}

static void *
run(void *arg)
{
	struct worker *worker = arg;
	struct publication *publication =
	    registry_publication(worker->registry);
	struct snapshot *snapshot = NULL;
	struct edge edge = {0};

	edge_seed(&edge, worker->id + 1);
	while (!atomic_load(worker->stop)) {
		struct snapshot *next =
		    publication_adopt(publication, worker->id, snapshot);

		if (next != snapshot && snapshot != NULL)
			snapshot_drop(snapshot, worker->id);
		snapshot = next;
		linger(worker, snapshot, &edge.rng);
		for (int i = 0; i < 8; i++)
			serve(worker, snapshot, &edge.rng);
	}
	if (worker->lingering != NULL)
		snapshot_drop(worker->lingering, worker->id);
	snapshot_drop(snapshot, worker->id);
	publication_leave(publication, worker->id);
	return NULL;
}

static void
count_series(
    void *ctx, const struct series_view *view, const struct series_stats *stats)
{
	(void)view;
	*(uint64_t *)ctx += stats->total.count;
}

/* One round of control: weights, now and then a snapshot, health, a scrape. */
static void
control(struct edge *edge, int round)
{
	struct split *split = registry_split(edge->registry, "shop");
	struct snapshot *current =
	    publication_current(registry_publication(edge->registry));
	bp_t bp[2] = {(bp_t)(round % 101 * 100), 0};
	struct endpoint_stats endpoint_stats;
	struct pool_stats pool_stats;
	struct split_trial trial = {.candidate = 1, .baseline = 0};
	struct evidence_sum sum;
	uint64_t requests = 0;

	bp[1] = BP_ALL - bp[0];
	/* a step counts the failures of keys that the step before has seen */
	if (split_evidence_read(split, &sum) && round % 3 == 2)
		assert_true(sum.arm[0].bad + sum.arm[1].bad <=
		            sum.arm[0].n + sum.arm[1].n);
	trial.continues = round % 3 == 2;
	if (round % 3 == 0)
		split_publish(split, bp, round, "control", NULL);
	else
		split_publish_trial(split, bp, &trial, round, "control", NULL);
	split_evidence_cut(split, NSEC_PER_MSEC);
	for (size_t i = 0; i < snapshot_n_pools(current); i++) {
		const struct pool_view *view = snapshot_pool(current, i);

		for (size_t j = 0; j < view->n_endpoints; j++)
			endpoint_mark_up(view->endpoints[j]);
		pool_stats_read(view->pool, WORKERS, &pool_stats);
		endpoint_stats_read(
		    view->endpoints[0], WORKERS, &endpoint_stats);
	}
	if (round % 16 == 0)
		registry_each_series(edge->registry, count_series, &requests);
	if (round % 2 == 0) {
		assert_non_null(snapshot_build(edge->registry,
		    edge_config(round % 4 == 0 ? SWAPPED : BOTH), NULL,
		    &edge->err));
		snapshot_publish(registry_publication(edge->registry),
		    edge->registry->built, NULL);
	}
	publication_reap(registry_publication(edge->registry));
}

static void
test_threads__workers_decide_while_everything_is_replaced(void **state)
{
	struct worker workers[WORKERS] = {0};
	_Atomic bool stop = false;
	struct edge edge;

	(void)state;
	edge_init(&edge, WORKERS);
	assert_non_null(
	    snapshot_build(edge.registry, edge_config(BOTH), NULL, &edge.err));
	snapshot_publish(
	    registry_publication(edge.registry), edge.registry->built, NULL);
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i].registry = edge.registry;
		workers[i].id = i;
		workers[i].stop = &stop;
		assert_int_equal(
		    pthread_create(&workers[i].thread, NULL, run, &workers[i]),
		    0);
	}
	for (int round = 0; round < ROUNDS; round++)
		control(&edge, round);
	/* on a busy machine the workers may hardly have begun */
	for (int i = 0; i < WORKERS; i++)
		while (atomic_load(&workers[i].n_decided) < ENOUGH)
			control(&edge, 1);
	atomic_store(&stop, true);
	for (int i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].n_wrong, 0);
	}
	assert_int_equal(
	    publication_reap(registry_publication(edge.registry)), 0);
	assert_null(registry_split(edge.registry, "shop")->retired);
	edge_close(&edge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_threads__workers_decide_while_everything_is_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
