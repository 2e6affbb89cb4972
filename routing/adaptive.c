/*
 * Adaptive limits of pools: the workers' measurements to the controller
 * (gradient.c), and its limit to where they take places.
 *
 * What an answer took is cut at CUT times the usual: a few that hang for long
 * must not look like a pool that has become slow. A failure that came sooner
 * than an answer usually does tells nothing; one that took long does.
 */
#include "routing/memory.h"
#include "routing/registry.h"

enum { CUT = 16 };

/* ---- workers ---- */

void
pool_took(struct pool *pool, unsigned worker, nsec_t took, bool is_bad)
{
	struct places *places = pool->places;
	nsec_t usual =
	    atomic_load_explicit(&places->usual, memory_order_relaxed);

	if (is_bad && (usual == 0 || took < usual))
		return;
	if (usual > 0 && took > CUT * usual)
		took = CUT * usual;
	counter_add(&places->took[worker].sum, took > 0 ? (uint64_t)took : 0);
	counter_add(&places->took[worker].n, 1);
}

/* ---- control ---- */

static struct gradient_cfg
bounds_of(const struct pool_limits_cfg *cfg)
{
	return (struct gradient_cfg){
	    .min = cfg->adaptive.min,
	    .max = cfg->in_flight,
	    .tolerance = 1 + cfg->adaptive.tolerance / (double)BP_ALL,
	};
}

static struct gradient_sample
measure(const struct pool *pool, struct places *places)
{
	uint64_t n = 0, sum = 0, refused = 0;
	struct gradient_sample sample = {
	    .in_flight =
	        atomic_load_explicit(&places->taken, memory_order_relaxed),
	    .is_pressed = atomic_load_explicit(
	                      &places->waiting, memory_order_relaxed) > 0,
	};

	for (unsigned i = 0; i < places->workers; i++) {
		const struct pool_cell *cell = &pool->cells[i];

		n += counter_read(&places->took[i].n);
		sum += counter_read(&places->took[i].sum);
		refused += counter_read(&cell->full) +
		           counter_read(&cell->late) +
		           counter_read(&cell->held);
	}
	sample.is_pressed |= refused != places->seen_refused;
	sample.n = n - places->seen_n;
	sample.sum = (double)(sum - places->seen_sum);
	places->seen_n = n;
	places->seen_sum = sum;
	places->seen_refused = refused;
	return sample;
}

static void
begin(struct registry *registry, struct pool *pool,
    const struct gradient_cfg *cfg, nsec_t now)
{
	struct places *places = pool->places;

	gradient_init(&places->gradient, cfg,
	    hash_keyed(registry->secret, pool->name, strlen(pool->name)), now);
	places->is_adaptive = true;
	measure(pool, places); /* what was before is nobody's */
}

static void
end(struct places *places)
{
	places->is_adaptive = false;
	atomic_store_explicit(&places->limit, UINT32_MAX, memory_order_relaxed);
	atomic_store_explicit(&places->usual, 0, memory_order_relaxed);
}

static void
adapt(struct registry *registry, const struct pool_view *view, nsec_t now)
{
	struct places *places = view->pool->places;
	struct gradient_cfg cfg = bounds_of(&view->cfg->limits);
	struct gradient_sample sample;

	if (!places->is_adaptive)
		begin(registry, view->pool, &cfg, now);
	sample = measure(view->pool, places);
	atomic_store_explicit(&places->limit,
	    gradient_step(&places->gradient, &cfg, &sample, now),
	    memory_order_relaxed);
	atomic_store_explicit(&places->usual, (int64_t)places->gradient.usual,
	    memory_order_relaxed);
}

void
registry_adapt(struct registry *registry, nsec_t now)
{
	struct snapshot *snapshot = publication_current(&registry->publication);

	for (size_t i = 0; snapshot && i < snapshot_n_pools(snapshot); i++) {
		const struct pool_view *view = snapshot_pool(snapshot, i);

		if (view->cfg->limits.adaptive.is_on)
			adapt(registry, view, now);
		else if (view->pool->places->is_adaptive)
			end(view->pool->places);
	}
}

bool
pool_adaptive_read(const struct pool_view *view, struct adaptive_stats *out)
{
	const struct places *places = view->pool->places;
	const struct gradient *g = &places->gradient;

	if (!view->cfg->limits.adaptive.is_on || !places->is_adaptive)
		return false;
	*out = (struct adaptive_stats){
	    .limit = (uint32_t)g->limit,
	    .state = gradient_state_name(g->state),
	    .latest = (nsec_t)g->latest,
	    .usual = (nsec_t)g->usual,
	    .samples = g->samples,
	    .probes = g->probes,
	};
	return true;
}
