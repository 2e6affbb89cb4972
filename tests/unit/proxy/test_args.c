/*
 * Arguments against a table of flags: what is taken, in which order, and what
 * is refused. What is said on standard error is not looked at here
 * (tests/flow/test_commands.py does).
 */
/* cmocka wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <string.h>

#include "proxy/command/command.h"

enum { FLAG_DEEP = FLAG_LONG };

static const struct flag flags[] = {
    {'c', "config", "FILE", "a file"},
    {'q', "quiet", NULL, "no words"},
    {'t', "test", NULL, NULL},
    {FLAG_DEEP, "deep", "N", "how deep"},
    {0},
};
static const struct command command = {.name = "try", .flags = flags};
static const struct command bare = {.name = "bare"};

/* clang-format off */
#define ARGV(...) ((char **)(uintptr_t)(const char *[]){__VA_ARGS__, NULL})
#define ARGS(...) {.command = &command, .argv = ARGV(__VA_ARGS__)}
/* clang-format on */

static void
expect(struct args *args, int key, const char *value)
{
	assert_int_equal(args_next(args), key);
	if (value)
		assert_string_equal(args->value, value);
}

static void
test_args__words_and_flags_stand_in_any_order(void **state)
{
	struct args args = ARGS("one", "-q", "two", "--config", "file");

	(void)state;
	expect(&args, ARG_WORD, "one");
	expect(&args, 'q', NULL);
	expect(&args, ARG_WORD, "two");
	expect(&args, 'c', "file");
	expect(&args, ARG_END, NULL);
	expect(&args, ARG_END, NULL);
}

static void
test_args__a_value_may_be_joined(void **state)
{
	struct args args =
	    ARGS("--config=a", "-cb", "-c", "c", "--deep=", "--deep", "-1");

	(void)state;
	expect(&args, 'c', "a");
	expect(&args, 'c', "b");
	expect(&args, 'c', "c");
	expect(&args, FLAG_DEEP, "");
	expect(&args, FLAG_DEEP, "-1");
	expect(&args, ARG_END, NULL);
}

static void
test_args__letters_may_be_joined(void **state)
{
	struct args args = ARGS("-tqcfile", "-qt", "word");

	(void)state;
	expect(&args, 't', NULL);
	expect(&args, 'q', NULL);
	expect(&args, 'c', "file");
	expect(&args, 'q', NULL);
	expect(&args, 't', NULL);
	expect(&args, ARG_WORD, "word");
	expect(&args, ARG_END, NULL);
}

static void
test_args__two_dashes_end_the_flags(void **state)
{
	struct args args = ARGS("-q", "--", "-q", "--", "--config");

	(void)state;
	expect(&args, 'q', NULL);
	expect(&args, ARG_WORD, "-q");
	expect(&args, ARG_WORD, "--");
	expect(&args, ARG_WORD, "--config");
	expect(&args, ARG_END, NULL);
}

static void
test_args__a_dash_alone_is_a_word(void **state)
{
	struct args args = ARGS("-", "");

	(void)state;
	expect(&args, ARG_WORD, "-");
	expect(&args, ARG_WORD, "");
	expect(&args, ARG_END, NULL);
}

static void
test_args__what_is_unknown_or_incomplete_is_wrong(void **state)
{
	struct args wrong[] = {
	    ARGS("--confg", "x"),
	    ARGS("--conf"), /* no abbreviations: a script must not change its
	                       meaning */
	    ARGS("--config"),
	    ARGS("-c"),
	    ARGS("--quiet=yes"),
	    ARGS("-x"),
	    ARGS("--deep"),
	    {.command = &bare, .argv = ARGV("-q")},
	    {.command = &bare, .argv = ARGV("--quiet")},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		expect(&wrong[i], ARG_WRONG, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_args__words_and_flags_stand_in_any_order),
	    cmocka_unit_test(test_args__a_value_may_be_joined),
	    cmocka_unit_test(test_args__letters_may_be_joined),
	    cmocka_unit_test(test_args__two_dashes_end_the_flags),
	    cmocka_unit_test(test_args__a_dash_alone_is_a_word),
	    cmocka_unit_test(test_args__what_is_unknown_or_incomplete_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
