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
	    cmocka_unit_test(test_place__the_limit_holds_between_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
