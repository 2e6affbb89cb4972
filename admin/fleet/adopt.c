/*
 * What another instance has made of a thing takes effect here. The order is
 * that of every change: journal, publish, tell. A way back is adopted even
 * when it cannot be recorded; anything else is not.
 *
 * The machine is not asked: what is adopted may be any state after any other.
 * Receivers of the plan are told by the instance that decided, and by no other;
 * log, audit and events of this one say what changed here and by whom.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/api/api.h"
#include "admin/events.h"
#include "admin/fleet/fleet.h"
#include "admin/log.h"
#include "admin/sampler.h"
#include "admin/state/state.h"

struct adoption {
	struct fleet *fleet;
	struct fleet_item *item;
	struct split *split;      /* borrowed */
	struct split_state state; /* as theirs is; released at the end */
	struct run *run;          /* owned until it is taken; NULL: by hand */
	bool is_back;
	char by[FLEET_ID_MAX + 16];      /* "fleet:ID" */
	bp_t bp[CONFIG_SPLIT_POOLS_MAX]; /* theirs, by our slots */
	bp_t previous[CONFIG_SPLIT_POOLS_MAX];
};

static bool
refuse(struct fleet_item *item, const char *why)
{
	snprintf(item->trouble, sizeof(item->trouble), "%s", why);
	return false;
}

/* Texts that the API would not have taken from a person. */
static bool
disbelieve(struct fleet *fleet, struct fleet_item *item)
{
	fleet->refused++;
	return refuse(item, "it has texts that are too long or not printable");
}

/* ---- telling ---- */

static json_t *
shown(const struct adoption *a)
{
	const struct run *run =
	    rollouts_live(a->fleet->admin->rollouts, a->item->name);
	json_t *object = json_pack("{s:o}", "weights",
	    weights_to_json(a->split, split_weights(a->split)->bp));

	if (run)
		json_object_set_new(object, "rollout", run_brief(run));
	return object;
}

static void
tell(const struct adoption *a, json_t *before)
{
	struct admin *admin = a->fleet->admin;
	json_t *after = shown(a);
	const char *reason = a->is_back ? "it went back on another instance"
	                                : "another instance has changed it";
	struct audit_entry entry = {.actor = a->by,
	    .action = "fleet_adopt",
	    .target = a->item->name,
	    .reason = reason,
	    .result = "ok",
	    .before = before,
	    .after = after};
	json_t *event =
	    json_pack("{s:s, s:s, s:s, s:O, s:O}", "split", a->item->name, "by",
	        a->by, "reason", reason, "before", before, "after", after);
	char *text =
	    event ? json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(12))
	          : NULL;
	char *weights = json_dumps(json_object_get(after, "weights"),
	    JSON_COMPACT | JSON_REAL_PRECISION(12));

	admin_audit(admin, &entry);
	if (text)
		events_publish(admin->events, "fleet", text);
	log_event(a->is_back ? LOG_WARN : LOG_INFO, "adopted from the fleet",
	    "split", a->item->name, "by", a->by, "weights",
	    weights ? weights : "", "reason", reason, NULL);
	free(weights);
	free(text);
	json_decref(event);
	json_decref(after);
}

/* ---- weights ---- */

/* Theirs by our slots; false: the pools are others (a hash that collided). */
static bool
lay_out(struct adoption *a)
{
	memset(a->bp, 0, sizeof(a->bp));
	memset(a->previous, 0, sizeof(a->previous));
	if (a->state.n != a->split->n_pools)
		return false;
	for (uint32_t i = 0; i < a->state.n; i++) {
		int slot = split_slot(a->split, a->state.pools[i]);

		if (slot < 0)
			return false;
		a->bp[slot] = a->state.bp[i];
		a->previous[slot] = a->state.previous[i];
	}
	return true;
}

static char *
copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static bool
record_weights(struct adoption *a, struct err *err)
{
	struct split_state saved;
	bool ok;

	split_save(a->split, &saved);
	memcpy(saved.bp, a->bp, sizeof(saved.bp));
	memcpy(saved.previous, a->previous, sizeof(saved.previous));
	saved.has_previous = a->state.has_previous;
	saved.version++;
	saved.changed_at = a->state.changed_at;
	free(saved.changed_by);
	free(saved.reason);
	free(saved.stable);
	saved.changed_by = copy(a->state.changed_by);
	saved.reason = copy(a->state.reason);
	saved.stable = copy(a->state.stable);
	ok = state_put_split(
	    a->fleet->admin->state, a->split->name, &saved, err);
	split_state_release(&saved);
	return ok;
}

static void
publish_weights(struct adoption *a)
{
	int stable =
	    a->state.stable ? split_slot(a->split, a->state.stable) : -1;

	if (stable >= 0)
		split_set_stable(a->split, (uint32_t)stable);
	split_publish(a->split, a->bp, a->state.changed_at, a->state.changed_by,
	    a->state.reason);
	/* Undo goes to where it goes everywhere. */
	memcpy(a->split->previous, a->previous, sizeof(a->previous));
	a->split->has_previous = a->state.has_previous;
	sampler_read(a->fleet->admin->sampler, now_mono());
}

/* Less weight away from the stable pool than there is now? */
static bool
is_safer(const struct adoption *a)
{
	int stable = split_slot(a->split, a->split->stable);

	return stable >= 0 &&
	       a->bp[stable] > split_weights(a->split)->bp[stable];
}

static bool
adopt_weights(struct adoption *a)
{
	struct err err;

	if (!record_weights(a, &err)) {
		if (!is_safer(a))
			return refuse(a->item, err.text);
		log_event(LOG_ERROR,
		    "safer weights of the fleet take effect although they "
		    "cannot be recorded",
		    "split", a->item->name, "error", err.text, NULL);
	}
	publish_weights(a);
	return true;
}

/* ---- rollouts ---- */

/* What is live here and not what the fleet agreed on. */
static bool
end_other(struct adoption *a)
{
	struct rollouts *rollouts = a->fleet->admin->rollouts;
	struct run *live = rollouts_live(rollouts, a->item->name);
	char words[FLEET_ID_MAX + 96];
	struct err err;

	if (!live ||
	    (a->run && strcmp(live->rollout.id, a->run->rollout.id) == 0))
		return true;
	rollouts->before = live->rollout;
	snprintf(words, sizeof(words),
	    "the fleet has agreed on another state of the split (%s)", a->by);
	if (live->rollout.state == ROLLOUT_PROMOTED)
		rollout_supersede(
		    &live->rollout, a->by, time(NULL), &rollouts->out);
	else
		rollout_orphan(
		    &live->rollout, words, time(NULL), &rollouts->out);
	if (rollouts_settle(rollouts, live, a->by, &err))
		return true;
	live->rollout = rollouts->before;
	return refuse(a->item, err.text);
}

static bool
is_of_same_phase(const struct rollout *a, const struct rollout *b)
{
	return a->phase == b->phase && a->phase_at == b->phase_at &&
	       (a->state == ROLLOUT_PENDING) == (b->state == ROLLOUT_PENDING) &&
	       a->is_promoted == b->is_promoted;
}

/* Who was asked there has not been asked here. */
static void
forget_questions(struct rollout *r)
{
	for (size_t g = 0; g < r->plan->n_gates; g++)
		if (r->gates[g].answer != GATE_OPEN)
			r->gates[g].answer = GATE_UNASKED;
}

/* Clocks and counts that this instance has kept itself since. */
static void
keep_counts(struct rollout *r, const struct rollout *was)
{
	memcpy(r->verdicts, was->verdicts, sizeof(r->verdicts));
	memcpy(r->n, was->n, sizeof(r->n));
	memcpy(r->bad, was->bad, sizeof(r->bad));
	r->shielded = was->shielded;
	r->phase_requests = was->phase_requests;
	/* The weight there is of the ramp's clock there: behind it, the ramp
	   would lead back to where it came from. */
	if (r->state == ROLLOUT_ROLLING_BACK)
		return;
	r->phase_ran = was->phase_ran;
	r->hold_ran = was->hold_ran;
	if (r->ramp_ran < was->ramp_ran)
		r->ramp_ran = was->ramp_ran;
}

/* What belongs to this process alone stays. */
static void
replace(struct run *run, struct run *fresh)
{
	struct rollout was = run->rollout, *r = &run->rollout;

	*r = fresh->rollout;
	r->plan = was.plan; /* the judge has it; they are the same */
	r->judge = was.judge;
	memcpy(r->baseline, was.baseline, sizeof(r->baseline));
	r->stepped_at = was.stepped_at;
	r->down_since = was.down_since;
	r->blind_until = was.blind_until;
	memcpy(r->unwell_at, was.unwell_at, sizeof(r->unwell_at));
	r->unwell_guard = was.unwell_guard;
	if (is_of_same_phase(r, &was)) {
		r->told_approvals = was.told_approvals;
		keep_counts(r, &was);
	}
}

static void
take_decision(struct run *run, struct run *fresh)
{
	if (fresh->decided_ns == 0)
		return;
	run->decided_ns = fresh->decided_ns;
	run->effective_ns = fresh->effective_ns;
	if (fresh->evidence) {
		json_decref(run->evidence);
		run->evidence = json_incref(fresh->evidence);
	}
}

/* What could not be recorded is not there: it is adopted with the next answer.
 */
static void
take_out(struct rollouts *rollouts, struct run *run)
{
	TAILQ_REMOVE(&rollouts->runs, run, link);
	rollouts->n--;
	run_free(&run);
}

static void
insert(struct adoption *a)
{
	struct rollouts *rollouts = a->fleet->admin->rollouts;
	struct run *run = a->run;

	a->run = NULL;
	run->rollouts = rollouts;
	run->split_version = 0;
	TAILQ_INSERT_HEAD(&rollouts->runs, run, link);
	rollouts->n++;
	forget_questions(&run->rollout);
	run->rollout.phase_requests = 0; /* evidence brings them all */
	if (run_is_live(run))
		rollout_resume(&run->rollout, 0, now_mono());
}

/* Weights of pools that are neither arm's. */
static void
level_others(struct adoption *a, const struct rollout *r)
{
	int to = split_slot(a->split, r->to),
	    from = split_slot(a->split, r->from);

	for (int i = 0; i < (int)a->split->n_pools; i++)
		if (i != to && i != from &&
		    split_weights(a->split)->bp[i] != a->bp[i]) {
			publish_weights(a);
			return;
		}
}

static bool
differs(const struct adoption *a)
{
	const struct split *split = a->split;

	return memcmp(split_weights(split)->bp, a->bp,
	           split->n_pools * sizeof(bp_t)) != 0 ||
	       (a->state.stable && strcmp(split->stable, a->state.stable) != 0);
}

static bool
is_judged(const struct rollout *r)
{
	return rollout_state_is_live(r->state) && r->state != ROLLOUT_PENDING;
}

/*
 * The rollout is as theirs is; `was` what it was here, NULL: not live. A trial
 * is published by the set of rollouts, all else from here as it is there.
 */
static bool
settle(struct adoption *a, struct run *run, const struct rollout *was)
{
	struct rollouts *rollouts = a->fleet->admin->rollouts;
	struct rollout *r = &run->rollout;
	struct rollout_output *out = &rollouts->out;
	bool was_judged = was && is_judged(was);
	struct err err;

	memset(out, 0, sizeof(*out));
	out->is_dirty = true;
	out->is_rollback = a->is_back;
	out->publishes = is_judged(r) && (differs(a) || !was_judged);
	if (is_judged(r) && was)
		out->judge = !is_of_same_phase(r, was)  ? JUDGE_BEGINS
		             : r->weight != was->weight ? JUDGE_REWEIGHS
		                                        : JUDGE_GOES_ON;
	if (!is_judged(r) && (differs(a) || was_judged) && !adopt_weights(a))
		return false;
	if (!rollouts_settle(rollouts, run, a->by, &err))
		return refuse(a->item, err.text);
	if (is_judged(r))
		run->judged = r->phase + 1;
	return true;
}

/* An id that is taken: its phases would be others. */
static bool
has_same_plan(const struct run *a, const struct run *b)
{
	char *one = plan_render_json(a->rollout.plan);
	char *other = plan_render_json(b->rollout.plan);
	bool same = one && other && strcmp(one, other) == 0;

	free(one);
	free(other);
	return same && strcmp(a->rollout.split, b->rollout.split) == 0 &&
	       strcmp(a->rollout.to, b->rollout.to) == 0 &&
	       strcmp(a->rollout.from, b->rollout.from) == 0;
}

static bool
adopt_known(struct adoption *a, struct run *run)
{
	bool was_live = run_is_live(run), ok;
	struct rollout was = run->rollout;

	if (!has_same_plan(run, a->run))
		return refuse(a->item, "another rollout has its id here");
	replace(run, a->run);
	take_decision(run, a->run);
	forget_questions(&run->rollout);
	if (!was_live && run_is_live(run)) {
		rollout_release(&run->rollout);
		rollout_resume(&run->rollout, 0, now_mono());
		return settle(a, run, NULL);
	}
	ok = settle(a, run, was_live ? &was : NULL);
	if (!ok)
		run->rollout = was;
	return ok;
}

static bool
adopt_run(struct adoption *a)
{
	struct rollouts *rollouts = a->fleet->admin->rollouts;
	struct run *known = rollouts_find(rollouts, a->run->rollout.id), *run;
	bool ok;

	level_others(a, &a->run->rollout);
	if (known) {
		ok = adopt_known(a, known);
	} else {
		run = a->run;
		insert(a);
		ok = settle(a, run, NULL);
		if (ok)
			rollouts_prune(rollouts);
		else
			take_out(rollouts, run);
	}
	ticker_arm(rollouts);
	return ok;
}

/* ---- reading ---- */

static bool
read_split(struct adoption *a, const json_t *doc)
{
	const char *split = json_string_value(json_object_get(doc, "split"));
	const char *run = json_string_value(json_object_get(doc, "rollout"));
	struct err err;

	if ((split && !fleet_texts_are_clean(split, API_REASON_MAX)) ||
	    (run && !fleet_texts_are_clean(run, FLEET_TEXT_MAX)))
		return disbelieve(a->fleet, a->item);
	if (!split || !split_state_parse(split, &a->state))
		return refuse(a->item, "it cannot be read");
	if (!lay_out(a))
		return refuse(a->item, "its pools are others");
	if (!run)
		return true;
	a->run = run_from_text(run, &err);
	if (!a->run)
		return refuse(a->item, err.text);
	if (!fleet_id_is_clean(a->run->rollout.id))
		return disbelieve(a->fleet, a->item);
	if (strcmp(a->run->rollout.split, a->item->name) != 0 ||
	    split_slot(a->split, a->run->rollout.to) < 0 ||
	    split_slot(a->split, a->run->rollout.from) < 0)
		return refuse(a->item, "its rollout is of other pools");
	return true;
}

static bool
adopt_split(struct fleet *fleet, struct fleet_item *item,
    const struct accord *accord, const json_t *doc)
{
	struct adoption a = {.fleet = fleet,
	    .item = item,
	    .split = fleet_item_split(fleet, item),
	    .is_back = accord_is_back(accord)};
	const char *by = json_string_value(json_object_get(doc, "by"));
	json_t *before;
	bool ok;

	snprintf(a.by, sizeof(a.by), "fleet:%.*s", FLEET_ID_MAX,
	    by ? by : "unknown");
	before = shown(&a);
	ok = read_split(&a, doc) && end_other(&a) &&
	     (a.run ? adopt_run(&a) : adopt_weights(&a));
	if (ok)
		tell(&a, before);
	json_decref(before);
	if (a.run)
		run_free(&a.run);
	split_state_release(&a.state);
	return ok;
}

/* ---- the freeze ---- */

static bool
adopt_freeze(struct fleet *fleet, struct fleet_item *item, const json_t *doc)
{
	struct admin *admin = fleet->admin;
	struct freeze *freeze = &admin->rollouts->freeze;
	const char *who = json_string_value(json_object_get(doc, "who"));
	const char *reason = json_string_value(json_object_get(doc, "reason"));
	const char *by = json_string_value(json_object_get(doc, "by"));
	struct freeze wanted = {
	    .is_on = json_is_true(json_object_get(doc, "on")),
	    .since = (time_t)json_integer_value(json_object_get(doc, "since")),
	    .version = freeze->version + 1};
	char actor[FLEET_ID_MAX + 16];
	struct audit_entry entry = {.actor = actor,
	    .action = wanted.is_on ? "freeze" : "unfreeze",
	    .target = "freeze",
	    .reason = "another instance has changed it",
	    .result = "ok"};
	struct err err;

	snprintf(wanted.by, sizeof(wanted.by), "%s", who ? who : "");
	snprintf(
	    wanted.reason, sizeof(wanted.reason), "%s", reason ? reason : "");
	snprintf(
	    actor, sizeof(actor), "fleet:%.*s", FLEET_ID_MAX, by ? by : "");
	if (!freeze_put(freeze, admin->state, &wanted, &err))
		return refuse(item, err.text);
	admin_audit(admin, &entry);
	log_event(LOG_WARN, entry.action, "by", wanted.by, "from", actor, NULL);
	ticker_look(admin->rollouts);
	return true;
}

/* ---- public ---- */

static bool
says_clearly(const json_t *doc, const char *name, size_t max)
{
	const json_t *value = json_object_get(doc, name);

	return !value || fleet_json_is_clean(value, max);
}

bool
fleet_adopt(struct fleet *fleet, struct fleet_item *item,
    const struct accord *accord, const char *text)
{
	json_t *doc = strlen(text) <= FLEET_DOC_MAX
	                  ? json_loads(text, JSON_REJECT_DUPLICATES, NULL)
	                  : NULL;
	bool ok;

	if (!json_is_object(doc))
		ok = refuse(item, "it is no JSON object");
	else if (!says_clearly(doc, "by", FLEET_ID_MAX - 1) ||
	         !says_clearly(doc, "who", API_REASON_MAX) ||
	         !says_clearly(doc, "reason", API_REASON_MAX))
		ok = disbelieve(fleet, item);
	else if (item->name[0])
		ok = adopt_split(fleet, item, accord, doc);
	else
		ok = adopt_freeze(fleet, item, doc);
	json_decref(doc);
	return ok;
}

void
fleet_follow_back(struct fleet *fleet, struct run *run, const char *why)
{
	struct rollouts *rollouts = fleet->admin->rollouts;
	struct rollout_request request = {
	    .verb = VERB_ABORT, .who = "fleet", .wall = time(NULL)};
	struct err err;

	if (!fleet_text_is_clean(why, API_REASON_MAX))
		why = "it does not say it in words";
	if (!rollout_may(&run->rollout, VERB_ABORT) ||
	    run->rollout.state == ROLLOUT_ROLLING_BACK)
		return;
	log_event(LOG_WARN, "the rollout went back on another instance",
	    "rollout", run->rollout.id, "split", run->rollout.split, "why", why,
	    NULL);
	rollouts->before = run->rollout;
	if (rollout_verb(&run->rollout, &request, &rollouts->out, &err) !=
	    REFUSED_NONE)
		return;
	if (!rollouts_settle(rollouts, run, "fleet", &err))
		run->rollout = rollouts->before;
}
