/*
 * One pass over all series per reading. A series belongs to a split by its
 * route; routes and series come in much the same order, so each search goes
 * on where the last one ended.
 */
#include "admin/sampler.h"

#include <stdlib.h>
#include <string.h>

struct split_share {
	char *name; /* owned */
	uint64_t version;
	uint32_t n;
	struct share slots[CONFIG_SPLIT_POOLS_MAX];
	/* while a reading goes on */
	struct {
		uint64_t requests, failures;
		struct histogram_sum latency;
	} sums[CONFIG_SPLIT_POOLS_MAX];
	bool is_live;
};

struct pool_meter {
	char *name; /* owned */
	struct meter meter;
	bool is_live;
};

struct sampler {
	struct registry *registry;   /* borrowed */
	struct split_share **splits; /* owned */
	size_t n_splits;
	struct pool_meter **pools; /* owned */
	size_t n_pools;
	/* while a reading goes on */
	const struct config *config;
	size_t route_hint;
};

struct sampler *
sampler_new(struct registry *registry)
{
	struct sampler *sampler = calloc(1, sizeof(*sampler));

	if (sampler)
		sampler->registry = registry;
	return sampler;
}

/* ---- the lists ---- */

static void
split_share_free(struct split_share *split)
{
	for (uint32_t i = 0; i < split->n; i++)
		free(split->slots[i].pool);
	free(split->name);
	free(split);
}

static struct split_share *
split_share_find(const struct sampler *sampler, const char *name)
{
	for (size_t i = 0; i < sampler->n_splits; i++)
		if (strcmp(sampler->splits[i]->name, name) == 0)
			return sampler->splits[i];
	return NULL;
}

static bool
has_same_pools(const struct split_share *share, const struct split *split)
{
	if (share->n != split->n_pools)
		return false;
	for (uint32_t i = 0; i < share->n; i++)
		if (strcmp(share->slots[i].pool, split->pools[i]) != 0)
			return false;
	return true;
}

static struct split_share *
split_share_new(const struct split *split)
{
	struct split_share *share = calloc(1, sizeof(*share));

	if (!share)
		return NULL;
	share->name = strdup(split->name);
	for (; share->n < split->n_pools; share->n++) {
		share->slots[share->n].pool = strdup(split->pools[share->n]);
		if (!share->slots[share->n].pool)
			break;
	}
	if (share->name && share->n == split->n_pools)
		return share;
	split_share_free(share);
	return NULL;
}

/* Makes room for one more pointer; the array stays as it was on failure. */
static bool
grow(void ***list, size_t n)
{
	void **bigger = realloc(*list, (n + 1) * sizeof(**list));

	if (!bigger)
		return false;
	*list = bigger;
	return true;
}

static void
meet_split(struct sampler *sampler, const struct split *split)
{
	struct split_share *share = split_share_find(sampler, split->name);

	if (share && has_same_pools(share, split)) {
		share->is_live = true;
		memset(share->sums, 0, sizeof(share->sums));
		return;
	}
	if (share)
		return; /* left dead: swept, and made anew at the next reading
		         */
	share = split_share_new(split);
	if (!share || !grow((void ***)&sampler->splits, sampler->n_splits)) {
		if (share)
			split_share_free(share);
		return;
	}
	share->is_live = true;
	sampler->splits[sampler->n_splits++] = share;
}

static void
sweep_splits(struct sampler *sampler)
{
	size_t kept = 0;

	for (size_t i = 0; i < sampler->n_splits; i++) {
		struct split_share *share = sampler->splits[i];

		if (share->is_live)
			sampler->splits[kept++] = share;
		else
			split_share_free(share);
	}
	sampler->n_splits = kept;
}

/* ---- one reading ---- */

static const char *
split_of_route(struct sampler *sampler, const char *route)
{
	const struct config *config = sampler->config;

	for (size_t i = 0; i < config->n_routes; i++) {
		size_t at = (sampler->route_hint + i) % config->n_routes;
		const struct route_cfg *cfg = &config->routes[at];

		if (strcmp(cfg->name, route) != 0)
			continue;
		sampler->route_hint = at;
		return cfg->action == ROUTE_SPLIT
		           ? config->splits[cfg->target].name
		           : NULL;
	}
	return NULL;
}

static void
take_series(
    void *ctx, const struct series_view *view, const struct series_stats *stats)
{
	struct sampler *sampler = ctx;
	const char *name = split_of_route(sampler, view->route);
	struct split_share *split =
	    name ? split_share_find(sampler, name) : NULL;
	uint32_t slot = 0;

	if (!split || !split->is_live)
		return;
	while (
	    slot < split->n && strcmp(split->slots[slot].pool, view->pool) != 0)
		slot++;
	if (slot == split->n)
		return;
	for (uint32_t i = 0; i < stats->n_codes; i++) {
		split->sums[slot].requests += stats->codes[i].count;
		if (stats->codes[i].status >= 500)
			split->sums[slot].failures += stats->codes[i].count;
	}
	histogram_sum_add(&split->sums[slot].latency, &stats->total);
}

static void
feed_split(struct sampler *sampler, struct split_share *share, nsec_t now)
{
	const struct split *split =
	    registry_split(sampler->registry, share->name);
	uint64_t version = split ? split_weights(split)->version : 0;
	bool has_changed = version != share->version;

	share->version = version;
	for (uint32_t i = 0; i < share->n; i++) {
		struct share *slot = &share->slots[i];
		uint64_t requests = share->sums[i].requests;

		meter_feed(&slot->meter, now, requests, share->sums[i].failures,
		    &share->sums[i].latency);
		if (has_changed || requests < slot->at_change)
			slot->at_change = requests;
	}
}

static struct pool_meter *
meet_pool(struct sampler *sampler, const char *name)
{
	struct pool_meter *pool;

	for (size_t i = 0; i < sampler->n_pools; i++)
		if (strcmp(sampler->pools[i]->name, name) == 0)
			return sampler->pools[i];
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return NULL;
	pool->name = strdup(name);
	if (!pool->name || !grow((void ***)&sampler->pools, sampler->n_pools)) {
		free(pool->name);
		free(pool);
		return NULL;
	}
	sampler->pools[sampler->n_pools++] = pool;
	return pool;
}

static void
read_pools(struct sampler *sampler, const struct snapshot *snapshot, nsec_t now)
{
	size_t kept = 0;

	for (size_t i = 0; i < sampler->n_pools; i++)
		sampler->pools[i]->is_live = false;
	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++) {
		const struct pool *pool = snapshot_pool(snapshot, i)->pool;
		struct pool_meter *meter = meet_pool(sampler, pool->name);
		struct pool_stats stats;

		if (!meter)
			continue;
		meter->is_live = true;
		pool_stats_read(
		    pool, registry_workers(sampler->registry), &stats);
		meter_feed(&meter->meter, now, stats.requests, stats.failures,
		    &stats.total);
	}
	for (size_t i = 0; i < sampler->n_pools; i++) {
		struct pool_meter *meter = sampler->pools[i];

		if (meter->is_live) {
			sampler->pools[kept++] = meter;
		} else {
			free(meter->name);
			free(meter);
		}
	}
	sampler->n_pools = kept;
}

void
sampler_read(struct sampler *sampler, nsec_t now)
{
	struct registry *registry = sampler->registry;
	struct snapshot *snapshot =
	    publication_current(registry_publication(registry));

	if (!snapshot)
		return;
	sampler->config = snapshot_config(snapshot);
	sampler->route_hint = 0;
	for (size_t i = 0; i < sampler->n_splits; i++)
		sampler->splits[i]->is_live = false;
	for (size_t i = 0; i < registry_n_splits(registry); i++)
		meet_split(sampler, registry_split_at(registry, i));
	registry_each_series(registry, take_series, sampler);
	sweep_splits(sampler);
	for (size_t i = 0; i < sampler->n_splits; i++)
		feed_split(sampler, sampler->splits[i], now);
	read_pools(sampler, snapshot, now);
	sampler->config = NULL;
}

/* ---- what was read ---- */

const struct meter *
sampler_pool(const struct sampler *sampler, const char *pool)
{
	for (size_t i = 0; i < sampler->n_pools; i++)
		if (strcmp(sampler->pools[i]->name, pool) == 0)
			return &sampler->pools[i]->meter;
	return NULL;
}

const struct share *
sampler_share(const struct sampler *sampler, const char *split, uint32_t slot)
{
	const struct split_share *share = split_share_find(sampler, split);

	return share && slot < share->n ? &share->slots[slot] : NULL;
}

static uint64_t
since_change(const struct share *share)
{
	return meter_requests(&share->meter) - share->at_change;
}

uint64_t
sampler_split_total(const struct sampler *sampler, const char *split)
{
	const struct split_share *share = split_share_find(sampler, split);
	uint64_t total = 0;

	for (uint32_t i = 0; share && i < share->n; i++)
		total += since_change(&share->slots[i]);
	return total;
}

double
sampler_actual(const struct sampler *sampler, const char *split, uint32_t slot)
{
	const struct share *share = sampler_share(sampler, split, slot);

	return share ? (double)since_change(share) /
	                   (double)sampler_split_total(sampler, split)
	             : 0;
}

void
sampler_free(struct sampler **sampler)
{
	if (!*sampler)
		return;
	for (size_t i = 0; i < (*sampler)->n_splits; i++)
		split_share_free((*sampler)->splits[i]);
	for (size_t i = 0; i < (*sampler)->n_pools; i++) {
		free((*sampler)->pools[i]->name);
		free((*sampler)->pools[i]);
	}
	free((*sampler)->splits);
	free((*sampler)->pools);
	free(*sampler);
	*sampler = NULL;
}
