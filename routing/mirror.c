/*
 * Copies of requests: which ones, by lot, and what came of them. A copy is
 * nobody's evidence and changes no weight; whoever sends it is proxy's affair.
 */
#include <assert.h>

#include "routing/chance.h"
#include "routing/registry.h"

const char *
mirror_result_name(enum mirror_result result)
{
	static const char *const names[MIRROR_RESULT_COUNT] = {
	    [MIRROR_SAME] = "same",
	    [MIRROR_OTHER_STATUS] = "other_status",
	    [MIRROR_OTHER_SIZE] = "other_size",
	    [MIRROR_FAILED] = "failed",
	    [MIRROR_UNCOMPARED] = "uncompared",
	};

	assert(result < MIRROR_RESULT_COUNT);
	return names[result];
}

const char *
mirror_skip_name(enum mirror_skip skip)
{
	static const char *const names[MIRROR_SKIP_COUNT] = {
	    [MIRROR_SKIP_BUSY] = "busy",
	    [MIRROR_SKIP_BODY] = "body",
	    [MIRROR_SKIP_CUT] = "cut",
	    [MIRROR_SKIP_MEMORY] = "memory",
	};

	assert(skip < MIRROR_SKIP_COUNT);
	return names[skip];
}

const struct pool_view *
routing_mirror(const struct snapshot *snapshot, const struct decision *decision,
    enum http_method method, struct rng *rng)
{
	const struct mirror_cfg *cfg = &decision->route->split_cfg->mirror;
	const struct pool_view *to = &snapshot->pools[cfg->to];

	assert(cfg->is_on);
	if ((cfg->methods >> method & 1) == 0 || decision->pool == to ||
	    chance_below(rng, BP_ALL) >= cfg->percent)
		return NULL;
	return to;
}

struct mirror_cell *
routing_mirror_cell(const struct decision *decision, unsigned worker)
{
	return &decision->route->split->mirrors[worker];
}

void
mirror_stats_read(
    const struct split *split, unsigned workers, struct mirror_stats *out)
{
	*out = (struct mirror_stats){0};
	for (unsigned i = 0; i < workers; i++) {
		const struct mirror_cell *cell = &split->mirrors[i];

		for (int j = 0; j < MIRROR_RESULT_COUNT; j++)
			out->results[j] += counter_read(&cell->results[j]);
		for (int j = 0; j < MIRROR_SKIP_COUNT; j++)
			out->skips[j] += counter_read(&cell->skips[j]);
		out->in_flight += atomic_load_explicit(
		    &((struct mirror_cell *)(uintptr_t)cell)->in_flight,
		    memory_order_relaxed);
	}
}
