/* The PROXY protocol on connections, both ways; see proxied.h. */
#include "proxy/proxied.h"

#include <assert.h>
#include <stdlib.h>

#include "admin/log.h"
#include "proxy/h2/h2.h"
#include "proxy/identity.h"
#include "proxy/proxy_header.h"
#include "proxy/request.h"

/* ---- in ---- */

static void
refuse(struct conn *conn, enum conn_refusal why, const char *detail)
{
	struct worker *worker = conn->worker;
	struct listener_cell *cell = snapshot_listener_cell(
	    worker->snapshot, conn->client.listener, worker->id);
	char address[INET6_ADDRSTRLEN];

	if (cell)
		counter_add(&cell->refused[why], 1);
	peer_print(&conn->client.peer, address);
	if (worker->now - worker->warned_at >= NSEC_PER_SEC) {
		worker->warned_at = worker->now;
		log_event(LOG_WARN, "a connection was refused",
		    "network.peer.address", address, "reason",
		    conn_refusal_name(why), "detail", detail, NULL);
	}
	conn_end(conn);
}

bool
proxied_accept(struct conn *conn)
{
	const struct peer *peer = &conn->client.peer;

	/* A unix socket's permissions have said who may. */
	if (peer->family == AF_UNIX ||
	    identity_is_trusted(snapshot_listener(conn->worker->snapshot,
	                            conn->client.listener),
	        peer)) {
		conn->phase = CONN_PREAMBLE;
		return true;
	}
	refuse(conn, REFUSED_PROXY_SENDER,
	    "this peer is not among client_ip.trusted_proxies");
	return false;
}

static struct proxied *
proxied_of(struct conn *client)
{
	struct proxied *proxied = client->client.proxied;

	if (proxied)
		return proxied;
	proxied = calloc(1, sizeof(*proxied));
	if (!proxied)
		return NULL;
	LIST_INIT(&proxied->own);
	client->client.proxied = proxied;
	return proxied;
}

static bool
take(struct conn *conn, const struct proxy_header *header)
{
	struct proxied *proxied;

	if (!header->has_addresses)
		return true; /* it stays the balancer's own connection */
	proxied = proxied_of(conn);
	if (!proxied)
		return false;
	proxied->is_received = true;
	proxied->sender = conn->client.peer;
	proxied->destination = header->destination;
	conn->client.peer = header->source;
	return true;
}

size_t
proxied_input(struct conn *conn, const char *bytes, size_t len)
{
	const struct listener_cfg *cfg =
	    snapshot_listener(conn->worker->snapshot, conn->client.listener);
	struct proxy_header header;

	if (!cfg || !cfg->proxy_protocol) { /* changed by a reload meanwhile */
		conn_end(conn);
		return 0;
	}
	switch (proxy_header_parse(bytes, len, cfg->proxy_protocol, &header)) {
	case PROXY_HEADER_MORE:
		if (!conn_stash(conn, bytes, len))
			conn_end(conn);
		return 0;
	case PROXY_HEADER_BAD:
		refuse(conn, REFUSED_PROXY_HEADER, header.fault);
		return 0;
	case PROXY_HEADER_DONE:
		break;
	}
	if (!take(conn, &header)) {
		conn_end(conn);
		return 0;
	}
	return client_admit(conn) ? header.len : 0;
}

void
proxied_cut(struct conn *conn)
{
	/* A balancer that only looks whether we accept says nothing at all. */
	if (conn->in)
		refuse(
		    conn, REFUSED_PROXY_HEADER, "the connection ended in it");
	else
		conn_end(conn);
}

const struct peer *
proxied_sender(const struct conn *client)
{
	const struct proxied *proxied = client->client.proxied;

	return proxied && proxied->is_received ? &proxied->sender
	                                       : &client->client.peer;
}

/* ---- out ---- */

/* Of a stream: the connection that it came over. */
static struct conn *
owner_of(const struct request *request)
{
	struct conn *client = request->client;

	if (!client->is_stream)
		return client;
	return stream_of(client)->h2 ? stream_of(client)->h2->conn : NULL;
}

bool
proxied_own(struct conn *upstream, struct request *request)
{
	struct conn *owner = owner_of(request);
	struct proxied *proxied = owner ? proxied_of(owner) : NULL;

	if (!proxied)
		return false;
	upstream->upstream.send_proxy =
	    (uint8_t)request->decision.pool->cfg->send_proxy;
	upstream->upstream.owner = owner;
	LIST_INSERT_HEAD(&proxied->own, upstream, upstream.of_owner);
	return true;
}

/* Where the client's connection goes to, as it was told or as it is. */
static void
find_destination(struct conn *owner, struct peer *out)
{
	const struct proxied *proxied = owner->client.proxied;
	struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(sa);

	if (proxied->is_received) {
		*out = proxied->destination;
		return;
	}
	getsockname(owner->fd, (struct sockaddr *)&sa, &len);
	peer_from(out, (struct sockaddr *)&sa);
}

bool
proxied_announce(struct conn *upstream)
{
	struct conn *owner = upstream->upstream.owner;
	char header[PROXY_HEADER_OWN];
	struct peer destination;
	size_t len;

	assert(!upstream->tls && upstream->upstream.send_proxy);
	if (!owner) /* it is gone: so will this connection be, unused */
		return false;
	find_destination(owner, &destination);
	len = proxy_header_write(upstream->upstream.send_proxy,
	    &owner->client.peer, &destination, false, header);
	return conn_send(upstream, header, len);
}

struct conn *
proxied_next(const struct request *request, struct conn *after)
{
	const struct conn *owner = owner_of(request);
	struct conn *each;

	if (!owner || !owner->client.proxied)
		return NULL;
	each = after ? LIST_NEXT(after, upstream.of_owner)
	             : LIST_FIRST(&owner->client.proxied->own);
	/* The pool may have learnt another version by a reload. */
	while (each && (each->upstream.endpoint != request->endpoint ||
	                   each->upstream.send_proxy !=
	                       request->decision.pool->cfg->send_proxy))
		each = LIST_NEXT(each, upstream.of_owner);
	return each;
}

void
proxied_leave(struct conn *upstream)
{
	if (!upstream->upstream.owner)
		return;
	LIST_REMOVE(upstream, upstream.of_owner);
	upstream->upstream.owner = NULL;
}

void
proxied_end(struct conn *client)
{
	struct proxied *proxied = client->client.proxied;
	struct conn *upstream;

	if (!proxied)
		return;
	while ((upstream = LIST_FIRST(&proxied->own))) {
		proxied_leave(upstream);
		upstream->is_last = true; /* never kept again */
		if (upstream->h2) {
			h2_client_disown(upstream->h2);
		} else if (upstream->phase == CONN_IDLE) {
			idle_remove(upstream);
			conn_end(upstream);
		}
	}
	free(proxied);
	client->client.proxied = NULL;
}
