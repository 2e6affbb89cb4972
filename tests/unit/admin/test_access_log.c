/*
 * Access log lines from hostile bytes: always one line, always JSON, never
 * above 8 KiB.
 */
#include "check.h"

#include <jansson.h>
#include <stdlib.h>

#include "admin/admin.h"

enum { CAP = 8192 };

static struct access_record
plain(void)
{
	return (struct access_record){
	    .wall_ns = 1760000000123456789,
	    .method = METHOD_GET,
	    .path = SPAN("/api/cart"),
	    .query = SPAN("id=1&x=\"y\""),
	    .host = SPAN("shop.example.com"),
	    .user_agent = SPAN("curl/8"),
	    .request_id = SPAN("abc-1"),
	    .client = SPAN("192.0.2.1"),
	    .peer = SPAN("10.0.0.1"),
	    .upstream = SPAN("10.1.0.1:8080"),
	    .listener = SPAN("http"),
	    .route = SPAN("shop"),
	    .split = SPAN("shop"),
	    .pool = SPAN("blue"),
	    .status = 200,
	    .http_minor = 1,
	    .decision = "weight",
	    .queue_us = -1,
	    .connect_us = 250,
	    .first_byte_us = 1500,
	    .total_us = 2007,
	    .bytes_out = 42,
	    .attempts = 1,
	};
}

/* The line's object; fails unless it is one line of JSON within the bound. */
static json_t *
format(const struct access_record *record, const struct strings *redact)
{
	char buf[CAP];
	size_t len = access_format(record, redact, buf, sizeof(buf));
	json_error_t error;
	json_t *json;

	assert_in_range(len, 2, CAP - 1);
	assert_int_equal(buf[len - 1], '\n');
	assert_null(memchr(buf, '\n', len - 1));
	json = json_loadb(buf, len - 1, JSON_REJECT_DUPLICATES, &error);
	if (!json)
		fail_msg("%s at %d: %.*s", error.text, error.position, (int)len,
		    buf);
	return json;
}

static const char *
text(const json_t *json, const char *key)
{
	return json_string_value(json_object_get(json, key));
}

static void
test_access_log__has_the_keys_of_the_contract(void **state)
{
	struct access_record record = plain();
	json_t *json = format(&record, NULL);

	(void)state;
	assert_string_equal(text(json, "time"), "2025-10-09T08:53:20.123456Z");
	assert_string_equal(text(json, "http.request.method"), "GET");
	assert_string_equal(text(json, "url.path"), "/api/cart");
	assert_string_equal(text(json, "url.query"), "id=1&x=\"y\"");
	assert_int_equal(json_integer_value(json_object_get(
	                     json, "http.response.status_code")),
	    200);
	assert_string_equal(text(json, "client.address"), "192.0.2.1");
	assert_string_equal(text(json, "network.peer.address"), "10.0.0.1");
	assert_string_equal(text(json, "network.protocol.version"), "1.1");
	assert_string_equal(text(json, "weir.pool"), "blue");
	assert_string_equal(text(json, "weir.decision"), "weight");
	assert_true(
	    json_number_value(json_object_get(json, "weir.ms.total")) == 2.007);
	assert_null(json_object_get(json, "weir.ms.queue"));
	assert_null(json_object_get(json, "error.type"));
	json_decref(json);
}

static void
test_access_log__no_byte_breaks_a_line(void **state)
{
	struct access_record record = plain();
	char all[256];

	(void)state;
	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	record.path = (struct span){all, 256};
	record.user_agent = record.query = record.host = record.path;
	record.method_text = record.request_id = record.path;
	json_decref(format(&record, NULL));
	for (int i = 0; i < 256; i++)
		for (int j = 0; j < 256; j++) {
			char pair[2] = {(char)i, (char)j};

			record = plain();
			record.path = (struct span){pair, 2};
			json_decref(format(&record, NULL));
		}
}

static void
test_access_log__a_forged_line_stays_in_its_field(void **state)
{
	struct access_record record = plain();
	json_t *json;

	(void)state;
	record.user_agent = SPAN("x\"}\n{\"http.response.status_code\":200}");
	json = format(&record, NULL);
	assert_string_equal(text(json, "user_agent.original"),
	    "x\"}\n{\"http.response.status_code\":200}");
	json_decref(json);
}

static void
test_access_log__oversized_fields_are_cut_with_a_marker(void **state)
{
	struct access_record record = plain();
	char *big = malloc(100000);
	json_t *json;

	(void)state;
	memset(big, 'a', 100000);
	record.path = (struct span){big, 100000};
	record.query = record.user_agent = record.host = record.path;
	json = format(&record, NULL);
	assert_non_null(strstr(text(json, "url.path"), "...[+"));
	assert_int_equal(json_integer_value(json_object_get(
	                     json, "http.response.status_code")),
	    200);
	json_decref(json);
	memset(big, 1, 100000); /* each byte becomes six */
	json = format(&record, NULL);
	assert_non_null(strstr(text(json, "url.path"), "...[+"));
	json_decref(json);
	free(big);
}

static void
test_access_log__redacts_configured_headers(void **state)
{
	struct access_record record = plain();
	char name[] = "user-agent";
	char *names[] = {name};
	struct strings redact = {names, 1};
	json_t *json = format(&record, &redact);

	(void)state;
	assert_string_equal(text(json, "user_agent.original"), "***");
	json_decref(json);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_access_log__has_the_keys_of_the_contract),
	    cmocka_unit_test(test_access_log__no_byte_breaks_a_line),
	    cmocka_unit_test(test_access_log__a_forged_line_stays_in_its_field),
	    cmocka_unit_test(
	        test_access_log__oversized_fields_are_cut_with_a_marker),
	    cmocka_unit_test(test_access_log__redacts_configured_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
