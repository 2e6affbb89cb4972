/*
 * Which route: the first in file order whose conditions all hold.
 *
 * Up to eight routes are tried one by one. More are indexed: routes stand
 * under the host patterns that they name (exact, ".suffix" for "*.suffix", or
 * none), and under each of these by path or path prefix. A query walks its
 * host once from the right and its path once from the left, no further than
 * the longest name in the file, looks up what can match at dots and slashes,
 * and asks the few routes found there for the rest (method, header fields,
 * client). The lowest number wins, so the answer is that of the walk through
 * the file.
 */
#include "routing/route.h"

#include "routing/policy/geo.h"
#include "routing/registry.h"

/* ---- one route's conditions ---- */

static inline bool
host_matches(const struct host_pattern *pattern, struct span host)
{
	if (pattern->is_suffix && host.len > pattern->text.len) {
		host.ptr += host.len - pattern->text.len;
		host.len = pattern->text.len;
		return span_eq(pattern->text, host);
	}
	return !pattern->is_suffix && span_eq(pattern->text, host);
}

static inline bool
hosts_match(const struct condition *condition, struct span host)
{
	for (size_t i = 0; i < condition->n_hosts; i++)
		if (host_matches(&condition->hosts[i], host))
			return true;
	return condition->n_hosts == 0;
}

/* By whole segments; a prefix that ends in a slash ends one itself. */
static inline bool
prefix_matches(struct span prefix, struct span path)
{
	return span_starts(path, prefix) &&
	       (path.len == prefix.len || path.ptr[prefix.len] == '/' ||
	           prefix.ptr[prefix.len - 1] == '/');
}

static inline bool
path_matches(const struct condition *condition, struct span path)
{
	if (condition->path.ptr != NULL && !span_eq(condition->path, path))
		return false;
	return condition->prefix.ptr == NULL ||
	       prefix_matches(condition->prefix, path);
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
static inline bool
rest_matches(const struct condition *condition, const struct route_query *query)
{
	const struct match_cfg *match = condition->cfg;

	if ((condition->methods >> query->method & 1) == 0)
		return false;
	if (!condition->has_more)
		return true;
	if (match->client.n > 0 &&
	    (query->client == NULL ||
	        !cidrs_hold(&match->client, query->client)))
		return false;
	if (match->geo.is_on &&
	    !geo_matches(&match->geo, geo_lookup(query->geo, query->client)))
		return false;
	return headers_match(match, query);
}

/* ---- the query ---- */

/* The first of the list that matches and stands before `best`. */
static size_t
list_first(const struct route_index *index, const struct list *list,
    const struct route_query *query, bool with_path, size_t best)
{
	for (size_t i = 0; i < list->n && list->at[i] < best; i++) {
		const struct condition *condition =
		    &index->conditions[list->at[i]];

		if ((!with_path || path_matches(condition, query->path)) &&
		    rest_matches(condition, query))
			return list->at[i];
	}
	return best;
}

const struct path_node *
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

struct host_node *
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
		const struct condition *condition = &index->conditions[i];

		if (path_matches(condition, query->path) &&
		    hosts_match(condition, query->host) &&
		    rest_matches(condition, query))
			return &index->routes[i];
	}
	return NULL;
}

/* Apart, so that the common short file does not pay for its registers. */
static __attribute__((noinline)) const struct route_view *
find_indexed(const struct route_index *index, const struct route_query *query)
{
	size_t best = node_first(index, &index->hosts[0], query, index->n);

	best = hosts_walk(index, query, best);
	return best < index->n ? &index->routes[best] : NULL;
}

const struct route_view *
route_find(const struct route_index *index, const struct route_query *query)
{
	return index->hosts == NULL ? find_linear(index, query)
	                            : find_indexed(index, query);
}
