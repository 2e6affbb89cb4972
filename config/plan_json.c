/*
 * A plan as one line of JSON and back: what a live rollout keeps in the state
 * directory, so that a restart goes on with the plan it began with, whatever
 * the file says by then. Read strictly: what is not in the shape that
 * plan_render_json writes is refused, since a guard that was lost on the way
 * would be worse than a rollout that is held. Ranges are not checked again.
 */
#include <stdlib.h>

#include "config/mem.h"
#include "config/plan.h"
#include "config/render_words.h"
#include "config/schema.h"

char *
plan_render_json(const struct plan_cfg *plan)
{
	struct renderer r = {SECRETS_NAMED};
	json_t *root = json_pack(
	    "{s:s,s:o}", "schema", "weir.plan/v1", "name", text(plan->name));
	json_t *tree = plan_tree(plan, &r);
	char *out;

	json_object_update(root, tree);
	json_decref(tree);
	out = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6));
	assert(out != NULL);
	json_decref(root);
	return out;
}

/* ---- reading: the first fault stays ---- */

struct reader {
	struct err *err;
	bool is_bad;
};

static void
refuse(struct reader *r, const char *key)
{
	if (!r->is_bad)
		err_set(
		    r->err, "plan: '%s' is missing or of another kind", key);
	r->is_bad = true;
}

/* "" when it is missing, which no reader below takes for a value. */
static struct span
text_at(struct reader *r, const json_t *map, const char *key, bool is_must)
{
	const json_t *value = json_object_get(map, key);

	if (json_is_string(value))
		return (struct span){
		    json_string_value(value), json_string_length(value)};
	if (value || is_must)
		refuse(r, key);
	return SPAN("");
}

static char *
get_text(struct reader *r, const json_t *map, const char *key)
{
	return mem_text(text_at(r, map, key, true));
}

static uint64_t
get_number(struct reader *r, const json_t *map, const char *key, bool is_must)
{
	const json_t *value = json_object_get(map, key);

	if (value == NULL && !is_must)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0) {
		refuse(r, key);
		return 0;
	}
	return (uint64_t)json_integer_value(value);
}

static nsec_t
get_time(struct reader *r, const json_t *map, const char *key)
{
	struct span text = text_at(r, map, key, false);
	nsec_t value = 0;

	if (text.len > 0 && (!units_duration(text, &value) || value < 0))
		refuse(r, key);
	return value;
}

static bp_t
get_percent(struct reader *r, const json_t *map, const char *key)
{
	double value = json_number_value(json_object_get(map, key));

	if (!json_is_number(json_object_get(map, key)) ||
	    !(value >= 0 && value <= 100)) {
		refuse(r, key);
		return 0;
	}
	return (bp_t)(value * 100 + 0.5);
}

static double
get_share(struct reader *r, const json_t *map, const char *key, bool is_must)
{
	struct span text = text_at(r, map, key, is_must);
	int64_t nano = 0;

	if (text.len > 0 && !units_fraction(text, &nano))
		refuse(r, key);
	return (double)nano / NANO_ALL;
}

static struct increase
get_increase(struct reader *r, const json_t *map, const char *key)
{
	struct span text = text_at(r, map, key, false);
	bool is_relative = false;
	int64_t nano = 0;

	if (text.len == 0)
		return (struct increase){INCREASE_NONE, 0};
	if (!units_increase(text, &is_relative, &nano))
		refuse(r, key);
	return (struct increase){
	    is_relative ? INCREASE_RELATIVE : INCREASE_ABSOLUTE,
	    (double)nano / NANO_ALL,
	};
}

/* Which of the words of the row; -1 when it is none. */
static int
word_find(enum row_id row, struct span text)
{
	struct words words;

	schema_words(schema_row(row), &words);
	for (size_t i = 0; i < words.n; i++) {
		if (span_eq(text, span_of(words.at[i])))
			return (int)i;
	}
	return -1;
}

static unsigned
get_word(struct reader *r, const json_t *map, const char *key, enum row_id row)
{
	int i = word_find(row, text_at(r, map, key, true));

	if (i < 0)
		refuse(r, key);
	return i < 0 ? 0 : (unsigned)i;
}

/* A list or map of at most `cap`; 0 when it is none. */
static size_t
get_size(
    struct reader *r, const json_t *map, const char *key, size_t cap, bool list)
{
	const json_t *value = json_object_get(map, key);
	size_t n = list ? json_array_size(value) : json_object_size(value);

	if ((list ? !json_is_array(value) : !json_is_object(value)) || n > cap)
		refuse(r, key);
	return n > cap ? 0 : n;
}

static struct secret
get_secret(struct reader *r, const json_t *map, const char *key)
{
	static const char *const ways[] = {"file", "env", "credential"};
	const json_t *value = json_object_get(map, key);
	struct secret secret = {SECRET_NONE, NULL};

	for (unsigned i = 0; i < 3 && value; i++) {
		if (!json_is_string(json_object_get(value, ways[i])))
			continue;
		secret.from = SECRET_FILE + i;
		secret.where = get_text(r, value, ways[i]);
		return secret;
	}
	if (value)
		refuse(r, key);
	return secret;
}

/* ---- parts ---- */

static struct hook_cfg
get_hook(struct reader *r, const json_t *map)
{
	return (struct hook_cfg){
	    .url = get_text(r, map, "url"),
	    .timeout = get_time(r, map, "timeout"),
	    .retries = (unsigned)get_number(r, map, "retries", true),
	    .hmac = get_secret(r, map, "hmac"),
	};
}

static void
get_window(struct reader *r, const json_t *map, struct gate_cfg *gate)
{
	if (!units_days(text_at(r, map, "days", true), &gate->window.days))
		refuse(r, "days");
	if (!units_hours(text_at(r, map, "hours", true), &gate->window.from,
	        &gate->window.to))
		refuse(r, "hours");
	gate->window.zone = get_text(r, map, "zone");
}

static void
get_approval(struct reader *r, const json_t *map, struct gate_cfg *gate)
{
	gate->approval.role =
	    ROLE_OPERATOR + get_word(r, map, "role", ROW_APPROVAL_ROLE);
	gate->approval.count = (unsigned)get_number(r, map, "count", true);
	gate->approval.not_requester =
	    json_is_true(json_object_get(map, "not_requester"));
	gate->approval.ttl = get_time(r, map, "ttl");
	if (gate->approval.count == 0)
		refuse(r, "count");
}

static void
get_gate(struct reader *r, const json_t *map, struct gate_cfg *gate)
{
	const json_t *part;

	if ((part = json_object_get(map, "webhook"))) {
		gate->kind = GATE_WEBHOOK;
		gate->webhook = get_hook(r, part);
	} else if ((part = json_object_get(map, "approval"))) {
		gate->kind = GATE_APPROVAL;
		get_approval(r, part, gate);
	} else if ((part = json_object_get(map, "window"))) {
		gate->kind = GATE_WINDOW;
		get_window(r, part, gate);
	} else {
		refuse(r, "gates");
	}
}

static void
get_gates(struct reader *r, const json_t *map, struct plan_cfg *plan)
{
	json_t *gates = json_object_get(map, "gates"), *value;
	size_t n = get_size(r, map, "gates", PLAN_GATES_MAX, false);
	const char *name;

	plan->gates = mem_new(n, sizeof(*plan->gates));
	if (n == 0)
		return;
	json_object_foreach (gates, name, value) {
		struct gate_cfg *gate = &plan->gates[plan->n_gates++];

		gate->name = mem_text(span_of(name));
		get_gate(r, value, gate);
	}
}

static void
get_phase_gates(struct reader *r, const json_t *map,
    const struct plan_cfg *plan, struct phase_cfg *phase)
{
	const json_t *list = json_object_get(map, "gate");
	size_t n = list ? get_size(r, map, "gate", PLAN_GATES_MAX, true) : 0;

	for (size_t i = 0; i < n; i++) {
		const char *name = json_string_value(json_array_get(list, i));
		size_t gate = 0;

		while (gate < plan->n_gates &&
		       (!name || strcmp(plan->gates[gate].name, name) != 0))
			gate++;
		if (gate == plan->n_gates)
			refuse(r, "gate");
		else
			phase->gates[phase->n_gates++] = (uint8_t)gate;
	}
}

static void
get_phases(struct reader *r, const json_t *map, struct plan_cfg *plan)
{
	const json_t *list = json_object_get(map, "phases");
	size_t n = get_size(r, map, "phases", PLAN_PHASES_MAX, true);

	if (n == 0)
		refuse(r, "phases");
	plan->phases = mem_new(n, sizeof(*plan->phases));
	for (; plan->n_phases < n; plan->n_phases++) {
		const json_t *one = json_array_get(list, plan->n_phases);
		struct phase_cfg *phase = &plan->phases[plan->n_phases];

		phase->name = get_text(r, one, "name");
		phase->weight = get_percent(r, one, "weight");
		phase->ramp = get_time(r, one, "ramp");
		phase->hold = get_time(r, one, "hold");
		phase->min_requests = get_number(r, one, "min_requests", false);
		phase->until = get_word(r, one, "until", ROW_PHASE_UNTIL);
		phase->timeout = get_time(r, one, "timeout");
		get_phase_gates(r, one, plan, phase);
	}
}

static void
get_metric(struct reader *r, const json_t *map, struct guard_cfg *guard)
{
	struct span metric = text_at(r, map, "metric", true);

	if (span_starts(metric, SPAN("signal:"))) {
		guard->metric = GUARD_SIGNAL;
		guard->signal =
		    mem_text((struct span){metric.ptr + 7, metric.len - 7});
	} else {
		guard->metric = get_word(r, map, "metric", ROW_GUARD_METRIC);
	}
}

static void
get_guards(struct reader *r, const json_t *map, struct plan_cfg *plan)
{
	const json_t *list = json_object_get(map, "guards");
	size_t n = get_size(r, map, "guards", PLAN_GUARDS_MAX, true);

	plan->guards = mem_new(n, sizeof(*plan->guards));
	for (; plan->n_guards < n; plan->n_guards++) {
		const json_t *one = json_array_get(list, plan->n_guards);
		struct guard_cfg *guard = &plan->guards[plan->n_guards];

		guard->name = get_text(r, one, "name");
		get_metric(r, one, guard);
		guard->max_increase = get_increase(r, one, "max_increase");
		guard->tolerance = get_increase(r, one, "tolerance");
		guard->max_rate = get_share(r, one, "max_rate", false);
		guard->max = get_number(r, one, "max", false);
		guard->window = get_time(r, one, "window");
		guard->warmup = get_time(r, one, "warmup");
		guard->action = get_word(r, one, "action", ROW_GUARD_ACTION);
	}
}

static unsigned
get_events(struct reader *r, const json_t *map)
{
	const json_t *list = json_object_get(map, "events");
	size_t n = get_size(r, map, "events", 32, true);
	unsigned events = 0;

	for (size_t i = 0; i < n; i++) {
		const char *word = json_string_value(json_array_get(list, i));
		int event = word_find(ROW_NOTIFY_EVENTS_, span_of(word));

		if (event < 0)
			refuse(r, "events");
		else
			events |= 1u << event;
	}
	return events;
}

static void
get_notify(struct reader *r, const json_t *map, struct plan_cfg *plan)
{
	const json_t *list = json_object_get(map, "notify");
	size_t n = get_size(r, map, "notify", PLAN_HOOKS_MAX, true);

	plan->notify = mem_new(n, sizeof(*plan->notify));
	for (; plan->n_notify < n; plan->n_notify++) {
		const json_t *one = json_array_get(list, plan->n_notify);

		plan->notify[plan->n_notify].hook = get_hook(r, one);
		plan->notify[plan->n_notify].events = get_events(r, one);
	}
}

static void
get_plan(struct reader *r, const json_t *map, struct plan_cfg *plan)
{
	const json_t *confidence = json_object_get(map, "confidence");
	const json_t *rollback = json_object_get(map, "rollback");

	if (!span_eq(text_at(r, map, "schema", true), SPAN("weir.plan/v1")))
		refuse(r, "schema");
	plan->name = get_text(r, map, "name");
	get_gates(r, map, plan);
	get_phases(r, map, plan);
	get_guards(r, map, plan);
	get_notify(r, map, plan);
	plan->keep_warm = get_time(r, map, "keep_warm");
	plan->holdback = get_percent(r, map, "holdback");
	plan->false_rollback = get_share(r, confidence, "false_rollback", true);
	plan->false_pass = get_share(r, confidence, "false_pass", true);
	if (plan->false_rollback <= 0 || plan->false_pass <= 0)
		refuse(r, "confidence");
	plan->rollback.mode = get_word(r, rollback, "mode", ROW_ROLLBACK_MODE);
	plan->rollback.sessions =
	    get_word(r, rollback, "sessions", ROW_ROLLBACK_SESSIONS);
	plan->rollback.ramp = get_time(r, rollback, "ramp");
	plan->on_timeout = get_word(r, map, "on_timeout", ROW_ON_TIMEOUT);
}

struct plan_cfg *
plan_parse(struct span json, struct err *err)
{
	struct reader reader = {err, false};
	struct plan_cfg *plan;
	json_error_t fault;
	json_t *root =
	    json_loadb(json.ptr, json.len, JSON_REJECT_DUPLICATES, &fault);

	if (root == NULL) {
		err_set(err, "plan: %s", fault.text);
		return NULL;
	}
	plan = mem_new(1, sizeof(*plan));
	get_plan(&reader, root, plan);
	json_decref(root);
	if (reader.is_bad)
		plan_free(&plan);
	return plan;
}
