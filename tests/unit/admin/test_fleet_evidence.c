/* Evidence over instances: what one counted the others' judges are given, once.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "admin/fleet/fleet.h"

#define SECOND NSEC_PER_SEC

/* One instance with one live rollout on the split "shop". */
struct instance {
	struct admin admin;
	struct fleet fleet;
	struct rollouts rollouts;
	struct fleet_item item;
	struct fleet_evidence evidence;
	struct run run;
	struct plan_cfg plan;
	struct guard_cfg guards[2];
};

static void
begin(struct instance *in, const char *id, uint64_t boot)
{
	struct rollout *r = &in->run.rollout;

	memset(in, 0, sizeof(*in));
	in->admin.fleet = &in->fleet;
	in->fleet.admin = &in->admin;
	in->fleet.has_link = true;
	in->fleet.boot = boot;
	snprintf(in->fleet.id, sizeof(in->fleet.id), "%s", id);
	TAILQ_INIT(&in->fleet.items);
	in->rollouts.admin = &in->admin;
	in->item.evidence = &in->evidence;
	strcpy(in->item.name, "shop");
	TAILQ_INSERT_TAIL(&in->fleet.items, &in->item, link);
	in->plan.guards = in->guards;
	in->plan.n_guards = 2;
	strcpy(r->id, "r-1");
	strcpy(r->split, "shop");
	r->plan = &in->plan;
	r->state = ROLLOUT_RUNNING;
	r->weight = 500;
	r->stepped_at = SECOND;
}

/* The workers have shown n units of the candidate, `bad` of them failed. */
static bool
count(struct instance *in, uint64_t n, uint64_t bad)
{
	memset(&in->rollouts.delta, 0, sizeof(in->rollouts.delta));
	in->rollouts.delta.arm[ARM_CANDIDATE].n = n;
	in->rollouts.delta.arm[ARM_CANDIDATE].bad = bad;
	in->rollouts.delta.arm[ARM_BASELINE].latency[7] = n * 3;
	return fleet_evidence_merge(&in->rollouts, &in->run, n > 0, SECOND + 1);
}

static void
tell(struct instance *to, const char *id, const char *text)
{
	struct fleet_cell cell = {id, text};
	struct fleet_told told = {.accord = "",
	    .holder = "",
	    .why = "",
	    .cells = &cell,
	    .n_cells = 1};

	fleet_evidence_hear(&to->fleet, &to->item, &to->run, &told);
}

static void
say(struct instance *from, struct instance *to)
{
	char *text = fleet_evidence_cell(
	    &from->fleet, &from->item, &from->run, 10 * SECOND);

	assert_non_null(text);
	tell(to, from->fleet.id, text);
	free(text);
	from->evidence.is_moved = true;
}

static uint64_t
heard(struct instance *in)
{
	return count(in, 0, 0) ? in->rollouts.delta.arm[ARM_CANDIDATE].n : 0;
}

static void
end(struct instance *in)
{
	free(in->evidence.peers);
	signals_release(&in->run.signals);
}

static void
test_fleet_evidence__what_one_counted_the_other_is_given_once(void **state)
{
	struct instance a, b;

	(void)state;
	begin(&a, "a", 1);
	begin(&b, "b", 2);
	assert_false(count(&b, 0, 0));
	assert_true(count(&a, 100, 3));
	say(&a, &b);
	say(&a, &b);
	assert_true(count(&b, 10, 1));
	assert_int_equal(b.rollouts.delta.arm[ARM_CANDIDATE].n, 110);
	assert_int_equal(b.rollouts.delta.arm[ARM_CANDIDATE].bad, 4);
	assert_int_equal(b.rollouts.delta.arm[ARM_BASELINE].latency[7], 330);
	assert_int_equal(heard(&b), 0);
	/* and its own are its own: it passes on what it saw, not what it heard
	 */
	say(&b, &a);
	assert_int_equal(heard(&a), 10);
	count(&a, 5, 0);
	say(&a, &b);
	assert_int_equal(heard(&b), 5);
	end(&a);
	end(&b);
}

static void
test_fleet_evidence__a_process_that_began_anew_counts_from_zero(void **state)
{
	struct instance a, b;

	(void)state;
	begin(&a, "a", 1);
	begin(&b, "b", 2);
	count(&b, 0, 0);
	count(&a, 100, 0);
	say(&a, &b);
	assert_int_equal(heard(&b), 100);
	end(&a);
	begin(&a, "a", 3);
	count(&a, 120, 0);
	say(&a, &b);
	assert_int_equal(heard(&b), 120);
	end(&a);
	end(&b);
}

static void
test_fleet_evidence__a_restored_judge_knows_what_was_before(void **state)
{
	struct instance a, b;

	(void)state;
	begin(&a, "a", 1);
	begin(&b, "b", 2);
	b.run.is_resumed = true;
	count(&b, 0, 0);
	count(&a, 100, 0);
	say(&a, &b);
	assert_int_equal(heard(&b), 0);
	count(&a, 7, 0);
	say(&a, &b);
	assert_int_equal(heard(&b), 7);
	end(&a);
	end(&b);
}

static void
test_fleet_evidence__another_weight_is_another_era(void **state)
{
	struct instance a, b;
	char was[64], is[64];

	(void)state;
	begin(&a, "a", 1);
	begin(&b, "b", 2);
	count(&a, 100, 0);
	count(&b, 0, 0);
	assert_true(fleet_evidence_key(&b.item, was, sizeof(was)));
	say(&a, &b);
	b.run.rollout.weight = 1000;
	assert_int_equal(heard(&b), 0); /* what was incoming is gone */
	assert_true(fleet_evidence_key(&b.item, is, sizeof(is)));
	assert_string_not_equal(was, is);
	end(&a);
	end(&b);
}

static void
test_fleet_evidence__what_a_blind_instance_sees_is_not_passed_on(void **state)
{
	struct instance a, b;

	(void)state;
	begin(&a, "a", 1);
	begin(&b, "b", 2);
	count(&b, 0, 0);
	a.run.rollout.blind_until = 100 * SECOND;
	count(&a, 100, 50);
	say(&a, &b);
	assert_int_equal(heard(&b), 0);
	a.run.rollout.blind_until = 0;
	count(&a, 10, 0);
	say(&a, &b);
	assert_int_equal(heard(&b), 10);
	end(&a);
	end(&b);
}

static void
test_fleet_evidence__what_is_no_cell_counts_for_nobody(void **state)
{
	static const char *const bad[] = {"", "x", "1", "1 2 3 4 5 2 0 0 0",
	    "1 2 3 4 5 3 0 0 0 0:7", "1 2 3 4 5 2 0 0 99999999:1",
	    "1 2 3 4 5 2 0 0 0:", "1 2 3 4 5 2 0 0 0:7 1",
	    "1 -2 3 4 5 2 0 0 0:7", "1 2 3 4 5 2 0 0 0:7;1:2",
	    "1 2 3 4 99999999999999999999 2 0",
	    "1 99999999999999999999 3 4 5 2 0 0 0:7"};
	struct instance b;

	(void)state;
	begin(&b, "b", 2);
	count(&b, 0, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		tell(&b, "a", bad[i]);
		assert_int_equal(heard(&b), 0);
	}
	tell(&b, "a", "1 2 3 4 5 2 0 0 0:7"); /* word 0: the candidate's n */
	assert_int_equal(heard(&b), 7);
	tell(&b, "a", "1 2 3 4 5 2 0 0 0:6"); /* what shrinks is not believed */
	assert_int_equal(heard(&b), 0);
	end(&b);
}

static void
test_fleet_evidence__signals_and_clocks_of_the_others(void **state)
{
	uint64_t signals[PLAN_GUARDS_MAX] = {1, 0};
	struct instance b;

	(void)state;
	begin(&b, "b", 2);
	count(&b, 0, 0);
	tell(&b, "a", "1 2 3 4 50 2 0 5 0:7");
	fleet_evidence_signals(&b.rollouts, &b.run, signals);
	assert_int_equal(signals[0], 1);
	assert_int_equal(signals[1], 5);
	assert_int_equal(b.run.rollout.hold_ran, 0);
	/* only the holder's clocks are followed; of his 50, 7 are incoming */
	strcpy(b.item.holder, "a");
	tell(&b, "a", "1 2 3 4 50 2 0 5 0:7");
	assert_int_equal(b.run.rollout.hold_ran, 3);
	assert_int_equal(b.run.rollout.phase_requests, 43);
	end(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_fleet_evidence__what_one_counted_the_other_is_given_once),
	    cmocka_unit_test(
	        test_fleet_evidence__a_process_that_began_anew_counts_from_zero),
	    cmocka_unit_test(
	        test_fleet_evidence__a_restored_judge_knows_what_was_before),
	    cmocka_unit_test(
	        test_fleet_evidence__another_weight_is_another_era),
	    cmocka_unit_test(
	        test_fleet_evidence__what_a_blind_instance_sees_is_not_passed_on),
	    cmocka_unit_test(
	        test_fleet_evidence__what_is_no_cell_counts_for_nobody),
	    cmocka_unit_test(
	        test_fleet_evidence__signals_and_clocks_of_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
