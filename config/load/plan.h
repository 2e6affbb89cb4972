/*
 * The parts of a plan, for plans.c.
 */
#ifndef WEIR_CONFIG_LOAD_PLAN_H
#define WEIR_CONFIG_LOAD_PLAN_H

#include "config/load/load.h"

void load_guard(
    struct load *load, const struct node *map, struct guard_cfg *cfg);
void load_gate(struct load *load, const struct node *map, struct gate_cfg *cfg);
void load_notify(
    struct load *load, const struct node *map, struct notify_cfg *cfg);
/* An error at the node; `hint` may be NULL. */
void refuse_part(struct load *load, const struct node *node, const char *hint,
    const char *what);

#endif
