/*
 * The sums over workers that somebody asks for, and the words of the labels.
 * Cells are written by their worker alone and read here as they are: a sum is
 * of one moment only in the sense that no count is lost or told twice.
 */
#include "routing/memory.h"
#include "routing/registry.h"

const char *
upstream_error_name(enum upstream_error error)
{
	static const char *const names[UPSTREAM_ERROR_COUNT] = {
	    [UPSTREAM_CONNECT_REFUSED] = "connect_refused",
	    [UPSTREAM_CONNECT_TIMEOUT] = "connect_timeout",
	    [UPSTREAM_CONNECT_FAILED] = "connect_failed",
	    [UPSTREAM_TLS] = "tls",
	    [UPSTREAM_RESET] = "reset",
	    [UPSTREAM_CLOSED_EARLY] = "closed_early",
	    [UPSTREAM_PROTOCOL] = "protocol",
	    [UPSTREAM_FIRST_BYTE_TIMEOUT] = "first_byte_timeout",
	    [UPSTREAM_IDLE_TIMEOUT] = "idle_timeout",
	    [UPSTREAM_TRUNCATED] = "truncated",
	    [UPSTREAM_STATUS] = "status",
	};

	assert(error < UPSTREAM_ERROR_COUNT);
	return names[error];
}

const struct glitch_row *
glitch_row(enum glitch glitch)
{
	static const struct glitch_row rows[GLITCH_COUNT] = {
#define GLITCH(id, cost, word, text) [GLITCH_##id] = {cost, word, text},
#include "routing/glitch.def"
#undef GLITCH
	};

	assert(glitch < GLITCH_COUNT);
	return &rows[glitch];
}

const char *
conn_refusal_name(enum conn_refusal refusal)
{
	static const char *const names[CONN_REFUSAL_COUNT] = {
	    [REFUSED_CONNECTIONS] = "connections",
	    [REFUSED_PER_CLIENT] = "per_client",
	    [REFUSED_DESCRIPTORS] = "descriptors",
	    [REFUSED_PROXY_SENDER] = "proxy_sender",
	    [REFUSED_PROXY_HEADER] = "proxy_header",
	};

	assert(refusal < CONN_REFUSAL_COUNT);
	return names[refusal];
}

static const char *const handshake_words[HANDSHAKE_FAILURE_COUNT] = {
#define HANDSHAKE(id, word) [HANDSHAKE_##id] = word,
#include "routing/handshake.def"
#undef HANDSHAKE
};

const char *
handshake_failure_name(enum handshake_failure failure)
{
	assert(failure < HANDSHAKE_FAILURE_COUNT);
	return handshake_words[failure];
}

enum handshake_failure
handshake_failure_of(const char *word)
{
	for (int i = 0; i < HANDSHAKE_FAILURE_COUNT; i++)
		if (strcmp(handshake_words[i], word) == 0)
			return (enum handshake_failure)i;
	return strncmp(word, "alert_", 6) == 0 ? HANDSHAKE_ALERT
	                                       : HANDSHAKE_OTHER;
}

const char *
client_slowness_name(enum client_slowness slowness)
{
	static const char *const names[CLIENT_SLOWNESS_COUNT] = {
	    [SLOW_HANDSHAKE] = "handshake",
	    [SLOW_HEAD] = "head",
	    [SLOW_BODY] = "body",
	    [SLOW_READ] = "read",
	    [SLOW_PREAMBLE] = "proxy_header",
	};

	assert(slowness < CLIENT_SLOWNESS_COUNT);
	return names[slowness];
}

const char *
access_denial_name(enum access_denial denial)
{
	static const char *const names[ACCESS_DENIAL_COUNT] = {
	    [DENIED_BY_LIST] = "deny",
	    [DENIED_NOT_ALLOWED] = "allow",
	    [DENIED_PLACE] = "geo",
	};

	assert(denial < ACCESS_DENIAL_COUNT);
	return names[denial];
}

const char *
hedge_result_name(enum hedge_result result)
{
	static const char *const names[HEDGE_RESULT_COUNT] = {
	    [HEDGE_USED] = "used",
	    [HEDGE_LOST] = "lost",
	    [HEDGE_FAILED] = "failed",
	};

	assert(result < HEDGE_RESULT_COUNT);
	return names[result];
}

const char *
replay_loss_name(enum replay_loss loss)
{
	static const char *const names[REPLAY_LOSS_COUNT] = {
	    [REPLAY_TOO_LONG] = "too_long",
	    [REPLAY_NO_MEMORY] = "no_memory",
	};

	assert(loss < REPLAY_LOSS_COUNT);
	return names[loss];
}

const char *
limit_decision_name(enum limit_decision decision)
{
	static const char *const names[LIMIT_DECISION_COUNT] = {
	    [LIMIT_ALLOWED] = "allowed",
	    [LIMIT_LIMITED] = "limited",
	    [LIMIT_DRY_RUN] = "dry_run",
	    [LIMIT_OPEN] = "open",
	    [LIMIT_CLOSED] = "closed",
	};

	assert(decision < LIMIT_DECISION_COUNT);
	return names[decision];
}

struct pool *
pool_new(const char *name, unsigned workers)
{
	struct pool *pool = memory_take(1, sizeof(*pool));

	pool->name = memory_text(name);
	pool->cells = memory_take_lines(workers, sizeof(*pool->cells));
	pool->workers = workers;
	pool->places = places_new(workers);
	return pool;
}

void
pool_free(void *dead)
{
	struct pool *pool = dead;

	free((char *)(uintptr_t)pool->name);
	for (unsigned i = 0; i < pool->workers; i++)
		free(pool->cells[i].tail);
	free(pool->cells);
	places_free(pool->places);
	free(pool);
}

void
pool_stats_read(
    const struct pool *pool, unsigned workers, struct pool_stats *out)
{
	*out = (struct pool_stats){0};
	for (unsigned i = 0; i < workers; i++) {
		struct pool_cell *cell = &pool->cells[i];

		out->requests += counter_read(&cell->requests);
		out->failures += counter_read(&cell->failures);
		out->retries += counter_read(&cell->retries);
		out->replays += counter_read(&cell->replays);
		for (int j = 0; j < HEDGE_RESULT_COUNT; j++)
			out->hedges[j] += counter_read(&cell->hedges[j]);
		for (int j = 0; j < REPLAY_LOSS_COUNT; j++)
			out->unkept[j] += counter_read(&cell->unkept[j]);
		out->full += counter_read(&cell->full);
		out->late += counter_read(&cell->late);
		out->held += counter_read(&cell->held);
		for (int j = 0; j < 6; j++)
			out->by_class[j] += counter_read(&cell->by_class[j]);
		out->in_flight += atomic_load_explicit(
		    &cell->in_flight, memory_order_relaxed);
		histogram_add(&out->total, &cell->total);
		histogram_add(&out->first_byte, &cell->first_byte);
		histogram_add(&out->connect, &cell->connect);
	}
}

static int64_t
gauge_read(_Atomic int64_t *gauge)
{
	return atomic_load_explicit(gauge, memory_order_relaxed);
}

static void
listener_cell_add(struct listener_cell *cell, struct listener_stats *out)
{
	out->accepted += counter_read(&cell->accepted);
	for (int i = 0; i < CONN_REFUSAL_COUNT; i++)
		out->refused[i] += counter_read(&cell->refused[i]);
	for (int i = 0; i < CLIENT_SLOWNESS_COUNT; i++)
		out->too_slow[i] += counter_read(&cell->too_slow[i]);
	out->bytes_in += counter_read(&cell->bytes_in);
	out->bytes_out += counter_read(&cell->bytes_out);
	for (int i = 0; i < HANDSHAKE_FAILURE_COUNT; i++)
		out->handshake_errors[i] +=
		    counter_read(&cell->handshake_errors[i]);
	for (int i = 0; i < GLITCH_COUNT; i++)
		out->glitches[i] += counter_read(&cell->glitches[i]);
	for (int i = 0; i < 4; i++)
		out->handshakes[i / 2][i % 2] +=
		    counter_read(&cell->handshakes[i / 2][i % 2]);
	out->active += gauge_read(&cell->active);
	out->idle += gauge_read(&cell->idle);
	out->tunnels += gauge_read(&cell->tunnels);
	out->in_flight += gauge_read(&cell->in_flight);
}

void
listener_stats_read(
    struct registry *registry, uint32_t listener, struct listener_stats *out)
{
	*out = (struct listener_stats){0};
	if (listener >= registry->listeners.n)
		return;
	for (unsigned i = 0; i < registry->workers; i++) {
		struct listener *from = registry->listeners.at[listener].object;

		listener_cell_add(&from->cells[i], out);
	}
}
