/* gRPC's words: timeouts, statuses, content types. */
/* cmocka.h wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include "proxy/grpc.h"

static void
test_grpc__timeout_of_every_unit(void **state)
{
	static const struct {
		const char *text;
		nsec_t expected;
	} rows[] = {
	    {"1H", 3600 * NSEC_PER_SEC},
	    {"2M", 120 * NSEC_PER_SEC},
	    {"3S", 3 * NSEC_PER_SEC},
	    {"250m", 250 * NSEC_PER_MSEC},
	    {"7u", 7000},
	    {"99999999n", 99999999},
	    {"00000001S", NSEC_PER_SEC},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(
		    grpc_timeout(span_of(rows[i].text)), rows[i].expected);
}

static void
test_grpc__timeout_beyond_64_bits_is_bounded(void **state)
{
	(void)state;
	assert_int_equal(grpc_timeout(SPAN("99999999H")), GRPC_TIMEOUT_MAX);
	assert_int_equal(grpc_timeout(SPAN("99999999M")), GRPC_TIMEOUT_MAX);
	assert_int_equal(grpc_timeout(SPAN("8759H")),
	    GRPC_TIMEOUT_MAX - 3600 * NSEC_PER_SEC);
}

static void
test_grpc__timeout_that_is_none_is_none(void **state)
{
	static const char *const rows[] = {"", "1", "S", "1s", "-1S", "+1S",
	    " 1S", "1S ", "1.5S", "0x1S", "123456789S", "1H1M", "1d"};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(grpc_timeout(span_of(rows[i])), 0);
	assert_int_equal(grpc_timeout((struct span){NULL, 0}), 0);
}

static void
test_grpc__content_type_is_of_calls_and_not_of_their_web_cousin(void **state)
{
	static const char *const yes[] = {"application/grpc",
	    "application/grpc+proto", "application/grpc+json",
	    "application/grpc;charset=utf-8", "Application/GRPC"};
	static const char *const no[] = {"", "application/grp",
	    "application/grpc-web", "application/grpc-web+proto",
	    "application/grpcx", "application/json", "text/application/grpc"};

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(grpc_is_content_type(span_of(yes[i])));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(grpc_is_content_type(span_of(no[i])));
}

static void
test_grpc__status_that_is_no_number_is_UNKNOWN(void **state)
{
	static const char *const rows[] = {
	    "", "x", "-1", "1x", "0>", "3/", "1 ", "0000", "99999999999"};

	(void)state;
	assert_int_equal(grpc_status(SPAN("0")), 0);
	assert_int_equal(grpc_status(SPAN("14")), 14);
	assert_int_equal(grpc_status(SPAN("016")), 16);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(grpc_status(span_of(rows[i])), 2);
}

static void
test_grpc__failures_are_those_that_blame_the_server(void **state)
{
	(void)state;
	for (unsigned status = 0; status < 30; status++)
		assert_int_equal(grpc_is_failure(status),
		    status == 2 || status == 4 || status == 13 ||
		        status == 14 || status == 15);
}

static void
test_grpc__status_is_found_among_trailers(void **state)
{
	static const struct {
		const char *lines, *expected;
	} rows[] = {
	    {"grpc-status: 0\r\n", "0"},
	    {"x: y\r\ngrpc-status: 14\r\n", "14"},
	    {"x-grpc-status: 0\r\ngrpc-status: 14\r\n", "14"},
	    {"x: grpc-status: 5\r\ngrpc-status: 13\r\nz: 1\r\n", "13"},
	    {"grpc-status:2\r\n", "2"},
	    {"grpc-status: \r\n", ""},
	    {"grpc-status: 7", "7"},
	    {"grpc-status-details-bin: 0\r\n", NULL},
	    {"x: grpc-status: 5\r\n", NULL},
	    {"", NULL},
	};
	struct span found;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(
		    grpc_status_line(span_of(rows[i].lines), &found),
		    rows[i].expected != NULL);
		if (rows[i].expected)
			assert_true(span_eq(found, span_of(rows[i].expected)));
	}
}

static void
test_grpc__trailers_fail_unless_one_status_says_otherwise(void **state)
{
	static const struct {
		const char *lines;
		bool fails;
	} rows[] = {
	    {"grpc-status: 0\r\n", false},
	    {"grpc-status: 5\r\nx: y\r\n", false},
	    {"grpc-status: 14\r\n", true},
	    {"grpc-status: 0\r\ngrpc-status: 0\r\n", true},
	    {"grpc-status: 0\r\nx: y\r\ngrpc-status: 14\r\n", true},
	    {"grpc-status: 14\r\ngrpc-status: 0\r\n", true},
	    {"grpc-status: 0\r\ngrpc-message: grpc-status: 14\r\n", false},
	    {"grpc-status: 0", false},
	    {"grpc-message: ok\r\n", true},
	    {"", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(
		    grpc_lines_fail(span_of(rows[i].lines)), rows[i].fails);
	assert_true(grpc_trailers_fail(NULL));
}

static void
test_grpc__a_failure_of_weirs_own_is_told_as_its_nearest_status(void **state)
{
	(void)state;
	assert_int_equal(grpc_status_of(FAIL_CONNECT_REFUSED), 14);
	assert_int_equal(grpc_status_of(FAIL_NO_ENDPOINT), 14);
	assert_int_equal(grpc_status_of(FAIL_UPSTREAM_TIMEOUT), 4);
	assert_int_equal(grpc_status_of(FAIL_DEADLINE), 4);
	assert_int_equal(grpc_status_of(FAIL_NO_ROUTE), 12);
	assert_int_equal(grpc_status_of(FAIL_FORBIDDEN), 7);
	assert_int_equal(grpc_status_of(FAIL_RATE_LIMITED), 8);
	assert_int_equal(grpc_status_of(FAIL_BODY_TOO_LARGE), 8);
	assert_int_equal(grpc_status_of(FAIL_BAD_REQUEST), 3);
	assert_int_equal(grpc_status_of(FAIL_INTERNAL), 13);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_grpc__timeout_of_every_unit),
	    cmocka_unit_test(test_grpc__timeout_beyond_64_bits_is_bounded),
	    cmocka_unit_test(test_grpc__timeout_that_is_none_is_none),
	    cmocka_unit_test(
	        test_grpc__content_type_is_of_calls_and_not_of_their_web_cousin),
	    cmocka_unit_test(test_grpc__status_that_is_no_number_is_UNKNOWN),
	    cmocka_unit_test(
	        test_grpc__failures_are_those_that_blame_the_server),
	    cmocka_unit_test(test_grpc__status_is_found_among_trailers),
	    cmocka_unit_test(
	        test_grpc__trailers_fail_unless_one_status_says_otherwise),
	    cmocka_unit_test(
	        test_grpc__a_failure_of_weirs_own_is_told_as_its_nearest_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
