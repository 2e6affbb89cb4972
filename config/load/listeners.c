/*
 * listeners: where requests come in, by what bounds, with which certificates.
 */
#include "config/load/load.h"
#include "config/mem.h"

static void
load_limits(const struct node *map, struct limits_cfg *cfg)
{
	cfg->connections = (uint32_t)field_number(map, ROW_LIMIT_CONNECTIONS);
	cfg->per_client = (uint32_t)field_number(map, ROW_LIMIT_PER_CLIENT);
	cfg->header_timeout = field_duration(map, ROW_HEADER_TIMEOUT);
	cfg->idle_timeout = field_duration(map, ROW_IDLE_TIMEOUT);
	cfg->max_header = (uint64_t)field_number(map, ROW_MAX_HEADER);
	cfg->max_body = (uint64_t)field_number(map, ROW_MAX_BODY);
	cfg->max_streams = (uint32_t)field_number(map, ROW_MAX_STREAMS);
}

static void
check_certificates(
    struct load *load, const struct node *map, const struct tls_cfg *cfg)
{
	const struct node *self = field(map, ROW_SELF_SIGNED);
	char where[WHERE_MAX];

	if (cfg->self_signed && cfg->n_certificates > 0)
		report_add(load->report, DIAG_CONFLICT, self->key_at,
		    "take one of both away",
		    "%s: certificates and self_signed do not go together",
		    node_where(map, where));
	if (!cfg->self_signed && cfg->n_certificates == 0 &&
	    node_get(map, SPAN("certificates")) == NULL)
		report_add(load->report, DIAG_MISSING_KEY, node_place(map),
		    "add certificates: [{cert: PATH, key: {file: PATH}}]",
		    "\"certificates\" is missing in %s",
		    node_where(map, where));
}

static void
load_client_ca(struct load *load, const struct node *map, struct tls_cfg *cfg)
{
	const struct node *require = field(map, ROW_TLS_REQUIRE);
	char where[WHERE_MAX];

	cfg->client_ca = load_authorities(load, map, ROW_TLS_CLIENT_CA);
	cfg->requires_client =
	    cfg->client_ca && field_bool(map, ROW_TLS_REQUIRE);
	if (require && node_get(map, SPAN("client_ca")) == NULL)
		report_add(load->report, DIAG_MISSING_KEY, require->key_at,
		    "add client_ca: PATH", "\"client_ca\" is missing in %s",
		    node_where(map, where));
}

static void
load_tls(struct load *load, const struct node *map, struct tls_cfg *cfg)
{
	struct entries certs = field_entries(map, ROW_CERTS);

	cfg->min_version = field_word(map, ROW_TLS_MIN) == 1 ? 13 : 12;
	cfg->self_signed = field_bool(map, ROW_SELF_SIGNED);
	cfg->ticket_rotation = field_duration(map, ROW_TICKET_ROTATION);
	if (certs.n > 0)
		cfg->certificates = mem_new(certs.n, sizeof(struct key_pair));
	for (size_t i = 0; i < certs.n; i++)
		cfg->certificates[cfg->n_certificates++] =
		    load_key_pair(load, certs.at[i], ROW_CERT, ROW_CERT_KEY);
	check_certificates(load, map, cfg);
	load_client_ca(load, map, cfg);
}

static void
check_redirect(struct load *load, const struct node *map)
{
	const struct node *to = field(map, ROW_REDIRECT_TO);
	const struct node *target =
	    to ? node_get(load->listeners, to->text) : NULL;
	char where[WHERE_MAX];

	if (target && field(target, ROW_REDIRECT_TO))
		report_add(load->report, DIAG_CONFLICT, to->at,
		    "name a listener that answers",
		    "%s: listener \"%.*s\" redirects itself",
		    node_where(to, where), (int)to->text.len, to->text.ptr);
}

static unsigned
load_protocols(const struct node *map)
{
	struct strings words = field_strings(map, ROW_PROTOCOLS);
	unsigned protocols = 0;

	for (size_t i = 0; i < words.n; i++) {
		protocols |=
		    strcmp(words.at[i], "h2") == 0 ? PROTOCOL_H2 : PROTOCOL_H1;
		free(words.at[i]);
	}
	free(words.at);
	return protocols;
}

/* Whoever may send the header may be anybody: it is taken from those that are
 * named, and over unix sockets, whose permissions name them. */
static void
load_proxy_protocol(
    struct load *load, const struct node *map, struct listener_cfg *cfg)
{
	static const unsigned versions[] = {
	    0, PROXY_V1, PROXY_V2, PROXY_V1 | PROXY_V2};
	int which = field_word(map, ROW_PROXY_PROTOCOL);
	const struct node *client_ip = field(map, ROW_CLIENT_IP);
	bool is_inet = false;
	char where[WHERE_MAX];

	cfg->proxy_protocol = which > 0 ? versions[which] : 0;
	for (size_t i = 0; i < cfg->n_bind; i++)
		is_inet |= cfg->bind[i].kind != ADDRESS_UNIX;
	if (cfg->proxy_protocol && is_inet && cfg->trusted_proxies.n == 0 &&
	    (client_ip == NULL ||
	        node_get(client_ip, SPAN("trusted_proxies")) == NULL))
		report_add(load->report, DIAG_MISSING_KEY,
		    field(map, ROW_PROXY_PROTOCOL)->at,
		    "add client_ip: {trusted_proxies: [\"10.0.0.0/8\"]}",
		    "%s: who may send PROXY headers is not said",
		    node_where(map, where));
}

static void
load_listener(
    struct load *load, const struct node *map, struct listener_cfg *cfg)
{
	const struct node *client_ip = field(map, ROW_CLIENT_IP);
	const struct node *tls = field(map, ROW_TLS);

	cfg->name = mem_text(map->key);
	cfg->bind = load_addresses(map, ROW_BIND, &cfg->n_bind);
	cfg->redirect_to = field_text(map, ROW_REDIRECT_TO);
	cfg->trusted_proxies = field_cidrs(client_ip, ROW_TRUSTED);
	cfg->client_ip_header = field_lower(client_ip, ROW_CLIENT_IP_HEADER);
	cfg->protocols = load_protocols(map);
	load_proxy_protocol(load, map, cfg);
	load_limits(field(map, ROW_LIMITS), &cfg->limits);
	if (tls) {
		cfg->has_tls = true;
		load_tls(load, tls, &cfg->tls);
		cfg->tls.protocols = cfg->protocols;
	}
	check_redirect(load, map);
}

void
load_listeners(struct load *load)
{
	struct config *config = load->config;
	struct entries all = field_entries(load->root, ROW_LISTENERS);

	if (load->listeners == NULL)
		return;
	if (all.n == 0)
		report_add(load->report, DIAG_MISSING_KEY,
		    load->listeners->key_at,
		    "add one: http: {bind: \"0.0.0.0:80\"}",
		    "listeners is empty");
	config->listeners = mem_new(all.n, sizeof(*config->listeners));
	for (; config->n_listeners < all.n; config->n_listeners++)
		load_listener(load, all.at[config->n_listeners],
		    &config->listeners[config->n_listeners]);
}
