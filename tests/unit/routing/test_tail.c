/* What nearly all take of late: not told too early, and soon forgotten. */
/* cmocka wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <stdlib.h>

#include "routing/tail.h"

struct course {
	struct tail tail;
	struct histogram_sum now;
};

static struct course *
begin(void)
{
	struct course *course = calloc(1, sizeof(*course));

	assert_non_null(course);
	return course;
}

/* So many more took so long. */
static void
took(struct course *course, nsec_t value, uint64_t n)
{
	course->now.bucket[histogram_bucket(value)] += n;
	course->now.count += n;
}

static nsec_t
look(struct course *course)
{
	return tail_look(&course->tail, &course->now, 0.95);
}

static void
assert_about(nsec_t value, nsec_t want)
{
	assert_in_range(value, want - want / 20, want + want / 20);
}

static void
test_tail__says_nothing_of_a_few(void **state)
{
	struct course *course = begin();

	(void)state;
	assert_int_equal(look(course), 0);
	took(course, 10 * NSEC_PER_MSEC, TAIL_LEAST - 1);
	assert_int_equal(look(course), 0);
	took(course, 10 * NSEC_PER_MSEC, 1);
	assert_about(look(course), 10 * NSEC_PER_MSEC);
	free(course);
}

static void
test_tail__is_where_the_slow_ones_begin(void **state)
{
	struct course *course = begin();

	(void)state;
	took(course, 10 * NSEC_PER_MSEC, 960);
	took(course, NSEC_PER_SEC, 40);
	assert_about(look(course), 10 * NSEC_PER_MSEC);
	took(course, NSEC_PER_SEC, 20);
	assert_about(look(course), NSEC_PER_SEC);
	free(course);
}

static void
test_tail__a_busy_pool_forgets_in_a_few_looks(void **state)
{
	struct course *course = begin();

	(void)state;
	took(course, 10 * NSEC_PER_MSEC, 1000000);
	assert_about(look(course), 10 * NSEC_PER_MSEC);
	for (int i = 0; i < 12; i++) {
		took(course, 80 * NSEC_PER_MSEC, 1000);
		look(course);
	}
	assert_about(look(course), 80 * NSEC_PER_MSEC);
	/* ... in both directions */
	for (int i = 0; i < 12; i++) {
		took(course, 5 * NSEC_PER_MSEC, 1000);
		look(course);
	}
	assert_about(look(course), 5 * NSEC_PER_MSEC);
	free(course);
}

static void
test_tail__a_quiet_pool_keeps_what_it_knows(void **state)
{
	struct course *course = begin();

	(void)state;
	took(course, 10 * NSEC_PER_MSEC, 1000);
	for (int i = 0; i < 1000; i++)
		assert_about(look(course), 10 * NSEC_PER_MSEC);
	free(course);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tail__says_nothing_of_a_few),
	    cmocka_unit_test(test_tail__is_where_the_slow_ones_begin),
	    cmocka_unit_test(test_tail__a_busy_pool_forgets_in_a_few_looks),
	    cmocka_unit_test(test_tail__a_quiet_pool_keeps_what_it_knows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
