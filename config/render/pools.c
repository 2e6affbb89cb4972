/* Pools, and how their names are looked up, as a tree; see render.h. */
#include <stdio.h>

#include "config/render/parts.h"

json_t *
render_dns(const struct dns_cfg *cfg)
{
	json_t *map = json_object();

	if (cfg->n_servers > 0)
		put_addresses(map, "servers", cfg->servers, cfg->n_servers);
	put_duration(map, "timeout", cfg->timeout);
	put_duration(map, "min_ttl", cfg->min_ttl);
	put_duration(map, "max_ttl", cfg->max_ttl);
	return map;
}

json_t *
endpoint_tree(const struct endpoint_cfg *cfg)
{
	if (cfg->address.service)
		return json_pack(
		    "{s:o}", "srv", render_text(cfg->address.service));
	if (cfg->weight == 1)
		return render_text(cfg->address.text);
	return json_pack("{s:o,s:i}", "address", render_text(cfg->address.text),
	    "weight", (int)cfg->weight);
}

json_t *
render_pool_tls(const struct pool_tls_cfg *cfg)
{
	static const char *const verifies[] = {
	    [VERIFY_SYSTEM] = "system",
	    [VERIFY_FILE] = "file",
	    [VERIFY_OFF] = "off",
	};
	json_t *map = json_object();

	put_text(map, "verify", verifies[cfg->verify]);
	put_text(map, "ca", cfg->ca_file);
	put_text(map, "server_name", cfg->server_name);
	return map;
}

static void
put_hedge(json_t *map, const struct retry_cfg *cfg)
{
	char text[8];

	if (cfg->hedge_after > 0) {
		put_duration(map, "hedge", cfg->hedge_after);
		return;
	}
	snprintf(text, sizeof(text), "p%d", cfg->hedge_quantile / 100);
	put_text(map, "hedge", cfg->hedge_quantile > 0 ? text : "off");
}

static json_t *
retry(const struct retry_cfg *cfg)
{
	json_t *map = json_object(), *on = json_array();

	if (cfg->on_connect)
		json_array_append_new(on, json_string("connect"));
	for (size_t i = 0; i < cfg->n_statuses; i++)
		json_array_append_new(on, json_integer(cfg->statuses[i]));
	json_object_set_new(map, "on", on);
	put_number(map, "max", cfg->max);
	json_object_set_new(map, "budget", render_percent(cfg->budget));
	if (cfg->per_try > 0)
		put_duration(map, "per_try", cfg->per_try);
	put_hedge(map, cfg);
	put_size(map, "replay", cfg->replay);
	return map;
}

static json_t *
health(const struct health_cfg *cfg)
{
	json_t *map = json_object(), *expect = json_array();

	for (size_t i = 0; i < cfg->n_expect; i++)
		json_array_append_new(
		    expect, cfg->expect[i].from == cfg->expect[i].to
		                ? json_integer(cfg->expect[i].from)
		                : json_sprintf("%u-%u", cfg->expect[i].from,
		                      cfg->expect[i].to));
	if (cfg->grpc)
		put_text(map, "grpc", cfg->grpc);
	else
		put_text(map, "path", cfg->path);
	put_duration(map, "interval", cfg->interval);
	put_duration(map, "timeout", cfg->timeout);
	put_number(map, "rise", cfg->rise);
	put_number(map, "fall", cfg->fall);
	if (cfg->path && !cfg->grpc) {
		put_text(map, "method", cfg->is_head ? "HEAD" : "GET");
		json_object_set(map, "expect", expect);
		put_text(map, "body", cfg->body);
	}
	if (cfg->path)
		put_pairs(map, "headers", cfg->headers, cfg->n_headers);
	if (cfg->port > 0)
		put_number(map, "port", cfg->port);
	json_decref(expect);
	return map;
}

static json_t *
outliers(const struct outliers_cfg *cfg)
{
	json_t *map = json_object();

	put_number(map, "consecutive", cfg->consecutive);
	put_duration(map, "eject", cfg->eject);
	json_object_set_new(
	    map, "max_ejected", render_percent(cfg->max_ejected));
	return map;
}

static json_t *
adaptive(const struct adaptive_cfg *cfg)
{
	json_t *map = json_object();

	put_number(map, "min", cfg->min);
	json_object_set_new(map, "tolerance", render_percent(cfg->tolerance));
	return map;
}

static json_t *
pool_limits(const struct pool_limits_cfg *cfg)
{
	json_t *map = json_object();

	put_number(map, "in_flight", cfg->in_flight);
	put_number(map, "queue", cfg->queue);
	if (cfg->queue > 0)
		put_duration(map, "queue_timeout", cfg->queue_timeout);
	if (cfg->adaptive.is_on)
		json_object_set_new(map, "adaptive", adaptive(&cfg->adaptive));
	return map;
}

json_t *
render_pool(const struct pool_cfg *cfg)
{
	static const char *const balances[] = {
	    [BALANCE_P2C] = "p2c",
	    [BALANCE_ROUND_ROBIN] = "round_robin",
	    [BALANCE_RANDOM] = "random",
	    [BALANCE_HASH] = "hash",
	    [BALANCE_EWMA] = "ewma",
	};
	json_t *map = json_object(), *endpoints = json_array();
	json_t *timeouts = json_object();

	put_pairs(map, "meta", cfg->meta, cfg->n_meta);
	for (size_t i = 0; i < cfg->n_endpoints; i++)
		json_array_append_new(
		    endpoints, endpoint_tree(&cfg->endpoints[i]));
	json_object_set_new(map, "endpoints", endpoints);
	put_text(
	    map, "protocol", cfg->protocol == PROTOCOL_H2 ? "h2" : "http/1.1");
	if (cfg->send_proxy)
		put_text(map, "send_proxy", cfg->send_proxy == 1 ? "v1" : "v2");
	if (cfg->tls.on)
		json_object_set_new(map, "tls", render_pool_tls(&cfg->tls));
	put_text(map, "balance", balances[cfg->balance]);
	if (cfg->balance == BALANCE_HASH)
		json_object_set_new(map, "hash_on", render_key(&cfg->hash_on));
	put_duration(timeouts, "connect", cfg->connect_timeout);
	put_duration(timeouts, "first_byte", cfg->first_byte_timeout);
	put_duration(timeouts, "idle", cfg->idle_timeout);
	json_object_set_new(map, "timeouts", timeouts);
	json_object_set_new(map, "retry", retry(&cfg->retry));
	if (cfg->health.is_on)
		json_object_set_new(map, "health", health(&cfg->health));
	if (cfg->outliers.is_on)
		json_object_set_new(map, "outliers", outliers(&cfg->outliers));
	if (cfg->limits.in_flight > 0)
		json_object_set_new(map, "limits", pool_limits(&cfg->limits));
	if (cfg->slow_start > 0)
		put_duration(map, "slow_start", cfg->slow_start);
	if (cfg->drain == CONFIG_NEVER)
		put_text(map, "drain", "never");
	else
		put_duration(map, "drain", cfg->drain);
	return map;
}
