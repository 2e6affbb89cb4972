/*
 * Header blocks of HTTP/2 to HTTP/1's text: whatever comes of a block is one
 * head to the parser of HTTP/1, to its last byte, and turned back into a block
 * and once more into text it is the same.
 *
 * An input is the kind of block, then fields: a byte with the length of the
 * name, two with that of the value, both texts.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/h2/text.h"
#include "proxy/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BLOCK_MAX = 16384 };

static const char fixed_key[] = "dGhlIHNhbXBsZSBub25jZQ==";
static const char fixed_accept[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

static bool
is_asked(const uint8_t *data, size_t size)
{
	return size > 0 && (data[0] & 0x80);
}

static void
begin(struct h2_text *text, struct buf_pool *pool, enum h2_block block,
    bool is_switch)
{
	h2_text_begin(text, pool, block, BLOCK_MAX);
	text->is_switch = is_switch;
	text->key = fixed_key;
	text->accept = fixed_accept;
}

static void
feed(struct h2_text *text, const uint8_t *at, size_t left)
{
	while (left >= 3) {
		size_t name = at[0], value = (size_t)at[1] << 8 | at[2];

		at += 3;
		left -= 3;
		if (name > left)
			return;
		if (value > left - name)
			value = left - name;
		if (!h2_text_field(text, (struct span){(const char *)at, name},
		        (struct span){(const char *)at + name, value}))
			return;
		at += name + value;
		left -= name + value;
	}
}

/* Lines end in CRLF, and nothing else looks like an end. */
static void
check_lines(struct span text)
{
	assert(text.len >= 4);
	assert(memcmp(text.ptr + text.len - 4, "\r\n\r\n", 4) == 0);
	for (size_t i = 0; i < text.len; i++) {
		assert(text.ptr[i] != '\0');
		if (text.ptr[i] == '\n')
			assert(i > 0 && text.ptr[i - 1] == '\r');
		if (text.ptr[i] == '\r')
			assert(i + 1 < text.len && text.ptr[i + 1] == '\n');
	}
	assert(memmem(text.ptr, text.len - 1, "\r\n\r\n", 4) == NULL);
}

static void
check_same(struct buf_pool *pool, struct span text, enum h2_block block,
    enum h2_block way)
{
	nghttp2_nv fields[H2_NV_MAX];
	char *copy = malloc(text.len);
	struct h2_text again = {0};
	struct span said;
	size_t n;

	assert(copy != NULL);
	memcpy(copy, text.ptr, text.len);
	n = h2_nv_of(copy, text.len, way, false, fields, H2_NV_MAX);
	assert(n > 0);
	begin(&again, pool, block, false);
	for (size_t i = 0; i < n; i++)
		assert(h2_text_field(&again,
		    (struct span){(char *)fields[i].name, fields[i].namelen},
		    (struct span){
		        (char *)fields[i].value, fields[i].valuelen}));
	said = h2_text_end(&again);
	assert(span_eq(said, text));
	h2_text_release(&again);
	free(copy);
}

static void
check_request(struct buf_pool *pool, struct h2_text *block, struct span text)
{
	bool is_connect = block->pseudo[H2_PROTOCOL].is_set;
	struct h1_head head;
	uint32_t scanned = 0;
	enum h1_result result =
	    h1_parse_request(text.ptr, text.len, text.len, &scanned, &head);

	assert(result != H1_MORE);
	if (result != H1_DONE)
		return;
	assert(head.len == text.len);
	assert(head.framing == H1_NO_BODY || head.framing == H1_LENGTH);
	assert(head.wants_upgrade ? is_connect : !head.is_websocket);
	/* Back to a block go only heads as weir writes them. */
	if (block->pseudo[H2_AUTHORITY].is_set &&
	    (!is_connect ||
	        span_eq(h2_text_pseudo(block, H2_PROTOCOL), SPAN("websocket"))))
		check_same(pool, text, H2_REQUEST,
		    is_connect ? H2_CONNECT : H2_REQUEST);
}

static void
check_response(struct buf_pool *pool, struct span text, bool is_switch)
{
	struct h1_head head;
	uint32_t scanned = 0;
	enum h1_result result = h1_parse_response(text.ptr, text.len, text.len,
	    &scanned, METHOD_GET, is_switch, &head);

	assert(result != H1_MORE);
	if (result != H1_DONE)
		return;
	assert(head.len == text.len && head.framing != H1_CHUNKED);
	assert((head.status == 101) == is_switch);
	if (!is_switch)
		check_same(pool, text, H2_RESPONSE, H2_RESPONSE);
}

static void
check_trailers(struct span text)
{
	struct h1_chunks chunks = {0};
	size_t used, payload, len = 0;
	char *copy = malloc(text.len), *trailers = malloc(H1_TRAILERS_MAX);
	enum h1_result result;

	assert(copy != NULL && trailers != NULL);
	memcpy(copy, text.ptr, text.len);
	result = h1_dechunk(
	    &chunks, copy, text.len, &used, &payload, trailers, &len);
	assert(result != H1_DONE || (used == text.len && payload == 0));
	assert(len <= text.len);
	free(copy);
	free(trailers);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum h2_block blocks[] = {
	    H2_REQUEST, H2_RESPONSE, H2_TRAILERS};
	enum h2_block block = blocks[size > 0 ? (data[0] & 0x7f) % 3 : 0];
	struct h2_text text = {0};
	struct buf_pool pool;
	struct span said;

	buf_pool_init(&pool, 4 << 20);
	begin(
	    &text, &pool, block, block == H2_RESPONSE && is_asked(data, size));
	if (size > 1)
		feed(&text, data + 1, size - 1);
	said = h2_text_end(&text);
	assert((said.ptr != NULL) == (text.verdict == H2_FINE));
	if (said.ptr) {
		check_lines(said);
		if (block == H2_REQUEST)
			check_request(&pool, &text, said);
		else if (block == H2_RESPONSE)
			check_response(&pool, said, text.is_switch);
		else
			check_trailers(said);
	}
	h2_text_release(&text);
	assert(pool.used == 0);
	buf_pool_release(&pool);
	return 0;
}
