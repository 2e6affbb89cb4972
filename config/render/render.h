/*
 * A config as a JSON tree, in the shape of the file with all defaults and all
 * that pools inherit. For showing (render) and for comparing (diff).
 */
#ifndef WEIR_CONFIG_RENDER_H
#define WEIR_CONFIG_RENDER_H

#include <jansson.h>

#include "config/config.h"

/*
 * To compare, secrets show where they come from (never what they hold), and
 * routes are a map by name beside a list of names, their order.
 */
json_t *config_tree(const struct config *config, bool to_compare);
/* As the file would have it, secrets by where they are: what reads back. */
json_t *plan_tree(const struct plan_cfg *plan);

json_t *endpoint_tree(const struct endpoint_cfg *cfg);

#endif
