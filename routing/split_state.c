/*
 * What becomes of a split over reloads and restarts: what ran is laid on the
 * slots that are now, merged with what the file says (merge.c), and put in
 * force. Also the split's state as the journal keeps it.
 */
#include "routing/memory.h"
#include "routing/registry.h"

/* ---- what ran and what the file says ---- */

/* What outlives a reload but is not weights, from the split before. */
static void
split_inherit(struct split *split, const struct split *before)
{
	uint32_t stable = (uint32_t)split_slot(split, split->stable);

	merge_fold(before->n_pools, before->pools, before->previous,
	    split->n_pools, split->pools, stable, split->previous);
	split->has_previous = before->has_previous;
	split_note_change(
	    split, before->changed_at, before->changed_by, before->reason);
}

static bool
same_pools(const struct split *a, uint32_t n, char *const pools[])
{
	if (a->n_pools != n)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (split_slot(a, pools[i]) < 0)
			return false;
	return true;
}

/* A trial has a top of its own. */
static bool
has_other_top(const struct weights *weights, uint32_t stable)
{
	return weights->evidence == NULL && weights->stable != stable;
}

/*
 * Lays weights that were on the slots that are and makes them or the new
 * file's run, with a version above `version` if anything differs from it.
 */
static void
split_settle(struct split *split, struct merge_input *input, uint64_t version,
    uint64_t salt)
{
	const struct weights *now = split_weights(split);
	size_t size = split->n_pools * sizeof(bp_t);
	bool is_same = input->same_pools;
	bp_t bp[CONFIG_SPLIT_POOLS_MAX];

	split->fate = merge_decide(input, bp);
	memcpy(split->file, input->now, size);
	if (split->fate == MERGE_FILE_WINS) {
		memcpy(split->previous, input->runs, size);
		split->has_previous = true;
		split_note_change(split, 0, "file", NULL);
	}
	is_same = is_same && memcmp(bp, input->runs, size) == 0;
	if (is_same && now->version == version && now->salt == salt &&
	    memcmp(bp, now->bp, size) == 0 &&
	    !has_other_top(now, (uint32_t)split_slot(split, split->stable)))
		return;
	split_replace(split, is_same ? version : version + 1, salt, bp);
}

/* The file's stable pool, if the file has changed its mind about it; else
   runtime's, if it is still there. */
static const char *
stable_of(const struct split *split, const struct split *before,
    const char *was, const char *file)
{
	if (strcmp(was, file) == 0 && split_slot(split, before->stable) >= 0)
		return before->stable;
	return file;
}

void
split_merge(struct split *split, const struct split *before, const char *was,
    const struct config *config, const struct split_cfg *cfg)
{
	const struct weights *runs = split_weights(before);
	struct merge_input input = {.n = split->n_pools,
	    .same_pools = same_pools(split, before->n_pools, before->pools)};
	uint64_t version = runs->version;
	uint32_t stable;

	split->has_affinity = cfg->affinity.by != KEY_REQUEST;
	text_replace(&split->stable,
	    stable_of(split, before, was, config->pools[cfg->stable].name));
	stable = (uint32_t)split_slot(split, split->stable);
	if (split == before && has_other_top(runs, stable))
		version++;
	merge_fold(before->n_pools, before->pools, before->file, split->n_pools,
	    split->pools, stable, input.was);
	merge_fold(before->n_pools, before->pools, runs->bp, split->n_pools,
	    split->pools, stable, input.runs);
	for (uint32_t i = 0; i < split->n_pools; i++)
		input.now[i] = cfg->weights[i].weight;
	if (split != before)
		split_inherit(split, before);
	split_settle(split, &input, version, runs->salt);
}

void
split_resume(struct split *split, const struct split_state *state)
{
	struct merge_input input = {.n = split->n_pools,
	    .same_pools = same_pools(split, state->n, state->pools)};
	uint32_t stable = (uint32_t)split_slot(split, split->stable);

	merge_fold(state->n, state->pools, state->file, split->n_pools,
	    split->pools, stable, input.was);
	merge_fold(state->n, state->pools, state->bp, split->n_pools,
	    split->pools, stable, input.runs);
	merge_fold(state->n, state->pools, state->previous, split->n_pools,
	    split->pools, stable, split->previous);
	memcpy(input.now, split->file, sizeof(split->file));
	split->has_previous = state->has_previous;
	split_note_change(
	    split, state->changed_at, state->changed_by, state->reason);
	/* A file with new weights may well have a new baseline too. */
	if (memcmp(input.now, input.was, sizeof(input.now)) == 0 &&
	    state->stable != NULL && split_slot(split, state->stable) >= 0)
		text_replace(&split->stable, state->stable);
	split_settle(split, &input, state->version, state->salt);
}

static bool
state_is_whole(const struct split_state *state)
{
	uint32_t runs = 0, file = 0;

	if (state->n == 0 || state->n > CONFIG_SPLIT_POOLS_MAX)
		return false;
	for (uint32_t i = 0; i < state->n; i++) {
		runs += state->bp[i];
		file += state->file[i];
	}
	return runs == BP_ALL && file == BP_ALL;
}

bool
split_restore(struct split *split, const struct split_state *state)
{
	if (!state_is_whole(state) ||
	    !same_pools(split, state->n, state->pools))
		return false;
	split_resume(split, state);
	return true;
}

static void
state_copy(struct split_state *out, const struct split_state *state)
{
	*out = *state;
	for (uint32_t i = 0; i < state->n; i++)
		out->pools[i] = memory_text(state->pools[i]);
	out->stable = memory_text(state->stable);
	out->changed_by = memory_text(state->changed_by);
	out->reason = memory_text(state->reason);
}

void
split_save(const struct split *split, struct split_state *out)
{
	const struct weights *now = split_weights(split);
	struct split_state state = {.version = now->version,
	    .salt = now->salt,
	    .n = split->n_pools,
	    .has_previous = split->has_previous,
	    .changed_at = split->changed_at,
	    .stable = split->stable,
	    .changed_by = split->changed_by,
	    .reason = split->reason};

	memcpy(state.pools, split->pools, sizeof(state.pools));
	memcpy(state.bp, now->bp, sizeof(state.bp));
	memcpy(state.file, split->file, sizeof(state.file));
	memcpy(state.previous, split->previous, sizeof(state.previous));
	state_copy(out, &state);
}

void
split_state_release(struct split_state *state)
{
	for (uint32_t i = 0; i < state->n; i++)
		free(state->pools[i]);
	free(state->stable);
	free(state->changed_by);
	free(state->reason);
	*state = (struct split_state){0};
}

bool
registry_restore_split(struct registry *registry, const char *name,
    const struct split_state *state)
{
	struct split *split = registry_split(registry, name);
	struct pending *pending;

	if (split != NULL)
		return split_restore(split, state);
	if (!state_is_whole(state))
		return false;
	pending = memory_take(1, sizeof(*pending));
	pending->name = memory_text(name);
	state_copy(&pending->state, state);
	pending->next = registry->pending;
	registry->pending = pending;
	return true;
}
