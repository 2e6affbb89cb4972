/* Units both ways: what is read, what is refused, and print after parse. */
#include "cmock.h"

static void
test_units__durations_are_read(void **state)
{
	static const struct {
		const char *text;
		nsec_t want;
	} rows[] = {
	    {"250ms", 250 * NSEC_PER_MSEC},
	    {"30s", 30 * NSEC_PER_SEC},
	    {"1h30m", 5400 * NSEC_PER_SEC},
	    {"30d", 30 * 86400 * NSEC_PER_SEC},
	    {"0s", 0},
	    {"0.5s", 500 * NSEC_PER_MSEC},
	    {"1.5ms", 1500 * NSEC_PER_USEC},
	    {"1.000000001s", NSEC_PER_SEC + 1},
	    {"1m1ns", 60 * NSEC_PER_SEC + 1},
	    {"106751d", INT64_C(106751) * 86400 * NSEC_PER_SEC},
	};
	nsec_t got;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(units_duration(span_of(rows[i].text), &got));
		assert_int_equal(got, rows[i].want);
	}
}

static void
test_units__what_is_no_duration_is_refused(void **state)
{
	static const char *const rows[] = {"", "30", "s", "30x", "30 s", "-1s",
	    "+1s", "1s1s", "1m1h", "1h30", "1.s", ".5s", "1.0000000001s",
	    "0.5ns", "106752d", "99999999999999999999s",
	    "9223372036854775808ns", "1S", "30s ", " 30s", "1e3s", "1.2.3s"};
	nsec_t got;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (units_duration(span_of(rows[i]), &got))
			fail_msg("\"%s\" was taken", rows[i]);
	}
	assert_false(units_duration((struct span){NULL, 0}, &got));
}

static void
test_units__parsers_stop_at_the_end_of_the_span(void **state)
{
	struct span text = {"30s5", 3}, size = {"64KiB9", 5};
	struct span part = {"5%9", 2}, number = {"123", 2};
	nsec_t duration;
	uint64_t bytes;
	int64_t value;
	bp_t percent;

	(void)state;
	assert_true(units_duration(text, &duration));
	assert_int_equal(duration, 30 * NSEC_PER_SEC);
	assert_true(units_size(size, &bytes));
	assert_int_equal(bytes, 65536);
	assert_true(units_percent(part, &percent));
	assert_int_equal(percent, 500);
	assert_true(units_integer(number, &value));
	assert_int_equal(value, 12);
}

static void
test_units__sizes_are_read(void **state)
{
	static const struct {
		const char *text;
		uint64_t want;
	} rows[] = {
	    {"0", 0},
	    {"4096", 4096},
	    {"64KiB", 65536},
	    {"10MB", 10000000},
	    {"1kB", 1000},
	    {"1B", 1},
	    {"2GiB", UINT64_C(2) << 30},
	    {"16777215TiB", UINT64_C(16777215) << 40},
	    {"18446744073709551615", UINT64_MAX},
	};
	uint64_t got;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(units_size(span_of(rows[i].text), &got));
		assert_true(got == rows[i].want);
	}
}

static void
test_units__what_is_no_size_is_refused(void **state)
{
	static const char *const rows[] = {"", "KiB", "64k", "64K", "64 KiB",
	    "-1", "1.5MiB", "16777216TiB", "18446744073709551616", "64KiBs",
	    "64kib"};
	uint64_t got;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (units_size(span_of(rows[i]), &got))
			fail_msg("\"%s\" was taken", rows[i]);
	}
}

static void
test_units__rates_are_read_and_written(void **state)
{
	static const struct {
		const char *text;
		uint64_t count;
		nsec_t per;
		const char *again;
	} rows[] = {
	    {"50/s", 50, NSEC_PER_SEC, "50/s"},
	    {"100/m", 100, 60 * NSEC_PER_SEC, "100/m"},
	    {"1/h", 1, 3600 * NSEC_PER_SEC, "1/h"},
	    {"10/d", 10, 86400 * NSEC_PER_SEC, "10/d"},
	    {"5/10s", 5, 10 * NSEC_PER_SEC, "5/10s"},
	    {"5/1s", 5, NSEC_PER_SEC, "5/s"},
	    {"5/1m30s", 5, 90 * NSEC_PER_SEC, "5/1m30s"},
	};
	static const char *const bad[] = {"", "50", "50/", "/s", "0/s", "50/x",
	    "50/0s", "-1/s", "50/s/s", "50 /s", "1.5/s", "50/ss",
	    "99999999999999999999/s"};
	struct rate rate;
	char buf[96];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_true(units_rate(span_of(rows[i].text), &rate));
		assert_int_equal(rate.count, rows[i].count);
		assert_int_equal(rate.per, rows[i].per);
		assert_string_equal(
		    units_print_rate(rate, buf, sizeof(buf)), rows[i].again);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (units_rate(span_of(bad[i]), &rate))
			fail_msg("\"%s\" was taken", bad[i]);
}

static void
test_units__percentages_are_read(void **state)
{
	static const struct {
		const char *text;
		bp_t want;
	} rows[] = {{"5", 500}, {"5%", 500}, {"0.25%", 25}, {"33.33", 3333},
	    {"0", 0}, {"100", 10000}, {"100.00%", 10000}, {"0.5", 50},
	    {"0.05", 5}};
	bp_t got;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(units_percent(span_of(rows[i].text), &got));
		assert_int_equal(got, rows[i].want);
	}
}

static void
test_units__what_is_no_percentage_is_refused(void **state)
{
	static const char *const rows[] = {"", "%", "101", "100.01", "33.333",
	    "-1", "5 %", "5%%", "1.", ".5", "5pp", "99999999999999999999"};
	bp_t got;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (units_percent(span_of(rows[i]), &got))
			fail_msg("\"%s\" was taken", rows[i]);
	}
}

static void
test_units__integers_keep_their_edges(void **state)
{
	static const char *const bad[] = {"", "-", "+1", "1.0", "0x10", "010",
	    "9223372036854775808", "-9223372036854775809", "1 ", "1e3"};
	int64_t got;

	(void)state;
	assert_true(units_integer(SPAN("9223372036854775807"), &got));
	assert_true(got == INT64_MAX);
	assert_true(units_integer(SPAN("-9223372036854775808"), &got));
	assert_true(got == INT64_MIN);
	assert_true(units_integer(SPAN("0"), &got));
	assert_int_equal(got, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (units_integer(span_of(bad[i]), &got))
			fail_msg("\"%s\" was taken", bad[i]);
	}
}

static void
test_units__printing_is_short(void **state)
{
	char buf[64];

	(void)state;
	assert_string_equal(
	    units_print_duration(5400 * NSEC_PER_SEC, buf, sizeof(buf)),
	    "1h30m");
	assert_string_equal(
	    units_print_duration(250 * NSEC_PER_MSEC, buf, sizeof(buf)),
	    "250ms");
	assert_string_equal(units_print_duration(0, buf, sizeof(buf)), "0s");
	assert_string_equal(
	    units_print_duration(-NSEC_PER_SEC, buf, sizeof(buf)), "-1s");
	assert_string_equal(units_print_size(65536, buf, sizeof(buf)), "64KiB");
	assert_string_equal(units_print_size(1000, buf, sizeof(buf)), "1000");
	assert_string_equal(units_print_percent(500, buf, sizeof(buf)), "5");
	assert_string_equal(
	    units_print_percent(3333, buf, sizeof(buf)), "33.33");
	assert_string_equal(units_print_percent(50, buf, sizeof(buf)), "0.5");
	assert_string_equal(units_print_percent(5, buf, sizeof(buf)), "0.05");
}

static void
test_units__printing_fits_its_room(void **state)
{
	char buf[4] = "###";

	(void)state;
	units_print_duration(5400 * NSEC_PER_SEC, buf, sizeof(buf));
	assert_string_equal(buf, "1h3");
	units_print_size(UINT64_MAX, buf, sizeof(buf));
	assert_string_equal(buf, "184");
	units_print_percent(3333, buf, sizeof(buf));
	assert_string_equal(buf, "33.");
}

/* xorshift: the same numbers on every run. */
static uint64_t
next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void
test_units__what_is_printed_is_read_back(void **state)
{
	uint64_t seed = 42, bytes;
	nsec_t duration;
	bp_t percent;
	char buf[64];

	(void)state;
	for (int i = 0; i < 100000; i++) {
		uint64_t value = next_random(&seed) >> (i % 64);
		nsec_t positive = (nsec_t)(value >> 1);

		units_print_duration(positive, buf, sizeof(buf));
		assert_true(units_duration(span_of(buf), &duration));
		assert_true(duration == positive);
		units_print_size(value, buf, sizeof(buf));
		assert_true(units_size(span_of(buf), &bytes));
		assert_true(bytes == value);
	}
	for (unsigned bp = 0; bp <= BP_ALL; bp++) {
		units_print_percent((bp_t)bp, buf, sizeof(buf));
		assert_true(units_percent(span_of(buf), &percent));
		assert_int_equal(percent, bp);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_units__durations_are_read),
	    cmocka_unit_test(test_units__what_is_no_duration_is_refused),
	    cmocka_unit_test(test_units__parsers_stop_at_the_end_of_the_span),
	    cmocka_unit_test(test_units__sizes_are_read),
	    cmocka_unit_test(test_units__what_is_no_size_is_refused),
	    cmocka_unit_test(test_units__rates_are_read_and_written),
	    cmocka_unit_test(test_units__percentages_are_read),
	    cmocka_unit_test(test_units__what_is_no_percentage_is_refused),
	    cmocka_unit_test(test_units__integers_keep_their_edges),
	    cmocka_unit_test(test_units__printing_is_short),
	    cmocka_unit_test(test_units__printing_fits_its_room),
	    cmocka_unit_test(test_units__what_is_printed_is_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
