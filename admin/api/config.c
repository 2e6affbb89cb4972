/*
 * The config over the API: what runs, how it differs from the file, checking
 * a text, reloading the file. The file itself is never written.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/api/api.h"
#include "admin/log.h"
#include "admin/state/state.h"

void
api_config_get(struct call *call)
{
	char *text = config_render_json(admin_config(call->admin));
	char etag[40];

	if (!text) {
		call_problem(call,
		    &(struct problem){500, "internal", NULL, NULL, NULL},
		    "out of memory");
		return;
	}
	snprintf(etag, sizeof(etag), "\"%016llx\"",
	    (unsigned long long)admin_config(call->admin)->hash);
	evhttp_add_header(
	    evhttp_request_get_output_headers(call->http), "ETag", etag);
	call_text(call, 200, "application/json", text, strlen(text));
	free(text);
}

/* ---- file against runtime ---- */

static bool
runs_as_written(const struct split *split)
{
	return memcmp(split_weights(split)->bp, split->file,
	           split->n_pools * sizeof(split->file[0])) == 0;
}

void
json_set_change(json_t *row, time_t at, const char *by, const char *reason)
{
	json_object_set_new(row, "changed_at", json_time(at));
	json_object_set_new(row, "age_seconds",
	    at ? json_integer(time(NULL) - at) : json_null());
	json_object_set_new(
	    row, "changed_by", by ? json_string(by) : json_null());
	json_object_set_new(
	    row, "reason", reason ? json_string(reason) : json_null());
}

static json_t *
diff_splits(const struct admin *admin)
{
	json_t *list = json_array();

	for (size_t i = 0; i < registry_n_splits(admin->registry); i++) {
		const struct split *split =
		    registry_split_at(admin->registry, i);
		json_t *row;

		if (runs_as_written(split))
			continue;
		row = json_pack("{s:s, s:o, s:o}", "split", split->name, "file",
		    weights_to_json(split, split->file), "runtime",
		    weights_to_json(split, split_weights(split)->bp));
		json_set_change(
		    row, split->changed_at, split->changed_by, split->reason);
		json_array_append_new(list, row);
	}
	return list;
}

/* One that is drained or in maintenance. */
static json_t *
diff_endpoint(struct state_words *words, const struct pool_view *view,
    const struct endpoint *endpoint, enum endpoint_admin state)
{
	const json_t *change =
	    state_words_last(words, view->pool->name, endpoint);
	json_t *row =
	    json_pack("{s:s, s:s, s:s}", "pool", view->pool->name, "endpoint",
	        endpoint->address.text, "state", endpoint_admin_name(state));

	json_set_change(row,
	    (time_t)json_integer_value(json_object_get(change, "at")),
	    json_string_value(json_object_get(change, "by")),
	    json_string_value(json_object_get(change, "reason")));
	return row;
}

static void
diff_pool(struct state_words *words, const struct pool_view *view, json_t *list)
{
	for (size_t i = 0; i < view->n_endpoints; i++) {
		struct endpoint *endpoint = view->endpoints[i];
		enum endpoint_admin state =
		    (enum endpoint_admin)atomic_load_explicit(
		        &endpoint->admin, memory_order_relaxed);

		if (state != ENDPOINT_ACTIVE)
			json_array_append_new(
			    list, diff_endpoint(words, view, endpoint, state));
	}
}

static json_t *
diff_endpoints(const struct admin *admin)
{
	struct snapshot *snapshot =
	    publication_current(registry_publication(admin->registry));
	struct state_words *words = state_words_read(admin->state);
	json_t *list = json_array();

	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++)
		diff_pool(words, snapshot_pool(snapshot, i), list);
	state_words_free(&words);
	return list;
}

static json_t *
list_of(const struct endpoint_cfg *at, size_t n)
{
	char *text = endpoints_text(at, n);
	json_t *list = json_loads(text, 0, NULL);

	free(text);
	return list;
}

/* Pools whose endpoints are not the file's. */
static json_t *
diff_sets(const struct admin *admin)
{
	const struct config *config = admin_config(admin);
	json_t *list = json_array();

	for (size_t i = 0; i < config->n_pools; i++) {
		const struct pool_cfg *cfg = &config->pools[i];
		const struct endpoint_set *set =
		    registry_set(admin->registry, cfg->name);
		json_t *row;

		if (!set || !endpoint_set_holds(set, cfg))
			continue;
		row = json_pack("{s:s, s:o, s:o}", "pool", cfg->name, "file",
		    list_of(cfg->endpoints, cfg->n_endpoints), "runtime",
		    list_of(set->at, set->n));
		json_set_change(
		    row, set->changed_at, set->changed_by, set->reason);
		json_array_append_new(list, row);
	}
	return list;
}

/* What a reload would do now. */
static void
diff_pending(const struct config *running, json_t *body)
{
	struct diags diags;
	struct config *file = NULL;
	char *lines;

	if (strcmp(running->path, "-") == 0) {
		json_object_set_new(body, "pending", json_string(""));
		return;
	}
	file = config_load(running->path, &diags);
	if (file) {
		lines = config_diff(running, file);
		json_object_set_new(
		    body, "pending", json_string(lines ? lines : ""));
		free(lines);
	} else {
		lines = diags_json(&diags);
		json_object_set_new(body, "pending", json_null());
		json_object_set_new(body, "check",
		    lines ? json_loads(lines, 0, NULL) : json_null());
		free(lines);
	}
	config_free(&file);
	diags_release(&diags);
}

void
api_config_diff(struct call *call)
{
	const struct config *config = admin_config(call->admin);
	json_t *body = json_pack("{s:s, s:s, s:o, s:o, s:o}", "schema",
	    "weir.config_diff/v1", "file", config->path, "splits",
	    diff_splits(call->admin), "pools", diff_sets(call->admin),
	    "endpoints", diff_endpoints(call->admin));

	diff_pending(config, body);
	call_json(call, 200, body, NULL);
}

/* ---- checking and reloading ---- */

static json_t *
diags_members(const struct diags *diags)
{
	char *text = diags_json(diags);
	json_t *object = text ? json_loads(text, 0, NULL) : NULL;

	free(text);
	if (object)
		json_object_del(object, "schema");
	return object;
}

static void
refuse_config(struct call *call, const struct diags *diags)
{
	size_t n = diags->errors;

	call_problem(call,
	    &(struct problem){422, "bad-config", "nothing was changed", NULL,
	        diags_members(diags)},
	    "%s has %zu error%s", diags->file ? diags->file : "the config", n,
	    n == 1 ? "" : "s");
}

void
api_config_check(struct call *call)
{
	const char *name = call_query(call, "file"); /* as the asker knows it */
	struct diags diags;
	struct config *config =
	    config_load_text(name ? name : "request.yaml", call->text, &diags);
	char *text;

	if (!config) {
		refuse_config(call, &diags);
	} else {
		text = diags_json(&diags);
		call_text(call, 200, "application/json", text ? text : "{}",
		    text ? strlen(text) : 2);
		free(text);
	}
	config_free(&config);
	diags_release(&diags);
}

static void
rehearse_reload(struct call *call)
{
	const struct config *running = admin_config(call->admin);
	struct diags diags;
	struct config *file = config_load(running->path, &diags);
	char *lines = NULL;
	struct err err;

	if (!file) {
		refuse_config(call, &diags);
	} else if (!admin_allows(call->admin, file, &err)) {
		call_problem(call,
		    &(struct problem){409, "rollout-active",
		        "nothing was changed", NULL, NULL},
		    "%s", err.text);
	} else {
		lines = config_diff(running, file);
		call_json(call, 200,
		    json_pack("{s:s, s:b, s:s}", "schema", "weir.reload/v1",
		        "dry_run", 1, "changes", lines ? lines : ""),
		    NULL);
	}
	free(lines);
	config_free(&file);
	diags_release(&diags);
}

static void
answer_reload(struct call *call, const struct diags *diags)
{
	json_t *body = json_pack("{s:s, s:s, s:I, s:o}", "schema",
	    "weir.reload/v1", "result", "reloaded", "generation",
	    (json_int_t)snapshot_generation(publication_current(
	        registry_publication(call->admin->registry))),
	    "warnings", json_array());
	json_t *members = diags_members(diags);
	json_t *warnings = json_object_get(members, "warnings");

	if (warnings)
		json_object_set(body, "warnings", warnings);
	json_decref(members);
	call_json(call, 200, body, NULL);
}

void
api_config_reload(struct call *call)
{
	static const char *const known[] = {"reason", NULL};
	struct admin *admin = call->admin;
	struct diags diags = {0};
	struct err err = {0};
	bool ok;

	if (!call_body_knows(call, known))
		return;
	if (call->is_dry_run) {
		rehearse_reload(call);
		return;
	}
	admin->is_reload_refused = false;
	admin->reloading = call; /* admin_apply writes the audit entry */
	ok = admin->hooks.reload(
	    admin->hooks.ctx, call->actor.name, &diags, &err);
	admin->reloading = NULL;
	if (ok)
		answer_reload(call, &diags);
	else if (diags.errors > 0)
		refuse_config(call, &diags);
	else if (admin->is_reload_refused)
		call_problem(call,
		    &(struct problem){409, "rollout-active",
		        "nothing was changed", NULL, NULL},
		    "%s", err.text);
	else
		call_problem(call,
		    &(struct problem){422, "reload-refused",
		        "nothing was changed", NULL, NULL},
		    "%s", err.text[0] ? err.text : "the reload was refused");
	diags_release(&diags);
}
