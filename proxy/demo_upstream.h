/*
 * A small HTTP/1.1 server that plays an application's version: it names its
 * pool, is as slow and as broken as asked. For `weir demo` and
 * `weir demo-upstream`; no part of the data path.
 */
#ifndef WEIR_PROXY_DEMO_UPSTREAM_H
#define WEIR_PROXY_DEMO_UPSTREAM_H

#include "config/config.h"

struct demo_upstream_cfg {
	const char *name; /* borrowed; a config name */
	bp_t fail;        /* share of requests answered with 500 */
	nsec_t latency;   /* median before the answer */
	double spread;    /* sigma of its logarithm; 0: always the same */
	size_t padding;   /* bytes added to the body */
};

struct demo_upstream;
/* Binds and listens; the port of `listen` may be 0. The address is not kept. */
struct demo_upstream *demo_upstream_new(const struct demo_upstream_cfg *cfg,
    const struct address *listen, struct err *err);
const char *demo_upstream_address(
    const struct demo_upstream *upstream); /* "127.0.0.1:40123" */
/* Serves in the calling thread until SIGINT or SIGTERM. */
void demo_upstream_serve(struct demo_upstream *upstream);
/* Serves in a thread of its own until it is freed. */
bool demo_upstream_start(struct demo_upstream *upstream, struct err *err);
void demo_upstream_free(struct demo_upstream **upstream);

#endif
