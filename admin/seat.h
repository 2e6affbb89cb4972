/*
 * The connections at one listener of the control plane: how many there may be,
 * from one address and in all, and how long one may take to ask. Control
 * thread only.
 */
#ifndef WEIR_ADMIN_SEAT_H
#define WEIR_ADMIN_SEAT_H

#include <event2/event.h>
#include <event2/http.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/units.h"

enum {
	SEATS_MAX = 256,         /* of one listener, less where descriptors are few */
	SEATS_BY_ADDRESS = 32,   /* IPv6 by /64 */
	SEAT_FIRST_SECONDS = 20, /* from accept to the end of the first request */
	SEAT_NEXT_SECONDS = 90,  /* from an answer to the end of the next request */
};

struct tls_gate;
struct seats;

/* `is_shared`: all who come have one address (loopback, unix), which says
 * nothing. `base` and `refused`, which counts who was turned away, outlive it.
 */
struct seats *seats_new(
    struct event_base *base, bool is_shared, uint64_t *refused);
/* TLS for those who come from now on; NULL: clear. Borrowed. */
void seats_gate(struct seats *seats, const struct tls_gate *gate);
/* evhttp's bevcb, with the seats as its argument. */
struct bufferevent *seats_take(struct event_base *base, void *seats);
/* A request of one of them is being answered: it is not idle until then.
 * False: it came by another way. */
bool seats_serve(struct seats *seats, struct evhttp_request *http);
/* Frees what is gone, ends what takes too long; about once a second. */
void seats_sweep(struct seats *seats, nsec_t now);
/* After evhttp has freed all its connections. */
void seats_free(struct seats **seats);

#endif
