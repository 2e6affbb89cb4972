/*
 * Rate limits that several instances share.
 *
 * No request waits for the others. An instance charges a request for all N
 * instances at once (limit_rule.share), which leaves it the N-th part of what
 * is left until they have spoken; it tells control what it let pass; control
 * asks Redis (proxy/control/quota.c), which adds up, and sets the key to what
 * all of them owe, plus what was charged meanwhile. In the same moment it tells
 * all the others, which take it over if they know of less: so they know the key
 * before they are asked for it. A key that only one instance sees soon has the
 * whole limit there, and one that all see is shared. What was let pass too
 * much is a debt like any other and is paid, so that the long run is exact; at
 * any moment it is what the others let pass within one exchange.
 *
 * What is told is bounded: when more keys were used than that, those with the
 * greatest part of their burst are. Of another key an instance learns with its
 * first request, and a burst that moves there gets the N-th part of it.
 *
 * Workers write what they let pass into rings of their own; one that is full
 * loses the news and not the charge: this instance stays on the safe side.
 */
#ifndef WEIR_ROUTING_LIMIT_SHARED_H
#define WEIR_ROUTING_LIMIT_SHARED_H

#include "routing/control.h"
#include "routing/limit/limit.h"
#include "routing/names.h"

/* A limit that is shared, by its identity; never forgotten: a dozen bytes
   for each that a process has ever had. */
struct shared_limit {
	tick_t interval, burst;
};

enum {
	SPENT_RING = 8192, /* a power of two */
	ASKED_MAX = 256,   /* questions give way to news when so many wait */
};

struct spent_ring {
	alignas(CACHE_LINE) _Atomic uint64_t head; /* the worker's */
	counter_t lost;
	alignas(CACHE_LINE) _Atomic uint64_t tail; /* control's */
	struct limit_spent at[SPENT_RING];
};

struct sharing {
	alignas(CACHE_LINE) _Atomic uint32_t instances; /* 0: Redis is away */
	unsigned workers;
	struct spent_ring **rings;   /* owned: [workers]; made with the first
	                                limit that is shared */
	struct shared_limit *limits; /* owned */
	size_t n, cap;
	/* control only: keys to be forgotten everywhere */
	struct limit_spent *forgiven; /* owned */
	size_t n_forgiven, cap_forgiven;
};

struct sharing *sharing_new(unsigned workers);
void sharing_free(struct sharing **sharing);
/* Control: the number of a limit, made or found. */
uint32_t sharing_number(struct sharing *sharing, struct names *names,
    const uint8_t identity[16], const struct limit_rule *rule);
/* Worker: lets the others know. */
void sharing_spend(
    struct sharing *sharing, unsigned worker, uint32_t limit, uint64_t hash);
/* Worker: a key was refused by what was last heard, which may be old. */
void sharing_ask(
    struct sharing *sharing, unsigned worker, uint32_t limit, uint64_t hash);
/* Control: a key was forgiven. */
void sharing_forgive(struct sharing *sharing, uint32_t limit, uint64_t hash);

#endif
