/*
 * A small HTTP/1.1 server that plays an application's version: it names its
 * pool, is as slow and as broken as asked. For `weir demo` and
 * `weir demo-upstream`; no part of the data path.
 *
 * It can be told over HTTP as well: GET /mood/errors (or latency, crash, hang,
 * well; /mood/errors/30% for a share) changes its mood, GET /mood says how many
 * requests have been treated badly since then and from when to when:
 * {"mood": "errors", "bad": 7, "first_bad_ms": 0.4, "last_request_ms": 131.0,
 * "requests": 7}, times counted from the change.
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

/* How a version can be bad. */
enum demo_mood {
	MOOD_WELL,
	MOOD_ERRORS,  /* answers 500 */
	MOOD_LATENCY, /* answers MOOD_DELAY later */
	MOOD_CRASH,   /* resets its connections and refuses new ones, for good */
	MOOD_HANG,    /* takes requests and never answers */
	MOOD_COUNT
};
bool demo_mood_of(struct span word, enum demo_mood *out);
const char *demo_mood_name(enum demo_mood mood); /* "well", "errors", ... */

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
/* From any thread, while it serves: `share` of the requests are so from now on. */
void demo_upstream_break(struct demo_upstream *upstream, enum demo_mood mood, bp_t share);
void demo_upstream_free(struct demo_upstream **upstream);

#endif
