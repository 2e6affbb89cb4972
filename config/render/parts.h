/*
 * What the files that render a config share: a section's tree each, and values
 * as the file would have them. All trees are new; puts leave out what is not
 * there.
 */
#ifndef WEIR_CONFIG_RENDER_PARTS_H
#define WEIR_CONFIG_RENDER_PARTS_H

#include "config/render/render.h"

struct renderer {
	bool to_compare;
	bool to_keep; /* a plan that is read back: secrets by where they are */
};

/* ---- values.c ---- */

/* Bytes that are not UTF-8 (paths may hold any) become "?". */
json_t *render_text(const char *value);
json_t *render_percent(bp_t value);
json_t *render_strings(const struct strings *list);
json_t *render_range(const struct cidr *cidr);
json_t *render_key(const struct key_cfg *cfg);
json_t *render_key_pair(const struct renderer *r, const struct key_pair *pair);
const char *render_on_failure(enum on_failure on_failure);

void put_text(json_t *map, const char *key, const char *value);
void put_number(json_t *map, const char *key, uint64_t value);
void put_duration(json_t *map, const char *key, nsec_t value);
void put_size(json_t *map, const char *key, uint64_t value);
void put_strings(json_t *map, const char *key, const struct strings *list);
void put_pairs(
    json_t *map, const char *key, const struct header_pair *pairs, size_t n);
void put_ranges(json_t *map, const char *key, const struct cidrs *ranges);
void put_addresses(
    json_t *map, const char *key, const struct address *at, size_t n);
void put_secret(const struct renderer *r, json_t *map, const char *key,
    const struct secret *secret);
/* Takes `value`; an empty map is left out. */
void put_map(json_t *map, const char *name, json_t *value);

/* ---- pools.c ---- */

json_t *render_dns(const struct dns_cfg *cfg);
json_t *render_pool_tls(const struct pool_tls_cfg *cfg);
json_t *render_pool(const struct pool_cfg *cfg);

/* ---- routes.c ---- */

json_t *render_split(const struct config *config, const struct split_cfg *cfg);
void render_routes(
    const struct renderer *r, json_t *root, const struct config *config);

/* ---- plans.c ---- */

json_t *render_plan(const struct renderer *r, const struct plan_cfg *cfg);

#endif
