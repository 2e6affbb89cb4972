/*
 * What the rest of the folder asks of the runtime state beyond admin.h.
 */
#ifndef WEIR_ADMIN_STATE_H
#define WEIR_ADMIN_STATE_H

#include "admin/admin.h"

/* Records every split that differs from what is on disk (after a start or a
 * reload). */
bool state_sync(
    struct state *state, struct registry *registry, struct err *err);
/* An endpoint's administrative state; ENDPOINT_ACTIVE is recorded too. */
bool state_put_endpoint(struct state *state, const char *pool,
    const char *address, enum endpoint_admin admin, struct err *err);
/* Gives endpoints that appeared (a start, a reload) their recorded state. */
void state_restore_endpoints(struct state *state, struct registry *registry);
const char *endpoint_admin_name(enum endpoint_admin admin);
bool endpoint_admin_of(const char *word, enum endpoint_admin *out);

#endif
