/*
 * The set of rollouts: beginning them, what every change goes through, coming
 * back after a restart, and what a reload may do to them.
 */
#include "admin/rollout/rollouts.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/escape.h"
#include "admin/fleet/fleet.h"
#include "admin/log.h"
#include "admin/notify/notify.h"
#include "admin/sampler.h"
#include "admin/state/state.h"

enum { KEY_CAP = 64, PRUNED_AT_ONCE = 32 /* each is an fsync */ };

/* A journal that failed is left alone for so long. */
#define RETRY_AFTER NSEC_PER_SEC

/* ---- finding ---- */

struct run *
rollouts_find(const struct rollouts *rollouts, const char *id)
{
	struct run *run;

	TAILQ_FOREACH (run, &rollouts->runs, link)
		if (strcmp(run->rollout.id, id) == 0)
			return run;
	return NULL;
}

bool
run_is_live(const struct run *run)
{
	return rollout_state_is_live(run->rollout.state);
}

struct run *
rollouts_newest(const struct rollouts *rollouts, const char *split)
{
	struct run *run;

	TAILQ_FOREACH (run, &rollouts->runs, link)
		if (strcmp(run->rollout.split, split) == 0)
			return run;
	return NULL;
}

struct run *
rollouts_live(const struct rollouts *rollouts, const char *split)
{
	struct run *run;

	TAILQ_FOREACH (run, &rollouts->runs, link)
		if (run_is_live(run) && strcmp(run->rollout.split, split) == 0)
			return run;
	return NULL;
}

static bool
pool_is_healthy(const struct admin *admin, const char *pool)
{
	const struct pool_view *view = admin_pool(admin, pool);

	return view && pool_n_usable(view) > 0;
}

bool
run_is_healthy(const struct rollouts *rollouts, const struct run *run)
{
	return pool_is_healthy(rollouts->admin, run->rollout.to);
}

struct split *
run_split(const struct rollouts *rollouts, const struct run *run)
{
	return registry_split(rollouts->admin->registry, run->rollout.split);
}

/* ---- recording ---- */

/*
 * The reserve is for the words that turn a rollout round, not for each step of
 * a ramp down: a restart goes on with it anyway.
 */
static bool
put_record(struct rollouts *rollouts, const struct run *run, const char *text,
    bool is_rollback, struct err *err)
{
	char key[KEY_CAP];

	snprintf(key, sizeof(key), "rollout/%s", run->rollout.id);
	if (!text)
		return err_set(err, "out of memory");
	if (is_rollback && run->recorded_state != run->rollout.state)
		return state_put_back(rollouts->admin->state, key, text, err);
	return state_put(rollouts->admin->state, key, text, err);
}

static bool
record(struct rollouts *rollouts, struct run *run, bool publishes,
    bool is_rollback, struct err *err)
{
	const struct split *split = run_split(rollouts, run);
	uint64_t was = run->split_version;
	char *text;
	bool ok;

	run->version++;
	if (split)
		run->split_version = split_weights(split)->version + publishes;
	else
		/* Its split is not in the file: what is said now must win when
		   the split comes back with the weights that it had. */
		run->split_version += publishes;
	text = run_to_text(run);
	ok = put_record(rollouts, run, text, is_rollback, err);
	free(text);
	if (ok) {
		run->recorded_state = run->rollout.state;
		run->is_unrecorded = false;
		return true;
	}
	run->version--;
	run->split_version = was;
	run->retry_at = now_mono() + RETRY_AFTER;
	return err_wrap(err, "rollout %s was not recorded", run->rollout.id);
}

static void
complain(struct rollouts *rollouts, const struct run *run,
    const struct err *err, bool is_rollback)
{
	nsec_t now = now_mono();

	if (!is_rollback && now - rollouts->complained_at < 10 * NSEC_PER_SEC)
		return;
	rollouts->complained_at = now;
	log_event(LOG_ERROR,
	    is_rollback ? "a rollback takes effect although it cannot be "
	                  "recorded: free space in state_dir before a restart"
	                : "a step of a rollout did not happen: it cannot be "
	                  "recorded",
	    "rollout", run->rollout.id, "error", err->text, NULL);
}

/* ---- publishing ---- */

static void
fill_weights(const struct rollout *r, const struct split *split, bp_t *bp,
    struct split_trial *trial)
{
	bp_t candidate, baseline;
	unsigned others = 0;

	rollout_arms(r, &candidate, &baseline);
	memcpy(bp, split_weights(split)->bp, split->n_pools * sizeof(*bp));
	for (uint32_t i = 0; i < split->n_pools; i++)
		if (i != trial->candidate && i != trial->baseline)
			others += bp[i];
	/* A reload may have given a pool that left to the stable one. */
	if (candidate > BP_ALL - others)
		candidate = (bp_t)(BP_ALL - others);
	bp[trial->candidate] = candidate;
	bp[trial->baseline] = (bp_t)(BP_ALL - others - candidate);
}

static void
publish(struct rollouts *rollouts, struct run *run, bool continues)
{
	struct rollout *r = &run->rollout;
	struct split *split = run_split(rollouts, run);
	int to = split ? split_slot(split, r->to) : -1;
	int from = split ? split_slot(split, r->from) : -1;
	struct split_trial trial = {.candidate = (uint32_t)to,
	    .baseline = (uint32_t)from,
	    .salt = r->salt,
	    .keeps_sessions = rollout_keeps_sessions(r),
	    .continues = continues};
	bp_t bp[CONFIG_SPLIT_POOLS_MAX];
	bool is_stable_to = r->is_promoted || r->state == ROLLOUT_DONE;
	const char *reason = r->cause_words[0] ? r->cause_words
	                     : r->reason[0]    ? r->reason
	                                       : NULL;
	char by[ROLLOUT_ID_MAX + 16];

	run->serial = 0;
	memset(&run->seen, 0, sizeof(run->seen));
	if (to < 0 || from < 0)
		return;
	fill_weights(r, split, bp, &trial);
	split_set_stable(split, (uint32_t)(is_stable_to ? to : from));
	snprintf(by, sizeof(by), "rollout %s", r->id);
	if (run_is_live(run) || trial.keeps_sessions)
		split_publish_trial(split, bp, &trial, time(NULL), by, reason);
	else
		split_publish(split, bp, time(NULL), by, reason);
	run->serial = split_weights(split)->serial;
	run->cut = 0;
	sampler_read(rollouts->admin->sampler, now_mono());
}

/* The rollout's own record says it all; this one spares the next start a look
 * at it. */
static void
record_split(struct rollouts *rollouts, struct run *run)
{
	struct split *split = run_split(rollouts, run);
	struct split_state saved;
	struct err err;

	if (!split)
		return;
	split_save(split, &saved);
	if (!state_put_split(rollouts->admin->state, split->name, &saved, &err))
		complain(rollouts, run, &err, false);
	split_state_release(&saved);
}

/* The decision to go back, with all that was known then. */
static void
keep_decision(struct run *run)
{
	if (run->decided_ns != 0)
		return;
	run->decided_ns = wall_now();
	if (!run->evidence && run->rollout.judge)
		run->evidence = run_findings(run);
}

bool
rollouts_settle(struct rollouts *rollouts, struct run *run, const char *who,
    struct err *err)
{
	struct rollout_output *out = &rollouts->out;
	struct rollout *r = &run->rollout;
	bool is_recorded;

	if (!out->is_dirty) {
		rollout_commit(r, out, now_mono());
		return true;
	}
	if (out->is_rollback || !run_is_live(run))
		keep_decision(run);
	json_decref(rollouts->proof);
	rollouts->proof = run_proof(run, out);
	is_recorded =
	    (out->is_rollback || now_mono() >= run->retry_at ||
	        err_set(err, "the last try is too short ago")) &&
	    record(rollouts, run, out->publishes, out->is_rollback, err);
	if (!is_recorded) {
		if (!out->is_rollback || run->recorded_state != r->state)
			complain(rollouts, run, err, out->is_rollback);
		if (!out->is_rollback)
			return false;
		run->is_unrecorded = true;
	}
	if (out->publishes) {
		publish(rollouts, run, out->judge != JUDGE_BEGINS);
		if (out->is_rollback && run->effective_ns == 0) {
			run->effective_ns = wall_now();
			rollouts_count_back(rollouts, run);
		}
		if (is_recorded && !state_is_behind(rollouts->admin->state))
			record_split(rollouts, run);
	}
	rollout_commit(r, out, now_mono());
	if (out->judge == JUDGE_BEGINS)
		run->judged = r->phase + 1;
	if (out->judge == JUDGE_BEGINS || !run_is_live(run))
		hook_forget(rollouts->admin->notify, run);
	rollouts_tell(rollouts, run, who);
	rollouts_ask(rollouts, run, out->asks);
	if (!run_is_live(run))
		evidence_forget(rollouts, run);
	else if (out->publishes)
		evidence_save(rollouts, run, now_mono());
	waiters_wake(rollouts, run);
	return true;
}

void
rollouts_publish_again(struct rollouts *rollouts, struct run *run)
{
	publish(rollouts, run, true);
	record_split(rollouts, run);
}

void
rollouts_record_again(struct rollouts *rollouts, struct run *run)
{
	struct err err;

	if (!record(rollouts, run, false, false, &err)) {
		complain(rollouts, run, &err, false);
		return;
	}
	record_split(rollouts, run);
	log_event(LOG_INFO, "what was in effect is recorded now", "rollout",
	    run->rollout.id, NULL);
}

/* ---- beginning ---- */

const char *
start_from(const struct split *split)
{
	const struct weights *weights = split_weights(split);
	int stable = split_slot(split, split->stable);
	uint32_t heaviest = 0;

	if (stable >= 0 && weights->bp[stable] > 0)
		return split->stable;
	for (uint32_t i = 1; i < split->n_pools; i++)
		if (weights->bp[i] > weights->bp[heaviest])
			heaviest = i;
	return split->pools[heaviest];
}

enum { NUMBER_MAX = 1000000000 }; /* of a day; others' ids may say anything */

static void
make_id(const struct rollouts *rollouts, time_t wall, unsigned more,
    char id[ROLLOUT_ID_MAX])
{
	char day[16];
	const char *tag;
	const struct run *run;
	struct tm tm;
	unsigned last = 0, n;
	size_t len;

	gmtime_r(&wall, &tm);
	strftime(day, sizeof(day), "r-%Y%m%d-", &tm);
	len = strlen(day);
	TAILQ_FOREACH (run, &rollouts->runs, link)
		if (strncmp(run->rollout.id, day, len) == 0 &&
		    sscanf(run->rollout.id + len, "%u", &n) == 1 && n > last &&
		    n < NUMBER_MAX)
			last = n;
	/* Two instances may begin one at the same moment. */
	tag = fleet_tag(rollouts->admin->fleet);
	snprintf(id, ROLLOUT_ID_MAX, "%s%u%s%s", day, last + 1 + more,
	    tag[0] ? "." : "", tag);
}

static void
copy_text(char *to, size_t cap, const char *text)
{
	size_t len = text ? text_fitting(text, cap - 1) : 0;

	if (len > 0)
		memcpy(to, text, len);
	to[len] = '\0';
}

/* The id alone: every instance lays the same clients into the same buckets. */
static uint64_t
salt_of(const struct rollout *r)
{
	uint8_t digest[32];
	uint64_t salt;
	char text[ROLLOUT_ID_MAX + CONFIG_NAME_MAX + 2];

	snprintf(text, sizeof(text), "%s/%s", r->id, r->split);
	tls_sha256(text, strlen(text), digest);
	memcpy(&salt, digest, sizeof(salt));
	return salt ? salt : 1;
}

static void
take_before(const struct rollouts *rollouts, const struct start *start,
    struct rollout *r)
{
	const struct share *share = sampler_share(rollouts->admin->sampler,
	    start->split->name, (uint32_t)split_slot(start->split, r->from));

	if (!share)
		return;
	r->before_n = meter_requests(&share->meter);
	r->before_bad = meter_failures(&share->meter);
}

static struct run *
make_run(const struct rollouts *rollouts, const struct start *start,
    unsigned more, time_t wall)
{
	struct run *run = calloc(1, sizeof(*run));
	const struct weights *weights = split_weights(start->split);
	const char *from = start_from(start->split);
	struct rollout *r;

	if (!run)
		return NULL;
	r = &run->rollout;
	r->plan = plan_copy(start->plan);
	if (!r->plan) {
		run_free(&run);
		return NULL;
	}
	make_id(rollouts, wall, more, r->id);
	copy_text(r->split, sizeof(r->split), start->split->name);
	copy_text(r->from, sizeof(r->from), from);
	copy_text(r->to, sizeof(r->to), start->to);
	copy_text(r->release, sizeof(r->release), start->release);
	copy_text(r->reason, sizeof(r->reason), start->reason);
	copy_text(r->requester, sizeof(r->requester), start->who);
	copy_text(r->retry_of, sizeof(r->retry_of), start->retry_of);
	r->started_at = wall;
	r->salt = salt_of(r);
	r->weight = weights->bp[split_slot(start->split, start->to)];
	r->share =
	    (bp_t)(r->weight + weights->bp[split_slot(start->split, from)]);
	take_before(rollouts, start, r);
	rollout_start(r);
	return run;
}

/* What a split's weights are from is asked for as long as there is the split.
 */
static bool
is_wanted(const struct rollouts *rollouts, const struct run *run)
{
	return run_is_live(run) ||
	       (run_split(rollouts, run) &&
	           rollouts_newest(rollouts, run->rollout.split) == run);
}

void
rollouts_prune(struct rollouts *rollouts)
{
	struct run *run, *before;
	struct err err;
	char key[KEY_CAP];
	size_t left = PRUNED_AT_ONCE;

	for (run = TAILQ_LAST(&rollouts->runs, runs);
	     run && rollouts->n > ROLLOUTS_KEPT && left > 0; run = before) {
		before = TAILQ_PREV(run, runs, link);
		if (is_wanted(rollouts, run))
			continue;
		snprintf(key, sizeof(key), "rollout/%s", run->rollout.id);
		if (!state_drop(rollouts->admin->state, key, &err))
			return; /* later */
		TAILQ_REMOVE(&rollouts->runs, run, link);
		rollouts->n--;
		left--;
		run_free(&run);
	}
}

/* In keep_warm: the new one takes its place. */
static bool
end_warm(struct rollouts *rollouts, const struct start *start, struct err *err)
{
	struct run *run = rollouts_live(rollouts, start->split->name);

	if (!run)
		return true;
	assert(run->rollout.state == ROLLOUT_PROMOTED);
	rollouts->before = run->rollout;
	rollout_supersede(
	    &run->rollout, start->who, time(NULL), &rollouts->out);
	if (rollouts_settle(rollouts, run, start->who, err))
		return true;
	run->rollout = rollouts->before;
	return false;
}

static bool
record_group(
    struct rollouts *rollouts, struct run **runs, size_t n, struct err *err)
{
	struct err ignored;
	char key[KEY_CAP];

	for (size_t i = 0; i < n; i++) {
		if (record(rollouts, runs[i], false, false, err))
			continue;
		while (i-- > 0) {
			snprintf(key, sizeof(key), "rollout/%s",
			    runs[i]->rollout.id);
			state_drop(rollouts->admin->state, key, &ignored);
		}
		return false;
	}
	return true;
}

static bool
make_group(struct rollouts *rollouts, const struct start *starts,
    struct run **runs, size_t n, struct err *err)
{
	time_t wall = time(NULL);

	for (size_t i = 0; i < n; i++) {
		runs[i] = make_run(rollouts, &starts[i], (unsigned)i, wall);
		if (!runs[i])
			return err_set(err, "out of memory");
		if (n == 1)
			return true;
		snprintf(runs[i]->rollout.group, ROLLOUT_ID_MAX, "%s",
		    runs[0]->rollout.id);
		runs[i]->rollout.group_size = (unsigned)n;
	}
	return true;
}

bool
rollouts_start(struct rollouts *rollouts, const struct start *starts, size_t n,
    struct run **first_out, struct err *err)
{
	struct run *runs[ROLLOUTS_GROUP_MAX] = {NULL};
	bool ok = true;

	assert(n > 0 && n <= ROLLOUTS_GROUP_MAX);
	for (size_t i = 0; ok && i < n; i++)
		ok = end_warm(rollouts, &starts[i], err);
	ok = ok && make_group(rollouts, starts, runs, n, err) &&
	     record_group(rollouts, runs, n, err);
	for (size_t i = 0; i < n; i++) {
		if (!ok) {
			run_free(&runs[i]);
			continue;
		}
		runs[i]->rollouts = rollouts;
		TAILQ_INSERT_HEAD(&rollouts->runs, runs[i], link);
		rollouts->n++;
	}
	if (!ok)
		return false;
	rollouts_prune(rollouts);
	for (size_t i = 0; i < n; i++)
		ticker_step(rollouts, runs[i]);
	ticker_arm(rollouts);
	*first_out = runs[0];
	return true;
}

/* ---- life ---- */

struct rollouts *
rollouts_new(struct admin *admin, struct err *err)
{
	struct rollouts *rollouts = calloc(1, sizeof(*rollouts));

	if (!rollouts) {
		err_set(err, "out of memory");
		return NULL;
	}
	rollouts->admin = admin;
	rollouts->complained_at = -1000 * NSEC_PER_SEC;
	TAILQ_INIT(&rollouts->runs);
	TAILQ_INIT(&rollouts->waiters);
	return rollouts;
}

void
rollouts_free(struct rollouts **rollouts)
{
	struct rollouts *r = *rollouts;
	struct run *run;

	if (!r)
		return;
	waiters_release(r);
	while ((run = TAILQ_FIRST(&r->runs)) != NULL) {
		/* A farewell in order loses no evidence at all. */
		if (run_is_live(run) && run->rollout.judge)
			evidence_save(r, run, now_mono());
		hook_forget(r->admin->notify, run);
		TAILQ_REMOVE(&r->runs, run, link);
		run_free(&run);
	}
	if (r->timer)
		event_free(r->timer);
	json_decref(r->proof);
	free(r->counts);
	free(r);
	*rollouts = NULL;
}
