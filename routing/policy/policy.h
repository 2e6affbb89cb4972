/*
 * What a route refuses before it looks for an upstream. Made when a snapshot
 * is built and immutable; a route that refuses nothing has none, and costs
 * one look at a pointer.
 */
#ifndef WEIR_ROUTING_POLICY_H
#define WEIR_ROUTING_POLICY_H

#include "routing/limit/limit.h"
#include "routing/policy/cidr_set.h"
#include "routing/registry.h"

struct policy {
	const struct route_cfg *cfg;   /* borrowed from the snapshot's config */
	struct tally *tally;           /* a counted reference */
	struct cidr_set *allow, *deny; /* owned; NULL: no such list */
	struct limit_table *table; /* borrowed: the registry outlives us; NULL:
	                              no rate limit */
	struct limit_rule rule;
	/* NULL unless the limit is shared */
	struct sharing *sharing; /* borrowed, like the table */
	uint32_t number;         /* in it */
	uint8_t key[16]; /* of the hash of this limit's keys: equal limits of
	                    one route have equal ones, so that counts survive
	                    a reload */
};

/* True with NULL: the route refuses nothing. */
bool policy_new(struct registry *registry, const struct route_cfg *cfg,
    struct policy **policy_out, struct err *err);
void policy_free(struct policy **policy);

/* Does the route want to know where its clients are? */
bool policy_asks_place(const struct route_cfg *cfg);

/* Fills the decision's refusal. */
bool policy_refuses(const struct policy *policy, unsigned worker,
    const struct route_query *query, struct decision *out);

/* An address as a key: the bits that make one client; length 0 without one. */
size_t policy_client_key(
    const struct sockaddr *client, unsigned v6_prefix, uint8_t out[16]);
/* "Bearer x" is x; other schemes count as they stand. */
struct span policy_token(struct span authorization);
/* A request without the key that is asked for counts by its address, apart
   from keys that look like one. */
enum key_kind { KEY_ASKED, KEY_FALLBACK };
uint64_t policy_hash(const struct policy *policy, enum key_kind kind,
    const void *bytes, size_t len);

#endif
