/* libevent as a bare reactor, see reactor.h. */
#include "proxy/reactor.h"

bool
reactor_init(struct reactor *reactor)
{
	struct event_config *config = event_config_new();

	reactor->base = NULL;
	if (!config)
		return false;
	/* No locks: one thread. No changelist: nothing to batch. No precise
	 * timer: it costs a system call a turn. */
	if (event_config_set_flag(config,
	        EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV) == 0 &&
	    event_config_require_features(config,
	        EV_FEATURE_ET | EV_FEATURE_O1 | EV_FEATURE_EARLY_CLOSE) == 0)
		reactor->base = event_base_new_with_config(config);
	event_config_free(config);
	return reactor->base != NULL;
}

void
reactor_release(struct reactor *reactor)
{
	if (reactor->base)
		event_base_free(reactor->base);
	reactor->base = NULL;
}

bool
reactor_add(struct reactor *reactor, struct watch *watch, int fd, watch_fn *fn,
    void *arg)
{
	return event_assign(&watch->event, reactor->base, fd,
	           EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, fn,
	           arg) == 0 &&
	       event_add(&watch->event, NULL) == 0;
}

bool
reactor_add_level(struct reactor *reactor, struct watch *watch, int fd,
    watch_fn *fn, void *arg)
{
	return event_assign(&watch->event, reactor->base, fd,
	           EV_READ | EV_PERSIST, fn, arg) == 0 &&
	       event_add(&watch->event, NULL) == 0;
}

void
reactor_remove(struct watch *watch)
{
	event_del(&watch->event);
}

bool
reactor_add_tick(struct reactor *reactor, struct watch *watch, unsigned ms,
    watch_fn *fn, void *arg)
{
	struct timeval every = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};

	return event_assign(&watch->event, reactor->base, -1, EV_PERSIST, fn,
	           arg) == 0 &&
	       event_add(&watch->event, &every) == 0;
}

void
reactor_turn(struct reactor *reactor, bool has_ready)
{
	event_base_loop(
	    reactor->base, EVLOOP_ONCE | (has_ready ? EVLOOP_NONBLOCK : 0));
}
