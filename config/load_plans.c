/*
 * plans: phases, guards, gates and hooks, and what does not fit together in
 * them. Faults stop the file; what merely cannot do what its author hopes is a
 * warning.
 */
#include <stdio.h>

#include "config/load.h"
#include "config/mem.h"
#include "config/plan.h"
#include "config/value.h"

struct plan_load {
	struct load *load;        /* borrowed */
	const struct node *map;   /* with all that it inherits */
	const struct node *gates; /* NULL without */
	struct plan_cfg *plan;    /* being filled */
};

/* At most `cap` entries of a list or map; more are told and left out. */
static struct entries
bounded(struct plan_load *p, enum row_id id, size_t cap, const char *what)
{
	struct entries all = field_entries(p->map, id);
	char where[WHERE_MAX];

	if (all.n <= cap)
		return all;
	report_add(p->load->report, DIAG_TOO_MANY, all.at[cap]->at, NULL,
	    "%s: a plan has at most %zu %s",
	    node_where(field(p->map, id), where), cap, what);
	all.n = cap;
	return all;
}

static bool
is_map(const struct node *node)
{
	return node->kind == NODE_MAP && !node->is_bad;
}

/* The words of a plan's parts are lines in metrics and in the API. */
static void
refuse_twin(struct plan_load *p, const struct node *node, const char *name)
{
	char where[WHERE_MAX];

	report_add(p->load->report, DIAG_DUPLICATE_KEY, node_place(node),
	    "give each a name of its own", "%s: two are named \"%s\"",
	    node_where(node, where), name);
}

/* ---- hooks ---- */

struct hook_rows {
	enum row_id url, timeout, retries, hmac;
};

static bool
is_clear(const char *url)
{
	static const char *const near[] = {
	    "http://127.0.0.1", "http://localhost", "http://[::1]"};

	if (url == NULL || strncmp(url, "http://", 7) != 0)
		return false;
	for (size_t i = 0; i < 3; i++) {
		size_t len = strlen(near[i]);

		if (strncmp(url, near[i], len) == 0 && strchr(":/?", url[len]))
			return false;
	}
	return true;
}

static struct hook_cfg
load_hook(struct plan_load *p, const struct node *map, struct hook_rows rows)
{
	struct hook_cfg hook = {
	    .url = field_text(map, rows.url),
	    .timeout = field_duration(map, rows.timeout),
	    .retries = (unsigned)field_number(map, rows.retries),
	    .hmac = load_secret(p->load, map, rows.hmac),
	};
	char where[WHERE_MAX];

	if (hook.hmac.from != SECRET_NONE && is_clear(hook.url))
		report_add(p->load->report, DIAG_HOOK_CLEAR,
		    field(map, rows.url)->at, "write https://",
		    "%s: what is signed can be read and sent again",
		    node_where(map, where));
	return hook;
}

/* ---- gates ---- */

static void
load_window(const struct node *map, struct gate_cfg *gate)
{
	const struct node *hours = field(map, ROW_WINDOW_HOURS);
	struct span text =
	    hours ? hours->text
	          : span_of(schema_row(ROW_WINDOW_HOURS)->fallback);
	bool is_fine;

	gate->window.days = (unsigned)field_number(map, ROW_WINDOW_DAYS);
	gate->window.zone = field_text(map, ROW_WINDOW_ZONE);
	is_fine = units_hours(text, &gate->window.from, &gate->window.to);
	assert(is_fine);
}

static void
load_gate(struct plan_load *p, const struct node *map, struct gate_cfg *gate)
{
	const struct node *webhook = field(map, ROW_WEBHOOK);
	const struct node *approval = field(map, ROW_APPROVAL);
	const struct node *window = field(map, ROW_WINDOW);
	char where[WHERE_MAX];

	gate->name = mem_text(map->key);
	if (map->is_bad)
		return;
	if (map->kind != NODE_MAP || map->n != 1)
		report_add(p->load->report, DIAG_GATE, node_place(map),
		    "give one of webhook, approval, window",
		    "%s: a gate is of exactly one kind",
		    node_where(map, where));
	if (webhook) {
		gate->kind = GATE_WEBHOOK;
		gate->webhook = load_hook(p, webhook,
		    (struct hook_rows){ROW_WEBHOOK_URL, ROW_WEBHOOK_TIMEOUT,
		        ROW_WEBHOOK_RETRIES, ROW_WEBHOOK_HMAC});
	} else if (approval) {
		gate->kind = GATE_APPROVAL;
		gate->approval.role =
		    ROLE_OPERATOR +
		    (unsigned)field_word(approval, ROW_APPROVAL_ROLE);
		gate->approval.count =
		    (unsigned)field_number(approval, ROW_APPROVAL_COUNT);
		gate->approval.not_requester =
		    field_bool(approval, ROW_APPROVAL_OTHER);
		gate->approval.ttl = field_duration(approval, ROW_APPROVAL_TTL);
	} else if (window) {
		gate->kind = GATE_WINDOW;
		load_window(window, gate);
	}
}

static void
load_gates(struct plan_load *p)
{
	struct entries all = bounded(p, ROW_GATES, PLAN_GATES_MAX, "gates");
	struct plan_cfg *plan = p->plan;

	p->gates = field(p->map, ROW_GATES);
	plan->gates = mem_new(all.n, sizeof(*plan->gates));
	for (; plan->n_gates < all.n; plan->n_gates++)
		load_gate(
		    p, all.at[plan->n_gates], &plan->gates[plan->n_gates]);
}

static void
refuse_gate(struct plan_load *p, const struct node *node)
{
	struct fault fault = {.hint = ""};
	const char *names[PLAN_GATES_MAX];
	char where[WHERE_MAX];

	for (size_t i = 0; i < p->plan->n_gates; i++)
		names[i] = p->plan->gates[i].name;
	fault_suggest(&fault, node->text, names, p->plan->n_gates);
	report_add(p->load->report, DIAG_DANGLING, node->at,
	    fault.hint[0] ? fault.hint : "gates: of the plan defines them",
	    "%s: the plan has no gate \"%.*s\"", node_where(node, where),
	    (int)node->text.len, node->text.ptr);
}

/* ---- phases ---- */

static void
load_phase_gates(
    struct plan_load *p, const struct node *map, struct phase_cfg *phase)
{
	struct entries all = field_entries(map, ROW_PHASE_GATE);
	unsigned seen = 0;

	for (size_t i = 0; i < all.n; i++) {
		long gate = p->gates && !all.at[i]->is_bad
		                ? node_find(p->gates, all.at[i]->text)
		                : -1;

		if (all.at[i]->is_bad)
			continue;
		if (gate < 0 || (size_t)gate >= p->plan->n_gates) {
			refuse_gate(p, all.at[i]);
		} else if (seen & (1u << gate)) {
			refuse_twin(p, all.at[i], p->plan->gates[gate].name);
		} else {
			seen |= 1u << gate;
			phase->gates[phase->n_gates++] = (uint8_t)gate;
		}
	}
}

static char *
numbered(const char *word, size_t i)
{
	char text[32];

	snprintf(text, sizeof(text), "%s-%zu", word, i + 1);
	return mem_text(span_of(text));
}

static void
load_phase(struct plan_load *p, const struct node *map, size_t i)
{
	struct phase_cfg *phase = &p->plan->phases[i];
	const struct node *timeout = field(map, ROW_PHASE_TIMEOUT);
	char where[WHERE_MAX];

	phase->name = field_text(map, ROW_PHASE_NAME);
	if (phase->name == NULL)
		phase->name = numbered("phase", i);
	phase->weight = field_percent(map, ROW_PHASE_WEIGHT);
	phase->ramp = field_duration(map, ROW_PHASE_RAMP);
	phase->hold = field_duration(map, ROW_PHASE_HOLD);
	phase->min_requests = (uint64_t)field_number(map, ROW_PHASE_REQUESTS);
	phase->timeout = field_duration(map, ROW_PHASE_TIMEOUT);
	load_phase_gates(p, map, phase);
	if (timeout && phase->timeout <= phase->ramp + phase->hold)
		report_add(p->load->report, DIAG_CONFLICT, timeout->at,
		    "make it longer than ramp and hold together",
		    "%s: the timeout of phase \"%s\" is over before the phase "
		    "can end",
		    node_where(timeout, where), phase->name);
}

/* The first users who see the candidate see it until it is proven. */
static void
load_until(struct plan_load *p, struct entries all)
{
	bool is_first = true;

	for (size_t i = 0; i < p->plan->n_phases; i++) {
		struct phase_cfg *phase = &p->plan->phases[i];
		int until = field_word(all.at[i], ROW_PHASE_UNTIL);

		if (until != NODE_ABSENT)
			phase->until = (enum phase_until)until;
		else if (is_first && phase->weight > 0)
			phase->until = UNTIL_PROVEN;
		is_first &= phase->weight == 0;
	}
}

static void
check_phases(struct plan_load *p, struct entries all)
{
	const struct plan_cfg *plan = p->plan;
	const struct node *list = field(p->map, ROW_PHASES);
	char where[WHERE_MAX], now[16], before[16];
	bp_t most = 0;

	for (size_t i = 0; i < plan->n_phases; i++) {
		const struct phase_cfg *phase = &plan->phases[i];

		for (size_t j = 0; j < i; j++) {
			if (strcmp(phase->name, plan->phases[j].name) == 0)
				refuse_twin(p, all.at[i], phase->name);
		}
		if (i > 0 && phase->weight < phase[-1].weight)
			report_add(p->load->report, DIAG_PHASES_FALL,
			    all.at[i]->at, NULL,
			    "%s: phase \"%s\" goes down from %s to %s percent",
			    node_where(all.at[i], where), phase->name,
			    units_print_percent(
			        phase[-1].weight, before, sizeof(before)),
			    units_print_percent(
			        phase->weight, now, sizeof(now)));
		if (phase->weight > most)
			most = phase->weight;
	}
	if (most == 0 && plan->n_phases == all.n)
		report_add(p->load->report, DIAG_NO_WEIGHT, node_place(list),
		    "give a phase a weight", "%s: no phase has a weight",
		    node_where(list, where));
}

/* `like` that led nowhere is told; so is a bad list. */
static void
refuse_phaseless(struct plan_load *p, const struct node *written)
{
	const struct node *given = node_get(p->map, SPAN("phases"));
	char where[WHERE_MAX];

	if (given ? given->is_bad
	          : p->map == written && node_get(p->map, SPAN("like")))
		return;
	report_add(p->load->report, DIAG_MISSING_KEY, node_place(written),
	    "add phases: [{weight: 5, hold: 30m}, {weight: 50, hold: 30m}]",
	    "\"phases\" is missing in %s", node_where(written, where));
}

static void
load_phases(struct plan_load *p, const struct node *written)
{
	struct entries all = bounded(p, ROW_PHASES, PLAN_PHASES_MAX, "phases");
	struct plan_cfg *plan = p->plan;
	bool is_whole = true;

	plan->phases = mem_new(all.n, sizeof(*plan->phases));
	for (; plan->n_phases < all.n; plan->n_phases++) {
		is_whole &= is_map(all.at[plan->n_phases]);
		load_phase(p, all.at[plan->n_phases], plan->n_phases);
	}
	load_until(p, all);
	if (all.n == 0)
		refuse_phaseless(p, written);
	else if (is_whole)
		check_phases(p, all);
}

/* ---- guards ---- */

enum {
	BOUND_INCREASE = 1 << 0,
	BOUND_TOLERANCE = 1 << 1,
	BOUND_RATE = 1 << 2,
	BOUND_MAX = 1 << 3,
	BOUND_WINDOW = 1 << 4,
	BOUND_WARMUP = 1 << 5,
};

static const struct bound_row {
	unsigned bit;
	enum row_id row;
} bound_rows[] = {
    {BOUND_INCREASE, ROW_GUARD_INCREASE},
    {BOUND_TOLERANCE, ROW_GUARD_TOLERANCE},
    {BOUND_RATE, ROW_GUARD_RATE},
    {BOUND_MAX, ROW_GUARD_MAX},
    {BOUND_WINDOW, ROW_GUARD_WINDOW},
    {BOUND_WARMUP, ROW_GUARD_WARMUP},
};

/* Of `one` exactly one is given (0: none must be), and nothing beside `takes`.
 */
static const struct metric_rule {
	unsigned takes, one;
	const char *hint;
} metric_rules[] = {
    [GUARD_ERRORS] = {BOUND_INCREASE | BOUND_TOLERANCE | BOUND_RATE |
                          BOUND_WINDOW,
        BOUND_INCREASE | BOUND_RATE,
        "errors takes max_increase: 2pp or max_rate: 1%"},
    [GUARD_LATENCY] = {BOUND_INCREASE | BOUND_TOLERANCE | BOUND_WARMUP,
        BOUND_INCREASE, "latency takes max_increase: 20%"},
    [GUARD_SHAPE] = {BOUND_INCREASE | BOUND_TOLERANCE, 0,
        "shape takes nothing, or max_increase"},
    [GUARD_EXCESS_FAILURES] = {BOUND_MAX, BOUND_MAX,
        "excess_failures takes max: 500"},
    [GUARD_SIGNAL] = {BOUND_MAX | BOUND_WINDOW, BOUND_MAX,
        "a signal takes max: 3, and a window"},
};

static void
refuse_guard(struct plan_load *p, const struct node *at, const char *hint,
    const char *what)
{
	char where[WHERE_MAX];

	report_add(p->load->report, DIAG_GUARD, node_place(at), hint, "%s: %s",
	    node_where(at, where), what);
}

/* Which bounds are written, bad ones too; false when they do not fit. */
static bool
bounds_fit(
    struct plan_load *p, const struct node *map, const struct guard_cfg *guard)
{
	const struct metric_rule *rule = &metric_rules[guard->metric];
	const char *metric = guard_metric_name(guard->metric);
	unsigned given = 0;
	char what[160];

	for (size_t i = 0; i < sizeof(bound_rows) / sizeof(bound_rows[0]);
	     i++) {
		struct span key = schema_key(schema_row(bound_rows[i].row));
		const struct node *node = node_get(map, key);

		if (node == NULL)
			continue;
		given |= bound_rows[i].bit;
		if (rule->takes & bound_rows[i].bit)
			continue;
		snprintf(what, sizeof(what), "%s does not go with metric %s",
		    key.ptr, metric);
		refuse_guard(p, node, rule->hint, what);
		return false;
	}
	if (__builtin_popcount(given & rule->one) != (rule->one ? 1 : 0)) {
		snprintf(what, sizeof(what), "metric %s needs %s", metric,
		    given & rule->one ? "one bound, not two" : "a bound");
		refuse_guard(p, map, rule->hint, what);
		return false;
	}
	if (given & BOUND_RATE && given & BOUND_TOLERANCE)
		refuse_guard(p, field(map, ROW_GUARD_RATE), NULL,
		    "a tolerance goes with max_increase only");
	if (given & BOUND_INCREASE && given & BOUND_WINDOW)
		refuse_guard(p, node_get(map, SPAN("window")), NULL,
		    "a window goes with max_rate and max only");
	return true;
}

/* In parts of 10^9, so that it is written and read back to the same value. */
static struct increase
quarter_of(struct increase whole)
{
	int64_t nano = (int64_t)(whole.by * NANO_ALL / 4 + 0.5);

	return (struct increase){whole.kind, (double)nano / NANO_ALL};
}

static void
load_increase(
    struct plan_load *p, const struct node *map, struct guard_cfg *guard)
{
	const struct node *increase = field(map, ROW_GUARD_INCREASE);
	const struct node *tolerance = field(map, ROW_GUARD_TOLERANCE);

	guard->max_increase = field_increase(map, ROW_GUARD_INCREASE);
	guard->tolerance = field_increase(map, ROW_GUARD_TOLERANCE);
	if (increase && guard->max_increase.by == 0)
		refuse_guard(p, increase, NULL, "it must be above 0");
	if (guard->metric == GUARD_LATENCY &&
	    (guard->max_increase.kind == INCREASE_ABSOLUTE ||
	        guard->tolerance.kind == INCREASE_ABSOLUTE))
		refuse_guard(p, increase ? increase : tolerance,
		    "write it as a ratio: \"20%\"",
		    "latency has no percentage points");
	else if (increase && tolerance &&
	         guard->tolerance.kind != guard->max_increase.kind)
		refuse_guard(p, tolerance, NULL,
		    "max_increase and tolerance have different units");
	else if (increase && tolerance &&
	         guard->tolerance.by >= guard->max_increase.by)
		refuse_guard(p, tolerance, "leave it out for a quarter of it",
		    "it is not below max_increase, so nothing would ever be "
		    "decided");
	if (increase && tolerance == NULL)
		guard->tolerance = quarter_of(guard->max_increase);
}

/* An absolute guard sees what both arms share, too: it holds by default. */
static enum guard_action
load_action(const struct node *map)
{
	if (field(map, ROW_GUARD_ACTION) == NULL && field(map, ROW_GUARD_RATE))
		return ACTION_HOLD;
	return (enum guard_action)field_word(map, ROW_GUARD_ACTION);
}

static void
load_guard(struct plan_load *p, const struct node *map, struct guard_cfg *guard)
{
	const struct node *metric = field(map, ROW_GUARD_METRIC);
	int word = metric ? field_word(map, ROW_GUARD_METRIC) : 0;

	guard->metric =
	    word == NODE_ABSENT ? GUARD_SIGNAL : (enum guard_metric)word;
	if (guard->metric == GUARD_SIGNAL)
		guard->signal = mem_text(
		    (struct span){metric->text.ptr + 7, metric->text.len - 7});
	guard->name = field_text(map, ROW_GUARD_NAME);
	if (guard->name == NULL)
		guard->name = mem_text(
		    span_of(guard->signal ? guard->signal
		                          : guard_metric_name(guard->metric)));
	guard->max_rate = field_fraction(map, ROW_GUARD_RATE);
	guard->max = (uint64_t)field_number(map, ROW_GUARD_MAX);
	guard->window = field_duration(map, ROW_GUARD_WINDOW);
	guard->warmup = field_duration(map, ROW_GUARD_WARMUP);
	guard->action = load_action(map);
	if (metric && bounds_fit(p, map, guard))
		load_increase(p, map, guard);
}

static void
load_guards(struct plan_load *p)
{
	struct entries all = bounded(p, ROW_GUARDS, PLAN_GUARDS_MAX, "guards");
	struct plan_cfg *plan = p->plan;

	if (node_get(p->map, SPAN("guards")) == NULL) {
		plan->guards = mem_new(DEFAULT_GUARDS, sizeof(*plan->guards));
		guards_default(plan->guards);
		plan->n_guards = DEFAULT_GUARDS;
		return;
	}
	plan->guards = mem_new(all.n, sizeof(*plan->guards));
	for (size_t i = 0; i < all.n; i++) {
		struct guard_cfg *guard = &plan->guards[plan->n_guards];

		if (!is_map(all.at[i]))
			continue;
		load_guard(p, all.at[i], guard);
		for (size_t j = 0; j < plan->n_guards; j++) {
			if (strcmp(guard->name, plan->guards[j].name) == 0)
				refuse_twin(p, all.at[i], guard->name);
		}
		plan->n_guards++;
	}
}

/* ---- what guards can see ---- */

/* The acting guards by name, when each of them needs a baseline. */
static bool
only_comparing(const struct plan_cfg *plan, char *names, size_t cap)
{
	size_t n = 0;

	names[0] = '\0';
	for (size_t i = 0; i < plan->n_guards; i++) {
		if (plan->guards[i].action == ACTION_OBSERVE)
			continue;
		if (!guard_compares(&plan->guards[i]))
			return false;
		if (n < cap)
			n += (size_t)snprintf(names + n, cap - n, "%s%s",
			    n ? ", " : "", plan->guards[i].name);
	}
	return n > 0;
}

static void
check_sight(struct plan_load *p, const struct node *written)
{
	const struct plan_cfg *plan = p->plan;
	struct entries phases = field_entries(p->map, ROW_PHASES);
	char where[WHERE_MAX], names[128];
	bool acts = false;

	for (size_t i = 0; i < plan->n_guards; i++)
		acts |= plan->guards[i].action != ACTION_OBSERVE;
	if (!acts)
		report_add(p->load->report, DIAG_NO_GUARD, node_place(written),
		    "leave guards out for the usual two",
		    "%s: nothing stops this plan", node_where(written, where));
	if (plan->holdback > 0 || !only_comparing(plan, names, sizeof(names)))
		return;
	for (size_t i = 0; i < plan->n_phases; i++) {
		if (plan->phases[i].weight < BP_ALL)
			continue;
		report_add(p->load->report, DIAG_GUARD_BLIND, phases.at[i]->at,
		    "add holdback: 1% to the plan, or a guard with max_rate",
		    "%s: at weight 100 there is no baseline, so in phase "
		    "\"%s\" no guard can fire (%s)",
		    node_where(written, where), plan->phases[i].name, names);
		return;
	}
}

/* ---- notifications ---- */

static unsigned
load_events(const struct node *map)
{
	struct entries all = field_entries(map, ROW_NOTIFY_EVENTS);
	unsigned events = 0;

	for (size_t i = 0; i < all.n; i++) {
		if (!all.at[i]->is_bad)
			events |= 1u << all.at[i]->word;
	}
	return field(map, ROW_NOTIFY_EVENTS) ? events : NOTIFY_ALL;
}

static void
load_notify(struct plan_load *p)
{
	struct entries all =
	    bounded(p, ROW_NOTIFY, PLAN_HOOKS_MAX, "receivers");
	struct plan_cfg *plan = p->plan;

	plan->notify = mem_new(all.n, sizeof(*plan->notify));
	for (; plan->n_notify < all.n; plan->n_notify++) {
		const struct node *map = all.at[plan->n_notify];

		plan->notify[plan->n_notify] = (struct notify_cfg){
		    .hook = load_hook(p, map,
		        (struct hook_rows){ROW_NOTIFY_URL, ROW_NOTIFY_TIMEOUT,
		            ROW_NOTIFY_RETRIES, ROW_NOTIFY_HMAC}),
		    .events = load_events(map),
		};
	}
}

/* ---- the whole ---- */

static void
load_plan(struct load *load, const struct node *written, struct plan_cfg *plan)
{
	struct plan_load p = {
	    .load = load,
	    .map = load_like(load, load->plans, ROW_PLAN_LIKE, written),
	    .plan = plan,
	};
	const struct node *confidence = field(p.map, ROW_CONFIDENCE);
	const struct node *rollback = field(p.map, ROW_ROLLBACK);

	plan->name = mem_text(written->key);
	if (!is_map(written))
		return;
	plan->keep_warm = field_duration(p.map, ROW_KEEP_WARM);
	plan->holdback = field_percent(p.map, ROW_HOLDBACK);
	plan->false_rollback = field_fraction(confidence, ROW_FALSE_ROLLBACK);
	plan->false_pass = field_fraction(confidence, ROW_FALSE_PASS);
	plan->rollback.mode =
	    (enum rollback_mode)field_word(rollback, ROW_ROLLBACK_MODE);
	plan->rollback.sessions =
	    (enum rollback_sessions)field_word(rollback, ROW_ROLLBACK_SESSIONS);
	plan->rollback.ramp = field_duration(rollback, ROW_ROLLBACK_RAMP);
	plan->on_timeout = (enum plan_timeout)field_word(p.map, ROW_ON_TIMEOUT);
	load_gates(&p);
	load_phases(&p, written);
	load_guards(&p);
	load_notify(&p);
	if (load->report->diags->errors == 0)
		check_sight(&p, written);
}

void
load_plans(struct load *load)
{
	struct config *config = load->config;
	struct entries all = field_entries(load->root, ROW_PLANS);

	if (load->plans == NULL)
		return;
	config->plans = mem_new(all.n, sizeof(*config->plans));
	for (; config->n_plans < all.n; config->n_plans++)
		load_plan(load, all.at[config->n_plans],
		    &config->plans[config->n_plans]);
}
