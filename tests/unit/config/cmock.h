/* What cmocka.h wants in front of it, and loading a text in one line. */
#ifndef WEIR_TESTS_CONFIG_CMOCK_H
#define WEIR_TESTS_CONFIG_CMOCK_H

/* cmocka.h uses what stands above it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
/* clang-format on */

#include "config/config.h"

/* A file that is fine; shows what was wrong when it was not. */
static inline struct config *
load_fine(const char *text)
{
	struct diags diags;
	struct config *config =
	    config_load_text("t.yaml", span_of(text), &diags);

	if (config == NULL)
		diags_print(&diags, stderr, false);
	assert_non_null(config);
	diags_release(&diags);
	return config;
}

/* All that weir says about a text, as people read it; the caller frees. */
static inline char *
told_about(const char *text)
{
	struct diags diags;
	struct config *config =
	    config_load_text("t.yaml", span_of(text), &diags);
	char *told = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&told, &len);

	diags_print(&diags, out, false);
	fclose(out);
	assert_int_equal(config == NULL, diags.errors > 0);
	config_free(&config);
	diags_release(&diags);
	return told;
}

static inline void
expect_part(const char *text, const char *want)
{
	char *told = told_about(text);

	if (strstr(told, want) == NULL)
		fail_msg("no \"%s\" in:\n%s", want, told);
	free(told);
}

/* What is rendered loads again, and renders to the same text; the caller frees
 * what was loaded. */
static inline struct config *
load_rendered(const struct config *config)
{
	static const char schema[] = "{\n  \"schema\": \"weir.config/v1\",";
	char *first = config_render_json(config), *second;
	char *body = strdup(first);
	struct config *again;

	assert_int_equal(strncmp(first, schema, strlen(schema)), 0);
	memset(body + 1, ' ', strlen(schema) - 1);
	again = load_fine(body);
	second = config_render_json(again);
	assert_string_equal(first, second);
	free(first);
	free(second);
	free(body);
	return again;
}

#define HEAD "listeners: {http: {bind: \"127.0.0.1:8080\"}}\n"
#define POOL "pools: {app: {endpoints: \"127.0.0.1:9000\"}}\n"
#define TAIL "routes: [{pool: app}]\n"

#endif
