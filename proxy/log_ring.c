/*
 * The access log: workers write finished requests as binary records into their
 * rings; the log thread turns them into JSON lines (admin/access_log.c) and
 * writes them in large pieces. See log_ring.h.
 */
#include "proxy/log_ring.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/log.h"
#include "proxy/proxied.h"
#include "proxy/request.h"

enum {
	RING_SIZE = 1 << 20, /* bytes per worker */
	PIECE_MAX = 2048,    /* of one text in a record; longer ones are cut */
	OUT_SIZE = 1 << 18,
	LINE_MAX_BYTES = 8192,
	IDLE_MS = 20, /* the thread looks this often when nothing comes */
};

/* The texts of a record, in this order behind it. */
enum text {
	TEXT_TARGET,
	TEXT_HOST,
	TEXT_AGENT,
	TEXT_ID,
	TEXT_TRACE,
	TEXT_SPAN,
	TEXT_UPSTREAM,
	TEXT_LISTENER,
	TEXT_ROUTE,
	TEXT_SPLIT,
	TEXT_POOL,
	TEXT_SHIELDED,
	TEXT_METHOD, /* of a method without a name of its own here */
	TEXT_COUNT
};

struct record {
	uint32_t size; /* of all, rounded up to 8; with is_skip: nothing, go to
	                  the ring's start */
	uint16_t status, country, grpc_told;
	uint8_t method, minor, fail, why, attempts;
	bool is_skip, tls, is_over_limit;
	const char *fault; /* a literal: what was wrong with a head that was no
	                      request; NULL for a request */
	struct peer client, peer;
	uint64_t wall_ns;
	int64_t queue_us, connect_us, first_byte_us, total_us;
	uint64_t bytes_in, bytes_out;
	uint16_t len[TEXT_COUNT];
};

struct log_ring {
	struct access_log *log;
	_Alignas(CACHE_LINE) _Atomic uint64_t head; /* written by the worker */
	uint64_t tail_seen;                         /* the worker's copy */
	counter_t dropped;
	_Alignas(
	    CACHE_LINE) _Atomic uint64_t tail; /* written by the log thread */
	_Alignas(CACHE_LINE) char bytes[RING_SIZE];
};

struct access_log {
	struct log_ring **rings; /* owned */
	unsigned n_rings;
	char *path; /* owned */
	bp_t sample_ok, sample_error;
	struct strings redact; /* owned copy */
	int fd;
	bool owns_fd;
	pthread_t thread;
	bool is_running;
	_Atomic bool is_closing, wants_reopen;
	counter_t lines, failed;
	char *out; /* owned: OUT_SIZE + LINE_MAX_BYTES */
	size_t out_len;
};

/* ---- the worker's end ---- */

static bool
is_sampled(struct worker *worker, const struct access_log *log, bool is_error)
{
	bp_t sample = is_error ? log->sample_error : log->sample_ok;

	return sample >= BP_ALL ||
	       (sample > 0 && rng_below(&worker->rng, BP_ALL) < sample);
}

/* The first word of the head: what stands before the target. */
static struct span
method_text(const struct request *request)
{
	const char *end = request->head
	                      ? memchr(request->head, ' ', request->target.at)
	                      : NULL;

	return end ? (struct span){request->head, (size_t)(end - request->head)}
	           : SPAN("");
}

static void
collect(const struct request *request, struct span texts[TEXT_COUNT])
{
	const struct decision *decision = &request->decision;
	const struct listener_cfg *listener =
	    snapshot_listener(request->snapshot, request->listener);
	const char *head = request->head ? request->head : "";

	memset(texts, 0, sizeof(struct span) * TEXT_COUNT);
	texts[TEXT_TARGET] =
	    (struct span){head + request->target.at, request->target.len};
	texts[TEXT_HOST] =
	    (struct span){head + request->host.at, request->host.len};
	texts[TEXT_AGENT] = (struct span){
	    head + request->user_agent.at, request->user_agent.len};
	texts[TEXT_ID] = (struct span){request->id, request->id_len};
	texts[TEXT_TRACE] =
	    (struct span){head + request->trace_id.at, request->trace_id.len};
	texts[TEXT_SPAN] =
	    (struct span){head + request->span_id.at, request->span_id.len};
	if (request->method == METHOD_OTHER)
		texts[TEXT_METHOD] = method_text(request);
	if (request->endpoint)
		texts[TEXT_UPSTREAM] = span_of(request->endpoint->address.text);
	if (listener)
		texts[TEXT_LISTENER] = span_of(listener->name);
	if (decision->route)
		texts[TEXT_ROUTE] = span_of(decision->route->cfg->name);
	if (decision->route && decision->route->split_cfg)
		texts[TEXT_SPLIT] = span_of(decision->route->split_cfg->name);
	if (decision->pool)
		texts[TEXT_POOL] = span_of(decision->pool->pool->name);
	if (request->shielded && request->endpoint)
		texts[TEXT_SHIELDED] = span_of(request->endpoint->pool->name);
}

/* Room for `size` contiguous bytes at the ring's head; NULL when it is full. */
static char *
reserve(struct log_ring *ring, size_t size, uint64_t *head_out)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	size_t at = head % RING_SIZE;
	size_t skip = at + size > RING_SIZE ? RING_SIZE - at : 0;

	if (head + skip + size - ring->tail_seen > RING_SIZE) {
		ring->tail_seen =
		    atomic_load_explicit(&ring->tail, memory_order_acquire);
		if (head + skip + size - ring->tail_seen > RING_SIZE)
			return NULL;
	}
	if (skip >= sizeof(struct record)) {
		struct record mark = {.size = (uint32_t)skip, .is_skip = true};

		memcpy(ring->bytes + at, &mark, sizeof(mark));
	}
	*head_out = head + skip + size;
	return ring->bytes + (at + skip) % RING_SIZE;
}

static int64_t
usec_between(nsec_t from, nsec_t to)
{
	return from == 0 || to == 0 ? -1 : (to - from) / NSEC_PER_USEC;
}

static void
put(struct log_ring *ring, struct record *record, struct span texts[TEXT_COUNT])
{
	size_t size = sizeof(*record);
	struct timespec wall;
	uint64_t head;
	char *at;

	clock_gettime(CLOCK_REALTIME, &wall);
	record->wall_ns =
	    (uint64_t)wall.tv_sec * NSEC_PER_SEC + (uint64_t)wall.tv_nsec;
	for (int i = 0; i < TEXT_COUNT; i++) {
		if (texts[i].len > PIECE_MAX)
			texts[i].len = PIECE_MAX;
		record->len[i] = (uint16_t)texts[i].len;
		size += texts[i].len;
	}
	size = (size + 7) & ~(size_t)7;
	record->size = (uint32_t)size;
	at = reserve(ring, size, &head);
	if (!at) {
		counter_add(&ring->dropped, 1);
		return;
	}
	memcpy(at, record, sizeof(*record));
	at += sizeof(*record);
	for (int i = 0; i < TEXT_COUNT; i++) {
		if (texts[i].len > 0)
			memcpy(at, texts[i].ptr, texts[i].len);
		at += texts[i].len;
	}
	atomic_store_explicit(&ring->head, head, memory_order_release);
}

void
access_log_request(struct request *request)
{
	struct worker *worker = request->worker;
	struct log_ring *ring = worker->log;
	struct span texts[TEXT_COUNT];
	struct record record;
	bool is_error = request->status >= 500 || request->fail != FAIL_NONE;

	if (!is_sampled(worker, ring->log, is_error))
		return;
	collect(request, texts);
	record = (struct record){
	    .status = request->status,
	    .grpc_told = request->grpc_told,
	    .country = request->decision.route ? request->decision.country
	                                       : COUNTRY_NONE,
	    .method = request->method,
	    .minor = request->minor,
	    .fail = request->fail,
	    .why = (uint8_t)request->decision.why,
	    .attempts = request->attempts,
	    .tls = request->client->is_secure,
	    .is_over_limit = request->decision.is_over_limit,
	    .client = request->peer,
	    .peer = *proxied_sender(request->client),
	    .queue_us =
	        request->dispatched ? request->queued / NSEC_PER_USEC : -1,
	    .connect_us =
	        request->dispatched ? request->connecting / NSEC_PER_USEC : -1,
	    .first_byte_us =
	        usec_between(request->dispatched, request->first_byte),
	    .total_us = usec_between(request->start, worker->now),
	    .bytes_in = request->request_body.bytes,
	    .bytes_out = request->response_body.bytes,
	};
	put(ring, &record, texts);
}

/* There was no request: what is known is who came, and to which listener. */
void
access_log_refused(
    struct conn *client, unsigned status, const char *word, uint64_t bytes_out)
{
	struct worker *worker = client->worker;
	const struct listener_cfg *listener =
	    snapshot_listener(worker->snapshot, client->client.listener);
	struct span texts[TEXT_COUNT] = {0};
	struct record record = {
	    .status = (uint16_t)status,
	    .country = COUNTRY_NONE,
	    .method = METHOD_OTHER,
	    .minor = 1,
	    .fault = word,
	    .tls = client->is_secure,
	    .client = client->client.peer,
	    .peer = *proxied_sender(client),
	    .queue_us = -1,
	    .connect_us = -1,
	    .first_byte_us = -1,
	    .total_us = -1,
	    .bytes_out = bytes_out,
	};

	if (!worker->log || !is_sampled(worker, worker->log->log, true))
		return;
	if (listener)
		texts[TEXT_LISTENER] = span_of(listener->name);
	put(worker->log, &record, texts);
}

/* ---- the log thread ---- */

static void
flush_out(struct access_log *log)
{
	size_t at = 0;

	while (at < log->out_len) {
		ssize_t n = write(log->fd, log->out + at, log->out_len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) { /* a full disk or a closed pipe loses the log,
			        never a request */
			counter_add(&log->failed, 1);
			break;
		}
		at += (size_t)n;
	}
	log->out_len = 0;
}

static void
format(struct access_log *log, const struct record *record, const char *bytes)
{
	struct span texts[TEXT_COUNT];
	char client[INET6_ADDRSTRLEN], peer[INET6_ADDRSTRLEN];
	const struct fail_row *row = fail_row((enum fail)record->fail);
	const char *query;
	struct access_record out;

	for (int i = 0; i < TEXT_COUNT; i++) {
		texts[i] = (struct span){bytes, record->len[i]};
		bytes += record->len[i];
	}
	out = (struct access_record){
	    .wall_ns = record->wall_ns,
	    .method = (enum http_method)record->method,
	    .method_text = texts[TEXT_METHOD],
	    .path = texts[TEXT_TARGET],
	    .host = texts[TEXT_HOST],
	    .user_agent = texts[TEXT_AGENT],
	    .request_id = texts[TEXT_ID],
	    .trace_id = texts[TEXT_TRACE],
	    .span_id = texts[TEXT_SPAN],
	    .client = {client, peer_print(&record->client, client)},
	    .peer = {peer, peer_print(&record->peer, peer)},
	    .upstream = texts[TEXT_UPSTREAM],
	    .listener = texts[TEXT_LISTENER],
	    .route = texts[TEXT_ROUTE],
	    .split = texts[TEXT_SPLIT],
	    .pool = texts[TEXT_POOL],
	    .shielded = texts[TEXT_SHIELDED],
	    .status = record->status,
	    .grpc_told = record->grpc_told,
	    .http_minor = record->minor,
	    .error = record->fault ? record->fault : row->word,
	    .ended_by = record->fault ? "client" : blame_name(row->blame),
	    .decision = decision_why_name((enum decision_why)record->why),
	    .rate_limit = !record->is_over_limit              ? NULL
	                  : record->fail == FAIL_RATE_LIMITED ? "limited"
	                                                      : "dry_run",
	    .queue_us = record->queue_us,
	    .connect_us = record->connect_us,
	    .first_byte_us = record->first_byte_us,
	    .total_us = record->total_us,
	    .bytes_in = record->bytes_in,
	    .bytes_out = record->bytes_out,
	    .attempts = record->attempts,
	    .tls = record->tls,
	};
	country_print(record->country, out.country);
	query =
	    out.path.len > 0 ? memchr(out.path.ptr, '?', out.path.len) : NULL;
	if (query) {
		out.query = (struct span){query + 1,
		    out.path.len - (size_t)(query + 1 - out.path.ptr)};
		out.path.len = (size_t)(query - out.path.ptr);
	}
	log->out_len += access_format(
	    &out, &log->redact, log->out + log->out_len, LINE_MAX_BYTES);
	counter_add(&log->lines, 1);
}

/* False when the ring was empty. */
static bool
read_ring(struct access_log *log, struct log_ring *ring)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
	bool had_some = tail != head;

	while (tail != head) {
		size_t at = tail % RING_SIZE;
		struct record record;

		if (RING_SIZE - at <
		    sizeof(record)) { /* too little for a mark: skipped by both
			                 sides */
			tail += RING_SIZE - at;
			continue;
		}
		memcpy(&record, ring->bytes + at, sizeof(record));
		assert(record.size >= sizeof(record) &&
		       record.size <= RING_SIZE - at);
		if (!record.is_skip)
			format(log, &record, ring->bytes + at + sizeof(record));
		tail += record.size;
		if (log->out_len >= OUT_SIZE)
			flush_out(log);
	}
	atomic_store_explicit(&ring->tail, tail, memory_order_release);
	return had_some;
}

static bool
open_path(struct access_log *log, struct err *err)
{
	int fd;

	if (strcmp(log->path, "stdout") == 0 ||
	    strcmp(log->path, "stderr") == 0) {
		log->fd = strcmp(log->path, "stdout") == 0 ? STDOUT_FILENO
		                                           : STDERR_FILENO;
		return true;
	}
	fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (fd < 0)
		return err_set(err, "logs.access.path: cannot open %s: %s",
		    log->path, strerror(errno));
	if (log->owns_fd)
		close(log->fd);
	log->fd = fd;
	log->owns_fd = true;
	return true;
}

static void *
run(void *arg)
{
	struct access_log *log = arg;
	struct timespec idle = {0, IDLE_MS * NSEC_PER_MSEC};

	for (;;) {
		bool is_closing = atomic_load(&log->is_closing);
		bool had_some = false;

		if (atomic_exchange(&log->wants_reopen, false)) {
			struct err err;

			flush_out(log);
			if (!open_path(log, &err))
				log_event(LOG_ERROR, "access log not reopened",
				    "error", err.text, NULL);
		}
		for (unsigned i = 0; i < log->n_rings; i++)
			had_some |= read_ring(log, log->rings[i]);
		flush_out(log);
		if (is_closing && !had_some)
			return NULL;
		if (!had_some)
			nanosleep(&idle, NULL);
	}
}

static bool
copy_strings(struct strings *to, const struct strings *from)
{
	to->at = calloc(from->n + 1, sizeof(*to->at));
	if (!to->at)
		return false;
	for (; to->n < from->n; to->n++)
		if (!(to->at[to->n] = strdup(from->at[to->n])))
			return false;
	return true;
}

struct access_log *
access_log_open(const struct logs_cfg *cfg, unsigned n_workers, struct err *err)
{
	struct access_log *log = calloc(1, sizeof(*log));

	if (!log)
		goto no_memory;
	log->n_rings = n_workers;
	log->sample_ok = cfg->sample_ok;
	log->sample_error = cfg->sample_error;
	log->path = strdup(cfg->access_path);
	log->out = malloc(OUT_SIZE + LINE_MAX_BYTES);
	log->rings = calloc(n_workers, sizeof(*log->rings));
	if (!log->path || !log->out || !log->rings ||
	    !copy_strings(&log->redact, &cfg->redact))
		goto no_memory;
	for (unsigned i = 0; i < n_workers; i++) {
		log->rings[i] =
		    aligned_alloc(CACHE_LINE, sizeof(struct log_ring));
		if (!log->rings[i])
			goto no_memory;
		memset(log->rings[i], 0, offsetof(struct log_ring, bytes));
		log->rings[i]->log = log;
	}
	if (!open_path(log, err)) {
		access_log_close(&log);
		return NULL;
	}
	return log;
no_memory:
	err_set(err, "the access log: out of memory");
	access_log_close(&log);
	return NULL;
}

struct log_ring *
access_log_ring(struct access_log *log, unsigned worker)
{
	return log ? log->rings[worker] : NULL;
}

bool
access_log_start(struct access_log *log, struct err *err)
{
	int error = pthread_create(&log->thread, NULL, run, log);

	if (error != 0)
		return err_set(
		    err, "the access log: no thread: %s", strerror(error));
	pthread_setname_np(log->thread, "weir-log");
	log->is_running = true;
	return true;
}

void
access_log_reopen(struct access_log *log)
{
	if (log)
		atomic_store(&log->wants_reopen, true);
}

uint64_t
access_log_dropped(const struct access_log *log)
{
	uint64_t dropped = log ? counter_read(&log->failed) : 0;

	for (unsigned i = 0; log && i < log->n_rings; i++)
		dropped += counter_read(&log->rings[i]->dropped);
	return dropped;
}

uint64_t
access_log_lines(const struct access_log *log)
{
	return log ? counter_read(&log->lines) : 0;
}

void
access_log_close(struct access_log **log_in)
{
	struct access_log *log = *log_in;

	*log_in = NULL;
	if (!log)
		return;
	if (log->is_running) {
		atomic_store(&log->is_closing, true);
		pthread_join(log->thread, NULL);
	}
	if (log->owns_fd)
		close(log->fd);
	for (unsigned i = 0; log->rings && i < log->n_rings; i++)
		free(log->rings[i]);
	for (size_t i = 0; i < log->redact.n; i++)
		free(log->redact.at[i]);
	free(log->redact.at);
	free(log->rings);
	free(log->path);
	free(log->out);
	free(log);
}
