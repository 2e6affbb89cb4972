/*
 * One request to the admin API, from its first check to its answer. A function
 * of endpoints.def gets a call that has passed all checks of its row and
 * answers exactly once, with call_json, call_text, call_problem or by taking
 * the connection over (events).
 */
#ifndef WEIR_ADMIN_API_H
#define WEIR_ADMIN_API_H

#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "admin/admin.h"
#include "admin/audit/audit.h"
#include "admin/auth.h"

enum {
	API_BODY_MAX = 64 << 10,
	API_TEXT_MAX = 1 << 20, /* a config to check */
	API_DEPTH_MAX = 16,     /* nesting of a JSON body */
	API_REASON_MAX = 512,
	API_ARGS_MAX = 2, /* {names} in one path */
};

enum {
	API_MUTATES = 1 << 0, /* audited; ?dry_run=1 is understood */
	API_PUBLIC = 1 << 1,  /* no token asked */
	API_METRICS = 1 << 2, /* also on the metrics listener */
	API_TEXT = 1 << 3,    /* the body is text, not JSON */
	API_BODY = 1 << 4,    /* a JSON object is needed */
	API_KEY = 1 << 8,     /* a mutation that takes ?key= */
};

/* What a scoped grant is held against. */
enum api_scope {
	SCOPE_ALL,
	SCOPE_SPLIT,
	SCOPE_POOL,
	SCOPE_BODY, /* the function knows the split and asks by itself: call_may */
};

struct call;
typedef void api_fn(struct call *call);

struct api_row {
	const char *method, *path, *name, *doc;
	enum role role;
	enum api_scope scope; /* the first {name} of the path is one */
	unsigned flags;
	api_fn *fn;
};
extern const struct api_row api_rows[];
extern const size_t api_n_rows;

/* Answers by method and status class, for /metrics. */
struct api_counts {
	uint64_t by_class[6];
	uint64_t limited; /* 429 */
	uint64_t refused; /* connections */
};

struct tls_gate;
struct admin_parts;
struct events;
struct answers;
struct sampler;
struct notify;
struct rollouts;
struct fleet;
struct door;
TAILQ_HEAD(doors, door);

struct admin {
	struct event_base *base;   /* borrowed: ends after us */
	struct registry *registry; /* borrowed */
	struct state *state;       /* borrowed */
	struct admin_hooks hooks;
	struct auth *auth; /* owned, as all below */
	struct tls_gate *gate; /* of the TCP doors; NULL: they are clear */
	struct admin_parts *parts; /* prepared for the next admin_apply, NULL */
	struct audit audit; /* and its head in AUDIT_ANCHOR of state_dir */
	struct events *events;
	struct answers *answers;
	struct sampler *sampler;
	struct notify *notify;
	struct rollouts *rollouts;
	struct fleet *fleet;
	struct doors doors;
	struct event *tick;
	struct api_counts counts;
	const struct call *reloading; /* the call that asked for the reload that
	                                 goes on, NULL */
	bool is_reload_refused; /* by a live rollout: the last reload asked for */
};

/* Of what other instances may know too: see fleet/read.c. */
enum call_read {
	CALL_READ_FIRST, /* nobody was asked, or there is nobody */
	CALL_READ_ALONE, /* they could not be asked */
	CALL_READ_ASKED,
};

struct call {
	struct admin *admin; /* borrowed */
	struct door *door;   /* borrowed; may be retired while we run */
	struct evhttp_request *http;
	const struct api_row *row; /* NULL until one was found */
	char *args[API_ARGS_MAX];  /* owned, decoded */
	struct evkeyvalq query;
	struct actor actor;
	char address[128];      /* of the peer, for log and audit */
	char peer_key[64];      /* of the peer, for limits */
	json_t *body;           /* owned; NULL without */
	struct span text;       /* raw body; borrowed from http */
	const char *reason;     /* from the body or ?reason=; NULL */
	const char *replay_key; /* Idempotency-Key, NULL without */
	bool answers_split; /* a rollout's verb asked for by way of its split */
	enum call_read read;
	bool is_dry_run;
	bool is_mutating; /* by its method, even when no row was found */
};

/* ---- answers ---- */

/* Takes the reference. `etag` may be NULL. */
void call_json(struct call *call, int status, json_t *body, const char *etag);
void call_text(struct call *call, int status, const char *type,
    const char *text, size_t len);

/* The end of an answer: with all headers that do not depend on the call. */
void answer_send(struct evhttp_request *http, int status, const char *type,
    const char *text, size_t len);

/* True: it is told later, when the fleet has taken what the call did, or has
 * not (fleet/hold.c). */
bool fleet_hold(struct call *call, int status, const char *type,
    const char *text, size_t len);

/* True: the call is made again when the fleet was asked for what is newer of
   the split (NULL: of all), fleet/read.c. */
bool fleet_read(struct call *call, const char *split);

struct problem {
	int status;
	const char *code;         /* "pool-unhealthy": stable */
	const char *hint, *field; /* may be NULL */
	json_t
	    *extra; /* further members; the reference is taken; may be NULL */
};
/* RFC 9457; `format` is the detail. A refused mutation is audited here. */
void call_problem(struct call *call, const struct problem *problem,
    const char *format, ...) __attribute__((format(printf, 3, 4)));
/* 403: who asks has not that role; `about` may be NULL. */
void call_forbid(struct call *call, enum role role, const char *about);
/* 404 with did-you-mean. `kind` is "split" or "pool". */
void call_unknown(struct call *call, const char *kind, const char *name,
    const char *const *words, size_t n);

/* ---- asking the call ---- */

const char *call_header(const struct call *call, const char *name);
const char *call_query(
    const struct call *call, const char *name); /* NULL: not given */
/* False: answered 400 because the body has a member that is not among `names`
 * (NULL-ended). */
bool call_body_knows(struct call *call, const char *const *names);
/* Honours If-Match. False: answered 412 with `winner` (may be NULL). */
bool call_matches(struct call *call, uint64_t version, const char *winner);
void call_audit(struct call *call, const char *target, const json_t *before,
    const json_t *after, const char *result);
/* Writes one, logging when that fails. */
#define AUDIT_ANCHOR "audit.head"
void admin_audit(struct admin *admin, const struct audit_entry *entry);

/* ---- things that several api_*.c show ---- */

const struct config *admin_config(const struct admin *admin);
/* All, of the listeners and of the admin API itself; the caller frees. NULL with
 * 0: no memory. */
struct tls_cert_info;
struct tls_cert_info *admin_certificates(
    const struct admin *admin, size_t *n_out);
const struct pool_view *admin_pool(const struct admin *admin, const char *name);
/* NULL: answered 404. The pool that the path names first. */
const struct pool_view *pool_of(struct call *call);
uint64_t pool_version(const struct admin *admin, const struct pool_view *view);
void pool_answer(struct call *call, const struct pool_view *view);
json_t *pool_to_json(const struct admin *admin, const struct pool_view *view);
/* Why nothing may go there; null when something may. */
json_t *pool_trouble(const struct admin *admin, const struct pool_view *view);
/* Its endpoints that are names without an address. */
json_t *pool_unresolved(const struct admin *admin, const struct pool_view *view);
/* Who changed something by hand, when and why, as members of `row`. */
void json_set_change(json_t *row, time_t at, const char *by, const char *reason);
json_t *json_time(time_t wall); /* RFC 3339, null for 0 */
json_t *json_percent(bp_t bp);
json_t *weights_to_json(const struct split *split, const bp_t *bp);
json_t *split_to_json(const struct admin *admin, const struct split *split);
struct meter;
void meter_to_json(json_t *object,
    const struct meter *meter); /* requests, rate, p50_ms, ... */
void split_etag(const struct split *split, char *buf, size_t cap);
nsec_t now_mono(void);

/* ---- the rows' functions ---- */

#define ENDPOINT(method, path, role, scope, flags, fn, doc)                    \
	void fn(struct call *call);
#include "admin/endpoints.def"
#undef ENDPOINT

#endif
