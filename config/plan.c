/*
 * A plan on its own: a rollout keeps the one that it began with, in memory
 * and on disk, whatever becomes of the file. On disk it is the file's own
 * language, so that there is one reader of plans and not two.
 */
#include "config/plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "config/load/load.h"
#include "config/mem.h"
#include "config/render/render.h"

const char *
guard_metric_name(enum guard_metric metric)
{
	static const char *const names[] = {
	    [GUARD_ERRORS] = "errors",
	    [GUARD_LATENCY] = "latency",
	    [GUARD_SHAPE] = "shape",
	    [GUARD_EXCESS_FAILURES] = "excess_failures",
	    [GUARD_SIGNAL] = "signal",
	};

	return names[metric];
}

const char *
guard_action_name(enum guard_action action)
{
	static const char *const names[] = {
	    [ACTION_OBSERVE] = "observe",
	    [ACTION_HOLD] = "hold",
	    [ACTION_ROLLBACK] = "rollback",
	};

	return names[action];
}

const struct plan_cfg *
config_plan(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_plans; i++)
		if (strcmp(config->plans[i].name, name) == 0)
			return &config->plans[i];
	return NULL;
}

/* ---- giving it back ---- */

static void
hook_release(struct hook_cfg *hook)
{
	free(hook->url);
	free(hook->hmac.where);
}

void
plan_release(struct plan_cfg *plan)
{
	for (size_t i = 0; i < plan->n_phases; i++)
		free(plan->phases[i].name);
	for (size_t i = 0; i < plan->n_guards; i++) {
		free(plan->guards[i].name);
		free(plan->guards[i].signal);
	}
	for (size_t i = 0; i < plan->n_gates; i++) {
		free(plan->gates[i].name);
		hook_release(&plan->gates[i].webhook);
		free(plan->gates[i].window.zone);
	}
	for (size_t i = 0; i < plan->n_notify; i++)
		hook_release(&plan->notify[i].hook);
	free(plan->phases);
	free(plan->guards);
	free(plan->gates);
	free(plan->notify);
	free(plan->name);
}

void
plan_free(struct plan_cfg **plan)
{
	struct plan_cfg *dead = *plan;

	*plan = NULL;
	if (dead == NULL)
		return;
	plan_release(dead);
	free(dead);
}

/* ---- there and back ---- */

char *
plan_render_json(const struct plan_cfg *plan)
{
	json_t *root = json_object();
	char *text;

	json_object_set_new(root, plan->name, plan_tree(plan));
	text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6));
	json_decref(root);
	return text;
}

static struct plan_cfg *
plan_take(struct config *config)
{
	struct plan_cfg *plan = mem_new(1, sizeof(*plan));

	*plan = config->plans[0];
	config->n_plans = 0;
	return plan;
}

/* The file around it is warned of, too: nobody has written that. */
static const char *
first_error(const struct diags *diags)
{
	for (size_t i = 0; i < diags->n; i++)
		if (!diags->at[i].is_warning)
			return diags->at[i].message;
	return "there is none, or there are several";
}

/* The reader wants a file around it. Nothing that a variable could be is
   filled in: it has been. */
struct plan_cfg *
plan_parse(struct span json, struct err *err)
{
	static const char before[] =
	    "{\"version\": 1, \"listeners\": {\"none\": {\"bind\": "
	    "[\"unix:/\"]}}, \"plans\": ";
	char *text = mem_new(sizeof(before) + json.len + 2, 1);
	struct plan_cfg *plan = NULL;
	struct config *config;
	struct diags diags;

	memcpy(text, before, sizeof(before) - 1);
	memcpy(text + sizeof(before) - 1, json.ptr, json.len);
	text[sizeof(before) - 1 + json.len] = '}';
	config = config_load_trusted(
	    "plan", (struct span){text, sizeof(before) + json.len}, &diags);
	if (config && config->n_plans == 1)
		plan = plan_take(config);
	else
		err_set(err, "not a plan: %s", first_error(&diags));
	diags_release(&diags);
	config_free(&config);
	free(text);
	return plan;
}

struct plan_cfg *
plan_copy(const struct plan_cfg *plan)
{
	char *text = plan_render_json(plan);
	struct err err;
	struct plan_cfg *copy = plan_parse(span_of(text), &err);

	assert(copy != NULL);
	free(text);
	return copy;
}
