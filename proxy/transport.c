/* How bytes move, see transport.h. */
#include "proxy/transport.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "proxy/h2/h2.h"
#include "proxy/h2/stream.h"
#include "proxy/proxied.h"
#include "proxy/request.h"

enum {
	OUT_MAX =
	    4 << 20, /* unsent bytes of one connection: over it, it ends */
	CORK_SIZE = 4 * (16384 + 32), /* not so much that it leaves the cache */
	LONG_HEADROOM = 16,           /* for a frame's head */
	LONG_BODY = 4 * FRAME_PAYLOAD, /* with it a buffer of 64 KiB */
};

/* ---- sending ---- */

bool
conn_keep(struct conn *conn, const char *bytes, size_t len)
{
	struct worker *worker = conn->worker;

	if (conn->out_len + len > OUT_MAX || !conn_watch(conn))
		return false;
	while (len > 0) {
		struct buf *last = conn->out_last;
		size_t room = last ? last->cap - last->end : 0;
		size_t n = len < room ? len : room;

		if (n == 0) {
			/* What streams hold is counted in bytes: their
			 * buffers are not to be much larger than those. */
			size_t most =
			    conn->is_stream ? BUF_LARGEST / 16 : BUF_LARGEST;
			size_t want = len < most ? len : most;
			struct buf *buf = buf_take(&worker->bufs, want);

			if (!buf)
				return false;
			if (last)
				last->next = buf;
			else
				conn->out = buf;
			conn->out_last = buf;
			continue;
		}
		memcpy(last->data + last->end, bytes, n);
		last->end += (uint32_t)n;
		conn->out_len += (uint32_t)n;
		bytes += n;
		len -= n;
	}
	return true;
}

bool
transport_is_transient(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == EINTR ||
	       error == ENOBUFS || error == ENOMEM;
}

/* The descriptor's bytes: clear text or ciphertext. */
static bool
send_raw(struct conn *conn, struct iovec *iov, int n_iov)
{
	/* The kernel holds the last bytes back for the close that follows at
	 * once: one packet for data and FIN. */
	int flags = MSG_NOSIGNAL | (conn->is_final ? MSG_MORE : 0);
	ssize_t sent = 0;

	if (conn->is_broken)
		return false;
	if (!conn->out) {
		if (n_iov == 1) {
			sent = send(
			    conn->fd, iov[0].iov_base, iov[0].iov_len, flags);
		} else {
			struct msghdr msg = {
			    .msg_iov = iov, .msg_iovlen = (size_t)n_iov};

			sent = sendmsg(conn->fd, &msg, flags);
		}
		if (sent < 0) {
			if (!transport_is_transient(errno)) {
				conn->is_broken = true;
				return false;
			}
			sent = 0;
		}
	}
	for (int i = 0; i < n_iov; i++) {
		size_t skip = (size_t)sent < iov[i].iov_len ? (size_t)sent
		                                            : iov[i].iov_len;

		sent -= (ssize_t)skip;
		if (skip < iov[i].iov_len &&
		    !conn_keep(conn, (char *)iov[i].iov_base + skip,
		        iov[i].iov_len - skip)) {
			conn->is_broken = true;
			return false;
		}
	}
	return true;
}

static bool
flush_window(struct conn *conn)
{
	struct worker *worker = conn->worker;
	struct iovec iov = {worker->tx, worker->window.out_len};

	worker->window.out_len = 0;
	return iov.iov_len == 0 || send_raw(conn, &iov, 1);
}

/* Whoever is corked gives way: what it has said leaves now. */
static void
open_window(struct worker *worker)
{
	if (worker->corked)
		(void)!flush_window(worker->corked);
	worker->window.out = (uint8_t *)worker->tx;
	worker->window.out_len = 0;
	worker->window.out_cap = TX_SIZE;
}

static bool
encrypt(struct conn *conn, const char *bytes, size_t len)
{
	while (len > 0) {
		size_t took = 0;
		enum tls_result result =
		    tls_write(conn->tls, bytes, len, &took);

		bytes += took;
		len -= took;
		if (result == TLS_WANT_WRITE ||
		    (result == TLS_DONE && len > 0)) {
			if (!flush_window(conn))
				return false;
			continue;
		}
		if (result != TLS_DONE) {
			conn->is_broken = true;
			/* not for whoever is corked and goes on */
			conn->worker->window.out_len = 0;
			return false;
		}
	}
	return true;
}

bool
conn_send2(
    struct conn *conn, const char *a, size_t a_len, const char *b, size_t b_len)
{
	assert(conn->phase != CONN_ENDED);
	if (conn->is_broken)
		return false;
	if (conn->tls) {
		bool is_corked = conn->worker->corked == conn;

		if (!is_corked)
			open_window(conn->worker);
		return encrypt(conn, a, a_len) && encrypt(conn, b, b_len) &&
		       (is_corked || flush_window(conn));
	}
	if (b_len == 0) {
		struct iovec one = {(char *)(uintptr_t)a, a_len};

		return send_raw(conn, &one, 1);
	}
	struct iovec two[2] = {
	    {(char *)(uintptr_t)a, a_len}, {(char *)(uintptr_t)b, b_len}};

	return send_raw(conn, two, 2);
}

void
conn_cork(struct conn *conn)
{
	if (!conn->tls)
		return;
	assert(!conn->worker->corked);
	open_window(conn->worker);
	conn->worker->window.out_cap = CORK_SIZE;
	conn->worker->corked = conn;
}

bool
conn_uncork(struct conn *conn)
{
	if (conn->worker->corked != conn)
		return !conn->is_broken;
	conn->worker->corked = NULL;
	return flush_window(conn);
}

bool
conn_send(struct conn *conn, const char *bytes, size_t len)
{
	return conn_send2(conn, bytes, len, NULL, 0);
}

/* Sends what was kept; true when nothing is left. */
bool
transport_flush(struct conn *conn)
{
	bool moved = false;

	while (conn->out) {
		struct buf *buf = conn->out;
		ssize_t sent = send(conn->fd, buf->data + buf->start,
		    buf_len(buf), MSG_NOSIGNAL);

		if (sent < 0) {
			if (transport_is_transient(errno))
				break;
			conn->is_broken = true;
			return false;
		}
		moved = true;
		buf->start += (uint32_t)sent;
		conn->out_len -= (uint32_t)sent;
		if (buf_len(buf) > 0)
			break;
		conn->out = buf->next;
		if (!conn->out)
			conn->out_last = NULL;
		buf_give(&conn->worker->bufs, &buf);
	}
	if (moved && conn->is_client && conn->out)
		client_flushed(conn);
	return conn->out == NULL;
}

/* ---- receiving ---- */

/* The handshake's bytes; true when it is done and plaintext may follow. */
static bool
handshake(struct conn *conn)
{
	struct worker *worker = conn->worker;
	enum tls_result result = tls_handshake(conn->tls);
	bool sent = flush_window(conn);

	if (result == TLS_WANT_WRITE && sent)
		return handshake(conn);
	if (result == TLS_WANT_READ && sent)
		return false;
	if (result != TLS_DONE || !sent) {
		if (conn->is_client && sent &&
		    strcmp(tls_stream_failure(conn->tls), "plaintext") == 0)
			client_spoke_plainly(conn);
		if (conn->phase == CONN_ENDED || conn->phase == CONN_LINGER)
			return false;
		conn->is_broken = true;
		conn_on_broken(conn);
		return false;
	}
	if (conn->is_client)
		client_secured(conn);
	else
		upstream_secured(conn);
	return conn->phase != CONN_ENDED &&
	       (worker->window.in_len > 0 || conn->is_client);
}

/* Turns the window's ciphertext into plaintext in the scratch; false when the
 * stream is over. */
static bool
decrypt(struct conn *conn)
{
	struct worker *worker = conn->worker;
	char *plain = worker->rx + RX_HEADROOM;
	size_t len = 0;
	enum tls_result result;

	do {
		size_t n = 0;

		result = tls_read(conn->tls, plain + len, RX_SIZE - len, &n);
		len += n;
	} while (result == TLS_DONE && len < RX_SIZE);
	/* A key update or an alert may want to leave. */
	if (worker->window.out_len > 0 && !flush_window(conn))
		result = TLS_FAILED;
	if (len > 0)
		conn_on_input(conn, plain, len);
	if (conn->phase == CONN_ENDED)
		return false;
	if (result == TLS_CLOSED) {
		conn_on_eof(conn);
		return false;
	}
	if (result == TLS_FAILED) {
		conn_on_reset(conn);
		return false;
	}
	return true;
}

/* recv failed: nothing there, or the peer reset it. */
static bool
nothing_read(struct conn *conn)
{
	conn->has_more = false;
	if (!transport_is_transient(errno) || !conn_watch(conn))
		conn_on_reset(conn);
	return false;
}

/*
 * R2 knows of a FIN, not of a reset: libevent reports an error as plain
 * readiness, and its edge may be this one. Whoever still waits for the rest of
 * a message asks once more; who is paused, when it is resumed.
 */
static void
look_again(struct conn *conn)
{
	if (conn->phase == CONN_ENDED)
		return;
	if (conn->h2) {
		if (conn->h2->n_streams > 0)
			conn->has_more = true;
		return;
	}
	if (conn->is_client
	        ? (conn->request ? !client_is_complete(conn) : conn->in != NULL)
	        : conn->request != NULL)
		conn->has_more = true;
}

/* The window's ciphertext goes through the handshake, then the stream. */
static bool
take_cipher(struct conn *conn, size_t len)
{
	struct worker *worker = conn->worker;

	worker->window.in = (const uint8_t *)worker->cipher;
	worker->window.in_len = len;
	open_window(worker);
	if (conn->phase == CONN_HANDSHAKE && !handshake(conn))
		return conn->phase != CONN_ENDED && !conn->is_broken;
	if (conn->phase == CONN_ENDED || !decrypt(conn))
		return false;
	look_again(conn);
	return conn->phase != CONN_ENDED;
}

/* Of an upstream: not more than the client may be given. */
static size_t
room_for(const struct conn *conn, size_t usual)
{
	size_t room;

	if (conn->is_client || !conn->request ||
	    !conn->request->client->is_stream)
		return usual;
	room = stream_room(conn->request->client);
	return room < usual ? room : usual;
}

static bool
read_tls(struct conn *conn)
{
	struct worker *worker = conn->worker;
	size_t want = room_for(conn, RX_USUAL);
	ssize_t n;

	if (want == 0) {
		request_hold(conn->request);
		return false;
	}
	n = recv(conn->fd, worker->cipher, want, 0);

	if (n == 0) {
		conn_on_eof(conn); /* without close_notify: framing tells
		                      whether it matters */
		return false;
	}
	if (n < 0)
		return nothing_read(conn);
	if ((size_t)n < want && !conn->saw_close)
		conn->has_more = false;
	return take_cipher(conn, (size_t)n);
}

/*
 * A long body on its way to a stream has to wait there for its frames: read
 * where it will wait, with room for the first frame's head before it.
 */
static bool
read_long_body(struct conn *conn, struct buf *buf)
{
	struct worker *worker = conn->worker;
	ssize_t n = recv(conn->fd, buf->data + LONG_HEADROOM, LONG_BODY, 0);

	if (n <= 0) {
		buf_give(&worker->bufs, &buf);
		if (n < 0)
			return nothing_read(conn);
		conn_on_eof(conn);
		return false;
	}
	if (n < LONG_BODY && !conn->saw_close)
		conn->has_more = false;
	if (n < LONG_BODY / 4) { /* not worth a whole buffer */
		memcpy(worker->rx + RX_HEADROOM, buf->data + LONG_HEADROOM,
		    (size_t)n);
		buf_give(&worker->bufs, &buf);
		conn_on_input(conn, worker->rx + RX_HEADROOM, (size_t)n);
	} else {
		buf->start = LONG_HEADROOM;
		buf->end = LONG_HEADROOM + (uint32_t)n;
		request_response_long(conn->request, buf);
	}
	look_again(conn);
	return conn->phase != CONN_ENDED;
}

static bool
read_clear(struct conn *conn)
{
	struct worker *worker = conn->worker;
	char *bytes = worker->rx + RX_HEADROOM;
	/* What joins a stash must fit into it. */
	size_t want = room_for(conn, conn->in ? RX_USUAL : RX_SIZE);
	ssize_t n;

	if (want == 0) {
		request_hold(conn->request);
		return false;
	}
	if (!conn->is_client && conn->request && !conn->in &&
	    want >= LONG_BODY &&
	    request_awaits_long(conn->request, LONG_BODY)) {
		struct buf *buf =
		    buf_take(&worker->bufs, LONG_HEADROOM + LONG_BODY);

		if (buf)
			return read_long_body(conn, buf);
	}
	n = recv(conn->fd, bytes, want, 0);
	if (n == 0) {
		conn_on_eof(conn);
		return false;
	}
	if (n < 0)
		return nothing_read(conn);
	if ((size_t)n < want && !conn->saw_close) /* R2 */
		conn->has_more = false;
	conn_on_input(conn, bytes, (size_t)n);
	look_again(conn);
	return conn->phase != CONN_ENDED;
}

/*
 * A PROXY header, in clear even where TLS follows. What stands behind it is
 * the connection's own first bytes.
 */
static bool
read_preamble(struct conn *conn)
{
	struct worker *worker = conn->worker;
	char *bytes = worker->rx + RX_HEADROOM;
	size_t had = conn->in ? buf_len(conn->in) : 0, used, rest;
	ssize_t n = recv(conn->fd, bytes + had, RX_USUAL - had, 0);

	if (n == 0) {
		conn_on_eof(conn);
		return false;
	}
	if (n < 0)
		return nothing_read(conn);
	if ((size_t)n < RX_USUAL - had && !conn->saw_close) /* R2 */
		conn->has_more = false;
	if (had > 0)
		memcpy(bytes, conn->in->data + conn->in->start, had);
	buf_give(&worker->bufs, &conn->in);
	used = proxied_input(conn, bytes, had + (size_t)n);
	rest = had + (size_t)n - used;
	if (conn->phase != CONN_ENDED && used > 0 && rest > 0) {
		if (conn->tls) {
			memcpy(worker->cipher, bytes + used, rest);
			return take_cipher(conn, rest);
		}
		conn_on_input(conn, bytes + used, rest);
	}
	look_again(conn);
	return conn->phase != CONN_ENDED;
}

void
conn_begin_handshake(struct conn *conn)
{
	conn->worker->window.in = NULL;
	conn->worker->window.in_len = 0;
	open_window(conn->worker);
	handshake(conn);
}

bool
transport_read(struct conn *conn)
{
	if (conn->phase == CONN_PREAMBLE)
		return read_preamble(conn);
	return conn->tls ? read_tls(conn) : read_clear(conn);
}

void
transport_close_notify(struct conn *conn)
{
	struct worker *worker = conn->worker;

	if (conn->is_broken || conn->out || conn->wrote_eof)
		return;
	open_window(worker);
	tls_close(conn->tls);
	if (worker->window.out_len > 0)
		(void)!send(
		    conn->fd, worker->tx, worker->window.out_len, MSG_NOSIGNAL);
}
