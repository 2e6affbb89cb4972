/*
 * A ramp is a staircase: the judge's tables hold for one pair of weights, so
 * a ramp takes at most ROLLOUT_RAMP_STEPS of them and stands still between.
 */
#include "routing/rollout.h"

bp_t
ramp_weight(bp_t from, bp_t to, nsec_t ran, nsec_t length)
{
	int distance = (int)to - (int)from;
	int64_t steps = distance < 0 ? -distance : distance;

	if (ran >= length || steps == 0)
		return to;
	if (ran <= 0)
		return from;
	if (steps > ROLLOUT_RAMP_STEPS)
		steps = ROLLOUT_RAMP_STEPS;
	/* A ramp is a week at most: 32 times that is far from 2^63 ns. */
	return (
	    bp_t)((int64_t)from + distance * (ran * steps / length) / steps);
}
