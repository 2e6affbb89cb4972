/*
 * Connections: reading, sending, pausing, ending, in clear and over TLS.
 * What the bytes mean is decided in client.c and upstream.c.
 *
 * Reading: the bytes land in the worker's scratch and the role's `input`
 * consumes or stashes them all before the scratch is used again. Sending: at
 * once; only what the kernel does not take is kept.
 */
#include "proxy/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	READS_PER_CALL = 4,     /* R5: then others have their turn */
	OUT_MAX = 4 << 20,      /* unsent bytes of one connection: over it, it ends */
	WATCH_AFTER_MS = 50,    /* an unregistered client's abort goes unseen for so long */
	LINGER_BYTES = 1 << 20, /* thrown away at most after the answer */
};

static void on_event(int fd, short what, void *arg);

struct conn *
conn_new(struct worker *worker, int fd, bool is_client)
{
	struct conn *conn = slab_take(&worker->conns);

	if (!conn) {
		close(fd);
		return NULL;
	}
	memset(conn, 0, sizeof(*conn));
	conn->worker = worker;
	conn->fd = fd;
	conn->is_client = is_client;
	return conn;
}

bool
conn_watch(struct conn *conn)
{
	if (conn->is_watched)
		return true;
	if (conn->awaits_watch) {
		conn->awaits_watch = false;
		conn_no_deadline(conn);
	}
	conn->is_watched = reactor_add(&conn->worker->reactor, &conn->watch, conn->fd, on_event, conn);
	return conn->is_watched;
}

static void
drop_out(struct conn *conn)
{
	while (conn->out) {
		struct buf *buf = conn->out;

		conn->out = buf->next;
		buf_give(&conn->worker->bufs, &buf);
	}
	conn->out_last = NULL;
	conn->out_len = 0;
}

static void
say_close_notify(struct conn *conn)
{
	struct worker *worker = conn->worker;

	if (conn->is_broken || conn->out || conn->wrote_eof)
		return;
	worker->window.out = (uint8_t *)worker->tx;
	worker->window.out_len = 0;
	worker->window.out_cap = TX_SIZE;
	tls_close(conn->tls);
	if (worker->window.out_len > 0)
		(void)!send(conn->fd, worker->tx, worker->window.out_len, MSG_NOSIGNAL);
}

void
conn_end(struct conn *conn)
{
	struct worker *worker = conn->worker;

	if (conn->phase == CONN_ENDED)
		return;
	assert(!conn->is_client || !conn->request); /* whoever ends it has let go of its request */
	if (conn->tls) {
		say_close_notify(conn);
		tls_stream_free(&conn->tls);
	}
	if (conn->is_client)
		client_ended(conn);
	conn->phase = CONN_ENDED;
	conn->request = NULL;
	if (conn->is_watched)
		reactor_remove(&conn->watch);
	close(conn->fd);
	wheel_forget(&conn->timer);
	buf_give(&worker->bufs, &conn->in);
	drop_out(conn);
	if (conn->is_ready)
		TAILQ_REMOVE(&worker->ready, conn, ready_link);
	conn->is_ready = false;
	TAILQ_INSERT_TAIL(&worker->ended, conn, ready_link);
}

void
conn_reap(struct worker *worker)
{
	struct conn *conn;

	while ((conn = TAILQ_FIRST(&worker->ended))) {
		TAILQ_REMOVE(&worker->ended, conn, ready_link);
		slab_give(&worker->conns, conn);
	}
}

/* ---- sending ---- */

static bool
keep(struct conn *conn, const char *bytes, size_t len)
{
	struct worker *worker = conn->worker;

	if (conn->out_len + len > OUT_MAX || !conn_watch(conn))
		return false;
	while (len > 0) {
		struct buf *last = conn->out_last;
		size_t room = last ? last->cap - last->end : 0;
		size_t n = len < room ? len : room;

		if (n == 0) {
			size_t want = len < BUF_LARGEST ? len : BUF_LARGEST;
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

static bool
is_transient(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == EINTR ||
	    error == ENOBUFS || error == ENOMEM;
}

/* The descriptor's bytes: clear text or ciphertext. */
static bool
send_raw(struct conn *conn, struct iovec *iov, int n_iov)
{
	/* The kernel holds the last bytes back for the close that follows at once: one packet for data and FIN. */
	int flags = MSG_NOSIGNAL | (conn->is_final ? MSG_MORE : 0);
	ssize_t sent = 0;

	if (conn->is_broken)
		return false;
	if (!conn->out) {
		if (n_iov == 1) {
			sent = send(conn->fd, iov[0].iov_base, iov[0].iov_len, flags);
		} else {
			struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n_iov};

			sent = sendmsg(conn->fd, &msg, flags);
		}
		if (sent < 0) {
			if (!is_transient(errno)) {
				conn->is_broken = true;
				return false;
			}
			sent = 0;
		}
	}
	for (int i = 0; i < n_iov; i++) {
		size_t skip = (size_t)sent < iov[i].iov_len ? (size_t)sent : iov[i].iov_len;

		sent -= (ssize_t)skip;
		if (skip < iov[i].iov_len &&
		    !keep(conn, (char *)iov[i].iov_base + skip, iov[i].iov_len - skip)) {
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

static void
open_window(struct worker *worker)
{
	worker->window.out = (uint8_t *)worker->tx;
	worker->window.out_len = 0;
	worker->window.out_cap = TX_SIZE;
}

static bool
encrypt(struct conn *conn, const char *bytes, size_t len)
{
	while (len > 0) {
		size_t took = 0;
		enum tls_result result = tls_write(conn->tls, bytes, len, &took);

		bytes += took;
		len -= took;
		if (result == TLS_WANT_WRITE || (result == TLS_DONE && len > 0)) {
			if (!flush_window(conn))
				return false;
			continue;
		}
		if (result != TLS_DONE) {
			conn->is_broken = true;
			return false;
		}
	}
	return true;
}

bool
conn_send2(struct conn *conn, const char *a, size_t a_len, const char *b, size_t b_len)
{
	assert(conn->phase != CONN_ENDED);
	if (conn->is_broken)
		return false;
	if (conn->tls) {
		open_window(conn->worker);
		return encrypt(conn, a, a_len) && encrypt(conn, b, b_len) && flush_window(conn);
	}
	if (b_len == 0) {
		struct iovec one = {(char *)(uintptr_t)a, a_len};

		return send_raw(conn, &one, 1);
	}
	struct iovec two[2] = {{(char *)(uintptr_t)a, a_len}, {(char *)(uintptr_t)b, b_len}};

	return send_raw(conn, two, 2);
}

bool
conn_send(struct conn *conn, const char *bytes, size_t len)
{
	return conn_send2(conn, bytes, len, NULL, 0);
}

static void
write_eof(struct conn *conn)
{
	if (conn->wrote_eof)
		return;
	if (conn->tls)
		say_close_notify(conn);
	conn->wrote_eof = true;
	shutdown(conn->fd, SHUT_WR);
}

void
conn_send_eof(struct conn *conn)
{
	if (conn->out)
		conn->eof_when_sent = true;
	else
		write_eof(conn);
}

void
conn_finish(struct conn *conn)
{
	if (conn->phase == CONN_ENDED)
		return;
	conn->request = NULL;
	conn->close_when_sent = true;
	if (conn->is_broken) {
		conn_end(conn);
		return;
	}
	if (conn->out)
		return; /* flush() comes back to us; the stall deadline bounds it */
	if (conn->is_eof || (!conn->has_unread && !conn->in)) {
		conn_end(conn);
		return;
	}
	/*
	 * Closing with unread input would make the kernel send a reset, which
	 * can destroy the answer on its way: say that we are done and throw
	 * away what still comes (RFC 9112 section 9.6).
	 */
	write_eof(conn);
	if (!conn_watch(conn)) {
		conn_end(conn);
		return;
	}
	conn->phase = CONN_LINGER;
	buf_give(&conn->worker->bufs, &conn->in);
	conn->client.progress = 0;
	conn_deadline(conn, 2 * NSEC_PER_SEC);
	conn_resume(conn);
}

/* Sends what was kept; true when nothing is left. */
static bool
flush(struct conn *conn)
{
	bool moved = false;

	while (conn->out) {
		struct buf *buf = conn->out;
		ssize_t sent = send(conn->fd, buf->data + buf->start, buf_len(buf), MSG_NOSIGNAL);

		if (sent < 0) {
			if (is_transient(errno))
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

static void
on_broken(struct conn *conn)
{
	if (conn->is_client)
		client_broken(conn);
	else
		upstream_broken(conn);
}

static void
on_writable(struct conn *conn)
{
	if (conn->phase == CONN_CONNECTING) {
		upstream_connected(conn);
		return;
	}
	if (!conn->out)
		return;
	if (!flush(conn)) {
		if (conn->is_broken)
			on_broken(conn);
		return;
	}
	if (conn->eof_when_sent) {
		conn->eof_when_sent = false;
		write_eof(conn);
	}
	if (conn->close_when_sent)
		conn_finish(conn);
	else if (conn->is_client)
		client_drained(conn);
	else
		upstream_drained(conn);
}

/* ---- receiving ---- */

bool
conn_stash(struct conn *conn, const char *bytes, size_t len)
{
	return buf_append(&conn->worker->bufs, &conn->in, bytes, len, BUF_LARGEST);
}

static void
on_input(struct conn *conn, char *bytes, size_t len)
{
	if (conn->phase == CONN_LINGER) {
		conn->client.progress += (uint32_t)len;
		if (conn->client.progress > LINGER_BYTES)
			conn_end(conn);
	} else if (conn->is_client) {
		client_input(conn, bytes, len);
	} else {
		upstream_input(conn, bytes, len);
	}
}

static void
on_eof(struct conn *conn)
{
	conn->is_eof = true;
	conn->has_more = false;
	if (conn->phase == CONN_LINGER)
		conn_end(conn);
	else if (conn->is_client)
		client_eof(conn);
	else
		upstream_eof(conn);
}

static void
on_reset(struct conn *conn)
{
	conn->is_broken = true;
	conn->has_more = false;
	on_broken(conn);
}

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
		if (conn->is_client && sent && strcmp(tls_stream_failure(conn->tls), "plaintext") == 0)
			client_spoke_plainly(conn);
		if (conn->phase == CONN_ENDED || conn->phase == CONN_LINGER)
			return false;
		conn->is_broken = true;
		on_broken(conn);
		return false;
	}
	if (conn->is_client)
		client_secured(conn);
	else
		upstream_secured(conn);
	return conn->phase != CONN_ENDED && (worker->window.in_len > 0 || conn->is_client);
}

/* Turns the window's ciphertext into plaintext in the scratch; false when the stream is over. */
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
		on_input(conn, plain, len);
	if (conn->phase == CONN_ENDED)
		return false;
	if (result == TLS_CLOSED) {
		on_eof(conn);
		return false;
	}
	if (result == TLS_FAILED) {
		on_reset(conn);
		return false;
	}
	return true;
}

/* recv failed: nothing there, or the peer reset it. */
static bool
nothing_read(struct conn *conn)
{
	conn->has_more = false;
	if (!is_transient(errno) || !conn_watch(conn))
		on_reset(conn);
	return false;
}

/*
 * R2 knows of a FIN, not of a reset: libevent reports an error as plain
 * readiness, and its edge may be this one. Whoever still waits for the rest of
 * a message asks once more.
 */
static void
look_again(struct conn *conn)
{
	if (conn->phase == CONN_ENDED || conn->is_paused)
		return;
	if (conn->is_client ? (conn->request ? !client_is_complete(conn) : conn->in != NULL) : conn->request != NULL)
		conn->has_more = true;
}

static bool
read_tls(struct conn *conn)
{
	struct worker *worker = conn->worker;
	ssize_t n = recv(conn->fd, worker->cipher, RX_USUAL, 0);

	if (n == 0) {
		on_eof(conn); /* without close_notify: framing tells whether it matters */
		return false;
	}
	if (n < 0)
		return nothing_read(conn);
	if (n < RX_USUAL && !conn->saw_close)
		conn->has_more = false;
	worker->window.in = (const uint8_t *)worker->cipher;
	worker->window.in_len = (size_t)n;
	open_window(worker);
	if (conn->phase == CONN_HANDSHAKE && !handshake(conn))
		return conn->phase != CONN_ENDED && !conn->is_broken;
	if (conn->phase == CONN_ENDED || !decrypt(conn))
		return false;
	look_again(conn);
	return conn->phase != CONN_ENDED;
}

static bool
read_clear(struct conn *conn)
{
	struct worker *worker = conn->worker;
	char *bytes = worker->rx + RX_HEADROOM;
	/* What joins a stash must fit into it. */
	size_t want = conn->in ? RX_USUAL : RX_SIZE;
	ssize_t n = recv(conn->fd, bytes, want, 0);

	if (n == 0) {
		on_eof(conn);
		return false;
	}
	if (n < 0)
		return nothing_read(conn);
	if ((size_t)n < want && !conn->saw_close) /* R2 */
		conn->has_more = false;
	on_input(conn, bytes, (size_t)n);
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

static void
read_on(struct conn *conn)
{
	/* First what came before: a request's stash is consumed or pauses us again. */
	if (conn->is_client && conn->in && conn->request && !conn->is_paused) {
		client_input(conn, NULL, 0);
		if (conn->phase == CONN_ENDED)
			return;
	}
	for (int reads = 0; conn->has_more && !conn->is_paused && !conn->is_eof; reads++) {
		if (reads == READS_PER_CALL) {
			conn_make_ready(conn);
			return;
		}
		if (!(conn->tls ? read_tls(conn) : read_clear(conn)))
			return;
	}
}

void
conn_start(struct conn *conn)
{
	conn->has_more = true;
	read_on(conn);
	if (conn->phase == CONN_ENDED || conn->is_watched)
		return;
	/* Between requests, within one or in a handshake it waits for bytes; else only for its upstream. */
	if (conn->phase != CONN_BUSY || !client_is_complete(conn)) {
		if (!conn_watch(conn))
			on_reset(conn);
	} else {
		conn->awaits_watch = true;
		conn_deadline(conn, WATCH_AFTER_MS * NSEC_PER_MSEC);
	}
}

void
conn_read_rest(struct conn *conn)
{
	conn->is_paused = false;
	read_on(conn);
	if (conn->phase != CONN_ENDED && !conn->is_eof && !conn->is_ready && conn->request) {
		/* Nothing there: the break is all there is. */
		conn->has_more = false;
		on_broken(conn);
	}
}

/* ---- the reactor's call ---- */

/* A paused connection's event is either early data or a reset: only the latter matters now. */
static bool
was_reset(struct conn *conn)
{
	char byte;

	return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && !is_transient(errno);
}

static void
on_event(int fd, short what, void *arg)
{
	struct conn *conn = arg;

	(void)fd;
	conn->worker->now = clock_now();
	if (what & REACTOR_CLOSED)
		conn->saw_close = true; /* R3 */
	if (what & (REACTOR_READ | REACTOR_CLOSED))
		conn->has_more = true;
	if (what & REACTOR_WRITE) {
		on_writable(conn);
		if (conn->phase == CONN_ENDED)
			return;
	}
	if (!conn->has_more || conn->is_eof || conn->phase == CONN_CONNECTING)
		return;
	if (conn->is_paused) {
		if (was_reset(conn))
			on_reset(conn);
		else if (conn->is_client && conn->saw_close)
			client_eof(conn);
		return;
	}
	read_on(conn);
}

void
conn_make_ready(struct conn *conn)
{
	if (conn->is_ready || conn->phase == CONN_ENDED)
		return;
	conn->is_ready = true;
	TAILQ_INSERT_TAIL(&conn->worker->ready, conn, ready_link);
}

void
conn_run_ready(struct worker *worker)
{
	struct conn *last = TAILQ_LAST(&worker->ready, conn_queue);
	struct conn *conn;

	/* Only those that stand there now: who comes back waits for the next turn. */
	while (last && (conn = TAILQ_FIRST(&worker->ready))) {
		TAILQ_REMOVE(&worker->ready, conn, ready_link);
		conn->is_ready = false;
		if (conn == last)
			last = NULL;
		worker->now = clock_now();
		if (conn->is_broken) {
			on_broken(conn);
			continue;
		}
		if (conn->is_paused)
			continue;
		if (conn->in && conn->is_client && !conn->request && conn->phase != CONN_LINGER) {
			client_input(conn, NULL, 0);
			if (conn->phase == CONN_ENDED || conn->is_paused)
				continue;
		}
		read_on(conn);
	}
}

void
conn_pause(struct conn *conn)
{
	conn->is_paused = true;
}

void
conn_resume(struct conn *conn)
{
	conn->is_paused = false;
	if (conn->has_more || conn->in)
		conn_make_ready(conn);
}

/* ---- deadlines ---- */

void
conn_deadline(struct conn *conn, nsec_t after)
{
	struct worker *worker = conn->worker;

	wheel_arm(&worker->wheel, &conn->timer,
	    worker_ms(worker) + (wheel_ms_t)(after / NSEC_PER_MSEC));
}

void
conn_no_deadline(struct conn *conn)
{
	wheel_disarm(&conn->timer);
}

void
conn_timer_fired(void *ctx, struct timer *timer)
{
	struct conn *conn = (struct conn *)(void *)((char *)timer - offsetof(struct conn, timer));

	(void)ctx;
	if (!conn->is_watched) {
		if (!conn_watch(conn))
			on_reset(conn);
	} else if (conn->phase == CONN_LINGER)
		conn_end(conn);
	else if (conn->is_client)
		client_timeout(conn);
	else
		upstream_timeout(conn);
}

/* ---- peers ---- */

void
peer_from(struct peer *peer, const struct sockaddr *sa)
{
	*peer = (struct peer){.family = (uint8_t)sa->sa_family};
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

		peer->bytes[10] = peer->bytes[11] = 0xff;
		memcpy(peer->bytes + 12, &in->sin_addr, 4);
		peer->port = ntohs(in->sin_port);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

		memcpy(peer->bytes, &in6->sin6_addr, 16);
		peer->port = ntohs(in6->sin6_port);
		/* A dual-stack socket's v4 peer is a v4 peer. */
		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
			peer->family = AF_INET;
	}
}

void
peer_sockaddr(const struct peer *peer, struct sockaddr_storage *sa)
{
	memset(sa, 0, sizeof(*sa));
	sa->ss_family = peer->family;
	if (peer->family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)sa;

		memcpy(&in->sin_addr, peer->bytes + 12, 4);
		in->sin_port = htons(peer->port);
	} else if (peer->family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)sa;

		memcpy(&in6->sin6_addr, peer->bytes, 16);
		in6->sin6_port = htons(peer->port);
	}
}

size_t
peer_print(const struct peer *peer, char buf[INET6_ADDRSTRLEN])
{
	if (peer->family == AF_INET) {
		/* inet_ntop is a snprintf; this is on every request's way. */
		char *at = buf;

		for (int i = 12; i < 16; i++) {
			unsigned v = peer->bytes[i];

			if (v >= 100)
				*at++ = (char)('0' + v / 100);
			if (v >= 10)
				*at++ = (char)('0' + v / 10 % 10);
			*at++ = (char)('0' + v % 10);
			if (i < 15)
				*at++ = '.';
		}
		*at = '\0';
		return (size_t)(at - buf);
	}
	if (peer->family != AF_INET6) {
		memcpy(buf, "unix", 5);
		return 4;
	}
	inet_ntop(AF_INET6, peer->bytes, buf, INET6_ADDRSTRLEN);
	return strlen(buf);
}
