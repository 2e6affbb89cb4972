/*
 * Signals that mean something to other servers, and death by default: they are
 * ignored, and each is told once, with what to do instead. Control thread only.
 */
#ifndef WEIR_PROXY_FOREIGN_SIGNAL_H
#define WEIR_PROXY_FOREIGN_SIGNAL_H

#include <event2/event.h>
#include <stdbool.h>

struct foreign_signals;

/* From the first moment on, so that none that comes early ends the process; those that we know are answered later, see the supervisor. */
void foreign_signals_ignore(void);
/* NULL: out of memory or of handlers. */
struct foreign_signals *foreign_signals_new(struct event_base *base);
void foreign_signals_free(struct foreign_signals **signals);

#endif
