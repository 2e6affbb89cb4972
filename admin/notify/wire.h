/*
 * One HTTP exchange at a time, many beside each other: libcurl's multi
 * interface driven by the control thread's event_base. Knows nothing of
 * events, signatures or tries: notify.c does.
 */
#ifndef WEIR_ADMIN_NOTIFY_WIRE_H
#define WEIR_ADMIN_NOTIFY_WIRE_H

#include <event2/event.h>

#include "config/err.h"
#include "config/span.h"
#include "config/units.h"

struct wire;
struct exchange;

struct wire *wire_new(struct event_base *base, struct err *err);
/* No exchange may be under way. */
void wire_free(struct wire **wire);

struct wire_request {
	const char *url;
	const char *const *headers; /* "name: value" */
	size_t n_headers;
	struct span body; /* copied */
	nsec_t timeout;
};

struct wire_result {
	bool is_answered; /* an answer came */
	bool is_cut;      /* it was longer than NOTIFY_ANSWER_MAX and was not
	                     heard to its end */
	long status;
	struct span body;  /* for the time of the call */
	const char *error; /* when it is not answered */
};
typedef void wire_done_fn(void *ctx, const struct wire_result *result);

/* `done` is called later, once, and the exchange is gone then. NULL: no memory.
 */
struct exchange *wire_send(struct wire *wire,
    const struct wire_request *request, wire_done_fn *done, void *ctx);
/* It never happened; `done` is not called. Safe for NULL. */
void wire_cancel(struct exchange **exchange);

#endif
