/*
 * The request path allocates nothing. The linker leads routing's calls of the
 * allocator through this file (see meson.build), which counts them.
 */
#include "tests/unit/routing/edge.h"

static unsigned long n_taken;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *
__wrap_malloc(size_t size)
{
	n_taken++;
	return __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	n_taken++;
	return __real_calloc(n, size);
}

void *
__wrap_realloc(void *memory, size_t size)
{
	n_taken++;
	return __real_realloc(memory, size);
}

void *
__wrap_aligned_alloc(size_t alignment, size_t size)
{
	n_taken++;
	return __real_aligned_alloc(alignment, size);
}

static const char *
file(const char *balance, const char *affinity)
{
	static char text[2048];

	snprintf(text, sizeof(text),
	    "version: 1\n"
	    "listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"
	    "pools:\n"
	    "  blue: {balance: %s, endpoints: [\"10.0.0.1:80\", {address: "
	    "\"10.0.0.2:80\", weight: 3}, \"10.0.0.3:80\"]}\n"
	    "  green: {endpoints: [\"10.0.1.1:80\"]}\n"
	    "splits: {shop: {stable: blue, affinity: {by: %s}, weights: "
	    "{blue: 95, green: 5}}}\n"
	    "routes: [{name: all, rate_limit: {rate: 1000000/s, key: "
	    "route}, "
	    "split: shop}]\n",
	    balance, affinity);
	return text;
}

static void
serve(struct edge *edge, int n)
{
	for (int i = 0; i < n; i++) {
		struct decision decision =
		    edge_decide(edge, "a.test", "/", NULL);
		struct outcome outcome = {
		    .status = 200 + (unsigned)i % 7, .total = i};
		bool is_panic;

		pool_pick(decision.pool, 0, &edge->rng, decision.key, NULL,
		    &is_panic);
		routing_record(edge->snapshot, 0, 0, &decision, &outcome);
	}
}

static void
test_cost__a_request_allocates_nothing(void **state)
{
	static const char *const ways[] = {"p2c", "round_robin", "random",
	    "hash, hash_on: {by: cookie, name: u}"};
	static const char *const affinities[] = {
	    "request", "cookie, name: u", "client_ip"};

	(void)state;
	for (size_t i = 0; i < 12; i++) {
		struct edge edge;
		unsigned long before;

		n_taken = 0;
		edge_open(&edge, file(ways[i % 4], affinities[i / 4]));
		assert_true(n_taken > 0); /* else nothing is counted at all */
		serve(&edge, 200); /* each series' cell is made at first use */
		before = n_taken;
		serve(&edge, 2000);
		/* nor when the balancers look again */
		endpoint_mark_down(
		    snapshot_pool(edge.snapshot, 0)->endpoints[1], 1, "gone");
		serve(&edge, 200);
		assert_int_equal(n_taken, before);
		edge_close(&edge);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cost__a_request_allocates_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
