/*
 * What a phase can see, before it begins. Wald: a bet that grows by g a
 * request on average reaches what is needed after needed / g of them, at the
 * best stake; not knowing the stake and the moment costs ln(BETS / MASS_FIRST)
 * more.
 */
#include <assert.h>
#include <math.h>
#include <sys/param.h>

#include "routing/judge/watch.h"

/* One guard at one phase's weights. */
struct outlook {
	const struct guard_cfg *guard;
	double w; /* of the candidate within the arms; 1 without a baseline */
	double base;   /* failure rate */
	double sigma;  /* of the logarithm of the latency */
	double needed; /* to fail, with the price of not knowing */
};

/* ---- growth at a stake, for one request of either arm ---- */

typedef double growth_fn(
    const struct outlook *outlook, double increase, double stake);

static double
growth_of(const struct odd *odd, double w, double candidate, double baseline)
{
	double c = w * candidate, b = (1 - w) * baseline;

	return c * odd->candidate + b * odd->baseline + (1 - c - b) * odd->good;
}

static double
worse_rate(const struct outlook *outlook, double increase)
{
	bool is_relative =
	    outlook->guard->max_increase.kind == INCREASE_RELATIVE;

	return fmin(is_relative ? outlook->base * (1 + increase)
	                        : outlook->base + increase,
	    1);
}

static double
errors_growth(const struct outlook *outlook, double increase, double stake)
{
	double ratio, difference;
	struct odd odd;

	guard_margin(outlook->guard, SIDE_FAIL, &ratio, &difference);
	odd = odd_against(stake, outlook->w, ratio, difference);
	return growth_of(
	    &odd, outlook->w, worse_rate(outlook, increase), outlook->base);
}

static double
errors_pass_growth(const struct outlook *outlook, double increase, double stake)
{
	double ratio, difference;
	struct odd odd;

	(void)increase;
	guard_margin(outlook->guard, SIDE_PASS, &ratio, &difference);
	odd = odd_for(stake, outlook->w, ratio, difference);
	return growth_of(&odd, outlook->w, outlook->base, outlook->base);
}

/* The candidate alone, whatever the baseline does. */
static double
rate_growth(const struct outlook *outlook, double increase, double stake)
{
	double limit = fmin(outlook->guard->max_rate, 0.9999);
	double rate = worse_rate(outlook, increase);
	struct odd odd = odd_above(stake, limit);

	return outlook->w * (rate * odd.candidate + (1 - rate) * odd.good);
}

/* Shares of the classes when all logarithms move by `by`, in sigmas. */
static void
class_shares(double by, double *out)
{
	/* normal quantiles of the classes' ends */
	static const double ends[CLASSES - 1] = {-1.150349, -0.674490,
	    -0.318639, 0, 0.318639, 0.674490, 1.150349, 1.644854, 2.326348};
	double below = 0;

	for (int i = 0; i < CLASSES; i++) {
		double up_to =
		    i < CLASSES - 1 ? erfc((by - ends[i]) * M_SQRT1_2) / 2 : 1;

		out[i] = up_to - below;
		below = up_to;
	}
}

/* What is tolerated is taken off first: the candidate's buckets are moved. */
static double
shift_of(const struct outlook *outlook, double increase, enum side side)
{
	double behind =
	    latency_shift(outlook->guard, side) * M_LN2 / HISTOGRAM_SUBS;

	return (log1p(increase) - behind) / fmax(outlook->sigma, 0.01);
}

static double
body_growth(
    const struct outlook *outlook, double shift, enum side side, double stake)
{
	double share[ARM_COUNT][CLASSES], w = outlook->w, sum = 0;

	class_shares(shift, share[ARM_CANDIDATE]);
	class_shares(0, share[ARM_BASELINE]);
	for (unsigned i = 0; i < CLASSES; i++)
		sum += w * share[ARM_CANDIDATE][i] *
		           latency_odd(stake, w, side, ARM_CANDIDATE, i) +
		       (1 - w) * share[ARM_BASELINE][i] *
		           latency_odd(stake, w, side, ARM_BASELINE, i);
	return sum;
}

static double
latency_growth(const struct outlook *outlook, double increase, double stake)
{
	return body_growth(
	    outlook, shift_of(outlook, increase, SIDE_FAIL), SIDE_FAIL, stake);
}

static double
latency_pass_growth(
    const struct outlook *outlook, double increase, double stake)
{
	(void)increase;
	return body_growth(
	    outlook, shift_of(outlook, 0, SIDE_PASS), SIDE_PASS, stake);
}

/* ---- requests ---- */

static double
requests_at(const struct outlook *outlook, growth_fn *growth, double increase,
    double needed)
{
	double best = 0;

	for (double stake = 0.002; stake < 1; stake *= 1.03)
		best = fmax(best, growth(outlook, increase, stake));
	return best > 0 ? needed / best : HUGE_VAL;
}

/* The smallest increase that `requests` show on average. */
static double
smallest_seen(const struct outlook *outlook, growth_fn *growth, double most,
    double requests)
{
	double low = 0, high = most;

	if (requests_at(outlook, growth, high, outlook->needed) > requests)
		return HUGE_VAL;
	for (int i = 0; i < 40 && high - low > 1e-3 * high; i++) {
		double middle = (low + high) / 2;

		if (requests_at(outlook, growth, middle, outlook->needed) >
		    requests)
			low = middle;
		else
			high = middle;
	}
	return high;
}

/* The increase that is asked about: a shape guard may name none. */
static double
limit_of(const struct guard_cfg *guard)
{
	double ratio, difference;

	if (guard->max_increase.kind != INCREASE_NONE)
		return guard->max_increase.by;
	guard_margin(guard, SIDE_FAIL, &ratio, &difference);
	return 4 * (ratio - 1 + difference);
}

/* Above the greatest there is nothing to see. */
static double
most_of(const struct outlook *outlook)
{
	if (outlook->guard->metric == GUARD_LATENCY)
		return 100;
	if (outlook->guard->max_increase.kind == INCREASE_RELATIVE)
		return outlook->base > 0 ? 1 / outlook->base - 1 : 0;
	return 1 - outlook->base;
}

static void
foresee_comparing(const struct outlook *outlook, double requests,
    double pass_needed, struct judge_forecast *out)
{
	const struct guard_cfg *guard = outlook->guard;
	bool is_latency = guard->metric == GUARD_LATENCY;
	growth_fn *fail = is_latency ? latency_growth : errors_growth;
	growth_fn *pass = is_latency ? latency_pass_growth : errors_pass_growth;

	out->requests =
	    requests_at(outlook, fail, limit_of(guard), outlook->needed);
	out->smallest =
	    smallest_seen(outlook, fail, most_of(outlook), requests);
	if (guard_can_be_proven(guard))
		out->requests_to_pass =
		    requests_at(outlook, pass, 0, pass_needed);
}

/* An absolute guard is asked about twice the rate that it allows. */
static void
foresee_rate(
    const struct outlook *outlook, double requests, struct judge_forecast *out)
{
	double twice = fmax(2 * outlook->guard->max_rate - outlook->base, 0);

	out->requests =
	    requests_at(outlook, rate_growth, twice, outlook->needed);
	out->smallest =
	    smallest_seen(outlook, rate_growth, most_of(outlook), requests);
}

/* A fuse, about a candidate that always fails. */
static void
foresee_fuse(
    const struct outlook *outlook, double requests, struct judge_forecast *out)
{
	double failures = (double)outlook->guard->max + 1;
	double candidates = requests * outlook->w;

	out->requests = failures / fmax(1 - outlook->base, 1e-9) / outlook->w;
	if (candidates * (1 - outlook->base) >= failures)
		out->smallest = failures / candidates;
}

/* What it costs not to know where among the averaged wealths to look. */
static double
prior_price(const struct guard_cfg *guard)
{
	switch (guard->metric) {
	case GUARD_LATENCY:
		return log(2);
	case GUARD_SHAPE:
		return log(SHAPE_COUNT);
	case GUARD_ERRORS:
		return guard->max_rate > 0 && rate_counts_all(guard) ? log(2)
		                                                     : 0;
	case GUARD_EXCESS_FAILURES:
	case GUARD_SIGNAL:
		break;
	}
	return 0;
}

void
judge_foresee(const struct plan_cfg *plan, size_t guard,
    const struct judge_phase *phase, double rate, double base, double sigma,
    struct judge_forecast *out)
{
	const struct guard_cfg *cfg = &plan->guards[guard];
	const struct method *method = guard_method(cfg);
	double price = log(BETS) - log(MASS_FIRST) + prior_price(cfg);
	double requests = rate * (double)phase->length / NSEC_PER_SEC;
	struct outlook outlook = {.guard = cfg,
	    .w = phase->candidate > 0 ? (double)phase->candidate /
	                                    (phase->candidate + phase->baseline)
	                              : 0,
	    .base = fmin(fmax(base, 0), 1),
	    .sigma = sigma,
	    .needed = price - log(judge_alpha(plan))};

	assert(guard < plan->n_guards);
	*out = (struct judge_forecast){.candidate_requests = HUGE_VAL,
	    .requests = HUGE_VAL,
	    .smallest = HUGE_VAL,
	    .requests_to_pass = HUGE_VAL};
	if (outlook.w == 0 ||
	    (outlook.w == 1 && method && method->is_comparing))
		return;
	if (cfg->metric == GUARD_SIGNAL) {
		out->can_fire = true;
		return;
	}
	if (method == NULL)
		foresee_fuse(&outlook, requests, out);
	else if (method == &method_rate)
		foresee_rate(&outlook, requests, out);
	else
		foresee_comparing(
		    &outlook, requests, log(BETS) - log(plan->false_pass), out);
	out->candidate_requests = out->requests * outlook.w;
	out->can_fire = out->requests <= requests;
}
