/*
 * What survives reloads, by name. Objects are made or found when a snapshot
 * is built, counted by every snapshot that has them, and swept when the last
 * of these has been freed. Listeners alone are kept for good (see registry.h).
 */
#include "routing/registry.h"

#include "routing/limit/limit.h"
#include "routing/limit/shared.h"
#include "routing/memory.h"

struct registry *
registry_new(unsigned workers, const uint8_t secret[16])
{
	struct registry *registry = memory_take(1, sizeof(*registry));

	assert(workers > 0);
	registry->workers = workers;
	memcpy(registry->secret, secret, sizeof(registry->secret));
	registry->sharing = sharing_new(workers);
	registry->publication.registry = registry;
	atomic_init(&registry->publication.epoch, 1);
	registry->publication.seats =
	    memory_take_lines(workers, sizeof(struct seat));
	return registry;
}

/* A name whose object is the sharing itself. */
static void
shared_limit_drop(void *sharing)
{
	(void)sharing;
}

static void
tally_free(void *dead)
{
	struct tally *tally = dead;

	free(tally->route);
	free(tally->cells);
	free(tally);
}

static void
listener_free(void *dead)
{
	struct listener *listener = dead;

	listener->unrouted->refs--;
	free(listener->name);
	free(listener->cells);
	free(listener);
}

static void
pending_free_all(struct registry *registry)
{
	while (registry->pending != NULL) {
		struct pending *dead = registry->pending;

		registry->pending = dead->next;
		split_state_release(&dead->state);
		free(dead->name);
		free(dead);
	}
}

/* The workers have ended: whatever they held is nobody's now. */
void
registry_free(struct registry **registry)
{
	struct registry *dead = *registry;
	struct snapshot *current;
	struct geo *geo;

	*registry = NULL;
	if (dead == NULL)
		return;
	while ((current = dead->publication.retired) != NULL) {
		dead->publication.retired = current->next;
		snapshot_free(&current);
	}
	current = publication_current(&dead->publication);
	if (current != NULL)
		snapshot_free(&current);
	if (dead->built != NULL)
		snapshot_free(&dead->built);
	names_release(&dead->listeners, listener_free);
	names_release(&dead->series, series_free);
	names_release(&dead->endpoints, endpoint_free);
	names_release(&dead->pools, pool_free);
	names_release(&dead->tallies, tally_free);
	names_release(&dead->geo_tallies, geo_tally_free);
	geo_reap(dead);
	geo = atomic_load(&dead->geo);
	geo_free(&geo);
	limit_table_free(&dead->limit_table);
	names_release(&dead->shared_limits, shared_limit_drop);
	sharing_free(&dead->sharing);
	pending_free_all(dead);
	while (dead->sets != NULL) {
		struct endpoint_set *set =
		    registry_take_set(dead, dead->sets->pool);

		endpoint_set_free(&set);
	}
	free(dead->publication.seats);
	free(dead);
}

unsigned
registry_workers(const struct registry *registry)
{
	return registry->workers;
}

struct publication *
registry_publication(struct registry *registry)
{
	return &registry->publication;
}

/* ---- made or found ---- */

struct pool *
registry_pool(struct registry *registry, const char *name)
{
	struct pool *pool = names_get(&registry->pools, span_of(name));

	if (pool == NULL) {
		pool = pool_new(name, registry->workers);
		names_put(&registry->pools, span_of(name), pool);
	}
	pool->refs++;
	return pool;
}

/* Parts of a name with NULs between them: no part can hold one. */
static struct span
key_join(const char *const parts[], size_t n)
{
	char *text = NULL;
	size_t len = 0;

	for (size_t i = 0; i < n; i++)
		len += strlen(parts[i]) + 1;
	text = memory_take(len, 1);
	len = 0;
	for (size_t i = 0; i < n; i++) {
		size_t part = strlen(parts[i]) + 1;

		memcpy(text + len, parts[i], part);
		len += part;
	}
	return (struct span){text, len};
}

static void
key_free(struct span key)
{
	free((char *)(uintptr_t)key.ptr);
}

struct endpoint *
registry_endpoint(
    struct registry *registry, struct pool *pool, const struct address *address)
{
	const char *const parts[] = {pool->name, address->text};
	struct span key = key_join(parts, 2);
	struct endpoint *endpoint = names_get(&registry->endpoints, key);

	if (endpoint == NULL) {
		endpoint = endpoint_new(pool, address, registry->workers);
		names_put(&registry->endpoints, key, endpoint);
	}
	key_free(key);
	endpoint->refs++;
	return endpoint;
}

struct series *
registry_series(struct registry *registry, const char *listener,
    const char *route, const char *pool)
{
	const char *const parts[] = {listener, route, pool};
	struct span key = key_join(parts, 3);
	struct series *series = names_get(&registry->series, key);

	if (series == NULL) {
		series = series_new(listener, route, pool, registry->workers);
		names_put(&registry->series, key, series);
	}
	key_free(key);
	series->refs++;
	return series;
}

struct listener *
registry_listener(struct registry *registry, const char *name)
{
	struct listener *listener =
	    names_get(&registry->listeners, span_of(name));

	if (listener != NULL)
		return listener;
	listener = memory_take(1, sizeof(*listener));
	listener->name = memory_text(name);
	listener->cells =
	    memory_take_lines(registry->workers, sizeof(*listener->cells));
	listener->unrouted = registry_series(registry, name, "", "");
	names_put(&registry->listeners, span_of(name), listener);
	return listener;
}

struct tally *
registry_tally(struct registry *registry, const char *route)
{
	struct tally *tally = names_get(&registry->tallies, span_of(route));

	if (tally == NULL) {
		tally = memory_take(1, sizeof(*tally));
		tally->route = memory_text(route);
		tally->cells = memory_take_lines(
		    registry->workers, sizeof(*tally->cells));
		names_put(&registry->tallies, span_of(route), tally);
	}
	tally->refs++;
	return tally;
}

int
registry_listener_id(struct registry *registry, const char *name)
{
	return (int)names_find(&registry->listeners, span_of(name));
}

/* ---- splits ---- */

static const struct snapshot *
splits_of(struct registry *registry)
{
	struct snapshot *current = publication_current(&registry->publication);

	return current != NULL ? current : registry->built;
}

size_t
registry_n_splits(const struct registry *registry)
{
	const struct snapshot *snapshot =
	    splits_of((struct registry *)(uintptr_t)registry);

	return snapshot != NULL ? snapshot->config->n_splits : 0;
}

struct split *
registry_split_at(struct registry *registry, size_t i)
{
	assert(i < registry_n_splits(registry));
	return splits_of(registry)->splits[i];
}

struct split *
registry_split(struct registry *registry, const char *name)
{
	size_t n = registry_n_splits(registry);

	for (size_t i = 0; i < n; i++)
		if (strcmp(registry_split_at(registry, i)->name, name) == 0)
			return registry_split_at(registry, i);
	return NULL;
}

/* ---- swept ---- */

static bool
pool_is_used(const void *pool)
{
	return ((const struct pool *)pool)->refs > 0;
}

static bool
endpoint_is_used(const void *endpoint)
{
	return ((const struct endpoint *)endpoint)->refs > 0;
}

static bool
series_is_used(const void *series)
{
	return ((const struct series *)series)->refs > 0;
}

static bool
tally_is_used(const void *tally)
{
	return ((const struct tally *)tally)->refs > 0;
}

void
registry_sweep(struct registry *registry)
{
	names_sweep(&registry->tallies, tally_is_used, tally_free);
	names_sweep(&registry->geo_tallies, geo_tally_is_used, geo_tally_free);
	names_sweep(&registry->series, series_is_used, series_free);
	names_sweep(&registry->endpoints, endpoint_is_used, endpoint_free);
	/* Last: endpoints are counted in their pools. */
	names_sweep(&registry->pools, pool_is_used, pool_free);
}
