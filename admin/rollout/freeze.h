/* A freeze: nothing is promoted and no weight grows until it ends. Rollbacks
 * are always possible. */
#ifndef WEIR_ADMIN_FREEZE_H
#define WEIR_ADMIN_FREEZE_H

#include <jansson.h>

#include "admin/state/state.h"

struct freeze {
	bool is_on;
	time_t since; /* wall */
	char by[128], reason[513];
	uint64_t version; /* the ETag */
};

void freeze_restore(struct freeze *freeze, const struct state *state);
/* Durably; false: nothing has changed. */
bool freeze_set(struct freeze *freeze, struct state *state, const char *by,
    const char *reason, time_t wall, struct err *err);
bool freeze_end(struct freeze *freeze, struct state *state, struct err *err);
/* Durably what another instance says; false: nothing has changed. */
bool freeze_put(struct freeze *freeze, struct state *state,
    const struct freeze *wanted, struct err *err);
json_t *freeze_json(const struct freeze *freeze);

#endif
