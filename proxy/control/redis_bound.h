/*
 * What one answer of a Redis server may cost. hiredis believes whatever an
 * answer says of its own size: thirteen bytes make it reserve sixteen
 * gigabytes, and four megabytes of small elements thirty times as much. Here
 * every object is counted before it is made, at what it takes in memory.
 *
 * The greatest answers that weir asks for are lists: of the fleet's evidence
 * and of its members, both cut to FLEET size by the scripts (fleet_wire.c), and
 * of the debts of one batch (quota.c). Texts are states and cells of evidence.
 */
#ifndef WEIR_PROXY_REDIS_BOUND_H
#define WEIR_PROXY_REDIS_BOUND_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

enum {
	REDIS_ELEMENTS_MAX = 1024,  /* of one list: 1 + 3 * 256 are asked for */
	REDIS_DEPTH_MAX = 2,        /* lists of texts and numbers */
	REDIS_ANSWER_MAX = 4 << 20, /* bytes, read or not */
};

struct redis_bound {
	redisReplyObjectFunctions *made_by; /* borrowed: hiredis' own */
	size_t built; /* of the answer that is coming in */
	bool is_over; /* it has reached a bound */
};

/* A reader that keeps the bounds; `bound` outlives it. NULL: no memory. */
redisReader *redis_bound_reader(struct redis_bound *bound);
/* Call after each answer that was taken. */
void redis_bound_reset(struct redis_bound *bound);
/* All that has come of an answer that is not whole yet is too much. */
bool redis_bound_is_reached(
    const struct redis_bound *bound, const redisReader *reader);

#endif
