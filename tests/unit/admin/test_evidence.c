/*
 * The evidence object and its proof: what a judge in virtual time found, as
 * JSON, and what the verifier says when somebody has changed a number of it.
 */
#include "check.h"
#include "tests/unit/routing/court.h"

#include "admin/rollout/evidence_json.h"

/* All guards' records at the moment at which `guard` fails. */
static json_t *
decide(struct court *court, size_t guard, bool has_trail)
{
	json_t *list = json_array();

	assert_true(court_sits(court, guard, 200000));
	for (size_t g = 0; g < GUARDS; g++)
		json_array_append_new(
		    list, verdict_record(court->judge, g, court->now, "r-1",
		              "canary", has_trail));
	return list;
}

static json_t *
failing_canary(size_t guard, uint64_t seed)
{
	struct court court;
	json_t *list;

	court_open(&court, seed);
	court.mood[ARM_CANDIDATE].errors = 0.08;
	mood_slow(&court.mood[ARM_CANDIDATE], 1.4, 1);
	list = decide(&court, guard, true);
	court_close(&court);
	return list;
}

/* As it comes back from a line of the audit log. */
static json_t *
written(json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(12));
	json_t *back = json_loads(text, 0, NULL);

	assert_non_null(back);
	free(text);
	json_decref(json);
	return back;
}

static const char *
text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	assert_non_null(text);
	return text;
}

/* ---- the object ---- */

static void
test_evidence__a_failed_guard_shows_what_the_contract_names(void **state)
{
	json_t *list = failing_canary(ERRORS, 1);
	json_t *e = json_array_get(list, ERRORS);
	static const char *const keys[] = {"schema", "rollout", "phase",
	    "guard", "verdict", "test", "alpha", "weight", "n", "bad", "rate",
	    "increase", "limit", "e_value", "needed", "text"};

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (!json_object_get(e, keys[i]))
			fail_msg("%s is missing", keys[i]);
	assert_string_equal(text_of(e, "schema"), "weir.evidence/v1");
	assert_string_equal(text_of(e, "verdict"), "fail");
	assert_string_equal(
	    text_of(json_object_get(e, "limit"), "max_increase"), "2pp");
	assert_string_equal(
	    text_of(json_object_get(e, "limit"), "tolerance"), "0.5pp");
	assert_non_null(
	    strstr(text_of(json_object_get(e, "increase"), "estimate"), "pp"));
	assert_true(json_number_value(json_object_get(e, "e_value")) >=
	            json_number_value(json_object_get(e, "needed")));
	assert_true(json_is_integer(json_object_get(e, "needed")));
	e = json_array_get(list, LATENCY);
	assert_non_null(json_object_get(e, "p95_ms"));
	e = json_array_get(list, COMPLAINTS);
	assert_string_equal(text_of(e, "metric"), "signal:complaint");
	assert_null(json_object_get(e, "e_value"));
	json_decref(list);
}

static void
test_evidence__an_undecided_guard_says_how_far_it_is(void **state)
{
	struct court court;
	json_t *e;

	(void)state;
	court_open(&court, 2);
	for (int i = 0; i < 20; i++)
		court_tick(&court);
	e = verdict_record(
	    court.judge, ERRORS, court.now, "r-1", "canary", false);
	assert_string_equal(text_of(e, "verdict"), "undecided");
	assert_true(json_integer_value(json_object_get(e, "so_far")) > 0);
	assert_true(json_integer_value(json_object_get(e, "of_about")) >
	            json_integer_value(json_object_get(e, "so_far")));
	assert_true(json_number_value(json_object_get(e, "seconds_to_go")) > 0);
	assert_non_null(strstr(text_of(e, "text"), "at the current rate"));
	assert_null(json_object_get(e, "trail"));
	json_decref(e);
	court_close(&court);
}

/* A dead candidate's e-value is beyond any double. */
static void
test_evidence__no_e_value_is_too_large_to_be_written(void **state)
{
	struct court court;
	json_t *e;
	struct err err;

	(void)state;
	court_open(&court, 3);
	court.mood[ARM_CANDIDATE].errors = 1;
	court.rate = 1e6; /* all of it in the look that decides */
	court_tick(&court);
	assert_true(court_finding(&court, ERRORS).log_e > 710);
	e = written(verdict_record(
	    court.judge, ERRORS, court.now, "r-1", "canary", true));
	assert_true(json_number_value(json_object_get(e, "e_value")) == 1e300);
	assert_true(evidence_verify(e, &err));
	json_decref(e);
	court_close(&court);
}

/* ---- the proof ---- */

static void
test_evidence__what_was_written_is_proven_by_its_trail(void **state)
{
	static const size_t deciding[] = {ERRORS, LATENCY};
	uint64_t n = 0;
	struct err err;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		json_t *line = written(json_pack("{s:{s:o}}", "after",
		    "evidence", failing_canary(deciding[i], 10 + i)));

		if (!evidence_verify_all(line, &n, &err))
			fail_msg("%s", err.text);
		json_decref(line);
	}
	assert_int_equal(n, 2 * GUARDS);
}

static void
test_evidence__looks_that_decided_nothing_are_accounted_for(void **state)
{
	struct court court;
	struct judge_news news = {.is_blind = true};
	json_t *e;
	struct err err;

	(void)state;
	court_open(&court, 4);
	for (int i = 0; i < 10; i++)
		court_tick(&court);
	news.now = court.now + TICK;
	news.delta = &court.delta;
	judge_look(court.judge, &news);
	e = written(verdict_record(
	    court.judge, ERRORS, court.now, "r-1", "canary", true));
	assert_non_null(json_object_get(e, "unjudged"));
	if (!evidence_verify(e, &err))
		fail_msg("%s", err.text);
	json_decref(e);
	court_close(&court);
}

/* Every number that decides, one at a time. */
static void
test_evidence__a_changed_number_is_found_and_named(void **state)
{
	static const char *const numbers[] = {
	    "alpha", "e_value", "needed", "log_e", "log_needed"};
	static const char *const by_arm[] = {"n", "bad", "rate"};
	json_t *list = written(failing_canary(ERRORS, 5)), *e, *changed, *arms;
	struct err err;

	(void)state;
	e = json_array_get(list, ERRORS);
	assert_true(evidence_verify(e, &err));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		double was = json_number_value(json_object_get(e, numbers[i]));

		changed = json_deep_copy(e);
		json_object_set_new(changed, numbers[i], json_real(was * 1.01));
		if (evidence_verify(changed, &err))
			fail_msg("a changed %s was believed", numbers[i]);
		assert_non_null(strstr(err.text, "guard 'errors'"));
		assert_non_null(strstr(err.text, "phase 'canary'"));
		json_decref(changed);
	}
	for (size_t i = 0; i < 2 * sizeof(by_arm) / sizeof(*by_arm); i++) {
		const char *arm = arm_name((enum arm)(i % 2));
		double was;

		changed = json_deep_copy(e);
		arms = json_object_get(changed, by_arm[i / 2]);
		was = json_number_value(json_object_get(arms, arm));
		json_object_set_new(arms, arm,
		    was < 1 ? json_real(was * 1.01)
		            : json_integer((json_int_t)was + 1));
		if (evidence_verify(changed, &err))
			fail_msg("a changed %s was believed", by_arm[i / 2]);
		assert_non_null(strstr(err.text, by_arm[i / 2]));
		json_decref(changed);
	}
	json_decref(list);
}

static void
test_evidence__a_changed_verdict_is_found(void **state)
{
	static const size_t guards[] = {ERRORS, FUSE, COMPLAINTS};
	json_t *list = written(failing_canary(ERRORS, 6));
	struct err err;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		json_t *e = json_array_get(list, guards[i]);
		bool has_failed = strcmp(text_of(e, "verdict"), "fail") == 0;

		assert_int_equal(has_failed, guards[i] == ERRORS);
		json_object_set_new(e, "verdict",
		    json_string(has_failed ? "undecided" : "fail"));
		assert_false(evidence_verify(e, &err));
		assert_non_null(strstr(err.text, "the verdict says"));
	}
	json_decref(list);
}

/* A trail is most of the bytes: each counter of it is sealed by the e-value. */
static void
test_evidence__a_changed_counter_of_a_trail_is_found(void **state)
{
	json_t *list = written(failing_canary(ERRORS, 7));
	struct err err;
	size_t tried = 0;

	(void)state;
	for (size_t g = ERRORS; g <= LATENCY; g++) {
		json_t *e = json_array_get(list, g);
		json_t *numbers =
		    json_object_get(json_object_get(e, "trail"), "numbers");

		for (size_t i = 0; i < json_array_size(numbers); i++) {
			json_t *was = json_incref(json_array_get(numbers, i));

			if (!json_is_integer(was) ||
			    json_integer_value(was) < 1) {
				json_decref(was);
				continue;
			}
			json_array_set_new(numbers, i,
			    json_integer(json_integer_value(was) + 1));
			if (evidence_verify(e, &err))
				fail_msg("number %zu of guard %zu", i, g);
			json_array_set_new(numbers, i, was);
			tried++;
		}
		assert_true(evidence_verify(e, &err));
	}
	assert_true(tried > 20);
	json_decref(list);
}

static void
test_evidence__a_changed_limit_is_found(void **state)
{
	json_t *list = written(failing_canary(ERRORS, 8)), *limit;
	struct err err;

	(void)state;
	limit = json_object_get(json_array_get(list, ERRORS), "limit");
	json_object_set_new(limit, "tolerance", json_string("0.4pp"));
	assert_false(evidence_verify(json_array_get(list, ERRORS), &err));
	json_object_set_new(limit, "tolerance", json_string("half a point"));
	assert_false(evidence_verify(json_array_get(list, ERRORS), &err));
	limit = json_object_get(json_array_get(list, FUSE), "limit");
	json_object_set_new(limit, "max", json_integer(-1));
	assert_false(evidence_verify(json_array_get(list, FUSE), &err));
	json_decref(list);
}

/* Whoever writes a record by hand gets an error, not a crash. */
static void
test_evidence__damaged_records_break_nothing(void **state)
{
	json_t *list = written(failing_canary(ERRORS, 9));
	char *text = json_dumps(list, JSON_COMPACT);
	size_t len = strlen(text), parsed = 0;
	struct rng rng;
	uint8_t seed[32] = {1};

	(void)state;
	rng_seed(&rng, seed);
	for (int i = 0; i < 2000; i++) {
		char *copy = strdup(text);
		json_t *json;
		uint64_t n = 0;
		struct err err;

		for (int k = 0; k < 3; k++)
			copy[rng_below(&rng, (uint32_t)len)] =
			    "0123456789-eE.\"{}[],:nul "[rng_below(&rng, 25)];
		json = json_loads(copy, 0, NULL);
		if (json) {
			evidence_verify_all(json, &n, &err);
			parsed++;
		}
		json_decref(json);
		free(copy);
	}
	assert_true(parsed > 100);
	free(text);
	json_decref(list);
}

int
main(void)
{
#define T(name) cmocka_unit_test(test_evidence__##name)
	const struct CMUnitTest tests[] = {
	    T(a_failed_guard_shows_what_the_contract_names),
	    T(an_undecided_guard_says_how_far_it_is),
	    T(no_e_value_is_too_large_to_be_written),
	    T(what_was_written_is_proven_by_its_trail),
	    T(looks_that_decided_nothing_are_accounted_for),
	    T(a_changed_number_is_found_and_named),
	    T(a_changed_verdict_is_found),
	    T(a_changed_counter_of_a_trail_is_found),
	    T(a_changed_limit_is_found),
	    T(damaged_records_break_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
