/* Runs of the whole machine in virtual time. */
#include "tests/unit/routing/court.h"

#include "routing/simulate.h"

/* A short plan: what a test can pay for. */
static struct phase_cfg short_phases[] = {
    {.name = (char *)"canary",
        .weight = 500,
        .hold = 120 * NSEC_PER_SEC,
        .until = UNTIL_PROVEN,
        .timeout = 1200 * NSEC_PER_SEC},
    {.name = (char *)"half",
        .weight = 5000,
        .ramp = 60 * NSEC_PER_SEC,
        .hold = 120 * NSEC_PER_SEC},
};

static struct plan_cfg
short_plan(void)
{
	struct plan_cfg plan = standard_plan();

	plan.phases = short_phases;
	plan.n_phases = 2;
	return plan;
}

static struct simulation
healthy(const struct plan_cfg *plan)
{
	return (struct simulation){.plan = plan,
	    .rate = 1000,
	    .errors = 0.005,
	    .median = 20 * NSEC_PER_MSEC,
	    .sigma = 0.5,
	    .runs = 20,
	    .seed = 1};
}

static void
test_simulate__a_healthy_candidate_is_promoted(void **state)
{
	struct plan_cfg plan = short_plan();
	struct simulation simulation = healthy(&plan);
	struct simulation_result result;

	(void)state;
	simulation.errors = 0.001; /* what the weather makes of it is below the slo */
	for (int i = 0; i < WEATHER_COUNT; i++) {
		simulation.weather = (enum weather)i;
		simulate(&simulation, &result);
		print_message("%s: %u promoted, %u held\n",
		    weather_name(simulation.weather), result.promoted,
		    result.held);
		assert_int_equal(result.rolled_back, 0);
		assert_true(result.promoted >= 19);
		assert_true(
		    result.rollback_rate_high > 0.13 &&
		    result.rollback_rate_high < 0.14); /* 1 - 0.05^(1/20) */
	}
}

static void
test_simulate__a_bad_one_goes_back_by_the_guard_that_saw_it(void **state)
{
	static const struct {
		const char *effect;
		size_t guard;
		double most; /* requests, on average */
	} cases[] = {
	    {"errors:+2pp", ERRORS, 36000},
	    {"errors:+100pp", ERRORS, 400},
	    {"latency:+20%", LATENCY, 9000},
	    {"latency:+900%,share=3%", LATENCY, 20000},
	    {"hang:100%", LATENCY, 2000},
	};
	struct plan_cfg plan = short_plan();
	struct simulation simulation = healthy(&plan);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct simulation_result result;
		struct effect effect;
		struct err err;

		assert_true(
		    effect_parse(span_of(cases[i].effect), &effect, &err));
		simulation.effects = &effect;
		simulation.n_effects = 1;
		simulate(&simulation, &result);
		print_message("%s: mean %.0f, p50 %.0f, p95 %.0f\n",
		    cases[i].effect, result.mean, result.p50, result.p95);
		assert_int_equal(result.rolled_back, 20);
		assert_int_equal(result.by_guard[cases[i].guard], 20);
		assert_true(result.mean <= cases[i].most);
		assert_true(result.p50 <= result.p95);
	}
}

static void
test_simulate__the_same_seed_gives_the_same_runs(void **state)
{
	struct plan_cfg plan = short_plan();
	struct simulation simulation = healthy(&plan);
	struct effect effect = {.kind = EFFECT_ERRORS, .by = 0.05, .share = 1};
	struct simulation_result a, b, c;

	(void)state;
	simulation.effects = &effect;
	simulation.n_effects = 1;
	simulate(&simulation, &a);
	simulate(&simulation, &b);
	assert_memory_equal(&a, &b, sizeof(a));
	simulation.seed = 2;
	simulate(&simulation, &c);
	assert_true(c.mean != a.mean);
}

static void
test_simulate__a_regression_that_comes_late_is_timed_from_the_start(
    void **state)
{
	struct plan_cfg plan = short_plan();
	struct simulation simulation = healthy(&plan);
	struct simulation_result result;
	struct effect effect;
	struct err err;

	(void)state;
	assert_true(
	    effect_parse(SPAN("errors:+20pp,after=100s"), &effect, &err));
	simulation.effects = &effect;
	simulation.n_effects = 1;
	simulate(&simulation, &result);
	assert_int_equal(result.rolled_back, 20);
	assert_in_range((int)result.mean, 100000, 106000);
}

/* A minute of recorded traffic, again and again. */
static void
test_simulate__a_recorded_log_is_replayed(void **state)
{
	enum { N = 60000 };
	struct plan_cfg plan = short_plan();
	struct simulation simulation = healthy(&plan);
	struct simulation_result result;
	struct recorded *units = calloc(N, sizeof(*units));
	struct recording recording = {
	    .at = units, .n = N, .length = 60 * NSEC_PER_SEC};
	struct effect effect = {.kind = EFFECT_ERRORS, .by = 0.05, .share = 1};

	(void)state;
	for (int i = 0; i < N; i++)
		units[i] = (struct recorded){.at = i * NSEC_PER_MSEC,
		    .first_byte = (10 + i % 37) * NSEC_PER_MSEC,
		    .bytes = 5000,
		    .status = i % 200 == 0 ? 500 : 200,
		    .is_bad = i % 200 == 0};
	simulation.recording = &recording;
	simulation.runs = 5;
	simulate(&simulation, &result);
	assert_int_equal(result.promoted, 5);
	simulation.effects = &effect;
	simulation.n_effects = 1;
	simulate(&simulation, &result);
	assert_int_equal(result.rolled_back, 5);
	assert_true(result.mean < 20000);
	free(units);
}

static void
test_simulate__the_bound_is_that_of_clopper_and_pearson(void **state)
{
	(void)state;
	assert_true(fabs(rate_high(0, 10000) - 0.00029953) < 1e-7);
	assert_true(fabs(rate_high(3, 10000) - 0.00077524) < 1e-6);
	assert_true(fabs(rate_high(10, 100) - 0.16372) < 1e-4);
	assert_true(rate_high(5, 5) == 1);
}

static void
test_simulate__effects_are_words_with_units(void **state)
{
	static const char *const wrong[] = {"", "errors", "errors:", "errors:2",
	    "errors:two", "errors:-2pp", "latency:+2pp", "hang:200%",
	    "speed:+2%", "errors:+2pp,often=3%", "errors:+2pp,share=2pp",
	    "errors:+2pp,after=3", "errors:+nan%", "errors:+2pp,share"};
	struct effect effect;
	struct err err;

	(void)state;
	assert_true(effect_parse(
	    SPAN("latency:+20%,share=3%,after=10m"), &effect, &err));
	assert_int_equal(effect.kind, EFFECT_LATENCY);
	assert_true(effect.is_relative && fabs(effect.by - 0.2) < 1e-12);
	assert_true(fabs(effect.share - 0.03) < 1e-12);
	assert_int_equal(effect.after, 600 * NSEC_PER_SEC);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		err.text[0] = '\0';
		if (effect_parse(span_of(wrong[i]), &effect, &err))
			fail_msg("\"%s\" was taken", wrong[i]);
		assert_true(err.text[0] != '\0');
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_simulate__a_healthy_candidate_is_promoted),
	    cmocka_unit_test(
	        test_simulate__a_bad_one_goes_back_by_the_guard_that_saw_it),
	    cmocka_unit_test(test_simulate__the_same_seed_gives_the_same_runs),
	    cmocka_unit_test(
	        test_simulate__a_regression_that_comes_late_is_timed_from_the_start),
	    cmocka_unit_test(test_simulate__a_recorded_log_is_replayed),
	    cmocka_unit_test(
	        test_simulate__the_bound_is_that_of_clopper_and_pearson),
	    cmocka_unit_test(test_simulate__effects_are_words_with_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
