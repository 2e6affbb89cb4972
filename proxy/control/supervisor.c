/*
 * The control thread: starts, beats, stops. It owns what lives as long as the
 * process (registry, state, tickets, sockets, workers) and runs admin, probes
 * and timers on its own event loop, so that nothing here ever waits for the
 * data plane nor the other way round.
 *
 *   start:  bind -> build snapshot -> drop privileges -> state -> publish ->
 *           workers -> admin -> ready
 *   reload: reload.c
 *   drain:  not ready, listeners closed, requests in flight finish, then stop
 *           (way_out.c, drain.h)
 */
#include "proxy/control/supervisor.h"

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
#include "proxy/control/process.h"
#include "proxy/control/sd_notify.h"
#include "proxy/proxy.h"
#include "proxy/worker.h"
#include "routing/routing.h"
#include "tls/tls.h"

/* ---- signals ---- */

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
		if (!supervisor_reload(sup, "SIGHUP", &diags, &err)) {
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
		supervisor_stop_now(sup);
		break;
	default:
		supervisor_begin_drain_by_signal(sup, number);
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
	if (now - sup->rotated_at > rotation_of(supervisor_config(sup))) {
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
		supervisor_begin_drain(sup, "weir", "");
	supervisor_take_drain_step(sup, now);
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

/* ---- start ---- */

/* Redis: asked when a connection is to be made, again each time. */
static size_t
resolve_anew(void *ctx, const struct address *address,
    struct sockaddr_storage *out, size_t cap)
{
	struct supervisor *sup = ctx;

	resolver_hurry(sup->resolver, address->host);
	return resolver_lookup(sup->resolver, address, out, cap);
}

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
		sup->resolver =
		    resolver_new(sup->base, supervisor_names_changed, sup);
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
	supervisor_prepare_builds(sup);
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

/* False: the config cannot be put to work here, which is exit code 2. */
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
	snapshot = supervisor_build(sup, config, err);
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
	    .reload = supervisor_reload,
	    .rebuild = supervisor_rebuild,
	    .is_ready = supervisor_is_ready,
	    .drain = supervisor_drain_asked,
	    .drain_facts = supervisor_drain_facts,
	    .process = supervisor_process_facts,
	    .certificates = supervisor_certificates,
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
	supervisor_wake_workers(sup);
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
