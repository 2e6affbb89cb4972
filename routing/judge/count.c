/*
 * Guards that count instead of betting.
 *
 * The fuse bounds the failures that a candidate may cost beyond those that
 * the baseline's rate explains: k_c - (w_c / w_b) k_b, summed over weights.
 * The smaller the baseline, the more its few failures are multiplied: at 99 %
 * one more or less of them moves the sum by 99. So what is explained counts
 * with four standard deviations of its own chance on top: next to nothing
 * when the baseline does not fail, and enough that no fuse blows by chance.
 * Without a baseline its rate so far in the rollout explains.
 *
 * A signal is a number of events within a window that somebody else keeps.
 */
#include <math.h>

#include "routing/judge/watch.h"

enum { COUNT_BAD, COUNT_BAD_BASELINE, COUNT_EXPECTED };
enum { DEVIATIONS = 4 };
#define NO_BASELINE (-1.0) /* as a row's setting, in place of w_c / w_b */

static void
fuse_take(struct fuse *fuse, double ratio, const double *counts)
{
	double other = counts[COUNT_BAD_BASELINE];

	fuse->failures += counts[COUNT_BAD];
	if (ratio == NO_BASELINE) {
		fuse->explained += counts[COUNT_EXPECTED];
		fuse->variance += counts[COUNT_EXPECTED];
		return;
	}
	fuse->explained += ratio * other;
	fuse->variance += ratio * (1 + ratio) * other;
	fuse->widest = fmax(fuse->widest, ratio);
}

/* A baseline that saw no failure might have seen one: a variance for that,
   which counts only where the candidate is the greater arm. */
double
fuse_excess(const struct fuse *fuse)
{
	double ratio = fuse->widest;
	double variance = fuse->variance + ratio * ratio * (1 + ratio);

	return fuse->failures - fuse->explained - DEVIATIONS * sqrt(variance);
}

static double
baseline_rate(const struct judge *judge)
{
	uint64_t n = judge->rollout_n[ARM_BASELINE];

	return n > 0 ? (double)judge->rollout_bad[ARM_BASELINE] / (double)n : 0;
}

void
fuse_add(const struct judge *judge, struct watch *watch,
    const struct evidence_sum *delta)
{
	const struct arm_sum *arm = delta->arm;
	double counts[FUSE_COUNTS] = {0}, ratio = NO_BASELINE;

	if (judge->weight[ARM_CANDIDATE] == 0)
		return;
	counts[COUNT_BAD] = (double)arm[ARM_CANDIDATE].bad;
	counts[COUNT_BAD_BASELINE] = (double)arm[ARM_BASELINE].bad;
	if (judge->is_comparing)
		ratio = judge->w / (1 - judge->w);
	else
		counts[COUNT_EXPECTED] =
		    (double)arm[ARM_CANDIDATE].n * baseline_rate(judge);
	fuse_take(&watch->fuse, ratio, counts);
	trail_add(&watch->trail, ratio, counts);
}

double
count_of(const struct watch *watch)
{
	if (watch->guard->metric == GUARD_SIGNAL)
		return (double)watch->events;
	return fuse_excess(&watch->fuse);
}

bool
count_recompute(const struct guard_cfg *guard, const double *trail, size_t rows,
    size_t columns, double *log_e_out)
{
	struct fuse fuse = {0};

	if (guard->metric == GUARD_SIGNAL) {
		if (rows != 1 || columns != 1)
			return false;
		*log_e_out = log1p(trail[0]);
		return true;
	}
	if (columns != TRAIL_COUNTS + FUSE_COUNTS)
		return false;
	for (size_t i = 0; i < rows; i++, trail += columns)
		fuse_take(&fuse, trail[TRAIL_SETTING], trail + TRAIL_COUNTS);
	*log_e_out = log1p(fmax(fuse_excess(&fuse), 0));
	return true;
}
