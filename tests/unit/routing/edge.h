/*
 * An edge made from a few lines of YAML, for tests: a registry, one published
 * snapshot held by worker 0, a seeded generator and a query with a table of
 * header fields and cookies.
 */
#ifndef WEIR_TESTS_ROUTING_EDGE_H
#define WEIR_TESTS_ROUTING_EDGE_H

/* cmocka wants these before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/config.h"
#include "routing/registry.h"
#include "routing/routing.h"

static const uint8_t edge_secret[16] = "a test's secret";

struct edge {
	struct registry *registry;
	struct snapshot *snapshot;
	struct rng rng;
	struct err err;
};

static inline struct config *
edge_config(const char *text)
{
	struct diags diags;
	struct config *config =
	    config_load_text("edge.yaml", span_of(text), &diags);

	if (config == NULL)
		diags_print(&diags, stderr, false);
	diags_release(&diags);
	assert_non_null(config);
	return config;
}

/* What the worker's loop does once a turn. */
static inline void
edge_turn(struct edge *edge, unsigned worker)
{
	struct publication *publication = registry_publication(edge->registry);
	struct snapshot *next =
	    publication_adopt(publication, worker, edge->snapshot);

	if (next != edge->snapshot && edge->snapshot != NULL)
		snapshot_drop(edge->snapshot, worker);
	edge->snapshot = next;
}

static inline size_t
edge_reload_with(struct edge *edge, const char *text,
    const struct snapshot_options *options, struct merge_note **notes)
{
	struct snapshot *snapshot = snapshot_build(
	    edge->registry, edge_config(text), options, &edge->err);
	size_t n;

	if (snapshot == NULL)
		fprintf(stderr, "%s\n", edge->err.text);
	assert_non_null(snapshot);
	n = snapshot_publish(
	    registry_publication(edge->registry), snapshot, notes);
	edge_turn(edge, 0);
	publication_reap(registry_publication(edge->registry));
	return n;
}

static inline enum merge
edge_reload(struct edge *edge, const char *text)
{
	struct merge_note *notes = NULL;
	enum merge first = MERGE_KEEP_RUNTIME;

	if (edge_reload_with(edge, text, NULL, &notes) > 0)
		first = notes[0].merge;
	free(notes);
	return first;
}

static inline void
edge_seed(struct edge *edge, uint64_t seed)
{
	uint8_t bytes[32] = {0};

	memcpy(bytes, &seed, sizeof(seed));
	bytes[31] = 1;
	rng_seed(&edge->rng, bytes);
	for (int i = 0; i < 16; i++)
		rng_next(&edge->rng);
}

static inline void
edge_init(struct edge *edge, unsigned workers)
{
	*edge = (struct edge){.registry = registry_new(workers, edge_secret)};
	edge_seed(edge, 7);
}

static inline void
edge_open(struct edge *edge, const char *text)
{
	edge_init(edge, 2);
	edge_reload(edge, text);
}

static inline void
edge_close(struct edge *edge)
{
	if (edge->snapshot != NULL)
		snapshot_drop(edge->snapshot, 0);
	registry_free(&edge->registry);
	assert_null(edge->registry);
}

/*
 * For tests that count memory: starts the program again without malloc's
 * per-thread caches, whose contents count as in use and grow for a while.
 */
static inline void
edge_without_caches(char **argv)
{
	const char *name = "GLIBC_TUNABLES";

	if (getenv(name) != NULL)
		return;
	setenv(name, "glibc.malloc.tcache_count=0", 1);
	execv("/proc/self/exe", argv);
}

/* ---- queries ---- */

struct edge_field {
	const char *name, *value;
};

struct edge_request {
	struct edge_field headers[4], cookies[4];
};

static inline bool
edge_find(
    const struct edge_field *fields, struct span name, struct span *value_out)
{
	for (int i = 0; i < 4 && fields[i].name != NULL; i++) {
		if (!span_eq(span_of(fields[i].name), name))
			continue;
		*value_out = span_of(fields[i].value);
		return true;
	}
	return false;
}

static inline bool
edge_header(const void *ctx, struct span name, struct span *value_out)
{
	const struct edge_request *request = ctx;

	return edge_find(request->headers, name, value_out);
}

static inline bool
edge_cookie(const void *ctx, struct span name, struct span *value_out)
{
	const struct edge_request *request = ctx;

	return edge_find(request->cookies, name, value_out);
}

static inline struct route_query
edge_query(
    const char *host, const char *path, const struct edge_request *request)
{
	static const struct edge_request none;

	return (struct route_query){.host = span_of(host),
	    .path = span_of(path),
	    .header = edge_header,
	    .cookie = edge_cookie,
	    .ctx = request != NULL ? request : &none};
}

static inline struct decision
edge_decide(struct edge *edge, const char *host, const char *path,
    const struct edge_request *request)
{
	struct route_query query = edge_query(host, path, request);
	struct decision decision;

	routing_decide(edge->snapshot, 0, &edge->rng, &query, &decision);
	return decision;
}

/* The name of the pool that a plain request gets, "" for none. */
static inline const char *
edge_pool(struct edge *edge, const struct edge_request *request)
{
	struct decision decision = edge_decide(edge, "a.test", "/", request);

	return decision.pool != NULL ? decision.pool->pool->name : "";
}

#endif
