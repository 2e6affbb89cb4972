/*
 * Who of the endpoints is well, and who is taken in again. Each endpoint of a
 * pool with `health` is checked again and again, once for all workers; of a
 * pool without, those that workers took out after refused connections are tried
 * once a second until one connects.
 *
 * Checks are spread: the first comes within a quarter of the interval, each
 * next one after the interval, a tenth more or less. While the last result
 * speaks against the endpoint's state they come four times as often, so that
 * a change is soon made sure of. What a check means is routing's to say
 * (endpoint_checked).
 */
#include "proxy/control/probe.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "admin/admin.h"
#include "admin/log.h"
#include "proxy/control/probe_run.h"
#include "proxy/worker.h"
#include "routing/control.h"

enum {
	LOOK_EVERY_MS = 100,
	RUNS_MAX = 256, /* at once; the others wait for a place */
	SOON_MIN_MS = 10,
};

/* For endpoints that workers took out, where the pool has no checks. */
static const struct health_cfg passive = {
    .interval = NSEC_PER_SEC,
    .timeout = NSEC_PER_SEC,
    .rise = 1,
    .fall = 1,
};

struct check {
	LIST_ENTRY(check) link;
	struct prober *prober;     /* borrowed */
	struct endpoint *endpoint; /* borrowed: in the current snapshot */
	const struct health_cfg
	    *cfg;               /* borrowed from the snapshot, or passive */
	struct tls_client *tls; /* borrowed from the snapshot */
	bool is_h2;
	unsigned send_proxy;   /* of the pool */
	struct event *timer;   /* owned */
	struct probe_run *run; /* owned; NULL between checks */
	uint64_t round;
	bool is_told; /* its being down is in the log */
};

struct prober {
	struct event_base *base;   /* borrowed */
	struct registry *registry; /* borrowed */
	struct admin *admin;       /* borrowed */
	struct event *timer;       /* owned */
	LIST_HEAD(, check) checks;
	struct rng rng;
	uint64_t round;
	unsigned n_runs;
};

/* ---- telling ---- */

static void
announce(struct prober *prober, const struct endpoint *endpoint,
    const char *health, char *text)
{
	char json[700];

	/* No reason needs escapes; to be sure. */
	for (char *p = text; *p; p++)
		if (*p == '"' || *p == '\\')
			*p = '\'';
	snprintf(json, sizeof(json),
	    "{\"pool\":\"%s\",\"endpoint\":\"%.255s\",\"health\":\"%s\","
	    "\"reason\":\"%s\"}",
	    endpoint->pool->name, endpoint->address.text, health, text);
	if (prober->admin)
		admin_announce(prober->admin, "endpoint-health", json);
}

static void
tell(struct check *check, bool is_up)
{
	const struct endpoint *endpoint = check->endpoint;
	const char *pool = endpoint->pool->name;
	char text[160];

	endpoint_health(endpoint, clock_now(), text, sizeof(text));
	text[strcspn(text, ",")] = '\0';
	if (is_up)
		log_event(LOG_INFO, "endpoint is up", "pool", pool, "endpoint",
		    endpoint->address.text, NULL);
	else
		log_event(LOG_WARN, "endpoint is down", "pool", pool,
		    "endpoint", endpoint->address.text, "reason", text, NULL);
	check->is_told = !is_up;
	announce(check->prober, endpoint, is_up ? "up" : "down", text);
}

static void
tell_ejected(struct prober *prober, struct endpoint *endpoint, nsec_t now)
{
	char text[160];

	endpoint->ejection_is_told = true;
	endpoint_health(endpoint, now, text, sizeof(text));
	log_event(LOG_WARN, "endpoint is ejected", "pool", endpoint->pool->name,
	    "endpoint", endpoint->address.text, "reason", text, NULL);
	announce(prober, endpoint, "ejected", text);
}

static void
tell_back(struct prober *prober, struct endpoint *endpoint)
{
	char text[] = "its time is over";

	endpoint->ejection_is_told = false;
	log_event(LOG_INFO, "endpoint is back after its ejection", "pool",
	    endpoint->pool->name, "endpoint", endpoint->address.text, NULL);
	announce(prober, endpoint, "up", text);
}

static void
tell_panic(struct prober *prober, struct pool *pool, bool is_panic)
{
	char json[160];

	pool->panic_is_told = is_panic;
	if (is_panic)
		log_event(LOG_ERROR,
		    "all endpoints are out: they get requests all the same",
		    "pool", pool->name, NULL);
	else
		log_event(LOG_INFO, "endpoints are in service again", "pool",
		    pool->name, NULL);
	snprintf(json, sizeof(json), "{\"pool\":\"%s\",\"panic\":%s}",
	    pool->name, is_panic ? "true" : "false");
	if (prober->admin)
		admin_announce(prober->admin, "pool-panic", json);
}

/* ---- one endpoint's checks ---- */

static void on_due(int fd, short what, void *arg);

static void
check_end(struct check *check)
{
	if (check->run)
		check->prober->n_runs--;
	probe_run_free(&check->run);
	if (check->timer)
		event_free(check->timer);
	check->endpoint->prober = NULL;
	LIST_REMOVE(check, link);
	free(check);
}

static void
wait_for(struct check *check, nsec_t pause)
{
	struct timeval tv = {
	    pause / NSEC_PER_SEC, pause % NSEC_PER_SEC / NSEC_PER_USEC};

	evtimer_add(check->timer, &tv);
}

static nsec_t
random_part(struct prober *prober, nsec_t of)
{
	uint32_t share = rng_below(&prober->rng, 1024);

	return of / 1024 * share;
}

static nsec_t
next_pause(struct check *check)
{
	nsec_t interval = check->cfg->interval;
	nsec_t soon = SOON_MIN_MS * NSEC_PER_MSEC;

	if (check->cfg != &passive && endpoint_is_turning(check->endpoint)) {
		if (interval / 4 > soon)
			soon = interval / 4;
		interval = soon < interval ? soon : interval;
	}
	return interval - interval / 10 +
	       random_part(check->prober, interval / 5);
}

/* Without checks it is over once it is up: workers will tell. */
static bool
is_needed(const struct check *check)
{
	return check->cfg != &passive ||
	       atomic_load_explicit(
	           &check->endpoint->is_down, memory_order_relaxed);
}

static void
on_done(void *ctx, bool is_good, const char *text)
{
	struct check *check = ctx;
	struct endpoint *endpoint = check->endpoint;
	bool is_up, was_told = check->is_told;

	check->run = NULL;
	check->prober->n_runs--;
	if (check->cfg != &passive)
		endpoint_checked(
		    endpoint, check->cfg, is_good, text, clock_now());
	else if (is_good)
		endpoint_mark_up(endpoint);
	is_up = !atomic_load_explicit(&endpoint->is_down, memory_order_relaxed);
	if (is_up == was_told)
		tell(check, is_up);
	if (is_needed(check))
		wait_for(check, next_pause(check));
	else
		check_end(check);
}

static void
on_due(int fd, short what, void *arg)
{
	struct check *check = arg;
	struct prober *prober = check->prober;
	struct probe_ask ask = {
	    .address = &check->endpoint->address,
	    .cfg = check->cfg,
	    .tls = check->cfg == &passive ? NULL : check->tls,
	    .worker = registry_workers(prober->registry),
	    .is_h2 = check->is_h2,
	    /* Another port is another server, which need not speak it. */
	    .send_proxy = check->cfg->port == 0 ? check->send_proxy : 0,
	};

	(void)fd;
	(void)what;
	if (prober->n_runs < RUNS_MAX)
		check->run = probe_run_new(prober->base, &ask, on_done, check);
	if (check->run)
		prober->n_runs++;
	else
		wait_for(check, 20 * NSEC_PER_MSEC);
}

static struct check *
check_new(struct prober *prober, struct endpoint *endpoint)
{
	struct check *check = calloc(1, sizeof(*check));

	if (check == NULL)
		return NULL;
	check->prober = prober;
	check->endpoint = endpoint;
	check->timer = evtimer_new(prober->base, on_due, check);
	if (check->timer == NULL) {
		free(check);
		return NULL;
	}
	LIST_INSERT_HEAD(&prober->checks, check, link);
	endpoint->prober = check;
	return check;
}

/* ---- all of them ---- */

static bool
is_same(const struct health_cfg *a, const struct health_cfg *b)
{
	return a->interval == b->interval && a->port == b->port &&
	       text_eq(a->path, b->path) && text_eq(a->grpc, b->grpc);
}

/* With checks: begin, or go on by the new words, at once when they changed. */
static void
follow_checked(struct prober *prober, const struct pool_view *pool,
    struct endpoint *endpoint)
{
	const struct health_cfg *cfg = &pool->cfg->health;
	struct check *check = endpoint->prober;
	bool is_new = check == NULL || check->cfg == &passive;
	bool is_running = check && check->run;

	/* Only endpoints have come or gone: this one's checks go on. */
	if (!is_new && check->cfg == cfg && check->tls == pool->tls) {
		check->round = prober->round;
		return;
	}
	if (check == NULL)
		check = check_new(prober, endpoint);
	if (check == NULL)
		return;
	if (check->run) {
		prober->n_runs--;
		probe_run_free(&check->run);
	}
	if (is_new)
		endpoint->check = (struct endpoint_check){.is_on = true};
	/* The old words are the old snapshot's, which is still there. */
	if (is_new || is_running || !is_same(cfg, check->cfg))
		wait_for(check, random_part(prober, cfg->interval / 4));
	check->cfg = cfg;
	check->tls = pool->tls;
	check->is_h2 = pool->cfg->protocol == PROTOCOL_H2;
	check->send_proxy = pool->cfg->send_proxy;
	check->round = prober->round;
}

static void
follow_unchecked(struct prober *prober, struct endpoint *endpoint)
{
	struct check *check = endpoint->prober;
	bool is_down =
	    atomic_load_explicit(&endpoint->is_down, memory_order_relaxed);

	endpoint->check.is_on = false;
	if (check && check->cfg != &passive) {
		check_end(check);
		check = NULL;
	}
	if (check == NULL && is_down) {
		check = check_new(prober, endpoint);
		if (check == NULL)
			return;
		check->cfg = &passive;
		tell(check, false);
		wait_for(check, random_part(prober, NSEC_PER_SEC / 4));
	}
	if (check)
		check->round = prober->round;
}

/* Workers take out at any time; all else comes with a snapshot. */
static void
look_at(struct prober *prober, const struct pool_view *pool,
    struct endpoint *endpoint, bool is_news)
{
	struct check *check = endpoint->prober;
	bool is_down;

	if (!pool->cfg->health.is_on) {
		follow_unchecked(prober, endpoint);
		return;
	}
	if (is_news || check == NULL)
		follow_checked(prober, pool, endpoint);
	check = endpoint->prober;
	if (check == NULL)
		return;
	check->round = prober->round;
	is_down =
	    atomic_load_explicit(&endpoint->is_down, memory_order_relaxed);
	if (is_down && !check->is_told) {
		tell(check, false);
		if (check->run == NULL) /* a worker's doing: ask soon */
			wait_for(check, random_part(prober,
			                    pool->cfg->health.interval / 4));
	}
}

static void
look_at_ejection(struct prober *prober, const struct pool_view *pool,
    struct endpoint *endpoint, nsec_t now)
{
	bool is_back = endpoint_readmit(pool, endpoint, now);

	if (is_back)
		tell_back(prober, endpoint);
	else if (atomic_load_explicit(
	             &endpoint->is_ejected, memory_order_relaxed) &&
	         !endpoint->ejection_is_told)
		tell_ejected(prober, endpoint, now);
}

static void
look_at_all(struct prober *prober, bool is_news)
{
	struct snapshot *snapshot =
	    publication_current(registry_publication(prober->registry));
	struct check *check, *next;
	nsec_t now = clock_now();

	prober->round++;
	for (size_t i = 0; snapshot && i < snapshot_n_pools(snapshot); i++) {
		const struct pool_view *pool = snapshot_pool(snapshot, i);

		for (size_t j = 0; j < pool->n_endpoints; j++) {
			look_at(prober, pool, pool->endpoints[j], is_news);
			look_at_ejection(prober, pool, pool->endpoints[j], now);
			endpoint_warm(pool->endpoints[j], now);
		}
		if (pool_panics(pool) != pool->pool->panic_is_told)
			tell_panic(prober, pool->pool, pool_panics(pool));
	}
	for (check = LIST_FIRST(&prober->checks); check; check = next) {
		next = LIST_NEXT(check, link);
		if (check->round != prober->round)
			check_end(check);
	}
}

void
prober_follow(struct prober *prober)
{
	look_at_all(prober, true);
}

static void
on_look(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look_at_all(arg, false);
}

struct prober *
prober_new(
    struct event_base *base, struct registry *registry, struct admin *admin)
{
	struct prober *prober = calloc(1, sizeof(*prober));
	struct timeval every = {0, LOOK_EVERY_MS * 1000};
	uint8_t seed[32];

	if (!prober)
		return NULL;
	prober->base = base;
	prober->registry = registry;
	prober->admin = admin;
	LIST_INIT(&prober->checks);
	prober->timer = event_new(base, -1, EV_PERSIST, on_look, prober);
	if (!tls_random(seed, sizeof(seed)) || !prober->timer ||
	    event_add(prober->timer, &every) < 0) {
		prober_free(&prober);
		return NULL;
	}
	rng_seed(&prober->rng, seed);
	prober_follow(prober);
	return prober;
}

void
prober_free(struct prober **prober_in)
{
	struct prober *prober = *prober_in;

	*prober_in = NULL;
	if (!prober)
		return;
	while (LIST_FIRST(&prober->checks))
		check_end(LIST_FIRST(&prober->checks));
	if (prober->timer)
		event_free(prober->timer);
	free(prober);
}
