/*
 * What has just happened, for those who watch: a bounded ring of events and
 * the server-sent-event streams that read it.
 */
#ifndef WEIR_ADMIN_EVENTS_H
#define WEIR_ADMIN_EVENTS_H

#include <event2/event.h>
#include <event2/http.h>
#include <jansson.h>
#include <stdbool.h>

enum {
	EVENTS_KEPT = 1000,
	EVENTS_STREAMS_MAX = 64,
	EVENTS_BEHIND_MAX =
	    256 << 10, /* unsent bytes of a stream that is too slow */
	EVENTS_HEARTBEAT_SECONDS = 15,
	EVENTS_FAREWELL_SECONDS = 5, /* a slow one has to read what is left */
};

struct events;
struct events *events_new(struct event_base *base);
/* Ends all streams. */
void events_free(struct events **events);
/* `json` is an object's text without newlines. */
void events_publish(struct events *events, const char *kind, const char *json);
/* Takes the request over. `last_id` may be NULL. False: there are too many
 * streams; nothing was sent. */
bool events_stream(
    struct events *events, struct evhttp_request *http, const char *last_id);
json_t *events_json(const struct events *events);

#endif
