/* Replaced endpoint sets in the journal and over reloads; api/endpoints.c
 * replaces them. */
#ifndef WEIR_ADMIN_ENDPOINT_SETS_H
#define WEIR_ADMIN_ENDPOINT_SETS_H

#include "admin/api/api.h"

/* Durably; `set` NULL: the pool has none any more. */
bool sets_record(struct state *state, const char *pool,
    const struct endpoint_set *set, struct err *err);
/* What was recorded goes into the registry. */
void sets_restore(struct state *state, struct registry *registry);
/* Drops those that the running file has overtaken, and says so. */
void sets_settle(struct admin *admin, const char *by);

#endif
