/*
 * The evidence of a rollout: one object a guard, with what the rollout itself
 * knows of the decision. As it is now, as it was when the rollout was decided,
 * and as the proof that goes into the audit log.
 */
#include <string.h>

#include "admin/rollout/evidence_json.h"
#include "admin/rollout/rollouts.h"

/* Of all trails of one line of the audit log. */
enum { PROOF_NUMBERS_MAX = 20000 };

static const char *
judged_phase(const struct run *run)
{
	return run->rollout.plan->phases[run->judged - 1].name;
}

static json_t *
evidence_of(const struct run *run, size_t guard, bool has_trail)
{
	const struct rollout *r = &run->rollout;
	json_t *object = verdict_record(
	    r->judge, guard, now_mono(), r->id, judged_phase(run), has_trail);

	json_object_set_new(
	    object, "exposed", json_integer((json_int_t)r->bad[ARM_CANDIDATE]));
	json_object_set_new(
	    object, "shielded", json_integer((json_int_t)r->shielded));
	return object;
}

static bool
has_judged(const struct run *run)
{
	return run->judged > 0 && run->rollout.judge;
}

json_t *
run_findings(const struct run *run)
{
	json_t *list = json_array();

	for (size_t g = 0; has_judged(run) && g < run->rollout.plan->n_guards;
	     g++)
		json_array_append_new(list, evidence_of(run, g, false));
	return list;
}

/* ---- decisions ---- */

int
event_guard(const struct run *run, const struct rollout_event *event)
{
	const struct rollout *r = &run->rollout;

	if (event->guard < 0 && event->kind == EVENT_HELD &&
	    r->held == HOLD_GUARD)
		return r->held_by;
	return event->guard;
}

bool
event_is_decision(enum rollout_event_kind kind)
{
	switch (kind) {
	case EVENT_PHASE:
	case EVENT_HELD:
	case EVENT_TIMEOUT:
	case EVENT_ROLLING_BACK:
	case EVENT_ROLLED_BACK:
	case EVENT_ABORTED:
	case EVENT_PROMOTED:
		return true;
	default:
		return false;
	}
}

static size_t
trail_length(const struct run *run, size_t guard)
{
	size_t columns;

	return judge_trail(run->rollout.judge, guard, NULL, 0, &columns);
}

/* The guard that decided comes first to the room that there is. */
static uint32_t
choose_trails(const struct run *run, int decider)
{
	const struct plan_cfg *plan = run->rollout.plan;
	size_t room = PROOF_NUMBERS_MAX, n;
	uint32_t chosen = 0;

	if (decider >= 0) {
		n = trail_length(run, (size_t)decider);
		chosen |= n <= room ? 1u << decider : 0;
		room -= n <= room ? n : 0;
	}
	for (size_t g = 0; g < plan->n_guards; g++) {
		n = trail_length(run, g);
		if (plan->guards[g].action != ACTION_ROLLBACK ||
		    chosen & 1u << g || n > room)
			continue;
		chosen |= 1u << g;
		room -= n;
	}
	return chosen;
}

json_t *
run_proof(const struct run *run, const struct rollout_output *out)
{
	bool is_decided = false;
	int decider = -1;
	uint32_t trails;
	json_t *list;

	for (size_t i = 0; i < out->n_events; i++) {
		is_decided |= event_is_decision(out->events[i].kind);
		if (decider < 0)
			decider = event_guard(run, &out->events[i]);
	}
	if (!is_decided || !has_judged(run))
		return NULL;
	list = json_array();
	trails = choose_trails(run, decider);
	for (size_t g = 0; g < run->rollout.plan->n_guards; g++)
		json_array_append_new(
		    list, evidence_of(run, g, trails & 1u << g));
	return list;
}

void
evidence_stamp(json_t *list, int64_t decided_ns, int64_t effective_ns)
{
	json_t *object;
	size_t i;

	json_array_foreach (list, i, object) {
		json_object_set_new(
		    object, "decided_at", wall_json(decided_ns));
		json_object_set_new(
		    object, "effective_at", wall_json(effective_ns));
	}
}

json_t *
evidence_brief(const json_t *evidence)
{
	json_t *brief = json_copy((json_t *)(uintptr_t)evidence);

	json_object_del(brief, "trail");
	json_object_del(brief, "unjudged");
	return brief;
}

/* ---- the API's document ---- */

static const char *
cause_guard(const struct rollout *r)
{
	return r->cause == CAUSE_GUARD ? r->plan->guards[r->cause_guard].name
	                               : NULL;
}

/* What failed, else what is not proven yet, else the first. */
static json_t *
most_telling(const json_t *list, const char *guard)
{
	static const char *const order[] = {"fail", "undecided", "pass"};
	json_t *object;
	size_t i;

	json_array_foreach (list, i, object)
		if (guard && strcmp(guard, json_string_value(json_object_get(
		                               object, "guard"))) == 0)
			return object;
	for (size_t v = 0; v < 3; v++)
		json_array_foreach (list, i, object)
			if (strcmp(json_string_value(
			               json_object_get(object, "verdict")),
			        order[v]) == 0 &&
			    strcmp(json_string_value(
			               json_object_get(object, "action")),
			        "rollback") == 0)
				return object;
	return json_array_get(list, 0);
}

/*
 * The evidence object of the guard that decided, or that the rollout waits
 * for, and in "guards" those of all.
 */
json_t *
run_evidence_json(const struct run *run)
{
	const struct rollout *r = &run->rollout;
	json_t *list =
	    run->evidence ? json_deep_copy(run->evidence) : run_findings(run);
	json_t *document = json_pack(
	    "{s:s, s:s}", "schema", "weir.evidence/v1", "rollout", r->id);

	if (run->decided_ns)
		evidence_stamp(list, run->decided_ns, run->effective_ns);
	if (json_array_size(list) > 0)
		json_object_update(
		    document, most_telling(list, cause_guard(r)));
	json_object_set_new(document, "split", json_string(r->split));
	json_object_set_new(
	    document, "state", json_string(rollout_state_name(r->state)));
	json_object_set_new(document, "cause", run_cause(run));
	json_object_set_new(document, "guards", list);
	return document;
}
