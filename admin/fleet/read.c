/*
 * Reading of rollouts where another instance may know of newer ones: asked
 * right after a start elsewhere, the answer would be about the rollout before.
 * So the reader waits until every thing that it asks about has been compared
 * with what Redis holds since it asked, at most FLEET_READ_MS. What was changed
 * elsewhere and answered there is in Redis by then (hold.c), and so it is
 * in the answer here. Without Redis, what is known here is told, and that it is
 * only that (fleet_read_is_asked).
 */
#include <stdlib.h>
#include <string.h>

#include "admin/api/api.h"
#include "admin/dispatch.h"
#include "admin/fleet/fleet.h"

struct fleet_read {
	TAILQ_ENTRY(fleet_read) link;
	struct fleet *fleet;             /* borrowed: owns us */
	struct evhttp_request *http;     /* ours to answer */
	char split[CONFIG_NAME_MAX + 1]; /* "": of all */
	nsec_t since;
	struct event *timer; /* owned */
};

static void
read_free(struct fleet_read *read)
{
	TAILQ_REMOVE(&read->fleet->reads, read, link);
	read->fleet->n_reads--;
	if (read->timer)
		event_free(read->timer);
	free(read);
}

/* As in events.c: a request without its connection is ours to end. */
static void
on_close(struct evhttp_connection *connection, void *arg)
{
	struct fleet_read *read = arg;
	struct evhttp_request *http = read->http;

	(void)connection;
	read_free(read);
	if (!evhttp_request_get_connection(http))
		evhttp_send_reply(http, 200, "OK", NULL);
}

static void
read_answer(struct fleet_read *read, bool is_asked)
{
	struct admin *admin = read->fleet->admin;
	struct evhttp_request *http = read->http;
	struct evhttp_connection *connection =
	    evhttp_request_get_connection(http);

	if (connection)
		evhttp_connection_set_closecb(connection, NULL, NULL);
	read_free(read);
	dispatch_again(
	    admin, http, is_asked ? CALL_READ_ASKED : CALL_READ_ALONE);
}

static void
on_time(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_answer(arg, false);
}

static bool
is_meant(const struct fleet_read *read, const struct fleet_item *item)
{
	return item->name[0] &&
	       (!read->split[0] || strcmp(read->split, item->name) == 0);
}

static bool
is_answered(const struct fleet_read *read)
{
	const struct fleet_item *item;

	TAILQ_FOREACH (item, &read->fleet->items, link)
		if (is_meant(read, item) && item->heard_at < read->since)
			return false;
	return true;
}

void
fleet_read_check(struct fleet *fleet)
{
	struct fleet_read *read, *next;

	for (read = TAILQ_FIRST(&fleet->reads); read; read = next) {
		next = TAILQ_NEXT(read, link);
		if (is_answered(read))
			read_answer(read, true);
	}
}

void
fleet_read_end(struct fleet *fleet)
{
	struct fleet_read *read;

	while ((read = TAILQ_FIRST(&fleet->reads)) != NULL)
		read_answer(read, false);
}

/* NULL: out of memory. */
static struct fleet_read *
read_new(struct fleet *fleet, struct call *call, const char *split)
{
	static const struct timeval most = {0, FLEET_READ_MS * 1000};
	struct fleet_read *read = calloc(1, sizeof(*read));

	if (!read)
		return NULL;
	TAILQ_INSERT_TAIL(&fleet->reads, read, link);
	fleet->n_reads++;
	read->fleet = fleet;
	read->http = call->http;
	read->since = now_mono();
	if (split)
		memcpy(read->split, split, strlen(split) + 1);
	read->timer = evtimer_new(fleet->admin->base, on_time, read);
	if (read->timer && event_add(read->timer, &most) == 0)
		return read;
	read_free(read);
	return NULL;
}

bool
fleet_read(struct call *call, const char *split)
{
	struct fleet *fleet = call->admin->fleet;
	struct fleet_item *item;
	struct fleet_read *read;

	if (!fleet || !fleet->has_link || call->read != CALL_READ_FIRST)
		return false;
	call->read = CALL_READ_ALONE;
	if (!fleet->is_up || fleet->n_reads == FLEET_READS_MAX ||
	    (split && (!*split || !fleet_item_find(fleet, split))))
		return false;
	read = read_new(fleet, call, split);
	if (!read)
		return false;
	TAILQ_FOREACH (item, &fleet->items, link)
		if (is_meant(read, item))
			item->sync_at = 0;
	evhttp_connection_set_closecb(
	    evhttp_request_get_connection(call->http), on_close, read);
	fleet_send_changes(fleet);
	return true;
}
