/*
 * What a decision costs: nanoseconds for decide + pick + record, by size of
 * the file. Not part of the suite; run it on a quiet machine, or under
 * callgrind with a count of requests to divide by.
 */
#include "tests/unit/routing/edge.h"

#include <time.h>

static double
now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

static char *
file(int n_routes, int n_endpoints, const char *balance, const char *affinity)
{
	size_t cap = 1024 + (size_t)n_routes * 128 + (size_t)n_endpoints * 32;
	char *text = malloc(cap);
	size_t len = (size_t)snprintf(text, cap,
	    "version: 1\n"
	    "listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"
	    "splits: {shop: {stable: blue, affinity: {by: %s}, weights: "
	    "{blue: 95, green: 5}}}\n"
	    "pools:\n"
	    "  green: {endpoints: [\"10.200.0.1:80\"]}\n"
	    "  blue:\n    balance: %s\n    endpoints:\n",
	    affinity, balance);

	for (int i = 0; i < n_endpoints; i++)
		len += (size_t)snprintf(text + len, cap - len,
		    "      - \"10.0.%d.%d:80\"\n", i / 250, i % 250 + 1);
	len += (size_t)snprintf(text + len, cap - len, "routes:\n");
	for (int i = 1; i < n_routes; i++)
		len += (size_t)snprintf(text + len, cap - len,
		    "  - {name: r%d, match: {host: h%d.example.com, "
		    "path_prefix: /p%d}, pool: green}\n",
		    i, i % 50, i);
	snprintf(text + len, cap - len,
	    "  - {name: last, match: {host: shop.example.com, path_prefix: "
	    "/api}, split: shop}\n");
	return text;
}

static void
measure(const char *what, char *text, long requests)
{
	struct edge_request request = {.headers = {{"x-user", "user-4711"}}};
	struct route_query query =
	    edge_query("shop.example.com", "/api/v1/items/42", &request);
	struct outcome outcome = {.status = 200,
	    .total = NSEC_PER_MSEC,
	    .has_first_byte = true,
	    .first_byte = NSEC_PER_MSEC};
	struct decision decision;
	struct edge edge;
	double start;
	uintptr_t used = 0; /* keeps the optimiser honest */
	bool is_panic;

	edge_open(&edge, text);
	free(text);
	start = now();
	for (long i = 0; i < requests; i++) {
		routing_decide(edge.snapshot, 0, &edge.rng, &query, &decision);
		used += (uintptr_t)pool_pick(
		    decision.pool, 0, &edge.rng, decision.key, NULL, &is_panic);
		routing_record(edge.snapshot, 0, 0, &decision, &outcome);
	}
	printf("%-40s %6.1f ns%s\n", what,
	    (now() - start) / (double)(requests > 0 ? requests : 1),
	    used == 1 ? " " : "");
	edge_close(&edge);
}

int
main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 1000000;
	const char *header = "header, name: x-user";
	const char *hash = "hash\n    hash_on: {by: header, name: x-user}";

	measure("1 route, 2 endpoints, p2c", file(1, 2, "p2c", "request"), n);
	if (argc > 2)
		return 0;
	measure("1,000 routes", file(1000, 2, "p2c", "request"), n);
	measure("4,000 endpoints", file(1, 4000, "p2c", "request"), n);
	measure("4,000 endpoints, round robin",
	    file(1, 4000, "round_robin", "request"), n);
	measure("4,000 endpoints, hash", file(1, 4000, hash, "request"), n);
	measure("affinity by header", file(1, 2, "p2c", header), n);
	return 0;
}
