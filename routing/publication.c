/*
 * How the newest snapshot reaches the workers, and how the one before goes.
 *
 *   control:  store current; advance the epoch; remember it with the old one
 *   worker :  at each turn, load the epoch; load current; count itself on it
 *             if it is new; store the epoch as seen
 *   control:  frees what was replaced at epoch e when every worker has seen e
 *             (then none can be between loading the old pointer and counting
 *             itself on it) and no worker counts itself on it any more
 *
 * A worker that has seen nothing yet (0) reads nothing. Its first adoption
 * and control's question whether it has begun are read-modify-writes of the
 * same word: whichever is second sees what the other did, so that either
 * control waits for it or it sees the new pointers. All later turns are plain
 * loads and one store.
 */
#include "routing/memory.h"
#include "routing/registry.h"

uint64_t
publication_advance(struct publication *publication)
{
	return atomic_fetch_add_explicit(
	           &publication->epoch, 1, memory_order_acq_rel) +
	       1;
}

bool
publication_has_passed(struct publication *publication, uint64_t epoch)
{
	for (unsigned i = 0; i < publication->registry->workers; i++) {
		_Atomic uint64_t *seen = &publication->seats[i].seen;
		uint64_t at = atomic_load_explicit(seen, memory_order_acquire);

		if (at == 0)
			at = atomic_fetch_add_explicit(
			    seen, 0, memory_order_acq_rel);
		if (at != 0 && at < epoch)
			return false;
	}
	return true;
}

struct snapshot *
publication_current(struct publication *publication)
{
	return atomic_load_explicit(
	    &publication->current, memory_order_acquire);
}

struct snapshot *
publication_adopt(
    struct publication *publication, unsigned worker, struct snapshot *current)
{
	_Atomic uint64_t *seen = &publication->seats[worker].seen;
	uint64_t epoch =
	    atomic_load_explicit(&publication->epoch, memory_order_acquire);
	struct snapshot *newest;

	if (current == NULL)
		atomic_exchange_explicit(seen, epoch, memory_order_acq_rel);
	newest =
	    atomic_load_explicit(&publication->current, memory_order_acquire);
	if (newest != current && newest != NULL)
		snapshot_hold(newest, worker);
	atomic_store_explicit(seen, epoch, memory_order_release);
	return newest;
}

void
publication_leave(struct publication *publication, unsigned worker)
{
	atomic_store_explicit(
	    &publication->seats[worker].seen, 0, memory_order_release);
}

/* ---- publishing ---- */

static struct split *
split_named(const struct snapshot *snapshot, const char *name)
{
	for (size_t i = 0; i < snapshot->config->n_splits; i++)
		if (strcmp(snapshot->splits[i]->name, name) == 0)
			return snapshot->splits[i];
	return NULL;
}

static const struct split_cfg *
split_cfg_named(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_splits; i++)
		if (strcmp(config->splits[i].name, name) == 0)
			return &config->splits[i];
	return NULL;
}

/* State that waited for this split; the caller releases and frees. */
static struct pending *
pending_take(struct registry *registry, const char *name)
{
	struct pending **link = &registry->pending;

	while (*link != NULL && strcmp((*link)->name, name) != 0)
		link = &(*link)->next;
	if (*link != NULL) {
		struct pending *found = *link;

		*link = found->next;
		return found;
	}
	return NULL;
}

static void
split_begin(struct registry *registry, struct split *split)
{
	struct pending *pending = pending_take(registry, split->name);

	if (pending == NULL)
		return;
	split_resume(split, &pending->state);
	split_state_release(&pending->state);
	free(pending->name);
	free(pending);
}

/* What ran before, by the new slots, for the note. */
static void
note_before(struct merge_note *note, const struct split *split,
    const struct split *before)
{
	bool was_restored = before == NULL && split->fate != MERGE_KEEP_RUNTIME;

	if (before != NULL)
		merge_fold(before->n_pools, before->pools,
		    split_weights(before)->bp, split->n_pools, split->pools,
		    split_weights(split)->stable, note->before);
	else
		memcpy(note->before,
		    was_restored && split->has_previous
		        ? split->previous
		        : split_weights(split)->bp,
		    sizeof(note->before));
}

static void
snapshot_merge_split(struct snapshot *snapshot, const struct snapshot *old,
    size_t i, struct merge_note *note)
{
	const struct split_cfg *cfg = &snapshot->config->splits[i];
	struct split *split = snapshot->splits[i];
	struct split *before = old ? split_named(old, cfg->name) : NULL;

	*note = (struct merge_note){.split = cfg->name, .n = split->n_pools};
	if (before != NULL) {
		const struct split_cfg *was =
		    split_cfg_named(old->config, cfg->name);

		note_before(note, split, before);
		split_merge(split, before, old->config->pools[was->stable].name,
		    snapshot->config, cfg);
	} else {
		split_begin(snapshot->registry, split);
		note_before(note, split, NULL);
	}
	note->merge = split->fate;
	memcpy(note->after, split_weights(split)->bp, sizeof(note->after));
}

/* An endpoint in both is never seen as retired in between. */
static void
endpoints_hand_over(struct snapshot *snapshot, struct snapshot *old)
{
	for (size_t i = 0; i < snapshot->config->n_pools; i++) {
		struct pool_view *view = &snapshot->pools[i];

		for (size_t j = 0; j < view->n_endpoints; j++) {
			struct endpoint *endpoint = view->endpoints[j];

			endpoint->slow_start = view->cfg->slow_start;
			endpoint->drain = view->cfg->drain;
			if (old != NULL && endpoint->generation == 0)
				endpoint_cool(endpoint);
			endpoint->generation = snapshot->generation;
			endpoint->weight = balancer_weight(view, j);
			endpoint->tier = view->tiers ? view->tiers[j] : 0;
			atomic_store_explicit(
			    &endpoint->is_retired, false, memory_order_release);
		}
	}
	for (size_t i = 0; old != NULL && i < old->config->n_pools; i++) {
		struct pool_view *view = &old->pools[i];

		for (size_t j = 0; j < view->n_endpoints; j++)
			if (view->endpoints[j]->generation !=
			    snapshot->generation)
				atomic_store_explicit(
				    &view->endpoints[j]->is_retired, true,
				    memory_order_release);
	}
}

size_t
snapshot_publish(struct publication *publication, struct snapshot *snapshot,
    struct merge_note **notes_out)
{
	struct registry *registry = publication->registry;
	struct snapshot *old = publication_current(publication);
	size_t n = snapshot->config->n_splits;
	struct merge_note *notes = memory_take(n, sizeof(*notes));

	assert(registry->built == snapshot);
	registry->built = NULL;
	for (size_t i = 0; i < n; i++)
		snapshot_merge_split(snapshot, old, i, &notes[i]);
	endpoints_hand_over(snapshot, old);
	atomic_store_explicit(
	    &publication->current, snapshot, memory_order_release);
	if (old != NULL) {
		old->epoch = publication_advance(publication);
		old->next = publication->retired;
		publication->retired = old;
	}
	if (notes_out != NULL)
		*notes_out = notes;
	else
		free(notes);
	return n;
}

/* ---- reaping ---- */

static bool
snapshot_is_held(struct publication *publication, struct snapshot *snapshot)
{
	if (!publication_has_passed(publication, snapshot->epoch))
		return true;
	for (unsigned i = 0; i < publication->registry->workers; i++)
		if (atomic_load_explicit(
		        &snapshot->holds[i].n, memory_order_acquire) > 0)
			return true;
	return false;
}

static void
splits_reap(const struct snapshot *snapshot)
{
	for (size_t i = 0; i < snapshot->config->n_splits; i++)
		split_reap(snapshot->splits[i]);
}

size_t
publication_reap(struct publication *publication)
{
	struct snapshot **link = &publication->retired;
	struct snapshot *current = publication_current(publication);
	size_t held = 0;

	geo_reap(publication->registry);
	while (*link != NULL) {
		struct snapshot *snapshot = *link;

		if (snapshot_is_held(publication, snapshot)) {
			link = &snapshot->next;
			held++;
			continue;
		}
		*link = snapshot->next;
		snapshot_free(&snapshot);
	}
	if (current != NULL)
		splits_reap(current);
	return held;
}
