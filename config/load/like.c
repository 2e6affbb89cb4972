/*
 * Inheritance of pools and plans. One takes every key that it does not give
 * from the one that it is like; maps of settings (timeouts, retry, rollback)
 * are taken key by key, lists and maps of names as a whole. What would
 * contradict a key that it gives is not taken: there is no word for "nothing".
 */
#include "config/load/load.h"
#include "config/mem.h"

enum { LIKE_MAX = 16 };

/* A key that is given, with this text or any but that one, and the key that has
   no meaning beside it. */
static const struct {
	enum row_id given;
	const char *when, *unless;
	enum row_id gone;
} contradictions[] = {
    {ROW_POOL_VERIFY, NULL, "file", ROW_POOL_CA},
    {ROW_BALANCE, NULL, "hash", ROW_HASH_ON},
    {ROW_HASH_BY, "client_ip", NULL, ROW_HASH_NAME},
    {ROW_HEALTH_PATH, NULL, NULL, ROW_HEALTH_GRPC},
    {ROW_HEALTH_GRPC, NULL, NULL, ROW_HEALTH_PATH},
    {ROW_HEALTH_GRPC, NULL, NULL, ROW_HEALTH_METHOD},
    {ROW_HEALTH_GRPC, NULL, NULL, ROW_HEALTH_EXPECT},
    {ROW_HEALTH_GRPC, NULL, NULL, ROW_HEALTH_BODY},
    {ROW_POOL_QUEUE, "0", NULL, ROW_POOL_QUEUE_TIMEOUT},
};

static bool
contradicts(const struct node *map, const struct node *inherited)
{
	size_t n = sizeof(contradictions) / sizeof(contradictions[0]);

	for (size_t i = 0; i < n; i++) {
		enum row_id id = contradictions[i].given;
		const char *when = contradictions[i].when;
		const char *unless = contradictions[i].unless;
		const struct node *given = field(map, id);

		if (given && given->row == schema_row(id) &&
		    span_eq(inherited->key,
		        schema_key(schema_row(contradictions[i].gone))) &&
		    (!when || span_eq(given->text, span_of(when))) &&
		    (!unless || !span_eq(given->text, span_of(unless))))
			return true;
	}
	return false;
}

/* `map` over `base`: what both have is the map's, or mixed when a MAP. */
static const struct node *
merge(struct load *load, const struct node *map, const struct node *base)
{
	struct node *mixed = tree_alloc(load->tree, 1, sizeof(*mixed));

	*mixed = *map;
	mixed->index = NULL;
	mixed->n_index = 0;
	mixed->n = 0;
	mixed->child =
	    tree_alloc(load->tree, map->n + base->n, sizeof(*mixed->child));
	for (size_t i = 0; i < map->n; i++) {
		struct node *child = map->child[i];
		const struct node *below = node_get(base, child->key);

		if (below && child->kind == NODE_MAP &&
		    below->kind == NODE_MAP && child->row &&
		    child->row->types & V_MAP)
			child = (struct node *)merge(load, child, below);
		mixed->child[mixed->n++] = child;
	}
	for (size_t i = 0; i < base->n; i++) {
		if (node_find(map, base->child[i]->key) < 0 &&
		    !contradicts(map, base->child[i]))
			mixed->child[mixed->n++] = base->child[i];
	}
	return mixed;
}

static const struct node *
like_of(
    const struct node *section, const struct node *one, enum row_id like_row)
{
	const struct node *like = field(one, like_row);
	const struct node *base = like ? node_get(section, like->text) : NULL;

	return base && base->kind == NODE_MAP ? base : NULL;
}

static size_t
count_values(const struct node *node)
{
	size_t n = 1;

	for (size_t i = 0; i < node->n; i++)
		n += count_values(node->child[i]);
	return n;
}

/* A thousand pools like one with a thousand endpoints are a million: what a
   file may hold is what it may hold with its likes written out. */
static bool
is_too_much(
    struct load *load, const struct node *like, const struct node *whole)
{
	char where[WHERE_MAX];

	if (load->n_inherited <= NODES_MAX)
		load->n_inherited += count_values(whole);
	if (load->n_inherited <= NODES_MAX)
		return false;
	report_add(load->report, DIAG_TOO_LARGE, like->at, NULL,
	    "%s: with all that is taken from others there are more than %d "
	    "values",
	    node_where(like, where), NODES_MAX);
	return true;
}

const struct node *
load_like(struct load *load, const struct node *section, const struct node *one,
    enum row_id like_row)
{
	const struct node *chain[LIKE_MAX], *whole;
	char where[WHERE_MAX];
	size_t n = 0;

	for (const struct node *at = one; at;
	     at = like_of(section, at, like_row)) {
		bool is_back = n > 0 && at == one;

		if (is_back || n == LIKE_MAX) {
			report_add(load->report, DIAG_LIKE,
			    field(one, like_row)->at, NULL,
			    is_back ? "%s: comes back to the %s itself"
			            : "%s: the chain of likes has no end, or "
			              "is longer than 16 %ss",
			    node_where(field(one, like_row), where),
			    like_row == ROW_POOL_LIKE ? "pool" : "plan");
			return one;
		}
		chain[n++] = at;
	}
	for (whole = chain[n - 1]; n-- > 1;)
		whole = merge(load, chain[n - 1], whole);
	if (whole != one && is_too_much(load, field(one, like_row), whole))
		return one;
	return whole;
}
