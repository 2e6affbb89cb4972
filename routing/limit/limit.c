/*
 * GCRA, as arithmetic: see limit.h. A test walks through an hour in a loop.
 */
#include "routing/limit/limit.h"

#include <assert.h>

/* 1 tick is 62.5 ns. */
tick_t
limit_ticks(nsec_t time)
{
	return (tick_t)time * 2 / 125 & ((UINT64_C(1) << TICK_BITS) - 1);
}

nsec_t
limit_nsec(tick_t ticks)
{
	return (nsec_t)(ticks * 125 / 2);
}

struct limit_rule
limit_rule_of(const struct limit_cfg *cfg)
{
	double nsec = (double)cfg->rate.per / (double)cfg->rate.count;
	tick_t interval = (tick_t)(nsec * TICKS_PER_USEC / 1000 + 0.5);

	if (interval == 0)
		interval = 1;
	assert(cfg->burst > 0 && interval <= LIMIT_DEBT_MAX * 2 / cfg->burst);
	return (struct limit_rule){interval, interval * cfg->burst, 1};
}

bool
limit_take(const struct limit_rule *rule, tick_t debt, tick_t *debt_out,
    struct limit_answer *answer_out)
{
	bool may_pass = debt + rule->interval <= rule->burst;

	if (may_pass)
		debt += rule->interval * rule->share;
	*debt_out = debt;
	answer_out->left = 0;
	if (debt < rule->burst)
		answer_out->left =
		    (uint32_t)((rule->burst - debt) / rule->interval);
	answer_out->restored_in = limit_nsec(debt);
	answer_out->free_in = 0;
	if (debt + rule->interval > rule->burst)
		answer_out->free_in =
		    limit_nsec(debt + rule->interval - rule->burst);
	return may_pass;
}
