/* The refusals of dispatch.c. Each returns false when it has answered. */
#ifndef WEIR_ADMIN_GUARD_H
#define WEIR_ADMIN_GUARD_H

#include "admin/api/api.h"

void guard_peer(
    struct call *call); /* who is at the other end, for log and limits */
bool guard_secrecy(struct call *call);
bool guard_host(struct call *call);
bool guard_identity(struct call *call);
bool guard_origin(struct call *call);
bool guard_role(struct call *call);

#endif
