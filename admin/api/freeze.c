/* The freeze over the API. */
#include <stdlib.h>

#include "admin/events.h"
#include "admin/log.h"
#include "admin/rollout/rollouts.h"

static void
freeze_etag(const struct freeze *freeze, char *buf, size_t cap)
{
	snprintf(buf, cap, "\"%llu\"", (unsigned long long)freeze->version);
}

static void
answer(struct call *call)
{
	const struct freeze *freeze = &call->admin->rollouts->freeze;
	char etag[32];

	freeze_etag(freeze, etag, sizeof(etag));
	call_json(call, 200, freeze_json(freeze), etag);
}

void
api_freeze_get(struct call *call)
{
	answer(call);
}

static void
tell(struct call *call, json_t *before, const char *event)
{
	json_t *after = freeze_json(&call->admin->rollouts->freeze);
	char *text = json_dumps(after, JSON_COMPACT);

	call_audit(call, "freeze", before, after, "ok");
	if (text)
		events_publish(call->admin->events, event, text);
	log_event(LOG_WARN, event, "by", call->actor.name, "reason",
	    call->reason ? call->reason : "", NULL);
	free(text);
	json_decref(after);
}

static void
refuse_unrecorded(struct call *call, const struct err *err)
{
	call_problem(call,
	    &(struct problem){507, "state-unwritable",
	        "free space in state_dir; nothing was changed", NULL, NULL},
	    "%s", err->text);
}

/* A second freeze changes nothing but who and why. */
void
api_freeze(struct call *call)
{
	static const char *const known[] = {"reason", NULL};
	struct rollouts *rollouts = call->admin->rollouts;
	json_t *before;
	struct err err;

	if (!call_body_knows(call, known))
		return;
	if (call->is_dry_run) {
		answer(call);
		return;
	}
	before = freeze_json(&rollouts->freeze);
	if (!freeze_set(&rollouts->freeze, call->admin->state, call->actor.name,
	        call->reason, time(NULL), &err)) {
		refuse_unrecorded(call, &err);
	} else {
		tell(call, before, "freeze");
		ticker_look(rollouts);
		answer(call);
	}
	json_decref(before);
}

void
api_unfreeze(struct call *call)
{
	static const char *const known[] = {"reason", NULL};
	struct rollouts *rollouts = call->admin->rollouts;
	json_t *before;
	struct err err;

	if (!call_matches(
	        call, rollouts->freeze.version, rollouts->freeze.by) ||
	    !call_body_knows(call, known))
		return;
	if (call->is_dry_run || !rollouts->freeze.is_on) {
		answer(call);
		return;
	}
	before = freeze_json(&rollouts->freeze);
	if (!freeze_end(&rollouts->freeze, call->admin->state, &err)) {
		refuse_unrecorded(call, &err);
	} else {
		tell(call, before, "unfreeze");
		ticker_look(rollouts);
		answer(call);
	}
	json_decref(before);
}
