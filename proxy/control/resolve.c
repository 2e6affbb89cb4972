/*
 * DNS names of endpoints, see resolve.h: what is known of each, and when it is
 * asked for again.
 *
 *   good answer -- its TTL, within the bounds --> asked again
 *   failure     -- 1 s, doubling to 30 s ------> asked again; what was known
 *                                                stays
 *
 * Other addresses or places are told to the owner, who builds a snapshot of the
 * same config with them.
 */
#include <ares.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/log.h"
#include "proxy/control/resolve_parts.h"
#include "proxy/worker.h"

enum {
	LOOK_EVERY_MS = 100, /* who is due, and has anything changed? */
	RETRY_MAX_S = 30,    /* after failures, doubling up to this */
	HURRY_S =
	    1, /* a name that somebody needs is asked for again after this */
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

void
answer_forget(struct answer *answer)
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
		answer_forget(LIST_FIRST(&resolver->answers));
	if (resolver->timer)
		event_free(resolver->timer);
	ares_library_cleanup();
	free(resolver);
}

struct answer *
answer_find(struct resolver *resolver, enum dns_kind kind, const char *name)
{
	struct answer *answer;

	LIST_FOREACH(answer, &resolver->answers, link)
	if (answer->kind == kind && strcmp(answer->name, name) == 0)
		return answer;
	return NULL;
}

struct answer *
answer_find_or_make(
    struct resolver *resolver, enum dns_kind kind, const char *name)
{
	struct answer *answer = answer_find(resolver, kind, name);

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
	if (reply->status == ARES_SUCCESS)
		answer->is_denied = false;
	else
		answer->is_denied |= reply->status == ARES_ENOTFOUND ||
		                     reply->status == ARES_ENODATA;
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

void
answer_ask(struct answer *answer, struct event_base *base)
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

/* ---- while weir runs ---- */

static const char *
instead_of(const struct answer *answer)
{
	if (answer->is_target && !answer_is_in_use(answer))
		return service_addresses(answer->resolver, answer->name)
		           ? "the last good answer, if any"
		           : "its service goes on without it";
	if (answer->addresses.n > 0 || answer->n_places > 0)
		return "the last good answer";
	return "the endpoint is left out until it resolves";
}

/* c-ares has one sentence for several of these. */
static const char *
why(const struct answer *answer)
{
	if (!answer->is_answered)
		return "no answer in time";
	switch (answer->status) {
	case ARES_EREFUSED:
		return "the name server refuses to say (REFUSED)";
	case ARES_ESERVFAIL:
		return "the name server could not find out (SERVFAIL)";
	case ARES_ENOTIMP:
		return "the name server does not do this (NOTIMP)";
	case ARES_ETIMEOUT:
		return "no answer in time";
	case ARES_ECONNREFUSED:
		return "no name server can be reached (connection refused)";
	default:
		return ares_strerror(answer->status);
	}
}

static void
tell_failure(const struct answer *answer)
{
	log_event(LOG_WARN, "name not resolved", "name", answer->name, "why",
	    why(answer), "instead", instead_of(answer),
	    answer->where[0] ? "where" : NULL, answer->where, NULL);
}

/* Once when it begins to fail, once when it is over. */
void
answer_tell_turn(struct answer *answer)
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
		services_settle(resolver);
	LIST_FOREACH(answer, &resolver->answers, link)
	{
		if (!(answer->is_at_work || answer->is_target) ||
		    answer->question)
			continue;
		if (answer->asked_at > 0)
			answer_tell_turn(answer);
		if (now >= answer->due && resolver->n_lookups < LOOKUPS_MAX)
			answer_ask(answer, resolver->base);
	}
	if (!resolver->is_changed)
		return;
	resolver->is_changed = false;
	resolver->changed(resolver->ctx);
}

void
resolver_hurry(struct resolver *resolver, const char *name)
{
	struct answer *answer = answer_find(resolver, DNS_ADDRESSES, name);

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
	    answer_find(resolver, DNS_ADDRESSES, address->host);
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
	const struct answer *answer =
	    answer_find(resolver, DNS_SERVICE, service);
	size_t n = answer ? answer->n_places : 0;

	if (n > cap)
		n = cap;
	if (n > 0)
		memcpy(out, answer->places, n * sizeof(*out));
	return n;
}
