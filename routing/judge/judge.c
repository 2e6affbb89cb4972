/*
 * One judge of one rollout: shares alpha out, hands the news to the watches,
 * says what they found. The sides of a watch:
 *
 *	fail    bets against "within the tolerance"; latched for the phase
 *	pass    bets against "beyond the maximum"; as it stands now, because a
 *	        late regression shall be able to take a proof back
 *
 * Alpha is the probability that a healthy candidate is ever rolled back, so
 * it is shared by the guards that roll back by a test (comparing and absolute
 * ones) and by the phases in which there is something to judge. Guards that
 * hold or observe use the same share and take nothing from the others: what
 * they may get wrong is not a rollback.
 *
 * Units of a blind look are counted and shown, but neither bet nor added to a
 * fuse: after a standstill of our own nobody knows whose fault a timeout was.
 */
#include <assert.h>
#include <math.h>
#include <sys/param.h>

#include "routing/judge/watch.h"
#include "routing/memory.h"

const char *
verdict_name(enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_FAIL:
		return "fail";
	case VERDICT_PASS:
		return "pass";
	case VERDICT_UNDECIDED:
		break;
	}
	return "undecided";
}

/* ---- shares of alpha ---- */

double
judge_alpha(const struct plan_cfg *plan)
{
	unsigned guards = 0, phases = 0;

	for (size_t i = 0; i < plan->n_guards; i++)
		guards += plan->guards[i].action == ACTION_ROLLBACK &&
		          guard_method(&plan->guards[i]) != NULL;
	for (size_t i = 0; i < plan->n_phases; i++)
		phases += plan->phases[i].weight > 0;
	return plan->false_rollback / (guards > 0 ? guards : 1) /
	       (phases > 0 ? phases : 1);
}

/* ---- a judge's life ---- */

struct judge *
judge_new(const struct plan_cfg *plan)
{
	struct judge *judge = memory_take(1, sizeof(*judge));

	assert(plan->n_guards <= PLAN_GUARDS_MAX);
	assert(plan->false_rollback > 0 && plan->false_pass > 0);
	judge->plan = plan;
	judge->alpha = judge_alpha(plan);
	judge->log_needed = -log(judge->alpha);
	judge->log_pass_needed = -log(plan->false_pass);
	judge->first = INT64_MAX;
	judge->next_checkpoint = INT64_MAX;
	judge->watches = memory_take(plan->n_guards, sizeof(*judge->watches));
	for (size_t i = 0; i < plan->n_guards; i++) {
		watch_init(&judge->watches[i], &plan->guards[i]);
		judge->has_latency |= plan->guards[i].metric == GUARD_LATENCY;
	}
	return judge;
}

void
judge_free(struct judge **judge_in)
{
	struct judge *judge = *judge_in;

	if (judge == NULL)
		return;
	for (size_t i = 0; i < judge->plan->n_guards; i++)
		watch_release(&judge->watches[i]);
	free(judge->watches);
	free(judge);
	*judge_in = NULL;
}

size_t
judge_n(const struct judge *judge)
{
	return judge->plan->n_guards;
}

/* ---- phases and weights ---- */

static void
set_weights(struct judge *judge, bp_t candidate, bp_t baseline)
{
	judge->weight[ARM_CANDIDATE] = candidate;
	judge->weight[ARM_BASELINE] = baseline;
	judge->is_comparing = candidate > 0 && baseline > 0;
	if (judge->is_comparing)
		judge->w = (double)candidate / (candidate + baseline);
	for (size_t i = 0; i < judge_n(judge); i++) {
		struct watch *watch = &judge->watches[i];

		if (watch->method && watch->method->is_comparing &&
		    judge->is_comparing)
			watch_set(watch, judge->w);
	}
	judge->reweighed = judge->now;
	judge->n_reweighed = judge->sum.arm[ARM_CANDIDATE].n;
	for (size_t i = 0; i < judge_n(judge); i++)
		judge->watches[i].verdict =
		    watch_verdict(judge, &judge->watches[i]);
}

void
judge_reweigh(struct judge *judge, bp_t candidate, bp_t baseline)
{
	if (candidate != judge->weight[ARM_CANDIDATE] ||
	    baseline != judge->weight[ARM_BASELINE])
		set_weights(judge, candidate, baseline);
}

void
judge_schedule(struct judge *judge)
{
	nsec_t age;

	judge->next_checkpoint = INT64_MAX;
	if (judge->checkpoint >= CHECKPOINTS)
		return;
	age = checkpoint_age(judge->checkpoint, judge->length);
	if (!__builtin_add_overflow(judge->begun, age, &age))
		judge->next_checkpoint = age;
}

void
judge_begin(struct judge *judge, const struct judge_phase *phase, nsec_t now)
{
	judge->now = judge->begun = now;
	judge->length = phase->length > 0 ? phase->length : NSEC_PER_SEC;
	judge->checkpoint = 0;
	judge->min_requests = phase->min_requests;
	judge_schedule(judge);
	judge->sum = (struct evidence_sum){0};
	judge->expected = judge->expected_latency = 0;
	if (phase->before_n > 0) {
		judge->before_n = phase->before_n;
		judge->before_bad = phase->before_bad;
	}
	calibration_begin(&judge->calibration, phase->calibration);
	for (size_t i = 0; i < judge_n(judge); i++) {
		struct watch *watch = &judge->watches[i];

		if (watch->method == &method_rate)
			rate_limit_set(
			    watch, judge->before_n, judge->before_bad);
		else if (watch->method)
			watch_begin(watch);
	}
	set_weights(judge, phase->candidate, phase->baseline);
}

/* ---- looking ---- */

static void
count_up(uint64_t *into, uint64_t by)
{
	*into = by < COUNT_MAX - *into ? *into + by : COUNT_MAX;
}

static void
find_filled(struct filled *filled, const struct arm_sum *delta)
{
	filled->n = 0;
	for (unsigned i = 0; delta->n_latency > 0 && i < HISTOGRAM_BUCKETS; i++)
		if (delta->latency[i] > 0)
			filled->at[filled->n++] = (uint16_t)i;
}

static void
sum_arm(struct arm_sum *into, const struct arm_sum *delta,
    const struct filled *filled)
{
	count_up(&into->n, delta->n);
	count_up(&into->bad, delta->bad);
	count_up(&into->slow, delta->slow);
	count_up(&into->shielded, delta->shielded);
	count_up(&into->n_latency, delta->n_latency);
	for (int i = 0; i < SHAPE_COUNT; i++)
		count_up(&into->shape[i], delta->shape[i]);
	for (unsigned i = 0; i < filled->n; i++)
		count_up(&into->latency[filled->at[i]],
		    delta->latency[filled->at[i]]);
}

static void
sum_up(struct judge *judge, const struct evidence_sum *delta)
{
	const struct arm_sum *c = &delta->arm[ARM_CANDIDATE],
	                     *b = &delta->arm[ARM_BASELINE];

	for (int arm = 0; arm < ARM_COUNT; arm++) {
		find_filled(&judge->filled[arm], &delta->arm[arm]);
		sum_arm(&judge->sum.arm[arm], &delta->arm[arm],
		    &judge->filled[arm]);
		count_up(&judge->rollout_n[arm], delta->arm[arm].n);
		count_up(&judge->rollout_bad[arm], delta->arm[arm].bad);
	}
	if (judge->first == INT64_MAX && (c->n > 0 || c->n_latency > 0))
		judge->first = judge->now;
	if (!judge->is_comparing)
		return;
	judge->expected += judge->w * ((double)c->n + (double)b->n);
	judge->expected_latency +=
	    judge->w * ((double)c->n_latency + (double)b->n_latency);
}

static bool
is_news(const struct evidence_sum *delta)
{
	uint64_t any = 0;

	for (int arm = 0; arm < ARM_COUNT; arm++)
		any |= delta->arm[arm].n | delta->arm[arm].bad |
		       delta->arm[arm].n_latency;
	return any > 0;
}

/* True when wealth came in. */
static bool
pass_checkpoints(struct judge *judge)
{
	bool is_due = judge->now >= judge->next_checkpoint;

	while (judge->now >= judge->next_checkpoint) {
		for (size_t i = 0; i < judge_n(judge); i++)
			if (judge->watches[i].method &&
			    judge->weight[ARM_CANDIDATE] > 0)
				watch_enter(&judge->watches[i],
				    checkpoint_mass(judge->checkpoint),
				    judge->checkpoint);
		judge->checkpoint++;
		judge_schedule(judge);
	}
	return is_due;
}

static void
take_signals(struct judge *judge, const uint64_t *signals)
{
	for (size_t i = 0; i < judge_n(judge); i++)
		judge->watches[i].events = signals ? signals[i] : 0;
}

static void
take_units(struct judge *judge, const struct judge_news *news)
{
	const struct arm_sum *baseline = &news->delta->arm[ARM_BASELINE];

	sum_up(judge, news->delta);
	for (size_t i = 0; i < judge_n(judge); i++) {
		struct watch *watch = &judge->watches[i];

		if (watch->window)
			window_add(watch->window, news->delta);
		if (news->is_blind)
			continue;
		if (watch->guard->metric == GUARD_EXCESS_FAILURES)
			fuse_add(judge, watch, news->delta);
		if (watch->method)
			watch_look(judge, watch, news->delta);
	}
	if (judge->has_latency && !news->is_blind && baseline->n_latency > 0)
		calibration_learn(&judge->calibration, baseline->latency);
}

static void
decide(struct judge *judge, struct watch *watch)
{
	if (watch->method == NULL)
		watch->has_failed = count_of(watch) > (double)watch->guard->max;
	else if (watch->method == &method_rate)
		rate_decide(judge, watch);
	else if (!watch->has_failed)
		watch->has_failed = watch_exceeds(watch, judge->log_needed);
}

void
judge_look(struct judge *judge, const struct judge_news *news)
{
	bool has_units = is_news(news->delta), is_new;

	if (news->now > judge->now)
		judge->now = news->now;
	is_new = pass_checkpoints(judge) | has_units;
	take_signals(judge, news->signals);
	for (size_t i = 0; i < judge_n(judge); i++)
		if (judge->watches[i].window)
			window_turn(judge->watches[i].window, judge->now);
	if (has_units)
		take_units(judge, news);
	for (size_t i = 0; i < judge_n(judge); i++) {
		struct watch *watch = &judge->watches[i];

		if (!is_new && watch->method)
			continue;
		if (!news->is_blind)
			decide(judge, watch);
		watch->verdict = watch_verdict(judge, watch);
	}
}

nsec_t
judge_cut(const struct judge *judge)
{
	const struct calibration *calibration = &judge->calibration;
	unsigned shift = 0, bucket;

	if (!judge->has_latency || !calibration_is_usable(calibration))
		return 0;
	for (size_t i = 0; i < judge_n(judge); i++)
		if (judge->watches[i].guard->metric == GUARD_LATENCY)
			shift =
			    MAX(shift, MAX(judge->watches[i].shift[SIDE_FAIL],
			                   judge->watches[i].shift[SIDE_PASS]));
	/* beyond it every score that could be given is settled */
	bucket = calibration->edge[CLASS_P99 - 1] + shift;
	bucket = MIN(bucket, HISTOGRAM_BUCKETS - 2);
	return histogram_edge(bucket) + 1;
}

/* ---- verdicts ---- */

/*
 * A candidate that hangs has no failures yet: nothing is proven by answers
 * that did not come. Half of what the weight promised is far below what
 * chance would do at the counts that a proof needs.
 */
bool
watch_has_answers(const struct judge *judge, const struct watch *watch)
{
	const struct arm_sum *c = &judge->sum.arm[ARM_CANDIDATE];

	if (watch->guard->metric == GUARD_LATENCY &&
	    (double)c->n_latency < judge->expected_latency / 2)
		return false;
	return c->n > 0 && (double)c->n >= judge->expected / 2;
}

enum verdict
watch_verdict(const struct judge *judge, const struct watch *watch)
{
	if (watch->has_failed)
		return VERDICT_FAIL;
	if (!judge->is_comparing || !guard_can_be_proven(watch->guard) ||
	    !watch_has_answers(judge, watch))
		return VERDICT_UNDECIDED;
	return watch_is_proven(watch, judge->log_pass_needed)
	           ? VERDICT_PASS
	           : VERDICT_UNDECIDED;
}

enum verdict
judge_guard(const struct judge *judge, size_t guard)
{
	assert(guard < judge_n(judge));
	return judge->watches[guard].verdict;
}

/*
 * Without a baseline nothing can be compared, so nothing is left to prove: a
 * phase at 100 % is content with candidates that answer and no guard that
 * fails.
 */
enum verdict
judge_verdict(const struct judge *judge)
{
	enum verdict all = VERDICT_PASS;

	if (judge->weight[ARM_CANDIDATE] == 0 ||
	    judge->sum.arm[ARM_CANDIDATE].n == 0)
		all = VERDICT_UNDECIDED;
	for (size_t i = 0; i < judge_n(judge); i++) {
		const struct watch *watch = &judge->watches[i];
		enum verdict one;

		if (watch->guard->action != ACTION_ROLLBACK)
			continue;
		one = watch->verdict;
		if (one == VERDICT_FAIL)
			return VERDICT_FAIL;
		if (one != VERDICT_PASS && judge->is_comparing &&
		    guard_can_be_proven(watch->guard))
			all = VERDICT_UNDECIDED;
	}
	return all;
}
