/*
 * Truths across the whole file: addresses bound twice, things that nothing
 * uses, routes that nothing can reach.
 */
#include <stdio.h>

#include "config/load/load.h"
#include "config/mem.h"

/* Of routes, hosts and headers together: each pair is compared. Beyond, only
   routes that take all are seen. */
enum { PAIRWISE_MAX = 4000 };

/* ---- addresses ---- */

struct bound {
	const struct address *address;
	const struct node *node; /* NULL for a default */
};

static int
bound_compare(const void *a, const void *b)
{
	const struct bound *x = a, *y = b;

	return memcmp(&x->address->sa, &y->address->sa, sizeof(x->address->sa));
}

static size_t
bound_add(struct bound *all, size_t n, const struct address *addresses,
    size_t n_addresses, struct entries entries)
{
	for (size_t i = 0; i < n_addresses; i++) {
		bool is_chosen =
		    addresses[i].kind == ADDRESS_UNIX || addresses[i].port != 0;

		if (is_chosen)
			all[n++] = (struct bound){&addresses[i],
			    n_addresses == entries.n ? entries.at[i] : NULL};
	}
	return n;
}

static void
check_addresses(struct load *load)
{
	const struct config *config = load->config;
	const struct node *admin = field(load->root, ROW_ADMIN);
	size_t n = 0, cap = config->admin.n_listen + 1;
	struct bound *all;

	for (size_t i = 0; i < config->n_listeners; i++)
		cap += config->listeners[i].n_bind;
	all = mem_new(cap, sizeof(*all));
	n = bound_add(all, n, config->admin.listen, config->admin.n_listen,
	    field_entries(admin, ROW_ADMIN_LISTEN));
	if (config->admin.metrics_listen)
		n = bound_add(all, n, config->admin.metrics_listen, 1,
		    field_entries(
		        field(admin, ROW_METRICS), ROW_METRICS_LISTEN));
	for (size_t i = 0; i < config->n_listeners; i++)
		n = bound_add(all, n, config->listeners[i].bind,
		    config->listeners[i].n_bind,
		    field_entries(load->listeners->child[i], ROW_BIND));
	qsort(all, n, sizeof(*all), bound_compare);
	for (size_t i = 1; i < n; i++) {
		const struct bound *later = &all[i], *other = &all[i - 1];
		char where[WHERE_MAX], hint[WHERE_MAX + 32] = "";

		if (bound_compare(later, other) != 0)
			continue;
		if (later->node == NULL ||
		    (other->node &&
		        later->node->at.line < other->node->at.line)) {
			later = other;
			other = &all[i];
		}
		if (other->node)
			snprintf(hint, sizeof(hint), "also %s, line %u",
			    node_where(other->node, where),
			    other->node->at.line);
		if (later->node) {
			struct span shown =
			    load_shown(later->node, later->address->text);

			report_add(load->report, DIAG_SAME_ADDRESS,
			    later->node->at, hint[0] ? hint : NULL,
			    "%s: %.*s is bound twice",
			    node_where(later->node, where), (int)shown.len,
			    shown.ptr);
		}
	}
	free(all);
}

/* ---- what is used ---- */

static void
mark_split(const struct split_cfg *split, bool *pools)
{
	pools[split->stable] = true;
	for (size_t i = 0; i < split->n_weights; i++)
		pools[split->weights[i].pool] = true;
	for (size_t i = 0; i < split->n_pins; i++)
		pools[split->pins[i].pool] = true;
	if (split->mirror.is_on)
		pools[split->mirror.to] = true;
}

static void
tell_unused(struct load *load, const struct node *section, const bool *used,
    const char *noun)
{
	for (size_t i = 0; section && i < section->n; i++) {
		const struct node *node = section->child[i];

		if (!used[i])
			report_add(load->report, DIAG_UNUSED, node->key_at,
			    NULL, "nothing uses %s \"%.*s\"", noun,
			    (int)(node->key.len < 64 ? node->key.len : 64),
			    node->key.ptr);
	}
}

static void
check_unused(struct load *load)
{
	const struct config *config = load->config;
	bool *pools = mem_new(config->n_pools + 1, sizeof(*pools));
	bool *splits = mem_new(config->n_splits + 1, sizeof(*splits));

	for (size_t i = 0; i < config->n_routes; i++) {
		const struct route_cfg *route = &config->routes[i];

		if (route->action == ROUTE_SPLIT && config->n_splits > 0)
			splits[route->target] = true;
		else if (route->action == ROUTE_POOL)
			pools[route->target] = true;
	}
	for (size_t i = 0; i < config->n_splits; i++)
		mark_split(&config->splits[i], pools);
	tell_unused(load, load->pools, pools, "pool");
	tell_unused(load, load->splits, splits, "split");
	free(pools);
	free(splits);
}

/* ---- what is reached ---- */

static bool
host_covers(const char *wide, const char *narrow)
{
	size_t wide_len = strlen(wide), narrow_len = strlen(narrow);

	if (strcmp(wide, narrow) == 0)
		return true;
	return wide[0] == '*' && narrow_len > wide_len - 1 &&
	       strcmp(narrow + narrow_len - (wide_len - 1), wide + 1) == 0;
}

static bool
hosts_cover(const struct strings *wide, const struct strings *narrow)
{
	if (wide->n == 0)
		return true;
	for (size_t i = 0; i < narrow->n; i++) {
		size_t j = 0;

		while (j < wide->n && !host_covers(wide->at[j], narrow->at[i]))
			j++;
		if (j == wide->n)
			return false;
	}
	return narrow->n > 0;
}

static bool
prefix_covers(const char *prefix, const char *path)
{
	size_t len = strlen(prefix);

	/* "/a/" takes what stands below "/a", and not "/a" itself */
	return strncmp(prefix, path, len) == 0 &&
	       (path[len] == '\0' || path[len] == '/' ||
	           prefix[len - 1] == '/');
}

static bool
path_covers(const struct match_cfg *wide, const struct match_cfg *narrow)
{
	if (wide->path)
		return narrow->path && strcmp(wide->path, narrow->path) == 0;
	if (wide->path_prefix == NULL || strcmp(wide->path_prefix, "/") == 0)
		return true;
	if (narrow->path)
		return prefix_covers(wide->path_prefix, narrow->path);
	return narrow->path_prefix &&
	       prefix_covers(wide->path_prefix, narrow->path_prefix);
}

static bool
headers_cover(const struct match_cfg *wide, const struct match_cfg *narrow)
{
	for (size_t i = 0; i < wide->n_headers; i++) {
		const struct header_pair *want = &wide->headers[i];
		size_t j = 0;

		for (; j < narrow->n_headers; j++) {
			const struct header_pair *have = &narrow->headers[j];

			if (strcmp(want->name, have->name) == 0 &&
			    (strcmp(want->value, have->value) == 0 ||
			        strcmp(want->value, "*") == 0))
				break;
		}
		if (j == narrow->n_headers)
			return false;
	}
	return true;
}

/* Every request that `narrow` takes is taken by `wide` before. */
static bool
match_covers(const struct match_cfg *wide, const struct match_cfg *narrow)
{
	return wide->client.n == 0 && !wide->geo.is_on &&
	       path_covers(wide, narrow) &&
	       (wide->methods == 0 ||
	           (narrow->methods != 0 &&
	               (narrow->methods & ~wide->methods) == 0)) &&
	       headers_cover(wide, narrow) &&
	       hosts_cover(&wide->hosts, &narrow->hosts);
}

static bool
takes_all(const struct match_cfg *match)
{
	static const struct match_cfg anything = {0};

	return match_covers(match, &anything);
}

static bool
is_pairwise(const struct config *config)
{
	size_t n = config->n_routes;

	for (size_t i = 0; i < config->n_routes; i++)
		n += config->routes[i].match.hosts.n +
		     config->routes[i].match.n_headers;
	return n <= PAIRWISE_MAX;
}

/* The first route that takes all; behind the last: none does. */
static size_t
find_any(const struct config *config)
{
	size_t i = 0;

	while (i < config->n_routes && !takes_all(&config->routes[i].match))
		i++;
	return i;
}

/* The first before `end` that takes all that it matches; else `end`. */
static size_t
find_cover(const struct config *config, size_t end)
{
	const struct match_cfg *match = &config->routes[end].match;
	size_t i = 0;

	while (i < end && !match_covers(&config->routes[i].match, match))
		i++;
	return i;
}

static struct span
route_shown(const struct node *route, const char *name)
{
	const struct node *given = node_get(route, SPAN("name"));

	return given ? load_shown(given, name) : span_of(name);
}

static void
check_reached(struct load *load)
{
	const struct config *config = load->config;
	bool by_pairs = is_pairwise(config);
	size_t any = find_any(config);

	for (size_t i = 1; i < config->n_routes; i++) {
		size_t by = by_pairs ? find_cover(config, i) : any;
		char where[WHERE_MAX];
		struct span shown;

		if (by >= i)
			continue;
		shown =
		    route_shown(load->routes.at[by], config->routes[by].name);
		report_add(load->report, DIAG_UNREACHABLE,
		    load->routes.at[i]->at, "put it further up",
		    "%s is never reached: route \"%.*s\" takes all that it "
		    "matches",
		    node_where(load->routes.at[i], where), (int)shown.len,
		    shown.ptr);
	}
}

/* Elsewhere '*' at the end of a path means "and what follows". */
static void
check_stars(struct load *load)
{
	const struct config *config = load->config;

	for (size_t i = 0; i < config->n_routes && i < load->routes.n; i++) {
		const struct match_cfg *match = &config->routes[i].match;
		const char *path =
		    match->path ? match->path : match->path_prefix;
		const char *star = path ? strchr(path, '*') : NULL;
		const struct node *node =
		    node_get(load->routes.at[i], SPAN("match"));
		char where[WHERE_MAX], hint[WHERE_MAX];

		if (!star)
			continue;
		node = node_get(
		    node, match->path ? SPAN("path") : SPAN("path_prefix"));
		if (star[1] == '\0' && star > path && star[-1] == '/')
			snprintf(hint, sizeof(hint), "write path_prefix: %.*s",
			    star - path > 1 ? (int)(star - path - 1) : 1, path);
		else
			snprintf(hint, sizeof(hint),
			    "path_prefix matches by first segments");
		report_add(load->report, DIAG_LITERAL_STAR, node->at, hint,
		    "%s: '*' is an ordinary character here",
		    node_where(node, where));
	}
}

/* ---- names of routes ---- */

struct route_name {
	const char *name;
	const struct node *node;
};

static int
name_compare(const void *a, const void *b)
{
	const struct route_name *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	if (order != 0)
		return order;
	return x->node->at.line < y->node->at.line ? -1 : 1;
}

/* Two routes with one name would be one line in every metric. */
static void
check_route_names(struct load *load)
{
	const struct config *config = load->config;
	size_t n = config->n_routes;
	struct route_name *names;

	if (n != load->routes.n)
		return; /* one was no map, and that is told */
	names = mem_new(n, sizeof(*names));
	for (size_t i = 0; i < n; i++)
		names[i] = (struct route_name){
		    config->routes[i].name, load->routes.at[i]};
	qsort(names, n, sizeof(*names), name_compare);
	for (size_t i = 1; i < n; i++) {
		struct span shown = route_shown(names[i].node, names[i].name);
		char hint[64];

		if (strcmp(names[i].name, names[i - 1].name) != 0)
			continue;
		snprintf(hint, sizeof(hint), "first on line %u",
		    names[i - 1].node->at.line);
		report_add(load->report, DIAG_DUPLICATE_KEY, names[i].node->at,
		    hint, "two routes are named \"%.*s\"", (int)shown.len,
		    shown.ptr);
	}
	free(names);
}

static void
check_any_route(struct load *load)
{
	const struct config *config = load->config;
	bool answers = false;

	for (size_t i = 0; i < config->n_listeners; i++)
		answers |= config->listeners[i].redirect_to == NULL;
	if (answers && load->routes.n == 0)
		report_add(load->report, DIAG_NO_ROUTES, load->root->at,
		    "add routes: [{pool: NAME}]",
		    "the file has no routes: all requests are answered with "
		    "404");
}

void
check_whole(struct load *load)
{
	check_addresses(load);
	check_route_names(load);
	check_any_route(load);
	check_stars(load);
	if (load->report->diags->errors > 0)
		return; /* what was dropped would look unused */
	check_unused(load);
	check_reached(load);
	check_vain(load);
}
