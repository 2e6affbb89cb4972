/* The body of a request to the admin API: bounds first, then strict JSON. */
#ifndef WEIR_ADMIN_BODY_H
#define WEIR_ADMIN_BODY_H

#include "admin/api/api.h"

/* False: answered. Fills call->text, call->body and call->reason. */
bool body_take(struct call *call);

/*
 * A JSON object of bounded depth without duplicate keys, NULL with a sentence
 * in err otherwise. Never recurses deeper than API_DEPTH_MAX.
 */
json_t *body_parse(struct span text, struct err *err);

#endif
