/*
 * The controller of an adaptive limit, see gradient.h. The idea is that of
 * gradient limits (a ratio of latencies moves the limit, the square root keeps
 * a queue that shows headroom), with the probe for the usual latency as a
 * search downwards: halving goes on while it helps.
 */
#include "routing/gradient.h"

#include <assert.h>
#include <math.h>

enum {
	ENOUGH_START = 10,
	ENOUGH = 25,       /* answers of a window, */
	ENOUGH_PROBE = 50, /* of one that says what is usual, */
	FEW = 5,           /* of one that has lasted for long */
	SMOOTH_OVER = 100, /* answers */
};

static const nsec_t WINDOW_MIN = 100 * NSEC_PER_MSEC;
static const nsec_t WINDOW_MAX =
    5 * NSEC_PER_SEC; /* a latency that is not waited for longer */
static const nsec_t WINDOW_LONG = 2 * NSEC_PER_SEC;
static const nsec_t WINDOW_STALE = 20 * NSEC_PER_SEC;
static const nsec_t PATIENCE = 30 * NSEC_PER_SEC;
static const nsec_t PATIENCE_FIRST = 3 * NSEC_PER_SEC;
static const nsec_t PATIENCE_SQUEEZED = 5 * NSEC_PER_SEC;
static const nsec_t RELAX = 10 * NSEC_PER_SEC;
static const nsec_t HALF_SECOND = NSEC_PER_SEC / 2;

static const double GROWTH =
    1.7; /* what fills it is still more than half of it */
static const double SMOOTHING = 0.2;
static const double GRADIENT_MIN = 0.5;
static const double HELPS =
    0.85; /* a halving that makes answers so much faster */
static const double CONFIRMS = 1.1; /* latencies that near the usual one */
static const double NEWS = 1.15;    /* a usual latency that is another one */

/* ---- chance ---- */

/* 0 to 1 (splitmix64). */
static double
chance(struct gradient *g)
{
	uint64_t z = g->seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static nsec_t
jittered(struct gradient *g, nsec_t time)
{
	return (nsec_t)((double)time * (0.75 + 0.5 * chance(g)));
}

/* ---- the window ---- */

static void
window_open(struct gradient *g, nsec_t now)
{
	g->window_at = now;
	g->n = 0;
	g->sum = 0;
	g->peak = 0;
	g->was_pressed = false;
}

/* What a change did is seen after one latency at the earliest. */
static nsec_t
window_length(const struct gradient *g)
{
	nsec_t latest =
	    (nsec_t)(g->state == GRADIENT_PROBE ? g->best : g->latest);

	return latest < WINDOW_MIN   ? WINDOW_MIN
	       : latest > WINDOW_MAX ? WINDOW_MAX
	                             : latest;
}

/* A probe costs: what few tell in HALF_SECOND has to do. */
static uint64_t
enough(const struct gradient *g, nsec_t age)
{
	switch (g->state) {
	case GRADIENT_START:
		return ENOUGH_START;
	case GRADIENT_PROBE:
		return g->settles           ? FEW
		       : age >= HALF_SECOND ? ENOUGH_START
		                            : ENOUGH_PROBE;
	case GRADIENT_STEADY:
		break;
	}
	return ENOUGH;
}

static bool
window_is_full(const struct gradient *g, nsec_t now)
{
	nsec_t age = now - g->window_at, least = window_length(g);

	if (age >= least && g->n >= enough(g, age))
		return true;
	return age >= WINDOW_LONG && age >= 2 * least && g->n >= FEW;
}

static void
window_add(struct gradient *g, const struct gradient_sample *sample)
{
	g->n += sample->n;
	g->sum += sample->sum;
	g->samples += sample->n;
	g->was_pressed |= sample->is_pressed;
	if (sample->in_flight > g->peak)
		g->peak = sample->in_flight;
}

static bool
is_busy(const struct gradient *g)
{
	return g->was_pressed || 2.0 * g->peak >= floor(g->limit);
}

/* Would more have come in? */
static bool
is_bound(const struct gradient *g)
{
	return g->was_pressed || g->peak >= floor(0.9 * g->limit);
}

/* ---- the limit ---- */

static void
set_limit(struct gradient *g, const struct gradient_cfg *cfg, double limit)
{
	double min = cfg->min < cfg->max ? cfg->min : cfg->max;

	g->limit = limit < min ? min : limit > cfg->max ? cfg->max : limit;
}

/* One slow window may be chance, two are not. False: it is over. */
static bool
start(struct gradient *g, const struct gradient_cfg *cfg, bool is_fast)
{
	if (is_fast && is_bound(g))
		set_limit(g, cfg, g->limit * GROWTH);
	if (!is_fast && g->was_slow)
		g->state = GRADIENT_STEADY;
	g->was_slow = !is_fast;
	return g->state == GRADIENT_START;
}

static void
move(struct gradient *g, const struct gradient_cfg *cfg)
{
	double gradient = cfg->tolerance * g->usual / g->latest;
	double target;

	if (g->state == GRADIENT_START && start(g, cfg, gradient >= 1))
		return;
	gradient = gradient < GRADIENT_MIN ? GRADIENT_MIN
	           : gradient > 1          ? 1
	                                   : gradient;
	target = g->limit * gradient + sqrt(g->limit);
	if (target < g->limit || is_bound(g))
		set_limit(g, cfg, g->limit + SMOOTHING * (target - g->limit));
}

/* ---- the usual latency ---- */

static void
be_sure(struct gradient *g, nsec_t now)
{
	g->sure_at = now;
	g->sure_limit = g->limit;
}

static void
learn(struct gradient *g, nsec_t since, nsec_t now)
{
	double share = (double)since / (double)RELAX;

	if (g->usual == 0 || g->smooth < g->usual) {
		g->usual = g->smooth;
		g->usual_peak = g->peak;
	} else if (g->smooth <= g->usual * CONFIRMS) {
		if (g->peak > g->usual_peak)
			g->usual_peak = g->peak;
	} else if (!is_busy(g) && g->peak <= g->usual_peak) {
		g->usual += (g->smooth - g->usual) * (share < 1 ? share : 1);
	} else {
		return;
	}
	if (g->is_proven)
		be_sure(g, now);
}

/* ---- the probe ---- */

static bool
is_due(const struct gradient *g, nsec_t now)
{
	nsec_t age = now - g->sure_at;

	if (g->state == GRADIENT_PROBE)
		return false;
	return age > g->patience ||
	       (g->limit < g->sure_limit / 2 &&
	           age > g->patience / (PATIENCE / PATIENCE_SQUEEZED));
}

static void
halve(struct gradient *g, const struct gradient_cfg *cfg)
{
	set_limit(g, cfg, g->limit / 2);
	g->settles = true;
}

static void
probe_begin(struct gradient *g, const struct gradient_cfg *cfg)
{
	g->resumed = g->state;
	g->state = GRADIENT_PROBE;
	g->probes++;
	g->saved = g->limit;
	g->before = g->usual;
	g->best = g->latest;
	halve(g, cfg);
}

static void
probe_end(struct gradient *g, const struct gradient_cfg *cfg, nsec_t now)
{
	g->state = g->usual > g->before * NEWS ? GRADIENT_START : g->resumed;
	g->is_proven = true;
	g->was_slow = false;
	set_limit(g, cfg, g->saved);
	g->smooth = g->usual;
	g->patience = jittered(g, PATIENCE);
	be_sure(g, now);
}

/* The load has gone meanwhile, or nothing is answered: another time. */
static bool
is_stuck(const struct gradient *g, nsec_t now)
{
	nsec_t age = now - g->window_at;

	return age > WINDOW_LONG && age > 4 * window_length(g);
}

static void
probe_give_up(struct gradient *g, const struct gradient_cfg *cfg, nsec_t now)
{
	if (g->best < g->usual)
		g->usual = g->best;
	probe_end(g, cfg, now);
	window_open(g, now);
}

/* A window under the probe's limit is full. */
static void
probe_look(struct gradient *g, const struct gradient_cfg *cfg, nsec_t now)
{
	double latest = g->sum / (double)g->n;

	if (g->settles) {
		g->settles = false;
		return;
	}
	if (latest < g->best * HELPS && g->limit > cfg->min) {
		g->best = latest;
		halve(g, cfg);
		return;
	}
	g->usual = latest < g->best ? latest : g->best;
	g->usual_peak = g->peak;
	probe_end(g, cfg, now);
}

/* ---- the whole ---- */

void
gradient_init(struct gradient *g, const struct gradient_cfg *cfg, uint64_t seed,
    nsec_t now)
{
	assert(cfg->max > 0 && cfg->tolerance >= 1);
	*g = (struct gradient){.seed = seed};
	set_limit(g, cfg, cfg->min);
	be_sure(g, now);
	g->patience = jittered(g, PATIENCE_FIRST);
	window_open(g, now);
}

static void
look(struct gradient *g, const struct gradient_cfg *cfg, nsec_t now)
{
	double part = (double)g->n / ((double)g->n + SMOOTH_OVER);

	if (g->state == GRADIENT_PROBE) {
		probe_look(g, cfg, now);
		return;
	}
	g->latest = g->sum / (double)g->n;
	g->smooth = g->smooth == 0 ? g->latest
	                           : g->smooth + (g->latest - g->smooth) * part;
	learn(g, now - g->window_at, now);
	if (!is_busy(g))
		return;
	if (is_due(g, now))
		probe_begin(g, cfg);
	else
		move(g, cfg);
}

uint32_t
gradient_step(struct gradient *g, const struct gradient_cfg *cfg,
    const struct gradient_sample *sample, nsec_t now)
{
	window_add(g, sample);
	if (g->n > 0 && g->sum > 0 && window_is_full(g, now)) {
		look(g, cfg, now);
		window_open(g, now);
	} else if (now - g->window_at > WINDOW_STALE) {
		window_open(g, now);
	}
	if (g->state == GRADIENT_PROBE && is_stuck(g, now))
		probe_give_up(g, cfg, now);
	/* The bounds may be others since a reload. */
	set_limit(g, cfg, g->limit);
	return (uint32_t)g->limit;
}

const char *
gradient_state_name(enum gradient_state state)
{
	static const char *const names[] = {[GRADIENT_START] = "start",
	    [GRADIENT_STEADY] = "steady",
	    [GRADIENT_PROBE] = "probe"};

	return names[state];
}
