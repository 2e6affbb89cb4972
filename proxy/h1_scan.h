/*
 * The byte-by-byte work of the HTTP/1 parser, in two kinds that must agree on
 * every input (the tests and fuzz targets compare them): plain C, and AVX2.
 *
 * The order of work makes the result a function of the bytes alone, however
 * they arrive in pieces. `lines` runs over a head as far as it is there and
 * finds the line ends, the empty line, or the first byte that no head may hold.
 * Only a whole head goes to `fields`. No step reads behind `len`.
 */
#ifndef WEIR_PROXY_H1_SCAN_H
#define WEIR_PROXY_H1_SCAN_H

#include "proxy/field_table.h"
#include "proxy/h1_parse.h"

/* The first line, all fields, and one too many. */
enum { H1_LINES_CAP = 1 + H1_FIELDS_MAX + 1 };

struct h1_lines {
	uint32_t n;          /* ended lines, the empty one not counted */
	uint32_t end;        /* behind the empty line; 0: not there yet */
	enum h1_fault fault; /* of the first byte that may not be there */
	uint32_t
	    at[H1_LINES_CAP + 1]; /* each line's CR; the last entry is a bin */
};

/* What a request target holds. */
struct h1_target {
	uint32_t query;  /* offset of the first '?', or the target's end */
	bool is_illegal; /* space, control, '#', or a byte >= 0x80 */
	bool is_odd; /* before the '?': '%', '\\', or a '/' before '/' or '.' */
};

struct h1_engine {
	const char *name;
	/*
	 * From `from`, which is the start of a message or a place that an
	 * earlier call has reached, never between CR and LF.
	 */
	void (*lines)(const char *bytes, uint32_t len, uint32_t from,
	    struct h1_lines *out);
	/* All lines but the first, into fields[], first[] and count[]. */
	enum h1_fault (*fields)(const char *bytes, uint32_t len,
	    const struct h1_lines *lines, struct h1_head *out);
	/* The target in [from, to). */
	void (*target)(const char *bytes, uint32_t len, uint32_t from,
	    uint32_t to, struct h1_target *out);
};

extern const struct h1_engine h1_scalar;
#if defined(__x86_64__)
extern const struct h1_engine h1_avx2;
#endif

/* The fastest that this CPU can run. */
const struct h1_engine *h1_engine(void);

/* The public functions, with a chosen engine: for tests. */
enum h1_result h1_parse_request_by(const struct h1_engine *engine,
    const char *bytes, size_t len, size_t max, uint32_t *scanned,
    struct h1_head *out);
enum h1_result h1_parse_response_by(const struct h1_engine *engine,
    const char *bytes, size_t len, size_t max, uint32_t *scanned,
    enum http_method request, bool asked_upgrade, struct h1_head *out);

/* Bits per byte: what it may be part of. */
enum {
	H1_TOKEN = 1,
	H1_CONTROL = 2,
	H1_HOST = 4,
	H1_HEX = 8,
	H1_UNRESERVED = 16
};
extern const uint8_t h1_bytes[256];

static inline bool
h1_is(char byte, unsigned kinds)
{
	return (h1_bytes[(unsigned char)byte] & kinds) != 0;
}

static inline bool
h1_is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

/* Why the byte at `at` may not stand there. */
enum h1_fault h1_byte_fault(const char *bytes, uint32_t at);

/*
 * Why the line [from, to) of which `name_len` bytes are token characters is
 * no field line.
 */
enum h1_fault h1_name_fault(const char *bytes, uint32_t from, uint32_t to,
    uint32_t name_len, bool is_first);

/* A field's place in the head, when its name is known to be sound. */
static inline void
h1_field_put(struct h1_head *out, uint32_t idx, uint32_t from,
    uint32_t name_len, uint32_t to, unsigned id, bool is_alias)
{
	const char *bytes = out->bytes;
	uint32_t value = from + name_len + 1, end = to;

	while (value < end && h1_is_blank(bytes[value]))
		value++;
	while (end > value && h1_is_blank(bytes[end - 1]))
		end--;
	out->fields[idx] = (struct h1_field){
	    .name = from,
	    .value = value,
	    .name_len = (uint16_t)name_len,
	    .id = (uint8_t)id,
	    .is_hop = is_alias || field_rows[id].class == FIELD_CLASS_HOP,
	    .value_len = end - value,
	    .line_end = to + 2,
	};
	if (id == FIELD_NONE || is_alias)
		return;
	if (out->count[id]++ == 0)
		out->first[id] = (uint16_t)(idx + 1);
}

#endif
