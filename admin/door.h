/* Listeners of the control plane: opening, retiring, closing. */
#ifndef WEIR_ADMIN_DOOR_H
#define WEIR_ADMIN_DOOR_H

#include "admin/dispatch.h"

/* NULL with err: the address cannot be listened at. */
struct door *door_open(struct admin *admin, const struct address *address,
    bool is_metrics, struct err *err);
/* A shortage of descriptors may be over: accepts again. */
void door_retry(struct door *door);
/* Accepts no more; what is open has a few seconds, streams of events end by
 * themselves. */
void door_retire(struct door *door);
void door_free(struct door *door);

#endif
