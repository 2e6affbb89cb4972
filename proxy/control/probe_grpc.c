/* gRPC's health check in bytes, see probe_grpc.h. */
#include "proxy/control/probe_grpc.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "proxy/grpc.h"

enum {
	PREFIX = 5,       /* is it compressed, and four bytes of length */
	TAG_SERVICE = 10, /* field 1, of so many bytes */
	TAG_STATUS = 8,   /* field 1, a number */
};

/* As the protocol counts them. */
enum serving { UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN };

/* ---- the question ---- */

size_t
probe_grpc_ask(const char *service, uint8_t out[PROBE_GRPC_ASK_MAX])
{
	size_t len = strlen(service), at = PREFIX;

	assert(len <= PROBE_GRPC_SERVICE_MAX);
	if (len > 0) {
		out[at++] = TAG_SERVICE;
		if (len > 127)
			out[at++] = (uint8_t)(0x80 | (len & 127));
		out[at++] = (uint8_t)(len > 127 ? len >> 7 : len);
		memcpy(out + at, service, len);
		at += len;
	}
	memset(out, 0, 3);
	out[3] = (uint8_t)((at - PREFIX) >> 8);
	out[4] = (uint8_t)(at - PREFIX);
	return at;
}

/* ---- the answer comes ---- */

void
probe_grpc_field(struct probe_grpc *grpc, struct span name, struct span value)
{
	if (span_eq(name, SPAN("content-type"))) {
		grpc->is_grpc = grpc_is_content_type(value);
	} else if (span_eq(name, SPAN("grpc-status"))) {
		grpc->has_status = true;
		grpc->status = grpc_status(value);
	}
}

void
probe_grpc_data(struct probe_grpc *grpc, const void *bytes, size_t len)
{
	if (len > sizeof(grpc->told) - grpc->n) {
		grpc->is_too_long = true;
		return;
	}
	memcpy(grpc->told + grpc->n, bytes, len);
	grpc->n += len;
}

/* ---- what it means ---- */

struct cursor {
	const uint8_t *at, *end;
};

static bool
take_varint(struct cursor *cursor, uint64_t *out)
{
	*out = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte;

		if (cursor->at == cursor->end)
			return false;
		byte = *cursor->at++;
		*out |= (uint64_t)(byte & 127) << shift;
		if (byte < 128)
			return true;
	}
	return false;
}

/* The value of a field that is not ours; false: it is none. */
static bool
skip(struct cursor *cursor, unsigned kind)
{
	uint64_t len;

	switch (kind) {
	case 0:
		return take_varint(cursor, &len);
	case 1:
		len = 8;
		break;
	case 2:
		if (!take_varint(cursor, &len))
			return false;
		break;
	case 5:
		len = 4;
		break;
	default:
		return false;
	}
	if (len > (uint64_t)(cursor->end - cursor->at))
		return false;
	cursor->at += len;
	return true;
}

/* The one message of the answer. Without the field it is its default. */
static bool
read_serving(const struct probe_grpc *grpc, uint64_t *out)
{
	struct cursor cursor = {grpc->told + PREFIX, grpc->told + grpc->n};
	uint64_t tag;

	*out = UNKNOWN;
	if (grpc->n < PREFIX || grpc->told[0] != 0 || grpc->told[1] != 0 ||
	    grpc->told[2] != 0 ||
	    (size_t)(grpc->told[3] << 8 | grpc->told[4]) != grpc->n - PREFIX)
		return false;
	while (cursor.at < cursor.end) {
		if (!take_varint(&cursor, &tag) || tag >> 3 == 0)
			return false;
		if (tag == TAG_STATUS ? !take_varint(&cursor, out)
		                      : !skip(&cursor, tag & 7))
			return false;
	}
	return true;
}

static const char *
words_of(unsigned status)
{
	static const char *const words[] = {NULL, "cancelled", "unknown",
	    "invalid argument", "deadline exceeded",
	    "the server does not know the service", "already exists",
	    "permission denied", "resource exhausted", "failed precondition",
	    "aborted", "out of range", "the server has no health service",
	    "internal", "unavailable", "data loss", "unauthenticated"};

	return status < sizeof(words) / sizeof(words[0]) ? words[status]
	                                                 : "no such status";
}

static enum probe_verdict
bad(char text[PROBE_TEXT_MAX], const char *what)
{
	snprintf(text, PROBE_TEXT_MAX, "%s", what);
	return PROBE_BAD;
}

static enum probe_verdict
judge_message(const struct probe_grpc *grpc, char text[PROBE_TEXT_MAX])
{
	uint64_t serving;

	if (!read_serving(grpc, &serving))
		return bad(text, "the answer is not a health service's");
	switch (serving) {
	case SERVING:
		snprintf(text, PROBE_TEXT_MAX, "serving");
		return PROBE_GOOD;
	case NOT_SERVING:
		return bad(text, "not serving");
	case UNKNOWN:
		return bad(text, "its health is unknown to the server");
	case SERVICE_UNKNOWN:
		return bad(text, "the server does not know the service");
	default:
		return bad(text, "the server says what no health service does");
	}
}

enum probe_verdict
probe_grpc_judge(
    const struct probe_grpc *grpc, bool is_over, char text[PROBE_TEXT_MAX])
{
	if (grpc->http_status > 0 && grpc->http_status != 200) {
		snprintf(text, PROBE_TEXT_MAX, "status %u instead of gRPC's",
		    grpc->http_status);
		return PROBE_BAD;
	}
	if (grpc->http_status > 0 && !grpc->is_grpc)
		return bad(text, "the answer is not gRPC");
	if (grpc->is_too_long)
		return bad(text, "the answer is not a health service's");
	if (!is_over)
		return PROBE_MORE;
	if (grpc->http_status == 0)
		return bad(text, "closed without an answer");
	if (!grpc->has_status)
		return bad(text, "the answer has no grpc-status");
	if (grpc->status == 0)
		return judge_message(grpc, text);
	snprintf(text, PROBE_TEXT_MAX, "grpc status %u (%s)", grpc->status,
	    words_of(grpc->status));
	return PROBE_BAD;
}
