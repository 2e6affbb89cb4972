/*
 * The handshake of WebSocket between versions of HTTP: HTTP/1 proves itself by
 * a key and its digest (RFC 6455 section 4), HTTP/2 does not (RFC 8441), so
 * weir makes up what the other side wants to see.
 */
#ifndef WEIR_PROXY_WEBSOCKET_H
#define WEIR_PROXY_WEBSOCKET_H

#include "config/span.h"
#include "routing/decide.h"

enum { WEBSOCKET_KEY = 24, WEBSOCKET_ACCEPT = 28 };

/* Sec-WebSocket-Key: 16 random bytes. */
void websocket_key(struct rng *rng, char out[WEBSOCKET_KEY]);
/* Sec-WebSocket-Accept for that key. */
void websocket_accept(struct span key, char out[WEBSOCKET_ACCEPT]);

#endif
