/*
 * What the judge found, in numbers and in a sentence, for people and for the
 * audit log. Nothing here decides: intervals are the usual ones for one look
 * (Newcombe, Katz, binomial ranks), times to go are extrapolations.
 */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>

#include "routing/judge/watch.h"

#define Z95 1.959964
enum {
	LATENCIES_ENOUGH = 200, /* of the phase, to foresee with */
	EXPECTED_ENOUGH = 20,   /* units, to miss half of them */
};

/* ---- intervals ---- */

struct interval {
	double estimate, low, high;
};

static struct interval
wilson(double k, double n)
{
	double p = k / n, z2 = Z95 * Z95;
	double middle = (p + z2 / (2 * n)) / (1 + z2 / n);
	double half =
	    Z95 / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n));

	return (struct interval){
	    p, fmax(middle - half, 0), fmin(middle + half, 1)};
}

/* Newcombe's difference of two Wilson intervals. */
static struct interval
difference_of(struct interval c, struct interval b)
{
	double d = c.estimate - b.estimate;

	return (struct interval){d,
	    d - hypot(c.estimate - c.low, b.high - b.estimate),
	    d + hypot(c.high - c.estimate, b.estimate - b.low)};
}

static struct interval
ratio_of(double kc, double nc, double kb, double nb)
{
	double ratio = (kc / nc) / (kb / nb);
	double wide = Z95 * sqrt(fmax(1 / (kc + 0.5) - 1 / (nc + 0.5) +
	                                  1 / (kb + 0.5) - 1 / (nb + 0.5),
	                        0));

	return (struct interval){ratio - 1,
	    (kc + 0.5) / (nc + 0.5) * (nb + 0.5) / (kb + 0.5) * exp(-wide) - 1,
	    (kc + 0.5) / (nc + 0.5) * (nb + 0.5) / (kb + 0.5) * exp(wide) - 1};
}

static void
put_interval(struct finding *out, struct interval interval, bool is_relative)
{
	out->has_increase = true;
	out->is_relative = is_relative;
	out->estimate = interval.estimate;
	out->low = interval.low;
	out->high = interval.high;
}

/* Failures may outnumber units for a moment where a unit is a client. */
static void
put_rates(struct finding *out, bool has_increase)
{
	double n[ARM_COUNT], k[ARM_COUNT];
	bool is_relative = out->guard->max_increase.kind == INCREASE_RELATIVE;

	for (int arm = 0; arm < ARM_COUNT; arm++) {
		n[arm] = (double)out->n[arm];
		k[arm] = (double)MIN(out->bad[arm], out->n[arm]);
		out->rate[arm] = n[arm] > 0 ? k[arm] / n[arm] : 0;
	}
	if (!has_increase || n[ARM_CANDIDATE] == 0 || n[ARM_BASELINE] == 0)
		return;
	if (is_relative && k[ARM_BASELINE] > 0)
		put_interval(out,
		    ratio_of(k[ARM_CANDIDATE], n[ARM_CANDIDATE],
		        k[ARM_BASELINE], n[ARM_BASELINE]),
		    true);
	else
		put_interval(out,
		    difference_of(wilson(k[ARM_CANDIDATE], n[ARM_CANDIDATE]),
		        wilson(k[ARM_BASELINE], n[ARM_BASELINE])),
		    false);
}

/* ---- latency ---- */

/* The value below which `rank` of the units lie, interpolated in its bucket. */
static double
value_at(const struct arm_sum *sum, double rank)
{
	double seen = 0;

	rank = fmin(rank, (double)sum->n_latency);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		double n = (double)sum->latency[i];

		if (n > 0 && seen + n >= rank) {
			double part = fmin(fmax((rank - seen) / n, 0), 1);

			return exp2(
			    HISTOGRAM_FIRST +
			    fmax((double)i - 1 + part, 0) / HISTOGRAM_SUBS);
		}
		seen += n;
	}
	return 0;
}

static double
quantile(const struct arm_sum *sum, double q, double deviations)
{
	double n = (double)sum->n_latency;
	double rank = q * n + deviations * Z95 * sqrt(n * q * (1 - q));

	return value_at(sum, fmin(fmax(rank, 0), n));
}

/* Where the bets won most: in the middle, or in a tail. */
static double
telling_quantile(const struct watch *watch)
{
	static const double at[] = {0.5, 0.95, 0.99};
	const struct method *method = watch->method;
	size_t best = 0;

	for (size_t i = 1; i < method->wealths[SIDE_FAIL]; i++)
		if (wealth_mean(&watch->wealth[SIDE_FAIL][i]) >
		    wealth_mean(&watch->wealth[SIDE_FAIL][best]) + 1)
			best = i;
	assert(best < sizeof(at) / sizeof(at[0]));
	return at[best];
}

static void
find_latency(
    const struct judge *judge, const struct watch *watch, struct finding *out)
{
	const struct arm_sum *c = &judge->sum.arm[ARM_CANDIDATE],
	                     *b = &judge->sum.arm[ARM_BASELINE];
	double q = telling_quantile(watch);

	for (int arm = 0; arm < ARM_COUNT; arm++) {
		const struct arm_sum *sum = &judge->sum.arm[arm];

		out->n[arm] = sum->n_latency;
		if (calibration_is_usable(&judge->calibration))
			for (unsigned i =
			         judge->calibration.edge[CLASS_P99 - 1] + 1;
			     i < HISTOGRAM_BUCKETS; i++)
				out->bad[arm] += sum->latency[i];
		out->p50[arm] = (nsec_t)quantile(sum, 0.5, 0);
		out->p95[arm] = (nsec_t)quantile(sum, 0.95, 0);
		out->p99[arm] = (nsec_t)quantile(sum, 0.99, 0);
	}
	put_rates(out, false);
	if (c->n_latency == 0 || b->n_latency == 0)
		return;
	put_interval(out,
	    (struct interval){quantile(c, q, 0) / quantile(b, q, 0) - 1,
	        quantile(c, q, -1) / quantile(b, q, 1) - 1,
	        quantile(c, q, 1) / quantile(b, q, -1) - 1},
	    true);
}

/* ---- the other kinds ---- */

static void
find_errors(const struct judge *judge, struct finding *out)
{
	for (int arm = 0; arm < ARM_COUNT; arm++) {
		out->n[arm] = judge->sum.arm[arm].n;
		out->bad[arm] = judge->sum.arm[arm].bad;
	}
	put_rates(out, true);
}

static void
shape_kind(unsigned shape, unsigned *first_out, unsigned *end_out)
{
	static const unsigned ends[] = {
	    SHAPE_STATUS, SHAPE_SIZE, SHAPE_TYPE, SHAPE_COUNT};
	int kind = 0;

	while (shape >= ends[kind + 1])
		kind++;
	*first_out = ends[kind];
	*end_out = ends[kind + 1];
}

static void
find_shape(
    const struct judge *judge, const struct watch *watch, struct finding *out)
{
	const struct wealth *wealth = watch->wealth[SIDE_FAIL];
	unsigned most = 0, first, end;

	for (unsigned i = 1; i < SHAPE_COUNT; i++)
		if (wealth_mean(&wealth[i]) > wealth_mean(&wealth[most]))
			most = i;
	shape_kind(most, &first, &end);
	for (int arm = 0; arm < ARM_COUNT; arm++) {
		out->bad[arm] = judge->sum.arm[arm].shape[most];
		for (unsigned i = first; i < end; i++)
			out->n[arm] += judge->sum.arm[arm].shape[i];
	}
	if (out->n[ARM_CANDIDATE] > 0)
		out->shape = shape_name(most);
	put_rates(out, true);
}

static void
find_rate(const struct watch *watch, struct finding *out)
{
	for (int arm = 0; arm < ARM_COUNT; arm++) {
		out->n[arm] = watch->window->sum.n[arm];
		out->bad[arm] = watch->window->sum.bad[arm];
	}
	put_rates(out, false);
}

static void
find_count(
    const struct judge *judge, const struct watch *watch, struct finding *out)
{
	out->test = COUNT_TEST;
	out->excess = count_of(watch);
	out->log_e = log1p(fmax(out->excess, 0));
	out->log_needed = log1p((double)watch->guard->max);
	if (watch->guard->metric == GUARD_SIGNAL)
		return;
	for (int arm = 0; arm < ARM_COUNT; arm++) {
		out->n[arm] = judge->rollout_n[arm];
		out->bad[arm] = judge->rollout_bad[arm];
	}
	put_rates(out, false);
}

/* ---- how much longer ---- */

/* What one request to the candidate adds to a bet of the pass side, if it is
   as good as the baseline. */
static double
growth_of_rate(
    const struct judge *judge, const struct odds *odds, int j, double rate)
{
	double w = judge->w;

	return ((1 - rate) * odds->good[j] + rate * w * odds->candidate[j] +
	           rate * (1 - w) * odds->baseline[j]) /
	       w;
}

static double
growth_of_latency(const struct judge *judge, const struct watch *watch, int j)
{
	const struct calibration *calibration = &judge->calibration;
	const struct arm_sum *b = &judge->sum.arm[ARM_BASELINE];
	const uint64_t *bucket =
	    b->n_latency >= LATENCIES_ENOUGH ? b->latency : calibration->bucket;
	double n = 0, sum = 0, w = judge->w;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		unsigned shift = watch->shift[SIDE_PASS];
		unsigned moved = i > shift ? i - shift : 0;
		const struct tables *tables = &watch->tables[SIDE_PASS];

		if (bucket[i] == 0)
			continue;
		n += (double)bucket[i];
		sum += (double)bucket[i] *
		       (w * tables->body[ARM_CANDIDATE]
		                        [calibration->class_of[moved]][j] +
		           (1 - w) * tables->body[ARM_BASELINE]
		                                 [calibration->class_of[i]][j]);
	}
	return n > 0 ? sum / n / w : 0;
}

static double
common_rate(const struct judge *judge, const struct watch *watch, size_t least)
{
	const struct arm_sum *arm = judge->sum.arm;
	unsigned first, end;
	double n = 1, k = 0.5;

	/* nothing was seen: as good as it can be, so that there is a number */
	if (arm[ARM_CANDIDATE].n + arm[ARM_BASELINE].n == 0)
		return 0;

	if (watch->method != &method_shape) {
		n += (double)arm[ARM_CANDIDATE].n + (double)arm[ARM_BASELINE].n;
		k += (double)arm[ARM_CANDIDATE].bad +
		     (double)arm[ARM_BASELINE].bad;
		return fmin(k / n, 1);
	}
	shape_kind((unsigned)least, &first, &end);
	for (int i = 0; i < ARM_COUNT; i++) {
		k += (double)arm[i].shape[least];
		for (unsigned s = first; s < end; s++)
			n += (double)arm[i].shape[s];
	}
	return k / n;
}

/* Requests to the candidate until the first bet reaches what is needed. */
static double
requests_to_go(const struct judge *judge, const struct watch *watch)
{
	size_t least = watch_least_proven(watch);
	const struct wealth *wealth = &watch->wealth[SIDE_PASS][least];
	const struct odds *odds = &watch->tables[SIDE_PASS].odds;
	double rate = common_rate(judge, watch, least), soonest = HUGE_VAL;

	for (int j = 0; j < BETS; j++) {
		double missing = judge->log_pass_needed - log(bet_shares[j]) -
		                 wealth->log[j];
		double growth = watch->method == &method_latency
		                    ? growth_of_latency(judge, watch, j)
		                    : growth_of_rate(judge, odds, j, rate);

		if (growth > 0)
			soonest = fmin(soonest, fmax(missing / growth, 1));
	}
	return soonest;
}

static void
find_progress(const struct judge *judge, const struct watch *watch, nsec_t now,
    struct finding *out)
{
	const struct arm_sum *c = &judge->sum.arm[ARM_CANDIDATE];
	bool is_latency = watch->method == &method_latency;
	double more = 0, rate;

	out->so_far = is_latency ? c->n_latency : c->n;
	if (out->verdict != VERDICT_UNDECIDED)
		return;
	if (judge->is_comparing && guard_can_be_proven(watch->guard) &&
	    !(is_latency && !calibration_is_usable(&judge->calibration)))
		more = requests_to_go(judge, watch);
	if (more > 1e15)
		more = 0;
	if (judge->min_requests > c->n)
		more = fmax(more, (double)(judge->min_requests - c->n));
	if (more == 0)
		return;
	out->of_about = out->so_far + (uint64_t)ceil(more);
	rate = (double)(c->n - MIN(judge->n_reweighed, c->n)) /
	       (double)MAX(now - judge->reweighed, 1);
	if (rate > 0)
		out->to_go = (nsec_t)fmin(more / rate, 4e18);
}

static const char *
find_why(const struct judge *judge, const struct watch *watch)
{
	bool is_latency = watch->method == &method_latency;
	bool is_comparing = watch->method && watch->method->is_comparing;

	if (judge->weight[ARM_CANDIDATE] == 0)
		return "no traffic";
	if (is_comparing && judge->weight[ARM_BASELINE] == 0)
		return "no baseline";
	if (watch->method && judge->sum.arm[ARM_CANDIDATE].n == 0 &&
	    judge->sum.arm[ARM_BASELINE].n == 0)
		return "no traffic";
	if (is_latency && !calibration_is_usable(&judge->calibration))
		return "calibrating";
	if (is_latency && (judge->first == INT64_MAX ||
	                      judge->now - judge->first < watch->guard->warmup))
		return "warming up";
	if (is_comparing && judge->expected >= EXPECTED_ENOUGH &&
	    !watch_has_answers(judge, watch))
		return "answers are missing";
	return "";
}

/* ---- a finding ---- */

static void
find_weights(const struct judge *judge, struct finding *out)
{
	double w = judge->weight[ARM_CANDIDATE] > 0;

	if (judge->is_comparing)
		w = judge->w;
	out->weight[ARM_CANDIDATE] = w;
	out->weight[ARM_BASELINE] = 1 - w;
}

static void
find_bets(
    const struct judge *judge, const struct watch *watch, struct finding *out)
{
	out->test = watch->method->test;
	out->alpha = judge->alpha;
	out->log_e = watch_log_e(watch);
	out->log_needed = judge->log_needed;
	if (guard_can_be_proven(watch->guard)) {
		out->log_pass = watch_log_pass(watch);
		out->log_pass_needed = judge->log_pass_needed;
	}
}

void
judge_finding(
    const struct judge *judge, size_t guard, nsec_t now, struct finding *out)
{
	const struct watch *watch = &judge->watches[guard];

	assert(guard < judge_n(judge));
	*out = (struct finding){
	    .guard = watch->guard,
	    .verdict = watch_verdict(judge, watch),
	    .why = "",
	};
	find_weights(judge, out);
	if (watch->method)
		find_bets(judge, watch, out);
	if (watch->method == NULL)
		find_count(judge, watch, out);
	else if (watch->method == &method_rate)
		find_rate(watch, out);
	else if (watch->method == &method_latency)
		find_latency(judge, watch, out);
	else if (watch->method == &method_shape)
		find_shape(judge, watch, out);
	else
		find_errors(judge, out);
	if (watch->method && watch->method->is_comparing)
		find_progress(judge, watch, now, out);
	if (out->verdict == VERDICT_UNDECIDED)
		out->why = find_why(judge, watch);
}
