/*
 * Inheritance of pools and plans: one takes every key that it does not give
 * from the one that it is like. Maps of settings (timeouts, retry, tls,
 * rollback) are taken key by key, gates one by one, lists and meta as a whole.
 */
#include "config/load.h"
#include "config/mem.h"

enum { LIKE_MAX = 16 };

static bool
is_mixed(const struct node *child, const struct node *below)
{
	return below->kind == NODE_MAP && child->kind == NODE_MAP &&
	       child->row &&
	       (child->row->types & V_MAP ||
	           child->row == schema_row(ROW_GATES));
}

/* A gate is of one kind: two of them are not mixed. */
static bool
is_whole(const struct node *map)
{
	return map->row == schema_row(ROW_GATE);
}

/* `map` over `base`: what both have is the map's, or mixed when a map. */
static const struct node *
merge(struct load *load, const struct node *map, const struct node *base)
{
	struct node *mixed = tree_alloc(load->tree, 1, sizeof(*mixed));

	if (is_whole(map))
		return map;
	*mixed = *map;
	mixed->index = NULL;
	mixed->n_index = 0;
	mixed->n = 0;
	mixed->child =
	    tree_alloc(load->tree, map->n + base->n, sizeof(*mixed->child));
	for (size_t i = 0; i < map->n; i++) {
		struct node *child = map->child[i];
		const struct node *below = node_get(base, child->key);

		if (below && is_mixed(child, below))
			child = (struct node *)merge(load, child, below);
		mixed->child[mixed->n++] = child;
	}
	for (size_t i = 0; i < base->n; i++) {
		if (node_find(map, base->child[i]->key) < 0)
			mixed->child[mixed->n++] = base->child[i];
	}
	return mixed;
}

static const struct node *
base_of(const struct node *section, enum row_id like, const struct node *map)
{
	const struct node *name = field(map, like);
	const struct node *base = name ? node_get(section, name->text) : NULL;

	return base && base->kind == NODE_MAP ? base : NULL;
}

/* The chain goes through any order of the file. */
const struct node *
load_like(struct load *load, const struct node *section, enum row_id like,
    const struct node *written)
{
	const struct node *chain[LIKE_MAX], *whole;
	char where[WHERE_MAX];
	size_t n = 0;

	for (const struct node *at = written; at;
	     at = base_of(section, like, at)) {
		bool is_back = n > 0 && at == written;

		if (is_back || n == LIKE_MAX) {
			report_add(load->report, DIAG_LIKE,
			    field(written, like)->at, NULL,
			    is_back ? "%s: comes back to the %.4s itself"
			            : "%s: the chain of likes has no end, or "
			              "is longer than 16",
			    node_where(field(written, like), where),
			    schema_row(like)->path);
			return written;
		}
		chain[n++] = at;
	}
	for (whole = chain[n - 1]; n-- > 1;)
		whole = merge(load, chain[n - 1], whole);
	return whole;
}
