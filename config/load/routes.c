/*
 * routes: what matches, what is changed, and exactly one thing to do.
 */
#include <stdio.h>

#include "config/load/load.h"
#include "config/mem.h"

/* Routes are matched by the path as the most lenient server reads it. */
static void
check_path(struct load *load, const struct node *node, const char *text)
{
	char where[WHERE_MAX];

	if (!text || (!strchr(text, ';') && !strstr(text, "//")))
		return;
	report_add(load->report, DIAG_CONFLICT, node->at,
	    "write it without; what is forwarded stays as it was asked",
	    "%s never matches: slashes are merged and parameters (\";x\") "
	    "left out before routes are matched",
	    node_where(node, where));
}

static void
load_match(struct load *load, const struct node *map, struct match_cfg *cfg)
{
	struct strings methods = field_strings(map, ROW_MATCH_METHOD);
	const struct node *path = field(map, ROW_MATCH_PATH);
	const struct node *prefix = field(map, ROW_MATCH_PREFIX);
	char where[WHERE_MAX];

	cfg->hosts = field_strings_lower(map, ROW_MATCH_HOST);
	cfg->path = field_text(map, ROW_MATCH_PATH);
	cfg->path_prefix = field_text(map, ROW_MATCH_PREFIX);
	check_path(load, path, cfg->path);
	check_path(load, prefix, cfg->path_prefix);
	for (size_t i = 0; i < methods.n; i++) {
		cfg->methods |= 1u << method_of(span_of(methods.at[i]));
		free(methods.at[i]);
	}
	free(methods.at);
	cfg->headers = field_pairs(map, ROW_MATCH_HEADER, &cfg->n_headers);
	cfg->client = field_cidrs(map, ROW_MATCH_CLIENT);
	load_geo_match(
	    load, field(map, ROW_MATCH_GEO), ROW_MATCH_GEO, &cfg->geo);
	if (path && prefix)
		report_add(load->report, DIAG_CONFLICT, prefix->key_at,
		    "take one of both away",
		    "%s: path and path_prefix do not go together",
		    node_where(map, where));
}

static void
load_edits(const struct node *map, enum row_id set, enum row_id remove,
    struct header_edits *edits)
{
	edits->set = field_pairs(map, set, &edits->n_set);
	edits->remove = field_strings_lower(map, remove);
}

static unsigned
load_upgrade(const struct node *map)
{
	struct strings words = field_strings(map, ROW_UPGRADE);
	unsigned bits = 0;

	for (size_t i = 0; i < words.n; i++) {
		bits |= strcmp(words.at[i], "websocket") == 0
		            ? UPGRADE_WEBSOCKET
		            : UPGRADE_OTHER;
		free(words.at[i]);
	}
	free(words.at);
	return bits;
}

/* ---- what to do ---- */

static void
load_respond(struct load *load, const struct node *map, struct route_cfg *cfg)
{
	const struct node *status = field(map, ROW_RESPOND_STATUS);
	char where[WHERE_MAX];

	cfg->respond.status = (uint16_t)field_number(map, ROW_RESPOND_STATUS);
	cfg->respond.body = field_text(map, ROW_RESPOND_BODY);
	cfg->respond.content_type = field_text(map, ROW_RESPOND_TYPE);
	if ((cfg->respond.status == 204 || cfg->respond.status == 304) &&
	    cfg->respond.body[0])
		report_add(load->report, DIAG_CONFLICT, status->at, NULL,
		    "%s: an answer with status %u has no body",
		    node_where(map, where), cfg->respond.status);
}

static void
load_redirect(struct load *load, const struct node *map, struct route_cfg *cfg)
{
	static const uint16_t statuses[] = {301, 302, 303, 307, 308};
	const struct node *to = field(map, ROW_REDIRECT_TARGET);
	char where[WHERE_MAX];

	cfg->redirect.status = statuses[field_word(map, ROW_REDIRECT_STATUS)];
	cfg->redirect.to = field_text(map, ROW_REDIRECT_TARGET);
	if (to && !span_starts(to->text, SPAN("/")) &&
	    !span_starts(to->text, SPAN("http://")) &&
	    !span_starts(to->text, SPAN("https://")))
		report_add(load->report, DIAG_PATTERN, to->at,
		    "write \"/new\" or \"https://host/path\"",
		    "%s: not a path or a URL", node_where(to, where));
}

static void
load_action(struct load *load, const struct node *map, struct route_cfg *cfg)
{
	static const enum row_id rows[] = {
	    [ROUTE_SPLIT] = ROW_ROUTE_SPLIT,
	    [ROUTE_POOL] = ROW_ROUTE_POOL,
	    [ROUTE_RESPOND] = ROW_RESPOND,
	    [ROUTE_REDIRECT] = ROW_REDIRECT,
	};
	const struct node *found = NULL;
	char where[WHERE_MAX];

	for (int i = 0; i < 4; i++) {
		const struct node *node =
		    node_get(map, schema_key(schema_row(rows[i])));

		if (node && found) {
			report_add(load->report, DIAG_ACTION, node->key_at,
			    "take one of both away",
			    "%s has two actions: %.*s and %.*s",
			    node_where(map, where), (int)found->key.len,
			    found->key.ptr, (int)node->key.len, node->key.ptr);
			return;
		}
		if (node) {
			found = node;
			cfg->action = (enum route_action)i;
		}
	}
	if (found == NULL) {
		report_add(load->report, DIAG_ACTION, map->at,
		    "add split, pool, respond or redirect", "%s does nothing",
		    node_where(map, where));
		return;
	}
	if (found->is_bad)
		return;
	if (cfg->action == ROUTE_RESPOND)
		load_respond(load, found, cfg);
	else if (cfg->action == ROUTE_REDIRECT)
		load_redirect(load, found, cfg);
	else
		cfg->target = load_index(
		    cfg->action == ROUTE_SPLIT ? load->splits : load->pools,
		    found);
}

/* ---- one route ---- */

static void
load_route(struct load *load, const struct node *map, size_t number,
    struct route_cfg *cfg)
{
	const struct node *headers = field(map, ROW_HEADERS);
	char name[32];

	snprintf(name, sizeof(name), "route-%zu", number);
	cfg->name = field_text(map, ROW_ROUTE_NAME);
	if (cfg->name == NULL)
		cfg->name = mem_text(span_of(name));
	load_match(load, field(map, ROW_MATCH), &cfg->match);
	load_edits(headers, ROW_REQUEST_SET, ROW_REQUEST_REMOVE, &cfg->request);
	load_edits(field(headers, ROW_RESPONSE), ROW_RESPONSE_SET,
	    ROW_RESPONSE_REMOVE, &cfg->response);
	load_policy(load, map, cfg);
	cfg->upgrade = load_upgrade(map);
	load_action(load, map, cfg);
}

void
load_routes(struct load *load)
{
	struct config *config = load->config;

	config->routes = mem_new(load->routes.n, sizeof(*config->routes));
	for (size_t i = 0; i < load->routes.n; i++) {
		if (load->routes.at[i]->kind == NODE_MAP)
			load_route(load, load->routes.at[i], i + 1,
			    &config->routes[config->n_routes++]);
	}
}
