/* proxy/h2/scan.c: frames, however their bytes come. */
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

#include "proxy/h2/scan.h"

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

/* What comes of `bytes` in pieces of `step`. */
static size_t
scan(const uint8_t *bytes, size_t len, size_t step, struct h2_frame *frames)
{
	struct h2_scan state = {.left = 24};
	size_t n = 0;

	for (size_t from = 0; from < len; from += step) {
		size_t piece = from + step < len ? step : len - from, at = 0;

		while (
		    h2_scan_next(&state, bytes + from, piece, &at, &frames[n]))
			n++;
		assert_int_equal(at, piece);
	}
	return n;
}

static void
test_h2_scan__frames_are_found_in_any_pieces(void **state)
{
	static const struct h2_frame sent[] = {
	    {.type = NGHTTP2_SETTINGS},
	    {.type = NGHTTP2_HEADERS, .stream = 1, .len = 30},
	    {.type = NGHTTP2_DATA, .stream = 1},
	    {.type = NGHTTP2_DATA, .stream = 3, .len = 300},
	    {.type = NGHTTP2_RST_STREAM, .stream = 3, .len = 4},
	    {.type = 0xee, .stream = 5, .len = 9},
	    {.type = NGHTTP2_DATA, .stream = 257, .len = 1},
	    {.type = NGHTTP2_PING, .len = 8},
	};
	enum { N = sizeof(sent) / sizeof(sent[0]) };
	uint8_t bytes[1000] = {0};
	struct h2_frame got[N + 1];
	size_t len = 24;

	(void)state;
	for (size_t i = 0; i < N; i++)
		len += frame(
		    bytes + len, sent[i].type, sent[i].stream, sent[i].len);
	for (size_t step = 1; step <= len; step++) {
		assert_int_equal(scan(bytes, len, step, got), N);
		for (size_t i = 0; i < N; i++) {
			assert_int_equal(got[i].type, sent[i].type);
			assert_int_equal(got[i].stream, sent[i].stream);
			assert_int_equal(got[i].len, sent[i].len);
			assert_int_equal(got[i].flags, 0);
		}
	}
}

static void
test_h2_scan__padding_of_DATA_is_told(void **state)
{
	uint8_t bytes[100] = {0};
	struct h2_frame got[3];
	size_t len = 24;

	(void)state;
	len += frame(bytes + len, NGHTTP2_DATA, 1, 6);
	bytes[24 + 4] = NGHTTP2_FLAG_PADDED;
	bytes[24 + 9] = 5;
	len += frame(bytes + len, NGHTTP2_PING, 0, 8);
	for (size_t step = 1; step <= len; step++) {
		assert_int_equal(scan(bytes, len, step, got), 2);
		assert_true(h2_frame_is_padded_data(&got[0]));
		assert_int_equal(got[0].padding, 5);
		assert_int_equal(got[1].type, NGHTTP2_PING);
	}
}

/* A head of which the end is missing is no frame. */
static void
test_h2_scan__half_a_head_waits(void **state)
{
	uint8_t bytes[17];
	struct h2_scan scan = {0};
	struct h2_frame got;
	size_t at = 0;

	(void)state;
	frame(bytes, NGHTTP2_PING, 0, 8);
	assert_false(h2_scan_next(&scan, bytes, 8, &at, &got));
	at = 0;
	assert_true(h2_scan_next(&scan, bytes + 8, 9, &at, &got));
	assert_int_equal(at, 1);
	assert_int_equal(got.len, 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_h2_scan__frames_are_found_in_any_pieces),
	    cmocka_unit_test(test_h2_scan__padding_of_DATA_is_told),
	    cmocka_unit_test(test_h2_scan__half_a_head_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
