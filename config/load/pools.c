/*
 * pools: inheritance first (like.c), then the model.
 */
#include <stdio.h>

#include "config/load/load.h"
#include "config/mem.h"

enum { STATUSES_MAX = 16 };

/* ---- endpoints ---- */

static void
refuse_endpoint(struct load *load, const struct node *node, const char *what)
{
	char where[WHERE_MAX];

	report_add(load->report, DIAG_ADDRESS, node->at,
	    "write {address: \"10.0.0.1:80\"}, {dns: name, port: 80} or "
	    "{srv: _http._tcp.name}",
	    "%s: %s", node_where(node, where), what);
}

/* The text of an endpoint given as a map; NULL when it was refused. */
static char *
endpoint_text(struct load *load, const struct node *map)
{
	const struct node *dns = field(map, ROW_ENDPOINT_DNS);
	const struct node *port = field(map, ROW_ENDPOINT_PORT);
	bool has_address = node_get(map, SPAN("address")) != NULL;
	bool has_dns = node_get(map, SPAN("dns")) != NULL;
	char text[300];

	if (has_address == has_dns) {
		refuse_endpoint(load, map,
		    has_dns ? "address and dns do not go together"
		            : "no address, dns or srv is given");
		return NULL;
	}
	if (has_address) {
		if (port)
			refuse_endpoint(
			    load, map, "the port is part of the address");
		return field_text(map, ROW_ENDPOINT_ADDRESS);
	}
	if (node_get(map, SPAN("port")) == NULL)
		refuse_endpoint(load, map, "dns needs a port");
	if (dns == NULL || port == NULL)
		return NULL;
	snprintf(text, sizeof(text), "%.*s:%d", (int)dns->text.len,
	    dns->text.ptr, (int)port->number);
	return mem_text(span_of(text));
}

/* All but the name is in the records. */
static void
load_service(struct load *load, const struct node *map, struct pool_cfg *pool)
{
	static const char *const others[] = {
	    "address", "dns", "port", "weight"};
	struct endpoint_cfg *cfg = &pool->endpoints[pool->n_endpoints];
	const struct node *srv = field(map, ROW_ENDPOINT_SRV);
	char what[64];
	struct err err;

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		if (node_get(map, span_of(others[i])) == NULL)
			continue;
		snprintf(what, sizeof(what), "srv and %s do not go together",
		    others[i]);
		refuse_endpoint(load, map, what);
		return;
	}
	if (srv == NULL)
		return;
	if (address_of_service(srv->text, &cfg->address, &err))
		pool->n_endpoints++;
	else
		refuse_endpoint(load, map, err.text);
}

static void
load_endpoint(struct load *load, const struct node *node, struct pool_cfg *pool)
{
	struct endpoint_cfg *cfg = &pool->endpoints[pool->n_endpoints];
	struct err err;
	char *text;

	if (node->is_bad)
		return;
	cfg->weight = 1;
	cfg->line = node->at.line;
	if (node->kind == NODE_MAP && node_get(node, SPAN("srv"))) {
		load_service(load, node, pool);
		return;
	}
	if (node->kind == NODE_MAP) {
		text = endpoint_text(load, node);
		cfg->weight = (uint32_t)field_number(node, ROW_ENDPOINT_WEIGHT);
	} else {
		text = mem_text(node->text);
	}
	if (text == NULL)
		return;
	if (address_parse(span_of(text), &cfg->address, &err))
		pool->n_endpoints++;
	else
		refuse_endpoint(load, node, err.text);
	free(text);
}

static void
load_endpoints(struct load *load, const struct node *written,
    const struct node *map, struct pool_cfg *cfg)
{
	struct entries all = field_entries(map, ROW_ENDPOINTS);
	const struct node *given = node_get(map, SPAN("endpoints"));
	char where[WHERE_MAX];

	/* like that led nowhere is told; so is a bad list */
	if (all.n == 0 &&
	    (given ? !given->is_bad
	           : map != written || node_get(map, SPAN("like")) == NULL))
		report_add(load->report, DIAG_MISSING_KEY, node_place(written),
		    "add endpoints: [\"10.0.0.1:8080\"]",
		    "\"endpoints\" is missing in %s",
		    node_where(written, where));
	cfg->endpoints = mem_new(all.n, sizeof(*cfg->endpoints));
	for (size_t i = 0; i < all.n; i++)
		load_endpoint(load, all.at[i], cfg);
}

/* ---- the rest of a pool ---- */

void
load_client_tls(struct load *load, const struct node *map,
    enum row_id verify_row, enum row_id ca_row, enum row_id name_row,
    struct pool_tls_cfg *cfg)
{
	int verify = field_word(map, verify_row);
	const struct node *ca = field(map, ca_row);
	const struct node *given = field(map, verify_row);
	char where[WHERE_MAX];

	if (map == NULL || map->kind != NODE_MAP)
		return;
	cfg->on = true;
	cfg->ca_file = load_authorities(load, map, ca_row);
	cfg->server_name = field_lower(map, name_row);
	cfg->verify = verify != NODE_ABSENT ? VERIFY_SYSTEM + (unsigned)verify
	              : cfg->ca_file        ? VERIFY_FILE
	                                    : VERIFY_SYSTEM;
	if (cfg->verify == VERIFY_FILE && node_get(map, SPAN("ca")) == NULL)
		report_add(load->report, DIAG_MISSING_KEY, given->at,
		    "add ca: PATH", "\"ca\" is missing in %s",
		    node_where(map, where));
	if (cfg->verify != VERIFY_FILE && ca)
		report_add(load->report, DIAG_CONFLICT, ca->key_at,
		    "write verify: file, or take ca away",
		    "%s: ca is used with verify: file only",
		    node_where(map, where));
	if (cfg->verify == VERIFY_OFF)
		report_add(load->report, DIAG_NOT_VERIFIED, given->at, NULL,
		    "%s: anybody may answer in the server's name",
		    node_where(map, where));
}

static void
load_hash(struct load *load, const struct node *map, struct pool_cfg *cfg)
{
	const struct node *hash_on = field(map, ROW_HASH_ON);
	const struct node *balance = field(map, ROW_BALANCE);
	char where[WHERE_MAX];

	cfg->balance = (enum balance)field_word(map, ROW_BALANCE);
	if (hash_on)
		cfg->hash_on.by =
		    KEY_COOKIE + (unsigned)field_word(hash_on, ROW_HASH_BY);
	if (hash_on && field(hash_on, ROW_HASH_BY))
		load_key(
		    load, hash_on, ROW_HASH_BY, ROW_HASH_NAME, &cfg->hash_on);
	if (cfg->balance == BALANCE_HASH &&
	    node_get(map, SPAN("hash_on")) == NULL)
		report_add(load->report, DIAG_MISSING_KEY, balance->at,
		    "add hash_on: {by: client_ip}",
		    "\"hash_on\" is missing in %s", node_where(map, where));
	if (cfg->balance != BALANCE_HASH && hash_on)
		report_add(load->report, DIAG_CONFLICT, hash_on->key_at,
		    "write balance: hash",
		    "%s: hash_on is used with balance: hash only",
		    node_where(map, where));
}

static void
load_hedge(const struct node *map, struct retry_cfg *cfg)
{
	static const bp_t quantiles[] = {0, 9000, 9500, 9900};
	int word = field_word(map, ROW_RETRY_HEDGE); /* off, p90, p95, p99 */

	if (word == NODE_ABSENT)
		cfg->hedge_after = field_duration(map, ROW_RETRY_HEDGE);
	else
		cfg->hedge_quantile = quantiles[word];
}

static void
load_retry(struct load *load, const struct node *map, struct retry_cfg *cfg)
{
	struct strings on = field_strings(map, ROW_RETRY_ON);
	int64_t status;

	for (size_t i = 0; i < on.n; i++) {
		if (!units_integer(span_of(on.at[i]), &status))
			cfg->on_connect = true;
		else if (cfg->n_statuses < STATUSES_MAX)
			cfg->statuses[cfg->n_statuses++] = (uint16_t)status;
		else if (i == STATUSES_MAX + (size_t)cfg->on_connect)
			report_add(load->report, DIAG_TOO_MANY,
			    field(map, ROW_RETRY_ON)->key_at, NULL,
			    "retry.on has more than %d statuses", STATUSES_MAX);
		free(on.at[i]);
	}
	free(on.at);
	cfg->max = (unsigned)field_number(map, ROW_RETRY_MAX);
	cfg->budget = field_percent(map, ROW_RETRY_BUDGET);
	if (field(map, ROW_RETRY_PER_TRY))
		cfg->per_try = field_duration(map, ROW_RETRY_PER_TRY);
	load_hedge(map, cfg);
	cfg->replay = (uint32_t)field_number(map, ROW_RETRY_REPLAY);
}

static unsigned
load_send_proxy(const struct node *map)
{
	int version = field_word(map, ROW_SEND_PROXY); /* off, v1, v2 */

	return version > 0 ? (unsigned)version : 0;
}

static void
load_pool(struct load *load, const struct node *written, struct pool_cfg *cfg)
{
	const struct node *map =
	    load_like(load, load->pools, written, ROW_POOL_LIKE);
	const struct node *timeouts = field(map, ROW_TIMEOUTS);

	cfg->name = mem_text(written->key);
	cfg->meta = field_pairs(map, ROW_POOL_META, &cfg->n_meta);
	load_endpoints(load, written, map, cfg);
	cfg->protocol =
	    field_word(map, ROW_POOL_PROTOCOL) == 1 ? PROTOCOL_H2 : PROTOCOL_H1;
	cfg->send_proxy = load_send_proxy(map);
	load_client_tls(load, field(map, ROW_POOL_TLS), ROW_POOL_VERIFY,
	    ROW_POOL_CA, ROW_POOL_SERVER_NAME, &cfg->tls);
	cfg->tls.protocols = cfg->protocol;
	load_hash(load, map, cfg);
	cfg->connect_timeout = field_duration(timeouts, ROW_TIMEOUT_CONNECT);
	cfg->first_byte_timeout =
	    field_duration(timeouts, ROW_TIMEOUT_FIRST_BYTE);
	cfg->idle_timeout = field_duration(timeouts, ROW_TIMEOUT_IDLE);
	load_retry(load, field(map, ROW_RETRY), &cfg->retry);
	load_resilience(load, map, cfg);
}

void
load_pools(struct load *load)
{
	struct config *config = load->config;
	struct entries all = field_entries(load->root, ROW_POOLS);

	if (load->pools == NULL)
		return;
	config->pools = mem_new(all.n, sizeof(*config->pools));
	for (; config->n_pools < all.n; config->n_pools++)
		load_pool(load, all.at[config->n_pools],
		    &config->pools[config->n_pools]);
}
