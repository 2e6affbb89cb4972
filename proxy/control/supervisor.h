/*
 * The supervisor's own: what the control thread keeps as long as the process
 * lives, and what its files ask of each other. supervisor.c starts, beats and
 * stops; reload.c puts a config to work; way_out.c drains; facts.c tells admin.
 */
#ifndef WEIR_PROXY_SUPERVISOR_H
#define WEIR_PROXY_SUPERVISOR_H

#include <signal.h>
#include <stdbool.h>
#include <time.h>

#include "admin/admin.h"
#include "proxy/control/binding.h"
#include "proxy/control/drain.h"
#include "proxy/control/fleet_wire.h"
#include "proxy/control/foreign_signal.h"
#include "proxy/control/geo_watch.h"
#include "proxy/control/probe.h"
#include "proxy/control/quota.h"
#include "proxy/control/resolve.h"
#include "proxy/log_ring.h"
#include "proxy/proxy.h"
#include "proxy/worker.h"
#include "routing/routing.h"
#include "tls/tls.h"

enum {
	BEAT_MS = 100, /* reaping, draining, watchdog, wants_stop */
	STALL_S = 5,   /* a worker without a turn for so long gets no sign of
	                  life sent */
};

struct supervisor {
	const struct run_options *options;
	const char *path;                /* owned copy of the config's path */
	struct event_base *base;         /* owned */
	struct event *signals[6];        /* owned */
	struct foreign_signals *foreign; /* owned */
	struct event *beat;              /* owned */
	struct event *nudge; /* owned: a worker has seen a candidate fail */
	struct shared shared;
	struct registry *registry;   /* owned */
	struct bindings *bindings;   /* owned */
	struct tls_tickets *tickets; /* owned */
	struct access_log *access;   /* owned */
	struct state *state;         /* owned */
	struct admin *admin;         /* owned */
	struct prober *prober;       /* owned */
	struct resolver *resolver;   /* owned */
	struct geo_watch *geo;       /* owned */
	struct quota *quota;         /* owned */
	struct fleet_wire *fleet;    /* owned */
	struct snapshot_options build;
	unsigned n_started;
	struct drain drain;
	nsec_t began, rotated_at, beat_at;
	time_t started_at, reloaded_at;
	bool reload_ok, is_ready;
	char reload_error[ERR_TEXT_MAX];
	int exit_code;
};

/* What is at work now. */
static inline struct snapshot *
supervisor_snapshot(const struct supervisor *sup)
{
	return publication_current(registry_publication(sup->registry));
}

static inline const struct config *
supervisor_config(const struct supervisor *sup)
{
	return snapshot_config(supervisor_snapshot(sup));
}

/* ---- reload.c ---- */

/* What a snapshot asks for while it is built. Once, before any build. */
void supervisor_prepare_builds(struct supervisor *sup);

/* Takes the config over, also when it fails. */
struct snapshot *supervisor_build(
    struct supervisor *sup, struct config *config, struct err *err);

void supervisor_wake_workers(struct supervisor *sup);

/* `ctx` is the supervisor in all that follows: hooks. */
bool supervisor_reload(
    void *ctx, const char *by, struct diags *diags, struct err *err);
bool supervisor_rebuild(void *ctx, struct err *err);
void supervisor_names_changed(void *ctx);

/* ---- way_out.c ---- */

void supervisor_stop_now(struct supervisor *sup);
void supervisor_begin_drain(
    struct supervisor *sup, const char *by, const char *reason);
void supervisor_begin_drain_by_signal(struct supervisor *sup, int number);
void supervisor_take_drain_step(struct supervisor *sup, nsec_t now);
void supervisor_drain_asked(void *ctx, const char *by, const char *reason);

/* ---- facts.c ---- */

bool supervisor_is_ready(void *ctx);
void supervisor_process_facts(void *ctx, struct process_facts *out);
void supervisor_drain_facts(void *ctx, struct drain_facts *out);
size_t supervisor_certificates(
    void *ctx, struct tls_cert_info *out, size_t cap);

#endif
