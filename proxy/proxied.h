/*
 * Connections that somebody speaks for by the PROXY protocol.
 *
 * In: a listener with `proxy_protocol` takes connections from trusted
 * balancers only, and each begins with a header, before TLS; from then on the
 * connection's peer is the client that it names.
 *
 * Out: a pool with `send_proxy` tells its endpoints the same way. Such an
 * upstream connection says once whose it is, so it belongs to the client's
 * connection for which it was made (its owner), carries only that one's
 * requests and ends with it. HAProxy does the same: it reuses a connection
 * only where the header would be the same, ports included.
 */
#ifndef WEIR_PROXY_PROXIED_H
#define WEIR_PROXY_PROXIED_H

#include "proxy/conn.h"

LIST_HEAD(conn_list, conn);

/* What a client's connection has of the above; most have none of it. */
struct proxied {
	bool is_received;   /* a header came: the two below are known */
	struct peer sender; /* who sent it */
	struct peer
	    destination; /* where the client went to; family 0: not told */
	struct conn_list
	    own; /* borrowed: upstream connections that speak for it */
};

/* ---- in ---- */
/* May `peer` send headers? False: it was told so, and counted; the connection
 * is over. */
bool proxied_accept(struct conn *conn);
/*
 * The connection's first bytes; returns how many were the header: the rest is
 * the connection's own. 0: more is needed, or the connection has ended.
 */
size_t proxied_input(struct conn *conn, const char *bytes, size_t len);
/* The connection ended, or took too long, within its header. */
void proxied_cut(struct conn *conn);
/* Who is at the other end of the descriptor. */
const struct peer *proxied_sender(const struct conn *client);

/* ---- out ---- */
/* The upstream's connection will speak for the request's client. False: no
 * memory. */
bool proxied_own(struct conn *upstream, struct request *request);
/* Says so: the first bytes of the connection. False: it is gone. */
bool proxied_announce(struct conn *upstream);
/* Those of the request's client that may serve it, one after another; NULL: no
 * more. */
struct conn *proxied_next(const struct request *request, struct conn *after);
/* From conn_end: an upstream's leaves its owner, a client's ends those that it
 * owns. */
void proxied_leave(struct conn *upstream);
void proxied_end(struct conn *client);

#endif
