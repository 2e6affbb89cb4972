/* Endpoints of a service: their tiers, weights and names. */
#include "tests/unit/routing/edge.h"

#include <assert.h>

#include "routing/memory.h"

#define HEAD "version: 1\nlisteners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"
#define POOL(more)                                                             \
	HEAD "pools: {blue: {endpoints: [{srv: _http._tcp.shop.test}]" more    \
	     "}}\nroutes: [{name: all, pool: blue}]\n"

enum { PICKS = 3000 };

struct place {
	unsigned last, port, weight, tier; /* 10.0.0.last */
};

struct service {
	struct place places[8];
	size_t n;
};

static size_t
find_service(void *ctx, const char *name, struct service_place *out, size_t cap)
{
	const struct service *service = ctx;

	assert_string_equal(name, "_http._tcp.shop.test");
	assert_true(service->n <= cap);
	for (size_t i = 0; i < service->n; i++) {
		const struct place *place = &service->places[i];
		struct sockaddr_in *in = (struct sockaddr_in *)&out[i].sa;

		memset(&out[i], 0, sizeof(out[i]));
		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(0x0a000000 + place->last);
		in->sin_port = htons((uint16_t)place->port);
		out[i].weight = place->weight;
		out[i].tier = (uint8_t)place->tier;
	}
	return service->n;
}

static void
serve(struct edge *edge, const char *text, struct service *service)
{
	struct snapshot_options options = {
	    .ctx = service, .find_service = find_service};

	edge_reload_with(edge, text, &options, NULL);
}

/* How many of PICKS each endpoint of the view got. */
static void
picks(struct edge *edge, unsigned counts[8])
{
	const struct pool_view *view = snapshot_pool(edge->snapshot, 0);
	bool is_panic;

	memset(counts, 0, 8 * sizeof(*counts));
	for (unsigned i = 0; i < PICKS; i++) {
		struct endpoint *one =
		    pool_pick(view, 0, &edge->rng, i, NULL, &is_panic);

		for (size_t j = 0; j < view->n_endpoints; j++)
			counts[j] += view->endpoints[j] == one;
	}
}

static struct endpoint *
endpoint_at(struct edge *edge, size_t i)
{
	return snapshot_pool(edge->snapshot, 0)->endpoints[i];
}

static void
test_service__places_have_ports_of_their_own_and_one_name(void **state)
{
	struct service service = {{{1, 80, 3, 0}, {1, 81, 5, 0}}, 2};
	struct edge edge;

	(void)state;
	edge_init(&edge, 1);
	serve(&edge, POOL(""), &service);
	assert_string_equal(endpoint_at(&edge, 0)->address.text, "10.0.0.1:80");
	assert_string_equal(endpoint_at(&edge, 1)->address.text, "10.0.0.1:81");
	assert_string_equal(endpoint_at(&edge, 1)->address.host, "shop.test");
	assert_int_equal(endpoint_at(&edge, 1)->address.port, 81);
	assert_int_equal(endpoint_at(&edge, 1)->weight, 5);
	assert_true(
	    endpoint_is_named(endpoint_at(&edge, 0), "_http._tcp.shop.test"));
	assert_false(endpoint_is_named(endpoint_at(&edge, 0), "shop.test:80"));
	edge_close(&edge);
}

static void
test_service__another_weight_keeps_the_endpoint(void **state)
{
	struct service service = {{{1, 80, 1, 0}, {2, 80, 1, 0}}, 2};
	struct edge edge;
	struct endpoint *kept;
	unsigned counts[8];

	(void)state;
	edge_init(&edge, 1);
	serve(&edge, POOL(", balance: random"), &service);
	kept = endpoint_at(&edge, 1);
	service.places[1].weight = 9;
	serve(&edge, POOL(", balance: random"), &service);
	assert_ptr_equal(endpoint_at(&edge, 1), kept);
	picks(&edge, counts);
	assert_in_range(counts[1], PICKS * 85 / 100, PICKS * 95 / 100);
	edge_close(&edge);
}

/* The standby of each way to choose: nothing, all, and nothing again. */
static void
stand_by(const char *text)
{
	struct service service = {
	    {{1, 80, 1, 0}, {2, 80, 1, 0}, {3, 80, 9, 1}, {4, 80, 9, 2}}, 4};
	struct edge edge;
	unsigned counts[8];

	edge_init(&edge, 1);
	serve(&edge, text, &service);
	picks(&edge, counts);
	assert_true(counts[0] > 0 && counts[1] > 0);
	assert_int_equal(counts[0] + counts[1], PICKS);
	endpoint_mark_down(endpoint_at(&edge, 0), 1, "test");
	picks(&edge, counts);
	assert_int_equal(counts[1], PICKS);
	endpoint_mark_down(endpoint_at(&edge, 1), 1, "test");
	picks(&edge, counts);
	assert_int_equal(counts[2], PICKS);
	assert_true(endpoint_set_admin(
	    edge.registry, "blue", "10.0.0.3:80", ENDPOINT_DRAIN, &edge.err));
	picks(&edge, counts);
	assert_int_equal(counts[3], PICKS);
	/* Nobody at all: the first serve badly. */
	endpoint_mark_down(endpoint_at(&edge, 3), 1, "test");
	picks(&edge, counts);
	assert_int_equal(counts[0] + counts[1], PICKS);
	endpoint_mark_up(endpoint_at(&edge, 0));
	picks(&edge, counts);
	assert_int_equal(counts[0], PICKS);
	edge_close(&edge);
}

static void
test_service__higher_tiers_stand_by_until_all_lower_are_out(void **state)
{
	(void)state;
	stand_by(POOL(""));
	stand_by(POOL(", balance: random"));
	stand_by(POOL(", balance: round_robin"));
	stand_by(POOL(", balance: ewma"));
	stand_by(POOL(", balance: hash, hash_on: {by: client_ip}"));
}

static void
test_service__a_retry_goes_to_the_standby_rather_than_there_again(void **state)
{
	struct service service = {
	    {{1, 80, 1, 0}, {2, 80, 1, 1}, {3, 80, 1, 2}}, 3};
	const struct pool_view *view;
	struct edge edge;
	bool is_panic;

	(void)state;
	edge_init(&edge, 1);
	serve(&edge, POOL(""), &service);
	view = snapshot_pool(edge.snapshot, 0);
	assert_ptr_equal(
	    pool_pick(view, 0, &edge.rng, 0, view->endpoints[0], &is_panic),
	    view->endpoints[1]);
	endpoint_mark_down(view->endpoints[1], 1, "test");
	assert_ptr_equal(
	    pool_pick(view, 0, &edge.rng, 0, view->endpoints[0], &is_panic),
	    view->endpoints[2]);
	endpoint_mark_down(view->endpoints[2], 1, "test");
	assert_ptr_equal(
	    pool_pick(view, 0, &edge.rng, 0, view->endpoints[0], &is_panic),
	    view->endpoints[0]);
	edge_close(&edge);
}

static void
test_service__a_place_of_two_services_has_its_better_tier(void **state)
{
	struct service service = {
	    {{1, 80, 1, 0}, {2, 80, 1, 1}, {2, 80, 1, 0}}, 3};
	struct edge edge;
	unsigned counts[8];

	(void)state;
	edge_init(&edge, 1);
	serve(&edge, POOL(""), &service);
	assert_int_equal(snapshot_pool(edge.snapshot, 0)->n_endpoints, 2);
	picks(&edge, counts);
	assert_true(counts[1] > 0);
	edge_close(&edge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_service__places_have_ports_of_their_own_and_one_name),
	    cmocka_unit_test(test_service__another_weight_keeps_the_endpoint),
	    cmocka_unit_test(
	        test_service__higher_tiers_stand_by_until_all_lower_are_out),
	    cmocka_unit_test(
	        test_service__a_retry_goes_to_the_standby_rather_than_there_again),
	    cmocka_unit_test(
	        test_service__a_place_of_two_services_has_its_better_tier),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
