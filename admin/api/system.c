/*
 * What the process says of itself: liveness, version, certificates, audit
 * log, events, and the description of this API made from its own table.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/api/api.h"
#include "admin/events.h"
#include "admin/metrics/metrics.h"

void
api_healthz(struct call *call)
{
	call_text(call, 200, "text/plain", "ok\n", 3);
}

void
api_readyz(struct call *call)
{
	const struct admin_hooks *hooks = &call->admin->hooks;

	if (hooks->is_ready(hooks->ctx))
		call_text(call, 200, "text/plain", "ready\n", 6);
	else
		call_text(call, 503, "text/plain", "not ready\n", 10);
}

void
api_version(struct call *call)
{
	const struct admin_hooks *hooks = &call->admin->hooks;
	struct process_facts facts = {0};
	json_t *body;

	hooks->process(hooks->ctx, &facts);
	body = json_pack("{s:s, s:s, s:b, s:f, s:i, s:I, s:b, s:s}", "schema",
	    "weir.version/v1", "version", WEIR_VERSION, "ready",
	    hooks->is_ready(hooks->ctx), "uptime_seconds",
	    (double)facts.uptime / NSEC_PER_SEC, "workers", (int)facts.workers,
	    "config_generation",
	    (json_int_t)snapshot_generation(publication_current(
	        registry_publication(call->admin->registry))),
	    "last_reload_ok", facts.last_reload_ok, "last_reload_error",
	    facts.last_reload_error);
	json_object_set_new(body, "started_at", json_time(facts.started_at));
	json_object_set_new(
	    body, "last_reload_at", json_time(facts.last_reload_at));
	json_object_set_new(
	    body, "config_file", json_string(admin_config(call->admin)->path));
	json_object_set_new(body, "state_write_errors",
	    json_integer((json_int_t)state_write_errors(call->admin->state)));
	call_json(call, 200, body, NULL);
}

void
api_metrics(struct call *call)
{
	const char *accept = call_header(call, "Accept");
	bool is_open = accept && strstr(accept, "application/openmetrics-text");
	size_t len;
	char *text = metrics_text(call->admin, is_open, &len);

	if (text)
		call_text(call, 200,
		    is_open ? "application/openmetrics-text; version=1.0.0; "
		              "charset=utf-8"
		            : "text/plain; version=0.0.4; charset=utf-8",
		    text, len);
	else
		call_problem(call,
		    &(struct problem){500, "internal", NULL, NULL, NULL},
		    "out of memory");
	free(text);
}

/* ---- audit, events, certificates ---- */

void
api_audit(struct call *call)
{
	const char *word = call_query(call, "limit");
	const char *target = call_query(call, "target");
	int64_t limit = 100;
	const struct audit *audit = &call->admin->audit;

	if (word && (!units_integer(span_of(word), &limit) || limit < 0 ||
	                limit > 1000)) {
		call_problem(call,
		    &(struct problem){400, "bad-limit", NULL, "limit", NULL},
		    "limit is a number from 0 to 1000");
		return;
	}
	call_json(call, 200,
	    json_pack("{s:s, s:s, s:I, s:s, s:b, s:o}", "schema",
	        "weir.audit/v1", "path", audit->path, "sequence",
	        (json_int_t)audit->sequence, "head", audit->head, "file_empty",
	        audit->empty_at == audit->sequence, "entries",
	        audit_tail(audit, (size_t)limit, target)),
	    NULL);
}

void
api_events(struct call *call)
{
	const char *follow = call_query(call, "follow");
	const char *last_id = call_header(call, "Last-Event-ID");

	if ((follow && strcmp(follow, "0") == 0) ||
	    evhttp_request_get_command(call->http) == EVHTTP_REQ_HEAD) {
		call_json(call, 200,
		    json_pack("{s:s, s:o}", "schema", "weir.events/v1",
		        "events", events_json(call->admin->events)),
		    NULL);
		return;
	}
	if (!last_id)
		last_id = call_query(call, "last_event_id");
	if (events_stream(call->admin->events, call->http, last_id)) {
		call->admin->counts.by_class[2]++;
		return;
	}
	call_problem(call,
	    &(struct problem){503, "too-many-streams", NULL, NULL, NULL},
	    "%d streams of events are open, which is the most",
	    EVENTS_STREAMS_MAX);
}

static json_t *
certificates_json(const struct admin *admin)
{
	size_t n;
	struct tls_cert_info *infos = admin_certificates(admin, &n);
	json_t *list = json_array();
	time_t now = time(NULL);

	for (size_t i = 0; i < n; i++) {
		const struct tls_cert_info *info = &infos[i];

		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:s, s:o, s:o, s:I, s:s}", "names",
		        info->names, "subject", info->subject, "path",
		        info->path, "not_before", json_time(info->not_before),
		        "not_after", json_time(info->not_after), "days_left",
		        (json_int_t)((info->not_after - now) / 86400), "key",
		        info->is_ecdsa ? "ecdsa" : "rsa"));
	}
	free(infos);
	return list;
}

void
api_certificates(struct call *call)
{
	call_json(call, 200,
	    json_pack("{s:s, s:o}", "schema", "weir.certificates/v1",
	        "certificates", certificates_json(call->admin)),
	    NULL);
}

/* ---- the description ---- */

static void
add_parameters(const struct api_row *row, json_t *list)
{
	const char *at = row->path;

	while ((at = strchr(at, '{')) != NULL) {
		size_t len = strcspn(at + 1, "}");

		json_array_append_new(
		    list, json_pack("{s:s%, s:s, s:b, s:{s:s}}", "name", at + 1,
		              len, "in", "path", "required", 1, "schema",
		              "type", "string"));
		at += len;
	}
	if (row->flags & API_MUTATES)
		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:s, s:{s:s}}", "name",
		              "dry_run", "in", "query", "description",
		              "1: check everything, change nothing", "schema",
		              "type", "string"));
}

static json_t *
operation_json(const struct api_row *row)
{
	json_t *parameters = json_array();
	json_t *operation;
	const char *type =
	    row->flags & API_TEXT ? "application/yaml" : "application/json";

	add_parameters(row, parameters);
	operation = json_pack(
	    "{s:s, s:s, s:o, s:{s:{s:s}, s:{s:s, s:{s:{s:{s:s}}}}}}",
	    "operationId", row->name + 4, "summary", row->doc, "parameters",
	    parameters, "responses", "200", "description", "done", "default",
	    "description", "RFC 9457 problem with code, hint and field",
	    "content", "application/problem+json", "schema", "type", "object");
	json_object_set_new(
	    operation, "x-weir-role", json_string(role_name(row->role)));
	if (row->flags & (API_BODY | API_TEXT))
		json_object_set_new(operation, "requestBody",
		    json_pack("{s:b, s:{s:{s:{s:s}}}}", "required", 1,
		        "content", type, "schema", "type",
		        row->flags & API_TEXT ? "string" : "object"));
	if (row->flags & API_PUBLIC)
		json_object_set_new(operation, "security", json_array());
	return operation;
}

void
api_openapi(struct call *call)
{
	json_t *paths = json_object();

	for (size_t i = 0; i < api_n_rows; i++) {
		const struct api_row *row = &api_rows[i];
		json_t *path = json_object_get(paths, row->path);
		char verb[8] = "";

		for (size_t j = 0; row->method[j] && j < 7; j++)
			verb[j] = (char)(row->method[j] | 0x20);
		if (!path) {
			path = json_object();
			json_object_set_new(paths, row->path, path);
		}
		json_object_set_new(path, verb, operation_json(row));
	}
	call_json(call, 200,
	    json_pack(
	        "{s:s, s:{s:s, s:s}, s:o, s:{s:{s:{s:s, s:s}}}, s:[{s:[]}]}",
	        "openapi", "3.1.0", "info", "title", "weir admin API",
	        "version", WEIR_VERSION, "paths", paths, "components",
	        "securitySchemes", "token", "type", "http", "scheme", "bearer",
	        "security", "token"),
	    NULL);
}
