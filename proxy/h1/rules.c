/*
 * The meaning of a head's fields (RFC 9110 sections 7.6 to 7.8 and 10.1.1,
 * RFC 9112 sections 6 and 9.3). Where the RFC leaves a choice between
 * repairing and refusing, this refuses: what is ambiguous here will be read
 * in another way by somebody behind.
 */
#include "proxy/h1/rules.h"

#include "proxy/h1/scan.h"

enum {
	LENGTH_DIGITS_MAX = 18,      /* always fits */
	CONNECTION_OPTIONS_MAX = 64, /* each costs a walk over all fields */
	WEBSOCKET_KEY_MAX = 64, /* of which websocket_accept makes a proof */
};

/* ---- framing ---- */

static bool
parse_length(struct span text, uint64_t *out)
{
	uint64_t value = 0;

	if (text.len == 0 || text.len > LENGTH_DIGITS_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		unsigned digit = (unsigned char)text.ptr[i] - (unsigned)'0';

		if (digit > 9)
			return false;
		value = value * 10 + digit;
	}
	*out = value;
	return true;
}

static bool
is_token(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!h1_is(text.ptr[i], H1_TOKEN))
			return false;
	return text.len > 0;
}

static struct span
trimmed(struct span text)
{
	while (text.len > 0 && h1_is_blank(text.ptr[text.len - 1]))
		text.len--;
	while (text.len > 0 && h1_is_blank(text.ptr[0])) {
		text.ptr++;
		text.len--;
	}
	return text;
}

/*
 * "chunked" alone will do. A list of tokens in which chunked is absent, or
 * comes last and once, speaks of codings that we do not know; anything else is
 * an attempt to be read in two ways.
 */
static enum h1_fault
judge_coding(struct span value)
{
	struct span rest = value;
	bool was_chunked = false;

	if (span_ieq(value, SPAN("chunked")))
		return H1_FAULT_NONE;
	for (;;) {
		const char *comma =
		    rest.len > 0 ? memchr(rest.ptr, ',', rest.len) : NULL;
		struct span coding = {rest.ptr,
		    comma != NULL ? (size_t)(comma - rest.ptr) : rest.len};

		coding = trimmed(coding);
		if (was_chunked || !is_token(coding))
			return H1_FAULT_CODING;
		was_chunked = span_ieq(coding, SPAN("chunked"));
		if (comma == NULL)
			return H1_FAULT_CODING_UNKNOWN;
		rest.len -= (size_t)(comma + 1 - rest.ptr);
		rest.ptr = comma + 1;
	}
}

enum h1_fault
h1_rule_framing(struct h1_head *head)
{
	unsigned lengths = head->count[FIELD_CONTENT_LENGTH];
	unsigned codings = head->count[FIELD_TRANSFER_ENCODING];
	enum h1_fault fault;

	if (lengths != 0 && codings != 0)
		return H1_FAULT_LENGTH_AND_CODING;
	if (lengths > 1)
		return H1_FAULT_LENGTH_TWICE;
	if (lengths == 1) {
		if (!parse_length(
		        h1_value(head, head->first[FIELD_CONTENT_LENGTH] - 1u),
		        &head->length))
			return H1_FAULT_LENGTH;
		head->has_length = true;
		head->framing = head->length > 0 ? H1_LENGTH : H1_NO_BODY;
		return H1_FAULT_NONE;
	}
	if (codings > 1)
		return H1_FAULT_CODING;
	if (head->minor == 0)
		return H1_FAULT_CODING_IN_1_0;
	fault = judge_coding(
	    h1_value(head, head->first[FIELD_TRANSFER_ENCODING] - 1u));
	head->framing = H1_CHUNKED;
	return fault;
}

/* ---- Connection ---- */

/*
 * Fields that an attacker must not be able to strip by naming them: framing,
 * identity, trace and credentials.
 */
static bool
is_protected(struct span name)
{
	enum field_id id = field_of(name);
	enum field_class class = field_class(id);
	struct span prefix = SPAN("x-forwarded-");

	if (class == FIELD_CLASS_FRAMING || class == FIELD_CLASS_IDENTITY)
		return true;
	if (id == FIELD_TRACEPARENT || id == FIELD_TRACESTATE ||
	    id == FIELD_COOKIE || id == FIELD_SET_COOKIE)
		return true;
	if (name.len > prefix.len &&
	    strncasecmp(name.ptr, prefix.ptr, prefix.len) == 0)
		return true;
	return span_ieq(name, SPAN("authorization"));
}

static void
nominate(struct h1_head *head, struct span name)
{
	if (is_protected(name))
		return;
	for (uint32_t i = 0; i < head->n_fields; i++) {
		struct h1_field *field = &head->fields[i];

		if (field->name_len == name.len &&
		    strncasecmp(
		        head->bytes + field->name, name.ptr, name.len) == 0)
			field->is_hop = true;
	}
}

static unsigned
option_of(struct span word)
{
	if (span_ieq(word, SPAN("keep-alive")))
		return OPTION_KEEP_ALIVE;
	if (span_ieq(word, SPAN("close")))
		return OPTION_CLOSE;
	if (span_ieq(word, SPAN("upgrade")))
		return OPTION_UPGRADE;
	return 0;
}

static enum h1_fault
read_options(
    struct h1_head *head, struct span list, unsigned *n, unsigned *options)
{
	struct span word;

	while (h1_list_next(&list, &word)) {
		unsigned option = option_of(word);

		if (++*n > CONNECTION_OPTIONS_MAX)
			return H1_FAULT_CONNECTION;
		*options |= option;
		if (option == 0)
			nominate(head, word);
	}
	return H1_FAULT_NONE;
}

enum h1_fault
h1_rule_connection(struct h1_head *head, unsigned *options_out)
{
	unsigned n = 0, options = 0, left = head->count[FIELD_CONNECTION];

	for (uint32_t i = head->first[FIELD_CONNECTION]; left > 0; i++) {
		if (head->fields[i - 1].id != FIELD_CONNECTION)
			continue;
		left--;
		if (read_options(head, h1_value(head, i - 1), &n, &options) !=
		    H1_FAULT_NONE)
			return H1_FAULT_CONNECTION;
	}
	head->keep_alive = !(options & OPTION_CLOSE) &&
	                   (head->minor == 1 || (options & OPTION_KEEP_ALIVE));
	*options_out = options;
	return H1_FAULT_NONE;
}

/* ---- Upgrade, Expect, TE ---- */

bool
h1_rule_lists(const struct h1_head *head, enum field_id id, struct span word)
{
	unsigned left = head->count[id];

	for (uint32_t i = head->first[id]; left > 0; i++) {
		struct span list = h1_value(head, i - 1), element;

		if (head->fields[i - 1].id != id)
			continue;
		left--;
		while (h1_list_next(&list, &element))
			if (span_ieq(element, word))
				return true;
	}
	return false;
}

/* Is there a protocol other than h2c? (h2c is obsolete and a way to smuggle:
 * never passed on.) */
static bool
names_protocol(const struct h1_head *head)
{
	unsigned left = head->count[FIELD_UPGRADE];

	for (uint32_t i = head->first[FIELD_UPGRADE]; left > 0; i++) {
		struct span list = h1_value(head, i - 1), element;

		if (head->fields[i - 1].id != FIELD_UPGRADE)
			continue;
		left--;
		while (h1_list_next(&list, &element))
			if (!span_ieq(element, SPAN("h2c")))
				return true;
	}
	return false;
}

/* One (RFC 6455 section 4.2.1), or the upstream may prove that it has read
 * another than we compare with, and would be blamed for it. */
static bool
has_websocket_key(const struct h1_head *head)
{
	size_t len;

	if (head->count[FIELD_SEC_WEBSOCKET_KEY] != 1)
		return false;
	len = h1_value(head, head->first[FIELD_SEC_WEBSOCKET_KEY] - 1u).len;
	return len > 0 && len <= WEBSOCKET_KEY_MAX;
}

void
h1_rule_upgrade(struct h1_head *head, unsigned options)
{
	if (!(options & OPTION_UPGRADE) || head->method != METHOD_GET ||
	    head->minor != 1 || head->framing != H1_NO_BODY)
		return;
	head->wants_upgrade = names_protocol(head);
	head->is_websocket =
	    head->wants_upgrade && has_websocket_key(head) &&
	    h1_rule_lists(head, FIELD_UPGRADE, SPAN("websocket"));
}

enum h1_fault
h1_rule_expect(struct h1_head *head)
{
	unsigned left = head->count[FIELD_EXPECT];

	for (uint32_t i = head->first[FIELD_EXPECT]; left > 0; i++) {
		if (head->fields[i - 1].id != FIELD_EXPECT)
			continue;
		left--;
		if (!span_ieq(h1_value(head, i - 1), SPAN("100-continue")))
			return H1_FAULT_EXPECT;
	}
	head->expects_continue =
	    head->minor == 1 && head->framing != H1_NO_BODY;
	return H1_FAULT_NONE;
}
