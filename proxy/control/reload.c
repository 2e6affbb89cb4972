/*
 * A config is put to work beside the one that runs: sockets bound, a snapshot
 * built with what hangs on it (TLS of listeners and pools, addresses of
 * names), admin and geo asked; whatever fails up to there changes nothing.
 *
 *   reload:  load -> bind new -> build beside -> publish (merge) -> hand over
 *            sockets -> admin (journal), redis, fleet
 *   rebuild: the same config with other addresses or endpoints -> publish
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/admin.h"
#include "admin/log.h"
#include "proxy/control/process.h"
#include "proxy/control/supervisor.h"
#include "proxy/worker.h"
#include "routing/routing.h"
#include "tls/tls.h"

enum { ADOPTION_MS = 200 }; /* a reload waits so long for its workers */

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

void
supervisor_prepare_builds(struct supervisor *sup)
{
	sup->build = (struct snapshot_options){
	    .ctx = sup,
	    .resolve = resolve_name,
	    .find_service = find_service,
	    .listener_tls = build_listener_tls,
	    .pool_tls = build_pool_tls,
	    .listener_tls_free = free_listener_tls,
	    .pool_tls_free = free_pool_tls,
	};
}

struct snapshot *
supervisor_build(struct supervisor *sup, struct config *config, struct err *err)
{
	resolver_prefetch(sup->resolver, sup->registry, config);
	return snapshot_build(sup->registry, config, &sup->build, err);
}

void
supervisor_wake_workers(struct supervisor *sup)
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

/* All that may refuse the config. One that was built and then refused is freed
 * by the next build. */
static struct snapshot *
build_beside(struct supervisor *sup, struct config *config, struct err *err)
{
	struct snapshot *snapshot = supervisor_build(sup, config, err);

	if (!snapshot ||
	    !admin_prepare(sup->admin, snapshot_config(snapshot), err))
		return NULL;
	if (geo_watch_apply(sup->geo, snapshot_config(snapshot), err))
		return snapshot;
	admin_cancel(sup->admin);
	return NULL;
}

/* Redis may be away and its password out of reach by now: no reason to refuse
 * what has nothing to do with it. */
static void
apply_redis(struct supervisor *sup, const struct config *config)
{
	struct err err;
	bool ok = quota_apply(sup->quota, config, &err);

	ok = fleet_wire_apply(sup->fleet, config, &err) && ok;
	if (!ok)
		log_event(LOG_ERROR, "redis stays as it was", "error", err.text,
		    NULL);
}

static bool
put_to_work(struct supervisor *sup, struct config *config, const char *by,
    struct err *err)
{
	struct merge_note *notes = NULL;
	struct snapshot *snapshot;
	const struct config *now;
	size_t n_notes;

	if (!admin_allows(sup->admin, config, err) ||
	    !bindings_open(sup->bindings, config, err)) {
		config_free(&config);
		return false;
	}
	snapshot = build_beside(sup, config, err);
	if (!snapshot) {
		bindings_cancel(sup->bindings);
		resolver_follow(
		    sup->resolver, sup->registry, supervisor_config(sup));
		return false;
	}
	n_notes = snapshot_publish(
	    registry_publication(sup->registry), snapshot, &notes);
	prober_follow(sup->prober);
	resolver_settle(sup->resolver);
	now = snapshot_config(snapshot);
	atomic_store(&sup->shared.descriptors, process_descriptors(now));
	bindings_commit(sup->bindings, now, sup->registry, &sup->shared);
	supervisor_wake_workers(sup);
	await_adoption(sup, snapshot_generation(snapshot));
	admin_apply(sup->admin, now, by, notes, n_notes);
	apply_redis(sup, now);
	free(notes);
	return true;
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
	supervisor_wake_workers(sup);
	return snapshot;
}

void
supervisor_names_changed(void *ctx)
{
	struct supervisor *sup = ctx;
	struct err err;

	if (sup->is_ready && publish_rebuilt(sup, &err))
		log_event(LOG_INFO, "addresses of names have changed", NULL);
}

/* Whoever asked may send requests at once. */
bool
supervisor_rebuild(void *ctx, struct err *err)
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

bool
supervisor_reload(
    void *ctx, const char *by, struct diags *diags, struct err *err)
{
	struct supervisor *sup = ctx;
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
	if (config_needs_restart(supervisor_config(sup), config, &restart))
		log_event(LOG_WARN, "needs a restart to take effect", "what",
		    restart.text, NULL);
	ok = put_to_work(sup, config, by, err);
	note_reload(sup, ok, by, err->text);
	return ok;
}
