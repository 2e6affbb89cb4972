/*
 * The fleet as people see it: who is there, who agrees, and what is known to
 * be different. An instance agrees with this one on a split when both have it
 * with the same pools and in the same state.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/fleet/fleet.h"
#include "admin/metrics/metrics.h"

/* ---- what is told of oneself ---- */

char *
fleet_about_text(const struct fleet *fleet)
{
	json_t *splits = json_object(), *about;
	const struct fleet_item *item;
	char accord[ACCORD_TEXT], boot[20], *text;

	TAILQ_FOREACH (item, &fleet->items, link)
		json_object_set_new(splits, item->name,
		    json_pack("[s, s]", item->thing,
		        accord_print(&item->accord, accord)));
	snprintf(
	    boot, sizeof(boot), "%016llx", (unsigned long long)fleet->boot);
	about = json_pack("{s:s, s:s, s:o}", "version", WEIR_VERSION, "boot",
	    boot, "things", splits);
	text = about ? json_dumps(about, JSON_COMPACT) : NULL;
	json_decref(about);
	return text;
}

/* ---- agreement ---- */

enum agreement { AGREES, BEHIND, DIFFERS };

static const char *
thing_name(const char *name)
{
	return name[0] ? name : "(freeze)";
}

static enum agreement
compare(const struct fleet_item *item, const json_t *theirs, const char **why)
{
	const char *thing = json_string_value(json_array_get(theirs, 0));
	const char *accord = json_string_value(json_array_get(theirs, 1));
	char ours[ACCORD_TEXT];

	if (!thing || !accord) {
		*why = "it does not have this split";
		return DIFFERS;
	}
	if (strcmp(thing, item->thing) != 0) {
		*why = "its pools are others";
		return DIFFERS;
	}
	*why = "its state is another";
	return strcmp(accord, accord_print(&item->accord, ours)) == 0 ? AGREES
	                                                              : BEHIND;
}

static void
add_problem(json_t *list, const char *name, const char *why)
{
	json_array_append_new(list,
	    json_pack("{s:s, s:s}", "split", thing_name(name), "why", why));
}

/* Splits that only it has. */
static bool
has_more(const struct fleet *fleet, const json_t *things, json_t *problems)
{
	bool found = false;
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)things, name, value)
		if (!fleet_item_find(fleet, name)) {
			add_problem(problems, name,
			    "this instance does not have this split");
			found = true;
		}
	return found;
}

static const char *
agreement_of(const struct fleet *fleet, const struct fleet_member *member,
    json_t *problems)
{
	const json_t *things = json_object_get(member->about, "things");
	const struct fleet_item *item;
	bool is_behind = false, differs = has_more(fleet, things, problems);

	TAILQ_FOREACH (item, &fleet->items, link) {
		const char *why;
		enum agreement how =
		    compare(item, json_object_get(things, item->name), &why);

		if (how != AGREES)
			add_problem(problems, item->name, why);
		is_behind |= how == BEHIND;
		differs |= how == DIFFERS;
	}
	return differs ? "differs" : is_behind ? "behind" : "agrees";
}

static int64_t
age_of(const struct fleet_member *member)
{
	return member->ms + (now_mono() - member->heard_at) / NSEC_PER_MSEC;
}

static json_t *
member_json(const struct fleet *fleet, const struct fleet_member *member)
{
	bool is_self = strcmp(member->id, fleet->id) == 0;
	json_t *problems = json_array();
	const char *state = is_self ? (fleet->is_up ? "agrees" : "away")
	                            : agreement_of(fleet, member, problems);
	const char *version =
	    is_self
	        ? WEIR_VERSION
	        : json_string_value(json_object_get(member->about, "version"));

	if (!is_self && age_of(member) > FLEET_AWAY_MS)
		state = "away";
	return json_pack("{s:s, s:b, s:s, s:s, s:I, s:o}", "id", member->id,
	    "self", is_self, "state", state, "version", version ? version : "",
	    "seen_ms_ago", (json_int_t)(is_self ? 0 : age_of(member)),
	    "problems", problems);
}

/* Before the others have been heard, or without them. */
static json_t *
self_json(const struct fleet *fleet)
{
	struct fleet_member self = {.heard_at = now_mono()};

	memcpy(self.id, fleet->id, sizeof(self.id));
	return member_json(fleet, &self);
}

/* ---- things ---- */

static json_t *
item_json(const struct fleet_item *item)
{
	json_t *object =
	    json_pack("{s:s, s:I, s:b, s:I, s:I, s:b, s:s}", "split",
	        thing_name(item->name), "epoch", (json_int_t)item->accord.epoch,
	        "back", accord_is_back(&item->accord), "deeds",
	        (json_int_t)item->accord.deeds, "term",
	        (json_int_t)item->accord.term, "agreed", item->is_same,
	        "holder", item->holder);

	if (item->trouble[0])
		json_object_set_new(
		    object, "trouble", json_string(item->trouble));
	return object;
}

json_t *
fleet_json(const struct fleet *fleet)
{
	json_t *members = json_array(), *things = json_array();
	const struct fleet_item *item;
	bool has_self = false;

	for (size_t i = 0; i < fleet->n_members; i++) {
		has_self |= strcmp(fleet->members[i].id, fleet->id) == 0;
		json_array_append_new(
		    members, member_json(fleet, &fleet->members[i]));
	}
	if (fleet->has_link && !has_self)
		json_array_insert_new(members, 0, self_json(fleet));
	TAILQ_FOREACH (item, &fleet->items, link)
		if (fleet->has_link)
			json_array_append_new(things, item_json(item));
	return json_pack("{s:s, s:b, s:b, s:s, s:o, s:o}", "schema",
	    "weir.fleet/v1", "shared", fleet->has_link, "up", fleet->is_up,
	    "id", fleet->id, "instances", members, "splits", things);
}

void
api_fleet(struct call *call)
{
	call_json(call, 200, fleet_json(call->admin->fleet), NULL);
}

/* ---- metrics ---- */

static size_t
count_present(const struct fleet *fleet)
{
	size_t n = 0;

	for (size_t i = 0; i < fleet->n_members; i++)
		n += age_of(&fleet->members[i]) <= FLEET_AWAY_MS;
	return n;
}

static size_t
count_agreeing(const struct fleet *fleet)
{
	size_t n = 0;

	for (size_t i = 0; i < fleet->n_members; i++) {
		json_t *one = member_json(fleet, &fleet->members[i]);

		n += strcmp(json_string_value(json_object_get(one, "state")),
		         "agrees") == 0;
		json_decref(one);
	}
	return n;
}

static void
put_items(struct exposition *x, const struct fleet *fleet)
{
	const struct fleet_item *item;

	family_begin(x, FAMILY_GAUGE, "weir_fleet_agreed",
	    "1 when the shared memory has a split in the state that it is in "
	    "here.");
	TAILQ_FOREACH (item, &fleet->items, link)
		if (item->name[0])
			family_value(x,
			    (struct label[]){{"split", item->name}, {0}},
			    item->is_same);
	family_begin(x, FAMILY_GAUGE, "weir_fleet_lease",
	    "1 when this instance moves the split's rollout forward.");
	TAILQ_FOREACH (item, &fleet->items, link)
		if (item->name[0])
			family_value(x,
			    (struct label[]){{"split", item->name}, {0}},
			    fleet_item_is_ours(item, now_mono()));
}

void
metrics_fleet(struct exposition *x, const struct fleet *fleet)
{
	if (!fleet->has_link)
		return;
	family_begin(x, FAMILY_GAUGE, "weir_fleet_up",
	    "1 when the other instances can be reached.");
	family_value(x, NULL, fleet->is_up);
	family_begin(x, FAMILY_GAUGE, "weir_fleet_instances",
	    "Instances that were heard of late, this one among them.");
	family_value(x, NULL, fleet->is_up ? (double)count_present(fleet) : 1);
	family_begin(x, FAMILY_GAUGE, "weir_fleet_instances_agreeing",
	    "Those among them that are in the same state on everything.");
	family_value(x, NULL, fleet->is_up ? (double)count_agreeing(fleet) : 1);
	put_items(x, fleet);
	family_begin(x, FAMILY_COUNTER, "weir_fleet_adopted",
	    "States taken over from other instances.");
	family_count(x, NULL, fleet->adopted);
	family_begin(x, FAMILY_COUNTER, "weir_fleet_refused",
	    "States and evidence of other instances that were not believed.");
	family_count(x, NULL, fleet->refused);
	family_begin(x, FAMILY_COUNTER, "weir_fleet_lost",
	    "Times that the other instances could not be reached any more.");
	family_count(x, NULL, fleet->lost);
}
