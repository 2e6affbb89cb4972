/*
 * Responses: a broken one is refused whole, and how long a body is follows
 * RFC 9112 section 6.3.
 */
#include "h1_ways.h"

#define OK "HTTP/1.1 200 OK\r\n"

/* clang-format off */
static const struct refusal {
	const char *bytes;
	size_t len;
	enum h1_fault fault;
} refusals[] = {
#define ROW(text, fault) {text, sizeof(text) - 1, H1_FAULT_##fault},
#define HEAD(fields, fault) ROW(OK fields "\r\n", fault)
#define LINE(line) ROW(line "\r\nContent-Length: 0\r\n\r\n", STATUS_LINE)
	LINE("HTTP/1.1 200OK")
	LINE("HTTP/1.1 2000 OK")
	LINE("HTTP/1.1 20 OK")
	LINE("HTTP/1.1 099 Low")
	LINE("HTTP/1.1 000 Zero")
	LINE("HTTP/1.1 600 High")
	LINE("HTTP/1.1 999 High")
	LINE("HTTP/1.1 -20 OK")
	LINE("HTTP/1.1 +20 OK")
	LINE("HTTP/1.1 2x0 OK")
	LINE("HTTP/1.1  200 OK")
	LINE("HTTP/1.1\t200 OK")
	LINE("HTTP/1.1 200\tOK")
	LINE("HTTP/1.1")
	LINE("HTTP/1.1 ")
	LINE("HTTP/1.1 20")
	LINE("HTTP/1.2 200 OK")
	LINE("HTTP/2.0 200 OK")
	LINE("HTTP/2 200 OK")
	LINE("HTTP/0.9 200 OK")
	LINE("http/1.1 200 OK")
	LINE("HTTP/1.10 200 OK")
	LINE("HTTPS/1.1 200 OK")
	LINE(" HTTP/1.1 200 OK")
	LINE("ICY 200 OK and more")
	LINE("<html>it works</html>")
	ROW("\r\n" OK "\r\n", STATUS_LINE)
	ROW("\r\n\r\n", STATUS_LINE)
	ROW("\n" OK "\r\n", BARE_LF)
	ROW("HTTP/1.1 200 O\0K\r\n\r\n", CONTROL)
	ROW("HTTP/1.1 200 O\rK\r\n\r\n", BARE_CR)
	ROW("HTTP/1.1 200 OK\n\n", BARE_LF)
	ROW("\x15\x03\x01\x00\x02\x02\x16", CONTROL) /* a TLS alert */
	/* framing */
	HEAD("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", LENGTH_AND_CODING)
	HEAD("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", LENGTH_AND_CODING)
	HEAD("Content-Length: 5\r\nContent-Length: 6\r\n", LENGTH_TWICE)
	HEAD("Content-Length: 5\r\nContent-Length: 5\r\n", LENGTH_TWICE)
	HEAD("Content-Length: 5, 5\r\n", LENGTH)
	HEAD("Content-Length: -1\r\n", LENGTH)
	HEAD("Content-Length: x\r\n", LENGTH)
	HEAD("Content-Length:\r\n", LENGTH)
	HEAD("Content-Length: 99999999999999999999\r\n", LENGTH)
	HEAD("Transfer-Encoding: gzip, chunked\r\n", CODING_UNKNOWN)
	HEAD("Transfer-Encoding: chunked, gzip\r\n", CODING)
	HEAD("Transfer-Encoding: xchunked\r\n", CODING_UNKNOWN)
	HEAD("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CODING)
	HEAD("Transfer_Encoding: chunked\r\n", FRAMING_ALIAS)
	ROW("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CODING_IN_1_0)
	/* splitting */
	HEAD("X: a\rSet-Cookie: b\r\n", BARE_CR)
	HEAD("X: a\nSet-Cookie: b\r\n", BARE_LF)
	HEAD("X: a\0b\r\n", CONTROL)
	HEAD("X: a\r\n b\r\n", OBS_FOLD)
	HEAD(" X: a\r\n", LEADING_SPACE)
	HEAD("X : a\r\n", SPACE_BEFORE_COLON)
	HEAD("X\r\n", NO_COLON)
	HEAD(": x\r\n", NAME)
	HEAD("X{}: x\r\n", NAME)
	/* nobody asked to switch */
	ROW("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", SWITCHED_UNASKED)
	ROW("HTTP/1.1 101 Switching Protocols\r\nContent-Length: x\r\n\r\n", LENGTH)
};
/* clang-format on */

static const struct way get = {
    .is_response = true, .request = METHOD_GET, .max = 65536};
static const struct way head_method = {
    .is_response = true, .request = METHOD_HEAD, .max = 65536};
static const struct way upgrade = {.is_response = true,
    .request = METHOD_GET,
    .asked_upgrade = true,
    .max = 65536};

static void
test_response__a_broken_one_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *row = &refusals[i];
		struct h1_head head;
		enum h1_result result =
		    parse_all_ways(&get, row->bytes, row->len, &head);

		if (result != H1_BAD || head.fault != row->fault)
			fail_msg("row %zu: %d %s, not %s: %s", i, result,
			    h1_fault_word(head.fault),
			    h1_fault_word(row->fault), row->bytes);
	}
}

static enum h1_result
parse(const struct way *way, const char *text, struct h1_head *head)
{
	return parse_all_ways(way, text, strlen(text), head);
}

static void
test_response__a_status_line_may_have_no_reason(void **state)
{
	static const struct {
		const char *text, *reason;
		unsigned status;
	} rows[] = {{"HTTP/1.1 200 OK", "OK", 200}, {"HTTP/1.1 200 ", "", 200},
	    {"HTTP/1.1 200", "", 200},
	    {"HTTP/1.0 404 Not  Found ", "Not  Found ", 404},
	    {"HTTP/1.1 599 \xe9t\xe9\tx", "\xe9t\xe9\tx", 599},
	    {"HTTP/1.1 418 I'm a teapot", "I'm a teapot", 418}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[128];
		struct h1_head head;

		snprintf(text, sizeof(text), "%s\r\n\r\n", rows[i].text);
		assert_int_equal(parse(&get, text, &head), H1_DONE);
		assert_int_equal(head.status, rows[i].status);
		assert_int_equal(head.reason.len, strlen(rows[i].reason));
		assert_memory_equal(
		    head.reason.ptr != NULL ? head.reason.ptr : "",
		    rows[i].reason, head.reason.len);
	}
}

static void
test_response__bodies_are_framed_as_the_rfc_says(void **state)
{
	static const struct {
		const struct way *way;
		const char *text;
		enum h1_framing framing;
		uint64_t length;
		bool has_length, keep_alive;
	} rows[] = {
	    {&get, OK "Content-Length: 5\r\n", H1_LENGTH, 5, true, true},
	    {&get, OK "Content-Length: 0\r\n", H1_NO_BODY, 0, true, true},
	    {&get, OK "Transfer-Encoding: CHUNKED\r\n", H1_CHUNKED, 0, false,
	        true},
	    {&get, OK, H1_TO_CLOSE, 0, false, false},
	    {&get, OK "Connection: close\r\nContent-Length: 5\r\n", H1_LENGTH,
	        5, true, false},
	    {&get, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", H1_LENGTH, 5,
	        true, false},
	    {&get,
	        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: "
	        "5\r\n",
	        H1_LENGTH, 5, true, true},
	    {&get, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", H1_TO_CLOSE,
	        0, false, false},
	    {&head_method, OK "Content-Length: 5\r\n", H1_NO_BODY, 5, true,
	        true},
	    {&head_method, OK "Transfer-Encoding: chunked\r\n", H1_NO_BODY, 0,
	        false, true},
	    {&head_method, OK, H1_NO_BODY, 0, false, true},
	    {&get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n",
	        H1_NO_BODY, 5, true, true},
	    {&get,
	        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n",
	        H1_NO_BODY, 0, false, true},
	    {&get, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n",
	        H1_NO_BODY, 5, false, true},
	    {&get, "HTTP/1.1 204 No Content\r\n", H1_NO_BODY, 0, false, true},
	    {&get, "HTTP/1.1 100 Continue\r\n", H1_NO_BODY, 0, false, true},
	    {&get,
	        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nContent-Length: "
	        "5\r\n",
	        H1_NO_BODY, 5, false, true},
	    {&upgrade,
	        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: "
	        "websocket\r\nConnection: Upgrade\r\n",
	        H1_TUNNEL, 0, false, true},
	    {&upgrade, OK "Content-Length: 5\r\n", H1_LENGTH, 5, true, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[256];
		struct h1_head head;

		snprintf(text, sizeof(text), "%s\r\n", rows[i].text);
		assert_int_equal(parse(rows[i].way, text, &head), H1_DONE);
		assert_int_equal(head.framing, rows[i].framing);
		assert_int_equal(head.length, rows[i].length);
		assert_int_equal(head.has_length, rows[i].has_length);
		assert_int_equal(head.keep_alive, rows[i].keep_alive);
	}
}

static void
test_response__hop_by_hop_fields_are_marked(void **state)
{
	struct h1_head head;

	(void)state;
	assert_int_equal(parse(&get,
	                     OK "X-Mine: a\r\nSet-Cookie: b\r\nKeep-Alive: "
	                        "timeout=5\r\nTrailer: X\r\n"
	                        "Connection: X-mine, set-cookie\r\nSet-Cookie: "
	                        "c\r\nContent-Length: 0\r\n\r\n",
	                     &head),
	    H1_DONE);
	assert_true(head.fields[0].is_hop);
	assert_false(head.fields[1].is_hop);
	assert_true(head.fields[2].is_hop);
	assert_true(head.fields[3].is_hop);
	assert_true(head.fields[4].is_hop);
	assert_false(head.fields[5].is_hop);
	assert_int_equal(head.count[FIELD_SET_COOKIE], 2);
}

static void
test_response__a_body_behind_the_head_is_not_looked_at(void **state)
{
	static const char text[] =
	    OK "Content-Length: 9\r\n\r\n\0\n\r\x7f\nab\r\r";
	char padded[256];
	struct h1_head head;

	(void)state;
	assert_int_equal(
	    parse_all_ways(&get, text, sizeof(text) - 1, &head), H1_DONE);
	assert_int_equal(head.len, sizeof(text) - 1 - 9);
	/* wherever the head's end falls in a block of 32 */
	for (int pad = 0; pad < 64; pad++) {
		int len = snprintf(padded, sizeof(padded),
		    OK "X: %*s\r\n\r\n\n\n\r\n\x01\r", pad + 1, "x");

		assert_int_equal(
		    parse_all_ways(&get, padded, (size_t)len, &head), H1_DONE);
		assert_int_equal(head.len, len - 6);
	}
}

static void
test_response__a_head_over_max_is_refused(void **state)
{
	static const char text[] =
	    OK "X: 0123456789012345678901234567890123456789\r\n\r\n";
	struct way way = get;
	struct h1_head head;

	(void)state;
	way.max = sizeof(text) - 1;
	assert_int_equal(
	    parse_all_ways(&way, text, sizeof(text) - 1, &head), H1_DONE);
	for (way.max = 1; way.max < sizeof(text) - 1; way.max++) {
		assert_int_equal(
		    parse_all_ways(&way, text, sizeof(text) - 1, &head),
		    H1_BAD);
		assert_int_equal(head.fault, H1_FAULT_HEAD_LONG);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_response__a_broken_one_is_refused),
	    cmocka_unit_test(test_response__a_status_line_may_have_no_reason),
	    cmocka_unit_test(test_response__bodies_are_framed_as_the_rfc_says),
	    cmocka_unit_test(test_response__hop_by_hop_fields_are_marked),
	    cmocka_unit_test(
	        test_response__a_body_behind_the_head_is_not_looked_at),
	    cmocka_unit_test(test_response__a_head_over_max_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
