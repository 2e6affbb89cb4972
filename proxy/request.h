/*
 * A request: from its first byte until both sides are done with it. The
 * heart of the proxy; its states and the functions that move it stand in
 * request.c, in reading order.
 *
 *            +-> REPLY (respond, redirect, failure) ------------+
 *   DECIDE --+                                                  +-> DONE
 *            +-> WAIT_BODY -> CONNECT -> RELAY -> (TUNNEL) -----+
 *                               ^          |
 *                               +-- retry -+   the only way back
 */
#ifndef WEIR_PROXY_REQUEST_H
#define WEIR_PROXY_REQUEST_H

#include "proxy/conn.h"

enum request_state {
	REQUEST_DECIDE,
	REQUEST_WAIT_BODY, /* a body is announced: no upstream before its first bytes */
	REQUEST_CONNECT,   /* the upstream's connection is being made */
	REQUEST_RELAY,     /* the head has left; bodies flow both ways */
	REQUEST_TUNNEL,    /* after a 101: bytes flow both ways */
	REQUEST_REPLY,     /* weir's own answer has been written; the rest of the request's body is skipped */
	REQUEST_DONE,
};

/* One direction's message body: how it comes in and how it goes out. */
struct body {
	uint8_t in, out;        /* enum h1_framing */
	bool is_done;           /* all of it has come */
	bool is_last;           /* the connection is closed behind it */
	uint64_t left;          /* H1_LENGTH: bytes to come */
	struct h1_chunks chunks;
	struct buf *trailers;   /* owned: filtered "name: value\r\n" lines; NULL: dropped */
	uint64_t bytes;         /* payload so far */
};

/* A piece of the request's head as it was written, for the log. */
struct piece {
	uint32_t at, len;
};

enum { RESPONSE_HEAD_MAX = 32768 };

struct request {
	struct worker *worker;      /* borrowed */
	struct snapshot *snapshot;  /* held */
	struct conn *client;        /* borrowed; never NULL before DONE */
	struct conn *upstream;      /* borrowed by exactly this request; NULL without */
	struct endpoint *endpoint;  /* of the current or last attempt; kept by the snapshot */
	struct decision decision;
	uint32_t listener;          /* id */
	uint8_t state;              /* enum request_state */
	uint8_t method;             /* enum http_method */
	uint8_t minor;              /* of the client's version */
	uint8_t attempts;           /* dispatched so far */
	struct endpoint *tried[5];  /* by the attempts before this one; retry.max is 5 */
	bool keep_alive : 1;        /* the client's connection goes on afterwards */
	bool is_idempotent : 1;
	bool asks_upgrade : 1;      /* and the route allows it */
	bool asked_close : 1;       /* the answer's head said Connection: close */
	bool is_sent : 1;           /* head and body are all on their way upstream */
	bool body_left : 1;         /* some of the body has left behind the head, or its end */
	bool body_lost : 1;         /* ... and was not kept: no further attempt */
	bool has_response : 1;      /* a final head has been forwarded */
	bool te_trailers : 1;
	bool is_first_failed : 1;   /* the first attempt's failure is the pool's */
	bool has_first_byte : 1;
	bool expects_continue : 1;  /* the client holds its body back until a 100 */
	bool said_continue : 1;     /* to the client, by us or by an upstream */
	bool is_grpc : 1;
	bool was_refused : 1;       /* sent back unread by a session: the next time it is a failure */
	bool is_hedge : 1;          /* of `rival`: hedge.c */
	bool was_hedged : 1;        /* or could not be: once is enough */
	bool has_slot : 1;          /* counted as in flight at its endpoint */
	/* the first attempt, for evidence (trial.c); all but the first only when decision.serial is set */
	bool is_first_byte_own : 1; /* first_byte is the first attempt's */
	bool is_first_answered : 1; /* it was answered with a final head */
	bool is_watched : 1;        /* stands among the worker's judged requests in flight */
	bool was_slow : 1;          /* counted by its age */
	bool is_copy : 1;           /* of another request; its client is nobody (mirror.c) */
	uint8_t first_type;         /* enum shape_type */
	uint16_t first_status;
	uint64_t first_bytes;       /* that its answer announced */
	struct mirror *mirror;      /* a copy of it goes elsewhere, or it is the copy; NULL: neither */
	const struct pool_view *shielded; /* the candidate's pool, while the baseline's stands in for it in decision.pool */
	TAILQ_ENTRY(request) flight;
	/* queue.c: */
	bool is_waiting;            /* for a place in its pool */
	bool is_resting;            /* retry.c: before a further attempt; then `queue` is in worker->resting */
	struct pool *place;         /* it has one there; NULL: none, or the pool has no limit */
	nsec_t waits_since;         /* or rests until */
	TAILQ_ENTRY(request) queue;
	uint16_t status;            /* sent to the client */
	uint16_t grpc_told;         /* gRPC's status that it is told, plus one; 0: none */
	uint8_t interim;            /* 1xx answers forwarded */
	uint8_t fail;               /* enum fail: the last misfortune */
	struct body request_body, response_body;

	nsec_t start, dispatched, first_byte; /* 0: not reached; dispatched: the first attempt */
	nsec_t connecting;          /* how long the last connection took to make; 0: a kept one */
	nsec_t sent_at;             /* this attempt */
	nsec_t whole_at;            /* its end has left; of the last one that got there */
	nsec_t deadline;            /* of a gRPC call; 0: none */

	struct peer peer;           /* the client's real address */

	/* the head as it goes upstream; resent by a retry */
	char *head;                 /* arena, or head_buf's data */
	uint32_t head_len;
	struct buf *head_buf;       /* owned; NULL: the arena was enough */
	uint32_t replay_len;        /* bytes behind the head that belong to it: a whole small body */
	struct request *rival;      /* the other one of a request and its hedge; NULL: there is no hedge */
	struct buf *replay;         /* owned: what has left of a body that came later; see replay.c */
	struct piece target, host, user_agent, trace_id, span_id;
	char id[65];                /* x-request-id, NUL-ended */
	uint8_t id_len;
	char arena[1536];
};

/*
 * HEAD -> DECIDE: a parsed head of `client` (worker->parsed); `rest` are the
 * bytes behind it. Returns how many of those belong to this request's body and were taken.
 */
size_t request_begin(struct conn *client, char *rest, size_t len);
/* More of the client's bytes for the body; returns how many were taken. */
size_t request_body(struct request *request, char *bytes, size_t len);
/* All of the body has come; see request.c. */
bool request_body_end(struct request *request);
/* The body's first bytes did not come in time. */
void request_body_late(struct request *request);
/* The upstream has not said 100 (Continue): say it for it. */
void request_say_continue(struct request *request);
/* The request's body has come whole. */
bool request_body_done(const struct request *request);

/* The upstream's connection is there (fresh or kept): send. */
void request_connected(struct request *request);
/* The upstream's side has something. */
/* More than `more` bytes of the answer's body are to come, and go to a stream as they are. */
bool request_awaits_long(const struct request *request, size_t more);
/* Some of them; takes the buffer over. */
void request_response_long(struct request *request, struct buf *buf);
void request_response(struct request *request, char *bytes, size_t len);
void request_upstream_eof(struct request *request);
/* HTTP/2: the answer's end has come; the stream is gone, with that code, or `why` when its connection went. */
void request_response_end(struct request *request);
void request_stream_lost(struct request *request, uint32_t code, enum fail why);
/* HTTP/2: a whole head of the answer, parsed. */
void request_response_head(struct request *request, struct h1_head *head);
/* The attempt failed; retried where that is allowed, else told to the client. */
void request_attempt_failed(struct request *request, enum fail fail);
/* The request cannot be served. */
void request_fail(struct request *request, enum fail fail);
/* The client is gone: let go of everything. */
void request_abandon(struct request *request, enum fail fail);
/* One side's unsent bytes have left. */
void request_client_drained(struct request *request);
void request_upstream_drained(struct request *request);
/* The client takes no more for now: its upstream is not read until request_client_drained. */
void request_hold(struct request *request);

/* A wait of `after`, but not beyond the request's deadline. */
static inline nsec_t
request_within(const struct request *request, nsec_t after)
{
	nsec_t left = request->deadline - request->worker->now;

	if (request->deadline == 0 || left >= after)
		return after;
	return left > 0 ? left : 1;
}

/* ---- request_done.c ---- */
/* Counts, logs, frees; the client's connection goes on or ends. */
void request_done(struct request *request);

/* ---- trial.c: what a rollout judges ---- */
/* The first attempt is on its way: its age counts from now on. */
void trial_watch(struct request *request);
/* The first attempt's final head. */
void trial_note_answer(struct request *request, const struct h1_head *head);
/* The answer has ended, and its trailers are here. */
void trial_note_trailers(struct request *request);
/* A failure of the pool's, unless weir itself stood still over it. */
void trial_blame(struct request *request, enum fail fail);
/* May it still happen that the baseline's pool answers in the drawn one's stead? */
bool trial_may_shield(const struct request *request);
/* The first attempt has failed: the baseline's pool answers in its stead, where that is allowed. */
bool trial_shield(struct request *request);
/* Takes leave of it: into outcome->first, and decision.pool is the drawn one again. */
void trial_outcome(struct request *request, struct outcome *outcome);
/* The tick: who has been in flight for too long? */
void trial_scan(struct worker *worker);
/* Is there a trial that this request belongs to? */
static inline bool
trial_is_on(const struct request *request)
{
	return request->decision.serial != 0;
}

/* ---- headers.c: heads written anew ---- */
/* Into request->head, from worker->parsed. False: no memory, or it does not fit. */
bool headers_write_request(struct request *request, const struct h1_head *head);
/* For answers of our own: only what the log wants to know. */
void headers_note_request(struct request *request, const struct h1_head *head);
/* Into worker->head; returns its length, 0 when it does not fit. `framing` and `length` as the client will see them. */
size_t headers_write_response(struct request *request, const struct h1_head *head);
/* An interim (1xx) head. */
size_t headers_write_interim(struct request *request, const struct h1_head *head);
bool headers_query_field(const void *head, struct span name, struct span *value_out);
bool headers_query_cookie(const void *head, struct span name, struct span *value_out);

/* ---- reply.c: weir's own answers ---- */
/* A whole answer with a small body; `extra` are further header lines. Closes afterwards unless the request's keep_alive holds. */
void reply_send(struct request *request, unsigned status, const char *content_type, struct span body, struct span extra);
void reply_fail(struct request *request, enum fail fail);
/* The text of a 429 on a connection that goes on; 0: it does not fit. */
size_t reply_limited(struct worker *worker, const struct decision *decision, char *to, size_t cap, size_t *body_len_out);
void reply_route(struct request *request, const struct h1_head *head); /* respond and redirect */
/* The listener only sends clients to another one. */
void reply_other_listener(struct request *request, const struct h1_head *head, const struct listener_cfg *to);
/* Before there is a request: a refused head. */
void reply_refuse(struct conn *client, unsigned status, const char *word, const char *text);
const char *status_text(unsigned status);

/* ---- upstream.c ---- */
/* CONNECT: picks an endpoint, takes a kept connection or opens one; ends in request_connected or request_attempt_failed. */
void upstream_get(struct request *request, const struct endpoint *avoid, bool fresh);
/* The request is through with it: keep it for others if it may be, else end it. */
void upstream_put(struct request *request, bool is_reusable);
/* What was made by that view of a pool may serve the pool as it is in `now`, where it may be the one `at`: with the same TLS, or none. */
bool upstream_keeps(const struct pool_view *made_by, const struct snapshot *now, size_t at);
/* What the attempt says of its endpoint: is_bad, it is to blame for its failure. */
void upstream_judge(struct request *request, bool is_bad);
/* Is it worth another attempt? retry.c. */
bool retry_may(struct request *request);
/* Is it nobody's failure, but that of a connection kept for too long? */
bool retry_is_stale(const struct request *request, enum fail fail);
/* Then the same again, on a fresh connection to the same endpoint. */
void retry_renew(struct request *request, enum fail fail);
/* Another attempt, on another endpoint: now, or after a rest. */
void retry_go(struct request *request);
/* Without an answer for retry.per_try: goes elsewhere, or waits on. */
bool retry_slow(struct request *request);
/* May it be tried once more, if it fails in a way that allows that? */
bool retry_is_open(const struct request *request);
/* How long an attempt may take to its first byte. */
nsec_t retry_patience(const struct request *request);
/* ... with a hedge beside it. */
nsec_t retry_patience_beside(const struct request *request);
/* The tick: rests that are over. */
void retry_tick(struct worker *worker);
void retry_rest_no_more(struct request *request);
/* The budget of a pool on this worker; see retry.c. */
void retry_earn(struct request *request);
bool retry_spend(struct pool_cell *cell, nsec_t now);
/* The attempt has failed: told to its endpoint, its pool and the judge. */
void request_note_failure(struct request *request, enum fail fail, bool was_reused);
/* The attempt was answered, by a status that is the pool's failure. */
void request_note_bad_status(struct request *request);
/* A socket whose connection to `endpoint` is being made; -1 and why it cannot be. */
int upstream_dial(const struct worker *worker, const struct endpoint *endpoint, enum fail *fail_out);
enum fail upstream_fail_of(int error);
/* Once, on another pool, out of that pool's budget. */
bool upstream_may_shield(struct request *request, const struct pool_view *by);

/* ---- hedge.c: a second attempt beside the first one ---- */
/* How long the first one may take without; 0: for ever. */
nsec_t hedge_patience(const struct request *request);
/* Without an answer for that long: true when it is waited for on, perhaps not alone. */
bool hedge_slow(struct request *request);
/* A final head, of a request that has a rival: who goes on with it; NULL: nobody, the other one is waited for. */
struct request *hedge_answered(struct request *request, bool is_good);
/* A request that has a rival has failed. */
void hedge_failed(struct request *request);
/* The request is done, its hedge is not. */
void hedge_end(struct request *request);
/* The tick: how long do nearly all take? */
void hedge_tick(struct worker *worker);

/* ---- replay.c: bodies that came after their head, for another attempt ---- */
/* The body's first bytes, or its end, are about to leave: will they be kept? */
void replay_begin(struct request *request);
/* Payload that has left. */
void replay_keep(struct request *request, const char *bytes, size_t len);
/* The head again, and behind it all that has left of the body. False: the upstream takes it no more. */
bool replay_send(struct request *request);
/* Lets go of the upstream before another attempt, which may need what that one had. */
void replay_leave(struct request *request);
/* No further attempt will be made. */
void replay_drop(struct request *request);

/* ---- idle.c: kept connections, last in first out, per worker and endpoint ---- */
void idle_put(struct conn *upstream, nsec_t keep);
struct conn *idle_get(struct endpoint *endpoint, unsigned worker);
void idle_remove(struct conn *upstream);
void idle_close_all(struct endpoint *endpoint, unsigned worker);

/* ---- forward.c: bodies ---- */
/* Frames `len` payload-carrying bytes of `body` and sends them to `to`; returns bytes consumed of the input. *bad_out: the framing is broken. */
struct forwarded {
	size_t used;      /* of the input */
	bool is_bad;      /* framing broken */
	bool is_unsent;   /* `to` is gone */
};
struct forwarded forward_body(struct body *body, struct conn *to, char *bytes, size_t len,
    char *before, size_t before_len, uint64_t limit);
/* The body's end was told apart from its bytes: what must follow (a last chunk). */
bool forward_end(struct body *body, struct conn *to);
/* Payload that was forwarded before, to another one; and its end, if that has come. */
bool forward_again(struct body *body, struct conn *to, const char *bytes, size_t len);

/* ---- tunnel.c ---- */
void tunnel_begin(struct request *request);
void tunnel_input(struct request *request, struct conn *from, const char *bytes, size_t len);
void tunnel_eof(struct request *request, struct conn *from);
void tunnel_drained(struct request *request, struct conn *to);
void tunnel_timeout(struct request *request);
/* Both sides let go, whatever was said. */
void tunnel_end(struct request *request, enum fail fail);

/* ---- log_ring.c ---- */
void access_log_request(struct request *request);

#endif
