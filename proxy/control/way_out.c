/*
 * The way out, as it is walked: who may begin it (a signal, admin, the
 * program around us), what each step of drain.h does to the workers, and what
 * the service manager is told meanwhile.
 */
#include <signal.h>
#include <stdio.h>

#include "admin/log.h"
#include "proxy/control/sd_notify.h"
#include "proxy/control/supervisor.h"
#include "proxy/worker.h"

void
supervisor_stop_now(struct supervisor *sup)
{
	atomic_store(&sup->shared.is_stopping, true);
	supervisor_wake_workers(sup);
	event_base_loopbreak(sup->base);
}

/* The manager gives the unit's TimeoutStopSec, or this, whichever is longer. */
static void
tell_manager(const struct drain *drain)
{
	char text[96];
	nsec_t most =
	    drain->cfg.delay + drain->cfg.limit + STALL_S * NSEC_PER_SEC;

	snprintf(text, sizeof(text), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld",
	    (long long)(most / NSEC_PER_USEC));
	sd_notify_send(text);
}

/* The listeners and kept connections go; what is in flight goes on. */
static void
close_doors(struct supervisor *sup)
{
	atomic_store(&sup->shared.is_draining, true);
	supervisor_wake_workers(sup);
}

void
supervisor_take_drain_step(struct supervisor *sup, nsec_t now)
{
	bool is_quiet = atomic_load(&sup->shared.n_active) == 0;

	switch (drain_beat(&sup->drain, is_quiet, now)) {
	case DRAIN_WAIT:
		break;
	case DRAIN_CLOSE:
		close_doors(sup);
		break;
	case DRAIN_OVER:
		if (!is_quiet)
			log_event(LOG_WARN,
			    "draining took too long: the rest is "
			    "cut",
			    NULL);
		supervisor_stop_now(sup);
		break;
	}
}

void
supervisor_begin_drain(
    struct supervisor *sup, const char *by, const char *reason)
{
	if (!drain_begin(&sup->drain, &supervisor_config(sup)->drain, by,
	        clock_now(), time(NULL)))
		return;
	log_event(LOG_INFO, "draining", "by", by, *reason ? "reason" : NULL,
	    reason, NULL);
	tell_manager(&sup->drain);
	supervisor_take_drain_step(sup, clock_now());
}

/* One signal begins it, or joins what was begun otherwise: a hook may ask
   before the service manager does. The second one means "now". */
void
supervisor_begin_drain_by_signal(struct supervisor *sup, int number)
{
	if (drain_signal(&sup->drain))
		supervisor_stop_now(sup);
	else
		supervisor_begin_drain(
		    sup, number == SIGQUIT ? "SIGQUIT" : "SIGTERM", "");
}

/* Whoever asked gets an answer, also when there is nothing to wait for. */
void
supervisor_drain_asked(void *ctx, const char *by, const char *reason)
{
	struct supervisor *sup = ctx;

	sup->drain.not_before = clock_now() + 2 * BEAT_MS * NSEC_PER_MSEC;
	supervisor_begin_drain(sup, by, reason);
}
