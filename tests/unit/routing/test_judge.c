/* What the judge says, look by look. */
#include "tests/unit/routing/court.h"

/* A look at so many units of each arm, so many of them failures. */
static void
court_show(
    struct court *court, uint64_t nc, uint64_t kc, uint64_t nb, uint64_t kb)
{
	court->delta = (struct evidence_sum){0};
	court->delta.arm[ARM_CANDIDATE].n = nc;
	court->delta.arm[ARM_CANDIDATE].bad = kc;
	court->delta.arm[ARM_BASELINE].n = nb;
	court->delta.arm[ARM_BASELINE].bad = kb;
	court_look(court);
}

static void
court_begin(struct court *court, bp_t candidate, bp_t baseline)
{
	struct judge_phase phase = {.candidate = candidate,
	    .baseline = baseline,
	    .length = 1800 * NSEC_PER_SEC};

	court->w = candidate / (double)(candidate + baseline);
	judge_begin(court->judge, &phase, court->now);
}

static void
assert_close(double a, double b, double by)
{
	if (!(fabs(a - b) <= by))
		fail_msg("%.12g is not %.12g", a, b);
}

/* Two guards roll back by a test, in four phases. */
static void
test_judge__alpha_is_shared_by_guards_that_roll_back_and_by_phases(void **state)
{
	struct court court;

	(void)state;
	court_open(&court, 1);
	assert_close(court_finding(&court, ERRORS).alpha, 0.000125, 1e-12);
	assert_close(
	    court_finding(&court, LATENCY).log_needed, log(8000), 1e-9);
	assert_close(court_finding(&court, SHAPE).alpha, 0.000125, 1e-12);
	assert_true(court_finding(&court, FUSE).alpha == 0);
	court_close(&court);
}

static void
test_judge__no_failures_pass_after_some_hundred_requests(void **state)
{
	struct court court;

	(void)state;
	court_open(&court, 2);
	court.mood[ARM_CANDIDATE].errors = court.mood[ARM_BASELINE].errors = 0;
	while (court_verdict(&court, ERRORS) == VERDICT_UNDECIDED)
		court_tick(&court);
	assert_int_equal(court_verdict(&court, ERRORS), VERDICT_PASS);
	assert_in_range(court.candidates, 150, 330);
	court_close(&court);
}

static void
test_judge__all_guards_that_roll_back_must_pass(void **state)
{
	struct court court;

	(void)state;
	court_open(&court, 3);
	court.mood[ARM_CANDIDATE].errors = court.mood[ARM_BASELINE].errors = 0;
	while (judge_verdict(court.judge) == VERDICT_UNDECIDED) {
		assert_true(court_verdict(&court, ERRORS) != VERDICT_PASS ||
		            court_verdict(&court, LATENCY) != VERDICT_PASS);
		court_tick(&court);
		assert_true(court.requests < 100000);
	}
	assert_int_equal(judge_verdict(court.judge), VERDICT_PASS);
	assert_int_equal(court_verdict(&court, SHAPE), VERDICT_UNDECIDED);
	court_close(&court);
}

/* Nine of ten requests to the candidate never come back. */
static void
test_judge__nothing_passes_while_answers_are_missing(void **state)
{
	struct court court;
	struct finding finding;

	(void)state;
	court_open(&court, 4);
	for (int i = 0; i < 1000; i++)
		court_show(&court, 1, 0, 190, 0);
	finding = court_finding(&court, ERRORS);
	assert_true(finding.log_pass > finding.log_pass_needed);
	assert_int_equal(finding.verdict, VERDICT_UNDECIDED);
	assert_string_equal(finding.why, "answers are missing");
	assert_int_equal(judge_verdict(court.judge), VERDICT_UNDECIDED);
	court_close(&court);
}

static void
test_judge__without_one_arm_nothing_is_compared(void **state)
{
	struct court court;

	(void)state;
	court_open(&court, 5);
	court_begin(&court, 0, 10000);
	court_show(&court, 0, 0, 1000, 5);
	assert_string_equal(court_finding(&court, ERRORS).why, "no traffic");
	assert_int_equal(judge_verdict(court.judge), VERDICT_UNDECIDED);

	court_begin(&court, 10000, 0);
	assert_int_equal(judge_verdict(court.judge), VERDICT_UNDECIDED);
	court_show(&court, 1000, 500, 0, 0);
	assert_string_equal(court_finding(&court, ERRORS).why, "no baseline");
	assert_int_equal(court_verdict(&court, ERRORS), VERDICT_UNDECIDED);
	/* nothing is left that could be proven */
	assert_int_equal(judge_verdict(court.judge), VERDICT_PASS);
	court_close(&court);
}

static void
test_judge__a_fail_stays_until_the_next_phase(void **state)
{
	struct court court;
	double log_e;

	(void)state;
	court_open(&court, 6);
	court_show(&court, 20, 20, 380, 0);
	log_e = court_finding(&court, ERRORS).log_e;
	assert_int_equal(court_verdict(&court, ERRORS), VERDICT_FAIL);
	assert_int_equal(judge_verdict(court.judge), VERDICT_FAIL);
	court_show(&court, 100000, 0, 1900000, 9500);
	assert_int_equal(court_verdict(&court, ERRORS), VERDICT_FAIL);
	/* what it stands on stays; what came since is counted */
	assert_close(court_finding(&court, ERRORS).log_e, log_e, 0);
	assert_int_equal(
	    court_finding(&court, ERRORS).n[ARM_CANDIDATE], 100020);
	court_begin(&court, 2500, 7500);
	assert_int_equal(court_verdict(&court, ERRORS), VERDICT_UNDECIDED);
	assert_int_equal(court_finding(&court, ERRORS).n[ARM_BASELINE], 0);
	court_close(&court);
}

static void
test_judge__a_ramp_keeps_what_was_seen(void **state)
{
	struct court court;
	double before;

	(void)state;
	court_open(&court, 7);
	court_show(&court, 4, 3, 76, 0);
	before = court_finding(&court, ERRORS).log_e;
	judge_reweigh(court.judge, 1000, 9000);
	assert_close(court_finding(&court, ERRORS).log_e, before, 0);
	assert_close(
	    court_finding(&court, ERRORS).weight[ARM_CANDIDATE], 0.1, 1e-12);
	court_show(&court, 4, 4, 36, 0);
	assert_int_equal(court_verdict(&court, ERRORS), VERDICT_FAIL);
	court_close(&court);
}

static void
test_judge__a_blind_look_decides_nothing(void **state)
{
	struct court court;
	struct judge_news news = {.is_blind = true};
	const uint64_t signals[GUARDS] = {[COMPLAINTS] = 100};

	(void)state;
	court_open(&court, 8);
	court.delta.arm[ARM_CANDIDATE].n = 1000;
	court.delta.arm[ARM_CANDIDATE].bad = 1000;
	court.delta.arm[ARM_BASELINE].n = 19000;
	news.delta = &court.delta;
	news.now = court.now;
	news.signals = signals;
	judge_look(court.judge, &news);
	for (size_t i = 0; i < GUARDS; i++)
		assert_int_equal(court_verdict(&court, i), VERDICT_UNDECIDED);
	assert_int_equal(
	    court_finding(&court, ERRORS).bad[ARM_CANDIDATE], 1000);
	court_show(&court, 20, 20, 380, 0);
	assert_int_equal(court_verdict(&court, ERRORS), VERDICT_FAIL);
	court_close(&court);
}

/* Without a baseline nothing else says that it was us who stood still. */
static void
test_judge__what_a_blind_look_saw_blows_no_fuse_later(void **state)
{
	struct court court;
	struct judge_news news = {.is_blind = true, .delta = &court.delta};

	(void)state;
	court_open(&court, 8);
	court_begin(&court, BP_ALL, 0);
	court.delta.arm[ARM_CANDIDATE].n = 1000;
	court.delta.arm[ARM_CANDIDATE].bad = 1000;
	news.now = court.now;
	judge_look(court.judge, &news);
	court_show(&court, 100, 0, 0, 0);
	assert_int_equal(court_verdict(&court, FUSE), VERDICT_UNDECIDED);
	assert_int_equal(court_finding(&court, FUSE).bad[ARM_CANDIDATE], 1000);
	court_show(&court, 501, 501, 0, 0);
	assert_int_equal(court_verdict(&court, FUSE), VERDICT_FAIL);
	court_close(&court);
}

/* ---- latency ---- */

static void
test_judge__latency_is_judged_when_the_candidate_is_warm(void **state)
{
	static struct guard_cfg guards[GUARDS];
	struct court court;

	(void)state;
	court_open(&court, 9);
	memcpy(guards, standard_guards, sizeof(guards));
	guards[LATENCY].warmup = 60 * NSEC_PER_SEC;
	court.plan.guards = guards;
	judge_free(&court.judge);
	court.judge = judge_new(&court.plan);
	court_begin(&court, 500, 9500);
	assert_int_equal(judge_cut(court.judge), 0);
	mood_slow(&court.mood[ARM_CANDIDATE], 3, 1);
	court_tick(&court);
	assert_string_equal(court_finding(&court, LATENCY).why, "calibrating");
	for (int i = 0; i < 20 * 50; i++)
		court_tick(&court);
	assert_true(judge_cut(court.judge) > 0);
	assert_string_equal(court_finding(&court, LATENCY).why, "warming up");
	assert_true(court_sits(&court, LATENCY, 70000));
	court_close(&court);
}

/* What is too old to be in time counts before it is answered; the cut stands
   where no score can change any more. */
static void
test_judge__the_cut_is_beyond_all_scores(void **state)
{
	struct court court;
	nsec_t p99 = 64 * NSEC_PER_MSEC; /* 20 ms * exp(0.5 * 2.326) */

	(void)state;
	court_open(&court, 10);
	assert_true(judge_cut(court.judge) > p99);
	assert_true(judge_cut(court.judge) < p99 * 3 / 2);
	court_close(&court);
}

static void
test_judge__a_finding_says_how_much_slower(void **state)
{
	struct court court;
	struct finding finding;

	(void)state;
	court_open(&court, 11);
	mood_slow(&court.mood[ARM_CANDIDATE], 1.2, 1);
	while (court.requests < 200000)
		court_tick(&court);
	finding = court_finding(&court, LATENCY);
	assert_int_equal(finding.verdict, VERDICT_FAIL);
	assert_true(finding.is_relative);
	assert_close(finding.estimate, 0.2, 0.03);
	assert_true(finding.low < 0.2 && finding.high > 0.2);
	assert_close((double)finding.p50[ARM_BASELINE], 20e6, 0.3e6);
	assert_close((double)finding.p50[ARM_CANDIDATE], 24e6, 0.6e6);
	court_close(&court);
}

/* ---- shape ---- */

static void
test_judge__an_ok_with_another_size_is_found_and_named(void **state)
{
	struct court court;
	double *shape;

	(void)state;
	court_open(&court, 12);
	shape = court.mood[ARM_CANDIDATE].shape;
	shape[SHAPE_SIZE + 6] = 0.9;
	shape[SHAPE_SIZE + 2] = 0.1;
	assert_true(court_sits(&court, SHAPE, 20000));
	assert_string_equal(
	    court_finding(&court, SHAPE).shape, shape_name(SHAPE_SIZE + 2));
	/* it observes: nothing follows from it */
	assert_int_not_equal(judge_verdict(court.judge), VERDICT_FAIL);
	court_close(&court);
}

/* ---- counting ---- */

static void
test_judge__a_fuse_blows_above_its_number(void **state)
{
	struct court court;

	(void)state;
	court_open(&court, 13);
	court_show(&court, 500, 500, 0, 0);
	assert_int_equal(court_verdict(&court, FUSE), VERDICT_UNDECIDED);
	court_show(&court, 1, 1, 0, 0);
	assert_int_equal(court_verdict(&court, FUSE), VERDICT_FAIL);
	court_begin(&court, 2500, 7500);
	assert_int_equal(court_verdict(&court, FUSE), VERDICT_FAIL);
	court_close(&court);
}

/* A million requests at 99 %: sixty failures of the baseline stand for five
   thousand of the candidate, give or take a thousand. */
static void
test_judge__a_fuse_never_blows_by_chance(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct court court;

		court_open(&court, seed);
		court_begin(&court, 9900, 100);
		for (int i = 0; i < 100; i++) {
			court.delta = (struct evidence_sum){0};
			crowd_draw(court.mood, 10000, 0.99, 0, &court.rng,
			    &court.delta);
			court_look(&court);
		}
		assert_int_equal(
		    court_verdict(&court, FUSE), VERDICT_UNDECIDED);
		court_close(&court);
	}
}

static void
test_judge__signals_fire_above_their_number(void **state)
{
	struct court court;
	uint64_t signals[GUARDS] = {[COMPLAINTS] = 3};
	struct judge_news news = {.signals = signals};

	(void)state;
	court_open(&court, 14);
	news.delta = &court.delta;
	news.now = court.now;
	judge_look(court.judge, &news);
	assert_int_equal(court_verdict(&court, COMPLAINTS), VERDICT_UNDECIDED);
	signals[COMPLAINTS] = 4;
	judge_look(court.judge, &news);
	assert_int_equal(court_verdict(&court, COMPLAINTS), VERDICT_FAIL);
	assert_int_equal(judge_verdict(court.judge), VERDICT_FAIL);
	court_close(&court);
}

/* ---- properties ---- */

/* Between two checkpoints only the sum matters: workers, looks and instances
   may be added in any order. */
static void
test_judge__the_order_of_news_does_not_matter(void **state)
{
	enum { PARTS = 40 };
	struct evidence_sum part[PARTS] = {0}, sum = {0};
	struct court at_once, in_parts;

	(void)state;
	court_open(&at_once, 15);
	court_open(&in_parts, 15);
	for (int i = 0; i < PARTS; i++) {
		crowd_draw(at_once.mood, 50, 0.05, 0, &at_once.rng, &part[i]);
		evidence_add(&sum, &part[i]);
	}
	at_once.delta = sum;
	court_look(&at_once);
	for (int i = PARTS - 1; i >= 0; i--) {
		in_parts.delta = part[i];
		court_look(&in_parts);
	}
	for (size_t g = 0; g < GUARDS; g++) {
		struct finding a = court_finding(&at_once, g),
		               b = court_finding(&in_parts, g);

		assert_close(a.log_e, b.log_e, 1e-9);
		assert_close(a.log_pass, b.log_pass, 1e-9);
		assert_memory_equal(a.n, b.n, sizeof(a.n));
		assert_memory_equal(a.bad, b.bad, sizeof(a.bad));
		assert_memory_equal(a.p99, b.p99, sizeof(a.p99));
	}
	court_close(&at_once);
	court_close(&in_parts);
}

static uint64_t
odd_number(struct rng *rng)
{
	switch (rng_below(rng, 6)) {
	case 0:
	case 1:
		return 0;
	case 2:
		return rng_below(rng, 10);
	case 3:
		return rng_below(rng, 1000000);
	case 4:
		return rng_next(rng) >> rng_below(rng, 64);
	default:
		return UINT64_MAX;
	}
}

static void
assert_sane(const struct finding *finding)
{
	const double all[] = {finding->alpha, finding->log_e,
	    finding->log_needed, finding->log_pass, finding->log_pass_needed,
	    finding->estimate, finding->low, finding->high, finding->excess,
	    finding->rate[0], finding->rate[1], finding->weight[0],
	    finding->weight[1]};
	char words[200];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!isfinite(all[i]))
			fail_msg("%s: number %zu is %g", finding->guard->name,
			    i, all[i]);
	finding_print(finding, words, sizeof(words));
	assert_in_range(strlen(words), 0, sizeof(words) - 1);
}

static void
test_judge__no_counters_make_it_lose_its_mind(void **state)
{
	static const bp_t weights[] = {0, 1, 500, 5000, 9900, 9999, 10000};
	struct court court;
	double *numbers = calloc(100000, sizeof(*numbers));

	(void)state;
	court_open(&court, 16);
	for (int i = 0; i < 3000; i++) {
		uint64_t *number = (uint64_t *)&court.delta;
		unsigned part = rng_below(&court.rng, 3);

		if (i % 50 == 0)
			court_begin(&court, weights[rng_below(&court.rng, 7)],
			    weights[rng_below(&court.rng, 7)]);
		if (i % 7 == 0)
			judge_reweigh(court.judge,
			    weights[rng_below(&court.rng, 7)],
			    weights[rng_below(&court.rng, 7)]);
		for (size_t j = 0; j < sizeof(court.delta) / 8; j++)
			number[j] = part == 0 ? 0 : odd_number(&court.rng);
		court.now += (nsec_t)(rng_next(&court.rng) >> 24);
		court_look(&court);
		for (size_t g = 0; g < GUARDS; g++) {
			struct finding finding = court_finding(&court, g);

			assert_sane(&finding);
		}
		assert_true(judge_save(court.judge, numbers, 100000) < 100000);
	}
	free(numbers);
	court_close(&court);
}

static void
test_judge__a_look_at_nothing_changes_nothing(void **state)
{
	struct court court;
	struct finding before, after;

	(void)state;
	court_open(&court, 17);
	for (int i = 0; i < 100; i++)
		court_tick(&court);
	before = court_finding(&court, ERRORS);
	for (int i = 0; i < 100; i++)
		court_show(&court, 0, 0, 0, 0);
	after = court_finding(&court, ERRORS);
	assert_close(after.log_e, before.log_e, 0);
	assert_close(after.log_pass, before.log_pass, 0);
	assert_int_equal(after.n[0], before.n[0]);
	court_close(&court);
}

/* ---- words ---- */

static void
test_judge__progress_is_told_in_requests_and_time(void **state)
{
	struct court court;
	struct finding finding;
	char words[200];

	(void)state;
	court_open(&court, 18);
	for (int i = 0; i < 20; i++)
		court_show(&court, 2, 0, 38, 0);
	finding = court_finding(&court, ERRORS);
	assert_int_equal(finding.so_far, 40);
	assert_in_range(finding.of_about, 200, 400);
	assert_in_range(finding.to_go, 3 * NSEC_PER_SEC, 9 * NSEC_PER_SEC);
	finding_print(&finding, words, sizeof(words));
	assert_non_null(strstr(words, "40 of "));
	assert_non_null(strstr(words, " at the current rate"));

	court_show(&court, 2000, 100, 38000, 190);
	finding = court_finding(&court, ERRORS);
	finding_print(&finding, words, sizeof(words));
	assert_string_equal(
	    words, "fail: 4.9% against 0.49%, +4.41pp (3.55 to 5.44)");
	court_close(&court);
}

/* One failure in ten million is read by people, too. */
static void
test_judge__small_shares_are_told_without_an_exponent(void **state)
{
	struct finding finding = {.guard = &standard_guards[ERRORS],
	    .verdict = VERDICT_FAIL,
	    .rate = {0.5, 1.23e-7}};
	char words[200];

	(void)state;
	finding_print(&finding, words, sizeof(words));
	assert_string_equal(words, "fail: 50% against 0.0000123%");
	finding.guard = &standard_guards[SLO];
	finding.n[ARM_BASELINE] = 20000000;
	finding.bad[ARM_BASELINE] = 1;
	finding_print(&finding, words, sizeof(words));
	assert_string_equal(
	    words, "fail: canary 50%, all 0.00000500%, at most 1% allowed");
}

/* ---- planning ---- */

/* Predicted and simulated: within a tenth. */
static void
test_judge__what_a_phase_can_see_is_known_before(void **state)
{
	enum { RUNS = 60 };
	struct plan_cfg plan = standard_plan();
	struct judge_phase phase = {
	    .candidate = 500, .baseline = 9500, .length = 1800 * NSEC_PER_SEC};
	struct judge_forecast forecast;
	double sum = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= RUNS; seed++) {
		struct court court;

		court_open(&court, seed);
		court.mood[ARM_CANDIDATE].errors = 0.055;
		assert_true(court_sits(&court, ERRORS, 100000));
		sum += (double)court.requests;
		court_close(&court);
	}
	standard_guards[ERRORS].max_increase.by = 0.05;
	judge_foresee(&plan, ERRORS, &phase, 1000, 0.005, 0, &forecast);
	standard_guards[ERRORS].max_increase.by = 0.02;
	assert_close(forecast.requests, sum / RUNS, sum / RUNS * 0.15);
	assert_true(forecast.can_fire);
	assert_true(forecast.smallest > 0.005 && forecast.smallest < 0.01);
	assert_close(forecast.candidate_requests, forecast.requests * 0.05, 1);
	assert_true(forecast.requests_to_pass > 2000 &&
	            forecast.requests_to_pass < 10000);
}

static void
test_judge__a_phase_that_sees_nothing_is_called_so(void **state)
{
	struct plan_cfg plan = standard_plan();
	struct judge_phase phase = {
	    .candidate = 500, .baseline = 9500, .length = 1800 * NSEC_PER_SEC};
	struct judge_forecast forecast;

	(void)state;
	for (size_t i = 0; i < GUARDS - 1; i++) {
		judge_foresee(&plan, i, &phase, 0.01, 0.005, 0.5, &forecast);
		assert_false(forecast.can_fire);
	}
	judge_foresee(&plan, LATENCY, &phase, 1000, 0.005, 0.5, &forecast);
	assert_true(forecast.requests > 4000 && forecast.requests < 9000);
	assert_true(forecast.smallest > 0.04 && forecast.smallest < 0.2);
	phase.candidate = 10000;
	phase.baseline = 0;
	judge_foresee(&plan, ERRORS, &phase, 1000, 0.005, 0.5, &forecast);
	assert_false(forecast.can_fire);
	judge_foresee(&plan, SLO, &phase, 1000, 0.005, 0.5, &forecast);
	assert_true(forecast.can_fire);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_judge__alpha_is_shared_by_guards_that_roll_back_and_by_phases),
	    cmocka_unit_test(
	        test_judge__no_failures_pass_after_some_hundred_requests),
	    cmocka_unit_test(test_judge__all_guards_that_roll_back_must_pass),
	    cmocka_unit_test(
	        test_judge__nothing_passes_while_answers_are_missing),
	    cmocka_unit_test(test_judge__without_one_arm_nothing_is_compared),
	    cmocka_unit_test(test_judge__a_fail_stays_until_the_next_phase),
	    cmocka_unit_test(test_judge__a_ramp_keeps_what_was_seen),
	    cmocka_unit_test(test_judge__a_blind_look_decides_nothing),
	    cmocka_unit_test(
	        test_judge__what_a_blind_look_saw_blows_no_fuse_later),
	    cmocka_unit_test(
	        test_judge__latency_is_judged_when_the_candidate_is_warm),
	    cmocka_unit_test(test_judge__the_cut_is_beyond_all_scores),
	    cmocka_unit_test(test_judge__a_finding_says_how_much_slower),
	    cmocka_unit_test(
	        test_judge__an_ok_with_another_size_is_found_and_named),
	    cmocka_unit_test(test_judge__a_fuse_blows_above_its_number),
	    cmocka_unit_test(test_judge__a_fuse_never_blows_by_chance),
	    cmocka_unit_test(test_judge__signals_fire_above_their_number),
	    cmocka_unit_test(test_judge__the_order_of_news_does_not_matter),
	    cmocka_unit_test(test_judge__no_counters_make_it_lose_its_mind),
	    cmocka_unit_test(test_judge__a_look_at_nothing_changes_nothing),
	    cmocka_unit_test(test_judge__progress_is_told_in_requests_and_time),
	    cmocka_unit_test(
	        test_judge__small_shares_are_told_without_an_exponent),
	    cmocka_unit_test(test_judge__what_a_phase_can_see_is_known_before),
	    cmocka_unit_test(
	        test_judge__a_phase_that_sees_nothing_is_called_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
