/*
 * The checks of a request to the admin API, in order; the first that fails
 * answers:
 *
 *	TLS (403) -> Host (400, 421) -> path (404) -> method (405)
 *	-> who (401, 429) -> cross-site (403) -> role (403)
 *	-> body (413, 415, 400) -> dry run, replay -> the row's function
 *
 * Whoever is not known learns only which paths exist, and those are in the
 * documentation.
 */
#include "admin/dispatch.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "admin/answers.h"
#include "admin/body.h"
#include "admin/guard.h"
#include "admin/log.h"
#include "admin/row.h"
#include "admin/seat.h"

const char *
call_header(const struct call *call, const char *name)
{
	return evhttp_find_header(
	    evhttp_request_get_input_headers(call->http), name);
}

const char *
call_query(const struct call *call, const char *name)
{
	return evhttp_find_header(&call->query, name);
}

static const char *
method_word(const struct evhttp_request *http)
{
	switch (evhttp_request_get_command(http)) {
	case EVHTTP_REQ_GET:
	case EVHTTP_REQ_HEAD:
		return "GET"; /* HEAD is GET without its body */
	case EVHTTP_REQ_POST:
		return "POST";
	case EVHTTP_REQ_PUT:
		return "PUT";
	case EVHTTP_REQ_DELETE:
		return "DELETE";
	case EVHTTP_REQ_PATCH:
		return "PATCH";
	case EVHTTP_REQ_OPTIONS:
		return "OPTIONS";
	default:
		return "OTHER";
	}
}

static bool
find_row(struct call *call)
{
	const struct evhttp_uri *uri =
	    evhttp_request_get_evhttp_uri(call->http);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	char allow[64];

	if (!path)
		path = "";
	call->row = row_find(method_word(call->http), path,
	    call->door->is_metrics ? API_METRICS : 0, call->args, allow,
	    sizeof(allow));
	if (call->row)
		return true;
	if (allow[0] != '\0') {
		evhttp_add_header(evhttp_request_get_output_headers(call->http),
		    "Allow", allow);
		call_problem(call,
		    &(struct problem){
		        405, "method-not-allowed", NULL, NULL, NULL},
		    "this path understands %s", allow);
		return false;
	}
	call_problem(call,
	    &(struct problem){404, "unknown-path",
	        call->door->is_metrics
	            ? "this listener has /metrics, /healthz and /readyz"
	            : "GET /v1/openapi.json lists the paths",
	        NULL, NULL},
	    "there is no such path");
	return false;
}

/* Parameters that are not understood would be ignored, and "dryrun=1" must not
 * act. */
static bool
take_query(struct call *call)
{
	const struct evhttp_uri *uri =
	    evhttp_request_get_evhttp_uri(call->http);
	const char *query = uri ? evhttp_uri_get_query(uri) : NULL;
	const struct evkeyval *pair;
	const char *value;

	if (query && evhttp_parse_query_str(query, &call->query) != 0) {
		call_problem(call,
		    &(struct problem){400, "bad-query", NULL, NULL, NULL},
		    "the query string cannot be read");
		return false;
	}
	if (!(call->row->flags & API_MUTATES))
		return true;
	TAILQ_FOREACH (pair, &call->query, next) {
		if (strcmp(pair->key, "dry_run") == 0 ||
		    strcmp(pair->key, "reason") == 0 ||
		    (call->row->flags & API_KEY &&
		        strcmp(pair->key, "key") == 0))
			continue;
		call_problem(call,
		    &(struct problem){400, "unknown-parameter",
		        "mutations know dry_run and reason", "query", NULL},
		    "the parameter \"%.60s\" is not known", pair->key);
		return false;
	}
	value = call_query(call, "dry_run");
	call->is_dry_run =
	    value && strcmp(value, "0") != 0 && strcmp(value, "false") != 0;
	call->reason = call_query(call, "reason");
	return true;
}

/* ---- replays ---- */

static bool
digest(const char *head, size_t head_len, struct span tail, uint8_t out[32])
{
	char *text = malloc(head_len + tail.len + 1);

	if (!text)
		return false;
	memcpy(text, head, head_len);
	if (tail.len > 0)
		memcpy(text + head_len, tail.ptr, tail.len);
	tls_sha256(text, head_len + tail.len, out);
	free(text);
	return true;
}

/* Who asks for what path under which key; and what is asked there. */
void
call_digests(const struct call *call, uint8_t key[32], uint8_t request[32])
{
	const char *uri = evhttp_request_get_uri(call->http);
	const char *query = uri + strcspn(uri, "?");
	char *scope = NULL;
	int len = asprintf(
	    &scope, "%s\n%.*s\n", call->actor.name, (int)(query - uri), uri);

	memset(key, 0, 32);
	memset(request, 0, 32);
	/* no key is found under zeros but another zero's */
	if (len < 0 ||
	    !digest(scope, (size_t)len, span_of(call->replay_key), key) ||
	    !digest(query, strlen(query) + 1, call->text, request))
		memset(key, 0, 32);
	if (len >= 0)
		free(scope);
}

static void
replay(struct call *call, const struct answer *answer)
{
	struct evkeyvalq *headers =
	    evhttp_request_get_output_headers(call->http);

	evhttp_add_header(headers, "Idempotency-Replayed", "true");
	if (answer->etag)
		evhttp_add_header(headers, "ETag", answer->etag);
	call->replay_key = NULL; /* it is kept already */
	call_text(
	    call, answer->status, answer->type, answer->body, answer->len);
}

/* True when the call was answered from what is kept. */
static bool
take_replay(struct call *call)
{
	const struct answer *answer;
	const char *given = call_header(call, "Idempotency-Key");
	uint8_t key[32], request[32];

	/* a dry run is neither kept nor one of what it rehearses */
	if (!given || call->is_dry_run ||
	    strcmp(call->row->method, "POST") != 0)
		return false;
	if (*given == '\0' || strlen(given) > ANSWER_KEY_MAX) {
		call_problem(call,
		    &(struct problem){400, "bad-idempotency-key", NULL,
		        "Idempotency-Key", NULL},
		    "an Idempotency-Key has 1 to %d characters",
		    ANSWER_KEY_MAX);
		return true;
	}
	call->replay_key = given;
	call_digests(call, key, request);
	answer = answers_find(call->admin->answers, key, time(NULL));
	if (!answer)
		return false;
	if (memcmp(answer->request, request, 32) == 0) {
		replay(call, answer);
		return true;
	}
	call->replay_key = NULL; /* the first answer stays */
	call_problem(call,
	    &(struct problem){422, "idempotency-key-reused",
	        "use a new key for a new request", "Idempotency-Key", NULL},
	    "another request was sent under this Idempotency-Key");
	return true;
}

/* ---- the whole ---- */

static void
call_init(struct call *call, struct evhttp_request *http, struct door *door)
{
	*call = (struct call){.admin = door->admin, .door = door, .http = http};
	TAILQ_INIT(&call->query);
	call->is_mutating = strcmp(method_word(http), "GET") != 0 &&
	                    strcmp(method_word(http), "OPTIONS") != 0;
}

static void
call_release(struct call *call)
{
	for (size_t i = 0; i < API_ARGS_MAX; i++)
		free(call->args[i]);
	evhttp_clear_headers(&call->query);
	json_decref(call->body);
}

static bool
is_open(const struct call *call)
{
	return (call->row->flags & API_PUBLIC) || call->door->is_metrics;
}

static bool
passes(struct call *call)
{
	return guard_secrecy(call) && guard_host(call) && find_row(call) &&
	       (is_open(call) || (guard_identity(call) && guard_origin(call) &&
	                             guard_role(call))) &&
	       take_query(call) && body_take(call) && !take_replay(call);
}

void
dispatch(struct evhttp_request *http, void *door)
{
	struct call call;

	call_init(&call, http, door);
	seats_serve(call.door->seats, http);
	guard_peer(&call);
	if (passes(&call))
		call.row->fn(&call);
	call_release(&call);
}

void
dispatch_again(
    struct admin *admin, struct evhttp_request *http, enum call_read read)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(http);
	const char *query = evhttp_uri_get_query(uri);
	struct call call = {.admin = admin, .http = http, .read = read};
	char allow[64];

	TAILQ_INIT(&call.query);
	call.row = row_find(method_word(http), evhttp_uri_get_path(uri), 0,
	    call.args, allow, sizeof(allow));
	if (query)
		evhttp_parse_query_str(query, &call.query);
	call.row->fn(&call);
	call_release(&call);
}
