/*
 * Which pool by weight: shuffled blocks for requests, buckets for clients.
 *
 * A block is the smallest number of requests in which every weight is whole
 * (at least 20, and a divisor of 10000). A worker deals it like a pack of
 * cards: what is left of each pool's share is counted, and one card is drawn at
 * random from what is left. That is an incremental Fisher-Yates over cards of
 * which equal ones need not be told apart, so eight counters stand for 10000
 * slots. Over a block the share is exact; within it nobody can foresee the next
 * one.
 *
 * Weights are published whole. Workers read the pointer once per decision;
 * replaced objects wait until the epoch says that all workers have moved on.
 */
#include <assert.h>
#include <stdio.h>

#include "routing/chance.h"
#include "routing/memory.h"
#include "routing/registry.h"

/* A worker's pack. */
struct block {
	alignas(CACHE_LINE)
	    uint64_t serial; /* of the weights it was dealt from; 0: none yet */
	uint32_t left;
	uint16_t of[CONFIG_SPLIT_POOLS_MAX];
};

/* ---- the worker's side ---- */

static inline const struct weights *
weights_now(const struct split *split)
{
	return atomic_load_explicit(
	    &((struct split *)(uintptr_t)split)->published,
	    memory_order_acquire);
}

static void
block_deal(struct block *block, const struct weights *weights)
{
	block->serial = weights->serial;
	block->left = weights->block;
	memcpy(block->of, weights->share, sizeof(block->of));
}

uint32_t
split_draw(struct split *split, const struct weights *weights, unsigned worker,
    struct rng *rng)
{
	struct block *block = &((struct block *)split->locals)[worker];
	uint32_t card, slot = 0;

	if (block->serial != weights->serial || block->left == 0)
		block_deal(block, weights);
	card = chance_below(rng, block->left);
	while (card >= block->of[slot])
		card -= block->of[slot++];
	block->of[slot]--;
	block->left--;
	return slot;
}

/* ---- weights ---- */

/* Puts `next` in the place of what runs, which waits for the workers. */
static void
split_swap(struct split *split, struct weights *next)
{
	struct weights *before =
	    atomic_load_explicit(&split->published, memory_order_relaxed);
	struct retired_weights *room = (struct retired_weights *)before;

	atomic_store_explicit(&split->published, next, memory_order_release);
	if (before != NULL) {
		room->epoch =
		    publication_advance(&split->registry->publication);
		room->next = split->retired;
		split->retired = before;
		split_reap(split);
	}
}

void
split_replace(
    struct split *split, uint64_t version, uint64_t salt, const bp_t bp[])
{
	split_swap(split,
	    weights_new(split, weights_now(split), version, salt, bp, NULL));
}

void
split_reap(struct split *split)
{
	struct weights **link = &split->retired;
	struct publication *publication = &split->registry->publication;

	while (*link != NULL) {
		struct retired_weights *room = (struct retired_weights *)*link;

		/* The list is newest first: all behind an old one are older. */
		if (!publication_has_passed(publication, room->epoch)) {
			link = &room->next;
			continue;
		}
		*link = room->next;
		weights_free(&room->weights);
	}
}

/* ---- splits ---- */

struct split *
split_new(struct registry *registry, const struct config *config,
    const struct split_cfg *cfg)
{
	struct split *split = memory_take(1, sizeof(*split));
	uint64_t salt;

	split->registry = registry;
	split->name = memory_text(cfg->name);
	split->n_pools = (uint32_t)cfg->n_weights;
	split->refs = 1;
	split->has_affinity = cfg->affinity.by != KEY_REQUEST;
	split->stable = memory_text(config->pools[cfg->stable].name);
	for (uint32_t i = 0; i < split->n_pools; i++) {
		split->pools[i] =
		    memory_text(config->pools[cfg->weights[i].pool].name);
		split->file[i] = cfg->weights[i].weight;
	}
	split->locals =
	    memory_take_lines(registry->workers, sizeof(struct block));
	split->mirrors =
	    memory_take_lines(registry->workers, sizeof(*split->mirrors));
	salt = hash_keyed(registry->secret, split->name, strlen(split->name));
	split_swap(split, weights_new(split, NULL, 1, salt, split->file, NULL));
	return split;
}

void
split_unref(struct split *split)
{
	assert(split->refs > 0);
	if (--split->refs > 0)
		return;
	/* No snapshot has it, so no worker reads it: nothing to wait for. */
	while (split->retired != NULL) {
		struct retired_weights *room =
		    (struct retired_weights *)split->retired;

		split->retired = room->next;
		weights_free(&room->weights);
	}
	weights_free(
	    atomic_load_explicit(&split->published, memory_order_relaxed));
	for (uint32_t i = 0; i < split->n_pools; i++)
		free(split->pools[i]);
	free(split->name);
	free(split->stable);
	free(split->changed_by);
	free(split->reason);
	free(split->locals);
	free(split->mirrors);
	free(split);
}

int
split_slot(const struct split *split, const char *pool)
{
	for (uint32_t i = 0; i < split->n_pools; i++)
		if (strcmp(split->pools[i], pool) == 0)
			return (int)i;
	return -1;
}

const struct weights *
split_weights(const struct split *split)
{
	return weights_now(split);
}

bool
split_has_pools_of(const struct split *split, const struct config *config,
    const struct split_cfg *cfg)
{
	if (split->n_pools != cfg->n_weights)
		return false;
	for (uint32_t i = 0; i < split->n_pools; i++)
		if (strcmp(split->pools[i],
		        config->pools[cfg->weights[i].pool].name) != 0)
			return false;
	return true;
}

void
text_replace(char **text, const char *by)
{
	char *copy = memory_text(by);

	free(*text);
	*text = copy;
}

void
split_note_change(
    struct split *split, time_t wall, const char *by, const char *reason)
{
	split->changed_at = wall;
	text_replace(&split->changed_by, by);
	text_replace(&split->reason, reason);
}

/* The arguments may well be the split's own: undo publishes `previous`. */
static void
publish(struct split *split, const bp_t bp[], const struct split_trial *trial,
    time_t wall, const char *by, const char *reason)
{
	const struct weights *now = weights_now(split);
	uint64_t salt =
	    trial != NULL && trial->salt != 0 ? trial->salt : now->salt;
	struct weights *next =
	    weights_new(split, now, now->version + 1, salt, bp, trial);
	size_t size = split->n_pools * sizeof(*bp);

	/* Saying the same again is no step that one could want to undo. */
	if (memcmp(next->bp, now->bp, size) != 0) {
		memcpy(split->previous, now->bp, size);
		split->has_previous = true;
	}
	split_swap(split, next);
	split_note_change(split, wall, by, reason);
}

void
split_publish(struct split *split, const bp_t bp[], time_t wall, const char *by,
    const char *reason)
{
	publish(split, bp, NULL, wall, by, reason);
}

void
split_publish_trial(struct split *split, const bp_t bp[],
    const struct split_trial *trial, time_t wall, const char *by,
    const char *reason)
{
	publish(split, bp, trial, wall, by, reason);
}

void
split_set_stable(struct split *split, uint32_t slot)
{
	assert(slot < split->n_pools);
	text_replace(&split->stable, split->pools[slot]);
}
