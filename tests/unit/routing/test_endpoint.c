/* An endpoint's states, who flips them, and the operator's word. */
#include "tests/unit/routing/edge.h"

#define FILE_OF_TWO                                                            \
	"version: 1\n"                                                         \
	"listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"                    \
	"pools: {p: {endpoints: [\"10.0.0.1:80\", {address: \"10.0.0.2:80\", " \
	"weight: 7}]}}\n"                                                      \
	"routes: [{name: all, pool: p}]\n"

static struct endpoint *
open_two(struct edge *edge)
{
	edge_open(edge, FILE_OF_TWO);
	return snapshot_pool(edge->snapshot, 0)->endpoints[0];
}

static void
test_endpoint__two_failures_in_a_row_take_it_out(void **state)
{
	struct edge edge;
	struct endpoint *endpoint = open_two(&edge);

	(void)state;
	assert_false(endpoint_failed(endpoint, 0, 10));
	assert_true(endpoint_is_usable(endpoint));
	assert_true(endpoint_failed(endpoint, 0, 20));
	assert_false(endpoint_is_usable(endpoint));
	assert_int_equal(atomic_load(&endpoint->down_since), 20);
	/* already out: nobody tells the prober again */
	assert_false(endpoint_failed(endpoint, 0, 30));
	assert_false(endpoint_failed(endpoint, 0, 30));
	assert_int_equal(atomic_load(&endpoint->down_since), 20);
	edge_close(&edge);
}

static void
test_endpoint__a_success_between_starts_anew(void **state)
{
	struct edge edge;
	struct endpoint *endpoint = open_two(&edge);

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_false(endpoint_failed(endpoint, 0, 10));
		endpoint_succeeded(endpoint, 0);
	}
	/* workers count for themselves */
	assert_false(endpoint_failed(endpoint, 0, 10));
	assert_false(endpoint_failed(endpoint, 1, 10));
	assert_true(endpoint_is_usable(endpoint));
	assert_true(endpoint_failed(endpoint, 1, 11));
	assert_false(
	    endpoint_failed(endpoint, 0, 12)); /* the other was first */
	edge_close(&edge);
}

static void
test_endpoint__the_prober_brings_it_back(void **state)
{
	struct edge edge;
	struct endpoint *endpoint = open_two(&edge);
	struct pool *pool = endpoint->pool;
	uint64_t changes = atomic_load(&pool->changes);

	(void)state;
	endpoint_mark_up(endpoint); /* it is up: nothing flips */
	assert_int_equal(atomic_load(&pool->changes), changes);
	endpoint_mark_down(endpoint, 5, "connection refused");
	assert_int_equal(atomic_load(&pool->changes), changes + 1);
	assert_int_equal(atomic_load(&endpoint->down_since), 5);
	assert_string_equal(endpoint->down_reason, "connection refused");
	endpoint_mark_down(endpoint, 9, "still refused");
	assert_int_equal(atomic_load(&endpoint->down_since), 5);
	assert_string_equal(endpoint->down_reason, "still refused");
	assert_int_equal(pool_n_usable(snapshot_pool(edge.snapshot, 0)), 1);
	endpoint_mark_up(endpoint);
	assert_true(endpoint_is_usable(endpoint));
	assert_int_equal(atomic_load(&endpoint->down_since), 0);
	assert_string_equal(endpoint->down_reason, "");
	/* and it may fail once before it is out again */
	assert_false(endpoint_failed(endpoint, 0, 10));
	assert_true(endpoint_failed(endpoint, 0, 10));
	edge_close(&edge);
}

static void
test_endpoint__a_long_reason_is_cut(void **state)
{
	struct edge edge;
	struct endpoint *endpoint = open_two(&edge);
	char reason[200];

	(void)state;
	memset(reason, 'x', sizeof(reason));
	reason[199] = '\0';
	endpoint_mark_down(endpoint, 1, reason);
	assert_int_equal(
	    strlen(endpoint->down_reason), sizeof(endpoint->down_reason) - 1);
	endpoint_mark_down(endpoint, 1, NULL);
	assert_string_equal(endpoint->down_reason, "");
	edge_close(&edge);
}

static void
test_endpoint__the_operator_drains_by_name(void **state)
{
	struct edge edge;
	struct endpoint *endpoint = open_two(&edge);
	struct err err;

	(void)state;
	assert_true(endpoint_set_admin(
	    edge.registry, "p", "10.0.0.1:80", ENDPOINT_DRAIN, &err));
	assert_false(endpoint_is_usable(endpoint));
	edge_reload(&edge, FILE_OF_TWO); /* it is the operator's until told */
	assert_int_equal(atomic_load(&endpoint->admin), ENDPOINT_DRAIN);
	assert_true(endpoint_set_admin(
	    edge.registry, "p", "10.0.0.1:80", ENDPOINT_ACTIVE, &err));
	assert_true(endpoint_is_usable(endpoint));
	edge_close(&edge);
}

static void
test_endpoint__unknown_names_are_told_apart(void **state)
{
	struct edge edge;
	struct err err;

	(void)state;
	open_two(&edge);
	assert_false(endpoint_set_admin(
	    edge.registry, "q", "10.0.0.1:80", ENDPOINT_DRAIN, &err));
	assert_string_equal(err.text, "there is no pool 'q'");
	assert_false(endpoint_set_admin(
	    edge.registry, "p", "10.0.0.9:80", ENDPOINT_DRAIN, &err));
	assert_non_null(strstr(err.text, "10.0.0.9:80"));
	assert_non_null(strstr(err.text, "10.0.0.1:80"));
	edge_close(&edge);
}

static void
test_endpoint__statistics_are_the_sum_of_workers(void **state)
{
	struct edge edge;
	struct endpoint *endpoint = open_two(&edge);
	struct endpoint_stats stats;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct endpoint_local *local = &endpoint->local[i];

		assert_int_equal((uintptr_t)local % CACHE_LINE, 0);
		counter_add(&local->requests, 10);
		counter_add(&local->errors[UPSTREAM_STATUS], 2);
		counter_add(&local->connects, 3);
		counter_add(&local->retries, 1);
		atomic_store(&local->in_flight, 4);
		local->n_idle = 5;
	}
	endpoint_stats_read(endpoint, 2, &stats);
	assert_int_equal(stats.requests, 20);
	assert_int_equal(stats.errors[UPSTREAM_STATUS], 4);
	assert_int_equal(stats.errors[UPSTREAM_RESET], 0);
	assert_int_equal(stats.connects, 6);
	assert_int_equal(stats.retries, 2);
	assert_int_equal(stats.in_flight, 8);
	assert_int_equal(stats.idle, 10);
	assert_int_equal(
	    snapshot_pool(edge.snapshot, 0)->endpoints[1]->weight, 7);
	edge_close(&edge);
}

static void
test_endpoint__every_error_has_a_word(void **state)
{
	(void)state;
	for (int i = 0; i < UPSTREAM_ERROR_COUNT; i++) {
		assert_non_null(upstream_error_name(i));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(
			    upstream_error_name(i), upstream_error_name(j));
	}
	assert_string_equal(
	    upstream_error_name(UPSTREAM_CONNECT_REFUSED), "connect_refused");
	assert_string_equal(upstream_error_name(UPSTREAM_STATUS), "status");
}

/* ---- slow start ---- */

#define FILE_THAT_WARMS(balance)                                               \
	"version: 1\n"                                                         \
	"listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"                    \
	"pools: {p: {balance: " balance                                        \
	", slow_start: 10s, endpoints: [\"10.0.0.1:80\", \"10.0.0.2:80\"]}}\n" \
	"routes: [{name: all, pool: p}]\n"

static unsigned
picks_of_first(struct edge *edge)
{
	const struct pool_view *view = snapshot_pool(edge->snapshot, 0);
	unsigned n = 0;
	bool is_panic;

	for (int i = 0; i < 10000; i++)
		n += pool_pick(view, 0, &edge->rng, 0, NULL, &is_panic) ==
		     view->endpoints[0];
	return n;
}

static void
test_endpoint__who_comes_back_begins_with_little(void **state)
{
	static const char *const files[] = {FILE_THAT_WARMS("p2c"),
	    FILE_THAT_WARMS("random"), FILE_THAT_WARMS("round_robin")};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct edge edge;
		struct endpoint *endpoint;
		nsec_t now = 100 * NSEC_PER_SEC;
		unsigned before, half;

		edge_open(&edge, files[i]);
		endpoint = snapshot_pool(edge.snapshot, 0)->endpoints[0];
		assert_in_range(picks_of_first(&edge), 4700, 5300);
		endpoint_mark_down(endpoint, now, "x");
		assert_int_equal(picks_of_first(&edge), 0);
		endpoint_mark_up(endpoint);
		before = picks_of_first(&edge); /* 10 of 110 */
		assert_in_range(before, 750, 1100);
		endpoint_warm(endpoint, now);
		endpoint_warm(endpoint, now + 5 * NSEC_PER_SEC);
		half = picks_of_first(&edge); /* 55 of 155 */
		assert_in_range(half, 3200, 3900);
		endpoint_warm(endpoint, now + 10 * NSEC_PER_SEC);
		assert_in_range(picks_of_first(&edge), 4700, 5300);
		assert_int_equal(atomic_load(&endpoint->warmth), WARMTH_ALL);
		edge_close(&edge);
	}
}

static void
test_endpoint__without_slow_start_it_is_warm_at_once(void **state)
{
	struct edge edge;
	struct endpoint *endpoint = open_two(&edge);

	(void)state;
	endpoint_mark_down(endpoint, 1, "x");
	endpoint_mark_up(endpoint);
	assert_int_equal(atomic_load(&endpoint->warmth), WARMTH_ALL);
	edge_close(&edge);
}

/* ---- active checks ---- */

static const struct health_cfg twice = {.is_on = true, .rise = 2, .fall = 3};

static void
test_endpoint__the_first_check_decides_alone(void **state)
{
	struct edge edge;
	struct endpoint *endpoint = open_two(&edge);

	(void)state;
	assert_true(endpoint_checked(endpoint, &twice, false, "status 503", 5));
	assert_false(endpoint_is_usable(endpoint));
	assert_string_equal(endpoint->down_reason, "status 503");
	assert_int_equal(atomic_load(&endpoint->down_since), 5);
	edge_close(&edge);
}

static void
test_endpoint__checks_need_their_number_in_a_row(void **state)
{
	struct edge edge;
	struct endpoint *endpoint = open_two(&edge);
	nsec_t now = 0;

	(void)state;
	assert_false(endpoint_checked(endpoint, &twice, true, "ok", ++now));
	for (int i = 0; i < 5; i++) { /* two of three, again and again */
		assert_false(
		    endpoint_checked(endpoint, &twice, false, "x", ++now));
		assert_true(endpoint_is_turning(endpoint));
		assert_false(
		    endpoint_checked(endpoint, &twice, false, "x", ++now));
		assert_false(
		    endpoint_checked(endpoint, &twice, true, "ok", ++now));
		assert_false(endpoint_is_turning(endpoint));
	}
	assert_false(endpoint_checked(endpoint, &twice, false, "x", ++now));
	assert_false(endpoint_checked(endpoint, &twice, false, "y", ++now));
	assert_true(endpoint_checked(endpoint, &twice, false, "z", ++now));
	assert_false(endpoint_is_usable(endpoint));
	assert_string_equal(endpoint->down_reason, "z");
	assert_false(endpoint_is_turning(endpoint));
	assert_false(endpoint_checked(endpoint, &twice, true, "ok", ++now));
	assert_true(endpoint_is_turning(endpoint));
	assert_true(endpoint_checked(endpoint, &twice, true, "ok", ++now));
	assert_true(endpoint_is_usable(endpoint));
	edge_close(&edge);
}

static void
test_endpoint__after_a_workers_word_good_checks_count_anew(void **state)
{
	struct edge edge;
	struct endpoint *endpoint = open_two(&edge);
	nsec_t now = 0;

	(void)state;
	for (int i = 0; i < 10; i++)
		endpoint_checked(endpoint, &twice, true, "ok", ++now);
	endpoint_failed(endpoint, 0, ++now);
	assert_true(endpoint_failed(endpoint, 0, ++now));
	assert_false(endpoint_checked(endpoint, &twice, true, "ok", ++now));
	assert_false(endpoint_is_usable(endpoint));
	assert_true(endpoint_checked(endpoint, &twice, true, "ok", ++now));
	assert_true(endpoint_is_usable(endpoint));
	edge_close(&edge);
}

static void
test_endpoint__health_has_words(void **state)
{
	struct edge edge;
	struct endpoint *endpoint = open_two(&edge);
	char text[160];

	(void)state;
	assert_string_equal(
	    endpoint_health(endpoint, 0, text, sizeof(text)), "up");
	assert_string_equal(text, "no checks");
	endpoint->check.is_on = true;
	endpoint_health(endpoint, 0, text, sizeof(text));
	assert_string_equal(text, "not checked yet");
	endpoint_checked(
	    endpoint, &twice, true, "status 200 in 3ms", NSEC_PER_SEC);
	endpoint_health(endpoint, 3 * NSEC_PER_SEC, text, sizeof(text));
	assert_string_equal(text, "status 200 in 3ms, checked 2.0s ago");
	atomic_store(&endpoint->failure, "the upstream refused the connection");
	endpoint_failed(endpoint, 0, 1);
	endpoint_failed(endpoint, 0, 1);
	assert_string_equal(
	    endpoint_health(endpoint, 3 * NSEC_PER_SEC, text, sizeof(text)),
	    "down");
	assert_string_equal(
	    text, "the upstream refused the connection, checked 2.0s ago");
	edge_close(&edge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_endpoint__two_failures_in_a_row_take_it_out),
	    cmocka_unit_test(test_endpoint__a_success_between_starts_anew),
	    cmocka_unit_test(test_endpoint__the_prober_brings_it_back),
	    cmocka_unit_test(test_endpoint__a_long_reason_is_cut),
	    cmocka_unit_test(test_endpoint__the_operator_drains_by_name),
	    cmocka_unit_test(test_endpoint__unknown_names_are_told_apart),
	    cmocka_unit_test(test_endpoint__statistics_are_the_sum_of_workers),
	    cmocka_unit_test(test_endpoint__every_error_has_a_word),
	    cmocka_unit_test(test_endpoint__who_comes_back_begins_with_little),
	    cmocka_unit_test(
	        test_endpoint__without_slow_start_it_is_warm_at_once),
	    cmocka_unit_test(test_endpoint__the_first_check_decides_alone),
	    cmocka_unit_test(test_endpoint__checks_need_their_number_in_a_row),
	    cmocka_unit_test(
	        test_endpoint__after_a_workers_word_good_checks_count_anew),
	    cmocka_unit_test(test_endpoint__health_has_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
