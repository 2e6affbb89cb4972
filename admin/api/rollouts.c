/*
 * Rollouts over the API: beginning them and reading them. What a POST is
 * refused for is checked before anything is touched.
 */
#include "admin/rollout/rollouts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/log.h"

enum { WAIT_MAX = 60 };

static void
run_etag(const struct run *run, char *buf, size_t cap)
{
	snprintf(buf, cap, "\"%llu\"", (unsigned long long)run->version);
}

void
call_answer_run(struct call *call, const struct run *run, int status)
{
	const struct split *split =
	    registry_split(call->admin->registry, run->rollout.split);
	char etag[32], location[64];

	if (call->answers_split && split) {
		call_answer_split(call, split);
		return;
	}
	run_etag(run, etag, sizeof(etag));
	if (status == 201) {
		snprintf(location, sizeof(location), "/v1/rollouts/%s",
		    run->rollout.id);
		evhttp_add_header(evhttp_request_get_output_headers(call->http),
		    "Location", location);
	}
	call_json(call, status, run_to_json(call->admin->rollouts, run), etag);
}

/* NULL: answered 404. */
struct run *
call_run(struct call *call)
{
	struct rollouts *rollouts = call->admin->rollouts;
	struct run *run = rollouts_find(rollouts, call->args[0]);
	const char *names[ROLLOUTS_KEPT];
	size_t n = 0;

	if (run)
		return run;
	TAILQ_FOREACH (run, &rollouts->runs, link)
		if (n < ROLLOUTS_KEPT)
			names[n++] = run->rollout.id;
	call_unknown(call, "rollout", call->args[0], names, n);
	return NULL;
}

bool
call_may(struct call *call, enum role role, const char *split)
{
	if (actor_may(&call->actor, role, split))
		return true;
	call_forbid(call, role, split);
	return false;
}

/* ---- reading ---- */

void
api_rollouts(struct call *call)
{
	const struct rollouts *rollouts = call->admin->rollouts;
	const char *split = call_query(call, "split");
	json_t *list, *body;
	const struct run *run;

	if (fleet_read(call, split))
		return;
	list = json_array();
	TAILQ_FOREACH (run, &rollouts->runs, link)
		if (!split || strcmp(split, run->rollout.split) == 0)
			json_array_append_new(list, run_to_json(rollouts, run));
	body = json_pack(
	    "{s:s, s:o}", "schema", "weir.rollouts/v1", "rollouts", list);
	if (call->read != CALL_READ_FIRST)
		json_object_set_new(body, "others_asked",
		    json_boolean(call->read == CALL_READ_ASKED));
	call_json(call, 200, body, NULL);
}

/* Seconds of "Prefer: wait=30"; 0: none asked for. */
static int
wait_of(const struct call *call)
{
	const char *prefer = call_header(call, "Prefer");
	const char *wait = prefer ? strstr(prefer, "wait=") : NULL;
	long seconds;

	if (!wait)
		return 0;
	seconds = strtol(wait + 5, NULL, 10);
	if (seconds < 0)
		return 0;
	return seconds > WAIT_MAX ? WAIT_MAX : (int)seconds;
}

/* With If-None-Match: a change since then is told at once. */
static bool
is_news(const struct call *call, const struct run *run)
{
	const char *seen = call_header(call, "If-None-Match");
	char etag[32];

	run_etag(run, etag, sizeof(etag));
	return seen && strcmp(seen, etag) != 0;
}

/* Perhaps another instance has just begun it. */
static bool
is_unknown(const struct call *call)
{
	const struct admin *admin = call->admin;

	return !rollouts_find(admin->rollouts, call->args[0]) &&
	       !registry_split(admin->registry, call->args[0]);
}

void
api_rollout(struct call *call)
{
	int seconds = wait_of(call);
	struct run *run;

	if (is_unknown(call) && fleet_read(call, NULL))
		return;
	run = call_run(call);
	if (!run)
		return;
	if (seconds > 0 && run_is_live(run) && !is_news(call, run) &&
	    waiters_add(call->admin->rollouts, call, run, seconds))
		return;
	call_answer_run(call, run, 200);
}

void
api_rollout_evidence(struct call *call)
{
	struct run *run = call_run(call);

	if (run)
		call_json(call, 200, run_evidence_json(run), NULL);
}

/* ---- beginning ---- */

struct asked {
	struct start starts[ROLLOUTS_GROUP_MAX];
	size_t n;
};

static bool
missing(struct call *call, const char *field)
{
	call_problem(call,
	    &(struct problem){422, "missing-field",
	        "{\"split\": \"shop\", \"to\": \"shop-green\", \"plan\": "
	        "\"standard\", \"release\": \"2026.08.2\", \"reason\": "
	        "\"...\"}",
	        field, NULL},
	    "\"%s\" is missing or is not a text", field);
	return false;
}

void
call_unknown_split(struct call *call, const char *name)
{
	struct registry *registry = call->admin->registry;
	const char *names[256];
	size_t n = 0;

	for (size_t i = 0; i < registry_n_splits(registry) && n < 256; i++)
		names[n++] = registry_split_at(registry, i)->name;
	call_unknown(call, "split", name, names, n);
}

/* The plan by name; the only one when none is named. NULL: answered. */
static const struct plan_cfg *
plan_of(struct call *call, const char *name)
{
	const struct config *config = admin_config(call->admin);
	const char *names[256];
	size_t n = 0;

	if (!name && config->n_plans == 1)
		return &config->plans[0];
	if (!name) {
		missing(call, "plan");
		return NULL;
	}
	for (size_t i = 0; i < config->n_plans; i++) {
		if (strcmp(config->plans[i].name, name) == 0)
			return &config->plans[i];
		if (n < 256)
			names[n++] = config->plans[i].name;
	}
	call_unknown(call, "plan", name, names, n);
	return NULL;
}

/* What the pool says of itself, when the caller does not. */
static const char *
release_of(const struct admin *admin, const char *pool)
{
	const struct pool_view *view = admin_pool(admin, pool);

	for (size_t i = 0; view && i < view->cfg->n_meta; i++)
		if (strcmp(view->cfg->meta[i].name, "release") == 0)
			return view->cfg->meta[i].value;
	return NULL;
}

/* A pool of the file that is not the split's is another mistake than a word
 * that nothing is called by. */
static bool
unknown_target(struct call *call, const struct split *split, const char *to)
{
	const char *near = suggest(
	    span_of(to), (const char *const *)split->pools, split->n_pools);
	char pools[512], hint[128];
	size_t len = 0;

	for (uint32_t i = 0; i < split->n_pools && len < sizeof(pools); i++)
		len += (size_t)snprintf(pools + len, sizeof(pools) - len,
		    "%s%s", i ? ", " : "", split->pools[i]);
	snprintf(hint, sizeof(hint), "did you mean \"%s\"?", near ? near : "");
	call_problem(call,
	    &(struct problem){404, "unknown-pool",
	        near ? hint
	             : "name a pool of the split, or give it weights in "
	               "the file",
	        "to", NULL},
	    admin_pool(call->admin, to)
	        ? "pool \"%.100s\" is not in split '%s', which has %s"
	        : "there is no pool \"%.100s\" in split '%s', which has %s",
	    to, split->name, pools);
	return false;
}

static bool
take_target(struct call *call, const json_t *object, struct start *start)
{
	const char *split = json_string_value(json_object_get(object, "split"));
	const char *to = json_string_value(json_object_get(object, "to"));

	if (!split)
		return missing(call, "split");
	if (!to)
		return missing(call, "to");
	start->split = registry_split(call->admin->registry, split);
	if (!start->split) {
		call_unknown_split(call, split);
		return false;
	}
	if (split_slot(start->split, to) < 0)
		return unknown_target(call, start->split, to);
	start->to = start->split->pools[split_slot(start->split, to)];
	return call_may(call, call->row->role, split);
}

static bool
check_text(struct call *call, const char *field, size_t max)
{
	const json_t *value = json_object_get(call->body, field);
	const char *text = json_string_value(value);

	if (!value || (text && strlen(text) <= max))
		return true;
	call_problem(call,
	    &(struct problem){422, "bad-field", NULL, field, NULL},
	    "\"%s\" must be a text of at most %zu bytes", field, max);
	return false;
}

static bool
take_group(struct call *call, struct asked *asked)
{
	const json_t *group = json_object_get(call->body, "group");
	size_t i;
	json_t *member;

	if (!group)
		return true;
	if (!json_is_array(group) ||
	    json_array_size(group) >= ROLLOUTS_GROUP_MAX) {
		call_problem(call,
		    &(struct problem){422, "bad-group",
		        "\"group\": [{\"split\": \"api\", \"to\": "
		        "\"api-green\"}]: further splits that move together",
		        "group", NULL},
		    "\"group\" must be a list of at most %d further splits",
		    ROLLOUTS_GROUP_MAX - 1);
		return false;
	}
	json_array_foreach (group, i, member) {
		struct start *start = &asked->starts[asked->n];

		*start = asked->starts[0];
		if (!take_target(call, member, start))
			return false;
		for (size_t j = 0; j < asked->n; j++)
			if (asked->starts[j].split == start->split) {
				call_problem(call,
				    &(struct problem){
				        422, "bad-group", NULL, "group", NULL},
				    "split '%s' is twice in the group",
				    start->split->name);
				return false;
			}
		asked->n++;
	}
	return true;
}

static bool
read_asked(struct call *call, struct asked *asked)
{
	static const char *const known[] = {
	    "split", "to", "plan", "release", "reason", "group", NULL};
	struct start *first = &asked->starts[0];

	*asked = (struct asked){.n = 1};
	if (!call_body_knows(call, known) ||
	    !take_target(call, call->body, first) ||
	    !check_text(call, "plan", CONFIG_NAME_MAX) ||
	    !check_text(call, "release", 127))
		return false;
	first->plan = plan_of(
	    call, json_string_value(json_object_get(call->body, "plan")));
	if (!first->plan)
		return false;
	first->release =
	    json_string_value(json_object_get(call->body, "release"));
	first->reason = call->reason;
	first->who = call->actor.name;
	return take_group(call, asked);
}

/* ---- may it begin ---- */

void
call_rollout_active(struct call *call, const struct run *run)
{
	const struct rollout *r = &run->rollout;
	char hint[128];

	snprintf(hint, sizeof(hint),
	    "weirctl rollout status %s; abort or wait, then try again", r->id);
	call_problem(call,
	    &(struct problem){409, "rollout-active", hint, NULL,
	        json_pack("{s:o}", "rollout", run_brief(run))},
	    "split '%s' has the live rollout %s (%s)", r->split, r->id,
	    rollout_state_name(r->state));
}

static bool
check_healthy(struct call *call, const struct start *start)
{
	const struct pool_view *view = admin_pool(call->admin, start->to);

	if (start->plan->phases[0].weight == 0 ||
	    (view && pool_n_usable(view) > 0))
		return true;
	call_problem(call,
	    &(struct problem){409, "pool-unhealthy",
	        "weirctl pool shows its endpoints and why they are out", "to",
	        NULL},
	    "pool '%s' has no usable endpoint and cannot be given weight",
	    start->to);
	return false;
}

bool
call_may_start(struct call *call, const struct start *start)
{
	const struct run *live =
	    rollouts_live(call->admin->rollouts, start->split->name);

	if (live && live->rollout.state != ROLLOUT_PROMOTED) {
		call_rollout_active(call, live);
		return false;
	}
	if (strcmp(start_from(start->split), start->to) == 0) {
		call_problem(call,
		    &(struct problem){409, "already-stable",
		        "name the pool that shall take the traffic over", "to",
		        NULL},
		    "pool '%s' is the baseline of split '%s' already",
		    start->to, start->split->name);
		return false;
	}
	return check_healthy(call, start);
}

static void
forecast(struct call *call, const struct asked *asked)
{
	json_t *body = forecast_json(call->admin, &asked->starts[0]);
	json_t *others;

	if (asked->n > 1) {
		others = json_array();
		for (size_t i = 1; i < asked->n; i++)
			json_array_append_new(others,
			    forecast_json(call->admin, &asked->starts[i]));
		json_object_set_new(body, "group", others);
	}
	call_json(call, 200, body, NULL);
}

void
call_unrecorded(struct call *call, const struct err *err)
{
	call_problem(call,
	    &(struct problem){507, "state-unwritable",
	        "free space in state_dir; traffic goes on as it is", NULL,
	        NULL},
	    "%s", err->text);
}

void
call_start(struct call *call, const struct start *starts, size_t n)
{
	struct run *run;
	struct err err;
	json_t *after;

	if (!rollouts_start(call->admin->rollouts, starts, n, &run, &err)) {
		call_unrecorded(call, &err);
		return;
	}
	after = run_brief(run);
	call_audit(call, run->rollout.split, NULL, after, "ok");
	json_decref(after);
	call_answer_run(call, run, 201);
}

void
api_rollout_start(struct call *call)
{
	struct asked asked;

	if (!read_asked(call, &asked))
		return;
	for (size_t i = 0; i < asked.n; i++) {
		if (!call_may_start(call, &asked.starts[i]))
			return;
		if (!asked.starts[i].release)
			asked.starts[i].release =
			    release_of(call->admin, asked.starts[i].to);
	}
	if (call->is_dry_run)
		forecast(call, &asked);
	else
		call_start(call, asked.starts, asked.n);
}
