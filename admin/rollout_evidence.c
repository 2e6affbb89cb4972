/*
 * The evidence of a rollout: one object a guard, with all numbers that its
 * verdict follows from. The same object in API, log, audit and webhook.
 */
#include <math.h>
#include <stdio.h>

#include "admin/rollouts.h"

static json_t *
number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static json_t *
counts(const uint64_t by_arm[ARM_COUNT])
{
	return json_pack("{s:I, s:I}", arm_name(ARM_CANDIDATE),
	    (json_int_t)by_arm[ARM_CANDIDATE], arm_name(ARM_BASELINE),
	    (json_int_t)by_arm[ARM_BASELINE]);
}

static json_t *
reals(const double by_arm[ARM_COUNT])
{
	return json_pack("{s:o, s:o}", arm_name(ARM_CANDIDATE),
	    number(by_arm[ARM_CANDIDATE]), arm_name(ARM_BASELINE),
	    number(by_arm[ARM_BASELINE]));
}

static json_t *
latencies(const nsec_t by_arm[ARM_COUNT])
{
	double ms[ARM_COUNT];

	for (int arm = 0; arm < ARM_COUNT; arm++)
		ms[arm] = (double)by_arm[arm] / (double)NSEC_PER_MSEC;
	return reals(ms);
}

static json_t *
change(const struct finding *f, double value)
{
	char text[48];

	if (!isfinite(value))
		return json_null();
	snprintf(text, sizeof(text), f->is_relative ? "%.3g%%" : "%.3gpp",
	    value * 100);
	return json_string(text);
}

static json_t *
increase(const struct increase *i)
{
	char text[48];

	if (i->kind == INCREASE_NONE)
		return json_null();
	snprintf(text, sizeof(text),
	    i->kind == INCREASE_RELATIVE ? "%.6g%%" : "%.6gpp", i->by * 100);
	return json_string(text);
}

static json_t *
limit(const struct guard_cfg *guard)
{
	json_t *object = json_object();

	if (guard->max_increase.kind != INCREASE_NONE) {
		json_object_set_new(
		    object, "max_increase", increase(&guard->max_increase));
		json_object_set_new(
		    object, "tolerance", increase(&guard->tolerance));
	}
	if (guard->max_rate > 0)
		json_object_set_new(
		    object, "max_rate", json_real(guard->max_rate));
	if (guard->metric == GUARD_EXCESS_FAILURES ||
	    guard->metric == GUARD_SIGNAL)
		json_object_set_new(
		    object, "max", json_integer((json_int_t)guard->max));
	if (guard->window > 0)
		json_object_set_new(object, "window_seconds",
		    json_real((double)guard->window / (double)NSEC_PER_SEC));
	return object;
}

static void
set_progress(json_t *object, const struct finding *f)
{
	if (f->verdict != VERDICT_UNDECIDED)
		return;
	json_object_set_new(
	    object, "so_far", json_integer((json_int_t)f->so_far));
	json_object_set_new(object, "of_about",
	    f->of_about ? json_integer((json_int_t)f->of_about) : json_null());
	json_object_set_new(object, "seconds_to_go",
	    f->to_go ? json_real((double)f->to_go / (double)NSEC_PER_SEC)
	             : json_null());
	json_object_set_new(
	    object, "why", f->why ? json_string(f->why) : json_null());
}

static void
set_test(json_t *object, const struct finding *f)
{
	json_object_set_new(object, "test", json_string(f->test));
	json_object_set_new(object, "alpha", number(f->alpha));
	json_object_set_new(object, "e_value", number(exp(f->log_e)));
	json_object_set_new(object, "needed", number(exp(f->log_needed)));
	json_object_set_new(object, "log_e", number(f->log_e));
	json_object_set_new(object, "log_needed", number(f->log_needed));
	json_object_set_new(object, "log_pass", number(f->log_pass));
	json_object_set_new(
	    object, "log_pass_needed", number(f->log_pass_needed));
}

static void
set_measures(json_t *object, const struct finding *f)
{
	json_object_set_new(object, "weight", reals(f->weight));
	json_object_set_new(object, "n", counts(f->n));
	json_object_set_new(object, "bad", counts(f->bad));
	json_object_set_new(object, "rate", reals(f->rate));
	if (f->has_increase)
		json_object_set_new(object, "increase",
		    json_pack("{s:o, s:o, s:o}", "estimate",
		        change(f, f->estimate), "low", change(f, f->low),
		        "high", change(f, f->high)));
	if (f->guard->metric == GUARD_LATENCY) {
		json_object_set_new(object, "p50_ms", latencies(f->p50));
		json_object_set_new(object, "p95_ms", latencies(f->p95));
		json_object_set_new(object, "p99_ms", latencies(f->p99));
	}
	if (f->guard->metric == GUARD_EXCESS_FAILURES ||
	    f->guard->metric == GUARD_SIGNAL)
		json_object_set_new(object, "excess", number(f->excess));
	if (f->shape)
		json_object_set_new(object, "shape", json_string(f->shape));
}

static json_t *
finding_json(const struct run *run, size_t guard, nsec_t now)
{
	const struct rollout *r = &run->rollout;
	struct finding f;
	char text[320];
	json_t *object;

	judge_finding(r->judge, guard, now, &f);
	object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "schema",
	    "weir.evidence/v1", "rollout", r->id, "phase",
	    r->plan->phases[r->phase].name, "guard", f.guard->name, "metric",
	    guard_metric_name(f.guard->metric), "action",
	    guard_action_name(f.guard->action), "verdict",
	    verdict_name(f.verdict));
	set_test(object, &f);
	set_measures(object, &f);
	json_object_set_new(object, "limit", limit(f.guard));
	set_progress(object, &f);
	json_object_set_new(
	    object, "exposed", json_integer((json_int_t)r->bad[ARM_CANDIDATE]));
	json_object_set_new(
	    object, "shielded", json_integer((json_int_t)r->shielded));
	json_object_set_new(
	    object, "text", json_string(finding_print(&f, text, sizeof(text))));
	return object;
}

json_t *
run_findings(const struct run *run)
{
	json_t *list = json_array();
	nsec_t now = now_mono();

	if (run->rollout.state == ROLLOUT_PENDING || !run->rollout.judge)
		return list;
	for (size_t g = 0; g < run->rollout.plan->n_guards; g++)
		json_array_append_new(list, finding_json(run, g, now));
	return list;
}

static json_t *
cause_guard(const struct rollout *r)
{
	return r->cause == CAUSE_GUARD
	           ? json_string(r->plan->guards[r->cause_guard].name)
	           : json_null();
}

json_t *
run_evidence_json(const struct run *run)
{
	const struct rollout *r = &run->rollout;

	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o}",
	    "schema", "weir.rollout-evidence/v1", "rollout", r->id, "split",
	    r->split, "state", rollout_state_name(r->state), "phase",
	    r->plan->phases[r->phase].name, "guard", cause_guard(r),
	    "decided_at", wall_json(run->decided_ns), "effective_at",
	    wall_json(run->effective_ns), "guards",
	    run->evidence ? json_incref(run->evidence) : run_findings(run));
}
