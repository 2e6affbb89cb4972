/*
 * Counters. Each cell has one writing worker (relaxed load and store, a plain
 * move on x86: no locked instruction on the request path) and any number of
 * readers. Sums over workers are made when somebody asks.
 */
#ifndef WEIR_ROUTING_STATS_H
#define WEIR_ROUTING_STATS_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "routing/histogram.h"

enum { CACHE_LINE = 64 };

typedef _Atomic uint64_t counter_t;

static inline void
counter_add(counter_t *counter, uint64_t n)
{
	atomic_store_explicit(counter,
	    atomic_load_explicit(counter, memory_order_relaxed) + n,
	    memory_order_relaxed);
}

/* A level that goes up and down, with the same single writer. */
typedef _Atomic int64_t gauge_t;

static inline void
gauge_add(gauge_t *gauge, int64_t by)
{
	atomic_store_explicit(gauge,
	    atomic_load_explicit(gauge, memory_order_relaxed) + by,
	    memory_order_relaxed);
}

static inline uint64_t
counter_read(const counter_t *counter)
{
	return atomic_load_explicit(
	    (counter_t *)(uintptr_t)counter, memory_order_relaxed);
}

/* Why an attempt at an endpoint failed: the labels of weir_upstream_errors_total. */
enum upstream_error {
	UPSTREAM_CONNECT_REFUSED, UPSTREAM_CONNECT_TIMEOUT, UPSTREAM_CONNECT_FAILED,
	UPSTREAM_TLS, UPSTREAM_RESET, UPSTREAM_CLOSED_EARLY, UPSTREAM_PROTOCOL,
	UPSTREAM_FIRST_BYTE_TIMEOUT, UPSTREAM_IDLE_TIMEOUT, UPSTREAM_TRUNCATED,
	UPSTREAM_STATUS, /* a 5xx answer */
	UPSTREAM_ERROR_COUNT
};
const char *upstream_error_name(enum upstream_error error); /* "connect_refused" */

/* Oddities of HTTP/2 clients: see glitch.def. */
enum glitch {
#define GLITCH(id, cost, word, text) GLITCH_##id,
#include "routing/glitch.def"
#undef GLITCH
	GLITCH_COUNT
};
struct glitch_row {
	int32_t cost;
	const char *word, *text; /* "rapid_reset"; what a person reads */
};
const struct glitch_row *glitch_row(enum glitch glitch);

/* Per worker and series (listener, route, pool). */
enum { SERIES_CODES_MAX = 64 }; /* distinct (method, status) pairs; further ones count as (OTHER, class 0) */
struct series_code {
	_Atomic uint32_t key; /* method << 16 | status; 0: free */
	counter_t count;
};
struct series_cell {
	alignas(CACHE_LINE) struct series_code codes[SERIES_CODES_MAX];
	counter_t bytes_in, bytes_out;
	struct histogram total; /* request's first byte to the answer's last byte handed to the kernel */
};

/* Why a body was not kept for another attempt: the labels of weir_pool_replay_lost_total. */
enum replay_loss {
	REPLAY_TOO_LONG,  /* for retry.replay */
	REPLAY_NO_MEMORY, /* half of the worker's budget is taken */
	REPLAY_LOSS_COUNT
};
const char *replay_loss_name(enum replay_loss loss);

/* What became of second attempts beside a first one: the labels of weir_pool_hedges_total. */
enum hedge_result {
	HEDGE_USED,   /* it had the answer, or was all that was left */
	HEDGE_LOST,   /* the first attempt was sooner after all, or the client has left */
	HEDGE_FAILED, /* while the first one went on */
	HEDGE_RESULT_COUNT
};
const char *hedge_result_name(enum hedge_result result);

/* Per worker and pool. */
struct tail;
struct pool_cell {
	alignas(CACHE_LINE) counter_t requests;          /* attempts dispatched, first ones only */
	counter_t failures;          /* blamed on the pool, first attempts only (the judge's evidence) */
	counter_t by_class[6];       /* answers by status / 100; [0]: none */
	counter_t retries;
	counter_t replays;           /* bodies, or beginnings of them, that were sent again */
	counter_t unkept[REPLAY_LOSS_COUNT];
	counter_t hedges[HEDGE_RESULT_COUNT];
	counter_t full, late;        /* refused: no place and no room to wait; waited too long */
	counter_t held;              /* refused: full by its adaptive limit */
	gauge_t in_flight;
	int64_t retry_balance, retry_reserve; /* the worker's alone: see proxy/retry.c */
	nsec_t retry_refilled;
	nsec_t hedge_after;          /* the worker's alone: what its tail is now; 0: not known */
	struct tail *tail;           /* owned, the worker's alone; NULL: nobody asked */
	struct histogram total, first_byte, connect;
};

/* What came of a request's copy, against what its client got: the labels of weir_mirror_requests_total. */
enum mirror_result {
	MIRROR_SAME,         /* status and size of the body are alike */
	MIRROR_OTHER_STATUS,
	MIRROR_OTHER_SIZE,   /* with the same status */
	MIRROR_FAILED,       /* no whole answer */
	MIRROR_UNCOMPARED,   /* it was answered, the request's own answer was cut */
	MIRROR_RESULT_COUNT
};
const char *mirror_result_name(enum mirror_result result);

/* Why one that was drawn was not copied: the labels of weir_mirror_skipped_total. */
enum mirror_skip {
	MIRROR_SKIP_BUSY,    /* as many copies as may be are on their way */
	MIRROR_SKIP_BODY,    /* its body is too long */
	MIRROR_SKIP_CUT,     /* its body never came whole */
	MIRROR_SKIP_MEMORY,
	MIRROR_SKIP_COUNT
};
const char *mirror_skip_name(enum mirror_skip skip);

/* Per worker and split. */
struct mirror_cell {
	alignas(CACHE_LINE) counter_t results[MIRROR_RESULT_COUNT];
	counter_t skips[MIRROR_SKIP_COUNT];
	gauge_t in_flight;
};

/* What a rate limit decided: the labels of weir_rate_limit_decisions_total. */
enum limit_decision {
	LIMIT_ALLOWED, LIMIT_LIMITED,
	LIMIT_DRY_RUN, /* would have been limited */
	LIMIT_OPEN,    /* not counted: Redis is away, on_failure: open */
	LIMIT_CLOSED,  /* refused uncounted: Redis is away, on_failure: closed */
	LIMIT_DECISION_COUNT
};
const char *limit_decision_name(enum limit_decision decision);

/* Why a route's access rules refused: the labels of weir_access_denied_total. */
enum access_denial {
	DENIED_BY_LIST, DENIED_NOT_ALLOWED, DENIED_PLACE,
	ACCESS_DENIAL_COUNT
};
const char *access_denial_name(enum access_denial denial);

/* Per worker and route that refuses something. */
struct policy_cell {
	alignas(CACHE_LINE) counter_t decisions[LIMIT_DECISION_COUNT];
	counter_t denials[ACCESS_DENIAL_COUNT];
	counter_t evictions; /* keys forgotten before their time */
};

/* Why a connection was closed at once: the labels of weir_connections_refused_total. */
enum conn_refusal {
	REFUSED_CONNECTIONS, /* limits.connections */
	REFUSED_PER_CLIENT,  /* limits.per_client */
	REFUSED_DESCRIPTORS, /* the process has no more */
	REFUSED_PROXY_SENDER, /* not among client_ip.trusted_proxies */
	REFUSED_PROXY_HEADER, /* did not begin with a sound PROXY header */
	CONN_REFUSAL_COUNT
};
const char *conn_refusal_name(enum conn_refusal refusal);

/* Where a client was too slow: the labels of weir_clients_too_slow_total. */
enum client_slowness {
	SLOW_HANDSHAKE, SLOW_HEAD, SLOW_BODY, SLOW_READ,
	SLOW_PREAMBLE, /* its PROXY header */
	CLIENT_SLOWNESS_COUNT
};
const char *client_slowness_name(enum client_slowness slowness);

/* Why a TLS handshake failed, see handshake.def. */
enum handshake_failure {
#define HANDSHAKE(id, word) HANDSHAKE_##id,
#include "routing/handshake.def"
#undef HANDSHAKE
	HANDSHAKE_FAILURE_COUNT
};
const char *handshake_failure_name(enum handshake_failure failure);
/* Of tls_stream_failure's word; HANDSHAKE_OTHER when it is none of the table's. */
enum handshake_failure handshake_failure_of(const char *word);

/* Per worker and listener. */
struct listener_cell {
	alignas(CACHE_LINE) counter_t accepted;
	counter_t refused[CONN_REFUSAL_COUNT];
	counter_t too_slow[CLIENT_SLOWNESS_COUNT];
	gauge_t active, idle;  /* open connections: in a request, between requests */
	gauge_t tunnels;
	gauge_t in_flight;     /* requests */
	counter_t bytes_in, bytes_out;
	counter_t handshakes[2][2];    /* [0: TLS 1.2, 1: TLS 1.3][resumed] */
	counter_t handshake_errors[HANDSHAKE_FAILURE_COUNT];
	counter_t glitches[GLITCH_COUNT];
};

#endif
