/* What is counted of finished requests, where, and how it reads. */
#include "tests/unit/routing/edge.h"

#define BASE                                                                   \
	"version: 1\n"                                                         \
	"listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"                    \
	"pools:\n"                                                             \
	"  blue: {endpoints: [\"10.0.0.1:80\"]}\n"                             \
	"  green: {endpoints: [\"10.0.1.1:80\"]}\n"                            \
	"splits: {shop: {stable: blue, weights: {blue: 50, green: 50}}}\n"     \
	"routes:\n"                                                            \
	"  - {name: gone, match: {path: /gone}, respond: {status: 410}}\n"     \
	"  - {name: shop, match: {host: a.test}, split: shop}\n"

static void
record(struct edge *edge, unsigned worker, const char *host, const char *path,
    const struct outcome *outcome)
{
	struct decision decision = edge_decide(edge, host, path, NULL);

	routing_record(edge->snapshot, worker, 0, &decision, outcome);
}

struct found {
	const char *name; /* "listener route pool" */
	struct series_stats stats;
	int n;
};

static void
on_series(
    void *ctx, const struct series_view *view, const struct series_stats *stats)
{
	struct found *found = ctx;
	char name[200];

	snprintf(name, sizeof(name), "%s %s %s", view->listener, view->route,
	    view->pool);
	if (strcmp(name, found->name) != 0)
		return;
	found->stats = *stats;
	found->n++;
}

static struct found
find(struct edge *edge, const char *name)
{
	struct found found = {.name = name};

	registry_each_series(edge->registry, on_series, &found);
	return found;
}

static void
test_series__counts_by_listener_route_and_pool(void **state)
{
	struct outcome ok = {.status = 200,
	    .total = 2 * NSEC_PER_MSEC,
	    .bytes_in = 10,
	    .bytes_out = 100};
	struct found found;
	struct edge edge;

	(void)state;
	edge_open(&edge, BASE);
	for (int i = 0; i < 40; i++)
		record(&edge, (unsigned)i % 2, "a.test", "/", &ok);
	for (int i = 0; i < 3; i++)
		record(&edge, 0, "a.test", "/gone", &ok);
	record(&edge, 0, "b.test", "/", &ok);
	found = find(&edge, "http shop blue");
	assert_int_equal(found.n, 1);
	assert_int_equal(found.stats.n_codes, 1);
	assert_int_equal(found.stats.codes[0].status, 200);
	assert_int_equal(found.stats.codes[0].count, 20);
	assert_int_equal(found.stats.bytes_in, 200);
	assert_int_equal(found.stats.bytes_out, 2000);
	assert_int_equal(found.stats.total.count, 20);
	assert_int_equal(
	    find(&edge, "http shop green").stats.codes[0].count, 20);
	assert_int_equal(find(&edge, "http gone ").stats.codes[0].count, 3);
	assert_int_equal(find(&edge, "http  ").stats.codes[0].count, 1);
	/* never used, never shown */
	assert_int_equal(find(&edge, "http shop ").n, 0);
	edge_close(&edge);
}

static void
test_series__methods_and_codes_stand_apart(void **state)
{
	struct found found;
	struct edge edge;
	uint64_t count = 0;

	(void)state;
	edge_open(&edge, BASE);
	for (unsigned i = 0; i < 30; i++) {
		struct outcome outcome = {
		    .method = i % 3, .status = 200 + i / 10};

		record(&edge, i % 2, "a.test", "/gone", &outcome);
	}
	found = find(&edge, "http gone ");
	assert_int_equal(found.stats.n_codes, 9);
	for (uint32_t i = 0; i < found.stats.n_codes; i++) {
		assert_in_range(found.stats.codes[i].status, 200, 202);
		assert_in_range(found.stats.codes[i].count, 3, 4);
		count += found.stats.codes[i].count;
	}
	assert_int_equal(count, 30);
	edge_close(&edge);
}

static void
test_series__invented_codes_lose_their_detail_only(void **state)
{
	struct found found;
	struct edge edge;
	uint64_t count = 0, others = 0;

	(void)state;
	edge_open(&edge, BASE);
	for (unsigned i = 0; i < 10000; i++) {
		struct outcome outcome = {
		    .method = i % METHOD_COUNT, .status = i % 1000};

		record(&edge, i % 2, "a.test", "/gone", &outcome);
	}
	found = find(&edge, "http gone ");
	assert_in_range(found.stats.n_codes, 50, SERIES_CODES_MAX * 2);
	for (uint32_t i = 0; i < found.stats.n_codes; i++) {
		count += found.stats.codes[i].count;
		if (found.stats.codes[i].method == METHOD_OTHER &&
		    found.stats.codes[i].status == 0)
			others = found.stats.codes[i].count;
	}
	assert_int_equal(count, 10000);
	assert_true(others > 5000);
	edge_close(&edge);
}

/* A worker writes a row's key and its count; another processor may see the
   count first. */
static void
test_series__a_count_without_its_key_is_not_told_yet(void **state)
{
	struct outcome ok = {.status = 200};
	struct series *series;
	struct series_code *row;
	struct found found;
	struct edge edge;

	(void)state;
	edge_open(&edge, BASE);
	record(&edge, 0, "a.test", "/gone", &ok);
	series = registry_series(edge.registry, "http", "gone", "");
	row = atomic_load(&series->cells[0])->codes;
	while (atomic_load(&row->key) != 0)
		row++;
	counter_add(&row->count, 1);
	found = find(&edge, "http gone ");
	assert_int_equal(found.stats.n_codes, 1);
	assert_int_equal(found.stats.codes[0].status, 200);
	atomic_store(&row->key, 204);
	found = find(&edge, "http gone ");
	assert_int_equal(found.stats.n_codes, 2);
	edge_close(&edge);
}

static void
test_series__the_pool_counts_blame_and_classes(void **state)
{
	struct outcome ok = {.status = 200,
	    .total = 3 * NSEC_PER_MSEC,
	    .has_first_byte = true,
	    .first_byte = NSEC_PER_MSEC};
	struct outcome bad = {.status = 502, .pool_failed = true};
	struct outcome left = {.status = 499};
	struct outcome odd = {.status = 999};
	struct pool_stats stats;
	struct edge edge;

	(void)state;
	edge_open(&edge, BASE);
	for (int i = 0; i < 20; i++)
		record(&edge, (unsigned)i % 2, "a.test", "/", &ok);
	for (int i = 0; i < 20; i++)
		record(&edge, 0, "a.test", "/", &bad);
	for (int i = 0; i < 20; i++)
		record(&edge, 0, "a.test", "/", &left);
	for (int i = 0; i < 20; i++)
		record(&edge, 0, "a.test", "/", &odd);
	pool_stats_read(snapshot_pool(edge.snapshot, 0)->pool, 2, &stats);
	assert_int_equal(stats.requests, 40);
	assert_int_equal(stats.failures, 10);
	assert_int_equal(stats.by_class[2], 10);
	assert_int_equal(stats.by_class[4], 10);
	assert_int_equal(stats.by_class[5], 10);
	assert_int_equal(stats.by_class[0], 10);
	assert_int_equal(stats.total.count, 40);
	assert_int_equal(stats.first_byte.count, 10);
	assert_int_equal(stats.first_byte.sum, 10 * NSEC_PER_MSEC);
	edge_close(&edge);
}

static void
test_series__survives_reloads_and_goes_with_its_route(void **state)
{
	struct outcome ok = {.status = 200};
	struct edge edge;

	(void)state;
	edge_open(&edge, BASE);
	record(&edge, 0, "a.test", "/gone", &ok);
	edge_reload(&edge, BASE);
	record(&edge, 1, "a.test", "/gone", &ok);
	assert_int_equal(find(&edge, "http gone ").stats.codes[0].count, 2);
	record(&edge, 0, "b.test", "/", &ok);
	edge_reload(&edge, "version: 1\n"
	                   "listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"
	                   "routes: [{name: other, respond: {status: 204}}]\n");
	assert_int_equal(find(&edge, "http gone ").n, 0);
	assert_int_equal(find(&edge, "http  ").stats.codes[0].count, 1);
	edge_close(&edge);
}

static void
test_series__a_connection_of_a_listener_that_left_still_counts(void **state)
{
	struct outcome ok = {.status = 200};
	struct decision decision;
	struct edge edge;

	(void)state;
	edge_open(&edge, BASE);
	edge_reload(&edge, "version: 1\n"
	                   "listeners: {other: {bind: [\"127.0.0.1:8081\"]}}\n"
	                   "routes: [{name: all, respond: {status: 204}}]\n");
	decision = edge_decide(&edge, "a.test", "/", NULL);
	routing_record(edge.snapshot, 0, 0, &decision, &ok);
	assert_int_equal(find(&edge, "http  ").stats.codes[0].count, 1);
	routing_record(edge.snapshot, 0, 1, &decision, &ok);
	assert_int_equal(find(&edge, "other all ").stats.codes[0].count, 1);
	/* one that this snapshot does not know yet is not counted */
	routing_record(edge.snapshot, 0, 2, &decision, &ok);
	edge_close(&edge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_series__counts_by_listener_route_and_pool),
	    cmocka_unit_test(test_series__methods_and_codes_stand_apart),
	    cmocka_unit_test(
	        test_series__invented_codes_lose_their_detail_only),
	    cmocka_unit_test(
	        test_series__a_count_without_its_key_is_not_told_yet),
	    cmocka_unit_test(test_series__the_pool_counts_blame_and_classes),
	    cmocka_unit_test(
	        test_series__survives_reloads_and_goes_with_its_route),
	    cmocka_unit_test(
	        test_series__a_connection_of_a_listener_that_left_still_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
