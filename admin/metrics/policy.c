/*
 * Families about what routes refuse. Keys of limits come from requests and
 * are never labels.
 */
#include "admin/metrics/metrics.h"

static void
put_decisions(void *ctx, const char *route,
    const uint64_t decisions[LIMIT_DECISION_COUNT], uint64_t evictions)
{
	(void)evictions;
	for (int i = 0; i < LIMIT_DECISION_COUNT; i++)
		family_count(ctx,
		    (struct label[]){{"route", route},
		        {"decision",
		            limit_decision_name((enum limit_decision)i)},
		        {0}},
		    decisions[i]);
}

static void
put_evictions(void *ctx, const char *route,
    const uint64_t decisions[LIMIT_DECISION_COUNT], uint64_t evictions)
{
	(void)decisions;
	family_count(ctx, (struct label[]){{"route", route}, {0}}, evictions);
}

static void
put_country(void *ctx, const char *route, const char *country, uint64_t n)
{
	family_count(ctx,
	    (struct label[]){{"route", route}, {"country", country}, {0}}, n);
}

static void
put_denial(void *ctx, const char *route, enum access_denial denial, uint64_t n)
{
	family_count(ctx,
	    (struct label[]){
	        {"route", route}, {"rule", access_denial_name(denial)}, {0}},
	    n);
}

static void
about_redis(struct exposition *x, const struct process_facts *facts)
{
	family_begin(x, FAMILY_GAUGE, "weir_redis_up",
	    "1 when the Redis server answers.");
	family_value(x, NULL, facts->redis_is_up);
	family_begin(x, FAMILY_COUNTER, "weir_redis_failures",
	    "Connections to the Redis server that failed.");
	family_count(x, NULL, facts->redis_failures);
	family_begin(x, FAMILY_GAUGE, "weir_rate_limit_instances",
	    "Instances that share rate limits; 0 while Redis is away.");
	family_value(x, NULL, facts->limit_instances);
	family_begin(x, FAMILY_COUNTER, "weir_rate_limit_syncs",
	    "Keys of shared limits that were agreed on with the others.");
	family_count(x, NULL, facts->limits_synced);
	family_begin(x, FAMILY_COUNTER, "weir_rate_limit_sync_lost",
	    "Requests that the others were not told of: too many at once.");
	family_count(x, NULL, facts->limits_lost);
}

void
metrics_policy(struct exposition *x, const struct admin *admin,
    const struct process_facts *facts)
{
	if (facts->has_redis)
		about_redis(x, facts);
	family_begin(x, FAMILY_COUNTER, "weir_rate_limit_decisions",
	    "Requests that a rate limit judged, by what it decided.");
	registry_each_limit(admin->registry, put_decisions, x);
	family_begin(x, FAMILY_COUNTER, "weir_rate_limit_evictions",
	    "Keys forgotten before their debt was paid: more keys than room.");
	registry_each_limit(admin->registry, put_evictions, x);
	family_begin(x, FAMILY_GAUGE, "weir_rate_limit_keys",
	    "Keys that owe something, counted once a minute.");
	family_value(x, NULL, (double)registry_limit_keys(admin->registry));
	family_begin(x, FAMILY_COUNTER, "weir_access_denied",
	    "Requests that a route's access rules refused.");
	registry_each_denial(admin->registry, put_denial, x);
	family_begin(x, FAMILY_COUNTER, "weir_geo_requests",
	    "Requests whose place was looked up, by country.");
	registry_each_country(admin->registry, put_country, x);
}
