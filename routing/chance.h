/*
 * xoshiro256** for the request path: the same as decide.h's, inlined. A
 * decision throws two or three times, and a call would cost as much again.
 */
#ifndef WEIR_ROUTING_CHANCE_H
#define WEIR_ROUTING_CHANCE_H

#include <assert.h>

#include "routing/decide.h"

static inline uint64_t
rotate(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

static inline uint64_t
chance_next(struct rng *rng)
{
	uint64_t *s = rng->s;
	uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

/* Lemire's multiplication; the rare short interval is thrown again. */
static inline uint32_t
chance_below(struct rng *rng, uint32_t bound)
{
	uint64_t wide = (chance_next(rng) >> 32) * bound;

	assert(bound > 0);
	if ((uint32_t)wide < bound) {
		uint32_t floor = -bound % bound;

		while ((uint32_t)wide < floor)
			wide = (chance_next(rng) >> 32) * bound;
	}
	return (uint32_t)(wide >> 32);
}

#endif
