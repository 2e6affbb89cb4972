/*
 * What happened in a rollout, told to everybody: log, audit, events, and the
 * receivers that its plan names. Told after it has taken effect, by what
 * rollouts->out says. Also the questions that its gates ask.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/events.h"
#include "admin/log.h"
#include "admin/notify/notify.h"
#include "admin/rollout/rollouts.h"

static json_t *
event_json(const struct run *run, const struct rollout_event *event)
{
	const struct rollout *r = &run->rollout;
	int guard = event_guard(run, event);
	char reason[96];
	json_t *object = json_pack(
	    "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:s}",
	    "rollout", r->id, "split", r->split, "from", r->from, "to", r->to,
	    "plan", r->plan->name, "event", rollout_event_name(event->kind),
	    "state", rollout_state_name(r->state), "phase",
	    r->plan->phases[event->phase].name, "weight",
	    json_percent(r->weight), "at", wall_json(wall_now()), "text",
	    event->words);

	if (r->held != HOLD_NONE)
		json_object_set_new(object, "held_reason",
		    json_string(
		        rollout_held_reason(r, reason, sizeof(reason))));
	if (guard >= 0)
		json_object_set_new(
		    object, "guard", json_string(r->plan->guards[guard].name));
	if (event->gate >= 0)
		json_object_set_new(object, "gate",
		    json_string(r->plan->gates[event->gate].name));
	return object;
}

static enum log_level
level_of(enum rollout_event_kind kind)
{
	switch (kind) {
	case EVENT_HELD:
	case EVENT_TIMEOUT:
	case EVENT_ROLLING_BACK:
	case EVENT_ROLLED_BACK:
	case EVENT_ABORTED:
		return LOG_WARN;
	case EVENT_WEIGHT:
		return LOG_DEBUG; /* dozens a ramp */
	default:
		return LOG_INFO;
	}
}

/* What the guard found that an event is about; NULL: it is about none. */
static const json_t *
proof_of(const struct rollouts *rollouts, const struct run *run,
    const struct rollout_event *event)
{
	int guard = event_guard(run, event);

	return guard >= 0 ? json_array_get(rollouts->proof, (size_t)guard)
	                  : NULL;
}

static void
tell_log(const struct run *run, const struct rollout_event *event,
    const json_t *object)
{
	bool is_cause =
	    event->kind == EVENT_ROLLING_BACK || event->kind == EVENT_HELD;
	char *evidence = NULL;

	/* once a decision: it is long */
	if (is_cause)
		evidence = json_dumps(json_object_get(object, "evidence"),
		    JSON_COMPACT | JSON_REAL_PRECISION(12));
	log_event(level_of(event->kind), "rollout", "rollout", run->rollout.id,
	    "split", run->rollout.split, "event",
	    rollout_event_name(event->kind), "text", event->words,
	    evidence ? "evidence" : NULL, evidence, NULL);
	free(evidence);
}

/* With all that was known at a decision, so that it can be computed again. */
static void
tell_audit(struct rollouts *rollouts, const struct run *run,
    const struct rollout_event *event, const json_t *object, const char *who)
{
	char action[48];
	json_t *after = json_copy((json_t *)(uintptr_t)object);
	const json_t *proof = proof_of(rollouts, run, event);
	struct audit_entry entry = {.actor = who ? who : "weir",
	    .action = action,
	    .target = run->rollout.split,
	    .reason = event->words,
	    .result = "ok",
	    .after = after};

	if (proof)
		json_object_set(after, "evidence", (json_t *)(uintptr_t)proof);
	else if (event_is_decision(event->kind) && rollouts->proof)
		json_object_set(after, "guards", rollouts->proof);
	snprintf(action, sizeof(action), "rollout_%s",
	    rollout_event_name(event->kind));
	admin_audit(rollouts->admin, &entry);
	json_decref(after);
}

static void
tell_receivers(struct rollouts *rollouts, const struct run *run,
    const struct rollout_event *event, const json_t *object)
{
	const struct plan_cfg *plan = run->rollout.plan;
	unsigned about = rollout_event_notify(event->kind);
	char word[48];

	snprintf(
	    word, sizeof(word), "rollout.%s", rollout_event_name(event->kind));
	for (size_t i = 0; i < plan->n_notify; i++) {
		struct hook_call call = {
		    .hook = &plan->notify[i].hook, .event = word};

		if (!(plan->notify[i].events & about))
			continue;
		call.body = json_copy((json_t *)(uintptr_t)object);
		hook_send(rollouts->admin->notify, &call);
	}
}

/*
 * A ramp is audited where it begins (the phase) and where it has arrived; its
 * steps and what guards think meanwhile are events.
 */
static bool
is_step(const struct run *run, const struct rollout_event *event)
{
	const struct rollout *r = &run->rollout;
	bp_t to = r->plan->phases[event->phase].weight;

	if (event->kind == EVENT_VERDICT)
		return true;
	return event->kind == EVENT_WEIGHT &&
	       (r->state == ROLLOUT_ROLLING_BACK ||
	           r->weight != (to < r->share ? to : r->share));
}

static void
tell_event(struct rollouts *rollouts, const struct run *run,
    const struct rollout_event *event, const char *who)
{
	const json_t *proof = proof_of(rollouts, run, event);
	json_t *object = event_json(run, event);
	char *text;

	if (proof)
		json_object_set_new(object, "evidence", evidence_brief(proof));
	text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(12));
	tell_log(run, event, object);
	if (!is_step(run, event))
		tell_audit(rollouts, run, event, object, who);
	tell_receivers(rollouts, run, event, object);
	if (text)
		events_publish(rollouts->admin->events, "rollout", text);
	free(text);
	json_decref(object);
}

void
rollouts_tell(struct rollouts *rollouts, const struct run *run, const char *who)
{
	int64_t now = wall_now();

	evidence_stamp(rollouts->proof, run->decided_ns ? run->decided_ns : now,
	    run->effective_ns ? run->effective_ns : now);
	for (size_t i = 0; i < rollouts->out.n_events; i++)
		tell_event(rollouts, run, &rollouts->out.events[i], who);
}

/* ---- gates that ask ---- */

static enum gate_answer
answer_of(const struct hook_answer *answer)
{
	if (!answer->is_answered)
		return GATE_FAILED;
	return answer->is_ok ? GATE_OPEN : GATE_CLOSED;
}

static void
on_answer(void *ctx, size_t gate, const struct hook_answer *answer)
{
	struct run *run = ctx;
	struct rollouts *rollouts = run->rollouts;
	struct err err;

	if (!rollout_answer(&run->rollout, gate, answer_of(answer),
	        answer->text, time(NULL), &rollouts->out))
		return;
	/* What cannot be recorded was not answered: it is asked again. */
	if (!rollouts_settle(rollouts, run, NULL, &err))
		run->rollout.gates[gate].answer = GATE_UNASKED;
	ticker_step(rollouts, run);
}

static json_t *
question_json(
    const struct rollouts *rollouts, const struct run *run, size_t gate)
{
	return json_pack("{s:s, s:o}", "gate",
	    run->rollout.plan->gates[gate].name, "rollout",
	    run_to_json(rollouts, run));
}

void
rollouts_ask(struct rollouts *rollouts, struct run *run, uint32_t gates)
{
	const struct rollout *r = &run->rollout;
	char id[128];

	for (size_t g = 0; g < r->plan->n_gates; g++) {
		struct hook_call call = {
		    .hook = &r->plan->gates[g].webhook, .event = "gate"};

		if (!(gates & (1u << g)))
			continue;
		snprintf(id, sizeof(id), "%s-%u-%zu-%u", r->id, r->phase, g,
		    ++run->asks);
		call.id = id;
		call.body = question_json(rollouts, run, g);
		hook_ask(rollouts->admin->notify, &call, on_answer, run, g);
	}
}
