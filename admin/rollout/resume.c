/*
 * What becomes of rollouts over restarts and reloads. After a restart each
 * goes on where its record says; what was recorded and had not taken effect
 * does so now. A reload may change anything but what a live rollout moves.
 */
#include <stdlib.h>
#include <string.h>

#include "admin/log.h"
#include "admin/rollout/rollouts.h"

/* ---- coming back ---- */

static unsigned
number_of(const struct run *run)
{
	const char *dash = strrchr(run->rollout.id, '-');

	return dash ? (unsigned)strtoul(dash + 1, NULL, 10) : 0;
}

static bool
is_newer(const struct run *a, const struct run *b)
{
	if (a->rollout.started_at != b->rollout.started_at)
		return a->rollout.started_at > b->rollout.started_at;
	return number_of(a) > number_of(b);
}

static void
insert_sorted(struct rollouts *rollouts, struct run *run)
{
	struct run *at;

	run->rollouts = rollouts;
	rollouts->n++;
	TAILQ_FOREACH (at, &rollouts->runs, link)
		if (is_newer(run, at)) {
			TAILQ_INSERT_BEFORE(at, run, link);
			return;
		}
	TAILQ_INSERT_TAIL(&rollouts->runs, run, link);
}

static void
take_record(void *ctx, const char *key, const char *text)
{
	struct err err;
	struct run *run = run_from_text(text, &err);

	if (run)
		insert_sorted(ctx, run);
	else
		log_event(LOG_ERROR,
		    "a recorded rollout cannot be read: its split keeps its "
		    "weights and nobody guards them",
		    "record", key, "error", err.text, NULL);
}

static void
orphan(struct rollouts *rollouts, struct run *run, const char *why)
{
	struct err err;

	rollout_orphan(&run->rollout, why, time(NULL), &rollouts->out);
	rollouts_settle(rollouts, run, NULL, &err);
}

static bool
has_pools(const struct rollouts *rollouts, const struct run *run)
{
	const struct split *split = run_split(rollouts, run);

	return split && split_slot(split, run->rollout.to) >= 0 &&
	       split_slot(split, run->rollout.from) >= 0;
}

/* A group is recorded one by one before any of it begins. */
static bool
has_group(const struct rollouts *rollouts, const struct run *run)
{
	const struct run *other;
	unsigned n = 0;

	if (run->rollout.group[0] == '\0' ||
	    run->rollout.state != ROLLOUT_PENDING)
		return true;
	TAILQ_FOREACH (other, &rollouts->runs, link)
		n += strcmp(other->rollout.group, run->rollout.group) == 0;
	return n >= run->rollout.group_size;
}

static void
resume(struct rollouts *rollouts, struct run *run)
{
	char weight[16];

	if (!has_pools(rollouts, run) || !has_group(rollouts, run)) {
		orphan(rollouts, run,
		    has_pools(rollouts, run)
		        ? "its group was never recorded as a whole"
		        : "its split or its pools are not in the file any "
		          "more");
		return;
	}
	evidence_resume(rollouts, run, now_mono());
	run->is_resumed = run->saves > 0;
	if (run->rollout.state != ROLLOUT_PENDING)
		run->judged = run->rollout.phase + 1;
	if (run->rollout.state != ROLLOUT_PENDING)
		rollouts_publish_again(rollouts, run);
	log_event(LOG_INFO, "resumed rollout", "rollout", run->rollout.id,
	    "split", run->rollout.split, "state",
	    rollout_state_name(run->rollout.state), "phase",
	    run->rollout.plan->phases[run->rollout.phase].name, "weight",
	    units_print_percent(run->rollout.weight, weight, sizeof(weight)),
	    NULL);
}

/* The process ended between the record of the last word and its effect. */
static void
catch_up(struct rollouts *rollouts, struct run *run)
{
	const struct split *split = run_split(rollouts, run);

	if (!has_pools(rollouts, run) ||
	    rollouts_newest(rollouts, run->rollout.split) != run ||
	    run->split_version <= split_weights(split)->version)
		return;
	rollouts_publish_again(rollouts, run);
}

void
rollouts_restore(struct rollouts *rollouts)
{
	struct run *run;

	freeze_restore(&rollouts->freeze, rollouts->admin->state);
	state_each(rollouts->admin->state, "rollout/", take_record, rollouts);
	TAILQ_FOREACH (run, &rollouts->runs, link)
		if (run_is_live(run))
			resume(rollouts, run);
		else
			catch_up(rollouts, run);
	ticker_arm(rollouts);
}

/* ---- reloads ---- */

static const struct split_cfg *
split_in(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_splits; i++)
		if (strcmp(config->splits[i].name, name) == 0)
			return &config->splits[i];
	return NULL;
}

static int
weight_in(
    const struct config *config, const struct split_cfg *cfg, const char *pool)
{
	for (size_t i = 0; i < cfg->n_weights; i++)
		if (strcmp(config->pools[cfg->weights[i].pool].name, pool) == 0)
			return cfg->weights[i].weight;
	return -1;
}

/* Says it what it said before? */
static bool
has_weights_of(const struct config *config, const struct split_cfg *cfg,
    const struct split *split)
{
	if (cfg->n_weights != split->n_pools)
		return false;
	for (uint32_t i = 0; i < split->n_pools; i++)
		if (weight_in(config, cfg, split->pools[i]) != split->file[i])
			return false;
	return true;
}

static bool
has_stable_of(const struct rollouts *rollouts, const struct config *next,
    const struct split_cfg *cfg)
{
	const struct config *now = admin_config(rollouts->admin);
	const struct split_cfg *was = split_in(now, cfg->name);

	return !was || strcmp(now->pools[was->stable].name,
	                   next->pools[cfg->stable].name) == 0;
}

bool
rollouts_allow(
    const struct rollouts *rollouts, const struct config *next, struct err *err)
{
	const struct run *run;

	TAILQ_FOREACH (run, &rollouts->runs, link) {
		const struct rollout *r = &run->rollout;
		const struct split *split = run_split(rollouts, run);
		const struct split_cfg *cfg = split_in(next, r->split);

		if (!run_is_live(run) || !split)
			continue;
		if (!cfg)
			return err_set(err,
			    "split '%s' has the live rollout %s and cannot "
			    "leave the file; abort it first",
			    r->split, r->id);
		if (weight_in(next, cfg, r->to) < 0 ||
		    weight_in(next, cfg, r->from) < 0)
			return err_set(err,
			    "split '%s': the live rollout %s needs the pools "
			    "'%s' and '%s'; abort it first",
			    r->split, r->id, r->from, r->to);
		if (!has_stable_of(rollouts, next, cfg))
			return err_set(err,
			    "split '%s' has the live rollout %s, which moves "
			    "its stable pool; the file must not",
			    r->split, r->id);
		if (!has_weights_of(next, cfg, split))
			return err_set(err,
			    "split '%s' has the live rollout %s, which moves "
			    "its weights; the file must not",
			    r->split, r->id);
	}
	return true;
}

void
rollouts_adopt(struct rollouts *rollouts)
{
	struct run *run;

	TAILQ_FOREACH (run, &rollouts->runs, link)
		if (!run_is_live(run))
			catch_up(rollouts, run); /* its split may be back */
		else if (!has_pools(rollouts, run))
			orphan(rollouts, run,
			    "its split or its pools left the file");
	ticker_look(rollouts);
}
