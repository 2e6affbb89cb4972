/*
 * Tunnels: after a 101 bytes flow both ways until both sides have said their
 * end, one may end before the other (half-close), or nothing moves for too
 * long. Back-pressure is the same as for bodies: a side that does not take
 * its bytes pauses the other.
 */
#include "proxy/message.h"

enum { TUNNEL_IDLE_S = 3600 };

static struct conn *
other(const struct request *request, const struct conn *from)
{
	return from == request->client ? request->upstream : request->client;
}

void
tunnel_begin(struct request *request)
{
	struct conn *client = request->client;
	struct listener_cell *cell = snapshot_listener_cell(
	    request->snapshot, request->listener, request->worker->id);
	int on = 1;

	request->state = REQUEST_TUNNEL; /* request_done counts its end */
	request->keep_alive = false;
	if (cell)
		gauge_add(&cell->tunnels, 1);
	conn_deadline(request->upstream, TUNNEL_IDLE_S * NSEC_PER_SEC);
	conn_no_deadline(client);
	if (!conn_watch(client)) {
		request_abandon(request, FAIL_OVERLOAD);
		return;
	}
	/* Nothing else would notice a peer that vanished from a silent tunnel.
	 */
	setsockopt(client->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(
	    request->upstream->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (client->is_paused || client->in || client->is_stream)
		conn_resume(
		    client); /* what came behind the request was stashed */
}

void
tunnel_end(struct request *request, enum fail fail)
{
	struct conn *client = request->client;

	if (fail != FAIL_NONE)
		request->fail = (uint8_t)fail;
	upstream_put(request, false);
	if (fail != FAIL_NONE && !client->out)
		client->is_broken = true;
	request_done(request);
}

void
tunnel_input(
    struct request *request, struct conn *from, const char *bytes, size_t len)
{
	struct conn *to = other(request, from);

	if (from == request->client)
		request->request_body.bytes += len;
	else
		request->response_body.bytes += len;
	if (to->wrote_eof || to->eof_when_sent)
		return;
	if (!message_send_bytes(to, bytes, len)) {
		tunnel_end(request, to == request->client
		                        ? FAIL_CLIENT_GONE
		                        : FAIL_UPSTREAM_RESET);
		return;
	}
	if (!message_has_room(to))
		conn_pause(from);
	conn_deadline(request->upstream, TUNNEL_IDLE_S * NSEC_PER_SEC);
}

void
tunnel_eof(struct request *request, struct conn *from)
{
	struct conn *to = other(request, from);

	if (from->is_broken) {
		tunnel_end(request, from == request->client
		                        ? FAIL_CLIENT_GONE
		                        : FAIL_UPSTREAM_RESET);
		return;
	}
	message_send_eof(to);
	if (request->client->is_eof && request->upstream->is_eof &&
	    !request->client->out && !request->upstream->out)
		tunnel_end(request, FAIL_NONE);
}

void
tunnel_drained(struct request *request, struct conn *to)
{
	struct conn *from = other(request, to);

	if (request->client->is_eof && request->upstream->is_eof &&
	    !from->out) {
		tunnel_end(request, FAIL_NONE);
		return;
	}
	if (from->is_paused)
		conn_resume(from);
}

void
tunnel_timeout(struct request *request)
{
	tunnel_end(request, FAIL_TUNNEL_IDLE);
}
