/*
 * Writing a config down again; see render.h. The names are those of
 * schema.def; a test loads what is rendered and renders it to the same text.
 * Here is the whole, and what concerns the instance and its listeners; the
 * other sections have files of their own.
 */
#include <stdlib.h>

#include "config/render/parts.h"

/* ---- admin, logs ---- */

static json_t *
rule(const struct renderer *r, const struct access_rule *cfg)
{
	json_t *map = json_object();

	put_text(map, "who", cfg->who);
	put_secret(r, map, "secret", &cfg->secret);
	put_text(map, "role", role_name(cfg->role));
	put_strings(map, "splits", &cfg->splits);
	return map;
}

static json_t *
admin(const struct renderer *r, const struct admin_cfg *cfg)
{
	json_t *map = json_object(), *list;

	put_addresses(map, "listen", cfg->listen, cfg->n_listen);
	if (cfg->has_tls) {
		json_t *tls = render_key_pair(r, &cfg->tls);

		put_text(tls, "client_ca", cfg->tls_client_ca);
		json_object_set_new(map, "tls", tls);
	}
	if (cfg->n_access > 0) {
		list = json_array();
		for (size_t i = 0; i < cfg->n_access; i++)
			json_array_append_new(list, rule(r, &cfg->access[i]));
		json_object_set_new(map, "access", list);
	}
	if (cfg->metrics_listen)
		json_object_set_new(map, "metrics",
		    json_pack("{s:o}", "listen",
		        render_text(cfg->metrics_listen->text)));
	return map;
}

static json_t *
redis(const struct renderer *r, const struct redis_cfg *cfg)
{
	json_t *map = json_object(), *timeouts = json_object();

	if (cfg->address.kind == ADDRESS_UNIX)
		put_text(map, "url", cfg->address.text);
	else
		json_object_set_new(map, "url",
		    json_sprintf("%s://%s/%u", cfg->tls.on ? "rediss" : "redis",
		        cfg->address.text, cfg->database));
	put_text(map, "user", cfg->user);
	put_secret(r, map, "password", &cfg->password);
	put_text(map, "prefix", cfg->prefix);
	put_text(map, "on_failure", render_on_failure(cfg->on_failure));
	if (cfg->tls.on)
		json_object_set_new(map, "tls", render_pool_tls(&cfg->tls));
	put_duration(timeouts, "connect", cfg->connect_timeout);
	put_duration(timeouts, "answer", cfg->answer_timeout);
	json_object_set_new(map, "timeouts", timeouts);
	return map;
}

static json_t *
logs(const struct logs_cfg *cfg)
{
	json_t *map = json_object(), *access = json_object();

	put_text(access, "path", cfg->access_path);
	json_object_set_new(access, "sample",
	    json_pack("{s:o,s:o}", "ok", render_percent(cfg->sample_ok),
	        "error", render_percent(cfg->sample_error)));
	json_object_set_new(access, "redact", render_strings(&cfg->redact));
	json_object_set_new(map, "access", access);
	json_object_set_new(map, "audit",
	    json_pack("{s:o}", "path", render_text(cfg->audit_path)));
	return map;
}

/* ---- listeners ---- */

static json_t *
limits(const struct limits_cfg *cfg)
{
	json_t *map = json_object();

	put_number(map, "connections", cfg->connections);
	put_number(map, "per_client", cfg->per_client);
	put_duration(map, "header_timeout", cfg->header_timeout);
	put_duration(map, "idle_timeout", cfg->idle_timeout);
	put_size(map, "max_header", cfg->max_header);
	put_size(map, "max_body", cfg->max_body);
	put_number(map, "max_streams", cfg->max_streams);
	return map;
}

static json_t *
tls(const struct renderer *r, const struct tls_cfg *cfg)
{
	json_t *map = json_object(), *list = json_array();

	put_text(map, "min_version", cfg->min_version == 13 ? "1.3" : "1.2");
	for (size_t i = 0; i < cfg->n_certificates; i++)
		json_array_append_new(
		    list, render_key_pair(r, &cfg->certificates[i]));
	if (cfg->self_signed) {
		json_object_set_new(map, "self_signed", json_true());
		json_decref(list);
	} else {
		json_object_set_new(map, "certificates", list);
	}
	put_text(map, "client_ca", cfg->client_ca);
	if (cfg->client_ca)
		json_object_set_new(
		    map, "require", json_boolean(cfg->requires_client));
	put_duration(map, "ticket_rotation", cfg->ticket_rotation);
	return map;
}

static json_t *
protocols(unsigned bits)
{
	json_t *list = json_array();

	if (bits & PROTOCOL_H2)
		json_array_append_new(list, json_string("h2"));
	if (bits & PROTOCOL_H1)
		json_array_append_new(list, json_string("http/1.1"));
	return list;
}

static json_t *
listener(const struct renderer *r, const struct listener_cfg *cfg)
{
	static const char *const proxies[] = {
	    [0] = "off",
	    [PROXY_V1] = "v1",
	    [PROXY_V2] = "v2",
	    [PROXY_V1 | PROXY_V2] = "any",
	};
	json_t *map = json_object(), *client_ip = json_object();

	put_addresses(map, "bind", cfg->bind, cfg->n_bind);
	put_text(map, "redirect_to", cfg->redirect_to);
	json_object_set_new(map, "protocols", protocols(cfg->protocols));
	put_text(map, "proxy_protocol", proxies[cfg->proxy_protocol]);
	put_ranges(client_ip, "trusted_proxies", &cfg->trusted_proxies);
	put_text(client_ip, "header", cfg->client_ip_header);
	json_object_set_new(map, "client_ip", client_ip);
	json_object_set_new(map, "limits", limits(&cfg->limits));
	if (cfg->has_tls)
		json_object_set_new(map, "tls", tls(r, &cfg->tls));
	return map;
}

/* ---- the whole ---- */

static json_t *
drain(const struct drain_cfg *cfg)
{
	json_t *map = json_object();

	put_duration(map, "delay", cfg->delay);
	put_duration(map, "limit", cfg->limit);
	return map;
}

json_t *
config_tree(const struct config *config, bool to_compare)
{
	struct renderer r = {.to_compare = to_compare};
	json_t *root = json_object(), *plans = json_object();
	json_t *listeners = json_object(), *pools = json_object(),
	       *splits = json_object();

	put_number(root, "version", 1);
	json_object_set_new(root, "workers",
	    config->workers ? json_integer(config->workers)
	                    : json_string("auto"));
	put_text(root, "user", config->user);
	put_text(root, "state_dir", config->state_dir);
	json_object_set_new(root, "drain", drain(&config->drain));
	json_object_set_new(root, "admin", admin(&r, &config->admin));
	json_object_set_new(root, "logs", logs(&config->logs));
	if (config->redis.is_on)
		json_object_set_new(root, "redis", redis(&r, &config->redis));
	json_object_set_new(root, "dns", render_dns(&config->dns));
	if (config->geo.n > 0)
		json_object_set_new(root, "geo",
		    json_pack(
		        "{s:o}", "database", render_strings(&config->geo)));
	for (size_t i = 0; i < config->n_listeners; i++)
		json_object_set_new(listeners, config->listeners[i].name,
		    listener(&r, &config->listeners[i]));
	json_object_set_new(root, "listeners", listeners);
	for (size_t i = 0; i < config->n_pools; i++)
		json_object_set_new(pools, config->pools[i].name,
		    render_pool(&config->pools[i]));
	json_object_set_new(root, "pools", pools);
	for (size_t i = 0; i < config->n_splits; i++)
		json_object_set_new(splits, config->splits[i].name,
		    render_split(config, &config->splits[i]));
	json_object_set_new(root, "splits", splits);
	render_routes(&r, root, config);
	for (size_t i = 0; i < config->n_plans; i++)
		json_object_set_new(plans, config->plans[i].name,
		    render_plan(&r, &config->plans[i]));
	put_map(root, "plans", plans);
	return root;
}

char *
config_render_json(const struct config *config)
{
	json_t *root = json_object(), *tree = config_tree(config, false);
	char *out;

	json_object_set_new(root, "schema", json_string("weir.config/v1"));
	json_object_update(root, tree);
	json_decref(tree);
	out = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	json_decref(root);
	return out;
}
