/* Rollouts as the API shows them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/fleet/fleet.h"
#include "admin/rollout/rollouts.h"

static json_t *
text_or_null(const char *text)
{
	return text && text[0] ? json_string(text) : json_null();
}

static json_t *
seconds_json(nsec_t value)
{
	return json_real(round((double)value / (double)NSEC_PER_MSEC) / 1000);
}

/* ---- gates ---- */

static const char *
gate_state(const struct rollout *r, size_t gate, time_t wall, uint32_t windows)
{
	static const char *const answers[] = {[GATE_UNASKED] = "not asked",
	    [GATE_ASKED] = "asked",
	    [GATE_OPEN] = "open",
	    [GATE_CLOSED] = "closed",
	    [GATE_FAILED] = "no answer"};

	if (rollout_gate_is_open(r, gate, wall, windows))
		return "open";
	return r->plan->gates[gate].kind == GATE_WEBHOOK
	           ? answers[r->gates[gate].answer]
	           : "closed";
}

static json_t *
approvals_of(const struct rollout *r, size_t gate)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->n_approvals; i++)
		if (r->approvals[i].gate == gate)
			json_array_append_new(list,
			    json_pack("{s:s, s:o, s:s}", "who",
			        r->approvals[i].who, "at",
			        json_time(r->approvals[i].at), "phase",
			        r->plan->phases[r->approvals[i].phase].name));
	return list;
}

static json_t *
gate_json(const struct run *run, size_t gate, time_t wall)
{
	static const char *const kinds[] = {[GATE_WEBHOOK] = "webhook",
	    [GATE_APPROVAL] = "approval",
	    [GATE_WINDOW] = "window"};
	const struct rollout *r = &run->rollout;
	const struct gate_cfg *cfg = &r->plan->gates[gate];
	json_t *object = json_pack("{s:s, s:s, s:s}", "name", cfg->name, "kind",
	    kinds[cfg->kind], "state", gate_state(r, gate, wall, run->windows));

	if (r->gates[gate].words[0])
		json_object_set_new(
		    object, "said", json_string(r->gates[gate].words));
	if (cfg->kind == GATE_APPROVAL) {
		json_object_set_new(
		    object, "needed", json_integer(cfg->approval.count));
		json_object_set_new(
		    object, "role", json_string(role_name(cfg->approval.role)));
		json_object_set_new(object, "valid",
		    json_integer(rollout_approvals(r, gate, wall)));
		json_object_set_new(object, "approvals", approvals_of(r, gate));
	}
	return object;
}

static json_t *
gates_json(const struct run *run)
{
	json_t *list = json_array();
	time_t wall = time(NULL);

	for (size_t g = 0; g < run->rollout.plan->n_gates; g++)
		json_array_append_new(list, gate_json(run, g, wall));
	return list;
}

/* ---- phases and verdicts ---- */

static json_t *
phases_json(const struct rollout *r)
{
	json_t *list = json_array();

	for (size_t p = 0; p < r->plan->n_phases; p++)
		json_array_append_new(list,
		    json_pack("{s:s, s:o}", "name", r->plan->phases[p].name,
		        "weight", json_percent(r->plan->phases[p].weight)));
	return list;
}

static json_t *
verdicts_json(const struct rollout *r)
{
	json_t *object = json_object();

	for (size_t g = 0; g < r->plan->n_guards; g++)
		json_object_set_new(object, r->plan->guards[g].name,
		    json_string(
		        verdict_name(r->judge && r->state != ROLLOUT_PENDING
		                         ? judge_guard(r->judge, g)
		                         : VERDICT_UNDECIDED)));
	return object;
}

static json_t *
verbs_json(const struct rollout *r)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < VERB_COUNT; i++)
		if (rollout_offers(r, (enum rollout_verb)i, time(NULL)))
			json_array_append_new(
			    list, json_string(
			              rollout_verb_name((enum rollout_verb)i)));
	return list;
}

static json_t *
counts_json(const uint64_t by_arm[ARM_COUNT])
{
	return json_pack("{s:I, s:I}", arm_name(ARM_CANDIDATE),
	    (json_int_t)by_arm[ARM_CANDIDATE], arm_name(ARM_BASELINE),
	    (json_int_t)by_arm[ARM_BASELINE]);
}

static json_t *
group_json(const struct rollouts *rollouts, const struct rollout *r)
{
	json_t *list;
	const struct run *run;

	if (r->group[0] == '\0')
		return json_null();
	list = json_array();
	TAILQ_FOREACH (run, &rollouts->runs, link)
		if (strcmp(run->rollout.group, r->group) == 0)
			json_array_insert_new(list, 0, run_brief(run));
	return json_pack("{s:s, s:o}", "id", r->group, "members", list);
}

int64_t
wall_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

json_t *
wall_json(int64_t ns)
{
	char text[48];
	time_t seconds = (time_t)(ns / NSEC_PER_SEC);
	struct tm tm;
	size_t len;

	if (ns == 0)
		return json_null();
	gmtime_r(&seconds, &tm);
	len = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + len, sizeof(text) - len, ".%03dZ",
	    (int)(ns % NSEC_PER_SEC / NSEC_PER_MSEC));
	return json_string(text);
}

json_t *
run_cause(const struct run *run)
{
	const struct rollout *r = &run->rollout;

	if (r->cause == CAUSE_NONE)
		return json_null();
	return json_pack("{s:s, s:o, s:s, s:o, s:o}", "kind",
	    rollout_cause_name(r->cause), "guard",
	    r->cause == CAUSE_GUARD
	        ? json_string(r->plan->guards[r->cause_guard].name)
	        : json_null(),
	    "text", r->cause_words, "decided_at", wall_json(run->decided_ns),
	    "effective_at", wall_json(run->effective_ns));
}

json_t *
run_brief(const struct run *run)
{
	const struct rollout *r = &run->rollout;

	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", r->id, "split",
	    r->split, "state", rollout_state_name(r->state), "phase",
	    r->plan->phases[r->phase].name, "weight", json_percent(r->weight));
}

static void
set_clocks(json_t *object, const struct rollout *r)
{
	const struct phase_cfg *phase = &r->plan->phases[r->phase];
	bool is_warm = r->state == ROLLOUT_PROMOTED;

	json_object_set_new(object, "held_for", seconds_json(r->hold_ran));
	json_object_set_new(object, "hold",
	    seconds_json(is_warm ? r->plan->keep_warm : phase->hold));
	json_object_set_new(object, "started_at", json_time(r->started_at));
	json_object_set_new(object, "state_since", json_time(r->state_at));
	json_object_set_new(object, "phase_since", json_time(r->phase_at));
}

static void
set_counts(json_t *object, const struct rollout *r)
{
	json_object_set_new(object, "phase_requests",
	    json_integer((json_int_t)r->phase_requests));
	json_object_set_new(object, "min_requests",
	    json_integer((json_int_t)r->plan->phases[r->phase].min_requests));
	json_object_set_new(object, "requests", counts_json(r->n));
	json_object_set_new(object, "failures", counts_json(r->bad));
	json_object_set_new(
	    object, "shielded", json_integer((json_int_t)r->shielded));
}

/* Without the others it waits for them before anything else. */
static json_t *
next_json(const struct rollouts *rollouts, const struct run *run)
{
	const struct rollout *r = &run->rollout;
	const char *obstacle =
	    run_is_live(run) ? fleet_standstill(rollouts->admin->fleet) : NULL;
	char text[512];

	rollout_next(r, now_mono(), time(NULL), text, sizeof(text));
	if (!obstacle)
		return text_or_null(text);
	return json_sprintf("%s; %s", obstacle, text);
}

json_t *
run_to_json(const struct rollouts *rollouts, const struct run *run)
{
	const struct rollout *r = &run->rollout;
	char text[1024];
	json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}",
	    "schema", "weir.rollout/v1", "id", r->id, "split", r->split, "from",
	    r->from, "to", r->to, "plan", r->plan->name, "release",
	    text_or_null(r->release));

	json_object_set_new(
	    object, "state", json_string(rollout_state_name(r->state)));
	json_object_set_new(object, "held_reason",
	    text_or_null(rollout_held_reason(r, text, sizeof(text))));
	json_object_set_new(object, "timed_out", json_boolean(r->is_timed_out));
	json_object_set_new(
	    object, "phase", json_string(r->plan->phases[r->phase].name));
	json_object_set_new(object, "phase_number",
	    json_integer(r->state == ROLLOUT_PENDING ? 0 : r->phase + 1));
	json_object_set_new(object, "phases", phases_json(r));
	json_object_set_new(object, "weight", json_percent(r->weight));
	json_object_set_new(object, "verdicts", verdicts_json(r));
	json_object_set_new(object, "next", next_json(rollouts, run));
	json_object_set_new(object, "verbs", verbs_json(r));
	json_object_set_new(object, "gates", gates_json(run));
	json_object_set_new(object, "cause", run_cause(run));
	json_object_set_new(object, "started_by", json_string(r->requester));
	json_object_set_new(object, "reason", text_or_null(r->reason));
	json_object_set_new(object, "last_by", text_or_null(r->by));
	json_object_set_new(object, "retry_of", text_or_null(r->retry_of));
	json_object_set_new(object, "group", group_json(rollouts, r));
	set_clocks(object, r);
	set_counts(object, r);
	json_object_set_new(
	    object, "recorded", json_boolean(!run->is_unrecorded));
	json_object_set_new(
	    object, "version", json_integer((json_int_t)run->version));
	return object;
}
