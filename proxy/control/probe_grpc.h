/*
 * A check by gRPC's health checking protocol, grpc.health.v1.Health/Check:
 * the question's bytes, and what an answer means. The messages are small
 * enough to be written and read by hand:
 *
 *   message HealthCheckRequest  { string service = 1; }
 *   message HealthCheckResponse { ServingStatus status = 1; }
 *
 * An answer that holds more than a status ever needs is none.
 */
#ifndef WEIR_PROXY_PROBE_GRPC_H
#define WEIR_PROXY_PROBE_GRPC_H

#include "config/span.h"
#include "proxy/control/probe_h1.h"

enum {
	PROBE_GRPC_SERVICE_MAX = 256,
	PROBE_GRPC_ASK_MAX = PROBE_GRPC_SERVICE_MAX + 8,
	PROBE_GRPC_TOLD_MAX =
	    256, /* bytes of an answer's message, its prefix too */
};

/* What has come of an answer; all zero at first. */
struct probe_grpc {
	unsigned http_status;     /* 0: no final head yet */
	bool is_grpc, has_status; /* by content-type; by grpc-status */
	bool is_too_long;
	unsigned status;
	size_t n;
	uint8_t told[PROBE_GRPC_TOLD_MAX];
};

/* The message with its prefix; its length. The name has no more than
 * PROBE_GRPC_SERVICE_MAX bytes. */
size_t probe_grpc_ask(const char *service, uint8_t out[PROBE_GRPC_ASK_MAX]);
/* A field of a head or of trailers, and a part of the body. */
void probe_grpc_field(
    struct probe_grpc *grpc, struct span name, struct span value);
void probe_grpc_data(struct probe_grpc *grpc, const void *bytes, size_t len);
/* As probe_h1_judge; `is_over`: the stream has ended. */
enum probe_verdict probe_grpc_judge(
    const struct probe_grpc *grpc, bool is_over, char text[PROBE_TEXT_MAX]);

#endif
