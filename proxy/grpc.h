/*
 * gRPC: what a proxy must know of it. A call is a POST of application/grpc
 * over HTTP/2; how it went stands in grpc-status, in the trailers or, when
 * there is nothing else to say, in the head; how long it may take in
 * grpc-timeout.
 */
#ifndef WEIR_PROXY_GRPC_H
#define WEIR_PROXY_GRPC_H

#include "proxy/request.h"

/* A new request over HTTP/2: is it a call, and until when? */
void grpc_begin(struct request *request, const struct h1_head *head);
/* The status in the answer's head, or in its trailers ("name: value\r\n" lines). */
void grpc_note_head(struct request *request, const struct h1_head *head);
void grpc_note_trailers(struct request *request, struct span lines);
/* What a client of gRPC is told in place of an HTTP status. */
unsigned grpc_status_of(enum fail fail);

#endif
