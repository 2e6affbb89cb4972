/*
 * Calls of ours to receivers over HTTP, all on the control thread's loop and
 * never waiting there: events that are sent to somebody (notifications), and
 * questions that somebody answers (gates). A receiver that is dead, slow or
 * hostile costs a bounded number of connections and bytes, is seen in the
 * log, the metrics and the API, and holds nothing else up.
 *
 * Every call carries
 *
 *	weir-delivery: <id>            the same over all tries of one call
 *	weir-event: <event>
 *	weir-signature: t=<unix seconds>,v1=<hex>
 *
 * v1 is HMAC-SHA256 by the hook's key over "<t>.<body>"; t is of the try. Only
 * a receiver without a key gets none. Redirects are not followed. 2xx is
 * success; no answer, 408, 429 and 5xx are tried again with growing pauses;
 * anything else is an answer that stays.
 */
#ifndef WEIR_ADMIN_NOTIFY_H
#define WEIR_ADMIN_NOTIFY_H

#include <event2/event.h>
#include <jansson.h>

#include "config/config.h"

enum {
	NOTIFY_AT_ONCE = 32,       /* transfers; and to one receiver: */
	NOTIFY_PER_RECEIVER = 4,
	NOTIFY_QUEUE_MAX = 256,    /* events waiting for one receiver; more are dropped, the newest first */
	NOTIFY_ANSWER_MAX = 16 << 10, /* bytes of an answer that are read */
	NOTIFY_TEXT_MAX = 160,
	NOTIFY_ID_MAX = 64,
	NOTIFY_RECEIVERS_MAX = 128, /* remembered; of more, idle ones that were used longest ago are forgotten */
};

struct notify; /* notify.c */
/* NULL with err: libcurl cannot work here. */
struct notify *notify_new(struct event_base *base, struct err *err);
/* What is under way is given up; questions get no answer. */
void notify_free(struct notify **notify);

struct hook_call {
	const struct hook_cfg *hook; /* borrowed for the call */
	const char *event;           /* "rollout.phase", "gate": the header's word */
	const char *id;              /* NULL: a random one is made */
	json_t *body;                /* the reference is taken; an object: "schema" and "id" are set here */
};

/*
 * Sends and forgets. Calls to one receiver arrive in the order of these calls,
 * one at a time. False: not even queued (the queue is full, the key cannot be
 * read): logged and counted.
 */
bool hook_send(struct notify *notify, const struct hook_call *call);

struct hook_answer {
	bool is_answered; /* false: nobody did, after all tries */
	bool is_ok;       /* 2xx, and the answer has ended within NOTIFY_ANSWER_MAX */
	long status;      /* 0: none */
	char text[NOTIFY_TEXT_MAX]; /* one printable line: what it said, or what went wrong */
};
typedef void hook_answer_fn(void *ctx, size_t tag, const struct hook_answer *answer);

/*
 * Asks; `fn` is called exactly once, later and never from within this call,
 * unless hook_forget came first.
 */
void hook_ask(struct notify *notify, const struct hook_call *call, hook_answer_fn *fn, void *ctx, size_t tag);
/* The questions asked with this ctx get no answer any more. */
void hook_forget(struct notify *notify, const void *ctx);

/* ---- what the operator sees of it ---- */

struct receiver_view {
	const char *name;        /* scheme, host and port of its url: paths may hold secrets */
	uint64_t delivered, failed, dropped, tries;
	size_t waiting;
	unsigned failing;        /* calls failed since the last success; 0: well, or never used */
	time_t success_at, failure_at; /* wall; 0: never */
	const char *error;       /* of the last failed try; "" */
};
/* In the order of their first use. */
size_t notify_receivers(const struct notify *notify);
void notify_receiver(const struct notify *notify, size_t i, struct receiver_view *out);
/* {"schema":"weir.notify/v1","receivers":[...]}; a new reference. */
json_t *notify_json(const struct notify *notify);
struct exposition;
void notify_metrics(const struct notify *notify, struct exposition *x);

#endif
