/*
 * JSON bodies and paths from anybody.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "admin/body.h"
#include "admin/row.h"

static bool
parses(const char *text)
{
	struct err err;
	json_t *json = body_parse(span_of(text), &err);
	bool ok = json != NULL;

	json_decref(json);
	return ok;
}

static void
test_body__only_one_object_without_duplicates(void **state)
{
	(void)state;
	assert_true(parses("{}"));
	assert_true(parses("{\"a\": {\"b\": [1, 2]}}"));
	assert_false(parses(""));
	assert_false(parses("[]"));
	assert_false(parses("5"));
	assert_false(parses("{\"a\":1,\"a\":2}"));
	assert_false(parses("{\"a\":{\"b\":1,\"b\":2}}"));
	assert_false(parses("{} {}"));
	assert_false(parses("{\"a\":1}x"));
	assert_false(parses("{'a':1}"));
	assert_false(parses("{\"a\":NaN}"));
	assert_false(parses("{\"a\":Infinity}"));
	assert_false(parses("{\"a\":\"\\u0000\"}"));
	assert_false(parses("{\"a\":\"\xff\"}"));
}

static void
test_body__the_depth_is_bounded_before_parsing(void **state)
{
	char *deep = malloc(200000);
	char nested[128];

	(void)state;
	for (int depth = 1; depth < 24; depth++) {
		strcpy(nested, "{\"a\":");
		for (int i = 1; i < depth; i++)
			strcat(nested, "[");
		strcat(nested, "1");
		for (int i = 1; i < depth; i++)
			strcat(nested, "]");
		strcat(nested, "}");
		assert_int_equal(parses(nested), depth <= API_DEPTH_MAX);
	}
	memset(deep, '[', 199999);
	deep[199999] = '\0';
	assert_false(parses(deep));
	/* brackets in a string do not count */
	assert_true(parses("{\"a\": \"[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"}"));
	free(deep);
}

static const char *
found(
    const char *method, const char *path, char *args[API_ARGS_MAX], char *allow)
{
	const struct api_row *row = row_find(method, path, 0, args, allow, 64);

	return row ? row->path : "-";
}

static void
free_args(char *args[API_ARGS_MAX])
{
	for (size_t i = 0; i < API_ARGS_MAX; i++) {
		free(args[i]);
		args[i] = NULL;
	}
}

static void
test_row__names_are_decoded_one_by_one(void **state)
{
	char *args[API_ARGS_MAX] = {NULL}, allow[64];

	(void)state;
	assert_string_equal(
	    found("PUT", "/v1/pools/a/endpoints/unix:%2Frun%2Fx/state", args,
	        allow),
	    "/v1/pools/{pool}/endpoints/{address}/state");
	assert_string_equal(args[0], "a");
	assert_string_equal(args[1], "unix:/run/x");
	free_args(args);
	assert_string_equal(found("GET", "/v1/splits/a%00", args, allow), "-");
	assert_string_equal(found("GET", "/v1/splits//", args, allow), "-");
	assert_string_equal(found("GET", "", args, allow), "-");
	assert_string_equal(found("GET", "v1/splits", args, allow), "-");
	assert_string_equal(
	    found("DELETE", "/v1/splits/a/weights", args, allow), "-");
	assert_string_equal(allow, "PUT");
	assert_null(args[0]);
}

static void
test_row__every_row_finds_itself_and_is_documented(void **state)
{
	(void)state;
	for (size_t i = 0; i < api_n_rows; i++) {
		char *args[API_ARGS_MAX] = {NULL}, allow[64];

		assert_string_equal(
		    found(api_rows[i].method, api_rows[i].path, args, allow),
		    api_rows[i].path);
		free_args(args);
		assert_true(strlen(api_rows[i].doc) > 5);
		assert_memory_equal(api_rows[i].name, "api_", 4);
		/* who changes something is known and has a role for it */
		if (api_rows[i].flags & API_MUTATES) {
			assert_false(api_rows[i].flags & API_PUBLIC);
			/* a vote asks for the role that its gate names */
			if (strcmp(api_rows[i].name, "api_rollout_approvals") !=
			    0)
				assert_true(api_rows[i].role >= ROLE_OPERATOR);
			assert_string_not_equal(api_rows[i].method, "GET");
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_body__only_one_object_without_duplicates),
	    cmocka_unit_test(test_body__the_depth_is_bounded_before_parsing),
	    cmocka_unit_test(test_row__names_are_decoded_one_by_one),
	    cmocka_unit_test(
	        test_row__every_row_finds_itself_and_is_documented),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
