/*
 * Families about rollouts: where each split stands, what its guards say, and
 * how often and how fast things went back since this process began. Names of
 * guards and splits are the config's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/metrics/metrics.h"
#include "admin/rollout/rollouts.h"

/* ---- counting ---- */

struct rollback_count {
	char split[CONFIG_NAME_MAX + 1];
	uint64_t by_cause[ROLLOUT_CAUSES];
};

static struct rollback_count *
count_of(struct rollouts *rollouts, const char *split)
{
	struct rollback_count *more;

	for (size_t i = 0; i < rollouts->n_counts; i++)
		if (strcmp(rollouts->counts[i].split, split) == 0)
			return &rollouts->counts[i];
	more = reallocarray(
	    rollouts->counts, rollouts->n_counts + 1, sizeof(*more));
	if (!more)
		return NULL;
	rollouts->counts = more;
	more += rollouts->n_counts++;
	*more = (struct rollback_count){0};
	snprintf(more->split, sizeof(more->split), "%s", split);
	return more;
}

void
rollouts_count_back(struct rollouts *rollouts, const struct run *run)
{
	struct rollback_count *count = count_of(rollouts, run->rollout.split);
	nsec_t took = run->effective_ns - run->decided_ns;

	if (count)
		count->by_cause[run->rollout.cause]++;
	if (took < 0)
		took = 0; /* the wall clock was set back */
	rollouts->reaction.bucket[histogram_bucket(took)]++;
	rollouts->reaction.count++;
	rollouts->reaction.sum += (uint64_t)took;
}

/* ---- showing ---- */

/* The newest of each split. */
static bool
is_newest(const struct rollouts *rollouts, const struct run *run)
{
	return rollouts_newest(rollouts, run->rollout.split) == run;
}

static void
put_states(struct exposition *x, const struct rollouts *rollouts)
{
	const struct run *run;

	family_begin(x, FAMILY_GAUGE, "weir_rollout_state",
	    "1 for the state that the newest rollout of a split is in.");
	TAILQ_FOREACH (run, &rollouts->runs, link)
		for (int s = 0;
		     is_newest(rollouts, run) && s < ROLLOUT_STATE_COUNT; s++)
			family_count(x,
			    (struct label[]){{"split", run->rollout.split},
			        {"state",
			            rollout_state_name((enum rollout_state)s)},
			        {0}},
			    run->rollout.state == (enum rollout_state)s);
}

static void
put_phases(struct exposition *x, const struct rollouts *rollouts)
{
	const struct run *run;

	family_begin(x, FAMILY_GAUGE, "weir_rollout_phase",
	    "Phase of the live rollout of a split, from 1; 0 when none is "
	    "live.");
	TAILQ_FOREACH (run, &rollouts->runs, link)
		if (is_newest(rollouts, run))
			family_count(x,
			    (struct label[]){
			        {"split", run->rollout.split}, {0}},
			    run_is_live(run) ? run->rollout.phase + 1 : 0);
}

static void
put_verdicts(struct exposition *x, const struct rollouts *rollouts)
{
	const struct run *run;

	family_begin(x, FAMILY_GAUGE, "weir_rollout_verdict",
	    "What a guard of a live rollout says of the candidate: -1 fail, 0 "
	    "undecided, 1 pass.");
	TAILQ_FOREACH (run, &rollouts->runs, link) {
		const struct rollout *r = &run->rollout;

		if (!run_is_live(run) || !r->judge ||
		    r->state == ROLLOUT_PENDING)
			continue;
		for (size_t g = 0; g < r->plan->n_guards; g++)
			family_value(x,
			    (struct label[]){{"split", r->split},
			        {"guard", r->plan->guards[g].name}, {0}},
			    judge_guard(r->judge, g));
	}
}

static void
put_rollbacks(struct exposition *x, const struct rollouts *rollouts)
{
	family_begin(x, FAMILY_COUNTER, "weir_rollout_rollbacks",
	    "Rollouts that went back, by what made them.");
	for (size_t i = 0; i < rollouts->n_counts; i++)
		for (int c = CAUSE_NONE + 1; c < ROLLOUT_CAUSES; c++)
			family_count(x,
			    (struct label[]){
			        {"split", rollouts->counts[i].split},
			        {"cause",
			            rollout_cause_name((enum rollout_cause)c)},
			        {0}},
			    rollouts->counts[i].by_cause[c]);
	family_begin(x, FAMILY_HISTOGRAM, "weir_rollout_reaction_seconds",
	    "From the decision to go back to its effect on the next request.");
	family_histogram(x, NULL, &rollouts->reaction);
}

void
metrics_rollouts(struct exposition *x, const struct rollouts *rollouts)
{
	put_phases(x, rollouts);
	put_states(x, rollouts);
	put_verdicts(x, rollouts);
	put_rollbacks(x, rollouts);
	family_begin(x, FAMILY_GAUGE, "weir_rollout_frozen",
	    "1 during a freeze: no weight grows, nothing is promoted.");
	family_count(x, NULL, rollouts->freeze.is_on);
}
