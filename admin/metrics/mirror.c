/*
 * Families about copies of requests: what came of them, which ones were not
 * made, and how many are on their way.
 */
#include "admin/metrics/metrics.h"

typedef void mirror_fn(struct exposition *x, const char *split,
    const char *pool, const struct mirror_stats *stats);

static void
each_mirror(struct exposition *x, const struct admin *admin, mirror_fn *fn)
{
	const struct config *config = admin_config(admin);
	unsigned workers = registry_workers(admin->registry);

	for (size_t i = 0; i < config->n_splits; i++) {
		const struct split_cfg *cfg = &config->splits[i];
		struct split *split;
		struct mirror_stats stats;

		if (!cfg->mirror.is_on)
			continue;
		split = registry_split(admin->registry, cfg->name);
		if (!split)
			continue;
		mirror_stats_read(split, workers, &stats);
		fn(x, cfg->name, config->pools[cfg->mirror.to].name, &stats);
	}
}

static void
put_results(struct exposition *x, const char *split, const char *pool,
    const struct mirror_stats *stats)
{
	for (int i = 0; i < MIRROR_RESULT_COUNT; i++)
		family_count(x,
		    (struct label[]){{"split", split}, {"pool", pool},
		        {"result", mirror_result_name((enum mirror_result)i)},
		        {0}},
		    stats->results[i]);
}

static void
put_skips(struct exposition *x, const char *split, const char *pool,
    const struct mirror_stats *stats)
{
	for (int i = 0; i < MIRROR_SKIP_COUNT; i++)
		family_count(x,
		    (struct label[]){{"split", split}, {"pool", pool},
		        {"reason", mirror_skip_name((enum mirror_skip)i)}, {0}},
		    stats->skips[i]);
}

static void
put_in_flight(struct exposition *x, const char *split, const char *pool,
    const struct mirror_stats *stats)
{
	family_value(x, (struct label[]){{"split", split}, {"pool", pool}, {0}},
	    (double)stats->in_flight);
}

void
metrics_mirror(struct exposition *x, const struct admin *admin)
{
	family_begin(x, FAMILY_COUNTER, "weir_mirror_requests",
	    "Copies of requests that ended, by what came of them.");
	each_mirror(x, admin, put_results);
	family_begin(x, FAMILY_COUNTER, "weir_mirror_skipped",
	    "Requests that were drawn for a copy and not copied.");
	each_mirror(x, admin, put_skips);
	family_begin(x, FAMILY_GAUGE, "weir_mirror_in_flight",
	    "Copies that wait for their request's body or their answer.");
	each_mirror(x, admin, put_in_flight);
}
