/*
 * Chunked bodies: whole, and cut at every place, the outcome is the same.
 */
/* cmocka wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
/* clang-format on */

#include "proxy/h1/parse.h"

struct outcome {
	enum h1_result result;
	enum h1_fault fault;
	size_t used, payload_len, trailers_len;
	char payload[1024], trailers[H1_TRAILERS_MAX];
};

/* Feeds the bytes in pieces: `cut`, then `step` at a time. */
static void
decode(const char *bytes, size_t len, size_t cut, size_t step,
    bool wants_trailers, struct outcome *out)
{
	struct h1_chunks chunks = {0};
	size_t at = 0, n = cut;

	memset(out, 0, sizeof(*out));
	do {
		char *piece = malloc(n > 0 ? n : 1);
		size_t used, payload;

		memcpy(piece, bytes + at, n);
		out->result = h1_dechunk(&chunks, piece, n, &used, &payload,
		    wants_trailers ? out->trailers : NULL,
		    wants_trailers ? &out->trailers_len : NULL);
		assert_true(used <= n && payload <= used);
		assert_true(out->result != H1_MORE || used == n);
		assert_true(out->payload_len + payload <= sizeof(out->payload));
		memcpy(out->payload + out->payload_len, piece, payload);
		out->payload_len += payload;
		free(piece);
		at += used;
		n = step < len - at ? step : len - at;
	} while (out->result == H1_MORE && at < len);
	out->used = at;
	out->fault = chunks.fault;
	assert_int_equal(chunks.total, out->payload_len);
	if (out->result == H1_BAD) { /* and stays so */
		size_t used, payload;
		char more[] = "0\r\n\r\n";

		assert_int_equal(
		    h1_dechunk(&chunks, more, 5, &used, &payload, NULL, NULL),
		    H1_BAD);
		assert_int_equal(used + payload, 0);
	}
}

static void
decode_all_ways(const char *bytes, size_t len, struct outcome *out)
{
	decode(bytes, len, len, len, true, out);
	for (size_t cut = 0; cut <= len; cut++) {
		static struct outcome other;

		/* cut 0: byte by byte */
		decode(
		    bytes, len, cut, cut == 0 ? 1 : len, cut % 2 == 0, &other);
		assert_int_equal(other.result, out->result);
		assert_int_equal(other.fault, out->fault);
		assert_int_equal(other.used, out->used);
		assert_int_equal(other.payload_len, out->payload_len);
		assert_memory_equal(
		    other.payload, out->payload, out->payload_len);
		if (cut % 2 == 0 && out->result == H1_DONE) {
			assert_int_equal(other.trailers_len, out->trailers_len);
			assert_memory_equal(
			    other.trailers, out->trailers, out->trailers_len);
		}
	}
}

static void
test_chunk__what_is_no_exact_chunk_is_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		enum h1_fault fault;
	} rows[] = {
	/* clang-format off */
#define ROW(text, fault) {text, sizeof(text) - 1, H1_FAULT_##fault},
		ROW("0x5\r\nhello\r\n", CHUNK_SIZE)
		ROW("0_2e\r\n", CHUNK_SIZE)
		ROW("+5\r\nhello\r\n", CHUNK_SIZE)
		ROW("-5\r\nhello\r\n", CHUNK_SIZE)
		ROW(" 5\r\nhello\r\n", CHUNK_SIZE)
		ROW("\t5\r\nhello\r\n", CHUNK_SIZE)
		ROW("5 \r\nhello\r\n", CHUNK_SIZE)
		ROW("5\t\r\nhello\r\n", CHUNK_SIZE)
		ROW("5 5\r\nhello\r\n", CHUNK_SIZE)
		ROW("5h\r\nhello\r\n", CHUNK_SIZE)
		ROW("5,\r\nhello\r\n", CHUNK_SIZE)
		ROW("5.0\r\nhello\r\n", CHUNK_SIZE)
		ROW("g\r\n", CHUNK_SIZE)
		ROW("\r\n", CHUNK_SIZE)
		ROW("\n", CHUNK_SIZE)
		ROW(";x\r\n", CHUNK_SIZE)
		ROW("5\0\r\nhello\r\n", CHUNK_SIZE)
		ROW("\xb5\r\nhello\r\n", CHUNK_SIZE)
		ROW("FFFFFFFFFFFFFFFF\r\n", CHUNK_SIZE)
		ROW("8000000000000000\r\n", CHUNK_SIZE)
		ROW("10000000000000005\r\n", CHUNK_SIZE)
		ROW("100000005\r\nhello\r\n0\r\n\r\n", NONE)
		ROW("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF\r\n", CHUNK_SIZE)
		ROW("00000000000000005\r\nhello\r\n", CHUNK_SIZE)
		ROW("1\r\na\r\n7fffffffffffffff\r\n", CHUNK_SIZE)
		/* line ends */
		ROW("5\nhello\r\n", BARE_LF)
		ROW("5\rhello\r\n", BARE_CR)
		ROW("5\r\rhello\r\n", BARE_CR)
		ROW("5\r\r\nhello\r\n", BARE_CR)
		ROW("5\r\nhello\n0\r\n\r\n", CHUNK_END)
		ROW("5\r\nhello\r0\r\n\r\n", CHUNK_END)
		ROW("5\r\nhelloXX0\r\n\r\n", CHUNK_END)
		ROW("5\r\nhello!\r\n0\r\n\r\n", CHUNK_END)
		ROW("5\r\nhello0\r\n\r\n", CHUNK_END)
		ROW("5\r\nhello\r\r\n0\r\n\r\n", CHUNK_END)
		ROW("5\r\nhello\r\n\r\n0\r\n\r\n", CHUNK_SIZE)
		ROW("0\n\r\n", BARE_LF)
		ROW("0\r\n\n", BARE_LF)
		ROW("0\r\n\rX", BARE_CR)
		/* extensions */
		ROW("5;\r\nhello\r\n", CHUNK_EXTENSION)
		ROW("5; \r\nhello\r\n", CHUNK_EXTENSION)
		ROW("5;;a\r\nhello\r\n", CHUNK_EXTENSION)
		ROW("5;=a\r\nhello\r\n", CHUNK_EXTENSION)
		ROW("5;a\nhello\r\n", BARE_LF)
		ROW("5;\nhello\r\n", BARE_LF)
		ROW("5;a\n\r\nhello\r\n", BARE_LF)
		ROW("5;a\rhello\r\n", BARE_CR)
		ROW("5;a\rX\r\nhello\r\n", BARE_CR)
		ROW("5;a\r\r\nhello\r\n", BARE_CR)
		ROW("5;a=\"\n\"\r\nhello\r\n", BARE_LF)
		ROW("5;a\0\r\nhello\r\n", CHUNK_EXTENSION)
		ROW("5;a\x7f\r\nhello\r\n", CHUNK_EXTENSION)
		ROW("5;\x01\r\nhello\r\n", CHUNK_EXTENSION)
		/* trailers */
		ROW("0\r\nX\r\n\r\n", TRAILER)
		ROW("0\r\nX : y\r\n\r\n", TRAILER)
		ROW("0\r\n: y\r\n\r\n", TRAILER)
		ROW("0\r\n X: y\r\n\r\n", TRAILER)
		ROW("0\r\nX: y\r\n z\r\n\r\n", TRAILER)
		ROW("0\r\nX\": y\r\n\r\n", TRAILER)
		ROW("0\r\nX: y\n\r\n", BARE_LF)
		ROW("0\r\nX: y\rZ: w\r\n\r\n", BARE_CR)
		ROW("0\r\nX: y\r\r\n\r\n", BARE_CR)
		ROW("0\r\nX: a\0b\r\n\r\n", CONTROL)
		ROW("0\r\nX: a\x7f\r\n\r\n", CONTROL)
		ROW("0\r\nGET / HTTP/1.1\r\n", TRAILER)
		ROW("0\r\n", NONE)
	    /* clang-format on */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static struct outcome out;
		enum h1_result wanted =
		    rows[i].fault == H1_FAULT_NONE ? H1_MORE : H1_BAD;

		decode_all_ways(rows[i].bytes, rows[i].len, &out);
		if (out.result != wanted || out.fault != rows[i].fault)
			fail_msg("row %zu: %d %s: %s", i, out.result,
			    h1_fault_word(out.fault), rows[i].bytes);
	}
}

static void
test_chunk__payload_comes_out_whole(void **state)
{
	static const struct {
		const char *bytes, *payload, *trailers, *rest;
	} rows[] = {
	    {"0\r\n\r\n", "", "", ""},
	    {"000\r\n\r\nGET", "", "", "GET"},
	    {"5\r\nhello\r\n0\r\n\r\n", "hello", "", ""},
	    {"5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\nx", "hello, world", "",
	        "x"},
	    {"a\r\n0123456789\r\nA;q\r\nabcdefghij\r\n00;q\r\n\r\n",
	        "0123456789abcdefghij", "", ""},
	    {"0000000000000002\r\n\r\n\r\n0\r\n\r\n", "\r\n", "", ""},
	    {"1;a=b;c=\"d e\\\"\";\te\r\nx\r\n1 ; \xe9\r\n", NULL, "", ""},
	    {"1 \t; a = b\r\nx\r\n0\r\n\r\n", "x", "", ""},
	    {"0\r\nGrpc-Status: 0\r\nServer-Timing:\t a;dur=1 "
	     "\t\r\nX-Empty:\r\nETag:x\ty\r\n\r\n",
	        "",
	        "Grpc-Status: 0\r\nServer-Timing: a;dur=1\r\nX-Empty:\r\nETag: "
	        "x y\r\n",
	        ""},
	    {"0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nHost: "
	     "a\r\nConnection: close\r\nX-Ok: 1\r\n"
	     "X-Forwarded-For: 1\r\nX_Forwarded_For: 1\r\nX-Forwarded-Foo: "
	     "1\r\nAuthorization: a\r\nCookie: b\r\n"
	     "Set-Cookie: c\r\nTraceparent: d\r\nCache-Control: e\r\nIf-Match: "
	     "f\r\nContent-Type: g\r\nX_Any: h\r\n\r\n",
	        "", "X-Ok: 1\r\n", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static struct outcome out;
		size_t len = strlen(rows[i].bytes);

		decode_all_ways(rows[i].bytes, len, &out);
		if (rows[i].payload ==
		    NULL) { /* obs-text may not begin an extension's name */
			assert_int_equal(out.fault, H1_FAULT_CHUNK_EXTENSION);
			continue;
		}
		assert_int_equal(out.result, H1_DONE);
		assert_int_equal(out.used, len - strlen(rows[i].rest));
		assert_int_equal(out.payload_len, strlen(rows[i].payload));
		assert_memory_equal(
		    out.payload, rows[i].payload, out.payload_len);
		assert_int_equal(out.trailers_len, strlen(rows[i].trailers));
		assert_memory_equal(
		    out.trailers, rows[i].trailers, out.trailers_len);
	}
}

static void
test_chunk__lines_of_256_bytes_and_no_more(void **state)
{
	static struct outcome out;
	char bytes[300];

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	memcpy(bytes, "0;", 2);
	memcpy(bytes + H1_CHUNK_LINE_MAX - 2, "\r\n\r\n", 4);
	decode_all_ways(bytes, H1_CHUNK_LINE_MAX + 2, &out);
	assert_int_equal(out.result, H1_DONE);
	memset(bytes + 2, 'x', sizeof(bytes) - 2);
	memcpy(bytes + H1_CHUNK_LINE_MAX - 1, "\r\n\r\n", 4);
	decode_all_ways(bytes, H1_CHUNK_LINE_MAX + 3, &out);
	assert_int_equal(out.result, H1_BAD);
	assert_int_equal(out.fault, H1_FAULT_CHUNK_LINE_LONG);
}

static void
test_chunk__trailers_are_bounded_in_number_and_size(void **state)
{
	static struct outcome out;
	static char bytes[2 * H1_TRAILERS_MAX];
	size_t len = 3;

	(void)state;
	memcpy(bytes, "0\r\n", 3);
	for (int i = 0; i < H1_TRAILER_FIELDS_MAX; i++, len += 5)
		memcpy(bytes + len, "a:b\r\n", 5);
	memcpy(bytes + len, "\r\n", 2);
	decode_all_ways(bytes, len + 2, &out);
	assert_int_equal(out.result, H1_DONE);
	assert_int_equal(out.trailers_len, H1_TRAILER_FIELDS_MAX * 6);
	memcpy(bytes + len, "a:b\r\n\r\n", 7);
	decode_all_ways(bytes, len + 7, &out);
	assert_int_equal(out.fault, H1_FAULT_TRAILERS_LONG);

	memset(bytes + 3, 'x', sizeof(bytes) - 3);
	memcpy(bytes + 3, "a:", 2);
	decode(bytes, sizeof(bytes), sizeof(bytes), 1, true, &out);
	assert_int_equal(out.fault, H1_FAULT_TRAILERS_LONG);
	assert_true(out.used <= H1_TRAILERS_MAX);
	decode(bytes, sizeof(bytes), 1, 1, false, &out);
	assert_int_equal(out.fault, H1_FAULT_TRAILERS_LONG);

	memset(bytes + 3, 'n', 300);
	bytes[3 + H1_NAME_MAX + 1] = ':';
	decode(bytes, 600, 600, 1, true, &out);
	assert_int_equal(out.fault, H1_FAULT_TRAILER);
}

/* As many trailer bytes as may be read always find room. */
static void
test_chunk__the_largest_trailer_section_fits(void **state)
{
	static struct outcome out;
	static char bytes[2 * H1_TRAILERS_MAX];
	size_t len = 3, total = H1_TRAILERS_MAX - H1_TRAILER_FIELDS_MAX - 2;

	(void)state;
	memcpy(bytes, "0\r\n", 3);
	for (int i = 0; i < H1_TRAILER_FIELDS_MAX; i++) {
		size_t line =
		    i < H1_TRAILER_FIELDS_MAX - 1 ? 500 : total - (len - 3);

		memset(bytes + len, 'x', line);
		memcpy(bytes + len, "a:", 2);
		memcpy(bytes + len + line - 2, "\r\n", 2);
		len += line;
	}
	memcpy(bytes + len, "\r\n", 2);
	decode(bytes, len + 2, len + 2, 1, true, &out);
	assert_int_equal(out.result, H1_DONE);
	assert_int_equal(out.trailers_len, total + H1_TRAILER_FIELDS_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_chunk__what_is_no_exact_chunk_is_refused),
	    cmocka_unit_test(test_chunk__payload_comes_out_whole),
	    cmocka_unit_test(test_chunk__lines_of_256_bytes_and_no_more),
	    cmocka_unit_test(
	        test_chunk__trailers_are_bounded_in_number_and_size),
	    cmocka_unit_test(test_chunk__the_largest_trailer_section_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
