/*
 * Maglev's table (Eisenbud and others, NSDI 2016): every endpoint has its own
 * order of preference over the entries of a table and takes in turn the first
 * that is still free. When one leaves, its entries are shared out and few of
 * the others change. The order follows from the address alone, so that all
 * instances make the same table.
 */
#include "routing/memory.h"
#include "routing/registry.h"

enum { MAGLEV_SPREAD = 100 }; /* table entries for each endpoint, at least */

static uint32_t
maglev_size(size_t n)
{
	static const uint32_t primes[] = {
	    1021, 4099, 16411, 65537, 262147, 1048583};
	size_t i = 0;

	while (i < sizeof(primes) / sizeof(*primes) - 1 &&
	       primes[i] < n * MAGLEV_SPREAD)
		i++;
	return primes[i];
}

/* An endpoint's own order of preference: start, start + step, ... */
struct preference {
	uint32_t next, step;
	uint32_t credit;
};

static void
preferences_init(
    struct preference *preferences, const struct pool_view *view, uint32_t size)
{
	static const uint8_t start[16] = "maglev start",
	                     step[16] = "maglev step";

	for (size_t i = 0; i < view->n_endpoints; i++) {
		const char *text = view->endpoints[i]->address.text;
		size_t len = strlen(text);

		preferences[i].next =
		    (uint32_t)(hash_keyed(start, text, len) % size);
		preferences[i].step =
		    (uint32_t)(hash_keyed(step, text, len) % (size - 1) + 1);
	}
}

static void
maglev_take(
    uint32_t *table, uint32_t size, struct preference *own, uint32_t endpoint)
{
	while (table[own->next] != UINT32_MAX)
		own->next =
		    (uint32_t)(((uint64_t)own->next + own->step) % size);
	table[own->next] = endpoint;
}

/* Endpoints take free entries in turn; a lighter one misses turns. */
static void
maglev_fill(uint32_t *table, uint32_t size, struct preference *preferences,
    const uint32_t *weights, size_t n)
{
	uint32_t filled = 0, heaviest = 1;

	for (size_t i = 0; i < n; i++)
		if (weights[i] > heaviest)
			heaviest = weights[i];
	for (size_t i = 0; filled < size; i = (i + 1) % n) {
		preferences[i].credit += weights[i];
		if (preferences[i].credit < heaviest)
			continue;
		preferences[i].credit -= heaviest;
		maglev_take(table, size, &preferences[i], (uint32_t)i);
		filled++;
	}
}

uint32_t *
maglev_new(
    const struct pool_view *view, const uint32_t *weights, uint32_t *size_out)
{
	size_t n = view->n_endpoints;
	uint32_t size = maglev_size(n), *table;
	struct preference *preferences;

	if (n == 0)
		return NULL;
	table = memory_take(size, sizeof(*table));
	for (uint32_t i = 0; i < size; i++)
		table[i] = UINT32_MAX;
	preferences = memory_take(n, sizeof(*preferences));
	preferences_init(preferences, view, size);
	maglev_fill(table, size, preferences, weights, n);
	free(preferences);
	*size_out = size;
	return table;
}
