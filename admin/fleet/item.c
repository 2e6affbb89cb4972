/*
 * One thing that instances agree on: which state it is in, what that is called
 * (its accord), and how both are kept over a restart. A state that differs from
 * the one numbered last is a change of this instance's, and gets a number of
 * its own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/fleet/fleet.h"
#include "admin/log.h"
#include "admin/state/state.h"

static bool
is_freeze(const struct fleet_item *item)
{
	return item->name[0] == '\0';
}

struct fleet_item *
fleet_item_find(const struct fleet *fleet, const char *name)
{
	struct fleet_item *item;

	TAILQ_FOREACH (item, &fleet->items, link)
		if (strcmp(item->name, name) == 0)
			return item;
	return NULL;
}

struct split *
fleet_item_split(const struct fleet *fleet, const struct fleet_item *item)
{
	return registry_split(fleet->admin->registry, item->name);
}

bool
fleet_item_is_ours(const struct fleet_item *item, nsec_t now)
{
	return item->held_at != 0 &&
	       now - item->held_at < FLEET_SURE_MS * NSEC_PER_MSEC;
}

/* ---- the state as it is ---- */

struct run *
fleet_item_run(const struct fleet *fleet, const struct fleet_item *item)
{
	struct rollouts *rollouts = fleet->admin->rollouts;
	const struct split *split = fleet_item_split(fleet, item);
	struct run *run = rollouts_live(rollouts, item->name);
	char by[ROLLOUT_ID_MAX + 16];

	if (run || !split)
		return run;
	run = rollouts_newest(rollouts, item->name);
	if (!run)
		return NULL;
	snprintf(by, sizeof(by), "rollout %s", run->rollout.id);
	if (split->changed_by && strcmp(split->changed_by, by) == 0)
		return run;
	/* One that never moved a weight: nobody else has since. */
	return strcmp(item->facts.run, run->rollout.id) == 0 &&
	               item->facts.version == split_weights(split)->version
	           ? run
	           : NULL;
}

static void
take_facts(const struct fleet *fleet, const struct fleet_item *item,
    struct fleet_facts *out)
{
	const struct split *split;
	const struct run *run;

	*out = (struct fleet_facts){0};
	if (is_freeze(item)) {
		out->version = fleet->admin->rollouts->freeze.version;
		return;
	}
	split = fleet_item_split(fleet, item);
	run = fleet_item_run(fleet, item);
	out->version = split_weights(split)->version;
	if (!run)
		return;
	memcpy(out->run, run->rollout.id, sizeof(out->run));
	out->run_version = run->version;
	out->state = run->rollout.state;
	out->weight = run->rollout.weight;
}

/* A restart or a reload lays the weights of a rollout out anew. */
static bool
are_same(const struct fleet_facts *a, const struct fleet_facts *b)
{
	if (strcmp(a->run, b->run) != 0)
		return false;
	if (a->run[0] == '\0')
		return a->version == b->version;
	return a->run_version == b->run_version && a->state == b->state &&
	       a->weight == b->weight;
}

static json_t *
text_or_null(char *text)
{
	json_t *json = text ? json_string(text) : json_null();

	free(text);
	return json;
}

static json_t *
split_doc(const struct fleet *fleet, const struct fleet_item *item)
{
	const struct run *run = fleet_item_run(fleet, item);
	struct split_state saved;
	json_t *doc;

	split_save(fleet_item_split(fleet, item), &saved);
	doc = json_pack("{s:s, s:o, s:o}", "by", fleet->id, "split",
	    text_or_null(split_state_print(&saved)), "rollout",
	    run ? text_or_null(run_to_text(run)) : json_null());
	split_state_release(&saved);
	return doc;
}

static json_t *
freeze_doc(const struct fleet *fleet)
{
	const struct freeze *freeze = &fleet->admin->rollouts->freeze;

	return json_pack("{s:s, s:b, s:I, s:s, s:s}", "by", fleet->id, "on",
	    freeze->is_on, "since", (json_int_t)freeze->since, "who",
	    freeze->by, "reason", freeze->reason);
}

const char *
fleet_item_doc(struct fleet *fleet, struct fleet_item *item)
{
	json_t *doc;

	if (item->doc)
		return item->doc;
	doc = is_freeze(item) ? freeze_doc(fleet) : split_doc(fleet, item);
	item->doc = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	return item->doc;
}

/* ---- numbering ---- */

static bool
has_gone_back(const struct rollout *r)
{
	return r->state == ROLLOUT_ROLLING_BACK ||
	       r->state == ROLLOUT_ROLLED_BACK || r->state == ROLLOUT_ABORTED;
}

/*
 * A promotion is a decision of its own: what people do to the rollout
 * somewhere where it is not known yet does not take it back.
 */
static uint64_t
line_of_run(const struct rollout *r)
{
	bool is_over = r->state == ROLLOUT_PROMOTED || r->state == ROLLOUT_DONE;
	char text[ROLLOUT_ID_MAX + 16];

	snprintf(text, sizeof(text), "%s%s", r->id, is_over ? "/over" : "");
	return accord_hash(text);
}

static uint64_t
line_by_hand(const struct fleet *fleet, const struct fleet_item *item,
    const struct fleet_facts *facts)
{
	char text[FLEET_ID_MAX + FLEET_THING_MAX + 64];

	snprintf(text, sizeof(text), "%s %s %llu %llx", item->thing, fleet->id,
	    (unsigned long long)facts->version,
	    (unsigned long long)fleet->boot);
	return accord_hash(text);
}

static uint16_t
safety_by_hand(const struct fleet *fleet, const struct fleet_item *item)
{
	const struct split *split;
	int stable;

	if (is_freeze(item))
		return fleet->admin->rollouts->freeze.is_on ? ACCORD_SAFEST : 0;
	split = fleet_item_split(fleet, item);
	stable = split_slot(split, split->stable);
	return stable < 0 ? 0 : split_weights(split)->bp[stable];
}

static void
describe(struct fleet *fleet, struct fleet_item *item,
    const struct fleet_facts *facts, struct accord_change *out)
{
	const struct run *run =
	    is_freeze(item) ? NULL : fleet_item_run(fleet, item);

	*out = (struct accord_change){0};
	if (!run) {
		out->line = line_by_hand(fleet, item, facts);
		out->safety = safety_by_hand(fleet, item);
		return;
	}
	out->line = line_of_run(&run->rollout);
	out->is_back = has_gone_back(&run->rollout);
	if (out->is_back)
		out->safety = (uint16_t)(BP_ALL - run->rollout.weight);
}

/* Made on what all had agreed on: it may only follow that. What makes things
   safe need not. */
static void
expect(const struct fleet *fleet, struct fleet_item *item,
    const struct accord_change *change)
{
	char text[ACCORD_TEXT];

	if (!item->is_by_hand || change->is_back || change->is_holder ||
	    change->safety == ACCORD_SAFEST || !fleet->is_up)
		item->expected[0] = '\0';
	else if (item->is_same)
		snprintf(item->expected, sizeof(item->expected), "%.*s",
		    ACCORD_DECISION, accord_print(&item->accord, text));
}

bool
fleet_item_has_changed(const struct fleet *fleet, const struct fleet_item *item)
{
	struct fleet_facts facts;

	take_facts(fleet, item, &facts);
	return !are_same(&facts, &item->facts);
}

/* Its rollout went back and something else has begun, between two looks: that
   is two decisions, and the second one knew of the first. */
static void
pass_through_back(struct fleet *fleet, struct fleet_item *item, const char *now)
{
	struct accord_change change = {.is_back = true};
	const struct run *run;

	if (!item->facts.run[0] || strcmp(item->facts.run, now) == 0 ||
	    accord_is_back(&item->accord))
		return;
	run = rollouts_find(fleet->admin->rollouts, item->facts.run);
	if (!run || !has_gone_back(&run->rollout))
		return;
	change.line = line_of_run(&run->rollout);
	item->accord = accord_next(&item->accord, item->agreed, &change);
}

/*
 * What is found changed before the others were heard may be old: it counts as
 * the step of a holder, which loses against everything that came after it. A
 * person's is none even where the lease is held.
 */
bool
fleet_item_notice(struct fleet *fleet, struct fleet_item *item)
{
	nsec_t now = now_mono();
	bool is_ours = fleet_item_is_ours(item, now) && !item->is_by_hand;
	struct fleet_facts facts;
	struct accord_change change;
	bool is_known_run;

	take_facts(fleet, item, &facts);
	if (are_same(&facts, &item->facts))
		return false;
	pass_through_back(fleet, item, facts.run);
	describe(fleet, item, &facts, &change);
	is_known_run = facts.run[0] && strcmp(facts.run, item->facts.run) == 0;
	change.is_holder = is_ours || !item->is_settled;
	expect(fleet, item, &change);
	item->is_by_hand = false;
	free(item->doc);
	item->doc = NULL;
	change.content =
	    accord_hash(fleet_item_doc(fleet, item) ? item->doc : "");
	item->accord = accord_next(&item->accord, item->agreed, &change);
	item->is_fenced = is_ours && is_known_run && !change.is_back;
	item->is_unsent = true;
	item->is_same = false;
	item->sync_at = 0;
	item->facts = facts;
	return true;
}

void
fleet_item_settle(struct fleet *fleet, struct fleet_item *item)
{
	take_facts(fleet, item, &item->facts);
}

/* ---- over a restart ---- */

static void
record_key(const struct fleet_item *item, char *buf, size_t cap)
{
	if (is_freeze(item))
		snprintf(buf, cap, "fleet/freeze");
	else
		snprintf(buf, cap, "fleet/split/%s", item->name);
}

void
fleet_item_record(struct fleet *fleet, struct fleet_item *item)
{
	char key[CONFIG_NAME_MAX + 32], accord[ACCORD_TEXT], *text;
	const struct fleet_facts *facts = &item->facts;
	json_t *object = json_pack("{s:s, s:I, s:I, s:s, s:I, s:i, s:i}",
	    "accord", accord_print(&item->accord, accord), "agreed",
	    (json_int_t)item->agreed, "version", (json_int_t)facts->version,
	    "run", facts->run, "run_version", (json_int_t)facts->run_version,
	    "state", (int)facts->state, "weight", (int)facts->weight);
	struct err err;

	record_key(item, key, sizeof(key));
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	/* Lost, it is a change that this instance does not remember having
	   told: told again, and greater for nobody. */
	if (text && !state_put(fleet->admin->state, key, text, &err))
		log_event(LOG_ERROR,
		    "what the fleet agreed on cannot be recorded", "thing",
		    item->thing, "error", err.text, NULL);
	free(text);
	json_decref(object);
}

/* Written by a weir that believed anything. */
static bool
is_believable(const json_t *object, struct fleet_item *item)
{
	json_int_t agreed =
	    json_integer_value(json_object_get(object, "agreed"));
	uint64_t wall = fleet_wall_ms();

	if (agreed >= 0 && accord_is_possible(&item->accord, wall) &&
	    accord_epoch_is_possible((uint64_t)agreed, wall))
		return true;
	log_event(LOG_ERROR,
	    "what the fleet had agreed on had a number that no instance can "
	    "have come to: it is numbered anew",
	    "thing", item->name[0] ? item->name : "freeze", NULL);
	item->accord = (struct accord){0};
	return false;
}

static bool
restore(struct fleet *fleet, struct fleet_item *item)
{
	char key[CONFIG_NAME_MAX + 32];
	const char *text, *accord, *run;
	json_t *object;
	bool ok;

	record_key(item, key, sizeof(key));
	text = state_get(fleet->admin->state, key);
	object = text ? json_loads(text, 0, NULL) : NULL;
	accord = json_string_value(json_object_get(object, "accord"));
	run = json_string_value(json_object_get(object, "run"));
	ok = accord && run && strlen(run) < ROLLOUT_ID_MAX &&
	     accord_parse(accord, &item->accord) && is_believable(object, item);
	if (ok) {
#define NUMBER(name) json_integer_value(json_object_get(object, name))
		item->agreed = (uint64_t)NUMBER("agreed");
		item->facts.version = (uint64_t)NUMBER("version");
		memcpy(item->facts.run, run, strlen(run) + 1);
		item->facts.run_version = (uint64_t)NUMBER("run_version");
		item->facts.state = (enum rollout_state)NUMBER("state");
		item->facts.weight = (bp_t)NUMBER("weight");
#undef NUMBER
	}
	json_decref(object);
	return ok;
}

/* Nothing but what the file says: any decision of the others is more. */
static void
begin_blank(struct fleet *fleet, struct fleet_item *item)
{
	const struct split *split;

	item->accord.content = 1;
	item->accord.safety = safety_by_hand(fleet, item);
	if (is_freeze(item)) {
		if (!fleet->admin->rollouts->freeze.is_on)
			fleet_item_settle(fleet, item);
		return;
	}
	split = fleet_item_split(fleet, item);
	if (split->changed_at == 0 &&
	    !rollouts_newest(fleet->admin->rollouts, item->name))
		fleet_item_settle(fleet, item);
}

/* ---- the set of them ---- */

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
name_thing(const struct fleet *fleet, struct fleet_item *item)
{
	const struct split *split;
	char *pools[CONFIG_SPLIT_POOLS_MAX];
	char all[CONFIG_SPLIT_POOLS_MAX * (CONFIG_NAME_MAX + 2)];
	size_t len = 0;

	if (is_freeze(item)) {
		snprintf(item->thing, sizeof(item->thing), "freeze");
		return;
	}
	split = fleet_item_split(fleet, item);
	memcpy(pools, split->pools, split->n_pools * sizeof(*pools));
	qsort(pools, split->n_pools, sizeof(*pools), by_name);
	for (uint32_t i = 0; i < split->n_pools; i++)
		len += (size_t)snprintf(
		    all + len, sizeof(all) - len, "%s ", pools[i]);
	snprintf(item->thing, sizeof(item->thing), "split:%s:%08x", item->name,
	    (unsigned)accord_hash(all));
}

static struct fleet_item *
item_new(struct fleet *fleet, const char *name)
{
	struct fleet_item *item = calloc(1, sizeof(*item));

	if (item && *name)
		item->evidence = calloc(1, sizeof(*item->evidence));
	if (!item || (*name && !item->evidence)) {
		free(item);
		return NULL;
	}
	snprintf(item->name, sizeof(item->name), "%s", name);
	if (!restore(fleet, item))
		begin_blank(fleet, item);
	TAILQ_INSERT_TAIL(&fleet->items, item, link);
	return item;
}

void
fleet_item_free(struct fleet_item *item)
{
	if (item->evidence)
		free(item->evidence->peers);
	free(item->evidence);
	free(item->doc);
	free(item);
}

static void
refresh(struct fleet *fleet, const char *name)
{
	struct fleet_item *item = fleet_item_find(fleet, name);
	char was[FLEET_THING_MAX];

	if (!item)
		item = item_new(fleet, name);
	if (!item)
		return; /* no memory: not shared until the next reload */
	memcpy(was, item->thing, sizeof(was));
	name_thing(fleet, item);
	if (strcmp(was, item->thing) == 0)
		return;
	item->is_same = false;
	item->is_unsent = true;
	item->sync_at = 0;
	free(item->doc);
	item->doc = NULL;
}

void
fleet_items_refresh(struct fleet *fleet)
{
	struct registry *registry = fleet->admin->registry;
	struct fleet_item *item, *next;

	for (item = TAILQ_FIRST(&fleet->items); item; item = next) {
		next = TAILQ_NEXT(item, link);
		if (is_freeze(item) || fleet_item_split(fleet, item))
			continue;
		TAILQ_REMOVE(&fleet->items, item, link);
		fleet_item_free(item);
	}
	refresh(fleet, "");
	for (size_t i = 0; i < registry_n_splits(registry); i++)
		refresh(fleet, registry_split_at(registry, i)->name);
}
