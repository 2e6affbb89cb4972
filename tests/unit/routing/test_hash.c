/* Hashes and chance against their authors' vectors, and against bias. */
#include "tests/unit/routing/edge.h"

static void
test_hash__siphash_matches_the_reference_vectors(void **state)
{
	/* key 00..0f, input 00..n-1: from the reference implementation */
	static const struct {
		size_t len;
		uint64_t hash;
	} vectors[] = {
	    {0, UINT64_C(0x726fdb47dd0e0e31)},
	    {1, UINT64_C(0x74f839c593dc67fd)},
	    {7, UINT64_C(0xab0200f58b01d137)},
	    {8, UINT64_C(0x93f5f5799a932462)},
	    {15, UINT64_C(0xa129ca6149be45e5)},
	};
	uint8_t key[16], input[16];

	(void)state;
	for (int i = 0; i < 16; i++)
		key[i] = input[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++)
		assert_true(
		    hash_keyed(key, input, vectors[i].len) == vectors[i].hash);
}

static void
test_hash__empty_input_may_be_null(void **state)
{
	uint8_t key[16] = {0};

	(void)state;
	assert_true(hash_keyed(key, NULL, 0) == hash_keyed(key, "", 0));
}

static void
test_rng__matches_the_reference_sequence(void **state)
{
	/* xoshiro256** from the state 1, 2, 3, 4 */
	static const uint64_t want[] = {UINT64_C(11520), UINT64_C(0),
	    UINT64_C(1509978240), UINT64_C(1215971899390074240)};
	struct rng rng = {{1, 2, 3, 4}};

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_true(rng_next(&rng) == want[i]);
}

static void
test_rng__a_seed_of_zeros_still_moves(void **state)
{
	uint8_t zeros[32] = {0};
	struct rng rng;
	uint64_t seen = 0;

	(void)state;
	rng_seed(&rng, zeros);
	for (int i = 0; i < 16; i++)
		seen |= rng_next(&rng);
	assert_true(seen != 0);
}

static void
test_rng__below_is_even_and_in_bounds(void **state)
{
	uint32_t count[7] = {0};
	struct edge edge = {0};

	(void)state;
	edge_seed(&edge, 1);
	for (int i = 0; i < 70000; i++) {
		uint32_t value = rng_below(&edge.rng, 7);

		assert_true(value < 7);
		count[value]++;
	}
	for (int i = 0; i < 7; i++)
		assert_in_range(count[i], 9600, 10400); /* 4 sigma */
	assert_int_equal(rng_below(&edge.rng, 1), 0);
}

static void
test_rng__below_a_bound_that_is_no_power_of_two_has_no_slope(void **state)
{
	/* 3 * 2^30: without rejection a third of the values came twice as often
	 */
	const uint32_t bound = UINT32_C(3) << 30;
	uint32_t thirds[3] = {0};
	struct edge edge = {0};

	(void)state;
	edge_seed(&edge, 2);
	for (int i = 0; i < 30000; i++)
		thirds[rng_below(&edge.rng, bound) % 3]++;
	for (int i = 0; i < 3; i++)
		assert_in_range(thirds[i], 9650, 10350);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hash__siphash_matches_the_reference_vectors),
	    cmocka_unit_test(test_hash__empty_input_may_be_null),
	    cmocka_unit_test(test_rng__matches_the_reference_sequence),
	    cmocka_unit_test(test_rng__a_seed_of_zeros_still_moves),
	    cmocka_unit_test(test_rng__below_is_even_and_in_bounds),
	    cmocka_unit_test(
	        test_rng__below_a_bound_that_is_no_power_of_two_has_no_slope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
