/*
 * Long polls: GET with "Prefer: wait=N" is answered when the rollout has
 * changed, when N seconds have passed, or when it is over. A client that goes
 * away meanwhile takes its waiter with it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/rollout/rollouts.h"

enum { WAITERS_MAX = 256 };

struct waiter {
	TAILQ_ENTRY(waiter) link;
	struct rollouts *rollouts;   /* borrowed: owns us */
	struct evhttp_request *http; /* ours to answer */
	char id[ROLLOUT_ID_MAX];
	struct event *timer; /* owned */
};

static void
waiter_free(struct waiter *w)
{
	TAILQ_REMOVE(&w->rollouts->waiters, w, link);
	w->rollouts->n_waiters--;
	if (w->timer)
		event_free(w->timer);
	free(w);
}

/* As in events.c: a request without its connection is ours to end. */
static void
on_close(struct evhttp_connection *connection, void *arg)
{
	struct waiter *w = arg;
	struct evhttp_request *http = w->http;

	(void)connection;
	waiter_free(w);
	if (!evhttp_request_get_connection(http))
		evhttp_send_reply(http, 200, "OK", NULL);
}

static void
send_rollout(struct waiter *w, const struct run *run)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(w->http);
	json_t *object = run_to_json(w->rollouts, run);
	char *text = json_dumps(object,
	    JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
	size_t len = text ? strlen(text) : 0;
	char etag[32];

	json_decref(object);
	w->rollouts->admin->counts.by_class[text ? 2 : 5]++;
	if (!text) {
		answer_send(w->http, 500, "text/plain", "out of memory\n", 14);
		return;
	}
	snprintf(
	    etag, sizeof(etag), "\"%llu\"", (unsigned long long)run->version);
	evhttp_add_header(headers, "ETag", etag);
	evhttp_add_header(headers, "Preference-Applied", "wait");
	text[len] = '\n'; /* over the NUL: a line for terminals */
	answer_send(w->http, 200, "application/json", text, len + 1);
	free(text);
}

static void
waiter_answer(struct waiter *w)
{
	const struct run *run = rollouts_find(w->rollouts, w->id);
	struct evhttp_connection *connection =
	    evhttp_request_get_connection(w->http);

	if (connection)
		evhttp_connection_set_closecb(connection, NULL, NULL);
	if (run)
		send_rollout(w, run);
	else
		evhttp_send_error(w->http, 404, NULL);
	waiter_free(w);
}

static void
on_time(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	waiter_answer(arg);
}

bool
waiters_add(
    struct rollouts *rollouts, struct call *call, struct run *run, int seconds)
{
	struct timeval after = {.tv_sec = seconds};
	struct waiter *w;

	if (rollouts->n_waiters == WAITERS_MAX)
		return false;
	w = calloc(1, sizeof(*w));
	if (!w)
		return false;
	w->rollouts = rollouts;
	w->http = call->http;
	w->timer = evtimer_new(rollouts->admin->base, on_time, w);
	snprintf(w->id, sizeof(w->id), "%s", run->rollout.id);
	if (!w->timer || evtimer_add(w->timer, &after) != 0) {
		if (w->timer)
			event_free(w->timer);
		free(w);
		return false;
	}
	TAILQ_INSERT_TAIL(&rollouts->waiters, w, link);
	rollouts->n_waiters++;
	evhttp_connection_set_closecb(
	    evhttp_request_get_connection(call->http), on_close, w);
	return true;
}

void
waiters_wake(struct rollouts *rollouts, const struct run *run)
{
	struct waiter *w, *next;

	for (w = TAILQ_FIRST(&rollouts->waiters); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (strcmp(w->id, run->rollout.id) == 0)
			waiter_answer(w);
	}
}

void
waiters_release(struct rollouts *rollouts)
{
	struct waiter *w;

	while ((w = TAILQ_FIRST(&rollouts->waiters)) != NULL)
		waiter_answer(w);
}
