/*
 * Signals: what people and other systems count against the candidate. They go
 * to the split's live rollout; what its plan does not count is said so and
 * changes nothing.
 */
#include <stdio.h>
#include <string.h>

#include "admin/rollout/rollouts.h"

enum { KIND_MAX = 63, ID_MAX = 128, COUNT_MAX = 1000000 };

struct signal_asked {
	const char *split, *kind, *id;
	json_int_t count;
};

static bool
bad_field(struct call *call, const char *field, const char *what)
{
	call_problem(call,
	    &(struct problem){422, "bad-signal",
	        "{\"split\": \"shop\", \"kind\": \"complaint\", \"count\": 1, "
	        "\"id\": \"ZD-4711\"}",
	        field, NULL},
	    "%s", what);
	return false;
}

static bool
read_signal(struct call *call, struct signal_asked *out)
{
	static const char *const known[] = {
	    "split", "kind", "count", "id", "reason", NULL};
	const json_t *count = json_object_get(call->body, "count");
	const json_t *id = json_object_get(call->body, "id");

	if (!call_body_knows(call, known))
		return false;
	out->split = json_string_value(json_object_get(call->body, "split"));
	out->kind = json_string_value(json_object_get(call->body, "kind"));
	out->id = json_string_value(id);
	out->count = count ? json_integer_value(count) : 1;
	if (!out->split)
		return bad_field(call, "split", "a signal names its split");
	if (!out->kind || !*out->kind || strlen(out->kind) > KIND_MAX)
		return bad_field(
		    call, "kind", "a signal has a kind of 1 to 63 characters");
	if (id && (!out->id || !*out->id || strlen(out->id) > ID_MAX))
		return bad_field(
		    call, "id", "an id is a text of 1 to 128 characters");
	if ((count && !json_is_integer(count)) || out->count < 1 ||
	    out->count > COUNT_MAX)
		return bad_field(
		    call, "count", "count is a number from 1 to 1000000");
	return true;
}

/* What the rollout would count, when it is not what came. */
static void
set_kinds(json_t *body, const struct run *run, const char *kind)
{
	const struct plan_cfg *plan = run->rollout.plan;
	const char *kinds[PLAN_GUARDS_MAX], *near;
	json_t *list = json_array();
	size_t n = 0;

	for (size_t g = 0; g < plan->n_guards; g++)
		if (plan->guards[g].metric == GUARD_SIGNAL) {
			kinds[n++] = plan->guards[g].signal;
			json_array_append_new(
			    list, json_string(plan->guards[g].signal));
		}
	near = suggest(span_of(kind), kinds, n);
	json_object_set_new(body, "kinds", list);
	if (near)
		json_object_set_new(
		    body, "hint", json_sprintf("did you mean \"%s\"?", near));
}

static void
answer(struct call *call, const struct run *run, const char *result)
{
	const char *kind =
	    json_string_value(json_object_get(call->body, "kind"));
	json_t *body = json_pack("{s:s, s:s, s:o}", "schema", "weir.signal/v1",
	    "result", result, "rollout",
	    run ? json_string(run->rollout.id) : json_null());

	if (run && signal_guards(run->rollout.plan, kind) == 0)
		set_kinds(body, run, kind);
	call_audit(call,
	    json_string_value(json_object_get(call->body, "split")), NULL,
	    call->body, result);
	call_json(call, 200, body, NULL);
}

static void
count(struct call *call, struct run *run, const struct signal_asked *asked)
{
	struct rollouts *rollouts = call->admin->rollouts;
	nsec_t now = now_mono();
	struct signal_entry entry = {.at = now,
	    .id = signal_digest(asked->kind, asked->id),
	    .count = (uint32_t)asked->count,
	    .guards = signal_guards(run->rollout.plan, asked->kind)};

	if (entry.guards == 0) {
		answer(call, run, "not-counted");
		return;
	}
	if (!signals_add(&run->signals, &entry)) {
		answer(call, run, "duplicate");
		return;
	}
	evidence_save(rollouts, run, now);
	answer(call, run, "counted");
	ticker_look(rollouts);
}

void
api_signals(struct call *call)
{
	struct signal_asked asked;
	struct run *run;

	if (!read_signal(call, &asked))
		return;
	if (!registry_split(call->admin->registry, asked.split)) {
		call_unknown_split(call, asked.split);
		return;
	}
	if (!call_may(call, ROLE_OPERATOR, asked.split))
		return;
	run = rollouts_live(call->admin->rollouts, asked.split);
	if (call->is_dry_run)
		call_json(call, 200,
		    json_pack("{s:s, s:b, s:o}", "schema", "weir.signal/v1",
		        "dry_run", 1, "rollout",
		        run ? json_string(run->rollout.id) : json_null()),
		    NULL);
	else if (!run || run->rollout.state == ROLLOUT_PENDING)
		answer(call, run, "not-counted");
	else
		count(call, run, &asked);
}
