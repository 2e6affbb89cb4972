/* Draws are what they say: means, variances, sums. */
#include "tests/unit/routing/court.h"

static struct rng rng;

static void
assert_draws(uint64_t n, double p)
{
	enum { N = 20000 };
	double mean = (double)n * p, variance = mean * (1 - p);
	double sum = 0, squares = 0;

	for (int i = 0; i < N; i++) {
		uint64_t draw = draw_binomial(&rng, n, p);
		double k = (double)draw - mean;

		assert_true(draw <= n);
		sum += k;
		squares += k * k;
	}
	if (fabs(sum / N) > 5 * sqrt(variance / N))
		fail_msg("n %llu p %g: mean off by %g", (unsigned long long)n,
		    p, sum / N);
	if (fabs(squares / N - variance) > 0.06 * variance)
		fail_msg("n %llu p %g: variance %g, not %g",
		    (unsigned long long)n, p, squares / N, variance);
}

static void
test_crowd__binomials_have_their_mean_and_variance(void **state)
{
	static const double chances[] = {0.001, 0.05, 0.3, 0.5, 0.95};
	static const uint64_t tries[] = {5, 40, 1000, 100000};

	(void)state;
	for (size_t i = 0; i < 5; i++)
		for (size_t j = 0; j < 4; j++)
			assert_draws(tries[j], chances[i]);
	assert_int_equal(draw_binomial(&rng, 10, 0), 0);
	assert_int_equal(draw_binomial(&rng, 10, 1), 10);
	assert_int_equal(draw_binomial(&rng, 0, 0.5), 0);
}

/* Thrown one by one or drawn in cells. */
static void
assert_median(uint64_t n)
{
	struct mood mood[ARM_COUNT];
	struct histogram_sum sum = {0};
	struct evidence_sum out = {0};

	mood_init(&mood[0], 0.1, 20 * NSEC_PER_MSEC, 0.5);
	mood[1] = mood[0];
	while (sum.count < 200000) {
		out = (struct evidence_sum){0};
		crowd_draw(mood, n, 0, 0, &rng, &out);
		for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
			sum.bucket[i] += out.arm[ARM_BASELINE].latency[i];
		sum.count += out.arm[ARM_BASELINE].n_latency;
		assert_int_equal(out.arm[ARM_BASELINE].n, n);
		assert_int_equal(out.arm[ARM_BASELINE].n_latency, n);
		assert_int_equal(out.arm[ARM_CANDIDATE].n, 0);
	}
	assert_in_range(histogram_quantile(&sum, 0.5), 19 * NSEC_PER_MSEC,
	    21 * NSEC_PER_MSEC);
	assert_in_range(histogram_quantile(&sum, 0.99), 60 * NSEC_PER_MSEC,
	    68 * NSEC_PER_MSEC);
}

static void
test_crowd__latencies_follow_their_distribution(void **state)
{
	(void)state;
	assert_median(100);
	assert_median(50000);
}

static void
test_crowd__the_same_seed_gives_the_same_crowd(void **state)
{
	struct court a, b;

	(void)state;
	court_open(&a, 42);
	court_open(&b, 42);
	for (int i = 0; i < 50; i++) {
		court_tick(&a);
		court_tick(&b);
		assert_memory_equal(&a.delta, &b.delta, sizeof(a.delta));
	}
	court_close(&a);
	court_close(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_crowd__binomials_have_their_mean_and_variance),
	    cmocka_unit_test(test_crowd__latencies_follow_their_distribution),
	    cmocka_unit_test(test_crowd__the_same_seed_gives_the_same_crowd),
	};
	uint8_t seed[32] = {7};

	rng_seed(&rng, seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
