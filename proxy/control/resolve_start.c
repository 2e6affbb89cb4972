/*
 * Names before a snapshot is built: at a start and at a reload all of them are
 * asked for at once, within a bound.
 */
#include <ares.h>
#include <stdio.h>
#include <string.h>

#include "admin/log.h"
#include "proxy/control/resolve_parts.h"

static void
want(struct resolver *resolver, enum dns_kind kind, const char *name,
    const char *file, unsigned line)
{
	struct answer *answer = answer_find_or_make(resolver, kind, name);

	if (!answer)
		return;
	answer->where[0] = '\0';
	if (line > 0)
		snprintf(
		    answer->where, sizeof(answer->where), "%s:%u", file, line);
	answer->is_wanted = true;
}

static void
on_bound(int fd, short what, void *arg)
{
	bool *is_over = arg;

	(void)fd;
	(void)what;
	*is_over = true;
}

static bool
is_looked_up(const struct answer *answer)
{
	return answer->is_wanted || answer->is_target;
}

/* True: something is still asked, or could not be yet. */
static bool
ask_wanted(struct resolver *resolver, struct event_base *base)
{
	struct answer *answer;
	bool is_any = false;

	if (resolver->is_stale)
		services_settle(resolver);
	LIST_FOREACH(answer, &resolver->answers, link)
	{
		if (!is_looked_up(answer))
			continue;
		if (!answer->question && answer->asked_at == 0 &&
		    resolver->n_lookups < LOOKUPS_MAX)
			answer_ask(answer, base);
		is_any |= answer->question || answer->asked_at == 0;
	}
	return is_any;
}

static void
give_up_all(struct resolver *resolver)
{
	struct answer *answer;

	LIST_FOREACH(answer, &resolver->answers, link)
	if (is_looked_up(answer) && answer->question)
		dns_give_up(&answer->question);
}

/* On a loop of its own: nothing else of the control thread runs meanwhile. */
static void
look_up(struct resolver *resolver)
{
	struct event_base *base = event_base_new();
	struct timeval most = {
	    RESOLVE_WAIT_MS / 1000, RESOLVE_WAIT_MS % 1000 * 1000};
	struct event *bound;
	struct answer *answer;
	bool is_over = false;

	if (!base)
		return;
	bound = evtimer_new(base, on_bound, &is_over);
	give_up_all(resolver);
	LIST_FOREACH(answer, &resolver->answers, link)
	if (is_looked_up(answer))
		answer->asked_at = 0;
	if (bound && evtimer_add(bound, &most) == 0)
		while (ask_wanted(resolver, base) && !is_over)
			event_base_loop(base, EVLOOP_ONCE);
	give_up_all(resolver);
	services_settle(resolver);
	if (bound)
		event_free(bound);
	event_base_free(base);
}

/* What a reload finds as it was has been told before. */
static void
tell_turns(struct resolver *resolver)
{
	struct answer *answer;

	LIST_FOREACH(answer, &resolver->answers, link)
	if (is_looked_up(answer))
		answer_tell_turn(answer);
}

static void
set_options(struct resolver *resolver, const struct dns_cfg *cfg)
{
	struct dns_settings *settings = &resolver->settings;
	size_t len = 0, cap = sizeof(settings->servers);

	settings->timeout = cfg->timeout;
	resolver->min_ttl = cfg->min_ttl;
	resolver->max_ttl = cfg->max_ttl;
	settings->servers[0] = '\0';
	for (size_t i = 0; i < cfg->n_servers && len < cap - 64; i++)
		len += (size_t)snprintf(settings->servers + len, cap - len,
		    "%s%s", i ? "," : "", cfg->servers[i].text);
}

static void
want_endpoint(struct resolver *resolver, const struct address *address,
    const char *file, unsigned line)
{
	if (address->service)
		want(resolver, DNS_SERVICE, address->service, file, line);
	else
		want(resolver, DNS_ADDRESSES, address->host, file, line);
}

/* True: there are names at all. */
static bool
want_all(struct resolver *resolver, const struct registry *registry,
    const struct config *config)
{
	struct answer *answer;
	bool has_names = false;

	LIST_FOREACH(answer, &resolver->answers, link)
	answer->is_wanted = false;
	if (config->redis.is_on && config->redis.address.kind == ADDRESS_NAME) {
		want_endpoint(
		    resolver, &config->redis.address, config->path, 0);
		has_names = true;
	}
	for (size_t i = 0; i < config->n_pools; i++) {
		size_t n;
		const struct endpoint_cfg *at =
		    registry_endpoints(registry, &config->pools[i], &n);

		for (size_t j = 0; j < n; j++) {
			if (at[j].address.kind != ADDRESS_NAME)
				continue;
			/* A line means something in the file only. */
			want_endpoint(resolver, &at[j].address, config->path,
			    at == config->pools[i].endpoints ? at[j].line : 0);
			has_names = true;
		}
	}
	return has_names;
}

void
resolver_prefetch(struct resolver *resolver, const struct registry *registry,
    const struct config *config)
{
	bool has_names = want_all(resolver, registry, config);

	set_options(resolver, &config->dns);
	services_settle(resolver);
	if (has_names)
		look_up(resolver);
	tell_turns(resolver);
}

void
resolver_settle(struct resolver *resolver)
{
	struct answer *answer;

	LIST_FOREACH(answer, &resolver->answers, link)
	answer->is_at_work = answer->is_wanted;
	services_settle(resolver);
}

void
resolver_follow(struct resolver *resolver, const struct registry *registry,
    const struct config *config)
{
	want_all(resolver, registry, config);
	set_options(resolver, &config->dns);
	resolver_settle(resolver);
}
