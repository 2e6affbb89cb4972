/*
 * The words of limit.h's table and the races on them. Every change is one
 * compare-and-swap of a word that was looked at before; a lost one looks
 * again. The words carry all that there is to know, so no order between them
 * matters and every access is relaxed.
 */
#include <sys/mman.h>

#include "routing/limit/limit.h"
#include "routing/memory.h"

enum { WAYS = 8, SWEEP_BUCKETS = 4096 };
#define BUCKETS   (UINT64_C(1) << 21)
#define TIME_MASK ((UINT64_C(1) << TICK_BITS) - 1)
/* A paid debt looks like one to come after half of the way around. */
#define DEBT_LIMIT (LIMIT_DEBT_MAX * 2)

/* tag << TICK_BITS | the time at which nothing is owed any more; 0: free. */
typedef _Atomic uint64_t word_t;

struct bucket {
	alignas(CACHE_LINE) word_t words[WAYS];
};

struct limit_table {
	struct bucket *buckets; /* owned: [BUCKETS], mapped */
	uint64_t swept;         /* control only: the next bucket */
	size_t found;           /* control only: keys in this round so far */
	_Atomic size_t keys;
};

struct limit_table *
limit_table_new(void)
{
	struct limit_table *table = memory_take(1, sizeof(*table));
	void *room =
	    mmap(NULL, BUCKETS * sizeof(struct bucket), PROT_READ | PROT_WRITE,
	        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (room == MAP_FAILED) {
		free(table);
		return NULL;
	}
	/* Keys fall anywhere: a huge page for each would take all at once. */
	madvise(room, BUCKETS * sizeof(struct bucket), MADV_NOHUGEPAGE);
	table->buckets = room;
	return table;
}

void
limit_table_free(struct limit_table **table)
{
	struct limit_table *dead = *table;

	*table = NULL;
	if (dead == NULL)
		return;
	munmap(dead->buckets, BUCKETS * sizeof(struct bucket));
	free(dead);
}

/* ---- one word ---- */

static uint64_t
tag_of(uint64_t hash)
{
	uint64_t tag = hash >> TICK_BITS;

	return tag != 0 ? tag : 1;
}

static inline tick_t
debt_of(uint64_t word, tick_t now)
{
	tick_t ahead = (word - now) & TIME_MASK;

	return word != 0 && ahead <= DEBT_LIMIT ? ahead : 0;
}

static uint64_t
word_of(uint64_t tag, tick_t now, tick_t debt)
{
	if (debt > DEBT_LIMIT)
		debt = DEBT_LIMIT;
	return tag << TICK_BITS | ((now + debt) & TIME_MASK);
}

static bool
word_swap(word_t *word, uint64_t *seen, uint64_t by)
{
	return atomic_compare_exchange_strong_explicit(
	    word, seen, by, memory_order_relaxed, memory_order_relaxed);
}

/* ---- one bucket ---- */

struct place {
	word_t *word;
	uint64_t seen;
	tick_t debt;
	bool is_known; /* else: the word to take, and what its owner owes */
};

static inline struct place
place_find(struct bucket *bucket, uint64_t tag, tick_t now)
{
	struct place least = {.debt = UINT64_MAX};

	for (int i = 0; i < WAYS; i++) {
		word_t *word = &bucket->words[i];
		uint64_t seen =
		    atomic_load_explicit(word, memory_order_relaxed);
		tick_t debt = debt_of(seen, now);

		if (seen >> TICK_BITS == tag)
			return (struct place){word, seen, debt, true};
		if (debt < least.debt)
			least = (struct place){word, seen, debt, false};
	}
	return least;
}

static struct bucket *
bucket_of(const struct limit_table *table, uint64_t hash)
{
	return &table->buckets[hash & (BUCKETS - 1)];
}

enum limit_verdict
limit_table_take(struct limit_table *table, uint64_t hash,
    const struct limit_rule *rule, tick_t now, struct limit_answer *answer_out)
{
	struct bucket *bucket = bucket_of(table, hash);
	uint64_t tag = tag_of(hash);

	for (;;) {
		struct place at = place_find(bucket, tag, now);
		tick_t debt;

		if (!limit_take(
		        rule, at.is_known ? at.debt : 0, &debt, answer_out))
			return LIMIT_REFUSED;
		if (word_swap(at.word, &at.seen, word_of(tag, now, debt)))
			return at.is_known || at.debt == 0
			           ? LIMIT_PASSED
			           : LIMIT_PASSED_EVICTING;
	}
}

tick_t
limit_table_debt(const struct limit_table *table, uint64_t hash, tick_t now)
{
	struct place at = place_find(bucket_of(table, hash), tag_of(hash), now);

	return at.is_known ? at.debt : 0;
}

bool
limit_table_set(
    struct limit_table *table, uint64_t hash, tick_t now, tick_t debt)
{
	uint64_t tag = tag_of(hash);

	for (;;) {
		struct place at = place_find(bucket_of(table, hash), tag, now);
		uint64_t next = debt > 0 ? word_of(tag, now, debt) : 0;

		if (!at.is_known && debt == 0)
			return false;
		if (word_swap(at.word, &at.seen, next))
			return at.is_known;
	}
}

void
limit_table_settle(struct limit_table *table, uint64_t hash, tick_t now,
    tick_t seen, tick_t debt)
{
	uint64_t tag = tag_of(hash);

	for (;;) {
		struct place at = place_find(bucket_of(table, hash), tag, now);
		tick_t own = at.is_known ? at.debt : 0;
		tick_t sum = debt + (own > seen ? own - seen : 0);

		/* No other key is forgotten for what others owe. */
		if (!at.is_known && at.debt > 0)
			return;
		if (word_swap(at.word, &at.seen,
		        sum > 0 ? word_of(tag, now, sum) : 0))
			return;
	}
}

tick_t
limit_table_raise(
    struct limit_table *table, uint64_t hash, tick_t now, tick_t debt)
{
	uint64_t tag = tag_of(hash);

	if (debt > DEBT_LIMIT)
		debt = DEBT_LIMIT;
	for (;;) {
		struct place at = place_find(bucket_of(table, hash), tag, now);

		/* An entry of another key is never a debt of this one. */
		if (at.debt >= debt || (!at.is_known && at.debt > 0))
			return 0;
		if (word_swap(at.word, &at.seen, word_of(tag, now, debt)))
			return debt - at.debt;
	}
}

/* ---- the sweep ---- */

void
limit_table_sweep(struct limit_table *table, tick_t now)
{
	for (int i = 0; i < SWEEP_BUCKETS * WAYS; i++) {
		word_t *word =
		    &table->buckets[table->swept + (uint64_t)i / WAYS]
		         .words[i % WAYS];
		uint64_t seen =
		    atomic_load_explicit(word, memory_order_relaxed);

		if (seen == 0)
			continue;
		if (debt_of(seen, now) == 0)
			word_swap(word, &seen, 0);
		else
			table->found++;
	}
	table->swept += SWEEP_BUCKETS;
	if (table->swept < BUCKETS)
		return;
	atomic_store_explicit(&table->keys, table->found, memory_order_relaxed);
	table->swept = table->found = 0;
}

size_t
limit_table_keys(const struct limit_table *table)
{
	return atomic_load_explicit(
	    &((struct limit_table *)(uintptr_t)table)->keys,
	    memory_order_relaxed);
}
