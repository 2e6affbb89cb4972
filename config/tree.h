/*
 * What a file says, before anybody asks what it means: maps, lists and
 * scalars with their places. Made by tree.c (libyaml), judged by walk.c,
 * read by field.c.
 *
 * Invariants: keys of a map differ; depth is at most CONFIG_DEPTH_MAX; all
 * memory is the tree's.
 */
#ifndef WEIR_CONFIG_TREE_H
#define WEIR_CONFIG_TREE_H

#include "config/diag.h"

struct schema_row;

enum { NODES_MAX = 250000, NODE_ABSENT = -1 };

enum node_kind { NODE_SCALAR, NODE_MAP, NODE_LIST };

struct node {
	enum node_kind kind;
	bool is_plain;     /* a scalar without quotes */
	bool is_bad;       /* told already: readers take the default */
	bool has_template; /* a scalar with ${lower.case} in it */
	struct place at, key_at;
	struct span key;     /* in a map */
	struct span text;    /* scalar, variables filled in */
	struct span written; /* scalar, as in the file: what messages quote */
	struct node *parent;
	uint32_t position; /* among the parent's children, from 1 */
	struct node *first, *last, *next; /* while the tree grows */
	struct node **child;              /* afterwards */
	size_t n;
	uint32_t *index; /* of a large map: child + 1 by hash of the key */
	size_t n_index;
	/* filled by walk.c */
	const struct schema_row *row;
	int64_t number; /* int, nsec, bytes, basis points, 0 or 1 */
	int word;       /* index among the words of the row, or NODE_ABSENT */
};

struct tree {
	struct arena *arena; /* owned */
	struct node *root;   /* NULL when nothing could be read */
	size_t n_nodes, n_bytes;
};

/*
 * False when the text could not be read to its end. `is_literal`: it has been
 * read before, or comes from somebody who may not see the environment; "${" in
 * it is text.
 */
bool tree_parse(struct tree *tree, struct span text, bool is_literal,
    struct report *report);
void tree_release(struct tree *tree);

/* Memory that lives as long as the tree. */
void *tree_alloc(struct tree *tree, size_t n, size_t size);
struct node *tree_node(struct tree *tree, enum node_kind kind, struct place at);

/* Position among the children of a map, or -1. */
long node_find(const struct node *map, struct span key);
struct node *node_get(const struct node *map, struct span key);

/* A key with nothing behind it. */
bool node_is_null(const struct node *node);

/* Fills in variables of a scalar; false when it reported. */
bool variables_fill(
    struct tree *tree, struct node *node, struct report *report);

#endif
