/*
 * DNS names of endpoints (c-ares). Names are looked up before a snapshot is
 * built, all at once and within a bound; the last good answer is kept when a
 * server fails. The environment may name another hosts file (CARES_HOSTS).
 * Control thread only.
 */
#ifndef WEIR_PROXY_RESOLVE_H
#define WEIR_PROXY_RESOLVE_H

#include "config/config.h"

struct resolver;

struct resolver *resolver_new(void); /* NULL: out of memory */
void resolver_free(struct resolver **resolver);
/* Looks up every name of the config's endpoints; at most RESOLVE_WAIT_MS in all. */
enum { RESOLVE_WAIT_MS = 3000, RESOLVE_ADDRESSES_MAX = 64 };
void resolver_prefetch(struct resolver *resolver, const struct config *config);
/* The config of the last prefetch is at work: what only the one before named is
   forgotten. Until then the answers of both are kept, as it may be refused. */
void resolver_settle(struct resolver *resolver);
/* The addresses of the last good answer, with the endpoint's port, sorted; 0: none known. */
size_t resolver_lookup(struct resolver *resolver, const struct address *address, struct sockaddr_storage *out, size_t cap);

#endif
