/*
 * Rate limits as control sees them: what a key owes, forgetting it, and the
 * sums of the counters.
 */
#include <netinet/in.h>

#include "routing/limit/shared.h"
#include "routing/memory.h"
#include "routing/policy/policy.h"

/* ---- which limit, which key ---- */

static const struct policy *
policy_of(struct registry *registry, const char *route, bool *is_route_out,
    struct err *err)
{
	const struct snapshot *snapshot =
	    publication_current(&registry->publication);

	*is_route_out = false;
	for (size_t i = 0; snapshot && i < snapshot->config->n_routes; i++) {
		const struct route_view *view = &snapshot->routes[i];

		if (strcmp(view->cfg->name, route) != 0)
			continue;
		*is_route_out = true;
		if (view->policy != NULL && view->policy->table != NULL)
			return view->policy;
	}
	if (*is_route_out)
		err_set(err, "route '%s' has no rate_limit", route);
	else
		err_set(err, "there is no route '%s'", route);
	return NULL;
}

static bool
address_key(const struct policy *policy, const char *text, uint8_t room[16],
    size_t *len_out)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6};
	struct cidr one;

	if (!cidr_parse(span_of(text), &one) || one.bits != 128)
		return false;
	memcpy(&sa.sin6_addr, one.bytes, 16);
	*len_out = policy_client_key(
	    (struct sockaddr *)&sa, policy->cfg->limit.v6_prefix, room);
	return true;
}

static bool
hash_of(const struct policy *policy, const char *text, uint64_t *out,
    struct err *err)
{
	struct span key = span_of(text);
	uint8_t room[16];
	size_t len;

	switch (policy->cfg->limit.key.by) {
	case KEY_CLIENT_IP:
		if (!address_key(policy, text, room, &len))
			return err_set(err,
			    "\"%.100s\" is not an address, and this limit "
			    "counts by address",
			    text);
		key = (struct span){(const char *)room, len};
		break;
	case KEY_TOKEN:
		key = policy_token(key);
		break;
	case KEY_COUNTRY:
		country_print(country_of(key), (char *)room);
		if (room[0] == '\0')
			return err_set(err,
			    "\"%.100s\" is not a country, and this limit "
			    "counts by country",
			    text);
		key = (struct span){(const char *)room, 2};
		break;
	case KEY_REQUEST:
		key = (struct span){"", 0};
		break;
	default:
		break;
	}
	*out = policy_hash(policy, KEY_ASKED, key.ptr, key.len);
	return true;
}

/* ---- asking ---- */

static void
cells_read(const struct tally *tally, unsigned workers,
    uint64_t decisions[LIMIT_DECISION_COUNT], uint64_t *evictions)
{
	memset(decisions, 0, LIMIT_DECISION_COUNT * sizeof(*decisions));
	*evictions = 0;
	for (unsigned i = 0; i < workers; i++) {
		for (int j = 0; j < LIMIT_DECISION_COUNT; j++)
			decisions[j] +=
			    counter_read(&tally->cells[i].decisions[j]);
		*evictions += counter_read(&tally->cells[i].evictions);
	}
}

static void
report_key(const struct policy *policy, uint64_t hash, nsec_t now,
    struct limit_report *out)
{
	tick_t debt = limit_table_debt(policy->table, hash, limit_ticks(now));
	const struct limit_rule *rule = &policy->rule;
	struct limit_answer *answer = &out->answer;

	answer->limit = policy->cfg->limit.burst;
	answer->left = debt < rule->burst
	                   ? (uint32_t)((rule->burst - debt) / rule->interval)
	                   : 0;
	answer->restored_in = limit_nsec(debt);
	answer->free_in = answer->left > 0
	                      ? 0
	                      : limit_nsec(debt + rule->interval - rule->burst);
	out->was_known = debt > 0;
}

static bool
look(struct registry *registry, const char *route, const char *key, nsec_t now,
    bool forget, struct limit_report *out, bool *is_route_out, struct err *err)
{
	const struct policy *policy =
	    policy_of(registry, route, is_route_out, err);
	uint64_t hash = 0;

	if (policy == NULL)
		return false;
	*out = (struct limit_report){.cfg = &policy->cfg->limit};
	cells_read(
	    policy->tally, registry->workers, out->decisions, &out->evictions);
	if (key[0] == '\0' && policy->cfg->limit.key.by != KEY_REQUEST)
		return true;
	if (!hash_of(policy, key, &hash, err))
		return false;
	report_key(policy, hash, now, out);
	if (!forget)
		return true;
	limit_table_set(policy->table, hash, limit_ticks(now), 0);
	if (policy->sharing != NULL)
		sharing_forgive(policy->sharing, policy->number, hash);
	return true;
}

bool
limit_report(struct registry *registry, const char *route, const char *key,
    nsec_t now, struct limit_report *out, bool *is_route_out, struct err *err)
{
	return look(registry, route, key, now, false, out, is_route_out, err);
}

bool
limit_forget(struct registry *registry, const char *route, const char *key,
    nsec_t now, struct limit_report *out, bool *is_route_out, struct err *err)
{
	return look(registry, route, key, now, true, out, is_route_out, err);
}

/* Of the current snapshot: one that was built and refused says nothing about
   what is in force. */
void
registry_each_limit(struct registry *registry, limit_fn *fn, void *ctx)
{
	const struct snapshot *snapshot =
	    publication_current(&registry->publication);

	for (size_t i = 0; snapshot && i < snapshot->config->n_routes; i++) {
		const struct policy *policy = snapshot->routes[i].policy;
		uint64_t decisions[LIMIT_DECISION_COUNT], evictions;

		if (policy == NULL || policy->table == NULL)
			continue;
		cells_read(
		    policy->tally, registry->workers, decisions, &evictions);
		fn(ctx, policy->tally->route, decisions, evictions);
	}
}

static uint64_t
denials_read(
    const struct tally *tally, unsigned workers, enum access_denial denial)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < workers; i++)
		n += counter_read(&tally->cells[i].denials[denial]);
	return n;
}

void
registry_each_denial(struct registry *registry, denial_fn *fn, void *ctx)
{
	const struct snapshot *snapshot =
	    publication_current(&registry->publication);

	for (size_t i = 0; snapshot && i < snapshot->config->n_routes; i++) {
		const struct policy *policy = snapshot->routes[i].policy;

		if (policy == NULL || !policy->cfg->access.is_on)
			continue;
		for (int j = 0; j < ACCESS_DENIAL_COUNT; j++)
			fn(ctx, policy->tally->route, (enum access_denial)j,
			    denials_read(policy->tally, registry->workers,
			        (enum access_denial)j));
	}
}

size_t
registry_limit_keys(const struct registry *registry)
{
	return registry->limit_table ? limit_table_keys(registry->limit_table)
	                             : 0;
}

void
registry_beat(struct registry *registry, nsec_t now)
{
	if (registry->limit_table != NULL)
		limit_table_sweep(registry->limit_table, limit_ticks(now));
}
