/*
 * Authorities, paths and lists.
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

static void
test_path__one_form_for_routing_and_forwarding(void **state)
{
	static const struct {
		const char *path, *normal; /* NULL: refused */
	} rows[] = {
	    {"/", "/"},
	    {"*", "*"},
	    {"/a/b", "/a/b"},
	    {"/a/../b", "/b"},
	    {"/a/b/../../c", "/c"},
	    {"/a/..", "/"},
	    {"/a/../", "/"},
	    {"/a/b/..", "/a/"},
	    {"/./a", "/a"},
	    {"/a/./b/.", "/a/b/"},
	    {"/.", "/"},
	    {"/a//b", "/a//b"},
	    {"//", "//"},
	    {"//a", "//a"},
	    {"/a//../b", "/a/b"},
	    {"//..", "/"},
	    {"/.a/..b/c..", "/.a/..b/c.."},
	    {"/...", "/..."},
	    {"/a/%2e%2E/b", "/b"},
	    {"/a/%2e", "/a/"},
	    {"/a/.%2e/b", "/b"},
	    {"/%41%7a%30%2d%5f%7E", "/Az0-_~"},
	    {"/%c3%a9", "/%C3%A9"},
	    {"/%252e%252e", "/%252e%252e"},
	    {"/%25%32%65", "/%252e"},
	    {"/a;x=y/b;z", "/a;x=y/b;z"},
	    {"/%3f%23%20", "/%3F%23%20"},
	    {"/%0a%0d", "/%0A%0D"},
	    {"/..", NULL},
	    {"/../a", NULL},
	    {"/a/../..", NULL},
	    {"/a/../../b", NULL},
	    {"/%2e%2e/a", NULL},
	    {"/./../a", NULL},
	    {"/%00", NULL},
	    {"/a%2fb", NULL},
	    {"/a%2Fb", NULL},
	    {"/..%2fb", NULL},
	    {"/a%5cb", NULL},
	    {"/a%5Cb", NULL},
	    {"/a\\b", NULL},
	    {"/..;x=y/b", NULL},
	    {"/a/..;/b", NULL},
	    {"/a/%2e%2e;x/b", NULL},
	    {"/%", NULL},
	    {"/%4", NULL},
	    {"/%zz", NULL},
	    {"/%4g", NULL},
	    {"/%u002e", NULL},
	    {"/a b", NULL},
	    {"/a?b", NULL},
	    {"/a#b", NULL},
	    {"/\x80", NULL},
	    {"/\n", NULL},
	    {"", NULL},
	    {"a", NULL},
	    {"**", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t cap = strlen(rows[i].path), len = 0, again;
		char *out = malloc(cap + 1);
		bool is_sound;

		memcpy(out, rows[i].path, cap);
		is_sound = h1_normalise(
		    (struct span){out, cap}, out, &len); /* in place */
		if (is_sound != (rows[i].normal != NULL))
			fail_msg("%s", rows[i].path);
		if (is_sound) {
			assert_int_equal(len, strlen(rows[i].normal));
			assert_memory_equal(out, rows[i].normal, len);
			assert_true(len <= cap);
			assert_true(
			    h1_normalise((struct span){out, len}, out, &again));
			assert_int_equal(again, len);
			assert_memory_equal(out, rows[i].normal, len);
		}
		free(out);
	}
}

static void
test_path__folded_as_the_most_lenient_server_reads_it(void **state)
{
	static const struct {
		const char *path, *folded;
	} rows[] = {
	    {"/", "/"},
	    {"/a/b", "/a/b"},
	    {"/a/", "/a/"},
	    {"//", "/"},
	    {"//a", "/a"},
	    {"/a//b///c", "/a/b/c"},
	    {"/a//", "/a/"},
	    {"/a;x", "/a"},
	    {"/a;x=1;y/b;z", "/a/b"},
	    {"/;x/a", "/a"},
	    {"/.;x/a", "/a"},
	    {"/a/.;x", "/a/"},
	    {"/a/;", "/a/"},
	    {"/.a;x/..b", "/.a/..b"},
	    {"/a%3Bx", "/a%3Bx"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[32];
		size_t len;

		strcpy(text, rows[i].path);
		len = h1_path_fold(
		    (struct span){text, strlen(rows[i].path)}, text);
		text[len] = '\0';
		assert_string_equal(text, rows[i].folded);
	}
}

static void
test_authority__a_name_or_address_and_perhaps_a_port(void **state)
{
	static const struct {
		const char *text, *hostname; /* NULL: refused */
		uint16_t port;
	} rows[] = {
	    {"a", "a", 0},
	    {"a.example", "a.example", 0},
	    {"A_b-c.example.:80", "A_b-c.example.", 80},
	    {"a:", "a", 0},
	    {"a:65535", "a", 65535},
	    {"a:00080", "a", 80},
	    {"127.0.0.1:1", "127.0.0.1", 1},
	    {"[::1]", "[::1]", 0},
	    {"[::1]:443", "[::1]", 443},
	    {"[2001:DB8::1:2]", "[2001:DB8::1:2]", 0},
	    {"[::ffff:10.0.0.1]:8", "[::ffff:10.0.0.1]", 8},
	    {"", NULL, 0},
	    {":80", NULL, 0},
	    {"a:0", NULL, 0},
	    {"a:65536", NULL, 0},
	    {"a:100000", NULL, 0},
	    {"a:000080", NULL, 0},
	    {"a:8 0", NULL, 0},
	    {"a:+80", NULL, 0},
	    {"a:80:80", NULL, 0},
	    {"a,b", NULL, 0},
	    {"a b", NULL, 0},
	    {"a@b", NULL, 0},
	    {"@", NULL, 0},
	    {"a/", NULL, 0},
	    {"a\\b", NULL, 0},
	    {"a%2e", NULL, 0},
	    {"\xc3\xa9", NULL, 0},
	    {".a", NULL, 0},
	    {"::1", NULL, 0},
	    {"[", NULL, 0},
	    {"[]", NULL, 0},
	    {"[::1", NULL, 0},
	    {"[::1]]", NULL, 0},
	    {"[::1]80", NULL, 0},
	    {"[1.2.3.4]", NULL, 0},
	    {"[::g]", NULL, 0},
	    {"[fe80::1%eth0]", NULL, 0},
	    {"[00000000000000000000000000000000000000000000000000000000::1]",
	        NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span hostname;
		uint16_t port;
		bool is_sound =
		    h1_authority(span_of(rows[i].text), &hostname, &port);

		if (is_sound != (rows[i].hostname != NULL))
			fail_msg("%s", rows[i].text);
		if (!is_sound)
			continue;
		assert_true(span_eq(hostname, span_of(rows[i].hostname)));
		assert_int_equal(port, rows[i].port);
	}
}

static void
test_authority__names_have_an_end(void **state)
{
	char name[300];
	struct span hostname;
	uint16_t port;

	(void)state;
	memset(name, 'a', sizeof(name));
	assert_true(h1_authority((struct span){name, 255}, &hostname, &port));
	assert_false(h1_authority((struct span){name, 256}, &hostname, &port));
}

static void
test_list__empty_elements_and_blanks_are_skipped(void **state)
{
	static const struct {
		const char *list, *elements;
	} rows[] = {
	    {"", ""}, {" ,\t, ", ""}, {"a", "<a>"}, {"a,b", "<a><b>"},
	    {" a\t, ,b c ,", "<a><b c>"},
	    {"a=\"x,y\"", "<a=\"x><y\">"}, /* a quote hides no comma */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span list = span_of(rows[i].list), element;
		char text[64] = "";
		size_t len = 0;

		while (h1_list_next(&list, &element))
			len += (size_t)snprintf(text + len, sizeof(text) - len,
			    "<%.*s>", (int)element.len, element.ptr);
		assert_string_equal(text, rows[i].elements);
		assert_false(h1_list_next(&list, &element));
	}
	assert_false(
	    h1_list_next(&(struct span){NULL, 0}, &(struct span){NULL, 0}));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_path__one_form_for_routing_and_forwarding),
	    cmocka_unit_test(
	        test_path__folded_as_the_most_lenient_server_reads_it),
	    cmocka_unit_test(
	        test_authority__a_name_or_address_and_perhaps_a_port),
	    cmocka_unit_test(test_authority__names_have_an_end),
	    cmocka_unit_test(test_list__empty_elements_and_blanks_are_skipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
