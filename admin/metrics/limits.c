/* Families about limits of pools that move by themselves. */
#include "admin/metrics/metrics.h"

typedef void limit_family_fn(
    struct exposition *x, const char *pool, const struct adaptive_stats *stats);

static void
each_adaptive(
    struct exposition *x, const struct admin *admin, limit_family_fn *fn)
{
	struct snapshot *snapshot =
	    publication_current(registry_publication(admin->registry));
	struct adaptive_stats stats;

	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++) {
		const struct pool_view *view = snapshot_pool(snapshot, i);

		if (pool_adaptive_read(view, &stats))
			fn(x, view->pool->name, &stats);
	}
}

static void
put_limit(
    struct exposition *x, const char *pool, const struct adaptive_stats *stats)
{
	family_value(x, (struct label[]){{"pool", pool}, {0}}, stats->limit);
}

static void
put_latency(
    struct exposition *x, const char *pool, const struct adaptive_stats *stats)
{
	family_value(x,
	    (struct label[]){{"pool", pool}, {"kind", "latest"}, {0}},
	    (double)stats->latest / NSEC_PER_SEC);
	family_value(x,
	    (struct label[]){{"pool", pool}, {"kind", "usual"}, {0}},
	    (double)stats->usual / NSEC_PER_SEC);
}

static void
put_samples(
    struct exposition *x, const char *pool, const struct adaptive_stats *stats)
{
	family_count(x, (struct label[]){{"pool", pool}, {0}}, stats->samples);
}

static void
put_probes(
    struct exposition *x, const char *pool, const struct adaptive_stats *stats)
{
	family_count(x, (struct label[]){{"pool", pool}, {0}}, stats->probes);
}

void
metrics_limits(struct exposition *x, const struct admin *admin)
{
	family_begin(x, FAMILY_GAUGE, "weir_pool_limit",
	    "Requests that an adaptive limit lets into the pool at once.");
	each_adaptive(x, admin, put_limit);
	family_begin(x, FAMILY_GAUGE, "weir_pool_limit_latency_seconds",
	    "What an adaptive limit goes by: how long answers take to begin, "
	    "lately and usually.");
	each_adaptive(x, admin, put_latency);
	family_begin(x, FAMILY_COUNTER, "weir_pool_limit_samples",
	    "Answers that an adaptive limit has measured.");
	each_adaptive(x, admin, put_samples);
	family_begin(x, FAMILY_COUNTER, "weir_pool_limit_probes",
	    "How often an adaptive limit was lowered to see what is usual.");
	each_adaptive(x, admin, put_probes);
}
