/*
 * What a rollout's trial wants of a request: what its first attempt showed,
 * whether it has been in flight for too long, and who answers in a failed
 * candidate's stead. All of it is about requests that the weights of a trial
 * have drawn; for others none of this is called but for one comparison.
 *
 * Judged requests stand in a list of their worker from their dispatch on,
 * which is its order; the tick looks at the oldest ones. A hung candidate
 * would otherwise be no evidence at all until its requests time out.
 *
 * A process that was stopped for a while finds everything late. What was
 * measured over such a gap says nothing of the upstream: no latency, no age
 * and no timeout is counted of requests that were in flight during it.
 */
#include "proxy/grpc.h"
#include "proxy/request.h"
#include "routing/evidence.h"

/* ---- did weir itself stand still? ---- */

/* Or does it just now: the tick that will notice is overdue. */
static bool
stood_still_since(const struct worker *worker, nsec_t since)
{
	return since < worker->stood_still ||
	       (worker->tick_due != 0 &&
	           worker->now > worker->tick_due + TRIAL_STALL);
}

static bool
is_timeout(enum fail fail)
{
	switch (fail_row(fail)->error) {
	case UPSTREAM_CONNECT_TIMEOUT:
	case UPSTREAM_FIRST_BYTE_TIMEOUT:
	case UPSTREAM_IDLE_TIMEOUT:
		return true;
	default:
		return false;
	}
}

void
trial_blame(struct request *request, enum fail fail)
{
	if (!is_timeout(fail) ||
	    !stood_still_since(request->worker, request->sent_at))
		request->is_first_failed = true;
}

/* ---- the first attempt ---- */

void
trial_watch(struct request *request)
{
	if (request->attempts > 1) /* the first one never got there */
		return;
	request->is_watched = true;
	TAILQ_INSERT_TAIL(&request->worker->judged, request, flight);
}

/* Letters as small ones; '-' has that bit anyway. */
static inline uint32_t
fold(const char *four)
{
	uint32_t word;

	memcpy(&word, four, sizeof(word));
	return word | UINT32_C(0x20202020);
}

static inline bool
is_content_type(const char *name)
{
	return fold(name) == fold("cont") && fold(name + 4) == fold("ent-") &&
	       fold(name + 8) == fold("type");
}

/* A call of gRPC that failed is a 200 all the same. */
static bool
is_grpc(const struct request *request)
{
	return request->first_type == SHAPE_TYPE_GRPC;
}

void
trial_note_trailers(struct request *request)
{
	if (is_grpc(request) && request->attempts <= 1 &&
	    request->first_status == 200 &&
	    grpc_trailers_fail(request->response_body.trailers))
		request->is_first_failed = true;
}

/*
 * Not among the fields that every parse looks for: only a trial asks. Answers
 * of one worker resemble each other, so the place where the field stood last
 * time is tried first.
 */
static struct span
content_type(const struct h1_head *head, uint32_t *place)
{
	for (uint32_t n = 0, i = *place; n < head->n_fields; n++, i++) {
		if (i >= head->n_fields)
			i = 0;
		if (head->fields[i].name_len == 12 &&
		    is_content_type(head->bytes + head->fields[i].name)) {
			*place = i;
			return h1_value(head, i);
		}
	}
	return (struct span){0};
}

/* ... and so is what it said. */
static uint8_t
type_of(struct worker *worker, const struct h1_head *head)
{
	struct type_memo *memo = &worker->type_memo;
	struct span value = content_type(head, &memo->place);

	if (value.len == memo->len &&
	    (value.len == 0 || memcmp(value.ptr, memo->text, value.len) == 0))
		return memo->type;
	if (value.len > sizeof(memo->text))
		return (uint8_t)(shape_type(value) - SHAPE_TYPE);
	memo->len = (uint8_t)value.len;
	if (value.len > 0)
		memcpy(memo->text, value.ptr, value.len);
	memo->type = (uint8_t)(shape_type(value) - SHAPE_TYPE);
	return memo->type;
}

void
trial_note_answer(struct request *request, const struct h1_head *head)
{
	request->is_first_answered = true;
	request->first_status = (uint16_t)head->status;
	request->first_type = type_of(request->worker, head);
	request->first_bytes = head->framing == H1_LENGTH ? head->length : 0;
	if (is_grpc(request) && grpc_head_fails(head))
		request->is_first_failed = true;
}

void
trial_outcome(struct request *request, struct outcome *outcome)
{
	bool is_final = request->attempts <= 1;

	if (request->shielded) {
		outcome->was_shielded =
		    request->has_response && request->status < 500;
		/* what the baseline did is no business of the candidate's */
		outcome->has_first_byte &= request->is_first_byte_own;
		request->decision.pool = request->shielded;
	}
	outcome->first.is_known =
	    request->is_first_answered || request->is_first_failed;
	outcome->first.has_latency =
	    request->has_first_byte && request->is_first_byte_own &&
	    request->state != REQUEST_TUNNEL &&
	    !stood_still_since(request->worker, request->dispatched);
	outcome->first.was_slow = request->was_slow;
	outcome->first.type = request->first_type;
	outcome->first.status = request->first_status;
	outcome->first.bytes =
	    is_final ? request->response_body.bytes : request->first_bytes;
}

/* ---- the shield ---- */

bool
trial_may_shield(const struct request *request)
{
	const struct decision *decision = &request->decision;

	return decision->is_candidate && request->attempts <= 1 &&
	       !request->shielded && decision->route->split_cfg->shield;
}

/*
 * To the request the baseline's pool is its pool from now on: its limits, its
 * TLS, its endpoints. Who was drawn is remembered for the farewell.
 */
bool
trial_shield(struct request *request)
{
	const struct decision *decision = &request->decision;
	const struct pool_view *baseline;

	if (!trial_may_shield(request))
		return false;
	baseline = decision->route->pools[decision->baseline];
	if (!upstream_may_shield(request, baseline))
		return false;
	replay_leave(request);
	request->shielded = decision->pool;
	request->decision.pool = baseline;
	request->fail = FAIL_NONE;
	request->state = REQUEST_CONNECT;
	upstream_get(request, NULL, false);
	return true;
}

/* ---- too long in flight ---- */

static void
unwatch(struct request *request)
{
	TAILQ_REMOVE(&request->worker->judged, request, flight);
	request->is_watched = false;
}

/* False: this one, and so all after it, are too young. */
static bool
look_at(struct request *request, nsec_t least)
{
	struct worker *worker = request->worker;
	nsec_t age = worker->now - request->dispatched;

	if (request->has_first_byte || request->attempts > 1 ||
	    stood_still_since(worker, request->dispatched)) {
		unwatch(request);
		return true;
	}
	if (age <= least)
		return false;
	if (!request->is_sent) /* its client is the slow one */
		return true;
	switch (routing_record_age(worker->id, &request->decision, age)) {
	case AGE_SLOW:
		request->was_slow = true;
		unwatch(request);
		break;
	case AGE_NO_UNIT:
		unwatch(request);
		break;
	case AGE_YOUNG: /* of a split with another cut */
		break;
	}
	return true;
}

void
trial_scan(struct worker *worker)
{
	nsec_t least = routing_age_cut(worker->snapshot);
	struct request *request, *next;

	if (least == 0)
		return;
	for (request = TAILQ_FIRST(&worker->judged); request; request = next) {
		next = TAILQ_NEXT(request, flight);
		if (!look_at(request, least))
			break;
	}
}
