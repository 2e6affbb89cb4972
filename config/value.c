/*
 * Scalars. Each type has one function that refuses with a message for the
 * value alone; walk.c puts the place in front. A row that allows several types
 * is tried from its words on.
 */
#include "config/value.h"

#include <stdarg.h>
#include <stdio.h>

enum { QUOTE_MAX = 60 };

static bool fault_set(struct fault *fault, enum diag_code code,
    const char *hint, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static bool
fault_set(struct fault *fault, enum diag_code code, const char *hint,
    const char *format, ...)
{
	va_list args;

	fault->code = code;
	va_start(args, format);
	vsnprintf(fault->message, sizeof(fault->message), format, args);
	va_end(args);
	snprintf(fault->hint, sizeof(fault->hint), "%s", hint ? hint : "");
	return false;
}

void
fault_suggest(
    struct fault *fault, struct span word, const char *const *words, size_t n)
{
	const char *near = suggest(word, words, n);

	if (near)
		snprintf(fault->hint, sizeof(fault->hint),
		    "did you mean \"%s\"?", near);
}

static int
shown_len(struct span text)
{
	return (int)(text.len < QUOTE_MAX ? text.len : QUOTE_MAX);
}

#define QUOTED(text) shown_len(text), (text).ptr

/* ---- small words ---- */

bool
name_is_fine(struct span name)
{
	if (name.len == 0 || name.len > CONFIG_NAME_MAX || name.ptr[0] == '-')
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		        c == '-'))
			return false;
	}
	return true;
}

bool
token_is_fine(struct span token)
{
	for (size_t i = 0; i < token.len; i++) {
		char c = token.ptr[i];
		bool is_alnum = (c >= 'a' && c <= 'z') ||
		                (c >= 'A' && c <= 'Z') ||
		                (c >= '0' && c <= '9');

		if (!is_alnum && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c)))
			return false;
	}
	return token.len > 0 && token.len <= 255;
}

bool
header_is_settable(struct span name)
{
	static const char *const owned[] = {"host", "content-length",
	    "transfer-encoding", "connection", "keep-alive", "proxy-connection",
	    "te", "trailer", "upgrade"};

	for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++) {
		if (span_ieq(name, span_of(owned[i])))
			return false;
	}
	return true;
}

static bool
has_control(struct span text, bool lines)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (c == 0x7f || (c < 0x20 && c != '\t' &&
		                     !(lines && (c == '\n' || c == '\r'))))
			return true;
	}
	return false;
}

/* ---- numbers with and without units ---- */

static bool
number_read(unsigned type, struct span text, int64_t *out)
{
	struct rate rate;
	uint64_t size;
	bp_t percent;
	bool is_relative;
	double by;

	switch (type) {
	case V_DURATION:
		return units_duration(text, out);
	case V_SIZE:
		if (!units_size(text, &size) || size > INT64_MAX)
			return false;
		*out = (int64_t)size;
		return true;
	case V_PERCENT:
		if (!units_percent(text, &percent))
			return false;
		*out = percent;
		return true;
	case V_RATE: /* what the loader takes apart again */
		*out = 0;
		return units_rate(text, &rate);
	case V_INCREASE:
		*out = 0;
		return units_increase(text, &is_relative, &by);
	default:
		return units_integer(text, out);
	}
}

static bool
refuse_number(unsigned type, struct span shown, struct fault *fault)
{
	bool is_bare;
	int64_t bare;
	char hint[160] = "";

	is_bare = units_integer(shown, &bare) && bare >= 0;
	switch (type) {
	case V_DURATION:
		if (is_bare)
			snprintf(hint, sizeof(hint),
			    "write \"%.*ss\", \"%.*sms\" or \"%.*sm\"",
			    QUOTED(shown), QUOTED(shown), QUOTED(shown));
		return fault_set(fault, DIAG_DURATION,
		    is_bare ? hint
		            : "write it like \"250ms\", \"30s\" or \"1h30m\"",
		    is_bare ? "%.*s has no unit" : "\"%.*s\" is not a duration",
		    QUOTED(shown));
	case V_SIZE:
		return fault_set(fault, DIAG_SIZE,
		    "write it like 4096, \"64KiB\" or \"10MB\"",
		    "\"%.*s\" is not a size", QUOTED(shown));
	case V_PERCENT:
		return fault_set(fault, DIAG_PERCENTAGE,
		    "0 to 100, at most two decimals",
		    "\"%.*s\" is not a percentage", QUOTED(shown));
	case V_RATE:
		return fault_set(fault, DIAG_RATE,
		    "write it like \"50/s\", \"100/m\" or \"5/10s\"",
		    "\"%.*s\" is not a rate", QUOTED(shown));
	case V_INCREASE:
		return fault_set(fault, DIAG_INCREASE,
		    "write \"2pp\" for percentage points, \"20%\" for a "
		    "share of the baseline",
		    "\"%.*s\" is not an increase", QUOTED(shown));
	default:
		return fault_set(fault, DIAG_NUMBER, "write a whole number",
		    "\"%.*s\" is not a number", QUOTED(shown));
	}
}

static enum diag_code
code_of_number(unsigned type)
{
	return type == V_DURATION  ? DIAG_DURATION
	       : type == V_SIZE    ? DIAG_SIZE
	       : type == V_PERCENT ? DIAG_PERCENTAGE
	                           : DIAG_NUMBER;
}

static bool
number_parse(const struct schema_row *row, unsigned type, struct span text,
    struct span shown, struct value *out, struct fault *fault)
{
	struct span lo, hi;
	int64_t edge;

	if (!number_read(type, text, &out->number))
		return refuse_number(type, shown, fault);
	if (!schema_range(row, &lo, &hi))
		return true;
	if (lo.len > 0 && number_read(type, lo, &edge) && out->number < edge)
		return fault_set(fault, code_of_number(type), NULL,
		    "%.*s is below %.*s", QUOTED(shown), QUOTED(lo));
	if (hi.len > 0 && number_read(type, hi, &edge) && out->number > edge)
		return fault_set(fault, code_of_number(type), NULL,
		    "%.*s is above %.*s", QUOTED(shown), QUOTED(hi));
	return true;
}

/* ---- words ---- */

static int
word_find(const struct schema_row *row, struct span text)
{
	struct words words;

	schema_words(row, &words);
	for (size_t i = 0; i < words.n; i++) {
		if (span_eq(text, span_of(words.at[i])))
			return (int)i;
	}
	return NODE_ABSENT;
}

/* "5xx", where statuses are numbers one by one. */
static bool
is_class_of_statuses(const struct schema_row *row, struct span shown)
{
	return row->types & V_INT && shown.len == 3 && shown.ptr[0] >= '4' &&
	       shown.ptr[0] <= '5' && (shown.ptr[1] | 0x20) == 'x' &&
	       (shown.ptr[2] | 0x20) == 'x';
}

static bool
refuse_word(
    const struct schema_row *row, struct span shown, struct fault *fault)
{
	struct words words;
	const char *list[WORDS_MAX];
	char all[FAULT_TEXT_MAX / 2] = "";
	size_t n = 0;

	schema_words(row, &words);
	for (size_t i = 0; i < words.n; i++) {
		list[i] = words.at[i];
		n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s",
		    i ? ", " : "", words.at[i]);
	}
	fault_set(fault, DIAG_UNKNOWN_WORD,
	    is_class_of_statuses(row, shown)
	        ? "name each status: 500, 502, 503, 504"
	        : NULL,
	    "\"%.*s\" is not %s%s%s", QUOTED(shown),
	    words.n > 1 ? "one of " : "", all,
	    row->types & V_FILE       ? ", or a path with a '/'"
	    : row->types & V_INT      ? ", or a number"
	    : row->types & V_DURATION ? ", or a duration like \"250ms\""
	                              : "");
	fault_suggest(fault, shown, list, words.n);
	return false;
}

static bool
bool_parse(
    struct span text, struct span shown, struct value *out, struct fault *fault)
{
	out->number = span_eq(text, SPAN("true"));
	if (out->number || span_eq(text, SPAN("false")))
		return true;
	return fault_set(fault, DIAG_UNKNOWN_WORD, "write true or false",
	    "\"%.*s\" is not true or false", QUOTED(shown));
}

/* ---- texts ---- */

static bool
template_check(struct span text, struct fault *fault)
{
	static const char *const words[] = {"request.id", "client.address",
	    "client.certificate.subject", "client.certificate.sha256",
	    "request.host", "request.path", "request.method", "pool", "split",
	    "route"};
	enum { N = sizeof(words) / sizeof(words[0]) };

	while (text.len > 0) {
		const char *open = memmem(text.ptr, text.len, "${", 2);
		const char *close;
		struct span word;
		size_t i = 0;

		if (open == NULL)
			return true;
		text.len -= (size_t)(open + 2 - text.ptr);
		text.ptr = open + 2;
		close = memchr(text.ptr, '}', text.len);
		word = (struct span){
		    text.ptr, close ? (size_t)(close - text.ptr) : text.len};
		while (i < N && !span_eq(word, span_of(words[i])))
			i++;
		if (i < N)
			continue;
		fault_set(fault, DIAG_TEMPLATE,
		    "known are request.id, client.address, "
		    "client.certificate.subject, client.certificate.sha256, "
		    "request.host, request.path, request.method, pool, split, "
		    "route",
		    "nothing is known as ${%.*s}", QUOTED(word));
		fault_suggest(fault, word, words, N);
		return false;
	}
	return true;
}

static bool
string_parse(
    const struct schema_row *row, struct span text, struct fault *fault)
{
	bool lines =
	    row->range && span_starts(span_of(row->range), SPAN("lines"));
	struct span lo, hi;
	int64_t edge;

	if (has_control(text, lines))
		return fault_set(fault,
		    row->types & V_TEXT ? DIAG_HEADER : DIAG_TEXT, NULL,
		    "the value holds a line break or control character");
	if (schema_range(row, &lo, &hi)) {
		if (units_integer(lo, &edge) && (int64_t)text.len < edge)
			return fault_set(
			    fault, DIAG_TEXT, NULL, "the value is empty");
		if (units_integer(hi, &edge) && (int64_t)text.len > edge)
			return fault_set(fault, DIAG_TEXT, NULL,
			    "the value has more than %.*s bytes", QUOTED(hi));
	}
	return !(row->types & V_TEXT) || template_check(text, fault);
}

static bool
name_parse(struct span text, struct span shown, struct fault *fault)
{
	if (name_is_fine(text))
		return true;
	return fault_set(fault, DIAG_NAME,
	    "1 to 63 of a-z, 0-9 and '-', not beginning with '-'",
	    "\"%.*s\" is not a name", QUOTED(shown));
}

static bool
header_parse(const struct schema_row *row, struct span text, struct span shown,
    struct fault *fault)
{
	if (!token_is_fine(text))
		return fault_set(fault, DIAG_HEADER, NULL,
		    "\"%.*s\" is not a header's name", QUOTED(shown));
	if (row->range && !header_is_settable(text))
		return fault_set(fault, DIAG_HEADER, NULL,
		    "\"%.*s\" belongs to weir and cannot be changed",
		    QUOTED(shown));
	return true;
}

static bool
host_parse(const struct schema_row *row, struct span text, struct span shown,
    struct fault *fault)
{
	struct span host = text;
	size_t label = 0;

	if (row->range && span_starts(host, SPAN("*.")))
		host = (struct span){host.ptr + 2, host.len - 2};
	if (host.len > 2 && host.ptr[0] == '[' &&
	    host.ptr[host.len - 1] == ']') {
		struct cidr six;

		if (cidr_parse((struct span){host.ptr + 1, host.len - 2}, &six))
			return true;
	}
	for (size_t i = 0; i <= host.len; i++) {
		char c = i < host.len ? host.ptr[i] : '.';
		bool is_letter = (c >= 'a' && c <= 'z') ||
		                 (c >= 'A' && c <= 'Z') ||
		                 (c >= '0' && c <= '9') || c == '-' || c == '_';

		label = is_letter ? label + 1 : 0;
		if (is_letter ? label <= 63
		              : c == '.' && i > 0 && host.ptr[i - 1] != '.')
			continue;
		return fault_set(fault, DIAG_PATTERN,
		    span_eq(text, SPAN("*")) ? "leave host out to take all"
		    : c == ':'               ? "a host has no port here"
		                             : NULL,
		    "\"%.*s\" is not a host", QUOTED(shown));
	}
	if (host.len <= 253)
		return true;
	return fault_set(
	    fault, DIAG_PATTERN, NULL, "a host has at most 253 bytes");
}

static bool
path_parse(struct span text, struct span shown, struct fault *fault)
{
	char hint[96];

	snprintf(hint, sizeof(hint), "write \"/%.*s\"", QUOTED(shown));
	if (text.len == 0 || text.ptr[0] != '/')
		return fault_set(fault, DIAG_PATTERN, hint,
		    "\"%.*s\" does not begin with '/'", QUOTED(shown));
	for (size_t i = 0; i < text.len; i++) {
		if ((unsigned char)text.ptr[i] <= 0x20 ||
		    strchr("?#\x7f", text.ptr[i]))
			return fault_set(fault, DIAG_PATTERN, NULL,
			    "a path has no query, space or control character");
	}
	if (text.len <= 4096)
		return true;
	return fault_set(
	    fault, DIAG_PATTERN, NULL, "a path has at most 4096 bytes");
}

/* ---- addresses ---- */

/* "8080", ":8080" and "*:8080" are how others write "everywhere". */
static const char *
listen_hint(struct span text, char *hint, size_t cap)
{
	struct span port = text;
	int64_t number;

	if (span_starts(port, SPAN("localhost:"))) {
		snprintf(hint, cap, "write \"127.0.0.1%.*s\"",
		    (int)(text.len - 9), text.ptr + 9);
		return hint;
	}
	while (port.len > 0 && (*port.ptr == '*' || *port.ptr == ':')) {
		port.ptr++;
		port.len--;
	}
	if (!units_integer(port, &number))
		return "one listens on literal addresses: \"0.0.0.0:80\", "
		       "\"[::]:80\", \"unix:/path\"";
	snprintf(hint, cap, "\"0.0.0.0:%.*s\" and \"[::]:%.*s\" are everywhere",
	    QUOTED(port), QUOTED(port));
	return hint;
}

static bool
address_check(const struct schema_row *row, struct span text, struct span shown,
    struct fault *fault)
{
	bool listens = strcmp(row->range, "bind") == 0;
	struct address address;
	struct err err;
	char hint[200];
	bool is_server = strcmp(row->range, "server") == 0;
	bool is_fine = is_server ? address_parse_dns(text, &address, &err)
	                         : address_parse(text, &address, &err);

	if (!is_fine)
		fault_set(fault, DIAG_ADDRESS,
		    listens ? listen_hint(shown, hint, sizeof(hint))
		    : is_server
		        ? "write \"10.0.0.2\", \"10.0.0.2:53\" or \"[::1]:53\""
		        : "write \"10.0.0.1:80\", \"[::1]:80\", \"name:80\" "
		          "or \"unix:/path\"",
		    "\"%.*s\" is not an address: %s", QUOTED(shown), err.text);
	else if (listens && address.kind == ADDRESS_NAME)
		is_fine = fault_set(fault, DIAG_ADDRESS,
		    listen_hint(shown, hint, sizeof(hint)),
		    "\"%.*s\" is a name, and one listens on addresses",
		    QUOTED(shown));
	else if (!listens && address.kind != ADDRESS_UNIX && address.port == 0)
		is_fine = fault_set(fault, DIAG_ADDRESS, NULL,
		    "nobody can be reached on port 0");
	if (is_fine || address.text)
		address_release(&address);
	return is_fine;
}

/* No space and no brace stands in a URL; '@' would be a password. */
static bool
url_is_plain(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (strchr(" {}@\"<>\\^`|", text.ptr[i]))
			return false;
	return true;
}

static bool
url_check(struct span text, struct span shown, struct fault *fault)
{
	struct span rest = text;

	if (span_starts(text, SPAN("https://")))
		rest = (struct span){text.ptr + 8, text.len - 8};
	else if (span_starts(text, SPAN("http://")))
		rest = (struct span){text.ptr + 7, text.len - 7};
	if (rest.len < text.len && rest.len > 0 && text.len <= 2048 &&
	    !strchr("/:?#", rest.ptr[0]) && !has_control(text, false) &&
	    url_is_plain(text))
		return true;
	return fault_set(fault, DIAG_URL,
	    memchr(text.ptr, '@', text.len)
	        ? "a password in a URL ends up in logs; sign with hmac"
	        : "write \"https://host/path\"",
	    "\"%.*s\" is not a URL that weir can call", QUOTED(shown));
}

static bool
cidr_check(struct span text, struct span shown, struct fault *fault)
{
	struct cidr cidr;

	if (cidr_parse(text, &cidr))
		return true;
	return fault_set(fault, DIAG_RANGE,
	    "write \"10.0.0.0/8\", \"2001:db8::/32\" or one address; bits "
	    "behind the length are zero",
	    "\"%.*s\" is not a range of addresses", QUOTED(shown));
}

/* ---- all together ---- */

bool
value_parse(const struct schema_row *row, struct span text, struct span shown,
    struct value *out, struct fault *fault)
{
	unsigned types = row->types & (unsigned)V_SCALARS;

	out->number = 0;
	out->word = types & V_WORD ? word_find(row, text) : NODE_ABSENT;
	if (out->word != NODE_ABSENT)
		return true;
	if (text.len > 0 && memchr(text.ptr, 0, text.len))
		return fault_set(
		    fault, DIAG_TEXT, NULL, "the value holds a NUL byte");
	if (types == V_WORD)
		return refuse_word(row, shown, fault);
	if (types & V_WORD && types & V_FILE &&
	    memchr(text.ptr, '/', text.len) == NULL)
		return refuse_word(row, shown, fault);
	if (types & V_WORD && types & V_INT &&
	    !units_integer(text, &out->number))
		return refuse_word(row, shown, fault);
	if (types & V_WORD && types & V_DURATION && text.len > 0 &&
	    (text.ptr[0] < '0' || text.ptr[0] > '9'))
		return refuse_word(row, shown, fault);
	switch (types & ~(unsigned)V_WORD) {
	case V_INT:
	case V_SIZE:
	case V_DURATION:
	case V_PERCENT:
	case V_RATE:
	case V_INCREASE:
		return number_parse(
		    row, types & ~(unsigned)V_WORD, text, shown, out, fault);
	case V_BOOL:
		return bool_parse(text, shown, out, fault);
	case V_NAME:
	case V_REF:
		return name_parse(text, shown, fault);
	case V_ADDRESS:
		return address_check(row, text, shown, fault);
	case V_CIDR:
		return cidr_check(text, shown, fault);
	case V_HEADER:
		return header_parse(row, text, shown, fault);
	case V_HOST:
		return host_parse(row, text, shown, fault);
	case V_PATH:
		return path_parse(text, shown, fault);
	case V_URL:
		return url_check(text, shown, fault);
	case V_FILE:
		if (text.len == 0 || text.len > 4095 ||
		    has_control(text, false))
			return fault_set(fault, DIAG_TEXT, NULL,
			    "a path has 1 to 4095 bytes and no control "
			    "character");
		return true;
	default:
		return string_parse(row, text, fault);
	}
}
