/*
 * A judge in virtual time: the default plan, synthetic traffic, a look every
 * 50 ms. Evidence's own functions are other files' tests; what is needed of
 * them here is a name.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "routing/judge.h"
#include "routing/judge/crowd.h"

#define TICK (50 * NSEC_PER_MSEC)
#define PP(x) {INCREASE_ABSOLUTE, (x) / 100.0}
#define PERCENT(x) {INCREASE_RELATIVE, (x) / 100.0}
#define RATE 1000 /* requests a second over both arms */

/* The guards of the plan `standard`. */
enum { ERRORS, LATENCY, SLO, SHAPE, FUSE, COMPLAINTS, GUARDS };

/* clang-format off */
static struct guard_cfg standard_guards[GUARDS] = {
	[ERRORS] = {.name = (char *)"errors", .metric = GUARD_ERRORS, .max_increase = PP(2), .tolerance = PP(0.5), .action = ACTION_ROLLBACK},
	[LATENCY] = {.name = (char *)"latency", .metric = GUARD_LATENCY, .max_increase = PERCENT(20), .tolerance = PERCENT(5), .action = ACTION_ROLLBACK},
	[SLO] = {.name = (char *)"slo", .metric = GUARD_ERRORS, .max_rate = 0.01, .window = 300 * NSEC_PER_SEC, .action = ACTION_HOLD},
	[SHAPE] = {.name = (char *)"shape", .metric = GUARD_SHAPE, .action = ACTION_OBSERVE},
	[FUSE] = {.name = (char *)"fuse", .metric = GUARD_EXCESS_FAILURES, .max = 500, .action = ACTION_ROLLBACK},
	[COMPLAINTS] = {.name = (char *)"complaints", .metric = GUARD_SIGNAL, .signal = (char *)"complaint", .max = 3, .window = 1800 * NSEC_PER_SEC, .action = ACTION_ROLLBACK},
};
static struct phase_cfg standard_phases[] = {
	{.name = (char *)"preview", .weight = 0},
	{.name = (char *)"canary", .weight = 500, .hold = 1800 * NSEC_PER_SEC},
	{.name = (char *)"quarter", .weight = 2500, .hold = 900 * NSEC_PER_SEC},
	{.name = (char *)"half", .weight = 5000, .hold = 900 * NSEC_PER_SEC},
	{.name = (char *)"bake", .weight = 9900, .hold = 3600 * NSEC_PER_SEC},
};
/* clang-format on */

static struct plan_cfg __attribute__((unused))
standard_plan(void)
{
	return (struct plan_cfg){
	    .name = (char *)"standard",
	    .phases = standard_phases,
	    .n_phases = 5,
	    .guards = standard_guards,
	    .n_guards = GUARDS,
	    .false_rollback = 0.001,
	    .false_pass = 0.05,
	};
}

struct court {
	struct plan_cfg plan;
	struct judge *judge;
	struct mood mood[ARM_COUNT];
	struct rng rng;
	nsec_t now;
	double rate, w;
	uint64_t requests, candidates; /* so far */
	struct evidence_sum delta;     /* of the last look */
};

static void
court_seed(struct court *court, uint64_t n)
{
	uint8_t seed[32] = {0};

	memcpy(seed, &n, sizeof(n));
	seed[31] = 1;
	rng_seed(&court->rng, seed);
}

/* 0.5 % errors, 20 ms, at 5 %; the baseline is known. */
static void __attribute__((unused))
court_open(struct court *court, uint64_t seed)
{
	struct histogram_sum *seen = calloc(1, sizeof(*seen));
	struct evidence_sum *before = calloc(1, sizeof(*before));
	struct judge_phase phase = {.candidate = 500,
	    .baseline = 9500,
	    .length = 1800 * NSEC_PER_SEC,
	    .calibration = seen};

	*court = (struct court){.plan = standard_plan(),
	    .now = 1000 * NSEC_PER_SEC,
	    .rate = RATE,
	    .w = 0.05};
	court_seed(court, seed);
	for (int arm = 0; arm < ARM_COUNT; arm++)
		mood_init(
		    &court->mood[arm], 0.005, 20 * NSEC_PER_MSEC, 0.5);
	crowd_draw(court->mood, 10000, 0, 0, &court->rng, before);
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen->bucket[i] = before->arm[ARM_BASELINE].latency[i];
		seen->count += seen->bucket[i];
	}
	court->judge = judge_new(&court->plan);
	judge_begin(court->judge, &phase, court->now);
	free(before);
	free(seen);
}

static void __attribute__((unused))
court_close(struct court *court)
{
	judge_free(&court->judge);
}

static void
court_look(struct court *court)
{
	struct judge_news news = {
	    .now = court->now += TICK, .delta = &court->delta};

	judge_look(court->judge, &news);
}

/* One tick of traffic. */
static void
court_tick(struct court *court)
{
	uint64_t n = (uint64_t)(court->rate * (double)TICK / NSEC_PER_SEC);

	court->delta = (struct evidence_sum){0};
	crowd_draw(court->mood, n, court->w, judge_cut(court->judge),
	    &court->rng, &court->delta);
	court->requests += n;
	court->candidates += court->delta.arm[ARM_CANDIDATE].n;
	court_look(court);
}

static struct finding __attribute__((unused))
court_finding(struct court *court, size_t guard)
{
	struct finding finding;

	judge_finding(court->judge, guard, court->now, &finding);
	return finding;
}

static enum verdict __attribute__((unused))
court_verdict(struct court *court, size_t guard)
{
	enum verdict verdict = judge_guard(court->judge, guard);

	assert_int_equal(verdict, court_finding(court, guard).verdict);
	return verdict;
}

/* Until the guard fails; false when it has not within so many requests. */
static bool __attribute__((unused))
court_sits(struct court *court, size_t guard, uint64_t requests)
{
	while (court->requests < requests) {
		court_tick(court);
		if (court_verdict(court, guard) == VERDICT_FAIL)
			return true;
	}
	return false;
}
