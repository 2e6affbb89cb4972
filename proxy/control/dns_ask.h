/*
 * One question to the name servers, on a c-ares channel of its own: an answer
 * that is too long and cannot be had by TCP costs all other names of its
 * channel a try. A new channel also sees what resolv.conf says now. Control
 * thread only.
 */
#ifndef WEIR_PROXY_DNS_ASK_H
#define WEIR_PROXY_DNS_ASK_H

#include <event2/event.h>

#include "proxy/control/dns_read.h"

enum dns_kind { DNS_ADDRESSES, DNS_SERVICE };

struct dns_settings {
	char servers[1024]; /* "": the system's */
	nsec_t timeout;     /* of one try */
};

/* All that it points at lives as long as the call that tells it. */
struct dns_reply {
	int status;       /* of c-ares */
	bool is_answered; /* false: it was given up */
	nsec_t ttl;       /* as the answer has it */
	const struct dns_addresses *addresses;
	const struct dns_service *service;
};

struct dns_question;
/* Called once, at the latest when it is given up; the question is over then and not its owner's any more. */
typedef void dns_replied_fn(void *ctx, const struct dns_reply *reply);
/* NULL: it is over already. */
struct dns_question *dns_ask(struct event_base *base, const struct dns_settings *settings, enum dns_kind kind, const char *name, dns_replied_fn *fn, void *ctx);
void dns_give_up(struct dns_question **question);

#endif
