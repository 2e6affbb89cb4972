/*
 * The arithmetic of betting.h. A unit i scores
 *
 *	Z = Y (1{candidate} / w  -  ratio 1{baseline} / (1 - w))  -  difference
 *
 * where Y says whether it failed. Because the arm is drawn at random,
 * E[Z | past] <= 0 whenever the candidate's rate is at most ratio times the
 * baseline's plus difference, whatever the rates do in time. A stake lambda
 * multiplies its wealth by 1 + lambda Z, which needs lambda below the inverse
 * of the largest loss.
 */
#include "routing/judge/betting.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "routing/memory.h"

const double bet_stakes[BETS] = {
    0.006, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 0.95};
const double bet_shares[BETS] = {
    0.0875, 0.125, 0.175, 0.2, 0.125, 0.075, 0.0875, 0.125};

/* A stake of 1 would lose everything; what is left after it has no logarithm.
 */
static double
stake_below_all(double stake)
{
	return fmin(stake, 0.9999);
}

struct odd
odd_against(double stake, double w, double ratio, double difference)
{
	double loss = ratio / (1 - w) + difference;
	double lambda = stake_below_all(stake) / loss;

	assert(w > 0 && w < 1 && ratio > 0 && difference >= 0);
	return (struct odd){
	    .good = log1p(-lambda * difference),
	    .candidate = log1p(lambda * fmax(1 / w - difference, 0)),
	    .baseline = log1p(-lambda * loss),
	};
}

struct odd
odd_for(double stake, double w, double ratio, double difference)
{
	double loss = fmax(1 / w - difference, 1e-9);
	double lambda = stake_below_all(stake) / loss;

	assert(w > 0 && w < 1 && ratio > 0 && difference >= 0);
	return (struct odd){
	    .good = log1p(lambda * difference),
	    .candidate = log1p(-lambda * loss),
	    .baseline = log1p(lambda * (ratio / (1 - w) + difference)),
	};
}

struct odd
odd_above(double stake, double limit)
{
	double lambda = stake_below_all(stake) / limit;

	assert(limit > 0 && limit < 1);
	return (struct odd){
	    .good = log1p(-lambda * limit),
	    .candidate = log1p(lambda * (1 - limit)),
	};
}

static void
odds_put(struct odds *odds, int j, struct odd odd)
{
	odds->good[j] = odd.good;
	odds->candidate[j] = odd.candidate;
	odds->baseline[j] = odd.baseline;
}

void
odds_against(struct odds *odds, double w, double ratio, double difference)
{
	for (int j = 0; j < BETS; j++)
		odds_put(
		    odds, j, odd_against(bet_stakes[j], w, ratio, difference));
}

void
odds_for(struct odds *odds, double w, double ratio, double difference)
{
	for (int j = 0; j < BETS; j++)
		odds_put(odds, j, odd_for(bet_stakes[j], w, ratio, difference));
}

void
odds_above(struct odds *odds, double limit)
{
	for (int j = 0; j < BETS; j++)
		odds_put(odds, j, odd_above(bet_stakes[j], limit));
}

/* ---- wealth ---- */

double
log_add(double a, double b)
{
	double more = fmax(a, b), less = fmin(a, b);

	return isinf(more) ? more : more + log1p(exp(less - more));
}

void
wealth_begin(struct wealth *wealth, double mass)
{
	for (int j = 0; j < BETS; j++)
		wealth->log[j] = log(mass);
}

void
wealth_enter(struct wealth *wealth, double mass)
{
	double more = log(mass);

	for (int j = 0; j < BETS; j++)
		wealth->log[j] = log_add(wealth->log[j], more);
}

double
wealth_max(const struct wealth *wealth)
{
	double max = wealth->log[0];

	for (int j = 1; j < BETS; j++)
		max = wealth->log[j] > max ? wealth->log[j] : max;
	return max;
}

double
wealth_mean(const struct wealth *wealth)
{
	double max = wealth_max(wealth), sum = 0;

	if (isinf(max))
		return max;
	for (int j = 0; j < BETS; j++)
		sum += bet_shares[j] * exp(wealth->log[j] - max);
	return max + log(sum);
}

/* ---- when wealth enters ---- */

double
checkpoint_mass(unsigned i)
{
	assert(i < CHECKPOINTS);
	if (i < CHECKPOINTS_ON_TIME)
		return 0.4 / CHECKPOINTS_ON_TIME;
	return (1 - MASS_FIRST - 0.4) / CHECKPOINTS_LATE;
}

nsec_t
checkpoint_age(unsigned i, nsec_t length)
{
	double part;

	assert(i < CHECKPOINTS && length > 0);
	if (i < CHECKPOINTS_ON_TIME)
		part = (double)(i + 1) / (CHECKPOINTS_ON_TIME + 1);
	else
		part = pow(1.0 + 1.0 / 16, i - CHECKPOINTS_ON_TIME);
	return (nsec_t)fmin(part * (double)length, 4e18);
}

/* ---- the trail ---- */

void
trail_begin(struct trail *trail, size_t counts, double mass)
{
	trail->columns = TRAIL_COUNTS + counts;
	trail->rows = 0;
	trail->mass = mass;
	trail->is_lost = false;
}

void
trail_release(struct trail *trail)
{
	free(trail->at);
	*trail = (struct trail){0};
}

static bool
goes_on(const struct trail *trail, double setting)
{
	const double *last;

	if (trail->rows == 0 || trail->mass != 0)
		return false;
	last = trail->at + (trail->rows - 1) * trail->columns;
	return last[TRAIL_SETTING] == setting;
}

static void
trail_grow(struct trail *trail)
{
	trail->room = trail->room > 0 ? trail->room * 2 : 4;
	trail->at = realloc(
	    trail->at, trail->room * trail->columns * sizeof(*trail->at));
	assert(trail->at != NULL);
}

/* NULL: no room for more. */
static double *
trail_row(struct trail *trail, double setting)
{
	double *row;

	if (!goes_on(trail, setting)) {
		if (trail->rows == TRAIL_ROWS_MAX) {
			trail->is_lost = true;
			return NULL;
		}
		if (trail->rows == trail->room)
			trail_grow(trail);
		row = trail->at + trail->rows++ * trail->columns;
		memset(row, 0, trail->columns * sizeof(*row));
		row[TRAIL_MASS] = trail->mass;
		row[TRAIL_SETTING] = setting;
		trail->mass = 0;
	}
	return trail->at + (trail->rows - 1) * trail->columns;
}

void
trail_add(struct trail *trail, double setting, const double *counts)
{
	double *row = trail_row(trail, setting);

	for (size_t i = TRAIL_COUNTS; row && i < trail->columns; i++)
		row[i] += counts[i - TRAIL_COUNTS];
}
