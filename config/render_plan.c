/*
 * A plan written down in the shape of the file, with all defaults. Words of
 * enums are those of their rows in schema.def.
 */
#include <string.h>

#include "config/render_words.h"
#include "config/schema.h"

static void
put_word(json_t *map, const char *key, enum row_id row, unsigned i)
{
	struct words words;

	schema_words(schema_row(row), &words);
	put_text(map, key, words.at[i]);
}

static void
put_time(json_t *map, const char *key, nsec_t value)
{
	if (value > 0)
		put_duration(map, key, value);
}

static void
put_share(json_t *map, const char *key, double share, const char *unit)
{
	char buf[40];

	put_text(map, key,
	    units_print_fraction(
	        (int64_t)(share * NANO_ALL + 0.5), unit, buf, sizeof(buf)));
}

static void
put_increase(json_t *map, const char *key, const struct increase *increase)
{
	if (increase->kind != INCREASE_NONE)
		put_share(map, key, increase->by,
		    increase->kind == INCREASE_RELATIVE ? "%" : "pp");
}

static json_t *
phase(const struct plan_cfg *plan, const struct phase_cfg *cfg)
{
	json_t *map = json_object(), *gates = json_array();

	put_text(map, "name", cfg->name);
	json_object_set_new(map, "weight", percent(cfg->weight));
	put_time(map, "ramp", cfg->ramp);
	put_time(map, "hold", cfg->hold);
	if (cfg->min_requests > 0)
		put_number(map, "min_requests", cfg->min_requests);
	put_word(map, "until", ROW_PHASE_UNTIL, cfg->until);
	put_time(map, "timeout", cfg->timeout);
	for (size_t i = 0; i < cfg->n_gates; i++)
		json_array_append_new(
		    gates, text(plan->gates[cfg->gates[i]].name));
	if (cfg->n_gates > 0)
		json_object_set(map, "gate", gates);
	json_decref(gates);
	return map;
}

static json_t *
guard(const struct guard_cfg *cfg)
{
	json_t *map = json_object();

	put_text(map, "name", cfg->name);
	if (cfg->metric == GUARD_SIGNAL)
		json_object_set_new(
		    map, "metric", json_sprintf("signal:%s", cfg->signal));
	else
		put_text(map, "metric", guard_metric_name(cfg->metric));
	put_increase(map, "max_increase", &cfg->max_increase);
	put_increase(map, "tolerance", &cfg->tolerance);
	if (cfg->max_rate > 0)
		put_share(map, "max_rate", cfg->max_rate, "%");
	if (cfg->metric == GUARD_SIGNAL || cfg->metric == GUARD_EXCESS_FAILURES)
		put_number(map, "max", cfg->max);
	put_time(map, "window", cfg->window);
	put_time(map, "warmup", cfg->warmup);
	put_text(map, "action", guard_action_name(cfg->action));
	return map;
}

static json_t *
hook(const struct renderer *r, const struct hook_cfg *cfg)
{
	json_t *map = json_object();

	put_text(map, "url", cfg->url);
	put_duration(map, "timeout", cfg->timeout);
	put_number(map, "retries", cfg->retries);
	put_secret(r, map, "hmac", &cfg->hmac);
	return map;
}

static json_t *
approval(const struct gate_cfg *cfg)
{
	json_t *map = json_object();

	put_text(map, "role", role_name(cfg->approval.role));
	put_number(map, "count", cfg->approval.count);
	json_object_set_new(
	    map, "not_requester", json_boolean(cfg->approval.not_requester));
	put_time(map, "ttl", cfg->approval.ttl);
	return map;
}

static json_t *
window(const struct gate_cfg *cfg)
{
	json_t *map = json_object();
	char buf[64];

	put_text(
	    map, "days", units_print_days(cfg->window.days, buf, sizeof(buf)));
	put_text(map, "hours",
	    units_print_hours(
	        cfg->window.from, cfg->window.to, buf, sizeof(buf)));
	put_text(map, "zone", cfg->window.zone);
	return map;
}

static json_t *
gate(const struct renderer *r, const struct gate_cfg *cfg)
{
	switch (cfg->kind) {
	case GATE_WEBHOOK:
		return json_pack("{s:o}", "webhook", hook(r, &cfg->webhook));
	case GATE_APPROVAL:
		return json_pack("{s:o}", "approval", approval(cfg));
	case GATE_WINDOW:
		return json_pack("{s:o}", "window", window(cfg));
	}
	return json_object();
}

static json_t *
notification(const struct renderer *r, const struct notify_cfg *cfg)
{
	json_t *map = hook(r, &cfg->hook), *events = json_array();
	struct words words;

	schema_words(schema_row(ROW_NOTIFY_EVENTS_), &words);
	for (size_t i = 0; i < words.n; i++) {
		if (cfg->events & (1u << i))
			json_array_append_new(events, text(words.at[i]));
	}
	json_object_set_new(map, "events", events);
	return map;
}

static void
put_way_back(json_t *map, const struct plan_cfg *plan)
{
	json_t *rollback = json_object();

	put_word(rollback, "mode", ROW_ROLLBACK_MODE, plan->rollback.mode);
	put_word(rollback, "sessions", ROW_ROLLBACK_SESSIONS,
	    plan->rollback.sessions);
	put_duration(rollback, "ramp", plan->rollback.ramp);
	json_object_set_new(map, "rollback", rollback);
	put_word(map, "on_timeout", ROW_ON_TIMEOUT, plan->on_timeout);
}

static void
put_lists(json_t *map, const struct plan_cfg *plan, const struct renderer *r)
{
	json_t *phases = json_array(), *guards = json_array();
	json_t *gates = json_object(), *list = json_array();

	for (size_t i = 0; i < plan->n_phases; i++)
		json_array_append_new(phases, phase(plan, &plan->phases[i]));
	for (size_t i = 0; i < plan->n_guards; i++)
		json_array_append_new(guards, guard(&plan->guards[i]));
	for (size_t i = 0; i < plan->n_gates; i++)
		json_object_set_new(
		    gates, plan->gates[i].name, gate(r, &plan->gates[i]));
	for (size_t i = 0; i < plan->n_notify; i++)
		json_array_append_new(list, notification(r, &plan->notify[i]));
	json_object_set_new(map, "phases", phases);
	json_object_set_new(map, "guards", guards);
	json_object_set_new(map, "gates", gates);
	json_object_set_new(map, "notify", list);
}

json_t *
plan_tree(const struct plan_cfg *plan, const struct renderer *r)
{
	json_t *map = json_object(), *confidence = json_object();

	put_lists(map, plan, r);
	put_duration(map, "keep_warm", plan->keep_warm);
	json_object_set_new(map, "holdback", percent(plan->holdback));
	put_share(confidence, "false_rollback", plan->false_rollback, "%");
	put_share(confidence, "false_pass", plan->false_pass, "%");
	json_object_set_new(map, "confidence", confidence);
	put_way_back(map, plan);
	return map;
}
