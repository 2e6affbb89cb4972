/*
 * Probing back in: endpoints that workers took out after refused connections
 * are tried once a second by a connect from the control thread, each with at
 * most one probe under way, and marked up when it succeeds.
 */
#include "proxy/probe.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/log.h"
#include "proxy/worker.h"
#include "routing/control.h"

enum { PROBE_EVERY_MS = 1000, LOOK_EVERY_MS = 250, PROBES_MAX = 256 };

struct attempt {
	LIST_ENTRY(attempt) link;
	struct prober *prober;
	char pool[CONFIG_NAME_MAX + 1];
	char address[256];
	struct event *event; /* owned */
	int fd;              /* owned */
	bool is_running;     /* else: waiting for the next second */
	bool was_told;       /* its going down is in the log */
	nsec_t next_at;
	uint64_t seen;
};

struct prober {
	struct event_base *base;   /* borrowed */
	struct registry *registry; /* borrowed */
	struct event *timer;       /* owned */
	LIST_HEAD(, attempt) attempts;
	uint64_t round;
	unsigned n;
};

static struct endpoint *
find(struct prober *prober, const struct attempt *attempt)
{
	struct snapshot *snapshot =
	    publication_current(registry_publication(prober->registry));

	for (size_t i = 0; snapshot && i < snapshot_n_pools(snapshot); i++) {
		const struct pool_view *pool = snapshot_pool(snapshot, i);

		if (strcmp(pool->pool->name, attempt->pool) != 0)
			continue;
		for (size_t j = 0; j < pool->n_endpoints; j++)
			if (strcmp(pool->endpoints[j]->address.text,
			        attempt->address) == 0)
				return pool->endpoints[j];
	}
	return NULL;
}

static void
end(struct attempt *attempt)
{
	if (attempt->event)
		event_free(attempt->event);
	if (attempt->fd >= 0)
		close(attempt->fd);
	LIST_REMOVE(attempt, link);
	attempt->prober->n--;
	free(attempt);
}

static void
stop(struct attempt *attempt)
{
	if (attempt->event)
		event_free(attempt->event);
	if (attempt->fd >= 0)
		close(attempt->fd);
	attempt->event = NULL;
	attempt->fd = -1;
	attempt->is_running = false;
}

static void
succeeded(struct attempt *attempt)
{
	struct endpoint *endpoint = find(attempt->prober, attempt);

	if (endpoint)
		endpoint_mark_up(endpoint);
	log_event(LOG_INFO, "endpoint is up", "pool", attempt->pool, "endpoint",
	    attempt->address, NULL);
	end(attempt);
}

static void
on_probe(int fd, short what, void *arg)
{
	struct attempt *attempt = arg;
	int error = 0;
	socklen_t len = sizeof(error);

	if (what & EV_TIMEOUT ||
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ||
	    error != 0)
		stop(attempt);
	else
		succeeded(attempt);
}

static void
begin(struct attempt *attempt, const struct endpoint *endpoint)
{
	struct timeval limit = {1, 0};
	const struct sockaddr *sa =
	    (const struct sockaddr *)&endpoint->address.sa;

	attempt->next_at = clock_now() + PROBE_EVERY_MS * NSEC_PER_MSEC;
	attempt->fd = socket(
	    sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (attempt->fd < 0)
		return;
	if (connect(attempt->fd, sa, endpoint->address.sa_len) == 0) {
		succeeded(attempt);
		return;
	}
	if (errno != EINPROGRESS) {
		stop(attempt);
		return;
	}
	attempt->event = event_new(
	    attempt->prober->base, attempt->fd, EV_WRITE, on_probe, attempt);
	if (!attempt->event || event_add(attempt->event, &limit) < 0)
		stop(attempt);
	else
		attempt->is_running = true;
}

static struct attempt *
attempt_for(struct prober *prober, const struct endpoint *endpoint)
{
	struct attempt *attempt;

	LIST_FOREACH(attempt, &prober->attempts, link)
	if (strcmp(attempt->address, endpoint->address.text) == 0 &&
	    strcmp(attempt->pool, endpoint->pool->name) == 0)
		return attempt;
	if (prober->n == PROBES_MAX || !(attempt = calloc(1, sizeof(*attempt))))
		return NULL;
	attempt->prober = prober;
	attempt->fd = -1;
	snprintf(
	    attempt->pool, sizeof(attempt->pool), "%s", endpoint->pool->name);
	snprintf(attempt->address, sizeof(attempt->address), "%s",
	    endpoint->address.text);
	LIST_INSERT_HEAD(&prober->attempts, attempt, link);
	prober->n++;
	log_event(LOG_WARN, "endpoint is down", "pool", attempt->pool,
	    "endpoint", attempt->address, "reason",
	    endpoint->down_reason[0] ? endpoint->down_reason
	                             : "connect refused",
	    NULL);
	return attempt;
}

static void
look_at(struct prober *prober, struct endpoint *endpoint)
{
	struct attempt *attempt;

	if (!atomic_load_explicit(&endpoint->is_down, memory_order_relaxed))
		return;
	attempt = attempt_for(prober, endpoint);
	if (!attempt)
		return;
	attempt->seen = prober->round;
	if (!attempt->is_running && clock_now() >= attempt->next_at)
		begin(attempt, endpoint);
}

static void
look(int fd, short what, void *arg)
{
	struct prober *prober = arg;
	struct snapshot *snapshot =
	    publication_current(registry_publication(prober->registry));
	struct attempt *attempt, *next;

	(void)fd;
	(void)what;
	prober->round++;
	for (size_t i = 0; snapshot && i < snapshot_n_pools(snapshot); i++) {
		const struct pool_view *pool = snapshot_pool(snapshot, i);

		for (size_t j = 0; j < pool->n_endpoints; j++)
			look_at(prober, pool->endpoints[j]);
	}
	/* Up again by other means, or gone from the config. */
	for (attempt = LIST_FIRST(&prober->attempts); attempt; attempt = next) {
		next = LIST_NEXT(attempt, link);
		if (attempt->seen != prober->round)
			end(attempt);
	}
}

struct prober *
prober_new(struct event_base *base, struct registry *registry)
{
	struct prober *prober = calloc(1, sizeof(*prober));
	struct timeval every = {0, LOOK_EVERY_MS * 1000};

	if (!prober)
		return NULL;
	prober->base = base;
	prober->registry = registry;
	LIST_INIT(&prober->attempts);
	prober->timer = event_new(base, -1, EV_PERSIST, look, prober);
	if (!prober->timer || event_add(prober->timer, &every) < 0)
		prober_free(&prober);
	return prober;
}

void
prober_free(struct prober **prober_in)
{
	struct prober *prober = *prober_in;

	*prober_in = NULL;
	if (!prober)
		return;
	while (LIST_FIRST(&prober->attempts))
		end(LIST_FIRST(&prober->attempts));
	if (prober->timer)
		event_free(prober->timer);
	free(prober);
}
