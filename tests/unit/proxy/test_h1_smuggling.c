/*
 * Requests that are refused, each with its word: the classes of smuggling that
 * a front door must stop, one row a trick.
 */
#include "h1_ways.h"

#define A_HOST "Host: a.example\r\n"

/* clang-format off */
static const struct refusal {
	const char *bytes;
	size_t len;
	enum h1_fault fault;
} refusals[] = {
#define ROW(text, fault) {text, sizeof(text) - 1, H1_FAULT_##fault},
#define HEAD(fields, fault) ROW("POST / HTTP/1.1\r\n" A_HOST fields "\r\n", fault)
#define LINE(line, fault) ROW(line "\r\n" A_HOST "\r\n", fault)
#define HOSTS(value, fault) ROW("GET / HTTP/1.1\r\nHost:" value "\r\n\r\n", fault)
	/* Content-Length and Transfer-Encoding together, in both orders */
	HEAD("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", LENGTH_AND_CODING)
	HEAD("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", LENGTH_AND_CODING)
	HEAD("Transfer-Encoding: chunked\r\ncontent-LENGTH: 0\r\n", LENGTH_AND_CODING)
	HEAD("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", LENGTH_AND_CODING)
	/* Transfer-Encoding in disguise */
	HEAD("Transfer-Encoding: xchunked\r\n", CODING_UNKNOWN)
	HEAD("Transfer-Encoding: gzip\r\n", CODING_UNKNOWN)
	HEAD("Transfer-Encoding: identity\r\n", CODING_UNKNOWN)
	HEAD("Transfer-Encoding: gzip, chunked\r\n", CODING_UNKNOWN)
	HEAD("Transfer-Encoding: gzip,deflate , chunked\r\n", CODING_UNKNOWN)
	HEAD("Transfer-Encoding: chunked, gzip\r\n", CODING)
	HEAD("Transfer-Encoding: chunked, chunked\r\n", CODING)
	HEAD("Transfer-Encoding: chunked, identity\r\n", CODING)
	HEAD("Transfer-Encoding: , chunked\r\n", CODING)
	HEAD("Transfer-Encoding: chunked,\r\n", CODING)
	HEAD("Transfer-Encoding: gzip,,chunked\r\n", CODING)
	HEAD("Transfer-Encoding: chunked;q=1\r\n", CODING)
	HEAD("Transfer-Encoding: chunked chunked\r\n", CODING)
	HEAD("Transfer-Encoding: \"chunked\"\r\n", CODING)
	HEAD("Transfer-Encoding: 'chunked'\r\n", CODING_UNKNOWN)
	HEAD("Transfer-Encoding: chunked\xa0\r\n", CODING)
	HEAD("Transfer-Encoding: \xc2\xa0" "chunked\r\n", CODING)
	HEAD("Transfer-Encoding:\r\n", CODING)
	HEAD("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CODING)
	HEAD("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", CODING)
	HEAD("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", CODING)
	HEAD("Transfer-Encoding: \vchunked\r\n", CONTROL)
	HEAD("Transfer-Encoding: chunked\f\r\n", CONTROL)
	HEAD("Transfer-Encoding: chun\0ked\r\n", CONTROL)
	HEAD("Transfer-Encoding:\r\n chunked\r\n", OBS_FOLD)
	HEAD("Transfer-Encoding : chunked\r\n", SPACE_BEFORE_COLON)
	HEAD("Transfer-Encoding\t: chunked\r\n", SPACE_BEFORE_COLON)
	HEAD("Transfer_Encoding: chunked\r\n", FRAMING_ALIAS)
	HEAD("transfer_encoding: chunked\r\n", FRAMING_ALIAS)
	HEAD("Content_Length: 5\r\n", FRAMING_ALIAS)
	HEAD("Content_Length: 5\r\nContent-Length: 5\r\n", FRAMING_ALIAS)
	ROW("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", CODING_IN_1_0)
	ROW("POST / HTTP/1.0\r\n" A_HOST "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n", CODING_IN_1_0)
	/* Content-Length that two readers take for two numbers */
	HEAD("Content-Length: +5\r\n", LENGTH)
	HEAD("Content-Length: -5\r\n", LENGTH)
	HEAD("Content-Length: 0x5\r\n", LENGTH)
	HEAD("Content-Length: 5, 5\r\n", LENGTH)
	HEAD("Content-Length: 5, 6\r\n", LENGTH)
	HEAD("Content-Length: 5,\r\n", LENGTH)
	HEAD("Content-Length: 5 5\r\n", LENGTH)
	HEAD("Content-Length: 5.0\r\n", LENGTH)
	HEAD("Content-Length: 5e0\r\n", LENGTH)
	HEAD("Content-Length: 1_0\r\n", LENGTH)
	HEAD("Content-Length: \"5\"\r\n", LENGTH)
	HEAD("Content-Length: 5;\r\n", LENGTH)
	HEAD("Content-Length:\r\n", LENGTH)
	HEAD("Content-Length: \t \r\n", LENGTH)
	HEAD("Content-Length: \xa0" "5\r\n", LENGTH)
	HEAD("Content-Length: 18446744073709551621\r\n", LENGTH)
	HEAD("Content-Length: 18446744073709551616\r\n", LENGTH)
	HEAD("Content-Length: 9999999999999999999\r\n", LENGTH)
	HEAD("Content-Length: 00000000000000000000000005\r\n", LENGTH)
	HEAD("Content-Length: 5\r\nContent-Length: 6\r\n", LENGTH_TWICE)
	HEAD("Content-Length: 5\r\nContent-Length: 5\r\n", LENGTH_TWICE)
	HEAD("Content-Length: 5\r\nX: y\r\ncontent-length:\r\n", LENGTH_TWICE)
	HEAD("Content-Length : 5\r\n", SPACE_BEFORE_COLON)
	HEAD("Content-Length: 5\r\n 0\r\n", OBS_FOLD)
	HEAD("Content-Length: \r5\r\n", BARE_CR)
	/* line ends */
	ROW("GET / HTTP/1.1\nHost: a\n\n", BARE_LF)
	ROW("GET / HTTP/1.1\r\nHost: a\n\r\n", BARE_LF)
	ROW("GET / HTTP/1.1\r\nHost: a\r\n\n", BARE_LF)
	ROW("GET / HTTP/1.1\r\nHost: a\r\nX: y\nZ: w\r\n\r\n", BARE_LF)
	ROW("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BARE_LF)
	ROW("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", REQUEST_LINE)
	ROW("\r\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BARE_CR)
	HEAD("X: a\rb\r\n", BARE_CR)
	HEAD("X: a\r\r\n", BARE_CR)
	HEAD("X: a\r\rY: b\r\n", BARE_CR)
	HEAD("X\r: a\r\n", BARE_CR)
	ROW("GET /\rx HTTP/1.1\r\n" A_HOST "\r\n", BARE_CR)
	ROW("GET / HTTP/1.1\r\n" A_HOST "\r\rX", BARE_CR)
	ROW("GET / HTTP/1.1\r\n" A_HOST "\rX", BARE_CR)
	/* controls */
	HEAD("X: a\0b\r\n", CONTROL)
	HEAD("X: a\x01" "b\r\n", CONTROL)
	HEAD("X: a\x1f" "b\r\n", CONTROL)
	HEAD("X: a\x7f" "b\r\n", CONTROL)
	HEAD("X\0Y: a\r\n", CONTROL)
	HEAD("X\x08: a\r\n", CONTROL)
	HEAD("\0: a\r\n", CONTROL)
	LINE("GET /\0 HTTP/1.1", CONTROL)
	LINE("GET /\x7f HTTP/1.1", CONTROL)
	LINE("G\x01T / HTTP/1.1", CONTROL)
	ROW("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", CONTROL)
	/* field lines */
	ROW("GET / HTTP/1.1\r\n " A_HOST "\r\n", LEADING_SPACE)
	ROW("GET / HTTP/1.1\r\n\t" A_HOST "\r\n", LEADING_SPACE)
	ROW("GET / HTTP/1.1\r\n \r\n" A_HOST "\r\n", LEADING_SPACE)
	HEAD("X: a\r\n b\r\n", OBS_FOLD)
	HEAD("X: a\r\n\tb\r\n", OBS_FOLD)
	HEAD("X: a\r\n \r\n", OBS_FOLD)
	HEAD("X : a\r\n", SPACE_BEFORE_COLON)
	HEAD("X\t: a\r\n", SPACE_BEFORE_COLON)
	HEAD("X \t : a\r\n", SPACE_BEFORE_COLON)
	HEAD(": a\r\n", NAME)
	HEAD(":\r\n", NAME)
	HEAD("X Y: a\r\n", NAME)
	HEAD("X(Y): a\r\n", NAME)
	HEAD("X\"Y: a\r\n", NAME)
	HEAD("X/Y: a\r\n", NAME)
	HEAD("X[0]: a\r\n", NAME)
	HEAD("X@Y: a\r\n", NAME)
	HEAD("X{}: a\r\n", NAME)
	HEAD("X=Y: a\r\n", NAME)
	HEAD("X,Y: a\r\n", NAME)
	HEAD("X\\Y: a\r\n", NAME)
	HEAD("X\x80: a\r\n", NAME)
	HEAD("\xc3\xa9: a\r\n", NAME)
	HEAD("Transfer-Encoding\xa0: chunked\r\n", NAME)
	HEAD("X\r\n", NO_COLON)
	HEAD("X y\r\n", NO_COLON)
	HEAD("X;y\r\n", NO_COLON)
	HEAD("a-name-of-more-than-thirty-two-characters-in-all\r\n", NO_COLON)
	HEAD("a-name-of-more-than-thirty-two-characters-in-all : x\r\n", SPACE_BEFORE_COLON)
	HEAD("a-name-of-more-than-thirty-two-(characters)-in-all: x\r\n", NAME)
	/* request line */
	LINE("GET /", REQUEST_LINE)
	LINE("GET", REQUEST_LINE)
	LINE("GET ", REQUEST_LINE)
	LINE(" GET / HTTP/1.1", REQUEST_LINE)
	LINE("", REQUEST_LINE)
	LINE("/ HTTP/1.1", REQUEST_LINE)
	LINE("G(T / HTTP/1.1", REQUEST_LINE)
	LINE("GET\t/\tHTTP/1.1", REQUEST_LINE)
	LINE("GET\t/ HTTP/1.1", REQUEST_LINE)
	LINE("GET: / HTTP/1.1", REQUEST_LINE)
	LINE("G\xc9T / HTTP/1.1", REQUEST_LINE)
	LINE("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ / HTTP/1.1", METHOD_LONG)
	LINE("CONNECT a.example:443 HTTP/1.1", CONNECT)
	LINE("CONNECT / HTTP/1.1", CONNECT)
	LINE("CONNECT http://a.example/ HTTP/1.0", CONNECT)
	LINE("GET / HTTP/2.0", VERSION)
	LINE("GET / HTTP/3.0", VERSION)
	LINE("GET / HTTP/1.2", VERSION)
	LINE("GET / HTTP/1.9", VERSION)
	LINE("GET / HTTP/0.9", VERSION)
	LINE("PRI * HTTP/2.0", VERSION)
	LINE("GET / HTTP/1.1 ", VERSION_SYNTAX)
	LINE("GET / HTTP/1.1\t", VERSION_SYNTAX)
	LINE("GET / HTTP/1.10", VERSION_SYNTAX)
	LINE("GET / HTTP/01.1", VERSION_SYNTAX)
	LINE("GET / HTTP/1", VERSION_SYNTAX)
	LINE("GET / HTTP/1.", VERSION_SYNTAX)
	LINE("GET / HTTP/1,1", VERSION_SYNTAX)
	LINE("GET / HTTP/x.1", VERSION_SYNTAX)
	LINE("GET / HTTP/1.x", VERSION_SYNTAX)
	LINE("GET / http/1.1", VERSION_SYNTAX)
	LINE("GET / HTTP /1.1", VERSION_SYNTAX)
	LINE("GET / HTPP/1.1", VERSION_SYNTAX)
	LINE("GET / XHTTP/1.1", VERSION_SYNTAX)
	LINE("GET / x", VERSION_SYNTAX)
	LINE("GET  / HTTP/1.1", TARGET)
	LINE("GET /  HTTP/1.1", TARGET)
	LINE("GET /a b HTTP/1.1", TARGET)
	LINE("GET /a\tb HTTP/1.1", TARGET)
	LINE("GET / HTTP/1.1 HTTP/1.1", TARGET)
	LINE("GET /#top HTTP/1.1", TARGET)
	LINE("GET /?a#b HTTP/1.1", TARGET)
	LINE("GET /\x80 HTTP/1.1", TARGET)
	LINE("GET /caf\xc3\xa9 HTTP/1.1", TARGET)
	LINE("GET /?q=\xff HTTP/1.1", TARGET)
	LINE("GET  HTTP/1.1", TARGET)
	LINE("GET a HTTP/1.1", TARGET)
	LINE("GET a/b HTTP/1.1", TARGET)
	LINE("GET ?a HTTP/1.1", TARGET)
	LINE("GET a.example:80 HTTP/1.1", TARGET)
	LINE("GET * HTTP/1.1", TARGET)
	LINE("OPTIONS *x HTTP/1.1", TARGET)
	LINE("OPTIONS */ HTTP/1.1", TARGET)
	LINE("GET ftp://a.example/ HTTP/1.1", TARGET)
	LINE("GET file:///etc/passwd HTTP/1.1", TARGET)
	LINE("GET httpx://a.example/ HTTP/1.1", TARGET)
	LINE("GET http:/a.example/ HTTP/1.1", TARGET)
	LINE("GET http:a.example/ HTTP/1.1", TARGET)
	LINE("GET //http://a.example HTTP/9.9", VERSION)
	LINE("GET http:// HTTP/1.1", TARGET)
	LINE("GET http:/// HTTP/1.1", TARGET)
	LINE("GET http://?x HTTP/1.1", TARGET)
	LINE("GET http://u@a.example/ HTTP/1.1", TARGET)
	LINE("GET http://u:p@a.example/ HTTP/1.1", TARGET)
	LINE("GET http://a.example:80:80/ HTTP/1.1", TARGET)
	LINE("GET http://a.example:x/ HTTP/1.1", TARGET)
	LINE("GET http://a.example\\b/ HTTP/1.1", TARGET)
	/* Host */
	ROW("GET / HTTP/1.1\r\n\r\n", HOST_MISSING)
	ROW("GET / HTTP/1.1\r\nX: y\r\n\r\n", HOST_MISSING)
	ROW("GET http://a.example/ HTTP/1.1\r\nX: y\r\n\r\n", HOST_MISSING)
	ROW("GET / HTTP/1.1\r\n" A_HOST A_HOST "\r\n", HOST_TWICE)
	ROW("GET / HTTP/1.1\r\n" A_HOST "hOsT: b.example\r\n\r\n", HOST_TWICE)
	ROW("GET / HTTP/1.0\r\n" A_HOST A_HOST "\r\n", HOST_TWICE)
	HOSTS("", HOST)
	HOSTS(" ", HOST)
	HOSTS(" a b", HOST)
	HOSTS(" a,b", HOST)
	HOSTS(" a.example, b.example", HOST)
	HOSTS(" u@a", HOST)
	HOSTS(" a/b", HOST)
	HOSTS(" a?b", HOST)
	HOSTS(" a#b", HOST)
	HOSTS(" a\\b", HOST)
	HOSTS(" a\"b", HOST)
	HOSTS(" <a>", HOST)
	HOSTS(" a%00b", HOST)
	HOSTS(" \xc3\xa9.example", HOST)
	HOSTS(" a:b", HOST)
	HOSTS(" a:80:80", HOST)
	HOSTS(" a:-1", HOST)
	HOSTS(" a:65536", HOST)
	HOSTS(" a:0", HOST)
	HOSTS(" a:123456", HOST)
	HOSTS(" :80", HOST)
	HOSTS(" .a", HOST)
	HOSTS(" http://a", HOST)
	HOSTS(" ::1", HOST)
	HOSTS(" [::1", HOST)
	HOSTS(" [::1]a", HOST)
	HOSTS(" [::1%25eth0]", HOST)
	HOSTS(" []", HOST)
	HOSTS(" [v1.a]", HOST)
	ROW("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", HOST)
	ROW("GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", HOST_MISMATCH)
	ROW("GET http://a.example:80/ HTTP/1.1\r\nHost: a.example:81\r\n\r\n", HOST_MISMATCH)
	ROW("GET http://a.example/ HTTP/1.0\r\nHost: b.example\r\n\r\n", HOST_MISMATCH)
	ROW("GET http://a.example/ HTTP/1.1\r\nHost: a@a.example\r\n\r\n", HOST)
	/* Expect */
	HEAD("Expect: 200-ok\r\n", EXPECT)
	HEAD("Expect: y 100-continue\r\n", EXPECT)
	HEAD("Expect:\r\n", EXPECT)
	HEAD("Expect: 100-continue, x\r\n", EXPECT)
	HEAD("Expect: 100-continue\r\nExpect: x\r\n", EXPECT)
	/* the first fault in the order of bytes has the word */
	ROW("GET /\r\nX\0: y\r\n\r\n", REQUEST_LINE)
	ROW("GET / HTTP/1.1\r\nX Y: z\r\n\0\r\n", CONTROL)
	HEAD("X Y: z\r\nA\r\n", NAME)
	HEAD("A\r\nX Y: z\r\n", NO_COLON)
};
/* clang-format on */

static const struct way request = {.max = 65536};

static void
test_smuggling__what_can_be_read_in_two_ways_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *row = &refusals[i];
		struct h1_head head;
		enum h1_result result =
		    parse_all_ways(&request, row->bytes, row->len, &head);

		if (result != H1_BAD || head.fault != row->fault)
			fail_msg("row %zu: %d %s, not %s: %s", i, result,
			    h1_fault_word(head.fault),
			    h1_fault_word(row->fault), row->bytes);
	}
}

static void
test_smuggling__the_statuses_are_those_of_the_rfc(void **state)
{
	(void)state;
	assert_int_equal(h1_fault_status(H1_FAULT_BARE_LF), 400);
	assert_int_equal(h1_fault_status(H1_FAULT_CONNECT), 405);
	assert_int_equal(h1_fault_status(H1_FAULT_TARGET_LONG), 414);
	assert_int_equal(h1_fault_status(H1_FAULT_EXPECT), 417);
	assert_int_equal(h1_fault_status(H1_FAULT_HEAD_LONG), 431);
	assert_int_equal(h1_fault_status(H1_FAULT_FIELDS), 431);
	assert_int_equal(h1_fault_status(H1_FAULT_CODING_UNKNOWN), 501);
	assert_int_equal(h1_fault_status(H1_FAULT_VERSION), 505);
	for (unsigned i = 1; i < H1_FAULT_COUNT; i++) {
		assert_true(
		    h1_fault_status(i) >= 400 && h1_fault_status(i) <= 505);
		assert_true(strlen(h1_fault_word(i)) > 0);
		for (unsigned j = 1; j < i; j++)
			assert_string_not_equal(
			    h1_fault_word(i), h1_fault_word(j));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_smuggling__what_can_be_read_in_two_ways_is_refused),
	    cmocka_unit_test(test_smuggling__the_statuses_are_those_of_the_rfc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
