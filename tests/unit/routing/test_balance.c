/*
 * Balancing: shares by weight, the less loaded of two, no dead endpoint while
 * one lives, and keys that stay where they are when another endpoint leaves.
 */
#include "tests/unit/routing/edge.h"

static const struct pool_view *
open_pool(
    struct edge *edge, const char *balance, const uint32_t *weights, size_t n)
{
	size_t cap = 512 + n * 64, len;
	char *text = malloc(cap);

	len = (size_t)snprintf(text, cap,
	    "version: 1\n"
	    "listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"
	    "routes: [{name: all, pool: p}]\n"
	    "pools:\n  p:\n    balance: %s\n    endpoints:\n",
	    balance);
	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, cap - len,
		    "      - {address: \"10.0.%zu.%zu:80\", weight: %u}\n",
		    i / 250, i % 250 + 1, weights ? weights[i] : 1);
	edge_open(edge, text);
	free(text);
	return snapshot_pool(edge->snapshot, 0);
}

static size_t
number_of(const struct pool_view *view, const struct endpoint *endpoint)
{
	size_t i = 0;

	while (i < view->n_endpoints && view->endpoints[i] != endpoint)
		i++;
	assert_true(i < view->n_endpoints);
	return i;
}

static size_t
pick(struct edge *edge, const struct pool_view *view,
    const struct endpoint *avoid, bool panics)
{
	bool is_panic = !panics;
	struct endpoint *endpoint = pool_pick(
	    view, 0, &edge->rng, rng_next(&edge->rng), avoid, &is_panic);

	assert_non_null(endpoint);
	assert_int_equal(is_panic, panics);
	return number_of(view, endpoint);
}

static void
set_load(const struct pool_view *view, size_t i, uint32_t in_flight)
{
	atomic_store(&view->endpoints[i]->local[0].in_flight, in_flight);
}

static const struct pool_view *
open_way(struct edge *edge, int way, const uint32_t *weights, size_t n)
{
	static const char *const words[] = {"p2c", "round_robin", "random",
	    "hash\n    hash_on: {by: client_ip}"};

	return open_pool(edge, words[way], weights, n);
}

/* Percents of weights while one warms up: their sum has more than 32 bits. */
static void
test_balance__very_many_share_by_weight_while_one_is_cold(void **state)
{
	enum { MANY = 60000, PICKS = 20000 };
	uint32_t *weights = malloc(MANY * sizeof(*weights)), light = 0;
	const struct pool_view *view;
	struct edge edge;
	bool is_panic;

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		weights[i] = i % 2 ? 1000 : 900;
	view = open_pool(&edge, "random", weights, MANY);
	for (size_t i = 0; i < MANY; i += 2)
		set_load(view, i, 1); /* to know the light ones by */
	atomic_store(&view->endpoints[0]->warmth, WARMTH_COLD);
	for (int i = 0; i < PICKS; i++) {
		struct endpoint *endpoint =
		    pool_pick(view, 0, &edge.rng, 0, NULL, &is_panic);

		light += atomic_load(&endpoint->local[0].in_flight);
	}
	assert_true(abs((int)light - PICKS * 900 / 1900) <= PICKS / 50);
	edge_close(&edge);
	free(weights);
}

static void
test_balance__every_way_shares_by_weight(void **state)
{
	static const uint32_t weights[] = {1, 2, 5, 2};
	enum { PICKS = 20000 };

	(void)state;
	for (int way = 0; way < 4; way++) {
		struct edge edge;
		const struct pool_view *view = open_way(&edge, way, weights, 4);
		uint32_t count[4] = {0};

		for (int i = 0; i < PICKS; i++)
			count[pick(&edge, view, NULL, false)]++;
		for (int i = 0; i < 4; i++)
			assert_true(
			    abs((int)count[i] -
			        (int)(PICKS * weights[i] / 10)) <= PICKS / 50);
		edge_close(&edge);
	}
}

static void
test_balance__equal_weights_share_equally(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct edge edge;
		const struct pool_view *view = open_way(&edge, way, NULL, 5);
		uint32_t count[5] = {0};

		for (int i = 0; i < 20000; i++)
			count[pick(&edge, view, NULL, false)]++;
		for (int i = 0; i < 5; i++)
			assert_true(abs((int)count[i] - 4000) <= 400);
		edge_close(&edge);
	}
}

static void
test_balance__odd_weights_are_exact_in_the_alias_table(void **state)
{
	static const uint32_t weights[] = {1, 1000, 7, 333, 1, 58, 600};
	struct edge edge;
	const struct pool_view *view = open_pool(&edge, "random", weights, 7);
	uint32_t count[7] = {0};

	(void)state;
	for (int i = 0; i < 200000; i++)
		count[pick(&edge, view, NULL, false)]++;
	for (int i = 0; i < 7; i++) {
		int64_t off = (int64_t)count[i] - 100 * (int64_t)weights[i];

		/* five standard deviations */
		assert_true(off * off <= 25 * 100 * (int64_t)weights[i]);
	}
	edge_close(&edge);
}

/* ---- p2c ---- */

static void
test_balance__p2c_takes_the_less_loaded_of_two(void **state)
{
	struct edge edge;
	const struct pool_view *view = open_pool(&edge, "p2c", NULL, 2);

	(void)state;
	set_load(view, 0, 3);
	set_load(view, 1, 2);
	for (int i = 0; i < 100; i++)
		assert_int_equal(pick(&edge, view, NULL, false), 1);
	set_load(view, 0, 1);
	for (int i = 0; i < 100; i++)
		assert_int_equal(pick(&edge, view, NULL, false), 0);
	edge_close(&edge);
}

static void
test_balance__p2c_weighs_the_load(void **state)
{
	static const uint32_t weights[] = {1, 4};
	struct edge edge;
	const struct pool_view *view = open_pool(&edge, "p2c", weights, 2);
	uint32_t light = 0;

	(void)state;
	set_load(view, 0, 2);
	set_load(view, 1, 7);
	/* drawn twice the same now and then; else 7/4 beats 2/1 */
	for (int i = 0; i < 1000; i++)
		light += pick(&edge, view, NULL, false) == 0;
	assert_true(light < 50);
	edge_close(&edge);
}

static void
test_balance__p2c_keeps_queues_short(void **state)
{
	enum { N = 50 };
	struct edge edge;
	const struct pool_view *view = open_pool(&edge, "p2c", NULL, N);
	uint32_t load[N] = {0}, most = 0;

	(void)state;
	for (int i = 0; i < N * 20; i++) {
		size_t at = pick(&edge, view, NULL, false);

		set_load(view, at, ++load[at]);
	}
	for (int i = 0; i < N; i++)
		most = load[i] > most ? load[i] : most;
	assert_true(most <= 24); /* random alone gives about 32 */
	edge_close(&edge);
}

/* ---- round robin ---- */

static void
answer(const struct pool_view *view, size_t i, nsec_t took, bool is_bad)
{
	endpoint_took(view->endpoints[i], 0, took, is_bad);
}

/* Picks, each answered at once after `took` by endpoint. */
static void
ask_many(struct edge *edge, const struct pool_view *view, int n,
    const nsec_t took[], uint32_t count[])
{
	for (int i = 0; i < n; i++) {
		size_t at = pick(edge, view, NULL, false);

		count[at]++;
		answer(view, at, took[at], false);
	}
}

static void
test_balance__ewma_prefers_who_answers_sooner(void **state)
{
	static const nsec_t took[] = {
	    NSEC_PER_MSEC, 10 * NSEC_PER_MSEC, NSEC_PER_MSEC};
	struct edge edge;
	const struct pool_view *view = open_pool(&edge, "ewma", NULL, 3);
	uint32_t count[3] = {0};

	(void)state;
	ask_many(&edge, view, 3000, took, count);
	assert_true(count[1] > 0 && count[1] < 100);
	assert_true(count[0] > 1000 && count[2] > 1000);
	set_load(view, 0, 20); /* so much in flight outweighs it */
	set_load(view, 2, 20);
	memset(count, 0, sizeof(count));
	ask_many(&edge, view, 300, took, count);
	assert_true(count[1] > 150);
	edge_close(&edge);
}

static void
test_balance__ewma_finds_out_who_has_recovered(void **state)
{
	static const nsec_t before[] = {NSEC_PER_MSEC, NSEC_PER_SEC},
	                    after[] = {NSEC_PER_MSEC, NSEC_PER_MSEC};
	struct edge edge;
	const struct pool_view *view = open_pool(&edge, "ewma", NULL, 2);
	uint32_t count[2] = {0};

	(void)state;
	ask_many(&edge, view, 1000, before, count);
	assert_true(count[1] > 0 && count[1] < 10);
	memset(count, 0, sizeof(count));
	ask_many(&edge, view, 2000, after, count);
	assert_true(count[1] > 500);
	edge_close(&edge);
}

static void
test_balance__ewma_is_not_drawn_to_fast_failures(void **state)
{
	struct edge edge;
	const struct pool_view *view = open_pool(&edge, "ewma", NULL, 2);
	uint32_t count[2] = {0};

	(void)state;
	for (int i = 0; i < 2000; i++) {
		size_t at = pick(&edge, view, NULL, false);

		count[at]++;
		answer(view, at, at == 0 ? NSEC_PER_MSEC : 1000, at == 1);
	}
	assert_true(count[1] < 200);
	edge_close(&edge);
}

static void
test_balance__ewma_tries_a_new_one_once(void **state)
{
	struct edge edge;
	const struct pool_view *view = open_pool(&edge, "ewma", NULL, 2);

	(void)state;
	answer(view, 0, NSEC_PER_MSEC, false);
	assert_int_equal(pick(&edge, view, NULL, false), 1);
	set_load(view, 1, 1); /* not answered yet */
	for (int i = 0; i < 50; i++)
		assert_int_equal(pick(&edge, view, NULL, false), 0);
	edge_close(&edge);
}

static void
test_balance__round_robin_goes_around(void **state)
{
	struct edge edge;
	const struct pool_view *view = open_pool(&edge, "round_robin", NULL, 4);
	bool is_panic;

	(void)state;
	for (size_t i = 0; i < 12; i++) {
		/* workers start at different places */
		assert_int_equal(number_of(view, pool_pick(view, 0, &edge.rng,
		                                     0, NULL, &is_panic)),
		    i % 4);
		assert_int_equal(number_of(view, pool_pick(view, 1, &edge.rng,
		                                     0, NULL, &is_panic)),
		    (i + 2) % 4);
	}
	edge_close(&edge);
}

/* Whoever fails is asked for another one, and the next first attempt comes. */
static void
test_balance__further_attempts_take_no_turn(void **state)
{
	static const uint32_t uneven[] = {2, 1, 1};

	(void)state;
	for (int is_even = 0; is_even < 2; is_even++) {
		struct edge edge;
		const struct pool_view *view =
		    open_pool(&edge, "round_robin", is_even ? NULL : uneven, 3);
		uint32_t first[3] = {0}, again[3] = {0};

		for (int i = 0; i < 1200; i++) {
			size_t at = pick(&edge, view, NULL, false);

			first[at]++;
			if (at == 0)
				again[pick(
				    &edge, view, view->endpoints[0], false)]++;
		}
		assert_int_equal(first[0], is_even ? 400 : 600);
		assert_int_equal(first[1], first[2]);
		assert_int_equal(again[0], 0);
		assert_true(
		    abs((int)again[1] - (int)again[2]) <= (is_even ? 0 : 150));
		edge_close(&edge);
	}
}

static void
test_balance__weighted_rounds_are_smooth(void **state)
{
	static const uint32_t weights[] = {5, 1, 1};
	struct edge edge;
	const struct pool_view *view =
	    open_pool(&edge, "round_robin", weights, 3);
	uint32_t count[3] = {0}, in_a_row = 0;

	(void)state;
	for (int i = 1; i <= 7000; i++) {
		size_t at = pick(&edge, view, NULL, false);

		count[at]++;
		in_a_row = at == 0 ? in_a_row + 1 : 0;
		assert_true(in_a_row <= 6);
		if (i % 7 == 0)
			for (int j = 0; j < 3; j++)
				assert_true(abs((int)count[j] -
				                i / 7 * (int)weights[j]) <= 1);
	}
	edge_close(&edge);
}

/* ---- hash ---- */

static void
fill_map(
    struct edge *edge, const struct pool_view *view, size_t *out, uint64_t keys)
{
	bool is_panic;

	for (uint64_t key = 0; key < keys; key++)
		out[key] = number_of(view, pool_pick(view, 0, &edge->rng,
		                               key * 7919, NULL, &is_panic));
}

static void
test_balance__a_key_stays_and_few_move_when_one_leaves(void **state)
{
	enum { N = 20, KEYS = 20000 };
	static size_t before[KEYS], after[KEYS];
	const char *way = "hash\n    hash_on: {by: client_ip}";
	struct edge full, less;
	const struct pool_view *view = open_pool(&full, way, NULL, N);
	int moved = 0, orphans = 0;

	(void)state;
	fill_map(&full, view, before, KEYS);
	fill_map(&full, view, after, KEYS);
	assert_memory_equal(before, after, sizeof(before));
	view = open_pool(&less, way, NULL, N - 1); /* the last is missing */
	fill_map(&less, view, after, KEYS);
	for (int i = 0; i < KEYS; i++) {
		orphans += before[i] == N - 1;
		moved += before[i] != N - 1 && before[i] != after[i];
	}
	assert_in_range(orphans, KEYS / N * 7 / 10, KEYS / N * 13 / 10);
	assert_true(moved < KEYS / N); /* Maglev moves a few others too */
	edge_close(&full);
	edge_close(&less);
}

static void
test_balance__a_down_endpoint_moves_its_own_keys_only(void **state)
{
	enum { N = 20, KEYS = 20000 };
	static size_t before[KEYS], after[KEYS];
	uint32_t heirs[N] = {0}, orphans = 0;
	struct edge edge;
	const struct pool_view *view = open_way(&edge, 3, NULL, N);

	(void)state;
	fill_map(&edge, view, before, KEYS);
	endpoint_mark_down(view->endpoints[4], 1, "refused");
	fill_map(&edge, view, after, KEYS);
	for (int i = 0; i < KEYS; i++) {
		if (before[i] != 4) {
			assert_int_equal(before[i], after[i]);
			continue;
		}
		orphans++;
		heirs[after[i]]++;
	}
	assert_int_equal(heirs[4], 0);
	for (int i = 0; i < N; i++)
		assert_true(heirs[i] < orphans / 4);
	edge_close(&edge);
}

/* ---- down, drained, avoided ---- */

static void
test_balance__the_one_that_lives_gets_all(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct edge edge;
		const struct pool_view *view = open_way(&edge, way, NULL, 500);

		for (size_t i = 0; i < 500; i++)
			if (i != 123)
				endpoint_mark_down(
				    view->endpoints[i], 1, "refused");
		assert_int_equal(pool_n_usable(view), 1);
		for (int i = 0; i < 200; i++)
			assert_int_equal(pick(&edge, view, NULL, false), 123);
		endpoint_mark_up(view->endpoints[7]);
		for (int i = 0, seen = 0; i < 200; i++) {
			size_t at = pick(&edge, view, NULL, false);

			assert_true(at == 7 || at == 123);
			seen |= 1 << (at == 7);
			assert_true(i < 100 || seen == 3);
		}
		edge_close(&edge);
	}
}

static void
test_balance__half_a_pool_down_leaves_even_shares(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct edge edge;
		const struct pool_view *view = open_way(&edge, way, NULL, 40);
		uint32_t count[40] = {0};

		for (size_t i = 0; i < 20; i++)
			endpoint_mark_down(view->endpoints[i], 1, "zone");
		for (int i = 0; i < 20000; i++)
			count[pick(&edge, view, NULL, false)]++;
		for (int i = 0; i < 40; i++)
			assert_in_range(
			    count[i], i < 20 ? 0 : 800, i < 20 ? 0 : 1200);
		edge_close(&edge);
	}
}

static void
test_balance__all_down_panics_rather_than_refuse(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct edge edge;
		const struct pool_view *view = open_way(&edge, way, NULL, 3);
		struct err err;
		int seen = 0;

		for (size_t i = 0; i < 3; i++)
			endpoint_mark_down(view->endpoints[i], 1, "refused");
		assert_true(endpoint_set_admin(edge.registry, "p",
		    view->endpoints[1]->address.text, ENDPOINT_DRAIN, &err));
		for (int i = 0; i < 200; i++)
			seen |= 1 << pick(&edge, view, NULL, true);
		assert_int_equal(seen, 5); /* the drained one never */
		edge_close(&edge);
	}
}

static void
test_balance__nothing_active_is_nothing(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct edge edge;
		const struct pool_view *view = open_way(&edge, way, NULL, 2);
		bool is_panic;
		struct err err;

		for (size_t i = 0; i < 2; i++)
			assert_true(endpoint_set_admin(edge.registry, "p",
			    view->endpoints[i]->address.text,
			    i ? ENDPOINT_MAINT : ENDPOINT_DRAIN, &err));
		assert_null(pool_pick(view, 0, &edge.rng, 0, NULL, &is_panic));
		edge_close(&edge);
	}
}

static void
test_balance__the_avoided_one_is_the_last_resort(void **state)
{
	static const uint32_t weights[] = {1000, 1, 1};

	(void)state;
	for (int way = 0; way < 8; way++) {
		struct edge edge;
		const struct pool_view *view =
		    open_way(&edge, way % 4, way < 4 ? NULL : weights, 3);
		const struct endpoint *avoid = view->endpoints[0];
		int seen = 0;

		for (int i = 0; i < 300; i++)
			seen |= 1 << pick(&edge, view, avoid, false);
		assert_int_equal(seen, 6);
		endpoint_mark_down(view->endpoints[1], 1, "refused");
		for (int i = 0; i < 50; i++)
			assert_int_equal(pick(&edge, view, avoid, false), 2);
		endpoint_mark_down(view->endpoints[2], 1, "refused");
		for (int i = 0; i < 50; i++)
			assert_int_equal(pick(&edge, view, avoid, false), 0);
		edge_close(&edge);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_balance__every_way_shares_by_weight),
	    cmocka_unit_test(
	        test_balance__very_many_share_by_weight_while_one_is_cold),
	    cmocka_unit_test(test_balance__equal_weights_share_equally),
	    cmocka_unit_test(
	        test_balance__odd_weights_are_exact_in_the_alias_table),
	    cmocka_unit_test(test_balance__p2c_takes_the_less_loaded_of_two),
	    cmocka_unit_test(test_balance__p2c_weighs_the_load),
	    cmocka_unit_test(test_balance__p2c_keeps_queues_short),
	    cmocka_unit_test(test_balance__ewma_prefers_who_answers_sooner),
	    cmocka_unit_test(test_balance__ewma_finds_out_who_has_recovered),
	    cmocka_unit_test(test_balance__ewma_is_not_drawn_to_fast_failures),
	    cmocka_unit_test(test_balance__ewma_tries_a_new_one_once),
	    cmocka_unit_test(test_balance__round_robin_goes_around),
	    cmocka_unit_test(test_balance__further_attempts_take_no_turn),
	    cmocka_unit_test(test_balance__weighted_rounds_are_smooth),
	    cmocka_unit_test(
	        test_balance__a_key_stays_and_few_move_when_one_leaves),
	    cmocka_unit_test(
	        test_balance__a_down_endpoint_moves_its_own_keys_only),
	    cmocka_unit_test(test_balance__the_one_that_lives_gets_all),
	    cmocka_unit_test(test_balance__half_a_pool_down_leaves_even_shares),
	    cmocka_unit_test(test_balance__all_down_panics_rather_than_refuse),
	    cmocka_unit_test(test_balance__nothing_active_is_nothing),
	    cmocka_unit_test(test_balance__the_avoided_one_is_the_last_resort),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
