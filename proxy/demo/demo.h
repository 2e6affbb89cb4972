/*
 * weir demo, between its files: command/demo.c puts everything up around the
 * real data plane, client.c plays the users, story.c is `--once`, rollout.c
 * what a rollout does with a healthy or a broken canary.
 */
#ifndef WEIR_PROXY_DEMO_H
#define WEIR_PROXY_DEMO_H

#include <stdatomic.h>

#include "config/config.h"
#include "proxy/demo/upstream.h"
#include "routing/control.h"
#include "tls/tls.h"

/* In the order of demo_pools. */
enum { DEMO_BLUE, DEMO_CANARY, DEMO_GREEN, DEMO_POOLS };
enum { DEMO_USERS = 12 }; /* threads; each its own worker to tls */
extern const char *const demo_pools[DEMO_POOLS];
int demo_pool_index(struct span name); /* -1: none of them */

/* Where the running demo is to be found. */
struct demo_site {
	struct address tls, clear, admin_unix, admin_tcp; /* owned */
	struct tls_client *tls_client; /* owned: believes anything */
	char viewer[65], operator[65]; /* tokens */
	nsec_t ready_after; /* from the start of the command to "ready" */
	struct demo_upstream *canary; /* borrowed */
	enum demo_mood mood;          /* what becomes of it: MOOD_WELL without --break */
};

/* ---- the users: a few threads, each with one kept connection ---- */

struct demo_load;
struct demo_counts {
	uint64_t pools[DEMO_POOLS], failed;
	struct histogram_sum latency;
};
/* `rate` requests a second in all, over both listeners. NULL with err. */
struct demo_load *demo_load_start(
    const struct demo_site *site, unsigned rate, struct err *err);
void demo_load_read(const struct demo_load *load, struct demo_counts *out);
void demo_load_stop(struct demo_load **load);

/* ---- the screen ---- */

void demo_welcome(const struct demo_site *site, const char *dir);
/* Until *is_ending, or until nobody looks any more: the users' numbers, each
 * second on a terminal, else now and then. */
void demo_screen(const struct demo_load *load, const atomic_bool *is_ending);

/* ---- the story of --once ---- */

struct demo_score {
	unsigned passed, failed;
};
/* With users of its own; tells and counts its steps. True: all were as they should be. */
bool demo_rollout(const struct demo_site *site, struct demo_score *score);
void demo_story(const struct demo_site *site, struct demo_score *score);
/* Prints and counts one step. `detail` says what was seen. */
void demo_step(struct demo_score *score, bool ok, const char *what,
    const char *detail, ...) __attribute__((format(printf, 4, 5)));

#endif
