/* Listeners of the control plane: opening, retiring, closing. */
#ifndef WEIR_ADMIN_DOOR_H
#define WEIR_ADMIN_DOOR_H

#include "admin/dispatch.h"
#include "admin/seat.h"

/* NULL with err: the address cannot be listened at. Without TLS only some may
 * be; door_gate brings it. */
struct door *door_open(struct admin *admin, const struct address *address,
    bool is_metrics, bool has_tls, struct err *err);
/* Listens no more, so that another may at the same port, but keeps the socket:
 * door_resume goes on as before. */
void door_pause(struct door *door);
void door_resume(struct door *door);
/* About once a second: ends connections that take too long, and accepts again
 * when a shortage of descriptors may be over. */
void door_tick(struct door *door, nsec_t now);
/* TLS for who comes from now on, where this door is to have it. */
void door_gate(struct door *door, const struct tls_gate *gate);
/* Accepts no more; what is open has a few seconds, streams of events end by
 * themselves. */
void door_retire(struct door *door);
void door_free(struct door *door);

#endif
