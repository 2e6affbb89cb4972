/*
 * A connection: a descriptor, perhaps TLS, what could not be parsed yet and
 * what could not be sent yet. Clients and upstreams are the same thing in two
 * roles. It lives with its descriptor; the struct stays valid until the turn
 * in which it ended is over, so a goodbye is safe inside its own callbacks.
 *
 * To a request a connection is one of its two sides. A stream of HTTP/2 is
 * such a side as well (is_stream, see h2/stream.h): it has no descriptor, its
 * bytes travel as frames of a connection that it shares with others.
 *
 *   client:   (PREAMBLE) -> TLS -> HEAD <-> BUSY -> LINGER -> ended
 *   upstream: CONNECTING -> TLS -> BUSY <-> IDLE -> ended
 */
#ifndef WEIR_PROXY_CONN_H
#define WEIR_PROXY_CONN_H

#include "proxy/fail.h"
#include "proxy/peer.h"
#include "proxy/worker.h"

enum conn_phase {
	CONN_HANDSHAKE,  /* TLS, either role */
	CONN_HEAD,       /* client: between requests, or within a head */
	CONN_BUSY,       /* in a request */
	CONN_LINGER,     /* client: answered and half-closed; the rest is thrown away */
	CONN_CONNECTING, /* upstream */
	CONN_IDLE,       /* upstream: kept */
	CONN_PREAMBLE,   /* client: its PROXY header is awaited, see proxied.h */
	CONN_ENDED,
};

struct conn {
	struct watch watch;
	struct worker *worker;    /* borrowed */
	struct request *request;  /* the one it serves now; NULL between */
	struct tls_stream *tls;   /* owned; NULL in clear */
	struct h2 *h2;            /* owned: the session when it speaks HTTP/2 */
	struct buf *in;           /* owned: received, not yet consumed */
	struct buf *out;          /* owned chain: to send */
	struct buf *out_last;
	uint32_t out_len;
	int fd;                   /* owned */
	uint8_t phase;            /* enum conn_phase */
	bool is_client : 1;
	bool is_paused : 1;       /* do not read: the other side is slow */
	bool has_more : 1;        /* there may be more to read without an event */
	bool saw_close : 1;       /* the peer's close was seen: a short read is no end */
	bool is_eof : 1;          /* all was read, the peer sends no more */
	bool is_broken : 1;       /* sending failed */
	bool is_ready : 1;        /* stands on the ready list */
	bool close_when_sent : 1;
	bool is_reused : 1;       /* upstream: has served a request before */
	bool got_bytes : 1;       /* upstream: since it was taken for this request */
	bool is_counted : 1;      /* client: in the table of clients */
	bool eof_when_sent : 1;   /* tunnel: shut down writing once flushed */
	bool wrote_eof : 1;
	bool is_watched : 1;      /* registered with the reactor */
	bool awaits_watch : 1;    /* its timer only waits to register it */
	bool has_unread : 1;      /* client: some of its last request was never read */
	bool is_final : 1;        /* what is sent now is the last: it may leave together with the FIN */
	bool is_last : 1;         /* upstream: it said that it will close after this answer */
	bool is_secure : 1;       /* client: came over TLS */
	bool is_stream : 1;       /* a stream: the head of a struct stream, fd -1 */
	struct timer timer;
	TAILQ_ENTRY(conn) link;   /* clients, or an endpoint's idle list */
	TAILQ_ENTRY(conn) ready_link; /* ready or ended */
	union {
		struct {
			uint32_t listener;  /* id */
			uint32_t scanned;   /* h1_parse: of the head in `in` */
			uint32_t requests;
			uint32_t progress;  /* bytes of a body in this window, see client.c */
			bool is_first_window;
			struct peer peer;
			struct proxied *proxied; /* owned, by a stream borrowed from its connection; NULL: plain */
		} client;
		struct {
			struct endpoint *endpoint; /* borrowed: see idle.c */
			uint32_t scanned;
			uint32_t sent_turn; /* the loop's turn in which its request left */
			uint32_t requests;
			uint8_t send_proxy; /* the version of the header that it begins with; 0: none */
			struct conn *owner; /* borrowed: the client that it speaks for; NULL: for anybody, or that one has gone */
			LIST_ENTRY(conn) of_owner;
		} upstream;
	};
};

/* Takes the descriptor over. NULL: out of memory; the descriptor is closed. */
struct conn *conn_new(struct worker *worker, int fd, bool is_client);
/*
 * Registers it with the reactor, once. A client's connection is registered
 * only when it has to wait: one that brings its request along and is closed
 * after the answer costs no epoll_ctl at all.
 */
bool conn_watch(struct conn *conn);
/* A client's first look: reads what is there, registers when that is not enough. */
void conn_start(struct conn *conn);
/*
 * The goodbye: removes, closes, frees at the end of the turn. Ending twice is
 * harmless. Does not touch conn->request: the caller has let go of it.
 */
void conn_end(struct conn *conn);
void conn_reap(struct worker *worker); /* frees what ended in this turn */

/*
 * Sends or keeps; never blocks. False when the peer is gone (conn->is_broken
 * stays set) or the budget for unsent bytes is spent. Both parts leave in one
 * system call where possible.
 */
bool conn_send(struct conn *conn, const char *bytes, size_t len);
bool conn_send2(struct conn *conn, const char *a, size_t a_len, const char *b, size_t b_len);
/*
 * What is sent over TLS until conn_uncork leaves together, as far as there is
 * room; nothing changes in clear.
 */
void conn_cork(struct conn *conn);
bool conn_uncork(struct conn *conn);
/* Appends to what is to be sent, without trying. */
bool conn_keep(struct conn *conn, const char *bytes, size_t len);
/* Appends to what was received and not consumed. */
bool conn_stash(struct conn *conn, const char *bytes, size_t len);

void conn_pause(struct conn *conn);
/* Reading goes on: at once if there may be more, in this turn's end. */
void conn_resume(struct conn *conn);
void conn_make_ready(struct conn *conn);
void conn_run_ready(struct worker *worker);
/* Upstream TLS: the first flight leaves. */
void conn_begin_handshake(struct conn *conn);
/* Sending failed: read what the peer said before it went. */
void conn_read_rest(struct conn *conn);

/* Never early. What is short is exact to a few milliseconds, all else to
 * WORKER_TICK_MS. */
void conn_deadline(struct conn *conn, nsec_t after);
void conn_no_deadline(struct conn *conn);
void conn_timer_fired(void *worker, struct timer *timer);

/* Closes once all is sent; throws away what still comes, for a bounded time. */
void conn_finish(struct conn *conn);
/* Half-closes once all is sent (tunnels). */
void conn_send_eof(struct conn *conn);

/* ---- what a connection asks of those above it (client.c, upstream.c) ---- */
void client_input(struct conn *conn, char *bytes, size_t len); /* consumes or stashes all */
void client_eof(struct conn *conn);
void client_broken(struct conn *conn);
void client_drained(struct conn *conn); /* all unsent bytes have left */
void client_flushed(struct conn *conn); /* some have, some wait */
void client_timeout(struct conn *conn);
void client_await_body(struct conn *conn); /* its deadlines begin */
void client_secured(struct conn *conn); /* the handshake is done */
void client_spoke_plainly(struct conn *conn); /* clear text on a TLS listener: told in clear, then closed */
void client_accept(struct worker *worker, int fd, uint32_t listener, const struct peer *peer);
/* Who the client is is known: counts it, begins TLS or awaits its first head. False: it has ended. */
bool client_admit(struct conn *conn);
void client_ended(struct conn *conn);   /* counts */
void client_set_busy(struct conn *conn); /* it has a request; HTTP/2: its first stream */
void client_set_idle(struct conn *conn); /* HTTP/2: no stream any more */
void client_next(struct conn *conn, bool keep_alive); /* the request is done */
bool client_is_complete(const struct conn *conn); /* its request has come whole */
bool client_may_keep_alive(const struct conn *conn);

void upstream_input(struct conn *conn, char *bytes, size_t len);
void upstream_eof(struct conn *conn);
void upstream_broken(struct conn *conn);
void upstream_drained(struct conn *conn);
void upstream_timeout(struct conn *conn);
bool upstream_spoke_first(struct conn *conn); /* before it was asked: dropped */
void upstream_secured(struct conn *conn);
void upstream_connected(struct conn *conn);

#endif
