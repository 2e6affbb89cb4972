/*
 * The parts of a plan that stand for themselves: guards, gates, receivers.
 */
#include <stdio.h>

#include "config/load/load.h"
#include "config/load/plan.h"
#include "config/mem.h"
#include "config/value.h"

void
refuse_part(struct load *load, const struct node *node, const char *hint,
    const char *what)
{
	char where[WHERE_MAX];

	report_add(load->report, DIAG_PLAN, node_place(node), hint, "%s: %s",
	    node_where(node, where), what);
}

/* ---- hooks ---- */

struct hook_rows {
	enum row_id url, timeout, retries, hmac;
};

/* In clear to somewhere else: on the machine itself nobody is on the way. */
static bool
is_open(struct span url)
{
	static const char *const near[] = {
	    "http://127.0.0.1", "http://localhost", "http://[::1]"};

	for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
		size_t len = strlen(near[i]);

		if (span_starts(url, span_of(near[i])) &&
		    (url.len == len || strchr(":/?", url.ptr[len])))
			return false;
	}
	return span_starts(url, SPAN("http://"));
}

static void
load_hook(struct load *load, const struct node *map,
    const struct hook_rows *rows, struct hook_cfg *cfg)
{
	const struct node *url = field(map, rows->url);
	char where[WHERE_MAX];

	cfg->url = field_text(map, rows->url);
	cfg->timeout = field_duration(map, rows->timeout);
	cfg->retries = (unsigned)field_number(map, rows->retries);
	cfg->hmac = load_secret(load, map, rows->hmac);
	if (url && !url->is_bad && is_open(url->text))
		report_add(load->report, DIAG_HOOK_OPEN, url->at,
		    "write https://", "%s: who is on the way can read it",
		    node_where(url, where));
}

void
load_notify(struct load *load, const struct node *map, struct notify_cfg *cfg)
{
	static const struct hook_rows rows = {ROW_NOTIFY_URL,
	    ROW_NOTIFY_TIMEOUT, ROW_NOTIFY_RETRIES, ROW_NOTIFY_HMAC};
	struct entries events = field_entries(map, ROW_NOTIFY_EVENTS);

	load_hook(load, map, &rows, &cfg->hook);
	for (size_t i = 0; i < events.n; i++)
		if (!events.at[i]->is_bad)
			cfg->events |= 1u << events.at[i]->word;
	if (events.n == 0)
		cfg->events = ~0u;
}

/* ---- guards ---- */

static struct increase
load_increase(const struct node *map, enum row_id id)
{
	const struct node *node = field(map, id);
	struct increase out = {INCREASE_NONE, 0};
	bool is_relative;

	if (node && !node->is_bad &&
	    units_increase(node->text, &is_relative, &out.by))
		out.kind = is_relative ? INCREASE_RELATIVE : INCREASE_ABSOLUTE;
	return out;
}

static bool
load_metric(struct load *load, const struct node *map, struct guard_cfg *cfg)
{
	static const char *const words[] = {
	    "errors", "latency", "shape", "excess_failures", "signal:KIND"};
	const struct node *node = field(map, ROW_GUARD_METRIC);
	const char *near;
	char hint[160];

	if (node == NULL || node->is_bad)
		return false;
	for (unsigned i = 0; i < GUARD_SIGNAL; i++) {
		cfg->metric = (enum guard_metric)i;
		if (span_eq(node->text, span_of(words[i])))
			return true;
	}
	cfg->metric = GUARD_SIGNAL;
	if (span_starts(node->text, SPAN("signal:"))) {
		struct span kind = {node->text.ptr + 7, node->text.len - 7};

		cfg->signal = mem_text(kind);
		if (name_is_fine(kind))
			return true;
		refuse_part(load, node, "write \"signal:complaint\"",
		    "the kind of a signal is a name of a-z, 0-9 and '-'");
		return false;
	}
	near = suggest(node->text, words, 5);
	if (near)
		snprintf(hint, sizeof(hint), "did you mean \"%s\"?", near);
	refuse_part(load, node, near ? hint : NULL,
	    "the metric is none of errors, latency, shape, excess_failures, "
	    "signal:KIND");
	return false;
}

/* Settings that a metric has no use for: a guard that means something else
   than it says would be trusted in vain. */
static void
check_use(
    struct load *load, const struct node *map, const struct guard_cfg *cfg)
{
	bool compares = cfg->metric <= GUARD_SHAPE && cfg->max_rate <= 0;
	bool counts = cfg->metric >= GUARD_EXCESS_FAILURES;
	bool is_rate = cfg->metric == GUARD_ERRORS && cfg->max_rate > 0;
	const struct {
		enum row_id row;
		bool is_used;
		const char *text;
	} uses[] = {
	    {ROW_GUARD_INCREASE, compares,
	        "max_increase compares errors, latency or shape, and does not "
	        "go with max_rate"},
	    {ROW_GUARD_TOLERANCE, compares, "tolerance goes with max_increase"},
	    {ROW_GUARD_RATE, cfg->metric == GUARD_ERRORS,
	        "max_rate is for errors only"},
	    {ROW_GUARD_MAX, counts,
	        "max is for excess_failures and signals; errors have "
	        "max_increase or max_rate"},
	    {ROW_GUARD_WINDOW, is_rate || cfg->metric == GUARD_SIGNAL,
	        "window is for max_rate and signals"},
	    {ROW_GUARD_WARMUP, cfg->metric == GUARD_LATENCY,
	        "warmup is for latency"},
	};

	for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
		if (field(map, uses[i].row) && !uses[i].is_used)
			refuse_part(
			    load, field(map, uses[i].row), NULL, uses[i].text);
	if (counts && !node_get(map, SPAN("max")))
		refuse_part(load, map, "add max: N", "\"max\" is missing");
}

/* A quarter of it is the tolerance, which a plan that is kept has to hold: six
   decimals are what is printed and read. */
#define LEAST_INCREASE 0.000001

static void
check_increase(
    struct load *load, const struct node *map, const struct guard_cfg *cfg)
{
	const struct increase *max = &cfg->max_increase, *low = &cfg->tolerance;
	const struct node *given = field(map, ROW_GUARD_INCREASE);
	const struct node *tolerance = field(map, ROW_GUARD_TOLERANCE);

	if (cfg->metric == GUARD_LATENCY && max->kind == INCREASE_ABSOLUTE)
		refuse_part(load, given, "write \"20%\"",
		    "latency is compared by a share of the baseline's");
	if (max->kind != INCREASE_NONE && max->by < LEAST_INCREASE * 0.999)
		refuse_part(load, given, NULL, "nobody sees less than 0.0001");
	if (max->kind == INCREASE_ABSOLUTE && max->by >= 1)
		refuse_part(load, given, NULL, "100pp and more never happen");
	if (tolerance && low->kind != max->kind)
		refuse_part(load, tolerance, NULL,
		    "tolerance and max_increase have the same unit");
	else if (tolerance && low->by >= max->by)
		refuse_part(load, tolerance, NULL,
		    "tolerance is not below max_increase: nothing could be "
		    "decided");
}

static void
fill_increase(struct guard_cfg *cfg)
{
	struct increase *max = &cfg->max_increase;

	if (cfg->metric > GUARD_SHAPE || cfg->max_rate > 0)
		return;
	if (max->kind == INCREASE_NONE && cfg->metric == GUARD_ERRORS)
		*max = (struct increase){INCREASE_ABSOLUTE, 0.02};
	if (max->kind == INCREASE_NONE && cfg->metric == GUARD_LATENCY)
		*max = (struct increase){INCREASE_RELATIVE, 0.2};
	if (max->kind == INCREASE_NONE)
		*max = (struct increase){INCREASE_ABSOLUTE, 0.05};
	if (cfg->tolerance.kind == INCREASE_NONE)
		cfg->tolerance = (struct increase){max->kind, max->by / 4};
}

void
load_guard(struct load *load, const struct node *map, struct guard_cfg *cfg)
{
	bool is_known = load_metric(load, map, cfg);
	int action = field_word(map, ROW_GUARD_ACTION);

	cfg->name = field_text(map, ROW_GUARD_NAME);
	cfg->max_increase = load_increase(map, ROW_GUARD_INCREASE);
	cfg->tolerance = load_increase(map, ROW_GUARD_TOLERANCE);
	cfg->max_rate = field_percent(map, ROW_GUARD_RATE) / (double)BP_ALL;
	cfg->max = (uint64_t)field_number(map, ROW_GUARD_MAX);
	cfg->window = field_duration(map, ROW_GUARD_WINDOW);
	cfg->warmup = field_duration(map, ROW_GUARD_WARMUP);
	cfg->action = action != NODE_ABSENT ? (enum guard_action)action
	              : cfg->max_rate > 0   ? ACTION_HOLD
	                                    : ACTION_ROLLBACK;
	if (cfg->max_rate > 0 && cfg->window == 0)
		cfg->window = 300 * NSEC_PER_SEC;
	if (!is_known)
		return;
	check_use(load, map, cfg);
	fill_increase(cfg);
	check_increase(load, map, cfg);
}

/* ---- gates ---- */

/* "mon-thu", "mon,wed,fri-sun": bit 0 is Monday. */
static bool
days_parse(struct span text, unsigned *out)
{
	static const char names[] = "mon tue wed thu fri sat sun";
	int from = -1;

	for (*out = 0; text.len >= 3;) {
		char word[4] = {text.ptr[0], text.ptr[1], text.ptr[2]};
		const char *at = strstr(names, word);
		int day = at ? (int)(at - names) / 4 : -1;
		char next = text.len > 3 ? text.ptr[3] : '\0';

		if (day < 0 || (at - names) % 4 != 0 ||
		    (next != '\0' && next != ',' && next != '-') ||
		    (next == '-' && from >= 0))
			return false;
		for (int i = from >= 0 ? from : day;; i = (i + 1) % 7) {
			*out |= 1u << i;
			if (i == day)
				break;
		}
		from = next == '-' ? day : -1;
		if (next == '\0')
			return true;
		text = (struct span){text.ptr + 4, text.len - 4};
	}
	return false;
}

/* "09:00" as minutes; "24:00" is the end of the day. */
static bool
clock_parse(struct span text, unsigned *out)
{
	const char *p = text.ptr;

	for (size_t i = 0; i < 5; i++)
		if (text.len != 5 ||
		    (i == 2 ? p[i] != ':' : p[i] < '0' || p[i] > '9'))
			return false;
	*out = (unsigned)((p[0] - '0') * 10 + p[1] - '0') * 60 +
	       (unsigned)((p[3] - '0') * 10 + p[4] - '0');
	return p[3] < '6' && *out <= 24 * 60;
}

static bool
hours_parse(struct span text, unsigned *from, unsigned *to)
{
	return text.len == 11 && text.ptr[5] == '-' &&
	       clock_parse((struct span){text.ptr, 5}, from) &&
	       clock_parse((struct span){text.ptr + 6, 5}, to) && *from != *to;
}

/* Names of the tz database are paths below its folder; without the database
   only UTC is known to be right. */
static bool
zone_exists(const char *zone)
{
	char path[160];
	FILE *file;

	if (strcmp(zone, "UTC") == 0)
		return true;
	if (zone[0] == '/' || strstr(zone, ".."))
		return false;
	snprintf(path, sizeof(path), "/usr/share/zoneinfo/%s", zone);
	file = fopen(path, "re");
	if (file) {
		char magic[4] = "";
		size_t n = fread(magic, 1, 4, file);

		fclose(file);
		return n == 4 && memcmp(magic, "TZif", 4) == 0;
	}
	return false;
}

static void
load_window(struct load *load, const struct node *map, struct gate_cfg *cfg)
{
	char *days = field_text(map, ROW_GATE_DAYS);
	char *hours = field_text(map, ROW_GATE_HOURS);

	cfg->window.zone = field_text(map, ROW_GATE_ZONE);
	if (!days_parse(span_of(days), &cfg->window.days))
		refuse_part(load, field(map, ROW_GATE_DAYS),
		    "write \"mon-thu\" or \"mon,wed,fri\"",
		    "these are no days of the week");
	if (!hours_parse(span_of(hours), &cfg->window.from, &cfg->window.to))
		refuse_part(load, field(map, ROW_GATE_HOURS),
		    "write \"09:00-16:00\"", "this is no time of the day");
	if (!load->is_trusted && !zone_exists(cfg->window.zone))
		refuse_part(load, field(map, ROW_GATE_ZONE),
		    "write \"Europe/Paris\" or UTC; zones come with the "
		    "package tzdata",
		    "there is no such time zone here");
	free(days);
	free(hours);
}

static void
load_approval(const struct node *map, struct gate_cfg *cfg)
{
	cfg->approval.role =
	    field_word(map, ROW_GATE_ROLE) == 1 ? ROLE_ADMIN : ROLE_APPROVER;
	cfg->approval.count = (unsigned)field_number(map, ROW_GATE_COUNT);
	cfg->approval.not_requester = field_bool(map, ROW_GATE_NOT_REQUESTER);
	cfg->approval.ttl = field_duration(map, ROW_GATE_TTL);
}

void
load_gate(struct load *load, const struct node *map, struct gate_cfg *cfg)
{
	static const struct hook_rows rows = {
	    ROW_GATE_URL, ROW_GATE_TIMEOUT, ROW_GATE_RETRIES, ROW_GATE_HMAC};
	const struct node *webhook = field(map, ROW_GATE_WEBHOOK);
	const struct node *approval = field(map, ROW_GATE_APPROVAL);
	const struct node *window = field(map, ROW_GATE_WINDOW);

	cfg->name = mem_text(map->key);
	if (map->n == 1 && map->child[0]->is_bad)
		return;
	if ((webhook != NULL) + (approval != NULL) + (window != NULL) != 1) {
		refuse_part(load, map,
		    "for several conditions give the phase several gates",
		    "a gate is exactly one of webhook, approval and window");
		return;
	}
	cfg->kind = webhook    ? GATE_WEBHOOK
	            : approval ? GATE_APPROVAL
	                       : GATE_WINDOW;
	if (webhook)
		load_hook(load, webhook, &rows, &cfg->webhook);
	if (approval)
		load_approval(approval, cfg);
	if (window)
		load_window(load, window, cfg);
}
