/* A rollout's record in the journal: what is written is read back, and what
 * was changed is refused and never believed. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "admin/rollout/rollouts.h"

static const char text[] =
    "version: 1\n"
    "listeners: {http: {bind: [\"127.0.0.1:23610\"]}}\n"
    "pools: {blue: {endpoints: [\"127.0.0.1:23611\"]}, green: {endpoints: "
    "[\"127.0.0.1:23612\"]}}\n"
    "splits: {shop: {stable: blue, weights: {blue: 100, green: 0}}}\n"
    "routes: [{name: all, split: shop}]\n"
    "plans:\n"
    "  standard:\n"
    "    phases:\n"
    "      - {name: canary, weight: 5, hold: 30m, min_requests: 2000}\n"
    "      - {name: half, weight: 50, ramp: 2m, gate: [leads, smoke]}\n"
    "    guards:\n"
    "      - {name: errors, metric: errors, max_increase: 2pp}\n"
    "      - {name: complaints, metric: \"signal:complaint\", max: 3}\n"
    "    gates:\n"
    "      leads: {approval: {role: approver, count: 2}}\n"
    "      smoke: {webhook: {url: \"http://127.0.0.1:23613/\"}}\n";

static struct run *
make(void)
{
	struct diags diags;
	struct config *config =
	    config_load_text("t.yaml", span_of(text), &diags);
	struct run *run = calloc(1, sizeof(*run));
	struct rollout *r = &run->rollout;

	assert_non_null(config);
	diags_release(&diags);
	*r = (struct rollout){.id = "r-20260822-3",
	    .split = "shop",
	    .from = "blue",
	    .to = "green",
	    .release = "2026.08.2",
	    .requester = "token:ci",
	    .reason = "caf\xc3\xa9 \"quoted\"\n",
	    .started_at = 1787400000,
	    .salt = UINT64_C(0xfedcba9876543210),
	    .share = BP_ALL,
	    .plan = plan_copy(&config->plans[0]),
	    .state = ROLLOUT_HELD,
	    .held = HOLD_GATE,
	    .held_by = 1,
	    .phase = 1,
	    .weight = 5000,
	    .ramp_from = 500,
	    .is_paused = true,
	    .is_timed_out = true,
	    .by = "uid:0",
	    .state_at = 1787400100,
	    .phase_at = 1787400050,
	    .n_approvals = 1,
	    .ramp_ran = 7 * NSEC_PER_SEC,
	    .hold_ran = 8,
	    .phase_ran = 9,
	    .phase_requests = 1234,
	    .n = {11, 22},
	    .bad = {1, 2},
	    .shielded = 1};
	r->approvals[0] = (struct rollout_approval){0, 1, "ann", 1787400060};
	r->gates[1].answer = GATE_CLOSED;
	snprintf(r->gates[1].words, sizeof(r->gates[1].words), "not yet");
	run->version = 17;
	run->split_version = 9;
	config_free(&config);
	return run;
}

static void
test_record__is_read_back_as_it_was(void **state)
{
	struct run *run = make(), *again;
	char *first = run_to_text(run), *second;
	struct err err;

	(void)state;
	assert_non_null(first);
	assert_null(strchr(first, '\n')); /* a line of the journal */
	again = run_from_text(first, &err);
	assert_non_null(again);
	second = run_to_text(again);
	assert_string_equal(first, second);
	assert_int_equal(again->rollout.salt, run->rollout.salt);
	assert_string_equal(again->rollout.reason, run->rollout.reason);
	assert_string_equal(again->rollout.approvals[0].who, "ann");
	assert_int_equal(again->rollout.hold_ran, 8);
	assert_int_equal(again->rollout.n[ARM_BASELINE], 22);
	assert_int_equal(again->version, 17);
	free(first);
	free(second);
	run_free(&run);
	run_free(&again);
}

/* Every member left out, and every one replaced by something else. */
static void
test_record__that_lacks_or_twists_a_member_is_refused(void **state)
{
	/* these have a beginning when they are missing */
	static const char *const optional[] = {"evidence", "n", "bad",
	    "version", "split_version", "decided_ns", "effective_ns", "judged",
	    NULL};
	struct run *run = make(), *again;
	char *whole = run_to_text(run), *cut;
	json_t *object = json_loads(whole, 0, NULL), *value, *copy;
	const char *key;
	struct err err;
	unsigned tried = 0;

	(void)state;
	json_object_foreach (object, key, value) {
		size_t i = 0;

		while (optional[i] && strcmp(optional[i], key) != 0)
			i++;
		for (int twist = 0; twist < 2; twist++) {
			copy = json_copy(object);
			if (twist)
				json_object_set_new(
				    copy, key, json_pack("[n]"));
			else
				json_object_del(copy, key);
			cut = json_dumps(copy, JSON_COMPACT);
			again = run_from_text(cut, &err);
			if (!optional[i]) {
				assert_null(again);
				assert_true(strlen(err.text) > 0);
				tried++;
			}
			run_free(&again);
			free(cut);
			json_decref(copy);
		}
	}
	assert_true(tried > 60);
	json_decref(object);
	free(whole);
	run_free(&run);
}

static void
refuse(const char *key, json_t *value)
{
	struct run *run = make(), *again;
	char *whole = run_to_text(run), *twisted;
	json_t *object = json_loads(whole, 0, NULL);
	struct err err;

	json_object_set_new(object, key, value);
	twisted = json_dumps(object, JSON_COMPACT);
	again = run_from_text(twisted, &err);
	assert_null(again);
	free(twisted);
	free(whole);
	json_decref(object);
	run_free(&run);
}

static void
test_record__outside_of_its_plan_is_refused(void **state)
{
	(void)state;
	refuse("phase", json_integer(2));
	refuse("phase", json_integer(-1));
	refuse("weight", json_integer(BP_ALL + 1));
	refuse("held_by", json_integer(2));
	refuse("state", json_string("running")); /* but held */
	refuse("state", json_string("dancing"));
	refuse("approvals", json_pack("[{s:i, s:i, s:s, s:i}]", "gate", 7,
	                        "phase", 1, "who", "ann", "at", 5));
	refuse("gates", json_array());
	refuse("plan", json_string("{}"));
	refuse("salt", json_string("12x"));
}

/* Another instance may have sent anything; a good one is kept. */
static void
test_record__evidence_that_is_none_is_left_out(void **state)
{
	static const char *const texts[] = {"1", "{}", "[1]", "[{}]",
	    "[{\"guard\": 1, \"verdict\": \"fail\", \"action\": "
	    "\"rollback\"}]",
	    "[{\"guard\": \"errors\", \"verdict\": \"fail\", \"action\": "
	    "\"rollback\"}]"};
	const size_t n = sizeof(texts) / sizeof(*texts);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		struct run *run = make(), *again;
		char *record;
		struct err err;
		json_t *shown;

		run->rollout.cause = CAUSE_GUARD;
		run->evidence = json_loads(texts[i], JSON_DECODE_ANY, NULL);
		assert_non_null(run->evidence);
		record = run_to_text(run);
		again = run_from_text(record, &err);
		assert_non_null(again);
		shown = run_evidence_json(again);
		assert_int_equal(
		    json_array_size(json_object_get(shown, "guards")),
		    i == n - 1);
		json_decref(shown);
		free(record);
		run_free(&run);
		run_free(&again);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_record__is_read_back_as_it_was),
	    cmocka_unit_test(
	        test_record__that_lacks_or_twists_a_member_is_refused),
	    cmocka_unit_test(test_record__outside_of_its_plan_is_refused),
	    cmocka_unit_test(test_record__evidence_that_is_none_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
