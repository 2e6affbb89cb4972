/*
 * Every 50 ms, while any rollout is live, and at once when a worker says so:
 * reads the evidence, lets the machine step, does what it says. Idle weirs
 * have no timer here.
 */
#include <stdio.h>
#include <string.h>

#include "admin/fleet/fleet.h"
#include "admin/log.h"
#include "admin/rollout/rollouts.h"
#include "admin/zone.h"

/* Without news only clocks have gone on, and a restart adds what is missing. */
#define SAVE_QUIET    (10 * NSEC_PER_SEC)
#define WINDOWS_EVERY (5 * NSEC_PER_SEC)
#define LOOK_LEAST    NSEC_PER_MSEC /* between two looks that workers ask for */

/* ---- what the machine is given ---- */

/* The weights are somebody else's: a reload has replaced the split. */
static bool
is_displaced(const struct run *run, const struct split *split)
{
	return split_weights(split)->serial != run->serial;
}

/* False: nothing was read. */
static bool
read_evidence(struct rollouts *rollouts, struct run *run)
{
	const struct split *split =
	    registry_split(rollouts->admin->registry, run->rollout.split);

	if (run->serial == 0 || !split || is_displaced(run, split) ||
	    !split_evidence_moved(split, &run->seen) ||
	    !split_evidence_read(split, &rollouts->sum))
		return false;
	evidence_subtract(&rollouts->sum, &run->seen, &rollouts->delta);
	run->seen = rollouts->sum;
	run->has_news = true;
	return true;
}

/* Once: it is looked at every few seconds. */
static void
tell_shut(struct run *run, size_t g, const struct err *err)
{
	if (run->shut & 1u << g)
		return;
	run->shut |= 1u << g;
	log_event(LOG_WARN, "a gate stays shut", "rollout", run->rollout.id,
	    "gate", run->rollout.plan->gates[g].name, "error", err->text, NULL);
}

static void
read_windows(struct run *run, time_t wall, nsec_t now)
{
	const struct plan_cfg *plan = run->rollout.plan;
	int64_t offset;
	struct err err;

	if (run->windows_at != 0 && now - run->windows_at < WINDOWS_EVERY)
		return;
	run->windows_at = now;
	run->windows = 0;
	for (size_t g = 0; g < plan->n_gates; g++) {
		const struct gate_cfg *gate = &plan->gates[g];

		if (gate->kind != GATE_WINDOW)
			continue;
		if (!zone_offset(gate->window.zone ? gate->window.zone : "UTC",
		        wall, &offset, &err)) {
			tell_shut(run, g, &err);
			continue;
		}
		run->shut &= ~(1u << g);
		if (window_is_open(gate, wall + offset))
			run->windows |= 1u << g;
	}
}

static bool
has_gone_back(const struct rollout *r)
{
	return r->state == ROLLOUT_ROLLING_BACK ||
	       r->state == ROLLOUT_ROLLED_BACK || r->state == ROLLOUT_ABORTED;
}

/* Whoever is ahead has been ready. */
static bool
is_level(const struct rollout *other, const struct rollout *r)
{
	return other->is_ready || other->phase > r->phase ||
	       other->state == ROLLOUT_PROMOTED || other->state == ROLLOUT_DONE;
}

static void
read_group(const struct rollouts *rollouts, const struct rollout *r,
    struct rollout_input *input)
{
	const struct run *run;

	input->is_group_ready = true;
	if (r->group[0] == '\0')
		return;
	TAILQ_FOREACH (run, &rollouts->runs, link) {
		const struct rollout *other = &run->rollout;

		if (other == r || strcmp(other->group, r->group) != 0)
			continue;
		input->is_group_failed |= has_gone_back(other);
		input->is_group_ready &= is_level(other, r);
	}
}

/* ---- a step ---- */

/* A cut that moved: requests in flight for longer are slow from now on. */
static void
set_cut(struct rollouts *rollouts, struct run *run)
{
	struct split *split =
	    registry_split(rollouts->admin->registry, run->rollout.split);
	nsec_t cut = judge_cut(run->rollout.judge);

	if (!split || cut == run->cut || is_displaced(run, split))
		return;
	split_evidence_cut(split, cut);
	run->cut = cut;
}

static void
republish_if_displaced(struct rollouts *rollouts, struct run *run)
{
	const struct split *split =
	    registry_split(rollouts->admin->registry, run->rollout.split);

	if (!split || run->rollout.state == ROLLOUT_PENDING ||
	    !is_displaced(run, split))
		return;
	rollouts_publish_again(rollouts, run);
}

static void
take_step(struct rollouts *rollouts, struct run *run, nsec_t now)
{
	struct rollout *r = &run->rollout;
	uint64_t signals[PLAN_GUARDS_MAX];
	struct rollout_input input = {.now = now,
	    .wall = time(NULL),
	    .is_frozen = rollouts->freeze.is_on,
	    .is_healthy = run_is_healthy(rollouts, run)};
	struct err err;

	if (fleet_evidence_merge(
	        rollouts, run, read_evidence(rollouts, run), now))
		input.delta = &rollouts->delta;
	if (run->signals.n > 0 || fleet_has_signals(rollouts, run)) {
		signals_count(&run->signals, r->plan, now, signals);
		fleet_evidence_signals(rollouts, run, signals);
		input.signals = signals;
	}
	if (r->plan->n_gates > 0)
		read_windows(run, input.wall, now);
	input.windows = run->windows;
	read_group(rollouts, r, &input);
	rollouts->before = *r;
	rollout_step(r, &input, &rollouts->out);
	if (!fleet_lets(rollouts->admin->fleet, run, &rollouts->out) ||
	    !rollouts_settle(rollouts, run, NULL, &err))
		rollout_revert(r, &rollouts->before);
}

static void
record_late(struct rollouts *rollouts, struct run *run, nsec_t now)
{
	if (run->is_unrecorded && now >= run->retry_at)
		rollouts_record_again(rollouts, run);
}

void
ticker_step(struct rollouts *rollouts, struct run *run)
{
	nsec_t now = now_mono();

	record_late(rollouts, run, now);
	if (!run_is_live(run))
		return;
	republish_if_displaced(rollouts, run);
	take_step(rollouts, run, now);
	if (!run_is_live(run))
		return;
	set_cut(rollouts, run);
	if (now >= (run->has_news ? run->save_at : run->save_at + SAVE_QUIET))
		evidence_save(rollouts, run, now);
}

/* ---- the timer ---- */

void
ticker_look(struct rollouts *rollouts)
{
	struct run *run;

	rollouts->looked_at = now_mono();
	TAILQ_FOREACH (run, &rollouts->runs, link)
		ticker_step(rollouts, run);
}

static bool
has_work(const struct rollouts *rollouts)
{
	const struct run *run;

	TAILQ_FOREACH (run, &rollouts->runs, link)
		if (run_is_live(run) || run->is_unrecorded)
			return true;
	return false;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct rollouts *rollouts = arg;

	(void)fd;
	(void)what;
	ticker_look(rollouts);
	if (!has_work(rollouts))
		event_del(rollouts->timer);
}

void
ticker_arm(struct rollouts *rollouts)
{
	static const struct timeval every = {0, TICK_MS * 1000};

	if (!rollouts->timer)
		rollouts->timer = event_new(
		    rollouts->admin->base, -1, EV_PERSIST, on_timer, rollouts);
	if (rollouts->timer && has_work(rollouts) &&
	    !event_pending(rollouts->timer, EV_TIMEOUT, NULL))
		event_add(rollouts->timer, &every);
}

void
admin_rollouts_look(struct admin *admin)
{
	struct rollouts *rollouts = admin->rollouts;

	if (now_mono() - rollouts->looked_at >= LOOK_LEAST)
		ticker_look(rollouts);
}
