/*
 * The worker's loop. One turn:
 *
 *   1  wait for events (not at all while someone stands on the ready list)
 *   2  run their callbacks: accept, read, decide, write, each to completion
 *   3  the ready list: who had more to do than one callback's share; places
 *      in pools that became free go to who waits for them; copies of requests
 *      leave
 *   4  HTTP/2 sessions that have something to say say it: one send for all
 *      the frames of a turn
 *   5  adopt a newer snapshot, letting go of what hung on the old one
 *   6  free what died in this turn
 *
 * The tick (WORKER_TICK_MS) turns the wheel of deadlines, measures the loop's
 * lag and resumes accepting after a shortage. A short deadline lets the wheel
 * turn oftener until it is over.
 */
#include "proxy/worker.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "proxy/h2/h2.h"
#include "proxy/h2/stream.h"
#include "proxy/log_ring.h"
#include "proxy/mirror.h"
#include "proxy/queue.h"
#include "proxy/refused.h"
#include "proxy/request.h"

enum { BUF_BUDGET_MIB = 512 }; /* unsent and unparsed bytes of one worker */

const char *
worker_date(struct worker *worker)
{
	struct timespec wall;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME_COARSE, &wall);
	if (wall.tv_sec != worker->date_at) {
		worker->date_at = wall.tv_sec;
		gmtime_r(&wall.tv_sec, &tm);
		strftime(worker->date, sizeof(worker->date),
		    "%a, %d %b %Y %H:%M:%S GMT", &tm);
	}
	return worker->date;
}

/* ---- steps 5 and 6 ---- */

/* Kept connections to endpoints that the new snapshot does not have, or to
 * which it wants others. */
static void
leave_endpoints(struct worker *worker, struct snapshot *old)
{
	for (size_t i = 0; i < snapshot_n_pools(old); i++) {
		const struct pool_view *pool = snapshot_pool(old, i);
		bool is_kept = upstream_keeps(pool, worker->snapshot, i);

		for (size_t j = 0; j < pool->n_endpoints; j++)
			if (!is_kept || atomic_load_explicit(
			                    &pool->endpoints[j]->is_retired,
			                    memory_order_acquire)) {
				idle_close_all(pool->endpoints[j], worker->id);
				h2_client_leave(pool->endpoints[j], worker->id);
			}
	}
}

static void
adopt(struct worker *worker)
{
	struct snapshot *old = worker->snapshot;
	struct snapshot *next =
	    publication_adopt(worker->shared->publication, worker->id, old);

	if (next == old)
		return;
	worker->snapshot = next;
	worker->config = snapshot_config(next);
	atomic_store_explicit(&worker->generation, snapshot_generation(next),
	    memory_order_release);
	if (old) {
		leave_endpoints(worker, old);
		snapshot_drop(old, worker->id);
	}
}

/* ---- drain ---- */

/* No listener, no idle client: who is in a request finishes it. */
static void
drain(struct worker *worker)
{
	struct conn *conn, *next;
	bool is_late;

	/* Who connected just now may have a request on its way. */
	if (worker->drained_since == 0)
		worker->drained_since = worker->now;
	is_late = worker->now - worker->drained_since > NSEC_PER_SEC;
	listener_close_all(worker);
	for (conn = TAILQ_FIRST(&worker->clients); conn; conn = next) {
		next = TAILQ_NEXT(conn, link);
		if (conn->h2)
			h2_drain(conn);
		else if ((conn->phase == CONN_HEAD ||
		             conn->phase == CONN_PREAMBLE) &&
		         !conn->in && !conn->out &&
		         (conn->client.requests > 0 || is_late))
			conn_end(conn);
	}
	if (worker->n_clients == 0 && !worker->is_drained) {
		worker->is_drained = true;
		atomic_fetch_sub(&worker->shared->n_active, 1);
	}
}

/* ---- the inbox ---- */

void
worker_wake(struct worker *worker)
{
	uint64_t one = 1;

	(void)!write(worker->mailbox_fd, &one, sizeof(one));
}

void
worker_nudge(struct worker *worker)
{
	uint64_t one = 1;

	if (worker->shared->nudge_fd >= 0)
		(void)!write(worker->shared->nudge_fd, &one, sizeof(one));
}

void
worker_tell(struct worker *worker, struct inbox_entry *entry)
{
	struct inbox_entry **last;

	entry->next = NULL;
	pthread_mutex_lock(&worker->inbox_lock);
	for (last = &worker->inbox; *last;)
		last = &(*last)->next;
	*last = entry;
	pthread_mutex_unlock(&worker->inbox_lock);
	worker_wake(worker);
}

/*
 * A listener left with a reload: nothing more can be asked on its connections.
 * Who is in a request finishes it; who is idle need not find out by asking.
 */
static void
leave_orphans(struct worker *worker)
{
	struct conn *conn, *next;

	for (conn = TAILQ_FIRST(&worker->clients); conn; conn = next) {
		next = TAILQ_NEXT(conn, link);
		if (snapshot_listener(worker->snapshot, conn->client.listener))
			continue;
		if (conn->h2)
			h2_leave(conn);
		else if (conn->phase == CONN_PREAMBLE ||
		         (conn->phase == CONN_HEAD && !conn->out))
			conn_end(conn);
	}
}

static void
on_mail(int fd, short what, void *arg)
{
	struct worker *worker = arg;
	struct inbox_entry *entry, *next;
	uint64_t count;
	bool is_left = false; /* a listener, perhaps */

	(void)what;
	(void)!read(fd, &count, sizeof(count));
	worker->now = clock_now();
	queue_tick(worker); /* perhaps another worker gave a place */
	pthread_mutex_lock(&worker->inbox_lock);
	entry = worker->inbox;
	worker->inbox = NULL;
	pthread_mutex_unlock(&worker->inbox_lock);
	if (entry)
		adopt(worker); /* a new listener's id means something only with
		                  its snapshot */
	for (; entry; entry = next) {
		next = entry->next;
		if (entry->what == INBOX_LISTEN)
			listener_take(worker, entry);
		else if (entry->what == INBOX_MOVE)
			listener_move(worker, entry);
		else
			listener_close(worker, entry->fd);
		is_left |= entry->what != INBOX_LISTEN;
		free(entry);
	}
	if (is_left)
		leave_orphans(worker);
}

/* ---- the tick ---- */

static void
on_tick(int fd, short what, void *arg)
{
	struct worker *worker = arg;
	int64_t lag;

	(void)fd;
	(void)what;
	worker->now = clock_now();
	lag = worker->now - worker->tick_due;
	if (worker->tick_due != 0 &&
	    lag > atomic_load_explicit(&worker->lag, memory_order_relaxed))
		atomic_store_explicit(&worker->lag, lag, memory_order_relaxed);
	if (worker->tick_due != 0 && lag > TRIAL_STALL)
		worker->stood_still = worker->now;
	worker->tick_due = worker->now + WORKER_TICK_MS * NSEC_PER_MSEC;
	atomic_store_explicit(
	    &worker->turned_at, worker->now, memory_order_relaxed);
	listener_resume(worker);
	if (!TAILQ_EMPTY(&worker->judged))
		trial_scan(worker);
	wheel_turn(&worker->wheel, worker_ms(worker), conn_timer_fired, worker);
	queue_tick(worker);
	if (!TAILQ_EMPTY(&worker->resting))
		retry_tick(worker);
	hedge_tick(worker);
	worker_leave_endpoints(worker);
	if (atomic_load_explicit(
	        &worker->shared->is_draining, memory_order_acquire))
		drain(worker);
}

static void
on_fine_tick(int fd, short what, void *arg)
{
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	worker->now = clock_now();
	wheel_turn(&worker->wheel, worker_ms(worker), conn_timer_fired, worker);
	if (worker->now > worker->fine_until) {
		reactor_remove(&worker->fine);
		worker->fine_until = 0;
	}
}

__attribute__((cold, noinline)) void
worker_be_exact(struct worker *worker, nsec_t after)
{
	nsec_t until = worker->now + after + 2 * WHEEL_TICK_MS * NSEC_PER_MSEC;
	bool is_on = worker->fine_until != 0;

	if (until > worker->fine_until)
		worker->fine_until = until;
	if (!is_on && !reactor_add_tick(&worker->reactor, &worker->fine,
	                  WHEEL_TICK_MS, on_fine_tick, worker))
		worker->fine_until = 0; /* the tick comes anyway */
}

/* ---- the loop ---- */

static void *
run(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;

	adopt(worker);
	while (
	    !atomic_load_explicit(&shared->is_stopping, memory_order_acquire)) {
		worker->turn++;
		reactor_turn(
		    &worker->reactor, !TAILQ_EMPTY(&worker->ready)); /* 1, 2 */
		conn_run_ready(worker);                              /* 3 */
		if (worker->has_free_places)
			queue_run(worker);
		if (!TAILQ_EMPTY(&worker->mirrors_ready))
			mirror_run(worker);
		h2_flush_all(worker); /* 4 */
		adopt(worker);        /* 5 */
		conn_reap(worker);    /* 6 */
	}
	return NULL;
}

/* ---- life ---- */

static bool
take_memory(struct worker *worker)
{
	worker->rx = malloc(RX_HEADROOM + RX_SIZE + RX_TAILROOM);
	worker->cipher = malloc(RX_USUAL);
	worker->tx = malloc(TX_SIZE);
	worker->head = malloc(HEAD_SIZE);
	worker->frames = malloc(FRAMES_SIZE);
	worker->h2 = h2_kit_new();
	return worker->rx && worker->cipher && worker->tx && worker->head &&
	       worker->frames && worker->h2;
}

bool
worker_init(
    struct worker *worker, struct shared *shared, unsigned id, struct err *err)
{
	uint8_t seed[32];

	memset(worker, 0, sizeof(*worker));
	worker->shared = shared;
	worker->id = id;
	worker->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	worker->mailbox_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	TAILQ_INIT(&worker->ready);
	TAILQ_INIT(&worker->ended);
	TAILQ_INIT(&worker->clients);
	TAILQ_INIT(&worker->unflushed);
	LIST_INIT(&worker->accepting);
	LIST_INIT(&worker->lines);
	TAILQ_INIT(&worker->judged);
	TAILQ_INIT(&worker->mirrors);
	TAILQ_INIT(&worker->resting);
	TAILQ_INIT(&worker->mirrors_ready);
	pthread_mutex_init(&worker->inbox_lock, NULL);
	slab_init(&worker->conns, sizeof(struct conn), 256);
	slab_init(&worker->requests, sizeof(struct request), 32);
	slab_init(&worker->streams, sizeof(struct stream), 64);
	buf_pool_init(&worker->bufs, (size_t)BUF_BUDGET_MIB << 20);
	wheel_init(&worker->wheel);
	worker->began = worker->now = clock_now();
	if (!take_memory(worker) || !tls_random(seed, sizeof(seed)))
		return err_set(err, "worker %u: out of memory", id);
	rng_seed(&worker->rng, seed);
	if (worker->mailbox_fd < 0 || !reactor_init(&worker->reactor) ||
	    !reactor_add_level(&worker->reactor, &worker->mailbox,
	        worker->mailbox_fd, on_mail, worker) ||
	    !reactor_add_tick(&worker->reactor, &worker->tick, WORKER_TICK_MS,
	        on_tick, worker))
		return err_set(
		    err, "worker %u: no event loop: %s", id, strerror(errno));
	return true;
}

bool
worker_start(struct worker *worker, struct err *err)
{
	char name[16];
	int error = pthread_create(&worker->thread, NULL, run, worker);

	if (error != 0)
		return err_set(err, "worker %u: no thread: %s", worker->id,
		    strerror(error));
	snprintf(name, sizeof(name), "weir-%u", worker->id);
	pthread_setname_np(worker->thread, name);
	return true;
}

/* After its thread has ended: what is left is cut. */
void
worker_release(struct worker *worker)
{
	struct conn *conn;

	listener_close_all(
	    worker); /* takes in what is queued: before the clients go */
	while ((conn = TAILQ_FIRST(&worker->clients))) {
		if (conn->request)
			request_abandon(conn->request, FAIL_DRAINED);
		if (conn->phase != CONN_ENDED)
			conn_end(conn);
	}
	mirror_release(worker);
	if (worker->snapshot) {
		for (size_t i = 0; i < snapshot_n_pools(worker->snapshot);
		     i++) {
			const struct pool_view *pool =
			    snapshot_pool(worker->snapshot, i);

			for (size_t j = 0; j < pool->n_endpoints; j++) {
				idle_close_all(pool->endpoints[j], worker->id);
				h2_client_leave(pool->endpoints[j], worker->id);
			}
		}
		snapshot_drop(worker->snapshot, worker->id);
		worker->snapshot = NULL;
		publication_leave(worker->shared->publication, worker->id);
	}
	conn_reap(worker);
	while (worker->inbox) {
		struct inbox_entry *entry = worker->inbox;

		worker->inbox = entry->next;
		if (entry->what == INBOX_LISTEN)
			close(
			    entry->fd); /* never taken over: nobody else will */
		free(entry);
	}
	if (worker->reactor.base) {
		reactor_remove(&worker->tick);
		if (worker->fine_until != 0)
			reactor_remove(&worker->fine);
		reactor_remove(&worker->mailbox);
	}
	reactor_release(&worker->reactor);
	slab_release(&worker->conns);
	slab_release(&worker->requests);
	slab_release(&worker->streams);
	buf_pool_release(&worker->bufs);
	free(worker->rx);
	free(worker->cipher);
	free(worker->tx);
	free(worker->head);
	refused_free(&worker->refusals);
	free(worker->frames);
	h2_kit_free(&worker->h2);
	pthread_mutex_destroy(&worker->inbox_lock);
	if (worker->mailbox_fd >= 0)
		close(worker->mailbox_fd);
	if (worker->spare_fd >= 0)
		close(worker->spare_fd);
}
