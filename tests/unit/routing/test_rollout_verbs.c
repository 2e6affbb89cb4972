/* What people may do to a rollout, gates included. */
#include "tests/unit/routing/course.h"

static void
test_verb__promote_ends_the_phase_and_full_ends_all(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.phases[0].until = UNTIL_PROVEN;
	c.phases[0].min_requests = 1000000;
	course_start(&c);
	course_run(&c, SECONDS(10));
	assert_int_equal(course_ask(&c, VERB_PROMOTE, false), REFUSED_NONE);
	course_step(&c, 50 * NSEC_PER_MSEC);
	assert_int_equal(c.rollout.phase, 1);
	assert_false(c.rollout.is_skipping);
	assert_int_equal(course_ask(&c, VERB_PROMOTE, true), REFUSED_NONE);
	course_step(&c, 50 * NSEC_PER_MSEC);
	course_expect(&c, ROLLOUT_PROMOTED, "", 10000);
	/* and once more ends the warmth */
	assert_int_equal(course_ask(&c, VERB_PROMOTE, false), REFUSED_NONE);
	course_step(&c, 50 * NSEC_PER_MSEC);
	course_expect(&c, ROLLOUT_DONE, "", 10000);
	course_end(&c);
}

static void
test_verb__promote_opens_no_gate(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.phases[2].gates[0] = 1;
	c.phases[2].n_gates = 1;
	course_start(&c);
	course_run(&c, SECONDS(10));
	assert_int_equal(course_ask(&c, VERB_PROMOTE, true), REFUSED_NONE);
	course_run(&c, SECONDS(10));
	course_expect(&c, ROLLOUT_HELD, "gate:leads", 500);
	assert_int_equal(course_vote(&c, "a", "leads", false), REFUSED_NONE);
	assert_int_equal(course_vote(&c, "b", NULL, false), REFUSED_NONE);
	course_step(&c, 50 * NSEC_PER_MSEC);
	course_expect(&c, ROLLOUT_PROMOTED, "", 10000);
	course_end(&c);
}

static void
test_verb__undo_while_warm_goes_back_at_once(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.plan.n_phases = 1;
	c.plan.rollback.mode = ROLLBACK_RAMP;
	course_start(&c);
	course_run(&c, MINUTES(11));
	course_expect(&c, ROLLOUT_PROMOTED, "", 10000);
	assert_int_equal(course_ask(&c, VERB_UNDO, false), REFUSED_NONE);
	course_expect(&c, ROLLOUT_ABORTED, "", 0);
	assert_int_equal(c.rollout.cause, CAUSE_UNDO);
	assert_false(c.rollout.is_promoted);
	course_end(&c);
}

static void
test_verb__a_second_abort_cuts_the_ramp_short(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.plan.rollback.mode = ROLLBACK_RAMP;
	course_start(&c);
	course_run(&c, MINUTES(1));
	assert_int_equal(course_ask(&c, VERB_ABORT, false), REFUSED_NONE);
	assert_int_equal(c.rollout.state, ROLLOUT_ROLLING_BACK);
	assert_int_equal(course_ask(&c, VERB_ABORT, false), REFUSED_NONE);
	course_expect(&c, ROLLOUT_ABORTED, "", 0);
	course_end(&c);
}

static void
test_verb__abort_before_the_beginning_leaves_the_weights(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	assert_int_equal(course_ask(&c, VERB_ABORT, false), REFUSED_NONE);
	course_expect(&c, ROLLOUT_ABORTED, "", 0);
	assert_int_equal(c.publishes, 0);
	course_end(&c);
}

static void
test_verb__promote_to_a_pool_without_endpoints_is_refused(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, SECONDS(1));
	c.input.is_healthy = false;
	assert_int_equal(course_ask(&c, VERB_PROMOTE, true), REFUSED_UNHEALTHY);
	assert_false(c.rollout.is_full);
	course_end(&c);
}

/* Each state reached by itself, each verb tried: what the table refuses changes
 * not a byte. */
static void
try_verbs(struct course *c, const char *offered)
{
	char buf[128];

	assert_string_equal(
	    rollout_verbs_print(&c->rollout, c->input.wall, buf, sizeof(buf)),
	    offered);
	for (int verb = 0; verb < VERB_COUNT; verb++) {
		static struct rollout before;

		if (verb == VERB_RETRY || verb == VERB_APPROVE ||
		    verb == VERB_REJECT ||
		    rollout_may(&c->rollout, (enum rollout_verb)verb))
			continue;
		before = c->rollout;
		assert_int_equal(course_ask(c, (enum rollout_verb)verb, false),
		    REFUSED_VERB);
		assert_memory_equal(&before, &c->rollout, sizeof(before));
	}
}

static void
test_verb__the_table_says_what_is_legal(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	course_start(&c);
	try_verbs(&c, "pause, abort");
	course_run(&c, SECONDS(1));
	try_verbs(&c, "pause, promote, abort");
	course_ask(&c, VERB_PAUSE, false);
	try_verbs(&c, "resume, promote, abort");
	course_ask(&c, VERB_PROMOTE, true);
	course_run(&c, SECONDS(1));
	try_verbs(&c, "promote, abort, undo");
	course_run(&c, MINUTES(31));
	try_verbs(&c, "none");
	course_end(&c);
	course_start(&c);
	course_run(&c, SECONDS(1));
	course_ask(&c, VERB_ABORT, false);
	try_verbs(&c, "retry");
	course_end(&c);
}

/* ---- gates ---- */

static void
gate(struct course *c, uint8_t which)
{
	c->phases[0].gates[c->phases[0].n_gates++] = which;
}

static void
test_verb__promote_does_not_end_a_pause_before_a_closed_gate(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	gate(&c, 1);
	course_start(&c);
	course_run(&c, SECONDS(10));
	course_ask(&c, VERB_PAUSE, false);
	assert_int_equal(course_ask(&c, VERB_PROMOTE, false), REFUSED_NONE);
	course_run(&c, SECONDS(10));
	course_expect(&c, ROLLOUT_HELD, "paused", 500);
	assert_non_null(strstr(c.last[EVENT_HELD], "gate leads"));
	course_ask(&c, VERB_RESUME, false);
	course_run(&c, SECONDS(1));
	course_expect(&c, ROLLOUT_HELD, "gate:leads", 500);
	course_vote(&c, "a", NULL, false);
	course_vote(&c, "b", NULL, false);
	course_run(&c, SECONDS(1));
	assert_int_equal(c.rollout.phase, 1);
	/* no gate in the way: it does */
	course_ask(&c, VERB_PAUSE, false);
	course_ask(&c, VERB_PROMOTE, false);
	course_step(&c, 50 * NSEC_PER_MSEC);
	assert_int_equal(c.rollout.phase, 2);
	assert_int_equal(c.rollout.state, ROLLOUT_RUNNING);
	course_end(&c);
}

static void
test_verb__votes_are_offered_while_one_is_missing(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	gate(&c, 1);
	course_start(&c);
	course_run(&c, SECONDS(1));
	try_verbs(&c, "pause, promote, abort, approve, reject");
	course_vote(&c, "a", NULL, false);
	try_verbs(&c, "pause, promote, abort, approve, reject");
	course_vote(&c, "b", NULL, false);
	try_verbs(&c, "pause, promote, abort");
	/* an approval does not last for ever */
	c.input.wall += 2 * 3600;
	try_verbs(&c, "pause, promote, abort, approve, reject");
	course_end(&c);
}

static void
test_gate__a_webhook_is_asked_when_all_else_is_there(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	gate(&c, 0);
	course_start(&c);
	course_run(&c, MINUTES(9));
	assert_int_equal(c.asked, 0);
	course_run(&c, MINUTES(2));
	assert_int_equal(c.asked, 1);
	course_expect(&c, ROLLOUT_HELD, "gate:smoke", 500);
	assert_true(rollout_answer(
	    &c.rollout, 0, GATE_OPEN, "fine", c.input.wall, &c.output));
	assert_false(rollout_answer(
	    &c.rollout, 0, GATE_OPEN, "fine", c.input.wall, &c.output));
	course_step(&c, 50 * NSEC_PER_MSEC);
	assert_int_equal(c.rollout.phase, 1);
	course_end(&c);
}

static void
test_gate__a_webhook_that_says_no_is_asked_again(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	gate(&c, 0);
	course_start(&c);
	course_run(&c, MINUTES(11));
	rollout_answer(&c.rollout, 0, GATE_CLOSED, "2 tests failed",
	    c.input.wall, &c.output);
	c.asked = 0;
	course_run(&c, SECONDS(10));
	course_expect(&c, ROLLOUT_HELD, "gate:smoke", 500);
	course_run(&c, SECONDS(30));
	assert_int_equal(c.asked, 1);
	course_end(&c);
}

static void
test_gate__a_restart_asks_the_webhook_again(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	gate(&c, 0);
	course_start(&c);
	course_run(&c, MINUTES(11));
	assert_int_equal(c.rollout.gates[0].answer, GATE_ASKED);
	c.asked = 0;
	rollout_release(&c.rollout);
	rollout_resume(&c.rollout, 0, c.input.now);
	course_run(&c, SECONDS(1));
	assert_int_equal(c.asked, 1);
	course_end(&c);
}

static void
test_gate__approvals_are_of_distinct_people_and_not_of_the_requester(
    void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	gate(&c, 1);
	course_start(&c);
	course_run(&c, MINUTES(11));
	course_expect(&c, ROLLOUT_HELD, "gate:leads", 500);
	assert_int_equal(c.seen[EVENT_APPROVAL], 1);
	assert_int_equal(
	    course_vote(&c, "token:ci", "leads", false), REFUSED_REQUESTER);
	assert_int_equal(course_vote(&c, "ann", "leads", false), REFUSED_NONE);
	assert_int_equal(course_vote(&c, "ann", "leads", false), REFUSED_TWICE);
	course_run(&c, SECONDS(1));
	course_expect(&c, ROLLOUT_HELD, "gate:leads", 500);
	assert_int_equal(course_vote(&c, "bob", "leads", false), REFUSED_NONE);
	course_run(&c, SECONDS(1));
	assert_int_equal(c.rollout.phase, 1);
	course_end(&c);
}

static void
test_gate__an_approval_expires(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	gate(&c, 1);
	course_start(&c);
	course_run(&c, SECONDS(1));
	assert_int_equal(course_vote(&c, "ann", NULL, false), REFUSED_NONE);
	course_run(&c, MINUTES(61));
	assert_int_equal(course_vote(&c, "bob", NULL, false), REFUSED_NONE);
	course_run(&c, SECONDS(1));
	course_expect(&c, ROLLOUT_HELD, "gate:leads", 500);
	assert_int_equal(rollout_approvals(&c.rollout, 1, c.input.wall), 1);
	assert_int_equal(course_vote(&c, "ann", NULL, false), REFUSED_NONE);
	course_run(&c, SECONDS(1));
	assert_int_equal(c.rollout.phase, 1);
	course_end(&c);
}

static void
test_gate__an_approval_is_for_one_phase(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	c.gates[1].approval.count = 1;
	gate(&c, 1);
	c.phases[1].gates[0] = 1;
	c.phases[1].n_gates = 1;
	course_start(&c);
	course_run(&c, SECONDS(1));
	course_vote(&c, "ann", NULL, false);
	course_run(&c, MINUTES(20));
	assert_int_equal(c.rollout.phase, 1);
	course_expect(&c, ROLLOUT_HELD, "gate:leads", 5000);
	course_vote(&c, "ann", NULL, false);
	course_run(&c, SECONDS(1));
	assert_int_equal(c.rollout.phase, 2);
	course_end(&c);
}

static void
test_gate__a_rejection_goes_back(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	gate(&c, 1);
	course_start(&c);
	course_run(&c, MINUTES(11));
	assert_int_equal(course_vote(&c, "ann", NULL, true), REFUSED_NONE);
	course_expect(&c, ROLLOUT_ABORTED, "", 0);
	assert_int_equal(c.rollout.cause, CAUSE_REJECTED);
	course_end(&c);
}

static void
test_gate__a_vote_needs_a_gate_that_waits(void **state)
{
	struct course c;
	struct err err;

	(void)state;
	course_plan(&c);
	course_start(&c);
	course_run(&c, SECONDS(1));
	assert_int_equal(course_vote(&c, "ann", NULL, false), REFUSED_VERB);
	course_end(&c);
	gate(&c, 1);
	course_start(&c);
	assert_int_equal(course_vote(&c, "ann", "smoke", false), REFUSED_GATE);
	assert_null(rollout_vote_gate(&c.rollout, "lead", &err));
	assert_non_null(strstr(err.text, "leads"));
	course_end(&c);
}

static void
test_gate__approvals_have_a_bound(void **state)
{
	struct course c;
	char who[16];

	(void)state;
	course_plan(&c);
	gate(&c, 1);
	c.gates[1].approval.count = 1000;
	course_start(&c);
	for (int i = 0; i < ROLLOUT_APPROVALS_MAX; i++) {
		snprintf(who, sizeof(who), "p%d", i);
		assert_int_equal(
		    course_vote(&c, who, NULL, false), REFUSED_NONE);
	}
	assert_int_equal(course_vote(&c, "late", NULL, false), REFUSED_FULL);
	course_end(&c);
}

static void
test_gate__a_window_opens_by_the_hour(void **state)
{
	struct course c;

	(void)state;
	course_plan(&c);
	gate(&c, 2);
	course_start(&c);
	course_run(&c, MINUTES(20));
	course_expect(&c, ROLLOUT_HELD, "gate:hours", 500);
	c.input.windows = 1u << 2;
	course_run(&c, SECONDS(1));
	assert_int_equal(c.rollout.phase, 1);
	course_end(&c);
}

/* ---- windows ---- */

/* 2026-08-17 is a Monday. */
#define MONDAY        INT64_C(1786924800)
#define AT(day, h, m) (MONDAY + (day)*86400 + (h)*3600 + (m)*60)

static void
test_window__knows_days_and_hours(void **state)
{
	struct gate_cfg g = {
	    .kind = GATE_WINDOW, .window = {0x0f, 540, 960, NULL}};

	(void)state;
	assert_true(window_is_open(&g, AT(0, 9, 0)));
	assert_true(window_is_open(&g, AT(3, 15, 59)));
	assert_false(window_is_open(&g, AT(3, 16, 0)));
	assert_false(window_is_open(&g, AT(0, 8, 59)));
	assert_false(window_is_open(&g, AT(4, 10, 0)));
	assert_int_equal(window_opens_in(&g, AT(0, 8, 59)), 60);
	assert_int_equal(window_opens_in(&g, AT(0, 12, 0)), 0);
	assert_int_equal(
	    window_opens_in(&g, AT(3, 16, 0)), 86400 * 4 - 7 * 3600);
	g.window.days = 0;
	assert_int_equal(window_opens_in(&g, AT(0, 12, 0)), -1);
}

static void
test_window__runs_over_midnight(void **state)
{
	struct gate_cfg g = {
	    .kind = GATE_WINDOW, .window = {0x10, 1320, 120, NULL}};

	(void)state;
	assert_true(window_is_open(&g, AT(4, 23, 0)));
	assert_true(window_is_open(&g, AT(5, 1, 59)));
	assert_false(window_is_open(&g, AT(5, 2, 0)));
	assert_false(window_is_open(&g, AT(4, 1, 0)));
	assert_int_equal(window_opens_in(&g, AT(4, 21, 0)), 3600);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_verb__promote_ends_the_phase_and_full_ends_all),
	    cmocka_unit_test(test_verb__promote_opens_no_gate),
	    cmocka_unit_test(
	        test_verb__promote_does_not_end_a_pause_before_a_closed_gate),
	    cmocka_unit_test(test_verb__votes_are_offered_while_one_is_missing),
	    cmocka_unit_test(test_verb__undo_while_warm_goes_back_at_once),
	    cmocka_unit_test(test_verb__a_second_abort_cuts_the_ramp_short),
	    cmocka_unit_test(
	        test_verb__abort_before_the_beginning_leaves_the_weights),
	    cmocka_unit_test(
	        test_verb__promote_to_a_pool_without_endpoints_is_refused),
	    cmocka_unit_test(test_verb__the_table_says_what_is_legal),
	    cmocka_unit_test(
	        test_gate__a_webhook_is_asked_when_all_else_is_there),
	    cmocka_unit_test(test_gate__a_webhook_that_says_no_is_asked_again),
	    cmocka_unit_test(test_gate__a_restart_asks_the_webhook_again),
	    cmocka_unit_test(
	        test_gate__approvals_are_of_distinct_people_and_not_of_the_requester),
	    cmocka_unit_test(test_gate__an_approval_expires),
	    cmocka_unit_test(test_gate__an_approval_is_for_one_phase),
	    cmocka_unit_test(test_gate__a_rejection_goes_back),
	    cmocka_unit_test(test_gate__a_vote_needs_a_gate_that_waits),
	    cmocka_unit_test(test_gate__approvals_have_a_bound),
	    cmocka_unit_test(test_gate__a_window_opens_by_the_hour),
	    cmocka_unit_test(test_window__knows_days_and_hours),
	    cmocka_unit_test(test_window__runs_over_midnight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
