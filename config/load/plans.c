/*
 * plans: inheritance first (like.c), then phases, guards, gates and
 * receivers, then what must fit together.
 */
#include <stdio.h>

#include "config/load/plan.h"
#include "config/mem.h"

/* ---- names that must differ ---- */

/* Of the first `n`: what is too many is told, and would take a pair each. */
static void
check_names(struct load *load, struct entries all, size_t n, enum row_id id)
{
	for (size_t i = 1; i < n; i++) {
		const struct node *name = field(all.at[i], id);

		for (size_t j = 0; j < i && name; j++) {
			const struct node *other = field(all.at[j], id);
			char hint[64], where[WHERE_MAX];

			if (!other || !span_eq(other->text, name->text))
				continue;
			snprintf(hint, sizeof(hint), "first on line %u",
			    other->at.line);
			report_add(load->report, DIAG_DUPLICATE_KEY, name->at,
			    hint, "%s: two are named \"%.*s\"",
			    node_where(name, where), (int)name->written.len,
			    name->written.ptr);
			break;
		}
	}
}

/* At most `max` of them; more is an error at the first too many. */
static size_t
bounded(struct load *load, struct entries all, size_t max)
{
	char where[WHERE_MAX];

	if (all.n <= max)
		return all.n;
	report_add(load->report, DIAG_TOO_MANY, all.at[max]->at, NULL,
	    "%s: at most %zu are possible", node_where(all.at[max], where),
	    max);
	return max;
}

/* ---- phases ---- */

static void
load_phase_gates(struct load *load, const struct node *map,
    const struct plan_cfg *plan, struct phase_cfg *cfg)
{
	struct entries names = field_entries(map, ROW_PHASE_GATE);

	for (size_t i = 0; i < names.n; i++) {
		const char *words[PLAN_GATES_MAX], *near;
		char where[WHERE_MAX], hint[128];
		size_t at = 0;

		if (names.at[i]->is_bad)
			continue;
		for (size_t j = 0; j < plan->n_gates; j++)
			words[j] = plan->gates[j].name;
		while (at < plan->n_gates &&
		       !span_eq(names.at[i]->text, span_of(words[at])))
			at++;
		if (at < plan->n_gates && cfg->n_gates < PLAN_GATES_MAX) {
			cfg->gates[cfg->n_gates++] = (uint8_t)at;
			continue;
		}
		near = suggest(names.at[i]->text, words, plan->n_gates);
		if (near)
			snprintf(
			    hint, sizeof(hint), "did you mean \"%s\"?", near);
		report_add(load->report, DIAG_DANGLING, names.at[i]->at,
		    near ? hint : "define it under gates of the plan",
		    "%s: there is no gate \"%.*s\"",
		    node_where(names.at[i], where),
		    (int)names.at[i]->written.len, names.at[i]->written.ptr);
	}
}

static void
load_phase(struct load *load, const struct node *map, struct plan_cfg *plan)
{
	struct phase_cfg *cfg = &plan->phases[plan->n_phases];
	int until = field_word(map, ROW_PHASE_UNTIL);
	bool is_first = true;

	for (size_t i = 0; i < plan->n_phases; i++)
		is_first &= plan->phases[i].weight == 0;
	cfg->name = field_text(map, ROW_PHASE_NAME);
	cfg->weight = field_percent(map, ROW_PHASE_WEIGHT);
	cfg->ramp = field_duration(map, ROW_PHASE_RAMP);
	cfg->hold = field_duration(map, ROW_PHASE_HOLD);
	cfg->min_requests = (uint64_t)field_number(map, ROW_PHASE_REQUESTS);
	cfg->timeout = field_duration(map, ROW_PHASE_TIMEOUT);
	cfg->until = until != NODE_ABSENT ? (enum phase_until)until
	             : is_first && cfg->weight > 0 && cfg->weight < BP_ALL
	                 ? UNTIL_PROVEN
	                 : UNTIL_HELD;
	if (cfg->timeout > 0 && cfg->timeout < cfg->ramp + cfg->hold)
		refuse_part(load, field(map, ROW_PHASE_TIMEOUT), NULL,
		    "the timeout is shorter than ramp and hold together");
	load_phase_gates(load, map, plan, cfg);
	plan->n_phases++;
}

/* As written: no message says what a variable holds. */
static struct span
name_shown(const struct node *map, enum row_id id)
{
	const struct node *name = field(map, id);

	return name ? name->written : SPAN("");
}

static void
load_phases(struct load *load, const struct node *map, struct plan_cfg *plan)
{
	struct entries all = field_entries(map, ROW_PHASES);
	size_t n = bounded(load, all, PLAN_PHASES_MAX);
	char where[WHERE_MAX];

	/* A like that led nowhere is told already. */
	if (all.n == 0 && !node_get(map, SPAN("phases")) &&
	    !node_get(map, SPAN("like")))
		report_add(load->report, DIAG_MISSING_KEY, node_place(map),
		    "add phases: [{name: canary, weight: 5, hold: 30m}]",
		    "\"phases\" is missing in %s", node_where(map, where));
	plan->phases = mem_new(n, sizeof(*plan->phases));
	for (size_t i = 0; i < n; i++)
		if (all.at[i]->kind == NODE_MAP)
			load_phase(load, all.at[i], plan);
	check_names(load, all, n, ROW_PHASE_NAME);
	for (size_t i = 1; i < plan->n_phases && plan->n_phases == n; i++)
		if (plan->phases[i].weight < plan->phases[i - 1].weight) {
			struct span one = name_shown(all.at[i], ROW_PHASE_NAME);
			struct span before =
			    name_shown(all.at[i - 1], ROW_PHASE_NAME);

			report_add(load->report, DIAG_PHASES_DESCEND,
			    all.at[i]->at, NULL,
			    "%s: phase \"%.*s\" has less weight than \"%.*s\"",
			    node_where(all.at[i], where), (int)one.len, one.ptr,
			    (int)before.len, before.ptr);
		}
}

/* ---- guards, gates, receivers ---- */

/* A rollout without a guard would be a timer. */
static void
default_guards(struct plan_cfg *plan)
{
	plan->guards = mem_new(2, sizeof(*plan->guards));
	plan->n_guards = 2;
	plan->guards[0] = (struct guard_cfg){
	    .name = mem_text(SPAN("errors")),
	    .metric = GUARD_ERRORS,
	    .max_increase = {INCREASE_ABSOLUTE, 0.02},
	    .tolerance = {INCREASE_ABSOLUTE, 0.005},
	    .action = ACTION_ROLLBACK,
	};
	plan->guards[1] = (struct guard_cfg){
	    .name = mem_text(SPAN("latency")),
	    .metric = GUARD_LATENCY,
	    .max_increase = {INCREASE_RELATIVE, 0.2},
	    .tolerance = {INCREASE_RELATIVE, 0.05},
	    .warmup = 60 * NSEC_PER_SEC,
	    .action = ACTION_ROLLBACK,
	};
}

static void
load_guards(struct load *load, const struct node *map, struct plan_cfg *plan)
{
	struct entries all = field_entries(map, ROW_GUARDS);
	size_t n = bounded(load, all, PLAN_GUARDS_MAX);

	if (!node_get(map, SPAN("guards"))) {
		default_guards(plan);
		return;
	}
	plan->guards = mem_new(n, sizeof(*plan->guards));
	for (size_t i = 0; i < n; i++)
		if (all.at[i]->kind == NODE_MAP)
			load_guard(
			    load, all.at[i], &plan->guards[plan->n_guards++]);
	check_names(load, all, n, ROW_GUARD_NAME);
}

static void
load_gates(struct load *load, const struct node *map, struct plan_cfg *plan)
{
	struct entries all = field_entries(map, ROW_GATES);
	size_t n = bounded(load, all, PLAN_GATES_MAX);

	plan->gates = mem_new(n, sizeof(*plan->gates));
	for (size_t i = 0; i < n; i++)
		if (all.at[i]->kind == NODE_MAP)
			load_gate(
			    load, all.at[i], &plan->gates[plan->n_gates++]);
}

static void
load_receivers(struct load *load, const struct node *map, struct plan_cfg *plan)
{
	struct entries all = field_entries(map, ROW_NOTIFY);
	size_t n = bounded(load, all, PLAN_HOOKS_MAX);

	plan->notify = mem_new(n, sizeof(*plan->notify));
	for (size_t i = 0; i < n; i++)
		if (all.at[i]->kind == NODE_MAP)
			load_notify(
			    load, all.at[i], &plan->notify[plan->n_notify++]);
}

/* ---- the whole ---- */

static void
check_baseline(struct load *load, const struct node *written,
    const struct node *map, const struct plan_cfg *plan)
{
	struct entries guards = field_entries(map, ROW_GUARDS);
	bool has_baseline = plan->holdback > 0 || plan->n_phases == 0;
	char where[WHERE_MAX], names[PLAN_GUARDS_MAX * 68] = "";
	size_t n = 0;

	for (size_t i = 0; i < plan->n_phases; i++)
		has_baseline |= plan->phases[i].weight > 0 &&
		                plan->phases[i].weight < BP_ALL;
	for (size_t i = 0; i < plan->n_guards && !has_baseline; i++) {
		struct span name =
		    i < guards.n ? name_shown(guards.at[i], ROW_GUARD_NAME)
		                 : span_of(plan->guards[i].name);

		if (plan->guards[i].max_increase.kind != INCREASE_NONE)
			n += (size_t)snprintf(names + n, sizeof(names) - n,
			    "%s\"%.*s\"", n ? ", " : "",
			    (int)(name.len < 63 ? name.len : 63), name.ptr);
	}
	if (n > 0)
		report_add(load->report, DIAG_GUARD_SILENT, node_place(written),
		    "give the plan holdback: 1%, or a phase below 100",
		    "%s: there is never a baseline that guard %s could "
		    "compare with",
		    node_where(written, where), names);
}

static void
load_plan(struct load *load, const struct node *written, struct plan_cfg *cfg)
{
	const struct node *map =
	    load_like(load, load->plans, written, ROW_PLAN_LIKE);
	const struct node *confidence = field(map, ROW_CONFIDENCE);
	const struct node *rollback = field(map, ROW_ROLLBACK);

	cfg->name = mem_text(written->key);
	load_gates(load, map, cfg);
	load_phases(load, map, cfg);
	load_guards(load, map, cfg);
	load_receivers(load, map, cfg);
	cfg->keep_warm = field_duration(map, ROW_KEEP_WARM);
	cfg->holdback = field_percent(map, ROW_HOLDBACK);
	cfg->false_rollback =
	    field_percent(confidence, ROW_FALSE_ROLLBACK) / (double)BP_ALL;
	cfg->false_pass =
	    field_percent(confidence, ROW_FALSE_PASS) / (double)BP_ALL;
	cfg->rollback.mode =
	    (enum rollback_mode)field_word(rollback, ROW_ROLLBACK_MODE);
	cfg->rollback.sessions =
	    (enum rollback_sessions)field_word(rollback, ROW_ROLLBACK_SESSIONS);
	cfg->rollback.ramp = field_duration(rollback, ROW_ROLLBACK_RAMP);
	cfg->on_timeout = (enum plan_timeout)field_word(map, ROW_ON_TIMEOUT);
	check_baseline(load, written, map, cfg);
}

void
load_plans(struct load *load)
{
	struct config *config = load->config;
	struct entries all = field_entries(load->root, ROW_PLANS);

	if (load->plans == NULL)
		return;
	config->plans = mem_new(all.n, sizeof(*config->plans));
	for (size_t i = 0; i < all.n; i++)
		if (all.at[i]->kind == NODE_MAP)
			load_plan(
			    load, all.at[i], &config->plans[config->n_plans++]);
}
