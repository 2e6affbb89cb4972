/*
 * Open addressing over an array that keeps the order of arrival. A sweep
 * rebuilds the index, so that there are no tombstones. The names come from
 * the operator's file: the hash need not withstand an enemy.
 */
#include "routing/names.h"

#include <assert.h>

#include "routing/memory.h"

static uint64_t
key_hash(struct span key)
{
	uint64_t hash = span_hash(key);

	return hash ^ hash >> 29;
}

static void
index_put(struct names *names, size_t position)
{
	size_t at = names->at[position].hash & (names->n_index - 1);

	while (names->index[at] != 0)
		at = (at + 1) & (names->n_index - 1);
	names->index[at] = (uint32_t)position + 1;
}

static void
index_rebuild(struct names *names)
{
	size_t n = 16;

	while (n < names->n * 4)
		n *= 2;
	free(names->index);
	names->index = memory_take(n, sizeof(*names->index));
	names->n_index = n;
	for (size_t i = 0; i < names->n; i++)
		index_put(names, i);
}

long
names_find(const struct names *names, struct span key)
{
	uint64_t hash = key_hash(key);
	size_t at;

	if (names->n_index == 0)
		return -1;
	at = hash & (names->n_index - 1);
	for (; names->index[at] != 0; at = (at + 1) & (names->n_index - 1)) {
		const struct name *name = &names->at[names->index[at] - 1];

		if (name->hash == hash && name->len == key.len &&
		    memcmp(name->key, key.ptr, key.len) == 0)
			return (long)names->index[at] - 1;
	}
	return -1;
}

void *
names_get(const struct names *names, struct span key)
{
	long position = names_find(names, key);

	return position < 0 ? NULL : names->at[position].object;
}

size_t
names_put(struct names *names, struct span key, void *object)
{
	struct name *name;

	assert(names_find(names, key) < 0);
	names->at =
	    memory_grow(names->at, names->n, &names->cap, sizeof(*names->at));
	name = &names->at[names->n];
	name->key = memory_take(key.len + 1, 1);
	memcpy(name->key, key.ptr, key.len);
	name->len = key.len;
	name->hash = key_hash(key);
	name->object = object;
	names->n++;
	if (names->n * 2 > names->n_index)
		index_rebuild(names);
	else
		index_put(names, names->n - 1);
	return names->n - 1;
}

void
names_sweep(struct names *names, bool (*is_used)(const void *object),
    void (*drop)(void *object))
{
	size_t kept = 0;

	for (size_t i = 0; i < names->n; i++) {
		struct name *name = &names->at[i];

		if (is_used(name->object)) {
			names->at[kept++] = *name;
			continue;
		}
		drop(name->object);
		free(name->key);
	}
	if (kept == names->n)
		return;
	names->n = kept;
	index_rebuild(names);
}

void
names_release(struct names *names, void (*drop)(void *object))
{
	for (size_t i = 0; i < names->n; i++) {
		drop(names->at[i].object);
		free(names->at[i].key);
	}
	free(names->at);
	free(names->index);
	*names = (struct names){0};
}
