/*
 * Families about traffic. A family's samples must stand together, so what one
 * pass over the series finds for later families is kept in rows by (route,
 * pool): latencies and bytes of all listeners together.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/metrics/metrics.h"
#include "admin/state/state.h"

struct row {
	const char *route,
	    *pool; /* borrowed from the registry, for this scrape */
	uint64_t bytes_in, bytes_out;
	struct histogram_sum total;
};

struct scrape {
	struct exposition *x;
	struct row *rows; /* owned */
	size_t n_rows, cap;
};

/* ---- by series ---- */

static struct row *
row_of(struct scrape *scrape, const char *route, const char *pool)
{
	struct row *rows;

	/* the newest first: series of one route come together */
	for (size_t i = scrape->n_rows; i-- > 0;)
		if (strcmp(scrape->rows[i].route, route) == 0 &&
		    strcmp(scrape->rows[i].pool, pool) == 0)
			return &scrape->rows[i];
	if (scrape->n_rows == scrape->cap) {
		size_t cap = scrape->cap ? 2 * scrape->cap : 16;

		rows = realloc(scrape->rows, cap * sizeof(*rows));
		if (!rows)
			return NULL;
		scrape->rows = rows;
		scrape->cap = cap;
	}
	rows = &scrape->rows[scrape->n_rows++];
	*rows = (struct row){.route = route, .pool = pool};
	return rows;
}

static void
take_series(
    void *ctx, const struct series_view *view, const struct series_stats *stats)
{
	struct scrape *scrape = ctx;
	struct row *row;
	char code[12];

	for (uint32_t i = 0; i < stats->n_codes; i++) {
		/* 0: answers beyond the table of codes */
		snprintf(code, sizeof(code), "%u", stats->codes[i].status);
		family_count(scrape->x,
		    (struct label[]){{"listener", view->listener},
		        {"route", view->route}, {"pool", view->pool},
		        {"method", method_name(stats->codes[i].method)},
		        {"code", code}, {0}},
		    stats->codes[i].count);
	}
	if (stats->n_codes == 0)
		return;
	row = row_of(scrape, view->route, view->pool);
	if (!row)
		return;
	row->bytes_in += stats->bytes_in;
	row->bytes_out += stats->bytes_out;
	histogram_sum_add(&row->total, &stats->total);
}

static void
put_rows(const struct scrape *scrape)
{
	struct exposition *x = scrape->x;

	family_begin(x, FAMILY_HISTOGRAM, "weir_http_request_duration_seconds",
	    "From a request's first byte to its answer's last.");
	for (size_t i = 0; i < scrape->n_rows; i++)
		family_histogram(x,
		    (struct label[]){{"route", scrape->rows[i].route},
		        {"pool", scrape->rows[i].pool}, {0}},
		    &scrape->rows[i].total);
	family_begin(x, FAMILY_COUNTER, "weir_http_request_bytes",
	    "Bytes of request bodies received.");
	for (size_t i = 0; i < scrape->n_rows; i++)
		family_count(x,
		    (struct label[]){{"route", scrape->rows[i].route},
		        {"pool", scrape->rows[i].pool}, {0}},
		    scrape->rows[i].bytes_in);
	family_begin(x, FAMILY_COUNTER, "weir_http_response_bytes",
	    "Bytes of answers sent.");
	for (size_t i = 0; i < scrape->n_rows; i++)
		family_count(x,
		    (struct label[]){{"route", scrape->rows[i].route},
		        {"pool", scrape->rows[i].pool}, {0}},
		    scrape->rows[i].bytes_out);
}

static void
by_series(struct exposition *x, const struct admin *admin)
{
	struct scrape scrape = {.x = x};

	family_begin(x, FAMILY_COUNTER, "weir_http_requests",
	    "Requests that ended, by listener, route, pool, method and "
	    "status.");
	registry_each_series(admin->registry, take_series, &scrape);
	put_rows(&scrape);
	free(scrape.rows);
}

/* ---- by listener ---- */

static bool
read_listener(const struct admin *admin, const struct listener_cfg *cfg,
    struct listener_stats *out)
{
	int id = registry_listener_id(admin->registry, cfg->name);

	if (id < 0)
		return false;
	listener_stats_read(admin->registry, (uint32_t)id, out);
	return true;
}

static void
connections(struct exposition *x, const struct admin *admin)
{
	const struct config *config = admin_config(admin);
	struct listener_stats stats;

	family_begin(
	    x, FAMILY_GAUGE, "weir_connections", "Open client connections.");
	for (size_t i = 0; i < config->n_listeners; i++) {
		const char *name = config->listeners[i].name;

		if (!read_listener(admin, &config->listeners[i], &stats))
			continue;
		family_value(x,
		    (struct label[]){
		        {"listener", name}, {"state", "active"}, {0}},
		    (double)stats.active);
		family_value(x,
		    (struct label[]){
		        {"listener", name}, {"state", "idle"}, {0}},
		    (double)stats.idle);
		family_value(x,
		    (struct label[]){
		        {"listener", name}, {"state", "tunnel"}, {0}},
		    (double)stats.tunnels);
	}
	family_begin(x, FAMILY_GAUGE, "weir_http_requests_in_flight",
	    "Requests that have begun and not ended.");
	for (size_t i = 0; i < config->n_listeners; i++)
		if (read_listener(admin, &config->listeners[i], &stats))
			family_value(x,
			    (struct label[]){
			        {"listener", config->listeners[i].name}, {0}},
			    (double)stats.in_flight);
}

static void
accepts(struct exposition *x, const struct admin *admin)
{
	const struct config *config = admin_config(admin);
	struct listener_stats stats;

	family_begin(x, FAMILY_COUNTER, "weir_connections_accepted",
	    "Client connections accepted.");
	for (size_t i = 0; i < config->n_listeners; i++)
		if (read_listener(admin, &config->listeners[i], &stats))
			family_count(x,
			    (struct label[]){
			        {"listener", config->listeners[i].name}, {0}},
			    stats.accepted);
	family_begin(x, FAMILY_COUNTER, "weir_connections_refused",
	    "Client connections refused over a limit.");
	for (size_t i = 0; i < config->n_listeners; i++) {
		if (!read_listener(admin, &config->listeners[i], &stats))
			continue;
		for (int j = 0; j < CONN_REFUSAL_COUNT; j++)
			family_count(x,
			    (struct label[]){
			        {"listener", config->listeners[i].name},
			        {"reason",
			            conn_refusal_name((enum conn_refusal)j)},
			        {0}},
			    stats.refused[j]);
	}
	family_begin(x, FAMILY_COUNTER, "weir_clients_too_slow",
	    "Clients that were given up, by what they were slow at.");
	for (size_t i = 0; i < config->n_listeners; i++) {
		if (!read_listener(admin, &config->listeners[i], &stats))
			continue;
		for (int j = 0; j < CLIENT_SLOWNESS_COUNT; j++)
			family_count(x,
			    (struct label[]){
			        {"listener", config->listeners[i].name},
			        {"at", client_slowness_name(
			                   (enum client_slowness)j)},
			        {0}},
			    stats.too_slow[j]);
	}
}

static void
handshakes(struct exposition *x, const struct admin *admin)
{
	static const char *const versions[] = {"1.2", "1.3"};
	const struct config *config = admin_config(admin);
	uint64_t sums[2][2] = {{0}}, errors[HANDSHAKE_FAILURE_COUNT] = {0};
	struct listener_stats stats;

	for (size_t i = 0; i < config->n_listeners; i++) {
		if (!read_listener(admin, &config->listeners[i], &stats))
			continue;
		for (int j = 0; j < 4; j++)
			sums[j / 2][j % 2] += stats.handshakes[j / 2][j % 2];
		for (int j = 0; j < HANDSHAKE_FAILURE_COUNT; j++)
			errors[j] += stats.handshake_errors[j];
	}
	family_begin(x, FAMILY_COUNTER, "weir_tls_handshakes",
	    "TLS handshakes with clients that succeeded.");
	for (int j = 0; j < 4; j++)
		family_count(x,
		    (struct label[]){{"version", versions[j / 2]},
		        {"resumed", j % 2 ? "true" : "false"}, {0}},
		    sums[j / 2][j % 2]);
	family_begin(x, FAMILY_COUNTER, "weir_tls_handshake_errors",
	    "TLS handshakes with clients that failed.");
	for (int j = 0; j < HANDSHAKE_FAILURE_COUNT; j++)
		family_count(x,
		    (struct label[]){{"reason", handshake_failure_name(
		                                    (enum handshake_failure)j)},
		        {0}},
		    errors[j]);
}

static void
glitches(struct exposition *x, const struct admin *admin)
{
	const struct config *config = admin_config(admin);
	struct listener_stats stats;

	family_begin(x, FAMILY_COUNTER, "weir_h2_glitches",
	    "What HTTP/2 clients did that no well-meaning one does often.");
	for (size_t i = 0; i < config->n_listeners; i++) {
		if (!(config->listeners[i].protocols & PROTOCOL_H2) ||
		    !read_listener(admin, &config->listeners[i], &stats))
			continue;
		for (int j = 0; j < GLITCH_COUNT; j++)
			family_count(x,
			    (struct label[]){
			        {"listener", config->listeners[i].name},
			        {"reason", glitch_row((enum glitch)j)->word},
			        {0}},
			    stats.glitches[j]);
	}
}

/* ---- by pool and endpoint ---- */

typedef void endpoint_fn(struct exposition *x, const struct endpoint *endpoint,
    const char *pool, const struct endpoint_stats *stats);

static void
each_endpoint(struct exposition *x, const struct admin *admin, endpoint_fn *fn)
{
	struct snapshot *snapshot =
	    publication_current(registry_publication(admin->registry));
	unsigned workers = registry_workers(admin->registry);

	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++) {
		const struct pool_view *view = snapshot_pool(snapshot, i);

		for (size_t j = 0; j < view->n_endpoints; j++) {
			struct endpoint_stats stats;

			endpoint_stats_read(
			    view->endpoints[j], workers, &stats);
			fn(x, view->endpoints[j], view->pool->name, &stats);
		}
	}
}

static void
put_requests(struct exposition *x, const struct endpoint *endpoint,
    const char *pool, const struct endpoint_stats *stats)
{
	family_count(x,
	    (struct label[]){
	        {"pool", pool}, {"endpoint", endpoint->address.text}, {0}},
	    stats->requests);
}

static void
put_retries(struct exposition *x, const struct endpoint *endpoint,
    const char *pool, const struct endpoint_stats *stats)
{
	family_count(x,
	    (struct label[]){
	        {"pool", pool}, {"endpoint", endpoint->address.text}, {0}},
	    stats->retries);
}

static void
put_errors(struct exposition *x, const struct endpoint *endpoint,
    const char *pool, const struct endpoint_stats *stats)
{
	for (int i = 0; i < UPSTREAM_ERROR_COUNT; i++)
		if (stats->errors[i] > 0)
			family_count(x,
			    (struct label[]){{"pool", pool},
			        {"endpoint", endpoint->address.text},
			        {"reason", upstream_error_name(
			                       (enum upstream_error)i)},
			        {0}},
			    stats->errors[i]);
}

static void
put_up(struct exposition *x, const struct endpoint *endpoint, const char *pool,
    const struct endpoint_stats *stats)
{
	(void)stats;
	family_value(x,
	    (struct label[]){
	        {"pool", pool}, {"endpoint", endpoint->address.text}, {0}},
	    endpoint_is_usable(endpoint));
}

static void
put_state(struct exposition *x, const struct endpoint *endpoint,
    const char *pool, const struct endpoint_stats *stats)
{
	struct endpoint *e = (struct endpoint *)(uintptr_t)endpoint;

	(void)stats;
	family_value(x,
	    (struct label[]){{"pool", pool},
	        {"endpoint", endpoint->address.text},
	        {"state", endpoint_admin_name(
	                      (enum endpoint_admin)atomic_load_explicit(
	                          &e->admin, memory_order_relaxed))},
	        {0}},
	    1);
}

static void
put_in_flight(struct exposition *x, const struct endpoint *endpoint,
    const char *pool, const struct endpoint_stats *stats)
{
	family_value(x,
	    (struct label[]){
	        {"pool", pool}, {"endpoint", endpoint->address.text}, {0}},
	    stats->in_flight);
}

static void
by_endpoint(struct exposition *x, const struct admin *admin)
{
	family_begin(x, FAMILY_COUNTER, "weir_upstream_requests",
	    "Attempts sent to an endpoint.");
	each_endpoint(x, admin, put_requests);
	family_begin(x, FAMILY_COUNTER, "weir_upstream_errors",
	    "Attempts at an endpoint that failed.");
	each_endpoint(x, admin, put_errors);
	family_begin(x, FAMILY_COUNTER, "weir_upstream_retries",
	    "Attempts that were second ones.");
	each_endpoint(x, admin, put_retries);
	family_begin(x, FAMILY_GAUGE, "weir_endpoint_up",
	    "1 when new requests may go to the endpoint.");
	each_endpoint(x, admin, put_up);
	family_begin(x, FAMILY_GAUGE, "weir_endpoint_state",
	    "1 for the state that an operator gave: active, drain or maint.");
	each_endpoint(x, admin, put_state);
	family_begin(x, FAMILY_GAUGE, "weir_endpoint_in_flight",
	    "Requests and tunnels at an endpoint now.");
	each_endpoint(x, admin, put_in_flight);
}

static void
replays(struct exposition *x, struct snapshot *snapshot, unsigned workers)
{
	family_begin(x, FAMILY_COUNTER, "weir_pool_replays",
	    "Request bodies that were sent again, having come after their "
	    "head.");
	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++) {
		const struct pool *pool = snapshot_pool(snapshot, i)->pool;
		struct pool_stats stats;

		pool_stats_read(pool, workers, &stats);
		family_count(x, (struct label[]){{"pool", pool->name}, {0}},
		    stats.replays);
	}
	family_begin(x, FAMILY_COUNTER, "weir_pool_replay_lost",
	    "Request bodies that were not kept, so that their requests could "
	    "not be tried again.");
	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++) {
		const struct pool *pool = snapshot_pool(snapshot, i)->pool;
		struct pool_stats stats;

		pool_stats_read(pool, workers, &stats);
		for (int j = 0; j < REPLAY_LOSS_COUNT; j++)
			family_count(x,
			    (struct label[]){{"pool", pool->name},
			        {"reason",
			            replay_loss_name((enum replay_loss)j)},
			        {0}},
			    stats.unkept[j]);
	}
}

static void
hedges(struct exposition *x, struct snapshot *snapshot, unsigned workers)
{
	family_begin(x, FAMILY_COUNTER, "weir_pool_hedges",
	    "Second attempts beside a first one that was slow, by what became "
	    "of them.");
	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++) {
		const struct pool *pool = snapshot_pool(snapshot, i)->pool;
		struct pool_stats stats;

		pool_stats_read(pool, workers, &stats);
		for (int j = 0; j < HEDGE_RESULT_COUNT; j++)
			family_count(x,
			    (struct label[]){{"pool", pool->name},
			        {"result",
			            hedge_result_name((enum hedge_result)j)},
			        {0}},
			    stats.hedges[j]);
	}
}

static void
by_pool(struct exposition *x, const struct admin *admin)
{
	struct snapshot *snapshot =
	    publication_current(registry_publication(admin->registry));
	unsigned workers = registry_workers(admin->registry);

	family_begin(x, FAMILY_GAUGE, "weir_pool_queue",
	    "Requests that wait for a place in the pool.");
	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++) {
		const struct pool *pool = snapshot_pool(snapshot, i)->pool;
		struct places_stats places;

		pool_places_read(pool, &places);
		family_value(x, (struct label[]){{"pool", pool->name}, {0}},
		    places.waiting);
	}
	family_begin(x, FAMILY_COUNTER, "weir_pool_shed",
	    "Requests that were refused because the pool was full, or had to "
	    "wait for too long.");
	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++) {
		const struct pool *pool = snapshot_pool(snapshot, i)->pool;
		struct pool_stats stats;

		pool_stats_read(pool, workers, &stats);
		family_count(x,
		    (struct label[]){
		        {"pool", pool->name}, {"reason", "full"}, {0}},
		    stats.full);
		family_count(x,
		    (struct label[]){
		        {"pool", pool->name}, {"reason", "late"}, {0}},
		    stats.late);
		family_count(x,
		    (struct label[]){
		        {"pool", pool->name}, {"reason", "held"}, {0}},
		    stats.held);
	}
	replays(x, snapshot, workers);
	hedges(x, snapshot, workers);
	family_begin(x, FAMILY_GAUGE, "weir_pool_panic",
	    "1 while all endpoints are out and get requests all the same.");
	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++) {
		const struct pool_view *view = snapshot_pool(snapshot, i);

		family_value(x,
		    (struct label[]){{"pool", view->pool->name}, {0}},
		    pool_panics(view));
	}
	family_begin(x, FAMILY_HISTOGRAM, "weir_upstream_connect_seconds",
	    "Time to connect to an endpoint.");
	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++) {
		const struct pool *pool = snapshot_pool(snapshot, i)->pool;
		struct pool_stats stats;

		pool_stats_read(pool, workers, &stats);
		family_histogram(x, (struct label[]){{"pool", pool->name}, {0}},
		    &stats.connect);
	}
}

void
metrics_traffic(struct exposition *x, const struct admin *admin)
{
	by_series(x, admin);
	connections(x, admin);
	accepts(x, admin);
	handshakes(x, admin);
	glitches(x, admin);
	by_endpoint(x, admin);
	by_pool(x, admin);
}
