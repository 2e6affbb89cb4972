/* A hashed wheel of lazy deadlines, see wheel.h. */
#include "proxy/wheel.h"

static bool
is_before(wheel_ms_t a, wheel_ms_t b)
{
	return (int32_t)(a - b) < 0;
}

void
wheel_init(struct wheel *wheel)
{
	wheel->now = 0;
	for (int i = 0; i < WHEEL_SLOTS; i++)
		LIST_INIT(&wheel->slot[i]);
}

static void
file_timer(struct wheel *wheel, struct timer *timer)
{
	/* The slot after the due time, so that a visit is never early. */
	wheel_ms_t tick = timer->due / WHEEL_TICK_MS + 1;
	wheel_ms_t next = wheel->now / WHEEL_TICK_MS + 1;

	if (is_before(tick * WHEEL_TICK_MS, next * WHEEL_TICK_MS))
		tick = next;
	timer->filed = tick * WHEEL_TICK_MS;
	timer->is_linked = true;
	LIST_INSERT_HEAD(&wheel->slot[tick % WHEEL_SLOTS], timer, link);
}

void
wheel_arm(struct wheel *wheel, struct timer *timer, wheel_ms_t due)
{
	timer->due = due;
	timer->is_armed = true;
	if (timer->is_linked) {
		if (is_before(timer->filed, due + 2 * WHEEL_TICK_MS))
			return;
		LIST_REMOVE(timer, link);
	}
	file_timer(wheel, timer);
}

void
wheel_forget(struct timer *timer)
{
	if (timer->is_linked)
		LIST_REMOVE(timer, link);
	timer->is_linked = timer->is_armed = false;
}

static void
visit(struct wheel *wheel, unsigned slot, timer_fn *fn, void *ctx)
{
	struct timer_list due = LIST_HEAD_INITIALIZER(due);
	struct timer *timer;

	/* On a list of its own: `fn` may remove any of them. */
	while ((timer = LIST_FIRST(&wheel->slot[slot]))) {
		LIST_REMOVE(timer, link);
		LIST_INSERT_HEAD(&due, timer, link);
	}
	while ((timer = LIST_FIRST(&due))) {
		LIST_REMOVE(timer, link);
		timer->is_linked = false;
		if (!timer->is_armed)
			continue;
		if (is_before(wheel->now, timer->due)) {
			file_timer(wheel, timer);
			continue;
		}
		timer->is_armed = false;
		fn(ctx, timer);
	}
}

void
wheel_turn(struct wheel *wheel, wheel_ms_t now, timer_fn *fn, void *ctx)
{
	wheel_ms_t first = wheel->now / WHEEL_TICK_MS + 1;
	wheel_ms_t last = now / WHEEL_TICK_MS;

	if (is_before(now, wheel->now))
		return;
	/* After a long sleep each slot is visited once. */
	if (last - first >= WHEEL_SLOTS && !is_before(last, first))
		first = last - WHEEL_SLOTS + 1;
	wheel->now = now;
	for (wheel_ms_t tick = first; !is_before(last, tick); tick++)
		visit(wheel, tick % WHEEL_SLOTS, fn, ctx);
}
