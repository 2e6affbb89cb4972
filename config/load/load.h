/*
 * Building the model out of a judged tree, one file for each noun. A builder
 * fills its part of the config, tells what does not fit together, and goes on.
 */
#ifndef WEIR_CONFIG_LOAD_H
#define WEIR_CONFIG_LOAD_H

#include "config/field.h"
#include "config/tree.h"
#include "config/walk.h"

struct load {
	struct tree *tree;     /* borrowed */
	struct report *report; /* borrowed */
	struct config *config; /* borrowed: being filled */
	const char *folder;    /* borrowed: where relative paths begin, or "" */
	const struct node *root;
	/* Maps as written: the i-th child is the i-th of the config's array. */
	const struct node *listeners, *pools, *splits, *plans;
	struct entries routes;
	size_t n_inherited; /* values of all that takes some from others */
	bool is_trusted; /* judged before: files that it names may be gone by now, variables have been filled in */
};

/* What was read and judged before: variables are text, files that are named may be gone. */
struct config *config_load_trusted(const char *name, struct span text, struct diags *diags_out);

void load_admin(struct load *load);
void load_logs(struct load *load);
void load_dns(struct load *load);
void load_geo(struct load *load);
void load_redis(struct load *load);
/* {verify, ca, server_name}: the rows of a client's TLS. */
void load_client_tls(struct load *load, const struct node *map, enum row_id verify, enum row_id ca, enum row_id server_name, struct pool_tls_cfg *cfg);
void load_listeners(struct load *load);
void load_pools(struct load *load);
/* How a pool keeps standing: resilience.c. */
void load_resilience(struct load *load, const struct node *map, struct pool_cfg *cfg);
void load_splits(struct load *load);
void load_routes(struct load *load);
void load_plans(struct load *load);
/* What a route refuses: policy.c. */
/* Entries are ranges, or maps with the row `file`. */
void load_ranges(struct load *load, const struct node *map, enum row_id list, enum row_id file, struct range_list *out);
/* `first` is the row of the map; those of its keys stand behind it in schema.def. */
void load_geo_match(struct load *load, const struct node *map, enum row_id first, struct geo_cfg_match *cfg);
/* Told when the file names no database. */
void load_need_geo(struct load *load, const struct node *map);
void load_policy(struct load *load, const struct node *map, struct route_cfg *cfg);

/* Truths across the whole file, when all of it is built. */
void check_whole(struct load *load);
/* Settings without an effect: check_vain.c. */
void check_vain(struct load *load);

/* With all that it inherits from others of its section; order in the file does not matter. */
const struct node *load_like(struct load *load, const struct node *section,
    const struct node *one, enum row_id like_row);

/*
 * What a message may quote: `text`, which is a node's or was made of it, or
 * what is written where a variable stands in it. Whoever reads messages (the
 * API checks a config for any viewer) need not be one who may see the
 * environment. The node is a scalar, or
 * a map of scalars that are one value together.
 */
struct span load_shown(const struct node *node, const char *text);

/* A path with the folder in front when it is relative; NULL when missing. */
char *load_path(
    const struct load *load, const struct node *map, enum row_id id);
/* False: told, with what to do. */
bool load_can_read(
    const struct load *load, const struct node *node, const char *path);
/* A PEM file of certificate authorities; told when it is none. */
char *load_authorities(
    const struct load *load, const struct node *map, enum row_id id);
/* The same of each entry of a list, told when it cannot be read. */
struct strings load_paths(
    const struct load *load, const struct node *map, enum row_id id);
struct secret load_secret(
    const struct load *load, const struct node *map, enum row_id id);
struct key_pair load_key_pair(const struct load *load, const struct node *map,
    enum row_id cert, enum row_id key);
struct address *load_addresses(
    const struct node *map, enum row_id id, size_t *n_out);

/* {by, name, ttl}: cookies and headers need a name, the others take none. */
void load_key(struct load *load, const struct node *map, enum row_id by,
    enum row_id name, struct key_cfg *key);

/* Position of a referenced name in its section; 0 when it dangles. */
uint32_t load_index(const struct node *section, const struct node *name);

#endif
