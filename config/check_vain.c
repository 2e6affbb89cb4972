/*
 * Settings that are sound and do nothing where they stand: told as warnings,
 * because whoever wrote one believes that it does something. Looked at once the
 * whole is built and without an error. A setting that is inherited is told of
 * the pool that cannot use it.
 */
#include <stdio.h>

#include "config/load/load.h"
#include "config/mem.h"

/* The key below `map`, or else the map: it may be inherited. */
static const struct node *
place_of(const struct node *map, const char *key)
{
	const struct node *node = map ? node_get(map, span_of(key)) : NULL;

	return node ? node : map;
}

static void
tell(struct load *load, const struct node *map, const char *key,
    const char *hint, const char *what)
{
	const struct node *node = place_of(map, key);
	char where[WHERE_MAX];

	if (node)
		report_add(load->report, DIAG_NO_EFFECT,
		    node == map ? node_place(node) : node->key_at, hint,
		    "%s: %s", node_where(node, where), what);
}

/* ---- pools ---- */

static int
by_address(const void *a, const void *b)
{
	const struct endpoint_cfg *x = *(const struct endpoint_cfg *const *)a;
	const struct endpoint_cfg *y = *(const struct endpoint_cfg *const *)b;
	int order = strcmp(x->address.text, y->address.text);

	return order ? order : x < y ? -1 : 1;
}

/* Only where the list is written: heirs would repeat it. */
static void
check_twins(
    struct load *load, const struct node *map, const struct pool_cfg *cfg)
{
	const struct node *list = node_get(map, SPAN("endpoints"));
	const struct endpoint_cfg **sorted;
	char text[400];

	if (!list || cfg->n_endpoints < 2)
		return;
	sorted = mem_new(cfg->n_endpoints, sizeof(*sorted));
	for (size_t i = 0; i < cfg->n_endpoints; i++)
		sorted[i] = &cfg->endpoints[i];
	qsort(sorted, cfg->n_endpoints, sizeof(*sorted), by_address);
	for (size_t i = 1; i < cfg->n_endpoints; i++) {
		size_t at = (size_t)(sorted[i] - cfg->endpoints);
		const struct node *node = at < list->n ? list->child[at] : list;
		struct span shown = load_shown(node, sorted[i]->address.text);

		if (strcmp(sorted[i]->address.text,
		        sorted[i - 1]->address.text) != 0)
			continue;
		snprintf(text, sizeof(text),
		    "%.*s stands there twice and is one endpoint",
		    (int)(shown.len < 255 ? shown.len : 255), shown.ptr);
		tell(load, node, "",
		    "for a larger share write {address: ..., weight: 2}", text);
	}
	free(sorted);
}

static bool
is_fixed(const struct pool_cfg *cfg)
{
	for (size_t i = 0; i < cfg->n_endpoints; i++)
		if (cfg->endpoints[i].address.kind == ADDRESS_NAME)
			return false;
	return true;
}

static void
check_retry(
    struct load *load, const struct node *map, const struct pool_cfg *cfg)
{
	const struct node *node = node_get(map, SPAN("retry"));
	const struct retry_cfg *retry = &cfg->retry;

	if (!node)
		return; /* inherited, and told there */
	if (retry->max == 0 || (!retry->on_connect && retry->n_statuses == 0)) {
		if (node->n > 1)
			tell(load, node, retry->max == 0 ? "max" : "on", NULL,
			    "nothing is tried again, so the rest of retry "
			    "does nothing");
	} else if (retry->per_try >= cfg->first_byte_timeout) {
		tell(load, node, "per_try",
		    "make it shorter than timeouts.first_byte",
		    "timeouts.first_byte is over before");
	}
}

static void
check_pool(
    struct load *load, const struct node *map, const struct pool_cfg *cfg)
{
	check_twins(load, map, cfg);
	check_retry(load, map, cfg);
	if (cfg->slow_start > 0 && cfg->balance == BALANCE_HASH)
		tell(load, map, "slow_start",
		    "take it away, or balance otherwise",
		    "with balance: hash an endpoint has its whole share at "
		    "once");
	if (cfg->outliers.is_on && is_fixed(cfg) && cfg->n_endpoints > 0 &&
	    cfg->n_endpoints * (uint64_t)cfg->outliers.max_ejected < BP_ALL)
		tell(load, map, "outliers",
		    "raise max_ejected, or give more endpoints",
		    "nobody is ever ejected: one endpoint is more than the "
		    "share that may be out");
}

/* ---- splits ---- */

static void
check_split(
    struct load *load, const struct node *map, const struct split_cfg *cfg)
{
	const struct node *mirror = node_get(map, SPAN("mirror"));

	if (cfg->n_weights == 1 && cfg->shield)
		tell(load, map, "shield", "add the other pool to weights",
		    "there is one pool only: nobody to shield it");
	if (!cfg->mirror.is_on)
		return;
	if (cfg->n_weights == 1 && cfg->mirror.to == cfg->weights[0].pool)
		tell(load, mirror, "to", "name another pool",
		    "all requests go there anyway, and those are not copied");
	if (cfg->mirror.percent == 0)
		tell(load, mirror, "percent", NULL, "nothing is copied");
}

/* ---- routes ---- */

static bool
has_client_ca(const struct config *config)
{
	for (size_t i = 0; i < config->n_listeners; i++)
		if (config->listeners[i].tls.client_ca)
			return true;
	return false;
}

static void
check_edits(struct load *load, const struct node *map,
    const struct header_edits *edits, bool has_ca)
{
	const struct node *set = map ? node_get(map, SPAN("set")) : NULL;

	for (size_t i = 0; set && i < edits->n_set && i < set->n; i++)
		if (!has_ca &&
		    strstr(edits->set[i].value, "${client.certificate."))
			tell(load, set->child[i], "",
			    "add listeners.NAME.tls.client_ca",
			    "no listener asks clients for a certificate: it "
			    "is always empty");
}

static void
check_route(struct load *load, const struct node *map,
    const struct route_cfg *cfg, bool has_ca)
{
	const struct node *headers = node_get(map, SPAN("headers"));
	bool is_ours =
	    cfg->action == ROUTE_RESPOND || cfg->action == ROUTE_REDIRECT;

	if (is_ours && headers && headers->n > 0) {
		tell(load, map, "headers", "take it away",
		    "a route that answers by itself changes no head");
		return;
	}
	if (is_ours && node_get(map, SPAN("upgrade")))
		tell(load, map, "upgrade", "take it away",
		    "a route that answers by itself changes no protocol");
	check_edits(load, headers, &cfg->request, has_ca);
	check_edits(load, headers ? node_get(headers, SPAN("response")) : NULL,
	    &cfg->response, has_ca);
}

/* ---- listeners, logs, databases ---- */

static void
check_listener(
    struct load *load, const struct node *map, const struct listener_cfg *cfg)
{
	const struct node *client_ip = node_get(map, SPAN("client_ip"));
	const struct node *limits = node_get(map, SPAN("limits"));

	if (client_ip && node_get(client_ip, SPAN("header")) &&
	    cfg->trusted_proxies.n == 0)
		tell(load, client_ip, "header", "add trusted_proxies",
		    "nobody is trusted, so nobody's word is taken");
	if (limits && node_get(limits, SPAN("max_streams")) &&
	    !(cfg->protocols & PROTOCOL_H2))
		tell(load, limits, "max_streams", NULL,
		    "only HTTP/2 has streams");
}

static void
check_logs(struct load *load)
{
	const struct node *logs = field(load->root, ROW_LOGS);
	const struct node *access = field(logs, ROW_LOG_ACCESS);

	if (access && strcmp(load->config->logs.access_path, "off") == 0 &&
	    (node_get(access, SPAN("sample")) ||
	        node_get(access, SPAN("redact"))))
		tell(load, access, "path", "add path: PATH, or path: stdout",
		    "the access log is off, so the rest does nothing");
}

static void
check_geo(struct load *load)
{
	const struct config *config = load->config;
	const struct node *geo = field(load->root, ROW_GEO);

	for (size_t i = 0; i < config->n_routes; i++) {
		const struct route_cfg *route = &config->routes[i];

		if (route->match.geo.is_on || route->access.geo.is_on ||
		    (route->limit.is_on && route->limit.key.by == KEY_COUNTRY))
			return;
	}
	if (geo)
		tell(load, geo, "", "use match.geo or access.geo in a route",
		    "no route asks where clients are");
}

static void
check_admin_tls(struct load *load)
{
	const struct admin_cfg *cfg = &load->config->admin;

	for (size_t i = 0; i < cfg->n_listen; i++)
		if (cfg->listen[i].kind != ADDRESS_UNIX)
			return;
	if (cfg->has_tls)
		tell(load, field(load->root, ROW_ADMIN), "tls",
		    "add a TCP address to admin.listen, or take it away",
		    "unix sockets stay clear");
}

void
check_vain(struct load *load)
{
	const struct config *config = load->config;
	bool has_ca = has_client_ca(config);

	for (size_t i = 0; i < config->n_listeners; i++)
		check_listener(
		    load, load->listeners->child[i], &config->listeners[i]);
	for (size_t i = 0; i < config->n_pools; i++)
		check_pool(load, load->pools->child[i], &config->pools[i]);
	for (size_t i = 0; i < config->n_splits; i++)
		check_split(load, load->splits->child[i], &config->splits[i]);
	for (size_t i = 0; i < config->n_routes; i++)
		check_route(
		    load, load->routes.at[i], &config->routes[i], has_ca);
	check_logs(load);
	check_geo(load);
	check_admin_tls(load);
}
