/*
 * Services: a service's answer names targets, and they are asked for like all
 * other names, for as long as a service has them. Its places (places.h) are
 * made anew after answers of either, but not before every new target was heard
 * of: nobody goes to a standby for the moment that it takes to ask for a new
 * target.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/log.h"
#include "proxy/control/resolve_parts.h"

/* Who is said to have no address has none: there is a standby for that. Who is
   not heard of keeps what was known. */
const struct dns_addresses *
service_addresses(void *ctx, const char *host)
{
	const struct answer *answer = answer_find(ctx, DNS_ADDRESSES, host);

	return answer && !answer->is_denied ? &answer->addresses : NULL;
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
		struct answer *target = answer_find_or_make(
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
	n = places_make(&service->service, service_addresses, resolver, places);
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
		if (!answer_is_in_use(answer) && !answer->is_target)
			answer_forget(answer);
	}
}

void
services_settle(struct resolver *resolver)
{
	struct answer *answer;

	resolver->is_stale = false;
	LIST_FOREACH(answer, &resolver->answers, link)
	answer->is_target = false;
	/* Targets that this adds stand before all others: not met here. */
	LIST_FOREACH(answer, &resolver->answers, link)
	{
		if (answer->kind != DNS_SERVICE || !answer_is_in_use(answer) ||
		    !answer->service.at)
			continue;
		tell_service(answer);
		if (!mark_targets(resolver, answer) || answer->n_places == 0)
			place(resolver, answer);
	}
	forget_unused(resolver);
}
