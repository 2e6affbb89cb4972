/*
 * Heads of HTTP/1 messages. Three steps: find the head's end while looking at
 * every byte once (h1_scan), read the first line as soon as it is there, and
 * only when the head is whole split its fields and ask what they mean
 * (h1_rules). So the verdict depends on the bytes and not on how they were cut
 * into segments, and a head that trickles in costs what it costs in one piece.
 */
#include "proxy/h1/parse.h"

#include <assert.h>

#include "proxy/h1/rules.h"
#include "proxy/h1/scan.h"
#include "proxy/h1/target.h"

enum {
	METHOD_LEN_MAX = 32,
	VERSION_LEN = 8, /* "HTTP/1.1" */
	STATUS_LEN = 12, /* "HTTP/1.1 200" */
	STATUS_MIN = 100,
	STATUS_MAX = 599,
};

/* Set in *scanned once the first line was found sound. */
#define FIRST_LINE_READ (UINT32_C(1) << 31)

/* What differs between requests and responses. */
struct kind {
	enum h1_fault (*first_line)(const struct h1_engine *engine,
	    const char *bytes, uint32_t len, uint32_t from, uint32_t to,
	    struct h1_head *out);
	enum h1_fault first_line_long;
};

/* ---- request line ---- */

static enum http_method
method_at(const char *text, uint32_t len)
{
	static const struct {
		char text[8];
		uint8_t len, method;
	} methods[] = {
	    {"GET", 3, METHOD_GET},
	    {"POST", 4, METHOD_POST},
	    {"HEAD", 4, METHOD_HEAD},
	    {"PUT", 3, METHOD_PUT},
	    {"DELETE", 6, METHOD_DELETE},
	    {"OPTIONS", 7, METHOD_OPTIONS},
	    {"PATCH", 5, METHOD_PATCH},
	    {"CONNECT", 7, METHOD_CONNECT},
	    {"TRACE", 5, METHOD_TRACE},
	};

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (methods[i].len == len &&
		    memcmp(methods[i].text, text, len) == 0)
			return (enum http_method)methods[i].method;
	return METHOD_OTHER;
}

/* "HTTP/1.1" at `text`: what is wrong with it. */
static enum h1_fault
read_version(const char *text, uint32_t len, unsigned *minor_out)
{
	if (len != VERSION_LEN || memcmp(text, "HTTP/", 5) != 0 ||
	    text[6] != '.')
		return H1_FAULT_VERSION_SYNTAX;
	if (text[5] < '0' || text[5] > '9' || text[7] < '0' || text[7] > '9')
		return H1_FAULT_VERSION_SYNTAX;
	*minor_out = (unsigned)(text[7] - '0');
	return text[5] == '1' && *minor_out <= 1 ? H1_FAULT_NONE
	                                         : H1_FAULT_VERSION;
}

/* The method's length; 0 when the line does not begin with one and a space. */
static uint32_t
read_method(const char *line, uint32_t len, enum http_method *out)
{
	uint32_t n = 0;

	if (len > 4 && memcmp(line, "GET ", 4) == 0) {
		*out = METHOD_GET;
		return 3;
	}
	while (h1_is(line[n], H1_TOKEN))
		n++;
	*out = method_at(line, n);
	return line[n] == ' ' ? n : 0;
}

/* Behind the line's last space; there is one. */
static uint32_t
last_word(const char *bytes, uint32_t from, uint32_t to)
{
	uint32_t at = to;

	if (to - from > VERSION_LEN &&
	    memcmp(bytes + to - VERSION_LEN - 1, " HTTP/1.", 8) == 0)
		return to - VERSION_LEN;
	while (bytes[at - 1] != ' ')
		at--;
	return at;
}

static enum h1_fault
request_line(const struct h1_engine *engine, const char *bytes, uint32_t len,
    uint32_t from, uint32_t to, struct h1_head *out)
{
	uint32_t n = read_method(bytes + from, to - from, &out->method);
	uint32_t version;
	enum h1_fault fault;

	if (n == 0)
		return H1_FAULT_REQUEST_LINE;
	if (n > METHOD_LEN_MAX)
		return H1_FAULT_METHOD_LONG;
	version = last_word(bytes, from, to);
	if (version == from + n + 1)
		return H1_FAULT_REQUEST_LINE; /* HTTP/0.9 */
	fault = read_version(bytes + version, to - version, &out->minor);
	if (fault != H1_FAULT_NONE)
		return fault;
	out->method_text = (struct span){bytes + from, n};
	if (out->method == METHOD_CONNECT)
		return H1_FAULT_CONNECT;
	out->host = out->hostname = (struct span){0};
	return h1_target_read(
	    engine, bytes, len, from + n + 1, version - 1, out);
}

/* ---- status line ---- */

static enum h1_fault
status_line(const struct h1_engine *engine, const char *bytes, uint32_t len,
    uint32_t from, uint32_t to, struct h1_head *out)
{
	const char *line = bytes + from;
	uint32_t n = to - from;
	unsigned status = 0;

	(void)engine;
	(void)len;
	if (n < STATUS_LEN ||
	    read_version(line, VERSION_LEN, &out->minor) != H1_FAULT_NONE ||
	    line[VERSION_LEN] != ' ')
		return H1_FAULT_STATUS_LINE;
	for (uint32_t i = VERSION_LEN + 1; i < STATUS_LEN; i++) {
		if (line[i] < '0' || line[i] > '9')
			return H1_FAULT_STATUS_LINE;
		status = status * 10 + (unsigned)(line[i] - '0');
	}
	if (status < STATUS_MIN || status > STATUS_MAX ||
	    (n > STATUS_LEN && line[STATUS_LEN] != ' '))
		return H1_FAULT_STATUS_LINE;
	out->status = status;
	out->reason = (struct span){0};
	if (n > STATUS_LEN + 1)
		out->reason =
		    (struct span){line + STATUS_LEN + 1, n - STATUS_LEN - 1};
	return H1_FAULT_NONE;
}

/* ---- the head ---- */

static const struct kind requests = {request_line, H1_FAULT_TARGET_LONG};
static const struct kind responses = {status_line, H1_FAULT_HEAD_LONG};

static enum h1_result
refuse(struct h1_head *out, enum h1_fault fault)
{
	out->fault = fault;
	return H1_BAD;
}

/*
 * What a whole head starts from: only what the steps behind do not set anyway.
 */
static void
head_reset(struct h1_head *out)
{
	out->framing = H1_NO_BODY;
	out->length = 0;
	out->has_length = false;
	out->wants_upgrade = false;
	out->is_websocket = false;
	out->expects_continue = false;
	out->te_trailers = false;
	memset(out->first, 0, sizeof(out->first));
	memset(out->count, 0, sizeof(out->count));
}

/*
 * The head is not whole, or has a byte that may not be there. The first line
 * is judged as soon as it has ended, and before what comes behind it.
 */
static __attribute__((cold, noinline)) enum h1_result
head_unfinished(const struct h1_engine *engine, const struct kind *kind,
    const struct h1_lines *lines, uint32_t begin, uint32_t len, size_t max,
    uint32_t *scanned, struct h1_head *out)
{
	bool was_read = (*scanned & FIRST_LINE_READ) != 0;
	enum h1_fault fault = lines->fault;

	if (!was_read && lines->n > 0) {
		enum h1_fault first = kind->first_line(
		    engine, out->bytes, len, begin, lines->at[0], out);

		if (first != H1_FAULT_NONE)
			return refuse(out, first);
		was_read = true;
	}
	if (fault == H1_FAULT_NONE && len >= max)
		fault = was_read ? H1_FAULT_HEAD_LONG : kind->first_line_long;
	if (fault != H1_FAULT_NONE)
		return refuse(out, fault);
	/* a CR at the end is looked at again together with its LF */
	*scanned = len - (len > begin && out->bytes[len - 1] == '\r');
	if (was_read)
		*scanned |= FIRST_LINE_READ;
	return H1_MORE;
}

/* Up to the fields in their table. Inline, so that `kind` costs nothing. */
static inline __attribute__((always_inline)) enum h1_result
head_read(const struct h1_engine *engine, const struct kind *kind,
    uint32_t begin, uint32_t len, size_t max, uint32_t *scanned,
    struct h1_head *out)
{
	uint32_t from = *scanned & ~FIRST_LINE_READ;
	struct h1_lines lines;
	enum h1_fault fault;

	if (from < begin)
		from = begin;
	if (from > len) /* `max` was larger the last time */
		from = len;
	engine->lines(out->bytes, len, from, &lines);
	if (lines.end == 0)
		return head_unfinished(
		    engine, kind, &lines, begin, len, max, scanned, out);
	head_reset(out);
	if (from != begin)
		engine->lines(out->bytes, len, begin, &lines);
	if (lines.n == 0)
		lines.at[0] = begin;
	fault =
	    kind->first_line(engine, out->bytes, len, begin, lines.at[0], out);
	if (fault == H1_FAULT_NONE && lines.n > 1 + H1_FIELDS_MAX)
		fault = H1_FAULT_FIELDS;
	if (fault == H1_FAULT_NONE)
		fault = engine->fields(out->bytes, len, &lines, out);
	if (fault != H1_FAULT_NONE)
		return refuse(out, fault);
	out->len = lines.end;
	out->n_fields = lines.n - 1;
	return H1_DONE;
}

/* One Host, valid, and no other than an absolute-form target says. */
static enum h1_fault
judge_host(const struct h1_engine *engine, uint32_t there, struct h1_head *head)
{
	bool is_absolute = head->host.ptr != NULL, is_name;
	struct span host, hostname;
	uint32_t idx = head->first[FIELD_HOST] - 1u;
	size_t run;
	uint16_t port;

	if (head->count[FIELD_HOST] > 1)
		return H1_FAULT_HOST_TWICE;
	if (head->count[FIELD_HOST] == 0) {
		if (head->minor == 1)
			return H1_FAULT_HOST_MISSING;
		if (!is_absolute)
			head->host = head->hostname = SPAN("");
		return H1_FAULT_NONE;
	}
	host = h1_value(head, idx);
	run = engine->host(head->bytes, there, head->fields[idx].value);
	is_name =
	    run == host.len && run - 1 < H1_HOST_MAX && host.ptr[0] != '.';
	hostname = host;
	if (!is_name && !h1_authority_run(host, run, &hostname, &port))
		return H1_FAULT_HOST;
	if (is_absolute)
		return span_ieq(host, head->host) ? H1_FAULT_NONE
		                                  : H1_FAULT_HOST_MISMATCH;
	head->host = host;
	head->hostname = hostname;
	return H1_FAULT_NONE;
}

static uint64_t
eight_bytes(const char *text)
{
	uint64_t bytes;

	memcpy(&bytes, text, sizeof(bytes));
	return bytes;
}

/*
 * What nearly every Connection says. Setting 0x20 would fold controls too, but
 * there are none in a value.
 */
static bool
says_keep_alive(const struct h1_head *head)
{
	const uint64_t fold = UINT64_C(0x2020202020202020);
	struct span value = h1_value(head, head->first[FIELD_CONNECTION] - 1u);

	return head->count[FIELD_CONNECTION] == 1 && value.len == 10 &&
	       (eight_bytes(value.ptr) | fold) == eight_bytes("keep-ali") &&
	       (eight_bytes(value.ptr + 2) | fold) == eight_bytes("ep-alive");
}

/* Framing and persistence, for requests and responses alike. */
static inline enum h1_fault
judge_connection(struct h1_head *head, unsigned *options_out)
{
	enum h1_fault fault = H1_FAULT_NONE;

	*options_out = 0;
	head->keep_alive = head->minor == 1;
	if (head->count[FIELD_CONTENT_LENGTH] |
	    head->count[FIELD_TRANSFER_ENCODING])
		fault = h1_rule_framing(head);
	if (fault != H1_FAULT_NONE || head->count[FIELD_CONNECTION] == 0)
		return fault;
	if (!says_keep_alive(head))
		return h1_rule_connection(head, options_out);
	head->keep_alive = true;
	return H1_FAULT_NONE;
}

static enum h1_fault
judge_request(
    const struct h1_engine *engine, uint32_t there, struct h1_head *head)
{
	unsigned options;
	enum h1_fault fault = judge_host(engine, there, head);

	if (fault == H1_FAULT_NONE)
		fault = judge_connection(head, &options);
	if (fault == H1_FAULT_NONE && head->count[FIELD_EXPECT] > 0)
		fault = h1_rule_expect(head);
	if (fault != H1_FAULT_NONE)
		return fault;
	if (head->count[FIELD_UPGRADE] > 0)
		h1_rule_upgrade(head, options);
	if (head->count[FIELD_TE] > 0)
		head->te_trailers =
		    h1_rule_lists(head, FIELD_TE, SPAN("trailers"));
	return H1_FAULT_NONE;
}

/* RFC 9112 section 6.3, the rules that a request does not have. */
static enum h1_fault
judge_response(
    struct h1_head *head, enum http_method request, bool asked_upgrade)
{
	unsigned status = head->status, options;
	bool has_framing = head->count[FIELD_CONTENT_LENGTH] +
	                       head->count[FIELD_TRANSFER_ENCODING] >
	                   0;
	enum h1_fault fault = judge_connection(head, &options);

	if (fault != H1_FAULT_NONE)
		return fault;
	if (status == 101 && !asked_upgrade)
		return H1_FAULT_SWITCHED_UNASKED;
	if (status < 200 || status == 204)
		head->has_length = false; /* it may not stand there */
	if (status < 200 || status == 204 || status == 304 ||
	    request == METHOD_HEAD) {
		head->framing = status == 101 ? H1_TUNNEL : H1_NO_BODY;
	} else if (!has_framing) {
		head->framing = H1_TO_CLOSE;
		head->keep_alive = false;
	}
	return H1_FAULT_NONE;
}

/* ---- public ---- */

enum h1_result
h1_parse_request_by(const struct h1_engine *engine, const char *bytes,
    size_t len, size_t max, uint32_t *scanned, struct h1_head *out)
{
	uint32_t there = (uint32_t)(len < max ? len : max), begin = 0;
	enum h1_result result;
	enum h1_fault fault;

	assert(max < FIRST_LINE_READ);
	out->bytes = bytes;
	out->fault = H1_FAULT_NONE;
	if (there > 0 && bytes[0] == '\r') { /* an empty line that an old client
		                                sent behind its body */
		if (there == 1)
			return len < max ? H1_MORE
			                 : refuse(out, H1_FAULT_HEAD_LONG);
		if (bytes[1] != '\n')
			return refuse(out, H1_FAULT_BARE_CR);
		begin = 2;
	}
	result = head_read(engine, &requests, begin, there, max, scanned, out);
	if (result != H1_DONE)
		return result;
	fault = judge_request(engine, there, out);
	return fault == H1_FAULT_NONE ? H1_DONE : refuse(out, fault);
}

enum h1_result
h1_parse_response_by(const struct h1_engine *engine, const char *bytes,
    size_t len, size_t max, uint32_t *scanned, enum http_method request,
    bool asked_upgrade, struct h1_head *out)
{
	enum h1_result result;
	enum h1_fault fault;

	assert(max < FIRST_LINE_READ);
	out->bytes = bytes;
	out->fault = H1_FAULT_NONE;
	result = head_read(engine, &responses, 0,
	    (uint32_t)(len < max ? len : max), max, scanned, out);
	if (result != H1_DONE)
		return result;
	fault = judge_response(out, request, asked_upgrade);
	return fault == H1_FAULT_NONE ? H1_DONE : refuse(out, fault);
}

enum h1_result
h1_parse_request(const char *bytes, size_t len, size_t max, uint32_t *scanned,
    struct h1_head *out)
{
	return h1_parse_request_by(h1_engine(), bytes, len, max, scanned, out);
}

enum h1_result
h1_parse_response(const char *bytes, size_t len, size_t max, uint32_t *scanned,
    enum http_method request, bool asked_upgrade, struct h1_head *out)
{
	return h1_parse_response_by(
	    h1_engine(), bytes, len, max, scanned, request, asked_upgrade, out);
}
