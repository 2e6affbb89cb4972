/* Closed streams: what is the client's error, what it may not know yet; and
 * frames told apart in any pieces. */
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

#include "proxy/h2_closed.h"

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

static size_t
frame(uint8_t *to, uint8_t type, int32_t id, size_t len)
{
	memset(to, 0, 9 + len);
	to[1] = (uint8_t)(len >> 8);
	to[2] = (uint8_t)len;
	to[3] = type;
	to[7] = (uint8_t)(id >> 8);
	to[8] = (uint8_t)id;
	return 9 + len;
}

/* What comes of `bytes` in pieces of `step`: the streams of DATA in order. */
static size_t
scan(const uint8_t *bytes, size_t len, size_t step, int32_t *ids)
{
	struct h2_closed closed = {.last = 99};
	struct h2_scan state = {.left = 24};
	size_t n = 0;

	for (size_t from = 0; from < len; from += step) {
		size_t piece = from + step < len ? step : len - from, at = 0;
		int32_t id;

		while ((id = h2_scan_data(
		            &state, &closed, bytes + from, piece, &at)) > 0)
			ids[n++] = id;
		assert_int_equal(at, piece);
	}
	return n;
}

static void
test_h2_closed__DATA_is_found_in_any_pieces(void **state)
{
	uint8_t bytes[1000] = {0};
	size_t len = 24;
	int32_t ids[16];

	(void)state;
	len += frame(bytes + len, NGHTTP2_SETTINGS, 0, 0);
	len += frame(bytes + len, NGHTTP2_HEADERS, 1, 30);
	len += frame(bytes + len, NGHTTP2_DATA, 1, 0);
	len += frame(bytes + len, NGHTTP2_DATA, 3, 300);
	len += frame(bytes + len, NGHTTP2_RST_STREAM, 3, 4);
	len += frame(bytes + len, 0xee, 5, 9);
	len += frame(bytes + len, NGHTTP2_DATA, 2, 1);   /* nobody's */
	len += frame(bytes + len, NGHTTP2_DATA, 0, 1);   /* nghttp2's affair */
	len += frame(bytes + len, NGHTTP2_DATA, 101, 1); /* not begun */
	len += frame(bytes + len, NGHTTP2_DATA, 99, 1);
	for (size_t step = 1; step <= len; step++) {
		assert_int_equal(scan(bytes, len, step, ids), 3);
		assert_int_equal(ids[0], 1);
		assert_int_equal(ids[1], 3);
		assert_int_equal(ids[2], 99);
	}
}

static void
test_h2_closed__a_reset_is_seen(void **state)
{
	uint8_t bytes[64];
	struct h2_closed closed = {.last = 99};
	struct h2_scan scan = {0};
	size_t len = frame(bytes, NGHTTP2_PING, 0, 8), at = 0;

	(void)state;
	assert_int_equal(h2_scan_data(&scan, &closed, bytes, len, &at), 0);
	assert_false(scan.saw_reset);
	len = frame(bytes, NGHTTP2_RST_STREAM, 1, 4);
	at = 0;
	assert_int_equal(h2_scan_data(&scan, &closed, bytes, len, &at), 0);
	assert_true(scan.saw_reset);
}

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
	    cmocka_unit_test(test_h2_closed__DATA_is_found_in_any_pieces),
	    cmocka_unit_test(test_h2_closed__a_reset_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
