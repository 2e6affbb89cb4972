/*
 * Plans: what the file's words become, defaults, inheritance, what is refused
 * and what is warned about, and the way to JSON and back.
 */
#include "cmock.h"

#define PLAN(text) HEAD POOL TAIL "plans:\n  p:\n" text
#define PHASES     "    phases: [{weight: 5}]\n"
#define HOUR       (3600 * NSEC_PER_SEC)

/* The contract's example; its secret is an environment variable here. */
static const char standard[] = HEAD POOL TAIL
    "plans:\n"
    "  standard:\n"
    "    phases:\n"
    "      - {name: preview, weight: 0, gate: [smoke]}\n"
    "      - {name: canary,  weight: 5,  hold: 30m, min_requests: 2000, "
    "until: proven, timeout: 4h}\n"
    "      - {name: quarter, weight: 25, ramp: 2m, hold: 15m}\n"
    "      - {name: half,    weight: 50, ramp: 2m, hold: 15m, gate: "
    "[release-approval, office-hours]}\n"
    "      - {name: bake,    weight: 99, ramp: 5m, hold: 1h}\n"
    "    keep_warm: 2h\n"
    "    confidence: {false_rollback: 0.1%, false_pass: 5%}\n"
    "    guards:\n"
    "      - {name: errors, metric: errors, max_increase: 2pp, tolerance: "
    "0.5pp, action: rollback}\n"
    "      - {name: latency, metric: latency, max_increase: 20%, tolerance: "
    "5%, warmup: 60s, action: rollback}\n"
    "      - {name: slo, metric: errors, max_rate: 1%, window: 5m, action: "
    "hold}\n"
    "      - {name: shape, metric: shape, action: observe}\n"
    "      - {name: fuse, metric: excess_failures, max: 500, action: "
    "rollback}\n"
    "      - {name: complaints, metric: \"signal:complaint\", max: 3, window: "
    "30m, action: rollback}\n"
    "    gates:\n"
    "      smoke: {webhook: {url: \"https://ci.internal/smoke\", timeout: "
    "30s, retries: 2, hmac: {env: WEIR_TEST_HOOK}}}\n"
    "      release-approval: {approval: {role: approver, count: 1, "
    "not_requester: true, ttl: 24h}}\n"
    "      office-hours: {window: {days: mon-thu, hours: \"09:00-16:00\", "
    "zone: Europe/Paris}}\n"
    "    rollback: {mode: auto, sessions: recall}\n"
    "    on_timeout: hold\n"
    "    notify: [{url: \"https://hooks.internal/weir\", events: [phase, "
    "hold, rollback, promoted], hmac: {env: WEIR_TEST_HOOK}}]\n"
    "  blue-green: {like: standard, phases: [{name: preview, weight: 0, gate: "
    "[smoke]}, {name: switch, weight: 100, hold: 10m}], keep_warm: 1h}\n";

static void
expect_part(const char *text, const char *want)
{
	char *told = told_about(text);

	if (strstr(told, want) == NULL)
		fail_msg("no \"%s\" in:\n%s", want, told);
	free(told);
}

static void
expect_nothing(const char *text)
{
	char *told = told_about(text);

	if (strstr(told, "rror[") || strstr(told, "arning["))
		fail_msg("told:\n%s", told);
	free(told);
}

static int
near(double a, double b)
{
	return a - b < 1e-12 && b - a < 1e-12;
}

static void
test_plans__the_example_is_read(void **state)
{
	struct config *config = load_fine(standard);
	const struct plan_cfg *plan = config_plan(config, "standard");

	(void)state;
	assert_int_equal(plan->n_phases, 5);
	assert_int_equal(plan->phases[0].weight, 0);
	assert_int_equal(plan->phases[0].until, UNTIL_HELD);
	assert_int_equal(plan->phases[1].until, UNTIL_PROVEN);
	assert_int_equal(plan->phases[1].min_requests, 2000);
	assert_int_equal(plan->phases[1].timeout, 4 * HOUR);
	assert_int_equal(plan->phases[2].until, UNTIL_HELD);
	assert_int_equal(plan->phases[3].n_gates, 2);
	assert_int_equal(plan->phases[3].gates[1], 2);
	assert_int_equal(plan->phases[4].weight, 9900);
	assert_int_equal(plan->keep_warm, 2 * HOUR);
	assert_true(near(plan->false_rollback, 0.001));
	assert_true(near(plan->false_pass, 0.05));
	assert_int_equal(plan->guards[0].max_increase.kind, INCREASE_ABSOLUTE);
	assert_true(near(plan->guards[0].max_increase.by, 0.02));
	assert_true(near(plan->guards[0].tolerance.by, 0.005));
	assert_int_equal(plan->guards[1].max_increase.kind, INCREASE_RELATIVE);
	assert_true(near(plan->guards[1].max_increase.by, 0.2));
	assert_int_equal(plan->guards[1].warmup, 60 * NSEC_PER_SEC);
	assert_true(near(plan->guards[2].max_rate, 0.01));
	assert_int_equal(plan->guards[2].action, ACTION_HOLD);
	assert_int_equal(plan->guards[3].max_increase.kind, INCREASE_NONE);
	assert_int_equal(plan->guards[4].max, 500);
	assert_int_equal(plan->guards[5].metric, GUARD_SIGNAL);
	assert_string_equal(plan->guards[5].signal, "complaint");
	assert_int_equal(plan->gates[0].kind, GATE_WEBHOOK);
	assert_int_equal(plan->gates[0].webhook.retries, 2);
	assert_int_equal(plan->gates[0].webhook.hmac.from, SECRET_ENV);
	assert_int_equal(plan->gates[1].approval.role, ROLE_APPROVER);
	assert_true(plan->gates[1].approval.not_requester);
	assert_int_equal(plan->gates[1].approval.ttl, 24 * HOUR);
	assert_int_equal(plan->gates[2].window.days, 0x0f);
	assert_int_equal(plan->gates[2].window.from, 540);
	assert_int_equal(plan->gates[2].window.to, 960);
	assert_string_equal(plan->gates[2].window.zone, "Europe/Paris");
	assert_int_equal(plan->notify[0].events,
	    NOTIFY_PHASE | NOTIFY_HOLD | NOTIFY_ROLLBACK | NOTIFY_PROMOTED);
	assert_null(config_plan(config, "standart"));
	config_free(&config);
}

static void
test_plans__like_takes_what_is_not_given(void **state)
{
	struct config *config = load_fine(standard);
	const struct plan_cfg *plan = config_plan(config, "blue-green");

	(void)state;
	assert_int_equal(plan->n_phases, 2);
	assert_int_equal(plan->phases[1].weight, BP_ALL);
	assert_int_equal(plan->phases[1].until, UNTIL_PROVEN);
	assert_int_equal(plan->keep_warm, HOUR);
	assert_int_equal(plan->n_guards, 6);
	assert_int_equal(plan->n_gates, 3);
	assert_int_equal(plan->n_notify, 1);
	config_free(&config);
}

static void
test_plans__like_takes_gates_one_by_one(void **state)
{
	struct config *config =
	    load_fine(PLAN("    phases: [{weight: 5, gate: [a, b]}]\n"
	                   "    gates: {a: {approval: {}}, b: {window: {}}}\n"
	                   "    confidence: {false_pass: 1%}\n"
	                   "  q: {like: p, gates: {b: {approval: {count: 2}}}, "
	                   "confidence: {false_rollback: 1%}}\n"));
	const struct plan_cfg *plan = config_plan(config, "q");

	(void)state;
	assert_int_equal(plan->n_gates, 2);
	assert_string_equal(plan->gates[0].name, "b");
	assert_int_equal(plan->gates[0].kind, GATE_APPROVAL);
	assert_int_equal(plan->gates[0].approval.count, 2);
	assert_int_equal(plan->phases[0].gates[0], 1);
	assert_int_equal(plan->phases[0].gates[1], 0);
	assert_true(near(plan->false_pass, 0.01));
	assert_true(near(plan->false_rollback, 0.01));
	config_free(&config);
}

static void
test_plans__the_shortest_has_every_default(void **state)
{
	struct config *config = load_fine(PLAN(PHASES));
	const struct plan_cfg *plan = &config->plans[0];

	(void)state;
	assert_string_equal(plan->phases[0].name, "phase-1");
	assert_int_equal(plan->phases[0].until, UNTIL_PROVEN);
	assert_int_equal(plan->phases[0].hold, 0);
	assert_int_equal(plan->n_guards, 2);
	assert_int_equal(plan->guards[0].metric, GUARD_ERRORS);
	assert_true(near(plan->guards[0].max_increase.by, 0.02));
	assert_true(near(plan->guards[0].tolerance.by, 0.005));
	assert_int_equal(plan->guards[1].metric, GUARD_LATENCY);
	assert_int_equal(plan->guards[1].warmup, 60 * NSEC_PER_SEC);
	assert_int_equal(plan->guards[1].action, ACTION_ROLLBACK);
	assert_int_equal(plan->n_gates, 0);
	assert_int_equal(plan->keep_warm, HOUR);
	assert_int_equal(plan->holdback, 0);
	assert_true(near(plan->false_rollback, 0.001));
	assert_true(near(plan->false_pass, 0.05));
	assert_int_equal(plan->rollback.mode, ROLLBACK_AUTO);
	assert_int_equal(plan->rollback.sessions, SESSIONS_RECALL);
	assert_int_equal(plan->rollback.ramp, 30 * NSEC_PER_SEC);
	assert_int_equal(plan->on_timeout, TIMEOUT_HOLD);
	config_free(&config);
}

static void
test_plans__parts_have_defaults_of_their_own(void **state)
{
	struct config *config = load_fine(PLAN(PHASES
	    "    guards: [{metric: errors, max_increase: 4pp}, {metric: "
	    "\"signal:refund\", max: 0}, {name: own, metric: errors, max_rate: "
	    "0.001%}]\n    gates: {h: {webhook: {url: "
	    "\"http://[::1]:80/x?y\"}}, a: {approval: {}}, w: {window: {}}}\n"
	    "    notify: {url: \"https://h\"}\n"));
	const struct plan_cfg *plan = &config->plans[0];

	(void)state;
	assert_string_equal(plan->guards[0].name, "errors");
	assert_true(near(plan->guards[0].tolerance.by, 0.01));
	assert_int_equal(plan->guards[0].action, ACTION_ROLLBACK);
	assert_string_equal(plan->guards[1].name, "refund");
	assert_int_equal(plan->guards[2].action, ACTION_HOLD);
	assert_int_equal(plan->gates[0].webhook.timeout, 10 * NSEC_PER_SEC);
	assert_int_equal(plan->gates[0].webhook.retries, 3);
	assert_int_equal(plan->gates[1].approval.role, ROLE_APPROVER);
	assert_int_equal(plan->gates[1].approval.count, 1);
	assert_false(plan->gates[1].approval.not_requester);
	assert_int_equal(plan->gates[1].approval.ttl, 0);
	assert_int_equal(plan->gates[2].window.days, 0x7f);
	assert_int_equal(plan->gates[2].window.to, 1440);
	assert_string_equal(plan->gates[2].window.zone, "UTC");
	assert_int_equal(plan->notify[0].events, NOTIFY_ALL);
	config_free(&config);
}

static void
test_plans__the_first_with_weight_is_to_be_proven(void **state)
{
	struct config *config = load_fine(
	    PLAN("    phases: [{weight: 0}, {weight: 1}, {weight: 2}]\n"
	         "  q: {phases: [{weight: 1, until: held}, {weight: 2}]}\n"));

	(void)state;
	assert_int_equal(config->plans[0].phases[0].until, UNTIL_HELD);
	assert_int_equal(config->plans[0].phases[1].until, UNTIL_PROVEN);
	assert_int_equal(config->plans[0].phases[2].until, UNTIL_HELD);
	assert_int_equal(config->plans[1].phases[0].until, UNTIL_HELD);
	assert_int_equal(config->plans[1].phases[1].until, UNTIL_HELD);
	config_free(&config);
}

/* ---- what is refused ---- */

static void
test_plans__what_does_not_fit_is_refused(void **state)
{
	static const struct {
		const char *plan, *want;
	} rows[] = {
	    {"    keep_warm: 1h\n",
	        "[E014]: \"phases\" is missing in plan \"p\""},
	    {"    phases: []\n", "the list is empty"},
	    {"    like: q\n", "[E028]: like of plan \"p\": there is no plan"},
	    {"    like: p\n", "[E032]: like of plan \"p\": comes back to the "
	                      "plan itself"},
	    {"    phases: [{weight: 5, gate: [smoek]}]\n    gates: {smoke: "
	     "{approval: {}}}\n",
	        "[E028]: phases.gate of plan \"p\": the plan has no gate "
	        "\"smoek\""},
	    {"    phases: [{weight: 5, gate: [smoek]}]\n    gates: {smoke: "
	     "{approval: {}}}\n",
	        "did you mean \"smoke\"?"},
	    {"    phases: [{weight: 5, gate: [a, a]}]\n    gates: {a: "
	     "{approval: "
	     "{}}}\n",
	        "[E008]: phases.gate of plan \"p\": two are named \"a\""},
	    {"    phases: [{name: a, weight: 5}, {name: a, weight: 6}]\n",
	        "[E008]: phases of plan \"p\": two are named \"a\""},
	    {"    phases: [{weight: 5, hold: 1h, timeout: 30m}]\n",
	        "[E037]: phases.timeout of plan \"p\": the timeout of phase "
	        "\"phase-1\" is over"},
	    {"    phases: [{weight: 5.001}]\n", "[E020]"},
	    {"    phases: [{name: a}]\n", "\"weight\" is missing"},
	    {PHASES "    guards: [{metric: errors, max_increase: 2}]\n",
	        "[E040]: guards.max_increase of plan \"p\": \"2\" has no unit"},
	    {PHASES "    guards: [{metric: errors, max_increase: 2ppm}]\n",
	        "[E040]: guards.max_increase of plan \"p\": \"2ppm\" is not an "
	        "increase"},
	    {PHASES "    guards: [{metric: errors, max_increase: 0pp}]\n",
	        "it must be above 0"},
	    {PHASES "    guards: [{metric: errors}]\n",
	        "[E041]: guards of plan \"p\": metric errors needs a bound"},
	    {PHASES "    guards: [{metric: errors, max_rate: 1%, max_increase: "
	            "1pp}]\n",
	        "[E041]: guards of plan \"p\": metric errors needs one bound"},
	    {PHASES "    guards: [{metric: latency, max_increase: 2pp}]\n",
	        "latency has no percentage points"},
	    {PHASES
	        "    guards: [{metric: latency, max_increase: 20%, max: 3}]\n",
	        "max does not go with metric latency"},
	    {PHASES
	        "    guards: [{metric: errors, max_increase: 2pp, tolerance: "
	        "2pp}]\n",
	        "[E041]: guards.tolerance of plan \"p\": it is not below"},
	    {PHASES
	        "    guards: [{metric: errors, max_increase: 2pp, tolerance: "
	        "1%}]\n",
	        "different units"},
	    {PHASES "    guards: [{metric: errors, max_increase: 2pp, window: "
	            "1m}]\n",
	        "a window goes with max_rate"},
	    {PHASES "    guards: [{metric: errors, max_rate: 1%, tolerance: "
	            "1pp}]\n",
	        "a tolerance goes with max_increase"},
	    {PHASES "    guards: [{metric: eror, max_rate: 1%}]\n",
	        "[E016]: guards.metric of plan \"p\": \"eror\" is not one of "
	        "errors, latency, shape, excess_failures, or signal:KIND"},
	    {PHASES "    guards: [{metric: \"signal:\", max: 1}]\n",
	        "names no kind of signal"},
	    {PHASES "    guards: [{metric: errors, max_rate: 1%}, {metric: "
	            "errors, max_increase: 1pp}]\n",
	        "[E008]: guards of plan \"p\": two are named \"errors\""},
	    {PHASES "    confidence: {false_rollback: 0}\n", "is below"},
	    {PHASES "    gates: {a: {}}\n",
	        "[E042]: gates.a of plan \"p\": a gate is of exactly one kind"},
	    {PHASES "    gates: {a: {approval: {}, window: {}}}\n", "[E042]"},
	    {PHASES "    gates: {a: {window: {days: mon-xxx}}}\n", "[E043]"},
	    {PHASES "    gates: {a: {window: {hours: \"9-17\"}}}\n", "[E043]"},
	    {PHASES "    gates: {a: {window: {hours: \"09:00-09:00\"}}}\n",
	        "[E043]"},
	    {PHASES "    gates: {a: {window: {zone: Europe/Pris}}}\n",
	        "there is no time zone \"Europe/Pris\""},
	    {PHASES "    gates: {a: {window: {zone: ../etc/passwd}}}\n",
	        "[E043]"},
	    {PHASES "    notify: {url: \"ftp://x\"}\n", "[E044]"},
	    {PHASES "    notify: {url: \"https://\"}\n", "[E044]"},
	    {PHASES "    notify: {url: \"https://a b/\"}\n", "[E044]"},
	    {PHASES "    notify: {url: \"https://a:70000/\"}\n", "[E044]"},
	    {PHASES "    notify: {url: \"https://a/#b\"}\n", "[E044]"},
	    {PHASES "    holdback: 60%\n", "60% is above 50"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[1024];

		snprintf(text, sizeof(text), "%s%s", PLAN(""), rows[i].plan);
		expect_part(text, rows[i].want);
	}
}

static void
test_plans__a_password_in_a_url_is_not_repeated(void **state)
{
	char *told = told_about(
	    PLAN(PHASES "    notify: {url: \"https://u:hunter2@h/\"}\n"));

	(void)state;
	assert_non_null(strstr(told, "a password does not stand in the file"));
	free(told);
}

static void
expect_too_many(const char *before, const char *entry, int n, const char *want)
{
	char text[8192];

	snprintf(text, sizeof(text), "%s%s", PLAN(""), before);
	for (int i = 0; i < n; i++)
		snprintf(
		    text + strlen(text), sizeof(text) - strlen(text), entry, i);
	expect_part(text, want);
}

static void
test_plans__lists_are_bounded(void **state)
{
	(void)state;
	expect_too_many("    phases:\n", "      - {weight: 5, name: n%d}\n",
	    PLAN_PHASES_MAX + 1,
	    "[E031]: phases of plan \"p\": a plan has at "
	    "most 16 phases");
	expect_too_many(PHASES "    guards:\n",
	    "      - {metric: shape, name: n%d}\n", PLAN_GUARDS_MAX + 1,
	    "[E031]: guards of plan \"p\": a plan has at most 16 guards");
	expect_too_many(PHASES "    gates:\n", "      n%d: {approval: {}}\n",
	    PLAN_GATES_MAX + 1, "at most 16 gates");
	expect_too_many(PHASES "    notify:\n",
	    "      - {url: \"https://h%d\"}\n", PLAN_HOOKS_MAX + 1,
	    "at most 8 receivers");
}

/* ---- what is warned about ---- */

static void
test_plans__what_cannot_work_is_warned_about(void **state)
{
	(void)state;
	expect_part(PLAN("    phases: [{weight: 50}, {weight: 5}]\n"),
	    "[W008]: phases of plan \"p\": phase \"phase-2\" goes down from 50 "
	    "to 5 percent");
	expect_part(PLAN("    phases: [{weight: 5}, {weight: 100}]\n"),
	    "[W009]: plan \"p\": at weight 100 there is no baseline, so in "
	    "phase \"phase-2\" no guard can fire (errors, latency)");
	expect_part(PLAN(PHASES "    guards: []\n"),
	    "[W011]: plan \"p\": nothing stops this plan");
	expect_part(PLAN("    phases: [{weight: 0}]\n"),
	    "[W012]: phases of plan \"p\": no phase has a weight");
	expect_part(
	    PLAN(PHASES "    notify: {url: \"http://hooks.example/\", hmac: "
	                "{env: WEIR_TEST_HOOK}}\n"),
	    "[W010]: notify of plan \"p\": what is signed can be read");
}

static void
test_plans__what_works_is_not_warned_about(void **state)
{
	(void)state;
	expect_nothing(standard);
	expect_nothing(PLAN("    phases: [{weight: 5}, {weight: 100}]\n"
	                    "    holdback: 1%\n"));
	expect_nothing(PLAN("    phases: [{weight: 5}, {weight: 100}]\n"
	                    "    guards: [{metric: errors, max_rate: 1%}]\n"));
	expect_nothing(
	    PLAN(PHASES "    notify: {url: \"http://127.0.0.1:8099/\", hmac: "
	                "{env: WEIR_TEST_HOOK}}\n"));
}

static void
test_plans__what_is_inherited_is_told_once(void **state)
{
	char *told =
	    told_about(PLAN(PHASES "    guards: [{metric: errors}]\n"
	                           "  q: {like: p}\n  r: {like: q}\n"));

	(void)state;
	assert_non_null(strstr(told, "1 error, "));
	free(told);
}

/* ---- units ---- */

static void
test_plans__days_are_read_and_printed(void **state)
{
	static const struct {
		const char *text, *printed;
		unsigned days;
	} rows[] = {
	    {"mon", "mon", 0x01},
	    {"mon-thu", "mon-thu", 0x0f},
	    {"mon,wed", "mon,wed", 0x05},
	    {"mon-fri,sun", "mon-fri,sun", 0x5f},
	    {"sat-mon", "mon,sat-sun", 0x61},
	    {"mon-sun", "mon-sun", 0x7f},
	};
	static const char *const bad[] = {
	    "", "Mon", "mo", "mon-", "-mon", "mon,", "mon tue", "monday"};
	unsigned days;
	char buf[64];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(units_days(span_of(rows[i].text), &days));
		assert_int_equal(days, rows[i].days);
		assert_string_equal(
		    units_print_days(days, buf, sizeof(buf)), rows[i].printed);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(units_days(span_of(bad[i]), &days));
}

static void
test_plans__hours_are_read_and_printed(void **state)
{
	static const char *const good[] = {
	    "09:00-16:00", "22:00-04:00", "00:00-24:00", "23:59-00:00"};
	static const char *const bad[] = {"", "9:00-16:00", "09:00", "09:00-",
	    "09:60-10:00", "24:00-10:00", "10:00-10:00", "09:00-25:00",
	    "09:00-16:001", "0a:00-16:00", "09-00-16:00"};
	unsigned from, to;
	char buf[32];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(units_hours(span_of(good[i]), &from, &to));
		assert_string_equal(
		    units_print_hours(from, to, buf, sizeof(buf)), good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(units_hours(span_of(bad[i]), &from, &to));
}

static void
test_plans__fine_percentages_are_read_and_printed(void **state)
{
	static const struct {
		const char *text, *printed;
		int64_t nano;
	} rows[] = {
	    {"5", "5%", 50000000},
	    {"0.1%", "0.1%", 1000000},
	    {"0.0000001%", "0.0000001%", 1},
	    {"100", "100%", NANO_ALL},
	    {"0", "0%", 0},
	    {"33.3333333%", "33.3333333%", 333333333},
	};
	bool is_relative;
	int64_t nano;
	char buf[40];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(units_fraction(span_of(rows[i].text), &nano));
		assert_int_equal(nano, rows[i].nano);
		assert_string_equal(
		    units_print_fraction(nano, "%", buf, sizeof(buf)),
		    rows[i].printed);
	}
	assert_false(units_fraction(SPAN("100.1"), &nano));
	assert_false(units_fraction(SPAN("0.00000001%"), &nano));
	assert_false(units_fraction(SPAN("-1%"), &nano));
	assert_false(units_fraction(SPAN("1pp"), &nano));
	assert_true(units_increase(SPAN("250%"), &is_relative, &nano));
	assert_true(is_relative);
	assert_false(units_increase(SPAN("101pp"), &is_relative, &nano));
	assert_false(units_increase(SPAN("5"), &is_relative, &nano));
	assert_false(units_increase(SPAN(""), &is_relative, &nano));
}

/* ---- the way to JSON and back ---- */

static void
expect_same(const struct plan_cfg *plan)
{
	char *first = plan_render_json(plan), *second, *third;
	struct plan_cfg *again, *copy;
	struct err err;

	assert_null(strchr(first, '\n'));
	again = plan_parse(span_of(first), &err);
	if (again == NULL)
		fail_msg("%s: %s", err.text, first);
	copy = plan_copy(again);
	second = plan_render_json(again);
	plan_free(&again);
	third = plan_render_json(copy);
	assert_string_equal(first, second);
	assert_string_equal(first, third);
	assert_true(copy->false_rollback == plan->false_rollback);
	assert_true(copy->false_pass == plan->false_pass);
	for (size_t i = 0; i < plan->n_guards; i++) {
		assert_true(copy->guards[i].tolerance.by ==
		            plan->guards[i].tolerance.by);
		assert_true(
		    copy->guards[i].max_rate == plan->guards[i].max_rate);
	}
	plan_free(&copy);
	assert_null(copy);
	free(first);
	free(second);
	free(third);
}

static void
test_plans__a_plan_comes_back_from_json(void **state)
{
	struct config *config = load_fine(standard);
	struct config *plain = load_fine(PLAN(PHASES
	    "    guards: [{metric: errors, max_increase: 0.3333333pp}, {name: "
	    "r, metric: errors, max_rate: 0.0123456%}]\n    confidence: "
	    "{false_rollback: 0.0017%, false_pass: 3.3333333%}\n"
	    "    gates: {w: {window: {hours: \"22:00-06:00\", days: "
	    "\"sat,mon\"}}, a: {approval: {role: admin, count: 3}}}\n"
	    "    holdback: 0.25%\n    on_timeout: rollback\n"
	    "    rollback: {mode: ramp, sessions: drain, ramp: 90s}\n"));

	(void)state;
	for (size_t i = 0; i < config->n_plans; i++)
		expect_same(&config->plans[i]);
	expect_same(&plain->plans[0]);
	config_free(&config);
	config_free(&plain);
}

static void
test_plans__json_that_is_no_plan_is_refused(void **state)
{
	struct config *config = load_fine(standard);
	char *json = plan_render_json(&config->plans[0]);
	size_t len = strlen(json);
	struct err err;

	(void)state;
	for (size_t cut = 0; cut < len; cut++)
		assert_null(plan_parse((struct span){json, cut}, &err));
	assert_null(plan_parse(SPAN("[]"), &err));
	assert_null(plan_parse(SPAN("{}"), &err));
	assert_string_equal(
	    err.text, "plan: 'schema' is missing or of another kind");
	/* any one value of another kind */
	for (char *at = json; (at = strchr(at, ':')); at++) {
		char was = at[1];
		struct plan_cfg *plan;

		if (was != '"')
			continue;
		at[1] = ' ';
		plan = plan_parse((struct span){json, len}, &err);
		assert_null(plan);
		at[1] = was;
	}
	free(json);
	config_free(&config);
}

static void
test_plans__secrets_are_shown_to_nobody(void **state)
{
	struct config *config = load_fine(standard);
	char *shown = config_render_json(config);
	char *kept = plan_render_json(&config->plans[0]);

	(void)state;
	assert_non_null(strstr(shown, "\"hmac\": \"***\""));
	assert_null(strstr(shown, "hunter2"));
	assert_null(strstr(kept, "hunter2"));
	assert_non_null(strstr(kept, "\"hmac\":{\"env\":\"WEIR_TEST_HOOK\"}"));
	free(shown);
	free(kept);
	config_free(&config);
}

static void
test_plans__what_is_rendered_loads_again(void **state)
{
	static const char text[] = PLAN(
	    "    phases: [{weight: 1.25, gate: [a]}, {weight: 99, hold: 1h}]\n"
	    "    gates: {a: {window: {days: mon-thu, hours: \"09:00-16:00\"}}, "
	    "b: {webhook: {url: \"https://h/\"}}}\n"
	    "    notify: [{url: \"https://h/\", events: [aborted]}]\n"
	    "  none: {phases: {weight: 5}, guards: []}\n");
	struct config *config = load_fine(text), *again;
	char *first = config_render_json(config), *second, *body;
	size_t head = strlen("{\n  \"schema\": \"weir.config/v1\",");

	(void)state;
	body = strdup(first);
	memset(body + 1, ' ', head - 1);
	again = load_fine(body);
	second = config_render_json(again);
	assert_string_equal(first, second);
	assert_int_equal(again->plans[1].n_guards, 0);
	free(first);
	free(second);
	free(body);
	config_free(&config);
	config_free(&again);
}

static void
test_plans__a_change_is_seen(void **state)
{
	struct config *old = load_fine(PLAN(PHASES)),
	              *new = load_fine(PLAN(PHASES "    keep_warm: 2h\n"
	                                           "  q: {like: p}\n"));
	char *told = config_diff(old, new);

	(void)state;
	assert_string_equal(
	    told, "~ plans.p.keep_warm: \"1h\" -> \"2h\"\n+ plans.q\n");
	free(told);
	config_free(&old);
	config_free(&new);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_plans__the_example_is_read),
	    cmocka_unit_test(test_plans__like_takes_what_is_not_given),
	    cmocka_unit_test(test_plans__like_takes_gates_one_by_one),
	    cmocka_unit_test(test_plans__the_shortest_has_every_default),
	    cmocka_unit_test(test_plans__parts_have_defaults_of_their_own),
	    cmocka_unit_test(test_plans__the_first_with_weight_is_to_be_proven),
	    cmocka_unit_test(test_plans__what_does_not_fit_is_refused),
	    cmocka_unit_test(test_plans__a_password_in_a_url_is_not_repeated),
	    cmocka_unit_test(test_plans__lists_are_bounded),
	    cmocka_unit_test(test_plans__what_cannot_work_is_warned_about),
	    cmocka_unit_test(test_plans__what_works_is_not_warned_about),
	    cmocka_unit_test(test_plans__what_is_inherited_is_told_once),
	    cmocka_unit_test(test_plans__days_are_read_and_printed),
	    cmocka_unit_test(test_plans__hours_are_read_and_printed),
	    cmocka_unit_test(test_plans__fine_percentages_are_read_and_printed),
	    cmocka_unit_test(test_plans__a_plan_comes_back_from_json),
	    cmocka_unit_test(test_plans__json_that_is_no_plan_is_refused),
	    cmocka_unit_test(test_plans__secrets_are_shown_to_nobody),
	    cmocka_unit_test(test_plans__what_is_rendered_loads_again),
	    cmocka_unit_test(test_plans__a_change_is_seen),
	};

	setenv("WEIR_TEST_HOOK", "hunter2", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
