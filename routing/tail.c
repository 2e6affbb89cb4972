/* The recent tail, see tail.h. And whose it is: a pool's, for hedging. */
#include "routing/tail.h"

#include <stdlib.h>

#include "routing/decide.h"

static void
fade(struct histogram_sum *sum)
{
	sum->count = 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		sum->bucket[i] /= 2;
		sum->count += sum->bucket[i];
	}
}

nsec_t
tail_look(struct tail *tail, const struct histogram_sum *now, double q)
{
	if (tail->recent.count > TAIL_ENOUGH)
		fade(&tail->recent);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		tail->recent.bucket[i] += now->bucket[i] - tail->last.bucket[i];
	tail->recent.count += now->count - tail->last.count;
	tail->last = *now;
	return tail->recent.count < TAIL_LEAST
	           ? 0
	           : histogram_quantile(&tail->recent, q);
}

void
pool_look_at_tail(const struct pool_view *view, unsigned worker)
{
	struct pool_cell *cells = view->pool->cells, *own = &cells[worker];
	struct histogram_sum now = {0};

	if (!own->tail)
		own->tail = calloc(1, sizeof(*own->tail));
	if (!own->tail) /* what was known stays */
		return;
	for (unsigned i = 0; i < view->pool->workers; i++)
		histogram_add(&now, &cells[i].first_byte);
	own->hedge_after = tail_look(
	    own->tail, &now, view->cfg->retry.hedge_quantile / (double)BP_ALL);
}
