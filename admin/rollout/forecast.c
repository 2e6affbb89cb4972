/*
 * What a plan will be able to see on a split at the traffic of the moment: the
 * answer to a dry run. A phase that is too short for its guards is told before
 * it has been waited for.
 */
#include <math.h>
#include <stdio.h>

#include "admin/rollout/rollouts.h"
#include "admin/sampler.h"

/* Of the logarithm of latencies: what services look like until measured. */
#define SIGMA 0.5

struct traffic {
	double rate,
	    failures; /* a second over both arms; the baseline's share */
};

static struct traffic
traffic_of(const struct admin *admin, const struct start *start)
{
	const struct split *split = start->split;
	const char *from = start_from(split);
	struct traffic traffic = {0};

	for (uint32_t i = 0; i < split->n_pools; i++) {
		const struct share *share =
		    sampler_share(admin->sampler, split->name, i);

		if (!share)
			continue;
		traffic.rate += meter_rate(&share->meter);
		if (i == (uint32_t)split_slot(split, from))
			traffic.failures = meter_failure_share(&share->meter);
	}
	return traffic;
}

static json_t *
number_or_null(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

/* "2pp", "20%"; null: it compares nothing, or sees nothing. */
static json_t *
increase_or_null(const struct guard_cfg *guard, double by)
{
	char text[48];

	if (guard->max_increase.kind == INCREASE_NONE || !isfinite(by))
		return json_null();
	snprintf(text, sizeof(text), "%.3g%s", by * 100,
	    guard->max_increase.kind == INCREASE_RELATIVE ? "%" : "pp");
	return json_string(text);
}

static json_t *
guard_json(const struct plan_cfg *plan, size_t guard,
    const struct judge_phase *phase, const struct traffic *traffic)
{
	const struct guard_cfg *cfg = &plan->guards[guard];
	struct judge_forecast f;
	double seconds;

	judge_foresee(
	    plan, guard, phase, traffic->rate, traffic->failures, SIGMA, &f);
	seconds = traffic->rate > 0 ? f.requests / traffic->rate : HUGE_VAL;
	return json_pack("{s:s, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o}",
	    "guard", cfg->name, "limit",
	    increase_or_null(cfg, cfg->max_increase.by), "smallest",
	    increase_or_null(cfg, f.smallest), "can_fire", f.can_fire,
	    "requests_to_detect", number_or_null(f.requests),
	    "canary_requests_to_detect", number_or_null(f.candidate_requests),
	    "seconds_to_detect", number_or_null(seconds), "smallest_increase",
	    number_or_null(f.smallest), "requests_to_pass",
	    number_or_null(f.requests_to_pass));
}

/* Of a phase whose length the plan leaves open nothing can be promised. */
static nsec_t
phase_length(const struct phase_cfg *phase)
{
	nsec_t length = phase->ramp + phase->hold;

	return length > 0 ? length : phase->timeout;
}

static json_t *
phase_json(const struct plan_cfg *plan, size_t p, const struct traffic *traffic)
{
	const struct phase_cfg *cfg = &plan->phases[p];
	struct judge_phase phase = {.candidate = cfg->weight,
	    .baseline = (bp_t)(BP_ALL - cfg->weight),
	    .length = phase_length(cfg)};
	double seconds = (double)phase.length / (double)NSEC_PER_SEC;
	double requests = traffic->rate * seconds;
	json_t *guards = json_array();

	for (size_t g = 0; g < plan->n_guards; g++)
		json_array_append_new(
		    guards, guard_json(plan, g, &phase, traffic));
	return json_pack("{s:s, s:o, s:f, s:f, s:f, s:o}", "phase", cfg->name,
	    "weight", json_percent(cfg->weight), "seconds", seconds, "requests",
	    round(requests), "canary_requests",
	    round(requests * cfg->weight / BP_ALL), "guards", guards);
}

/* ---- warnings ---- */

/* A phase without a length lasts until its guards have spoken. */
static bool
is_silent(const struct plan_cfg *plan, const json_t *phases, size_t p, size_t g)
{
	const struct phase_cfg *phase = &plan->phases[p];
	const json_t *guards =
	    json_object_get(json_array_get(phases, p), "guards");

	if (phase->weight == 0 ||
	    (phase->until == UNTIL_PROVEN && phase_length(phase) == 0))
		return false;
	return json_is_false(
	    json_object_get(json_array_get(guards, g), "can_fire"));
}

/* The smaller of the two arms is what there is too little of. */
enum lack { LACK_CANARY, LACK_BASELINE, LACK_ALL_BASELINE, LACK_COUNT };

static enum lack
lack_of(const struct phase_cfg *phase)
{
	if (phase->weight == BP_ALL)
		return LACK_ALL_BASELINE;
	return phase->weight > BP_ALL / 2 ? LACK_BASELINE : LACK_CANARY;
}

static void
warn_of_guard(const struct plan_cfg *plan, const json_t *phases, size_t g,
    enum lack lack, json_t *warnings)
{
	static const char *const ways[LACK_COUNT] = {
	    [LACK_CANARY] = "make the phase longer, its weight larger or the "
	                    "limit wider",
	    [LACK_BASELINE] = "few requests are left to compare with: make the "
	                      "weight smaller, the phase longer or the limit "
	                      "wider",
	    [LACK_ALL_BASELINE] = "nothing is left to compare with: give it a "
	                          "smaller weight, such as 99, or a guard with "
	                          "max_rate"};
	char list[PLAN_PHASES_MAX * (CONFIG_NAME_MAX + 3)] = "";
	size_t len = 0, n = 0;

	for (size_t p = 0; p < plan->n_phases; p++)
		if (lack_of(&plan->phases[p]) == lack &&
		    is_silent(plan, phases, p, g))
			len += (size_t)snprintf(list + len, sizeof(list) - len,
			    "%s%s", n++ ? ", " : "", plan->phases[p].name);
	if (n > 0)
		json_array_append_new(warnings,
		    json_sprintf(
		        "guard %s cannot be expected to fire in phase%s %s at "
		        "the present traffic: %s",
		        plan->guards[g].name, n > 1 ? "s" : "", list,
		        ways[lack]));
}

static json_t *
warnings_json(const struct plan_cfg *plan, const struct traffic *traffic,
    const json_t *phases)
{
	json_t *warnings = json_array();

	if (traffic->rate <= 0)
		json_array_append_new(warnings,
		    json_string("the split has no traffic at present: while "
		                "that is so no guard can fire and nothing is "
		                "proven"));
	for (size_t g = 0; traffic->rate > 0 && g < plan->n_guards; g++)
		if (plan->guards[g].max_increase.kind != INCREASE_NONE &&
		    plan->guards[g].action != ACTION_OBSERVE)
			for (int lack = 0; lack < LACK_COUNT; lack++)
				warn_of_guard(
				    plan, phases, g, (enum lack)lack, warnings);
	return warnings;
}

json_t *
forecast_json(const struct admin *admin, const struct start *start)
{
	struct traffic traffic = traffic_of(admin, start);
	json_t *phases = json_array();

	for (size_t p = 0; p < start->plan->n_phases; p++)
		json_array_append_new(
		    phases, phase_json(start->plan, p, &traffic));
	return json_pack("{s:s, s:b, s:s, s:s, s:s, s:s, s:f, s:f, s:o, s:o}",
	    "schema", "weir.forecast/v1", "dry_run", 1, "split",
	    start->split->name, "from", start_from(start->split), "to",
	    start->to, "plan", start->plan->name, "rate",
	    round(traffic.rate * 100) / 100, "error_rate",
	    round(traffic.failures * 1e6) / 1e6, "phases", phases, "warnings",
	    warnings_json(start->plan, &traffic, phases));
}
