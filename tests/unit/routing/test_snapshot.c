/*
 * Snapshots over their life: what survives a reload, what is freed when, and
 * what a failed build leaves behind.
 */
#include "tests/unit/routing/edge.h"

#include <malloc.h>

#define HEAD "version: 1\nlisteners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"

#define TWO                                                                    \
	HEAD                                                                   \
	    "pools:\n"                                                         \
	    "  blue: {endpoints: [\"10.0.0.1:80\", \"10.0.0.2:80\"]}\n"        \
	    "  green: {endpoints: [\"10.0.1.1:80\"]}\n"                        \
	    "splits: {shop: {stable: blue, weights: {blue: 100, green: 0}}}\n" \
	    "routes: [{name: all, split: shop}]\n"

#define ONE                                                                    \
	HEAD "pools:\n"                                                        \
	     "  blue: {endpoints: [\"10.0.0.2:80\", \"10.0.0.3:80\"]}\n"       \
	     "routes: [{name: all, pool: blue}]\n"

static struct endpoint *
endpoint_at(struct edge *edge, size_t pool, size_t i)
{
	return snapshot_pool(edge->snapshot, pool)->endpoints[i];
}

static void
record(struct edge *edge, unsigned status)
{
	struct decision decision = edge_decide(edge, "a.test", "/", NULL);
	struct outcome outcome = {.status = status, .total = NSEC_PER_MSEC};

	routing_record(edge->snapshot, 0, 0, &decision, &outcome);
}

static size_t
reap(struct edge *edge)
{
	return publication_reap(registry_publication(edge->registry));
}

static void
test_snapshot__objects_survive_a_reload(void **state)
{
	struct edge edge;
	struct endpoint *kept;
	struct pool *pool;
	struct pool_stats stats;
	uint64_t generation;
	int idle;

	(void)state;
	edge_open(&edge, TWO);
	generation = snapshot_generation(edge.snapshot);
	kept = endpoint_at(&edge, 0, 1);
	pool = kept->pool;
	kept->local[0].idle = &idle;
	endpoint_mark_down(kept, 5, "refused");
	record(&edge, 200);
	edge_reload(&edge, ONE);
	assert_true(snapshot_generation(edge.snapshot) > generation);
	assert_ptr_equal(endpoint_at(&edge, 0, 0), kept);
	assert_ptr_equal(kept->pool, pool);
	assert_ptr_equal(kept->local[0].idle, &idle);
	assert_false(endpoint_is_usable(kept));
	assert_false(atomic_load(&kept->is_retired));
	pool_stats_read(pool, 2, &stats);
	assert_int_equal(stats.requests, 1);
	edge_close(&edge);
}

static void
test_snapshot__a_missing_endpoint_retires_at_publish_and_goes_with_the_last(
    void **state)
{
	struct edge edge;
	struct snapshot *old;
	struct endpoint *leaving;

	(void)state;
	edge_open(&edge, TWO);
	old = edge.snapshot;
	leaving = endpoint_at(&edge, 0, 0);
	snapshot_hold(old, 0); /* a request in flight */
	assert_non_null(
	    snapshot_build(edge.registry, edge_config(ONE), NULL, &edge.err));
	assert_false(atomic_load(&leaving->is_retired));
	snapshot_publish(
	    registry_publication(edge.registry), edge.registry->built, NULL);
	assert_true(atomic_load(&leaving->is_retired));
	edge_turn(&edge, 0);
	assert_int_equal(reap(&edge), 1);
	assert_int_equal(edge.registry->pools.n, 2);
	assert_int_equal(edge.registry->endpoints.n, 4);
	snapshot_drop(old, 0);
	assert_int_equal(reap(&edge), 0);
	assert_int_equal(edge.registry->pools.n, 1);
	assert_int_equal(edge.registry->endpoints.n, 2);
	edge_close(&edge);
}

static void
test_snapshot__an_endpoint_that_returns_is_no_longer_retired(void **state)
{
	struct edge edge;
	struct snapshot *old;
	struct endpoint *leaving;

	(void)state;
	edge_open(&edge, TWO);
	old = edge.snapshot;
	leaving = endpoint_at(&edge, 0, 0);
	snapshot_hold(old, 0);
	edge_reload(&edge, ONE);
	assert_true(atomic_load(&leaving->is_retired));
	edge_reload(&edge, TWO);
	assert_ptr_equal(endpoint_at(&edge, 0, 0), leaving);
	assert_false(atomic_load(&leaving->is_retired));
	snapshot_drop(old, 0);
	assert_int_equal(reap(&edge), 0);
	edge_close(&edge);
}

static void
test_snapshot__a_worker_in_its_turn_keeps_the_old_one(void **state)
{
	struct publication *publication;
	struct snapshot *mine;
	struct edge edge;

	(void)state;
	edge_open(&edge, TWO);
	publication = registry_publication(edge.registry);
	mine = publication_adopt(publication, 1, NULL);
	assert_ptr_equal(mine, edge.snapshot);
	assert_ptr_equal(publication_adopt(publication, 1, mine), mine);
	edge_reload(&edge, TWO);
	assert_int_equal(reap(&edge), 1);
	assert_int_not_equal(publication_adopt(publication, 1, mine), mine);
	assert_int_equal(reap(&edge), 1); /* adopted, but not yet let go */
	snapshot_drop(mine, 1);
	assert_int_equal(reap(&edge), 0);
	snapshot_drop(edge.snapshot, 1);
	edge_close(&edge);
}

static void
test_snapshot__a_hundred_reloads_grow_nothing(void **state)
{
	struct edge edge;
	size_t before = 0;

	(void)state;
	edge_open(&edge, TWO);
	for (int i = 0; i < 120; i++) {
		if (i == 20)
			before = mallinfo2().uordblks;
		edge_reload(&edge, TWO);
		record(&edge, 200);
		assert_int_equal(reap(&edge), 0);
	}
	assert_true(mallinfo2().uordblks <= before + 512);
	assert_int_equal(edge.registry->endpoints.n, 3);
	assert_int_equal(edge.registry->listeners.n, 1);
	edge_close(&edge);
}

static void
test_snapshot__reloads_to_and_fro_grow_nothing(void **state)
{
	struct edge edge;
	size_t before = 0;

	(void)state;
	edge_open(&edge, TWO);
	for (int i = 0; i < 120; i++) {
		if (i == 20)
			before = mallinfo2().uordblks;
		edge_reload(&edge, i % 2 == 0 ? ONE : TWO);
		record(&edge, 200);
		reap(&edge);
	}
	assert_true(mallinfo2().uordblks <= before + 512);
	edge_close(&edge);
}

static void
test_snapshot__a_build_that_is_not_published_is_replaced(void **state)
{
	struct edge edge;

	(void)state;
	edge_open(&edge, ONE);
	for (int i = 0; i < 3; i++)
		assert_non_null(snapshot_build(
		    edge.registry, edge_config(TWO), NULL, &edge.err));
	assert_int_equal(edge.registry->pools.n, 2);
	edge_reload(&edge, ONE);
	assert_int_equal(reap(&edge), 0);
	assert_int_equal(edge.registry->pools.n, 1);
	edge_close(&edge);
}

static void
test_snapshot__splits_are_listed_and_found(void **state)
{
	struct edge edge;

	(void)state;
	edge_open(&edge, TWO);
	assert_int_equal(registry_workers(edge.registry), 2);
	assert_int_equal(registry_n_splits(edge.registry), 1);
	assert_string_equal(registry_split_at(edge.registry, 0)->name, "shop");
	assert_non_null(registry_split(edge.registry, "shop"));
	assert_null(registry_split(edge.registry, "shoq"));
	edge_reload(&edge, ONE);
	assert_int_equal(registry_n_splits(edge.registry), 0);
	assert_null(registry_split(edge.registry, "shop"));
	edge_close(&edge);
}

/* ---- names ---- */

#define NAMED                                                                  \
	HEAD "pools:\n"                                                        \
	     "  blue: {endpoints: [\"10.0.0.1:80\", \"app.test:80\"]}\n"       \
	     "routes: [{name: all, pool: blue}]\n"

static size_t
resolve(void *ctx, const struct address *address, struct sockaddr_storage *out,
    size_t cap)
{
	size_t n = *(size_t *)ctx;

	assert_string_equal(address->host, "app.test");
	assert_true(n <= cap);
	for (size_t i = 0; i < n; i++) {
		struct sockaddr_in *in = (struct sockaddr_in *)&out[i];

		out[i] = (struct sockaddr_storage){0};
		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(0x0a000001 + (uint32_t)i);
	}
	if (n == 3) { /* the last one is IPv6 */
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out[2];

		out[2] = (struct sockaddr_storage){0};
		in6->sin6_family = AF_INET6;
		in6->sin6_addr.s6_addr[15] = 1;
	}
	return n;
}

static void
test_snapshot__a_name_stands_for_its_addresses(void **state)
{
	size_t n = 3;
	struct snapshot_options options = {.ctx = &n, .resolve = resolve};
	const struct pool_view *view;
	struct edge edge;

	(void)state;
	edge_init(&edge, 1);
	edge_reload_with(&edge, NAMED, &options, NULL);
	view = snapshot_pool(edge.snapshot, 0);
	/* 10.0.0.1 stands in the file and behind the name: once */
	assert_int_equal(view->n_endpoints, 3);
	assert_string_equal(view->endpoints[0]->address.text, "10.0.0.1:80");
	assert_string_equal(view->endpoints[1]->address.text, "10.0.0.2:80");
	assert_string_equal(view->endpoints[2]->address.text, "[::1]:80");
	assert_string_equal(view->endpoints[1]->address.host, "app.test");
	assert_int_equal(
	    ntohs(((struct sockaddr_in *)&view->endpoints[1]->address.sa)
	              ->sin_port),
	    80);
	assert_int_equal(
	    view->endpoints[2]->address.sa_len, sizeof(struct sockaddr_in6));
	n = 0;
	edge_reload_with(&edge, NAMED, &options, NULL);
	assert_int_equal(snapshot_pool(edge.snapshot, 0)->n_endpoints, 1);
	edge_close(&edge);
}

static void
test_snapshot__names_are_refused_when_nobody_resolves(void **state)
{
	struct edge edge;

	(void)state;
	edge_open(&edge, TWO);
	assert_null(
	    snapshot_build(edge.registry, edge_config(NAMED), NULL, &edge.err));
	assert_non_null(strstr(edge.err.text, "pool 'blue'"));
	assert_non_null(strstr(edge.err.text, "app.test:80"));
	assert_int_equal(edge.registry->endpoints.n, 3);
	assert_string_equal(edge_pool(&edge, NULL), "blue");
	edge_close(&edge);
}

static void
test_snapshot__a_pool_without_addresses_picks_nothing(void **state)
{
	size_t n = 0;
	struct snapshot_options options = {.ctx = &n, .resolve = resolve};
	struct edge edge;
	struct err err;
	bool is_panic;

	(void)state;
	edge_init(&edge, 1);
	edge_reload_with(&edge,
	    HEAD "pools: {blue: {balance: hash, hash_on: {by: client_ip}, "
	         "endpoints: [\"app.test:80\"]}}\n"
	         "routes: [{name: all, pool: blue}]\n",
	    &options, NULL);
	assert_null(pool_pick(
	    snapshot_pool(edge.snapshot, 0), 0, &edge.rng, 1, NULL, &is_panic));
	assert_false(endpoint_set_admin(
	    edge.registry, "blue", "10.0.0.1:80", ENDPOINT_DRAIN, &err));
	edge_close(&edge);
}

/* ---- listeners and what hangs on a snapshot ---- */

struct hooks {
	int listeners, pools; /* alive */
	bool fails;
};

static void *
hook_listener(void *ctx, const struct listener_cfg *cfg, struct err *err)
{
	struct hooks *hooks = ctx;

	(void)err;
	hooks->listeners++;
	return (void *)(uintptr_t)cfg;
}

static void *
hook_pool(void *ctx, const struct pool_cfg *cfg, struct err *err)
{
	struct hooks *hooks = ctx;

	if (hooks->fails) {
		err_set(err, "no such file");
		return NULL;
	}
	hooks->pools++;
	return (void *)(uintptr_t)cfg;
}

static void
hook_listener_free(void *ctx, void *tls)
{
	(void)tls;
	((struct hooks *)ctx)->listeners--;
}

static void
hook_pool_free(void *ctx, void *tls)
{
	(void)tls;
	((struct hooks *)ctx)->pools--;
}

/* The model by hand: TLS in the file would want real certificates. */
static struct config *
config_with_tls(void)
{
	struct config *config = edge_config(TWO);

	config->listeners[0].has_tls = true;
	config->pools[0].tls.on = config->pools[1].tls.on = true;
	return config;
}

static void
test_snapshot__what_hangs_on_it_goes_with_it(void **state)
{
	struct hooks hooks = {0};
	struct snapshot_options options = {.ctx = &hooks,
	    .listener_tls = hook_listener,
	    .pool_tls = hook_pool,
	    .listener_tls_free = hook_listener_free,
	    .pool_tls_free = hook_pool_free};
	struct edge edge;

	(void)state;
	edge_open(&edge, TWO);
	assert_non_null(snapshot_build(
	    edge.registry, config_with_tls(), &options, &edge.err));
	snapshot_publish(
	    registry_publication(edge.registry), edge.registry->built, NULL);
	edge_turn(&edge, 0);
	assert_int_equal(hooks.listeners, 1);
	assert_int_equal(hooks.pools, 2);
	assert_ptr_equal(snapshot_listener_tls(edge.snapshot, 0),
	    snapshot_listener(edge.snapshot, 0));
	assert_ptr_equal(snapshot_pool(edge.snapshot, 1)->tls,
	    snapshot_pool(edge.snapshot, 1)->cfg);
	hooks.fails = true;
	assert_null(snapshot_build(
	    edge.registry, config_with_tls(), &options, &edge.err));
	assert_string_equal(edge.err.text, "pool 'blue': no such file");
	assert_int_equal(hooks.listeners, 1);
	edge_reload(&edge, TWO);
	assert_int_equal(reap(&edge), 0);
	assert_int_equal(hooks.listeners, 0);
	assert_int_equal(hooks.pools, 0);
	edge_close(&edge);
}

static void
count_limit(void *ctx, const char *route,
    const uint64_t decisions[LIMIT_DECISION_COUNT], uint64_t evictions)
{
	(void)decisions;
	(void)evictions;
	assert_string_equal(route, "a");
	++*(unsigned *)ctx;
}

static void
count_denial(
    void *ctx, const char *route, enum access_denial denial, uint64_t n)
{
	(void)denial;
	(void)n;
	assert_string_equal(route, "a");
	++*(unsigned *)ctx;
}

/* A reload may be refused when the snapshot stands, for what is not in it. */
static void
test_snapshot__what_is_built_and_refused_hides_no_limit(void **state)
{
#define LIMITED(policy)                                                        \
	"listeners: {http: {bind: \"127.0.0.1:1\"}}\n"                         \
	"routes: [{name: a, " policy "respond: {status: 200}}]\n"
	unsigned limits = 0, denials = 0;
	struct edge edge;

	(void)state;
	edge_open(&edge,
	    LIMITED("rate_limit: {rate: 5/s}, access: {deny: 192.0.2.0/24}, "));
	assert_non_null(snapshot_build(edge.registry,
	    edge_config(LIMITED("access: {deny: 192.0.2.0/24}, ")), NULL,
	    &edge.err));
	registry_each_limit(edge.registry, count_limit, &limits);
	assert_int_equal(limits, 1);
	assert_non_null(snapshot_build(edge.registry,
	    edge_config(LIMITED("rate_limit: {rate: 5/s}, ")), NULL,
	    &edge.err));
	registry_each_denial(edge.registry, count_denial, &denials);
	assert_int_equal(denials, ACCESS_DENIAL_COUNT);
	edge_reload(&edge, LIMITED(""));
	registry_each_limit(edge.registry, count_limit, &limits);
	registry_each_denial(edge.registry, count_denial, &denials);
	assert_int_equal(limits, 1);
	assert_int_equal(denials, ACCESS_DENIAL_COUNT);
	edge_close(&edge);
#undef LIMITED
}

static void
test_snapshot__listener_ids_are_stable(void **state)
{
	struct edge edge;
	struct listener_cell *cell;
	struct listener_stats stats;
	int http, other;

	(void)state;
	edge_open(&edge, TWO);
	http = registry_listener_id(edge.registry, "http");
	assert_int_equal(http, 0);
	assert_int_equal(registry_listener_id(edge.registry, "other"), -1);
	cell = snapshot_listener_cell(edge.snapshot, 0, 1);
	counter_add(&cell->accepted, 3);
	atomic_store(&cell->active, 2);
	counter_add(&cell->handshakes[1][0], 4);
	edge_reload(&edge, "version: 1\n"
	                   "listeners: {other: {bind: [\"127.0.0.1:8081\"]}}\n"
	                   "routes: [{name: all, respond: {status: 204}}]\n");
	other = registry_listener_id(edge.registry, "other");
	assert_int_equal(other, 1);
	/* the connection that is still open counts itself out */
	assert_null(snapshot_listener(edge.snapshot, 0));
	assert_null(snapshot_listener_tls(edge.snapshot, 0));
	assert_ptr_equal(snapshot_listener_cell(edge.snapshot, 0, 1), cell);
	assert_string_equal(snapshot_listener(edge.snapshot, 1)->name, "other");
	assert_null(snapshot_listener(edge.snapshot, 2));
	assert_null(snapshot_listener_cell(edge.snapshot, 2, 0));
	edge_reload(&edge, TWO);
	assert_int_equal(registry_listener_id(edge.registry, "http"), http);
	listener_stats_read(edge.registry, 0, &stats);
	assert_int_equal(stats.accepted, 3);
	assert_int_equal(stats.active, 2);
	assert_int_equal(stats.handshakes[1][0], 4);
	listener_stats_read(edge.registry, 99, &stats);
	assert_int_equal(stats.accepted, 0);
	edge_close(&edge);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_snapshot__objects_survive_a_reload),
	    cmocka_unit_test(
	        test_snapshot__a_missing_endpoint_retires_at_publish_and_goes_with_the_last),
	    cmocka_unit_test(
	        test_snapshot__an_endpoint_that_returns_is_no_longer_retired),
	    cmocka_unit_test(
	        test_snapshot__a_worker_in_its_turn_keeps_the_old_one),
	    cmocka_unit_test(test_snapshot__a_hundred_reloads_grow_nothing),
	    cmocka_unit_test(test_snapshot__reloads_to_and_fro_grow_nothing),
	    cmocka_unit_test(
	        test_snapshot__a_build_that_is_not_published_is_replaced),
	    cmocka_unit_test(test_snapshot__splits_are_listed_and_found),
	    cmocka_unit_test(test_snapshot__a_name_stands_for_its_addresses),
	    cmocka_unit_test(
	        test_snapshot__names_are_refused_when_nobody_resolves),
	    cmocka_unit_test(
	        test_snapshot__a_pool_without_addresses_picks_nothing),
	    cmocka_unit_test(test_snapshot__what_hangs_on_it_goes_with_it),
	    cmocka_unit_test(
	        test_snapshot__what_is_built_and_refused_hides_no_limit),
	    cmocka_unit_test(test_snapshot__listener_ids_are_stable),
	};

	(void)argc;
	edge_without_caches(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
