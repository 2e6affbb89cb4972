/*
 * Deadlines, one per connection, in a hashed wheel of one worker. Moving a
 * deadline later, which every request does, is one store: a timer is filed
 * anew only when it is visited early or when it moves forward. A deadline never
 * fires early; how late depends on how often the wheel is turned, and is at
 * least up to one slot's time (WHEEL_TICK_MS).
 */
#ifndef WEIR_PROXY_WHEEL_H
#define WEIR_PROXY_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum { WHEEL_SLOTS = 4096, WHEEL_TICK_MS = 2 };

/* Milliseconds since the wheel began; wraps after 49 days, compared by difference. */
typedef uint32_t wheel_ms_t;

struct timer {
	LIST_ENTRY(timer) link;
	wheel_ms_t due;   /* when it shall fire, if is_armed */
	wheel_ms_t filed; /* when its slot is visited next, if is_linked */
	bool is_armed, is_linked;
};

LIST_HEAD(timer_list, timer);

struct wheel {
	wheel_ms_t now; /* of the last turn */
	struct timer_list slot[WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel);
void wheel_arm(struct wheel *wheel, struct timer *timer, wheel_ms_t due);
static inline void
wheel_disarm(struct timer *timer)
{
	timer->is_armed = false;
}
void wheel_forget(struct timer *timer); /* before its memory goes */

/* Fires what is due at `now`. `fn` may arm, disarm and forget any timer. */
typedef void timer_fn(void *ctx, struct timer *timer);
void wheel_turn(struct wheel *wheel, wheel_ms_t now, timer_fn *fn, void *ctx);

#endif
