/*
 * Chunked bodies (RFC 9112 section 7.1), decoded in place and in any
 * segmentation: one state a byte, but for payload, which moves in one piece.
 *
 *   SIZE -> SIZE_MORE -> [BLANK -> EXT_FIRST -> EXT] -> SIZE_LF
 *   SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE        size > 0
 *   SIZE_LF -> LINE                                      the last chunk
 *   LINE -> NAME -> VALUE_FIRST -> VALUE -> LINE_LF -> LINE   a trailer field
 *   LINE -> END_LF -> DONE
 *
 * Every line end is exactly CRLF: what a lenient reader takes for the end of a
 * chunk is how one request hides in another.
 */
#include <assert.h>

#include "proxy/h1/scan.h"

enum state {
	SIZE, /* the first digit; the state of a zeroed decoder */
	SIZE_MORE,
	BLANK,
	EXT_FIRST,
	EXT,
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	LINE,
	NAME,
	VALUE_FIRST, /* blanks before the value */
	VALUE,
	LINE_LF,
	END_LF,
	DONE,
	FAILED,
};

enum {
	SIZE_DIGITS_MAX = 16,
	/* each field may grow by a blank when it is copied */
	TRAILERS_READ_MAX = H1_TRAILERS_MAX - H1_TRAILER_FIELDS_MAX,
};

/* Where trailers go; `at` is NULL when nobody wants them. */
struct trailers {
	char *at;
	size_t *len;
};

static bool
refuse(struct h1_chunks *chunks, enum h1_fault fault)
{
	chunks->fault = fault;
	chunks->state = FAILED;
	return false;
}

/* ---- trailers ---- */

/*
 * What RFC 9110 section 6.5.1 forbids in a trailer section beside the known
 * fields: what frames, routes, asks for conditions, authenticates, or says how
 * to read the content. "x-" at the end stands for all that begins so.
 */
static bool
is_forbidden(struct span name)
{
	static const struct span whole[] = {{"authorization", 13},
	    {"www-authenticate", 16}, {"authentication-info", 19},
	    {"proxy-authentication-info", 25}, {"cache-control", 13},
	    {"max-forwards", 12}, {"pragma", 6}, {"range", 5}, {"age", 3},
	    {"expires", 7}, {"retry-after", 11}, {"vary", 4}, {"warning", 7},
	    {"accept-encoding", 15}, {"early-data", 10}, {"via", 3}};
	static const struct span begins[] = {{"content-", 8}, {"if-", 3},
	    {"x-forwarded", 11}, {"access-control-", 15}, {"proxy-", 6},
	    {"sec-", 4}};

	if (field_of(name) != FIELD_NONE)
		return true;
	/* "X_Api_Key" and the like: names that differ to us and not to others
	 */
	if (memchr(name.ptr, '_', name.len) != NULL)
		return true;
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		if (span_ieq(name, whole[i]))
			return true;
	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
		if (name.len >= begins[i].len &&
		    strncasecmp(name.ptr, begins[i].ptr, begins[i].len) == 0)
			return true;
	return false;
}

/* `left` counts the bytes of the unfinished field at the end of `trailers`. */
static void
trailer_put(struct h1_chunks *chunks, struct trailers trailers, char byte)
{
	chunks->left++;
	if (trailers.at == NULL)
		return;
	assert(*trailers.len < H1_TRAILERS_MAX);
	trailers.at[(*trailers.len)++] = byte;
}

/* The field's line has ended: it stays, in canonical form, or goes. */
static void
trailer_end(struct h1_chunks *chunks, struct trailers trailers)
{
	size_t len = (size_t)chunks->left;
	char *line;
	const char *colon;

	chunks->left = 0;
	if (trailers.at == NULL)
		return;
	assert(*trailers.len >= len);
	line = trailers.at + *trailers.len - len;
	colon = memchr(line, ':', len);
	*trailers.len -= len;
	if (is_forbidden((struct span){line, (size_t)(colon - line)}))
		return;
	while (len > 0 && line[len - 1] == ' ')
		len--;
	assert(*trailers.len + len + 2 <= H1_TRAILERS_MAX);
	memcpy(line + len, "\r\n", 2);
	*trailers.len += len + 2;
}

static bool
trailer_name(struct h1_chunks *chunks, struct trailers trailers, char byte)
{
	if (h1_is(byte, H1_TOKEN) && chunks->left < H1_NAME_MAX) {
		trailer_put(chunks, trailers, byte);
		return true;
	}
	if (byte != ':')
		return refuse(chunks, H1_FAULT_TRAILER);
	trailer_put(chunks, trailers, ':');
	trailer_put(chunks, trailers, ' ');
	chunks->state = VALUE_FIRST;
	return true;
}

/* A TAB is copied as a space: then only spaces need to be cut off at the end.
 */
static bool
trailer_value(struct h1_chunks *chunks, struct trailers trailers, char byte)
{
	if (chunks->state == VALUE_FIRST && h1_is_blank(byte))
		return true;
	chunks->state = VALUE;
	if (byte == '\r')
		chunks->state = LINE_LF;
	else if (byte == '\n')
		return refuse(chunks, H1_FAULT_BARE_LF);
	else if (h1_is(byte, H1_CONTROL))
		return refuse(chunks, H1_FAULT_CONTROL);
	else
		trailer_put(chunks, trailers, byte == '\t' ? ' ' : byte);
	return true;
}

static bool
trailer_byte(struct h1_chunks *chunks, struct trailers trailers, char byte)
{
	if (++chunks->line > TRAILERS_READ_MAX)
		return refuse(chunks, H1_FAULT_TRAILERS_LONG);
	switch (chunks->state) {
	case LINE:
		if (byte == '\r') {
			chunks->state = END_LF;
			return true;
		}
		if (byte == '\n')
			return refuse(chunks, H1_FAULT_BARE_LF);
		if (!h1_is(byte, H1_TOKEN))
			return refuse(chunks, H1_FAULT_TRAILER);
		if (++chunks->fields > H1_TRAILER_FIELDS_MAX)
			return refuse(chunks, H1_FAULT_TRAILERS_LONG);
		chunks->left = 0;
		chunks->state = NAME;
		return trailer_name(chunks, trailers, byte);
	case NAME:
		return trailer_name(chunks, trailers, byte);
	case VALUE_FIRST:
	case VALUE:
		return trailer_value(chunks, trailers, byte);
	default: /* LINE_LF, END_LF */
		if (byte != '\n')
			return refuse(chunks, H1_FAULT_BARE_CR);
		if (chunks->state == END_LF) {
			chunks->state = DONE;
			return true;
		}
		trailer_end(chunks, trailers);
		chunks->state = LINE;
		return true;
	}
}

/* ---- the chunk's line ---- */

static bool
size_digit(struct h1_chunks *chunks, char byte)
{
	unsigned digit = (unsigned char)byte <= '9'
	                     ? (unsigned)(byte - '0')
	                     : (unsigned)((byte | 0x20) - 'a' + 10);

	if (chunks->line > SIZE_DIGITS_MAX ||
	    chunks->left > (uint64_t)INT64_MAX >> 4)
		return refuse(chunks, H1_FAULT_CHUNK_SIZE);
	chunks->left = chunks->left << 4 | digit;
	chunks->state = SIZE_MORE;
	return true;
}

/* Behind the digits: blanks may only lead to an extension. */
static bool
size_end(struct h1_chunks *chunks, char byte)
{
	if (byte == '\r' && chunks->state == SIZE_MORE)
		chunks->state = SIZE_LF;
	else if (byte == ';')
		chunks->state = EXT_FIRST;
	else if (h1_is_blank(byte))
		chunks->state = BLANK;
	else
		return refuse(chunks,
		    byte == '\n' ? H1_FAULT_BARE_LF : H1_FAULT_CHUNK_SIZE);
	return true;
}

/* Extensions mean nothing to us and go no further; they may not hide a line
 * end. */
static bool
extension(struct h1_chunks *chunks, char byte)
{
	if (chunks->state == EXT_FIRST) {
		if (h1_is_blank(byte))
			return true;
		if (!h1_is(byte, H1_TOKEN))
			return refuse(chunks, byte == '\n'
			                          ? H1_FAULT_BARE_LF
			                          : H1_FAULT_CHUNK_EXTENSION);
		chunks->state = EXT;
	} else if (byte == '\r') {
		chunks->state = SIZE_LF;
	} else if (h1_is(byte, H1_CONTROL)) {
		return refuse(chunks,
		    byte == '\n' ? H1_FAULT_BARE_LF : H1_FAULT_CHUNK_EXTENSION);
	}
	return true;
}

static bool
size_lf(struct h1_chunks *chunks, char byte)
{
	if (byte != '\n')
		return refuse(chunks, H1_FAULT_BARE_CR);
	if (chunks->left > (uint64_t)INT64_MAX - chunks->total)
		return refuse(chunks, H1_FAULT_CHUNK_SIZE);
	chunks->state = chunks->left > 0 ? DATA : LINE;
	chunks->line = 0;
	return true;
}

static bool
line_byte(struct h1_chunks *chunks, char byte)
{
	if (++chunks->line > H1_CHUNK_LINE_MAX)
		return refuse(chunks, H1_FAULT_CHUNK_LINE_LONG);
	switch (chunks->state) {
	case SIZE:
		return h1_is(byte, H1_HEX)
		           ? size_digit(chunks, byte)
		           : refuse(chunks, H1_FAULT_CHUNK_SIZE);
	case SIZE_MORE:
		return h1_is(byte, H1_HEX) ? size_digit(chunks, byte)
		                           : size_end(chunks, byte);
	case BLANK:
		return size_end(chunks, byte);
	case SIZE_LF:
		return size_lf(chunks, byte);
	default:
		return extension(chunks, byte);
	}
}

/* The CRLF behind a chunk's payload. */
static bool
data_end(struct h1_chunks *chunks, char byte)
{
	if (byte != (chunks->state == DATA_CR ? '\r' : '\n'))
		return refuse(chunks, H1_FAULT_CHUNK_END);
	chunks->state = chunks->state == DATA_CR ? DATA_LF : SIZE;
	return true;
}

/* ---- public ---- */

/* As much of the chunk's payload as is there; returns its length. */
static size_t
payload_take(struct h1_chunks *chunks, char *to, const char *from, size_t there)
{
	size_t n = there < chunks->left ? there : (size_t)chunks->left;

	if (to != from)
		memmove(to, from, n);
	chunks->left -= n;
	chunks->total += n;
	if (chunks->left == 0)
		chunks->state = DATA_CR;
	return n;
}

enum h1_result
h1_dechunk(struct h1_chunks *chunks, char *bytes, size_t len, size_t *used_out,
    size_t *payload_out, char *trailers, size_t *trailers_len)
{
	struct trailers sink = {trailers, trailers_len};
	size_t at = 0, payload = 0;
	bool is_sound = chunks->state != FAILED;

	while (is_sound && at < len && chunks->state != DONE) {
		switch (chunks->state) {
		case DATA: {
			size_t n = payload_take(
			    chunks, bytes + payload, bytes + at, len - at);

			payload += n;
			at += n;
			break;
		}
		case DATA_CR:
		case DATA_LF:
			is_sound = data_end(chunks, bytes[at++]);
			break;
		case LINE:
		case NAME:
		case VALUE_FIRST:
		case VALUE:
		case LINE_LF:
		case END_LF:
			is_sound = trailer_byte(chunks, sink, bytes[at++]);
			break;
		default:
			is_sound = line_byte(chunks, bytes[at++]);
		}
	}
	*used_out = at;
	*payload_out = payload;
	if (!is_sound)
		return H1_BAD;
	return chunks->state == DONE ? H1_DONE : H1_MORE;
}
