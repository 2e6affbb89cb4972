/*
 * How the routes' index is made, once a snapshot: conditions measured, hosts
 * and paths hashed into open tables. The names come from the operator's file
 * and the tables never grow afterwards, so that no client can make a chain
 * longer: the plain FNV hash will do, and it can be continued byte by byte.
 */
#include "routing/memory.h"
#include "routing/registry.h"
#include "routing/route.h"

/* ---- tables ---- */

static void
list_add(struct list *list, size_t route)
{
	/* A route that names the same host twice stands here once. */
	if (list->n > 0 && list->at[list->n - 1] == route)
		return;
	list->at =
	    memory_grow(list->at, list->n, &list->cap, sizeof(*list->at));
	list->at[list->n++] = (uint32_t)route;
}

static uint64_t
hash_forward(struct span text)
{
	uint64_t hash = FNV_START;

	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ (uint8_t)text.ptr[i]) * FNV_PRIME;
	return hash;
}

static uint64_t
hash_backward(struct span text)
{
	uint64_t hash = FNV_START;

	for (size_t i = text.len; i > 0; i--)
		hash = (hash ^ (uint8_t)text.ptr[i - 1]) * FNV_PRIME;
	return hash;
}

static void
table_put(uint32_t *table, size_t n_table, uint64_t hash, uint32_t value)
{
	size_t at = (hash ^ hash >> 32) & (n_table - 1);

	while (table[at] != 0)
		at = (at + 1) & (n_table - 1);
	table[at] = value;
}

static size_t
table_size(size_t n)
{
	size_t size = 16;

	while (size < n * 2)
		size *= 2;
	return size;
}

static struct host_node *
host_node_for(struct route_index *index, const struct host_pattern *pattern)
{
	uint64_t hash = hash_backward(pattern->text);
	struct host_node *node = host_lookup(index, hash, pattern->text);
	size_t len = pattern->text.len;

	if (node != NULL)
		return node;
	index->hosts = memory_grow(index->hosts, index->n_hosts,
	    &index->cap_hosts, sizeof(*index->hosts));
	node = &index->hosts[index->n_hosts];
	*node = (struct host_node){.host = pattern->text, .hash = hash};
	table_put(
	    index->table, index->n_table, hash, (uint32_t)index->n_hosts++);
	if (pattern->is_suffix && len > index->suffix_max)
		index->suffix_max = len;
	if (!pattern->is_suffix && len > index->host_max)
		index->host_max = len;
	return node;
}

static struct path_node *
path_node_for(struct host_node *node, struct span path, bool is_prefix)
{
	uint64_t hash = hash_forward(path);
	const struct path_node *found =
	    path_lookup(node, hash, path, is_prefix);
	struct path_node *made;

	if (found != NULL)
		return &node->paths[found - node->paths];
	node->paths = memory_grow(
	    node->paths, node->n_paths, &node->cap_paths, sizeof(*node->paths));
	made = &node->paths[node->n_paths];
	*made = (struct path_node){
	    .path = path, .hash = hash, .is_prefix = is_prefix};
	table_put(node->table, node->n_table, hash, (uint32_t)++node->n_paths);
	if (is_prefix && path.len > node->prefix_max)
		node->prefix_max = path.len;
	if (!is_prefix && path.len > node->path_max)
		node->path_max = path.len;
	return made;
}

static void
host_node_index(const struct route_index *index, struct host_node *node)
{
	if (node->all.n <= ROUTES_LINEAR)
		return;
	node->n_table = table_size(node->all.n);
	node->table = memory_take(node->n_table, sizeof(*node->table));
	for (size_t i = 0; i < node->all.n; i++) {
		uint32_t route = node->all.at[i];
		const struct condition *condition = &index->conditions[route];
		struct list *list = &node->any_path;

		if (condition->path.ptr != NULL)
			list = &path_node_for(node, condition->path, false)
			            ->routes;
		else if (condition->prefix.ptr != NULL)
			list = &path_node_for(node, condition->prefix, true)
			            ->routes;
		list_add(list, route);
	}
}

/* ---- the conditions ---- */

static bool
is_any_prefix(const char *prefix)
{
	return prefix == NULL || prefix[0] == '\0' || strcmp(prefix, "/") == 0;
}

static bool
is_any_host(const struct strings *hosts)
{
	for (size_t i = 0; i < hosts->n; i++)
		if (strcmp(hosts->at[i], "*") == 0)
			return true;
	return hosts->n == 0;
}

static struct host_pattern
pattern_of(const char *text)
{
	bool is_suffix = text[0] == '*';

	return (struct host_pattern){span_of(text + is_suffix), is_suffix};
}

static void
condition_init(struct condition *condition, const struct match_cfg *cfg)
{
	condition->cfg = cfg;
	condition->path = span_of(cfg->path);
	if (!is_any_prefix(cfg->path_prefix))
		condition->prefix = span_of(cfg->path_prefix);
	condition->methods = cfg->methods != 0 ? cfg->methods : UINT32_MAX;
	condition->has_more =
	    cfg->n_headers > 0 || cfg->client.n > 0 || cfg->geo.is_on;
	if (is_any_host(&cfg->hosts))
		return;
	condition->n_hosts = cfg->hosts.n;
	condition->hosts = memory_take(cfg->hosts.n, sizeof(*condition->hosts));
	for (size_t i = 0; i < cfg->hosts.n; i++)
		condition->hosts[i] = pattern_of(cfg->hosts.at[i]);
}

/* ---- the whole ---- */

static size_t
count_patterns(const struct route_index *index)
{
	size_t patterns = 0;

	for (size_t i = 0; i < index->n; i++)
		patterns += index->conditions[i].n_hosts;
	return patterns;
}

static void
hosts_index(struct route_index *index)
{
	index->cap_hosts = 8;
	index->hosts = memory_take(index->cap_hosts, sizeof(*index->hosts));
	index->n_hosts = 1;
	index->n_table = table_size(count_patterns(index));
	index->table = memory_take(index->n_table, sizeof(*index->table));
	for (size_t i = 0; i < index->n; i++) {
		const struct condition *condition = &index->conditions[i];

		if (condition->n_hosts == 0)
			list_add(&index->hosts[0].all, i);
		for (size_t j = 0; j < condition->n_hosts; j++)
			list_add(
			    &host_node_for(index, &condition->hosts[j])->all,
			    i);
	}
	for (size_t i = 0; i < index->n_hosts; i++)
		host_node_index(index, &index->hosts[i]);
}

struct route_index *
route_index_new(const struct route_view *routes, size_t n)
{
	struct route_index *index = memory_take(1, sizeof(*index));

	index->routes = routes;
	index->n = n;
	index->conditions = memory_take(n, sizeof(*index->conditions));
	for (size_t i = 0; i < n; i++)
		condition_init(&index->conditions[i], &routes[i].cfg->match);
	if (n > ROUTES_LINEAR)
		hosts_index(index);
	return index;
}

static void
host_node_release(struct host_node *node)
{
	for (size_t i = 0; i < node->n_paths; i++)
		free(node->paths[i].routes.at);
	free(node->paths);
	free(node->table);
	free(node->any_path.at);
	free(node->all.at);
}

void
route_index_free(struct route_index **index)
{
	struct route_index *dead = *index;

	*index = NULL;
	if (dead == NULL)
		return;
	for (size_t i = 0; i < dead->n_hosts; i++)
		host_node_release(&dead->hosts[i]);
	for (size_t i = 0; i < dead->n; i++)
		free(dead->conditions[i].hosts);
	free(dead->conditions);
	free(dead->hosts);
	free(dead->table);
	free(dead);
}
