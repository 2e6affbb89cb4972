/*
 * Chunked bodies: one piece, two pieces and single bytes give one payload, one
 * verdict and the same trailers, and those are fields that anybody would read
 * as they were written.
 */
#include "fuzz_h1.h"

struct outcome {
	enum h1_result result;
	enum h1_fault fault;
	size_t used, payload_len, trailers_len;
	char *payload; /* owned */
	char trailers[H1_TRAILERS_MAX];
};

static void
decode(const uint8_t *data, size_t size, size_t cut, size_t step,
    bool wants_trailers, struct outcome *out)
{
	struct h1_chunks chunks = {0};
	size_t n = cut;

	*out = (struct outcome){.payload = malloc(size + 1)};
	assert(out->payload != NULL);
	do {
		char *piece = fuzz_copy((const char *)data + out->used, n);
		size_t used, payload;

		out->result = h1_dechunk(&chunks, piece, n, &used, &payload,
		    wants_trailers ? out->trailers : NULL,
		    wants_trailers ? &out->trailers_len : NULL);
		assert(used <= n && payload <= used);
		assert(out->result != H1_MORE || used == n);
		memcpy(out->payload + out->payload_len, piece, payload);
		out->payload_len += payload;
		out->used += used;
		free(piece);
		n = size - out->used < step ? size - out->used : step;
	} while (out->result == H1_MORE && out->used < size);
	out->fault = chunks.fault;
	assert(chunks.total == out->payload_len);
}

static void
check_same(const struct outcome *a, const struct outcome *b)
{
	assert(a->result == b->result && a->fault == b->fault);
	assert(a->used == b->used && a->payload_len == b->payload_len);
	assert(memcmp(a->payload, b->payload, a->payload_len) == 0);
}

/* As fields of a head they parse, and none of them means anything to us. */
static void
check_trailers(const struct outcome *out)
{
	static char text[H1_TRAILERS_MAX + 64];
	struct h1_head head;
	uint32_t scanned = 0;
	int n = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n%.*s\r\n",
	    (int)out->trailers_len, out->trailers);

	assert(h1_parse_response(text, (size_t)n, sizeof(text), &scanned,
	           METHOD_GET, false, &head) == H1_DONE);
	assert(head.n_fields <= H1_TRAILER_FIELDS_MAX);
	for (unsigned i = 0; i < head.n_fields; i++)
		assert(head.fields[i].id == FIELD_NONE);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct outcome whole, cut, bytes, blind;
	size_t at = fuzz_dice(data, size) % (size + 1);

	decode(data, size, size, size, true, &whole);
	decode(data, size, at, size, true, &cut);
	decode(data, size, size < 1 ? size : 1, 1, true, &bytes);
	decode(data, size, at, size, false, &blind);
	check_same(&whole, &cut);
	check_same(&whole, &bytes);
	check_same(&whole, &blind);
	if (whole.result == H1_DONE) {
		assert(whole.trailers_len == cut.trailers_len);
		assert(whole.trailers_len == bytes.trailers_len);
		assert(memcmp(whole.trailers, bytes.trailers,
		           whole.trailers_len) == 0);
		check_trailers(&whole);
	}
	free(whole.payload);
	free(cut.payload);
	free(bytes.payload);
	free(blind.payload);
	return 0;
}
