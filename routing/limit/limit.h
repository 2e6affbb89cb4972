/*
 * Rate limits: GCRA (the generic cell rate algorithm, ITU-T I.371) over a
 * table that all workers share.
 *
 * A key's whole state is the time at which its debt is paid off. A request
 * adds `interval` to the debt and is refused when it would rise above
 * `burst` intervals. Time is an argument, counted in ticks of 1/16 us.
 *
 * Why one table, and not one a worker with the n-th part of the limit: the
 * kernel deals connections to workers by a hash, so that a client with one
 * connection would get 1/n of its limit and one with many connections all of
 * it. And why no lock: a key's state is one word (20 bits of the key's hash,
 * 44 bits of time), so a request is one compare-and-swap of one word in one
 * cache line. A worker that loses the race has seen another one win: somebody
 * always gets on.
 *
 * The table has a fixed size, reserved at once and touched as keys come:
 * 2^24 words in buckets of 8, 128 MiB when all of them are in use. A new key
 * takes the word of its bucket with the least debt left: mostly one that owes
 * nothing, and under a flood of more keys than there is room for the one that
 * forgets least. Nothing grows and nothing is moved, so nothing stalls.
 *
 * Two keys of one bucket with the same 20 bits share a count: one pair in
 * 130,000 when the table is full, one in 10^8 at ten thousand keys. Times
 * wrap around after 12.7 days; a debt is at most LIMIT_DEBT_MAX, and
 * limit_table_sweep frees what is paid off long before it could be mistaken
 * for a debt to come.
 */
#ifndef WEIR_ROUTING_LIMIT_H
#define WEIR_ROUTING_LIMIT_H

#include "routing/decide.h"

typedef uint64_t tick_t;
enum { TICKS_PER_USEC = 16 };
#define TICK_BITS      44
#define LIMIT_DEBT_MAX (UINT64_C(3) * 86400 * 1000000 * TICKS_PER_USEC)

tick_t limit_ticks(nsec_t time); /* within TICK_BITS: it wraps */
nsec_t limit_nsec(tick_t ticks); /* of a span */

struct limit_rule {
	tick_t interval; /* what a request costs */
	tick_t burst;    /* the most that may be owed */
	uint32_t share;  /* how many instances share the limit: a request is
	                    charged for all of them until they have spoken */
};
struct limit_rule limit_rule_of(const struct limit_cfg *cfg);

/*
 * A request at a debt: true, and the new debt, when it may pass. `answer_out`
 * says what is left after it either way.
 */
bool limit_take(const struct limit_rule *rule, tick_t debt, tick_t *debt_out,
    struct limit_answer *answer_out);

/* ---- the table: all functions from any thread ---- */

struct limit_table;
struct limit_table *limit_table_new(void); /* NULL: no room to reserve */
void limit_table_free(struct limit_table **table);

enum limit_verdict {
	LIMIT_PASSED,
	LIMIT_PASSED_EVICTING, /* and another key was forgotten for it */
	LIMIT_REFUSED
};
enum limit_verdict limit_table_take(struct limit_table *table, uint64_t hash,
    const struct limit_rule *rule, tick_t now, struct limit_answer *answer_out);
/* What a key owes; 0 when it is not known. */
tick_t limit_table_debt(
    const struct limit_table *table, uint64_t hash, tick_t now);
/*
 * What all instances together owe for a key is `debt`, and this one has
 * added to its own since the time at which it owed `seen`: both together.
 */
void limit_table_settle(struct limit_table *table, uint64_t hash, tick_t now,
    tick_t seen, tick_t debt);
/*
 * All instances together owe at least `debt`. By how much that is more than
 * was known here; 0 when no place is free: no other key is forgotten for it.
 */
tick_t limit_table_raise(
    struct limit_table *table, uint64_t hash, tick_t now, tick_t debt);
/* Says what a key owes; 0 forgets it. False when it was not known. */
bool limit_table_set(
    struct limit_table *table, uint64_t hash, tick_t now, tick_t debt);

/*
 * Frees words that owe nothing in the next 256 KiB of the table; control calls
 * it ten times a second, so that it comes around, and counts, once a minute.
 */
void limit_table_sweep(struct limit_table *table, tick_t now);
/* Keys that owe something, as the last whole sweep saw them. */
size_t limit_table_keys(const struct limit_table *table);

#endif
