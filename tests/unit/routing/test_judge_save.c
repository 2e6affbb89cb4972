/* What outlives the process, and what proves a verdict to somebody else. */
#include "tests/unit/routing/court.h"

enum { ROOM = 100000 };

static void
assert_close(double a, double b, double by)
{
	if (!(fabs(a - b) <= by))
		fail_msg("%.15g is not %.15g", a, b);
}

/* The same phase in another process, whose clock stands elsewhere. */
static struct judge *
judge_again(struct court *court, nsec_t now, const double *numbers, size_t n)
{
	struct judge *judge = judge_new(&court->plan);
	struct judge_phase phase = {
	    .candidate = 500, .baseline = 9500, .length = 1800 * NSEC_PER_SEC};

	judge_begin(judge, &phase, now);
	if (!judge_restore(judge, numbers, n, now))
		judge_free(&judge);
	return judge;
}

/* Killed at `at` requests and begun again: both go on with the same traffic. */
static void
restore_at(uint64_t at, uint64_t seed)
{
	double *numbers = calloc(ROOM, sizeof(*numbers));
	struct court court, other;
	size_t n;

	court_open(&court, seed);
	court.mood[ARM_CANDIDATE].errors = 0.055;
	mood_slow(&court.mood[ARM_CANDIDATE], 1.1, 1);
	while (court.requests < at)
		court_tick(&court);
	n = judge_save(court.judge, numbers, ROOM);
	assert_in_range(n, 1, ROOM);
	other = court;
	other.now = 5 * NSEC_PER_SEC;
	other.judge = judge_again(&court, other.now, numbers, n);
	assert_non_null(other.judge);
	while (court.requests < 60000) {
		court_tick(&court);
		court_tick(&other);
		assert_int_equal(
		    judge_verdict(court.judge), judge_verdict(other.judge));
		for (size_t g = 0; g < GUARDS; g++) {
			struct finding a = court_finding(&court, g),
			               b = court_finding(&other, g);

			assert_int_equal(a.verdict, b.verdict);
			assert_close(a.log_e, b.log_e, 1e-9);
			assert_close(a.log_pass, b.log_pass, 1e-9);
			assert_memory_equal(a.n, b.n, sizeof(a.n));
			assert_memory_equal(a.p95, b.p95, sizeof(a.p95));
		}
	}
	assert_int_equal(judge_verdict(court.judge), VERDICT_FAIL);
	court_close(&court);
	court_close(&other);
	free(numbers);
}

static void
test_judge_save__a_restored_judge_says_the_same_at_the_same_moment(void **state)
{
	(void)state;
	restore_at(0, 1);
	restore_at(1000, 2);
	restore_at(9950, 3);
	restore_at(30000, 4);
}

static void
test_judge_save__what_the_phase_asks_for_is_told_as_before(void **state)
{
	double *numbers = calloc(ROOM, sizeof(*numbers));
	struct judge_phase phase = {.candidate = 500,
	    .baseline = 9500,
	    .length = 1800 * NSEC_PER_SEC,
	    .min_requests = 1000000};
	struct court court;
	uint64_t of_about;
	size_t n;

	(void)state;
	court_open(&court, 5);
	judge_begin(court.judge, &phase, court.now);
	while (court.requests < 1000)
		court_tick(&court);
	of_about = court_finding(&court, ERRORS).of_about;
	assert_int_equal(of_about, 1000000);
	n = judge_save(court.judge, numbers, ROOM);
	assert_true(judge_restore(court.judge, numbers, n, court.now));
	assert_int_equal(court_finding(&court, ERRORS).of_about, of_about);
	court_close(&court);
	free(numbers);
}

static void
test_judge_save__what_does_not_fit_restores_nothing(void **state)
{
	double *numbers = calloc(ROOM, sizeof(*numbers));
	struct court court;
	struct judge *other;
	size_t n;

	(void)state;
	court_open(&court, 5);
	for (int i = 0; i < 100; i++)
		court_tick(&court);
	n = judge_save(court.judge, numbers, ROOM);
	assert_int_equal(judge_save(court.judge, NULL, 0), n);
	for (size_t cut = 0; cut < n; cut += 7)
		assert_null(judge_again(&court, court.now, numbers, cut));
	assert_null(judge_again(&court, court.now, numbers, n + 1));
	other = judge_again(&court, court.now, numbers, n);
	assert_non_null(other);

	numbers[n / 2] = NAN;
	assert_false(judge_restore(other, numbers, n, court.now));
	/* as it was */
	assert_int_equal(judge_save(other, numbers, ROOM), n);
	assert_true(judge_restore(other, numbers, n, court.now));

	judge_reweigh(other, 1000, 9000);
	assert_false(judge_restore(other, numbers, n, court.now));
	judge_free(&other);
	court_close(&court);
	free(numbers);
}

/* Any number may be wrong: it is refused or it is taken, and nothing breaks. */
static void
test_judge_save__a_damaged_save_breaks_nothing(void **state)
{
	double *numbers = calloc(ROOM, sizeof(*numbers));
	double *broken = calloc(ROOM, sizeof(*numbers));
	static const double odd[] = {
	    -1, 0.5, 1e300, -1e300, 9e15, HUGE_VAL, -HUGE_VAL, NAN};
	struct court court;
	size_t n;

	(void)state;
	court_open(&court, 6);
	for (int i = 0; i < 50; i++)
		court_tick(&court);
	n = judge_save(court.judge, numbers, ROOM);
	for (int i = 0; i < 3000; i++) {
		struct judge *other;

		memcpy(broken, numbers, n * sizeof(*numbers));
		broken[rng_below(&court.rng, (uint32_t)n)] =
		    odd[rng_below(&court.rng, 8)];
		other = judge_again(&court, court.now, broken, n);
		if (other == NULL)
			continue;
		judge_look(other, &(struct judge_news){.now = court.now + TICK,
		                      .delta = &court.delta});
		judge_free(&other);
	}
	free(broken);
	free(numbers);
	court_close(&court);
}

/* ---- the proof ---- */

static void
assert_provable(struct court *court, double *trail)
{
	for (size_t g = 0; g < GUARDS; g++) {
		struct finding finding = court_finding(court, g);
		size_t columns, n;
		double log_e;

		n = judge_trail(court->judge, g, trail, ROOM, &columns);
		assert_in_range(n, 0, ROOM);
		if (n == 0)
			continue;
		assert_true(judge_recompute(
		    finding.guard, finding.test, trail, n, columns, &log_e));
		assert_close(log_e, finding.log_e, 1e-9);
	}
}

static void
test_judge_save__an_e_value_follows_from_its_trail(void **state)
{
	double *trail = calloc(ROOM, sizeof(*trail));
	struct court court;

	(void)state;
	court_open(&court, 7);
	court.mood[ARM_CANDIDATE].errors = 0.02;
	assert_provable(&court, trail);
	for (int ramp = 0; ramp < 10; ramp++) {
		bp_t weight = (bp_t)(500 + ramp * 100);

		judge_reweigh(court.judge, weight, BP_ALL - weight);
		court.w = weight / (double)BP_ALL;
		for (int i = 0; i < 200; i++) {
			court_tick(&court);
			if (i % 37 == 0)
				court.now += 20 * NSEC_PER_SEC;
		}
		assert_provable(&court, trail);
	}
	assert_int_equal(judge_verdict(court.judge), VERDICT_FAIL);
	court_close(&court);
	free(trail);
}

static void
test_judge_save__another_trail_gives_another_value(void **state)
{
	double *trail = calloc(ROOM, sizeof(*trail)), log_e;
	struct court court;
	struct finding finding;
	size_t columns, n;

	(void)state;
	court_open(&court, 8);
	for (int i = 0; i < 100; i++)
		court_tick(&court);
	finding = court_finding(&court, ERRORS);
	n = judge_trail(court.judge, ERRORS, trail, ROOM, &columns);
	trail[n - 1] += 1;
	assert_true(judge_recompute(
	    finding.guard, finding.test, trail, n, columns, &log_e));
	assert_true(fabs(log_e - finding.log_e) > 1e-6);
	assert_false(judge_recompute(
	    finding.guard, "ipw-betting/9", trail, n, columns, &log_e));
	assert_false(judge_recompute(
	    finding.guard, finding.test, trail, n - 1, columns, &log_e));
	assert_false(
	    judge_recompute(finding.guard, finding.test, trail, n, 0, &log_e));
	trail[1] = 1.5;
	assert_false(judge_recompute(
	    finding.guard, finding.test, trail, n, columns, &log_e));
	court_close(&court);
	free(trail);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_judge_save__a_restored_judge_says_the_same_at_the_same_moment),
	    cmocka_unit_test(
	        test_judge_save__what_the_phase_asks_for_is_told_as_before),
	    cmocka_unit_test(
	        test_judge_save__what_does_not_fit_restores_nothing),
	    cmocka_unit_test(test_judge_save__a_damaged_save_breaks_nothing),
	    cmocka_unit_test(
	        test_judge_save__an_e_value_follows_from_its_trail),
	    cmocka_unit_test(
	        test_judge_save__another_trail_gives_another_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
