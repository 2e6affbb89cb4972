/*
 * The order of judgement: route, pin, affinity, weight; and the keys that
 * clients are known by.
 */
#include "tests/unit/routing/edge.h"

static const char *
file(const char *split, const char *blue)
{
	static char text[2048];

	snprintf(text, sizeof(text),
	    "version: 1\n"
	    "listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"
	    "pools:\n"
	    "  blue: {%sendpoints: [\"10.0.0.1:80\"]}\n"
	    "  green: {endpoints: [\"10.0.1.1:80\"]}\n"
	    "  lab: {endpoints: [\"10.0.2.1:80\"]}\n"
	    "splits: {shop: {stable: blue, weights: {blue: 50, green: 50}, "
	    "%s}}\n"
	    "routes:\n"
	    "  - {name: gone, match: {path: /gone}, respond: {status: 410}}\n"
	    "  - {name: away, match: {path: /away}, redirect: {to: /, status: "
	    "302}}\n"
	    "  - {name: lab, match: {path: /lab}, pool: lab}\n"
	    "  - {name: shop, match: {host: a.test}, split: shop}\n",
	    blue, split);
	return text;
}

static void
open_split(struct edge *edge, const char *split)
{
	edge_open(edge, file(split, ""));
}

static struct decision
decide_from(
    struct edge *edge, const char *client, const struct edge_request *request)
{
	struct route_query query = edge_query("a.test", "/", request);
	struct sockaddr_storage sa = {0};
	struct decision decision;

	if (strchr(client, ':') != NULL) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&sa;

		in6->sin6_family = AF_INET6;
		assert_int_equal(
		    inet_pton(AF_INET6, client, &in6->sin6_addr), 1);
	} else {
		struct sockaddr_in *in = (struct sockaddr_in *)&sa;

		in->sin_family = AF_INET;
		assert_int_equal(inet_pton(AF_INET, client, &in->sin_addr), 1);
	}
	query.client = (const struct sockaddr *)&sa;
	routing_decide(edge->snapshot, 0, &edge->rng, &query, &decision);
	return decision;
}

static void
test_decide__names_the_route_and_why(void **state)
{
	struct decision decision;
	struct edge edge;

	(void)state;
	open_split(&edge, "affinity: {by: request}");
	decision = edge_decide(&edge, "b.test", "/", NULL);
	assert_null(decision.route);
	assert_null(decision.pool);
	decision = edge_decide(&edge, "b.test", "/gone", NULL);
	assert_string_equal(decision.route->cfg->name, "gone");
	assert_null(decision.pool);
	assert_int_equal(decision.why, WHY_NONE);
	decision = edge_decide(&edge, "b.test", "/away", NULL);
	assert_string_equal(decision.route->cfg->name, "away");
	assert_null(decision.pool);
	decision = edge_decide(&edge, "b.test", "/lab", NULL);
	assert_string_equal(decision.pool->pool->name, "lab");
	assert_int_equal(decision.why, WHY_NONE);
	decision = edge_decide(&edge, "a.test", "/", NULL);
	assert_string_equal(decision.route->cfg->name, "shop");
	assert_int_equal(decision.why, WHY_WEIGHT);
	assert_ptr_equal(decision.pool, decision.route->pools[decision.slot]);
	assert_false(decision.sets_cookie);
	edge_close(&edge);
}

static void
test_decide__reasons_have_names(void **state)
{
	(void)state;
	assert_string_equal(decision_why_name(WHY_NONE), "");
	assert_string_equal(decision_why_name(WHY_WEIGHT), "weight");
	assert_string_equal(decision_why_name(WHY_AFFINITY), "affinity");
	assert_string_equal(decision_why_name(WHY_PIN), "pin");
}

/* ---- pins ---- */

static void
test_decide__a_pin_needs_all_its_conditions(void **state)
{
	struct edge_request with = {.headers = {{"x-canary", "always"}}};
	struct edge_request other = {.headers = {{"x-canary", "never"}}};
	struct decision decision;
	struct edge edge;

	(void)state;
	open_split(&edge,
	    "pins: [{header: {x-canary: always}, from: [\"10.0.0.0/8\"], "
	    "pool: lab}]");
	decision = decide_from(&edge, "10.1.2.3", &with);
	assert_int_equal(decision.why, WHY_PIN);
	assert_string_equal(decision.pool->pool->name, "lab");
	assert_int_equal(decision.slot, 2); /* behind the weighted ones */
	assert_int_equal(decide_from(&edge, "11.1.2.3", &with).why, WHY_WEIGHT);
	assert_int_equal(
	    decide_from(&edge, "10.1.2.3", &other).why, WHY_WEIGHT);
	assert_int_equal(decide_from(&edge, "10.1.2.3", NULL).why, WHY_WEIGHT);
	/* an unknown client is from nowhere */
	assert_int_equal(
	    edge_decide(&edge, "a.test", "/", &with).why, WHY_WEIGHT);
	edge_close(&edge);
}

static void
test_decide__the_first_pin_comes_before_affinity(void **state)
{
	struct edge_request request = {
	    .cookies = {{"u", "somebody"}, {"team", "lab"}}};
	struct decision decision;
	struct edge edge;

	(void)state;
	open_split(&edge, "affinity: {by: cookie, name: u}, "
	                  "pins: [{cookie: {team: lab}, pool: green}, "
	                  "{cookie: {team: lab}, pool: blue}]");
	for (int i = 0; i < 20; i++) {
		decision = edge_decide(&edge, "a.test", "/", &request);
		assert_int_equal(decision.why, WHY_PIN);
		assert_string_equal(decision.pool->pool->name, "green");
		assert_int_equal(decision.slot, 1);
	}
	edge_close(&edge);
}

static void
test_decide__pins_take_no_card_from_the_block(void **state)
{
	struct edge_request with = {.headers = {{"x-canary", "always"}}};
	struct edge edge;
	int green = 0;

	(void)state;
	open_split(&edge, "pins: [{header: {x-canary: always}, pool: green}]");
	for (int i = 0; i < 20; i++) {
		assert_string_equal(edge_pool(&edge, &with), "green");
		green += strcmp(edge_pool(&edge, NULL), "green") == 0;
	}
	assert_int_equal(green, 10);
	edge_close(&edge);
}

/* ---- affinity ---- */

static void
test_decide__a_cookie_keeps_its_pool(void **state)
{
	struct edge edge;
	int green = 0;

	(void)state;
	open_split(&edge, "affinity: {by: cookie, name: u}");
	for (int i = 0; i < 400; i++) {
		char value[16];
		struct edge_request request = {.cookies = {{"u", value}}};
		struct decision first, second;

		snprintf(value, sizeof(value), "user-%d", i);
		first = edge_decide(&edge, "a.test", "/", &request);
		second = edge_decide(&edge, "a.test", "/", &request);
		assert_int_equal(first.why, WHY_AFFINITY);
		assert_false(first.sets_cookie);
		assert_ptr_equal(first.pool, second.pool);
		green += first.slot == 1;
	}
	assert_in_range(green, 140, 260);
	edge_close(&edge);
}

static void
test_decide__a_client_without_cookie_gets_one_that_leads_back(void **state)
{
	char before[33] = "";
	struct edge edge;

	(void)state;
	open_split(&edge, "affinity: {by: cookie, name: u}");
	for (int i = 0; i < 200; i++) {
		struct edge_request again = {.cookies = {{"u", NULL}}};
		struct edge_request empty = {.cookies = {{"u", ""}}};
		struct decision first =
		    edge_decide(&edge, "a.test", "/", i % 2 ? NULL : &empty);

		assert_true(first.sets_cookie);
		assert_int_equal(first.why, WHY_AFFINITY);
		assert_int_equal(strlen(first.cookie_value), 32);
		assert_int_equal(
		    strspn(first.cookie_value, "0123456789abcdef"), 32);
		assert_string_not_equal(first.cookie_value, before);
		memcpy(before, first.cookie_value, sizeof(before));
		again.cookies[0].value = first.cookie_value;
		assert_ptr_equal(
		    edge_decide(&edge, "a.test", "/", &again).pool, first.pool);
	}
	edge_close(&edge);
}

static void
test_decide__a_header_keeps_its_pool_and_without_it_weight_decides(void **state)
{
	struct edge_request request = {.headers = {{"x-user", "somebody"}}};
	struct decision first;
	struct edge edge;

	(void)state;
	open_split(&edge, "affinity: {by: header, name: x-user}");
	first = edge_decide(&edge, "a.test", "/", &request);
	assert_int_equal(first.why, WHY_AFFINITY);
	for (int i = 0; i < 50; i++)
		assert_ptr_equal(
		    edge_decide(&edge, "a.test", "/", &request).pool,
		    first.pool);
	first = edge_decide(&edge, "a.test", "/", NULL);
	assert_int_equal(first.why, WHY_WEIGHT);
	assert_false(first.sets_cookie);
	edge_close(&edge);
}

static uint32_t
pools_seen(struct edge *edge, const char *format, int n)
{
	uint32_t seen = 0;

	for (int i = 0; i < n; i++) {
		char client[64];
		struct decision decision;

		snprintf(client, sizeof(client), format, i);
		decision = decide_from(edge, client, NULL);
		assert_int_equal(decision.why, WHY_AFFINITY);
		seen |= 1u << decision.slot;
	}
	return seen;
}

static void
test_decide__addresses_count_whole_or_by_their_64(void **state)
{
	struct edge edge;

	(void)state;
	open_split(&edge, "affinity: {by: client_ip}");
	assert_int_equal(pools_seen(&edge, "10.0.0.%d", 100), 3);
	assert_int_equal(pools_seen(&edge, "2001:db8:0:%d::1", 100), 3);
	assert_int_not_equal(pools_seen(&edge, "2001:db8:0:1::%d", 100), 3);
	/* a mapped address is the address */
	for (int i = 0; i < 50; i++) {
		char plain[32], mapped[40];

		snprintf(plain, sizeof(plain), "10.0.0.%d", i);
		snprintf(mapped, sizeof(mapped), "::ffff:10.0.0.%d", i);
		assert_ptr_equal(decide_from(&edge, plain, NULL).pool,
		    decide_from(&edge, mapped, NULL).pool);
	}
	/* unix socket: no address, so by weight */
	assert_int_equal(
	    edge_decide(&edge, "a.test", "/", NULL).why, WHY_WEIGHT);
	edge_close(&edge);
}

/* ---- the key of a pool's own hash ---- */

static void
test_decide__the_pool_hash_follows_the_cookie_that_is_being_set(void **state)
{
	struct edge edge;
	int seen = 0;

	(void)state;
	edge_open(
	    &edge, file("affinity: {by: cookie, name: u}",
	               "balance: hash, hash_on: {by: cookie, name: u}, "));
	for (int i = 0; i < 100; i++) {
		struct decision first = edge_decide(&edge, "a.test", "/", NULL);
		struct edge_request again = {
		    .cookies = {{"u", first.cookie_value}}};

		if (first.slot != 0)
			continue;
		seen++;
		assert_true(
		    edge_decide(&edge, "a.test", "/", &again).key == first.key);
	}
	assert_true(seen > 20);
	edge_close(&edge);
}

static void
test_decide__a_request_without_the_hashed_header_goes_anywhere(void **state)
{
	struct edge_request with = {.headers = {{"x-tenant", "acme"}}};
	struct edge edge;
	uint64_t key = 0, before = 0;
	int seen = 0;

	(void)state;
	edge_open(&edge,
	    file("affinity: {by: request}",
	        "balance: hash, hash_on: {by: header, name: x-tenant}, "));
	for (int i = 0; i < 40; i++) {
		struct decision decision =
		    edge_decide(&edge, "a.test", "/", &with);

		if (decision.slot != 0)
			continue;
		assert_true(key == 0 || key == decision.key);
		key = decision.key;
		seen++;
	}
	assert_int_equal(seen, 20);
	for (int i = 0; i < 40; i++) {
		struct decision decision =
		    edge_decide(&edge, "a.test", "/", NULL);

		if (decision.slot != 0)
			continue;
		assert_true(decision.key != before);
		before = decision.key;
	}
	edge_close(&edge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_decide__names_the_route_and_why),
	    cmocka_unit_test(test_decide__reasons_have_names),
	    cmocka_unit_test(test_decide__a_pin_needs_all_its_conditions),
	    cmocka_unit_test(test_decide__the_first_pin_comes_before_affinity),
	    cmocka_unit_test(test_decide__pins_take_no_card_from_the_block),
	    cmocka_unit_test(test_decide__a_cookie_keeps_its_pool),
	    cmocka_unit_test(
	        test_decide__a_client_without_cookie_gets_one_that_leads_back),
	    cmocka_unit_test(
	        test_decide__a_header_keeps_its_pool_and_without_it_weight_decides),
	    cmocka_unit_test(test_decide__addresses_count_whole_or_by_their_64),
	    cmocka_unit_test(
	        test_decide__the_pool_hash_follows_the_cookie_that_is_being_set),
	    cmocka_unit_test(
	        test_decide__a_request_without_the_hashed_header_goes_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
