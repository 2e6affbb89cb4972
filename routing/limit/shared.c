/* What instances tell one another of shared limits, see shared.h. */
#include "routing/limit/shared.h"

#include "routing/memory.h"
#include "routing/registry.h"

enum { FORGIVEN_MAX = 1024 };

struct sharing *
sharing_new(unsigned workers)
{
	struct sharing *sharing = memory_take_lines(1, sizeof(*sharing));

	sharing->workers = workers;
	return sharing;
}

void
sharing_free(struct sharing **sharing)
{
	struct sharing *dead = *sharing;

	*sharing = NULL;
	if (dead == NULL)
		return;
	for (unsigned i = 0; dead->rings != NULL && i < dead->workers; i++)
		free(dead->rings[i]);
	free(dead->rings);
	free(dead->limits);
	free(dead->forgiven);
	free(dead);
}

uint32_t
sharing_number(struct sharing *sharing, struct names *names,
    const uint8_t identity[16], const struct limit_rule *rule)
{
	struct span key = {(const char *)identity, 16};
	long found = names_find(names, key);

	if (sharing->rings == NULL) {
		sharing->rings =
		    memory_take(sharing->workers, sizeof(*sharing->rings));
		for (unsigned i = 0; i < sharing->workers; i++)
			sharing->rings[i] =
			    memory_take_lines(1, sizeof(struct spent_ring));
	}
	if (found >= 0)
		return (uint32_t)found;
	sharing->limits = memory_grow(sharing->limits, sharing->n,
	    &sharing->cap, sizeof(*sharing->limits));
	sharing->limits[sharing->n++] =
	    (struct shared_limit){rule->interval, rule->burst};
	found = (long)names_put(names, key, sharing);
	assert((size_t)found == sharing->n - 1);
	return (uint32_t)found;
}

static bool
ring_put(struct spent_ring *ring, const struct limit_spent *spent, uint64_t max)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	if (head - atomic_load_explicit(&ring->tail, memory_order_acquire) >=
	    max)
		return false;
	ring->at[head % SPENT_RING] = *spent;
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
	return true;
}

void
sharing_spend(
    struct sharing *sharing, unsigned worker, uint32_t limit, uint64_t hash)
{
	struct limit_spent spent = {hash, limit, 1};

	if (!ring_put(sharing->rings[worker], &spent, SPENT_RING))
		counter_add(&sharing->rings[worker]->lost, 1);
}

void
sharing_ask(
    struct sharing *sharing, unsigned worker, uint32_t limit, uint64_t hash)
{
	struct limit_spent asked = {hash, limit, 0};

	ring_put(sharing->rings[worker], &asked, ASKED_MAX);
}

void
sharing_forgive(struct sharing *sharing, uint32_t limit, uint64_t hash)
{
	if (sharing->n_forgiven == FORGIVEN_MAX)
		return;
	sharing->forgiven = memory_grow(sharing->forgiven, sharing->n_forgiven,
	    &sharing->cap_forgiven, sizeof(*sharing->forgiven));
	sharing->forgiven[sharing->n_forgiven++] = (struct limit_spent){
	    .hash = hash, .limit = limit, .n = LIMIT_FORGIVEN};
}

/* ---- control's end ---- */

/*
 * The same on every instance, so no secret: who knows the prefix could make
 * keys of a limit that share a count with one another, and gains nothing.
 */
void
registry_share_secret(struct registry *registry, const char *prefix)
{
	static const uint8_t halves[2][16] = {"weir shared 1", "weir shared 2"};

	for (size_t i = 0; i < 2; i++) {
		uint64_t half = hash_keyed(halves[i], prefix, strlen(prefix));

		memcpy(registry->shared_secret + 8 * i, &half, sizeof(half));
	}
}

static size_t
ring_take(struct spent_ring *ring, struct limit_spent *out, size_t cap)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
	size_t n = 0;

	for (; n < cap && tail != head; tail++)
		out[n++] = ring->at[tail % SPENT_RING];
	atomic_store_explicit(&ring->tail, tail, memory_order_release);
	return n;
}

size_t
registry_take_spent(
    struct registry *registry, struct limit_spent *out, size_t cap)
{
	struct sharing *sharing = registry->sharing;
	size_t n = 0;

	while (n < cap && sharing->n_forgiven > 0)
		out[n++] = sharing->forgiven[--sharing->n_forgiven];
	for (unsigned i = 0; sharing->rings != NULL && i < sharing->workers;
	     i++)
		n += ring_take(sharing->rings[i], out + n, cap - n);
	return n;
}

nsec_t
registry_limit_debt(const struct registry *registry, uint64_t hash, nsec_t now)
{
	return limit_nsec(
	    limit_table_debt(registry->limit_table, hash, limit_ticks(now)));
}

double
registry_limit_interval_usec(const struct registry *registry, uint32_t limit)
{
	assert(limit < registry->sharing->n);
	return (double)registry->sharing->limits[limit].interval /
	       TICKS_PER_USEC;
}

void
registry_settle(struct registry *registry, uint64_t hash, nsec_t now,
    nsec_t seen, nsec_t debt)
{
	/* Plain spans, not times: they do not wrap. */
	limit_table_settle(registry->limit_table, hash, limit_ticks(now),
	    (tick_t)seen * 2 / 125, (tick_t)debt * 2 / 125);
}

double
registry_limit_part(const struct registry *registry, uint32_t limit)
{
	const struct shared_limit *shared = &registry->sharing->limits[limit];

	assert(limit < registry->sharing->n);
	return (double)shared->interval / (double)shared->burst;
}

nsec_t
registry_hear(struct registry *registry, uint64_t hash, nsec_t now, nsec_t debt)
{
	if (registry->limit_table == NULL)
		return 0;
	return limit_nsec(limit_table_raise(registry->limit_table, hash,
	    limit_ticks(now), (tick_t)(debt / 125 * 2)));
}

void
registry_forgive(struct registry *registry, uint64_t hash, nsec_t now)
{
	if (registry->limit_table != NULL)
		limit_table_set(
		    registry->limit_table, hash, limit_ticks(now), 0);
}

uint32_t
registry_limit_instances(const struct registry *registry)
{
	return atomic_load_explicit(
	    &registry->sharing->instances, memory_order_relaxed);
}

void
registry_share_limits(struct registry *registry, uint32_t instances)
{
	atomic_store_explicit(
	    &registry->sharing->instances, instances, memory_order_relaxed);
}

bool
registry_has_shared_limits(const struct registry *registry)
{
	return registry->sharing->n > 0;
}

uint64_t
registry_spent_lost(const struct registry *registry)
{
	const struct sharing *sharing = registry->sharing;
	uint64_t lost = 0;

	for (unsigned i = 0; sharing->rings != NULL && i < sharing->workers;
	     i++)
		lost += counter_read(&sharing->rings[i]->lost);
	return lost;
}
