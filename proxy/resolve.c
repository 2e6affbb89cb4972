/*
 * DNS names of endpoints, see resolve.h: which are asked for, when again, and
 * what is known of each.
 *
 *   good answer -- its TTL, within the bounds --> asked again
 *   failure     -- 1 s, doubling to 30 s ------> asked again; what was known
 *                                                stays
 *
 * A service's answer names targets: they are asked for like all other names,
 * for as long as a service has them. Its places (places.h) are made anew after
 * answers of either, but not before every new target was heard of: nobody goes
 * to a standby for the moment that it takes to ask for a new target.
 *
 * Other addresses or places are told to the owner, who builds a snapshot of the
 * same config with them.
 */
#include "proxy/resolve.h"

#include <ares.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "admin/log.h"
#include "proxy/dns_ask.h"
#include "proxy/places.h"
#include "proxy/worker.h"

enum {
	LOOK_EVERY_MS = 100, /* who is due, and has anything changed? */
	LOOKUPS_MAX = 64,    /* at once; the others wait for the next look */
	RETRY_MAX_S = 30,    /* after failures, doubling up to this */
	HURRY_S =
	    1, /* a name that somebody needs is asked for again after this */
};

struct answer {
	LIST_ENTRY(answer) link;
	struct resolver *resolver; /* borrowed */
	enum dns_kind kind;
	char *name;      /* owned */
	char where[300]; /* file and line of its first endpoint, or "" */
	struct dns_addresses addresses; /* DNS_ADDRESSES: the last good ones */
	struct dns_service service;     /* DNS_SERVICE: the same */
	struct service_place
	    *places; /* owned: what was made of it; NULL: nothing yet */
	size_t n_places;
	struct dns_question *question; /* owned; NULL: nothing is asked now */
	nsec_t due, asked_at; /* when it is asked for again, was last */
	nsec_t ttl;           /* of the last good answer, within the bounds */
	unsigned failures;    /* in a row */
	bool is_at_work;      /* the running config names it */
	bool is_wanted;       /* by the config that is being looked up */
	bool is_target;       /* of a service that one of the two names */
	bool is_heard;        /* there was an answer, or a failure */
	bool is_answered;     /* in this round */
	bool is_told;         /* that it fails */
	bool is_denial_told, is_bound_told;
	int status; /* of c-ares */
};

struct resolver {
	LIST_HEAD(, answer) answers;
	struct event_base *base; /* borrowed */
	struct event *timer;     /* owned */
	resolver_changed_fn *changed;
	void *ctx;
	struct dns_settings settings;
	nsec_t min_ttl, max_ttl;
	unsigned n_lookups;
	uint64_t n_good, n_failed;
	bool is_stale;   /* a service or a target has another answer */
	bool is_changed; /* a name that is at work has other addresses */
};

static void on_look(int fd, short what, void *arg);

struct resolver *
resolver_new(struct event_base *base, resolver_changed_fn *changed, void *ctx)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));
	struct timeval every = {0, LOOK_EVERY_MS * 1000};

	if (!resolver || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		free(resolver);
		return NULL;
	}
	LIST_INIT(&resolver->answers);
	resolver->base = base;
	resolver->changed = changed;
	resolver->ctx = ctx;
	resolver->timer = event_new(base, -1, EV_PERSIST, on_look, resolver);
	if (!resolver->timer || event_add(resolver->timer, &every) < 0)
		resolver_free(&resolver);
	return resolver;
}

static void
forget(struct answer *answer)
{
	if (answer->question)
		dns_give_up(&answer->question);
	LIST_REMOVE(answer, link);
	dns_service_release(&answer->service);
	free(answer->places);
	free(answer->name);
	free(answer);
}

void
resolver_free(struct resolver **resolver_in)
{
	struct resolver *resolver = *resolver_in;

	*resolver_in = NULL;
	if (!resolver)
		return;
	while (LIST_FIRST(&resolver->answers))
		forget(LIST_FIRST(&resolver->answers));
	if (resolver->timer)
		event_free(resolver->timer);
	ares_library_cleanup();
	free(resolver);
}

static struct answer *
find(struct resolver *resolver, enum dns_kind kind, const char *name)
{
	struct answer *answer;

	LIST_FOREACH(answer, &resolver->answers, link)
	if (answer->kind == kind && strcmp(answer->name, name) == 0)
		return answer;
	return NULL;
}

/* NULL: out of memory, and said so. */
static struct answer *
find_or_make(struct resolver *resolver, enum dns_kind kind, const char *name)
{
	struct answer *answer = find(resolver, kind, name);

	if (answer)
		return answer;
	answer = calloc(1, sizeof(*answer));
	if (!answer || !(answer->name = strdup(name))) {
		free(answer);
		log_event(LOG_WARN, "name not resolved", "name", name, "why",
		    "out of memory", NULL);
		return NULL;
	}
	answer->kind = kind;
	answer->resolver = resolver;
	LIST_INSERT_HEAD(&resolver->answers, answer, link);
	return answer;
}

static void
want(struct resolver *resolver, enum dns_kind kind, const char *name,
    const char *file, unsigned line)
{
	struct answer *answer = find_or_make(resolver, kind, name);

	if (!answer)
		return;
	answer->where[0] = '\0';
	if (line > 0)
		snprintf(
		    answer->where, sizeof(answer->where), "%s:%u", file, line);
	answer->is_wanted = true;
}

/* ---- one answer ---- */

static void
take_addresses(struct answer *answer, const struct dns_addresses *now)
{
	if (now->n == answer->addresses.n &&
	    memcmp(now->at, answer->addresses.at, now->n * sizeof(*now->at)) ==
	        0)
		return;
	memcpy(answer->addresses.at, now->at, now->n * sizeof(*now->at));
	answer->addresses.n = now->n;
	answer->resolver->is_changed |= answer->is_at_work;
}

/* A copy, without the room that the message's other records have had. */
static bool
take_service(struct answer *answer, const struct dns_service *now)
{
	struct dns_service *service = &answer->service;
	struct dns_target *at = calloc(now->n + 1, sizeof(*at));

	if (!at)
		return false;
	memcpy(at, now->at, now->n * sizeof(*at));
	dns_service_release(service);
	*service = *now;
	service->at = at;
	return true;
}

static nsec_t
within(const struct resolver *resolver, nsec_t ttl)
{
	if (ttl > resolver->max_ttl)
		ttl = resolver->max_ttl;
	return ttl < resolver->min_ttl ? resolver->min_ttl : ttl;
}

static void
plan_next(struct answer *answer)
{
	struct resolver *resolver = answer->resolver;
	nsec_t pause = answer->ttl;

	if (answer->status != ARES_SUCCESS) {
		unsigned doublings =
		    answer->failures < 5 ? answer->failures : 5;

		pause = within(resolver, NSEC_PER_SEC << doublings);
		if (pause > RETRY_MAX_S * NSEC_PER_SEC)
			pause = RETRY_MAX_S * NSEC_PER_SEC;
		answer->failures++;
		resolver->n_failed++;
	} else {
		answer->failures = 0;
		resolver->n_good++;
	}
	answer->due = clock_now() + pause;
}

static void
on_reply(void *ctx, const struct dns_reply *reply)
{
	struct answer *answer = ctx;
	struct resolver *resolver = answer->resolver;

	answer->question = NULL;
	resolver->n_lookups--;
	answer->is_heard = true;
	answer->is_answered = reply->is_answered;
	answer->status = reply->status;
	if (reply->status == ARES_SUCCESS) {
		answer->ttl = within(resolver, reply->ttl);
		if (reply->addresses)
			take_addresses(answer, reply->addresses);
		else if (!take_service(answer, reply->service))
			answer->status = ARES_ENOMEM;
	}
	resolver->is_stale |= answer->is_target || answer->kind == DNS_SERVICE;
	plan_next(answer);
}

static void
ask(struct answer *answer, struct event_base *base)
{
	struct resolver *resolver = answer->resolver;
	struct dns_question *question;

	answer->asked_at = clock_now();
	answer->is_answered = false;
	resolver->n_lookups++;
	question = dns_ask(base, &resolver->settings, answer->kind,
	    answer->name, on_reply, answer);
	answer->question = question;
}

/* ---- services ---- */

/* Who is said to have no address has none: there is a standby for that. Who is
   not heard of keeps what was known. */
static const struct dns_addresses *
addresses_of(void *ctx, const char *host)
{
	const struct answer *answer = find(ctx, DNS_ADDRESSES, host);

	return !answer || answer->status == ARES_ENOTFOUND ||
	               answer->status == ARES_ENODATA
	           ? NULL
	           : &answer->addresses;
}

static bool
is_in_use(const struct answer *answer)
{
	return answer->is_wanted || answer->is_at_work;
}

/* Says once what is unusual about its records, and again when that returns. */
static void
tell_service(struct answer *answer)
{
	const struct dns_service *service = &answer->service;
	char told[16];

	snprintf(told, sizeof(told), "%zu", service->n_told);
	if (service->n_told > service->n && !answer->is_bound_told)
		log_event(LOG_WARN,
		    "service has more records than are used: the first "
		    "priorities are",
		    "name", answer->name, "records", told, NULL);
	if (service->is_denied && !answer->is_denial_told)
		log_event(LOG_WARN,
		    "service is decidedly not available: its endpoints leave",
		    "name", answer->name, NULL);
	answer->is_bound_told = service->n_told > service->n;
	answer->is_denial_told = service->is_denied;
}

/* New targets come in; True: one has not been heard of yet. */
static bool
mark_targets(struct resolver *resolver, const struct answer *service)
{
	bool is_waiting = false;

	for (size_t i = 0; i < service->service.n; i++) {
		struct answer *target = find_or_make(
		    resolver, DNS_ADDRESSES, service->service.at[i].host);

		if (!target)
			continue;
		target->is_target = true;
		if (!target->where[0])
			memcpy(target->where, service->where,
			    sizeof(target->where));
		is_waiting |= !target->is_heard;
	}
	return is_waiting;
}

static bool
are_same(
    const struct answer *service, const struct service_place *places, size_t n)
{
	if (n != service->n_places)
		return false;
	for (size_t i = 0; i < n; i++) {
		const struct service_place *a = &service->places[i];
		const struct service_place *b = &places[i];

		if (a->weight != b->weight || a->tier != b->tier ||
		    memcmp(&a->sa, &b->sa, sizeof(a->sa)) != 0)
			return false;
	}
	return true;
}

static void
place(struct resolver *resolver, struct answer *service)
{
	struct service_place *places =
	    calloc(SERVICE_PLACES_MAX, sizeof(*places));
	size_t n;

	if (!places)
		return;
	n = places_make(&service->service, addresses_of, resolver, places);
	/* Without any address the last good ones are better than nobody. */
	if ((n == 0 && !service->service.is_denied) ||
	    are_same(service, places, n)) {
		free(places);
		return;
	}
	free(service->places);
	service->places = places;
	service->n_places = n;
	resolver->is_changed |= service->is_at_work;
}

static void
forget_unused(struct resolver *resolver)
{
	struct answer *answer, *next;

	for (answer = LIST_FIRST(&resolver->answers); answer; answer = next) {
		next = LIST_NEXT(answer, link);
		if (!is_in_use(answer) && !answer->is_target)
			forget(answer);
	}
}

/* After answers, and when other names are in use. */
static void
settle_services(struct resolver *resolver)
{
	struct answer *answer;

	resolver->is_stale = false;
	LIST_FOREACH(answer, &resolver->answers, link)
	answer->is_target = false;
	/* Targets that this adds stand before all others: not met here. */
	LIST_FOREACH(answer, &resolver->answers, link)
	{
		if (answer->kind != DNS_SERVICE || !is_in_use(answer) ||
		    !answer->service.at)
			continue;
		tell_service(answer);
		if (!mark_targets(resolver, answer) || answer->n_places == 0)
			place(resolver, answer);
	}
	forget_unused(resolver);
}

/* ---- while weir runs ---- */

static const char *
instead_of(const struct answer *answer)
{
	if (answer->is_target && !is_in_use(answer))
		return addresses_of(answer->resolver, answer->name)
		           ? "the last good answer, if any"
		           : "its service goes on without it";
	if (answer->addresses.n > 0 || answer->n_places > 0)
		return "the last good answer";
	return "the endpoint is left out until it resolves";
}

static void
tell_failure(const struct answer *answer)
{
	log_event(LOG_WARN, "name not resolved", "name", answer->name, "why",
	    answer->is_answered ? ares_strerror(answer->status)
	                        : "no answer in time",
	    "instead", instead_of(answer), answer->where[0] ? "where" : NULL,
	    answer->where, NULL);
}

/* Once when it begins to fail, once when it is over. */
static void
tell_turn(struct answer *answer)
{
	bool is_good = answer->status == ARES_SUCCESS;

	if (is_good != answer->is_told)
		return;
	answer->is_told = !is_good;
	if (is_good)
		log_event(LOG_INFO, "name resolved again", "name", answer->name,
		    NULL);
	else
		tell_failure(answer);
}

static void
on_look(int fd, short what, void *arg)
{
	struct resolver *resolver = arg;
	struct answer *answer;
	nsec_t now = clock_now();

	(void)fd;
	(void)what;
	if (resolver->is_stale)
		settle_services(resolver);
	LIST_FOREACH(answer, &resolver->answers, link)
	{
		if (!(answer->is_at_work || answer->is_target) ||
		    answer->question)
			continue;
		if (answer->asked_at > 0)
			tell_turn(answer);
		if (now >= answer->due && resolver->n_lookups < LOOKUPS_MAX)
			ask(answer, resolver->base);
	}
	if (!resolver->is_changed)
		return;
	resolver->is_changed = false;
	resolver->changed(resolver->ctx);
}

/* ---- at a start and at a reload: all at once, within a bound ---- */

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
		settle_services(resolver);
	LIST_FOREACH(answer, &resolver->answers, link)
	{
		if (!is_looked_up(answer))
			continue;
		if (!answer->question && answer->asked_at == 0 &&
		    resolver->n_lookups < LOOKUPS_MAX)
			ask(answer, base);
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
	settle_services(resolver);
	if (bound)
		event_free(bound);
	event_base_free(base);
}

static void
tell_failures(struct resolver *resolver)
{
	struct answer *answer;

	LIST_FOREACH(answer, &resolver->answers, link)
	{
		if (!is_looked_up(answer))
			continue;
		answer->is_told =
		    !answer->is_answered || answer->status != ARES_SUCCESS;
		if (answer->is_told)
			tell_failure(answer);
	}
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
	settle_services(resolver);
	if (has_names)
		look_up(resolver);
	tell_failures(resolver);
}

void
resolver_settle(struct resolver *resolver)
{
	struct answer *answer;

	LIST_FOREACH(answer, &resolver->answers, link)
	answer->is_at_work = answer->is_wanted;
	settle_services(resolver);
}

void
resolver_follow(struct resolver *resolver, const struct registry *registry,
    const struct config *config)
{
	want_all(resolver, registry, config);
	resolver_settle(resolver);
}

void
resolver_hurry(struct resolver *resolver, const char *name)
{
	struct answer *answer = find(resolver, DNS_ADDRESSES, name);

	if (answer && clock_now() - answer->asked_at > HURRY_S * NSEC_PER_SEC)
		answer->due = 0;
}

void
resolver_facts(const struct resolver *resolver, struct process_facts *out)
{
	const struct answer *answer;

	out->dns_good = resolver->n_good;
	out->dns_failed = resolver->n_failed;
	LIST_FOREACH(answer, &resolver->answers, link)
	if (answer->is_at_work || answer->is_target) {
		out->dns_names++;
		out->dns_failing += answer->status != ARES_SUCCESS;
	}
}

/* ---- what is known ---- */

size_t
resolver_lookup(struct resolver *resolver, const struct address *address,
    struct sockaddr_storage *out, size_t cap)
{
	const struct answer *answer =
	    find(resolver, DNS_ADDRESSES, address->host);
	size_t n = answer ? answer->addresses.n : 0;

	if (n > cap)
		n = cap;
	for (size_t i = 0; i < n; i++) {
		out[i] = answer->addresses.at[i];
		if (out[i].ss_family == AF_INET)
			((struct sockaddr_in *)&out[i])->sin_port =
			    htons(address->port);
		else
			((struct sockaddr_in6 *)&out[i])->sin6_port =
			    htons(address->port);
	}
	return n;
}

size_t
resolver_places(struct resolver *resolver, const char *service,
    struct service_place *out, size_t cap)
{
	const struct answer *answer = find(resolver, DNS_SERVICE, service);
	size_t n = answer ? answer->n_places : 0;

	if (n > cap)
		n = cap;
	if (n > 0)
		memcpy(out, answer->places, n * sizeof(*out));
	return n;
}
