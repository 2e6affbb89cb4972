/*
 * The model: what the operator's file says, with defaults filled in. Built by
 * config_load, immutable afterwards, freed as a whole. Every name, key and
 * default is a row of schema.def; the same word stands in the file, in the
 * API, in the metrics and here.
 *
 * Threads: a struct config may be read by all threads once it is built.
 */
#ifndef WEIR_CONFIG_CONFIG_H
#define WEIR_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "config/err.h"
#include "config/span.h"
#include "config/units.h"

enum {
	CONFIG_NAME_MAX = 63,       /* [a-z0-9][a-z0-9-]{0,62} */
	CONFIG_SPLIT_POOLS_MAX = 8, /* pools in one split */
	CONFIG_SIZE_MAX = 4 << 20,  /* bytes of a file */
	CONFIG_DEPTH_MAX = 32,
	CONFIG_DIAGS_MAX = 50,
};
#define CONFIG_NEVER INT64_MAX /* a duration without an end */

/* The methods that routes and metrics tell apart (RFC 9110, RFC 5789). */
enum http_method {
	METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_PUT, METHOD_DELETE,
	METHOD_CONNECT, METHOD_OPTIONS, METHOD_TRACE, METHOD_PATCH,
	METHOD_OTHER, /* any other token: forwarded, labelled "OTHER" */
	METHOD_COUNT
};
const char *method_name(enum http_method method);
enum http_method method_of(struct span token); /* case-sensitive */

/* ---- small words ---- */

struct strings {
	char **at; /* owned */
	size_t n;
};

/* A secret is named in the file, never written there. Printed as "***". */
struct secret {
	enum { SECRET_NONE, SECRET_FILE, SECRET_ENV, SECRET_CREDENTIAL } from;
	char *where; /* owned: path, variable, or name below $CREDENTIALS_DIRECTORY */
};
/* Reads it now; bytes_out is NUL-ended beyond len_out, the caller frees. One trailing newline is dropped. */
bool secret_read(const struct secret *secret, char **bytes_out, size_t *len_out, struct err *err);
/* A regular file of at most `max` bytes (whole MiB), never waiting; bytes_out as above. The error does not name it. */
bool file_read(const char *path, size_t max, char **bytes_out, size_t *len_out, struct err *err);

/* Where one may listen or connect: "10.0.0.1:80", "[::1]:80", "unix:/path", "name:80". */
struct address {
	char *text;    /* owned: as written, the label in metrics and logs */
	enum { ADDRESS_IP, ADDRESS_UNIX, ADDRESS_NAME } kind;
	char *host;    /* owned: literal, path or DNS name */
	char *service; /* owned: the name of SRV records, then host is the domain that it is of; NULL: none */
	uint16_t port; /* 0 for unix */
	struct sockaddr_storage sa; /* filled for IP and UNIX */
	socklen_t sa_len;
};
bool address_parse(struct span text, struct address *out, struct err *err);
/* Of a name server: an IP address alone has port 53, and `text` is written with it. */
bool address_parse_dns(struct span text, struct address *out, struct err *err);
/* "_http._tcp.shop.internal": an ADDRESS_NAME without a port. */
bool address_of_service(struct span name, struct address *out, struct err *err);
void address_release(struct address *address);

struct cidr {
	uint8_t bytes[16]; /* network order; v4 as ::ffff:a.b.c.d */
	uint8_t bits;      /* 0..128, counted on the 16 bytes */
};
struct cidrs {
	struct cidr *at; /* owned */
	size_t n;
};
bool cidr_parse(struct span text, struct cidr *out);
bool cidrs_hold(const struct cidrs *cidrs, const struct sockaddr *sa); /* linear; false for unix peers */

struct header_pair {
	char *name;  /* owned, lower case */
	char *value; /* owned; may hold ${request.id} and the like, see header_edits */
};

/* ---- admin, logs ---- */

enum role { ROLE_NONE, ROLE_VIEWER, ROLE_OPERATOR, ROLE_APPROVER, ROLE_ADMIN };
const char *role_name(enum role role);

struct access_rule {
	enum { WHO_UID, WHO_TOKEN, WHO_CERT } kind;
	char *who;            /* owned: the whole word, "token:ci"; the actor in the audit log */
	uint32_t uid;         /* WHO_UID */
	struct secret secret; /* WHO_TOKEN */
	enum role role;
	struct strings splits; /* empty: all */
};

struct key_pair {
	char *cert;        /* owned: path of a PEM chain */
	struct secret key; /* PEM */
};

struct admin_cfg {
	struct address *listen; /* owned; default unix:/run/weir/admin.sock */
	size_t n_listen;
	bool has_tls;
	struct key_pair tls;
	char *tls_client_ca; /* owned, NULL without */
	struct access_rule *access; /* owned; empty: the uid that runs weir and root are admin on unix sockets */
	size_t n_access;
	struct address *metrics_listen; /* owned; NULL without */
};

struct logs_cfg {
	char *access_path; /* owned: "stdout", "stderr", "off" or a path; default "off" */
	bp_t sample_ok;    /* 2xx..4xx */
	bp_t sample_error; /* 5xx and failures */
	struct strings redact; /* header names, lower case */
	char *audit_path;  /* owned; default state_dir/audit.jsonl */
};

/* ---- listeners ---- */

struct limits_cfg {
	uint32_t connections; /* per listener, all workers together */
	uint32_t per_client;  /* connections per client address; 0: no limit */
	nsec_t header_timeout; /* absolute, from accept or first byte to the end of the head */
	nsec_t idle_timeout;   /* keep-alive, and between two reads of a body */
	uint64_t max_header;   /* bytes of a request's head, request line included */
	uint64_t max_body;     /* bytes; 0: no limit */
	uint32_t max_streams;
};

/* Versions of HTTP, as bits. */
enum { PROTOCOL_H1 = 1 << 0, PROTOCOL_H2 = 1 << 1 };
/* Versions of the PROXY protocol, as bits. */
enum { PROXY_V1 = 1 << 0, PROXY_V2 = 1 << 1 };

struct tls_cfg {
	unsigned min_version; /* 12 or 13 */
	unsigned protocols;   /* what ALPN agrees to: the listener's; 0: HTTP/1.1 */
	struct key_pair *certificates; /* owned; empty with self_signed */
	size_t n_certificates;
	char *client_ca;      /* owned: PEM file of those who sign clients' certificates; NULL: nobody is asked */
	bool requires_client; /* with client_ca: who shows none is refused */
	bool self_signed; /* made in memory at start (weir demo, weir proxy --tls self-signed) */
	nsec_t ticket_rotation;
};

struct listener_cfg {
	char *name;           /* owned */
	struct address *bind; /* owned */
	size_t n_bind;
	char *redirect_to;    /* owned: a listener's name, or NULL; 308 to its scheme and port */
	unsigned proxy_protocol; /* PROXY_V bits that connections must begin with; 0: off */
	struct cidrs trusted_proxies;
	char *client_ip_header; /* owned; default x-forwarded-for */
	unsigned protocols;   /* PROTOCOL_ bits; default both */
	struct limits_cfg limits;
	bool has_tls;
	struct tls_cfg tls;
};

/* ---- names ---- */

struct dns_cfg {
	struct address *servers; /* owned; empty: the system's */
	size_t n_servers;
	nsec_t timeout;          /* of one try */
	nsec_t min_ttl, max_ttl; /* bounds for what an answer says */
};

/* ---- pools ---- */

struct endpoint_cfg {
	unsigned line;          /* of the file */
	struct address
	    address; /* ADDRESS_NAME: resolved by proxy/control/resolve.c, may
	                stand for several */
	uint32_t weight;        /* 1..1000, default 1; a service's records have their own */
};

enum balance { BALANCE_P2C, BALANCE_ROUND_ROBIN, BALANCE_RANDOM, BALANCE_HASH, BALANCE_EWMA };

/* What a hash, an affinity or a limit is taken from. */
struct key_cfg {
	enum { KEY_REQUEST, KEY_COOKIE, KEY_HEADER, KEY_CLIENT_IP, KEY_COUNTRY, KEY_TOKEN } by;
	char *name; /* owned: cookie or header (lower case), else NULL */
	nsec_t ttl; /* cookies that weir sets */
};

struct pool_tls_cfg {
	bool on;
	enum { VERIFY_SYSTEM, VERIFY_FILE, VERIFY_OFF } verify;
	char *ca_file;     /* owned */
	char *server_name; /* owned, NULL: the endpoint's host */
	unsigned protocols; /* PROTOCOL_ bits for ALPN: the pool's; 0: HTTP/1.1 */
};

/* Which first outcomes are tried once more elsewhere. */
struct retry_cfg {
	bool on_connect;    /* refused, unreachable, timed out before a byte was sent */
	uint16_t statuses[16];
	size_t n_statuses;
	unsigned max;       /* further attempts, 0..5 */
	bp_t budget;        /* of requests, per worker */
	nsec_t per_try;     /* 0: first_byte_timeout, and no further attempt after it */
	bp_t hedge_quantile; /* a second attempt beside one that takes longer than so many do; 0: see hedge_after */
	nsec_t hedge_after; /* ... than this; 0 with hedge_quantile 0: never */
	uint32_t replay;    /* bytes kept of a body that came after its head; 0: none */
};

/* How an endpoint is asked whether it is well. */
struct health_cfg {
	bool is_on;
	char *path;      /* owned: with its query; NULL: a connection is enough */
	char *grpc;      /* owned: ask gRPC's health service, at `path`, for this service; NULL: HTTP */
	bool is_head;    /* HEAD, not GET */
	nsec_t interval, timeout;
	unsigned rise, fall; /* in a row */
	struct {
		uint16_t from, to;
	} expect[16];        /* good statuses */
	size_t n_expect;
	char *body;      /* owned: what the answer must contain; NULL: anything */
	struct header_pair *headers; /* owned */
	size_t n_headers;
	uint16_t port;   /* 0: the endpoint's */
};

/* When an endpoint is taken out for what it answers. */
struct outliers_cfg {
	bool is_on;
	unsigned consecutive;
	nsec_t eject;       /* the first time */
	bp_t max_ejected;   /* of the pool's endpoints */
};

/* Less than in_flight, as answers get slower. */
struct adaptive_cfg {
	bool is_on;
	uint32_t min;
	bp_t tolerance; /* how much slower than usual answers may be */
};

/* How much a pool takes at once. */
struct pool_limits_cfg {
	uint32_t in_flight; /* all workers together; 0: no limit */
	uint32_t queue;
	nsec_t queue_timeout;
	struct adaptive_cfg adaptive;
};

struct pool_cfg {
	char *name; /* owned */
	struct header_pair *meta; /* owned: shown, never interpreted */
	size_t n_meta;
	struct endpoint_cfg *endpoints; /* owned */
	size_t n_endpoints;
	unsigned protocol; /* one PROTOCOL_ bit */
	unsigned send_proxy; /* version of the PROXY protocol that endpoints are told of clients with; 0: off */
	struct pool_tls_cfg tls;
	enum balance balance;
	struct key_cfg hash_on;
	nsec_t connect_timeout, first_byte_timeout, idle_timeout;
	struct retry_cfg retry;
	struct health_cfg health;
	struct outliers_cfg outliers;
	struct pool_limits_cfg limits;
	bool is_timed;      /* balance or limits want to know how long each answer took */
	nsec_t slow_start;  /* 0: none */
	nsec_t drain;       /* for an endpoint that is taken out; CONFIG_NEVER: as long as it takes */
};

/* ---- splits ---- */

struct weight_cfg {
	uint32_t pool; /* index into config.pools */
	bp_t weight;
};

struct pin_cfg {
	char *header;       /* owned, lower case; NULL without */
	char *header_value; /* owned */
	char *cookie, *cookie_value; /* owned; NULL without */
	struct cidrs from;  /* empty: anyone */
	uint32_t pool;      /* index into config.pools */
};

/* A share of the requests, copied to a pool whose answers nobody gets. */
struct mirror_cfg {
	bool is_on;
	uint32_t to;       /* index into config.pools */
	bp_t percent;
	uint32_t methods;  /* bit per enum http_method */
	uint64_t max_body;
};

struct split_cfg {
	char *name;      /* owned */
	uint32_t stable; /* index into config.pools */
	struct weight_cfg weights[CONFIG_SPLIT_POOLS_MAX]; /* sum BP_ALL; in file order */
	size_t n_weights;
	struct key_cfg affinity;
	struct pin_cfg *pins; /* owned */
	size_t n_pins;
	struct mirror_cfg mirror;
	bool shield;     /* a failed idempotent candidate request is retried once on stable */
};

/* ---- routes ---- */

/* Two letters are a country, as a number; see country.def. */
enum { COUNTRIES = 26 * 26, COUNTRY_NONE = COUNTRIES };
enum continent {
	CONTINENT_NONE, CONTINENT_AF, CONTINENT_AN, CONTINENT_AS, CONTINENT_EU,
	CONTINENT_NA, CONTINENT_OC, CONTINENT_SA, CONTINENTS
};
unsigned country_of(struct span code);      /* COUNTRY_NONE: not two letters */
void country_print(unsigned country, char out[3]); /* "" for COUNTRY_NONE */
bool country_is_iso(unsigned country);
bool country_is_free(unsigned country);     /* a code that ISO leaves to users */
enum continent country_continent(unsigned country);
enum continent continent_of(struct span code); /* CONTINENT_NONE: no such */
const char *continent_name(enum continent continent);

struct country_set {
	uint64_t bits[(COUNTRIES + 63) / 64];
};
static inline bool
country_set_has(const struct country_set *set, unsigned country)
{
	return country < COUNTRIES && (set->bits[country / 64] >> country % 64 & 1) != 0;
}

/* Where a client is; all that is given must hold, and an unknown place is in none. */
struct geo_cfg_match {
	bool is_on;
	bool has_countries;
	struct country_set countries, not_countries;
	uint8_t continents;          /* bit per enum continent; 0: any */
	struct strings subdivisions; /* "US-CA" (ISO 3166-2); empty: any */
	uint32_t *asns;              /* owned; empty: any */
	size_t n_asns;
};

struct match_cfg {
	struct strings hosts;   /* lower case; "*.example.com" matches one or more labels; empty: any */
	char *path;             /* owned, exact; NULL without */
	char *path_prefix;      /* owned, by whole segments: /api matches /api and /api/x, not /apix; "/" all */
	uint32_t methods;       /* bit per enum http_method; 0: any */
	struct header_pair *headers; /* owned; all must match; value "*" means present */
	size_t n_headers;
	struct cidrs client;    /* empty: any */
	struct geo_cfg_match geo;
};

/* What a shared limit is while Redis is away. */
enum on_failure { ON_FAILURE_LOCAL, ON_FAILURE_OPEN, ON_FAILURE_CLOSED };

struct redis_cfg {
	bool is_on;
	struct address address;
	uint32_t database;
	char *user;          /* owned; NULL without */
	struct secret password;
	char *prefix;        /* owned */
	enum on_failure on_failure;
	struct pool_tls_cfg tls;
	nsec_t connect_timeout, answer_timeout;
};

/* Ranges as written and those of files, all together. */
struct range_list {
	bool is_given;
	struct cidrs all;       /* the written ones first */
	size_t n_written;
	struct strings files;
};

/* Who may use a route: not denied, allowed where there is a list, and in the right place. */
struct route_access_cfg {
	bool is_on;
	struct range_list allow, deny;
	struct geo_cfg_match geo;
};

/* At most `burst` requests of one key at once, and `rate` in the long run. */
struct limit_cfg {
	bool is_on;
	struct key_cfg key;     /* KEY_REQUEST: one count for the whole route */
	uint8_t v6_prefix;      /* bits of an IPv6 address that make one client */
	struct rate rate;
	uint32_t burst;
	bool is_dry_run;
	bool is_global;         /* shared by all instances, through Redis */
	enum on_failure on_failure;
};

/*
 * Values may hold ${request.id} ${client.address} ${client.certificate.subject}
 * ${client.certificate.sha256} ${request.host}
 * ${request.path} ${request.method} ${pool} ${split} ${route}; config checks the words, proxy/headers.c fills them.
 */
struct header_edits {
	struct header_pair *set; /* owned: replaces all fields of that name */
	size_t n_set;
	struct strings remove;   /* lower case */
};

enum route_action { ROUTE_SPLIT, ROUTE_POOL, ROUTE_RESPOND, ROUTE_REDIRECT };

enum { UPGRADE_WEBSOCKET = 1 << 0, UPGRADE_OTHER = 1 << 1 };

struct route_cfg {
	char *name; /* owned; "route-3" when the file gives none */
	struct match_cfg match;
	struct header_edits request, response;
	struct route_access_cfg access;
	struct limit_cfg limit;
	unsigned upgrade; /* UPGRADE_ bits; default UPGRADE_WEBSOCKET */
	enum route_action action;
	uint32_t target;  /* index into splits or pools */
	struct {
		uint16_t status;
		char *body, *content_type; /* owned */
	} respond;
	struct {
		uint16_t status; /* 301 302 303 307 308 */
		char *to;        /* owned: "/new" or "https://host/path"; the query is kept */
	} redirect;
};

/* ---- plans: how weight moves from one pool to another, and who may stop it ---- */

enum {
	PLAN_PHASES_MAX = 16,
	PLAN_GUARDS_MAX = 16,
	PLAN_GATES_MAX = 16,
	PLAN_HOOKS_MAX = 8,
};

/* An HTTP receiver of ours: a gate that asks it, or a notification. */
struct hook_cfg {
	char *url;           /* owned: http or https */
	nsec_t timeout;      /* of one try */
	unsigned retries;    /* further tries */
	struct secret hmac;  /* signs the body with HMAC-SHA256; SECRET_NONE: unsigned */
};

enum guard_metric { GUARD_ERRORS, GUARD_LATENCY, GUARD_SHAPE, GUARD_EXCESS_FAILURES, GUARD_SIGNAL };
enum guard_action { ACTION_OBSERVE, ACTION_HOLD, ACTION_ROLLBACK };
const char *guard_metric_name(enum guard_metric metric); /* "errors"; GUARD_SIGNAL: "signal" */
const char *guard_action_name(enum guard_action action);

/* "2pp": a difference of rates; "20%": a ratio. */
struct increase {
	enum { INCREASE_NONE, INCREASE_ABSOLUTE, INCREASE_RELATIVE } kind;
	double by; /* 0.02 for "2pp", 0.2 for "20%" */
};

/*
 * Compared with the baseline (max_increase: errors, latency, shape), held
 * against a constant (max_rate: errors), or counted (max: excess_failures, signal).
 */
struct guard_cfg {
	char *name; /* owned */
	enum guard_metric metric;
	char *signal; /* owned: the kind, for GUARD_SIGNAL; else NULL */
	struct increase max_increase; /* proven below: pass; NONE with max_rate */
	struct increase tolerance;    /* proven above: fail; default a quarter of max_increase */
	double max_rate;              /* 0..1; 0: not an absolute guard */
	uint64_t max;                 /* fires when the count is above */
	nsec_t window;                /* of max_rate and of signals; 0: the whole rollout */
	nsec_t warmup;                /* latency: not judged for so long after the candidate's first request */
	enum guard_action action;
};

enum gate_kind { GATE_WEBHOOK, GATE_APPROVAL, GATE_WINDOW };

struct gate_cfg {
	char *name; /* owned */
	enum gate_kind kind;
	struct hook_cfg webhook;
	struct {
		enum role role;
		unsigned count;     /* distinct people */
		bool not_requester; /* who started the rollout does not count */
		nsec_t ttl;         /* an approval is good for so long; 0: for ever */
	} approval;
	struct {
		unsigned days;        /* bit 0: Monday */
		unsigned from, to;    /* minutes of the day; from > to runs over midnight */
		char *zone;           /* owned: tz database name; "UTC" without */
	} window;
};

enum phase_until { UNTIL_HELD, UNTIL_PROVEN };

struct phase_cfg {
	char *name;  /* owned */
	bp_t weight; /* the candidate's */
	nsec_t ramp, hold;
	uint64_t min_requests;   /* of the candidate */
	enum phase_until until;
	nsec_t timeout;          /* from the phase's begin; 0: none */
	uint8_t gates[PLAN_GATES_MAX]; /* indices into the plan's gates, in file order */
	size_t n_gates;
};

enum rollback_mode { ROLLBACK_INSTANT, ROLLBACK_RAMP, ROLLBACK_AUTO };
enum rollback_sessions { SESSIONS_RECALL, SESSIONS_DRAIN };
enum plan_timeout { TIMEOUT_HOLD, TIMEOUT_ROLLBACK, TIMEOUT_PROMOTE };

/* What a notification may be about; bits. */
enum {
	NOTIFY_STARTED = 1 << 0, NOTIFY_PHASE = 1 << 1, NOTIFY_HOLD = 1 << 2, NOTIFY_ROLLBACK = 1 << 3,
	NOTIFY_PROMOTED = 1 << 4, NOTIFY_ABORTED = 1 << 5, NOTIFY_APPROVAL = 1 << 6,
};

struct notify_cfg {
	struct hook_cfg hook;
	unsigned events; /* NOTIFY_ bits; all without */
};

struct plan_cfg {
	char *name; /* owned */
	struct phase_cfg *phases; size_t n_phases; /* owned; at least one */
	struct guard_cfg *guards; size_t n_guards; /* owned */
	struct gate_cfg *gates; size_t n_gates;    /* owned */
	struct notify_cfg *notify; size_t n_notify; /* owned */
	nsec_t keep_warm;       /* after the promotion: the old pool stays, guards go on, undo goes back */
	bp_t holdback;          /* stays on the old pool until keep_warm ends: a baseline at the same time */
	double false_rollback;  /* alpha of the whole rollout, 0.001 */
	double false_pass;      /* beta of a verdict pass, 0.05 */
	struct {
		enum rollback_mode mode;
		enum rollback_sessions sessions;
		nsec_t ramp; /* how long a ramp down takes, 30s */
	} rollback;
	enum plan_timeout on_timeout;
};

/* ---- the whole ---- */

/* How the process leaves. */
struct drain_cfg {
	nsec_t delay; /* not ready, but all goes on */
	nsec_t limit; /* then, for what is in flight */
};

struct config {
	char *path;       /* owned: the file, or "-" when made by the program */
	uint64_t hash;    /* of the bytes: equal files have equal hashes */
	unsigned workers; /* 0: one per CPU that we may run on */
	char *user;       /* owned; NULL: stay */
	char *state_dir;  /* owned */
	struct drain_cfg drain;
	struct admin_cfg admin;
	struct logs_cfg logs;
	struct redis_cfg redis;
	struct dns_cfg dns;
	struct strings geo; /* databases, the first that knows wins; empty: none */
	struct listener_cfg *listeners; size_t n_listeners;
	struct pool_cfg *pools; size_t n_pools;
	struct split_cfg *splits; size_t n_splits;
	struct route_cfg *routes; size_t n_routes;
	struct plan_cfg *plans; size_t n_plans;
};

/* By name; NULL: there is none. */
const struct plan_cfg *config_plan(const struct config *config, const char *name);

/*
 * A rollout keeps the plan that it began with, over reloads and restarts: as
 * a copy, and as one line of JSON that plan_parse reads back to an equal plan.
 * The caller frees what these return; secrets are named in it, never held.
 */
struct plan_cfg *plan_copy(const struct plan_cfg *plan);
void plan_free(struct plan_cfg **plan);
char *plan_render_json(const struct plan_cfg *plan);
struct plan_cfg *plan_parse(struct span json, struct err *err); /* NULL with err: not a plan */

/* ---- what was wrong ---- */

struct diag {
	bool is_warning;
	char code[8];        /* "E012", "W003": stable, see config_explain_code */
	unsigned line, column, width; /* from 1; width 0: no caret */
	char *message;       /* owned: unknown key "wieght" in pool "canary" */
	char *hint;          /* owned, may be NULL: did you mean "weight"? */
	char *source;        /* owned, may be NULL: the line of the file, cut when it is long */
	unsigned source_column; /* where source begins in that line, from 1 */
};

struct diags {
	char *file; /* owned: as the user named it */
	struct diag *at; /* owned; at most CONFIG_DIAGS_MAX */
	size_t n, errors, warnings; /* errors and warnings count those beyond the bound too */
};
void diags_release(struct diags *diags);
/* Text as in the contract (colour only if asked), or {"schema":"weir.check/v1","errors":[{file,line,column,code,message,hint}],"warnings":[...]}. */
void diags_print(const struct diags *diags, FILE *out, bool colour);
char *diags_json(const struct diags *diags); /* caller frees */

/*
 * Reads and checks a file. Returns NULL when there is any error; diags_out is
 * filled either way and released by the caller. Never exits, never logs. The
 * path "-" is standard input.
 */
struct config *config_load(const char *path, struct diags *diags_out);
struct config *config_load_text(const char *name, struct span text, struct diags *diags_out);
void config_free(struct config **config);

/* ---- a pool's endpoints alone (config/endpoints.c) ---- */

/* As a JSON list that reads back; the caller frees. The same text means the same endpoints. */
char *endpoints_text(const struct endpoint_cfg *at, size_t n);
/*
 * The other way: the list as the file would have it in that pool, with the
 * same complaints. NULL when there is any. Variables are text.
 */
struct endpoint_cfg *endpoints_load(const char *pool, struct span list, size_t *n_out, struct diags *diags_out);
void endpoints_free(struct endpoint_cfg **at, size_t n);

/* Secrets as "***". A JSON document {"schema":"weir.config/v1",...}; caller frees. */
char *config_render_json(const struct config *config);

/* What SIGHUP would change: one line a difference, '+', '-', '~'. Caller frees. "" when equal. */
char *config_diff(const struct config *before, const struct config *after);
/* True when a changed setting needs a restart (workers, user, state_dir); names them in err. */
bool config_needs_restart(const struct config *before, const struct config *after, struct err *err);

/* ---- what the tables say, for the command line ---- */
void config_print_schema(FILE *out);                       /* JSON Schema 2020-12 */
void config_print_reference(FILE *out);                    /* Markdown, every setting */
void config_print_keys(FILE *out); /* the keys that config_explain knows, one a line */
bool config_explain(const char *key, FILE *out, struct err *err); /* "pools.balance"; err suggests */
bool config_explain_code(const char *code, FILE *out, struct err *err); /* "E031" */

/* The nearest of `words` to `word` (optimal string alignment distance), or NULL when none is near. */
const char *suggest(struct span word, const char *const *words, size_t n);

#endif
