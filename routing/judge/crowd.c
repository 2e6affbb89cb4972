/*
 * Draws. Binomials come from inversion where few successes are expected and
 * from Hörmann's transformed rejection (BTRS, 1993) else; both are exact up
 * to the arithmetic. Latencies are thrown one by one with an alias table
 * (Walker; Vose 1991) while that is cheaper than a chain of binomials.
 */
#include "routing/judge/crowd.h"

#include <assert.h>
#include <math.h>
#include <sys/param.h>

#include "routing/chance.h"

enum { THROWS_MAX = 1500 };

double
draw_uniform(struct rng *rng)
{
	return ((double)(chance_next(rng) >> 11) + 0.5) * 0x1p-53;
}

/* ---- binomial ---- */

/* The gaps between successes are geometric. */
static uint64_t
binomial_small(struct rng *rng, uint64_t n, double p)
{
	double step = log1p(-p), at = 0;
	uint64_t k = 0;

	for (;;) {
		at += floor(log(draw_uniform(rng)) / step) + 1;
		if (at > (double)n)
			return k;
		k++;
	}
}

/* log k! - (log sqrt(2 pi) + (k + 1/2) log(k + 1) - (k + 1)) */
static double
stirling_tail(double k)
{
	static const double first[] = {0.0810614667953272, 0.0413406959554092,
	    0.0276779256849983, 0.02079067210376509, 0.0166446911898211,
	    0.0138761288230707, 0.0118967099458917, 0.0104112652619720,
	    0.00925546218271273, 0.00833056343336287};
	double k1 = k + 1, k2 = k1 * k1;

	if (k < 10)
		return first[(int)k];
	return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / k2) / k2) / k1;
}

/* p <= 1/2, n p >= 10 */
static uint64_t
binomial_large(struct rng *rng, uint64_t tries, double p)
{
	double n = (double)tries, spread = sqrt(n * p * (1 - p));
	double b = 1.15 + 2.53 * spread, a = -0.0873 + 0.0248 * b + 0.01 * p;
	double c = n * p + 0.5, alpha = (2.83 + 5.1 / b) * spread;
	double odds = p / (1 - p), m = floor((n + 1) * p);
	double r = 0.92 - 4.2 / b;

	for (;;) {
		double u = draw_uniform(rng) - 0.5, v = draw_uniform(rng);
		double us = 0.5 - fabs(u), k = floor((2 * a / us + b) * u + c);
		double bound;

		if (us >= 0.07 && v <= r)
			return (uint64_t)k;
		if (k < 0 || k > n)
			continue;
		v = log(v * alpha / (a / (us * us) + b));
		bound = (m + 0.5) * log((m + 1) / (odds * (n - m + 1))) +
		        (n + 1) * log((n - m + 1) / (n - k + 1)) +
		        (k + 0.5) * log(odds * (n - k + 1) / (k + 1)) +
		        stirling_tail(m) + stirling_tail(n - m) -
		        stirling_tail(k) - stirling_tail(n - k);
		if (v <= bound)
			return (uint64_t)k;
	}
}

uint64_t
draw_binomial(struct rng *rng, uint64_t n, double p)
{
	if (n == 0 || p <= 0)
		return 0;
	if (p >= 1)
		return n;
	if (p > 0.5)
		return n - draw_binomial(rng, n, 1 - p);
	return (double)n * p < 10 ? binomial_small(rng, n, p)
	                          : binomial_large(rng, n, p);
}

uint64_t
draw_poisson(struct rng *rng, double mean)
{
	/* A Poisson number is a binomial one of endless tries. */
	uint64_t tries = UINT64_C(1) << 40;

	assert(mean >= 0 && mean < 1e9);
	return draw_binomial(rng, tries, mean / (double)tries);
}

/* ---- moods ---- */

static double
normal_below(double z)
{
	return erfc(-z * M_SQRT1_2) / 2;
}

/* Every cell keeps a part of its own width and gives the rest to one other. */
static void
make_alias(struct mood *mood)
{
	unsigned small[HISTOGRAM_BUCKETS], large[HISTOGRAM_BUCKETS];
	unsigned n_small = 0, n_large = 0;
	double part[HISTOGRAM_BUCKETS];

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		part[i] = mood->latency[i] * HISTOGRAM_BUCKETS;
		mood->keep[i] = 1;
		mood->alias[i] = (uint16_t)i;
		if (part[i] < 1)
			small[n_small++] = i;
		else
			large[n_large++] = i;
	}
	while (n_small > 0 && n_large > 0) {
		unsigned from = large[n_large - 1], to = small[--n_small];

		mood->keep[to] = (float)part[to];
		mood->alias[to] = (uint16_t)from;
		part[from] -= 1 - part[to];
		if (part[from] < 1) {
			small[n_small++] = from;
			n_large--;
		}
	}
}

void
mood_init(struct mood *mood, double errors, nsec_t median, double sigma)
{
	double below = 0;

	*mood = (struct mood){.errors = errors, .first = HISTOGRAM_BUCKETS};
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		double edge = (double)histogram_edge(i);
		double up_to =
		    sigma > 0 ? normal_below(log(edge / (double)median) / sigma)
		              : edge >= (double)median;

		if (i == HISTOGRAM_BUCKETS - 1)
			up_to = 1;
		mood->latency[i] = up_to - below;
		if (mood->latency[i] < 1e-9)
			mood->latency[i] = 0;
		else
			mood->last = i;
		if (mood->latency[i] > 0 && mood->first > i)
			mood->first = i;
		below = up_to;
	}
	make_alias(mood);
	mood->shape[SHAPE_STATUS + 2] = 1;
	mood->shape[SHAPE_SIZE + 6] = 1;
	mood->shape[SHAPE_TYPE + SHAPE_TYPE_JSON] = 1;
}

/* A factor that lies between two buckets is shared by them. */
static void
mood_move(struct mood *mood, unsigned from, double buckets, double chance)
{
	double to =
	    fmin(fmax((double)from + buckets, 0), HISTOGRAM_BUCKETS - 1);
	unsigned low = (unsigned)to, high = MIN(low + 1, HISTOGRAM_BUCKETS - 1);

	mood->latency[low] += chance * (1 - (to - low));
	mood->latency[high] += chance * (to - low);
	if (chance > 0) {
		mood->first = MIN(mood->first, low);
		mood->last = MAX(mood->last, high);
	}
}

void
mood_slow(struct mood *mood, double factor, double share)
{
	struct mood before = *mood;
	double buckets = HISTOGRAM_SUBS * log2(factor);

	assert(factor > 0 && share >= 0 && share <= 1);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		mood->latency[i] *= 1 - share;
	for (unsigned i = before.first; i <= before.last; i++)
		mood_move(mood, i, buckets, before.latency[i] * share);
	make_alias(mood);
}

void
mood_unmeasure(struct mood *mood)
{
	mood->first = 1;
	mood->last = 0;
}

/* ---- a crowd ---- */

/* `n` things into cells by their chances. */
static void
draw_cells(struct rng *rng, uint64_t n, const double *chance, unsigned first,
    unsigned last, uint64_t *out)
{
	double left = 1;

	for (unsigned i = first; i < last && n > 0; i++) {
		uint64_t k;

		if (chance[i] <= 0)
			continue;
		k = draw_binomial(rng, n, fmin(chance[i] / left, 1));
		out[i] += k;
		n -= k;
		left = fmax(left - chance[i], 1e-15);
	}
	out[last] += n;
}

static unsigned
moved_by(const struct mood *mood, unsigned bucket)
{
	int to = (int)bucket + mood->moved;

	return (unsigned)MAX(MIN(to, HISTOGRAM_BUCKETS - 1), 0);
}

static void
draw_latencies(
    struct rng *rng, uint64_t n, const struct mood *mood, uint64_t *out)
{
	uint64_t cells[HISTOGRAM_BUCKETS] = {0};

	for (; n > 0 && n <= THROWS_MAX; n--) {
		uint64_t bits = chance_next(rng);
		unsigned i = (unsigned)((bits >> 32) * HISTOGRAM_BUCKETS >> 32);
		float part = (float)(bits & 0xffffff) * 0x1p-24f;

		out[moved_by(
		    mood, part < mood->keep[i] ? i : mood->alias[i])]++;
	}
	if (n == 0)
		return;
	draw_cells(rng, n, mood->latency, mood->first, mood->last, cells);
	for (unsigned i = mood->first; i <= mood->last; i++)
		out[moved_by(mood, i)] += cells[i];
}

static void
draw_arm(const struct mood *mood, uint64_t n, nsec_t cut, struct rng *rng,
    struct arm_sum *out)
{
	uint64_t hung = draw_binomial(rng, n, mood->hangs);
	uint64_t bad = draw_binomial(rng, n - hung, mood->errors);
	uint64_t good = n - hung - bad;

	out->n += n - hung;
	out->bad += bad;
	if (cut > 0 && mood->first <= mood->last) {
		out->slow += hung;
		out->n_latency += hung;
		out->latency[histogram_bucket(cut)] += hung;
	}
	if (mood->first <= mood->last) {
		out->n_latency += good + bad;
		draw_latencies(rng, good + bad, mood, out->latency);
	}
	out->shape[SHAPE_STATUS + 5] += bad;
	out->shape[SHAPE_SIZE] += bad;
	out->shape[SHAPE_TYPE + SHAPE_TYPE_TEXT] += bad;
	draw_cells(rng, good, mood->shape, SHAPE_STATUS,
	    SHAPE_STATUS + SHAPE_STATUS_N - 1, out->shape);
	draw_cells(rng, good, mood->shape, SHAPE_SIZE,
	    SHAPE_SIZE + SHAPE_SIZE_N - 1, out->shape);
	draw_cells(rng, good, mood->shape, SHAPE_TYPE,
	    SHAPE_TYPE + SHAPE_TYPE_N - 1, out->shape);
}

void
crowd_draw(const struct mood mood[ARM_COUNT], uint64_t n, double w, nsec_t cut,
    struct rng *rng, struct evidence_sum *out)
{
	uint64_t candidate = draw_binomial(rng, n, w);

	draw_arm(&mood[ARM_CANDIDATE], candidate, cut, rng,
	    &out->arm[ARM_CANDIDATE]);
	draw_arm(&mood[ARM_BASELINE], n - candidate, cut, rng,
	    &out->arm[ARM_BASELINE]);
}
