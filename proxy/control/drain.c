/* The process's way out, see drain.h. */
#include "proxy/control/drain.h"

#include <stdio.h>

static nsec_t
later(nsec_t at, nsec_t by)
{
	return by > CONFIG_NEVER - at ? CONFIG_NEVER : at + by;
}

bool
drain_begin(struct drain *drain, const struct drain_cfg *cfg, const char *by,
    nsec_t now, time_t wall)
{
	if (drain->is_on)
		return false;
	drain->is_on = true;
	drain->cfg = *cfg;
	drain->closes_at = later(now, cfg->delay);
	drain->cut_at = later(drain->closes_at, cfg->limit);
	drain->began_at = wall;
	snprintf(drain->by, sizeof(drain->by), "%s", by);
	return true;
}

bool
drain_signal(struct drain *drain)
{
	bool is_second = drain->was_signalled;

	drain->was_signalled = true;
	return is_second;
}

enum drain_step
drain_beat(struct drain *drain, bool is_quiet, nsec_t now)
{
	if (!drain->is_on || now < drain->closes_at)
		return DRAIN_WAIT;
	if (!drain->is_closing) {
		drain->is_closing = true;
		/* A beat that came late takes nothing of the limit away. */
		drain->cut_at = later(now, drain->cfg.limit);
		return DRAIN_CLOSE;
	}
	if (now < drain->not_before)
		return DRAIN_WAIT;
	return is_quiet || now > drain->cut_at ? DRAIN_OVER : DRAIN_WAIT;
}

static nsec_t
until(nsec_t at, nsec_t now)
{
	return at > now ? at - now : 0;
}

void
drain_tell(const struct drain *drain, const struct drain_cfg *cfg, nsec_t now,
    struct drain_facts *out)
{
	*out = (struct drain_facts){
	    .is_on = drain->is_on,
	    .is_closing = drain->is_closing,
	    .delay = drain->is_on ? drain->cfg.delay : cfg->delay,
	    .limit = drain->is_on ? drain->cfg.limit : cfg->limit,
	};
	if (!drain->is_on)
		return;
	out->closes_in = drain->is_closing ? 0 : until(drain->closes_at, now);
	out->cut_in = until(drain->cut_at, now);
	out->began_at = drain->began_at;
	snprintf(out->by, sizeof(out->by), "%s", drain->by);
}
