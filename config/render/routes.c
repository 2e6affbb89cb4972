/* Splits and routes as a tree; see render.h. */
#include <inttypes.h>

#include "config/render/parts.h"

/* ---- splits ---- */

static void
put_pair(json_t *map, const char *name, const char *left, const char *right)
{
	if (left)
		json_object_set_new(
		    map, name, json_pack("{s:o}", left, render_text(right)));
}

static json_t *
pin(const struct config *config, const struct pin_cfg *cfg)
{
	json_t *map = json_object();

	put_pair(map, "header", cfg->header, cfg->header_value);
	put_pair(map, "cookie", cfg->cookie, cfg->cookie_value);
	put_ranges(map, "from", &cfg->from);
	put_text(map, "pool", config->pools[cfg->pool].name);
	return map;
}

static json_t *
method_list(uint32_t bits)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < METHOD_COUNT; i++)
		if (bits & (1u << i))
			json_array_append_new(list,
			    render_text(method_name((enum http_method)i)));
	return list;
}

static json_t *
mirror(const struct config *config, const struct mirror_cfg *cfg)
{
	json_t *map = json_object();

	put_text(map, "to", config->pools[cfg->to].name);
	json_object_set_new(map, "percent", render_percent(cfg->percent));
	json_object_set_new(map, "methods", method_list(cfg->methods));
	put_size(map, "max_body", cfg->max_body);
	return map;
}

json_t *
render_split(const struct config *config, const struct split_cfg *cfg)
{
	json_t *map = json_object(), *weights = json_object(), *pins;

	put_text(map, "stable", config->pools[cfg->stable].name);
	for (size_t i = 0; i < cfg->n_weights; i++)
		json_object_set_new(weights,
		    config->pools[cfg->weights[i].pool].name,
		    render_percent(cfg->weights[i].weight));
	json_object_set_new(map, "weights", weights);
	json_object_set_new(map, "affinity", render_key(&cfg->affinity));
	if (cfg->mirror.is_on)
		json_object_set_new(
		    map, "mirror", mirror(config, &cfg->mirror));
	if (cfg->shield)
		json_object_set_new(map, "shield", json_true());
	if (cfg->n_pins > 0) {
		pins = json_array();
		for (size_t i = 0; i < cfg->n_pins; i++)
			json_array_append_new(pins, pin(config, &cfg->pins[i]));
		json_object_set_new(map, "pins", pins);
	}
	return map;
}

/* ---- routes ---- */

static void
put_countries(json_t *map, const char *name, const struct country_set *set)
{
	json_t *list = json_array();
	char code[3];

	for (unsigned i = 0; i < COUNTRIES; i++) {
		country_print(i, code);
		if (country_set_has(set, i))
			json_array_append_new(list, json_string(code));
	}
	if (json_array_size(list) > 0)
		json_object_set(map, name, list);
	json_decref(list);
}

static json_t *
geo_match(const struct geo_cfg_match *cfg)
{
	json_t *map = json_object(), *continents = json_array();
	json_t *asns = json_array();

	put_countries(map, "country", &cfg->countries);
	put_countries(map, "not_country", &cfg->not_countries);
	for (int i = 1; i < CONTINENTS; i++)
		if (cfg->continents >> i & 1)
			json_array_append_new(continents,
			    json_string(continent_name((enum continent)i)));
	if (json_array_size(continents) > 0)
		json_object_set(map, "continent", continents);
	json_decref(continents);
	put_strings(map, "subdivision", &cfg->subdivisions);
	for (size_t i = 0; i < cfg->n_asns; i++)
		json_array_append_new(asns, json_integer(cfg->asns[i]));
	if (cfg->n_asns > 0)
		json_object_set(map, "asn", asns);
	json_decref(asns);
	return map;
}

static json_t *
match(const struct match_cfg *cfg)
{
	json_t *map = json_object(), *methods = json_array();

	put_strings(map, "host", &cfg->hosts);
	put_text(map, "path", cfg->path);
	put_text(map, "path_prefix", cfg->path_prefix);
	for (int i = 0; i < METHOD_OTHER; i++) {
		if (cfg->methods & (1u << i))
			json_array_append_new(methods,
			    render_text(method_name((enum http_method)i)));
	}
	if (json_array_size(methods) > 0)
		json_object_set(map, "method", methods);
	json_decref(methods);
	put_pairs(map, "header", cfg->headers, cfg->n_headers);
	put_ranges(map, "client", &cfg->client);
	if (cfg->geo.is_on)
		json_object_set_new(map, "geo", geo_match(&cfg->geo));
	return map;
}

static json_t *
edits(const struct header_edits *cfg)
{
	json_t *map = json_object();

	put_pairs(map, "set", cfg->set, cfg->n_set);
	put_strings(map, "remove", &cfg->remove);
	return map;
}

static void
put_action(
    const struct config *config, json_t *map, const struct route_cfg *cfg)
{
	json_t *action = json_object();

	switch (cfg->action) {
	case ROUTE_SPLIT:
		put_text(map, "split", config->splits[cfg->target].name);
		break;
	case ROUTE_POOL:
		put_text(map, "pool", config->pools[cfg->target].name);
		break;
	case ROUTE_RESPOND:
		put_number(action, "status", cfg->respond.status);
		put_text(action, "body", cfg->respond.body);
		put_text(action, "content_type", cfg->respond.content_type);
		break;
	case ROUTE_REDIRECT:
		put_text(action, "to", cfg->redirect.to);
		put_number(action, "status", cfg->redirect.status);
		break;
	}
	put_map(
	    map, cfg->action == ROUTE_RESPOND ? "respond" : "redirect", action);
}

static void
put_range_list(json_t *map, const char *name, const struct range_list *list)
{
	json_t *json = json_array();

	for (size_t i = 0; i < list->n_written; i++)
		json_array_append_new(json, render_range(&list->all.at[i]));
	for (size_t i = 0; i < list->files.n; i++)
		json_array_append_new(json,
		    json_pack("{s:o}", "file", render_text(list->files.at[i])));
	if (list->is_given)
		json_object_set(map, name, json);
	json_decref(json);
}

/* All of a list, files too: how many, and what tells them from others. */
static void
put_ranges_told(json_t *map, const char *name, const struct cidrs *all)
{
	struct span bytes = {(const char *)all->at, all->n * sizeof(*all->at)};

	json_object_set_new(map, name,
	    json_sprintf("%zu (%016" PRIx64 ")", all->n, span_hash(bytes)));
}

static json_t *
access_lists(const struct renderer *r, const struct route_access_cfg *cfg)
{
	json_t *map = json_object();

	put_range_list(map, "allow", &cfg->allow);
	put_range_list(map, "deny", &cfg->deny);
	if (cfg->geo.is_on)
		json_object_set_new(map, "geo", geo_match(&cfg->geo));
	if (r->to_compare && cfg->allow.files.n + cfg->deny.files.n > 0) {
		put_ranges_told(map, "allow_ranges", &cfg->allow.all);
		put_ranges_told(map, "deny_ranges", &cfg->deny.all);
	}
	return map;
}

static json_t *
rate_limit(const struct limit_cfg *cfg)
{
	json_t *map = json_object(), *by = render_key(&cfg->key);
	char rate[96];

	if (cfg->key.by == KEY_REQUEST)
		json_object_set_new(by, "by", json_string("route"));
	put_number(by, "v6_prefix", cfg->v6_prefix);
	json_object_set_new(map, "key", by);
	put_text(map, "rate", units_print_rate(cfg->rate, rate, sizeof(rate)));
	put_number(map, "burst", cfg->burst);
	if (cfg->is_dry_run)
		json_object_set_new(map, "dry_run", json_true());
	put_text(map, "scope", cfg->is_global ? "global" : "local");
	if (cfg->is_global)
		put_text(map, "on_failure", render_on_failure(cfg->on_failure));
	return map;
}

static json_t *
route(const struct renderer *r, const struct config *config,
    const struct route_cfg *cfg)
{
	json_t *map = json_object(), *headers, *upgrade = json_array();

	put_text(map, "name", cfg->name);
	put_map(map, "match", match(&cfg->match));
	headers = edits(&cfg->request);
	put_map(headers, "response", edits(&cfg->response));
	put_map(map, "headers", headers);
	if (cfg->access.is_on)
		json_object_set_new(
		    map, "access", access_lists(r, &cfg->access));
	if (cfg->limit.is_on)
		json_object_set_new(map, "rate_limit", rate_limit(&cfg->limit));
	if (cfg->upgrade & UPGRADE_WEBSOCKET)
		json_array_append_new(upgrade, json_string("websocket"));
	if (cfg->upgrade & UPGRADE_OTHER)
		json_array_append_new(upgrade, json_string("other"));
	json_object_set_new(map, "upgrade", upgrade);
	put_action(config, map, cfg);
	return map;
}

void
render_routes(
    const struct renderer *r, json_t *root, const struct config *config)
{
	json_t *list = json_array(), *by_name = json_object();

	for (size_t i = 0; i < config->n_routes; i++) {
		const struct route_cfg *cfg = &config->routes[i];
		json_t *one = route(r, config, cfg);

		json_array_append_new(list,
		    r->to_compare ? render_text(cfg->name) : json_incref(one));
		json_object_set_new(by_name, cfg->name, one);
	}
	json_object_set(root, r->to_compare ? "route_order" : "routes", list);
	if (r->to_compare)
		json_object_set(root, "routes", by_name);
	json_decref(list);
	json_decref(by_name);
}
