/*
 * What a plan will be able to see on a split at the traffic of the moment: the
 * answer to a dry run. A phase that is too short for its guards is told before
 * it has been waited for.
 */
#include <math.h>
#include <stdio.h>

#include "admin/rollouts.h"
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

static json_t *
guard_json(const struct plan_cfg *plan, size_t guard,
    const struct judge_phase *phase, const struct traffic *traffic)
{
	struct judge_forecast f;
	double seconds;

	judge_foresee(
	    plan, guard, phase, traffic->rate, traffic->failures, SIGMA, &f);
	seconds = traffic->rate > 0 ? f.requests / traffic->rate : HUGE_VAL;
	return json_pack("{s:s, s:b, s:o, s:o, s:o, s:o, s:o}", "guard",
	    plan->guards[guard].name, "can_fire", f.can_fire,
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

static void
warn(json_t *warnings, const struct plan_cfg *plan,
    const struct phase_cfg *phase, const json_t *guard)
{
	const char *name = json_string_value(json_object_get(guard, "guard"));
	char text[300];

	if (json_is_true(json_object_get(guard, "can_fire")))
		return;
	snprintf(text, sizeof(text),
	    "guard %s of plan %s cannot be expected to fire in phase %s at the "
	    "present traffic: make the phase longer, its weight larger or the "
	    "limit wider",
	    name ? name : "", plan->name, phase->name);
	json_array_append_new(warnings, json_string(text));
}

static json_t *
phase_json(const struct plan_cfg *plan, size_t p, const struct traffic *traffic,
    json_t *warnings)
{
	const struct phase_cfg *cfg = &plan->phases[p];
	struct judge_phase phase = {.candidate = cfg->weight,
	    .baseline = (bp_t)(BP_ALL - cfg->weight),
	    .length = phase_length(cfg)};
	double seconds = (double)phase.length / (double)NSEC_PER_SEC;
	double requests = traffic->rate * seconds;
	json_t *guards = json_array();

	for (size_t g = 0; g < plan->n_guards; g++) {
		json_t *guard = guard_json(plan, g, &phase, traffic);

		if (cfg->weight > 0 && plan->guards[g].max_increase.kind)
			warn(warnings, plan, cfg, guard);
		json_array_append_new(guards, guard);
	}
	return json_pack("{s:s, s:o, s:f, s:f, s:f, s:o}", "phase", cfg->name,
	    "weight", json_percent(cfg->weight), "seconds", seconds, "requests",
	    round(requests), "canary_requests",
	    round(requests * cfg->weight / BP_ALL), "guards", guards);
}

json_t *
forecast_json(const struct admin *admin, const struct start *start)
{
	struct traffic traffic = traffic_of(admin, start);
	json_t *warnings = json_array(), *phases = json_array();

	for (size_t p = 0; p < start->plan->n_phases; p++)
		json_array_append_new(
		    phases, phase_json(start->plan, p, &traffic, warnings));
	return json_pack("{s:s, s:b, s:s, s:s, s:s, s:s, s:f, s:f, s:o, s:o}",
	    "schema", "weir.forecast/v1", "dry_run", 1, "split",
	    start->split->name, "from", start_from(start->split), "to",
	    start->to, "plan", start->plan->name, "rate",
	    round(traffic.rate * 100) / 100, "error_rate",
	    round(traffic.failures * 1e6) / 1e6, "phases", phases, "warnings",
	    warnings);
}
