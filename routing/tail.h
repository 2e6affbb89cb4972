/*
 * How long nearly all take, of late: a quantile of a histogram that is only
 * ever added to, of its newest values. Looked at now and then, never by a
 * request. "Of late" is a number, not a time: about the last TAIL_ENOUGH values
 * count, older ones less and less, so that a busy pool forgets in seconds and
 * a quiet one still knows something. Pure.
 */
#ifndef WEIR_ROUTING_TAIL_H
#define WEIR_ROUTING_TAIL_H

#include "routing/histogram.h"

enum {
	TAIL_LEAST = 100, /* values before anything is said */
	TAIL_ENOUGH = 2000,
};

struct tail {
	struct histogram_sum last; /* as it was seen */
	struct histogram_sum recent;
};

/* `now` never has less than it had before. 0: too few values yet. */
nsec_t tail_look(struct tail *tail, const struct histogram_sum *now, double q);

#endif
