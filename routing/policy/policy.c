/*
 * The judgement between route and pool: may this request go on at all. See
 * policy.h.
 */
#include "routing/policy/policy.h"

#include <netinet/in.h>
#include <stdio.h>

#include "routing/limit/shared.h"
#include "routing/memory.h"
#include "routing/policy/geo.h"

/* ---- keys ---- */

size_t
policy_client_key(
    const struct sockaddr *client, unsigned v6_prefix, uint8_t out[16])
{
	static const uint8_t mapped[12] = {
	    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	const uint8_t *bytes;
	size_t whole = v6_prefix / 8;

	if (client == NULL)
		return 0;
	if (client->sa_family == AF_INET) {
		memcpy(out, &((const struct sockaddr_in *)client)->sin_addr, 4);
		return 4;
	}
	if (client->sa_family != AF_INET6)
		return 0;
	bytes = ((const struct sockaddr_in6 *)client)->sin6_addr.s6_addr;
	if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
		memcpy(out, bytes + 12, 4);
		return 4;
	}
	memset(out, 0, 16);
	memcpy(out, bytes, whole);
	if (v6_prefix % 8 > 0)
		out[whole] = bytes[whole] & (uint8_t)(0xff00u >> v6_prefix % 8);
	return 16;
}

struct span
policy_token(struct span authorization)
{
	static const struct span scheme = {"bearer ", 7};
	struct span text = authorization;

	if (text.len <= scheme.len ||
	    !span_ieq((struct span){text.ptr, scheme.len}, scheme))
		return text;
	text.ptr += scheme.len;
	text.len -= scheme.len;
	while (text.len > 0 && text.ptr[0] == ' ') {
		text.ptr++;
		text.len--;
	}
	return text;
}

uint64_t
policy_hash(const struct policy *policy, enum key_kind kind, const void *bytes,
    size_t len)
{
	uint8_t key[16];

	memcpy(key, policy->key, sizeof(key));
	key[0] ^= (uint8_t)kind;
	return hash_keyed(key, bytes, len);
}

/* The bytes that are counted by; `room` holds those of an address. */
static struct span
key_of(const struct policy *policy, const struct route_query *query,
    uint8_t room[16], enum key_kind *kind_out)
{
	const struct limit_cfg *cfg = &policy->cfg->limit;
	struct span name = span_of(cfg->key.name), found = {NULL, 0};
	bool has = false;

	*kind_out = KEY_ASKED;
	switch (cfg->key.by) {
	case KEY_REQUEST:
		return (struct span){"", 0};
	case KEY_COOKIE:
		has = query->cookie && query->cookie(query->ctx, name, &found);
		break;
	case KEY_HEADER:
		has = query->header && query->header(query->ctx, name, &found);
		break;
	case KEY_TOKEN:
		has = query->header &&
		      query->header(query->ctx, SPAN("authorization"), &found);
		found = policy_token(found);
		break;
	case KEY_COUNTRY:
		country_print(geo_lookup(query->geo, query->client)->country,
		    (char *)room);
		found = span_of((char *)room);
		has = true;
		break;
	case KEY_CLIENT_IP:
		break;
	}
	if (has && found.len > 0)
		return found;
	if (cfg->key.by != KEY_CLIENT_IP)
		*kind_out = KEY_FALLBACK;
	return (struct span){(const char *)room,
	    policy_client_key(query->client, cfg->v6_prefix, room)};
}

/* ---- the judgement ---- */

static bool
access_refuses(const struct policy *policy, unsigned worker,
    const struct route_query *query, struct decision *out)
{
	const struct geo_cfg_match *geo = &policy->cfg->access.geo;
	enum access_denial denial;

	if (policy->deny != NULL && cidr_set_holds(policy->deny, query->client))
		denial = DENIED_BY_LIST;
	else if (policy->allow != NULL &&
	         !cidr_set_holds(policy->allow, query->client))
		denial = DENIED_NOT_ALLOWED;
	else if (geo->is_on &&
	         !geo_matches(geo, geo_lookup(query->geo, query->client)))
		denial = DENIED_PLACE;
	else
		return false;
	counter_add(&policy->tally->cells[worker].denials[denial], 1);
	out->refusal = REFUSED_ACCESS;
	if (denial == DENIED_PLACE)
		out->why = WHY_GEO;
	return true;
}

static enum limit_decision
limit_decide(const struct policy *policy, unsigned worker,
    const struct route_query *query, struct decision *out, uint32_t instances)
{
	struct policy_cell *cell = &policy->tally->cells[worker];
	struct limit_rule rule = policy->rule;
	enum limit_verdict verdict;
	uint8_t room[16];
	enum key_kind kind;
	struct span key = key_of(policy, query, room, &kind);
	uint64_t hash = policy_hash(policy, kind, key.ptr, key.len);

	rule.share = instances > 0 ? instances : 1;
	verdict = limit_table_take(
	    policy->table, hash, &rule, limit_ticks(query->now), &out->limit);
	out->limit.limit = policy->cfg->limit.burst;
	out->is_over_limit = verdict == LIMIT_REFUSED;
	if (out->is_over_limit && instances > 0)
		sharing_ask(policy->sharing, worker, policy->number, hash);
	if (out->is_over_limit && policy->cfg->limit.is_dry_run)
		return LIMIT_DRY_RUN;
	if (out->is_over_limit) {
		/* What others are to hear of is asked about each time. */
		out->limit_key = policy->sharing == NULL ? hash : 0;
		return LIMIT_LIMITED;
	}
	if (verdict == LIMIT_PASSED_EVICTING)
		counter_add(&cell->evictions, 1);
	if (instances > 0)
		sharing_spend(policy->sharing, worker, policy->number, hash);
	return LIMIT_ALLOWED;
}

static bool
limit_refuses(const struct policy *policy, unsigned worker,
    const struct route_query *query, struct decision *out)
{
	enum on_failure on_failure = policy->cfg->limit.on_failure;
	enum limit_decision decision;
	uint32_t instances = 0;

	if (policy->sharing != NULL)
		instances = atomic_load_explicit(
		    &policy->sharing->instances, memory_order_relaxed);
	if (policy->sharing == NULL || instances > 0 ||
	    on_failure == ON_FAILURE_LOCAL)
		decision = limit_decide(policy, worker, query, out, instances);
	else if (on_failure == ON_FAILURE_OPEN || policy->cfg->limit.is_dry_run)
		decision = LIMIT_OPEN;
	else
		decision = LIMIT_CLOSED;
	counter_add(&policy->tally->cells[worker].decisions[decision], 1);
	if (decision == LIMIT_LIMITED)
		out->refusal = REFUSED_RATE;
	else if (decision == LIMIT_CLOSED)
		out->refusal = REFUSED_UNKNOWN;
	return out->refusal != REFUSED_NOT;
}

bool
routing_refuses_still(unsigned worker, nsec_t now, struct decision *decision)
{
	const struct policy *policy = decision->route->policy;
	tick_t debt;

	debt = limit_table_debt(
	    policy->table, decision->limit_key, limit_ticks(now));
	if (limit_take(&policy->rule, debt, &debt, &decision->limit))
		return false;
	decision->limit.limit = policy->cfg->limit.burst;
	counter_add(&policy->tally->cells[worker].decisions[LIMIT_LIMITED], 1);
	return true;
}

bool
policy_asks_place(const struct route_cfg *cfg)
{
	return cfg->match.geo.is_on || cfg->access.geo.is_on ||
	       (cfg->limit.is_on && cfg->limit.key.by == KEY_COUNTRY);
}

/* Apart, so that the usual route does not pay for its registers. */
__attribute__((noinline)) bool
policy_refuses(const struct policy *policy, unsigned worker,
    const struct route_query *query, struct decision *out)
{
	return access_refuses(policy, worker, query, out) ||
	       (policy->table != NULL &&
	           limit_refuses(policy, worker, query, out));
}

/* ---- life ---- */

/* Two halves of 64 bits from all that tells one limit from another. */
static void
limit_identity(const struct registry *registry, const struct route_cfg *cfg,
    uint8_t out[16])
{
	const struct limit_cfg *limit = &cfg->limit;
	uint8_t secret[16];
	char text[512];
	int n = snprintf(text, sizeof(text), "%s %d %.255s %u %llu %lld %u",
	    cfg->name, (int)limit->key.by,
	    limit->key.name ? limit->key.name : "", limit->v6_prefix,
	    (unsigned long long)limit->rate.count, (long long)limit->rate.per,
	    limit->burst);

	memcpy(secret,
	    limit->is_global ? registry->shared_secret : registry->secret,
	    sizeof(secret));
	for (size_t i = 0; i < 2; i++) {
		uint64_t half;

		secret[0] ^= 1;
		half = hash_keyed(secret, text, (size_t)n);
		memcpy(out + 8 * i, &half, sizeof(half));
		secret[1] ^= 1;
	}
}

static bool
limit_bind(struct registry *registry, const struct route_cfg *cfg,
    struct policy *policy, struct err *err)
{
	if (!cfg->limit.is_on)
		return true;
	if (registry->limit_table == NULL)
		registry->limit_table = limit_table_new();
	if (registry->limit_table == NULL)
		return err_set(err, "rate_limit: no room to reserve 128 MiB "
		                    "of addresses for its keys");
	policy->table = registry->limit_table;
	policy->rule = limit_rule_of(&cfg->limit);
	limit_identity(registry, cfg, policy->key);
	if (cfg->limit.is_global) {
		policy->sharing = registry->sharing;
		policy->number =
		    sharing_number(registry->sharing, &registry->shared_limits,
		        policy->key, &policy->rule);
	}
	return true;
}

bool
policy_new(struct registry *registry, const struct route_cfg *cfg,
    struct policy **policy_out, struct err *err)
{
	struct policy *policy;

	*policy_out = NULL;
	if (!cfg->limit.is_on && !cfg->access.is_on)
		return true;
	policy = memory_take(1, sizeof(*policy));
	policy->cfg = cfg;
	policy->tally = registry_tally(registry, cfg->name);
	if (cfg->access.allow.is_given)
		policy->allow = cidr_set_new(&cfg->access.allow.all);
	if (cfg->access.deny.is_given)
		policy->deny = cidr_set_new(&cfg->access.deny.all);
	*policy_out = policy;
	return limit_bind(registry, cfg, policy, err);
}

void
policy_free(struct policy **policy)
{
	struct policy *dead = *policy;

	*policy = NULL;
	if (dead == NULL)
		return;
	dead->tally->refs--;
	cidr_set_free(&dead->allow);
	cidr_set_free(&dead->deny);
	free(dead);
}
