/*
 * Names of the header fields that a proxy must understand (field.def) and how
 * to find one. All read-only tables; every function is reentrant.
 */
#include <assert.h>

#include "proxy/h1/field_table.h"

#define TAKES_ALIASES(class)                                                   \
	(FIELD_CLASS_##class == FIELD_CLASS_FRAMING ||                         \
	    FIELD_CLASS_##class == FIELD_CLASS_IDENTITY)

const struct field_row field_rows[FIELD_COUNT] = {
#define FIELD(id, name, class)                                                 \
	[FIELD_##id] = {name, sizeof(name) - 1, FIELD_CLASS_##class,           \
	    FIELD_CLASS_##class == FIELD_CLASS_HOP, TAKES_ALIASES(class)},
#include "proxy/h1/field.def"
#undef FIELD
};

/*
 * Where field_candidate() finds each name. When a new row of field.def
 * collides, its multipliers must be searched anew: any pair that keeps the
 * slots of all names apart will do.
 */
const uint8_t field_slots[FIELD_SLOTS] = {
    /* clang-format off */
	[1] = FIELD_TRANSFER_ENCODING,
	[3] = FIELD_USER_AGENT,
	[4] = FIELD_HTTP2_SETTINGS,
	[6] = FIELD_TRACESTATE,
	[18] = FIELD_HOST,
	[19] = FIELD_X_REAL_IP,
	[22] = FIELD_X_REQUEST_ID,
	[37] = FIELD_X_FORWARDED_FOR,
	[44] = FIELD_X_FORWARDED_PORT,
	[46] = FIELD_X_FORWARDED_HOST,
	[49] = FIELD_X_FORWARDED_PROTO,
	[50] = FIELD_LOCATION,
	[57] = FIELD_KEEP_ALIVE,
	[83] = FIELD_COOKIE,
	[89] = FIELD_EXPECT,
	[91] = FIELD_SERVER,
	[94] = FIELD_PROXY_CONNECTION,
	[97] = FIELD_PROXY_AUTHORIZATION,
	[99] = FIELD_CONNECTION,
	[101] = FIELD_TRAILER,
	[102] = FIELD_SEC_WEBSOCKET_KEY,
	[103] = FIELD_SET_COOKIE,
	[105] = FIELD_FORWARDED,
	[106] = FIELD_PROXY_AUTHENTICATE,
	[108] = FIELD_UPGRADE,
	[112] = FIELD_DATE,
	[113] = FIELD_CONTENT_LENGTH,
	[123] = FIELD_TRACEPARENT,
	[126] = FIELD_TE,
    /* clang-format on */
};

enum field_class
field_class(enum field_id id)
{
	assert(id < FIELD_COUNT);
	return (enum field_class)field_rows[id].class;
}

struct span
field_name(enum field_id id)
{
	assert(id < FIELD_COUNT);
	return (struct span){field_rows[id].text, field_rows[id].len};
}

static char
lower(char byte)
{
	return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
}

/* The same bytes? Two loads that overlap for most names, no loop. `row` has
 * room behind it, `name` has not. Wants len >= FIELD_TEXT_MIN. */
static inline bool
is_same(const char *name, const char *row, size_t len)
{
	uint64_t a, b, c, d, differ = 0;

	if (len < 8) {
		uint16_t first, last, row_first, row_last;

		memcpy(&first, name, 2);
		memcpy(&row_first, row, 2);
		memcpy(&last, name + len - 2, 2);
		memcpy(&row_last, row + len - 2, 2);
		return first == row_first && last == row_last &&
		       memcmp(name, row, len) == 0;
	}
	for (size_t at = 0; at + 8 < len; at += 8) {
		memcpy(&a, name + at, 8);
		memcpy(&b, row + at, 8);
		differ |= a ^ b;
	}
	memcpy(&c, name + len - 8, 8);
	memcpy(&d, row + len - 8, 8);
	return (differ | (c ^ d)) == 0;
}

enum field_id
field_find(struct span name, bool *is_alias_out)
{
	const struct field_row *row;
	unsigned id;

	*is_alias_out = false;
	if (name.len < FIELD_TEXT_MIN)
		return FIELD_NONE;
	id = field_candidate(name.ptr, name.len);
	row = &field_rows[id];
	if (id == FIELD_NONE || row->len != name.len)
		return FIELD_NONE;
	if (is_same(name.ptr, row->text, name.len))
		return (enum field_id)id;
	for (size_t i = 0; i < name.len; i++) {
		char byte = lower(name.ptr[i]);

		if (byte == row->text[i])
			continue;
		if (byte != '_' || row->text[i] != '-' || !row->takes_aliases)
			return FIELD_NONE;
		*is_alias_out = true;
	}
	return (enum field_id)id;
}

enum field_id
field_of(struct span name)
{
	bool is_alias;

	return field_find(name, &is_alias);
}
