/*
 * A head in all the ways it can arrive: in one piece, cut in two at every
 * place, byte by byte, by both engines, always in a block of memory that ends
 * with the last byte. Whatever way, the result must be the same.
 */
#ifndef WEIR_TESTS_H1_WAYS_H
#define WEIR_TESTS_H1_WAYS_H

/* cmocka wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
/* clang-format on */

#include "proxy/h1/scan.h"

struct way {
	bool is_response;
	enum http_method request;
	bool asked_upgrade;
	size_t max;
};

static const struct h1_engine *const engines[] = {
    &h1_scalar,
#if defined(__x86_64__)
    &h1_avx2,
#endif
};
enum { N_ENGINES = sizeof(engines) / sizeof(engines[0]) };

static inline bool
engine_runs(const struct h1_engine *engine)
{
	return engine == &h1_scalar || engine == h1_engine();
}

/* The first `len` bytes, in memory of their own; the caller frees. */
static inline char *
exactly(const char *bytes, size_t len)
{
	char *copy = malloc(len > 0 ? len : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	return copy;
}

static inline enum h1_result
parse_piece(const struct h1_engine *engine, const struct way *way,
    const char *bytes, size_t len, uint32_t *scanned, struct h1_head *out)
{
	if (!way->is_response)
		return h1_parse_request_by(
		    engine, bytes, len, way->max, scanned, out);
	return h1_parse_response_by(engine, bytes, len, way->max, scanned,
	    way->request, way->asked_upgrade, out);
}

static inline void
assert_same_span(const struct h1_head *a, struct span x,
    const struct h1_head *b, struct span y)
{
	assert_int_equal(x.len, y.len);
	assert_int_equal(x.ptr == NULL, y.ptr == NULL);
	if (x.len > 0)
		assert_memory_equal(x.ptr, y.ptr, x.len);
	if (x.ptr >= a->bytes && x.ptr < a->bytes + a->len)
		assert_int_equal(x.ptr - a->bytes, y.ptr - b->bytes);
}

static inline void
assert_same_head(
    const struct h1_head *a, const struct h1_head *b, bool is_response)
{
	assert_int_equal(a->len, b->len);
	assert_int_equal(a->minor, b->minor);
	assert_int_equal(a->framing, b->framing);
	assert_int_equal(a->length, b->length);
	assert_int_equal(a->has_length, b->has_length);
	assert_int_equal(a->keep_alive, b->keep_alive);
	assert_int_equal(a->n_fields, b->n_fields);
	assert_memory_equal(
	    a->fields, b->fields, a->n_fields * sizeof(a->fields[0]));
	assert_memory_equal(a->first, b->first, sizeof(a->first));
	assert_memory_equal(a->count, b->count, sizeof(a->count));
	if (is_response) {
		assert_int_equal(a->status, b->status);
		assert_same_span(a, a->reason, b, b->reason);
		return;
	}
	assert_int_equal(a->method, b->method);
	assert_int_equal(a->wants_upgrade, b->wants_upgrade);
	assert_int_equal(a->is_websocket, b->is_websocket);
	assert_int_equal(a->expects_continue, b->expects_continue);
	assert_int_equal(a->te_trailers, b->te_trailers);
	assert_int_equal(a->path_is_plain, b->path_is_plain);
	assert_same_span(a, a->method_text, b, b->method_text);
	assert_same_span(a, a->target, b, b->target);
	assert_same_span(a, a->path, b, b->path);
	assert_same_span(a, a->query, b, b->query);
	assert_same_span(a, a->host, b, b->host);
	assert_same_span(a, a->hostname, b, b->hostname);
}

/* The bytes in steps: first `cut` bytes, then `step` more each time. */
static inline enum h1_result
parse_in_steps(const struct h1_engine *engine, const struct way *way,
    const char *bytes, size_t len, size_t cut, size_t step, char **kept,
    struct h1_head *out)
{
	uint32_t scanned = 0;

	for (size_t there = cut;;
	     there = there + step < len ? there + step : len) {
		enum h1_result result;

		*kept = exactly(bytes, there);
		result = parse_piece(engine, way, *kept, there, &scanned, out);
		if (result != H1_MORE || there == len)
			return result;
		free(*kept);
	}
}

/* Parses in all ways; `out` points into `bytes`. */
static inline enum h1_result
parse_all_ways(
    const struct way *way, const char *bytes, size_t len, struct h1_head *out)
{
	uint32_t scanned = 0;
	enum h1_result whole =
	    parse_piece(&h1_scalar, way, bytes, len, &scanned, out);

	for (size_t e = 0; e < N_ENGINES; e++) {
		for (size_t cut = 0; engine_runs(engines[e]) && cut <= len;
		     cut++) {
			/* cut 0: byte by byte */
			struct h1_head head;
			char *kept;
			enum h1_result result = parse_in_steps(engines[e], way,
			    bytes, len, cut, cut == 0 ? 1 : len, &kept, &head);

			assert_int_equal(result, whole);
			assert_int_equal(head.fault, out->fault);
			if (whole == H1_DONE)
				assert_same_head(out, &head, way->is_response);
			free(kept);
		}
	}
	return whole;
}

#endif
