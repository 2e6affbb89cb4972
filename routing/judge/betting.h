/*
 * Testing by betting. A bet puts a share of its wealth on "the candidate is
 * worse"; where that is false its wealth is a fair game or a losing one, so
 * it ever multiplies by 1/alpha with probability alpha at most, whenever one
 * looks (Ville). How bad a regression is and when it begins is unknown:
 * wealth is spread over eight stakes, and part of it enters late.
 *
 * All in logarithms: wealth of 1e-4000 and of 1e4000 are ordinary here.
 */
#ifndef WEIR_ROUTING_BETTING_H
#define WEIR_ROUTING_BETTING_H

#include <stdbool.h>
#include <stddef.h>

#include "config/units.h"

/* ---- stakes ---- */

enum { BETS = 8 };
/*
 * Parts of the largest stake that cannot go bankrupt, and what share of the
 * wealth is bet at each: most where an increase by some points over a rate of
 * a percent or less is found soonest, enough at the end for a dead candidate.
 */
extern const double bet_stakes[BETS], bet_shares[BETS];

/* What one unit does to the logarithm of each bet's wealth. */
struct odds {
	double good[BETS];      /* a unit that did not fail, of either arm */
	double candidate[BETS]; /* a failure of the candidate */
	double baseline[BETS];  /* of the baseline */
};
/*
 * Against "candidate <= ratio * baseline + difference". `w` is the probability
 * of the candidate, strictly between 0 and 1.
 */
void odds_against(
    struct odds *odds, double w, double ratio, double difference);
/* Against "candidate >= ratio * baseline + difference": what is won proves that it is better than that. */
void odds_for(struct odds *odds, double w, double ratio, double difference);
/* Against "rate <= limit", one sample: failures are `candidate`, 0 < limit < 1. */
void odds_above(struct odds *odds, double limit);

/* The same for one stake, any of 0..1: planning searches for the best. */
struct odd {
	double good, candidate, baseline;
};
struct odd odd_against(double stake, double w, double ratio, double difference);
struct odd odd_for(double stake, double w, double ratio, double difference);
struct odd odd_above(double stake, double limit);

/* ---- wealth ---- */

struct wealth {
	double log[BETS];
};
void wealth_begin(struct wealth *wealth, double mass); /* mass 0: nothing yet */
void wealth_enter(struct wealth *wealth, double mass); /* more comes in */
static inline void
wealth_bet(struct wealth *wealth, const struct odds *odds, double good,
    double candidate, double baseline)
{
	for (int j = 0; j < BETS; j++)
		wealth->log[j] += good * odds->good[j] +
		    candidate * odds->candidate[j] +
		    baseline * odds->baseline[j];
}
double wealth_max(const struct wealth *wealth);
double wealth_mean(const struct wealth *wealth); /* log of the mean over the bets, by their shares */
double log_add(double a, double b);              /* log(exp(a) + exp(b)) */

/* ---- when wealth enters ---- */

/*
 * Half at the beginning. Two fifths in equal parts at the 60ths of the
 * expected length; the last tenth after that, at distances that grow with the
 * age: guards go on at gates and in pauses, and a trail stays short.
 */
enum {
	CHECKPOINTS_ON_TIME = 60,
	CHECKPOINTS_LATE = 64,
	CHECKPOINTS = CHECKPOINTS_ON_TIME + CHECKPOINTS_LATE,
};
#define MASS_FIRST 0.5
double checkpoint_mass(unsigned i);                   /* i from 0 */
nsec_t checkpoint_age(unsigned i, nsec_t length);     /* age at which i comes */

/* ---- the trail ---- */

/*
 * The counters between two moments at which wealth entered or the odds
 * changed: within a row their order does not matter, so rows are all that is
 * needed to compute the wealth again. A row: the mass that entered before it,
 * the setting of the odds (a probability), then the counts.
 */
enum { TRAIL_MASS, TRAIL_SETTING, TRAIL_COUNTS, TRAIL_ROWS_MAX = 1024 };
struct trail {
	double *at; /* owned: [rows * columns] */
	size_t rows, room, columns;
	double mass;  /* entered since the last row */
	bool is_lost; /* more rows than TRAIL_ROWS_MAX: nothing can be recomputed */
};
void trail_begin(struct trail *trail, size_t counts, double mass);
void trail_release(struct trail *trail);
void trail_add(struct trail *trail, double setting, const double *counts);

#endif
