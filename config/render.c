/*
 * Writing a config down again; see render.h. The names are those of
 * schema.def; a test loads what is rendered and renders it to the same text.
 */
#include "config/render.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

struct renderer {
	bool to_compare;
	bool to_keep; /* a plan that is read back: secrets by where they are */
};

/* ---- words ---- */

/* Bytes that are not UTF-8 (paths may hold any) become "?". */
static json_t *
text(const char *value)
{
	json_t *json = value ? json_string(value) : NULL;

	return json ? json : json_string("?");
}

/* Leaves the key out when there is no value. */
static void
put_text(json_t *map, const char *key, const char *value)
{
	if (value)
		json_object_set_new(map, key, text(value));
}

static void
put_number(json_t *map, const char *key, uint64_t value)
{
	json_object_set_new(map, key, json_integer((json_int_t)value));
}

static void
put_duration(json_t *map, const char *key, nsec_t value)
{
	char buf[64];

	put_text(map, key, units_print_duration(value, buf, sizeof(buf)));
}

static void
put_size(json_t *map, const char *key, uint64_t value)
{
	char buf[32];

	put_text(map, key, units_print_size(value, buf, sizeof(buf)));
}

static json_t *
percent(bp_t value)
{
	return value % 100 ? json_real(value / 100.0)
	                   : json_integer(value / 100);
}

static json_t *
strings(const struct strings *list)
{
	json_t *json = json_array();

	for (size_t i = 0; i < list->n; i++)
		json_array_append_new(json, text(list->at[i]));
	return json;
}

static void
put_strings(json_t *map, const char *key, const struct strings *list)
{
	if (list->n > 0)
		json_object_set_new(map, key, strings(list));
}

static void
put_pairs(
    json_t *map, const char *key, const struct header_pair *pairs, size_t n)
{
	json_t *json;

	if (n == 0)
		return;
	json = json_object();
	for (size_t i = 0; i < n; i++)
		json_object_set_new(json, pairs[i].name, text(pairs[i].value));
	json_object_set_new(map, key, json);
}

static json_t *
range(const struct cidr *cidr)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char host[INET6_ADDRSTRLEN];

	if (cidr->bits >= 96 && memcmp(cidr->bytes, mapped, 12) == 0) {
		inet_ntop(AF_INET, cidr->bytes + 12, host, sizeof(host));
		return json_sprintf("%s/%u", host, cidr->bits - 96u);
	}
	inet_ntop(AF_INET6, cidr->bytes, host, sizeof(host));
	return json_sprintf("%s/%u", host, cidr->bits);
}

static void
put_ranges(json_t *map, const char *key, const struct cidrs *ranges)
{
	json_t *json;

	if (ranges->n == 0)
		return;
	json = json_array();
	for (size_t i = 0; i < ranges->n; i++)
		json_array_append_new(json, range(&ranges->at[i]));
	json_object_set_new(map, key, json);
}

static void
put_addresses(json_t *map, const char *key, const struct address *at, size_t n)
{
	json_t *json = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(json, text(at[i].text));
	json_object_set_new(map, key, json);
}

static void
put_secret(const struct renderer *r, json_t *map, const char *key,
    const struct secret *secret)
{
	static const char *const ways[] = {
	    [SECRET_FILE] = "file",
	    [SECRET_ENV] = "env",
	    [SECRET_CREDENTIAL] = "credential",
	};

	if (secret->from == SECRET_NONE)
		return;
	if (r->to_keep) {
		json_object_set_new(map, key,
		    json_pack(
		        "{s:o}", ways[secret->from], text(secret->where)));
		return;
	}
	json_object_set_new(map, key,
	    r->to_compare
	        ? json_sprintf("*** (%s %s)", ways[secret->from], secret->where)
	        : json_string("***"));
}

static json_t *
key_pair(const struct renderer *r, const struct key_pair *pair)
{
	json_t *map = json_object();

	put_text(map, "cert", pair->cert);
	put_secret(r, map, "key", &pair->key);
	return map;
}

static json_t *
key(const struct key_cfg *cfg)
{
	static const char *const kinds[] = {
	    [KEY_REQUEST] = "request",
	    [KEY_COOKIE] = "cookie",
	    [KEY_HEADER] = "header",
	    [KEY_CLIENT_IP] = "client_ip",
	    [KEY_COUNTRY] = "country",
	    [KEY_TOKEN] = "token",
	};
	json_t *map = json_object();

	put_text(map, "by", kinds[cfg->by]);
	put_text(map, "name", cfg->name);
	if (cfg->by == KEY_COOKIE && cfg->ttl > 0)
		put_duration(map, "ttl", cfg->ttl);
	return map;
}

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
		json_t *tls = key_pair(r, &cfg->tls);

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
		    json_pack(
		        "{s:o}", "listen", text(cfg->metrics_listen->text)));
	return map;
}

static const char *const on_failures[] = {
    [ON_FAILURE_LOCAL] = "local",
    [ON_FAILURE_OPEN] = "open",
    [ON_FAILURE_CLOSED] = "closed",
};

static json_t *pool_tls(const struct pool_tls_cfg *cfg);

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
	put_text(map, "on_failure", on_failures[cfg->on_failure]);
	if (cfg->tls.on)
		json_object_set_new(map, "tls", pool_tls(&cfg->tls));
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
	    json_pack("{s:o,s:o}", "ok", percent(cfg->sample_ok), "error",
	        percent(cfg->sample_error)));
	json_object_set_new(access, "redact", strings(&cfg->redact));
	json_object_set_new(map, "access", access);
	json_object_set_new(
	    map, "audit", json_pack("{s:o}", "path", text(cfg->audit_path)));
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
		json_array_append_new(list, key_pair(r, &cfg->certificates[i]));
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

/* ---- pools ---- */

static json_t *
dns(const struct dns_cfg *cfg)
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
	if (cfg->weight == 1)
		return text(cfg->address.text);
	return json_pack("{s:o,s:i}", "address", text(cfg->address.text),
	    "weight", (int)cfg->weight);
}

static json_t *
pool_tls(const struct pool_tls_cfg *cfg)
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
	json_object_set_new(map, "budget", percent(cfg->budget));
	if (cfg->per_try > 0)
		put_duration(map, "per_try", cfg->per_try);
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
	put_text(map, "path", cfg->path);
	put_duration(map, "interval", cfg->interval);
	put_duration(map, "timeout", cfg->timeout);
	put_number(map, "rise", cfg->rise);
	put_number(map, "fall", cfg->fall);
	if (cfg->path) {
		put_text(map, "method", cfg->is_head ? "HEAD" : "GET");
		json_object_set(map, "expect", expect);
		put_text(map, "body", cfg->body);
		put_pairs(map, "headers", cfg->headers, cfg->n_headers);
	}
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
	json_object_set_new(map, "max_ejected", percent(cfg->max_ejected));
	return map;
}

static json_t *
adaptive(const struct adaptive_cfg *cfg)
{
	json_t *map = json_object();

	put_number(map, "min", cfg->min);
	json_object_set_new(map, "tolerance", percent(cfg->tolerance));
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
		json_object_set_new(
		    map, "adaptive", adaptive(&cfg->adaptive));
	return map;
}

static json_t *
pool(const struct pool_cfg *cfg)
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
		json_array_append_new(endpoints, endpoint_tree(&cfg->endpoints[i]));
	json_object_set_new(map, "endpoints", endpoints);
	put_text(
	    map, "protocol", cfg->protocol == PROTOCOL_H2 ? "h2" : "http/1.1");
	if (cfg->send_proxy)
		put_text(map, "send_proxy", cfg->send_proxy == 1 ? "v1" : "v2");
	if (cfg->tls.on)
		json_object_set_new(map, "tls", pool_tls(&cfg->tls));
	put_text(map, "balance", balances[cfg->balance]);
	if (cfg->balance == BALANCE_HASH)
		json_object_set_new(map, "hash_on", key(&cfg->hash_on));
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

/* ---- splits ---- */

static void
put_pair(json_t *map, const char *name, const char *left, const char *right)
{
	if (left)
		json_object_set_new(
		    map, name, json_pack("{s:o}", left, text(right)));
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
			json_array_append_new(
			    list, text(method_name((enum http_method)i)));
	return list;
}

static json_t *
mirror(const struct config *config, const struct mirror_cfg *cfg)
{
	json_t *map = json_object();

	put_text(map, "to", config->pools[cfg->to].name);
	json_object_set_new(map, "percent", percent(cfg->percent));
	json_object_set_new(map, "methods", method_list(cfg->methods));
	put_size(map, "max_body", cfg->max_body);
	return map;
}

static json_t *
split(const struct config *config, const struct split_cfg *cfg)
{
	json_t *map = json_object(), *weights = json_object(), *pins;

	put_text(map, "stable", config->pools[cfg->stable].name);
	for (size_t i = 0; i < cfg->n_weights; i++)
		json_object_set_new(weights,
		    config->pools[cfg->weights[i].pool].name,
		    percent(cfg->weights[i].weight));
	json_object_set_new(map, "weights", weights);
	json_object_set_new(map, "affinity", key(&cfg->affinity));
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
			json_array_append_new(
			    methods, text(method_name((enum http_method)i)));
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

/* Takes `value`; an empty map is left out. */
static void
put_map(json_t *map, const char *name, json_t *value)
{
	if (json_object_size(value) > 0)
		json_object_set(map, name, value);
	json_decref(value);
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
		json_array_append_new(json, range(&list->all.at[i]));
	for (size_t i = 0; i < list->files.n; i++)
		json_array_append_new(
		    json, json_pack("{s:o}", "file", text(list->files.at[i])));
	if (list->is_given)
		json_object_set(map, name, json);
	json_decref(json);
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
		put_number(map, "allow_ranges", cfg->allow.all.n);
		put_number(map, "deny_ranges", cfg->deny.all.n);
	}
	return map;
}

static json_t *
rate_limit(const struct limit_cfg *cfg)
{
	json_t *map = json_object(), *by = key(&cfg->key);
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
		put_text(map, "on_failure", on_failures[cfg->on_failure]);
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

static void
put_routes(const struct renderer *r, json_t *root, const struct config *config)
{
	json_t *list = json_array(), *by_name = json_object();

	for (size_t i = 0; i < config->n_routes; i++) {
		const struct route_cfg *cfg = &config->routes[i];
		json_t *one = route(r, config, cfg);

		json_array_append_new(
		    list, r->to_compare ? text(cfg->name) : json_incref(one));
		json_object_set_new(by_name, cfg->name, one);
	}
	json_object_set(root, r->to_compare ? "route_order" : "routes", list);
	if (r->to_compare)
		json_object_set(root, "routes", by_name);
	json_decref(list);
	json_decref(by_name);
}

/* ---- plans ---- */

static void
put_hook(const struct renderer *r, json_t *map, const struct hook_cfg *cfg)
{
	put_text(map, "url", cfg->url);
	put_duration(map, "timeout", cfg->timeout);
	put_number(map, "retries", cfg->retries);
	put_secret(r, map, "hmac", &cfg->hmac);
}

static void
put_increase(json_t *map, const char *key, const struct increase *increase)
{
	char buf[48];

	if (increase->kind != INCREASE_NONE)
		put_text(map, key,
		    units_print_increase(increase->kind == INCREASE_RELATIVE,
		        increase->by, buf, sizeof(buf)));
}

static bp_t
share(double value)
{
	return (bp_t)(value * BP_ALL + 0.5);
}

static json_t *
guard(const struct guard_cfg *cfg)
{
	json_t *map = json_object();

	put_text(map, "name", cfg->name);
	json_object_set_new(map, "metric",
	    cfg->signal ? json_sprintf("signal:%s", cfg->signal)
	                : json_string(guard_metric_name(cfg->metric)));
	put_increase(map, "max_increase", &cfg->max_increase);
	put_increase(map, "tolerance", &cfg->tolerance);
	if (cfg->max_rate > 0)
		json_object_set_new(
		    map, "max_rate", percent(share(cfg->max_rate)));
	if (cfg->metric >= GUARD_EXCESS_FAILURES)
		put_number(map, "max", cfg->max);
	if (cfg->window > 0)
		put_duration(map, "window", cfg->window);
	if (cfg->warmup > 0)
		put_duration(map, "warmup", cfg->warmup);
	put_text(map, "action", guard_action_name(cfg->action));
	return map;
}

static json_t *
days(unsigned bits)
{
	static const char *const names[] = {
	    "mon", "tue", "wed", "thu", "fri", "sat", "sun"};
	char buf[32] = "";

	for (size_t i = 0, n = 0; i < 7; i++)
		if (bits & (1u << i))
			n += (size_t)snprintf(buf + n, sizeof(buf) - n, "%s%s",
			    n ? "," : "", names[i]);
	return json_string(buf);
}

static json_t *
gate(const struct renderer *r, const struct gate_cfg *cfg)
{
	static const char *const kinds[] = {
	    [GATE_WEBHOOK] = "webhook",
	    [GATE_APPROVAL] = "approval",
	    [GATE_WINDOW] = "window",
	};
	json_t *map = json_object();

	if (cfg->kind == GATE_WEBHOOK)
		put_hook(r, map, &cfg->webhook);
	if (cfg->kind == GATE_APPROVAL) {
		put_text(map, "role", role_name(cfg->approval.role));
		put_number(map, "count", cfg->approval.count);
		json_object_set_new(map, "not_requester",
		    json_boolean(cfg->approval.not_requester));
		if (cfg->approval.ttl > 0)
			put_duration(map, "ttl", cfg->approval.ttl);
	}
	if (cfg->kind == GATE_WINDOW) {
		json_object_set_new(map, "days", days(cfg->window.days));
		json_object_set_new(map, "hours",
		    json_sprintf("%02u:%02u-%02u:%02u", cfg->window.from / 60,
		        cfg->window.from % 60, cfg->window.to / 60,
		        cfg->window.to % 60));
		put_text(map, "zone", cfg->window.zone);
	}
	return json_pack("{s:o}", kinds[cfg->kind], map);
}

static json_t *
phase(const struct plan_cfg *plan, const struct phase_cfg *cfg)
{
	json_t *map = json_object(), *gates = json_array();

	put_text(map, "name", cfg->name);
	json_object_set_new(map, "weight", percent(cfg->weight));
	put_duration(map, "ramp", cfg->ramp);
	put_duration(map, "hold", cfg->hold);
	put_number(map, "min_requests", cfg->min_requests);
	put_text(map, "until", cfg->until == UNTIL_PROVEN ? "proven" : "held");
	if (cfg->timeout > 0)
		put_duration(map, "timeout", cfg->timeout);
	for (size_t i = 0; i < cfg->n_gates; i++)
		json_array_append_new(
		    gates, text(plan->gates[cfg->gates[i]].name));
	if (cfg->n_gates > 0)
		json_object_set(map, "gate", gates);
	json_decref(gates);
	return map;
}

static json_t *
receiver(const struct renderer *r, const struct notify_cfg *cfg)
{
	static const char *const names[] = {"started", "phase", "hold",
	    "rollback", "promoted", "aborted", "approval"};
	json_t *map = json_object(), *events = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (cfg->events & (1u << i))
			json_array_append_new(events, json_string(names[i]));
	put_hook(r, map, &cfg->hook);
	json_object_set_new(map, "events", events);
	return map;
}

static json_t *
plan(const struct renderer *r, const struct plan_cfg *cfg)
{
	static const char *const modes[] = {
	    [ROLLBACK_INSTANT] = "instant",
	    [ROLLBACK_RAMP] = "ramp",
	    [ROLLBACK_AUTO] = "auto",
	};
	static const char *const ends[] = {
	    [TIMEOUT_HOLD] = "hold",
	    [TIMEOUT_ROLLBACK] = "rollback",
	    [TIMEOUT_PROMOTE] = "promote",
	};
	json_t *map = json_object(), *phases = json_array();
	json_t *guards = json_array(), *gates = json_object();
	json_t *notify = json_array(), *rollback = json_object();

	for (size_t i = 0; i < cfg->n_phases; i++)
		json_array_append_new(phases, phase(cfg, &cfg->phases[i]));
	for (size_t i = 0; i < cfg->n_guards; i++)
		json_array_append_new(guards, guard(&cfg->guards[i]));
	for (size_t i = 0; i < cfg->n_gates; i++)
		json_object_set_new(
		    gates, cfg->gates[i].name, gate(r, &cfg->gates[i]));
	for (size_t i = 0; i < cfg->n_notify; i++)
		json_array_append_new(notify, receiver(r, &cfg->notify[i]));
	put_text(rollback, "mode", modes[cfg->rollback.mode]);
	put_text(rollback, "sessions",
	    cfg->rollback.sessions == SESSIONS_DRAIN ? "drain" : "recall");
	put_duration(rollback, "ramp", cfg->rollback.ramp);
	json_object_set_new(map, "phases", phases);
	json_object_set_new(map, "guards", guards);
	put_map(map, "gates", gates);
	put_duration(map, "keep_warm", cfg->keep_warm);
	json_object_set_new(map, "holdback", percent(cfg->holdback));
	json_object_set_new(map, "confidence",
	    json_pack("{s:o,s:o}", "false_rollback",
	        percent(share(cfg->false_rollback)), "false_pass",
	        percent(share(cfg->false_pass))));
	json_object_set_new(map, "rollback", rollback);
	put_text(map, "on_timeout", ends[cfg->on_timeout]);
	json_object_set_new(map, "notify", notify);
	return map;
}

json_t *
plan_tree(const struct plan_cfg *cfg)
{
	struct renderer r = {.to_keep = true};

	return plan(&r, cfg);
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
	json_object_set_new(root, "dns", dns(&config->dns));
	if (config->geo.n > 0)
		json_object_set_new(root, "geo",
		    json_pack("{s:o}", "database", strings(&config->geo)));
	for (size_t i = 0; i < config->n_listeners; i++)
		json_object_set_new(listeners, config->listeners[i].name,
		    listener(&r, &config->listeners[i]));
	json_object_set_new(root, "listeners", listeners);
	for (size_t i = 0; i < config->n_pools; i++)
		json_object_set_new(
		    pools, config->pools[i].name, pool(&config->pools[i]));
	json_object_set_new(root, "pools", pools);
	for (size_t i = 0; i < config->n_splits; i++)
		json_object_set_new(splits, config->splits[i].name,
		    split(config, &config->splits[i]));
	json_object_set_new(root, "splits", splits);
	put_routes(&r, root, config);
	for (size_t i = 0; i < config->n_plans; i++)
		json_object_set_new(
		    plans, config->plans[i].name, plan(&r, &config->plans[i]));
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
