/*
 * gRPC: what a proxy must know of it. A call is a POST of application/grpc
 * over HTTP/2; how it went stands in grpc-status, in the trailers or, when
 * there is nothing else to say, in the head; how long it may take in
 * grpc-timeout.
 */
#ifndef WEIR_PROXY_GRPC_H
#define WEIR_PROXY_GRPC_H

#include "proxy/request.h"

/* As it will be taken at most: a year, for the largest that can be said is
 * more than 64 bits of nanoseconds. */
#define GRPC_TIMEOUT_MAX (365 * 24 * 3600 * NSEC_PER_SEC)

/* ---- the protocol's words; pure ---- */
/* grpc-timeout: at most eight digits and a unit. 0: none, or malformed. */
nsec_t grpc_timeout(struct span text);
/* application/grpc and its subtypes by "+"; not gRPC-Web, whose trailers stand
 * in the body. */
bool grpc_is_content_type(struct span text);
/* grpc-status: what is no number is UNKNOWN, as to any client. */
unsigned grpc_status(struct span text);
/* Which statuses are the pool's failure: as for HTTP's 5xx. */
bool grpc_is_failure(unsigned status);
/* The value of grpc-status among "name: value\r\n" lines. False: not there. */
bool grpc_status_line(struct span lines, struct span *out);
/* How a call went by its trailers: one status that is no failure. None and
 * several are UNKNOWN to any client, and that is one. */
bool grpc_lines_fail(struct span lines);

/* ---- calls ---- */
/* A new request over HTTP/2: is it a call, and until when? */
void grpc_begin(struct request *request, const struct h1_head *head);
/* Does the answer say that the pool has failed? The head counts only where it
 * is all there is (Trailers-Only), else what its trailers say ("name:
 * value\r\n" lines; NULL: none) of an answer with status 200. */
bool grpc_head_fails(const struct h1_head *head);
bool grpc_trailers_fail(const struct buf *trailers);
/* The same, of what the client is told: kept for the log. */
bool grpc_note_head(struct request *request, const struct h1_head *head);
bool grpc_note_trailers(struct request *request);
/* What a client of gRPC is told in place of an HTTP status. */
unsigned grpc_status_of(enum fail fail);

#endif
