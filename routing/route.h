/*
 * Routes as they are matched: each one's conditions, measured once, and the
 * index that finds the few whose conditions are worth asking. Made when a
 * snapshot is built, immutable from then on. See route.c for how it is used
 * and route_index.c for how it is made.
 */
#ifndef WEIR_ROUTING_ROUTE_H
#define WEIR_ROUTING_ROUTE_H

#include "routing/decide.h"

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

struct host_pattern {
	struct span text; /* borrowed; ".suffix" for "*.suffix" */
	bool is_suffix;
};

struct condition {
	const struct match_cfg *cfg; /* borrowed from the snapshot's config */
	struct span path, prefix;    /* ptr NULL: any */
	struct host_pattern *hosts;  /* owned; empty: any */
	size_t n_hosts;
	uint32_t methods; /* bits; all for any */
	bool has_more;    /* header fields, client addresses or places */
};

/* Routes by number, ascending. */
struct list {
	uint32_t *at; /* owned */
	size_t n, cap;
};

struct path_node {
	struct span path; /* borrowed from the config */
	uint64_t hash;
	bool is_prefix;
	struct list routes;
};

struct host_node {
	struct span host; /* borrowed from the config; ".suffix" for "*.suffix" */
	uint64_t hash;    /* from the right */
	struct list all;  /* every route of this host */
	/* made when there are more than ROUTES_LINEAR */
	struct list any_path;
	struct path_node *paths; /* owned */
	size_t n_paths, cap_paths;
	uint32_t *table; /* owned: numbers + 1 in paths, 0 free */
	size_t n_table;  /* a power of two */
	size_t path_max, prefix_max; /* longest there are */
};

enum { ROUTES_LINEAR = 8 };

struct route_index {
	const struct route_view *routes; /* borrowed: of the same snapshot */
	struct condition *conditions;    /* owned, by route */
	size_t n;
	struct host_node *hosts; /* owned; [0] has the routes for any host; NULL: few routes, no index */
	size_t n_hosts, cap_hosts;
	uint32_t *table; /* owned: numbers in hosts, 0 free */
	size_t n_table;  /* a power of two */
	size_t host_max, suffix_max; /* longest there are */
};

/* NULL: none. Used by both sides. */
const struct path_node *path_lookup(const struct host_node *node,
    uint64_t hash, struct span path, bool is_prefix);
struct host_node *host_lookup(
    const struct route_index *index, uint64_t hash, struct span host);

#endif
