/*
 * How many requests a pool answers well at once, found out from how long its
 * answers take. Pure: time and measurements are arguments.
 *
 *   START   from `min` the limit grows by 70 % with each window, until answers
 *           get slower
 *   STEADY  limit -> limit * gradient + sqrt(limit), a fifth of the way with
 *           each window; gradient = tolerance * usual / latest, 0.5 to 1: what
 *           is added is a small queue, which shows whether there is more to get
 *   PROBE   now and then: the limit is halved for as long as that makes answers
 *           faster; the fastest are the usual ones, then the limit is as it was
 *
 * The usual latency is what answers take when few are asked for: the least
 * seen, and what is seen with no more in flight than then. Under a lasting load
 * only a probe can tell whether it is still true; it comes when that was not
 * seen for PATIENCE, or for less when the limit has fallen by half, and once soon
 * after the start: what was met there may have been an overload. The moment
 * is jittered by the seed, so that not all instances probe at once.
 *
 * While less than half of the limit is in use it does not move, and it grows
 * only while nearly all of it is.
 */
#ifndef WEIR_ROUTING_GRADIENT_H
#define WEIR_ROUTING_GRADIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "config/units.h"

struct gradient_cfg {
	uint32_t min, max;
	double tolerance; /* 1.5: answers may take half as long again as usual */
};

/* Since the last step. */
struct gradient_sample {
	uint32_t in_flight; /* now */
	bool is_pressed;    /* somebody waited, or was refused */
	uint64_t n;         /* answers, */
	double sum;         /* and how long they took together, ns */
};

enum gradient_state { GRADIENT_START, GRADIENT_STEADY, GRADIENT_PROBE };

struct gradient {
	enum gradient_state state;
	double limit;
	double latest, smooth, usual; /* ns; 0: not known */
	uint32_t usual_peak;          /* in flight, when answers took no longer */
	bool was_slow;                /* START: the last window */
	uint64_t probes, samples;
	uint64_t seed;
	/* the window that is being filled */
	nsec_t window_at;
	uint64_t n;
	double sum;
	uint32_t peak;
	bool was_pressed, is_open;
	/* how sure is `usual`? */
	nsec_t sure_at, patience;
	double sure_limit; /* the limit at that time */
	/* the probe */
	double saved, best, before;
	enum gradient_state resumed;
	bool is_proven; /* by one of them: the first one comes in any case */
	bool settles; /* what answers now was asked under the limit before */
};

void gradient_init(struct gradient *g, const struct gradient_cfg *cfg, uint64_t seed, nsec_t now);
/* To be called about ten times a second. The limit from now on, min to max. */
uint32_t gradient_step(struct gradient *g, const struct gradient_cfg *cfg, const struct gradient_sample *sample, nsec_t now);
const char *gradient_state_name(enum gradient_state state); /* "start" */

#endif
