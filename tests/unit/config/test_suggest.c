/* Did you mean. */
#include "cmock.h"

static const char *const words[] = {
    "weight", "weights", "round_robin", "p2c", "random", "tls"};

static const char *
near(const char *word)
{
	return suggest(span_of(word), words, sizeof(words) / sizeof(words[0]));
}

static void
test_suggest__a_swap_counts_once(void **state)
{
	(void)state;
	assert_string_equal(near("wieght"), "weight");
	assert_string_equal(near("tsl"), "tls");
}

static void
test_suggest__case_and_dashes_do_not_count(void **state)
{
	(void)state;
	assert_string_equal(near("Round-Robin"), "round_robin");
	assert_string_equal(near("WEIGHTS"), "weights");
}

static void
test_suggest__the_nearest_wins(void **state)
{
	(void)state;
	assert_string_equal(near("weigths"), "weights");
	assert_string_equal(near("randm"), "random");
	assert_string_equal(near("p2d"), "p2c");
}

static void
test_suggest__nothing_near_is_nothing(void **state)
{
	char long_word[200];

	(void)state;
	assert_null(near("completely"));
	assert_null(near(""));
	assert_null(near("x"));
	memset(long_word, 'a', sizeof(long_word) - 1);
	long_word[sizeof(long_word) - 1] = '\0';
	assert_null(near(long_word));
	assert_null(suggest(SPAN("weight"), words, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_suggest__a_swap_counts_once),
	    cmocka_unit_test(test_suggest__case_and_dashes_do_not_count),
	    cmocka_unit_test(test_suggest__the_nearest_wins),
	    cmocka_unit_test(test_suggest__nothing_near_is_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
