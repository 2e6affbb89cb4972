/*
 * What admin asks the process about: readiness, numbers, the drain,
 * certificates. Nothing here changes anything but the workers' lag, which
 * begins anew with each look.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admin/admin.h"
#include "proxy/control/process.h"
#include "proxy/control/supervisor.h"
#include "proxy/worker.h"
#include "routing/routing.h"
#include "tls/tls.h"

bool
supervisor_is_ready(void *ctx)
{
	const struct supervisor *sup = ctx;

	return sup->is_ready && !sup->drain.is_on;
}

void
supervisor_process_facts(void *ctx, struct process_facts *out)
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

size_t
supervisor_certificates(void *ctx, struct tls_cert_info *out, size_t cap)
{
	struct supervisor *sup = ctx;
	struct snapshot *snapshot = supervisor_snapshot(sup);
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

void
supervisor_drain_facts(void *ctx, struct drain_facts *out)
{
	const struct supervisor *sup = ctx;

	drain_tell(
	    &sup->drain, &supervisor_config(sup)->drain, clock_now(), out);
}
