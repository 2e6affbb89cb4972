/*
 * The steps of a rollout in virtual time: phases, what they wait for, what
 * holds them, what sends them back.
 */
#include "tests/unit/routing/course.h"

static void
test_rollout__goes_through_its_phases_to_done(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_expect(&c, ROLLOUT_PENDING, "", 0);
	course_step(&c, 0);
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	assert_int_equal(c.publishes, 1);
	course_run(&c, MINUTES(10) - SECONDS(1));
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	assert_int_equal(c.publishes, 1);
	course_run(&c, SECONDS(1));
	assert_int_equal(c.rollout.phase, 1);
	course_run(&c, MINUTES(2));
	course_expect(&c, ROLLOUT_RUNNING, "", 5000);
	course_run(&c, MINUTES(5));
	course_expect(&c, ROLLOUT_RUNNING, "", 9900);
	course_run(&c, MINUTES(5));
	course_expect(&c, ROLLOUT_PROMOTED, "", 10000);
	assert_true(c.rollout.is_promoted);
	course_run(&c, MINUTES(30));
	course_expect(&c, ROLLOUT_DONE, "", 10000);
	assert_int_equal(c.seen[EVENT_STARTED], 1);
	assert_int_equal(c.seen[EVENT_PHASE], 3);
	assert_int_equal(c.seen[EVENT_PROMOTED], 1);
	assert_int_equal(c.seen[EVENT_DONE], 1);
	assert_int_equal(c.rollout.judge->begun, 3);
	course_end(&c);
}

static void
test_rollout__holdback_stays_until_keep_warm_ends(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.plan.holdback = 100;
	c.plan.n_phases = 1;
	course_start(&c);
	course_run(&c, MINUTES(11));
	course_expect(&c, ROLLOUT_PROMOTED, "", 9900);
	assert_int_equal(c.rollout.judge->phase.baseline, 100);
	course_run(&c, MINUTES(30));
	course_expect(&c, ROLLOUT_DONE, "", 10000);
	course_end(&c);
}

static void
test_rollout__a_ramp_is_monotone_and_has_few_steps(void **state)
{
	struct course c;
	bp_t last = 500;
	unsigned steps = 0;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, MINUTES(10) + SECONDS(1));
	assert_int_equal(c.rollout.phase, 1);
	while (c.rollout.weight < 5000) {
		course_step(&c, 50 * NSEC_PER_MSEC);
		assert_true(c.rollout.weight >= last);
		steps += c.rollout.weight > last;
		last = c.rollout.weight;
	}
	assert_in_range(steps, 16, ROLLOUT_RAMP_STEPS);
	assert_int_equal(c.rollout.judge->reweighed, steps);
	course_end(&c);
}

static void
test_rollout__min_requests_are_of_this_phase(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.phases[0].min_requests = 20000;
	c.rate = 1; /* 12,000 in ten minutes */
	course_start(&c);
	course_run(&c, MINUTES(10));
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	course_run(&c, MINUTES(2));
	course_expect(&c, ROLLOUT_HELD, "undecided", 500);
	c.rate = 10;
	course_run(&c, MINUTES(1));
	assert_int_equal(c.rollout.phase, 1);
	assert_true(c.rollout.phase_requests < 20000);
	course_end(&c);
}

static void
test_rollout__until_proven_waits_for_the_verdict(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.phases[0].until = UNTIL_PROVEN;
	course_start(&c);
	course_run(&c, MINUTES(60));
	course_expect(&c, ROLLOUT_HELD, "undecided", 500);
	assert_int_equal(c.rollout.phase, 0);
	c.rollout.judge->all = VERDICT_PASS;
	course_run(&c, SECONDS(1));
	assert_int_equal(c.rollout.phase, 1);
	course_end(&c);
}

static void
test_rollout__without_traffic_it_is_held_as_undecided_and_says_how_far_it_is(
    void **state)
{
	struct course c;
	char next[256];

	(void)state;
	course_plan(&c);
	c.phases[0].min_requests = 2000;
	c.phases[0].timeout = MINUTES(20);
	c.rate = 0;
	course_start(&c);
	course_run(&c, MINUTES(10) - SECONDS(1));
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	course_run(&c, SECONDS(3));
	course_expect(&c, ROLLOUT_HELD, "undecided", 500);
	assert_int_equal(c.seen[EVENT_HELD], 1);
	assert_int_equal(c.seen[EVENT_TIMEOUT], 0);
	assert_non_null(strstr(c.last[EVENT_HELD],
	    "held: undecided: canary at 5%, 0 of 2000 requests"));
	rollout_next(&c.rollout, c.input.now, c.input.wall, next, sizeof(next));
	assert_string_equal(next, "canary at 5%, 0 of 2000 requests");
	/* the timeout is told too, and nothing else changes */
	course_run(&c, MINUTES(30));
	course_expect(&c, ROLLOUT_HELD, "undecided", 500);
	assert_int_equal(c.seen[EVENT_HELD], 1);
	assert_int_equal(c.seen[EVENT_TIMEOUT], 1);
	c.rate = 10;
	course_run(&c, SECONDS(11));
	assert_int_equal(c.rollout.phase, 1);
	course_end(&c);
}

/* What the guards need and what the phase asks for is one number. */
static void
test_rollout__phase_and_guards_tell_one_number_of_requests(void **state)
{
	struct course c;
	char next[256];

	(void)state;
	course_plan(&c);
	c.phases[0].min_requests = 2000;
	c.phases[0].until = UNTIL_PROVEN;
	course_start(&c);
	course_run(&c, SECONDS(50)); /* a tick begins it, 999 count */
	c.rollout.judge->of_about[0] = 5000;
	c.rollout.judge->of_about[1] = 300;
	rollout_next(&c.rollout, c.input.now, c.input.wall, next, sizeof(next));
	assert_non_null(strstr(next, ", 999 of 5999 requests, guard errors "
	                             "undecided, guard latency undecided"));
	c.rollout.judge->of_about[0] = 0;
	rollout_next(&c.rollout, c.input.now, c.input.wall, next, sizeof(next));
	assert_non_null(strstr(next, ", 999 of 2000 requests, "));
	course_end(&c);
}

static void
test_rollout__a_verdict_is_told_once(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, MINUTES(1));
	c.rollout.judge->verdicts[0] = VERDICT_PASS;
	course_step(&c, SECONDS(1));
	assert_string_equal(
	    c.last[EVENT_VERDICT], "guard errors: as told, pass");
	course_end(&c);
}

static void
test_rollout__a_timeout_holds_as_undecided_and_goes_on_when_proven(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.phases[0].until = UNTIL_PROVEN;
	c.phases[0].timeout = MINUTES(20);
	course_start(&c);
	course_run(&c, MINUTES(21));
	course_expect(&c, ROLLOUT_HELD, "undecided", 500);
	assert_int_equal(c.seen[EVENT_TIMEOUT], 1);
	course_run(&c, MINUTES(60));
	assert_int_equal(c.seen[EVENT_TIMEOUT], 1);
	c.rollout.judge->all = VERDICT_PASS;
	course_run(&c, SECONDS(1));
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	assert_int_equal(c.rollout.phase, 1);
	course_end(&c);
}

static void
test_rollout__a_timeout_may_roll_back_or_promote(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.phases[0].until = UNTIL_PROVEN;
	c.phases[0].timeout = MINUTES(20);
	c.plan.on_timeout = TIMEOUT_ROLLBACK;
	course_start(&c);
	course_run(&c, MINUTES(21));
	course_expect(&c, ROLLOUT_ROLLED_BACK, "", 0);
	assert_int_equal(c.rollout.cause, CAUSE_TIMEOUT);
	course_end(&c);

	c.plan.on_timeout = TIMEOUT_PROMOTE;
	course_start(&c);
	course_run(&c, MINUTES(20) - SECONDS(1));
	assert_int_equal(c.rollout.phase, 0);
	course_run(&c, SECONDS(2));
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	assert_int_equal(c.rollout.phase, 1);
	course_end(&c);
}

static void
test_rollout__a_timeout_opens_no_gate(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.phases[0].timeout = MINUTES(20);
	c.phases[0].gates[0] = 1;
	c.phases[0].n_gates = 1;
	c.plan.on_timeout = TIMEOUT_PROMOTE;
	course_start(&c);
	course_run(&c, MINUTES(60));
	course_expect(&c, ROLLOUT_HELD, "gate:leads", 500);
	course_end(&c);
}

/* ---- guards ---- */

static void
test_rollout__a_failed_guard_goes_back_with_one_publish(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, MINUTES(1));
	c.publishes = 0;
	c.rollout.judge->verdicts[0] = VERDICT_FAIL;
	course_step(&c, 50 * NSEC_PER_MSEC);
	course_expect(&c, ROLLOUT_ROLLED_BACK, "", 0);
	assert_int_equal(c.publishes, 1);
	assert_int_equal(c.rollout.cause, CAUSE_GUARD);
	assert_int_equal(c.rollout.cause_guard, 0);
	assert_string_equal(
	    c.rollout.cause_words, "guard errors: as told, fail");
	assert_int_equal(c.seen[EVENT_ROLLING_BACK], 1);
	assert_int_equal(c.seen[EVENT_ROLLED_BACK], 1);
	course_run(&c, MINUTES(60));
	assert_int_equal(c.rollout.weight, 0);
	assert_int_equal(c.publishes, 1);
	course_end(&c);
}

/* To 99 % with slow answers: the stable pool must be given time. */
static void
reach_bake(struct course *c)
{
	course_start(c);
	while (c->rollout.weight < 9900)
		course_step(c, 50 * NSEC_PER_MSEC);
}

static void
test_rollout__auto_takes_a_ramp_when_most_traffic_is_there_and_nothing_broke(
    void **state)
{
	struct course c;
	bp_t last = 9900;

	(void)state;
	course_plan(&c);
	reach_bake(&c);
	c.rollout.judge->verdicts[1] = VERDICT_FAIL;
	course_step(&c, 50 * NSEC_PER_MSEC);
	assert_int_equal(c.rollout.state, ROLLOUT_ROLLING_BACK);
	while (c.rollout.state == ROLLOUT_ROLLING_BACK) {
		course_step(&c, 50 * NSEC_PER_MSEC);
		assert_true(c.rollout.weight <= last);
		last = c.rollout.weight;
	}
	course_expect(&c, ROLLOUT_ROLLED_BACK, "", 0);
	assert_in_range(c.seen[EVENT_WEIGHT], 31, 64);
	course_end(&c);
}

static void
test_rollout__a_ramp_down_becomes_instant_when_errors_are_proven(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	reach_bake(&c);
	c.rollout.judge->verdicts[1] = VERDICT_FAIL;
	course_run(&c, SECONDS(5));
	assert_int_equal(c.rollout.state, ROLLOUT_ROLLING_BACK);
	assert_true(c.rollout.weight > 0);
	c.rollout.judge->verdicts[0] = VERDICT_FAIL;
	course_step(&c, 50 * NSEC_PER_MSEC);
	course_expect(&c, ROLLOUT_ROLLED_BACK, "", 0);
	course_end(&c);
}

static void
test_rollout__errors_at_99_percent_go_back_at_once(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	reach_bake(&c);
	c.rollout.judge->verdicts[0] = VERDICT_FAIL;
	course_step(&c, 50 * NSEC_PER_MSEC);
	course_expect(&c, ROLLOUT_ROLLED_BACK, "", 0);
	course_end(&c);
}

static void
test_rollout__guards_are_looked_at_in_every_live_state(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	/* paused */
	course_start(&c);
	course_run(&c, MINUTES(1));
	assert_int_equal(course_ask(&c, VERB_PAUSE, false), REFUSED_NONE);
	course_run(&c, MINUTES(1));
	course_expect(&c, ROLLOUT_HELD, "paused", 500);
	c.rollout.judge->verdicts[0] = VERDICT_FAIL;
	course_step(&c, 50 * NSEC_PER_MSEC);
	course_expect(&c, ROLLOUT_ROLLED_BACK, "", 0);
	course_end(&c);
	/* at a gate, in a freeze */
	c.phases[0].gates[0] = 1;
	c.phases[0].n_gates = 1;
	course_start(&c);
	course_run(&c, MINUTES(11));
	course_expect(&c, ROLLOUT_HELD, "gate:leads", 500);
	c.input.is_frozen = true;
	c.rollout.judge->verdicts[0] = VERDICT_FAIL;
	course_step(&c, 50 * NSEC_PER_MSEC);
	course_expect(&c, ROLLOUT_ROLLED_BACK, "", 0);
	course_end(&c);
	/* kept warm */
	c.phases[0].n_gates = 0;
	c.plan.n_phases = 1;
	course_start(&c);
	course_run(&c, MINUTES(11));
	course_expect(&c, ROLLOUT_PROMOTED, "", 10000);
	c.rollout.judge->verdicts[0] = VERDICT_FAIL;
	course_step(&c, 50 * NSEC_PER_MSEC);
	course_expect(&c, ROLLOUT_ROLLED_BACK, "", 0);
	assert_false(c.rollout.is_promoted);
	course_end(&c);
}

static void
test_rollout__a_holding_guard_holds_until_it_clears(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, MINUTES(9));
	c.rollout.judge->verdicts[2] = VERDICT_FAIL;
	course_run(&c, MINUTES(30));
	course_expect(&c, ROLLOUT_HELD, "guard:slo", 500);
	c.rollout.judge->verdicts[2] = VERDICT_UNDECIDED;
	course_run(&c, SECONDS(4));
	course_expect(&c, ROLLOUT_HELD, "guard:slo", 500);
	course_run(&c, SECONDS(2));
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	/* the hold stood still meanwhile: a minute is left */
	course_run(&c, SECONDS(50));
	assert_int_equal(c.rollout.phase, 0);
	course_run(&c, SECONDS(15));
	assert_int_equal(c.rollout.phase, 1);
	course_end(&c);
}

static void
test_rollout__an_observing_guard_does_nothing(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.guards[0].action = ACTION_OBSERVE;
	course_start(&c);
	c.rollout.judge->verdicts[0] = VERDICT_FAIL;
	course_run(&c, MINUTES(1));
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	assert_true(c.seen[EVENT_VERDICT] > 0);
	course_end(&c);
}

/* ---- holds ---- */

static void
test_rollout__a_pause_stops_the_hold_and_the_ramp(void **state)
{
	struct course c;
	bp_t there;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, MINUTES(9));
	assert_int_equal(course_ask(&c, VERB_PAUSE, false), REFUSED_NONE);
	course_run(&c, MINUTES(60));
	course_expect(&c, ROLLOUT_HELD, "paused", 500);
	assert_int_equal(course_ask(&c, VERB_RESUME, false), REFUSED_NONE);
	course_run(&c, SECONDS(55));
	assert_int_equal(c.rollout.phase, 0);
	course_run(&c, MINUTES(1));
	assert_int_equal(c.rollout.phase, 1);
	there = c.rollout.weight;
	assert_in_range(there, 501, 4999);
	assert_int_equal(course_ask(&c, VERB_PAUSE, false), REFUSED_NONE);
	course_run(&c, MINUTES(10));
	course_expect(&c, ROLLOUT_HELD, "paused", there);
	course_end(&c);
}

static void
test_rollout__an_unhealthy_pool_holds(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, MINUTES(1));
	c.input.is_healthy = false;
	course_run(&c, ROLLOUT_DOWN_MAX / 2);
	course_expect(&c, ROLLOUT_HELD, "unhealthy", 500);
	c.input.is_healthy = true;
	course_run(&c, SECONDS(6));
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	course_end(&c);
}

static void
test_rollout__a_pool_that_stays_down_goes_back(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, MINUTES(1));
	c.input.is_healthy = false;
	course_run(&c, 2 * ROLLOUT_DOWN_MAX);
	course_expect(&c, ROLLOUT_ROLLED_BACK, "", 0);
	assert_int_equal(c.rollout.cause, CAUSE_UNHEALTHY);
	course_end(&c);
}

static void
test_rollout__a_freeze_lets_no_weight_grow_and_every_rollback_through(
    void **state)
{
	struct course c;
	bp_t there;

	(void)state;
	course_plan(&c);
	course_start(&c);
	c.input.is_frozen = true;
	course_run(&c, MINUTES(1));
	course_expect(&c, ROLLOUT_PENDING, "", 0);
	c.input.is_frozen = false;
	course_run(&c, MINUTES(11));
	there = c.rollout.weight;
	assert_int_equal(c.rollout.phase, 1);
	c.input.is_frozen = true;
	course_run(&c, MINUTES(30));
	course_expect(&c, ROLLOUT_HELD, "freeze", there);
	assert_int_equal(course_ask(&c, VERB_PROMOTE, false), REFUSED_FROZEN);
	assert_int_equal(course_ask(&c, VERB_ABORT, false), REFUSED_NONE);
	course_expect(&c, ROLLOUT_ABORTED, "", 0);
	course_end(&c);
}

static void
test_rollout__a_freeze_at_the_end_of_a_phase_promotes_nothing(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.plan.n_phases = 1;
	course_start(&c);
	course_run(&c, MINUTES(1));
	c.input.is_frozen = true;
	course_run(&c, MINUTES(5));
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	course_run(&c, MINUTES(30));
	course_expect(&c, ROLLOUT_HELD, "freeze", 500);
	c.input.is_frozen = false;
	course_run(&c, SECONDS(1));
	course_expect(&c, ROLLOUT_PROMOTED, "", 10000);
	course_end(&c);
}

/* ---- clocks ---- */

static void
test_rollout__a_stall_makes_the_look_blind(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, SECONDS(10));
	c.rollout.judge->blind = 0;
	course_step(&c, 900 * NSEC_PER_MSEC);
	assert_int_equal(c.rollout.judge->blind, 0);
	course_step(&c, SECONDS(2));
	assert_int_equal(c.rollout.judge->blind, 1);
	course_end(&c);
}

/* A container that was paused for an hour has not watched for an hour. */
static void
test_rollout__a_stall_is_no_time_under_good_conditions(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.phases[0].timeout = MINUTES(30);
	c.plan.on_timeout = TIMEOUT_ROLLBACK;
	course_start(&c);
	course_run(&c, MINUTES(1));
	course_step(&c, MINUTES(60));
	course_run(&c, SECONDS(1));
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	assert_int_equal(c.rollout.phase, 0);
	course_run(&c, MINUTES(9));
	assert_int_equal(c.rollout.phase, 1);
	course_run(&c, SECONDS(10));
	assert_in_range(c.rollout.weight, 500, 1500);
	course_step(&c, MINUTES(60)); /* and a ramp does not jump */
	assert_in_range(c.rollout.weight, 500, 1500);
	course_end(&c);
}

static void
test_rollout__a_wall_clock_that_jumps_changes_nothing(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, MINUTES(5));
	for (int sign = -1; sign <= 1; sign += 2) {
		struct rollout_input in = c.input;

		in.now += 50 * NSEC_PER_MSEC;
		in.wall += sign * 86400;
		rollout_step(&c.rollout, &in, &c.output);
		assert_false(c.output.is_dirty);
		c.input.now = in.now;
	}
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	course_end(&c);
}

static void
resume(struct course *c, nsec_t gap)
{
	rollout_release(&c->rollout);
	c->input.now = SECONDS(5); /* another process, another clock */
	rollout_resume(&c->rollout, gap, c->input.now);
}

static void
test_rollout__a_restart_goes_on_with_the_hold_within_a_bound(void **state)
{
	struct course c;
	nsec_t ran;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, MINUTES(2));
	ran = c.rollout.hold_ran;
	resume(&c, SECONDS(2));
	assert_int_equal(c.rollout.hold_ran, ran + SECONDS(2));
	resume(&c, -MINUTES(1440));
	assert_int_equal(c.rollout.hold_ran, ran + SECONDS(2));
	resume(&c, MINUTES(1440));
	assert_int_equal(
	    c.rollout.hold_ran, ran + SECONDS(2) + ROLLOUT_GAP_MAX);
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	assert_int_equal(c.rollout.judge->begun, 1);
	course_step(&c, 50 * NSEC_PER_MSEC);
	assert_int_equal(c.rollout.judge->blind, 1);
	course_end(&c);
}

static void
test_rollout__what_cannot_be_recorded_does_not_happen(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, MINUTES(1));
	c.fails_to_record = true;
	course_run(&c, MINUTES(60));
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	assert_int_equal(c.rollout.phase, 0);
	assert_int_equal(c.rollout.judge->begun, 1);
	c.fails_to_record = false;
	course_run(&c, SECONDS(1));
	assert_int_equal(c.rollout.phase, 1);
	/* but a rollback does */
	c.fails_to_record = true;
	c.rollout.judge->verdicts[0] = VERDICT_FAIL;
	course_step(&c, 50 * NSEC_PER_MSEC);
	course_expect(&c, ROLLOUT_ROLLED_BACK, "", 0);
	course_end(&c);
}

/* ---- shares ---- */

static void
test_rollout__other_pools_of_the_split_keep_their_weight(void **state)
{
	struct course c;
	bp_t candidate, baseline;

	(void)state;
	course_plan(&c);
	course_start(&c);
	c.rollout.share = 9000;
	course_run(&c, MINUTES(11));
	while (c.rollout.state != ROLLOUT_PROMOTED) {
		rollout_arms(&c.rollout, &candidate, &baseline);
		assert_int_equal(candidate + baseline, 9000);
		course_step(&c, 50 * NSEC_PER_MSEC);
	}
	course_expect(&c, ROLLOUT_PROMOTED, "", 9000);
	course_end(&c);
}

static void
test_rollout__the_group_waits_and_goes_back_together(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	c.input.is_group_ready = false;
	course_run(&c, MINUTES(30));
	course_expect(&c, ROLLOUT_RUNNING, "", 500);
	assert_true(c.rollout.is_ready);
	c.input.is_group_ready = true;
	course_step(&c, 50 * NSEC_PER_MSEC);
	assert_int_equal(c.rollout.phase, 1);
	c.input.is_group_failed = true;
	course_step(&c, 50 * NSEC_PER_MSEC);
	course_expect(&c, ROLLOUT_ROLLED_BACK, "", 0);
	assert_int_equal(c.rollout.cause, CAUSE_GROUP);
	course_end(&c);
}

static void
test_ramp__is_exact_at_both_ends(void **state)
{
	(void)state;
	assert_int_equal(ramp_weight(500, 5000, 0, MINUTES(2)), 500);
	assert_int_equal(ramp_weight(500, 5000, MINUTES(2), MINUTES(2)), 5000);
	assert_int_equal(ramp_weight(500, 5000, MINUTES(1), MINUTES(2)), 2750);
	assert_int_equal(ramp_weight(5, 8, SECONDS(50), MINUTES(2)), 6);
	assert_int_equal(ramp_weight(5, 8, 0, 0), 8);
	assert_int_equal(
	    ramp_weight(0, 10000, MINUTES(43200) - 1, MINUTES(43200)), 9687);
}

static void
test_ramp__down_never_goes_up(void **state)
{
	bp_t last = 9999;

	(void)state;
	for (nsec_t t = 0; t <= SECONDS(30); t += 7 * NSEC_PER_MSEC) {
		bp_t weight = ramp_weight(9999, 0, t, SECONDS(30));

		assert_true(weight <= last);
		last = weight;
	}
	assert_int_equal(ramp_weight(9999, 0, SECONDS(30), SECONDS(30)), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rollout__goes_through_its_phases_to_done),
	    cmocka_unit_test(test_rollout__holdback_stays_until_keep_warm_ends),
	    cmocka_unit_test(
	        test_rollout__a_ramp_is_monotone_and_has_few_steps),
	    cmocka_unit_test(test_rollout__min_requests_are_of_this_phase),
	    cmocka_unit_test(test_rollout__until_proven_waits_for_the_verdict),
	    cmocka_unit_test(
	        test_rollout__a_timeout_holds_as_undecided_and_goes_on_when_proven),
	    cmocka_unit_test(
	        test_rollout__without_traffic_it_is_held_as_undecided_and_says_how_far_it_is),
	    cmocka_unit_test(
	        test_rollout__phase_and_guards_tell_one_number_of_requests),
	    cmocka_unit_test(test_rollout__a_verdict_is_told_once),
	    cmocka_unit_test(test_rollout__a_timeout_may_roll_back_or_promote),
	    cmocka_unit_test(test_rollout__a_timeout_opens_no_gate),
	    cmocka_unit_test(
	        test_rollout__a_failed_guard_goes_back_with_one_publish),
	    cmocka_unit_test(
	        test_rollout__auto_takes_a_ramp_when_most_traffic_is_there_and_nothing_broke),
	    cmocka_unit_test(
	        test_rollout__a_ramp_down_becomes_instant_when_errors_are_proven),
	    cmocka_unit_test(
	        test_rollout__errors_at_99_percent_go_back_at_once),
	    cmocka_unit_test(
	        test_rollout__guards_are_looked_at_in_every_live_state),
	    cmocka_unit_test(
	        test_rollout__a_holding_guard_holds_until_it_clears),
	    cmocka_unit_test(test_rollout__an_observing_guard_does_nothing),
	    cmocka_unit_test(test_rollout__a_pause_stops_the_hold_and_the_ramp),
	    cmocka_unit_test(test_rollout__an_unhealthy_pool_holds),
	    cmocka_unit_test(test_rollout__a_pool_that_stays_down_goes_back),
	    cmocka_unit_test(
	        test_rollout__a_freeze_lets_no_weight_grow_and_every_rollback_through),
	    cmocka_unit_test(
	        test_rollout__a_freeze_at_the_end_of_a_phase_promotes_nothing),
	    cmocka_unit_test(test_rollout__a_stall_makes_the_look_blind),
	    cmocka_unit_test(
	        test_rollout__a_stall_is_no_time_under_good_conditions),
	    cmocka_unit_test(
	        test_rollout__a_wall_clock_that_jumps_changes_nothing),
	    cmocka_unit_test(
	        test_rollout__a_restart_goes_on_with_the_hold_within_a_bound),
	    cmocka_unit_test(
	        test_rollout__what_cannot_be_recorded_does_not_happen),
	    cmocka_unit_test(
	        test_rollout__other_pools_of_the_split_keep_their_weight),
	    cmocka_unit_test(
	        test_rollout__the_group_waits_and_goes_back_together),
	    cmocka_unit_test(test_ramp__is_exact_at_both_ends),
	    cmocka_unit_test(test_ramp__down_never_goes_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
