/*
 * Who may come in. A browser is the confused deputy here: it reaches loopback
 * for any page. So the Host must be a name of this listener (a rebound DNS
 * name is not), other sites are refused by Origin and Sec-Fetch-Site, and
 * nothing is ever granted by a cookie.
 */
#include "admin/guard.h"

#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/dispatch.h"
#include "tls/tls.h"

enum { HOST_MAX = 300 };

/* ---- the peer ---- */

static bool
peer_credentials(const struct call *call, struct ucred *out)
{
	struct evhttp_connection *connection =
	    evhttp_request_get_connection(call->http);
	evutil_socket_t fd =
	    bufferevent_getfd(evhttp_connection_get_bufferevent(connection));
	socklen_t len = sizeof(*out);

	return fd >= 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_PEERCRED, out, &len) == 0;
}

void
guard_peer(struct call *call)
{
	struct ucred peer;
	char *address = NULL;
	uint16_t port = 0;

	if (call->door->unix_path && peer_credentials(call, &peer)) {
		snprintf(call->address, sizeof(call->address),
		    "unix:uid=%u,pid=%d", (unsigned)peer.uid, (int)peer.pid);
		snprintf(call->peer_key, sizeof(call->peer_key), "uid=%u",
		    (unsigned)peer.uid);
		return;
	}
	evhttp_connection_get_peer(
	    evhttp_request_get_connection(call->http), &address, &port);
	snprintf(call->address, sizeof(call->address),
	    address && strchr(address, ':') ? "[%s]:%u" : "%s:%u",
	    address ? address : "?", (unsigned)port);
	snprintf(call->peer_key, sizeof(call->peer_key), "%s",
	    address ? address : "?");
}

/* NULL on a connection in the clear. */
static const struct ssl_st *
peer_ssl(const struct call *call)
{
	return bufferevent_openssl_get_ssl(evhttp_connection_get_bufferevent(
	    evhttp_request_get_connection(call->http)));
}

/* One that was opened before a reload brought TLS is still in the clear. */
bool
guard_secrecy(struct call *call)
{
	if (!call->door->is_tls || peer_ssl(call))
		return true;
	evhttp_add_header(evhttp_request_get_output_headers(call->http),
	    "Connection", "close");
	call_problem(call,
	    &(struct problem){
	        403, "clear", "connect again with https", NULL, NULL},
	    "this address speaks TLS since the last reload");
	return false;
}

/* ---- Host ---- */

/* Which of two would have been meant, and by whom, is a question that an
 * intermediary may answer otherwise. */
static bool
has_one_host(const struct call *call)
{
	const struct evkeyval *field;
	int n = 0;

	TAILQ_FOREACH (
	    field, evhttp_request_get_input_headers(call->http), next)
		n += strcasecmp(field->key, "Host") == 0;
	return n <= 1;
}

static bool
host_is(const char *host, const char *name, uint16_t port)
{
	size_t len = strlen(name);
	char wanted[8];

	if (strncasecmp(host, name, len) != 0)
		return false;
	if (host[len] == '\0')
		return port == 80;
	snprintf(wanted, sizeof(wanted), ":%u", (unsigned)port);
	return strcmp(host + len, wanted) == 0;
}

/*
 * Whom the request is for: a target in the absolute form says so, and Host then
 * counts for nothing (RFC 9112, 3.2.2). One that names a user is for nobody.
 */
static const char *
host_of(const struct call *call, char buf[HOST_MAX])
{
	const struct evhttp_uri *uri =
	    evhttp_request_get_evhttp_uri(call->http);
	const char *host = uri ? evhttp_uri_get_host(uri) : NULL;
	int port = uri ? evhttp_uri_get_port(uri) : -1;

	if (!host)
		return call_header(call, "Host");
	if (evhttp_uri_get_userinfo(uri) || strlen(host) > HOST_MAX - 16)
		return "";
	if (port < 0)
		snprintf(buf, HOST_MAX, "%s", host);
	else
		snprintf(buf, HOST_MAX, "%s:%d", host, port);
	return buf;
}

bool
guard_host(struct call *call)
{
	const struct door *door = call->door;
	char buf[HOST_MAX];
	const char *host = host_of(call, buf);

	if (!has_one_host(call)) {
		call_problem(call,
		    &(struct problem){400, "two-hosts", NULL, "Host", NULL},
		    "the request has more than one Host field");
		return false;
	}
	/*
	 * A unix socket cannot be reached from a page, scrapers use any name,
	 * and over TLS the browser has held the name against the certificate.
	 */
	if (door->unix_path || door->is_tls ||
	    (door->is_metrics && !door->is_loopback))
		return true;
	if (host && (host_is(host, "localhost", door->port) ||
	                host_is(host, "127.0.0.1", door->port) ||
	                host_is(host, "[::1]", door->port) ||
	                host_is(host, door->host, door->port)))
		return true;
	call_problem(call,
	    &(struct problem){421, "unknown-host",
	        "use the address of the listener, or localhost with its port",
	        "Host", NULL},
	    "this listener does not answer for the host \"%.100s\"",
	    host ? host : "");
	return false;
}

/* ---- who ---- */

static struct span
bearer(const struct call *call)
{
	const char *value = call_header(call, "Authorization");

	if (!value || strncasecmp(value, "Bearer ", 7) != 0)
		return (struct span){0};
	value += 7;
	value += strspn(value, " ");
	return span_of(value);
}

static void
refuse_identity(struct call *call, enum auth_result result)
{
	struct evkeyvalq *headers =
	    evhttp_request_get_output_headers(call->http);

	if (result == AUTH_LIMITED) {
		call->admin->counts.limited++;
		evhttp_add_header(headers, "Retry-After", "1");
		call_problem(call,
		    &(struct problem){
		        429, "too-many-attempts", NULL, NULL, NULL},
		    "too many wrong tokens from this address");
		return;
	}
	evhttp_add_header(headers, "WWW-Authenticate", "Bearer realm=\"weir\"");
	if (call->door->is_tls && result == AUTH_MISSING &&
	    call->actor.name[0]) {
		call_problem(call,
		    &(struct problem){401, "unauthorized",
		        "admin.access has no rule for this certificate; add "
		        "{who: \"cert:CN=NAME\", role: operator}",
		        NULL, NULL},
		    "%s is not known here", call->actor.name);
		return;
	}
	if (call->door->unix_path)
		call_problem(call,
		    &(struct problem){401, "unauthorized",
		        "admin.access has no rule for this user; add {who: "
		        "\"uid:N\", role: operator} or send a token",
		        NULL, NULL},
		    "%s is not known here",
		    call->actor.name[0] ? call->actor.name : "this token");
	else
		call_problem(call,
		    &(struct problem){401, "unauthorized",
		        "send Authorization: Bearer TOKEN (weirctl: "
		        "WEIR_TOKEN_FILE); tokens are rules of admin.access",
		        "Authorization", NULL},
		    result == AUTH_WRONG ? "this token is not known"
		                         : "a token is needed over TCP");
}

bool
guard_identity(struct call *call)
{
	struct credentials credentials = {
	    .is_unix = call->door->unix_path != NULL,
	    .address = call->peer_key,
	    .token = bearer(call),
	};
	const struct ssl_st *ssl = peer_ssl(call);
	enum auth_result result;
	struct ucred peer = {.uid = (uid_t)-1};
	struct tls_peer subject;

	if (credentials.is_unix && !peer_credentials(call, &peer))
		credentials.is_unix = false;
	credentials.uid = peer.uid;
	if (ssl && tls_gate_peer(ssl, &subject))
		credentials.subject = &subject;
	result = auth_identify(
	    call->admin->auth, &credentials, now_mono(), &call->actor);
	if (result == AUTH_KNOWN)
		return true;
	/* each refused mutation is a line of the audit log: those are limited
	 * too */
	if (result == AUTH_MISSING && call->is_mutating &&
	    !auth_charge(call->admin->auth, call->peer_key, now_mono()))
		result = AUTH_LIMITED;
	refuse_identity(call, result);
	return false;
}

/* ---- other sites ---- */

static bool
is_same_origin(const struct call *call, const char *origin)
{
	char buf[HOST_MAX];
	const char *host = host_of(call, buf);
	const char *rest = strncmp(origin, "http://", 7) == 0    ? origin + 7
	                   : strncmp(origin, "https://", 8) == 0 ? origin + 8
	                                                         : NULL;

	return rest && host && strcasecmp(rest, host) == 0;
}

bool
guard_origin(struct call *call)
{
	const char *origin = call_header(call, "Origin");
	const char *site = call_header(call, "Sec-Fetch-Site");

	if ((!origin || is_same_origin(call, origin)) &&
	    (!site || strcmp(site, "same-origin") == 0 ||
	        strcmp(site, "none") == 0))
		return true;
	call_problem(call,
	    &(struct problem){403, "cross-site",
	        "the admin API does not answer pages of other sites",
	        origin ? "Origin" : "Sec-Fetch-Site", NULL},
	    "this request comes from another site");
	return false;
}

/* ---- roles ---- */

/* Does a route lead to the pool without a split? */
static bool
is_routed_to(const struct config *config, const char *pool)
{
	for (size_t i = 0; i < config->n_routes; i++)
		if (config->routes[i].action == ROUTE_POOL &&
		    strcmp(config->pools[config->routes[i].target].name,
		        pool) == 0)
			return true;
	return false;
}

/*
 * A scoped grant may touch a pool when it may touch all splits that have it:
 * a drained endpoint is missed by every one of them.
 */
static bool
may_pool(const struct call *call, const char *pool)
{
	struct registry *registry = call->admin->registry;
	bool is_in_any = false;

	if (actor_may(&call->actor, call->row->role, NULL))
		return true;
	for (size_t i = 0; i < registry_n_splits(registry); i++) {
		const struct split *split = registry_split_at(registry, i);

		if (split_slot(split, pool) < 0)
			continue;
		if (!actor_may(&call->actor, call->row->role, split->name))
			return false;
		is_in_any = true;
	}
	return is_in_any && !is_routed_to(admin_config(call->admin), pool);
}

/* Of the split that the body or the rollout will name: at least of one. */
static bool
may_any(const struct call *call)
{
	struct registry *registry = call->admin->registry;

	for (size_t i = 0; i < registry_n_splits(registry); i++)
		if (actor_may(&call->actor, call->row->role,
		        registry_split_at(registry, i)->name))
			return true;
	return actor_may(&call->actor, call->row->role, NULL);
}

bool
guard_role(struct call *call)
{
	const struct api_row *row = call->row;
	bool may;

	if (row->scope == SCOPE_POOL)
		may = may_pool(call, call->args[0]);
	else if (row->scope == SCOPE_BODY)
		may = may_any(call); /* and the function asks again: call_may */
	else
		may = actor_may(&call->actor, row->role,
		    row->scope == SCOPE_SPLIT ? call->args[0] : NULL);
	if (may)
		return true;
	call_forbid(call, row->role, call->args[0]);
	return false;
}
