/*
 * What a rollout lives on: the looks at the evidence, the judge that it owns,
 * and how it comes back after a restart.
 */
#include <assert.h>
#include <string.h>

#include "routing/rollout/parts.h"

/* Expected length of a phase that names none: its checkpoints stand at 60ths.
 */
#define PHASE_LENGTH (10 * 60 * NSEC_PER_SEC)

bool
rollout_is_ramping(const struct rollout *r, const struct phase_cfg *phase)
{
	return r->ramp_ran < phase->ramp && !r->is_skipping &&
	       r->ramp_from != rollout_phase_weight(r, r->phase);
}

/* ---- looking ---- */

static void
count(struct rollout *r, const struct evidence_sum *delta)
{
	for (int arm = 0; arm < ARM_COUNT; arm++) {
		r->n[arm] += delta->arm[arm].n;
		r->bad[arm] += delta->arm[arm].bad;
	}
	r->phase_requests += delta->arm[ARM_CANDIDATE].n;
	r->shielded += delta->arm[ARM_CANDIDATE].shielded;
	for (unsigned i = 0;
	     delta->arm[ARM_BASELINE].n_latency > 0 && i < HISTOGRAM_BUCKETS;
	     i++)
		r->baseline[i] += delta->arm[ARM_BASELINE].latency[i];
}

/*
 * What was in flight when the process stood still is late because of us, and
 * so is what piled up behind it: a burst that the two pools work off as chance
 * has it says nothing about their versions. The backlog is given as long as
 * the standstill took.
 */
static bool
is_blind(struct rollout *r, nsec_t passed, nsec_t now)
{
	if (passed > ROLLOUT_STALL)
		r->blind_until =
		    now +
		    (passed < ROLLOUT_BLIND_MAX ? passed : ROLLOUT_BLIND_MAX);
	return r->stepped_at == 0 || now < r->blind_until;
}

/* As between two processes: nobody watched while this one stood still. */
static nsec_t
counted(nsec_t passed)
{
	if (passed < 0)
		return 0;
	return passed < ROLLOUT_GAP_MAX ? passed : ROLLOUT_GAP_MAX;
}

/* Returns the time since the last step, as far as it counts. */
nsec_t
rollout_look(struct rollout *r, const struct rollout_input *in)
{
	static const struct evidence_sum nothing;
	nsec_t passed = r->stepped_at == 0 ? 0 : in->now - r->stepped_at;
	struct judge_news news = {.now = in->now,
	    .delta = in->delta ? in->delta : &nothing,
	    .signals = in->signals,
	    .is_blind = is_blind(r, passed, in->now)};

	r->stepped_at = in->now;
	if (r->state == ROLLOUT_PENDING)
		return counted(passed);
	if (in->delta)
		count(r, in->delta);
	judge_look(r->judge, &news);
	return counted(passed);
}

void
rollout_revert(struct rollout *r, const struct rollout *before)
{
	struct rollout after = *r;
	bool is_same = after.phase == before->phase &&
	               after.phase_at == before->phase_at &&
	               after.state != ROLLOUT_PROMOTED;

	*r = *before;
	r->stepped_at = after.stepped_at;
	r->blind_until = after.blind_until;
	r->down_since = after.down_since;
	memcpy(r->unwell_at, after.unwell_at, sizeof(r->unwell_at));
	r->unwell_guard = after.unwell_guard;
	memcpy(r->n, after.n, sizeof(r->n));
	memcpy(r->bad, after.bad, sizeof(r->bad));
	r->shielded = after.shielded;
	memcpy(r->baseline, after.baseline, sizeof(r->baseline));
	if (!is_same)
		return;
	r->ramp_ran = after.ramp_ran;
	r->hold_ran = after.hold_ran;
	r->phase_ran = after.phase_ran;
	r->phase_requests = after.phase_requests;
}

/* ---- the judge's part ---- */

static nsec_t
expected_length(const struct rollout *r)
{
	const struct phase_cfg *phase = &r->plan->phases[r->phase];
	nsec_t length = phase->ramp + phase->hold;

	if (length == 0)
		length = phase->timeout;
	return length > 0 ? length : PHASE_LENGTH;
}

static void
judge_phase_begin(struct rollout *r, nsec_t now)
{
	struct histogram_sum calibration = {0};
	struct judge_phase phase = {.length = expected_length(r),
	    .before_n = r->before_n,
	    .before_bad = r->before_bad,
	    .min_requests = r->plan->phases[r->phase].min_requests};

	rollout_arms(r, &phase.candidate, &phase.baseline);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		calibration.bucket[i] = r->baseline[i];
		calibration.count += r->baseline[i];
	}
	if (calibration.count > 0)
		phase.calibration = &calibration;
	judge_begin(r->judge, &phase, now);
	memset(r->baseline, 0, sizeof(r->baseline));
}

void
rollout_commit(struct rollout *r, const struct rollout_output *out, nsec_t now)
{
	bp_t candidate, baseline;

	if (out->judge == JUDGE_BEGINS)
		judge_phase_begin(r, now);
	if (out->judge == JUDGE_REWEIGHS && r->state != ROLLOUT_PENDING) {
		rollout_arms(r, &candidate, &baseline);
		judge_reweigh(r->judge, candidate, baseline);
	}
}

/* ---- the first and the last breath ---- */

void
rollout_start(struct rollout *r)
{
	assert(r->plan->n_phases > 0 && r->share <= BP_ALL);
	r->state = ROLLOUT_PENDING;
	r->state_at = r->started_at;
	r->judge = judge_new(r->plan);
}

void
rollout_resume(struct rollout *r, nsec_t gap, nsec_t now)
{
	struct judge_phase phase = {.length = expected_length(r),
	    .before_n = r->before_n,
	    .before_bad = r->before_bad,
	    .min_requests = r->plan->phases[r->phase].min_requests};

	gap = counted(gap);
	r->judge = judge_new(r->plan);
	r->stepped_at = 0;
	/* Who was asked, said no or did not answer is asked anew. */
	for (size_t g = 0; g < r->plan->n_gates; g++)
		if (r->gates[g].answer != GATE_OPEN)
			r->gates[g].answer = GATE_UNASKED;
	/* Who was unwell has to be well for a while in this process too. */
	if (r->held == HOLD_UNHEALTHY)
		r->unwell_at[UNWELL_POOL] = now;
	if (r->held == HOLD_GUARD) {
		r->unwell_at[UNWELL_GUARD] = now;
		r->unwell_guard = r->held_by;
	}
	if (r->state == ROLLOUT_PENDING)
		return;
	rollout_arms(r, &phase.candidate, &phase.baseline);
	judge_begin(r->judge, &phase, now);
	if (r->state == ROLLOUT_PROMOTED)
		r->hold_ran += gap;
	else if (r->state == ROLLOUT_ROLLING_BACK)
		r->ramp_ran += gap;
	else if (!r->is_paused &&
	         (r->held == HOLD_NONE || r->held == HOLD_UNDECIDED ||
	             r->held == HOLD_GATE)) {
		r->phase_ran += gap;
		if (!rollout_is_ramping(r, &r->plan->phases[r->phase]))
			r->hold_ran += gap;
	}
}

void
rollout_release(struct rollout *r)
{
	judge_free(&r->judge);
}
