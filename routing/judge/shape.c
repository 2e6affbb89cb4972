/*
 * What answers look like: for every category of status class, size and type a
 * comparing bet that the candidate shows it more often than the tolerance
 * allows. Categories of a kind sum to one, so whatever shrank made another
 * grow. The average of the wealths is again a fair game, whatever the
 * categories have to do with each other: ln 26 is the price for not knowing
 * where to look. Proven only when it is proven of every category.
 */
#include "routing/judge/watch.h"

static const struct kind {
	unsigned first, n;
} kinds[] = {
    {SHAPE_STATUS, SHAPE_STATUS_N},
    {SHAPE_SIZE, SHAPE_SIZE_N},
    {SHAPE_TYPE, SHAPE_TYPE_N},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static bool
shape_gather(const struct judge *judge, const struct watch *watch,
    const struct evidence_sum *delta, double *fail, double *pass)
{
	double any = 0;

	(void)judge;
	(void)watch;
	for (int arm = 0; arm < ARM_COUNT; arm++)
		for (int i = 0; i < SHAPE_COUNT; i++) {
			double n = (double)delta->arm[arm].shape[i];

			pass[arm * SHAPE_COUNT + i] = n;
			fail[arm * SHAPE_COUNT + i] = n;
			any += n;
		}
	return any > 0;
}

static void
shape_prepare(struct tables *tables, const struct guard_cfg *guard,
    enum side side, double setting)
{
	method_errors.prepare(tables, guard, side, setting);
}

static double
shape_prior(const struct guard_cfg *guard, size_t wealth)
{
	(void)guard;
	(void)wealth;
	return 1.0 / SHAPE_COUNT;
}

static void
shape_bet(const struct tables *tables, enum side side, const double *counts,
    struct wealth *wealth)
{
	const double *candidate = counts + ARM_CANDIDATE * SHAPE_COUNT;
	const double *baseline = counts + ARM_BASELINE * SHAPE_COUNT;

	(void)side;
	for (int k = 0; k < KINDS; k++) {
		unsigned end = kinds[k].first + kinds[k].n;
		double all = 0;

		for (unsigned i = kinds[k].first; i < end; i++)
			all += candidate[i] + baseline[i];
		for (unsigned i = kinds[k].first; i < end; i++)
			wealth_bet(&wealth[i], &tables->odds,
			    all - candidate[i] - baseline[i], candidate[i],
			    baseline[i]);
	}
}

const struct method method_shape = {
    .test = "ipw-shape/1",
    .counts = ARM_COUNT * SHAPE_COUNT,
    .wealths = {SHAPE_COUNT, SHAPE_COUNT},
    .is_comparing = true,
    .stride = 6, /* a row has 54 numbers */
    .prepare = shape_prepare,
    .prior = shape_prior,
    .bet = shape_bet,
    .gather = shape_gather,
};
