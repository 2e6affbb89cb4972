/*
 * Weights as they are published: made whole by the control thread, immutable
 * from then on, with all that a worker needs worked out beforehand.
 *
 * A client's bucket is a keyed hash of its key, 0..9999. The stable pool (of a
 * trial: the baseline) has the top of the range, the others stand from 0 in the
 * order of slots: who is with a growing candidate stays there.
 *
 * Sessions that a shrinking candidate keeps are the buckets that it had when
 * its weight was largest. New ones are drawn (decide.c) so that their bucket
 * tells them from those, which needs KEEP_ROOM buckets that nobody keeps: a
 * candidate that had everything loses the sessions of as many.
 */
#include <assert.h>

#include "routing/memory.h"
#include "routing/registry.h"

enum { BLOCK_MIN = 20, KEEP_ROOM = 100 };

/* ---- the worker's side ---- */

uint32_t
weights_slot(const struct weights *weights, uint64_t hash)
{
	uint32_t bucket = (uint32_t)(hash % BP_ALL);

	if (bucket >= weights->keep_from && bucket < weights->keep_to)
		return weights->keep_slot;
	for (uint32_t slot = 0; slot < weights->n; slot++) {
		if (slot == weights->stable)
			continue;
		if (bucket < weights->bp[slot])
			return slot;
		bucket -= weights->bp[slot];
	}
	return weights->stable;
}

/* ---- making ---- */

static uint32_t
gcd(uint32_t a, uint32_t b)
{
	while (b != 0) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static void
cut_block(struct weights *weights)
{
	uint32_t unit = BP_ALL, sum = 0, block;

	for (uint32_t i = 0; i < weights->n; i++) {
		unit = gcd(unit, weights->bp[i]);
		sum += weights->bp[i];
	}
	assert(sum == BP_ALL);
	block = BP_ALL / unit;
	/* A divisor of 10,000 stays one: every round number of requests is
	 * exact. */
	for (uint32_t smallest = block;
	     block < BLOCK_MIN || BP_ALL % block != 0;)
		block += smallest;
	weights->block = (uint16_t)block;
	for (uint32_t i = 0; i < weights->n; i++)
		weights->share[i] =
		    (uint16_t)((uint64_t)weights->bp[i] * block / BP_ALL);
}

/* Both halves of the key depend on the salt alone: every instance and every
   process that knows the salt lays the same clients into the same buckets. */
static void
set_salt(struct weights *weights, uint64_t salt)
{
	static const uint8_t affinity[16] = "weir affinity";
	uint8_t bytes[9] = {0};
	uint64_t half;

	weights->salt = salt;
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(salt >> (8 * i));
	half = hash_keyed(affinity, bytes, sizeof(bytes));
	memcpy(weights->key, &half, 8);
	bytes[8] = 1;
	half = hash_keyed(affinity, bytes, sizeof(bytes));
	memcpy(weights->key + 8, &half, 8);
}

/* ---- sessions that stay ---- */

struct range {
	uint32_t from, to;
};

static struct range
range_of(const struct weights *weights, uint32_t wanted)
{
	uint32_t from = 0;

	for (uint32_t slot = 0; slot < weights->n; slot++) {
		if (slot == weights->stable)
			continue;
		if (slot == wanted)
			return (struct range){from, from + weights->bp[slot]};
		from += weights->bp[slot];
	}
	return (struct range){from, BP_ALL};
}

static void
keep_sessions(
    struct weights *weights, const struct weights *before, uint32_t candidate)
{
	struct range had = range_of(before, candidate);
	struct range has = range_of(weights, candidate);

	/* Another salt: other clients are in those buckets. */
	if (before->salt != weights->salt || before->n != weights->n)
		return;
	if (weights_keep(before) && before->keep_slot == candidate) {
		if (before->keep_from < had.from)
			had.from = before->keep_from;
		if (before->keep_to > had.to)
			had.to = before->keep_to;
	}
	if (had.to - had.from > BP_ALL - KEEP_ROOM)
		had.to = had.from + BP_ALL - KEEP_ROOM;
	if (had.from >= had.to || (had.from >= has.from && had.to <= has.to))
		return;
	weights->keep_slot = candidate;
	weights->keep_from = (bp_t)had.from;
	weights->keep_to = (bp_t)had.to;
}

/* ---- evidence ---- */

/* The keys of the step before, or new ones; NULL without affinity. */
static struct evidence_keys *
keys_for(const struct split *split, const struct weights *before,
    const struct split_trial *trial, uint64_t salt)
{
	const struct evidence *was = before != NULL ? before->evidence : NULL;

	if (!split->has_affinity)
		return NULL;
	if (trial->continues && was != NULL && was->keys != NULL &&
	    before->salt == salt && was->candidate == trial->candidate &&
	    was->baseline == trial->baseline)
		return was->keys;
	return evidence_keys_new();
}

struct weights *
weights_new(struct split *split, const struct weights *before, uint64_t version,
    uint64_t salt, const bp_t bp[], const struct split_trial *trial)
{
	struct retired_weights *room = memory_take(1, sizeof(*room));
	struct weights *weights = &room->weights;
	int stable = split_slot(split, split->stable);

	assert(stable >= 0);
	weights->version = version;
	weights->serial = ++split->registry->serial;
	weights->n = split->n_pools;
	/* A promoted candidate is the stable pool while it is still judged: its
	 * clients stay in their buckets until the trial ends. */
	weights->stable = trial != NULL ? trial->baseline : (uint32_t)stable;
	memcpy(weights->bp, bp, weights->n * sizeof(*bp));
	cut_block(weights);
	set_salt(weights, salt);
	if (trial == NULL)
		return weights;
	assert(trial->candidate < weights->n && trial->baseline < weights->n &&
	       trial->candidate != trial->baseline);
	weights->evidence = evidence_new(split->registry->workers, trial,
	    keys_for(split, before, trial, salt));
	if (trial->keeps_sessions && before != NULL)
		keep_sessions(weights, before, trial->candidate);
	return weights;
}

void
weights_free(struct weights *weights)
{
	if (weights->evidence != NULL)
		evidence_free(weights->evidence);
	free(weights);
}
