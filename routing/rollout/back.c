/*
 * The weights of a rollout and the way back: at once or by a ramp, and then
 * never up again.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "routing/rollout/parts.h"

/* ---- telling ---- */

void
rollout_tell(const struct rollout *r, struct rollout_output *out,
    enum rollout_event_kind kind, const char *format, ...)
{
	struct rollout_event *event;
	va_list ap;

	/* A change of state replaces the last one rather than be lost. */
	if (out->n_events == ROLLOUT_EVENTS_MAX)
		out->n_events--;
	event = &out->events[out->n_events++];
	*event = (struct rollout_event){
	    .kind = kind, .phase = r->phase, .guard = -1, .gate = -1};
	va_start(ap, format);
	vsnprintf(event->words, sizeof(event->words), format, ap);
	va_end(ap);
}

/* ---- weights ---- */

static bp_t
least(bp_t a, bp_t b)
{
	return a < b ? a : b;
}

void
rollout_arms(const struct rollout *r, bp_t *candidate_out, bp_t *baseline_out)
{
	*candidate_out = least(r->weight, r->share);
	*baseline_out = (bp_t)(r->share - *candidate_out);
}

bp_t
rollout_full_weight(const struct rollout *r)
{
	return (bp_t)(r->share - least(r->plan->holdback, r->share));
}

bp_t
rollout_phase_weight(const struct rollout *r, uint32_t phase)
{
	return least(r->plan->phases[phase].weight, r->share);
}

bool
rollout_keeps_sessions(const struct rollout *r)
{
	return (r->state == ROLLOUT_ROLLING_BACK ||
	           r->state == ROLLOUT_ROLLED_BACK ||
	           r->state == ROLLOUT_ABORTED) &&
	       r->plan->rollback.sessions == SESSIONS_DRAIN;
}

const struct phase_cfg *
rollout_phase(const struct rollout *r)
{
	return r->state == ROLLOUT_RUNNING || r->state == ROLLOUT_HELD
	           ? &r->plan->phases[r->phase]
	           : NULL;
}

void
rollout_set_weight(struct rollout *r, bp_t weight, struct rollout_output *out)
{
	if (weight == r->weight)
		return;
	r->weight = weight;
	out->publishes = out->is_dirty = true;
	if (out->judge == JUDGE_GOES_ON)
		out->judge = JUDGE_REWEIGHS;
}

/* ---- going back ---- */

void
rollout_end_back(struct rollout *r, time_t wall, struct rollout_output *out)
{
	enum rollout_state end =
	    r->is_by_person ? ROLLOUT_ABORTED : ROLLOUT_ROLLED_BACK;

	rollout_set_weight(r, 0, out);
	rollout_enter(r, end, wall);
	out->publishes = out->is_dirty = out->is_rollback = true;
	rollout_tell(r, out,
	    r->is_by_person ? EVENT_ABORTED : EVENT_ROLLED_BACK,
	    "%s has all its traffic again: %s", r->from, r->cause_words);
	out->events[out->n_events - 1].guard =
	    r->cause == CAUSE_GUARD ? r->cause_guard : -1;
}

static bool
is_instant(const struct rollout *r, const struct way_back *why)
{
	if (why->cause == CAUSE_UNDO || r->weight == 0)
		return true;
	switch (r->plan->rollback.mode) {
	case ROLLBACK_INSTANT:
		return true;
	case ROLLBACK_RAMP:
		return r->plan->rollback.ramp == 0;
	case ROLLBACK_AUTO:
		break;
	}
	return why->is_broken || r->weight <= BP_ALL / 2 ||
	       r->plan->rollback.ramp == 0;
}

void
rollout_go_back(struct rollout *r, const struct way_back *why,
    struct rollout_output *out, const char *words)
{
	bool is_begun = r->state != ROLLOUT_PENDING;
	bool is_at_once = !is_begun || is_instant(r, why);
	char buf[16];

	r->cause = why->cause;
	r->cause_guard = why->guard < 0 ? 0 : (uint8_t)why->guard;
	snprintf(r->cause_words, sizeof(r->cause_words), "%s", words);
	r->is_by_person = why->is_by_person;
	r->is_instant = is_at_once;
	r->is_paused = r->is_promoted = r->is_skipping = r->is_full = false;
	r->ramp_from = r->weight;
	r->ramp_ran = 0;
	rollout_tell(r, out, EVENT_ROLLING_BACK, "from %s%% %s: %s",
	    percent(r->weight, buf), is_at_once ? "at once" : "by a ramp",
	    words);
	out->events[out->n_events - 1].guard = why->guard;
	rollout_enter(r, ROLLOUT_ROLLING_BACK, why->wall);
	out->is_dirty = out->publishes = out->is_rollback = true;
	out->asks = 0;
	if (is_at_once)
		rollout_end_back(r, why->wall, out);
	out->publishes =
	    is_begun; /* what was never begun leaves the weights as they are */
}
