/* See places.h. */
#include "proxy/control/places.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum {
	WHOLE = 5040, /* a weight of 1, to be shared by up to 10 addresses
	                 without a rest */
	WEIGHT_MAX = 1000,
};

struct draft {
	struct sockaddr_storage sa;
	unsigned priority;
	uint64_t share;
};

static void
set_port(struct sockaddr_storage *sa, uint16_t port)
{
	if (sa->ss_family == AF_INET6)
		((struct sockaddr_in6 *)sa)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)sa)->sin_port = htons(port);
}

static size_t
draw_up(const struct dns_service *service, places_address_fn *fn, void *ctx,
    struct draft drafts[])
{
	size_t n = 0;

	for (size_t i = 0; i < service->n; i++) {
		const struct dns_target *target = &service->at[i];
		const struct dns_addresses *addresses = fn(ctx, target->host);
		uint64_t weight = target->weight > 0 ? target->weight : 1;

		for (size_t j = 0; addresses && j < addresses->n; j++) {
			struct draft *draft = &drafts[n];

			if (n == SERVICE_PLACES_MAX)
				return n;
			memset(draft, 0, sizeof(*draft));
			draft->sa = addresses->at[j];
			set_port(&draft->sa, target->port);
			draft->priority = target->priority;
			draft->share = weight * WHOLE / addresses->n;
			n++;
		}
	}
	return n;
}

static int
by_place(const void *a, const void *b)
{
	const struct draft *x = a, *y = b;
	int order = memcmp(&x->sa, &y->sa, sizeof(x->sa));

	if (order != 0)
		return order;
	return (x->priority > y->priority) - (x->priority < y->priority);
}

/* Two targets may be one place: it has its better priority, and there both
   weights. */
static size_t
merge(struct draft drafts[], size_t n)
{
	size_t kept = 0;

	qsort(drafts, n, sizeof(*drafts), by_place);
	for (size_t i = 0; i < n; i++) {
		struct draft *last = kept > 0 ? &drafts[kept - 1] : NULL;

		if (!last ||
		    memcmp(&last->sa, &drafts[i].sa, sizeof(last->sa)) != 0)
			drafts[kept++] = drafts[i];
		else if (last->priority == drafts[i].priority)
			last->share += drafts[i].share;
	}
	return kept;
}

static uint64_t
divisor_of(uint64_t a, uint64_t b)
{
	while (b > 0) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* As the records have them where that is possible; else by their relation. */
static uint32_t
weight_of(uint64_t share, uint64_t divisor, uint64_t greatest)
{
	uint64_t weight;

	if (divisor % WHOLE == 0)
		divisor = WHOLE;
	weight = greatest / divisor <= WEIGHT_MAX
	             ? share / divisor
	             : (share * WEIGHT_MAX + greatest / 2) / greatest;
	return weight > 0 ? (uint32_t)weight : 1;
}

static void
put_tier(const struct draft drafts[], size_t n, unsigned priority, uint8_t tier,
    struct service_place out[])
{
	uint64_t divisor = 0, greatest = 0;

	for (size_t i = 0; i < n; i++) {
		if (drafts[i].priority != priority)
			continue;
		divisor = divisor_of(drafts[i].share, divisor);
		if (drafts[i].share > greatest)
			greatest = drafts[i].share;
	}
	for (size_t i = 0; i < n; i++)
		if (drafts[i].priority == priority)
			out[i] = (struct service_place){drafts[i].sa,
			    weight_of(drafts[i].share, divisor, greatest),
			    tier};
}

/* The next priority; false: there is none. */
static bool
next_priority(const struct draft drafts[], size_t n, long *priority)
{
	long next = -1;

	for (size_t i = 0; i < n; i++)
		if ((long)drafts[i].priority > *priority &&
		    (next < 0 || (long)drafts[i].priority < next))
			next = drafts[i].priority;
	*priority = next;
	return next >= 0;
}

size_t
places_make(const struct dns_service *service, places_address_fn *fn, void *ctx,
    struct service_place out[])
{
	struct draft drafts[SERVICE_PLACES_MAX];
	size_t n = merge(drafts, draw_up(service, fn, ctx, drafts));
	unsigned tier = 0;
	long priority = -1;

	memset(out, 0, n * sizeof(*out));
	while (next_priority(drafts, n, &priority)) {
		put_tier(drafts, n, (unsigned)priority,
		    (uint8_t)(tier < SERVICE_TIERS_MAX - 1
		                  ? tier
		                  : SERVICE_TIERS_MAX - 1),
		    out);
		tier++;
	}
	return n;
}
