/* Plans as a tree; see render.h. */
#include "config/render/parts.h"

static void
put_hook(const struct renderer *r, json_t *map, const struct hook_cfg *cfg)
{
	put_text(map, "url", cfg->url);
	put_duration(map, "timeout", cfg->timeout);
	put_number(map, "retries", cfg->retries);
	put_secret(r, map, "hmac", &cfg->hmac);
}

static void
put_increase(json_t *map, const char *key, const struct increase *increase)
{
	char buf[48];

	if (increase->kind != INCREASE_NONE)
		put_text(map, key,
		    units_print_increase(increase->kind == INCREASE_RELATIVE,
		        increase->by, buf, sizeof(buf)));
}

static bp_t
share(double value)
{
	return (bp_t)(value * BP_ALL + 0.5);
}

static json_t *
guard(const struct guard_cfg *cfg)
{
	json_t *map = json_object();

	put_text(map, "name", cfg->name);
	json_object_set_new(map, "metric",
	    cfg->signal ? json_sprintf("signal:%s", cfg->signal)
	                : json_string(guard_metric_name(cfg->metric)));
	put_increase(map, "max_increase", &cfg->max_increase);
	put_increase(map, "tolerance", &cfg->tolerance);
	if (cfg->max_rate > 0)
		json_object_set_new(
		    map, "max_rate", render_percent(share(cfg->max_rate)));
	if (cfg->metric >= GUARD_EXCESS_FAILURES)
		put_number(map, "max", cfg->max);
	if (cfg->window > 0)
		put_duration(map, "window", cfg->window);
	if (cfg->warmup > 0)
		put_duration(map, "warmup", cfg->warmup);
	put_text(map, "action", guard_action_name(cfg->action));
	return map;
}

static json_t *
days(unsigned bits)
{
	static const char *const names[] = {
	    "mon", "tue", "wed", "thu", "fri", "sat", "sun"};
	char buf[32] = "";

	for (size_t i = 0, n = 0; i < 7; i++)
		if (bits & (1u << i))
			n += (size_t)snprintf(buf + n, sizeof(buf) - n, "%s%s",
			    n ? "," : "", names[i]);
	return json_string(buf);
}

static json_t *
gate(const struct renderer *r, const struct gate_cfg *cfg)
{
	static const char *const kinds[] = {
	    [GATE_WEBHOOK] = "webhook",
	    [GATE_APPROVAL] = "approval",
	    [GATE_WINDOW] = "window",
	};
	json_t *map = json_object();

	if (cfg->kind == GATE_WEBHOOK)
		put_hook(r, map, &cfg->webhook);
	if (cfg->kind == GATE_APPROVAL) {
		put_text(map, "role", role_name(cfg->approval.role));
		put_number(map, "count", cfg->approval.count);
		json_object_set_new(map, "not_requester",
		    json_boolean(cfg->approval.not_requester));
		if (cfg->approval.ttl > 0)
			put_duration(map, "ttl", cfg->approval.ttl);
	}
	if (cfg->kind == GATE_WINDOW) {
		json_object_set_new(map, "days", days(cfg->window.days));
		json_object_set_new(map, "hours",
		    json_sprintf("%02u:%02u-%02u:%02u", cfg->window.from / 60,
		        cfg->window.from % 60, cfg->window.to / 60,
		        cfg->window.to % 60));
		put_text(map, "zone", cfg->window.zone);
	}
	return json_pack("{s:o}", kinds[cfg->kind], map);
}

static json_t *
phase(const struct plan_cfg *plan, const struct phase_cfg *cfg)
{
	json_t *map = json_object(), *gates = json_array();

	put_text(map, "name", cfg->name);
	json_object_set_new(map, "weight", render_percent(cfg->weight));
	put_duration(map, "ramp", cfg->ramp);
	put_duration(map, "hold", cfg->hold);
	put_number(map, "min_requests", cfg->min_requests);
	put_text(map, "until", cfg->until == UNTIL_PROVEN ? "proven" : "held");
	if (cfg->timeout > 0)
		put_duration(map, "timeout", cfg->timeout);
	for (size_t i = 0; i < cfg->n_gates; i++)
		json_array_append_new(
		    gates, render_text(plan->gates[cfg->gates[i]].name));
	if (cfg->n_gates > 0)
		json_object_set(map, "gate", gates);
	json_decref(gates);
	return map;
}

static json_t *
receiver(const struct renderer *r, const struct notify_cfg *cfg)
{
	static const char *const names[] = {"started", "phase", "hold",
	    "rollback", "promoted", "aborted", "approval"};
	json_t *map = json_object(), *events = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (cfg->events & (1u << i))
			json_array_append_new(events, json_string(names[i]));
	put_hook(r, map, &cfg->hook);
	json_object_set_new(map, "events", events);
	return map;
}

json_t *
render_plan(const struct renderer *r, const struct plan_cfg *cfg)
{
	static const char *const modes[] = {
	    [ROLLBACK_INSTANT] = "instant",
	    [ROLLBACK_RAMP] = "ramp",
	    [ROLLBACK_AUTO] = "auto",
	};
	static const char *const ends[] = {
	    [TIMEOUT_HOLD] = "hold",
	    [TIMEOUT_ROLLBACK] = "rollback",
	    [TIMEOUT_PROMOTE] = "promote",
	};
	json_t *map = json_object(), *phases = json_array();
	json_t *guards = json_array(), *gates = json_object();
	json_t *notify = json_array(), *rollback = json_object();

	for (size_t i = 0; i < cfg->n_phases; i++)
		json_array_append_new(phases, phase(cfg, &cfg->phases[i]));
	for (size_t i = 0; i < cfg->n_guards; i++)
		json_array_append_new(guards, guard(&cfg->guards[i]));
	for (size_t i = 0; i < cfg->n_gates; i++)
		json_object_set_new(
		    gates, cfg->gates[i].name, gate(r, &cfg->gates[i]));
	for (size_t i = 0; i < cfg->n_notify; i++)
		json_array_append_new(notify, receiver(r, &cfg->notify[i]));
	put_text(rollback, "mode", modes[cfg->rollback.mode]);
	put_text(rollback, "sessions",
	    cfg->rollback.sessions == SESSIONS_DRAIN ? "drain" : "recall");
	put_duration(rollback, "ramp", cfg->rollback.ramp);
	json_object_set_new(map, "phases", phases);
	json_object_set_new(map, "guards", guards);
	put_map(map, "gates", gates);
	put_duration(map, "keep_warm", cfg->keep_warm);
	json_object_set_new(map, "holdback", render_percent(cfg->holdback));
	json_object_set_new(map, "confidence",
	    json_pack("{s:o,s:o}", "false_rollback",
	        render_percent(share(cfg->false_rollback)), "false_pass",
	        render_percent(share(cfg->false_pass))));
	json_object_set_new(map, "rollback", rollback);
	put_text(map, "on_timeout", ends[cfg->on_timeout]);
	json_object_set_new(map, "notify", notify);
	return map;
}

json_t *
plan_tree(const struct plan_cfg *cfg)
{
	struct renderer r = {.to_keep = true};

	return render_plan(&r, cfg);
}
