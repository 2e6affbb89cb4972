/*
 * The table of settings (schema.def) and questions about it.
 */
#ifndef WEIR_CONFIG_SCHEMA_H
#define WEIR_CONFIG_SCHEMA_H

#include "config/diag.h"
#include "config/tree.h"

enum row_id {
#define ROW(name, path, types, range, fallback, reload, doc) ROW_##name,
#include "config/schema.def"
#undef ROW
	ROW_COUNT
};

/* What may stand behind a key; a row may allow several. */
enum {
	V_MAP = 1 << 0,   /* keys are rows */
	V_NAMED = 1 << 1, /* keys are names of the operator's */
	V_LIST = 1 << 2,  /* one entry may stand without brackets */
	V_SECRET = 1 << 3,
	V_WORD = 1 << 4,
	V_INT = 1 << 5,
	V_SIZE = 1 << 6,
	V_DURATION = 1 << 7,
	V_PERCENT = 1 << 8,
	V_BOOL = 1 << 9,
	V_STRING = 1 << 10,
	V_TEXT = 1 << 11, /* a string with ${templates} */
	V_NAME = 1 << 12,
	V_ADDRESS = 1 << 13,
	V_CIDR = 1 << 14,
	V_FILE = 1 << 15, /* a path; relative ones begin at the file's folder */
	V_HEADER = 1 << 16,
	V_HOST = 1 << 17,
	V_PATH = 1 << 18, /* of a URL */
	V_REF = 1 << 19,
	V_RATE = 1 << 24,
	V_INCREASE = 1 << 25, /* "2pp", "20%" */
	V_URL = 1 << 26,
	V_SCALARS = ~(V_MAP | V_NAMED | V_LIST | V_SECRET),
};

enum reload { LIVE, RESTART };

struct schema_row {
	const char *path;
	unsigned types;
	const char *range;    /* may be NULL */
	const char *fallback; /* NULL: none; "!": must be given */
	enum reload reload;
	const char *doc;
};

const struct schema_row *schema_row(enum row_id id);
bool schema_is_required(const struct schema_row *row);

/* Rows right below `parent` (NULL: the top), in order; NULL after the last. */
const struct schema_row *schema_below(
    const struct schema_row *parent, const struct schema_row *after);
const struct schema_row *schema_child(
    const struct schema_row *parent, struct span key);
const struct schema_row *schema_entry(const struct schema_row *parent);
struct span schema_key(
    const struct schema_row *row); /* last part of its path */

/* The words of a range; lo..hi is left out. At most `cap`, returns how many. */
enum { WORDS_MAX = 16, WORD_BYTES = 24 };
struct words {
	char at[WORDS_MAX][WORD_BYTES];
	size_t n;
};
void schema_words(const struct schema_row *row, struct words *out);
/* lo and hi, empty where the range leaves them open; false without a range. */
bool schema_range(
    const struct schema_row *row, struct span *lo, struct span *hi);

/* Known, but not built yet: a key below `parent`. */
bool later_has_key(const struct schema_row *parent, struct span key);
const char *later_key(size_t i); /* the i-th path; NULL after the last */

#endif
