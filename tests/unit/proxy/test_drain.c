/* The process's way out, as a line of time. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

#include "proxy/control/drain.h"

static const struct drain_cfg cfg = {
    .delay = 5 * NSEC_PER_SEC, .limit = 30 * NSEC_PER_SEC};

static nsec_t
at(double seconds)
{
	return 1000 * NSEC_PER_SEC + (nsec_t)(seconds * NSEC_PER_SEC);
}

static void
test_drain__goes_through_its_times(void **state)
{
	struct drain drain = {0};
	struct drain_facts facts;

	(void)state;
	assert_int_equal(drain_beat(&drain, true, at(0)), DRAIN_WAIT);
	drain_tell(&drain, &cfg, at(0), &facts);
	assert_false(facts.is_on);
	assert_int_equal(facts.limit, cfg.limit);
	assert_true(drain_begin(&drain, &cfg, "SIGTERM", at(0), 7));
	assert_int_equal(drain_beat(&drain, true, at(4.9)), DRAIN_WAIT);
	drain_tell(&drain, &cfg, at(4), &facts);
	assert_true(facts.is_on && !facts.is_closing);
	assert_int_equal(facts.closes_in, NSEC_PER_SEC);
	assert_int_equal(facts.cut_in, 31 * NSEC_PER_SEC);
	assert_string_equal(facts.by, "SIGTERM");
	assert_int_equal(facts.began_at, 7);
	assert_int_equal(drain_beat(&drain, false, at(5)), DRAIN_CLOSE);
	assert_int_equal(drain_beat(&drain, false, at(34.9)), DRAIN_WAIT);
	drain_tell(&drain, &cfg, at(34), &facts);
	assert_true(facts.is_closing);
	assert_int_equal(facts.closes_in, 0);
	assert_int_equal(facts.cut_in, NSEC_PER_SEC);
	assert_int_equal(drain_beat(&drain, false, at(35.1)), DRAIN_OVER);
}

static void
test_drain__is_over_when_nothing_is_in_flight(void **state)
{
	struct drain drain = {0};
	struct drain_cfg quick = {0, 30 * NSEC_PER_SEC};

	(void)state;
	drain_begin(&drain, &quick, "x", at(0), 7);
	assert_int_equal(drain_beat(&drain, true, at(0)), DRAIN_CLOSE);
	drain.not_before = at(0.2);
	assert_int_equal(drain_beat(&drain, true, at(0.1)), DRAIN_WAIT);
	assert_int_equal(drain_beat(&drain, false, at(0.2)), DRAIN_WAIT);
	assert_int_equal(drain_beat(&drain, true, at(0.3)), DRAIN_OVER);
}

/* Another word changes neither its times nor whose it was. */
static void
test_drain__is_begun_once(void **state)
{
	struct drain drain = {0};
	struct drain_cfg other = {0, 0};

	(void)state;
	assert_true(drain_begin(&drain, &cfg, "uid:0", at(0), 7));
	assert_false(drain_begin(&drain, &other, "SIGTERM", at(1), 8));
	assert_string_equal(drain.by, "uid:0");
	assert_int_equal(drain_beat(&drain, true, at(2)), DRAIN_WAIT);
}

static void
test_drain__the_second_signal_is_another_word(void **state)
{
	struct drain drain = {0};

	(void)state;
	drain_begin(&drain, &cfg, "uid:0", at(0), 7);
	assert_false(drain_signal(&drain));
	assert_true(drain_signal(&drain));
}

/* A beat that came late takes nothing of the limit away. */
static void
test_drain__the_limit_is_from_the_closing(void **state)
{
	struct drain drain = {0};

	(void)state;
	drain_begin(&drain, &cfg, "x", at(0), 7);
	assert_int_equal(drain_beat(&drain, false, at(60)), DRAIN_CLOSE);
	assert_int_equal(drain_beat(&drain, false, at(89)), DRAIN_WAIT);
	assert_int_equal(drain_beat(&drain, false, at(91)), DRAIN_OVER);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_drain__goes_through_its_times),
	    cmocka_unit_test(test_drain__is_over_when_nothing_is_in_flight),
	    cmocka_unit_test(test_drain__is_begun_once),
	    cmocka_unit_test(test_drain__the_second_signal_is_another_word),
	    cmocka_unit_test(test_drain__the_limit_is_from_the_closing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
