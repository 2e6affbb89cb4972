/*
 * Which route: the first in file order whose conditions all hold.
 *
 * Up to eight routes are tried one by one. More are indexed when the snapshot
 * is built: routes stand under the host patterns that they name (exact,
 * ".suffix" for "*.suffix", or none), and under each of these by path or path
 * prefix. A query walks its host once from the right and its path once from
 * the left, looks up what can match at dots and slashes, and asks the few
 * routes found there for the rest (method, header fields, client). The lowest
 * number wins, so the answer is that of the walk through the file.
 */
#include <assert.h>

#include "routing/memory.h"
#include "routing/registry.h"

enum { LINEAR_MAX = 8 };

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

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
	struct span
	    host;      /* borrowed from the config; ".suffix" for "*.suffix" */
	uint64_t hash; /* from the right */
	struct list all; /* every route of this host */
	/* made when there are more than LINEAR_MAX */
	struct list any_path;
	struct path_node *paths; /* owned */
	size_t n_paths, cap_paths;
	uint32_t *table;             /* owned: numbers + 1 in paths, 0 free */
	size_t n_table;              /* a power of two */
	size_t path_max, prefix_max; /* longest there are */
};

struct route_index {
	const struct route_view *routes; /* borrowed: of the same snapshot */
	size_t n;
	struct host_node *hosts; /* owned; [0] has the routes for any host */
	size_t n_hosts, cap_hosts;
	uint32_t *table; /* owned: numbers in hosts, 0 free */
	size_t n_table;
	size_t host_max, suffix_max; /* longest there are */
};

/* ---- one route's conditions ---- */

static bool
host_matches(struct span pattern, struct span host)
{
	if (pattern.len == 1 && pattern.ptr[0] == '*')
		return true;
	if (pattern.len > 1 && pattern.ptr[0] == '*') {
		pattern.ptr++;
		pattern.len--;
		if (host.len <= pattern.len)
			return false;
		host.ptr += host.len - pattern.len;
		host.len = pattern.len;
	}
	return span_eq(pattern, host);
}

static bool
hosts_match(const struct strings *hosts, struct span host)
{
	for (size_t i = 0; i < hosts->n; i++)
		if (host_matches(span_of(hosts->at[i]), host))
			return true;
	return hosts->n == 0;
}

static bool
is_any_prefix(struct span prefix)
{
	return prefix.len == 0 || (prefix.len == 1 && prefix.ptr[0] == '/');
}

static bool
prefix_matches(struct span prefix, struct span path)
{
	if (is_any_prefix(prefix))
		return true;
	return span_starts(path, prefix) &&
	       (prefix.ptr[prefix.len - 1] == '/' || path.len == prefix.len ||
	           path.ptr[prefix.len] == '/');
}

static bool
path_matches(const struct match_cfg *match, struct span path)
{
	if (match->path != NULL && !span_eq(span_of(match->path), path))
		return false;
	return match->path_prefix == NULL ||
	       prefix_matches(span_of(match->path_prefix), path);
}

static bool
headers_match(const struct match_cfg *match, const struct route_query *query)
{
	for (size_t i = 0; i < match->n_headers; i++) {
		const struct header_pair *want = &match->headers[i];
		struct span value;

		if (query->header == NULL ||
		    !query->header(query->ctx, span_of(want->name), &value))
			return false;
		if (strcmp(want->value, "*") != 0 &&
		    !span_eq(span_of(want->value), value))
			return false;
	}
	return true;
}

/* All but host and path. */
static bool
rest_matches(const struct match_cfg *match, const struct route_query *query)
{
	if (match->methods != 0 && (match->methods >> query->method & 1) == 0)
		return false;
	if (match->client.n > 0 &&
	    (query->client == NULL ||
	        !cidrs_hold(&match->client, query->client)))
		return false;
	return match->n_headers == 0 || headers_match(match, query);
}

/* ---- the query ---- */

/* The first of the list that matches and stands before `best`. */
static size_t
list_first(const struct route_index *index, const struct list *list,
    const struct route_query *query, bool with_path, size_t best)
{
	for (size_t i = 0; i < list->n && list->at[i] < best; i++) {
		const struct match_cfg *match =
		    &index->routes[list->at[i]].cfg->match;

		if ((!with_path || path_matches(match, query->path)) &&
		    rest_matches(match, query))
			return list->at[i];
	}
	return best;
}

static const struct path_node *
path_lookup(const struct host_node *node, uint64_t hash, struct span path,
    bool is_prefix)
{
	size_t at = (hash ^ hash >> 32) & (node->n_table - 1);

	for (; node->table[at] != 0; at = (at + 1) & (node->n_table - 1)) {
		const struct path_node *found =
		    &node->paths[node->table[at] - 1];

		if (found->hash == hash && found->is_prefix == is_prefix &&
		    span_eq(found->path, path))
			return found;
	}
	return NULL;
}

static size_t
path_try(const struct route_index *index, const struct host_node *node,
    const struct route_query *query, uint64_t hash, size_t len, bool is_prefix,
    size_t best)
{
	const struct path_node *found = path_lookup(
	    node, hash, (struct span){query->path.ptr, len}, is_prefix);

	/* With the path again: a route may name both a path and a prefix. */
	return found ? list_first(index, &found->routes, query, true, best)
	             : best;
}

/* A prefix ends before a slash, behind one, or where the path ends. */
static size_t
node_walk(const struct route_index *index, const struct host_node *node,
    const struct route_query *query, size_t best)
{
	size_t len = query->path.len;
	size_t last = len <= node->path_max ? len : node->prefix_max + 1;
	uint64_t hash = FNV_START;

	for (size_t i = 0; i < len && i < last; i++) {
		char c = query->path.ptr[i];

		if (c == '/' && i > 0 && i <= node->prefix_max)
			best =
			    path_try(index, node, query, hash, i, true, best);
		hash = (hash ^ (uint8_t)c) * FNV_PRIME;
		if (c == '/' && i + 1 < len && i + 1 <= node->prefix_max)
			best = path_try(
			    index, node, query, hash, i + 1, true, best);
	}
	if (len <= node->prefix_max)
		best = path_try(index, node, query, hash, len, true, best);
	if (len <= node->path_max)
		best = path_try(index, node, query, hash, len, false, best);
	return best;
}

static size_t
node_first(const struct route_index *index, const struct host_node *node,
    const struct route_query *query, size_t best)
{
	if (node->all.n == 0 || node->all.at[0] >= best)
		return best;
	if (node->table == NULL)
		return list_first(index, &node->all, query, true, best);
	best = list_first(index, &node->any_path, query, false, best);
	return node_walk(index, node, query, best);
}

static struct host_node *
host_lookup(const struct route_index *index, uint64_t hash, struct span host)
{
	size_t at = (hash ^ hash >> 32) & (index->n_table - 1);

	for (; index->table[at] != 0; at = (at + 1) & (index->n_table - 1)) {
		struct host_node *found = &index->hosts[index->table[at]];

		if (found->hash == hash && span_eq(found->host, host))
			return found;
	}
	return NULL;
}

/* From the right, so that one walk meets every suffix and ends at the whole. */
static size_t
hosts_walk(const struct route_index *index, const struct route_query *query,
    size_t best)
{
	struct span host = query->host;
	bool is_known = host.len <= index->host_max;
	size_t most = is_known ? host.len : index->suffix_max;
	const struct host_node *found;
	uint64_t hash = FNV_START;

	for (size_t len = 1; len <= most && len <= host.len; len++) {
		struct span suffix = {host.ptr + host.len - len, len};

		hash = (hash ^ (uint8_t)*suffix.ptr) * FNV_PRIME;
		if (*suffix.ptr != '.' || len == host.len ||
		    len > index->suffix_max)
			continue;
		found = host_lookup(index, hash, suffix);
		if (found != NULL)
			best = node_first(index, found, query, best);
	}
	/* A name that begins with a dot is no exact one. */
	if (!is_known || host.len == 0 || host.ptr[0] == '.')
		return best;
	found = host_lookup(index, hash, host);
	return found ? node_first(index, found, query, best) : best;
}

static const struct route_view *
find_linear(const struct route_index *index, const struct route_query *query)
{
	for (size_t i = 0; i < index->n; i++) {
		const struct match_cfg *match = &index->routes[i].cfg->match;

		if (path_matches(match, query->path) &&
		    hosts_match(&match->hosts, query->host) &&
		    rest_matches(match, query))
			return &index->routes[i];
	}
	return NULL;
}

const struct route_view *
route_find(const struct route_index *index, const struct route_query *query)
{
	size_t best = index->n;

	if (index->hosts == NULL)
		return find_linear(index, query);
	best = node_first(index, &index->hosts[0], query, best);
	best = hosts_walk(index, query, best);
	return best < index->n ? &index->routes[best] : NULL;
}

/* ---- building ---- */

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
host_node_for(struct route_index *index, struct span pattern)
{
	struct span host = pattern;
	struct host_node *node;
	uint64_t hash;

	if (host.len > 0 && host.ptr[0] == '*') {
		host.ptr++;
		host.len--;
	}
	if (host.len == 0)
		return &index->hosts[0];
	hash = hash_backward(host);
	node = host_lookup(index, hash, host);
	if (node != NULL)
		return node;
	index->hosts = memory_grow(index->hosts, index->n_hosts,
	    &index->cap_hosts, sizeof(*index->hosts));
	node = &index->hosts[index->n_hosts];
	*node = (struct host_node){.host = host, .hash = hash};
	table_put(
	    index->table, index->n_table, hash, (uint32_t)index->n_hosts++);
	if (host.ptr[0] == '.' && host.len > index->suffix_max)
		index->suffix_max = host.len;
	if (host.ptr[0] != '.' && host.len > index->host_max)
		index->host_max = host.len;
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
	if (node->all.n <= LINEAR_MAX)
		return;
	node->n_table = table_size(node->all.n);
	node->table = memory_take(node->n_table, sizeof(*node->table));
	for (size_t i = 0; i < node->all.n; i++) {
		uint32_t route = node->all.at[i];
		const struct match_cfg *match =
		    &index->routes[route].cfg->match;
		struct span prefix = span_of(match->path_prefix);

		if (match->path != NULL)
			list_add(
			    &path_node_for(node, span_of(match->path), false)
			         ->routes,
			    route);
		else if (!is_any_prefix(prefix))
			list_add(
			    &path_node_for(node, prefix, true)->routes, route);
		else
			list_add(&node->any_path, route);
	}
}

static size_t
count_patterns(const struct route_view *routes, size_t n)
{
	size_t patterns = 0;

	for (size_t i = 0; i < n; i++)
		patterns += routes[i].cfg->match.hosts.n;
	return patterns;
}

struct route_index *
route_index_new(const struct route_view *routes, size_t n)
{
	struct route_index *index = memory_take(1, sizeof(*index));

	index->routes = routes;
	index->n = n;
	if (n <= LINEAR_MAX)
		return index;
	index->cap_hosts = 8;
	index->hosts = memory_take(index->cap_hosts, sizeof(*index->hosts));
	index->n_hosts = 1;
	index->n_table = table_size(count_patterns(routes, n));
	index->table = memory_take(index->n_table, sizeof(*index->table));
	for (size_t i = 0; i < n; i++) {
		const struct strings *hosts = &routes[i].cfg->match.hosts;

		if (hosts->n == 0)
			list_add(&index->hosts[0].all, i);
		for (size_t j = 0; j < hosts->n; j++)
			list_add(
			    &host_node_for(index, span_of(hosts->at[j]))->all,
			    i);
	}
	for (size_t i = 0; i < index->n_hosts; i++)
		host_node_index(index, &index->hosts[i]);
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
	free(dead->hosts);
	free(dead->table);
	free(dead);
}
