/*
 * A pool's whole set of endpoints over the API: replaced atomically, recorded
 * before it takes effect. Endpoints in both sets keep all that they are; those
 * that leave finish what they have (routing/leaving.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/endpoint_sets.h"
#include "admin/events.h"
#include "admin/log.h"

/* What is wrong, in the words of the file's checks. */
static void
refuse(struct call *call, const struct diags *diags)
{
	json_t *errors = json_array();
	const char *first = "the endpoints are refused", *hint = NULL;

	for (size_t i = 0; i < diags->n; i++) {
		if (diags->at[i].is_warning)
			continue;
		if (json_array_size(errors) == 0) {
			first = diags->at[i].message;
			hint = diags->at[i].hint;
		}
		json_array_append_new(errors,
		    json_pack("{s:s, s:s, s:s?}", "code", diags->at[i].code,
		        "message", diags->at[i].message, "hint",
		        diags->at[i].hint));
	}
	call_problem(call,
	    &(struct problem){422, "bad-endpoints", hint, "endpoints",
	        json_pack("{s:o}", "errors", errors)},
	    "%s", first);
}

/* NULL: answered. */
static struct endpoint_set *
set_of_body(struct call *call, const struct pool_view *view, json_t *warnings)
{
	static const char *const known[] = {"endpoints", "reason", NULL};
	struct endpoint_set *set;
	struct diags diags = {0};
	json_t *list = json_object_get(call->body, "endpoints");
	char *text;

	if (!call_body_knows(call, known))
		return NULL;
	if (!json_is_array(list)) {
		call_problem(call,
		    &(struct problem){422, "bad-endpoints",
		        "{\"endpoints\": [\"10.0.0.1:8080\"]}", "endpoints",
		        NULL},
		    "\"endpoints\" must be a list");
		return NULL;
	}
	set = calloc(1, sizeof(*set));
	text = json_dumps(list, JSON_COMPACT);
	if (set && text)
		set->at = endpoints_load(
		    view->pool->name, span_of(text), &set->n, &diags);
	free(text);
	if (!set || !set->at) {
		refuse(call, &diags);
		diags_release(&diags);
		endpoint_set_free(&set);
		return NULL;
	}
	for (size_t i = 0; i < diags.n; i++)
		json_array_append_new(
		    warnings, json_string(diags.at[i].message));
	diags_release(&diags);
	set->pool = strdup(view->pool->name);
	set->file =
	    endpoints_text(view->cfg->endpoints, view->cfg->n_endpoints);
	set->changed_at = time(NULL);
	set->changed_by = strdup(call->actor.name);
	set->reason = call->reason ? strdup(call->reason) : NULL;
	return set;
}

static json_t *
effective(const struct admin *admin, const struct pool_view *view)
{
	size_t n;
	const struct endpoint_cfg *at =
	    registry_endpoints(admin->registry, view->cfg, &n);
	char *text = endpoints_text(at, n);
	json_t *list = json_loads(text, 0, NULL);

	free(text);
	return list;
}

static void
tell(struct call *call, const char *pool, json_t *before, json_t *after)
{
	json_t *event = json_pack("{s:s, s:O, s:O, s:s}", "pool", pool,
	    "before", before, "after", after, "by", call->actor.name);
	char *text = json_dumps(event, JSON_COMPACT);

	call_audit(call, pool, before, after, "ok");
	if (text)
		events_publish(call->admin->events, "endpoints", text);
	log_event(LOG_INFO, "endpoints replaced", "pool", pool, "by",
	    call->actor.name, NULL);
	free(text);
	json_decref(event);
}

/* Takes the set over; NULL: the file's. False: answered, and all is as it was.
 */
static bool
apply(struct call *call, const char *pool, struct endpoint_set *set)
{
	struct admin *admin = call->admin;
	struct endpoint_set *before;
	struct err err;

	if (!sets_record(admin->state, pool, set, &err)) {
		call_problem(call,
		    &(struct problem){507, "state-unwritable",
		        "free space in state_dir", NULL, NULL},
		    "%s", err.text);
		endpoint_set_free(&set);
		return false;
	}
	before = registry_take_set(admin->registry, pool);
	if (set)
		registry_put_set(admin->registry, set);
	if (admin->hooks.rebuild(admin->hooks.ctx, &err)) {
		endpoint_set_free(&before);
		return true;
	}
	set = registry_take_set(admin->registry, pool);
	endpoint_set_free(&set);
	if (before)
		registry_put_set(admin->registry, before);
	call_problem(call,
	    &(struct problem){409, "endpoints-refused", NULL, NULL, NULL}, "%s",
	    err.text);
	sets_record(admin->state, pool, before, &err);
	return false;
}

/* The pool, and what is likely to be a mistake in what was asked for. */
static void
answer(struct call *call, const struct pool_view *view, json_t *warnings)
{
	json_t *body = pool_to_json(call->admin, view), *name;
	json_t *names = pool_unresolved(call->admin, view);
	char etag[32];
	size_t i;

	if (!call->is_dry_run)
		json_array_foreach (names, i, name)
			json_array_append_new(warnings,
			    json_sprintf("%s does not resolve (yet): it gets "
			                 "no request until it does",
			        json_string_value(name)));
	json_object_set(body, "warnings", warnings);
	snprintf(etag, sizeof(etag), "\"%llu\"",
	    (unsigned long long)pool_version(call->admin, view));
	json_decref(names);
	call_json(call, 200, body, etag);
}

static void
replace(struct call *call, const struct pool_view *view,
    struct endpoint_set *set, json_t *warnings)
{
	char pool[CONFIG_NAME_MAX + 1];
	json_t *before = effective(call->admin, view), *after;

	snprintf(pool, sizeof(pool), "%s", view->pool->name);
	/* The file's own list: nothing that would have to be remembered. */
	if (set) {
		char *text = endpoints_text(set->at, set->n);

		if (strcmp(text, set->file) == 0)
			endpoint_set_free(&set);
		free(text);
	}
	if (call->is_dry_run)
		endpoint_set_free(&set);
	else if (!apply(call, pool, set)) {
		json_decref(before);
		return;
	}
	view = admin_pool(call->admin, pool);
	after = effective(call->admin, view);
	if (!call->is_dry_run)
		tell(call, pool, before, after);
	answer(call, view, warnings);
	json_decref(before);
	json_decref(after);
}

void
api_endpoints_put(struct call *call)
{
	const struct pool_view *view = pool_of(call);
	struct endpoint_set *set;
	json_t *warnings;

	if (!view || !call_matches(call, pool_version(call->admin, view), NULL))
		return;
	warnings = json_array();
	set = set_of_body(call, view, warnings);
	if (set)
		replace(call, view, set, warnings);
	json_decref(warnings);
}

void
api_endpoints_delete(struct call *call)
{
	const struct pool_view *view = pool_of(call);

	json_t *warnings = json_array();

	if (view && call_matches(call, pool_version(call->admin, view), NULL))
		replace(call, view, NULL, warnings);
	json_decref(warnings);
}
