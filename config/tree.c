/*
 * From text to tree, by the events of libyaml. What YAML can do and a
 * configuration should not (anchors, tags, several documents, keys that stand
 * twice) ends here. JSON comes the same way: it is YAML's flow style.
 *
 * The first syntax error ends the reading, everything else is collected.
 */
#include "config/tree.h"

#include <stdio.h>
#include <yaml.h>

#include "config/lines.h"
#include "config/mem.h"

enum { CHUNK_BYTES = 1 << 16, INDEX_FROM = 9 };

/* ---- memory ---- */

struct arena {
	struct arena *before; /* owned */
	size_t used, size;
	_Alignas(16) char bytes[];
};

void *
tree_alloc(struct tree *tree, size_t n, size_t size)
{
	size_t want = (n * size + 15) & ~(size_t)15;
	struct arena *arena = tree->arena;
	void *place;

	if (arena == NULL || arena->size - arena->used < want) {
		size_t bytes = want > CHUNK_BYTES ? want : CHUNK_BYTES;

		arena = mem_new(1, sizeof(*arena) + bytes);
		arena->size = bytes;
		arena->before = tree->arena;
		tree->arena = arena;
	}
	place = arena->bytes + arena->used;
	arena->used += want;
	return place;
}

void
tree_release(struct tree *tree)
{
	while (tree->arena) {
		struct arena *arena = tree->arena;

		tree->arena = arena->before;
		free(arena);
	}
	memset(tree, 0, sizeof(*tree));
}

struct node *
tree_node(struct tree *tree, enum node_kind kind, struct place at)
{
	struct node *node = tree_alloc(tree, 1, sizeof(*node));

	node->kind = kind;
	node->at = at;
	node->word = NODE_ABSENT;
	tree->n_nodes++;
	return node;
}

static struct span
tree_text(struct tree *tree, const void *text, size_t len)
{
	char *copy = tree_alloc(tree, len + 1, 1);

	memcpy(copy, text, len);
	return (struct span){copy, len};
}

/* ---- looking up ---- */

static size_t
key_hash(struct span key)
{
	uint64_t hash = span_hash(key);

	return (size_t)(hash ^ (hash >> 32));
}

/* The slot of a key: that which holds it, or the empty one for it. */
static uint32_t *
index_slot(const struct node *map, struct span key)
{
	size_t i = key_hash(key) & (map->n_index - 1);

	while (
	    map->index[i] && !span_eq(map->child[map->index[i] - 1]->key, key))
		i = (i + 1) & (map->n_index - 1);
	return &map->index[i];
}

long
node_find(const struct node *map, struct span key)
{
	assert(map->kind == NODE_MAP);
	if (map->index)
		return (long)*index_slot(map, key) - 1;
	for (size_t i = 0; i < map->n; i++) {
		if (span_eq(map->child[i]->key, key))
			return (long)i;
	}
	return -1;
}

struct node *
node_get(const struct node *map, struct span key)
{
	long i = map && map->kind == NODE_MAP ? node_find(map, key) : -1;

	return i < 0 ? NULL : map->child[i];
}

bool
node_is_null(const struct node *node)
{
	return node->kind == NODE_SCALAR && node->is_plain &&
	       (node->written.len == 0 || span_eq(node->written, SPAN("~")) ||
	           span_eq(node->written, SPAN("null")));
}

/* ---- growing ---- */

struct reader {
	struct tree *tree;
	struct report *report;
	struct span text;
	bool is_literal; /* variables are text */
	yaml_parser_t parser;
	struct node *top; /* the map or list that is open */
	unsigned depth;
	bool has_key; /* a key waits for its value */
	struct span key;
	struct place key_at;
	const char *line; /* start of the line `line_number`: only moves on */
	unsigned line_number;
};

static struct place
place_of(yaml_mark_t from, yaml_mark_t to)
{
	struct place at = {
	    (unsigned)from.line + 1, (unsigned)from.column + 1, 1};

	if (to.line == from.line && to.column > from.column)
		at.width = (unsigned)(to.column - from.column);
	return at;
}

/* The text from line `number` on. Lines come in order: this only moves on. */
static struct span
reader_from(struct reader *reader, unsigned number)
{
	const char *end = reader->text.ptr + reader->text.len;
	struct span rest = {reader->line, (size_t)(end - reader->line)}, line;

	while (reader->line_number < number && lines_next(&rest, &line)) {
		reader->line = rest.ptr;
		reader->line_number++;
	}
	return rest;
}

/* "key:<tab>value" is YAML, but not ours. */
static void
refuse_tab(struct reader *reader, struct place value)
{
	unsigned column = reader->key_at.column + reader->key_at.width;
	struct span line;
	size_t chars = 1;

	if (value.line != reader->key_at.line || value.column > 4096)
		return;
	line = reader_from(reader, value.line);
	for (size_t i = 0; i < line.len && chars < value.column; i++) {
		if (chars >= column && line.ptr[i] == '\t') {
			report_add(reader->report, DIAG_TAB,
			    (struct place){value.line, (unsigned)chars, 1},
			    "use spaces", "a tab stands before the value");
			return;
		}
		chars += (line.ptr[i] & 0xc0) != 0x80;
	}
}

static void
node_append(struct node *parent, struct node *node)
{
	node->parent = parent;
	if (parent->last)
		parent->last->next = node;
	else
		parent->first = node;
	parent->last = node;
	parent->n++;
}

/* Puts a value where it belongs: below the open map or list, or on top. */
static void
reader_place(struct reader *reader, struct node *node)
{
	if (reader->top == NULL) {
		reader->tree->root = node;
		return;
	}
	if (reader->top->kind == NODE_MAP) {
		node->key = reader->key;
		node->key_at = reader->key_at;
		reader->has_key = false;
		refuse_tab(reader, node->at);
	}
	node_append(reader->top, node);
}

static bool
wants_key(const struct reader *reader)
{
	return reader->top && reader->top->kind == NODE_MAP && !reader->has_key;
}

static void
refuse_feature(struct reader *reader, const yaml_event_t *event,
    const char *hint, const char *what)
{
	report_add(reader->report, DIAG_YAML_FEATURE,
	    place_of(event->start_mark, event->end_mark), hint, "%s", what);
}

static void
check_marks(struct reader *reader, const yaml_event_t *event,
    const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor)
		refuse_feature(reader, event, "write it out, or use like",
		    "anchors and aliases are not read");
	else if (tag)
		refuse_feature(reader, event, "types come from the settings",
		    "tags are not read");
}

static bool
reader_scalar(struct reader *reader, const yaml_event_t *event)
{
	struct place at = place_of(event->start_mark, event->end_mark);
	const yaml_char_t *value = event->data.scalar.value;
	size_t len = event->data.scalar.length;
	struct node *node;

	check_marks(
	    reader, event, event->data.scalar.anchor, event->data.scalar.tag);
	if (wants_key(reader)) {
		reader->key = tree_text(reader->tree, value, len);
		reader->key_at = at;
		reader->has_key = true;
		return true;
	}
	node = tree_node(reader->tree, NODE_SCALAR, at);
	node->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	node->written = node->text = tree_text(reader->tree, value, len);
	if (len == 0 && node->is_plain && reader->has_key)
		node->at = reader->key_at;
	reader_place(reader, node);
	node->is_bad =
	    !reader->is_literal &&
	    !variables_fill(reader->tree, node, reader->report);
	return true;
}

static bool
reader_open(
    struct reader *reader, const yaml_event_t *event, enum node_kind kind)
{
	struct place at = place_of(event->start_mark, event->end_mark);
	struct node *node;

	if (wants_key(reader)) {
		report_add(reader->report, DIAG_SYNTAX, at, NULL,
		    "a key is a single word");
		return false;
	}
	if (++reader->depth > CONFIG_DEPTH_MAX) {
		report_add(reader->report, DIAG_TOO_DEEP, at, NULL,
		    "nested more than %d deep", CONFIG_DEPTH_MAX);
		return false;
	}
	if (at.width == 0)
		at.width = 1;
	node = tree_node(reader->tree, kind, at);
	reader_place(reader, node);
	reader->top = node;
	return true;
}

static void
refuse_twice(struct reader *reader, struct node *map, struct node *again)
{
	struct node *first = node_get(map, again->key);
	char hint[64];

	snprintf(hint, sizeof(hint), "first on line %u", first->key_at.line);
	report_add(reader->report, DIAG_DUPLICATE_KEY, again->key_at, hint,
	    "the key \"%.*s\" stands here twice",
	    (int)(again->key.len < 80 ? again->key.len : 80), again->key.ptr);
}

static void
index_make(struct tree *tree, struct node *map)
{
	map->n_index = 32;
	while (map->n_index < map->n * 2)
		map->n_index *= 2;
	map->index = tree_alloc(tree, map->n_index, sizeof(*map->index));
}

/* The chain becomes an array; a key that stands twice is told and dropped. */
static void
reader_close(struct reader *reader)
{
	struct node *node = reader->top, *child;
	size_t all = node->n;

	node->child = tree_alloc(reader->tree, all, sizeof(*node->child));
	if (node->kind == NODE_MAP && all >= INDEX_FROM)
		index_make(reader->tree, node);
	node->n = 0;
	for (child = node->first; child; child = child->next) {
		if (node->kind == NODE_MAP &&
		    node_find(node, child->key) >= 0) {
			refuse_twice(reader, node, child);
			continue;
		}
		node->child[node->n++] = child;
		child->position = (uint32_t)node->n;
		if (node->index)
			*index_slot(node, child->key) = (uint32_t)node->n;
	}
	reader->top = node->parent;
	reader->depth--;
	reader->has_key = false;
}

/* One event; false ends the reading. */
static bool
reader_take(struct reader *reader, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (reader->tree->root == NULL)
			return true;
		refuse_feature(
		    reader, event, NULL, "a file holds one document");
		return false;
	case YAML_ALIAS_EVENT:
		refuse_feature(reader, event, "write it out, or use like",
		    "anchors and aliases are not read");
		return false;
	case YAML_SCALAR_EVENT:
		return reader_scalar(reader, event);
	case YAML_SEQUENCE_START_EVENT:
		check_marks(reader, event, event->data.sequence_start.anchor,
		    event->data.sequence_start.tag);
		return reader_open(reader, event, NODE_LIST);
	case YAML_MAPPING_START_EVENT:
		check_marks(reader, event, event->data.mapping_start.anchor,
		    event->data.mapping_start.tag);
		return reader_open(reader, event, NODE_MAP);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		reader_close(reader);
		return true;
	default:
		return true;
	}
}

/* ---- what libyaml did not like ---- */

static struct place
place_of_offset(struct span text, size_t offset)
{
	struct place at = {0, 1, 1};
	struct span rest = text, line;
	size_t i;

	while (lines_next(&rest, &line)) {
		at.line++;
		if (offset < (size_t)(rest.ptr - text.ptr) || rest.len == 0)
			break;
	}
	if (at.line == 0)
		return (struct place){1, 1, 0};
	for (i = (size_t)(line.ptr - text.ptr); i < offset; i++)
		at.column += i < text.len && (text.ptr[i] & 0xc0) != 0x80;
	return at;
}

static void
refuse_syntax(struct reader *reader)
{
	const yaml_parser_t *parser = &reader->parser;
	struct place at = place_of(parser->problem_mark, parser->problem_mark);
	struct span line;
	char hint[160] = "";

	if (parser->error == YAML_READER_ERROR) {
		report_add(reader->report, DIAG_NOT_TEXT,
		    place_of_offset(reader->text, parser->problem_offset), NULL,
		    "the file is not UTF-8 text (%s)", parser->problem);
		return;
	}
	if (parser->context) {
		snprintf(hint, sizeof(hint), "%s that begins on line %zu",
		    parser->context, parser->context_mark.line + 1);
		/* the end of the file is nowhere near the mistake */
		if (strstr(parser->problem, "end of stream"))
			at = place_of(
			    parser->context_mark, parser->context_mark);
	}
	line = lines_get(reader->text, at.line);
	if (memmem(line.ptr, line.len, "${", 2))
		snprintf(hint, sizeof(hint),
		    "a variable between { } or [ ] needs quotes: \"${NAME}\"");
	report_add(reader->report, DIAG_SYNTAX, at, hint[0] ? hint : NULL,
	    "this is not YAML: %s", parser->problem);
}

/* Tabs at the start of a line, outside of JSON: every one is told. */
static bool
find_tabs(struct reader *reader)
{
	struct span rest = reader->text, line;
	struct place at = {0, 0, 0};
	bool has_tabs = false;

	while (lines_next(&rest, &line)) {
		size_t i = 0;

		at.line++;
		while (i < line.len && line.ptr[i] == ' ')
			i++;
		if (at.line == 1 && i < line.len &&
		    (line.ptr[i] == '{' || line.ptr[i] == '['))
			return false;
		if (i == line.len || line.ptr[i] != '\t')
			continue;
		at.column = (unsigned)i + 1;
		while (i < line.len && line.ptr[i] == '\t')
			i++;
		if (i == line.len)
			continue;
		at.width = (unsigned)i + 1 - at.column;
		report_add(reader->report, DIAG_TAB, at, "use spaces",
		    "a line is indented with a tab");
		has_tabs = true;
	}
	return has_tabs;
}

static bool
reader_run(struct reader *reader)
{
	yaml_event_t event;
	bool is_end = false, is_fine = true;

	while (is_fine && !is_end) {
		if (!yaml_parser_parse(&reader->parser, &event)) {
			refuse_syntax(reader);
			return false;
		}
		is_end = event.type == YAML_STREAM_END_EVENT;
		is_fine = reader_take(reader, &event);
		if (is_fine && reader->tree->n_nodes > NODES_MAX) {
			report_add(reader->report, DIAG_TOO_LARGE,
			    place_of(event.start_mark, event.end_mark), NULL,
			    "the file has more than %d values", NODES_MAX);
			is_fine = false;
		}
		yaml_event_delete(&event);
	}
	return is_fine;
}

bool
tree_parse(struct tree *tree, struct span text, bool is_literal,
    struct report *report)
{
	struct reader reader = {.tree = tree,
	    .report = report,
	    .text = text,
	    .is_literal = is_literal};
	bool is_fine;

	memset(tree, 0, sizeof(*tree));
	reader.line = text.ptr;
	reader.line_number = 1;
	if (find_tabs(&reader))
		return false;
	if (!yaml_parser_initialize(&reader.parser))
		assert(!"memory for the parser");
	yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(
	    &reader.parser, (const unsigned char *)text.ptr, text.len);
	is_fine = reader_run(&reader);
	yaml_parser_delete(&reader.parser);
	return is_fine;
}
