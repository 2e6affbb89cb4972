/* What the table says: schema, explain, codes. */
#include "cmock.h"

#include <jansson.h>

#include "config/schema.h"

static char *
explained(const char *key, struct err *err)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	bool is_fine = config_explain(key, out, err);

	fclose(out);
	if (is_fine)
		return text;
	free(text);
	return NULL;
}

static void
expect_explained(const char *key, const char *want)
{
	struct err err;
	char *text = explained(key, &err);

	assert_non_null(text);
	assert_memory_equal(text, want, strlen(want));
	free(text);
}

static void
test_explain__a_key_has_many_names(void **state)
{
	static const char want[] = "pools.NAME.balance\n"
	                           "  How an endpoint is picked.\n"
	                           "  type     p2c, round_robin, random, hash\n"
	                           "  default  p2c\n"
	                           "  change   by reload (SIGHUP)\n";

	(void)state;
	expect_explained("pools.balance", want);
	expect_explained("pools.*.balance", want);
	expect_explained("pools.shop.balance", want);
	expect_explained("balance", want);
	expect_explained("listeners.bind", "listeners.NAME.bind\n");
	expect_explained("pools", "pools\n");
}

static void
test_explain__misses_are_helped(void **state)
{
	struct err err;

	(void)state;
	assert_null(explained("pools.blance", &err));
	assert_string_equal(err.text,
	    "no key is named 'pools.blance'; did you mean 'pools.balance'?");
	assert_null(explained("listen", &err));
	assert_string_equal(err.text,
	    "several keys end in 'listen': admin.listen, "
	    "admin.metrics.listen");
	assert_null(explained("routes.slo", &err));
	assert_string_equal(err.text, "'routes.slo' is known, but not "
	                              "available in this version");
}

static void
test_explain__every_row_is_explained(void **state)
{
	struct err err;

	(void)state;
	for (int i = 0; i < ROW_COUNT; i++) {
		char *text = explained(schema_row((enum row_id)i)->path, &err);

		assert_non_null(text);
		free(text);
	}
}

static void
test_explain__every_code_is_explained_once(void **state)
{
	static const char *const codes[] = {
#define CODE(name, code, title, more) code,
#include "config/codes.def"
#undef CODE
	};
	struct err err;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		assert_true(config_explain_code(codes[i], out, &err));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(codes[i], codes[j]);
	}
	assert_true(config_explain_code("e012", out, &err));
	assert_false(config_explain_code("E999", out, &err));
	fclose(out);
	assert_non_null(strstr(text, "E012: unknown key"));
	free(text);
}

static void
test_schema__is_json_and_names_every_key(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	json_t *root, *balance;

	(void)state;
	config_print_schema(out);
	fclose(out);
	root = json_loads(text, 0, NULL);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "$schema")),
	    "https://json-schema.org/draft/2020-12/schema");
	assert_int_equal(
	    json_unpack(root, "{s:{s:{s:{s:{s:o}}}}}", "properties", "pools",
	        "additionalProperties", "properties", "balance", &balance),
	    0);
	assert_string_equal(
	    json_string_value(json_object_get(balance, "default")), "p2c");
	json_decref(root);
	free(text);
}

/* A key is either there or known to be missing, never both. */
static void
test_schema__later_keys_are_not_rows(void **state)
{
	(void)state;
	for (size_t i = 0; later_key(i); i++) {
		for (int j = 0; j < ROW_COUNT; j++)
			assert_string_not_equal(
			    later_key(i), schema_row((enum row_id)j)->path);
	}
}

static void
test_reference__holds_every_key(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	config_print_reference(out);
	fclose(out);
	assert_non_null(
	    strstr(text, "## `listeners.NAME.tls.certificates[].cert`"));
	assert_non_null(strstr(text, "## `routes[].match.path_prefix`"));
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_explain__a_key_has_many_names),
	    cmocka_unit_test(test_explain__misses_are_helped),
	    cmocka_unit_test(test_explain__every_row_is_explained),
	    cmocka_unit_test(test_explain__every_code_is_explained_once),
	    cmocka_unit_test(test_schema__is_json_and_names_every_key),
	    cmocka_unit_test(test_schema__later_keys_are_not_rows),
	    cmocka_unit_test(test_reference__holds_every_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
