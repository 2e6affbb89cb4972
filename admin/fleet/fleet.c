/*
 * The fleet's beat: what is asked of the common memory when, and what the
 * answers mean. See fleet.h for the protocol.
 *
 *	every tick   notice local changes; send what is due
 *	heard        somebody has written: all things are synced at once
 *	look         has anybody? for what was not heard
 *	beat         "I live, and stand here"; the others' in the answer
 *	sync         one thing: write, adopt, lease, evidence
 */
#include "admin/fleet/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/log.h"
#include "admin/state/state.h"
#include "tls/tls.h"

#define MSEC(n) ((n)*NSEC_PER_MSEC)

/* What an answer is for: its thing may be gone by then. */
struct wait {
	struct fleet *fleet;
	char name[CONFIG_NAME_MAX + 1], thing[FLEET_THING_MAX];
	char accord[ACCORD_TEXT];  /* as it was sent */
	uint64_t era;              /* of the cells */
	char back[ROLLOUT_ID_MAX]; /* whose way back was asked for */
};

/* ---- what the rest of the folder asks ---- */

struct fleet *
admin_fleet(struct admin *admin)
{
	return admin->fleet;
}

const char *
fleet_tag(const struct fleet *fleet)
{
	const char *dash;

	if (!fleet || !fleet->has_link)
		return "";
	dash = strrchr(fleet->id, '-');
	return dash ? dash + 1 : fleet->id;
}

const char *
fleet_standstill(const struct fleet *fleet)
{
	return fleet && fleet->has_link && !fleet->is_up
	           ? "Redis is away and nothing is promoted by one instance "
	             "alone"
	           : NULL;
}

/* What is not known to all yet is not built upon. */
static bool
may_advance(const struct fleet *fleet, const char *split)
{
	const struct fleet_item *item = fleet_item_find(fleet, split);

	return fleet->is_up && item && item->is_same &&
	       fleet_item_is_ours(item, now_mono());
}

bool
fleet_lets(const struct fleet *fleet, const struct run *run,
    const struct rollout_output *out)
{
	if (!fleet || !fleet->has_link || out->is_rollback ||
	    (!out->is_dirty && out->asks == 0))
		return true;
	return may_advance(fleet, run->rollout.split);
}

/* ---- sync: what comes back ---- */

static void
note_holder(struct fleet *fleet, struct fleet_item *item, const char *holder)
{
	bool was = item->held_at != 0;

	snprintf(item->holder, sizeof(item->holder), "%s", holder);
	item->held_at = strcmp(holder, fleet->id) == 0 ? item->asked_at : 0;
	if (was != (item->held_at != 0) && item->name[0])
		log_event(LOG_INFO,
		    item->held_at ? "this instance moves the split's rollout"
		                  : "another instance moves the split's "
		                    "rollout, or none",
		    "split", item->name, "holder", holder[0] ? holder : "-",
		    NULL);
}

static void
confirm(struct fleet *fleet, struct fleet_item *item)
{
	bool is_news = item->agreed < item->accord.epoch || item->is_unsent;

	item->is_same = true;
	item->is_unsent = false;
	item->expected[0] = '\0';
	item->trouble[0] = '\0';
	item->refused[0] = '\0';
	if (item->agreed < item->accord.epoch)
		item->agreed = item->accord.epoch;
	if (is_news)
		fleet_item_record(fleet, item);
	if (!fleet_item_has_changed(fleet, item))
		fleet_hold_end(fleet, item, FLEET_TAKEN);
}

/* Both have the same rollout go back, whoever was the first to say so. */
static bool
is_same_back(const struct accord *ours, const struct accord *theirs)
{
	return accord_is_back(ours) && accord_is_back(theirs) &&
	       ours->line == theirs->line;
}

/* Somebody else's is greater, or the fence has held ours off. */
static void
take_over(struct fleet *fleet, struct fleet_item *item,
    const struct accord *theirs, const char *doc)
{
	char trouble[sizeof(item->trouble)];

	memcpy(trouble, item->trouble, sizeof(trouble));
	if (!fleet_adopt(fleet, item, theirs, doc)) {
		item->is_same = false;
		/* What is decided here from now on has seen it. */
		if (item->agreed < theirs->epoch)
			item->agreed = theirs->epoch;
		if (strcmp(trouble, item->trouble) != 0)
			log_event(LOG_ERROR,
			    "what the fleet agreed on is not in effect here",
			    "thing", item->thing, "why", item->trouble, NULL);
		return;
	}
	fleet->adopted++;
	fleet_hold_end(fleet, item,
	    is_same_back(&item->accord, theirs) ? FLEET_TAKEN : FLEET_LOST);
	item->accord = *theirs;
	item->agreed = theirs->epoch;
	free(item->doc);
	item->doc = strdup(doc);
	fleet_item_settle(fleet, item);
	item->is_unsent = true; /* for the record */
	confirm(fleet, item);
}

/* Nothing is there, or nothing that is believed. */
static void
claim(struct fleet_item *item)
{
	item->is_unsent = true;
	item->is_fenced = false;
	item->expected[0] = '\0';
	item->sync_at = 0;
}

static void
compare(
    struct fleet *fleet, struct fleet_item *item, const struct fleet_told *told)
{
	struct accord theirs;
	int order;

	if (!told->accord[0]) {
		claim(item);
		return;
	}
	if (!accord_parse(told->accord, &theirs) ||
	    !accord_is_possible(&theirs, fleet_wall_ms())) {
		fleet_distrust(fleet, item, told->by,
		    "the number of its state is none that an instance can "
		    "have come to");
		snprintf(
		    item->refused, sizeof(item->refused), "%s", told->accord);
		claim(item);
		return;
	}
	order = accord_compare(&theirs, &item->accord);
	if (order == 0) {
		confirm(fleet, item);
	} else if (told->doc && (order > 0 || told->is_fenced_off)) {
		take_over(fleet, item, &theirs, told->doc);
	} else if (order < 0) {
		item->is_unsent = true;
		item->is_same = false;
		item->sync_at = 0;
	}
}

static void
hear(struct fleet *fleet, struct fleet_item *item, const struct wait *wait,
    const struct fleet_told *told)
{
	bool was_ours = fleet_item_is_ours(item, now_mono());
	struct run *run;

	note_holder(fleet, item, told->holder);
	/* Confirmed first: what has changed meanwhile comes after it. */
	if (strcmp(told->accord, wait->accord) == 0) {
		confirm(fleet, item);
		fleet_hold_taken(fleet, item);
	}
	fleet_item_notice(fleet, item);
	if (strcmp(told->accord, wait->accord) != 0 ||
	    strcmp(told->accord,
	        accord_print(&item->accord, (char[ACCORD_TEXT]){0})) != 0)
		compare(fleet, item, told);
	item->is_settled = true;
	if (!item->name[0])
		return;
	/* Perhaps it has just been adopted, and the answer is about the one
	   before it. */
	run = rollouts_live(fleet->admin->rollouts, item->name);
	if (run && told->why[0] && strcmp(run->rollout.id, wait->back) == 0)
		fleet_follow_back(fleet, run, told->why);
	else if (run && item->evidence->era == wait->era)
		fleet_evidence_hear(fleet, item, run, told);
	if (run && (!was_ours || told->n_cells > 0))
		ticker_look(fleet->admin->rollouts);
}

static void tick_items(struct fleet *fleet, nsec_t now);

static void
on_told(void *ctx, const struct fleet_told *told)
{
	struct wait *wait = ctx;
	struct fleet *fleet = wait->fleet;
	struct fleet_item *item = fleet_item_find(fleet, wait->name);

	nsec_t asked_at = item ? item->asked_at : 0;

	if (item && strcmp(item->thing, wait->thing) == 0) {
		item->is_asked = false;
		if (told) {
			hear(fleet, item, wait, told);
			item->heard_at = asked_at;
		}
	} else if (item) {
		item->is_asked = false;
	}
	free(wait);
	if (TAILQ_EMPTY(&fleet->reads) || !told)
		return;
	tick_items(fleet, now_mono()); /* was asked before the reader came */
	fleet_read_check(fleet);
}

/* ---- sync: asking ---- */

/* The rollout that has gone back, if the others may not know. */
static const char *
back_of(const struct fleet_item *item, const struct run *run,
    struct fleet_ask *ask, char *key, size_t cap)
{
	const struct rollout *r = run ? &run->rollout : NULL;

	if (!r)
		return NULL;
	snprintf(key, cap, "back:%s", r->id);
	ask->back = key;
	if (accord_is_back(&item->accord) &&
	    strcmp(item->went_back, r->id) != 0)
		ask->why = r->cause_words[0] ? r->cause_words : "it went back";
	return ask->why ? r->id : NULL;
}

/* A split is in a live rollout's hands, so somebody must hold the lease. */
static int
lease_wish(const struct fleet *fleet, const struct fleet_item *item,
    const struct run *live)
{
	if (live && !fleet->is_leaving)
		return FLEET_LEASE_MS;
	return item->held_at != 0 ? -1 : 0;
}

static void
sync_item(struct fleet *fleet, struct fleet_item *item, nsec_t now)
{
	struct rollouts *rollouts = fleet->admin->rollouts;
	struct run *live =
	    item->name[0] ? rollouts_live(rollouts, item->name) : NULL;
	struct run *run = item->name[0] ? fleet_item_run(fleet, item) : NULL;
	struct wait *wait = calloc(1, sizeof(*wait));
	char lease[FLEET_THING_MAX], cells[64], back[64], *cell = NULL;
	struct fleet_ask ask = {.id = fleet->id,
	    .thing = item->thing,
	    .is_fenced = item->is_fenced,
	    .expected = item->expected,
	    .refused = item->refused};
	const char *noted;

	if (!wait)
		return;
	wait->fleet = fleet;
	memcpy(wait->name, item->name, sizeof(wait->name));
	memcpy(wait->thing, item->thing, sizeof(wait->thing));
	ask.accord = accord_print(&item->accord, wait->accord);
	ask.doc = item->is_unsent ? fleet_item_doc(fleet, item) : NULL;
	if (item->name[0]) {
		snprintf(lease, sizeof(lease), "lease:%s", item->name);
		ask.lease = lease;
		ask.lease_ms = lease_wish(fleet, item, live);
	}
	if (live && fleet_evidence_key(item, cells, sizeof(cells))) {
		ask.cells = cells;
		wait->era = item->evidence->era;
		ask.cell = cell = fleet_evidence_cell(fleet, item, live, now);
	}
	fleet_hold_sent(fleet, item);
	noted = back_of(item, run, &ask, back, sizeof(back));
	if (run)
		memcpy(wait->back, run->rollout.id, sizeof(wait->back));
	item->asked_at = now;
	item->sync_at = now + MSEC(live ? FLEET_LIVE_MS : FLEET_IDLE_MS);
	item->is_asked = true;
	if (fleet->link.sync(fleet->link.ctx, &ask, on_told, wait)) {
		if (noted)
			memcpy(item->went_back, noted,
			    strnlen(noted, ROLLOUT_ID_MAX - 1) + 1);
	} else {
		item->is_asked = false;
		free(wait);
	}
	free(cell);
}

static void
tick_item(struct fleet *fleet, struct fleet_item *item, nsec_t now)
{
	if (item->is_asked)
		return;
	if (fleet_item_notice(fleet, item)) {
		fleet->beat_at = 0;
		if (!fleet->is_up)
			fleet_item_record(fleet, item);
	}
	if (fleet->is_up && now >= item->sync_at)
		sync_item(fleet, item, now);
}

static void
tick_items(struct fleet *fleet, nsec_t now)
{
	struct fleet_item *item;

	TAILQ_FOREACH (item, &fleet->items, link)
		tick_item(fleet, item, now);
}

void
fleet_send_changes(struct fleet *fleet)
{
	tick_items(fleet, now_mono());
}

/* ---- look and beat ---- */

static void
sync_all_soon(struct fleet *fleet)
{
	struct fleet_item *item;

	TAILQ_FOREACH (item, &fleet->items, link)
		item->sync_at = 0;
}

static void
on_number(void *ctx, bool is_answered, int64_t number)
{
	struct fleet *fleet = ctx;

	fleet->is_looking = false;
	if (!is_answered || number == fleet->number)
		return;
	fleet->number = number;
	sync_all_soon(fleet);
}

/* Of our own write the answer says all, unless another's came between. */
void
fleet_heard(struct fleet *fleet, int64_t number, const char *by)
{
	bool is_own = strcmp(by, fleet->id) == 0 && number == fleet->number + 1;

	if (!fleet->has_link || !fleet->is_up || number == fleet->number)
		return;
	fleet->number = number;
	if (is_own)
		return;
	sync_all_soon(fleet);
	tick_items(fleet, now_mono());
}

void
fleet_members_release(struct fleet *fleet)
{
	for (size_t i = 0; i < fleet->n_members; i++)
		json_decref(fleet->members[i].about);
	fleet->n_members = 0;
}

static void
on_about(void *ctx, const struct fleet_about *list, size_t n)
{
	struct fleet *fleet = ctx;
	nsec_t now = now_mono();

	fleet->is_beating = false;
	if (!list)
		return;
	fleet_members_release(fleet);
	for (size_t i = 0; i < n && fleet->n_members < FLEET_PEERS_MAX; i++) {
		struct fleet_member *member = &fleet->members[fleet->n_members];
		json_t *about = json_loads(list[i].about, 0, NULL);

		if (!json_is_object(about) || !fleet_id_is_clean(list[i].id) ||
		    strlen(list[i].id) >= sizeof(member->id)) {
			json_decref(about);
			continue;
		}
		*member = (struct fleet_member){
		    .ms = list[i].ms, .heard_at = now, .about = about};
		memcpy(member->id, list[i].id, strlen(list[i].id) + 1);
		fleet->n_members++;
	}
}

static void
look(struct fleet *fleet, nsec_t now)
{
	if (fleet->is_looking || now < fleet->look_at)
		return;
	fleet->look_at =
	    now + MSEC(fleet->link.hears(fleet->link.ctx) ? FLEET_CALM_MS
	                                                  : FLEET_LOOK_MS);
	fleet->is_looking = fleet->link.look(fleet->link.ctx, on_number, fleet);
}

static void
beat(struct fleet *fleet, nsec_t now)
{
	char *about;

	if (fleet->is_beating || now < fleet->beat_at)
		return;
	fleet->beat_at = now + MSEC(FLEET_BEAT_MS);
	about = fleet_about_text(fleet);
	if (about)
		fleet->is_beating = fleet->link.beat(
		    fleet->link.ctx, fleet->id, about, on_about, fleet);
	free(about);
}

/* ---- the tick ---- */

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct fleet *fleet = arg;
	nsec_t now = now_mono();

	(void)fd;
	(void)what;
	tick_items(fleet, now);
	if (!fleet->is_up)
		return;
	look(fleet, now);
	beat(fleet, now);
}

/* ---- the link ---- */

void
fleet_reached(struct fleet *fleet)
{
	if (!fleet->is_up)
		log_event(LOG_INFO, "the fleet is reached", "instance",
		    fleet->id, NULL);
	fleet->is_up = true;
	fleet->beat_at = fleet->look_at = 0;
	sync_all_soon(fleet);
}

/* Its answers, if any were waited for, have come as failures. */
void
fleet_lost(struct fleet *fleet, const char *why)
{
	struct fleet_item *item;

	log_event(LOG_WARN, "the fleet cannot be reached", "why", why,
	    "instead",
	    "weights stay, guards go on, nothing is promoted until it is back",
	    NULL);
	fleet->lost += fleet->is_up;
	fleet->is_up = false;
	TAILQ_FOREACH (item, &fleet->items, link) {
		item->held_at = 0;
		item->holder[0] = '\0';
		item->is_same = false;
		item->expected[0] = '\0';
	}
	fleet_hold_end_all(fleet);
	fleet_read_end(fleet);
}

/* Leases are given back: the others need not wait for them to run out. */
static void
say_goodbye(struct fleet *fleet)
{
	struct fleet_item *item;

	fleet->is_leaving = true;
	TAILQ_FOREACH (item, &fleet->items, link)
		if (!item->is_asked &&
		    (item->held_at != 0 || fleet_item_notice(fleet, item)))
			sync_item(fleet, item, now_mono());
	fleet->link.leave(fleet->link.ctx, fleet->id);
	fleet->is_leaving = false;
}

/* The same over restarts, and another one on every machine. */
static bool
make_id(struct fleet *fleet, struct err *err)
{
	const char *known = state_get(fleet->admin->state, "fleet/id");
	json_t *json = known ? json_loads(known, JSON_DECODE_ANY, NULL) : NULL;
	const char *text = json_string_value(json);
	char host[48] = "weir", record[FLEET_ID_MAX + 2];
	uint32_t random;

	if (!tls_random(&fleet->boot, sizeof(fleet->boot)) ||
	    !tls_random(&random, sizeof(random))) {
		json_decref(json);
		return err_set(err, "no random numbers from the kernel");
	}
	if (text && strlen(text) < sizeof(fleet->id)) {
		memcpy(fleet->id, text, strlen(text) + 1);
		json_decref(json);
		return true;
	}
	json_decref(json);
	gethostname(host, sizeof(host) - 1);
	for (char *c = host; *c; c++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-.", *c))
			*c = '_';
	snprintf(
	    fleet->id, sizeof(fleet->id), "%s-%06x", host, random & 0xffffff);
	snprintf(record, sizeof(record), "\"%s\"", fleet->id);
	return state_put(fleet->admin->state, "fleet/id", record, err);
}

void
fleet_join(struct fleet *fleet, const struct fleet_link *link)
{
	static const struct timeval every = {0, FLEET_TICK_MS * 1000};
	struct err err;

	if (fleet->has_link && fleet->is_up)
		say_goodbye(fleet);
	fleet->has_link = link != NULL;
	fleet->is_up = false;
	fleet_hold_end_all(fleet);
	fleet_read_end(fleet);
	fleet_members_release(fleet);
	if (!link) {
		event_del(fleet->timer);
		return;
	}
	fleet->link = *link;
	/* Without a record it has another one after the next start: for the
	   others a stranger, and no harm done. */
	if (!fleet->id[0] && !make_id(fleet, &err))
		log_event(LOG_ERROR,
		    "the name of this instance in the fleet is not recorded",
		    "instance", fleet->id, "error", err.text, NULL);
	fleet->has_link = fleet->id[0] != '\0';
	if (!fleet->has_link)
		return;
	fleet_items_refresh(fleet);
	event_add(fleet->timer, &every);
	if (link->is_up(link->ctx))
		fleet_reached(fleet);
}

void
fleet_adopt_config(struct fleet *fleet)
{
	if (fleet->has_link)
		fleet_items_refresh(fleet);
}

/* ---- life ---- */

struct fleet *
fleet_new(struct admin *admin, struct err *err)
{
	struct fleet *fleet = calloc(1, sizeof(*fleet));

	if (!fleet) {
		err_set(err, "out of memory");
		return NULL;
	}
	fleet->admin = admin;
	TAILQ_INIT(&fleet->items);
	TAILQ_INIT(&fleet->holds);
	TAILQ_INIT(&fleet->reads);
	fleet->timer = event_new(admin->base, -1, EV_PERSIST, on_tick, fleet);
	if (fleet->timer)
		return fleet;
	err_set(err, "out of memory");
	fleet_free(&fleet);
	return NULL;
}

void
fleet_free(struct fleet **fleet)
{
	struct fleet *dead = *fleet;
	struct fleet_item *item;

	*fleet = NULL;
	if (!dead)
		return;
	fleet_hold_end_all(dead);
	fleet_read_end(dead);
	while ((item = TAILQ_FIRST(&dead->items)) != NULL) {
		TAILQ_REMOVE(&dead->items, item, link);
		fleet_item_free(item);
	}
	if (dead->timer)
		event_free(dead->timer);
	fleet_members_release(dead);
	free(dead);
}
