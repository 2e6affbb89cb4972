/* How soon the judge sees what, and how seldom it sees what is not there. */
#include "tests/unit/routing/court.h"
#include "tests/unit/routing/edge.h"

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct times {
	double mean, p95;
};

enum { RUNS = 60 };

/* Requests of all traffic until `guard` fails, over seeded runs. */
static struct times
times_of(void (*spoil)(struct court *court), size_t guard)
{
	double at[RUNS], sum = 0;

	for (int i = 0; i < RUNS; i++) {
		struct court court;

		court_open(&court, (uint64_t)i + 1);
		spoil(&court);
		assert_true(court_sits(&court, guard, 400000));
		sum += at[i] = (double)court.requests;
		court_close(&court);
	}
	qsort(at, RUNS, sizeof(at[0]), by_size);
	print_message("%s: mean %.0f, p95 %.0f requests\n",
	    standard_guards[guard].name, sum / RUNS, at[RUNS * 95 / 100]);
	return (struct times){sum / RUNS, at[RUNS * 95 / 100]};
}

static void
two_points(struct court *court)
{
	court->mood[ARM_CANDIDATE].errors = 0.025;
}

static void
test_judge__two_points_more_errors_are_seen_in_time(void **state)
{
	struct times times = times_of(two_points, ERRORS);

	(void)state;
	assert_true(times.mean <= 32000);
	assert_true(times.p95 <= 65000);
}

static void
fifth_slower(struct court *court)
{
	mood_slow(&court->mood[ARM_CANDIDATE], 1.2, 1);
}

static void
test_judge__a_fifth_slower_is_seen_in_time(void **state)
{
	struct times times = times_of(fifth_slower, LATENCY);

	(void)state;
	assert_true(times.mean <= 8000);
}

static void
slow_tail(struct court *court)
{
	mood_slow(&court->mood[ARM_CANDIDATE], 10, 0.03);
}

static void
test_judge__a_slow_tail_is_seen(void **state)
{
	struct times times = times_of(slow_tail, LATENCY);

	(void)state;
	assert_true(times.mean <= 40000);
}

static void
dead(struct court *court)
{
	court->mood[ARM_CANDIDATE].errors = 1;
}

static void
test_judge__a_dead_candidate_is_seen_within_a_few_of_its_requests(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct court court;

		court_open(&court, seed);
		dead(&court);
		court.rate = 20; /* a request a look */
		assert_true(court_sits(&court, ERRORS, 1000));
		assert_in_range(court.candidates, 3, 8);
		court_close(&court);
	}
}

/* No failure, no answer: only the age of what is in flight says anything. */
static void
test_judge__a_hanging_candidate_is_seen_by_its_age(void **state)
{
	struct court court;
	struct finding errors;

	(void)state;
	court_open(&court, 5);
	court.mood[ARM_CANDIDATE].hangs = 1;
	assert_true(judge_cut(court.judge) > 20 * NSEC_PER_MSEC);
	assert_true(court_sits(&court, LATENCY, 2000));
	while (court.requests < 40000)
		court_tick(&court);
	errors = court_finding(&court, ERRORS);
	assert_int_equal(errors.verdict, VERDICT_UNDECIDED);
	assert_string_equal(errors.why, "answers are missing");
	court_close(&court);
}

/* ---- what is not there ---- */

/* Ten minutes of every run; both arms share what happens to them. */
static int
false_alarms(void (*weather)(struct court *court, double minute), int runs)
{
	int failed = 0;

	for (int i = 0; i < runs; i++) {
		struct court court;
		bool has_failed = false;

		court_open(&court, 1000 + (uint64_t)i);
		while (court.now < 1600 * NSEC_PER_SEC) {
			weather(
			    &court, (double)(court.now - 1000 * NSEC_PER_SEC) /
			                (60.0 * NSEC_PER_SEC));
			court_tick(&court);
		}
		for (size_t g = 0; g < GUARDS; g++)
			has_failed |= g != SLO &&
			              court_verdict(&court, g) == VERDICT_FAIL;
		failed += has_failed;
		court_close(&court);
	}
	return failed;
}

static void
set_errors(struct court *court, double errors)
{
	court->mood[ARM_CANDIDATE].errors = errors;
	court->mood[ARM_BASELINE].errors = errors;
}

static void
stationary(struct court *court, double minute)
{
	(void)court;
	(void)minute;
}

static void
drifting(struct court *court, double minute)
{
	set_errors(court, 0.005 * (1 + 0.5 * sin(minute / 3)));
}

/* A cron job's second of every ten. */
static void
periodic(struct court *court, double minute)
{
	bool is_bad = (int)(minute * 60) % 10 == 0;

	set_errors(court, is_bad ? 0.2 : 0.001);
}

static void
shared_outage(struct court *court, double minute)
{
	set_errors(court, minute > 3 && minute < 8 ? 0.03 : 0.005);
}

static void
test_judge__what_both_arms_share_is_no_alarm(void **state)
{
	(void)state;
	assert_int_equal(false_alarms(stationary, 12), 0);
	assert_int_equal(false_alarms(drifting, 12), 0);
	assert_int_equal(false_alarms(periodic, 12), 0);
	assert_int_equal(false_alarms(shared_outage, 12), 0);
}

/*
 * The real packs, and traffic whose period is a pack's length: every twentieth
 * request fails, whoever gets it. A counter modulo 20 would give the candidate
 * all of the failures or none.
 */
static void
test_judge__failures_in_step_with_the_packs_are_no_alarm(void **state)
{
	enum { REQUESTS = 20000, LOOK = 50 };
	struct edge edge;

	(void)state;
	edge_open(&edge,
	    "version: 1\n"
	    "listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"
	    "pools:\n"
	    "  blue: {endpoints: [\"10.0.0.1:80\"]}\n"
	    "  green: {endpoints: [\"10.0.1.1:80\"]}\n"
	    "splits: {shop: {stable: blue, weights: {green: 5, blue: 95}}}\n"
	    "routes: [{name: shop, split: shop}]\n");
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct court court;

		court_open(&court, seed);
		edge_seed(&edge, seed);
		for (int i = 0; i < REQUESTS; i++) {
			struct decision decision =
			    edge_decide(&edge, "a.test", "/", NULL);
			struct arm_sum *arm = &court.delta.arm[decision.slot];

			arm->n++;
			arm->bad += i % 20 == 0;
			if (i % LOOK != LOOK - 1)
				continue;
			court_look(&court);
			court.delta = (struct evidence_sum){0};
		}
		assert_in_range(court_finding(&court, ERRORS).n[ARM_CANDIDATE],
		    REQUESTS / 20 - 1, REQUESTS / 20 + 1);
		assert_int_not_equal(
		    court_verdict(&court, ERRORS), VERDICT_FAIL);
		court_close(&court);
	}
	edge_close(&edge);
}

/* The same outage is what the absolute guard is for; it clears by itself. */
static void
test_judge__an_absolute_guard_holds_while_the_outage_lasts(void **state)
{
	struct court court;

	(void)state;
	court_open(&court, 77);
	set_errors(&court, 0.03);
	assert_true(court_sits(&court, SLO, 60000));
	assert_int_equal(court_verdict(&court, ERRORS), VERDICT_UNDECIDED);
	set_errors(&court, 0.001);
	for (int i = 0; i < 310 * 20; i++)
		court_tick(&court);
	assert_int_equal(court_verdict(&court, SLO), VERDICT_UNDECIDED);
	set_errors(&court, 0.03);
	assert_true(court_sits(&court, SLO, court.requests + 120000));
	court_close(&court);
}

/* A candidate as bad as the limit shall seldom be called proven. */
static void
test_judge__at_the_limit_it_seldom_passes(void **state)
{
	enum { N = 60 };
	int passed = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= N; seed++) {
		struct court court;
		bool has_passed = false;

		court_open(&court, seed);
		court.mood[ARM_CANDIDATE].errors = 0.025;
		while (court.requests < 20000) {
			court_tick(&court);
			has_passed |=
			    court_verdict(&court, ERRORS) == VERDICT_PASS;
		}
		passed += has_passed;
		court_close(&court);
	}
	print_message("%d of %d passed\n", passed, N);
	assert_true(passed <= 6); /* 5 % of 60 and two deviations */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_judge__two_points_more_errors_are_seen_in_time),
	    cmocka_unit_test(test_judge__a_fifth_slower_is_seen_in_time),
	    cmocka_unit_test(test_judge__a_slow_tail_is_seen),
	    cmocka_unit_test(
	        test_judge__a_dead_candidate_is_seen_within_a_few_of_its_requests),
	    cmocka_unit_test(
	        test_judge__a_hanging_candidate_is_seen_by_its_age),
	    cmocka_unit_test(test_judge__what_both_arms_share_is_no_alarm),
	    cmocka_unit_test(
	        test_judge__failures_in_step_with_the_packs_are_no_alarm),
	    cmocka_unit_test(
	        test_judge__an_absolute_guard_holds_while_the_outage_lasts),
	    cmocka_unit_test(test_judge__at_the_limit_it_seldom_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
