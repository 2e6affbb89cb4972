/*
 * HTTP/1 bytes to a table of offsets (RFC 9112, RFC 9110). Pure: no I/O, no
 * clock, no allocation. Strict: what is admitted is in the one canonical form
 * (token name, colon, value without controls, CRLF), so that untouched field
 * lines may be copied as they stand. Every refusal is one word.
 *
 * The caller keeps the bytes; offsets count from the `bytes` that was given.
 * Called by workers; all functions are reentrant.
 */
#ifndef WEIR_PROXY_H1_PARSE_H
#define WEIR_PROXY_H1_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "config/span.h"

enum {
	H1_FIELDS_MAX = 100,      /* fields in a head */
	H1_NAME_MAX = 256,        /* bytes of a field name */
	H1_CHUNK_LINE_MAX = 256,  /* bytes of a chunk-size line with its extensions */
	H1_TRAILERS_MAX = 8192,   /* bytes of a trailer section */
	H1_TRAILER_FIELDS_MAX = 16,
};

enum field_id {
	FIELD_NONE, /* opaque */
#define FIELD(id, name, class) FIELD_##id,
#include "proxy/h1/field.def"
#undef FIELD
	FIELD_COUNT
};
enum field_class { FIELD_CLASS_PLAIN, FIELD_CLASS_FRAMING, FIELD_CLASS_HOP, FIELD_CLASS_IDENTITY };
enum field_class field_class(enum field_id id);
struct span field_name(enum field_id id);
/*
 * Any case; also the underscore aliases (X_Forwarded_For) of IDENTITY and
 * FRAMING fields. In a head an alias of FRAMING is refused; one of IDENTITY has
 * the id and is_hop, but is not counted in first[] and count[]: no value is
 * ever read from it.
 */
enum field_id field_of(struct span name);

/*
 * Why a message was refused: status to answer a request with, and a word for
 * log and metric. For a response the status is 502 whatever stands here.
 */
enum h1_fault {
	H1_FAULT_NONE,
#define H1_FAULT(id, status, word) H1_FAULT_##id,
#include "proxy/h1/fault.def"
#undef H1_FAULT
	H1_FAULT_COUNT
};
unsigned h1_fault_status(enum h1_fault fault); /* 400, 405, 414, 417, 431, 501, 505 */
const char *h1_fault_word(enum h1_fault fault); /* "bare-lf", "content-length", ... */

enum h1_result { H1_DONE, H1_MORE, H1_BAD };

struct h1_field {
	uint32_t name, value;   /* offsets; the line runs from `name` to `line_end` */
	uint16_t name_len;
	uint8_t id;             /* enum field_id */
	bool is_hop;            /* class HOP, named by Connection, or an alias (X_Real_IP): never forwarded */
	uint32_t value_len;     /* without surrounding white space */
	uint32_t line_end;      /* just behind CRLF */
};

/* How long the body is, RFC 9112 section 6.3. */
enum h1_framing {
	H1_NO_BODY,
	H1_LENGTH,    /* `length` bytes, > 0 */
	H1_CHUNKED,
	H1_TO_CLOSE,  /* responses only */
	H1_TUNNEL,    /* a 101 that the request asked for */
	H1_FRAMES,    /* HTTP/2: payload as it is, its end is told apart from it */
};

/* A head. About 2.5 KiB: one per worker, filled anew for each message. */
struct h1_head {
	const char *bytes;      /* what the offsets count from */
	uint32_t len;           /* of the head, its empty line included */
	enum h1_fault fault;    /* when H1_BAD */

	/* request line */
	enum http_method method;
	struct span method_text;
	struct span target;     /* as it stood */
	struct span path;       /* "/..." of the target, without authority and query; "*" for OPTIONS * */
	struct span query;      /* without '?'; ptr NULL when there is none */
	struct span host;       /* authority: of an absolute-form target, else of Host; as it stood, port included; "" for 1.0 without */
	struct span hostname;   /* the same without port and brackets kept: "[::1]" */

	/* status line */
	unsigned status;
	struct span reason;

	unsigned minor;         /* HTTP/1.minor, 0 or 1 */
	enum h1_framing framing;
	uint64_t length;
	bool has_length;        /* Content-Length stood there (HEAD answers keep it) */
	bool keep_alive;        /* by version and Connection */
	bool wants_upgrade;     /* Connection: upgrade and an Upgrade field, HTTP/1.1, GET, no body */
	bool is_websocket;      /* ... and Upgrade holds websocket, and there is one Sec-WebSocket-Key */
	bool expects_continue;  /* Expect: 100-continue, HTTP/1.1, with a body */
	bool te_trailers;       /* TE: trailers */
	bool path_is_plain;     /* no "//", no dot segment, no %-escape that h1_normalise would change */

	uint32_t n_fields;
	struct h1_field fields[H1_FIELDS_MAX];
	uint16_t first[FIELD_COUNT]; /* index + 1 of the first field of that id, 0: none */
	uint16_t count[FIELD_COUNT]; /* how many there are */
};

/*
 * Parses a request's head. `scanned` starts at 0 for a new message and is kept
 * by the caller between calls with more bytes of the same message: bytes
 * before it were seen and need no second search for the head's end (so that
 * one-byte segments cost linear time). At most `max` bytes (431/414 beyond);
 * between two calls it may become less.
 * One empty line before the request line is skipped (counted in head.len).
 * The result depends on the bytes alone, not on how they were cut. Unless it is
 * H1_DONE only `fault` means anything in *out. `scanned` is opaque.
 */
enum h1_result h1_parse_request(const char *bytes, size_t len, size_t max, uint32_t *scanned, struct h1_head *out);

/*
 * Parses a response's head; `request` is the method it answers, `asked_upgrade` whether
 * 101 is legal. 1xx other than 101 are returned as heads with H1_NO_BODY.
 */
enum h1_result h1_parse_response(const char *bytes, size_t len, size_t max, uint32_t *scanned,
    enum http_method request, bool asked_upgrade, struct h1_head *out);

/* The value of the idx-th field. */
static inline struct span
h1_value(const struct h1_head *head, uint32_t idx)
{
	return (struct span){head->bytes + head->fields[idx].value, head->fields[idx].value_len};
}

/*
 * Normalises a path for routing AND forwarding (the same bytes for both):
 * dot segments removed (RFC 3986 5.2.4), "//" kept, %-escapes of unreserved
 * characters decoded, hex digits upper-cased. Refuses (false): %00, malformed escapes, encoded slash
 * or backslash in a segment ("%2f" "%5c"), a climb above the root, "..;".
 * Idempotent; out may be `path` itself; never grows.
 */
bool h1_normalise(struct span path, char *out, size_t *len_out);
/*
 * The path as the most lenient server reads it, for routes to be matched by:
 * slashes merged, parameters (";x") left out. `path` is normal and begins with
 * a slash; `out` has room for as much. Returns the length.
 */
size_t h1_path_fold(struct span path, char *out);

/* A valid authority for Host: name, IPv4 or [IPv6], optional port; no userinfo, comma, space. */
bool h1_authority(struct span text, struct span *hostname_out, uint16_t *port_out /* 0: none */);

/* ---- chunked bodies ---- */

/* Decoder state between calls; zeroed at the start. */
struct h1_chunks {
	uint8_t state;
	uint8_t fields;         /* trailer fields so far */
	uint16_t line;          /* bytes of the current chunk line or trailer section */
	uint64_t left;          /* payload bytes left in the current chunk */
	uint64_t total;         /* payload bytes so far */
	enum h1_fault fault;
};

/*
 * Decodes in place: payload is moved to the front of `bytes`. *used_out is how
 * many bytes of input were consumed, *payload_out how many payload bytes now
 * stand at `bytes`. H1_DONE: the body's end (last chunk and trailer section)
 * was seen; H1_MORE: all input consumed, more is needed; H1_BAD: see fault.
 * Trailer fields are copied as "name: value\r\n" lines to `trailers` (cap
 * H1_TRAILERS_MAX, *trailers_len in and out), the framing, hop, identity and other forbidden
 * ones (RFC 9110 6.5.1) left out; NULL: dropped but still checked. The same
 * buffer must come again with every call of a message, and holds an unfinished
 * line until H1_DONE.
 */
enum h1_result h1_dechunk(struct h1_chunks *chunks, char *bytes, size_t len,
    size_t *used_out, size_t *payload_out, char *trailers, size_t *trailers_len);

/* Iterates a comma-separated list (RFC 9110 5.6.1): next non-empty element without white space; false at the end. */
bool h1_list_next(struct span *list, struct span *element_out);

#endif
