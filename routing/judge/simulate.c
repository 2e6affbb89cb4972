/*
 * One run: the machine of rollout.h is stepped, the crowd is drawn under the
 * weights that it published, and what it asks for is granted. Steps are short
 * when something has just begun and longer later, so that a detection after a
 * few requests is timed as well as one after hours, and a healthy rollout of
 * four hours still costs a fraction of a second.
 */
#include "routing/simulate.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <sys/param.h>

#include "routing/judge/crowd.h"
#include "routing/memory.h"
#include "routing/rollout.h"

#define STEP_MIN (50 * NSEC_PER_MSEC)
#define STEP_MAX ROLLOUT_STALL
enum {
	STEPS_A_MOMENT = 200, /* that part of what has passed is a step */
	SLICES = 10,          /* of a shortest step, see EVIDENCE_ALARM */
};

struct run {
	const struct simulation *simulation;
	struct plan_cfg plan; /* the plan, its gates left out */
	struct phase_cfg phases[PLAN_PHASES_MAX];
	struct rollout rollout;
	struct rollout_input input;
	struct evidence_sum delta;
	struct mood mood[ARM_COUNT];
	struct rng rng;
	nsec_t now, begun, changed; /* changed: weights or phase, last */
	nsec_t exposed; /* the candidate's first traffic; 0: none yet */
	uint64_t requests, candidates;
	uint32_t passed, failed; /* bit per guard */
	bool is_slow[16]; /* effects on latency that are in the mood already */
	size_t at;        /* in the recording */
	nsec_t round;     /* of the recording: its beginning */
};

static const nsec_t run_begin = 1000 * NSEC_PER_SEC;

/* ---- traffic ---- */

struct sky {
	double rate, errors; /* factors */
	double outage;       /* added failures */
	int moved;           /* latency, buckets */
};

static struct sky
sky_of(const struct run *run)
{
	double t = (double)(run->now - run->begun) / NSEC_PER_SEC;
	double wave;

	switch (run->simulation->weather) {
	case WEATHER_DRIFT:
		wave = 1 + 0.5 * sin(t * 2 * M_PI / 1200);
		return (struct sky){
		    wave, wave, 0, (int)lround(HISTOGRAM_SUBS * log2(wave))};
	case WEATHER_PERIODIC:
		if ((uint64_t)t % 10 == 0)
			return (struct sky){5, 10, 0, 8};
		break;
	case WEATHER_OUTAGE:
		if (fmod(t, 3600) > 900 && fmod(t, 3600) < 1500)
			return (struct sky){1, 1, 0.03, 0};
		break;
	case WEATHER_STEADY:
	case WEATHER_COUNT:
		break;
	}
	return (struct sky){1, 1, 0, 0};
}

static bool
is_on(const struct run *run, const struct effect *effect)
{
	return run->exposed != 0 && run->now - run->exposed >= effect->after;
}

/* Failures are added to those that are there: p + q - p q. */
static double
errors_with(const struct run *run, double errors)
{
	for (size_t i = 0; i < run->simulation->n_effects; i++) {
		const struct effect *effect = &run->simulation->effects[i];
		double more = effect->by;

		if (effect->kind != EFFECT_ERRORS || !is_on(run, effect))
			continue;
		if (effect->is_relative)
			more *= errors;
		errors = fmin(errors + more * effect->share, 1);
	}
	return errors;
}

static double
share_of(const struct run *run, enum effect_kind kind)
{
	double not_so = 1;

	for (size_t i = 0; i < run->simulation->n_effects; i++) {
		const struct effect *effect = &run->simulation->effects[i];

		if (effect->kind == kind && is_on(run, effect))
			not_so *= 1 - effect->share;
	}
	return 1 - not_so;
}

static void
set_moods(struct run *run, const struct sky *sky)
{
	double errors =
	    fmin(run->simulation->errors * sky->errors + sky->outage, 1);
	struct mood *candidate = &run->mood[ARM_CANDIDATE];
	double other = share_of(run, EFFECT_SIZE);

	run->mood[ARM_BASELINE].errors = errors;
	candidate->errors = errors_with(run, errors);
	candidate->hangs = share_of(run, EFFECT_HANG);
	candidate->shape[SHAPE_SIZE + 6] = 1 - other;
	candidate->shape[SHAPE_SIZE + 3] = other;
	run->mood[0].moved = run->mood[1].moved = sky->moved;
	for (size_t i = 0; i < run->simulation->n_effects; i++) {
		const struct effect *effect = &run->simulation->effects[i];

		if (effect->kind != EFFECT_LATENCY || run->is_slow[i] ||
		    !is_on(run, effect))
			continue;
		run->is_slow[i] = true;
		if (candidate->first <= candidate->last)
			mood_slow(candidate, 1 + effect->by, effect->share);
	}
}

static double
chance_of_candidate(const struct run *run)
{
	bp_t candidate, baseline;

	rollout_arms(&run->rollout, &candidate, &baseline);
	return (double)candidate / (candidate + baseline);
}

static void
draw_synthetic(struct run *run, nsec_t step)
{
	struct sky sky = sky_of(run);
	double mean =
	    run->simulation->rate * sky.rate * (double)step / NSEC_PER_SEC;
	uint64_t n = draw_poisson(&run->rng, mean);

	set_moods(run, &sky);
	crowd_draw(run->mood, n, chance_of_candidate(run),
	    judge_cut(run->rollout.judge), &run->rng, &run->delta);
	run->requests += run->exposed ? n : 0;
}

/* Some failures of the candidate are worth a look before it is due. */
static void
draw_until_alarm(struct run *run)
{
	for (int i = 0; i < SLICES; i++) {
		run->now += STEP_MIN / SLICES;
		draw_synthetic(run, STEP_MIN / SLICES);
		if (run->delta.arm[ARM_CANDIDATE].bad >= EVIDENCE_ALARM)
			return;
	}
}

/* ---- recorded traffic ---- */

static nsec_t
slower(const struct run *run, struct rng *rng, nsec_t latency)
{
	double factor = 1;

	for (size_t i = 0; i < run->simulation->n_effects; i++) {
		const struct effect *effect = &run->simulation->effects[i];

		if (effect->kind == EFFECT_LATENCY && is_on(run, effect) &&
		    draw_uniform(rng) < effect->share)
			factor *= 1 + effect->by;
	}
	return (nsec_t)fmin((double)latency * factor, 9e18);
}

static void
count_latency(struct arm_sum *sum, nsec_t latency, nsec_t cut)
{
	bool is_slow = cut > 0 && latency > cut;

	if (latency < 0)
		return;
	sum->slow += is_slow;
	sum->n_latency++;
	sum->latency[histogram_bucket(is_slow ? cut : latency)]++;
}

/* What the request's own past was, and on the candidate what is wrong with it.
 */
static void
count_recorded(
    struct run *run, const struct recorded *unit, enum arm arm, nsec_t cut)
{
	struct arm_sum *sum = &run->delta.arm[arm];
	bool is_candidate = arm == ARM_CANDIDATE, is_bad = unit->is_bad;
	nsec_t latency = unit->first_byte;
	uint64_t bytes = unit->bytes;
	unsigned status = unit->status;
	double errors = run->simulation->errors;

	if (is_candidate &&
	    draw_uniform(&run->rng) < share_of(run, EFFECT_HANG)) {
		if (cut > 0)
			count_latency(sum, INT64_MAX, cut);
		return;
	}
	if (is_candidate && !is_bad &&
	    draw_uniform(&run->rng) * (1 - errors) <
	        errors_with(run, errors) - errors) {
		is_bad = true;
		status = 500;
	}
	if (is_candidate && latency >= 0)
		latency = slower(run, &run->rng, latency);
	if (is_candidate &&
	    draw_uniform(&run->rng) < share_of(run, EFFECT_SIZE))
		bytes = bytes / 16 + 1;
	sum->n++;
	sum->bad += is_bad;
	sum->shape[SHAPE_STATUS +
	           (status / 100 < SHAPE_STATUS_N ? status / 100 : 0)]++;
	sum->shape[shape_size(bytes)]++;
	sum->shape[SHAPE_TYPE]++;
	count_latency(sum, latency, cut);
}

static void
draw_recorded(struct run *run)
{
	const struct recording *recording = run->simulation->recording;
	nsec_t cut = judge_cut(run->rollout.judge);
	double w = chance_of_candidate(run);

	while (run->round + recording->at[run->at].at < run->now) {
		enum arm arm =
		    draw_uniform(&run->rng) < w ? ARM_CANDIDATE : ARM_BASELINE;

		count_recorded(run, &recording->at[run->at], arm, cut);
		run->requests += run->exposed != 0;
		if (++run->at == recording->n) {
			run->at = 0;
			run->round += recording->length;
		}
	}
}

/* ---- a run ---- */

/* Nobody is there to approve: gates are left out of the copy. */
static void
make_plan(struct run *run)
{
	const struct plan_cfg *plan = run->simulation->plan;

	assert(plan->n_phases <= PLAN_PHASES_MAX);
	run->plan = *plan;
	memcpy(
	    run->phases, plan->phases, plan->n_phases * sizeof(run->phases[0]));
	for (size_t i = 0; i < plan->n_phases; i++)
		run->phases[i].n_gates = 0;
	run->plan.phases = run->phases;
	run->plan.n_gates = 0;
	/* the numbers are of the decision, not of the way back */
	run->plan.rollback.mode = ROLLBACK_INSTANT;
}

static void
make_moods(struct run *run)
{
	const struct simulation *simulation = run->simulation;
	bool is_measured = false;

	for (size_t i = 0; i < run->plan.n_guards; i++)
		is_measured |= run->plan.guards[i].metric == GUARD_LATENCY;
	for (int arm = 0; arm < ARM_COUNT; arm++) {
		mood_init(&run->mood[arm], simulation->errors,
		    simulation->median, simulation->sigma);
		if (!is_measured)
			mood_unmeasure(&run->mood[arm]);
	}
}

static void
run_init(struct run *run, const struct simulation *simulation, uint64_t number)
{
	uint8_t seed[32] = "weir simulate";

	assert(simulation->n_effects <= 16);
	memcpy(seed + 16, &simulation->seed, sizeof(simulation->seed));
	memcpy(seed + 24, &number, sizeof(number));
	*run = (struct run){.simulation = simulation,
	    .now = run_begin,
	    .begun = run_begin,
	    .changed = run_begin,
	    .round = run_begin};
	rng_seed(&run->rng, seed);
	make_plan(run);
	make_moods(run);
	run->rollout = (struct rollout){.id = "r-simulated",
	    .split = "split",
	    .from = "stable",
	    .to = "candidate",
	    .share = BP_ALL,
	    .plan = &run->plan};
	rollout_start(&run->rollout);
	run->input = (struct rollout_input){
	    .is_healthy = true, .is_group_ready = true, .windows = UINT32_MAX};
}

/* Phases that never end by themselves get four times their length. */
static nsec_t
time_enough(const struct plan_cfg *plan)
{
	nsec_t enough = NSEC_PER_SEC;

	for (size_t i = 0; i < plan->n_phases; i++) {
		const struct phase_cfg *phase = &plan->phases[i];

		enough += phase->ramp + phase->hold + STEP_MAX;
		enough += phase->timeout > 0 ? phase->timeout
		                             : 3 * (phase->ramp + phase->hold) +
		                                   3600 * NSEC_PER_SEC;
	}
	return enough;
}

static nsec_t
step_length(const struct run *run)
{
	nsec_t since = (run->now - run->changed) / STEPS_A_MOMENT;

	return MAX(MIN(since, STEP_MAX), STEP_MIN);
}

static void
note_verdicts(struct run *run)
{
	for (size_t i = 0; i < run->plan.n_guards; i++) {
		enum verdict verdict = judge_guard(run->rollout.judge, i);

		run->passed |= (uint32_t)(verdict == VERDICT_PASS) << i;
		run->failed |= (uint32_t)(verdict == VERDICT_FAIL) << i;
	}
}

static void
run_step(struct run *run)
{
	struct rollout *rollout = &run->rollout;
	struct rollout_output output;
	bool has_begun = rollout->state != ROLLOUT_PENDING;
	nsec_t step = step_length(run);

	run->delta = (struct evidence_sum){0};
	if (!has_begun || run->simulation->recording || step > STEP_MIN) {
		run->now += step;
		if (has_begun && run->simulation->recording)
			draw_recorded(run);
		else if (has_begun)
			draw_synthetic(run, step);
	} else {
		draw_until_alarm(run);
	}
	run->candidates += run->delta.arm[ARM_CANDIDATE].n;
	run->input.now = run->now;
	run->input.wall = (time_t)(run->now / NSEC_PER_SEC);
	run->input.delta = has_begun ? &run->delta : NULL;
	rollout_step(rollout, &run->input, &output);
	rollout_commit(rollout, &output, run->now);
	note_verdicts(run);
	if (output.judge != JUDGE_GOES_ON)
		run->changed = run->now;
	if (run->exposed == 0 && rollout->weight > 0)
		run->exposed = run->changed = run->now;
}

static bool
is_over(const struct run *run)
{
	return run->rollout.state == ROLLOUT_PROMOTED ||
	       !rollout_state_is_live(run->rollout.state);
}

void
simulate_run(
    const struct simulation *simulation, uint64_t number, struct simulated *out)
{
	struct run *run = memory_take(1, sizeof(*run));
	nsec_t end;

	run_init(run, simulation, number);
	end = run_begin + time_enough(&run->plan);
	while (!is_over(run) && run->now < end)
		run_step(run);
	*out = (struct simulated){
	    .end = SIMULATED_HELD,
	    .guard = -1,
	    .phase = run->rollout.phase,
	    .requests = run->requests,
	    .candidates = run->candidates,
	    .passed = run->passed,
	    .failed = run->failed,
	    .time = run->exposed ? run->now - run->exposed : 0,
	};
	if (run->rollout.state == ROLLOUT_PROMOTED)
		out->end = SIMULATED_PROMOTED;
	else if (!rollout_state_is_live(run->rollout.state))
		out->end = SIMULATED_ROLLED_BACK;
	if (run->rollout.cause == CAUSE_GUARD)
		out->guard = run->rollout.cause_guard;
	rollout_release(&run->rollout);
	free(run);
}

/* ---- many runs ---- */

/* P(X <= k), X binomial. */
static double
binomial_below(unsigned k, unsigned n, double p)
{
	double sum = 0;

	for (unsigned i = 0; i <= k; i++)
		sum +=
		    exp(lgamma(n + 1.0) - lgamma(i + 1.0) -
		        lgamma(n - i + 1.0) + i * log(p) + (n - i) * log1p(-p));
	return sum;
}

double
rate_high(unsigned k, unsigned n)
{
	double low, high = 1;

	if (n == 0 || k >= n)
		return 1;
	low = (double)k / n;
	for (int i = 0; i < 60; i++) {
		double p = (low + high) / 2;

		if (binomial_below(k, n, p) > 0.05)
			low = p;
		else
			high = p;
	}
	return high;
}

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The smallest value that a share `q` does not exceed. */
static double
rank_of(const double *sorted, unsigned n, double q)
{
	unsigned rank = (unsigned)ceil(q * n);

	return sorted[rank > 0 ? rank - 1 : 0];
}

static void
count_rollback(struct simulation_result *out, double *requests,
    const struct simulated *run)
{
	requests[out->rolled_back++] = (double)run->requests;
	out->mean += (double)run->requests;
	out->mean_candidates += (double)run->candidates;
	out->mean_seconds += (double)run->time / NSEC_PER_SEC;
	if (run->guard >= 0)
		out->by_guard[run->guard]++;
}

void
simulate(const struct simulation *simulation, struct simulation_result *out)
{
	double *requests = memory_take(simulation->runs, sizeof(*requests));
	unsigned n;

	*out = (struct simulation_result){.runs = simulation->runs};
	for (unsigned i = 0; i < simulation->runs; i++) {
		struct simulated run;

		simulate_run(simulation, i, &run);
		out->promoted += run.end == SIMULATED_PROMOTED;
		out->held += run.end == SIMULATED_HELD;
		for (size_t g = 0; g < PLAN_GUARDS_MAX; g++)
			out->seen_by[g] += run.failed >> g & 1;
		if (run.end == SIMULATED_ROLLED_BACK)
			count_rollback(out, requests, &run);
	}
	n = out->rolled_back;
	out->rollback_rate = (double)n / MAX(out->runs, 1);
	out->rollback_rate_high = rate_high(n, out->runs);
	out->pass_rate = (double)out->promoted / MAX(out->runs, 1);
	if (n > 0) {
		qsort(requests, n, sizeof(*requests), by_size);
		out->mean /= n;
		out->mean_candidates /= n;
		out->mean_seconds /= n;
		out->p50 = rank_of(requests, n, 0.5);
		out->p95 = rank_of(requests, n, 0.95);
	}
	free(requests);
}
