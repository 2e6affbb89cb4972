/* Sets of address ranges: the same answers as one range after the other. */
#include "tests/unit/routing/edge.h"

#include "routing/policy/cidr_set.h"

static struct cidr
cidr_of(const char *text)
{
	struct cidr out;

	assert_true(cidr_parse(span_of(text), &out));
	return out;
}

static bool
holds(const struct cidr_set *set, const char *text)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	struct sockaddr_in four = {.sin_family = AF_INET};

	if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
		return cidr_set_holds(set, (struct sockaddr *)&four);
	assert_int_equal(inet_pton(AF_INET6, text, &six.sin6_addr), 1);
	return cidr_set_holds(set, (struct sockaddr *)&six);
}

static void
test_cidr_set__edges_belong_to_it(void **state)
{
	static const char *const texts[] = {"10.0.0.0/8", "192.0.2.1",
	    "255.255.255.255", "0.0.0.0/32", "2001:db8::/33",
	    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"};
	static const struct {
		const char *address;
		bool wanted;
	} rows[] = {
	    {"0.0.0.0", true},
	    {"0.0.0.1", false},
	    {"9.255.255.255", false},
	    {"10.0.0.0", true},
	    {"10.255.255.255", true},
	    {"11.0.0.0", false},
	    {"192.0.2.0", false},
	    {"192.0.2.1", true},
	    {"::ffff:192.0.2.1", true},
	    {"192.0.2.2", false},
	    {"255.255.255.255", true},
	    {"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", false},
	    {"2001:db8::", true},
	    {"2001:db8:7fff:ffff:ffff:ffff:ffff:ffff", true},
	    {"2001:db8:8000::", false},
	    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true},
	    {"::", false},
	};
	struct cidr at[6];
	struct cidrs cidrs = {at, 6};
	struct cidr_set *set;

	(void)state;
	for (size_t i = 0; i < 6; i++)
		at[i] = cidr_of(texts[i]);
	set = cidr_set_new(&cidrs);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (holds(set, rows[i].address) != rows[i].wanted)
			fail_msg("%s", rows[i].address);
	assert_false(cidr_set_holds(set, NULL));
	assert_false(
	    cidr_set_holds(set, &(struct sockaddr){.sa_family = AF_UNIX}));
	cidr_set_free(&set);
	assert_null(set);
}

static void
test_cidr_set__neighbours_become_one(void **state)
{
	struct cidr at[] = {cidr_of("10.0.1.0/24"), cidr_of("10.0.0.0/24"),
	    cidr_of("10.0.0.7"), cidr_of("10.0.3.0/24")};
	struct cidrs cidrs = {at, 4};
	struct cidr_set *set = cidr_set_new(&cidrs);

	(void)state;
	assert_int_equal(cidr_set_size(set), 2);
	cidr_set_free(&set);
}

static void
test_cidr_set__none_and_all(void **state)
{
	struct cidr all = cidr_of("::/0");
	struct cidrs cidrs = {&all, 0};
	struct cidr_set *set = cidr_set_new(&cidrs);

	(void)state;
	assert_false(holds(set, "10.0.0.1"));
	cidr_set_free(&set);
	cidrs.n = 1;
	set = cidr_set_new(&cidrs);
	assert_true(holds(set, "10.0.0.1"));
	assert_true(holds(set, "::"));
	assert_true(holds(set, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
	cidr_set_free(&set);
}

/* Against the walk from range to range, with few and with many. */
static void
test_cidr_set__answers_like_a_walk(void **state)
{
	enum { MOST = 3000 };
	struct cidr *at = calloc(MOST, sizeof(*at));
	struct edge edge;

	(void)state;
	edge_seed(&edge, 3);
	for (size_t n = 1; n <= MOST; n = n * 3 + 1) {
		struct cidrs cidrs = {at, n};
		struct cidr_set *set;
		int found = 0;

		for (size_t i = 0; i < n; i++) {
			uint32_t bits = 12 + rng_below(&edge.rng, 21);
			uint32_t base =
			    htonl((uint32_t)rng_next(&edge.rng) &
			          ~(uint32_t)(UINT64_C(0xffffffff) >> bits));

			at[i] =
			    (struct cidr){.bytes = {[10] = 0xff, [11] = 0xff},
			        .bits = (uint8_t)(96 + bits)};
			memcpy(at[i].bytes + 12, &base, 4);
		}
		set = cidr_set_new(&cidrs);
		for (int i = 0; i < 20000; i++) {
			struct sockaddr_in sa = {.sin_family = AF_INET};
			const struct cidr *near =
			    &at[rng_below(&edge.rng, (uint32_t)n)];

			memcpy(&sa.sin_addr, near->bytes + 12, 4);
			sa.sin_addr.s_addr =
			    i % 2 ? (uint32_t)rng_next(&edge.rng)
			          : htonl(ntohl(sa.sin_addr.s_addr) - 1 +
			                  rng_below(&edge.rng, 3));
			found += cidr_set_holds(set, (struct sockaddr *)&sa);
			assert_int_equal(
			    cidr_set_holds(set, (struct sockaddr *)&sa),
			    cidrs_hold(&cidrs, (struct sockaddr *)&sa));
		}
		assert_true(found > 1000);
		cidr_set_free(&set);
	}
	free(at);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cidr_set__edges_belong_to_it),
	    cmocka_unit_test(test_cidr_set__neighbours_become_one),
	    cmocka_unit_test(test_cidr_set__none_and_all),
	    cmocka_unit_test(test_cidr_set__answers_like_a_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
