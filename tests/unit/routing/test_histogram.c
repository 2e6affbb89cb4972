/* The buckets' edges against 2^x, and what is read back. */
#include "tests/unit/routing/edge.h"

#include <math.h>

static void
test_histogram__edges_are_floors_of_powers_of_two(void **state)
{
	(void)state;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		long double edge =
		    exp2l(HISTOGRAM_FIRST + (long double)i / HISTOGRAM_SUBS);

		assert_int_equal(histogram_edge(i), (nsec_t)floorl(edge));
	}
	assert_true(histogram_edge(HISTOGRAM_BUCKETS - 1) == INT64_MAX);
}

static void
test_histogram__an_edge_belongs_to_the_bucket_below_it(void **state)
{
	(void)state;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		nsec_t edge = histogram_edge(i);

		assert_int_equal(histogram_bucket(edge), i);
		assert_int_equal(histogram_bucket(edge + 1), i + 1);
	}
}

static void
test_histogram__everything_has_a_bucket(void **state)
{
	(void)state;
	assert_int_equal(histogram_bucket(INT64_MIN), 0);
	assert_int_equal(histogram_bucket(-1), 0);
	assert_int_equal(histogram_bucket(0), 0);
	assert_int_equal(histogram_bucket(INT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void
test_histogram__random_values_lie_between_their_edges(void **state)
{
	struct edge edge = {0};

	(void)state;
	edge_seed(&edge, 3);
	for (int i = 0; i < 200000; i++) {
		nsec_t value = (nsec_t)(rng_next(&edge.rng) >>
		                        (1 + rng_below(&edge.rng, 60)));
		unsigned bucket = histogram_bucket(value);

		assert_true(value <= histogram_edge(bucket));
		assert_true(bucket == 0 || value > histogram_edge(bucket - 1));
	}
}

static void
test_histogram__a_quantile_is_off_by_less_than_2_2_percent(void **state)
{
	static const double qs[] = {0.01, 0.5, 0.95, 0.99, 0.999};

	(void)state;
	for (nsec_t value = 17000; value < INT64_C(60) * NSEC_PER_SEC;
	     value += value / 37) {
		struct histogram histogram = {0};
		struct histogram_sum sum = {0};

		histogram_record(&histogram, value);
		histogram_add(&sum, &histogram);
		for (int i = 0; i < 5; i++) {
			double read = (double)histogram_quantile(&sum, qs[i]);

			assert_true(fabs(read / (double)value - 1) <= 0.022);
		}
	}
}

static void
test_histogram__quantiles_find_their_rank(void **state)
{
	struct histogram histogram = {0};
	struct histogram_sum sum = {0};

	(void)state;
	for (int i = 1; i <= 1000; i++)
		histogram_record(&histogram, i * NSEC_PER_MSEC);
	histogram_add(&sum, &histogram);
	assert_int_equal(sum.count, 1000);
	assert_int_equal(sum.sum, 500500 * NSEC_PER_MSEC);
	assert_in_range(histogram_quantile(&sum, 0.5), 489 * NSEC_PER_MSEC,
	    511 * NSEC_PER_MSEC);
	assert_in_range(histogram_quantile(&sum, 0.99), 968 * NSEC_PER_MSEC,
	    1012 * NSEC_PER_MSEC);
	assert_true(histogram_quantile(&sum, 0.001) < 2 * NSEC_PER_MSEC);
}

static void
test_histogram__sums_of_workers_add_up(void **state)
{
	struct histogram a = {0}, b = {0};
	struct histogram_sum sum = {0};

	(void)state;
	histogram_record(&a, NSEC_PER_MSEC);
	histogram_record(&b, NSEC_PER_SEC);
	histogram_record(&b, -5); /* a clock that stepped back counts as 0 */
	histogram_add(&sum, &a);
	histogram_add(&sum, &b);
	assert_int_equal(sum.count, 3);
	assert_int_equal(sum.sum, NSEC_PER_MSEC + NSEC_PER_SEC);
	assert_int_equal(sum.bucket[0], 1);
}

static void
test_histogram__the_ends_are_honest(void **state)
{
	struct histogram_sum sum = {0};

	(void)state;
	assert_int_equal(histogram_quantile(&sum, 0.5), 0);
	sum.count = sum.bucket[HISTOGRAM_BUCKETS - 1] = 1;
	assert_int_equal(
	    histogram_quantile(&sum, 0.5), INT64_C(1) << HISTOGRAM_LAST);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_histogram__edges_are_floors_of_powers_of_two),
	    cmocka_unit_test(
	        test_histogram__an_edge_belongs_to_the_bucket_below_it),
	    cmocka_unit_test(test_histogram__everything_has_a_bucket),
	    cmocka_unit_test(
	        test_histogram__random_values_lie_between_their_edges),
	    cmocka_unit_test(
	        test_histogram__a_quantile_is_off_by_less_than_2_2_percent),
	    cmocka_unit_test(test_histogram__quantiles_find_their_rank),
	    cmocka_unit_test(test_histogram__sums_of_workers_add_up),
	    cmocka_unit_test(test_histogram__the_ends_are_honest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
