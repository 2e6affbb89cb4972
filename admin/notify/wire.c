/*
 * libcurl says which sockets and which moment it waits for (on_wish,
 * on_schedule); the loop says when they have come (on_ready, on_time), and
 * what has ended since then is told to its owner (reap). Names are resolved by
 * libcurl's own thread, so nothing here waits.
 *
 * A receiver is not trusted: no redirect is followed, only http and https are
 * spoken, no proxy of the environment is used, head and body are bounded, and
 * the whole exchange has one deadline.
 */
#include "admin/notify/wire.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "admin/notify/notify.h"

enum { HEAD_MAX = 32 << 10 };

struct wire {
	struct event_base *base; /* borrowed */
	CURLM *multi;
	struct event *timer;
	size_t n; /* exchanges under way */
};

struct exchange {
	struct wire *wire; /* borrowed */
	CURL *curl;
	struct curl_slist *headers;
	char error[CURL_ERROR_SIZE];
	char body[NOTIFY_ANSWER_MAX];
	size_t len, head_len;
	bool is_cut; /* the body was longer than what we take */
	wire_done_fn *done;
	void *ctx;
};

/* ---- ends ---- */

static void
exchange_free(struct exchange *exchange)
{
	if (exchange->curl) {
		curl_multi_remove_handle(exchange->wire->multi, exchange->curl);
		curl_easy_cleanup(exchange->curl);
		exchange->wire->n--;
	}
	curl_slist_free_all(exchange->headers);
	free(exchange);
}

void
wire_cancel(struct exchange **exchange)
{
	if (*exchange)
		exchange_free(*exchange);
	*exchange = NULL;
}

static const char *
failure_text(const struct exchange *exchange, CURLcode code)
{
	if (code == CURLE_OPERATION_TIMEDOUT)
		return "no answer in time";
	if (exchange->head_len > HEAD_MAX)
		return "the head of its answer is too large";
	return exchange->error[0] ? exchange->error : curl_easy_strerror(code);
}

static void
conclude(struct exchange *exchange, CURLcode code)
{
	struct wire_result result = {
	    .is_answered = code == CURLE_OK || exchange->is_cut,
	    .is_cut = exchange->is_cut,
	    .body = {exchange->body, exchange->len}};

	if (result.is_answered)
		curl_easy_getinfo(
		    exchange->curl, CURLINFO_RESPONSE_CODE, &result.status);
	else
		result.error = failure_text(exchange, code);
	exchange->done(exchange->ctx, &result);
	exchange_free(exchange);
}

static void
reap(struct wire *wire)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(wire->multi, &left))) {
		struct exchange *exchange = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(
		    message->easy_handle, CURLINFO_PRIVATE, &exchange);
		conclude(exchange, message->data.result);
	}
}

/* ---- libcurl and the loop ---- */

static void
on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct wire *wire = arg;
	int running, action = (what & EV_READ ? CURL_CSELECT_IN : 0) |
	                      (what & EV_WRITE ? CURL_CSELECT_OUT : 0);

	curl_multi_socket_action(wire->multi, fd, action, &running);
	reap(wire);
}

static void
on_time(evutil_socket_t fd, short what, void *arg)
{
	struct wire *wire = arg;
	int running;

	(void)fd;
	(void)what;
	curl_multi_socket_action(wire->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(wire);
}

static int
on_schedule(CURLM *multi, long ms, void *arg)
{
	struct wire *wire = arg;
	struct timeval in = {ms / 1000, ms % 1000 * 1000};

	(void)multi;
	if (ms < 0)
		return evtimer_del(wire->timer);
	return evtimer_add(wire->timer, &in);
}

/* `known` is the event that watches the socket, ours by curl_multi_assign. */
static int
on_wish(CURL *curl, curl_socket_t fd, int wish, void *arg, void *known)
{
	struct wire *wire = arg;
	short what = EV_PERSIST;
	struct event *event;

	(void)curl;
	if (known)
		event_free(known);
	curl_multi_assign(wire->multi, fd, NULL);
	if (wish == CURL_POLL_REMOVE)
		return 0;
	if (wish & CURL_POLL_IN)
		what |= EV_READ;
	if (wish & CURL_POLL_OUT)
		what |= EV_WRITE;
	event = event_new(wire->base, fd, what, on_ready, wire);
	if (!event || event_add(event, NULL) != 0) {
		if (event)
			event_free(event);
		return -1;
	}
	curl_multi_assign(wire->multi, fd, event);
	return 0;
}

/* ---- an answer comes in ---- */

static size_t
on_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct exchange *exchange = arg;
	size_t len = size * n, room = sizeof(exchange->body) - exchange->len;

	if (len > room) {
		exchange->is_cut = true;
		len = room;
	}
	memcpy(exchange->body + exchange->len, bytes, len);
	exchange->len += len;
	return exchange->is_cut ? 0 : len;
}

static size_t
on_head(char *bytes, size_t size, size_t n, void *arg)
{
	struct exchange *exchange = arg;

	(void)bytes;
	exchange->head_len += size * n;
	return exchange->head_len > HEAD_MAX ? 0 : size * n;
}

/* ---- sending ---- */

static bool
add_header(struct exchange *exchange, const char *header)
{
	struct curl_slist *list = curl_slist_append(exchange->headers, header);

	if (list)
		exchange->headers = list;
	return list != NULL;
}

static bool
set_headers(struct exchange *exchange, const struct wire_request *request)
{
	/* a small body need not ask first */
	if (!add_header(exchange, "expect:"))
		return false;
	for (size_t i = 0; i < request->n_headers; i++)
		if (!add_header(exchange, request->headers[i]))
			return false;
	return curl_easy_setopt(exchange->curl, CURLOPT_HTTPHEADER,
	           exchange->headers) == CURLE_OK;
}

static bool
set_up(struct exchange *exchange, const struct wire_request *request)
{
	CURL *curl = exchange->curl;
	CURLcode bad = CURLE_OK;

	bad |= curl_easy_setopt(curl, CURLOPT_PRIVATE, exchange);
	bad |= curl_easy_setopt(curl, CURLOPT_URL, request->url);
	bad |= curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	bad |= curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	bad |= curl_easy_setopt(curl, CURLOPT_PROXY, "");
	bad |= curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	/* a name that is still being looked up is left to its thread */
	bad |= curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
	bad |= curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
	bad |= curl_easy_setopt(
	    curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	bad |= curl_easy_setopt(curl, CURLOPT_USERAGENT, "weir/" WEIR_VERSION);
	bad |= curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
	    (long)((request->timeout + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC));
	bad |= curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, exchange->error);
	bad |= curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	bad |= curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
	bad |= curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_head);
	bad |= curl_easy_setopt(curl, CURLOPT_HEADERDATA, exchange);
	bad |= curl_easy_setopt(
	    curl, CURLOPT_POSTFIELDSIZE, (long)request->body.len);
	bad |=
	    curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, request->body.ptr);
	return bad == CURLE_OK && set_headers(exchange, request);
}

struct exchange *
wire_send(struct wire *wire, const struct wire_request *request,
    wire_done_fn *done, void *ctx)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));

	if (!exchange)
		return NULL;
	exchange->wire = wire;
	exchange->done = done;
	exchange->ctx = ctx;
	exchange->curl = curl_easy_init();
	if (exchange->curl)
		wire->n++;
	if (exchange->curl && set_up(exchange, request) &&
	    curl_multi_add_handle(wire->multi, exchange->curl) == CURLM_OK)
		return exchange;
	exchange_free(exchange);
	return NULL;
}

/* ---- life ---- */

struct wire *
wire_new(struct event_base *base, struct err *err)
{
	struct wire *wire = calloc(1, sizeof(*wire));

	if (!wire || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
		free(wire);
		err_set(err, "libcurl cannot be used");
		return NULL;
	}
	wire->base = base;
	wire->multi = curl_multi_init();
	wire->timer = evtimer_new(base, on_time, wire);
	if (!wire->multi || !wire->timer) {
		wire_free(&wire);
		err_set(err, "out of memory");
		return NULL;
	}
	curl_multi_setopt(wire->multi, CURLMOPT_SOCKETFUNCTION, on_wish);
	curl_multi_setopt(wire->multi, CURLMOPT_SOCKETDATA, wire);
	curl_multi_setopt(wire->multi, CURLMOPT_TIMERFUNCTION, on_schedule);
	curl_multi_setopt(wire->multi, CURLMOPT_TIMERDATA, wire);
	return wire;
}

void
wire_free(struct wire **wire)
{
	struct wire *w = *wire;

	if (!w)
		return;
	assert(w->n == 0);
	if (w->multi)
		curl_multi_cleanup(w->multi);
	if (w->timer)
		event_free(w->timer);
	free(w);
	curl_global_cleanup();
	*wire = NULL;
}
