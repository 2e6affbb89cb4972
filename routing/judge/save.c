/*
 * The judge as numbers, and the proof of what it said.
 *
 * One walk over all that is kept serves for writing and for reading, so the
 * two cannot disagree. Reading goes into a judge of its own, which takes the
 * old one's place when every number made sense. Times are ages: the clock of
 * another process says nothing.
 */
#include <math.h>
#include <string.h>
#include <sys/param.h>

#include "routing/judge/watch.h"
#include "routing/memory.h"

struct tape {
	double *out;      /* writing: NULL counts only */
	const double *in; /* reading */
	size_t n, cap;
	bool is_reading, is_broken;
};

static void
tape_double(struct tape *tape, double *number)
{
	size_t at = tape->n++;

	if (!tape->is_reading) {
		if (at < tape->cap)
			tape->out[at] = *number;
		return;
	}
	if (at >= tape->cap || !isfinite(tape->in[at]))
		tape->is_broken = true;
	else
		*number = tape->in[at];
}

/* A whole number within bounds. */
static void
tape_count_below(struct tape *tape, uint64_t *count, uint64_t max)
{
	double number = (double)*count;

	tape_double(tape, &number);
	if (!tape->is_reading || tape->is_broken)
		return;
	if (number < 0 || number > (double)max || number != floor(number))
		tape->is_broken = true;
	else
		*count = (uint64_t)number;
}

static void
tape_count(struct tape *tape, uint64_t *count)
{
	tape_count_below(tape, count, COUNT_MAX);
}

static void
tape_bool(struct tape *tape, bool *is)
{
	uint64_t number = *is;

	tape_count_below(tape, &number, 1);
	*is = number == 1;
}

/* Both sides must hold the same: what the judge is, not what it has seen. */
static void
tape_same(struct tape *tape, double mine)
{
	double number = mine;

	tape_double(tape, &number);
	if (number != mine)
		tape->is_broken = true;
}

static void
tape_time(struct tape *tape, nsec_t *time, nsec_t now)
{
	double age = *time == INT64_MAX ? -1 : (double)(now - *time);

	tape_double(tape, &age);
	if (!tape->is_reading)
		return;
	if (age < 0)
		*time = INT64_MAX;
	else
		*time = now - (nsec_t)fmin(age, 4e18);
}

/* ---- parts ---- */

static void
tape_histogram(struct tape *tape, uint64_t *bucket)
{
	uint64_t used = 0, at = 0;

	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		used += bucket[i] > 0;
	tape_count_below(tape, &used, HISTOGRAM_BUCKETS);
	for (uint64_t i = 0; i < used && !tape->is_broken; i++, at++) {
		while (!tape->is_reading && bucket[at] == 0)
			at++;
		tape_count_below(tape, &at, HISTOGRAM_BUCKETS - 1);
		if (!tape->is_broken)
			tape_count(tape, &bucket[at]);
	}
}

static void
tape_arm(struct tape *tape, struct arm_sum *sum)
{
	tape_count(tape, &sum->n);
	tape_count(tape, &sum->bad);
	tape_count(tape, &sum->slow);
	tape_count(tape, &sum->shielded);
	tape_count(tape, &sum->n_latency);
	for (int i = 0; i < SHAPE_COUNT; i++)
		tape_count(tape, &sum->shape[i]);
	tape_histogram(tape, sum->latency);
}

static void
tape_calibration(struct tape *tape, struct calibration *calibration)
{
	tape_count(tape, &calibration->n);
	tape_count(tape, &calibration->settled);
	tape_histogram(tape, calibration->bucket);
	for (int i = 0; i < CLASSES - 1; i++) {
		uint64_t edge = calibration->edge[i];

		tape_count_below(tape, &edge, HISTOGRAM_BUCKETS - 1);
		calibration->edge[i] = (unsigned)edge;
	}
	if (tape->is_reading && !tape->is_broken)
		tape->is_broken = !calibration_restore(calibration);
}

static void
tape_trail(struct tape *tape, struct trail *trail)
{
	uint64_t rows = trail->rows;

	tape_bool(tape, &trail->is_lost);
	tape_double(tape, &trail->mass);
	tape_count_below(tape, &rows, TRAIL_ROWS_MAX);
	if (tape->is_broken)
		return;
	if (tape->is_reading) {
		trail->rows = trail->room = rows;
		trail->at =
		    memory_take(rows * trail->columns, sizeof(*trail->at));
	}
	for (size_t i = 0; i < rows * trail->columns; i++)
		tape_double(tape, &trail->at[i]);
}

static void
tape_window(struct tape *tape, struct window *window, nsec_t now)
{
	uint64_t at = window->at;
	nsec_t turn = window->turn - window->length;

	tape_count_below(tape, &at, WINDOW_SLOTS - 1);
	window->at = (unsigned)at;
	tape_time(tape, &turn, now);
	if (tape->is_reading)
		window->turn = MIN(turn, now) + window->length;
	for (int i = 0; i < WINDOW_SLOTS; i++)
		for (int arm = 0; arm < ARM_COUNT; arm++) {
			struct window_slot *slot = &window->slot[i];

			tape_count(tape, &slot->n[arm]);
			tape_count(tape, &slot->bad[arm]);
			if (!tape->is_reading)
				continue;
			window->sum.n[arm] += slot->n[arm];
			window->sum.bad[arm] += slot->bad[arm];
		}
}

static void
tape_watch(struct tape *tape, struct watch *watch, nsec_t now)
{
	tape_same(tape, (double)watch->guard->metric);
	tape_bool(tape, &watch->has_failed);
	tape_trail(tape, &watch->trail);
	tape_double(tape, &watch->fuse.failures);
	tape_double(tape, &watch->fuse.explained);
	tape_double(tape, &watch->fuse.variance);
	tape_double(tape, &watch->fuse.widest);
	tape_double(tape, &watch->mass);
	for (int side = 0; watch->method && side < SIDE_COUNT; side++)
		for (size_t i = 0; i < watch->method->wealths[side]; i++)
			for (int j = 0; j < BETS; j++)
				tape_double(
				    tape, &watch->wealth[side][i].log[j]);
	if (watch->window) {
		double limit = watch->limit;

		tape_double(tape, &limit);
		if (tape->is_reading && limit > 0 && limit < 1) {
			watch->limit = limit;
			watch_set(watch, limit);
		}
		tape_window(tape, watch->window, now);
	}
}

enum { SAVE_FORM = 1 };

static void
tape_judge(struct tape *tape, struct judge *judge, nsec_t now)
{
	uint64_t checkpoint = judge->checkpoint;

	tape_same(tape, SAVE_FORM);
	tape_same(tape, (double)judge_n(judge));
	tape_same(tape, (double)judge->length);
	tape_same(tape, judge->weight[ARM_CANDIDATE]);
	tape_same(tape, judge->weight[ARM_BASELINE]);
	tape_time(tape, &judge->begun, now);
	tape_time(tape, &judge->first, now);
	tape_time(tape, &judge->reweighed, now);
	tape_count_below(tape, &checkpoint, CHECKPOINTS);
	judge->checkpoint = (unsigned)checkpoint;
	tape_count(tape, &judge->n_reweighed);
	tape_double(tape, &judge->expected);
	tape_double(tape, &judge->expected_latency);
	tape_count(tape, &judge->before_n);
	tape_count(tape, &judge->before_bad);
	for (int arm = 0; arm < ARM_COUNT; arm++) {
		tape_arm(tape, &judge->sum.arm[arm]);
		tape_count(tape, &judge->rollout_n[arm]);
		tape_count(tape, &judge->rollout_bad[arm]);
	}
	tape_calibration(tape, &judge->calibration);
	for (size_t i = 0; i < judge_n(judge) && !tape->is_broken; i++)
		tape_watch(tape, &judge->watches[i], now);
}

/* ---- save and restore ---- */

size_t
judge_save(const struct judge *judge, double *out, size_t cap)
{
	struct tape tape = {.out = out, .cap = out ? cap : 0};

	/* writing leaves the judge as it is */
	tape_judge(&tape, (struct judge *)(uintptr_t)judge, judge->now);
	return tape.n;
}

bool
judge_restore(struct judge *judge, const double *in, size_t n, nsec_t now)
{
	struct tape tape = {.in = in, .cap = n, .is_reading = true};
	struct judge_phase phase = {
	    .candidate = judge->weight[ARM_CANDIDATE],
	    .baseline = judge->weight[ARM_BASELINE],
	    .length = judge->length,
	    .min_requests = judge->min_requests,
	};
	struct judge *other = judge_new(judge->plan), swap;
	bool is_whole;

	judge_begin(other, &phase, now);
	tape_judge(&tape, other, now);
	is_whole = !tape.is_broken && tape.n == n &&
	           other->begun != INT64_MAX && other->reweighed != INT64_MAX;
	if (is_whole) {
		judge_schedule(other);
		for (size_t i = 0; i < judge_n(other); i++)
			other->watches[i].verdict =
			    watch_verdict(other, &other->watches[i]);
		swap = *judge;
		*judge = *other;
		*other = swap;
	}
	judge_free(&other);
	return is_whole;
}

/* ---- the proof ---- */

size_t
judge_trail(const struct judge *judge, size_t guard, double *out, size_t cap,
    size_t *columns_out)
{
	const struct watch *watch = &judge->watches[guard];
	const struct trail *trail = &watch->trail;
	size_t n = trail->rows * trail->columns;

	if (watch->guard->metric == GUARD_SIGNAL) {
		*columns_out = 1;
		if (cap > 0)
			out[0] = (double)watch->events;
		return 1;
	}
	*columns_out = trail->columns;
	if (trail->is_lost)
		return 0;
	if (MIN(n, cap) > 0)
		memcpy(out, trail->at, MIN(n, cap) * sizeof(*out));
	/* what came in since the last row */
	if (trail->mass > 0 && watch->method) {
		for (size_t i = 0; i < trail->columns; i++)
			if (n + i < cap)
				out[n + i] = i == TRAIL_MASS ? trail->mass
				             : i == TRAIL_SETTING
				                 ? watch->setting
				                 : 0;
		n += trail->columns;
	}
	return n;
}

static bool
row_is_sane(const struct method *method, const double *row)
{
	for (size_t i = 0; i < TRAIL_COUNTS + method->counts; i++)
		if (!isfinite(row[i]))
			return false;
	return row[TRAIL_MASS] >= 0 && row[TRAIL_MASS] <= 1;
}

static bool
bet_again(const struct method *method, const struct guard_cfg *guard,
    const double *trail, size_t rows, struct wealth *wealth)
{
	struct tables tables;
	double setting = -1;

	for (size_t i = 0; i < rows; i++) {
		const double *row = trail + i * (TRAIL_COUNTS + method->counts);
		double mass = row[TRAIL_MASS];

		if (!row_is_sane(method, row))
			return false;
		for (size_t j = 0; mass > 0 && j < method->wealths[0]; j++)
			wealth_enter(&wealth[j], mass);
		if (row[TRAIL_SETTING] == -1)
			continue; /* nothing was ever bet: no odds */
		if (row[TRAIL_SETTING] <= 0 || row[TRAIL_SETTING] >= 1)
			return false;
		if (row[TRAIL_SETTING] != setting)
			method->prepare(&tables, guard, SIDE_FAIL,
			    setting = row[TRAIL_SETTING]);
		method->bet(&tables, SIDE_FAIL, row + TRAIL_COUNTS, wealth);
	}
	return true;
}

bool
judge_recompute(const struct guard_cfg *guard, const char *test,
    const double *trail, size_t n, size_t columns, double *log_e_out)
{
	const struct method *method = test_method(test);
	struct wealth wealth[WEALTHS_MAX];

	if (columns == 0 || n % columns != 0)
		return false;
	if (method == NULL)
		return strcmp(test, COUNT_TEST) == 0 &&
		       guard_method(guard) == NULL &&
		       count_recompute(
		           guard, trail, n / columns, columns, log_e_out);
	if (method != guard_method(guard) ||
	    columns != TRAIL_COUNTS + method->counts || n == 0)
		return false;
	for (size_t i = 0; i < WEALTHS_MAX; i++)
		wealth_begin(&wealth[i], 0);
	if (!bet_again(method, guard, trail, n / columns, wealth))
		return false;
	*log_e_out = wealths_log(method, guard, wealth);
	return true;
}
