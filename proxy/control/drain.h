/*
 * The process's way out, as a line of time; who does what at each point is the
 * supervisor's affair.
 *
 *   serving --asked--> delay --its time--> closing --nothing in flight,
 *                                                    or its limit--> over
 *
 * Delay: not ready for who asks, and all else as ever. Closing: no listener, no
 * keep-alive. Asking again changes nothing; a second signal means "now".
 * Control thread only.
 */
#ifndef WEIR_PROXY_DRAIN_H
#define WEIR_PROXY_DRAIN_H

#include <stdbool.h>
#include <time.h>

#include "admin/admin.h"

struct drain {
	struct drain_cfg cfg; /* that it began with */
	bool is_on, is_closing;
	bool was_signalled;   /* by a signal: the next one is the second */
	nsec_t closes_at, cut_at;
	nsec_t not_before;    /* over: an answer has to leave first */
	time_t began_at;      /* wall */
	char by[160];
};

/* False: it was on already. */
bool drain_begin(struct drain *drain, const struct drain_cfg *cfg, const char *by, nsec_t now, time_t wall);
/* A signal that asks for the end. True: the second one, stop now. */
bool drain_signal(struct drain *drain);

/* What is to be done at this beat. */
enum drain_step { DRAIN_WAIT, DRAIN_CLOSE, DRAIN_OVER };
enum drain_step drain_beat(struct drain *drain, bool is_quiet, nsec_t now);

/* `cfg` is the running config's: what would be, while nobody has asked. */
void drain_tell(const struct drain *drain, const struct drain_cfg *cfg, nsec_t now, struct drain_facts *out);

#endif
