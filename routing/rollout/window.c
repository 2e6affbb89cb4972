/*
 * Time windows: "mon-thu 09:00-16:00". Local time is an argument, so that no
 * clock and no table of time zones is needed here. A window that runs over
 * midnight belongs to the day on which it opens.
 */
#include "routing/rollout.h"

enum { MINUTES_A_DAY = 24 * 60, SECONDS_A_DAY = 86400, DAYS_A_WEEK = 7 };

/* 1970-01-01 was a Thursday. */
static unsigned
weekday_of(int64_t day)
{
	return (
	    unsigned)(((day + 3) % DAYS_A_WEEK + DAYS_A_WEEK) % DAYS_A_WEEK);
}

static int64_t
day_of(int64_t local)
{
	return (local >= 0 ? local : local - SECONDS_A_DAY + 1) / SECONDS_A_DAY;
}

static bool
opens_on(const struct gate_cfg *gate, int64_t day)
{
	return gate->window.days & (1u << weekday_of(day));
}

/* Minutes for which it stays open. */
static int64_t
window_length(const struct gate_cfg *gate)
{
	int64_t from = gate->window.from, to = gate->window.to;

	return to > from ? to - from : to - from + MINUTES_A_DAY;
}

static bool
is_within(const struct gate_cfg *gate, int64_t day, int64_t local)
{
	int64_t begin = day * SECONDS_A_DAY + gate->window.from * 60;

	return opens_on(gate, day) && local >= begin &&
	       local < begin + window_length(gate) * 60;
}

bool
window_is_open(const struct gate_cfg *gate, int64_t local)
{
	int64_t day = day_of(local);

	return is_within(gate, day, local) || is_within(gate, day - 1, local);
}

int64_t
window_opens_in(const struct gate_cfg *gate, int64_t local)
{
	int64_t day = day_of(local);

	if (window_is_open(gate, local))
		return 0;
	for (int i = 0; i <= DAYS_A_WEEK; i++) {
		int64_t begin =
		    (day + i) * SECONDS_A_DAY + gate->window.from * 60;

		if (opens_on(gate, day + i) && begin > local)
			return begin - local;
	}
	return -1;
}
