/*
 * Guards on failure rates.
 *
 * Comparing: failures of both arms, bet by "ipw-betting/1".
 *
 * Absolute: the rate itself against what is allowed, which is blind to
 * nothing that both arms share. A guard that rolls back judges the candidate
 * alone, since leaving it helps against nobody else's failures; one that holds
 * or observes averages the wealth of a bet on the candidate with that of one
 * on all traffic. It runs through the phases, fires while the window is above
 * the limit too, and begins anew when the window has come below it.
 */
#include <math.h>

#include "routing/judge/watch.h"

enum { N_CANDIDATE, BAD_CANDIDATE, N_BASELINE, BAD_BASELINE, RATE_COUNTS };
enum { WEALTH_CANDIDATE, WEALTH_ALL, RATE_WEALTHS };
enum {
	BEFORE_ENOUGH = 1000
}; /* requests that make a rate worth comparing with */

static bool
rate_gather(const struct judge *judge, const struct watch *watch,
    const struct evidence_sum *delta, double *fail, double *pass)
{
	const struct arm_sum *arm = delta->arm;

	(void)judge;
	(void)watch;
	pass[N_CANDIDATE] = fail[N_CANDIDATE] = (double)arm[ARM_CANDIDATE].n;
	pass[BAD_CANDIDATE] = fail[BAD_CANDIDATE] =
	    (double)arm[ARM_CANDIDATE].bad;
	pass[N_BASELINE] = fail[N_BASELINE] = (double)arm[ARM_BASELINE].n;
	pass[BAD_BASELINE] = fail[BAD_BASELINE] = (double)arm[ARM_BASELINE].bad;
	return true;
}

/* ---- comparing ---- */

static void
errors_prepare(struct tables *tables, const struct guard_cfg *guard,
    enum side side, double setting)
{
	double ratio, difference;

	guard_margin(guard, side, &ratio, &difference);
	if (side == SIDE_FAIL)
		odds_against(&tables->odds, setting, ratio, difference);
	else
		odds_for(&tables->odds, setting, ratio, difference);
}

static double
errors_prior(const struct guard_cfg *guard, size_t wealth)
{
	(void)guard;
	(void)wealth;
	return 1;
}

static void
errors_bet(const struct tables *tables, enum side side, const double *counts,
    struct wealth *wealth)
{
	double good = counts[N_CANDIDATE] + counts[N_BASELINE] -
	              counts[BAD_CANDIDATE] - counts[BAD_BASELINE];

	(void)side;
	wealth_bet(wealth, &tables->odds, good, counts[BAD_CANDIDATE],
	    counts[BAD_BASELINE]);
}

const struct method method_errors = {
    .test = "ipw-betting/1",
    .counts = RATE_COUNTS,
    .wealths = {1, 1},
    .is_comparing = true,
    .stride = 1,
    .prepare = errors_prepare,
    .prior = errors_prior,
    .bet = errors_bet,
    .gather = rate_gather,
};

/* ---- absolute ---- */

bool
rate_counts_all(const struct guard_cfg *guard)
{
	return guard->action != ACTION_ROLLBACK;
}

static void
rate_prepare(struct tables *tables, const struct guard_cfg *guard,
    enum side side, double setting)
{
	(void)guard;
	(void)side;
	odds_above(&tables->odds, setting);
}

static double
rate_prior(const struct guard_cfg *guard, size_t wealth)
{
	if (rate_counts_all(guard))
		return 1.0 / RATE_WEALTHS;
	return wealth == WEALTH_CANDIDATE;
}

static void
rate_bet(const struct tables *tables, enum side side, const double *counts,
    struct wealth *wealth)
{
	double bad = counts[BAD_CANDIDATE] + counts[BAD_BASELINE];
	double n = counts[N_CANDIDATE] + counts[N_BASELINE];

	(void)side;
	wealth_bet(&wealth[WEALTH_CANDIDATE], &tables->odds,
	    counts[N_CANDIDATE] - counts[BAD_CANDIDATE], counts[BAD_CANDIDATE],
	    0);
	wealth_bet(&wealth[WEALTH_ALL], &tables->odds, n - bad, bad, 0);
}

const struct method method_rate = {
    .test = "one-sample-betting/1",
    .counts = RATE_COUNTS,
    .wealths = {RATE_WEALTHS, 0},
    .is_comparing = false,
    .stride = 1,
    .prepare = rate_prepare,
    .prior = rate_prior,
    .bet = rate_bet,
    .gather = rate_gather,
};

void
rate_limit_set(struct watch *watch, uint64_t before_n, uint64_t before_bad)
{
	double limit = watch->guard->max_rate;

	if (before_n >= BEFORE_ENOUGH)
		limit = fmax(limit, (double)before_bad / (double)before_n);
	watch->limit = fmin(fmax(limit, 1e-9), 0.9999);
	watch_set(watch, watch->limit);
}

static bool
is_above(uint64_t bad, uint64_t n, double limit)
{
	return n > 0 && (double)bad > limit * (double)n;
}

/* ... or was, and no answer has come since that says otherwise. */
static bool
window_is_above(const struct watch *watch)
{
	const struct window_slot *sum = &watch->window->sum;
	uint64_t n = sum->n[ARM_CANDIDATE] + sum->n[ARM_BASELINE];
	uint64_t bad = sum->bad[ARM_CANDIDATE] + sum->bad[ARM_BASELINE];

	if (n == 0)
		return watch->has_failed;
	if (is_above(
	        sum->bad[ARM_CANDIDATE], sum->n[ARM_CANDIDATE], watch->limit))
		return true;
	return rate_counts_all(watch->guard) && is_above(bad, n, watch->limit);
}

void
rate_decide(const struct judge *judge, struct watch *watch)
{
	double limit = watch->limit;

	if (!window_is_above(watch)) {
		if (!watch->has_failed)
			return;
		watch_begin(watch);
		watch_set(watch, limit);
	} else if (!watch->has_failed) {
		watch->has_failed = watch_exceeds(watch, judge->log_needed);
	}
}

/* ---- its window ---- */

void
window_turn(struct window *window, nsec_t now)
{
	nsec_t step = window->length / WINDOW_SLOTS + 1;

	if (window->length == 0 || now < window->turn)
		return;
	if (window->turn == 0 || now - window->turn >= window->length) {
		window->sum = (struct window_slot){0};
		for (int i = 0; i < WINDOW_SLOTS; i++)
			window->slot[i] = window->sum;
		window->turn = now + step;
		return;
	}
	while (now >= window->turn) {
		struct window_slot *oldest;

		window->at = (window->at + 1) % WINDOW_SLOTS;
		oldest = &window->slot[window->at];
		for (int arm = 0; arm < ARM_COUNT; arm++) {
			window->sum.n[arm] -= oldest->n[arm];
			window->sum.bad[arm] -= oldest->bad[arm];
		}
		*oldest = (struct window_slot){0};
		window->turn += step;
	}
}

static uint64_t
fitting(uint64_t sum, uint64_t more)
{
	return more < COUNT_MAX - sum ? more : COUNT_MAX - sum;
}

void
window_add(struct window *window, const struct evidence_sum *delta)
{
	struct window_slot *slot = &window->slot[window->at];
	struct window_slot *sum = &window->sum;

	for (int arm = 0; arm < ARM_COUNT; arm++) {
		uint64_t n = fitting(sum->n[arm], delta->arm[arm].n);
		uint64_t bad = fitting(sum->bad[arm], delta->arm[arm].bad);

		slot->n[arm] += n;
		sum->n[arm] += n;
		slot->bad[arm] += bad;
		sum->bad[arm] += bad;
	}
}

/* ---- from a trail ---- */

bool
judge_recount(const char *test, const double *trail, size_t n, size_t columns,
    uint64_t n_out[ARM_COUNT], uint64_t bad_out[ARM_COUNT])
{
	static const size_t n_at[ARM_COUNT] = {N_CANDIDATE, N_BASELINE};
	static const size_t bad_at[ARM_COUNT] = {BAD_CANDIDATE, BAD_BASELINE};

	if (test_method(test) != &method_errors ||
	    columns != TRAIL_COUNTS + RATE_COUNTS || n % columns != 0)
		return false;
	for (int arm = 0; arm < ARM_COUNT; arm++) {
		double units = 0, bad = 0;

		for (const double *row = trail; row < trail + n;
		     row += columns) {
			units += row[TRAIL_COUNTS + n_at[arm]];
			bad += row[TRAIL_COUNTS + bad_at[arm]];
		}
		if (!(units >= 0 && units <= (double)COUNT_MAX && bad >= 0 &&
		        bad <= (double)COUNT_MAX))
			return false;
		n_out[arm] = (uint64_t)units;
		bad_out[arm] = (uint64_t)bad;
	}
	return true;
}
