/*
 * What the fuzz targets of HTTP/1 share: a head is parsed by both engines, in
 * one piece and in two, each in memory that ends with its last byte, and all
 * must agree.
 */
#ifndef WEIR_FUZZ_H1_H
#define WEIR_FUZZ_H1_H

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/h1/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_HEAD_MAX = 4096 };

struct fuzz_way {
	bool is_response;
	enum http_method request;
	bool asked_upgrade;
};

/* A number that depends on all bytes, so that inputs stay plain HTTP. */
static inline uint32_t
fuzz_dice(const uint8_t *data, size_t size)
{
	uint32_t dice = 2166136261u;

	for (size_t i = 0; i < size; i++)
		dice = (dice ^ data[i]) * 16777619u;
	return dice >> 7;
}

static inline char *
fuzz_copy(const char *bytes, size_t len)
{
	char *copy = malloc(len > 0 ? len : 1);

	assert(copy != NULL);
	if (len > 0)
		memcpy(copy, bytes, len);
	return copy;
}

static inline enum h1_result
fuzz_parse(const struct h1_engine *engine, struct fuzz_way way,
    const char *bytes, size_t len, uint32_t *scanned, struct h1_head *out)
{
	if (!way.is_response)
		return h1_parse_request_by(
		    engine, bytes, len, FUZZ_HEAD_MAX, scanned, out);
	return h1_parse_response_by(engine, bytes, len, FUZZ_HEAD_MAX, scanned,
	    way.request, way.asked_upgrade, out);
}

static inline void
fuzz_same_span(struct span a, struct span b)
{
	assert((a.ptr == NULL) == (b.ptr == NULL));
	assert(span_eq(a, b));
}

static inline void
fuzz_same_request(const struct h1_head *a, const struct h1_head *b)
{
	assert(a->method == b->method);
	fuzz_same_span(a->method_text, b->method_text);
	fuzz_same_span(a->target, b->target);
	fuzz_same_span(a->path, b->path);
	fuzz_same_span(a->query, b->query);
	fuzz_same_span(a->host, b->host);
	fuzz_same_span(a->hostname, b->hostname);
	assert(a->wants_upgrade == b->wants_upgrade);
	assert(a->is_websocket == b->is_websocket);
	assert(a->expects_continue == b->expects_continue);
	assert(a->te_trailers == b->te_trailers);
	assert(a->path_is_plain == b->path_is_plain);
}

static inline void
fuzz_same_head(
    struct fuzz_way way, const struct h1_head *a, const struct h1_head *b)
{
	assert(a->len == b->len && a->minor == b->minor);
	assert(a->framing == b->framing && a->length == b->length);
	assert(a->has_length == b->has_length);
	assert(a->keep_alive == b->keep_alive);
	assert(a->n_fields == b->n_fields);
	assert(memcmp(a->fields, b->fields,
	           a->n_fields * sizeof(a->fields[0])) == 0);
	assert(memcmp(a->first, b->first, sizeof(a->first)) == 0);
	assert(memcmp(a->count, b->count, sizeof(a->count)) == 0);
	if (way.is_response) {
		assert(a->status == b->status);
		fuzz_same_span(a->reason, b->reason);
	} else {
		fuzz_same_request(a, b);
	}
}

/* A head that was accepted is in the one canonical form. */
static inline void
fuzz_check_head(const struct h1_head *head)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < head->len; i++) {
		char byte = head->bytes[i];

		assert(byte != '\0');
		assert((byte == '\n') == (i > 0 && head->bytes[i - 1] == '\r'));
		assert(byte != '\r' || i + 1 < head->len);
	}
	assert(memcmp(head->bytes + head->len - 2, "\r\n", 2) == 0);
	for (uint32_t i = 0; i < head->n_fields; i++) {
		const struct h1_field *field = &head->fields[i];

		assert(i == 0 || field->name == at);
		assert(head->bytes[field->name + field->name_len] == ':');
		assert(field->name_len > 0 && field->name_len <= H1_NAME_MAX);
		assert(field->value > field->name + field->name_len);
		assert(field->value + field->value_len + 2 <= field->line_end);
		at = field->line_end;
	}
	assert(head->n_fields == 0 || at + 2 == head->len);
}

/* By both engines and in two pieces; `out` is the plain engine's, in one. */
static inline enum h1_result
fuzz_all_ways(struct fuzz_way way, const char *bytes, size_t len, size_t cut,
    struct h1_head *out)
{
	uint32_t scanned = 0;
	enum h1_result whole =
	    fuzz_parse(&h1_scalar, way, bytes, len, &scanned, out);
	const struct h1_engine *engines[2] = {&h1_scalar, h1_engine()};

	for (int i = 0; i < 4; i++) {
		struct h1_head head;
		enum h1_result result = H1_MORE;
		char *piece = fuzz_copy(bytes, cut), *copy;

		scanned = 0;
		if (i >= 2)
			result = fuzz_parse(
			    engines[i & 1], way, piece, cut, &scanned, &head);
		copy = fuzz_copy(bytes, len);
		if (result == H1_MORE)
			result = fuzz_parse(
			    engines[i & 1], way, copy, len, &scanned, &head);
		assert(result == whole);
		assert(result != H1_BAD || head.fault == out->fault);
		if (whole == H1_DONE)
			fuzz_same_head(way, out, &head);
		free(piece);
		free(copy);
	}
	if (whole == H1_DONE)
		fuzz_check_head(out);
	else
		assert((whole == H1_BAD) == (out->fault != H1_FAULT_NONE));
	return whole;
}

/* ---- writing a head as a proxy would ---- */

struct fuzz_text {
	char bytes[2 * FUZZ_HEAD_MAX];
	size_t len;
};

static inline void
fuzz_put(struct fuzz_text *text, struct span span)
{
	assert(text->len + span.len <= sizeof(text->bytes));
	if (span.len > 0)
		memcpy(text->bytes + text->len, span.ptr, span.len);
	text->len += span.len;
}

/* Untouched lines as they stand, and the framing anew; returns how many. */
static inline unsigned
fuzz_put_fields(struct fuzz_text *text, const struct h1_head *head)
{
	char length[64];
	unsigned n = 0;

	for (uint32_t i = 0; i < head->n_fields; i++) {
		const struct h1_field *field = &head->fields[i];

		if (field->is_hop ||
		    field_class(field->id) == FIELD_CLASS_FRAMING)
			continue;
		fuzz_put(text, (struct span){head->bytes + field->name,
		                   field->line_end - field->name});
		n++;
	}
	if (head->framing == H1_CHUNKED) {
		fuzz_put(text, SPAN("Transfer-Encoding: chunked\r\n"));
		n++;
	} else if (head->has_length) {
		snprintf(length, sizeof(length), "Content-Length: %llu\r\n",
		    (unsigned long long)head->length);
		fuzz_put(text, span_of(length));
		n++;
	}
	fuzz_put(text, SPAN("\r\n"));
	return n;
}

#endif
