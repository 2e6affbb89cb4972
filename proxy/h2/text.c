/* Header blocks and text, see text.h. */
#include "proxy/h2/text.h"

#include <assert.h>

#include "proxy/h1/field_table.h"
#include "proxy/h1/scan.h"
#include "proxy/websocket.h"

enum {
	FLOOD_FACTOR = 4, /* times the limit: no longer a mistake */
	LINE_EXTRA = 4,   /* ": " and CRLF */
};

void
h2_text_begin(struct h2_text *text, struct buf_pool *pool, enum h2_block block,
    size_t max)
{
	assert(!text->buf && !text->cookies);
	memset(text, 0, sizeof(*text));
	text->pool = pool;
	text->block = (uint8_t)block;
	text->max = max;
	text->buf = buf_take(pool, BUF_SMALLEST - sizeof(struct buf));
	if (!text->buf) {
		text->verdict = H2_NO_MEMORY;
		return;
	}
	text->buf->start = text->buf->end = 0;
}

void
h2_text_release(struct h2_text *text)
{
	if (!text->pool)
		return;
	buf_give(text->pool, &text->buf);
	buf_give(text->pool, &text->cookies);
	text->pool = NULL;
}

static bool
refuse(struct h2_text *text, enum h2_verdict verdict)
{
	if (text->verdict == H2_FINE)
		text->verdict = (uint8_t)verdict;
	return false;
}

static bool
put(struct h2_text *text, struct buf **to, const char *bytes, size_t len)
{
	if (*to && (*to)->cap - (*to)->end >= len) {
		memcpy((*to)->data + (*to)->end, bytes, len);
		(*to)->end += (uint32_t)len;
		return true;
	}
	return buf_append(text->pool, to, bytes, len, BUF_LARGEST) ||
	       refuse(text, H2_NO_MEMORY);
}

#define PUT(text, literal)                                                     \
	put((text), &(text)->buf, literal, sizeof(literal) - 1)

/* ---- pseudo fields ---- */

static enum h2_pseudo
pseudo_of(struct span name)
{
	static const struct span names[H2_PSEUDO_COUNT] = {
	    [H2_METHOD] = {":method", 7},
	    [H2_SCHEME] = {":scheme", 7},
	    [H2_AUTHORITY] = {":authority", 10},
	    [H2_PATH] = {":path", 5},
	    [H2_PROTOCOL] = {":protocol", 9},
	    [H2_STATUS] = {":status", 7},
	};
	enum h2_pseudo which;

	/* One candidate by its length, and by its third byte where three have
	 * the same. */
	switch (name.len) {
	case 5:
		which = H2_PATH;
		break;
	case 7:
		which = name.ptr[2] == 'e'   ? H2_METHOD
		        : name.ptr[2] == 'c' ? H2_SCHEME
		                             : H2_STATUS;
		break;
	case 9:
		which = H2_PROTOCOL;
		break;
	default:
		which = H2_AUTHORITY;
		break;
	}
	return span_eq(name, names[which]) ? which : H2_PSEUDO_COUNT;
}

typedef uint8_t bytes16 __attribute__((vector_size(16)));

/* True when one of 16 bytes is below `limit`, or DEL. */
static bool
block_has(const char *at, uint8_t limit)
{
	uint64_t words[2];
	bytes16 bytes, found;

	memcpy(&bytes, at, sizeof(bytes));
	found = (bytes16)(bytes < limit) | (bytes16)(bytes == 0x7f);
	memcpy(words, &found, sizeof(words));
	return (words[0] | words[1]) != 0;
}

static bool
has_below(const char *at, size_t len, uint8_t limit)
{
	char rest[sizeof(bytes16)];

	if (len < sizeof(bytes16)) {
		memset(rest, 'x', sizeof(rest));
		memcpy(rest, at, len);
		return block_has(rest, limit);
	}
	for (size_t i = 0; i + sizeof(bytes16) <= len; i += sizeof(bytes16))
		if (block_has(at + i, limit))
			return true;
	return block_has(at + len - sizeof(bytes16), limit);
}

/* What goes into a request line may hold neither blank nor control. */
static bool
is_word(struct span value)
{
	return value.len > 0 && !has_below(value.ptr, value.len, ' ' + 1);
}

static bool
add_pseudo(struct h2_text *text, struct span name, struct span value)
{
	enum h2_pseudo which = pseudo_of(name);
	bool is_answer = text->block == H2_RESPONSE;

	if (which == H2_PSEUDO_COUNT || text->block == H2_TRAILERS ||
	    (which == H2_STATUS) != is_answer || text->has_text ||
	    text->pseudo[which].is_set || !is_word(value))
		return refuse(text, H2_MALFORMED);
	text->pseudo[which].is_set = true;
	text->pseudo[which].at = text->buf->end;
	text->pseudo[which].len = (uint32_t)value.len;
	return put(text, &text->buf, value.ptr, value.len);
}

static bool
is_token(struct span value)
{
	for (size_t i = 0; i < value.len; i++)
		if (!h1_is(value.ptr[i], H1_TOKEN))
			return false;
	return value.len > 0;
}

static bool
make_room(struct h2_text *text, size_t len)
{
	struct buf *old = text->buf, *larger;

	if (old->cap - old->end >= len)
		return true;
	if (old->end + len > BUF_LARGEST)
		return refuse(text, H2_TOO_LARGE);
	larger = buf_take(text->pool, old->end + len);
	if (!larger)
		return refuse(text, H2_NO_MEMORY);
	memcpy(larger->data, old->data, old->end);
	larger->end = old->end;
	buf_give(text->pool, &text->buf);
	text->buf = larger;
	return true;
}

/* A copy from the buffer to its own end. */
static bool
put_pseudo(struct h2_text *text, enum h2_pseudo which)
{
	size_t len = text->pseudo[which].len;

	if (!make_room(text, len))
		return false;
	memcpy(text->buf->data + text->buf->end,
	    text->buf->data + text->pseudo[which].at, len);
	text->buf->end += (uint32_t)len;
	return true;
}

/*
 * RFC 8441: a CONNECT with :protocol is written as the GET with Upgrade that
 * it stands for. One without is refused by the parser.
 */
static bool
begin_request(struct h2_text *text)
{
	struct span method = h2_text_pseudo(text, H2_METHOD);
	struct span scheme = h2_text_pseudo(text, H2_SCHEME);
	struct span path = h2_text_pseudo(text, H2_PATH);
	bool is_connect = span_eq(method, SPAN("CONNECT"));
	bool is_extended = text->pseudo[H2_PROTOCOL].is_set;

	if (!text->pseudo[H2_METHOD].is_set || !is_token(method) ||
	    (is_extended && !is_connect))
		return refuse(text, H2_MALFORMED);
	if (is_connect && !is_extended) {
		if (text->pseudo[H2_PATH].is_set ||
		    text->pseudo[H2_SCHEME].is_set ||
		    !text->pseudo[H2_AUTHORITY].is_set)
			return refuse(text, H2_MALFORMED);
		return PUT(text, "CONNECT ") &&
		       put_pseudo(text, H2_AUTHORITY) &&
		       PUT(text, " HTTP/1.1\r\n");
	}
	if (!text->pseudo[H2_SCHEME].is_set || !text->pseudo[H2_PATH].is_set ||
	    (!span_ieq(scheme, SPAN("http")) &&
	        !span_ieq(scheme, SPAN("https"))))
		return refuse(text, H2_MALFORMED);
	if (path.ptr[0] != '/' &&
	    !(span_eq(path, SPAN("*")) && span_eq(method, SPAN("OPTIONS"))))
		return refuse(text, H2_MALFORMED);
	if (is_extended ? !PUT(text, "GET") : !put_pseudo(text, H2_METHOD))
		return false;
	return PUT(text, " ") && put_pseudo(text, H2_PATH) &&
	       PUT(text, " HTTP/1.1\r\n");
}

static bool
begin_response(struct h2_text *text)
{
	struct span status = h2_text_pseudo(text, H2_STATUS);

	/* 101 does not exist in HTTP/2 (RFC 9113 section 8.6) */
	if (!text->pseudo[H2_STATUS].is_set || status.len != 3 ||
	    span_eq(status, SPAN("101")))
		return refuse(text, H2_MALFORMED);
	text->is_switch = text->is_switch && status.ptr[0] == '2';
	if (text->is_switch)
		return PUT(text, "HTTP/1.1 101 \r\n");
	return PUT(text, "HTTP/1.1 ") && put_pseudo(text, H2_STATUS) &&
	       PUT(text, " \r\n");
}

/* The first line, before the first field. */
static bool
begin_text(struct h2_text *text)
{
	if (text->has_text)
		return true;
	text->has_text = true;
	text->begin = text->buf->end;
	switch (text->block) {
	case H2_REQUEST:
		if (!begin_request(text))
			return false;
		return !text->pseudo[H2_AUTHORITY].is_set ||
		       (PUT(text, "host: ") && put_pseudo(text, H2_AUTHORITY) &&
		           PUT(text, "\r\n"));
	case H2_RESPONSE:
		return begin_response(text);
	default:
		return PUT(text, "0\r\n");
	}
}

/* ---- fields ---- */

/* Tokens without capitals: what a field may be called. */
static const uint8_t name_bytes[256] = {
    /* clang-format off */
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1,
	['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1,
	['`'] = 1, ['|'] = 1, ['~'] = 1,
	['0'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
	['a'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    /* clang-format on */
};

static bool
is_field_name(struct span name)
{
	unsigned sound = 1;

	for (size_t i = 0; i < name.len; i++)
		sound &= name_bytes[(unsigned char)name.ptr[i]];
	return sound && name.len > 0;
}

static bool
is_field_value(struct span value)
{
	if (value.len == 0)
		return true;
	if (h1_is_blank(value.ptr[0]) || h1_is_blank(value.ptr[value.len - 1]))
		return false;
	if (!has_below(value.ptr, value.len, ' '))
		return true;
	for (size_t i = 0; i < value.len; i++) /* perhaps a TAB */
		if (h1_is(value.ptr[i], H1_CONTROL))
			return false;
	return true;
}

/* Fields that speak of a connection: RFC 9113 section 8.2.2. */
static bool
is_of_connection(enum field_id id, struct span value)
{
	switch (id) {
	case FIELD_CONNECTION:
	case FIELD_KEEP_ALIVE:
	case FIELD_PROXY_CONNECTION:
	case FIELD_TRANSFER_ENCODING:
	case FIELD_UPGRADE:
		return true;
	case FIELD_TE:
		return !span_ieq(value, SPAN("trailers"));
	default:
		return false;
	}
}

/* :authority has said it; a Host beside it may only say the same. */
static bool
judge_host(struct h2_text *text, struct span value)
{
	if (text->has_host)
		return refuse(text, H2_MALFORMED);
	text->has_host = true;
	return !text->pseudo[H2_AUTHORITY].is_set ||
	       span_ieq(value, h2_text_pseudo(text, H2_AUTHORITY)) ||
	       refuse(text, H2_MALFORMED);
}

static bool
put_field(struct h2_text *text, struct span name, struct span value)
{
	char *at;

	if (text->buf->cap - text->buf->end < name.len + value.len + LINE_EXTRA)
		return put(text, &text->buf, name.ptr, name.len) &&
		       PUT(text, ": ") &&
		       put(text, &text->buf, value.ptr, value.len) &&
		       PUT(text, "\r\n");
	at = text->buf->data + text->buf->end;
	memcpy(at, name.ptr, name.len);
	at += name.len;
	*at++ = ':';
	*at++ = ' ';
	memcpy(at, value.ptr, value.len);
	at += value.len;
	*at++ = '\r';
	*at++ = '\n';
	text->buf->end = (uint32_t)(at - text->buf->data);
	return true;
}

static bool
put_crumb(struct h2_text *text, struct span value)
{
	if (text->cookies && !put(text, &text->cookies, "; ", 2))
		return false;
	return put(text, &text->cookies, value.ptr, value.len);
}

static bool
count_field(struct h2_text *text, struct span name, struct span value)
{
	text->fields++;
	text->size += name.len + value.len + LINE_EXTRA;
	if (text->size > FLOOD_FACTOR * text->max ||
	    text->fields > FLOOD_FACTOR * H1_FIELDS_MAX)
		text->verdict = H2_FLOOD;
	else if (text->size > text->max || text->fields > H1_FIELDS_MAX)
		return refuse(text, H2_TOO_LARGE);
	return text->verdict == H2_FINE;
}

bool
h2_text_field(struct h2_text *text, struct span name, struct span value)
{
	enum field_id id;

	if (!count_field(text, name, value))
		return false;
	if (name.len > 0 && name.ptr[0] == ':')
		return add_pseudo(text, name, value);
	if (!is_field_name(name) || !is_field_value(value))
		return refuse(text, H2_MALFORMED);
	if (!text->has_text && !begin_text(text))
		return false;
	id = field_of(name);
	if (is_of_connection(id, value))
		return refuse(text, H2_MALFORMED);
	/* It has none: the one that HTTP/1 needs is weir's own. */
	if (text->pseudo[H2_PROTOCOL].is_set && id == FIELD_SEC_WEBSOCKET_KEY)
		return true;
	/* Nor does the answer prove anything by one. */
	if (text->is_switch && span_eq(name, SPAN("sec-websocket-accept")))
		return true;
	if (text->block == H2_REQUEST && id == FIELD_COOKIE)
		return put_crumb(text, value);
	if (text->block == H2_REQUEST && id == FIELD_HOST) {
		if (!judge_host(text, value))
			return false;
		if (text->pseudo[H2_AUTHORITY].is_set)
			return true;
	}
	return put_field(text, name, value);
}

static bool
end_text(struct h2_text *text)
{
	if (!begin_text(text))
		return false;
	if (text->cookies && !(PUT(text, "cookie: ") &&
	                         put(text, &text->buf,
	                             text->cookies->data + text->cookies->start,
	                             buf_len(text->cookies)) &&
	                         PUT(text, "\r\n")))
		return false;
	if (text->pseudo[H2_PROTOCOL].is_set &&
	    !(PUT(text, "connection: upgrade\r\nupgrade: ") &&
	        put_pseudo(text, H2_PROTOCOL) && PUT(text, "\r\n")))
		return false;
	if (text->pseudo[H2_PROTOCOL].is_set && text->key &&
	    !(PUT(text, "sec-websocket-key: ") &&
	        put(text, &text->buf, text->key, WEBSOCKET_KEY) &&
	        PUT(text, "\r\n")))
		return false;
	if (text->is_switch &&
	    !(PUT(text, "connection: upgrade\r\nupgrade: websocket\r\n"
	                "sec-websocket-accept: ") &&
	        put(text, &text->buf, text->accept, WEBSOCKET_ACCEPT) &&
	        PUT(text, "\r\n")))
		return false;
	return PUT(text, "\r\n");
}

struct span
h2_text_end(struct h2_text *text)
{
	if (text->verdict != H2_FINE || !end_text(text))
		return (struct span){NULL, 0};
	return (struct span){
	    text->buf->data + text->begin, text->buf->end - text->begin};
}

/* ---- text to block ---- */

static nghttp2_nv
pair(const char *name, size_t name_len, const char *value, size_t value_len)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name,
	    (uint8_t *)(uintptr_t)value, name_len, value_len,
	    NGHTTP2_NV_FLAG_NONE};
}

#define PAIR(name, value, len) pair((name), sizeof(name) - 1, (value), (len))

/* "GET /path HTTP/1.1\r\nhost: a\r\n" */
static size_t
request_line(char **at, const char *end, bool is_secure, bool is_connect,
    nghttp2_nv *out)
{
	char *blank = memchr(*at, ' ', (size_t)(end - *at));
	char *path = blank + 1, *path_end, *line_end;
	size_t n = 0;

	assert(blank);
	path_end = memchr(path, ' ', (size_t)(end - path));
	assert(path_end);
	line_end = memchr(path_end, '\n', (size_t)(end - path_end));
	assert(line_end);
	out[n++] = is_connect ? PAIR(":method", "CONNECT", 7)
	                      : PAIR(":method", *at, (size_t)(blank - *at));
	if (is_connect)
		out[n++] = PAIR(":protocol", "websocket", 9);
	out[n++] = is_secure ? PAIR(":scheme", "https", 5)
	                     : PAIR(":scheme", "http", 4);
	*at = line_end + 1;
	if (end - *at > 6 && memcmp(*at, "host: ", 6) == 0) {
		char *host = *at + 6;
		char *host_end = memchr(host, '\r', (size_t)(end - host));

		assert(host_end);
		if (host_end > host)
			out[n++] =
			    PAIR(":authority", host, (size_t)(host_end - host));
		*at = host_end + 2;
	}
	out[n++] = PAIR(":path", path, (size_t)(path_end - path));
	return n;
}

static bool
is_left_out(
    enum field_id id, struct span name, struct span value, enum h2_block block)
{
	if (block == H2_SWITCHED && span_eq(name, SPAN("sec-websocket-accept")))
		return true;
	if (is_of_connection(id, value))
		return true;
	return id == FIELD_HOST ||
	       (id == FIELD_SEC_WEBSOCKET_KEY && block == H2_CONNECT);
}

/* What is another one in each request would push out of the peer's table what
 * comes again, and be looked for in vain. */
static uint8_t
flags_of(enum field_id id)
{
	return id == FIELD_TRACEPARENT || id == FIELD_X_REQUEST_ID
	           ? NGHTTP2_NV_FLAG_NO_INDEX
	           : NGHTTP2_NV_FLAG_NONE;
}

static nghttp2_nv
field_pair(enum field_id id, struct span name, struct span value)
{
	nghttp2_nv out = pair(name.ptr, name.len, value.ptr, value.len);

	out.flags = flags_of(id);
	if (id != FIELD_NONE) { /* a constant, in lower case */
		out.name = (uint8_t *)(uintptr_t)field_name(id).ptr;
		out.flags |= NGHTTP2_NV_FLAG_NO_COPY_NAME;
	}
	return out;
}

static const char *
first_visible(const char *at, const char *end)
{
	while (at < end && h1_is_blank(*at))
		at++;
	return at;
}

size_t
h2_nv_of(char *text, size_t len, enum h2_block block, bool is_secure,
    nghttp2_nv *out, size_t cap)
{
	char *at = text, *end = text + len;
	size_t n = 0;

	if (block == H2_REQUEST || block == H2_CONNECT) {
		n = request_line(&at, end, is_secure, block == H2_CONNECT, out);
	} else if (block == H2_RESPONSE || block == H2_SWITCHED) {
		out[n++] = block == H2_SWITCHED ? PAIR(":status", "200", 3)
		                                : PAIR(":status", text + 9, 3);
		at = (char *)memchr(text, '\n', len) + 1;
	}
	while (at < end && *at != '\r') {
		char *colon = memchr(at, ':', (size_t)(end - at));
		char *line_end = memchr(colon, '\r', (size_t)(end - colon));
		struct span name = {at, (size_t)(colon - at)}, value;
		bool is_alias;
		enum field_id id = field_find(name, &is_alias);

		value.ptr = first_visible(colon + 1, line_end);
		value.len = (size_t)(line_end - value.ptr);
		while (value.len > 0 && h1_is_blank(value.ptr[value.len - 1]))
			value.len--;
		if (n == cap)
			return 0;
		if (!is_left_out(id, name, value, block))
			out[n++] =
			    field_pair(is_alias ? FIELD_NONE : id, name, value);
		at = line_end + 2;
	}
	return n;
}
