/*
 * Statistics of (listener, route, pool): a cell of some kilobytes for each
 * worker that has ever counted there, made by that worker at its first use,
 * since most of the triples of a big file are never used by most workers.
 *
 * Status codes stand in a small open table in the cell. Its last row takes
 * what finds no place: an upstream that invents codes can spoil its own
 * detail, and nothing else.
 */
#include "routing/memory.h"
#include "routing/registry.h"

enum {
	CODES_OPEN = SERIES_CODES_MAX - 1, /* rows that are looked up */
	CODES_PROBES = 8,
	CODE_OTHER = METHOD_OTHER << 16,
};

struct series *
series_new(
    const char *listener, const char *route, const char *pool, unsigned workers)
{
	struct series *series = memory_take(1, sizeof(*series));

	series->listener = memory_text(listener);
	series->route = memory_text(route);
	series->pool = memory_text(pool);
	series->workers = workers;
	series->cells = memory_take(workers, sizeof(*series->cells));
	return series;
}

void
series_free(void *dead)
{
	struct series *series = dead;

	for (unsigned i = 0; i < series->workers; i++)
		free(atomic_load_explicit(
		    &series->cells[i], memory_order_relaxed));
	free(series->cells);
	free(series->listener);
	free(series->route);
	free(series->pool);
	free(series);
}

/* ---- the worker's side ---- */

static __attribute__((noinline)) struct series_cell *
cell_make(struct series *series, unsigned worker)
{
	struct series_cell *cell = memory_try_lines(1, sizeof(*cell));

	if (cell == NULL)
		return NULL;
	atomic_store_explicit(
	    &series->cells[worker], cell, memory_order_release);
	return cell;
}

static counter_t *
code_counter(struct series_cell *cell, uint32_t key)
{
	uint32_t at = (key * UINT32_C(2654435769) >> 16) * CODES_OPEN >> 16;

	for (int i = 0; i < CODES_PROBES; i++) {
		struct series_code *code = &cell->codes[at];
		uint32_t found =
		    atomic_load_explicit(&code->key, memory_order_relaxed);

		if (found == key)
			return &code->count;
		if (found == 0) {
			atomic_store_explicit(
			    &code->key, key, memory_order_relaxed);
			return &code->count;
		}
		at = at + 1 < CODES_OPEN ? at + 1 : 0;
	}
	atomic_store_explicit(
	    &cell->codes[CODES_OPEN].key, CODE_OTHER, memory_order_relaxed);
	return &cell->codes[CODES_OPEN].count;
}

void
series_record(struct series *series, unsigned worker,
    const struct outcome *outcome, unsigned bucket)
{
	struct series_cell *cell =
	    atomic_load_explicit(&series->cells[worker], memory_order_relaxed);
	uint32_t key =
	    (uint32_t)outcome->method << 16 | (outcome->status & 0xffff);

	if (cell == NULL && (cell = cell_make(series, worker)) == NULL)
		return; /* out of memory: serve, and count no more */
	/* GET with no status at all would be the key of a free row. */
	counter_add(code_counter(cell, key != 0 ? key : CODE_OTHER), 1);
	counter_add(&cell->bytes_in, outcome->bytes_in);
	counter_add(&cell->bytes_out, outcome->bytes_out);
	histogram_count(&cell->total, bucket, outcome->total);
}

/* ---- the reader's side ---- */

static void
stats_add_code(struct series_stats *stats, uint32_t key, uint64_t count)
{
	enum http_method method = key >> 16;
	unsigned status = key & 0xffff;
	uint32_t i = 0;

	while (i < stats->n_codes && (stats->codes[i].method != method ||
	                                 stats->codes[i].status != status))
		i++;
	/* Full: the last row takes the rest, as (OTHER, 0). */
	if (i == SERIES_CODES_MAX * 2) {
		i--;
		method = METHOD_OTHER;
		status = 0;
	}
	if (i == stats->n_codes)
		stats->n_codes++;
	stats->codes[i].method = method;
	stats->codes[i].status = status;
	stats->codes[i].count += count;
}

/* A row's key never changes once it is there. A count may be seen before it:
   it is told when the key is. */
static void
stats_add_cell(struct series_stats *stats, struct series_cell *cell)
{
	for (int i = 0; i < SERIES_CODES_MAX; i++) {
		uint32_t key = atomic_load_explicit(
		    &cell->codes[i].key, memory_order_relaxed);
		uint64_t count = counter_read(&cell->codes[i].count);

		if (key != 0 && count > 0)
			stats_add_code(stats, key, count);
	}
	stats->bytes_in += counter_read(&cell->bytes_in);
	stats->bytes_out += counter_read(&cell->bytes_out);
	histogram_add(&stats->total, &cell->total);
}

static bool
series_read(struct series *series, struct series_stats *stats)
{
	bool was_used = false;

	*stats = (struct series_stats){0};
	for (unsigned i = 0; i < series->workers; i++) {
		struct series_cell *cell = atomic_load_explicit(
		    &series->cells[i], memory_order_acquire);

		if (cell == NULL)
			continue;
		was_used = true;
		stats_add_cell(stats, cell);
	}
	return was_used;
}

void
registry_each_series(struct registry *registry, series_fn *fn, void *ctx)
{
	for (size_t i = 0; i < registry->series.n; i++) {
		struct series *series = registry->series.at[i].object;
		struct series_view view = {
		    series->listener, series->route, series->pool};
		struct series_stats stats;

		if (series_read(series, &stats))
			fn(ctx, &view, &stats);
	}
}
