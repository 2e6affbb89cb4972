/*
 * The controller of adaptive limits against an upstream in virtual time:
 * Poisson arrivals, a number of servers, one queue before them. What comes
 * above the limit is turned away.
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "routing/gradient.h"

enum { FLYING_MAX = 4096, SERVERS_MAX = 512 };

static const nsec_t BEAT = 100 * NSEC_PER_MSEC;

/* ---- the upstream ---- */

struct flight {
	nsec_t arrived, ends; /* ends 0: waits for a server */
	bool hangs;           /* at none */
};

struct world {
	struct gradient gradient;
	struct gradient_cfg cfg;
	uint32_t limit;
	nsec_t now, next_arrival, next_beat;
	double rate; /* arrivals a second */
	unsigned servers;
	double service; /* ns, the mean */
	double steady;  /* share of a service time that is always the same */
	uint32_t
	    clients;  /* who ask again as soon as they are answered; 0: rate */
	double hangs; /* share of requests that take 5 s, at no server */
	struct flight flying[FLYING_MAX]; /* in order of arrival */
	uint32_t n;
	uint64_t seed;
	/* since the last beat */
	uint64_t answered;
	double took;
	bool is_pressed;
	/* since tally_begin */
	uint64_t served, refused;
	double latency, limits;
	uint64_t beats;
	uint32_t least, most;
	nsec_t since;
};

static double
chance(struct world *w)
{
	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 7;
	w->seed ^= w->seed << 17;
	return (double)(w->seed >> 11) * 0x1p-53;
}

static double
exponential(struct world *w)
{
	return -log(1 - chance(w));
}

static void
world_init(struct world *w, double rate, unsigned servers, double service_ms)
{
	memset(w, 0, sizeof(*w));
	w->seed = 88172645463325252u;
	w->cfg = (struct gradient_cfg){4, 1000, 1.5};
	w->rate = rate;
	w->servers = servers;
	w->service = service_ms * NSEC_PER_MSEC;
	w->now = NSEC_PER_SEC;
	gradient_init(&w->gradient, &w->cfg, 7, w->now);
	w->limit = (uint32_t)w->gradient.limit;
	w->next_arrival = w->now;
	w->next_beat = w->now + BEAT;
}

static void
tally_begin(struct world *w)
{
	w->served = w->refused = w->beats = 0;
	w->latency = w->limits = 0;
	w->least = UINT32_MAX;
	w->most = 0;
	w->since = w->now;
}

static nsec_t
service_of(struct world *w)
{
	return 1 + (nsec_t)(w->service *
	                    (w->steady + (1 - w->steady) * exponential(w)));
}

/* The free servers take who has waited longest. */
static void
serve(struct world *w)
{
	uint32_t busy = 0;

	for (uint32_t i = 0; i < w->n; i++)
		busy += w->flying[i].ends != 0 && !w->flying[i].hangs;
	for (uint32_t i = 0; i < w->n && busy < w->servers; i++)
		if (w->flying[i].ends == 0) {
			w->flying[i].ends = w->now + service_of(w);
			busy++;
		}
}

static void
arrive(struct world *w)
{
	bool hangs = w->hangs > 0 && chance(w) < w->hangs;

	w->next_arrival +=
	    1 + (nsec_t)(exponential(w) * NSEC_PER_SEC / w->rate);
	if (w->n >= w->limit || w->n == FLYING_MAX) {
		w->refused++;
		w->is_pressed = true;
		return;
	}
	w->flying[w->n++] = (struct flight){
	    w->now, hangs ? w->now + 5 * NSEC_PER_SEC : 0, hangs};
	serve(w);
}

/* Clients that wait for a place, or are in flight. */
static void
ask_again(struct world *w)
{
	while (w->n < w->clients && w->n < w->limit)
		w->flying[w->n++] = (struct flight){.arrived = w->now};
	w->is_pressed |= w->n < w->clients;
	serve(w);
}

static void
answer(struct world *w, uint32_t i)
{
	double took = (double)(w->now - w->flying[i].arrived);

	if (w->gradient.usual > 0 && took > 16 * w->gradient.usual)
		took = 16 * w->gradient.usual; /* as adaptive.c cuts it */
	memmove(&w->flying[i], &w->flying[i + 1],
	    (w->n - i - 1) * sizeof(w->flying[0]));
	w->n--;
	w->answered++;
	w->took += took;
	w->served++;
	w->latency += took;
	ask_again(w);
}

static void
beat(struct world *w)
{
	struct gradient_sample sample = {
	    w->n, w->is_pressed, w->answered, w->took};

	w->limit = gradient_step(&w->gradient, &w->cfg, &sample, w->now);
	assert_in_range(w->limit, w->cfg.min, w->cfg.max);
	w->answered = 0;
	w->took = 0;
	w->is_pressed = false;
	w->next_beat += BEAT;
	ask_again(w);
	w->limits += w->limit;
	w->beats++;
	w->least = w->limit < w->least ? w->limit : w->least;
	w->most = w->limit > w->most ? w->limit : w->most;
}

static void
run(struct world *w, double seconds)
{
	nsec_t until = w->now + (nsec_t)(seconds * NSEC_PER_SEC);

	while (w->now < until) {
		uint32_t first = FLYING_MAX;
		nsec_t next = w->next_beat < w->next_arrival ? w->next_beat
		                                             : w->next_arrival;

		for (uint32_t i = 0; i < w->n; i++)
			if (w->flying[i].ends != 0 &&
			    w->flying[i].ends <= next) {
				next = w->flying[i].ends;
				first = i;
			}
		w->now = next;
		if (first < FLYING_MAX)
			answer(w, first);
		else if (next == w->next_beat)
			beat(w);
		else
			arrive(w);
	}
}

/* ---- what was seen since tally_begin ---- */

static double
mean_limit(const struct world *w)
{
	return w->limits / (double)w->beats;
}

/* Of what the servers could do. */
static double
goodput(const struct world *w)
{
	double seconds = (double)(w->now - w->since) / NSEC_PER_SEC;

	return (double)w->served / seconds /
	       (w->servers * NSEC_PER_SEC / w->service);
}

/* In service times. */
static double
slowness(const struct world *w)
{
	return w->latency / (double)w->served / w->service;
}

/* ---- the tests ---- */

static void
test_gradient__finds_a_limit_near_the_knee(void **state)
{
	static const struct {
		unsigned servers;
		double service_ms, steady;
	} rows[] = {{20, 10, 0}, {20, 10, 0.9}, {4, 5, 0.5}, {100, 20, 0.5},
	    {8, 100, 0.5}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;
		double capacity = rows[i].servers * 1000 / rows[i].service_ms;

		world_init(
		    &w, 2 * capacity, rows[i].servers, rows[i].service_ms);
		w.steady = rows[i].steady;
		run(&w, 20);
		tally_begin(&w);
		run(&w, 60);
		assert_true(mean_limit(&w) > 0.9 * rows[i].servers);
		assert_true(mean_limit(&w) < 3 * rows[i].servers + 4);
		assert_true(goodput(&w) > 0.9);
		assert_true(slowness(&w) < 3);
	}
}

static void
test_gradient__follows_a_lost_half_and_its_return(void **state)
{
	struct world w;
	double before, during;

	(void)state;
	world_init(&w, 4000, 20, 10);
	w.steady = 0.5;
	run(&w, 20);
	tally_begin(&w);
	run(&w, 10);
	before = mean_limit(&w);
	w.servers = 10;
	run(&w, 4);
	tally_begin(&w);
	run(&w, 10);
	during = mean_limit(&w);
	assert_true(during < 0.7 * before);
	assert_true(slowness(&w) < 3);
	assert_true(goodput(&w) > 0.9);
	w.servers = 20;
	run(&w, 8);
	tally_begin(&w);
	run(&w, 10);
	assert_true(mean_limit(&w) > 0.8 * before);
	assert_true(goodput(&w) > 0.9);
}

/* Who waits for an answer asks for nothing else: however slow the pool, no more
   than that are in flight. */
static void
test_gradient__finds_it_with_clients_that_wait(void **state)
{
	(void)state;
	for (uint32_t clients = 20; clients <= 320; clients *= 2) {
		struct world w;

		world_init(&w, 1, 8, 40);
		w.steady = 0.8;
		w.next_arrival = INT64_MAX;
		w.clients = clients;
		run(&w, 15);
		tally_begin(&w);
		run(&w, 60);
		assert_true(mean_limit(&w) > 7);
		assert_true(mean_limit(&w) < 28);
		assert_true(goodput(&w) > 0.9);
		assert_true(slowness(&w) < 3);
	}
}

/* All that it has met is the overload: the first answers were no faster than
   the others. */
static void
test_gradient__does_not_believe_a_bad_start(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 1, 8, 40);
	w.steady = 0.8;
	w.next_arrival = INT64_MAX;
	w.clients = 60;
	w.gradient.usual = w.gradient.smooth = 8 * w.service;
	w.cfg.min = 60;
	run(&w, 1); /* all of them are let in */
	assert_int_equal(w.n, 60);
	w.gradient.usual = w.gradient.smooth = 8 * w.service;
	w.cfg.min = 4;
	run(&w, 15);
	tally_begin(&w);
	run(&w, 30);
	assert_true(mean_limit(&w) < 28);
	assert_true(goodput(&w) > 0.9);
}

/* The same number of servers, each twice as slow: what was usual is so no
   more, and only a probe can tell. */
static void
test_gradient__learns_that_all_has_become_slower(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 4000, 40, 10);
	w.steady = 0.5;
	run(&w, 30);
	w.service *= 2.5;
	run(&w, 20);
	tally_begin(&w);
	run(&w, 30);
	assert_true(mean_limit(&w) > 36);
	assert_true(goodput(&w) > 0.85);
	assert_true(slowness(&w) < 3);
	w.service /= 2.5; /* and that it has become faster again */
	run(&w, 10);
	tally_begin(&w);
	run(&w, 30);
	assert_true(slowness(&w) < 3);
	assert_true(goodput(&w) > 0.85);
}

static void
test_gradient__stays_put_without_load(void **state)
{
	struct world w;
	uint32_t before;

	(void)state;
	world_init(&w, 4000, 20, 10);
	run(&w, 30);
	w.rate = 100; /* one in flight at a time */
	run(&w, 2);
	before = w.limit;
	tally_begin(&w);
	run(&w, 600);
	assert_int_equal(w.least, before);
	assert_int_equal(w.most, before);
	w.rate = 0.01; /* and next to none */
	run(&w, 3000);
	assert_int_equal(w.limit, before);
	assert_int_equal(w.refused, 0);
}

/* Within its capacity nobody is turned away. */
static void
test_gradient__does_not_stand_in_the_way(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 1200, 20, 10);
	run(&w, 10);
	tally_begin(&w);
	run(&w, 120);
	assert_true((double)w.refused < 0.002 * (double)w.served);
}

static void
test_gradient__a_few_that_hang_are_no_slow_pool(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 1500, 20, 10);
	w.hangs = 0.005; /* some 38 of those in flight at a time */
	run(&w, 20);
	tally_begin(&w);
	run(&w, 60);
	assert_true(goodput(&w) > 0.7);
	assert_true((double)w.refused < 0.02 * (double)w.served);
}

static void
test_gradient__probes_are_rare_and_not_together(void **state)
{
	struct world w;
	uint64_t before;
	nsec_t at[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		world_init(&w, 4000, 20, 10);
		w.steady = 0.5;
		w.gradient.seed = (uint64_t)i * 1000003;
		run(&w, 10);
		before = w.gradient.probes;
		for (int j = 0; j < 600 && w.gradient.probes == before; j++)
			run(&w, 0.1);
		at[i] = w.now;
		for (int j = 0; j < i; j++)
			assert_true(llabs(at[i] - at[j]) > BEAT);
		before = w.gradient.probes;
		run(&w, 300);
		assert_in_range(w.gradient.probes - before, 4, 20);
	}
}

static void
test_gradient__a_probe_that_nobody_answers_ends(void **state)
{
	struct world w;
	double before;

	(void)state;
	world_init(&w, 4000, 20, 10);
	run(&w, 10);
	for (int i = 0; i < 600 && w.gradient.state != GRADIENT_PROBE; i++)
		run(&w, 0.1);
	before = w.gradient.saved;
	assert_true(w.limit < before);
	w.rate = 0.001;
	w.next_arrival = w.now + 3600 * NSEC_PER_SEC;
	run(&w, 10);
	assert_int_equal(w.gradient.state, GRADIENT_STEADY);
	assert_int_equal(w.limit, (uint32_t)before);
}

/* Whatever is measured, and whatever a reload makes of the bounds. */
static void
test_gradient__is_always_within_its_bounds(void **state)
{
	uint64_t x = 42;

	(void)state;
	for (int round = 0; round < 200; round++) {
		struct gradient g;
		struct gradient_cfg cfg = {1 + x % 50, 60 + x % 2000, 1.1};
		nsec_t now = 1;

		gradient_init(&g, &cfg, x, now);
		for (int i = 0; i < 2000; i++) {
			struct gradient_sample sample;
			uint32_t limit;

			x = x * UINT64_C(6364136223846793005) +
			    1442695040888963407;
			sample = (struct gradient_sample){
			    .in_flight = (uint32_t)(x >> 40) % 4000,
			    .is_pressed = (x >> 20 & 3) == 0,
			    .n = x >> 33 & 255,
			    .sum = (double)(x >> 33 & 255) *
			           pow(10, (double)(x >> 50 & 15) - 2)};
			now += (nsec_t)(x >> 30 & 0x3fffffff);
			if (i % 500 == 499)
				cfg.max = 1 + x % 3000;
			limit = gradient_step(&g, &cfg, &sample, now);
			assert_true(limit <= cfg.max);
			assert_true(
			    limit >= (cfg.min < cfg.max ? cfg.min : cfg.max));
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_gradient__finds_a_limit_near_the_knee),
	    cmocka_unit_test(test_gradient__follows_a_lost_half_and_its_return),
	    cmocka_unit_test(test_gradient__finds_it_with_clients_that_wait),
	    cmocka_unit_test(test_gradient__does_not_believe_a_bad_start),
	    cmocka_unit_test(test_gradient__learns_that_all_has_become_slower),
	    cmocka_unit_test(test_gradient__stays_put_without_load),
	    cmocka_unit_test(test_gradient__does_not_stand_in_the_way),
	    cmocka_unit_test(test_gradient__a_few_that_hang_are_no_slow_pool),
	    cmocka_unit_test(test_gradient__probes_are_rare_and_not_together),
	    cmocka_unit_test(test_gradient__a_probe_that_nobody_answers_ends),
	    cmocka_unit_test(test_gradient__is_always_within_its_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
