/*
 * Plans inside the folder: giving one back in place, and as a JSON tree.
 */
#ifndef WEIR_CONFIG_PLAN_H
#define WEIR_CONFIG_PLAN_H

#include "config/config.h"

void plan_release(struct plan_cfg *plan);

/* A guard that compares with a baseline at the same time. */
bool guard_compares(const struct guard_cfg *guard);

/* What a plan without guards of its own has. */
enum { DEFAULT_GUARDS = 2 };
void guards_default(struct guard_cfg guards[DEFAULT_GUARDS]);

#endif
