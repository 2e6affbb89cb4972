/* From an HTTP request to the row's function, with all checks between. */
#ifndef WEIR_ADMIN_DISPATCH_H
#define WEIR_ADMIN_DISPATCH_H

#include "admin/api/api.h"

/* What a listener lets through; server.c owns it. */
struct door {
	TAILQ_ENTRY(door) link;
	struct admin *admin;
	struct evhttp *http;               /* owned */
	struct seats *seats;               /* owned: its connections */
	struct evhttp_bound_socket *bound; /* NULL once it no longer accepts */
	struct event *grave; /* a retired door is freed a little later */
	char *text;          /* owned: as in the file */
	char *unix_path;     /* owned: unlinked at the end; NULL for TCP */
	char *host;          /* owned: literal it listens at; NULL for unix */
	uint16_t port;
	bool is_metrics; /* /metrics, /healthz, /readyz and nothing else */
	bool is_loopback;
	bool is_tls; /* for connections from now on */
	bool is_listed; /* in admin->doors */
	bool is_new;    /* opened for a config that is not at work yet */
	bool is_paused; /* its socket does not listen */
};

void dispatch(struct evhttp_request *http, void *door);
/* A read that has passed all checks and waited. */
void dispatch_again(
    struct admin *admin, struct evhttp_request *http, enum call_read read);
/* Digests under which a call's answer is kept. */
void call_digests(
    const struct call *call, uint8_t key[32], uint8_t request[32]);

#endif
