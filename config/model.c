/*
 * Giving a config back, member by member in the order of config.h.
 */
#include <stdlib.h>

#include "config/plan.h"

static void
strings_release(struct strings *strings)
{
	for (size_t i = 0; i < strings->n; i++)
		free(strings->at[i]);
	free(strings->at);
}

static void
pairs_free(struct header_pair *pairs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(pairs[i].name);
		free(pairs[i].value);
	}
	free(pairs);
}

static void
addresses_free(struct address *addresses, size_t n)
{
	for (size_t i = 0; i < n; i++)
		address_release(&addresses[i]);
	free(addresses);
}

static void
key_pair_release(struct key_pair *pair)
{
	free(pair->cert);
	free(pair->key.where);
}

static void
admin_release(struct admin_cfg *admin)
{
	addresses_free(admin->listen, admin->n_listen);
	key_pair_release(&admin->tls);
	free(admin->tls_client_ca);
	for (size_t i = 0; i < admin->n_access; i++) {
		free(admin->access[i].who);
		free(admin->access[i].secret.where);
		strings_release(&admin->access[i].splits);
	}
	free(admin->access);
	addresses_free(admin->metrics_listen, admin->metrics_listen ? 1 : 0);
}

static void
logs_release(struct logs_cfg *logs)
{
	free(logs->access_path);
	strings_release(&logs->redact);
	free(logs->audit_path);
}

static void
listener_release(struct listener_cfg *listener)
{
	free(listener->name);
	addresses_free(listener->bind, listener->n_bind);
	free(listener->redirect_to);
	free(listener->trusted_proxies.at);
	free(listener->client_ip_header);
	for (size_t i = 0; i < listener->tls.n_certificates; i++)
		key_pair_release(&listener->tls.certificates[i]);
	free(listener->tls.certificates);
	free(listener->tls.client_ca);
}

static void
pool_release(struct pool_cfg *pool)
{
	free(pool->name);
	pairs_free(pool->meta, pool->n_meta);
	for (size_t i = 0; i < pool->n_endpoints; i++)
		address_release(&pool->endpoints[i].address);
	free(pool->endpoints);
	free(pool->tls.ca_file);
	free(pool->tls.server_name);
	free(pool->hash_on.name);
	free(pool->health.path);
	free(pool->health.grpc);
	free(pool->health.body);
	pairs_free(pool->health.headers, pool->health.n_headers);
}

static void
split_release(struct split_cfg *split)
{
	free(split->name);
	free(split->affinity.name);
	for (size_t i = 0; i < split->n_pins; i++) {
		free(split->pins[i].header);
		free(split->pins[i].header_value);
		free(split->pins[i].cookie);
		free(split->pins[i].cookie_value);
		free(split->pins[i].from.at);
	}
	free(split->pins);
}

static void
edits_release(struct header_edits *edits)
{
	pairs_free(edits->set, edits->n_set);
	strings_release(&edits->remove);
}

static void
geo_match_release(struct geo_cfg_match *geo)
{
	strings_release(&geo->subdivisions);
	free(geo->asns);
}

static void
route_release(struct route_cfg *route)
{
	free(route->name);
	strings_release(&route->match.hosts);
	free(route->match.path);
	free(route->match.path_prefix);
	pairs_free(route->match.headers, route->match.n_headers);
	free(route->match.client.at);
	geo_match_release(&route->match.geo);
	free(route->access.allow.all.at);
	strings_release(&route->access.allow.files);
	free(route->access.deny.all.at);
	strings_release(&route->access.deny.files);
	geo_match_release(&route->access.geo);
	free(route->limit.key.name);
	edits_release(&route->request);
	edits_release(&route->response);
	free(route->respond.body);
	free(route->respond.content_type);
	free(route->redirect.to);
}

void
config_free(struct config **config_in)
{
	struct config *config = *config_in;

	*config_in = NULL;
	if (config == NULL)
		return;
	free(config->path);
	free(config->user);
	free(config->state_dir);
	admin_release(&config->admin);
	logs_release(&config->logs);
	addresses_free(config->dns.servers, config->dns.n_servers);
	strings_release(&config->geo);
	address_release(&config->redis.address);
	free(config->redis.user);
	free(config->redis.password.where);
	free(config->redis.prefix);
	free(config->redis.tls.ca_file);
	free(config->redis.tls.server_name);
	for (size_t i = 0; i < config->n_listeners; i++)
		listener_release(&config->listeners[i]);
	free(config->listeners);
	for (size_t i = 0; i < config->n_plans; i++)
		plan_release(&config->plans[i]);
	free(config->plans);
	for (size_t i = 0; i < config->n_pools; i++)
		pool_release(&config->pools[i]);
	free(config->pools);
	for (size_t i = 0; i < config->n_splits; i++)
		split_release(&config->splits[i]);
	free(config->splits);
	for (size_t i = 0; i < config->n_routes; i++)
		route_release(&config->routes[i]);
	free(config->routes);
	free(config);
}
