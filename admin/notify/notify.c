/*
 * A receiver is a URL with a queue of calls. Of its events only the first is
 * ever under way, so that they arrive in order; questions pass them. A call
 * that failed waits for its next try with growing, jittered pauses; its id and
 * body stay, its signature is of the new moment.
 *
 *	queued -> under way -> answered -> gone
 *	   ^          |
 *	   +-- due later, while tries are left
 */
#include "admin/notify/notify.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/log.h"
#include "admin/notify/parts.h"
#include "tls/tls.h"

#define PAUSE_FIRST (500 * NSEC_PER_MSEC)
#define PAUSE_MOST  (30 * NSEC_PER_SEC)

static void pump(struct notify *notify);

static nsec_t
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (nsec_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static void
to_hex(const uint8_t *bytes, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* ---- receivers ---- */

/* "https://hooks.example.com:8443/x?y" without user, path and query. */
static char *
url_name(const char *url)
{
	const char *at = strstr(url, "://"), *host = at ? at + 3 : url;
	size_t len = strcspn(host, "/?#");
	const char *user = memrchr(host, '@', len);
	char *name;

	if (user) {
		len -= (size_t)(user + 1 - host);
		host = user + 1;
	}
	if (asprintf(&name, "%.*s%.*s", at ? (int)(at + 3 - url) : 0, url,
	        (int)len, host) < 0)
		return NULL;
	return name;
}

static void
receiver_free(struct notify *notify, struct receiver *receiver)
{
	TAILQ_REMOVE(&notify->receivers, receiver, link);
	notify->n_receivers--;
	free(receiver->url);
	free(receiver->name);
	free(receiver);
}

/* Reloads may name ever new ones. */
static void
forget_oldest(struct notify *notify)
{
	struct receiver *receiver, *oldest = NULL;

	TAILQ_FOREACH (receiver, &notify->receivers, link)
		if (TAILQ_EMPTY(&receiver->jobs) &&
		    (!oldest || receiver->used_at < oldest->used_at))
			oldest = receiver;
	if (oldest)
		receiver_free(notify, oldest);
}

static struct receiver *
receiver_new(struct notify *notify, const char *url)
{
	struct receiver *receiver = calloc(1, sizeof(*receiver));

	assert(receiver != NULL);
	receiver->notify = notify;
	receiver->url = strdup(url);
	receiver->name = url_name(url);
	assert(receiver->url && receiver->name);
	TAILQ_INIT(&receiver->jobs);
	if (notify->n_receivers >= NOTIFY_RECEIVERS_MAX)
		forget_oldest(notify);
	TAILQ_INSERT_TAIL(&notify->receivers, receiver, link);
	notify->n_receivers++;
	return receiver;
}

static struct receiver *
receiver_of(struct notify *notify, const char *url)
{
	struct receiver *receiver;

	TAILQ_FOREACH (receiver, &notify->receivers, link)
		if (strcmp(receiver->url, url) == 0)
			return receiver;
	return receiver_new(notify, url);
}

/* ---- jobs ---- */

static void
job_free(struct job *job)
{
	struct receiver *receiver = job->receiver;

	TAILQ_REMOVE(&receiver->jobs, job, link);
	receiver->n_events -= job->fn == NULL;
	if (job->exchange) {
		receiver->running--;
		receiver->notify->running--;
		wire_cancel(&job->exchange);
	}
	if (job->key)
		explicit_bzero(job->key, job->key_len);
	free(job->key);
	free(job->body);
	free(job);
}

static void
job_fail(struct job *job, const char *error)
{
	snprintf(job->error, sizeof(job->error), "%.*s",
	    (int)sizeof(job->error) - 1, error);
}

/* A random one: what a receiver has seen before it may leave out. */
static void
make_id(char id[NOTIFY_ID_MAX])
{
	uint8_t bytes[16];

	if (!tls_random(bytes, sizeof(bytes)))
		abort(); /* no randomness: nothing of TLS works either */
	id[0] = 'd';
	id[1] = '-';
	to_hex(bytes, sizeof(bytes), id + 2);
}

/* The envelope's words come first, for whoever reads it. */
static char *
make_body(const struct job *job, json_t *body)
{
	json_t *whole =
	    json_pack("{s:s, s:s}", "schema", "weir.event/v1", "id", job->id);
	char *text;

	json_object_update_missing(whole, body);
	text = json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(12));
	json_decref(whole);
	json_decref(body);
	assert(text != NULL);
	return text;
}

static struct job *
job_new(struct receiver *receiver, const struct hook_call *call)
{
	struct job *job = calloc(1, sizeof(*job));
	struct err err;

	assert(job != NULL);
	job->receiver = receiver;
	snprintf(job->event, sizeof(job->event), "%s", call->event);
	if (call->id)
		snprintf(job->id, sizeof(job->id), "%s", call->id);
	else
		make_id(job->id);
	job->body = make_body(job, call->body);
	job->timeout = call->hook->timeout;
	job->retries = call->hook->retries;
	if (call->hook->hmac.from != SECRET_NONE &&
	    !secret_read(&call->hook->hmac, &job->key, &job->key_len, &err)) {
		err_wrap(&err, "the key of the hook cannot be read");
		job_fail(job, err.text);
	}
	return job;
}

/* ---- answers ---- */

/* One line that cannot play tricks with a terminal or a log. */
static void
put_line(char *out, size_t cap, struct span text)
{
	size_t len = 0;

	for (size_t i = 0; i < text.len && len + 1 < cap; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (c == '\n' || c == '\r') {
			if (len > 0)
				break;
		} else {
			out[len++] = c >= ' ' && c < 0x7f ? (char)c : '?';
		}
	}
	out[len] = '\0';
}

/* {"message": "..."} or plain text. */
static void
put_words(struct hook_answer *answer, const struct wire_result *result)
{
	static const char *const keys[] = {"message", "text", "reason"};
	json_t *json = json_loadb(
	    result->body.ptr, result->body.len, JSON_REJECT_DUPLICATES, NULL);

	for (size_t i = 0; i < 3 && !answer->text[0]; i++) {
		const char *text =
		    json_string_value(json_object_get(json, keys[i]));

		if (text)
			put_line(
			    answer->text, sizeof(answer->text), span_of(text));
	}
	if (!answer->text[0] && !json)
		put_line(answer->text, sizeof(answer->text), result->body);
	if (!answer->text[0])
		snprintf(answer->text, sizeof(answer->text), "status %ld",
		    answer->status);
	json_decref(json);
}

static void
tell_failure(const struct job *job)
{
	const struct receiver *receiver = job->receiver;
	char tries[16];

	snprintf(tries, sizeof(tries), "%u", job->tries);
	log_event(LOG_WARN, "a receiver did not take a call", "receiver",
	    receiver->name, "event", job->event, "delivery", job->id, "tries",
	    tries, "error", job->error, NULL);
}

static void
note_end(const struct job *job, bool is_taken)
{
	struct receiver *receiver = job->receiver;

	if (is_taken) {
		if (receiver->failing > 0)
			log_event(LOG_INFO, "a receiver takes calls again",
			    "receiver", receiver->name, NULL);
		receiver->delivered++;
		receiver->failing = 0;
		receiver->is_overflowing = false;
		receiver->success_at = time(NULL);
		return;
	}
	receiver->failed++;
	receiver->failing++;
	receiver->failure_at = time(NULL);
	memcpy(receiver->error, job->error, sizeof(receiver->error));
	tell_failure(job);
}

/* A question is taken by any answer, an event only by 2xx. */
static void
finish(struct job *job, const struct hook_answer *answer)
{
	hook_answer_fn *fn = job->fn;
	void *ctx = job->ctx;
	size_t tag = job->tag;

	note_end(job, fn ? answer->is_answered : answer->is_ok);
	job_free(job);
	if (fn)
		fn(ctx, tag, answer);
}

static void
give_up(struct job *job)
{
	struct hook_answer answer = {0};

	put_line(answer.text, sizeof(answer.text), span_of(job->error));
	finish(job, &answer);
}

/* ---- tries ---- */

static bool
is_worth_another(const struct wire_result *result)
{
	return !result->is_answered || result->status == 408 ||
	       result->status == 429 || result->status >= 500;
}

/* Half of it is chance, so that many weirs do not knock in step. */
static nsec_t
pause_before(unsigned tries)
{
	nsec_t pause = PAUSE_FIRST << (tries - 1 < 10 ? tries - 1 : 10);
	uint16_t dice = 0;

	if (pause > PAUSE_MOST)
		pause = PAUSE_MOST;
	tls_random(&dice, sizeof(dice));
	return pause / 2 + pause / 2 * dice / UINT16_MAX;
}

static void
on_done(void *arg, const struct wire_result *result)
{
	struct job *job = arg;
	struct notify *notify = job->receiver->notify;
	struct hook_answer answer = {.is_answered = result->is_answered,
	    .status = result->status,
	    .is_ok = result->status >= 200 && result->status < 300};

	job->exchange = NULL; /* it ends itself */
	job->receiver->running--;
	notify->running--;
	if (!result->is_answered)
		job_fail(job, result->error);
	else
		snprintf(job->error, sizeof(job->error), "status %ld",
		    result->status);
	if (!is_worth_another(result) && job->fn && result->is_cut) {
		/* it has not said yes before it has ended */
		answer.is_ok = false;
		snprintf(answer.text, sizeof(answer.text),
		    "status %ld, but its answer is longer than %d KiB",
		    result->status, NOTIFY_ANSWER_MAX / 1024);
		finish(job, &answer);
	} else if (!is_worth_another(result)) {
		put_words(&answer, result);
		finish(job, &answer);
	} else if (job->tries > job->retries) {
		give_up(job);
	} else {
		job->due = now() + pause_before(job->tries);
	}
	pump(notify);
}

static void
sign(const struct job *job, char *header, size_t cap)
{
	long long t = (long long)time(NULL);
	char *text, hex[65];
	uint8_t mac[32];
	int n = asprintf(&text, "%lld.%s", t, job->body);

	assert(n > 0);
	tls_hmac_sha256((struct span){job->key, job->key_len},
	    (struct span){text, (size_t)n}, mac);
	to_hex(mac, sizeof(mac), hex);
	snprintf(header, cap, "weir-signature: t=%lld,v1=%s", t, hex);
	free(text);
}

static void
start(struct job *job)
{
	struct receiver *receiver = job->receiver;
	char delivery[NOTIFY_ID_MAX + 24], event[72], signature[128];
	const char *headers[] = {
	    "content-type: application/json", delivery, event, signature};
	struct wire_request request = {.url = receiver->url,
	    .headers = headers,
	    .n_headers = job->key ? 4 : 3,
	    .body = span_of(job->body),
	    .timeout = job->timeout};

	snprintf(delivery, sizeof(delivery), "weir-delivery: %s", job->id);
	snprintf(event, sizeof(event), "weir-event: %s", job->event);
	if (job->key)
		sign(job, signature, sizeof(signature));
	job->tries++;
	receiver->tries++;
	receiver->used_at = now();
	job->exchange =
	    wire_send(receiver->notify->wire, &request, on_done, job);
	if (!job->exchange) {
		/* an address that libcurl does not understand stays one */
		job_fail(job, "the call cannot be made: check the url");
		job->tries = job->retries + 1;
		return;
	}
	receiver->running++;
	receiver->notify->running++;
}

/* ---- the pump ---- */

/* What can never be sent; told from the loop, not from the call that made it.
 */
static bool
is_lost(const struct job *job)
{
	return !job->exchange && job->error[0] &&
	       (job->tries == 0 || job->tries > job->retries);
}

static struct job *
first_lost(struct receiver *receiver)
{
	struct job *job;

	TAILQ_FOREACH (job, &receiver->jobs, link)
		if (is_lost(job))
			return job;
	return NULL;
}

/* Starts what is due; returns when the next one is, 0: none is waiting for a
 * moment. */
static nsec_t
pump_receiver(struct receiver *receiver, nsec_t at)
{
	bool is_first = true;
	nsec_t next = 0;
	struct job *job;

	TAILQ_FOREACH (job, &receiver->jobs, link) {
		bool may = job->fn || is_first;

		is_first &= job->fn != NULL;
		if (!may || job->exchange)
			continue;
		if (is_lost(job)) {
			next = at;
			continue;
		}
		if (receiver->running >= NOTIFY_PER_RECEIVER ||
		    receiver->notify->running >= NOTIFY_AT_ONCE)
			break;
		if (job->due <= at) {
			start(job);
			next = is_lost(job) ? at : next;
		} else if (next == 0 || job->due < next) {
			next = job->due;
		}
	}
	return next;
}

static void
pump(struct notify *notify)
{
	struct receiver *receiver;
	nsec_t at = now(), next = 0;
	struct timeval in;

	TAILQ_FOREACH (receiver, &notify->receivers, link) {
		nsec_t due = pump_receiver(receiver, at);

		if (due != 0 && (next == 0 || due < next))
			next = due;
	}
	if (next == 0)
		return;
	next = next > at ? next - at : 0;
	in.tv_sec = next / NSEC_PER_SEC;
	in.tv_usec = next % NSEC_PER_SEC / NSEC_PER_USEC;
	evtimer_add(notify->timer, &in);
}

static void
pump_soon(struct notify *notify)
{
	static const struct timeval at_once = {0, 0};

	evtimer_add(notify->timer, &at_once);
}

/* A callback may make and forget calls, so that every look begins anew. */
static bool
bury_one(struct notify *notify)
{
	struct receiver *receiver;

	TAILQ_FOREACH (receiver, &notify->receivers, link) {
		struct job *job = first_lost(receiver);

		if (job) {
			give_up(job);
			return true;
		}
	}
	return false;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct notify *notify = arg;

	(void)fd;
	(void)what;
	while (bury_one(notify))
		continue;
	pump(notify);
}

/* ---- calls ---- */

static bool
is_full(struct receiver *receiver, const char *event)
{
	if (receiver->n_events < NOTIFY_QUEUE_MAX)
		return false;
	receiver->dropped++;
	if (!receiver->is_overflowing)
		log_event(LOG_WARN,
		    "events are dropped: too many wait for a receiver",
		    "receiver", receiver->name, "event", event, "error",
		    receiver->error, NULL);
	receiver->is_overflowing = true;
	return true;
}

bool
hook_send(struct notify *notify, const struct hook_call *call)
{
	struct receiver *receiver = receiver_of(notify, call->hook->url);
	struct job *job;

	if (is_full(receiver, call->event)) {
		json_decref(call->body);
		return false;
	}
	job = job_new(receiver, call);
	TAILQ_INSERT_TAIL(&receiver->jobs, job, link);
	receiver->n_events++;
	if (job->error[0]) {
		give_up(job);
		return false;
	}
	pump_soon(notify);
	return true;
}

void
hook_ask(struct notify *notify, const struct hook_call *call,
    hook_answer_fn *fn, void *ctx, size_t tag)
{
	struct receiver *receiver = receiver_of(notify, call->hook->url);
	struct job *job = job_new(receiver, call);

	job->fn = fn;
	job->ctx = ctx;
	job->tag = tag;
	TAILQ_INSERT_TAIL(&receiver->jobs, job, link);
	pump_soon(notify);
}

void
hook_forget(struct notify *notify, const void *ctx)
{
	struct receiver *receiver;
	struct job *job, *next;

	TAILQ_FOREACH (receiver, &notify->receivers, link)
		for (job = TAILQ_FIRST(&receiver->jobs); job; job = next) {
			next = TAILQ_NEXT(job, link);
			if (job->fn && job->ctx == ctx)
				job_free(job);
		}
	pump_soon(notify);
}

/* ---- life ---- */

struct notify *
notify_new(struct event_base *base, struct err *err)
{
	struct notify *notify = calloc(1, sizeof(*notify));

	assert(notify != NULL);
	TAILQ_INIT(&notify->receivers);
	notify->timer = evtimer_new(base, on_timer, notify);
	assert(notify->timer != NULL);
	notify->wire = wire_new(base, err);
	if (!notify->wire)
		notify_free(&notify);
	return notify;
}

void
notify_free(struct notify **notify)
{
	struct notify *n = *notify;
	struct receiver *receiver;
	struct job *job;

	if (!n)
		return;
	while ((receiver = TAILQ_FIRST(&n->receivers)) != NULL) {
		while ((job = TAILQ_FIRST(&receiver->jobs)) != NULL)
			job_free(job);
		receiver_free(n, receiver);
	}
	wire_free(&n->wire);
	event_free(n->timer);
	free(n);
	*notify = NULL;
}
