/*
 * The tree against the table of settings: unknown keys, wrong shapes, bad
 * values, dangling names. Afterwards every node that is not bad has its row
 * and its value, and field.c can read without asking back.
 */
#ifndef WEIR_CONFIG_WALK_H
#define WEIR_CONFIG_WALK_H

#include "config/tree.h"

enum { WHERE_MAX = 256 };

void tree_walk(struct node *root, struct report *report);

/* 'timeouts.connect of pool "shop"', 'admin.listen', "the file". */
char *node_where(const struct node *node, char buf[WHERE_MAX]);

/* Where a thing is named: its key when it has one. */
struct place node_place(const struct node *node);

#endif
