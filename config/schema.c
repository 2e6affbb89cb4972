/*
 * Questions about the table of settings. Parents stand before their children
 * in schema.def, so everything below a row follows it directly.
 */
#include "config/schema.h"

#include <stdio.h>

#include "config/mem.h"

static const struct schema_row rows[ROW_COUNT] = {
#define ROW(name, path, types, range, fallback, reload, doc)                   \
	{path, types, range, fallback, reload, doc},
#include "config/schema.def"
#undef ROW
};

static const char *const later_keys[] = {
#define KEY(path) path,
#include "config/later.def"
#undef KEY
};

enum {
	N_LATER_KEYS = sizeof(later_keys) / sizeof(later_keys[0]),
};

const struct schema_row *
schema_row(enum row_id id)
{
	assert((unsigned)id < ROW_COUNT);
	return &rows[id];
}

bool
schema_is_required(const struct schema_row *row)
{
	return row->fallback && strcmp(row->fallback, "!") == 0;
}

/* `path` is one part longer than `parent`; the part, or an empty span. */
static struct span
part_below(const char *path, const struct schema_row *parent)
{
	size_t len = parent ? strlen(parent->path) : 0;

	if (parent) {
		if (strncmp(path, parent->path, len) != 0 || path[len] != '.')
			return (struct span){NULL, 0};
		path += len + 1;
	}
	return strchr(path, '.') ? (struct span){NULL, 0} : span_of(path);
}

const struct schema_row *
schema_below(const struct schema_row *parent, const struct schema_row *after)
{
	const struct schema_row *row = after    ? after + 1
	                               : parent ? parent + 1
	                                        : rows;
	size_t len = parent ? strlen(parent->path) : 0;

	for (; row < rows + ROW_COUNT; row++) {
		if (parent && strncmp(row->path, parent->path, len) != 0)
			return NULL;
		if (part_below(row->path, parent).len > 0)
			return row;
	}
	return NULL;
}

const struct schema_row *
schema_child(const struct schema_row *parent, struct span key)
{
	const struct schema_row *row = NULL;

	while ((row = schema_below(parent, row))) {
		if (span_eq(part_below(row->path, parent), key) &&
		    !span_eq(key, SPAN("*")))
			return row;
	}
	return NULL;
}

const struct schema_row *
schema_entry(const struct schema_row *parent)
{
	const struct schema_row *row = parent + 1;

	assert(parent->types & (V_LIST | V_NAMED));
	assert(row < rows + ROW_COUNT &&
	       span_eq(part_below(row->path, parent), SPAN("*")));
	return row;
}

struct span
schema_key(const struct schema_row *row)
{
	const char *dot = strrchr(row->path, '.');

	return span_of(dot ? dot + 1 : row->path);
}

/* The next part of a range between '|'; false after the last. */
static bool
range_part(const char **range, struct span *part)
{
	if (*range == NULL || **range == '\0')
		return false;
	*part = (struct span){*range, strcspn(*range, "|")};
	*range += part->len;
	if (**range == '|')
		(*range)++;
	return true;
}

void
schema_words(const struct schema_row *row, struct words *out)
{
	const char *range = row->types & V_WORD ? row->range : NULL;
	struct span part;

	out->n = 0;
	while (range_part(&range, &part)) {
		if (memmem(part.ptr, part.len, "..", 2))
			continue;
		assert(out->n < WORDS_MAX && part.len < WORD_BYTES);
		memcpy(out->at[out->n], part.ptr, part.len);
		out->at[out->n++][part.len] = '\0';
	}
}

bool
schema_range(const struct schema_row *row, struct span *lo, struct span *hi)
{
	const char *range = row->range;
	struct span part;

	while (range_part(&range, &part)) {
		const char *dots = memmem(part.ptr, part.len, "..", 2);

		if (dots == NULL)
			continue;
		*lo = (struct span){part.ptr, (size_t)(dots - part.ptr)};
		*hi = (struct span){dots + 2, part.len - lo->len - 2};
		return true;
	}
	return false;
}

bool
later_has_key(const struct schema_row *parent, struct span key)
{
	for (size_t i = 0; i < N_LATER_KEYS; i++) {
		if (span_eq(part_below(later_keys[i], parent), key))
			return key.len > 0;
	}
	return false;
}

const char *
later_key(size_t i)
{
	return i < N_LATER_KEYS ? later_keys[i] : NULL;
}
