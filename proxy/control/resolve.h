/*
 * DNS names of endpoints, and services by their SRV records. At a start and a
 * reload they are looked up before a snapshot is built, all at once and within
 * a bound; then each again by its TTL. The last good answer is kept when a
 * server fails or says that there is nothing. The environment may name another
 * hosts file (CARES_HOSTS). Control thread only.
 */
#ifndef WEIR_PROXY_RESOLVE_H
#define WEIR_PROXY_RESOLVE_H

#include <event2/event.h>

#include "admin/admin.h"
#include "routing/control.h"

enum { RESOLVE_WAIT_MS = 3000 };

struct resolver;

/* A name of the running config has other addresses now. */
typedef void resolver_changed_fn(void *ctx);
/* NULL: out of memory. */
struct resolver *resolver_new(struct event_base *base, resolver_changed_fn *changed, void *ctx);
void resolver_free(struct resolver **resolver);
/* Looks up every name of the config's endpoints, with the config's settings; at most RESOLVE_WAIT_MS in all. */
void resolver_prefetch(struct resolver *resolver, const struct registry *registry, const struct config *config);
/* The config of the last prefetch is at work: what only the one before named is
   forgotten. Until then the answers of both are kept, as it may be refused. */
void resolver_settle(struct resolver *resolver);
/* Endpoints of the running config were replaced, or another config was refused
   after its prefetch: names that are new are asked for in the background. */
void resolver_follow(struct resolver *resolver, const struct registry *registry, const struct config *config);
/* Somebody cannot connect there: asked for again soon. */
void resolver_hurry(struct resolver *resolver, const char *name);
void resolver_facts(const struct resolver *resolver, struct process_facts *out);
/* The addresses of the last good answer, with the endpoint's port, sorted; 0: none known. */
size_t resolver_lookup(struct resolver *resolver, const struct address *address, struct sockaddr_storage *out, size_t cap);
/* Of a service, by address and port; 0: none, or it is decidedly not available. */
size_t resolver_places(struct resolver *resolver, const char *service, struct service_place *out, size_t cap);

#endif
