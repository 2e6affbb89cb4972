/*
 * Rates, quantiles and the text of metrics from counters that only grow.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/meter.h"
#include "admin/metrics/exposition.h"

static void
add(struct histogram_sum *sum, nsec_t value, uint64_t n)
{
	sum->bucket[histogram_bucket(value)] += n;
	sum->count += n;
	sum->sum += (uint64_t)value * n;
}

static void
test_meter__a_steady_stream_has_its_rate(void **state)
{
	struct meter meter = {0};
	struct histogram_sum latency = {0};

	(void)state;
	for (int i = 0; i < 100; i++)
		meter_feed(&meter, i * NSEC_PER_SEC / 4, (uint64_t)i * 25,
		    (uint64_t)i, &latency);
	assert_in_range((int)(meter_rate(&meter) + 0.5), 99, 101);
	assert_in_range(
	    (int)(meter_failure_share(&meter) * 1000 + 0.5), 39, 41);
	assert_int_equal(meter_requests(&meter), 99 * 25);
}

static void
test_meter__forgets_what_is_long_ago(void **state)
{
	struct meter meter = {0};
	struct histogram_sum latency = {0};
	nsec_t p50;

	(void)state;
	meter_feed(&meter, 0, 0, 0, &latency);
	add(&latency, 900 * NSEC_PER_MSEC, 100);
	meter_feed(&meter, NSEC_PER_SEC, 100, 0, &latency);
	assert_true(meter_quantile(&meter, 0.5, &p50));
	assert_in_range(p50, 850 * NSEC_PER_MSEC, 950 * NSEC_PER_MSEC);
	for (int i = 2; i < 40; i++)
		meter_feed(&meter, i * NSEC_PER_SEC, 100, 0, &latency);
	assert_false(meter_quantile(&meter, 0.5, &p50));
	assert_true(meter_rate(&meter) == 0);
	add(&latency, 10 * NSEC_PER_MSEC, 10);
	meter_feed(&meter, 40 * NSEC_PER_SEC, 110, 0, &latency);
	assert_true(meter_quantile(&meter, 0.5, &p50));
	assert_in_range(p50, 9 * NSEC_PER_MSEC, 11 * NSEC_PER_MSEC);
}

static void
test_meter__a_counter_that_goes_back_begins_anew(void **state)
{
	struct meter meter = {0};
	struct histogram_sum latency = {0};

	(void)state;
	meter_feed(&meter, 0, 1000, 10, &latency);
	meter_feed(&meter, NSEC_PER_SEC, 2000, 10, &latency);
	meter_feed(&meter, 2 * NSEC_PER_SEC, 5, 0, &latency);
	assert_true(meter_rate(&meter) == 0);
	meter_feed(&meter, 3 * NSEC_PER_SEC, 15, 0, &latency);
	assert_in_range((int)(meter_rate(&meter) + 0.5), 10, 10);
}

/* The counts of all le buckets of one histogram's text, in order. */
static size_t
bucket_counts(const char *text, unsigned long long *out, size_t cap)
{
	size_t n = 0;

	for (const char *at = text; (at = strstr(at, "_bucket{")) != NULL; at++)
		if (n < cap)
			sscanf(strchr(at, '}') + 1, "%llu", &out[n++]);
	return n;
}

static void
test_exposition__buckets_grow_and_end_at_the_count(void **state)
{
	struct histogram_sum sum = {0};
	struct exposition x = {0};
	unsigned long long counts[64];
	size_t len, n;
	char *text;

	(void)state;
	srandom(7);
	for (int i = 0; i < 10000; i++)
		add(&sum, (nsec_t)(random() % 100000) * 1000000, 1);
	x.out = open_memstream(&text, &len);
	family_begin(&x, FAMILY_HISTOGRAM, "t_seconds", "Test.");
	family_histogram(
	    &x, (struct label[]){{"pool", "a\"b\\c\nd"}, {0}}, &sum);
	fclose(x.out);
	n = bucket_counts(text, counts, 64);
	assert_int_equal(n, 17);
	for (size_t i = 1; i < n; i++)
		assert_true(counts[i] >= counts[i - 1]);
	assert_int_equal(counts[n - 1], 10000);
	assert_non_null(strstr(text, "pool=\"a\\\"b\\\\c\\nd\""));
	assert_non_null(strstr(text, "t_seconds_count{"));
	free(text);
}

static void
test_exposition__an_edge_is_off_by_one_bucket_at_most(void **state)
{
	struct histogram_sum sum = {0};
	struct exposition x = {0};
	unsigned long long counts[64];
	size_t len;
	char *text;

	(void)state;
	add(&sum, 94 * NSEC_PER_MSEC, 60);  /* more than 4.4 % below 0.1 s */
	add(&sum, 106 * NSEC_PER_MSEC, 40); /* more than 4.4 % above */
	x.out = open_memstream(&text, &len);
	family_begin(&x, FAMILY_HISTOGRAM, "t_seconds", "Test.");
	family_histogram(&x, NULL, &sum);
	fclose(x.out);
	bucket_counts(text, counts, 64);
	assert_int_equal(counts[7], 60); /* le="0.1" */
	assert_int_equal(counts[8], 100);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_meter__a_steady_stream_has_its_rate),
	    cmocka_unit_test(test_meter__forgets_what_is_long_ago),
	    cmocka_unit_test(test_meter__a_counter_that_goes_back_begins_anew),
	    cmocka_unit_test(
	        test_exposition__buckets_grow_and_end_at_the_count),
	    cmocka_unit_test(
	        test_exposition__an_edge_is_off_by_one_bucket_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
