/*
 * The control thread: puts a config to work, reloads it, drains, stops. It
 * owns what lives as long as the process (registry, state, tickets, sockets,
 * workers) and runs admin, probes and timers on its own event loop, so that
 * nothing here ever waits for the data plane nor the other way round.
 *
 *   start:  bind -> build snapshot -> drop privileges -> state -> publish ->
 *           workers -> admin -> ready
 *   reload: load -> bind new -> build beside -> publish (merge) -> journal ->
 *           hand over sockets -> admin
 *   drain:  not ready, listeners closed, requests in flight finish, then stop
 *           (drain.h)
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/log.h"
#include "proxy/client_table.h"
#include "proxy/control/binding.h"
#include "proxy/control/drain.h"
#include "proxy/control/fleet_wire.h"
#include "proxy/control/foreign_signal.h"
#include "proxy/control/geo_watch.h"
#include "proxy/control/probe.h"
#include "proxy/control/process.h"
#include "proxy/control/quota.h"
#include "proxy/control/resolve.h"
#include "proxy/control/sd_notify.h"
#include "proxy/log_ring.h"
#include "proxy/proxy.h"
#include "proxy/worker.h"
#include "routing/routing.h"
#include "tls/tls.h"

enum {
	BEAT_MS = 100,     /* reaping, draining, watchdog, wants_stop */
	ADOPTION_MS = 200, /* a reload waits so long for its workers */
	STALL_S = 5, /* a worker without a turn for so long gets no sign of life
	                sent */
};

struct supervisor {
	const struct run_options *options;
	const char *path;         /* owned copy of the config's path */
	struct event_base *base;  /* owned */
	struct event *signals[6]; /* owned */
	struct foreign_signals *foreign; /* owned */
	struct event *beat;       /* owned */
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

/* ---- what hangs on a snapshot ---- */

static void *
build_listener_tls(void *ctx, const struct listener_cfg *cfg, struct err *err)
{
	struct supervisor *sup = ctx;
	char *warnings = NULL;
	struct tls_server *server;

	if (!cfg->has_tls)
		return NULL;
	server = tls_server_new(
	    &cfg->tls, sup->tickets, sup->shared.n_workers, &warnings, err);
	if (!server)
		err_wrap(err, "listener '%s'", cfg->name);
	if (warnings)
		log_event(LOG_WARN, "certificate", "listener", cfg->name,
		    "warning", warnings, NULL);
	free(warnings);
	return server;
}

static void *
build_pool_tls(void *ctx, const struct pool_cfg *cfg, struct err *err)
{
	struct supervisor *sup = ctx;
	struct tls_client *client;

	if (!cfg->tls.on)
		return NULL;
	/* One place more: checks of its endpoints are this thread's. */
	client = tls_client_new(&cfg->tls,
	    sup->shared.n_workers + (cfg->health.is_on ? 1 : 0), err);
	if (!client)
		err_wrap(err, "pool '%s'", cfg->name);
	return client;
}

static void
free_listener_tls(void *ctx, void *tls)
{
	struct tls_server *server = tls;

	(void)ctx;
	tls_server_free(&server);
}

static void
free_pool_tls(void *ctx, void *tls)
{
	struct tls_client *client = tls;

	(void)ctx;
	tls_client_free(&client);
}

static size_t
resolve_name(void *ctx, const struct address *address,
    struct sockaddr_storage *out, size_t cap)
{
	struct supervisor *sup = ctx;

	return resolver_lookup(sup->resolver, address, out, cap);
}

static size_t
find_service(
    void *ctx, const char *service, struct service_place *out, size_t cap)
{
	struct supervisor *sup = ctx;

	return resolver_places(sup->resolver, service, out, cap);
}

/* Redis: asked when a connection is to be made, again each time. */
static size_t
resolve_anew(void *ctx, const struct address *address,
    struct sockaddr_storage *out, size_t cap)
{
	struct supervisor *sup = ctx;

	resolver_hurry(sup->resolver, address->host);
	return resolver_lookup(sup->resolver, address, out, cap);
}

static struct snapshot *
build(struct supervisor *sup, struct config *config, struct err *err)
{
	resolver_prefetch(sup->resolver, sup->registry, config);
	return snapshot_build(sup->registry, config, &sup->build, err);
}

/* ---- reload ---- */

static void
wake_workers(struct supervisor *sup)
{
	for (unsigned i = 0; i < sup->n_started; i++)
		worker_wake(&sup->shared.workers[i]);
}

/*
 * Whoever reloads may try the new routes at once: the answer waits until every
 * worker has adopted them, a turn of its loop, but never for a stuck one.
 */
static void
await_adoption(struct supervisor *sup, uint64_t generation)
{
	struct timespec pause = {0, NSEC_PER_MSEC / 4};
	nsec_t until = clock_now() + ADOPTION_MS * NSEC_PER_MSEC;

	for (unsigned i = 0; i < sup->n_started; i++)
		while (atomic_load_explicit(&sup->shared.workers[i].generation,
		           memory_order_acquire) < generation &&
		       clock_now() < until)
			nanosleep(&pause, NULL);
}

static bool
put_to_work(struct supervisor *sup, struct config *config, const char *by,
    struct err *err)
{
	struct merge_note *notes = NULL;
	struct snapshot *snapshot;
	const struct config *now;
	size_t n_notes;
	bool applied;

	if (!admin_allows(sup->admin, config, err) ||
	    !bindings_open(sup->bindings, config, err)) {
		config_free(&config);
		return false;
	}
	snapshot = build(sup, config, err); /* takes the config over */
	if (!snapshot) {
		bindings_cancel(sup->bindings);
		return false;
	}
	if (!admin_prepare(sup->admin, snapshot_config(snapshot), err)) {
		bindings_cancel(sup->bindings);
		return false; /* the next build frees this one */
	}
	if (!geo_watch_apply(sup->geo, snapshot_config(snapshot), err)) {
		bindings_cancel(sup->bindings);
		return false; /* the next build frees this one */
	}
	n_notes = snapshot_publish(
	    registry_publication(sup->registry), snapshot, &notes);
	prober_follow(sup->prober);
	resolver_settle(sup->resolver);
	now = snapshot_config(snapshot);
	atomic_store(&sup->shared.descriptors, process_descriptors(now));
	bindings_commit(sup->bindings, now, sup->registry, &sup->shared);
	wake_workers(sup);
	await_adoption(sup, snapshot_generation(snapshot));
	if (!quota_apply(sup->quota, now, err))
		log_event(LOG_ERROR, "redis stays as it was", "error",
		    err->text, NULL);
	applied = admin_apply(sup->admin, now, by, notes, n_notes, err);
	if (applied)
		applied = fleet_wire_apply(sup->fleet, now, err);
	free(notes);
	return applied;
}

static struct snapshot *
publish_rebuilt(struct supervisor *sup, struct err *err)
{
	struct snapshot *snapshot = snapshot_rebuild(sup->registry, err);

	if (!snapshot)
		return NULL;
	resolver_follow(
	    sup->resolver, sup->registry, snapshot_config(snapshot));
	snapshot_publish(registry_publication(sup->registry), snapshot, NULL);
	prober_follow(sup->prober);
	admin_follow(sup->admin);
	wake_workers(sup);
	return snapshot;
}

static void
names_changed(void *ctx)
{
	struct supervisor *sup = ctx;
	struct err err;

	if (sup->is_ready && publish_rebuilt(sup, &err))
		log_event(LOG_INFO, "addresses of names have changed", NULL);
}

/* Whoever asked may send requests at once. */
static bool
rebuild(void *ctx, struct err *err)
{
	struct supervisor *sup = ctx;
	struct snapshot *snapshot = publish_rebuilt(sup, err);

	if (snapshot)
		await_adoption(sup, snapshot_generation(snapshot));
	return snapshot != NULL;
}

static void
note_reload(struct supervisor *sup, bool ok, const char *by, const char *error)
{
	sup->reload_ok = ok;
	snprintf(sup->reload_error, sizeof(sup->reload_error), "%s",
	    ok ? "" : error);
	if (ok) {
		sup->reloaded_at = time(NULL);
		log_event(
		    LOG_INFO, "reloaded", "file", sup->path, "by", by, NULL);
	} else {
		log_event(LOG_ERROR, "reload refused: nothing was changed",
		    "error", error, "by", by, NULL);
	}
}

/* The first mistake stands for all in the log and in the status. */
static void
describe_first(const struct diags *diags, struct err *err)
{
	for (size_t i = 0; i < diags->n; i++) {
		if (diags->at[i].is_warning)
			continue;
		err_set(err, "%s:%u:%u: %s", diags->file, diags->at[i].line,
		    diags->at[i].column, diags->at[i].message);
		return;
	}
	err_set(err, "%s: not loaded", diags->file);
}

static bool
reload(void *ctx, const char *by, struct diags *diags, struct err *err)
{
	struct supervisor *sup = ctx;
	const struct config *running = snapshot_config(
	    publication_current(registry_publication(sup->registry)));
	struct config *config;
	struct err restart;
	bool ok;

	if (strcmp(sup->path, "-") == 0) {
		memset(diags, 0, sizeof(*diags));
		return true; /* made by the program: there is no file that could
		                have changed */
	}
	config = config_load(sup->path, diags);
	if (!config) {
		describe_first(diags, err);
		note_reload(sup, false, by, err->text);
		return false;
	}
	if (config_needs_restart(running, config, &restart))
		log_event(LOG_WARN, "needs a restart to take effect", "what",
		    restart.text, NULL);
	ok = put_to_work(sup, config, by, err);
	note_reload(sup, ok, by, err->text);
	return ok;
}

/* ---- drain and stop ---- */

static void
stop_now(struct supervisor *sup)
{
	atomic_store(&sup->shared.is_stopping, true);
	wake_workers(sup);
	event_base_loopbreak(sup->base);
}

/* The manager gives the unit's TimeoutStopSec, or this, whichever is longer. */
static void
tell_manager(const struct drain *drain)
{
	char text[96];
	nsec_t most =
	    drain->cfg.delay + drain->cfg.limit + STALL_S * NSEC_PER_SEC;

	snprintf(text, sizeof(text), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld",
	    (long long)(most / NSEC_PER_USEC));
	sd_notify_send(text);
}

/* The listeners and kept connections go; what is in flight goes on. */
static void
close_doors(struct supervisor *sup)
{
	atomic_store(&sup->shared.is_draining, true);
	wake_workers(sup);
}

static void
take_drain_step(struct supervisor *sup, nsec_t now)
{
	bool is_quiet = atomic_load(&sup->shared.n_active) == 0;

	switch (drain_beat(&sup->drain, is_quiet, now)) {
	case DRAIN_WAIT:
		break;
	case DRAIN_CLOSE:
		close_doors(sup);
		break;
	case DRAIN_OVER:
		if (!is_quiet)
			log_event(LOG_WARN,
			    "draining took too long: the rest is "
			    "cut",
			    NULL);
		stop_now(sup);
		break;
	}
}

static void
begin_drain(struct supervisor *sup, const char *by, const char *reason)
{
	const struct config *config = snapshot_config(
	    publication_current(registry_publication(sup->registry)));

	if (!drain_begin(
	        &sup->drain, &config->drain, by, clock_now(), time(NULL)))
		return;
	log_event(LOG_INFO, "draining", "by", by, *reason ? "reason" : NULL,
	    reason, NULL);
	tell_manager(&sup->drain);
	take_drain_step(sup, clock_now());
}

/* One signal begins it, or joins what was begun otherwise: a hook may ask
   before the service manager does. The second one means "now". */
static void
begin_drain_by_signal(struct supervisor *sup, int number)
{
	if (drain_signal(&sup->drain))
		stop_now(sup);
	else
		begin_drain(sup, number == SIGQUIT ? "SIGQUIT" : "SIGTERM", "");
}

/* Whoever asked gets an answer, also when there is nothing to wait for. */
static void
drain_asked(void *ctx, const char *by, const char *reason)
{
	struct supervisor *sup = ctx;

	sup->drain.not_before = clock_now() + 2 * BEAT_MS * NSEC_PER_MSEC;
	begin_drain(sup, by, reason);
}

static void
drain_facts(void *ctx, struct drain_facts *out)
{
	const struct supervisor *sup = ctx;

	drain_tell(&sup->drain,
	    &snapshot_config(
	        publication_current(registry_publication(sup->registry)))
	         ->drain,
	    clock_now(), out);
}

static void
on_signal(int number, short what, void *arg)
{
	struct supervisor *sup = arg;
	struct diags diags = {0};
	struct err err;

	(void)what;
	switch (number) {
	case SIGHUP:
		sd_notify_send("RELOADING=1");
		if (!reload(sup, "SIGHUP", &diags, &err)) {
			diags_log(&diags);
			admin_announce_failure(
			    sup->admin, "reload-failed", "SIGHUP", err.text);
		}
		diags_release(&diags);
		sd_notify_send("READY=1");
		break;
	case SIGUSR1:
		access_log_reopen(sup->access);
		if (admin_reopen_logs(sup->admin, &err))
			log_event(LOG_INFO, "logs reopened", NULL);
		else
			log_event(LOG_ERROR, "audit log not reopened", "error",
			    err.text, NULL);
		break;
	case SIGINT:
		stop_now(sup);
		break;
	default:
		begin_drain_by_signal(sup, number);
		break;
	}
}

/* ---- the beat ---- */

static void
tell_leaving(void *ctx, const struct endpoint *endpoint, enum leaving what,
    uint32_t in_flight)
{
	static const char *const words[] = {[LEAVING_BEGUN] = "begun",
	    [LEAVING_DRAINED] = "drained",
	    [LEAVING_CUT] = "cut"};
	struct supervisor *sup = ctx;
	char json[600], count[16];

	snprintf(count, sizeof(count), "%u", in_flight);
	if (what == LEAVING_DRAINED)
		log_event(LOG_INFO, "endpoint is drained", "pool",
		    endpoint->pool->name, "endpoint", endpoint->address.text,
		    NULL);
	else
		log_event(what == LEAVING_CUT ? LOG_WARN : LOG_INFO,
		    what == LEAVING_CUT ? "endpoint's time to finish is over: "
		                          "the rest is closed"
		                        : "endpoint is leaving",
		    "pool", endpoint->pool->name, "endpoint",
		    endpoint->address.text, "in_flight", count, NULL);
	snprintf(json, sizeof(json),
	    "{\"pool\":\"%s\",\"endpoint\":\"%.255s\",\"what\":\"%s\","
	    "\"in_flight\":%u}",
	    endpoint->pool->name, endpoint->address.text, words[what],
	    in_flight);
	admin_announce(sup->admin, "endpoint-leaving", json);
}

static bool
workers_turn(const struct supervisor *sup, nsec_t now)
{
	for (unsigned i = 0; i < sup->n_started; i++)
		if (now -
		        atomic_load_explicit(&sup->shared.workers[i].turned_at,
		            memory_order_relaxed) >
		    STALL_S * NSEC_PER_SEC)
			return false;
	return true;
}

static nsec_t
rotation_of(const struct config *config)
{
	nsec_t shortest = 12 * 3600 * NSEC_PER_SEC;

	for (size_t i = 0; i < config->n_listeners; i++)
		if (config->listeners[i].has_tls &&
		    config->listeners[i].tls.ticket_rotation > 0 &&
		    config->listeners[i].tls.ticket_rotation < shortest)
			shortest = config->listeners[i].tls.ticket_rotation;
	return shortest;
}

static void
on_beat(int fd, short what, void *arg)
{
	struct supervisor *sup = arg;
	nsec_t now = clock_now();
	nsec_t watchdog = sd_notify_watchdog();

	(void)fd;
	(void)what;
	publication_reap(registry_publication(sup->registry));
	registry_beat(sup->registry, now);
	registry_adapt(sup->registry, now);
	if (registry_each_leaving(sup->registry, now, tell_leaving, sup))
		atomic_fetch_add(&sup->shared.leaves, 1);
	if (now - sup->rotated_at >
	    rotation_of(snapshot_config(
	        publication_current(registry_publication(sup->registry))))) {
		tls_tickets_rotate(sup->tickets);
		sup->rotated_at = now;
	}
	if (watchdog > 0 && now - sup->beat_at > watchdog / 3 &&
	    workers_turn(sup, now)) {
		sd_notify_send("WATCHDOG=1");
		sup->beat_at = now;
	}
	if (sup->options && sup->options->wants_stop &&
	    sup->options->wants_stop(sup->options->ctx))
		begin_drain(sup, "weir", "");
	take_drain_step(sup, now);
}

/* A rollout need not wait for its next look. */
static void
on_nudge(int fd, short what, void *arg)
{
	struct supervisor *sup = arg;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) == sizeof(count))
		admin_rollouts_look(sup->admin);
}

/* ---- facts for admin ---- */

static bool
is_ready(void *ctx)
{
	const struct supervisor *sup = ctx;

	return sup->is_ready && !sup->drain.is_on;
}

static void
process_facts(void *ctx, struct process_facts *out)
{
	struct supervisor *sup = ctx;

	memset(out, 0, sizeof(*out));
	out->uptime = clock_now() - sup->began;
	out->started_at = sup->started_at;
	out->workers = sup->shared.n_workers;
	quota_facts(sup->quota, out);
	resolver_facts(sup->resolver, out);
	out->access_log_dropped = access_log_dropped(sup->access);
	out->access_log_lines = access_log_lines(sup->access);
	for (unsigned i = 0; i < sup->n_started && i < PROCESS_WORKERS_MAX; i++)
		out->loop_lag[i] =
		    atomic_exchange(&sup->shared.workers[i].lag, 0);
	out->last_reload_at = sup->reloaded_at;
	out->last_reload_ok = sup->reload_ok;
	snprintf(out->last_reload_error, sizeof(out->last_reload_error), "%s",
	    sup->reload_error);
}

static size_t
certificates(void *ctx, struct tls_cert_info *out, size_t cap)
{
	struct supervisor *sup = ctx;
	struct snapshot *snapshot =
	    publication_current(registry_publication(sup->registry));
	const struct config *config = snapshot_config(snapshot);
	size_t n = 0;

	for (size_t i = 0; i < config->n_listeners; i++) {
		int id = registry_listener_id(
		    sup->registry, config->listeners[i].name);
		struct tls_server *server =
		    id < 0 ? NULL
		           : snapshot_listener_tls(snapshot, (uint32_t)id);

		if (server)
			n += tls_server_certs(server, out + (n < cap ? n : cap),
			    n < cap ? cap - n : 0);
	}
	return n;
}

/* ---- start ---- */

static bool
start_workers(struct supervisor *sup, struct err *err)
{
	for (unsigned i = 0; i < sup->shared.n_workers; i++) {
		if (!worker_start(&sup->shared.workers[i], err))
			return false;
		sup->n_started++;
	}
	return true;
}

static bool
init_workers(
    struct supervisor *sup, const struct config *config, struct err *err)
{
	struct shared *shared = &sup->shared;

	atomic_store(&shared->descriptors, process_descriptors(config));
	shared->workers = aligned_alloc(CACHE_LINE,
	    (shared->n_workers * sizeof(struct worker) + CACHE_LINE - 1) /
	        CACHE_LINE * CACHE_LINE);
	if (!shared->workers)
		return err_set(err, "out of memory");
	memset(shared->workers, 0, shared->n_workers * sizeof(struct worker));
	atomic_store(&shared->n_active, shared->n_workers);
	if (strcmp(config->logs.access_path, "off") != 0) {
		sup->access =
		    access_log_open(&config->logs, shared->n_workers, err);
		if (!sup->access || !access_log_start(sup->access, err))
			return false;
	}
	for (unsigned i = 0; i < shared->n_workers; i++) {
		if (!worker_init(&shared->workers[i], shared, i, err))
			return false;
		shared->workers[i].log = access_log_ring(sup->access, i);
	}
	return true;
}

static bool
init(struct supervisor *sup, const struct config *config, struct err *err)
{
	uint8_t key[16];

	sup->began = sup->rotated_at = clock_now();
	sup->started_at = sup->reloaded_at = time(NULL);
	sup->reload_ok = true;
	sup->shared.n_workers = process_workers(config);
	sup->shared.nudge_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	sup->base = event_base_new();
	sup->path = strdup(config->path);
	sup->tickets = tls_tickets_new();
	sup->bindings = bindings_new(sup->shared.n_workers);
	if (!tls_random(key, sizeof(key)))
		return err_set(err, "no random numbers from the kernel");
	sup->registry = registry_new(sup->shared.n_workers, key);
	if (!tls_random(key, sizeof(key)))
		return err_set(err, "no random numbers from the kernel");
	sup->shared.clients = client_table_new(key);
	if (sup->base)
		sup->resolver = resolver_new(sup->base, names_changed, sup);
	if (sup->base && sup->registry)
		sup->quota =
		    quota_new(sup->base, sup->registry, resolve_anew, sup);
	if (sup->quota)
		sup->geo = geo_watch_new(sup->base, sup->registry);
	if (sup->shared.nudge_fd < 0)
		return err_set(err, "no descriptors left");
	if (!sup->base || !sup->path || !sup->tickets || !sup->bindings ||
	    !sup->registry || !sup->shared.clients || !sup->resolver ||
	    !sup->geo)
		return err_set(err, "out of memory");
	sup->shared.publication = registry_publication(sup->registry);
	sup->build = (struct snapshot_options){
	    .ctx = sup,
	    .resolve = resolve_name,
	    .find_service = find_service,
	    .listener_tls = build_listener_tls,
	    .pool_tls = build_pool_tls,
	    .listener_tls_free = free_listener_tls,
	    .pool_tls_free = free_pool_tls,
	};
	return true;
}

static bool
watch_signals(struct supervisor *sup, struct err *err)
{
	static const int numbers[] = {
	    SIGHUP, SIGTERM, SIGQUIT, SIGINT, SIGUSR1};
	struct timeval beat = {0, BEAT_MS * 1000};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		sup->signals[i] =
		    evsignal_new(sup->base, numbers[i], on_signal, sup);
		if (!sup->signals[i] || evsignal_add(sup->signals[i], NULL) < 0)
			return err_set(err, "no signal handlers");
	}
	sup->foreign = foreign_signals_new(sup->base);
	if (!sup->foreign)
		return err_set(err, "no signal handlers");
	sup->beat = event_new(sup->base, -1, EV_PERSIST, on_beat, sup);
	if (!sup->beat || event_add(sup->beat, &beat) < 0)
		return err_set(err, "no timer");
	sup->nudge = event_new(sup->base, sup->shared.nudge_fd,
	    EV_READ | EV_PERSIST, on_nudge, sup);
	if (!sup->nudge || event_add(sup->nudge, NULL) < 0)
		return err_set(err, "no event for the workers' alarms");
	return true;
}

static void
tell_ready(struct supervisor *sup, const struct config *config)
{
	sup->is_ready = true;
	sd_notify_send("READY=1");
	if (!sup->options || !sup->options->is_quiet) {
		for (size_t i = 0; i < config->n_listeners; i++)
			for (size_t j = 0; j < config->listeners[i].n_bind; j++)
				log_event(LOG_INFO, "listening", "listener",
				    config->listeners[i].name, "address",
				    config->listeners[i].bind[j].text, "tls",
				    config->listeners[i].has_tls ? "yes" : "no",
				    NULL);
		log_event(LOG_INFO, "ready", NULL);
	}
	if (sup->options && sup->options->on_ready)
		sup->options->on_ready(sup->options->ctx);
}

/* 2: the config cannot be put to work; 1: our own trouble. */
static bool
start(struct supervisor *sup, struct config *config, struct err *err)
{
	const struct config *now;
	struct snapshot *snapshot;
	bool ok = process_raise_descriptors(config, err) &&
	          init(sup, config, err) &&
	          bindings_open(sup->bindings, config, err);

	sup->exit_code = 2;
	if (!ok) {
		config_free(&config);
		return false;
	}
	snapshot = build(sup, config, err);
	if (!snapshot)
		return false;
	now = snapshot_config(snapshot);
	if (!geo_watch_apply(sup->geo, now, err) ||
	    !quota_apply(sup->quota, now, err))
		return false;
	ok = process_drop_privileges(now, err) &&
	     (sup->state = state_open(now->state_dir, err));
	if (ok)
		state_restore(sup->state, sup->registry);
	if (ok && registry_set_at(sup->registry, 0)) {
		resolver_prefetch(sup->resolver, sup->registry, now);
		snapshot = snapshot_rebuild(sup->registry, err);
		ok = snapshot != NULL;
	}
	if (!ok && !snapshot)
		return false;
	snapshot_publish(registry_publication(sup->registry), snapshot, NULL);
	resolver_settle(sup->resolver);
	if (ok) {
		process_block_signals(true);
		ok = init_workers(sup, now, err) && start_workers(sup, err);
		process_block_signals(false);
	}
	if (!ok)
		return false;
	struct admin_hooks hooks = {
	    .ctx = sup,
	    .reload = reload,
	    .rebuild = rebuild,
	    .is_ready = is_ready,
	    .drain = drain_asked,
	    .drain_facts = drain_facts,
	    .process = process_facts,
	    .certificates = certificates,
	};

	sup->admin =
	    admin_start(sup->base, now, sup->registry, sup->state, &hooks, err);
	sup->prober = sup->admin
	                  ? prober_new(sup->base, sup->registry, sup->admin)
	                  : NULL;
	if (!sup->prober || !watch_signals(sup, err))
		return false;
	sup->fleet = fleet_wire_new(
	    sup->base, admin_fleet(sup->admin), resolve_anew, sup);
	if (!sup->fleet || !fleet_wire_apply(sup->fleet, now, err))
		return false;
	bindings_commit(sup->bindings, now, sup->registry, &sup->shared);
	sup->exit_code = 0;
	tell_ready(sup, now);
	return true;
}

static void
stop(struct supervisor *sup)
{
	atomic_store(&sup->shared.is_stopping, true);
	wake_workers(sup);
	for (unsigned i = 0; i < sup->n_started; i++)
		pthread_join(sup->shared.workers[i].thread, NULL);
	fleet_wire_free(&sup->fleet);
	admin_stop(&sup->admin);
	prober_free(&sup->prober);
	for (unsigned i = 0; sup->shared.workers && i < sup->shared.n_workers;
	     i++)
		if (sup->shared.workers[i].shared)
			worker_release(&sup->shared.workers[i]);
	access_log_close(&sup->access);
	bindings_free(&sup->bindings);
	geo_watch_free(&sup->geo);
	quota_free(&sup->quota);
	if (sup->registry)
		registry_free(&sup->registry);
	client_table_free(&sup->shared.clients);
	state_close(&sup->state);
	if (sup->tickets)
		tls_tickets_free(&sup->tickets);
	resolver_free(&sup->resolver);
	for (size_t i = 0; i < sizeof(sup->signals) / sizeof(*sup->signals);
	     i++)
		if (sup->signals[i])
			event_free(sup->signals[i]);
	foreign_signals_free(&sup->foreign);
	if (sup->beat)
		event_free(sup->beat);
	if (sup->nudge)
		event_free(sup->nudge);
	if (sup->shared.nudge_fd >= 0)
		close(sup->shared.nudge_fd);
	if (sup->base)
		event_base_free(sup->base);
	free(sup->shared.workers);
	free((char *)(uintptr_t)sup->path);
}

int
weir_run(struct config *config, const struct run_options *options)
{
	struct supervisor sup = {.options = options, .shared.nudge_fd = -1};
	struct err err = {.text = ""};

	foreign_signals_ignore();
	if (start(&sup, config, &err))
		event_base_dispatch(sup.base);
	else
		fprintf(stderr, "weir: %s\n", err.text);
	stop(&sup);
	return sup.exit_code;
}
