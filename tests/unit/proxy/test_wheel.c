/* Deadlines never fire early, fire within two ticks, and survive moves and
 * goodbyes. */
/* clang-format off: cmocka.h wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "proxy/wheel.h"

enum { MANY = 500 };

struct stage {
	struct wheel wheel;
	struct timer timers[MANY];
	wheel_ms_t fired_at[MANY];
	int n_fired;
	struct timer *victim; /* forgotten by the next one that fires */
};

static void
on_fire(void *ctx, struct timer *timer)
{
	struct stage *stage = ctx;

	stage->fired_at[timer - stage->timers] = stage->wheel.now;
	stage->n_fired++;
	if (stage->victim && stage->victim != timer)
		wheel_forget(stage->victim);
	stage->victim = NULL;
}

static void
run_until(struct stage *stage, wheel_ms_t end)
{
	for (wheel_ms_t now = stage->wheel.now; (int32_t)(now - end) <= 0;
	     now += 7)
		wheel_turn(&stage->wheel, now, on_fire, stage);
}

static void
test_wheel__fires_in_time_and_never_early(void **state)
{
	static struct stage stage;

	(void)state;
	wheel_init(&stage.wheel);
	for (int i = 0; i < MANY; i++)
		wheel_arm(
		    &stage.wheel, &stage.timers[i], (wheel_ms_t)(i * 137 + 1));
	run_until(&stage, MANY * 137 + 1000);
	assert_int_equal(stage.n_fired, MANY);
	for (int i = 0; i < MANY; i++) {
		wheel_ms_t due = (wheel_ms_t)(i * 137 + 1);

		assert_true(stage.fired_at[i] >= due);
		assert_true(stage.fired_at[i] <= due + 2 * WHEEL_TICK_MS + 7);
	}
}

static void
test_wheel__a_deadline_moved_later_fires_once_and_later(void **state)
{
	static struct stage stage;

	(void)state;
	wheel_init(&stage.wheel);
	wheel_arm(&stage.wheel, &stage.timers[0], 100);
	for (wheel_ms_t now = 0; now < 5000; now += 50) {
		wheel_turn(&stage.wheel, now, on_fire, &stage);
		wheel_arm(&stage.wheel, &stage.timers[0], now + 100);
	}
	assert_int_equal(stage.n_fired, 0);
	run_until(&stage, 6000);
	assert_int_equal(stage.n_fired, 1);
}

static void
test_wheel__a_deadline_moved_forward_fires_earlier(void **state)
{
	static struct stage stage;

	(void)state;
	wheel_init(&stage.wheel);
	wheel_arm(&stage.wheel, &stage.timers[0], 60000);
	wheel_arm(&stage.wheel, &stage.timers[0], 300);
	run_until(&stage, 500);
	assert_int_equal(stage.n_fired, 1);
}

static void
test_wheel__a_disarmed_or_forgotten_timer_stays_silent(void **state)
{
	static struct stage stage;

	(void)state;
	wheel_init(&stage.wheel);
	for (int i = 0; i < 3; i++)
		wheel_arm(&stage.wheel, &stage.timers[i], 100);
	wheel_disarm(&stage.timers[0]);
	wheel_forget(&stage.timers[1]);
	run_until(&stage, 400);
	assert_int_equal(stage.n_fired, 1);
	assert_true(stage.fired_at[2] >= 100);
}

static void
test_wheel__one_may_forget_another_of_the_same_slot(void **state)
{
	static struct stage stage;

	(void)state;
	wheel_init(&stage.wheel);
	wheel_arm(&stage.wheel, &stage.timers[0], 100);
	wheel_arm(&stage.wheel, &stage.timers[1], 100);
	stage.victim = &stage.timers[0];
	run_until(&stage, 90);
	/* Whichever fires first takes the other along, unless it is itself. */
	run_until(&stage, 400);
	assert_true(stage.n_fired == 1 || stage.n_fired == 2);
	assert_true(!stage.timers[0].is_linked);
}

static void
test_wheel__a_long_sleep_fires_all_that_is_due(void **state)
{
	static struct stage stage;

	(void)state;
	wheel_init(&stage.wheel);
	for (int i = 0; i < MANY; i++)
		wheel_arm(
		    &stage.wheel, &stage.timers[i], (wheel_ms_t)(i * 50 + 10));
	wheel_turn(&stage.wheel, 3600 * 1000, on_fire, &stage);
	assert_int_equal(stage.n_fired, MANY);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_wheel__fires_in_time_and_never_early),
	    cmocka_unit_test(
	        test_wheel__a_deadline_moved_later_fires_once_and_later),
	    cmocka_unit_test(
	        test_wheel__a_deadline_moved_forward_fires_earlier),
	    cmocka_unit_test(
	        test_wheel__a_disarmed_or_forgotten_timer_stays_silent),
	    cmocka_unit_test(
	        test_wheel__one_may_forget_another_of_the_same_slot),
	    cmocka_unit_test(test_wheel__a_long_sleep_fires_all_that_is_due),
	};

	return cmocka_run_group_tests_name("wheel", tests, NULL, NULL);
}
