/*
 * Answers to people whose change the others have not heard of yet: they wait
 * until Redis has said who was first.
 *
 *	taken     the answer as it was made, when all that it changed is
 *	lost      409: another's change was there before, and is in effect here
 *	unknown   FLEET_HOLD_MS have passed, or Redis is away: as it was made;
 *	          it is in effect here, and ordered with the others' afterwards
 *
 * Which thing a call has changed is seen by comparing, as everywhere.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/answers.h"
#include "admin/api/api.h"
#include "admin/dispatch.h"
#include "admin/fleet/fleet.h"
#include "admin/row.h"

/* A thing that a call has changed. */
struct held {
	char name[CONFIG_NAME_MAX + 1]; /* of the item */
	bool is_sent; /* the change is in what was sent last */
};

struct fleet_hold {
	TAILQ_ENTRY(fleet_hold) link;
	struct fleet *fleet;         /* borrowed: owns us */
	struct evhttp_request *http; /* ours to answer */
	struct held
	    of[ROLLOUTS_GROUP_MAX]; /* not taken yet; a group has many */
	size_t n;
	int status;
	char *type, *text; /* owned */
	size_t len;
	bool has_key; /* the answer is kept for repetitions, under: */
	uint8_t key[32], request[32];
	struct event *timer; /* owned */
};

static void
hold_free(struct fleet_hold *hold)
{
	TAILQ_REMOVE(&hold->fleet->holds, hold, link);
	hold->fleet->n_holds--;
	if (hold->timer)
		event_free(hold->timer);
	free(hold->type);
	free(hold->text);
	free(hold);
}

/* As in events.c: a request without its connection is ours to end. */
static void
on_close(struct evhttp_connection *connection, void *arg)
{
	struct fleet_hold *hold = arg;
	struct evhttp_request *http = hold->http;

	(void)connection;
	hold_free(hold);
	if (!evhttp_request_get_connection(http))
		evhttp_send_reply(http, 200, "OK", NULL);
}

/* In the place of the answer that was made. */
static void
make_refusal(struct fleet_hold *hold, const char *name)
{
	const char *what = name[0] ? name : "the freeze";
	char *text = NULL, *type = strdup("application/problem+json");
	int len = asprintf(&text,
	    "{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,"
	    "\"code\":\"another-was-first\",\"detail\":\"at the same moment "
	    "another instance has changed %s: its change holds, this one "
	    "does not\",\"hint\":\"look at it, then ask again\"}\n",
	    what);

	if (len < 0 || !type) {
		free(type);
		if (len >= 0)
			free(text);
		return; /* as it was made: better than no answer */
	}
	free(hold->type);
	free(hold->text);
	hold->type = type;
	hold->text = text;
	hold->len = (size_t)len;
	hold->status = 409;
	evhttp_remove_header(
	    evhttp_request_get_output_headers(hold->http), "ETag");
}

static void
keep_refusal(const struct fleet_hold *hold)
{
	struct answer answer = {.status = hold->status,
	    .body = hold->text,
	    .type = hold->type,
	    .len = hold->len};

	memcpy(answer.key, hold->key, sizeof(answer.key));
	memcpy(answer.request, hold->request, sizeof(answer.request));
	answers_keep(hold->fleet->admin->answers, &answer, time(NULL));
}

static void
hold_answer(struct fleet_hold *hold)
{
	struct evhttp_connection *connection =
	    evhttp_request_get_connection(hold->http);

	hold->fleet->admin->counts.by_class[hold->status / 100]++;
	if (connection)
		evhttp_connection_set_closecb(connection, NULL, NULL);
	answer_send(
	    hold->http, hold->status, hold->type, hold->text, hold->len);
	hold_free(hold);
}

/* NULL: it has changed nothing of this. */
static struct held *
held_of(struct fleet_hold *hold, const struct fleet_item *item)
{
	for (size_t i = 0; i < hold->n; i++)
		if (strcmp(hold->of[i].name, item->name) == 0)
			return &hold->of[i];
	return NULL;
}

static void
hold_taken(struct fleet_hold *hold, struct held *held)
{
	*held = hold->of[--hold->n];
	if (hold->n == 0)
		hold_answer(hold);
}

static void
hold_lost(struct fleet_hold *hold, const struct held *held)
{
	make_refusal(hold, held->name);
	if (hold->has_key)
		keep_refusal(hold);
	hold_answer(hold);
}

void
fleet_hold_end(
    struct fleet *fleet, const struct fleet_item *item, enum fleet_word word)
{
	struct fleet_hold *hold, *next;
	struct held *held;

	for (hold = TAILQ_FIRST(&fleet->holds); hold; hold = next) {
		next = TAILQ_NEXT(hold, link);
		held = held_of(hold, item);
		if (held && word == FLEET_LOST)
			hold_lost(hold, held);
		else if (held)
			hold_taken(hold, held);
	}
}

void
fleet_hold_end_all(struct fleet *fleet)
{
	struct fleet_hold *hold;

	while ((hold = TAILQ_FIRST(&fleet->holds)) != NULL)
		hold_answer(hold);
}

void
fleet_hold_sent(struct fleet *fleet, const struct fleet_item *item)
{
	struct fleet_hold *hold;
	struct held *held;

	TAILQ_FOREACH (hold, &fleet->holds, link) {
		held = held_of(hold, item);
		if (held)
			held->is_sent = true;
	}
}

/* Whatever has become of the thing since: a step that followed is no rival. */
void
fleet_hold_taken(struct fleet *fleet, const struct fleet_item *item)
{
	struct fleet_hold *hold, *next;
	struct held *held;

	for (hold = TAILQ_FIRST(&fleet->holds); hold; hold = next) {
		next = TAILQ_NEXT(hold, link);
		held = held_of(hold, item);
		if (held && held->is_sent)
			hold_taken(hold, held);
	}
}

static void
on_time(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	hold_answer(arg);
}

/* What the call is about: a split's name, "" the freeze; NULL: neither. A
   reload is not meant, it says the same everywhere. */
static const char *
name_of(const struct call *call)
{
	const char *path = call->row->path;
	const struct run *run;

	if (strncmp(path, "/v1/splits/", 11) == 0)
		return call->args[0];
	if (strcmp(path, "/v1/freeze") == 0)
		return "";
	if (strcmp(path, "/v1/rollouts") == 0)
		return json_string_value(json_object_get(call->body, "split"));
	if (strncmp(path, "/v1/rollouts/", 13) != 0 || !call->args[0])
		return NULL;
	run = rollouts_find(call->admin->rollouts, call->args[0]);
	return run ? run->rollout.split : NULL;
}

/* No more than there is room for: a group has as many splits at most. */
static void
note_changed(
    const struct fleet *fleet, const char *name, struct fleet_hold *hold)
{
	struct fleet_item *item = name ? fleet_item_find(fleet, name) : NULL;

	if (!item || !fleet_item_has_changed(fleet, item) ||
	    hold->n == ROLLOUTS_GROUP_MAX)
		return;
	item->is_by_hand = true;
	memcpy(hold->of[hold->n++].name, item->name, sizeof(item->name));
}

static void
note_all_changed(
    const struct call *call, const struct fleet *fleet, struct fleet_hold *hold)
{
	json_t *member;
	size_t i;

	note_changed(fleet, name_of(call), hold);
	if (strcmp(call->row->path, "/v1/rollouts") != 0)
		return;
	json_array_foreach (json_object_get(call->body, "group"), i, member)
		note_changed(fleet,
		    json_string_value(json_object_get(member, "split")), hold);
}

static bool
may_hold(const struct call *call, const struct fleet *fleet, int status)
{
	return fleet && fleet->has_link && fleet->is_up &&
	       fleet->n_holds < FLEET_HOLDS_MAX && status < 300 && call->row &&
	       (call->row->flags & API_MUTATES) && !call->is_dry_run;
}

/* NULL: out of memory. */
static struct fleet_hold *
hold_new(struct fleet *fleet, const char *type, const char *text, size_t len)
{
	struct fleet_hold *hold = calloc(1, sizeof(*hold));

	if (!hold)
		return NULL;
	TAILQ_INSERT_TAIL(&fleet->holds, hold, link);
	fleet->n_holds++;
	hold->fleet = fleet;
	hold->type = strdup(type);
	hold->text = malloc(len + 1);
	hold->len = len;
	hold->timer = evtimer_new(fleet->admin->base, on_time, hold);
	if (!hold->type || !hold->text || !hold->timer ||
	    event_add(
	        hold->timer, &(struct timeval){0, FLEET_HOLD_MS * 1000}) != 0) {
		hold_free(hold);
		return NULL;
	}
	memcpy(hold->text, text, len);
	return hold;
}

bool
fleet_hold(struct call *call, int status, const char *type, const char *text,
    size_t len)
{
	struct fleet *fleet = call->admin->fleet;
	struct fleet_hold *hold = may_hold(call, fleet, status)
	                              ? hold_new(fleet, type, text, len)
	                              : NULL;

	if (!hold)
		return false;
	note_all_changed(call, fleet, hold);
	if (hold->n == 0) {
		hold_free(hold);
		return false;
	}
	hold->http = call->http;
	hold->status = status;
	hold->has_key = call->replay_key != NULL;
	if (hold->has_key)
		call_digests(call, hold->key, hold->request);
	evhttp_connection_set_closecb(
	    evhttp_request_get_connection(call->http), on_close, hold);
	fleet_send_changes(fleet);
	return true;
}
