/*
 * Targets, authorities, paths and lists: the small grammars inside a head.
 * A path is brought into one form for routing and forwarding alike, or is
 * refused when two readers could take it for two places.
 */
#include "proxy/h1/target.h"

#include <arpa/inet.h>

enum { PORT_DIGITS_MAX = 5 };

/* ---- authority ---- */

static bool
parse_port(struct span text, uint16_t *out)
{
	uint32_t value = 0;

	*out = 0;
	if (text.len == 0)
		return true; /* "name:" is legal */
	if (text.len > PORT_DIGITS_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
		value = value * 10 + (uint32_t)(text.ptr[i] - '0');
	}
	*out = (uint16_t)value;
	return value > 0 && value <= UINT16_MAX;
}

/* "[...]": its length, 0 when it holds no IPv6 address. */
static size_t
literal_len(struct span text)
{
	char address[INET6_ADDRSTRLEN];
	unsigned char binary[16];
	const char *close = memchr(text.ptr, ']', text.len);
	size_t len = close != NULL ? (size_t)(close - text.ptr) - 1 : 0;

	if (len == 0 || len >= sizeof(address) ||
	    memchr(text.ptr + 1, '\0', len) != NULL)
		return 0;
	memcpy(address, text.ptr + 1, len);
	address[len] = '\0';
	return inet_pton(AF_INET6, address, binary) == 1 ? len + 2 : 0;
}

bool
h1_authority_run(
    struct span text, size_t run, struct span *hostname_out, uint16_t *port_out)
{
	*port_out = 0;
	*hostname_out = (struct span){text.ptr, run};
	if (text.len == 0)
		return false;
	if (text.ptr[0] == '[')
		hostname_out->len = run = literal_len(text);
	if (run == 0 || run > H1_HOST_MAX || text.ptr[0] == '.')
		return false;
	if (run == text.len)
		return true;
	return text.ptr[run] == ':' &&
	       parse_port((struct span){text.ptr + run + 1, text.len - run - 1},
	           port_out);
}

bool
h1_authority(struct span text, struct span *hostname_out, uint16_t *port_out)
{
	size_t run = 0;

	while (run < text.len && h1_is(text.ptr[run], H1_HOST))
		run++;
	return h1_authority_run(text, run, hostname_out, port_out);
}

/* ---- paths ---- */

static unsigned
hex_value(char byte)
{
	return (unsigned char)byte <= '9'
	           ? (unsigned)(byte - '0')
	           : (unsigned)((byte | 0x20) - 'a' + 10);
}

/* The byte of the escape at `text`, -1 when it is malformed. */
static int
unescape(const char *text, const char *end)
{
	if (end - text < 3 || !h1_is(text[1], H1_HEX) ||
	    !h1_is(text[2], H1_HEX))
		return -1;
	return (int)(hex_value(text[1]) << 4 | hex_value(text[2]));
}

/*
 * Copies one segment, escapes made canonical. Returns how many bytes were
 * written, or -1: an escape that hides a separator, or a byte that no path
 * holds.
 */
static ptrdiff_t
copy_segment(const char **in, const char *end, char *out)
{
	static const char digits[] = "0123456789ABCDEF";
	const char *at = *in;
	char *to = out;

	while (at < end && *at != '/') {
		unsigned char byte = (unsigned char)*at;
		int escaped;

		if (byte != '%') {
			if (byte <= ' ' || byte >= 0x7f || byte == '\\' ||
			    byte == '?' || byte == '#')
				return -1;
			*to++ = *at++;
			continue;
		}
		escaped = unescape(at, end);
		if (escaped <= 0 || escaped == '/' || escaped == '\\')
			return -1;
		at += 3;
		if (h1_is((char)escaped, H1_UNRESERVED)) {
			*to++ = (char)escaped;
		} else {
			*to++ = '%';
			*to++ = digits[escaped >> 4];
			*to++ = digits[escaped & 15];
		}
	}
	*in = at;
	return to - out;
}

enum dots { DOTS_NONE, DOTS_STAY, DOTS_UP, DOTS_HIDDEN };

/* "..;x" is a climb to some servers and a name to others. */
static enum dots
segment_dots(const char *segment, size_t len)
{
	if (len == 0 || len > 2)
		return len > 2 && memcmp(segment, "..;", 3) == 0 ? DOTS_HIDDEN
		                                                 : DOTS_NONE;
	if (len == 1)
		return segment[0] == '.' ? DOTS_STAY : DOTS_NONE;
	return segment[0] == '.' && segment[1] == '.' ? DOTS_UP : DOTS_NONE;
}

/*
 * `to` stands behind the '/' that opens a segment. Nothing is read that was
 * written over: the copy never overtakes the original.
 */
bool
h1_normalise(struct span path, char *out, size_t *len_out)
{
	const char *in = path.ptr, *end = path.ptr + path.len;
	char *to = out;

	if (path.len == 1 && path.ptr[0] == '*') {
		out[0] = '*';
		*len_out = 1;
		return true;
	}
	if (path.len == 0 || path.ptr[0] != '/')
		return false;
	while (in < end) {
		ptrdiff_t n;
		enum dots dots;

		*to++ = *in++;
		n = copy_segment(&in, end, to);
		if (n < 0)
			return false;
		dots = segment_dots(to, (size_t)n);
		if (dots == DOTS_HIDDEN)
			return false;
		if (dots == DOTS_NONE) {
			to += n;
			continue;
		}
		to--; /* the segment's own '/' */
		if (dots == DOTS_UP) {
			if (to == out)
				return false;
			while (*--to != '/')
				;
		}
		if (in == end)
			*to++ = '/'; /* "/a/." is "/a/" */
	}
	*len_out = (size_t)(to - out);
	return true;
}

/*
 * What servers differ in: some take "//a" for "/a", and some do not see the
 * parameters of a segment (";x"). A segment of which nothing is left, or a
 * dot, is none to them.
 */
size_t
h1_path_fold(struct span path, char *out)
{
	const char *at = path.ptr, *end = path.ptr + path.len;
	char *to = out;
	bool is_open = false; /* a '/' stands behind the last segment */

	while (at < end) {
		const char *stop = memchr(at + 1, '/', (size_t)(end - at) - 1);
		size_t len = (size_t)((stop ? stop : end) - at);
		const char *cut = memchr(at, ';', len);
		size_t keep = cut ? (size_t)(cut - at) : len;

		is_open = keep == 1 || (keep == 2 && at[1] == '.');
		if (!is_open) {
			memmove(to, at, keep);
			to += keep;
		}
		at += len;
	}
	if (is_open)
		*to++ = '/';
	return (size_t)(to - out);
}

/* Would h1_normalise() leave the path as it is? For paths that look as if not.
 */
static bool
path_is_plain(struct span path)
{
	const char *at = path.ptr, *end = path.ptr + path.len;

	while (at < end) {
		const char *segment = ++at;

		for (; at < end && *at != '/'; at++) {
			int escaped;

			if (*at == '\\')
				return false;
			if (*at != '%')
				continue;
			escaped = unescape(at, end);
			if (escaped <= 0 || escaped == '/' || escaped == '\\' ||
			    h1_is((char)escaped, H1_UNRESERVED))
				return false;
			if (at[1] >= 'a' || at[2] >= 'a')
				return false;
		}
		if (segment_dots(segment, (size_t)(at - segment)) != DOTS_NONE)
			return false;
		if (at == segment && at < end)
			return false; /* "//" */
	}
	return true;
}

/* ---- targets ---- */

/* Behind "http://" or "https://", 0 for any other scheme. */
static uint32_t
scheme_len(struct span target)
{
	if (target.len > 7 && strncasecmp(target.ptr, "http://", 7) == 0)
		return 7;
	if (target.len > 8 && strncasecmp(target.ptr, "https://", 8) == 0)
		return 8;
	return 0;
}

/* "http://authority/path": the authority is the host; an empty path is "/", or
 * the server itself for OPTIONS. */
static enum h1_fault
read_absolute(
    const char *bytes, uint32_t from, uint32_t query, struct h1_head *out)
{
	uint32_t skip = scheme_len(out->target), start = from + skip;
	const char *slash;
	uint16_t port;

	if (skip == 0)
		return H1_FAULT_TARGET;
	slash = memchr(bytes + start, '/', query - start);
	out->host = (struct span){bytes + start,
	    slash != NULL ? (size_t)(slash - (bytes + start)) : query - start};
	if (!h1_authority(out->host, &out->hostname, &port))
		return H1_FAULT_TARGET;
	if (slash != NULL)
		out->path =
		    (struct span){slash, (size_t)(bytes + query - slash)};
	else
		out->path =
		    out->method == METHOD_OPTIONS && out->query.ptr == NULL
		        ? SPAN("*")
		        : SPAN("/");
	out->path_is_plain = slash == NULL || path_is_plain(out->path);
	return H1_FAULT_NONE;
}

enum h1_fault
h1_target_read(const struct h1_engine *engine, const char *bytes, uint32_t len,
    uint32_t from, uint32_t to, struct h1_head *out)
{
	struct h1_target marks;

	if (from >= to)
		return H1_FAULT_TARGET;
	engine->target(bytes, len, from, to, &marks);
	if (marks.is_illegal)
		return H1_FAULT_TARGET;
	out->target = (struct span){bytes + from, to - from};
	out->query = (struct span){0};
	if (marks.query < to)
		out->query = (struct span){
		    bytes + marks.query + 1, to - marks.query - 1};
	if (bytes[from] == '/') {
		out->path = (struct span){bytes + from, marks.query - from};
		out->path_is_plain = !marks.is_odd || path_is_plain(out->path);
		return H1_FAULT_NONE;
	}
	if (bytes[from] == '*') {
		out->path = out->target;
		out->path_is_plain = true;
		return to - from == 1 && out->method == METHOD_OPTIONS
		           ? H1_FAULT_NONE
		           : H1_FAULT_TARGET;
	}
	return read_absolute(bytes, from, marks.query, out);
}

/* ---- lists ---- */

/*
 * Quotes do not hide a comma: an open quote sent by a client must not swallow
 * what a proxy in front of us has appended (X-Forwarded-For).
 */
bool
h1_list_next(struct span *list, struct span *element_out)
{
	const char *at = list->ptr, *end, *last;

	if (list->len == 0)
		return false;
	end = at + list->len;
	while (at < end && (*at == ',' || h1_is_blank(*at)))
		at++;
	if (at == end) {
		list->ptr = end;
		list->len = 0;
		return false;
	}
	element_out->ptr = at;
	while (at < end && *at != ',')
		at++;
	last = at;
	while (h1_is_blank(last[-1]))
		last--;
	element_out->len = (size_t)(last - element_out->ptr);
	list->ptr = at;
	list->len = (size_t)(end - at);
	return true;
}
