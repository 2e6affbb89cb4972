/* Plans: what the file says, what is filled in, what is refused, and the way
 * to JSON and back. */
#include "cmock.h"

#include <stdlib.h>
#include <string.h>

#include "config/config.h"

#define BEFORE "version: 1\nlisteners: {h: {bind: \"127.0.0.1:1\"}}\n"

static struct config *
plans_load(const char *plans, struct diags *diags)
{
	char text[8192];

	snprintf(text, sizeof(text), BEFORE "%s", plans);
	return config_load_text(
	    "t.yaml", (struct span){text, strlen(text)}, diags);
}

static struct config *
plans_fine(const char *plans)
{
	struct diags diags;
	struct config *config = plans_load(plans, &diags);

	if (!config)
		diags_print(&diags, stderr, false);
	assert_non_null(config);
	diags_release(&diags);
	return config;
}

/* The only error, and nothing is told twice. */
static void
expect_error(const char *plans, const char *code, const char *part)
{
	struct diags diags;
	struct config *config = plans_load(plans, &diags);

	if (diags.errors != 1 || !strstr(diags.at[0].message, part) ||
	    strcmp(diags.at[0].code, code) != 0)
		diags_print(&diags, stderr, false);
	assert_null(config);
	assert_int_equal(diags.errors, 1);
	for (size_t i = 0; i < diags.n; i++)
		if (!diags.at[i].is_warning) {
			assert_string_equal(diags.at[i].code, code);
			assert_non_null(strstr(diags.at[i].message, part));
		}
	diags_release(&diags);
}

static void
expect_warning(const char *plans, const char *code)
{
	struct diags diags;
	struct config *config = plans_load(plans, &diags);
	size_t found = 0;

	assert_non_null(config);
	for (size_t i = 0; i < diags.n; i++)
		found += strcmp(diags.at[i].code, code) == 0;
	assert_int_equal(found, 1);
	diags_release(&diags);
	config_free(&config);
}

#define FULL                                                                   \
	"plans:\n"                                                             \
	"  full:\n"                                                            \
	"    phases:\n"                                                        \
	"      - {name: preview, weight: 0, gate: [smoke]}\n"                  \
	"      - {name: canary, weight: 5, hold: 30m, min_requests: 2000, "    \
	"timeout: 4h}\n"                                                       \
	"      - {name: half, weight: 50.25, ramp: 2m, hold: 15m, "            \
	"gate: [people, hours]}\n"                                             \
	"    keep_warm: 2h\n"                                                  \
	"    holdback: 1%\n"                                                   \
	"    confidence: {false_rollback: 0.25%, false_pass: 4%}\n"            \
	"    guards:\n"                                                        \
	"      - {name: errors, metric: errors, max_increase: 2pp}\n"          \
	"      - {name: slow, metric: latency, max_increase: 20%, "            \
	"tolerance: 4%, warmup: 60s}\n"                                        \
	"      - {name: slo, metric: errors, max_rate: 1.5%}\n"                \
	"      - {name: shape, metric: shape, action: observe}\n"              \
	"      - {name: fuse, metric: excess_failures, max: 500}\n"            \
	"      - {name: calls, metric: \"signal:complaint\", max: 3, "         \
	"window: 30m, action: hold}\n"                                         \
	"    gates:\n"                                                         \
	"      smoke: {webhook: {url: \"https://ci.test/smoke\", timeout: "    \
	"30s, retries: 2, hmac: {env: PATH}}}\n"                               \
	"      people: {approval: {role: admin, count: 2, not_requester: "     \
	"true, ttl: 24h}}\n"                                                   \
	"      hours: {window: {days: \"mon-wed,fri\", hours: "                \
	"\"22:00-04:30\"}}\n"                                                  \
	"    rollback: {mode: ramp, sessions: drain, ramp: 20s}\n"             \
	"    on_timeout: rollback\n"                                           \
	"    notify: [{url: \"https://hooks.test/x\", events: [hold, "         \
	"rollback]}]\n"

static void
test_plans__all_that_is_written_is_there(void **state)
{
	struct config *config = plans_fine(FULL);
	const struct plan_cfg *plan = config_plan(config, "full");

	(void)state;
	assert_non_null(plan);
	assert_int_equal(plan->n_phases, 3);
	assert_int_equal(plan->phases[1].weight, 500);
	assert_int_equal(plan->phases[2].weight, 5025);
	assert_int_equal(plan->phases[1].hold, 1800 * NSEC_PER_SEC);
	assert_int_equal(plan->phases[1].min_requests, 2000);
	assert_int_equal(plan->phases[2].n_gates, 2);
	assert_string_equal(
	    plan->gates[plan->phases[2].gates[1]].name, "hours");
	assert_int_equal(plan->gates[2].window.days, 0x17);
	assert_int_equal(plan->gates[2].window.from, 22 * 60);
	assert_int_equal(plan->gates[2].window.to, 4 * 60 + 30);
	assert_int_equal(plan->gates[1].approval.role, ROLE_ADMIN);
	assert_int_equal(plan->gates[0].webhook.hmac.from, SECRET_ENV);
	assert_int_equal(plan->notify[0].events, NOTIFY_HOLD | NOTIFY_ROLLBACK);
	assert_true(
	    plan->false_rollback > 0.00249 && plan->false_rollback < 0.00251);
	assert_string_equal(plan->guards[5].signal, "complaint");
	assert_int_equal(plan->rollback.mode, ROLLBACK_RAMP);
	config_free(&config);
}

static void
test_plans__what_is_not_written_is_filled_in(void **state)
{
	struct config *config = plans_fine(FULL
	    "  short: {phases: [{name: p, weight: 0}, {name: a, weight: 5}, "
	    "{name: b, weight: 50}]}\n");
	const struct plan_cfg *full = config_plan(config, "full");
	const struct plan_cfg *plan = config_plan(config, "short");

	(void)state;
	assert_int_equal(plan->phases[0].until, UNTIL_HELD);
	assert_int_equal(plan->phases[1].until, UNTIL_PROVEN);
	assert_int_equal(plan->phases[2].until, UNTIL_HELD);
	assert_int_equal(plan->n_guards, 2);
	assert_int_equal(plan->guards[1].warmup, 60 * NSEC_PER_SEC);
	assert_int_equal(plan->rollback.mode, ROLLBACK_AUTO);
	assert_int_equal(plan->on_timeout, TIMEOUT_HOLD);
	assert_int_equal(plan->keep_warm, 3600 * NSEC_PER_SEC);
	/* a quarter of the limit; hold for an absolute rate, over 5 minutes */
	assert_true(full->guards[0].tolerance.by == 0.005);
	assert_int_equal(full->guards[2].action, ACTION_HOLD);
	assert_int_equal(full->guards[2].window, 300 * NSEC_PER_SEC);
	assert_int_equal(full->guards[3].max_increase.kind, INCREASE_ABSOLUTE);
	config_free(&config);
}

static void
test_plans__a_plan_comes_back_from_json_as_it_was(void **state)
{
	struct config *config = plans_fine(FULL);
	const struct plan_cfg *plan = config_plan(config, "full");
	char *before = plan_render_json(plan), *after;
	struct plan_cfg *copy;

	(void)state;
	assert_null(strchr(before, '\n'));
	/* What it was read from is gone, and what it names may be, too. */
	copy = plan_copy(plan);
	config_free(&config);
	after = plan_render_json(copy);
	assert_string_equal(before, after);
	assert_string_equal(copy->name, "full");
	assert_int_equal(copy->gates[0].webhook.hmac.from, SECRET_ENV);
	assert_string_equal(copy->gates[0].webhook.hmac.where, "PATH");
	plan_free(&copy);
	assert_null(copy);
	free(before);
	free(after);
}

/* A rollout begins with a copy, and what cannot be copied would end weir. */
static void
test_plans__the_smallest_increase_comes_back_too(void **state)
{
	struct config *config = plans_fine(
	    "plans: {p: {phases: [{name: a, weight: 5}], guards: [{name: e, "
	    "metric: errors, max_increase: 0.0001pp}, {name: l, metric: "
	    "latency, max_increase: 0.0002%}]}}\n");
	const struct plan_cfg *plan = config_plan(config, "p");
	struct plan_cfg *copy = plan_copy(plan);

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		assert_true(copy->guards[i].tolerance.by ==
		            plan->guards[i].tolerance.by);
		assert_true(copy->guards[i].tolerance.by > 0);
	}
	plan_free(&copy);
	config_free(&config);
}

static void
test_plans__what_is_no_plan_does_not_come_back(void **state)
{
	static const char *const texts[] = {"", "{}", "[1]", "{\"x\": {}}",
	    "{\"a\": {\"phases\": [{\"name\": \"a\", \"weight\": 5}]}, \"b\": "
	    "{\"phases\": [{\"name\": \"a\", \"weight\": 5}]}}"};
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		err.text[0] = '\0';
		assert_null(plan_parse(span_of(texts[i]), &err));
		assert_non_null(strstr(err.text, "not a plan"));
	}
	assert_null(plan_parse(
	    SPAN("{\"p\": {\"phases\": [{\"name\": \"a\", \"weight\": "
	         "500}]}}"),
	    &err));
	assert_non_null(strstr(err.text, "weight"));
}

/* It was filled in when the file was read; what comes later may be anybody's.
 */
static void
test_plans__what_looks_like_a_variable_in_json_is_text(void **state)
{
	struct err err;
	struct plan_cfg *plan = plan_parse(
	    SPAN("{\"p\": {\"phases\": [{\"name\": \"a\", \"weight\": "
	         "5}], \"notify\": [{\"url\": \"https://h/\", \"hmac\": "
	         "{\"file\": \"/run/${PATH}\"}, \"events\": [\"phase\"]}]}}"),
	    &err);

	(void)state;
	if (!plan)
		fail_msg("%s", err.text);
	assert_string_equal(plan->notify[0].hook.hmac.where, "/run/${PATH}");
	plan_free(&plan);
}

static void
test_plans__one_takes_from_another_what_it_does_not_give(void **state)
{
	struct config *config =
	    plans_fine(FULL "  quick: {like: full, keep_warm: 5m, rollback: "
	                    "{mode: instant}}\n");
	const struct plan_cfg *plan = config_plan(config, "quick");

	(void)state;
	assert_int_equal(plan->n_phases, 3);
	assert_int_equal(plan->keep_warm, 300 * NSEC_PER_SEC);
	assert_int_equal(plan->rollback.mode, ROLLBACK_INSTANT);
	assert_int_equal(plan->rollback.sessions, SESSIONS_DRAIN);
	config_free(&config);
}

#define PLAN(guards, more)                                                     \
	"plans: {p: {phases: [{name: a, weight: 5" more "}], guards: [" guards \
	"]}}\n"

static void
test_plans__what_makes_no_sense_is_refused_once(void **state)
{
	static const struct {
		const char *plans, *code, *part;
	} rows[] = {
	    {"plans: {p: {}}\n", "E014", "\"phases\" is missing"},
	    {PLAN("{name: e, metric: errors, max_increase: 2}", ""), "E040",
	        "\"2\" is not an increase"},
	    {PLAN("{name: e, metric: errors, max_increase: 0pp}", ""), "E040",
	        "not an increase"},
	    {PLAN("{name: e, metric: errors, max_increase: 0.00005pp}", ""),
	        "E042", "less than 0.0001"},
	    {PLAN("{name: e, metric: latency, max_increase: 2pp}", ""), "E042",
	        "by a share"},
	    {PLAN("{name: e, metric: errors, max_increase: 2pp, tolerance: "
	          "20%}",
	         ""),
	        "E042", "the same unit"},
	    {PLAN("{name: e, metric: errors, max_increase: 2pp, tolerance: "
	          "2pp}",
	         ""),
	        "E042", "not below max_increase"},
	    {PLAN("{name: e, metric: errors, max_increase: 2pp, max_rate: 1%}",
	         ""),
	        "E042", "does not go with max_rate"},
	    {PLAN("{name: e, metric: errors, max_rate: 0}", ""), "E020",
	        "0 is below 0.01%"},
	    {PLAN("{name: e, metric: excess_failures}", ""), "E042",
	        "\"max\" is missing"},
	    {PLAN("{name: e, metric: errors, warmup: 5s}", ""), "E042",
	        "warmup is for latency"},
	    {PLAN("{name: e, metric: \"signal:A b\", max: 1}", ""), "E042",
	        "kind of a signal"},
	    {PLAN("{name: e, metric: eror}", ""), "E042", "none of errors"},
	    {PLAN("{name: e, metric: errors}, {name: e, metric: latency}", ""),
	        "E008", "two are named \"e\""},
	    {PLAN("", ", gate: [smoke]"), "E028", "no gate \"smoke\""},
	    {PLAN("", ", hold: 1h, timeout: 30m"), "E042", "shorter than"},
	    {"plans: {p: {phases: [{name: a, weight: 5}], gates: {g: "
	     "{}}}}\n",
	        "E042", "exactly one of"},
	    {"plans: {p: {phases: [{name: a, weight: 5}], gates: {g: "
	     "{window: {hours: \"9-16\"}}}}}\n",
	        "E042", "no time of the day"},
	    {"plans: {p: {phases: [{name: a, weight: 5}], gates: {g: "
	     "{window: {days: \"mon-fry\"}}}}}\n",
	        "E042", "no days"},
	    {"plans: {p: {phases: [{name: a, weight: 5}], gates: {g: "
	     "{window: {zone: \"../passwd\"}}}}}\n",
	        "E042", "no such time zone"},
	    {"plans: {p: {phases: [{name: a, weight: 5}], notify: [{url: "
	     "\"ftp://x\"}]}}\n",
	        "E041", "not a URL"},
	    {"plans: {p: {phases: [{name: a, weight: 5}], notify: [{url: "
	     "\"https://me:secret@x/\"}]}}\n",
	        "E041", "not a URL"},
	    {"plans: {p: {like: p}}\n", "E032", "the plan itself"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		expect_error(rows[i].plans, rows[i].code, rows[i].part);
}

static void
test_plans__an_inherited_mistake_is_told_once(void **state)
{
	(void)state;
	expect_error("plans:\n  p: {phases: [{name: a, weight: 5, gate: "
	             "[nope]}]}\n  q: {like: p}\n  r: {like: q}\n",
	    "E028", "no gate \"nope\"");
}

/* On the machine itself nobody is on the way. */
static void
test_plans__a_hook_on_this_machine_may_be_clear(void **state)
{
	static const char *const urls[] = {"http://127.0.0.1:8099/x",
	    "http://localhost", "http://[::1]/", "https://hooks.test/"};

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		char plans[256];
		struct diags diags;
		struct config *config;

		snprintf(plans, sizeof(plans),
		    "plans: {p: {phases: [{name: a, weight: 5}], notify: "
		    "[{url: \"%s\"}]}}\n",
		    urls[i]);
		config = plans_load(plans, &diags);
		assert_non_null(config);
		for (size_t j = 0; j < diags.n; j++)
			assert_string_not_equal(diags.at[j].code, "W010");
		diags_release(&diags);
		config_free(&config);
	}
	expect_warning("plans: {p: {phases: [{name: a, weight: 5}], notify: "
	               "[{url: \"http://localhost.evil.test/\"}]}}\n",
	    "W010");
}

static void
test_plans__what_is_odd_is_warned_of(void **state)
{
	(void)state;
	expect_warning(
	    "plans: {p: {phases: [{name: a, weight: 100}]}}\n", "W008");
	expect_warning("plans: {p: {phases: [{name: a, weight: 50}, {name: b, "
	               "weight: 5}]}}\n",
	    "W009");
	expect_warning("plans: {p: {phases: [{name: a, weight: 5}], notify: "
	               "[{url: \"http://x/\"}]}}\n",
	    "W010");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_plans__all_that_is_written_is_there),
	    cmocka_unit_test(test_plans__what_is_not_written_is_filled_in),
	    cmocka_unit_test(test_plans__a_plan_comes_back_from_json_as_it_was),
	    cmocka_unit_test(test_plans__the_smallest_increase_comes_back_too),
	    cmocka_unit_test(test_plans__what_is_no_plan_does_not_come_back),
	    cmocka_unit_test(
	        test_plans__what_looks_like_a_variable_in_json_is_text),
	    cmocka_unit_test(
	        test_plans__one_takes_from_another_what_it_does_not_give),
	    cmocka_unit_test(test_plans__what_makes_no_sense_is_refused_once),
	    cmocka_unit_test(test_plans__an_inherited_mistake_is_told_once),
	    cmocka_unit_test(test_plans__a_hook_on_this_machine_may_be_clear),
	    cmocka_unit_test(test_plans__what_is_odd_is_warned_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
