/*
 * A plan on its own, apart from the config that it came from.
 */
#ifndef WEIR_CONFIG_PLAN_H
#define WEIR_CONFIG_PLAN_H

#include "config/config.h"

/* All that is in it, not the plan itself. */
void plan_release(struct plan_cfg *plan);

#endif
