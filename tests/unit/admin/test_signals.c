/* Counting signals: windows, ids, the bound. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "admin/rollout/signals.h"

#define MINUTE (60 * NSEC_PER_SEC)

struct fixture {
	struct guard_cfg guards[2];
	struct plan_cfg plan;
	struct signals signals;
	uint64_t counts[PLAN_GUARDS_MAX];
};

static int
set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	static char kind[] = "complaint";

	f->guards[0] = (struct guard_cfg){
	    .metric = GUARD_SIGNAL, .signal = kind, .window = 30 * MINUTE};
	f->guards[1] =
	    (struct guard_cfg){.metric = GUARD_SIGNAL, .signal = kind};
	f->plan = (struct plan_cfg){.guards = f->guards, .n_guards = 2};
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	signals_release(&f->signals);
	free(f);
	return 0;
}

static bool
add(struct fixture *f, const char *id, uint32_t count, nsec_t at)
{
	struct signal_entry entry = {.at = at,
	    .id = signal_digest("complaint", id),
	    .count = count,
	    .guards = signal_guards(&f->plan, "complaint")};

	return signals_add(&f->signals, &entry);
}

static void
test_signals__count_within_their_window(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(signal_guards(&f->plan, "complaint"), 3);
	assert_int_equal(signal_guards(&f->plan, "praise"), 0);
	assert_true(add(f, "a", 1, 0));
	assert_true(add(f, "b", 2, 20 * MINUTE));
	signals_count(&f->signals, &f->plan, 29 * MINUTE, f->counts);
	assert_int_equal(f->counts[0], 3);
	signals_count(&f->signals, &f->plan, 31 * MINUTE, f->counts);
	assert_int_equal(f->counts[0], 2);
	assert_int_equal(f->counts[1], 3);
}

static void
test_signals__an_id_counts_once(void **state)
{
	struct fixture *f = *state;

	assert_true(add(f, "ZD-1", 1, 0));
	assert_false(add(f, "ZD-1", 1, MINUTE));
	assert_true(add(f, NULL, 1, 0));
	assert_true(add(f, NULL, 1, 0));
	signals_count(&f->signals, &f->plan, MINUTE, f->counts);
	assert_int_equal(f->counts[1], 3);
}

static void
test_signals__a_flood_loses_no_count(void **state)
{
	struct fixture *f = *state;
	char id[32];

	for (int i = 0; i < 5 * SIGNALS_MAX; i++) {
		snprintf(id, sizeof(id), "id-%d", i);
		assert_true(add(f, id, 1, i));
	}
	assert_int_equal(f->signals.n, SIGNALS_MAX);
	signals_count(&f->signals, &f->plan, MINUTE, f->counts);
	assert_int_equal(f->counts[0], 5 * SIGNALS_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
	        test_signals__count_within_their_window, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
	        test_signals__an_id_counts_once, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
	        test_signals__a_flood_loses_no_count, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
