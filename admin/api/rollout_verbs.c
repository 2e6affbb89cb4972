/*
 * What people do to a rollout, over the API. The machine says whether it is
 * legal; who may is checked here. A refused call has changed nothing.
 */
#include <stdio.h>
#include <string.h>

#include "admin/rollout/rollouts.h"

/* ---- refusals ---- */

static json_t *
legal_verbs(const struct run *run)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < VERB_COUNT; i++)
		if (rollout_offers(
		        &run->rollout, (enum rollout_verb)i, time(NULL)))
			json_array_append_new(
			    list, json_string(
			              rollout_verb_name((enum rollout_verb)i)));
	return json_pack("{s:s, s:o}", "state",
	    rollout_state_name(run->rollout.state), "verbs", list);
}

static void
refuse(struct call *call, const struct run *run, enum rollout_refusal why,
    const struct err *err)
{
	static const struct {
		int status;
		const char *code;
	} known[] = {[REFUSED_VERB] = {409, "illegal-verb"},
	    [REFUSED_FROZEN] = {409, "frozen"},
	    [REFUSED_UNHEALTHY] = {409, "pool-unhealthy"},
	    [REFUSED_GATE] = {404, "unknown-gate"},
	    [REFUSED_REQUESTER] = {403, "own-rollout"},
	    [REFUSED_TWICE] = {409, "already-approved"},
	    [REFUSED_FULL] = {409, "too-many-approvals"}};

	call_problem(call,
	    &(struct problem){known[why].status, known[why].code, NULL,
	        why == REFUSED_GATE ? "gate" : NULL,
	        why == REFUSED_VERB ? legal_verbs(run) : NULL},
	    "%s", err->text);
}

/* ---- the common way ---- */

/* The machine has changed run->rollout by rollouts->out. */
static void
take_effect(struct call *call, struct run *run, json_t *before)
{
	struct rollouts *rollouts = call->admin->rollouts;
	struct err err;
	json_t *after;

	if (!rollouts_settle(rollouts, run, call->actor.name, &err)) {
		run->rollout = rollouts->before;
		call_unrecorded(call, &err);
		return;
	}
	ticker_step(rollouts, run);
	ticker_arm(rollouts);
	after = run_brief(run);
	call_audit(call, run->rollout.split, before, after, "ok");
	json_decref(after);
	call_answer_run(call, run, 200);
}

static void
rehearse(struct call *call, struct run *run)
{
	struct rollouts *rollouts = call->admin->rollouts;
	json_t *body;

	body = run_to_json(rollouts, run);
	run->rollout = rollouts->before;
	json_object_set_new(body, "dry_run", json_true());
	call_json(call, 200, body, NULL);
}

static void
finish(struct call *call, struct run *run, enum rollout_refusal refusal,
    const struct err *err)
{
	struct rollouts *rollouts = call->admin->rollouts;
	struct run was = {.rollout = rollouts->before};
	json_t *before;

	if (refusal != REFUSED_NONE) {
		refuse(call, run, refusal, err);
		return;
	}
	if (call->is_dry_run) {
		rehearse(call, run);
		return;
	}
	before = run_brief(&was);
	take_effect(call, run, before);
	json_decref(before);
}

/* ---- verbs ---- */

static bool
is_safety(enum rollout_verb verb)
{
	return verb == VERB_ABORT || verb == VERB_UNDO || verb == VERB_PAUSE;
}

void
call_verb(
    struct call *call, struct run *run, enum rollout_verb verb, bool is_full)
{
	struct rollouts *rollouts = call->admin->rollouts;
	struct rollout_request request = {.verb = verb,
	    .who = call->actor.name,
	    .is_full = is_full,
	    .is_frozen = rollouts->freeze.is_on,
	    .is_healthy = run_is_healthy(rollouts, run),
	    .windows = run->windows,
	    .wall = time(NULL)};
	struct err err;
	enum rollout_refusal refusal;

	rollouts->before = run->rollout;
	refusal = rollout_verb(&run->rollout, &request, &rollouts->out, &err);
	finish(call, run, refusal, &err);
}

static void
plain_verb(struct call *call, enum rollout_verb verb)
{
	static const char *const known[] = {"reason", NULL};
	struct run *run = call_run(call);

	if (run && call_may(call, call->row->role, run->rollout.split) &&
	    (is_safety(verb) ||
	        call_matches(call, run->version, run->rollout.by)) &&
	    call_body_knows(call, known))
		call_verb(call, run, verb, false);
}

void
api_rollout_pause(struct call *call)
{
	plain_verb(call, VERB_PAUSE);
}

void
api_rollout_resume(struct call *call)
{
	plain_verb(call, VERB_RESUME);
}

void
api_rollout_abort(struct call *call)
{
	plain_verb(call, VERB_ABORT);
}

void
api_rollout_promote(struct call *call)
{
	static const char *const known[] = {"scope", "reason", NULL};
	const json_t *scope = json_object_get(call->body, "scope");
	const char *word = scope ? json_string_value(scope) : "phase";
	struct run *run = call_run(call);

	if (!run || !call_may(call, call->row->role, run->rollout.split) ||
	    !call_matches(call, run->version, run->rollout.by) ||
	    !call_body_knows(call, known))
		return;
	if (word && (strcmp(word, "phase") == 0 || strcmp(word, "full") == 0)) {
		call_verb(call, run, VERB_PROMOTE, strcmp(word, "full") == 0);
		return;
	}
	call_problem(call,
	    &(struct problem){422, "bad-scope",
	        "{\"scope\": \"phase\"} or {\"scope\": \"full\"}", "scope",
	        NULL},
	    "the scope of a promotion is \"phase\" or \"full\"");
}

/* ---- retry ---- */

static const struct plan_cfg *
plan_named(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_plans; i++)
		if (strcmp(config->plans[i].name, name) == 0)
			return &config->plans[i];
	return NULL;
}

/* By the plan as the file has it now: the fix may well have been there. */
static bool
retry_start(struct call *call, const struct run *run, struct start *start)
{
	const struct rollout *r = &run->rollout;
	struct split *split = registry_split(call->admin->registry, r->split);
	int to = split ? split_slot(split, r->to) : -1;

	*start = (struct start){.split = split,
	    .to = to >= 0 ? split->pools[to] : NULL,
	    .plan = plan_named(admin_config(call->admin), r->plan->name),
	    .release = r->release,
	    .reason = call->reason ? call->reason : r->reason,
	    .who = call->actor.name,
	    .retry_of = r->id};
	if (start->to && start->plan)
		return true;
	call_problem(call,
	    &(struct problem){404,
	        start->plan ? "unknown-pool" : "unknown-plan",
	        "start a new rollout instead", NULL, NULL},
	    start->plan ? "pool '%s' of rollout %s is not in its split any more"
	                : "plan '%s' of rollout %s is not in the file any more",
	    start->plan ? r->to : r->plan->name, r->id);
	return false;
}

void
api_rollout_retry(struct call *call)
{
	static const char *const known[] = {"reason", NULL};
	struct run *run = call_run(call);
	struct start start;
	struct err err;
	char verbs[128];

	if (!run || !call_may(call, call->row->role, run->rollout.split) ||
	    !call_matches(call, run->version, run->rollout.by) ||
	    !call_body_knows(call, known))
		return;
	if (!rollout_may(&run->rollout, VERB_RETRY)) {
		err_set(&err,
		    "rollout %s is %s: retry is not possible now (%s)",
		    run->rollout.id, rollout_state_name(run->rollout.state),
		    rollout_verbs_print(
		        &run->rollout, time(NULL), verbs, sizeof(verbs)));
		refuse(call, run, REFUSED_VERB, &err);
		return;
	}
	if (!retry_start(call, run, &start) || !call_may_start(call, &start))
		return;
	if (call->is_dry_run)
		call_json(call, 200, forecast_json(call->admin, &start), NULL);
	else
		call_start(call, &start, 1);
}

/* ---- approvals ---- */

static bool
bad_decision(struct call *call)
{
	call_problem(call,
	    &(struct problem){422, "bad-decision",
	        "{\"gate\": \"release-approval\", \"decision\": \"approve\"}",
	        "decision", NULL},
	    "a decision is \"approve\" or \"reject\"");
	return false;
}

static bool
read_vote(struct call *call, struct rollout_vote *vote)
{
	static const char *const known[] = {"gate", "decision", "reason", NULL};
	const json_t *gate = json_object_get(call->body, "gate");
	const json_t *decision = json_object_get(call->body, "decision");
	const char *word = decision ? json_string_value(decision) : "approve";

	if (!call_body_knows(call, known))
		return false;
	if (!word ||
	    (strcmp(word, "approve") != 0 && strcmp(word, "reject") != 0))
		return bad_decision(call);
	if (gate && !json_is_string(gate)) {
		call_problem(call,
		    &(struct problem){422, "bad-gate", NULL, "gate", NULL},
		    "\"gate\" is the name of a gate");
		return false;
	}
	*vote = (struct rollout_vote){.gate = json_string_value(gate),
	    .who = call->actor.name,
	    .is_reject = strcmp(word, "reject") == 0,
	    .wall = time(NULL)};
	return true;
}

static bool
may_vote(
    struct call *call, const struct run *run, const struct rollout_vote *vote)
{
	struct err err;
	const struct gate_cfg *gate =
	    rollout_vote_gate(&run->rollout, vote->gate, &err);

	/* The machine says better what is wrong with a gate. */
	return !gate || call_may(call, gate->approval.role, run->rollout.split);
}

void
api_rollout_approvals(struct call *call)
{
	struct rollouts *rollouts = call->admin->rollouts;
	struct run *run = call_run(call);
	struct rollout_vote vote;
	enum rollout_refusal refusal;
	struct err err;

	/* a rejection goes back: as all that does, it asks for no version */
	if (!run || !read_vote(call, &vote) || !may_vote(call, run, &vote) ||
	    (!vote.is_reject &&
	        !call_matches(call, run->version, run->rollout.by)))
		return;
	rollouts->before = run->rollout;
	refusal = rollout_approve(&run->rollout, &vote, &rollouts->out, &err);
	finish(call, run, refusal, &err);
}
