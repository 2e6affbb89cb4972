/*
 * Looks at routing's counters once a second and keeps what the API shows of
 * them: a meter for every pool and for every pool of every split, and how the
 * requests of a split were divided since its weights last changed.
 */
#ifndef WEIR_ADMIN_SAMPLER_H
#define WEIR_ADMIN_SAMPLER_H

#include "admin/meter.h"

/* A pool's part in one split, counted over the routes that lead to the split.
 */
struct share {
	char *pool; /* owned */
	struct meter meter;
	uint64_t at_change; /* requests when the weights last changed */
};

struct sampler;
struct sampler *sampler_new(struct registry *registry);
void sampler_free(struct sampler **sampler);
/* Reads everything; call on a timer, before showing, and right after a change
 * of weights. */
void sampler_read(struct sampler *sampler, nsec_t now);
/* NULL: not seen yet. */
const struct meter *sampler_pool(
    const struct sampler *sampler, const char *pool);
const struct share *sampler_share(
    const struct sampler *sampler, const char *split, uint32_t slot);
/* Requests since the last change, all pools together; 0: nothing can be said.
 */
uint64_t sampler_split_total(const struct sampler *sampler, const char *split);
/* The slot's part of them, 0..1; the total must not be 0. */
double sampler_actual(
    const struct sampler *sampler, const char *split, uint32_t slot);

#endif
