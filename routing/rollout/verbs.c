/*
 * What people may do to a rollout. The table of rollout.def says when; here is
 * what it means. Whatever is refused has changed nothing.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "routing/rollout/parts.h"

static enum rollout_refusal
check_forward(const struct rollout *r, const struct rollout_request *request,
    struct err *err)
{
	if (request->is_frozen) {
		err_set(err,
		    "there is a freeze: nothing is promoted and no weight "
		    "grows until it ends");
		return REFUSED_FROZEN;
	}
	if (!request->is_healthy) {
		err_set(err,
		    "pool '%s' has no usable endpoint and cannot be given "
		    "weight",
		    r->to);
		return REFUSED_UNHEALTHY;
	}
	return REFUSED_NONE;
}

static void
pause_it(struct rollout *r, const struct rollout_request *request,
    struct rollout_output *out)
{
	r->is_paused = true;
	if (r->state == ROLLOUT_PENDING)
		return;
	rollout_enter(r, ROLLOUT_HELD, request->wall);
	r->held = HOLD_PAUSED;
	r->held_by = 0;
	rollout_tell(r, out, EVENT_HELD, "held: paused by %s", request->who);
}

/* The next step holds it again when there is another reason. */
static void
go_on(struct rollout *r, const struct rollout_request *request,
    struct rollout_output *out)
{
	r->is_paused = false;
	if (r->state == ROLLOUT_HELD)
		rollout_enter(r, ROLLOUT_RUNNING, request->wall);
	rollout_tell(r, out, EVENT_RESUMED, "%s by %s",
	    request->verb == VERB_PROMOTE
	        ? (request->is_full ? "promoted in full" : "promoted")
	        : "resumed",
	    request->who);
}

static void
skip(struct rollout *r, const struct rollout_request *request,
    struct rollout_output *out)
{
	int gate;

	r->is_skipping = true;
	if (r->state == ROLLOUT_PROMOTED)
		return; /* the old pool need not be kept warm any longer */
	r->is_full |= request->is_full;
	gate = rollout_gate_closed(r, request->wall, request->windows);
	if (!r->is_paused || gate < 0) {
		go_on(r, request, out);
		return;
	}
	/* Skipping leads nowhere yet: the pause is not its to end. */
	rollout_tell(r, out, EVENT_HELD,
	    "held: paused; promoted by %s: goes on when it is resumed and gate "
	    "%s is open",
	    request->who, r->plan->gates[gate].name);
}

static void
go_back(struct rollout *r, const struct rollout_request *request,
    struct rollout_output *out)
{
	struct way_back why = {
	    .cause = request->verb == VERB_UNDO ? CAUSE_UNDO : CAUSE_ABORT,
	    .guard = -1,
	    .is_by_person = true,
	    .wall = request->wall};
	char words[ROLLOUT_WHO_MAX + 32];

	if (r->state == ROLLOUT_ROLLING_BACK) {
		r->is_instant = true;
		rollout_end_back(r, request->wall, out);
		return;
	}
	snprintf(words, sizeof(words), "%s by %s",
	    request->verb == VERB_UNDO ? "undone" : "aborted", request->who);
	rollout_go_back(r, &why, out, words);
}

enum rollout_refusal
rollout_verb(struct rollout *r, const struct rollout_request *request,
    struct rollout_output *out, struct err *err)
{
	enum rollout_refusal refusal;
	char verbs[128];

	assert(request->verb != VERB_RETRY && request->verb != VERB_APPROVE &&
	       request->verb != VERB_REJECT);
	*out = (struct rollout_output){0};
	if (!rollout_may(r, request->verb)) {
		err_set(err, "rollout %s is %s: %s is not possible now (%s)",
		    r->id, rollout_state_name(r->state),
		    rollout_verb_name(request->verb),
		    rollout_verbs_print(
		        r, request->wall, verbs, sizeof(verbs)));
		return REFUSED_VERB;
	}
	if (request->verb == VERB_PROMOTE) {
		refusal = check_forward(r, request, err);
		if (refusal != REFUSED_NONE)
			return refusal;
	}
	out->is_dirty = true;
	snprintf(r->by, sizeof(r->by), "%s", request->who);
	switch (request->verb) {
	case VERB_PAUSE:
		pause_it(r, request, out);
		break;
	case VERB_RESUME:
		go_on(r, request, out);
		break;
	case VERB_PROMOTE:
		skip(r, request, out);
		break;
	default:
		go_back(r, request, out);
	}
	return REFUSED_NONE;
}

void
rollout_supersede(
    struct rollout *r, const char *by, time_t wall, struct rollout_output *out)
{
	*out = (struct rollout_output){0};
	assert(r->state == ROLLOUT_PROMOTED);
	r->weight = r->share;
	snprintf(r->by, sizeof(r->by), "%s", by);
	out->is_dirty = out->publishes = true;
	rollout_enter(r, ROLLOUT_DONE, wall);
	rollout_tell(r, out, EVENT_DONE, "rollout %s took its place", by);
}

void
rollout_orphan(
    struct rollout *r, const char *why, time_t wall, struct rollout_output *out)
{
	*out = (struct rollout_output){0};
	assert(rollout_state_is_live(r->state));
	r->cause = CAUSE_CONFIG;
	snprintf(r->cause_words, sizeof(r->cause_words), "%s", why);
	r->weight = 0;
	r->is_paused = r->is_promoted = r->is_skipping = r->is_full = false;
	rollout_enter(r, ROLLOUT_ABORTED, wall);
	out->publishes = out->is_dirty = out->is_rollback = true;
	rollout_tell(r, out, EVENT_ABORTED, "%s", why);
}
