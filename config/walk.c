/*
 * Judging the tree; see walk.h. Nothing here knows a setting by name, with the
 * exception of the four nouns that messages use ('pool "shop"').
 */
#include "config/walk.h"

#include <stdio.h>

#include "config/mem.h"
#include "config/value.h"

enum { CASE_MAX = 256 }; /* pairs grow with the square */

struct walk {
	struct report *report; /* borrowed */
	const struct node *root;
};

static void walk_node(
    struct walk *walk, struct node *node, const struct schema_row *row);

/* ---- where ---- */

struct place
node_place(const struct node *node)
{
	return node->key.len > 0 ? node->key_at : node->at;
}

static const char *
noun_of(const struct node *node)
{
	static const struct {
		enum row_id row;
		const char *noun;
	} nouns[] = {{ROW_LISTENER, "listener"}, {ROW_POOL, "pool"},
	    {ROW_SPLIT, "split"}, {ROW_ROUTE, "route"},
	    {ROW_PLAN, "plan"}};

	for (size_t i = 0; i < sizeof(nouns) / sizeof(nouns[0]); i++) {
		if (node->row == schema_row(nouns[i].row))
			return nouns[i].noun;
	}
	return NULL;
}

static void
thing_words(const struct node *thing, const char *noun, char *buf, size_t cap)
{
	const struct node *name = node_get(thing, SPAN("name"));
	struct span word = thing->key;

	if (word.len == 0 && name && name->kind == NODE_SCALAR)
		word = name->written;
	if (word.len > 0)
		snprintf(buf, cap, "%s \"%.*s\"", noun,
		    (int)(word.len < 64 ? word.len : 64), word.ptr);
	else if (thing->parent)
		snprintf(buf, cap, "%s %u", noun, thing->position);
}

char *
node_where(const struct node *node, char buf[WHERE_MAX])
{
	char keys[WHERE_MAX / 2] = "", longer[WHERE_MAX], thing[96] = "";

	for (; node; node = node->parent) {
		const char *noun = noun_of(node);

		if (noun) {
			thing_words(node, noun, thing, sizeof(thing));
			break;
		}
		if (node->key.len == 0)
			continue;
		snprintf(longer, sizeof(longer), "%.*s%s%s",
		    (int)(node->key.len < 64 ? node->key.len : 64),
		    node->key.ptr, keys[0] ? "." : "", keys);
		snprintf(
		    keys, sizeof(keys), "%.*s", (int)sizeof(keys) - 1, longer);
	}
	snprintf(buf, WHERE_MAX, "%s%s%s", keys,
	    keys[0] && thing[0] ? " of " : "", thing);
	if (buf[0] == '\0')
		snprintf(buf, WHERE_MAX, "the file");
	return buf;
}

static void
tell_fault(struct walk *walk, const struct node *node, struct place at,
    const struct fault *fault)
{
	char where[WHERE_MAX];

	report_add(walk->report, fault->code, at,
	    fault->hint[0] ? fault->hint : NULL, "%s: %s",
	    node_where(node, where), fault->message);
}

/* ---- keys ---- */

/* What other proxies call it. `row` is where it is written, NULL the top. */
static const struct {
	enum row_id row;
	const char *word, *ours;
} foreign[] = {
    {ROW_COUNT, "servers", "pools"},
    {ROW_COUNT, "upstreams", "pools"},
    {ROW_COUNT, "backends", "pools"},
    {ROW_COUNT, "clusters", "pools"},
    {ROW_COUNT, "services", "pools"},
    {ROW_COUNT, "frontends", "listeners"},
    {ROW_COUNT, "entrypoints", "listeners"},
    {ROW_COUNT, "locations", "routes"},
    {ROW_COUNT, "rules", "routes"},
    {ROW_LISTENER, "listen", "bind"},
    {ROW_LISTENER, "address", "bind"},
    {ROW_LISTENER, "port", "bind"},
    {ROW_LISTENER, "ssl", "tls"},
    {ROW_POOL, "server", "endpoints"},
    {ROW_POOL, "servers", "endpoints"},
    {ROW_POOL, "hosts", "endpoints"},
    {ROW_POOL, "targets", "endpoints"},
    {ROW_POOL, "ssl", "tls"},
    {ROW_ROUTE, "backend", "pool"},
    {ROW_ROUTE, "upstream", "pool"},
    {ROW_ROUTE, "service", "pool"},
    {ROW_ROUTE, "target", "pool"},
    {ROW_ROUTE, "proxy_pass", "pool"},
    {ROW_ROUTE, "return", "respond"},
};

/*
 * The word of another proxy, or a key that stands one level further down
 * ("header_timeout" of a listener is in its "limits").
 */
static bool
hint_elsewhere(
    const struct schema_row *row, struct span key, struct fault *fault)
{
	const struct schema_row *map = NULL;

	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		const struct schema_row *at = foreign[i].row == ROW_COUNT
		                                  ? NULL
		                                  : schema_row(foreign[i].row);

		if (at == row && span_ieq(span_of(foreign[i].word), key)) {
			snprintf(fault->hint, sizeof(fault->hint),
			    "here it is called \"%s\"", foreign[i].ours);
			return true;
		}
	}
	while ((map = schema_below(row, map))) {
		if (!(map->types & V_MAP) || !schema_child(map, key))
			continue;
		snprintf(fault->hint, sizeof(fault->hint),
		    "it stands in %.*s: {%.*s: ...}", (int)schema_key(map).len,
		    schema_key(map).ptr, (int)(key.len < 64 ? key.len : 64),
		    key.ptr);
		return true;
	}
	return false;
}

/* "known here: a, b, c" when nothing is near. */
static void
hint_keys(const struct schema_row *row, struct span key, struct fault *fault)
{
	const struct schema_row *child = NULL;
	char words[48][48];
	const char *list[48];
	size_t n = 0, used;

	while (n < 48 && (child = schema_below(row, child))) {
		struct span name = schema_key(child);

		snprintf(words[n], sizeof(words[n]), "%.*s", (int)name.len,
		    name.ptr);
		list[n] = words[n];
		n++;
	}
	fault->hint[0] = '\0';
	fault_suggest(fault, key, list, n);
	if (fault->hint[0] || hint_elsewhere(row, key, fault))
		return;
	used =
	    (size_t)snprintf(fault->hint, sizeof(fault->hint), "known here: ");
	for (size_t i = 0; i < n && used < sizeof(fault->hint); i++)
		used += (size_t)snprintf(fault->hint + used,
		    sizeof(fault->hint) - used, "%s%s", i ? ", " : "", list[i]);
}

static void
refuse_key(struct walk *walk, const struct node *map, const struct node *child)
{
	int len = (int)(child->key.len < 64 ? child->key.len : 64);
	char where[WHERE_MAX];
	struct fault fault = {.code = DIAG_UNKNOWN_KEY};

	node_where(map, where);
	if (later_has_key(map->row, child->key)) {
		report_add(walk->report, DIAG_NOT_AVAILABLE, child->key_at,
		    "take it out, or use a version that has it",
		    "\"%.*s\" in %s is known, but not available in this "
		    "version",
		    len, child->key.ptr, where);
		return;
	}
	if (!report_is_full(walk->report))
		hint_keys(map->row, child->key, &fault);
	report_add(walk->report, DIAG_UNKNOWN_KEY, child->key_at, fault.hint,
	    "unknown key \"%.*s\" in %s", len, child->key.ptr, where);
}

static void
check_required(struct walk *walk, const struct node *map)
{
	const struct schema_row *row = NULL;
	char where[WHERE_MAX];

	while ((row = schema_below(map->row, row))) {
		const struct node *child = node_get(map, schema_key(row));

		if (!schema_is_required(row) || (child && !node_is_null(child)))
			continue;
		report_add(walk->report, DIAG_MISSING_KEY, node_place(map),
		    row->doc, "\"%.*s\" is missing in %s",
		    (int)schema_key(row).len, schema_key(row).ptr,
		    node_where(map, where));
	}
}

static void
walk_map(struct walk *walk, struct node *map)
{
	for (size_t i = 0; i < map->n; i++) {
		struct node *child = map->child[i];
		const struct schema_row *row =
		    schema_child(map->row, child->key);

		if (row) {
			walk_node(walk, child, row);
		} else {
			refuse_key(walk, map, child);
			child->is_bad = true;
		}
	}
	check_required(walk, map);
}

/* ---- names that must be defined somewhere ---- */

/* All keys of a map, for suggestions; the caller frees. */
static const char **
keys_of(const struct node *map)
{
	const char **keys = mem_new(map->n, sizeof(*keys));

	for (size_t i = 0; i < map->n; i++)
		keys[i] = map->child[i]->key.ptr;
	return keys;
}

/* A pool where a split is meant, and the other way round. */
static const char *
other_section(const struct walk *walk, const char *section, struct span name)
{
	static const char *const sections[] = {"pools", "splits", "listeners"};

	for (size_t i = 0; i < 3; i++) {
		if (strcmp(sections[i], section) != 0 &&
		    node_get(node_get(walk->root, span_of(sections[i])), name))
			return sections[i];
	}
	return NULL;
}

/* True when the section defines the name. `shown` is what messages quote. */
static bool
check_reference(struct walk *walk, const struct node *node, struct place at,
    const char *section, struct span name, struct span shown)
{
	const struct node *map = node_get(walk->root, span_of(section));
	int noun = (int)strlen(section) - 1; /* without the plural's s */
	const char *other;
	char where[WHERE_MAX];
	struct fault fault = {.hint = ""};

	if (node_get(map, name))
		return true;
	other = other_section(walk, section, name);
	if (other)
		snprintf(fault.hint, sizeof(fault.hint), "\"%.*s\" is a %.*s",
		    (int)(shown.len < 64 ? shown.len : 64), shown.ptr,
		    (int)strlen(other) - 1, other);
	else if (map && map->kind == NODE_MAP &&
	         !report_is_full(walk->report)) {
		const char **keys = keys_of(map);

		fault_suggest(&fault, name, keys, map->n);
		free(keys);
	}
	report_add(walk->report, DIAG_DANGLING, at,
	    fault.hint[0] ? fault.hint : NULL, "%s: there is no %.*s \"%.*s\"",
	    node_where(node, where), noun, section,
	    (int)(shown.len < 64 ? shown.len : 64), shown.ptr);
	return false;
}

/* ---- maps whose keys are the operator's ---- */

static bool
check_name(struct walk *walk, struct node *child, const char *what)
{
	struct fault fault = {.code = DIAG_HEADER, .hint = ""};
	int len = (int)(child->key.len < 64 ? child->key.len : 64);

	if (child->key.len == 0 || memchr(child->key.ptr, 0, child->key.len)) {
		fault.code = DIAG_NAME;
		snprintf(fault.message, sizeof(fault.message),
		    "a key is empty or holds a NUL byte");
	} else if (strcmp(what, "name") == 0 && !name_is_fine(child->key)) {
		fault.code = DIAG_NAME;
		snprintf(fault.message, sizeof(fault.message),
		    "\"%.*s\" is not a name", len, child->key.ptr);
		snprintf(fault.hint, sizeof(fault.hint),
		    "1 to 63 of a-z, 0-9 and '-', not beginning with '-'");
	} else if (strcmp(what, "pools") == 0) {
		return check_reference(walk, child->parent, child->key_at, what,
		    child->key, child->key);
	} else if (strcmp(what, "any") != 0 && strcmp(what, "name") != 0 &&
	           !token_is_fine(child->key)) {
		snprintf(fault.message, sizeof(fault.message),
		    "\"%.*s\" is not a %s name", len, child->key.ptr,
		    strcmp(what, "token") ? "header's" : "cookie's");
	} else if (strcmp(what, "settable") == 0 &&
	           !header_is_settable(child->key)) {
		snprintf(fault.message, sizeof(fault.message),
		    "\"%.*s\" belongs to weir and cannot be set", len,
		    child->key.ptr);
	} else {
		return true;
	}
	tell_fault(walk, child->parent, child->key_at, &fault);
	return false;
}

/* Headers have no case: "X-A" and "x-a" are one. */
static void
check_case(struct walk *walk, const struct node *map, size_t i)
{
	const struct node *child = map->child[i];
	char hint[64];

	if (strcmp(map->row->range, "header") != 0 &&
	    strcmp(map->row->range, "settable") != 0)
		return;
	for (size_t j = 0; j < i && i < CASE_MAX; j++) {
		if (!span_ieq(map->child[j]->key, child->key))
			continue;
		snprintf(hint, sizeof(hint), "first on line %u",
		    map->child[j]->key_at.line);
		report_add(walk->report, DIAG_DUPLICATE_KEY, child->key_at,
		    hint, "the header \"%s\" stands here twice",
		    child->key.ptr);
		return;
	}
}

static void
walk_named(struct walk *walk, struct node *map)
{
	const struct schema_row *entry = schema_entry(map->row);

	for (size_t i = 0; i < map->n; i++) {
		struct node *child = map->child[i];
		bool is_named = check_name(walk, child, map->row->range);

		check_case(walk, map, i);
		walk_node(walk, child, entry);
		child->is_bad |= !is_named;
	}
}

/* ---- secrets ---- */

/* Exactly one of the three ways; whatever else stands there is not shown. */
static void
walk_secret(struct walk *walk, struct node *node)
{
	static const char *const ways[] = {"file", "env", "credential"};
	const struct node *way = node->n == 1 ? node->child[0] : NULL;
	char where[WHERE_MAX];

	for (int i = 0; i < 3 && way; i++) {
		if (span_eq(way->key, span_of(ways[i])) &&
		    way->kind == NODE_SCALAR && !way->is_bad &&
		    !way->has_template && way->text.len > 0 &&
		    way->text.len < 4096 &&
		    !memchr(way->text.ptr, 0, way->text.len)) {
			node->word = i;
			return;
		}
	}
	node->is_bad = true;
	if (way && way->is_bad)
		return;
	report_hide(walk->report, node->at);
	for (size_t i = 0; i < node->n; i++)
		report_hide(walk->report, node->child[i]->at);
	report_add(walk->report, DIAG_SECRET, node_place(node),
	    "write {file: PATH}, {env: NAME} or {credential: NAME}",
	    "%s: a secret is named, never written", node_where(node, where));
}

/* ---- any node ---- */

static void
walk_scalar(struct walk *walk, struct node *node)
{
	struct fault fault;
	struct value value;

	if (node->is_bad)
		return;
	if (node->has_template && !(node->row->types & V_TEXT)) {
		fault.code = DIAG_TEMPLATE;
		snprintf(fault.message, sizeof(fault.message),
		    "templates stand in header values only");
		snprintf(fault.hint, sizeof(fault.hint),
		    "environment variables are upper case: ${NAME}");
		node->is_bad = true;
	} else {
		node->is_bad = !value_parse(
		    node->row, node->text, node->written, &value, &fault);
		node->number = value.number;
		node->word = value.word;
	}
	if (node->is_bad)
		tell_fault(walk, node, node->at, &fault);
	else if (node->row->types & V_REF)
		node->is_bad = !check_reference(walk, node, node->at,
		    node->row->range, node->text, node->written);
}

static const char *
shape_of(unsigned types)
{
	if (types & V_LIST)
		return "a list";
	if (types & V_SECRET)
		return "{file: PATH}, {env: NAME} or {credential: NAME}";
	if (types & (V_MAP | V_NAMED))
		return types & (unsigned)V_SCALARS ? "a map or a value"
		                                   : "a map";
	return "a single value";
}

static void
refuse_shape(struct walk *walk, struct node *node)
{
	static const char *const shapes[] = {
	    [NODE_SCALAR] = "a single value",
	    [NODE_MAP] = "a map",
	    [NODE_LIST] = "a list",
	};
	char where[WHERE_MAX];

	node->is_bad = true;
	report_add(walk->report, DIAG_WRONG_KIND, node->at, NULL,
	    "%s: %s is expected, not %s", node_where(node, where),
	    shape_of(node->row->types),
	    node_is_null(node) ? "nothing" : shapes[node->kind]);
}

/* "client: []" would match anybody where nobody was meant. */
static void
walk_list(struct walk *walk, struct node *list)
{
	const struct schema_row *entry = schema_entry(list->row);
	char where[WHERE_MAX];

	for (size_t i = 0; i < list->n; i++)
		walk_node(walk, list->child[i], entry);
	if (list->n > 0 || list->row->range == NULL)
		return;
	list->is_bad = true;
	report_add(walk->report, DIAG_MISSING_KEY, node_place(list),
	    "add an entry, or take the key away", "%s: the list is empty",
	    node_where(list, where));
}

static void
walk_node(struct walk *walk, struct node *node, const struct schema_row *row)
{
	unsigned types = row->types;

	node->row = row;
	if (types & V_SECRET) {
		walk_secret(walk, node);
	} else if (node_is_null(node) && types & (V_MAP | V_NAMED | V_LIST)) {
		/* "splits:" alone is as good as none; "tls:" is a mistake */
		if (node->parent != walk->root)
			refuse_shape(walk, node);
	} else if (types & V_LIST && node->kind == NODE_LIST) {
		walk_list(walk, node);
	} else if (types & V_LIST) {
		walk_node(walk, node, schema_entry(row));
	} else if (types & V_NAMED && node->kind == NODE_MAP) {
		walk_named(walk, node);
	} else if (types & V_MAP && node->kind == NODE_MAP) {
		walk_map(walk, node);
	} else if (types & (unsigned)V_SCALARS && node->kind == NODE_SCALAR &&
	           !node_is_null(node)) {
		walk_scalar(walk, node);
	} else {
		refuse_shape(walk, node);
	}
}

void
tree_walk(struct node *root, struct report *report)
{
	struct walk walk = {.report = report, .root = root};

	if (root->kind != NODE_MAP) {
		report_add(report, DIAG_WRONG_KIND, root->at, NULL,
		    "the file is a map: version, listeners, pools, routes");
		root->is_bad = true;
		return;
	}
	walk_map(&walk, root);
}
