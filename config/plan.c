/*
 * Plans as things: found by name, copied whole, given back, and the guards
 * that a plan has when it names none.
 */
#include "config/plan.h"

#include "config/mem.h"

const struct plan_cfg *
config_plan(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_plans; i++) {
		if (strcmp(config->plans[i].name, name) == 0)
			return &config->plans[i];
	}
	return NULL;
}

bool
guard_compares(const struct guard_cfg *guard)
{
	return guard->metric == GUARD_LATENCY || guard->metric == GUARD_SHAPE ||
	       (guard->metric == GUARD_ERRORS && guard->max_rate == 0);
}

/* A tolerance of a quarter leaves the judge room to tell both apart. */
void
guards_default(struct guard_cfg guards[DEFAULT_GUARDS])
{
	guards[0] = (struct guard_cfg){
	    .name = mem_text(SPAN("errors")),
	    .metric = GUARD_ERRORS,
	    .max_increase = {INCREASE_ABSOLUTE, 0.02},
	    .tolerance = {INCREASE_ABSOLUTE, 0.005},
	    .action = ACTION_ROLLBACK,
	};
	guards[1] = (struct guard_cfg){
	    .name = mem_text(SPAN("latency")),
	    .metric = GUARD_LATENCY,
	    .max_increase = {INCREASE_RELATIVE, 0.2},
	    .tolerance = {INCREASE_RELATIVE, 0.05},
	    .warmup = 60 * NSEC_PER_SEC,
	    .action = ACTION_ROLLBACK,
	};
}

/* ---- giving back ---- */

static void
hook_release(struct hook_cfg *hook)
{
	free(hook->url);
	free(hook->hmac.where);
}

void
plan_release(struct plan_cfg *plan)
{
	free(plan->name);
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
}

void
plan_free(struct plan_cfg **plan)
{
	if (*plan)
		plan_release(*plan);
	free(*plan);
	*plan = NULL;
}

/* ---- copying ---- */

/* Text that both point to becomes the copy's own. */
static void
own(char **text)
{
	if (*text)
		*text = mem_text(span_of(*text));
}

static void *
array_copy(const void *from, size_t n, size_t size)
{
	void *copy = mem_new(n, size);

	if (n > 0)
		memcpy(copy, from, n * size);
	return copy;
}

static void
hook_own(struct hook_cfg *hook)
{
	own(&hook->url);
	own(&hook->hmac.where);
}

struct plan_cfg *
plan_copy(const struct plan_cfg *plan)
{
	struct plan_cfg *copy = array_copy(plan, 1, sizeof(*plan));

	copy->phases =
	    array_copy(plan->phases, plan->n_phases, sizeof(*plan->phases));
	copy->guards =
	    array_copy(plan->guards, plan->n_guards, sizeof(*plan->guards));
	copy->gates =
	    array_copy(plan->gates, plan->n_gates, sizeof(*plan->gates));
	copy->notify =
	    array_copy(plan->notify, plan->n_notify, sizeof(*plan->notify));
	own(&copy->name);
	for (size_t i = 0; i < copy->n_phases; i++)
		own(&copy->phases[i].name);
	for (size_t i = 0; i < copy->n_guards; i++) {
		own(&copy->guards[i].name);
		own(&copy->guards[i].signal);
	}
	for (size_t i = 0; i < copy->n_gates; i++) {
		own(&copy->gates[i].name);
		hook_own(&copy->gates[i].webhook);
		own(&copy->gates[i].window.zone);
	}
	for (size_t i = 0; i < copy->n_notify; i++)
		hook_own(&copy->notify[i].hook);
	return copy;
}
