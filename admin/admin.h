/*
 * admin: the control plane and all that the operator sees. Runs on the
 * control thread's event_base. It acts on routing (publishes weights, reads
 * statistics) and reaches reload, drain and the like through hooks that the
 * composition root (proxy/main.c) gives: it never sees a connection.
 */
#ifndef WEIR_ADMIN_ADMIN_H
#define WEIR_ADMIN_ADMIN_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "config/config.h"
#include "routing/routing.h"
#include "routing/simulate.h"
#include "tls/tls.h"

/* What the process knows of itself. */
struct process_facts {
	nsec_t uptime;
	time_t started_at;         /* wall */
	unsigned workers;
	uint64_t access_log_dropped;
	nsec_t loop_lag[64];       /* worst of the last second, by worker */
	time_t last_reload_at;     /* wall; of the last successful one */
	bool last_reload_ok;
	char last_reload_error[ERR_TEXT_MAX];
	uint64_t access_log_lines;
	bool has_redis, redis_is_up;
	uint64_t redis_failures;    /* connections that failed */
	uint32_t limit_instances;   /* that share rate limits; 0: none, or not known */
	uint64_t dns_good, dns_failed; /* lookups */
	uint32_t dns_names, dns_failing; /* of the running config; whose last lookup failed */
	uint64_t limits_synced, limits_lost; /* keys told, requests not told to the others */
};

/* The process on its way out. */
struct drain_facts {
	bool is_on;                 /* not ready any more */
	bool is_closing;            /* no listener any more; else its delay lasts */
	nsec_t delay, limit;        /* as configured, or as it began with */
	nsec_t closes_in, cut_in;   /* while it is on; 0: now, or done */
	time_t began_at;            /* wall */
	char by[160];               /* whose word it was: an actor, a signal */
};

/* What only the composition root can do or know. All on the control thread. */
struct admin_hooks {
	void *ctx;
	/* Read, validate, build, merge, swap. False: nothing has changed; diags_out or err say why. `by` goes into the audit log. */
	bool (*reload)(void *ctx, const char *by, struct diags *diags_out, struct err *err);
	/* The pools' endpoints are others in the registry: builds and publishes. False: nothing has changed. */
	bool (*rebuild)(void *ctx, struct err *err);
	bool (*is_ready)(void *ctx);  /* false while draining or before the first config */
	/* Ends the process in order; the answer to whoever asked still leaves. */
	void (*drain)(void *ctx, const char *by, const char *reason);
	void (*drain_facts)(void *ctx, struct drain_facts *out);
	/* Facts for /metrics and status. */
	void (*process)(void *ctx, struct process_facts *out);
	/* Certificates of all listeners; returns how many there are. */
	size_t (*certificates)(void *ctx, struct tls_cert_info *out, size_t cap);
};

/* ---- runtime state on disk (admin/state/journal.c) ---- */

/*
 * state_dir/journal: one record a line, checksummed, appended and fsynced
 * before the change takes effect; state_dir/snapshot: the whole, written
 * beside and renamed. A torn tail is cut with a message; a corrupt middle
 * stops the start with one that says what to do.
 */
struct state;
/* Creates the directory (0700) if it can. NULL with err: refuse to start. Takes an exclusive lock (two weirs must not share it). */
struct state *state_open(const char *dir, struct err *err);
/* Restores all splits of the registry from what was read; logs what it resumed. */
void state_restore(struct state *state, struct registry *registry);
/* Records a split's state durably. False (disk full, I/O error): the caller must not make the change; counted. */
bool state_put_split(struct state *state, const char *name, const struct split_state *split, struct err *err);
uint64_t state_write_errors(const struct state *state);
void state_close(struct state **state);

/* ---- the admin server ---- */

struct admin;
/*
 * Binds the admin listeners (unix sockets 0600, created with their directory)
 * and the metrics listener. `fds` given by an earlier process may be reused later.
 */
struct admin *admin_start(struct event_base *base, const struct config *config, struct registry *registry,
    struct state *state, const struct admin_hooks *hooks, struct err *err);
/*
 * Before a reload is published: reads tokens, certificate and key of the admin
 * API and binds its new listeners, so that what is wrong with them changes
 * nothing. admin_apply takes the result; admin_cancel gives it up, when
 * something else refuses. No turn of the event loop lies between.
 */
bool admin_prepare(struct admin *admin, const struct config *config, struct err *err);
void admin_cancel(struct admin *admin);
/* After a reload: new access rules, new listeners; the notes are audited and announced. */
void admin_apply(struct admin *admin, const struct config *config, const char *by,
    const struct merge_note *notes, size_t n_notes);
/*
 * May `config` take the place of the running one? False with err: a live
 * rollout owns what it would change; call before anything is built.
 */
bool admin_allows(struct admin *admin, const struct config *config, struct err *err);
/* Endpoints have come or gone: those that came have the state that was recorded for them. */
void admin_follow(struct admin *admin);
/* Looks at all live rollouts at once: a worker has seen the candidate fail. */
void admin_rollouts_look(struct admin *admin);
/* An event for /v1/events and the audit log; `json` is an object's text. */
void admin_announce(struct admin *admin, const char *kind, const char *json);
/* The same for what was tried in vain. */
void admin_announce_failure(struct admin *admin, const char *kind, const char *by, const char *error);
/* What a file's reading brought up: as text with the lines on a terminal, else one event of the log each. */
void diags_log(const struct diags *diags);
/* SIGUSR1: the audit log goes on in a new file of the same name. */
bool admin_reopen_logs(struct admin *admin, struct err *err);
void admin_stop(struct admin **admin);

/* ---- several instances as one (admin/fleet/fleet.c) ---- */

/*
 * What the fleet asks of the memory that its instances share. Nothing waits:
 * answers come later, on the control thread. All texts are borrowed for the
 * call; names are below the fleet's prefix.
 */
struct fleet_ask {
	const char *id;            /* of this instance */
	const char *thing;         /* what is agreed on */
	const char *accord, *doc;  /* ours; doc NULL: not to be written now */
	bool is_fenced;            /* written only while the lease is ours */
	const char *expected;      /* the decision that ours was made on: not written when there is a later one; "": whatever is there */
	const char *lease;         /* NULL: none is asked about */
	int lease_ms;              /* take or keep it for so long; 0: who has it; -1: give it back */
	const char *cells, *cell;  /* evidence: where, and ours; NULL: not asked for, no news */
	const char *refused;       /* an accord that counts as none; "": there is no such */
	const char *back, *why;    /* a rollout that went back: where it is noted, and our note; NULL: none */
};

struct fleet_cell {
	const char *id, *text;
};

struct fleet_told {
	const char *accord; /* as it is there now, '?' for what is no digit; "" none */
	const char *by;     /* who wrote it; "" ourselves, or nobody */
	const char *doc;    /* when it is greater than ours, or the fence held ours off; else NULL */
	bool is_fenced_off;
	const char *holder; /* of the lease; "" nobody */
	const char *why;    /* the rollout went back somewhere; "" no */
	const struct fleet_cell *cells;
	size_t n_cells;
};

/* One line of those who have told of themselves of late. */
struct fleet_about {
	const char *id, *about;
	int64_t ms; /* since then */
};

typedef void fleet_told_fn(void *ctx, const struct fleet_told *told); /* NULL: it failed */
typedef void fleet_news_fn(void *ctx, bool is_answered, int64_t number);
typedef void fleet_about_fn(void *ctx, const struct fleet_about *list, size_t n); /* NULL: it failed */

/* Each returns false when nothing was sent; its function is not called then. */
struct fleet_link {
	void *ctx;
	bool (*is_up)(void *ctx);
	bool (*sync)(void *ctx, const struct fleet_ask *ask, fleet_told_fn *fn, void *fn_ctx);
	bool (*look)(void *ctx, fleet_news_fn *fn, void *fn_ctx); /* a number that grows with every write */
	bool (*hears)(void *ctx); /* fleet_heard() is called after each write: looking is for the case that it is not */
	bool (*beat)(void *ctx, const char *id, const char *about, fleet_about_fn *fn, void *fn_ctx);
	void (*leave)(void *ctx, const char *id);
};

struct fleet;
struct fleet *admin_fleet(struct admin *admin);
/* Copies the link; NULL: this instance is alone from now on. */
void fleet_join(struct fleet *fleet, const struct fleet_link *link);
/* It can be reached again, or cannot (and why). */
void fleet_reached(struct fleet *fleet);
void fleet_lost(struct fleet *fleet, const char *why);
/* The number that look() would tell, and who has written. */
void fleet_heard(struct fleet *fleet, int64_t number, const char *by);

/* ---- access log (admin/access_log.c): the log thread's end ---- */

/*
 * One finished request, as a worker saw it. Spans point into the ring record
 * and are raw client bytes: the formatter escapes.
 */
struct access_record {
	uint64_t wall_ns; /* end of the request */
	enum http_method method;
	struct span method_text; /* as it came, when method is METHOD_OTHER */
	struct span path, query, host, user_agent, request_id, trace_id, span_id;
	struct span client, peer;   /* printed addresses */
	struct span upstream;       /* endpoint address, "" when none */
	struct span listener, route, split, pool;
	struct span shielded;       /* the pool that answered in the drawn one's stead, "" when none */
	unsigned status;
	unsigned grpc_told;         /* gRPC's status plus one, 0 when none was told */
	unsigned http_minor;        /* 0, 1; 20 for HTTP/2 */
	const char *error;          /* error.type, NULL when none */
	const char *ended_by;       /* "client", "pool", "weir", NULL */
	const char *decision;       /* decision_why_name */
	char country[3];            /* "" unknown or not asked */
	const char *rate_limit;     /* "limited", "dry_run", NULL */
	int64_t queue_us, connect_us, first_byte_us, total_us; /* -1: not reached */
	uint64_t bytes_in, bytes_out;
	unsigned attempts;
	bool tls;
};
/* One JSON line with its newline into buf; returns the length (< cap, cap at least 8192). Not for workers. */
size_t access_format(const struct access_record *record, const struct strings *redact, char *buf, size_t cap);

/* ---- a recorded access log (admin/rollout/replay.c) ---- */

enum { REPLAY_UNITS_MIN = 100 };
/* The requests of `split` that its weights assigned, for a simulation; the caller frees out->at. */
bool replay_read(const char *path, const char *split, struct recording *out, struct err *err);

/* ---- the client: weirctl ---- */
int ctl_main(int argc, char **argv); /* argv[0] is the name it was called by; returns the exit code */

#endif
