/*
 * The operator's log: one event is one line, whatever is in it.
 */
#include "check.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/escape.h"
#include "admin/log.h"

static int pipes[2], kept;

static int
set_up(void **state)
{
	(void)state;
	assert_int_equal(pipe(pipes), 0);
	kept = dup(STDERR_FILENO);
	dup2(pipes[1], STDERR_FILENO);
	log_set_level(LOG_INFO);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(pipes[0]);
	close(pipes[1]);
	return 0;
}

static size_t
read_line(char *buf, size_t cap)
{
	ssize_t n = read(pipes[0], buf, cap - 1);

	assert_true(n > 0);
	buf[n] = '\0';
	return (size_t)n;
}

static void
test_log__a_line_is_json_whatever_is_in_it(void **state)
{
	char all[256], buf[16384];
	size_t len;
	json_t *json;

	(void)state;
	for (int i = 0; i < 255; i++)
		all[i] = (char)(i + 1);
	all[255] = '\0';
	log_set_format(true);
	log_event(LOG_WARN, all, all, all, "file", NULL, "n", "1", NULL);
	len = read_line(buf, sizeof(buf));
	assert_int_equal(buf[len - 1], '\n');
	assert_null(memchr(buf, '\n', len - 1));
	json = json_loadb(buf, len, 0, NULL);
	assert_non_null(json);
	assert_string_equal(
	    json_string_value(json_object_get(json, "level")), "warn");
	assert_string_equal(json_string_value(json_object_get(json, "n")), "1");
	json_decref(json);
}

static void
test_log__a_line_is_at_most_8_kib_and_says_that_it_was_cut(void **state)
{
	char big[6000], buf[16384];
	size_t len;
	json_t *json;

	(void)state;
	memset(big, 1, sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_set_format(true);
	log_event(LOG_INFO, "m", "a", big, "b", big, "c", big, NULL);
	len = read_line(buf, sizeof(buf));
	assert_in_range(len, 10, 8192);
	json = json_loadb(buf, len, 0, NULL);
	assert_non_null(json);
	assert_non_null(json_object_get(json, "truncated"));
	json_decref(json);
}

static void
test_log__text_has_no_control_bytes(void **state)
{
	char buf[16384];
	size_t len;

	(void)state;
	log_set_format(false);
	log_event(LOG_ERROR, "bad\033[31m\nthing", "key", "two words", "path",
	    "/x", NULL);
	len = read_line(buf, sizeof(buf));
	for (size_t i = 0; i < len - 1; i++)
		assert_in_range((unsigned char)buf[i], 0x20, 0x7e);
	assert_non_null(strstr(buf, "key=\"two words\""));
	assert_non_null(strstr(buf, "path=/x\n"));
}

static void
test_log__below_the_level_nothing_is_written(void **state)
{
	char buf[16384];

	(void)state;
	log_set_format(true);
	log_set_level(LOG_WARN);
	log_event(LOG_INFO, "silent", NULL);
	log_event(LOG_WARN, "loud", NULL);
	read_line(buf, sizeof(buf));
	assert_null(strstr(buf, "silent"));
	assert_non_null(strstr(buf, "loud"));
}

static void
test_escape__a_full_buffer_is_never_overrun_or_split(void **state)
{
	static const char text[] = "a\"\\\x01\xc3\xa9\xff\xf0\x9f\x98\x80z";

	(void)state;
	for (size_t cap = 0; cap < 64; cap++) {
		char *buf = malloc(cap + 1);
		struct line line = {.buf = buf, .cap = cap};
		json_t *json;
		char whole[80];

		line_escaped(&line, span_of(text), 1000);
		assert_true(line.len <= cap);
		snprintf(
		    whole, sizeof(whole), "[\"%.*s\"]", (int)line.len, buf);
		json = json_loads(whole, 0, NULL);
		assert_non_null(json);
		json_decref(json);
		free(buf);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_log__a_line_is_json_whatever_is_in_it),
	    TEST(test_log__a_line_is_at_most_8_kib_and_says_that_it_was_cut),
	    TEST(test_log__text_has_no_control_bytes),
	    TEST(test_log__below_the_level_nothing_is_written),
	    cmocka_unit_test(
	        test_escape__a_full_buffer_is_never_overrun_or_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
