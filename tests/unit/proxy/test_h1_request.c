/*
 * What the head of an accepted request says, and where its limits are.
 */
#include "h1_ways.h"

#define A_HOST "Host: a.example\r\n"

static const struct way request = {.max = 65536};

static enum h1_result
parse(const char *text, struct h1_head *head)
{
	return parse_all_ways(&request, text, strlen(text), head);
}

static void
assert_span(struct span span, const char *text)
{
	assert_int_equal(span.len, strlen(text));
	assert_memory_equal(span.ptr, text, span.len);
}

static void
test_request__a_browsers_head_comes_out_in_its_parts(void **state)
{
	struct h1_head head;
	const char *text =
	    "GET /a/b?c=d&e=/../%2f HTTP/1.1\r\n"
	    "hoST:  Shop.Example.com:8080\t\r\n"
	    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101\r\n"
	    "x-empty:\r\n"
	    "X-Latin:\xe9\xff\r\n"
	    "Connection: keep-alive\r\n"
	    "\r\nGET /next HTTP/1.1\n\n\r\n\r\n";

	(void)state;
	assert_int_equal(parse(text, &head), H1_DONE);
	assert_int_equal(head.method, METHOD_GET);
	assert_span(head.method_text, "GET");
	assert_span(head.target, "/a/b?c=d&e=/../%2f");
	assert_span(head.path, "/a/b");
	assert_span(head.query, "c=d&e=/../%2f");
	assert_true(head.path_is_plain);
	assert_span(head.host, "Shop.Example.com:8080");
	assert_span(head.hostname, "Shop.Example.com");
	assert_int_equal(head.minor, 1);
	assert_int_equal(head.framing, H1_NO_BODY);
	assert_false(head.has_length);
	assert_true(head.keep_alive);
	assert_int_equal(head.n_fields, 5);
	assert_span(h1_value(&head, 0), "Shop.Example.com:8080");
	assert_span(h1_value(&head, 2), "");
	assert_span(h1_value(&head, 3), "\xe9\xff");
	assert_int_equal(head.first[FIELD_USER_AGENT], 2);
	assert_int_equal(head.count[FIELD_USER_AGENT], 1);
	assert_int_equal(head.first[FIELD_COOKIE], 0);
	assert_true(head.fields[4].is_hop);
	assert_false(head.fields[1].is_hop);
	assert_span((struct span){text + head.len, 9}, "GET /next");
	for (unsigned i = 1; i < head.n_fields; i++)
		assert_int_equal(
		    head.fields[i].name, head.fields[i - 1].line_end);
	assert_int_equal(head.fields[4].line_end + 2, head.len);
}

static void
test_request__bodies_are_framed_by_length_or_chunks(void **state)
{
	struct h1_head head;

	(void)state;
	assert_int_equal(
	    parse("POST / HTTP/1.1\r\n" A_HOST "Content-Length: 17\r\n\r\n",
	        &head),
	    H1_DONE);
	assert_int_equal(head.framing, H1_LENGTH);
	assert_int_equal(head.length, 17);
	assert_int_equal(
	    parse("GET / HTTP/1.1\r\n" A_HOST "Content-Length: 0017\r\n\r\n",
	        &head),
	    H1_DONE);
	assert_int_equal(head.length, 17);
	assert_int_equal(
	    parse("PUT / HTTP/1.0\r\nContent-Length:\t999999999999999999 "
	          "\r\n\r\n",
	        &head),
	    H1_DONE);
	assert_true(head.length == UINT64_C(999999999999999999));
	assert_int_equal(
	    parse("POST / HTTP/1.1\r\n" A_HOST "Content-Length: 0\r\n\r\n",
	        &head),
	    H1_DONE);
	assert_int_equal(head.framing, H1_NO_BODY);
	assert_true(head.has_length);
	assert_int_equal(parse("DELETE / HTTP/1.1\r\n" A_HOST
	                       "TRANSFER-encoding: Chunked \r\n\r\n",
	                     &head),
	    H1_DONE);
	assert_int_equal(head.framing, H1_CHUNKED);
	assert_false(head.has_length);
}

static void
test_request__methods_are_known_by_their_exact_case(void **state)
{
	static const struct {
		const char *text;
		enum http_method method;
	} rows[] = {{"GET", METHOD_GET}, {"HEAD", METHOD_HEAD},
	    {"POST", METHOD_POST}, {"PUT", METHOD_PUT},
	    {"DELETE", METHOD_DELETE}, {"OPTIONS", METHOD_OPTIONS},
	    {"TRACE", METHOD_TRACE}, {"PATCH", METHOD_PATCH},
	    {"get", METHOD_OTHER}, {"PROPFIND", METHOD_OTHER},
	    {"M-SEARCH", METHOD_OTHER}, {"connect", METHOD_OTHER},
	    {"GETS", METHOD_OTHER},
	    {"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF", METHOD_OTHER}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[128];
		struct h1_head head;

		snprintf(text, sizeof(text), "%s / HTTP/1.1\r\n" A_HOST "\r\n",
		    rows[i].text);
		assert_int_equal(parse(text, &head), H1_DONE);
		assert_int_equal(head.method, rows[i].method);
		assert_span(head.method_text, rows[i].text);
	}
}

static void
test_request__absolute_form_gives_host_and_path(void **state)
{
	struct h1_head head;

	(void)state;
	assert_int_equal(parse("GET HTTP://A.example:81/x//y?z "
	                       "HTTP/1.1\r\nHost: a.EXAMPLE:81\r\n\r\n",
	                     &head),
	    H1_DONE);
	assert_span(head.host, "A.example:81");
	assert_span(head.hostname, "A.example");
	assert_span(head.path, "/x//y");
	assert_span(head.query, "z");
	assert_false(head.path_is_plain);
	assert_int_equal(
	    parse("GET https://a.example HTTP/1.1\r\n" A_HOST "\r\n", &head),
	    H1_DONE);
	assert_span(head.path, "/");
	assert_null(head.query.ptr);
	assert_true(head.path_is_plain);
	assert_int_equal(
	    parse("OPTIONS http://a.example HTTP/1.1\r\n" A_HOST "\r\n", &head),
	    H1_DONE);
	assert_span(head.path, "*");
	assert_int_equal(
	    parse(
	        "OPTIONS http://a.example?q HTTP/1.1\r\n" A_HOST "\r\n", &head),
	    H1_DONE);
	assert_span(head.path, "/");
	assert_span(head.query, "q");
	assert_int_equal(
	    parse("GET http://[::1]:8080/ HTTP/1.0\r\n\r\n", &head), H1_DONE);
	assert_span(head.hostname, "[::1]");
}

static void
test_request__asterisk_is_for_options(void **state)
{
	struct h1_head head;

	(void)state;
	assert_int_equal(
	    parse("OPTIONS * HTTP/1.1\r\n" A_HOST "\r\n", &head), H1_DONE);
	assert_span(head.path, "*");
	assert_null(head.query.ptr);
	assert_true(head.path_is_plain);
}

static void
test_request__old_clients_may_do_without_host(void **state)
{
	struct h1_head head;

	(void)state;
	assert_int_equal(parse("GET /? HTTP/1.0\r\n\r\n", &head), H1_DONE);
	assert_span(head.host, "");
	assert_non_null(head.host.ptr);
	assert_non_null(head.query.ptr);
	assert_int_equal(head.query.len, 0);
	assert_false(head.keep_alive);
	assert_int_equal(head.n_fields, 0);
}

static void
test_request__one_empty_line_before_it_is_skipped(void **state)
{
	struct h1_head head;
	const char *text = "\r\nGET / HTTP/1.1\r\n" A_HOST "\r\n";

	(void)state;
	assert_int_equal(parse(text, &head), H1_DONE);
	assert_int_equal(head.len, strlen(text));
	assert_span(head.method_text, "GET");
}

static void
test_request__connection_decides_whether_it_stays(void **state)
{
	static const struct {
		const char *text;
		bool stays;
	} rows[] = {
	    {"1.1\r\n" A_HOST, true},
	    {"1.1\r\n" A_HOST "Connection: close\r\n", false},
	    {"1.1\r\n" A_HOST "Connection: x, CLOSE ,y\r\n", false},
	    {"1.1\r\n" A_HOST "Connection: keep-alive\r\nConnection: close\r\n",
	        false},
	    {"1.1\r\n" A_HOST "Connection: closed\r\n", true},
	    {"1.0\r\n", false},
	    {"1.0\r\nConnection: Keep-Alive\r\n", true},
	    {"1.0\r\nConnection: x\r\nA: b\r\nConnection: ,keep-alive\r\n",
	        true},
	    {"1.0\r\nConnection: keep-alive, close\r\n", false},
	    {"1.0\r\nKeep-Alive: 300\r\n", false},
	    {"1.0\r\nProxy-Connection: keep-alive\r\n", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[256];
		struct h1_head head;

		snprintf(text, sizeof(text), "GET / HTTP/%s\r\n", rows[i].text);
		assert_int_equal(parse(text, &head), H1_DONE);
		assert_int_equal(head.keep_alive, rows[i].stays);
	}
}

static void
test_request__connection_strips_what_it_names_but_nothing_vital(void **state)
{
	struct h1_head head;

	(void)state;
	assert_int_equal(
	    parse("GET / HTTP/1.1\r\n" A_HOST
	          "X-Mine: 1\r\nAuthorization: a\r\nCookie: b\r\n"
	          "X-Forwarded-For: c\r\nX-Forwarded-Foo: d\r\nForwarded: "
	          "e\r\nX-Request-Id: f\r\n"
	          "Traceparent: g\r\nX-Real-IP: h\r\nX-MINE: "
	          "2\r\nContent-Length: 0\r\nTe: trailers\r\n"
	          "Connection: x-mine, host, authorization, cookie, "
	          "x-forwarded-for, x-forwarded-foo\r\n"
	          "Connection: forwarded, x-request-id, traceparent, "
	          "content-length, x-real-ip, te\r\n\r\n",
	        &head),
	    H1_DONE);
	for (unsigned i = 0; i < head.n_fields; i++) {
		bool is_hop = i == 1 || i == 10 || i >= 12;

		assert_int_equal(head.fields[i].is_hop, is_hop);
	}
	assert_true(head.te_trailers);
}

static void
test_request__aliases_of_identity_are_hop_and_not_counted(void **state)
{
	struct h1_head head;

	(void)state;
	assert_int_equal(
	    parse("GET / HTTP/1.1\r\n" A_HOST
	          "X_Forwarded_For: 1\r\nx-forwarded_for: 2\r\n"
	          "X-FORWARDED-FOR: 3\r\nUser_Agent: x\r\nX_Real_IP: 4\r\n\r\n",
	        &head),
	    H1_DONE);
	assert_int_equal(head.fields[1].id, FIELD_X_FORWARDED_FOR);
	assert_true(head.fields[1].is_hop);
	assert_int_equal(head.fields[2].id, FIELD_X_FORWARDED_FOR);
	assert_true(head.fields[2].is_hop);
	assert_false(head.fields[3].is_hop);
	assert_int_equal(head.first[FIELD_X_FORWARDED_FOR], 4);
	assert_int_equal(head.count[FIELD_X_FORWARDED_FOR], 1);
	assert_int_equal(head.fields[4].id, FIELD_NONE);
	assert_int_equal(head.fields[5].id, FIELD_X_REAL_IP);
	assert_int_equal(head.count[FIELD_X_REAL_IP], 0);
}

static void
test_request__upgrade_needs_get_and_both_fields_and_no_body(void **state)
{
	static const struct {
		const char *text;
		bool wants, is_websocket;
	} rows[] = {
#define WS      "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define SIXTEEN "0123456789abcdef"
	    {"GET / HTTP/1.1\r\n" A_HOST WS KEY, true, true},
	    {"GET / HTTP/1.1\r\n" A_HOST
	     "Upgrade: h2c, WebSocket\r\nConnection: keep-alive, "
	     "upgrade\r\n" KEY,
	        true, true},
	    {"GET / HTTP/1.1\r\n" A_HOST WS, true, false},
	    {"GET / HTTP/1.1\r\n" A_HOST WS KEY KEY, true, false},
	    {"GET / HTTP/1.1\r\n" A_HOST WS "Sec-WebSocket-Key:\r\n", true,
	        false},
	    {"GET / HTTP/1.1\r\n" A_HOST WS
	     "Sec-WebSocket-Key: " SIXTEEN SIXTEEN SIXTEEN SIXTEEN "\r\n",
	        true, true},
	    {"GET / HTTP/1.1\r\n" A_HOST WS
	     "Sec-WebSocket-Key: " SIXTEEN SIXTEEN SIXTEEN SIXTEEN "a\r\n",
	        true, false},
	    {"GET / HTTP/1.1\r\n" A_HOST
	     "Upgrade: tcp\r\nConnection: Upgrade\r\n" KEY,
	        true, false},
	    {"GET / HTTP/1.1\r\n" A_HOST WS KEY "Content-Length: 0\r\n", true,
	        true},
	    {"GET / HTTP/1.1\r\n" A_HOST WS KEY "Content-Length: 1\r\n", false,
	        false},
	    {"GET / HTTP/1.1\r\n" A_HOST WS KEY
	     "Transfer-Encoding: chunked\r\n",
	        false, false},
	    {"POST / HTTP/1.1\r\n" A_HOST WS KEY, false, false},
	    {"GET / HTTP/1.0\r\n" A_HOST WS KEY, false, false},
	    {"GET / HTTP/1.1\r\n" A_HOST "Upgrade: websocket\r\n" KEY, false,
	        false},
	    {"GET / HTTP/1.1\r\n" A_HOST "Connection: upgrade\r\n" KEY, false,
	        false},
	    {"GET / HTTP/1.1\r\n" A_HOST
	     "Upgrade:\r\nConnection: upgrade\r\n" KEY,
	        false, false},
	    {"GET / HTTP/1.1\r\n" A_HOST
	     "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
	     "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
	        false, false},
	    {"GET / HTTP/1.1\r\n" A_HOST
	     "Upgrade: h2c,H2C\r\nConnection: Upgrade\r\n",
	        false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[512];
		struct h1_head head;

		snprintf(text, sizeof(text), "%s\r\n", rows[i].text);
		assert_int_equal(parse(text, &head), H1_DONE);
		assert_int_equal(head.wants_upgrade, rows[i].wants);
		assert_int_equal(head.is_websocket, rows[i].is_websocket);
		for (unsigned f = 0; f < head.n_fields; f++)
			if (head.fields[f].id == FIELD_UPGRADE ||
			    head.fields[f].id == FIELD_HTTP2_SETTINGS)
				assert_true(head.fields[f].is_hop);
	}
}

static void
test_request__continue_is_expected_only_with_a_body(void **state)
{
	struct h1_head head;

	(void)state;
	assert_int_equal(
	    parse("POST / HTTP/1.1\r\n" A_HOST
	          "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
	        &head),
	    H1_DONE);
	assert_true(head.expects_continue);
	assert_int_equal(
	    parse("POST / HTTP/1.1\r\n" A_HOST "Expect: 100-continue\r\n\r\n",
	        &head),
	    H1_DONE);
	assert_false(head.expects_continue);
	assert_int_equal(parse("POST / HTTP/1.0\r\nExpect: "
	                       "100-continue\r\nContent-Length: 1\r\n\r\n",
	                     &head),
	    H1_DONE);
	assert_false(head.expects_continue);
}

static void
test_request__a_plain_path_is_one_that_normalising_leaves_alone(void **state)
{
	static const char *const paths[] = {"/", "/a", "/a/", "/.well-known/x",
	    "/a.b/c..d", "/a/...", "/a/.b", "//", "/a//b", "/.", "/..", "/./a",
	    "/a/../b", "/a/.", "/a/..", "/%41", "/%C3%A9", "/%c3%A9", "/%2F",
	    "/%5C", "/%00", "/%", "/%4", "/%zz", "/a\\b", "/..;x", "/a/..;x/b",
	    "/a;x/..b", "/%2e", "/%3F", "/%3f", "/%25", "/%7E",
	    "/0123456789012345678901234567890/",
	    "/012345678901234567890123456789/./",
	    "/0123456789012345678901234567890//",
	    "/0123456789012345678901234567890/.",
	    "/0123456789012345678901234567890123456789/%41"};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		char text[256], out[256];
		struct h1_head head;
		size_t len;
		bool is_same;

		snprintf(text, sizeof(text),
		    "GET %s?/../%%41 HTTP/1.1\r\n" A_HOST "\r\n", paths[i]);
		assert_int_equal(parse(text, &head), H1_DONE);
		assert_span(head.path, paths[i]);
		is_same = h1_normalise(head.path, out, &len) &&
		          span_eq(head.path, (struct span){out, len}) &&
		          strstr(paths[i], "//") == NULL;
		assert_int_equal(head.path_is_plain, is_same);
	}
}

/* "GET /xxx... HTTP/1.1", a head of exactly `len` bytes. */
static char *
long_target(size_t len)
{
	static const char end[] = " HTTP/1.1\r\n" A_HOST "\r\n";
	char *text = malloc(len);

	assert_non_null(text);
	memset(text, 'x', len);
	memcpy(text, "GET /", 5);
	memcpy(text + len - (sizeof(end) - 1), end, sizeof(end) - 1);
	return text;
}

static enum h1_result
parse_by(const struct h1_engine *engine, const char *bytes, size_t len,
    size_t max, struct h1_head *head)
{
	uint32_t scanned = 0;

	return h1_parse_request_by(engine, bytes, len, max, &scanned, head);
}

static void
test_request__a_head_may_be_as_long_as_max_and_no_longer(void **state)
{
	enum { LEN = 9000 };
	char *text = long_target(LEN);
	struct h1_head head;

	(void)state;
	for (size_t e = 0; e < N_ENGINES; e++) {
		if (!engine_runs(engines[e]))
			continue;
		assert_int_equal(
		    parse_by(engines[e], text, LEN, LEN, &head), H1_DONE);
		assert_true(head.target.len > 8000);
		assert_int_equal(
		    parse_by(engines[e], text, LEN, LEN - 1, &head), H1_BAD);
		assert_int_equal(head.fault, H1_FAULT_HEAD_LONG);
		assert_int_equal(
		    parse_by(engines[e], text, LEN, LEN - 40, &head), H1_BAD);
		assert_int_equal(head.fault, H1_FAULT_TARGET_LONG);
		assert_int_equal(
		    parse_by(engines[e], text, LEN - 1, LEN, &head), H1_MORE);
	}
	free(text);
}

/* A head of `n` fields beside Host. */
static size_t
many_fields(char *text, size_t cap, unsigned n, const char *field)
{
	size_t len = (size_t)snprintf(text, cap, "GET / HTTP/1.1\r\n" A_HOST);

	for (unsigned i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, cap - len, "%s", field);
	return len + (size_t)snprintf(text + len, cap - len, "\r\n");
}

static void
test_request__a_hundred_fields_and_no_more(void **state)
{
	static char text[65536];
	struct h1_head head;

	(void)state;
	for (size_t e = 0; e < N_ENGINES; e++) {
		if (!engine_runs(engines[e]))
			continue;
		assert_int_equal(
		    parse_by(engines[e], text,
		        many_fields(text, sizeof(text), 99, "a:b\r\n"),
		        sizeof(text), &head),
		    H1_DONE);
		assert_int_equal(head.n_fields, H1_FIELDS_MAX);
		for (unsigned n = 100; n < 5000; n += 700) {
			assert_int_equal(
			    parse_by(engines[e], text,
			        many_fields(text, sizeof(text), n, "a:b\r\n"),
			        sizeof(text), &head),
			    H1_BAD);
			assert_int_equal(head.fault, H1_FAULT_FIELDS);
		}
	}
}

static void
test_request__names_of_256_bytes_and_no_more(void **state)
{
	char text[512], name[300];
	struct h1_head head;

	(void)state;
	memset(name, 'n', sizeof(name));
	snprintf(text, sizeof(text),
	    "GET / HTTP/1.1\r\n" A_HOST "%.*s: x\r\n\r\n", H1_NAME_MAX, name);
	assert_int_equal(parse(text, &head), H1_DONE);
	assert_int_equal(head.fields[1].name_len, H1_NAME_MAX);
	snprintf(text, sizeof(text),
	    "GET / HTTP/1.1\r\n" A_HOST "%.*s: x\r\n\r\n", H1_NAME_MAX + 1,
	    name);
	assert_int_equal(parse(text, &head), H1_BAD);
	assert_int_equal(head.fault, H1_FAULT_NAME_LONG);
}

static void
test_request__connection_may_not_name_without_end(void **state)
{
	static char text[65536];
	struct h1_head head;
	uint32_t scanned = 0;
	size_t len;

	(void)state;
	len = many_fields(text, sizeof(text), 64, "Connection: a\r\n");
	assert_int_equal(
	    h1_parse_request(text, len, sizeof(text), &scanned, &head),
	    H1_DONE);
	scanned = 0;
	len = many_fields(text, sizeof(text), 13, "Connection: a,b,c,d,e\r\n");
	assert_int_equal(
	    h1_parse_request(text, len, sizeof(text), &scanned, &head), H1_BAD);
	assert_int_equal(head.fault, H1_FAULT_CONNECTION);
}

/*
 * Structure instead of a stop-watch: a call may look only at bytes behind
 * `scanned`, so whatever stands before it may change without being noticed.
 */
static void
test_request__a_trickling_head_is_not_scanned_twice(void **state)
{
	enum { LEN = 65536 };
	char *text = long_target(LEN);

	(void)state;
	for (size_t e = 0; e < N_ENGINES; e++) {
		uint32_t scanned = 0;
		struct h1_head head;

		if (!engine_runs(engines[e]))
			continue;
		for (size_t there = 1; there < LEN - 40; there++) {
			assert_int_equal(h1_parse_request_by(engines[e], text,
			                     there, LEN, &scanned, &head),
			    H1_MORE);
			assert_int_equal(scanned, there);
			text[there - 1] = '\0';
			if (there < 100)
				continue;
			text[there - 100] = '\n';
		}
		free(text);
		text = long_target(LEN);
	}
	free(text);
}

/* A reload may lower the limit of a head that has begun. */
static void
test_request__a_limit_that_shrinks_within_a_head_holds(void **state)
{
	static const char text[] =
	    "GET / HTTP/1.1\r\n" A_HOST "X: a value of some length";
	struct h1_head head;

	(void)state;
	for (size_t e = 0; e < N_ENGINES; e++) {
		uint32_t scanned = 0;

		if (!engine_runs(engines[e]))
			continue;
		assert_int_equal(h1_parse_request_by(engines[e], text,
		                     sizeof(text) - 1, 1024, &scanned, &head),
		    H1_MORE);
		assert_int_equal(h1_parse_request_by(engines[e], text,
		                     sizeof(text) - 1, 40, &scanned, &head),
		    H1_BAD);
		assert_int_equal(head.fault, H1_FAULT_HEAD_LONG);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_request__a_browsers_head_comes_out_in_its_parts),
	    cmocka_unit_test(
	        test_request__bodies_are_framed_by_length_or_chunks),
	    cmocka_unit_test(
	        test_request__methods_are_known_by_their_exact_case),
	    cmocka_unit_test(test_request__absolute_form_gives_host_and_path),
	    cmocka_unit_test(test_request__asterisk_is_for_options),
	    cmocka_unit_test(test_request__old_clients_may_do_without_host),
	    cmocka_unit_test(test_request__one_empty_line_before_it_is_skipped),
	    cmocka_unit_test(test_request__connection_decides_whether_it_stays),
	    cmocka_unit_test(
	        test_request__connection_strips_what_it_names_but_nothing_vital),
	    cmocka_unit_test(
	        test_request__aliases_of_identity_are_hop_and_not_counted),
	    cmocka_unit_test(
	        test_request__upgrade_needs_get_and_both_fields_and_no_body),
	    cmocka_unit_test(
	        test_request__continue_is_expected_only_with_a_body),
	    cmocka_unit_test(
	        test_request__a_plain_path_is_one_that_normalising_leaves_alone),
	    cmocka_unit_test(
	        test_request__a_head_may_be_as_long_as_max_and_no_longer),
	    cmocka_unit_test(test_request__a_hundred_fields_and_no_more),
	    cmocka_unit_test(test_request__names_of_256_bytes_and_no_more),
	    cmocka_unit_test(test_request__connection_may_not_name_without_end),
	    cmocka_unit_test(
	        test_request__a_trickling_head_is_not_scanned_twice),
	    cmocka_unit_test(
	        test_request__a_limit_that_shrinks_within_a_head_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
