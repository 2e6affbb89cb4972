/*
 * What the table of settings says: as JSON Schema for editors, as answers to
 * `weir explain KEY`, as the reference page.
 */
#include <jansson.h>
#include <stdlib.h>

#include "config/mem.h"
#include "config/schema.h"

enum { SHOWN_MAX = 160, NAMED_MAX = 6 };

/* ---- JSON Schema ---- */

static json_t *schema_of(const struct schema_row *row);

static json_t *
pattern(const char *regex)
{
	return json_pack("{s:s,s:s}", "type", "string", "pattern", regex);
}

static json_t *
map_schema(const struct schema_row *parent)
{
	const struct schema_row *row = NULL;
	json_t *properties = json_object(), *required = json_array();
	json_t *map;

	while ((row = schema_below(parent, row))) {
		struct span key = schema_key(row);

		json_object_set_new(properties, key.ptr, schema_of(row));
		if (schema_is_required(row))
			json_array_append_new(required, json_string(key.ptr));
	}
	map = json_pack("{s:s,s:o,s:b}", "type", "object", "properties",
	    properties, "additionalProperties", 0);
	if (json_array_size(required) > 0)
		json_object_set(map, "required", required);
	json_decref(required);
	return map;
}

static json_t *
named_schema(const struct schema_row *row)
{
	json_t *map = json_pack("{s:s,s:o}", "type", "object",
	    "additionalProperties", schema_of(schema_entry(row)));

	if (strcmp(row->range, "name") == 0)
		json_object_set_new(
		    map, "propertyNames", pattern("^[a-z0-9][a-z0-9-]{0,62}$"));
	return map;
}

static json_t *
list_schema(const struct schema_row *row)
{
	json_t *entry = schema_of(schema_entry(row));

	return json_pack("{s:[{s:s,s:i,s:O},o]}", "anyOf", "type", "array",
	    "minItems", row->range ? 1 : 0, "items", entry, entry);
}

static json_t *
secret_schema(void)
{
	return json_pack("{s:s,s:{s:{s:s},s:{s:s},s:{s:s}},s:b,s:i,s:i}",
	    "type", "object", "properties", "file", "type", "string", "env",
	    "type", "string", "credential", "type", "string",
	    "additionalProperties", 0, "minProperties", 1, "maxProperties", 1);
}

static json_t *
words_schema(const struct schema_row *row)
{
	json_t *list = json_array();
	struct words words;

	schema_words(row, &words);
	for (size_t i = 0; i < words.n; i++) {
		int64_t number;

		json_array_append_new(list, json_string(words.at[i]));
		/* status: 308 is a number to an editor, a word to weir */
		if (units_integer(span_of(words.at[i]), &number))
			json_array_append_new(list, json_integer(number));
	}
	return json_pack("{s:o}", "enum", list);
}

static json_t *
integer_schema(const struct schema_row *row)
{
	json_t *json = json_pack("{s:s}", "type", "integer");
	struct span lo, hi;
	int64_t edge;

	if (!schema_range(row, &lo, &hi))
		return json;
	if (units_integer(lo, &edge))
		json_object_set_new(json, "minimum", json_integer(edge));
	if (units_integer(hi, &edge))
		json_object_set_new(json, "maximum", json_integer(edge));
	return json;
}

static json_t *
scalar_schema(const struct schema_row *row, unsigned type)
{
	switch (type) {
	case V_WORD:
		return words_schema(row);
	case V_INT:
		return integer_schema(row);
	case V_SIZE:
		return json_pack("{s:[s,s]}", "type", "integer", "string");
	case V_PERCENT:
		return json_pack("{s:[s,s]}", "type", "number", "string");
	case V_DURATION:
		return pattern("^([0-9.]+(d|h|m|s|ms|us|ns))+$|\\$\\{");
	case V_RATE:
		return pattern("^[0-9]+/[0-9.a-z]+$|\\$\\{");
	case V_INCREASE:
		return pattern("^[0-9.]+(pp|%)$|\\$\\{");
	case V_URL:
		return pattern("^https?://|\\$\\{");
	case V_BOOL:
		return json_pack("{s:s}", "type", "boolean");
	default:
		return json_pack("{s:[s,s]}", "type", "string", "number");
	}
}

static bool
takes_variables(unsigned type)
{
	return type == V_INT || type == V_BOOL || type == V_WORD;
}

static json_t *
schema_of_type(const struct schema_row *row, unsigned type)
{
	switch (type) {
	case V_MAP:
		return map_schema(row);
	case V_NAMED:
		return named_schema(row);
	case V_LIST:
		return list_schema(row);
	case V_SECRET:
		return secret_schema();
	default:
		return scalar_schema(row, type);
	}
}

static json_t *
fallback_json(const struct schema_row *row)
{
	json_t *list;
	int64_t number;

	if (row->types & V_INT &&
	    units_integer(span_of(row->fallback), &number))
		return json_integer(number);
	if (row->types & V_BOOL)
		return json_boolean(strcmp(row->fallback, "true") == 0);
	if (!(row->types & V_LIST))
		return json_string(row->fallback);
	list = json_array();
	for (const char *p = row->fallback; *p;) {
		size_t len = strcspn(p, ",");

		json_array_append_new(list, json_stringn(p, len));
		p += len + (p[len] == ',');
	}
	return list;
}

static json_t *
schema_of(const struct schema_row *row)
{
	json_t *ways = json_array(), *json;
	bool variables = false;

	for (unsigned bit = 1; bit <= V_URL; bit <<= 1) {
		if (!(row->types & bit))
			continue;
		json_array_append_new(ways, schema_of_type(row, bit));
		variables |= takes_variables(bit);
	}
	if (variables)
		json_array_append_new(
		    ways, json_pack("{s:s}", "$ref", "#/$defs/variable"));
	if (json_array_size(ways) == 1)
		json = json_incref(json_array_get(ways, 0));
	else
		json = json_pack("{s:O}", "anyOf", ways);
	json_decref(ways);
	json_object_set_new(json, "description", json_string(row->doc));
	if (row->fallback && !schema_is_required(row))
		json_object_set_new(json, "default", fallback_json(row));
	return json;
}

void
config_print_schema(FILE *out)
{
	json_t *root = map_schema(NULL);

	json_object_set_new(root, "$schema",
	    json_string("https://json-schema.org/draft/2020-12/schema"));
	json_object_set_new(
	    root, "title", json_string("The configuration of weir"));
	json_object_set_new(
	    root, "$defs", json_pack("{s:o}", "variable", pattern("\\$\\{")));
	json_dumpf(root, out, JSON_INDENT(2));
	fputc('\n', out);
	json_decref(root);
}

/* ---- explain ---- */

/* "listeners.*.bind.*" as "listeners.NAME.bind[]". */
static void
show_path(const struct schema_row *row, char buf[SHOWN_MAX])
{
	const struct schema_row *above = NULL, *next = NULL;
	size_t n = 0;

	buf[0] = '\0';
	while (above != row) {
		struct span key;

		/* down the table: the child that is on the way to row */
		next = NULL;
		while ((next = schema_below(above, next))) {
			size_t len = strlen(next->path);

			if (strncmp(next->path, row->path, len) == 0 &&
			    (row->path[len] == '.' || row->path[len] == '\0'))
				break;
		}
		assert(next != NULL);
		key = schema_key(next);
		if (!span_eq(key, SPAN("*")))
			n += (size_t)snprintf(buf + n, SHOWN_MAX - n, "%s%s",
			    n ? "." : "", key.ptr);
		else
			n += (size_t)snprintf(buf + n, SHOWN_MAX - n, "%s",
			    above->types & V_LIST ? "[]" : ".NAME");
		above = next;
	}
}

static void
show_type(const struct schema_row *row, FILE *out)
{
	static const char *const names[] = {"a map", "a map by name", "a list",
	    "{file: PATH}, {env: NAME} or {credential: NAME}", NULL, "a number",
	    "a size (\"64KiB\")", "a duration (\"30s\")", "a percentage",
	    "true or false", "a text", "a text with templates", "a name",
	    "an address", "a range of addresses", "a path of a file", "a name",
	    "a host", "a path of a URL", NULL};
	bool is_first = true;
	struct words words;

	schema_words(row, &words);
	for (size_t i = 0; i < words.n; i++, is_first = false)
		fprintf(out, "%s%s", i ? ", " : "", words.at[i]);
	for (int i = 0; i < 20; i++) {
		if (!(row->types & (1u << i)) || (1u << i) == V_WORD)
			continue;
		fputs(is_first ? "" : ", or ", out);
		if ((1u << i) == V_REF)
			fprintf(out, "a name of %s", row->range);
		else
			fputs(names[i], out);
		is_first = false;
	}
	if (row->types & V_RATE)
		fputs("a rate (\"50/s\")", out);
	if (row->types & V_INCREASE)
		fputs("an increase (\"2pp\", \"20%\")", out);
	if (row->types & V_URL)
		fputs("a URL", out);
}

static void
show_row(const struct schema_row *row, FILE *out)
{
	struct span lo, hi;

	fprintf(out, "%s.\n  type     ", row->doc);
	show_type(row, out);
	if (!(row->types & (V_STRING | V_TEXT)) && schema_range(row, &lo, &hi))
		fprintf(out, ", %.*s to %.*s", (int)lo.len, lo.ptr,
		    hi.len ? (int)hi.len : 6, hi.len ? hi.ptr : "no end");
	fprintf(out, "\n  default  %s\n",
	    schema_is_required(row) ? "none: it must be given"
	    : row->fallback         ? row->fallback
	                            : "none");
	fprintf(out, "  change   %s\n",
	    row->reload == RESTART ? "needs a restart" : "by reload (SIGHUP)");
}

/* Steps over "*": what stands below NAME is what one asks for. */
static const struct schema_row *
row_inside(const struct schema_row *row)
{
	while (row && row->types & (V_NAMED | V_LIST))
		row = schema_entry(row);
	return row;
}

static void
show_keys(const struct schema_row *parent, FILE *out)
{
	const struct schema_row *inside = row_inside(parent), *row = NULL;

	if (inside && !(inside->types & V_MAP))
		return;
	fputs("  keys\n", out);
	while ((row = schema_below(inside, row)))
		fprintf(out, "    %-16s %s\n", schema_key(row).ptr, row->doc);
}

static struct span
next_part(struct span *path)
{
	struct span part = {path->ptr, 0};

	while (part.len < path->len && part.ptr[part.len] != '.')
		part.len++;
	path->ptr += part.len;
	path->len -= part.len;
	if (path->len > 0) {
		path->ptr++;
		path->len--;
	}
	return part;
}

/* '*' in the row's path stands for no part, or with `any` for one of any name.
 */
static bool
path_fits(struct span pattern_path, struct span key, bool any)
{
	struct span part, word, rest = key;

	if (pattern_path.len == 0)
		return key.len == 0;
	part = next_part(&pattern_path);
	if (span_eq(part, SPAN("*"))) {
		if (path_fits(pattern_path, key, any))
			return true;
		word = next_part(&rest);
		/* "pools.blance" is a mistake, not a pool's name */
		if (!any || word.len == 0 ||
		    (pattern_path.len == 0 && !span_eq(word, SPAN("*"))))
			return false;
		return path_fits(pattern_path, rest, any);
	}
	word = next_part(&rest);
	return span_eq(part, word) && path_fits(pattern_path, rest, any);
}

/* "pools.balance" before "pools.shop.balance": a setting before a name. */
static const struct schema_row *
row_exact(struct span key)
{
	for (int i = 0; i < 2 * ROW_COUNT; i++) {
		const struct schema_row *row =
		    schema_row((enum row_id)(i % ROW_COUNT));

		if (path_fits(span_of(row->path), key, i >= ROW_COUNT))
			return row;
	}
	return NULL;
}

/* The only row whose path ends in `key`; several are named in err. */
static const struct schema_row *
row_by_end(const char *key, struct err *err)
{
	const struct schema_row *found = NULL;
	char shown[SHOWN_MAX], all[400] = "";
	size_t n = 0, hits = 0;

	for (int i = 0; i < ROW_COUNT; i++) {
		const struct schema_row *row = schema_row((enum row_id)i);
		const char *dot = strchr(row->path, '.');

		while (dot && (dot[1] == '*' || !path_fits(span_of(dot + 1),
		                                    span_of(key), false)))
			dot = strchr(dot + 1, '.');
		if (dot == NULL || row->path[strlen(row->path) - 1] == '*')
			continue;
		show_path(row, shown);
		found = row;
		if (hits++ < NAMED_MAX)
			n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s",
			    n ? ", " : "", shown);
	}
	if (hits == 1)
		return found;
	if (hits > 1)
		err_set(err, "several keys end in '%s': %s", key, all);
	else
		err_set(err, "no key is named '%s'", key);
	return NULL;
}

static void
suggest_key(const char *key, struct err *err)
{
	char shown[ROW_COUNT][SHOWN_MAX];
	const char *words[2 * ROW_COUNT];
	const char *near;
	size_t n = 0;

	if (strncmp(err->text, "no key", 6) != 0)
		return;
	for (int i = 0; i < ROW_COUNT; i++) {
		const struct schema_row *row = schema_row((enum row_id)i);
		char *out = shown[i];

		/* without "*": how people write it */
		for (const char *p = row->path; *p; p++) {
			if (p[0] == '.' && p[1] == '*')
				p++;
			else
				*out++ = *p;
		}
		*out = '\0';
		words[n++] = shown[i];
		words[n++] = schema_key(row).ptr;
	}
	near = suggest(span_of(key), words, n);
	if (near)
		err_set(
		    err, "no key is named '%s'; did you mean '%s'?", key, near);
}

bool
config_explain(const char *key, FILE *out, struct err *err)
{
	const struct schema_row *row = NULL;
	char shown[SHOWN_MAX];

	if (key[0] == '\0') {
		show_keys(NULL, out);
		return true;
	}
	for (size_t i = 0; later_key(i); i++) {
		if (path_fits(span_of(later_key(i)), span_of(key), true))
			return err_set(err,
			    "'%s' is known, but not available in this version",
			    key);
	}
	row = row_exact(span_of(key));
	if (row == NULL)
		row = row_by_end(key, err);
	if (row == NULL) {
		suggest_key(key, err);
		return false;
	}
	show_path(row, shown);
	fprintf(out, "%s\n  ", shown);
	show_row(row, out);
	show_keys(row, out);
	return true;
}

/* As config_explain takes them: names of the operator's are left out. */
void
config_print_keys(FILE *out)
{
	for (int i = 0; i < ROW_COUNT; i++) {
		struct span rest = span_of(schema_row((enum row_id)i)->path),
		            part;
		bool is_first = true;

		if (span_eq(schema_key(schema_row((enum row_id)i)), SPAN("*")))
			continue;
		while (rest.len > 0) {
			part = next_part(&rest);
			if (span_eq(part, SPAN("*")))
				continue;
			fprintf(out, "%s%.*s", is_first ? "" : ".",
			    (int)part.len, part.ptr);
			is_first = false;
		}
		fputc('\n', out);
	}
}

void
config_print_reference(FILE *out)
{
	char shown[SHOWN_MAX];

	fputs("# Settings\n", out);
	for (int i = 0; i < ROW_COUNT; i++) {
		const struct schema_row *row = schema_row((enum row_id)i);

		if (span_eq(schema_key(row), SPAN("*")))
			continue;
		show_path(row, shown);
		fprintf(out, "\n## `%s`\n", shown);
		show_row(row, out);
	}
}
