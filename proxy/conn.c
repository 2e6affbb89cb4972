/*
 * Connections: their life, their events, pausing, finishing, deadlines. How
 * bytes move is transport.c; what they mean is client.c and upstream.c.
 */
#include "proxy/conn.h"

#include <assert.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/h2/h2.h"
#include "proxy/h2/stream.h"
#include "proxy/proxied.h"
#include "proxy/request.h"
#include "proxy/transport.h"

enum {
	READS_PER_CALL = 4, /* R5: then others have their turn */
	WATCH_AFTER_MS =
	    50, /* an unregistered client's abort goes unseen for so long */
	LINGER_BYTES = 1 << 20, /* thrown away at most after the answer */
	EXACT_BELOW_MS =
	    250,      /* deadlines that WORKER_TICK_MS more would spoil */
	STALL_S = 10, /* for the last bytes of an answer to begin to move */
};

static void on_event(int fd, short what, void *arg);
static void set_timer(struct conn *conn, nsec_t after);

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
	conn->is_watched = reactor_add(
	    &conn->worker->reactor, &conn->watch, conn->fd, on_event, conn);
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

void
conn_end(struct conn *conn)
{
	struct worker *worker = conn->worker;

	if (conn->phase == CONN_ENDED)
		return;
	assert(!conn->is_stream);
	assert(!conn->is_client ||
	       !conn->request); /* whoever ends it has let go of its request */
	if (conn->h2)
		h2_free(conn); /* and all its streams */
	if (conn->tls) {
		transport_close_notify(conn);
		tls_stream_free(&conn->tls);
	}
	if (conn->is_client) {
		client_ended(conn);
		proxied_end(conn);
	} else {
		proxied_leave(conn);
	}
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
		slab_give(
		    conn->is_stream ? &worker->streams : &worker->conns, conn);
	}
}

static void
write_eof(struct conn *conn)
{
	if (conn->wrote_eof)
		return;
	if (conn->tls)
		transport_close_notify(conn);
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
	if (conn->is_stream) {
		stream_released(conn);
		return;
	}
	conn->request = NULL;
	conn->close_when_sent = true;
	if (conn->is_broken) {
		conn_end(conn);
		return;
	}
	if (conn->out) {
		/* flush() comes back to us; who does not read is not waited for
		 * for ever. */
		if (!conn->timer.is_armed)
			conn_deadline(conn, STALL_S * NSEC_PER_SEC);
		return;
	}
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

void
conn_on_broken(struct conn *conn)
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
	if (!transport_flush(conn)) {
		if (conn->is_broken)
			conn_on_broken(conn);
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
	return buf_append(
	    &conn->worker->bufs, &conn->in, bytes, len, BUF_LARGEST);
}

void
conn_on_input(struct conn *conn, char *bytes, size_t len)
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

void
conn_on_eof(struct conn *conn)
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

void
conn_on_reset(struct conn *conn)
{
	conn->is_broken = true;
	conn->has_more = false;
	conn_on_broken(conn);
}

static void
read_on(struct conn *conn)
{
	/* First what came before: a request's stash is consumed or pauses us
	 * again. */
	if (conn->is_client && conn->in && conn->request && !conn->is_paused) {
		client_input(conn, NULL, 0);
		if (conn->phase == CONN_ENDED)
			return;
	}
	for (int reads = 0; conn->has_more && !conn->is_paused && !conn->is_eof;
	     reads++) {
		if (reads == READS_PER_CALL) {
			conn_make_ready(conn);
			return;
		}
		if (!transport_read(conn))
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
	/* Between requests, within one or in a handshake it waits for bytes;
	 * else only for its upstream. */
	if (conn->phase != CONN_BUSY || !client_is_complete(conn)) {
		if (!conn_watch(conn))
			conn_on_reset(conn);
	} else {
		conn->awaits_watch = true;
		set_timer(conn, WATCH_AFTER_MS * NSEC_PER_MSEC); /* about */
	}
}

void
conn_read_rest(struct conn *conn)
{
	conn->is_paused = false;
	read_on(conn);
	if (conn->phase == CONN_ENDED || conn->is_eof || conn->is_ready ||
	    !conn->request)
		return;
	if (conn->is_paused && conn->request->state != REQUEST_TUNNEL) {
		/* The client takes no more for now; who resumes comes here. */
		conn->has_more = true;
		return;
	}
	/* Nothing there: the break is all there is. */
	conn->has_more = false;
	conn_on_broken(conn);
}

/* ---- the reactor's call ---- */

/*
 * A paused connection's event is either early data or a reset: only the latter
 * matters now. Bytes that came before it do not matter any more either, unless
 * they are an upstream's answer, which may be whole.
 */
static bool
was_reset(struct conn *conn)
{
	struct pollfd errors = {.fd = conn->fd};
	char byte;

	if (poll(&errors, 1, 0) <= 0 || !(errors.revents & POLLERR))
		return false;
	return conn->is_client ||
	       (conn->request && conn->request->state == REQUEST_TUNNEL) ||
	       recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
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
	if (!conn->has_more || conn->phase == CONN_CONNECTING)
		return;
	if (conn->is_eof) {
		/* Nothing is to be read any more; but half-closed may become
		 * gone. */
		conn->has_more = false;
		if (was_reset(conn))
			conn_on_reset(conn);
		return;
	}
	if (!conn->is_client && (what & REACTOR_READ) &&
	    upstream_spoke_first(conn))
		return;
	if (conn->is_paused) {
		if (was_reset(conn))
			conn_on_reset(conn);
		else if (conn->is_client && conn->saw_close)
			client_eof(conn);
		return;
	}
	if (conn->is_ready)
		return; /* in this turn: its stash comes before its end */
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
	struct conn *conn;
	size_t turns = 0;

	/* As many as stand there now: who comes back waits for the next turn.
	 * (Counted, for the last of them may end before it is reached.) */
	TAILQ_FOREACH (conn, &worker->ready, ready_link)
		turns++;
	while (turns-- > 0 && (conn = TAILQ_FIRST(&worker->ready))) {
		TAILQ_REMOVE(&worker->ready, conn, ready_link);
		conn->is_ready = false;
		worker->now = clock_now();
		if (conn->is_stream) {
			stream_run(conn);
			continue;
		}
		if (conn->is_broken) {
			conn_on_broken(conn);
			continue;
		}
		if (conn->is_paused)
			continue;
		if (conn->in && conn->is_client && !conn->request &&
		    conn->phase != CONN_LINGER &&
		    conn->phase != CONN_PREAMBLE) {
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
	/* A stream owes its peer the window of what it took while paused. */
	if (conn->has_more || conn->in || conn->is_stream)
		conn_make_ready(conn);
}

/* ---- deadlines ---- */

static void
set_timer(struct conn *conn, nsec_t after)
{
	struct worker *worker = conn->worker;

	wheel_arm(&worker->wheel, &conn->timer,
	    worker_ms(worker) + (wheel_ms_t)(after / NSEC_PER_MSEC));
}

void
conn_deadline(struct conn *conn, nsec_t after)
{
	struct worker *worker = conn->worker;

	if (after < EXACT_BELOW_MS * NSEC_PER_MSEC)
		worker_be_exact(worker, after);
	set_timer(conn, after);
}

void
conn_no_deadline(struct conn *conn)
{
	wheel_disarm(&conn->timer);
}

void
conn_timer_fired(void *ctx, struct timer *timer)
{
	struct conn *conn =
	    (struct conn *)(void *)((char *)timer -
	                            offsetof(struct conn, timer));

	(void)ctx;
	if (!conn->is_watched) {
		if (!conn_watch(conn))
			conn_on_reset(conn);
	} else if (conn->phase == CONN_LINGER)
		conn_end(conn);
	else if (conn->is_client)
		client_timeout(conn);
	else
		upstream_timeout(conn);
}
