/*
 * Accepting. Each worker has a listening socket of its own (SO_REUSEPORT) per
 * address; control opens and binds them, so that a busy port is told before
 * anything changes, and hands them over by the worker's inbox.
 *
 * Out of descriptors: one connection is accepted and closed (its client sees
 * an end, not a hang), then accepting pauses until the next tick instead of
 * spinning. The workers' share ends before the limit, so that control can go
 * on (control/process.h); at the limit itself, which others may have used up,
 * the spare descriptor is given up for a moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/log.h"
#include "proxy/conn.h"

enum { ACCEPTS_PER_EVENT = 16 };

static bool
is_full(struct worker *worker, uint32_t listener, uint32_t max)
{
	int64_t open = 0;

	for (unsigned i = 0; i < worker->shared->n_workers; i++) {
		struct listener_cell *cell =
		    snapshot_listener_cell(worker->snapshot, listener, i);

		if (!cell)
			continue;
		open +=
		    atomic_load_explicit(&cell->active, memory_order_relaxed) +
		    atomic_load_explicit(&cell->idle, memory_order_relaxed);
	}
	return open >= max;
}

/* At most one line a second of all workers. */
static void
tell_of_shedding(struct worker *worker)
{
	struct shared *shared = worker->shared;
	int64_t told =
	    atomic_load_explicit(&shared->shed_told, memory_order_relaxed);
	char refused[16], share[16];

	atomic_fetch_add(&shared->n_shed, 1);
	if ((told != 0 && worker->now - told < NSEC_PER_SEC) ||
	    !atomic_compare_exchange_strong(
	        &shared->shed_told, &told, worker->now))
		return;
	snprintf(refused, sizeof(refused), "%u",
	    atomic_exchange(&shared->n_shed, 0));
	snprintf(share, sizeof(share), "%d", shared->descriptors);
	log_event(LOG_WARN,
	    "out of descriptors: connections are refused; raise the limit with "
	    "'ulimit -n' or LimitNOFILE=",
	    "refused", refused, "for_traffic", share, NULL);
}

static void
shed(struct accepting *accepting, int fd)
{
	struct worker *worker = accepting->worker;
	struct listener_cell *cell = snapshot_listener_cell(
	    worker->snapshot, accepting->listener, worker->id);

	if (fd < 0)
		return;
	close(fd);
	if (cell)
		counter_add(&cell->refused[REFUSED_DESCRIPTORS], 1);
	tell_of_shedding(worker);
}

static void
pause_accepting(struct worker *worker)
{
	struct accepting *each;

	worker->accepts_paused = true;
	LIST_FOREACH(each, &worker->accepting, link)
	{
		if (each->is_watched)
			reactor_remove(&each->watch);
		each->is_watched = false;
	}
}

static void
out_of_descriptors(struct accepting *accepting)
{
	struct worker *worker = accepting->worker;

	if (worker->spare_fd >= 0) {
		close(worker->spare_fd);
		shed(accepting,
		    accept4(accepting->fd, NULL, NULL, SOCK_CLOEXEC));
		worker->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	pause_accepting(worker);
}

/* A share of those who wait; true when there may be more. */
static bool
accept_some(struct accepting *accepting)
{
	struct worker *worker = accepting->worker;
	const struct listener_cfg *cfg =
	    snapshot_listener(worker->snapshot, accepting->listener);

	worker->now = clock_now();
	for (int i = 0; i < ACCEPTS_PER_EVENT && cfg; i++) {
		struct sockaddr_storage sa;
		socklen_t len = sizeof(sa);
		struct peer peer;
		int fd;

		sa.ss_family = AF_UNIX;
		fd = accept4(accepting->fd, (struct sockaddr *)&sa, &len,
		    SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE ||
			    errno == ENOBUFS || errno == ENOMEM)
				out_of_descriptors(accepting);
			return false;
		}
		/* The lowest number that is free: so many are in use. */
		if (fd >= atomic_load_explicit(&worker->shared->descriptors,
		              memory_order_relaxed)) {
			shed(accepting, fd);
			pause_accepting(worker);
			return false;
		}
		if (is_full(
		        worker, accepting->listener, cfg->limits.connections)) {
			counter_add(&snapshot_listener_cell(worker->snapshot,
			                accepting->listener, worker->id)
			                 ->refused[REFUSED_CONNECTIONS],
			    1);
			close(fd);
			continue;
		}
		if (accepting->is_unix)
			sa.ss_family = AF_UNIX;
		peer_from(&peer, (struct sockaddr *)&sa);
		client_accept(worker, fd, accepting->listener, &peer);
	}
	return cfg != NULL;
}

static void
on_accept(int listening, short what, void *arg)
{
	(void)listening;
	(void)what;
	accept_some(arg);
}

static void
watch(struct accepting *accepting)
{
	if (!accepting->is_watched)
		accepting->is_watched =
		    reactor_add_level(&accepting->worker->reactor,
		        &accepting->watch, accepting->fd, on_accept, accepting);
}

void
listener_take(struct worker *worker, const struct inbox_entry *entry)
{
	struct accepting *accepting = calloc(1, sizeof(*accepting));

	if (!accepting) {
		close(entry->fd);
		return;
	}
	accepting->worker = worker;
	accepting->fd = entry->fd;
	accepting->listener = entry->listener;
	accepting->is_unix = entry->is_unix;
	LIST_INSERT_HEAD(&worker->accepting, accepting, link);
	if (!worker->accepts_paused)
		watch(accepting);
}

static void
end(struct accepting *accepting)
{
	if (accepting->is_watched)
		reactor_remove(&accepting->watch);
	/* Who is in the backlog has been promised a connection. */
	accepting->is_watched = false;
	while (accept_some(accepting))
		;
	if (accepting->is_watched)
		reactor_remove(&accepting->watch);
	close(accepting->fd);
	LIST_REMOVE(accepting, link);
	free(accepting);
}

/* Who waits in its backlog is the other one's. */
void
listener_move(struct worker *worker, const struct inbox_entry *entry)
{
	struct accepting *accepting;

	LIST_FOREACH(accepting, &worker->accepting, link)
	if (accepting->fd == entry->fd)
		accepting->listener = entry->listener;
}

/* The control thread closes its copy; ours is the last. */
void
listener_close(struct worker *worker, int fd)
{
	struct accepting *accepting, *next;

	for (accepting = LIST_FIRST(&worker->accepting); accepting;
	     accepting = next) {
		next = LIST_NEXT(accepting, link);
		if (accepting->fd == fd)
			end(accepting);
	}
}

void
listener_close_all(struct worker *worker)
{
	while (LIST_FIRST(&worker->accepting))
		end(LIST_FIRST(&worker->accepting));
}

void
listener_resume(struct worker *worker)
{
	struct accepting *accepting;

	if (!worker->accepts_paused)
		return;
	worker->accepts_paused = false;
	if (worker->spare_fd < 0)
		worker->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	LIST_FOREACH(accepting, &worker->accepting, link)
	watch(accepting);
}
