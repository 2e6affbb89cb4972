/* Header blocks to heads and back: what is refused, what is rewritten, and that
 * a round changes nothing. */
/* cmocka.h wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <cmocka.h>
/* clang-format on */

#include "proxy/h2/text.h"
#include "proxy/websocket.h"

#define BASE                                                                   \
	{":method", "GET"}, {":scheme", "http"}, {":authority", "a.test"},     \
	{                                                                      \
		":path", "/"                                                   \
	}
enum { PAIRS_MAX = 12, LIMIT = 8192 };

struct pair {
	const char *name, *value;
};

static struct buf_pool pool;

static int
set_up(void **state)
{
	(void)state;
	buf_pool_init(&pool, 1 << 20);
	return 0;
}

/* Every buffer has come back. */
static int
tear_down(void **state)
{
	(void)state;
	assert_int_equal(pool.used, 0);
	buf_pool_release(&pool);
	return 0;
}

static void
give(struct h2_text *text, const struct pair *pairs)
{
	for (size_t i = 0; i < PAIRS_MAX && pairs[i].name; i++)
		if (!h2_text_field(
		        text, span_of(pairs[i].name), span_of(pairs[i].value)))
			return;
}

static void
is_read_as(enum h2_block block, const struct pair *pairs, const char *expected)
{
	struct h2_text text = {0};
	struct span got;

	h2_text_begin(&text, &pool, block, LIMIT);
	give(&text, pairs);
	got = h2_text_end(&text);
	assert_int_equal(text.verdict, H2_FINE);
	assert_non_null(got.ptr);
	if (got.len != strlen(expected) ||
	    memcmp(got.ptr, expected, got.len) != 0)
		fail_msg("read as\n%.*s\nand not as\n%s", (int)got.len, got.ptr,
		    expected);
	h2_text_release(&text);
}

static void
is_refused(enum h2_block block, const struct pair *pairs)
{
	struct h2_text text = {0};

	h2_text_begin(&text, &pool, block, LIMIT);
	give(&text, pairs);
	if (h2_text_end(&text).ptr || text.verdict != H2_MALFORMED)
		fail_msg("not refused: %s", pairs[0].name);
	h2_text_release(&text);
}

/* ---- blocks to text ---- */

static void
test_h2_text__request_becomes_a_canonical_head(void **state)
{
	(void)state;
	is_read_as(H2_REQUEST,
	    (struct pair[PAIRS_MAX]){BASE, {"x-one", "1"}, {"x-two", ""}},
	    "GET / HTTP/1.1\r\nhost: a.test\r\nx-one: 1\r\nx-two: \r\n\r\n");
	is_read_as(H2_REQUEST,
	    (struct pair[PAIRS_MAX]){{":path", "/p?q"}, {":authority", "a"},
	        {":scheme", "https"}, {":method", "POST"}, {"te", "trailers"}},
	    "POST /p?q HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n");
	is_read_as(H2_REQUEST,
	    (struct pair[PAIRS_MAX]){{":method", "OPTIONS"},
	        {":scheme", "http"}, {":authority", "a"}, {":path", "*"}},
	    "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n");
}

static void
test_h2_text__cookie_crumbs_are_one_cookie(void **state)
{
	(void)state;
	is_read_as(H2_REQUEST,
	    (struct pair[PAIRS_MAX]){BASE, {"cookie", "a=1"}, {"x", "y"},
	        {"cookie", "b=2"}, {"cookie", "c"}},
	    "GET / HTTP/1.1\r\nhost: a.test\r\nx: y\r\ncookie: a=1; b=2; "
	    "c\r\n\r\n");
	is_read_as(H2_RESPONSE,
	    (struct pair[PAIRS_MAX]){
	        {":status", "200"}, {"cookie", "a"}, {"cookie", "b"}},
	    "HTTP/1.1 200 \r\ncookie: a\r\ncookie: b\r\n\r\n");
}

static void
test_h2_text__host_may_repeat_the_authority_and_nothing_else(void **state)
{
	(void)state;
	is_read_as(H2_REQUEST,
	    (struct pair[PAIRS_MAX]){BASE, {"host", "A.test"}, {"x", "y"}},
	    "GET / HTTP/1.1\r\nhost: a.test\r\nx: y\r\n\r\n");
	is_read_as(H2_REQUEST,
	    (struct pair[PAIRS_MAX]){{":method", "GET"}, {":scheme", "http"},
	        {":path", "/"}, {"host", "only"}},
	    "GET / HTTP/1.1\r\nhost: only\r\n\r\n");
	is_refused(
	    H2_REQUEST, (struct pair[PAIRS_MAX]){BASE, {"host", "b.test"}});
	is_refused(H2_REQUEST, (struct pair[PAIRS_MAX]){BASE,
	                           {"host", "a.test"}, {"host", "a.test"}});
}

static void
test_h2_text__request_that_is_malformed_is_refused(void **state)
{
	static const struct pair rows[][PAIRS_MAX] = {
	    {{":scheme", "http"}, {":authority", "a"}, {":path", "/"}},
	    {{":method", "GET"}, {":authority", "a"}, {":path", "/"}},
	    {{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}},
	    {BASE, {":path", "/"}},
	    {{"x", "y"}, BASE},
	    {BASE, {":status", "200"}},
	    {BASE, {":unknown", "x"}},
	    {BASE, {":protocol", "websocket"}},
	    {{":method", ""}, {":scheme", "http"}, {":path", "/"}},
	    {{":method", "GE T"}, {":scheme", "http"}, {":path", "/"}},
	    {{":method", "GET\r\nx:"}, {":scheme", "http"}, {":path", "/"}},
	    {{":method", "GET"}, {":scheme", "ftp"}, {":path", "/"}},
	    {{":method", "GET"}, {":scheme", "http"}, {":path", "*"}},
	    {{":method", "GET"}, {":scheme", "http"}, {":path", "a"}},
	    {{":method", "GET"}, {":scheme", "http"}, {":path", "http://b/"}},
	    {{":method", "GET"}, {":scheme", "http"}, {":path", "/ HTTP/1.1"}},
	    {{":method", "GET"}, {":scheme", "http"}, {":path", "/\r\nx: y"}},
	    {{":method", "GET"}, {":scheme", "http"}, {":path", "/\x7f"}},
	    {{":method", "CONNECT"}, {":authority", "a"}, {":path", "/"}},
	    {{":method", "CONNECT"}, {":authority", "a"}, {":scheme", "http"}},
	    {{":method", "CONNECT"}},
	    {BASE, {"X", "upper"}},
	    {BASE, {"", "empty"}},
	    {BASE, {"a b", "blank"}},
	    {BASE, {"a:b", "colon"}},
	    {BASE, {"a\r\nb", "lines"}},
	    {BASE, {"a\xff", "beyond"}},
	    {BASE, {"x", " before"}},
	    {BASE, {"x", "behind\t"}},
	    {BASE, {"x", "a\nb"}},
	    {BASE, {"x", "a\rb"}},
	    {BASE, {"x", "a\x01"}},
	    {BASE, {"connection", "close"}},
	    {BASE, {"keep-alive", "5"}},
	    {BASE, {"proxy-connection", "x"}},
	    {BASE, {"transfer-encoding", "chunked"}},
	    {BASE, {"upgrade", "h2c"}},
	    {BASE, {"te", "gzip"}},
	    {BASE, {"te", "trailers, gzip"}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_refused(H2_REQUEST, rows[i]);
}

static void
test_h2_text__NUL_in_a_value_is_refused(void **state)
{
	struct h2_text text = {0};

	(void)state;
	h2_text_begin(&text, &pool, H2_REQUEST, LIMIT);
	give(&text, (struct pair[PAIRS_MAX]){BASE});
	assert_false(h2_text_field(&text, SPAN("x"), (struct span){"a\0b", 3}));
	assert_int_equal(text.verdict, H2_MALFORMED);
	h2_text_release(&text);
}

static void
test_h2_text__websocket_by_CONNECT_is_read_as_its_upgrade(void **state)
{
	struct h2_text text = {0};
	struct span got;
	const char *expected =
	    "GET /chat HTTP/1.1\r\nhost: a\r\nsec-websocket-version: 13\r\n"
	    "connection: upgrade\r\nupgrade: websocket\r\n"
	    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

	(void)state;
	h2_text_begin(&text, &pool, H2_REQUEST, LIMIT);
	give(&text, (struct pair[PAIRS_MAX]){{":method", "CONNECT"},
	                {":protocol", "websocket"}, {":scheme", "https"},
	                {":authority", "a"}, {":path", "/chat"},
	                {"sec-websocket-version", "13"}});
	text.key = "dGhlIHNhbXBsZSBub25jZQ==";
	got = h2_text_end(&text);
	assert_int_equal(got.len, strlen(expected));
	assert_memory_equal(got.ptr, expected, got.len);
	h2_text_release(&text);
}

static void
test_h2_text__answer_to_a_switch_is_read_as_101_only_if_it_agrees(void **state)
{
	static const struct {
		const char *status, *line;
		bool is_switch;
	} rows[] = {{"200", "HTTP/1.1 101 ", true},
	    {"403", "HTTP/1.1 403 ", false}, {"302", "HTTP/1.1 302 ", false}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct h2_text text = {0};
		struct span got;

		h2_text_begin(&text, &pool, H2_RESPONSE, LIMIT);
		text.is_switch = true;
		text.accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
		h2_text_field(&text, SPAN(":status"), span_of(rows[i].status));
		got = h2_text_end(&text);
		assert_memory_equal(
		    got.ptr, rows[i].line, strlen(rows[i].line));
		assert_int_equal(memmem(got.ptr, got.len,
		                     "sec-websocket-accept: s3pP", 26) != NULL,
		    rows[i].is_switch);
		h2_text_release(&text);
	}
}

static void
test_h2_text__responses_and_trailers(void **state)
{
	static const struct pair bad[][PAIRS_MAX] = {
	    {{"x", "y"}},
	    {{":status", "101"}},
	    {{":status", "20"}},
	    {{":status", "2000"}},
	    {{":status", "200"}, {":status", "200"}},
	    {{":status", "200"}, {":path", "/"}},
	    {{":method", "GET"}},
	    {{":status", "200"}, {"transfer-encoding", "chunked"}},
	};

	(void)state;
	is_read_as(H2_RESPONSE,
	    (struct pair[PAIRS_MAX]){{":status", "404"}, {"a", "b"}},
	    "HTTP/1.1 404 \r\na: b\r\n\r\n");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_refused(H2_RESPONSE, bad[i]);
	is_read_as(H2_TRAILERS,
	    (struct pair[PAIRS_MAX]){{"grpc-status", "0"}, {"x", "y"}},
	    "0\r\ngrpc-status: 0\r\nx: y\r\n\r\n");
	is_refused(H2_TRAILERS, (struct pair[PAIRS_MAX]){{":status", "200"}});
	is_refused(H2_TRAILERS, (struct pair[PAIRS_MAX]){{"X", "y"}});
}

/* ---- limits ---- */

static enum h2_verdict
after(size_t fields, size_t value_len)
{
	static char value[20000];
	struct h2_text text = {0};
	enum h2_verdict verdict;

	memset(value, 'v', sizeof(value));
	h2_text_begin(&text, &pool, H2_REQUEST, LIMIT);
	give(&text, (struct pair[PAIRS_MAX]){BASE});
	for (size_t i = 0; i < fields; i++)
		if (!h2_text_field(
		        &text, SPAN("x"), (struct span){value, value_len}) &&
		    text.verdict == H2_FLOOD)
			break;
	assert_int_equal(
	    h2_text_end(&text).ptr != NULL, text.verdict == H2_FINE);
	verdict = (enum h2_verdict)text.verdict;
	h2_text_release(&text);
	return verdict;
}

static void
test_h2_text__what_is_too_large_is_told_and_a_flood_is_known(void **state)
{
	(void)state;
	assert_int_equal(after(1, 7000), H2_FINE);
	assert_int_equal(after(1, LIMIT), H2_TOO_LARGE);
	assert_int_equal(after(5, LIMIT), H2_FLOOD);
	assert_int_equal(after(H1_FIELDS_MAX - 4, 1), H2_FINE);
	assert_int_equal(after(H1_FIELDS_MAX - 3, 1), H2_TOO_LARGE);
	assert_int_equal(after(4 * H1_FIELDS_MAX, 1), H2_FLOOD);
}

static void
test_h2_text__crumbs_count_like_fields(void **state)
{
	struct h2_text text = {0};
	unsigned taken = 0;

	(void)state;
	h2_text_begin(&text, &pool, H2_REQUEST, LIMIT);
	give(&text, (struct pair[PAIRS_MAX]){BASE});
	while (h2_text_field(&text, SPAN("cookie"), SPAN("")))
		taken++;
	assert_int_equal(taken, H1_FIELDS_MAX - 4);
	assert_int_equal(text.verdict, H2_TOO_LARGE);
	h2_text_release(&text);
}

static void
test_h2_text__without_memory_nothing_is_read_and_nothing_leaks(void **state)
{
	static char value[7000];

	(void)state;
	memset(value, 'v', sizeof(value));
	for (size_t limit = 0; limit < 40000; limit += 2048) {
		struct h2_text text = {0};

		pool.limit = limit;
		h2_text_begin(&text, &pool, H2_REQUEST, LIMIT);
		if (text.verdict == H2_FINE) {
			give(&text,
			    (struct pair[PAIRS_MAX]){BASE, {"cookie", "a"}});
			h2_text_field(&text, SPAN("x"),
			    (struct span){value, sizeof(value)});
		}
		assert_int_equal(
		    h2_text_end(&text).ptr != NULL, text.verdict == H2_FINE);
		assert_true(
		    text.verdict == H2_FINE || text.verdict == H2_NO_MEMORY);
		h2_text_release(&text);
		assert_int_equal(pool.used, 0);
	}
}

/* ---- text to blocks ---- */

static void
is_written_as(const char *text, enum h2_block block, bool is_secure,
    const struct pair *expected)
{
	char copy[512];
	nghttp2_nv nv[H2_NV_MAX];
	size_t n, wanted = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	n = h2_nv_of(copy, strlen(copy), block, is_secure, nv, H2_NV_MAX);
	while (expected[wanted].name)
		wanted++;
	assert_int_equal(n, wanted);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(nv[i].namelen, strlen(expected[i].name));
		/* nghttp2 puts the names that it copies into lower case */
		if (nv[i].flags & NGHTTP2_NV_FLAG_NO_COPY_NAME)
			assert_memory_equal(
			    nv[i].name, expected[i].name, nv[i].namelen);
		else
			assert_int_equal(strncasecmp((const char *)nv[i].name,
			                     expected[i].name, nv[i].namelen),
			    0);
		assert_int_equal(nv[i].valuelen, strlen(expected[i].value));
		assert_memory_equal(
		    nv[i].value, expected[i].value, nv[i].valuelen);
	}
}

static void
test_h2_text__head_becomes_a_block(void **state)
{
	(void)state;
	is_written_as(
	    "GET /p HTTP/1.1\r\nhost: a\r\nX-Upper:  v \r\nTE: gzip\r\n"
	    "Connection: close\r\nKeep-Alive: 1\r\nUpgrade: x\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n",
	    H2_REQUEST, false,
	    (struct pair[PAIRS_MAX]){{":method", "GET"}, {":scheme", "http"},
	        {":authority", "a"}, {":path", "/p"}, {"x-upper", "v"}});
	is_written_as("PUT / HTTP/1.1\r\nhost: \r\nte: trailers\r\n\r\n",
	    H2_REQUEST, true,
	    (struct pair[PAIRS_MAX]){{":method", "PUT"}, {":scheme", "https"},
	        {":path", "/"}, {"te", "trailers"}});
	is_written_as("GET /c HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n"
	              "upgrade: websocket\r\nsec-websocket-key: k\r\n\r\n",
	    H2_CONNECT, true,
	    (struct pair[PAIRS_MAX]){{":method", "CONNECT"},
	        {":protocol", "websocket"}, {":scheme", "https"},
	        {":authority", "a"}, {":path", "/c"}});
	is_written_as("HTTP/1.1 404 Not Found\r\nSet-Cookie: a\r\n"
	              "set-cookie: b\r\nempty:\r\n\r\n",
	    H2_RESPONSE, false,
	    (struct pair[PAIRS_MAX]){{":status", "404"}, {"set-cookie", "a"},
	        {"set-cookie", "b"}, {"empty", ""}});
	is_written_as(
	    "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\n"
	    "sec-websocket-accept: x\r\nsec-websocket-protocol: chat\r\n\r\n",
	    H2_SWITCHED, false,
	    (struct pair[PAIRS_MAX]){
	        {":status", "200"}, {"sec-websocket-protocol", "chat"}});
	is_written_as("grpc-status: 0\r\nX: y\r\n", H2_TRAILERS, false,
	    (struct pair[PAIRS_MAX]){{"grpc-status", "0"}, {"x", "y"}});
}

static void
test_h2_text__more_fields_than_there_is_room_for_are_none(void **state)
{
	char text[] = "HTTP/1.1 200 OK\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n";
	nghttp2_nv nv[4];

	(void)state;
	assert_int_equal(
	    h2_nv_of(text, sizeof(text) - 1, H2_RESPONSE, false, nv, 4), 4);
	assert_int_equal(
	    h2_nv_of(text, sizeof(text) - 1, H2_RESPONSE, false, nv, 3), 0);
}

static void
test_h2_text__a_round_changes_nothing(void **state)
{
	static const struct pair pairs[PAIRS_MAX] = {{":method", "PATCH"},
	    {":scheme", "https"}, {":authority", "a:1"}, {":path", "/x?y=z"},
	    {"accept", "*/*"}, {"x-long", "v v  v"}, {"content-length", "5"}};
	struct h2_text text = {0};
	struct span got;
	nghttp2_nv nv[H2_NV_MAX];
	size_t n;

	(void)state;
	h2_text_begin(&text, &pool, H2_REQUEST, LIMIT);
	give(&text, pairs);
	got = h2_text_end(&text);
	n = h2_nv_of((char *)(uintptr_t)got.ptr, got.len, H2_REQUEST, true, nv,
	    H2_NV_MAX);
	assert_int_equal(n, 7);
	for (size_t i = 0; i < n; i++) {
		assert_memory_equal(
		    nv[i].name, pairs[i].name, strlen(pairs[i].name));
		assert_int_equal(nv[i].valuelen, strlen(pairs[i].value));
		assert_memory_equal(
		    nv[i].value, pairs[i].value, nv[i].valuelen);
	}
	h2_text_release(&text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_h2_text__request_becomes_a_canonical_head),
	    TEST(test_h2_text__cookie_crumbs_are_one_cookie),
	    TEST(test_h2_text__host_may_repeat_the_authority_and_nothing_else),
	    TEST(test_h2_text__request_that_is_malformed_is_refused),
	    TEST(test_h2_text__NUL_in_a_value_is_refused),
	    TEST(test_h2_text__websocket_by_CONNECT_is_read_as_its_upgrade),
	    TEST(
	        test_h2_text__answer_to_a_switch_is_read_as_101_only_if_it_agrees),
	    TEST(test_h2_text__responses_and_trailers),
	    TEST(test_h2_text__what_is_too_large_is_told_and_a_flood_is_known),
	    TEST(test_h2_text__crumbs_count_like_fields),
	    TEST(
	        test_h2_text__without_memory_nothing_is_read_and_nothing_leaks),
	    TEST(test_h2_text__head_becomes_a_block),
	    TEST(test_h2_text__more_fields_than_there_is_room_for_are_none),
	    TEST(test_h2_text__a_round_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
