/*
 * Header blocks of HTTP/2 to heads in HTTP/1's text and back (RFC 9113
 * section 8). Pure: no session, no I/O.
 *
 * Block to text is strict: whatever could end a line, begin another one or
 * mean two things is refused here, before it becomes text; what the text means
 * is then judged by the parser that judges HTTP/1. Text to block takes only
 * heads that weir has written.
 */
#ifndef WEIR_PROXY_H2_TEXT_H
#define WEIR_PROXY_H2_TEXT_H

#include <nghttp2/nghttp2.h>

#include "proxy/buf.h"
#include "proxy/h1/parse.h"

enum h2_block {
	H2_REQUEST,
	H2_CONNECT, /* text to block only: an Upgrade as extended CONNECT */
	H2_RESPONSE,
	H2_SWITCHED, /* text to block only: a 101 as 200 */
	H2_TRAILERS,
};

enum h2_pseudo {
	H2_METHOD,
	H2_SCHEME,
	H2_AUTHORITY,
	H2_PATH,
	H2_PROTOCOL, /* RFC 8441 */
	H2_STATUS,
	H2_PSEUDO_COUNT
};

enum h2_verdict {
	H2_FINE,
	H2_MALFORMED, /* PROTOCOL_ERROR on the stream */
	H2_TOO_LARGE, /* 431 */
	H2_FLOOD,     /* far beyond: whoever sends this means harm */
	H2_NO_MEMORY,
};

/* One block at a time per connection: HTTP/2 does not interleave them. */
struct h2_text {
	struct buf_pool *pool; /* borrowed */
	struct buf *buf;     /* owned: values of pseudo fields, then the text */
	struct buf *cookies; /* owned: the crumbs, joined */
	size_t max;          /* bytes */
	size_t size;         /* bytes so far, as the text counts them */
	uint32_t fields;     /* crumbs included */
	uint32_t begin;      /* where the text begins, once it has */
	uint8_t block;       /* enum h2_block */
	uint8_t verdict;     /* enum h2_verdict: the first that was not fine */
	bool has_text;
	bool is_switch;        /* response: a 2xx to our extended CONNECT is written as the 101 that it stands for */
	const char *key;       /* request: the Sec-WebSocket-Key for an extended CONNECT; NULL until asked */
	const char *accept;    /* with is_switch: Sec-WebSocket-Accept */
	bool has_host;
	struct {
		uint32_t at, len;
		bool is_set;
	} pseudo[H2_PSEUDO_COUNT];
};

void h2_text_begin(struct h2_text *text, struct buf_pool *pool,
    enum h2_block block, size_t max);
/* False when the block need not be read further: see verdict. */
bool h2_text_field(struct h2_text *text, struct span name, struct span value);
/*
 * The whole head, its empty line included; for trailers a last chunk with
 * them. Stays until h2_text_release. `ptr` is NULL when verdict is not fine.
 */
struct span h2_text_end(struct h2_text *text);
void h2_text_release(struct h2_text *text);
static inline struct span
h2_text_pseudo(const struct h2_text *text, enum h2_pseudo which)
{
	return (struct span){
	    text->buf->data + text->pseudo[which].at, text->pseudo[which].len};
}

enum { H2_NV_MAX = H1_FIELDS_MAX + 60 };

/*
 * A head's (or, with H2_TRAILERS, bare lines') fields as name and value pairs
 * that point into `text`, what HTTP/2 does not know left out. nghttp2 writes
 * names in lower case when it copies them. Returns how many; 0 when there are more than `cap`.
 */
size_t h2_nv_of(char *text, size_t len, enum h2_block block, bool is_secure,
    nghttp2_nv *out, size_t cap);

#endif
