/*
 * Who the client is and how the request is called: what a client says about
 * itself is believed only from trusted peers (RFC 7239 and the de facto
 * X-Forwarded-* fields), everything else is written anew.
 */
#ifndef WEIR_PROXY_IDENTITY_H
#define WEIR_PROXY_IDENTITY_H

#include "proxy/request.h"

struct writer;

bool identity_is_trusted(const struct listener_cfg *listener, const struct peer *peer);
/* The client's real address: the peer, or what trusted proxies say. */
void identity_client_address(const struct conn *client, const struct listener_cfg *listener, const struct h1_head *head,
    struct peer *out, bool *trusted_out);
/* x-forwarded-for, -proto, -host, forwarded. */
void identity_put(struct writer *out, const struct conn *client, const struct h1_head *head, bool trusted);
/* traceparent (W3C Trace Context) and, with own_id, x-request-id; fills request->id, trace_id, span_id. */
void identity_put_correlation(struct writer *out, struct request *request, const struct h1_head *head, bool trusted, bool own_id);
/* Does the head belong to a trace that goes on? */
bool identity_has_trace(const struct h1_head *head);

#endif
