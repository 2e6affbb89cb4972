/*
 * What all guards that bet have in common: wealths on two sides, the odds at
 * the present weights, and a trail of what was bet on the fail side. A watch
 * that has failed bets no more: its e-value stays what the verdict stands on.
 */
#include "routing/judge/watch.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "routing/memory.h"

const struct method *
guard_method(const struct guard_cfg *guard)
{
	switch (guard->metric) {
	case GUARD_ERRORS:
		return guard->max_rate > 0 ? &method_rate : &method_errors;
	case GUARD_LATENCY:
		return &method_latency;
	case GUARD_SHAPE:
		return &method_shape;
	case GUARD_EXCESS_FAILURES:
	case GUARD_SIGNAL:
		break;
	}
	return NULL;
}

const struct method *
test_method(const char *test)
{
	static const struct method *const all[] = {
	    &method_errors, &method_latency, &method_shape, &method_rate};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(all[i]->test, test) == 0)
			return all[i];
	return NULL;
}

bool
guard_can_be_proven(const struct guard_cfg *guard)
{
	const struct method *method = guard_method(guard);

	return method && method->wealths[SIDE_PASS] > 0 &&
	       guard->max_increase.kind != INCREASE_NONE;
}

/*
 * Without a tolerance a quarter of the maximum is tolerated; without either
 * (a shape guard that observes) one unit in a hundred.
 */
void
guard_margin(const struct guard_cfg *guard, enum side side, double *ratio_out,
    double *difference_out)
{
	const struct increase *max = &guard->max_increase;
	struct increase allowed = side == SIDE_PASS ? *max : guard->tolerance;

	if (allowed.kind == INCREASE_NONE)
		allowed = max->kind == INCREASE_NONE
		              ? (struct increase){INCREASE_ABSOLUTE, 0.01}
		              : (struct increase){max->kind, max->by / 4};
	*ratio_out = 1;
	*difference_out = 0;
	if (allowed.kind == INCREASE_RELATIVE)
		*ratio_out += fmax(allowed.by, 0);
	else
		*difference_out = fmax(allowed.by, 0);
}

/* ---- a watch's life ---- */

void
watch_init(struct watch *watch, const struct guard_cfg *guard)
{
	const struct method *method = guard_method(guard);

	*watch = (struct watch){.guard = guard, .method = method};
	if (method == NULL) {
		trail_begin(&watch->trail, FUSE_COUNTS, 1);
		return;
	}
	for (int side = 0; side < SIDE_COUNT; side++) {
		watch->wealth[side] =
		    memory_take(method->wealths[side], sizeof(struct wealth));
		if (method == &method_latency)
			watch->shift[side] = latency_shift(guard, side);
	}
	if (method == &method_rate) {
		watch->window = memory_take(1, sizeof(*watch->window));
		watch->window->length = guard->window;
		rate_limit_set(watch, 0, 0);
	}
	watch_begin(watch);
}

void
watch_release(struct watch *watch)
{
	for (int side = 0; side < SIDE_COUNT; side++)
		free(watch->wealth[side]);
	trail_release(&watch->trail);
	free(watch->window);
}

void
watch_begin(struct watch *watch)
{
	const struct method *method = watch->method;

	watch->has_failed = false;
	watch->mass = 0;
	trail_begin(&watch->trail, method->counts, MASS_FIRST);
	for (size_t i = 0; i < method->wealths[SIDE_FAIL]; i++)
		wealth_begin(&watch->wealth[SIDE_FAIL][i], MASS_FIRST);
	for (size_t i = 0; i < method->wealths[SIDE_PASS]; i++)
		wealth_begin(&watch->wealth[SIDE_PASS][i], 1);
	watch->setting = -1;
}

void
watch_set(struct watch *watch, double setting)
{
	if (watch->setting == setting)
		return;
	watch->setting = setting;
	watch->method->prepare(
	    &watch->tables[SIDE_FAIL], watch->guard, SIDE_FAIL, setting);
	if (guard_can_be_proven(watch->guard))
		watch->method->prepare(&watch->tables[SIDE_PASS], watch->guard,
		    SIDE_PASS, setting);
}

void
watch_enter(struct watch *watch, double mass, unsigned checkpoint)
{
	const struct method *method = watch->method;

	if (watch->has_failed)
		return;
	watch->mass += mass;
	if ((checkpoint + 1) % method->stride != 0)
		return;
	for (size_t i = 0; i < method->wealths[SIDE_FAIL]; i++)
		wealth_enter(&watch->wealth[SIDE_FAIL][i], watch->mass);
	watch->trail.mass += watch->mass;
	watch->mass = 0;
}

void
watch_look(
    struct judge *judge, struct watch *watch, const struct evidence_sum *delta)
{
	const struct method *method = watch->method;
	double counts[SIDE_COUNT][COUNTS_MAX] = {0};

	if (watch->has_failed || (method->is_comparing && !judge->is_comparing))
		return;
	assert(watch->setting >= 0);
	if (!method->gather(
	        judge, watch, delta, counts[SIDE_FAIL], counts[SIDE_PASS]))
		return;
	method->bet(&watch->tables[SIDE_FAIL], SIDE_FAIL, counts[SIDE_FAIL],
	    watch->wealth[SIDE_FAIL]);
	trail_add(&watch->trail, watch->setting, counts[SIDE_FAIL]);
	if (guard_can_be_proven(watch->guard))
		method->bet(&watch->tables[SIDE_PASS], SIDE_PASS,
		    counts[SIDE_PASS], watch->wealth[SIDE_PASS]);
}

/* ---- what it has won ---- */

double
wealths_log(const struct method *method, const struct guard_cfg *guard,
    const struct wealth *wealth)
{
	double sum = -HUGE_VAL;

	for (size_t i = 0; i < method->wealths[SIDE_FAIL]; i++) {
		double prior = method->prior(guard, i);

		if (prior > 0)
			sum =
			    log_add(sum, log(prior) + wealth_mean(&wealth[i]));
	}
	return sum;
}

double
watch_log_e(const struct watch *watch)
{
	return wealths_log(
	    watch->method, watch->guard, watch->wealth[SIDE_FAIL]);
}

/* A mean is at most its greatest part: nearly always that settles it. */
bool
watch_exceeds(const struct watch *watch, double log_needed)
{
	double max = -HUGE_VAL;

	for (size_t i = 0; i < watch->method->wealths[SIDE_FAIL]; i++)
		max = fmax(max, wealth_max(&watch->wealth[SIDE_FAIL][i]));
	return max >= log_needed && watch_log_e(watch) >= log_needed;
}

bool
watch_is_proven(const struct watch *watch, double log_needed)
{
	for (size_t i = 0; i < watch->method->wealths[SIDE_PASS]; i++) {
		const struct wealth *wealth = &watch->wealth[SIDE_PASS][i];

		if (wealth_max(wealth) < log_needed ||
		    wealth_mean(wealth) < log_needed)
			return false;
	}
	return true;
}

size_t
watch_least_proven(const struct watch *watch)
{
	size_t least = 0;
	double log_least = HUGE_VAL;

	for (size_t i = 0; i < watch->method->wealths[SIDE_PASS]; i++) {
		double log = wealth_mean(&watch->wealth[SIDE_PASS][i]);

		if (log < log_least) {
			least = i;
			log_least = log;
		}
	}
	return least;
}

double
watch_log_pass(const struct watch *watch)
{
	assert(watch->method->wealths[SIDE_PASS] > 0);
	return wealth_mean(
	    &watch->wealth[SIDE_PASS][watch_least_proven(watch)]);
}
