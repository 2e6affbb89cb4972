/* Ejection: the row, the bound, how long, and the way back. */
#include "tests/unit/routing/edge.h"

#define SECOND NSEC_PER_SEC

static void
open_with(struct edge *edge, unsigned n, const char *outliers)
{
	char text[4096];
	size_t len;

	len = (size_t)snprintf(text, sizeof(text),
	    "version: 1\nlisteners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"
	    "routes: [{name: all, pool: p}]\n"
	    "pools: {p: {outliers: %s, endpoints: [",
	    outliers);
	for (unsigned i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
		    "%s\"10.0.0.%u:80\"", i ? ", " : "", i + 1);
	snprintf(text + len, sizeof(text) - len, "]}}\n");
	edge_open(edge, text);
}

static const struct pool_view *
view_of(const struct edge *edge)
{
	return snapshot_pool(edge->snapshot, 0);
}

static bool
is_ejected(const struct edge *edge, size_t i)
{
	return atomic_load(&view_of(edge)->endpoints[i]->is_ejected);
}

/* Bad answers until it is ejected; 0: not within 100. */
static unsigned
bad_until_ejected(const struct edge *edge, size_t i, nsec_t now)
{
	for (unsigned n = 1; n <= 100; n++)
		if (endpoint_answered(
		        view_of(edge), view_of(edge)->endpoints[i], true, now))
			return n;
	return 0;
}

static void
test_outlier__a_row_of_failures_ejects(void **state)
{
	struct edge edge;
	struct endpoint *endpoint;

	(void)state;
	open_with(&edge, 4, "{consecutive: 5}");
	endpoint = view_of(&edge)->endpoints[1];
	for (int i = 0; i < 10; i++) { /* four bad, one good */
		for (int j = 0; j < 4; j++)
			assert_false(endpoint_answered(
			    view_of(&edge), endpoint, true, 1));
		assert_false(
		    endpoint_answered(view_of(&edge), endpoint, false, 1));
	}
	assert_int_equal(bad_until_ejected(&edge, 1, SECOND), 5);
	assert_false(endpoint_is_usable(endpoint));
	assert_int_equal(pool_n_usable(view_of(&edge)), 3);
	edge_close(&edge);
}

static void
test_outlier__without_the_setting_nothing_is_counted(void **state)
{
	struct edge edge;

	(void)state;
	edge_open(&edge,
	    "version: 1\nlisteners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"
	    "pools: {p: {endpoints: [\"10.0.0.1:80\"]}}\n"
	    "routes: [{name: all, pool: p}]\n");
	assert_int_equal(bad_until_ejected(&edge, 0, 1), 0);
	edge_close(&edge);
}

static void
test_outlier__never_more_than_the_bound(void **state)
{
	static const struct {
		unsigned n, percent, most;
	} rows[] = {{1, 50, 0}, {2, 50, 1}, {3, 50, 1}, {4, 50, 2}, {10, 30, 3},
	    {10, 100, 10}, {10, 0, 0}, {3, 33, 0}, {3, 34, 1}};

	(void)state;
	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		struct edge edge;
		unsigned out = 0;
		char text[64];

		snprintf(text, sizeof(text),
		    "{consecutive: 1, max_ejected: %u%%}", rows[row].percent);
		open_with(&edge, rows[row].n, text);
		for (int round = 0; round < 3; round++)
			for (size_t i = 0; i < rows[row].n; i++)
				bad_until_ejected(&edge, i, SECOND);
		for (size_t i = 0; i < rows[row].n; i++)
			out += is_ejected(&edge, i);
		assert_int_equal(out, rows[row].most);
		edge_close(&edge);
	}
}

static void
test_outlier__who_is_down_counts_as_out(void **state)
{
	struct edge edge;

	(void)state;
	open_with(&edge, 4, "{consecutive: 1, max_ejected: 50%}");
	endpoint_mark_down(view_of(&edge)->endpoints[0], 1, "status 503");
	endpoint_mark_down(view_of(&edge)->endpoints[1], 1, "status 503");
	assert_int_equal(bad_until_ejected(&edge, 2, 1), 0);
	endpoint_mark_up(view_of(&edge)->endpoints[0]);
	assert_int_equal(bad_until_ejected(&edge, 2, 1), 1);
	edge_close(&edge);
}

static void
test_outlier__who_is_drained_counts_as_out(void **state)
{
	static const enum endpoint_admin states[] = {
	    ENDPOINT_DRAIN, ENDPOINT_MAINT};
	struct edge edge;

	(void)state;
	for (int i = 0; i < 2; i++) {
		open_with(&edge, 2, "{consecutive: 1, max_ejected: 50%}");
		assert_true(endpoint_set_admin(
		    edge.registry, "p", "10.0.0.1:80", states[i], &edge.err));
		assert_int_equal(bad_until_ejected(&edge, 1, 1), 0);
		/* what it had may fail; it is out for another reason */
		assert_int_equal(bad_until_ejected(&edge, 0, 1), 0);
		assert_true(endpoint_set_admin(edge.registry, "p",
		    "10.0.0.1:80", ENDPOINT_ACTIVE, &edge.err));
		assert_int_equal(bad_until_ejected(&edge, 1, 1), 1);
		edge_close(&edge);
	}
}

static void
test_outlier__it_comes_back_and_its_first_answer_decides(void **state)
{
	struct edge edge;
	struct endpoint *endpoint;
	nsec_t now = 100 * SECOND;

	(void)state;
	open_with(&edge, 4, "{consecutive: 5, eject: 10s}");
	endpoint = view_of(&edge)->endpoints[0];
	assert_int_equal(bad_until_ejected(&edge, 0, now), 5);
	assert_false(
	    endpoint_readmit(view_of(&edge), endpoint, now + 10 * SECOND - 1));
	assert_true(
	    endpoint_readmit(view_of(&edge), endpoint, now + 10 * SECOND));
	assert_true(endpoint_is_usable(endpoint));
	assert_int_equal(bad_until_ejected(&edge, 0, now + 11 * SECOND), 1);
	/* the second time twice as long */
	assert_false(
	    endpoint_readmit(view_of(&edge), endpoint, now + 30 * SECOND));
	assert_true(
	    endpoint_readmit(view_of(&edge), endpoint, now + 31 * SECOND));
	/* a good answer makes it one like the others */
	endpoint_answered(view_of(&edge), endpoint, false, now + 31 * SECOND);
	assert_int_equal(bad_until_ejected(&edge, 0, now + 32 * SECOND), 5);
	edge_close(&edge);
}

static void
test_outlier__ejections_grow_to_a_bound_and_are_forgotten(void **state)
{
	static const int lengths[] = {1, 2, 4, 8, 16, 16, 16};
	struct edge edge;
	struct endpoint *endpoint;
	nsec_t now = SECOND;

	(void)state;
	open_with(&edge, 2, "{consecutive: 1, eject: 1s}");
	endpoint = view_of(&edge)->endpoints[0];
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		assert_int_equal(bad_until_ejected(&edge, 0, now), 1);
		assert_int_equal(atomic_load(&endpoint->ejected_until) - now,
		    lengths[i] * SECOND);
		now += lengths[i] * SECOND;
		assert_true(endpoint_readmit(view_of(&edge), endpoint, now));
	}
	for (int i = 0; i < 200; i++) {
		now += SECOND;
		assert_false(endpoint_readmit(view_of(&edge), endpoint, now));
	}
	assert_int_equal(atomic_load(&endpoint->ejections), 0);
	assert_int_equal(bad_until_ejected(&edge, 0, now), 1);
	assert_int_equal(atomic_load(&endpoint->ejected_until) - now, SECOND);
	edge_close(&edge);
}

static void
test_outlier__when_all_are_out_the_pool_panics(void **state)
{
	struct edge edge;
	bool is_panic = false;
	struct rng rng;
	uint8_t seed[32] = {1};

	(void)state;
	rng_seed(&rng, seed);
	open_with(&edge, 2, "{consecutive: 1, max_ejected: 100%}");
	assert_false(pool_panics(view_of(&edge)));
	bad_until_ejected(&edge, 0, 1);
	bad_until_ejected(&edge, 1, 1);
	assert_true(pool_panics(view_of(&edge)));
	assert_non_null(pool_pick(view_of(&edge), 0, &rng, 0, NULL, &is_panic));
	assert_true(is_panic);
	edge_close(&edge);
}

/* Random failures, checks and time: the bound holds at every step. */
static void
test_outlier__the_bound_holds_whatever_happens(void **state)
{
	struct edge edge;
	struct rng rng;
	uint8_t seed[32] = {7};
	nsec_t now = 0;

	(void)state;
	rng_seed(&rng, seed);
	open_with(&edge, 9, "{consecutive: 2, eject: 1s, max_ejected: 40%}");
	for (int step = 0; step < 20000; step++) {
		size_t i = rng_below(&rng, 9);
		struct endpoint *endpoint = view_of(&edge)->endpoints[i];
		size_t before = 0, after = 0;
		bool is_done;

		now += rng_below(&rng, 50) * NSEC_PER_MSEC;
		for (size_t j = 0; j < 9; j++)
			before += is_ejected(&edge, j);
		is_done = endpoint_answered(
		    view_of(&edge), endpoint, rng_below(&rng, 3) > 0, now);
		for (size_t j = 0; j < 9; j++)
			after += is_ejected(&edge, j);
		assert_int_equal(after, before + is_done);
		assert_true(after <= 3);
		endpoint_readmit(view_of(&edge), endpoint, now);
	}
	edge_close(&edge);
}

/* How many of 100 picks go to it. */
static int
picks_of(struct edge *edge, size_t i)
{
	bool is_panic;
	int n = 0;

	for (int k = 0; k < 100; k++)
		n += pool_pick(view_of(edge), 0, &edge->rng, 0, NULL,
		         &is_panic) == view_of(edge)->endpoints[i];
	return n;
}

static void
test_outlier__back_in_one_request_finds_out(void **state)
{
	struct edge edge;
	struct endpoint *endpoint;
	nsec_t now = SECOND;

	(void)state;
	open_with(&edge, 4, "{consecutive: 1, eject: 10s}");
	endpoint = view_of(&edge)->endpoints[2];
	assert_true(endpoint_answered(view_of(&edge), endpoint, true, now));
	assert_int_equal(picks_of(&edge, 2), 0);
	now += 10 * SECOND;
	assert_true(endpoint_readmit(view_of(&edge), endpoint, now));
	assert_int_equal(picks_of(&edge, 2), 1);
	/* nothing is heard of it: another one, an ejection's time later */
	assert_false(endpoint_readmit(view_of(&edge), endpoint, now));
	assert_false(
	    endpoint_readmit(view_of(&edge), endpoint, now + 10 * SECOND - 1));
	assert_int_equal(picks_of(&edge, 2), 0);
	now += 10 * SECOND;
	assert_false(endpoint_readmit(view_of(&edge), endpoint, now));
	assert_int_equal(picks_of(&edge, 2), 1);
	/* it is well */
	endpoint_answered(view_of(&edge), endpoint, false, now);
	assert_true(picks_of(&edge, 2) > 5);
	edge_close(&edge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_outlier__a_row_of_failures_ejects),
	    cmocka_unit_test(
	        test_outlier__without_the_setting_nothing_is_counted),
	    cmocka_unit_test(test_outlier__never_more_than_the_bound),
	    cmocka_unit_test(test_outlier__who_is_down_counts_as_out),
	    cmocka_unit_test(test_outlier__who_is_drained_counts_as_out),
	    cmocka_unit_test(
	        test_outlier__it_comes_back_and_its_first_answer_decides),
	    cmocka_unit_test(
	        test_outlier__ejections_grow_to_a_bound_and_are_forgotten),
	    cmocka_unit_test(test_outlier__when_all_are_out_the_pool_panics),
	    cmocka_unit_test(test_outlier__the_bound_holds_whatever_happens),
	    cmocka_unit_test(test_outlier__back_in_one_request_finds_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
