/*
 * The steps of a rollout. Each state has its own; all look at the guards
 * first. What is decided here and why it is safe:
 *
 * - a phase ends when its ramp is done, its hold has passed, the candidate has
 *   had its requests, the proof is there and the gates are open; that order is
 *   also the order in which it is told what is missing;
 * - the clocks of ramp and hold stand still while something is wrong or
 *   somebody has paused it: what is waited for is time under good conditions;
 * - a phase whose time is up but whose evidence is not there is held as
 *   undecided, long before its timeout says what becomes of that;
 * - the timeout runs on under all conditions but a pause and a freeze, which
 *   are nobody's failure;
 * - going back ignores all of that.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "routing/rollout/parts.h"

static const char group_words[] = "another rollout of its group went back";

/* ---- guards ---- */

static bool
proves_broken(const struct guard_cfg *guard)
{
	return guard->metric == GUARD_ERRORS ||
	       guard->metric == GUARD_EXCESS_FAILURES ||
	       guard->metric == GUARD_SIGNAL;
}

static void
tell_verdict(const struct rollout *r, size_t guard, enum verdict verdict,
    nsec_t now, struct rollout_output *out)
{
	struct finding finding;
	char words[ROLLOUT_WORDS_MAX - 80];

	if (out->n_events >= ROLLOUT_EVENTS_MAX / 2)
		return; /* room for what is more than a word */
	judge_finding(r->judge, guard, now, &finding);
	finding_print(&finding, words, sizeof(words));
	/* a verdict that fell is in the finding's words already */
	rollout_tell(r, out, EVENT_VERDICT, "guard %s: %s%s",
	    r->plan->guards[guard].name,
	    verdict == VERDICT_UNDECIDED ? "undecided: " : "", words);
	out->events[out->n_events - 1].guard = (int)guard;
}

static void
go_back_by_guard(struct rollout *r, size_t guard,
    const struct rollout_input *in, struct rollout_output *out)
{
	struct way_back why = {.cause = CAUSE_GUARD,
	    .guard = (int)guard,
	    .is_broken = proves_broken(&r->plan->guards[guard]),
	    .wall = in->wall};
	char words[ROLLOUT_WORDS_MAX], shown[ROLLOUT_WORDS_MAX - 80];
	struct finding finding;

	judge_finding(r->judge, guard, in->now, &finding);
	snprintf(words, sizeof(words), "guard %s: %s",
	    r->plan->guards[guard].name,
	    finding_print(&finding, shown, sizeof(shown)));
	rollout_go_back(r, &why, out, words);
}

/* Notes what changed; returns the guard whose failure rolls back, -1: none. Of
 * several the one that needs no ramp. */
static int
guards_look(struct rollout *r, const struct rollout_input *in,
    struct rollout_output *out)
{
	int fatal = -1;

	for (size_t g = 0; g < r->plan->n_guards; g++) {
		const struct guard_cfg *guard = &r->plan->guards[g];
		enum verdict verdict = judge_guard(r->judge, g);

		/* A proof once given is not taken back by chance. */
		if (verdict != (enum verdict)r->verdicts[g] &&
		    !(r->verdicts[g] == VERDICT_PASS &&
		        verdict == VERDICT_UNDECIDED)) {
			r->verdicts[g] = (int8_t)verdict;
			tell_verdict(r, g, verdict, in->now, out);
		}
		if (verdict != VERDICT_FAIL)
			continue;
		if (guard->action == ACTION_HOLD) {
			r->unwell_at[UNWELL_GUARD] = in->now;
			r->unwell_guard = (uint8_t)g;
		}
		if (guard->action == ACTION_ROLLBACK &&
		    (fatal < 0 || (!proves_broken(&r->plan->guards[fatal]) &&
		                      proves_broken(guard))))
			fatal = (int)g;
	}
	return fatal;
}

static bool
is_unwell(const struct rollout *r, int what, nsec_t now)
{
	return r->unwell_at[what] != 0 &&
	       now - r->unwell_at[what] < ROLLOUT_CLEAR_AFTER;
}

/*
 * Nobody answers for the candidate, and it has weight. With much of it the
 * baseline is too small for the guards to be quick, and there is nothing to
 * be proven here.
 */
static bool
has_gone_down(struct rollout *r, const struct rollout_input *in)
{
	if (in->is_healthy || r->weight == 0)
		r->down_since = 0;
	else if (r->down_since == 0)
		r->down_since = in->now;
	return r->down_since != 0 &&
	       in->now - r->down_since >= ROLLOUT_DOWN_MAX;
}

/* True: it goes back. */
static bool
went_back(struct rollout *r, const struct rollout_input *in,
    struct rollout_output *out)
{
	struct way_back why = {
	    .cause = CAUSE_GROUP, .guard = -1, .is_broken = true};
	int guard = guards_look(r, in, out);
	bool is_down = has_gone_down(r, in);

	why.wall = in->wall;
	if (guard >= 0) {
		go_back_by_guard(r, (size_t)guard, in, out);
	} else if (is_down) {
		why.cause = CAUSE_UNHEALTHY;
		rollout_go_back(
		    r, &why, out, "the candidate has no endpoint in service");
	} else if (in->is_group_failed) {
		rollout_go_back(r, &why, out, group_words);
	}
	return guard >= 0 || is_down || in->is_group_failed;
}

/* ---- phases ---- */

static void
begin_phase(
    struct rollout *r, uint32_t phase, time_t wall, struct rollout_output *out)
{
	const struct phase_cfg *cfg = &r->plan->phases[phase];
	char buf[16];

	r->phase = phase;
	r->phase_at = wall;
	r->ramp_from = r->weight;
	r->ramp_ran = r->hold_ran = r->phase_ran = 0;
	r->phase_requests = 0;
	r->is_skipping = r->is_timed_out = r->is_ready = false;
	r->told_approvals = 0;
	r->unwell_at[UNWELL_GUARD] = 0;
	memset(r->gates, 0, sizeof(r->gates));
	memset(r->verdicts, 0, sizeof(r->verdicts));
	out->judge = JUDGE_BEGINS;
	r->weight = ramp_weight(
	    r->weight, rollout_phase_weight(r, phase), 0, cfg->ramp);
	out->publishes = out->is_dirty = true;
	rollout_enter(r, ROLLOUT_RUNNING, wall);
	rollout_tell(r, out, EVENT_PHASE, "phase %s (%u of %zu): %s%%",
	    cfg->name, phase + 1, r->plan->n_phases,
	    percent(rollout_phase_weight(r, phase), buf));
}

static void
promote(struct rollout *r, time_t wall, struct rollout_output *out)
{
	rollout_set_weight(r, rollout_full_weight(r), out);
	r->phase = (uint32_t)r->plan->n_phases - 1;
	r->is_promoted = true;
	r->is_skipping = r->is_full = r->is_ready = false;
	r->hold_ran = 0;
	out->publishes = out->is_dirty = true;
	rollout_enter(r, ROLLOUT_PROMOTED, wall);
	rollout_tell(r, out, EVENT_PROMOTED,
	    "%s is the stable pool of %s now; %s stays warm", r->to, r->split,
	    r->from);
}

static bool
is_last(const struct rollout *r)
{
	return r->is_full || r->phase + 1 == r->plan->n_phases;
}

/* Would leaving this phase give the candidate more? */
static bool
grows_after(const struct rollout *r)
{
	return is_last(r) || rollout_phase_weight(r, r->phase + 1) > r->weight;
}

static bool
is_proven(const struct rollout *r, const struct phase_cfg *phase)
{
	return phase->until != UNTIL_PROVEN ||
	       rollout_phase_weight(r, r->phase) == 0 ||
	       judge_verdict(r->judge) == VERDICT_PASS;
}

static bool
has_evidence(const struct rollout *r, const struct phase_cfg *phase)
{
	return r->phase_requests >= phase->min_requests && is_proven(r, phase);
}

/* All that the phase asks for but its gates. */
static bool
is_earned(const struct rollout *r, const struct phase_cfg *phase)
{
	if (r->is_skipping)
		return true;
	return !rollout_is_ramping(r, phase) && r->hold_ran >= phase->hold &&
	       has_evidence(r, phase);
}

/* Nothing but evidence is missing, and it does not come at once. */
static bool
is_undecided(const struct rollout *r, const struct phase_cfg *phase)
{
	if (r->is_skipping || has_evidence(r, phase))
		return false;
	return r->is_timed_out ||
	       (!rollout_is_ramping(r, phase) &&
	           r->hold_ran >= phase->hold + ROLLOUT_UNDECIDED_AFTER);
}

static bool
is_ill(const struct rollout *r, nsec_t now)
{
	return is_unwell(r, UNWELL_POOL, now) ||
	       (is_unwell(r, UNWELL_GUARD, now) && !r->is_skipping);
}

static void
run_clocks(struct rollout *r, const struct rollout_input *in, nsec_t passed)
{
	const struct phase_cfg *phase = &r->plan->phases[r->phase];
	bool grows = rollout_phase_weight(r, r->phase) > r->weight;

	if (!r->is_paused && !in->is_frozen)
		r->phase_ran += passed;
	if (r->is_paused || is_ill(r, in->now))
		return;
	if (!rollout_is_ramping(r, phase))
		r->hold_ran += passed;
	else if (!grows || !in->is_frozen)
		r->ramp_ran += passed;
}

/* Whoever skips the phase goes on from where the ramp stands. */
static void
follow_ramp(struct rollout *r, const struct rollout_input *in,
    struct rollout_output *out)
{
	const struct phase_cfg *phase = &r->plan->phases[r->phase];
	bp_t to = rollout_phase_weight(r, r->phase);
	bp_t weight = ramp_weight(r->ramp_from, to, r->ramp_ran, phase->ramp);
	char buf[16];

	if (r->is_skipping || r->is_paused || is_ill(r, in->now) ||
	    weight == r->weight || (weight > r->weight && in->is_frozen))
		return;
	rollout_set_weight(r, weight, out);
	rollout_tell(r, out, EVENT_WEIGHT, "%s%%", percent(weight, buf));
}

/* True: it went back. */
static bool
time_out(struct rollout *r, const struct rollout_input *in,
    struct rollout_output *out)
{
	struct way_back why = {
	    .cause = CAUSE_TIMEOUT, .guard = -1, .wall = in->wall};
	const struct phase_cfg *phase = &r->plan->phases[r->phase];
	char length[32], words[128];

	if (phase->timeout == 0 || r->phase_ran < phase->timeout ||
	    r->is_timed_out)
		return false;
	units_print_duration(phase->timeout, length, sizeof(length));
	snprintf(words, sizeof(words), "phase %.63s was not done after %s",
	    phase->name, length);
	if (r->plan->on_timeout == TIMEOUT_ROLLBACK) {
		rollout_go_back(r, &why, out, words);
		return true;
	}
	r->is_timed_out = true;
	r->is_skipping |= r->plan->on_timeout == TIMEOUT_PROMOTE;
	out->is_dirty = true;
	rollout_tell(r, out, EVENT_TIMEOUT, "%s: %s", words,
	    r->plan->on_timeout == TIMEOUT_PROMOTE ? "it goes on"
	                                           : "it is held");
	return false;
}

/* ---- held or not ---- */

struct held {
	enum rollout_hold why;
	uint8_t by;
};

static struct held
find_hold(const struct rollout *r, const struct rollout_input *in,
    bool is_earned, int gate)
{
	bool wants_more = (is_earned && gate < 0 && grows_after(r)) ||
	                  rollout_phase_weight(r, r->phase) > r->weight;

	if (r->is_paused)
		return (struct held){HOLD_PAUSED, 0};
	if (is_unwell(r, UNWELL_POOL, in->now))
		return (struct held){HOLD_UNHEALTHY, 0};
	if (is_unwell(r, UNWELL_GUARD, in->now) && !r->is_skipping)
		return (struct held){HOLD_GUARD, r->unwell_guard};
	if (in->is_frozen && wants_more)
		return (struct held){HOLD_FREEZE, 0};
	if (is_earned && gate >= 0)
		return (struct held){HOLD_GATE, (uint8_t)gate};
	if (is_undecided(r, &r->plan->phases[r->phase]) ||
	    (!is_earned && r->is_timed_out))
		return (struct held){HOLD_UNDECIDED, 0};
	return (struct held){HOLD_NONE, 0};
}

static void
take_hold(struct rollout *r, struct held hold, const struct rollout_input *in,
    struct rollout_output *out)
{
	char reason[96], next[ROLLOUT_WORDS_MAX - 96];

	if (hold.why == r->held &&
	    (hold.why == HOLD_NONE || hold.by == r->held_by))
		return;
	out->is_dirty = true;
	if (hold.why == HOLD_NONE) {
		rollout_enter(r, ROLLOUT_RUNNING, in->wall);
		rollout_tell(r, out, EVENT_RESUMED, "it goes on");
		return;
	}
	rollout_enter(r, ROLLOUT_HELD, in->wall);
	r->held = hold.why;
	r->held_by = hold.by;
	rollout_held_reason(r, reason, sizeof(reason));
	if (hold.why == HOLD_UNDECIDED)
		rollout_tell(r, out, EVENT_HELD, "held: %s: %s", reason,
		    rollout_next(r, in->now, in->wall, next, sizeof(next)));
	else
		rollout_tell(r, out, EVENT_HELD, "held: %s", reason);
}

/* ---- the steps of the states ---- */

static void
step_pending(struct rollout *r, const struct rollout_input *in,
    struct rollout_output *out)
{
	struct way_back why = {
	    .cause = CAUSE_GROUP, .guard = -1, .wall = in->wall};
	bool grows = rollout_phase_weight(r, 0) > r->weight;

	if (in->is_group_failed) {
		rollout_go_back(r, &why, out, group_words);
		return;
	}
	if (r->is_paused || (grows && (in->is_frozen || !in->is_healthy)))
		return;
	rollout_tell(r, out, EVENT_STARTED, "%s: from %s to %s by plan %s%s%s",
	    r->split, r->from, r->to, r->plan->name,
	    r->release[0] ? ", release " : "", r->release);
	begin_phase(r, 0, in->wall, out);
}

static void
leave_phase(struct rollout *r, time_t wall, struct rollout_output *out)
{
	if (is_last(r))
		promote(r, wall, out);
	else
		begin_phase(r, r->phase + 1, wall, out);
}

static void
step_phase(struct rollout *r, const struct rollout_input *in, nsec_t passed,
    struct rollout_output *out)
{
	const struct phase_cfg *phase = &r->plan->phases[r->phase];
	struct held hold;
	bool earned;
	int gate = -1;

	if (!in->is_healthy)
		r->unwell_at[UNWELL_POOL] = in->now;
	if (went_back(r, in, out))
		return;
	run_clocks(r, in, passed);
	follow_ramp(r, in, out);
	earned = is_earned(r, phase);
	if (earned && !r->is_paused && !is_ill(r, in->now))
		gate =
		    rollout_gates_try(r, in->now, in->wall, in->windows, out);
	if ((!earned || gate >= 0) && time_out(r, in, out))
		return;
	hold = find_hold(r, in, earned, gate);
	r->is_ready = earned && gate < 0 && hold.why == HOLD_NONE;
	if (r->is_ready && in->is_group_ready)
		leave_phase(r, in->wall, out);
	else
		take_hold(r, hold, in, out);
}

static void
end_well(struct rollout *r, time_t wall, struct rollout_output *out)
{
	rollout_set_weight(r, r->share, out);
	out->publishes = out->is_dirty = true;
	rollout_enter(r, ROLLOUT_DONE, wall);
	rollout_tell(r, out, EVENT_DONE, "%s is no longer kept warm", r->from);
}

static void
step_promoted(struct rollout *r, const struct rollout_input *in, nsec_t passed,
    struct rollout_output *out)
{
	bool grows = r->weight < r->share;

	if (went_back(r, in, out))
		return;
	if (!is_unwell(r, UNWELL_GUARD, in->now))
		r->hold_ran += passed;
	if (r->hold_ran < r->plan->keep_warm && !r->is_skipping)
		return;
	if (!(grows && (in->is_frozen || !in->is_healthy)))
		end_well(r, in->wall, out);
}

/* Guards look on: what is proven broken on the way down goes at once. */
static void
step_back(struct rollout *r, const struct rollout_input *in, nsec_t passed,
    struct rollout_output *out)
{
	int guard = guards_look(r, in, out);
	bool is_auto = r->plan->rollback.mode == ROLLBACK_AUTO;
	bp_t weight;
	char buf[16];

	if (is_auto &&
	    (!in->is_healthy || in->is_group_failed ||
	        (guard >= 0 && proves_broken(&r->plan->guards[guard]))))
		r->is_instant = true;
	r->ramp_ran += passed;
	weight = r->is_instant ? 0
	                       : ramp_weight(r->ramp_from, 0, r->ramp_ran,
	                             r->plan->rollback.ramp);
	assert(weight <= r->weight);
	if (weight == 0) {
		rollout_end_back(r, in->wall, out);
		return;
	}
	if (weight == r->weight)
		return;
	rollout_set_weight(r, weight, out);
	out->is_rollback = true;
	rollout_tell(r, out, EVENT_WEIGHT, "%s%%", percent(weight, buf));
}

void
rollout_step(struct rollout *r, const struct rollout_input *in,
    struct rollout_output *out)
{
	nsec_t passed;

	out->is_dirty = out->is_rollback = out->publishes = false;
	out->judge = JUDGE_GOES_ON;
	out->asks = 0;
	out->n_events = 0;
	if (!rollout_state_is_live(r->state))
		return;
	passed = rollout_look(r, in);
	switch (r->state) {
	case ROLLOUT_PENDING:
		step_pending(r, in, out);
		break;
	case ROLLOUT_RUNNING:
	case ROLLOUT_HELD:
		step_phase(r, in, passed, out);
		break;
	case ROLLOUT_PROMOTED:
		step_promoted(r, in, passed, out);
		break;
	case ROLLOUT_ROLLING_BACK:
		step_back(r, in, passed, out);
		break;
	default:
		assert(!"a state that is not live");
	}
}
