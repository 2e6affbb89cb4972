/*
 * A dictionary from names to registry objects, in order of arrival. Only the
 * control thread touches it; workers reach the objects through snapshots.
 */
#ifndef WEIR_ROUTING_NAMES_H
#define WEIR_ROUTING_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/span.h"

struct name {
	char *key; /* owned; may hold NULs between the parts of a name */
	size_t len;
	uint64_t hash;
	void *object; /* owned by the dictionary's owner */
};

struct names {
	struct name *at; /* owned */
	size_t n, cap;
	uint32_t *index; /* owned: positions + 1 by hash, 0 is free */
	size_t n_index;  /* a power of two, at least twice n */
};

/* The position, or -1. */
long names_find(const struct names *names, struct span key);
void *names_get(const struct names *names, struct span key); /* NULL: none */
/* Must not be there yet. Returns the position. */
size_t names_put(struct names *names, struct span key, void *object);
/* Gives every object that is not used to `drop` and forgets its name. */
void names_sweep(struct names *names, bool (*is_used)(const void *object),
    void (*drop)(void *object));
void names_release(struct names *names, void (*drop)(void *object));

#endif
