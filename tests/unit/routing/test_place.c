/* Places of a pool: the limit, the queue's bound, and whose turn it is. */
#include "tests/unit/routing/edge.h"

#include <pthread.h>

#define FILE_OF(limits)                                                        \
	"version: 1\nlisteners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"        \
	"pools: {p: {endpoints: [\"10.0.0.1:80\"], limits: " limits "}}\n"     \
	"routes: [{name: all, pool: p}]\n"

static const struct pool_view *
view_of(const struct edge *edge)
{
	return snapshot_pool(edge->snapshot, 0);
}

static void
test_place__no_more_are_given_than_there_are(void **state)
{
	struct edge edge;
	struct places_stats stats;

	(void)state;
	edge_open(&edge, FILE_OF("{in_flight: 3, queue: 2}"));
	for (int i = 0; i < 3; i++)
		assert_true(pool_take_place(view_of(&edge)));
	assert_false(pool_take_place(view_of(&edge)));
	assert_false(pool_give_place(view_of(&edge)->pool));
	assert_true(pool_take_place(view_of(&edge)));
	assert_true(pool_wait(view_of(&edge), 0));
	assert_true(pool_wait(view_of(&edge), 0));
	assert_false(pool_wait(view_of(&edge), 0));
	pool_places_read(view_of(&edge)->pool, &stats);
	assert_int_equal(stats.taken, 3);
	assert_int_equal(stats.waiting, 2);
	assert_true(pool_give_place(view_of(&edge)->pool));
	pool_wait_no_more(view_of(&edge)->pool, 0, false);
	pool_wait_no_more(view_of(&edge)->pool, 0, true);
	assert_false(pool_give_place(view_of(&edge)->pool));
	assert_false(pool_give_place(view_of(&edge)->pool));
	edge_close(&edge);
}

static void
test_place__the_lot_is_in_proportion(void **state)
{
	struct edge edge;
	struct pool *pool;
	int other, own = 0;

	(void)state;
	edge_open(&edge, FILE_OF("{in_flight: 1, queue: 100}"));
	pool = view_of(&edge)->pool;
	assert_false(pool_is_next(pool, 0, 0, &edge.rng, &other));
	assert_int_equal(other, -1);
	for (int i = 0; i < 5; i++)
		pool_wait(view_of(&edge), 0);
	assert_true(pool_is_next(pool, 0, 5, &edge.rng, &other));
	for (int i = 0; i < 15; i++)
		pool_wait(view_of(&edge), 1);
	for (int i = 0; i < 10000; i++) {
		bool is_own = pool_is_next(pool, 0, 5, &edge.rng, &other);

		own += is_own;
		assert_int_equal(other, is_own ? -1 : 1);
	}
	assert_in_range(own, 2300, 2700);
	/* who has none waiting gives it away */
	assert_false(pool_is_next(pool, 0, 0, &edge.rng, &other));
	assert_int_equal(other, 1);
	edge_close(&edge);
}

/* ---- adaptive limits ---- */

static void
take_all(const struct pool_view *view, uint32_t want)
{
	uint32_t n = 0;

	while (pool_take_place(view))
		n++;
	assert_int_equal(n, want);
	while (n-- > 0)
		pool_give_place(view->pool);
}

static void
test_place__an_adaptive_limit_is_obeyed(void **state)
{
	struct edge edge;
	struct adaptive_stats stats;
	nsec_t now = NSEC_PER_SEC;

	(void)state;
	edge_open(&edge, FILE_OF("{in_flight: 200, adaptive: {min: 2}}"));
	assert_false(pool_adaptive_read(view_of(&edge), &stats));
	registry_adapt(edge.registry, now);
	assert_true(pool_adaptive_read(view_of(&edge), &stats));
	assert_int_equal(stats.limit, 2);
	assert_string_equal(stats.state, "start");
	assert_true(pool_is_held(view_of(&edge)));
	take_all(view_of(&edge), 2);
	/* all of it in use, and answers as fast as ever */
	atomic_store(&view_of(&edge)->pool->places->taken, 10);
	for (int i = 0; i < 20; i++) {
		for (unsigned j = 0; j < 40; j++)
			pool_took(view_of(&edge)->pool, j % 2,
			    10 * NSEC_PER_MSEC, false);
		registry_adapt(edge.registry, now += 100 * NSEC_PER_MSEC);
	}
	atomic_store(&view_of(&edge)->pool->places->taken, 0);
	pool_adaptive_read(view_of(&edge), &stats);
	assert_int_equal(stats.samples, 800);
	assert_in_range(stats.limit, 12, 17); /* 10 do not fill it */
	take_all(view_of(&edge), stats.limit);
	edge_reload(&edge, FILE_OF("{in_flight: 12, adaptive: true}"));
	registry_adapt(edge.registry, now += 100 * NSEC_PER_MSEC);
	take_all(view_of(&edge), 12);
	assert_false(pool_is_held(view_of(&edge)));
	edge_reload(&edge, FILE_OF("{in_flight: 50}"));
	registry_adapt(edge.registry, now += 100 * NSEC_PER_MSEC);
	assert_false(pool_adaptive_read(view_of(&edge), &stats));
	take_all(view_of(&edge), 50);
	edge_close(&edge);
}

static uint64_t
samples_of(struct edge *edge, nsec_t *now)
{
	struct adaptive_stats stats;

	registry_adapt(edge->registry, *now += 100 * NSEC_PER_MSEC);
	assert_true(pool_adaptive_read(view_of(edge), &stats));
	return stats.samples;
}

static void
test_place__a_quick_failure_teaches_nothing(void **state)
{
	struct edge edge;
	struct pool *pool;
	struct adaptive_stats stats;
	nsec_t now = NSEC_PER_SEC;

	(void)state;
	edge_open(&edge, FILE_OF("{in_flight: 200, adaptive: true}"));
	pool = view_of(&edge)->pool;
	registry_adapt(edge.registry, now);
	pool_took(pool, 0, NSEC_PER_SEC, true); /* nothing is usual yet */
	assert_int_equal(samples_of(&edge, &now), 0);
	for (int i = 0; i < 30; i++)
		pool_took(pool, 0, 10 * NSEC_PER_MSEC, false);
	assert_int_equal(samples_of(&edge, &now), 30);
	pool_took(pool, 0, NSEC_PER_MSEC, true);
	assert_int_equal(samples_of(&edge, &now), 30);
	pool_took(pool, 0, 11 * NSEC_PER_MSEC, true);
	assert_int_equal(samples_of(&edge, &now), 31);
	/* what hangs for long counts, but not for all that it took */
	for (int i = 0; i < 99; i++)
		pool_took(pool, 0, 10 * NSEC_PER_MSEC, false);
	pool_took(pool, 0, 3600 * NSEC_PER_SEC, false);
	assert_int_equal(samples_of(&edge, &now), 131);
	pool_adaptive_read(view_of(&edge), &stats);
	assert_in_range(stats.latest, 11 * NSEC_PER_MSEC, 12 * NSEC_PER_MSEC);
	edge_close(&edge);
}

struct racer {
	const struct pool_view *view;
	_Atomic int *inside;
	int most, taken;
};

static void *
race(void *arg)
{
	struct racer *racer = arg;

	for (int i = 0; i < 20000; i++) {
		int now;

		if (!pool_take_place(racer->view))
			continue;
		now = atomic_fetch_add(racer->inside, 1) + 1;
		racer->most = now > racer->most ? now : racer->most;
		racer->taken++;
		atomic_fetch_sub(racer->inside, 1);
		pool_give_place(racer->view->pool);
	}
	return NULL;
}

static void
test_place__the_limit_holds_between_threads(void **state)
{
	struct edge edge;
	struct racer racers[4];
	pthread_t threads[4];
	_Atomic int inside = 0;
	int taken = 0;

	(void)state;
	edge_open(&edge, FILE_OF("{in_flight: 2}"));
	for (int i = 0; i < 4; i++) {
		racers[i] = (struct racer){view_of(&edge), &inside, 0, 0};
		pthread_create(&threads[i], NULL, race, &racers[i]);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_true(racers[i].most <= 2);
		taken += racers[i].taken;
	}
	assert_true(taken > 0);
	assert_true(pool_take_place(view_of(&edge)));
	assert_true(pool_take_place(view_of(&edge)));
	edge_close(&edge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_place__no_more_are_given_than_there_are),
	    cmocka_unit_test(test_place__the_lot_is_in_proportion),
	    cmocka_unit_test(test_place__an_adaptive_limit_is_obeyed),
	    cmocka_unit_test(test_place__a_quick_failure_teaches_nothing),
	    cmocka_unit_test(test_place__the_limit_holds_between_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
