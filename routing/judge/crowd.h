/*
 * Synthetic traffic as counters: what the two arms of a split would show for
 * so many requests, drawn at random. No request is made one by one where a
 * binomial or multinomial draw gives the same distribution, so hours of
 * traffic cost milliseconds. For simulations and tests; the same seed gives
 * the same numbers.
 */
#ifndef WEIR_ROUTING_CROWD_H
#define WEIR_ROUTING_CROWD_H

#include "routing/decide.h"
#include "routing/evidence.h"

/* How often something with probability `p` happens in `n` tries; exact. */
uint64_t draw_binomial(struct rng *rng, uint64_t n, double p);
/* A binomial number of 2^40 tries: the difference is below what a double shows. mean < 1e9 */
uint64_t draw_poisson(struct rng *rng, double mean);
double draw_uniform(struct rng *rng); /* 0 < x < 1 */

/* What one arm does to its requests. */
struct mood {
	double errors; /* probability of a failure */
	double hangs;  /* of an answer that never comes: seen by its age alone */
	/* chances of the latency buckets, see mood_latency */
	double latency[HISTOGRAM_BUCKETS];
	unsigned first, last; /* buckets with a chance above 0; first > last: none is measured */
	int moved;            /* all latencies by so many buckets: weather */
	float keep[HISTOGRAM_BUCKETS]; /* the same chances as an alias table */
	uint16_t alias[HISTOGRAM_BUCKETS];
	double shape[SHAPE_COUNT]; /* of answers that did not fail; each kind sums to 1 */
};
/* Log-normal, `sigma` of the logarithm; 0 is one value. All 200, 4 to 16 KiB of JSON. */
void mood_init(struct mood *mood, double errors, nsec_t median, double sigma);
/* No latencies are drawn: nobody judges them. */
void mood_unmeasure(struct mood *mood);
/* A share of the answers takes `factor` times as long. */
void mood_slow(struct mood *mood, double factor, double share);

/*
 * Adds what `n` requests show when each is the candidate's with probability
 * `w`. Hanging ones enter the histogram at `cut` if that is not 0, and no
 * other count.
 */
void crowd_draw(const struct mood mood[ARM_COUNT], uint64_t n, double w,
    nsec_t cut, struct rng *rng, struct evidence_sum *out);

#endif
