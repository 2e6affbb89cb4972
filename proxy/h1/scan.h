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

#include "proxy/h1/field_table.h"
#include "proxy/h1/parse.h"

enum {
	/* the first line, all fields, and one too many */
	H1_LINES_CAP = 1 + H1_FIELDS_MAX + 1,
	/* line ends that one block of 32 bytes can hold */
	H1_LINES_SLACK = 16,
};

struct h1_lines {
	/*
	 * Ended lines, the empty one not counted. From H1_LINES_CAP on it says
	 * only that there are too many.
	 */
	uint32_t n;
	uint32_t end;        /* behind the empty line; 0: not there yet */
	enum h1_fault fault; /* of the first byte that may not be there */
	uint32_t at[H1_LINES_CAP + H1_LINES_SLACK]; /* each line's CR */
};

/* What a request target holds. */
struct h1_target {
	uint32_t query;  /* offset of the first '?', or the target's end */
	bool is_illegal; /* space, control, '#', or a byte >= 0x80 */
	bool is_odd; /* before the '?': '%', '\\', or a '/' before '/' or '.' */
};

struct h1_engine {
	/*
	 * From `from`, which is the start of a message or a place that an
	 * earlier call has reached, never between CR and LF.
	 */
	void (*lines)(const char *bytes, uint32_t len, uint32_t from,
	    struct h1_lines *out);
	/* All lines but the first, into fields[], first[] and count[]. */
	enum h1_fault (*fields)(const char *bytes, uint32_t len,
	    const struct h1_lines *lines, struct h1_head *out);
	/* How many bytes from `from` on may be part of a name of a host. */
	size_t (*host)(const char *bytes, uint32_t len, uint32_t from);
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
#pragma GCC visibility push(hidden)
extern const uint8_t h1_bytes[256];
#pragma GCC visibility pop

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

/* Takes the blanks around the value off. */
void h1_field_trim(struct h1_field *field, const char *bytes);

/*
 * A field's place in the head, when its name is known to be sound; its value
 * is at `value`, perhaps with blanks around it.
 */
static inline void
h1_field_put(struct h1_head *out, const char *bytes, size_t idx, size_t from,
    size_t name_len, size_t value, size_t to, size_t id,
    const struct field_row *row)
{
	struct h1_field *field = &out->fields[idx];

	field->name = (uint32_t)from;
	field->value = (uint32_t)value;
	field->name_len = (uint16_t)name_len;
	field->id = (uint8_t)id;
	field->is_hop = row->is_hop;
	field->value_len = (uint32_t)(to - value);
	field->line_end = (uint32_t)to + 2;
	if (out->count[id]++ == 0)
		out->first[id] = (uint16_t)(idx + 1);
	/* a value holds no control but TAB, and CR ends it */
	if (__builtin_expect((unsigned char)bytes[value] <= ' ' ||
	                         (unsigned char)bytes[to - 1] <= ' ',
	        0))
		h1_field_trim(field, bytes);
}

/* Any field line [from, to), whose CR is at `to`. */
enum h1_fault h1_field_read(
    struct h1_head *out, const char *bytes, size_t idx, size_t from, size_t to);

#endif
