/*
 * Reading a JSON body from anybody. The depth is counted before the parser
 * sees the text, duplicate keys are refused (two readers must not see two
 * different bodies), and what is not asked for is an error rather than
 * ignored: a misspelt "reason" should not be lost silently.
 */
#include "admin/body.h"

#include <event2/buffer.h>
#include <string.h>

#include "admin/escape.h"

/* Nesting by brackets outside of strings. */
static unsigned
depth_of(struct span text)
{
	unsigned depth = 0, most = 0;
	bool in_string = false;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > most)
				most = depth;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return most;
}

json_t *
body_parse(struct span text, struct err *err)
{
	json_error_t error;
	json_t *body;

	if (depth_of(text) > API_DEPTH_MAX) {
		err_set(
		    err, "the body is nested deeper than %d", API_DEPTH_MAX);
		return NULL;
	}
	body = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
	if (!body) {
		err_set(err, "line %d, column %d: %s", error.line, error.column,
		    error.text);
		return NULL;
	}
	if (!json_is_object(body)) {
		json_decref(body);
		err_set(err, "the body must be a JSON object");
		return NULL;
	}
	return body;
}

static bool
type_is(const char *given, const char *type)
{
	size_t len = strlen(type);

	return given && strncasecmp(given, type, len) == 0 &&
	       strchr("; \t", given[len]);
}

static bool
check_type(struct call *call)
{
	const char *type = call_header(call, "Content-Type");
	bool is_text = call->row->flags & API_TEXT;

	if (type_is(type, "application/json") ||
	    (is_text && (type_is(type, "text/plain") ||
	                    type_is(type, "application/yaml"))))
		return true;
	call_problem(call,
	    &(struct problem){415, "unsupported-media-type",
	        is_text ? "send Content-Type: application/yaml, text/plain or "
	                  "application/json"
	                : "send Content-Type: application/json",
	        "Content-Type", NULL},
	    "this path does not read bodies of type \"%.60s\"",
	    type ? type : "");
	return false;
}

static bool
read_text(struct call *call)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(call->http);
	size_t len = evbuffer_get_length(in);
	size_t max = call->row->flags & API_TEXT ? API_TEXT_MAX : API_BODY_MAX;

	if (len > max) {
		call_problem(call,
		    &(struct problem){413, "body-too-large", NULL, NULL, NULL},
		    "the body has %zu bytes, %zu are the most", len, max);
		return false;
	}
	call->text = (struct span){
	    len ? (const char *)evbuffer_pullup(in, -1) : "", len};
	return true;
}

static bool
take_reason(struct call *call)
{
	const json_t *reason = json_object_get(call->body, "reason");

	if (reason && !json_is_string(reason)) {
		call_problem(call,
		    &(struct problem){400, "bad-reason", NULL, "reason", NULL},
		    "the reason must be a string");
		return false;
	}
	if (reason)
		call->reason = json_string_value(reason);
	if (!call->reason || strlen(call->reason) <= API_REASON_MAX)
		return true;
	call->reason = NULL;
	call_problem(call,
	    &(struct problem){400, "bad-reason", NULL, "reason", NULL},
	    "the reason is longer than %d bytes", API_REASON_MAX);
	return false;
}

/* A query may hold bytes that are no UTF-8, which would not get into any JSON;
   a line break or more would get onto terminals. */
static bool
check_reason_text(struct call *call)
{
	if (!call->reason)
		return true;
	if (text_is_printable(call->reason))
		return true;
	call->reason = NULL;
	call_problem(call,
	    &(struct problem){400, "bad-reason", NULL, "reason", NULL},
	    "the reason is not one line of UTF-8 without control characters");
	return false;
}

bool
body_take(struct call *call)
{
	struct err err;

	if (!read_text(call))
		return false;
	if (strcmp(call->row->method, "GET") == 0)
		return true; /* whatever a GET carries is not looked at */
	if ((call->text.len > 0 || call->row->flags & (API_BODY | API_TEXT)) &&
	    !check_type(call))
		return false;
	if (call->row->flags & API_TEXT)
		return true;
	if (call->text.len == 0 && !(call->row->flags & API_BODY))
		return check_reason_text(call);
	call->body = body_parse(call->text, &err);
	if (call->body)
		return take_reason(call) && check_reason_text(call);
	call_problem(call,
	    &(struct problem){400, "bad-json",
	        "send one JSON object with Content-Type: application/json",
	        NULL, NULL},
	    "%s", err.text);
	return false;
}

bool
call_body_knows(struct call *call, const char *const *names)
{
	const char *key, *near;
	json_t *value;
	char hint[96];

	json_object_foreach (call->body, key, value) {
		size_t n = 0;

		while (names[n] && strcmp(names[n], key) != 0)
			n++;
		if (names[n])
			continue;
		near = suggest(span_of(key), names, n);
		snprintf(hint, sizeof(hint), "did you mean \"%s\"?",
		    near ? near : names[0]);
		call_problem(call,
		    &(struct problem){
		        400, "unknown-field", near ? hint : NULL, key, NULL},
		    "the field \"%.60s\" is not known", key);
		return false;
	}
	return true;
}
