/*
 * What a route refuses before it looks for an upstream: clients that may
 * not use it, and too many requests.
 */
#include <stdio.h>

#include "config/load/load.h"
#include "config/mem.h"

enum { BURST_MAX = 1000000, DAYS_MAX = 3 }; /* see routing/limit/limit.h */

/* ---- rate limits ---- */

static unsigned
key_kind(const struct node *map, enum row_id id)
{
	static const struct {
		const char *word;
		unsigned by;
	} kinds[] = {
	    {"client_ip", KEY_CLIENT_IP},
	    {"header", KEY_HEADER},
	    {"cookie", KEY_COOKIE},
	    {"country", KEY_COUNTRY},
	    {"token", KEY_TOKEN},
	    {"route", KEY_REQUEST},
	};
	char *word = field_text(map, id);
	unsigned by = KEY_CLIENT_IP;

	for (size_t i = 0; word && i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strcmp(word, kinds[i].word) == 0)
			by = kinds[i].by;
	free(word);
	return by;
}

static void
load_limit_key(struct load *load, const struct node *map, struct limit_cfg *cfg)
{
	const struct node *key = field(map, ROW_RATE_KEY);
	bool is_map = key && key->kind == NODE_MAP;

	cfg->key.by = is_map ? key_kind(key, ROW_RATE_KEY_BY)
	                     : key_kind(map, ROW_RATE_KEY);
	cfg->v6_prefix =
	    (uint8_t)field_number(is_map ? key : NULL, ROW_RATE_KEY_PREFIX);
	if (cfg->key.by == KEY_COUNTRY)
		load_need_geo(load, key);
	if (is_map)
		load_key(
		    load, key, ROW_RATE_KEY_BY, ROW_RATE_KEY_NAME, &cfg->key);
}

/* What the rate gives in a second, at least one. */
static uint32_t
usual_burst(struct rate rate)
{
	double in_a_second =
	    (double)rate.count * NSEC_PER_SEC / (double)rate.per;

	return in_a_second < 1           ? 1
	       : in_a_second > BURST_MAX ? BURST_MAX
	                                 : (uint32_t)in_a_second;
}

static void
check_rate(struct load *load, const struct node *map, const struct node *rate,
    const struct limit_cfg *cfg)
{
	double interval = (double)cfg->rate.per / (double)cfg->rate.count;
	char where[WHERE_MAX];

	if (interval < 1000)
		report_add(load->report, DIAG_RATE, rate->at, NULL,
		    "%s: above 1000000/s", node_where(rate, where));
	else if (cfg->burst * interval > 86400.0 * DAYS_MAX * NSEC_PER_SEC)
		report_add(load->report, DIAG_RATE, rate->at,
		    "make burst smaller or the rate higher",
		    "%s: a burst of %u takes more than %d days to come back",
		    node_where(map, where), cfg->burst, DAYS_MAX);
}

static void
load_scope(struct load *load, const struct node *map, struct limit_cfg *cfg)
{
	const struct node *scope = field(map, ROW_RATE_SCOPE);
	const struct node *failure = field(map, ROW_RATE_ON_FAILURE);
	char where[WHERE_MAX];

	cfg->is_global = field_word(map, ROW_RATE_SCOPE) == 1;
	cfg->on_failure =
	    failure ? (enum on_failure)field_word(map, ROW_RATE_ON_FAILURE)
	            : load->config->redis.on_failure;
	if (cfg->is_global && field(load->root, ROW_REDIS) == NULL)
		report_add(load->report, DIAG_CONFLICT, scope->at,
		    "add redis: {url: \"redis://HOST\"}",
		    "%s: a global limit needs redis", node_where(map, where));
	if (!cfg->is_global && failure)
		report_add(load->report, DIAG_CONFLICT, failure->key_at,
		    "write scope: global, or take on_failure away",
		    "%s: on_failure is for global limits",
		    node_where(map, where));
}

static void
load_limit(struct load *load, const struct node *map, struct limit_cfg *cfg)
{
	const struct node *rate = field(map, ROW_RATE_RATE);

	if (map == NULL)
		return;
	cfg->is_on = true;
	cfg->rate = (struct rate){1, NSEC_PER_SEC};
	load_limit_key(load, map, cfg);
	if (rate)
		units_rate(rate->text, &cfg->rate);
	cfg->burst = field(map, ROW_RATE_BURST)
	                 ? (uint32_t)field_number(map, ROW_RATE_BURST)
	                 : usual_burst(cfg->rate);
	cfg->is_dry_run = field_bool(map, ROW_RATE_DRY_RUN);
	if (rate)
		check_rate(load, map, rate, cfg);
	load_scope(load, map, cfg);
}

/* ---- access ---- */

static void
load_access(
    struct load *load, const struct node *map, struct route_access_cfg *cfg)
{
	char where[WHERE_MAX];

	if (map == NULL)
		return;
	cfg->is_on = true;
	load_ranges(
	    load, map, ROW_ACCESS_ALLOW, ROW_ACCESS_ALLOW_FILE, &cfg->allow);
	load_ranges(
	    load, map, ROW_ACCESS_DENY, ROW_ACCESS_DENY_FILE, &cfg->deny);
	load_geo_match(
	    load, field(map, ROW_ACCESS_GEO), ROW_ACCESS_GEO, &cfg->geo);
	if (map->n == 0)
		report_add(load->report, DIAG_MISSING_KEY, node_place(map),
		    "give allow, deny or geo", "%s: it refuses nobody",
		    node_where(map, where));
}

void
load_policy(struct load *load, const struct node *map, struct route_cfg *cfg)
{
	load_access(load, field(map, ROW_ACCESS_LIST), &cfg->access);
	load_limit(load, field(map, ROW_RATE_LIMIT), &cfg->limit);
}
