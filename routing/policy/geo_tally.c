/*
 * Requests by route and country, where a place was looked up. What stands in
 * the label is a country of ISO or one of two words, so there are never more
 * than some 250.
 */
#include "routing/memory.h"
#include "routing/policy/geo.h"
#include "routing/registry.h"

struct geo_cell {
	alignas(CACHE_LINE) counter_t countries[COUNTRIES + 1];
};

struct geo_tally {
	char *route; /* owned */
	uint32_t refs;
	unsigned workers;
	struct geo_cell *cells; /* owned: [workers] */
};

struct geo_tally *
registry_geo_tally(struct registry *registry, const char *route)
{
	struct geo_tally *tally =
	    names_get(&registry->geo_tallies, span_of(route));

	if (tally == NULL) {
		tally = memory_take(1, sizeof(*tally));
		tally->route = memory_text(route);
		tally->workers = registry->workers;
		tally->cells =
		    memory_take_lines(registry->workers, sizeof(*tally->cells));
		names_put(&registry->geo_tallies, span_of(route), tally);
	}
	tally->refs++;
	return tally;
}

void
geo_tally_unref(struct geo_tally *tally)
{
	if (tally != NULL)
		tally->refs--;
}

bool
geo_tally_is_used(const void *tally)
{
	return ((const struct geo_tally *)tally)->refs > 0;
}

void
geo_tally_free(void *dead)
{
	struct geo_tally *tally = dead;

	free(tally->route);
	free(tally->cells);
	free(tally);
}

void
geo_tally_count(struct geo_tally *tally, unsigned worker, unsigned country)
{
	counter_add(&tally->cells[worker].countries[country], 1);
}

static void
tally_each(const struct geo_tally *tally, geo_fn *fn, void *ctx)
{
	uint64_t other = 0, unknown = 0;

	for (unsigned i = 0; i <= COUNTRIES; i++) {
		uint64_t n = 0;
		char code[3];

		for (unsigned j = 0; j < tally->workers; j++)
			n += counter_read(&tally->cells[j].countries[i]);
		country_print(i, code);
		if (i == COUNTRY_NONE)
			unknown = n;
		else if (!country_is_iso(i))
			other += n;
		else if (n > 0)
			fn(ctx, tally->route, code, n);
	}
	fn(ctx, tally->route, "unknown", unknown);
	if (other > 0)
		fn(ctx, tally->route, "other", other);
}

void
registry_each_country(struct registry *registry, geo_fn *fn, void *ctx)
{
	for (size_t i = 0; i < registry->geo_tallies.n; i++)
		tally_each(registry->geo_tallies.at[i].object, fn, ctx);
}
