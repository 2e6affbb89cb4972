/*
 * Answers: JSON, text and RFC 9457 problems, with the headers that every
 * answer of the control plane bears. The one place where a refused mutation
 * becomes an audit entry and where an answer is kept for a replay.
 */
#include <assert.h>
#include <event2/buffer.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/answers.h"
#include "admin/api/api.h"
#include "admin/dispatch.h"
#include "admin/log.h"

static const char *
status_phrase(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 201:
		return "Created";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 409:
		return "Conflict";
	case 410:
		return "Gone";
	case 412:
		return "Precondition Failed";
	case 413:
		return "Content Too Large";
	case 415:
		return "Unsupported Media Type";
	case 421:
		return "Misdirected Request";
	case 422:
		return "Unprocessable Content";
	case 429:
		return "Too Many Requests";
	case 503:
		return "Service Unavailable";
	case 507:
		return "Insufficient Storage";
	default:
		return "Internal Server Error";
	}
}

static void
add_headers(struct evkeyvalq *headers, const char *type, size_t len)
{
	char length[24];

	snprintf(length, sizeof(length), "%zu", len);
	evhttp_add_header(headers, "Content-Type", type);
	evhttp_add_header(headers, "Content-Length", length);
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	evhttp_add_header(headers, "Content-Security-Policy",
	    "default-src 'none'; frame-ancestors 'none'");
}

void
answer_send(struct evhttp_request *http, int status, const char *type,
    const char *text, size_t len)
{
	struct evbuffer *body = NULL;

	assert(status >= 200 && status <= 599);
	add_headers(evhttp_request_get_output_headers(http), type, len);
	if (evhttp_request_get_command(http) != EVHTTP_REQ_HEAD) {
		body = evbuffer_new();
		if (body)
			evbuffer_add(body, text, len);
	}
	evhttp_send_reply(http, status, status_phrase(status), body);
	if (body)
		evbuffer_free(body);
}

static void
send_bytes(struct call *call, int status, const char *type, const char *text,
    size_t len)
{
	call->admin->counts.by_class[status / 100]++;
	answer_send(call->http, status, type, text, len);
}

/* What is worth repeating: an outcome, and not that something failed inside. */
static void
keep_answer(struct call *call, int status, const char *type, const char *text,
    size_t len)
{
	struct answer answer = {.status = status,
	    .len = len,
	    .body = (char *)(uintptr_t)text,
	    .type = (char *)(uintptr_t)type};

	if (!call->replay_key || status >= 500 || call->is_dry_run)
		return;
	answer.etag = (char *)(uintptr_t)evhttp_find_header(
	    evhttp_request_get_output_headers(call->http), "ETag");
	call_digests(call, answer.key, answer.request);
	answers_keep(call->admin->answers, &answer, time(NULL));
}

void
call_text(struct call *call, int status, const char *type, const char *text,
    size_t len)
{
	keep_answer(call, status, type, text, len);
	if (!fleet_hold(call, status, type, text, len))
		send_bytes(call, status, type, text, len);
}

static void
send_json(struct call *call, int status, const char *type, json_t *body)
{
	char *text = json_dumps(
	    body, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
	size_t len;

	json_decref(body);
	if (!text) {
		log_event(LOG_ERROR,
		    "an answer of the admin API could not be made", "path",
		    call->row ? call->row->path : "-", NULL);
		send_bytes(call, 500, "text/plain", "out of memory\n", 14);
		return;
	}
	len = strlen(text);
	text[len] = '\n'; /* over the NUL: a line for terminals */
	call_text(call, status, type, text, len + 1);
	free(text);
}

void
call_json(struct call *call, int status, json_t *body, const char *etag)
{
	if (etag)
		evhttp_add_header(evhttp_request_get_output_headers(call->http),
		    "ETag", etag);
	send_json(call, status, "application/json", body);
}

/* ---- problems ---- */

static void
audit_refusal(struct call *call, const struct problem *problem)
{
	char result[96];

	if (call->is_dry_run || problem->status == 429)
		return; /* a flood of guesses must not fill the disk */
	if (!call->row ? !call->is_mutating : !(call->row->flags & API_MUTATES))
		return;
	if (!call->row && call->actor.n_grants == 0 &&
	    !auth_charge(call->admin->auth, call->peer_key, now_mono()))
		return;
	snprintf(result, sizeof(result), "%s:%s",
	    problem->status >= 500 ? "failed" : "refused", problem->code);
	call_audit(call, call->args[0], NULL, call->body, result);
}

static json_t *
problem_json(const struct problem *problem, const char *detail)
{
	json_t *body = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type",
	    "about:blank", "title", status_phrase(problem->status), "status",
	    problem->status, "code", problem->code, "detail", detail);

	if (problem->hint)
		json_object_set_new(body, "hint", json_string(problem->hint));
	if (problem->field)
		json_object_set_new(body, "field", json_string(problem->field));
	if (problem->extra) {
		json_object_update(body, problem->extra);
		json_decref(problem->extra);
	}
	return body;
}

/* Names come from the client; JSON must not fail on bytes that are no UTF-8. */
static void
make_utf8(char *text)
{
	json_t *probe = json_string(text);

	if (probe)
		json_decref(probe);
	else
		for (; *text; text++)
			if ((unsigned char)*text >= 0x80)
				*text = '?';
}

void
call_problem(
    struct call *call, const struct problem *problem, const char *format, ...)
{
	char detail[ERR_TEXT_MAX * 2];
	va_list ap;

	va_start(ap, format);
	vsnprintf(detail, sizeof(detail), format, ap);
	va_end(ap);
	make_utf8(detail);
	audit_refusal(call, problem);
	send_json(call, problem->status, "application/problem+json",
	    problem_json(problem, detail));
}

void
call_unknown(struct call *call, const char *kind, const char *name,
    const char *const *words, size_t n)
{
	struct problem problem = {.status = 404};
	const char *near = suggest(span_of(name), words, n);
	char code[32], hint[160];

	snprintf(code, sizeof(code), "unknown-%s", kind);
	problem.code = code;
	if (near)
		snprintf(hint, sizeof(hint), "did you mean \"%s\"?", near);
	else if (strcmp(kind, "plan") == 0)
		snprintf(hint, sizeof(hint), "GET /v1/config shows them");
	else
		snprintf(hint, sizeof(hint), "GET /v1/%ss lists them", kind);
	problem.hint = hint;
	call_problem(call, &problem, "there is no %s \"%.100s\"", kind, name);
}
