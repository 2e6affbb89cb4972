/* What SRV records and addresses make together. */
/* cmocka.h wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include <arpa/inet.h>
#include <netinet/in.h>

#include "proxy/control/places.h"

/* A host is called as many addresses as it has from which on: "10x2" has
   10.0.0.10 and 10.0.0.11; "0x0" has none. */
static const struct dns_addresses *
address_of(void *ctx, const char *host)
{
	struct dns_addresses *out = ctx;
	unsigned first, n;

	assert_int_equal(sscanf(host, "%ux%u", &first, &n), 2);
	if (n == 0)
		return NULL;
	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < n; i++) {
		struct sockaddr_in *in = (struct sockaddr_in *)&out->at[i];

		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(0x0a000000 + first + i);
	}
	out->n = n;
	return out;
}

static size_t
make(const struct dns_target *at, size_t n,
    struct service_place out[SERVICE_PLACES_MAX])
{
	struct dns_service service = {
	    .at = (struct dns_target *)(uintptr_t)at, .n = n, .n_told = n};
	static struct dns_addresses addresses;

	return places_make(&service, address_of, &addresses, out);
}

#define MAKE(rows, out) make(rows, sizeof(rows) / sizeof(*(rows)), out)

static unsigned
port_at(const struct service_place *place)
{
	return ntohs(((const struct sockaddr_in *)&place->sa)->sin_port);
}

static void
test_places__one_target_at_two_ports_is_two_places(void **state)
{
	static const struct dns_target rows[] = {
	    {10, 3, 80, "1x1"}, {10, 4, 81, "1x1"}};
	struct service_place out[SERVICE_PLACES_MAX];

	(void)state;
	assert_int_equal(MAKE(rows, out), 2);
	assert_int_equal(port_at(&out[0]), 80);
	assert_int_equal(out[0].weight, 3);
	assert_int_equal(port_at(&out[1]), 81);
	assert_int_equal(out[1].weight, 4);
	assert_int_equal(out[0].tier + out[1].tier, 0);
}

static void
test_places__priorities_become_tiers_of_those_that_have_an_address(void **state)
{
	static const struct dns_target rows[] = {{5, 1, 80, "0x0"},
	    {7, 1, 80, "2x1"}, {7, 1, 80, "3x1"}, {60000, 1, 80, "1x1"}};
	struct service_place out[SERVICE_PLACES_MAX];

	(void)state;
	assert_int_equal(MAKE(rows, out), 3);
	assert_int_equal(out[0].tier, 1);
	assert_int_equal(out[1].tier, 0);
	assert_int_equal(out[2].tier, 0);
}

static void
test_places__weight_zero_is_the_smallest(void **state)
{
	static const struct dns_target rows[] = {
	    {0, 0, 80, "1x1"}, {0, 9, 80, "2x1"}};
	struct service_place out[SERVICE_PLACES_MAX];

	(void)state;
	MAKE(rows, out);
	assert_int_equal(out[0].weight, 1);
	assert_int_equal(out[1].weight, 9);
}

static void
test_places__weights_beyond_an_endpoints_shrink_alike(void **state)
{
	static const struct dns_target rows[] = {{0, 65535, 80, "1x1"},
	    {0, 32768, 80, "2x1"}, {0, 0, 80, "3x1"}, {1, 7, 80, "4x1"}};
	struct service_place out[SERVICE_PLACES_MAX];

	(void)state;
	MAKE(rows, out);
	assert_int_equal(out[0].weight, 1000);
	assert_int_equal(out[1].weight, 500);
	assert_int_equal(out[2].weight, 1);
	assert_int_equal(out[3].weight, 7); /* another tier */
}

static void
test_places__a_targets_addresses_share_its_weight(void **state)
{
	static const struct dns_target whole[] = {
	    {0, 10, 80, "1x2"}, {0, 20, 80, "3x1"}};
	static const struct dns_target odd[] = {
	    {0, 1, 80, "1x2"}, {0, 1, 80, "3x1"}};
	static const struct dns_target even[] = {
	    {0, 1, 80, "1x3"}, {0, 1, 80, "4x3"}};
	struct service_place out[SERVICE_PLACES_MAX];

	(void)state;
	assert_int_equal(MAKE(whole, out), 3);
	assert_int_equal(out[0].weight, 5);
	assert_int_equal(out[1].weight, 5);
	assert_int_equal(out[2].weight, 20);
	assert_int_equal(MAKE(odd, out), 3);
	assert_int_equal(out[0].weight, 1);
	assert_int_equal(out[2].weight, 2);
	assert_int_equal(MAKE(even, out), 6);
	assert_int_equal(out[0].weight, 1);
}

static void
test_places__two_targets_at_one_address_are_one_place(void **state)
{
	static const struct dns_target rows[] = {
	    {0, 3, 80, "1x1"}, {0, 4, 80, "1x2"}, {1, 9, 80, "2x1"}};
	struct service_place out[SERVICE_PLACES_MAX];

	(void)state;
	assert_int_equal(MAKE(rows, out), 2);
	assert_int_equal(out[0].weight, 5);
	assert_int_equal(out[1].weight, 2);
	assert_int_equal(out[1].tier, 0);
}

static void
test_places__too_many_are_bounded(void **state)
{
	struct dns_target rows[DNS_TARGETS_MAX];
	struct service_place out[SERVICE_PLACES_MAX];

	(void)state;
	for (unsigned i = 0; i < DNS_TARGETS_MAX; i++) {
		rows[i] = (struct dns_target){
		    .priority = (uint16_t)(i * 9), .port = 80};
		snprintf(rows[i].host, sizeof(rows[i].host), "%ux64", i * 64);
	}
	assert_int_equal(MAKE(rows, out), SERVICE_PLACES_MAX);
	assert_int_equal(out[SERVICE_PLACES_MAX - 1].tier, 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_places__one_target_at_two_ports_is_two_places),
	    cmocka_unit_test(
	        test_places__priorities_become_tiers_of_those_that_have_an_address),
	    cmocka_unit_test(test_places__weight_zero_is_the_smallest),
	    cmocka_unit_test(
	        test_places__weights_beyond_an_endpoints_shrink_alike),
	    cmocka_unit_test(test_places__a_targets_addresses_share_its_weight),
	    cmocka_unit_test(
	        test_places__two_targets_at_one_address_are_one_place),
	    cmocka_unit_test(test_places__too_many_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
