/*
 * The event loop of one worker: the only file of the data path that knows
 * libevent, and of libevent only the bare reactor: one registration per
 * descriptor, edge-triggered for both directions and the peer's close, added
 * once and removed before the descriptor is closed, never changed in between
 * (no epoll_ctl per request, no timeout per event).
 *
 * Edge-trigger rules that the users of this file keep (each has a test):
 *  R1 a read path ends by a short read or EAGAIN, or says there is more and
 *     stands on the ready list, or is paused and the drain resumes it;
 *  R2 a short read means "empty" only while no close was seen;
 *  R3 a close seen while paused is remembered;
 *  R4 plaintext left in a TLS stream counts as more;
 *  R5 a read budget per callback keeps it fair;
 *  R6 a connect completes on write, SO_ERROR is asked only there.
 */
#ifndef WEIR_PROXY_REACTOR_H
#define WEIR_PROXY_REACTOR_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

enum { REACTOR_READ = EV_READ, REACTOR_WRITE = EV_WRITE, REACTOR_CLOSED = EV_CLOSED };

struct reactor {
	struct event_base *base; /* owned */
};

struct watch {
	struct event event;
};

typedef void watch_fn(int fd, short what, void *arg);

bool reactor_init(struct reactor *reactor);
void reactor_release(struct reactor *reactor);

/* Both directions and close, edge-triggered. False: out of memory or descriptors. */
bool reactor_add(struct reactor *reactor, struct watch *watch, int fd, watch_fn *fn, void *arg);
/* Readable, level-triggered: listeners, mailboxes. */
bool reactor_add_level(struct reactor *reactor, struct watch *watch, int fd, watch_fn *fn, void *arg);
void reactor_remove(struct watch *watch);

/* Every `ms`, until removed. */
bool reactor_add_tick(struct reactor *reactor, struct watch *watch, unsigned ms, watch_fn *fn, void *arg);

/* One turn: waits for events unless `has_ready`, runs their callbacks, returns. */
void reactor_turn(struct reactor *reactor, bool has_ready);

#endif
