/* A finding as the evidence object; see the header. */
#include "admin/rollout/evidence_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define E_MOST 1e300 /* JSON has no infinity, and nobody needs more */

/* ---- numbers ---- */

static json_t *
number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

/* To six significant digits, whole where it is large: 13270 and 0.0132. */
static json_t *
rounded(double value)
{
	char text[32];

	if (!isfinite(value))
		return json_null();
	snprintf(text, sizeof(text), "%.6g", value);
	value = strtod(text, NULL);
	if (value == floor(value) && fabs(value) < 1e15)
		return json_integer((json_int_t)value);
	return json_real(value);
}

static json_t *
e_value(double log_e)
{
	return rounded(fmin(exp(log_e), E_MOST));
}

static json_t *
by_arm(json_t *candidate, json_t *baseline)
{
	return json_pack("{s:o, s:o}", arm_name(ARM_CANDIDATE), candidate,
	    arm_name(ARM_BASELINE), baseline);
}

static json_t *
counts(const uint64_t n[ARM_COUNT])
{
	return by_arm(json_integer((json_int_t)n[ARM_CANDIDATE]),
	    json_integer((json_int_t)n[ARM_BASELINE]));
}

static json_t *
shares(const double x[ARM_COUNT])
{
	return by_arm(rounded(x[ARM_CANDIDATE]), rounded(x[ARM_BASELINE]));
}

static json_t *
milliseconds(const nsec_t t[ARM_COUNT])
{
	return by_arm(rounded((double)t[ARM_CANDIDATE] / (double)NSEC_PER_MSEC),
	    rounded((double)t[ARM_BASELINE] / (double)NSEC_PER_MSEC));
}

/* ---- texts with units ---- */

static json_t *
change(const struct finding *finding, double value)
{
	char text[48];

	if (!isfinite(value))
		return json_null();
	snprintf(text, sizeof(text), "%.3g%s", value * 100,
	    finding->is_relative ? "%" : "pp");
	return json_string(text);
}

/* All digits: the odds are computed again from it. */
static void
set_increase(json_t *object, const char *key, const struct increase *increase)
{
	char text[48];

	if (increase->kind == INCREASE_NONE)
		return;
	snprintf(text, sizeof(text), "%.12g%s", increase->by * 100,
	    increase->kind == INCREASE_RELATIVE ? "%" : "pp");
	json_object_set_new(object, key, json_string(text));
}

static json_t *
limit_json(const struct guard_cfg *guard)
{
	json_t *limit = json_object();
	char text[64];

	set_increase(limit, "max_increase", &guard->max_increase);
	set_increase(limit, "tolerance", &guard->tolerance);
	if (guard->max_rate > 0) {
		snprintf(text, sizeof(text), "%.12g%%", guard->max_rate * 100);
		json_object_set_new(limit, "max_rate", json_string(text));
	}
	if (guard->metric >= GUARD_EXCESS_FAILURES)
		json_object_set_new(
		    limit, "max", json_integer((json_int_t)guard->max));
	if (guard->window > 0)
		json_object_set_new(limit, "window",
		    json_string(units_print_duration(
		        guard->window, text, sizeof(text))));
	return limit;
}

static json_t *
metric_json(const struct guard_cfg *guard)
{
	return guard->signal ? json_sprintf("signal:%s", guard->signal)
	                     : json_string(guard_metric_name(guard->metric));
}

/* ---- the parts ---- */

static void
set_test(json_t *object, const struct finding *f)
{
	bool is_count = f->guard->metric >= GUARD_EXCESS_FAILURES;

	json_object_set_new(object, "test", json_string(f->test));
	if (is_count) {
		json_object_set_new(object, "count", rounded(f->excess));
		return;
	}
	json_object_set_new(object, "alpha", number(f->alpha));
	json_object_set_new(object, "e_value", e_value(f->log_e));
	json_object_set_new(object, "needed", e_value(f->log_needed));
	json_object_set_new(object, "log_e", number(f->log_e));
	json_object_set_new(object, "log_needed", number(f->log_needed));
	if (f->log_pass_needed > 0) {
		json_object_set_new(object, "pass_value", e_value(f->log_pass));
		json_object_set_new(
		    object, "pass_needed", e_value(f->log_pass_needed));
	}
}

static void
set_measures(json_t *object, const struct finding *f)
{
	bool is_signal = f->guard->metric == GUARD_SIGNAL;

	json_object_set_new(object, "weight", shares(f->weight));
	if (!is_signal) {
		json_object_set_new(object, "n", counts(f->n));
		json_object_set_new(object, "bad", counts(f->bad));
		json_object_set_new(object, "rate", shares(f->rate));
	}
	if (f->guard->metric == GUARD_LATENCY) {
		json_object_set_new(object, "p50_ms", milliseconds(f->p50));
		json_object_set_new(object, "p95_ms", milliseconds(f->p95));
		json_object_set_new(object, "p99_ms", milliseconds(f->p99));
	}
	if (f->has_increase)
		json_object_set_new(object, "increase",
		    json_pack("{s:o, s:o, s:o}", "estimate",
		        change(f, f->estimate), "low", change(f, f->low),
		        "high", change(f, f->high)));
	if (f->shape)
		json_object_set_new(object, "shape", json_string(f->shape));
}

static void
set_progress(json_t *object, const struct finding *f)
{
	if (f->verdict != VERDICT_UNDECIDED)
		return;
	json_object_set_new(
	    object, "so_far", json_integer((json_int_t)f->so_far));
	json_object_set_new(object, "of_about",
	    f->of_about > 0 ? json_integer((json_int_t)f->of_about)
	                    : json_null());
	json_object_set_new(object, "seconds_to_go",
	    f->to_go > 0 ? rounded((double)f->to_go / (double)NSEC_PER_SEC)
	                 : json_null());
	json_object_set_new(object, "why", json_string(f->why));
}

json_t *
finding_to_json(const struct finding *f, const char *rollout, const char *phase)
{
	char text[512];
	json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:s}",
	    "schema", "weir.evidence/v1", "rollout", rollout, "phase", phase,
	    "guard", f->guard->name, "metric", metric_json(f->guard), "action",
	    guard_action_name(f->guard->action), "verdict",
	    verdict_name(f->verdict));

	set_test(object, f);
	set_measures(object, f);
	json_object_set_new(object, "limit", limit_json(f->guard));
	set_progress(object, f);
	json_object_set_new(
	    object, "text", json_string(finding_print(f, text, sizeof(text))));
	return object;
}

/* ---- the proof ---- */

static json_t *
numbers_json(const double *at, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(
		    list, at[i] == floor(at[i]) && fabs(at[i]) < 1e15
		              ? json_integer((json_int_t)at[i])
		              : json_real(at[i]));
	return list;
}

/* Units that came while nothing could be decided: shown, not bet on. */
static void
set_unjudged(json_t *object, const struct finding *f, const double *trail,
    size_t n, size_t columns)
{
	uint64_t judged[ARM_COUNT], bad[ARM_COUNT], more[ARM_COUNT];

	if (!judge_recount(f->test, trail, n, columns, judged, bad))
		return;
	for (int arm = 0; arm < ARM_COUNT; arm++) {
		if (judged[arm] > f->n[arm] || bad[arm] > f->bad[arm])
			return;
		judged[arm] = f->n[arm] - judged[arm];
		more[arm] = f->bad[arm] - bad[arm];
	}
	if (judged[0] + judged[1] + more[0] + more[1] > 0)
		json_object_set_new(object, "unjudged",
		    json_pack("{s:o, s:o}", "n", counts(judged), "bad",
		        counts(more)));
}

static void
set_trail(json_t *object, const struct judge *judge, size_t guard,
    const struct finding *f)
{
	size_t columns, n = judge_trail(judge, guard, NULL, 0, &columns);
	double *trail;

	if (n == 0 || n > EVIDENCE_TRAIL_MAX)
		return;
	trail = calloc(n, sizeof(*trail));
	if (!trail)
		return;
	judge_trail(judge, guard, trail, n, &columns);
	set_unjudged(object, f, trail, n, columns);
	json_object_set_new(object, "trail",
	    json_pack("{s:I, s:o}", "columns", (json_int_t)columns, "numbers",
	        numbers_json(trail, n)));
	free(trail);
}

json_t *
verdict_record(const struct judge *judge, size_t guard, nsec_t now,
    const char *rollout, const char *phase, bool has_trail)
{
	struct finding finding;
	json_t *object;

	judge_finding(judge, guard, now, &finding);
	object = finding_to_json(&finding, rollout, phase);
	/* who failed stays so, and is proven by the record of that moment */
	if (has_trail && (finding.verdict != VERDICT_FAIL ||
	                     finding.log_e >= finding.log_needed))
		set_trail(object, judge, guard, &finding);
	return object;
}
