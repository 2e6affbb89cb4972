/*
 * Heads that a rate limit refuses again and again, see refused.h.
 *
 * Remembered are whole heads without a body, of connections that go on, on
 * routes that judge by nothing but the head, the client and the snapshot; all
 * of these are compared, byte by byte, so that no head is ever taken for
 * another. Not while there is an access log, which wants a line of each.
 */
#include "proxy/refused.h"

#include <assert.h>
#include <stdlib.h>

enum {
	SLOTS = 128,
	HEAD_MIN = 16,
	REFUSED_HEAD_MAX = 1024,
	REFUSED_REPLY_MAX = 768,
	BATCH_MAX = 32, /* answers of one send */
};

/* What the text of an answer depends on, beside the limit itself. */
struct moment {
	time_t date;
	uint64_t free_in, restored_in; /* whole seconds */
	uint32_t left;
};

struct refusal_known {
	struct peer peer;
	uint32_t listener;
	uint32_t head_len; /* 0: nothing here */
	uint64_t generation;
	struct decision decision;
	enum http_method method;
	struct moment moment;
	uint32_t reply_len, body_len;
	char head[REFUSED_HEAD_MAX], reply[REFUSED_REPLY_MAX];
};

struct refusals {
	struct refusal_known slots[SLOTS];
};

static uint64_t
seconds(nsec_t time)
{
	return (uint64_t)((time + NSEC_PER_SEC - 1) / NSEC_PER_SEC);
}

static struct moment
moment_of(struct worker *worker, const struct limit_answer *limit)
{
	worker_date(worker);
	return (struct moment){worker->date_at, seconds(limit->free_in),
	    seconds(limit->restored_in), limit->left};
}

static bool
is_same_moment(const struct moment *a, const struct moment *b)
{
	return a->date == b->date && a->free_in == b->free_in &&
	       a->restored_in == b->restored_in && a->left == b->left;
}

/* By the client and the beginning of what it asks for. */
static struct refusal_known *
slot_of(struct refusals *refusals, const struct conn *client, const char *bytes)
{
	uint64_t who, what;

	memcpy(&who, client->client.peer.bytes + 8, sizeof(who));
	memcpy(&what, bytes + 8, sizeof(what));
	who = (who ^ what ^ client->client.listener) *
	      UINT64_C(0x9e3779b97f4a7c15);
	return &refusals->slots[(who >> 32) % SLOTS];
}

static bool
is_known(const struct refusal_known *known, const struct conn *client,
    const char *bytes, size_t len)
{
	const struct peer *peer = &client->client.peer;

	return known->head_len > 0 && known->head_len <= len &&
	       known->listener == client->client.listener &&
	       known->generation ==
	           snapshot_generation(client->worker->snapshot) &&
	       known->peer.family == peer->family &&
	       memcmp(known->peer.bytes, peer->bytes, sizeof(peer->bytes)) ==
	           0 &&
	       memcmp(known->head, bytes, known->head_len) == 0;
}

void
refused_remember(const struct request *request, size_t len, size_t body_len)
{
	struct worker *worker = request->worker;
	const struct h1_head *head = &worker->parsed;
	const struct decision *decision = &request->decision;
	struct refusal_known *known;

	if (decision->limit_key == 0 || request->client->is_stream ||
	    worker->log || !request->keep_alive || request->minor == 0 ||
	    request->method == METHOD_HEAD || !head->path_is_plain ||
	    head->framing != H1_NO_BODY || request->is_grpc ||
	    decision->country != COUNTRY_NONE || head->len < HEAD_MIN ||
	    head->len > REFUSED_HEAD_MAX || len > REFUSED_REPLY_MAX ||
	    request->snapshot != worker->snapshot)
		return;
	if (!worker->refusals)
		worker->refusals = calloc(1, sizeof(*worker->refusals));
	if (!worker->refusals)
		return;
	known = slot_of(worker->refusals, request->client, head->bytes);
	known->peer = request->client->client.peer;
	known->listener = request->listener;
	known->generation = snapshot_generation(worker->snapshot);
	known->decision = *decision;
	known->method = (enum http_method)request->method;
	known->moment = moment_of(worker, &decision->limit);
	known->head_len = head->len;
	known->reply_len = (uint32_t)len;
	known->body_len = (uint32_t)body_len;
	memcpy(known->head, head->bytes, head->len);
	memcpy(known->reply, worker->head, len);
}

/* The answer as it is now: the text of a moment ago, unless a second passed. */
static void
bring_up_to_date(struct worker *worker, struct refusal_known *known)
{
	struct moment now = moment_of(worker, &known->decision.limit);
	size_t body_len;

	if (is_same_moment(&known->moment, &now))
		return;
	known->moment = now;
	known->reply_len = (uint32_t)reply_limited(worker, &known->decision,
	    known->reply, sizeof(known->reply), &body_len);
	known->body_len = (uint32_t)body_len;
	assert(known->reply_len > 0); /* only numbers of it have changed */
}

static void
count(struct conn *client, const struct refusal_known *known)
{
	struct worker *worker = client->worker;
	struct listener_cell *cell = snapshot_listener_cell(
	    worker->snapshot, client->client.listener, worker->id);
	struct outcome outcome = {.method = known->method,
	    .status = fail_row(FAIL_RATE_LIMITED)->status,
	    .bytes_out = known->body_len};

	if (cell)
		counter_add(&cell->bytes_out, known->body_len);
	routing_record(worker->snapshot, worker->id, client->client.listener,
	    &known->decision, &outcome);
}

size_t
refused_again(struct conn *client, const char *bytes, size_t len)
{
	struct worker *worker = client->worker;
	struct refusal_known *known;
	size_t used = 0, ready = 0;
	unsigned n = 0;

	if (!worker->refusals || len < HEAD_MIN ||
	    !client_may_keep_alive(client))
		return 0;
	known = slot_of(worker->refusals, client, bytes);
	while (
	    n < BATCH_MAX &&
	    is_known(known, client, bytes + used, len - used) &&
	    routing_refuses_still(worker->id, worker->now, &known->decision)) {
		bring_up_to_date(worker, known);
		memcpy(worker->head + ready, known->reply, known->reply_len);
		ready += known->reply_len;
		used += known->head_len;
		count(client, known);
		n++;
	}
	if (n == 0)
		return 0;
	client_set_busy(client);
	client->client.requests += n - 1;
	if (!conn_send(client, worker->head, ready))
		client->is_broken = true;
	client_next(client, true);
	return used;
}

void
refused_free(struct refusals **refusals)
{
	free(*refusals);
	*refusals = NULL;
}
