/*
 * The fleet's common memory (admin/fleet/fleet.h has the protocol) in Redis, by
 * a connection of its own: what rate limits do to theirs changes nothing here.
 */
#ifndef WEIR_PROXY_FLEET_WIRE_H
#define WEIR_PROXY_FLEET_WIRE_H

#include <event2/event.h>

#include "admin/admin.h"

struct fleet_wire;
typedef size_t fleet_resolve_fn(void *ctx, const struct address *address,
    struct sockaddr_storage *out, size_t cap);
/* The fleet outlives it. NULL: out of memory. */
struct fleet_wire *fleet_wire_new(struct event_base *base, struct fleet *fleet,
    fleet_resolve_fn *resolve, void *ctx);
/* With a config that is at work. False: a password or certificate cannot be
 * read (what ran before goes on). */
bool fleet_wire_apply(
    struct fleet_wire *wire, const struct config *config, struct err *err);
/* Says good-bye to the others, and tells the fleet that it is alone. */
void fleet_wire_free(struct fleet_wire **wire);

#endif
