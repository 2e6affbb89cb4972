/*
 * A session of HTTP/2 on a connection: nghttp2 frames and unframes, this side
 * of it knows streams. A client's connection carries many requests, an
 * upstream's many requests of many clients.
 *
 * Two rules. nghttp2 is never called to receive or send from one of its own
 * callbacks: they submit, and the session is flushed at the turn's end, all
 * its frames in one send. And whatever a callback brings about, the connection
 * lives until the callback's caller has returned (is_running).
 *
 * What a client can make us hold is bounded: of answers that it does not take
 * HOLD_MAX together and HOLD_STREAM of one stream, beyond that HOLD_LEAST of
 * each, so that streams that stand still stop no other; of bodies that nobody
 * takes the same, and the connection's window beyond it; of large heads, which
 * HPACK makes cheap to say, HOLD_HEADS.
 */
#ifndef WEIR_PROXY_H2_H
#define WEIR_PROXY_H2_H

#include <nghttp2/nghttp2.h>

#include "proxy/h2/closed.h"
#include "proxy/h2/memory.h"
#include "proxy/h2/scan.h"
#include "proxy/h2/stream.h"
#include "proxy/h2/text.h"
#include "proxy/request.h"

LIST_HEAD(stream_list, stream);

enum {
	HOLD_MAX = 256 << 10,
	HOLD_STREAM = 64 << 10,
	HOLD_LEAST = 4096,
	HOLD_HEADS = 512 << 10, /* of requests in flight, small ones not counted */
};

struct h2 {
	nghttp2_session *session; /* owned */
	struct conn *conn;        /* borrowed: owns us */
	struct stream_list streams;
	uint32_t n_streams;
	uint32_t held;       /* bytes of all streams' `out` */
	uint32_t heads;      /* bytes of large heads of requests in flight */
	uint32_t held_in;    /* bytes received whose windows were not given back */
	struct h2_text text; /* the block being read */
	struct stream
	    *reading; /* borrowed: whose block; NULL when it is thrown away */
	nghttp2_extpri priority; /* what the block asks for, RFC 9218 */
	bool has_priority;
	uint32_t gathered; /* bytes in worker->frames, while flushing */
	bool is_upstream : 1;
	bool is_running : 1;   /* within nghttp2 */
	bool is_unflushed : 1; /* stands in worker->unflushed */
	bool is_ending : 1; /* its streams are being ended: nothing is submitted
	                       any more */
	bool is_leaving : 1; /* a GOAWAY was submitted */
	bool is_failed : 1;  /* to be closed once it is not running */
	bool is_tight : 1;   /* somebody was told that there is no room */
	/* the bucket of glitches, see glitch.c */
	int32_t points;
	nsec_t refilled;
	uint32_t updates, pings; /* that DATA we have sent still allows */
	uint32_t flushed;   /* payload of this flush */
	bool is_acked : 1;  /* the client has acknowledged our SETTINGS */
	uint8_t
	    awaits; /* what the connection's deadline is for, see server.c */
	uint32_t overflows;      /* streams to be reset for a WINDOW_UPDATE */
	struct h2_closed closed; /* of a client */
	struct h2_scan scan;     /* the same */
	bool saw_reset : 1;      /* RST_STREAM, in what nghttp2 has not read yet */
	/* a client's session, leaving */
	nsec_t notice_at; /* 0: not told yet */
	uint32_t max_streams; /* at once, as announced */
	bool is_announced : 1;
	/* an upstream's session, see client.c */
	LIST_ENTRY(h2) of_endpoint; /* endpoint_local.sessions */
	nsec_t keep;                /* how long it is kept without a stream */
	uint32_t n_requests;        /* streams whose request has not let go */
	uint32_t n_served;          /* streams submitted so far */
	uint8_t why; /* enum fail: told to streams when the connection goes */
	bool is_listed : 1;   /* its endpoint knows it: it may get streams */
	bool is_ready : 1;    /* connected; streams may be submitted */
	bool has_settings : 1; /* of its peer */
	bool has_answered : 1; /* a request, with a final head */
	TAILQ_ENTRY(h2) link; /* worker->unflushed */
};

/* ---- what sessions are made with, one a worker ---- */
struct h2_kit {
	nghttp2_session_callbacks *callbacks; /* owned */
	nghttp2_option *server, *client;      /* owned */
	struct h2_memory memory;
};
struct h2_kit *h2_kit_new(void);
void h2_kit_free(struct h2_kit **kit);
nghttp2_session_callbacks *h2_callbacks_new(void); /* h2.c */

/* ---- h2.c: the session ---- */
struct h2 *h2_new(struct conn *conn, bool is_upstream);
/* Ends all streams, frees; from conn_end. */
void h2_free(struct conn *conn);
void h2_input(struct conn *conn, char *bytes, size_t len);
/* Closes, from wherever it is called. */
void h2_fail(struct h2 *h2);
struct stream *h2_stream_new(struct h2 *h2, int32_t id);
/* The stream is closed: out of the session's books. */
void h2_forget(struct stream *stream);
/* h2_server_progress or h2_client_progress, as the session is. */
void h2_progress(struct h2 *h2);

/* ---- send.c: what goes out ---- */
void h2_send_callbacks(nghttp2_session_callbacks *to);
void h2_drained(
    struct conn *conn); /* the kernel has taken what it had refused */
void h2_wants_flush(struct h2 *h2);
/* Now, for there is much: it is still in the cache. May end the connection. */
void h2_flush_long(struct h2 *h2);
void h2_flush_all(struct worker *worker);
bool h2_submit_head(struct stream *stream, char *head, size_t len, bool is_end);
void h2_submit_reset(struct stream *stream, uint32_t code);
/* A last GOAWAY with that code; the connection closes behind it. */
void h2_terminate(struct h2 *h2, uint32_t code);

/* ---- server.c: a client's session ---- */
bool h2_is_preface(const char *bytes, size_t len);
/* The connection speaks HTTP/2 from now on. False: it may not. */
bool h2_accept(struct conn *conn);
/* Our SETTINGS as they leave: the limit of streams is ours to keep. */
void h2_announce(struct h2 *h2, char *frame, size_t len);
void h2_timeout(struct conn *conn);
/* One step of leaving: a notice, then no more streams, then the end. */
void h2_drain(struct conn *conn);
/* No more streams from now on; those that are there go on. */
void h2_leave(struct conn *conn);
int h2_server_begin_block(struct h2 *h2, const nghttp2_frame *frame);
void h2_server_end_block(
    struct h2 *h2, struct stream *stream, const nghttp2_frame *frame);
void h2_server_note_priority(struct h2 *h2, struct span value);
void h2_server_stream_gone(struct h2 *h2);
void h2_server_progress(
    struct h2 *h2); /* sets the connection's deadline anew */

/* ---- client.c: an upstream's session ---- */
/* A stream for the request, on a session that has room or on a new one; ends
 * like upstream_get. */
void h2_client_get(struct request *request, bool fresh);
void h2_client_connected(struct conn *conn, int error);
void h2_client_secured(struct conn *conn);
/* Its peer's have come, the first or others. */
void h2_client_settings(struct h2 *h2);
void h2_client_lost(struct conn *conn, enum fail why);
void h2_client_timeout(struct conn *conn);
/* No further streams to that endpoint. */
void h2_client_leave(struct endpoint *endpoint, unsigned worker);
void h2_client_begin_block(struct h2 *h2, const nghttp2_frame *frame);
void h2_client_end_block(
    struct h2 *h2, struct stream *stream, const nghttp2_frame *frame);
/* Its peer takes no new streams any more. */
void h2_client_unlist(struct h2 *h2);
void h2_client_request_gone(struct h2 *h2);
/* A stream is over, by that code or with its session: is that what happens to
 * kept connections? */
void h2_client_end_stream(struct stream *stream, uint32_t code);
/* The client that it spoke for has gone. */
void h2_client_disown(struct h2 *h2);
void h2_client_progress(struct h2 *h2);
/* Trailers of the block into body->trailers. False: malformed. */
bool h2_take_trailers(struct h2 *h2, struct body *body);

/* ---- strict.c: where nghttp2 is milder than RFC 9113, on a client's
 * session ----
 */
ssize_t h2_strict_recv(struct h2 *h2, const uint8_t *bytes, size_t len);
void h2_strict_frame(struct h2 *h2, const nghttp2_frame_hd *hd);
/* A frame that makes nghttp2 reset its stream; a reset that was sent. */
void h2_strict_invalid(struct h2 *h2, const nghttp2_frame *frame, int error);
void h2_strict_sent_reset(struct h2 *h2, const nghttp2_frame *frame);

/* ---- glitch.c: bounds on what one connection may make us do ---- */
void h2_glitch(struct h2 *h2, enum glitch what);
/* Looks at the frames of what a client sent, before nghttp2 does. */
void h2_glitch_frame(struct h2 *h2, const struct h2_frame *frame);
/* DATA with so much payload has left: what clients do about that is none. */
void h2_glitch_allow(struct h2 *h2, size_t len);

#endif
