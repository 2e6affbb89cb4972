/*
 * Typed reading; see field.h. Defaults go through the same parser as values,
 * so a wrong default in schema.def is found by the first test that runs.
 */
#include "config/field.h"

#include "config/mem.h"
#include "config/value.h"

const struct node *
field(const struct node *map, enum row_id id)
{
	const struct node *node = node_get(map, schema_key(schema_row(id)));

	return node && !node->is_bad && !node_is_null(node) ? node : NULL;
}

static struct value
value_of(const struct node *map, enum row_id id)
{
	const struct node *node = field(map, id);
	const struct schema_row *row = schema_row(id);
	struct value value = {0, NODE_ABSENT};
	struct span text = span_of(row->fallback);
	struct fault fault;

	if (node)
		return (struct value){node->number, node->word};
	if (row->fallback && !schema_is_required(row)) {
		bool is_fine = value_parse(row, text, text, &value, &fault);

		assert(is_fine);
	}
	return value;
}

int64_t
field_number(const struct node *map, enum row_id id)
{
	return value_of(map, id).number;
}

nsec_t
field_duration(const struct node *map, enum row_id id)
{
	assert(schema_row(id)->types & V_DURATION);
	return value_of(map, id).number;
}

bp_t
field_percent(const struct node *map, enum row_id id)
{
	assert(schema_row(id)->types == V_PERCENT);
	return (bp_t)value_of(map, id).number;
}

bool
field_bool(const struct node *map, enum row_id id)
{
	assert(schema_row(id)->types == V_BOOL);
	return value_of(map, id).number != 0;
}

int
field_word(const struct node *map, enum row_id id)
{
	assert(schema_row(id)->types & V_WORD);
	return value_of(map, id).word;
}

char *
text_lower(struct span text)
{
	char *copy = mem_text(text);

	for (char *p = copy; *p; p++) {
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + 32);
	}
	return copy;
}

static struct span
text_of(const struct node *map, enum row_id id)
{
	const struct node *node = field(map, id);
	const struct schema_row *row = schema_row(id);

	if (node)
		return node->text;
	return schema_is_required(row) ? (struct span){NULL, 0}
	                               : span_of(row->fallback);
}

char *
field_text(const struct node *map, enum row_id id)
{
	struct span text = text_of(map, id);

	return text.ptr ? mem_text(text) : NULL;
}

char *
field_lower(const struct node *map, enum row_id id)
{
	struct span text = text_of(map, id);

	return text.ptr ? text_lower(text) : NULL;
}

struct entries
field_entries(const struct node *map, enum row_id id)
{
	const struct node *node = field(map, id);
	long i;

	if (node == NULL)
		return (struct entries){NULL, 0};
	if (node->kind == NODE_LIST || schema_row(id)->types & V_NAMED)
		return (struct entries){
		    (const struct node *const *)node->child, node->n};
	i = node_find(map, schema_key(schema_row(id)));
	return (struct entries){(const struct node *const *)&map->child[i], 1};
}

/* "a,b,c" of a default. */
static struct strings
strings_of_default(const char *text)
{
	struct strings out = {NULL, 0};

	while (text && *text) {
		size_t len = strcspn(text, ",");

		out.at = mem_grow(out.at, out.n + 1, sizeof(*out.at));
		out.at[out.n++] = mem_text((struct span){text, len});
		text += len + (text[len] == ',');
	}
	return out;
}

struct strings
field_strings(const struct node *map, enum row_id id)
{
	const struct schema_row *row = schema_row(id);
	struct entries entries = field_entries(map, id);
	struct strings out = {NULL, 0};

	if (field(map, id) == NULL && !schema_is_required(row))
		return strings_of_default(row->fallback);
	out.at = mem_new(entries.n, sizeof(*out.at));
	for (size_t i = 0; i < entries.n; i++) {
		if (!entries.at[i]->is_bad &&
		    entries.at[i]->kind == NODE_SCALAR)
			out.at[out.n++] = mem_text(entries.at[i]->text);
	}
	return out;
}

struct strings
field_strings_lower(const struct node *map, enum row_id id)
{
	struct strings out = field_strings(map, id);

	for (size_t i = 0; i < out.n; i++) {
		char *lower = text_lower(span_of(out.at[i]));

		free(out.at[i]);
		out.at[i] = lower;
	}
	return out;
}

struct cidrs
field_cidrs(const struct node *map, enum row_id id)
{
	struct entries entries = field_entries(map, id);
	struct cidrs out = {NULL, 0};

	if (entries.n > 0)
		out.at = mem_new(entries.n, sizeof(*out.at));
	for (size_t i = 0; i < entries.n; i++) {
		if (!entries.at[i]->is_bad &&
		    cidr_parse(entries.at[i]->text, &out.at[out.n]))
			out.n++;
	}
	return out;
}

struct header_pair *
field_pairs(const struct node *map, enum row_id id, size_t *n_out)
{
	struct entries entries = field_entries(map, id);
	struct header_pair *pairs = NULL;

	*n_out = 0;
	if (entries.n > 0)
		pairs = mem_new(entries.n, sizeof(*pairs));
	for (size_t i = 0; i < entries.n; i++) {
		if (entries.at[i]->is_bad)
			continue;
		pairs[(*n_out)++] = (struct header_pair){
		    .name = text_lower(entries.at[i]->key),
		    .value = mem_text(entries.at[i]->text),
		};
	}
	return pairs;
}
