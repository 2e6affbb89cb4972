/*
 * Requests that wait for a place in their pool; see queue.c.
 */
#ifndef WEIR_PROXY_QUEUE_H
#define WEIR_PROXY_QUEUE_H

#include "proxy/request.h"

/*
 * Before the first attempt. True: go on, there is a place or no limit. False:
 * it waits (and goes on by itself), or was answered.
 */
bool queue_enter(struct request *request);
/* The request is done: its place is free, or it waits no more. */
void queue_leave(struct request *request);
/* Free places go to who waits: at the end of a turn in which one became free. */
void queue_run(struct worker *worker);
/* The tick: who has waited too long, and places that others gave. */
void queue_tick(struct worker *worker);

#endif
