/*
 * Events are numbered "<start in µs>-<n>", so that an id of an
 * earlier process is recognised as one that tells nothing. A stream that was
 * away for longer than the ring, or across a restart, is told by `gap` and
 * gets all that is kept. One that does not read is told by `slow` and ended:
 * memory is bounded by the ring, not by the slowest reader.
 */
#include "admin/events.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "admin/log.h"

struct happening {
	char kind[48];
	char *json; /* owned */
	time_t at;
};

struct stream {
	TAILQ_ENTRY(stream) link;
	struct events *events; /* borrowed: ends its streams before itself */
	struct evhttp_request *http; /* owned by its connection */
};

struct events {
	struct event *heartbeat;
	long long start;
	unsigned long long last; /* number of the newest, 0: none yet */
	struct happening ring[EVENTS_KEPT];
	TAILQ_HEAD(, stream) streams;
	size_t n_streams;
};

static struct happening *
ring_at(const struct events *events, unsigned long long number)
{
	return (
	    struct happening *)(uintptr_t)&events->ring[number % EVENTS_KEPT];
}

static unsigned long long
oldest(const struct events *events)
{
	return events->last > EVENTS_KEPT ? events->last - EVENTS_KEPT + 1 : 1;
}

/* ---- streams ---- */

static void
stream_forget(struct stream *stream)
{
	TAILQ_REMOVE(&stream->events->streams, stream, link);
	stream->events->n_streams--;
	free(stream);
}

/*
 * A reader that goes away in the middle of its answer leaves the request to
 * us: evhttp takes it off the connection, and only the end of the reply frees
 * it. When the whole server is freed, the connection still has it and does.
 */
static void
on_close(struct evhttp_connection *connection, void *arg)
{
	struct stream *stream = arg;
	struct evhttp_request *http = stream->http;

	(void)connection;
	stream_forget(stream);
	if (!evhttp_request_get_connection(http))
		evhttp_send_reply_end(http);
}

static size_t
stream_behind(const struct stream *stream)
{
	struct evhttp_connection *connection =
	    evhttp_request_get_connection(stream->http);
	struct bufferevent *bev = evhttp_connection_get_bufferevent(connection);

	return evbuffer_get_length(bufferevent_get_output(bev));
}

static void
stream_text(struct stream *stream, const char *text, size_t len)
{
	struct evbuffer *chunk = evbuffer_new();

	if (!chunk)
		return;
	evbuffer_add(chunk, text, len);
	evhttp_send_reply_chunk(stream->http, chunk);
	evbuffer_free(chunk);
}

static void
stream_end(struct stream *stream)
{
	evhttp_connection_set_closecb(
	    evhttp_request_get_connection(stream->http), NULL, NULL);
	evhttp_send_reply_end(stream->http);
	stream_forget(stream);
}

static void
stream_event(struct stream *stream, unsigned long long number)
{
	const struct happening *event = ring_at(stream->events, number);
	char *text;
	int n = asprintf(&text, "id: %lld-%llu\nevent: %s\ndata: %s\n\n",
	    stream->events->start, number, event->kind, event->json);

	if (n < 0)
		return;
	stream_text(stream, text, (size_t)n);
	free(text);
}

static void
drop_slow(struct stream *stream)
{
	static const char told[] =
	    "event: slow\ndata: {\"detail\":\"this reader was too slow and is "
	    "cut off; come back with Last-Event-ID\"}\n\n";

	stream_text(stream, told, sizeof(told) - 1);
	/* one that reads nothing at all does not stay for good */
	evhttp_connection_set_timeout(
	    evhttp_request_get_connection(stream->http),
	    EVENTS_FAREWELL_SECONDS);
	stream_end(stream);
}

static void
on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
	struct events *events = arg;
	struct stream *stream, *next;

	(void)fd;
	(void)what;
	for (stream = TAILQ_FIRST(&events->streams); stream; stream = next) {
		next = TAILQ_NEXT(stream, link);
		if (stream_behind(stream) > EVENTS_BEHIND_MAX)
			drop_slow(stream);
		else
			stream_text(stream, ": alive\n\n", 9);
	}
}

/* Where to go on; *is_gap_out when something was missed. */
static unsigned long long
resume_from(const struct events *events, const char *last_id, bool *is_gap_out)
{
	long long start;
	unsigned long long number;
	int end = 0;

	*is_gap_out = false;
	if (!last_id)
		return events->last + 1;
	if (sscanf(last_id, "%lld-%llu%n", &start, &number, &end) == 2 &&
	    last_id[end] == '\0' && start == events->start &&
	    number <= events->last) {
		*is_gap_out = number + 1 < oldest(events);
		return *is_gap_out ? oldest(events) : number + 1;
	}
	*is_gap_out = true;
	return oldest(events);
}

static void
stream_begin(struct stream *stream, const char *last_id)
{
	static const char gap[] =
	    "event: gap\ndata: {\"detail\":\"events before these are no longer "
	    "kept\"}\n\n";
	struct evhttp_request *http = stream->http;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(http);
	struct evhttp_connection *connection =
	    evhttp_request_get_connection(http);
	bool is_gap;
	unsigned long long from = resume_from(stream->events, last_id, &is_gap);

	evhttp_add_header(headers, "Content-Type", "text/event-stream");
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	evhttp_connection_set_closecb(connection, on_close, stream);
	/* a stream is quiet for long, by its nature; the heartbeat finds the
	 * dead */
	bufferevent_set_timeouts(
	    evhttp_connection_get_bufferevent(connection), NULL, NULL);
	evhttp_send_reply_start(http, 200, "OK");
	stream_text(stream, "retry: 2000\n\n", 13);
	if (is_gap)
		stream_text(stream, gap, sizeof(gap) - 1);
	for (; from <= stream->events->last; from++)
		stream_event(stream, from);
}

bool
events_stream(
    struct events *events, struct evhttp_request *http, const char *last_id)
{
	struct stream *stream;

	if (events->n_streams == EVENTS_STREAMS_MAX)
		return false;
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return false;
	stream->events = events;
	stream->http = http;
	TAILQ_INSERT_TAIL(&events->streams, stream, link);
	events->n_streams++;
	stream_begin(stream, last_id);
	return true;
}

/* ---- the ring ---- */

void
events_publish(struct events *events, const char *kind, const char *json)
{
	struct happening *event = ring_at(events, events->last + 1);
	struct stream *stream, *next;
	char *copy = strdup(json);

	if (!copy) {
		log_event(LOG_ERROR, "an event was lost: out of memory",
		    "event", kind, NULL);
		return;
	}
	free(event->json);
	event->json = copy;
	event->at = time(NULL);
	snprintf(event->kind, sizeof(event->kind), "%s", kind);
	events->last++;
	for (stream = TAILQ_FIRST(&events->streams); stream; stream = next) {
		next = TAILQ_NEXT(stream, link);
		if (stream_behind(stream) > EVENTS_BEHIND_MAX)
			drop_slow(stream);
		else
			stream_event(stream, events->last);
	}
}

json_t *
events_json(const struct events *events)
{
	json_t *list = json_array();

	for (unsigned long long i = oldest(events); i <= events->last; i++) {
		const struct happening *event = ring_at(events, i);
		char id[48], at[32];
		struct tm tm;

		gmtime_r(&event->at, &tm);
		strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm);
		snprintf(id, sizeof(id), "%lld-%llu", events->start, i);
		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:s, s:o?}", "id", id, "time",
		              at, "event", event->kind, "data",
		              json_loads(event->json, 0, NULL)));
	}
	return list;
}

struct events *
events_new(struct event_base *base)
{
	static const struct timeval every = {
	    .tv_sec = EVENTS_HEARTBEAT_SECONDS};
	struct events *events = calloc(1, sizeof(*events));
	struct timespec now;

	if (!events)
		return NULL;
	clock_gettime(CLOCK_REALTIME, &now);
	events->start = now.tv_sec * 1000000LL + now.tv_nsec / 1000;
	TAILQ_INIT(&events->streams);
	events->heartbeat =
	    event_new(base, -1, EV_PERSIST, on_heartbeat, events);
	if (!events->heartbeat || event_add(events->heartbeat, &every) != 0) {
		events_free(&events);
		return NULL;
	}
	return events;
}

void
events_free(struct events **events)
{
	struct stream *stream;

	if (!*events)
		return;
	while ((stream = TAILQ_FIRST(&(*events)->streams)) != NULL)
		stream_end(stream);
	if ((*events)->heartbeat)
		event_free((*events)->heartbeat);
	for (size_t i = 0; i < EVENTS_KEPT; i++)
		free((*events)->ring[i].json);
	free(*events);
	*events = NULL;
}
