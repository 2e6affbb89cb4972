/*
 * Latency, by the order of answers and not by their size: a sequential
 * Mann-Whitney test. The baseline's histogram before the phase cuts latencies
 * into ten classes (eighths, the last one again at p95 and p99), and a class
 * is worth the middle of its share, centred. The score grows with the latency
 * and is fixed before it is used, which is all that validity needs: where the
 * candidate is no slower than the baseline times the tolerance, its answers
 * (moved down by that many buckets: "20 %" is four) score no more on average.
 *
 * Half of the wealth bets on the whole order, a quarter each on the shares
 * above p95 and above p99: a slow tail moves few ranks.
 *
 * Everything that is bet is a function of twenty counts, so a trail is short
 * and needs no histogram. An answer that is still owed at judge_cut() counts
 * as of the last class then, whatever it will be: all scores are settled.
 */
#include <math.h>
#include <string.h>
#include <sys/param.h>

#include "routing/judge/watch.h"

enum { WEALTH_BODY, WEALTH_P95, WEALTH_P99, LATENCY_WEALTHS };
enum { CALIBRATION_FIRST = 250 };

static const double class_end[CLASSES] = {
    0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 0.95, 0.99, 1};

/* Ranks are bounded, so good stakes are greater than for rare failures; in the
   order of bet_shares. */
static const double body_stakes[BETS] = {
    0.04, 0.12, 0.3, 0.45, 0.2, 0.07, 0.65, 0.95};

double
class_score(unsigned class)
{
	double begin = class > 0 ? class_end[class - 1] : 0;

	return (begin + class_end[class]) / 2 - 0.5;
}

/* A bucket is a 16th of an octave; a limit that is not a whole number of them
   is taken as the nearest, and the maximum is above the tolerance. */
unsigned
latency_shift(const struct guard_cfg *guard, enum side side)
{
	double ratio, difference, buckets;

	guard_margin(guard, side, &ratio, &difference);
	buckets = HISTOGRAM_SUBS * log2(ratio + difference);
	if (side == SIDE_FAIL)
		return (unsigned)fmin(lround(buckets), HISTOGRAM_BUCKETS - 1);
	return MAX((unsigned)fmin(floor(buckets), HISTOGRAM_BUCKETS - 1),
	    latency_shift(guard, SIDE_FAIL) + 1);
}

/* ---- calibration ---- */

static bool
is_full(const struct calibration *calibration)
{
	return calibration->settled >= JUDGE_CALIBRATION;
}

bool
calibration_is_usable(const struct calibration *calibration)
{
	return calibration->settled > 0;
}

/* What is known about the baseline: from before the phase, else from the
   phases before, else it is learned. */
void
calibration_begin(
    struct calibration *calibration, const struct histogram_sum *seen)
{
	bool is_enough = seen && seen->count >= JUDGE_CALIBRATION;

	if (is_full(calibration) && !is_enough)
		return;
	*calibration = (struct calibration){0};
	if (seen)
		calibration_learn(calibration, seen->bucket);
}

static void
set_classes(struct calibration *calibration)
{
	unsigned class = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		calibration->class_of[i] = (uint8_t) class;
		while (class < CLASSES - 1 && calibration->edge[class] <= i)
			class ++;
	}
}

static void
settle(struct calibration *calibration)
{
	double seen = 0, n = (double)calibration->n;
	unsigned class = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += (double)calibration->bucket[i];
		while (class < CLASSES - 1 && seen >= class_end[class] * n)
			calibration->edge[class ++] = i;
	}
	calibration->settled = calibration->n;
	set_classes(calibration);
}

/* Rough edges are good enough to begin with, since both arms are measured by
   them; better ones follow as their number doubles. */
void
calibration_learn(struct calibration *calibration, const uint64_t *bucket)
{
	uint64_t next = calibration->settled > 0
	                    ? MIN(2 * calibration->settled, JUDGE_CALIBRATION)
	                    : CALIBRATION_FIRST;

	if (is_full(calibration))
		return;
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t n = MIN(bucket[i], COUNT_MAX - calibration->n);

		calibration->bucket[i] += n;
		calibration->n += n;
	}
	if (calibration->n >= next)
		settle(calibration);
}

bool
calibration_restore(struct calibration *calibration)
{
	for (int i = 0; i < CLASSES - 1; i++)
		if (calibration->edge[i] >= HISTOGRAM_BUCKETS ||
		    (i > 0 && calibration->edge[i] < calibration->edge[i - 1]))
			return false;
	set_classes(calibration);
	return true;
}

/* ---- odds ---- */

double
latency_odd(
    double stake, double w, enum side side, enum arm arm, unsigned class)
{
	double lambda = fmin(stake, 0.9999) * 2 * fmin(w, 1 - w);
	double z = arm == ARM_CANDIDATE ? class_score(class) / w
	                                : -class_score(class) / (1 - w);

	return log1p(lambda * (side == SIDE_FAIL ? z : -z));
}

static void
latency_prepare(struct tables *tables, const struct guard_cfg *guard,
    enum side side, double setting)
{
	(void)guard;
	odds_against(&tables->odds, setting, 1, 0);
	for (int arm = 0; arm < ARM_COUNT; arm++)
		for (unsigned class = 0; class < CLASSES; class ++)
			for (int j = 0; j < BETS; j++)
				tables->body[arm][class][j] = latency_odd(
				    body_stakes[j], setting, side, arm, class);
}

static double
latency_prior(const struct guard_cfg *guard, size_t wealth)
{
	(void)guard;
	return wealth == WEALTH_BODY ? 0.5 : 0.25;
}

static void
bet_body(
    const struct tables *tables, const double *counts, struct wealth *wealth)
{
	for (int arm = 0; arm < ARM_COUNT; arm++)
		for (int class = 0; class < CLASSES; class ++) {
			double n = counts[arm * CLASSES + class];

			for (int j = 0; n > 0 && j < BETS; j++)
				wealth->log[j] +=
				    n * tables->body[arm][class][j];
		}
}

/* With a tolerance of no difference a unit that is not slow changes nothing. */
static void
bet_tail(const struct tables *tables, const double *counts, unsigned from,
    struct wealth *wealth)
{
	double slow[ARM_COUNT] = {0};

	for (int arm = 0; arm < ARM_COUNT; arm++)
		for (unsigned class = from; class < CLASSES; class ++)
			slow[arm] += counts[arm * CLASSES + class];
	wealth_bet(
	    wealth, &tables->odds, 0, slow[ARM_CANDIDATE], slow[ARM_BASELINE]);
}

static void
latency_bet(const struct tables *tables, enum side side, const double *counts,
    struct wealth *wealth)
{
	bet_body(tables, counts, &wealth[WEALTH_BODY]);
	if (side == SIDE_PASS)
		return;
	bet_tail(tables, counts, CLASS_P95, &wealth[WEALTH_P95]);
	bet_tail(tables, counts, CLASS_P99, &wealth[WEALTH_P99]);
}

/* ---- counts ---- */

static bool
is_warm(const struct judge *judge, const struct guard_cfg *guard)
{
	return judge->first != INT64_MAX &&
	       judge->now - judge->first >= guard->warmup;
}

static void
classify(const struct judge *judge, const struct evidence_sum *delta,
    enum arm arm, unsigned shift, double *counts)
{
	const struct filled *filled = &judge->filled[arm];

	for (unsigned i = 0; i < filled->n; i++) {
		unsigned bucket = filled->at[i];
		unsigned moved = bucket > shift ? bucket - shift : 0;

		counts[arm * CLASSES + judge->calibration.class_of[moved]] +=
		    (double)delta->arm[arm].latency[bucket];
	}
}

static bool
latency_gather(const struct judge *judge, const struct watch *watch,
    const struct evidence_sum *delta, double *fail, double *pass)
{
	double *baseline = fail + ARM_BASELINE * CLASSES;

	if (!calibration_is_usable(&judge->calibration) ||
	    !is_warm(judge, watch->guard))
		return false;
	classify(judge, delta, ARM_CANDIDATE, watch->shift[SIDE_FAIL], fail);
	classify(judge, delta, ARM_CANDIDATE, watch->shift[SIDE_PASS], pass);
	classify(judge, delta, ARM_BASELINE, 0, fail);
	memcpy(
	    pass + ARM_BASELINE * CLASSES, baseline, CLASSES * sizeof(*pass));
	return judge->filled[ARM_CANDIDATE].n + judge->filled[ARM_BASELINE].n >
	       0;
}

const struct method method_latency = {
    .test = "ipw-latency/1",
    .counts = ARM_COUNT * CLASSES,
    .wealths = {LATENCY_WEALTHS, 1},
    .is_comparing = true,
    .stride = 1,
    .prepare = latency_prepare,
    .prior = latency_prior,
    .bet = latency_bet,
    .gather = latency_gather,
};
