/*
 * The table behind field.c, for the parser's inner loop: a hash without
 * collisions over (length, first byte, last byte but one) leads to one
 * candidate, which is then compared. Test_h1_field keeps it free of collisions.
 */
#ifndef WEIR_PROXY_FIELD_TABLE_H
#define WEIR_PROXY_FIELD_TABLE_H

#include <stdalign.h>
#include <stdint.h>

#include "proxy/h1/parse.h"

enum {
	FIELD_TEXT_MIN = 2,  /* "te" */
	FIELD_TEXT_MAX = 32, /* room of a name: one AVX2 register */
	FIELD_SLOTS = 128,
};

struct field_row {
	alignas(32) char text[FIELD_TEXT_MAX]; /* lower case, padded with NUL */
	uint8_t len;
	uint8_t class;      /* enum field_class */
	bool is_hop;        /* of that class */
	bool takes_aliases; /* '_' for '-' means the same field to many */
};

/* Hidden, so that the loop need not ask the linker's table where they are. */
#pragma GCC visibility push(hidden)
extern const struct field_row field_rows[FIELD_COUNT];
extern const uint8_t field_slots[FIELD_SLOTS];
#pragma GCC visibility pop

/*
 * Folds letters by setting 0x20: wrong guesses are harmless, for the candidate
 * is compared. Wants len >= FIELD_TEXT_MIN.
 */
static inline unsigned
field_candidate(const char *name, size_t len)
{
	unsigned first = (unsigned char)name[0] | 0x20u;
	unsigned late = (unsigned char)name[len - 2] | 0x20u;

	return field_slots[(len + first * 9 + late * 2) % FIELD_SLOTS];
}

/* As field_of(), and tells an underscore alias from the name itself. */
enum field_id field_find(struct span name, bool *is_alias_out);

#endif
