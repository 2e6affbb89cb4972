/*
 * The inside of the resolver: names, what is known of each, and when each is
 * asked for again. For resolve.c (while weir runs), resolve_start.c (before a
 * snapshot is built) and resolve_service.c (places out of SRV records).
 */
#ifndef WEIR_PROXY_RESOLVE_PARTS_H
#define WEIR_PROXY_RESOLVE_PARTS_H

#include <sys/queue.h>

#include "proxy/control/dns_ask.h"
#include "proxy/control/places.h"
#include "proxy/control/resolve.h"

enum { LOOKUPS_MAX = 64 /* at once; the others wait for the next look */ };

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
	bool is_denied;       /* and the last that said anything: nothing */
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

/* resolve.c */
struct answer *answer_find(
    struct resolver *resolver, enum dns_kind kind, const char *name);
/* NULL: out of memory, and said so. */
struct answer *answer_find_or_make(
    struct resolver *resolver, enum dns_kind kind, const char *name);
void answer_forget(struct answer *answer);
void answer_ask(struct answer *answer, struct event_base *base);
/* Of a lookup that is over: once when it begins to fail, once when that ends. */
void answer_tell_turn(struct answer *answer);

/* A config names it. */
static inline bool
answer_is_in_use(const struct answer *answer)
{
	return answer->is_wanted || answer->is_at_work;
}

/* resolve_service.c */

/* After answers, and when other names are in use: forgets what is not. */
void services_settle(struct resolver *resolver);
/* NULL: it is said to have none. */
const struct dns_addresses *service_addresses(void *resolver, const char *host);

#endif
