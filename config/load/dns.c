/*
 * dns: how names are looked up. The servers are literal addresses: a name
 * would have to be looked up first.
 */
#include "config/load/load.h"
#include "config/mem.h"

static void
load_servers(const struct node *map, struct dns_cfg *cfg)
{
	struct strings texts = field_strings(map, ROW_DNS_SERVERS);
	struct err err;

	cfg->servers = mem_new(texts.n, sizeof(*cfg->servers));
	for (size_t i = 0; i < texts.n; i++) {
		bool is_fine = address_parse_dns(
		    span_of(texts.at[i]), &cfg->servers[i], &err);

		assert(is_fine);
		free(texts.at[i]);
	}
	cfg->n_servers = texts.n;
	free(texts.at);
}

void
load_dns(struct load *load)
{
	const struct node *map = field(load->root, ROW_DNS);
	const struct node *given = field(map, ROW_DNS_SERVERS);
	struct dns_cfg *cfg = &load->config->dns;

	if (given)
		load_servers(map, cfg);
	for (size_t i = 0; i < cfg->n_servers; i++)
		if (cfg->servers[i].kind != ADDRESS_IP)
			report_add(load->report, DIAG_ADDRESS, given->key_at,
			    "write \"10.0.0.2\", \"10.0.0.2:53\" or "
			    "\"[::1]:53\"",
			    "dns.servers: \"%.200s\" is not an IP address",
			    cfg->servers[i].text);
	cfg->timeout = field_duration(map, ROW_DNS_TIMEOUT);
	cfg->min_ttl = field_duration(map, ROW_DNS_MIN_TTL);
	cfg->max_ttl = field_duration(map, ROW_DNS_MAX_TTL);
	if (cfg->min_ttl > cfg->max_ttl)
		report_add(load->report, DIAG_CONFLICT, map->key_at, NULL,
		    "dns: min_ttl is longer than max_ttl");
}
