/* What an answer of a Redis server may cost, whatever it says of itself. */
/* clang-format off: cmocka.h wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <string.h>

#include "proxy/control/redis_bound.h"

enum outcome { WHOLE, MORE, REFUSED, BROKEN };

struct stage {
	struct redis_bound bound;
	redisReader *reader;
};

static void
stage_begin(struct stage *stage)
{
	stage->reader = redis_bound_reader(&stage->bound);
	assert_non_null(stage->reader);
}

static enum outcome
feed(struct stage *stage, const char *text)
{
	void *answer = NULL;

	assert_int_equal(
	    redisReaderFeed(stage->reader, text, strlen(text)), REDIS_OK);
	if (redisReaderGetReply(stage->reader, &answer) != REDIS_OK)
		return stage->bound.is_over ? REFUSED : BROKEN;
	if (!answer)
		return redis_bound_is_reached(&stage->bound, stage->reader)
		           ? REFUSED
		           : MORE;
	redis_bound_reset(&stage->bound);
	freeReplyObject(answer);
	return WHOLE;
}

static enum outcome
feed_alone(const char *text)
{
	struct stage stage;
	enum outcome outcome;

	stage_begin(&stage);
	outcome = feed(&stage, text);
	redisReaderFree(stage.reader);
	return outcome;
}

/* How much of `again` it takes after `first`. */
static size_t
taken(const char *first, const char *again)
{
	struct stage stage;
	enum outcome outcome;
	size_t n = 0;

	stage_begin(&stage);
	outcome = feed(&stage, first);
	while (outcome == MORE && n < 2 * (size_t)REDIS_ANSWER_MAX) {
		outcome = feed(&stage, again);
		n += strlen(again);
	}
	assert_int_equal(outcome, REFUSED);
	redisReaderFree(stage.reader);
	return n;
}

static void
test_redis_bound__a_list_that_says_it_is_long_is_not_made(void **state)
{
	(void)state;
	assert_int_equal(feed_alone("*2147483647\r\n"), REFUSED);
	assert_in_range(feed_alone("*4294967295\r\n"), REFUSED, BROKEN);
	assert_int_equal(feed_alone("*1025\r\n"), REFUSED);
	assert_int_equal(feed_alone("*1024\r\n"), MORE);
	assert_int_equal(feed_alone("*2\r\n*2\r\n:1\r\n*1048576\r\n"), REFUSED);
}

static void
test_redis_bound__answers_of_usual_sizes_follow_one_another(void **state)
{
	static char list[32 << 10];
	size_t len = (size_t)snprintf(list, sizeof(list), "*1024\r\n");
	struct stage stage;

	(void)state;
	for (int i = 0; i < 1024; i++)
		len += (size_t)snprintf(
		    list + len, sizeof(list) - len, "$4\r\nabcd\r\n");
	stage_begin(&stage);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(feed(&stage, list), WHOLE);
		assert_int_equal(feed(&stage, "$-1\r\n"), WHOLE);
		assert_int_equal(feed(&stage, ":12\r\n"), WHOLE);
		assert_int_equal(feed(&stage, "-ERR no\r\n"), WHOLE);
		assert_int_equal(
		    feed(&stage, "*2\r\n*1\r\n:1\r\n+x\r\n"), WHOLE);
	}
	redisReaderFree(stage.reader);
}

static void
test_redis_bound__lists_in_lists_end_somewhere(void **state)
{
	(void)state;
	assert_int_equal(feed_alone("*1\r\n*1\r\n*1\r\n"), REFUSED);
}

static void
test_redis_bound__what_is_built_counts_as_what_it_takes(void **state)
{
	static char text[100 << 10];
	struct stage stage;
	enum outcome outcome = MORE;
	size_t n = 0;

	(void)state;
	/* texts in a list: no part of it is long */
	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, "$102388\r\n", 9);
	memcpy(text + sizeof(text) - 3, "\r\n", 2);
	assert_in_range(taken("*1000\r\n", text), REDIS_ANSWER_MAX * 9 / 10,
	    REDIS_ANSWER_MAX * 11 / 10);
	/* one without an end */
	text[0] = '+';
	memset(text + 1, 'x', sizeof(text) - 2);
	assert_true(taken("", text) <= 2 * sizeof(text));
	/* lists of the longest kind, one within the other */
	stage_begin(&stage);
	outcome = feed(&stage, "*1024\r\n");
	for (; outcome == MORE && n < REDIS_ANSWER_MAX; n += 6)
		outcome = feed(&stage, n % 6006 == 0 ? "*1000\r\n" : ":1\r\n");
	assert_int_equal(outcome, REFUSED);
	assert_true(n < REDIS_ANSWER_MAX / 8);
	redisReaderFree(stage.reader);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_redis_bound__a_list_that_says_it_is_long_is_not_made),
	    cmocka_unit_test(
	        test_redis_bound__answers_of_usual_sizes_follow_one_another),
	    cmocka_unit_test(test_redis_bound__lists_in_lists_end_somewhere),
	    cmocka_unit_test(
	        test_redis_bound__what_is_built_counts_as_what_it_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
