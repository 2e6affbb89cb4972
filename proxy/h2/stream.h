/*
 * A stream of HTTP/2 as one side of a request: the client's, or the
 * upstream's. Its first member is a conn, so that the way of a request knows
 * only one kind of side; `in` holds what was received and not yet taken (never
 * more than the stream's window), `out` what was given to send and not yet
 * framed.
 *
 * It lives until nghttp2 has closed it and its request has let go, and then to
 * the end of the turn, like any conn.
 */
#ifndef WEIR_PROXY_STREAM_H
#define WEIR_PROXY_STREAM_H

#include "proxy/conn.h"

struct h2;
struct body;

struct stream {
	struct conn side; /* first: what requests know */
	struct h2 *h2;    /* borrowed: ends all its streams before it goes; NULL
	                     once closed */
	LIST_ENTRY(stream) link; /* of h2->streams */
	int32_t id;              /* 0: an upstream's, not yet submitted */
	uint32_t unconsumed;     /* received, its window not given back */
	uint32_t owed;           /* of those: the connection's window, neither */
	uint32_t head_len;       /* counted in its session's `heads` */
	uint64_t promised;       /* DATA that a Content-Length still promises */
	bool is_measured : 1;    /* it was given: to be kept to the byte */
	bool is_answered : 1;    /* a final head was submitted */
	bool is_ended : 1;       /* all that we send was given */
	bool is_deferred : 1;    /* nghttp2 waits to be told of more payload */
	bool is_reset : 1;       /* we have submitted a RST_STREAM */
	bool is_sink : 1;  /* a copy's client (mirror.c): takes all, keeps nothing */
	bool is_lost : 1; /* could not be submitted */
	bool owes_end : 1; /* the peer's end has come, its request was not told
	                    */
	struct buf *trailers; /* owned: "name: value\r\n" lines that we send at
	                         the end */
};

static inline struct stream *
stream_of(struct conn *side)
{
	return (struct stream *)(void *)side;
}

/* ---- sending: see message.h. False: the stream takes nothing any more ---- */
bool stream_send_head(struct conn *side, char *head, size_t len, bool is_end);
bool stream_send_message(struct conn *side, char *head, size_t head_len,
    size_t behind, bool is_whole);
bool stream_send_bytes(struct conn *side, const char *bytes, size_t len);
/* Takes the buffer over. */
bool stream_send_buf(struct conn *side, struct buf *buf);
void stream_send_eof(struct conn *side);
/* A piece of `body`, perhaps with the head before it; takes body->trailers over
 * at its end. */
bool stream_send_body(struct conn *side, char *head, size_t head_len,
    const char *bytes, size_t len, struct body *body);

/*
 * How much may be read for the client behind `side` now; 0: nothing, and its
 * upstream is to be paused until request_client_drained.
 */
size_t stream_room(struct conn *side);
/* What the session held has left: who was told that there is no room may go on. */
void stream_untighten(struct h2 *h2);

/* ---- receiving, from the session's callbacks ---- */
void stream_received(struct stream *stream, char *bytes, size_t len);
void stream_received_end(struct stream *stream);
/* Its turn on the ready list: what waited goes on. */
void stream_run(struct conn *side);

/* ---- its end ---- */
/* The request has let go of it. */
void stream_released(struct conn *side);
/* Nothing moved on a stream without request. */
void stream_timeout(struct conn *side);
/* Payload has left: who waits for room may go on. */
void stream_sent(struct stream *stream, size_t len);
/* nghttp2 knows it no more: its request is told, the memory goes. */
void stream_closed(struct stream *stream, uint32_t code);
void stream_reset(struct stream *stream, uint32_t code);

#endif
