/* Upgrades, see upgrade.h. */
#include "proxy/upgrade.h"

#include <string.h>

#include "proxy/h1/rules.h"
#include "proxy/h1/scan.h"
#include "proxy/websocket.h"

/* ---- asking ---- */

bool
upgrade_may_ask(
    const struct h1_head *head, unsigned allowed, struct span protocol)
{
	if (span_ieq(protocol, SPAN("h2c")))
		return false;
	if (span_ieq(protocol, SPAN("websocket")))
		return head->is_websocket && (allowed & UPGRADE_WEBSOCKET);
	return allowed & UPGRADE_OTHER;
}

bool
upgrade_is_asked(const struct h1_head *head, unsigned allowed)
{
	for (uint32_t i = 0; head->wants_upgrade && i < head->n_fields; i++) {
		struct span list = h1_value(head, i), protocol;

		if (head->fields[i].id != FIELD_UPGRADE)
			continue;
		while (h1_list_next(&list, &protocol))
			if (upgrade_may_ask(head, allowed, protocol))
				return true;
	}
	return false;
}

/* ---- what was asked ---- */

/* The next line of that name, from *at on. */
static bool
next_line(struct span asked, size_t *at, struct span name, struct span *value)
{
	while (*at < asked.len) {
		const char *line = asked.ptr + *at;
		const char *end = memchr(line, '\r', asked.len - *at);
		const char *colon;

		if (!end)
			break;
		*at += (size_t)(end - line) + 2;
		colon = memchr(line, ':', (size_t)(end - line));
		if (!colon ||
		    !span_ieq(
		        (struct span){line, (size_t)(colon - line)}, name))
			continue;
		do
			colon++;
		while (colon < end && h1_is_blank(*colon));
		while (end > colon && h1_is_blank(end[-1]))
			end--;
		*value = (struct span){colon, (size_t)(end - colon)};
		return true;
	}
	return false;
}

struct span
upgrade_field(struct span asked, struct span name)
{
	struct span value;
	size_t at = 0;

	return next_line(asked, &at, name, &value) ? value : SPAN("");
}

/* Is the word in one of the lists of that name? Protocols have no case,
 * subprotocols do. */
static bool
was_offered(
    struct span asked, struct span name, struct span word, bool has_case)
{
	struct span list, element;
	size_t at = 0;

	while (next_line(asked, &at, name, &list))
		while (h1_list_next(&list, &element))
			if (has_case ? span_eq(element, word)
			             : span_ieq(element, word))
				return true;
	return false;
}

/* ---- the answer ---- */

/* How many fields of that name there are; the last one's value, else empty. */
static unsigned
count_of(const struct h1_head *answer, struct span name, struct span *value)
{
	unsigned n = 0;

	*value = (struct span){0};
	for (uint32_t i = 0; i < answer->n_fields; i++) {
		const struct h1_field *field = &answer->fields[i];

		if (!span_ieq((struct span){answer->bytes + field->name,
		                  field->name_len},
		        name))
			continue;
		*value = h1_value(answer, i);
		n++;
	}
	return n;
}

static bool
is_websocket_answer(struct span asked, const struct h1_head *answer)
{
	struct span key = upgrade_field(asked, SPAN("sec-websocket-key"));
	struct span accept, chosen;
	char expected[WEBSOCKET_ACCEPT];
	unsigned n;

	websocket_accept(key, expected);
	if (key.len == 0 ||
	    count_of(answer, SPAN("sec-websocket-accept"), &accept) != 1 ||
	    !span_eq(accept, (struct span){expected, sizeof(expected)}))
		return false;
	n = count_of(answer, SPAN("sec-websocket-protocol"), &chosen);
	return n == 0 ||
	       (n == 1 && was_offered(asked, SPAN("sec-websocket-protocol"),
	                      chosen, true));
}

bool
upgrade_is_answer(struct span asked, const struct h1_head *answer)
{
	struct span list, protocol;
	bool is_websocket = false;
	unsigned n = 0;

	/* Only the first Upgrade would be passed on. */
	if (answer->count[FIELD_UPGRADE] != 1 ||
	    !h1_rule_lists(answer, FIELD_CONNECTION, SPAN("upgrade")))
		return false;
	list = h1_value(answer, answer->first[FIELD_UPGRADE] - 1u);
	for (; h1_list_next(&list, &protocol); n++) {
		if (!was_offered(asked, SPAN("upgrade"), protocol, false))
			return false;
		is_websocket |= span_ieq(protocol, SPAN("websocket"));
	}
	return n > 0 && (!is_websocket || is_websocket_answer(asked, answer));
}
