/* Sentences about mistakes: never longer than their room, never silently cut.
 */
#include "cmock.h"

static void
test_err__wrap_puts_the_place_in_front(void **state)
{
	struct err err;

	(void)state;
	assert_false(err_set(&err, "weight: %d is above 100", 130));
	assert_false(err_wrap(&err, "pool '%s'", "green"));
	assert_string_equal(err.text, "pool 'green': weight: 130 is above 100");
}

static void
test_err__a_long_text_ends_in_dots(void **state)
{
	char long_text[2 * ERR_TEXT_MAX];
	struct err err;

	(void)state;
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	err_set(&err, "%s", long_text);
	assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
	assert_string_equal(err.text + ERR_TEXT_MAX - 5, "x...");
	err_set(&err, "short");
	err_wrap(&err, "%s", long_text);
	assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
	assert_string_equal(err.text + ERR_TEXT_MAX - 5, "x...");
	long_text[ERR_TEXT_MAX - 4] = '\0';
	err_set(&err, "short");
	err_wrap(&err, "%s", long_text);
	assert_string_equal(err.text + ERR_TEXT_MAX - 5, "x...");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_err__wrap_puts_the_place_in_front),
	    cmocka_unit_test(test_err__a_long_text_ends_in_dots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
