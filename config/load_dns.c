/*
 * dns: how names are looked up. The servers are literal addresses: a name
 * would have to be looked up first.
 */
#include "config/load.h"
#include "config/mem.h"

void
load_dns(struct load *load)
{
	const struct node *map = field(load->root, ROW_DNS);
	const struct node *given = field(map, ROW_DNS_SERVERS);
	struct dns_cfg *cfg = &load->config->dns;

	if (given)
		cfg->servers =
		    load_addresses(map, ROW_DNS_SERVERS, &cfg->n_servers);
	for (size_t i = 0; i < cfg->n_servers; i++)
		if (cfg->servers[i].kind != ADDRESS_IP)
			report_add(load->report, DIAG_ADDRESS, given->key_at,
			    "write \"10.0.0.2:53\" or \"[::1]:53\"",
			    "dns.servers: \"%.200s\" is not an IP address",
			    cfg->servers[i].text);
	cfg->timeout = field_duration(map, ROW_DNS_TIMEOUT);
	cfg->min_ttl = field_duration(map, ROW_DNS_MIN_TTL);
	cfg->max_ttl = field_duration(map, ROW_DNS_MAX_TTL);
	if (cfg->min_ttl > cfg->max_ttl)
		report_add(load->report, DIAG_CONFLICT, map->key_at, NULL,
		    "dns: min_ttl is longer than max_ttl");
}
