/* Closed streams: what is the client's error, what it may not know yet. */
/* cmocka.h wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include <nghttp2/nghttp2.h>

#include "proxy/h2/closed.h"

static void
test_h2_closed__a_stream_that_ended_takes_nothing_more(void **state)
{
	struct h2_closed closed = {0};

	(void)state;
	assert_true(h2_closed_begin(&closed, 1));
	assert_true(h2_closed_begin(&closed, 3));
	assert_false(h2_closed_begin(&closed, 3));
	assert_false(h2_closed_begin(&closed, 1));
	assert_int_equal(h2_closed_error(&closed, 1), NGHTTP2_STREAM_CLOSED);
	assert_int_equal(h2_closed_error(&closed, 3), NGHTTP2_STREAM_CLOSED);
}

static void
test_h2_closed__a_number_that_was_passed_over_is_a_protocol_error(void **state)
{
	struct h2_closed closed = {0};

	(void)state;
	h2_closed_begin(&closed, 5);
	assert_int_equal(h2_closed_error(&closed, 1), NGHTTP2_PROTOCOL_ERROR);
	assert_int_equal(h2_closed_error(&closed, 3), NGHTTP2_PROTOCOL_ERROR);
	assert_int_equal(h2_closed_error(&closed, 5), NGHTTP2_STREAM_CLOSED);
	h2_closed_begin(&closed, 7);
	assert_int_equal(h2_closed_error(&closed, 3), NGHTTP2_PROTOCOL_ERROR);
	h2_closed_begin(&closed, 0x7fffffff);
	assert_int_equal(h2_closed_error(&closed, 9), NGHTTP2_PROTOCOL_ERROR);
}

static void
test_h2_closed__what_we_reset_may_still_get_what_was_under_way(void **state)
{
	struct h2_closed closed = {0};

	(void)state;
	for (int32_t id = 1; id < 20; id += 2)
		h2_closed_begin(&closed, id);
	h2_closed_reset(&closed, 7);
	h2_closed_reset(&closed, 7);
	assert_int_equal(h2_closed_error(&closed, 7), NGHTTP2_NO_ERROR);
	assert_int_equal(h2_closed_error(&closed, 5), NGHTTP2_STREAM_CLOSED);
	assert_int_equal(h2_closed_error(&closed, 9), NGHTTP2_STREAM_CLOSED);
}

/* Bounded memory errs on the side of the client. */
static void
test_h2_closed__however_many_we_reset_none_is_held_against_the_client(
    void **state)
{
	struct h2_closed closed = {0};
	int32_t last = 2 * 1000 + 1;

	(void)state;
	for (int32_t id = 1; id <= last; id += 2) {
		h2_closed_begin(&closed, id);
		h2_closed_reset(&closed, id);
	}
	for (int32_t id = 1; id <= last; id += 2)
		assert_int_equal(
		    h2_closed_error(&closed, id), NGHTTP2_NO_ERROR);
	h2_closed_begin(&closed, last + 2);
	assert_int_equal(
	    h2_closed_error(&closed, last + 2), NGHTTP2_STREAM_CLOSED);
}

/* ---- frames ---- */

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_h2_closed__a_stream_that_ended_takes_nothing_more),
	    cmocka_unit_test(
	        test_h2_closed__a_number_that_was_passed_over_is_a_protocol_error),
	    cmocka_unit_test(
	        test_h2_closed__what_we_reset_may_still_get_what_was_under_way),
	    cmocka_unit_test(
	        test_h2_closed__however_many_we_reset_none_is_held_against_the_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
